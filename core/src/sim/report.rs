//! What a simulation saw: the trace, the verdicts, and the numbers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::fault::{FaultKind, Node};
use crate::client::{Action, Event};
use crate::connection::DownCause;
use crate::liveness::DeathCause;
use crate::server::{ServerAction, ServerEvent};
use crate::time::Timestamp;

/// One thing that a machine did, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The virtual time, which no clock step moves.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What a machine did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum What {
    Action { client: usize, action: Action },
    Event { client: usize, event: Event },
    ServerAction(ServerAction),
    ServerEvent(ServerEvent),
}

/// Everything that the machines did, in order. Two runs are the same if their traces are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace(pub Vec<Entry>);

impl Trace {
    /// What the applications were told of their links, without times, numbers and payloads, one line each: for the
    /// comparison with runs on a real clock. Events that depend on chance (round trips, acknowledgements, suspicions)
    /// are left out.
    #[must_use]
    pub fn normalised(&self) -> Vec<String> {
        self.0.iter().filter_map(|entry| entry.what.normalised()).collect()
    }

    /// The same of one client only.
    pub fn events_of(&self, client: usize) -> impl Iterator<Item = (Timestamp, &Event)> {
        self.0.iter().filter_map(move |entry| match &entry.what {
            What::Event { client: of, event } if *of == client => Some((entry.at, event)),
            _ => None,
        })
    }

    /// What the server told its application.
    pub fn server_events(&self) -> impl Iterator<Item = (Timestamp, &ServerEvent)> {
        self.0.iter().filter_map(|entry| match &entry.what {
            What::ServerEvent(event) => Some((entry.at, event)),
            _ => None,
        })
    }
}

impl What {
    fn normalised(&self) -> Option<String> {
        Some(match self {
            Self::Action { .. } | Self::ServerAction(_) => return None,
            Self::Event { client, event } => match event {
                Event::Connecting { attempt } => format!("client {client}: connecting, attempt {attempt}"),
                Event::Up { resumed, .. } => format!("client {client}: up, resumed {resumed}"),
                Event::Down { report, .. } => format!("client {client}: down, {}", report.cause),
                Event::GaveUp { .. } => format!("client {client}: gave up"),
                Event::Closed { .. } => format!("client {client}: closed"),
                Event::Message(message) => format!("client {client}: message of {} bytes", message.len()),
                _ => return None,
            },
            Self::ServerEvent(event) => match event {
                ServerEvent::Online { device, resumed, .. } => format!("server: {device} online, resumed {resumed}"),
                ServerEvent::Returned { device, .. } => format!("server: {device} returned"),
                ServerEvent::Replaced { device, .. } => format!("server: {device} replaced"),
                ServerEvent::Offline { device, report, .. } => format!("server: {device} offline, {}", report.cause),
                ServerEvent::Message { device, message } => {
                    format!("server: {device} sent a message of {} bytes", message.len())
                }
                ServerEvent::SessionEnded { device, .. } => format!("server: {device}'s session ended"),
                _ => return None,
            },
        })
    }
}

/// One peer declared dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// When, in virtual time.
    pub at: Timestamp,
    /// By whom.
    pub judge: Node,
    /// The peer of which link.
    pub link: usize,
    /// For what.
    pub cause: DeathCause,
    /// What was in force that explains it, and since when.
    pub excuse: Option<(FaultKind, Timestamp)>,
    /// How long the judge had been given no byte of the peer.
    pub silent_for: Duration,
    /// How long that may be at most.
    pub allowed: Duration,
}

impl Verdict {
    /// Nothing explains it.
    #[must_use]
    pub const fn is_false(&self) -> bool {
        self.excuse.is_none() && !matches!(self.cause, DeathCause::ReadPaused)
    }
}

/// The numbers of a simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Turns of all machines.
    pub turns: u64,
    /// Turns for which only the alarm was the reason.
    pub wakes: u64,
    /// Of those, the ones in which the machine did nothing that can be seen from outside.
    pub empty_wakes: u64,
    /// Beats and echoes are not told apart from other bytes here: bytes written by all machines.
    pub bytes: u64,
    /// How often a link came up, as its client sees it.
    pub ups: u64,
    /// How often an attempt or connection ended, as its client sees it.
    pub downs: u64,
    /// How often a client or the server suspected its peer.
    pub suspects: u64,
    /// Silence that was noticed too late or not at all.
    pub late: u64,
    /// Messages that clients reported as possibly sent twice.
    pub in_doubt: u64,
}

/// What happened to the messages of one direction of one link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Messages that a machine accepted.
    pub accepted: u64,
    /// Messages that arrived, each counted once.
    pub delivered: u64,
    /// Messages handed back to the application that sent them.
    pub handed_back: u64,
    /// Messages that were not acknowledged when the process that held them ended.
    pub died_with_process: u64,
    /// Messages that did not arrive, were not handed back and did not die with their process.
    pub lost: u64,
    /// Arrivals of a message that had arrived before.
    pub duplicated: u64,
    /// First arrivals behind a message that was sent later, and arrivals that are no message of ours.
    pub disordered: u64,
}

impl Delivery {
    /// So many messages, each delivered once and in order.
    #[must_use]
    pub fn perfect(messages: u64) -> Self {
        Self { accepted: messages, delivered: messages, ..Self::default() }
    }
}

/// Why a report says that the peer is dead, if it does.
pub(super) const fn death(cause: &DownCause) -> Option<DeathCause> {
    match cause {
        DownCause::Dead(death) => Some(*death),
        _ => None,
    }
}
