//! One suite for all drivers of `keepbeat-core`.
//!
//! A scenario is a script: it plays the other side of the connection, frame by frame, and the application. What can be seen
//! from there, the application's events and the frames with the ends of connections, is the trace. It is written down in the
//! scenario, and every driver must give exactly that.
//!
//! The same scenarios are played over TCP and over WebSocket, those of clients over MQTT, too, and some with peers that are no
//! keepbeats ([`Way`]).
//!
//! # To test an adapter
//!
//! Implement [`Clients`] and [`Servers`] (each is enough for its half of the scenarios) and [`Suspends`], and let the macros
//! write the tests. Everything else, the other side's sockets included, comes with the suite. `tests/tokio.rs` is such a file:
//!
//! ```ignore
//! keepbeat_conformance::client_scenarios!(Tokio::new());
//! keepbeat_conformance::server_scenarios!(Tokio::new());
//! ```
//!
//! The rules for a harness:
//!
//! - What is under test goes on by itself, whatever the script's thread does.
//! - Only `next_event` waits, and it gives up when its patience is at its end.
//! - `drain` and `close` begin something; they do not wait for its end.
//! - A suspend is a jump of the clock that everything under test reads. Scenarios with a suspend have a process for
//!   themselves, because that clock may be one for all.
//!
//! # What is compared
//!
//! | in the trace | left out |
//! |---|---|
//! | events of the application, in order, with causes, attempts, tickets and messages | times, round trips, evidence |
//! | HELLO, WELCOME, REFUSE, DATA, GOODBYE and the end of each connection, in order | tokens, details for people |
//! | with foreign peers: requests, statuses, messages and closes, in order | names of foreigners, payloads of pings |
//! | over MQTT: packets with their identifiers, duplicates and codes, in order | properties of CONNECT |
//! | a BEAT, ECHO, ACK, ping, pong, PINGREQ or PUBACK at the place where the script waits for it | how many others there are |
//! | a BEAT that does not count up by one, an ACK, ECHO or PUBACK that goes back | |
//! | what calls returned | |
//!
//! Scripts wait for an event or a frame, with [`PATIENCE`], and never for a guessed time.
//!
//! | file | what it holds |
//! |---|---|
//! | `harness` | what an adapter implements |
//! | `client/`, `server/` | the scenarios |
//! | `stage`, `peers`, `ledger`, `words` | what scenarios are written with: the application, the other side, the lines of a trace |
//! | `packets` | MQTT for the other side: what it says for frames, and the lines of packets |
//! | `network`, `speaker`, `loopback` | the other side's end of connections, what it hears and says there, and its sockets |
//! | `simulated/` | the driver in virtual time, with flaws on request |

#![forbid(unsafe_code)]
#![expect(clippy::panic, clippy::expect_used, reason = "a scenario that does not hold fails its test")]

pub mod client;
mod harness;
mod ledger;
mod loopback;
pub mod network;
mod packets;
mod peers;
pub mod server;
pub mod simulated;
mod speaker;
mod stage;
mod words;

pub use client::{foreign as foreign_servers, mqtt as brokers};
pub use harness::{ClientUnderTest, Clients, OutOfPatience, ServerUnderTest, Servers, Suspends};
pub use network::Way;
pub use server::foreign as foreign_clients;
pub use stage::{ClientStage, ServerStage};

use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use keepbeat_core::wire::DeviceId;

/// How long a script waits for what must come: longer than anything here takes, and shorter than the 15 s for which a driver's
/// alarm is capped, so that no driver is saved by the cap.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// So many events or frames may pass before the one that a script waits for.
const MOST: usize = 200;

/// The beat interval in the scenarios.
const INTERVAL: Duration = Duration::from_secs(1);

/// The reply timeout in the scenarios. Half of it is how late a driver may wake before the core takes it for a stall of our
/// own, which has another trace.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Both, in milliseconds, where a scenario is about something else than silence, and nobody should be suspected even on a busy
/// machine.
const CALM: u32 = 2000;

/// Says to a process that it is alone.
const ALONE: &str = "KEEPBEAT_CONFORMANCE_ALONE";

/// Plays a scenario.
pub fn play<S>(scenario: fn(&mut S), stage: impl FnOnce() -> S) {
    scenario(&mut stage());
}

/// Plays a scenario that keeps a core busy most of the time: at once there are as many of them as cores, and one that waits.
pub fn play_busily<S>(scenario: fn(&mut S), stage: impl FnOnce() -> S) {
    let _place = Place::take();
    play(scenario, stage);
}

/// A place among them.
struct Place;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Place {
    fn take() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let free = GIVEN_BACK.wait_while(taken, |taken| *taken > cores);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}

/// Plays a scenario that lets the clock jump: in a process of its own, because the clock may be one for all. It is this one if
/// only one test runs at a time.
pub fn play_alone<S>(scenario: fn(&mut S), stage: impl FnOnce() -> S) {
    // So tests are named, if they do not run one after the other.
    let test = thread::current().name().filter(|name| *name != "main").map(ToOwned::to_owned);
    match test {
        Some(test) if env::var_os(ALONE).is_none() => play_elsewhere(&test),
        _ => play(scenario, stage),
    }
}

fn play_elsewhere(test: &str) {
    let this = env::current_exe().expect("the test's own executable");
    let output = Command::new(this).args([test, "--exact", "--nocapture"]).env(ALONE, "1").output().expect("it runs");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let played = output.status.success() && out.contains("1 passed");
    assert!(played, "{test} failed in a process of its own:\n{out}\n{errors}");
}

#[expect(clippy::disallowed_methods, reason = "the script's patience is real time")]
fn clock() -> Instant {
    Instant::now()
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap_or_else(|error| panic!("{error}"))
}

/// One test for every scenario of a client, with a fresh harness from this expression for each: over TCP and, in modules of
/// their names, over WebSocket and MQTT.
#[macro_export]
macro_rules! client_scenarios {
    ($harness:expr) => {
        $crate::scenarios! { client, ClientStage, play_busily, $harness; Tcp, busy_websocket: WebSocket =>
            black_hole_away_from_us, slow_reader, flood,
        }

        $crate::scenarios! { client, ClientStage, play, $harness; Tcp, websocket: WebSocket =>
            half_open_peer, black_hole_towards_us, slow_application, slow_writer, texts_and_binaries,
            frame_without_an_end, end_of_file_in_a_frame, reset, one_byte_reads, refused,
            accept_then_close, server_restart, greeting, drain, going_away, takeover, late_words,
            forbidden,
        }

        $crate::mqtt_scenarios! { $harness; mqtt: Mqtt, mqtt_in_websocket: MqttWebSocket }

        mod websocket_handshakes {
            use super::*;

            $crate::scenarios! { client, ClientStage, play, $harness; WebSocket =>
                refused_for_now, refused_for_good, closed_for_now, closed_for_good,
            }
        }

        mod foreign_handshakes {
            use super::*;

            $crate::scenarios! { client, ClientStage, play, $harness; Foreign =>
                refused_for_now, refused_for_good, closed_for_now, closed_for_good, greeting,
            }
        }

        mod mqtt_handshakes {
            use super::*;

            $crate::scenarios! { client, ClientStage, play, $harness; MqttWebSocket =>
                refused_for_now, refused_for_good, closed_for_now, closed_for_good,
            }
        }

        mod foreign {
            use super::*;

            $crate::scenarios! { foreign_servers, ClientStage, play, $harness; Foreign =>
                acknowledged_by_pongs, coalesced_pongs, half_open_peer, pongs_of_another, peer_with_a_timer, ping_flood,
                texts_and_binaries, beats_by_message, large_message_before_a_pong, close_in_a_message,
                close_without_an_answer, violations,
            }
        }
    };
}

/// One test for every scenario of a client in which the machine is suspended, over TCP, WebSocket and MQTT.
#[macro_export]
macro_rules! client_suspend_scenarios {
    ($harness:expr) => {
        $crate::scenarios! { client, ClientStage, play_alone, $harness; Tcp, suspended_websocket: WebSocket =>
            suspend_in_the_handshake, suspend_with_a_living_peer, suspend_with_a_dead_peer,
        }

        $crate::scenarios! {
            client, ClientStage, play_alone, $harness; suspended_mqtt: Mqtt, suspended_mqtt_in_websocket: MqttWebSocket =>
            suspend_in_the_handshake, suspend_with_a_living_peer, suspend_with_a_dead_peer,
        }
    };
}

/// The scenarios of a client that make sense over MQTT, and those of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! mqtt_scenarios {
    ($harness:expr; $($module:ident: $way:ident),*) => { $(
        mod $module {
            use super::*;

            $crate::scenarios! { client, ClientStage, play_busily, $harness; $way =>
                black_hole_away_from_us, slow_reader, flood,
            }

            $crate::scenarios! { client, ClientStage, play, $harness; $way =>
                half_open_peer, black_hole_towards_us, slow_writer, frame_without_an_end, end_of_file_in_a_frame, reset,
                one_byte_reads, refused, accept_then_close, drain, going_away, takeover, late_words, forbidden,
            }

            $crate::scenarios! { brokers, ClientStage, play, $harness; $way =>
                publications, receive_maximum, manual_acknowledgements, slow_application, session_goes_on,
                session_is_lost, greeting, server_keep_alive, dead_while_we_publish, large_message_before_an_answer,
                codes_for_now, codes_for_good, violations, drain_at_qos_2, close_behind_a_message,
                close_without_an_answer,
            }
        }
    )* };
}

/// One test for every scenario of a server, with a fresh harness from this expression for each: over TCP and, in modules of
/// that name, over WebSocket.
#[macro_export]
macro_rules! server_scenarios {
    ($harness:expr) => {
        $crate::scenarios! { server, ServerStage, play_busily, $harness; Tcp, busy_websocket: WebSocket =>
            black_hole_away_from_us, slow_reader, flood,
        }

        $crate::scenarios! { server, ServerStage, play, $harness; Tcp, websocket: WebSocket =>
            half_open_peer, black_hole_towards_us, slow_application, slow_writer, texts_and_binaries,
            frame_without_an_end, end_of_file_in_a_frame, reset, one_byte_reads, refused,
            connect_then_close, restart, drain, takeover, back_within_the_grace,
        }

        mod foreign {
            use super::*;

            $crate::scenarios! { foreign_clients, ServerStage, play, $harness; Foreign =>
                texts_and_binaries, half_open_peer, peer_with_a_timer, ping_flood, closes, violations, drain, requests,
                refused,
            }
        }
    };
}

/// One test for every scenario of a server in which the machine is suspended, over TCP and WebSocket.
#[macro_export]
macro_rules! server_suspend_scenarios {
    ($harness:expr) => {
        $crate::scenarios! { server, ServerStage, play_alone, $harness; Tcp, suspended_websocket: WebSocket =>
            suspend_in_the_handshake, suspend_with_a_living_device, suspend_with_a_dead_device,
        }
    };
}

/// Writes the tests for the macros above: for the first way here, for others in modules.
#[doc(hidden)]
#[macro_export]
macro_rules! scenarios {
    (
        $side:ident, $stage:ident, $play:ident, $harness:expr;
        $way:ident, $($module:ident: $other:ident),+ => $($name:ident),* $(,)?
    ) => {
        $crate::scenarios! { $side, $stage, $play, $harness; $way => $($name),* }

        $crate::scenarios! { $side, $stage, $play, $harness; $($module: $other),+ => $($name),* }
    };
    (
        $side:ident, $stage:ident, $play:ident, $harness:expr;
        $module:ident: $way:ident $(, $modules:ident: $ways:ident)* => $($name:ident),* $(,)?
    ) => {
        mod $module {
            use super::*;

            $crate::scenarios! { $side, $stage, $play, $harness; $way => $($name),* }
        }

        $crate::scenarios! { $side, $stage, $play, $harness; $($modules: $ways),* => $($name),* }
    };
    ($side:ident, $stage:ident, $play:ident, $harness:expr; => $($name:ident),* $(,)?) => {};
    ($side:ident, $stage:ident, $play:ident, $harness:expr; $way:ident => $($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            $crate::$play($crate::$side::$name, || $crate::$stage::on($crate::Way::$way, $harness));
        }
    )* };
}

/// Compiles the examples of the README, which are for all adapters.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
