//! Connections that end, or do not begin.

use std::num::NonZeroU32;

use keepbeat_core::wire::{Frame, Goodbye, Reason};

use crate::harness::{ClientUnderTest, Clients};
use crate::network::Order;
use crate::peers::{ack, data, goodbye, resumed, welcome};
use crate::stage::{ClientStage, client, reconnect};

/// The connection ends in the middle of a message: it is not delivered, and comes whole on the next one.
pub fn end_of_file_in_a_frame<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.say(first, &data(1, "one"));
    stage.peer.write(first, stage.peer.bytes(&data(2, "two"))[..4].to_vec());
    stage.until("message one");
    stage.peer.hang_up(first);
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.peer.say(second, &data(2, "two"));
    stage.until("message two");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message one
        app: down: network Eof
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: message two
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: end of file
        1: HELLO d, resume behind 1
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// The server's machine has forgotten the connection.
pub fn reset<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.until(first, "BEAT");
    stage.peer.order(first, Order::Reset);
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: network Reset
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: BEAT
        1: HELLO d, resume behind 0
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// Nobody listens, until the link has given up. Opened again, it finds a server.
pub fn refused<H: Clients>(stage: &mut ClientStage<H>) {
    let attempts = NonZeroU32::MIN.saturating_add(2);
    let config = reconnect().max_attempts(attempts).build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.peer.reserve();
    stage.open_to(address, client().reconnect(config));
    stage.send("early");
    stage.until("gave up");
    stage.over();
    stage.send("late");
    stage.peer.listen(address);
    stage.client().reopen();
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.until(line, "DATA 1");
    stage.peer.say(line, &ack(1));
    stage.until("acknowledged 1");
    stage.close(line);
    stage.expect(
        "
        app: sent 1
        app: connecting, attempt 1
        app: failed: no connection Refused
        app: connecting, attempt 2
        app: failed: no connection Refused
        app: connecting, attempt 3
        app: failed: no connection Refused, for good
        app: gave up: Attempts(3), 1 unacknowledged
        app: over
        app: not sent: the link is closed; open it before sending
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: acknowledged 1
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: DATA 1: early
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// A server that takes connections and drops them without a word, properly or by a reset.
pub fn accept_then_close<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for _ in 0..2 {
        let line = stage.peer.accept(address);
        stage.peer.hello(line);
        stage.peer.hang_up(line);
        stage.until("failed");
    }
    let line = stage.peer.accept(address);
    stage.peer.hello(line);
    stage.peer.order(line, Order::Reset);
    stage.until("failed");
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: failed: network Eof
        app: connecting, attempt 2
        app: failed: network Eof
        app: connecting, attempt 3
        app: failed: network Reset
        app: connecting, attempt 4
        app: up, attempt 4, new session
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: end of file
        1: HELLO d, new session
        1: end of file
        2: HELLO d, new session
        3: HELLO d, new session
        3: GOODBYE Closed
        3: end of file
        ",
    );
}

/// A server that keeps its sessions goes away and comes back: nothing is lost, nothing comes twice.
pub fn server_restart<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    for message in ["one", "two", "three"] {
        stage.send(message);
    }
    stage.peer.say(first, &data(1, "a"));
    stage.peer.say(first, &data(2, "b"));
    stage.peer.until(first, "DATA 3");
    stage.peer.acknowledged(first, 2);
    stage.until("message b");
    stage.peer.say(first, &ack(1));
    stage.until("acknowledged 1");
    stage.peer.hang_up(first);
    stage.until("down");
    stage.send("four");
    // It has read the second message, but not said so; and does not know that its own have arrived.
    let second = stage.peer.let_in(address, resumed(2));
    stage.peer.say(second, &data(1, "a"));
    stage.peer.say(second, &data(2, "b"));
    stage.peer.say(second, &data(3, "c"));
    stage.until("message c");
    stage.peer.until(second, "DATA 4");
    stage.peer.acknowledged(second, 3);
    stage.peer.say(second, &ack(4));
    stage.until("acknowledged 4");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: message a
        app: message b
        app: acknowledged 1
        app: down: network Eof
        app: sent 4
        app: connecting, attempt 2
        app: acknowledged 2
        app: up, attempt 2, resumed
        app: message c
        app: acknowledged 4
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: DATA 1: one
        0: DATA 2: two
        0: DATA 3: three
        0: ACK 2
        0: end of file
        1: HELLO d, resume behind 2
        1: DATA 3: three
        1: DATA 4: four
        1: ACK 3
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// A drained link takes no more messages, and ends when the last one is acknowledged.
pub fn drain<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.send("one");
    stage.send("two");
    stage.client().drain(crate::PATIENCE);
    stage.send("three");
    stage.peer.until(line, "DATA 2");
    stage.peer.say(line, &ack(2));
    stage.peer.until(line, "GOODBYE");
    stage.peer.hang_up(line);
    stage.until("closed");
    stage.over();
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: not sent: the link is closed; open it before sending
        app: acknowledged 2
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: DATA 1: one
        0: DATA 2: two
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// A server that shuts down asks to come back later.
pub fn going_away<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    let farewell = Goodbye { retry_after_ms: 50, spread_ms: 10, ..Goodbye::new(Reason::GoingAway, "") };
    stage.peer.say(first, &Frame::Goodbye(Box::new(farewell)));
    stage.peer.until(first, "end of file");
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: goodbye GoingAway, back after 50ms within 10ms
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: end of file
        1: HELLO d, resume behind 0
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// Another connection of the same device has taken over, again and again.
pub fn takeover<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for round in 0..3 {
        let line = stage.peer.let_in(address, if round == 0 { welcome() } else { resumed(0) });
        stage.until("up");
        stage.peer.say(line, &goodbye(Reason::Replaced));
        stage.peer.until(line, "end of file");
        stage.until("down");
    }
    let line = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: goodbye Replaced
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: down: goodbye Replaced
        app: connecting, attempt 3
        app: up, attempt 3, resumed
        app: down: goodbye Replaced, conflict
        app: connecting, attempt 4
        app: up, attempt 4, resumed
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: end of file
        1: HELLO d, resume behind 0
        1: end of file
        2: HELLO d, resume behind 0
        2: end of file
        3: HELLO d, resume behind 0
        3: GOODBYE Closed
        3: end of file
        ",
    );
}

/// A server that is taken for dead speaks again on the old connection: nobody listens to it there.
pub fn late_words<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.vanish(first);
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.peer.say(first, &data(1, "late"));
    stage.peer.beats(second, 1);
    stage.peer.say(second, &data(1, "fresh"));
    stage.until("message");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: suspect
        app: down: dead NoReply
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: message fresh
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        1: HELLO d, resume behind 0
        1: BEAT
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// The server does not let this device in, whatever it tries.
pub fn forbidden<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let line = stage.peer.accept(address);
    stage.peer.hello(line);
    stage.peer.say(line, &Frame::Refuse(Box::new(Goodbye::new(Reason::Forbidden, "not you"))));
    stage.peer.until(line, "end of file");
    stage.until("gave up");
    stage.over();
    stage.expect(
        "
        app: connecting, attempt 1
        app: failed: refused Forbidden, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: end of file
        ",
    );
}
