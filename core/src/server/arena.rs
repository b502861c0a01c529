//! Where connections and devices are.

use alloc::vec::Vec;

use super::Accepted;

/// Names one accepted connection. Never used twice by the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// A number that no other open connection of the same server has, and that is used again: at most as high as most
    /// connections were open at once. For a driver that keeps connections in a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The id as one number, for a driver that files connections under numbers.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The id that [`ConnectionId::to_u64`] made this number of.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// Values under small numbers, which are used again. It grows by blocks: nothing moves, and little is reserved.
#[derive(Debug)]
pub(super) struct Slab<T> {
    blocks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
}

/// Values in a block.
const BLOCK: usize = 16;

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(slot) = self.slot_mut(index) {
                *slot = Some(value);
            }
            return index;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(Some(value));
        }
        (self.slots() - 1) as u32
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.blocks.get(index as usize / BLOCK)?.get(index as usize % BLOCK)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slot_mut(index)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.slot_mut(index)?.take()?;
        self.free.push(index);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.blocks.iter().flatten().zip(0..);
        slots.filter_map(|(slot, index)| Some((index, slot.as_ref()?)))
    }

    fn slots(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.len())
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Option<T>> {
        self.blocks.get_mut(index as usize / BLOCK)?.get_mut(index as usize % BLOCK)
    }
}

/// Connections under names of which none is used again: a slot is, but its name carries a serial number.
pub(super) struct Arena<W> {
    slots: Slab<Accepted<W>>,
    last: u32,
}

impl<W> Arena<W> {
    pub(super) const fn new() -> Self {
        Self { slots: Slab::new(), last: 0 }
    }

    /// Gives the connection its serial number.
    pub(super) fn insert(&mut self, mut accepted: Accepted<W>) -> ConnectionId {
        self.last = self.last.wrapping_add(1);
        accepted.generation = self.last;
        ConnectionId { index: self.slots.insert(accepted), generation: self.last }
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Accepted<W>> {
        self.slots.get(id.index).filter(|accepted| accepted.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Accepted<W>> {
        self.slots.get_mut(id.index).filter(|accepted| accepted.generation == id.generation)
    }

    /// The name of the connection that has this number now.
    pub(super) fn id_at(&self, index: u32) -> Option<ConnectionId> {
        self.slots.get(index).map(|accepted| ConnectionId { index, generation: accepted.generation })
    }

    pub(super) fn at(&self, index: u32) -> Option<&Accepted<W>> {
        self.slots.get(index)
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut Accepted<W>> {
        self.slots.get_mut(index)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Accepted<W>> {
        self.get(id)?;
        self.slots.remove(id.index)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        let used = self.slots.iter();
        used.map(|(index, accepted)| ConnectionId { index, generation: accepted.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_values_stay_where_they_are() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (0..100).map(|value| slab.insert(value)).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert_eq!((slab.remove(17), slab.remove(17), slab.get(17), slab.len()), (Some(17), None, None, 99));
        assert!(slab.iter().all(|(number, value)| number == *value as u32) && slab.iter().count() == 99);
        assert_eq!((slab.insert(1000), slab.get(17), slab.get(100)), (17, Some(&1000), None));
        assert_eq!(slab.get_mut(99), Some(&mut 99));
    }
}
