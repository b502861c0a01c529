//! Links over MQTT: messages, acknowledgements and sessions, packet by packet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::mqtt::{Rig, client, id, mqtt, publication, publish, subscribe};
use keepbeat_core::client::{Event, Input};
use keepbeat_core::session::Ticket;
use keepbeat_core::wire::mqtt::{
    Ack, Answer, Filter, Packet, Properties, Property, Publish, Qos, ReasonCode, SubAck, SubscriptionId, Text, Topic,
    Unsubscribe, Version, Will,
};

const VERSIONS: [Version; 2] = [Version::V3, Version::V5];

#[test]
fn the_first_words_are_a_connect_that_says_what_was_configured() {
    let will = || Will { retain: true, ..Will::new(Topic::new("gone").unwrap(), "d") };
    for version in VERSIONS {
        let wire = mqtt().version(version).user_name("me").will(will());
        let config = client(wire).credentials("secret");
        let mut rig = Rig::of(version, config);
        let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
        assert_eq!((connect.version, connect.clean_start, connect.keep_alive), (version, false, 10));
        assert_eq!((connect.client_id.as_str(), connect.will.as_ref()), ("d", Some(&will())));
        assert_eq!(connect.user_name.as_ref().map(Text::as_str), Some("me"));
        assert_eq!(connect.password.as_deref(), Some(&b"secret"[..]));
        let said: Vec<_> = connect.properties.iter().map(|property| property.id()).collect();
        let expected: &[u8] = if version == Version::V5 { &[0x11, 0x21, 0x27, 0x22] } else { &[] };
        assert_eq!(said, expected, "session expiry, receive maximum, packet size, aliases");
    }
}

#[test]
fn messages_of_every_qos_are_settled_in_order() {
    for version in VERSIONS {
        let mut rig = Rig::up(version, mqtt().topic_aliases(0));
        for qos in [Qos::AtLeastOnce, Qos::AtMostOnce, Qos::ExactlyOnce] {
            rig.send(publish("a", "x", qos));
        }
        let ids: Vec<_> = rig
            .take()
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => (publish.qos as u8, publish.packet_id, publish.dup),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, [(1, Some(id(1)), false), (0, None, false), (2, Some(id(3)), false)]);
        rig.say(&Packet::PubRec(Ack::new(id(3))));
        assert_eq!(rig.take(), [Packet::PubRel(Ack::new(id(3)))]);
        rig.say(&Packet::PubComp(Ack::new(id(3))));
        assert_eq!(rig.events, [], "the first is not settled");
        rig.say(&Packet::PubAck(Ack::new(id(1))));
        let settled = rig.events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>();
        assert_eq!(settled, [Event::Acknowledged { through: Ticket(3) }]);
    }
}

#[test]
fn a_message_that_needs_no_acknowledgement_is_settled_when_it_has_left_and_never_sent_again() {
    let mut rig = Rig::up(Version::V3, mqtt());
    rig.send(publish("a", "1", Qos::AtLeastOnce));
    rig.send(publish("a", "2", Qos::AtMostOnce));
    rig.cut();
    rig.accept(true);
    rig.forget();
    rig.say(&Packet::PubAck(Ack::new(id(1))));
    assert_eq!(rig.saw("acknowledged"), 1);
    let mut rig = Rig::up(Version::V3, mqtt());
    rig.send(publish("a", "2", Qos::AtMostOnce));
    assert_eq!(rig.names(), ["acknowledged"]);
}

#[test]
fn a_message_that_waits_to_leave_is_not_settled_by_what_comes_meanwhile() {
    let mut rig = Rig::up(Version::V5, mqtt());
    let epoch = rig.open.unwrap();
    rig.client.send(rig.now, publish("a", "1", Qos::AtLeastOnce)).unwrap();
    let count = rig.client.transmit().len();
    rig.client.handle_input(rig.now, Input::Written { epoch, count });
    rig.client.send(rig.now, publish("a", "2", Qos::AtMostOnce)).unwrap();
    // PUBACK of the first, while the driver cannot write.
    rig.client.handle_input(rig.now, Input::Received { epoch, bytes: &[0x40, 2, 0, 1] });
    assert_eq!(rig.client.poll_event(rig.now), Some(Event::Acknowledged { through: Ticket(1) }));
    let count = rig.client.transmit().len();
    rig.client.handle_input(rig.now, Input::Written { epoch, count: count - 1 });
    assert_eq!(rig.client.poll_event(rig.now), None);
    rig.client.handle_input(rig.now, Input::Written { epoch, count: 1 });
    assert_eq!(rig.client.poll_event(rig.now), Some(Event::Acknowledged { through: Ticket(2) }));
}

#[test]
fn what_is_not_settled_leaves_again_on_the_next_connection_with_the_same_identifiers() {
    for version in VERSIONS {
        let mut rig = Rig::up(version, mqtt().topic_aliases(0));
        rig.send(publish("a", "0", Qos::AtMostOnce));
        rig.send(publish("a", "1", Qos::AtLeastOnce));
        rig.send(publish("a", "2", Qos::ExactlyOnce));
        rig.send(publish("a", "3", Qos::ExactlyOnce));
        rig.say(&Packet::PubRec(Ack::new(id(3))));
        rig.cut();
        rig.accept(true);
        let again = rig.take();
        let Some((Packet::Connect(_), again)) = rig_split(&again) else { panic!("{again:?}") };
        let dup = |payload: &'static str, qos, number| {
            Packet::Publish(Publish { dup: true, qos, packet_id: Some(id(number)), ..publication("a", payload) })
        };
        let expected = [dup("1", Qos::AtLeastOnce, 2), Packet::PubRel(Ack::new(id(3))), dup("3", Qos::ExactlyOnce, 4)];
        assert_eq!(again, expected);
        let up = rig.events.iter().find_map(|(_, event)| match event {
            Event::Up { resumed, in_doubt, .. } => Some((*resumed, *in_doubt)),
            _ => None,
        });
        assert_eq!(up, Some((true, 0)));
        // A server that had finished does not know the identifier any more.
        let reason = if version == Version::V5 { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND } else { ReasonCode::SUCCESS };
        rig.say_all(&[
            Packet::PubAck(Ack::new(id(2))),
            Packet::PubComp(Ack { reason, ..Ack::new(id(3)) }),
            Packet::PubRec(Ack::new(id(4))),
            Packet::PubComp(Ack::new(id(4))),
        ]);
        assert_eq!(rig.events.last().unwrap().1, Event::Acknowledged { through: Ticket(4) });
        assert_eq!(rig.saw("dropped"), 0);
    }
}

fn rig_split<'a>(packets: &'a [Packet<'static>]) -> Option<(&'a Packet<'static>, &'a [Packet<'static>])> {
    // What left before the cut is in front.
    let at = packets.iter().rposition(|packet| matches!(packet, Packet::Connect(_)))?;
    Some((&packets[at], &packets[at + 1..]))
}

#[test]
fn a_server_that_lost_the_session_gets_subscriptions_first_and_messages_as_if_new() {
    for version in VERSIONS {
        let mut rig = Rig::up(version, mqtt().topic_aliases(0));
        rig.answers = true;
        rig.send(subscribe("in/#", Qos::ExactlyOnce));
        rig.send(subscribe("other/+", Qos::AtLeastOnce));
        rig.answers = false;
        rig.send(publish("a", "1", Qos::AtLeastOnce));
        rig.send(publish("a", "2", Qos::ExactlyOnce));
        rig.say(&Packet::PubRec(Ack::new(id(4))));
        rig.cut();
        rig.forget();
        rig.accept(false);
        let packets = rig.take();
        let Packet::Subscribe(renewed) = &packets[0] else { panic!("{packets:?}") };
        let filters: Vec<_> = renewed.subscriptions.iter().map(|one| (one.filter.as_str(), one.qos as u8)).collect();
        assert_eq!(filters, [("in/#", 2), ("other/+", 1)]);
        let fresh = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(3)), ..publication("a", "1") };
        assert_eq!(packets[1..], [Packet::Publish(fresh)], "what the server had received is its own business");
        rig.say(&Packet::PubAck(Ack::new(id(3))));
        assert!(rig.events.iter().any(|(_, event)| *event == Event::Acknowledged { through: Ticket(4) }));
    }
}

#[test]
fn subscriptions_are_not_renewed_while_the_server_holds_the_session() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    rig.send(subscribe("in/#", Qos::AtLeastOnce));
    rig.cut();
    rig.forget();
    rig.accept(true);
    assert_eq!(rig.take(), []);
}

#[test]
fn a_subscription_that_was_ended_is_not_renewed_and_one_that_cannot_be_is_reported() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    rig.send(subscribe("a", Qos::AtLeastOnce));
    rig.send(subscribe("b", Qos::AtLeastOnce));
    rig.send(subscribe("c", Qos::AtLeastOnce));
    rig.send(Unsubscribe::from(vec![Filter::new("b").unwrap()]).into_message().unwrap());
    let answer = rig.events.iter().rev().find_map(|(_, event)| match event {
        Event::Answered { ticket, answer } => Some((*ticket, answer.clone())),
        _ => None,
    });
    let (ticket, answer) = answer.unwrap();
    assert_eq!(ticket, Some(Ticket(4)));
    let answer = Answer::of(&answer).unwrap();
    assert!(answer.to_unsubscribe);
    assert_eq!(answer.results, [(Filter::new("b").unwrap(), ReasonCode::SUCCESS)]);
    rig.answers = false;
    for round in 0..2 {
        rig.cut();
        rig.forget();
        rig.accept(false);
        let [Packet::Subscribe(renewed)] = &rig.take()[..] else { panic!("one SUBSCRIBE") };
        let filters: Vec<_> = renewed.subscriptions.iter().map(|one| one.filter.as_str()).collect();
        assert_eq!(filters, if round == 0 { &["a", "c"][..] } else { &["c"] });
        let refused = vec![ReasonCode::NOT_AUTHORIZED, ReasonCode::GRANTED_QOS_1];
        let reasons = if round == 0 { refused } else { vec![ReasonCode::GRANTED_QOS_1] };
        rig.say(&Packet::SubAck(SubAck::new(renewed.packet_id, reasons)));
        let lost: Vec<_> = rig.events.iter().filter(|(_, event)| matches!(event, Event::Answered { .. })).collect();
        assert_eq!(lost.len(), 1 - round);
        if let Some((_, Event::Answered { ticket, answer })) = lost.first() {
            assert_eq!(*ticket, None);
            assert_eq!(Answer::of(answer).unwrap().results, [(Filter::new("a").unwrap(), ReasonCode::NOT_AUTHORIZED)]);
        }
    }
}

#[test]
fn a_subscription_keeps_its_identifier_and_options_when_it_is_renewed() {
    let id = SubscriptionId::new(300).unwrap();
    let mut subscribe = keepbeat_core::wire::mqtt::Subscribe::to(vec![keepbeat_core::wire::mqtt::Subscription {
        no_local: true,
        ..keepbeat_core::wire::mqtt::Subscription::new(Filter::new("a").unwrap(), Qos::ExactlyOnce)
    }]);
    subscribe.properties = Properties::NONE.with(&Property::SubscriptionIdentifier(id)).unwrap();
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    rig.send(subscribe.clone().into_message().unwrap());
    rig.cut();
    rig.forget();
    rig.accept(false);
    let [Packet::Subscribe(renewed)] = &rig.take()[..] else { panic!("one SUBSCRIBE") };
    assert_eq!((&renewed.properties, &renewed.subscriptions), (&subscribe.properties, &subscribe.subscriptions));
}

#[test]
fn incoming_messages_are_acknowledged_when_the_application_takes_them() {
    for version in VERSIONS {
        let mut rig = Rig::up(version, mqtt());
        rig.looks = false;
        for (qos, number) in [(Qos::AtLeastOnce, 7), (Qos::ExactlyOnce, 8)] {
            rig.say(&Packet::Publish(Publish { qos, packet_id: Some(id(number)), ..publication("in", "x") }));
        }
        rig.say(&Packet::Publish(publication("in", "y")));
        assert_eq!(rig.take(), []);
        rig.looks = true;
        rig.turn();
        assert_eq!(rig.messages(), ["x", "x", "y"]);
        assert_eq!(rig.take(), [Packet::PubAck(Ack::new(id(7))), Packet::PubRec(Ack::new(id(8)))]);
        rig.say(&Packet::PubRel(Ack::new(id(8))));
        assert_eq!(rig.take(), [Packet::PubComp(Ack::new(id(8)))]);
        rig.say(&Packet::PubRel(Ack::new(id(8))));
        let reason = if version == Version::V5 { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND } else { ReasonCode::SUCCESS };
        assert_eq!(rig.take(), [Packet::PubComp(Ack { reason, ..Ack::new(id(8)) })]);
    }
}

#[test]
fn an_application_may_acknowledge_by_itself() {
    let mut rig = Rig::up(Version::V5, mqtt().manual_acknowledgements());
    for number in [1, 2] {
        let qos = Qos::AtLeastOnce;
        rig.say(&Packet::Publish(Publish { qos, packet_id: Some(id(number)), ..publication("in", "x") }));
    }
    assert_eq!((rig.saw("message"), rig.take()), (2, vec![]));
    assert!(rig.client.acknowledge(rig.now));
    rig.turn();
    assert_eq!(rig.take(), [Packet::PubAck(Ack::new(id(1)))]);
    assert!(rig.client.acknowledge(rig.now));
    assert!(!rig.client.acknowledge(rig.now), "there were two");
    rig.turn();
    assert_eq!(rig.take(), [Packet::PubAck(Ack::new(id(2)))]);
}

#[test]
fn a_message_that_comes_again_is_delivered_once_if_it_is_to_be() {
    for version in VERSIONS {
        let again = |dup| {
            Packet::Publish(Publish { dup, qos: Qos::ExactlyOnce, packet_id: Some(id(5)), ..publication("in", "x") })
        };
        // While it waits for the application.
        let mut rig = Rig::up(version, mqtt());
        rig.looks = false;
        rig.say(&again(false));
        rig.cut();
        rig.accept(true);
        rig.heard.clear();
        rig.say(&again(true));
        rig.looks = true;
        rig.turn();
        assert_eq!(rig.messages(), ["x"]);
        assert_eq!(rig.take(), [Packet::PubRec(Ack::new(id(5)))]);
        // After it was acknowledged, and our word was lost.
        rig.cut();
        rig.accept(true);
        rig.heard.clear();
        rig.say(&again(true));
        assert_eq!(rig.messages(), ["x"]);
        assert_eq!(rig.take(), [Packet::PubRec(Ack::new(id(5)))]);
        rig.say(&Packet::PubRel(Ack::new(id(5))));
        rig.heard.clear();
        // The identifier is free again.
        rig.say(&again(false));
        assert_eq!(rig.messages(), ["x", "x"]);
    }
}

#[test]
fn a_message_that_was_taken_while_there_was_no_connection_is_acknowledged_when_it_comes_again() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let again = |dup| Packet::Publish(Publish { dup, qos, packet_id: Some(id(5)), ..publication("in", "x") });
        let mut rig = Rig::up(Version::V5, mqtt());
        rig.looks = false;
        rig.say(&again(false));
        rig.end();
        rig.looks = true;
        rig.turn();
        while rig.open.is_none() {
            rig.advance(100);
        }
        rig.accept(true);
        rig.heard.clear();
        rig.say(&again(true));
        assert_eq!(rig.messages(), ["x"]);
        let ack = Ack::new(id(5));
        let answer = if qos == Qos::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) };
        assert_eq!(rig.take(), [answer]);
    }
}

#[test]
fn what_came_in_a_session_that_the_server_lost_is_not_acknowledged_in_the_next() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.looks = false;
    let come = |payload: &'static str| {
        Packet::Publish(Publish { qos: Qos::ExactlyOnce, packet_id: Some(id(5)), ..publication("in", payload) })
    };
    rig.say(&come("old"));
    rig.cut();
    rig.accept(false);
    rig.heard.clear();
    rig.say(&come("new"));
    rig.looks = true;
    rig.turn();
    assert_eq!(rig.messages(), ["old", "new"]);
    assert_eq!(rig.take(), [Packet::PubRec(Ack::new(id(5)))]);
}

#[test]
fn a_name_that_the_server_made_up_is_kept() {
    let mut rig = Rig::new(Version::V5, mqtt().assigned_client_id());
    let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
    assert_eq!(connect.client_id.as_str(), "");
    let assigned = Property::AssignedClientIdentifier(Text::new("made-up").unwrap());
    rig.accept_with(false, Properties::NONE.with(&assigned).unwrap());
    rig.cut();
    let [.., Packet::Connect(connect)] = &rig.take()[..] else { panic!("a second CONNECT") };
    assert_eq!(connect.client_id.as_str(), "made-up");
}

#[test]
fn a_clean_start_is_asked_for_once_and_in_the_older_version_always() {
    for (version, again) in [(Version::V5, false), (Version::V3, true)] {
        let mut rig = Rig::new(version, mqtt().clean_start());
        rig.accept(false);
        rig.cut();
        let starts: Vec<_> = rig
            .take()
            .into_iter()
            .filter_map(|packet| match packet {
                Packet::Connect(connect) => Some(connect.clean_start),
                _ => None,
            })
            .collect();
        assert_eq!(starts, [true, again]);
    }
}
