//! Slow paths, full buffers and applications that do not read: who is dead, and who is only slow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    Acceptor, Dialer, Link, SECOND, client, data, device, encoded, hello, large, liveness, message, names, server,
    welcome,
};
use keepbeat_core::client::{Event, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::server::ServerEvent;
use keepbeat_core::session::QueueLimits;
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::wire::{Frame, Goodbye, Reason, Welcome};
use keepbeat_core::{DownCause, Failure};

const MB: usize = 1_000_000;

fn room() -> QueueLimits {
    QueueLimits::new(100, 64 * MB).unwrap()
}

fn patient() -> keepbeat_core::liveness::LivenessConfig {
    liveness().frame_time(600 * SECOND).build().unwrap()
}

#[test]
fn twenty_megabytes_at_fifty_kilobytes_a_second_are_no_death() {
    let mut rig = Dialer::up(client().wire(large(32 * MB)).inbox(room()).liveness(patient()));
    let frame = encoded(&Frame::Data { seq: 1, message: vec![7; 20 * MB].into() });
    // Echoes would wait behind the frame, so none comes.
    let mut acks = Vec::new();
    for (step, piece) in frame.chunks(25_000).enumerate() {
        rig.advance_to(step as u64 * 500);
        rig.say_bytes(piece);
        let heard = rig.heard();
        acks.extend(heard.iter().filter(|(_, frame)| matches!(frame, Frame::Ack { .. })).map(|(at, _)| *at));
    }
    assert_eq!(names(&rig.events), ["message"]);
    assert!(rig.now.as_millis() >= 400_000);
    // The sender hears every quarter of the reply timeout that its bytes arrive.
    assert!(acks.windows(2).all(|pair| pair[1] - pair[0] <= 1000), "{acks:?}");
}

#[test]
fn a_large_message_on_a_slow_path_kills_neither_side() {
    let config = client().wire(large(32 * MB)).outbox(room()).liveness(patient());
    let mut link = Link::up(config, server().wire(large(32 * MB)).inbox(room()).liveness(patient()));
    link.client.send(link.now, vec![7; 20 * MB].into()).unwrap();
    (link.up.capacity, link.up.flow) = (64_000, 0);
    for _ in 0..820 {
        link.up.flow += 25_000;
        link.advance(500);
    }
    assert_eq!((link.saw("suspect"), link.saw("down")), (0, 0));
    assert_eq!((link.server_saw("suspect"), link.server_saw("offline"), link.server_saw("message")), (0, 0, 1));
    assert_eq!((link.saw("acknowledged"), link.client.unacknowledged()), (1, 0));
}

#[test]
fn a_slow_reader_is_alive_until_it_stops_reading() {
    let mut rig = Dialer::up(client().wire(large(8 * MB)));
    rig.room = 0;
    rig.client.send(rig.now, vec![7; 5 * MB].into()).unwrap();
    rig.turn();
    // It takes a little every 7 s, and says so, as the protocol demands in the middle of a frame.
    for step in 1..60 {
        rig.advance_to(step * 7000);
        rig.room = 10_000;
        rig.turn();
        assert_eq!(rig.room, 0);
        rig.say(&Frame::Ack { seq: 0 });
    }
    assert_eq!(names(&rig.events), Vec::<&str>::new());
    let last = 59 * 7000;
    rig.advance_to(last + 7999);
    assert_eq!(rig.saw("down"), 0);
    rig.advance_to(last + 8000);
    let (when, report, _) = rig.downs().remove(0);
    assert_eq!((when, report.cause), (last + 8000, DownCause::Dead(DeathCause::WriteStalled)));
    let evidence = report.evidence.unwrap();
    assert_eq!((evidence.stalled_for, evidence.beats_sent), (Some(8 * SECOND), 0));
}

#[test]
fn a_peer_that_talks_but_takes_nothing_has_until_the_stall_limit() {
    let mut rig = Dialer::up(client().wire(large(8 * MB)));
    rig.room = 100_000;
    rig.client.send(rig.now, vec![7; 5 * MB].into()).unwrap();
    rig.turn();
    for second in 1..30 {
        rig.advance_to(second * 1000);
        rig.say(&data(second, "hello"));
    }
    assert_eq!(rig.saw("suspect") + rig.saw("down"), 0);
    rig.advance_to(29_999);
    assert_eq!(rig.saw("down"), 0);
    rig.advance_to(30_000);
    assert_eq!(rig.downs()[0].1.cause, DownCause::Dead(DeathCause::WriteStalled));
}

#[test]
fn the_reply_to_a_beat_is_due_from_when_its_last_byte_left() {
    let mut rig = Dialer::up(client().wire(large(8 * MB)));
    rig.room = 0;
    rig.client.send(rig.now, vec![7; 5 * MB].into()).unwrap();
    rig.advance_to(4000);
    rig.say(&data(1, "the path is slow, not dead"));
    let asked = rig.wake(Why::Beat);
    // The path takes all but the last byte of the beat, a bit every 6 s.
    let waiting = (1 + 4 + 1 + 5 * MB) + 3 - 9;
    rig.room = 9;
    rig.turn();
    for step in 1..=10 {
        rig.advance_until(asked.after(6 * step * SECOND));
        rig.room = if step < 10 { waiting / 10 } else { waiting - 9 * (waiting / 10) - 1 };
        rig.turn();
        rig.say(&Frame::Ack { seq: 0 });
    }
    assert!(rig.client.poll_timeout().is_some_and(|due| due.cause != Why::Reply));
    assert_eq!(rig.client.evidence(rig.now).unwrap().beats_sent, 0);
    rig.advance_until(asked.after(65 * SECOND));
    rig.room = 1;
    rig.turn();
    let heard = rig.heard();
    assert!(matches!(heard.last(), Some((_, Frame::Beat { seq: 1 }))));
    assert_eq!(rig.client.evidence(rig.now).unwrap().beats_sent, 1);
    let due = rig.client.poll_timeout().unwrap();
    assert_eq!((due.at, due.cause), (asked.after(69 * SECOND), Why::Reply));
    assert_eq!(names(&rig.events), ["message"]);
}

#[test]
fn an_application_that_does_not_take_its_messages_is_not_the_peers_fault() {
    let mut rig = Dialer::up(client().inbox(QueueLimits::new(2, 1000).unwrap()));
    rig.takes = false;
    rig.say(&data(1, "one"));
    assert!(rig.client.wants_read());
    rig.say(&data(2, "two"));
    assert!(!rig.client.wants_read());
    rig.say(&data(3, "three"));
    rig.say_unseen(&encoded(&Frame::Echo { seq: 1 }));
    rig.advance_to(29_999);
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false });
    assert_eq!(rig.due(), (30_000, Why::ReadPause));
    assert_eq!(rig.beats().len(), 3, "the peer hears that we are alive");
    // One message is taken: reading goes on, and the peer's time begins anew.
    assert!(matches!(rig.client.poll_event(rig.now), Some(Event::Message(_))));
    rig.turn();
    assert!(!rig.client.wants_read(), "the third took the room");
    assert_eq!(rig.client.evidence(rig.now).unwrap().last_received, rig.now);
    rig.advance_to(59_998);
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false });
    rig.advance_to(59_999);
    rig.takes = true;
    rig.turn();
    assert_eq!(names(&rig.events), ["message", "message", "down"]);
    assert_eq!(rig.downs()[0].1.cause, DownCause::Dead(DeathCause::ReadPaused));
}

#[test]
fn a_link_comes_back_up_also_while_the_application_does_not_take_its_messages() {
    let mut rig = Dialer::up(client().inbox(QueueLimits::new(2, 1000).unwrap()));
    rig.takes = false;
    rig.say_bytes(&[encoded(&data(1, "one")), encoded(&data(2, "two"))].concat());
    rig.cut(Failure::Reset);
    rig.wake(Why::Reconnect);
    assert!(rig.client.wants_read(), "the welcome is no message");
    rig.welcome(Welcome { resumed: true, ..welcome() });
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false });
    assert!(!rig.client.wants_read());
    rig.say(&data(3, "three"));
    rig.takes = true;
    rig.turn();
    assert_eq!(rig.saw("message"), 3);
}

#[test]
fn a_device_is_not_judged_while_the_servers_application_does_not_take_its_messages() {
    let mut rig = Acceptor::new(server().inbox(QueueLimits::new(2, 1000).unwrap()));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.takes = false;
    rig.say_bytes(id, &[encoded(&data(1, "one")), encoded(&data(2, "two"))].concat());
    assert!(!rig.server.wants_read(id));
    rig.say(id, &data(3, "three"));
    rig.advance_to(29_999);
    assert!(rig.server.is_connected(&device("d")));
    rig.takes = true;
    rig.turn();
    assert!(rig.server.wants_read(id));
    assert_eq!(rig.news().len(), 4, "it is online, and its three messages");
    rig.takes = false;
    rig.say_bytes(id, &[encoded(&data(4, "four")), encoded(&data(5, "five"))].concat());
    rig.advance_to(59_998);
    assert!(rig.server.is_connected(&device("d")));
    rig.advance_to(59_999);
    rig.takes = true;
    rig.turn();
    let news = rig.news();
    assert!(
        matches!(&news[..], [_, _, ServerEvent::Offline { report, .. }]
            if report.cause == DownCause::Dead(DeathCause::ReadPaused)),
        "{news:?}"
    );
}

/// However many messages are in one input, no more are decoded than the inbox has room for.
#[test]
fn what_one_read_brings_waits_until_the_inbox_has_room_for_it() {
    let frames: Vec<u8> = (1..=1000).flat_map(|seq| encoded(&Frame::Data { seq, message: message_of(seq) })).collect();
    let (whole, piece) = frames.split_at(frames.len() - 3);
    let room = QueueLimits::new(2, 1000).unwrap();

    let mut rig = Dialer::up(client().inbox(room.clone()));
    rig.takes = false;
    rig.say_bytes(whole);
    rig.say_bytes(piece);
    rig.say(&Frame::Echo { seq: 9 });
    let mut acks = 0;
    for taken in 1..=1000 {
        let event = rig.client.poll_event(rig.now);
        assert!(matches!(&event, Some(Event::Message(message)) if *message == message_of(taken)), "{event:?}");
        rig.turn();
        assert_eq!(rig.client.wants_read(), taken >= 999, "after {taken}");
        acks += rig.heard().iter().filter(|(_, frame)| matches!(frame, Frame::Ack { .. })).count();
    }
    assert!(matches!(rig.client.state(), LinkState::Up { .. }));
    assert!(acks <= 3, "{acks} answers to what one read brought");

    let mut rig = Acceptor::new(server().inbox(room));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.takes = false;
    rig.say_bytes(id, whole);
    rig.say_bytes(id, piece);
    let mut acks = 0;
    for taken in 1..=1000 {
        let event = rig.server.poll_event(rig.now);
        assert!(
            matches!(&event, Some(ServerEvent::Message { message, .. }) if *message == message_of(taken)),
            "{event:?}"
        );
        rig.turn();
        assert_eq!(rig.server.wants_read(id), taken >= 999, "after {taken}");
        acks += rig.heard(id).iter().filter(|frame| matches!(frame, Frame::Ack { .. })).count();
    }
    assert!(rig.server.is_connected(&device("d")));
    assert!(acks <= 3, "{acks} answers to what one read brought");
}

/// A server that says something behind every welcome, and an application that takes nothing.
#[test]
fn connections_do_not_add_to_an_inbox_that_is_full_twice() {
    let mut rig = Dialer::up(client().inbox(QueueLimits::new(3, 1000).unwrap()));
    rig.takes = false;
    for _ in 0..10 {
        rig.cut(Failure::Reset);
        rig.wake(Why::Reconnect);
        let frames: Vec<u8> = (1..=5).flat_map(|seq| encoded(&Frame::Data { seq, message: message_of(seq) })).collect();
        rig.say_bytes(&[encoded(&Frame::Welcome(Box::new(welcome()))), frames].concat());
        assert!(matches!(rig.client.state(), LinkState::Up { .. }));
    }
    rig.takes = true;
    rig.turn();
    // Six at the end of the second connection, and those that the last one brought when there was room again.
    assert_eq!(rig.saw("message"), 6 + 5);
}

fn message_of(number: u64) -> keepbeat_core::session::Message {
    number.to_string().into_bytes().into()
}

#[test]
fn a_farewell_behind_what_the_inbox_has_no_room_for_is_heard_in_its_turn() {
    let frames = |last: &Frame| [encoded(&data(1, "one")), encoded(&data(2, "two")), encoded(last)].concat();
    let goodbye = Frame::Goodbye(Box::new(Goodbye::new(Reason::GoingAway, "")));
    let room = QueueLimits::new(1, 1000).unwrap();
    let mut rig = Dialer::up(client().inbox(room.clone()));
    rig.takes = false;
    rig.say_bytes(&frames(&goodbye));
    assert!(matches!(rig.client.state(), LinkState::Up { .. }));
    rig.takes = true;
    rig.turn();
    assert_eq!(names(&rig.events), ["message", "message", "down"]);

    let mut rig = Acceptor::new(server().inbox(room.clone()));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.takes = false;
    rig.say_bytes(id, &frames(&goodbye));
    assert!(rig.server.is_connected(&device("d")));
    rig.takes = true;
    rig.turn();
    assert_eq!((rig.saw("message"), rig.saw("offline")), (2, 1));

    // The connection breaks first: what was read is heard, and so is why.
    let mut rig = Dialer::up(client().inbox(room.clone()));
    rig.takes = false;
    rig.say_bytes(&frames(&Frame::Goodbye(Box::new(Goodbye::new(Reason::Forbidden, "")))));
    rig.report(Failure::Reset);
    rig.takes = true;
    rig.turn();
    assert_eq!(names(&rig.events), ["message", "message", "down", "gave up"]);
    let mut rig = Acceptor::new(server().inbox(room.clone()));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.takes = false;
    rig.say_bytes(id, &frames(&Frame::Goodbye(Box::new(Goodbye::new(Reason::Closed, "")))));
    rig.hang_up(id, Failure::Reset);
    rig.takes = true;
    rig.turn();
    assert_eq!((rig.saw("message"), rig.saw("offline"), rig.saw("session ended")), (2, 1, 1));

    // We part first: nothing of it is delivered any more.
    let mut rig = Acceptor::new(server().inbox(room));
    let (id, _) = rig.welcomed(&hello("d"));
    rig.takes = false;
    rig.say_bytes(id, &frames(&data(3, "three")));
    rig.server.disconnect(rig.now, &device("d"), Goodbye::new(Reason::GoingAway, ""));
    rig.takes = true;
    rig.turn();
    assert_eq!((rig.saw("message"), rig.saw("offline")), (1, 1));
}

#[test]
fn a_frame_that_never_ends_is_cut_off_however_steadily_it_comes() {
    let frame = encoded(&Frame::Data { seq: 1, message: vec![7; 500_000].into() });
    let mut rig = Dialer::up(client());
    rig.say_bytes(&frame[..1]);
    for step in 1..20 {
        rig.advance_to(step * 3000);
        rig.say_bytes(&frame[step as usize..=step as usize]);
    }
    rig.advance_to(59_999);
    assert_eq!(names(&rig.events), Vec::<&str>::new());
    rig.advance_to(60_000);
    assert_eq!(rig.downs()[0].1.cause, DownCause::Dead(DeathCause::FrameTooSlow));

    let mut rig = Acceptor::new(server());
    let (id, _) = rig.welcomed(&hello("d"));
    rig.say_bytes(id, &frame[..1]);
    for step in 1..20 {
        rig.advance_to(step * 3000);
        rig.say_bytes(id, &frame[step as usize..=step as usize]);
    }
    rig.advance_to(59_999);
    assert_eq!(rig.saw("offline"), 0);
    rig.advance_to(60_000);
    assert_eq!((rig.saw("offline"), rig.saw("suspect")), (1, 0));
    assert_eq!(rig.farewell(id).unwrap().reason, Reason::TimedOut);
}

#[test]
fn a_frame_in_pieces_is_over_when_its_last_byte_came() {
    let mut rig = Dialer::up(client());
    rig.echoes = true;
    let frame = encoded(&data(1, "in pieces"));
    for (step, byte) in frame.iter().enumerate() {
        rig.advance_to(step as u64 * 100);
        rig.say_bytes(&[*byte]);
    }
    rig.advance_to(600_000);
    assert_eq!((rig.saw("message"), rig.saw("down")), (1, 0));
}

#[test]
fn whole_frames_may_come_for_ever() {
    let mut rig = Dialer::up(client());
    let mut bytes = Vec::new();
    for seq in 1..200 {
        bytes.extend(encoded(&data(seq, "a message that is cut anywhere")));
    }
    // Every read ends inside a frame, and holds the end of the one before.
    for (step, piece) in bytes.chunks(40).enumerate() {
        rig.advance_to(step as u64 * 3000);
        rig.say_bytes(piece);
    }
    assert_eq!((rig.saw("message"), rig.saw("down"), rig.saw("suspect")), (199, 0, 0));
    rig.client.send(rig.now, message("still here")).unwrap();
}
