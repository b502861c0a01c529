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
mod connections;
mod event;
mod index;
mod presence;
mod status;

pub use arena::ConnectionId;
pub use config::{Port, ServerConfig, ServerConfigBuilder, ServerConfigError};
pub use event::{AcceptError, Admission, ServerAction, ServerEvent, ServerInput};
pub use presence::Sessions;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::net::IpAddr;
use core::time::Duration;

use self::arena::Arena;
use self::presence::{Device, DeviceKey, Devices};
use crate::connection::{Connection, DownCause, EventQueue};
use crate::entropy::{Entropy, Prng};
use crate::session::{Message, SendError, Ticket};
use crate::time::{Deadline, DeadlineCause, Timestamp, wire_millis};
use crate::timers::{Filed, Timers};
use crate::tunnel::{LayerError, Layers};
use crate::wire::Any;
use crate::wire::{DeviceId, Goodbye, Hello, Opening, Reason, Role, Wire};

/// So many events that a later one outdates wait for an application that does not look.
const EVENT_LIMIT: usize = 1 << 16;

/// All connections and devices of one server.
pub struct Server<W: Wire = Any> {
    config: Arc<ServerConfig<W>>,
    message_limit: usize,
    entropy: Box<dyn Entropy + Send>,
    prng: Prng,
    connections: Arena<W>,
    /// How many connections are in a stage of the handshake.
    handshakes: usize,
    per_address: BTreeMap<IpAddr, usize>,
    devices: Devices,
    timers: Timers<Key>,
    actions: VecDeque<ServerAction>,
    events: EventQueue<ServerEvent, EVENT_LIMIT>,
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
    /// Which one of the configuration's.
    port: u16,
    filed: Option<Filed>,
    /// The serial number in its [`ConnectionId`].
    generation: u32,
}

impl<W: Wire> Accepted<W> {
    /// The largest message that we accept on it, in bytes.
    fn message_limit(&self, config: &ServerConfig<W>) -> usize {
        config.ports.get(usize::from(self.port)).map_or(0, |port| W::message_limit(&port.wire))
    }
}

enum Stage {
    /// No hello yet.
    Greeting,
    /// The application has not answered for this device yet.
    Authenticating(Box<Hello>),
    /// The device is in, and this connection is its one.
    Device(DeviceKey),
    /// Only the goodbye remains.
    Parting,
}

impl Stage {
    const fn is_handshake(&self) -> bool {
        matches!(self, Self::Greeting | Self::Authenticating(_))
    }
}

/// What is filed for a moment, until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The connection with this number.
    Connection(u32),
    Device(DeviceKey),
}

impl<W: Wire> Server<W> {
    /// A server that nobody has connected to. `entropy` makes session tokens and must be the operating system's, or as
    /// strong; `seed` need not be secret.
    #[must_use]
    pub fn new(config: Arc<ServerConfig<W>>, mut entropy: Box<dyn Entropy + Send>, seed: u64) -> Self {
        let devices = Devices::new(&mut *entropy);
        Self {
            message_limit: config.ports.iter().map(|port| W::message_limit(&port.wire)).max().unwrap_or_default(),
            config,
            entropy,
            prng: Prng::new(seed),
            connections: Arena::new(),
            handshakes: 0,
            per_address: BTreeMap::new(),
            devices,
            timers: Timers::new(),
            actions: VecDeque::new(),
            events: EventQueue::new(),
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
        for key in server.devices.keys() {
            if let Some(device) = server.devices.get_mut(key) {
                device.change_clock(sessions.taken_at, now);
            }
            server.file_device(key);
        }
        server
    }

    // What the driver does.

    /// A connection was accepted from `address`.
    ///
    /// # Errors
    /// A limit is reached or the server is draining. The driver closes the connection.
    pub fn accept(&mut self, now: Timestamp, address: Option<IpAddr>) -> Result<ConnectionId, AcceptError> {
        self.accept_at(now, address, 0)
    }

    /// A connection was accepted from `address` at one of the configuration's ports, counted from 0.
    ///
    /// # Errors
    /// As [`Server::accept`]; or there is no such port, which is our driver's fault.
    pub fn accept_at(
        &mut self,
        now: Timestamp,
        address: Option<IpAddr>,
        port: usize,
    ) -> Result<ConnectionId, AcceptError> {
        let now = self.tick(now);
        let config = &self.config;
        let Some(way) = config.ports.get(port) else { return Err(AcceptError::NoSuchPort { port }) };
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
        let layers = match layers(way) {
            Ok(layers) => layers,
            Err(error) => {
                self.per_address_gone(address);
                self.events.push(ServerEvent::Rejected { cause: error.into(), device: None, address });
                return Err(AcceptError::Tls);
            }
        };
        self.handshakes += 1;
        let opening = Opening {
            role: Role::Server,
            server: None,
            secure: layers.is_some(),
            durable: false,
            entropy: &mut *self.entropy,
        };
        let connection =
            Connection::open(&way.wire, opening, layers, now, config.handshake_timeout, W::Memory::default());
        let id = self.connections.insert(Accepted {
            connection,
            port: port as u16,
            stage: Stage::Greeting,
            address,
            filed: None,
            generation: 0,
        });
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
        let parting = matches!(accepted.stage, Stage::Parting);
        match (input, &accepted.stage) {
            (ServerInput::Written(count), _) => accepted.connection.written(now, count),
            (ServerInput::Received(bytes), Stage::Parting) => accepted.connection.received_while_closing(bytes),
            (ServerInput::Received(bytes), _) => self.receive(now, id, bytes),
            (ServerInput::Ended(failure), _) => self.be_cut_off(now, id, DownCause::Network(failure)),
        }
        self.settle(now, id);
        if parting && self.connections.get(id).is_some_and(|accepted| accepted.connection.is_finished()) {
            self.remove(id);
        }
    }

    /// Does what is due. Early, late or repeated calls are safe. Hand over everything that can be read before.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.tick(now);
        while let Some((at, key)) = self.timers.first().map(|(at, key)| (at, *key))
            && at <= now
        {
            match key {
                Key::Connection(index) => match self.connections.id_at(index) {
                    Some(id) => self.connection_due(now, id),
                    None => return,
                },
                Key::Device(device) => self.device_due(now, device),
            }
        }
    }

    /// The connections whose deadline has passed: read them before [`Server::handle_timeout`], whatever the runtime says
    /// about their readiness.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = ConnectionId> + '_ {
        self.timers.until(now).filter_map(move |key| match key {
            Key::Connection(index) => {
                let due = self.connections.at(*index)?.connection.poll_timeout()?;
                if due.at <= now { self.connections.id_at(*index) } else { None }
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
        // What was filed and is not due any more hides what is due behind it, until it is filed anew.
        let cause = match key {
            Key::Connection(index) => {
                let due = self.connections.at(*index).and_then(|accepted| accepted.connection.poll_timeout());
                due.map_or(DeadlineCause::Beat, |due| due.cause)
            }
            Key::Device(device) => {
                let due = self.devices.get(*device).and_then(|device| device.deadline(&self.config));
                due.map_or(DeadlineCause::SessionExpiry, |due| due.cause)
            }
        };
        Some(Deadline::new(at, cause))
    }

    /// The next bytes to write to this connection; empty if there are none. Report what the operating system took as
    /// [`ServerInput::Written`]; more may follow then.
    #[must_use]
    pub fn transmit(&self, id: ConnectionId) -> &[u8] {
        self.connections.get(id).map_or(&[], |accepted| accepted.connection.transmit())
    }

    /// Whether the driver should read this connection. `false` while its device's inbox is full.
    #[must_use]
    pub fn wants_read(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|accepted| match &accepted.stage {
            Stage::Device(device) => !self.devices.get(*device).is_some_and(|device| device.session.inbox.is_full()),
            Stage::Greeting | Stage::Parting => true,
            Stage::Authenticating(_) => false,
        })
    }

    // What the application does.

    /// The next event.
    pub fn poll_event(&mut self, now: Timestamp) -> Option<ServerEvent> {
        let now = self.tick(now);
        let event = self.events.pop()?;
        if let ServerEvent::Message { device, message } = &event {
            self.message_taken(now, device, message.len());
        }
        Some(event)
    }

    /// The answer to [`ServerEvent::Authenticate`]. Without effect if the connection is over or was answered for.
    pub fn answer(&mut self, now: Timestamp, id: ConnectionId, admission: Admission) {
        let now = self.tick(now);
        self.decide(now, id, admission);
        if self.connections.get(id).is_some() {
            // Nothing was read meanwhile.
            self.actions.push_back(ServerAction::Read(id));
        }
        self.settle(now, id);
    }

    fn decide(&mut self, now: Timestamp, id: ConnectionId, admission: Admission) {
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
                    retry_after_ms: wire_millis(retry_after),
                    spread_ms: wire_millis(spread),
                    ..Goodbye::new(Reason::Busy, "")
                };
                self.refuse(now, id, goodbye, &hello);
            }
        }
    }

    /// Accepts a message for a device that has a session, connected or not. It is sent, again after every reconnect,
    /// until the device acknowledges it.
    ///
    /// # Errors
    /// The message is handed back: there is no room, it is too large for ever, or the device has no session.
    pub fn send(&mut self, now: Timestamp, device: &DeviceId, message: Message) -> Result<Ticket, SendError> {
        let now = self.tick(now);
        if message.len() > self.message_limit {
            return Err(SendError::TooLarge { message, limit: self.message_limit });
        }
        let key = self.devices.find(device);
        let entry = key.and_then(|key| self.devices.get_mut(key)).filter(|entry| entry.has_session());
        let (Some(key), Some(entry)) = (key, entry) else { return Err(SendError::Closed { message }) };
        entry.session.outbox.tickets_from(self.next_ticket);
        while let Some(dropped) = entry.session.outbox.overflow(message.len()) {
            self.events.push(ServerEvent::Dropped { device: device.clone(), dropped });
        }
        let ticket = entry.session.outbox.push(now, message);
        if let Ok(Ticket(number)) = ticket {
            self.next_ticket = Ticket(number + 1);
        }
        let connection = entry.connection();
        self.file_device(key);
        if let Some(id) = connection {
            self.settle(now, id);
        }
        ticket
    }

    /// Ends a device's connection with this goodbye. Its session is kept, unless the reason is [`Reason::Closed`].
    pub fn disconnect(&mut self, now: Timestamp, device: &DeviceId, goodbye: Goodbye) {
        let now = self.tick(now);
        if let Some(id) = self.devices.by_id(device).and_then(Device::connection) {
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
                retry_after_ms: wire_millis(retry_after),
                spread_ms: wire_millis(spread),
                ..Goodbye::new(Reason::GoingAway, "")
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
        let mut devices = core::mem::replace(&mut self.devices, Devices::new(&mut *self.entropy));
        for key in devices.keys() {
            let Some(device) = devices.get_mut(key) else { continue };
            device.filed = None;
            device.session.inbox.forget_waiting();
            if !device.has_session() {
                devices.remove(key);
            }
        }
        Sessions { devices, taken_at: now }
    }

    // The inside.

    /// Time never runs backwards in here.
    fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }
}

#[cfg(feature = "tls")]
fn layers<W: Wire>(port: &Port<W>) -> Result<Option<Box<Layers>>, LayerError> {
    port.tls.as_ref().map(Layers::of_server).transpose()
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS it is not so")]
const fn layers<W: Wire>(_: &Port<W>) -> Result<Option<Box<Layers>>, LayerError> {
    Ok(None)
}
