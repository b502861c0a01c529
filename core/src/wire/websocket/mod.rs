//! WebSocket (RFC 6455): both roles, by hand.
//!
//! | file | what it holds |
//! |---|---|
//! | `frame`, `mask` | a frame's header, and its masking |
//! | `incoming` | bytes -> messages and control frames |
//! | `close` | status codes |

mod close;
mod frame;
mod incoming;
mod mask;

pub use close::{Close, CloseCode, REASON_LIMIT};
pub use incoming::{Control, Incoming, Item};

use core::fmt;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We opened it: our frames are masked, the peer's are not.
    Client,
    /// We accepted it: the peer's frames are masked, ours are not.
    Server,
}

/// How the peer broke the protocol. The connection cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A rule of the framing was broken: this one.
    Protocol(&'static str),
    /// A text is not UTF-8.
    Utf8,
    /// A message is larger than the limit.
    TooLarge {
        /// What was announced of it so far, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl Violation {
    /// The code to close with.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::Protocol(_) => CloseCode::PROTOCOL_ERROR,
            Self::Utf8 => CloseCode::INVALID_PAYLOAD,
            Self::TooLarge { .. } => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(problem) => f.write_str(problem),
            Self::Utf8 => f.write_str("a text is not UTF-8"),
            Self::TooLarge { length, limit } => write!(f, "a message of {length} bytes, limit {limit}"),
        }
    }
}

impl core::error::Error for Violation {}
