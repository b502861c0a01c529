//! Certificates, and what is wrong with them, in words.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// The most characters of a name that go into an error. The peer chose the name.
const NAME_LIMIT: usize = 100;
/// The most names of one certificate that go into an error.
const NAMES_LIMIT: usize = 5;

/// `CN=gate.example, issued by CN=Test CA, serial 0A:0B, valid until 2026-01-01`
pub(super) fn describe(certificate: &CertificateDer<'_>) -> String {
    let Ok(parsed) = Certificate::from_der(certificate) else {
        return format!("{} bytes that are no certificate", certificate.len());
    };
    let fields = parsed.tbs_certificate();
    let subject = if fields.subject().is_empty() {
        format!("for {}", names(&parsed))
    } else {
        clip(&fields.subject().to_string())
    };
    let issuer = if fields.issuer() == fields.subject() {
        "by itself".to_string()
    } else {
        format!("by {}", distinguished(fields.issuer()))
    };
    let serial = clip(&fields.serial_number().to_string());
    let until = date(fields.validity().not_after.to_unix_duration());
    format!("{subject}, issued {issuer}, serial {serial}, valid until {until}")
}

/// Whether `reason` says that this certificate is out of date.
pub(super) fn is_expiry_of(reason: &CertificateError, certificate: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = Certificate::from_der(certificate) else { return false };
    let validity = parsed.tbs_certificate().validity();
    match reason {
        CertificateError::ExpiredContext { not_after, .. } => {
            since(*not_after) == validity.not_after.to_unix_duration()
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            since(*not_before) == validity.not_before.to_unix_duration()
        }
        _ => false,
    }
}

/// Why a certificate of `chain` is not accepted, and what to do.
pub(super) fn describe_reason(
    reason: &CertificateError,
    whose: &str,
    chain: &[&CertificateDer<'_>],
    name: Option<&ServerName<'_>>,
) -> String {
    match reason {
        CertificateError::ExpiredContext { time, not_after } => {
            let (now, until) = (moment(*time), moment(*not_after));
            format!("it expired at {until}, and the clock here says {now}: renew it, or set the clock right")
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (now, from) = (moment(*time), moment(*not_before));
            format!("it is valid only from {from} on, and the clock here says {now}: set the clock right")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let wanted = name.map(ServerName::to_str).unwrap_or_default();
            let names = chain.first().and_then(|own| Certificate::from_der(own).ok()).map(|own| names(&own));
            let names = names.unwrap_or_default();
            format!("it is for {names}, not for {wanted}: connect to one of its names, or set server_name()")
        }
        CertificateError::UnknownIssuer => unknown_issuer(whose, chain),
        CertificateError::BadSignature => "a signature made with it is wrong".to_string(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("it is not made for a {whose} (extended key usage)")
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            let setter = setter(whose);
            format!(
                "its signature does not fit the key of what is trusted or sent under its issuer's name: add the root that \
                 really signed it with {setter}, or have it signed with a key that is supported"
            )
        }
        // Not among the variants of rustls, which quotes webpki here.
        CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => format!(
            "it is made for an authority (basicConstraints CA:TRUE), not for a {whose}: make it with CA:FALSE, or let it \
             sign one that is"
        ),
        other => clip(&other.to_string()),
    }
}

/// The method that says which roots to trust for the certificates of `whose`.
fn setter(whose: &str) -> &'static str {
    if whose == "client" { "client_roots_pem()" } else { "roots_pem()" }
}

fn unknown_issuer(whose: &str, chain: &[&CertificateDer<'_>]) -> String {
    let setter = setter(whose);
    // The chain breaks at its end: what signed the last certificate is neither sent nor trusted.
    match chain.last().and_then(|last| Certificate::from_der(last).ok()) {
        Some(own) if chain.len() == 1 && own.tbs_certificate().issuer() == own.tbs_certificate().subject() => {
            format!("it signed itself and is not among the trusted roots: if you know it, add it with {setter}")
        }
        Some(last) => format!(
            "its issuer is not among the trusted roots: add the root above {} with {setter}, or let the {whose} send the \
             whole chain",
            distinguished(last.tbs_certificate().issuer())
        ),
        None => "its issuer is not among the trusted roots".to_string(),
    }
}

/// The names that a certificate is for (RFC 5280 section 4.2.1.6).
fn names(certificate: &Certificate) -> String {
    let Ok(Some((_, all))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else {
        return "no name (it has no subjectAltName)".to_string();
    };
    let mut names: Vec<String> = all.0.iter().take(NAMES_LIMIT).map(name).collect();
    if all.0.len() > NAMES_LIMIT {
        names.push(format!("{} more", all.0.len() - NAMES_LIMIT));
    }
    names.join(", ")
}

fn name(name: &GeneralName) -> String {
    match name {
        GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) | GeneralName::UniformResourceIdentifier(text) => {
            clip(text.as_str())
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            address.map_or_else(|_| "an unusable address".to_string(), |address| address.to_string())
        }
        GeneralName::DirectoryName(name) => distinguished(name),
        _ => "a name of another kind".to_string(),
    }
}

fn distinguished(name: &Name) -> String {
    if name.is_empty() { "an unnamed authority".to_string() } else { clip(&name.to_string()) }
}

/// Short and printable: the peer chose the text.
fn clip(text: &str) -> String {
    let mut clipped: String =
        text.chars().take(NAME_LIMIT).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(NAME_LIMIT).is_some() {
        clipped.push('…');
    }
    clipped
}

fn since(time: UnixTime) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// `2026-01-01T00:00:00Z`
fn moment(time: UnixTime) -> String {
    DateTime::from_unix_duration(since(time)).map_or_else(|_| "an unusable time".to_string(), |time| time.to_string())
}

/// `2026-01-01`
fn date(unix: Duration) -> String {
    let whole = DateTime::from_unix_duration(unix).map(|time| time.to_string()).unwrap_or_default();
    whole.split('T').next().unwrap_or_default().to_string()
}
