//! See `core/src/fuzzing/websocket_frame.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepbeat_fuzz::in_time(keepbeat_core::fuzzing::websocket_frame, data));
