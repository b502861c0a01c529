//! Links over MQTT, and how much a server takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::num::NonZeroU32;

use common::mqtt::{Rig, id, mqtt, publish};
use keepbeat_core::client::Event;
use keepbeat_core::session::{Message, Ticket};
use keepbeat_core::wire::mqtt::{Ack, Outgoing, Packet, Properties, Property, Qos, Role, Topic, Version};

#[test]
fn a_topic_has_no_alias_where_that_would_be_too_long_for_the_server() {
    for limit in [64, 200, 300, 20_000] {
        for spare in 0..12 {
            let mut rig = Rig::new(Version::V5, mqtt());
            let properties = Properties::NONE.with(&Property::TopicAliasMaximum(10)).unwrap();
            let size = Property::MaximumPacketSize(NonZeroU32::new(limit).unwrap());
            rig.accept_with(false, properties.with(&size).unwrap());
            rig.forget();
            let payload = "x".repeat(limit as usize - 12 - spare);
            rig.send(publish("a", &payload, Qos::AtLeastOnce));
            for packet in rig.take() {
                let length = Outgoing::new(Role::Client, Version::V5).length(&packet).unwrap();
                assert!(length <= limit, "{length} of {limit}");
            }
            let dropped = rig.saw("dropped");
            assert!(spare == 0 || dropped == 0 || limit > 16_383 && spare < 3, "{spare} of {limit}");
        }
    }
}

#[test]
fn the_topic_of_plain_messages_counts_for_the_limit_of_the_server() {
    for length in 30..60 {
        let mut rig = Rig::new(Version::V5, mqtt().topic(Topic::new("a/rather/long/topic").unwrap(), Qos::AtLeastOnce));
        let size = Property::MaximumPacketSize(NonZeroU32::new(64).unwrap());
        rig.accept_with(false, Properties::NONE.with(&size).unwrap());
        rig.forget();
        rig.send(Message::from(vec![7; length]));
        let lengths =
            rig.take().into_iter().map(|packet| Outgoing::new(Role::Client, Version::V5).length(&packet).unwrap());
        assert!(lengths.into_iter().all(|length| length <= 64));
        assert_eq!(rig.saw("dropped"), usize::from(length > 35));
    }
}

#[test]
fn there_are_as_many_aliases_as_numbers() {
    let mut rig = Rig::new(Version::V5, mqtt().topic_aliases(u16::MAX));
    rig.accept_with(false, Properties::NONE.with(&Property::TopicAliasMaximum(u16::MAX)).unwrap());
    for topic in 0..=u32::from(u16::MAX) + 1 {
        rig.send(publish(&topic.to_string(), "x", Qos::AtMostOnce));
    }
    let last = rig.take().pop();
    assert!(matches!(last, Some(Packet::Publish(publish)) if publish.properties.is_empty()));
}

#[test]
fn a_message_that_has_left_and_is_too_large_for_the_next_connection_is_handed_back() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.send(publish("a", &"x".repeat(100), Qos::AtLeastOnce));
    rig.send(publish("a", "small", Qos::AtLeastOnce));
    rig.cut();
    rig.forget();
    let limit = Property::MaximumPacketSize(NonZeroU32::new(64).unwrap());
    rig.accept_with(true, Properties::NONE.with(&limit).unwrap());
    assert_eq!((rig.saw("up"), rig.saw("dropped"), rig.take().len()), (1, 1, 1));
    rig.say(&Packet::PubAck(Ack::new(id(2))));
    assert_eq!(rig.events.last().unwrap().1, Event::Acknowledged { through: Ticket(2) });
}

#[test]
fn a_message_leaves_as_soon_as_the_server_takes_another_whichever_it_acknowledges_first() {
    let mut rig = Rig::new(Version::V5, mqtt().topic_aliases(0));
    let most = Property::ReceiveMaximum(std::num::NonZeroU16::new(2).unwrap());
    rig.accept_with(false, Properties::NONE.with(&most).unwrap());
    for payload in ["1", "2", "3"] {
        rig.send(publish("a", payload, Qos::AtLeastOnce));
    }
    rig.forget();
    rig.say(&Packet::PubAck(Ack::new(id(2))));
    assert!(matches!(&rig.take()[..], [Packet::Publish(publish)] if publish.packet_id == Some(id(3))));
}
