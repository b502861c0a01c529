//! The native protocol in the messages of a WebSocket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::websocket::{Dialed, Served, client, close, in_message, link, server, websocket, with_beat_at_port_1};
use common::{data, encoded, hello, message, welcome};
use keepbeat_core::DownCause;
use keepbeat_core::client::{Event, LinkState};
use keepbeat_core::server::ServerEvent;
use keepbeat_core::session::Ticket;
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::websocket::{Control, Item, SUBPROTOCOL};
use keepbeat_core::wire::{Frame, Goodbye, Hello, Reason, Welcome, WireError};

fn request() -> UpgradeRequest {
    UpgradeRequest::new("/").unwrap().subprotocol(SUBPROTOCOL).unwrap()
}

/// A keepbeat over WebSocket has asked, and said nothing more.
fn upgraded() -> Served {
    let mut rig = Served::new(with_beat_at_port_1(server(websocket())));
    rig.ask(&request());
    assert!(rig.peer.is_open());
    rig
}

fn greeted(hello: &Hello) -> Frame {
    Frame::Hello(Box::new(hello.clone()))
}

/// The one welcome that came, and what came behind it.
fn welcomed(rig: &mut Served) -> (Welcome, Vec<Frame>) {
    let mut frames = rig.peer.frames().into_iter();
    let Some(Frame::Welcome(welcome)) = frames.next() else { panic!("{:?}", rig.events) };
    (*welcome, frames.collect())
}

/// A device at port 0 comes over WebSocket, at port 1 over TCP.
fn enter(rig: &mut Served, port: usize, hello: &Hello) -> (Welcome, Vec<Frame>) {
    if port == 0 {
        rig.ask(&request());
        rig.say_frames(&[greeted(hello)]);
    } else {
        rig.dial(port);
        rig.write(&encoded(&greeted(hello)));
    }
    welcomed(rig)
}

#[test]
fn a_device_resumes_its_session_over_another_port_and_protocol() {
    for (first, second) in [(0, 1), (1, 0), (0, 0)] {
        let mut rig = Served::new(with_beat_at_port_1(server(websocket())));
        let (before, _) = enter(&mut rig, first, &hello("d"));
        let device = common::device("d");
        rig.server.send(rig.now, &device, message("kept")).unwrap();
        rig.turn();
        rig.end();
        rig.advance(5000);
        let (after, behind) = enter(&mut rig, second, &Hello { token: Some(before.token), ..hello("d") });
        assert!(after.resumed);
        assert_eq!(behind, [data(1, "kept")]);
        assert_eq!(rig.saw("session ended"), 0);
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_a_cut_at_any_byte() {
    for byte in (0..900).step_by(3) {
        let mut link = link(true, byte as u64);
        link.cut();
        link.next_flow = (byte, usize::MAX);
        link.forget();
        for number in 0..20 {
            link.client.send(link.now, number.to_string().into()).unwrap();
        }
        link.advance(5000);
        link.cut();
        link.advance(5000);
        assert_eq!(
            link.server_arrived(),
            (0..20).map(|number| number.to_string()).collect::<Vec<_>>(),
            "at byte {byte}"
        );
        assert_eq!(link.client.unacknowledged(), 0);
    }
}

#[test]
fn the_hello_is_limited_before_it_is_welcomed() {
    let mut rig = upgraded();
    // 4 KiB and the frame's own front would be taken; this is announced as longer, and nothing of it has come.
    rig.write(&[0x82, 0xfe, 0x10, 0x40, 0, 0, 0, 0]);
    assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), 1009);
    assert!(matches!(
        &rig.events[..],
        [(0, ServerEvent::Rejected { cause: DownCause::Protocol(WireError::TooLarge { .. }), device: None, .. })]
    ));
    let mut rig = upgraded();
    rig.say_frames(&[greeted(&hello("d"))]);
    rig.say_frames(&[Frame::Data { seq: 1, message: vec![7; 1 << 20].into() }]);
    assert_eq!(rig.saw("message"), 1, "behind the welcome, messages have their own limit");
}

#[test]
fn a_message_holds_whole_frames_of_the_native_protocol() {
    let mut rig = upgraded();
    rig.say_frames(&[greeted(&hello("d"))]);
    rig.say_frames(&[data(1, "one"), Frame::Beat { seq: 1 }, data(2, "two")]);
    assert_eq!(rig.saw("message"), 2);
    let (_, behind) = welcomed(&mut rig);
    assert!(behind.contains(&Frame::Echo { seq: 1 }) && behind.contains(&Frame::Ack { seq: 2 }), "{behind:?}");

    let halves = encoded(&data(3, "three"));
    for (item, code) in [
        (Item::Message("text".into()), 1003),
        (Item::Message(halves[..4].to_vec().into()), 1002),
        (Item::Message([&encoded(&data(3, "three"))[..], &halves[..4]].concat().into()), 1002),
    ] {
        let mut rig = upgraded();
        rig.say_frames(&[greeted(&hello("d"))]);
        rig.say(&item);
        assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), code, "{item:?}");
        let frames = rig.peer.frames();
        assert!(matches!(frames.last(), Some(Frame::Goodbye(goodbye)) if goodbye.reason == Reason::Malformed));
        assert_eq!(rig.saw("offline"), 1);
    }
}

#[test]
fn pings_are_answered_before_and_behind_the_welcome() {
    let mut rig = upgraded();
    let pong = |rig: &mut Served, payload: &[u8]| {
        let payload = Control::new(payload).unwrap();
        rig.say(&Item::Ping(payload.clone()));
        rig.peer.heard.last() == Some(&(rig.now.as_millis(), Item::Pong(payload)))
    };
    assert!(pong(&mut rig, b"early"));
    rig.say_frames(&[greeted(&hello("d"))]);
    assert!(pong(&mut rig, b"late"));
    let flood = vec![0x89, 0x80, 0, 0, 0, 0].repeat(100);
    rig.write(&flood);
    let frames = rig.peer.frames();
    assert!(matches!(frames.last(), Some(Frame::Goodbye(goodbye)) if goodbye.reason == Reason::Flood), "{frames:?}");
    assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()), None, "taken with the frames");
}

#[test]
fn a_goodbye_is_followed_by_a_close_and_the_server_hangs_up_behind_the_other() {
    let mut rig = upgraded();
    rig.say_frames(&[greeted(&hello("d"))]);
    rig.say_frames(&[Frame::Goodbye(Box::new(Goodbye::new(Reason::Closed, "")))]);
    assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), 1000);
    assert_eq!(rig.hung_up, Some(0), "both have said their last word");
    assert_eq!((rig.saw("offline"), rig.saw("session ended")), (1, 1));

    let mut rig = upgraded();
    rig.peer.answers = false;
    rig.say_frames(&[greeted(&hello("d"))]);
    rig.server.disconnect(rig.now, &common::device("d"), Goodbye::new(Reason::GoingAway, ""));
    rig.turn();
    rig.advance(300);
    assert_eq!(rig.hung_up, None);
    rig.say(&close(1001));
    assert_eq!(rig.hung_up, Some(300));
}

#[test]
fn a_client_speaks_as_the_server_chooses_on_every_connection_anew() {
    let wire = websocket().subprotocol(SUBPROTOCOL).subprotocol("other");
    let mut rig = Dialed::new(client(wire));
    let next = |rig: &mut Dialed, subprotocol| {
        rig.agree(subprotocol);
        if subprotocol == Some(SUBPROTOCOL) {
            let frames = rig.peer.frames();
            assert!(matches!(&frames[..], [Frame::Hello(_)]), "{frames:?}");
            rig.say(&in_message(&[Frame::Welcome(Box::new(welcome()))]));
        }
        assert!(matches!(rig.client.state(), LinkState::Up { .. }), "{:?}", rig.events);
    };
    let again = |rig: &mut Dialed| {
        rig.end();
        while rig.open.is_none() {
            rig.advance(100);
        }
    };
    next(&mut rig, Some(SUBPROTOCOL));
    rig.client.send(rig.now, message("one")).unwrap();
    rig.turn();
    assert!(rig.peer.frames().contains(&data(1, "one")));
    again(&mut rig);
    // This server is another one, and no keepbeat: it may get the message for the second time.
    next(&mut rig, Some("other"));
    assert!(matches!(rig.events[rig.events.len() - 2], (_, Event::Up { resumed: false, in_doubt: 1, .. })));
    assert_eq!(rig.peer.take(), [Item::Message(message("one"))]);
    assert!(matches!(rig.events.last(), Some((_, Event::Acknowledged { through: Ticket(1) }))), "{:?}", rig.events);
    again(&mut rig);
    next(&mut rig, Some(SUBPROTOCOL));
    rig.client.send(rig.now, message("two")).unwrap();
    rig.turn();
    assert!(rig.peer.frames().contains(&data(1, "two")), "a session of its own");
}

#[test]
fn a_sub_protocol_that_was_not_offered_is_no_agreement() {
    let mut rig = Dialed::new(client(websocket()));
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    rig.write(format!("{answer}Sec-WebSocket-Protocol: keepbeat.1\r\n\r\n").as_bytes());
    assert!(matches!(rig.downs()[..], [(_, ref report)] if matches!(report.cause, DownCause::Protocol(_))));
}
