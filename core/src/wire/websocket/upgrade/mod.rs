//! The opening handshake (RFC 6455, section 4): an HTTP/1.1 request, and the answer that makes a WebSocket of the connection.
//!
//! | file | what it holds |
//! |---|---|
//! | `request` | [`UpgradeRequest`]: what a client asks for, checked once and written for every connection |
//! | `client` | [`ClientUpgrade`]: reads the answer |
//! | `server` | [`ServerUpgrade`]: reads a [`Request`]; [`Offer`]: what it offers, and the answer to it |
//! | `refusal` | [`refuse`] and [`OfferError`]: answers that are no upgrade |
//! | `head` | the lines of a request or an answer |
//! | `extension` | what is in `Sec-WebSocket-Extensions` |
//! | `key` | the proof that the other end speaks WebSocket |
//!
//! Both sides read heads of up to [`HEAD_LIMIT`] bytes and [`HEADERS_LIMIT`] lines, however they are cut. What is behind a
//! head is left to the caller. Neither side has a time limit; whoever drives it has.

mod client;
mod extension;
mod head;
mod key;
mod refusal;
mod request;
mod server;

#[cfg(all(test, feature = "deflate"))]
pub(super) use extension::parse as parse_extensions;

pub use client::{ClientUpgrade, Refusal, UpgradeError};
pub use extension::{Extension, Malformed};
pub use head::{HEAD_LIMIT, HEADERS_LIMIT};
pub use refusal::{OfferError, refuse};
pub use request::{RequestError, UpgradeRequest};
pub use server::{NotOffered, Offer, Request, ServerUpgrade};

use alloc::string::String;

#[cfg(feature = "deflate")]
use super::deflate::Agreement;

/// What both sides agreed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// One of those that the client offered.
    pub subprotocol: Option<String>,
    /// How messages are compressed, if they are.
    #[cfg(feature = "deflate")]
    pub deflate: Option<Agreement>,
}

/// The version of the protocol that RFC 6455 defines.
const VERSION: &str = "13";

/// Whether `text` is a token (RFC 9110, section 5.6.2), as the names of headers and sub-protocols are.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests;
