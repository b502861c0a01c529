//! The opening handshake (RFC 6455, section 4): an HTTP/1.1 request, and the answer that makes a WebSocket of the connection.

mod client;
mod key;
mod server;

pub use client::{Agreed, ClientUpgrade, Refusal, UpgradeError};
pub use server::{Offer, OfferError, ServerUpgrade, refuse};

use alloc::string::String;

use httparse::Header;

/// The longest head of a request or an answer, in bytes: 16 KiB.
pub const HEAD_LIMIT: usize = 16 << 10;

/// The most header lines of a request or an answer.
pub const HEADERS_LIMIT: usize = 96;

/// The version of the protocol that RFC 6455 defines.
const VERSION: &[u8] = b"13";

/// The value of the only header with this name; `None` if there is none, or more than one.
fn only<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    match (values.next(), values.next()) {
        (Some(header), None) => Some(header.value.trim_ascii()),
        _ => None,
    }
}

/// The elements of a header that is a list, over all its lines (RFC 9110, section 5.3), without quoted commas.
fn list<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether `text` is a token (RFC 9110, section 5.6.2), as the names of headers and sub-protocols are.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether `text` can be the value of a header: visible ASCII, spaces and tabs, so that nothing can be smuggled in.
#[must_use]
pub fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// Text of the peer, for people: cut, and without what a terminal would obey.
fn for_people(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|char| !char.is_control()).take(120).collect()
}
