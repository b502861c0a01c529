//! Very many devices of a server.

mod builder;
mod driver;
mod ready;
mod shared;
mod sockets;
mod turn;

pub use builder::{Adopted, ListenerBuilder, ListenerRuntime, NewListener};
pub use driver::{Accept, drive};
pub use turn::ListenerDriver;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keepbeat_core::liveness::Evidence;
use keepbeat_core::server::{Admission, ConnectionId, ServerEvent, Sessions};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::wire::{DeviceId, Goodbye};

use self::shared::{Shared, wake};
use crate::clock::Clock;
use crate::pump::Traffic;

/// Listening sockets and all devices that came through them.
///
/// One task in the background drives it. Dropping the listener closes all at once, without a word, like
/// [`Listener::abort`]; [`Listener::drain`] is the polite end.
///
/// Every adapter binds this same type.
pub struct Listener {
    shared: Arc<Shared>,
    /// One for each port of the configuration.
    addresses: Vec<SocketAddr>,
}

impl Listener {
    /// The address that is listened on; with the port that the operating system chose, if it was asked to. If there are
    /// several, the first.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        // There is one at least: a configuration has a port, and each port an address.
        self.addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The addresses that are listened on, in the order of the configuration's ports.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The next event. `None` when the listener is drained or closed and all events were taken. If several wait, each
    /// event goes to one of them.
    pub async fn next_event(&self) -> Option<ServerEvent> {
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

    /// Answers [`ServerEvent::Authenticate`]. Without effect if the connection is over or was answered for.
    pub fn answer(&self, connection: ConnectionId, admission: Admission) {
        self.shared.tell(|state, now| state.server.answer(now, connection, admission));
    }

    /// Accepts a message for a device that has a session, connected or not; waits for room in its outbox. If this is
    /// dropped before it is done, the message was not accepted.
    ///
    /// # Errors
    /// The message is handed back: it is too large for ever, the device has no session, or the listener is closed. Or it is
    /// drained, and there is no room: none will come.
    pub async fn send(&self, device: &DeviceId, message: impl Into<Message>) -> Result<Ticket, SendError> {
        let mut message = message.into();
        loop {
            let room = self.shared.room.listen();
            match self.try_send(device, message) {
                Err(SendError::Full { message: back, .. }) if self.shared.lock().is_over() => {
                    return Err(SendError::Closed { message: back });
                }
                Err(SendError::Full { message: back, .. }) => message = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Accepts a message for a device that has a session, connected or not, if there is room in its outbox.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, the device has no session, or the listener
    /// is closed.
    pub fn try_send(&self, device: &DeviceId, message: impl Into<Message>) -> Result<Ticket, SendError> {
        let message = message.into();
        let mut state = self.shared.lock();
        if state.aborted {
            return Err(SendError::Closed { message });
        }
        let result = state.server.send(Clock::now(), device, message);
        // A message that was not accepted is no work for the driver: it and a waiting sender would wake each other.
        if result.is_ok() {
            wake(state);
        }
        result
    }

    /// Ends a device's connection with this goodbye. Its session is kept, unless the reason is
    /// [`Reason::Closed`](keepbeat_core::wire::Reason::Closed).
    pub fn disconnect(&self, device: &DeviceId, goodbye: Goodbye) {
        self.shared.tell(|state, now| state.server.disconnect(now, device, goodbye));
    }

    /// Shuts down politely: closes the listening socket at once, asks all devices to come back after `retry_after`, within
    /// the `spread` behind it, and waits until all are gone. The sessions stay; take them with [`Listener::abort`] for a
    /// listener that follows. If this is dropped, the listener goes on draining.
    pub async fn drain(&self, retry_after: Duration, spread: Duration) {
        self.shared.sockets.stop_accepting();
        self.shared.tell(|state, now| state.server.drain(now, retry_after, spread));
        loop {
            let over = self.shared.over.listen();
            if self.shared.lock().is_over() {
                return;
            }
            over.await;
        }
    }

    /// Closes the listening socket and all connections at once, without a word, and returns the sessions for a listener
    /// that follows ([`ListenerBuilder::sessions`]). Events that were not taken stay.
    pub fn abort(&self) -> Sessions {
        self.shared.abort()
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        let state = self.shared.lock();
        if state.aborted { 0 } else { state.server.connections() }
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        let state = self.shared.lock();
        !state.aborted && state.server.is_connected(device)
    }

    /// What was seen of a device on its current connection.
    #[must_use]
    pub fn evidence(&self, device: &DeviceId) -> Option<Evidence> {
        self.shared.lock().server.evidence(Clock::now(), device)
    }

    /// Messages for a device that it has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, device: &DeviceId) -> usize {
        self.shared.lock().server.unacknowledged(device)
    }

    /// What the driver has moved since the listener was bound.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.lock().traffic
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.shared.abort());
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("addresses", &self.addresses)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
