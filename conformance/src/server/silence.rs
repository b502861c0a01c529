//! Devices from which nothing is heard, or who hear nothing.

use std::time::Duration;

use keepbeat_core::wire::{Frame, Hello, Welcome};

use crate::CALM;
use crate::harness::Servers;
use crate::network::Order;
use crate::peers::{OFTEN, ack, calm_hello, data, hello};
use crate::stage::{ServerStage, calm, server};
use crate::words::load;

/// The device loses its power. It comes back and gets what it had not acknowledged.
pub fn half_open_peer<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.until("online d");
    stage.peer.say(first, &data(1, "up"));
    stage.until("message of d");
    stage.send("d", "one");
    stage.peer.until(first, "DATA 1");
    stage.peer.say(first, &ack(1));
    stage.until("acknowledged by d: 1");
    stage.peer.vanish(first);
    stage.send("d", "two");
    stage.until("offline d");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 1));
    stage.until("online d");
    stage.peer.until(second, "DATA 2");
    stage.peer.say(second, &ack(2));
    stage.until("acknowledged by d: 2");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: up
        app: sent 1
        app: acknowledged by d: 1
        app: sent 2
        app: suspect d
        app: offline d: dead Silent
        app: online d, resumed
        app: acknowledged by d: 2
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        0: DATA 1: one
        1: WELCOME, resumed behind 1
        1: DATA 2: two
        1: end of file
        ",
    );
}

/// What the device says does not arrive; it hears everything: the probe, and the goodbye.
pub fn black_hole_towards_us<H: Servers>(stage: &mut ServerStage<H>) {
    let address = stage.serve(server());
    let (first, welcome) = stage.peer.get_in(address, hello("d"));
    stage.peer.mute(first);
    stage.peer.say(first, &data(1, "up"));
    stage.until("suspect d");
    stage.peer.until(first, "BEAT");
    stage.peer.until(first, "GOODBYE");
    stage.peer.until(first, "end of file");
    stage.until("offline d");
    let (second, _) = stage.peer.get_in(address, returning(&welcome, 0));
    stage.peer.mute(second);
    stage.until("suspect d");
    stage.peer.say(second, &data(2, "alive"));
    stage.until("message of d");
    stage.until("recovered d");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: message of d: up
        app: suspect d
        app: offline d: dead Silent
        app: online d, resumed
        app: suspect d
        app: message of d: alive
        app: recovered d
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

/// What we say does not arrive, although the device is heard all the time: our bytes do not move.
pub fn black_hole_away_from_us<H: Servers>(stage: &mut ServerStage<H>) {
    let config =
        calm().write_stall(CALM_STALL).stall_limit(CALM_STALL).build().unwrap_or_else(|error| panic!("{error}"));
    let address = stage.serve(server().liveness(config));
    let (first, welcome) = stage.peer.get_in(address, calm_hello("d"));
    stage.until("online d");
    stage.peer.order(first, Order::Read(false));
    stage.peer.order(first, Order::Repeat(stage.peer.bytes(&Frame::Beat { seq: 1 }), OFTEN));
    stage.send("d", load(LARGE));
    stage.until("offline d");
    stage.peer.order(first, Order::Quiet);
    let (second, _) = stage.peer.get_in(address, Hello { token: Some(welcome.token), ..calm_hello("d") });
    stage.until("online d");
    stage.peer.until(second, "DATA 1");
    stage.peer.say(second, &ack(1));
    stage.until("acknowledged by d: 1");
    stage.leave(second, "d");
    stage.expect(
        "
        app: online d, new session
        app: sent 1
        app: offline d: dead WriteStalled
        app: online d, resumed
        app: acknowledged by d: 1
        app: offline d: goodbye Closed
        app: session of d ended, 0 undelivered
        0: WELCOME, new session
        1: WELCOME, resumed behind 0
        1: DATA 1: [25165824 bytes]
        1: end of file
        ",
    );
}

/// The hello of the device that was given this welcome, and has received so many messages.
pub(super) fn returning(welcome: &Welcome, received: u64) -> Hello {
    Hello { token: Some(welcome.token), received, ..calm_hello("d") }
}

/// How long our bytes may stand still there.
const CALM_STALL: Duration = Duration::from_millis(CALM as u64);

/// More than an operating system holds for one connection.
const LARGE: usize = 24 << 20;
