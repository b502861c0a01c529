//! The provider of cryptography.

use alloc::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

use super::TlsConfigError;

/// The provider that the process installed, else the one compiled in.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, TlsConfigError> {
    match CryptoProvider::get_default() {
        Some(installed) => Ok(Arc::clone(installed)),
        None => compiled_in(),
    }
}

#[cfg(feature = "tls-ring")]
fn compiled_in() -> Result<Arc<CryptoProvider>, TlsConfigError> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(all(feature = "tls-aws-lc", not(feature = "tls-ring")))]
fn compiled_in() -> Result<Arc<CryptoProvider>, TlsConfigError> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
fn compiled_in() -> Result<Arc<CryptoProvider>, TlsConfigError> {
    Err(TlsConfigError::NoProvider)
}

/// What seals session tickets, with keys that change. `None` if neither ring nor AWS-LC is compiled in: then the
/// provider is foreign, and sessions are kept in the server's memory instead.
pub(super) fn ticketer() -> Result<Option<Arc<dyn ProducesTickets>>, TlsConfigError> {
    #[cfg(feature = "tls-ring")]
    let ticketer = rustls::crypto::ring::Ticketer::new().map(Some);
    #[cfg(all(feature = "tls-aws-lc", not(feature = "tls-ring")))]
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map(Some);
    #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
    let ticketer = Ok::<_, rustls::Error>(None);
    ticketer.map_err(TlsConfigError::other)
}
