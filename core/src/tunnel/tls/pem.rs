//! Certificates and keys from PEM text (RFC 7468).

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::TlsConfigError;
use super::describe::describe;

/// Every certificate in `pem`, at least one. `input` names the text in errors.
pub(super) fn certificates(input: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsConfigError::BadPem { input, why: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsConfigError::NoCertificate { input });
    }
    Ok(found)
}

/// A store of these roots.
pub(super) fn store(
    input: &'static str,
    roots: &[CertificateDer<'static>],
) -> Result<Arc<RootCertStore>, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| TlsConfigError::BadCertificate {
            input,
            certificate: describe(root),
            why: error.to_string(),
        })?;
    }
    Ok(Arc::new(store))
}

/// A certificate chain, its own certificate first, and the key that fits it.
pub(super) fn identity(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsConfigError> {
    let input = "certificate_pem";
    let chain = certificates(input, chain)?;
    let certificate = chain.first().map(describe).unwrap_or_default();
    let key = match PrivateKeyDer::from_pem_slice(key) {
        Ok(key) => key,
        Err(rustls::pki_types::pem::Error::NoItemsFound) => return Err(TlsConfigError::NoKey),
        Err(error) => return Err(TlsConfigError::BadKey { why: error.to_string() }),
    };
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsConfigError::BadKey { why: error.to_string() })?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        // A key that cannot tell its public half is not known to be wrong.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(identity)),
        Err(Error::InconsistentKeys(_)) => Err(TlsConfigError::KeyMismatch { certificate }),
        Err(error) => Err(TlsConfigError::BadCertificate { input, certificate, why: error.to_string() }),
    }
}
