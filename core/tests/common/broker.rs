//! An MQTT server with the session of one client, as the standard has it: strict with what comes, and as slow and as forgetful as it is
//! told to be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use keepbeat_core::entropy::Prng;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::Tx;
use keepbeat_core::wire::mqtt::{
    Ack, ConnAck, Connect, Incoming, Outgoing, Packet, Properties, Property, Publish, Qos, ReasonCode, Role, SubAck,
    Topic, Version,
};

use super::mqtt::{granted, id};

/// What a broker does.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) version: Version,
    /// How many messages of QoS 1 and 2 it takes at a time.
    pub(crate) receive_maximum: u16,
    pub(crate) topic_aliases: u16,
    pub(crate) keep_alive: Option<u16>,
    /// Answers wait up to so many milliseconds, each for itself; those of one kind stay in order.
    pub(crate) lag: u64,
    /// Says PUBREL twice, as MQTT 3.1.1 allows.
    pub(crate) repeats: bool,
}

impl Manner {
    pub(crate) const fn plain(version: Version) -> Self {
        Self { version, receive_maximum: 100, topic_aliases: 0, keep_alive: None, lag: 0, repeats: false }
    }
}

/// A message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) topic: String,
    pub(crate) number: u64,
    pub(crate) qos: Qos,
}

/// What outlives connections.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) subscriptions: BTreeMap<String, Qos>,
    queue: VecDeque<Out>,
    /// Messages that were sent, oldest first; `true` from PUBREC on.
    in_flight: Vec<(u16, Out, bool)>,
    last_id: u16,
    /// Messages of QoS 2 that came, until they are released.
    unreleased: BTreeMap<u16, u64>,
}

impl Session {
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && self.unreleased.is_empty()
    }
}

pub(crate) struct Broker {
    pub(crate) manner: Manner,
    prng: Prng,
    pub(crate) session: Option<Session>,
    connection: Option<Connection>,
    /// What the client published, in the order in which it came.
    pub(crate) came: Vec<(u64, Qos)>,
    /// Messages that were for the client, and went with their session.
    pub(crate) forgotten: BTreeSet<u64>,
    /// What was said last, for failures.
    log: VecDeque<(Timestamp, &'static str, Packet<'static>)>,
    pub(crate) connects: Vec<Timestamp>,
    /// Hears, and says nothing.
    pub(crate) is_mute: bool,
    /// The client was silent for so long that it had to be closed.
    pub(crate) silences: u64,
    /// How many sessions it has lost.
    pub(crate) losses: u64,
}

struct Connection {
    incoming: Incoming,
    outgoing: Outgoing,
    keep_alive: u64,
    last_packet: Timestamp,
    resumed: bool,
    window: usize,
    /// Identifiers of the client's that are in use on this connection: `true` for messages, which count against our maximum.
    in_use: BTreeMap<u16, bool>,
    aliases: BTreeMap<u16, String>,
    /// What waits to be said: when at the earliest.
    answers: VecDeque<(Timestamp, Packet<'static>)>,
    out: Vec<u8>,
    hung_up: bool,
}

impl Broker {
    pub(crate) fn new(manner: Manner, seed: u64) -> Self {
        Self {
            manner,
            prng: Prng::new(seed),
            session: None,
            connection: None,
            came: Vec::new(),
            forgotten: BTreeSet::new(),
            log: VecDeque::new(),
            connects: Vec::new(),
            is_mute: false,
            silences: 0,
            losses: 0,
        }
    }

    // What the network does.

    pub(crate) fn accept(&mut self, now: Timestamp) {
        self.connection = Some(Connection {
            incoming: Incoming::server(1 << 24),
            outgoing: Outgoing::new(Role::Server, self.manner.version),
            keep_alive: 0,
            last_packet: now,
            resumed: false,
            window: 0,
            in_use: BTreeMap::new(),
            aliases: BTreeMap::new(),
            answers: VecDeque::new(),
            out: Vec::new(),
            hung_up: false,
        });
    }

    /// The connection is over.
    pub(crate) fn lose(&mut self) {
        self.connection = None;
    }

    pub(crate) fn hear(&mut self, now: Timestamp, mut bytes: &[u8]) {
        while let Some(connection) = self.connection.as_mut().filter(|connection| !connection.hung_up) {
            let packet = match connection.incoming.next(&mut bytes) {
                Ok(Some(packet)) => packet.into_owned(),
                Ok(None) => break,
                Err(violation) => self.blame(&violation.to_string()),
            };
            connection.last_packet = now;
            note(&mut self.log, now, "client", &packet);
            self.take(now, packet);
        }
    }

    /// What leaves now.
    pub(crate) fn say(&mut self, now: Timestamp) -> Vec<u8> {
        self.close_the_silent(now);
        if self.is_mute {
            return Vec::new();
        }
        self.deliver();
        let Some(connection) = &mut self.connection else { return Vec::new() };
        while let Some(place) = next_answer(&connection.answers, now, &mut self.prng) {
            let (_, packet) = connection.answers.remove(place).unwrap();
            match &packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => connection.in_use.remove(&ack.packet_id.get()),
                Packet::SubAck(ack) | Packet::UnsubAck(ack) => connection.in_use.remove(&ack.packet_id.get()),
                _ => None,
            };
            note(&mut self.log, now, "server", &packet);
            connection.put(&packet);
        }
        core::mem::take(&mut connection.out)
    }

    /// When there is something to say, or the client has been silent for too long.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let connection = self.connection.as_ref().filter(|connection| !connection.hung_up)?;
        let answer = connection.answers.iter().map(|(at, _)| *at).min().filter(|_| !self.is_mute);
        [answer, connection.silence_ends()].into_iter().flatten().min()
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.hung_up)
    }

    // What the world does.

    /// A message that goes to the client if it has subscribed. Whether it will have to arrive.
    pub(crate) fn publish(&mut self, topic: &str, number: u64, qos: Qos) -> bool {
        let Some(session) = &mut self.session else { return false };
        let Some(most) = session.subscriptions.get(topic) else { return false };
        let out = Out { topic: topic.into(), number, qos: qos.min(*most) };
        if out.qos > Qos::AtMostOnce {
            session.queue.push_back(out);
            return true;
        }
        if let Some(connection) = self.connection.as_mut().filter(|connection| connection.window > 0 && !self.is_mute) {
            connection.put(&Packet::Publish(publication(&out, None, false)));
        }
        false
    }

    /// The session, and all that waited in it, is gone.
    pub(crate) fn forget(&mut self) {
        if let Some(session) = self.session.take() {
            self.losses += 1;
            let out = session.queue.into_iter().chain(session.in_flight.into_iter().map(|(_, out, _)| out));
            self.forgotten.extend(out.map(|out| out.number));
        }
    }

    // The inside.

    fn take(&mut self, now: Timestamp, packet: Packet<'static>) {
        match packet {
            Packet::Connect(connect) => return self.let_in(now, &connect),
            Packet::Disconnect(notice) => {
                let connection = self.connection.as_mut().unwrap();
                connection.hung_up = true;
                assert!(!notice.reason.is_failure(), "{}", self.story(&format!("{notice:?}")));
                return;
            }
            Packet::PingReq => return self.answer(now, Packet::PingResp),
            _ => {}
        }
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else { return };
        match packet {
            Packet::Publish(publish) => self.take_message(now, &publish),
            Packet::PubRel(ack) => {
                session.unreleased.remove(&ack.packet_id.get());
                self.answer(now, Packet::PubComp(Ack::new(ack.packet_id)));
            }
            Packet::Subscribe(subscribe) => {
                let is_new = connection.in_use.insert(subscribe.packet_id.get(), false).is_none();
                let mut reasons = Vec::new();
                for one in subscribe.subscriptions {
                    session.subscriptions.insert(one.filter.as_str().into(), one.qos);
                    reasons.push(granted(one.qos));
                }
                assert!(is_new, "{}", self.story("an identifier is used twice"));
                self.answer(now, Packet::SubAck(SubAck::new(subscribe.packet_id, reasons)));
            }
            Packet::Unsubscribe(unsubscribe) => {
                let is_new = connection.in_use.insert(unsubscribe.packet_id.get(), false).is_none();
                let mut reasons = Vec::new();
                for filter in unsubscribe.filters {
                    let existed = session.subscriptions.remove(filter.as_str()).is_some();
                    reasons.push(if existed { ReasonCode::SUCCESS } else { ReasonCode::NO_SUBSCRIPTION_EXISTED });
                }
                if self.manner.version == Version::V3 {
                    reasons.clear();
                }
                assert!(is_new, "{}", self.story("an identifier is used twice"));
                self.answer(now, Packet::UnsubAck(SubAck::new(unsubscribe.packet_id, reasons)));
            }
            Packet::PubAck(ack) => self.settle(ack.packet_id.get(), Qos::AtLeastOnce),
            Packet::PubRec(ack) => {
                let out = session.in_flight.iter_mut().find(|(id, ..)| *id == ack.packet_id.get());
                let Some((_, Out { qos: Qos::ExactlyOnce, .. }, is_received)) = out else {
                    self.blame("PUBREC of what was not sent");
                };
                *is_received = true;
                for _ in 0..1 + u8::from(self.manner.repeats) {
                    self.answer(now, Packet::PubRel(Ack::new(ack.packet_id)));
                }
            }
            Packet::PubComp(ack) => self.settle(ack.packet_id.get(), Qos::ExactlyOnce),
            other => self.blame(&format!("{other:?}")),
        }
    }

    fn let_in(&mut self, now: Timestamp, connect: &Connect<'_>) {
        self.connects.push(now);
        if connect.clean_start {
            self.forget();
        }
        let connection = self.connection.as_mut().unwrap();
        connection.keep_alive = self.manner.keep_alive.unwrap_or(connect.keep_alive).into();
        let limit = connect.properties.iter().find_map(|property| match property {
            Property::ReceiveMaximum(limit) => Some(limit.get()),
            _ => None,
        });
        connection.window = usize::from(limit.unwrap_or(20)).min(100);
        connection.resumed = self.session.is_some();
        let mut properties = Properties::NONE;
        if self.manner.version == Version::V5 {
            let maximum = Property::ReceiveMaximum(NonZeroU16::new(self.manner.receive_maximum).unwrap());
            properties = properties.with(&maximum).unwrap();
            properties = properties.with(&Property::TopicAliasMaximum(self.manner.topic_aliases)).unwrap();
            if let Some(seconds) = self.manner.keep_alive {
                properties = properties.with(&Property::ServerKeepAlive(seconds)).unwrap();
            }
        }
        let packet =
            Packet::ConnAck(ConnAck { session_present: connection.resumed, reason: ReasonCode::SUCCESS, properties });
        note(&mut self.log, now, "server", &packet);
        connection.put(&packet);
        // What was under way is sent again, in its order (MQTT 5.0, section 4.4).
        let session = self.session.get_or_insert_default();
        for (number, out, is_received) in &session.in_flight {
            let packet = match is_received {
                true => Packet::PubRel(Ack::new(id(*number))),
                false => Packet::Publish(publication(out, Some(*number), true)),
            };
            connection.put(&packet);
        }
    }

    fn take_message(&mut self, now: Timestamp, publish: &Publish<'_>) {
        let (session, connection) = (self.session.as_mut().unwrap(), self.connection.as_mut().unwrap());
        let alias = publish.properties.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(alias.get()),
            _ => None,
        });
        match (&publish.topic, alias) {
            (topic, Some(alias)) if alias <= self.manner.topic_aliases => {
                if let Some(topic) = topic {
                    connection.aliases.insert(alias, topic.as_str().into());
                }
                assert!(connection.aliases.contains_key(&alias), "an alias for nothing");
            }
            (Some(_), None) => {}
            other => self.blame(&format!("{other:?}")),
        }
        let number = str::from_utf8(&publish.payload).unwrap().trim_end().parse().unwrap();
        let Some(id) = publish.packet_id else { return self.came.push((number, publish.qos)) };
        if connection.in_use.insert(id.get(), true).is_some() {
            self.blame("an identifier is used twice");
        }
        let under_way = connection.in_use.values().filter(|is_message| **is_message).count();
        if self.manner.version == Version::V5 && under_way > self.manner.receive_maximum.into() {
            self.blame("more messages are under way than we take");
        }
        if publish.qos == Qos::AtLeastOnce {
            self.came.push((number, publish.qos));
            return self.answer(now, Packet::PubAck(Ack::new(id)));
        }
        match session.unreleased.insert(id.get(), number) {
            None => self.came.push((number, publish.qos)),
            Some(held) => {
                assert!(
                    held == number && publish.dup,
                    "{}",
                    self.story("an identifier that is not released is used again")
                );
            }
        }
        self.answer(now, Packet::PubRec(Ack::new(id)));
    }

    fn settle(&mut self, number: u16, qos: Qos) {
        let session = self.session.as_mut().unwrap();
        let place = session.in_flight.iter().position(|(id, out, is_received)| {
            *id == number && out.qos == qos && *is_received == (qos == Qos::ExactlyOnce)
        });
        match place {
            Some(place) => drop(session.in_flight.remove(place)),
            None if qos == Qos::ExactlyOnce && self.manner.repeats => {}
            None => self.blame("an acknowledgement of what was not sent"),
        }
    }

    /// Sends what waits, as far as the client takes it.
    fn deliver(&mut self) {
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else { return };
        while session.in_flight.len() < connection.window
            && let Some(out) = session.queue.pop_front()
        {
            let is_free = |id: &u16| session.in_flight.iter().all(|(taken, ..)| taken != id);
            // Few, so that they are used again soon.
            let number = (session.last_id % 150 + 1..=150).chain(1..=150).find(is_free).unwrap();
            session.last_id = number;
            let packet = Packet::Publish(publication(&out, Some(number), false));
            note(&mut self.log, connection.last_packet, "server", &packet);
            connection.put(&packet);
            session.in_flight.push((number, out, false));
        }
    }

    fn answer(&mut self, now: Timestamp, packet: Packet<'static>) {
        let at = now.after(core::time::Duration::from_millis(self.prng.between(0, self.manner.lag)));
        let connection = self.connection.as_mut().unwrap();
        let before = connection.answers.iter().rfind(|(_, before)| kind(before) == kind(&packet));
        let at = before.map_or(at, |(before, _)| at.max(*before));
        connection.answers.push_back((at, packet));
    }

    /// Section 3.1.2.10: one and a half times the keep-alive, without a packet.
    fn close_the_silent(&mut self, now: Timestamp) {
        if let Some(connection) = self.connection.as_mut().filter(|connection| !connection.hung_up)
            && connection.silence_ends().is_some_and(|at| at <= now)
        {
            connection.hung_up = true;
            self.silences += 1;
        }
    }

    fn blame(&self, what: &str) -> ! {
        panic!("{}", self.story(what));
    }

    /// What was said last.
    pub(crate) fn story(&self, what: &str) -> String {
        let log = self.log.iter();
        log.fold(format!("{what}\n"), |story, (at, who, packet)| format!("{story}{at:?} {who}: {packet:?}\n"))
    }
}

fn note(
    log: &mut VecDeque<(Timestamp, &'static str, Packet<'static>)>,
    now: Timestamp,
    who: &'static str,
    packet: &Packet<'static>,
) {
    if log.len() == 300 {
        log.pop_front();
    }
    log.push_back((now, who, packet.clone()));
}

impl Connection {
    fn put(&mut self, packet: &Packet<'_>) {
        let mut tx = Tx::default();
        self.outgoing.send(packet, &mut tx).unwrap();
        while !tx.is_empty() {
            self.out.extend_from_slice(tx.chunk());
            tx.consume(tx.chunk().len());
        }
    }

    fn silence_ends(&self) -> Option<Timestamp> {
        let patience = core::time::Duration::from_millis(self.keep_alive * 1500);
        (self.keep_alive > 0).then(|| self.last_packet.after(patience))
    }
}

/// One of the answers whose time has come: the first of its kind.
fn next_answer(answers: &VecDeque<(Timestamp, Packet<'static>)>, now: Timestamp, prng: &mut Prng) -> Option<usize> {
    let is_first = |place: usize| {
        let kind = kind(&answers[place].1);
        answers.iter().take(place).all(|(_, before)| self::kind(before) != kind)
    };
    let ready: Vec<_> = (0..answers.len()).filter(|place| answers[*place].0 <= now && is_first(*place)).collect();
    ready.get(prng.between(0, ready.len().saturating_sub(1) as u64) as usize).copied()
}

/// Section 4.6: acknowledgements of one kind are in the order of what they acknowledge.
const fn kind(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::UnsubAck(_) | Packet::SubAck(_) => 0,
        other => other.packet_type() as u8,
    }
}

fn publication(out: &Out, number: Option<u16>, dup: bool) -> Publish<'static> {
    let topic = Topic::new(out.topic.clone()).unwrap();
    let payload = bytes::Bytes::from(out.number.to_string());
    Publish { dup, qos: out.qos, packet_id: number.map(id), ..Publish::new(topic, payload) }
}
