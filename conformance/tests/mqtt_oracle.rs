//! Our MQTT beside two others, mqtt-protocol-core and mqtt-proto: the same packets, right ones and ones with a fault, get the same
//! verdict and mean the same, but for the [`Difference`]s that are known.
//!
//! Not compared: which packets go which way, of which the others know nothing where packets are read; and wrong packet identifiers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../../core/src/wire/mqtt/tests/random.rs"]
mod random;

use bytes::BytesMut;
use keepbeat_core::entropy::{Entropy, Prng};
use keepbeat_core::sim::for_each_seed_of;
use keepbeat_core::wire::mqtt::{
    Ack, ConnAck, Connect, Filter, Incoming, Notice, Outgoing, PACKET_LIMIT, Packet, PacketId, PacketType, Payload,
    Properties, Property, Publish, Qos, ReasonCode, RetainHandling, Role, SubAck, Subscribe, Subscription,
    SubscriptionId, Text, Topic, Unsubscribe, Version, Violation, Will,
};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};

const V3: Version = Version::V3;
const V5: Version = Version::V5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Core,
    Proto,
}

/// What is not alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// They take what we refuse for this.
    TheyTake(&'static str),
    /// We take what they refuse; this is special about it.
    WeTake(&'static str),
    /// What they write of what they read is not what we read.
    Written,
}

/// Where the others differ, and why we do not: a packet for each.
#[rustfmt::skip]
const KNOWN: &[(Other, Difference, Role, Version, &[u8])] = &[
    // Section 2.1.3: flags must be those of the type. It does not look at those of others than PUBLISH.
    (Other::Core, Difference::TheyTake("the flags of the fixed header are not those of its type"), Role::Client, V3, b"\x41\x02\0\x01"),
    // Sections 3.1.2.3, 3.1.2.6, 3.2.2.1 and 3.8.3.1: reserved bits are 0.
    (Other::Core, Difference::TheyTake("the reserved connect flag is set"), Role::Client, V3, b"\x10\x0C\0\x04MQTT\x04\x03\0\0\0\0"),
    (Other::Core, Difference::TheyTake("both bits of the will's QoS are set"), Role::Client, V3, b"\x10\x0C\0\x04MQTT\x04\x1A\0\0\0\0"),
    (Other::Core, Difference::TheyTake("a reserved bit of the acknowledge flags is set"), Role::Server, V3, b"\x20\x02\x02\0"),
    (Other::Core, Difference::TheyTake("a reserved bit of the subscription options is set"), Role::Client, V3, b"\x82\x06\0\x01\0\x01#\x04"),
    // Section 3.1.2.5: without a will, nothing is said of one.
    (Other::Core, Difference::TheyTake("its connect flags describe a will, but there is none"), Role::Client, V3, b"\x10\x0C\0\x04MQTT\x04\x22\0\0\0\0"),
    (Other::Proto, Difference::TheyTake("its connect flags describe a will, but there is none"), Role::Client, V3, b"\x10\x0C\0\x04MQTT\x04\x22\0\0\0\0"),
    // Section 3.1.2.9 of MQTT 3.1.1: a password is that of a user name.
    (Other::Proto, Difference::TheyTake("it has a password and no user name"), Role::Client, V3, b"\x10\x0E\0\x04MQTT\x04\x42\0\0\0\0\0\0"),
    // Section 3.1.3.1 of MQTT 3.1.1: who has no client identifier asks for a clean session.
    (Other::Core, Difference::TheyTake("its client identifier is empty, and it does not ask for a clean session"), Role::Client, V3, b"\x10\x0C\0\x04MQTT\x04\0\0\0\0\0"),
    (Other::Proto, Difference::TheyTake("its client identifier is empty, and it does not ask for a clean session"), Role::Client, V3, b"\x10\x0C\0\x04MQTT\x04\0\0\0\0\0"),
    // Section 3.2.2.1: a refused client has no session.
    (Other::Core, Difference::TheyTake("it refuses the connection and says that a session is present"), Role::Server, V3, b"\x20\x02\x01\x05"),
    (Other::Proto, Difference::TheyTake("it refuses the connection and says that a session is present"), Role::Server, V3, b"\x20\x02\x01\x05"),
    // Section 1.5.4: no U+0000. mqtt-proto looks for it in topics only.
    (Other::Core, Difference::TheyTake("a string has the character U+0000"), Role::Client, V3, b"\x30\x03\0\x01\0"),
    (Other::Proto, Difference::TheyTake("a string has the character U+0000"), Role::Client, V3, b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01\0"),
    // Section 1.5.5: a number has the fewest bytes that it can have.
    (Other::Core, Difference::TheyTake("a variable byte integer has more bytes than it needs, or more than four"), Role::Client, V3, b"\x30\x83\0\0\x01t"),
    (Other::Proto, Difference::TheyTake("a variable byte integer has more bytes than it needs, or more than four"), Role::Client, V3, b"\x30\x83\0\0\x01t"),
    // Sections 4.7.1 and 3.3.2.1: where wildcards may be.
    (Other::Core, Difference::TheyTake("a topic name has a wildcard"), Role::Client, V3, b"\x30\x03\0\x01#"),
    (Other::Core, Difference::TheyTake("a wildcard of a topic filter is not a level of its own, or not the last"), Role::Client, V3, b"\x82\x07\0\x01\0\x02a#\0"),
    (Other::Proto, Difference::TheyTake("a wildcard of a topic filter is not a level of its own, or not the last"), Role::Client, V3, b"\x82\x07\0\x01\0\x02+a\0"),
    // Section 4.7.3: a topic has a character. Section 3.3.2.1: or an alias.
    (Other::Core, Difference::TheyTake("a topic name or filter is empty"), Role::Client, V3, b"\x30\x02\0\0"),
    (Other::Proto, Difference::TheyTake("a topic name or filter is empty"), Role::Client, V3, b"\x30\x02\0\0"),
    (Other::Core, Difference::TheyTake("it has neither a topic name nor a topic alias"), Role::Client, V5, b"\x30\x03\0\0\0"),
    (Other::Proto, Difference::TheyTake("it has neither a topic name nor a topic alias"), Role::Client, V5, b"\x30\x03\0\0\0"),
    (Other::Proto, Difference::TheyTake("its topic alias is 0"), Role::Client, V5, b"\x30\x07\0\x01t\x03\x23\0\0"),
    // Section 3.8.2.1.2: no subscription is number 0.
    (Other::Proto, Difference::TheyTake("a property has a value out of its range"), Role::Client, V5, b"\x82\x09\0\x01\x02\x0B\0\0\x01#\0"),
    // Section 4.8.2: a shared subscription has a filter; section 3.8.3.1: and gets its client's own messages.
    (Other::Core, Difference::TheyTake("a shared subscription has no share name or no filter, or wildcards in its name"), Role::Client, V5, b"\x82\x0F\0\x01\0\0\x09$share/a/\0"),
    (Other::Core, Difference::TheyTake("a shared subscription has the option No Local"), Role::Client, V5, b"\x82\x10\0\x01\0\0\x0A$share/a/#\x04"),
    (Other::Proto, Difference::TheyTake("a shared subscription has the option No Local"), Role::Client, V5, b"\x82\x10\0\x01\0\0\x0A$share/a/#\x04"),
    // Section 3.3.1.1: what is sent at most once is never sent again.
    (Other::Core, Difference::TheyTake("with QoS 0 it is never a duplicate"), Role::Client, V3, b"\x38\x03\0\x01t"),
    (Other::Proto, Difference::TheyTake("with QoS 0 it is never a duplicate"), Role::Client, V3, b"\x38\x03\0\x01t"),
    // Section 2.1.4: the remaining length is that of the packet.
    (Other::Core, Difference::TheyTake("it goes on behind its last field"), Role::Client, V3, b"\x50\x03\0\x01\0"),
    (Other::Proto, Difference::TheyTake("it goes on behind its last field"), Role::Client, V3, b"\xC0\x01\0"),
    // Section 3.15.2.1: an AUTH leaves out its reason and its properties together.
    (Other::Core, Difference::TheyTake("it ends before its last field"), Role::Server, V5, b"\xF0\x01\0"),
    // Section 3.9.3: an answer has a reason code for every filter.
    (Other::Proto, Difference::TheyTake("it lists nothing"), Role::Server, V3, b"\x90\x02\0\x01"),
    // Section 3.1.2.11.10: authentication data is that of a method.
    (Other::Core, Difference::TheyTake("it has authentication data, or needs a method, and has no authentication method"), Role::Client, V5, b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\0"),
    (Other::Proto, Difference::TheyTake("it has authentication data, or needs a method, and has no authentication method"), Role::Client, V5, b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\0"),
    // Sections 3.14.2.1 and 3.14.2.2: some things are said by one side only. The others do not know who sends.
    (Other::Core, Difference::TheyTake("its reason code is none, or not one for it from this side"), Role::Client, V5, b"\xE0\x01\x8E"),
    (Other::Proto, Difference::TheyTake("its reason code is none, or not one for it from this side"), Role::Client, V5, b"\xE0\x01\x8E"),
    (Other::Core, Difference::TheyTake("it has a property that only the other side may send in it"), Role::Client, V5, b"\xE0\x06\0\x04\x1C\0\x01s"),
    (Other::Proto, Difference::TheyTake("it has a property that only the other side may send in it"), Role::Client, V5, b"\xE0\x06\0\x04\x1C\0\x01s"),
    // Section 3.1.2.9: since MQTT 5.0, a password needs no user name.
    (Other::Core, Difference::WeTake("password alone"), Role::Client, V5, b"\x10\x0F\0\x04MQTT\x05\x42\0\0\0\0\0\0\0"),
    // Section 2.4 lists the code for a DISCONNECT, section 3.14.2.1 does not.
    (Other::Core, Difference::WeTake("bad authentication method"), Role::Server, V5, b"\xE0\x01\x8C"),
    (Other::Proto, Difference::WeTake("bad authentication method"), Role::Server, V5, b"\xE0\x01\x8C"),
    // Section 3.3.2.3.2: a receiver may look whether a payload is the text that it is said to be. We leave that to the application.
    (Other::Proto, Difference::WeTake("not the text it says"), Role::Client, V5, b"\x30\x07\0\x01t\x02\x01\x01\xFF"),
    // Section 3.3.4: a message may be for several subscriptions.
    (Other::Proto, Difference::WeTake("several subscriptions"), Role::Server, V5, b"\x30\x08\0\x01t\x04\x0B\x01\x0B\x02"),
    // Section 4.7 of MQTT 3.1.1 knows no shared subscriptions, so this is a filter like any other.
    (Other::Proto, Difference::WeTake("almost shared"), Role::Client, V3, b"\x82\x0D\0\x01\0\x08$share/a\0"),
    // Section 3.9.3 of MQTT 3.1.1: failure is 0x80. It reads that, and writes 3.
    (Other::Proto, Difference::Written, Role::Server, V3, b"\x90\x03\0\x01\x80"),
];

/// What we read, with properties in the order of their numbers: packets that mean the same are the same.
fn ours(sender: Role, version: Version, bytes: &[u8]) -> Result<Option<Packet<'static>>, Violation> {
    let mut incoming = match sender {
        Role::Server => Incoming::client(version, PACKET_LIMIT),
        Role::Client => Incoming::server(PACKET_LIMIT),
    };
    if sender == Role::Client && bytes[0] >> 4 != 1 {
        let connect = match version {
            V3 => &b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0"[..],
            V5 => b"\x10\x0D\0\x04MQTT\x05\x02\0\0\0\0\0",
        };
        incoming.next(&mut &*connect).unwrap();
    }
    let packet = incoming.next(&mut &*bytes)?;
    Ok(packet.map(|packet| in_order(packet.into_owned())))
}

fn in_order(mut packet: Packet<'static>) -> Packet<'static> {
    let sort = |properties: &mut Properties<'static>| {
        let mut sorted: Vec<Property<'_>> = properties.iter().collect();
        sorted.sort_by_key(Property::id);
        *properties = sorted.iter().fold(Properties::NONE, |properties, one| properties.with(one).unwrap());
    };
    match &mut packet {
        Packet::Connect(packet) => {
            sort(&mut packet.properties);
            packet.will.iter_mut().for_each(|will| sort(&mut will.properties));
        }
        Packet::ConnAck(packet) => sort(&mut packet.properties),
        Packet::Publish(packet) => sort(&mut packet.properties),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            sort(&mut ack.properties);
        }
        Packet::Subscribe(packet) => sort(&mut packet.properties),
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => sort(&mut ack.properties),
        Packet::Unsubscribe(packet) => sort(&mut packet.properties),
        Packet::Disconnect(notice) | Packet::Auth(notice) => sort(&mut notice.properties),
        Packet::PingReq | Packet::PingResp => {}
    }
    packet
}

/// All behind the fixed header.
fn body(bytes: &[u8]) -> &[u8] {
    let digits = bytes[1..].iter().take(4).position(|digit| *digit < 128).unwrap();
    &bytes[2 + digits..]
}

/// What mqtt-protocol-core writes of a body that it reads to its end.
fn core_reads(version: Version, bytes: &[u8]) -> Option<Vec<u8>> {
    let (flags, body) = (bytes[0] & 0x0F, body(bytes));
    macro_rules! read {
        ($module:ident $packet:ident) => {
            $module::$packet::parse(body)
                .ok()
                .filter(|(_, used)| *used == body.len())
                .map(|(p, _)| p.to_continuous_buffer())
        };
    }
    macro_rules! publish {
        ($module:ident) => {
            $module::Publish::parse(flags, body.into()).ok().map(|(p, _)| p.to_continuous_buffer())
        };
    }
    match (version, bytes[0] >> 4) {
        (Version::V3, 1) => read!(v3_1_1 Connect),
        (Version::V3, 2) => read!(v3_1_1 Connack),
        (Version::V3, 3) => publish!(v3_1_1),
        (Version::V3, 4) => read!(v3_1_1 Puback),
        (Version::V3, 5) => read!(v3_1_1 Pubrec),
        (Version::V3, 6) => read!(v3_1_1 Pubrel),
        (Version::V3, 7) => read!(v3_1_1 Pubcomp),
        (Version::V3, 8) => read!(v3_1_1 Subscribe),
        (Version::V3, 9) => read!(v3_1_1 Suback),
        (Version::V3, 10) => read!(v3_1_1 Unsubscribe),
        (Version::V3, 11) => read!(v3_1_1 Unsuback),
        (Version::V3, 12) => read!(v3_1_1 Pingreq),
        (Version::V3, 13) => read!(v3_1_1 Pingresp),
        (Version::V3, 14) => read!(v3_1_1 Disconnect),
        (Version::V5, 1) => read!(v5_0 Connect),
        (Version::V5, 2) => read!(v5_0 Connack),
        (Version::V5, 3) => publish!(v5_0),
        (Version::V5, 4) => read!(v5_0 Puback),
        (Version::V5, 5) => read!(v5_0 Pubrec),
        (Version::V5, 6) => read!(v5_0 Pubrel),
        (Version::V5, 7) => read!(v5_0 Pubcomp),
        (Version::V5, 8) => read!(v5_0 Subscribe),
        (Version::V5, 9) => read!(v5_0 Suback),
        (Version::V5, 10) => read!(v5_0 Unsubscribe),
        (Version::V5, 11) => read!(v5_0 Unsuback),
        (Version::V5, 12) => read!(v5_0 Pingreq),
        (Version::V5, 13) => read!(v5_0 Pingresp),
        (Version::V5, 14) => read!(v5_0 Disconnect),
        (Version::V5, 15) => read!(v5_0 Auth),
        _ => None,
    }
}

/// What mqtt-proto writes of a packet that it reads.
fn proto_reads(version: Version, bytes: &[u8]) -> Option<Vec<u8>> {
    let written = match version {
        V3 => mqtt_proto::v3::Packet::decode(bytes).ok()??.encode(),
        V5 => mqtt_proto::v5::Packet::decode(bytes).ok()??.encode(),
    };
    Some(written.unwrap().as_ref().into())
}

/// How another differs in this packet, which is whole; `None` if it does not.
fn difference(other: Other, sender: Role, version: Version, bytes: &[u8]) -> Option<Difference> {
    let ours = match ours(sender, version, bytes) {
        Ok(ours) => Ok(ours.expect("a whole packet")),
        Err(Violation::Broken { rule, .. }) if ["2.1.2", "2.2.1", "3.1"].contains(&rule.section()) => return None,
        Err(Violation::Broken { rule, .. }) => Err(rule.problem()),
        Err(violation) => panic!("{violation}"),
    };
    let theirs = match other {
        Other::Core => core_reads(version, bytes),
        Other::Proto => proto_reads(version, bytes),
    };
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) => {
            (self::ours(sender, version, &theirs) != Ok(Some(ours))).then_some(Difference::Written)
        }
        (Ok(ours), None) => {
            let known = special(&ours).into_iter().find(|special| is_known(other, Difference::WeTake(special)));
            Some(Difference::WeTake(known.unwrap_or("nothing")))
        }
        (Err(problem), Some(_)) => Some(Difference::TheyTake(problem)),
        (Err(_), None) => None,
    }
}

/// What is special about a packet.
fn special(packet: &Packet<'_>) -> Vec<&'static str> {
    let is_text = |properties: &Properties<'_>, payload: &[u8]| {
        let says_so = properties.iter().any(|one| one == Property::PayloadFormatIndicator(true));
        !says_so || str::from_utf8(payload).is_ok()
    };
    let is_subscription = |one: &Property<'_>| matches!(one, Property::SubscriptionIdentifier(_));
    let is_almost_shared = |one: &Filter<'_>| one.as_str().starts_with("$share/") && one.share().is_none();
    let (mut alone, mut code, mut text, mut several, mut shared) = (false, false, true, false, false);
    match packet {
        Packet::Connect(connect) => {
            alone = connect.password.is_some() && connect.user_name.is_none();
            text = connect.will.as_ref().is_none_or(|will| is_text(&will.properties, &will.payload));
        }
        Packet::Publish(publish) => {
            text = is_text(&publish.properties, &publish.payload);
            several = publish.properties.iter().filter(is_subscription).count() > 1;
        }
        Packet::Subscribe(packet) => shared = packet.subscriptions.iter().any(|one| is_almost_shared(&one.filter)),
        Packet::Unsubscribe(packet) => shared = packet.filters.iter().any(is_almost_shared),
        Packet::Disconnect(notice) => code = notice.reason == ReasonCode::BAD_AUTHENTICATION_METHOD,
        _ => {}
    }
    let all = [
        (alone, "password alone"),
        (code, "bad authentication method"),
        (!text, "not the text it says"),
        (several, "several subscriptions"),
        (shared, "almost shared"),
    ];
    all.into_iter().filter(|(applies, _)| *applies).map(|(_, special)| special).collect()
}

fn is_known(other: Other, difference: Difference) -> bool {
    KNOWN.iter().any(|(who, what, ..)| (*who, *what) == (other, difference))
}

/// Compares packets drawn from seeds, which `change` may change, if they are whole then. How many were refused.
fn compare(seeds: u64, change: impl Fn(&mut Vec<u8>, &mut Prng) + Sync) -> u64 {
    let refused = std::sync::atomic::AtomicU64::new(0);
    for_each_seed_of("KEEPBEAT_SEEDS", seeds, |seed| {
        for sender in [Role::Client, Role::Server] {
            for version in [V3, V5] {
                let prng = &mut Prng::new(seed);
                let (packet, mut written) = (random::packet(prng, sender, version), BytesMut::new());
                Outgoing::new(sender, version).encode(&packet, &mut written).unwrap();
                let mut bytes = written.to_vec();
                change(&mut bytes, prng);
                let Some(bytes) = whole(&bytes) else { continue };
                if ours(sender, version, bytes).is_err() {
                    refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                for other in [Other::Core, Other::Proto] {
                    if let Some(found) = difference(other, sender, version, bytes)
                        && !is_known(other, found)
                    {
                        panic!("{other:?} of a {sender:?} in {version:?}: {found:?}: {bytes:02x?}");
                    }
                }
            }
        }
    });
    refused.into_inner()
}

/// The packet at the front.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let digits = 1 + bytes[1..].iter().take(4).position(|digit| *digit < 128)?;
    let length = bytes[1..=digits].iter().rev().fold(0, |length, digit| length * 128 + usize::from(*digit % 128));
    bytes.get(..1 + digits + length)
}

#[test]
fn what_is_right_means_the_same_to_all() {
    assert_eq!(compare(2000, |_, _| ()), 0);
}

#[test]
fn what_has_a_fault_gets_the_same_verdict() {
    let refused = compare(5000, |bytes, prng| {
        for _ in 0..prng.between(1, 2) {
            let at = prng.between(0, bytes.len().min(60) as u64 - 1) as usize;
            match prng.between(0, 1) {
                0 => bytes[at] = prng.next_u64() as u8,
                _ => bytes[at] ^= 1 << prng.between(0, 7),
            }
        }
    });
    assert!(refused > 0);
}

#[test]
fn every_difference_that_is_known_is_still_there() {
    for (other, known, sender, version, bytes) in KNOWN {
        assert_eq!(whole(bytes), Some(*bytes));
        assert_eq!(difference(*other, *sender, *version, bytes), Some(*known), "{other:?}: {bytes:02x?}");
    }
    let same = b"\x32\x08\0\x03a/b\0\x0A\0";
    assert_eq!([Other::Core, Other::Proto].map(|other| difference(other, Role::Client, V5, same)), [None, None]);
}
