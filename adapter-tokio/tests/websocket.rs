//! WebSocket, with keepbeats and with others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/plain.rs"]
mod plain;

#[path = "../../adapter-shared/tests-on-a-runtime/websocket.rs"]
mod websocket;
