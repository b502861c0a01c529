//! How connections and attempts of a client end, and what follows.

use alloc::boxed::Box;

use super::{Client, Event, Intent, State, Unauthorized};
use crate::connection::{DownCause, DownReport, Failure};
use crate::reconnect::{GiveUpCause, ReconnectAction, Retry};
use crate::time::Timestamp;
use crate::wire::{Frame, Reason, Wire};

impl<W: Wire> Client<W> {
    /// Ends the connection for a cause that the peer should hear, if it is not the one who said it.
    pub(super) fn part(&mut self, now: Timestamp, cause: DownCause) {
        self.greeting = None;
        if matches!(&cause, DownCause::Goodbye(goodbye) if goodbye.reason == Reason::TooLarge)
            && let State::Connected { connection, .. } = &self.state
            && let Some(dropped) = connection.take_too_large(&mut self.session)
        {
            // It would be sent again on every connection, and end it.
            self.dropped(dropped);
        }
        let State::Connected { connection, ending } = &mut self.state else { return self.lose(now, cause) };
        let farewell = cause.farewell().map(|goodbye| Frame::Goodbye(Box::new(goodbye)));
        if !connection.say_last(farewell.as_ref(), &cause) {
            return self.lose(now, cause);
        }
        *ending = Some(Box::new(DownReport { cause, evidence: connection.evidence(now) }));
        connection.close(now, self.config.close_timeout);
    }

    /// The goodbye is said and heard, or will not be.
    pub(super) fn finish(&mut self, now: Timestamp) {
        let ending = match &mut self.state {
            State::Connected { ending, .. } => ending.take(),
            _ => None,
        };
        match ending {
            Some(report) if self.intent != Intent::Closed => self.go_down(now, report),
            _ => {
                self.abandon();
                self.events.push(Event::Closed { unacknowledged: self.session.outbox.len() });
            }
        }
    }

    /// The attempt or connection is over, whatever the peer may think.
    pub(super) fn lose(&mut self, now: Timestamp, cause: DownCause) {
        let evidence = match &self.state {
            State::Connected { connection, .. } => connection.evidence(now),
            _ => None,
        };
        self.go_down(now, Box::new(DownReport { cause, evidence }));
    }

    pub(super) fn go_down(&mut self, now: Timestamp, report: Box<DownReport>) {
        self.abandon();
        let was_up = report.evidence.is_some();
        if was_up {
            self.down_since = now;
        }
        let retry = self.retry(now, &report.cause);
        self.reconnect.lost(now, retry);
        let (mut retry_at, mut gave_up) = (None, None);
        while let Some(action) = self.reconnect.poll_action() {
            match action {
                ReconnectAction::ScheduleReconnect { at, .. } => retry_at = Some(at),
                ReconnectAction::GiveUp { cause } => gave_up = Some(cause),
                ReconnectAction::Connect { .. } => {}
            }
        }
        self.events.push(Event::Down { report, retry_at, was_up, conflict: self.reconnect.in_conflict() });
        if let Some(cause) = gave_up {
            self.give_up(cause);
        }
    }

    pub(super) fn give_up(&mut self, cause: GiveUpCause) {
        self.intent = Intent::Closed;
        self.events.push(Event::GaveUp { cause, unacknowledged: self.session.outbox.len() });
    }

    /// Refused credentials get one chance with fresh ones, if a provider can give them.
    pub(super) fn retry(&mut self, now: Timestamp, cause: &DownCause) -> Retry {
        if self.reconnect.is_stable(now) {
            self.refreshed = None;
        }
        let unauthorized = match cause {
            DownCause::Refused(goodbye) if goodbye.reason == Reason::Unauthorized => Unauthorized::Outside,
            DownCause::Goodbye(goodbye) if goodbye.reason == Reason::Unauthorized => Unauthorized::Inside,
            DownCause::Network(Failure::Eof | Failure::Reset) if W::replaces_without_a_word(&self.config.wire) => {
                return Retry::Unexplained;
            }
            _ => return cause.retry(),
        };
        if self.config.asks_for_credentials() && self.refreshed.is_none() {
            self.refreshed = Some(unauthorized);
            return Retry::RetryNow;
        }
        cause.retry()
    }

    /// Leaves the current attempt or connection without a word.
    pub(super) fn abandon(&mut self) {
        if !self.is_untold() && !matches!(self.state, State::Down) {
            self.disconnect = self.epoch;
        }
        self.hear_changes();
        if let State::Connected { connection, .. } = &mut self.state {
            self.memory = connection.remember();
        }
        self.state = State::Down;
        self.session.outbox.forget_greetings();
        self.greeting = None;
        self.transmit = false;
        self.rtt_is_new = false;
    }
}
