//! With which of the peer's messages the application is done, and what of the link must survive the process.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::ClientConfig;
use crate::session::{Change, Ticket};
use crate::wire::{Done, Wire};

/// Counts the peer's messages over all sessions, and gathers changes for a store.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Those that came, those that the application took, and those with which it is done.
    came: u64,
    taken: u64,
    done: u64,
    /// Those that came in earlier sessions.
    earlier: u64,
    /// Whether anybody wants the changes.
    pub(super) durable: bool,
    /// The oldest and the newest message that the store may have.
    stored: Option<(Ticket, Ticket)>,
    pub(super) changes: Vec<Change>,
}

impl Account {
    /// `None` if nobody asks for one.
    pub(super) fn of<W: Wire>(config: &ClientConfig<W>) -> Option<Box<Self>> {
        (W::done_with_messages(&config.wire) != Done::Unasked).then(Box::default)
    }

    pub(super) const fn came(&mut self) {
        self.came += 1;
    }

    /// The application takes the next message.
    pub(super) const fn take(&mut self) {
        self.taken += 1;
    }

    /// The application is done with the oldest message that it has taken and not been done with. `false` if there is none.
    pub(super) const fn finish(&mut self) -> bool {
        let has_one = self.done < self.taken;
        self.done += has_one as u64;
        has_one
    }

    /// The store is to have this message.
    pub(super) fn keep(&mut self, ticket: Ticket) {
        let (oldest, newest) = self.stored.unwrap_or((ticket, ticket));
        self.stored = Some((oldest.min(ticket), newest.max(ticket)));
    }

    /// Whether the store may have this message.
    pub(super) fn may_have(&self, ticket: Ticket) -> bool {
        self.durable && self.stored.is_some_and(|(oldest, newest)| oldest <= ticket && ticket <= newest)
    }

    /// Messages up to this one are settled. Whether the store may have one of them.
    pub(super) fn settle(&mut self, through: Ticket) -> bool {
        let Some((oldest, newest)) = self.stored.filter(|(oldest, _)| self.durable && *oldest <= through) else {
            return false;
        };
        self.stored = (newest > through).then_some((oldest.max(Ticket(through.0 + 1)), newest));
        true
    }

    /// A new session begins: its messages count from 1.
    pub(super) const fn restart(&mut self) {
        self.earlier = self.came;
    }

    /// The newest message of this session with which the application is done, with all before it; 0 for none.
    pub(super) const fn done(&self) -> u64 {
        self.done.saturating_sub(self.earlier)
    }
}
