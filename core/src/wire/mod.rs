//! BYTES <-> FRAMES: what every protocol has in common, and one folder per protocol.
//!
//! A [`Wire`] turns the bytes of one connection into [`Frame`]s and back. It knows its protocol's limits and nothing
//! about time, liveness, sessions or sockets. To bring your own protocol, implement [`Wire`] and hand it to
//! [`Client`](crate::client::Client) or [`Server`](crate::server::Server).

pub mod beat;
mod frame;
mod tx;
pub mod websocket;

pub use crate::session::Token;
pub use frame::{
    Credentials, DETAIL_LIMIT, DEVICE_ID_LIMIT, DeviceId, DeviceIdError, Frame, Goodbye, Hello, Reason, Welcome,
    WireError,
};
pub use tx::Tx;

/// The highest protocol version that this crate speaks, for wires that carry one.
pub const PROTOCOL_VERSION: u8 = 1;

/// The framing of one connection, for either side.
///
/// A fresh value is made for every connection and dies with it.
pub trait Wire {
    /// What all connections of this protocol share.
    type Config: Clone;

    /// The framing of a connection that was just opened. Until [`Wire::established`] is called, the limit for
    /// handshake frames holds.
    fn new(config: &Self::Config) -> Self;

    /// Takes one frame from the front of `input` and moves `input` past the bytes used.
    ///
    /// `Ok(None)` means that all of `input` was used and the frame is not complete yet; the wire keeps what it needs.
    /// How the bytes are split between calls makes no difference. Memory is reserved for bytes that came, not for
    /// bytes that a length field announces.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection cannot be used further. Nothing after the error is decoded.
    fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError>;

    /// Whether part of a frame has arrived and the rest is outstanding.
    fn mid_frame(&self) -> bool;

    /// Appends `frame` to what is to be transmitted.
    fn encode(&self, frame: &Frame, tx: &mut Tx);

    /// The handshake is done: the limit for established connections holds from the next byte on.
    fn established(&mut self);

    /// The largest message payload that [`Wire::decode`] accepts on an established connection, in bytes.
    fn message_limit(&self) -> usize;
}
