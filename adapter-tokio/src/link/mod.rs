//! One device's link to a server.

mod attempt;
mod builder;
mod connect;
mod driver;

pub use builder::{LinkBuilder, OpenError};

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::client::{Client, ClientConfig, Event, LinkState};
use keepbeat_core::liveness::{Evidence, Rtt};
use keepbeat_core::reconnect::Hint;
use keepbeat_core::session::{SendError, Ticket};
use keepbeat_core::time::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::io::Traffic;

/// One logical link to a server, across as many connections as it takes.
///
/// A task in the background drives it. Dropping the link closes it: the task says goodbye to the server and ends.
pub struct Link {
    shared: Arc<Shared>,
}

/// What the link and its driver share. Nobody waits while holding the lock.
struct Shared {
    state: Mutex<State>,
    /// There may be an event, or there will be none any more.
    events: Notify,
    /// There may be room in the outbox, or there will be none any more.
    room: Notify,
    /// The link may be closed.
    over: Notify,
    /// Senders that wait for room get it in the order in which they came.
    senders: tokio::sync::Mutex<()>,
}

struct State {
    client: Client,
    driver: Option<Waker>,
    /// The application did something since the driver's last turn.
    asked: bool,
    /// The application dropped the link.
    dropped: bool,
    /// The runtime dropped the driver.
    orphaned: bool,
    /// How often the driver saw the link closed after it had been open.
    closings: u64,
    traffic: Traffic,
}

impl Link {
    /// Opens a link to `address`, a host and port such as `"gateway.example:7411"`. The first attempt begins at once.
    ///
    /// If `config` asks for credentials from a provider, use [`Link::builder`]; without one, every attempt ends in
    /// [`DownCause::CredentialsFailed`](keepbeat_core::DownCause::CredentialsFailed).
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled, like [`tokio::spawn`].
    pub fn open(address: impl Into<String>, config: ClientConfig) -> Self {
        Self::builder(address, config).start()
    }

    /// A link with more options.
    pub fn builder(address: impl Into<String>, config: ClientConfig) -> LinkBuilder {
        LinkBuilder::new(address.into(), config)
    }

    /// Opens the link again after it was closed or has given up. While an attempt is waited for, the wait is skipped;
    /// otherwise nothing changes.
    pub fn reopen(&self) {
        self.shared.tell(Client::open);
    }

    /// Asks to close the link: it says goodbye, and its events end with [`Event::Closed`]. Messages that are not
    /// acknowledged stay for [`Link::reopen`].
    pub fn close(&self) {
        self.shared.tell(Client::close);
    }

    /// Waits until the link is closed or has given up.
    pub async fn closed(&self) {
        let before = self.shared.lock().closings;
        loop {
            let over = self.shared.over.notified();
            {
                let state = self.shared.lock();
                if state.is_over() || state.closings != before {
                    return;
                }
            }
            over.await;
        }
    }

    /// Accepts no more messages, waits until the server has acknowledged all, at most `timeout`, and closes the link.
    /// Returns how many messages were not acknowledged. If this is dropped, the link goes on draining.
    pub async fn drain(&self, timeout: Duration) -> usize {
        self.shared.tell(|client, now| client.drain(now, timeout));
        self.closed().await;
        self.unacknowledged()
    }

    /// Accepts a message; waits for room in the outbox. Those who wait are served in the order in which they came. If this
    /// is dropped before it is done, the message was not accepted.
    ///
    /// # Errors
    /// The message is handed back: it is too large for ever, or the link is closed.
    pub async fn send(&self, payload: impl Into<Bytes>) -> Result<Ticket, SendError> {
        let mut payload = payload.into();
        let _turn = self.shared.senders.lock().await;
        loop {
            let room = self.shared.room.notified();
            match self.try_send(payload) {
                Err(SendError::Full { payload: back, .. }) if self.shared.lock().orphaned => {
                    return Err(SendError::Closed { payload: back });
                }
                Err(SendError::Full { payload: back, .. }) => payload = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Accepts a message if there is room in the outbox.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the link is closed.
    pub fn try_send(&self, payload: impl Into<Bytes>) -> Result<Ticket, SendError> {
        let payload = payload.into();
        let mut state = self.shared.lock();
        let result = state.client.send(Clock::now(), payload);
        // A message that was not accepted is no work for the driver: it and a waiting sender would wake each other.
        if result.is_ok() {
            wake(state);
        }
        result
    }

    /// The next event. `None` when the link is closed or has given up and all events were taken; after
    /// [`Link::reopen`] there are events again. If several wait, each event goes to one of them.
    pub async fn next_event(&self) -> Option<Event> {
        loop {
            let more = self.shared.events.notified();
            if let Poll::Ready(event) = self.shared.poll_event() {
                return event;
            }
            more.await;
        }
    }

    /// Tells that something happened outside that may concern the path to the server.
    pub fn hint(&self, hint: Hint) {
        self.shared.tell(|client, now| client.hint(now, hint));
    }

    /// Skips the wait for the next attempt.
    pub fn retry_now(&self) {
        self.shared.tell(Client::retry_now);
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.shared.lock().client.state()
    }

    /// How long it is until the next attempt, if one is waited for.
    #[must_use]
    pub fn next_attempt_in(&self) -> Option<Duration> {
        match self.state() {
            LinkState::Waiting { retry_at, .. } => Some(retry_at.since(Clock::now())),
            _ => None,
        }
    }

    /// The current round-trip estimate.
    #[must_use]
    pub fn rtt(&self) -> Option<Rtt> {
        self.shared.lock().client.rtt()
    }

    /// What was seen of the server on the current connection.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.shared.lock().client.evidence(Clock::now())
    }

    /// Messages accepted and not yet acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.shared.lock().client.unacknowledged()
    }

    /// What the driver has moved since the link was opened.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.lock().traffic
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.tell(Client::close);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(client: Client) -> Self {
        Self {
            state: Mutex::new(State {
                client,
                driver: None,
                asked: false,
                dropped: false,
                orphaned: false,
                closings: 0,
                traffic: Traffic::default(),
            }),
            events: Notify::new(),
            room: Notify::new(),
            over: Notify::new(),
            senders: tokio::sync::Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the client, and has the driver see to the rest.
    fn tell<R>(&self, action: impl FnOnce(&mut Client, Timestamp) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state.client, Clock::now());
        wake(state);
        result
    }

    fn poll_event(&self) -> Poll<Option<Event>> {
        let mut state = self.lock();
        let read = state.client.wants_read();
        match state.client.poll_event(Clock::now()) {
            None if state.is_over() => Poll::Ready(None),
            None => Poll::Pending,
            event => {
                if state.client.wants_read() != read {
                    wake(state);
                }
                Poll::Ready(event)
            }
        }
    }

    fn notify_all(&self) {
        self.events.notify_waiters();
        self.room.notify_waiters();
        self.over.notify_waiters();
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
    fn is_over(&self) -> bool {
        self.orphaned || self.client.state().is_over()
    }
}
