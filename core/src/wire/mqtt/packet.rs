//! The packets of both versions, and what is in them (MQTT 5.0, section 3).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::payload::Payload;
use super::properties::Properties;
use super::reason::ReasonCode;
use super::text::{Filter, Text, Topic};
use super::types::{PacketId, PacketType, Qos, Version};

/// One packet. What came whole is borrowed from what it came in.
// With a tag of its own: which packet it is takes fewer instructions to find out than from the values of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(u8)]
pub enum Packet<'a> {
    /// A client asks for a connection.
    Connect(Box<Connect<'a>>),
    /// A server answers that.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// A message of QoS 1 arrived.
    PubAck(Ack<'a>),
    /// A message of QoS 2 arrived.
    PubRec(Ack<'a>),
    /// Its sender knows that it arrived.
    PubRel(Ack<'a>),
    /// Its receiver has forgotten its identifier.
    PubComp(Ack<'a>),
    /// A client subscribes.
    Subscribe(Subscribe<'a>),
    /// A server answers that.
    SubAck(SubAck<'a>),
    /// A client ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// A server answers that.
    UnsubAck(SubAck<'a>),
    /// A client's beat.
    PingReq,
    /// The answer to it.
    PingResp,
    /// The sender's last packet.
    Disconnect(Notice<'a>),
    /// A step of an enhanced authentication (MQTT 5.0).
    Auth(Notice<'a>),
}

/// Asks for a connection (MQTT 5.0, section 3.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version of all packets of the connection.
    pub version: Version,
    /// Whether a session that the server holds is to be forgotten. In MQTT 3.1.1, the new one is forgotten in the end, too.
    pub clean_start: bool,
    /// After so many seconds without a packet from the client, half as many more granted, the server closes the connection. 0: never.
    pub keep_alive: u16,
    /// Of the connection.
    pub properties: Properties<'a>,
    /// Of whom the session is. Empty: the server makes one up.
    pub client_id: Text<'a>,
    /// What the server publishes if the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// Who the client is.
    pub user_name: Option<Text<'a>>,
    /// How it proves that; at most 65,535 bytes.
    pub password: Option<Payload<'a>>,
}

/// What the server publishes if a client ends without a word (MQTT 5.0, section 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will<'a> {
    /// The QoS at which it is published.
    pub qos: Qos,
    /// Whether the server keeps it for those who subscribe later.
    pub retain: bool,
    /// Of the message.
    pub properties: Properties<'a>,
    /// Where it is published.
    pub topic: Topic<'a>,
    /// The message, at most 65,535 bytes.
    pub payload: Payload<'a>,
}

/// Answers a CONNECT (MQTT 5.0, section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server goes on with a session that it held.
    pub session_present: bool,
    /// Whether the client is connected.
    pub reason: ReasonCode,
    /// What holds for the connection.
    pub properties: Properties<'a>,
}

/// A message (MQTT 5.0, section 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether this may be sent for the second time. Never with QoS 0.
    pub dup: bool,
    /// How surely it arrives.
    pub qos: Qos,
    /// To a server: keep it for those who subscribe later. To a client: it was kept.
    pub retain: bool,
    /// Where it is published; `None` (MQTT 5.0) if the topic alias among the properties says it.
    pub topic: Option<Topic<'a>>,
    /// Names the message until it is acknowledged; with QoS 1 and 2, and only then.
    pub packet_id: Option<PacketId>,
    /// Of the message.
    pub properties: Properties<'a>,
    /// The message.
    pub payload: Payload<'a>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5.0, sections 3.4 to 3.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the message.
    pub packet_id: PacketId,
    /// What became of it. In MQTT 3.1.1, always [`ReasonCode::SUCCESS`].
    pub reason: ReasonCode,
    /// What else there is to say.
    pub properties: Properties<'a>,
}

/// Subscribes (MQTT 5.0, section 3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The answer has the same.
    pub packet_id: PacketId,
    /// Of all the subscriptions.
    pub properties: Properties<'a>,
    /// At least one.
    pub subscriptions: Vec<Subscription<'a>>,
}

/// One subscription (MQTT 5.0, section 3.8.3.1). In MQTT 3.1.1, only the filter and the QoS are said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// To which topics.
    pub filter: Filter<'a>,
    /// The highest QoS at which messages are wanted.
    pub qos: Qos,
    /// Whether the client's own messages are not wanted.
    pub no_local: bool,
    /// Whether messages say if they were published to be retained.
    pub retain_as_published: bool,
    /// Which retained messages are wanted now.
    pub retain_handling: RetainHandling,
}

/// Which retained messages a server sends for a subscription (MQTT 5.0, section 3.8.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetainHandling {
    /// 0: all.
    #[default]
    Send = 0,
    /// 1: all, if the subscription is new.
    SendIfNew = 1,
    /// 2: none.
    DoNotSend = 2,
}

/// SUBACK or UNSUBACK (MQTT 5.0, sections 3.9 and 3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Of what it answers.
    pub packet_id: PacketId,
    /// What else there is to say.
    pub properties: Properties<'a>,
    /// One for each filter, in their order. An UNSUBACK of MQTT 3.1.1 has none.
    pub reasons: Vec<ReasonCode>,
}

/// Ends subscriptions (MQTT 5.0, section 3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The answer has the same.
    pub packet_id: PacketId,
    /// What else there is to say.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<Filter<'a>>,
}

/// DISCONNECT or AUTH (MQTT 5.0, sections 3.14 and 3.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice<'a> {
    /// Why. In MQTT 3.1.1, always [`ReasonCode::SUCCESS`].
    pub reason: ReasonCode,
    /// What else there is to say.
    pub properties: Properties<'a>,
}

impl Packet<'_> {
    /// What it is.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Packet<'static> {
        match self {
            Self::Connect(connect) => Packet::Connect(Box::new(connect.into_owned())),
            Self::ConnAck(answer) => Packet::ConnAck(answer.into_owned()),
            Self::Publish(publish) => Packet::Publish(publish.into_owned()),
            Self::PubAck(ack) => Packet::PubAck(ack.into_owned()),
            Self::PubRec(ack) => Packet::PubRec(ack.into_owned()),
            Self::PubRel(ack) => Packet::PubRel(ack.into_owned()),
            Self::PubComp(ack) => Packet::PubComp(ack.into_owned()),
            Self::Subscribe(subscribe) => Packet::Subscribe(subscribe.into_owned()),
            Self::SubAck(ack) => Packet::SubAck(ack.into_owned()),
            Self::Unsubscribe(unsubscribe) => Packet::Unsubscribe(unsubscribe.into_owned()),
            Self::UnsubAck(ack) => Packet::UnsubAck(ack.into_owned()),
            Self::PingReq => Packet::PingReq,
            Self::PingResp => Packet::PingResp,
            Self::Disconnect(end) => Packet::Disconnect(end.into_owned()),
            Self::Auth(step) => Packet::Auth(step.into_owned()),
        }
    }
}

/// For packets whose fields alone say which they are.
macro_rules! from {
    ($($name:ident)*) => {$(
        impl<'a> From<$name<'a>> for Packet<'a> {
            fn from(packet: $name<'a>) -> Self {
                Self::$name(packet.into())
            }
        }
    )*};
}

from! { Connect ConnAck Publish Subscribe Unsubscribe }

impl<'a> Connect<'a> {
    /// Asks for a new session, without a will, without a keep-alive.
    #[must_use]
    pub const fn new(version: Version, client_id: Text<'a>) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::NONE,
            client_id,
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Connect<'static> {
        Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            properties: self.properties.into_owned(),
            client_id: self.client_id.into_owned(),
            will: self.will.map(Will::into_owned),
            user_name: self.user_name.map(Text::into_owned),
            password: self.password.map(Payload::into_owned),
        }
    }
}

impl fmt::Debug for Connect<'_> {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("properties", &self.properties)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .field("has_password", &self.password.is_some())
            .finish()
    }
}

impl<'a> Will<'a> {
    /// A will at QoS 0, not retained.
    #[must_use]
    pub fn new(topic: Topic<'a>, payload: impl Into<Payload<'a>>) -> Self {
        Self { qos: Qos::AtMostOnce, retain: false, properties: Properties::NONE, topic, payload: payload.into() }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Will<'static> {
        Will {
            qos: self.qos,
            retain: self.retain,
            properties: self.properties.into_owned(),
            topic: self.topic.into_owned(),
            payload: self.payload.into_owned(),
        }
    }
}

impl ConnAck<'_> {
    /// Whether the client is connected, and goes on with a session.
    #[must_use]
    pub const fn new(session_present: bool, reason: ReasonCode) -> Self {
        Self { session_present, reason, properties: Properties::NONE }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> ConnAck<'static> {
        let Self { session_present, reason, properties } = self;
        ConnAck { session_present, reason, properties: properties.into_owned() }
    }
}

impl<'a> Publish<'a> {
    /// A message at QoS 0, not retained.
    #[must_use]
    pub fn new(topic: Topic<'a>, payload: impl Into<Payload<'a>>) -> Self {
        Self {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: Some(topic),
            packet_id: None,
            properties: Properties::NONE,
            payload: payload.into(),
        }
    }

    /// The same, borrowed from this one, such as to be sent again: then with `dup`. A payload that is shared still is.
    #[must_use]
    pub fn borrowed(&self) -> Publish<'_> {
        Publish {
            topic: self.topic.as_ref().map(Topic::borrowed),
            properties: self.properties.borrowed(),
            payload: self.payload.clone(),
            ..*self
        }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Publish<'static> {
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.map(Topic::into_owned),
            packet_id: self.packet_id,
            properties: self.properties.into_owned(),
            payload: self.payload.into_owned(),
        }
    }
}

impl Ack<'_> {
    /// Success, and nothing else to say.
    #[must_use]
    pub const fn new(packet_id: PacketId) -> Self {
        Self { packet_id, reason: ReasonCode::SUCCESS, properties: Properties::NONE }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Ack<'static> {
        Ack { packet_id: self.packet_id, reason: self.reason, properties: self.properties.into_owned() }
    }
}

impl<'a> Subscribe<'a> {
    /// Subscriptions, of which there is at least one.
    #[must_use]
    pub const fn new(packet_id: PacketId, subscriptions: Vec<Subscription<'a>>) -> Self {
        Self { packet_id, properties: Properties::NONE, subscriptions }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Subscribe<'static> {
        Subscribe {
            packet_id: self.packet_id,
            properties: self.properties.into_owned(),
            subscriptions: self.subscriptions.into_iter().map(Subscription::into_owned).collect(),
        }
    }
}

impl<'a> Unsubscribe<'a> {
    /// Filters of subscriptions, of which there is at least one.
    #[must_use]
    pub const fn new(packet_id: PacketId, filters: Vec<Filter<'a>>) -> Self {
        Self { packet_id, properties: Properties::NONE, filters }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Unsubscribe<'static> {
        Unsubscribe {
            packet_id: self.packet_id,
            properties: self.properties.into_owned(),
            filters: self.filters.into_iter().map(Filter::into_owned).collect(),
        }
    }
}

impl<'a> Subscription<'a> {
    /// A subscription without further options.
    #[must_use]
    pub const fn new(filter: Filter<'a>, qos: Qos) -> Self {
        Self { filter, qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Subscription<'static> {
        Subscription {
            filter: self.filter.into_owned(),
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling,
        }
    }
}

impl SubAck<'_> {
    /// One reason for each filter, in their order.
    #[must_use]
    pub const fn new(packet_id: PacketId, reasons: Vec<ReasonCode>) -> Self {
        Self { packet_id, properties: Properties::NONE, reasons }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> SubAck<'static> {
        SubAck { packet_id: self.packet_id, properties: self.properties.into_owned(), reasons: self.reasons }
    }
}

impl Notice<'_> {
    /// A reason, and nothing else to say.
    #[must_use]
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::NONE }
    }

    /// The same, with copies of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Notice<'static> {
        Notice { reason: self.reason, properties: self.properties.into_owned() }
    }
}
