//! Why a proxy did not open the tunnel.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::reconnect::Retry;

/// The longest text of an HTTP proxy that is kept, in characters. What is longer is cut.
pub const REASON_LIMIT: usize = 120;

/// The least window in which to come back after a wait that the proxy asked for.
const LEAST_SPREAD: Duration = Duration::from_secs(1);

/// Why a proxy did not open the tunnel. Displays itself with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy asks for a login and the configuration has none: HTTP 407 and 401; SOCKS5 without an acceptable method.
    LoginMissing,
    /// The proxy did not accept our login: HTTP 407 and 401, RFC 1929 with a status other than 0.
    LoginRefused,
    /// The SOCKS5 proxy takes neither our user name and password nor no login at all (RFC 1928, section 3: 0xFF).
    LoginMethod,
    /// The proxy does not allow a tunnel to this server: HTTP 403, SOCKS5 reply 2.
    NotAllowed(ProxyReply),
    /// The proxy opens no tunnels, or none to addresses of this type: SOCKS5 replies 7 and 8.
    Unsupported(ProxyReply),
    /// The proxy could not reach the server: HTTP 502 and 504, SOCKS5 replies 3 to 6.
    Unreachable(ProxyReply),
    /// The proxy has no room for us now: HTTP 429 and 503. squid also says 503 of a server that it does not reach.
    Busy {
        /// What it said.
        reply: ProxyReply,
        /// How long it asks us to stay away (RFC 9110, section 10.2.3). `None` if it gave no whole number
        /// of seconds above zero.
        retry_after: Option<Duration>,
    },
    /// Any other refusal.
    Failed(ProxyReply),
    /// What answers does not speak HTTP/1.
    NotHttp,
    /// What answers does not speak SOCKS5, or breaks its rules.
    NotSocks5,
    /// The answer of the HTTP proxy is longer than 8 KiB, interim answers included, or has more than 64 header lines.
    HeadTooLarge,
}

impl ProxyError {
    /// Whether and when to try again.
    ///
    /// Fatal is only what the proxy itself says about our login or our rights, or that it cannot do: someone must change
    /// the configuration of one side. All else may pass, also an unknown status or an answer in another protocol, which a
    /// middlebox may give while it starts.
    ///
    /// A wait that the proxy asked for is honoured, with half of it again (at least 1 s) in which to come back, as the
    /// proxy told all its clients the same.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::LoginMissing
            | Self::LoginRefused
            | Self::LoginMethod
            | Self::NotAllowed(_)
            | Self::Unsupported(_) => Retry::Fatal,
            Self::Busy { retry_after: Some(after), .. } => Retry::after(*after, LEAST_SPREAD.max(*after / 2)),
            Self::Busy { retry_after: None, .. }
            | Self::Unreachable(_)
            | Self::Failed(_)
            | Self::NotHttp
            | Self::NotSocks5
            | Self::HeadTooLarge => Retry::BACKOFF,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginMissing => f.write_str(
                "the proxy asks for a login and none is configured; put user:password@ before the host in its URL",
            ),
            Self::LoginRefused => f.write_str(
                "the proxy did not accept the login; correct user and password in its URL (an HTTP proxy must accept the \
                 scheme Basic)",
            ),
            Self::LoginMethod => f.write_str(
                "the proxy accepts neither user and password nor clients without a login; let it accept one of these",
            ),
            Self::NotAllowed(reply) => {
                write!(f, "the proxy does not allow a tunnel to this server ({reply}); ask its operator to allow it")
            }
            Self::Unsupported(reply) => {
                write!(f, "the proxy cannot open such a tunnel ({reply}); use another proxy, or another form of address")
            }
            Self::Unreachable(reply) => write!(
                f,
                "the proxy could not reach the server ({reply}); check the server's address, and the network behind the \
                 proxy"
            ),
            Self::Busy { reply, retry_after: Some(after) } => {
                write!(f, "the proxy has no room now ({reply}) and asks to wait for {} s", after.as_secs())
            }
            Self::Busy { reply, retry_after: None } => write!(
                f,
                "the proxy has no room now, or does not reach the server ({reply}); wait, and check the server's address"
            ),
            Self::Failed(reply) => {
                write!(f, "the proxy did not open the tunnel ({reply}); if it stays so, look into the proxy's log")
            }
            Self::NotHttp => f.write_str(
                "what answers at the proxy's address does not speak HTTP/1; check host, port and scheme of its URL",
            ),
            Self::NotSocks5 => f.write_str(
                "what answers at the proxy's address does not speak SOCKS5; check host, port and scheme of its URL",
            ),
            Self::HeadTooLarge => f.write_str(
                "the proxy's answer is longer than 8 KiB or 64 header lines; check that there is a proxy at its address",
            ),
        }
    }
}

impl core::error::Error for ProxyError {}

/// What a proxy answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyReply {
    /// An HTTP proxy.
    Http {
        /// The status code (RFC 9110, section 15).
        status: u16,
        /// The text behind it: the proxy's own words, without control characters, at most [`REASON_LIMIT`] characters.
        /// Empty if there is none, or none in ASCII.
        reason: String,
    },
    /// A SOCKS5 proxy: the reply code (RFC 1928, section 6).
    Socks5(u8),
}

impl fmt::Display for ProxyReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self {
            Self::Http { status, reason } if reason.is_empty() => return write!(f, "HTTP {status:03}"),
            Self::Http { status, reason } => return write!(f, "HTTP {status:03} {reason}"),
            Self::Socks5(code) => *code,
        };
        let meaning = match code {
            1 => "general failure",
            2 => "not allowed by its rules",
            3 => "network unreachable",
            4 => "host unreachable",
            5 => "connection refused",
            6 => "TTL expired",
            7 => "command not supported",
            8 => "address type not supported",
            _ => return write!(f, "SOCKS5 reply {code}"),
        };
        write!(f, "SOCKS5 reply {code}, {meaning}")
    }
}
