//! Devices: who is here, whose session is kept, who takes over.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

use super::{ConnectionId, Key, Server, ServerConfig, ServerEvent, Stage};
use crate::connection::{DownCause, DownReport};
use crate::liveness::{Judgement, Liveness};
use crate::session::{Session, Token};
use crate::time::{Deadline, DeadlineCause, Timestamp, wire_millis};
use crate::wire::{DeviceId, Frame, Goodbye, Hello, PROTOCOL_VERSION, Reason, Welcome, Wire};

/// The sessions of all devices, on their way from one server to the next; see [`Server::take_sessions`].
#[derive(Debug, Default)]
pub struct Sessions {
    pub(super) devices: BTreeMap<DeviceId, Device>,
}

/// One device that has a session.
#[derive(Debug)]
pub(super) struct Device {
    token: Token,
    pub(super) session: Session,
    /// Whether the device has been heard in this session, and so knows its token.
    pub(super) confirmed: bool,
    presence: Presence,
    pub(super) filed: Option<Timestamp>,
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
            Presence::Away { .. } | Presence::Offline { .. } => None,
        }
    }

    pub(super) fn next_deadline<W: Wire>(&self, config: &ServerConfig<W>) -> Option<Timestamp> {
        self.deadline(config).map(|deadline| deadline.at)
    }

    fn deadline<W: Wire>(&self, config: &ServerConfig<W>) -> Option<Deadline> {
        let presence = match &self.presence {
            Presence::Here(_) => None,
            Presence::Away { since, .. } => Some(Deadline::new(since.after(config.grace), DeadlineCause::Grace)),
            Presence::Offline { since } => {
                Some(Deadline::new(since.after(config.session_lifetime), DeadlineCause::SessionExpiry))
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
        let earlier = self.devices.get(&hello.device).and_then(Device::connection);
        let replaced = earlier.and_then(|earlier| self.replace(now, earlier));
        let entrance = self.enter(id, hello);
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
        let (Some(accepted), Some(device)) = (self.connections.get_mut(id), self.devices.get(&hello.device)) else {
            return;
        };
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            token: device.token,
            resumed: entrance.resumed,
            interval_ms: wire_millis(interval),
            reply_timeout_ms: wire_millis(reply_timeout),
            message_limit: self.message_limit as u64,
            received: device.session.inbox.received(),
        };
        let full = device.session.inbox.is_full();
        accepted.stage = Stage::Device(hello.device.clone());
        accepted.connection.say(now, &Frame::Welcome(Box::new(welcome)));
        accepted.connection.establish(now, liveness, hello.message_limit);
        if full && let Some(liveness) = accepted.connection.liveness_mut() {
            liveness.pause_reading(now);
        }
        self.handshakes -= 1;
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
        accepted.stage = Stage::Parting;
        self.say_goodbye(now, earlier, &Frame::Goodbye(Box::new(Goodbye::new(Reason::Replaced, ""))));
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
        if hello.token == Some(device.token)
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
            // Its welcome never arrived, so the device cannot know the token, and nothing in this session did arrive.
            device.session.restart();
            let before = core::mem::replace(&mut device.presence, Presence::Here(id));
            return Entrance { resumed: false, before: Some(before) };
        }
        let fresh = self.new_device(id);
        let Some(mut ended) = self.devices.insert(hello.device.clone(), fresh) else {
            return Entrance { resumed: false, before: None };
        };
        self.timers.remove(Key::Device(hello.device.clone()), &mut ended.filed);
        self.report_end(&hello.device, &mut ended.session);
        Entrance { resumed: false, before: Some(ended.presence) }
    }

    fn new_device(&mut self, id: ConnectionId) -> Device {
        let mut token = [0; 16];
        self.entropy.fill(&mut token);
        Device {
            token: Token::new(token),
            session: Session::new(self.config.outbox.clone(), self.config.inbox.clone()),
            confirmed: false,
            presence: Presence::Here(id),
            filed: None,
        }
    }

    /// A device's connection is over.
    pub(super) fn went_away(&mut self, now: Timestamp, id: &DeviceId, report: Box<DownReport>) {
        let closed = match &report.cause {
            DownCause::Goodbye(goodbye) => goodbye.reason == Reason::Closed,
            DownCause::Closed(reason) => *reason == Reason::Closed,
            _ => false,
        };
        let Some(device) = self.devices.get_mut(id) else { return };
        device.presence = Presence::Away { since: now, report };
        if closed {
            self.report_offline(id);
            self.end_session(id);
        } else if self.config.grace.is_zero() {
            self.report_offline(id);
        }
        self.file_device(id);
    }

    pub(super) fn device_due(&mut self, now: Timestamp, id: &DeviceId) {
        let Some(device) = self.devices.get_mut(id) else { return };
        self.timers.remove(Key::Device(id.clone()), &mut device.filed);
        while let Some(dropped) = device.session.outbox.expire(now) {
            self.events.push(ServerEvent::Dropped { device: id.clone(), dropped });
        }
        if let Some(due) = device.deadline(&self.config)
            && due.at <= now
        {
            match due.cause {
                DeadlineCause::Grace => self.report_offline(id),
                DeadlineCause::SessionExpiry => self.end_session(id),
                _ => {}
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
        let Some(mut device) = self.devices.remove(id) else { return };
        self.timers.remove(Key::Device(id.clone()), &mut device.filed);
        self.report_end(id, &mut device.session);
    }

    fn report_end(&mut self, id: &DeviceId, session: &mut Session) {
        let undelivered = session.outbox.take_all().collect();
        self.events.push(ServerEvent::SessionEnded { device: id.clone(), undelivered });
    }

    pub(super) fn file_device(&mut self, id: &DeviceId) {
        if let Some(device) = self.devices.get_mut(id) {
            let due = device.next_deadline(&self.config);
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
    }
}
