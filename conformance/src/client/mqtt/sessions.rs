//! What outlives a connection.

use keepbeat_core::wire::mqtt::{
    Filter, Packet, Publish, Qos, ReasonCode, SubAck, Subscribe, Subscription, Unsubscribe,
};

use super::{message, puback, pubcomp, publish, pubrec, pubrel};
use crate::harness::{ClientUnderTest, Clients};
use crate::packets::{TOPIC, id};
use crate::peers::{Line, resumed, welcome};
use crate::stage::{ClientStage, calm, client};

/// The broker still has the session after a cut: what it did not acknowledge leaves again, in its order and in front of what is new,
/// and what it sends again at QoS 2 is not delivered again.
pub fn session_goes_on<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.send("one");
    stage.send("two");
    stage.send(message(TOPIC, "three", Qos::ExactlyOnce));
    stage.send(message(TOPIC, "four", Qos::ExactlyOnce));
    stage.peer.until(first, "PUBLISH 4");
    stage.peer.say_packet(first, puback(1));
    stage.peer.say_packet(first, pubrec(3));
    stage.peer.until(first, "PUBREL 3");
    stage.until("acknowledged 1");
    stage.peer.say_packet(first, publish(TOPIC, "once", Qos::ExactlyOnce, 9));
    stage.until("message once");
    stage.peer.until(first, "PUBREC 9");
    stage.peer.hang_up(first);
    stage.until("down");
    stage.send("five");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.peer.until(second, "PUBLISH 5");
    stage.peer.say_packet(second, Publish { dup: true, ..publish(TOPIC, "once", Qos::ExactlyOnce, 9) });
    stage.peer.until(second, "PUBREC 9");
    stage.peer.say_packet(second, pubrel(9));
    stage.peer.until(second, "PUBCOMP 9");
    for packet in [puback(2), pubcomp(3), pubrec(4), puback(5)] {
        stage.peer.say_packet(second, packet);
    }
    stage.peer.until(second, "PUBREL 4");
    stage.peer.say_packet(second, pubcomp(4));
    stage.until("acknowledged 5");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: sent 4
        app: acknowledged 1
        app: message once
        app: down: network Eof
        app: sent 5
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: acknowledged 5
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBLISH 1: one
        0: PUBLISH 2: two
        0: PUBLISH 3, exactly once: three
        0: PUBLISH 4, exactly once: four
        0: PUBREL 3
        0: PUBREC 9
        0: end of file
        1: CONNECT d
        1: PUBLISH 2, again: two
        1: PUBREL 3
        1: PUBLISH 4, again, exactly once: four
        1: PUBLISH 5: five
        1: PUBREC 9
        1: PUBCOMP 9
        1: PUBREL 4
        1: DISCONNECT
        1: end of file
        ",
    );
}

/// The broker has lost the session: it is asked for the subscriptions first; then comes what it did not acknowledge, as if it were new,
/// but for what it has at QoS 2; and then what is new.
pub fn session_is_lost<H: Clients>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    let wishes = [("room/#", Qos::ExactlyOnce), ("hall/+", Qos::AtLeastOnce)];
    let wishes = wishes.map(|(filter, qos)| Subscription::new(of(filter), qos));
    stage.send(Subscribe::to(wishes.to_vec()).into_message().unwrap_or_else(|error| panic!("{error}")));
    stage.peer.until(first, "SUBSCRIBE");
    grant(stage, first, 1);
    stage.until("acknowledged 1");
    stage.send("two");
    stage.send(message(TOPIC, "three", Qos::ExactlyOnce));
    stage.peer.until(first, "PUBLISH 3");
    stage.peer.say_packet(first, pubrec(3));
    stage.peer.until(first, "PUBREL 3");
    stage.peer.hang_up(first);
    stage.until("down");
    stage.send("four");
    let second = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.until(second, "PUBLISH 4");
    grant(stage, second, 65_001);
    stage.peer.say_packet(second, puback(2));
    stage.peer.say_packet(second, puback(4));
    stage.until("acknowledged 4");
    stage.peer.say_packet(second, publish("room/1", "news", Qos::AtLeastOnce, 1));
    stage.until("message news");
    stage.peer.until(second, "PUBACK 1");
    stage.send(Unsubscribe::from(vec![of("room/#")]).into_message().unwrap_or_else(|error| panic!("{error}")));
    stage.peer.until(second, "UNSUBSCRIBE");
    stage.peer.say_packet(second, Packet::UnsubAck(SubAck::new(id(5), vec![ReasonCode::SUCCESS])));
    stage.until("acknowledged 5");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: sent 1
        app: answered 1: room/# 2, hall/+ 1
        app: acknowledged 1
        app: sent 2
        app: sent 3
        app: down: network Eof
        app: sent 4
        app: connecting, attempt 2
        app: up, attempt 2, new session, 2 in doubt
        app: acknowledged 4
        app: message news at room/1
        app: sent 5
        app: answered 5: no more room/# 0
        app: acknowledged 5
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: SUBSCRIBE 1: room/# at 2, hall/+ at 1
        0: PUBLISH 2: two
        0: PUBLISH 3, exactly once: three
        0: PUBREL 3
        0: end of file
        1: CONNECT d
        1: SUBSCRIBE 65001: hall/+ at 1, room/# at 2
        1: PUBLISH 2: two
        1: PUBLISH 4: four
        1: PUBACK 1
        1: UNSUBSCRIBE 5: room/#
        1: DISCONNECT
        1: end of file
        ",
    );
}

/// The application says who it is after each open, before what waits leaves.
pub fn greeting<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client().greeting());
    stage.send("one");
    let first = stage.peer.let_in(address, welcome());
    stage.until("up");
    greet(stage, first, 1);
    stage.until("acknowledged 1");
    stage.peer.hang_up(first);
    stage.until("down");
    stage.send("two");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    greet(stage, second, 2);
    stage.until("acknowledged 2");
    stage.close(second);
    stage.expect(
        "
        app: sent 1
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: acknowledged 1
        app: down: network Eof
        app: sent 2
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: acknowledged 2
        app: closed, 0 unacknowledged
        app: over
        0: CONNECT d
        0: PUBLISH 65001: who
        0: PUBLISH 1: one
        0: end of file
        1: CONNECT d
        1: PUBLISH 65001: who
        1: PUBLISH 2: two
        1: DISCONNECT
        1: end of file
        ",
    );
}

/// Greets, and acknowledges that and the message behind it.
fn greet<H: Clients>(stage: &mut ClientStage<H>, line: Line, behind: u16) {
    stage.client().greet("who".into()).unwrap_or_else(|error| panic!("{error}"));
    stage.client().greeted();
    stage.peer.until(line, &format!("PUBLISH {behind}"));
    stage.peer.say_packet(line, puback(65_001));
    stage.peer.say_packet(line, puback(behind));
}

fn grant<H: Clients>(stage: &mut ClientStage<H>, line: Line, number: u16) {
    // In the order in which it was asked.
    let mut granted = vec![ReasonCode::GRANTED_QOS_2, ReasonCode::GRANTED_QOS_1];
    if number > 65_000 {
        granted.reverse();
    }
    stage.peer.say_packet(line, Packet::SubAck(SubAck::new(id(number), granted)));
}

fn of(filter: &str) -> Filter<'_> {
    Filter::new(filter).unwrap_or_else(|error| panic!("{error}"))
}
