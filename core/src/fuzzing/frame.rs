//! `frame`: the native protocol against arbitrary bytes.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | bits 0 and 1: established never, from the start, or from the first HELLO or WELCOME on; 2 and 3: message limit; 4: hello limit |
//! | 1 | the seed of a cut into pieces |
//! | rest | what arrives |

use alloc::vec::Vec;

use super::script::{Pieces, Script};
use crate::entropy::Prng;
use crate::wire::beat::{Beat, BeatConfig, HELLO_LIMIT_MAX, HELLO_LIMIT_MIN, MESSAGE_LIMIT_MAX};
use crate::wire::{Frame, Tx, Wire, WireError};

/// A frame in pieces gets room for this many bytes at once, or for twice what came.
const LEAST_ROOM: usize = 1024;

const DATA: u8 = 0x20;

/// Checks that the pieces in which bytes arrive make no difference, that every call gets further, that memory and work are
/// bounded by what came, and that what was decoded is written as it was read.
///
/// # Panics
/// If one of these does not hold.
pub fn frame(data: &[u8]) {
    let mut script = Script::new(data);
    let (options, seed) = (script.byte(), script.byte());
    let (reader, bytes) = (Reader::new(options), script.rest());
    let whole = reader.read(bytes, Pieces::Whole);
    assert_eq!(reader.read(bytes, Pieces::Single), whole, "byte by byte");
    assert_eq!(reader.read(bytes, Pieces::Drawn(Prng::new(seed.into()))), whole, "in pieces");
    let mut start = 0;
    for (end, frame) in &whole.frames {
        rewrite(&bytes[start..*end], frame);
        start = *end;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// With the position behind each.
    frames: Vec<(usize, Frame)>,
    error: Option<WireError>,
    mid_frame: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Established {
    Never,
    AtOnce,
    ByGreeting,
}

struct Reader {
    config: BeatConfig,
    established: Established,
}

impl Reader {
    fn new(options: u8) -> Self {
        let established = [Established::Never, Established::AtOnce, Established::ByGreeting, Established::AtOnce];
        let messages = [1, 100, 2000, 1 << 20];
        let hello = if options & 16 == 0 { HELLO_LIMIT_MIN } else { 4 << 10 };
        let config = BeatConfig::builder().message_limit(messages[usize::from(options >> 2 & 3)]).hello_limit(hello);
        Self { config: config.build().unwrap(), established: established[usize::from(options & 3)] }
    }

    /// The longest body that is ever gathered.
    fn longest(&self) -> usize {
        (self.config.message_limit() + 10).max(self.config.hello_limit()).max(512)
    }

    fn read(&self, bytes: &[u8], mut pieces: Pieces) -> Outcome {
        let mut beat = Beat::new(&self.config);
        if self.established == Established::AtOnce {
            beat.established();
        }
        let mut outcome = Outcome { frames: Vec::new(), error: None, mid_frame: false };
        let (mut rest, mut work) = (bytes, Work::default());
        while !rest.is_empty() {
            let mut piece = pieces.next(&mut rest);
            work.pieces += 1;
            while !piece.is_empty() {
                let before = piece.len();
                work.calls += 1;
                let decoded = beat.decode(&mut piece);
                let position = bytes.len() - rest.len() - piece.len();
                match decoded {
                    Ok(Some(frame)) => {
                        assert!(piece.len() < before, "a frame came of nothing");
                        if self.established == Established::ByGreeting
                            && matches!(frame, Frame::Hello(_) | Frame::Welcome(_))
                        {
                            beat.established();
                        }
                        outcome.frames.push((position, frame));
                    }
                    Ok(None) => assert!(piece.is_empty(), "input is left, but there is no frame"),
                    Err(error) => {
                        assert_eq!((beat.reserved(), beat.mid_frame()), (0, false), "an error holds nothing");
                        assert_eq!(beat.decode(&mut &b"\x10\x01\x01"[..]), Err(error), "an error stays");
                        outcome.error = Some(error);
                        return outcome;
                    }
                }
                let begun = outcome.frames.last().map_or(0, |(end, _)| *end);
                let most = self.longest().min((2 * (position - begun)).max(LEAST_ROOM));
                assert!(beat.reserved() <= most, "{} bytes reserved, at most {most}", beat.reserved());
                work.note_room(beat.reserved());
            }
        }
        work.check(bytes.len(), outcome.frames.len());
        outcome.mid_frame = beat.mid_frame();
        outcome
    }
}

/// What decoding cost.
#[derive(Default)]
struct Work {
    pieces: usize,
    calls: usize,
    /// Bytes of room that were ever made for frames in pieces: as many were moved at most.
    moved: usize,
    room: usize,
}

impl Work {
    fn note_room(&mut self, room: usize) {
        if room != self.room {
            self.moved += room;
        }
        self.room = room;
    }

    /// Linear in what came.
    fn check(&self, bytes: usize, frames: usize) {
        assert!(self.calls <= self.pieces + frames, "{} calls for {frames} frames", self.calls);
        let most = 4 * bytes + (frames + 1) * 2 * LEAST_ROOM;
        assert!(self.moved <= most, "{} bytes moved for {bytes}", self.moved);
    }
}

/// What is written of a frame is the canonical form of what was read, without fields that we do not know.
fn rewrite(read: &[u8], frame: &Frame) {
    let beat = Beat::new(&BeatConfig::default());
    let mut tx = Tx::default();
    beat.encode(frame, &mut tx);
    let mut written = Vec::new();
    while !tx.is_empty() {
        written.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    if *frame == Frame::Unknown {
        return assert!(written.is_empty(), "nobody can write what they do not know");
    }
    let ((kind, body), (written_kind, written_body)) = (parts(read), parts(&written));
    assert_eq!(written_kind, kind);
    assert!(body.starts_with(written_body), "{frame:?} was read from {body:x?} and is written {written_body:x?}");
    assert!(kind != DATA || body == written_body);

    let config = BeatConfig::builder().hello_limit(HELLO_LIMIT_MAX).message_limit(MESSAGE_LIMIT_MAX).build().unwrap();
    let (mut beat, mut input) = (Beat::new(&config), &written[..]);
    beat.established();
    assert_eq!(beat.decode(&mut input).as_ref(), Ok(&Some(frame.clone())), "read again");
    assert!(input.is_empty());
}

/// The type and the body of a whole frame, by a second and simpler reader.
fn parts(frame: &[u8]) -> (u8, &[u8]) {
    let digits = frame[1..].iter().take_while(|digit| **digit >= 0x80).count() + 1;
    let length = frame[1..=digits].iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7F));
    let body = &frame[1 + digits..];
    assert_eq!(body.len(), length, "a frame ends where its length says");
    (frame[0], body)
}
