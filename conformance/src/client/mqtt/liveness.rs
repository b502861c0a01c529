//! Whether the broker is alive, and when it wants to hear from us.

use keepbeat_core::wire::mqtt::{Property, Qos};

use super::{message, unmoved, up, up_with};
use crate::harness::{ClientUnderTest, Clients};
use crate::network::Order;
use crate::packets::TOPIC;
use crate::peers::data;
use crate::stage::{ClientStage, client};
use crate::words::load;

/// The broker wants to hear from us more often than we wished: it does.
pub fn server_keep_alive<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up_with(stage, unmoved(), &Property::ServerKeepAlive(1));
    stage.peer.beats(line, 3);
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PINGREQ
        0: PINGREQ
        0: PINGREQ
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// The broker takes what we publish, all the time, and answers nothing: that is no life.
pub fn dead_while_we_publish<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage, client());
    stage.peer.mute(line);
    stage.until_while("down", |link| drop(link.send(message(TOPIC, "reading", Qos::AtMostOnce))));
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: suspect
        app: down: dead NoReply
        0: CONNECT d
        ",
    );
}

/// A large message is on its way to us, and answers to our pings wait behind it: its bytes are life.
pub fn large_message_before_an_answer<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage, client());
    stage.peer.mute(line);
    let bytes = stage.peer.bytes(&data(1, load(LARGE)));
    for piece in bytes.chunks(bytes.len().div_ceil(4)) {
        stage.peer.until(line, "PINGREQ");
        stage.peer.write(line, piece.to_vec());
    }
    stage.until("message");
    stage.peer.order(line, Order::Echo(true));
    stage.peer.acknowledged(line, 1);
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message [4194304 bytes]
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PINGREQ
        0: PINGREQ
        0: PINGREQ
        0: PINGREQ
        0: PUBACK 1
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// As much as takes many reads.
const LARGE: usize = 4 << 20;
