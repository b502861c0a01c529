//! A certificate of the demo's own, for one run.

use std::error::Error;
use std::net::Ipv4Addr;

use keepbeat_core::tunnel::tls::{TlsClient, TlsServer};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

/// What both ends need to speak TLS.
#[derive(Clone)]
pub(super) struct Certificate {
    /// Trusts the server, and nobody else.
    pub(super) client: TlsClient,
    pub(super) server: TlsServer,
    /// What both are made of, as PEM: for a server that is a program of its own.
    pub(super) pem: String,
    pub(super) key: String,
}

impl Certificate {
    /// Makes a key and a certificate that it signs itself, for the address on which everything happens.
    pub(super) fn generate() -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([Ipv4Addr::LOCALHOST.to_string()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "keepbeat demo");
        let pem = params.self_signed(&key)?.pem();
        let key = key.serialize_pem();
        let client = TlsClient::builder().roots_pem(pem.as_bytes()).build()?;
        let server = TlsServer::builder().certificate_pem(pem.as_bytes(), key.as_bytes()).build()?;
        Ok(Self { client, server, pem, key })
    }
}
