//! BYTES <-> FRAMES: what every protocol has in common, and one folder per protocol.
//!
//! A [`Wire`] turns the bytes of one connection into [`Frame`]s and back. It knows its protocol's limits and nothing
//! about time, liveness, sessions or sockets. To bring your own protocol, implement [`Wire`] and hand it to
//! [`Client`](crate::client::Client) or [`Server`](crate::server::Server).

mod any;
pub mod beat;
mod frame;
pub mod mqtt;
mod tx;
mod varint;
pub mod websocket;

pub use crate::session::{Message, Origin, Ticket, Token};
pub use any::{Any, AnyConfig};
pub use frame::{
    Credentials, DETAIL_LIMIT, DEVICE_ID_LIMIT, DeviceId, DeviceIdError, Frame, Goodbye, Hello, Reason, Welcome,
    WireError,
};
pub use tx::Tx;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use self::websocket::upgrade::Offer;
use crate::entropy::Entropy;
use crate::session::{Change, StoreKey};
use crate::tunnel::HostPort;

/// The highest protocol version that this crate speaks, for wires that carry one.
pub const PROTOCOL_VERSION: u8 = 1;

/// Which end of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We opened it.
    Client,
    /// We accepted it.
    Server,
}

/// The connection that a [`Wire`] is made for.
#[expect(missing_debug_implementations, reason = "entropy is a secret")]
pub struct Opening<'a> {
    /// Our end of it.
    pub role: Role,
    /// A client's: the server, if the driver named it.
    pub server: Option<&'a HostPort>,
    /// Whether TLS is below.
    pub secure: bool,
    /// A client's: whether what it must not forget survives the process.
    pub durable: bool,
    /// For keys and names that nobody can guess.
    pub entropy: &'a mut dyn Entropy,
}

/// When an application is done with a message of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The protocol does not ask.
    Unasked,
    /// When it takes the message.
    WhenTaken,
    /// When it says so.
    WhenSaid,
}

/// The framing of one connection, for either side.
///
/// A fresh value is made for every connection and dies with it.
pub trait Wire {
    /// What all connections of this protocol share.
    type Config: Clone;

    /// What a client's connection knows that the next one must know, too; `()` for protocols in which the numbers of messages say
    /// it all.
    type Memory: Default;

    /// The framing of a connection that was just opened. Until [`Wire::established`] is called, the limit for
    /// handshake frames holds. `memory` is from the connection before, if there was one.
    fn new(config: &Self::Config, opening: Opening<'_>, memory: Self::Memory) -> Self;

    /// The connection is over: what the next one must know. Default: nothing.
    fn remember(&mut self) -> Self::Memory {
        Self::Memory::default()
    }

    /// Takes one frame from the front of `input` and moves `input` past the bytes used.
    ///
    /// `Ok(None)` means that all of `input` was used and the frame is not complete yet; the wire keeps what it needs.
    /// How the bytes are split between calls makes no difference. Memory is reserved for bytes that came, not for
    /// bytes that a length field announces. What the protocol answers by itself is appended to `tx`.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection cannot be used further. Nothing after the error is decoded.
    fn decode(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError>;

    /// Whether part of a frame has arrived and the rest is outstanding.
    fn mid_frame(&self) -> bool;

    /// Of a frame that is unfinished: whether it was when this was last asked. `others` ended since. Default: not if others
    /// did.
    fn is_same_frame(&mut self, others: bool) -> bool {
        !others
    }

    /// Appends `frame` to what is to be transmitted.
    fn encode(&mut self, frame: &Frame, tx: &mut Tx);

    /// Appends [`Frame::Data`]. Default: as any other frame.
    fn encode_message(&mut self, data: &Frame, origin: Origin, tx: &mut Tx) {
        let _ = origin;
        self.encode(data, tx);
    }

    /// Moves what has changed of the memory, where it is to survive the process, to the end of `changes`. Default: nothing has.
    fn take_changes(&mut self, changes: &mut Vec<Change>) {
        let _ = changes;
    }

    /// Puts an entry of a store back into a memory. `false` if it has not the form that [`Wire::take_changes`] gave it. Default:
    /// nothing was given.
    fn recall(memory: &mut Self::Memory, key: StoreKey, value: &Bytes) -> bool {
        let _ = (memory, key, value);
        false
    }

    /// A message comes back from a store, and may have left before. Default: that makes no difference.
    fn recall_message(memory: &mut Self::Memory, ticket: Ticket, message: &Message) {
        let _ = (memory, ticket, message);
    }

    /// Whether a message, once accepted, must survive the process, if anything does. Default: it must.
    fn is_durable(config: &Self::Config, message: &Message) -> bool {
        let _ = (config, message);
        true
    }

    /// Whether another message may leave now, which has this ticket. Default: it may.
    fn takes_message(&self, next: Option<Ticket>) -> bool {
        let _ = next;
        true
    }

    /// Appends the next piece of a message of which [`Wire::encode`] appended only the front, so that beats need not wait for
    /// all of it. `false` if there is none; then the next message may follow. Default: messages go whole.
    fn encode_rest(&mut self, tx: &mut Tx) -> bool {
        let _ = tx;
        false
    }

    /// Whether the beat that was encoded last is kept back until the message in front of it is written by
    /// [`Wire::encode_rest`]. Default: beats are not.
    fn holds_beat(&self) -> bool {
        false
    }

    /// Whether the peer says nothing while it reads a long message. A beat that waits behind one has not waited as long as that moves.
    /// Default: no, it shows that it lives.
    fn reads_in_silence(&self) -> bool {
        false
    }

    /// How long the sender of a long frame can do without a sign of life from us. Default: not at all.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Appends a sign of life, if [`Frame::Ack`] is none. Default: it is one.
    fn show_life(&mut self, tx: &mut Tx) {
        let _ = tx;
    }

    /// The handshake is done: the limit for established connections holds from the next byte on.
    fn established(&mut self);

    /// Whether the peer says which messages arrived ([`Frame::Ack`]). If not, a message counts as acknowledged when it has
    /// left. Default: it does.
    fn acknowledges(&self) -> bool {
        true
    }

    /// All that was appended has left: the newest message that is settled by that, with all before it. Default: none is.
    fn left(&mut self) -> Option<u64> {
        None
    }

    /// The number of a message that the peer refused, or will never take, and the protocol's code for why. It counts as settled
    /// then. Default: none.
    fn take_refused(&mut self) -> Option<(u64, u16)> {
        None
    }

    /// The application is done with the messages that came, up to this number. Default: that is nobody's concern.
    fn taken(&mut self, through: u64, tx: &mut Tx) {
        let _ = (through, tx);
    }

    /// The same while there is no connection: it is up to the memory. What that changes goes to the end of `changes`. Default: that is
    /// nobody's concern.
    fn taken_between(memory: &mut Self::Memory, through: u64, changes: &mut Vec<Change>) {
        let _ = (memory, through, changes);
    }

    /// When the application is done with a message, for [`Wire::taken`]. Default: nobody asks.
    fn done_with_messages(config: &Self::Config) -> Done {
        let _ = config;
        Done::Unasked
    }

    /// Whether a server that lets another client of the same id in ends our connection without a word. Default: no, it says so.
    fn replaces_without_a_word(config: &Self::Config) -> bool {
        let _ = config;
        false
    }

    /// From now on, only the peer's last word is of interest: messages that are decoded go nowhere. Default: that is nobody's
    /// concern.
    fn end(&mut self) {}

    /// What is wrong with a message that the application hands in; such a message is not accepted. Default: nothing, if it is
    /// bytes or a text.
    fn objection(config: &Self::Config, message: &Message) -> Option<&'static str> {
        let _ = config;
        (!message.is_plain()).then_some("it is for a link that speaks MQTT")
    }

    /// How long a message is of use, if it says so: one that has not left by then is dropped. Default: none does.
    fn lifetime(config: &Self::Config, message: &Message) -> Option<Duration> {
        let _ = (config, message);
        None
    }

    /// Whether a client may go on with a session without having been given its token. Default: it may not.
    fn resumes_without_token(config: &Self::Config) -> bool {
        let _ = config;
        false
    }

    /// The shortest interval that a server may make of a client's wish. Default: a tenth of it.
    fn shortest_interval(config: &Self::Config, wish: Duration) -> Duration {
        let _ = config;
        wish / 10
    }

    /// Whether beats ask anything of the peer ([`Frame::Beat`]). If not, it is judged by what it says by itself. Default: they do.
    fn beats(&self) -> bool {
        true
    }

    /// Whether the peer keeps a session, to go on with on the next connection. Default: it does.
    fn keeps_session(&self) -> bool {
        true
    }

    /// Whether both sides have said their last word: when what waits has left, the server hangs up. Default: no protocol
    /// between the two says so, and whoever has said goodbye waits for the other to hang up.
    fn is_closed(&self) -> bool {
        false
    }

    /// A server's: the request with which the client asked for the protocol, once, if the protocol has one.
    fn offer(&mut self) -> Option<Box<Offer>> {
        None
    }

    /// The largest message payload that [`Wire::decode`] accepts on an established connection, in bytes.
    fn message_limit(config: &Self::Config) -> usize;

    /// Whether a client's connections must know the name of the server. Default: no.
    fn needs_server_name(config: &Self::Config) -> bool {
        let _ = config;
        false
    }

    /// Whether the protocol can carry these credentials. Default: any.
    fn takes_credentials(config: &Self::Config, credentials: &Credentials) -> bool {
        let _ = (config, credentials);
        true
    }

    /// How long a connection may be idle before something on its usual way forgets it. Default: not known.
    fn idle_limit(config: &Self::Config) -> Option<Duration> {
        let _ = config;
        None
    }
}

/// The shortest time after which something on the usual way of one of these forgets a connection that says something only every
/// `interval`. `None` if that is often enough for all.
pub(crate) fn forgotten_after<'a, W: Wire>(
    interval: Duration,
    wires: impl IntoIterator<Item = &'a W::Config>,
) -> Option<Duration>
where
    W::Config: 'a,
{
    wires.into_iter().filter_map(W::idle_limit).min().filter(|limit| interval >= *limit)
}
