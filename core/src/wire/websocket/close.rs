//! Why a connection closes: status codes and reasons (RFC 6455, section 7.4, and the registry of IANA).

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use super::Violation;
use super::control::CONTROL_LIMIT;

/// The longest reason, in bytes: a control frame has room for 125, of which the code takes two.
pub const REASON_LIMIT: usize = CONTROL_LIMIT - 2;

/// 1005: what is reported of a close frame without a code. Never on the wire.
pub const NO_CODE: u16 = 1005;

/// A status code that a close frame may carry.
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
    /// 1010: the client needs an extension that the server did not agree to. Only clients send it.
    pub const EXTENSION_NEEDED: Self = Self(1010);
    /// 1011: the server met something that it cannot deal with. Only servers send it.
    pub const SERVER_ERROR: Self = Self(1011);
    /// 1012: the server restarts. Only servers send it.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server has no room now. Only servers send it.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: the server behind this gateway gave an invalid answer. Only servers send it.
    pub const BAD_GATEWAY: Self = Self(1014);

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
            Self::BAD_GATEWAY => "bad gateway",
            Self(code) => return code.fmt(f),
        };
        write!(f, "{} {meaning}", self.0)
    }
}

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    code: Option<CloseCode>,
    reason: String,
}

impl Close {
    /// A close without a code.
    pub const EMPTY: Self = Self { code: None, reason: String::new() };

    /// A close with a code, and one line for a person to read. `None` if the reason is longer than [`REASON_LIMIT`].
    #[must_use]
    pub fn new(code: CloseCode, reason: &str) -> Option<Self> {
        (reason.len() <= REASON_LIMIT).then(|| Self { code: Some(code), reason: reason.to_owned() })
    }

    /// The code; a close frame may come without one, which is reported as [`NO_CODE`].
    #[must_use]
    pub const fn code(&self) -> Option<CloseCode> {
        self.code
    }

    /// One line for a person to read, at most [`REASON_LIMIT`] bytes; may be empty. Not to be trusted.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to send back: the same code (RFC 6455, section 5.5.1).
    #[must_use]
    pub const fn answer(&self) -> Self {
        Self { code: self.code, reason: String::new() }
    }

    /// Reads a close frame's payload.
    pub(super) fn read(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload {
                [] => Ok(Self::EMPTY),
                _ => Err(Violation::Protocol("a close frame has a payload of one byte")),
            };
        };
        let Some(code) = CloseCode::new(u16::from_be_bytes(*code)) else {
            return Err(Violation::Protocol("a close frame has a code that none may carry"));
        };
        let reason = core::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }

    /// Writes a close frame's payload; returns its length.
    pub(super) fn write(&self, payload: &mut [u8; CONTROL_LIMIT]) -> usize {
        let Some(code) = self.code else { return 0 };
        let (front, rest) = payload.split_at_mut(2);
        front.copy_from_slice(&code.get().to_be_bytes());
        for (slot, byte) in rest.iter_mut().zip(self.reason.bytes()) {
            *slot = byte;
        }
        2 + self.reason.len()
    }
}

impl From<Violation> for Close {
    /// What to close with, and what the peer's people should read.
    fn from(violation: Violation) -> Self {
        let reason = match violation {
            Violation::Protocol(problem) => problem,
            Violation::Utf8 => "a text is not UTF-8",
            Violation::Deflate => "a message cannot be inflated",
            Violation::TooLarge { .. } => "a message is too large",
        };
        Self { code: Some(violation.code()), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_codes() {
        for code in [0, 999, 1004, NO_CODE, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert_eq!(CloseCode::new(code), None);
        }
        for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
        }
    }

    #[test]
    fn a_close_has_nothing_or_a_code_or_a_code_and_a_text() {
        let close = |code, reason: &str| Ok(Close::new(code, reason).unwrap());
        assert_eq!(Close::read(&[]), Ok(Close::EMPTY));
        assert_eq!(Close::read(&[3, 232]), close(CloseCode::NORMAL, ""));
        assert_eq!(Close::read(b"\x03\xF5come back"), close(CloseCode::TRY_AGAIN_LATER, "come back"));
        assert!(matches!(Close::read(&[3]), Err(Violation::Protocol(_))));
        assert!(matches!(Close::read(&[3, 237]), Err(Violation::Protocol(_))), "1005 is not sent");
        assert_eq!(Close::read(b"\x03\xE8\xC3"), Err(Violation::Utf8));
    }

    #[test]
    fn what_is_written_is_read() {
        let longest = "x".repeat(REASON_LIMIT);
        assert_eq!(Close::new(CloseCode::NORMAL, &(longest.clone() + "x")), None);
        for close in [
            Close::EMPTY,
            Close::new(CloseCode::GOING_AWAY, "").unwrap(),
            Close::new(CloseCode::NORMAL, &longest).unwrap(),
            Close::from(Violation::Protocol("a rule")),
        ] {
            let mut payload = [0; CONTROL_LIMIT];
            let length = close.write(&mut payload);
            assert_eq!(Close::read(&payload[..length]), Ok(close.clone()));
            assert_eq!(close.answer().code(), close.code());
        }
    }
}
