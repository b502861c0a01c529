//! Links over MQTT whose process is killed and begins anew with what its store has kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::mqtt::{Rig, client, id, mqtt, publication, publish, subscribe};
use keepbeat_core::DownCause;
use keepbeat_core::client::{Event, Input, LinkState};
use keepbeat_core::session::{Room, SessionStore as _, StoreError, StoreKey, Ticket};
use keepbeat_core::wire::mqtt::{
    Ack, Filter, MqttConfigBuilder, Packet, Properties, Property, Publish, Qos, Subscription, Text, Version,
};

fn durable(version: Version, wire: MqttConfigBuilder) -> Rig {
    let mut rig = Rig::durable(version, client(wire.version(version).topic_aliases(0)));
    rig.accept(false);
    rig.forget();
    rig
}

/// What is kept, but for the name of the server.
fn rooms(rig: &mut Rig) -> Vec<(Room, u64)> {
    let entries = rig.store.load().unwrap().into_iter().map(|(key, _)| (key.room, key.number));
    entries.filter(|entry| *entry != (Room::Name, 1)).collect()
}

#[test]
fn what_was_accepted_leaves_again_with_the_same_identifiers() {
    for version in [Version::V3, Version::V5] {
        let mut rig = durable(version, mqtt());
        rig.send(publish("a", "0", Qos::AtMostOnce));
        rig.send(publish("a", "1", Qos::AtLeastOnce));
        rig.send(publish("a", "2", Qos::ExactlyOnce));
        rig.send(publish("a", "3", Qos::ExactlyOnce));
        rig.say(&Packet::PubRec(Ack::new(id(3))));
        rig.restart();
        rig.forget();
        rig.accept(true);
        let dup = |payload: &'static str, qos, number| {
            Packet::Publish(Publish { dup: true, qos, packet_id: Some(id(number)), ..publication("a", payload) })
        };
        let expected = [dup("1", Qos::AtLeastOnce, 2), Packet::PubRel(Ack::new(id(3))), dup("3", Qos::ExactlyOnce, 4)];
        assert_eq!(rig.take(), expected);
        rig.send(publish("a", "4", Qos::AtLeastOnce));
        let [Packet::Publish(next)] = &rig.take()[..] else { panic!("one PUBLISH") };
        assert_eq!((next.packet_id, next.dup), (Some(id(5)), false));
        rig.say_all(&[
            Packet::PubAck(Ack::new(id(2))),
            Packet::PubComp(Ack::new(id(3))),
            Packet::PubRec(Ack::new(id(4))),
            Packet::PubComp(Ack::new(id(4))),
            Packet::PubAck(Ack::new(id(5))),
        ]);
        assert_eq!(rig.events.last().unwrap().1, Event::Acknowledged { through: Ticket(5) });
        assert_eq!(rooms(&mut rig), [], "nothing is left to keep");
    }
}

#[test]
fn what_waited_while_the_link_was_down_leaves_after_a_restart() {
    let mut rig = Rig::durable(Version::V5, client(mqtt().topic_aliases(0)));
    rig.send(publish("a", "1", Qos::AtLeastOnce));
    rig.send(subscribe("in", Qos::AtLeastOnce));
    rig.restart();
    rig.forget();
    rig.accept(false);
    let packets = rig.take();
    let fresh = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(1)), ..publication("a", "1") };
    assert_eq!(packets[0], Packet::Publish(fresh));
    assert!(matches!(&packets[1], Packet::Subscribe(subscribe) if subscribe.packet_id == id(2)));
}

#[test]
fn messages_that_were_taken_are_not_taken_again() {
    let mut rig = durable(Version::V5, mqtt());
    let come =
        |dup| Packet::Publish(Publish { dup, qos: Qos::ExactlyOnce, packet_id: Some(id(9)), ..publication("in", "x") });
    rig.say(&come(false));
    assert_eq!(rig.messages(), ["x"]);
    rig.restart();
    rig.accept(true);
    rig.forget();
    rig.say(&come(true));
    assert_eq!((rig.messages(), rig.take()), (vec![], vec![Packet::PubRec(Ack::new(id(9)))]));
    rig.say(&Packet::PubRel(Ack::new(id(9))));
    assert_eq!(rig.take(), [Packet::PubComp(Ack::new(id(9)))]);
    assert_eq!(rooms(&mut rig), []);
}

#[test]
fn messages_that_were_taken_while_there_was_no_connection_are_not_taken_again() {
    for asks in [false, true] {
        let mut rig = durable(Version::V5, mqtt());
        rig.looks = false;
        let come = |dup| {
            Packet::Publish(Publish { dup, qos: Qos::ExactlyOnce, packet_id: Some(id(9)), ..publication("in", "x") })
        };
        rig.say(&come(false));
        if asks {
            rig.cut();
        } else {
            rig.end();
        }
        rig.looks = true;
        rig.turn();
        assert_eq!((rig.messages(), rooms(&mut rig)), (vec!["x".into()], vec![(Room::Taken, 9)]));
        rig.restart();
        rig.accept(true);
        rig.forget();
        rig.say(&come(true));
        assert_eq!((rig.messages(), rig.take()), (vec![], vec![Packet::PubRec(Ack::new(id(9)))]));
    }
}

#[test]
fn subscriptions_and_a_name_that_was_made_up_are_kept() {
    let mut rig = Rig::durable(Version::V5, client(mqtt().assigned_client_id()));
    let assigned = Property::AssignedClientIdentifier(Text::new("made-up").unwrap());
    rig.accept_with(false, Properties::NONE.with(&assigned).unwrap());
    rig.answers = true;
    rig.send(subscribe("a", Qos::AtLeastOnce));
    rig.send(subscribe("b", Qos::ExactlyOnce));
    rig.send(subscribe("b", Qos::AtMostOnce));
    rig.restart();
    rig.answers = false;
    rig.accept(false);
    let packets = rig.take();
    let [.., Packet::Connect(connect), Packet::Subscribe(renewed)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(connect.client_id.as_str(), "made-up");
    let filter = |name| Filter::new(name).unwrap();
    let expected = [Subscription::new(filter("a"), Qos::AtLeastOnce), Subscription::new(filter("b"), Qos::AtMostOnce)];
    assert_eq!(renewed.subscriptions, expected);
}

#[test]
fn the_next_process_asks_for_subscriptions_again() {
    let mut rig = durable(Version::V5, mqtt());
    rig.answers = true;
    rig.send(subscribe("a", Qos::AtLeastOnce));
    rig.restart();
    rig.forget();
    rig.accept(true);
    assert!(
        matches!(&rig.take()[..], [Packet::Subscribe(_)]),
        "the one before may have missed that the session was lost"
    );
    rig.cut();
    rig.forget();
    rig.accept(true);
    assert_eq!(rig.take(), []);
}

#[test]
fn a_store_that_fails_closes_the_link_and_hands_the_message_back() {
    let mut rig = durable(Version::V5, mqtt());
    rig.send(publish("a", "1", Qos::AtLeastOnce));
    let message = publish("a", "2", Qos::AtLeastOnce);
    let ticket = rig.client.send(rig.now, message.clone()).unwrap();
    let handed_back = rig.client.store_failed(rig.now, StoreError::new("the disk is full"), Some(ticket));
    assert_eq!(handed_back, Some(message));
    rig.turn();
    assert_eq!(rig.client.state(), LinkState::Closed);
    let (_, down) = rig.downs().pop().unwrap();
    assert_eq!(down.cause, DownCause::Store(StoreError::new("the disk is full")));
    assert_eq!(rig.events.last().unwrap().1, Event::Closed { unacknowledged: 1 });
    rig.client.open(rig.now);
    rig.turn();
    rig.forget();
    rig.accept(true);
    assert_eq!(rig.take().len(), 1);
}

#[test]
fn entries_that_no_link_wrote_are_refused() {
    for (room, number, value) in [
        (Room::Message, 1, &b""[..]),
        (Room::Message, 1, b"\x01\xFF"),
        (Room::Taken, 70_000, b""),
        (Room::Subscription, 1, b"\x01"),
    ] {
        let mut rig = Rig::durable(Version::V5, client(mqtt()));
        let entries = vec![(StoreKey { room, number }, value.into())];
        assert!(rig.client.restore(rig.now, entries).is_err());
    }
}

#[test]
fn a_store_hears_nothing_of_what_it_does_not_keep() {
    let mut rig = durable(Version::V5, mqtt());
    let epoch = rig.open.unwrap();
    rig.client.send(rig.now, publish("a", "x", Qos::AtMostOnce)).unwrap();
    let count = rig.client.transmit().len();
    rig.client.handle_input(rig.now, Input::Written { epoch, count });
    // A PUBREL of nothing.
    rig.client.handle_input(rig.now, Input::Received { epoch, bytes: &[0x62, 2, 0, 9] });
    assert_eq!(rig.client.take_changes(), []);
}

#[test]
fn a_clean_start_is_one_for_every_process() {
    for received in [false, true] {
        let mut rig = Rig::durable(Version::V5, client(mqtt().topic_aliases(0).clean_start()));
        rig.accept(false);
        rig.send(publish("a", "x", Qos::ExactlyOnce));
        if received {
            rig.say(&Packet::PubRec(Ack::new(id(1))));
        }
        rig.forget();
        rig.restart();
        let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
        assert!(connect.clean_start, "{received}");
    }
}
