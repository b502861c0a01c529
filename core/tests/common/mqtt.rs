//! A link over MQTT whose server is the test.

use std::sync::Arc;

use keepbeat_core::client::{Action, Client, ClientConfig, ClientConfigBuilder, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::session::{MemoryStore, Message, SessionStore as _};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::mqtt::{
    Ack, ConnAck, Filter, Incoming, Mqtt, MqttConfig, MqttConfigBuilder, Outgoing, Packet, PacketId, Properties,
    Publish, Qos, ReasonCode, Role, SubAck, Subscribe, Subscription, Topic, Version,
};
use keepbeat_core::wire::websocket::Item;
use keepbeat_core::wire::{Credentials, Tx};
use keepbeat_core::{DownReport, Failure};

use super::mqtt_front::{Front, Upgrade};
use super::websocket::SERVER;
use super::{assert_later, at, device, entropy, liveness};

pub(crate) const fn mqtt() -> MqttConfigBuilder {
    MqttConfig::builder()
}

/// A client over MQTT, and [`liveness`].
pub(crate) fn client(wire: MqttConfigBuilder) -> ClientConfigBuilder<Mqtt> {
    ClientConfig::builder(device("d")).liveness(liveness().build().unwrap()).wire(wire.build().unwrap())
}

pub(crate) fn publish(topic: &str, payload: &str, qos: Qos) -> Message {
    Publish { qos, ..publication(topic, payload) }.into_message().unwrap()
}

pub(crate) fn publication<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish::new(Topic::new(topic).unwrap(), payload)
}

pub(crate) fn subscribe(filter: &str, qos: Qos) -> Message {
    Subscribe::to(vec![Subscription::new(Filter::new(filter).unwrap(), qos)]).into_message().unwrap()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// The test's end of one connection.
pub(crate) struct Peer {
    version: Version,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Packets that were said.
    said: Vec<u8>,
    pub(crate) out: Vec<u8>,
    /// If the connection is a WebSocket.
    pub(crate) front: Option<Front>,
}

/// What the connections of a rig are.
#[derive(Default, Clone)]
pub(crate) struct Transport {
    /// WebSockets, if they are; and whether their messages and frames are cut anywhere.
    pub(crate) websocket: Option<Upgrade>,
    pub(crate) cuts: Option<u64>,
}

/// A client whose server is the test.
pub(crate) struct Rig {
    pub(crate) client: Client<Mqtt>,
    pub(crate) now: Timestamp,
    version: Version,
    config: Arc<ClientConfig<Mqtt>>,
    pub(crate) store: MemoryStore,
    transport: Transport,
    /// Where reads are cut, if they are.
    reads: Option<Prng>,
    pub(crate) peer: Peer,
    pub(crate) open: Option<Epoch>,
    /// Whether everything but CONNECT is answered at once, with success.
    pub(crate) answers: bool,
    /// When the client hung up.
    pub(crate) hung_up: Option<u64>,
    pub(crate) events: Vec<(u64, Event)>,
    /// Whether events are taken.
    pub(crate) looks: bool,
    /// Whether the socket takes what is written.
    pub(crate) writes: bool,
    /// For each time that credentials were asked for, whether the last ones would not do.
    pub(crate) asked: Vec<bool>,
    /// What came, and when.
    pub(crate) heard: Vec<(u64, Packet<'static>)>,
}

impl Rig {
    /// A link that has sent CONNECT.
    pub(crate) fn new(version: Version, wire: MqttConfigBuilder) -> Self {
        Self::of(version, client(wire.version(version)))
    }

    pub(crate) fn of(version: Version, config: ClientConfigBuilder<Mqtt>) -> Self {
        Self::over(Transport::default(), version, config)
    }

    /// A link with a store.
    pub(crate) fn durable(version: Version, config: ClientConfigBuilder<Mqtt>) -> Self {
        let mut rig = Self::closed(Transport::default(), version, config);
        rig.client.restore(rig.now, Vec::new()).unwrap();
        rig.opened()
    }

    pub(crate) fn over(transport: Transport, version: Version, config: ClientConfigBuilder<Mqtt>) -> Self {
        Self::closed(transport, version, config).opened()
    }

    fn closed(transport: Transport, version: Version, config: ClientConfigBuilder<Mqtt>) -> Self {
        let config = Arc::new(config.build().unwrap());
        Self {
            client: link(&config, 1),
            now: Timestamp::ZERO,
            version,
            config,
            store: MemoryStore::default(),
            reads: transport.cuts.map(Prng::new),
            peer: Peer::new(version, &transport),
            transport,
            open: None,
            answers: false,
            hung_up: None,
            events: Vec::new(),
            looks: true,
            writes: true,
            asked: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn opened(mut self) -> Self {
        self.client.open(self.now);
        self.turn();
        self
    }

    /// A link that is up, with a session that has just begun.
    pub(crate) fn up(version: Version, wire: MqttConfigBuilder) -> Self {
        let mut rig = Self::new(version, wire);
        rig.accept(false);
        rig.forget();
        rig
    }

    /// Lets the client in.
    pub(crate) fn accept(&mut self, session_present: bool) {
        self.accept_with(session_present, Properties::NONE);
    }

    pub(crate) fn accept_with(&mut self, session_present: bool, properties: Properties<'_>) {
        self.say(&Packet::ConnAck(ConnAck { session_present, reason: ReasonCode::SUCCESS, properties }));
    }

    pub(crate) fn say(&mut self, packet: &Packet<'_>) {
        self.peer.say(packet);
        self.turn();
    }

    pub(crate) fn say_all(&mut self, packets: &[Packet<'_>]) {
        packets.iter().for_each(|packet| self.peer.say(packet));
        self.turn();
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.peer.out.extend_from_slice(bytes);
        self.turn();
    }

    /// The front says something by itself, behind what was said before.
    pub(crate) fn say_item(&mut self, item: &Item) {
        self.peer.flush();
        let Peer { front: Some(front), out, .. } = &mut self.peer else { panic!("there is no WebSocket") };
        front.say(item, out);
        self.turn();
    }

    pub(crate) fn front(&self) -> &Front {
        self.peer.front.as_ref().expect("there is a WebSocket")
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.client.send(self.now, message).unwrap();
        self.turn();
    }

    /// The process is killed and begins anew.
    pub(crate) fn restart(&mut self) {
        self.client = link(&self.config, 2);
        self.client.restore(self.now, self.store.load().unwrap()).unwrap();
        self.client.open(self.now);
        self.open = None;
        self.turn();
    }

    /// The connection ends without a word, and the client opens the next.
    pub(crate) fn cut(&mut self) {
        self.end();
        while self.open.is_none() {
            self.advance(100);
        }
    }

    pub(crate) fn end(&mut self) {
        let epoch = self.open.take().expect("a connection is open");
        self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Eof });
        self.turn();
    }

    pub(crate) fn forget(&mut self) {
        self.events.clear();
        self.heard.clear();
    }

    /// What came, without when, since this was last asked.
    pub(crate) fn take(&mut self) -> Vec<Packet<'static>> {
        std::mem::take(&mut self.heard).into_iter().map(|(_, packet)| packet).collect()
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let target = at(self.now.as_millis() + millis);
        while let Some(due) = self.client.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    pub(crate) fn turn(&mut self) {
        loop {
            let mut busy = false;
            while let Some(action) = self.client.poll_action() {
                busy = true;
                match action {
                    Action::Connect { epoch } => {
                        (self.open, self.peer) = (Some(epoch), Peer::new(self.version, &self.transport));
                        self.client.handle_input(self.now, Input::Opened { epoch });
                    }
                    Action::FetchCredentials { epoch, refresh } => {
                        self.asked.push(refresh);
                        let credentials = Credentials::new(format!("secret {}", self.asked.len()));
                        self.client.handle_input(self.now, Input::Credentials { epoch, credentials });
                    }
                    Action::Disconnect { epoch } if self.open == Some(epoch) => {
                        (self.open, self.hung_up) = (None, Some(self.now.as_millis()));
                    }
                    _ => {}
                }
            }
            while self.looks
                && let Some(event) = self.client.poll_event(self.now)
            {
                busy = true;
                self.events.push((self.now.as_millis(), event));
            }
            self.store.apply(&self.client.take_changes()).unwrap();
            if let Some(epoch) = self.open
                && self.writes
                && !self.client.transmit().is_empty()
            {
                busy = true;
                let bytes = self.client.transmit().to_vec();
                self.client.handle_input(self.now, Input::Written { epoch, count: bytes.len() });
                for packet in self.peer.hear(&bytes) {
                    if self.answers {
                        self.peer.answer(&packet);
                    }
                    self.heard.push((self.now.as_millis(), packet));
                }
            }
            self.peer.flush();
            if let Some(epoch) = self.open
                && !self.peer.out.is_empty()
                && self.client.wants_read()
            {
                busy = true;
                let all = self.peer.out.len();
                let count = self.reads.as_mut().map_or(all, |reads| reads.between(1, all as u64) as usize);
                let bytes: Vec<u8> = self.peer.out.drain(..count).collect();
                self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
            }
            if !busy && self.client.poll_timeout().is_some_and(|due| due.at <= self.now) {
                self.client.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.client.poll_timeout());
    }

    /// Payloads of the messages that the application took.
    pub(crate) fn messages(&self) -> Vec<String> {
        let messages = self.events.iter().filter_map(|(_, event)| match event {
            Event::Message(message) => Some(message.clone()),
            _ => None,
        });
        messages.map(|message| String::from_utf8(Publish::of(&message).unwrap().payload.to_vec()).unwrap()).collect()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        super::names(&self.events)
    }

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.names().into_iter().filter(|seen| *seen == name).count()
    }

    pub(crate) fn downs(&self) -> Vec<(u64, DownReport)> {
        let downs = self.events.iter().filter_map(|(at, event)| match event {
            Event::Down { report, .. } => Some((*at, (**report).clone())),
            _ => None,
        });
        downs.collect()
    }
}

/// What a WebSocket draws for its keys makes no difference to when the link beats.
fn link(config: &Arc<ClientConfig<Mqtt>>, seed: u64) -> Client<Mqtt> {
    Client::new(config.clone(), seed).to_server(SERVER.parse().unwrap()).with_entropy(entropy())
}

impl Peer {
    fn new(version: Version, transport: &Transport) -> Self {
        let outgoing = Outgoing::new(Role::Server, version);
        let front = transport.websocket.clone().map(|answer| Front::new(answer, transport.cuts));
        let (said, out) = (Vec::new(), Vec::new());
        Self { version, incoming: Incoming::server(1 << 24), outgoing, said, out, front }
    }

    /// What was said is on its way.
    fn flush(&mut self) {
        let said = std::mem::take(&mut self.said);
        match &mut self.front {
            Some(_) if said.is_empty() => {}
            Some(front) => front.wrap(&said, &mut self.out),
            None => self.out.extend(said),
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Packet<'static>> {
        let mut packets = Vec::new();
        let bytes = match &mut self.front {
            Some(front) => front.unwrap(bytes, &mut self.out),
            None => bytes.to_vec(),
        };
        let mut bytes = &bytes[..];
        while let Some(packet) = self.incoming.next(&mut bytes).expect("our own side keeps to the protocol") {
            packets.push(packet.into_owned());
        }
        packets
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut tx = Tx::default();
        self.outgoing.send(packet, &mut tx).unwrap();
        while !tx.is_empty() {
            self.said.extend_from_slice(tx.chunk());
            tx.consume(tx.chunk().len());
        }
    }

    fn answer(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::PingReq => self.say(&Packet::PingResp),
            Packet::Publish(Publish { qos: Qos::AtLeastOnce, packet_id: Some(id), .. }) => {
                self.say(&Packet::PubAck(Ack::new(*id)));
            }
            Packet::Publish(Publish { qos: Qos::ExactlyOnce, packet_id: Some(id), .. }) => {
                self.say(&Packet::PubRec(Ack::new(*id)));
            }
            Packet::PubRec(ack) => self.say(&Packet::PubRel(Ack::new(ack.packet_id))),
            Packet::PubRel(ack) => self.say(&Packet::PubComp(Ack::new(ack.packet_id))),
            Packet::Subscribe(packet) => {
                let granted = packet.subscriptions.iter().map(|one| granted(one.qos)).collect();
                self.say(&Packet::SubAck(SubAck::new(packet.packet_id, granted)));
            }
            Packet::Unsubscribe(packet) => {
                let count = if self.version == Version::V5 { packet.filters.len() } else { 0 };
                self.say(&Packet::UnsubAck(SubAck::new(packet.packet_id, vec![ReasonCode::SUCCESS; count])));
            }
            _ => {}
        }
    }
}

pub(crate) const fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::SUCCESS,
        Qos::AtLeastOnce => ReasonCode::GRANTED_QOS_1,
        Qos::ExactlyOnce => ReasonCode::GRANTED_QOS_2,
    }
}
