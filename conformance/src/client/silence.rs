//! Peers from which nothing is heard, or who hear nothing.

use std::time::Duration;

use keepbeat_core::wire::{Frame, Welcome};

use crate::CALM;
use crate::harness::Clients;
use crate::network::Order;
use crate::peers::{OFTEN, ack, calm_welcome, data, resumed, welcome};
use crate::stage::{ClientStage, calm, client};
use crate::words::load;

/// The server loses its power: what it had not acknowledged reaches the one that follows.
pub fn half_open_peer<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.send("one");
    stage.peer.until(first, "DATA 1");
    stage.peer.say(first, &ack(1));
    stage.until("acknowledged 1");
    stage.peer.vanish(first);
    stage.send("two");
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(1));
    stage.until("up");
    stage.peer.until(second, "DATA 2");
    stage.peer.say(second, &ack(2));
    stage.until("acknowledged 2");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: acknowledged 1
        app: sent 2
        app: suspect
        app: down: dead NoReply
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: acknowledged 2
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: DATA 1: one
        1: HELLO d, resume behind 0
        1: DATA 2, again: two
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// What the server says does not arrive; it hears everything, our beats and the end.
pub fn black_hole_towards_us<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.mute(first);
    stage.peer.until(first, "BEAT");
    stage.until("suspect");
    stage.peer.until(first, "end of file");
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    // Late, but not dead: a byte is enough.
    stage.peer.mute(second);
    stage.until("suspect");
    stage.peer.say(second, &data(1, "alive"));
    stage.until("message alive");
    stage.until("recovered");
    stage.peer.order(second, Order::Echo(true));
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: suspect
        app: down: dead NoReply
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: suspect
        app: message alive
        app: recovered
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: BEAT
        0: end of file
        1: HELLO d, resume behind 0
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// What we say does not arrive, although the server is heard all the time: our bytes do not move.
pub fn black_hole_away_from_us<H: Clients>(stage: &mut ClientStage<H>) {
    let config =
        calm().write_stall(CALM_STALL).stall_limit(CALM_STALL).build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let first = stage.peer.let_in(address, calm_welcome());
    stage.until("up");
    stage.peer.order(first, Order::Read(false));
    stage.peer.order(first, Order::Repeat(stage.peer.bytes(&Frame::Beat { seq: 1 }), OFTEN));
    stage.send(load(LARGE));
    stage.until("down");
    stage.peer.order(first, Order::Quiet);
    let second = stage.peer.let_in(address, Welcome { resumed: true, ..calm_welcome() });
    stage.until("up");
    stage.peer.until(second, "DATA 1");
    stage.peer.say(second, &ack(1));
    stage.until("acknowledged 1");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: down: dead WriteStalled
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: acknowledged 1
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        1: HELLO d, resume behind 0
        1: DATA 1, again: [25165824 bytes]
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// How long our bytes may stand still there.
const CALM_STALL: Duration = Duration::from_millis(CALM as u64);

/// More than an operating system holds for one connection.
const LARGE: usize = 24 << 20;
