//! What can be wrong with a TLS connection, or with what was given to build one.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use super::verify::Refusal;
use crate::reconnect::Retry;

/// Why a TLS connection failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsError {
    /// We do not accept a certificate of the peer. Fatal: somebody must change a certificate, a root, a name or a clock.
    Certificate {
        /// Whose certificate, and which: subject, issuer, serial number and end of validity.
        which: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The peer does not accept our certificate, or wants one. Fatal, for the same reason.
    Refused {
        /// The peer's alert in words (RFC 8446 section 6.2).
        why: String,
    },
    /// The host that was connected to is neither a DNS name nor an IP address, so that no certificate can be for it.
    /// Fatal.
    BadName(String),
    /// The peer's first bytes are no TLS.
    NotTls,
    /// The peer and we have no version, cipher suite or signature algorithm in common.
    Incompatible {
        /// What there is none of.
        why: String,
    },
    /// The peer ended the connection with this alert, which is not about certificates (RFC 8446 section 6.2).
    Alert(String),
    /// Anything else: the peer, or something on the way, broke the protocol.
    Other(String),
}

impl TlsError {
    /// Whether to try again. Certificates and names do not mend themselves; anything else may be a restart or an update
    /// on the other side.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Certificate { .. } | Self::Refused { .. } | Self::BadName(_) => Retry::Fatal,
            Self::NotTls | Self::Incompatible { .. } | Self::Alert(_) | Self::Other(_) => Retry::BACKOFF,
        }
    }

    /// In our words what rustls says. `refusal` is what our verifier noted; `peer` is "server" or "client"; `first` is
    /// whether the peer has not yet sent anything that was TLS.
    pub(super) fn of(error: Error, refusal: Option<Refusal>, peer: &str, first: bool) -> Self {
        match (error, refusal) {
            (Error::InvalidCertificate(_), Some(Refusal { which, why })) => Self::Certificate { which, why },
            (Error::InvalidCertificate(reason), None) => {
                Self::Certificate { which: format!("the {peer}'s certificate"), why: reason.to_string() }
            }
            (Error::NoCertificatesPresented, _) => Self::Certificate {
                which: format!("the {peer}"),
                why: format!("it showed no certificate: give the {peer} one that our roots have signed"),
            },
            (Error::AlertReceived(alert), _) => Self::alert(alert, peer),
            (Error::PeerIncompatible(why), _) => Self::Incompatible { why: incompatible(&why) },
            (Error::InvalidMessage(what), _) if first && no_record(what) => Self::NotTls,
            (other, _) => Self::Other(other.to_string()),
        }
    }

    fn alert(alert: AlertDescription, peer: &str) -> Self {
        let name = format!("{alert:?}");
        let not_accepted =
            |why: &str| Self::Refused { why: format!("the {peer} does not accept our certificate: {why}") };
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::Refused {
                why: format!("the {peer} wants a certificate of ours: set certificate_pem() to one that it accepts"),
            },
            AlertDescription::UnknownCA => not_accepted("it does not trust the issuer"),
            AlertDescription::CertificateExpired => {
                not_accepted("it expired, or is not valid yet, by the clock over there")
            }
            AlertDescription::CertificateRevoked => not_accepted("it was revoked"),
            AlertDescription::UnsupportedCertificate => {
                not_accepted("it is of an unsuitable kind or for another purpose")
            }
            AlertDescription::BadCertificate => not_accepted("it is damaged or for another name"),
            AlertDescription::AccessDenied => not_accepted("it is valid, but not allowed in"),
            AlertDescription::CertificateUnknown
            | AlertDescription::CertificateUnobtainable
            | AlertDescription::BadCertificateStatusResponse
            | AlertDescription::BadCertificateHashValue => not_accepted(&name),
            AlertDescription::ProtocolVersion => Self::Incompatible { why: "no version of TLS".to_owned() },
            AlertDescription::InsufficientSecurity => Self::Incompatible { why: "no cipher suite".to_owned() },
            AlertDescription::HandshakeFailure => Self::Alert(format!(
                "{name}: the {peer} found no common ground (cipher suites, or with TLS 1.2 a certificate that it wants)"
            )),
            AlertDescription::UnrecognisedName => {
                Self::Alert(format!("{name}: the {peer} does not know the name that we asked for; see server_name()"))
            }
            _ => Self::Alert(name),
        }
    }
}

/// What there is nothing in common of, in the words that also stand for the peer's alerts.
fn incompatible(why: &PeerIncompatible) -> String {
    use PeerIncompatible as P;
    match why {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired => "no version of TLS".to_owned(),
        // A client sends them since TLS 1.2 (RFC 5246 section 7.4.1.4.1). rustls looks at them before the version.
        P::SignatureAlgorithmsExtensionRequired => {
            "no version of TLS; its hello has no signature algorithms, as before TLS 1.2".to_owned()
        }
        P::NoCipherSuitesInCommon => "no cipher suite".to_owned(),
        P::NoKxGroupsInCommon => "no group for the key exchange".to_owned(),
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature algorithm that suits the certificate".to_owned()
        }
        other => format!("{other:?}"),
    }
}

/// Whether these bytes do not even look like a record of TLS (RFC 8446 section 5.1).
const fn no_record(what: InvalidMessage) -> bool {
    matches!(what, InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion)
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { which, why } => write!(f, "{which} is not accepted: {why}"),
            Self::Refused { why } => f.write_str(why),
            Self::BadName(host) => write!(
                f,
                "no certificate can be for {host:?}, which is neither a DNS name nor an IP address: set server_name()"
            ),
            Self::NotTls => f.write_str("what the peer sends is not TLS: is this the right port, and is TLS on there?"),
            Self::Incompatible { why } => write!(f, "the peer and we have nothing in common to speak TLS with: {why}"),
            Self::Alert(alert) => write!(f, "the peer ended TLS with an alert: {alert}"),
            Self::Other(why) => write!(f, "TLS failed: {why}"),
        }
    }
}

impl core::error::Error for TlsError {}

/// What is wrong with the inputs of a [`TlsClient`](super::TlsClient) or a [`TlsServer`](super::TlsServer).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// No provider of cryptography is compiled in or installed.
    NoProvider,
    /// A client has no roots to trust.
    NoRoots,
    /// A PEM text has no certificate in it.
    NoCertificate {
        /// The method that took the text.
        input: &'static str,
    },
    /// A PEM text has no private key in it, or only an encrypted one.
    NoKey,
    /// A text is no PEM (RFC 7468).
    BadPem {
        /// The method that took the text.
        input: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate cannot be used.
    BadCertificate {
        /// The method that took it.
        input: &'static str,
        /// Which one.
        certificate: String,
        /// What is wrong with it.
        why: String,
    },
    /// The private key cannot be read or is of an unknown kind.
    BadKey {
        /// What is wrong with it.
        why: String,
    },
    /// The private key is not the one of the certificate.
    KeyMismatch {
        /// The certificate: the first one of the chain.
        certificate: String,
    },
    /// The server name is neither a DNS name nor an IP address.
    BadServerName {
        /// What was given.
        name: String,
    },
    /// The platform's roots cannot be used.
    PlatformRoots {
        /// Why.
        why: String,
    },
    /// The provider of cryptography refused.
    Other(String),
}

impl TlsConfigError {
    pub(super) fn other(why: impl fmt::Display) -> Self {
        Self::Other(why.to_string())
    }

    #[cfg(feature = "tls-platform-roots")]
    pub(super) fn platform(why: impl fmt::Display) -> Self {
        Self::PlatformRoots { why: why.to_string() }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str(
                "no cryptography for TLS: enable the feature tls-ring or tls-aws-lc, or install a provider of rustls \
                 (CryptoProvider::install_default) before this",
            ),
            Self::NoRoots => f.write_str(
                "a TLS client must trust someone: give roots with roots_pem(), or enable the feature tls-platform-roots",
            ),
            Self::NoCertificate { input } => write!(
                f,
                "{input}: no certificate given: it takes PEM text with a section \"-----BEGIN CERTIFICATE-----\""
            ),
            Self::NoKey => f.write_str(
                "certificate_pem: no private key given: it takes PEM text with a section \"-----BEGIN PRIVATE KEY-----\" \
                 (or RSA or EC PRIVATE KEY), and not an encrypted one",
            ),
            Self::BadPem { input, why } => write!(f, "{input}: the text is no PEM: {why}"),
            Self::BadCertificate { input, certificate, why } => {
                write!(f, "{input}: the certificate ({certificate}) cannot be used: {why}")
            }
            Self::BadKey { why } => write!(f, "certificate_pem: the private key cannot be used: {why}"),
            Self::KeyMismatch { certificate } => write!(
                f,
                "certificate_pem: the private key is not the one of the certificate ({certificate}): give the key that \
                 it was made for, and put it first in the chain"
            ),
            Self::BadServerName { name } => {
                write!(f, "server_name: {name:?} is neither a DNS name nor an IP address")
            }
            Self::PlatformRoots { why } => {
                write!(f, "the platform's roots cannot be used: {why}; roots_pem() takes roots of your own")
            }
            Self::Other(why) => write!(f, "TLS cannot be set up: {why}"),
        }
    }
}

impl core::error::Error for TlsConfigError {}
