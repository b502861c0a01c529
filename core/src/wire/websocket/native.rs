//! Between two keepbeats: each binary message holds whole frames of the native protocol.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Outgoing;
use super::upgrade::Offer;
use crate::wire::beat::{Beat, Front};
use crate::wire::{Frame, Tx, Wire as _, WireError};

/// The native protocol inside a WebSocket.
pub(super) struct Native {
    beat: Beat,
    /// The frames of a message that were not looked at yet.
    rest: Bytes,
    /// A server's: what the client asked for, until the application has seen it.
    pub(super) offer: Option<Box<Offer>>,
    last_beat: u32,
    owes_echo: bool,
}

impl Native {
    pub(super) const fn new(beat: Beat, offer: Option<Box<Offer>>) -> Self {
        Self { beat, rest: Bytes::new(), offer, last_beat: 0, owes_echo: false }
    }

    /// The longest message in which a frame with a body of this limit comes.
    pub(super) const fn room_for(limit: usize) -> usize {
        limit.saturating_add(Front::LONGEST)
    }

    pub(super) const fn established(&mut self) {
        self.beat.establish();
    }

    pub(super) const fn is_established(&self) -> bool {
        self.beat.is_established()
    }

    pub(super) fn take(&mut self, frames: Bytes) {
        self.rest = frames;
    }

    /// The next frame of the message that came last.
    #[inline]
    pub(super) fn next_frame(&mut self) -> Option<Result<Frame, WireError>> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.beat.decode_whole(&mut self.rest);
        if let Ok(Frame::Beat { seq }) = frame {
            (self.last_beat, self.owes_echo) = (seq, true);
        }
        Some(frame)
    }

    /// The newest beat that came: a ping is answered with it, too.
    pub(super) const fn last_beat(&self) -> u32 {
        self.last_beat
    }

    pub(super) const fn owes_echo(&self) -> bool {
        self.owes_echo
    }

    #[inline]
    pub(super) fn say(&mut self, frame: &Frame, outgoing: &mut Outgoing, tx: &mut Tx) {
        if let Frame::Echo { .. } = frame {
            self.owes_echo = false;
        }
        match Front::of(frame) {
            Some((front, message)) => outgoing.binary(front.as_slice(), message, tx),
            None => {
                // A frame of the handshake: rare, and small.
                let mut whole = Tx::default();
                self.beat.encode(frame, &mut whole);
                outgoing.binary(whole.chunk(), &Bytes::new(), tx);
            }
        }
    }
}
