//! WebSocket frames: the work of the WebSocket benches, and who does it.
//!
//! A [`Stream`] is the same frames for one end, as its peer writes them. A [`Reader`] reads it over and over from a connection that
//! has at most [`PIECE`] bytes at once, and yields pongs and messages that own their bytes; a [`Writer`] writes the same frames to a
//! connection that takes everything. Both work in memory; the connection copies once, as the operating system does.
//!
//! Pongs and not pings are read, because tungstenite answers pings and cannot be told not to.

mod fast;
mod ours;
mod tungstenite;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use keepbeat_core::wire::Tx;
use keepbeat_core::wire::websocket::{Control, MaskKeys, Message, Outgoing, Role};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::fast::{FastReading, FastWriting};
pub use self::ours::{OursReading, OursWriting};
pub use self::tungstenite::{TungsteniteReading, TungsteniteWriting};
use crate::frames::{Found, PIECE, Part};
use crate::peers::{CopyOnly, Parser};

/// Which frames there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// 1,024 pongs with eight bytes, or pings where they are written.
    Control,
    /// 1,024 binary messages of 64 B.
    Small,
    /// 256 binary messages of 1 KiB.
    Medium,
    /// 256 texts of 1 KiB, all ASCII.
    Text,
    /// 16 binary messages of 64 KiB.
    Large,
}

/// What one of them is.
#[derive(Debug, Clone)]
pub enum Unit {
    /// A ping or pong.
    Control(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A text, in ASCII.
    Text(Bytes),
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Control, Self::Small, Self::Medium, Self::Text, Self::Large];

    /// How benches call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Small => "64B",
            Self::Medium => "1KiB",
            Self::Text => "1KiB-text",
            Self::Large => "64KiB",
        }
    }

    /// How many frames it has.
    #[must_use]
    pub const fn frames(self) -> u64 {
        match self {
            Self::Control | Self::Small => 1024,
            Self::Medium | Self::Text => 256,
            Self::Large => 16,
        }
    }

    /// One of its frames.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Control => Unit::Control(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 1, 7])),
            Self::Small => Unit::Binary(vec![7; 64].into()),
            Self::Medium => Unit::Binary(vec![7; 1 << 10].into()),
            Self::Text => Unit::Text(vec![b't'; 1 << 10].into()),
            Self::Large => Unit::Binary(vec![7; 64 << 10].into()),
        }
    }
}

/// Frames for one end.
#[derive(Debug, Clone)]
pub struct Stream {
    reader: Role,
    bytes: Vec<u8>,
    parts: Vec<Part>,
    found: Found,
    frames: u64,
}

impl Stream {
    /// The frames that a peer of `reader` writes; always the same.
    #[must_use]
    pub fn new(load: Load, reader: Role) -> Self {
        let mut stream =
            Self { reader, bytes: Vec::new(), parts: Vec::new(), found: Found::default(), frames: load.frames() };
        let mut peer = match reader {
            Role::Client => Outgoing::server(),
            Role::Server => Outgoing::client(MaskKeys::new([7; 32])),
        };
        for _ in 0..load.frames() {
            let (mut tx, begin) = (Tx::default(), stream.bytes.len());
            let payload = match load.unit() {
                Unit::Control(payload) => {
                    let Some(control) = Control::new(&payload) else { continue };
                    peer.pong(&control, &mut tx);
                    stream.found.beat(control_number(&payload));
                    None
                }
                Unit::Binary(payload) => {
                    peer.message(&Message::binary(payload.clone()), &mut tx);
                    Some(payload)
                }
                Unit::Text(payload) => {
                    peer.message(&Message::text(String::from_utf8_lossy(&payload)), &mut tx);
                    Some(payload)
                }
            };
            while !tx.is_empty() {
                stream.bytes.extend_from_slice(tx.chunk());
                tx.consume(tx.chunk().len());
            }
            let Some(payload) = payload else { continue };
            let header = stream.bytes.len() - begin - payload.len();
            stream.parts.push(Part { is_payload: false, bytes: header });
            stream.parts.push(Part { is_payload: true, bytes: payload.len() });
            stream.found.message(payload);
        }
        stream
    }

    /// What every reader must find in it.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// The bytes, in pieces of [`PIECE`].
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(PIECE)
    }
}

/// The eight bytes of a pong, as a number.
pub(crate) fn control_number(payload: &[u8]) -> u32 {
    payload.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes) as u32)
}

/// Reads a stream over and over.
pub trait Reader {
    /// How benches call it.
    const NAME: &'static str;

    /// At the start of the stream.
    fn new(stream: Stream) -> Self;

    /// What it finds in this stream if it does all of the work.
    fn all(stream: &Stream) -> Found {
        stream.found()
    }

    /// Reads the whole stream once more.
    fn read(&mut self) -> Found;
}

/// Writes the same frame over and over.
pub trait Writer {
    /// How benches call it.
    const NAME: &'static str;

    /// As this end of a connection.
    fn new(role: Role, unit: Unit) -> Self;

    /// Writes the frame so many times, each so that it leaves at once; how many bytes have left so far.
    fn write(&mut self, times: u64) -> u64;
}

/// The floor: memory for every payload, a copy, and nothing else. It knows where the payloads are, and unmasks nothing.
pub struct Copied {
    stream: Stream,
    copy: CopyOnly,
}

impl Reader for Copied {
    const NAME: &'static str = "copy only";

    fn new(stream: Stream) -> Self {
        Self { copy: CopyOnly::of(&stream.parts), stream }
    }

    fn all(stream: &Stream) -> Found {
        Found { beats: 0, beat_numbers: 0, ..stream.found() }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        if !self.stream.parts.is_empty() {
            self.stream.pieces().for_each(|piece| self.copy.feed(piece, &mut found));
        }
        found
    }
}

/// A connection in memory, for those who read and write themselves: the stream comes again and again in pieces, and what is
/// written is counted.
#[derive(Debug)]
pub(crate) struct Connection {
    bytes: Vec<u8>,
    at: usize,
    /// Shared with those who have no other way to it.
    written: Rc<Cell<u64>>,
}

impl Connection {
    /// Has this to read.
    fn reading(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0, written: Rc::default() }
    }

    /// Has nothing to read.
    fn writing() -> Self {
        Self::reading(Vec::new())
    }

    fn count(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
    }

    /// What may come with one read: up to the end of a piece.
    fn take(&mut self, most: usize) -> &[u8] {
        let begin = self.at;
        let piece = self.bytes.len().min((begin / PIECE + 1) * PIECE);
        let end = piece.min(begin.saturating_add(most));
        self.at = if end == self.bytes.len() { 0 } else { end };
        &self.bytes[begin..end]
    }
}

impl io::Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let came = self.take(buffer.len());
        buffer[..came.len()].copy_from_slice(came);
        Ok(came.len())
    }
}

impl io::Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.count(buffer.len());
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = buffer.remaining();
        buffer.put_slice(self.take(most));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(io::Write::write(&mut *self, buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = buffers.iter().map(|buffer| buffer.len()).sum();
        self.count(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 2] = [Role::Client, Role::Server];

    /// Twice, as benches read a stream again and again.
    fn assert_finds_all<R: Reader>(stream: &Stream) {
        let mut reader = R::new(stream.clone());
        for _ in 0..2 {
            assert_eq!(reader.read(), R::all(stream), "{}", R::NAME);
        }
    }

    #[test]
    fn every_reader_finds_every_frame() {
        for load in Load::ALL {
            for role in ROLES {
                let stream = Stream::new(load, role);
                assert_eq!(stream.found().beats + stream.found().messages, load.frames());
                assert_finds_all::<OursReading>(&stream);
                assert_finds_all::<TungsteniteReading>(&stream);
                assert_finds_all::<FastReading>(&stream);
                assert_finds_all::<Copied>(&stream);
            }
        }
    }

    #[test]
    fn every_writer_writes_as_much() {
        for load in Load::ALL {
            for role in ROLES {
                let peer = if role == Role::Client { Role::Server } else { Role::Client };
                let frame = Stream::new(load, peer).bytes.len() as u64 / load.frames();
                assert_writes::<OursWriting>(role, load, frame);
                assert_writes::<TungsteniteWriting>(role, load, frame);
                assert_writes::<FastWriting>(role, load, frame);
            }
        }
    }

    fn assert_writes<W: Writer>(role: Role, load: Load, frame: u64) {
        let mut writer = W::new(role, load.unit());
        assert_eq!((writer.write(3), writer.write(2)), (3 * frame, 5 * frame), "{} of {load:?}", W::NAME);
    }
}
