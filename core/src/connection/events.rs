//! What waits for the application to look.

use alloc::collections::VecDeque;

/// Events in order. Messages are bounded by their inbox; of all others at most `limit` wait, and what comes then is
/// counted and dropped.
pub(crate) struct EventQueue<E> {
    queue: VecDeque<E>,
    others: usize,
    limit: usize,
    missed: u64,
}

/// Tells messages from other events.
pub(crate) trait Classify {
    fn is_message(&self) -> bool;
}

impl<E: Classify> EventQueue<E> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), others: 0, limit, missed: 0 }
    }

    pub(crate) fn push(&mut self, event: E) {
        if !event.is_message() {
            if self.others >= self.limit {
                self.missed = self.missed.saturating_add(1);
                return;
            }
            self.others += 1;
        }
        self.queue.push_back(event);
    }

    /// The oldest event. An empty queue holds no memory.
    pub(crate) fn pop(&mut self) -> Option<E> {
        let event = self.queue.pop_front();
        match &event {
            Some(event) if !event.is_message() => self.others -= 1,
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

    impl Classify for u8 {
        fn is_message(&self) -> bool {
            *self == 0
        }
    }

    #[test]
    fn messages_are_never_dropped_and_others_are_counted() {
        let mut events = EventQueue::new(2);
        for event in [1, 0, 2, 3, 0, 4] {
            events.push(event);
        }
        assert_eq!(events.missed(), 2);
        let taken: alloc::vec::Vec<u8> = core::iter::from_fn(|| events.pop()).collect();
        assert_eq!(taken, [1, 0, 2, 0]);
        events.push(5);
        assert_eq!((events.pop(), events.is_empty()), (Some(5), true));
    }
}
