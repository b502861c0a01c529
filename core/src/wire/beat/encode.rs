//! FRAMES -> BYTES.

use bytes::Bytes;

use super::config::{HELLO_LIMIT_MIN, LONGEST_BODY};
use super::{MAGIC, kind};
use crate::wire::{DETAIL_LIMIT, Frame, Goodbye, Hello, Tx, Welcome, varint};

/// A type and the longest length.
const HEADER_ROOM: usize = 5;

/// Room for the front of DATA: a header and a number.
const SMALL: usize = HEADER_ROOM + varint::LONGEST;

/// Room for a header and the longest body that has no bytes of the application in it.
const LARGE: usize = HEADER_ROOM + HELLO_LIMIT_MIN;

/// The front of a message's frame, on the stack.
pub(in crate::wire) struct Front {
    frame: Scratch<SMALL>,
    start: usize,
}

impl Front {
    pub(in crate::wire) const LONGEST: usize = SMALL;

    /// The frame in two parts: the second is the message. `None` for frames that are no messages.
    #[inline]
    pub(in crate::wire) fn of(frame: &Frame) -> Option<(Self, &Bytes)> {
        let Frame::Data { seq, message } = frame else { return None };
        let mut frame = Scratch::new();
        frame.number(*seq);
        let start = frame.finish(if message.is_text() { kind::TEXT } else { kind::DATA }, message.len())?;
        Some((Self { frame, start }, message.payload()))
    }

    pub(in crate::wire) fn as_slice(&self) -> &[u8] {
        self.frame.bytes.get(self.start..self.frame.end).unwrap_or_default()
    }
}

/// Appends `frame`. What the format cannot say is left out: an unknown frame, and one whose body is too long.
#[inline]
pub(super) fn frame(frame: &Frame, tx: &mut Tx) {
    if let Some((bytes, count)) = brief(frame) {
        return tx.put(bytes.get(..count).unwrap_or_default());
    }
    match frame {
        Frame::Data { seq, message } => {
            let mut front = Scratch::<SMALL>::new();
            front.number(*seq);
            if front.send(if message.is_text() { kind::TEXT } else { kind::DATA }, message.len(), tx) {
                tx.put_payload(message.payload());
            }
        }
        Frame::Hello(frame) => hello(frame, tx),
        Frame::Welcome(frame) => welcome(frame, tx),
        Frame::Refuse(frame) => goodbye(kind::REFUSE, frame, tx),
        Frame::Goodbye(frame) => goodbye(kind::GOODBYE, frame, tx),
        Frame::Beat { .. } | Frame::Echo { .. } | Frame::Ack { .. } | Frame::Answer { .. } | Frame::Unknown => {}
    }
}

/// A whole BEAT, ECHO or ACK: its bytes, and how many of them count. `None` for everything else.
#[inline]
pub(in crate::wire) fn brief(frame: &Frame) -> Option<([u8; 2 + varint::LONGEST], usize)> {
    let (kind, seq) = match frame {
        Frame::Beat { seq } => (kind::BEAT, u64::from(*seq)),
        Frame::Echo { seq } => (kind::ECHO, u64::from(*seq)),
        Frame::Ack { seq } => (kind::ACK, *seq),
        _ => return None,
    };
    let ([a, b, c, d, e, f, g, h, i, j], count) = varint::bytes(seq);
    Some(([kind, count as u8, a, b, c, d, e, f, g, h, i, j], 2 + count))
}

fn hello(hello: &Hello, tx: &mut Tx) {
    let Hello {
        version,
        device,
        instance,
        attempt,
        interval_ms,
        reply_timeout_ms,
        message_limit,
        token,
        received,
        credentials,
    } = hello;
    let mut body = Scratch::<LARGE>::new();
    body.bytes(&MAGIC);
    body.bytes(&[*version]);
    body.counted(device.as_str().as_bytes());
    body.bytes(&instance.to_be_bytes());
    body.number(u64::from(*attempt));
    body.number(u64::from(*interval_ms));
    body.number(u64::from(*reply_timeout_ms));
    body.number(*message_limit);
    body.bytes(&[u8::from(token.is_some())]);
    if let Some(token) = token {
        body.bytes(token.as_bytes());
    }
    body.number(*received);
    let credentials = credentials.as_bytes();
    body.number(credentials.len() as u64);
    if body.send(kind::HELLO, credentials.len(), tx) {
        tx.put(credentials);
    }
}

fn welcome(welcome: &Welcome, tx: &mut Tx) {
    let Welcome { version, token, resumed, interval_ms, reply_timeout_ms, message_limit, received } = welcome;
    let mut body = Scratch::<LARGE>::new();
    body.bytes(&MAGIC);
    body.bytes(&[*version]);
    body.bytes(token.as_bytes());
    body.bytes(&[u8::from(*resumed)]);
    body.number(u64::from(*interval_ms));
    body.number(u64::from(*reply_timeout_ms));
    body.number(*message_limit);
    body.number(*received);
    body.send(kind::WELCOME, 0, tx);
}

fn goodbye(kind: u8, goodbye: &Goodbye, tx: &mut Tx) {
    let Goodbye { reason, retry_after_ms, spread_ms, detail, code: _ } = goodbye;
    let mut body = Scratch::<LARGE>::new();
    body.bytes(&[reason.code()]);
    body.number(u64::from(*retry_after_ms));
    body.number(u64::from(*spread_ms));
    body.counted(cut(detail, DETAIL_LIMIT).as_bytes());
    body.send(kind, 0, tx);
}

/// The front of `text`, at most `limit` bytes, not ending within a character.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A frame built on the stack: its body, behind room for a header that is written last.
struct Scratch<const N: usize> {
    bytes: [u8; N],
    end: usize,
}

impl<const N: usize> Scratch<N> {
    #[inline]
    const fn new() -> Self {
        Self { bytes: [0; N], end: HEADER_ROOM }
    }

    /// Appends bytes. N is chosen so that all fields fit; what would not fit is left out rather than a panic.
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(target) = self.bytes.get_mut(self.end..self.end + bytes.len()) {
            target.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    #[inline]
    fn number(&mut self, value: u64) {
        let (bytes, count) = varint::bytes(value);
        self.bytes(bytes.get(..count).unwrap_or_default());
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// Puts header and body, of which `behind` bytes follow separately. Returns false, and puts nothing, if the body
    /// is longer than a length can say.
    #[inline]
    fn send(mut self, kind: u8, behind: usize, tx: &mut Tx) -> bool {
        let Some(start) = self.finish(kind, behind) else { return false };
        tx.put(self.bytes.get(start..self.end).unwrap_or_default());
        true
    }

    /// Writes the header in front of the body, of which `behind` bytes follow separately. Returns where the frame begins;
    /// `None` if the body is longer than a length can say.
    #[inline]
    fn finish(&mut self, kind: u8, behind: usize) -> Option<usize> {
        let length = (self.end - HEADER_ROOM) as u64 + behind as u64;
        if length > u64::from(LONGEST_BODY) {
            return None;
        }
        let (count, digits) = varint::bytes(length);
        let start = (HEADER_ROOM - 1).saturating_sub(digits);
        if let Some([first, target @ ..]) = self.bytes.get_mut(start..HEADER_ROOM) {
            *first = kind;
            for (slot, byte) in target.iter_mut().zip(count) {
                *slot = byte;
            }
        }
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{DeviceId, Message, Reason, Token};
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use bytes::Bytes;

    fn encoded(of: &Frame) -> Vec<u8> {
        let mut tx = Tx::default();
        frame(of, &mut tx);
        let mut all = Vec::new();
        while !tx.is_empty() {
            all.extend_from_slice(tx.chunk());
            tx.consume(tx.chunk().len());
        }
        all
    }

    #[test]
    fn a_beat_has_at_most_twelve_bytes() {
        let edges = (0..32).flat_map(|bit| [(1_u32 << bit) - 1, 1 << bit]).chain([u32::MAX]);
        for seq in edges {
            assert!(encoded(&Frame::Beat { seq }).len() <= 7);
            assert!(encoded(&Frame::Echo { seq }).len() <= 7);
        }
        assert_eq!(encoded(&Frame::Ack { seq: u64::MAX }).len(), 12);
    }

    #[test]
    fn the_longest_fields_fit() {
        let hello = Hello {
            version: u8::MAX,
            device: DeviceId::new(&"d".repeat(128)).unwrap(),
            instance: u64::MAX,
            attempt: u32::MAX,
            interval_ms: u32::MAX,
            reply_timeout_ms: u32::MAX,
            message_limit: u64::MAX,
            token: Some(Token::new([0xFF; 16])),
            received: u64::MAX,
            credentials: crate::wire::Credentials::default(),
        };
        assert_eq!(encoded(&Frame::Hello(Box::new(hello))).len(), 3 + HELLO_LIMIT_MIN);
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let mut goodbye = Goodbye::new(Reason::Closed, "x".repeat(119) + "é");
        assert_eq!(encoded(&Frame::Goodbye(Box::new(goodbye.clone()))).len(), 2 + 4 + 119);
        goodbye.detail.insert(0, 'x');
        assert_eq!(encoded(&Frame::Goodbye(Box::new(goodbye))).len(), 2 + 4 + 120);
        assert_eq!(cut("é", 1), "");
    }

    #[test]
    fn what_the_format_cannot_say_is_left_out() {
        assert!(encoded(&Frame::Unknown).is_empty());
        let seq = 1 << 63;
        let payload = Bytes::from(alloc::vec![0; LONGEST_BODY as usize - varint::LONGEST + 1]);
        for text in [false, true] {
            let message = |payload| Message::checked(text, payload);
            assert!(encoded(&Frame::Data { seq, message: message(payload.clone()) }).is_empty());
            let mut tx = Tx::default();
            frame(&Frame::Data { seq, message: message(payload.slice(1..)) }, &mut tx);
            assert_eq!(tx.len(), 5 + u64::from(LONGEST_BODY));
        }
    }
}
