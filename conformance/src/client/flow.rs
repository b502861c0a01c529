//! Bytes that come slowly, in small pieces, too many, or not at all.

use std::time::Duration;

use keepbeat_core::session::QueueLimits;

use crate::REPLY_TIMEOUT;
use crate::harness::Clients;
use crate::network::Order;
use crate::peers::{ack, calm_welcome, data, resumed, welcome};
use crate::stage::{ClientStage, calm, client, liveness};
use crate::words::{both_kinds, load};

/// The application takes no messages: when its inbox is full, no more is read, and yet the link lives. Not even the end is seen
/// before what came in front of it is taken.
pub fn slow_application<H: Clients>(stage: &mut ClientStage<H>) {
    let inbox = QueueLimits::new(2, 64 << 20).unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().inbox(inbox));
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    for seq in 1..=4 {
        stage.peer.say(line, &data(seq, load(PIECE)));
    }
    stage.peer.acknowledged(line, 2);
    stage.peer.order(line, Order::HangUp);
    // Whoever reads on finds the end before its next two beats.
    stage.peer.beats(line, 2);
    stage.peer.acknowledged(line, 2);
    for _ in 0..4 {
        stage.until("message");
    }
    stage.until("down");
    stage.peer.until(line, "end of file");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message [200000 bytes]
        app: message [200000 bytes]
        app: message [200000 bytes]
        app: message [200000 bytes]
        app: down: network Eof
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: ACK 2
        0: BEAT
        0: BEAT
        0: ACK 2
        0: end of file
        1: HELLO d, resume behind 4
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

/// The server does not read for a while. What waits leaves in order when it does, and nothing is lost or doubled.
pub fn slow_reader<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let line = stage.peer.let_in(address, calm_welcome());
    stage.until("up");
    stage.peer.order(line, Order::Read(false));
    for length in [LARGE, 1000, LARGE] {
        stage.send(load(length));
    }
    // Once this has passed, the bytes above have been offered to the socket.
    stage.peer.say(line, &data(1, "meanwhile"));
    stage.until("message meanwhile");
    stage.peer.order(line, Order::Read(true));
    stage.peer.until(line, "DATA 3");
    stage.peer.say(line, &ack(3));
    stage.until("acknowledged 3");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: message meanwhile
        app: acknowledged 3
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: DATA 1: [16777216 bytes]
        0: DATA 2: [1000 bytes]
        0: DATA 3: [16777216 bytes]
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// Texts and binary messages arrive, both ways, as what they were sent as.
pub fn texts_and_binaries<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let line = stage.peer.let_in(address, calm_welcome());
    stage.until("up");
    for (seq, message) in (1..).zip(both_kinds()) {
        stage.send(message.clone());
        stage.peer.say(line, &data(seq, message));
    }
    for _ in both_kinds() {
        stage.until("message");
    }
    stage.peer.until(line, "DATA 6");
    stage.peer.say(line, &ack(6));
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
        0: HELLO d, new session
        0: DATA 1: twin
        0: DATA 2: binary twin
        0: DATA 3: [200000 bytes]
        0: DATA 4: [100000 characters]
        0: DATA 5: [0 characters]
        0: DATA 6: [0 bytes]
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// The server trickles a frame, slower than it would have to answer: its bytes are life.
pub fn slow_writer<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.mute(line);
    let bytes = stage.peer.bytes(&data(1, "trickle"));
    for piece in bytes.chunks(bytes.len().div_ceil(4)) {
        stage.peer.until(line, "BEAT");
        stage.peer.write(line, piece.to_vec());
    }
    stage.until("message trickle");
    stage.peer.order(line, Order::Echo(true));
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message trickle
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: BEAT
        0: BEAT
        0: BEAT
        0: BEAT
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// The server never ends a frame, however steadily its bytes come.
pub fn frame_without_an_end<H: Clients>(stage: &mut ClientStage<H>) {
    let config = liveness().frame_time(2 * REPLY_TIMEOUT).build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.mute(line);
    stage.peer.write(line, stage.peer.bytes(&data(1, load(PIECE)))[..100].to_vec());
    stage.peer.order(line, Order::Repeat(vec![7], Duration::from_millis(20)));
    stage.peer.gone(line);
    stage.until("down");
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: dead FrameTooSlow
        0: HELLO d, new session
        0: gone
        ",
    );
}

/// Every byte comes by itself.
pub fn one_byte_reads<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let line = stage.peer.accept(address);
    stage.peer.hello(line);
    stage
        .peer
        .write_one_by_one(line, &stage.peer.bytes(&keepbeat_core::wire::Frame::Welcome(Box::new(calm_welcome()))));
    stage.until("up");
    for (seq, message) in [(1, load(1)), (2, load(2000)), (3, load(0)), (4, load(300))] {
        stage.peer.write_one_by_one(line, &stage.peer.bytes(&data(seq, message)));
        stage.peer.write_one_by_one(line, &stage.peer.bytes(&ack(0)));
    }
    for _ in 0..4 {
        stage.until("message");
    }
    stage.peer.acknowledged(line, 4);
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message [1 bytes]
        app: message [2000 bytes]
        app: message [0 bytes]
        app: message [300 bytes]
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: ACK 4
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// The server says more than anyone can read, all the time: our beats leave nevertheless, and our messages.
pub fn flood<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let line = stage.peer.let_in(address, calm_welcome());
    stage.until("up");
    stage.peer.order(line, Order::Repeat(stage.peer.bytes(&ack(0)).repeat(10_000), Duration::ZERO));
    stage.peer.beats(line, 2);
    stage.send("through");
    stage.peer.until(line, "DATA 1");
    stage.peer.order(line, Order::Quiet);
    stage.peer.say(line, &ack(1));
    stage.until("acknowledged 1");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: acknowledged 1
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: BEAT
        0: BEAT
        0: DATA 1: through
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// Larger than what is read at once.
const PIECE: usize = 200_000;

/// More than an operating system holds for one connection.
const LARGE: usize = 16 << 20;
