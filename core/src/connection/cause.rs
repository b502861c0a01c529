//! Why a connection, or an attempt at one, ended.

use core::fmt;

use crate::liveness::{DeathCause, Evidence};
use crate::reconnect::{Retry, Wait};
use crate::session::StoreError;
#[cfg(feature = "tls")]
use crate::tunnel::tls::TlsError;
use crate::tunnel::{LayerError, ProxyError};
use crate::wire::{Goodbye, Reason, WireError};

/// What the driver saw a socket do, in the core's words.
///
/// Ordered by how far it came: of several attempts that fail, the greatest tells most about the peer, and the least may be
/// about our own machine only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The name has no address, or the name service does not answer.
    NameNotFound,
    /// An error that has no word of its own.
    Other,
    /// There is no way to that host or network.
    Unreachable,
    /// We are not allowed to do that.
    Denied,
    /// The operating system gave up waiting.
    TimedOut,
    /// Nobody listens there.
    Refused,
    /// The connection was reset.
    Reset,
    /// The peer closed its side of the connection (end of file).
    Eof,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eof => "closed by the peer",
            Self::Reset => "connection reset",
            Self::Refused => "connection refused",
            Self::Unreachable => "host unreachable",
            Self::NameNotFound => "name not found",
            Self::TimedOut => "timed out in the operating system",
            Self::Denied => "permission denied",
            Self::Other => "input/output error",
        })
    }
}

/// Why a connection, or an attempt at one, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownCause {
    /// The peer was declared dead.
    Dead(DeathCause),
    /// The peer ended the connection and said why.
    Goodbye(Goodbye),
    /// The server did not let us in and said why.
    Refused(Goodbye),
    /// The peer broke the protocol.
    Protocol(WireError),
    /// The peer sent beats much faster than agreed.
    Flood,
    /// The connection ended without a word.
    Network(Failure),
    /// The connection could not be opened.
    ConnectFailed(Failure),
    /// Opening the connection took too long.
    ConnectTimeout,
    /// The proxy did not open a tunnel, and said why, or broke the protocol.
    Proxy(ProxyError),
    /// The proxy did not open a tunnel in time.
    ProxyTimeout,
    /// TLS failed: certificates, or the protocol.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// The peer did not finish the TLS handshake in time.
    #[cfg(feature = "tls")]
    TlsTimeout,
    /// The link goes through a proxy or TLS, and our driver did not say to which server: our own misuse.
    ServerUnnamed,
    /// The peer did not finish the handshake in time.
    HandshakeTimeout,
    /// Our own provider gave no credentials, or some that the protocol cannot carry.
    CredentialsFailed,
    /// Our own provider took too long to give credentials.
    CredentialsTimeout,
    /// Our own application did not finish its greeting in time.
    GreetingTimeout,
    /// Our own store did not keep what must not be forgotten.
    Store(StoreError),
    /// Another connection of the same device took over.
    Replaced,
    /// Our own side ended it, for this reason.
    EndedByUs(Reason),
}

impl DownCause {
    /// Whether and when to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            // Our hello is too large: so will the next one be.
            Self::Refused(Goodbye { reason: Reason::TooLarge, .. }) => Retry::Fatal,
            Self::Goodbye(goodbye) | Self::Refused(goodbye) => goodbye_retry(goodbye),
            Self::Replaced => Retry::Conflict,
            Self::EndedByUs(_) | Self::ServerUnnamed | Self::Store(_) => Retry::Fatal,
            Self::Proxy(error) => error.retry(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.retry(),
            #[cfg(feature = "tls")]
            Self::TlsTimeout => Retry::Retry { after: None },
            Self::Dead(_)
            | Self::Protocol(_)
            | Self::Flood
            | Self::Network(_)
            | Self::ConnectFailed(_)
            | Self::ConnectTimeout
            | Self::ProxyTimeout
            | Self::HandshakeTimeout
            | Self::CredentialsFailed
            | Self::CredentialsTimeout
            | Self::GreetingTimeout => Retry::Retry { after: None },
        }
    }

    /// Whether what waits to be written is a TLS alert that tells the peer.
    pub(crate) const fn leaves_alert(&self, waiting: &[u8]) -> bool {
        #[cfg(feature = "tls")]
        if let Self::Tls(_) = self {
            return !waiting.is_empty();
        }
        let _ = waiting;
        false
    }

    /// What to tell the peer when we end the connection for this cause. `None` if it would not hear it.
    #[must_use]
    pub(crate) fn farewell(&self) -> Option<Goodbye> {
        use alloc::string::ToString;
        let reason = match self {
            Self::Dead(DeathCause::FrameTooSlow | DeathCause::ReadPaused) | Self::HandshakeTimeout => Reason::TimedOut,
            Self::GreetingTimeout => Reason::GoingAway,
            Self::Dead(_) => Reason::Silent,
            Self::Protocol(error) => error.reason(),
            Self::Flood => Reason::Flood,
            Self::Replaced => Reason::Replaced,
            Self::EndedByUs(reason) => *reason,
            _ => return None,
        };
        let detail = match self {
            Self::EndedByUs(_) | Self::Replaced | Self::GreetingTimeout => alloc::string::String::new(),
            other => other.to_string(),
        };
        Some(Goodbye::new(reason, detail))
    }
}

impl From<LayerError> for DownCause {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Proxy(error) => Self::Proxy(error),
            #[cfg(feature = "tls")]
            LayerError::Tls(error) => Self::Tls(error),
            LayerError::ServerUnnamed => Self::ServerUnnamed,
        }
    }
}

const fn goodbye_retry(goodbye: &Goodbye) -> Retry {
    match goodbye.reason {
        Reason::Closed | Reason::Forbidden | Reason::Unauthorized | Reason::UnsupportedVersion | Reason::NotHere => {
            Retry::Fatal
        }
        Reason::Replaced => Retry::Conflict,
        _ if goodbye.retry_after_ms == 0 && goodbye.spread_ms == 0 => Retry::Retry { after: None },
        _ => Retry::Retry {
            after: Some(Wait {
                after: core::time::Duration::from_millis(goodbye.retry_after_ms as u64),
                spread: core::time::Duration::from_millis(goodbye.spread_ms as u64),
            }),
        },
    }
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead(cause) => cause.fmt(f),
            Self::Goodbye(goodbye) => write!(f, "the peer said goodbye: {goodbye}"),
            Self::Refused(goodbye) => write!(f, "refused: {goodbye}"),
            Self::Protocol(WireError::NotAllowed { problem, .. }) => {
                write!(f, "the peer asks for what is not allowed here: {problem}")
            }
            Self::Protocol(error) => write!(f, "the peer broke the protocol: {error}"),
            Self::Flood => f.write_str("the peer sent too many beats"),
            Self::Network(failure) => failure.fmt(f),
            Self::ConnectFailed(failure) => write!(f, "could not connect: {failure}"),
            Self::ConnectTimeout => f.write_str("could not connect in time"),
            Self::Proxy(error) => error.fmt(f),
            Self::ProxyTimeout => f.write_str("the proxy did not open a tunnel in time"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::TlsTimeout => f.write_str("the peer did not finish the TLS handshake in time"),
            Self::ServerUnnamed => f.write_str(
                "the link goes through a proxy or TLS, and its driver did not name the server; see Client::to_server",
            ),
            Self::HandshakeTimeout => f.write_str("the peer did not finish the handshake in time"),
            Self::CredentialsFailed => f.write_str("our provider gave no credentials"),
            Self::CredentialsTimeout => f.write_str("our provider gave no credentials in time"),
            Self::GreetingTimeout => {
                f.write_str("our application did not finish its greeting in time; see Client::greeted")
            }
            Self::Store(error) => write!(f, "our store did not keep what must not be forgotten: {error}"),
            Self::Replaced => f.write_str("another connection of the same device took over"),
            Self::EndedByUs(reason) => write!(f, "closed by us: {reason}"),
        }
    }
}

/// Why a connection, or an attempt at one, ended, and what was seen until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownReport {
    /// The cause.
    pub cause: DownCause,
    /// What was seen of the peer. `None` if the handshake was not finished.
    pub evidence: Option<Evidence>,
}

impl fmt::Display for DownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match &self.evidence {
            Some(evidence) => write!(f, " ({evidence})"),
            None => Ok(()),
        }
    }
}
