//! BYTES -> PACKETS: the body of every type. What a packet may say is checked in `check`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::fields::Fields;
use super::packet::{
    Ack, ConnAck, Connect, Notice, Packet, Publish, RetainHandling, SubAck, Subscribe, Subscription, Unsubscribe, Will,
};
use super::payload::Payload;
use super::properties::Properties;
use super::reason::ReasonCode;
use super::rule::{self, Checked};
use super::text::{Filter, Topic};
use super::types::{PacketType, Qos, Version};

/// What a CONNECT begins with.
const PROTOCOL_NAME: &[u8] = b"MQTT";

/// The body of the CONNACK of a server that knows 3.1.1 alone, to a client that wants another version (3.1.1, section 3.2.2.3).
const UNACCEPTABLE_VERSION: [u8; 2] = [0, 1];

/// In the connect flags (section 3.1.2.3).
pub(super) mod connect_flag {
    pub(in super::super) const RESERVED: u8 = 0x01;
    pub(in super::super) const CLEAN_START: u8 = 0x02;
    pub(in super::super) const WILL: u8 = 0x04;
    pub(in super::super) const WILL_QOS: u32 = 3;
    pub(in super::super) const WILL_RETAIN: u8 = 0x20;
    pub(in super::super) const PASSWORD: u8 = 0x40;
    pub(in super::super) const USER_NAME: u8 = 0x80;
}

/// In the options of a subscription (section 3.8.3.1).
pub(super) mod option {
    pub(in super::super) const NO_LOCAL: u8 = 0x04;
    pub(in super::super) const RETAIN_AS_PUBLISHED: u8 = 0x08;
    pub(in super::super) const RETAIN_HANDLING: u32 = 4;
    pub(super) const RESERVED: u8 = 0xC0;
    pub(super) const RESERVED_V3: u8 = 0xFC;
}

/// In the first byte of a PUBLISH (section 3.3.1).
pub(super) mod publish_flag {
    pub(in super::super) const RETAIN: u8 = 0x01;
    pub(in super::super) const QOS: u32 = 1;
    pub(in super::super) const DUP: u8 = 0x08;
}

/// Reads the whole body of a packet; of a CONNECT, which says its version itself, any.
#[inline]
pub(super) fn packet(packet: PacketType, first: u8, body: &[u8], version: Version) -> Checked<Packet<'_>> {
    match packet {
        PacketType::Publish => publish(first, body, version).map(Packet::Publish),
        _ => other(packet, body, version),
    }
}

/// Reads the body of a PUBLISH.
#[inline]
pub(super) fn publish(first: u8, body: &[u8], version: Version) -> Checked<Publish<'_>> {
    let mut fields = Fields::new(body);
    let qos = Qos::new(first >> publish_flag::QOS & 3).ok_or(&rule::QOS_3)?;
    let topic = match fields.binary()? {
        [] => None,
        topic => Some(Topic::read(topic)?),
    };
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(fields.packet_id()?) };
    Ok(Publish {
        dup: first & publish_flag::DUP != 0,
        qos,
        retain: first & publish_flag::RETAIN != 0,
        topic,
        packet_id,
        properties: Properties::unchecked(fields.properties(version)?),
        payload: Payload::Borrowed(fields.rest()),
    })
}

// Kept out of line, so that the path of a message is small.
#[inline(never)]
fn other(packet: PacketType, body: &[u8], version: Version) -> Checked<Packet<'_>> {
    let fields = &mut Fields::new(body);
    let read = match packet {
        PacketType::Connect => Packet::Connect(Box::new(connect(fields)?)),
        PacketType::ConnAck => Packet::ConnAck(connack(fields, version)?),
        PacketType::Publish => Packet::Publish(publish(0, fields.rest(), version)?),
        PacketType::PubAck => Packet::PubAck(ack(packet, fields, version)?),
        PacketType::PubRec => Packet::PubRec(ack(packet, fields, version)?),
        PacketType::PubRel => Packet::PubRel(ack(packet, fields, version)?),
        PacketType::PubComp => Packet::PubComp(ack(packet, fields, version)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(fields, version)?),
        PacketType::SubAck => Packet::SubAck(suback(packet, fields, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(fields, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(suback(packet, fields, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(notice(packet, fields, version)?),
        PacketType::Auth => Packet::Auth(notice(packet, fields, version)?),
    };
    fields.end()?;
    Ok(read)
}

fn connect<'a>(fields: &mut Fields<'a>) -> Checked<Connect<'a>> {
    if fields.binary()? != PROTOCOL_NAME {
        return Err(&rule::VERSION);
    }
    let version = match fields.byte()? {
        4 => Version::V3,
        5 => Version::V5,
        _ => return Err(&rule::VERSION),
    };
    let flags = fields.byte()?;
    let has = |flag: u8| flags & flag != 0;
    let will_qos = Qos::new(flags >> connect_flag::WILL_QOS & 3).ok_or(&rule::WILL_QOS_3)?;
    if has(connect_flag::RESERVED) {
        return Err(&rule::CONNECT_RESERVED);
    }
    if !has(connect_flag::WILL) && (will_qos != Qos::AtMostOnce || has(connect_flag::WILL_RETAIN)) {
        return Err(&rule::WILL_FLAGS);
    }
    let keep_alive = fields.short()?;
    let properties = Properties::unchecked(fields.properties(version)?);
    let client_id = fields.text()?;
    let will = if has(connect_flag::WILL) {
        Some(Will {
            qos: will_qos,
            retain: has(connect_flag::WILL_RETAIN),
            properties: Properties::unchecked(fields.properties(version)?),
            topic: Topic::read(fields.binary()?)?,
            payload: Payload::Borrowed(fields.binary()?),
        })
    } else {
        None
    };
    Ok(Connect {
        version,
        clean_start: has(connect_flag::CLEAN_START),
        keep_alive,
        properties,
        client_id,
        will,
        user_name: if has(connect_flag::USER_NAME) { Some(fields.text()?) } else { None },
        password: if has(connect_flag::PASSWORD) { Some(Payload::Borrowed(fields.binary()?)) } else { None },
    })
}

fn connack<'a>(fields: &mut Fields<'a>, version: Version) -> Checked<ConnAck<'a>> {
    // It has another form, and no properties.
    if version == Version::V5 && fields.are(&UNACCEPTABLE_VERSION) {
        return Err(&rule::OLDER_SERVER);
    }
    let session_present = match fields.byte()? {
        0 => false,
        1 => true,
        _ => return Err(&rule::CONNACK_FLAGS),
    };
    let reason = reason(PacketType::ConnAck, fields, version)?;
    Ok(ConnAck { session_present, reason, properties: Properties::unchecked(fields.properties(version)?) })
}

fn ack<'a>(packet: PacketType, fields: &mut Fields<'a>, version: Version) -> Checked<Ack<'a>> {
    let packet_id = fields.packet_id()?;
    let Notice { reason, properties } = notice(packet, fields, version)?;
    Ok(Ack { packet_id, reason, properties })
}

/// A reason and properties, of which the end may be left out if there is nothing to say.
fn notice<'a>(packet: PacketType, fields: &mut Fields<'a>, version: Version) -> Checked<Notice<'a>> {
    if version == Version::V3 || fields.is_empty() {
        return Ok(Notice::new(ReasonCode::SUCCESS));
    }
    let reason = reason(packet, fields, version)?;
    // An AUTH leaves out both or none (section 3.15.2.1).
    let properties = if fields.is_empty() && packet != PacketType::Auth { &[] } else { fields.properties(version)? };
    Ok(Notice { reason, properties: Properties::unchecked(properties) })
}

fn subscribe<'a>(fields: &mut Fields<'a>, version: Version) -> Checked<Subscribe<'a>> {
    let packet_id = fields.packet_id()?;
    let properties = Properties::unchecked(fields.properties(version)?);
    let mut subscriptions = Vec::new();
    while !fields.is_empty() {
        let filter = Filter::read(fields.binary()?)?;
        let options = fields.byte()?;
        let reserved = if version == Version::V3 { option::RESERVED_V3 } else { option::RESERVED };
        if options & reserved != 0 {
            return Err(&rule::OPTION_RESERVED);
        }
        let retain_handling = match options >> option::RETAIN_HANDLING {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(&rule::RETAIN_HANDLING_3),
        };
        subscriptions.push(Subscription {
            filter,
            qos: Qos::new(options & 3).ok_or(&rule::SUBSCRIPTION_QOS_3)?,
            no_local: options & option::NO_LOCAL != 0,
            retain_as_published: options & option::RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        });
    }
    Ok(Subscribe { packet_id, properties, subscriptions })
}

fn unsubscribe<'a>(fields: &mut Fields<'a>, version: Version) -> Checked<Unsubscribe<'a>> {
    let packet_id = fields.packet_id()?;
    let properties = Properties::unchecked(fields.properties(version)?);
    let mut filters = Vec::new();
    while !fields.is_empty() {
        filters.push(Filter::read(fields.binary()?)?);
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

fn suback<'a>(packet: PacketType, fields: &mut Fields<'a>, version: Version) -> Checked<SubAck<'a>> {
    let packet_id = fields.packet_id()?;
    let properties = Properties::unchecked(fields.properties(version)?);
    let mut reasons = Vec::new();
    if !(version == Version::V3 && packet == PacketType::UnsubAck) {
        while !fields.is_empty() {
            reasons.push(reason(packet, fields, version)?);
        }
    }
    Ok(SubAck { packet_id, properties, reasons })
}

fn reason(packet: PacketType, fields: &mut Fields<'_>, version: Version) -> Checked<ReasonCode> {
    ReasonCode::read(fields.byte()?, packet, version).ok_or(&rule::REASON_PLACE)
}
