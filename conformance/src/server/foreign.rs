//! Clients of WebSocket that are no keepbeat: they get a name, are pinged, and have no session.

use std::time::Duration;

use keepbeat_core::server::{Admission, ServerEvent};
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::websocket::{Control, Item, NO_CODE};

use crate::harness::{ServerUnderTest, Servers};
use crate::network::Order;
use crate::peers::{Line, OFTEN, asking, close};
use crate::stage::{ServerStage, server};
use crate::words::both_kinds;

/// Texts and binary messages arrive, both ways, as what they were sent as. What arrived there is known by the pongs behind it.
pub fn texts_and_binaries<H: Servers>(stage: &mut ServerStage<H>) {
    let (line, name) = online(stage);
    stage.peer.mute(line);
    for message in both_kinds() {
        stage.send(&name, message.clone());
        stage.peer.say_item(line, &Item::Message(message));
    }
    for _ in both_kinds() {
        stage.until("message of foreigner");
    }
    stage.peer.until(line, "MESSAGE [0 bytes]");
    stage.peer.order(line, Order::Echo(true));
    stage.until("acknowledged by foreigner: 6");
    leave(stage, line);
    stage.expect(
        "
        app: online foreigner, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: sent 4
        app: sent 5
        app: sent 6
        app: message of foreigner: twin
        app: message of foreigner: binary twin
        app: message of foreigner: [200000 bytes]
        app: message of foreigner: [100000 characters]
        app: message of foreigner: [0 characters]
        app: message of foreigner: [0 bytes]
        app: acknowledged by foreigner: 6
        app: offline foreigner: goodbye Closed 1000
        app: session of foreigner ended, 0 undelivered
        0: MESSAGE twin
        0: MESSAGE binary twin
        0: MESSAGE [200000 bytes]
        0: MESSAGE [100000 characters]
        0: MESSAGE [0 characters]
        0: MESSAGE [0 bytes]
        0: CLOSE 1000
        0: end of file
        ",
    );
}

/// The client loses its power. It is pinged, suspected, told, and its session ends; what it has not ponged for is handed back.
pub fn half_open_peer<H: Servers>(stage: &mut ServerStage<H>) {
    let (line, name) = online(stage);
    stage.peer.until(line, "PING");
    stage.peer.mute(line);
    stage.send(&name, "one");
    stage.until("suspect foreigner");
    stage.peer.say_item(line, &Item::Pong(control(b"")));
    stage.until("recovered foreigner");
    stage.until("session of foreigner ended");
    stage.peer.until(line, "CLOSE");
    stage.peer.hang_up(line);
    stage.expect(
        "
        app: online foreigner, new session
        app: sent 1
        app: suspect foreigner
        app: recovered foreigner
        app: suspect foreigner
        app: offline foreigner: dead NoReply
        app: session of foreigner ended, 1 undelivered
        0: PING
        0: MESSAGE one
        0: CLOSE 1011
        0: end of file
        ",
    );
}

/// A client that pings by a timer of its own, and answers nothing: it is answered, and alive.
pub fn peer_with_a_timer<H: Servers>(stage: &mut ServerStage<H>) {
    let (line, _) = online(stage);
    stage.peer.mute(line);
    let ping = stage.peer.item_bytes(&Item::Ping(control(b"tick")));
    stage.peer.order(line, Order::Repeat(ping, 4 * OFTEN));
    for _ in 0..20 {
        stage.peer.until(line, "PONG tick");
    }
    stage.peer.order(line, Order::Quiet);
    leave(stage, line);
    let pongs = "0: PONG tick\n".repeat(20);
    stage.expect(&format!(
        "
        app: online foreigner, new session
        app: offline foreigner: goodbye Closed 1000
        app: session of foreigner ended, 0 undelivered
        {pongs}
        0: CLOSE 1000
        0: end of file
        "
    ));
}

/// A client that pings as fast as it can is told that this is too much.
pub fn ping_flood<H: Servers>(stage: &mut ServerStage<H>) {
    let (line, _) = online(stage);
    let pings = stage.peer.item_bytes(&Item::Ping(control(b"tick"))).repeat(100);
    stage.peer.write(line, pings);
    stage.peer.until(line, "CLOSE");
    stage.peer.until(line, "end of file");
    stage.until("session of foreigner ended");
    stage.expect(
        "
        app: online foreigner, new session
        app: offline foreigner: Flood
        app: session of foreigner ended, 0 undelivered
        0: CLOSE 1008
        0: end of file
        ",
    );
}

/// Clients that close, with a code, without one, and in the middle of a message; and one that ends without a close.
pub fn closes<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    for code in [1001, 4000, NO_CODE] {
        let line = stage.peer.connect(address);
        let mut front = stage.peer.item_bytes(&Item::Message("half".into()));
        front[0] &= !FIN;
        stage.peer.write(line, front);
        stage.peer.order(line, Order::Close(close(code)));
        stage.peer.until(line, "end of file");
        stage.until("session of foreigner ended");
    }
    let line = stage.peer.connect(address);
    stage.until("online foreigner");
    stage.peer.hang_up(line);
    stage.until("session of foreigner ended");
    stage.expect(
        "
        app: online foreigner, new session
        app: offline foreigner: goodbye GoingAway 1001
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: goodbye Failed 4000
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: goodbye GoingAway
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: network Eof
        app: session of foreigner ended, 0 undelivered
        0: CLOSE 1001
        0: end of file
        1: CLOSE 4000
        1: end of file
        2: CLOSE
        2: end of file
        3: end of file
        ",
    );
}

/// Clients that break a rule of WebSocket are told which, and hung up on when they answer.
pub fn violations<H: Servers>(stage: &mut ServerStage<H>) {
    stage.websocket(|config| config.message_limit(1000));
    let address = stage.serve(server());
    let zeros = [0; 4];
    for bytes in [
        [&b"\x83\x80"[..], &zeros].concat(),
        [&b"\x81\x81"[..], &zeros, b"\xff"].concat(),
        [&b"\x82\xfe\x03\xe9"[..], &zeros].concat(),
        b"\x81\x01a".to_vec(),
    ] {
        let line = stage.peer.connect(address);
        stage.until("online foreigner");
        stage.peer.write(line, bytes);
        stage.peer.until(line, "end of file");
        stage.until("session of foreigner ended");
    }
    stage.expect(
        "
        app: online foreigner, new session
        app: offline foreigner: protocol violated, Malformed
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: protocol violated, Malformed
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: protocol violated, TooLarge
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: protocol violated, Malformed
        app: session of foreigner ended, 0 undelivered
        0: CLOSE 1002
        0: end of file
        1: CLOSE 1007
        1: end of file
        2: CLOSE 1009
        2: end of file
        3: CLOSE 1002
        3: end of file
        ",
    );
}

/// A server that shuts down closes as one that restarts, and ends when all have answered or had time to.
pub fn drain<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let one = stage.peer.connect(address);
    stage.until("online foreigner");
    let two = stage.peer.connect(address);
    stage.until("online foreigner");
    stage.peer.mute(two);
    stage.server().drain(Duration::from_secs(2), Duration::from_secs(1));
    for line in [one, two] {
        stage.peer.until(line, "CLOSE");
        stage.peer.until(line, "end of file");
    }
    for _ in 0..2 {
        stage.until("session of foreigner ended");
    }
    stage.over();
    stage.expect(
        "
        app: online foreigner, new session
        app: online foreigner, new session
        app: offline foreigner: ended by us GoingAway
        app: session of foreigner ended, 0 undelivered
        app: offline foreigner: ended by us GoingAway
        app: session of foreigner ended, 0 undelivered
        app: over
        0: CLOSE 1012
        0: end of file
        1: CLOSE 1012
        1: end of file
        ",
    );
}

/// Who asks at another path, comes from another page, or asks for something else, is answered in HTTP. So is who says nothing
/// of HTTP, and who asks for a page.
pub fn requests<H: Servers>(stage: &mut ServerStage<H>) {
    stage.websocket(|config| {
        config.path("/live").allow_origin("https://here.example").page("/", "text/html", b"hello".to_vec())
    });
    let address = stage.serve(server());
    for (request, answer) in [
        (asking("/else"), "404"),
        (from("https://elsewhere.example"), "403"),
        (from("https://here.example"), "101"),
        (asking("/live?token=1"), "101"),
    ] {
        let line = stage.peer.ask(address, request, answer);
        if answer == "101" {
            leave(stage, line);
        } else {
            stage.peer.until(line, "end of file");
            stage.until("rejected");
        }
    }
    for head in ["GET / HTTP/1.1", "GET /live HTTP/1.1", "POST /live HTTP/1.1", "GET /live HTTP/1.0", "HELO"] {
        let line = stage.peer.ask_raw(address, head);
        stage.peer.until(line, "end of file");
    }
    for _ in 0..4 {
        stage.until("rejected");
    }
    stage.expect(
        "
        app: rejected: protocol violated, NotHere
        app: rejected: protocol violated, Forbidden
        app: online foreigner, new session
        app: offline foreigner: goodbye Closed 1000
        app: session of foreigner ended, 0 undelivered
        app: online foreigner, new session
        app: offline foreigner: goodbye Closed 1000
        app: session of foreigner ended, 0 undelivered
        app: rejected: protocol violated, Malformed
        app: rejected: protocol violated, Malformed
        app: rejected: protocol violated, Malformed
        app: rejected: protocol violated, Malformed
        0: 404
        0: end of file
        1: 403
        1: end of file
        2: 101
        2: CLOSE 1000
        2: end of file
        3: 101
        3: CLOSE 1000
        3: end of file
        4: 200
        4: end of file
        5: 426
        5: end of file
        6: 405
        6: end of file
        7: 505
        7: end of file
        8: 400
        8: end of file
        ",
    );
}

/// The application decides who gets in, by what the request says: one never, one later, one now.
pub fn refused<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server().authenticate());
    let later = Admission::Busy { retry_after: Duration::from_secs(5), spread: Duration::ZERO };
    for (admission, answer) in [
        (Admission::Forbidden("not you".to_owned()), "403"),
        (Admission::Unauthorized("who?".to_owned()), "401"),
        (later, "503"),
        (Admission::Accept, "101"),
    ] {
        let line = stage.peer.connect_raw(address);
        let request = asking("/").header("Authorization", "Bearer xyz").unwrap_or_else(|error| panic!("{error}"));
        stage.peer.order(line, Order::Ask(Some(request)));
        if let ServerEvent::Authenticate { connection, credentials, .. } = stage.until("authenticate foreigner") {
            assert_eq!(credentials.as_bytes(), b"Bearer xyz");
            stage.server().answer(connection, admission);
        }
        stage.peer.until(line, answer);
        if answer == "101" {
            leave(stage, line);
        } else {
            stage.peer.until(line, "end of file");
            stage.until("rejected foreigner");
        }
    }
    stage.expect(
        "
        app: authenticate foreigner
        app: rejected foreigner: ended by us Forbidden
        app: authenticate foreigner
        app: rejected foreigner: ended by us Unauthorized
        app: authenticate foreigner
        app: rejected foreigner: ended by us Busy
        app: authenticate foreigner
        app: online foreigner, new session
        app: offline foreigner: goodbye Closed 1000
        app: session of foreigner ended, 0 undelivered
        0: 403
        0: end of file
        1: 401
        1: end of file
        2: 503, back after 5s
        2: end of file
        3: 101
        3: CLOSE 1000
        3: end of file
        ",
    );
}

/// A frame is the last one of its message.
const FIN: u8 = 0x80;

fn online<H: Servers>(stage: &mut ServerStage<H>) -> (Line, String) {
    let address = stage.serve(server());
    let line = stage.peer.connect(address);
    match stage.until("online foreigner") {
        ServerEvent::Online { device, .. } => (line, device.as_str().to_owned()),
        other => panic!("{other:?}"),
    }
}

/// The client closes, properly.
fn leave<H: Servers>(stage: &mut ServerStage<H>, line: Line) {
    stage.peer.order(line, Order::Close(close(1000)));
    stage.peer.until(line, "end of file");
    stage.until("session of foreigner ended");
}

fn from(origin: &str) -> UpgradeRequest {
    asking("/live").origin(origin).unwrap_or_else(|error| panic!("{error}"))
}

fn control(payload: &[u8]) -> Control {
    Control::new(payload).unwrap_or_else(|| panic!("at most 125 bytes"))
}
