//! What waits for the application to look.

use alloc::collections::VecDeque;

/// Events in order, for an application that may not look for a long time. Messages are bounded by their inbox. Of the
/// events that a later one outdates, at most `limit` wait: the oldest makes room, and is counted. What must not be missed
/// is kept.
pub(crate) struct EventQueue<E> {
    queue: VecDeque<E>,
    outdated: usize,
    limit: usize,
    missed: u64,
}

/// Tells which events a later one outdates.
pub(crate) trait Outdated {
    fn is_outdated_by_later(&self) -> bool;
}

impl<E: Outdated> EventQueue<E> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), outdated: 0, limit, missed: 0 }
    }

    pub(crate) fn push(&mut self, event: E) {
        if event.is_outdated_by_later() {
            if self.outdated < self.limit {
                self.outdated += 1;
            } else if let Some(oldest) = self.queue.iter().position(Outdated::is_outdated_by_later) {
                self.queue.remove(oldest);
                self.missed = self.missed.saturating_add(1);
            }
        }
        self.queue.push_back(event);
    }

    /// The oldest event. An empty queue holds no memory.
    pub(crate) fn pop(&mut self) -> Option<E> {
        let event = self.queue.pop_front();
        match &event {
            Some(event) if event.is_outdated_by_later() => self.outdated -= 1,
            Some(_) => {}
            None => self.queue = VecDeque::new(),
        }
        event
    }

    pub(crate) fn newest_mut(&mut self) -> Option<&mut E> {
        self.queue.back_mut()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Outdated for u8 {
        fn is_outdated_by_later(&self) -> bool {
            *self != 0
        }
    }

    #[test]
    fn the_newest_and_what_must_not_be_missed_stay() {
        let mut events = EventQueue::new(2);
        for event in [1, 0, 2, 3, 0, 4] {
            events.push(event);
        }
        assert_eq!(events.missed(), 2);
        let taken: alloc::vec::Vec<u8> = core::iter::from_fn(|| events.pop()).collect();
        assert_eq!(taken, [0, 3, 0, 4]);
        events.push(5);
        assert_eq!((events.pop(), events.is_empty()), (Some(5), true));
    }
}
