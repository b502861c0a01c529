//! The floor.

use std::mem;

use bytes::Bytes;

use super::{Format, Parser};
use crate::frames::{Found, Part, Stream};

/// Asks for memory for every payload, copies it there once, and gives it back: whoever owns the payloads that it yields cannot
/// do with less. It knows beforehand where they are, and parses nothing; beats it skips.
pub struct CopyOnly {
    parts: Vec<Part>,
    /// The part that is next, and how much of it was fed.
    next: usize,
    fed: usize,
    /// Of a payload that a piece has cut, its beginning.
    begun: Vec<u8>,
}

impl CopyOnly {
    /// Copies the payloads of a stream with these parts, which are not none.
    pub(crate) fn of(parts: &[Part]) -> Self {
        Self { parts: parts.to_vec(), next: 0, fed: 0, begun: Vec::new() }
    }
}

impl Parser for CopyOnly {
    const FORMAT: Format = Format::Native;
    const NAME: &'static str = "copy only";

    fn new(stream: &Stream) -> Self {
        Self::of(stream.parts())
    }

    fn all(stream: &Stream) -> Found {
        Found { beats: 0, beat_numbers: 0, ..stream.found() }
    }

    fn feed(&mut self, mut piece: &[u8], found: &mut Found) {
        while !piece.is_empty() {
            let Part { is_payload, bytes } = self.parts[self.next];
            let (part, rest) = piece.split_at(piece.len().min(bytes - self.fed));
            piece = rest;
            self.fed += part.len();
            if is_payload && part.len() < bytes {
                self.begun.reserve_exact(bytes - self.begun.len());
                self.begun.extend_from_slice(part);
            }
            if self.fed < bytes {
                return;
            }
            if is_payload {
                let is_cut = !self.begun.is_empty();
                found.message(if is_cut { mem::take(&mut self.begun).into() } else { Bytes::copy_from_slice(part) });
            }
            // Behind the last part, the same stream comes again.
            (self.next, self.fed) = ((self.next + 1) % self.parts.len(), 0);
        }
    }
}
