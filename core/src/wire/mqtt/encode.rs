//! PACKETS -> BYTES. What is written was checked.

use bytes::BytesMut;

use super::decode::{connect_flag, option, publish_flag};
use super::packet::{Connect, Packet, Publish, Subscription};
use super::payload::Payload;
use super::properties::Properties;
use super::reason::ReasonCode;
use super::text::Topic;
use super::types::{PacketType, Version};
use crate::wire::{Tx, varint};

/// The longest body of a packet, in bytes: a variable byte integer has 28 bits.
pub(super) const LONGEST_BODY: u64 = (1 << 28) - 1;

/// Where packets are written to.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    /// So many bytes follow.
    fn expect(&mut self, _count: usize) {}

    fn payload(&mut self, payload: &Payload<'_>) {
        self.put(payload);
    }
}

impl Sink for BytesMut {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn expect(&mut self, count: usize) {
        self.reserve(count);
    }
}

impl Sink for Tx {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        Self::put(self, bytes);
    }

    fn payload(&mut self, payload: &Payload<'_>) {
        match payload {
            Payload::Borrowed(bytes) => Self::put(self, bytes),
            Payload::Shared(bytes) => self.put_payload(bytes),
        }
    }
}

/// What takes the fields of a packet, or counts them.
trait Out {
    fn put(&mut self, bytes: &[u8]);
}

/// Counts.
struct Length(u64);

impl Out for Length {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// Writes.
struct To<'a, S>(&'a mut S);

impl<S: Sink> Out for To<'_, S> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
    }
}

/// How many bytes the body of a packet has.
pub(super) fn length(packet: &Packet<'_>, version: Version) -> u64 {
    if let Packet::Publish(publish) = packet {
        return publish_length(publish, version);
    }
    let mut length = Length(0);
    body(packet, version, &mut length);
    length.0
}

/// How many bytes the body of a PUBLISH has.
#[inline]
pub(super) fn publish_length(publish: &Publish<'_>, version: Version) -> u64 {
    let topic = publish.topic.as_ref().map_or(0, |topic| topic.as_bytes().len());
    let id = publish.packet_id.map_or(0, |id| size_of_val(&id));
    let mut said = Length(0);
    properties(&publish.properties, version, &mut said);
    (size_of::<u16>() + topic + id + publish.payload.len()) as u64 + said.0
}

/// All bytes of a packet with a body of this length: of up to four, it says how many bytes the fixed header has.
pub(super) const fn whole(length: u64) -> u64 {
    let digits = match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    1 + digits + length
}

/// Writes a packet that is no PUBLISH, and whose body has this length.
pub(super) fn write(packet: &Packet<'_>, version: Version, length: u64, sink: &mut impl Sink) {
    let packet_type = packet.packet_type();
    sink.expect(whole(length) as usize);
    let mut out = To(sink);
    header((packet_type as u8) << 4 | packet_type.flags().unwrap_or_default(), length, &mut out);
    body(packet, version, &mut out);
}

/// Writes a PUBLISH whose body has this length.
#[inline]
pub(super) fn write_publish(publish: &Publish<'_>, version: Version, length: u64, sink: &mut impl Sink) {
    let Publish { dup, qos, retain, .. } = publish;
    let flags = flag(*dup, publish_flag::DUP) | (*qos as u8) << publish_flag::QOS | flag(*retain, publish_flag::RETAIN);
    sink.expect(whole(length) as usize);
    let mut out = To(sink);
    let first = (PacketType::Publish as u8) << 4 | flags;
    let topic = publish.topic.as_ref().map_or(&[][..], Topic::as_bytes);
    let [high, low] = (topic.len() as u16).to_be_bytes();
    // Together, as every piece takes a check whether there is room.
    match length {
        0..0x80 => out.put(&[first, length as u8, high, low]),
        _ => {
            header(first, length, &mut out);
            out.put(&[high, low]);
        }
    }
    out.put(topic);
    if let Some(id) = publish.packet_id {
        out.put(&id.get().to_be_bytes());
    }
    // Looked at here, as this is inlined and the other may not be.
    if version == Version::V5 {
        properties(&publish.properties, version, &mut out);
    }
    sink.payload(&publish.payload);
}

/// The fixed header.
#[inline]
fn header(first: u8, length: u64, out: &mut impl Out) {
    out.put(&[first]);
    integer(length, out);
}

/// All behind the fixed header of a packet that is no PUBLISH.
fn body(packet: &Packet<'_>, version: Version, out: &mut impl Out) {
    let packet_type = packet.packet_type();
    match packet {
        Packet::Connect(packet) => connect(packet, version, out),
        Packet::ConnAck(packet) => {
            out.put(&[packet.session_present.into(), packet.reason.write(packet_type, version)]);
            properties(&packet.properties, version, out);
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            out.put(&ack.packet_id.get().to_be_bytes());
            notice(packet_type, ack.reason, &ack.properties, version, out);
        }
        Packet::Subscribe(packet) => {
            out.put(&packet.packet_id.get().to_be_bytes());
            properties(&packet.properties, version, out);
            packet.subscriptions.iter().for_each(|one| subscription(one, out));
        }
        Packet::Unsubscribe(packet) => {
            out.put(&packet.packet_id.get().to_be_bytes());
            properties(&packet.properties, version, out);
            packet.filters.iter().for_each(|filter| binary(filter.as_str().as_bytes(), out));
        }
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => {
            out.put(&ack.packet_id.get().to_be_bytes());
            properties(&ack.properties, version, out);
            ack.reasons.iter().for_each(|reason| out.put(&[reason.write(packet_type, version)]));
        }
        // A PUBLISH has a way of its own.
        Packet::Publish(_) | Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(packet) | Packet::Auth(packet) => {
            notice(packet_type, packet.reason, &packet.properties, version, out);
        }
    }
}

fn connect(connect: &Connect<'_>, version: Version, out: &mut impl Out) {
    let mut flags = flag(connect.clean_start, connect_flag::CLEAN_START)
        | flag(connect.user_name.is_some(), connect_flag::USER_NAME)
        | flag(connect.password.is_some(), connect_flag::PASSWORD);
    if let Some(will) = &connect.will {
        flags |= connect_flag::WILL
            | (will.qos as u8) << connect_flag::WILL_QOS
            | flag(will.retain, connect_flag::WILL_RETAIN);
    }
    out.put(&[0, 4, b'M', b'Q', b'T', b'T', version as u8, flags]);
    out.put(&connect.keep_alive.to_be_bytes());
    properties(&connect.properties, version, out);
    binary(connect.client_id.as_str().as_bytes(), out);
    if let Some(will) = &connect.will {
        properties(&will.properties, version, out);
        binary(will.topic.as_bytes(), out);
        binary(&will.payload, out);
    }
    if let Some(name) = &connect.user_name {
        binary(name.as_str().as_bytes(), out);
    }
    if let Some(password) = &connect.password {
        binary(password, out);
    }
}

fn subscription(subscription: &Subscription<'_>, out: &mut impl Out) {
    binary(subscription.filter.as_str().as_bytes(), out);
    out.put(&[subscription.qos as u8
        | flag(subscription.no_local, option::NO_LOCAL)
        | flag(subscription.retain_as_published, option::RETAIN_AS_PUBLISHED)
        | (subscription.retain_handling as u8) << option::RETAIN_HANDLING]);
}

/// A reason and properties, in the shortest form that says both.
fn notice(packet: PacketType, reason: ReasonCode, said: &Properties<'_>, version: Version, out: &mut impl Out) {
    if version == Version::V3 || (reason == ReasonCode::SUCCESS && said.is_empty()) {
        return;
    }
    out.put(&[reason.write(packet, version)]);
    if !said.is_empty() || packet == PacketType::Auth {
        properties(said, version, out);
    }
}

#[inline]
fn properties(properties: &Properties<'_>, version: Version, out: &mut impl Out) {
    match (version, properties.as_bytes()) {
        (Version::V3, _) => {}
        (Version::V5, []) => out.put(&[0]),
        (Version::V5, bytes) => {
            integer(bytes.len() as u64, out);
            out.put(bytes);
        }
    }
}

/// A variable byte integer.
#[inline]
fn integer(value: u64, out: &mut impl Out) {
    if value < 0x80 {
        return out.put(&[value as u8]);
    }
    let (digits, count) = varint::bytes(value);
    out.put(digits.get(..count).unwrap_or_default());
}

#[inline]
fn binary(bytes: &[u8], out: &mut impl Out) {
    out.put(&(bytes.len() as u16).to_be_bytes());
    out.put(bytes);
}

const fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}
