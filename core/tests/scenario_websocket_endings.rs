//! How links over WebSocket end: violations and closes, ours and theirs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::websocket::{Dialed, Served, client, close, server, websocket};
use common::{SECOND, online};
use keepbeat_core::client::LinkState;
use keepbeat_core::server::ServerEvent;
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::{Goodbye, Reason};

#[test]
fn a_violation_is_answered_with_its_code_and_the_server_hangs_up_behind_the_answer() {
    let zeros = [0; 4];
    for (bytes, code) in [
        ([&b"\x83\x80"[..], &zeros].concat(), 1002),
        ([&b"\x81\x81"[..], &zeros, b"\xff"].concat(), 1007),
        ([&b"\x82\xff\0\0\0\0\0\x10\0\x01"[..], &zeros].concat(), 1009),
    ] {
        for behind in [&b""[..], &[0x82, 0x80, 0, 0, 0, 0]] {
            let mut rig = Served::up(server(websocket()));
            rig.peer.answers = false;
            rig.write(&[&bytes, behind].concat());
            assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), code);
            assert!(matches!(
                rig.events[..],
                [(_, ServerEvent::Offline { .. }), (_, ServerEvent::SessionEnded { .. })]
            ));
            rig.advance(500);
            assert_eq!(rig.hung_up, None, "the other side is given time to hear it");
            rig.say(&close(code));
            assert_eq!(rig.hung_up, Some(500), "the server hangs up first");
        }
    }
}

#[test]
fn nobody_waits_for_another_close_behind_one_that_breaks_the_rules() {
    let zeros = [0; 4];
    for (bytes, code) in [
        // One byte; a code that nobody sends; a reason that is no UTF-8; a length that no control frame has.
        ([&b"\x88\x81"[..], &zeros, b"\0"].concat(), 1002),
        ([&b"\x88\x82"[..], &zeros, b"\x03\xec"].concat(), 1002),
        ([&b"\x88\x83"[..], &zeros, b"\x03\xe8\xff"].concat(), 1007),
        ([&b"\x88\xfe\0\x7e"[..], &zeros].concat(), 1002),
    ] {
        for pieces in [1, bytes.len()] {
            let mut rig = Served::up(server(websocket()));
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                rig.write(piece);
            }
            assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), code, "{bytes:?}");
            assert_eq!(rig.hung_up, Some(0), "{bytes:?}");
        }
    }
}

#[test]
fn a_violation_by_the_server_is_answered_with_its_code_and_the_link_comes_back() {
    for (bytes, code) in [(&b"\x83\0"[..], 1002), (b"\x81\x01\xff", 1007), (b"\x82\x7f\0\0\0\0\0\x10\0\x01", 1009)] {
        let mut rig = Dialed::up(client(websocket()));
        rig.write(bytes);
        assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), code);
        assert!(rig.open.is_some(), "the server hangs up first");
        rig.end();
        assert!(matches!(rig.downs()[..], [(0, _)]));
        assert!(matches!(rig.client.state(), LinkState::Waiting { .. }));
    }
}

#[test]
fn a_close_is_answered_at_once_and_the_server_hangs_up() {
    let mut rig = Served::up(server(websocket()));
    rig.say(&close(1000));
    assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), 1000);
    assert_eq!(rig.hung_up, Some(0));
    let mut rig = Dialed::up(client(websocket()));
    rig.say(&close(1012));
    assert_eq!(rig.peer.close().and_then(|(_, close)| close.code()).unwrap().get(), 1012);
    assert_eq!((rig.hung_up, rig.saw("down")), (None, 0), "the server hangs up first");
    rig.advance(1000);
    assert_eq!((rig.hung_up, rig.saw("down")), (Some(1000), 1), "unless it does not");
}

#[test]
fn our_close_waits_for_the_answer_and_not_for_ever() {
    for answered_after in [None, Some(400)] {
        let mut rig = Dialed::up(client(websocket()));
        rig.peer.answers = false;
        rig.client.close(rig.now);
        rig.turn();
        assert_eq!(rig.saw("closed"), 0);
        rig.advance(answered_after.unwrap_or(1000));
        if answered_after.is_some() {
            rig.say(&close(1000));
            assert_eq!(rig.saw("closed"), 0, "the server hangs up first");
            rig.end();
        }
        assert_eq!((rig.saw("closed"), rig.open), (1, None));

        let mut rig = Served::up(server(websocket()));
        rig.peer.answers = false;
        rig.server.drain(rig.now, 5 * SECOND, SECOND);
        rig.turn();
        rig.advance(answered_after.unwrap_or(1000));
        if answered_after.is_some() {
            rig.say(&close(1012));
        }
        assert_eq!(rig.hung_up, Some(answered_after.unwrap_or(1000)));
        assert!(rig.server.is_drained());
    }
}

#[test]
fn an_answer_to_our_close_that_is_broken_is_an_answer() {
    let mut rig = Served::new(server(websocket()));
    rig.ask(&UpgradeRequest::new("/").unwrap());
    let device = online(&rig.events);
    rig.peer.answers = false;
    rig.server.disconnect(rig.now, &device, Goodbye::new(Reason::GoingAway, ""));
    rig.turn();
    assert_eq!(rig.hung_up, None);
    // 1005, which no close frame carries, under a mask of zeros.
    rig.write(&[0x88, 0x82, 0, 0, 0, 0, 3, 237]);
    assert_eq!(rig.hung_up, Some(0), "no other comes");
}
