//! What anybody may ask a client.

use super::{Client, ClientConfig, Epoch, Intent, LinkState, State};
use crate::liveness::{Evidence, Liveness, Rtt};
use crate::reconnect::ReconnectState;
use crate::time::Timestamp;
use crate::wire::{DeviceId, Wire};

impl<W: Wire> Client<W> {
    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match (&self.state, self.reconnect.state()) {
            (State::Connected { ending: Some(_), .. }, _) => LinkState::Closing,
            (State::Connected { connection, .. }, _) if connection.is_established() => {
                LinkState::Up { suspect: connection.liveness().is_some_and(Liveness::is_suspect) }
            }
            (_, ReconnectState::Connecting { attempt }) => LinkState::Connecting { attempt },
            (_, ReconnectState::Waiting { at, attempt }) => LinkState::Waiting { retry_at: at, attempt },
            (_, ReconnectState::GaveUp(cause)) => LinkState::GaveUp(cause),
            _ => LinkState::Closed,
        }
    }

    /// The current round-trip estimate.
    #[must_use]
    pub fn rtt(&self) -> Option<Rtt> {
        self.liveness().and_then(Liveness::rtt)
    }

    /// What was seen of the peer on the current connection.
    #[must_use]
    pub fn evidence(&self, now: Timestamp) -> Option<Evidence> {
        self.liveness().map(|liveness| liveness.evidence(now))
    }

    /// What the TLS handshake of the current connection agreed on.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<crate::tunnel::tls::TlsInfo> {
        match &self.state {
            State::Connected { connection, .. } => connection.tls_info(),
            _ => None,
        }
    }

    /// Messages accepted and not yet acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.session.outbox.len()
    }

    /// Whether a message of `bytes` bytes would be accepted now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.intent == Intent::Open && bytes <= self.config.message_limit() && self.session.outbox.has_room(bytes)
    }

    /// Inputs that belonged to an attempt or connection that was over, saturating.
    #[must_use]
    pub const fn stale_inputs(&self) -> u32 {
        self.stale_inputs
    }

    /// Events that were dropped because 1,024 later ones waited for [`Client::poll_event`]. Messages,
    /// [`Event::Closed`](super::Event::Closed) and [`Event::GaveUp`](super::Event::GaveUp) never are.
    #[must_use]
    pub const fn missed_events(&self) -> u64 {
        self.events.missed()
    }

    /// Whether [`Client::poll_event`] has something.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.rtt_is_new || !self.events.is_empty()
    }

    /// Whether the driver should have a turn: there are actions for it, or changes for its store.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        let changed = self.account.as_ref().is_some_and(|account| account.has_changes());
        self.transmit || self.is_untold() || self.disconnect != Epoch(0) || changed
    }

    /// Whether it tells what must survive the process, because it was [restored](Client::restore).
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.is_durable())
    }

    /// The device that this link speaks for.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ClientConfig<W> {
        &self.config
    }

    pub(super) fn liveness(&self) -> Option<&Liveness> {
        match &self.state {
            State::Connected { connection, .. } => connection.liveness(),
            _ => None,
        }
    }
}
