//! Streams of frames: the work of the frame benches.
//!
//! A [`Stream`] is the same beats and messages in two formats, and [`Stream::pieces`] cuts it as a socket might. A
//! [`Parser`](crate::peers::Parser) takes the pieces and yields beats as numbers and messages as [`Bytes`] of their own;
//! [`Found`] is what it must have found in the end, so that every parser does the same work.

use bytes::{Bytes, BytesMut};
use keepbeat_core::entropy::Prng;
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Frame, Tx, Wire};
use tokio_util::codec::{Encoder, LengthDelimitedCodec};

use crate::peers::{BEAT, DATA, Format};

/// What a read call of most runtimes takes at most, in bytes.
pub const PIECE: usize = 16 << 10;

/// Which frames a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// 1,024 beats and nothing else; their numbers take one or two bytes.
    Beats,
    /// 1,024 messages of 64 B.
    Small,
    /// 256 messages of 1 KiB.
    Medium,
    /// 16 messages of 64 KiB.
    Large,
    /// 512 frames in random order: of every 16 are 8 beats, 5 messages of 64 B, 2 of 1 KiB and 1 of 64 KiB.
    Mixed,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Beats, Self::Small, Self::Medium, Self::Large, Self::Mixed];

    /// How benches call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beats => "beats",
            Self::Small => "64B",
            Self::Medium => "1KiB",
            Self::Large => "64KiB",
            Self::Mixed => "mixed",
        }
    }

    /// How many frames it has.
    #[must_use]
    pub const fn frames(self) -> u64 {
        match self {
            Self::Beats | Self::Small => 1024,
            Self::Medium => 256,
            Self::Large => 16,
            Self::Mixed => 512,
        }
    }

    /// The frames in their order: `None` is a beat, else the length of a message in bytes.
    fn plan(self) -> Vec<Option<usize>> {
        match self {
            Self::Beats => vec![None; 1024],
            Self::Small => vec![Some(64); 1024],
            Self::Medium => vec![Some(1 << 10); 256],
            Self::Large => vec![Some(64 << 10); 16],
            Self::Mixed => {
                let sizes = [[None; 8].as_slice(), &[Some(64); 5], &[Some(1 << 10); 2], &[Some(64 << 10)]].concat();
                let mut plan = sizes.repeat(32);
                let mut prng = Prng::new(16);
                for last in (1..plan.len()).rev() {
                    plan.swap(last, prng.between(0, last as u64) as usize);
                }
                plan
            }
        }
    }
}

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Not at all.
    Whole,
    /// Every [`PIECE`].
    Pieces,
    /// At random, by this seed: 1 B to [`PIECE`], every order of magnitude as often as the others.
    Random(u64),
}

impl Feed {
    /// All ways that the benches use.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Pieces, Self::Random(1)];

    /// How benches call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Pieces => "16KiB",
            Self::Random(_) => "random",
        }
    }

    fn sizes(self) -> impl Iterator<Item = usize> {
        let mut prng = Prng::new(if let Self::Random(seed) = self { seed } else { 0 });
        core::iter::repeat_with(move || match self {
            Self::Whole => usize::MAX,
            Self::Pieces => PIECE,
            Self::Random(_) => {
                let most = 1 << prng.between(0, u64::from(PIECE.ilog2()));
                prng.between(most / 2 + 1, most) as usize
            }
        })
    }
}

/// What a parser found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Beats.
    pub beats: u64,
    /// The sum of their numbers.
    pub beat_numbers: u64,
    /// Messages.
    pub messages: u64,
    /// The sum of their lengths, in bytes.
    pub bytes: u64,
    /// Places where the stream was not understood; 0 in a bench that means something.
    pub faults: u64,
}

impl Found {
    /// A beat.
    #[inline]
    pub fn beat(&mut self, number: u32) {
        self.beats += 1;
        self.beat_numbers += u64::from(number);
    }

    /// A message. It is freed at once, which is part of the work.
    #[inline]
    pub fn message(&mut self, payload: Bytes) {
        self.messages += 1;
        self.bytes += payload.len() as u64;
        drop(payload);
    }
}

/// Bytes of a stream in the native format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// They are all of one message's payload, and not beats or what stands around a payload.
    pub is_payload: bool,
    /// How many they are; not 0.
    pub bytes: usize,
}

/// The same frames in every format.
#[derive(Debug, Clone)]
pub struct Stream {
    native: Vec<u8>,
    /// Those of `native`.
    parts: Vec<Part>,
    delimited: Vec<u8>,
    found: Found,
}

impl Stream {
    /// The stream of this load; always the same.
    #[must_use]
    pub fn new(load: Load) -> Self {
        let mut stream = Self { native: Vec::new(), parts: Vec::new(), delimited: Vec::new(), found: Found::default() };
        for (number, length) in (1..).zip(load.plan()) {
            match length {
                None => stream.append(Frame::Beat { seq: number }),
                Some(length) => {
                    let payload = Bytes::from(vec![number as u8; length]);
                    stream.append(Frame::Data { seq: number.into(), message: payload.into() });
                }
            }
        }
        stream
    }

    /// What every parser must find in it.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// Where the payloads are in the native format.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The bytes in this format, cut.
    #[must_use]
    pub fn pieces(&self, format: Format, feed: Feed) -> Vec<&[u8]> {
        let mut rest = match format {
            Format::Native => &self.native[..],
            Format::Delimited => &self.delimited[..],
        };
        let mut pieces = Vec::new();
        for size in feed.sizes() {
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        pieces
    }

    fn append(&mut self, frame: Frame) {
        let (mut tx, begin) = (Tx::default(), self.native.len());
        Beat::new(&BeatConfig::default()).encode(&frame, &mut tx);
        while !tx.is_empty() {
            self.native.extend_from_slice(tx.chunk());
            tx.consume(tx.chunk().len());
        }
        let (kind, number, payload) = match frame {
            Frame::Beat { seq } => (BEAT, u64::from(seq), Bytes::new()),
            Frame::Data { seq, message } => (DATA, seq, message.into_payload()),
            _ => return,
        };
        let other = self.native.len() - begin - payload.len();
        match self.parts.last_mut() {
            Some(part) if !part.is_payload => part.bytes += other,
            _ => self.parts.push(Part { is_payload: false, bytes: other }),
        }
        if !payload.is_empty() {
            self.parts.push(Part { is_payload: true, bytes: payload.len() });
        }
        let mut body = vec![kind];
        let mut left = number;
        while left >= 0x80 {
            body.push(left as u8 | 0x80);
            left >>= 7;
        }
        body.push(left as u8);
        body.extend_from_slice(&payload);
        let mut framed = BytesMut::new();
        if LengthDelimitedCodec::new().encode(Bytes::from(body), &mut framed).is_err() {
            self.found.faults += 1;
        }
        self.delimited.extend_from_slice(&framed);
        if kind == BEAT { self.found.beat(number as u32) } else { self.found.message(payload) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{ByHand, CopyOnly, Delimited, Ours, Parser, run};

    /// Twice, as benches feed a stream again and again.
    fn assert_finds_all<P: Parser>(stream: &Stream, feed: Feed) {
        let mut parser = P::new(stream);
        for _ in 0..2 {
            assert_eq!(run(&mut parser, &stream.pieces(P::FORMAT, feed)), P::all(stream), "{} {feed:?}", P::NAME);
        }
    }

    #[test]
    fn every_parser_finds_every_frame_however_the_stream_is_cut() {
        for load in Load::ALL {
            let stream = Stream::new(load);
            assert_eq!(stream.found().faults, 0);
            assert_eq!(stream.found().beats + stream.found().messages, load.frames());
            for feed in Feed::ALL.into_iter().chain((2..20).map(Feed::Random)) {
                assert_finds_all::<Ours>(&stream, feed);
                assert_finds_all::<ByHand>(&stream, feed);
                assert_finds_all::<Delimited>(&stream, feed);
                assert_finds_all::<CopyOnly>(&stream, feed);
            }
        }
    }

    #[test]
    fn the_pieces_are_the_stream() {
        let stream = Stream::new(Load::Mixed);
        for format in [Format::Native, Format::Delimited] {
            let whole = stream.pieces(format, Feed::Whole);
            assert_eq!(whole.len(), 1);
            for feed in [Feed::Pieces, Feed::Random(1)] {
                let pieces = stream.pieces(format, feed);
                assert!(pieces.len() > 100 && pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
                assert_eq!(pieces.concat(), whole[0]);
            }
        }
    }
}
