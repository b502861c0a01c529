//! The machine was away.

use std::time::Duration;

use keepbeat_core::wire::Frame;

use crate::harness::{Clients, Suspends};
use crate::peers::{calm_welcome, resumed, welcome};
use crate::stage::{ClientStage, calm, client};

/// Far longer than every timeout in the scenarios.
const GAP: Duration = Duration::from_secs(3600);

/// The answer to our hello came while we were away. It counts: what can be read is read before anything is judged.
pub fn suspend_in_the_handshake<H: Clients + Suspends>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let line = stage.peer.accept(address);
    stage.peer.hello(line);
    stage.suspend(GAP, |peer| peer.say_now(line, &Frame::Welcome(Box::new(welcome()))));
    stage.until("up");
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// We were away, and the peer lives: one beat, its answer, and nobody is suspected.
pub fn suspend_with_a_living_peer<H: Clients + Suspends>(stage: &mut ClientStage<H>) {
    let address = stage.open(client());
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    stage.peer.until(line, "BEAT");
    stage.suspend(GAP, |_| {});
    stage.peer.beats(line, 2);
    stage.close(line);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: closed, 0 unacknowledged
        app: over
        0: HELLO d, new session
        0: BEAT
        0: BEAT
        0: BEAT
        0: GOODBYE Closed
        0: end of file
        ",
    );
}

/// We were away, and the peer is gone: it gets one probe, and then the verdict, without a suspicion before.
pub fn suspend_with_a_dead_peer<H: Clients + Suspends>(stage: &mut ClientStage<H>) {
    let config = calm().build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.open(client().liveness(config));
    let first = stage.peer.let_in(address, calm_welcome());
    stage.until("up");
    stage.peer.mute(first);
    stage.peer.until(first, "BEAT");
    stage.suspend(GAP, |_| {});
    stage.peer.until(first, "end of file");
    stage.until("down");
    let second = stage.peer.let_in(address, resumed(0));
    stage.until("up");
    stage.close(second);
    stage.expect(
        "
        app: connecting, attempt 1
        app: up, attempt 1, new session
        app: down: dead NoReply
        app: connecting, attempt 2
        app: up, attempt 2, resumed
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
