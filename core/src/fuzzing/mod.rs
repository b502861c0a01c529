//! What the fuzz targets check, one file for each. `fuzz/` feeds them, `docs/fuzzing.md` says how.
//!
//! For this project's own tests: not part of what the crate promises. A target takes any bytes, does what they say, and
//! panics if something does not hold that must hold for all input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a fuzz target fails loudly")]

mod frame;
mod handshake;
mod mqtt_packet;
mod mqtt_session;
mod script;
mod session;
mod time;
mod timer_path;
mod websocket_frame;
mod websocket_handshake;

pub use frame::frame;
pub use handshake::handshake;
pub use mqtt_packet::mqtt_packet;
pub use mqtt_session::mqtt_session;
pub use session::session;
pub use time::time;
pub use timer_path::timer_path;
pub use websocket_frame::websocket_frame;
pub use websocket_handshake::websocket_handshake;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All targets, with their names.
pub const TARGETS: [(&str, Target); 9] = [
    ("frame", frame),
    ("handshake", handshake),
    ("mqtt_packet", mqtt_packet),
    ("mqtt_session", mqtt_session),
    ("session", session),
    ("timer_path", timer_path),
    ("time", time),
    ("websocket_frame", websocket_frame),
    ("websocket_handshake", websocket_handshake),
];
