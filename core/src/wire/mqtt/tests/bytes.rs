//! Every packet by its bytes: the examples of the standards where they have one, and the shortest and the fullest of each.

use alloc::boxed::Box;
use core::num::{NonZeroU16, NonZeroU32};

use super::*;

const C: Role = Role::Client;
const S: Role = Role::Server;
const V3: Version = Version::V3;
const V5: Version = Version::V5;

/// Both ways.
fn same(sender: Role, versions: &[Version], bytes: &[u8], packet: Packet<'_>) {
    for version in versions {
        assert_eq!(written(sender, *version, &packet).as_deref(), Ok(bytes), "{packet:?} written");
        assert_eq!(read_one(sender, *version, bytes), Ok(packet.clone().into_owned()), "{bytes:02x?} read");
    }
}

/// What comes in another form than ours.
fn reads(sender: Role, version: Version, bytes: &[u8], packet: Packet<'_>) {
    assert_eq!(read_one(sender, version, bytes), Ok(packet.into_owned()), "{bytes:02x?} read");
}

fn text(text: &str) -> Text<'_> {
    Text::new(text).unwrap()
}

fn topic(topic: &str) -> Topic<'_> {
    Topic::new(topic).unwrap()
}

fn properties(of: &[Property<'_>]) -> Properties<'static> {
    of.iter().fold(Properties::NONE, |properties, property| properties.with(property).unwrap())
}

/// Figure 3-6 of MQTT 5.0 and its like of 3.1.1, with a payload.
#[test]
fn connect_of_the_standards() {
    let payload = b"\0\x01c\0\x01w\0\x02by\0\x01u\0\x01p";
    let mut connect = Connect {
        keep_alive: 10,
        will: Some(Will { qos: Qos::AtLeastOnce, ..Will::new(topic("w"), "by") }),
        user_name: Some(text("u")),
        password: Some("p".into()),
        ..Connect::new(V3, text("c"))
    };
    let bytes = [&b"\x10\x1A\0\x04MQTT\x04\xCE\0\x0A"[..], payload].concat();
    same(C, &[V3], &bytes, Packet::Connect(Box::new(connect.clone())));

    connect.version = V5;
    connect.properties = properties(&[Property::SessionExpiryInterval(10)]);
    let payload = b"\0\x01c\0\0\x01w\0\x02by\0\x01u\0\x01p";
    let bytes = [&b"\x10\x21\0\x04MQTT\x05\xCE\0\x0A\x05\x11\0\0\0\x0A"[..], payload].concat();
    same(C, &[V5], &bytes, Packet::Connect(Box::new(connect)));
}

#[test]
fn connect_with_everything_and_with_nothing() {
    let nothing = Connect { clean_start: false, ..Connect::new(V5, Text::default()) };
    same(C, &[V5], b"\x10\x0D\0\x04MQTT\x05\0\0\0\0\0\0", Packet::Connect(Box::new(nothing)));
    let clean = Connect::new(V3, Text::default());
    same(C, &[V3], b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0", Packet::Connect(Box::new(clean)));

    let all = properties(&[
        Property::SessionExpiryInterval(u32::MAX),
        Property::ReceiveMaximum(NonZeroU16::new(20).unwrap()),
        Property::MaximumPacketSize(NonZeroU32::new(0x1_0000).unwrap()),
        Property::TopicAliasMaximum(0),
        Property::RequestResponseInformation(true),
        Property::RequestProblemInformation(false),
        Property::UserProperty((text("k"), text("v"))),
        Property::UserProperty((text("k"), text("v"))),
        Property::AuthenticationMethod(text("m")),
        Property::AuthenticationData(b"\0\xFF"),
    ]);
    let will = properties(&[
        Property::WillDelayInterval(5),
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(6),
        Property::ContentType(text("t")),
        Property::ResponseTopic(topic("r")),
        Property::CorrelationData(b"d"),
    ]);
    let will = Will { qos: Qos::ExactlyOnce, retain: true, properties: will, ..Will::new(topic("w"), b"") };
    let connect =
        Connect { properties: all, will: Some(will), password: Some(b"\0".into()), ..Connect::new(V5, text("c")) };
    let bytes = b"\x10\x5A\0\x04MQTT\x05\x76\0\0\
        \x2B\x11\xFF\xFF\xFF\xFF\x21\0\x14\x27\0\x01\0\0\x22\0\0\x19\x01\x17\0\
        \x26\0\x01k\0\x01v\x26\0\x01k\0\x01v\x15\0\x01m\x16\0\x02\0\xFF\
        \0\x01c\
        \x18\x18\0\0\0\x05\x01\x01\x02\0\0\0\x06\x03\0\x01t\x08\0\x01r\x09\0\x01d\
        \0\x01w\0\0\0\x01\0";
    same(C, &[V5], bytes, Packet::Connect(Box::new(connect)));
}

#[test]
fn connack() {
    let connack = |session_present, reason| ConnAck { session_present, reason, properties: Properties::NONE };
    same(S, &[V3], b"\x20\x02\x01\0", Packet::ConnAck(connack(true, ReasonCode::SUCCESS)));
    same(S, &[V5], b"\x20\x03\x01\0\0", Packet::ConnAck(connack(true, ReasonCode::SUCCESS)));
    same(S, &[V3], b"\x20\x02\0\x05", Packet::ConnAck(connack(false, ReasonCode::NOT_AUTHORIZED)));
    same(S, &[V5], b"\x20\x03\0\x87\0", Packet::ConnAck(connack(false, ReasonCode::NOT_AUTHORIZED)));
    let all = properties(&[
        Property::AssignedClientIdentifier(text("c")),
        Property::ServerKeepAlive(60),
        Property::MaximumQos(Qos::AtLeastOnce),
        Property::RetainAvailable(true),
        Property::WildcardSubscriptionAvailable(false),
        Property::SubscriptionIdentifierAvailable(true),
        Property::SharedSubscriptionAvailable(false),
        Property::ResponseInformation(text("i")),
        Property::ServerReference(text("s")),
        Property::ReasonString(text("r")),
    ]);
    let bytes =
        b"\x20\x20\0\0\x1D\x12\0\x01c\x13\0\x3C\x24\x01\x25\x01\x28\0\x29\x01\x2A\0\x1A\0\x01i\x1C\0\x01s\x1F\0\x01r";
    same(S, &[V5], bytes, Packet::ConnAck(ConnAck { properties: all, ..connack(false, ReasonCode::SUCCESS) }));
}

/// Figure 3-9 of MQTT 5.0 and its like of 3.1.1.
#[test]
fn publish() {
    let of_figure = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(10)), ..Publish::new(topic("a/b"), b"") };
    for sender in [C, S] {
        same(sender, &[V3], b"\x32\x07\0\x03a/b\0\x0A", Packet::Publish(of_figure.clone()));
        same(sender, &[V5], b"\x32\x08\0\x03a/b\0\x0A\0", Packet::Publish(of_figure.clone()));
        same(sender, &[V3], b"\x30\x05\0\x01tpp", Packet::Publish(Publish::new(topic("t"), "pp")));
        let all = Publish { dup: true, qos: Qos::ExactlyOnce, retain: true, ..of_figure.clone() };
        same(sender, &[V3], b"\x3D\x07\0\x03a/b\0\x0A", Packet::Publish(all));
    }
    let alias = Property::TopicAlias(NonZeroU16::new(2).unwrap());
    let aliased = Publish { topic: None, properties: properties(&[alias]), ..Publish::new(topic("-"), "p") };
    same(C, &[V5], b"\x30\x07\0\0\x03\x23\0\x02p", Packet::Publish(aliased));
    let one = |id| Property::SubscriptionIdentifier(SubscriptionId::new(id).unwrap());
    let for_two = Publish { properties: properties(&[one(1), one(128)]), ..Publish::new(topic("t"), "") };
    same(S, &[V5], b"\x30\x09\0\x01t\x05\x0B\x01\x0B\x80\x01", Packet::Publish(for_two));
    // Sections 1.5.4.1 and 1.5.5, table 1-1: a string, and both sides of every length.
    same(C, &[V3], b"\x30\x07\0\x05A\xF0\xAA\x9B\x94", Packet::Publish(Publish::new(topic("A\u{2A6D4}"), "")));
    for (length, digits) in [
        (127, &b"\x7F"[..]),
        (128, b"\x80\x01"),
        (16_383, b"\xFF\x7F"),
        (16_384, b"\x80\x80\x01"),
        (2_097_151, b"\xFF\xFF\x7F"),
        (2_097_152, b"\x80\x80\x80\x01"),
    ] {
        let payload = alloc::vec![1; length - 3];
        let bytes = [b"\x30", digits, b"\0\x01t", &payload].concat();
        same(C, &[V3], &bytes, Packet::Publish(Publish::new(topic("t"), &payload[..])));
    }
}

#[test]
fn acknowledgements() {
    type Make = fn(Ack<'static>) -> Packet<'static>;
    let makes: [(u8, Make, ReasonCode); 4] = [
        (0x40, Packet::PubAck, ReasonCode::QUOTA_EXCEEDED),
        (0x50, Packet::PubRec, ReasonCode::NOT_AUTHORIZED),
        (0x62, Packet::PubRel, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
        (0x70, Packet::PubComp, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
    ];
    for (first, make, reason) in makes {
        for sender in [C, S] {
            same(sender, &BOTH, &[first, 2, 0x12, 0x34], make(Ack::new(id(0x1234))));
            let failed = Ack { reason, ..Ack::new(id(1)) };
            same(sender, &[V5], &[first, 3, 0, 1, reason.get()], make(failed.clone()));
            let properties = properties(&[Property::ReasonString(text("no"))]);
            let bytes = [&[first, 9, 0, 1, reason.get()][..], b"\x05\x1F\0\x02no"].concat();
            same(sender, &[V5], &bytes, make(Ack { properties, ..failed.clone() }));
            // What a sender may leave out.
            reads(sender, V5, &[first, 3, 0, 1, 0], make(Ack::new(id(1))));
            reads(sender, V5, &[first, 4, 0, 1, 0, 0], make(Ack::new(id(1))));
            reads(sender, V5, &[first, 4, 0, 1, reason.get(), 0], make(failed));
        }
    }
}

/// Section 3.8.3 of both versions.
#[test]
fn subscribe() {
    let filter = |filter| Filter::new(filter).unwrap();
    let subscriptions =
        [Subscription::new(filter("a/b"), Qos::AtLeastOnce), Subscription::new(filter("c/d"), Qos::ExactlyOnce)];
    let subscribe = Subscribe { packet_id: id(10), properties: Properties::NONE, subscriptions: subscriptions.into() };
    same(C, &[V3], b"\x82\x0E\0\x0A\0\x03a/b\x01\0\x03c/d\x02", Packet::Subscribe(subscribe.clone()));
    same(C, &[V5], b"\x82\x0F\0\x0A\0\0\x03a/b\x01\0\x03c/d\x02", Packet::Subscribe(subscribe));
    let subscription = Subscription {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..Subscription::new(filter("#"), Qos::AtMostOnce)
    };
    let number = SubscriptionId::new(268_435_455).unwrap();
    let subscribe = Subscribe {
        packet_id: id(1),
        properties: properties(&[Property::SubscriptionIdentifier(number)]),
        subscriptions: [subscription].into(),
    };
    same(C, &[V5], b"\x82\x0C\0\x01\x05\x0B\xFF\xFF\xFF\x7F\0\x01#\x2C", Packet::Subscribe(subscribe));
}

#[test]
fn suback() {
    let reasons = [ReasonCode::SUCCESS, ReasonCode::GRANTED_QOS_2, ReasonCode::UNSPECIFIED_ERROR];
    let suback = SubAck { packet_id: id(10), properties: Properties::NONE, reasons: reasons.into() };
    same(S, &[V3], b"\x90\x05\0\x0A\0\x02\x80", Packet::SubAck(suback.clone()));
    same(S, &[V5], b"\x90\x06\0\x0A\0\0\x02\x80", Packet::SubAck(suback));
}

#[test]
fn unsubscribe_and_unsuback() {
    let filters = ["a/b", "c/d"].map(|filter| Filter::new(filter).unwrap());
    let unsubscribe = Unsubscribe { packet_id: id(10), properties: Properties::NONE, filters: filters.into() };
    same(C, &[V3], b"\xA2\x0C\0\x0A\0\x03a/b\0\x03c/d", Packet::Unsubscribe(unsubscribe.clone()));
    same(C, &[V5], b"\xA2\x0D\0\x0A\0\0\x03a/b\0\x03c/d", Packet::Unsubscribe(unsubscribe));
    let none = SubAck { packet_id: id(10), properties: Properties::NONE, reasons: Vec::new() };
    same(S, &[V3], b"\xB0\x02\0\x0A", Packet::UnsubAck(none.clone()));
    let reasons = [ReasonCode::NO_SUBSCRIPTION_EXISTED, ReasonCode::SUCCESS].into();
    same(S, &[V5], b"\xB0\x05\0\x0A\0\x11\0", Packet::UnsubAck(SubAck { reasons, ..none }));
}

#[test]
fn pings() {
    same(C, &BOTH, b"\xC0\0", Packet::PingReq);
    same(S, &BOTH, b"\xD0\0", Packet::PingResp);
}

#[test]
fn disconnect() {
    same(C, &BOTH, b"\xE0\0", Packet::Disconnect(Notice::new(ReasonCode::SUCCESS)));
    same(C, &[V5], b"\xE0\x01\x04", Packet::Disconnect(Notice::new(ReasonCode::DISCONNECT_WITH_WILL)));
    reads(C, V5, b"\xE0\x01\0", Packet::Disconnect(Notice::new(ReasonCode::SUCCESS)));
    reads(C, V5, b"\xE0\x02\0\0", Packet::Disconnect(Notice::new(ReasonCode::SUCCESS)));
    let moved = properties(&[Property::ServerReference(text("b"))]);
    let moved = Notice { properties: moved, ..Notice::new(ReasonCode::SERVER_MOVED) };
    same(S, &[V5], b"\xE0\x06\x9D\x04\x1C\0\x01b", Packet::Disconnect(moved));
}

#[test]
fn auth() {
    same(S, &[V5], b"\xF0\0", Packet::Auth(Notice::new(ReasonCode::SUCCESS)));
    let method = properties(&[Property::AuthenticationMethod(text("m")), Property::AuthenticationData(b"d")]);
    for sender in [C, S] {
        let step = Notice { properties: method.clone(), ..Notice::new(ReasonCode::CONTINUE_AUTHENTICATION) };
        same(sender, &[V5], b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01d", Packet::Auth(step));
    }
}

#[test]
fn secrets_are_not_shown() {
    let properties = properties(&[Property::AuthenticationMethod(text("m")), Property::AuthenticationData(b"hunter2")]);
    let connect = Connect { password: Some("hunter2".into()), properties, ..Connect::new(V5, text("c")) };
    let (shown, secret) = (alloc::format!("{connect:?}"), alloc::format!("{:?}", b"hunter2"));
    assert!(shown.contains("has_password: true") && !shown.contains(&secret[1..]), "{shown}");
}
