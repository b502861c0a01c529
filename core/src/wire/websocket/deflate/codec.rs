//! MESSAGES <-> COMPRESSED MESSAGES (RFC 7692, section 7.2), on zlib-rs: of the crates in pure Rust it is the one that
//! compresses with windows of any size.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::{Side, WINDOW_BITS_MAX};
use crate::wire::websocket::Violation;

/// What a flush ends with, and a compressed message leaves out (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The last block of a stream, empty: it is understood only between blocks.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// zlib makes no smaller windows for raw streams. With this one it refers back by at most 250 bytes, so that it also does
/// for an agreement on 8.
const WINDOW_BITS_MADE: u8 = 9;

/// zlib needs so many bytes ahead of a reference, in bytes; they reduce the window.
const LOOKAHEAD: usize = 262;

/// Shorter messages go as they are, in bytes: what can be saved is not worth a new compressor.
const WORTHWHILE: usize = 256;

/// The same if the compressor is there and knows the messages before.
const WORTHWHILE_AGAIN: usize = 16;

/// A message may consist of so many streams that end, and one more. Each costs memory and time that two bytes can ask for.
const STREAMS: u8 = 8;

/// Bytes go through here on their way out of zlib, which writes to memory that has a value already.
const STAGE: usize = 4096;

/// Compresses what we send.
pub(in super::super) struct Deflater {
    side: Side,
    level: u8,
    /// With context takeover, from the first message on.
    stream: Option<Box<Deflate>>,
}

impl Deflater {
    pub(in super::super) const fn new(side: Side, level: u8) -> Self {
        Self { side, level, stream: None }
    }

    /// The compressed message; `None` if it is to be sent as it is.
    pub(in super::super) fn compress(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < if self.side.takeover { WORTHWHILE_AGAIN } else { WORTHWHILE } {
            return None;
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => Box::new(self.stream_for(message.len())),
        };
        let compressed = deflated(&mut stream, message)?;
        if self.side.takeover {
            self.stream = Some(stream);
            return Some(compressed);
        }
        (compressed.len() < message.len()).then_some(compressed)
    }

    fn stream_for(&self, length: usize) -> Deflate {
        let mut bits = self.side.window_bits.max(WINDOW_BITS_MADE);
        if !self.side.takeover {
            // No reference reaches further back than the message does.
            let needed = (length + LOOKAHEAD).next_power_of_two().trailing_zeros() as u8;
            bits = bits.min(needed.max(WINDOW_BITS_MADE));
        }
        // With the window, the memory for symbols shrinks, from 8, which is zlib's own choice for the largest.
        let mem_level = i32::from(bits) - 7;
        Deflate::new_with_config(zlib_rs::DeflateConfig {
            level: i32::from(self.level),
            window_bits: -i32::from(bits.min(WINDOW_BITS_MAX)),
            mem_level,
            ..zlib_rs::DeflateConfig::default()
        })
    }
}

fn deflated(stream: &mut Deflate, mut message: &[u8]) -> Option<Vec<u8>> {
    let (mut compressed, mut stage) = (Vec::new(), [0; STAGE]);
    loop {
        let (took, gave) = (stream.total_in(), stream.total_out());
        stream.compress(message, &mut stage, DeflateFlush::SyncFlush).ok()?;
        let (took, gave) = (stream.total_in() - took, stream.total_out() - gave);
        message = message.get(took as usize..)?;
        compressed.extend_from_slice(stage.get(..gave as usize)?);
        // A full stage may hide that there is more.
        if message.is_empty() && gave < STAGE as u64 {
            let length = compressed.strip_suffix(&TAIL)?.len();
            compressed.truncate(length);
            return Some(compressed);
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("side", &self.side).finish_non_exhaustive()
    }
}

/// Inflates what comes. Between messages it holds what the next one may refer to, and nothing without context takeover.
pub(in super::super) struct Inflater {
    side: Side,
    /// The end of the messages so far.
    history: Vec<u8>,
    /// Of the message on its way.
    stream: Option<Box<Inflate>>,
    /// So many streams of that message have ended.
    ended: u8,
}

impl Inflater {
    pub(in super::super) const fn new(side: Side) -> Self {
        Self { side, history: Vec::new(), stream: None, ended: 0 }
    }

    /// Takes the next bytes of a compressed message and appends to `body` what they make, up to `limit` bytes in all.
    pub(in super::super) fn inflate(
        &mut self,
        mut input: &[u8],
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Violation> {
        let mut stage = [0; STAGE];
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                slot => slot.insert(Box::new(stream(self.side, &self.history, body)?)),
            };
            // One byte above the limit is enough to know.
            let room = limit.saturating_sub(body.len()).saturating_add(1).min(STAGE);
            let Some(stage) = stage.get_mut(..room) else { return Ok(()) };
            let (took, gave) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(input, stage, InflateFlush::SyncFlush);
            let (took, gave) = ((stream.total_in() - took) as usize, (stream.total_out() - gave) as usize);
            input = input.get(took..).unwrap_or_default();
            reserve(body, gave, limit);
            body.extend_from_slice(stage.get(..gave).unwrap_or_default());
            if body.len() > limit {
                return Err(Violation::TooLarge { length: body.len() as u64, limit: limit as u64 });
            }
            // What was in front of a fault counts, however the two are cut.
            match status.map_err(|_| Violation::Deflate)? {
                // The last block of a stream need not be the last of the message (section 7.2.3.4): another stream may
                // follow, and refer to this one.
                Status::StreamEnd if self.ended < STREAMS => {
                    self.ended += 1;
                    self.stream = None;
                    if input.is_empty() {
                        return Ok(());
                    }
                }
                Status::StreamEnd => return Err(Violation::Deflate),
                // A full stage may hide that there is more.
                _ if gave == room => {}
                _ if input.is_empty() => return Ok(()),
                _ if took == 0 => return Err(Violation::Deflate),
                _ => {}
            }
        }
    }

    /// The message is complete: takes what was left out at its end.
    pub(in super::super) fn finish(&mut self, body: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        self.inflate(&TAIL, body, limit)?;
        // If the message stops in the middle of a block, the tail did not end it.
        let Some(mut stream) = self.stream.take() else { return Err(Violation::Deflate) };
        match stream.decompress(&LAST_BLOCK, &mut [0; 8], InflateFlush::SyncFlush) {
            Ok(Status::StreamEnd) => {}
            _ => return Err(Violation::Deflate),
        }
        self.ended = 0;
        if self.side.takeover {
            self.history = end_of(self.side, &self.history, body);
        }
        Ok(())
    }
}

/// A stream that may refer to the messages before and to what came of this one.
fn stream(side: Side, history: &[u8], body: &[u8]) -> Result<Inflate, Violation> {
    let mut stream = Inflate::new(false, side.window_bits.max(WINDOW_BITS_MADE));
    if !history.is_empty() || !body.is_empty() {
        stream.set_dictionary(&end_of(side, history, body)).map_err(|_| Violation::Deflate)?;
    }
    Ok(stream)
}

/// As much of the end of `history` and `body` as fits into the window.
fn end_of(side: Side, history: &[u8], body: &[u8]) -> Vec<u8> {
    let window = 1 << side.window_bits;
    let body = body.get(body.len().saturating_sub(window)..).unwrap_or_default();
    let history = history.get((history.len() + body.len()).saturating_sub(window)..).unwrap_or_default();
    [history, body].concat()
}

/// Makes room: by doubling, because nobody knows how much it will be, but not above the limit.
fn reserve(body: &mut Vec<u8>, more: usize, limit: usize) {
    if body.capacity() - body.len() < more {
        let most = limit.saturating_add(1).saturating_sub(body.len());
        body.reserve_exact(body.len().min(most).max(more));
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("side", &self.side).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
