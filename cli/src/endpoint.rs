//! Where a server is, which protocol it speaks, and whether to speak TLS with it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use keepbeat_core::tunnel::HostPort;

/// The protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The native one.
    Beat,
    WebSocket,
    Mqtt,
}

/// Each scheme, with its protocol, whether it means TLS, and its port if none is given.
const SCHEMES: [(&str, Protocol, bool, Option<u16>); 6] = [
    ("beat://", Protocol::Beat, false, None),
    ("beats://", Protocol::Beat, true, None),
    ("ws://", Protocol::WebSocket, false, Some(80)),
    ("wss://", Protocol::WebSocket, true, Some(443)),
    ("mqtt://", Protocol::Mqtt, false, Some(1883)),
    ("mqtts://", Protocol::Mqtt, true, Some(8883)),
];

/// A URL: `beat://HOST:PORT`, `ws://HOST[:PORT][/PATH][?QUERY]`, `mqtt://HOST[:PORT]`, or `beats://`, `wss://` and `mqtts://` inside
/// TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    protocol: Protocol,
    tls: bool,
    address: HostPort,
    /// Path and query; empty where there are none.
    target: String,
}

impl Endpoint {
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether to speak TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The form that name look-ups take: `host:port`, IPv6 in brackets.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The name, or the address without brackets.
    pub(crate) fn host(&self) -> &str {
        self.address.host()
    }

    /// Of a WebSocket: path and query, at least `/`.
    pub(crate) fn target(&self) -> &str {
        if self.target.is_empty() { "/" } else { &self.target }
    }

    /// The same address, with TLS.
    pub(crate) fn with_tls(&self) -> Self {
        Self { tls: true, ..self.clone() }
    }

    /// The same scheme and path at another address.
    pub(crate) fn url_of(&self, address: impl fmt::Display) -> String {
        format!("{}{address}{}", self.scheme(), self.target)
    }

    fn scheme(&self) -> &'static str {
        SCHEMES
            .into_iter()
            .find(|(_, protocol, tls, _)| (*protocol, *tls) == (self.protocol, self.tls))
            .map_or("", |(scheme, ..)| scheme)
    }
}

/// Without the query, which may hold a token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_query(&self.url_of(&self.address)))
    }
}

/// A URL, or what was to be one, for people to read: that there is a query, but not which.
pub(crate) fn without_query(url: &str) -> Cow<'_, str> {
    url.split_once('?').map_or(Cow::Borrowed(url), |(front, _)| Cow::Owned(format!("{front}?...")))
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = SCHEMES.into_iter().find_map(|(scheme, ..)| Some((scheme, text.strip_prefix(scheme)?)));
        let Some((scheme, rest)) = found else {
            return Err(
                "it begins with none of beat://, beats://, ws://, wss://, mqtt:// and mqtts://; give for example \
                        beat://127.0.0.1:4800, or wss://gateway.example/live"
                    .to_owned(),
            );
        };
        let (_, protocol, tls, port) =
            SCHEMES.into_iter().find(|(other, ..)| *other == scheme).unwrap_or((scheme, Protocol::Beat, false, None));
        let (authority, target) = match protocol {
            Protocol::Beat | Protocol::Mqtt => (rest.strip_suffix('/').unwrap_or(rest), String::new()),
            Protocol::WebSocket => split(rest)?,
        };
        let with_port = match port {
            Some(port) if !has_port(authority) => format!("{authority}:{port}"),
            _ => authority.to_owned(),
        };
        let address = with_port.parse().map_err(|error| format!("behind {scheme}: {error}"))?;
        Ok(Self { protocol, tls, address, target })
    }
}

/// Host and port, then path and query.
fn split(rest: &str) -> Result<(&str, String), String> {
    if rest.contains('#') {
        return Err("a WebSocket has no fragment (RFC 6455, section 3); remove # and what follows, or write %23".into());
    }
    if let Some(strange) = rest.chars().find(|char| !matches!(char, '!'..='~')) {
        return Err(format!("it has {strange:?} in it; write it in percent-encoding"));
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let slash = if target.starts_with('?') { "/" } else { "" };
    let target = if target == "/" { String::new() } else { format!("{slash}{target}") };
    Ok((authority, target))
}

fn has_port(authority: &str) -> bool {
    match authority.strip_prefix('[') {
        Some(ipv6) => ipv6.split_once(']').is_some_and(|(_, rest)| !rest.is_empty()),
        None => authority.contains(':'),
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
            assert_eq!(
                (endpoint.to_string().as_str(), endpoint.protocol()),
                (text.trim_end_matches('/'), Protocol::Beat)
            );
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

    #[test]
    fn an_mqtt_server_has_a_default_port_and_no_path() {
        for (text, tls, address) in [
            ("mqtt://broker.example", false, "broker.example:1883"),
            ("mqtts://broker.example/", true, "broker.example:8883"),
            ("mqtt://[::1]:1884", false, "[::1]:1884"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.protocol(), Protocol::Mqtt);
            assert_eq!((endpoint.is_tls(), endpoint.address().as_str()), (tls, address));
        }
        for text in ["mqtt://", "mqtt://broker/topic", "mqtt://user@broker", "mqtt:broker"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_websocket_has_a_default_port_a_path_and_a_query() {
        for (text, tls, address, target, written) in [
            ("ws://gate.example", false, "gate.example:80", "/", "ws://gate.example:80"),
            ("wss://gate.example/", true, "gate.example:443", "/", "wss://gate.example:443"),
            (
                "ws://gate.example:9001/a/b?c=d&e",
                false,
                "gate.example:9001",
                "/a/b?c=d&e",
                "ws://gate.example:9001/a/b?...",
            ),
            ("wss://gate.example?case=1", true, "gate.example:443", "/?case=1", "wss://gate.example:443/?..."),
            ("ws://[::1]/live", false, "[::1]:80", "/live", "ws://[::1]:80/live"),
            ("ws://[::1]:9001", false, "[::1]:9001", "/", "ws://[::1]:9001"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.protocol(), Protocol::WebSocket);
            assert_eq!((endpoint.is_tls(), endpoint.address().as_str(), endpoint.target()), (tls, address, target));
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(without_query(&endpoint.url_of("127.0.0.1:1").replace("127.0.0.1:1", address)), written);
        }
        for text in [
            "ws://",
            "ws:///path",
            "ws://gate.example:",
            "ws://gate#part",
            "ws://gate/a b",
            "ws://gate/ä",
            "ws://u@gate/",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
