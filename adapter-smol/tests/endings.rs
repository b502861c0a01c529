//! How links and listeners end: drains, takeovers, refusals, drops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/endings.rs"]
mod endings;
