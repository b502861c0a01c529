//! What of a connection's input is not heard at once: what comes through layers, what the inbox has no room for, and what
//! comes when all is said.

use alloc::vec::Vec;
use core::mem;

use bytes::{Buf as _, Bytes};

use super::{Connection, DownCause, Failure, Heard, Phase};
use crate::session::Inbox;
use crate::time::Timestamp;
use crate::wire::{Frame, Wire};

/// What came of the peer behind the message that filled the inbox.
#[derive(Default)]
pub(super) struct Unread {
    bytes: Bytes,
    /// The end that came behind them.
    end: Option<DownCause>,
    reading: Reading,
}

/// Whether what was left unread is being decoded.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It waits for room.
    #[default]
    No,
    /// As far as the inbox has room.
    Yes,
    /// As far as an inbox has room that may be full twice: nothing follows.
    ToTheEnd,
}

impl<W: Wire> Connection<W> {
    /// Whether what arrives is not to be decoded as it is, but handed to [`Connection::take_in`].
    #[inline]
    pub(crate) const fn hears_indirectly(&self) -> bool {
        self.layers.is_some() || self.unread.is_some()
    }

    /// Bytes arrived: what is to be decoded of them, and the end behind it, for [`Connection::end_behind`]. `None` if something is
    /// unread: they wait behind it.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) -> Option<(Vec<u8>, Option<DownCause>)> {
        let Some(layers) = &mut self.layers else {
            self.add_unread(bytes, None);
            return None;
        };
        let mut plain = Vec::new();
        let end = match layers.receive(bytes, &mut plain) {
            Err(error) => Some(error.into()),
            Ok(()) if layers.peer_closed() => Some(DownCause::Network(Failure::Eof)),
            Ok(()) => None,
        };
        if layers.is_none() {
            self.layers = None;
        }
        if self.unread.is_none() {
            return Some((plain, end));
        }
        self.add_unread(&plain, end);
        None
    }

    fn add_unread(&mut self, bytes: &[u8], end: Option<DownCause>) {
        let Some(unread) = &mut self.unread else { return };
        if !bytes.is_empty() {
            unread.bytes = [&unread.bytes, bytes].concat().into();
        }
        unread.end = unread.end.take().or(end);
    }

    /// The inbox is full: nothing is read until it has room, and what is behind the last frame waits for
    /// [`Connection::open_unread`]. But behind the last bytes of a connection there will be no other moment: `false` if decoding
    /// goes on.
    #[inline(never)]
    pub(crate) fn leave_unread(&mut self, now: Timestamp, heard: &Heard<'_>, inbox: &Inbox) -> bool {
        let to_the_end = self.unread.as_ref().is_some_and(|unread| unread.reading == Reading::ToTheEnd);
        if to_the_end && !inbox.is_overfull() {
            return false;
        }
        if let Some(liveness) = self.liveness_mut() {
            liveness.frame_finished();
            liveness.pause_reading(now);
        }
        let unread = self.unread.get_or_insert_default();
        match mem::take(&mut unread.reading) {
            Reading::No => unread.bytes = Bytes::copy_from_slice(heard.rest),
            Reading::Yes | Reading::ToTheEnd => {
                unread.bytes.advance(unread.bytes.len().saturating_sub(heard.rest.len()));
            }
        }
        true
    }

    /// Whether something waits that was not decoded.
    #[inline]
    pub(super) fn has_unread_bytes(&self) -> bool {
        self.unread.as_ref().is_some_and(|unread| !unread.bytes.is_empty())
    }

    /// There is room again: what is to be decoded next. If not all of it fits, [`Connection::leave_unread`] is called again;
    /// [`Connection::end_behind`] follows in any case.
    pub(crate) fn open_unread(&mut self) -> Option<Bytes> {
        self.read(Reading::Yes)
    }

    /// The connection is over: the same, for which room is made. [`Connection::last_word`] follows.
    pub(crate) fn open_last(&mut self, inbox: &Inbox) -> Option<Bytes> {
        if inbox.is_overfull() { None } else { self.read(Reading::ToTheEnd) }
    }

    fn read(&mut self, reading: Reading) -> Option<Bytes> {
        let unread = self.unread.as_mut()?;
        unread.reading = reading;
        Some(unread.bytes.clone())
    }

    /// What was to be decoded is, or the inbox is full again. Returns the end that comes now: `end`, or one that has waited. While
    /// something is unread, it waits behind that; and if we have parted meanwhile, it is none any more.
    pub(crate) fn end_behind(&mut self, end: Option<DownCause>) -> Option<DownCause> {
        let end = match self.unread.take_if(|unread| unread.reading != Reading::No) {
            Some(unread) => unread.end,
            None => end,
        };
        if self.unread.is_some() {
            self.add_unread(&[], end);
            return None;
        }
        end.filter(|_| !matches!(self.phase, Phase::Closing { .. }))
    }

    /// Of what is left unread for good: what the peer said at its end. The messages come again, if the peer keeps a session.
    ///
    /// While it is decoded, that is up to whoever decodes it.
    pub(crate) fn last_word(&mut self) -> Option<DownCause> {
        let unread = self.unread.take_if(|unread| unread.reading == Reading::No)?;
        self.last_word_in(&unread.bytes)
    }

    /// Bytes arrived in which nobody is interested any more, but for the peer's last word. And a farewell cannot leave before
    /// the layers are open.
    pub(crate) fn received_while_closing(&mut self, bytes: &[u8]) {
        let (mut plain, mut rest) = (Vec::new(), bytes);
        if let Some(layers) = &mut self.layers {
            // If it fails, there is no farewell; the close timeout runs.
            let failed = layers.receive(bytes, &mut plain).is_err();
            rest = if failed { &[] } else { &plain };
        }
        self.last_word_in(rest);
    }

    fn last_word_in(&mut self, mut bytes: &[u8]) -> Option<DownCause> {
        self.wire.end();
        loop {
            match self.wire.decode(&mut bytes, &mut self.tx) {
                Ok(Some(Frame::Goodbye(goodbye))) => return Some(DownCause::Goodbye(*goodbye)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}
