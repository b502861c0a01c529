//! Authorities, certificates, and configurations of TLS made of them.

use keepbeat_core::tunnel::tls::{TlsClient, TlsClientBuilder, TlsServer, TlsServerBuilder};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

/// The name that certificates are for, and the address that clients go to.
pub(crate) const NAME: &str = "gate.example";
pub(crate) const ADDRESS: &str = "gate.example:7411";

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// In PEM.
    pub(crate) certificate: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (mut params, key) = (params(&[], name), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for this DNS name or IP address.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        self.sign(&params(&[name], name))
    }

    /// The same, out of date since long ago.
    pub(crate) fn expired(&self, name: &str) -> Identity {
        let mut params = params(&[name], name);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Who trusts this authority.
    pub(crate) fn client(&self) -> TlsClientBuilder {
        TlsClient::builder().roots_pem(self.certificate.as_bytes())
    }

    /// A server for [`NAME`] whose certificate is of this authority.
    pub(crate) fn server(&self) -> TlsServerBuilder {
        self.identity(NAME).server()
    }
}

impl Identity {
    /// Whether `der` is this certificate.
    pub(crate) fn is(&self, der: &[u8]) -> bool {
        use rustls::pki_types::pem::PemObject;
        rustls::pki_types::CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap().as_ref() == der
    }

    pub(crate) fn server(&self) -> TlsServerBuilder {
        TlsServer::builder().certificate_pem(self.certificate.as_bytes(), self.key.as_bytes())
    }
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
