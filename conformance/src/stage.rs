//! What scripts are written with: one driver under test, the scripted other side, and the trace of both.

use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::client::{ClientConfig, ClientConfigBuilder, Event};
use keepbeat_core::liveness::{LivenessConfig, LivenessConfigBuilder};
use keepbeat_core::reconnect::{ReconnectConfig, ReconnectConfigBuilder};
use keepbeat_core::server::{ServerConfig, ServerConfigBuilder, ServerEvent, Sessions};
use keepbeat_core::session::{Message, QueueLimits, SendError, Ticket};
use keepbeat_core::wire::beat::MESSAGE_LIMIT_MAX;
use keepbeat_core::wire::mqtt::{MqttConfig, MqttConfigBuilder, PACKET_LIMIT, Qos};
use keepbeat_core::wire::websocket::{SUBPROTOCOL, WebSocketConfig, WebSocketConfigBuilder};
use keepbeat_core::wire::{AnyConfig, Role};

use crate::harness::{ClientUnderTest, Clients, ServerUnderTest, Servers, Suspends};
use crate::ledger::matches;
use crate::network::Way;
use crate::packets::{TOPIC, in_words_of, topic};
use crate::peers::{Line, OFTEN, Peers};
use crate::speaker::large_messages;
use crate::{CALM, INTERVAL, MOST, PATIENCE, REPLY_TIMEOUT, clock, device, words};

/// A stage for one link and the servers that the script plays.
pub struct ClientStage<H: Clients> {
    pub(crate) peer: Peers,
    client: Option<H::Client>,
    wire: AnyConfig,
    app: Vec<String>,
    harness: H,
}

impl<H: Clients> ClientStage<H> {
    /// An empty stage, on which connections speak the native protocol.
    pub fn new(harness: H) -> Self {
        Self::on(Way::Tcp, harness)
    }

    /// An empty stage, on which connections go this way.
    pub fn on(way: Way, mut harness: H) -> Self {
        let peer = Peers::new(harness.network(), way, Role::Server);
        Self { peer, client: None, wire: wire(way), app: Vec::new(), harness }
    }

    /// What is under test speaks WebSocket with this changed.
    pub(crate) fn websocket(&mut self, change: impl FnOnce(WebSocketConfigBuilder) -> WebSocketConfigBuilder) {
        let (way, changed) = (self.peer.way(), change(websocket(self.peer.way())));
        self.wire = if way.is_mqtt() { over_mqtt(mqtt(), way, changed) } else { built(changed) };
    }

    /// What is under test speaks MQTT with this changed.
    pub(crate) fn mqtt(&mut self, change: impl FnOnce(MqttConfigBuilder) -> MqttConfigBuilder) {
        self.wire = over_mqtt(change(mqtt()), self.peer.way(), websocket(self.peer.way()));
    }

    /// Opens the link to an address on which the script listens from now on.
    pub(crate) fn open(&mut self, config: ClientConfigBuilder) -> SocketAddr {
        let address = self.peer.reserve();
        self.peer.listen(address);
        self.open_to(address, config);
        address
    }

    pub(crate) fn open_to(&mut self, address: SocketAddr, config: ClientConfigBuilder) {
        let config: ClientConfig = config.wire(self.wire.clone()).build().unwrap_or_else(|error| panic!("{error}"));
        self.client = Some(self.harness.client(address, config));
    }

    pub(crate) fn client(&mut self) -> &mut H::Client {
        self.client.as_mut().unwrap_or_else(|| panic!("no link was opened"))
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        let result = self.client().send(message.into());
        self.app.push(outcome(&result));
    }

    /// Takes and notes events until this one.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: &str) {
        let begun = clock();
        for _ in (0..MOST).take_while(|_| begun.elapsed() < 2 * PATIENCE) {
            match self.client().next_event(PATIENCE) {
                Ok(Some(event)) => {
                    let Some(line) = words::event(&event) else { continue };
                    let found = matches(&line, wanted);
                    note(&mut self.app, line, matches!(event, Event::Acknowledged { .. }));
                    if found {
                        return;
                    }
                }
                Ok(None) => self.fail(&format!("the link was over before {wanted:?}")),
                Err(_) => break,
            }
        }
        self.fail(&format!("waited in vain for {wanted:?}"))
    }

    /// The application does this all the time, until this event. What is acknowledged meanwhile is not noted.
    #[track_caller]
    pub(crate) fn until_while(&mut self, wanted: &str, mut act: impl FnMut(&mut H::Client)) {
        for _ in 0..2 * MOST {
            let event = match self.client().next_event(OFTEN) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) => {
                    act(self.client());
                    continue;
                }
            };
            let line = words::event(&event).filter(|_| !matches!(event, Event::Acknowledged { .. }));
            self.app.extend(line.clone());
            if line.is_some_and(|line| matches(&line, wanted)) {
                return;
            }
        }
        self.fail(&format!("waited in vain for {wanted:?}"))
    }

    /// The application is done with a message.
    pub(crate) fn acknowledge(&mut self) {
        let what = if self.client().acknowledge() { "one" } else { "none" };
        self.app.push(format!("done with {what}"));
    }

    /// The link must be over, with no event left.
    #[track_caller]
    pub(crate) fn over(&mut self) {
        match self.client().next_event(PATIENCE) {
            Ok(None) => self.app.push("over".to_owned()),
            Ok(Some(event)) => self.fail(&format!("an event after the last: {event:?}")),
            Err(_) => self.fail("waited in vain for the end of events"),
        }
    }

    /// Closes the link over this connection, properly.
    #[track_caller]
    pub(crate) fn close(&mut self, line: Line) {
        self.client().close();
        self.peer.until(line, if self.peer.way() == Way::Foreign { "CLOSE" } else { "GOODBYE" });
        self.peer.hang_up(line);
        self.until("closed");
        self.over();
    }

    /// What happened must be this, line by line.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &str) {
        compare(self.peer.way(), &self.trace(), expected);
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.app.iter().map(|line| format!("app: {line}")).chain(self.peer.trace()).collect()
    }

    #[track_caller]
    fn fail(&self, problem: &str) -> ! {
        panic!("{problem}; until then:\n{}", self.trace().join("\n"))
    }
}

impl<H: Clients + Suspends> ClientStage<H> {
    /// The machine is away for `gap`, while the other side does this.
    pub(crate) fn suspend(&mut self, gap: Duration, meanwhile: impl FnOnce(&mut Peers)) {
        self.harness.freeze();
        meanwhile(&mut self.peer);
        self.harness.thaw(gap);
    }
}

/// A stage for one server and the devices that the script plays.
pub struct ServerStage<H: Servers> {
    pub(crate) peer: Peers,
    server: Option<H::Server>,
    wire: AnyConfig,
    app: Vec<String>,
    harness: H,
}

impl<H: Servers> ServerStage<H> {
    /// An empty stage, on which connections speak the native protocol.
    pub fn new(harness: H) -> Self {
        Self::on(Way::Tcp, harness)
    }

    /// An empty stage, on which connections go this way.
    pub fn on(way: Way, mut harness: H) -> Self {
        let peer = Peers::new(harness.network(), way, Role::Client);
        Self { peer, server: None, wire: wire(way), app: Vec::new(), harness }
    }

    /// What is under test speaks WebSocket with this changed.
    pub(crate) fn websocket(&mut self, change: impl FnOnce(WebSocketConfigBuilder) -> WebSocketConfigBuilder) {
        self.wire = built(change(websocket(self.peer.way())));
    }

    pub(crate) fn serve(&mut self, config: ServerConfigBuilder) -> SocketAddr {
        self.serve_on(SocketAddr::from(([127, 0, 0, 1], 0)), config, None)
    }

    pub(crate) fn serve_on(
        &mut self,
        address: SocketAddr,
        config: ServerConfigBuilder,
        sessions: Option<Sessions>,
    ) -> SocketAddr {
        let config: ServerConfig = config.wire(self.wire.clone()).build().unwrap_or_else(|error| panic!("{error}"));
        let server = self.harness.server(address, config, sessions);
        let address = server.local_addr();
        self.server = Some(server);
        address
    }

    pub(crate) fn server(&mut self) -> &mut H::Server {
        self.server.as_mut().unwrap_or_else(|| panic!("no server was started"))
    }

    pub(crate) fn abort(&mut self) -> Sessions {
        self.server.take().unwrap_or_else(|| panic!("no server was started")).abort()
    }

    pub(crate) fn send(&mut self, name: &str, message: impl Into<Message>) {
        let result = self.server().send(&device(name), message.into());
        self.app.push(outcome(&result));
    }

    /// Takes and notes events until this one, and returns it.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: &str) -> ServerEvent {
        let begun = clock();
        for _ in (0..MOST).take_while(|_| begun.elapsed() < 2 * PATIENCE) {
            match self.server().next_event(PATIENCE) {
                Ok(Some(event)) => {
                    let line = words::server_event(&event);
                    let found = matches(&line, wanted);
                    note(&mut self.app, line, matches!(event, ServerEvent::Acknowledged { .. }));
                    if found {
                        return event;
                    }
                }
                Ok(None) => self.fail(&format!("the server was over before {wanted:?}")),
                Err(_) => break,
            }
        }
        self.fail(&format!("waited in vain for {wanted:?}"))
    }

    /// The server must be over, with no event left.
    #[track_caller]
    pub(crate) fn over(&mut self) {
        match self.server().next_event(PATIENCE) {
            Ok(None) => self.app.push("over".to_owned()),
            Ok(Some(event)) => self.fail(&format!("an event after the last: {event:?}")),
            Err(_) => self.fail("waited in vain for the end of events"),
        }
    }

    /// The device closes its session over this connection, properly.
    #[track_caller]
    pub(crate) fn leave(&mut self, line: Line, name: &str) {
        self.peer.say(line, &crate::peers::goodbye(keepbeat_core::wire::Reason::Closed));
        self.peer.hang_up(line);
        self.until(&format!("session of {name} ended"));
    }

    /// What happened must be this, line by line.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &str) {
        compare(self.peer.way(), &self.trace(), expected);
    }

    fn trace(&self) -> Vec<String> {
        self.app.iter().map(|line| format!("app: {line}")).chain(self.peer.trace()).collect()
    }

    #[track_caller]
    fn fail(&self, problem: &str) -> ! {
        panic!("{problem}; until then:\n{}", self.trace().join("\n"))
    }
}

impl<H: Servers + Suspends> ServerStage<H> {
    /// The machine is away for `gap`, while the other side does this.
    pub(crate) fn suspend(&mut self, gap: Duration, meanwhile: impl FnOnce(&mut Peers)) {
        self.harness.freeze();
        meanwhile(&mut self.peer);
        self.harness.thaw(gap);
    }
}

/// Acknowledgements that follow each other count as the last one.
fn note(lines: &mut Vec<String>, line: String, acknowledged: bool) {
    let subject = line.rsplit_once(' ').map_or("", |(subject, _)| subject);
    match lines.last_mut() {
        Some(last) if acknowledged && last.rsplit_once(' ').is_some_and(|(known, _)| known == subject) => *last = line,
        _ => lines.push(line),
    }
}

fn outcome(result: &Result<Ticket, SendError>) -> String {
    match result {
        Ok(ticket) => format!("sent {}", ticket.0),
        Err(error) => format!("not sent: {error}"),
    }
}

#[track_caller]
fn compare(way: Way, trace: &[String], expected: &str) {
    let expected = expected.lines().map(str::trim).filter(|line| !line.is_empty());
    let expected: Vec<String> = expected.map(|line| in_words_of(way, line)).collect();
    assert!(
        trace.iter().eq(expected.iter()),
        "the trace differs\n--- expected\n{}\n--- but it was\n{}\n",
        expected.join("\n"),
        trace.join("\n")
    );
}

// Configurations in which nothing takes long.

/// Every message is taken.
fn wire(way: Way) -> AnyConfig {
    match way {
        Way::Tcp => large_messages().into(),
        Way::WebSocket | Way::Foreign => built(websocket(way)),
        Way::Mqtt | Way::MqttWebSocket => over_mqtt(mqtt(), way, websocket(way)),
    }
}

fn mqtt() -> MqttConfigBuilder {
    MqttConfig::builder().topic(topic(TOPIC), Qos::AtLeastOnce).message_limit(PACKET_LIMIT)
}

fn over_mqtt(config: MqttConfigBuilder, way: Way, below: WebSocketConfigBuilder) -> AnyConfig {
    let below = (way == Way::MqttWebSocket).then(|| below.build().unwrap_or_else(|error| panic!("{error}")));
    let config = match below {
        Some(below) => config.over_websocket(below),
        None => config,
    };
    AnyConfig::Mqtt(config.build().unwrap_or_else(|error| panic!("{error}")))
}

fn websocket(way: Way) -> WebSocketConfigBuilder {
    let config = WebSocketConfig::builder().message_limit(MESSAGE_LIMIT_MAX);
    if way == Way::WebSocket { config.subprotocol(SUBPROTOCOL) } else { config }
}

fn built(config: WebSocketConfigBuilder) -> AnyConfig {
    config.build().unwrap_or_else(|error| panic!("{error}")).into()
}

pub(crate) const fn liveness() -> LivenessConfigBuilder {
    LivenessConfig::builder().interval(INTERVAL).reply_timeout(REPLY_TIMEOUT)
}

/// For scenarios that are not about silence.
pub(crate) const fn calm() -> LivenessConfigBuilder {
    let calm = Duration::from_millis(CALM as u64);
    LivenessConfig::builder().interval(calm).reply_timeout(calm)
}

/// For scenarios in which nobody beats: longer than a script waits, and than a driver's alarm is capped at.
pub(crate) const fn still() -> LivenessConfigBuilder {
    LivenessConfig::builder().interval(STILL).reply_timeout(STILL)
}

const STILL: Duration = Duration::from_secs(40);

pub(crate) fn reconnect() -> ReconnectConfigBuilder {
    let millis = Duration::from_millis;
    ReconnectConfig::builder().floor(millis(20)).base(millis(20)).first_spread(millis(20)).cap(millis(100))
}

/// A client that beats and tries again soon.
pub(crate) fn client() -> ClientConfigBuilder {
    ClientConfig::builder(device("d"))
        .liveness(liveness().build().unwrap_or_else(|error| panic!("{error}")))
        .reconnect(reconnect().build().unwrap_or_else(|error| panic!("{error}")))
        .outbox(room())
        .inbox(room())
        .handshake_timeout(PATIENCE / 2)
        .close_timeout(REPLY_TIMEOUT)
}

/// A server that lets devices beat as often as they like.
pub(crate) fn server() -> ServerConfigBuilder {
    ServerConfig::builder()
        .liveness(liveness().build().unwrap_or_else(|error| panic!("{error}")))
        .intervals(INTERVAL / 10, INTERVAL * 100)
        .outbox(room())
        .inbox(room())
        .handshake_timeout(PATIENCE / 2)
        .close_timeout(REPLY_TIMEOUT)
}

fn room() -> QueueLimits {
    QueueLimits::new(1000, 64 << 20).unwrap_or_else(|error| panic!("{error}"))
}
