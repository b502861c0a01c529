//! Sessions of MQTT that begin while nobody knows: a renewal that was cut off, an answer to CONNECT that was lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::mqtt::{Rig, id, mqtt, publication, subscribe};
use keepbeat_core::wire::mqtt::{Ack, ConnAck, Packet, Publish, Qos, ReasonCode, Version};

#[test]
fn a_subscription_is_renewed_on_every_connection_until_the_server_has_answered() {
    for version in [Version::V3, Version::V5] {
        let mut rig = Rig::up(version, mqtt());
        rig.answers = true;
        rig.send(subscribe("in/#", Qos::AtLeastOnce));
        rig.answers = false;
        // The new session is there on the connections after this one, but perhaps without the subscription.
        for (present, answers) in [(false, false), (true, false), (true, true)] {
            rig.cut();
            rig.forget();
            rig.answers = answers;
            rig.accept(present);
            let packets = rig.take();
            assert!(matches!(&packets[..], [Packet::Subscribe(_)]), "{present} {packets:?}");
        }
        rig.cut();
        rig.forget();
        rig.accept(true);
        assert_eq!(rig.take(), []);
    }
}

#[test]
fn a_new_session_of_which_the_answer_was_lost_has_the_subscriptions() {
    for (was_refused, renews) in [(false, true), (true, false)] {
        let mut rig = Rig::up(Version::V5, mqtt());
        rig.answers = true;
        rig.send(subscribe("in/#", Qos::AtLeastOnce));
        rig.cut();
        if was_refused {
            rig.say(&Packet::ConnAck(ConnAck::new(false, ReasonCode::SERVER_BUSY)));
            while rig.open.is_none() {
                rig.advance(100);
            }
        } else {
            // The server has heard CONNECT, and has begun a new session.
            rig.cut();
        }
        rig.forget();
        rig.accept(true);
        assert_eq!(matches!(&rig.take()[..], [Packet::Subscribe(_)]), renews);
    }
}

#[test]
fn a_new_session_of_which_the_answer_was_lost_has_its_own_identifiers() {
    for (dup, was_answered, is_new) in [(false, false, true), (true, false, false), (false, true, false)] {
        for looks in [true, false] {
            let come = |dup| {
                Packet::Publish(Publish {
                    dup,
                    qos: Qos::ExactlyOnce,
                    packet_id: Some(id(5)),
                    ..publication("in", "x")
                })
            };
            let mut rig = Rig::up(Version::V5, mqtt());
            rig.looks = looks;
            rig.say(&come(false));
            rig.cut();
            if !was_answered {
                rig.cut();
            }
            rig.accept(true);
            rig.heard.clear();
            rig.say(&come(dup));
            rig.looks = true;
            rig.turn();
            assert_eq!(rig.messages().len(), 1 + usize::from(is_new), "{dup} {was_answered} {looks}");
            assert_eq!(rig.take(), [Packet::PubRec(Ack::new(id(5)))]);
        }
    }
}

#[test]
fn a_message_that_may_be_of_a_session_that_began_unseen_had_better_come_twice() {
    for looks in [true, false] {
        let come = |dup| {
            Packet::Publish(Publish { dup, qos: Qos::AtLeastOnce, packet_id: Some(id(5)), ..publication("in", "x") })
        };
        let mut rig = Rig::up(Version::V5, mqtt());
        rig.looks = false;
        rig.say(&come(false));
        rig.end();
        rig.looks = looks;
        rig.turn();
        while rig.open.is_none() {
            rig.advance(100);
        }
        // Not answered.
        rig.cut();
        rig.accept(true);
        rig.heard.clear();
        rig.say(&come(true));
        rig.looks = true;
        rig.turn();
        assert_eq!((rig.messages().len(), rig.take()), (2, vec![Packet::PubAck(Ack::new(id(5)))]));
    }
}
