//! Heartbeats, dead-peer detection and reconnection as pure state machines.
//!
//! Timestamps and bytes go in, actions come out. There is no clock, no socket, no thread and no global in here; the crate
//! is `no_std` with `alloc` and has no `unsafe`. An adapter (`keepbeat-tokio` and its siblings) drives it on a runtime; you
//! can drive it yourself.
//!
//! # The floors
//!
//! A room may name the rooms below it, never those above. Each is useful alone.
//!
//! | room | question |
//! |---|---|
//! | `sim` | the simulator, behind the feature of that name |
//! | [`client`], [`server`] | one logical link across many connections; very many devices of a server |
//! | [`wire`] | bytes to frames and back; [`wire::beat`] is the native protocol |
//! | [`tunnel`] | what lies between a socket and the wire? |
//! | [`session`] | what must not be lost? |
//! | [`reconnect`] | when to try again? |
//! | [`liveness`] | is the peer alive? |
//! | [`timers`] | which of very many is due next? |
//! | [`time`], [`entropy`] | a moment is a number, randomness is handed in |
//!
//! Every machine has the same shape: `handle_input`, or a method named after what happened, takes it; `handle_timeout(now)`
//! does what is due; `poll_action()` says what to do until it says `None`; `poll_timeout()` says when to come back and why.
//!
//! # The driver contract
//!
//! 1. Read the clock once per turn, from a clock that counts suspend (`CLOCK_BOOTTIME` on Linux), and pass that one `now`
//!    to every call of the turn.
//! 2. In a turn, hand over the input that is already readable, and try to write what waits, *before* calling
//!    `handle_timeout`: nobody is to be judged by what our own delay kept back. If `wants_read` says no, do not read.
//! 3. Call `handle_timeout` when `now` has reached the deadline. The runtime's timer is only an alarm clock: its firing
//!    decides nothing. Early, late and repeated calls are safe.
//! 4. Drain `poll_action` to `None` and let the application take its events. Then arm one alarm from `poll_timeout`, or
//!    disarm it at `None`. Round waits up. Notice a suspend within 15 s of its end: cap the alarm, or have one watcher
//!    wake all drivers, which then arm anew.
//! 5. Report bytes as written when the operating system took them, not before. Never wait for a write, a name look-up or a
//!    handshake where timers run.
//! 6. Every result of input and output is an input: partial writes, end of file, errors. Retry nothing, judge nothing.
//! 7. Everything from a socket carries the epoch ([`client::Epoch`]) or the connection ([`server::ConnectionId`]) that it
//!    belongs to. What is stale is dropped and counted.
//!
//! The driver in `core/examples/blocking/driver.rs`, on the standard library alone, keeps all seven in about 110 lines.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `deflate` | no | compressed messages over WebSocket (needs `std`) |
//! | `tls` | no | TLS 1.2 and 1.3 in memory (needs `std`); cryptography comes from a provider that the process installs |
//! | `tls-ring` | no | `tls` with the provider ring |
//! | `tls-aws-lc` | no | `tls` with the provider AWS-LC |
//! | `tls-platform-roots` | no | `tls` that trusts what the operating system trusts |
//! | `sim` | no | the simulator: a virtual clock, peers, and links with faults (needs `std`) |

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly"))]

extern crate alloc;
#[cfg(any(test, feature = "sim", feature = "tls"))]
extern crate std;

pub mod client;
mod connection;
pub mod entropy;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod liveness;
pub mod reconnect;
pub mod server;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod timers;
pub mod tunnel;
pub mod wire;

pub use connection::{DownCause, DownReport, Failure};
