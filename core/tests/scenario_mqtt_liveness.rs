//! Is the server of a link over MQTT alive, and does it know that we are? Keep-alives, pings and what delays them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::broker::Manner;
use common::mqtt::{Rig, client, id, mqtt, publication, publish, subscribe};
use common::mqtt_world::World;
use common::{SECOND, at, device};
use keepbeat_core::DownCause;
use keepbeat_core::client::{ClientConfig, Event, LinkState};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::{DeathCause, LivenessConfig};
use keepbeat_core::sim::for_each_seed;
use keepbeat_core::wire::mqtt::{Ack, Mqtt, Notice, Packet, Properties, Property, Publish, Qos, ReasonCode, Version};

const VERSIONS: [Version; 2] = [Version::V3, Version::V5];

fn pings(rig: &Rig) -> Vec<u64> {
    rig.heard.iter().filter(|(_, packet)| *packet == Packet::PingReq).map(|(at, _)| *at).collect()
}

#[test]
fn a_server_that_is_dead_is_noticed_although_we_publish_all_the_time() {
    let mut rig = Rig::up(Version::V3, mqtt());
    let mut died = None;
    for second in 0..40 {
        // It takes what we write, and says nothing any more.
        drop(rig.client.send(rig.now, publish("a", "x", Qos::AtMostOnce)));
        rig.turn();
        rig.advance(1000);
        if let (None, Some((_, report))) = (died, rig.downs().first()) {
            assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
            died = Some(second);
        }
    }
    // A ping after 5 to 10 s, 4 s for its answer and 4 more for a last chance.
    assert!(died.is_some_and(|second| (12..=18).contains(&second)), "{died:?}");
    assert!(!pings(&rig).is_empty());
}

#[test]
fn a_server_that_answers_lives_although_it_acknowledges_nothing() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.answers = true;
    rig.advance(100);
    rig.answers = false;
    rig.send(publish("a", "x", Qos::AtLeastOnce));
    for _ in 0..600 {
        rig.advance(1000);
        while let Some(place) = rig.heard.iter().position(|(_, packet)| *packet == Packet::PingReq) {
            rig.heard.remove(place);
            rig.say(&Packet::PingResp);
        }
    }
    assert_eq!((rig.downs().len(), rig.client.unacknowledged()), (0, 1));
}

#[test]
fn one_ping_leaves_per_keep_alive_when_nothing_else_happens() {
    for version in VERSIONS {
        let mut rig = Rig::up(version, mqtt());
        rig.answers = true;
        rig.advance(3_600_000);
        let pings = pings(&rig);
        assert!((360..=361).contains(&pings.len()), "{} in an hour, of 10 s each", pings.len());
        assert!(pings.windows(2).all(|pair| pair[1] - pair[0] == 10_000));
        assert_eq!(rig.heard.len(), pings.len(), "and nothing else");
    }
}

#[test]
fn the_time_for_an_answer_counts_from_when_the_ping_left() {
    let config = client(mqtt().version(Version::V5)).build().unwrap();
    let mut world = World::new(Arc::new(config), Manner::plain(Version::V5), 1);
    world.client.open(world.now);
    world.run_for(SECOND);
    // A slow line: the ping waits behind 100 KiB for more than the time for an answer, and is answered when it has arrived.
    world.up.bandwidth = Some(20_000);
    for number in 0..4 {
        let payload = format!("{number:<25000}");
        world.client.send(world.now, publish("a", &payload, Qos::AtLeastOnce)).unwrap();
    }
    world.run_for(40 * SECOND);
    let downs = world.events.iter().filter(|(_, event)| matches!(event, Event::Down { .. })).count();
    assert_eq!((downs, world.client.unacknowledged()), (0, 0));
}

#[test]
fn a_large_message_on_its_way_is_life() {
    let mut rig = Rig::up(Version::V3, mqtt());
    // 40 s for one message: no ping is answered until it has come.
    let payload = vec![b'x'; 40_000];
    let front = [&b"\x30\xC3\xB8\x02\0\x01t"[..], &payload].concat();
    for piece in front.chunks(1000) {
        rig.advance(1000);
        rig.write(piece);
    }
    assert_eq!((rig.saw("down"), rig.saw("message")), (0, 1));
    // And one that stops on its way is none.
    rig.write(&front[..10_000]);
    rig.forget();
    rig.advance(30_000);
    let (_, report) = rig.downs().remove(0);
    assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
}

#[test]
fn a_keep_alive_of_the_server_holds_in_place_of_ours() {
    for (seconds, interval) in [(1, 1000), (3, 3000), (10, 10_000), (60, 10_000), (0, 10_000)] {
        let mut rig = Rig::new(Version::V5, mqtt());
        rig.answers = true;
        rig.accept_with(false, Properties::NONE.with(&Property::ServerKeepAlive(seconds)).unwrap());
        rig.advance(60_000);
        let pings = pings(&rig);
        assert!(pings[0] <= interval, "{pings:?}");
        assert!(pings.windows(2).all(|pair| pair[1] - pair[0] == interval), "{seconds} s: {pings:?}");
        let granted = rig.events.iter().find_map(|(_, event)| match event {
            Event::Up { interval, .. } => Some(*interval),
            _ => None,
        });
        assert_eq!(granted, Some(Duration::from_millis(interval)));
    }
}

/// A link with beats every few seconds, and a driver whose alarm is late by up to a tenth of that.
fn noisy(version: Version, seed: u64) -> (World, Duration) {
    let prng = &mut Prng::new(seed);
    let interval = prng.span(SECOND, 20 * SECOND);
    let judge = LivenessConfig::builder().interval(interval).reply_timeout(interval / 3).write_stall(interval);
    let config = ClientConfig::<Mqtt>::builder(device("d"))
        .liveness(judge.build().unwrap())
        .wire(mqtt().version(version).build().unwrap());
    let keep_alive = (version == Version::V5 && prng.between(0, 1) == 0).then(|| prng.between(1, 10) as u16);
    let manner = Manner { keep_alive, ..Manner::plain(version) };
    let mut world = World::new(Arc::new(config.build().unwrap()), manner, prng.next_u64());
    let interval = keep_alive.map_or(interval, |seconds| interval.min(u32::from(seconds) * SECOND));
    world.noise = interval / 10;
    world.client.open(world.now);
    world.run_for(SECOND / 5);
    (world, interval)
}

fn assert_never_closed(world: &World, interval: Duration) {
    assert_eq!(world.broker.silences, 0, "the server closed us after 1.5 keep-alives of {interval:?}");
    assert_eq!(world.broker.connects.len(), 1, "{:?}", world.events.last());
    assert_eq!(world.client.state(), LinkState::Up { suspect: false });
}

#[test]
fn a_server_never_misses_us_while_we_are_idle() {
    for_each_seed(|seed| {
        for version in VERSIONS {
            let (mut world, interval) = noisy(version, seed);
            world.run_for(interval * 100);
            assert_never_closed(&world, interval);
        }
    });
}

#[test]
fn a_server_never_misses_us_while_we_only_receive() {
    for_each_seed(|seed| {
        for version in VERSIONS {
            let (mut world, interval) = noisy(version, seed);
            world.client.send(world.now, subscribe("a", Qos::AtMostOnce)).unwrap();
            world.run_for(SECOND / 5);
            for number in 0..600 {
                world.broker.publish("a", number, Qos::AtMostOnce);
                world.run_for(interval / 20);
            }
            let came = world.events.iter().filter(|(_, event)| matches!(event, Event::Message(_))).count();
            assert!(came > 590, "{came}");
            assert_never_closed(&world, interval);
        }
    });
}

#[test]
fn a_server_never_misses_us_while_beats_wait_behind_large_messages() {
    for_each_seed(|seed| {
        for version in VERSIONS {
            let (mut world, interval) = noisy(version, seed);
            // Each takes up to a fifth of the interval, and two of them are in front of a beat at most.
            let length = 8000;
            world.up.bandwidth = Some(length * 5 * 1000 / interval.as_millis() as u64);
            for _ in 0..150 {
                if world.client.unacknowledged() < 2 {
                    let payload = format!("{:<1$}", 1, length as usize);
                    world.client.send(world.now, publish("a", &payload, Qos::AtLeastOnce)).unwrap();
                }
                world.run_for(interval / 10);
            }
            assert!(world.broker.came.len() > 30, "{}", world.broker.came.len());
            assert_never_closed(&world, interval);
        }
    });
}

/// What becomes of a client that is thrown out as soon as it is in, for so many seconds: its connections, and whether it was told of
/// another client with its name.
fn thrown_out(version: Version, seconds: u64) -> (u64, bool) {
    let mut rig = Rig::new(version, mqtt());
    let (mut connections, mut conflict) = (0, false);
    while rig.now < at(seconds * 1000) {
        if rig.open.is_some() {
            connections += 1;
            rig.accept(true);
            rig.advance(50);
            match version {
                Version::V5 => rig.say(&Packet::Disconnect(Notice::new(ReasonCode::SESSION_TAKEN_OVER))),
                Version::V3 => rig.end(),
            }
        }
        rig.advance(50);
        conflict |= rig.events.iter().any(|(_, event)| matches!(event, Event::Down { conflict: true, .. }));
        rig.events.clear();
    }
    (connections, conflict)
}

#[test]
fn two_clients_with_one_name_slow_down() {
    let (connections, conflict) = thrown_out(Version::V5, 600);
    assert!((10..=25).contains(&connections) && conflict, "{connections} in ten minutes, {conflict}");
    // In the older version the server has no word for it; that it happens again and again tells.
    let (connections, conflict) = thrown_out(Version::V3, 600);
    assert!((10..=25).contains(&connections) && conflict, "{connections} in ten minutes, {conflict}");
}

#[test]
fn a_server_that_is_pinged_behind_a_full_inbox_hears_from_us() {
    // Nothing is read, so answers are not seen; but pings leave, so that the server keeps the connection.
    let config = client(mqtt()).inbox(keepbeat_core::session::QueueLimits::new(1, 1000).unwrap());
    let mut rig = Rig::of(Version::V5, config);
    rig.accept(false);
    rig.looks = false;
    rig.forget();
    let come = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(1)), ..publication("in", "x") };
    rig.say(&Packet::Publish(come));
    rig.advance(25_000);
    assert!(pings(&rig).len() >= 2, "{:?}", rig.heard);
    rig.looks = true;
    rig.turn();
    assert_eq!((rig.saw("message"), rig.saw("down")), (1, 0));
    assert!(rig.heard.iter().any(|(_, packet)| *packet == Packet::PubAck(Ack::new(id(1)))));
}

#[test]
fn late_answers_belong_to_the_pings_in_their_order() {
    let mut rig = Rig::up(Version::V5, mqtt());
    let (mut heard, mut answered) = (0, 0);
    for _ in 0..6000 {
        rig.advance(10);
        heard = heard.max(pings(&rig).len());
        if let Some(at) = pings(&rig).get(answered)
            && rig.now.as_millis() >= at + 3900
        {
            answered += 1;
            rig.say(&Packet::PingResp);
        }
    }
    let rtt = rig.client.rtt().unwrap();
    assert!(heard > 5 && rtt.smoothed() >= Duration::from_millis(3800), "{heard} {rtt:?}");
}

#[test]
fn a_ping_that_was_not_answered_on_one_connection_does_not_count_on_the_next() {
    let mut rig = Rig::up(Version::V5, mqtt());
    rig.advance(10_000);
    rig.cut();
    rig.answers = true;
    rig.forget();
    rig.accept(true);
    rig.advance(60_000);
    assert_eq!((rig.saw("down"), pings(&rig).len() >= 6), (0, true));
}

#[test]
fn a_short_keep_alive_holds_although_the_server_was_slow_to_let_us_in() {
    let mut rig = Rig::new(Version::V5, mqtt());
    rig.answers = true;
    rig.advance(9000);
    rig.accept_with(false, Properties::NONE.with(&Property::ServerKeepAlive(1)).unwrap());
    rig.forget();
    rig.advance(5000);
    assert_eq!(pings(&rig).len(), 5);
}
