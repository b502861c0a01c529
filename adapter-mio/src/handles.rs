//! One link or one listener of a driver.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use keepbeat_adapter::clock::Clock;
use keepbeat_adapter::store;
use keepbeat_core::client::{Client, Epoch, LinkState};
use keepbeat_core::liveness::{Evidence, Rtt};
use keepbeat_core::reconnect::Hint;
use keepbeat_core::server::{Admission, ConnectionId, Sessions};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::wire::{DeviceId, Goodbye};

use crate::driver::{Driver, LinkId, ListenerId};

/// One link of a driver. Made by [`Driver::link`]. What is asked here is done in the driver's next turn.
pub struct LinkMut<'a> {
    driver: &'a mut Driver,
    id: LinkId,
}

impl<'a> LinkMut<'a> {
    pub(crate) const fn new(driver: &'a mut Driver, id: LinkId) -> Self {
        Self { driver, id }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> LinkId {
        self.id
    }

    /// Opens the link again after it was closed or has given up. While an attempt is waited for, the wait is skipped;
    /// otherwise nothing changes.
    pub fn reopen(&mut self) {
        self.driver.tell(self.id.0, Client::open);
    }

    /// Asks to close the link: it says goodbye, and its events end with [`Event::Closed`](keepbeat_core::client::Event).
    /// Messages that are not acknowledged stay for [`LinkMut::reopen`].
    pub fn close(&mut self) {
        self.driver.tell(self.id.0, Client::close);
    }

    /// Accepts no more messages, and closes the link when the server has acknowledged all, or after `timeout` at the latest.
    pub fn drain(&mut self, timeout: Duration) {
        self.driver.tell(self.id.0, |client, now| client.drain(now, timeout));
    }

    /// Closes the link's socket at once, without a word, and forgets the link with all its messages and events. Its id
    /// names nothing from now on. To be polite, [`close`](Self::close) it first and wait for its last event.
    pub fn remove(self) {
        let Driver { links, sockets, .. } = self.driver;
        links.remove(self.id.0, sockets);
    }

    /// Accepts a message if there is room in the outbox.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the link is closed.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<Ticket, SendError> {
        let message = message.into();
        let Some(link) = self.driver.links.get_mut(self.id.0) else { return Err(SendError::Closed { message }) };
        let result = store::send(&mut link.keeper, &mut link.client, Clock::now(), message);
        // A message that was not accepted is no work for the driver, unless the store failed.
        if result.is_ok() || link.client.wants_turn() {
            self.driver.links.wake(self.id.0);
        }
        result
    }

    /// Sends a message before all that wait, on this connection only: after [`Event::Up`](keepbeat_core::client::Event::Up),
    /// if the configuration says [`greeting`](keepbeat_core::client::ClientConfigBuilder::greeting). Say
    /// [`LinkMut::greeted`] when all is said.
    ///
    /// # Errors
    /// The message is handed back: the link is not up or was greeted already, there is no room, or it is too large.
    pub fn greet(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = Some(message.into());
        let greeted = self.driver.tell(self.id.0, |client, now| client.greet(now, message.take().unwrap_or_default()));
        greeted.unwrap_or_else(|| Err(SendError::Closed { message: message.unwrap_or_default() }))
    }

    /// The greeting is done: what waits may leave. Without effect if there was none to do.
    pub fn greeted(&mut self) {
        self.driver.tell(self.id.0, Client::greeted);
    }

    /// The application is done with the oldest message that it has taken and not said so about: the server is told, where the
    /// configuration of MQTT says
    /// [`manual_acknowledgements`](keepbeat_core::wire::mqtt::MqttConfigBuilder::manual_acknowledgements). `false` if there is
    /// none. What came on earlier connections counts as well, and the server may send it again.
    pub fn acknowledge(&mut self) -> bool {
        self.driver.tell(self.id.0, Client::acknowledge).unwrap_or(false)
    }

    /// Answers [`DriverEvent::Credentials`](crate::DriverEvent::Credentials); `None` fails the attempt. Without effect if
    /// the attempt is over or was answered.
    pub fn credentials(&mut self, epoch: Epoch, credentials: Option<Bytes>) {
        self.driver.answer_credentials(self.id.0, epoch, credentials);
    }

    /// Tells that something happened outside that may concern the path to the server.
    pub fn hint(&mut self, hint: Hint) {
        self.driver.tell(self.id.0, |client, now| client.hint(now, hint));
    }

    /// Skips the wait for the next attempt.
    pub fn retry_now(&mut self) {
        self.driver.tell(self.id.0, Client::retry_now);
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.client().map_or(LinkState::Closed, Client::state)
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
        self.client()?.rtt()
    }

    /// What was seen of the server on the current connection.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.client()?.evidence(Clock::now())
    }

    /// What the TLS handshake of the current connection agreed on.
    #[cfg(any(feature = "tls", feature = "tls-aws-lc"))]
    #[must_use]
    pub fn tls(&self) -> Option<keepbeat_core::tunnel::tls::TlsInfo> {
        self.client()?.tls()
    }

    /// Messages accepted and not yet acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.client().map_or(0, Client::unacknowledged)
    }

    /// Whether a message of `bytes` bytes would be accepted now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.client().is_some_and(|client| client.has_room(bytes))
    }

    fn client(&self) -> Option<&Client> {
        self.driver.links.get(self.id.0).map(|link| &link.client)
    }
}

impl fmt::Debug for LinkMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkMut").field("id", &self.id).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// One listener of a driver, with all devices that came through it. Made by [`Driver::listener`]. What is asked here is
/// done in the driver's next turn.
pub struct ListenerMut<'a> {
    driver: &'a mut Driver,
    id: ListenerId,
}

impl<'a> ListenerMut<'a> {
    pub(crate) const fn new(driver: &'a mut Driver, id: ListenerId) -> Self {
        Self { driver, id }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> ListenerId {
        self.id
    }

    /// The address that is listened on, or was; with the port that the operating system chose, if it was asked to. If there
    /// are several, the first.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().first().copied()
    }

    /// The addresses that are listened on, or were, in the order of the configuration's ports.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.driver.server(self.id.0).map_or(&[], |listener| &listener.addresses)
    }

    /// Answers [`ServerEvent::Authenticate`](keepbeat_core::server::ServerEvent::Authenticate). Without effect if the
    /// connection is over or was answered for.
    pub fn answer(&mut self, connection: ConnectionId, admission: Admission) {
        self.driver.tell_listener(self.id.0, |listener, _, now| listener.server.answer(now, connection, admission));
    }

    /// Accepts a message for a device that has a session, connected or not, if there is room in its outbox.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the device has no session.
    pub fn send(&mut self, device: &DeviceId, message: impl Into<Message>) -> Result<Ticket, SendError> {
        let mut message = Some(message.into());
        let sent = self.driver.tell_listener(self.id.0, |listener, _, now| {
            listener.server.send(now, device, message.take().unwrap_or_default())
        });
        sent.unwrap_or_else(|| Err(SendError::Closed { message: message.unwrap_or_default() }))
    }

    /// Ends a device's connection with this goodbye. Its session is kept, unless the reason is
    /// [`Reason::Closed`](keepbeat_core::wire::Reason::Closed).
    pub fn disconnect(&mut self, device: &DeviceId, goodbye: Goodbye) {
        self.driver.tell_listener(self.id.0, |listener, _, now| listener.server.disconnect(now, device, goodbye));
    }

    /// Shuts down politely: closes the listening socket at once, and asks all devices to come back after `retry_after`,
    /// within the `spread` behind it. [`ListenerMut::is_over`] tells when all are gone, at the latest after the close
    /// timeout. The sessions stay; take them with [`ListenerMut::abort`] for a listener that follows.
    pub fn drain(&mut self, retry_after: Duration, spread: Duration) {
        self.driver.tell_listener(self.id.0, |listener, sockets, now| {
            listener.stop_accepting(sockets);
            listener.server.drain(now, retry_after, spread);
        });
    }

    /// Closes the listening socket and all connections at once, without a word, and returns the sessions for a listener
    /// that follows ([`ListenerBuilder::sessions`](crate::ListenerBuilder::sessions)). Events that were not taken stay
    /// until [`ListenerMut::remove`].
    pub fn abort(&mut self) -> Option<Sessions> {
        self.driver.tell_listener(self.id.0, |listener, sockets, now| listener.abort(now, sockets))
    }

    /// Closes everything at once, like [`ListenerMut::abort`], and forgets the listener with its sessions and events. Its
    /// id names nothing from now on.
    pub fn remove(self) {
        self.driver.remove_listener(self.id.0);
    }

    /// Whether the listener is drained or aborted and nobody is connected any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.driver.server(self.id.0).is_none_or(crate::listeners::Listener::is_over)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.driver.server(self.id.0).map_or(0, |listener| listener.server.connections())
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        self.driver.server(self.id.0).is_some_and(|listener| listener.server.is_connected(device))
    }

    /// What was seen of a device on its current connection.
    #[must_use]
    pub fn evidence(&self, device: &DeviceId) -> Option<Evidence> {
        self.driver.server(self.id.0)?.server.evidence(Clock::now(), device)
    }

    /// Messages for a device that it has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, device: &DeviceId) -> usize {
        self.driver.server(self.id.0).map_or(0, |listener| listener.server.unacknowledged(device))
    }

    /// Whether a message of `bytes` bytes for this device would be accepted now.
    #[must_use]
    pub fn has_room(&self, device: &DeviceId, bytes: usize) -> bool {
        self.driver.server(self.id.0).is_some_and(|listener| listener.server.has_room(device, bytes))
    }
}

impl fmt::Debug for ListenerMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerMut").field("id", &self.id).field("address", &self.local_addr()).finish_non_exhaustive()
    }
}
