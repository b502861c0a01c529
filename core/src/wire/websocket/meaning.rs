//! What close codes and HTTP statuses mean to a link, and how a link says what it means.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::close::{Close, CloseCode, REASON_LIMIT};
use super::upgrade::Refusal;
use super::{Role, Violation};
use crate::time::wire_millis;
use crate::wire::{Goodbye, Reason, WireError};

/// Who is told to come back in ten seconds comes back within the one behind them: HTTP knows no spread.
const SPREAD: u32 = 10;

/// What the peer says by closing.
pub(in crate::wire) fn of_close(close: &Close, close_codes: &[(u16, Reason)]) -> Goodbye {
    let code = close.code().map(CloseCode::get);
    let configured = close_codes.iter().find(|(other, _)| Some(*other) == code).map(|(_, reason)| *reason);
    let reason = configured.unwrap_or(match code {
        Some(1000) => Reason::Closed,
        Some(1001 | 1012) | None => Reason::GoingAway,
        Some(1002 | 1003 | 1007) => Reason::Malformed,
        Some(1008) => Reason::Forbidden,
        Some(1009) => Reason::TooLarge,
        Some(1010) => Reason::NotHere,
        Some(1013) => Reason::Busy,
        Some(_) => Reason::Failed,
    });
    Goodbye { code, ..Goodbye::new(reason, close.reason()) }
}

/// What a server says by not opening a WebSocket (RFC 9110, section 15; RFC 6585).
pub(in crate::wire) fn of_refusal(refusal: &Refusal) -> Goodbye {
    let Refusal { status, reason, retry_after, location } = refusal;
    let meaning = match status {
        401 => Reason::Unauthorized,
        403 | 407 => Reason::Forbidden,
        429 | 503 => Reason::Busy,
        408 | 421 | 425 | 500 | 502 | 504 | 520..=599 => Reason::Failed,
        _ => Reason::NotHere,
    };
    let detail = match location {
        // A query may be a secret.
        Some(location) => {
            format!("{reason}; it says to go to {}", location.split('?').next().unwrap_or_default())
        }
        None => reason.clone(),
    };
    Goodbye {
        code: Some(*status),
        retry_after_ms: wire_millis(retry_after.unwrap_or_default()),
        // All that are refused are told the same.
        spread_ms: wire_millis(retry_after.unwrap_or_default() / SPREAD),
        ..Goodbye::new(meaning, detail)
    }
}

/// How `role` closes to say goodbye.
pub(in crate::wire) fn close(goodbye: &Goodbye, role: Role, failed: Option<CloseCode>) -> Close {
    let given = goodbye.code.and_then(CloseCode::new);
    let code = given.or(failed).unwrap_or(match goodbye.reason {
        Reason::Closed => CloseCode::NORMAL,
        Reason::GoingAway if role == Role::Server && goodbye.retry_after_ms > 0 => CloseCode::SERVICE_RESTART,
        Reason::Busy if role == Role::Server => CloseCode::TRY_AGAIN_LATER,
        Reason::Malformed | Reason::UnsupportedVersion => CloseCode::PROTOCOL_ERROR,
        Reason::TooLarge => CloseCode::MESSAGE_TOO_BIG,
        Reason::Replaced | Reason::Unauthorized | Reason::Forbidden | Reason::Flood | Reason::NotHere => {
            CloseCode::POLICY_VIOLATION
        }
        Reason::Silent | Reason::TimedOut | Reason::Failed if role == Role::Server => CloseCode::SERVER_ERROR,
        _ => CloseCode::GOING_AWAY,
    });
    let words = if goodbye.detail.is_empty() { format!("{}", goodbye.reason) } else { goodbye.detail.clone() };
    let words =
        if matches!(goodbye.reason, Reason::Closed) && goodbye.detail.is_empty() { String::new() } else { words };
    Close::new(code, front(&words, REASON_LIMIT)).unwrap_or(Close::EMPTY)
}

/// The status, and when to come back, with which a server does not open a WebSocket. `random` is where in the spread.
pub(super) fn status(goodbye: &Goodbye, random: u64) -> (u16, Option<Duration>) {
    let status = goodbye.code.filter(|code| matches!(code, 300..=599)).unwrap_or(match goodbye.reason {
        Reason::Unauthorized => 401,
        Reason::Forbidden | Reason::Replaced => 403,
        Reason::NotHere => 404,
        Reason::TimedOut => 408,
        Reason::UnsupportedVersion => 426,
        Reason::Malformed => 400,
        Reason::TooLarge => 431,
        Reason::Busy | Reason::GoingAway | Reason::Closed => 503,
        _ => 500,
    });
    let within = (u128::from(random) * u128::from(goodbye.spread_ms)) >> 64;
    let wait = Duration::from_millis(u64::from(goodbye.retry_after_ms) + within as u64);
    (status, (!wait.is_zero()).then_some(wait))
}

/// How the peer broke the protocol, in the words that all wires share.
pub(in crate::wire) const fn error(violation: Violation) -> WireError {
    match violation {
        Violation::Protocol(problem) => WireError::Malformed { frame: "frame of WebSocket", problem },
        Violation::Utf8 => WireError::Malformed { frame: "text", problem: "it is not UTF-8" },
        Violation::Deflate => WireError::Malformed { frame: "message", problem: "it cannot be inflated" },
        Violation::TooLarge { length, limit } => WireError::TooLarge { length, limit },
    }
}

/// The front of `text`, at most `limit` bytes, not ending within a character.
fn front(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::DownCause;
    use crate::reconnect::Retry;

    fn closed_with(code: u16) -> Goodbye {
        of_close(&Close::new(CloseCode::new(code).unwrap(), "why").unwrap(), &[(4401, Reason::Unauthorized)])
    }

    #[test]
    fn close_codes_tell_whether_to_come_back() {
        for (code, comes_back) in [
            (1000, false),
            (1001, true),
            (1002, true),
            (1008, false),
            (1010, false),
            (1011, true),
            (1012, true),
            (1013, true),
            (1014, true),
            (3000, true),
            (4401, false),
            (4999, true),
        ] {
            let goodbye = closed_with(code);
            assert_eq!((goodbye.code, goodbye.detail.as_str()), (Some(code), "why"));
            assert_eq!(DownCause::Goodbye(goodbye).retry() != Retry::Fatal, comes_back, "{code}");
        }
        assert_eq!(of_close(&Close::EMPTY, &[]).reason, Reason::GoingAway);
        assert_eq!(of_close(&Close::EMPTY, &[]).code, None);
    }

    #[test]
    fn statuses_tell_whether_and_when_to_come_back() {
        let refusal = |status| Refusal {
            status,
            reason: "why".into(),
            retry_after: (status == 503).then_some(Duration::from_secs(7)),
            location: (status == 302).then(|| "https://b.example/?token=secret".into()),
        };
        for (status, comes_back) in [(302, false), (400, false), (401, false), (403, false), (404, false), (426, false)]
            .into_iter()
            .chain([(408, true), (429, true), (500, true), (502, true), (503, true), (504, true)])
        {
            let goodbye = of_refusal(&refusal(status));
            assert_eq!(goodbye.code, Some(status));
            assert_eq!(DownCause::Refused(goodbye).retry() != Retry::Fatal, comes_back, "{status}");
        }
        assert_eq!(of_refusal(&refusal(503)).retry_after_ms, 7000);
        assert!(of_refusal(&refusal(302)).detail.ends_with("https://b.example/"));
    }

    #[test]
    fn what_is_said_by_a_close_is_heard() {
        for (reason, role, code) in [
            (Reason::Closed, Role::Client, 1000),
            (Reason::GoingAway, Role::Server, 1012),
            (Reason::GoingAway, Role::Client, 1001),
            (Reason::Busy, Role::Server, 1013),
            (Reason::Busy, Role::Client, 1001),
            (Reason::Silent, Role::Server, 1011),
            (Reason::Silent, Role::Client, 1001),
            (Reason::Replaced, Role::Server, 1008),
            (Reason::TooLarge, Role::Server, 1009),
            (Reason::Malformed, Role::Client, 1002),
        ] {
            let goodbye = Goodbye { retry_after_ms: 5, ..Goodbye::new(reason, "ä".repeat(100)) };
            let close = close(&goodbye, role, None);
            assert_eq!(close.code().map(CloseCode::get), Some(code), "{reason}");
            assert_eq!(close.reason().len(), 122, "cut between two characters");
        }
        let own = Goodbye { code: Some(4000), ..Goodbye::new(Reason::Closed, "") };
        assert_eq!(close(&own, Role::Server, None).code().map(CloseCode::get), Some(4000));
        let utf8 = close(&Goodbye::new(Reason::Malformed, ""), Role::Server, Some(CloseCode::INVALID_PAYLOAD));
        assert_eq!(utf8.code(), Some(CloseCode::INVALID_PAYLOAD));
    }
}
