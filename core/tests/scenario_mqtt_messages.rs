//! Messages over MQTT: topics, lifetimes, what a server refuses and what it does not take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::mqtt::{Rig, id, mqtt, publication, publish, subscribe};
use keepbeat_core::client::Event;
use keepbeat_core::session::{DropReason, Message, SendError, Ticket};
use keepbeat_core::wire::mqtt::{
    Ack, Notice, Packet, Properties, Property, Publish, Qos, ReasonCode, SubscriptionId, Topic, Version,
};

#[test]
fn a_message_that_the_server_refuses_is_handed_back_and_does_not_block_the_others() {
    let mut rig = Rig::up(Version::V5, mqtt());
    for (payload, qos) in [("1", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce), ("3", Qos::AtLeastOnce)] {
        rig.send(publish("a", payload, qos));
    }
    let reason = ReasonCode::NOT_AUTHORIZED;
    rig.say_all(&[
        Packet::PubAck(Ack { reason, ..Ack::new(id(1)) }),
        Packet::PubRec(Ack { reason: ReasonCode::QUOTA_EXCEEDED, ..Ack::new(id(2)) }),
        Packet::PubAck(Ack { reason: ReasonCode::NO_MATCHING_SUBSCRIBERS, ..Ack::new(id(3)) }),
    ]);
    let dropped: Vec<_> = rig
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Dropped(dropped) => Some((dropped.ticket, dropped.reason)),
            _ => None,
        })
        .collect();
    let refused = |code| DropReason::Refused { code };
    assert_eq!(dropped, [(Ticket(1), refused(0x87)), (Ticket(2), refused(0x97))]);
    assert_eq!(rig.events.last().unwrap().1, Event::Acknowledged { through: Ticket(3) });
}

#[test]
fn no_more_messages_are_under_way_than_the_server_takes() {
    let mut rig = Rig::new(Version::V5, mqtt().topic_aliases(0));
    let maximum = Property::ReceiveMaximum(std::num::NonZeroU16::new(2).unwrap());
    rig.accept_with(false, Properties::NONE.with(&maximum).unwrap());
    rig.forget();
    for payload in ["1", "2", "3", "4"] {
        rig.send(publish("a", payload, Qos::ExactlyOnce));
    }
    assert_eq!(rig.take().len(), 2);
    rig.say(&Packet::PubRec(Ack::new(id(1))));
    assert_eq!(rig.take(), [Packet::PubRel(Ack::new(id(1)))], "it is under way until PUBCOMP");
    rig.say(&Packet::PubComp(Ack::new(id(1))));
    assert_eq!(rig.take().len(), 1);
}

#[test]
fn topics_are_said_once_where_the_server_takes_aliases() {
    let mut rig = Rig::new(Version::V5, mqtt());
    rig.accept_with(false, Properties::NONE.with(&Property::TopicAliasMaximum(1)).unwrap());
    rig.forget();
    for topic in ["a", "a", "b"] {
        rig.send(publish(topic, "x", Qos::AtMostOnce));
    }
    let said: Vec<_> = rig
        .take()
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => (publish.topic.map(|topic| topic.to_string()), publish.properties.is_empty()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(said, [(Some("a".into()), false), (None, false), (Some("b".into()), true)]);
    // They end with the connection.
    rig.cut();
    rig.accept_with(true, Properties::NONE.with(&Property::TopicAliasMaximum(1)).unwrap());
    rig.forget();
    rig.send(publish("b", "x", Qos::AtMostOnce));
    let [Packet::Publish(publish)] = &rig.take()[..] else { panic!("one PUBLISH") };
    assert!(publish.topic.is_some());
}

#[test]
fn aliases_of_the_server_stand_for_topics() {
    let mut rig = Rig::up(Version::V5, mqtt().topic_aliases(2));
    let alias = Property::TopicAlias(std::num::NonZeroU16::new(2).unwrap());
    let properties = Properties::NONE.with(&alias).unwrap();
    rig.say(&Packet::Publish(Publish { properties: properties.clone(), ..publication("in/a", "x") }));
    rig.say(&Packet::Publish(Publish { topic: None, properties, ..publication("in/a", "y") }));
    let topics: Vec<_> = rig
        .events
        .iter()
        .map(|(_, event)| match event {
            Event::Message(message) => {
                let publish = Publish::of(message).unwrap();
                (publish.topic.unwrap().to_string(), publish.properties.is_empty())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(topics, [("in/a".into(), true), ("in/a".into(), true)]);
}

#[test]
fn a_message_says_how_much_of_its_lifetime_is_left_and_is_dropped_when_none_is() {
    let mut rig = Rig::new(Version::V5, mqtt());
    let lasting = |seconds| {
        let properties = Properties::NONE.with(&Property::MessageExpiryInterval(seconds)).unwrap();
        Publish { properties, ..publication("a", "x") }.into_message().unwrap()
    };
    rig.send(lasting(100));
    rig.send(lasting(3));
    rig.advance(5000);
    assert_eq!(rig.names().last(), Some(&"dropped"));
    rig.forget();
    rig.accept(false);
    let [Packet::Publish(publish)] = &rig.take()[..] else { panic!("one PUBLISH") };
    assert_eq!(publish.properties.iter().next(), Some(Property::MessageExpiryInterval(95)));
}

#[test]
fn what_the_link_cannot_carry_is_not_accepted() {
    let mut rig = Rig::up(Version::V3, mqtt());
    let plain = rig.client.send(rig.now, Message::from("text")).unwrap_err();
    assert!(matches!(plain, SendError::Unfit { .. }), "{plain}");
    let properties = Properties::NONE.with(&Property::PayloadFormatIndicator(true)).unwrap();
    let newer = Publish { properties, ..publication("a", "x") }.into_message().unwrap();
    assert!(matches!(rig.client.send(rig.now, newer), Err(SendError::Unfit { .. })));

    let mut rig = Rig::up(Version::V5, mqtt().topic(Topic::new("plain").unwrap(), Qos::AtLeastOnce));
    rig.send(Message::from("text"));
    let [Packet::Publish(publish)] = &rig.take()[..] else { panic!("one PUBLISH") };
    assert_eq!((publish.topic.as_ref().unwrap().as_str(), publish.qos), ("plain", Qos::AtLeastOnce));
    assert_eq!(&publish.payload[..], b"text");
}

#[test]
fn messages_that_the_server_does_not_take_are_handed_back() {
    let mut rig = Rig::new(Version::V5, mqtt());
    let limits = Properties::NONE.with(&Property::MaximumQos(Qos::AtMostOnce)).unwrap();
    let limits = limits.with(&Property::RetainAvailable(false)).unwrap();
    let limits = limits.with(&Property::MaximumPacketSize(std::num::NonZeroU32::new(64).unwrap())).unwrap();
    rig.accept_with(false, limits);
    rig.forget();
    rig.send(publish("a", "x", Qos::AtLeastOnce));
    rig.send(Publish { retain: true, ..publication("a", "x") }.into_message().unwrap());
    rig.send(publish("a", &"x".repeat(100), Qos::AtMostOnce));
    rig.send(publish("a", "fits", Qos::AtMostOnce));
    let reasons: Vec<_> = rig
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Dropped(dropped) => Some(dropped.reason),
            _ => None,
        })
        .collect();
    let refused = |code| DropReason::Refused { code };
    assert_eq!(reasons, [refused(0x9B), refused(0x9A), DropReason::PeerLimit]);
    assert_eq!(rig.take().len(), 1);
    assert_eq!(rig.events.last().unwrap().1, Event::Acknowledged { through: Ticket(4) });
}

#[test]
fn a_refusal_that_a_connection_ends_behind_is_told() {
    let mut rig = Rig::up(Version::V5, mqtt().topic_aliases(0));
    rig.send(publish("a", "x", Qos::AtLeastOnce));
    let refused = || Packet::PubAck(Ack { reason: ReasonCode::QUOTA_EXCEEDED, ..Ack::new(id(1)) });
    rig.say_all(&[refused(), Packet::Disconnect(Notice::new(ReasonCode::QUOTA_EXCEEDED))]);
    rig.open = None;
    while rig.open.is_none() {
        rig.advance(100);
    }
    rig.forget();
    rig.accept(true);
    rig.say(&refused());
    assert_eq!((rig.saw("dropped"), rig.client.unacknowledged()), (1, 0));
}

#[test]
fn what_the_server_does_not_take_is_told_although_the_connection_ends_first() {
    let limit = || Properties::NONE.with(&Property::MaximumQos(Qos::AtLeastOnce)).unwrap();
    let mut rig = Rig::new(Version::V5, mqtt().topic_aliases(0));
    rig.accept_with(false, limit());
    rig.forget();
    // The socket takes nothing.
    rig.client.send(rig.now, publish("a", "1", Qos::AtLeastOnce)).unwrap();
    rig.client.send(rig.now, publish("a", "2", Qos::ExactlyOnce)).unwrap();
    rig.end();
    while rig.open.is_none() {
        rig.advance(100);
    }
    rig.answers = true;
    rig.accept_with(true, limit());
    assert_eq!((rig.saw("dropped"), rig.client.unacknowledged()), (1, 0));
}

#[test]
fn a_message_that_expired_after_it_had_left_is_not_sent_again_for_ever() {
    let mut rig = Rig::up(Version::V5, mqtt().topic_aliases(0));
    let properties = Properties::NONE.with(&Property::MessageExpiryInterval(1)).unwrap();
    rig.send(Publish { qos: Qos::AtLeastOnce, properties, ..publication("a", "x") }.into_message().unwrap());
    rig.advance(3000);
    rig.cut();
    rig.forget();
    rig.accept(true);
    let [Packet::Publish(again)] = &rig.take()[..] else { panic!("one PUBLISH") };
    assert_eq!(again.properties.iter().collect::<Vec<_>>(), [Property::MessageExpiryInterval(1)]);
}

#[test]
fn a_message_that_came_can_be_sent_on() {
    let mut rig = Rig::up(Version::V5, mqtt().topic_aliases(0));
    let number = Property::SubscriptionIdentifier(SubscriptionId::new(7).unwrap());
    let properties = Properties::NONE.with(&number).unwrap();
    rig.say(&Packet::Publish(Publish { properties: properties.borrowed(), ..publication("in", "x") }));
    let (_, Event::Message(message)) = rig.events.remove(0) else { panic!("a message") };
    assert_eq!(Publish::of(&message).unwrap().properties, properties);
    rig.send(message);
    assert_eq!(rig.take(), [Packet::Publish(publication("in", "x"))]);
}

#[test]
fn an_answer_cannot_be_sent() {
    let mut rig = Rig::up(Version::V5, mqtt().topic(Topic::new("t").unwrap(), Qos::AtLeastOnce));
    rig.answers = true;
    rig.send(subscribe("a", Qos::AtLeastOnce));
    let answer = rig.events.iter().find_map(|(_, event)| match event {
        Event::Answered { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    assert!(matches!(rig.client.send(rig.now, answer.unwrap()), Err(SendError::Unfit { .. })));
}
