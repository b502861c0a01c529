//! Why a connection closes: status codes and reasons (RFC 6455, section 7.4, and the registry of IANA).

use alloc::string::String;
use core::fmt;

use super::Violation;

/// The longest reason, in bytes: a control frame has room for 125, of which the code takes two.
pub const REASON_LIMIT: usize = 123;

/// A status code of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the sender goes away: a server goes down, a browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the receiver broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the sender does not accept this kind of data.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: a message is not what its type says, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the receiver broke a rule of the sender.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message is too large.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not agree to.
    pub const EXTENSION_NEEDED: Self = Self(1010);
    /// 1011: the server met something that it cannot deal with.
    pub const SERVER_ERROR: Self = Self(1011);
    /// 1012: the server restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server has no room now.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code with this number, if a close frame may carry it: 1000 to 1003, 1007 to 1014, 3000 to 4999.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match *self {
            Self::NORMAL => "normal",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED_DATA => "unsupported data",
            Self::INVALID_PAYLOAD => "invalid payload",
            Self::POLICY_VIOLATION => "policy violation",
            Self::MESSAGE_TOO_BIG => "message too big",
            Self::EXTENSION_NEEDED => "extension needed",
            Self::SERVER_ERROR => "server error",
            Self::SERVICE_RESTART => "service restart",
            Self::TRY_AGAIN_LATER => "try again later",
            Self(code) => return code.fmt(f),
        };
        write!(f, "{} {meaning}", self.0)
    }
}

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The code; a close frame may come without one.
    pub code: Option<CloseCode>,
    /// One line for a person to read, at most [`REASON_LIMIT`] bytes; may be empty.
    pub reason: String,
}

impl Close {
    /// Reads a close frame's payload.
    pub(super) fn read(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload {
                [] => Ok(Self { code: None, reason: String::new() }),
                _ => Err(Violation::Protocol("a close frame has a payload of one byte")),
            };
        };
        let Some(code) = CloseCode::new(u16::from_be_bytes(*code)) else {
            return Err(Violation::Protocol("a close frame has a code that none may carry"));
        };
        let reason = core::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
        Ok(Self { code: Some(code), reason: reason.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_codes() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert_eq!(CloseCode::new(code), None);
        }
        for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
        }
    }

    #[test]
    fn a_close_has_nothing_or_a_code_or_a_code_and_a_text() {
        let close =
            |code: Option<u16>, reason: &str| Close { code: code.and_then(CloseCode::new), reason: reason.into() };
        assert_eq!(Close::read(&[]), Ok(close(None, "")));
        assert_eq!(Close::read(&[3, 232]), Ok(close(Some(1000), "")));
        assert_eq!(Close::read(b"\x03\xF5come back"), Ok(close(Some(1013), "come back")));
        assert!(matches!(Close::read(&[3]), Err(Violation::Protocol(_))));
        assert!(matches!(Close::read(&[3, 237]), Err(Violation::Protocol(_))), "1005 is not sent");
        assert_eq!(Close::read(b"\x03\xE8\xC3"), Err(Violation::Utf8));
    }
}
