//! What a client asks for (RFC 6455, section 4.1).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::client::ClientUpgrade;
use super::{HEAD_LIMIT, VERSION, is_token, key};
use crate::tunnel::{HostPort, NAME_LIMIT};
#[cfg(feature = "deflate")]
use crate::wire::websocket::deflate::DeflateConfig;

/// Headers that the handshake writes itself, or that would change where the request ends or the connection leads.
const RESERVED: [&str; 12] = [
    "host",
    "upgrade",
    "connection",
    "origin",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "expect",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
];

/// The longest host that can be named, with its port, in bytes.
const HOST_LIMIT: usize = NAME_LIMIT + ":65535".len();

/// The front of the names of headers that are the handshake's own.
const RESERVED_FRONT: &str = "sec-websocket-";

/// A request to upgrade, checked once and written for every connection.
#[derive(Clone, PartialEq, Eq)]
pub struct UpgradeRequest {
    target: String,
    origin: Option<String>,
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateConfig>,
}

impl UpgradeRequest {
    /// Asks for `target`, a path and perhaps a query.
    ///
    /// # Errors
    /// The target does not begin with `/`, or has a character in it that must be percent-encoded.
    pub fn new(target: &str) -> Result<Self, RequestError> {
        let is_visible = target.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#');
        if !target.starts_with('/') || !is_visible {
            return Err(RequestError::Target);
        }
        Self {
            target: target.into(),
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
        .within_limits()
    }

    /// Says from which web page the request comes (RFC 6454). Programs that are no browsers may leave it out.
    ///
    /// # Errors
    /// It cannot be the value of a header, has a tab in it, or the request becomes too long.
    pub fn origin(mut self, origin: &str) -> Result<Self, RequestError> {
        if origin.trim_ascii().contains('\t') {
            return Err(RequestError::HeaderValue);
        }
        self.origin = Some(value(origin)?);
        self.within_limits()
    }

    /// Offers a sub-protocol. Those that come first are preferred.
    ///
    /// # Errors
    /// It is not a token, was offered before, or the request becomes too long.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, RequestError> {
        if !is_token(name.as_bytes()) || self.subprotocols.iter().any(|ours| ours == name) {
            return Err(RequestError::Subprotocol);
        }
        self.subprotocols.push(name.into());
        self.within_limits()
    }

    /// Adds a header, such as `Authorization`. The value is shown by nothing here.
    ///
    /// # Errors
    /// The name is not a token or is one that the handshake writes itself, the value has a control character in it, or the
    /// request becomes too long.
    pub fn header(mut self, name: &str, content: &str) -> Result<Self, RequestError> {
        if !is_token(name.as_bytes()) {
            return Err(RequestError::HeaderName);
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) || lower.starts_with(RESERVED_FRONT) {
            return Err(RequestError::HeaderReserved);
        }
        self.headers.push((name.into(), value(content)?));
        self.within_limits()
    }

    /// Whether a header with this name was added.
    pub(in crate::wire::websocket) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name))
    }

    /// Offers to compress messages (RFC 7692).
    ///
    /// # Errors
    /// The request becomes too long.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: DeflateConfig) -> Result<Self, RequestError> {
        self.deflate = Some(config);
        self.within_limits()
    }

    /// The sub-protocols that are offered, in order.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.subprotocols.iter().map(String::as_str)
    }

    /// Begins with `server`: the request to write, and who waits for its answer. `secure` says whether TLS is below, and so
    /// which port is the usual one that is not named. `random` must be unguessable, and new for every connection (RFC 6455,
    /// section 4.1).
    #[must_use]
    pub fn begin(&self, server: &HostPort, secure: bool, random: [u8; 16]) -> (ClientUpgrade, Vec<u8>) {
        let key = key::key(random);
        let request = self.written(&host(server, secure), &key);
        let upgrade = ClientUpgrade::new(
            &key,
            self.subprotocols.clone(),
            #[cfg(feature = "deflate")]
            self.deflate,
        );
        (upgrade, request.into_bytes())
    }

    fn written(&self, host: &str, key: &str) -> String {
        let Self { target, origin, subprotocols, headers, .. } = self;
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {VERSION}\r\n"
        );
        let mut line = |name: &str, value: &str| request.extend([name, ": ", value, "\r\n"]);
        if let Some(origin) = origin {
            line("Origin", origin);
        }
        if !subprotocols.is_empty() {
            line("Sec-WebSocket-Protocol", &subprotocols.join(", "));
        }
        #[cfg(feature = "deflate")]
        if let Some(config) = &self.deflate {
            line("Sec-WebSocket-Extensions", &config.offer());
        }
        for (name, value) in headers {
            line(name, value);
        }
        request.push_str("\r\n");
        request
    }

    fn within_limits(self) -> Result<Self, RequestError> {
        let longest = self.written("", &key::key([0; 16])).len() + HOST_LIMIT;
        if longest > HEAD_LIMIT { Err(RequestError::TooLong) } else { Ok(self) }
    }
}

impl fmt::Debug for UpgradeRequest {
    /// Leaves out the query and the values of headers, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("UpgradeRequest")
            .field("path", &self.target.split('?').next().unwrap_or_default())
            .field("origin", &self.origin)
            .field("subprotocols", &self.subprotocols)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// What names the server in the request (RFC 9110, section 7.2).
fn host(server: &HostPort, secure: bool) -> String {
    let name = match server.ip() {
        // A scope has a meaning on this machine only, and must not leave it (RFC 6874, section 4).
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => server.host().to_string(),
    };
    let usual = if secure { 443 } else { 80 };
    if server.port() == usual { name } else { format!("{name}:{}", server.port()) }
}

/// Checks a header's value: visible ASCII, spaces and tabs within, so that nothing can be smuggled in.
fn value(text: &str) -> Result<String, RequestError> {
    let is_allowed = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    if text.bytes().all(is_allowed) { Ok(text.trim_ascii().into()) } else { Err(RequestError::HeaderValue) }
}

/// Why a request cannot be made: a fault of the configuration. It shows nothing of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The target is not a path that can be sent.
    Target,
    /// A sub-protocol is not a token, or is offered twice.
    Subprotocol,
    /// A header's name is not a token.
    HeaderName,
    /// A header is one that the handshake writes itself.
    HeaderReserved,
    /// A header's value has a character in it that a header cannot carry.
    HeaderValue,
    /// The request is longer than [`HEAD_LIMIT`].
    TooLong,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => {
                "the path of a WebSocket begins with / and has no spaces, no # and no other scripts in it; write them in \
                 percent-encoding"
            }
            Self::Subprotocol => {
                "a sub-protocol is offered twice, or has a character in it other than letters, digits and \
                 !#$%&'*+-.^_`|~"
            }
            Self::HeaderName => {
                "the name of a header has a character in it other than letters, digits and !#$%&'*+-.^_`|~"
            }
            Self::HeaderReserved => {
                "the handshake writes this header itself, or cannot carry it; remove it from the extra headers"
            }
            Self::HeaderValue => "the value of a header has a character in it that is not visible ASCII; encode it",
            Self::TooLong => "the request to upgrade is longer than 16 KiB; shorten its headers",
        })
    }
}

impl core::error::Error for RequestError {}
