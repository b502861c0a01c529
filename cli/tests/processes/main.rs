//! `keepbeat serve` and `keepbeat connect`, each in a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtimes;
mod support;
mod tls;
mod websocket;
