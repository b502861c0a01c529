//! One message on its way in: its bytes, checked as they come.

use alloc::vec::Vec;

use bytes::Bytes;

use super::mask::Mask;
use super::{Message, Violation};

/// So much is reserved for a payload that was announced and has not come, in bytes.
const STEP: usize = 1 << 10;

/// A message of which at least one frame has begun.
#[derive(Debug)]
pub(super) struct Assembly {
    text: bool,
    body: Vec<u8>,
    /// So many bytes of a text were found to be UTF-8.
    checked: usize,
}

impl Assembly {
    pub(super) const fn new(text: bool) -> Self {
        Self { text, body: Vec::new(), checked: 0 }
    }

    /// How many bytes there are.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
    }

    /// How many bytes of the heap are held.
    pub(super) const fn reserved(&self) -> usize {
        self.body.capacity()
    }

    /// Takes the next bytes of the payload of a frame of which `outstanding` bytes, these included, have not been taken.
    pub(super) fn append(&mut self, bytes: &[u8], mask: &mut Mask, outstanding: usize) -> Result<(), Violation> {
        reserve(&mut self.body, bytes.len(), outstanding);
        mask.append(bytes, &mut self.body);
        self.check(false)
    }

    /// The last frame is complete.
    pub(super) fn finish(mut self) -> Result<Message, Violation> {
        self.check(true)?;
        Ok(Message::checked(self.text, Bytes::from(self.body)))
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

/// Makes room for `more` bytes: exactly, because a vector that grows by itself may double beyond the message's length; and at
/// most for as many as there are already, because the rest may never come.
fn reserve(body: &mut Vec<u8>, more: usize, most: usize) {
    if body.capacity() - body.len() < more {
        body.reserve_exact(body.len().max(STEP).min(most).max(more));
    }
}
