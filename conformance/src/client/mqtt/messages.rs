//! Messages on an open connection, and their acknowledgements. Mostly on links on which nothing happens by itself: whoever does
//! not write what a call or a packet leaves to be written waits for a beat in vain.

use std::num::NonZeroU16;

use keepbeat_core::session::QueueLimits;
use keepbeat_core::wire::mqtt::{Properties, Property, Publish, Qos};

use super::{message, puback, pubcomp, publish, pubrec, pubrel, unmoved, up, up_with};
use crate::harness::Clients;
use crate::network::Order;
use crate::packets::{TOPIC, topic};
use crate::peers::{data, resumed, welcome};
use crate::stage::{ClientStage, client};
use crate::words::load;

/// Messages of every QoS, with topics and properties, arrive, both ways, as what they were sent as.
pub fn publications<H: Clients>(stage: &mut ClientStage<H>) {
    let line = up(stage, unmoved());
    let of_text = || Properties::NONE.with(&Property::PayloadFormatIndicator(true)).unwrap_or_default();
    let retained = Publish { retain: true, properties: of_text(), ..Publish::new(topic("pump/7"), "three") };
    stage.send(message("pump/7", "one", Qos::AtMostOnce));
    stage.send(message("pump/7", "two", Qos::ExactlyOnce));
    stage.send(retained.into_message().unwrap_or_else(|error| panic!("{error}")));
    stage.send(load(PIECE));
    stage.peer.until(line, "PUBLISH 4");
    stage.peer.say_packet(line, pubrec(2));
    stage.peer.until(line, "PUBREL 2");
    stage.peer.say_packet(line, pubcomp(2));
    stage.peer.say_packet(line, puback(4));
    stage.until("acknowledged 4");
    stage.peer.say_packet(line, Publish::new(topic("room/1"), "four"));
    stage.peer.say_packet(line, publish("room/1", "five", Qos::AtLeastOnce, 1));
    stage.until("message five");
    stage.peer.until(line, "PUBACK 1");
    let text = Publish { properties: of_text(), ..publish("room/1", "six", Qos::ExactlyOnce, 2) };
    stage.peer.say_packet(line, text);
    stage.until("message");
    stage.peer.until(line, "PUBREC 2");
    stage.peer.say_packet(line, pubrel(2));
    stage.peer.until(line, "PUBCOMP 2");
    stage.peer.say(line, &data(3, load(PIECE)));
    stage.until("message");
    stage.peer.until(line, "PUBACK 3");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: sent 4
        app: acknowledged 4
        app: message four at room/1
        app: message five at room/1
        app: message text six at room/1
        app: message [200000 bytes]
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBLISH: one at pump/7
        0: PUBLISH 2, exactly once: two at pump/7
        0: PUBLISH, retained: text three at pump/7
        0: PUBLISH 4: [200000 bytes]
        0: PUBREL 2
        0: PUBACK 1
        0: PUBREC 2
        0: PUBCOMP 2
        0: PUBACK 3
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// The broker takes two messages at a time: the next leaves when it has acknowledged one.
pub fn receive_maximum<H: Clients>(stage: &mut ClientStage<H>) {
    let two = NonZeroU16::MIN.saturating_add(1);
    let line = up_with(stage, unmoved(), &Property::ReceiveMaximum(two));
    for message in ["one", "two", "three", "four"] {
        stage.send(message);
    }
    stage.peer.until(line, "PUBLISH 2");
    // Whatever else leaves now is not the third.
    stage.peer.say(line, &data(1, "meanwhile"));
    stage.until("message meanwhile");
    stage.peer.until(line, "PUBACK 1");
    stage.peer.say_packet(line, puback(1));
    stage.peer.until(line, "PUBLISH 3");
    stage.peer.say_packet(line, puback(2));
    stage.peer.until(line, "PUBLISH 4");
    stage.peer.say_packet(line, puback(3));
    stage.peer.say_packet(line, puback(4));
    stage.until("acknowledged 4");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: sent 4
        app: message meanwhile
        app: acknowledged 4
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBLISH 1: one
        0: PUBLISH 2: two
        0: PUBACK 1
        0: PUBLISH 3: three
        0: PUBLISH 4: four
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// The application says itself when it is done with a message.
pub fn manual_acknowledgements<H: Clients>(stage: &mut ClientStage<H>) {
    stage.mqtt(|config| config.manual_acknowledgements());
    let line = up(stage, unmoved());
    stage.peer.say(line, &data(1, "a"));
    stage.peer.say_packet(line, publish(TOPIC, "b", Qos::ExactlyOnce, 2));
    stage.until("message b");
    stage.send("taken");
    stage.peer.until(line, "PUBLISH 1");
    stage.peer.unacknowledged(line);
    stage.acknowledge();
    stage.peer.until(line, "PUBACK 1");
    stage.acknowledge();
    stage.peer.until(line, "PUBREC 2");
    stage.peer.say_packet(line, pubrel(2));
    stage.peer.until(line, "PUBCOMP 2");
    stage.acknowledge();
    stage.peer.say_packet(line, puback(1));
    stage.until("acknowledged 1");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: message a
        app: message b
        app: sent 1
        app: done with one
        app: done with one
        app: done with none
        app: acknowledged 1
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBLISH 1: taken
        0: nothing acknowledged
        0: PUBACK 1
        0: PUBREC 2
        0: PUBCOMP 2
        0: DISCONNECT
        0: end of file
        ",
    );
}

/// The application takes no messages: none is acknowledged, and when its inbox is full, no more is read. Yet the link lives. Not even
/// the end is seen before what came in front of it is taken.
pub fn slow_application<H: Clients>(stage: &mut ClientStage<H>) {
    let inbox = QueueLimits::new(2, 64 << 20).unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().inbox(inbox));
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    for seq in 1..=4 {
        stage.peer.say(line, &data(seq, load(PIECE)));
    }
    stage.peer.order(line, Order::HangUp);
    // Whoever reads on finds the end before its next two beats.
    stage.peer.beats(line, 2);
    stage.peer.unacknowledged(line);
    stage.until("message");
    stage.peer.until(line, "PUBACK 1");
    for _ in 0..3 {
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
        0: CONNECT d
        0: PINGREQ
        0: PINGREQ
        0: nothing acknowledged
        0: PUBACK 1
        0: end of file
        1: CONNECT d
        1: DISCONNECT
        1: end of file
        ",
    );
}

/// Larger than what is read at once.
const PIECE: usize = 200_000;
