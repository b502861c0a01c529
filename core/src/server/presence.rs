//! Devices: who is here, whose session is kept, who takes over.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::arena::Slab;
use super::index::Index;
use super::{ConnectionId, Key, Server, ServerConfig, ServerEvent, Stage};
use crate::connection::{DownCause, DownReport};
use crate::entropy::Entropy;
use crate::liveness::{Judgement, Liveness};
use crate::session::{Session, Token};
use crate::time::{Deadline, DeadlineCause, Timestamp, wire_millis};
use crate::timers::Filed;
use crate::wire::{DeviceId, Frame, Goodbye, Hello, PROTOCOL_VERSION, Reason, Welcome, Wire};

/// The sessions of all devices, on their way from one server to the next; see [`Server::take_sessions`].
#[derive(Debug)]
pub struct Sessions {
    pub(super) devices: Devices,
    /// When they were taken out, by the clock of the server that they were taken from.
    pub(super) taken_at: Timestamp,
}

/// Names one device while it is known.
pub(super) type DeviceKey = u32;

/// All devices that are known.
#[derive(Debug)]
pub(super) struct Devices {
    index: Index,
    slots: Slab<Device>,
}

impl Devices {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self { index: Index::new(entropy), slots: Slab::new() }
    }

    pub(super) fn find(&self, id: &DeviceId) -> Option<DeviceKey> {
        self.index.find(id).find(|key| self.id(*key) == Some(id))
    }

    pub(super) fn by_id(&self, id: &DeviceId) -> Option<&Device> {
        self.get(self.find(id)?)
    }

    pub(super) fn get(&self, key: DeviceKey) -> Option<&Device> {
        self.slots.get(key)
    }

    pub(super) fn get_mut(&mut self, key: DeviceKey) -> Option<&mut Device> {
        self.slots.get_mut(key)
    }

    pub(super) fn id(&self, key: DeviceKey) -> Option<&DeviceId> {
        self.get(key).map(|device| &device.id)
    }

    pub(super) fn keys(&self) -> Vec<DeviceKey> {
        self.slots.iter().map(|(key, _)| key).collect()
    }

    fn insert(&mut self, device: Device) -> DeviceKey {
        let id = device.id.clone();
        let key = self.slots.insert(device);
        self.index.insert(&id, key);
        key
    }

    pub(super) fn remove(&mut self, key: DeviceKey) {
        if let Some(device) = self.slots.remove(key) {
            self.index.remove(&device.id, key);
        }
    }

    fn len(&self) -> usize {
        self.slots.len()
    }
}

/// One device that has a session.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    /// `None` once the session has ended; the device stays here only while its last messages wait to be taken.
    token: Option<Token>,
    pub(super) session: Session,
    /// Whether the device has been heard in this session, and so knows its token.
    pub(super) confirmed: bool,
    /// It is a foreigner, whose session ends with its connection.
    ephemeral: bool,
    /// Of the latest hello that was let in.
    instance: u64,
    attempt: u32,
    presence: Presence,
    pub(super) filed: Option<Filed>,
}

#[derive(Debug)]
enum Presence {
    Here(ConnectionId),
    /// Gone, and not reported yet.
    Away(Box<Away>),
    Offline {
        since: Timestamp,
    },
    /// Its session has ended.
    Unknown,
}

#[derive(Debug)]
struct Away {
    since: Timestamp,
    report: Box<DownReport>,
}

/// How a device's session begins or goes on.
struct Entrance {
    resumed: bool,
    before: Option<Presence>,
}

impl Device {
    pub(super) const fn connection(&self) -> Option<ConnectionId> {
        match self.presence {
            Presence::Here(id) => Some(id),
            Presence::Away(_) | Presence::Offline { .. } | Presence::Unknown => None,
        }
    }

    pub(super) const fn has_session(&self) -> bool {
        self.token.is_some()
    }

    /// All moments were told by a clock that said `then`; from now on one tells them that says `now`.
    pub(super) fn change_clock(&mut self, then: Timestamp, now: Timestamp) {
        match &mut self.presence {
            Presence::Away(away) => away.since = now.before(then.since(away.since)),
            Presence::Offline { since } => *since = now.before(then.since(*since)),
            Presence::Here(_) | Presence::Unknown => {}
        }
        self.session.outbox.change_clock(then, now);
    }

    pub(super) fn deadline<W: Wire>(&self, config: &ServerConfig<W>) -> Option<Deadline> {
        let presence = match &self.presence {
            Presence::Here(_) | Presence::Unknown => None,
            Presence::Away(away) => Some(Deadline::new(away.since.after(config.grace), DeadlineCause::Grace)),
            Presence::Offline { since } => {
                // A device that never spoke in its session cannot resume it, and nothing waits for it.
                let worthless = !self.confirmed && self.session.outbox.is_empty();
                let lifetime = if worthless { config.grace } else { config.session_lifetime };
                Some(Deadline::new(since.after(lifetime), DeadlineCause::SessionExpiry))
            }
        };
        let age = self.session.outbox.next_expiry().map(|at| Deadline::new(at, DeadlineCause::MessageAge));
        Deadline::earlier(presence, age)
    }
}

impl<W: Wire> Server<W> {
    /// Lets a device in: takes over from its earlier connection, resumes its session or begins one, and welcomes it.
    pub(super) fn admit(&mut self, now: Timestamp, id: ConnectionId, hello: &Hello) {
        let known = self.devices.by_id(&hello.device);
        if known.is_none() && self.devices.len() >= self.config.max_sessions {
            let goodbye = Goodbye::new(Reason::Busy, "no room for another device");
            return self.refuse(now, id, goodbye, hello);
        }
        if let Some(Device { instance, attempt, .. }) = known
            && hello.instance == *instance
            && hello.instance != 0
            && hello.attempt <= *attempt
        {
            let goodbye = Goodbye::new(Reason::Replaced, "a later attempt of this client was here before");
            return self.refuse(now, id, goodbye, hello);
        }
        let earlier = known.and_then(Device::connection);
        let replaced = earlier.and_then(|earlier| self.replace(now, earlier));
        let (key, entrance) = self.enter(id, hello);
        let Some(token) = self.devices.get(key).and_then(|device| device.token) else { return };
        let is_foreign = hello.version == 0;
        let liveness = if is_foreign { self.beat_at(now, hello) } else { self.listen_to(now, hello) };
        let (interval, reply_timeout) = (liveness.interval(), liveness.reply_timeout());
        if let Some(device) = self.devices.get_mut(key) {
            (device.instance, device.attempt, device.ephemeral) = (hello.instance, hello.attempt, is_foreign);
        }
        self.enter_stage(id, Stage::Device(key));
        let (Some(accepted), Some(device)) = (self.connections.get_mut(id), self.devices.get(key)) else {
            return;
        };
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            token,
            resumed: entrance.resumed,
            interval_ms: wire_millis(interval),
            reply_timeout_ms: wire_millis(reply_timeout),
            message_limit: accepted.message_limit(&self.config) as u64,
            received: device.session.inbox.received(),
        };
        let full = device.session.inbox.is_full();
        accepted.connection.say(now, &Frame::Welcome(Box::new(welcome)));
        accepted.connection.establish(now, liveness, hello.message_limit);
        if full && let Some(liveness) = accepted.connection.liveness_mut() {
            liveness.pause_reading(now);
        }
        let (device, resumed, address) = (hello.device.clone(), entrance.resumed, accepted.address);
        self.events.push(match (replaced, entrance.before) {
            (Some(report), _) => ServerEvent::Replaced { device, resumed, report, address },
            (None, Some(Presence::Away(away))) => {
                ServerEvent::Returned { device, resumed, away: now.since(away.since), report: away.report }
            }
            _ => ServerEvent::Online { device, address, resumed, interval },
        });
        self.file_device(key);
    }

    /// A device of ours beats at an interval of its wish, if that is granted.
    fn listen_to(&mut self, now: Timestamp, hello: &Hello) -> Liveness {
        let config = &self.config;
        let interval =
            Duration::from_millis(hello.interval_ms.into()).clamp(config.shortest_interval, config.longest_interval);
        let reply_timeout = Duration::from_millis(hello.reply_timeout_ms.into()).min(interval);
        let seed = self.prng.next_u64();
        Liveness::with_terms(config.liveness.clone(), Judgement::OneWay, interval, reply_timeout, now, seed)
    }

    /// A foreigner need not beat: we do, unless its wire cannot; then it asks for an interval.
    fn beat_at(&mut self, now: Timestamp, hello: &Hello) -> Liveness {
        let liveness = &self.config.liveness;
        let interval = liveness.interval().max(Duration::from_millis(hello.interval_ms.into()));
        let seed = self.prng.next_u64();
        let reply_timeout = liveness.reply_timeout();
        let judgement = if hello.interval_ms == 0 { Judgement::RoundTrip } else { Judgement::OneWay };
        Liveness::with_terms(liveness.clone(), judgement, interval, reply_timeout, now, seed)
    }

    /// Sends the earlier connection of a device away.
    fn replace(&mut self, now: Timestamp, earlier: ConnectionId) -> Option<Box<DownReport>> {
        let accepted = self.connections.get_mut(earlier)?;
        let report = DownReport { cause: DownCause::Replaced, evidence: accepted.connection.evidence(now) };
        let farewell = Frame::Goodbye(Box::new(Goodbye::new(Reason::Replaced, "")));
        accepted.connection.say_last(Some(&farewell), &report.cause);
        self.let_part(now, earlier, self.config.close_timeout);
        self.settle(now, earlier);
        Some(Box::new(report))
    }

    /// Finds or makes the session that this device goes on with.
    fn enter(&mut self, id: ConnectionId, hello: &Hello) -> (DeviceKey, Entrance) {
        let known = self.devices.find(&hello.device);
        let (Some(key), Some(device)) = (known, known.and_then(|key| self.devices.get_mut(key))) else {
            let device = self.new_device(id, hello.device.clone());
            return (self.devices.insert(device), Entrance { resumed: false, before: None });
        };
        let before = Some(core::mem::replace(&mut device.presence, Presence::Here(id)));
        if hello.token.is_some()
            && hello.token == device.token
            && device.session.outbox.numbered_above(hello.message_limit).is_none()
            && let Ok(settled) = device.session.outbox.resume(hello.received)
        {
            device.confirmed = true;
            if let Some(through) = settled {
                self.acknowledged(hello.device.clone(), through);
            }
            return (key, Entrance { resumed: true, before });
        }
        let had_session = device.token.replace(fresh_token(&mut *self.entropy)).is_some();
        if device.confirmed {
            device.confirmed = false;
            let undelivered = device.session.outbox.take_all().collect();
            if had_session {
                self.events.push(ServerEvent::SessionEnded { device: hello.device.clone(), undelivered });
            }
        }
        // Without that, its welcome never arrived: the session goes on as a new one. Should another process of the device
        // know the token after all, it must not go on with numbers that are this one's from now on.
        device.session.restart();
        (key, Entrance { resumed: false, before })
    }

    fn new_device(&mut self, connection: ConnectionId, id: DeviceId) -> Device {
        Device {
            id,
            token: Some(fresh_token(&mut *self.entropy)),
            session: Session::new(self.config.outbox.clone(), self.config.inbox.clone()),
            confirmed: false,
            ephemeral: false,
            instance: 0,
            attempt: 0,
            presence: Presence::Here(connection),
            filed: None,
        }
    }

    /// A device's connection is over.
    pub(super) fn went_away(&mut self, now: Timestamp, key: DeviceKey, report: Box<DownReport>) {
        let ephemeral = self.devices.get(key).is_some_and(|device| device.ephemeral);
        let closed = ephemeral
            || match &report.cause {
                DownCause::Goodbye(goodbye) => goodbye.reason == Reason::Closed,
                DownCause::EndedByUs(reason) => *reason == Reason::Closed,
                _ => false,
            };
        let Some(device) = self.devices.get_mut(key) else { return };
        device.presence = Presence::Away(Box::new(Away { since: now, report }));
        if closed {
            self.report_offline(key);
            self.end_session(key);
        }
        self.device_due(now, key);
    }

    pub(super) fn device_due(&mut self, now: Timestamp, key: DeviceKey) {
        let Some(device) = self.devices.get_mut(key) else { return };
        self.timers.remove(&mut device.filed);
        while let Some(dropped) = device.session.outbox.expire(now) {
            self.events.push(ServerEvent::Dropped { device: device.id.clone(), dropped });
        }
        // One may follow at once on another: without a grace, an offline device may have nothing worth keeping.
        while let Some(due) = self.devices.get(key).and_then(|device| device.deadline(&self.config))
            && due.at <= now
        {
            match due.cause {
                DeadlineCause::Grace => self.report_offline(key),
                DeadlineCause::SessionExpiry => self.end_session(key),
                _ => break,
            }
        }
        self.file_device(key);
    }

    fn report_offline(&mut self, key: DeviceKey) {
        let Some(device) = self.devices.get_mut(key) else { return };
        let Presence::Away(away) = &device.presence else { return };
        let since = away.since;
        let before = core::mem::replace(&mut device.presence, Presence::Offline { since });
        if let Presence::Away(away) = before {
            let report = away.report;
            let last_seen = report.evidence.as_ref().map_or(since, |evidence| evidence.last_received);
            self.events.push(ServerEvent::Offline { device: device.id.clone(), report, last_seen });
        }
    }

    fn end_session(&mut self, key: DeviceKey) {
        let Some(device) = self.devices.get_mut(key) else { return };
        device.token = None;
        device.presence = Presence::Unknown;
        let undelivered = device.session.outbox.take_all().collect();
        self.events.push(ServerEvent::SessionEnded { device: device.id.clone(), undelivered });
        self.forget_if_done(key);
    }

    /// A device without a session is kept only for the account of its messages that wait to be taken.
    fn forget_if_done(&mut self, key: DeviceKey) {
        if let Some(device) = self.devices.get_mut(key)
            && !device.has_session()
            && !device.session.inbox.has_waiting()
        {
            self.timers.remove(&mut device.filed);
            self.devices.remove(key);
        }
    }

    pub(super) fn file_device(&mut self, key: DeviceKey) {
        if let Some(device) = self.devices.get_mut(key) {
            let due = device.deadline(&self.config).map(|due| due.at);
            self.timers.file(Key::Device(key), &mut device.filed, due);
        }
    }

    /// The application took a message of this device.
    pub(super) fn message_taken(&mut self, now: Timestamp, id: &DeviceId, bytes: usize) {
        let Some(key) = self.devices.find(id) else { return };
        let Some(device) = self.devices.get_mut(key) else { return };
        let was_full = device.session.inbox.is_full();
        device.session.inbox.taken(bytes);
        if was_full
            && !device.session.inbox.is_full()
            && let Some(connection) = device.connection()
        {
            if let Some(liveness) = self.liveness_of(connection) {
                liveness.resume_reading(now);
            }
            self.read_on(now, connection);
            if self.wants_read(connection) {
                self.actions.push_back(super::ServerAction::Read(connection));
            }
            self.settle(now, connection);
        }
        self.forget_if_done(key);
    }
}

fn fresh_token(entropy: &mut dyn Entropy) -> Token {
    let mut token = [0; 16];
    entropy.fill(&mut token);
    Token::new(token)
}
