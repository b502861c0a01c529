//! See `core/src/fuzzing/session.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepbeat_fuzz::in_time(keepbeat_core::fuzzing::session, data));
