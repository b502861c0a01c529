//! One turn of a server, by the contract; or not, if there is a flaw.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerInput, Sessions};
use keepbeat_core::time::Timestamp;

use super::Flaw;
use super::cable::Read;
use super::world::{Cables, is_starving};

pub(super) struct ServerDriver {
    pub(super) server: Server,
    open: BTreeMap<usize, ConnectionId>,
    last_read: Option<Timestamp>,
    accepts: bool,
    flaw: Option<Flaw>,
}

impl ServerDriver {
    pub(super) const fn new(server: Server, flaw: Option<Flaw>) -> Self {
        Self { server, open: BTreeMap::new(), last_read: None, accepts: true, flaw }
    }

    pub(super) fn accept(&mut self, now: Timestamp, cable: usize, cables: &mut Cables) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.server.accept(now, Some(address)) {
            Ok(id) if self.accepts => drop(self.open.insert(cable, id)),
            _ => cables.get(cable).close(),
        }
    }

    pub(super) fn drain_out(&mut self, now: Timestamp, retry_after: Duration, spread: Duration) {
        self.accepts = false;
        self.server.drain(now, retry_after, spread);
    }

    pub(super) fn abort(mut self, now: Timestamp, cables: &mut Cables) -> Sessions {
        for cable in self.open.keys() {
            cables.get(*cable).close();
        }
        self.server.take_sessions(now)
    }

    /// Whether anything happened.
    pub(super) fn turn(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        if self.flaw == Some(Flaw::TimeoutsFirst) {
            return self.due(now) | self.read(now, cables) | self.drain(cables) | self.write(now, cables);
        }
        let mut busy = self.read(now, cables);
        if !is_starving(self.flaw, self.last_read, now) {
            busy |= self.due(now);
        }
        busy | self.drain(cables) | self.write(now, cables)
    }

    fn due(&mut self, now: Timestamp) -> bool {
        let due = self.server.poll_timeout().is_some_and(|due| due.at <= now);
        self.server.handle_timeout(now);
        due
    }

    fn read(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        let mut busy = false;
        for (cable, id) in &self.open {
            while self.server.wants_read(*id) || self.flaw == Some(Flaw::ReadsUnasked) {
                match cables.get(*cable).read() {
                    Read::Bytes(bytes) => {
                        self.last_read = Some(now);
                        self.server.handle_input(now, *id, ServerInput::Received(&bytes));
                        busy = true;
                    }
                    Read::Nothing => break,
                    Read::Ended(_) if self.flaw == Some(Flaw::KeepsEndsToItself) => break,
                    Read::Ended(failure) => {
                        self.server.handle_input(now, *id, ServerInput::Ended(failure));
                        busy = true;
                        break;
                    }
                }
            }
        }
        busy
    }

    fn drain(&mut self, cables: &mut Cables) -> bool {
        let mut busy = false;
        while let Some(action) = self.server.poll_action() {
            busy = true;
            if let ServerAction::Disconnect(id) = action
                && self.flaw != Some(Flaw::NeverDisconnects)
            {
                self.open.retain(|cable, known| {
                    if *known == id {
                        cables.get(*cable).close();
                    }
                    *known != id
                });
            }
        }
        busy
    }

    fn write(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        let mut busy = false;
        for (cable, id) in &self.open {
            while !self.server.transmit(*id).is_empty() {
                let bytes = self.server.transmit(*id);
                let input = match cables.get(*cable).write(bytes) {
                    Ok(0) => break,
                    Ok(_) if self.flaw == Some(Flaw::WritesByHalves) => ServerInput::Written(bytes.len()),
                    Ok(count) => ServerInput::Written(count),
                    Err(_) if self.flaw == Some(Flaw::KeepsEndsToItself) => break,
                    Err(failure) => ServerInput::Ended(failure),
                };
                busy = true;
                self.server.handle_input(now, *id, input);
            }
        }
        busy
    }
}
