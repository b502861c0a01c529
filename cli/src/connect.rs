//! `keepbeat connect`: one link, held up.

use std::future::pending;
use std::io::IsTerminal;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use keepbeat_core::DownCause;
use keepbeat_core::client::{ClientConfig, ClientConfigError, Event};
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::reconnect::ReconnectConfig;
use keepbeat_core::session::{Message, QueueLimits, SendError};
use keepbeat_core::tunnel::{HostPort, Proxy};
use keepbeat_core::wire::{DeviceId, Goodbye, Reason};
use keepbeat_tokio::FileStore;
use keepbeat_tokio::clock::Clock;
use tokio::sync::mpsc;

use crate::args::{Backoff, ConnectArgs};
use crate::echo::Echo;
use crate::endpoint::{Endpoint, Protocol};
use crate::input::{self, Input};
use crate::mqtt;
use crate::output::{Gone, Output, USAGE, coloured, complain, fail, printable};
use crate::protocol::{self, Beat};
use crate::report::{Report, give_up};
use crate::runtime::{Link, Runtime, Target};
use crate::security::{self, in_options};
use crate::signals::Signals;

/// The beat interval, unless another is asked for.
const INTERVAL: Duration = Duration::from_secs(5);

/// The reply timeout, unless the interval is shorter.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// So many messages wait for their acknowledgement.
const WAITING: usize = 1000;

/// How long we stay after a signal. The link takes 1 s at most to close; whoever reads our output may take for ever.
const CLOSING_TIME: Duration = Duration::from_secs(3);

pub(crate) async fn run(args: ConnectArgs) -> ExitCode {
    let start = Clock::now();
    let config = match configure(&args) {
        Ok(config) => config,
        Err(problem) => return fail(USAGE, &format!("connect: {problem}")),
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("connect: cannot listen for signals: {error}")),
    };
    let voice = Voice {
        report: Report::new(start, coloured(&std::io::stderr())),
        output: Output::open(),
        json: args.json,
        escape: std::io::stdout().is_terminal(),
    };
    let target = match target(&args) {
        Ok(target) => target,
        Err(problem) => return fail(USAGE, &format!("connect: {problem}")),
    };
    let opened = match Runtime::start(args.runtime) {
        Ok(runtime) => runtime.open(target, config).await,
        Err(error) => Err(error),
    };
    let link = match opened {
        Ok(link) => link,
        Err(error) => return fail(1, &format!("connect: cannot start the runtime: {error}")),
    };
    let ended = tokio::select! {
        ended = hold(&link, &voice, &args) => ended,
        () = close_on(&mut signals, &link) => return fail(1, "connect: nobody takes our output; ended without the rest"),
    };
    let failed = voice.output.finish().await.err();
    let code = match ended {
        Ended::Closed { flawed } => ExitCode::from(if flawed { USAGE } else { 0 }),
        Ended::GaveUp { cause, last } => {
            let via = proxy(&args).is_some();
            let last = last
                .as_ref()
                .map_or_else(|| "no attempt was made".to_owned(), |cause| in_full(cause, &args.endpoint, via));
            fail(1, &format!("connect: gave up on {}: {cause} ({last})", args.endpoint))
        }
        Ended::Once { flawed: true, .. } => ExitCode::from(USAGE),
        Ended::Once { cause, was_up, unacknowledged: 0, .. } if was_up && is_goodbye(&cause) => ExitCode::SUCCESS,
        Ended::Once { cause, was_up: true, unacknowledged, .. } if is_goodbye(&cause) => fail(
            1,
            &format!(
                "connect: the connection with {} ended ({cause}) before the server had all: {unacknowledged} messages were not \
                 acknowledged",
                args.endpoint
            ),
        ),
        Ended::Once { cause, was_up: true, .. } => {
            let cause = in_options(&cause.to_string());
            fail(1, &format!("connect: the connection with {} ended: {cause}", args.endpoint))
        }
        Ended::Once { cause, was_up: false, .. } => {
            let cause = in_full(&cause, &args.endpoint, proxy(&args).is_some());
            fail(1, &format!("connect: no connection with {}: {cause}", args.endpoint))
        }
        Ended::Gone => ExitCode::SUCCESS,
    };
    failed.unwrap_or(code)
}

/// How a link ended.
enum Ended {
    /// It was closed. It is flawed if a line was not delivered for its length, or stdin could not be read.
    Closed { flawed: bool },
    /// Its first connection ended, or was none, and there is to be no other.
    Once { cause: DownCause, was_up: bool, flawed: bool, unacknowledged: usize },
    /// It gave up.
    GaveUp { cause: String, last: Option<DownCause> },
    /// Our output can no longer be written. If its reader went away, that is for the reader to decide.
    Gone,
}

/// Whether a connection ended as it should.
fn is_goodbye(cause: &DownCause) -> bool {
    matches!(cause, DownCause::Goodbye(goodbye) if matches!(goodbye.reason, Reason::Closed | Reason::GoingAway))
}

/// Sends what stdin gives, or what came, and tells what happens, until the link is closed.
async fn hold(link: &Link, voice: &Voice, args: &ConnectArgs) -> Ended {
    let limit = args.wire.max_message;
    let echo = Echo::new(link);
    let mut feeder = pin!(async {
        match args.echo {
            true => echo.run().await,
            // Lines have no topic to go to.
            false if args.mqtt.is_spoken_at(&args.endpoint) && args.mqtt.publish.is_none() => pending().await,
            false => feed(link, voice, input::lines(limit), limit).await,
        }
    });
    if let Ok(Some(subscriptions)) = args.mqtt.subscriptions() {
        // The link was opened a moment ago: it has room.
        drop(link.try_send(subscriptions).await);
    }
    let (mut fed, mut flawed, mut been_up) = (false, false, false);
    let mut quiet_since = Clock::now();
    let mut last = None;
    let mut gave_up = None;
    loop {
        let finished = fed && been_up && link.unacknowledged().await == 0;
        let rest = args.linger.saturating_sub(Clock::now().since(quiet_since));
        tokio::select! {
            event = link.next_event(), if echo.has_room() => {
                let Some(event) = event else { break };
                match &event {
                    Event::Message(message) if args.echo => {
                        echo.push(message.clone());
                        continue;
                    }
                    Event::Message(_) | Event::Acknowledged { .. } => quiet_since = Clock::now(),
                    Event::Up { .. } if !been_up => (been_up, quiet_since) = (true, Clock::now()),
                    Event::Dropped(_) => flawed = true,
                    Event::Answered { answer, .. } => flawed |= mqtt::is_refusal(answer),
                    Event::Down { report, .. } => last = Some(report.cause.clone()),
                    Event::GaveUp { cause, .. } => gave_up = Some(give_up(*cause)),
                    _ => {}
                }
                if voice.tell(link, &event).await == Err(Gone) {
                    link.close();
                    link.closed().await;
                    return Ended::Gone;
                }
                if let Event::Down { report, was_up, .. } = event && args.once {
                    link.close();
                    // Echoes are not ours to answer for.
                    let unacknowledged = if args.echo { 0 } else { link.unacknowledged().await };
                    return Ended::Once { cause: report.cause, was_up, flawed, unacknowledged };
                }
            }
            () = echo.room(), if !echo.has_room() => {}
            all_taken = &mut feeder, if !fed => {
                (fed, quiet_since) = (true, Clock::now());
                flawed |= !all_taken;
            }
            () = tokio::time::sleep(rest), if finished => link.close(),
        }
    }
    match gave_up {
        Some(cause) => Ended::GaveUp { cause, last },
        None => Ended::Closed { flawed },
    }
}

/// Why a link ended, and what to do about it. What is about TLS and proxies says so itself. With a proxy, what could not be
/// connected to is the proxy: `via` says so.
pub(crate) fn in_full(cause: &DownCause, endpoint: &Endpoint, via: bool) -> String {
    let proxy = if via { ", and check scheme, host and port of --proxy" } else { "" };
    let advice = match cause {
        DownCause::Store(_) => return format!("{cause}; see what --store names"),
        DownCause::Protocol(_) if !endpoint.is_tls() => {
            let other = if endpoint.protocol() == Protocol::Beat { ", if it speaks WebSocket, ws://" } else { "" };
            format!("if the server speaks TLS, write {}{other}", endpoint.with_tls())
        }
        DownCause::Tls(_) | DownCause::Proxy(_) => return in_options(&cause.to_string()),
        DownCause::ProxyTimeout => "check host, port and scheme of --proxy".to_owned(),
        DownCause::ConnectFailed(_) | DownCause::ConnectTimeout if via => {
            return format!("{cause}: this is about the proxy; check host and port of --proxy (or KEEPBEAT_PROXY)");
        }
        DownCause::TlsTimeout => {
            format!("see that the server speaks TLS there, else write beat:// or ws://{proxy}")
        }
        DownCause::Refused(goodbye) => against(goodbye).to_owned(),
        DownCause::Goodbye(_) => "the server is there, and ended the link; its log may say more".to_owned(),
        _ => format!("see that the server runs there{proxy}"),
    };
    format!("{cause}; {advice}")
}

/// What to do about a server that does not let us in.
fn against(refusal: &Goodbye) -> &'static str {
    match (refusal.code, refusal.reason) {
        // Reason codes of MQTT.
        (Some(0x84), _) => "the server may speak the other version: try --mqtt 3, or --mqtt 5",
        (Some(0x85), _) => "give another --id",
        (Some(0x86..=0x87), _) => "check --user and --token",
        (Some(0x8A | 0x8C), _) => "ask who runs the server: it does not let this client in",
        (Some(..=0xFF), Reason::NotHere) => "the server has not what is asked for: see --qos and --will",
        // A server that is no keepbeat may want them in another header.
        (Some(401), _) => "check --token, or give what the server asks for with --header",
        (Some(403), _) => "check --origin and --token: the server lets in neither every page nor everybody",
        (Some(404), _) => "check the path of the URL",
        (Some(300..=399), _) => "no redirect is followed: see that the new URL is what you want, and give it",
        (Some(431), _) | (_, Reason::TooLarge) => "shorten --token, or what --header gives",
        (_, Reason::Unauthorized | Reason::Forbidden) => "check --id and --token",
        (_, Reason::Busy | Reason::GoingAway | Reason::Failed) => "try again later",
        (Some(_), _) => "see that this is the URL of a WebSocket",
        (None, _) => "see that the server is one for this version of keepbeat",
    }
}

/// Sends the lines of stdin. Says whether all of them were taken.
async fn feed(link: &Link, voice: &Voice, mut lines: mpsc::Receiver<Input>, limit: usize) -> bool {
    let mut all_taken = true;
    while let Some(input) = lines.recv().await {
        match input {
            Input::Line { number, text } => {
                let bytes = text.len() as u64;
                match link.send(message(text)).await {
                    Ok(_) => continue,
                    Err(SendError::Closed { .. }) => return all_taken,
                    Err(_) => voice.refuse(number, bytes, limit).await,
                }
            }
            Input::TooLong { number, bytes } => voice.refuse(number, bytes, limit).await,
            Input::Failed(error) => complain(&format!("connect: cannot read standard input: {error}")),
        }
        all_taken = false;
    }
    all_taken
}

/// A line as a message: a text if it is one.
fn message(line: Vec<u8>) -> Message {
    String::from_utf8(line).map_or_else(|error| error.into_bytes().into(), Message::from)
}

/// Closes the link on the first signal; ends on the second one, or when closing takes too long.
async fn close_on(signals: &mut Signals, link: &Link) {
    signals.next().await;
    link.close();
    tokio::select! {
        () = signals.next() => {}
        () = tokio::time::sleep(CLOSING_TIME) => {}
    }
}

/// How we speak.
struct Voice {
    report: Report,
    output: Output,
    json: bool,
    /// Messages go to a terminal, which must not obey them.
    escape: bool,
}

impl Voice {
    async fn tell(&self, link: &Link, event: &Event) -> Result<(), Gone> {
        let now = Clock::now();
        let tls = if let Event::Up { .. } = event { link.tls().await } else { None };
        match event {
            _ if self.json => match self.report.link_json(now, event, tls.as_ref()) {
                Some(object) => self.output.out(object.into_line()).await,
                None => Ok(()),
            },
            Event::Message(message) => {
                let payload = mqtt::payload(message);
                let mut line = match self.escape {
                    true => printable(&String::from_utf8_lossy(&payload)).into_bytes(),
                    false => payload.to_vec(),
                };
                line.push(b'\n');
                self.output.out(line).await
            }
            _ => match self.report.link_words(now, event, tls.as_ref()) {
                Some(words) => self.output.err(words).await,
                None => Ok(()),
            },
        }
    }

    /// Says that a line is too long. Whether anybody hears it shows when the next event is told.
    async fn refuse(&self, number: u64, bytes: u64, limit: usize) {
        complain(&format!(
            "connect: line {number} of standard input has {bytes} bytes and was not sent; a message has at most {limit}, \
             so split it"
        ));
        if self.json {
            let object = self.report.object("rejected", Clock::now());
            let object = object.field("line", number).field("bytes", bytes).field("limit", limit);
            drop(self.output.out(object.into_line()).await);
        }
    }
}

fn configure(args: &ConnectArgs) -> Result<ClientConfig, String> {
    refuse_what_does_nothing(args)?;
    let id = args.id.clone().unwrap_or_else(default_id);
    let device = DeviceId::new(&id).map_err(|error| format!("--id: {error}"))?;
    let interval = args.interval.unwrap_or(INTERVAL);
    let reply_timeout = args.reply_timeout.unwrap_or(REPLY_TIMEOUT.min(interval));
    let liveness = LivenessConfig::builder().interval(interval).reply_timeout(reply_timeout).build();
    let liveness = liveness.map_err(|error| format!("--interval and --reply-timeout: {error}"))?;
    let wire = protocol::client(&args.endpoint, &args.wire, &args.mqtt)?;
    let waiting = QueueLimits::default();
    let bytes = waiting.bytes().max(args.wire.max_message.saturating_mul(2));
    let outbox = QueueLimits::new(WAITING, bytes).map_err(|error| error.to_string())?;
    let reconnect = reconnect(args)?;
    let mut config = ClientConfig::builder(device).liveness(liveness).reconnect(reconnect).wire(wire).outbox(outbox);
    if let Some(token) = &args.token {
        if token.is_empty() {
            return Err(
                "--token (or KEEPBEAT_TOKEN) is empty, which proves nothing; give the credentials or leave it out"
                    .to_owned(),
            );
        }
        let is_header = args.endpoint.protocol() == Protocol::WebSocket
            && !protocol::asks_for_a_keepbeat(&args.endpoint, &args.wire)
            && !args.mqtt.is_spoken_at(&args.endpoint);
        let bearer = if is_header { "Bearer " } else { "" };
        config = config.credentials(format!("{bearer}{token}").into_bytes());
    }
    if let Some(tls) = security::client(&args.endpoint, &args.tls)? {
        config = config.tls(tls);
    }
    if let Some(url) = proxy(args) {
        let proxy: Proxy = url.parse().map_err(|error| format!("--proxy (or KEEPBEAT_PROXY): {error}"))?;
        config = config.proxy(proxy);
    }
    config.build().map_err(|error| match error {
        ClientConfigError::IdleLimit { limit, .. } => format!(
            "--interval: proxies on the way of a WebSocket forget connections that are idle for {limit:?}; give less"
        ),
        ClientConfigError::Credentials if args.mqtt.is_spoken_at(&args.endpoint) => {
            format!("--token (or KEEPBEAT_TOKEN): {}", mqtt::PASSWORD)
        }
        ClientConfigError::Credentials => format!("--token (or KEEPBEAT_TOKEN): {error}"),
        _ => error.to_string(),
    })
}

/// Where the link leads, and what keeps its session.
fn target(args: &ConnectArgs) -> Result<Target, String> {
    args.mqtt.subscriptions()?;
    let or_server = args.or_server.iter().map(|server| match server.parse::<HostPort>() {
        Ok(server) => Ok(server.to_string()),
        Err(error) => Err(format!("--or-server: {error}")),
    });
    let store = args.mqtt.store.as_ref().map(FileStore::open).transpose();
    Ok(Target {
        address: args.endpoint.address(),
        or_server: or_server.collect::<Result<_, _>>()?,
        store: store.map_err(|error| format!("--store: {error}"))?,
    })
}

/// Options that make no difference to a server that is no keepbeat.
fn refuse_what_does_nothing(args: &ConnectArgs) -> Result<(), String> {
    if args.mqtt.is_spoken_at(&args.endpoint) {
        return match args.echo {
            true => Err("--echo would publish every message to where it came from: leave it out".to_owned()),
            false => Ok(()),
        };
    }
    if protocol::asks_for_a_keepbeat(&args.endpoint, &args.wire) {
        return Ok(());
    }
    if args.id.is_some() {
        return Err(
            "--id is told to another keepbeat only: give --subprotocol keepbeat.1, too, or leave it out".to_owned()
        );
    }
    let times = [("--interval", args.interval), ("--reply-timeout", args.reply_timeout)];
    match times.iter().find(|(_, time)| time.is_some()) {
        Some((option, _)) if args.wire.beat == Some(Beat::None) => {
            Err(format!("{option} is about beats, and --beat none means none: leave one of the two out"))
        }
        _ => Ok(()),
    }
}

/// The proxy's URL. An empty one is none: so the environment can be overruled.
fn proxy(args: &ConnectArgs) -> Option<&str> {
    args.proxy.as_deref().filter(|url| !url.is_empty())
}

/// The first retry after a loss comes within two steps, at most 1.1 s and at most the longest step.
fn reconnect(args: &ConnectArgs) -> Result<ReconnectConfig, String> {
    let Backoff { base, cap } = args.backoff;
    let default = ReconnectConfig::internet();
    let floor = Duration::from_millis(100).min(base);
    let first_spread = Duration::from_secs(1).min(base.saturating_mul(2)).min(cap.saturating_sub(floor));
    let stable = Duration::from_secs(30).max(base);
    let mut builder = default.to_builder().base(base).cap(cap).floor(floor).first_spread(first_spread).stable(stable);
    if let Some(most) = args.max_attempts {
        builder = builder.max_attempts(most);
    }
    builder.build().map_err(|error| format!("--backoff: {error}"))
}

/// The name of this machine and of this process: no two links of a network throw each other out, and it stays the same
/// for as long as the process holds its session.
fn default_id() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok());
    let name: String = name.unwrap_or_default().trim().chars().filter(|char| !char.is_control()).take(30).collect();
    let name = if name.is_empty() { "device" } else { &name };
    format!("{name}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn args(options: &[&str]) -> ConnectArgs {
        let line = ["keepbeat", "connect", "beat://127.0.0.1:4800"].iter().chain(options);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Connect(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn bound_ms(options: &[&str]) -> u128 {
        configure(&args(options)).unwrap().worst_case_detection().as_millis()
    }

    #[test]
    fn the_defaults_beat_every_5_s_and_wait_2_s() {
        assert_eq!(bound_ms(&[]), 5000 + 2 * 2000);
    }

    #[test]
    fn a_short_interval_shortens_the_reply_timeout() {
        assert_eq!(bound_ms(&["--interval", "200ms"]), 600);
        assert_eq!(bound_ms(&["--interval", "200ms", "--reply-timeout", "100ms"]), 400);
    }

    #[test]
    fn an_impossible_configuration_says_what_and_where() {
        for (options, words) in [
            (&["--reply-timeout", "10s", "--interval", "5s"][..], ["--reply-timeout", "10s exceeds the interval 5s"]),
            (&["--interval", "0s"], ["--interval", "too short"]),
            (&["--backoff", "0s..1s"], ["--backoff", "floor is zero"]),
            (&["--backoff", "1s..999999h"], ["--backoff", "lower cap"]),
            (&["--id", ""], ["--id", "empty"]),
        ] {
            let problem = configure(&args(options)).unwrap_err();
            assert!(words.iter().all(|word| problem.contains(word)), "{options:?}: {problem}");
        }
    }

    #[test]
    fn every_backoff_with_a_first_step_is_possible() {
        for range in ["500ms..30s", "1ms..1ms", "50ms..60ms", "10s..10s", "1m..1h", "1us..24h"] {
            assert!(reconnect(&args(&["--backoff", range])).is_ok(), "{range}");
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_the_proxy_if_there_is_one() {
        let (args, cause) = (args(&["--proxy", "http://127.0.0.1:9"]), DownCause::ConnectTimeout);
        assert!(in_full(&cause, &args.endpoint, proxy(&args).is_some()).contains("about the proxy"));
        let args = self::args(&["--proxy", ""]);
        assert!(in_full(&cause, &args.endpoint, proxy(&args).is_some()).contains("the server runs there"));
    }

    #[test]
    fn the_default_id_is_a_device_id() {
        assert!(DeviceId::new(&default_id()).is_ok());
    }
}
