//! The drivers: one turn of a client and of the server, by the driver contract.

use core::net::{IpAddr, Ipv4Addr};

use super::fault::Node;
use super::host::Report;
use super::network::Conn;
use super::pipe::Path;
use super::report::{Entry, What};
use super::{Link, Server, Sim, Wake};
use crate::client::{Action, Event, Input};
use crate::entropy::Prng;
use crate::server::{Admission, ServerAction, ServerEvent, ServerInput};
use crate::time::{Deadline, Timestamp};
use crate::wire::Credentials;

/// One input may cause so many actions at most.
const MOST_ACTIONS: u32 = 1000;

/// One read takes so many bytes at most.
const READ: u64 = 16 << 10;

/// What a turn has seen so far.
#[derive(Default)]
struct Turn {
    inputs: u32,
    /// Actions and events.
    effects: u32,
    /// Actions since the last input.
    actions: u32,
}

impl Sim {
    // The client's driver.

    pub(super) fn client_wanted_at(&self, index: usize) -> Option<Timestamp> {
        let link = &self.links[index];
        let conn = link.current.and_then(|id| self.conns.get(&id));
        let readable = conn.filter(|_| link.client.wants_read()).and_then(|conn| conn.down.readable());
        let writable = conn.and_then(|conn| conn.up.writable());
        let app = link.up.next_at;
        link.host.wanted_at(self.now, [readable, writable, app].into_iter().flatten().min())
    }

    pub(super) fn client_turn(&mut self, index: usize) {
        let host = &mut self.links[index].host;
        let (now, before) = (host.local(self.now), self.links[index].client.poll_timeout());
        let mut turn = Turn::default();
        turn.inputs += u32::from(core::mem::take(&mut self.links[index].host.wanted));
        self.client_reports(index, now, &mut turn);
        self.client_reads(index, now, &mut turn);
        let current = self.links[index].current;
        if current.and_then(|id| self.conns.get_mut(&id)).is_some_and(|conn| conn.up.take_writable(self.now)) {
            turn.inputs += 1;
            self.client_writes(index, now);
        }
        if self.links[index].client.poll_timeout().is_some_and(|due| due.at <= now) {
            self.links[index].client.handle_timeout(now);
        }
        loop {
            self.client_drains(index, now, &mut turn);
            let acted = self.client_app(index, now, &mut turn);
            self.client_reads(index, now, &mut turn);
            if !acted {
                break;
            }
        }
        self.client_drains(index, now, &mut turn);
        let after = self.links[index].client.poll_timeout();
        if after.is_none() && now < Timestamp::MAX && !self.links[index].client.state().is_over() {
            self.fail("a client that is not closed waits for nothing");
        }
        let link = &mut self.links[index];
        link.host.wanted = link.host.paused.is_none() && link.client.has_event();
        self.count_turn(Node::Client(index), &turn, before, after);
        self.audit_client(index);
    }

    fn client_reports(&mut self, index: usize, now: Timestamp, turn: &mut Turn) {
        while let Some(report) = self.links[index].host.reports.pop_front() {
            let input = match report {
                Report::Opened(epoch) => Input::Opened { epoch },
                Report::OpenFailed(epoch, failure) => Input::OpenFailed { epoch, failure },
                Report::Incoming(_) => continue,
            };
            turn.input();
            self.links[index].client.handle_input(now, input);
        }
    }

    fn client_reads(&mut self, index: usize, now: Timestamp, turn: &mut Turn) {
        while let Some(id) = self.links[index].current
            && let Some(conn) = self.conns.get_mut(&id)
            && self.links[index].client.wants_read()
        {
            let epoch = conn.epoch;
            if conn.down.readable().is_none_or(|at| at > self.now) {
                return;
            }
            let most = piece(&self.setup.path, &mut self.prng);
            if conn.down.read(self.now, most, &mut self.buffer) {
                self.links[index].down_read = Some(self.now);
                let client = &mut self.links[index].client;
                client.handle_input(now, Input::Received { epoch, bytes: &self.buffer });
            } else if let Some(failure) = conn.down.take_end(self.now) {
                self.links[index].client.handle_input(now, Input::Ended { epoch, failure });
            }
            turn.input();
        }
    }

    fn client_writes(&mut self, index: usize, now: Timestamp) {
        while let Some(id) = self.links[index].current
            && let Some(conn) = self.conns.get_mut(&id)
        {
            let (path, link) = (self.links[index].path(&self.setup.path), &mut self.links[index]);
            let bytes = link.client.transmit();
            if bytes.is_empty() {
                return;
            }
            let count = conn.up.write(self.now, bytes, &path, &mut self.prng);
            let cut = conn.up.take_cut(self.now);
            if count > 0 {
                self.counts.bytes += count as u64;
                link.client.handle_input(now, Input::Written { epoch: conn.epoch, count });
            }
            if let Some(at) = cut {
                self.cut(id, at);
            }
            if count == 0 {
                return;
            }
        }
    }

    fn client_drains(&mut self, index: usize, now: Timestamp, turn: &mut Turn) {
        while let Some(action) = self.links[index].client.poll_action() {
            turn.effects += 1;
            turn.actions += 1;
            if turn.actions > MOST_ACTIONS {
                self.fail("a client's actions do not end");
            }
            self.record(What::Action { client: index, action });
            match action {
                Action::FetchCredentials { epoch, .. } => {
                    let input = Input::Credentials { epoch, credentials: Credentials::new(&b"secret"[..]) };
                    self.links[index].client.handle_input(now, input);
                }
                Action::Connect { epoch } => self.connect(index, epoch),
                Action::Transmit { .. } => self.client_writes(index, now),
                Action::Disconnect { .. } => self.client_closes(index),
            }
        }
        if self.links[index].client.poll_timeout().is_some_and(|due| due.at <= now) {
            self.fail("a drained client has a deadline that has passed");
        }
    }

    /// The application's part of a turn: it sends and takes events. Whether it did anything.
    fn client_app(&mut self, index: usize, now: Timestamp, turn: &mut Turn) -> bool {
        let mut acted = false;
        while let Some(message) = self.links[index].up.offer(self.now) {
            let link = &mut self.links[index];
            acted = true;
            turn.input();
            match link.client.send(now, message) {
                Ok(_) => link.up.taken(self.now, &mut self.prng),
                Err(_) => link.up.refused(self.now),
            }
        }
        while self.links[index].host.paused.is_none()
            && let Some(event) = self.links[index].client.poll_event(now)
        {
            acted = true;
            turn.effects += 1;
            self.client_event(index, &event);
            self.record(What::Event { client: index, event });
        }
        acted
    }

    fn client_event(&mut self, index: usize, event: &Event) {
        match event {
            Event::Message(message) => self.links[index].down.arrive(message),
            Event::Dropped(dropped) => self.links[index].up.handed_back(&dropped.message),
            Event::Suspect { .. } => self.counts.suspects += 1,
            Event::Up { worst_case_detection, in_doubt, .. } => {
                self.links[index].bound = *worst_case_detection;
                self.counts.ups += 1;
                self.counts.in_doubt += *in_doubt as u64;
            }
            Event::Down { report, .. } => {
                self.counts.downs += 1;
                self.judge(Node::Client(index), index, report);
            }
            _ => {}
        }
    }

    // The server's driver.

    pub(super) fn server_wanted_at(&self) -> Option<Timestamp> {
        let server = self.server.as_ref()?;
        let conns = self.conns.values().filter_map(|conn| {
            let id = conn.server?;
            let readable = conn.up.readable().filter(|_| server.wants_read(id));
            [readable, conn.down.writable()].into_iter().flatten().min()
        });
        let apps = self.links.iter().filter_map(|link| link.down.next_at);
        self.server_host.wanted_at(self.now, conns.chain(apps).min())
    }

    pub(super) fn server_turn(&mut self) {
        let now = self.server_host.local(self.now);
        let Some(server) = &self.server else { return };
        let before = server.poll_timeout();
        let mut turn = Turn::default();
        turn.inputs += u32::from(core::mem::take(&mut self.server_host.wanted));
        self.server_accepts(now, &mut turn);
        self.server_reads(now, &mut turn);
        self.server_goes_on_writing(now, &mut turn);
        if let Some(server) = &mut self.server
            && server.poll_timeout().is_some_and(|due| due.at <= now)
        {
            server.handle_timeout(now);
        }
        loop {
            self.server_drains(now, &mut turn);
            let acted = self.server_app(now, &mut turn);
            self.server_reads(now, &mut turn);
            if !acted {
                break;
            }
        }
        self.server_drains(now, &mut turn);
        let after = self.server.as_ref().and_then(Server::poll_timeout);
        if after.is_none()
            && now < Timestamp::MAX
            && self.server.as_ref().is_some_and(|server| server.connections() > 0)
        {
            self.fail("a server with connections waits for nothing");
        }
        self.server_host.wanted =
            self.server_host.paused.is_none() && self.server.as_ref().is_some_and(Server::has_event);
        self.count_turn(Node::Server, &turn, before, after);
        for index in 0..self.links.len() {
            self.audit_server(index);
        }
    }

    fn server_accepts(&mut self, now: Timestamp, turn: &mut Turn) {
        while let Some(report) = self.server_host.reports.pop_front() {
            let Report::Incoming(conn_id) = report else { continue };
            let (Some(conn), Some(server)) = (self.conns.get_mut(&conn_id), &mut self.server) else { continue };
            conn.incoming = false;
            turn.input();
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x7F00_0001 + conn.link as u32));
            match server.accept(now, Some(address)) {
                Ok(id) => {
                    conn.server = Some(id);
                    self.accepted.insert(id, conn_id);
                }
                Err(_) => self.server_closes(conn_id),
            }
        }
    }

    fn server_reads(&mut self, now: Timestamp, turn: &mut Turn) {
        let Some(server) = &mut self.server else { return };
        for conn in self.conns.values_mut() {
            while let Some(id) = conn.server
                && server.wants_read(id)
            {
                if conn.up.readable().is_none_or(|at| at > self.now) {
                    break;
                }
                let most = piece(&self.setup.path, &mut self.prng);
                if conn.up.read(self.now, most, &mut self.buffer) {
                    self.links[conn.link].up_read = Some(self.now);
                    server.handle_input(now, id, ServerInput::Received(&self.buffer));
                } else if let Some(failure) = conn.up.take_end(self.now) {
                    server.handle_input(now, id, ServerInput::Ended(failure));
                }
                turn.input();
            }
        }
    }

    fn server_goes_on_writing(&mut self, now: Timestamp, turn: &mut Turn) {
        let now_virtual = self.now;
        let writable = |(id, conn): (&u64, &mut Conn)| conn.down.take_writable(now_virtual).then_some(*id);
        let writable: alloc::vec::Vec<u64> = self.conns.iter_mut().filter_map(writable).collect();
        for id in writable {
            turn.inputs += 1;
            self.server_writes(id, now);
        }
    }

    fn server_writes(&mut self, conn_id: u64, now: Timestamp) {
        while let Some(conn) = self.conns.get_mut(&conn_id)
            && let (Some(id), Some(server)) = (conn.server, &mut self.server)
        {
            let path = self.links[conn.link].path(&self.setup.path);
            let bytes = server.transmit(id);
            if bytes.is_empty() {
                return;
            }
            let count = conn.down.write(self.now, bytes, &path, &mut self.prng);
            let cut = conn.down.take_cut(self.now);
            if count > 0 {
                self.counts.bytes += count as u64;
                server.handle_input(now, id, ServerInput::Written(count));
            }
            if let Some(at) = cut {
                self.cut(conn_id, at);
            }
            if count == 0 {
                return;
            }
        }
    }

    fn server_drains(&mut self, now: Timestamp, turn: &mut Turn) {
        while let Some(action) = self.server.as_mut().and_then(Server::poll_action) {
            turn.effects += 1;
            turn.actions += 1;
            if turn.actions > MOST_ACTIONS {
                self.fail("the server's actions do not end");
            }
            self.record(What::ServerAction(action));
            let (ServerAction::Transmit(id) | ServerAction::Disconnect(id) | ServerAction::Read(id)) = action;
            let Some(&conn) = self.accepted.get(&id) else { continue };
            match action {
                ServerAction::Transmit(_) => self.server_writes(conn, now),
                ServerAction::Disconnect(_) => self.server_closes(conn),
                ServerAction::Read(_) => self.server_reads(now, turn),
            }
        }
        if self.server.as_ref().and_then(Server::poll_timeout).is_some_and(|due| due.at <= now) {
            self.fail("a drained server has a deadline that has passed");
        }
    }

    fn server_app(&mut self, now: Timestamp, turn: &mut Turn) -> bool {
        let mut acted = false;
        let Some(server) = &mut self.server else { return false };
        for link in &mut self.links {
            while let Some(message) = link.down.offer(self.now) {
                acted = true;
                turn.input();
                match server.send(now, link.client.config().device(), message) {
                    Ok(_) => link.down.taken(self.now, &mut self.prng),
                    Err(_) => link.down.refused(self.now),
                }
            }
        }
        while self.server_host.paused.is_none()
            && let Some(event) = self.server.as_mut().and_then(|server| server.poll_event(now))
        {
            acted = true;
            turn.effects += 1;
            self.server_event(now, event);
        }
        acted
    }

    fn server_event(&mut self, now: Timestamp, event: ServerEvent) {
        let device = match &event {
            ServerEvent::Message { device, .. }
            | ServerEvent::Dropped { device, .. }
            | ServerEvent::SessionEnded { device, .. }
            | ServerEvent::Offline { device, .. }
            | ServerEvent::Returned { device, .. } => Some(device),
            _ => None,
        };
        let index =
            device.and_then(|device| self.links.iter().position(|link| link.client.config().device() == device));
        match (&event, index) {
            (ServerEvent::Message { message, .. }, Some(index)) => self.links[index].up.arrive(message),
            (ServerEvent::Dropped { dropped, .. }, Some(index)) => {
                self.links[index].down.handed_back(&dropped.message);
            }
            (ServerEvent::SessionEnded { undelivered, .. }, Some(index)) => {
                undelivered.iter().for_each(|(_, message)| self.links[index].down.handed_back(message));
            }
            (ServerEvent::Offline { report, .. } | ServerEvent::Returned { report, .. }, Some(index)) => {
                self.judge(Node::Server, index, report);
            }
            (ServerEvent::Suspect { .. }, _) => self.counts.suspects += 1,
            (ServerEvent::Authenticate { connection, .. }, _) => {
                if let Some(server) = &mut self.server {
                    server.answer(now, *connection, Admission::Accept);
                }
            }
            _ => {}
        }
        self.record(What::ServerEvent(event));
    }

    /// The server's process ends; `keep` if its sessions go on in the next one. Its application takes all events before.
    pub(super) fn server_stops(&mut self, keep: bool) {
        let now = self.server_host.local(self.now);
        let Some(mut server) = self.server.take() else { return };
        let unacknowledged = |link: &Link| server.unacknowledged(link.client.config().device());
        let held: alloc::vec::Vec<usize> = self.links.iter().map(unacknowledged).collect();
        while let Some(event) = server.poll_event(now) {
            self.server_event(now, event);
        }
        if keep {
            self.sessions = Some(server.take_sessions(now));
            while let Some(event) = server.poll_event(now) {
                self.server_event(now, event);
            }
        } else {
            self.links.iter_mut().zip(held).for_each(|(link, count)| link.down.process_ended(count));
        }
    }

    // Both.

    fn count_turn(&mut self, node: Node, turn: &Turn, before: Option<Deadline>, after: Option<Deadline>) {
        self.counts.turns += 1;
        let (now, wake) = (self.now, self.setup.wake);
        let host = self.host(node);
        if turn.inputs == 0 && host.has_alarm(now) {
            let first = host.ring(now);
            self.counts.wakes += 1;
            if turn.effects == 0 && before == after && wake == Wake::AtDeadlines {
                self.counts.empty_wakes += 1;
            }
            if !first {
                self.fail("a machine is woken twice at one moment");
            }
        }
        let host = self.host(node);
        match wake {
            Wake::AtDeadlines => host.arm(now, after),
            Wake::EveryMillisecond => host.arm_soon(now),
        }
    }

    fn record(&mut self, what: What) {
        if self.setup.trace {
            self.trace.0.push(Entry { at: self.now, what });
        }
    }
}

impl Turn {
    const fn input(&mut self) {
        self.inputs += 1;
        self.actions = 0;
    }
}

/// How much to read at once.
fn piece(path: &Path, prng: &mut Prng) -> usize {
    let most = if prng.between(0, 2) == 0 { 16 } else { READ };
    if path.choppy { prng.between(1, most) as usize } else { READ as usize }
}
