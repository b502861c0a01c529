//! Links over WebSocket to peers that are no keepbeats: what they do that is odd, slow or wrong, and what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::websocket::{Dialed, Served, client, close, server, websocket};
use common::{SECOND, message};
use keepbeat_core::DownCause;
use keepbeat_core::client::{Event, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::server::{Admission, ServerEvent};
use keepbeat_core::session::{DropReason, Message, QueueLimits};
use keepbeat_core::wire::Reason;
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::websocket::{Beats, Control, Item};

const MB: usize = 1_000_000;

/// The header of a frame of a client, masked with zeros.
fn header(first: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    vec![first, 0xfe, high, low, 0, 0, 0, 0]
}

#[test]
fn pings_between_the_fragments_of_a_message_do_not_make_it_younger() {
    let fragments = |opcode: u8| [header(opcode, 126), vec![7; 126]].concat();
    let mut rig = Served::up(server(websocket()));
    rig.write(&fragments(0x02));
    while rig.saw("offline") == 0 {
        assert!(rig.now.as_millis() < 200_000, "a message that never ends goes on and on");
        rig.advance(500);
        rig.say(&Item::Ping(Control::EMPTY));
        rig.write(&fragments(0x00));
    }
    let cause = rig.events.iter().find_map(|(_, event)| match event {
        ServerEvent::Offline { report, .. } => Some(report.cause.clone()),
        _ => None,
    });
    assert_eq!(cause, Some(DownCause::Dead(DeathCause::FrameTooSlow)));

    let mut rig = Served::up(server(websocket()));
    rig.write(&fragments(0x02));
    for _ in 0..200 {
        // One ends, the next begins, and none lasts long.
        rig.advance(500);
        rig.write(&[fragments(0x80), fragments(0x02)].concat());
    }
    assert_eq!((rig.saw("message"), rig.saw("offline")), (200, 0));
}

#[test]
fn a_header_that_comes_byte_by_byte_counts_from_its_first() {
    let mut rig = Served::up(server(websocket()));
    rig.peer.answers = false;
    let header = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    while rig.saw("offline") == 0 {
        let come = rig.now.as_millis() as usize / 1000;
        rig.write(&[header.get(come).copied().unwrap_or(7)]);
        rig.advance(1000);
    }
    assert!((60_000..=62_000).contains(&rig.now.as_millis()), "{:?}", rig.now);
}

#[test]
fn what_was_on_its_way_behind_a_violation_is_no_answer_to_our_close() {
    let mut rig = Served::up(server(websocket()));
    rig.peer.answers = false;
    rig.write(&[0x83, 0x80, 0, 0, 0, 0]);
    for _ in 0..5 {
        rig.advance(100);
        rig.write(&[0x82, 0x80, 0, 0, 0, 0]);
    }
    assert_eq!(rig.hung_up, None, "to hang up now would take back what we said");
    rig.write(&[0x88, 0x82, 0, 0, 0, 0, 3, 234]);
    assert_eq!(rig.hung_up, Some(500));
}

#[test]
fn a_refusal_with_a_body_behind_the_request_is_not_taken_back_by_hanging_up() {
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, at) in [(&get[..], 0), (&post[..], 1000), (&[&get[..], &[7; 1000]].concat()[..], 1000)] {
        let mut rig = Served::new(server(websocket()));
        rig.dial(0);
        rig.write(request);
        assert!(rig.peer.raw.starts_with(b"HTTP/1.1 4"));
        if at > 0 {
            rig.write(&[7; 1000]);
        }
        rig.advance(1000);
        assert_eq!(rig.hung_up, Some(at));
    }
}

#[test]
fn a_page_has_as_long_to_leave_as_a_handshake() {
    let config = || server(websocket().page("/", "text/html", vec![b'x'; 100_000])).handshake_timeout(10 * SECOND);
    for (rate, hung_up) in [(20_000, 5_000), (1_000, 10_000)] {
        let mut rig = Served::new(config());
        rig.room = 0;
        rig.dial(0);
        rig.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        while rig.hung_up.is_none() {
            rig.advance(1000);
            rig.room = rate;
            rig.turn();
        }
        assert!(rig.hung_up.unwrap().abs_diff(hung_up) <= 1000, "{:?}", rig.hung_up);
        assert_eq!(rig.events, [], "nobody wanted a link");
    }
}

#[test]
fn credentials_that_are_refused_behind_the_door_are_refreshed_once() {
    let wire = || websocket().close_code(4401, Reason::Unauthorized);
    let mut rig = Dialed::new(client(wire()).credentials_from_provider());
    rig.agree(None);
    rig.say(&close(4401));
    rig.end();
    while rig.open.is_none() && !rig.client.state().is_over() {
        rig.advance(100);
    }
    rig.agree(None);
    rig.say(&Item::Message("welcome, whoever you are".into()));
    rig.say(&close(4401));
    rig.end();
    assert_eq!(rig.fetched, [false, true]);
    assert!(rig.client.state().is_over(), "fresh ones do not help: {:?}", rig.client.state());

    // Those that were good for a while may grow old again.
    let mut rig = Dialed::new(client(wire()).credentials_from_provider());
    for round in 1..4 {
        while rig.open.is_none() && !rig.client.state().is_over() {
            rig.advance(100);
        }
        rig.agree(None);
        rig.advance(60_000);
        rig.say(&close(4401));
        rig.end();
        assert!(matches!(rig.client.state(), LinkState::Waiting { .. }), "round {round}");
    }
    rig.advance(1000);
    assert_eq!(rig.fetched, [false, true, true, true]);
}

#[test]
fn a_message_that_is_too_large_for_the_server_does_not_come_again() {
    let mut rig = Dialed::up(client(websocket()));
    rig.peer.answers = false;
    let sizes = [10, 500, 3000, 3000, 20];
    let tickets: Vec<_> =
        sizes.iter().map(|size| rig.client.send(rig.now, Message::from(vec![7; *size])).unwrap()).collect();
    rig.turn();
    rig.say(&close(1009));
    rig.end();
    let dropped: Vec<_> = rig
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Dropped(dropped) => Some((dropped.ticket, dropped.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(dropped, [(tickets[2], DropReason::PeerLimit)], "the first of the largest");
    while rig.open.is_none() && !rig.client.state().is_over() {
        rig.advance(100);
    }
    rig.agree(None);
    let lengths = rig.peer.heard.iter().filter_map(|(_, item)| match item {
        Item::Message(message) => Some(message.len()),
        _ => None,
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [10, 500, 3000, 20]);
    assert_eq!(rig.client.unacknowledged(), 0);

    // Where nothing is acknowledged, what was too large has left, or is so long that it is leaving.
    for (size, drops) in [(20, 0), (200_000, 1)] {
        let mut rig = Dialed::up(client(websocket().beats(Beats::None)));
        rig.client.send(rig.now, Message::from(vec![7; 3000])).unwrap();
        rig.turn();
        rig.room = 10;
        rig.client.send(rig.now, Message::from(vec![7; size])).unwrap();
        rig.turn();
        rig.say(&close(1009));
        assert_eq!(rig.saw("dropped"), drops, "{size} bytes");
    }
}

#[test]
fn beats_that_are_messages_wait_for_the_fragments_of_a_message_and_not_in_front_of_them() {
    let beats = || Beats::Message { request: "ping".into(), reply: "pong".into() };
    let wire = || websocket().beats(beats()).message_limit(32 * MB);
    let room = QueueLimits::new(10, 64 * MB).unwrap();
    let mut rig = Dialed::up(client(wire()).outbox(room));
    rig.room = 0;
    rig.client.send(rig.now, Message::from(vec![7; 5 * MB])).unwrap();
    rig.client.send(rig.now, message("behind")).unwrap();
    rig.turn();
    let (mut most, mut asked) = (0, false);
    // 250 kB a second: twenty seconds, in which beats become due. The server asks, too.
    for step in 0..90 {
        rig.advance(250);
        rig.room = 62_500;
        rig.turn();
        most = most.max(rig.client.transmit().len());
        if step == 30 {
            rig.say(&Item::Message("ping".into()));
            asked = true;
        }
        assert_eq!(rig.downs(), [], "after {step} steps");
        if rig.peer.heard.iter().any(|(_, item)| *item == Item::Message("ping".into())) {
            rig.say(&Item::Message("pong".into()));
        }
    }
    assert!(asked && most <= 200_000, "{most} bytes waited");
    let texts: Vec<_> = rig
        .peer
        .heard
        .iter()
        .filter_map(|(_, item)| match item {
            Item::Message(message) if message.len() > 100 => Some("long"),
            Item::Message(message) if *message == "ping".into() => Some("ping"),
            Item::Message(message) if *message == "pong".into() => Some("pong"),
            Item::Message(_) => Some("other"),
            _ => None,
        })
        .collect();
    assert_eq!(texts[..4], ["long", "pong", "ping", "other"]);
}

#[test]
fn whoever_is_told_when_to_come_back_does_not_come_with_all_the_others() {
    let mut waits = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let config = client(websocket());
        let mut rig = Dialed::seeded(config, seed);
        rig.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\n\r\n");
        let LinkState::Waiting { retry_at: at, .. } = rig.client.state() else { panic!("{:?}", rig.client.state()) };
        assert!((10_000..=11_000).contains(&at.as_millis()), "{at:?}");
        waits.insert(at.as_millis());
    }
    assert!(waits.len() > 40, "{waits:?}");

    // A server of ours gives each of them a moment of its own, because HTTP knows no spread.
    let mut waits = std::collections::BTreeSet::new();
    let mut rig = Served::new(server(websocket()).authenticate());
    for _ in 0..50 {
        rig.ask(&UpgradeRequest::new("/").unwrap());
        let busy = Admission::Busy { retry_after: 10 * SECOND, spread: 20 * SECOND };
        rig.server.answer(rig.now, rig.id.unwrap(), busy);
        rig.turn();
        let wait = rig.peer.refusal.as_ref().unwrap().retry_after.unwrap().as_secs();
        assert!((10..=30).contains(&wait), "{wait}");
        waits.insert(wait);
    }
    assert!(waits.len() > 10, "{waits:?}");
}
