//! What waits for the application to look.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// Events in order, for an application that may not look for a long time. Messages are bounded by their inbox. Of the
/// events that a later one outdates, at most `LIMIT` wait: the oldest makes room, and is counted. What must not be missed
/// is kept.
pub(crate) struct EventQueue<E, const LIMIT: usize> {
    /// An empty queue holds no memory of the heap.
    waiting: Option<Box<Waiting<E>>>,
    missed: u64,
}

struct Waiting<E> {
    queue: VecDeque<E>,
    outdated: usize,
}

/// Tells which events a later one outdates.
pub(crate) trait Outdated {
    fn is_outdated_by_later(&self) -> bool;
}

impl<E: Outdated, const LIMIT: usize> EventQueue<E, LIMIT> {
    pub(crate) const fn new() -> Self {
        Self { waiting: None, missed: 0 }
    }

    pub(crate) fn push(&mut self, event: E) {
        let Waiting { queue, outdated } =
            &mut **self.waiting.get_or_insert_with(|| Box::new(Waiting { queue: VecDeque::new(), outdated: 0 }));
        if event.is_outdated_by_later() {
            if *outdated < LIMIT {
                *outdated += 1;
            } else if let Some(oldest) = queue.iter().position(Outdated::is_outdated_by_later) {
                queue.remove(oldest);
                self.missed = self.missed.saturating_add(1);
            }
        }
        queue.push_back(event);
    }

    /// The oldest event.
    pub(crate) fn pop(&mut self) -> Option<E> {
        let Waiting { queue, outdated } = &mut **self.waiting.as_mut()?;
        let event = queue.pop_front();
        match &event {
            Some(event) => *outdated -= usize::from(event.is_outdated_by_later()),
            // Not with the last event, so that those who take each at once do not allocate for each.
            None => self.waiting = None,
        }
        event
    }

    pub(crate) fn newest_mut(&mut self) -> Option<&mut E> {
        self.waiting.as_mut()?.queue.back_mut()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.queue.is_empty())
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
        let mut events = EventQueue::<_, 2>::new();
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
