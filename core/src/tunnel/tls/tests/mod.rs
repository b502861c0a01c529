//! Two machines in memory. Needs a provider: `cargo test -p keepbeat-core --features tls-ring`.

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod certificates;
mod config;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod handshake;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod hostile;

use std::string::{String, ToString};
use std::vec::Vec;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate chain and its key, in PEM.
struct Identity {
    chain: String,
    key: String,
}

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// In PEM.
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// An authority that this one has signed.
    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { chain, key: key.serialize_pem() }
    }

    fn identity(&self, name: &str) -> Identity {
        self.sign(&params(name))
    }
}

/// A certificate for the DNS name or IP address `name`, with the common name `name`.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_string()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod pair {
    use std::sync::Arc;
    use std::vec::Vec;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

    use super::super::{Tls, TlsClient, TlsError, TlsServer, provider};
    use super::{Authority, Identity};

    pub(super) const NAME: &str = "gate.example";

    pub(super) fn client(authority: &Authority) -> TlsClient {
        TlsClient::builder().roots_pem(authority.certificate.as_bytes()).build().unwrap()
    }

    pub(super) fn server(identity: &Identity) -> TlsServer {
        TlsServer::builder().certificate_pem(identity.chain.as_bytes(), identity.key.as_bytes()).build().unwrap()
    }

    /// A foreign configuration with one version.
    pub(super) fn client_of(
        version: &'static SupportedProtocolVersion,
        authority: &Authority,
        identity: Option<&Identity>,
    ) -> TlsClient {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider::provider().unwrap())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        TlsClient::from_rustls(Arc::new(match identity {
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(
                    CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect(),
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        }))
    }

    /// A foreign configuration with one version.
    pub(super) fn server_of(version: &'static SupportedProtocolVersion, identity: &Identity) -> TlsServer {
        let config = ServerConfig::builder_with_provider(provider::provider().unwrap())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                CertificateDer::pem_slice_iter(identity.chain.as_bytes()).map(Result::unwrap).collect(),
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            );
        TlsServer::from_rustls(Arc::new(config.unwrap()))
    }

    /// One end: the machine, what it received, and how it failed.
    pub(super) struct End {
        pub(super) tls: Tls,
        pub(super) plain: Vec<u8>,
        pub(super) error: Option<TlsError>,
    }

    impl End {
        fn new(tls: Tls) -> Self {
            Self { tls, plain: Vec::new(), error: None }
        }

        pub(super) fn receive(&mut self, bytes: &[u8]) {
            if let Err(error) = self.tls.receive(bytes, &mut self.plain) {
                self.error = Some(error);
            }
        }

        /// Takes up to `limit` bytes that are for the socket.
        pub(super) fn take(&mut self, limit: usize) -> Vec<u8> {
            let bytes = self.tls.transmit();
            let bytes = bytes[..bytes.len().min(limit)].to_vec();
            self.tls.written(bytes.len());
            bytes
        }
    }

    /// Two ends and the wire between them.
    pub(super) struct Pair {
        pub(super) client: End,
        pub(super) server: End,
    }

    impl Pair {
        pub(super) fn new(client: &TlsClient, server: &TlsServer, host: &str) -> Self {
            Self {
                client: End::new(Tls::client(client, host).unwrap()),
                server: End::new(Tls::server(server).unwrap()),
            }
        }

        /// Both ends after all is said that they say by themselves.
        pub(super) fn met(client: &TlsClient, server: &TlsServer, host: &str) -> Self {
            let mut pair = Self::new(client, server, host);
            pair.settle();
            pair
        }

        pub(super) fn settle(&mut self) {
            self.settle_by(|| usize::MAX);
        }

        /// Carries bytes in parts of these sizes until both are silent.
        pub(super) fn settle_by(&mut self, mut size: impl FnMut() -> usize) {
            loop {
                let (up, down) = (self.client.take(size()), self.server.take(size()));
                if up.is_empty() && down.is_empty() {
                    return;
                }
                self.server.receive(&up);
                self.client.receive(&down);
            }
        }

        pub(super) fn assert_open(&self) {
            assert_eq!((&self.client.error, &self.server.error), (&None, &None));
            assert!(self.client.tls.is_open() && self.server.tls.is_open());
        }

        /// Writes all of `up` and `down` at once, in parts of these sizes.
        pub(super) fn exchange(&mut self, up: &[u8], down: &[u8], mut size: impl FnMut() -> usize) {
            let (mut left_up, mut left_down) = (up, down);
            loop {
                let part = left_up.len().min(size());
                left_up = &left_up[self.client.tls.write(&left_up[..part])..];
                let part = left_down.len().min(size());
                left_down = &left_down[self.server.tls.write(&left_down[..part])..];
                self.settle_by(&mut size);
                if left_up.is_empty() && left_down.is_empty() {
                    break;
                }
            }
            assert_eq!((&self.client.error, &self.server.error), (&None, &None));
            assert!(self.server.plain == up, "the server got what the client wrote");
            assert!(self.client.plain == down, "the client got what the server wrote");
        }
    }
}
