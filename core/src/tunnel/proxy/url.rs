//! Where a proxy is, and how to log in to it.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::tunnel::host::{HostPort, HostPortError};

/// The longest user name and the longest password of a proxy, in bytes: 255 (RFC 1929, section 2).
pub const LOGIN_LIMIT: usize = 255;

/// A proxy on the way to the server.
///
/// Written as a URL: `http://[user:password@]host:port` for an HTTP proxy, which opens a tunnel by `CONNECT` (RFC 9110,
/// section 9.3.6), `socks5://[user:password@]host:port` for SOCKS5 (RFC 1928); `socks5h` means the same. The port must be
/// given, because programs disagree about the default. The proxy looks the server's name up, not this machine.
///
/// The user name has 1 to [`LOGIN_LIMIT`] bytes, for HTTP without a colon (RFC 7617, section 2). The password has as many,
/// for HTTP it may be empty. Neither has control characters. All but letters, digits and `-._~!$&'()*+,;=` is written as
/// `%` and two hexadecimal digits (RFC 3986, section 2.1); in the password a colon may stand as it is.
///
/// The login is sent to the proxy in the clear: both schemes are without TLS up to the proxy. [`Display`](fmt::Display) and
/// [`Debug`] show that there is a login, but nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(super) scheme: Scheme,
    pub(super) login: Option<Login>,
    address: HostPort,
}

impl Proxy {
    /// Where to connect to, instead of to the server. Its port is not 0.
    #[must_use]
    pub const fn address(&self) -> &HostPort {
        &self.address
    }
}

/// How to speak to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Socks5,
}

/// Who we are to a proxy. Secret, so without `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyUrlError::Scheme)?;
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        let scheme = match () {
            () if is("http") => Scheme::Http,
            () if is("socks5") || is("socks5h") => Scheme::Socks5,
            () => return Err(ProxyUrlError::Scheme),
        };
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login.parse::<Login>()?), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(ProxyUrlError::Path);
        }
        let address: HostPort = address.parse().map_err(ProxyUrlError::Address)?;
        if address.port() == 0 {
            return Err(ProxyUrlError::PortZero);
        }
        match (scheme, &login) {
            (Scheme::Http, Some(login)) if login.user.contains(&b':') => Err(ProxyUrlError::UserColon),
            (Scheme::Socks5, Some(login)) if login.password.is_empty() => Err(ProxyUrlError::Password),
            _ => Ok(Self { scheme, login, address }),
        }
    }
}

impl FromStr for Login {
    type Err = ProxyUrlError;

    /// Reads the part of a URL before the `@`.
    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let (user, password) = (decode(user, "")?, decode(password, ":")?);
        if user.is_empty() || user.len() > LOGIN_LIMIT {
            return Err(ProxyUrlError::User);
        }
        if password.len() > LOGIN_LIMIT {
            return Err(ProxyUrlError::Password);
        }
        if user.iter().chain(&password).any(u8::is_ascii_control) {
            return Err(ProxyUrlError::ControlCharacter);
        }
        Ok(Self { user, password })
    }
}

/// Undoes the percent-encoding of a login. `also` may stand unencoded.
fn decode(text: &str, also: &str) -> Result<Vec<u8>, ProxyUrlError> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(ProxyUrlError::Escape);
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => decoded.push((digit(bytes.next())? << 4 | digit(bytes.next())?) as u8),
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) => decoded.push(byte),
            _ if also.as_bytes().contains(&byte) => decoded.push(byte),
            _ => return Err(ProxyUrlError::Unescaped),
        }
    }
    Ok(decoded)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Socks5 => "socks5",
        };
        let login = if self.login.is_some() { "***@" } else { "" };
        write!(f, "{scheme}://{login}{}", self.address)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Why a text is not the URL of a [`Proxy`]: a fault of the configuration. It shows nothing of the login.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// It does not begin with a scheme that we speak.
    Scheme,
    /// The part behind the login is not a host and a port.
    Address(HostPortError),
    /// Nobody can be reached at port 0.
    PortZero,
    /// Something follows the port.
    Path,
    /// A `%` in the login is not followed by two hexadecimal digits.
    Escape,
    /// A character in the login must be written in percent-encoding.
    Unescaped,
    /// The user name is empty, or longer than [`LOGIN_LIMIT`].
    User,
    /// The user name for an HTTP proxy has a colon in it, where the password would begin.
    UserColon,
    /// The password is longer than [`LOGIN_LIMIT`], or empty for SOCKS5.
    Password,
    /// The user name or the password has a control character in it.
    ControlCharacter,
}

impl fmt::Display for ProxyUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Scheme => {
                "a proxy's URL begins with http:// or socks5:// (TLS up to the proxy is not supported); write for example \
                 http://proxy.example:3128"
            }
            Self::Address(error) => return write!(f, "the address in the proxy's URL is wrong: {error}"),
            Self::PortZero => "the port in the proxy's URL is 0; give the one on which the proxy listens",
            Self::Path => "nothing may follow the port in a proxy's URL; remove it",
            Self::Escape => {
                "a % in the login of the proxy's URL is not followed by two hexadecimal digits; write the % itself as %25"
            }
            Self::Unescaped => {
                "a character in the login of the proxy's URL must be written as % and two hexadecimal digits, for example \
                 @ as %40 and / as %2F"
            }
            Self::User => return write!(f, "the user name in the proxy's URL must have 1 to {LOGIN_LIMIT} bytes"),
            Self::UserColon => "the user name in the URL of an HTTP proxy has a colon in it; HTTP cannot send it",
            Self::Password => {
                return write!(
                    f,
                    "the password in the proxy's URL must have at most {LOGIN_LIMIT} bytes, and for SOCKS5 at least 1"
                );
            }
            Self::ControlCharacter => "the login in the proxy's URL has a control character in it; remove it",
        };
        f.write_str(text)
    }
}

impl core::error::Error for ProxyUrlError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Address(error) => Some(error),
            _ => None,
        }
    }
}
