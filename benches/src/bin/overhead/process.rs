//! Processors, and what they spend on a process.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

/// The processors that this thread may run on.
pub(crate) fn processors() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps this thread, and those that it begins, on one processor.
pub(crate) fn pin(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}

/// How late this thread wakes at most when it asks for a moment, in nanoseconds. Processes that it begins inherit this.
pub(crate) fn set_slack(nanos: u64) -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(nanos))?)
}

/// Processor time that all threads of a process have used, in the kernel and outside.
pub(crate) fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
        nanos += first.ok_or_else(|| io::Error::other("no time in /proc/PID/task/TID/schedstat"))?;
    }
    Ok(Duration::from_nanos(nanos))
}
