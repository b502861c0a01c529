//! WHAT MUST NOT BE LOST? Messages of one logical link, across many connections.
//!
//! The [`Outbox`] holds what the application handed in until the peer has acknowledged it. The [`Inbox`] knows
//! which of the peer's messages have arrived, and how many the application has not taken yet. Both outlive a connection; a [`Token`]
//! lets the peers find the session again on the next one.
//!
//! A message is numbered when it first leaves, so that a message dropped before that leaves no gap. What has a number
//! stays until it is acknowledged or the session ends.
//!
//! ```
//! use keepbeat_core::session::{Inbox, Outbox, QueueLimits};
//! use keepbeat_core::time::Timestamp;
//!
//! let (mut outbox, mut inbox) = (Outbox::new(QueueLimits::default()), Inbox::new(QueueLimits::default()));
//! outbox.push(Timestamp::ZERO, "hello".into())?;
//! let (seq, message) = outbox.next_to_send().expect("one message waits");
//! inbox.offer(seq, message.len())?;
//! // The acknowledgement is lost with the connection; the peer sends again on the next one.
//! outbox.resume(0)?;
//! let (seq, message) = outbox.next_to_send().expect("not acknowledged yet");
//! assert!(!inbox.offer(seq, message.len())?, "a duplicate is not taken twice");
//! outbox.acknowledge(inbox.received())?;
//! assert!(outbox.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod inbox;
mod message;
mod outbox;
mod store;
mod token;

pub use inbox::Inbox;
pub use message::{Message, NotUtf8};
pub use outbox::{DropReason, Dropped, Origin, Outbox, Overflow, SendError, Ticket};
pub use store::{Change, MemoryStore, Room, SessionStore, StoreError, StoreKey};
pub use token::Token;

use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

/// Both directions of one session.
#[derive(Debug)]
pub struct Session {
    /// What we have sent.
    pub outbox: Outbox,
    /// What we have received.
    pub inbox: Inbox,
}

impl Session {
    /// A session in which nothing was sent or received. Many may share their limits.
    #[must_use]
    pub fn new(outbox: impl Into<Arc<QueueLimits>>, inbox: impl Into<Arc<QueueLimits>>) -> Self {
        Self { outbox: Outbox::new(outbox), inbox: Inbox::new(inbox) }
    }

    /// Both directions count from 1 again; see [`Outbox::restart`].
    pub fn restart(&mut self) -> usize {
        self.inbox.restart();
        self.outbox.restart()
    }
}

/// Bounds of one queue of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Option<Duration>,
    pub(crate) overflow: Overflow,
}

impl QueueLimits {
    /// At most `messages` messages and `bytes` bytes of payload, both at least 1.
    ///
    /// An outbox accepts a message only if it fits. An inbox tells its driver to stop reading when it is full, and takes
    /// the message that filled it: it holds at most one message more than this. What was read behind that one stays as it came,
    /// and is taken when there is room, or up to twice this when the connection ends.
    ///
    /// # Errors
    /// One of the two is zero: nothing could ever be queued.
    pub const fn new(messages: usize, bytes: usize) -> Result<Self, QueueLimitsError> {
        if messages == 0 || bytes == 0 {
            return Err(QueueLimitsError { messages, bytes });
        }
        Ok(Self { messages, bytes, age: None, overflow: Overflow::Reject })
    }

    /// Drop a queued message that has not left after this time, and say so. Without it, messages do not age.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// What to do with a message that does not fit. Default: [`Overflow::Reject`].
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The bound in bytes of payload.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Default for QueueLimits {
    /// 1,000 messages and 8 MiB; no age limit; reject what does not fit.
    fn default() -> Self {
        Self { messages: 1000, bytes: 8 << 20, age: None, overflow: Overflow::Reject }
    }
}

/// A queue that could hold nothing: a fault of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimitsError {
    /// The bound in messages.
    pub messages: usize,
    /// The bound in bytes.
    pub bytes: usize,
}

impl fmt::Display for QueueLimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a queue of {} messages and {} bytes can hold nothing; give at least 1 of each",
            self.messages, self.bytes
        )
    }
}

impl core::error::Error for QueueLimitsError {}

/// The peer's numbers contradict ours: it broke the protocol, or it lost its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceError {
    /// The number that came.
    pub got: u64,
    /// The lowest number that would have been right.
    pub lowest: u64,
    /// The highest number that would have been right.
    pub highest: u64,
}

impl fmt::Display for SequenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message number {} is outside {} to {}", self.got, self.lowest, self.highest)
    }
}

impl core::error::Error for SequenceError {}
