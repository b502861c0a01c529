//! Parsers of frames, behind one shape: ours, and what a user would otherwise pick.
//!
//! Every parser gets the stream in pieces that it only borrows, as from a read buffer that is used again, and yields every
//! beat as its number and every message as [`Bytes`](bytes::Bytes) of its own. [`CopyOnly`] is told where the messages are and
//! parses nothing: it is the floor under all that own what they yield.

mod by_hand;
mod copy_only;
mod delimited;
mod ours;

pub use by_hand::ByHand;
pub use copy_only::CopyOnly;
pub use delimited::Delimited;
pub use ours::Ours;

use crate::frames::{Found, Stream};

/// The native protocol's type byte of a beat.
pub(crate) const BEAT: u8 = 0x10;

/// The native protocol's type byte of a message.
pub(crate) const DATA: u8 = 0x20;

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The native protocol: type byte, length as varint, number as varint, payload.
    Native,
    /// What [`Delimited`] reads: length in four bytes, then type byte, number as varint, payload.
    Delimited,
}

/// A parser of one stream.
pub trait Parser {
    /// What it reads.
    const FORMAT: Format;

    /// How benches call it.
    const NAME: &'static str;

    /// A parser at the start of this stream. Only [`CopyOnly`] looks at it.
    fn new(stream: &Stream) -> Self;

    /// What it finds in this stream if it does all of the work.
    fn all(stream: &Stream) -> Found {
        stream.found()
    }

    /// Takes the next bytes and tells `found` what they complete.
    fn feed(&mut self, piece: &[u8], found: &mut Found);
}

/// Feeds all pieces of a stream and returns what was found. The parser stands between frames before and after, so it can go on.
pub fn run<P: Parser>(parser: &mut P, pieces: &[&[u8]]) -> Found {
    let mut found = Found::default();
    for piece in pieces {
        parser.feed(piece, &mut found);
    }
    found
}

/// Reads a varint of up to 64 bits: its value and the bytes it took; `None` if it is not complete or too long.
#[inline]
pub(crate) fn varint(input: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in input.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if *byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}
