//! One of this crate's protocols, chosen when a connection is made.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::beat::{Beat, BeatConfig};
use super::mqtt::{Memory, Mqtt, MqttConfig};
use super::websocket::upgrade::Offer;
use super::websocket::{WebSocket, WebSocketConfig};
use super::{Credentials, Done, Frame, Message, Opening, Origin, Ticket, Tx, Wire, WireError};
use crate::session::{Change, StoreKey};

/// The native protocol or WebSocket, whatever the configuration says: what the adapters drive.
#[derive(Debug)]
pub enum Any {
    /// The native protocol.
    Beat(Beat),
    /// WebSocket.
    WebSocket(WebSocket),
    /// MQTT.
    Mqtt(Box<Mqtt>),
}

/// The protocol and its settings. Default: the native one, with its defaults.
#[derive(Debug, Clone)]
pub enum AnyConfig {
    /// The native protocol.
    Beat(BeatConfig),
    /// WebSocket.
    WebSocket(WebSocketConfig),
    /// MQTT, which clients speak.
    Mqtt(MqttConfig),
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

impl From<MqttConfig> for AnyConfig {
    fn from(config: MqttConfig) -> Self {
        Self::Mqtt(config)
    }
}

impl Wire for Any {
    type Config = AnyConfig;
    type Memory = Option<Box<Memory>>;

    fn new(config: &AnyConfig, opening: Opening<'_>, memory: Self::Memory) -> Self {
        match config {
            AnyConfig::Beat(config) => Self::Beat(Beat::new(config)),
            AnyConfig::WebSocket(config) => Self::WebSocket(WebSocket::new(config, opening, ())),
            AnyConfig::Mqtt(config) => Self::Mqtt(Box::new(Mqtt::new(config, opening, memory))),
        }
    }

    #[inline]
    fn decode(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        match self {
            Self::Beat(beat) => beat.decode(input),
            Self::WebSocket(websocket) => websocket.decode(input, tx),
            Self::Mqtt(mqtt) => mqtt.decode(input, tx),
        }
    }

    fn mid_frame(&self) -> bool {
        match self {
            Self::Beat(beat) => beat.mid_frame(),
            Self::WebSocket(websocket) => websocket.mid_frame(),
            Self::Mqtt(mqtt) => mqtt.mid_frame(),
        }
    }

    #[inline]
    fn encode(&mut self, frame: &Frame, tx: &mut Tx) {
        match self {
            Self::Beat(beat) => beat.encode(frame, tx),
            Self::WebSocket(websocket) => websocket.encode(frame, tx),
            Self::Mqtt(mqtt) => mqtt.encode(frame, tx),
        }
    }

    fn encode_rest(&mut self, tx: &mut Tx) -> bool {
        match self {
            Self::Beat(_) | Self::Mqtt(_) => false,
            Self::WebSocket(websocket) => websocket.encode_rest(tx),
        }
    }

    fn is_same_frame(&mut self, others: bool) -> bool {
        match self {
            Self::Beat(beat) => beat.is_same_frame(others),
            Self::WebSocket(websocket) => websocket.is_same_frame(others),
            Self::Mqtt(mqtt) => mqtt.is_same_frame(others),
        }
    }

    fn reads_in_silence(&self) -> bool {
        matches!(self, Self::Mqtt(_))
    }

    fn holds_beat(&self) -> bool {
        match self {
            Self::Beat(_) | Self::Mqtt(_) => false,
            Self::WebSocket(websocket) => websocket.holds_beat(),
        }
    }

    fn keeps_session(&self) -> bool {
        match self {
            Self::Beat(_) | Self::Mqtt(_) => true,
            Self::WebSocket(websocket) => websocket.keeps_session(),
        }
    }

    fn patience(&self) -> Duration {
        match self {
            Self::Beat(beat) => beat.patience(),
            Self::WebSocket(websocket) => websocket.patience(),
            Self::Mqtt(mqtt) => mqtt.patience(),
        }
    }

    fn show_life(&mut self, tx: &mut Tx) {
        match self {
            Self::Beat(beat) => beat.show_life(tx),
            Self::WebSocket(websocket) => websocket.show_life(tx),
            Self::Mqtt(mqtt) => mqtt.show_life(tx),
        }
    }

    fn established(&mut self) {
        match self {
            Self::Beat(beat) => beat.established(),
            Self::WebSocket(websocket) => websocket.established(),
            Self::Mqtt(mqtt) => mqtt.established(),
        }
    }

    fn acknowledges(&self) -> bool {
        match self {
            Self::Beat(_) | Self::Mqtt(_) => true,
            Self::WebSocket(websocket) => websocket.acknowledges(),
        }
    }

    fn remember(&mut self) -> Self::Memory {
        match self {
            Self::Beat(_) | Self::WebSocket(_) => None,
            Self::Mqtt(mqtt) => mqtt.remember(),
        }
    }

    fn encode_message(&mut self, data: &Frame, origin: Origin, tx: &mut Tx) {
        match self {
            Self::Beat(beat) => beat.encode(data, tx),
            Self::WebSocket(websocket) => websocket.encode(data, tx),
            Self::Mqtt(mqtt) => mqtt.encode_message(data, origin, tx),
        }
    }

    fn take_changes(&mut self, changes: &mut Vec<Change>) {
        if let Self::Mqtt(mqtt) = self {
            mqtt.take_changes(changes);
        }
    }

    fn taken_between(memory: &mut Self::Memory, through: u64, changes: &mut Vec<Change>) {
        Mqtt::taken_between(memory, through, changes);
    }

    fn recall(memory: &mut Self::Memory, key: StoreKey, value: &Bytes) -> bool {
        Mqtt::recall(memory, key, value)
    }

    fn recall_message(memory: &mut Self::Memory, ticket: Ticket, message: &Message) {
        Mqtt::recall_message(memory, ticket, message);
    }

    fn is_durable(config: &AnyConfig, message: &Message) -> bool {
        match config {
            AnyConfig::Beat(config) => Beat::is_durable(config, message),
            AnyConfig::WebSocket(config) => WebSocket::is_durable(config, message),
            AnyConfig::Mqtt(config) => Mqtt::is_durable(config, message),
        }
    }

    fn takes_message(&self, next: Option<Ticket>) -> bool {
        match self {
            Self::Beat(_) | Self::WebSocket(_) => true,
            Self::Mqtt(mqtt) => mqtt.takes_message(next),
        }
    }

    fn left(&mut self) -> Option<u64> {
        match self {
            Self::Beat(_) => None,
            Self::WebSocket(websocket) => websocket.left(),
            Self::Mqtt(mqtt) => mqtt.left(),
        }
    }

    fn take_refused(&mut self) -> Option<(u64, u16)> {
        match self {
            Self::Beat(_) | Self::WebSocket(_) => None,
            Self::Mqtt(mqtt) => mqtt.take_refused(),
        }
    }

    fn taken(&mut self, through: u64, tx: &mut Tx) {
        if let Self::Mqtt(mqtt) = self {
            mqtt.taken(through, tx);
        }
    }

    fn done_with_messages(config: &AnyConfig) -> Done {
        match config {
            AnyConfig::Beat(_) | AnyConfig::WebSocket(_) => Done::Unasked,
            AnyConfig::Mqtt(config) => Mqtt::done_with_messages(config),
        }
    }

    fn end(&mut self) {
        if let Self::Mqtt(mqtt) = self {
            mqtt.end();
        }
    }

    fn objection(config: &AnyConfig, message: &Message) -> Option<&'static str> {
        match config {
            AnyConfig::Beat(config) => Beat::objection(config, message),
            AnyConfig::WebSocket(config) => WebSocket::objection(config, message),
            AnyConfig::Mqtt(config) => Mqtt::objection(config, message),
        }
    }

    fn lifetime(config: &AnyConfig, message: &Message) -> Option<Duration> {
        match config {
            AnyConfig::Beat(_) | AnyConfig::WebSocket(_) => None,
            AnyConfig::Mqtt(config) => Mqtt::lifetime(config, message),
        }
    }

    fn replaces_without_a_word(config: &AnyConfig) -> bool {
        match config {
            AnyConfig::Beat(_) | AnyConfig::WebSocket(_) => false,
            AnyConfig::Mqtt(config) => Mqtt::replaces_without_a_word(config),
        }
    }

    fn resumes_without_token(config: &AnyConfig) -> bool {
        matches!(config, AnyConfig::Mqtt(_))
    }

    fn shortest_interval(config: &AnyConfig, wish: Duration) -> Duration {
        match config {
            AnyConfig::Beat(config) => Beat::shortest_interval(config, wish),
            AnyConfig::WebSocket(config) => WebSocket::shortest_interval(config, wish),
            AnyConfig::Mqtt(config) => Mqtt::shortest_interval(config, wish),
        }
    }

    fn beats(&self) -> bool {
        match self {
            Self::Beat(_) | Self::Mqtt(_) => true,
            Self::WebSocket(websocket) => websocket.beats(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Beat(_) => false,
            Self::WebSocket(websocket) => websocket.is_closed(),
            Self::Mqtt(mqtt) => mqtt.is_closed(),
        }
    }

    fn offer(&mut self) -> Option<Box<Offer>> {
        match self {
            Self::Beat(_) | Self::Mqtt(_) => None,
            Self::WebSocket(websocket) => websocket.offer(),
        }
    }

    fn message_limit(config: &AnyConfig) -> usize {
        match config {
            AnyConfig::Beat(config) => config.message_limit(),
            AnyConfig::WebSocket(config) => WebSocket::message_limit(config),
            AnyConfig::Mqtt(config) => Mqtt::message_limit(config),
        }
    }

    fn needs_server_name(config: &AnyConfig) -> bool {
        match config {
            AnyConfig::Beat(_) => false,
            AnyConfig::WebSocket(config) => WebSocket::needs_server_name(config),
            AnyConfig::Mqtt(config) => Mqtt::needs_server_name(config),
        }
    }

    fn takes_credentials(config: &AnyConfig, credentials: &Credentials) -> bool {
        match config {
            AnyConfig::Beat(_) => true,
            AnyConfig::WebSocket(config) => WebSocket::takes_credentials(config, credentials),
            AnyConfig::Mqtt(config) => Mqtt::takes_credentials(config, credentials),
        }
    }

    fn idle_limit(config: &AnyConfig) -> Option<Duration> {
        match config {
            AnyConfig::Beat(_) => None,
            AnyConfig::WebSocket(config) => WebSocket::idle_limit(config),
            AnyConfig::Mqtt(config) => Mqtt::idle_limit(config),
        }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Any>() <= 48, "what an idle connection does not need is in boxes");
