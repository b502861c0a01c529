//! What our application handed in and the peer has not acknowledged yet.

mod outcome;

pub use outcome::{DropReason, Dropped, Overflow, SendError};

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::time::Duration;

use super::{Message, QueueLimits, SequenceError};
use crate::time::Timestamp;

/// Names an accepted message. Later messages have higher tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Where a message that leaves comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// `None` for a greeting.
    pub ticket: Option<Ticket>,
    /// How long it has waited since it was accepted.
    pub waited: Duration,
}

#[derive(Debug)]
struct Entry {
    /// `None` for a greeting, which goes before all that has not left, and dies with its connection if it has not left.
    ticket: Option<Ticket>,
    accepted: Timestamp,
    /// After so long it is dropped, if it has not left.
    lifetime: Option<Duration>,
    message: Message,
}

/// Messages accepted and not yet acknowledged. An empty one holds no memory of the heap.
#[derive(Debug)]
pub struct Outbox {
    limits: Arc<QueueLimits>,
    acknowledged: u64,
    next_ticket: u64,
    /// `None` if nothing waits.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The first `numbered` entries have left at least once; entry `i` of them has the number `acknowledged + 1 + i`.
    queue: VecDeque<Entry>,
    bytes: usize,
    numbered: usize,
    /// How many of the numbered entries have left on the current connection.
    sent: usize,
    /// No entry that may be dropped expires before; `None` if none expires.
    earliest: Option<Timestamp>,
}

impl Waiting {
    /// Where the entries begin that have not left and are no greetings.
    fn first_to_drop(&self) -> usize {
        let greetings = self.queue.iter().skip(self.numbered).take_while(|entry| entry.ticket.is_none()).count();
        self.numbered + greetings
    }

    fn find_earliest(&mut self) {
        self.earliest = self.queue.iter().skip(self.first_to_drop()).filter_map(Entry::expires).min();
    }
}

impl Entry {
    fn expires(&self) -> Option<Timestamp> {
        self.lifetime.map(|lifetime| self.accepted.after(lifetime))
    }
}

impl Outbox {
    /// An empty outbox. Many may share their limits.
    #[must_use]
    pub fn new(limits: impl Into<Arc<QueueLimits>>) -> Self {
        Self { limits: limits.into(), acknowledged: 0, next_ticket: 1, waiting: None }
    }

    /// Accepts a message. With [`Overflow::DropOldest`], call [`Outbox::overflow`] before, to hear what makes room.
    ///
    /// # Errors
    /// There is no room, or the message is larger than the whole outbox; it is handed back.
    pub fn push(&mut self, now: Timestamp, message: Message) -> Result<Ticket, SendError> {
        self.push_for(now, message, None)
    }

    /// Accepts a message that is of use for so long only: it is dropped then if it has not left, or before, if the limits say so.
    ///
    /// # Errors
    /// Those of [`Outbox::push`].
    pub fn push_for(
        &mut self,
        now: Timestamp,
        message: Message,
        lifetime: Option<Duration>,
    ) -> Result<Ticket, SendError> {
        if message.len() > self.limits.bytes {
            return Err(SendError::TooLarge { limit: self.limits.bytes, message });
        }
        if !self.has_room(message.len()) {
            return Err(SendError::Full { message, messages: self.len(), bytes: self.bytes() });
        }
        Ok(self.queue(now, message, lifetime))
    }

    fn queue(&mut self, now: Timestamp, message: Message, lifetime: Option<Duration>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let lifetime = [lifetime, self.limits.age].into_iter().flatten().min();
        let waiting = self.waiting.get_or_insert_default();
        waiting.bytes += message.len();
        if let Some(lifetime) = lifetime {
            let expires = now.after(lifetime);
            waiting.earliest = Some(waiting.earliest.map_or(expires, |earliest| earliest.min(expires)));
        }
        waiting.queue.push_back(Entry { ticket: Some(ticket), accepted: now, lifetime, message });
        ticket
    }

    /// Accepts a message that goes before all that has not left yet, on this connection only. Such messages may take as much
    /// room again as the outbox has.
    ///
    /// # Errors
    /// There is no room; it is handed back.
    pub fn greet(&mut self, now: Timestamp, message: Message) -> Result<(), SendError> {
        let (messages, bytes) = (self.limits.messages.saturating_mul(2), self.limits.bytes.saturating_mul(2));
        if self.len() >= messages || self.bytes().saturating_add(message.len()) > bytes {
            return Err(SendError::Full { message, messages: self.len(), bytes: self.bytes() });
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting.bytes += message.len();
        let place = waiting.first_to_drop();
        waiting.queue.insert(place, Entry { ticket: None, accepted: now, lifetime: None, message });
        Ok(())
    }

    /// The greetings of the last connection that have not left are forgotten.
    pub(crate) fn forget_greetings(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        let place = waiting.first_to_drop();
        for greeting in waiting.queue.drain(waiting.numbered..place) {
            waiting.bytes -= greeting.message.len();
        }
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
    }

    /// Takes up a message that a store has kept, behind those that are here.
    pub(crate) fn restore(&mut self, now: Timestamp, ticket: Ticket, message: Message, lifetime: Option<Duration>) {
        self.tickets_from(ticket);
        self.queue(now, message, lifetime);
    }

    /// The newest message, if it has this ticket: it is not accepted after all.
    pub(crate) fn take_back(&mut self, ticket: Ticket) -> Option<Message> {
        let waiting = self.waiting.as_mut()?;
        if waiting.queue.back()?.ticket != Some(ticket) {
            return None;
        }
        let entry = waiting.queue.pop_back()?;
        waiting.bytes -= entry.message.len();
        waiting.numbered = waiting.numbered.min(waiting.queue.len());
        waiting.sent = waiting.sent.min(waiting.queue.len());
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
        Some(entry.message)
    }

    /// Tickets from now on are at least this one.
    pub(crate) fn tickets_from(&mut self, ticket: Ticket) {
        self.next_ticket = self.next_ticket.max(ticket.0);
    }

    /// The ages of messages were counted by a clock that said `then`; from now on one counts that says `now`.
    pub(crate) fn change_clock(&mut self, then: Timestamp, now: Timestamp) {
        for entry in self.waiting.iter_mut().flat_map(|waiting| &mut waiting.queue) {
            entry.accepted = now.before(then.since(entry.accepted));
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.find_earliest();
        }
    }

    /// The length of a message that has left before and is larger than this, if there is one.
    pub(crate) fn numbered_above(&self, limit: u64) -> Option<u64> {
        self.lengths_of_numbered().map(|length| length as u64).find(|length| *length > limit)
    }

    /// Whether a message of `bytes` bytes would be accepted now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.len() < self.limits.messages && self.bytes().saturating_add(bytes) <= self.limits.bytes
    }

    /// With [`Overflow::DropOldest`]: the next message that must go so that one of `bytes` bytes fits. `None` if it
    /// fits, if no message may go, or if dropping all that may go would not be enough.
    pub fn overflow(&mut self, bytes: usize) -> Option<Dropped> {
        if self.limits.overflow != Overflow::DropOldest || self.has_room(bytes) {
            return None;
        }
        // What has left stays, and so do greetings.
        let staying = self.waiting.as_ref()?.first_to_drop();
        let stays = self.waiting.iter().flat_map(|waiting| waiting.queue.iter().take(staying));
        let staying_bytes: usize = stays.map(|entry| entry.message.len()).sum();
        let enough = staying < self.limits.messages && staying_bytes.saturating_add(bytes) <= self.limits.bytes;
        if enough { self.drop_first_unnumbered(DropReason::Overflow) } else { None }
    }

    /// The next message that reached its age limit before it left.
    pub fn expire(&mut self, now: Timestamp) -> Option<Dropped> {
        if self.next_expiry()? > now {
            return None;
        }
        let waiting = self.waiting.as_mut()?;
        let from = waiting.first_to_drop();
        let expired = waiting.queue.iter().skip(from).position(|entry| entry.expires().is_some_and(|at| at <= now));
        match expired {
            Some(place) => self.drop_at(from + place, DropReason::Expired),
            None => {
                // What was to expire has left, or is dropped.
                waiting.find_earliest();
                None
            }
        }
    }

    /// When [`Outbox::expire`] is to be called next: no message reaches its age limit before.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let waiting = self.waiting.as_ref()?;
        waiting.earliest.filter(|_| waiting.first_to_drop() < waiting.queue.len())
    }

    /// If the next message to leave for the first time is larger than the peer accepts, drops it.
    pub fn refuse_larger_than(&mut self, limit: u64) -> Option<Dropped> {
        let waiting = self.waiting.as_ref()?;
        let next = waiting.queue.get(waiting.sent)?;
        if waiting.sent < waiting.numbered || next.ticket.is_none() || next.message.len() as u64 <= limit {
            return None;
        }
        self.drop_first_unnumbered(DropReason::PeerLimit)
    }

    /// The peer, which keeps no session, said that a message is too large: the largest of those that have begun to leave on this
    /// connection is dropped, if it has so many bytes. If any of them is too large, that one is.
    pub(crate) fn drop_largest_sent(&mut self, at_least: usize) -> Option<Dropped> {
        let waiting = self.waiting.as_mut()?;
        let sent = waiting.queue.iter().take(waiting.sent).enumerate();
        let (place, _) = sent
            .filter(|(_, entry)| entry.message.len() >= at_least)
            .max_by_key(|(place, entry)| (entry.message.len(), core::cmp::Reverse(*place)))?;
        let entry = waiting.queue.remove(place)?;
        waiting.bytes -= entry.message.len();
        (waiting.numbered, waiting.sent) = (waiting.numbered - 1, waiting.sent - 1);
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
        Some(Dropped { ticket: entry.ticket?, message: entry.message, reason: DropReason::PeerLimit })
    }

    /// The next message to leave on this connection, with its number.
    pub fn next_to_send(&mut self) -> Option<(u64, Message)> {
        let waiting = self.waiting.as_mut()?;
        let entry = waiting.queue.get(waiting.sent)?;
        waiting.sent += 1;
        waiting.numbered = waiting.numbered.max(waiting.sent);
        Some((self.acknowledged + waiting.sent as u64, entry.message.clone()))
    }

    /// The peer has everything up to `seq`. The newest message that this settles, if any.
    ///
    /// # Errors
    /// `seq` is higher than what has left on this connection. Nothing changed.
    pub fn acknowledge(&mut self, seq: u64) -> Result<Option<Ticket>, SequenceError> {
        let sent = self.waiting.as_ref().map_or(0, |waiting| waiting.sent);
        let highest = self.acknowledged + sent as u64;
        if seq > highest {
            return Err(SequenceError { got: seq, lowest: self.acknowledged, highest });
        }
        let settled = seq.saturating_sub(self.acknowledged) as usize;
        Ok(self.settle(settled))
    }

    /// The ticket of the message with this number, which has left and is not settled.
    pub(crate) fn ticket_of(&self, seq: u64) -> Option<Ticket> {
        self.entry(seq)?.ticket
    }

    /// The peer refused the message with this number. It stays until it is acknowledged with those before it.
    pub(crate) fn refused(&self, seq: u64, code: u16) -> Option<Dropped> {
        let entry = self.entry(seq)?;
        let message = entry.message.clone();
        Some(Dropped { ticket: entry.ticket?, message, reason: DropReason::Refused { code } })
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let place = seq.checked_sub(self.acknowledged + 1)?;
        self.waiting.as_ref()?.queue.get(usize::try_from(place).ok()?)
    }

    /// Where the next message to leave on this connection comes from, if there is one; while `held`, only one that has left before,
    /// or a greeting.
    pub(crate) fn origin_of_next(&self, now: Timestamp, held: bool) -> Option<Origin> {
        let waiting = self.waiting.as_ref()?;
        let entry = waiting.queue.get(waiting.sent)?;
        if held && waiting.sent >= waiting.numbered && entry.ticket.is_some() {
            return None;
        }
        Some(Origin { ticket: entry.ticket, waited: now.since(entry.accepted) })
    }

    /// A new connection of the same session: the peer has everything up to `received`, the rest leaves again. The
    /// newest message that this settles, if any.
    ///
    /// # Errors
    /// `received` does not fit to this session. Nothing changed; only [`Outbox::restart`] helps.
    pub fn resume(&mut self, received: u64) -> Result<Option<Ticket>, SequenceError> {
        let highest = self.acknowledged + self.numbered() as u64;
        if received < self.acknowledged || received > highest {
            return Err(SequenceError { got: received, lowest: self.acknowledged, highest });
        }
        self.forget_greetings();
        let settled = self.settle((received - self.acknowledged) as usize);
        if let Some(waiting) = &mut self.waiting {
            waiting.sent = 0;
        }
        Ok(settled)
    }

    /// A new session: numbers start from 1 again, and everything leaves again. Returns how many messages had left
    /// before and may therefore arrive twice.
    pub fn restart(&mut self) -> usize {
        self.forget_greetings();
        self.acknowledged = 0;
        let Some(waiting) = &mut self.waiting else { return 0 };
        let in_doubt = waiting.queue.iter().take(waiting.numbered).filter(|entry| entry.ticket.is_some()).count();
        waiting.queue.retain(|entry| entry.ticket.is_some());
        waiting.bytes = waiting.queue.iter().map(|entry| entry.message.len()).sum();
        (waiting.numbered, waiting.sent) = (0, 0);
        waiting.find_earliest();
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
        in_doubt
    }

    /// How many messages wait for their acknowledgement.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.queue.len())
    }

    /// Whether everything was acknowledged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }

    /// Everything that was not acknowledged, oldest first; the outbox is empty then.
    pub fn take_all(&mut self) -> impl Iterator<Item = (Ticket, Message)> + use<> {
        self.acknowledged += self.numbered() as u64;
        let waiting = self.waiting.take().unwrap_or_default();
        waiting.queue.into_iter().filter_map(|entry| Some((entry.ticket?, entry.message)))
    }

    fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    fn numbered(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.numbered)
    }

    fn lengths_of_numbered(&self) -> impl Iterator<Item = usize> {
        self.waiting
            .iter()
            .flat_map(|waiting| waiting.queue.iter().take(waiting.numbered))
            .map(|entry| entry.message.len())
    }

    fn settle(&mut self, count: usize) -> Option<Ticket> {
        let waiting = self.waiting.as_mut()?;
        let mut newest = None;
        for entry in waiting.queue.drain(..count) {
            waiting.bytes -= entry.message.len();
            newest = entry.ticket.or(newest);
        }
        self.acknowledged += count as u64;
        waiting.numbered -= count;
        waiting.sent = waiting.sent.saturating_sub(count);
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
        newest
    }

    fn drop_first_unnumbered(&mut self, reason: DropReason) -> Option<Dropped> {
        let place = self.waiting.as_ref()?.first_to_drop();
        self.drop_at(place, reason)
    }

    fn drop_at(&mut self, place: usize, reason: DropReason) -> Option<Dropped> {
        let waiting = self.waiting.as_mut()?;
        let entry = waiting.queue.remove(place)?;
        waiting.bytes -= entry.message.len();
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
        Some(Dropped { ticket: entry.ticket?, message: entry.message, reason })
    }
}

#[cfg(test)]
mod tests;
