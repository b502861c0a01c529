//! What must not be lost, and what must not arrive twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;

use common::{Acceptor, Answer, Dialer, Link, MS, SECOND, client, data, device, entropy, hello, large, message, names};
use common::{server, server_names, welcome};
use keepbeat_core::client::{Event, LinkState};
use keepbeat_core::server::{Server, ServerEvent};
use keepbeat_core::session::{DropReason, Message, Overflow, QueueLimits, SendError, Ticket};
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::wire::{Frame, Hello, Reason, Token, Welcome, WireError};
use keepbeat_core::{DownCause, Failure};

fn talk(link: &mut Link, from: usize, to: usize) {
    for number in from..to {
        link.client.send(link.now, Message::from(format!("up {number}"))).unwrap();
        link.server.send(link.now, &device("d"), Message::from(format!("down {number}"))).unwrap();
    }
}

fn all(direction: &str, to: usize) -> Vec<String> {
    (0..to).map(|number| format!("{direction} {number}")).collect()
}

fn resumed(link: &Link) -> Vec<(bool, usize)> {
    let ups = link.events.iter().filter_map(|(_, event)| match event {
        Event::Up { resumed, in_doubt, .. } => Some((*resumed, *in_doubt)),
        _ => None,
    });
    ups.collect()
}

#[test]
fn messages_sent_into_a_void_arrive_once_and_in_order_after_the_reconnect() {
    let mut link = Link::up(client(), server());
    talk(&mut link, 0, 3);
    link.turn();
    // These arrive, but nothing of the client's acknowledgements does, and nothing of what follows.
    link.up.black_hole();
    talk(&mut link, 3, 6);
    link.turn();
    link.down.black_hole();
    talk(&mut link, 6, 9);
    link.advance(60_000);
    talk(&mut link, 9, 12);
    link.turn();
    assert_eq!(resumed(&link), [(true, 0)]);
    assert_eq!((link.arrived(), link.server_arrived()), (all("down", 12), all("up", 12)));
    assert_eq!((link.client.unacknowledged(), link.server.unacknowledged(&device("d"))), (0, 0));
    assert_eq!(link.server_saw("session ended"), 0);
}

#[test]
fn a_connection_cut_after_any_byte_loses_and_doubles_nothing() {
    // `up` counts from the first byte of the hello, `down` from the first of the welcome.
    for (direction, bytes) in [("up", 90), ("down", 90)] {
        for cut_after in 0..bytes {
            let mut link = Link::new(client(), server());
            link.client.open(link.now);
            talk_up(&mut link, 0, 4);
            link.next_flow = if direction == "up" { (cut_after, usize::MAX) } else { (usize::MAX, cut_after) };
            link.turn();
            let queued = link.server.send(link.now, &device("d"), b"down 0".into()).is_ok();
            link.turn();
            link.cut();
            talk_up(&mut link, 4, 6);
            link.advance(5000);
            let known = link.server.send(link.now, &device("d"), b"last".into()).is_ok();
            link.turn();
            assert!(known, "{direction} {cut_after}");
            assert_eq!(link.server_arrived(), all("up", 6), "{direction} {cut_after}");
            let mut arrived = link.arrived();
            assert_eq!(arrived.pop().as_deref(), Some("last"));
            assert_eq!(arrived.len(), usize::from(queued), "{direction} {cut_after}: {arrived:?}");
            assert_eq!((link.client.unacknowledged(), link.server.unacknowledged(&device("d"))), (0, 0));
        }
    }
}

fn talk_up(link: &mut Link, from: usize, to: usize) {
    for number in from..to {
        link.client.send(link.now, Message::from(format!("up {number}"))).unwrap();
    }
}

#[test]
fn what_was_not_acknowledged_leaves_again_first_and_in_order() {
    let mut rig = Dialer::up(client());
    for text in ["one", "two", "three", "four"] {
        rig.client.send(rig.now, message(text)).unwrap();
    }
    rig.turn();
    rig.say(&Frame::Ack { seq: 1 });
    rig.cut(Failure::Reset);
    rig.client.send(rig.now, message("five")).unwrap();
    rig.wake(Why::Reconnect);
    let heard = rig.heard();
    let Some((_, Frame::Hello(hello))) = heard.last() else { panic!("{heard:?}") };
    assert_eq!((hello.token, hello.received), (Some(Token::new([7; 16])), 0));
    // The server had received one more than it acknowledged.
    rig.welcome(Welcome { resumed: true, received: 2, ..welcome() });
    let sent: Vec<Frame> = rig.heard().into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(sent, [Frame::Ack { seq: 0 }, data(3, "three"), data(4, "four"), data(5, "five")]);
    let acknowledged = rig.events.iter().filter_map(|(_, event)| match event {
        Event::Acknowledged { through } => Some(through.0),
        _ => None,
    });
    assert_eq!(acknowledged.collect::<Vec<_>>(), [1, 2]);
    rig.say(&Frame::Ack { seq: 5 });
    assert_eq!(rig.client.unacknowledged(), 0);
}

#[test]
fn a_duplicate_is_delivered_once_and_acknowledged_again() {
    let mut rig = Dialer::up(client());
    for (frame, acknowledged) in [(data(1, "a"), 1), (data(1, "a"), 1), (data(2, "b"), 2), (data(1, "a"), 2)] {
        rig.say(&frame);
        assert_eq!(rig.heard().pop().unwrap().1, Frame::Ack { seq: acknowledged });
    }
    assert_eq!(rig.saw("message"), 2);
}

#[test]
fn a_device_may_resume_before_the_server_missed_it() {
    let mut link = Link::up(client(), server());
    talk(&mut link, 0, 2);
    link.turn();
    link.up.black_hole();
    link.down.black_hole();
    talk(&mut link, 2, 5);
    link.turn();
    link.forget();
    // The client loses its network and comes back; the server still sees a living connection.
    link.cut_for_client();
    link.turn();
    link.advance(2000);
    assert_eq!(resumed(&link), [(true, 0)]);
    assert_eq!(server_names(&link.server_events)[0], "replaced");
    assert_eq!((link.arrived().len(), link.server_arrived().len()), (3, 3));
    link.advance(300_000);
    assert_eq!((link.server_saw("offline"), link.server_saw("suspect")), (0, 0), "the old one takes nobody offline");
    assert_eq!(link.server.connections(), 1);
}

#[test]
fn a_session_in_which_nothing_was_said_resumes_too() {
    let mut link = Link::up(client(), server());
    for round in 1..4 {
        link.cut();
        link.advance(2000);
        assert_eq!(resumed(&link), vec![(true, 0); round], "twice in a row and more");
    }
    talk(&mut link, 0, 3);
    link.turn();
    assert_eq!((link.arrived(), link.server_arrived()), (all("down", 3), all("up", 3)));
}

#[test]
fn a_session_is_kept_for_its_lifetime_and_no_longer() {
    for (away, kept) in [(59_999, true), (60_000, false)] {
        let mut rig = Acceptor::new(server().session_lifetime(60 * SECOND));
        let (id, first) = rig.welcomed(&hello("d"));
        rig.say(id, &data(1, "one"));
        rig.server.send(rig.now, &device("d"), message("unread")).unwrap();
        rig.turn();
        rig.hang_up(id, Failure::Reset);
        rig.advance_to(away);
        assert_eq!(rig.server.unacknowledged(&device("d")), usize::from(kept));
        rig.events.clear();
        let token = Some(first.token);
        let (_, second) = rig.welcomed(&Hello { token, ..hello("d") });
        assert_eq!((second.resumed, second.received, second.token == first.token), (kept, u64::from(kept), kept));
        assert_eq!(rig.saw("online"), 1);
    }
    let mut rig = Acceptor::new(server().session_lifetime(60 * SECOND));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.say(id, &Frame::Ack { seq: 0 });
    rig.server.send(rig.now, &device("d"), message("unread")).unwrap();
    rig.hang_up(id, Failure::Reset);
    rig.advance_to(60_000);
    let news = rig.news();
    assert!(
        matches!(news.last(), Some(ServerEvent::SessionEnded { undelivered, .. })
            if undelivered[..] == [(Ticket(1), message("unread"))]),
        "{news:?}"
    );
    assert_eq!(rig.server.poll_timeout(), None);
    assert!(matches!(rig.server.send(rig.now, &device("d"), message("m")), Err(SendError::Closed { .. })));
}

#[test]
fn sessions_survive_a_restart_of_the_server_that_takes_them_along() {
    for warm in [true, false] {
        let mut link = Link::up(client(), server());
        talk(&mut link, 0, 3);
        link.turn();
        link.up.black_hole();
        link.down.black_hole();
        talk(&mut link, 3, 6);
        link.turn();
        let config = Arc::new(server().build().unwrap());
        let sessions = link.server.take_sessions(link.now);
        assert_eq!((link.server.connections(), link.server.poll_timeout()), (0, None));
        link.turn();
        link.replace_server(match warm {
            true => Server::with_sessions(config, entropy(), 8, link.now, sessions),
            false => Server::new(config, entropy(), 8),
        });
        link.cut_for_client();
        link.turn();
        link.forget();
        link.advance(2000);
        if warm {
            assert_eq!(resumed(&link), [(true, 0)]);
            assert_eq!((link.arrived().len(), link.server_arrived().len()), (3, 3));
        } else {
            // The three that had left may have arrived; they are sent again, and the application is told.
            assert_eq!(resumed(&link), [(false, 3)]);
            assert_eq!(link.server_arrived(), all("up", 6)[3..]);
        }
        assert_eq!(link.client.unacknowledged(), 0);
    }
}

#[test]
fn a_resume_with_numbers_that_do_not_fit_begins_a_new_session() {
    let mut rig = Acceptor::new(server());
    let (id, first) = rig.welcomed(&hello("d"));
    rig.say(id, &data(1, "one"));
    rig.server.send(rig.now, &device("d"), message("kept")).unwrap();
    rig.hang_up(id, Failure::Reset);
    for (token, received) in [(Some(first.token), 2), (Some(Token::new([9; 16])), 0), (None, 0)] {
        rig.news();
        let (id, fresh) = rig.welcomed(&Hello { token, received, ..hello("d") });
        assert_eq!((fresh.resumed, fresh.received), (false, 0));
        assert!(fresh.token != first.token);
        rig.say(id, &data(1, "one again"));
        assert_eq!(rig.saw("session ended"), 1);
        rig.hang_up(id, Failure::Reset);
    }
}

#[test]
fn a_welcome_with_numbers_that_do_not_fit_is_not_believed_twice() {
    let mut rig = Dialer::up(client());
    rig.client.send(rig.now, message("one")).unwrap();
    rig.say(&data(1, "from the server"));
    rig.cut(Failure::Reset);
    rig.wake(Why::Reconnect);
    let heard = rig.heard();
    assert!(matches!(heard.last(), Some((_, Frame::Hello(hello))) if hello.token.is_some() && hello.received == 1));
    rig.welcome(Welcome { resumed: true, received: 2, ..welcome() });
    let heard = rig.heard();
    assert!(matches!(&heard[..], [(_, Frame::Goodbye(goodbye))] if goodbye.reason == Reason::Malformed), "{heard:?}");
    rig.cut(Failure::Eof);
    let (_, report, _) = rig.downs().pop().unwrap();
    let error = WireError::Sequence { frame: "WELCOME", got: 2, expected: 1 };
    assert_eq!((report.cause, rig.client.unacknowledged()), (DownCause::Protocol(error), 1));
    // The next attempt asks for no session, and so cannot fail in the same way again.
    rig.wake(Why::Reconnect);
    let heard = rig.heard();
    assert!(matches!(&heard[..], [(_, Frame::Hello(hello))] if hello.token.is_none() && hello.received == 0));
    rig.welcome(welcome());
    assert!(matches!(rig.events.last(), Some((_, Event::Up { resumed: false, in_doubt: 1, .. }))));
    assert_eq!(rig.heard().pop().unwrap().1, data(1, "one"));
}

#[test]
fn a_server_cannot_resume_what_nobody_asked_for() {
    let mut rig = Dialer::new(client());
    rig.client.open(rig.now);
    rig.turn();
    rig.welcome(Welcome { resumed: true, ..welcome() });
    assert_eq!((rig.client.state(), rig.saw("up")), (LinkState::Closing, 0));
}

#[test]
fn a_welcome_that_was_lost_costs_no_message_of_the_server() {
    let mut rig = Acceptor::new(server());
    let (id, first) = rig.welcomed(&hello("d"));
    rig.server.send(rig.now, &device("d"), message("for you")).unwrap();
    rig.turn();
    // Not one frame of the device came: it may not know the token.
    rig.hang_up(id, Failure::Reset);
    let id = rig.enter(&hello("d"));
    let heard = rig.heard(id);
    let [Frame::Welcome(again), message] = &heard[..] else { panic!("{heard:?}") };
    // A process that did hear of the first token must not go on with numbers that are this one's.
    assert_eq!((again.resumed, again.token == first.token, message), (false, false, &data(1, "for you")));
    assert_eq!(rig.saw("session ended"), 0);
}

#[test]
fn an_outbox_is_bounded_by_count_and_bytes_and_hands_back_what_does_not_fit() {
    let mut rig = Dialer::new(client().outbox(QueueLimits::new(3, 100).unwrap()).wire(large(50)));
    assert!(matches!(rig.client.send(rig.now, message("closed")), Err(SendError::Closed { .. })));
    rig.answer = Answer::Hang;
    rig.client.open(rig.now);
    let filler = Message::from(vec![7; 40]);
    assert_eq!(rig.client.send(rig.now, filler.clone()), Ok(Ticket(1)));
    assert_eq!(rig.client.send(rig.now, filler.clone()), Ok(Ticket(2)));
    assert!(rig.client.has_room(20) && !rig.client.has_room(21));
    let refused = rig.client.send(rig.now, Message::from(vec![7; 21])).unwrap_err();
    assert!(matches!(&refused, SendError::Full { messages: 2, bytes: 80, .. }), "{refused}");
    assert_eq!(refused.into_message().len(), 21);
    assert!(matches!(rig.client.send(rig.now, Message::from(vec![7; 51])), Err(SendError::TooLarge { limit: 50, .. })));
    assert_eq!(rig.client.send(rig.now, message("x")), Ok(Ticket(3)));
    assert!(matches!(rig.client.send(rig.now, Message::from("")), Err(SendError::Full { messages: 3, .. })));
    assert_eq!((rig.client.unacknowledged(), rig.saw("dropped")), (3, 0));
}

#[test]
fn the_oldest_make_room_if_asked_to_and_are_reported() {
    let limits = QueueLimits::new(2, 1000).unwrap().overflow(Overflow::DropOldest);
    let mut rig = Dialer::new(client().outbox(limits.clone()));
    rig.answer = Answer::Hang;
    rig.client.open(rig.now);
    for text in ["one", "two", "three", "four"] {
        rig.client.send(rig.now, message(text)).unwrap();
    }
    rig.turn();
    let dropped = rig.events.iter().filter_map(|(_, event)| match event {
        Event::Dropped(dropped) => Some((dropped.ticket, dropped.message.clone(), dropped.reason)),
        _ => None,
    });
    let dropped: Vec<_> = dropped.collect();
    assert_eq!(
        dropped,
        [(Ticket(1), message("one"), DropReason::Overflow), (Ticket(2), message("two"), DropReason::Overflow)]
    );
    // What has left may have arrived, so it stays.
    let mut rig = Acceptor::new(server().outbox(limits));
    rig.welcomed(&hello("d"));
    for text in ["one", "two"] {
        rig.server.send(rig.now, &device("d"), message(text)).unwrap();
    }
    assert!(matches!(rig.server.send(rig.now, &device("d"), message("three")), Err(SendError::Full { .. })));
    assert_eq!(rig.saw("dropped"), 0);
}

#[test]
fn a_message_that_did_not_leave_in_time_is_dropped_and_reported() {
    let aged = QueueLimits::default().max_age(5 * SECOND);
    let mut rig = Dialer::up(client().outbox(aged.clone()));
    rig.client.send(rig.now, message("left")).unwrap();
    rig.turn();
    rig.cut(Failure::Reset);
    rig.answer = Answer::Hang;
    rig.advance_to(1000);
    rig.client.send(rig.now, message("waits")).unwrap();
    rig.advance_to(5999);
    assert_eq!((rig.saw("dropped"), rig.client.unacknowledged()), (0, 2));
    assert_eq!(rig.due(), (6000, Why::MessageAge));
    rig.advance_to(6000);
    assert_eq!((rig.saw("dropped"), rig.client.unacknowledged()), (1, 1), "what has left does not age");

    let mut rig = Acceptor::new(server().outbox(aged));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.say(id, &Frame::Ack { seq: 0 });
    rig.hang_up(id, Failure::Reset);
    rig.advance_to(1000);
    rig.server.send(rig.now, &device("d"), message("waits")).unwrap();
    rig.advance_to(5999);
    assert_eq!(rig.saw("dropped"), 0);
    rig.advance_to(6000);
    assert_eq!((rig.saw("dropped"), rig.server.unacknowledged(&device("d"))), (1, 0));
}

#[test]
fn a_message_that_the_peer_would_refuse_is_not_sent() {
    let mut rig = Dialer::new(client());
    rig.client.open(rig.now);
    for text in ["four", "eight by", "nine byte", "4444"] {
        rig.client.send(rig.now, message(text)).unwrap();
    }
    rig.turn();
    rig.welcome(Welcome { message_limit: 8, ..welcome() });
    let sent: Vec<Frame> = rig.heard().into_iter().skip(2).map(|(_, frame)| frame).collect();
    assert_eq!(sent, [data(1, "four"), data(2, "eight by"), data(3, "4444")], "no gap in the numbers");
    assert!(rig.events.iter().any(|(_, event)| matches!(event, Event::Dropped(dropped)
        if dropped.reason == DropReason::PeerLimit && dropped.ticket == Ticket(3))));
}

#[test]
fn draining_waits_for_every_acknowledgement_or_its_timeout() {
    for acknowledged in [true, false] {
        let mut rig = Dialer::up(client());
        rig.client.send(rig.now, message("one")).unwrap();
        rig.client.drain(rig.now, 9 * SECOND);
        rig.turn();
        assert!(rig.client.send(rig.now, message("two")).is_err());
        assert!(matches!(rig.client.state(), LinkState::Up { .. }));
        // It keeps reconnecting meanwhile.
        rig.cut(Failure::Reset);
        rig.wake(Why::Reconnect);
        rig.welcome(Welcome { resumed: true, ..welcome() });
        if acknowledged {
            rig.say(&Frame::Ack { seq: 1 });
            assert_eq!(rig.client.state(), LinkState::Closing);
        } else {
            rig.advance_to(8999);
            assert!(matches!(rig.client.state(), LinkState::Up { .. }));
            rig.advance_to(9000);
            assert_eq!(rig.client.state(), LinkState::Closing);
        }
        rig.cut(Failure::Eof);
        let unacknowledged = usize::from(!acknowledged);
        assert_eq!(rig.events.last().unwrap().1, Event::Closed { unacknowledged });
        assert_eq!(names(&rig.events).last(), Some(&"closed"));
        assert!(rig.now.since(keepbeat_core::time::Timestamp::ZERO) >= 100 * MS);
    }
}
