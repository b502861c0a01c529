//! The machine was away.

use std::time::Duration;

use keepbeat_core::wire::Frame;

use super::silence::returning;
use crate::harness::{Servers, Suspends};
use crate::peers::{calm_hello, data, hello};
use crate::stage::{ServerStage, server};

/// Far longer than every timeout in the scenarios, and shorter than a session lives.
const GAP: Duration = Duration::from_secs(200);

/// The hello came while we were away. It counts: what can be read is read before anything is judged.
pub fn suspend_in_the_handshake<H: Servers + Suspends>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    // Whoever was accepted before the suspend has waited for longer than its hello may take.
    let (other, _) = stage.peer.get_in(address, hello("other"));
    stage.until("online other");
    let line = stage.peer.connect(address);
    stage.leave(other, "other");
    stage.suspend(GAP, |peer| peer.say_now(line, &Frame::Hello(Box::new(hello("d")))));
    stage.peer.welcome(line);
    stage.leave(line, "d");
    stage.expect(
        "
        app: online other, new session
        app: offline other: goodbye Closed
        app: session of other ended, 0 undelivered
        app: online d, new session
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: end of file
        1: WELCOME, new session
        1: end of file
        ",
    );
}

/// We were away, and the device lives: it is asked once, and nobody is suspected.
pub fn suspend_with_a_living_device<H: Servers + Suspends>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (line, _) = stage.peer.get_in(address, calm_hello("d"));
    stage.peer.say(line, &data(1, "before"));
    stage.until("message of d: before");
    stage.suspend(GAP, |_| {});
    stage.peer.until(line, "BEAT");
    stage.peer.say(line, &data(2, "after"));
    stage.until("message of d: after");
    stage.leave(line, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: before
        app: message of d: after
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: BEAT
        0: end of file
        ",
    );
}

/// We were away, and the device is gone: it gets one probe, and then the verdict, without a suspicion before.
pub fn suspend_with_a_dead_device<H: Servers + Suspends>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, calm_hello("d"));
    stage.peer.say(first, &data(1, "before"));
    stage.until("message of d: before");
    stage.peer.mute(first);
    stage.suspend(GAP, |_| {});
    stage.peer.until(first, "BEAT");
    stage.peer.until(first, "GOODBYE");
    stage.peer.until(first, "end of file");
    stage.until("offline d");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.until("online d");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: before
        app: offline d: dead Silent
        app: online d, resumed
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: BEAT
        0: GOODBYE Silent
        0: end of file
        1: WELCOME, resumed behind 1
        1: end of file
        ",
    );
}
