//! `keepbeat demo`: a server or a broker, many links, and between them a relay that breaks them on a schedule.

mod broker;
mod certificate;
mod house;
mod ledger;
mod mosquitto;
mod peers;
mod relay;
mod schedule;
mod screen;
mod stage;
mod summary;
mod topics;
mod watch;

use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::liveness::{LivenessConfig, LivenessConfigError};
use keepbeat_core::reconnect::ReconnectConfig;
use keepbeat_tokio::clock::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::broker::BrokerArgs;
use self::certificate::Certificate;
use self::house::{House, Wire};
use self::peers::Terms;
use self::relay::Relay;
use self::schedule::{Act, Fault, Schedule};
use self::screen::{Mode, Screen};
use self::stage::{Phase, Stage};
use self::summary::Summary;
use crate::runtime::{self, Runtime};
use crate::signals::Signals;

/// So long the last messages may take after the faults are over.
const DRAIN: Duration = Duration::from_secs(10);

/// The exit code of a run that did not keep the promises.
const BROKEN: u8 = 1;
/// The exit code of a run that cannot be.
const USAGE: u8 = 2;

/// See links break, be found out and come back: a server, many clients, and a relay between them that injects faults on
/// loopback. Exits with 0 if every silence was found out in time, no living link was given up, and no message was lost or
/// duplicated; with 1 if not; with 2 on bad usage.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// How many clients.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    links: u16,
    /// How long faults are injected.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Decides, with the two above, which fault comes when.
    #[arg(long, value_name = "K", default_value_t = 1)]
    seed: u64,
    /// The runtime of the links and of the server. The relay between them is on tokio.
    #[arg(long, value_name = "RUNTIME", value_enum, default_value_t = runtime::Name::Tokio)]
    runtime: runtime::Name,
    /// The protocol of the links.
    #[arg(long, value_name = "WIRE", value_enum, default_value_t = Wire::Beat)]
    wire: Wire,
    /// Let both ends speak TLS through the relay, with a certificate made for this run.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Print nothing but one JSON object, as the last line.
    #[arg(long)]
    json: bool,
}

/// Runs the demo.
pub(crate) async fn run(args: DemoArgs) -> ExitCode {
    match play(&args).await {
        Ok(summary) => {
            let text = if args.json { summary.json() } else { summary.text() };
            if let Err(error) = writeln!(io::stdout(), "{text}") {
                eprintln!("keepbeat: cannot write the summary to stdout: {error}");
                return ExitCode::from(BROKEN);
            }
            let failures = summary.failures();
            if args.json && !failures.is_empty() {
                eprintln!("keepbeat: {}", failures.join(", "));
            }
            ExitCode::from(if failures.is_empty() { 0 } else { BROKEN })
        }
        Err(Error::Usage(message)) => {
            eprintln!("keepbeat: {message}");
            ExitCode::from(USAGE)
        }
        Err(Error::Failed(message)) => {
            eprintln!("keepbeat: {message}");
            ExitCode::from(BROKEN)
        }
    }
}

/// Why there is no summary.
enum Error {
    Usage(String),
    Failed(String),
}

impl Error {
    fn socket(error: &io::Error) -> Self {
        Self::Failed(format!(
            "the demo needs sockets on 127.0.0.1 and got none: {error}; try fewer --links, or allow more open files (ulimit -n)"
        ))
    }

    fn config(error: &dyn std::error::Error) -> Self {
        Self::Failed(format!("the demo's own configuration is wrong, please report this: {error}"))
    }
}

/// Short, so that a person sees it work: a death is found out in about 0.8 s. A broker is a process of its own, for whose waits
/// nobody here has an excuse: it gets half as much again.
fn liveness(wire: Wire) -> Result<LivenessConfig, LivenessConfigError> {
    let (interval, reply_timeout) = if wire == Wire::Mqtt { (500, 500) } else { (400, 300) };
    LivenessConfig::builder()
        .interval(Duration::from_millis(interval))
        .reply_timeout(Duration::from_millis(reply_timeout))
        .build()
}

fn reconnect() -> Result<ReconnectConfig, impl std::error::Error> {
    ReconnectConfig::builder()
        .floor(Duration::from_millis(20))
        .base(Duration::from_millis(50))
        .cap(Duration::from_secs(1))
        .first_spread(Duration::from_millis(100))
        .stable(Duration::from_millis(500))
        .build()
}

async fn play(args: &DemoArgs) -> Result<Summary, Error> {
    let (links, seconds, seed) = (usize::from(args.links), u64::from(args.seconds), args.seed);
    let liveness = liveness(args.wire).map_err(|error| Error::config(&error))?;
    let reconnect = reconnect().map_err(|error| Error::config(&error))?;
    let bound = liveness.worst_case_detection();
    let mut terms = Terms { liveness, reconnect, tls: None, token: None };
    let house = House::of(args.wire, links, args.tls, &args.broker)?;
    let schedule = Schedule::new(seed, links, seconds, bound, house.incidents());
    let schedule = schedule.map_err(|error| Error::Usage(error.to_string()))?;
    let mode = match (args.json, io::stdout().is_terminal()) {
        (true, _) => Mode::Problems,
        (false, true) => Mode::Table,
        (false, false) => Mode::Lines,
    };

    let mut ending = Ending::of(args.wire)?;
    let certificate =
        if args.tls { Some(Certificate::generate().map_err(|error| Error::config(&*error))?) } else { None };
    let runtime = Runtime::start(args.runtime).map_err(|error| Error::socket(&error))?;
    let opposite = house.open(&runtime, &mut terms, certificate.as_ref()).await?;
    let parts = opposite.parts(links, &terms).map_err(|error| Error::config(&*error))?;
    let mut relays = Vec::with_capacity(parts.len());
    for _ in &parts {
        relays.push(Relay::open(opposite.address()).await.map_err(|error| Error::socket(&error))?);
    }
    let ledgers = parts.iter().map(|part| part.ledger).collect();
    let stage = Arc::new(Stage::new(Clock::now(), relays, ledgers, bound, &schedule.kinds));
    let clean_up = opposite.clean_up(&runtime, &terms);
    let (incidents, orders) = mpsc::channel(1);
    let mut cast = JoinSet::new();
    opposite.play(&mut cast, stage.clone(), seed, orders);
    for part in parts {
        cast.spawn(peers::hold(stage.clone(), runtime.clone(), part, seed));
    }
    let screen = tokio::spawn(Screen::new(mode, args.seconds).run(stage.clone()));

    let ended = tokio::select! {
        () = direct(&stage, schedule.faults, incidents, &mut cast, seconds) => false,
        () = ending.next() => true,
    };
    let still_down = stage.watch().census().down;
    let totals = stage.totals();
    stage.enter(Phase::Over);
    if ended {
        cast.abort_all();
    }
    while cast.join_next().await.is_some() {}
    drop(screen.await);
    if let Some(clean_up) = clean_up {
        clean_up.await;
    }
    if ended {
        return Err(Error::Failed("demo: a signal ended it before its time".to_owned()));
    }
    let counts = std::mem::take(&mut stage.watch().counts);
    Ok(Summary {
        links,
        seconds,
        seed,
        runtime: args.runtime.as_str(),
        wire: args.wire.as_str(),
        tls: args.tls,
        counts,
        totals,
        bytes: stage.bytes(),
        still_down,
    })
}

/// Faults, each at its time; then the last messages arrive.
async fn direct(
    stage: &Arc<Stage>,
    faults: Vec<Fault>,
    incidents: mpsc::Sender<(Act, Duration)>,
    cast: &mut JoinSet<()>,
    seconds: u64,
) {
    for fault in faults {
        tokio::time::sleep_until(stage.instant(fault.at)).await;
        match fault.link {
            Some(link) => drop(cast.spawn(inject(stage.clone(), link, fault))),
            None => drop(incidents.send((fault.act, fault.lasts)).await),
        }
    }
    tokio::time::sleep_until(stage.instant(Duration::from_secs(seconds))).await;
    stage.enter(Phase::Draining);
    drop(tokio::time::timeout(DRAIN, stage.settled()).await);
}

/// What ends a run before its time. Where nothing outlives the process, a signal ends the process.
struct Ending(Option<Signals>);

impl Ending {
    fn of(wire: Wire) -> Result<Self, Error> {
        if wire != Wire::Mqtt {
            return Ok(Self(None));
        }
        let signals = Signals::listen();
        let signals = signals.map_err(|error| Error::Failed(format!("demo: cannot listen for signals: {error}")))?;
        Ok(Self(Some(signals)))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signals) => signals.next().await,
            None => pending().await,
        }
    }
}

/// One fault of one link, from its beginning to its end.
async fn inject(stage: Arc<Stage>, link: usize, Fault { act, lasts, .. }: Fault) {
    let Some(relay) = stage.relay(link) else { return };
    stage.watch().fault_begins(Clock::now(), Some(link), act, lasts);
    relay.begin(act);
    tokio::time::sleep(lasts).await;
    stage.watch().fault_ends(Clock::now(), Some(link));
    relay.end(act);
}
