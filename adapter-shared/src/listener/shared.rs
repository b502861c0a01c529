//! What a listener and its driver share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use event_listener::Event;
use keepbeat_core::server::{Server, ServerAction, ServerEvent, Sessions};
use keepbeat_core::time::Timestamp;

use super::sockets::Close;
use crate::clock::Clock;
use crate::pump::Traffic;
use crate::suspend::Sleeper;

/// Nobody waits while holding the lock.
pub(super) struct Shared {
    state: Mutex<State>,
    /// The runtime's sockets. Their lock comes after that of the state.
    pub(super) sockets: Arc<dyn Close>,
    /// There may be an event, or there will be none any more.
    pub(super) events: Event,
    /// Some device's outbox may have room, or will have none any more.
    pub(super) room: Event,
    /// The listener may be drained or closed.
    pub(super) over: Event,
}

pub(super) struct State {
    pub(super) server: Server,
    pub(super) driver: Option<Waker>,
    /// The application did something since the driver's last turn.
    pub(super) asked: bool,
    /// The machine was suspended since the driver's last turn.
    pub(super) resumed: bool,
    /// What the application's own calls made the server want.
    pub(super) actions: Vec<ServerAction>,
    /// Closed at once, or the runtime dropped the driver.
    pub(super) aborted: bool,
    pub(super) traffic: Traffic,
}

impl Shared {
    pub(super) fn new(server: Server, sockets: Arc<dyn Close>) -> Self {
        Self {
            state: Mutex::new(State {
                server,
                driver: None,
                asked: false,
                resumed: false,
                actions: Vec::new(),
                aborted: false,
                traffic: Traffic::default(),
            }),
            sockets,
            events: Event::new(),
            room: Event::new(),
            over: Event::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the server, and has the driver see to the rest.
    pub(super) fn tell<R>(&self, action: impl FnOnce(&mut State, Timestamp) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state, Clock::now());
        wake(state);
        result
    }

    pub(super) fn abort(&self) -> Sessions {
        let sessions = self.tell(|state, now| {
            state.aborted = true;
            self.sockets.close_all();
            state.server.take_sessions(now)
        });
        self.notify_all();
        sessions
    }

    pub(super) fn poll_event(&self) -> Poll<Option<ServerEvent>> {
        let mut state = self.lock();
        let Some(event) = state.server.poll_event(Clock::now()) else {
            return if state.is_over() { Poll::Ready(None) } else { Poll::Pending };
        };
        // Taking a message may let its connection be read again.
        let before = state.actions.len();
        while let Some(action) = state.server.poll_action() {
            state.actions.push(action);
        }
        if state.actions.len() > before {
            wake(state);
        }
        Poll::Ready(Some(event))
    }

    pub(super) fn notify_all(&self) {
        self.events.notify(usize::MAX);
        self.room.notify(usize::MAX);
        self.over.notify(usize::MAX);
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
pub(super) fn wake(mut state: MutexGuard<'_, State>) {
    state.asked = true;
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

impl State {
    /// Whether nothing happens any more.
    pub(super) fn is_over(&self) -> bool {
        self.aborted || self.server.is_drained()
    }
}
