//! Time as the core sees it: a number that the driver read from its clock.
//!
//! The core never asks what time it is. The driver reads a clock that counts suspend (`CLOCK_BOOTTIME` on Linux) once
//! per turn and passes the same [`Timestamp`] to everything in that turn. All arithmetic saturates: no value that a
//! clock, a configuration or a peer can produce makes it panic.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// A moment, in nanoseconds since a start that the driver chose.
///
/// `Option<Timestamp>` takes eight bytes. The largest value is about 584 years after the start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The start: zero nanoseconds.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// The last moment that can be expressed.
    pub const MAX: Self = Self(NonZeroU64::MAX);

    /// The moment `nanos` nanoseconds after the start. `u64::MAX` is taken for `u64::MAX - 1`.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        match NonZeroU64::new(nanos.saturating_add(1)) {
            Some(value) => Self(value),
            None => Self::MAX,
        }
    }

    /// The moment `millis` milliseconds after the start, saturating.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// Whole milliseconds since the start, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.as_nanos() / 1_000_000
    }

    /// This moment plus `span`, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        self.after_nanos(nanos(span))
    }

    /// This moment plus a span in nanoseconds, at most [`Timestamp::MAX`].
    #[inline]
    pub(crate) const fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This moment minus `span`, at least [`Timestamp::ZERO`].
    #[must_use]
    pub const fn before(self, span: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_sub(nanos(span)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds.
    #[inline]
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.as_nanos();
        write!(f, "{}.{:09}s", nanos / 1_000_000_000, nanos % 1_000_000_000)
    }
}

/// Nanoseconds of `span`, at most `u64::MAX` (about 584 years).
#[inline]
#[must_use]
pub(crate) const fn nanos(span: Duration) -> u64 {
    // By hand, because `Duration::as_nanos` counts in 128 bits.
    match span.as_secs().checked_mul(1_000_000_000) {
        Some(nanos) => nanos.saturating_add(span.subsec_nanos() as u64),
        None => u64::MAX,
    }
}

/// Milliseconds of `span`, rounded up, at most `u32::MAX`: how wires carry time.
#[must_use]
pub(crate) const fn wire_millis(span: Duration) -> u32 {
    let millis = span.as_nanos().div_ceil(1_000_000);
    if millis > u32::MAX as u128 { u32::MAX } else { millis as u32 }
}

/// When a machine wants to be called next, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The moment from which `handle_timeout` has work to do.
    pub at: Timestamp,
    /// What that work is. For logs and tests; a driver needs only `at`.
    pub cause: DeadlineCause,
}

impl Deadline {
    pub(crate) const fn new(at: Timestamp, cause: DeadlineCause) -> Self {
        Self { at, cause }
    }

    /// The earlier of the two; the first on a tie.
    #[inline]
    pub(crate) fn earlier(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        match (first, second) {
            (Some(a), Some(b)) if b.at < a.at => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }
}

/// Why a machine wants to be called at a [`Deadline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineCause {
    /// Our next beat is due.
    Beat,
    /// The peer's reply, or its own beat, is late from then on.
    Reply,
    /// The next quick probe of a suspected peer is due.
    Probe,
    /// The suspected peer is declared dead.
    Verdict,
    /// Our own bytes have not moved for too long.
    WriteStall,
    /// The peer has been sending one frame for too long.
    FrameTime,
    /// Our own application has not taken what arrived for too long.
    ReadPause,
    /// The connection attempt takes too long.
    Connect,
    /// The next address of the name has its turn.
    NextAddress,
    /// The credentials provider takes too long.
    Credentials,
    /// The handshake takes too long.
    Handshake,
    /// Our own application takes too long to greet the peer.
    Greeting,
    /// The next connection attempt is due.
    Reconnect,
    /// The time for trying again is used up.
    GiveUp,
    /// The last messages before a close take too long.
    Drain,
    /// The closing connection is cut.
    Close,
    /// A queued message reaches its age limit.
    MessageAge,
    /// A device that went away is reported offline.
    Grace,
    /// The session of a device that went away is given up.
    SessionExpiry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX)), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX) + Duration::from_nanos(1)), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX - 1)), u64::MAX - 1);
        assert_eq!(Timestamp::from_nanos(u64::MAX - 3).after(Duration::from_nanos(1)).as_nanos(), u64::MAX - 2);
        assert_eq!(Timestamp::MAX.after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_nanos(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::MAX);
    }

    #[test]
    fn an_optional_timestamp_is_eight_bytes() {
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
    }

    #[test]
    fn wire_milliseconds_round_up() {
        assert_eq!(wire_millis(Duration::from_micros(1)), 1);
        assert_eq!(wire_millis(Duration::from_millis(5)), 5);
        assert_eq!(wire_millis(Duration::MAX), u32::MAX);
    }
}
