//! What a client needs to speak TLS.

use alloc::borrow::ToOwned;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;

use super::verify::{Refusals, Verifier};
use super::{TlsConfigError, TlsError, pem, provider};

/// What a client needs to speak TLS. A clone is cheap and shares the sessions: give one to all links and attempts, so
/// that a reconnect resumes the session and costs less.
///
/// It remembers the sessions of the last few hundred servers. Certificates are judged by the system's wall clock.
#[derive(Clone)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) refusals: Option<Arc<Refusals>>,
}

impl TlsClient {
    /// Starts from nothing set: the platform's roots, if the feature `tls-platform-roots` is on, and no certificate of
    /// our own.
    pub fn builder() -> TlsClientBuilder {
        TlsClientBuilder::default()
    }

    /// Takes a configuration of rustls as it is. When its verifier does not accept a certificate, the error says what
    /// that verifier says; it does not describe the certificate.
    pub fn from_rustls(config: Arc<ClientConfig>) -> Self {
        Self { config, server_name: None, refusals: None }
    }

    /// The name to check and to send: the configured one, else `host`, a name or an IP address.
    pub(super) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host).ok_or_else(|| TlsError::BadName(host.to_owned())),
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Collects what a [`TlsClient`] needs; see [`TlsClient::builder`].
#[derive(Clone, Default)]
#[must_use]
pub struct TlsClientBuilder {
    #[cfg(feature = "tls-platform-roots")]
    platform_roots: bool,
    roots: Vec<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<alloc::string::String>,
}

impl TlsClientBuilder {
    /// Trust what the operating system trusts. It is the default as long as no other root is given; with
    /// [`roots_pem`](Self::roots_pem), both are trusted (not possible on Android).
    #[cfg(feature = "tls-platform-roots")]
    pub fn platform_roots(mut self) -> Self {
        self.platform_roots = true;
        self
    }

    /// Trust these roots: PEM text with one or more certificates, each of an authority or of one server that signed its
    /// own. Called again, it adds more. The platform's roots are then not trusted, unless they are asked for too.
    pub fn roots_pem(mut self, roots: &[u8]) -> Self {
        self.roots.push(roots.to_vec());
        self
    }

    /// Show this certificate to a server that asks for one. `chain` is PEM text: our own certificate first, then those
    /// between it and the root; `key` is its private key in PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub fn certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Self {
        self.identity = Some((chain.to_vec(), key.to_vec()));
        self
    }

    /// Expect this name or IP address in the server's certificate, instead of the host that is connected to; a name is
    /// also what the server is told (SNI, RFC 6066 section 3).
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Checks and builds. Parses every certificate and may read the platform's roots from disk: do it once.
    ///
    /// # Errors
    /// [`TlsConfigError`] says which input is wrong and what to do.
    pub fn build(self) -> Result<TlsClient, TlsConfigError> {
        let provider = provider::provider()?;
        let server_name = match &self.server_name {
            Some(name) => Some(server_name(name).ok_or_else(|| TlsConfigError::BadServerName { name: name.clone() })?),
            None => None,
        };
        let mut roots = Vec::new();
        for text in &self.roots {
            roots.extend(pem::certificates("roots_pem", text)?);
        }
        let identity = match &self.identity {
            Some((chain, key)) => Some(pem::identity(chain, key, &provider)?),
            None => None,
        };

        let refusals = Arc::new(Refusals::default());
        let verifier = Verifier::new(self.server_verifier(roots, &provider)?, Arc::clone(&refusals));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
            None => builder.with_no_client_auth(),
        };
        Ok(TlsClient { config: Arc::new(config), server_name, refusals: Some(refusals) })
    }

    fn server_verifier(
        &self,
        roots: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
        // Also with the platform's roots: so an unusable root is reported alike on every platform.
        let store = pem::store("roots_pem", &roots)?;
        #[cfg(feature = "tls-platform-roots")]
        if self.platform_roots || roots.is_empty() {
            return platform_verifier(roots, provider);
        }
        if roots.is_empty() {
            return Err(TlsConfigError::NoRoots);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(provider)).build();
        Ok(verifier.map_err(TlsConfigError::other)?)
    }
}

impl fmt::Debug for TlsClientBuilder {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClientBuilder").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[cfg(all(feature = "tls-platform-roots", not(target_os = "android")))]
fn platform_verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    match rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        Err(error) => Err(TlsConfigError::platform(error)),
    }
}

#[cfg(all(feature = "tls-platform-roots", target_os = "android"))]
fn platform_verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    if !roots.is_empty() {
        return Err(TlsConfigError::platform("Android cannot add roots_pem() to its own roots: use one of the two"));
    }
    match rustls_platform_verifier::Verifier::new(Arc::clone(provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        Err(error) => Err(TlsConfigError::platform(error)),
    }
}

/// A DNS name, or an IP address with or without brackets.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare).ok().map(|name| name.to_owned())
}
