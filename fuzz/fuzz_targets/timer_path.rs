//! See `core/src/fuzzing/timer_path.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepbeat_fuzz::in_time(keepbeat_core::fuzzing::timer_path, data));
