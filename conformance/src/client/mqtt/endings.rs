//! What brokers say by codes, and what is said to those that break a rule.

use keepbeat_core::wire::mqtt::{ConnAck, Notice, Packet, Qos, ReasonCode};

use super::{message, puback, pubcomp, pubrec, unmoved, up};
use crate::harness::{ClientUnderTest, Clients};
use crate::packets::TOPIC;
use crate::peers::{data, resumed, welcome};
use crate::stage::{ClientStage, calm, client};

/// Brokers that do not let us in now, and that send us away, and want us back.
pub fn codes_for_now<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for reason in [ReasonCode::SERVER_BUSY, ReasonCode::SERVER_UNAVAILABLE] {
        let line = stage.peer.accept(address);
        stage.peer.hello(line);
        stage.peer.say_packet(line, ConnAck::new(false, reason));
        stage.peer.until(line, "end of file");
        stage.until("failed");
    }
    for (round, reason) in [ReasonCode::USE_ANOTHER_SERVER, ReasonCode::KEEP_ALIVE_TIMEOUT, ReasonCode::SERVER_BUSY]
        .into_iter()
        .enumerate()
    {
        let line = stage.peer.let_in(address, if round == 0 { welcome() } else { resumed(0) });
        stage.until("up");
        stage.peer.say_packet(line, Packet::Disconnect(Notice::new(reason)));
        stage.peer.until(line, "end of file");
        stage.until("down");
    }
    let line = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: failed: refused Busy 137
        app: connecting, attempt 2
        app: failed: refused Busy 136
        app: connecting, attempt 3
        app: up, attempt 3, new session
        app: down: goodbye GoingAway 156
        app: connecting, attempt 4
        app: up, attempt 4, resumed
        app: down: goodbye TimedOut 141
        app: connecting, attempt 5
        app: up, attempt 5, resumed
        app: down: goodbye Busy 137
        app: connecting, attempt 6
        app: up, attempt 6, resumed
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: end of file
        1: CONNECT d
        1: end of file
        2: CONNECT d
        2: end of file
        3: CONNECT d
        3: end of file
        4: CONNECT d
        4: end of file
        5: CONNECT d
        5: DISCONNECT
        5: end of file
        ",
    );
}

/// Brokers that do not want us, whether they say so at once or later.
pub fn codes_for_good<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for reason in [ReasonCode::NOT_AUTHORIZED, ReasonCode::BAD_USER_NAME_OR_PASSWORD] {
        let line = stage.peer.accept(address);
        stage.peer.hello(line);
        stage.peer.say_packet(line, ConnAck::new(false, reason));
        stage.peer.until(line, "end of file");
        stage.until("gave up");
        stage.over();
        stage.client().reopen();
    }
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.send("kept");
    stage.peer.until(line, "PUBLISH 1");
    stage.peer.say_packet(line, Packet::Disconnect(Notice::new(ReasonCode::NOT_AUTHORIZED)));
    stage.peer.until(line, "end of file");
    stage.until("gave up");
    stage.over();
    stage.client().reopen();
    let line = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.peer.until(line, "PUBLISH 1");
    stage.peer.say_packet(line, puback(1));
    stage.until("acknowledged 1");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: failed: refused Unauthorized 135, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: failed: refused Unauthorized 134, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: down: goodbye Unauthorized 135, for good
        app: gave up: Fatal, 1 unacknowledged
        app: over
        app: connecting, attempt 1
        app: up, attempt 1, resumed
        app: acknowledged 1
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: end of file
        1: CONNECT d
        1: end of file
        2: CONNECT d
        2: PUBLISH 1: kept
        2: end of file
        3: CONNECT d
        3: PUBLISH 1, again: kept
        3: DISCONNECT
        3: end of file
        ",
    );
}

/// Brokers that break a rule are told which, and are tried again.
pub fn violations<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    stage.mqtt(|config| config.message_limit(1000));
    let address = stage.open(client().liveness(config));
    // A type that does not exist, a ping of a broker, an alias that we did not allow, and more than we take.
    for bytes in [&b"\x00\x00"[..], b"\xC0\x00", b"\x30\x07\x00\x01t\x03\x23\x00\x63", b"\x30\xE8\x07"] {
        let line = stage.peer.let_in(address, welcome());
        stage.until("up");
        stage.peer.write_packets(line, bytes);
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
        app: down: protocol violated, Malformed
        app: connecting, attempt 4
        app: up, attempt 4, new session
        app: down: protocol violated, TooLarge
        0: CONNECT d
        0: DISCONNECT 129
        0: end of file
        1: CONNECT d
        1: DISCONNECT 130
        1: end of file
        2: CONNECT d
        2: DISCONNECT 148
        2: end of file
        3: CONNECT d
        3: DISCONNECT 149
        3: end of file
        ",
    );
}

/// A drained link says goodbye when nothing is left to be said about its messages.
pub fn drain_at_qos_2<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage, unmoved());
    stage.send(message(TOPIC, "one", Qos::ExactlyOnce));
    stage.send("two");
    stage.client().drain(crate::PATIENCE);
    stage.peer.until(line, "PUBLISH 2");
    stage.peer.say_packet(line, puback(2));
    stage.peer.say_packet(line, pubrec(1));
    stage.peer.until(line, "PUBREL 1");
    stage.peer.say_packet(line, pubcomp(1));
    stage.peer.until(line, "DISCONNECT");
    stage.peer.hang_up(line);
    stage.until("closed");
    stage.over();
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: acknowledged 2
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBLISH 1, exactly once: one
        0: PUBLISH 2: two
        0: PUBREL 1
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// The application takes a message and closes: the broker hears of the first before the second.
pub fn close_behind_a_message<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage, unmoved());
    stage.peer.say(line, &data(1, "last"));
    stage.until("message last");
    stage.client().close();
    stage.peer.until(line, "PUBACK 1");
    stage.peer.until(line, "DISCONNECT");
    stage.peer.hang_up(line);
    stage.until("closed");
    stage.over();
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message last
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBACK 1
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// The broker does not hang up when we say goodbye: we do, when the close timeout is over.
pub fn close_without_an_answer<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage, client());
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
        0: CONNECT d
        0: DISCONNECT
        0: end of file
        ",
    );
}
