//! What a server needs to speak TLS.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use super::verify::{Refusals, Verifier};
use super::{TlsConfigError, pem, provider};

/// What a server needs to speak TLS. A clone is cheap; all connections share one.
///
/// Sessions are resumed by tickets (RFC 8446 section 4.6.1, RFC 5077), sealed with keys that change every six hours and
/// live in memory: the server keeps nothing for a client, and its restart makes clients do a full handshake. A ticket
/// lives for up to twelve hours, and a client certificate is not checked again when it is used.
#[derive(Clone)]
pub struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
    pub(super) refusals: Option<Arc<Refusals>>,
}

impl TlsServer {
    /// Starts from nothing set. [`certificate_pem`](TlsServerBuilder::certificate_pem) must follow.
    pub fn builder() -> TlsServerBuilder {
        TlsServerBuilder::default()
    }

    /// Takes a configuration of rustls, with its own tickets and verifier. Early data (0-RTT) is turned off: whoever
    /// records it can send it again.
    pub fn from_rustls(config: Arc<ServerConfig>) -> Self {
        let config = if config.max_early_data_size == 0 {
            config
        } else {
            let mut config = (*config).clone();
            config.max_early_data_size = 0;
            Arc::new(config)
        };
        Self { config, refusals: None }
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

/// Collects what a [`TlsServer`] needs; see [`TlsServer::builder`].
#[derive(Clone, Default)]
#[must_use]
pub struct TlsServerBuilder {
    identity: (Vec<u8>, Vec<u8>),
    client_roots: Vec<Vec<u8>>,
}

impl TlsServerBuilder {
    /// Show this certificate. `chain` is PEM text: the server's own certificate first, then those between it and the
    /// root; `key` is its private key in PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub fn certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Self {
        self.identity = (chain.to_vec(), key.to_vec());
        self
    }

    /// Demand a certificate of every client, signed by one of these roots: PEM text with one or more certificates.
    /// Called again, it adds more.
    pub fn client_roots_pem(mut self, roots: &[u8]) -> Self {
        self.client_roots.push(roots.to_vec());
        self
    }

    /// Checks and builds.
    ///
    /// # Errors
    /// [`TlsConfigError`] says which input is wrong and what to do.
    pub fn build(self) -> Result<TlsServer, TlsConfigError> {
        let provider = provider::provider()?;
        let (chain, key) = &self.identity;
        let identity = pem::identity(chain, key, &provider)?;
        let mut roots = Vec::new();
        for text in &self.client_roots {
            roots.extend(pem::certificates("client_roots_pem", text)?);
        }

        let refusals = Arc::new(Refusals::default());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::other)?;
        let builder = if roots.is_empty() {
            builder.with_no_client_auth()
        } else {
            let store = pem::store("client_roots_pem", &roots)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(store, provider).build();
            let verifier = Verifier::new(verifier.map_err(TlsConfigError::other)?, Arc::clone(&refusals));
            builder.with_client_cert_verifier(Arc::new(verifier))
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        if let Some(ticketer) = provider::ticketer()? {
            config.ticketer = ticketer;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(TlsServer { config: Arc::new(config), refusals: Some(refusals) })
    }
}

impl fmt::Debug for TlsServerBuilder {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServerBuilder").finish_non_exhaustive()
    }
}
