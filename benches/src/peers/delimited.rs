//! tokio-util's codec.

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::{BEAT, DATA, Format, Parser, varint};
use crate::frames::{Found, Stream};

/// [`LengthDelimitedCodec`] behind a [`BytesMut`], as `Framed` uses it, and type byte and number read from its frames.
///
/// Its payloads share the read buffer: none is copied out, and a small one keeps a whole buffer alive. Every piece is copied
/// into that buffer, because pieces are only borrowed; that is its one copy of every payload. `Framed` reads from the socket
/// into the buffer and does without: where it is used so, take off what `copy only` costs.
pub struct Delimited {
    codec: LengthDelimitedCodec,
    buffer: BytesMut,
}

impl Parser for Delimited {
    const FORMAT: Format = Format::Delimited;
    const NAME: &'static str = "LengthDelimitedCodec";

    fn new(_: &Stream) -> Self {
        Self { codec: LengthDelimitedCodec::new(), buffer: BytesMut::new() }
    }

    fn feed(&mut self, piece: &[u8], found: &mut Found) {
        self.buffer.extend_from_slice(piece);
        loop {
            let mut frame = match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => {
                    found.faults += 1;
                    return;
                }
            };
            let kind = frame.first().copied();
            match (kind, varint(frame.get(1..).unwrap_or_default())) {
                (Some(BEAT), Some((number, _))) => found.beat(number as u32),
                (Some(DATA), Some((_, front))) => {
                    frame.advance(1 + front);
                    found.message(frame.freeze());
                }
                _ => found.faults += 1,
            }
        }
    }
}
