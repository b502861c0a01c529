//! The log of a store, as bytes: docs/mqtt-store.md has the format.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use keepbeat_core::session::{Change, Room, StoreKey};

/// What every log begins with: whose it is, and the version of its format.
const MAGIC: [u8; 8] = *b"keepbea\x01";

/// Magic, salt, and a CRC over both.
pub(super) const HEAD: usize = 20;

/// Length and CRC of the body, and a CRC over both, the salt and the place.
const BATCH_HEAD: usize = 12;

/// Kind, room and number of a change.
const CHANGE: usize = 10;

/// Length of a value.
const LENGTH: usize = 4;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_THROUGH: u8 = 3;

/// What tells the batches of one log from everything else that may stand in it, such as messages that look like a log.
pub(super) type Salt = [u8; 8];

/// What is in a store.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) map: BTreeMap<StoreKey, Bytes>,
    /// What a log takes in which there is nothing else.
    pub(super) bytes: u64,
}

/// What [`Entries::apply`] replaced, to be put back in reverse.
pub(super) type Undo = Vec<(StoreKey, Option<Bytes>)>;

/// What a log says.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) salt: Salt,
    pub(super) entries: Entries,
    /// So many bytes at the front are whole batches. What is behind them is torn.
    pub(super) whole: usize,
}

/// A log that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It does not begin as a log of this format does.
    NotOurs,
    /// A batch is broken, and there are whole ones behind it.
    Middle { broken: usize, whole: usize },
    /// A batch is whole and says what this version does not know.
    Unknown { at: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str(
                "it does not begin as a log of this version does: it is of another version, or the disk has damaged it; use \
                 that version, or move the file away and lose what is in it",
            ),
            Self::Middle { broken, whole } => write!(
                f,
                "it is damaged at byte {broken}, and goes on at byte {whole}: a fault of the disk, or a loss of power while \
                 Fsync::Never held; move the file away and lose what is in it, or cut a copy of it down to {broken} bytes and \
                 lose what is behind them"
            ),
            Self::Unknown { at } => {
                write!(f, "what it says at byte {at} is of a later version of keepbeat; use that version")
            }
        }
    }
}

impl Entries {
    /// Makes these changes in memory.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Undo {
        let mut undo = Undo::new();
        for change in changes {
            match change {
                Change::Put { key, value } => self.set(*key, Some(value.clone()), &mut undo),
                Change::Remove { key } => self.set(*key, None, &mut undo),
                Change::RemoveThrough { key } => {
                    let first = StoreKey { number: 0, ..*key };
                    let gone: Vec<StoreKey> = self.map.range(first..=*key).map(|(key, _)| *key).collect();
                    gone.into_iter().for_each(|key| self.set(key, None, &mut undo));
                }
            }
        }
        undo
    }

    pub(super) fn take_back(&mut self, undo: Undo) {
        for (key, before) in undo.into_iter().rev() {
            self.set(key, before, &mut Undo::new());
        }
    }

    fn set(&mut self, key: StoreKey, value: Option<Bytes>, undo: &mut Undo) {
        let put = value.as_ref().map_or(0, |value| put_length(value));
        let before = match value {
            Some(value) => self.map.insert(key, value),
            None => self.map.remove(&key),
        };
        self.bytes = self.bytes - before.as_ref().map_or(0, |value| put_length(value)) + put;
        undo.push((key, before));
    }
}

/// What one entry takes in a log.
fn put_length(value: &[u8]) -> u64 {
    (BATCH_HEAD + CHANGE + LENGTH + value.len()) as u64
}

/// The front of a log.
pub(super) fn head(salt: Salt) -> Vec<u8> {
    let mut bytes = [MAGIC, salt].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// One batch, as it stands `at` this place of a log. `None` if it is too large for any.
pub(super) fn batch(changes: &[Change], salt: Salt, at: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; BATCH_HEAD];
    for change in changes {
        match change {
            Change::Put { key, value } => {
                push(PUT, *key, &mut bytes);
                bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
                bytes.extend_from_slice(value);
            }
            Change::Remove { key } => push(REMOVE, *key, &mut bytes),
            Change::RemoveThrough { key } => push(REMOVE_THROUGH, *key, &mut bytes),
        }
    }
    let (head, body) = bytes.split_at_mut(BATCH_HEAD);
    let length = u32::try_from(body.len()).ok()?;
    head.copy_from_slice(&batch_head(length, crc32fast::hash(body), salt, at));
    Some(bytes)
}

fn push(kind: u8, key: StoreKey, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&[kind, key.room as u8]);
    bytes.extend_from_slice(&key.number.to_le_bytes());
}

fn batch_head(length: u32, crc: u32, salt: Salt, at: u64) -> [u8; BATCH_HEAD] {
    let mut head = [0; BATCH_HEAD];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    for part in [&salt[..], &at.to_le_bytes(), &head[..8]] {
        hasher.update(part);
    }
    head[8..].copy_from_slice(&hasher.finalize().to_le_bytes());
    head
}

/// Reads a log.
pub(super) fn read(bytes: &[u8]) -> Result<Log, Damage> {
    let salt = bytes.get(MAGIC.len()..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    if !bytes.starts_with(&head(salt)) {
        return Err(Damage::NotOurs);
    }
    let mut log = Log { salt, entries: Entries::default(), whole: HEAD };
    while let Some(body) = body_at(bytes, log.whole, salt) {
        let changes = changes(body).ok_or(Damage::Unknown { at: log.whole })?;
        log.entries.apply(&changes);
        log.whole += BATCH_HEAD + body.len();
    }
    // A write that was interrupted is the last one.
    match (log.whole + 1..bytes.len()).find(|at| body_at(bytes, *at, salt).is_some()) {
        Some(whole) => Err(Damage::Middle { broken: log.whole, whole }),
        None => Ok(log),
    }
}

/// The body of the batch at this place, if there is a whole one.
fn body_at(bytes: &[u8], at: usize, salt: Salt) -> Option<&[u8]> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<BATCH_HEAD>()?;
    let number = |from: usize| head.get(from..)?.first_chunk().copied().map(u32::from_le_bytes);
    let (length, crc) = (number(0)?, number(4)?);
    let body = rest.get(..usize::try_from(length).ok()?)?;
    (*head == batch_head(length, crc, salt, at as u64) && crc32fast::hash(body) == crc).then_some(body)
}

fn changes(mut body: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !body.is_empty() {
        let (head, rest) = body.split_first_chunk::<CHANGE>()?;
        let number = u64::from_le_bytes(*head.last_chunk()?);
        let key = StoreKey { room: Room::from_number(head[1])?, number };
        body = rest;
        changes.push(match head[0] {
            PUT => {
                let (length, rest) = body.split_first_chunk::<LENGTH>()?;
                let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                body = rest;
                Change::Put { key, value: Bytes::copy_from_slice(value) }
            }
            REMOVE => Change::Remove { key },
            REMOVE_THROUGH => Change::RemoveThrough { key },
            _ => return None,
        });
    }
    Some(changes)
}
