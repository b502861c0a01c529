//! Very many devices of a server.

mod driver;
mod ready;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::liveness::Evidence;
use keepbeat_core::server::{Admission, ConnectionId, Server, ServerAction, ServerConfig, ServerEvent, Sessions};
use keepbeat_core::session::{SendError, Ticket};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::{DeviceId, Goodbye};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs};
use tokio::sync::Notify;

use self::driver::{Driver, Sockets};
use crate::clock::Clock;
use crate::io::{SocketOptions, Traffic, seed};

/// A listening socket and all devices that came through it.
///
/// One task in the background drives it. Dropping the listener closes all at once, without a word, like
/// [`Listener::abort`]; [`Listener::drain`] is the polite end.
pub struct Listener {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// What the listener and its driver share. Nobody waits while holding the lock.
struct Shared {
    state: Mutex<State>,
    /// There may be an event, or there will be none any more.
    events: Notify,
    /// Some device's outbox may have room, or will have none any more.
    room: Notify,
    /// The listener may be drained or closed.
    over: Notify,
}

struct State {
    server: Server,
    sockets: Sockets,
    driver: Option<Waker>,
    /// The application did something since the driver's last turn.
    asked: bool,
    /// What the application's own calls made the server want.
    actions: Vec<ServerAction>,
    /// Closed at once, or the runtime dropped the driver.
    aborted: bool,
    traffic: Traffic,
}

impl Listener {
    /// Listens on `address` and lets devices in. See [`Listener::builder`] for more options.
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled, like [`tokio::spawn`].
    pub async fn bind(address: impl ToSocketAddrs, config: ServerConfig) -> io::Result<Self> {
        Self::builder(config).bind(address).await
    }

    /// A listener with more options.
    pub fn builder(config: ServerConfig) -> ListenerBuilder {
        ListenerBuilder { config: Arc::new(config), options: SocketOptions::new(), sessions: None }
    }

    /// The address that is listened on; with the port that the operating system chose, if it was asked to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next event. `None` when the listener is drained or closed and all events were taken. If several wait, each
    /// event goes to one of them.
    pub async fn next_event(&self) -> Option<ServerEvent> {
        loop {
            let more = self.shared.events.notified();
            if let Poll::Ready(event) = self.shared.poll_event() {
                return event;
            }
            more.await;
        }
    }

    /// Answers [`ServerEvent::Authenticate`]. Without effect if the connection is over or was answered for.
    pub fn answer(&self, connection: ConnectionId, admission: Admission) {
        self.shared.tell(|state, now| state.server.answer(now, connection, admission));
    }

    /// Accepts a message for a device that has a session, connected or not; waits for room in its outbox. If this is
    /// dropped before it is done, the message was not accepted.
    ///
    /// # Errors
    /// The message is handed back: it is too large for ever, the device has no session, or the listener is closed.
    pub async fn send(&self, device: &DeviceId, payload: impl Into<Bytes>) -> Result<Ticket, SendError> {
        let mut payload = payload.into();
        loop {
            let room = self.shared.room.notified();
            match self.try_send(device, payload) {
                Err(SendError::Full { payload: back, .. }) => payload = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Accepts a message for a device that has a session, connected or not, if there is room in its outbox.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, the device has no session, or the listener
    /// is closed.
    pub fn try_send(&self, device: &DeviceId, payload: impl Into<Bytes>) -> Result<Ticket, SendError> {
        let payload = payload.into();
        let mut state = self.shared.lock();
        if state.aborted {
            return Err(SendError::Closed { payload });
        }
        let result = state.server.send(Clock::now(), device, payload);
        // A message that was not accepted is no work for the driver: it and a waiting sender would wake each other.
        if result.is_ok() {
            wake(state);
        }
        result
    }

    /// Ends a device's connection with this goodbye. Its session is kept, unless the reason is
    /// [`Reason::Closed`](keepbeat_core::wire::Reason::Closed).
    pub fn disconnect(&self, device: &DeviceId, goodbye: Goodbye) {
        self.shared.tell(|state, now| state.server.disconnect(now, device, goodbye));
    }

    /// Shuts down politely: closes the listening socket at once, asks all devices to come back after `retry_after`, within
    /// the `spread` behind it, and waits until all are gone. The sessions stay; take them with [`Listener::abort`] for a
    /// listener that follows. If this is dropped, the listener goes on draining.
    pub async fn drain(&self, retry_after: Duration, spread: Duration) {
        self.shared.tell(|state, now| {
            state.sockets.stop_accepting();
            state.server.drain(now, retry_after, spread);
        });
        loop {
            let over = self.shared.over.notified();
            if self.shared.lock().is_over() {
                return;
            }
            over.await;
        }
    }

    /// Closes the listening socket and all connections at once, without a word, and returns the sessions for a listener
    /// that follows ([`ListenerBuilder::sessions`]). Events that were not taken stay.
    pub fn abort(&self) -> Sessions {
        self.shared.abort()
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().server.connections()
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        self.shared.lock().server.is_connected(device)
    }

    /// What was seen of a device on its current connection.
    #[must_use]
    pub fn evidence(&self, device: &DeviceId) -> Option<Evidence> {
        self.shared.lock().server.evidence(Clock::now(), device)
    }

    /// Messages for a device that it has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, device: &DeviceId) -> usize {
        self.shared.lock().server.unacknowledged(device)
    }

    /// What the driver has moved since the listener was bound.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.lock().traffic
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.shared.abort());
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Binds a [`Listener`] with more options. Made by [`Listener::builder`].
#[derive(Debug)]
#[must_use]
pub struct ListenerBuilder {
    config: Arc<ServerConfig>,
    options: SocketOptions,
    sessions: Option<Sessions>,
}

impl ListenerBuilder {
    /// The options of accepted sockets.
    pub const fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// Goes on with the sessions of an earlier listener, so that its devices lose nothing by the restart.
    pub fn sessions(mut self, sessions: Sessions) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Listens on `address` and lets devices in. If `address` has several, the first that can be had.
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours; or it has no random numbers. The builder still has its
    /// sessions then: try again.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled, like [`tokio::spawn`].
    pub async fn bind(&mut self, address: impl ToSocketAddrs) -> io::Result<Listener> {
        let listener = listen(address).await?;
        let address = listener.local_addr()?;
        let (config, entropy) = (self.config.clone(), Box::new(entropy()?));
        let server = match self.sessions.take() {
            Some(sessions) => Server::with_sessions(config, entropy, seed(), Clock::now(), sessions),
            None => Server::new(config, entropy, seed()),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                server,
                sockets: Sockets::new(listener, self.options),
                driver: None,
                asked: false,
                actions: Vec::new(),
                aborted: false,
                traffic: Traffic::default(),
            }),
            events: Notify::new(),
            room: Notify::new(),
            over: Notify::new(),
        });
        drop(tokio::spawn(Driver::new(shared.clone()).run()));
        Ok(Listener { shared, address })
    }
}

/// After a restart all devices come back at once; the operating system cuts this to its own limit.
const BACKLOG: u32 = 4096;

async fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address to listen on");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The operating system's generator. Once it has worked it goes on working; should it not, keyed hashes that began with
/// its numbers take its place.
fn entropy() -> io::Result<impl FnMut(&mut [u8]) + Send> {
    use std::hash::{BuildHasher, RandomState};
    getrandom::fill(&mut [0; 16])?;
    let (keys, mut drawn) = (RandomState::new(), 0_u64);
    Ok(move |target: &mut [u8]| {
        if getrandom::fill(target).is_err() {
            for chunk in target.chunks_mut(8) {
                drawn = drawn.wrapping_add(1);
                chunk.copy_from_slice(&keys.hash_one(drawn).to_le_bytes()[..chunk.len()]);
            }
        }
    })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the server, and has the driver see to the rest.
    fn tell<R>(&self, action: impl FnOnce(&mut State, Timestamp) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state, Clock::now());
        wake(state);
        result
    }

    fn abort(&self) -> Sessions {
        let sessions = self.tell(|state, now| {
            state.close_all();
            state.server.take_sessions(now)
        });
        self.notify_all();
        sessions
    }

    fn poll_event(&self) -> Poll<Option<ServerEvent>> {
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
    /// Whether nothing happens any more.
    fn is_over(&self) -> bool {
        self.aborted || self.server.is_drained()
    }

    fn close_all(&mut self) {
        self.aborted = true;
        self.sockets.close_all();
    }
}
