//! Servers of WebSocket that are no keepbeat: pings for beats, pongs for acknowledgements, no session.

use keepbeat_core::session::Message;
use keepbeat_core::wire::websocket::{Beats, Control, Item};

use crate::harness::{ClientUnderTest, Clients};
use crate::network::{Order, Seen};
use crate::peers::{Line, OFTEN, close, welcome};
use crate::stage::{ClientStage, calm, client};
use crate::words::{both_kinds, load};

/// What arrived is known by the pongs behind it.
pub fn acknowledged_by_pongs<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.send("one");
    stage.until("acknowledged 1");
    stage.send("two");
    stage.send("three");
    stage.client().drain(crate::PATIENCE);
    stage.peer.until(line, "CLOSE");
    stage.peer.hang_up(line);
    stage.until("closed");
    stage.over();
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: acknowledged 1
        app: sent 2
        app: sent 3
        app: acknowledged 3
        app: closed, 0 unacknowledged
        app: over
        0: MESSAGE one
        0: MESSAGE two
        0: MESSAGE three
        0: CLOSE 1000
        0: end of file
        ",
    );
}

/// The server answers only the newest of our pings (RFC 6455, section 5.5.3): that settles all before.
pub fn coalesced_pongs<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.peer.mute(line);
    for message in ["one", "two", "three"] {
        stage.send(message);
    }
    stage.peer.until(line, "MESSAGE three");
    // The next beat asks for all three.
    let Seen::Item(Item::Ping(newest)) = stage.peer.until(line, "PING") else { return };
    stage.peer.say_item(line, &Item::Pong(newest));
    stage.until("acknowledged 3");
    stage.peer.order(line, Order::Echo(true));
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: acknowledged 3
        app: closed, 0 unacknowledged
        app: over
        0: MESSAGE one
        0: MESSAGE two
        0: MESSAGE three
        0: PING
        0: CLOSE 1000
        0: end of file
        ",
    );
}

/// The server loses its power. There is no session: what it has not ponged for is sent again, and said to be in doubt.
pub fn half_open_peer<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in_anyhow(address, welcome());
    stage.until("up");
    stage.send("one");
    stage.until("acknowledged 1");
    stage.peer.mute(first);
    stage.send("two");
    stage.peer.until(first, "MESSAGE two");
    stage.peer.vanish(first);
    stage.send("three");
    stage.until("down");
    let second = stage.peer.let_in_anyhow(address, welcome());
    stage.until("acknowledged 3");
    stage.peer.until(second, "MESSAGE three");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: acknowledged 1
        app: sent 2
        app: sent 3
        app: suspect
        app: down: dead NoReply
        app: connecting, attempt 2
        app: up, attempt 2, new session, 2 in doubt
        app: acknowledged 3
        app: closed, 0 unacknowledged
        app: over
        0: MESSAGE one
        0: MESSAGE two
        1: MESSAGE two
        1: MESSAGE three
        1: CLOSE 1000
        1: end of file
        ",
    );
}

/// Pongs that nobody asked for, and some with another payload: life, and nothing else.
pub fn pongs_of_another<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.peer.mute(line);
    stage.send("one");
    for payload in [&b""[..], b"another", &[0xff; 12]] {
        stage.until("suspect");
        stage.peer.say_item(line, &Item::Pong(control(payload)));
        stage.until("recovered");
    }
    stage.client().close();
    stage.peer.until(line, "CLOSE");
    stage.peer.hang_up(line);
    stage.until("closed");
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: suspect
        app: recovered
        app: suspect
        app: recovered
        app: suspect
        app: recovered
        app: closed, 1 unacknowledged
        0: MESSAGE one
        0: CLOSE 1000
        0: end of file
        ",
    );
}

/// The server pings by a timer of its own, and answers nothing: it is answered, and alive.
pub fn peer_with_a_timer<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.peer.mute(line);
    let ping = stage.peer.item_bytes(&Item::Ping(control(b"tick")));
    stage.peer.order(line, Order::Repeat(ping, 4 * OFTEN));
    for _ in 0..20 {
        stage.peer.until(line, "PONG tick");
    }
    stage.peer.order(line, Order::Quiet);
    stage.peer.order(line, Order::Echo(true));
    stage.close(line);
    let pongs = "0: PONG tick\n".repeat(20);
    stage.expect(&format!(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: closed, 0 unacknowledged
        app: over
        {pongs}
        0: CLOSE 1000
        0: end of file
        "
    ));
}

/// The server pings as fast as it can: it is told that this is too much.
pub fn ping_flood<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    let pings = stage.peer.item_bytes(&Item::Ping(control(b"tick"))).repeat(100);
    stage.peer.write(line, pings);
    stage.peer.until(line, "CLOSE");
    stage.peer.until(line, "end of file");
    stage.until("down");
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: Flood
        0: CLOSE 1008
        0: end of file
        ",
    );
}

/// Texts and binary messages arrive, both ways, as what they were sent as.
pub fn texts_and_binaries<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.peer.mute(line);
    for message in both_kinds() {
        stage.send(message.clone());
        stage.peer.say_item(line, &Item::Message(message));
    }
    for _ in both_kinds() {
        stage.until("message");
    }
    stage.peer.until(line, "MESSAGE [0 bytes]");
    stage.peer.order(line, Order::Echo(true));
    stage.until("acknowledged 6");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: sent 4
        app: sent 5
        app: sent 6
        app: message twin
        app: message binary twin
        app: message [200000 bytes]
        app: message [100000 characters]
        app: message [0 characters]
        app: message [0 bytes]
        app: acknowledged 6
        app: closed, 0 unacknowledged
        app: over
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

/// Where pongs cannot be seen, messages beat. They are answered and never delivered; what has left counts as acknowledged.
pub fn beats_by_message<H: Clients>(stage: &mut ClientStage<H>) {
    let beats = || Beats::Message { request: "alive".into(), reply: "yes".into() };
    stage.websocket(|config| config.beats(beats()));
    let line = up(stage);
    let say = |stage: &mut ClientStage<H>, text| stage.peer.say_item(line, &Item::Message(Message::text(text)));
    stage.peer.until(line, "MESSAGE alive");
    say(stage, "yes");
    say(stage, "alive");
    stage.peer.until(line, "MESSAGE yes");
    say(stage, "news");
    stage.until("message news");
    stage.send("one");
    stage.until("acknowledged 1");
    stage.peer.until(line, "MESSAGE one");
    // From now on it says nothing more.
    stage.until("suspect");
    say(stage, "yes");
    stage.until("recovered");
    stage.close(line);
    let trace = stage.trace();
    let rest = trace.iter().filter(|line| !line.ends_with(": MESSAGE alive"));
    let rest: Vec<&str> = rest.map(String::as_str).collect();
    assert_eq!(
        rest,
        [
            "app: connecting, attempt 1",
            "app: up, attempt 1, new session",
            "app: message news",
            "app: sent 1",
            "app: acknowledged 1",
            "app: suspect",
            "app: recovered",
            "app: closed, 0 unacknowledged",
            "app: over",
            "0: MESSAGE yes",
            "0: MESSAGE one",
            "0: CLOSE 1000",
            "0: end of file",
        ]
    );
}

/// A large message is on its way to us, and pongs wait behind it: its bytes are life.
pub fn large_message_before_a_pong<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.peer.mute(line);
    let bytes = stage.peer.item_bytes(&Item::Message(load(PIECE)));
    for piece in bytes.chunks(bytes.len().div_ceil(4)) {
        stage.peer.until(line, "PING");
        stage.peer.write(line, piece.to_vec());
    }
    stage.until("message");
    stage.peer.order(line, Order::Echo(true));
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message [200000 bytes]
        app: closed, 0 unacknowledged
        app: over
        0: PING
        0: PING
        0: PING
        0: PING
        0: CLOSE 1000
        0: end of file
        ",
    );
}

/// The server closes in the middle of a message: the close counts, the message does not.
pub fn close_in_a_message<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    let mut front = stage.peer.item_bytes(&Item::Message("half".into()));
    front[0] &= !FIN;
    stage.peer.write(line, front);
    stage.peer.order(line, Order::Close(close(1012)));
    stage.peer.until(line, "end of file");
    stage.until("down");
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: goodbye GoingAway 1012
        0: CLOSE 1012
        0: end of file
        ",
    );
}

/// The server does not answer our close, and does not hang up: we do, when the close timeout is over.
pub fn close_without_an_answer<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage);
    stage.peer.mute(line);
    stage.client().close();
    stage.until("closed");
    stage.over();
    stage.peer.until(line, "end of file");
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: closed, 0 unacknowledged
        app: over
        0: CLOSE 1000
        0: end of file
        ",
    );
}

/// Servers that break a rule of WebSocket are told which, and are tried again.
pub fn violations<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    stage.websocket(|config| config.message_limit(1000));
    let address = stage.open(client().liveness(config));
    for bytes in [&b"\x83\x00"[..], b"\x81\x01\xff", b"\x82\x7e\x03\xe9", b"\x81\x81\x00\x00\x00\x00a"] {
        let line = stage.peer.let_in_anyhow(address, welcome());
        stage.until("up");
        stage.peer.write(line, bytes.to_vec());
        stage.peer.until(line, "end of file");
        stage.until("down");
    }
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: protocol violated, Malformed
        app: connecting, attempt 2
        app: up, attempt 2, new session
        app: down: protocol violated, Malformed
        app: connecting, attempt 3
        app: up, attempt 3, new session
        app: down: protocol violated, TooLarge
        app: connecting, attempt 4
        app: up, attempt 4, new session
        app: down: protocol violated, Malformed
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

/// A frame is the last one of its message.
const FIN: u8 = 0x80;

/// Larger than what is read at once.
const PIECE: usize = 200_000;

fn up<H: Clients>(stage: &mut ClientStage<H>) -> Line {
    let address = stage.open(client());
    let line = stage.peer.let_in_anyhow(address, welcome());
    stage.until("up");
    line
}

fn control(payload: &[u8]) -> Control {
    Control::new(payload).unwrap_or_else(|| panic!("at most 125 bytes"))
}
