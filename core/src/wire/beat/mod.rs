//! The native protocol: a beat is three to seven bytes, a message costs three to fifteen more than itself.
//!
//! `docs/protocol.md` is its specification, from which other implementations can be written; its test vectors are in
//! `docs/protocol-vectors.txt`.

mod config;
mod decode;
mod encode;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::{Buf, Bytes};

use self::config::{LONGEST_BODY, SEQ_ROOM};
use self::decode::Header;
use super::{Frame, Message, Opening, Tx, Wire, WireError};

pub(in crate::wire) use self::decode::usual;
pub(in crate::wire) use self::encode::{Front, brief};

pub use self::config::{
    BeatConfig, BeatConfigBuilder, BeatConfigError, HELLO_LIMIT_MAX, HELLO_LIMIT_MIN, MESSAGE_LIMIT_MAX,
};

const MAGIC: [u8; 4] = *b"KPBT";

/// The longest body of a BEAT on an established connection, in bytes.
const BEAT_LIMIT: u32 = 32;

/// The longest body of other control frames on an established connection, in bytes.
const CONTROL_LIMIT: u32 = 512;

/// A body in pieces gets room for this many bytes at least.
const STEP: usize = 1024;

/// The frame types.
mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const WELCOME: u8 = 0x02;
    pub(super) const REFUSE: u8 = 0x03;
    pub(super) const BEAT: u8 = 0x10;
    pub(super) const ECHO: u8 = 0x11;
    pub(super) const DATA: u8 = 0x20;
    pub(super) const TEXT: u8 = 0x22;
    pub(super) const ACK: u8 = 0x21;
    pub(super) const GOODBYE: u8 = 0x30;

    /// What records of TLS begin with (RFC 8446, section 5.1). At the start of a connection, these mean that the peer speaks
    /// TLS and we do not; no frame of the handshake has such a type.
    pub(super) const TLS: core::ops::RangeInclusive<u8> = 0x14..=0x17;

    pub(super) const fn known(kind: u8) -> bool {
        matches!(kind, HELLO | WELCOME | REFUSE | BEAT | ECHO | DATA | ACK | TEXT | GOODBYE)
    }

    pub(super) const fn is_message(kind: u8) -> bool {
        matches!(kind, DATA | TEXT)
    }

    pub(super) const fn name(kind: u8) -> &'static str {
        match kind {
            HELLO => "HELLO",
            WELCOME => "WELCOME",
            REFUSE => "REFUSE",
            BEAT => "BEAT",
            ECHO => "ECHO",
            DATA => "DATA",
            TEXT => "TEXT",
            ACK => "ACK",
            GOODBYE => "GOODBYE",
            _ => "unknown",
        }
    }
}

/// The native protocol's framing of one connection.
///
/// A frame that is whole in the input is decoded in place, and only a message is copied, once. A frame in pieces is
/// gathered in one buffer, of which a message becomes the owner. Between frames, no heap memory is held.
///
/// ```
/// use keepbeat_core::wire::beat::{Beat, BeatConfig};
/// use keepbeat_core::wire::{Frame, Tx, Wire};
///
/// let mut wire = Beat::new(&BeatConfig::default());
/// wire.established();
///
/// let mut tx = Tx::default();
/// wire.encode(&Frame::Beat { seq: 300 }, &mut tx);
/// assert_eq!(tx.chunk(), [0x10, 2, 0xAC, 0x02]);
///
/// let mut input = tx.chunk();
/// assert_eq!(wire.decode(&mut input), Ok(Some(Frame::Beat { seq: 300 })));
/// assert!(input.is_empty());
/// ```
///
/// A peer that speaks something else is found out at its first byte:
///
/// ```
/// # use keepbeat_core::wire::beat::{Beat, BeatConfig};
/// let mut wire = Beat::new(&BeatConfig::default());
/// assert!(wire.decode(&mut &b"G"[..]).is_err());
/// ```
pub struct Beat {
    config: BeatConfig,
    established: bool,
    /// How far the current frame has come; `None` between frames.
    state: Option<Box<State>>,
}

/// A frame that is not complete, or the end.
enum State {
    /// The header is not complete.
    Header { bytes: [u8; 5], have: u8 },
    /// The body is not complete.
    Body(Body),
    /// The body of an unknown frame passes by.
    Skipping { left: u32 },
    /// The peer broke the protocol.
    Failed(WireError),
}

impl State {
    const fn reserved(&self) -> usize {
        match self {
            Self::Body(body) => body.bytes.capacity(),
            Self::Header { .. } | Self::Skipping { .. } | Self::Failed(_) => 0,
        }
    }
}

struct Body {
    kind: u8,
    left: u32,
    bytes: Vec<u8>,
}

impl Beat {
    /// The framing of a connection that was just opened. It is the same for both sides.
    #[must_use]
    pub const fn new(config: &BeatConfig) -> Self {
        Self { config: *config, established: false, state: None }
    }

    /// Decodes the next frame. See [`Wire::decode`]; every call after an error returns that error again.
    ///
    /// # Errors
    /// As [`Wire::decode`].
    #[inline]
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        if self.established && self.state.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((frame, rest)) = usual(input) {
                *input = rest;
                return Ok(Some(frame));
            }
        }
        self.decode_any(input)
    }

    /// The handshake is done; see [`Wire::established`].
    pub(in crate::wire) const fn establish(&mut self) {
        self.established = true;
    }

    /// Decodes the frame at the front of `frames`, which are whole. A message is shared if it is most of `whole`, the bytes that
    /// they share memory with; a smaller one would keep all that in memory, and is copied.
    pub(in crate::wire) fn decode_whole(&mut self, frames: &mut Bytes, whole: usize) -> Result<Frame, WireError> {
        if self.established
            && let Some((frame, rest)) = usual(frames)
        {
            frames.advance(frames.len() - rest.len());
            return Ok(frame);
        }
        let cut = WireError::Malformed { frame: "message of frames", problem: "its last frame is cut" };
        self.admit(frames.first().copied().unwrap_or_default())?;
        let (Header { kind, length }, rest) = decode::header(frames)?.ok_or(cut)?;
        let limit = self.limit(kind);
        if length > limit {
            return Err(WireError::TooLarge { length: u64::from(length), limit: u64::from(limit) });
        }
        frames.advance(frames.len() - rest.len());
        if frames.len() < length as usize {
            return Err(cut);
        }
        let body = frames.split_to(length as usize);
        if !kind::is_message(kind) {
            return decode::control(kind, &body);
        }
        let (seq, payload) = self.data(kind, &body)?;
        let payload = if payload.len() > whole / 2 { body.slice_ref(payload) } else { Bytes::copy_from_slice(payload) };
        Ok(Frame::Data { seq, message: Message::checked(kind == kind::TEXT, payload) })
    }

    /// How much heap memory is reserved for a frame of which part has arrived, in bytes; 0 between frames.
    ///
    /// At most four times what has arrived of the body, or 1 KiB if that is more, and never more than the body's length.
    #[must_use]
    pub const fn reserved(&self) -> usize {
        match &self.state {
            Some(state) => state.reserved(),
            None => 0,
        }
    }

    // Kept out of line, so that the path of a beat is small enough to be inlined.
    #[inline(never)]
    fn decode_any(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        if self.established
            && self.state.is_none()
            && let Some((seq, payload, rest)) = decode::usual_data(input, self.config.message_limit())
        {
            *input = rest;
            return Ok(Some(Frame::Data { seq, message: Message::binary(Bytes::copy_from_slice(payload)) }));
        }
        let decoded = self.advance(input);
        if let Err(error) = decoded {
            self.state = Some(Box::new(State::Failed(error)));
        }
        decoded
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        match self.state.as_deref_mut() {
            None => self.begin_header(input),
            Some(State::Header { bytes, have }) => {
                while let Some((&byte, rest)) = input.split_first() {
                    *input = rest;
                    if let Some(slot) = bytes.get_mut(usize::from(*have)) {
                        *slot = byte;
                        *have += 1;
                    }
                    if let Some((header, _)) = decode::header(bytes.get(..usize::from(*have)).unwrap_or_default())? {
                        self.state = None;
                        return self.begin_body(header, input);
                    }
                }
                Ok(None)
            }
            Some(State::Body(_)) => self.gather(input),
            Some(&mut State::Skipping { left }) => Ok(self.skip(left, input)),
            Some(State::Failed(error)) => Err(*error),
        }
    }

    fn begin_header(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        let Some(&first) = input.first() else { return Ok(None) };
        self.admit(first)?;
        if let Some((header, rest)) = decode::header(input)? {
            *input = rest;
            return self.begin_body(header, input);
        }
        let mut bytes = [0; 5];
        for (slot, byte) in bytes.iter_mut().zip(*input) {
            *slot = *byte;
        }
        // An incomplete header has at most four bytes.
        self.state = Some(Box::new(State::Header { bytes, have: input.len() as u8 }));
        *input = &[];
        Ok(None)
    }

    /// Refuses frame types that have no place in a handshake, so that other protocols fail at their first byte.
    fn admit(&self, kind: u8) -> Result<(), WireError> {
        if self.established || matches!(kind, kind::HELLO | kind::WELCOME | kind::REFUSE | kind::GOODBYE) {
            return Ok(());
        }
        let frame = if kind::TLS.contains(&kind) { "a record of TLS" } else { kind::name(kind) };
        Err(WireError::Unexpected { frame, expected: "a frame of the handshake" })
    }

    fn begin_body(&mut self, header: Header, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        let Header { kind, length } = header;
        let limit = self.limit(kind);
        if length > limit {
            return Err(WireError::TooLarge { length: u64::from(length), limit: u64::from(limit) });
        }
        if !kind::known(kind) {
            return Ok(self.skip(length, input));
        }
        let Some((body, rest)) = input.split_at_checked(length as usize) else {
            self.state = Some(Box::new(State::Body(Body { kind, left: length, bytes: Vec::new() })));
            return self.gather(input);
        };
        *input = rest;
        if !kind::is_message(kind) {
            return decode::control(kind, body).map(Some);
        }
        let (seq, payload) = self.data(kind, body)?;
        let message = Message::checked(kind == kind::TEXT, Bytes::copy_from_slice(payload));
        Ok(Some(Frame::Data { seq, message }))
    }

    /// The longest body that a frame of this type may have now.
    fn limit(&self, kind: u8) -> u32 {
        let hello = self.config.hello_limit() as u32;
        let data = (self.config.message_limit() as u32).saturating_add(SEQ_ROOM).min(LONGEST_BODY);
        match kind {
            _ if !self.established => hello,
            kind::HELLO | kind::WELCOME => hello,
            kind::BEAT => BEAT_LIMIT,
            kind::REFUSE | kind::ECHO | kind::ACK | kind::GOODBYE => CONTROL_LIMIT,
            kind::DATA | kind::TEXT => data,
            // They are not stored, so they may be as long as any frame.
            _ => data.max(CONTROL_LIMIT),
        }
    }

    fn data<'a>(&self, kind: u8, body: &'a [u8]) -> Result<(u64, &'a [u8]), WireError> {
        let (seq, payload) = decode::data(kind, body)?;
        let (length, limit) = (payload.len(), self.config.message_limit());
        if length > limit {
            return Err(WireError::TooLarge { length: length as u64, limit: limit as u64 });
        }
        Ok((seq, payload))
    }

    fn gather(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        let Some(State::Body(Body { kind, left, bytes })) = self.state.as_deref_mut() else { return Ok(None) };
        let outstanding = *left as usize;
        let (came, rest) = input.split_at(outstanding.min(input.len()));
        *input = rest;
        if bytes.capacity() - bytes.len() < came.len() {
            // Exactly, because a vector that grows by itself may double beyond the frame's length. For four times what came, so
            // that little is moved, and nothing of a frame that comes in four pieces.
            let room = 4 * (bytes.len() + came.len());
            bytes.reserve_exact(room.max(STEP).saturating_sub(bytes.len()).min(outstanding));
        }
        bytes.extend_from_slice(came);
        *left -= came.len() as u32;
        if *left > 0 {
            return Ok(None);
        }
        let (kind, body) = (*kind, mem::take(bytes));
        self.state = None;
        if !kind::is_message(kind) {
            return decode::control(kind, &body).map(Some);
        }
        let (seq, payload) = self.data(kind, &body)?;
        let front = body.len() - payload.len();
        let mut payload = Bytes::from(body);
        payload.advance(front);
        Ok(Some(Frame::Data { seq, message: Message::checked(kind == kind::TEXT, payload) }))
    }

    fn skip(&mut self, left: u32, input: &mut &[u8]) -> Option<Frame> {
        let (came, rest) = input.split_at(input.len().min(left as usize));
        *input = rest;
        let left = left - came.len() as u32;
        self.state = (left > 0).then(|| Box::new(State::Skipping { left }));
        if left > 0 { None } else { Some(Frame::Unknown) }
    }
}

impl Wire for Beat {
    type Config = BeatConfig;
    type Memory = ();

    fn new(config: &BeatConfig, _opening: Opening<'_>, (): ()) -> Self {
        Self::new(config)
    }

    #[inline]
    fn decode(&mut self, input: &mut &[u8], _tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        Self::decode(self, input)
    }

    fn mid_frame(&self) -> bool {
        self.state.as_ref().is_some_and(|state| !matches!(**state, State::Failed(_)))
    }

    /// Appends a frame. [`Frame::Unknown`] and what the format cannot say (a message above [`MESSAGE_LIMIT_MAX`], or
    /// credentials of that order) append nothing.
    #[inline]
    fn encode(&mut self, frame: &Frame, tx: &mut Tx) {
        encode::frame(frame, tx);
    }

    fn established(&mut self) {
        self.establish();
    }

    fn message_limit(config: &BeatConfig) -> usize {
        config.message_limit()
    }
}

impl fmt::Debug for Beat {
    /// Leaves out the bytes gathered, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beat")
            .field("config", &self.config)
            .field("established", &self.established)
            .field("mid_frame", &self.mid_frame())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
