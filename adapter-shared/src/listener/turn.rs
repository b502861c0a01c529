//! The driver's side of a listener: what it does is the same on every runtime, how it waits is not.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use keepbeat_core::time::Timestamp;

use super::shared::{Shared, State};
use super::sockets::{Machine, Sockets, lock};
use crate::clock::Clock;
use crate::stream::Stream;

/// Held by the task that drives a listener, whose sockets are `L` and `S`. Dropping it closes all.
pub struct ListenerDriver<L, S: Stream> {
    shared: Arc<Shared>,
    sockets: Arc<Mutex<Sockets<L, S>>>,
}

/// One turn: input, then timers, then output. Holds the listener's locks; begin it anew each time.
pub(super) struct ListenerTurn<'a, L, S> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    sockets: MutexGuard<'a, Sockets<L, S>>,
    now: Timestamp,
    resumed: bool,
    /// Whether anything happened at all.
    busy: bool,
}

impl<L, S: Stream> ListenerDriver<L, S> {
    pub(super) const fn new(shared: Arc<Shared>, sockets: Arc<Mutex<Sockets<L, S>>>) -> Self {
        Self { shared, sockets }
    }

    /// Begins a turn: reads the clock, once, and has the application and all sockets wake `cx` from now on.
    pub(super) fn begin(&self, cx: &Context<'_>) -> ListenerTurn<'_, L, S> {
        let mut state = self.shared.lock();
        let sockets = lock(&self.sockets);
        match &mut state.driver {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        sockets.ready.watch(cx.waker());
        let busy = std::mem::take(&mut state.asked);
        let resumed = std::mem::take(&mut state.resumed);
        ListenerTurn { shared: &self.shared, state, sockets, now: Clock::now(), resumed, busy }
    }
}

impl<L, S: Stream> Drop for ListenerDriver<L, S> {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.aborted = true;
            self.shared.sockets.close_all();
        }
        self.shared.notify_all();
    }
}

impl<L, S: Stream> ListenerTurn<'_, L, S> {
    /// Rule 2: takes the connections that wait, with the runtime's `accept`.
    pub(super) fn accept(
        &mut self,
        cx: &mut Context<'_>,
        accept: impl FnMut(&mut Context<'_>, &L) -> io::Result<(S, SocketAddr)>,
    ) {
        let State { server, traffic, .. } = &mut *self.state;
        self.busy |= self.sockets.accept(cx, &mut Machine { now: self.now, server, traffic }, accept);
    }
}

impl<L, S: Stream> ListenerTurn<'_, L, S> {
    /// The moment of this turn.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the machine was suspended since the last turn: timers that were set before are late by as much.
    pub(super) const fn resumed(&self) -> bool {
        self.resumed
    }

    /// Rules 2 and 5: reads and writes the connections that the runtime woke.
    pub(super) fn on_woken(&mut self, cx: &Context<'_>) {
        let State { server, traffic, .. } = &mut *self.state;
        self.busy |= self.sockets.on_woken(cx, &mut Machine { now: self.now, server, traffic });
    }

    /// Rules 2 and 3: reads whatever may be due, then does what is due. The clock decides, not the alarm.
    pub(super) fn on_due(&mut self) {
        let State { server, traffic, .. } = &mut *self.state;
        self.busy |= self.sockets.on_due(&mut Machine { now: self.now, server, traffic });
    }

    /// Rule 4: does what the server wants, until it wants nothing.
    pub(super) fn drain(&mut self) {
        let State { server, traffic, actions, .. } = &mut *self.state;
        let machine = &mut Machine { now: self.now, server, traffic };
        for action in std::mem::take(actions) {
            self.sockets.act(action, machine);
        }
        self.sockets.drain(machine);
    }

    /// When the next turn comes at the latest.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let due = self.state.server.poll_timeout().map(|due| due.at);
        due.into_iter().chain(self.sockets.paused).min()
    }

    /// Ends the turn and tells the application what concerns it. Ready when the driver's work is done for good.
    pub(super) fn finish(self) -> Poll<()> {
        let Self { shared, mut state, sockets, busy, .. } = self;
        state.traffic.wakes += 1;
        state.traffic.empty_turns += u64::from(!busy);
        let (events, over, aborted) = (state.server.has_event(), state.is_over(), state.aborted);
        drop(sockets);
        drop(state);
        if events || over {
            shared.events.notify(usize::MAX);
        }
        if busy {
            shared.room.notify(usize::MAX);
        }
        if over {
            shared.over.notify(usize::MAX);
        }
        if aborted { Poll::Ready(()) } else { Poll::Pending }
    }
}
