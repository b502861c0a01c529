//! Limits, processors and figures of processes.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Lets this process have as many file descriptors as it may; how many that are.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

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

/// Bytes of memory that a process has in use.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10).ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
}

/// Processor time that a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Of all its threads, in the kernel and outside; exact.
    pub(crate) total: Duration,
    /// Outside of the kernel, and inside, in ticks of the kernel's clock: a sample.
    user: u64,
    system: u64,
}

impl Used {
    pub(crate) fn by(pid: u32) -> io::Result<Self> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
            nanos += first.ok_or_else(|| io::Error::other("no time in /proc/PID/task/TID/schedstat"))?;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name, which is in parentheses and may contain anything: utime and stime are the 12th and 13th.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let [user, system] = ticks[..] else { return Err(io::Error::other("no times in /proc/PID/stat")) };
        Ok(Self { total: Duration::from_nanos(nanos), user, system })
    }

    /// What was used since, and which part of it outside of the kernel.
    pub(crate) fn since(self, earlier: Self) -> (Duration, f64) {
        let [user, system] = [self.user - earlier.user, self.system - earlier.system];
        (self.total.saturating_sub(earlier.total), user as f64 / (user + system).max(1) as f64)
    }
}
