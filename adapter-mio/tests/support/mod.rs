//! What the tests share: quick configurations, and a loop that waits with a limit.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use keepbeat_mio::core::client::ClientConfigBuilder;
use keepbeat_mio::core::liveness::LivenessConfig;
use keepbeat_mio::core::reconnect::ReconnectConfig;
use keepbeat_mio::core::server::ServerConfigBuilder;
use keepbeat_mio::{
    ClientConfig, DeviceId, Driver, DriverEvent, Event, EventLoop, LinkId, LinkMut, ListenerId, ListenerMut,
    ServerConfig, ServerEvent,
};

/// Longer than anything here takes, and shorter than the cap of 15 s on every wait: no test may need the cap.
pub const GUARD: Duration = Duration::from_secs(14);

pub fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Tries again soon, so that no test waits long.
pub fn client(name: &str) -> ClientConfigBuilder {
    let reconnect =
        ReconnectConfig::data_center().to_builder().base(millis(20)).first_spread(millis(20)).cap(millis(100));
    ClientConfig::builder(device(name)).reconnect(reconnect.build().unwrap())
}

pub fn server() -> ServerConfigBuilder {
    ServerConfig::builder().intervals(millis(20), Duration::from_secs(600))
}

pub fn beats(interval: u64, reply_timeout: u64) -> LivenessConfig {
    LivenessConfig::builder().interval(millis(interval)).reply_timeout(millis(reply_timeout)).build().unwrap()
}

pub fn number(message: &[u8]) -> u32 {
    u32::from_be_bytes(message.try_into().unwrap())
}

/// An event loop with links and listeners, whose events are kept until somebody asks for them.
pub struct Bench {
    pub event_loop: EventLoop,
    pub events: VecDeque<DriverEvent>,
}

impl Bench {
    pub fn new() -> Self {
        Self { event_loop: EventLoop::new().unwrap(), events: VecDeque::new() }
    }

    pub fn driver(&mut self) -> &mut Driver {
        self.event_loop.driver()
    }

    pub fn link(&mut self, id: LinkId) -> LinkMut<'_> {
        self.driver().link(id).unwrap()
    }

    pub fn listener(&mut self, id: ListenerId) -> ListenerMut<'_> {
        self.driver().listener(id).unwrap()
    }

    pub fn listen(&mut self, config: ServerConfigBuilder) -> (ListenerId, SocketAddr) {
        let id = self.driver().listen("127.0.0.1:0", config.build().unwrap()).unwrap();
        let address = self.listener(id).local_addr().unwrap();
        (id, address)
    }

    pub fn open(&mut self, address: impl ToString, config: ClientConfigBuilder) -> LinkId {
        self.driver().open(address.to_string(), config.build().unwrap())
    }

    /// One turn, at most so much later.
    pub fn turn(&mut self, longest: Duration) {
        self.event_loop.turn(Some(longest)).unwrap();
    }

    /// Turns until `done` gives something.
    pub fn turn_until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begin = Clock::now();
        loop {
            // Before the wait, too: a turn may have been had elsewhere.
            while let Some(event) = self.driver().next_event() {
                self.events.push_back(event);
            }
            if let Some(result) = done(self) {
                return result;
            }
            let left = GUARD.saturating_sub(Clock::now().since(begin));
            assert!(!left.is_zero(), "it takes too long; untaken events: {:?}", self.events);
            self.event_loop.turn(Some(left)).unwrap();
        }
    }

    /// The first event for which `pick` gives something. Those before it are passed over, and those of others kept.
    pub fn until<T>(&mut self, mut pick: impl FnMut(&DriverEvent) -> Option<T>) -> T {
        self.turn_until(|bench| {
            let (place, picked) =
                bench.events.iter().enumerate().find_map(|(place, event)| Some((place, pick(event)?)))?;
            bench.events.drain(..=place);
            Some(picked)
        })
    }

    /// The same for the events of one link; those of others are kept.
    pub fn link_until<T>(&mut self, id: LinkId, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        self.turn_until(|bench| {
            let mut picked = None;
            bench.events.retain(|event| match event {
                DriverEvent::Link(link, event) if *link == id && picked.is_none() => {
                    picked = pick(event);
                    false
                }
                _ => true,
            });
            picked
        })
    }

    /// The same for the events of one listener; those of others are kept.
    pub fn server_until<T>(&mut self, id: ListenerId, mut pick: impl FnMut(&ServerEvent) -> Option<T>) -> T {
        self.turn_until(|bench| {
            let mut picked = None;
            bench.events.retain(|event| match event {
                DriverEvent::Listener(listener, event) if *listener == id && picked.is_none() => {
                    picked = pick(event);
                    false
                }
                _ => true,
            });
            picked
        })
    }

    pub fn up(&mut self, id: LinkId) -> bool {
        self.link_until(id, |event| if let Event::Up { resumed, .. } = event { Some(*resumed) } else { None })
    }

    /// The next message of the link, as a number.
    pub fn message(&mut self, id: LinkId) -> u32 {
        self.link_until(id, |event| if let Event::Message(message) = event { Some(number(message)) } else { None })
    }

    /// The next message of any device, as a number.
    pub fn server_message(&mut self, id: ListenerId) -> u32 {
        self.server_until(id, |event| match event {
            ServerEvent::Message { message, .. } => Some(number(message)),
            _ => None,
        })
    }
}
