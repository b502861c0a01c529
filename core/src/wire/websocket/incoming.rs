//! BYTES -> MESSAGES: frames are unmasked and put together (RFC 6455, sections 5.4 to 5.6 and 8.1).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::close::Close;
use super::frame::{self, CONTROL_LIMIT, Header, LONGEST, Opcode};
use super::mask::Mask;
use super::{Role, Violation};

/// So much is reserved for a payload that was announced and has not come.
const STEP: usize = 64 << 10;

/// The payload of a ping or pong. A short one, as keepbeat sends them, takes no memory of the heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// At most 14 bytes.
    Short([u8; 14], u8),
    /// At most 125 bytes.
    Long(Box<[u8]>),
}

impl Control {
    /// Takes the payload of a control frame; what is beyond 125 bytes is left out.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let payload = payload.get(..CONTROL_LIMIT as usize).unwrap_or(payload);
        let mut short = [0; 14];
        match short.get_mut(..payload.len()) {
            Some(front) => {
                front.copy_from_slice(payload);
                Self::Short(short, payload.len() as u8)
            }
            None => Self::Long(payload.into()),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message {
        /// UTF-8, checked; otherwise any bytes.
        text: bool,
        /// Its payload.
        payload: Bytes,
    },
    /// To be answered with a pong of the same payload.
    Ping(Control),
    /// The answer to a ping, or nothing that was asked for.
    Pong(Control),
    /// The peer closes. Nothing follows.
    Close(Close),
}

/// Puts messages together from the bytes of one connection. Between messages it holds no memory of the heap.
#[derive(Debug)]
pub struct Incoming {
    role: Role,
    limit: usize,
    work: Option<Box<Work>>,
    failed: Option<Violation>,
}

/// A frame or a message that is not complete.
#[derive(Debug, Default)]
struct Work {
    frame: Frame,
    message: Option<Message>,
}

#[derive(Debug, Default)]
enum Frame {
    #[default]
    Between,
    Header {
        bytes: [u8; LONGEST],
        have: u8,
    },
    Payload {
        opcode: Opcode,
        fin: bool,
        left: u64,
        mask: Mask,
        control: Vec<u8>,
    },
}

/// A message of which at least one frame has begun.
#[derive(Debug)]
struct Message {
    text: bool,
    body: Vec<u8>,
    /// So many bytes of a text were found to be UTF-8.
    checked: usize,
}

impl Message {
    fn append(&mut self, bytes: &[u8], mask: &mut Mask, outstanding: usize) -> Result<(), Violation> {
        if self.body.capacity() - self.body.len() < bytes.len() {
            // Exactly, because a vector that grows by itself may double beyond the message's length.
            self.body.reserve_exact(self.body.len().max(STEP).min(outstanding).max(bytes.len()));
        }
        mask.append(bytes, &mut self.body);
        self.check(false)
    }

    /// Finds the first byte that cannot be UTF-8; at the `end`, a character that is cut off, too.
    fn check(&mut self, end: bool) -> Result<(), Violation> {
        if !self.text {
            return Ok(());
        }
        match core::str::from_utf8(self.body.get(self.checked..).unwrap_or_default()) {
            Ok(_) => self.checked = self.body.len(),
            Err(error) if error.error_len().is_some() || end => return Err(Violation::Utf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

impl Incoming {
    /// Puts together what the peer of `role` sends; messages of more than `limit` bytes are refused.
    #[must_use]
    pub const fn new(role: Role, limit: usize) -> Self {
        Self { role, limit, work: None, failed: None }
    }

    /// Takes bytes from the front of `input` until something is whole; `Ok(None)` means that all was used. How the bytes are
    /// split between calls makes no difference to what comes out.
    ///
    /// # Errors
    /// The peer broke the protocol. Every later call returns the same error.
    #[inline]
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        if input.is_empty() && self.failed.is_none() {
            return Ok(None);
        }
        let next = match self.failed {
            Some(violation) => Err(violation),
            None => self.advance(input),
        };
        if let Err(violation) = next {
            self.failed = Some(violation);
            self.work = None;
        }
        next
    }

    /// Whether part of a message or frame has arrived and the rest is outstanding.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.work.is_some()
    }

    /// How many bytes of the heap are held for what is unfinished, besides a small fixed part.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.work.as_ref().and_then(|work| work.message.as_ref()).map_or(0, |message| message.body.capacity())
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        loop {
            let item = match &mut self.work {
                None => match frame::read(input)? {
                    Some((header, payload)) => {
                        *input = payload;
                        self.begin(header, input)?
                    }
                    None => {
                        self.keep_header(input);
                        return Ok(None);
                    }
                },
                Some(work) => match &mut work.frame {
                    Frame::Between => match frame::read(input)? {
                        Some((header, payload)) => {
                            *input = payload;
                            self.begin(header, input)?
                        }
                        None => {
                            self.keep_header(input);
                            return Ok(None);
                        }
                    },
                    Frame::Header { .. } => match self.complete_header(input)? {
                        Some(header) => self.begin(header, input)?,
                        None => return Ok(None),
                    },
                    Frame::Payload { .. } => self.gather(input)?,
                },
            };
            if item.is_some() || input.is_empty() {
                return Ok(item);
            }
        }
    }

    fn keep_header(&mut self, input: &mut &[u8]) {
        if input.is_empty() {
            return;
        }
        let mut bytes = [0; LONGEST];
        for (slot, byte) in bytes.iter_mut().zip(*input) {
            *slot = *byte;
        }
        let work = self.work.get_or_insert_default();
        work.frame = Frame::Header { bytes, have: input.len() as u8 };
        *input = &[];
    }

    /// Adds bytes to a header one by one, so that none of the payload is taken.
    fn complete_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        let Some(work) = &mut self.work else { return Ok(None) };
        let Frame::Header { bytes, have } = &mut work.frame else { return Ok(None) };
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            if let Some(slot) = bytes.get_mut(usize::from(*have)) {
                *slot = byte;
                *have += 1;
            }
            if let Some((header, _)) = frame::read(bytes.get(..usize::from(*have)).unwrap_or_default())? {
                work.frame = Frame::Between;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// A header is complete: checks what only the connection knows, and takes the payload.
    fn begin(&mut self, header: Header, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        let Header { opcode, fin, rsv1, mask, length } = header;
        if rsv1 {
            return Err(Violation::Protocol("a frame is compressed, which was not agreed on"));
        }
        let mask = match (self.role, mask) {
            (Role::Server, None) => return Err(Violation::Protocol("a client's frame is not masked")),
            (Role::Client, Some(_)) => return Err(Violation::Protocol("a server's frame is masked")),
            (_, mask) => Mask::new(mask.unwrap_or_default()),
        };
        if opcode.is_control() {
            return self.begin_control(opcode, mask, length, input);
        }
        let before = self.work.as_ref().and_then(|work| work.message.as_ref());
        match (opcode, before) {
            (Opcode::Continuation, None) => return Err(Violation::Protocol("there is no message to continue")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Protocol("a message begins before the last one ends"));
            }
            _ => {}
        }
        let total = length.saturating_add(before.map_or(0, |message| message.body.len() as u64));
        if total > self.limit as u64 {
            return Err(Violation::TooLarge { length: total, limit: self.limit as u64 });
        }
        let new = |text| Message { text, body: Vec::new(), checked: 0 };
        if self.work.is_none()
            && fin
            && let Some((payload, rest)) = input.split_at_checked(length as usize)
        {
            *input = rest;
            let (mut message, mut mask) = (new(opcode == Opcode::Text), mask);
            message.append(payload, &mut mask, payload.len())?;
            return finish(message).map(Some);
        }
        let work = self.work.get_or_insert_default();
        work.message.get_or_insert_with(|| new(opcode == Opcode::Text));
        work.frame = Frame::Payload { opcode, fin, left: length, mask, control: Vec::new() };
        self.gather(input)
    }

    fn begin_control(
        &mut self,
        opcode: Opcode,
        mut mask: Mask,
        length: u64,
        input: &mut &[u8],
    ) -> Result<Option<Item>, Violation> {
        let Some((payload, rest)) = input.split_at_checked(length as usize) else {
            let work = self.work.get_or_insert_default();
            work.frame = Frame::Payload { opcode, fin: true, left: length, mask, control: Vec::new() };
            return self.gather(input);
        };
        *input = rest;
        let mut clear = [0; CONTROL_LIMIT as usize];
        let Some(clear) = clear.get_mut(..payload.len()) else { return Ok(None) };
        clear.copy_from_slice(payload);
        mask.apply(clear);
        control(opcode, clear).map(Some)
    }

    /// Takes what has come of a payload that was not whole at first.
    fn gather(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        let Some(work) = &mut self.work else { return Ok(None) };
        let Frame::Payload { opcode, fin, left, mask, control: payload } = &mut work.frame else { return Ok(None) };
        let (opcode, fin) = (*opcode, *fin);
        let outstanding = usize::try_from(*left).unwrap_or(usize::MAX);
        let (came, rest) = input.split_at(outstanding.min(input.len()));
        *input = rest;
        *left -= came.len() as u64;
        let whole = *left == 0;
        match &mut work.message {
            _ if opcode.is_control() => mask.append(came, payload),
            Some(message) => message.append(came, mask, outstanding)?,
            None => {}
        }
        if !whole {
            return Ok(None);
        }
        let payload = mem::take(payload);
        work.frame = Frame::Between;
        if opcode.is_control() {
            if work.message.is_none() {
                self.work = None;
            }
            return control(opcode, &payload).map(Some);
        }
        if !fin {
            return Ok(None);
        }
        let message = work.message.take();
        self.work = None;
        message.map(finish).transpose()
    }
}

fn finish(mut message: Message) -> Result<Item, Violation> {
    message.check(true)?;
    Ok(Item::Message { text: message.text, payload: Bytes::from(message.body) })
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Item, Violation> {
    Ok(match opcode {
        Opcode::Ping => Item::Ping(Control::new(payload)),
        Opcode::Pong => Item::Pong(Control::new(payload)),
        _ => Item::Close(Close::read(payload)?),
    })
}
