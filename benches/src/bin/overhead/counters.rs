//! What other programs count of a process: perf if it may, strace if not.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Of all system calls, those that write to a socket. A server answers each beat with one of them, so that what else was
/// counted in the same time can be divided by these, whenever the counter began and ended.
const ANSWERS: [&str; 3] = ["sendto", "sendmsg", "writev"];

/// Something that counts on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// `perf stat`. It slows the process down by little.
    Perf,
    /// `strace -c`. It slows every system call down by a hundredfold.
    Strace,
}

/// What was counted in the same span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    syscalls: u64,
    /// Those of the system calls that are in [`ANSWERS`].
    answers: u64,
    /// Only with perf, and if the machine lets it.
    instructions: Option<u64>,
}

impl Counts {
    pub(crate) fn syscalls_per_answer(self) -> Option<f64> {
        self.per_answer(self.syscalls)
    }

    pub(crate) fn instructions_per_answer(self) -> Option<f64> {
        self.per_answer(self.instructions?)
    }

    fn per_answer(self, count: u64) -> Option<f64> {
        (self.answers > 0).then(|| count as f64 / self.answers as f64)
    }
}

impl Counter {
    /// What counts the system calls of another process here.
    pub(crate) fn find() -> Option<Self> {
        [Self::Perf, Self::Strace].into_iter().find(|counter| counter.works())
    }

    /// Begins to count for so long. This process need not wait meanwhile.
    pub(crate) fn start(self, pid: u32, span: Duration) -> io::Result<Counting> {
        let (pid, span) = (pid.to_string(), span.as_secs_f64().to_string());
        let mut command = match self {
            Self::Perf => {
                let answers = ANSWERS.map(|name| format!(",syscalls:sys_enter_{name}")).concat();
                let mut command = Command::new("perf");
                command.args(["stat", "-x,", "-e", &format!("{{raw_syscalls:sys_enter{answers}}},instructions")]);
                command.args(["-p", &pid, "--", "sleep", &span]);
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
        let count = || -> io::Result<Option<Counts>> {
            let mut counting = self.start(std::process::id(), Duration::from_millis(100))?;
            // Asking gives it something to count.
            while !counting.is_over()? {
                std::thread::yield_now();
            }
            counting.finish()
        };
        count().is_ok_and(|counts| counts.is_some())
    }

    fn parse(self, output: &str) -> Option<Counts> {
        let mut counts = Counts::default();
        let mut found = false;
        for line in output.lines() {
            let Some((name, count)) = self.line(line) else { continue };
            match name {
                "raw_syscalls:sys_enter" | "total" => (counts.syscalls, found) = (count, true),
                "instructions" => counts.instructions = Some(count),
                name if ANSWERS.contains(&name.trim_start_matches("syscalls:sys_enter_")) => counts.answers += count,
                _ => {}
            }
        }
        found.then_some(counts)
    }

    /// A name and its count.
    fn line(self, line: &str) -> Option<(&str, u64)> {
        match self {
            // "12345,,instructions,1000,100.00,,"
            Self::Perf => {
                let mut fields = line.split(',');
                let count = fields.next()?.parse().ok()?;
                Some((fields.nth(1)?, count))
            }
            // The calls are the fourth of "100.00    0.001234           4       308         1 total"; errors may be missing.
            Self::Strace => {
                let fields: Vec<&str> = line.split_whitespace().collect();
                Some((fields.last()?, fields.get(3)?.parse().ok()?))
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

    /// Waits for the end. `None` if the machine does not count system calls.
    pub(crate) fn finish(self) -> io::Result<Option<Counts>> {
        let Output { stderr, .. } = self.child.wait_with_output()?;
        Ok(self.counter.parse(&String::from_utf8_lossy(&stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_says_is_understood() {
        let told = "210,,raw_syscalls:sys_enter,1000,100.00,,\n\
                    97,,syscalls:sys_enter_sendto,1000,100.00,,\n\
                    0,,syscalls:sys_enter_sendmsg,1000,100.00,,\n\
                    3,,syscalls:sys_enter_writev,1000,100.00,,\n";
        let counts = Counts { syscalls: 210, answers: 100, instructions: None };
        assert_eq!(Counter::Perf.parse(&format!("{told}<not supported>,,instructions,0,100.00,,\n")), Some(counts));
        let counts = Counts { instructions: Some(5000), ..counts };
        assert_eq!(Counter::Perf.parse(&format!("{told}5000,,instructions,1000,100.00,,\n")), Some(counts));
        assert_eq!(counts.syscalls_per_answer(), Some(2.1));
        assert_eq!(counts.instructions_per_answer(), Some(50.0));
        assert_eq!(Counter::Perf.parse("event syntax error: 'raw_syscalls:sys_enter'\n"), None);
    }

    #[test]
    fn what_strace_says_is_understood() {
        let told = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                     60.00    0.000100           3       100           sendto\n\
                     40.00    0.000023           3       208         1 recvfrom\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.000123           3       308         1 total\n";
        assert_eq!(Counter::Strace.parse(told), Some(Counts { syscalls: 308, answers: 100, instructions: None }));
        assert_eq!(Counter::Strace.parse("strace: attach: Operation not permitted\n"), None);
    }

    #[test]
    fn without_an_answer_nothing_can_be_said_of_one() {
        let counts = Counts { syscalls: 308, answers: 0, instructions: Some(1) };
        assert_eq!((counts.syscalls_per_answer(), counts.instructions_per_answer()), (None, None));
    }
}
