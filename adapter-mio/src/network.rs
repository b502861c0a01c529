//! Changes of the network, from the watcher's thread to the driver's.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use keepbeat_adapter::network::{NetworkWatch, NetworkWatchError};
use keepbeat_core::reconnect::Hint;
use mio::Waker;

pub(crate) struct Network {
    hints: Receiver<Hint>,
    _watch: NetworkWatch,
}

impl Network {
    /// `waker` rings when [`Network::poll`] has something.
    pub(crate) fn watch(waker: Arc<Waker>) -> Result<Self, NetworkWatchError> {
        let (sender, hints) = channel();
        let watch = NetworkWatch::watch(move |hint| {
            // Without a receiver the driver is gone, without a waker its `Poll`: nobody is left to be told.
            if sender.send(hint).is_ok() {
                drop(waker.wake());
            }
        })?;
        Ok(Self { hints, _watch: watch })
    }

    /// The next hint.
    pub(crate) fn poll(&self) -> Option<Hint> {
        self.hints.try_recv().ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may fail loudly")]
mod tests {
    use std::time::Duration;

    use keepbeat_adapter::clock::Clock;
    use keepbeat_core::client::{ClientConfig, LinkState};
    use keepbeat_core::reconnect::ReconnectConfig;
    use keepbeat_core::wire::DeviceId;

    use super::*;
    use crate::EventLoop;

    /// How long it is until the next attempt.
    fn wait(event_loop: &mut EventLoop, link: crate::LinkId) -> Option<Duration> {
        match event_loop.driver().link(link).unwrap().state() {
            LinkState::Waiting { retry_at, .. } => Some(retry_at.since(Clock::now())),
            _ => None,
        }
    }

    #[test]
    fn a_hint_from_another_thread_cuts_the_waits_of_all_links() {
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.driver().watch_network().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let reconnect = ReconnectConfig::internet().to_builder().base(Duration::from_secs(25));
        let config = ClientConfig::builder(DeviceId::new("a").unwrap()).reconnect(reconnect.build().unwrap());
        let link = event_loop.driver().open(free.to_string(), config.build().unwrap());
        while wait(&mut event_loop, link).is_none_or(|wait| wait < Duration::from_secs(2)) {
            event_loop.turn(Some(Duration::from_secs(10))).unwrap();
        }
        let (sender, hints) = channel();
        event_loop.driver().network.as_mut().unwrap().hints = hints;
        let waker = event_loop.driver().waker();
        std::thread::spawn(move || {
            sender.send(Hint::NetworkUp).unwrap();
            waker.wake().unwrap();
        });
        // No deadline comes so soon.
        event_loop.turn(Some(Duration::from_secs(10))).unwrap();
        assert!(wait(&mut event_loop, link).is_none_or(|wait| wait < Duration::from_secs(2)));
    }
}
