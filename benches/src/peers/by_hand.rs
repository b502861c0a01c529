//! A parser of the native format as one writes it by hand.

use bytes::Bytes;

use super::{BEAT, DATA, Format, Parser, varint};
use crate::frames::{Found, Stream};

/// A hand-written parser of length-prefixed frames: what is whole in a piece is parsed in place and its payload copied out
/// once; a frame that a piece cuts is gathered, with what follows it, in one buffer that grows by doubling.
///
/// It has no limits and checks nothing: a peer could make it hold what it likes.
pub struct ByHand {
    rest: Vec<u8>,
}

impl Parser for ByHand {
    const FORMAT: Format = Format::Native;
    const NAME: &'static str = "by hand";

    fn new(_: &Stream) -> Self {
        Self { rest: Vec::new() }
    }

    fn feed(&mut self, piece: &[u8], found: &mut Found) {
        if self.rest.is_empty() {
            let used = parse(piece, found);
            self.rest.extend_from_slice(&piece[used..]);
        } else {
            self.rest.extend_from_slice(piece);
            let used = parse(&self.rest, found);
            self.rest.drain(..used);
        }
    }
}

/// Parses all frames that are whole; returns how many bytes they took.
fn parse(input: &[u8], found: &mut Found) -> usize {
    let mut used = 0;
    while let Some((kind, body, length)) = frame(&input[used..]) {
        used += length;
        match (kind, varint(body)) {
            (BEAT, Some((number, _))) => found.beat(number as u32),
            (DATA, Some((_, front))) => found.message(Bytes::copy_from_slice(&body[front..])),
            _ => found.faults += 1,
        }
    }
    used
}

/// The first frame's type and body, and its length with the header; `None` if it is not whole.
#[inline]
fn frame(input: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&kind, rest) = input.split_first()?;
    let (length, front) = varint(rest)?;
    let end = front + length as usize;
    Some((kind, rest.get(front..end)?, end + 1))
}
