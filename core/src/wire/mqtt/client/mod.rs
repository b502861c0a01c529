//! A client's connection to a broker, as the rest of the crate sees it: the session of MQTT under a link.

mod authentication;
mod config;
mod handshake;
mod meaning;
mod memory;
mod over_websocket;
mod publishing;
mod receiving;
mod seldom;
mod sending;
mod subscriptions;

pub use authentication::{Authentication, Exchange};
pub use config::{MqttConfig, MqttConfigBuilder, MqttConfigError};
pub use memory::Memory;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use self::memory::Flight;
use self::over_websocket::OverWebSocket;
use self::receiving::Receiving;
use self::sending::{AROUND, Sending, acknowledge};
use super::message::{self, PUBLISH};
use super::rule::Rule;
use super::{Ack, ConnAck, Incoming, Notice, Outgoing, Packet, PacketType, Qos, ReasonCode, Role, Version, Violation};
use crate::session::{Change, Message, StoreKey, Ticket};
use crate::tunnel::HostPort;
use crate::wire::websocket::WebSocketConfig;
use crate::wire::{Credentials, Done, Frame, Goodbye, Opening, Origin, Tx, Wire, WireError};

/// A client's connection to an MQTT server, 3.1.1 or 5.0.
///
/// Messages of the link are [`Publish`](super::Publish), [`Subscribe`](super::Subscribe) and [`Unsubscribe`](super::Unsubscribe); beats
/// are pings; and what outlives the connection is in a [`Memory`].
pub struct Mqtt {
    config: MqttConfig,
    /// Between the packets and the connection, if anything is.
    below: Option<Box<OverWebSocket>>,
    incoming: Incoming,
    outgoing: Outgoing,
    memory: Box<Memory>,
    stage: Stage,
    /// The newest beat that left.
    beat: u32,
    /// So many beats, up to that one, were not answered.
    unanswered: u16,
    /// We broke the connection off: for this.
    failed: Option<ReasonCode>,
}

enum Stage {
    /// Until the server has answered CONNECT.
    Asking(Box<Asking>),
    Open(Box<Open>),
    /// One of the two has said goodbye, or was not let in: nothing but that is of interest.
    Over,
}

#[derive(Default)]
struct Asking {
    interval_ms: u32,
    reply_timeout_ms: u32,
    exchange: Option<Box<dyn Exchange>>,
    server: Option<HostPort>,
}

struct Open {
    sending: Sending,
    receiving: Receiving,
}

impl Mqtt {
    /// Reads packets until there is a frame for the link.
    #[inline]
    fn read(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        loop {
            let packet = match self.incoming.next(input) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(self.news()),
                Err(violation) => {
                    let code = violation.code();
                    // The refusal of a server that knows 3.1.1 alone.
                    if code == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION && matches!(self.stage, Stage::Asking(_)) {
                        return self.be_answered(&ConnAck::new(false, code), tx).map(Some);
                    }
                    self.failed = Some(code);
                    return Err(meaning::error(violation));
                }
            };
            if let Some(frame) = self.hear(packet, tx)? {
                return Ok(Some(frame));
            }
        }
    }

    /// What follows from all that came in one read.
    fn news(&mut self) -> Option<Frame> {
        let Stage::Open(open) = &mut self.stage else { return None };
        if let Some(answer) = open.sending.renewals.there().and_then(|renewals| renewals.lost.take()) {
            return Some(Frame::Answer { seq: 0, answer: *answer });
        }
        open.sending.take_settled(&mut self.memory).map(|seq| Frame::Ack { seq })
    }

    /// Writes the packets that a frame becomes.
    #[inline]
    fn write(&mut self, frame: &Frame, tx: &mut Tx) {
        match frame {
            Frame::Hello(hello) => self.ask(hello, tx),
            Frame::Beat { seq } => {
                self.beat = *seq;
                self.unanswered = self.unanswered.saturating_add(1);
                self.sweep();
                acknowledge(Packet::PingReq, &self.outgoing, tx);
            }
            Frame::Data { .. } => self.write_message(frame, Origin::default(), tx),
            Frame::Goodbye(goodbye) => self.part(goodbye, tx),
            _ => {}
        }
    }

    /// Before a ping, when a link is idle or busy with little: what was used for messages is given back.
    #[inline(never)]
    fn sweep(&mut self) {
        self.memory.sweep();
        if let Stage::Open(open) = &mut self.stage {
            open.sending.sweep();
        }
    }

    #[inline]
    fn write_message(&mut self, data: &Frame, origin: Origin, tx: &mut Tx) {
        if let (Stage::Open(open), Frame::Data { message, .. }) = (&mut self.stage, data) {
            open.sending.send(message, origin, &mut self.memory, &self.outgoing, tx);
        }
    }

    #[inline]
    fn write_taken(&mut self, through: u64, tx: &mut Tx) {
        receiving::taken(through, &mut self.memory, &self.outgoing, tx);
    }

    /// The same through what is below.
    // Kept out of line, as is the next, so that nothing changes where nothing is below.
    #[inline(never)]
    fn read_below(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        let Some(mut below) = self.below.take() else { return Ok(None) };
        let read = below.decode(input, self, tx);
        self.below = Some(below);
        read
    }

    /// Lets packets be written to what is below.
    #[inline(never)]
    fn write_below(&mut self, tx: &mut Tx, write: impl FnOnce(&mut Self, &mut Tx)) {
        let Some(mut below) = self.below.take() else { return };
        write(self, below.staged());
        below.send(tx);
        self.below = Some(below);
    }

    /// Acts on a packet. `None` if there is nothing for the link in it.
    fn hear(&mut self, packet: Packet<'_>, tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        let packet_type = packet.packet_type();
        match (packet, &mut self.stage) {
            (Packet::Disconnect(notice), _) => {
                self.end();
                Ok(Some(Frame::Goodbye(Box::new(meaning::of_reason(notice.reason, &notice.properties)))))
            }
            (_, Stage::Over) => Ok(None),
            (Packet::ConnAck(ack), Stage::Asking(_)) => self.be_answered(&ack, tx).map(Some),
            (Packet::Auth(notice), Stage::Asking(_)) => self.be_challenged(&notice, tx).map(|()| None),
            (packet, Stage::Open(open)) => {
                let (memory, outgoing) = (&mut *self.memory, &self.outgoing);
                let version = outgoing.version();
                match packet {
                    Packet::PingResp => {
                        // Pings are answered in their order.
                        self.unanswered = self.unanswered.saturating_sub(1);
                        return Ok(Some(Frame::Echo { seq: self.beat.wrapping_sub(self.unanswered.into()) }));
                    }
                    Packet::Publish(publish) => {
                        let limits = self.config.settings().limits();
                        let heard = open.receiving.publish(&publish, limits, memory, outgoing, tx);
                        return match heard {
                            Ok(heard) => Ok(heard.map(|(seq, message)| Frame::Data { seq, message })),
                            Err(rule) => Err(self.fail(packet_type, rule)),
                        };
                    }
                    Packet::PubRec(ack) if !ack.reason.is_failure() => {
                        let known = open.sending.received(ack.packet_id, memory) || version == Version::V3;
                        let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
                        acknowledge(Packet::PubRel(Ack { reason, ..Ack::new(ack.packet_id) }), outgoing, tx);
                        return Ok(None);
                    }
                    Packet::PubAck(ref ack) | Packet::PubRec(ref ack) | Packet::PubComp(ref ack) => {
                        let is_news = open.sending.finish(&packet, ack, memory);
                        // The link looks after a frame.
                        return Ok(is_news.then_some(Frame::Unknown));
                    }
                    Packet::PubRel(ack) => {
                        receiving::released(ack.packet_id, version, memory, outgoing, tx);
                        return Ok(None);
                    }
                    Packet::SubAck(ack) | Packet::UnsubAck(ack) => {
                        let is_end = packet_type == PacketType::UnsubAck;
                        let answered = open.sending.answered(&ack, is_end, memory, outgoing, tx);
                        return answered.map_err(|rule| self.fail(packet_type, rule));
                    }
                    _ => {}
                }
                Err(self.unexpected(packet_type, "a packet of an open connection"))
            }
            (_, Stage::Asking(_)) => Err(self.unexpected(packet_type, "CONNACK")),
        }
    }

    /// Says goodbye.
    fn part(&mut self, goodbye: &Goodbye, tx: &mut Tx) {
        let version = self.outgoing.version();
        if let Some(reason) = meaning::farewell(goodbye, self.failed, version)
            && matches!(self.stage, Stage::Open(_))
        {
            acknowledge(Packet::Disconnect(Notice::new(reason)), &self.outgoing, tx);
        }
        self.end();
    }

    fn fail(&mut self, packet: PacketType, rule: &'static Rule) -> WireError {
        self.failed = Some(rule.code());
        meaning::error(Violation::Broken { packet: Some(packet), rule })
    }

    fn unexpected(&mut self, packet: PacketType, expected: &'static str) -> WireError {
        self.failed = Some(ReasonCode::PROTOCOL_ERROR);
        WireError::Unexpected { frame: packet.name(), expected }
    }
}

impl Wire for Mqtt {
    type Config = MqttConfig;
    type Memory = Option<Box<Memory>>;

    fn new(config: &MqttConfig, opening: Opening<'_>, memory: Self::Memory) -> Self {
        let settings = config.settings();
        let mut memory = memory.unwrap_or_default();
        memory.survives(opening.durable);
        let asking = Asking { server: opening.server.cloned(), ..Asking::default() };
        let websocket = settings.websocket.as_ref();
        let below = websocket.map(|below| Box::new(OverWebSocket::new(below, settings.message_limit, opening)));
        Self {
            config: config.clone(),
            below,
            incoming: Incoming::client(settings.version, settings.message_limit),
            outgoing: Outgoing::new(Role::Client, settings.version),
            memory,
            stage: Stage::Asking(Box::new(asking)),
            beat: 0,
            unanswered: 0,
            failed: None,
        }
    }

    #[inline]
    fn decode(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        if self.below.is_some() {
            return self.read_below(input, tx);
        }
        self.read(input, tx)
    }

    fn mid_frame(&self) -> bool {
        self.below.as_ref().map_or_else(|| self.incoming.is_unfinished(), |below| below.mid_frame(self))
    }

    fn reads_in_silence(&self) -> bool {
        true
    }

    fn is_same_frame(&mut self, others: bool) -> bool {
        self.below.as_mut().map_or(!others, |below| below.is_same_frame())
    }

    fn encode(&mut self, frame: &Frame, tx: &mut Tx) {
        if self.below.is_none() {
            return self.write(frame, tx);
        }
        self.write_below(tx, |packets, tx| packets.write(frame, tx));
        if let Some(below) = &mut self.below {
            below.encode(frame, tx);
        }
    }

    fn encode_message(&mut self, data: &Frame, origin: Origin, tx: &mut Tx) {
        if self.below.is_none() {
            return self.write_message(data, origin, tx);
        }
        self.write_below(tx, |packets, tx| packets.write_message(data, origin, tx));
    }

    fn takes_message(&self, next: Option<Ticket>) -> bool {
        matches!(&self.stage, Stage::Open(open) if open.sending.takes(next))
    }

    fn established(&mut self) {
        if let Some(below) = &mut self.below {
            below.established();
        }
    }

    fn take_refused(&mut self) -> Option<(u64, u16)> {
        match &mut self.stage {
            Stage::Open(open) => open.sending.take_refused(),
            _ => None,
        }
    }

    fn left(&mut self) -> Option<u64> {
        match &mut self.stage {
            Stage::Open(open) => {
                open.sending.departed();
                open.sending.take_settled(&mut self.memory)
            }
            _ => None,
        }
    }

    fn taken(&mut self, through: u64, tx: &mut Tx) {
        // What comes below goes with what is open: before and after that, nothing is said.
        if self.below.is_none() || !matches!(self.stage, Stage::Open(_)) {
            return self.write_taken(through, tx);
        }
        self.write_below(tx, |packets, tx| packets.write_taken(through, tx));
    }

    fn taken_between(memory: &mut Self::Memory, through: u64, changes: &mut Vec<Change>) {
        if let Some(memory) = memory {
            // Nothing came on a connection that is there, so nothing is said.
            let (outgoing, mut tx) = (Outgoing::new(Role::Client, Version::V3), Tx::default());
            receiving::taken(through, memory, &outgoing, &mut tx);
            memory.take_changes(changes);
        }
    }

    fn is_closed(&self) -> bool {
        self.below.as_ref().is_some_and(|below| below.is_closed())
    }

    fn end(&mut self) {
        if let Stage::Open(open) = &mut self.stage {
            open.sending.remember(&mut self.memory);
            self.memory.parted();
        }
        self.stage = Stage::Over;
    }

    fn remember(&mut self) -> Self::Memory {
        self.end();
        Some(core::mem::take(&mut self.memory))
    }

    fn take_changes(&mut self, changes: &mut Vec<Change>) {
        self.memory.take_changes(changes);
    }

    fn recall(memory: &mut Self::Memory, key: StoreKey, value: &Bytes) -> bool {
        memory.get_or_insert_default().recall(key, value)
    }

    fn recall_message(memory: &mut Self::Memory, ticket: Ticket, message: &Message) {
        if !message::is_request(message) {
            memory.get_or_insert_default().flights.make().entry(ticket).or_insert(Flight::Left);
        }
    }

    fn is_durable(config: &MqttConfig, message: &Message) -> bool {
        message::is_request(message) || config.settings().qos(message) > Qos::AtMostOnce
    }

    fn message_limit(config: &MqttConfig) -> usize {
        config.settings().message_limit.saturating_sub(AROUND as u32) as usize
    }

    fn objection(config: &MqttConfig, message: &Message) -> Option<&'static str> {
        let settings = config.settings();
        if message::is_request(message) {
            let is_older = settings.version == Version::V3;
            return (is_older && message::needs_v5(message)).then_some("it says what came with MQTT 5.0");
        }
        if message::is_answer(message) {
            return Some("it is what a server answered, and nothing that it could be sent");
        }
        if message.kind() & 0xF0 != PUBLISH {
            return settings
                .topic
                .is_none()
                .then_some("it has no topic, and the configuration of MQTT has none for it");
        }
        (settings.version == Version::V3 && message::needs_v5(message))
            .then_some("it has properties, which came with MQTT 5.0")
    }

    fn lifetime(_: &MqttConfig, message: &Message) -> Option<Duration> {
        publishing::lifetime(message)
    }

    fn done_with_messages(config: &MqttConfig) -> Done {
        if config.settings().manual { Done::WhenSaid } else { Done::WhenTaken }
    }

    fn replaces_without_a_word(config: &MqttConfig) -> bool {
        config.settings().version == Version::V3
    }

    fn resumes_without_token(_: &MqttConfig) -> bool {
        true
    }

    fn shortest_interval(_: &MqttConfig, wish: Duration) -> Duration {
        // The server may have a keep-alive of its own, which is not to be missed.
        wish.min(Duration::from_secs(1))
    }

    fn needs_server_name(config: &MqttConfig) -> bool {
        config.settings().websocket.is_some()
    }

    fn idle_limit(config: &MqttConfig) -> Option<Duration> {
        config.settings().websocket.as_ref().and_then(WebSocketConfig::idle_limit)
    }

    fn takes_credentials(config: &MqttConfig, credentials: &Credentials) -> bool {
        config.takes(credentials)
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt").field("incoming", &self.incoming).field("memory", &self.memory).finish_non_exhaustive()
    }
}
