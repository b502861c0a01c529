//! The earliest of very many deadlines.
//!
//! A deadline that moves away is filed again only when its old place comes up, so that a received beat costs nothing
//! here; one that comes nearer is filed at once. Once the highest number of keys was filed, nothing allocates.
//!
//! ```
//! use keepbeat_core::time::Timestamp;
//! use keepbeat_core::timers::Timers;
//!
//! let (near, far) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
//! let mut timers = Timers::new();
//! let (mut pump, mut valve) = (None, None);
//! timers.file("pump", &mut pump, Some(near));
//! timers.file("valve", &mut valve, Some(far));
//! assert_eq!(timers.first(), Some((near, &"pump")));
//! assert_eq!(timers.until(near).collect::<Vec<_>>(), [&"pump"]);
//!
//! // The pump has no deadline before `later` any more. Its place is looked at when it comes up, not before.
//! let later = Timestamp::from_millis(12);
//! timers.file("pump", &mut pump, Some(later));
//! assert_eq!(timers.first(), Some((near, &"pump")));
//! timers.refile(&mut pump, Some(later));
//! assert_eq!(timers.first(), Some((far, &"valve")));
//! ```

use alloc::vec::Vec;
use core::num::NonZeroU32;

use crate::time::Timestamp;

/// With four children, which lie side by side, a heap is half as deep as with two.
const ARITY: usize = 4;

/// Which moments are filed, under which keys: a heap whose entries know their places, so that they can be moved
/// and removed. A key is filed at most once; its owner keeps the [`Filed`] that says where.
#[derive(Debug)]
pub struct Timers<K> {
    slots: Vec<Slot<K>>,
    /// By moment and key, the earliest first; the children of `i` are the [`ARITY`] from `ARITY * i + 1` on.
    heap: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<K> {
    /// `None` if the slot is free.
    key: Option<K>,
    /// The slot's index in the heap.
    place: u32,
}

/// The moment is in the heap itself: to look it up elsewhere is what costs where very many are filed.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Timestamp,
    slot: u32,
}

/// Where a key is filed. Belongs to the [`Timers`] that made it; given to others, it may move or remove another key there.
#[derive(Debug)]
pub struct Filed(NonZeroU32);

impl Filed {
    const fn at(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    const fn slot(&self) -> u32 {
        self.0.get() - 1
    }
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord> Timers<K> {
    /// Nothing is filed.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), heap: Vec::new(), free: Vec::new() }
    }

    /// Files a key so that it comes up at `due` at the latest. `filed` is where its owner remembers it. A key that is filed
    /// for an earlier moment stays there, also if `due` is `None`. O(log n), and O(1) if nothing moves.
    pub fn file(&mut self, key: K, filed: &mut Option<Filed>, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        let Some(slot) = filed.as_ref().map(Filed::slot) else {
            *filed = Some(self.insert(due, key));
            return;
        };
        if let Some(place) = self.place_of(slot)
            && due < self.heap[place].at
        {
            self.heap[place].at = due;
            self.rise(place);
        }
    }

    /// Moves a key to `due`, earlier or later; takes it out if that is `None`. Nothing happens if it is not filed. O(log n).
    pub fn refile(&mut self, filed: &mut Option<Filed>, due: Option<Timestamp>) {
        let Some(due) = due else { return self.remove(filed) };
        if let Some(slot) = filed.as_ref().map(Filed::slot)
            && let Some(place) = self.place_of(slot)
        {
            self.heap[place].at = due;
            self.sink(place);
            self.rise(place);
        }
    }

    /// Takes a key out. Nothing happens if it is not filed. O(log n).
    pub fn remove(&mut self, filed: &mut Option<Filed>) {
        let Some(slot) = filed.take().map(|filed| filed.slot()) else { return };
        let Some(place) = self.place_of(slot) else { return };
        self.slots[slot as usize].key = None;
        self.free.push(slot);
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.sink(place);
            self.rise(place);
        }
    }

    /// The keys that come up by `now`, in no order that matters. Looks at no more than four times as many, and one.
    pub fn until(&self, now: Timestamp) -> impl Iterator<Item = &K> {
        let mut next = Some(0);
        core::iter::from_fn(move || {
            loop {
                let place = next?;
                let due = self.heap.get(place).copied().filter(|entry| entry.at <= now);
                next = if due.is_some() { Some(ARITY * place + 1) } else { behind(place) };
                if let Some(key) = due.and_then(|entry| self.key(entry)) {
                    return Some(key);
                }
            }
        })
    }

    /// The earliest moment filed and its key. Its owner's deadline may be later. O(1).
    #[must_use]
    pub fn first(&self) -> Option<(Timestamp, &K)> {
        let entry = *self.heap.first()?;
        Some((entry.at, self.key(entry)?))
    }

    fn key(&self, entry: Entry) -> Option<&K> {
        self.slots[entry.slot as usize].key.as_ref()
    }

    /// `None` if nothing is filed in this slot.
    fn place_of(&self, slot: u32) -> Option<usize> {
        self.slots.get(slot as usize).filter(|slot| slot.key.is_some()).map(|slot| slot.place as usize)
    }

    fn insert(&mut self, due: Timestamp, key: K) -> Filed {
        let entry = Slot { key: Some(key), place: self.heap.len() as u32 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        self.heap.push(Entry { at: due, slot });
        self.rise(self.heap.len() - 1);
        Filed::at(slot)
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 && self.is_before(entry, self.heap[(place - 1) / ARITY]) {
            self.put(place, self.heap[(place - 1) / ARITY]);
            place = (place - 1) / ARITY;
        }
        self.put(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let children = ARITY * place + 1..self.heap.len().min(ARITY * place + 1 + ARITY);
            let earlier = |one, other| if self.is_before(self.heap[other], self.heap[one]) { other } else { one };
            match children.reduce(earlier) {
                Some(child) if self.is_before(self.heap[child], entry) => {
                    self.put(place, self.heap[child]);
                    place = child;
                }
                _ => return self.put(place, entry),
            }
        }
    }

    fn is_before(&self, one: Entry, other: Entry) -> bool {
        one.at < other.at || one.at == other.at && self.key(one) < self.key(other)
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.slots[entry.slot as usize].place = place as u32;
    }
}

/// The place that follows a place and all below it, if the heap is walked from the top, left before right.
fn behind(mut place: usize) -> Option<usize> {
    while place > 0 && place.is_multiple_of(ARITY) {
        place = (place - 1) / ARITY;
    }
    (place > 0).then_some(place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Prng;
    use alloc::collections::BTreeSet;

    #[test]
    fn the_first_is_always_the_earliest() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut timers, mut model) = (Timers::new(), BTreeSet::new());
            let mut owners: Vec<(Option<Filed>, Option<Timestamp>)> = (0..20).map(|_| (None, None)).collect();
            for _ in 0..400 {
                let key = prng.between(0, 19);
                let (filed, at) = &mut owners[key as usize];
                let due = Timestamp::from_nanos(prng.between(0, 50));
                match prng.between(0, 3) {
                    0 => {
                        timers.remove(filed);
                        at.take().map(|at| model.remove(&(at, key)));
                    }
                    1 => {
                        timers.refile(filed, Some(due));
                        if let Some(at) = at {
                            model.remove(&(core::mem::replace(at, due), key));
                            model.insert((due, key));
                        }
                    }
                    _ => {
                        timers.file(key, filed, Some(due));
                        if at.is_none_or(|at| due < at) {
                            at.replace(due).map(|at| model.remove(&(at, key)));
                            model.insert((due, key));
                        }
                    }
                }
                assert_eq!(timers.first(), model.first().map(|(at, key)| (*at, key)), "seed {seed}");
                let now = Timestamp::from_nanos(prng.between(0, 50));
                let until: BTreeSet<_> = timers.until(now).collect();
                let expected = model.iter().filter(|(at, _)| *at <= now).map(|(_, key)| key);
                assert_eq!(until, expected.collect(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_later_or_no_moment_leaves_the_place_as_it_is() {
        let (mut timers, mut filed) = (Timers::new(), None);
        timers.file('a', &mut filed, None);
        assert_eq!(timers.first(), None);
        for at in [7, 9, 7] {
            timers.file('a', &mut filed, Some(Timestamp::from_nanos(at)));
            timers.file('a', &mut filed, None);
            assert_eq!(timers.first(), Some((Timestamp::from_nanos(7), &'a')));
        }
    }

    #[test]
    fn the_place_of_another_heap_does_no_harm() {
        let (mut timers, mut other) = (Timers::new(), Timers::new());
        let (mut first, mut second) = (None, None);
        other.file('a', &mut first, Some(Timestamp::ZERO));
        timers.file('b', &mut first, Some(Timestamp::ZERO));
        timers.remove(&mut first);
        assert_eq!(timers.first(), None);
        timers.file('c', &mut second, Some(Timestamp::ZERO));
        timers.remove(&mut Some(Filed::at(0)));
        timers.remove(&mut second);
        timers.refile(&mut Some(Filed::at(0)), Some(Timestamp::ZERO));
        assert_eq!(timers.first(), None);
        timers.file('d', &mut second, Some(Timestamp::ZERO));
        assert_eq!(timers.first(), Some((Timestamp::ZERO, &'d')));
    }
}
