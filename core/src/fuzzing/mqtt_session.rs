//! `mqtt_session`: a client's session of MQTT, whose server and application do what the input says.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | bit 0: MQTT 5.0; 1: a clean start; 2: acknowledgements by hand; 3: a small inbox; 4: what must survive goes to a store |
//! | 1 | the seed of the client, and of how bytes are cut |
//! | 1 to 4 each | an act of the application, the server, the network or the clock, and what it needs to know |

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use core::time::Duration;

use super::script::{Pieces, Script};
use crate::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use crate::connection::Failure;
use crate::entropy::Prng;
use crate::session::{MemoryStore, Message, QueueLimits, SendError, SessionStore, Ticket};
use crate::time::Timestamp;
use crate::wire::mqtt::{
    Ack, ConnAck, Filter, Incoming, Mqtt, MqttConfig, Notice, Outgoing, PACKET_LIMIT, Packet, PacketId, Properties,
    Property, Publish, Qos, ReasonCode, Role, SubAck, Subscribe, Subscription, Topic, Unsubscribe, Version,
};
use crate::wire::{DeviceId, Tx};

/// So many acts are read, at most.
const MOST_ACTS: usize = 300;

/// So much waits to be written, at most: what one act asks for, and a message.
const MOST_WAITING: usize = 256 << 10;

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Checks, whatever the server does, that what leaves are packets that a client may send; that identifiers are not used twice; that no more
/// messages are under way than the server takes; that tickets are settled in order, and each at most once; that turns end, and what waits
/// to be written is bounded; and that it makes no difference how the server's packets are cut.
///
/// # Panics
/// If one of these does not hold.
pub fn mqtt_session(data: &[u8]) {
    let whole = World::new(data, Pieces::Whole).run();
    let seed = data.get(1).copied().unwrap_or_default();
    assert_eq!(World::new(data, Pieces::Small).run(), whole, "in small pieces");
    assert_eq!(World::new(data, Pieces::Drawn(Prng::new(seed.into()))).run(), whole, "in pieces");
}

struct World<'a> {
    script: Script<'a>,
    pieces: Pieces,
    version: Version,
    by_hand: bool,
    config: Arc<ClientConfig<Mqtt>>,
    client: Client<Mqtt>,
    seed: u64,
    store: Option<MemoryStore>,
    now: Timestamp,
    server: Option<Server>,
    looks: bool,
    settled: Ticket,
    newest: Ticket,
    /// What is to be the same however bytes are cut.
    story: Story,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    said: Vec<Packet<'static>>,
    messages: Vec<Message>,
    /// What is settled in one read is told together, so only the end is the same.
    settled: Option<Ticket>,
    unacknowledged: usize,
}

/// The other end of one connection.
struct Server {
    epoch: Epoch,
    incoming: Incoming,
    is_open: bool,
    /// What it says are whole packets, which may come in pieces.
    is_cut: bool,
    receive_maximum: usize,
    /// The client's identifiers that are in use on this connection, with what is awaited: messages count, requests do not.
    in_use: BTreeMap<u16, bool>,
}

impl<'a> World<'a> {
    fn new(data: &'a [u8], pieces: Pieces) -> Self {
        let mut script = Script::new(data);
        let (options, seed) = (script.byte(), script.byte().into());
        let version = if options & 1 == 0 { Version::V3 } else { Version::V5 };
        let mut wire = MqttConfig::builder().version(version).message_limit(1000).receive_maximum(3).topic_aliases(2);
        if options & 2 != 0 {
            wire = wire.clean_start();
        }
        if options & 4 != 0 {
            wire = wire.manual_acknowledgements();
        }
        let inbox = if options & 8 == 0 { 100 } else { 2 };
        let config = ClientConfig::builder(DeviceId::new("d").unwrap())
            .wire(wire.build().unwrap())
            .inbox(QueueLimits::new(inbox, 10_000).unwrap())
            .outbox(QueueLimits::new(20, 10_000).unwrap());
        let config = Arc::new(config.build().unwrap());
        let mut client = Client::new(config.clone(), seed);
        if options & 16 != 0 {
            client.restore(Timestamp::ZERO, Vec::new()).expect("there is nothing to restore");
        }
        client.open(Timestamp::ZERO);
        Self {
            script,
            pieces,
            version,
            by_hand: options & 4 != 0,
            config,
            client,
            seed,
            store: (options & 16 != 0).then(MemoryStore::default),
            now: Timestamp::ZERO,
            server: None,
            looks: true,
            settled: Ticket(0),
            newest: Ticket(0),
            story: Story::default(),
        }
    }

    fn run(mut self) -> Story {
        self.turn();
        for _ in 0..MOST_ACTS {
            if self.script.is_over() {
                break;
            }
            self.act();
            self.turn();
        }
        self.looks = true;
        self.turn();
        self.story.unacknowledged = self.client.unacknowledged();
        self.story
    }

    fn act(&mut self) {
        match self.script.below(24) {
            0..=2 => self.publish(),
            3 => self.request(true),
            4 => self.request(false),
            5 => self.looks = !self.looks,
            6 if self.by_hand => drop(self.client.acknowledge(self.now)),
            7 => self.pass(),
            8 => self.end(),
            9 => self.restart(),
            10 | 11 => self.let_in(),
            12 => self.say(&Packet::PingResp),
            13..=15 => self.come(),
            16 => self.ack(Packet::PubAck),
            17 => self.ack(Packet::PubRec),
            18 => self.ack(Packet::PubRel),
            19 => self.ack(Packet::PubComp),
            20 | 21 => self.answer(),
            22 => self.leave(),
            _ => self.say_anything(),
        }
    }

    // The application.

    fn publish(&mut self) {
        let (qos, length) = (self.script.one_of(&QOS), self.script.below(4));
        let payload = format!("{:<1$}", self.newest.0, [1, 10, 300, 900][length]);
        let topic = Topic::new(self.script.one_of(&["a", "b", "c/d"])).unwrap();
        self.send(Publish { qos, ..Publish::new(topic, &*payload) }.into_message().unwrap());
    }

    fn request(&mut self, begins: bool) {
        let filter = Filter::new(self.script.one_of(&["a", "b/#", "+"])).unwrap();
        let message = match begins {
            true => Subscribe::to([Subscription::new(filter, self.script.one_of(&QOS))].into()).into_message(),
            false => Unsubscribe::from([filter].into()).into_message(),
        };
        self.send(message.unwrap());
    }

    fn send(&mut self, message: Message) {
        match self.client.send(self.now, message) {
            Ok(ticket) => {
                assert!(ticket > self.newest, "tickets grow");
                self.newest = ticket;
            }
            Err(SendError::Full { .. } | SendError::Closed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.keep();
    }

    /// The process is killed, if something outlives it.
    fn restart(&mut self) {
        let Some(store) = &mut self.store else { return };
        self.client = Client::new(self.config.clone(), self.seed);
        let entries = store.load().unwrap();
        self.client.restore(self.now, entries).expect("what was written is read");
        (self.server, self.settled) = (None, Ticket(0));
        self.client.open(self.now);
        // The tickets of what is left go on.
        self.newest = Ticket(0);
    }

    fn keep(&mut self) {
        let changes = self.client.take_changes();
        match &mut self.store {
            Some(store) => store.apply(&changes).unwrap(),
            None => assert_eq!(changes, [], "nothing was to survive"),
        }
    }

    // The network and the clock.

    fn pass(&mut self) {
        let target = self.now.after(Duration::from_millis(1 << (self.script.byte() % 18)));
        while let Some(due) = self.client.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at.max(self.now);
            self.turn();
        }
        self.now = target;
    }

    fn end(&mut self) {
        if let Some(server) = self.server.take() {
            self.client.handle_input(self.now, Input::Ended { epoch: server.epoch, failure: Failure::Reset });
        }
    }

    // The server.

    fn let_in(&mut self) {
        let (session_present, limits) = (self.script.flag(), self.script.byte());
        let mut properties = Properties::NONE;
        let mut maximum = u16::MAX.into();
        if self.version == Version::V5 && limits & 1 != 0 {
            maximum = 1 + usize::from(limits >> 6);
            let most = NonZeroU16::new(maximum as u16).unwrap();
            properties = properties.with(&Property::ReceiveMaximum(most)).unwrap();
            properties = properties.with(&Property::TopicAliasMaximum(u16::from(limits >> 1 & 3))).unwrap();
            if limits & 8 != 0 {
                properties = properties.with(&Property::MaximumQos(Qos::AtLeastOnce)).unwrap();
            }
            if limits & 16 != 0 {
                let most = core::num::NonZeroU32::new(100).unwrap();
                properties = properties.with(&Property::MaximumPacketSize(most)).unwrap();
            }
        }
        if let Some(server) = self.server.as_mut().filter(|server| !server.is_open) {
            (server.is_open, server.receive_maximum) = (true, maximum);
        }
        self.say(&Packet::ConnAck(ConnAck { session_present, reason: ReasonCode::SUCCESS, properties }));
    }

    fn come(&mut self) {
        let (flags, number) = (self.script.byte(), self.script.byte());
        let qos = QOS[usize::from(flags % 3)];
        let packet_id = (qos > Qos::AtMostOnce).then_some(PacketId::MIN.saturating_add(u16::from(number % 6)));
        let topic = Topic::new("in").unwrap();
        let dup = flags & 64 != 0 && packet_id.is_some();
        let length = if flags & 128 == 0 { 5 } else { 700 };
        let payload = alloc::vec![number; length];
        self.say(&Packet::Publish(Publish { dup, qos, packet_id, ..Publish::new(topic, &payload[..]) }));
    }

    /// An acknowledgement of something that is under way, or of anything.
    fn ack(&mut self, packet: fn(Ack<'static>) -> Packet<'static>) {
        let id = self.one_in_use();
        let reason = match self.script.below(4) {
            3 if self.version == Version::V5 => ReasonCode::NOT_AUTHORIZED,
            _ => ReasonCode::SUCCESS,
        };
        let packet = packet(Ack { reason, ..Ack::new(id) });
        let reason =
            if reason.is_for(packet.packet_type(), Role::Server, self.version) { reason } else { ReasonCode::SUCCESS };
        let is_last = matches!(packet, Packet::PubAck(_) | Packet::PubComp(_)) || reason.is_failure();
        let packet = match packet {
            Packet::PubAck(ack) => Packet::PubAck(Ack { reason, ..ack }),
            Packet::PubRec(ack) => Packet::PubRec(Ack { reason, ..ack }),
            Packet::PubRel(_) => Packet::PubRel(Ack::new(id)),
            _ => Packet::PubComp(Ack::new(id)),
        };
        if let Some(server) = self.server.as_mut().filter(|_| is_last && !matches!(packet, Packet::PubRel(_))) {
            // Of the wrong kind, it settles nothing; then the client will not use it again, which is no fault.
            server.in_use.remove(&id.get());
        }
        self.say(&packet);
    }

    fn answer(&mut self) {
        let (id, flags) = (self.one_in_use(), self.script.byte());
        if let Some(server) = &mut self.server {
            server.in_use.remove(&id.get());
        }
        let count = if flags & 32 == 0 { 1 } else { 2 };
        let reason = if flags & 1 == 0 { ReasonCode::SUCCESS } else { ReasonCode::UNSPECIFIED_ERROR };
        let reasons = alloc::vec![reason; count];
        let packet = match (flags & 2 == 0, self.version) {
            (true, _) => Packet::SubAck(SubAck::new(id, reasons)),
            (false, Version::V5) => Packet::UnsubAck(SubAck::new(id, reasons)),
            (false, Version::V3) => Packet::UnsubAck(SubAck::new(id, Vec::new())),
        };
        self.say(&packet);
    }

    fn leave(&mut self) {
        let code = self.script.byte();
        let reason = ReasonCode::new(code)
            .filter(|reason| reason.is_for(crate::wire::mqtt::PacketType::Disconnect, Role::Server, self.version));
        match (reason, self.version) {
            (Some(reason), Version::V5) => self.say(&Packet::Disconnect(Notice::new(reason))),
            _ => self.end(),
        }
    }

    /// Bytes as they are in the input.
    fn say_anything(&mut self) {
        let bytes: Vec<u8> = (0..1 + self.script.below(12)).map(|_| self.script.byte()).collect();
        // From here on nothing is cut: if a write holds more than a packet, the client says something between them only if they come in
        // pieces.
        if let Some(server) = &mut self.server {
            server.is_cut = false;
        }
        self.write(&bytes);
    }

    fn one_in_use(&mut self) -> PacketId {
        let choice = self.script.byte();
        let in_use = self.server.iter().flat_map(|server| server.in_use.keys().copied());
        let in_use: Vec<u16> = in_use.collect();
        let id = in_use.get(usize::from(choice) % in_use.len().max(1)).copied();
        let id = id.filter(|_| choice < 200).unwrap_or_else(|| u16::from(choice));
        PacketId::new(id).unwrap_or(PacketId::MIN)
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let (mut tx, mut bytes) = (Tx::default(), Vec::new());
        Outgoing::new(Role::Server, self.version).send(packet, &mut tx).expect("a packet that a server may send");
        while !tx.is_empty() {
            bytes.extend_from_slice(tx.chunk());
            tx.consume(tx.chunk().len());
        }
        self.write(&bytes);
    }

    fn write(&mut self, mut bytes: &[u8]) {
        let Some((epoch, is_cut)) = self.server.as_ref().map(|server| (server.epoch, server.is_cut)) else { return };
        if !self.client.wants_read() {
            return;
        }
        while !bytes.is_empty() {
            let piece = if is_cut { self.pieces.next(&mut bytes) } else { core::mem::take(&mut bytes) };
            self.client.handle_input(self.now, Input::Received { epoch, bytes: piece });
        }
    }

    // The driver.

    fn turn(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            while let Some(action) = self.client.poll_action() {
                busy = true;
                self.obey(action);
            }
            while self.looks
                && let Some(event) = self.client.poll_event(self.now)
            {
                busy = true;
                self.note(event);
            }
            self.keep();
            busy |= self.transmit();
            if !busy {
                match self.client.poll_timeout().filter(|due| due.at <= self.now) {
                    Some(_) => self.client.handle_timeout(self.now),
                    None => return,
                }
            }
        }
        panic!("a turn that does not end");
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Connect { epoch } => {
                self.server = Some(Server {
                    epoch,
                    incoming: Incoming::server(PACKET_LIMIT),
                    is_open: false,
                    is_cut: true,
                    receive_maximum: u16::MAX.into(),
                    in_use: BTreeMap::new(),
                });
                self.client.handle_input(self.now, Input::Opened { epoch });
            }
            Action::Disconnect { epoch } => drop(self.server.take_if(|server| server.epoch == epoch)),
            Action::Transmit { .. } | Action::FetchCredentials { .. } => {}
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.story.messages.push(message),
            Event::Acknowledged { through } => {
                assert!(through > self.settled, "{through:?} after {:?}", self.settled);
                self.settled = through;
                self.story.settled = Some(through);
            }
            _ => {}
        }
    }

    fn transmit(&mut self) -> bool {
        let Some(server) = &mut self.server else { return false };
        let bytes = self.client.transmit().to_vec();
        assert!(bytes.len() <= MOST_WAITING, "{} bytes wait", bytes.len());
        if bytes.is_empty() {
            return false;
        }
        let mut rest = &bytes[..];
        while let Some(packet) = server.incoming.next(&mut rest).expect("a client that keeps the rules") {
            server.hear(&packet);
            self.story.said.push(packet.into_owned());
        }
        let epoch = server.epoch;
        self.client.handle_input(self.now, Input::Written { epoch, count: bytes.len() });
        true
    }
}

impl Server {
    fn hear(&mut self, packet: &Packet<'_>) {
        let (id, is_message) = match packet {
            Packet::Publish(publish) => (publish.packet_id, true),
            Packet::Subscribe(subscribe) => (Some(subscribe.packet_id), false),
            Packet::Unsubscribe(unsubscribe) => (Some(unsubscribe.packet_id), false),
            _ => return,
        };
        let Some(id) = id else { return };
        assert!(self.in_use.insert(id.get(), is_message).is_none(), "{id} is in use");
        let under_way = self.in_use.values().filter(|is_message| **is_message).count();
        assert!(under_way <= self.receive_maximum, "{under_way} messages are under way");
    }
}
