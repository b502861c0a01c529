//! The clock that every turn reads once.

use keepbeat_core::time::Timestamp;

/// A monotonic clock that goes on while the machine is suspended, wherever the platform has one.
///
/// | platform | clock | counts suspend |
/// |---|---|---|
/// | Linux, Android | `CLOCK_BOOTTIME` | yes |
/// | macOS, iOS | `CLOCK_MONOTONIC` | yes |
/// | elsewhere | [`std::time::Instant`] | on Windows |
///
/// On the first two it counts from the boot of the machine, elsewhere from its first reading in this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock;

#[cfg(feature = "test-clock")]
static SKIPPED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Clock {
    /// The current moment, in nanoseconds. Compare it with the timestamps of events.
    #[must_use]
    pub fn now() -> Timestamp {
        #[cfg(feature = "test-clock")]
        return Timestamp::from_nanos(nanos().saturating_add(SKIPPED.load(std::sync::atomic::Ordering::SeqCst)));
        #[cfg(not(feature = "test-clock"))]
        Timestamp::from_nanos(nanos())
    }

    /// Moves the clock of this process forward, as a suspend of the machine does. For tests of adapters.
    #[cfg(feature = "test-clock")]
    pub fn skip(gap: std::time::Duration) {
        let nanos = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX);
        SKIPPED.fetch_add(nanos, std::sync::atomic::Ordering::SeqCst);
        crate::suspend::look_now();
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn nanos() -> u64 {
    #[cfg(target_vendor = "apple")]
    const ID: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    #[cfg(not(target_vendor = "apple"))]
    const ID: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    let time = rustix::time::clock_gettime(ID);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
#[expect(clippy::disallowed_methods, reason = "this is the one place where the adapter reads the clock")]
fn nanos() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let mut last = Clock::now();
        for _ in 0..1000 {
            let now = Clock::now();
            assert!(now >= last);
            last = now;
        }
    }
}
