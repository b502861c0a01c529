//! Every rule, by packets that break it.

use alloc::string::ToString;

use super::rule::{self, Rule};
use super::*;

const C: Role = Role::Client;
const S: Role = Role::Server;
const V3: Version = Version::V3;
const V5: Version = Version::V5;

/// Who sends what in which version, and which rule it breaks.
#[rustfmt::skip]
const BROKEN: &[(Role, Version, &[u8], &Rule)] = &[
    (S, V5, b"\x20\x01\0", &rule::FIELD_MISSING),
    (C, V3, b"\x82\x07\0\x01\0\x02a\0\0", &rule::NULL_CHARACTER),
    (C, V3, b"\x82\x05\0\x01\0\x09a", &rule::FIELD_MISSING),
    (C, V3, b"\x82\x05\0\x01\0\x01a", &rule::FIELD_MISSING),
    (C, V5, b"\x30\x05\0\x01t\x02\x01", &rule::FIELD_MISSING),
    (C, V5, b"\x30\x06\0\x01t\x02\x02\0", &rule::FIELD_MISSING),
    (C, V5, b"\x30\x04\0\x01t\x80", &rule::FIELD_MISSING),
    (S, V5, b"\x20\x04\0\0\0\0", &rule::BYTES_LEFT),
    (S, V5, b"\xE0\x03\x00\0\0", &rule::BYTES_LEFT),
    (S, V3, b"\xD0\x01\0", &rule::BYTES_LEFT),
    (C, V3, b"\x40\x03\0\x01\0", &rule::BYTES_LEFT),
    (C, V3, b"\x30\xFF\xFF\xFF\xFF\x01", &rule::INTEGER_FORM),
    (C, V3, b"\x30\xFF\xFF\xFF\x80", &rule::INTEGER_FORM),
    (C, V3, b"\x30\x83\x00\0\x01t", &rule::INTEGER_FORM),
    (C, V3, b"\xC0\x80\x00", &rule::INTEGER_FORM),
    (C, V5, b"\x30\x05\0\x01t\x80\0", &rule::INTEGER_FORM),
    (S, V5, b"\x30\x07\0\x01t\x03\x0B\x81\0", &rule::INTEGER_FORM),
    (C, V3, b"\x30\x04\0\x02\xC3t", &rule::NOT_UTF8),
    (C, V3, b"\x30\x05\0\x03\xED\xA0\x80", &rule::NOT_UTF8),
    (C, V5, b"\x40\x08\0\x01\0\x04\x1F\0\x01\xFF", &rule::NOT_UTF8),
    (C, V3, b"\x30\x03\0\x01\0", &rule::NULL_CHARACTER),
    (C, V5, b"\x00\x00", &rule::NO_SUCH_TYPE),
    (C, V3, b"\xF0\x00", &rule::NO_SUCH_TYPE),
    (C, V3, b"\xC1", &rule::FLAGS),
    (C, V3, b"\x60", &rule::FLAGS),
    (C, V3, b"\x80", &rule::FLAGS),
    (C, V3, b"\xA3", &rule::FLAGS),
    (C, V5, b"\xF2", &rule::FLAGS),
    (S, V5, b"\x21", &rule::FLAGS),
    (C, V3, b"\x36", &rule::QOS_3),
    (C, V5, b"\x10\x0D\0\x04MQTT\x05\x03\0\0\0\0\0", &rule::CONNECT_RESERVED),
    (C, V5, b"\x10\x0D\0\x04MQTT\x05\x1E\0\0\0\0\0", &rule::WILL_QOS_3),
    (S, V3, b"\x20\x02\x02\0", &rule::CONNACK_FLAGS),
    (C, V5, b"\x30\x06\0\x01t\x02\x04\0", &rule::PROPERTY_UNKNOWN),
    (C, V5, b"\x30\x07\0\x01t\x03\xA3\0\x01", &rule::PROPERTY_UNKNOWN),
    (C, V5, b"\x30\x07\0\x01t\x03\x13\0\x01", &rule::PROPERTY_PLACE),
    (C, V5, b"\x30\x06\0\x01t\x02\x0B\x01", &rule::PROPERTY_SIDE),
    (S, V5, b"\xE0\x07\0\x05\x11\0\0\0\x01", &rule::PROPERTY_SIDE),
    (C, V5, b"\xE0\x06\0\x04\x1C\0\x01s", &rule::PROPERTY_SIDE),
    (C, V5, b"\x10\x18\0\x04MQTT\x05\x06\0\0\0\0\0\x05\x11\0\0\0\x01\0\x01w\0\0", &rule::PROPERTY_PLACE),
    (C, V5, b"\x82\x07\0\x01\0\0\x01#\x40", &rule::OPTION_RESERVED),
    (C, V3, b"\x82\x06\0\x01\0\x01#\x04", &rule::OPTION_RESERVED),
    (C, V3, b"\x20\x02\0\0", &rule::DIRECTION),
    (C, V5, b"\xD0\0", &rule::DIRECTION),
    (S, V3, b"\xC0\0", &rule::DIRECTION),
    (S, V3, b"\x82", &rule::DIRECTION),
    (S, V3, b"\x10", &rule::DIRECTION),
    (S, V3, b"\xE0", &rule::DIRECTION),
    (C, V3, b"\x32\x05\0\x01t\0\0", &rule::PACKET_ID_ZERO),
    (C, V5, b"\x40\x02\0\0", &rule::PACKET_ID_ZERO),
    (C, V5, b"\x82\x07\0\0\0\0\x01#\0", &rule::PACKET_ID_ZERO),
    (C, V3, b"\x38\x03\0\x01t", &rule::DUP_QOS_0),
    (C, V3, b"\x30\x02\0\0", &rule::TOPIC_EMPTY),
    (C, V3, b"\x82\x05\0\x01\0\0\0", &rule::TOPIC_EMPTY),
    (C, V5, b"\x10\x11\0\x04MQTT\x05\x06\0\0\0\0\0\0\0\0\0\0", &rule::TOPIC_EMPTY),
    (C, V5, b"\x30\x06\0\x00\x03\x08\0\0", &rule::TOPIC_EMPTY),
    (C, V5, b"\x30\x03\0\0\0", &rule::TOPIC_MISSING),
    (C, V3, b"\x30\x05\0\x03a/#", &rule::TOPIC_WILDCARD),
    (C, V5, b"\x30\x08\0\x01t\x04\x08\0\x01+", &rule::TOPIC_WILDCARD),
    (C, V3, b"\x82\x07\0\x01\0\x02a#\0", &rule::FILTER_WILDCARD),
    (C, V3, b"\xA2\x06\0\x01\0\x02++", &rule::FILTER_WILDCARD),
    (C, V5, b"\x82\x10\0\x01\0\0\x0A$share/a+/\0", &rule::FILTER_WILDCARD),
    (C, V5, b"\x82\x0E\0\x01\0\0\x08$share/a\0", &rule::FILTER_SHARE),
    (C, V5, b"\xA2\x0F\0\x01\0\0\x0A$share/+/b", &rule::FILTER_SHARE),
    (C, V5, b"\x82\x10\0\x01\0\0\x0A$share/a/#\x04", &rule::NO_LOCAL_SHARED),
    (C, V5, b"\x82\x07\0\x01\0\0\x01#\x03", &rule::SUBSCRIPTION_QOS_3),
    (C, V5, b"\x82\x07\0\x01\0\0\x01#\x30", &rule::RETAIN_HANDLING_3),
    (C, V3, b"\x82\x02\0\x01", &rule::LIST_EMPTY),
    (C, V5, b"\xA2\x03\0\x01\0", &rule::LIST_EMPTY),
    (S, V5, b"\x90\x03\0\x01\0", &rule::LIST_EMPTY),
    (C, V5, b"\x30\x08\0\x01t\x04\x01\x01\x01\x01", &rule::PROPERTY_TWICE),
    (C, V5, b"\x82\x0B\0\x01\x04\x0B\x01\x0B\x02\0\x01#\0", &rule::PROPERTY_TWICE),
    (C, V5, b"\x30\x06\0\x01t\x02\x01\x02", &rule::PROPERTY_VALUE),
    (S, V5, b"\x20\x05\0\0\x02\x24\x02", &rule::PROPERTY_VALUE),
    (S, V5, b"\x20\x06\0\0\x03\x21\0\0", &rule::PROPERTY_VALUE),
    (S, V5, b"\x20\x08\0\0\x05\x27\0\0\0\0", &rule::PROPERTY_VALUE),
    (C, V5, b"\x82\x09\0\x01\x02\x0B\0\0\x01#\0", &rule::PROPERTY_VALUE),
    (S, V5, b"\x20\x03\0\x03\0", &rule::REASON_PLACE),
    (S, V5, b"\x20\x03\0\x8E\0", &rule::REASON_PLACE),
    (S, V3, b"\x20\x02\0\x06", &rule::REASON_PLACE),
    (S, V3, b"\x90\x03\0\x01\x03", &rule::REASON_PLACE),
    (S, V3, b"\x90\x03\0\x01\x87", &rule::REASON_PLACE),
    (C, V5, b"\x40\x03\0\x01\x10", &rule::REASON_PLACE),
    (C, V5, b"\xE0\x01\x8B", &rule::REASON_PLACE),
    (S, V5, b"\xE0\x01\x04", &rule::REASON_PLACE),
    (C, V5, b"\xF0\0", &rule::REASON_PLACE),
    (S, V5, b"\x20\x03\x01\x87\0", &rule::SESSION_REFUSED),
    (C, V5, b"\x10\x0D\0\x04MQTT\x05\x0A\0\0\0\0\0", &rule::WILL_FLAGS),
    (C, V3, b"\x10\x0C\0\x04MQTT\x04\x22\0\0\0\0", &rule::WILL_FLAGS),
    (C, V3, b"\x10\x0E\0\x04MQTT\x04\x42\0\0\0\0\0\0", &rule::PASSWORD_ALONE),
    (C, V5, b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\0", &rule::AUTHENTICATION_METHOD),
    (C, V5, b"\xF0\x02\x18\0", &rule::AUTHENTICATION_METHOD),
    (S, V5, b"\xF0\x05\0\x03\x26\0\0", &rule::FIELD_MISSING),
    (S, V5, b"\xF0\x01\0", &rule::FIELD_MISSING),
    (C, V5, b"\x30\x07\0\x01t\x03\x23\0\0", &rule::TOPIC_ALIAS_ZERO),
    (C, V5, b"\x10\x0D\0\x04MQTT\x06\x02\0\0\0\0\0", &rule::VERSION),
    (C, V5, b"\x10\x0D\0\x04MQTT\x85\x02\0\0\0\0\0", &rule::VERSION),
    (C, V5, b"\x10\x0E\0\x06MQIsdp\x03\x02\0\0\0\0", &rule::VERSION),
    (S, V5, b"\x20\x02\0\x01", &rule::OLDER_SERVER),
    (S, V5, b"\x20\x02\0\x02", &rule::FIELD_MISSING),
    (C, V3, b"\x10\x0C\0\x04MQTT\x04\x00\0\0\0\0", &rule::CLIENT_ID_EMPTY),
];

/// Rules that what comes cannot break, because it says no such thing: they are for what is sent.
const OF_SENDING: [&Rule; 7] = [
    &rule::TOO_LONG,
    &rule::OTHER_VERSION,
    &rule::PACKET_ID_MISSING,
    &rule::PACKET_ID_UNASKED,
    &rule::OPTIONS_V5_ONLY,
    &rule::LIST_UNASKED,
    &rule::PROPERTIES_V5_ONLY,
];

#[test]
fn a_broken_rule_is_named() {
    for (sender, version, bytes, rule) in BROKEN {
        let violation = read_one(*sender, *version, bytes).unwrap_err();
        let packet = bytes[0] >> 4;
        let packet = if packet == 0 { None } else { violation_packet(&violation) };
        assert_eq!(violation, Violation::Broken { packet, rule }, "{bytes:02x?} of {sender:?}");
        assert_eq!(packet.map_or(0, |packet| packet as u8), bytes[0] >> 4);
    }
}

fn violation_packet(violation: &Violation) -> Option<PacketType> {
    match violation {
        Violation::Broken { packet, .. } => *packet,
        Violation::TooLarge { .. } => None,
    }
}

#[test]
fn every_rule_has_a_packet_that_breaks_it() {
    let of_order = [&rule::NOT_CONNECTED, &rule::SECOND_CONNECT];
    for rule in rule::ALL {
        let is_tested = BROKEN.iter().any(|(_, _, _, broken)| broken == rule);
        assert!(is_tested || OF_SENDING.contains(rule) || of_order.contains(rule), "{rule}");
    }
}

#[test]
fn a_server_reads_one_connect_and_first() {
    let broken = |packet, rule| Err(Violation::Broken { packet: Some(packet), rule });
    let mut fresh = Incoming::server(PACKET_LIMIT);
    assert_eq!(fresh.next(&mut &b"\xC0\0"[..]), broken(PacketType::PingReq, &rule::NOT_CONNECTED));
    let mut connected = incoming(C, V3);
    assert_eq!(connected.version(), Some(V3));
    assert_eq!(connected.next(&mut &b"\x10"[..]), broken(PacketType::Connect, &rule::SECOND_CONNECT));
    assert_eq!(connected.next(&mut &b"\xC0\0"[..]), broken(PacketType::Connect, &rule::SECOND_CONNECT));
}

/// Section 4.13.1: a rule that is broken is told in a DISCONNECT, or by a server in its CONNACK.
#[test]
fn both_sides_can_say_which_rule_was_broken() {
    for rule in rule::ALL.iter().chain(rule::OF_SESSIONS) {
        let is_of_connect = [&rule::VERSION, &rule::OLDER_SERVER, &rule::CLIENT_ID_EMPTY].contains(rule);
        assert_eq!(rule.code().is_for(PacketType::Disconnect, C, V5), !is_of_connect, "{rule}");
        let packet = if is_of_connect { PacketType::ConnAck } else { PacketType::Disconnect };
        assert!(rule.code().is_for(packet, S, V5), "{rule}");
    }
    let of_side = read_one(C, V5, b"\x30\x06\0\x01t\x02\x0B\x01").unwrap_err();
    let of_type = read_one(C, V5, b"\x30\x07\0\x01t\x03\x13\0\x01").unwrap_err();
    assert_eq!([of_side.code(), of_type.code()], [ReasonCode::PROTOCOL_ERROR, ReasonCode::MALFORMED_PACKET]);
}

#[test]
fn shared_subscriptions_came_with_the_newer_version() {
    for filter in ["$share/", "$share/a", "$share//b", "$share/a/", "$share/+/b"] {
        let filters = [Filter::new(filter).unwrap()].into();
        let unsubscribe = Packet::Unsubscribe(Unsubscribe::new(id(1), filters));
        let bytes = written(C, V3, &unsubscribe).unwrap();
        assert_eq!(read_one(C, V3, &bytes), Ok(unsubscribe.clone()), "{filter}");
        let one = Subscription::new(Filter::new(filter).unwrap(), Qos::AtMostOnce);
        let subscribe = Packet::Subscribe(Subscribe::new(id(1), [one].into()));
        for packet in [unsubscribe, subscribe] {
            let rule = &rule::FILTER_SHARE;
            let broken = EncodeError::Broken { packet: packet.packet_type(), rule };
            assert_eq!(written(C, V5, &packet), Err(broken), "{filter}");
        }
    }
}

#[test]
fn errors_name_the_packet_the_rule_and_its_section() {
    let violation = read_one(C, V3, b"\x36").unwrap_err();
    let words = "the peer broke the protocol in PUBLISH: both bits of QoS are set (MQTT, section 3.3.1.2)";
    assert_eq!(violation.to_string(), words);
    assert_eq!(violation.code(), ReasonCode::MALFORMED_PACKET);
    assert_eq!(read_one(C, V5, b"\x30\x03\0\0\0").unwrap_err().code(), ReasonCode::PROTOCOL_ERROR);
    assert_eq!(read_one(C, V5, b"\x30\x07\0\x01t\x03\x23\0\0").unwrap_err().code(), ReasonCode::TOPIC_ALIAS_INVALID);
    assert_eq!(rule::VERSION.code(), ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
    for rule in rule::ALL.iter().chain(rule::OF_SESSIONS) {
        assert!(rule.section().chars().next().is_some_and(|first| first.is_ascii_digit()), "{rule}");
        assert!(rule.code().is_failure() && !rule.problem().is_empty());
    }
}
