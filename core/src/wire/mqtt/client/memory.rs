//! What outlives a connection: the client's half of the session (MQTT 5.0, section 4.1).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;

use super::seldom::{Collection, Seldom};
use crate::session::{Change, Room, StoreKey, Ticket};
use crate::tunnel::HostPort;

/// What a client remembers of its session from one connection to the next.
#[derive(Debug, Default)]
pub struct Memory {
    /// The number of the newest message that the link was told to be settled, with all before it.
    pub(super) told: u64,
    /// What became of messages that have left and are not settled, or are and the link was not told.
    pub(super) flights: Seldom<BTreeMap<Ticket, Flight>>,
    /// The number of the newest message that came.
    pub(super) received: u64,
    /// Messages that came and with which the application is not done, oldest first.
    pub(super) owed: Seldom<VecDeque<Owed>>,
    /// Identifiers of messages of QoS 2 that were acknowledged, and that the server has not released; with what they say, as a hash.
    pub(super) unreleased: Seldom<BTreeMap<u16, u64>>,
    /// Identifiers of messages of QoS 2 that came, of whose session we cannot know that the server still has it: it may have begun
    /// another, and the answer to CONNECT that said so was lost.
    doubtful: Seldom<BTreeSet<u16>>,
    /// Identifiers of messages of QoS 1 with which the application was done when there was no way to say so.
    pub(super) unsaid: Seldom<BTreeSet<u16>>,
    /// What the server has granted, in the order of the filters. Mostly there are few, and they stay.
    subscriptions: Vec<(Box<str>, Granted)>,
    last_entry: u64,
    pub(super) names: Seldom<Names>,
    /// A connection was accepted before.
    pub(super) was_connected: bool,
    /// The server was asked for a connection, and has not answered.
    asked: bool,
    /// It was asked before that, too, and did not answer. Perhaps it began a new session then, and will say that it goes on with it.
    was_ignored: bool,
    /// Something must survive the process.
    survives: bool,
    /// What has changed of it.
    changes: Seldom<Vec<Change>>,
}

/// Names that are not in the configuration.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// What the server made up for us; empty if it did not.
    pub(super) client_id: String,
    /// The server that accepted the last connection, if the link has a name for it.
    server: Option<HostPort>,
}

impl Collection for Names {
    const EMPTY: &'static Self = &Self { client_id: String::new(), server: None };

    fn is_empty(&self) -> bool {
        self.client_id.is_empty() && self.server.is_none()
    }
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
    /// 0 if nobody waits for the acknowledgement any more.
    pub(super) id: u16,
    pub(super) exactly_once: bool,
    /// Of QoS 2: what it says, as a hash.
    pub(super) content: u64,
    /// It came on this connection.
    pub(super) here: bool,
}

/// A subscription that the server has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) options: u8,
    /// The identifier of the subscription; 0 for none.
    pub(super) id: u32,
    /// The name of its entry in a store.
    entry: u64,
    /// The session that the server holds has it. If not, it is to be asked for again.
    pub(super) held: bool,
}

impl Memory {
    /// The server is asked for a connection.
    pub(super) const fn ask(&mut self) {
        self.was_ignored |= self.asked;
        self.asked = true;
    }

    /// The server has refused a connection.
    pub(super) const fn refused(&mut self) {
        self.asked = false;
    }

    /// The connection is over.
    pub(super) fn parted(&mut self) {
        self.owed.there().into_iter().flatten().for_each(|owed| owed.here = false);
    }

    /// A server has accepted a connection, and goes on with a session or does not.
    pub(super) fn connected(&mut self, server: Option<&HostPort>, session_present: bool) {
        self.was_connected = true;
        self.meet(server);
        if !session_present || self.was_ignored {
            self.subscriptions.iter_mut().for_each(|(_, granted)| granted.held = false);
        }
        if self.was_ignored {
            let owed = self.owed.iter().filter(|owed| owed.exactly_once).map(|owed| owed.id);
            self.doubtful.make().extend(self.unreleased.keys().copied().chain(owed));
            // Messages of QoS 1 had better come twice than not at all.
            self.unsaid = Seldom::default();
            let owed = self.owed.there().into_iter().flatten();
            owed.filter(|owed| !owed.exactly_once).for_each(|owed| owed.id = 0);
        }
        (self.asked, self.was_ignored) = (false, false);
        if session_present {
            return;
        }
        (self.told, self.received) = (0, 0);
        self.owed = Seldom::default();
        self.forget_identifiers();
        // What the server has received at QoS 2 it has promised to deliver.
        if let Some(flights) = self.flights.there() {
            flights.retain(|_, flight| *flight != Flight::Left);
            flights.values_mut().for_each(|flight| *flight = Flight::Done);
        }
    }

    /// Another server than the last one may hold a session of its own, in which the same identifiers are of other messages: better
    /// twice than not at all.
    fn meet(&mut self, server: Option<&HostPort>) {
        if self.names.server.as_ref() == server {
            return;
        }
        if let Some(server) = server {
            self.put(Room::Name, 1, server.to_string().into());
        }
        if core::mem::replace(&mut self.names.make().server, server.cloned()).is_some() {
            self.subscriptions.iter_mut().for_each(|(_, granted)| granted.held = false);
            self.owed.there().into_iter().flatten().for_each(|owed| owed.id = 0);
            self.forget_identifiers();
            let flights = self.flights.there().into_iter().flat_map(|flights| flights.values_mut());
            flights.filter(|flight| **flight == Flight::Received).for_each(|flight| *flight = Flight::Left);
            self.note(Change::RemoveThrough { key: StoreKey { room: Room::Received, number: u64::MAX } });
        }
    }

    fn forget_identifiers(&mut self) {
        (self.unreleased, self.doubtful, self.unsaid) = (Seldom::default(), Seldom::default(), Seldom::default());
        self.note(Change::RemoveThrough { key: StoreKey { room: Room::Taken, number: u64::MAX } });
    }

    /// Whether changes are kept for a store.
    pub(super) fn survives(&mut self, survives: bool) {
        (self.survives, self.changes) = (survives, Seldom::default());
    }

    pub(super) fn take_changes(&mut self, changes: &mut Vec<Change>) {
        if let Some(mine) = self.changes.there() {
            changes.append(mine);
        }
    }

    /// The server has a message of QoS 2.
    pub(super) fn received(&mut self, ticket: Ticket) {
        self.put(Room::Received, ticket.0, Bytes::new());
    }

    /// A message of QoS 2 is acknowledged.
    pub(super) fn take(&mut self, id: u16, content: u64) {
        self.unreleased.make().insert(id, content);
        self.put(Room::Taken, id.into(), Bytes::copy_from_slice(&content.to_be_bytes()));
    }

    /// The server has forgotten it. Whether it was acknowledged.
    pub(super) fn release(&mut self, id: u16) -> bool {
        self.doubtful.there().map(|doubtful| doubtful.remove(&id));
        let known = self.unreleased.there().is_some_and(|unreleased| unreleased.remove(&id).is_some());
        if known {
            self.note(Change::Remove { key: StoreKey { room: Room::Taken, number: id.into() } });
        }
        known
    }

    /// A message of QoS 2 comes, for the first time as its flag says (MQTT 5.0, section 3.3.1.1). If one with its identifier is here,
    /// the server has given that up, if it says something else: it went back to an older state of itself; or if we cannot know that
    /// the server still has that. But there are servers that do not set the flag of what comes again.
    pub(super) fn came_first(&mut self, id: u16, content: u64) {
        let owed = self.owed.iter().find(|owed| owed.exactly_once && owed.id == id);
        let held = owed.map(|owed| owed.content).or_else(|| self.unreleased.get(&id).copied());
        if self.doubtful.contains(&id) || held.is_some_and(|held| held != content) {
            self.release(id);
            let owed = self.owed.there().into_iter().flatten();
            owed.filter(|owed| owed.id == id).for_each(|owed| owed.id = 0);
        }
    }

    pub(super) fn name(&mut self, client_id: &str) {
        self.names.make().client_id = client_id.into();
        self.put(Room::Name, 0, Bytes::copy_from_slice(client_id.as_bytes()));
    }

    pub(super) fn granted(&mut self, filter: &str, options: u8, id: u32) {
        let known = self.place(filter).ok().and_then(|place| self.subscriptions.get(place));
        let entry = known.map_or(self.last_entry + 1, |(_, granted)| granted.entry);
        self.keep(filter, Granted { options, id, entry, held: true });
        let value = [&[options][..], &id.to_be_bytes(), filter.as_bytes()].concat();
        self.put(Room::Subscription, entry, value.into());
    }

    pub(super) fn ended(&mut self, filter: &str) {
        if let Ok(place) = self.place(filter) {
            let (_, granted) = self.subscriptions.remove(place);
            self.note(Change::Remove { key: StoreKey { room: Room::Subscription, number: granted.entry } });
        }
    }

    /// What the server has granted, in the order of the filters.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &(Box<str>, Granted)> {
        self.subscriptions.iter()
    }

    /// Nothing happens for a while: what is empty holds no memory.
    pub(super) fn sweep(&mut self) {
        self.flights.sweep();
        self.owed.sweep();
        self.unreleased.sweep();
        self.doubtful.sweep();
        self.unsaid.sweep();
        self.changes.sweep();
    }

    /// An entry of a store. `false` if it has not the form that was written.
    pub(super) fn recall(&mut self, key: StoreKey, value: &[u8]) -> bool {
        match key.room {
            Room::Message => return false,
            Room::Received => {
                self.flights.make().insert(Ticket(key.number), Flight::Received);
            }
            Room::Taken => match (u16::try_from(key.number), value.try_into()) {
                (Ok(id), Ok(content)) => {
                    self.unreleased.make().insert(id, u64::from_be_bytes(content));
                    self.doubtful.make().insert(id);
                }
                _ => return false,
            },
            Room::Subscription => {
                let Some(([options, id @ ..], filter)) = value.split_first_chunk::<5>() else { return false };
                let Ok(filter) = core::str::from_utf8(filter) else { return false };
                // The process before this one may have ended before it was told of a new session.
                let (id, entry) = (u32::from_be_bytes(*id), key.number);
                self.keep(filter, Granted { options: *options, id, entry, held: false });
            }
            Room::Name => {
                let Ok(name) = core::str::from_utf8(value) else { return false };
                match (key.number, name.parse()) {
                    (0, _) => self.names.make().client_id = name.into(),
                    (1, Ok(server)) => self.names.make().server = Some(server),
                    _ => return false,
                }
            }
        }
        true
    }

    /// Where a filter is, or would be.
    fn place(&self, filter: &str) -> Result<usize, usize> {
        self.subscriptions.binary_search_by(|(other, _)| (**other).cmp(filter))
    }

    fn keep(&mut self, filter: &str, granted: Granted) {
        self.last_entry = self.last_entry.max(granted.entry);
        match self.place(filter) {
            Ok(place) => {
                if let Some((_, known)) = self.subscriptions.get_mut(place) {
                    *known = granted;
                }
            }
            Err(place) => {
                if self.subscriptions.is_empty() {
                    // Many links have just one.
                    self.subscriptions.reserve_exact(1);
                }
                self.subscriptions.insert(place, (filter.into(), granted));
            }
        }
    }

    fn put(&mut self, room: Room, number: u64, value: Bytes) {
        self.note(Change::Put { key: StoreKey { room, number }, value });
    }

    fn note(&mut self, change: Change) {
        if self.survives {
            self.changes.make().push(change);
        }
    }
}
