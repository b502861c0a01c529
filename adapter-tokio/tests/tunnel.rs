//! TLS and proxies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/tunnel.rs"]
mod tunnel;
