//! permessage-deflate (RFC 7692): messages compressed one by one.
//!
//! | file | what it holds |
//! |---|---|
//! | `negotiation` | [`DeflateConfig`] and what both sides make of it: [`Agreement`] |
//! | `codec` | messages -> compressed messages and back |
//!
//! By default neither side keeps what it knows from one message to the next: that compresses small messages less, and an
//! idle connection holds no memory for it. With context takeover, each direction holds memory for as long as the connection
//! lives: up to 32 KiB for what comes, and a whole compressor, some hundred KiB, for what goes.
//!
//! Without it, messages below 256 bytes go as they are, and each of the others costs a new compressor: some hundred thousand
//! instructions.
//!
//! Whoever compresses secrets together with what an attacker chose may give them away by the length (CRIME, BREACH): leave
//! this off where both are in one message.

mod codec;
mod negotiation;

pub(super) use codec::{Deflater, Inflater};
pub use negotiation::{Agreement, DeflateConfig, DeflateConfigError};

/// The largest window and so the largest distance: 2 to the power of this, in bytes.
const WINDOW_BITS_MAX: u8 = 15;

/// The smallest window.
const WINDOW_BITS_MIN: u8 = 8;

/// How one end compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Side {
    /// A message may refer to the ones before it.
    takeover: bool,
    /// How far back a reference reaches: 2 to the power of this, in bytes.
    window_bits: u8,
}
