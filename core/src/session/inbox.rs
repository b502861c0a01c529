//! What the peer sent: which numbers we have had, and how much our application has not taken yet.

use alloc::sync::Arc;

use super::{QueueLimits, SequenceError};

/// The numbers received in a session, and the room that messages not yet taken occupy.
///
/// The messages themselves wait where the application takes them from; the inbox keeps the account.
#[derive(Debug)]
pub struct Inbox {
    limits: Arc<QueueLimits>,
    received: u64,
    messages: usize,
    bytes: usize,
}

impl Inbox {
    /// An inbox that has received nothing. Many may share their limits.
    #[must_use]
    pub fn new(limits: impl Into<Arc<QueueLimits>>) -> Self {
        Self { limits: limits.into(), received: 0, messages: 0, bytes: 0 }
    }

    /// The message with the number `seq` and `bytes` bytes arrived: `true` if it is to be delivered, `false` if it was
    /// received before.
    ///
    /// # Errors
    /// A message before it is missing. Nothing changed; the connection cannot be used further.
    pub const fn offer(&mut self, seq: u64, bytes: usize) -> Result<bool, SequenceError> {
        if seq <= self.received {
            return Ok(false);
        }
        let next = self.received + 1;
        if seq != next {
            return Err(SequenceError { got: seq, lowest: next, highest: next });
        }
        self.received = seq;
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(true)
    }

    /// The application took a message of `bytes` bytes.
    pub const fn taken(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The highest number up to which nothing is missing in this session; 0 for none.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Whether no more should be read from the connection until messages are taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    /// Whether it is full twice over.
    pub(crate) fn is_overfull(&self) -> bool {
        self.messages >= self.limits.messages.saturating_mul(2) || self.bytes >= self.limits.bytes.saturating_mul(2)
    }

    /// A new session: the peer counts from 1 again. What waits to be taken still occupies its room.
    pub const fn restart(&mut self) {
        self.received = 0;
    }

    /// Whether messages wait to be taken.
    #[must_use]
    pub const fn has_waiting(&self) -> bool {
        self.messages > 0
    }

    /// The place where messages wait to be taken is gone, and they with it.
    pub(crate) const fn forget_waiting(&mut self) {
        (self.messages, self.bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_dropped_and_gaps_are_errors() {
        let mut inbox = Inbox::new(QueueLimits::default());
        assert_eq!(inbox.offer(1, 10), Ok(true));
        assert_eq!(inbox.offer(1, 10), Ok(false));
        assert_eq!(inbox.offer(3, 10), Err(SequenceError { got: 3, lowest: 2, highest: 2 }));
        assert_eq!(inbox.offer(2, 10), Ok(true));
        assert_eq!(inbox.offer(0, 10), Ok(false));
        assert_eq!(inbox.received(), 2);
    }

    #[test]
    fn numbers_pass_the_32_bit_boundary_and_stop_at_the_last_one() {
        let mut inbox = Inbox::new(QueueLimits::default());
        inbox.received = u64::from(u32::MAX) - 1;
        for seq in u64::from(u32::MAX)..u64::from(u32::MAX) + 3 {
            assert_eq!(inbox.offer(seq, 1), Ok(true));
        }
        inbox.received = u64::MAX;
        assert_eq!(inbox.offer(u64::MAX, 1), Ok(false));
    }

    #[test]
    fn it_is_full_by_count_or_by_bytes() {
        for limits in [QueueLimits::new(2, 1000), QueueLimits::new(1000, 20)] {
            let mut inbox = Inbox::new(limits.unwrap());
            inbox.offer(1, 10).unwrap();
            assert!(!inbox.is_full());
            inbox.offer(2, 10).unwrap();
            assert!(inbox.is_full());
            inbox.taken(10);
            assert!(!inbox.is_full());
        }
    }
}
