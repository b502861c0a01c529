//! MQTT 3.1.1 and 5.0: the packets, of both roles, by hand.
//!
//! ```text
//!   bytes ── Incoming ──> Packet ── Outgoing ──> bytes
//!               │            │           │
//!            Violation     check     EncodeError      which of the standard's rules, and its reason code
//! ```
//!
//! [`Incoming`] turns the peer's bytes into [`Packet`]s, [`Outgoing`] turns ours into bytes. Both ask the same `check` whether a
//! packet may say what it says, so nothing is written that would not be read. A packet that came whole is borrowed from what
//! it came in; `into_owned` copies it. Nothing in here knows about sessions, time or sockets: what must be answered, sent again or
//! awaited is up to those who use it.
//!
//! | file | what it holds |
//! |---|---|
//! | `incoming` | bytes -> packets: fixed headers, limits, packets in pieces |
//! | `outgoing` | packets -> bytes: the peer's limit |
//! | `packet`, `types` | the fifteen packets and their parts |
//! | `decode`, `encode` | the body of each, read and written |
//! | `check`, `rule` | what a packet may say; every rule with its section and reason code |
//! | `property`, `properties` | what MQTT 5.0 adds to packets, and where |
//! | `reason` | reason codes, and where |
//! | `text`, `payload`, `fields` | strings, topics and filters; bytes of the application; fields as they are on the wire |

mod check;
mod client;
mod decode;
mod encode;
mod fields;
mod incoming;
mod message;
mod outgoing;
mod packet;
mod payload;
mod properties;
mod property;
mod reason;
mod rule;
mod text;
mod types;

pub use super::Role;
pub use client::{Authentication, Exchange, Memory, Mqtt, MqttConfig, MqttConfigBuilder, MqttConfigError};
pub use incoming::Incoming;
pub use message::Answer;
pub use outgoing::{Outgoing, PACKET_LIMIT};
pub use packet::{
    Ack, ConnAck, Connect, Notice, Packet, Publish, RetainHandling, SubAck, Subscribe, Subscription, Unsubscribe, Will,
};
pub use payload::Payload;
pub use properties::Properties;
pub use property::{Property, SubscriptionId};
pub use reason::ReasonCode;
pub use rule::{EncodeError, Rule, Violation};
pub use text::{FIELD_LIMIT, Filter, Text, Topic};
pub use types::{PacketId, PacketType, Qos, Version};

#[cfg(test)]
mod tests;
