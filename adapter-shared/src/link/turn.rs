//! The driver's side of a link: what it does is the same on every runtime, how it waits is not.

use std::cell::RefCell;
use std::sync::{Arc, MutexGuard};
use std::task::Context;

use keepbeat_core::client::{Action, Epoch, Input};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::Credentials;

use super::Target;
use super::attempt::Outcome;
use super::shared::{Shared, State};
use crate::clock::Clock;
use crate::pump;
use crate::store;
use crate::stream::Stream;

/// Held by the task that drives a link. Dropping it ends the link for its application.
pub struct LinkDriver {
    shared: Arc<Shared>,
}

/// One turn: input, then timers, then output. Holds the link's lock; begin it anew each time.
pub(super) struct Turn<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    now: Timestamp,
    /// Messages not acknowledged before.
    waiting: usize,
    asked: bool,
    resumed: bool,
    /// Whether anything happened at all.
    busy: bool,
}

/// What follows a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait until woken.
    Wait,
    /// The link is closed and its application has dropped it: the driver's work is done for good.
    Done,
}

impl LinkDriver {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Begins a turn: reads the clock, once, and has the application wake `cx` from now on.
    pub(super) fn begin(&self, cx: &Context<'_>) -> Turn<'_> {
        let mut state = self.shared.lock();
        let now = Clock::now();
        match &mut state.driver {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let asked = std::mem::take(&mut state.asked);
        let resumed = std::mem::take(&mut state.resumed);
        let waiting = state.client.unacknowledged();
        Turn { shared: &self.shared, state, now, waiting, asked, resumed, busy: asked }
    }
}

impl Drop for LinkDriver {
    fn drop(&mut self) {
        self.shared.lock().orphaned = true;
        self.shared.notify_all();
    }
}

impl Turn<'_> {
    /// The moment of this turn.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the machine was suspended since the last turn: timers that were set before are late by as much.
    pub(super) const fn resumed(&self) -> bool {
        self.resumed
    }

    /// Reports how an attempt went. Returns the stream if there is one now.
    pub(super) fn on_attempt<S>(&mut self, epoch: Epoch, outcome: Outcome<S>) -> Option<(Epoch, S)> {
        self.busy = true;
        let mut opened = None;
        let input = match outcome {
            Outcome::Credentials(Some(credentials)) => {
                Input::Credentials { epoch, credentials: Credentials::new(credentials) }
            }
            Outcome::Credentials(None) => Input::CredentialsFailed { epoch },
            Outcome::Connected(stream) => {
                opened = Some((epoch, stream));
                Input::Opened { epoch }
            }
            Outcome::NotConnected(failure) => Input::OpenFailed { epoch, failure },
        };
        self.state.client.handle_input(self.now, input);
        opened
    }

    /// Rule 2: reads while there is something to read and the link wants it.
    pub(super) fn on_readable(&mut self, cx: &mut Context<'_>, stream: &mut Option<(Epoch, impl Stream)>) {
        let Some((epoch, stream)) = stream else { return };
        let State { client, traffic, .. } = &mut *self.state;
        let moved = pump::read_link(client, traffic, self.now, *epoch, |buffer| stream.read(cx, buffer));
        self.busy |= moved.any;
        if moved.more {
            cx.waker().wake_by_ref();
        }
    }

    /// Rules 2 and 3: if a deadline has come, reads what the operating system has and the runtime may not know of, writes
    /// what it takes, and does what is due. The clock decides, not the alarm.
    pub(super) fn on_due(&mut self, cx: &mut Context<'_>, stream: &mut Option<(Epoch, impl Stream)>) {
        let State { client, traffic, .. } = &mut *self.state;
        if client.poll_timeout().is_none_or(|due| due.at > self.now) {
            return;
        }
        self.busy = true;
        if let Some((epoch, stream)) = stream {
            pump::read_link(client, traffic, self.now, *epoch, |buffer| stream.read_now(buffer));
        }
        self.on_writable(cx, stream);
        self.state.client.handle_timeout(self.now);
    }

    /// Rule 4: what the link wants done, until it wants nothing.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        let action = self.state.client.poll_action()?;
        self.busy = true;
        Some(action)
    }

    /// The next of the servers, to connect to. The link is told its name, if there are several.
    pub(super) fn next_server(&mut self, target: &Target) -> String {
        let State { client, attempts, .. } = &mut *self.state;
        let server = target.server(*attempts);
        if target.has_several()
            && let Ok(name) = server.parse()
        {
            client.set_server(name);
        }
        let hop = target.next_hop(*attempts).to_owned();
        *attempts = attempts.wrapping_add(1);
        hop
    }

    /// Rule 5: writes what waits, as far as the socket takes it. Returns whether there may be actions again.
    pub(super) fn on_writable(&mut self, cx: &mut Context<'_>, stream: &mut Option<(Epoch, impl Stream)>) -> bool {
        let State { client, keeper, traffic, .. } = &mut *self.state;
        let Some((epoch, stream)) = stream else {
            return !store::keep(keeper, client, self.now);
        };
        let stream = RefCell::new(stream);
        let moved = pump::write_link(
            client,
            keeper,
            traffic,
            self.now,
            *epoch,
            |bytes| stream.borrow_mut().write(cx, bytes),
            |buffer| stream.borrow_mut().read_now(buffer),
        );
        self.busy |= moved.any;
        if moved.more {
            cx.waker().wake_by_ref();
        }
        moved.any && !moved.more
    }

    /// When the next turn comes at the latest.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.state.client.poll_timeout().map(|due| due.at)
    }

    /// Ends the turn and tells the application what concerns it.
    pub(super) fn finish(self) -> Next {
        let Self { shared, mut state, waiting, asked, busy, .. } = self;
        let closed = state.client.state().is_over();
        let over = closed && busy;
        let room = asked || over || state.client.unacknowledged() < waiting;
        let events = over || state.client.has_event();
        let first_sender = if room { state.first_sender() } else { None };
        let next = if closed && state.dropped { Next::Done } else { Next::Wait };
        state.closings += u64::from(over);
        state.traffic.wakes += 1;
        state.traffic.empty_turns += u64::from(!busy);
        drop(state);
        if events {
            shared.events.notify(usize::MAX);
        }
        if let Some(first) = first_sender {
            first.notify(1);
        }
        if over {
            shared.over.notify(usize::MAX);
        }
        next
    }
}
