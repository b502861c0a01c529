//! What is the same whether the messages of a WebSocket are the native protocol's or not: statuses of HTTP, closes, and what an
//! application says after each open.

use keepbeat_core::wire::Reason;
use keepbeat_core::wire::websocket::NO_CODE;

use crate::harness::{ClientUnderTest, Clients};
use crate::network::{Order, Way};
use crate::peers::{Line, ack, close, resumed, welcome};
use crate::stage::{ClientStage, client};

/// Servers that have no room, or trouble. One says when to come back.
pub fn refused_for_now<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for status in ["503 Service Unavailable\r\nRetry-After: 1", "429 Too Many Requests", "500 Oh", "502 Bad Gateway"] {
        let line = stage.peer.accept_raw(address);
        refuse(stage, line, status);
        stage.until("failed");
    }
    let line = stage.peer.let_in_anyhow(address, welcome());
    stage.until("up");
    stage.close(line);
    expect(
        stage,
        "
        app: connecting, attempt 1
        app: failed: refused Busy 503, back after 1s within 100ms
        app: connecting, attempt 2
        app: failed: refused Busy 429
        app: connecting, attempt 3
        app: failed: refused Failed 500
        app: connecting, attempt 4
        app: failed: refused Failed 502
        app: connecting, attempt 5
        app: up, attempt 5, new session
        app: closed, 0 unacknowledged
        app: over
        0: GET /
        0: end of file
        1: GET /
        1: end of file
        2: GET /
        2: end of file
        3: GET /
        3: end of file
        4: HELLO d, new session
        4: GOODBYE Closed
        4: end of file
        ",
    );
}

/// Servers that do not let us in, or have nothing for us, and one that sends us somewhere else.
pub fn refused_for_good<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for status in ["401 Who", "403 Not you", "404 What", "302 Found\r\nLocation: wss://b.example/"] {
        let line = stage.peer.accept_raw(address);
        refuse(stage, line, status);
        stage.until("gave up");
        stage.over();
        stage.client().reopen();
    }
    let line = stage.peer.let_in_anyhow(address, welcome());
    stage.until("up");
    stage.close(line);
    expect(
        stage,
        "
        app: connecting, attempt 1
        app: failed: refused Unauthorized 401, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: failed: refused Forbidden 403, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: failed: refused NotHere 404, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: failed: refused NotHere 302, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: closed, 0 unacknowledged
        app: over
        0: GET /
        0: end of file
        1: GET /
        1: end of file
        2: GET /
        2: end of file
        3: GET /
        3: end of file
        4: HELLO d, new session
        4: GOODBYE Closed
        4: end of file
        ",
    );
}

/// Servers that close, and want us back. One ends without a close.
pub fn closed_for_now<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    for (round, code) in [1001, 1011, 1012, 1013, 4000, NO_CODE].into_iter().enumerate() {
        let line = stage.peer.let_in_anyhow(address, if round == 0 { welcome() } else { resumed(0) });
        stage.until("up");
        stage.peer.order(line, Order::Close(close(code)));
        stage.peer.until(line, "end of file");
        stage.until("down");
    }
    let line = stage.peer.let_in_anyhow(address, resumed(0));
    stage.until("up");
    stage.peer.hang_up(line);
    stage.until("down");
    let line = stage.peer.let_in_anyhow(address, resumed(0));
    stage.until("up");
    stage.close(line);
    expect(
        stage,
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: goodbye GoingAway 1001
        app: connecting, attempt 2
        app: up, attempt 2, resumed
        app: down: goodbye Failed 1011
        app: connecting, attempt 3
        app: up, attempt 3, resumed
        app: down: goodbye GoingAway 1012
        app: connecting, attempt 4
        app: up, attempt 4, resumed
        app: down: goodbye Busy 1013
        app: connecting, attempt 5
        app: up, attempt 5, resumed
        app: down: goodbye Failed 4000
        app: connecting, attempt 6
        app: up, attempt 6, resumed
        app: down: goodbye GoingAway
        app: connecting, attempt 7
        app: up, attempt 7, resumed
        app: down: network Eof
        app: connecting, attempt 8
        app: up, attempt 8, resumed
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: CLOSE 1001
        0: end of file
        1: HELLO d, resume behind 0
        1: CLOSE 1011
        1: end of file
        2: HELLO d, resume behind 0
        2: CLOSE 1012
        2: end of file
        3: HELLO d, resume behind 0
        3: CLOSE 1013
        3: end of file
        4: HELLO d, resume behind 0
        4: CLOSE 4000
        4: end of file
        5: HELLO d, resume behind 0
        5: CLOSE
        5: end of file
        6: HELLO d, resume behind 0
        6: end of file
        7: HELLO d, resume behind 0
        7: GOODBYE Closed
        7: end of file
        ",
    );
}

/// Servers that close, and do not want us back: two by what the codes mean, one by what we were told of its codes.
pub fn closed_for_good<H: Clients>(stage: &mut ClientStage<H>) {
    stage.websocket(|config| config.close_code(4401, Reason::Forbidden));
    let address = stage.open(client());
    for (round, code) in [1000, 1008, 4401].into_iter().enumerate() {
        let line = stage.peer.let_in_anyhow(address, if round == 0 { welcome() } else { resumed(0) });
        stage.until("up");
        stage.peer.order(line, Order::Close(close(code)));
        stage.peer.until(line, "end of file");
        stage.until("gave up");
        stage.over();
        stage.client().reopen();
    }
    let line = stage.peer.let_in_anyhow(address, resumed(0));
    stage.until("up");
    stage.close(line);
    expect(
        stage,
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: goodbye Closed 1000, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: up, attempt 1, resumed
        app: down: goodbye Forbidden 1008, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: up, attempt 1, resumed
        app: down: goodbye Forbidden 4401, for good
        app: gave up: Fatal, 0 unacknowledged
        app: over
        app: connecting, attempt 1
        app: up, attempt 1, resumed
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: CLOSE 1000
        0: end of file
        1: HELLO d, resume behind 0
        1: CLOSE 1008
        1: end of file
        2: HELLO d, resume behind 0
        2: CLOSE 4401
        2: end of file
        3: HELLO d, resume behind 0
        3: GOODBYE Closed
        3: end of file
        ",
    );
}

/// The application says who it is after each open, before what waits leaves: on connections of one session, and on those of none.
pub fn greeting<H: Clients>(stage: &mut ClientStage<H>) {
    let address = stage.open(client().greeting());
    stage.send("one");
    let first = stage.peer.let_in_anyhow(address, welcome());
    stage.until("up");
    greet(stage);
    take_both(stage, first, 2);
    stage.until("acknowledged 1");
    stage.peer.hang_up(first);
    stage.until("down");
    stage.send("two");
    let second = stage.peer.let_in_anyhow(address, resumed(2));
    stage.until("up");
    greet(stage);
    take_both(stage, second, 4);
    stage.until("acknowledged 2");
    stage.close(second);
    expect(
        stage,
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
        0: HELLO d, new session
        0: DATA 1: who
        0: DATA 2: one
        0: end of file
        1: HELLO d, resume behind 0
        1: DATA 3: who
        1: DATA 4: two
        1: GOODBYE Closed
        1: end of file
        ",
    );
}

fn greet<H: Clients>(stage: &mut ClientStage<H>) {
    stage.client().greet("who".into()).unwrap_or_else(|error| panic!("{error}"));
    stage.client().greeted();
}

/// Waits for the greeting and the message behind it, and says that they came, if pongs do not.
fn take_both<H: Clients>(stage: &mut ClientStage<H>, line: Line, through: u64) {
    if stage.peer.way() == Way::Foreign {
        stage.peer.until(line, "MESSAGE");
        stage.peer.until(line, "MESSAGE");
        return;
    }
    stage.peer.until(line, &format!("DATA {through}"));
    stage.peer.say(line, &ack(through));
}

fn refuse<H: Clients>(stage: &mut ClientStage<H>, line: Line, status: &str) {
    stage.peer.until(line, "GET /");
    stage.peer.write(line, format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes());
    stage.peer.until(line, "end of file");
}

/// A trace as it is between keepbeats. A foreign server hears no hello, has no session, and is closed instead of told goodbye.
fn expect<H: Clients>(stage: &ClientStage<H>, native: &str) {
    if stage.peer.way() != Way::Foreign {
        return stage.expect(native);
    }
    let lines = native.lines().filter(|line| !line.contains("HELLO"));
    let lines = lines.map(|line| {
        match line.split_once("DATA ").and_then(|(who, what)| Some((who, what.split_once(": ")?.1))) {
            Some((who, what)) => format!("{who}MESSAGE {what}"),
            None => line.replace(", resumed", ", new session").replace("GOODBYE Closed", "CLOSE 1000"),
        }
    });
    stage.expect(&lines.collect::<Vec<_>>().join("\n"));
}
