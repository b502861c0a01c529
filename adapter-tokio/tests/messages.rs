//! Messages arrive in order and exactly once, and wait when there is no room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/messages.rs"]
mod messages;
