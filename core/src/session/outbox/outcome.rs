//! What becomes of messages that are not accepted, or not delivered.

use core::fmt;

use super::Ticket;
use crate::session::Message;

/// What to do with a message for which the outbox has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// Hand the new message back. The caller may drop it (the newest is lost) or wait for room.
    #[default]
    Reject,
    /// Drop the oldest messages that have not left yet, and report each. If those are not enough, hand the new one back.
    DropOldest,
}

/// Why an accepted message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It made room for a newer one ([`Overflow::DropOldest`]).
    Overflow,
    /// It did not leave within [`QueueLimits::max_age`](crate::session::QueueLimits::max_age).
    Expired,
    /// The peer accepts only smaller messages.
    PeerLimit,
    /// The peer refused it.
    Refused {
        /// The protocol's code for why: a reason code of MQTT.
        code: u16,
    },
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overflow => "it made room for a newer one",
            Self::Expired => "it grew too old",
            Self::PeerLimit => "the peer accepts only smaller ones",
            Self::Refused { code } => return write!(f, "the peer refused it with code {code}"),
        })
    }
}

/// An accepted message that will not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Which one.
    pub ticket: Ticket,
    /// The message.
    pub message: Message,
    /// Why.
    pub reason: DropReason,
}

/// A message that was not accepted. Nothing changed; [`SendError::into_message`] hands it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No room now. Wait for acknowledgements, or raise the limits.
    Full {
        /// The message.
        message: Message,
        /// Messages that wait.
        messages: usize,
        /// Bytes that wait.
        bytes: usize,
    },
    /// The message is larger than the limit and will never be accepted.
    TooLarge {
        /// The message.
        message: Message,
        /// The limit in bytes.
        limit: usize,
    },
    /// The link is closed or closing, or has given up.
    Closed {
        /// The message.
        message: Message,
    },
    /// The protocol of the link cannot carry the message.
    Unfit {
        /// The message.
        message: Message,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl SendError {
    /// The message, back.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Full { message, .. }
            | Self::TooLarge { message, .. }
            | Self::Closed { message }
            | Self::Unfit { message, .. } => message,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { messages, bytes, .. } => {
                write!(f, "the outbox is full ({messages} messages, {bytes} bytes wait); wait for acknowledgements")
            }
            Self::TooLarge { message, limit } => {
                write!(f, "the message has {} bytes; at most {limit} are accepted", message.len())
            }
            Self::Closed { .. } => f.write_str("the link is closed; open it before sending"),
            Self::Unfit { problem, .. } => write!(f, "the link's protocol cannot carry the message: {problem}"),
        }
    }
}

impl core::error::Error for SendError {}
