//! What goes in and out of a client link.

use alloc::boxed::Box;
use core::time::Duration;

use crate::connection::{DownReport, Failure, Outdated};
use crate::liveness::Rtt;
use crate::reconnect::GiveUpCause;
use crate::session::{Dropped, Message, Ticket};
use crate::time::Timestamp;
use crate::wire::Credentials;

/// Names one attempt and the connection that may come of it. Never used twice by the same link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

/// What the driver reports. Everything carries the epoch that it belongs to; what is stale is dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// The credentials that [`Action::FetchCredentials`] asked for.
    Credentials {
        /// The attempt.
        epoch: Epoch,
        /// The credentials.
        credentials: Credentials,
    },
    /// There are no credentials.
    CredentialsFailed {
        /// The attempt.
        epoch: Epoch,
    },
    /// The connection is open.
    Opened {
        /// The attempt.
        epoch: Epoch,
    },
    /// The connection could not be opened.
    OpenFailed {
        /// The attempt.
        epoch: Epoch,
        /// Why not.
        failure: Failure,
    },
    /// Bytes arrived.
    Received {
        /// The connection.
        epoch: Epoch,
        /// The bytes, at least one.
        bytes: &'a [u8],
    },
    /// The operating system took bytes of [`Client::transmit`](super::Client::transmit).
    Written {
        /// The connection.
        epoch: Epoch,
        /// How many.
        count: usize,
    },
    /// The connection is over, for reading or altogether.
    Ended {
        /// The connection.
        epoch: Epoch,
        /// How it ended.
        failure: Failure,
    },
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the provider for credentials and report [`Input::Credentials`] or [`Input::CredentialsFailed`].
    FetchCredentials {
        /// The attempt.
        epoch: Epoch,
        /// The server did not accept the last ones: get new ones, not a stored copy.
        refresh: bool,
    },
    /// Look the address up and open a connection; report [`Input::Opened`] or [`Input::OpenFailed`].
    Connect {
        /// The attempt.
        epoch: Epoch,
    },
    /// Bytes wait in [`Client::transmit`](super::Client::transmit): write them as far as the socket takes them, now and
    /// whenever it becomes writable again.
    Transmit {
        /// The connection.
        epoch: Epoch,
    },
    /// Give the attempt up, or close the connection, at once. Nothing need be reported.
    Disconnect {
        /// The attempt or connection.
        epoch: Epoch,
    },
}

/// What the application is told, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt begins. It ends in [`Event::Up`], [`Event::Down`] or [`Event::Closed`].
    Connecting {
        /// Counts the attempts since the link was last stable, from 1.
        attempt: u32,
    },
    /// The link is up. It ends in [`Event::Down`] or [`Event::Closed`].
    Up {
        /// Whether the session goes on. If not, the server does not know of an earlier one.
        resumed: bool,
        /// The attempt that succeeded.
        attempt: u32,
        /// The time since the link went down or was opened.
        took: Duration,
        /// Messages that may arrive twice, because the session in which they left is lost. 0 if resumed.
        in_doubt: usize,
        /// The beat interval that the server granted.
        interval: Duration,
        /// The longest time from the peer's death to the verdict at these terms.
        worst_case_detection: Duration,
    },
    /// A message of the peer. Every one exactly once within a session, in order.
    Message(Message),
    /// The peer has received this message and all before it.
    Acknowledged {
        /// The newest message.
        through: Ticket,
    },
    /// The peer says this to a message, beyond that it arrived: an [`Answer`](crate::wire::mqtt::Answer) of MQTT.
    Answered {
        /// The message. `None` if the link asked by itself: a subscription could not be renewed after the server had lost the
        /// session.
        ticket: Option<Ticket>,
        /// What it says.
        answer: Message,
    },
    /// An accepted message will not be delivered.
    Dropped(Dropped),
    /// The peer is late and is being probed.
    Suspect {
        /// How long nothing has been received.
        silent_for: Duration,
    },
    /// The suspect is alive.
    Recovered,
    /// A new round-trip estimate. Only the newest is kept for an application that does not look.
    Rtt(Rtt),
    /// The connection, or an attempt, ended.
    Down {
        /// Why, and what was seen of the peer.
        report: Box<DownReport>,
        /// When the next attempt comes. `None` if none does; [`Event::GaveUp`] follows then.
        retry_at: Option<Timestamp>,
        /// Whether the link was up; if not, an attempt failed.
        was_up: bool,
        /// Whether devices with the same id keep throwing each other out, or, in MQTT 3.1.1, seem to: its servers do so without a
        /// word, as they do with a client whose message they do not allow.
        conflict: bool,
    },
    /// No further attempt comes until the link is opened again. Messages not acknowledged are kept until then.
    GaveUp {
        /// Why.
        cause: GiveUpCause,
        /// Messages not acknowledged.
        unacknowledged: usize,
    },
    /// The link was closed by our side, and stays so until it is opened again.
    Closed {
        /// Messages not acknowledged. They are kept until the link is opened again.
        unacknowledged: usize,
    },
}

impl Outdated for Event {
    fn is_outdated_by_later(&self) -> bool {
        !matches!(self, Self::Message(_) | Self::Answered { .. } | Self::Closed { .. } | Self::GaveUp { .. })
    }
}

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// Closed, or not opened yet.
    Closed,
    /// No further attempt comes until the link is opened again.
    GaveUp(GiveUpCause),
    /// Down; the next attempt is planned.
    Waiting {
        /// When the next attempt comes.
        retry_at: Timestamp,
        /// Which one it will be.
        attempt: u32,
    },
    /// An attempt is under way: credentials, look-up, connection or handshake.
    Connecting {
        /// Which one.
        attempt: u32,
    },
    /// The link is up.
    Up {
        /// Whether the peer is late and being probed.
        suspect: bool,
    },
    /// Saying goodbye.
    Closing,
}

impl LinkState {
    /// Whether nothing more happens until the link is opened.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::GaveUp(_))
    }
}
