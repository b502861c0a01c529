//! What idle links cost: how often their process wakes, on each adapter.
//!
//! `cargo run --release -p keepbeat-conformance --example idle -- --runtime tokio --links 1000 --interval 25 --seconds 60`
//!
//! An idle link wakes to send a beat and to take its answer: two wake-ups for each interval. Everything above twice the
//! interval's rate and 10 % fails. The server is another process, so that only the links are counted. They run on one thread;
//! with `--threads yes` on the runtime's usual ones, which wake each other, so that only the turns of links are judged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use keepbeat_core::client::{ClientConfig, LinkState};
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::server::ServerConfig;
use keepbeat_core::wire::DeviceId;

/// Allowed above two wake-ups per interval.
const MARGIN: f64 = 1.10;

fn main() -> ExitCode {
    let options = options();
    let number = |name: &str, default: u64| options.get(name).map_or(default, |text| text.parse().unwrap());
    let (links, interval, seconds) = (number("links", 1000), number("interval", 25), number("seconds", 60));
    if options.contains_key("serve") {
        serve();
        return ExitCode::SUCCESS;
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--serve", "yes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let runtime = options.get("runtime").map_or("tokio", String::as_str);
    let threads = options.contains_key("threads");
    let plan = Plan {
        address: address.trim().to_owned(),
        links: usize::try_from(links).unwrap(),
        interval: Duration::from_secs(interval),
        measured: Duration::from_secs(seconds),
    };
    let seen = match runtime {
        "tokio" => on_tokio(&plan, threads),
        "smol" => on_smol(&plan, threads),
        "mio" if !threads => on_mio(&plan),
        other => panic!("{other} is no runtime; give tokio, smol or mio"),
    };
    drop(server.stdin.take());
    server.wait().unwrap();
    if plan.judge(runtime, threads, &seen) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options() -> HashMap<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words.chunks(2).map(|pair| (pair[0].trim_start_matches("--").to_owned(), pair[1].clone())).collect()
}

struct Plan {
    address: String,
    links: usize,
    interval: Duration,
    measured: Duration,
}

fn device(link: usize) -> DeviceId {
    DeviceId::new(&format!("idle-{link}")).unwrap()
}

/// From the first to the last reading.
struct Seen {
    elapsed: Duration,
    wake_ups: u64,
    turns: Option<u64>,
    beats: u64,
    still_up: usize,
}

impl Plan {
    fn config(&self) -> ClientConfig {
        let liveness =
            LivenessConfig::builder().interval(self.interval).reply_timeout(self.interval / 2).build().unwrap();
        ClientConfig::builder(device(0)).liveness(liveness).build().unwrap()
    }

    /// The first beat comes early; afterwards the links are spread over the interval.
    fn settle(&self) -> Duration {
        self.interval + Duration::from_secs(1)
    }

    fn judge(&self, runtime: &str, threads: bool, seen: &Seen) -> bool {
        let Seen { elapsed, wake_ups, turns, beats, still_up } = *seen;
        let rate = |count: u64| count as f64 / elapsed.as_secs_f64() / self.links as f64;
        let limit = 2.0 / self.interval.as_secs_f64() * MARGIN;
        println!(
            "{runtime}: {} idle links, interval {:?}, {:.1} s: {wake_ups} voluntary context switches, {beats} beats{}",
            self.links,
            self.interval,
            elapsed.as_secs_f64(),
            turns.map_or_else(String::new, |turns| format!(", {turns} turns of links"))
        );
        println!(
            "{runtime}: {:.4} wake-ups per second and link{}; at most {limit:.4}",
            rate(wake_ups),
            turns.map_or_else(String::new, |turns| format!(", {:.4} turns", rate(turns)))
        );
        let fine = (threads || rate(wake_ups) <= limit) && turns.is_none_or(|turns| rate(turns) <= limit);
        println!("{runtime}: {still_up} of {} links still up: {}", self.links, if fine { "ok" } else { "TOO MUCH" });
        fine && still_up == self.links
    }
}

/// How often the threads of this process gave the processor up by themselves.
fn voluntary_switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this needs Linux's /proc");
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok()).map(|text| of(&text)).sum()
}

fn of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

async fn watch(plan: &Plan, links: &[keepbeat_adapter::Link], sleep: impl AsyncFn(Duration)) -> Seen {
    // Events are of no interest: those that nobody takes are outdated by later ones.
    while links.iter().any(|link| !is_up(link.state())) {
        sleep(Duration::from_millis(50)).await;
    }
    sleep(plan.settle()).await;
    let turns = || links.iter().map(|link| link.traffic().wakes).sum::<u64>();
    let beats = || links.iter().filter_map(|link| Some(u64::from(link.evidence()?.beats_sent))).sum::<u64>();
    let (begin, before, turned, beaten) = (Instant::now(), voluntary_switches(), turns(), beats());
    sleep(plan.measured).await;
    Seen {
        elapsed: begin.elapsed(),
        wake_ups: voluntary_switches() - before,
        turns: Some(turns() - turned),
        beats: beats() - beaten,
        still_up: links.iter().filter(|link| is_up(link.state())).count(),
    }
}

const fn is_up(state: LinkState) -> bool {
    matches!(state, LinkState::Up { suspect: false })
}

fn on_tokio(plan: &Plan, threads: bool) -> Seen {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    if threads {
        builder = tokio::runtime::Builder::new_multi_thread();
    }
    builder.enable_all().build().unwrap().block_on(async {
        let builder = keepbeat_tokio::Link::builder(plan.address.clone(), plan.config());
        let open = |link| builder.clone().device(device(link)).start().into();
        let links: Vec<_> = (0..plan.links).map(open).collect();
        watch(plan, &links, tokio::time::sleep).await
    })
}

fn on_smol(plan: &Plan, threads: bool) -> Seen {
    let executor = smol::LocalExecutor::new();
    let builder = keepbeat_smol::Link::builder(plan.address.clone(), plan.config());
    let open = |link| {
        let builder = builder.clone().device(device(link));
        if threads {
            return builder.open().unwrap().into();
        }
        let (link, driver) = builder.build().unwrap();
        executor.spawn(driver).detach();
        link.into()
    };
    let links: Vec<_> = (0..plan.links).map(open).collect();
    let sleep = async |time| {
        smol::Timer::after(time).await;
    };
    smol::block_on(executor.run(watch(plan, &links, sleep)))
}

fn on_mio(plan: &Plan) -> Seen {
    let mut event_loop = keepbeat_mio::EventLoop::new().unwrap();
    let builder = keepbeat_mio::LinkBuilder::new(plan.address.clone(), plan.config());
    let open = |link| builder.clone().device(device(link)).open(event_loop.driver());
    let links: Vec<_> = (0..plan.links).map(open).collect();
    let turn = |event_loop: &mut keepbeat_mio::EventLoop, until: Option<Instant>| {
        event_loop.turn(until.map(|until| until.saturating_duration_since(Instant::now()))).unwrap();
        while event_loop.driver().next_event().is_some() {}
    };
    let up = |event_loop: &mut keepbeat_mio::EventLoop| {
        links.iter().filter(|link| is_up(event_loop.driver().link(**link).unwrap().state())).count()
    };
    while up(&mut event_loop) < plan.links {
        turn(&mut event_loop, None);
    }
    let settled = Instant::now() + plan.settle();
    while Instant::now() < settled {
        turn(&mut event_loop, Some(settled));
    }
    let (begin, before, beaten) = (Instant::now(), voluntary_switches(), beats(event_loop.driver(), &links));
    let end = begin + plan.measured;
    while Instant::now() < end {
        turn(&mut event_loop, Some(end));
    }
    let still_up = up(&mut event_loop);
    let (elapsed, wake_ups) = (begin.elapsed(), voluntary_switches() - before);
    let beats = beats(event_loop.driver(), &links) - beaten;
    Seen { elapsed, wake_ups, turns: None, beats, still_up }
}

fn beats(driver: &mut keepbeat_mio::Driver, links: &[keepbeat_mio::LinkId]) -> u64 {
    links.iter().filter_map(|link| Some(u64::from(driver.link(*link)?.evidence()?.beats_sent))).sum()
}

/// Answers beats until its stdin ends.
fn serve() {
    let config = ServerConfig::builder().intervals(Duration::from_millis(100), Duration::from_secs(600));
    let mut event_loop = keepbeat_mio::EventLoop::new().unwrap();
    let listener = event_loop.driver().listen("127.0.0.1:0", config.build().unwrap()).unwrap();
    println!("{}", event_loop.driver().listener(listener).unwrap().local_addr().unwrap());
    let remote = event_loop.remote();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = over.clone();
    std::thread::spawn(move || {
        drop(std::io::stdin().read_line(&mut String::new()));
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        drop(remote.run(|_| {}));
    });
    while !over.load(std::sync::atomic::Ordering::SeqCst) {
        event_loop.turn(None).unwrap();
        while event_loop.driver().next_event().is_some() {}
    }
}
