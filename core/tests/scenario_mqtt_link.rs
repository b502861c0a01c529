//! What is true of every link is true over MQTT: limits, credentials, sockets that take nothing, packets that never end, suspends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::mqtt::{Rig, client, id, mqtt, publish};
use common::{SECOND, at};
use keepbeat_core::DownCause;
use keepbeat_core::client::{Event, Input, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::reconnect::Hint;
use keepbeat_core::session::{DropReason, Overflow, QueueLimits, Ticket};
use keepbeat_core::wire::mqtt::{
    Ack, ConnAck, MqttConfigError, Packet, Properties, Property, Publish, Qos, ReasonCode, Topic, Version, Will,
};

fn dropped(rig: &Rig) -> Vec<(Ticket, DropReason)> {
    let dropped = rig.events.iter().filter_map(|(_, event)| match event {
        Event::Dropped(dropped) => Some((dropped.ticket, dropped.reason)),
        _ => None,
    });
    dropped.collect()
}

fn payloads(rig: &mut Rig) -> Vec<Vec<u8>> {
    let publishes = rig.take().into_iter().filter_map(|packet| match packet {
        Packet::Publish(Publish { payload, .. }) => Some(payload.to_vec()),
        _ => None,
    });
    publishes.collect()
}

#[test]
fn the_oldest_message_makes_room_for_a_newer_one_if_it_has_not_left() {
    let limits = QueueLimits::new(2, 1000).unwrap().overflow(Overflow::DropOldest);
    let mut rig = Rig::of(Version::V5, client(mqtt()).outbox(limits));
    for payload in ["1", "2", "3"] {
        rig.send(publish("a", payload, Qos::AtLeastOnce));
    }
    assert_eq!(dropped(&rig), [(Ticket(1), DropReason::Overflow)]);
    rig.accept(false);
    assert_eq!(payloads(&mut rig), [b"2", b"3"]);
}

#[test]
fn a_message_that_is_too_old_is_dropped_before_it_leaves() {
    let mut rig = Rig::of(Version::V5, client(mqtt()).outbox(QueueLimits::default().max_age(5 * SECOND)));
    rig.send(publish("a", "old", Qos::AtLeastOnce));
    rig.advance(4000);
    rig.send(publish("a", "new", Qos::AtLeastOnce));
    rig.advance(1500);
    assert_eq!(dropped(&rig), [(Ticket(1), DropReason::Expired)]);
    rig.accept(false);
    assert_eq!(payloads(&mut rig), [b"new"]);
}

#[test]
fn credentials_that_the_server_refuses_are_asked_for_once_more() {
    for code in [ReasonCode::BAD_USER_NAME_OR_PASSWORD, ReasonCode::NOT_AUTHORIZED] {
        let mut rig = Rig::of(Version::V5, client(mqtt().user_name("me")).credentials_from_provider());
        rig.say(&Packet::ConnAck(ConnAck::new(false, code)));
        while rig.open.is_none() {
            rig.advance(100);
        }
        let passwords: Vec<_> = rig
            .take()
            .into_iter()
            .map(|packet| match packet {
                Packet::Connect(connect) => connect.password.unwrap().to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            (&rig.asked[..], &passwords[..]),
            (&[false, true][..], &[b"secret 1".to_vec(), b"secret 2".to_vec()][..])
        );
        rig.say(&Packet::ConnAck(ConnAck::new(false, code)));
        assert!(rig.client.state().is_over(), "{code:?}");
    }
}

#[test]
fn a_socket_that_takes_nothing_is_left() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.writes = false;
    rig.send(publish("a", &"x".repeat(100_000), Qos::AtLeastOnce));
    rig.advance(60_000);
    let causes: Vec<_> = rig.downs().into_iter().map(|(_, report)| report.cause).collect();
    assert!(matches!(causes.first(), Some(DownCause::Dead(_))), "{causes:?}");
}

#[test]
fn a_packet_that_never_ends_is_no_life() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.write(&[0x30, 0xff, 0xff, 0x03, 0, 2, b'i', b'n', 0]);
    for _ in 0..600 {
        rig.advance(1000);
        if rig.open.is_none() {
            break;
        }
        rig.write(b"x");
    }
    let causes: Vec<_> = rig.downs().into_iter().map(|(_, report)| report.cause).collect();
    assert!(matches!(&causes[..], [DownCause::Dead(DeathCause::FrameTooSlow | DeathCause::NoReply)]), "{causes:?}");
}

#[test]
fn another_network_has_the_server_pinged_at_once() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.advance(1000);
    rig.client.hint(rig.now, Hint::NetworkUp);
    rig.turn();
    assert_eq!(rig.take(), [Packet::PingReq]);
}

#[test]
fn after_a_suspend_the_server_is_asked_before_it_is_judged() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    rig.advance(25_000);
    rig.forget();
    rig.now = at(3_600_000);
    rig.turn();
    assert_eq!((rig.take(), rig.saw("down")), (vec![Packet::PingReq], 0));
    assert!(matches!(rig.client.state(), LinkState::Up { .. }));
    rig.answers = false;
    rig.now = at(7_200_000);
    rig.turn();
    assert_eq!((rig.take(), rig.saw("down")), (vec![Packet::PingReq], 0));
    rig.advance(20_000);
    assert!(rig.saw("down") >= 1);
}

#[test]
fn a_will_says_how_long_it_is_to_wait() {
    let delay = Property::WillDelayInterval(30);
    let properties = Properties::NONE.with(&delay).unwrap();
    let will = Will { properties, ..Will::new(Topic::new("gone").unwrap(), "d") };
    let mut rig = Rig::new(Version::V5, mqtt().will(will));
    let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
    assert_eq!(connect.will.as_ref().unwrap().properties.iter().collect::<Vec<_>>(), [delay]);
}

#[test]
fn settings_that_cannot_be_are_errors_that_say_which() {
    let error = |wire: keepbeat_core::wire::mqtt::MqttConfigBuilder| wire.build().map(|_| ()).unwrap_err();
    assert_eq!(error(mqtt().message_limit(63)), MqttConfigError::Limits { message_limit: 63, receive_maximum: 256 });
    assert!(error(mqtt().receive_maximum(0)).to_string().contains("at least 1 message"));
    let older = || mqtt().version(Version::V3);
    assert_eq!(error(older().assigned_client_id()), MqttConfigError::Version { setting: "assigned_client_id" });
    let user = Property::RequestProblemInformation(false);
    let properties = Properties::NONE.with(&user).unwrap();
    assert_eq!(error(older().properties(properties)), MqttConfigError::Version { setting: "properties" });
    assert!(matches!(error(mqtt().user_name("\0")), MqttConfigError::UserName(_)));
}

#[test]
fn a_large_message_that_leaves_slowly_is_no_death_although_the_ping_waits_behind_it() {
    let mut rig = Rig::up(Version::V5, mqtt().topic_aliases(0));
    rig.writes = false;
    rig.send(publish("a", &"x".repeat(900_000), Qos::AtMostOnce));
    let epoch = rig.open.unwrap();
    let mut last = Vec::new();
    // 20 kB in 0.8 s: it takes longer than the server has to answer a ping.
    while !rig.client.transmit().is_empty() {
        let count = rig.client.transmit().len().min(20_000);
        last = rig.client.transmit()[..count].to_vec();
        rig.client.handle_input(rig.now, Input::Written { epoch, count });
        rig.advance(800);
        assert_eq!(rig.saw("down"), 0, "at {:?}", rig.now);
    }
    assert_eq!(last.last_chunk(), Some(&[0xC0, 0]), "a ping left behind it");
    assert!(rig.now > at(36_000));
    rig.say(&Packet::PingResp);
    // What does not move any more is a death.
    rig.send(publish("a", &"x".repeat(900_000), Qos::AtMostOnce));
    rig.client.handle_input(rig.now, Input::Written { epoch, count: 20_000 });
    rig.advance(30_000);
    assert_eq!(rig.downs()[0].1.cause, DownCause::Dead(DeathCause::WriteStalled));
}

#[test]
fn a_server_that_cannot_say_how_many_messages_it_takes_gets_twenty_at_once() {
    for (version, at_once) in [(Version::V3, 20), (Version::V5, 30)] {
        let mut rig = Rig::up(version, mqtt());
        for number in 0..30 {
            rig.send(publish("a", &number.to_string(), Qos::ExactlyOnce));
        }
        assert_eq!(payloads(&mut rig).len(), at_once);
        rig.say_all(&[Packet::PubRec(Ack::new(id(1))), Packet::PubComp(Ack::new(id(1)))]);
        assert_eq!(payloads(&mut rig).len(), usize::from(at_once < 30));
    }
}
