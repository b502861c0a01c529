//! `keepbeat serve`: accepts links, echoes what they send, and tells who is here.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::server::{Port, ServerConfig, ServerConfigError, ServerEvent};
use keepbeat_core::session::{QueueLimits, SendError};
use keepbeat_core::wire::DeviceId;
use keepbeat_core::wire::websocket::SUBPROTOCOL;
use keepbeat_core::wire::websocket::upgrade::Offer;
use keepbeat_tokio::clock::Clock;

use crate::args::ServeArgs;
use crate::auth::{Devices, Gate};
use crate::endpoint::Endpoint;
use crate::output::{Gone, Object, Output, Paint, USAGE, coloured, fail, short};
use crate::report::{Report, millis};
use crate::runtime::{Listener, Runtime};
use crate::signals::Signals;
use crate::{protocol, security};

/// So many echoes wait for one device, in messages and bytes. What is more is dropped and told: a device that sends and
/// does not read must not take all memory.
const ECHOES: (usize, usize) = (50_000, 16 << 20);

/// So many of the longest messages wait for a device at least.
const LONGEST_ECHOES: usize = 4;

/// How long the session of a device that is gone is kept, unless the grace is longer.
const SESSION_LIFETIME: Duration = Duration::from_secs(300);

/// How long we stay after a signal. The devices get 1 s to read the goodbye; whoever reads our output may take for ever.
const DRAINING_TIME: Duration = Duration::from_secs(3);

pub(crate) async fn run(args: ServeArgs) -> ExitCode {
    let start = Clock::now();
    let (config, gate) = match configure(&args) {
        Ok(configured) => configured,
        Err(problem) => return fail(USAGE, &format!("serve: {problem}")),
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("serve: cannot listen for signals: {error}")),
    };
    let runtime = match Runtime::start(args.runtime) {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("serve: cannot start the runtime: {error}")),
    };
    let addresses = args.endpoints.iter().map(Endpoint::address).collect();
    let listener = match runtime.bind(addresses, config, None).await {
        Ok(listener) => listener,
        Err(error) => {
            let advice = "give an address of this machine and a free port";
            let urls: Vec<_> = args.endpoints.iter().map(ToString::to_string).collect();
            return fail(1, &format!("serve: cannot listen on {}: {error}; {advice}", urls.join(" and ")));
        }
    };
    let report = Report::new(start, coloured(&std::io::stdout()));
    let voice = Voice { report, output: Output::open(), json: args.json };
    tokio::select! {
        () = watch(&listener, &voice, gate.as_ref(), &args) => {}
        () = drain_on(&mut signals, &listener, &voice, &args) => {
            return fail(1, "serve: nobody takes our output; ended without the rest");
        }
    }
    voice.output.finish().await.err().unwrap_or(ExitCode::SUCCESS)
}

/// Serves until the listener is drained, or nobody reads our output any more.
async fn watch(listener: &Listener, voice: &Voice, gate: Option<&Gate>, args: &ServeArgs) {
    let mut told = voice.listening(listener, args).await;
    let mut echoes_dropped = HashMap::new();
    while told.is_ok() {
        let Some(event) = listener.next_event().await else {
            // Nothing is lost if this cannot be told.
            drop(voice.say("closed", Paint::Quiet, "", |object| object).await);
            return;
        };
        told = match event {
            ServerEvent::Authenticate { connection, device, credentials, offer, .. } => {
                if let Some(gate) = gate {
                    let admission = gate.judge(&device, credentials.as_bytes(), is_foreign(offer.as_deref()));
                    listener.answer(connection, admission);
                }
                Ok(())
            }
            ServerEvent::Message { device, message } => match listener.try_send(&device, message).await {
                // Its session has just ended.
                Ok(_) | Err(SendError::Closed { .. }) => Ok(()),
                Err(error) => echo_dropped(voice, &mut echoes_dropped, device, &error).await,
            },
            event => {
                if let ServerEvent::SessionEnded { device, .. } = &event {
                    echoes_dropped.remove(device);
                }
                voice.tell(&event).await
            }
        };
    }
    listener.drain(args.retry_after, args.spread).await;
}

/// Whether it came over WebSocket and is no keepbeat.
fn is_foreign(offer: Option<&Offer>) -> bool {
    offer.is_some_and(|offer| offer.select(&[SUBPROTOCOL]).is_none())
}

/// Tells the first echo that is dropped for a device, the second, the fourth and so on: a flood of messages is no flood
/// of lines.
async fn echo_dropped(
    voice: &Voice,
    counts: &mut HashMap<DeviceId, u64>,
    device: DeviceId,
    error: &SendError,
) -> Result<(), Gone> {
    let count = counts.entry(device.clone()).or_insert(0);
    *count += 1;
    if !count.is_power_of_two() {
        return Ok(());
    }
    let count = *count;
    let words = format!("{device}, {count} echoes so far: {error}");
    let fields = |object: Object| {
        object.field("device", device.as_str()).field("reason", error.to_string()).field("messages", count)
    };
    voice.say("dropped", Paint::Bad, &words, fields).await
}

/// Says goodbye to all devices on the first signal; ends on the second one, or when that takes too long.
async fn drain_on(signals: &mut Signals, listener: &Listener, voice: &Voice, args: &ServeArgs) {
    signals.next().await;
    let connections = listener.connections().await;
    let (retry_after, spread) = (args.retry_after, args.spread);
    let words =
        format!("{connections} connections; come back after {}, spread over {}", short(retry_after), short(spread));
    let fields = |object: Object| {
        let object = object.field("connections", connections);
        object.field("retry_after_ms", millis(retry_after)).field("spread_ms", millis(spread))
    };
    let farewell = async {
        let told = voice.say("draining", Paint::Warning, &words, fields);
        drop(tokio::join!(listener.drain(retry_after, spread), told));
        // The end is told by the events.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = farewell => {}
        () = signals.next() => {}
        () = tokio::time::sleep(DRAINING_TIME) => {}
    }
}

/// How we speak: everything on standard output.
struct Voice {
    report: Report,
    output: Output,
    json: bool,
}

impl Voice {
    /// A line for each endpoint.
    async fn listening(&self, listener: &Listener, args: &ServeArgs) -> Result<(), Gone> {
        for (address, endpoint) in listener.local_addrs().iter().zip(&args.endpoints) {
            let url = endpoint.url_of(address);
            let page = protocol::page_url(endpoint, address, &args.wire);
            let words = page.as_ref().map_or_else(|| url.clone(), |page| format!("{url}, the page at {page}"));
            let fields = |object: Object| {
                let object = object.field("address", address.to_string()).field("port", address.port());
                let object = object.field("url", url.as_str());
                match page.as_deref() {
                    Some(page) => object.field("page", page),
                    None => object,
                }
            };
            self.say("listening", Paint::Good, &words, fields).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: &ServerEvent) -> Result<(), Gone> {
        let now = Clock::now();
        let line = match self.json {
            true => self.report.server_json(now, event).map(Object::into_line),
            false => self.report.server_words(now, event).map(into_line),
        };
        match line {
            Some(line) => self.output.out(line).await,
            None => Ok(()),
        }
    }

    async fn say(
        &self,
        name: &str,
        paint: Paint,
        words: &str,
        fields: impl FnOnce(Object) -> Object,
    ) -> Result<(), Gone> {
        let now = Clock::now();
        let line = match self.json {
            true => fields(self.report.object(name, now)).into_line(),
            false => into_line(self.report.words(now, paint, name, words)),
        };
        self.output.out(line).await
    }
}

fn into_line(words: String) -> Vec<u8> {
    let mut line = words.into_bytes();
    line.push(b'\n');
    line
}

fn configure(args: &ServeArgs) -> Result<(ServerConfig, Option<Gate>), String> {
    let gate = match (&args.auth, &args.token) {
        (Some(path), _) => Some(Gate::Devices(Devices::read(path).map_err(|problem| format!("--auth: {problem}"))?)),
        (None, Some(token)) if token.is_empty() => {
            return Err("--token (or KEEPBEAT_SERVE_TOKEN) is empty, which would let everybody in; give it a secret or leave it out".to_owned());
        }
        (None, Some(token)) => Some(Gate::Token(token.clone())),
        (None, None) => None,
    };
    let bytes = ECHOES.1.max(args.wire.max_message.saturating_mul(LONGEST_ECHOES));
    let echoes = QueueLimits::new(ECHOES.0, bytes).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::builder()
        .intervals(args.min_interval, args.max_interval)
        .liveness(liveness(args)?)
        .grace(args.grace)
        .session_lifetime(SESSION_LIFETIME.max(args.grace))
        .outbox(echoes);
    let tls = security::server(&args.endpoints, &args.tls)?;
    let wires = protocol::server(&args.endpoints, &args.wire)?;
    for (number, (endpoint, wire)) in args.endpoints.iter().zip(wires).enumerate() {
        let tls = tls.clone().filter(|_| endpoint.is_tls());
        config = match (number, tls) {
            (0, Some(tls)) => config.wire(wire).tls(tls),
            (0, None) => config.wire(wire),
            (_, Some(tls)) => config.port(Port::new(wire).tls(tls)),
            (_, None) => config.port(Port::new(wire)),
        };
    }
    if gate.is_some() {
        config = config.authenticate();
    }
    let config = config.build().map_err(|error| match error {
        ServerConfigError::ShortestAboveIdleLimit { limit, .. } => {
            format!(
                "--min-interval: proxies on the way of a WebSocket forget connections that are idle for {limit:?}; give less"
            )
        }
        _ => format!("--min-interval and --max-interval: {error}"),
    })?;
    Ok((config, gate))
}

/// How foreigners are beaten at, who say no wish: as is usual, or as often as the longest interval granted allows.
fn liveness(args: &ServeArgs) -> Result<LivenessConfig, String> {
    let usual = LivenessConfig::internet();
    let interval = usual.interval().min(args.max_interval);
    let liveness =
        LivenessConfig::builder().interval(interval).reply_timeout(usual.reply_timeout().min(interval)).build();
    liveness.map_err(|error| format!("--max-interval: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn args(options: &[&str]) -> ServeArgs {
        let line = ["keepbeat", "serve", "beat://127.0.0.1:0"].iter().chain(options);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_grace_is_possible() {
        for grace in ["0s", "1s", "2h"] {
            assert!(configure(&args(&["--grace", grace])).is_ok(), "{grace}");
        }
    }

    #[test]
    fn foreigners_are_beaten_at_as_often_as_the_longest_interval_allows() {
        let beaten = |options: &[&str]| liveness(&args(options)).map(|it| (it.interval(), it.reply_timeout())).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(beaten(&[]), (seconds(25), seconds(10)));
        assert_eq!(beaten(&["--max-interval", "1h"]), (seconds(25), seconds(10)));
        assert_eq!(beaten(&["--max-interval", "20s"]), (seconds(20), seconds(10)));
        assert_eq!(beaten(&["--max-interval", "2s"]), (seconds(2), seconds(2)));
    }

    #[test]
    fn impossible_intervals_are_named() {
        for (options, words) in [
            (&["--min-interval", "20m"][..], "above the longest"),
            (&["--min-interval", "0s"], "too short"),
            (&["--max-interval", "25h"], "too long"),
        ] {
            let problem = configure(&args(options)).err().unwrap();
            assert!(problem.contains(words) && problem.contains("-interval"), "{problem}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let problem = configure(&args(&["--auth", "/nowhere/devices"])).err().unwrap();
        assert!(problem.contains("--auth: /nowhere/devices: "), "{problem}");
    }
}
