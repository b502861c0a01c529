//! The server's side: what a request asks for, and the answer that agrees (RFC 6455, section 4.2).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::head::{Fields, Reader, RequestHead};
use super::{Agreed, Extension, OfferError, VERSION, extension, is_token, key};
#[cfg(feature = "deflate")]
use crate::wire::websocket::deflate::{Agreement, DeflateConfig};

/// A connection that was accepted, waiting for its request.
#[derive(Debug)]
pub struct ServerUpgrade {
    reader: Reader<RequestHead>,
}

impl ServerUpgrade {
    /// Waits for a request.
    #[must_use]
    pub const fn new() -> Self {
        Self { reader: Reader::new(RequestHead::parse) }
    }

    /// Takes a request from the front of `input`; what is behind its head belongs to the WebSocket. `Ok(None)` means that
    /// all was used and the head is not complete.
    ///
    /// # Errors
    /// This is no request of HTTP/1. Write [`OfferError::answer`] and close the connection.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Request>, OfferError> {
        Ok(self.reader.receive(input)?.map(Request))
    }
}

impl Default for ServerUpgrade {
    fn default() -> Self {
        Self::new()
    }
}

/// A request of HTTP/1 of any kind, so that others than WebSocket can be served, too.
#[derive(Clone, PartialEq, Eq)]
pub struct Request(RequestHead);

impl Request {
    /// The method: `GET`, if this is to become a WebSocket.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// What is asked for, as it was written: mostly a path and perhaps a query. Not to be trusted.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// The values of all header lines with this name, in any case. Not to be trusted.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.fields.all(name)
    }

    /// Whether it asks for an upgrade to WebSocket, rightly or wrongly.
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.0.fields.has_token("Upgrade", "websocket")
    }

    /// Whether a body follows, or is said to (RFC 9112, section 6.3).
    pub(in crate::wire::websocket) fn has_body(&self) -> bool {
        self.header("Content-Length").any(|length| length != b"0") || self.header("Transfer-Encoding").next().is_some()
    }

    /// Checks all that RFC 6455, section 4.2.1, asks for.
    ///
    /// # Errors
    /// This opens no WebSocket. Write [`OfferError::answer`] and close the connection.
    pub fn into_offer(self) -> Result<Offer, OfferError> {
        let RequestHead { method, target, minor, fields } = self.0;
        if minor == 0 {
            return Err(OfferError::HttpVersion);
        }
        if method != "GET" {
            return Err(OfferError::Method);
        }
        if !fields.has_token("Upgrade", "websocket") {
            return Err(OfferError::NoUpgrade);
        }
        let host = text(&fields, "Host", BROKEN_HOST, is_host)?.ok_or(BROKEN_HOST)?;
        let (target, host) = split_target(&target, host)?;
        if !fields.has_token("Connection", "upgrade") {
            return Err(OfferError::Broken("Connection does not say upgrade"));
        }
        // A body would be taken for frames, by us and not by a proxy in between.
        let length = fields.one("Content-Length").map_err(|_| BROKEN_BODY)?;
        if length.is_some_and(|length| length != b"0") || fields.all("Transfer-Encoding").next().is_some() {
            return Err(BROKEN_BODY);
        }
        if fields.one("Sec-WebSocket-Version") != Ok(Some(VERSION.as_bytes())) {
            return Err(OfferError::Version);
        }
        let accept = match fields.one("Sec-WebSocket-Key") {
            Ok(Some(key)) if key::is_key(key) => key::accept(key),
            _ => return Err(OfferError::Broken("Sec-WebSocket-Key is missing, repeated or not 16 bytes in base64")),
        };
        let origin = text(&fields, "Origin", BROKEN_ORIGIN, |_| true)?;
        let mut subprotocols: Vec<String> = Vec::new();
        for name in fields.list("Sec-WebSocket-Protocol") {
            if !is_token(name) {
                return Err(OfferError::Broken("Sec-WebSocket-Protocol is not a list of tokens"));
            }
            subprotocols.push(String::from_utf8_lossy(name).into_owned());
        }
        let extensions = extension::parse(fields.all("Sec-WebSocket-Extensions"))
            .map_err(|_| OfferError::Broken("Sec-WebSocket-Extensions is not a list of extensions"))?;
        Ok(Offer { target, host, origin, subprotocols, extensions, accept, fields })
    }
}

const BROKEN_HOST: OfferError = OfferError::Broken("Host is missing, repeated or no host");
const BROKEN_ORIGIN: OfferError =
    OfferError::Broken("Origin is repeated or has characters in it that are not visible ASCII");
const BROKEN_BODY: OfferError = OfferError::Broken("a request to upgrade has a body");

impl fmt::Debug for Request {
    /// Leaves out the query and the values of headers, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target().split('?').next().unwrap_or_default();
        f.debug_struct("Request").field("method", &self.method()).field("path", &path).finish_non_exhaustive()
    }
}

/// What a client offers: everything in it was checked for its form, nothing for its truth.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    target: String,
    host: String,
    origin: Option<String>,
    subprotocols: Vec<String>,
    extensions: Vec<Extension>,
    accept: String,
    fields: Fields,
}

impl Offer {
    /// The path and the query, if there is one; begins with `/`.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The host that the client means, with a port if it named one; may be empty.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// From which web page the request comes (RFC 6454), if it says so. Only browsers can be trusted to tell the truth.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The sub-protocols that the client speaks, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.subprotocols.iter().map(String::as_str)
    }

    /// The first of the client's sub-protocols that is one of `ours`.
    #[must_use]
    pub fn select(&self, ours: &[&str]) -> Option<&str> {
        self.subprotocols().find(|name| ours.contains(name))
    }

    /// The extensions that the client offers, in its order of preference.
    #[must_use]
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// How to compress messages with this client; `None` if it offers nothing that fits.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(&self, config: &DeflateConfig) -> Option<Agreement> {
        config.choose(&self.extensions)
    }

    /// The values of all header lines with this name, in any case.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields.all(name)
    }

    /// The answer that opens the WebSocket. Frames follow it.
    ///
    /// # Errors
    /// The sub-protocol is none that the client offered: our fault.
    pub fn accept(&self, agreed: &Agreed) -> Result<Vec<u8>, NotOffered> {
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
            self.accept
        );
        if let Some(name) = &agreed.subprotocol {
            if !self.subprotocols.contains(name) {
                return Err(NotOffered);
            }
            answer.extend(["Sec-WebSocket-Protocol: ", name, "\r\n"]);
        }
        #[cfg(feature = "deflate")]
        if let Some(agreement) = &agreed.deflate {
            answer.extend(["Sec-WebSocket-Extensions: ", &agreement.answer(), "\r\n"]);
        }
        answer.push_str("\r\n");
        Ok(answer.into_bytes())
    }
}

impl fmt::Debug for Offer {
    /// Leaves out the query and the values of headers, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("path", &self.path())
            .field("host", &self.host)
            .field("origin", &self.origin)
            .field("subprotocols", &self.subprotocols)
            .field("extensions", &self.extensions)
            .finish_non_exhaustive()
    }
}

/// A server agreed to something that the client did not offer: our fault. Choose by [`Offer::select`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOffered;

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer to an upgrade agrees to a sub-protocol that the client did not offer")
    }
}

impl core::error::Error for NotOffered {}

/// The value of a header that may come once, in visible ASCII.
fn text(
    fields: &Fields,
    name: &str,
    problem: OfferError,
    is_right: impl Fn(&[u8]) -> bool,
) -> Result<Option<String>, OfferError> {
    match fields.one(name) {
        Ok(None) => Ok(None),
        Ok(Some(value)) if is_right(value) && value.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
            Ok(Some(String::from_utf8_lossy(value).into_owned()))
        }
        _ => Err(problem),
    }
}

/// Whether these are characters of a host and a port (RFC 3986, section 3.2).
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte))
}

/// Path and query of a target in origin form or absolute form. In the latter, its host counts and not the header's (RFC
/// 9112, section 3.2.2).
fn split_target(target: &str, host: String) -> Result<(String, String), OfferError> {
    const BROKEN: OfferError = OfferError::Broken("the target is not a path or a URL");
    if !target.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
        return Err(BROKEN);
    }
    if target.starts_with('/') {
        return Ok((target.into(), host));
    }
    let (scheme, rest) = target.split_once("://").ok_or(BROKEN)?;
    if !["http", "https", "ws", "wss"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours)) {
        return Err(BROKEN);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(BROKEN);
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((format!("{slash}{path}"), authority.into()))
}
