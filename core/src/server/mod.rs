//! Very many devices of a server: accepted connections, their sessions, and who is present.
//!
//! [`Server`] is one machine for all connections, so that a takeover (a second connection of a device) and a resume (a
//! device that is back before its old connection was noticed dead) are decided in one place. Drive it like a
//! [`Client`](crate::client::Client); every input and action names its connection.
//!
//! Presence is a matter of devices, not of connections: [`ServerEvent::Online`], [`ServerEvent::Suspect`],
//! [`ServerEvent::Offline`]. The late death of a connection that was replaced takes nobody offline.

mod arena;
mod config;
mod event;
mod presence;
mod timers;

pub use arena::ConnectionId;
pub use config::{ServerConfig, ServerConfigBuilder, ServerConfigError};
pub use event::{AcceptError, Admission, ServerAction, ServerEvent, ServerInput};
pub use presence::Sessions;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use self::arena::Arena;
use self::presence::Device;
use self::timers::{Filed, Timers};
use crate::connection::{self, Connection, DownCause, DownReport, EventQueue, Heard};
use crate::entropy::{Entropy, Prng};
use crate::liveness::{Evidence, Liveness};
use crate::session::{SendError, Ticket};
use crate::time::{Deadline, Timestamp, wire_millis};
use crate::wire::beat::Beat;
use crate::wire::{DeviceId, Frame, Goodbye, Hello, Reason, Wire, WireError};

/// So many events that a later one outdates wait for an application that does not look.
const EVENT_LIMIT: usize = 1 << 16;

/// All connections and devices of one server.
pub struct Server<W: Wire = Beat> {
    config: Arc<ServerConfig<W>>,
    message_limit: usize,
    entropy: Box<dyn Entropy + Send>,
    prng: Prng,
    connections: Arena<Accepted<W>>,
    /// How many connections are in a stage of the handshake.
    handshakes: usize,
    per_address: BTreeMap<IpAddr, usize>,
    devices: BTreeMap<DeviceId, Device>,
    timers: Timers<Key>,
    actions: VecDeque<ServerAction>,
    events: EventQueue<ServerEvent>,
    draining: bool,
    now: Timestamp,
    /// Tickets are the server's, not a session's, so that none comes twice.
    next_ticket: Ticket,
    stale_inputs: u64,
}

/// One accepted connection.
struct Accepted<W> {
    connection: Connection<W>,
    stage: Stage,
    address: Option<IpAddr>,
    filed: Option<Filed>,
}

enum Stage {
    /// No hello yet.
    Greeting,
    /// The application has not answered for this device yet.
    Authenticating(Box<Hello>),
    /// The device is in, and this connection is its one.
    Device(DeviceId),
    /// Only the goodbye remains.
    Parting,
}

impl Stage {
    const fn is_handshake(&self) -> bool {
        matches!(self, Self::Greeting | Self::Authenticating(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Connection(ConnectionId),
    Device(DeviceId),
}

impl<W: Wire> Server<W> {
    /// A server that nobody has connected to. `entropy` makes session tokens and must be the operating system's, or as
    /// strong; `seed` need not be secret.
    #[must_use]
    pub fn new(config: Arc<ServerConfig<W>>, entropy: Box<dyn Entropy + Send>, seed: u64) -> Self {
        Self {
            message_limit: W::new(&config.wire).message_limit(),
            config,
            entropy,
            prng: Prng::new(seed),
            connections: Arena::new(),
            handshakes: 0,
            per_address: BTreeMap::new(),
            devices: BTreeMap::new(),
            timers: Timers::new(),
            actions: VecDeque::new(),
            events: EventQueue::new(EVENT_LIMIT),
            draining: false,
            now: Timestamp::ZERO,
            next_ticket: Ticket(1),
            stale_inputs: 0,
        }
    }

    /// A server that goes on at `now` with the sessions of an earlier one, so that its devices lose nothing by the
    /// restart. Its clock need not be the earlier one's; the time in between does not count.
    #[must_use]
    pub fn with_sessions(
        config: Arc<ServerConfig<W>>,
        entropy: Box<dyn Entropy + Send>,
        seed: u64,
        now: Timestamp,
        sessions: Sessions,
    ) -> Self {
        let mut server = Self::new(config, entropy, seed);
        server.now = now;
        server.devices = sessions.devices;
        for (id, device) in &mut server.devices {
            device.change_clock(sessions.taken_at, now);
            let due = device.deadline(&server.config).map(|due| due.at);
            server.timers.file(Key::Device(id.clone()), &mut device.filed, due);
        }
        server
    }

    // What the driver does.

    /// A connection was accepted from `address`.
    ///
    /// # Errors
    /// A limit is reached or the server is draining. The driver closes the connection.
    pub fn accept(&mut self, now: Timestamp, address: Option<IpAddr>) -> Result<ConnectionId, AcceptError> {
        let now = self.tick(now);
        let config = &self.config;
        if self.draining {
            return Err(AcceptError::Draining);
        }
        if self.connections.len() >= config.max_connections {
            return Err(AcceptError::Full { limit: config.max_connections });
        }
        if self.handshakes >= config.max_handshakes {
            return Err(AcceptError::HandshakesFull { limit: config.max_handshakes });
        }
        if let Some(address) = address {
            let open = self.per_address.entry(address).or_default();
            if *open >= config.max_connections_per_address {
                return Err(AcceptError::AddressFull { limit: config.max_connections_per_address });
            }
            *open += 1;
        }
        self.handshakes += 1;
        let connection = Connection::open(&config.wire, now, config.handshake_timeout);
        let id = self.connections.insert(Accepted { connection, stage: Stage::Greeting, address, filed: None });
        self.settle(now, id);
        Ok(id)
    }

    /// Takes what the driver saw of one connection.
    pub fn handle_input(&mut self, now: Timestamp, id: ConnectionId, input: ServerInput<'_>) {
        let now = self.tick(now);
        let Some(accepted) = self.connections.get_mut(id) else {
            self.stale_inputs = self.stale_inputs.saturating_add(1);
            return;
        };
        match (input, &accepted.stage) {
            (ServerInput::Written(count), _) => accepted.connection.written(now, count),
            (ServerInput::Received(_), Stage::Parting) => {}
            (ServerInput::Received(bytes), _) => self.receive(now, id, bytes),
            (ServerInput::Ended(failure), _) => self.lose(now, id, DownCause::Network(failure)),
        }
        self.settle(now, id);
    }

    /// Does what is due. Early, late or repeated calls are safe. Hand over everything that can be read before.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.tick(now);
        while let Some((at, key)) = self.timers.first().cloned()
            && at <= now
        {
            match key {
                Key::Connection(id) => self.connection_due(now, id),
                Key::Device(device) => self.device_due(now, &device),
            }
        }
    }

    /// The connections whose deadline has passed: read them before [`Server::handle_timeout`], whatever the runtime says
    /// about their readiness.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = ConnectionId> + '_ {
        self.timers.until(now).filter_map(move |key| match key {
            Key::Connection(id) => {
                let due = self.connections.get(*id)?.connection.poll_timeout()?;
                (due.at <= now).then_some(*id)
            }
            Key::Device(_) => None,
        })
    }

    /// The next thing to do, until there is none.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<ServerAction> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.refile();
        }
        action
    }

    /// When [`Server::handle_timeout`] has something to do. `None` if only an input can change anything.
    ///
    /// Exact once [`Server::poll_action`] has returned `None`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let (at, key) = self.timers.first()?;
        let cause = match key {
            Key::Connection(id) => self.connections.get(*id)?.connection.poll_timeout()?.cause,
            Key::Device(device) => self.devices.get(device)?.deadline(&self.config)?.cause,
        };
        Some(Deadline::new(*at, cause))
    }

    /// The next bytes to write to this connection; empty if there are none. Report what the operating system took as
    /// [`ServerInput::Written`]; more may follow then.
    #[must_use]
    pub fn transmit(&self, id: ConnectionId) -> &[u8] {
        self.connections.get(id).map_or(&[], |accepted| accepted.connection.tx.chunk())
    }

    /// Whether the driver should read this connection. `false` while its device's inbox is full.
    #[must_use]
    pub fn wants_read(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|accepted| match &accepted.stage {
            Stage::Device(device) => !self.devices.get(device).is_some_and(|device| device.session.inbox.is_full()),
            Stage::Greeting | Stage::Parting => true,
            Stage::Authenticating(_) => false,
        })
    }

    // What the application does.

    /// The next event.
    pub fn poll_event(&mut self, now: Timestamp) -> Option<ServerEvent> {
        let now = self.tick(now);
        let event = self.events.pop()?;
        if let ServerEvent::Message { device, payload } = &event {
            self.message_taken(now, device, payload.len());
        }
        Some(event)
    }

    /// The answer to [`ServerEvent::Authenticate`]. Without effect if the connection is over or was answered for.
    pub fn answer(&mut self, now: Timestamp, id: ConnectionId, admission: Admission) {
        let now = self.tick(now);
        let Some(accepted) = self.connections.get_mut(id) else { return };
        if !matches!(accepted.stage, Stage::Authenticating(_)) {
            return;
        }
        let Stage::Authenticating(hello) = core::mem::replace(&mut accepted.stage, Stage::Greeting) else { return };
        match admission {
            Admission::Accept => self.admit(now, id, &hello),
            Admission::Unauthorized(detail) => self.refuse(now, id, Goodbye::new(Reason::Unauthorized, detail), &hello),
            Admission::Forbidden(detail) => self.refuse(now, id, Goodbye::new(Reason::Forbidden, detail), &hello),
            Admission::Busy { retry_after, spread } => {
                let goodbye = Goodbye {
                    reason: Reason::Busy,
                    retry_after_ms: wire_millis(retry_after),
                    spread_ms: wire_millis(spread),
                    detail: String::new(),
                };
                self.refuse(now, id, goodbye, &hello);
            }
        }
        // What came behind the hello was not read meanwhile.
        self.actions.push_back(ServerAction::Read(id));
        self.settle(now, id);
    }

    /// Accepts a message for a device that has a session, connected or not. It is sent, again after every reconnect,
    /// until the device acknowledges it.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the device has no session.
    pub fn send(&mut self, now: Timestamp, device: &DeviceId, payload: Bytes) -> Result<Ticket, SendError> {
        let now = self.tick(now);
        if payload.len() > self.message_limit {
            return Err(SendError::TooLarge { payload, limit: self.message_limit });
        }
        let Some(entry) = self.devices.get_mut(device).filter(|entry| entry.has_session()) else {
            return Err(SendError::Closed { payload });
        };
        entry.session.outbox.tickets_from(self.next_ticket);
        while let Some(dropped) = entry.session.outbox.overflow(payload.len()) {
            self.events.push(ServerEvent::Dropped { device: device.clone(), dropped });
        }
        let ticket = entry.session.outbox.push(now, payload);
        if let Ok(Ticket(number)) = ticket {
            self.next_ticket = Ticket(number + 1);
        }
        let connection = entry.connection();
        self.file_device(device);
        if let Some(id) = connection {
            self.settle(now, id);
        }
        ticket
    }

    /// Ends a device's connection with this goodbye. Its session is kept, unless the reason is [`Reason::Closed`].
    pub fn disconnect(&mut self, now: Timestamp, device: &DeviceId, goodbye: Goodbye) {
        let now = self.tick(now);
        if let Some(id) = self.devices.get(device).and_then(Device::connection) {
            self.part(now, id, DownCause::EndedByUs(goodbye.reason), Some(goodbye));
            self.settle(now, id);
        }
    }

    /// Shuts down: takes no more connections, and says goodbye to all, to come back after `retry_after`, within the
    /// `spread` behind it. The sessions stay; see [`Server::take_sessions`]. [`Server::is_drained`] tells when all are
    /// gone, at the latest after the close timeout.
    pub fn drain(&mut self, now: Timestamp, retry_after: Duration, spread: Duration) {
        let now = self.tick(now);
        self.draining = true;
        for id in self.connections.ids() {
            let goodbye = Goodbye {
                reason: Reason::GoingAway,
                retry_after_ms: wire_millis(retry_after),
                spread_ms: wire_millis(spread),
                detail: String::new(),
            };
            self.part(now, id, DownCause::EndedByUs(Reason::GoingAway), Some(goodbye));
            self.settle(now, id);
        }
    }

    /// Whether a drained server has no connection left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.connections.len() == 0
    }

    /// Takes all sessions out, for a server that follows. All connections are over then; events that were not taken stay.
    pub fn take_sessions(&mut self, now: Timestamp) -> Sessions {
        let now = self.tick(now);
        for id in self.connections.ids() {
            self.lose(now, id, DownCause::EndedByUs(Reason::GoingAway));
        }
        self.timers = Timers::new();
        let mut devices = core::mem::take(&mut self.devices);
        for device in devices.values_mut() {
            device.filed = None;
            device.session.inbox.forget_waiting();
        }
        devices.retain(|_, device| device.has_session());
        Sessions { devices, taken_at: now }
    }

    // What anybody may ask.

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|device| device.connection().is_some())
    }

    /// What was seen of a device on its current connection.
    #[must_use]
    pub fn evidence(&self, now: Timestamp, device: &DeviceId) -> Option<Evidence> {
        self.connections.get(self.devices.get(device)?.connection()?)?.connection.evidence(now)
    }

    /// Whether a message of `bytes` bytes for this device would be accepted now.
    #[must_use]
    pub fn has_room(&self, device: &DeviceId, bytes: usize) -> bool {
        bytes <= self.message_limit
            && self.devices.get(device).is_some_and(|entry| entry.has_session() && entry.session.outbox.has_room(bytes))
    }

    /// Messages for a device that it has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, device: &DeviceId) -> usize {
        self.devices.get(device).map_or(0, |device| device.session.outbox.len())
    }

    /// Inputs that belonged to a connection that was over.
    #[must_use]
    pub const fn stale_inputs(&self) -> u64 {
        self.stale_inputs
    }

    /// Events that were dropped because 65,536 later ones waited for [`Server::poll_event`]. Messages, and sessions that
    /// ended with messages undelivered, never are.
    #[must_use]
    pub const fn missed_events(&self) -> u64 {
        self.events.missed()
    }

    /// Whether [`Server::poll_event`] has something.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ServerConfig<W> {
        &self.config
    }

    // The inside: connections. `presence` has the devices.

    /// Time never runs backwards in here.
    fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn connection_due(&mut self, now: Timestamp, id: ConnectionId) {
        let Some(accepted) = self.connections.get_mut(id) else { return };
        self.timers.remove(&mut accepted.filed);
        match (accepted.connection.expired(now), &accepted.stage) {
            (true, Stage::Parting) => self.remove(id),
            (true, _) => self.part(now, id, DownCause::HandshakeTimeout, None),
            (false, _) => accepted.connection.handle_timeout(now),
        }
        self.settle(now, id);
    }

    /// Hands on what the connection's machines want, and files its next deadline. The last step of every change.
    fn settle(&mut self, now: Timestamp, id: ConnectionId) {
        while let Some(accepted) = self.connections.get_mut(id)
            && let Stage::Device(device) = &accepted.stage
            && let Some(verdict) = accepted.connection.poll_verdict(now)
        {
            let device = device.clone();
            match verdict {
                connection::Verdict::Suspect { silent_for } => {
                    self.events.push(ServerEvent::Suspect { device, silent_for });
                }
                connection::Verdict::Recovered => self.events.push(ServerEvent::Recovered { device }),
                connection::Verdict::Measured => {}
                connection::Verdict::Dead(cause) => self.part(now, id, DownCause::Dead(cause), None),
            }
        }
        let Some(accepted) = self.connections.get_mut(id) else { return };
        if let Stage::Device(device) = &accepted.stage
            && let Some(entry) = self.devices.get_mut(device)
        {
            let events = &mut self.events;
            accepted.connection.pump(now, &mut entry.session, |dropped| {
                events.push(ServerEvent::Dropped { device: device.clone(), dropped });
            });
        }
        if accepted.connection.take_transmit() {
            self.actions.push_back(ServerAction::Transmit(id));
        }
        let due = accepted.connection.poll_timeout().map(|due| due.at);
        self.timers.file(Key::Connection(id), &mut accepted.filed, due);
    }

    /// Brings the earliest filed moments up to date, until the first one is real.
    fn refile(&mut self) {
        while let Some((at, key)) = self.timers.first().cloned() {
            let (filed, due) = match &key {
                Key::Connection(id) => match self.connections.get_mut(*id) {
                    Some(accepted) => (&mut accepted.filed, accepted.connection.poll_timeout().map(|due| due.at)),
                    None => return,
                },
                Key::Device(device) => match self.devices.get_mut(device) {
                    Some(entry) => {
                        let due = entry.deadline(&self.config).map(|due| due.at);
                        (&mut entry.filed, due)
                    }
                    None => return,
                },
            };
            if due == Some(at) {
                return;
            }
            self.timers.remove(filed);
            self.timers.file(key, filed, due);
        }
    }

    fn receive(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8]) {
        let (mut input, mut frames, mut greeted) = (bytes, 0, false);
        if let Some(accepted) = self.connections.get_mut(id) {
            accepted.connection.received(now);
        }
        while let Some(accepted) = self.connections.get_mut(id) {
            let heard = match (&accepted.stage, accepted.connection.decode(&mut input)) {
                (Stage::Parting, _) => return,
                (_, Ok(None)) => {
                    accepted.connection.decoded(now, frames);
                    return if greeted {
                        self.be_greeted(now, id)
                    };
                }
                (_, Err(error)) => Err(DownCause::Protocol(error)),
                (Stage::Device(device), Ok(Some(frame))) => match self.devices.get_mut(device) {
                    Some(entry) => {
                        entry.confirmed = true;
                        let heard = accepted.connection.heard(now, frame, &mut entry.session);
                        let full = entry.session.inbox.is_full();
                        if full && let Some(liveness) = accepted.connection.liveness_mut() {
                            liveness.pause_reading(now);
                        }
                        heard.map(|heard| (device.clone(), heard))
                    }
                    None => return,
                },
                (Stage::Greeting, Ok(Some(Frame::Hello(hello)))) => {
                    accepted.stage = Stage::Authenticating(hello);
                    (greeted, frames) = (true, frames + 1);
                    continue;
                }
                (Stage::Greeting | Stage::Authenticating(_), Ok(Some(Frame::Goodbye(goodbye)))) => {
                    Err(DownCause::Goodbye(*goodbye))
                }
                (Stage::Greeting | Stage::Authenticating(_), Ok(Some(frame))) => {
                    Err(DownCause::Protocol(WireError::Unexpected {
                        frame: frame.name(),
                        expected: if matches!(accepted.stage, Stage::Greeting) {
                            "HELLO"
                        } else {
                            "nothing before WELCOME"
                        },
                    }))
                }
            };
            frames += 1;
            match heard {
                Ok((_, Heard::Nothing)) => {}
                Ok((device, Heard::Message(payload))) => self.events.push(ServerEvent::Message { device, payload }),
                Ok((device, Heard::Acknowledged(through))) => self.acknowledged(device, through),
                Err(cause) => self.part(now, id, cause, None),
            }
        }
    }

    fn acknowledged(&mut self, device: DeviceId, through: Ticket) {
        match self.events.newest_mut() {
            Some(ServerEvent::Acknowledged { device: same, through: newest }) if *same == device => *newest = through,
            _ => self.events.push(ServerEvent::Acknowledged { device, through }),
        }
    }

    /// The hello is here, and nothing after it: whoever cannot wait for the welcome does not get one.
    fn be_greeted(&mut self, now: Timestamp, id: ConnectionId) {
        if !self.config.authenticate {
            return self.answer(now, id, Admission::Accept);
        }
        if let Some(accepted) = self.connections.get_mut(id)
            && let Stage::Authenticating(hello) = &accepted.stage
        {
            self.events.push(ServerEvent::Authenticate {
                connection: id,
                device: hello.device.clone(),
                credentials: hello.credentials.clone(),
                address: accepted.address,
            });
        }
    }

    /// Does not let a device in that asked for it.
    fn refuse(&mut self, now: Timestamp, id: ConnectionId, goodbye: Goodbye, hello: &Hello) {
        if let Some(accepted) = self.connections.get_mut(id) {
            self.events.push(ServerEvent::Rejected {
                cause: DownCause::EndedByUs(goodbye.reason),
                device: Some(hello.device.clone()),
                address: accepted.address,
            });
            self.say_goodbye(now, id, &Frame::Refuse(Box::new(goodbye)));
        }
    }

    /// Ends a connection and tells the device why, with `goodbye` or, without one, with what the cause says. If it is the
    /// device who ended it, there is nothing to tell.
    fn part(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause, goodbye: Option<Goodbye>) {
        let Some(goodbye) = goodbye.or_else(|| cause.farewell()) else { return self.lose(now, id, cause) };
        if self.detach(now, id, cause) {
            self.say_goodbye(now, id, &Frame::Goodbye(Box::new(goodbye)));
        }
    }

    fn say_goodbye(&mut self, now: Timestamp, id: ConnectionId, farewell: &Frame) {
        let Some(accepted) = self.connections.get_mut(id) else { return };
        accepted.connection.close(now, farewell, self.config.close_timeout);
        self.enter_stage(id, Stage::Parting);
    }

    fn enter_stage(&mut self, id: ConnectionId, stage: Stage) {
        if let Some(accepted) = self.connections.get_mut(id) {
            self.handshakes -= usize::from(accepted.stage.is_handshake() && !stage.is_handshake());
            accepted.stage = stage;
        }
    }

    /// The connection is over, whatever the device may think.
    fn lose(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause) {
        self.detach(now, id, cause);
        self.remove(id);
    }

    /// Takes the connection away from whatever it was for. `false` if it was for nothing any more.
    fn detach(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause) -> bool {
        let Some(accepted) = self.connections.get_mut(id) else { return false };
        let address = accepted.address;
        let device = match &accepted.stage {
            Stage::Parting => return false,
            Stage::Greeting => None,
            Stage::Authenticating(hello) => Some(hello.device.clone()),
            Stage::Device(device) => {
                let report = Box::new(DownReport { cause, evidence: accepted.connection.evidence(now) });
                let device = device.clone();
                self.went_away(now, &device, report);
                return true;
            }
        };
        self.events.push(ServerEvent::Rejected { cause, device, address });
        true
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(mut accepted) = self.connections.remove(id) else { return };
        self.handshakes -= usize::from(accepted.stage.is_handshake());
        self.timers.remove(&mut accepted.filed);
        if let Some(address) = accepted.address
            && let Some(open) = self.per_address.get_mut(&address)
        {
            *open -= 1;
            if *open == 0 {
                self.per_address.remove(&address);
            }
        }
        self.actions.push_back(ServerAction::Disconnect(id));
    }

    fn liveness_of(&mut self, id: ConnectionId) -> Option<&mut Liveness> {
        self.connections.get_mut(id)?.connection.liveness_mut()
    }
}
