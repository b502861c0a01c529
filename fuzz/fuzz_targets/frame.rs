//! See `core/src/fuzzing/frame.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepbeat_fuzz::in_time(keepbeat_core::fuzzing::frame, data));
