//! See `core/src/fuzzing/mqtt_session.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepbeat_fuzz::in_time(keepbeat_core::fuzzing::mqtt_session, data));
