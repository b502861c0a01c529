//! What the fuzz targets share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// No input may take longer than this: 100 ms.
pub const LIMIT: Duration = Duration::from_millis(100);

/// Runs `target` with `data`, and fails if that takes longer than [`LIMIT`], twice.
///
/// The processor time of this thread counts, so that other programs on the machine are not held against the input; and the
/// second time, what they do to a cache is not either.
///
/// # Panics
/// If `target` does, or if it takes too long.
pub fn in_time(target: fn(&[u8]), data: &[u8]) {
    let took = match time(target, data) {
        took if took > LIMIT => took.min(time(target, data)),
        took => took,
    };
    assert!(took <= LIMIT, "slow unit: {took:?} for {} bytes, at most {LIMIT:?}", data.len());
}

fn time(target: fn(&[u8]), data: &[u8]) -> Duration {
    let start = processor_time();
    target(data);
    processor_time().saturating_sub(start)
}

fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
