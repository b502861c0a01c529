//! MESSAGES -> BYTES: frames, and the client's masks (RFC 6455, sections 5.2 and 5.3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Message;
use super::close::Close;
use super::control::{self, CONTROL_LIMIT, Control};
#[cfg(feature = "deflate")]
use super::deflate::Agreement;
use super::deflate::Deflater;
use super::frame::{self, Header, Opcode};
use super::keys::MaskKeys;
use super::mask::Mask;
use crate::wire::Tx;

/// A payload that is larger is masked into memory of its own, which is then handed on as it is, in bytes.
const STAGED_LIMIT: usize = 4096;

/// Messages up to this size, in bytes as they are on the wire, leave in one frame.
pub const WHOLE_LIMIT: usize = 64 << 10;

/// Larger messages leave in fragments of this size, in bytes, so that a ping need not wait for all of them.
pub const FRAGMENT: usize = 32 << 10;

/// Writes frames to one connection.
#[derive(Debug)]
pub struct Outgoing {
    /// A server's is mostly `None`.
    more: Option<Box<More>>,
}

/// What is not so for all.
#[derive(Debug, Default)]
struct More {
    /// A client's.
    keys: Option<MaskKeys>,
    closed: bool,
    deflater: Option<Box<Deflater>>,
    /// Of a message that leaves in fragments, what has not left; never empty.
    rest: Option<Bytes>,
    /// The newest ping of the peer, if too much waits to answer it.
    ping: Option<Control>,
}

impl Outgoing {
    /// Writes to a client, unmasked. A large payload is handed on and never copied.
    #[must_use]
    pub const fn server() -> Self {
        Self { more: None }
    }

    /// Writes to a server, masked.
    #[must_use]
    pub fn client(keys: MaskKeys) -> Self {
        Self { more: Some(Box::new(More { keys: Some(keys), ..More::default() })) }
    }

    /// Compresses messages that become smaller by it, as was agreed on.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, agreement: &Agreement) -> Self {
        self.deflate(agreement);
        self
    }

    #[cfg(feature = "deflate")]
    pub(super) fn deflate(&mut self, agreement: &Agreement) {
        let more = self.more.get_or_insert_default();
        let role = if more.keys.is_some() { super::Role::Client } else { super::Role::Server };
        more.deflater = Some(Box::new(Deflater::new(agreement.side(role), agreement.level())));
    }

    /// Whether a close was written. After that nothing else is (RFC 6455, section 5.5.1): every call appends nothing.
    #[must_use]
    #[inline]
    pub const fn is_closed(&self) -> bool {
        match &self.more {
            Some(more) => more.closed,
            None => false,
        }
    }

    /// Appends a message: all of it, or of one above [`WHOLE_LIMIT`] the first fragment, which [`Outgoing::rest`] continues. What
    /// is left of the message before, which has to leave first, is appended before it, however much that is.
    pub fn message(&mut self, message: &Message, tx: &mut Tx) {
        if self.is_closed() {
            return;
        }
        while self.rest(tx) {}
        let opcode = if message.is_text() { Opcode::Text } else { Opcode::Binary };
        let deflater = self.more.as_mut().and_then(|more| more.deflater.as_mut());
        match deflater.and_then(|deflater| deflater.compress(message.payload())) {
            Some(compressed) => self.first(opcode, true, &Bytes::from(compressed), tx),
            None => self.first(opcode, false, message.payload(), tx),
        }
    }

    /// Appends a binary message of the first `count` of these bytes, in one frame.
    #[inline]
    pub(super) fn short_binary(&mut self, bytes: [u8; 12], count: usize, tx: &mut Tx) {
        while self.rest(tx) {}
        self.control(Opcode::Binary, &Control::short(bytes, count), tx);
    }

    /// Appends a binary message of a front and a payload, in one frame: nothing of ours could go between fragments, because all
    /// we say there is messages. A large payload is not copied if it need not be.
    pub(super) fn binary(&mut self, front: &[u8], payload: &Bytes, tx: &mut Tx) {
        if self.is_closed() {
            return;
        }
        while self.rest(tx) {}
        let deflates = self.more.as_ref().is_some_and(|more| more.deflater.is_some());
        if deflates && payload.len() > STAGED_LIMIT {
            return self.message(&Message::binary([front, payload].concat()), tx);
        }
        let key = self.key();
        let length = (front.len() + payload.len()) as u64;
        let (header, count) =
            frame::write(&Header { opcode: Opcode::Binary, fin: true, rsv1: false, mask: key, length });
        tx.put(header.get(..count).unwrap_or_default());
        let mut mask = Mask::new(key.unwrap_or_default());
        tx.put_changed(front, |front| mask.apply(front));
        masked(payload, key.map(|_| mask), tx);
    }

    /// Appends all that waits in `payload` as one binary message, in one frame, and takes it from there. What is large is copied
    /// once, to be masked.
    pub(in crate::wire) fn binary_of(&mut self, payload: &mut Tx, tx: &mut Tx) {
        let waiting = core::mem::take(payload);
        if self.is_closed() || waiting.is_empty() {
            return;
        }
        if let Some(deflater) = self.more.as_mut().and_then(|more| more.deflater.as_mut()) {
            let mut whole = Vec::with_capacity(usize::try_from(waiting.len()).unwrap_or_default());
            waiting.drain(|chunk| whole.extend_from_slice(chunk));
            return match deflater.compress(&whole) {
                Some(compressed) => self.frame(Opcode::Binary, true, true, &compressed.into(), tx),
                None => self.frame(Opcode::Binary, true, false, &whole.into(), tx),
            };
        }
        let key = self.key();
        let (header, count) =
            frame::write(&Header { opcode: Opcode::Binary, fin: true, rsv1: false, mask: key, length: waiting.len() });
        tx.put(header.get(..count).unwrap_or_default());
        let mut mask = Mask::new(key.unwrap_or_default());
        waiting.drain(|chunk| {
            if chunk.len() <= STAGED_LIMIT {
                return tx.put_changed(chunk, |chunk| mask.apply(chunk));
            }
            let mut masked = Vec::with_capacity(chunk.len());
            mask.append(chunk, &mut masked);
            tx.put_payload(&masked.into());
        });
    }

    /// Appends the next fragment of a message that has begun to leave; `false` if there is none. To be called when little waits
    /// to be written. Pings, pongs and a close may be appended in between.
    #[inline]
    pub fn rest(&mut self, tx: &mut Tx) -> bool {
        if self.has_rest() { self.next_of_rest(tx) } else { false }
    }

    #[inline(never)]
    fn next_of_rest(&mut self, tx: &mut Tx) -> bool {
        let Some(rest) = self.more.as_mut().and_then(|more| more.rest.as_mut()) else { return false };
        let fragment = rest.split_to(FRAGMENT.min(rest.len()));
        let fin = rest.is_empty();
        if fin && let Some(more) = &mut self.more {
            more.rest = None;
            self.settle();
        }
        self.frame(Opcode::Continuation, fin, false, &fragment, tx);
        true
    }

    /// Whether fragments of a message are outstanding, which [`Outgoing::rest`] appends.
    #[must_use]
    pub const fn has_rest(&self) -> bool {
        match &self.more {
            Some(more) => more.rest.is_some(),
            None => false,
        }
    }

    /// Appends a ping.
    #[inline]
    pub fn ping(&mut self, payload: &Control, tx: &mut Tx) {
        self.control(Opcode::Ping, payload, tx);
    }

    /// Appends a pong. It answers a ping with its payload, or several pings with that of the newest (RFC 6455, section 5.5.3).
    #[inline]
    pub fn pong(&mut self, payload: &Control, tx: &mut Tx) {
        self.control(Opcode::Pong, payload, tx);
    }

    /// Appends a close, the last frame; what is left of a message is forgotten. Whoever has not got a close from the peer should
    /// read on until it comes.
    pub fn close(&mut self, close: &Close, tx: &mut Tx) {
        if self.is_closed() {
            return;
        }
        let mut payload = [0; CONTROL_LIMIT];
        let length = close.write(&mut payload);
        self.any_control(Opcode::Close, payload.get(..length).unwrap_or_default(), tx);
        let more = self.more.get_or_insert_default();
        (more.closed, more.rest, more.ping) = (true, None, None);
    }

    /// Answers the newest ping when [`Outgoing::pay`] says so, and none before it.
    pub(super) fn owe(&mut self, ping: Control) {
        if !self.is_closed() {
            self.more.get_or_insert_default().ping = Some(ping);
        }
    }

    /// Appends the pong that is owed; `false` if none is.
    #[inline]
    pub(super) fn pay(&mut self, tx: &mut Tx) -> bool {
        let Some(ping) = self.more.as_mut().and_then(|more| more.ping.take()) else { return false };
        self.settle();
        self.pong(&ping, tx);
        true
    }

    #[inline]
    fn key(&mut self) -> Option<[u8; 4]> {
        self.more.as_mut()?.keys.as_mut().map(MaskKeys::key)
    }

    /// What is not needed any more takes no memory.
    fn settle(&mut self) {
        self.more.take_if(|more| more.is_empty());
    }

    #[inline]
    fn control(&mut self, opcode: Opcode, payload: &Control, tx: &mut Tx) {
        if self.is_closed() {
            return;
        }
        match tx.vacant().and_then(|slot| control::write_short(opcode, payload, || self.key(), slot)) {
            Some(count) => tx.fill(count),
            None => self.any_control(opcode, payload.as_slice(), tx),
        }
    }

    // Kept out of line, so that the path of an idle link's is small.
    #[inline(never)]
    fn any_control(&mut self, opcode: Opcode, payload: &[u8], tx: &mut Tx) {
        let key = self.key();
        let (header, count) =
            frame::write(&Header { opcode, fin: true, rsv1: false, mask: key, length: payload.len() as u64 });
        tx.put(header.get(..count).unwrap_or_default());
        tx.put_changed(payload, |payload| Mask::new(key.unwrap_or_default()).apply(payload));
    }

    fn first(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes, tx: &mut Tx) {
        if payload.len() <= WHOLE_LIMIT {
            return self.frame(opcode, true, rsv1, payload, tx);
        }
        self.frame(opcode, false, rsv1, &payload.slice(..FRAGMENT), tx);
        self.more.get_or_insert_default().rest = Some(payload.slice(FRAGMENT..));
    }

    fn frame(&mut self, opcode: Opcode, fin: bool, rsv1: bool, payload: &Bytes, tx: &mut Tx) {
        let key = self.key();
        let (header, count) = frame::write(&Header { opcode, fin, rsv1, mask: key, length: payload.len() as u64 });
        tx.put(header.get(..count).unwrap_or_default());
        masked(payload, key.map(Mask::new), tx);
    }
}

impl More {
    const fn is_empty(&self) -> bool {
        let Self { keys, closed, deflater, rest, ping } = self;
        keys.is_none() && !*closed && deflater.is_none() && rest.is_none() && ping.is_none()
    }
}

fn masked(payload: &Bytes, mask: Option<Mask>, tx: &mut Tx) {
    let Some(mut mask) = mask else { return tx.put_payload(payload) };
    if payload.len() <= STAGED_LIMIT {
        return tx.put_changed(payload, |payload| mask.apply(payload));
    }
    let mut masked = Vec::with_capacity(payload.len());
    mask.append(payload, &mut masked);
    tx.put_payload(&Bytes::from(masked));
}
