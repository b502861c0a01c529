//! BYTES -> MESSAGES: frames are checked, unmasked and put together (RFC 6455, sections 5.4 to 5.6).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::Message;
use super::assembly::{self, Assembly};
use super::close::Close;
use super::control::{self, Control};
#[cfg(feature = "deflate")]
use super::deflate::Agreement;
use super::deflate::Inflater;
use super::frame::{self, Header, LONGEST, Opcode};
use super::mask::Mask;
use super::{Role, Violation};

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message(Message),
    /// To be answered with a pong of the same payload, unless a close was sent.
    Ping(Control),
    /// The answer to a ping, or nothing that was asked for.
    Pong(Control),
    /// The peer closes: nothing follows. To be answered with [`Close::answer`], unless a close was sent.
    Close(Close),
}

/// What the peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest payload of one frame, in bytes, as it is on the wire.
    pub frame: usize,
    /// The longest message, in bytes, as the application gets it.
    pub message: usize,
}

impl Limits {
    /// Messages of up to so many bytes, in frames of any size.
    #[must_use]
    pub const fn of_message(message: usize) -> Self {
        Self { frame: usize::MAX, message }
    }
}

/// Puts messages together from the bytes of one connection. Between messages it holds no memory of the heap, unless compression
/// was agreed on.
pub struct Incoming {
    role: Role,
    limits: Limits,
    work: Option<Box<Work>>,
}

/// What is kept from one call to the next, if there is anything to keep: what is not complete, or the end.
#[derive(Default)]
pub(super) struct Work {
    end: Option<End>,
    header: Partial,
    message: Option<Assembly>,
    payload: Option<Payload>,
    /// [`Work::is_same_message`] was asked for this message.
    seen: bool,
    /// `None` if compression was not agreed on, and while a compressed message is on its way.
    inflater: Option<Box<Inflater>>,
}

/// Nothing more is read.
#[derive(Clone, Copy)]
enum End {
    Closed,
    /// Perhaps by its close, behind which nothing comes.
    Failed {
        violation: Violation,
        in_close: bool,
    },
}

/// The payload of a frame whose header was read.
struct Payload {
    opcode: Opcode,
    fin: bool,
    left: u64,
    mask: Mask,
    /// What came of a control frame.
    control: Vec<u8>,
}

impl Incoming {
    /// Puts together what comes to `role`, which is ours.
    #[must_use]
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self { role, limits, work: None }
    }

    /// Takes compressed messages, too, as was agreed on.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, agreement: &Agreement) -> Self {
        self.deflate(agreement);
        self
    }

    #[cfg(feature = "deflate")]
    pub(super) fn deflate(&mut self, agreement: &Agreement) {
        self.work = Some(Work::inflating(agreement, self.role));
    }

    /// Goes on with what another one has kept.
    #[inline]
    pub(super) const fn with_work(role: Role, limits: Limits, work: Option<Box<Work>>) -> Self {
        Self { role, limits, work }
    }

    /// What another one is to go on with.
    #[inline]
    pub(super) fn into_work(self) -> Option<Box<Work>> {
        self.work
    }

    /// Takes bytes from the front of `input` until something is whole; `Ok(None)` means that all was used. How the bytes are
    /// split between calls makes no difference to what comes out. Behind a close everything is dropped.
    ///
    /// # Errors
    /// The peer broke the protocol. Every later call returns the same error.
    #[inline]
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        if self.work.as_ref().is_none_or(|work| work.is_at_rest()) {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((opcode, payload, behind)) = control::read_short(self.role, input) {
                *input = behind;
                return Ok(Some(if matches!(opcode, Opcode::Ping) {
                    Item::Ping(payload)
                } else {
                    Item::Pong(payload)
                }));
            }
        }
        self.next_any(input)
    }

    /// If the next thing is a whole binary message of up to 14 bytes: it, and what is behind it. Nothing is taken.
    #[inline]
    pub(in crate::wire) fn peek_short_binary<'a>(&self, input: &'a [u8]) -> Option<(Control, &'a [u8])> {
        let at_rest = self.work.as_ref().is_none_or(|work| work.is_at_rest());
        if at_rest { control::read_short_binary(self.role, input) } else { None }
    }

    /// Whether part of a message or frame has arrived and the rest is outstanding.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.is_unfinished())
    }

    /// How many bytes of the heap are held for the payload of an unfinished message: at most four times what has come of it,
    /// or 1 KiB if that is more, and never more than the message may have.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.work.as_ref().and_then(|work| work.message.as_ref()).map_or(0, Assembly::reserved)
    }

    /// Beside what compression needs.
    #[cfg(test)]
    pub(super) fn holds_memory(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.is_at_rest() || work.inflater.is_none())
    }

    // Kept out of line, so that the path of a ping is small enough to be inlined.
    #[inline(never)]
    fn next_any(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        match self.work.as_ref().and_then(|work| work.end) {
            Some(End::Failed { violation, .. }) => return Err(violation),
            Some(End::Closed) => {
                *input = &[];
                return Ok(None);
            }
            None => {}
        }
        let next = self.advance(input);
        self.work.take_if(|work| work.is_at_rest() && work.inflater.is_none());
        let (end, next) = match next {
            Err((violation, in_close)) => (End::Failed { violation, in_close }, Err(violation)),
            Ok(Some(Item::Close(close))) => (End::Closed, Ok(Some(Item::Close(close)))),
            Ok(next) => return Ok(next),
        };
        self.work = Some(Box::new(Work { end: Some(end), ..Work::default() }));
        next
    }

    /// A violation comes with whether it is in a close.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Item>, (Violation, bool)> {
        while !input.is_empty() {
            let payload = self.work.as_ref().and_then(|work| work.payload.as_ref());
            let (opcode, item) = if let Some(Payload { opcode, .. }) = payload {
                (*opcode, self.gather(input))
            } else {
                match self.header(input) {
                    Ok(Some(header)) => (header.opcode, self.begin(header, input)),
                    Ok(None) => return Ok(None),
                    Err(violation) => return Err((violation, self.begins_close(input))),
                }
            };
            match item {
                Ok(None) => {}
                Ok(item) => return Ok(item),
                Err(violation) => return Err((violation, opcode == Opcode::Close)),
            }
        }
        Ok(None)
    }

    /// Takes a header from the front of `input`; `None` if it is not complete, and all of `input` was kept.
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        if self.work.as_ref().is_none_or(|work| work.header.have == 0)
            && let Some((header, behind)) = frame::read(input)?
        {
            *input = behind;
            return Ok(Some(header));
        }
        self.work.get_or_insert_default().header.read(input)
    }

    /// Whether a header that is wrong is that of a close, whatever else is wrong about it.
    fn begins_close(&self, input: &[u8]) -> bool {
        let kept = self.work.as_ref().filter(|work| work.header.have > 0).map(|work| &work.header.bytes[..]);
        kept.unwrap_or(input).first().is_some_and(|first| first & 0x0f == Opcode::Close.code())
    }

    /// A header is complete: checks what only the connection knows, and takes the payload.
    fn begin(&mut self, header: Header, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        let Header { opcode, fin, rsv1, mask, length } = header;
        let inflates = self.work.as_ref().is_some_and(|work| work.inflater.is_some());
        if rsv1 && (!inflates || !matches!(opcode, Opcode::Text | Opcode::Binary)) {
            return Err(Violation::Protocol("a frame has its first reserved bit set, for which nothing was agreed on"));
        }
        let mask = match (self.role, mask) {
            (Role::Server, None) => return Err(Violation::Protocol("a client's frame is not masked")),
            (Role::Client, Some(_)) => return Err(Violation::Protocol("a server's frame is masked")),
            (_, mask) => Mask::new(mask.unwrap_or_default()),
        };
        let whole = usize::try_from(length).ok().and_then(|length| input.split_at_checked(length));
        if opcode.is_control() {
            if let Some((payload, behind)) = whole {
                *input = behind;
                return control(opcode, payload, mask);
            }
        } else {
            let message = self.work.as_ref().and_then(|work| work.message.as_ref());
            match (opcode, message) {
                (Opcode::Continuation, None) => return Err(Violation::Protocol("there is no message to continue")),
                (Opcode::Text | Opcode::Binary, Some(_)) => {
                    return Err(Violation::Protocol("a message begins before the last one ends"));
                }
                _ => {}
            }
            self.admit(length, rsv1, message)?;
            if let (Some((payload, behind)), None, true) = (whole, message, fin) {
                *input = behind;
                if !rsv1 {
                    return assembly::whole(opcode == Opcode::Text, payload, mask).map(Item::Message).map(Some);
                }
                let (mut message, mut mask) = (self.message(opcode, rsv1), mask);
                message.append(payload, &mut mask, Some(payload.len()), self.limits.message)?;
                return self.finish(message).map(Some);
            }
        }
        let message = matches!(opcode, Opcode::Text | Opcode::Binary).then(|| self.message(opcode, rsv1));
        let work = self.work.get_or_insert_default();
        if message.is_some() {
            work.message = message;
        }
        work.payload = Some(Payload { opcode, fin, left: length, mask, control: Vec::new() });
        self.gather(input)
    }

    /// Refuses a frame by what its header announces, before anything is reserved for it.
    fn admit(&self, length: u64, rsv1: bool, message: Option<&Assembly>) -> Result<(), Violation> {
        let Limits { frame, message: limit } = self.limits;
        if length > frame as u64 {
            return Err(Violation::TooLarge { length, limit: frame as u64 });
        }
        let limit = limit as u64;
        let before = match message {
            Some(message) => {
                message.compressed().map_or((message.len() as u64, limit), |came| (came, compressed(limit)))
            }
            None => (0, if rsv1 { compressed(limit) } else { limit }),
        };
        let (length, limit) = (length.saturating_add(before.0), before.1);
        if length > limit {
            return Err(Violation::TooLarge { length, limit });
        }
        Ok(())
    }

    /// Takes what has come of a payload that was not whole at first.
    fn gather(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        let Some(work) = &mut self.work else { return Ok(None) };
        let Some(payload) = &mut work.payload else { return Ok(None) };
        let outstanding = usize::try_from(payload.left).unwrap_or(usize::MAX);
        let (came, behind) = input.split_at(outstanding.min(input.len()));
        *input = behind;
        payload.left -= came.len() as u64;
        match &mut work.message {
            _ if payload.opcode.is_control() => payload.control.extend_from_slice(came),
            Some(message) => {
                let last = payload.fin.then_some(outstanding);
                message.append(came, &mut payload.mask, last, self.limits.message)?;
            }
            None => {}
        }
        if payload.left > 0 {
            return Ok(None);
        }
        let Some(Payload { opcode, fin, mask, control: bytes, .. }) = work.payload.take() else { return Ok(None) };
        let message = if fin && !opcode.is_control() { work.message.take() } else { None };
        work.seen &= work.message.is_some();
        if opcode.is_control() {
            return control(opcode, &bytes, mask);
        }
        message.map(|message| self.finish(message)).transpose()
    }

    fn message(&mut self, opcode: Opcode, rsv1: bool) -> Assembly {
        let inflater = self.work.as_mut().filter(|_| rsv1).and_then(|work| work.inflater.take());
        Assembly::new(opcode == Opcode::Text, inflater)
    }

    fn finish(&mut self, message: Assembly) -> Result<Item, Violation> {
        let (message, inflater) = message.finish(self.limits.message)?;
        if inflater.is_some() {
            self.work.get_or_insert_default().inflater = inflater;
        }
        Ok(Item::Message(message))
    }
}

impl Work {
    /// Nothing but how compressed messages are taken, as was agreed on.
    #[cfg(feature = "deflate")]
    pub(super) fn inflating(agreement: &Agreement, role: Role) -> Box<Self> {
        let sender = match role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let inflater = Some(Box::new(Inflater::new(agreement.side(sender))));
        Box::new(Self { inflater, ..Self::default() })
    }

    /// Whether the next thing is the first byte of a message or of a control frame between two.
    #[inline]
    pub(super) const fn is_at_rest(&self) -> bool {
        self.end.is_none() && self.header.have == 0 && self.message.is_none() && self.payload.is_none()
    }

    /// Whether part of a message or frame has arrived and the rest is outstanding.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.end.is_none() && !self.is_at_rest()
    }

    /// Of a message that is unfinished: whether it was when this was last asked, whatever pings came in between.
    pub(super) const fn is_same_message(&mut self) -> bool {
        let begun = self.message.is_some() || self.payload.is_some();
        begun && core::mem::replace(&mut self.seen, true)
    }

    /// Whether the peer has said its last word: a close, or what was to be one.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.end, Some(End::Closed | End::Failed { in_close: true, .. }))
    }
}

impl fmt::Debug for Incoming {
    /// Leaves out the bytes gathered, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("role", &self.role)
            .field("limits", &self.limits)
            .field("is_unfinished", &self.is_unfinished())
            .finish_non_exhaustive()
    }
}

/// How long the frames of a compressed message may be together: what cannot be compressed becomes a little longer by trying,
/// and nobody need read an endless stream that inflates to nothing.
const fn compressed(limit: u64) -> u64 {
    limit.saturating_add(limit / 4).saturating_add(1 << 10)
}

fn control(opcode: Opcode, payload: &[u8], mask: Mask) -> Result<Option<Item>, Violation> {
    let Some((clear, length)) = control::unmask(payload, mask) else { return Ok(None) };
    let payload = clear.get(..length).unwrap_or_default();
    Ok(match opcode {
        Opcode::Ping => Control::new(payload).map(Item::Ping),
        Opcode::Pong => Control::new(payload).map(Item::Pong),
        _ => Some(Item::Close(Close::read(payload)?)),
    })
}

/// A header that is not complete.
#[derive(Default)]
struct Partial {
    have: u8,
    bytes: [u8; LONGEST],
}

impl Partial {
    /// Takes bytes one by one, so that none of the payload is taken.
    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        while let Some((&byte, behind)) = input.split_first() {
            *input = behind;
            if let Some(slot) = self.bytes.get_mut(usize::from(self.have)) {
                *slot = byte;
                self.have += 1;
            }
            if let Some((header, _)) = frame::read(self.bytes.get(..usize::from(self.have)).unwrap_or_default())? {
                *self = Self::default();
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}
