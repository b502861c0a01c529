//! One TLS connection in memory.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::Bytes;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};

use super::verify::Refusals;
use super::{TlsClient, TlsError, TlsInfo, TlsServer, TlsVersion};

/// The most plain bytes of one record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;
/// The most bytes of the peer that wait for the rest of their record or handshake message. A message has at most 64 KiB
/// (rustls); this leaves room for the record that ends it. Buffers grow by doubling: 256 KiB is the most they hold.
const WAITING: usize = 64 * 1024 + 2 * RECORD;

/// One TLS connection: bytes of the socket in, bytes for the socket out.
///
/// It uses rustls without rustls's buffers, which hold 4 KiB even when nothing is in them: here an idle connection holds
/// no buffer at all.
pub(crate) struct Tls {
    session: Session,
    refusals: Option<Arc<Refusals>>,
    /// What the peer sent of a record or handshake message that is not whole yet.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// How many of `outgoing` the socket took.
    sent: usize,
    closed: bool,
    peer_closed: bool,
    failed: Option<TlsError>,
}

enum Session {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl Tls {
    /// A connection to `host`, a DNS name or an IP address. Its first bytes are ready in `transmit`.
    pub(crate) fn client(config: &TlsClient, host: &str) -> Result<Self, TlsError> {
        let name = config.name_for(host)?;
        let session = UnbufferedClientConnection::new(Arc::clone(&config.config), name);
        let session = session.map_err(|error| TlsError::Other(error.to_string()))?;
        let mut tls = Self::new(Session::Client(Box::new(session)), config.refusals.clone());
        // The hello. Nothing was received that could end up as plain bytes.
        tls.drive(&Want::Nothing, &mut Vec::new())?;
        Ok(tls)
    }

    /// A connection that was accepted.
    pub(crate) fn server(config: &TlsServer) -> Result<Self, TlsError> {
        let session = UnbufferedServerConnection::new(Arc::clone(&config.config));
        let session = session.map_err(|error| TlsError::Other(error.to_string()))?;
        Ok(Self::new(Session::Server(Box::new(session)), config.refusals.clone()))
    }

    fn new(session: Session, refusals: Option<Arc<Refusals>>) -> Self {
        Self {
            session,
            refusals,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            closed: false,
            peer_closed: false,
            failed: None,
        }
    }

    /// Takes bytes of the socket; plain bytes are appended to `plain`, never more than the peer sent. What comes after
    /// its close_notify is dropped (RFC 8446 section 6.1).
    ///
    /// # Errors
    /// What ended the connection; the same again when called again. `transmit` may then hold the alert that tells the
    /// peer.
    pub(crate) fn receive(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        for part in input.chunks(RECORD) {
            if self.peer_closed {
                break;
            }
            self.incoming.extend_from_slice(part);
            self.drive(&Want::Nothing, plain)?;
            if self.incoming.len() > WAITING {
                return Err(self.fail(TlsError::Other("the peer sends a handshake message without end".to_string())));
            }
        }
        Ok(())
    }

    /// The bytes for the socket.
    pub(crate) fn transmit(&self) -> &[u8] {
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// The socket took so many of `transmit`. When it took all, the buffer is freed.
    pub(crate) fn written(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count);
        if self.sent >= self.outgoing.len() {
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
    }

    /// Encrypts from `plain` and returns how many bytes it took: at most 16 KiB, and none while the handshake runs, while
    /// earlier bytes have not left, or after the end.
    pub(crate) fn write(&mut self, plain: &[u8]) -> usize {
        if plain.is_empty() || self.closed || self.failed.is_some() || !self.is_open() || !self.transmit().is_empty() {
            return 0;
        }
        let plain = plain.get(..RECORD).unwrap_or(plain);
        match self.drive(&Want::Encrypt(plain), &mut Vec::new()) {
            Ok(true) => plain.len(),
            // The keys are used up, and TLS 1.2 cannot change them: it takes a new connection.
            Ok(false) => {
                self.close();
                0
            }
            // Kept for the next `receive`.
            Err(_) => 0,
        }
    }

    /// Whether the handshake is done. With TLS 1.3 a client is done before the server has judged the client's
    /// certificate: a refusal comes with a later `receive`.
    pub(crate) fn is_open(&self) -> bool {
        !self.session.common().is_handshaking()
    }

    /// Queues close_notify; nothing can be written after it. While the handshake runs there is nothing to tell.
    pub(crate) fn close(&mut self) {
        if mem::replace(&mut self.closed, true) || self.failed.is_some() || !self.is_open() {
            return;
        }
        // If it fails, that is kept for the next `receive`.
        let _done = self.drive(&Want::Close, &mut Vec::new());
    }

    /// Whether a record or handshake message of the peer has begun and is not whole yet.
    pub(crate) const fn mid_record(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Whether the peer sent close_notify: what came until then is all that it sent. An end of the socket without it may
    /// be a cut by somebody else.
    pub(crate) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// What the handshake agreed on, once it is done.
    pub(crate) fn info(&self) -> Option<TlsInfo> {
        if !self.is_open() {
            return None;
        }
        let common = self.session.common();
        Some(TlsInfo {
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            version: match common.protocol_version()? {
                ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
                _ => TlsVersion::V1_3,
            },
            cipher_suite: common.negotiated_cipher_suite()?.suite().as_str().unwrap_or("unknown"),
            peer_certificate: common
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| Bytes::copy_from_slice(certificate)),
        })
    }

    /// How many bytes its own buffers have room for.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }

    /// Lets rustls take what is in `incoming` and say what it has to say, then does what is wanted. Returns whether that
    /// could be done.
    fn drive(&mut self, want: &Want<'_>, plain: &mut Vec<u8>) -> Result<bool, TlsError> {
        let mut used = 0;
        let end = loop {
            let input = self.incoming.get_mut(used..).unwrap_or_default();
            let (discard, step) = self.session.step(input, want, &mut self.outgoing, plain);
            used += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Done(done)) => break Ok(done),
                Err(error) => break Err(error),
            }
        };
        if self.peer_closed || used >= self.incoming.len() {
            self.incoming = Vec::new();
        } else {
            self.incoming.drain(..used);
        }
        end.map_err(|error| {
            let refusal = match (&error, &self.refusals) {
                (Error::InvalidCertificate(_), Some(refusals)) => refusals.take(),
                _ => None,
            };
            let first = self.session.common().protocol_version().is_none();
            self.fail(TlsError::of(error, refusal, self.session.peer(), first))
        })
    }

    /// Keeps the error, and the alert that rustls has for the peer.
    fn fail(&mut self, error: TlsError) -> TlsError {
        self.incoming = Vec::new();
        // As long as rustls wants to write, it does not look at the input.
        while self.session.common().wants_write() {
            let (_, step) = self.session.step(&mut [], &Want::Nothing, &mut self.outgoing, &mut Vec::new());
            if !matches!(step, Ok(Step::Again)) {
                break;
            }
        }
        self.failed = Some(error.clone());
        error
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("open", &self.is_open())
            .field("unsent", &self.transmit().len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What to do once rustls lets us.
enum Want<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    Close,
}

enum Step {
    /// Progress: there may be more.
    Again,
    PeerClosed,
    /// No more to do without more input; whether the wish was granted.
    Done(bool),
}

impl Session {
    fn common(&self) -> &CommonState {
        match self {
            Self::Client(session) => session,
            Self::Server(session) => session,
        }
    }

    /// Who is at the other end.
    const fn peer(&self) -> &'static str {
        match self {
            Self::Client(_) => "server",
            Self::Server(_) => "client",
        }
    }

    /// One step; also returns how many bytes of `input` are done with.
    fn step(
        &mut self,
        input: &mut [u8],
        want: &Want<'_>,
        out: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> (usize, Result<Step, Error>) {
        match self {
            Self::Client(session) => settle(session.process_tls_records(input), want, out, plain),
            Self::Server(session) => settle(session.process_tls_records(input), want, out, plain),
        }
    }
}

fn settle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    want: &Want<'_>,
    out: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut records)) => loop {
            match records.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            put(out, |room| {
                data.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
                    EncodeError::AlreadyEncoded => None,
                })
            });
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => Ok(Step::Done(match want {
            Want::Nothing => false,
            Want::Encrypt(plain) => put(out, |room| traffic.encrypt(plain, room).map_err(required)),
            Want::Close => put(out, |room| traffic.queue_close_notify(room).map_err(required)),
        })),
        // The server's configuration allows none.
        Ok(ConnectionState::ReadEarlyData(_)) => Err(Error::General("early data came in".to_string())),
        // Blocked until the peer goes on, or closed on both sides.
        Ok(_) => Ok(Step::Done(false)),
    };
    (discard, step)
}

const fn required(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends to `out` what `fill` writes; it says how much room it needs if it has too little. Returns whether it did.
fn put(out: &mut Vec<u8>, mut fill: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>) -> bool {
    let start = out.len();
    let mut room = 0;
    // First without room, only to be told.
    for _ in 0..2 {
        out.resize(start + room, 0);
        match fill(out.get_mut(start..).unwrap_or_default()) {
            Ok(filled) => {
                out.truncate(start + filled);
                return true;
            }
            Err(Some(required)) => room = required,
            Err(None) => break,
        }
    }
    out.truncate(start);
    false
}
