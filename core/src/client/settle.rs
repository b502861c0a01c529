//! What follows every change: the lower machines are heard, attempts begin, and the next deadline is found.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::config::CredentialsSource;
use super::{Client, Epoch, Event, Intent, State};
use crate::connection::{DownCause, Verdict};
use crate::reconnect::ReconnectAction;
use crate::time::{Deadline, DeadlineCause, Timestamp};
use crate::wire::{Credentials, Wire};

impl<W: Wire> Client<W> {
    /// Hands on what the lower machines want, and finds the next deadline. The last step of every change.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.hear_verdicts(now);
        if let Intent::Draining { until } = self.intent
            && (self.session.outbox.is_empty() || until <= now)
        {
            return self.close(now);
        }
        while let Some(action) = self.reconnect.poll_action() {
            match action {
                ReconnectAction::Connect { attempt } => self.attempt(now, attempt),
                ReconnectAction::GiveUp { cause } => self.give_up(cause),
                // A hint moved the attempt; `state` tells to when.
                ReconnectAction::ScheduleReconnect { .. } => {}
            }
        }
        if let State::Connected { connection, .. } = &mut self.state {
            let mut drops = Vec::new();
            let greeting = self.greeting.is_some();
            let settled = connection.pump(now, &mut self.session, greeting, |dropped| drops.push(dropped));
            self.transmit |= connection.take_transmit();
            if !drops.is_empty() {
                drops.into_iter().for_each(|dropped| self.dropped(dropped));
            }
            if let Some(through) = settled {
                self.acknowledged(through);
            }
            if matches!(self.intent, Intent::Draining { .. }) && self.session.outbox.is_empty() {
                // What was last has just left, or was dropped.
                return self.close(now);
            }
        }
        self.due = self.next_deadline();
    }

    fn hear_verdicts(&mut self, now: Timestamp) {
        while let State::Connected { connection, .. } = &mut self.state
            && let Some(verdict) = connection.poll_verdict(now)
        {
            match verdict {
                Verdict::Suspect { silent_for } => self.events.push(Event::Suspect { silent_for }),
                Verdict::Recovered => self.events.push(Event::Recovered),
                Verdict::Measured => self.rtt_is_new = true,
                Verdict::Dead(cause) => self.lose(now, DownCause::Dead(cause)),
            }
        }
    }

    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let state = match &self.state {
            State::Down => None,
            State::Credentials { until, .. } => Some(Deadline::new(*until, DeadlineCause::Credentials)),
            State::Connecting { until, .. } => Some(Deadline::new(*until, DeadlineCause::Connect)),
            State::Connected { connection, .. } => connection.poll_timeout(),
        };
        let mut due = Deadline::earlier(state, self.reconnect.poll_timeout());
        if let Some(at) = self.session.outbox.next_expiry() {
            due = Deadline::earlier(due, Some(Deadline::new(at, DeadlineCause::MessageAge)));
        }
        if let Some(until) = self.greeting {
            due = Deadline::earlier(due, Some(Deadline::new(until, DeadlineCause::Greeting)));
        }
        if let Intent::Draining { until } = self.intent {
            due = Deadline::earlier(due, Some(Deadline::new(until, DeadlineCause::Drain)));
        }
        due
    }

    fn attempt(&mut self, now: Timestamp, attempt: u32) {
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
        self.events.push(Event::Connecting { attempt });
        match &self.config.credentials {
            CredentialsSource::Fixed(credentials) => self.connect(now, credentials.clone()),
            CredentialsSource::Provider => {
                self.state = State::Credentials { until: now.after(self.config.credentials_timeout), untold: true };
            }
        }
    }

    pub(super) fn connect(&mut self, now: Timestamp, credentials: Credentials) {
        let until = now.after(self.config.connect_timeout);
        self.state = State::Connecting { credentials: Box::new(credentials), until, untold: true };
    }
}
