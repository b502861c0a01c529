//! What outlives a connection: the client's half of the session (MQTT 5.0, section 4.1).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::session::Ticket;

/// What a client remembers of its session from one connection to the next.
#[derive(Debug, Default)]
pub struct Memory {
    /// The number of the newest message that the link was told to be settled, with all before it.
    pub(super) told: u64,
    /// What became of messages that have left and are not settled, or are and the link was not told.
    pub(super) flights: BTreeMap<Ticket, Flight>,
    /// The number of the newest message that came.
    pub(super) received: u64,
    /// Messages that came and with which the application is not done, oldest first.
    pub(super) owed: VecDeque<Owed>,
    /// Identifiers of messages of QoS 2 that were acknowledged, and that the server has not released.
    pub(super) unreleased: BTreeSet<u16>,
    /// Identifiers of messages of QoS 1 with which the application was done when there was no way to say so.
    pub(super) unsaid: BTreeSet<u16>,
    /// What the server has granted, by filter.
    pub(super) subscriptions: BTreeMap<Box<str>, Granted>,
    /// The name that the server made up for us.
    pub(super) client_id: Option<Box<str>>,
    /// A connection was accepted before.
    pub(super) was_connected: bool,
}

/// What became of a message that has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    /// It has left, and nothing came back.
    Left,
    /// The server has it at QoS 2, and is to be told that we know.
    Received,
    /// Nothing is left to do.
    Done,
}

/// A message that came and is to be acknowledged.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) seq: u64,
    pub(super) id: u16,
    pub(super) exactly_once: bool,
    /// It came on this connection.
    pub(super) here: bool,
}

/// A subscription that the server has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) options: u8,
    /// The identifier of the subscription; 0 for none.
    pub(super) id: u32,
}

impl Memory {
    /// The server has accepted a connection, and goes on with the session or does not.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.was_connected = true;
        self.owed.iter_mut().for_each(|owed| owed.here = false);
        if session_present {
            return;
        }
        (self.told, self.received) = (0, 0);
        self.owed.clear();
        self.unreleased.clear();
        self.unsaid.clear();
        // What the server has received at QoS 2 it has promised to deliver.
        self.flights.retain(|_, flight| *flight != Flight::Left);
        self.flights.values_mut().for_each(|flight| *flight = Flight::Done);
    }
}
