//! What of a link survives the process: changes for a store, and what a store has kept.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Client, Event, Intent, State};
use crate::connection::{DownCause, DownReport};
use crate::session::{Change, Dropped, Message, Room, StoreError, StoreKey, Ticket};
use crate::time::Timestamp;
use crate::wire::Wire;

impl<W: Wire> Client<W> {
    /// Takes up what a [`SessionStore`](crate::session::SessionStore) has kept of an earlier life of this link: messages that were
    /// accepted and not settled, and what the protocol remembers; nothing, of a store that is new. Before anything else is done with
    /// the link. From then on [`Client::take_changes`] tells what must survive the process. Limits of the outbox do not hold for what
    /// is taken up.
    ///
    /// # Errors
    /// The entries are not those of such a link, or its protocol is not MQTT, whose sessions alone go on after the process. Nothing
    /// was taken up.
    pub fn restore(&mut self, now: Timestamp, entries: Vec<(StoreKey, Bytes)>) -> Result<(), StoreError> {
        let now = self.tick(now);
        let Some(account) = self.account.as_mut().filter(|_| W::resumes_without_token(&self.config.wire)) else {
            let problem = "a session of this protocol ends with the process; open the link without a store";
            return Err(StoreError::new(problem));
        };
        let mut memory = W::Memory::default();
        let mut messages = Vec::new();
        for (key, value) in entries {
            let problem =
                "an entry of the store does not have the form that this version writes; use another directory";
            let broken = || StoreError::new(problem);
            if key.room == Room::Message {
                let message = Message::restored(&value).ok_or_else(broken)?;
                W::recall_message(&mut memory, Ticket(key.number), &message);
                messages.push((Ticket(key.number), message));
            } else if !W::recall(&mut memory, key, &value) {
                return Err(broken());
            }
        }
        account.gather_changes();
        messages.iter().for_each(|(ticket, _)| account.keep(*ticket));
        messages.sort_by_key(|(ticket, _)| *ticket);
        for (ticket, message) in messages {
            let lifetime = W::lifetime(&self.config.wire, &message);
            self.session.outbox.restore(now, ticket, message, lifetime);
        }
        self.memory = memory;
        self.settle(now);
        Ok(())
    }

    /// What has changed since this was last asked of what must survive the process, if the link was
    /// [restored](Client::restore). The driver hands it to the store before it tells the application that a message was accepted,
    /// and before it writes [`Client::transmit`].
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.hear_changes();
        self.account.as_mut().and_then(|account| account.changes()).map(core::mem::take).unwrap_or_default()
    }

    /// The store did not keep the changes: the link is closed, because what it would say from now on could be forgotten. `newest`
    /// was to be accepted with them; it is handed back.
    pub fn store_failed(&mut self, now: Timestamp, error: StoreError, newest: Option<Ticket>) -> Option<Message> {
        let now = self.tick(now);
        let handed_back = newest.and_then(|ticket| self.session.outbox.take_back(ticket));
        let evidence = match &self.state {
            State::Connected { connection, .. } => connection.evidence(now),
            _ => None,
        };
        self.abandon();
        self.intent = Intent::Closed;
        self.reconnect.close();
        let was_up = evidence.is_some();
        let report = Box::new(DownReport { cause: DownCause::Store(error), evidence });
        self.events.push(Event::Down { report, retry_at: None, was_up, conflict: false });
        self.events.push(Event::Closed { unacknowledged: self.session.outbox.len() });
        drop(self.take_changes());
        self.settle(now);
        handed_back
    }

    /// A message was accepted.
    pub(super) fn note_accepted(&mut self, ticket: Ticket, message: &Message) {
        if self.is_durable() && W::is_durable(&self.config.wire, message) {
            if let Some(account) = &mut self.account {
                account.keep(ticket);
            }
            let key = StoreKey { room: Room::Message, number: ticket.0 };
            self.note(Change::Put { key, value: message.to_stored() });
        }
    }

    /// An accepted message will not be delivered.
    pub(super) fn dropped(&mut self, dropped: Dropped) {
        self.note_gone(dropped.ticket);
        self.events.push(Event::Dropped(dropped));
    }

    fn note_gone(&mut self, ticket: Ticket) {
        if self.account.as_ref().is_some_and(|account| account.may_have(ticket)) {
            for room in [Room::Message, Room::Received] {
                self.note(Change::Remove { key: StoreKey { room, number: ticket.0 } });
            }
        }
    }

    /// Messages up to this one are settled.
    pub(super) fn note_settled(&mut self, through: Ticket) {
        if self.account.as_mut().is_some_and(|account| account.settle(through)) {
            for room in [Room::Message, Room::Received] {
                self.note(Change::RemoveThrough { key: StoreKey { room, number: through.0 } });
            }
        }
    }

    fn note(&mut self, change: Change) {
        // What the wire noted came before.
        self.hear_changes();
        if let Some(changes) = self.account.as_mut().and_then(|account| account.changes()) {
            changes.push(change);
        }
    }

    /// Takes what the wire has noted.
    pub(super) fn hear_changes(&mut self) {
        if let State::Connected { connection, .. } = &mut self.state
            && let Some(changes) = self.account.as_mut().and_then(|account| account.changes())
        {
            connection.take_changes(changes);
        }
    }
}
