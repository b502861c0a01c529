//! Who is at the other end, and can anyone else read along? TLS 1.2 and 1.3, by rustls, in memory.
//!
//! [`TlsClient`] and [`TlsServer`] hold what a side needs. Bytes of the socket go in and bytes for the socket come out:
//! there is one implementation for every runtime, and no socket in it.
//!
//! The wall clock: rustls itself reads it (the system's) to judge whether a certificate is valid and how old a session
//! ticket is. It is the only clock in this crate, and no deadline depends on it. Where a device's clock is wrong, valid
//! certificates are not accepted, and the error shows the date that was read.
//!
//! The provider of cryptography is the one that the process installed (`rustls::crypto::CryptoProvider`), else the one
//! compiled in: ring with the feature `tls-ring`, else AWS-LC with `tls-aws-lc`.
//!
//! | file | what it holds |
//! |---|---|
//! | `client`, `server` | [`TlsClient`], [`TlsServer`] and their builders |
//! | `pem`, `provider` | certificates and keys from text; the cryptography |
//! | `verify`, `describe` | who was refused and why: the verifiers, and certificates in words |
//! | `error` | [`TlsError`], [`TlsConfigError`] |
//! | `machine` | one TLS connection |

mod client;
mod describe;
mod error;
mod machine;
mod pem;
mod provider;
mod server;
mod verify;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use client::{TlsClient, TlsClientBuilder};
pub use error::{TlsConfigError, TlsError};
pub(crate) use machine::Tls;
pub use server::{TlsServer, TlsServerBuilder};

/// What a finished handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Whether an earlier session was resumed (RFC 8446 section 2.2, RFC 5077). The certificates were then checked in
    /// that session, not in this one.
    pub resumed: bool,
    /// The version of the protocol.
    pub version: TlsVersion,
    /// The name of the cipher suite in IANA's registry.
    pub cipher_suite: &'static str,
    /// The peer's own certificate (DER, RFC 5280), if it showed one.
    pub peer_certificate: Option<Bytes>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}
