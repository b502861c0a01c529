//! What cannot be sent.

use alloc::boxed::Box;
use alloc::string::ToString;

use super::rule::{self, Rule};
use super::*;

fn refused(sender: Role, version: Version, packet: &Packet<'_>) -> &'static Rule {
    match written(sender, version, packet) {
        Err(EncodeError::Broken { packet: packet_type, rule }) => {
            assert_eq!(packet_type, packet.packet_type());
            rule
        }
        other => panic!("{packet:?}: {other:?}"),
    }
}

fn publish() -> Publish<'static> {
    Publish::new(Topic::new("t").unwrap(), "p")
}

#[test]
fn a_message_has_an_identifier_if_it_is_acknowledged() {
    let (c, v) = (Role::Client, Version::V3);
    let unasked = Publish { packet_id: Some(id(1)), ..publish() };
    assert_eq!(refused(c, v, &Packet::Publish(unasked)), &rule::PACKET_ID_UNASKED);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        assert_eq!(refused(c, v, &Packet::Publish(Publish { qos, ..publish() })), &rule::PACKET_ID_MISSING);
    }
    assert_eq!(refused(c, v, &Packet::Publish(Publish { dup: true, ..publish() })), &rule::DUP_QOS_0);
    let nowhere = Packet::Publish(Publish { topic: None, ..publish() });
    assert_eq!(refused(c, Version::V3, &nowhere), &rule::TOPIC_EMPTY);
    assert_eq!(refused(c, Version::V5, &nowhere), &rule::TOPIC_MISSING);
}

#[test]
fn packets_go_one_way_and_in_one_version() {
    for (sender, version, packet) in [
        (Role::Client, Version::V5, Packet::PingResp),
        (Role::Server, Version::V5, Packet::PingReq),
        (Role::Server, Version::V3, Packet::Disconnect(Notice::new(ReasonCode::SUCCESS))),
        (Role::Client, Version::V3, Packet::Auth(Notice::new(ReasonCode::SUCCESS))),
    ] {
        assert_eq!(refused(sender, version, &packet), &rule::DIRECTION);
    }
    let connect = Packet::Connect(Box::new(Connect::new(Version::V5, Text::default())));
    assert_eq!(refused(Role::Client, Version::V3, &connect), &rule::OTHER_VERSION);
}

#[test]
fn the_older_version_has_no_place_for_what_the_newer_says() {
    let (c, s, v) = (Role::Client, Role::Server, Version::V3);
    let properties = Properties::NONE.with(&Property::UserProperty((Text::default(), Text::default()))).unwrap();
    let packet = Packet::Publish(Publish { properties, ..publish() });
    assert_eq!(refused(c, v, &packet), &rule::PROPERTIES_V5_ONLY);
    let failed = Ack { reason: ReasonCode::QUOTA_EXCEEDED, ..Ack::new(id(1)) };
    assert_eq!(refused(c, v, &Packet::PubAck(failed)), &rule::REASON_PLACE);
    let with_will = Packet::Disconnect(Notice::new(ReasonCode::DISCONNECT_WITH_WILL));
    assert_eq!(refused(c, v, &with_will), &rule::REASON_PLACE);
    let busy = ConnAck { session_present: false, reason: ReasonCode::SERVER_BUSY, properties: Properties::NONE };
    assert_eq!(refused(s, v, &Packet::ConnAck(busy)), &rule::REASON_PLACE);
    let unsuback = SubAck { packet_id: id(1), properties: Properties::NONE, reasons: [ReasonCode::SUCCESS].into() };
    assert_eq!(refused(s, v, &Packet::UnsubAck(unsuback)), &rule::LIST_UNASKED);
    for change in [
        |one: &mut Subscription<'_>| one.no_local = true,
        |one: &mut Subscription<'_>| one.retain_as_published = true,
        |one: &mut Subscription<'_>| one.retain_handling = RetainHandling::SendIfNew,
    ] {
        let mut one = Subscription::new(Filter::new("#").unwrap(), Qos::AtMostOnce);
        change(&mut one);
        let packet = Subscribe { packet_id: id(1), properties: Properties::NONE, subscriptions: [one].into() };
        assert_eq!(refused(c, v, &Packet::Subscribe(packet)), &rule::OPTIONS_V5_ONLY);
    }
}

#[test]
fn a_field_has_at_most_65535_bytes() {
    let (fits, long) = (alloc::vec![0; FIELD_LIMIT], alloc::vec![0; FIELD_LIMIT + 1]);
    let with_password = |bytes: &[u8]| {
        let mut connect = Connect::new(Version::V5, Text::default());
        connect.password = Some(Payload::from(bytes).into_owned());
        Packet::Connect(Box::new(connect))
    };
    let with_will = |bytes: &[u8]| {
        let mut connect = Connect::new(Version::V5, Text::default());
        connect.will = Some(Will::new(Topic::new("t").unwrap(), Payload::from(bytes).into_owned()));
        Packet::Connect(Box::new(connect))
    };
    for make in [with_password, with_will] {
        assert!(written(Role::Client, Version::V5, &make(&fits)).is_ok());
        assert_eq!(refused(Role::Client, Version::V5, &make(&long)), &rule::TOO_LONG);
    }
    assert!(Properties::NONE.with(&Property::CorrelationData(&fits)).is_ok());
    assert_eq!(Properties::NONE.with(&Property::CorrelationData(&long)), Err(&rule::TOO_LONG));
}

#[test]
fn a_property_is_there_once_and_in_its_range() {
    let once = Properties::NONE.with(&Property::TopicAliasMaximum(1)).unwrap();
    assert_eq!(once.with(&Property::TopicAliasMaximum(1)), Err(&rule::PROPERTY_TWICE));
    assert_eq!(Properties::NONE.with(&Property::MaximumQos(Qos::ExactlyOnce)), Err(&rule::PROPERTY_VALUE));
    assert_eq!((SubscriptionId::new(0), SubscriptionId::new(1 << 28)), (None, None));
    // Twice is right in what a server publishes, and only there.
    let id = Property::SubscriptionIdentifier(SubscriptionId::new(7).unwrap());
    let twice = Properties::NONE.with(&id).and_then(|properties| properties.with(&id)).unwrap();
    let packet = Packet::Publish(Publish { properties: twice.clone(), ..publish() });
    assert!(written(Role::Server, Version::V5, &packet).is_ok());
    assert_eq!(refused(Role::Client, Version::V5, &packet), &rule::PROPERTY_SIDE);
    let all = [Subscription::new(Filter::new("#").unwrap(), Qos::AtMostOnce)];
    let packet = Subscribe { packet_id: self::id(1), properties: twice, subscriptions: all.into() };
    assert_eq!(refused(Role::Client, Version::V5, &Packet::Subscribe(packet)), &rule::PROPERTY_TWICE);
}

#[test]
fn a_message_that_is_kept_is_sent_again_without_a_copy() {
    let payload = ::bytes::Bytes::from(alloc::vec![7; 5000]);
    let topic = Topic::new("t").unwrap();
    let kept = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(1)), ..Publish::new(topic, payload.clone()) };
    for (dup, first) in [(false, 0x32), (true, 0x3A)] {
        let (packet, mut tx) = (Packet::from(Publish { dup, ..kept.borrowed() }), Tx::default());
        Outgoing::new(Role::Client, Version::V5).send(&packet, &mut tx).unwrap();
        let head = tx.chunk().to_vec();
        assert_eq!(head, [first, 0x8E, 0x27, 0, 1, b't', 0, 1, 0]);
        tx.consume(head.len());
        assert_eq!((tx.chunk().as_ptr(), tx.len()), (payload.as_ptr(), 5000));
    }
}

#[test]
fn nothing_is_larger_than_the_peer_takes() {
    let (packet, mut outgoing) = (Packet::Publish(publish()), Outgoing::new(Role::Client, Version::V3));
    assert_eq!(outgoing.length(&packet), Ok(6));
    let mut tx = Tx::default();
    outgoing.limit(6);
    assert_eq!(outgoing.send(&packet, &mut tx), Ok(()));
    outgoing.limit(5);
    let error = outgoing.send(&packet, &mut tx).unwrap_err();
    assert_eq!(error, EncodeError::TooLarge { packet: PacketType::Publish, length: 6, limit: 5 });
    assert_eq!(tx.len(), 6, "nothing of it is written");
    let words = "this PUBLISH has 6 bytes, the peer takes 5: send less in it, or leave out its user properties and reason string";
    assert_eq!(error.to_string(), words);
}

/// 256 MiB and a byte, without so much memory: a list in which one name is said again and again.
#[test]
fn no_packet_is_larger_than_the_standard_has_room_for() {
    let name = alloc::string::String::from_utf8(alloc::vec![b'n'; FIELD_LIMIT]).unwrap();
    let filter = Filter::new(&*name).unwrap();
    let of = |count: usize, last: usize| {
        let mut filters: Vec<Filter<'_>> = (0..count).map(|_| filter.borrowed()).collect();
        filters.push(Filter::new(&name[..last]).unwrap());
        Packet::Unsubscribe(Unsubscribe { packet_id: id(1), properties: Properties::NONE, filters })
    };
    // 4,095 names and what is around them leave 61,436 bytes of 2^28 - 1.
    let outgoing = Outgoing::new(Role::Client, Version::V3);
    assert_eq!(outgoing.length(&of(4095, 61_436)), Ok(PACKET_LIMIT));
    let error = outgoing.length(&of(4095, 61_437)).unwrap_err();
    let length = u64::from(PACKET_LIMIT) + 1;
    assert_eq!(error, EncodeError::TooLarge { packet: PacketType::Unsubscribe, length, limit: PACKET_LIMIT });
}
