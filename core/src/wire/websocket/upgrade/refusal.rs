//! Answers that are no upgrade (RFC 6455, section 4.2.2).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::head::HeadError;

/// Why a request is no offer to open a WebSocket: the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferError {
    /// This is not a request of HTTP.
    NotHttp,
    /// The request is of another version of HTTP than 1.1.
    HttpVersion,
    /// The head is above [`HEAD_LIMIT`](super::HEAD_LIMIT) or [`HEADERS_LIMIT`](super::HEADERS_LIMIT).
    HeadTooLarge,
    /// The method is not GET.
    Method,
    /// The request asks for no upgrade to `websocket`.
    NoUpgrade,
    /// The request is for another version of WebSocket than 13.
    Version,
    /// The request breaks this rule of RFC 6455, section 4.2.1, or of RFC 9112.
    Broken(&'static str),
}

impl OfferError {
    /// The HTTP status to refuse with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotHttp | Self::Broken(_) => 400,
            Self::Method => 405,
            Self::NoUpgrade | Self::Version => 426,
            Self::HeadTooLarge => 431,
            Self::HttpVersion => 505,
        }
    }

    /// What is wrong with the request, in words that follow its name.
    #[must_use]
    pub(in crate::wire::websocket) const fn problem(&self) -> &'static str {
        match self {
            Self::NotHttp => "it is not of HTTP/1",
            Self::HttpVersion => "it is not of HTTP/1.1",
            Self::HeadTooLarge => "its head is above 16 KiB or 96 lines",
            Self::Method => "it is not GET",
            Self::NoUpgrade => "it does not ask for an upgrade to websocket",
            Self::Version => "it is for another version of WebSocket than 13",
            Self::Broken(problem) => problem,
        }
    }

    /// The answer to write before the connection is closed.
    #[must_use]
    pub fn answer(&self) -> Vec<u8> {
        refuse(self.status(), None)
    }
}

impl From<HeadError> for OfferError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::NotHttp => Self::NotHttp,
            HeadError::Version => Self::HttpVersion,
            HeadError::TooLarge => Self::HeadTooLarge,
        }
    }
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp => "the client does not speak HTTP/1",
            Self::HttpVersion => "the client's request is not of HTTP/1.1",
            Self::HeadTooLarge => "the client's request has a head above 16 KiB or 96 lines",
            Self::Method => "the client's request is not GET",
            Self::NoUpgrade => "the client's request does not ask for an upgrade to websocket",
            Self::Version => "the client's request is for another version of WebSocket than 13",
            Self::Broken(problem) => return write!(f, "the client broke the protocol: {problem}"),
        })
    }
}

impl core::error::Error for OfferError {}

/// An answer that refuses, such as with 401, 403, 404, 429 or 503. The connection is to be closed behind it. `retry_after` is
/// rounded up to whole seconds.
///
/// A status that is none of 300 to 599 says 500: an answer of that kind would open the connection or leave it waiting.
#[must_use]
pub fn refuse(status: u16, retry_after: Option<Duration>) -> Vec<u8> {
    let status = if matches!(status, 300..=599) { status } else { 500 };
    let reason = reason(status);
    let required = required(status);
    let retry = retry_after.map_or_else(String::new, |wait| {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        format!("Retry-After: {seconds}\r\n")
    });
    format!("HTTP/1.1 {status} {reason}\r\n{required}{retry}Connection: close\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

/// The lines without which a status is not allowed (RFC 9110, sections 15.5.2, 15.5.6 and 15.5.22; RFC 6455, section 4.4).
const fn required(status: u16) -> &'static str {
    match status {
        401 => "WWW-Authenticate: Bearer\r\n",
        405 => "Allow: GET\r\n",
        426 => "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    }
}

/// What RFC 9110, section 15, and RFC 6585 call a status; empty for those that are rare here.
const fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
