//! The vocabulary that every wire shares: frames, and the values in them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write as _};

use bytes::Bytes;

use crate::session::{Message, Token};

/// The longest device id, in bytes of UTF-8.
pub const DEVICE_ID_LIMIT: usize = 128;

/// The longest `detail` of a [`Goodbye`], in bytes of UTF-8. What is longer is cut when it is sent.
pub const DETAIL_LIMIT: usize = 120;

/// One decoded unit of speech.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client to server, first frame: who I am and what I want.
    Hello(Box<Hello>),
    /// Server to client, answer to a hello: what you get.
    Welcome(Box<Welcome>),
    /// Server to client, answer to a hello: you do not get in, and why. The last frame of a connection.
    Refuse(Box<Goodbye>),
    /// Are you alive? The receiver echoes `seq`.
    Beat {
        /// Counts the sender's beats on this connection.
        seq: u32,
    },
    /// I am; the answer to the beat with the same `seq`.
    Echo {
        /// The `seq` of the newest beat received.
        seq: u32,
    },
    /// A message of the application.
    Data {
        /// Counts the sender's messages in this session, from 1, without a gap.
        seq: u64,
        /// The message.
        message: Message,
    },
    /// Everything up to and including `seq` has arrived. May be repeated.
    Ack {
        /// The highest `seq` up to which no message is missing; 0 for none.
        seq: u64,
    },
    /// What the peer says to one of our messages, beyond that it has arrived.
    Answer {
        /// The number of our message; 0 if the wire asked by itself.
        seq: u64,
        /// What it says.
        answer: Message,
    },
    /// The last frame of a connection: why it ends, and what to do then.
    Goodbye(Box<Goodbye>),
    /// A well-formed frame of a type this version does not know. It is skipped.
    Unknown,
}

impl Frame {
    /// The frame's name, for errors and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Welcome(_) => "WELCOME",
            Self::Refuse(_) => "REFUSE",
            Self::Beat { .. } => "BEAT",
            Self::Echo { .. } => "ECHO",
            Self::Data { message, .. } if message.is_text() => "TEXT",
            Self::Data { .. } => "DATA",
            Self::Ack { .. } => "ACK",
            Self::Answer { .. } => "ANSWER",
            Self::Goodbye(_) => "GOODBYE",
            Self::Unknown => "unknown",
        }
    }
}

/// What proves a device's identity; may be empty. Its meaning is the application's, which should compare it in constant
/// time. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials(Bytes);

impl Credentials {
    /// Credentials of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// A client's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The highest protocol version that the client speaks. 0 for a foreign client that speaks none, and came over a wire that
    /// is not ours alone: it has no session to resume, and is not expected to beat.
    pub version: u8,
    /// Who is calling.
    pub device: DeviceId,
    /// Tells one life of a client from the next: a random number, the same for all its attempts. 0 if not given.
    pub instance: u64,
    /// Counts the attempts of that life. A hello that comes later than one with a higher number is stale.
    pub attempt: u32,
    /// The beat interval that the client wants, in milliseconds.
    pub interval_ms: u32,
    /// How long the client waits for an echo, in milliseconds.
    pub reply_timeout_ms: u32,
    /// The largest message that the client accepts, in bytes.
    pub message_limit: u64,
    /// The session to resume, if the client holds one.
    pub token: Option<Token>,
    /// The highest message of that session that the client has received; 0 for none.
    pub received: u64,
    /// What proves the client's identity.
    pub credentials: Credentials,
}

/// A server's answer to a [`Hello`] that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version of this connection, at most the client's.
    pub version: u8,
    /// The secret that resumes this session on another connection of the same device.
    pub token: Token,
    /// Whether the session that the client asked for goes on. If not, both sides count messages from 1 again.
    pub resumed: bool,
    /// The beat interval granted, in milliseconds.
    pub interval_ms: u32,
    /// The reply timeout granted, in milliseconds.
    pub reply_timeout_ms: u32,
    /// The largest message that the server accepts, in bytes.
    pub message_limit: u64,
    /// The highest message of the session that the server has received; 0 for none.
    pub received: u64,
}

/// Why a connection ends or does not begin, and what the other side should do then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// The reason.
    pub reason: Reason,
    /// Do not come back before this many milliseconds have passed; 0 if the sender has no wish.
    pub retry_after_ms: u32,
    /// Come back at a random moment within this many milliseconds after that; 0 if the sender has no wish.
    pub spread_ms: u32,
    /// One line for a person to read; may be empty.
    pub detail: String,
    /// What the protocol below said, if it has numbers of its own: a close code of WebSocket (1000 to 4999), or a status of
    /// HTTP (300 to 599). The native protocol has none. Given to be sent, it goes before what the reason would be sent as.
    pub code: Option<u16>,
}

impl Goodbye {
    /// A goodbye without a wish for the time to come back.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, retry_after_ms: 0, spread_ms: 0, detail: detail.into(), code: None }
    }
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if let Some(code) = self.code {
            write!(f, " [{code}]")?;
        }
        if !self.detail.is_empty() {
            f.write_str(" (")?;
            // The text is the peer's, and this line may go to a terminal.
            for char in self.detail.chars() {
                f.write_char(if char.is_control() { '?' } else { char })?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Why one side ends or refuses a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The sender's application closed the link for good.
    Closed,
    /// The sender shuts down or restarts; come back.
    GoingAway,
    /// Another connection of the same device took over.
    Replaced,
    /// The credentials were not accepted; other credentials may be.
    Unauthorized,
    /// The device may not connect, whatever its credentials.
    Forbidden,
    /// The sender has no room now; come back later.
    Busy,
    /// No protocol version in common.
    UnsupportedVersion,
    /// The receiver broke the protocol.
    Malformed,
    /// The receiver sent a frame above the limit.
    TooLarge,
    /// The receiver sent beats much faster than agreed.
    Flood,
    /// The receiver did not finish the handshake, or a frame, in time.
    TimedOut,
    /// The receiver was silent for too long and is taken for dead.
    Silent,
    /// The sender met something that it cannot deal with; it may go better next time.
    Failed,
    /// What the receiver asks for is not to be had here.
    NotHere,
    /// A code that this version does not know.
    Other(u8),
}

impl Reason {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::GoingAway => 1,
            Self::Replaced => 2,
            Self::Unauthorized => 3,
            Self::Forbidden => 4,
            Self::Busy => 5,
            Self::UnsupportedVersion => 6,
            Self::Malformed => 7,
            Self::TooLarge => 8,
            Self::Flood => 9,
            Self::TimedOut => 10,
            Self::Silent => 11,
            Self::Failed => 12,
            Self::NotHere => 13,
            Self::Other(code) => code,
        }
    }

    /// The reason with this code on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Closed,
            1 => Self::GoingAway,
            2 => Self::Replaced,
            3 => Self::Unauthorized,
            4 => Self::Forbidden,
            5 => Self::Busy,
            6 => Self::UnsupportedVersion,
            7 => Self::Malformed,
            8 => Self::TooLarge,
            9 => Self::Flood,
            10 => Self::TimedOut,
            11 => Self::Silent,
            12 => Self::Failed,
            13 => Self::NotHere,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::GoingAway => "going away",
            Self::Replaced => "replaced by another connection of the same device",
            Self::Unauthorized => "credentials not accepted",
            Self::Forbidden => "device not allowed",
            Self::Busy => "busy",
            Self::UnsupportedVersion => "protocol version not supported",
            Self::Malformed => "protocol violated",
            Self::TooLarge => "frame above the limit",
            Self::Flood => "too many beats",
            Self::TimedOut => "timed out",
            Self::Silent => "silent for too long",
            Self::Failed => "failed",
            Self::NotHere => "not to be had here",
            Self::Other(code) => return write!(f, "reason {code}"),
        })
    }
}

/// The name of a device: 1 to 128 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// Checks and takes a device id.
    ///
    /// # Errors
    /// The id is empty, longer than [`DEVICE_ID_LIMIT`] bytes, or has a control character in it.
    pub fn new(id: &str) -> Result<Self, DeviceIdError> {
        if id.is_empty() {
            return Err(DeviceIdError::Empty);
        }
        if id.len() > DEVICE_ID_LIMIT {
            return Err(DeviceIdError::TooLong { length: id.len() });
        }
        if id.chars().any(char::is_control) {
            return Err(DeviceIdError::ControlCharacter);
        }
        Ok(Self(id.into()))
    }

    /// A name for a client that says none.
    pub(crate) fn of_foreigner(random: u64) -> Self {
        Self(alloc::format!("ws-{random:016x}").into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`DeviceId`]: a fault of the configuration, or of the peer that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceIdError {
    /// The id is empty.
    Empty,
    /// The id is longer than [`DEVICE_ID_LIMIT`] bytes.
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The id has a control character in it.
    ControlCharacter,
}

impl fmt::Display for DeviceIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the device id is empty; give it 1 to 128 bytes"),
            Self::TooLong { length } => {
                write!(f, "the device id has {length} bytes; at most {DEVICE_ID_LIMIT} are allowed")
            }
            Self::ControlCharacter => f.write_str("the device id has a control character in it; remove it"),
        }
    }
}

impl core::error::Error for DeviceIdError {}

/// How the peer broke the protocol. The connection cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// A frame does not have the form that its type asks for.
    Malformed {
        /// The frame's name, or where in the stream the fault is.
        frame: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A frame is larger than the limit.
    TooLarge {
        /// The length that it announces, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A frame came that is not allowed at this point.
    Unexpected {
        /// The frame's name.
        frame: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The peer asks for what our configuration does not allow.
    NotAllowed {
        /// What to tell the peer.
        reason: Reason,
        /// What is not allowed.
        problem: &'static str,
    },
    /// The peer's message numbers contradict ours.
    Sequence {
        /// The frame's name.
        frame: &'static str,
        /// The number that it carries.
        got: u64,
        /// The highest (or, for DATA, the only) number that would have been right.
        expected: u64,
    },
}

impl WireError {
    /// What to tell the peer about it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::NotAllowed { reason, .. } => *reason,
            Self::Malformed { .. } | Self::Unexpected { .. } | Self::Sequence { .. } => Reason::Malformed,
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { frame, problem } => write!(f, "malformed {frame}: {problem}"),
            Self::TooLarge { length, limit } => write!(f, "frame of {length} bytes, limit {limit}"),
            Self::Unexpected { frame, expected } => write!(f, "{frame} where {expected} was expected"),
            Self::NotAllowed { problem, .. } => f.write_str(problem),
            Self::Sequence { frame, got, expected } => write!(f, "{frame} with number {got}, expected {expected}"),
        }
    }
}

impl core::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn credentials_do_not_show_themselves() {
        assert_eq!(format!("{:?}", Credentials::new("secret")), "Credentials(..)");
    }

    #[test]
    fn every_reason_survives_its_code() {
        for code in 0..=u8::MAX {
            assert_eq!(Reason::from_code(code).code(), code);
        }
    }

    #[test]
    fn device_ids_are_checked() {
        assert_eq!(DeviceId::new(""), Err(DeviceIdError::Empty));
        assert_eq!(DeviceId::new("a\nb"), Err(DeviceIdError::ControlCharacter));
        assert_eq!(DeviceId::new(&"x".repeat(129)), Err(DeviceIdError::TooLong { length: 129 }));
        assert_eq!(DeviceId::new("pump-7").map(|id| format!("{id}")), Ok("pump-7".into()));
    }
}
