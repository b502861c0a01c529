//! What survives the process: a log of changes, and who keeps it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

/// The name of one entry of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey {
    /// What kind of entry it is.
    pub room: Room,
    /// Which one, among those of its kind.
    pub number: u64,
}

/// The kinds of entries. Their numbers are what a store writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Room {
    /// Messages that were accepted and are not settled, by ticket.
    Message = 1,
    /// Messages that the peer has received and that are not settled, by ticket.
    Received = 2,
    /// Messages of the peer that were taken, by their identifier, until the peer has forgotten that, too.
    Taken = 3,
    /// Subscriptions that the peer has granted, in any order.
    Subscription = 4,
    /// Names: number 0 is the one that the peer made up for us, number 1 that of the peer.
    Name = 5,
}

impl Room {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Message),
            2 => Some(Self::Received),
            3 => Some(Self::Taken),
            4 => Some(Self::Subscription),
            5 => Some(Self::Name),
            _ => None,
        }
    }
}

/// One change of what survives the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is an entry, in place of one that had its name.
    Put {
        /// Its name.
        key: StoreKey,
        /// What it says.
        value: Bytes,
    },
    /// There is no entry with this name.
    Remove {
        /// The name.
        key: StoreKey,
    },
    /// There is no entry of this kind with a number up to and including this one.
    RemoveThrough {
        /// The name of the last.
        key: StoreKey,
    },
}

/// Keeps what a link must not forget, even if its process is killed or its machine loses power.
///
/// A driver hands over the changes before it tells the application that a message was accepted, and before it writes bytes to the
/// socket that follow from them.
pub trait SessionStore: Send {
    /// All entries, in the order of their names. Called once, before anything else.
    ///
    /// # Errors
    /// What was written cannot be read.
    fn load(&mut self) -> Result<Vec<(StoreKey, Bytes)>, StoreError>;

    /// Makes these changes, in their order. When it returns they are as safe as the store's policy makes them. If some are lost
    /// with the power, so are all behind them.
    ///
    /// # Errors
    /// They cannot be written. The link gives up then.
    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Why a store cannot keep or give what it is to: a fault of our own machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What, where, and what to do.
    pub problem: Box<str>,
}

impl StoreError {
    /// With these words.
    #[must_use]
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into().into_boxed_str() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl core::error::Error for StoreError {}

/// A store that lives as long as the process: for tests, and for links that follow each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore(BTreeMap<StoreKey, Bytes>);

impl SessionStore for MemoryStore {
    fn load(&mut self) -> Result<Vec<(StoreKey, Bytes)>, StoreError> {
        Ok(self.0.iter().map(|(key, value)| (*key, value.clone())).collect())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            match change {
                Change::Put { key, value } => {
                    self.0.insert(*key, value.clone());
                }
                Change::Remove { key } => {
                    self.0.remove(key);
                }
                Change::RemoveThrough { key } => {
                    self.0.retain(|other, _| other.room != key.room || other.number > key.number);
                }
            }
        }
        Ok(())
    }
}
