//! Verifiers that note which certificate they refused, and why.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::describe::{describe, describe_reason, is_expiry_of};

/// A certificate that was not accepted, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) which: String,
    pub(super) why: String,
}

/// What the verifier refused and nobody has asked for yet, by the thread on which it was asked.
///
/// The verifier belongs to all connections of a configuration: rustls resumes no session with another one. Its error
/// decides which alert the peer gets, so the words cannot travel in it. But a verifier is called within
/// [`Tls::receive`](super::Tls::receive), which takes what its own thread left here. So it holds one entry for each thread
/// at most.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Vec<(ThreadId, Refusal)>>);

impl Refusals {
    /// What was refused on this thread since it was last asked.
    pub(super) fn take(&self) -> Option<Refusal> {
        let mut noted = self.lock();
        let at = noted.iter().position(|(thread, _)| *thread == thread::current().id())?;
        Some(noted.swap_remove(at).1)
    }

    fn note(&self, refusal: Refusal) {
        let mut noted = self.lock();
        noted.retain(|(thread, _)| *thread != thread::current().id());
        noted.push((thread::current().id(), refusal));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ThreadId, Refusal)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A verifier that judges as the one within, and notes what was refused.
#[derive(Debug)]
pub(super) struct Verifier<V: ?Sized> {
    refusals: Arc<Refusals>,
    inner: Arc<V>,
}

impl<V: ?Sized> Verifier<V> {
    pub(super) fn new(inner: Arc<V>, refusals: Arc<Refusals>) -> Self {
        Self { refusals, inner }
    }

    /// Notes the refusal of one of `chain`, whose first certificate is the peer's own.
    fn noted<T>(
        &self,
        result: Result<T, Error>,
        whose: &str,
        chain: &[&CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
    ) -> Result<T, Error> {
        if let Err(Error::InvalidCertificate(reason)) = &result {
            self.refusals.note(refusal(reason, whose, chain, name));
        }
        result
    }
}

impl<V: ServerCertVerifier + ?Sized> ServerCertVerifier for Verifier<V> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        self.noted(result, "server", &chain(end_entity, intermediates), Some(server_name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.noted(self.inner.verify_tls12_signature(message, cert, dss), "server", &[cert], None)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.noted(self.inner.verify_tls13_signature(message, cert, dss), "server", &[cert], None)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

impl<V: ClientCertVerifier + ?Sized> ClientCertVerifier for Verifier<V> {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let result = self.inner.verify_client_cert(end_entity, intermediates, now);
        self.noted(result, "client", &chain(end_entity, intermediates), None)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.noted(self.inner.verify_tls12_signature(message, cert, dss), "client", &[cert], None)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.noted(self.inner.verify_tls13_signature(message, cert, dss), "client", &[cert], None)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn chain<'a>(first: &'a CertificateDer<'a>, rest: &'a [CertificateDer<'a>]) -> Vec<&'a CertificateDer<'a>> {
    core::iter::once(first).chain(rest).collect()
}

fn refusal(
    reason: &CertificateError,
    whose: &str,
    chain: &[&CertificateDer<'_>],
    name: Option<&ServerName<'_>>,
) -> Refusal {
    // The first one that is out of date; any other reason is the peer's own certificate's.
    let at = chain.iter().position(|certificate| is_expiry_of(reason, certificate)).unwrap_or(0);
    let certificate = chain.get(at).map(|certificate| describe(certificate)).unwrap_or_default();
    let which = match at {
        0 => format!("the {whose}'s certificate ({certificate})"),
        _ => format!("the certificate no. {} of the {whose}'s chain ({certificate})", at + 1),
    };
    Refusal { which, why: describe_reason(reason, whose, chain, name) }
}
