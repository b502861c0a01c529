//! What the fuzz targets check, one file for each. `fuzz/` feeds them, `docs/fuzzing.md` says how.
//!
//! For this project's own tests: not part of what the crate promises. A target takes any bytes, does what they say, and
//! panics if something does not hold that must hold for all input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a fuzz target fails loudly")]

mod frame;
mod handshake;
mod script;
mod session;
mod time;
mod timer_path;

pub use frame::frame;
pub use handshake::handshake;
pub use session::session;
pub use time::time;
pub use timer_path::timer_path;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All targets, with their names.
pub const TARGETS: [(&str, Target); 5] =
    [("frame", frame), ("handshake", handshake), ("session", session), ("timer_path", timer_path), ("time", time)];
