//! The client's side: the request, and what the answer says.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::{HEAD_LIMIT, HEADERS_LIMIT, for_people, has_token, key, list, only};

/// A request that was sent, waiting for its answer.
#[derive(Debug)]
pub struct ClientUpgrade {
    key: String,
    subprotocols: Vec<String>,
    /// All bytes of the answer so far.
    head: Vec<u8>,
}

/// What a request asks for. All parts must be checked before: see [`super::is_token`] and [`super::is_value`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Host, and port if it is not the scheme's.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// In order of preference.
    pub subprotocols: Vec<String>,
    /// Names and values of further headers.
    pub headers: Vec<(String, String)>,
    /// The offer of extensions, if any.
    pub extensions: Option<String>,
}

/// What the server agreed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreed {
    /// One of those that we asked for.
    pub subprotocol: Option<String>,
    /// What it said about extensions.
    pub extensions: Option<String>,
}

/// An answer that is no upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the server calls it, cut to 120 characters.
    pub reason: String,
    /// `Retry-After` (RFC 9110, section 10.2.3), if it is a number of seconds above zero, or a date behind the answer's own.
    pub retry_after: Option<Duration>,
    /// Where to go instead.
    pub location: Option<String>,
}

/// Why an answer opens no WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The server refused.
    Refused(Refusal),
    /// What answers does not speak HTTP/1.
    NotHttp,
    /// The answer's head is longer than 16 KiB or has more than 96 lines.
    HeadTooLarge,
    /// The answer says that it upgrades and breaks this rule of RFC 6455, section 4.1.
    Broken(&'static str),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal { status, reason, .. }) => write!(f, "the server answered {status} {reason}"),
            Self::NotHttp => f.write_str("what answers does not speak HTTP/1"),
            Self::HeadTooLarge => f.write_str("the answer's head is longer than 16 KiB or has more than 96 lines"),
            Self::Broken(problem) => f.write_str(problem),
        }
    }
}

impl core::error::Error for UpgradeError {}

impl ClientUpgrade {
    /// Begins: the request to write, and who waits for its answer. `random` must be unpredictable (RFC 6455, section 4.1).
    #[must_use]
    pub fn request(wish: &Wish, random: [u8; 16]) -> (Self, Vec<u8>) {
        let key = key::key(random);
        let Wish { host, target, subprotocols, headers, extensions } = wish;
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        );
        let mut line = |name: &str, value: &str| request.extend([name, ": ", value, "\r\n"]);
        if !subprotocols.is_empty() {
            line("Sec-WebSocket-Protocol", &subprotocols.join(", "));
        }
        if let Some(extensions) = extensions {
            line("Sec-WebSocket-Extensions", extensions);
        }
        for (name, value) in headers {
            line(name, value);
        }
        request.push_str("\r\n");
        (Self { key, subprotocols: subprotocols.clone(), head: Vec::new() }, request.into_bytes())
    }

    /// Takes the answer from the front of `input`. What is behind its head belongs to the WebSocket. `Ok(None)` means that
    /// all was used and the head is not complete.
    ///
    /// # Errors
    /// There is no WebSocket: the server refused, or broke the protocol.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Agreed>, UpgradeError> {
        let had = self.head.len();
        let taken = input.len().min(HEAD_LIMIT - had);
        self.head.extend_from_slice(&input[..taken]);
        let mut start = 0;
        loop {
            // Every piece parses the head anew. The limit keeps that cheap even if each byte comes alone.
            let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
            let mut response = Response::new(&mut headers);
            match response.parse(&self.head[start..]) {
                Ok(Status::Complete(length)) => start += length,
                Ok(Status::Partial) if self.head.len() == HEAD_LIMIT => return Err(UpgradeError::HeadTooLarge),
                Ok(Status::Partial) => {
                    *input = &input[taken..];
                    return Ok(None);
                }
                Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::HeadTooLarge),
                Err(_) => return Err(UpgradeError::NotHttp),
            }
            match response.code.unwrap_or(0) {
                100 | 102..=199 => {}
                101 => {
                    *input = &input[start.saturating_sub(had)..];
                    return self.agree(response.headers).map(Some);
                }
                status => {
                    return Err(UpgradeError::Refused(refusal(status, response.reason.unwrap_or(""), response.headers)));
                }
            }
        }
    }

    fn agree(&self, headers: &[Header<'_>]) -> Result<Agreed, UpgradeError> {
        let broken = |problem| Err(UpgradeError::Broken(problem));
        if !only(headers, "Upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
            return broken("the answer does not upgrade to websocket");
        }
        if !has_token(headers, "Connection", "upgrade") {
            return broken("the answer's Connection header does not say upgrade");
        }
        if only(headers, "Sec-WebSocket-Accept") != Some(key::accept(self.key.as_bytes()).as_bytes()) {
            return broken("the answer's Sec-WebSocket-Accept is not the answer to our key");
        }
        let mut subprotocols = list(headers, "Sec-WebSocket-Protocol");
        let subprotocol = match (subprotocols.next(), subprotocols.next()) {
            (None, _) => None,
            (Some(name), None) => match self.subprotocols.iter().find(|ours| ours.as_bytes() == name) {
                Some(ours) => Some(ours.clone()),
                None => return broken("the server chose a sub-protocol that we did not offer"),
            },
            (Some(_), Some(_)) => return broken("the server chose more than one sub-protocol"),
        };
        let extensions: Vec<String> = list(headers, "Sec-WebSocket-Extensions")
            .map(|extension| String::from_utf8_lossy(extension).into_owned())
            .collect();
        Ok(Agreed { subprotocol, extensions: (!extensions.is_empty()).then(|| extensions.join(", ")) })
    }
}

fn refusal(status: u16, reason: &str, headers: &[Header<'_>]) -> Refusal {
    let location = only(headers, "Location").and_then(|value| core::str::from_utf8(value).ok());
    Refusal {
        status,
        reason: for_people(reason.as_bytes()),
        retry_after: only(headers, "Retry-After").and_then(seconds),
        location: location.map(ToString::to_string),
    }
}

fn seconds(digits: &[u8]) -> Option<Duration> {
    let seconds: u32 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    // Zero must not turn the backoff off, and a sign is none of the digits.
    (seconds > 0 && digits[0].is_ascii_digit()).then(|| Duration::from_secs(seconds.into()))
}
