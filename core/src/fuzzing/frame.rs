//! `frame`: the native protocol against arbitrary bytes.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | bits 0 and 1: established never, from the start, or from the first HELLO or WELCOME on; 2 and 3: message limit; 4: hello limit; 5 to 7: all set if the rest arrives 64 times |
//! | 1 | the seed of a cut into pieces |
//! | rest | what arrives, up to 128 KiB |

use alloc::vec::Vec;

use super::script::{Pieces, Script};
use crate::entropy::Prng;
use crate::wire::beat::{Beat, BeatConfig, HELLO_LIMIT_MAX, HELLO_LIMIT_MIN, MESSAGE_LIMIT_MAX};
use crate::wire::{Frame, Tx, Wire, WireError};

/// A frame in pieces gets room for this many bytes at once, or for four times what came.
const LEAST_ROOM: usize = 1024;

/// So much arrives, at most. Room for one frame grows four times until then, so work that grows with the square shows.
const MOST_BYTES: usize = 128 << 10;

/// So many frames are read, at most: more small ones take time, and show nothing new.
const MOST_FRAMES: usize = 2000;

const HELLO: u8 = 0x01;
const WELCOME: u8 = 0x02;
const REFUSE: u8 = 0x03;
const BEAT: u8 = 0x10;
const ECHO: u8 = 0x11;
const DATA: u8 = 0x20;
const ACK: u8 = 0x21;
const TEXT: u8 = 0x22;
const GOODBYE: u8 = 0x30;

/// Checks that the pieces in which bytes arrive make no difference, that every call gets further, that memory and work are
/// bounded by what came, that every whole frame comes out and no limit is passed, and that what was decoded is written as it
/// was read.
///
/// # Panics
/// If one of these does not hold.
pub fn frame(data: &[u8]) {
    let mut script = Script::new(data);
    let (options, seed) = (script.byte(), script.byte());
    let (reader, bytes) = (Reader::new(options), script.rest());
    let times = if options >> 5 == 0b111 { 64 } else { 1 };
    let bytes: Vec<u8> = bytes.iter().copied().cycle().take((bytes.len() * times).min(MOST_BYTES)).collect();
    let whole = reader.read(&bytes, Pieces::Whole);
    assert_eq!(reader.read(&bytes, Pieces::Small), whole, "in small pieces");
    assert_eq!(reader.read(&bytes, Pieces::Drawn(Prng::new(seed.into()))), whole, "in pieces");
    reader.check(&bytes, &whole);
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
                        if outcome.frames.len() == MOST_FRAMES {
                            work.check(position, MOST_FRAMES);
                            return outcome;
                        }
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
                let most = self.longest().min((4 * (position - begun)).max(LEAST_ROOM));
                assert!(beat.reserved() <= most, "{} bytes reserved, at most {most}", beat.reserved());
                work.note_room(beat.reserved());
            }
        }
        work.check(bytes.len(), outcome.frames.len());
        outcome.mid_frame = beat.mid_frame();
        outcome
    }

    /// Checks what came out against what a second and simpler reader finds.
    fn check(&self, bytes: &[u8], outcome: &Outcome) {
        let (mut start, mut established) = (0, self.established == Established::AtOnce);
        for (end, frame) in &outcome.frames {
            let read = &bytes[start..*end];
            let (kind, body) = parts(read);
            let limit = self.limit(kind, established).expect("a frame of the handshake");
            assert!(body.len() <= limit, "{} bytes in a frame of type {kind:#x}", body.len());
            if let Frame::Data { message, .. } = frame {
                assert!(message.len() <= self.config.message_limit(), "a message of {} bytes", message.len());
                assert_eq!(message.is_text(), kind == TEXT);
                assert_eq!(message.as_text().is_some(), kind == TEXT, "a text is UTF-8");
            }
            established |= self.established == Established::ByGreeting && matches!(kind, HELLO | WELCOME);
            rewrite(kind, body, frame);
            start = *end;
        }
        let tail = &bytes[start..];
        let announced = header(tail);
        let limit = announced.and_then(|(kind, ..)| self.limit(kind, established));
        match outcome.error {
            None if outcome.frames.len() == MOST_FRAMES => {}
            None => {
                assert_eq!(outcome.mid_frame, !tail.is_empty());
                assert!(announced.is_some() || tail.len() < 5, "a length without an end is no error");
                if let Some((kind, length, body)) = announced {
                    assert!(
                        limit.is_some_and(|limit| length <= limit),
                        "{length} bytes of type {kind:#x} are no error"
                    );
                    assert!(body.len() < length, "a whole frame of type {kind:#x} did not come out");
                }
            }
            Some(WireError::Unexpected { .. }) => assert_eq!(self.limit(tail[0], established), None),
            Some(WireError::TooLarge { length, limit: most }) => {
                let (kind, announced, _) = announced.expect("a length");
                // Either the frame is, or the message in it.
                let frame = length == announced as u64 && Some(most) == limit.map(|limit| limit as u64);
                let message = matches!(kind, DATA | TEXT) && most == self.config.message_limit() as u64;
                assert!(length > most && (frame || message), "{length} bytes of type {kind:#x}, at most {most}");
            }
            Some(_) => {}
        }
    }

    /// The longest body of a type; `None` if a handshake has no such frame.
    fn limit(&self, kind: u8, established: bool) -> Option<usize> {
        let (hello, data) = (self.config.hello_limit(), self.config.message_limit() + 10);
        Some(match kind {
            HELLO | WELCOME => hello,
            REFUSE | GOODBYE if !established => hello,
            _ if !established => return None,
            BEAT => 32,
            REFUSE | ECHO | ACK | GOODBYE => 512,
            DATA | TEXT => data,
            _ => data.max(512),
        })
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
        let most = 6 * bytes + (frames + 1) * 2 * LEAST_ROOM;
        assert!(self.moved <= most, "{} bytes moved for {bytes}", self.moved);
    }
}

/// What is written of a frame is the canonical form of what was read, without fields that we do not know.
fn rewrite(kind: u8, body: &[u8], frame: &Frame) {
    let mut beat = Beat::new(&BeatConfig::default());
    let mut tx = Tx::default();
    beat.encode(frame, &mut tx);
    let mut written = Vec::new();
    while !tx.is_empty() {
        written.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    if *frame == Frame::Unknown {
        let known = matches!(kind, HELLO | WELCOME | REFUSE | BEAT | ECHO | DATA | ACK | TEXT | GOODBYE);
        assert!(!known, "{kind:#x} is known");
        return assert!(written.is_empty(), "nobody can write what they do not know");
    }
    let (written_kind, written_body) = parts(&written);
    assert_eq!(written_kind, kind);
    assert!(body.starts_with(written_body), "{frame:?} was read from {body:x?} and is written {written_body:x?}");
    assert!(!matches!(kind, DATA | TEXT) || body == written_body);

    let config = BeatConfig::builder().hello_limit(HELLO_LIMIT_MAX).message_limit(MESSAGE_LIMIT_MAX).build().unwrap();
    let (mut beat, mut input) = (Beat::new(&config), &written[..]);
    beat.established();
    assert_eq!(beat.decode(&mut input).as_ref(), Ok(&Some(frame.clone())), "read again");
    assert!(input.is_empty());
}

/// The type and the body of a whole frame, by a second and simpler reader.
fn parts(frame: &[u8]) -> (u8, &[u8]) {
    let (kind, length, body) = header(frame).expect("a frame has a header");
    assert_eq!(body.len(), length, "a frame ends where its length says");
    (kind, body)
}

/// The type and the length that the front announces, and what is behind it; `None` if it has not come yet, or is none.
fn header(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let last = rest.iter().take(4).position(|digit| *digit < 0x80)?;
    let (digits, body) = rest.split_at(last + 1);
    let length = digits.iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7F));
    Some((*kind, length, body))
}
