//! What a connection says: answers, messages, the last word; and how much of it has left.

use core::mem;
use core::num::NonZeroU32;
use core::time::Duration;

use super::{Connection, DownCause, Phase};
use crate::liveness::Liveness;
use crate::session::{Dropped, Session, Ticket};
use crate::time::Timestamp;
use crate::wire::{Frame, Wire};

/// Messages are handed to the wire while fewer bytes than this wait, so that a beat never waits behind more.
const HIGH_WATER: u64 = 64 << 10;

impl<W: Wire> Connection<W> {
    /// Puts what is due and what waits in the outbox on its way, as far as there is room; while `greeting`, nothing new but
    /// greetings. Drops go to `dropped`. Returns the newest message that is settled because it has left, where the peer
    /// acknowledges nothing.
    pub(crate) fn pump(
        &mut self,
        now: Timestamp,
        session: &mut Session,
        greeting: bool,
        mut dropped: impl FnMut(Dropped),
    ) -> Option<Ticket> {
        if !self.is_established() {
            return None;
        }
        let settled = if session.outbox.is_empty() { None } else { self.settle(session, &mut dropped) };
        // A peer that does not read gets one answer when it reads again, not one for each of its frames.
        if self.tx.len() < HIGH_WATER {
            self.answer(now, session.inbox.received());
        }
        while self.tx.len() < HIGH_WATER {
            if self.wire.encode_rest(&mut self.tx) {
                if self.beat_waits {
                    self.note_beat();
                }
                continue;
            }
            if session.outbox.is_empty() {
                break;
            }
            if let Some(too_large) = session.outbox.refuse_larger_than(self.peer_limit.into()) {
                dropped(too_large);
                continue;
            }
            let Some(origin) = session.outbox.origin_of_next(now, greeting) else { break };
            if !self.wire.takes_message(origin.ticket) {
                break;
            }
            let Some((seq, message)) = session.outbox.next_to_send() else { break };
            self.wire.encode_message(&Frame::Data { seq, message }, origin, &mut self.tx);
        }
        self.note_writes(now);
        // What is refused before it has left leaves nothing to write, after which there would be another look.
        let again = self.tx.is_empty() && !session.outbox.is_empty();
        if again { self.settle(session, &mut dropped).or(settled) } else { settled }
    }

    /// What the peer does not take goes to `dropped`. Returns the newest message that is settled because it has left, if one is.
    fn settle(&mut self, session: &mut Session, dropped: &mut impl FnMut(Dropped)) -> Option<Ticket> {
        while let Some((seq, code)) = self.wire.take_refused() {
            session.outbox.refused(seq, code).into_iter().for_each(&mut *dropped);
        }
        let left = if self.tx.is_empty() { self.wire.left() } else { None };
        left.and_then(|seq| session.outbox.acknowledge(seq).ok().flatten())
    }

    /// The wire was given a beat, or has written what the beat waits for.
    pub(super) fn note_beat(&mut self) {
        self.beat_waits = self.wire.holds_beat();
        if !self.beat_waits {
            self.beat_behind = NonZeroU32::new(self.tx.len() as u32);
        }
    }

    #[inline]
    fn answer(&mut self, now: Timestamp, received: u64) {
        if mem::take(&mut self.echo_due) {
            self.wire.encode(&Frame::Echo { seq: self.echo_seq }, &mut self.tx);
        }
        if self.ack_due && self.is_feedback_due(now) {
            self.ack_due = false;
            self.last_feedback = now;
            if mem::take(&mut self.life_due) {
                self.wire.show_life(&mut self.tx);
            }
            self.wire.encode(&Frame::Ack { seq: received }, &mut self.tx);
        }
    }

    /// One answer for all that came in one read, unless it takes us long to look at it.
    #[inline]
    fn is_feedback_due(&self, now: Timestamp) -> bool {
        if self.life_due || !self.has_unread_bytes() {
            return true;
        }
        let reply_timeout = self.liveness().map_or(Duration::ZERO, Liveness::reply_timeout);
        now.since(self.last_feedback) >= reply_timeout / 4
    }

    /// Tells the peer with the next pump what has arrived, even if nothing new has.
    pub(crate) const fn acknowledge(&mut self) {
        self.ack_due = true;
    }

    /// Whether there are bytes to write that the driver was not told of.
    pub(crate) fn take_transmit(&mut self) -> bool {
        if let Some(layers) = &mut self.layers {
            layers.load(self.tx.chunk(), matches!(self.phase, Phase::Closing { .. }));
            return layers.announce();
        }
        self.tx.take_news()
    }

    /// The next bytes to write.
    pub(crate) fn transmit(&self) -> &[u8] {
        match &self.layers {
            Some(layers) => layers.transmit(),
            None => self.tx.chunk(),
        }
    }

    /// Encodes a frame of the handshake.
    pub(crate) fn say(&mut self, now: Timestamp, frame: &Frame) {
        self.wire.encode(frame, &mut self.tx);
        self.note_writes(now);
    }

    /// Tells the peer with a last frame, if it would understand one, why this is the end. Whether anything of it, or of what
    /// else must not be cut off, waits to leave.
    pub(crate) fn say_last(&mut self, farewell: Option<&Frame>, cause: &DownCause) -> bool {
        if let Some(farewell) = farewell {
            self.wire.encode(farewell, &mut self.tx);
        }
        let said = farewell.is_some() || self.wire.is_closed();
        (said && !self.tx.is_empty()) || cause.leaves_alert(self.transmit())
    }

    /// The peer, which keeps no session, found a message too large: the culprit, as far as that can be told. Without
    /// acknowledgements, what left before counts as settled, and of what has not only a long message can be known to the peer.
    pub(crate) fn take_too_large(&self, session: &mut Session) -> Option<Dropped> {
        if self.wire.keeps_session() {
            return None;
        }
        let at_least = if self.wire.acknowledges() { 0 } else { HIGH_WATER as usize };
        session.outbox.drop_largest_sent(at_least)
    }

    /// The driver reports that the first `count` bytes to write have left.
    pub(crate) fn written(&mut self, now: Timestamp, count: usize) {
        let left = match &mut self.layers {
            Some(layers) => layers.written(count),
            None => count,
        };
        if self.layers.as_ref().is_some_and(|layers| layers.is_none()) {
            self.layers = None;
        }
        let mut taken = 0;
        while left > taken {
            match self.tx.consume(left - taken) {
                0 => break,
                more => taken += more,
            }
        }
        let Phase::Established(liveness) = &mut self.phase else { return };
        if count > 0 {
            liveness.write_progressed(now, self.tx.is_empty());
            if self.beat_waits || self.wire.reads_in_silence() {
                liveness.beat_held(now);
            }
        }
        if let Some(behind) = self.beat_behind {
            self.beat_behind = NonZeroU32::new(behind.get().saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)));
            if self.beat_behind.is_none() {
                liveness.beat_written(now);
            }
        }
    }

    pub(super) fn note_writes(&mut self, now: Timestamp) {
        if let Phase::Established(liveness) = &mut self.phase
            && !self.tx.is_empty()
        {
            liveness.write_pending(now);
        }
    }
}
