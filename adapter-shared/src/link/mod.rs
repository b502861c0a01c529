//! One device's link to a server.

mod attempt;
mod builder;
mod driver;
mod shared;
mod turn;

pub use builder::{LinkBuilder, OpenError, Parts, Runtime, Target};
pub use driver::{Connector, drive};
pub use turn::LinkDriver;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::client::{Client, Event, LinkState};
use keepbeat_core::liveness::{Evidence, Rtt};
use keepbeat_core::reconnect::Hint;
use keepbeat_core::session::{Message, SendError, Ticket};

use self::shared::{Place, Shared};
use crate::clock::Clock;
use crate::pump::Traffic;

/// A future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Gives credentials for an attempt. Its argument tells whether the server did not accept the last ones.
pub type Provider = Arc<dyn Fn(bool) -> BoxFuture<Option<Bytes>> + Send + Sync>;

/// One logical link to a server, across as many connections as it takes.
///
/// A task in the background drives it. Dropping the link closes it: the task says goodbye to the server and ends.
///
/// Every adapter opens this same type.
pub struct Link {
    shared: Arc<Shared>,
    /// Dropped with the link.
    #[cfg(feature = "netwatch")]
    _network: Option<crate::network::NetworkWatch>,
}

impl Link {
    /// Opens the link again after it was closed or has given up. While an attempt is waited for, the wait is skipped;
    /// otherwise nothing changes.
    pub fn reopen(&self) {
        self.shared.tell(Client::open);
    }

    /// Asks to close the link: it says goodbye, and its events end with [`Event::Closed`]. Messages that are not
    /// acknowledged stay for [`Link::reopen`].
    pub fn close(&self) {
        self.shared.tell(Client::close);
    }

    /// Waits until the link is closed or has given up.
    pub async fn closed(&self) {
        let before = self.shared.lock().closings;
        self.closed_since(before).await;
    }

    /// Waits until the link is over, or was since it had been closed `before` times.
    async fn closed_since(&self, before: u64) {
        loop {
            let over = self.shared.over.listen();
            {
                let state = self.shared.lock();
                if state.is_over() || state.closings != before {
                    return;
                }
            }
            over.await;
        }
    }

    /// Accepts no more messages, waits until the server has acknowledged all, at most `timeout`, and closes the link.
    /// Returns how many messages were not acknowledged. If this is dropped, the link goes on draining.
    pub async fn drain(&self, timeout: Duration) -> usize {
        let before = self.shared.lock().closings;
        self.shared.tell(|client, now| client.drain(now, timeout));
        self.closed_since(before).await;
        self.unacknowledged()
    }

    /// Accepts a message; waits for room in the outbox. Those who wait are served in the order in which they came. If this
    /// is dropped before it is done, the message was not accepted. Await it or drop it: one that is kept without being
    /// polled holds up those behind it.
    ///
    /// # Errors
    /// The message is handed back: it is too large for ever, or the link is closed.
    pub async fn send(&self, message: impl Into<Message>) -> Result<Ticket, SendError> {
        let mut message = message.into();
        let mut place = Place::new(&self.shared);
        loop {
            if place.is_first() {
                match self.try_send(message) {
                    Err(SendError::Full { message: back, .. }) => message = back,
                    done => return done,
                }
            }
            place.wait().await;
        }
    }

    /// Accepts a message if there is room in the outbox, before those who wait for room in [`Link::send`].
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the link is closed.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<Ticket, SendError> {
        self.shared.try_send(message.into())
    }

    /// Sends a message before all that wait, on this connection only: after [`Event::Up`], if the configuration says
    /// [`greeting`](keepbeat_core::client::ClientConfigBuilder::greeting). Say [`Link::greeted`] when all is said.
    ///
    /// # Errors
    /// The message is handed back: the link is not up or was greeted already, there is no room, or it is too large.
    pub fn greet(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        self.shared.tell(|client, now| client.greet(now, message))
    }

    /// The greeting is done: what waits may leave. Without effect if there was none to do.
    pub fn greeted(&self) {
        self.shared.tell(Client::greeted);
    }

    /// The application is done with the oldest message that it has taken and not said so about: the server is told, where the
    /// configuration of MQTT says
    /// [`manual_acknowledgements`](keepbeat_core::wire::mqtt::MqttConfigBuilder::manual_acknowledgements). `false` if there is
    /// none. What came on earlier connections counts as well, and the server may send it again.
    pub fn acknowledge(&self) -> bool {
        self.shared.tell(Client::acknowledge)
    }

    /// The next event. `None` when the link is closed or has given up and all events were taken; after
    /// [`Link::reopen`] there are events again. If several wait, each event goes to one of them.
    pub async fn next_event(&self) -> Option<Event> {
        loop {
            if let Poll::Ready(event) = self.shared.poll_event() {
                return event;
            }
            let more = self.shared.events.listen();
            if let Poll::Ready(event) = self.shared.poll_event() {
                return event;
            }
            more.await;
        }
    }

    /// Tells that something happened outside that may concern the path to the server.
    pub fn hint(&self, hint: Hint) {
        self.shared.tell(|client, now| client.hint(now, hint));
    }

    /// Skips the wait for the next attempt.
    pub fn retry_now(&self) {
        self.shared.tell(Client::retry_now);
    }

    /// Where the link stands. If the runtime is gone, it is closed for good.
    #[must_use]
    pub fn state(&self) -> LinkState {
        let state = self.shared.lock();
        if state.orphaned && !state.client.state().is_over() { LinkState::Closed } else { state.client.state() }
    }

    /// How long it is until the next attempt, if one is waited for.
    #[must_use]
    pub fn next_attempt_in(&self) -> Option<Duration> {
        match self.state() {
            LinkState::Waiting { retry_at, .. } => Some(retry_at.since(Clock::now())),
            _ => None,
        }
    }

    /// The current round-trip estimate.
    #[must_use]
    pub fn rtt(&self) -> Option<Rtt> {
        self.shared.lock().client.rtt()
    }

    /// What was seen of the server on the current connection.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.shared.lock().client.evidence(Clock::now())
    }

    /// What the TLS handshake of the current connection agreed on.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<keepbeat_core::tunnel::tls::TlsInfo> {
        self.shared.lock().client.tls()
    }

    /// Messages accepted and not yet acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.shared.lock().client.unacknowledged()
    }

    /// What the driver has moved since the link was opened.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.lock().traffic
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.tell(Client::close);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("state", &self.state()).finish_non_exhaustive()
    }
}
