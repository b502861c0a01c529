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
    /// `None` if nobody wants them.
    changes: Option<Box<Changes>>,
}

/// For a store, where there is one.
#[derive(Debug, Default)]
struct Changes {
    list: Vec<Change>,
    /// The oldest and the newest message that the store may have.
    stored: Option<(Ticket, Ticket)>,
}

impl Account {
    /// `None` if nobody asks for one.
    pub(super) fn of<W: Wire>(config: &ClientConfig<W>) -> Option<Box<Self>> {
        (W::done_with_messages(&config.wire) != Done::Unasked).then(Box::default)
    }

    /// Changes are gathered from now on.
    pub(super) fn gather_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// Whether anybody wants changes.
    pub(super) const fn is_durable(&self) -> bool {
        self.changes.is_some()
    }

    /// Where they are gathered.
    pub(super) fn changes(&mut self) -> Option<&mut Vec<Change>> {
        self.changes.as_mut().map(|changes| &mut changes.list)
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changes.as_ref().is_some_and(|changes| !changes.list.is_empty())
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

    /// The store is to have this message, if there is one.
    pub(super) fn keep(&mut self, ticket: Ticket) {
        if let Some(changes) = &mut self.changes {
            let (oldest, newest) = changes.stored.unwrap_or((ticket, ticket));
            changes.stored = Some((oldest.min(ticket), newest.max(ticket)));
        }
    }

    /// Whether a store may have this message.
    pub(super) fn may_have(&self, ticket: Ticket) -> bool {
        let stored = self.changes.as_ref().and_then(|changes| changes.stored);
        stored.is_some_and(|(oldest, newest)| oldest <= ticket && ticket <= newest)
    }

    /// Messages up to this one are settled. Whether a store may have one of them.
    pub(super) fn settle(&mut self, through: Ticket) -> bool {
        let Some(changes) = &mut self.changes else { return false };
        let Some((oldest, newest)) = changes.stored.filter(|(oldest, _)| *oldest <= through) else { return false };
        changes.stored = (newest > through).then_some((oldest.max(Ticket(through.0 + 1)), newest));
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
