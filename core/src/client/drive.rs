//! What the driver of a client does: it hands over what it saw, and asks what to do.

use super::{Action, Client, Epoch, Input, State};
use crate::connection::DownCause;
use crate::time::{Deadline, Timestamp};
use crate::wire::Wire;

impl<W: Wire> Client<W> {
    /// Takes what the driver saw.
    pub fn handle_input(&mut self, now: Timestamp, input: Input<'_>) {
        let now = self.tick(now);
        match (input, &self.state) {
            (Input::Received { epoch, bytes }, State::Connected { ending: None, .. }) if epoch == self.epoch => {
                self.receive(now, bytes);
            }
            (input, _) => self.handle_other_input(now, input),
        }
    }

    #[inline(never)]
    fn handle_other_input(&mut self, now: Timestamp, input: Input<'_>) {
        let (Input::Credentials { epoch, .. }
        | Input::CredentialsFailed { epoch }
        | Input::Opened { epoch }
        | Input::OpenFailed { epoch, .. }
        | Input::Received { epoch, .. }
        | Input::Written { epoch, .. }
        | Input::Ended { epoch, .. }) = input;
        if epoch != self.epoch || matches!(self.state, State::Down) {
            self.stale_inputs = self.stale_inputs.saturating_add(1);
            return;
        }
        match (input, &mut self.state) {
            (Input::Credentials { credentials, .. }, State::Credentials { .. }) => {
                match W::takes_credentials(&self.config.wire, &credentials) {
                    true => self.connect(now, credentials),
                    false => self.lose(now, DownCause::CredentialsFailed),
                }
            }
            (Input::CredentialsFailed { .. }, State::Credentials { .. }) => {
                self.lose(now, DownCause::CredentialsFailed);
            }
            (Input::Opened { .. }, State::Connecting { credentials, .. }) => {
                let credentials = core::mem::take(&mut **credentials);
                self.say_hello(now, credentials);
            }
            (Input::OpenFailed { failure, .. }, State::Connecting { .. }) => {
                self.lose(now, DownCause::ConnectFailed(failure));
            }
            (Input::Written { count, .. }, State::Connected { connection, .. }) => connection.written(now, count),
            (Input::Received { bytes, .. }, State::Connected { connection, ending: Some(_) }) => {
                connection.received_while_closing(bytes);
            }
            (Input::Ended { .. }, State::Connected { ending: Some(_), .. }) => self.finish(now),
            (Input::Ended { failure, .. }, State::Connected { .. }) => {
                self.be_cut_off(now, DownCause::Network(failure));
            }
            // An answer that came twice does not matter.
            _ => {}
        }
        self.settle(now);
    }

    /// Does what is due. Early, late or repeated calls are safe. Hand over everything that can be read before.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.tick(now);
        if self.due.is_none_or(|due| now < due.at) {
            return;
        }
        while let Some(dropped) = self.session.outbox.expire(now) {
            self.dropped(dropped);
        }
        match &mut self.state {
            State::Credentials { until, .. } if *until <= now => self.lose(now, DownCause::CredentialsTimeout),
            State::Connecting { until, .. } if *until <= now => self.lose(now, DownCause::ConnectTimeout),
            State::Connected { ending: Some(_), connection } if connection.expired(now) => self.finish(now),
            State::Connected { ending: None, connection } if connection.expired(now) => {
                let cause = connection.handshake_timeout();
                self.lose(now, cause);
            }
            State::Connected { connection, .. } => connection.handle_timeout(now),
            _ => {}
        }
        if self.greeting.is_some_and(|until| until <= now) {
            self.part(now, DownCause::GreetingTimeout);
        }
        self.reconnect.handle_timeout(now);
        self.settle(now);
    }

    /// The next thing to do, until there is none.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        match core::mem::replace(&mut self.disconnect, Epoch(0)) {
            Epoch(0) => {}
            epoch => return Some(Action::Disconnect { epoch }),
        }
        match &mut self.state {
            State::Credentials { untold: untold @ true, .. } => {
                *untold = false;
                return Some(Action::FetchCredentials { epoch: self.epoch, refresh: self.refreshed.is_some() });
            }
            State::Connecting { untold: untold @ true, .. } => {
                *untold = false;
                return Some(Action::Connect { epoch: self.epoch });
            }
            _ => {}
        }
        core::mem::take(&mut self.transmit).then_some(Action::Transmit { epoch: self.epoch })
    }

    /// When [`Client::handle_timeout`] has something to do, and what. `None` if only an input can change anything.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Deadline> {
        self.due
    }

    /// The next bytes to write to the current connection; empty if there are none. Report what the operating system took
    /// as [`Input::Written`]; more may follow then.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        match &self.state {
            State::Connected { connection, .. } => connection.transmit(),
            _ => &[],
        }
    }

    /// Whether the driver should read. `false` while the link is up and the inbox is full.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        match &self.state {
            State::Connected { ending: Some(_), .. } => true,
            State::Connected { connection, .. } => !connection.is_established() || !self.session.inbox.is_full(),
            _ => false,
        }
    }
}
