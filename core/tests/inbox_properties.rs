//! Small inboxes, slow applications, and reads that end anywhere: what a full inbox leaves unread is heard in its turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::websocket::{Served, server as websocket_server, websocket};
use common::{Acceptor, encoded, hello, server};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{ServerEvent, ServerInput};
use keepbeat_core::session::QueueLimits;
use keepbeat_core::sim::for_each_seed_of;
use keepbeat_core::wire::{Frame, Hello, Reason};
use keepbeat_core::{DownCause, Failure};

const SEEDS: &str = "KEEPBEAT_SEEDS";

fn room(prng: &mut Prng) -> (u64, QueueLimits) {
    let room = prng.between(1, 5);
    (room, QueueLimits::new(room as usize, 100_000).unwrap())
}

/// Cuts, takeovers and resumes in between. Whoever is told that a message arrived finds it in the inbox, which is never full more
/// than twice.
#[test]
fn every_message_is_taken_once_and_in_order() {
    const TOTAL: u64 = 60;
    for_each_seed_of(SEEDS, 500, |seed| {
        let mut prng = Prng::new(seed);
        let (room, limits) = room(&mut prng);
        let mut rig = Acceptor::new(server().inbox(limits));
        rig.takes = false;
        let (mut id, first) = rig.welcomed(&hello("d"));
        let behind = |received: u64| -> Vec<u8> {
            let frames = |seq: u64| {
                let message = encoded(&Frame::Data { seq, message: seq.to_string().into_bytes().into() });
                [message, encoded(&Frame::Beat { seq: 1 }).repeat(usize::from(seq.is_multiple_of(7)))].concat()
            };
            (received + 1..=TOTAL).flat_map(frames).collect()
        };
        rig.say(id, &Frame::Ack { seq: 0 });
        let (mut rest, mut taken, mut acknowledged, mut attempt) = (behind(0), 0, 0, 0);
        while taken < TOTAL {
            match prng.between(0, 24) {
                0 => {
                    if prng.between(0, 1) == 0 {
                        rig.hang_up(id, Failure::Reset);
                    }
                    attempt += 1;
                    let again = Hello { token: Some(first.token), instance: 1, attempt, ..hello("d") };
                    let (next, welcome) = rig.welcomed(&again);
                    assert!(welcome.resumed && welcome.received >= acknowledged, "{welcome:?}");
                    (id, rest, acknowledged) = (next, behind(welcome.received), welcome.received);
                }
                1..=12 if !rest.is_empty() && rig.server.wants_read(id) => {
                    let piece: Vec<u8> = rest.drain(..(prng.between(1, 80) as usize).min(rest.len())).collect();
                    rig.server.handle_input(rig.now, id, ServerInput::Received(&piece));
                    rig.turn();
                }
                13 => rig.advance(prng.between(0, 700)),
                _ => match rig.server.poll_event(rig.now) {
                    Some(ServerEvent::Message { message, .. }) => {
                        taken += 1;
                        assert_eq!(&message[..], taken.to_string().as_bytes());
                    }
                    Some(ServerEvent::Offline { report, .. }) => {
                        assert_eq!(report.cause, DownCause::Network(Failure::Reset));
                    }
                    _ => rig.turn(),
                },
            }
            let acks = rig
                .heard(id)
                .into_iter()
                .filter_map(|frame| if let Frame::Ack { seq } = frame { Some(seq) } else { None });
            acknowledged = acks.fold(acknowledged, u64::max);
            assert!(acknowledged <= taken + 2 * room, "{acknowledged} arrived, {taken} are taken, room for {room}");
        }
    });
}

/// Fragments, pings between them, and a close behind the last message.
#[test]
fn a_foreigners_close_is_heard_behind_its_last_message() {
    const TOTAL: u8 = 40;
    for_each_seed_of(SEEDS, 500, |seed| {
        let mut prng = Prng::new(seed);
        let mut rig = Served::up(websocket_server(websocket()).inbox(room(&mut prng).1));
        let id = rig.id.unwrap();
        let mut bytes = Vec::new();
        for number in 0..TOTAL {
            if prng.between(0, 3) == 0 {
                bytes.extend([0x02, 0x80, 0, 0, 0, 0]);
                bytes.extend([0x89, 0x80, 0, 0, 0, 0].repeat(usize::from(number % 3 == 0)));
                bytes.extend([0x80, 0x81, 0, 0, 0, 0, number]);
            } else {
                bytes.extend([0x82, 0x81, 0, 0, 0, 0, number]);
            }
        }
        bytes.extend([0x88, 0x82, 0, 0, 0, 0, 3, 232]);
        let (mut taken, mut cause) = (Vec::new(), None);
        while cause.is_none() {
            if !bytes.is_empty() && rig.server.wants_read(id) {
                let piece: Vec<u8> = bytes.drain(..(prng.between(1, 60) as usize).min(bytes.len())).collect();
                rig.server.handle_input(rig.now, id, ServerInput::Received(&piece));
            }
            for _ in 0..prng.between(0, 3) {
                match rig.server.poll_event(rig.now) {
                    Some(ServerEvent::Message { message, .. }) => taken.push(message[0]),
                    Some(ServerEvent::Offline { report, .. }) => cause = Some(report.cause),
                    _ => {}
                }
            }
        }
        assert_eq!(taken, (0..TOTAL).collect::<Vec<_>>());
        assert!(matches!(cause, Some(DownCause::Goodbye(goodbye)) if goodbye.reason == Reason::Closed));
    });
}
