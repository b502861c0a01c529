//! Connections that end, or do not begin.

use std::time::Duration;

use keepbeat_core::server::{Admission, ServerEvent};
use keepbeat_core::wire::Frame;

use super::silence::returning;
use crate::PATIENCE;
use crate::harness::{ServerUnderTest, Servers};
use crate::network::Order;
use crate::peers::{ack, data, hello};
use crate::stage::{ServerStage, server};

/// The connection ends in the middle of a message: it is not delivered, and comes whole on the next one.
pub fn end_of_file_in_a_frame<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.peer.say(first, &data(1, "one"));
    stage.peer.write(first, stage.peer.bytes(&data(2, "two"))[..4].to_vec());
    stage.until("message of d");
    stage.peer.hang_up(first);
    stage.until("offline d");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.peer.say(second, &data(2, "two"));
    stage.until("message of d");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: one
        app: offline d: network Eof
        app: online d, resumed
        app: message of d: two
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: end of file
        1: WELCOME, resumed behind 1
        1: end of file
        ",
    );
}

/// The device's machine has forgotten the connection.
pub fn reset<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.peer.say(first, &data(1, "one"));
    stage.peer.acknowledged(first, 1);
    stage.peer.order(first, Order::Reset);
    stage.until("offline d");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: one
        app: offline d: network Reset
        app: online d, resumed
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: ACK 1
        1: WELCOME, resumed behind 1
        1: end of file
        ",
    );
}

/// The application decides who gets in: one never, one later, one now.
pub fn refused<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server().authenticate());
    let later = Admission::Busy { retry_after: Duration::from_secs(5), spread: Duration::from_secs(1) };
    for (name, admission) in [
        ("banned", Admission::Forbidden("not you".to_owned())),
        ("stranger", Admission::Unauthorized("who?".to_owned())),
        ("early", later),
    ] {
        let line = stage.peer.connect(address);
        stage.peer.say(line, &Frame::Hello(Box::new(hello(name))));
        answer(stage, name, admission);
        stage.peer.until(line, "REFUSE");
        stage.peer.hang_up(line);
        stage.until(&format!("rejected {name}"));
    }
    let line = stage.peer.connect(address);
    stage.peer.say(line, &Frame::Hello(Box::new(hello("d"))));
    answer(stage, "d", Admission::Accept);
    stage.peer.welcome(line);
    stage.leave(line, "d");
    stage.expect(
        "
        app: authenticate banned
        app: rejected banned: ended by us Forbidden
        app: authenticate stranger
        app: rejected stranger: ended by us Unauthorized
        app: authenticate early
        app: rejected early: ended by us Busy
        app: authenticate d
        app: online d, new session
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: REFUSE Forbidden
        0: end of file
        1: REFUSE Unauthorized
        1: end of file
        2: REFUSE Busy, back after 5s within 1s
        2: end of file
        3: WELCOME, new session
        3: end of file
        ",
    );
}

fn answer<H: Servers>(stage: &mut ServerStage<H>, name: &str, admission: Admission) {
    if let ServerEvent::Authenticate { connection, .. } = stage.until(&format!("authenticate {name}")) {
        stage.server().answer(connection, admission);
    }
}

/// Devices that connect and leave without a word, or speak something else.
pub fn connect_then_close<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let line = stage.peer.connect(address);
    stage.peer.hang_up(line);
    stage.until("rejected");
    let line = stage.peer.connect(address);
    stage.peer.order(line, Order::Reset);
    stage.until("rejected");
    let line = stage.peer.connect(address);
    stage.peer.write(line, b"GET ".to_vec());
    stage.peer.until(line, "GOODBYE");
    stage.peer.hang_up(line);
    stage.until("rejected");
    stage.expect(
        "
        app: rejected: network Eof
        app: rejected: network Reset
        app: rejected: protocol violated, Malformed
        0: end of file
        2: GOODBYE Malformed
        2: end of file
        ",
    );
}

/// The server is replaced, with its sessions: nothing is lost, nothing comes twice.
pub fn restart<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.until("online d");
    for message in ["one", "two", "three"] {
        stage.send("d", message);
    }
    stage.peer.until(first, "DATA 3");
    stage.peer.say(first, &ack(1));
    stage.until("acknowledged by d: 1");
    stage.peer.say(first, &data(1, "a"));
    stage.peer.say(first, &data(2, "b"));
    stage.peer.acknowledged(first, 2);
    stage.until("message of d: b");
    let sessions = stage.abort();
    stage.peer.until(first, "end of file");
    stage.serve_on(address, server(), Some(sessions));
    stage.send("d", "four");
    // It has read the second message, but not said so; and does not know that its own have arrived.
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 2));
    stage.until("online d");
    stage.peer.say(second, &data(1, "a"));
    stage.peer.say(second, &data(2, "b"));
    stage.peer.say(second, &data(3, "c"));
    stage.until("message of d: c");
    stage.peer.until(second, "DATA 4");
    stage.peer.acknowledged(second, 3);
    stage.peer.say(second, &ack(4));
    stage.until("acknowledged by d: 4");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: sent 1
        app: sent 2
        app: sent 3
        app: acknowledged by d: 1
        app: message of d: a
        app: message of d: b
        app: sent 4
        app: acknowledged by d: 2
        app: online d, resumed
        app: message of d: c
        app: acknowledged by d: 4
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: DATA 1: one
        0: DATA 2: two
        0: DATA 3: three
        0: ACK 2
        0: end of file
        1: WELCOME, resumed behind 2
        1: DATA 3: three
        1: DATA 4: four
        1: ACK 3
        1: end of file
        ",
    );
}

/// A server that shuts down says so to everyone, and ends when all have left.
pub fn drain<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (one, _) = stage.peer.get_in(address, hello("one"));
    stage.until("online one");
    let (two, _) = stage.peer.get_in(address, hello("two"));
    stage.until("online two");
    stage.send("one", "last");
    stage.peer.until(one, "DATA 1");
    stage.server().drain(Duration::from_secs(2), Duration::from_secs(1));
    for line in [one, two] {
        stage.peer.until(line, "GOODBYE");
    }
    // The first says that it has heard; the second has to be left alone.
    stage.peer.hang_up(one);
    stage.peer.until(two, "end of file");
    stage.until("session of two ended");
    stage.over();
    stage.expect(
        "
        app: online one, new session
        app: online two, new session
        app: sent 1
        app: offline one: ended by us GoingAway
        app: offline two: ended by us GoingAway
        app: session of two ended, 0 undelivered
        app: over
        0: WELCOME, new session
        0: DATA 1: last
        0: GOODBYE GoingAway, back after 2s within 1s
        0: end of file
        1: WELCOME, new session
        1: GOODBYE GoingAway, back after 2s within 1s
        1: end of file
        ",
    );
}

/// A second connection of the same device wins, and goes on with the session.
pub fn takeover<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.peer.say(first, &data(1, "one"));
    stage.until("message of d: one");
    stage.send("d", "before");
    stage.peer.until(first, "DATA 1");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.until("replaced d");
    stage.peer.until(first, "GOODBYE");
    stage.peer.hang_up(first);
    stage.peer.until(second, "DATA 1");
    stage.peer.say(second, &ack(1));
    stage.peer.say(second, &data(2, "two"));
    stage.until("message of d: two");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: one
        app: sent 1
        app: replaced d, resumed
        app: acknowledged by d: 1
        app: message of d: two
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: DATA 1: before
        0: GOODBYE Replaced
        0: end of file
        1: WELCOME, resumed behind 1
        1: DATA 1: before
        1: end of file
        ",
    );
}

/// A device that is back within the grace was never away.
pub fn back_within_the_grace<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server().grace(PATIENCE));
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.peer.say(first, &data(1, "one"));
    stage.until("message of d: one");
    stage.peer.hang_up(first);
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.until("returned d");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: one
        app: returned d, resumed, after network Eof
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: end of file
        1: WELCOME, resumed behind 1
        1: end of file
        ",
    );
}
