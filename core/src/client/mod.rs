//! One logical link of a client, across many connections: reconnect + liveness + session + wire.
//!
//! [`Client`] is driven by whoever owns the clock and the socket; the [crate docs](crate) have the driver contract, and
//! `examples/blocking/driver.rs` is a complete driver.

mod account;
mod config;
mod drive;
mod durable;
mod ending;
mod event;
mod settle;
mod status;
mod talk;

pub use config::{ClientConfig, ClientConfigBuilder, ClientConfigError};
pub use event::{Action, Epoch, Event, Input, LinkState};

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use self::account::Account;
use crate::connection::{Connection, DownCause, DownReport, EventQueue};
use crate::entropy::{Entropy, Prng};
use crate::reconnect::{Hint, Reconnect};
use crate::session::{Message, SendError, Session, Ticket, Token};
use crate::time::{Deadline, Timestamp};
use crate::tunnel::HostPort;
use crate::wire::Any;
use crate::wire::{Credentials, DeviceId, Done, Frame, Goodbye, Reason, Wire};

/// So many events that a later one outdates wait for an application that does not look.
const EVENT_LIMIT: usize = 1024;

/// One logical link of a client.
pub struct Client<W: Wire = Any> {
    config: Arc<ClientConfig<W>>,
    device: DeviceId,
    /// Whom a proxy or a certificate is for.
    server: Option<Arc<HostPort>>,
    reconnect: Reconnect,
    session: Session,
    /// What the wire of the last connection knew, while there is none.
    memory: W::Memory,
    /// Where the protocol asks for it, or something must survive the process.
    account: Option<Box<Account>>,
    token: Option<Token>,
    /// Tells this life of the client from others, so that the server knows which of two hellos is the later one.
    instance: u64,
    prng: Prng,
    entropy: Option<Box<dyn Entropy + Send>>,
    epoch: Epoch,
    state: State<W>,
    intent: Intent,
    transmit: bool,
    /// Of which attempt or connection the driver is to leave the socket; 0, which none is, for no such one.
    disconnect: Epoch,
    events: EventQueue<Event, EVENT_LIMIT>,
    rtt_is_new: bool,
    /// The server refused the credentials since they were last accepted, and fresh ones were asked for.
    refreshed: Option<Unauthorized>,
    /// The application greets the peer, and has until then.
    greeting: Option<Timestamp>,
    /// When the link went down, or was opened.
    down_since: Timestamp,
    /// Hints probe the peer from now on.
    next_hint: Timestamp,
    now: Timestamp,
    due: Option<Deadline>,
    stale_inputs: u32,
}

enum State<W> {
    /// No connection and no attempt.
    Down,
    /// `untold`, here and below: the driver does not know yet that it is to do something.
    Credentials {
        until: Timestamp,
        untold: bool,
    },
    Connecting {
        credentials: Box<Credentials>,
        until: Timestamp,
        untold: bool,
    },
    /// From the first byte of the handshake to the last of the goodbye. `ending` is set once the goodbye is said.
    Connected {
        connection: Box<Connection<W>>,
        ending: Option<Box<DownReport>>,
    },
}

/// How a server said that it does not accept the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unauthorized {
    /// It did not let us in. When it does, it has accepted them.
    Outside,
    /// It let us in before it looked at them. Only a connection that lasts shows that it has accepted them.
    Inside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Closed,
    Open,
    /// Close as soon as everything is acknowledged, or at this moment.
    Draining {
        until: Timestamp,
    },
}

impl<W: Wire> Client<W> {
    /// A link that is closed. `seed` spreads its beats and attempts; give every link another one.
    #[must_use]
    pub fn new(config: Arc<ClientConfig<W>>, seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        Self {
            device: config.device.clone(),
            reconnect: Reconnect::new(config.reconnect.clone(), prng.next_u64()),
            session: Session::new(config.outbox.clone(), config.inbox.clone()),
            memory: W::Memory::default(),
            account: Account::of(&config),
            token: None,
            instance: prng.next_u64().max(1),
            prng,
            entropy: None,
            epoch: Epoch(0),
            state: State::Down,
            intent: Intent::Closed,
            transmit: false,
            disconnect: Epoch(0),
            events: EventQueue::new(),
            rtt_is_new: false,
            refreshed: None,
            greeting: None,
            down_since: Timestamp::ZERO,
            next_hint: Timestamp::ZERO,
            now: Timestamp::ZERO,
            due: None,
            stale_inputs: 0,
            server: None,
            config,
        }
    }

    /// Speaks for this device, not for the one that the configuration names: so very many links can share one
    /// configuration. They share its fixed credentials, too; a provider gives each its own.
    #[must_use]
    pub fn for_device(mut self, device: DeviceId) -> Self {
        self.device = device;
        self
    }

    /// Takes the secrets that a protocol needs from `entropy`, which must be the operating system's, or as strong: the masks
    /// of WebSocket (RFC 6455, section 10.3). Default: from the seed.
    #[must_use]
    pub fn with_entropy(mut self, entropy: Box<dyn Entropy + Send>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Names the server. Needed if the link goes through a proxy, which is asked for it, or through TLS, whose certificate
    /// must be for it, or if the protocol names it, as WebSocket does.
    #[must_use]
    pub fn to_server(mut self, server: HostPort) -> Self {
        self.server = Some(Arc::new(server));
        self
    }

    /// Names another server from now on: for a driver with several of them, before it reports [`Input::Opened`].
    pub fn set_server(&mut self, server: HostPort) {
        self.server = Some(Arc::new(server));
    }

    /// Opens the link: an attempt begins at once. While one is waited for, the wait is skipped; while one is under way or
    /// the link is up, nothing changes.
    pub fn open(&mut self, now: Timestamp) {
        let now = self.tick(now);
        if self.intent == Intent::Closed {
            if !matches!(self.state, State::Down) {
                self.finish(now);
            }
            self.down_since = now;
        }
        self.intent = Intent::Open;
        self.reconnect.open(now);
        self.settle(now);
    }

    /// Closes the link for good: says goodbye if it is up, and ends with [`Event::Closed`]. Messages that are not
    /// acknowledged stay. Nothing but [`Client::open`] opens it again. Without effect on a link that is closed or has
    /// given up.
    pub fn close(&mut self, now: Timestamp) {
        let now = self.tick(now);
        if self.intent == Intent::Closed {
            return;
        }
        (self.intent, self.greeting) = (Intent::Closed, None);
        self.reconnect.close();
        match &mut self.state {
            State::Connected { connection, ending: ending @ None } if connection.is_established() => {
                let cause = DownCause::EndedByUs(Reason::Closed);
                let farewell = Frame::Goodbye(Box::new(Goodbye::new(Reason::Closed, "")));
                connection.say_last(Some(&farewell), &cause);
                *ending = Some(Box::new(DownReport { cause, evidence: connection.evidence(now) }));
                connection.close(now, self.config.close_timeout);
            }
            State::Connected { ending: Some(_), .. } => {}
            _ => self.finish(now),
        }
        self.settle(now);
    }

    /// Accepts no more messages, and closes the link when all are acknowledged, or after `timeout` at the latest. Until
    /// then it keeps reconnecting.
    pub fn drain(&mut self, now: Timestamp, timeout: Duration) {
        let now = self.tick(now);
        if self.intent == Intent::Open {
            self.intent = Intent::Draining { until: now.after(timeout) };
        }
        self.settle(now);
    }

    /// Accepts a message. It is sent when the link is up, again after every reconnect, until the peer acknowledges it.
    ///
    /// While the inbox is full, acknowledgements are not read either: take events before waiting for room.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the link is closed.
    pub fn send(&mut self, now: Timestamp, message: Message) -> Result<Ticket, SendError> {
        let now = self.tick(now);
        if self.intent != Intent::Open {
            return Err(SendError::Closed { message });
        }
        let limit = self.config.message_limit();
        if message.len() > limit {
            return Err(SendError::TooLarge { message, limit });
        }
        if let Some(problem) = W::objection(&self.config.wire, &message) {
            return Err(SendError::Unfit { message, problem });
        }
        while let Some(dropped) = self.session.outbox.overflow(message.len()) {
            self.dropped(dropped);
        }
        let lifetime = W::lifetime(&self.config.wire, &message);
        let stored = self.is_durable().then(|| message.clone());
        let ticket = self.session.outbox.push_for(now, message, lifetime)?;
        if let Some(message) = stored {
            self.note_accepted(ticket, &message);
        }
        self.settle(now);
        Ok(ticket)
    }

    /// Sends a message before all that wait, on this connection only: after [`Event::Up`], if the configuration says
    /// [`greeting`](ClientConfigBuilder::greeting). If the connection ends before it has left, it is forgotten; if the session is
    /// lost, too.
    ///
    /// # Errors
    /// The message is handed back: the link is not up or was [greeted](Client::greeted) already, there is no room, or it is too
    /// large.
    pub fn greet(&mut self, now: Timestamp, message: Message) -> Result<(), SendError> {
        let now = self.tick(now);
        let limit = self.config.message_limit();
        let (Some(_), State::Connected { connection, .. }) = (self.greeting, &self.state) else {
            return Err(SendError::Closed { message });
        };
        let limit = limit.min(usize::try_from(connection.peer_limit()).unwrap_or(usize::MAX));
        if message.len() > limit {
            return Err(SendError::TooLarge { message, limit });
        }
        if let Some(problem) = W::objection(&self.config.wire, &message) {
            return Err(SendError::Unfit { message, problem });
        }
        let accepted = self.session.outbox.greet(now, message);
        self.settle(now);
        accepted
    }

    /// The greeting is done: what waits may leave. Without effect if there was none to do.
    pub fn greeted(&mut self, now: Timestamp) {
        let now = self.tick(now);
        self.greeting = None;
        self.settle(now);
    }

    /// The application is done with the oldest message that it has taken and not said so about: the peer is told, where the
    /// configuration of the protocol leaves that to the application
    /// ([`manual_acknowledgements`](crate::wire::mqtt::MqttConfigBuilder::manual_acknowledgements)). `false` if there is none.
    pub fn acknowledge(&mut self, now: Timestamp) -> bool {
        let now = self.tick(now);
        let said = W::done_with_messages(&self.config.wire) == Done::WhenSaid;
        let has_one = said && self.account.as_mut().is_some_and(|account| account.finish());
        if has_one {
            self.tell_taken(now);
            self.settle(now);
        }
        has_one
    }

    /// Skips the wait for the next attempt.
    pub fn retry_now(&mut self, now: Timestamp) {
        let now = self.tick(now);
        self.reconnect.retry_now(now);
        self.settle(now);
    }

    /// Something outside happened that may concern the path. While up, a changed network or a return to the foreground
    /// probes the peer at once, at most twice per interval.
    pub fn hint(&mut self, now: Timestamp, hint: Hint) {
        let now = self.tick(now);
        self.reconnect.hint(now, hint);
        if let (Hint::NetworkUp | Hint::Foreground, State::Connected { connection, .. }) = (hint, &mut self.state)
            && let Some(liveness) = connection.liveness_mut()
            && self.next_hint <= now
        {
            self.next_hint = now.after(liveness.interval() / 2);
            liveness.probe_now(now);
        }
        self.settle(now);
    }

    /// The next event. Taking a message may let reading go on, so the driver should have a turn afterwards.
    pub fn poll_event(&mut self, now: Timestamp) -> Option<Event> {
        let now = self.tick(now);
        let Some(event) = self.events.pop() else {
            return core::mem::take(&mut self.rtt_is_new).then(|| self.rtt().map(Event::Rtt)).flatten();
        };
        if let Event::Message(message) = &event {
            if let Some(account) = &mut self.account {
                account.take();
                if W::done_with_messages(&self.config.wire) == Done::WhenTaken && account.finish() {
                    self.tell_taken(now);
                }
            }
            let was_full = self.session.inbox.is_full();
            self.session.inbox.taken(message.len());
            if was_full && !self.session.inbox.is_full() {
                if let Some(liveness) = self.connection_mut().and_then(Connection::liveness_mut) {
                    liveness.resume_reading(now);
                }
                self.read_on(now);
                self.settle(now);
            }
        }
        Some(event)
    }

    /// Time never runs backwards in here.
    #[inline]
    fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn tell_taken(&mut self, now: Timestamp) {
        let Some(account) = &mut self.account else { return };
        let done = account.done();
        match &mut self.state {
            State::Connected { connection, ending } => {
                connection.taken(now, done);
                if ending.is_none() && connection.is_established() {
                    self.transmit |= connection.take_transmit();
                }
            }
            _ => {
                let mut changes = alloc::vec::Vec::new();
                W::taken_between(&mut self.memory, done, &mut changes);
                if let Some(all) = account.changes() {
                    all.append(&mut changes);
                }
            }
        }
    }

    /// Whether the driver was not told yet that it is to fetch credentials, or to connect.
    const fn is_untold(&self) -> bool {
        matches!(self.state, State::Credentials { untold: true, .. } | State::Connecting { untold: true, .. })
    }

    fn connection_mut(&mut self) -> Option<&mut Connection<W>> {
        match &mut self.state {
            State::Connected { connection, .. } => Some(connection),
            _ => None,
        }
    }
}
