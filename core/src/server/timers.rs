//! The earliest of very many deadlines.
//!
//! A deadline that moves away is filed again only when its old place comes up, so that a received beat costs nothing
//! here; one that comes nearer is filed at once.

use alloc::collections::BTreeSet;

use crate::time::Timestamp;

/// Which moments are filed, under which keys. A key is filed at most once; its owner remembers where.
pub(super) struct Timers<K> {
    filed: BTreeSet<(Timestamp, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    pub(super) const fn new() -> Self {
        Self { filed: BTreeSet::new() }
    }

    /// Files `key` so that it comes up at `due` at the latest. `place` is where its owner remembers it.
    pub(super) fn file(&mut self, key: K, place: &mut Option<Timestamp>, due: Option<Timestamp>) {
        match (*place, due) {
            (_, None) => {}
            (Some(filed), Some(due)) if filed <= due => {}
            (old, Some(due)) => {
                if let Some(filed) = old {
                    self.filed.remove(&(filed, key.clone()));
                }
                self.filed.insert((due, key));
                *place = Some(due);
            }
        }
    }

    pub(super) fn remove(&mut self, key: K, place: &mut Option<Timestamp>) {
        if let Some(filed) = place.take() {
            self.filed.remove(&(filed, key));
        }
    }

    /// The keys that come up by `now`, the earliest first.
    pub(super) fn until(&self, now: Timestamp) -> impl Iterator<Item = &K> {
        self.filed.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key)
    }

    /// The earliest place and its key. Its owner's deadline may be later.
    pub(super) fn first(&self) -> Option<&(Timestamp, K)> {
        self.filed.first()
    }
}
