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
use keepbeat_core::session::Message;
use keepbeat_core::time::Timestamp;
use keepbeat_core::tunnel::tls::TlsClient;
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
use super::topics::Topics;
use super::watch::{Loss, Side};
use crate::mqtt;
use crate::runtime::{Link, Listener, Runtime};

/// Each end says something about so often.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(100));
/// Most messages are short; one in so many is long.
const SHORT: (u64, u64) = (16, 256);
const LONG: u64 = 16 << 10;
const ONE_LONG_IN: u64 = 32;

/// The server looks so often for whom it has something to say to.
const TICK: Duration = Duration::from_millis(10);

/// What all links have in common.
pub(super) struct Terms {
    pub(super) liveness: LivenessConfig,
    pub(super) reconnect: ReconnectConfig,
    pub(super) tls: Option<TlsClient>,
    pub(super) token: Option<String>,
}

impl Terms {
    pub(super) fn client(&self, id: &str, wire: AnyConfig) -> Result<ClientConfig, Box<dyn Error>> {
        let mut config = ClientConfig::builder(DeviceId::new(id)?)
            .wire(wire)
            .liveness(self.liveness.clone())
            .reconnect(self.reconnect.clone())
            .connect_timeout(Duration::from_millis(500))
            .handshake_timeout(Duration::from_millis(500));
        if let Some(tls) = &self.tls {
            config = config.tls(tls.clone());
        }
        if let Some(token) = &self.token {
            config = config.credentials(token.clone().into_bytes());
        }
        Ok(config.build()?)
    }
}

pub(super) fn server_config(
    liveness: &LivenessConfig,
    wire: AnyConfig,
    tls: Option<&Certificate>,
) -> Result<ServerConfig, Box<dyn Error>> {
    let mut config = ServerConfig::builder()
        .wire(wire)
        .liveness(liveness.clone())
        .intervals(liveness.interval() / 2, liveness.interval() * 2)
        .handshake_timeout(Duration::from_secs(1));
    if let Some(Certificate { server, .. }) = tls {
        config = config.tls(server.clone());
    }
    Ok(config.build()?)
}

pub(super) fn name(link: usize) -> String {
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

/// Whom the application of a link talks with.
pub(super) enum Role {
    /// With our server.
    Client,
    /// With the gateway, over a broker.
    Device(Topics),
    /// With each device in turn, over a broker.
    Gateway(Topics),
}

/// One link, and what it does.
pub(super) struct Part {
    pub(super) link: usize,
    pub(super) config: ClientConfig,
    pub(super) role: Role,
    /// What it asks a broker for.
    pub(super) wish: Option<Message>,
    /// Of what it sends, and of what is sent to it.
    pub(super) ledger: Ledger,
}

/// Plays the part of one link.
pub(super) async fn hold(stage: Arc<Stage>, runtime: Runtime, part: Part, seed: u64) {
    let Part { link, config, role, wish, .. } = part;
    let Some(relay) = stage.relay(link) else { return };
    let client = match runtime.open(relay.address().to_string(), config).await {
        Ok(client) => client,
        Err(error) => return stage.watch().broke(Clock::now(), link, &format!("the link cannot be opened: {error}")),
    };
    if let Some(wish) = wish
        && let Err(error) = client.try_send(wish).await
    {
        return stage.watch().broke(Clock::now(), link, &format!("the link cannot subscribe: {error}"));
    }
    let mut talk = Talk { prng: Prng::new(seed ^ (link as u64 + 1)) };
    let mut turn = 0;
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
                    on_client_event(&stage, link, &role, event);
                }
                Some(_) => {}
                None => return,
            },
            () = tokio::time::sleep_until(next), if phase == Phase::Playing => {
                let (to, pause) = match &role {
                    Role::Client | Role::Device(_) => (link, talk.pause()),
                    Role::Gateway(topics) => (turn % topics.gateway(), talk.pause() / topics.gateway() as u32),
                };
                role.say(&stage, &client, to, talk.length()).await;
                let beats = client.evidence().await.map_or(0, |evidence| evidence.beats_sent);
                stage.watch().client_beats(link, beats);
                turn += 1;
                next += pause;
            }
        }
    }
}

impl Role {
    /// Says something of this length about link `of`, unless nobody listens yet.
    async fn say(&self, stage: &Stage, client: &Link, of: usize, length: usize) {
        let (side, listens) = match self {
            Self::Client => (Side::Client, true),
            Self::Device(topics) => (Side::Client, stage.is_listening(topics.gateway())),
            Self::Gateway(_) => (Side::Server, stage.is_listening(of)),
        };
        if !listens || !stage.may_say(of, side) {
            return;
        }
        let Some(bytes) = stage.ledger(of, side, |ledger| ledger.next_message(of, length)) else { return };
        let message = match self {
            Self::Client | Self::Device(_) => Some(bytes.into()),
            Self::Gateway(topics) => topics.to_device(of, bytes).ok(),
        };
        let taken = match message {
            Some(message) => client.try_send(message).await.is_ok(),
            None => false,
        };
        if !taken {
            stage.ledger(of, side, Ledger::not_accepted);
        }
    }

    /// Whose message came over link `link`, and who sent it.
    fn origin(&self, link: usize, message: &Message) -> Option<(usize, Side)> {
        match self {
            Self::Client | Self::Device(_) => Some((link, Side::Server)),
            Self::Gateway(topics) => topics.origin(message).map(|device| (device, Side::Client)),
        }
    }
}

fn on_client_event(stage: &Stage, link: usize, role: &Role, event: Event) {
    let now = Clock::now();
    match event {
        Event::Message(message) => match role.origin(link, &message) {
            Some((of, sender)) => {
                stage.arrived(of, sender, &mqtt::payload(&message));
            }
            None => stage.watch().broke(now, link, "a message came that is nobody's"),
        },
        Event::Answered { answer, .. } if mqtt::is_refusal(&answer) => {
            stage.watch().broke(now, link, "the broker refused a subscription");
        }
        Event::Answered { .. } => stage.listens(link),
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
pub(super) async fn serve(
    stage: Arc<Stage>,
    mut server: Server,
    seed: u64,
    mut restarts: mpsc::Receiver<(Act, Duration)>,
) {
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
            Some((_, lasts)) = restarts.recv() => if let Err(error) = restart(&stage, &mut server, lasts).await {
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
                stage.arrived(link, Side::Client, &message);
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
