//! What a link and its driver share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use event_listener::{Event, EventListener};
use keepbeat_core::client::{Client, Event as LinkEvent};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::time::Timestamp;

use crate::clock::Clock;
use crate::pump::Traffic;
use crate::store::{self, Keeper};
use crate::suspend::Sleeper;

/// Nobody waits while holding the lock.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There may be an event, or there will be none any more.
    pub(super) events: Event,
    /// The link may be closed.
    pub(super) over: Event,
}

pub(super) struct State {
    pub(super) client: Client,
    pub(super) keeper: Option<Box<Keeper>>,
    /// How often a connection was begun: each time to the next server.
    pub(super) attempts: usize,
    pub(super) driver: Option<Waker>,
    /// The application did something since the driver's last turn.
    pub(super) asked: bool,
    /// The machine was suspended since the driver's last turn.
    pub(super) resumed: bool,
    /// The application dropped the link.
    pub(super) dropped: bool,
    /// The runtime dropped the driver.
    pub(super) orphaned: bool,
    /// How often the driver saw the link closed after it had been open.
    pub(super) closings: u64,
    /// Those who wait for room, in the order in which they came. Only the first can use it, so only that one is woken.
    senders: VecDeque<Arc<Event>>,
    pub(super) traffic: Traffic,
}

impl Shared {
    pub(super) fn new(client: Client, keeper: Option<Box<Keeper>>) -> Self {
        Self {
            state: Mutex::new(State {
                client,
                keeper,
                attempts: 0,
                driver: None,
                asked: false,
                resumed: false,
                dropped: false,
                orphaned: false,
                closings: 0,
                senders: VecDeque::new(),
                traffic: Traffic::default(),
            }),
            events: Event::new(),
            over: Event::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_send(&self, message: Message) -> Result<Ticket, SendError> {
        let mut state = self.lock();
        if state.orphaned {
            return Err(SendError::Closed { message });
        }
        let State { client, keeper, .. } = &mut *state;
        let result = store::send(keeper, client, Clock::now(), message);
        // A message that was not accepted is no work for the driver: it and a waiting sender would wake each other.
        if result.is_ok() || state.client.wants_turn() {
            wake(state);
        }
        result
    }

    /// Does something to the client, and has the driver see to the rest.
    pub(super) fn tell<R>(&self, action: impl FnOnce(&mut Client, Timestamp) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state.client, Clock::now());
        wake(state);
        result
    }

    pub(super) fn poll_event(&self) -> Poll<Option<LinkEvent>> {
        let mut state = self.lock();
        let read = state.client.wants_read();
        match state.client.poll_event(Clock::now()) {
            None if state.is_over() => Poll::Ready(None),
            None => Poll::Pending,
            event => {
                if state.client.wants_read() != read || state.client.wants_turn() {
                    wake(state);
                }
                Poll::Ready(event)
            }
        }
    }

    pub(super) fn notify_all(&self) {
        self.events.notify(usize::MAX);
        self.over.notify(usize::MAX);
        let first = self.lock().first_sender();
        if let Some(first) = first {
            first.notify(1);
        }
    }
}

impl Sleeper for Shared {
    fn wake_up(&self) {
        let mut state = self.lock();
        state.resumed = true;
        wake(state);
    }
}

/// The application did something: the driver has a turn.
fn wake(mut state: MutexGuard<'_, State>) {
    state.asked = true;
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

impl State {
    /// Whether nothing happens any more until the link is opened again.
    pub(super) fn is_over(&self) -> bool {
        self.orphaned || self.client.state().is_over()
    }

    /// The sender whose turn it is: there may be room, or there will be none any more.
    pub(super) fn first_sender(&self) -> Option<Arc<Event>> {
        self.senders.front().cloned()
    }
}

/// A sender's place in the queue of those who wait for room. Dropping it passes the turn on.
pub(super) struct Place<'a> {
    shared: &'a Shared,
    turn: Arc<Event>,
    woken: Option<EventListener>,
}

impl<'a> Place<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        let turn = Arc::new(Event::new());
        shared.lock().senders.push_back(turn.clone());
        Self { shared, turn, woken: None }
    }

    /// Whether it is this sender's turn. What happens from now on is not missed by [`Place::wait`].
    pub(super) fn is_first(&mut self) -> bool {
        self.woken = Some(self.turn.listen());
        self.shared.lock().first_sender().is_some_and(|first| Arc::ptr_eq(&first, &self.turn))
    }

    /// Until there may be room, or the turn may have passed on.
    pub(super) async fn wait(&mut self) {
        if let Some(woken) = self.woken.take() {
            woken.await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let next = {
            let mut state = self.shared.lock();
            if state.senders.front().is_some_and(|first| Arc::ptr_eq(first, &self.turn)) {
                state.senders.pop_front();
                state.first_sender()
            } else {
                state.senders.retain(|other| !Arc::ptr_eq(other, &self.turn));
                None
            }
        };
        if let Some(next) = next {
            next.notify(1);
        }
    }
}
