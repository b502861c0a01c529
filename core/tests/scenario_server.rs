//! Who is present, who gets in, and how connections end on the server's side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::server_names;
use common::{Acceptor, Dialer, Link, MS, SECOND, at, client, data, device, encoded, hello, message, names, server};
use keepbeat_core::client::LinkState;
use keepbeat_core::server::{AcceptError, Admission, ConnectionId, ServerEvent, ServerInput};
use keepbeat_core::session::QueueLimits;
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::wire::{Frame, Goodbye, Hello, Reason, Token};
use keepbeat_core::{DownCause, Failure};

const HOME: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn kinds(rig: &mut Acceptor) -> Vec<&'static str> {
    let names = server_names(&rig.events);
    rig.events.clear();
    names
}

fn goodbye(reason: Reason) -> Frame {
    Frame::Goodbye(Box::new(Goodbye::new(reason, "")))
}

#[test]
fn a_hello_of_an_attempt_that_was_given_up_takes_nothing_over() {
    let attempt = |attempt, instance| Hello { attempt, instance, ..hello("d") };
    let mut rig = Acceptor::new(server());
    let (live, _) = rig.welcomed(&attempt(2, 7));
    rig.say(live, &Frame::Ack { seq: 0 });
    for stale in [1, 2] {
        let late = rig.enter(&attempt(stale, 7));
        assert!(matches!(&rig.heard(late)[..], [Frame::Refuse(refusal)] if refusal.reason == Reason::Replaced));
    }
    assert_eq!((rig.saw("replaced"), rig.saw("session ended"), rig.is_closed(live)), (0, 0, false));
    rig.hang_up(live, Failure::Reset);
    let late = rig.enter(&attempt(1, 7));
    assert!(matches!(&rig.heard(late)[..], [Frame::Refuse(_)]), "nor does it come back to life");
    // A later attempt, another life of the client, and one that does not count its attempts get in.
    for (number, instance) in [(3, 7), (1, 8), (0, 0), (0, 0)] {
        rig.welcomed(&attempt(number, instance));
    }
}

#[test]
fn the_late_death_of_a_replaced_connection_takes_nobody_offline() {
    let mut rig = Acceptor::new(server());
    let (old, first) = rig.welcomed(&hello("d"));
    rig.advance_to(5000);
    let (new, second) = rig.welcomed(&Hello { token: Some(first.token), ..hello("d") });
    assert!(second.resumed);
    assert_eq!(rig.farewell(old).unwrap().reason, Reason::Replaced);
    assert_eq!(kinds(&mut rig), ["online", "replaced"]);
    // What the old one still says does not count, nor do its deadlines.
    rig.say(old, &data(1, "from the old one"));
    rig.say(old, &goodbye(Reason::Closed));
    rig.say(new, &Frame::Beat { seq: 1 });
    rig.advance_to(6000);
    assert!(rig.is_closed(old) && !rig.is_closed(new));
    rig.hang_up(old, Failure::Reset);
    rig.server.handle_input(rig.now, old, ServerInput::Received(b"\x10\x01\x01"));
    rig.server.handle_input(rig.now, old, ServerInput::Written(5));
    assert_eq!(rig.server.stale_inputs(), 3);
    rig.advance_to(18_999);
    assert_eq!(kinds(&mut rig), Vec::<&str>::new(), "the new one has its own 14 s of silence");
    assert!(rig.server.is_connected(&device("d")));
    rig.advance_to(19_000);
    assert_eq!(kinds(&mut rig), ["suspect"]);
}

#[test]
fn a_connection_that_is_not_let_in_replaces_nobody() {
    let mut rig = Acceptor::new(server().authenticate());
    let enter = |rig: &mut Acceptor, verdict| -> ConnectionId {
        let id = rig.enter(&hello("d"));
        rig.server.answer(rig.now, id, verdict);
        rig.turn();
        id
    };
    let first = enter(&mut rig, Admission::Accept);
    assert!(matches!(rig.heard(first)[..], [Frame::Welcome(_)]));
    let busy = Admission::Busy { retry_after: 3 * SECOND, spread: 5 * SECOND };
    for (verdict, reason, wishes) in [
        (Admission::Unauthorized("stale".into()), Reason::Unauthorized, (0, 0)),
        (Admission::Forbidden("sold".into()), Reason::Forbidden, (0, 0)),
        (busy, Reason::Busy, (3000, 5000)),
    ] {
        kinds(&mut rig);
        let id = enter(&mut rig, verdict);
        let heard = rig.heard(id);
        let [Frame::Refuse(refusal)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((refusal.reason, (refusal.retry_after_ms, refusal.spread_ms)), (reason, wishes));
        assert_eq!(kinds(&mut rig), ["authenticate", "rejected"]);
        assert!(rig.server.is_connected(&device("d")) && !rig.is_closed(first));
    }
    enter(&mut rig, Admission::Accept);
    assert_eq!(rig.farewell(first).unwrap().reason, Reason::Replaced);
}

#[test]
fn an_application_that_does_not_answer_leaves_it_to_the_handshake_deadline() {
    let mut rig = Acceptor::new(server().authenticate().handshake_timeout(5 * SECOND));
    let id = rig.enter(&hello("d"));
    assert!(!rig.server.wants_read(id), "what comes behind a hello waits");
    rig.advance_to(4999);
    assert_eq!(kinds(&mut rig), ["authenticate"]);
    rig.advance_to(5000);
    let news = rig.news();
    let [ServerEvent::Rejected { cause: DownCause::HandshakeTimeout, device: Some(name), .. }] = &news[..] else {
        panic!("{news:?}");
    };
    assert_eq!((name, rig.farewell(id).unwrap().reason), (&device("d"), Reason::TimedOut));
    rig.server.answer(rig.now, id, Admission::Accept);
    rig.turn();
    assert_eq!((rig.heard(id), kinds(&mut rig)), (vec![], vec![]), "too late");
    rig.advance_to(6000);
    rig.server.answer(rig.now, id, Admission::Accept);
    assert_eq!((rig.server.connections(), rig.server.poll_timeout()), (0, None));
}

#[test]
fn who_is_back_within_the_grace_was_never_offline() {
    for (back, nobody_noticed) in [(29_999, true), (30_000, false)] {
        let mut rig = Acceptor::new(server().grace(30 * SECOND));
        let (id, first) = rig.welcomed(&hello("d"));
        rig.say(id, &Frame::Ack { seq: 0 });
        rig.hang_up(id, Failure::Reset);
        assert_eq!(kinds(&mut rig), ["online"]);
        let due = rig.server.poll_timeout().unwrap();
        assert_eq!((due.at, due.cause), (at(30_000), Why::Grace));
        rig.advance_to(back);
        rig.welcomed(&Hello { token: Some(first.token), ..hello("d") });
        let news = rig.news();
        if nobody_noticed {
            let [ServerEvent::Returned { resumed: true, away, report, .. }] = &news[..] else { panic!("{news:?}") };
            assert_eq!((*away, &report.cause), (29_999 * MS, &DownCause::Network(Failure::Reset)));
        } else {
            assert!(matches!(news[..], [ServerEvent::Offline { .. }, ServerEvent::Online { resumed: true, .. }]));
        }
        rig.say(id, &Frame::Ack { seq: 0 });
        rig.advance_to(40_000);
        assert_eq!(rig.saw("offline"), 0, "the old grace is over");
    }
}

#[test]
fn who_says_goodbye_for_good_is_offline_at_once_whatever_the_grace() {
    let mut rig = Acceptor::new(server().grace(30 * SECOND));
    let (id, first) = rig.welcomed(&hello("d"));
    rig.server.send(rig.now, &device("d"), message("unread")).unwrap();
    rig.now = at(700);
    rig.say(id, &Frame::Beat { seq: 1 });
    rig.now = at(900);
    rig.say(id, &goodbye(Reason::Closed));
    let news = rig.news();
    let [_, ServerEvent::Offline { last_seen, report, .. }, ServerEvent::SessionEnded { undelivered, .. }] = &news[..]
    else {
        panic!("{news:?}");
    };
    assert_eq!((*last_seen, undelivered.len()), (at(900), 1));
    assert!(matches!(&report.cause, DownCause::Goodbye(goodbye) if goodbye.reason == Reason::Closed));
    assert!(rig.is_closed(id));
    assert_eq!(rig.server.poll_timeout(), None, "nothing is kept");
    let (_, fresh) = rig.welcomed(&Hello { token: Some(first.token), ..hello("d") });
    assert!(!fresh.resumed);
    // Going away is something else: the device means to come back.
    let (id, _) = rig.welcomed(&hello("e"));
    rig.news();
    rig.say(id, &goodbye(Reason::GoingAway));
    assert_eq!(kinds(&mut rig), Vec::<&str>::new());
}

#[test]
fn the_grace_of_a_device_begins_with_its_death_and_the_report_tells_what_was_seen() {
    let mut rig = Acceptor::new(server().grace(30 * SECOND));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.now = at(2000);
    rig.say(id, &Frame::Beat { seq: 1 });
    // Late after 14 s of silence, dead after 4 s more.
    rig.advance_to(20_000);
    assert_eq!(kinds(&mut rig), ["online", "suspect"]);
    rig.advance_to(49_999);
    assert_eq!(kinds(&mut rig), Vec::<&str>::new());
    rig.advance_to(50_000);
    let news = rig.news();
    let [ServerEvent::Offline { report, last_seen, .. }] = &news[..] else { panic!("{news:?}") };
    let evidence = report.evidence.as_ref().unwrap();
    assert_eq!((*last_seen, evidence.silent_for, evidence.beats_sent), (at(2000), 18 * SECOND, 3));
}

#[test]
fn connections_are_limited_in_all_in_handshake_and_by_address() {
    let mut rig = Acceptor::new(server().max_connections(3).max_handshakes(2).max_connections_per_address(2));
    let (first, second) = (rig.dial_from(HOME).unwrap(), rig.dial_from(HOME).unwrap());
    assert_eq!(rig.dial_from(None), Err(AcceptError::HandshakesFull { limit: 2 }));
    rig.say(first, &Frame::Hello(Box::new(hello("a"))));
    assert_eq!(rig.dial_from(HOME), Err(AcceptError::AddressFull { limit: 2 }));
    let third = rig.dial_from(None).unwrap();
    assert_eq!(rig.dial_from(None), Err(AcceptError::Full { limit: 3 }));
    for error in [AcceptError::Full { limit: 3 }, AcceptError::Draining] {
        assert!(!error.to_string().is_empty());
    }
    // Every way out gives the places back.
    rig.hang_up(first, Failure::Reset);
    rig.say_bytes(second, b"GET / HTTP/1.1\r\n");
    let fourth = rig.dial_from(HOME).unwrap();
    assert_eq!(rig.dial_from(HOME).unwrap_err(), AcceptError::Full { limit: 3 }, "the goodbye still occupies one");
    rig.advance_to(1000);
    rig.dial_from(HOME).unwrap_err();
    rig.say(third, &Frame::Hello(Box::new(hello("c"))));
    let fifth = rig.dial_from(HOME).unwrap();
    assert_eq!(rig.server.connections(), 3);
    for id in [third, fourth, fifth] {
        rig.hang_up(id, Failure::Eof);
    }
    for _ in 0..50 {
        let pair = [rig.dial_from(HOME).unwrap(), rig.dial_from(HOME).unwrap()];
        assert!(rig.dial_from(HOME).is_err());
        for id in pair {
            rig.hang_up(id, Failure::Eof);
        }
    }
}

#[test]
fn silent_strangers_give_their_places_back_after_the_handshake_deadline() {
    let mut rig = Acceptor::new(server().max_handshakes(100).handshake_timeout(10 * SECOND));
    for _ in 0..100 {
        rig.dial();
    }
    rig.advance_to(9999);
    assert!(rig.dial_from(None).is_err());
    rig.advance_to(10_000);
    assert_eq!(rig.saw("rejected"), 100);
    rig.dial();
    rig.advance_to(11_000);
    assert_eq!(rig.server.connections(), 1);
}

#[test]
fn devices_are_limited_and_told_to_come_later() {
    let mut rig = Acceptor::new(server().max_sessions(2).session_lifetime(60 * SECOND));
    let (a, _) = rig.welcomed(&hello("a"));
    rig.welcomed(&hello("b"));
    let id = rig.enter(&hello("c"));
    let heard = rig.heard(id);
    assert!(matches!(&heard[..], [Frame::Refuse(refusal)] if refusal.reason == Reason::Busy), "{heard:?}");
    rig.welcomed(&hello("a"));
    rig.say(a, &goodbye(Reason::Closed));
    assert!(rig.server.is_connected(&device("a")), "a place that is taken over is no further place");
    rig.advance_to(100_000);
    rig.welcomed(&hello("c"));
}

#[test]
fn messages_before_the_end_of_the_stream_are_delivered_and_the_end_counts_once() {
    // The server shuts down its side: a message, and right behind it the end.
    let mut rig = Dialer::up(client());
    rig.client.send(rig.now, message("up")).unwrap();
    rig.turn();
    rig.say_unseen(&[encoded(&data(1, "last words")), encoded(&Frame::Ack { seq: 1 })].concat());
    rig.turn();
    rig.report(Failure::Eof);
    rig.report_stale(Failure::Reset);
    assert_eq!(names(&rig.events), ["message", "acknowledged", "down"]);
    assert_eq!(rig.downs()[0].1.cause, DownCause::Network(Failure::Eof));
    assert_eq!((rig.open, rig.client.stale_inputs()), (None, 1));

    // The device shuts down its side and still reads.
    let mut rig = Acceptor::new(server());
    let (id, first) = rig.welcomed(&hello("d"));
    rig.say(id, &data(1, "last words"));
    rig.server.send(rig.now, &device("d"), message("kept")).unwrap();
    rig.hang_up(id, Failure::Eof);
    rig.hang_up(id, Failure::Reset);
    assert_eq!(kinds(&mut rig), ["online", "message", "offline"]);
    assert_eq!((rig.is_closed(id), rig.closed.len(), rig.server.stale_inputs()), (true, 1, 1));
    let (id, again) = rig.welcomed(&Hello { token: Some(first.token), ..hello("d") });
    assert_eq!((again.resumed, again.received), (true, 1));
    rig.say(id, &Frame::Ack { seq: 1 });
    assert_eq!(rig.server.unacknowledged(&device("d")), 0);
}

#[test]
fn a_goodbye_and_the_end_of_the_stream_are_one_end() {
    let mut rig = Dialer::up(client());
    rig.say_unseen(&[encoded(&data(1, "last words")), encoded(&goodbye(Reason::GoingAway))].concat());
    rig.turn();
    rig.report_stale(Failure::Eof);
    assert_eq!(names(&rig.events), ["message", "down"]);

    // Our own goodbye: the peer hangs up, and that is the end.
    let mut link = Link::up(client(), server());
    link.client.send(link.now, message("last words")).unwrap();
    link.client.close(link.now);
    link.turn();
    assert_eq!((link.client.state(), link.client.poll_timeout()), (LinkState::Closed, None));
    assert_eq!((link.saw("closed"), link.saw("down"), link.now), (1, 0, at(0)), "it waits for nothing else");
    assert_eq!(server_names(&link.server_events), ["message", "offline", "session ended"]);
}

#[test]
fn a_write_that_fails_does_not_swallow_what_was_readable() {
    let mut rig = Dialer::up(client());
    rig.room = 0;
    rig.client.send(rig.now, message("never leaves")).unwrap();
    rig.say_unseen(&encoded(&data(1, "in the socket")));
    // Input first, then the news that writing has failed.
    rig.turn();
    rig.report(Failure::Reset);
    assert_eq!(names(&rig.events), ["message", "down"]);
    assert_eq!(rig.client.unacknowledged(), 1);
}

#[test]
fn a_server_that_shuts_down_says_when_to_come_back() {
    let mut rig = Acceptor::new(server());
    let stranger = rig.dial();
    let (a, first) = rig.welcomed(&hello("a"));
    rig.say(a, &Frame::Ack { seq: 0 });
    let (b, _) = rig.welcomed(&hello("b"));
    rig.server.drain(rig.now, 2 * SECOND, 8 * SECOND);
    rig.turn();
    for id in [stranger, a, b] {
        let farewell = rig.farewell(id).unwrap();
        assert_eq!((farewell.reason, farewell.retry_after_ms, farewell.spread_ms), (Reason::GoingAway, 2000, 8000));
    }
    assert_eq!(rig.dial_from(None), Err(AcceptError::Draining));
    assert_eq!((rig.saw("offline"), rig.saw("rejected"), rig.server.is_drained()), (2, 1, false));
    rig.hang_up(a, Failure::Eof);
    rig.advance_to(1000);
    assert!(rig.server.is_drained());
    let config = std::sync::Arc::new(server().build().unwrap());
    let sessions = rig.server.take_sessions(rig.now);
    let next = keepbeat_core::server::Server::with_sessions(config, common::entropy(), 9, rig.now, sessions);
    let mut next = Acceptor::of(next, rig.now);
    assert!(next.welcomed(&Hello { token: Some(first.token), ..hello("a") }).1.resumed);
    assert!(!next.welcomed(&Hello { token: Some(Token::new([1; 16])), ..hello("c") }).1.resumed);
}

#[test]
fn messages_not_taken_keep_their_room_in_the_next_session() {
    let mut rig = Acceptor::new(server().inbox(QueueLimits::new(2, 1000).unwrap()));
    rig.takes = false;
    let (id, _) = rig.welcomed(&hello("d"));
    rig.say_bytes(id, &[encoded(&data(1, "one")), encoded(&data(2, "two"))].concat());
    assert!(!rig.server.wants_read(id));
    // Without its token it begins anew, which empties nothing.
    let (id, fresh) = rig.welcomed(&hello("d"));
    assert!(!fresh.resumed);
    assert!(!rig.server.wants_read(id));
    rig.say(id, &data(1, "three"));
    rig.takes = true;
    rig.turn();
    assert_eq!(rig.saw("message"), 3);
    assert!(rig.server.wants_read(id));
}
