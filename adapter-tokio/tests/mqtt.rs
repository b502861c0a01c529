//! MQTT, with a server made of the codec.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/broker.rs"]
mod broker;

#[path = "../../adapter-shared/tests-on-a-runtime/mqtt.rs"]
mod mqtt;
