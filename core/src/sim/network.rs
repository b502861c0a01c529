//! Connections, and the faults that befall them.

use core::time::Duration;

use super::fault::{Direction, FaultKind, Lost, Node};
use super::host::Report;
use super::pipe::Pipe;
use super::{Link, Path, Sim, new_client};
use crate::client::Epoch;
use crate::connection::Failure;
use crate::server::ConnectionId;
use crate::time::Timestamp;

/// One attempt at a connection, and the connection that came of it.
pub(super) struct Conn {
    pub(super) link: usize,
    pub(super) epoch: Epoch,
    /// The client's driver holds it.
    pub(super) client_open: bool,
    /// The server's driver holds it.
    pub(super) server: Option<ConnectionId>,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    /// The server's system has it, and the server's driver has not accepted it yet.
    pub(super) incoming: bool,
}

/// What is wrong with one link now, each as the number of faults in force.
#[derive(Default)]
pub(super) struct Weather {
    up_held: u32,
    down_held: u32,
    refuse: u32,
    accept_then_close: u32,
    no_name: u32,
    hangs: u32,
    pub(super) trickle: Option<u32>,
    cut_next: Option<(Direction, u64)>,
    flip_next: Option<(Direction, u64, u8)>,
}

/// What the simulation does at a certain moment.
pub(super) enum Agenda {
    FaultBegins(usize),
    FaultEnds(usize),
    /// A client's attempt reaches the server.
    Arrive(u64),
    /// The answer reaches the client.
    Answer(u64, Option<Failure>),
    /// The attempt was closed as soon as it was accepted.
    CloseAtOnce(u64),
}

impl Sim {
    // Attempts.

    /// The client's driver was told to connect.
    pub(super) fn connect(&mut self, index: usize, epoch: Epoch) {
        let id = self.next_conn;
        self.next_conn += 1;
        let link = &mut self.links[index];
        let mut conn = Conn {
            link: index,
            epoch,
            client_open: true,
            server: None,
            up: Pipe::default(),
            down: Pipe::default(),
            incoming: false,
        };
        link.current = Some(id);
        for direction in [Direction::Up, Direction::Down] {
            if *link.weather.held(direction) > 0 {
                conn.hold(direction, self.now);
            }
        }
        link.down_read = None;
        let delay = self.setup.path.delay(&mut self.prng);
        let at = self.now.after(delay);
        if link.weather.no_name > 0 {
            self.plan(at, Agenda::Answer(id, Some(Failure::NameNotFound)));
        } else if link.weather.hangs == 0 {
            self.plan(at, Agenda::Arrive(id));
        }
        self.conns.insert(id, conn);
    }

    fn arrive(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let weather = &mut self.links[conn.link].weather;
        if weather.up_held > 0 || weather.down_held > 0 {
            // The kernel asks again later.
            return self.plan(self.now.after(Duration::from_millis(200)), Agenda::Arrive(id));
        }
        let answer = self.now.after(self.setup.path.delay(&mut self.prng));
        if weather.refuse > 0 || self.server.is_none() {
            return self.plan(answer, Agenda::Answer(id, Some(Failure::Refused)));
        }
        if weather.accept_then_close > 0 {
            self.plan(answer, Agenda::CloseAtOnce(id));
        } else {
            if let Some((direction, byte)) = weather.cut_next.take() {
                conn.pipe(direction).cut_at = Some(byte);
            }
            if let Some((direction, byte, bits)) = weather.flip_next.take() {
                conn.pipe(direction).flip_at = Some((byte, bits));
            }
            conn.incoming = true;
            self.server_host.reports.push_back(Report::Incoming(id));
        }
        self.plan(answer, Agenda::Answer(id, None));
    }

    fn answer(&mut self, id: u64, failure: Option<Failure>) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.client_open) else { return };
        let reports = &mut self.links[conn.link].host.reports;
        reports.push_back(match failure {
            None => Report::Opened(conn.epoch),
            Some(failure) => Report::OpenFailed(conn.epoch, failure),
        });
    }

    /// The client's driver was told to disconnect.
    pub(super) fn client_closes(&mut self, index: usize) {
        let Some(id) = self.links[index].current.take() else { return };
        let graceful = self.prng.between(0, 1) == 0;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.client_open = false;
            let failure = if graceful { Failure::Eof } else { Failure::Reset };
            conn.up.finish(self.now, failure, &self.setup.path, &mut self.prng);
            conn.down.vanish();
        }
        self.forget_if_over(id);
    }

    /// The server's driver was told to disconnect.
    pub(super) fn server_closes(&mut self, id: u64) {
        let graceful = self.prng.between(0, 1) == 0;
        if let Some(conn) = self.conns.get_mut(&id) {
            if let Some(server) = conn.server.take() {
                self.accepted.remove(&server);
            }
            let failure = if graceful { Failure::Eof } else { Failure::Reset };
            conn.down.finish(self.now, failure, &self.setup.path, &mut self.prng);
            conn.up.vanish();
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: u64) {
        if self.conns.get(&id).is_some_and(Conn::is_over) {
            self.conns.remove(&id);
        }
    }

    /// Both ends of a connection learn at `at` that it is lost.
    pub(super) fn cut(&mut self, id: u64, at: Timestamp) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.up.reset(at, Failure::Reset);
            conn.down.reset(at, Failure::Reset);
        }
    }

    // Faults.

    pub(super) fn happen(&mut self, what: Agenda) {
        match what {
            Agenda::Arrive(id) => self.arrive(id),
            Agenda::Answer(id, failure) => self.answer(id, failure),
            Agenda::CloseAtOnce(id) => self.server_closes(id),
            Agenda::FaultBegins(index) => self.fault_begins(self.faults[index].kind, self.faults[index].lasts),
            Agenda::FaultEnds(index) => self.fault_ends(self.faults[index].kind),
        }
    }

    fn fault_begins(&mut self, kind: FaultKind, lasts: Duration) {
        match kind {
            FaultKind::BlackHole(link, direction) => self.hold(link, direction),
            FaultKind::Stall(link) | FaultKind::BlackHoleThenCut(link) => {
                self.hold(link, Direction::Up);
                self.hold(link, Direction::Down);
            }
            FaultKind::Trickle(link, rate) => self.links[link].weather.trickle = Some(rate),
            FaultKind::Cut(link) => self.cut_link(link),
            FaultKind::HalfOpen(link, lost) => self.lose_half(link, lost),
            FaultKind::CutAtByte(link, direction, byte) => {
                self.links[link].weather.cut_next = Some((direction, byte));
            }
            FaultKind::FlipAtByte(link, direction, byte, bits) => {
                self.links[link].weather.flip_next = Some((direction, byte, bits));
            }
            FaultKind::Refuse(link) => self.links[link].weather.refuse += 1,
            FaultKind::AcceptThenClose(link) => self.links[link].weather.accept_then_close += 1,
            FaultKind::NameNotFound(link) => self.links[link].weather.no_name += 1,
            FaultKind::ConnectHangs(link) => self.links[link].weather.hangs += 1,
            FaultKind::RestartWarm => self.stop_server(true),
            FaultKind::RestartCold => self.stop_server(false),
            FaultKind::RestartClient(link) => self.restart_client(link),
            FaultKind::Suspend(node) | FaultKind::SuspendWithClock(node) => {
                self.links_of(node).for_each(|link| {
                    self.hold(link, Direction::Up);
                    self.hold(link, Direction::Down);
                });
                let now = self.now;
                self.host(node).sleep(now, lasts);
                if matches!(kind, FaultKind::SuspendWithClock(_)) {
                    self.host(node).stop_clock(now);
                }
            }
            FaultKind::ProcessStall(node) => {
                let now = self.now;
                self.host(node).sleep(now, lasts);
            }
            FaultKind::ClockStep(node, nanos) => {
                let now = self.now;
                self.host(node).step_clock(now, nanos);
            }
            FaultKind::AppPause(node) => {
                let now = self.now;
                self.host(node).paused.get_or_insert(now);
            }
        }
    }

    fn fault_ends(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::BlackHole(link, direction) => self.release(link, direction),
            FaultKind::Stall(link) => {
                self.release(link, Direction::Up);
                self.release(link, Direction::Down);
            }
            FaultKind::BlackHoleThenCut(link) => {
                self.cut_link(link);
                self.release(link, Direction::Up);
                self.release(link, Direction::Down);
            }
            FaultKind::Trickle(link, _) => {
                self.links[link].weather.trickle = None;
                let at = self.now.after(self.setup.path.latency);
                self.conns_of(link).for_each(|conn| {
                    conn.up.hasten(at);
                    conn.down.hasten(at);
                });
            }
            FaultKind::CutAtByte(link, ..) => self.links[link].weather.cut_next = None,
            FaultKind::FlipAtByte(link, ..) => self.links[link].weather.flip_next = None,
            FaultKind::Refuse(link) => self.links[link].weather.refuse -= 1,
            FaultKind::AcceptThenClose(link) => self.links[link].weather.accept_then_close -= 1,
            FaultKind::NameNotFound(link) => self.links[link].weather.no_name -= 1,
            FaultKind::ConnectHangs(link) => self.links[link].weather.hangs -= 1,
            FaultKind::RestartWarm | FaultKind::RestartCold if self.server.is_none() => self.start_server(),
            FaultKind::Suspend(node) | FaultKind::SuspendWithClock(node) => {
                let now = self.now;
                if matches!(kind, FaultKind::SuspendWithClock(_)) {
                    self.host(node).start_clock(now);
                }
                self.host(node).wake(now);
                self.links_of(node).for_each(|link| {
                    self.release(link, Direction::Up);
                    self.release(link, Direction::Down);
                });
            }
            FaultKind::ProcessStall(node) => {
                let now = self.now;
                self.host(node).wake(now);
            }
            FaultKind::AppPause(node) => {
                let now = self.now;
                let host = self.host(node);
                if let Some(since) = host.paused.take() {
                    host.disturb(now, now.since(since));
                }
                host.wanted = true;
            }
            _ => {}
        }
    }

    fn links_of(&self, node: Node) -> core::ops::Range<usize> {
        match node {
            Node::Server => 0..self.links.len(),
            Node::Client(index) => index..index + 1,
        }
    }

    fn conns_of(&mut self, link: usize) -> impl Iterator<Item = &mut Conn> {
        self.conns.values_mut().filter(move |conn| conn.link == link)
    }

    fn hold(&mut self, link: usize, direction: Direction) {
        let now = self.now;
        *self.links[link].weather.held(direction) += 1;
        self.conns_of(link).for_each(|conn| conn.hold(direction, now));
    }

    fn release(&mut self, link: usize, direction: Direction) {
        let held = self.links[link].weather.held(direction);
        *held -= 1;
        if *held == 0 {
            let at = self.now.after(self.setup.path.delay(&mut self.prng));
            self.conns_of(link).for_each(|conn| {
                conn.pipe(direction).release(at);
                conn.pipe(direction.opposite()).deafen(at, false);
            });
        }
    }

    fn cut_link(&mut self, link: usize) {
        let Some(id) = self.links[link].current else { return };
        let at = self.now.after(self.setup.path.delay(&mut self.prng));
        self.cut(id, at);
    }

    fn lose_half(&mut self, link: usize, lost: Lost) {
        let (now, Some(id)) = (self.now, self.links[link].current) else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (told, silent) = match lost {
            Lost::ForClient => (&mut conn.down, &mut conn.up),
            Lost::ForServer => (&mut conn.up, &mut conn.down),
        };
        told.reset(now, Failure::Reset);
        silent.vanish();
    }

    fn stop_server(&mut self, keep: bool) {
        if self.server.is_none() {
            return;
        }
        self.server_stops(keep);
        self.server_host.reports.clear();
        self.server_host.disarm();
        let at = self.now.after(self.setup.path.delay(&mut self.prng));
        self.accepted.clear();
        for conn in self.conns.values_mut() {
            (conn.server, conn.incoming) = (None, false);
            conn.down.reset(at, Failure::Reset);
            conn.up.vanish();
        }
        self.conns.retain(|_, conn| !conn.is_over());
    }

    fn restart_client(&mut self, index: usize) {
        self.client_closes(index);
        let seed = self.prng.next_u64();
        let link = &mut self.links[index];
        link.host.reports.clear();
        link.up.process_ended(link.client.unacknowledged());
        link.host.disarm();
        link.client = new_client(&self.setup.clients[index], seed);
        link.client.open(link.host.local(self.now));
        link.host.wanted = true;
    }
}

impl Conn {
    const fn is_over(&self) -> bool {
        !self.client_open && self.server.is_none() && !self.incoming
    }

    fn hold(&mut self, direction: Direction, now: Timestamp) {
        self.pipe(direction).hold(now);
        self.pipe(direction.opposite()).deafen(now, true);
    }

    pub(super) const fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Weather {
    const fn held(&mut self, direction: Direction) -> &mut u32 {
        match direction {
            Direction::Up => &mut self.up_held,
            Direction::Down => &mut self.down_held,
        }
    }
}

impl Link {
    /// The path as it is now.
    pub(super) fn path(&self, healthy: &Path) -> Path {
        let slowest = [healthy.bandwidth, self.weather.trickle].into_iter().flatten().min();
        Path { bandwidth: slowest, ..healthy.clone() }
    }
}
