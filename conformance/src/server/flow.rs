//! Bytes that come slowly, in small pieces, too many, or not at all.

use std::time::Duration;

use keepbeat_core::session::QueueLimits;
use keepbeat_core::wire::Frame;

use super::silence::returning;
use crate::REPLY_TIMEOUT;
use crate::harness::Servers;
use crate::network::Order;
use crate::peers::{OFTEN, ack, calm_hello, data, hello};
use crate::stage::{ServerStage, liveness, server};
use crate::words::{both_kinds, load};

/// The application takes no messages: when the device's inbox is full, no more is read from it, and yet it is told that we
/// live. Not even the end is seen before what came in front of it is taken.
pub fn slow_application<H: Servers>(stage: &mut ServerStage<H>) {
    let inbox = QueueLimits::new(2, 64 << 20).unwrap_or_else(|error| panic!("{error}"));
    let address = stage.serve(server().inbox(inbox));
    let (line, welcome) = stage.peer.get_in(address, hello("d"));
    stage.until("online d");
    for seq in 1..=4 {
        stage.peer.say(line, &data(seq, load(PIECE)));
    }
    stage.peer.acknowledged(line, 2);
    stage.peer.order(line, Order::HangUp);
    // Whoever reads on finds the end before it repeats this twice.
    stage.peer.until(line, "ACK 2");
    stage.peer.until(line, "ACK 2");
    for _ in 0..4 {
        stage.until("message of d");
    }
    stage.until("offline d");
    stage.peer.until(line, "end of file");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: [200000 bytes]
        app: message of d: [200000 bytes]
        app: message of d: [200000 bytes]
        app: message of d: [200000 bytes]
        app: offline d: network Eof
        app: online d, resumed
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: ACK 2
        0: ACK 2
        0: ACK 2
        0: end of file
        1: WELCOME, resumed behind 4
        1: end of file
        ",
    );
}

/// The device does not read for a while. What waits leaves in order when it does, and nothing is lost or doubled.
pub fn slow_reader<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (line, _) = stage.peer.get_in(address, calm_hello("d"));
    stage.until("online d");
    stage.peer.order(line, Order::Read(false));
    for length in [LARGE, 1000, LARGE] {
        stage.send("d", load(length));
    }
    // Once this has passed, the bytes above have been offered to the socket.
    stage.peer.say(line, &data(1, "meanwhile"));
    stage.until("message of d");
    stage.peer.order(line, Order::Repeat(stage.peer.bytes(&Frame::Beat { seq: 1 }), OFTEN));
    stage.peer.order(line, Order::Read(true));
    stage.peer.until(line, "DATA 3");
    stage.peer.order(line, Order::Quiet);
    stage.peer.say(line, &ack(3));
    stage.until("acknowledged by d: 3");
    stage.leave(line, "d");
    stage.expect(
        "
        app: online d, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: message of d: meanwhile
        app: acknowledged by d: 3
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: DATA 1: [16777216 bytes]
        0: DATA 2: [1000 bytes]
        0: DATA 3: [16777216 bytes]
        0: end of file
        ",
    );
}

/// Texts and binary messages arrive, both ways, as what they were sent as.
pub fn texts_and_binaries<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (line, _) = stage.peer.get_in(address, calm_hello("d"));
    stage.until("online d");
    for (seq, message) in (1..).zip(both_kinds()) {
        stage.send("d", message.clone());
        stage.peer.say(line, &data(seq, message));
    }
    for _ in both_kinds() {
        stage.until("message of d");
    }
    stage.peer.until(line, "DATA 6");
    stage.peer.say(line, &ack(6));
    stage.until("acknowledged by d: 6");
    stage.leave(line, "d");
    stage.expect(
        "
        app: online d, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: sent 4
        app: sent 5
        app: sent 6
        app: message of d: twin
        app: message of d: binary twin
        app: message of d: [200000 bytes]
        app: message of d: [100000 characters]
        app: message of d: [0 characters]
        app: message of d: [0 bytes]
        app: acknowledged by d: 6
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: DATA 1: twin
        0: DATA 2: binary twin
        0: DATA 3: [200000 bytes]
        0: DATA 4: [100000 characters]
        0: DATA 5: [0 characters]
        0: DATA 6: [0 bytes]
        0: end of file
        ",
    );
}

/// The device trickles a frame instead of beating: its bytes are life.
pub fn slow_writer<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (line, _) = stage.peer.get_in(address, hello("d"));
    stage.until("online d");
    // Probes come when nothing was heard; each gets a piece of the frame instead of an answer.
    stage.peer.mute(line);
    let bytes = stage.peer.bytes(&data(1, "trickle"));
    for piece in bytes.chunks(bytes.len().div_ceil(4)) {
        stage.until("suspect d");
        stage.peer.write(line, piece.to_vec());
        stage.until("recovered d");
    }
    stage.leave(line, "d");
    stage.expect(
        "
        app: online d, new session
        app: suspect d
        app: recovered d
        app: suspect d
        app: recovered d
        app: suspect d
        app: recovered d
        app: suspect d
        app: message of d: trickle
        app: recovered d
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: end of file
        ",
    );
}

/// The device never ends a frame, however steadily its bytes come.
pub fn frame_without_an_end<H: Servers>(stage: &mut ServerStage<H>) {
    let config = liveness().frame_time(2 * REPLY_TIMEOUT).build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.serve(server().liveness(config));
    let (line, _) = stage.peer.get_in(address, hello("d"));
    stage.until("online d");
    stage.peer.write(line, stage.peer.bytes(&data(1, load(PIECE)))[..100].to_vec());
    stage.peer.order(line, Order::Repeat(vec![7], Duration::from_millis(20)));
    stage.peer.until(line, "GOODBYE");
    stage.peer.hang_up(line);
    stage.until("offline d");
    stage.expect(
        "
        app: online d, new session
        app: offline d: dead FrameTooSlow
        0: WELCOME, new session
        0: GOODBYE TimedOut
        0: end of file
        ",
    );
}

/// Every byte comes by itself.
pub fn one_byte_reads<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let line = stage.peer.connect(address);
    stage.peer.write_one_by_one(line, &stage.peer.bytes(&Frame::Hello(Box::new(calm_hello("d")))));
    stage.peer.welcome(line);
    stage.until("online d");
    for (seq, message) in [(1, load(1)), (2, load(2000)), (3, load(0)), (4, load(300))] {
        stage.peer.write_one_by_one(line, &stage.peer.bytes(&data(seq, message)));
        stage.peer.write_one_by_one(line, &stage.peer.bytes(&ack(0)));
    }
    stage.peer.acknowledged(line, 4);
    for _ in 0..4 {
        stage.until("message of d");
    }
    stage.leave(line, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: [1 bytes]
        app: message of d: [2000 bytes]
        app: message of d: [0 bytes]
        app: message of d: [300 bytes]
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: ACK 4
        0: end of file
        ",
    );
}

/// One device says more than anyone can read, all the time. Another one's silence is found out nevertheless, and a third
/// is served.
pub fn flood<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (loud, _) = stage.peer.get_in(address, calm_hello("loud"));
    stage.until("online loud");
    let (silent, _) = stage.peer.get_in(address, calm_hello("silent"));
    stage.until("online silent");
    stage.peer.mute(silent);
    stage.peer.order(loud, Order::Repeat(stage.peer.bytes(&ack(0)).repeat(10_000), Duration::ZERO));
    stage.until("offline silent");
    stage.peer.until(silent, "GOODBYE");
    stage.peer.hang_up(silent);
    let (other, _) = stage.peer.get_in(address, calm_hello("other"));
    stage.until("online other");
    stage.peer.say(other, &data(1, "through"));
    stage.until("message of other");
    stage.leave(other, "other");
    stage.peer.order(loud, Order::Quiet);
    stage.leave(loud, "loud");
    stage.expect(
        "
        app: online loud, new session
        app: online silent, new session
        app: suspect silent
        app: offline silent: dead Silent
        app: session of silent ended, 0 undelivered
        app: online other, new session
        app: message of other: through
        app: offline other: goodbye Closed
        app: session of other ended, 0 undelivered
        app: offline loud: goodbye Closed
        app: session of loud ended, 0 undelivered
        0: WELCOME, new session
        0: end of file
        1: WELCOME, new session
        1: GOODBYE Silent
        1: end of file
        2: WELCOME, new session
        2: end of file
        ",
    );
}

/// Larger than what is read at once.
const PIECE: usize = 200_000;

/// More than an operating system holds for one connection.
const LARGE: usize = 16 << 20;
