//! The client's side: what the answer says (RFC 6455, section 4.1).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::head::{AnswerHead, Fields, HeadError, Reader};
use super::{Agreed, extension, key};
#[cfg(feature = "deflate")]
use crate::wire::websocket::deflate::DeflateConfig;

/// The longest reason of a refusal, in characters.
const REASON_LIMIT: usize = 120;

/// A request that was sent, waiting for its answer.
#[derive(Debug)]
pub struct ClientUpgrade {
    accept: String,
    subprotocols: Vec<String>,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateConfig>,
    reader: Reader<AnswerHead>,
}

impl ClientUpgrade {
    pub(super) fn new(
        key: &str,
        subprotocols: Vec<String>,
        #[cfg(feature = "deflate")] deflate: Option<DeflateConfig>,
    ) -> Self {
        Self {
            accept: key::accept(key.as_bytes()),
            subprotocols,
            #[cfg(feature = "deflate")]
            deflate,
            reader: Reader::new(AnswerHead::parse),
        }
    }

    /// Takes the answer from the front of `input`; what is behind its head belongs to the WebSocket. `Ok(None)` means that
    /// all was used and the head is not complete.
    ///
    /// # Errors
    /// There is no WebSocket: the server refused, or broke the protocol. The connection cannot be used further.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Agreed>, UpgradeError> {
        loop {
            let head = match self.reader.receive(input) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(None),
                Err(HeadError::TooLarge) => return Err(UpgradeError::HeadTooLarge),
                Err(HeadError::NotHttp | HeadError::Version) => return Err(UpgradeError::NotHttp),
            };
            match head.status {
                // Interim: another answer follows (RFC 9110, section 15.2).
                100 | 102..=199 => {}
                101 => return self.agree(&head).map(Some),
                _ => return Err(UpgradeError::Refused(Box::new(Refusal::new(head)))),
            }
        }
    }

    fn agree(&self, AnswerHead { minor, fields, .. }: &AnswerHead) -> Result<Agreed, UpgradeError> {
        let broken = |problem| Err(UpgradeError::Broken(problem));
        if *minor == 0 {
            return broken("the answer is of HTTP/1.0, which knows no upgrade");
        }
        if !fields.one("Upgrade").is_ok_and(|value| value.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")))
        {
            return broken("the answer does not upgrade to websocket");
        }
        if !fields.has_token("Connection", "upgrade") {
            return broken("the answer's Connection does not say upgrade");
        }
        if fields.one("Sec-WebSocket-Accept") != Ok(Some(self.accept.as_bytes())) {
            return broken("the answer's Sec-WebSocket-Accept does not belong to our key");
        }
        let subprotocol = match fields.one("Sec-WebSocket-Protocol") {
            Ok(None) => None,
            Ok(Some(name)) => match self.subprotocols.iter().find(|ours| ours.as_bytes() == name) {
                Some(ours) => Some(ours.clone()),
                None => return broken("the server chose a sub-protocol that we did not offer"),
            },
            Err(_) => return broken("the server chose more than one sub-protocol"),
        };
        let Ok(extensions) = extension::parse(fields.all("Sec-WebSocket-Extensions")) else {
            return broken("the answer's Sec-WebSocket-Extensions is not a list of extensions");
        };
        #[cfg(feature = "deflate")]
        if let Some(config) = &self.deflate {
            let deflate = config.agree(&extensions).map_err(UpgradeError::Broken)?;
            return Ok(Agreed { subprotocol, deflate });
        }
        if !extensions.is_empty() {
            return broken("the server chose an extension that we did not offer");
        }
        Ok(Agreed { subprotocol, ..Agreed::default() })
    }
}

/// An answer that is no upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the server calls it, without control characters, at most 120 characters. Not to be trusted.
    pub reason: String,
    /// `Retry-After` in seconds (RFC 9110, section 10.2.3). Its other form, a date, says nothing without a wall clock; and
    /// zero must not turn a backoff off.
    pub retry_after: Option<Duration>,
    /// With a status of 3xx, where to go instead: a URL or a part of one, in visible ASCII.
    pub location: Option<String>,
}

impl Refusal {
    fn new(AnswerHead { status, reason, fields, .. }: AnswerHead) -> Self {
        Self {
            status,
            reason: reason.chars().filter(|char| !char.is_control()).take(REASON_LIMIT).collect(),
            retry_after: retry_after(&fields),
            location: if matches!(status, 300..=399) { location(&fields) } else { None },
        }
    }
}

fn retry_after(fields: &Fields) -> Option<Duration> {
    let digits = fields.one("Retry-After").ok()??;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    let seconds = digits.iter().fold(0, add);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn location(fields: &Fields) -> Option<String> {
    let value = fields.one("Location").ok()??;
    let is_visible = !value.is_empty() && value.iter().all(u8::is_ascii_graphic);
    if is_visible { core::str::from_utf8(value).ok().map(Into::into) } else { None }
}

/// Why an answer opens no WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The server refused.
    Refused(Box<Refusal>),
    /// What answers does not speak HTTP/1.
    NotHttp,
    /// The answer's head is above [`HEAD_LIMIT`](super::HEAD_LIMIT) or [`HEADERS_LIMIT`](super::HEADERS_LIMIT).
    HeadTooLarge,
    /// The answer says that it upgrades, and breaks this rule of RFC 6455, section 4.1.
    Broken(&'static str),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                let Refusal { status, reason, location, .. } = &**refusal;
                write!(f, "the server refused with HTTP status {status} {reason}")?;
                location.as_ref().map_or(Ok(()), |location| write!(f, "; it says to go to {location}"))
            }
            Self::NotHttp => f.write_str("what answers does not speak HTTP/1; check host and port"),
            Self::HeadTooLarge => f.write_str("the server's answer has a head above 16 KiB or 96 lines"),
            Self::Broken(problem) => write!(f, "the server broke the protocol: {problem}"),
        }
    }
}

impl core::error::Error for UpgradeError {}
