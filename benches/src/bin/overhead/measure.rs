//! One server after the other, round after round.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use keepbeat_mio::clock::Clock;

use crate::args::Args;
use crate::counters::Counter;
use crate::load::{Fleet, Told};
use crate::process::{self, Used};
use crate::report::{Row, Table};
use crate::servers::Server;

/// System calls are counted for so long.
const COUNTING: Duration = Duration::from_secs(1);

/// With a counter that slows the server down, at most so many links.
const LINKS_UNDER_STRACE: u32 = 500;

/// What one round found out about one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) bytes_per_link: f64,
    /// Processor time, in nanoseconds.
    pub(crate) nanos_per_beat: f64,
    /// The part of it outside of the kernel.
    pub(crate) user: f64,
    /// The part of one processor that the server kept busy.
    pub(crate) processor: f64,
    pub(crate) instructions_per_beat: Option<f64>,
    pub(crate) told: Told,
}

/// Measures all servers that are asked for.
pub(crate) fn all(args: &Args) -> Result<Table, Box<dyn Error>> {
    let descriptors = process::raise_descriptor_limit()?;
    if descriptors < u64::from(args.links) + 32 {
        return Err(
            format!("{} links need more than the {descriptors} file descriptors of a process", args.links).into()
        );
    }
    let processors = process::processors()?;
    process::pin(*processors.first().ok_or("no processor")?)?;
    let (instructions, syscalls) = (Counter::of_instructions(), Counter::of_syscalls());

    let chosen = Server::value_variants().iter().filter(|server| args.only.is_empty() || args.only.contains(server));
    let mut rows: Vec<Row> = chosen.map(|server| Row::new(*server)).collect();
    for _ in 0..args.rounds {
        for row in &mut rows {
            row.samples.push(sample(row.server, args, instructions).map_err(|error| error.to_string()));
        }
    }
    if let Some(counter) = syscalls {
        for row in &mut rows {
            // What went wrong here goes wrong above.
            row.syscalls_per_beat = syscalls_per_beat(row.server, args, counter).ok().flatten();
        }
    }
    Ok(Table {
        rows,
        links: args.links,
        interval: args.interval,
        seconds: args.seconds,
        rounds: args.rounds,
        one_processor: processors.len() < 2,
        no_instructions: instructions.is_none(),
        syscalls,
    })
}

fn sample(server: Server, args: &Args, instructions: Option<Counter>) -> Result<Sample, Box<dyn Error>> {
    let span = Duration::from_secs(args.seconds);
    let subject = Subject::start(server, args.interval)?;
    let before = process::resident(subject.pid())?;
    let mut fleet = Fleet::new(subject.address, server.protocol(), args.links, args.interval)?;
    fleet.settle()?;
    let counting = instructions.map(|counter| counter.start(subject.pid(), span)).transpose()?;

    let (used, earlier, begin) = (Used::by(subject.pid())?, fleet.told(), Clock::now());
    fleet.beat_until(|| Ok(Clock::now().since(begin) >= span))?;
    let (took, told) = (Clock::now().since(begin), fleet.told());
    let (busy, user) = Used::by(subject.pid())?.since(used);
    let beats = (told.beats - earlier.beats) as f64;

    let instructions = counting.map(|counting| counting.finish()).transpose()?.flatten();
    Ok(Sample {
        bytes_per_link: process::resident(subject.pid())?.saturating_sub(before) as f64 / f64::from(args.links),
        nanos_per_beat: busy.as_nanos() as f64 / beats,
        user,
        processor: busy.as_secs_f64() / took.as_secs_f64(),
        instructions_per_beat: instructions
            .map(|count| count as f64 / (beats / took.as_secs_f64()) / span.as_secs_f64()),
        told,
    })
}

/// In a run of its own: counting costs time.
fn syscalls_per_beat(server: Server, args: &Args, counter: Counter) -> Result<Option<f64>, Box<dyn Error>> {
    let links = if counter == Counter::Strace { args.links.min(LINKS_UNDER_STRACE) } else { args.links };
    let subject = Subject::start(server, args.interval)?;
    let mut fleet = Fleet::new(subject.address, server.protocol(), links, args.interval)?;
    fleet.settle()?;
    // At least one beat of every link.
    let span = COUNTING.max(args.interval);
    let (earlier, begin) = (fleet.told(), Clock::now());
    let mut counting = counter.start(subject.pid(), span)?;
    fleet.beat_until(|| counting.is_over())?;
    let rate = (fleet.told().beats - earlier.beats) as f64 / Clock::now().since(begin).as_secs_f64();
    Ok(counting.finish()?.map(|count| count as f64 / (rate * span.as_secs_f64())))
}

/// The process of a server.
struct Subject {
    child: Child,
    address: SocketAddr,
}

impl Subject {
    fn start(server: Server, interval: Duration) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", &server.name(), "--interval", &format!("{}ms", interval.as_millis())]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut subject = Self { child, address: ([0; 4], 0).into() };
        let output = subject.child.stdout.take().ok_or("no pipe from the server")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        subject.address = address.trim().parse().map_err(|_| format!("{} did not begin to listen", server.name()))?;
        Ok(subject)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may be over already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
