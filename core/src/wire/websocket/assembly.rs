//! One message on its way in: its bytes, inflated if they are compressed, and checked as they come.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::deflate::Inflater;
use super::mask::Mask;
use super::{Message, Violation};

/// So much is reserved for a payload that was announced and has not come, in bytes.
const STEP: usize = 1 << 10;

/// Of a frame that ends its message, so many times as much is reserved as has come.
const AHEAD: usize = 4;

/// A message of which at least one frame has begun.
pub(super) struct Assembly {
    text: bool,
    body: Vec<u8>,
    /// So many bytes of a text were found to be UTF-8.
    checked: usize,
    /// The message is compressed.
    inflater: Option<Box<Inflater>>,
    /// So many bytes of the frames of a compressed one have come.
    came: u64,
}

impl Assembly {
    /// A message that is compressed if there is an inflater. [`Assembly::finish`] gives it back.
    pub(super) const fn new(text: bool, inflater: Option<Box<Inflater>>) -> Self {
        Self { text, body: Vec::new(), checked: 0, inflater, came: 0 }
    }

    /// How many bytes the application would get so far.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
    }

    /// How many bytes its frames had so far, if it is compressed: they say little about its own.
    pub(super) const fn compressed(&self) -> Option<u64> {
        if self.inflater.is_some() { Some(self.came) } else { None }
    }

    /// How many bytes of the heap are held for the body.
    pub(super) const fn reserved(&self) -> usize {
        self.body.capacity()
    }

    /// Takes the next bytes of a frame's payload. If the frame ends the message, `last` bytes of it, these included, have not
    /// been taken. A compressed message must not become longer than `limit`; whether another does was seen in its frames'
    /// headers.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        mask: &mut Mask,
        last: Option<usize>,
        limit: usize,
    ) -> Result<(), Violation> {
        let Some(inflater) = &mut self.inflater else {
            let most = limit.saturating_sub(self.body.len());
            reserve(&mut self.body, bytes.len(), last, most);
            mask.append(bytes, &mut self.body);
            return self.check(false);
        };
        self.came += bytes.len() as u64;
        let mut verdict = Ok(());
        mask.pass(bytes, |block| {
            if verdict.is_ok() {
                verdict = inflater.inflate(block, &mut self.body, limit);
            }
        });
        // A text that is wrong in front of what cannot be inflated is wrong, however the two are cut.
        self.check(false).and(verdict)
    }

    /// The last frame is complete.
    pub(super) fn finish(mut self, limit: usize) -> Result<(Message, Option<Box<Inflater>>), Violation> {
        if let Some(inflater) = &mut self.inflater {
            inflater.finish(&mut self.body, limit)?;
        }
        self.check(true)?;
        Ok((Message::checked(self.text, Bytes::from(self.body)), self.inflater))
    }

    /// Finds the first byte that cannot be UTF-8; at the `end`, a character that is cut off, too.
    fn check(&mut self, end: bool) -> Result<(), Violation> {
        if !self.text {
            return Ok(());
        }
        let new = self.body.get(self.checked..).unwrap_or_default();
        // Most texts are ASCII, which takes half of the instructions to find out.
        if new.is_ascii() {
            self.checked = self.body.len();
            return Ok(());
        }
        match core::str::from_utf8(new) {
            Ok(_) => self.checked = self.body.len(),
            Err(error) if error.error_len().is_some() || end => return Err(Violation::Utf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

/// A message that came whole, in one frame and not compressed.
pub(super) fn whole(text: bool, payload: &[u8], mut mask: Mask) -> Result<Message, Violation> {
    let mut body = Vec::with_capacity(payload.len());
    mask.append(payload, &mut body);
    if text && !body.is_ascii() && core::str::from_utf8(&body).is_err() {
        return Err(Violation::Utf8);
    }
    Ok(Message::checked(text, Bytes::from(body)))
}

/// Makes room for `more` bytes and, so that few bytes are moved, for some of those that are still to come: `last` of the
/// message's last frame, or nobody knows how many up to `most`. Exactly, because a vector that grows by itself may double
/// beyond the message's length.
fn reserve(body: &mut Vec<u8>, more: usize, last: Option<usize>, most: usize) {
    if body.capacity() - body.len() < more {
        let came = body.len().saturating_add(more);
        let ahead = match last {
            Some(last) => came.saturating_mul(AHEAD - 1).max(STEP).min(last),
            None => came.max(STEP).min(most),
        };
        body.reserve_exact(ahead.max(more));
    }
}
