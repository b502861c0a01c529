//! Between two keepbeats: each binary message holds whole frames of the native protocol.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Outgoing;
use super::upgrade::Offer;
use crate::wire::beat::{Beat, BeatConfig, Front, brief, usual};
use crate::wire::{Frame, Tx, Wire as _, WireError};

/// The native protocol inside a WebSocket. Frames are never cut, so all that is kept of one is its number.
pub(super) struct Native {
    established: bool,
    owes_echo: bool,
    last_beat: u32,
    kept: Option<Box<Kept>>,
}

/// What is mostly not there.
#[derive(Default)]
struct Kept {
    /// The frames of a message that were not looked at yet. Mostly a message is one frame.
    rest: Bytes,
    /// A server's: what the client asked for, until it is let in.
    offer: Option<Box<Offer>>,
}

impl Native {
    pub(super) fn new(offer: Option<Box<Offer>>) -> Self {
        let kept = offer.map(|offer| Box::new(Kept { offer: Some(offer), ..Kept::default() }));
        Self { established: false, owes_echo: false, last_beat: 0, kept }
    }

    /// The longest message in which a frame with a body of this limit comes.
    pub(super) const fn room_for(limit: usize) -> usize {
        limit.saturating_add(Front::LONGEST)
    }

    pub(super) fn establish(&mut self) {
        self.established = true;
        self.take_offer();
    }

    /// A server's: what the client asked for, once, until it is let in.
    pub(super) fn take_offer(&mut self) -> Option<Box<Offer>> {
        let offer = self.kept.as_mut()?.offer.take();
        self.kept.take_if(|kept| kept.rest.is_empty());
        offer
    }

    pub(super) const fn is_established(&self) -> bool {
        self.established
    }

    /// The next frame of the message that came last.
    #[inline]
    pub(super) fn next_of_rest(&mut self, limits: &BeatConfig) -> Option<Result<Frame, WireError>> {
        if self.kept.is_some() { self.next_of_kept(limits) } else { None }
    }

    #[inline(never)]
    fn next_of_kept(&mut self, limits: &BeatConfig) -> Option<Result<Frame, WireError>> {
        let mut frames = core::mem::take(&mut self.kept.as_mut()?.rest);
        if frames.is_empty() {
            return None;
        }
        // However much memory is behind them: that was a message of several frames.
        let frame = self.take(&mut frames, usize::MAX, limits);
        self.keep(frames);
        Some(frame)
    }

    fn keep(&mut self, rest: Bytes) {
        if rest.is_empty() {
            self.kept.take_if(|kept| kept.offer.is_none());
        } else {
            self.kept.get_or_insert_default().rest = rest;
        }
    }

    /// The first frame of a message. The others are kept.
    #[inline]
    pub(super) fn first_of(&mut self, mut frames: Bytes, limits: &BeatConfig) -> Result<Frame, WireError> {
        if frames.is_empty() {
            return Err(WireError::Malformed { frame: "message of frames", problem: "it is empty" });
        }
        let whole = frames.len();
        let frame = self.take(&mut frames, whole, limits);
        if !frames.is_empty() {
            self.keep(frames);
        }
        frame
    }

    #[inline]
    fn take(&mut self, frames: &mut Bytes, whole: usize, limits: &BeatConfig) -> Result<Frame, WireError> {
        let mut beat = Beat::new(limits);
        if self.established {
            beat.establish();
        }
        let frame = beat.decode_whole(frames, whole);
        if let Ok(Frame::Beat { seq }) = frame {
            (self.last_beat, self.owes_echo) = (seq, true);
        }
        frame
    }

    /// The frame that a short message is, if it is a usual one, and if it is its turn: then it takes no memory of the heap.
    #[inline]
    pub(super) fn usual(&mut self, message: &[u8]) -> Option<Frame> {
        let (frame, []) = usual(message)? else { return None };
        if let Frame::Beat { seq } = frame {
            (self.last_beat, self.owes_echo) = (seq, true);
        }
        Some(frame)
    }

    /// Whether nothing of the message that came last is left, and anything may come.
    #[inline]
    pub(super) const fn is_at_rest(&self) -> bool {
        self.established && self.kept.is_none()
    }

    /// The newest beat that came: a ping is answered with it, too.
    pub(super) const fn last_beat(&self) -> u32 {
        self.last_beat
    }

    pub(super) const fn owes_echo(&self) -> bool {
        self.owes_echo
    }

    #[inline]
    pub(super) fn say(&mut self, frame: &Frame, limits: &BeatConfig, outgoing: &mut Outgoing, tx: &mut Tx) {
        if let Frame::Echo { .. } = frame {
            self.owes_echo = false;
        }
        if let Some((bytes, count)) = brief(frame) {
            return outgoing.short_binary(bytes, count, tx);
        }
        match Front::of(frame) {
            Some((front, message)) => outgoing.binary(front.as_slice(), message, tx),
            None => {
                // A frame of the handshake, or a farewell: rare, and small.
                let mut whole = Tx::default();
                Beat::new(limits).encode(frame, &mut whole);
                outgoing.binary(whole.chunk(), &Bytes::new(), tx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Whether the message that is in these frames, behind others or before them, holds memory of its own.
    fn is_copied(frames: Bytes) -> bool {
        let mut native = Native::new(None);
        native.establish();
        let limits = BeatConfig::default();
        let mut frame = native.first_of(frames, &limits).unwrap();
        while !matches!(frame, Frame::Data { .. }) {
            frame = native.next_of_rest(&limits).unwrap().unwrap();
        }
        let Frame::Data { message, .. } = frame else { return false };
        // Bytes that are shared cannot be changed.
        message.into_payload().try_into_mut().is_ok()
    }

    #[test]
    fn a_small_message_does_not_keep_a_large_one_in_memory() {
        let data = [0x20, 2, 1, 7];
        let unknown = [&[0x7F, 0xE8, 0x07][..], &vec![0; 1000]].concat();
        let keep = Bytes::from([&data[..], &unknown].concat());
        assert!(is_copied(keep.clone()), "in front");
        drop(keep);
        let keep = Bytes::from([&unknown[..], &data].concat());
        assert!(is_copied(keep.clone()), "behind");
        drop(keep);
        let large = Bytes::from([&[0x20, 0xE9, 0x07, 1][..], &vec![7; 1000]].concat());
        assert!(!is_copied(large.clone()), "most of it is the message");
        drop(large);
    }
}
