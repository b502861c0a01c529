//! The first process: all links, and the story that they live through.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use keepbeat_mio::core::liveness::LivenessConfig;
use keepbeat_mio::core::reconnect::ReconnectConfig;
use keepbeat_mio::{ClientConfig, DeviceId, DriverEvent, Event, EventLoop, LinkBuilder, LinkId, Timestamp};

use crate::process;

/// No step takes longer, however busy the machine.
const GUARD: Duration = Duration::from_secs(120);

const INTERVAL: Duration = Duration::from_secs(5);

/// The server's process.
struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: String,
}

/// What the links have told.
#[derive(Default)]
struct Told {
    up: usize,
    /// When each link came up since the last reset.
    came_up: Vec<Timestamp>,
    answered: u64,
    suspects: u64,
    /// Connections lost, and attempts that failed.
    lost: u64,
    failed: u64,
}

struct Fleet {
    event_loop: EventLoop,
    links: Vec<LinkId>,
    told: Told,
}

pub(crate) fn run(count: usize, steady: Duration) -> Result<(), Box<dyn Error>> {
    let limit = process::raise_descriptor_limit()?;
    if limit < count as u64 + 32 {
        return Err(format!("{count} links need more than the {limit} file descriptors that a process may have").into());
    }
    let own = std::process::id();
    let mut fleet = Fleet { event_loop: EventLoop::new()?, links: Vec::with_capacity(count), told: Told::default() };
    let mut server = Server::start("127.0.0.1:0")?;
    let before = [process::resident(own)?, process::resident(server.child.id())?];

    let begin = Clock::now();
    let builder = LinkBuilder::new(server.address.clone(), config()?);
    for number in 0..count {
        let device = DeviceId::new(&format!("device-{number}"))?;
        fleet.links.push(builder.clone().device(device).open(fleet.event_loop.driver()));
    }
    fleet.send_from_all(1)?;
    fleet.turn_until("all links are up", |fleet| fleet.told.up == count)?;
    println!("{count} links were up after {:?}", rounded(Clock::now().since(begin)));
    fleet.turn_until("all messages are acknowledged", |fleet| fleet.told.up == count && fleet.waiting() == 0)?;
    let mut faults = Vec::new();
    let attempts_failed = fleet.told.failed + fleet.told.lost;
    println!("attempts that failed until then: {attempts_failed}");

    fleet.told = Told { up: count, ..Told::default() };
    let used = [process::processor_time(own)?, process::processor_time(server.child.id())?];
    let [_, suspects, lost] = server.counts()?;
    let (turns, start) = (fleet.event_loop.driver().traffic(), Clock::now());
    fleet.turn_for(steady)?;
    let took = Clock::now().since(start);
    let [messages, now_suspects, now_lost] = server.counts()?;
    let turns = fleet.event_loop.driver().traffic().wakes - turns.wakes;
    for (name, pid, place) in [("client", own, 0), ("server", server.child.id(), 1)] {
        let memory = process::resident(pid)?;
        let processor = process::processor_time(pid)?.saturating_sub(used[place]).as_secs_f64() / took.as_secs_f64();
        println!(
            "{name}: {} bytes of memory per link ({} MiB in all), {:.1} % of one processor",
            memory.saturating_sub(before[place]) / count as u64,
            memory >> 20,
            processor * 100.0
        );
    }
    let (suspects, lost) = (fleet.told.suspects + now_suspects - suspects, fleet.told.lost + now_lost - lost);
    println!(
        "{:?} of beats: {} answered in {} turns of the client; {suspects} suspects, {lost} lost",
        rounded(took),
        fleet.told.answered,
        turns
    );
    // Every link beats once per interval, minus what the begin and the end of the time cut off.
    let expected = (took.as_secs_f64() / INTERVAL.as_secs_f64() - 1.0) * count as f64;
    if (fleet.told.answered as f64) < expected {
        faults.push(format!("{} beats answered, at least {expected:.0} expected", fleet.told.answered));
    }
    if suspects + lost > 0 {
        faults.push(format!("{suspects} suspects and {lost} lost while nothing was wrong"));
    }
    if messages != count as u64 {
        faults.push(format!("the first server has {messages} messages, {count} were sent"));
    }

    fleet.told = Told::default();
    let address = server.address.clone();
    let killed = Clock::now();
    server.kill()?;
    let mut server = Server::start(&address)?;
    println!("the server was killed, and another one listened after {:?}", rounded(Clock::now().since(killed)));
    fleet.send_from_all(2)?;
    fleet.turn_until("all links are up again", |fleet| fleet.told.came_up.len() >= count)?;
    spread(&fleet.told.came_up, killed);
    fleet.turn_until("all messages are acknowledged again", |fleet| fleet.waiting() == 0)?;
    let [messages, ..] = server.counts()?;
    println!(
        "{} losses and {} failed attempts for {count} links; {messages} messages at the second server",
        fleet.told.lost, fleet.told.failed
    );
    if fleet.told.lost != count as u64 {
        faults.push(format!("{} losses were told, there were {count}", fleet.told.lost));
    }
    if messages != count as u64 {
        faults.push(format!("the second server has {messages} messages, {count} were sent while none listened"));
    }
    server.kill()?;
    if !faults.is_empty() {
        return Err(faults.join("; ").into());
    }
    println!("scale: ok");
    Ok(())
}

fn config() -> Result<ClientConfig, Box<dyn Error>> {
    let liveness = LivenessConfig::data_center().to_builder().interval(INTERVAL).build()?;
    let config = ClientConfig::builder(DeviceId::new("any")?).liveness(liveness);
    Ok(config.reconnect(ReconnectConfig::data_center()).build()?)
}

impl Fleet {
    fn send_from_all(&mut self, number: u8) -> Result<(), Box<dyn Error>> {
        let driver = self.event_loop.driver();
        for id in &self.links {
            driver.link(*id).ok_or("a link is gone")?.send(vec![number])?;
        }
        Ok(())
    }

    fn waiting(&mut self) -> usize {
        let driver = self.event_loop.driver();
        self.links.iter().filter_map(|id| driver.link(*id).map(|link| link.unacknowledged())).sum()
    }

    fn turn_for(&mut self, span: Duration) -> Result<(), Box<dyn Error>> {
        let until = Clock::now().after(span);
        while Clock::now() < until {
            self.turn(until.since(Clock::now()))?;
        }
        Ok(())
    }

    fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), Box<dyn Error>> {
        let until = Clock::now().after(GUARD);
        while !done(self) {
            let left = until.since(Clock::now());
            if left.is_zero() {
                return Err(format!("not within {GUARD:?}: {what}").into());
            }
            self.turn(left.min(Duration::from_millis(100)))?;
        }
        Ok(())
    }

    fn turn(&mut self, longest: Duration) -> Result<(), Box<dyn Error>> {
        self.event_loop.turn(Some(longest))?;
        while let Some(event) = self.event_loop.driver().next_event() {
            let DriverEvent::Link(_, event) = event else { continue };
            match event {
                Event::Up { .. } => {
                    self.told.up += 1;
                    self.told.came_up.push(Clock::now());
                }
                Event::Rtt(_) => self.told.answered += 1,
                Event::Suspect { .. } => self.told.suspects += 1,
                Event::Down { was_up: true, .. } => {
                    self.told.up = self.told.up.saturating_sub(1);
                    self.told.lost += 1;
                }
                Event::Down { was_up: false, .. } => self.told.failed += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Server {
    fn start(address: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", address]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("no pipe to the server")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no pipe from the server")?);
        let mut address = String::new();
        output.read_line(&mut address)?;
        Ok(Self { child, input, output, address: address.trim().to_owned() })
    }

    /// Messages, suspects and losses.
    fn counts(&mut self) -> Result<[u64; 3], Box<dyn Error>> {
        writeln!(self.input)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        numbers.try_into().map_err(|_| format!("the server says {line:?}").into())
    }

    fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        // SIGKILL.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error has been told already, or it is over.
        drop(self.kill());
    }
}

/// How the links came back after `killed`.
fn spread(came_up: &[Timestamp], killed: Timestamp) {
    let mut waits: Vec<u128> = came_up.iter().map(|at| at.since(killed).as_millis()).collect();
    waits.sort_unstable();
    let (Some(first), Some(last)) = (waits.first(), waits.last()) else { return };
    let part = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    println!("up again after: first {first} ms, p50 {} ms, p95 {} ms, max {last} ms", part(50), part(95));
    for hundred in 0..=last / 100 {
        let count = waits.iter().filter(|wait| **wait / 100 == hundred).count();
        println!("  {:>5} ms {count:>6} {}", hundred * 100, "#".repeat(count * 60 / waits.len()));
    }
}

const fn rounded(span: Duration) -> Duration {
    Duration::from_millis(span.as_millis() as u64)
}
