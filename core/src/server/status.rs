//! What anybody may ask a server.

use super::{Server, ServerConfig};
use crate::liveness::Evidence;
use crate::time::Timestamp;
use crate::wire::{DeviceId, Wire};

impl<W: Wire> Server<W> {
    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        self.devices.by_id(device).is_some_and(|device| device.connection().is_some())
    }

    /// What was seen of a device on its current connection.
    #[must_use]
    pub fn evidence(&self, now: Timestamp, device: &DeviceId) -> Option<Evidence> {
        self.connections.get(self.devices.by_id(device)?.connection()?)?.connection.evidence(now)
    }

    /// Whether a message of `bytes` bytes for this device would be accepted now.
    #[must_use]
    pub fn has_room(&self, device: &DeviceId, bytes: usize) -> bool {
        bytes <= self.message_limit
            && self
                .devices
                .by_id(device)
                .is_some_and(|entry| entry.has_session() && entry.session.outbox.has_room(bytes))
    }

    /// Messages for a device that it has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, device: &DeviceId) -> usize {
        self.devices.by_id(device).map_or(0, |device| device.session.outbox.len())
    }

    /// Inputs that belonged to a connection that was over.
    #[must_use]
    pub const fn stale_inputs(&self) -> u64 {
        self.stale_inputs
    }

    /// Events that were dropped because 65,536 later ones waited for [`Server::poll_event`]. Messages, and sessions that
    /// ended with messages undelivered, never are.
    #[must_use]
    pub const fn missed_events(&self) -> u64 {
        self.events.missed()
    }

    /// Whether [`Server::poll_event`] has something.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ServerConfig<W> {
        &self.config
    }
}
