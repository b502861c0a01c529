//! Devices: who is here, whose session is kept, who takes over.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

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
    pub(super) devices: BTreeMap<DeviceId, Device>,
    /// When they were taken out, by the clock of the server that they were taken from.
    pub(super) taken_at: Timestamp,
}

/// One device that has a session.
#[derive(Debug)]
pub(super) struct Device {
    /// `None` once the session has ended; the device stays here only while its last messages wait to be taken.
    token: Option<Token>,
    pub(super) session: Session,
    /// Whether the device has been heard in this session, and so knows its token.
    pub(super) confirmed: bool,
    /// The instance and attempt of the latest hello that was let in.
    latest: (u64, u32),
    presence: Presence,
    pub(super) filed: Option<Filed>,
}

#[derive(Debug)]
enum Presence {
    Here(ConnectionId),
    /// Gone, and not reported yet.
    Away {
        since: Timestamp,
        report: Box<DownReport>,
    },
    Offline {
        since: Timestamp,
    },
    /// Its session has ended.
    Unknown,
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
            Presence::Away { .. } | Presence::Offline { .. } | Presence::Unknown => None,
        }
    }

    pub(super) const fn has_session(&self) -> bool {
        self.token.is_some()
    }

    /// All moments were told by a clock that said `then`; from now on one tells them that says `now`.
    pub(super) fn change_clock(&mut self, then: Timestamp, now: Timestamp) {
        if let Presence::Away { since, .. } | Presence::Offline { since } = &mut self.presence {
            *since = now.before(then.since(*since));
        }
        self.session.outbox.change_clock(then, now);
    }

    pub(super) fn deadline<W: Wire>(&self, config: &ServerConfig<W>) -> Option<Deadline> {
        let presence = match &self.presence {
            Presence::Here(_) | Presence::Unknown => None,
            Presence::Away { since, .. } => Some(Deadline::new(since.after(config.grace), DeadlineCause::Grace)),
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
        if !self.devices.contains_key(&hello.device) && self.devices.len() >= self.config.max_sessions {
            let goodbye = Goodbye::new(Reason::Busy, "no room for another device");
            return self.refuse(now, id, goodbye, hello);
        }
        if let Some(Device { latest: (instance, attempt), .. }) = self.devices.get(&hello.device)
            && hello.instance == *instance
            && hello.instance != 0
            && hello.attempt <= *attempt
        {
            let goodbye = Goodbye::new(Reason::Replaced, "a later attempt of this client was here before");
            return self.refuse(now, id, goodbye, hello);
        }
        let earlier = self.devices.get(&hello.device).and_then(Device::connection);
        let replaced = earlier.and_then(|earlier| self.replace(now, earlier));
        let entrance = self.enter(id, hello);
        let Some(token) = self.devices.get(&hello.device).and_then(|device| device.token) else { return };
        let interval = Duration::from_millis(hello.interval_ms.into())
            .clamp(self.config.shortest_interval, self.config.longest_interval);
        let reply_timeout = Duration::from_millis(hello.reply_timeout_ms.into()).min(interval);
        let liveness = Liveness::with_terms(
            self.config.liveness.clone(),
            Judgement::OneWay,
            interval,
            reply_timeout,
            now,
            self.prng.next_u64(),
        );
        let (interval, reply_timeout) = (liveness.interval(), liveness.reply_timeout());
        if let Some(device) = self.devices.get_mut(&hello.device) {
            device.latest = (hello.instance, hello.attempt);
        }
        self.enter_stage(id, Stage::Device(hello.device.clone()));
        let (Some(accepted), Some(device)) = (self.connections.get_mut(id), self.devices.get(&hello.device)) else {
            return;
        };
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            token,
            resumed: entrance.resumed,
            interval_ms: wire_millis(interval),
            reply_timeout_ms: wire_millis(reply_timeout),
            message_limit: self.message_limit as u64,
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
            (None, Some(Presence::Away { since, report })) => {
                ServerEvent::Returned { device, resumed, away: now.since(since), report }
            }
            _ => ServerEvent::Online { device, address, resumed, interval },
        });
        self.file_device(&hello.device);
    }

    /// Sends the earlier connection of a device away.
    fn replace(&mut self, now: Timestamp, earlier: ConnectionId) -> Option<Box<DownReport>> {
        let accepted = self.connections.get_mut(earlier)?;
        let report = DownReport { cause: DownCause::Replaced, evidence: accepted.connection.evidence(now) };
        self.say_goodbye(now, earlier, Some(&Frame::Goodbye(Box::new(Goodbye::new(Reason::Replaced, "")))));
        self.settle(now, earlier);
        Some(Box::new(report))
    }

    /// Finds or makes the session that this device goes on with.
    fn enter(&mut self, id: ConnectionId, hello: &Hello) -> Entrance {
        let Some(device) = self.devices.get_mut(&hello.device) else {
            let device = self.new_device(id);
            self.devices.insert(hello.device.clone(), device);
            return Entrance { resumed: false, before: None };
        };
        if hello.token.is_some()
            && hello.token == device.token
            && device.session.outbox.numbered_above(hello.message_limit).is_none()
            && let Ok(settled) = device.session.outbox.resume(hello.received)
        {
            let before = core::mem::replace(&mut device.presence, Presence::Here(id));
            device.confirmed = true;
            if let Some(through) = settled {
                self.acknowledged(hello.device.clone(), through);
            }
            return Entrance { resumed: true, before: Some(before) };
        }
        if !device.confirmed {
            // Its welcome never arrived: the session goes on as a new one. Should another process of the device know the
            // token after all, it must not go on with numbers that are this one's from now on.
            device.token = Some(fresh_token(&mut *self.entropy));
            device.session.restart();
            let before = core::mem::replace(&mut device.presence, Presence::Here(id));
            return Entrance { resumed: false, before: Some(before) };
        }
        let before = core::mem::replace(&mut device.presence, Presence::Here(id));
        let had_session = device.token.replace(fresh_token(&mut *self.entropy)).is_some();
        device.confirmed = false;
        let undelivered = device.session.outbox.take_all().collect();
        device.session.restart();
        if had_session {
            self.events.push(ServerEvent::SessionEnded { device: hello.device.clone(), undelivered });
        }
        Entrance { resumed: false, before: Some(before) }
    }

    fn new_device(&mut self, id: ConnectionId) -> Device {
        Device {
            token: Some(fresh_token(&mut *self.entropy)),
            session: Session::new(self.config.outbox.clone(), self.config.inbox.clone()),
            confirmed: false,
            latest: (0, 0),
            presence: Presence::Here(id),
            filed: None,
        }
    }

    /// A device's connection is over.
    pub(super) fn went_away(&mut self, now: Timestamp, id: &DeviceId, report: Box<DownReport>) {
        let closed = match &report.cause {
            DownCause::Goodbye(goodbye) => goodbye.reason == Reason::Closed,
            DownCause::EndedByUs(reason) => *reason == Reason::Closed,
            _ => false,
        };
        let Some(device) = self.devices.get_mut(id) else { return };
        device.presence = Presence::Away { since: now, report };
        if closed {
            self.report_offline(id);
            self.end_session(id);
        }
        self.device_due(now, id);
    }

    pub(super) fn device_due(&mut self, now: Timestamp, id: &DeviceId) {
        let Some(device) = self.devices.get_mut(id) else { return };
        self.timers.remove(&mut device.filed);
        while let Some(dropped) = device.session.outbox.expire(now) {
            self.events.push(ServerEvent::Dropped { device: id.clone(), dropped });
        }
        // One may follow at once on another: without a grace, an offline device may have nothing worth keeping.
        while let Some(due) = self.devices.get(id).and_then(|device| device.deadline(&self.config))
            && due.at <= now
        {
            match due.cause {
                DeadlineCause::Grace => self.report_offline(id),
                DeadlineCause::SessionExpiry => self.end_session(id),
                _ => break,
            }
        }
        self.file_device(id);
    }

    fn report_offline(&mut self, id: &DeviceId) {
        let Some(device) = self.devices.get_mut(id) else { return };
        let Presence::Away { since, .. } = device.presence else { return };
        let before = core::mem::replace(&mut device.presence, Presence::Offline { since });
        if let Presence::Away { report, .. } = before {
            let last_seen = report.evidence.as_ref().map_or(since, |evidence| evidence.last_received);
            self.events.push(ServerEvent::Offline { device: id.clone(), report, last_seen });
        }
    }

    fn end_session(&mut self, id: &DeviceId) {
        let Some(device) = self.devices.get_mut(id) else { return };
        device.token = None;
        device.presence = Presence::Unknown;
        let undelivered = device.session.outbox.take_all().collect();
        self.events.push(ServerEvent::SessionEnded { device: id.clone(), undelivered });
        self.forget_if_done(id);
    }

    /// A device without a session is kept only for the account of its messages that wait to be taken.
    fn forget_if_done(&mut self, id: &DeviceId) {
        if let Some(device) = self.devices.get_mut(id)
            && !device.has_session()
            && !device.session.inbox.has_waiting()
        {
            self.timers.remove(&mut device.filed);
            self.devices.remove(id);
        }
    }

    pub(super) fn file_device(&mut self, id: &DeviceId) {
        if let Some(device) = self.devices.get_mut(id) {
            let due = device.deadline(&self.config).map(|due| due.at);
            self.timers.file(Key::Device(id.clone()), &mut device.filed, due);
        }
    }

    /// The application took a message of this device.
    pub(super) fn message_taken(&mut self, now: Timestamp, id: &DeviceId, bytes: usize) {
        let Some(device) = self.devices.get_mut(id) else { return };
        let was_full = device.session.inbox.is_full();
        device.session.inbox.taken(bytes);
        if was_full
            && !device.session.inbox.is_full()
            && let Some(connection) = device.connection()
        {
            if let Some(liveness) = self.liveness_of(connection) {
                liveness.resume_reading(now);
            }
            self.actions.push_back(super::ServerAction::Read(connection));
            self.settle(now, connection);
        }
        self.forget_if_done(id);
    }
}

fn fresh_token(entropy: &mut dyn Entropy) -> Token {
    let mut token = [0; 16];
    entropy.fill(&mut token);
    Token::new(token)
}
