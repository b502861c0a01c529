//! Links over MQTT with several servers, and with servers that are not what they were: other sessions, fewer features, older states.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::num::NonZeroU16;

use common::mqtt::{Rig, client, id, mqtt, publication, publish, subscribe};
use keepbeat_core::client::Event;
use keepbeat_core::session::DropReason;
use keepbeat_core::wire::mqtt::{
    Ack, Answer, ConnAck, Filter, MqttConfigError, Notice, Packet, Properties, Property, Publish, Qos, ReasonCode,
    Subscribe, Subscription, SubscriptionId, Text, Version,
};

fn come(payload: &'static str, qos: Qos, number: u16, dup: bool) -> Packet<'static> {
    Packet::Publish(Publish { dup, qos, packet_id: Some(id(number)), ..publication("in", payload) })
}

/// The next attempt is for this server.
fn to(rig: &mut Rig, server: &str) {
    rig.client.set_server(server.parse().unwrap());
}

fn with_id(filter: &str) -> Subscribe<'_> {
    let id = Property::SubscriptionIdentifier(SubscriptionId::new(7).unwrap());
    let properties = Properties::NONE.with(&id).unwrap();
    let subscription = Subscription::new(Filter::new(filter).unwrap(), Qos::AtLeastOnce);
    Subscribe { properties, ..Subscribe::to(vec![subscription]) }
}

#[test]
fn a_subscription_that_one_server_granted_is_asked_for_at_another_that_goes_on_with_a_session_of_its_own() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    to(&mut rig, "b:1883");
    rig.cut();
    rig.accept(false);
    rig.send(subscribe("cmd", Qos::AtLeastOnce));
    rig.forget();
    to(&mut rig, "a:1883");
    rig.cut();
    rig.accept(true);
    assert!(matches!(&rig.take()[..], [Packet::Connect(_), Packet::Subscribe(_)]));
    rig.cut();
    rig.forget();
    rig.accept(true);
    assert_eq!(rig.take(), [], "the same server as before has it");
}

#[test]
fn messages_of_one_server_are_not_taken_for_those_of_another() {
    for (qos, looks, dup) in
        [(Qos::ExactlyOnce, true, false), (Qos::ExactlyOnce, true, true), (Qos::AtLeastOnce, false, true)]
    {
        let mut rig = Rig::up(Version::V5, mqtt());
        to(&mut rig, "b:1883");
        rig.cut();
        rig.accept(false);
        rig.looks = looks;
        rig.say(&come("of b", qos, 1, false));
        rig.end();
        // What was not taken yet is taken while there is no connection.
        rig.looks = true;
        rig.turn();
        to(&mut rig, "a:1883");
        while rig.open.is_none() {
            rig.advance(100);
        }
        rig.accept(true);
        rig.say(&come("of a", qos, 1, dup));
        assert_eq!(rig.messages(), ["of b", "of a"], "{qos:?}");
    }
}

#[test]
fn a_message_that_one_server_has_received_is_sent_to_another_that_goes_on_with_a_session() {
    for restarts in [false, true] {
        let mut rig = Rig::durable(Version::V5, client(mqtt().topic_aliases(0)));
        to(&mut rig, "a:1883");
        rig.cut();
        rig.accept(false);
        rig.send(publish("a", "x", Qos::ExactlyOnce));
        rig.say(&Packet::PubRec(Ack::new(id(1))));
        if restarts {
            rig.restart();
            rig.end();
        } else {
            rig.end();
        }
        to(&mut rig, "b:1883");
        while rig.open.is_none() {
            rig.advance(100);
        }
        rig.forget();
        rig.accept(true);
        let packets = rig.take();
        assert!(matches!(&packets[..], [Packet::Publish(_)]), "{packets:?}");
        // A process that begins now is not to take it for received either.
        rig.restart();
        rig.end();
        to(&mut rig, "b:1883");
        while rig.open.is_none() {
            rig.advance(100);
        }
        rig.forget();
        rig.accept(true);
        let packets = rig.take();
        assert!(matches!(&packets[..], [Packet::Publish(_)]), "{packets:?}");
    }
}

#[test]
fn a_server_that_went_back_to_an_older_state_may_use_its_identifiers_again() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.say(&come("m3", Qos::ExactlyOnce, 3, false));
    rig.cut();
    rig.accept(true);
    rig.say(&come("n3", Qos::ExactlyOnce, 3, false));
    assert_eq!(rig.messages(), ["m3", "n3"]);
    // Others do not say that it is the same that comes again.
    rig.looks = false;
    rig.say(&come("m4", Qos::ExactlyOnce, 4, false));
    rig.end();
    rig.looks = true;
    rig.turn();
    while rig.open.is_none() {
        rig.advance(100);
    }
    rig.accept(true);
    rig.say_all(&[come("n3", Qos::ExactlyOnce, 3, false), come("m4", Qos::ExactlyOnce, 4, false)]);
    assert_eq!(rig.messages(), ["m3", "n3", "m4"]);
}

#[test]
fn an_identifier_of_a_message_that_the_server_gave_up_is_free_for_the_next() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.looks = false;
    rig.say(&come("old", Qos::AtLeastOnce, 5, false));
    rig.end();
    rig.looks = true;
    rig.turn();
    while rig.open.is_none() {
        rig.advance(100);
    }
    rig.accept(true);
    // It had expired there.
    rig.say(&come("other", Qos::AtLeastOnce, 6, false));
    rig.cut();
    rig.accept(true);
    rig.say(&come("new", Qos::AtLeastOnce, 5, true));
    assert_eq!(rig.messages(), ["old", "other", "new"]);
}

#[test]
fn what_a_server_does_not_have_is_not_asked_for() {
    for (lacks, request, code) in [
        (Property::SubscriptionIdentifierAvailable(false), with_id("a"), 0xA1),
        (Property::SharedSubscriptionAvailable(false), with_id("$share/g/a"), 0x9E),
        (Property::WildcardSubscriptionAvailable(false), with_id("a/#"), 0xA2),
    ] {
        let mut rig = Rig::new(Version::V5, mqtt());
        rig.accept_with(false, Properties::NONE.with(&lacks).unwrap());
        rig.forget();
        rig.send(request.into_message().unwrap());
        assert_eq!(rig.take(), []);
        let dropped = rig.events.iter().find_map(|(_, event)| match event {
            Event::Dropped(dropped) => Some(dropped.reason),
            _ => None,
        });
        assert_eq!(dropped, Some(DropReason::Refused { code }));
    }
}

#[test]
fn a_subscription_is_renewed_as_far_as_the_server_has_what_it_needs() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    for filter in ["a", "b/#"] {
        rig.send(with_id(filter).into_message().unwrap());
    }
    for times in 1..=2 {
        rig.cut();
        rig.forget();
        let lacks = Properties::NONE.with(&Property::SubscriptionIdentifierAvailable(false)).unwrap();
        rig.accept_with(false, lacks.with(&Property::WildcardSubscriptionAvailable(false)).unwrap());
        let [Packet::Subscribe(renewal)] = &rig.take()[..] else { panic!("one SUBSCRIBE") };
        assert_eq!((renewal.subscriptions.len(), renewal.properties.is_empty()), (1, true));
        let answers: Vec<_> = rig
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Answered { ticket: None, answer } => Some(Answer::of(answer).unwrap().results),
                _ => None,
            })
            .collect();
        let lost = (Filter::new("b/#").unwrap(), ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
        assert_eq!(answers, [vec![lost]], "{times}");
    }
    rig.cut();
    rig.forget();
    rig.accept(false);
    let asked = rig.take().into_iter().map(|packet| match packet {
        Packet::Subscribe(renewal) => renewal.subscriptions.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(asked.sum::<usize>(), 2, "what was lost there is not forgotten");
}

#[test]
fn many_subscriptions_are_renewed_in_packets_of_eight() {
    let mut rig = Rig::up(Version::V3, mqtt());
    rig.answers = true;
    for number in 0..19 {
        rig.send(subscribe(&format!("t/{number}"), Qos::AtLeastOnce));
    }
    rig.cut();
    rig.forget();
    rig.accept(false);
    let sizes: Vec<_> = rig
        .take()
        .iter()
        .filter_map(|packet| match packet {
            Packet::Subscribe(request) => Some(request.subscriptions.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [8, 8, 3]);
}

#[test]
fn a_name_that_nobody_asked_for_is_not_taken() {
    let mut rig = Rig::new(Version::V5, mqtt());
    let assigned = Property::AssignedClientIdentifier(Text::new("other").unwrap());
    rig.accept_with(false, Properties::NONE.with(&assigned).unwrap());
    rig.forget();
    rig.cut();
    let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
    assert_eq!(connect.client_id.as_str(), "d");
}

#[test]
fn a_session_that_goes_on_although_a_new_one_was_asked_for_is_an_error() {
    for version in [Version::V3, Version::V5] {
        let mut rig = Rig::new(version, mqtt().clean_start());
        rig.forget();
        rig.accept(true);
        assert_eq!((rig.saw("up"), rig.saw("down")), (0, 1));
    }
}

#[test]
fn a_receive_maximum_that_is_smaller_on_the_next_connection_holds_there() {
    let mut rig = Rig::up(Version::V5, mqtt().topic_aliases(0));
    for payload in ["1", "2", "3"] {
        rig.send(publish("a", payload, Qos::AtLeastOnce));
    }
    rig.cut();
    rig.forget();
    let one = Property::ReceiveMaximum(NonZeroU16::MIN);
    rig.accept_with(true, Properties::NONE.with(&one).unwrap());
    assert_eq!(rig.take().len(), 1);
    rig.say(&Packet::PubAck(Ack::new(id(1))));
    assert_eq!(rig.take().len(), 1);
}

#[test]
fn nothing_is_heard_after_a_disconnect_or_in_pieces_of_an_earlier_connection() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.write(&[0x30, 100, 0, 2, b'i', b'n', 0]);
    rig.cut();
    rig.accept(true);
    rig.say(&Packet::Publish(publication("in", "x")));
    assert_eq!(rig.messages(), ["x"]);
    rig.forget();
    let end = Packet::Disconnect(Notice::new(ReasonCode::SERVER_SHUTTING_DOWN));
    rig.say_all(&[end, come("y", Qos::AtLeastOnce, 1, false)]);
    assert_eq!((rig.messages().len(), rig.saw("down")), (0, 1));
}

#[test]
fn a_server_that_lets_us_in_and_hangs_up_is_not_hammered() {
    let mut rig = Rig::new(Version::V5, mqtt());
    let mut waits = Vec::new();
    for _ in 0..12 {
        rig.accept(false);
        let ended = rig.now.as_millis();
        rig.cut();
        waits.push(rig.now.as_millis() - ended);
    }
    assert!(waits.iter().sum::<u64>() > 60_000, "{waits:?}");
}

#[test]
fn one_server_of_several_that_says_no_for_good_ends_the_link() {
    let mut rig = Rig::up(Version::V5, mqtt());
    to(&mut rig, "b:1883");
    rig.cut();
    rig.say(&Packet::ConnAck(ConnAck::new(false, ReasonCode::NOT_AUTHORIZED)));
    assert!(rig.client.state().is_over());
}

#[test]
fn a_property_that_a_setting_says_is_refused_beside_it() {
    let maximum = Properties::NONE.with(&Property::TopicAliasMaximum(100)).unwrap();
    let built = mqtt().properties(maximum).build().map(|_| ());
    assert_eq!(built, Err(MqttConfigError::Property { setting: "topic_aliases" }));
}
