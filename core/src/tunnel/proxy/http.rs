//! A tunnel through an HTTP proxy: `CONNECT` (RFC 9110, section 9.3.6).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::base64::base64;
use super::error::{ProxyError, ProxyReply, REASON_LIMIT};
use super::url::Login;
use crate::tunnel::host::HostPort;

/// The longest answer, all interim answers and empty lines before it included, in bytes: 8 KiB.
pub(super) const HEAD_LIMIT: usize = 8 * 1024;

/// The most header lines of one answer.
pub(super) const HEADERS_LIMIT: usize = 64;

/// Asks for a tunnel to `server`. Its host and the encoded login have no control characters, so nothing can be smuggled in.
pub(super) fn request(server: &HostPort, login: Option<&Login>) -> Vec<u8> {
    let server = match server.ip() {
        // A scope has a meaning on this machine only, and must not leave it (RFC 6874, section 4).
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{}", server.port()),
        _ => server.to_string(),
    };
    let login = login.map_or_else(String::new, |Login { user, password }| {
        format!("Proxy-Authorization: Basic {}\r\n", base64(&[user, &b":"[..], password].concat()))
    });
    format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n{login}\r\n").into_bytes()
}

/// Waits for the answer.
pub(super) struct Answer {
    /// All bytes so far.
    heads: Vec<u8>,
    /// Where the current head begins; before it are interim answers.
    start: usize,
    logged_in: bool,
}

impl Answer {
    pub(super) const fn new(logged_in: bool) -> Self {
        Self { heads: Vec::new(), start: 0, logged_in }
    }

    /// See [`ProxyHandshake::receive`](super::ProxyHandshake::receive).
    pub(super) fn receive(&mut self, input: &mut &[u8]) -> Result<bool, ProxyError> {
        let had = self.heads.len();
        let taken = input.len().min(HEAD_LIMIT - had);
        self.heads.extend_from_slice(&input[..taken]);
        loop {
            // Every piece parses the head anew. The limit keeps that cheap even if each byte comes alone.
            let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
            let mut response = Response::new(&mut headers);
            match response.parse(&self.heads[self.start..]) {
                Ok(Status::Complete(length)) => self.start += length,
                Ok(Status::Partial) if self.heads.len() == HEAD_LIMIT => return Err(ProxyError::HeadTooLarge),
                Ok(Status::Partial) => {
                    *input = &input[taken..];
                    return Ok(false);
                }
                Err(httparse::Error::TooManyHeaders) => return Err(ProxyError::HeadTooLarge),
                Err(_) => return Err(ProxyError::NotHttp),
            }
            match response.code.unwrap_or(0) {
                // Interim, except 101: that one is the last in HTTP, and we did not ask for it.
                100 | 102..=199 => {}
                200..=299 => {
                    // The tunnel begins right behind the head, whatever Content-Length says.
                    *input = &input[self.start.saturating_sub(had)..];
                    return Ok(true);
                }
                status => return Err(self.refusal(status, response.reason.unwrap_or(""), response.headers)),
            }
        }
    }

    fn refusal(&self, status: u16, reason: &str, headers: &[Header<'_>]) -> ProxyError {
        let reason = reason.chars().filter(|c| !c.is_control()).take(REASON_LIMIT).collect();
        let reply = ProxyReply::Http { status, reason };
        match status {
            // 401 is for servers (RFC 9110, section 15.5.2), but none can answer before there is a tunnel: tinyproxy says so
            // of a wrong login.
            401 | 407 if self.logged_in => ProxyError::LoginRefused,
            401 | 407 => ProxyError::LoginMissing,
            403 => ProxyError::NotAllowed(reply),
            502 | 504 => ProxyError::Unreachable(reply),
            429 | 503 => ProxyError::Busy { reply, retry_after: retry_after(headers) },
            _ => ProxyError::Failed(reply),
        }
    }
}

/// The first `Retry-After` in whole seconds. Its other form is a date, which says nothing without a wall clock; and zero must
/// not turn the backoff off.
fn retry_after(headers: &[Header<'_>]) -> Option<Duration> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("Retry-After"))?;
    let digits = header.value;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds =
        digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
