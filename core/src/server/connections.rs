//! Accepted connections: what they say, what they are told, and how they end. `presence` has the devices.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::time::Duration;

use super::{Admission, ConnectionId, Device, Key, Server, ServerAction, ServerEvent, Stage};
use crate::connection::{self, DownCause, DownReport, Heard, Meaning};
use crate::liveness::Liveness;
use crate::session::Ticket;
use crate::time::Timestamp;
use crate::wire::{DeviceId, Frame, Goodbye, Hello, Reason, Wire, WireError};

impl<W: Wire> Server<W> {
    pub(super) fn connection_due(&mut self, now: Timestamp, id: ConnectionId) {
        let Some(accepted) = self.connections.get_mut(id) else { return };
        self.timers.remove(&mut accepted.filed);
        match (accepted.connection.expired(now), &accepted.stage) {
            (true, Stage::Parting) => self.remove(id),
            (true, _) => {
                let cause = accepted.connection.handshake_timeout();
                self.part(now, id, cause, None);
            }
            (false, _) => accepted.connection.handle_timeout(now),
        }
        self.settle(now, id);
    }

    /// Hands on what the connection's machines want, and files its next deadline. The last step of every change.
    pub(super) fn settle(&mut self, now: Timestamp, id: ConnectionId) {
        let Some(mut accepted) = self.connections.get_mut(id) else { return };
        if accepted.connection.has_action() {
            self.hear_verdicts(now, id);
            let Some(still) = self.connections.get_mut(id) else { return };
            accepted = still;
        }
        let mut settled = None;
        if let Stage::Device(key) = accepted.stage
            && let Some(Device { id: device, session, .. }) = self.devices.get_mut(key)
        {
            let events = &mut self.events;
            let through = accepted.connection.pump(now, session, false, |dropped| {
                events.push(ServerEvent::Dropped { device: device.clone(), dropped });
            });
            settled = through.map(|through| (device.clone(), through));
        }
        if accepted.connection.take_transmit() {
            self.actions.push_back(ServerAction::Transmit(id));
        }
        let due = accepted.connection.poll_timeout().map(|due| due.at);
        self.timers.file(Key::Connection(id.index), &mut accepted.filed, due);
        if let Some((device, through)) = settled {
            self.acknowledged(device, through);
        }
    }

    #[inline(never)]
    fn hear_verdicts(&mut self, now: Timestamp, id: ConnectionId) {
        while let Some(accepted) = self.connections.get_mut(id)
            && let Stage::Device(key) = accepted.stage
            && let Some(verdict) = accepted.connection.poll_verdict(now)
            && let Some(device) = self.devices.id(key)
        {
            match verdict {
                connection::Verdict::Suspect { silent_for } => {
                    self.events.push(ServerEvent::Suspect { device: device.clone(), silent_for });
                }
                connection::Verdict::Recovered => self.events.push(ServerEvent::Recovered { device: device.clone() }),
                connection::Verdict::Measured => {}
                connection::Verdict::Dead(cause) => self.part(now, id, DownCause::Dead(cause), None),
            }
        }
    }

    /// Brings the earliest filed moments up to date, until the first one is real.
    pub(super) fn refile(&mut self) {
        while let Some((at, key)) = self.timers.first().map(|(at, key)| (at, *key)) {
            let (filed, due) = match key {
                Key::Connection(index) => match self.connections.at_mut(index) {
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
            self.timers.refile(filed, due);
        }
    }

    pub(super) fn receive(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8]) {
        let Some(accepted) = self.connections.get_mut(id) else { return };
        accepted.connection.received(now);
        if accepted.connection.hears_indirectly() {
            return self.receive_indirectly(now, id, bytes);
        }
        self.hear(now, id, bytes);
    }

    #[inline(never)]
    fn receive_indirectly(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8]) {
        let accepted = self.connections.get_mut(id);
        if let Some((plain, end)) = accepted.and_then(|accepted| accepted.connection.take_in(bytes)) {
            self.hear_to_end(now, id, &plain, end);
        }
    }

    /// The inbox has room for what was left unread.
    pub(super) fn read_on(&mut self, now: Timestamp, id: ConnectionId) {
        let accepted = self.connections.get_mut(id);
        if let Some(bytes) = accepted.and_then(|accepted| accepted.connection.open_unread()) {
            self.hear_to_end(now, id, &bytes, None);
        }
    }

    /// The connection is over: what came before that is heard yet, and perhaps the cause is in it.
    pub(super) fn be_cut_off(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause) {
        if let Some(accepted) = self.connections.get_mut(id)
            && let Stage::Device(key) = accepted.stage
            && let Some(entry) = self.devices.get(key)
            && let Some(bytes) = accepted.connection.open_last(&entry.session.inbox)
        {
            self.hear(now, id, &bytes);
        }
        let said = self.connections.get_mut(id).and_then(|accepted| accepted.connection.last_word());
        self.lose(now, id, said.unwrap_or(cause));
    }

    fn hear_to_end(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8], end: Option<DownCause>) {
        self.hear(now, id, bytes);
        let accepted = self.connections.get_mut(id);
        if let Some(cause) = accepted.and_then(|accepted| accepted.connection.end_behind(end)) {
            self.part(now, id, cause, None);
        }
    }

    /// Acts on what came, as far as the inbox has room.
    #[inline]
    fn hear(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8]) {
        let (mut heard, mut greeted) = (Heard::nothing_of(bytes), false);
        while let Some(accepted) = self.connections.get_mut(id) {
            let decoded = accepted.connection.decode(now, &mut heard);
            if heard.take_beats()
                && let Stage::Device(key) = accepted.stage
                && let Some(device) = self.devices.get_mut(key)
            {
                device.confirmed = true;
            }
            let meaning = match (&accepted.stage, decoded) {
                (Stage::Parting, _) => return,
                (_, Ok(None)) => {
                    accepted.connection.decoded(now, &heard);
                    if greeted {
                        self.be_greeted(now, id);
                    }
                    return;
                }
                (_, Err(cause)) => Err(cause),
                (Stage::Device(key), Ok(Some(frame))) => match self.devices.get_mut(*key) {
                    Some(entry) => {
                        let meaning = accepted.connection.act_on(frame, &mut entry.session);
                        entry.confirmed = true;
                        match meaning {
                            Ok(Meaning::Message(message)) => {
                                self.events.push(ServerEvent::Message { device: entry.id.clone(), message });
                                let inbox = &entry.session.inbox;
                                if inbox.is_full() && accepted.connection.leave_unread(now, &heard, inbox) {
                                    return;
                                }
                                Ok(())
                            }
                            Ok(Meaning::Acknowledged(through)) => {
                                let device = entry.id.clone();
                                self.acknowledged(device, through);
                                Ok(())
                            }
                            Ok(Meaning::Nothing | Meaning::Answered { .. }) => Ok(()),
                            Err(cause) => Err(cause),
                        }
                    }
                    None => return,
                },
                (Stage::Greeting, Ok(Some(Frame::Hello(hello)))) => {
                    accepted.stage = Stage::Authenticating(hello);
                    greeted = true;
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
            if let Err(cause) = meaning {
                // What is behind it is not looked at: it was said before the other side could hear our last word.
                return self.part(now, id, cause, None);
            }
        }
    }

    pub(super) fn acknowledged(&mut self, device: DeviceId, through: Ticket) {
        match self.events.newest_mut() {
            Some(ServerEvent::Acknowledged { device: same, through: newest }) if *same == device => *newest = through,
            _ => self.events.push(ServerEvent::Acknowledged { device, through }),
        }
    }

    /// The hello is here, and nothing after it: whoever cannot wait for the welcome does not get one.
    pub(super) fn be_greeted(&mut self, now: Timestamp, id: ConnectionId) {
        if !self.config.authenticate {
            return self.decide(now, id, Admission::Accept);
        }
        if let Some(accepted) = self.connections.get_mut(id)
            && let Stage::Authenticating(hello) = &accepted.stage
        {
            self.events.push(ServerEvent::Authenticate {
                connection: id,
                device: hello.device.clone(),
                credentials: hello.credentials.clone(),
                address: accepted.address,
                certificate: accepted.connection.peer_certificate(),
                offer: accepted.connection.offer(),
            });
        }
    }

    /// Does not let a device in that asked for it.
    pub(super) fn refuse(&mut self, now: Timestamp, id: ConnectionId, goodbye: Goodbye, hello: &Hello) {
        if let Some(accepted) = self.connections.get_mut(id) {
            self.events.push(ServerEvent::Rejected {
                cause: DownCause::EndedByUs(goodbye.reason),
                device: Some(hello.device.clone()),
                address: accepted.address,
            });
            let cause = DownCause::EndedByUs(goodbye.reason);
            accepted.connection.say_last(Some(&Frame::Refuse(Box::new(goodbye))), &cause);
            self.let_part(now, id, self.config.close_timeout);
        }
    }

    /// Ends a connection and tells the device why, with `goodbye` or, without one, with what the cause says. If it is the
    /// device who ended it, there is nothing to tell.
    pub(super) fn part(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause, goodbye: Option<Goodbye>) {
        let Some(accepted) = self.connections.get_mut(id) else { return };
        if let Stage::Parting = accepted.stage {
            return;
        }
        let farewell = goodbye.or_else(|| cause.farewell()).map(|goodbye| Frame::Goodbye(Box::new(goodbye)));
        if !accepted.connection.say_last(farewell.as_ref(), &cause) {
            return self.lose(now, id, cause);
        }
        // What it asked for instead of a link may be long.
        let served = matches!((&accepted.stage, &cause), (Stage::Greeting, DownCause::Goodbye(_)));
        let timeout = if served { self.config.handshake_timeout } else { self.config.close_timeout };
        if self.detach(now, id, cause) {
            self.let_part(now, id, timeout);
        }
    }

    /// What was said last leaves yet.
    pub(super) fn let_part(&mut self, now: Timestamp, id: ConnectionId, timeout: Duration) {
        let Some(accepted) = self.connections.get_mut(id) else { return };
        accepted.connection.close(now, timeout);
        self.enter_stage(id, Stage::Parting);
    }

    pub(super) fn enter_stage(&mut self, id: ConnectionId, stage: Stage) {
        if let Some(accepted) = self.connections.get_mut(id) {
            self.handshakes -= usize::from(accepted.stage.is_handshake() && !stage.is_handshake());
            accepted.stage = stage;
        }
    }

    /// The connection is over, whatever the device may think.
    pub(super) fn lose(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause) {
        self.detach(now, id, cause);
        self.remove(id);
    }

    /// Takes the connection away from whatever it was for. `false` if it was for nothing any more.
    pub(super) fn detach(&mut self, now: Timestamp, id: ConnectionId, cause: DownCause) -> bool {
        let Some(accepted) = self.connections.get_mut(id) else { return false };
        let address = accepted.address;
        let device = match &accepted.stage {
            Stage::Parting => return false,
            // It wanted nothing that a device wants.
            Stage::Greeting if matches!(&cause, DownCause::Goodbye(Goodbye { reason: Reason::Closed, .. })) => {
                return true;
            }
            Stage::Greeting => None,
            Stage::Authenticating(hello) => Some(hello.device.clone()),
            Stage::Device(key) => {
                let (key, evidence) = (*key, accepted.connection.evidence(now));
                self.went_away(now, key, Box::new(DownReport { cause, evidence }));
                return true;
            }
        };
        self.events.push(ServerEvent::Rejected { cause, device, address });
        true
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(mut accepted) = self.connections.remove(id) else { return };
        self.handshakes -= usize::from(accepted.stage.is_handshake());
        self.timers.remove(&mut accepted.filed);
        self.per_address_gone(accepted.address);
        self.actions.push_back(ServerAction::Disconnect(id));
    }

    pub(super) fn per_address_gone(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address
            && let Some(open) = self.per_address.get_mut(&address)
        {
            *open -= 1;
            if *open == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    pub(super) fn liveness_of(&mut self, id: ConnectionId) -> Option<&mut Liveness> {
        self.connections.get_mut(id)?.connection.liveness_mut()
    }
}
