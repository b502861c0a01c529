#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly"))]
//! keepbeat core.

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

pub mod client;
mod connection;
pub mod entropy;
pub mod liveness;
pub mod reconnect;
pub mod server;
pub mod session;
pub mod time;
pub mod wire;

pub use connection::{DownCause, DownReport, Failure};
