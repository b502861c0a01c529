//! A host and a port.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

/// The longest name of a host, in bytes: 253 (RFC 1035, section 2.3.4, as text and without the root's dot).
pub const NAME_LIMIT: usize = 253;

/// The longest scope of an IPv6 address, in bytes. Names of network interfaces are much shorter.
const SCOPE_LIMIT: usize = 64;

/// A host, by name or IP address, and a port.
///
/// Written `host:port`: `gateway.example:7411`, `127.0.0.1:7411`, `[::1]:7411`, `[fe80::1%eth0]:7411`. IPv6 addresses stand
/// in brackets, and may have a scope. A name has 1 to [`NAME_LIMIT`] ASCII letters, digits, dots, hyphens and underscores;
/// names in other scripts are given in their ASCII form (`xn--...`). Port 0 is allowed: for listening it means any port.
///
/// Displays itself as it was written. Two are equal if they are written alike: nothing is looked up or rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Without brackets. Only an IPv6 address has a colon in it.
    host: String,
    port: u16,
}

impl HostPort {
    /// The name, or the address without brackets but with its scope: the form that name look-ups take.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address, without its scope. `None` if the host is a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.split('%').next()?.parse().ok()
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(HostPortError::Brackets)?;
                check_ipv6(address)?;
                (address, rest.strip_prefix(':').ok_or(HostPortError::NoPort)?)
            }
            None => {
                let (name, port) = text.rsplit_once(':').ok_or(HostPortError::NoPort)?;
                check_name(name)?;
                (name, port)
            }
        };
        // `u16::from_str` takes a sign, which is none of a port's characters.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostPortError::Port);
        }
        let port = port.parse().map_err(|_| HostPortError::Port)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

fn check_ipv6(text: &str) -> Result<(), HostPortError> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    if address.parse::<Ipv6Addr>().is_err() {
        return Err(HostPortError::Address);
    }
    // The unreserved characters, as RFC 6874, section 2.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match scope {
        Some(scope) if scope.is_empty() || scope.len() > SCOPE_LIMIT || !scope.bytes().all(allowed) => {
            Err(HostPortError::Scope)
        }
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), HostPortError> {
    if name.contains(':') {
        return Err(HostPortError::Brackets);
    }
    if name.is_empty() {
        return Err(HostPortError::NoHost);
    }
    if name.len() > NAME_LIMIT {
        return Err(HostPortError::NameTooLong { length: name.len() });
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._".contains(*c)) {
        Some(character) => Err(HostPortError::NameCharacter { character }),
        None => Ok(()),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Why a text is not a [`HostPort`]: a fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostPortError {
    /// There is no port.
    NoPort,
    /// The port is not a number from 0 to 65535.
    Port,
    /// There is no host.
    NoHost,
    /// The name has a character that names do not have.
    NameCharacter {
        /// The first one.
        character: char,
    },
    /// The name is longer than [`NAME_LIMIT`].
    NameTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// An IPv6 address has no brackets, or only one.
    Brackets,
    /// What stands in brackets is not an IPv6 address.
    Address,
    /// The scope behind an IPv6 address is empty, too long, or has a character that scopes do not have.
    Scope,
}

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str("it has no port; write host:port, as in gateway.example:7411"),
            Self::Port => f.write_str("its port is not a number from 0 to 65535; write host:port"),
            Self::NoHost => f.write_str("it has no host; write host:port, as in gateway.example:7411"),
            Self::NameCharacter { character } => write!(
                f,
                "its host has the character {character:?} in it; a name has letters, digits, dots, hyphens and \
                 underscores, other scripts in their xn-- form"
            ),
            Self::NameTooLong { length } => {
                write!(f, "its host has {length} bytes; a name has at most {NAME_LIMIT}")
            }
            Self::Brackets => f.write_str("an IPv6 address stands in brackets; write [::1]:7411"),
            Self::Address => {
                f.write_str("what stands in brackets is not an IPv6 address; write names and IPv4 without them")
            }
            Self::Scope => write!(
                f,
                "the scope of its address is not the name or number of an interface, of 1 to {SCOPE_LIMIT} letters, \
                 digits and -._~; write it as in [fe80::1%eth0]:7411"
            ),
        }
    }
}

impl core::error::Error for HostPortError {}

#[cfg(test)]
mod tests {
    use super::*;
    use HostPortError as E;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn what_is_parsed_displays_itself_as_it_was_written() {
        for (text, host, port, ip) in [
            ("gateway.example:7411", "gateway.example", 7411, None),
            ("GATEWAY_1:0", "GATEWAY_1", 0, None),
            ("x:65535", "x", 65535, None),
            ("xn--bcher-kva.example.:80", "xn--bcher-kva.example.", 80, None),
            ("127.0.0.1:7411", "127.0.0.1", 7411, Some("127.0.0.1")),
            ("[::1]:7411", "::1", 7411, Some("::1")),
            ("[2001:DB8:0::1]:1", "2001:DB8:0::1", 1, Some("2001:db8::1")),
            ("[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1", 1, Some("::ffff:192.0.2.1")),
            ("[fe80::1%eth0]:7411", "fe80::1%eth0", 7411, Some("fe80::1")),
            ("[fe80::1%3]:7411", "fe80::1%3", 7411, Some("fe80::1")),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host(), parsed.port()), (host, port));
            assert_eq!(parsed.ip(), ip.map(|ip| ip.parse().unwrap()), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!("x:007".parse::<HostPort>().unwrap().to_string(), "x:7");
    }

    #[test]
    fn what_is_not_a_host_and_a_port_is_refused_with_its_fault() {
        for (text, error) in [
            ("", E::NoPort),
            ("gateway", E::NoPort),
            ("[::1]", E::NoPort),
            ("[::1]80", E::NoPort),
            (":80", E::NoHost),
            ("gateway:", E::Port),
            ("gateway:65536", E::Port),
            ("gateway:+80", E::Port),
            ("gateway:-0", E::Port),
            ("gateway: 80", E::Port),
            ("gateway:80/path", E::Port),
            ("gateway:http", E::Port),
            ("gateway:80\r\n", E::Port),
            ("[::1]:", E::Port),
            ("::1:80", E::Brackets),
            ("::1", E::Brackets),
            ("[::1:80", E::Brackets),
            ("::1]:80", E::Brackets),
            ("[]:80", E::Address),
            ("[gateway]:80", E::Address),
            ("[127.0.0.1]:80", E::Address),
            ("[::1\r\n]:80", E::Address),
            ("[[::1]]:80", E::Address),
            ("[fe80::1%]:80", E::Scope),
            ("[fe80::1%et h]:80", E::Scope),
            ("[fe80::1%eth\n]:80", E::Scope),
            ("[fe80::1%a%b]:80", E::Scope),
            ("user@gateway:80", E::NameCharacter { character: '@' }),
            ("beat//gateway:80", E::NameCharacter { character: '/' }),
            ("a b:80", E::NameCharacter { character: ' ' }),
            ("a\r\nX:80", E::NameCharacter { character: '\r' }),
            ("b\u{fc}cher:80", E::NameCharacter { character: '\u{fc}' }),
            ("a%eth0:80", E::NameCharacter { character: '%' }),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn names_and_scopes_have_a_longest_length() {
        let name = |length: usize| format!("{}:1", "x".repeat(length)).parse::<HostPort>();
        assert!(name(NAME_LIMIT).is_ok());
        assert_eq!(name(NAME_LIMIT + 1), Err(E::NameTooLong { length: 254 }));
        let scope = |length: usize| format!("[fe80::1%{}]:1", "x".repeat(length)).parse::<HostPort>();
        assert!(scope(SCOPE_LIMIT).is_ok());
        assert_eq!(scope(SCOPE_LIMIT + 1), Err(E::Scope));
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for text in ["x", "x:y", ":1", "a b:1", "::1:1", "[x]:1", "[::1%]:1"] {
            let error = text.parse::<HostPort>().unwrap_err().to_string();
            assert!(error.contains("write") || error.contains("a name has"), "{error}");
        }
    }
}
