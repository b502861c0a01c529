//! A listener without file descriptors. Alone in its process, because it takes them all.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

#[path = "../../adapter-shared/tests-on-a-runtime/descriptors.rs"]
mod descriptors;
