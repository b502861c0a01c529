//! Dead peers, slow peers, and quiet ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/trouble.rs"]
mod trouble;
