//! What can go wrong, and schedules of it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::entropy::Prng;
use crate::time::Timestamp;

/// One of the two directions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Direction {
    pub(super) const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// One of the machines of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The server.
    Server,
    /// The client with this index; every client has one link, of the same index.
    Client(usize),
}

impl Node {
    /// The other end of a link.
    pub(super) const fn other(self, link: usize) -> Self {
        match self {
            Self::Server => Self::Client(link),
            Self::Client(_) => Self::Server,
        }
    }
}

/// Something that goes wrong from `at` on, for `lasts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Timestamp,
    /// How long it lasts. Without meaning for what happens at one moment.
    pub lasts: Duration,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing passes in this direction of a link; the writer's window fills. What was held passes afterwards.
    BlackHole(usize, Direction),
    /// Nothing passes in either direction of a link. What was held passes afterwards.
    Stall(usize),
    /// Nothing passes in either direction of a link. Afterwards its connection is reset.
    BlackHoleThenCut(usize),
    /// Both directions of a link carry only so many bytes per second.
    Trickle(usize, u32),
    /// The connection of a link is reset on both sides.
    Cut(usize),
    /// One side of a link's connection learns that it is lost, the other side learns nothing.
    HalfOpen(usize, Lost),
    /// The next connection of a link is reset when this many bytes have gone in this direction.
    CutAtByte(usize, Direction, u64),
    /// On the next connection of a link, the byte at this position in this direction arrives with these bits changed. TCP
    /// does not do that: neither delivery nor order is promised then.
    FlipAtByte(usize, Direction, u64, u8),
    /// Nobody listens for a link's attempts.
    Refuse(usize),
    /// A link's attempts succeed and are closed at once.
    AcceptThenClose(usize),
    /// The server's name cannot be looked up for a link's attempts.
    NameNotFound(usize),
    /// A link's attempts get no answer.
    ConnectHangs(usize),
    /// The server's process is gone for a while and comes back with its sessions.
    RestartWarm,
    /// The server's process is gone for a while and comes back without its sessions.
    RestartCold,
    /// The client's process ends and another one starts.
    RestartClient(usize),
    /// A machine sleeps: no turns, no input. Its clock counts the time.
    Suspend(Node),
    /// A machine sleeps, and its clock with it.
    SuspendWithClock(Node),
    /// A process gets no turns while its input piles up.
    ProcessStall(Node),
    /// The clock of a machine jumps by this many nanoseconds.
    ClockStep(Node, i64),
    /// An application does not take its events.
    AppPause(Node),
}

/// Who notices that a half-open connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The client.
    ForClient,
    /// The server.
    ForServer,
}

impl Fault {
    /// A fault from `at_ms` on, for `lasts_ms`, both in milliseconds.
    #[must_use]
    pub const fn new(at_ms: u64, lasts_ms: u64, kind: FaultKind) -> Self {
        Self { at: Timestamp::from_millis(at_ms), lasts: Duration::from_millis(lasts_ms), kind }
    }

    /// When it is over.
    #[must_use]
    pub const fn end(&self) -> Timestamp {
        self.at.after(self.lasts)
    }

    /// Whether it can make the peer of a link look dead, or its bytes stand still, in the eyes of `judge`. What the
    /// judge's own machine suffers is no excuse.
    #[must_use]
    pub fn excuses(&self, judge: Node, link: usize) -> bool {
        match self.kind {
            FaultKind::BlackHole(on, _)
            | FaultKind::Stall(on)
            | FaultKind::BlackHoleThenCut(on)
            | FaultKind::Trickle(on, _)
            | FaultKind::HalfOpen(on, _) => on == link,
            FaultKind::Suspend(node)
            | FaultKind::SuspendWithClock(node)
            | FaultKind::ProcessStall(node)
            | FaultKind::AppPause(node) => node != judge && (node == Node::Server || node == Node::Client(link)),
            _ => false,
        }
    }
}

/// A random schedule of one to six faults for `links` links that begin before `horizon` and last at most `longest`.
///
/// The faults are those that must never cost a message: everything but the loss of a process's memory, and clock steps.
#[must_use]
pub fn random_schedule(prng: &mut Prng, links: usize, horizon: Duration, longest: Duration) -> Vec<Fault> {
    let count = prng.between(1, 6);
    let mut faults: Vec<Fault> = (0..count).map(|_| random_fault(prng, links, horizon, longest)).collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn random_fault(prng: &mut Prng, links: usize, horizon: Duration, longest: Duration) -> Fault {
    let link = prng.between(0, links.saturating_sub(1) as u64) as usize;
    let direction = if prng.between(0, 1) == 0 { Direction::Up } else { Direction::Down };
    let node = if prng.between(0, 1) == 0 { Node::Server } else { Node::Client(link) };
    let kind = match prng.between(0, 17) {
        0 | 1 => FaultKind::BlackHole(link, direction),
        2 => FaultKind::Stall(link),
        3 => FaultKind::BlackHoleThenCut(link),
        4 => FaultKind::Trickle(link, prng.between(20, 3000) as u32),
        5 | 6 => FaultKind::Cut(link),
        7 => FaultKind::HalfOpen(link, if node == Node::Server { Lost::ForServer } else { Lost::ForClient }),
        8 | 9 => FaultKind::CutAtByte(link, direction, prng.between(0, 400)),
        10 => FaultKind::Refuse(link),
        11 => FaultKind::AcceptThenClose(link),
        12 => FaultKind::NameNotFound(link),
        13 => FaultKind::ConnectHangs(link),
        14 => FaultKind::RestartWarm,
        15 => FaultKind::Suspend(node),
        16 => FaultKind::SuspendWithClock(node),
        _ => FaultKind::ProcessStall(node),
    };
    Fault {
        at: Timestamp::ZERO.after(prng.span(Duration::ZERO, horizon)),
        lasts: prng.span(Duration::from_millis(1), longest),
        kind,
    }
}
