#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly"))]
//! keepbeat core.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod entropy;
pub mod liveness;
pub mod session;
pub mod time;
pub mod wire;
