//! WebSocket (RFC 6455), with permessage-deflate (RFC 7692): both roles, by hand.
//!
//! A connection begins with an [upgrade]: the client's request, the server's answer. From then on [`Incoming`] turns the
//! peer's bytes into messages and control frames, and [`Outgoing`] turns ours into bytes. Nothing in here knows about time,
//! sockets or liveness: who pings when, how long a close may take, and what a close code means for the next attempt is up
//! to those who use it.
//!
//! | file | what it holds |
//! |---|---|
//! | `upgrade/` | the opening handshake of both roles: heads, keys, sub-protocols, refusals |
//! | `incoming` | bytes -> [`Item`]s: the order of frames, limits |
//! | `assembly` | one message on its way: memory, UTF-8, inflating |
//! | `outgoing` | [`Message`]s and control frames -> bytes |
//! | `control`, `close` | pings and pongs; status codes |
//! | `frame`, `mask`, `keys` | a frame's header, its masking, and where the keys for it come from |
//! | `deflate/` | permessage-deflate, behind the feature `deflate` |
//!
//! A [`Violation`] is the peer's fault. It says with which code to close ([`Violation::code`]); after it nothing more is
//! read.

mod assembly;
mod close;
mod config;
mod control;
#[cfg(feature = "deflate")]
pub mod deflate;
#[cfg(not(feature = "deflate"))]
#[path = "deflate/absent.rs"]
mod deflate;
mod foreign;
mod frame;
mod framing;
mod incoming;
mod keys;
mod mask;
pub(super) mod meaning;
mod native;
pub(super) mod opening;
mod outgoing;
pub mod upgrade;

pub use super::Role;
pub use crate::session::{Message, NotUtf8};
pub use close::{Close, CloseCode, NO_CODE, REASON_LIMIT};
pub use config::{Beats, SUBPROTOCOL, USUAL_IDLE_LIMIT, WebSocketConfig, WebSocketConfigBuilder, WebSocketConfigError};
pub use control::{CONTROL_LIMIT, Control};
pub use framing::WebSocket;
pub use incoming::{Incoming, Item, Limits};
pub use keys::MaskKeys;
pub use outgoing::{FRAGMENT, Outgoing, WHOLE_LIMIT};

use core::fmt;

/// How the peer broke the protocol, or our limits. The connection cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A rule of the framing was broken: this one.
    Protocol(&'static str),
    /// A text, or the reason of a close, is not UTF-8.
    Utf8,
    /// A compressed message cannot be inflated.
    Deflate,
    /// A frame or message is larger than the limit.
    TooLarge {
        /// What is known of its length so far, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl Violation {
    /// The code to close with (RFC 6455, section 7.4.1).
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::Protocol(_) => CloseCode::PROTOCOL_ERROR,
            Self::Utf8 | Self::Deflate => CloseCode::INVALID_PAYLOAD,
            Self::TooLarge { .. } => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(problem) => write!(f, "the peer broke the protocol: {problem}"),
            Self::Utf8 => f.write_str("the peer broke the protocol: a text is not UTF-8"),
            Self::Deflate => f.write_str("the peer broke the protocol: a message is not compressed as it says"),
            Self::TooLarge { length, limit } => {
                write!(f, "the peer sent a message of {length} bytes or more; the limit is {limit}")
            }
        }
    }
}

impl core::error::Error for Violation {}

#[cfg(test)]
mod tests;
