//! One server after the other, round after round.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use keepbeat_benches::process::{raise_descriptor_limit, resident};
use keepbeat_mio::clock::Clock;

use crate::args::Args;
use crate::counters::{Counter, Counts};
use crate::load::{Fleet, Told};
use crate::process;
use crate::report::{Row, Table};
use crate::servers::Server;

/// System calls and instructions are counted for so long.
const COUNTING: Duration = Duration::from_secs(1);

/// For every beat to leave at its moment; in nanoseconds.
const SLACK: u64 = 1000;

/// With a counter that slows the server down, at most so many links.
const LINKS_UNDER_STRACE: u32 = 500;

/// What one round found out about one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) bytes_per_link: f64,
    /// Processor time, in nanoseconds.
    pub(crate) nanos_per_beat: f64,
    /// The part of one processor that the server kept busy.
    pub(crate) processor: f64,
    /// While it was measured.
    pub(crate) told: Told,
}

/// A round that gave no sample.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Links that were not up in the end.
    pub(crate) lost: u32,
}

/// Measures all servers that are asked for.
pub(crate) fn all(args: &Args) -> Result<Table, Box<dyn Error>> {
    let descriptors = raise_descriptor_limit()?;
    if descriptors < u64::from(args.links) + 32 {
        return Err(
            format!("{} links need more than the {descriptors} file descriptors of a process", args.links).into()
        );
    }
    let processors = process::processors()?;
    process::pin(*processors.first().ok_or("no processor")?)?;
    process::set_slack(SLACK)?;
    let counter = Counter::find();

    let chosen = Server::value_variants().iter().filter(|server| args.only.is_empty() || args.only.contains(server));
    let mut rows: Vec<Row> = chosen.map(|server| Row::new(*server)).collect();
    for _ in 0..args.rounds {
        for row in &mut rows {
            row.samples.push(sample(row.server, args));
        }
    }
    if let Some(counter) = counter {
        for row in &mut rows {
            // What went wrong here goes wrong above.
            row.counts = counted(row.server, args, counter).ok().flatten();
        }
    }
    Ok(Table {
        rows,
        links: args.links,
        interval: args.interval,
        bursts: args.burst,
        seconds: args.seconds,
        rounds: args.rounds,
        one_processor: processors.len() < 2,
        counter,
    })
}

/// The clients' own view of a round that failed is told, too: how many links were missing.
fn sample(server: Server, args: &Args) -> Result<Sample, Failure> {
    let mut fleet = None;
    measured(server, args, &mut fleet)
        .map_err(|error| Failure { why: error.to_string(), lost: fleet.map_or(args.links, |fleet| fleet.missing()) })
}

fn measured(server: Server, args: &Args, fleet: &mut Option<Fleet>) -> Result<Sample, Box<dyn Error>> {
    let span = Duration::from_secs(args.seconds);
    let subject = Subject::start(server, args)?;
    let before = resident(subject.pid())?;
    let fleet = fleet.insert(Fleet::new(subject.address, server.protocol(), args.links, args)?);
    fleet.settle()?;

    let (used, earlier, begin) = (process::processor_time(subject.pid())?, fleet.told(), Clock::now());
    fleet.beat_until(|| Ok(Clock::now().since(begin) >= span))?;
    let (took, told) = (Clock::now().since(begin), fleet.told().since(earlier));
    let busy = process::processor_time(subject.pid())?.saturating_sub(used);
    if told.beats == 0 {
        return Err("no beat was answered".into());
    }
    Ok(Sample {
        bytes_per_link: resident(subject.pid())?.saturating_sub(before) as f64 / f64::from(args.links),
        nanos_per_beat: busy.as_nanos() as f64 / told.beats as f64,
        processor: busy.as_secs_f64() / took.as_secs_f64(),
        told,
    })
}

/// In a run of its own: counting costs time.
fn counted(server: Server, args: &Args, counter: Counter) -> Result<Option<Counts>, Box<dyn Error>> {
    let links = if counter == Counter::Strace { args.links.min(LINKS_UNDER_STRACE) } else { args.links };
    let subject = Subject::start(server, args)?;
    let mut fleet = Fleet::new(subject.address, server.protocol(), links, args)?;
    fleet.settle()?;
    // At least one beat of every link.
    let mut counting = counter.start(subject.pid(), COUNTING.max(args.interval))?;
    fleet.beat_until(|| counting.is_over())?;
    Ok(counting.finish()?)
}

/// The process of a server.
struct Subject {
    child: Child,
    address: SocketAddr,
}

impl Subject {
    fn start(server: Server, args: &Args) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", &server.name(), "--links", &args.links.to_string()]);
        command.args(["--interval", &format!("{}ms", args.interval.as_millis())]);
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
