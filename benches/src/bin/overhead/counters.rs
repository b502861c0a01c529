//! What other programs count of a process: perf if it may, strace if not.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Something that can be counted on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// An event of `perf stat`. It slows the process down by little.
    Perf(&'static str),
    /// `strace -c`. It slows every system call down by a hundredfold.
    Strace,
}

impl Counter {
    /// What counts the system calls of another process here.
    pub(crate) fn of_syscalls() -> Option<Self> {
        [Self::Perf("raw_syscalls:sys_enter"), Self::Strace].into_iter().find(|counter| counter.works())
    }

    /// What counts the instructions of another process here.
    pub(crate) fn of_instructions() -> Option<Self> {
        Some(Self::Perf("instructions")).filter(|counter| counter.works())
    }

    /// Begins to count for so long. This process need not wait meanwhile.
    pub(crate) fn start(self, pid: u32, span: Duration) -> io::Result<Counting> {
        let (pid, span) = (pid.to_string(), span.as_secs_f64().to_string());
        let mut command = match self {
            Self::Perf(event) => {
                let mut command = Command::new("perf");
                command.args(["stat", "-x,", "-e", event, "-p", &pid, "--", "sleep", &span]);
                command
            }
            Self::Strace => {
                let mut command = Command::new("timeout");
                command.args(["--signal=INT", &span, "strace", "-qq", "-c", "-f", "-p", &pid]);
                command
            }
        };
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(Counting { counter: self, child: command.spawn()? })
    }

    fn works(self) -> bool {
        let count = || -> io::Result<Option<u64>> {
            let mut counting = self.start(std::process::id(), Duration::from_millis(100))?;
            // Asking gives it something to count.
            while !counting.is_over()? {
                std::thread::yield_now();
            }
            counting.finish()
        };
        count().is_ok_and(|count| count.is_some())
    }

    fn parse(self, output: &str) -> Option<u64> {
        match self {
            Self::Perf(event) => {
                let line = output.lines().find(|line| line.contains(event))?;
                line.split(',').next()?.parse().ok()
            }
            // The calls are the fourth of "100.00    0.001234           4       308         1 total"; errors may be missing.
            Self::Strace => {
                let line = output.lines().find(|line| line.ends_with(" total"))?;
                line.split_whitespace().nth(3)?.parse().ok()
            }
        }
    }
}

pub(crate) struct Counting {
    counter: Counter,
    child: Child,
}

impl Counting {
    pub(crate) fn is_over(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the end. `None` if the machine does not count this.
    pub(crate) fn finish(self) -> io::Result<Option<u64>> {
        let Output { stderr, .. } = self.child.wait_with_output()?;
        Ok(self.counter.parse(&String::from_utf8_lossy(&stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_says_is_understood() {
        let counter = Counter::Perf("instructions");
        assert_eq!(counter.parse("12345,,instructions,1000,100.00,,\n"), Some(12345));
        assert_eq!(counter.parse("<not supported>,,instructions,0,100.00,,\n"), None);
        assert_eq!(counter.parse("event syntax error: 'raw_syscalls:sys_enter'\n"), None);
    }

    #[test]
    fn what_strace_says_is_understood() {
        let told = "  0.00    0.000000           0         1           close\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.000123           3       308         1 total\n";
        assert_eq!(Counter::Strace.parse(told), Some(308));
        assert_eq!(Counter::Strace.parse("strace: attach: Operation not permitted\n"), None);
    }
}
