//! While it waits, everything that concerns a driver holds its newest waker, and it is woken for nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/waker_contract.rs"]
mod waker_contract;
