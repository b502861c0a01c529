//! What the end of a connection says about the next attempt.

use core::time::Duration;

/// What the end of a connection, or of an attempt, says about the next attempt.
///
/// Whoever knows the protocol derives it from a close code, a reason code or an HTTP status, and hands it to
/// [`Reconnect::lost`](super::Reconnect::lost).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt cannot succeed: wrong credentials, a banned client, an unknown protocol version. The machine gives
    /// up until the user opens again.
    Fatal,
    /// Try again after a wait: the one that the server asked for, else the next one of the backoff.
    Retry {
        /// The server's word. It wins over the backoff, within the bounds that [`Wait`] states.
        after: Option<Wait>,
    },
    /// Try again without backoff: the server moves this client elsewhere, or a stale session token was dropped.
    ///
    /// The wait is a random moment between one and two floors. The attempt counts. It is granted once in an episode: the
    /// next one counts as `Retry { after: None }` until a connection has been stable, so that it cannot turn into a loop.
    RetryNow,
    /// Another owner of the same identity took over (MQTT 5.0 section 4.13, reason code 0x8E; "session replaced").
    ///
    /// Two devices with one identity throw each other out for ever, so the backoff is never reset by such an end. The
    /// k-th one in a row waits at least `min(cap, base * 2^k)`, and from the third on
    /// [`Reconnect::in_conflict`](super::Reconnect::in_conflict) reports it. The row ends when a stable connection ends for
    /// another reason, or when the user opens again after a close or a give-up; other failures in between do not end it.
    Conflict,
    /// The server ended the connection without a word, in a protocol that has no word for [`Retry::Conflict`] (MQTT 3.1.1,
    /// section 3.1.4).
    ///
    /// The first two in a row that ended before they were stable are followed by the backoff; from the third on it waits as after
    /// a conflict, and [`Reconnect::in_conflict`](super::Reconnect::in_conflict) reports one. A failed attempt, a stable connection
    /// and an end of any other kind end the row: so a server that is restarted again and again is seldom taken for a rival.
    Unexplained,
}

impl Retry {
    /// The next attempt follows the backoff.
    pub const BACKOFF: Self = Self::Retry { after: None };

    /// The server asked to stay away for `after`, then to come back at a random moment within `spread`.
    #[must_use]
    pub const fn after(after: Duration, spread: Duration) -> Self {
        Self::Retry { after: Some(Wait { after, spread }) }
    }
}

/// The server's word: not before `after` has passed, then at a random moment within `spread`.
///
/// Any value is safe. Each of the two is cut to [`max_wait_hint`](super::ReconnectConfigBuilder::max_wait_hint), and the
/// sum is never below the floor. A word that asks for less than the floor counts as [`Retry::RetryNow`].
///
/// A spread of zero brings back all clients that heard the same word at the same moment. Where the protocol carries no
/// spread (`Retry-After`, RFC 9110 section 10.2.3), the one who reads it should add one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// How long to stay away.
    pub after: Duration,
    /// The window behind `after` in which the attempt comes.
    pub spread: Duration,
}
