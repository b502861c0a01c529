//! Valid packets, drawn from a seed. By the standard's lists of what each may have, not by the code's.

use core::num::NonZeroU32;
use std::boxed::Box;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::{
    Ack, ConnAck, Connect, Entropy, Filter, Notice, Packet, PacketId, PacketType, Payload, Prng, Properties, Property,
    Publish, Qos, ReasonCode, RetainHandling, Role, SubAck, Subscribe, Subscription, SubscriptionId, Text, Topic,
    Unsubscribe, Version, Will,
};

const FROM_CLIENT: [PacketType; 11] = [
    PacketType::Connect,
    PacketType::Publish,
    PacketType::PubAck,
    PacketType::PubRec,
    PacketType::PubRel,
    PacketType::PubComp,
    PacketType::Subscribe,
    PacketType::Unsubscribe,
    PacketType::PingReq,
    PacketType::Disconnect,
    PacketType::Auth,
];

const FROM_SERVER: [PacketType; 11] = [
    PacketType::ConnAck,
    PacketType::Publish,
    PacketType::PubAck,
    PacketType::PubRec,
    PacketType::PubRel,
    PacketType::PubComp,
    PacketType::SubAck,
    PacketType::UnsubAck,
    PacketType::PingResp,
    PacketType::Disconnect,
    PacketType::Auth,
];

/// Any packet that a sender of this role may send.
pub(super) fn packet(prng: &mut Prng, sender: Role, version: Version) -> Packet<'static> {
    let types = if sender == Role::Client { &FROM_CLIENT } else { &FROM_SERVER };
    let packet_type = loop {
        match one_of(prng, types) {
            PacketType::Auth if version == Version::V3 => {}
            PacketType::Disconnect if version == Version::V3 && sender == Role::Server => {}
            packet_type => break packet_type,
        }
    };
    of_type(prng, packet_type, sender, version)
}

/// A packet of this type.
pub(super) fn of_type(prng: &mut Prng, packet_type: PacketType, sender: Role, version: Version) -> Packet<'static> {
    let packet_id = PacketId::new(number(prng, 1, 0xFFFF) as u16).unwrap();
    let reason = reason(prng, packet_type, sender, version);
    let properties = properties(prng, allowed(packet_type, sender), packet_type, version);
    let ack = || Ack { packet_id, reason, properties: properties.clone() };
    match packet_type {
        PacketType::Connect => Packet::Connect(Box::new(connect(prng, version, properties))),
        PacketType::ConnAck => {
            let session_present = reason == ReasonCode::SUCCESS && flag(prng);
            Packet::ConnAck(ConnAck { session_present, reason, properties })
        }
        PacketType::Publish => Packet::Publish(publish(prng, packet_id, properties)),
        PacketType::PubAck => Packet::PubAck(ack()),
        PacketType::PubRec => Packet::PubRec(ack()),
        PacketType::PubRel => Packet::PubRel(ack()),
        PacketType::PubComp => Packet::PubComp(ack()),
        PacketType::Subscribe => {
            let subscriptions = (0..number(prng, 1, 4)).map(|_| subscription(prng, version)).collect();
            Packet::Subscribe(Subscribe { packet_id, properties, subscriptions })
        }
        PacketType::Unsubscribe => {
            let filters = (0..number(prng, 1, 4)).map(|_| filter(prng)).collect();
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
        }
        PacketType::SubAck | PacketType::UnsubAck => {
            let has_none = packet_type == PacketType::UnsubAck && version == Version::V3;
            let count = if has_none { 0 } else { number(prng, 1, 5) };
            let reasons = (0..count).map(|_| self::reason(prng, packet_type, sender, version)).collect();
            let ack = SubAck { packet_id, properties, reasons };
            if packet_type == PacketType::SubAck { Packet::SubAck(ack) } else { Packet::UnsubAck(ack) }
        }
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Notice { reason, properties }),
        PacketType::Auth => {
            let method = Property::AuthenticationMethod(text(prng));
            let has_one = properties.iter().any(|one| matches!(one, Property::AuthenticationMethod(_)));
            let properties = if has_one { properties } else { properties.with(&method).unwrap() };
            Packet::Auth(Notice { reason, properties })
        }
    }
}

fn connect(prng: &mut Prng, version: Version, properties: Properties<'static>) -> Connect<'static> {
    let will = flag(prng).then(|| {
        let properties = self::properties(prng, &[0x18, 1, 2, 3, 8, 9, 0x26], PacketType::Connect, version);
        Will { qos: qos(prng), retain: flag(prng), properties, topic: topic(prng), payload: payload(prng, 300) }
    });
    let (has_name, has_password) = (flag(prng), flag(prng));
    let clean_start = flag(prng);
    let client_id = if version == Version::V3 && !clean_start { text_of(prng, 1) } else { text(prng) };
    Connect {
        version,
        clean_start,
        keep_alive: number(prng, 0, 0xFFFF) as u16,
        properties,
        client_id,
        will,
        user_name: has_name.then(|| text(prng)),
        password: (has_password && (has_name || version == Version::V5)).then(|| payload(prng, 300)),
    }
}

fn publish(prng: &mut Prng, packet_id: PacketId, properties: Properties<'static>) -> Publish<'static> {
    let qos = qos(prng);
    let has_alias = properties.iter().any(|one| matches!(one, Property::TopicAlias(_)));
    let most = one_of(prng, &[0, 10, 200, 3000, 20_000]);
    Publish {
        dup: qos != Qos::AtMostOnce && flag(prng),
        qos,
        retain: flag(prng),
        topic: if has_alias && flag(prng) { None } else { Some(topic(prng)) },
        packet_id: (qos != Qos::AtMostOnce).then_some(packet_id),
        properties,
        payload: payload(prng, most),
    }
}

fn subscription(prng: &mut Prng, version: Version) -> Subscription<'static> {
    let (filter, is_v5) = (filter(prng), version == Version::V5);
    let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    Subscription {
        qos: qos(prng),
        no_local: is_v5 && filter.share().is_none() && flag(prng),
        retain_as_published: is_v5 && flag(prng),
        retain_handling: if is_v5 { one_of(prng, &handling) } else { RetainHandling::Send },
        filter,
    }
}

/// Sections 3.1.2.11, 3.2.2.3, 3.3.2.3, 3.4.2.2 and so on: which properties a packet may have.
fn allowed(packet: PacketType, sender: Role) -> &'static [u8] {
    match (packet, sender) {
        (PacketType::Connect, _) => &[0x11, 0x21, 0x27, 0x22, 0x19, 0x17, 0x26, 0x15, 0x16],
        (PacketType::ConnAck, _) => {
            &[0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1F, 0x26, 0x28, 0x29, 0x2A, 0x13, 0x1A, 0x1C, 0x15, 0x16]
        }
        (PacketType::Publish, Role::Client) => &[1, 2, 0x23, 8, 9, 0x26, 3],
        (PacketType::Publish, Role::Server) => &[1, 2, 0x23, 8, 9, 0x26, 0x0B, 3],
        (PacketType::Subscribe, _) => &[0x0B, 0x26],
        (PacketType::Unsubscribe, _) => &[0x26],
        (PacketType::Disconnect, Role::Client) => &[0x11, 0x1F, 0x26],
        (PacketType::Disconnect, Role::Server) => &[0x1F, 0x26, 0x1C],
        (PacketType::Auth, _) => &[0x15, 0x16, 0x1F, 0x26],
        (PacketType::PingReq | PacketType::PingResp, _) => &[],
        _ => &[0x1F, 0x26],
    }
}

fn properties(prng: &mut Prng, allowed: &[u8], packet: PacketType, version: Version) -> Properties<'static> {
    let mut properties = Properties::NONE;
    if version == Version::V3 || allowed.is_empty() || number(prng, 0, 2) == 0 {
        return properties;
    }
    for _ in 0..number(prng, 1, 6) {
        let id = one_of(prng, allowed);
        let may_repeat = id == 0x26 || (id == 0x0B && packet == PacketType::Publish);
        if may_repeat || properties.iter().all(|other| other.id() != id) {
            properties = with_property(prng, id, properties);
        }
    }
    let has = |id| properties.iter().any(|one| one.id() == id);
    if has(0x16) && !has(0x15) { with_property(prng, 0x15, properties) } else { properties }
}

fn with_property(prng: &mut Prng, id: u8, properties: Properties<'static>) -> Properties<'static> {
    let data = payload(prng, 40);
    let long = NonZeroU32::new(prng.next_u64() as u32 | 1).unwrap();
    let short = PacketId::new(number(prng, 1, 0xFFFF) as u16).unwrap();
    let seconds = one_of(prng, &[0, 1, 60, u32::MAX]);
    let property = match id {
        0x01 => Property::PayloadFormatIndicator(flag(prng)),
        0x02 => Property::MessageExpiryInterval(seconds),
        0x03 => Property::ContentType(text(prng)),
        0x08 => Property::ResponseTopic(topic(prng)),
        0x09 => Property::CorrelationData(&data),
        0x0B => {
            let id = one_of(prng, &[1, 127, 128, 16_383, 16_384, 2_097_152, 268_435_455]);
            Property::SubscriptionIdentifier(SubscriptionId::new(id).unwrap())
        }
        0x11 => Property::SessionExpiryInterval(seconds),
        0x12 => Property::AssignedClientIdentifier(text(prng)),
        0x13 => Property::ServerKeepAlive(short.get()),
        0x15 => Property::AuthenticationMethod(text(prng)),
        0x16 => Property::AuthenticationData(&data),
        0x17 => Property::RequestProblemInformation(flag(prng)),
        0x18 => Property::WillDelayInterval(seconds),
        0x19 => Property::RequestResponseInformation(flag(prng)),
        0x1A => Property::ResponseInformation(text(prng)),
        0x1C => Property::ServerReference(text(prng)),
        0x1F => Property::ReasonString(text(prng)),
        0x21 => Property::ReceiveMaximum(short),
        0x22 => Property::TopicAliasMaximum(short.get()),
        0x23 => Property::TopicAlias(short),
        0x24 => Property::MaximumQos(one_of(prng, &[Qos::AtMostOnce, Qos::AtLeastOnce])),
        0x25 => Property::RetainAvailable(flag(prng)),
        0x26 => Property::UserProperty((text(prng), text(prng))),
        0x27 => Property::MaximumPacketSize(long),
        0x28 => Property::WildcardSubscriptionAvailable(flag(prng)),
        0x29 => Property::SubscriptionIdentifierAvailable(flag(prng)),
        0x2A => Property::SharedSubscriptionAvailable(flag(prng)),
        _ => panic!("no property is {id}"),
    };
    assert_eq!(property.id(), id);
    properties.with(&property).unwrap()
}

fn reason(prng: &mut Prng, packet: PacketType, sender: Role, version: Version) -> ReasonCode {
    let codes: Vec<ReasonCode> =
        (0..=255).filter_map(ReasonCode::new).filter(|code| code.is_for(packet, sender, version)).collect();
    if codes.is_empty() || flag(prng) && codes.contains(&ReasonCode::SUCCESS) {
        return ReasonCode::SUCCESS;
    }
    one_of(prng, &codes)
}

fn payload(prng: &mut Prng, most: u64) -> Payload<'static> {
    let mut bytes = vec![0; number(prng, 0, most) as usize];
    prng.fill(&mut bytes);
    Payload::from(bytes::Bytes::from(bytes))
}

fn text(prng: &mut Prng) -> Text<'static> {
    text_of(prng, 0)
}

fn text_of(prng: &mut Prng, least: u64) -> Text<'static> {
    Text::new(letters(prng, least, &["a", "Z", "/", "+", "#", "é", "❤", "😀", "\u{FEFF}", " "])).unwrap()
}

fn topic(prng: &mut Prng) -> Topic<'static> {
    Topic::new(letters(prng, 1, &["a", "Z", "/", "$", "é", "❤", "😀", " ", "sensors/"])).unwrap()
}

fn filter(prng: &mut Prng) -> Filter<'static> {
    let share = one_of(prng, &["", "", "", "$share/name/"]);
    let levels: Vec<String> = (0..number(prng, 1, 4))
        .map(|_| if flag(prng) { "+".into() } else { letters(prng, 1, &["a", "B", "é", "😀"]) })
        .collect();
    let end = one_of(prng, &["", "", "/", "/#"]);
    Filter::new([share, &levels.join("/"), end].concat()).unwrap()
}

fn letters(prng: &mut Prng, least: u64, letters: &[&str]) -> String {
    let most = one_of(prng, &[least, 3, 20]).max(least);
    (0..number(prng, least, most)).map(|_| one_of(prng, letters)).collect()
}

fn qos(prng: &mut Prng) -> Qos {
    one_of(prng, &[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn flag(prng: &mut Prng) -> bool {
    number(prng, 0, 1) == 1
}

fn number(prng: &mut Prng, least: u64, most: u64) -> u64 {
    prng.between(least, most)
}

fn one_of<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
    choices[prng.between(0, choices.len() as u64 - 1) as usize]
}
