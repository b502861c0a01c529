//! The two ends: clients and the server, with an application on each that talks all the time.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::DownReport;
use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::reconnect::ReconnectConfig;
use keepbeat_core::server::{ServerConfig, ServerEvent, Sessions};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::websocket::{SUBPROTOCOL, WebSocketConfig};
use keepbeat_core::wire::{AnyConfig, DeviceId};
use keepbeat_tokio::clock::Clock;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::certificate::Certificate;
use super::ledger::Ledger;
use super::relay::Port;
use super::schedule::Act;
use super::stage::{Phase, Stage};
use super::watch::{Loss, Side};
use crate::runtime::{Listener, Runtime};

/// Each end says something about so often.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(100));
/// Most messages are short; one in so many is long.
const SHORT: (u64, u64) = (16, 256);
const LONG: u64 = 16 << 10;
const ONE_LONG_IN: u64 = 32;

/// The server looks so often for whom it has something to say to.
const TICK: Duration = Duration::from_millis(10);

/// The protocol between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Wire {
    /// The native one
    Beat,
    /// The same frames over WebSocket
    Ws,
}

impl Wire {
    /// As it is written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Beat => "beat",
            Self::Ws => "ws",
        }
    }

    fn config(self) -> Result<AnyConfig, Box<dyn Error>> {
        Ok(match self {
            Self::Beat => AnyConfig::default(),
            Self::Ws => WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build()?.into(),
        })
    }
}

pub(super) fn client_config(
    link: usize,
    liveness: &LivenessConfig,
    reconnect: &ReconnectConfig,
    wire: Wire,
    tls: Option<&Certificate>,
) -> Result<ClientConfig, Box<dyn Error>> {
    let mut config = ClientConfig::builder(DeviceId::new(&name(link))?)
        .wire(wire.config()?)
        .liveness(liveness.clone())
        .reconnect(reconnect.clone())
        .connect_timeout(Duration::from_millis(500))
        .handshake_timeout(Duration::from_millis(500));
    if let Some(Certificate { client, .. }) = tls {
        config = config.tls(client.clone());
    }
    Ok(config.build()?)
}

pub(super) fn server_config(
    liveness: &LivenessConfig,
    wire: Wire,
    tls: Option<&Certificate>,
) -> Result<ServerConfig, Box<dyn Error>> {
    let mut config = ServerConfig::builder()
        .wire(wire.config()?)
        .liveness(liveness.clone())
        .intervals(liveness.interval() / 2, liveness.interval() * 2)
        .handshake_timeout(Duration::from_secs(1));
    if let Some(Certificate { server, .. }) = tls {
        config = config.tls(server.clone());
    }
    Ok(config.build()?)
}

fn name(link: usize) -> String {
    format!("link-{link:03}")
}

fn link_of(device: &DeviceId) -> Option<usize> {
    device.as_str().strip_prefix("link-")?.parse().ok()
}

/// What an end's application will say.
struct Talk {
    prng: Prng,
}

impl Talk {
    fn length(&mut self) -> usize {
        let long = self.prng.between(1, ONE_LONG_IN) == 1;
        (if long { LONG } else { self.prng.between(SHORT.0, SHORT.1) }) as usize
    }

    fn pause(&mut self) -> Duration {
        self.prng.span(PAUSE.0, PAUSE.1)
    }
}

/// The client of one link.
pub(super) async fn hold(stage: Arc<Stage>, runtime: Runtime, link: usize, config: ClientConfig, seed: u64) {
    let Some(relay) = stage.relay(link) else { return };
    let client = match runtime.open(relay.address().to_string(), config).await {
        Ok(client) => client,
        Err(error) => return stage.watch().broke(Clock::now(), link, &format!("the link cannot be opened: {error}")),
    };
    let mut talk = Talk { prng: Prng::new(seed ^ (link as u64 + 1)) };
    let mut next = stage.instant(stage.elapsed() + talk.pause());
    let mut phases = stage.phase();
    loop {
        let phase = *phases.borrow_and_update();
        if phase == Phase::Over {
            if let Some(evidence) = client.evidence().await {
                stage.watch().tally(&evidence);
                stage.watch().client_beats(link, 0);
            }
            return;
        }
        tokio::select! {
            biased;
            _ = phases.changed() => {}
            event = client.next_event() => match event {
                // What comes of the end is no event of the run.
                Some(event) if *phases.borrow() < Phase::Over => {
                    if let Event::Up { .. } = event
                        && let Some(tls) = client.tls().await
                    {
                        stage.watch().tls_handshake(tls.resumed);
                    }
                    on_client_event(&stage, link, event);
                }
                Some(_) => {}
                None => return,
            },
            () = tokio::time::sleep_until(next), if phase == Phase::Playing => {
                let length = talk.length();
                if let Some(message) = stage.ledger(link, Side::Client, |ledger| ledger.next_message(link, length))
                    && client.try_send(message).await.is_err()
                {
                    stage.ledger(link, Side::Client, Ledger::not_accepted);
                }
                let beats = client.evidence().await.map_or(0, |evidence| evidence.beats_sent);
                stage.watch().client_beats(link, beats);
                next += talk.pause();
            }
        }
    }
}

fn on_client_event(stage: &Stage, link: usize, event: Event) {
    let now = Clock::now();
    match event {
        Event::Message(message) => {
            stage.ledger(link, Side::Server, |ledger| ledger.arrived(link, &message));
        }
        Event::Up { resumed, worst_case_detection, .. } => {
            stage.watch().client_up(now, link, resumed, worst_case_detection);
        }
        Event::Down { report, .. } => {
            let loss = loss(stage, link, Side::Client, &report);
            stage.watch().client_down(now, link, loss);
        }
        Event::Suspect { .. } => stage.watch().client_suspect(link, true),
        Event::Recovered => stage.watch().client_suspect(link, false),
        Event::Dropped(dropped) => {
            stage.watch().broke(now, link, &format!("the client dropped a message: {dropped:?}"))
        }
        Event::GaveUp { cause, .. } => stage.watch().gave_up(now, link, &format!("{cause:?}")),
        _ => {}
    }
}

fn loss<'a>(stage: &Stage, link: usize, side: Side, report: &'a DownReport) -> Loss<'a> {
    Loss { cause: &report.cause, evidence: report.evidence.as_ref(), silent_since: stage.silent_since(link, side) }
}

/// Opens the server, with the sessions of an earlier one.
pub(super) async fn listen(
    runtime: &Runtime,
    port: &mut Port,
    config: &ServerConfig,
    sessions: Option<Sessions>,
) -> io::Result<Listener> {
    // Another socket finds a port that can be had first.
    drop(port.listen(TcpListener::bind).await?);
    runtime.bind(vec![port.address().to_string()], config.clone(), sessions).await
}

/// The server, and what it takes to start it again.
pub(super) struct Server {
    pub(super) runtime: Runtime,
    pub(super) port: Port,
    pub(super) config: ServerConfig,
    pub(super) listener: Listener,
}

/// The server and its application.
pub(super) async fn serve(stage: Arc<Stage>, mut server: Server, seed: u64, mut restarts: mpsc::Receiver<Duration>) {
    let mut talk = Talk { prng: Prng::new(!seed) };
    let devices: Vec<_> = (0..stage.links()).filter_map(|link| DeviceId::new(&name(link)).ok()).collect();
    let mut due: Vec<Timestamp> = devices.iter().map(|_| Clock::now().after(talk.pause())).collect();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut phases = stage.phase();
    loop {
        let phase = *phases.borrow_and_update();
        if phase == Phase::Over {
            for device in &devices {
                if let Some(evidence) = server.listener.evidence(device).await {
                    stage.watch().tally(&evidence);
                }
            }
            return;
        }
        tokio::select! {
            biased;
            _ = phases.changed() => {}
            event = server.listener.next_event() => match event {
                Some(event) if *phases.borrow() < Phase::Over => on_server_event(&stage, event),
                Some(_) => {}
                None => return,
            },
            Some(lasts) = restarts.recv() => if let Err(error) = restart(&stage, &mut server, lasts).await {
                return stage.watch().broke(Clock::now(), 0, &format!("the server cannot come back: {error}"));
            },
            _ = ticks.tick(), if phase == Phase::Playing => {
                let now = Clock::now();
                for (link, (device, due)) in devices.iter().zip(&mut due).enumerate() {
                    if *due <= now {
                        *due = now.after(talk.pause());
                        say(&stage, &server.listener, link, device, talk.length()).await;
                    }
                }
            }
        }
    }
}

async fn say(stage: &Stage, listener: &Listener, link: usize, device: &DeviceId, length: usize) {
    // Before its first connection a device has no session, and takes nothing.
    if let Some(message) = stage.ledger(link, Side::Server, |ledger| ledger.next_message(link, length))
        && listener.try_send(device, message).await.is_err()
    {
        stage.ledger(link, Side::Server, Ledger::not_accepted);
    }
}

/// The server goes without a word and comes back with its sessions.
async fn restart(stage: &Stage, server: &mut Server, lasts: Duration) -> io::Result<()> {
    let Server { runtime, port, config, listener } = server;
    stage.watch().fault_begins(Clock::now(), None, Act::ServerRestart, lasts);
    let sessions = listener.abort().await;
    // What had arrived, and was acknowledged, is still to be taken.
    while let Some(event) = listener.next_event().await {
        on_server_event(stage, event);
    }
    tokio::time::sleep(lasts).await;
    stage.watch().fault_ends(Clock::now(), None);
    *listener = listen(runtime, port, config, sessions).await?;
    Ok(())
}

fn on_server_event(stage: &Stage, event: ServerEvent) {
    let now = Clock::now();
    match event {
        ServerEvent::Message { device, message } => {
            if let Some(link) = link_of(&device) {
                stage.ledger(link, Side::Client, |ledger| ledger.arrived(link, &message));
            }
        }
        ServerEvent::Online { device, .. } | ServerEvent::Returned { device, .. } => {
            if let Some(link) = link_of(&device) {
                stage.watch().server_online(link);
            }
        }
        ServerEvent::Offline { device, report, .. } => {
            if let Some(link) = link_of(&device) {
                let loss = loss(stage, link, Side::Server, &report);
                stage.watch().server_offline(now, link, loss);
            }
        }
        ServerEvent::Replaced { device, report, .. } => {
            if let Some(link) = link_of(&device) {
                let loss = loss(stage, link, Side::Server, &report);
                stage.watch().server_replaced(now, link, loss);
            }
        }
        ServerEvent::Suspect { .. } => stage.watch().server_suspect(),
        ServerEvent::SessionEnded { device, undelivered } => {
            let text = format!("the server ended the session; {} messages were not delivered", undelivered.len());
            stage.watch().broke(now, link_of(&device).unwrap_or_default(), &text);
        }
        ServerEvent::Dropped { device, dropped } => {
            let text = format!("the server dropped a message: {dropped:?}");
            stage.watch().broke(now, link_of(&device).unwrap_or_default(), &text);
        }
        // Who was not let in, or did not finish its handshake, tries again.
        _ => {}
    }
}
