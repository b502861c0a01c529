//! One of this crate's protocols, chosen when a connection is made.

use alloc::boxed::Box;
use core::time::Duration;

use super::beat::{Beat, BeatConfig};
use super::websocket::upgrade::Offer;
use super::websocket::{WebSocket, WebSocketConfig};
use super::{Credentials, Frame, Opening, Tx, Wire, WireError};

/// The native protocol or WebSocket, whatever the configuration says: what the adapters drive.
#[derive(Debug)]
pub enum Any {
    /// The native protocol.
    Beat(Beat),
    /// WebSocket.
    WebSocket(WebSocket),
}

/// The protocol and its settings. Default: the native one, with its defaults.
#[derive(Debug, Clone)]
pub enum AnyConfig {
    /// The native protocol.
    Beat(BeatConfig),
    /// WebSocket.
    WebSocket(WebSocketConfig),
}

impl Default for AnyConfig {
    fn default() -> Self {
        Self::Beat(BeatConfig::default())
    }
}

impl From<BeatConfig> for AnyConfig {
    fn from(config: BeatConfig) -> Self {
        Self::Beat(config)
    }
}

impl From<WebSocketConfig> for AnyConfig {
    fn from(config: WebSocketConfig) -> Self {
        Self::WebSocket(config)
    }
}

impl Wire for Any {
    type Config = AnyConfig;

    fn new(config: &AnyConfig, opening: Opening<'_>) -> Self {
        match config {
            AnyConfig::Beat(config) => Self::Beat(Beat::new(config)),
            AnyConfig::WebSocket(config) => Self::WebSocket(WebSocket::new(config, opening)),
        }
    }

    #[inline]
    fn decode(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        match self {
            Self::Beat(beat) => beat.decode(input),
            Self::WebSocket(websocket) => websocket.decode(input, tx),
        }
    }

    fn mid_frame(&self) -> bool {
        match self {
            Self::Beat(beat) => beat.mid_frame(),
            Self::WebSocket(websocket) => websocket.mid_frame(),
        }
    }

    #[inline]
    fn encode(&mut self, frame: &Frame, tx: &mut Tx) {
        match self {
            Self::Beat(beat) => beat.encode(frame, tx),
            Self::WebSocket(websocket) => websocket.encode(frame, tx),
        }
    }

    fn encode_rest(&mut self, tx: &mut Tx) -> bool {
        match self {
            Self::Beat(_) => false,
            Self::WebSocket(websocket) => websocket.encode_rest(tx),
        }
    }

    fn is_same_frame(&mut self, others: bool) -> bool {
        match self {
            Self::Beat(beat) => beat.is_same_frame(others),
            Self::WebSocket(websocket) => websocket.is_same_frame(others),
        }
    }

    fn holds_beat(&self) -> bool {
        match self {
            Self::Beat(_) => false,
            Self::WebSocket(websocket) => websocket.holds_beat(),
        }
    }

    fn keeps_session(&self) -> bool {
        match self {
            Self::Beat(_) => true,
            Self::WebSocket(websocket) => websocket.keeps_session(),
        }
    }

    fn patience(&self) -> Duration {
        match self {
            Self::Beat(beat) => beat.patience(),
            Self::WebSocket(websocket) => websocket.patience(),
        }
    }

    fn show_life(&mut self, tx: &mut Tx) {
        match self {
            Self::Beat(beat) => beat.show_life(tx),
            Self::WebSocket(websocket) => websocket.show_life(tx),
        }
    }

    fn established(&mut self) {
        match self {
            Self::Beat(beat) => beat.established(),
            Self::WebSocket(websocket) => websocket.established(),
        }
    }

    fn acknowledges(&self) -> bool {
        match self {
            Self::Beat(_) => true,
            Self::WebSocket(websocket) => websocket.acknowledges(),
        }
    }

    fn beats(&self) -> bool {
        match self {
            Self::Beat(_) => true,
            Self::WebSocket(websocket) => websocket.beats(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Beat(_) => false,
            Self::WebSocket(websocket) => websocket.is_closed(),
        }
    }

    fn offer(&mut self) -> Option<Box<Offer>> {
        match self {
            Self::Beat(_) => None,
            Self::WebSocket(websocket) => websocket.offer(),
        }
    }

    fn message_limit(config: &AnyConfig) -> usize {
        match config {
            AnyConfig::Beat(config) => config.message_limit(),
            AnyConfig::WebSocket(config) => WebSocket::message_limit(config),
        }
    }

    fn needs_server_name(config: &AnyConfig) -> bool {
        match config {
            AnyConfig::Beat(_) => false,
            AnyConfig::WebSocket(config) => WebSocket::needs_server_name(config),
        }
    }

    fn takes_credentials(config: &AnyConfig, credentials: &Credentials) -> bool {
        match config {
            AnyConfig::Beat(_) => true,
            AnyConfig::WebSocket(config) => WebSocket::takes_credentials(config, credentials),
        }
    }

    fn idle_limit(config: &AnyConfig) -> Option<Duration> {
        match config {
            AnyConfig::Beat(_) => None,
            AnyConfig::WebSocket(config) => WebSocket::idle_limit(config),
        }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Any>() <= 48, "what an idle connection does not need is in boxes");
