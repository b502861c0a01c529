//! A server of TLS that is not ours.

use keepbeat_core::client::{ClientConfigBuilder, LinkState};
use keepbeat_core::wire::Frame;
use keepbeat_core::wire::beat::Beat;

use super::pki::{ADDRESS, Authority, NAME};
use super::{Raw, client, encoded, large};

const MB: usize = 1 << 20;

/// A server on rustls's own buffers. What it says is written by the test.
pub(crate) struct Foreign {
    pub(crate) tls: rustls::ServerConnection,
    authority: Authority,
    plain: Vec<u8>,
    wire: Beat,
    pub(crate) heard_the_end: bool,
}

impl Foreign {
    pub(crate) fn new() -> Self {
        use keepbeat_core::wire::Wire;
        use rustls::pki_types::pem::PemObject;
        let authority = Authority::new("Test CA");
        let identity = authority.identity(NAME);
        let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![rustls::pki_types::CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
                rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            );
        let tls = rustls::ServerConnection::new(config.unwrap().into()).unwrap();
        Self { tls, authority, plain: Vec::new(), wire: Beat::new(&large(MB)), heard_the_end: false }
    }

    pub(crate) fn client(&self) -> ClientConfigBuilder<Beat> {
        client().tls(self.authority.client().build().unwrap())
    }

    /// A client that is up at this server.
    pub(crate) fn welcomed(&mut self) -> Raw {
        let mut raw = Raw::open(self.client(), Some(ADDRESS));
        self.carry(&mut raw);
        assert!(matches!(self.frames(&mut raw)[..], [Frame::Hello(_)]));
        let welcome = self.seal(&encoded(&Frame::Welcome(Box::new(super::welcome()))));
        raw.hear(&welcome);
        assert!(matches!(raw.client.state(), LinkState::Up { .. }), "{:?}", raw.events);
        self.frames(&mut raw);
        raw
    }

    /// Lets both say what they have to say.
    pub(crate) fn carry(&mut self, raw: &mut Raw) {
        loop {
            self.read(&raw.take_said());
            let answer = self.written();
            if answer.is_empty() {
                return;
            }
            raw.hear(&answer);
        }
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        use std::io::Read;
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).unwrap();
            let state = self.tls.process_new_packets().unwrap();
            self.heard_the_end |= state.peer_has_closed();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plain).unwrap();
            self.plain.extend(plain);
        }
    }

    /// The frames that the client said.
    pub(crate) fn frames(&mut self, raw: &mut Raw) -> Vec<Frame> {
        use keepbeat_core::wire::Wire;
        self.read(&raw.take_said());
        let plain = std::mem::take(&mut self.plain);
        let (mut input, mut frames) = (&plain[..], Vec::new());
        while let Some(frame) = self.wire.decode(&mut input).unwrap() {
            if matches!(frame, Frame::Hello(_)) {
                self.wire.established();
            }
            frames.push(frame);
        }
        frames
    }

    /// These bytes as they go over the wire.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        use std::io::Write;
        self.tls.writer().write_all(plain).unwrap();
        self.written()
    }

    pub(crate) fn written(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }
}
