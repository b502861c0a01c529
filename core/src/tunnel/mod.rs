//! What lies between a socket and the wire.
//!
//! [`Race`] finds the address of a name that answers first. It opens nothing itself: it says what to open, is told how that
//! went, and knows no protocol.

mod race;

pub use race::{ATTEMPT_DELAY, MAX_ADDRESSES, Race, RaceAction};
