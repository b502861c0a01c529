//! Where a server is, and whether to speak TLS with it.

use std::fmt;
use std::str::FromStr;

use keepbeat_core::tunnel::HostPort;

const PLAIN: &str = "beat://";
const TLS: &str = "beats://";

/// An address of the native protocol: `beat://HOST:PORT`, or `beats://HOST:PORT` inside TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    tls: bool,
    address: HostPort,
}

impl Endpoint {
    /// Whether to speak TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The form that name look-ups take: `host:port`, IPv6 in brackets.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The same address, with TLS.
    pub(crate) fn with_tls(&self) -> Self {
        Self { tls: true, address: self.address.clone() }
    }

    /// The same scheme at another address.
    pub(crate) fn url_of(&self, address: impl fmt::Display) -> String {
        format!("{}{address}", if self.tls { TLS } else { PLAIN })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url_of(&self.address))
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "give for example beat://127.0.0.1:4800, or beats://gateway.example:4801 for TLS";
        let (tls, rest) = match (text.strip_prefix(PLAIN), text.strip_prefix(TLS)) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(format!("it begins neither with beat:// nor with beats://; {example}")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let address = rest.parse().map_err(|error| format!("behind {}: {error}", if tls { TLS } else { PLAIN }))?;
        Ok(Self { tls, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        for (text, tls, address) in [
            ("beat://127.0.0.1:4800", false, "127.0.0.1:4800"),
            ("beats://127.0.0.1:4800", true, "127.0.0.1:4800"),
            ("beat://localhost:0", false, "localhost:0"),
            ("beats://gate.example.org:65535/", true, "gate.example.org:65535"),
            ("beat://[::1]:4800", false, "[::1]:4800"),
            ("beat://[fe80::1%eth0]:4800", false, "[fe80::1%eth0]:4800"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.is_tls(), endpoint.address().as_str()), (tls, address));
            assert_eq!(endpoint.to_string(), text.trim_end_matches('/'));
        }
        for text in [
            "127.0.0.1:4800",
            "http://127.0.0.1:4800",
            "beat://",
            "beats:/localhost:4800",
            "beatss://localhost:4800",
            "beat://:4800",
            "beat://localhost",
            "beat://localhost:",
            "beat://localhost:65536",
            "beat://localhost:+80",
            "beat://localhost:4800/path",
            "beat://user@localhost:4800",
            "beat://::1:4800",
            "beat://[::1]",
            "beat://[localhost]:4800",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
