//! smol, as the tests of `adapter-shared/tests-on-a-runtime` want it.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "every test file uses a part of it")]

use std::time::Duration;

pub use keepbeat_smol as adapter;
pub use smol::{block_on, spawn, unblock};

pub async fn sleep(time: Duration) {
    smol::Timer::after(time).await;
}
