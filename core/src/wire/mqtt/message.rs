//! What an application hands to a link and takes from it: MQTT's packets as [`Message`]s, without what a connection adds.

use alloc::vec::Vec;

use bytes::{Buf as _, Bytes, BytesMut};

use super::encode::whole;
use super::fields::Fields;
use super::packet::{Packet, Publish, RetainHandling, Subscribe, Subscription, Unsubscribe};
use super::payload::Payload;
use super::properties::Properties;
use super::property::Property;
use super::reason::ReasonCode;
use super::rule::{self, Checked, EncodeError};
use super::text::{Filter, Topic};
use super::{Outgoing, PacketId, PacketType, Qos, Role, Version};
use crate::session::Message;

/// What a [`Message`] is: the first byte of its packet.
pub(super) const PUBLISH: u8 = 0x30;
pub(super) const SUBSCRIBE: u8 = 0x82;
pub(super) const UNSUBSCRIBE: u8 = 0xA2;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xB0;

pub(super) const RETAIN: u8 = 0b0001;
const QOS: u8 = 1;

/// Filters and options in the packet of a message are behind an identifier, which is given when it leaves.
const ID: PacketId = PacketId::MIN;

impl<'a> Publish<'a> {
    /// As a message for a link that speaks MQTT. Whether it is a duplicate, and its packet identifier, are left out: the link
    /// sees to both. The payload is copied.
    ///
    /// # Errors
    /// It has no topic, or a topic alias, which the link sees to, or properties that no PUBLISH of a client has.
    pub fn into_message(self) -> Result<Message, EncodeError> {
        let broken = |rule| EncodeError::Broken { packet: PacketType::Publish, rule };
        if self.topic.is_none() || self.properties.iter().any(|property| matches!(property, Property::TopicAlias(_))) {
            return Err(broken(&rule::TOPIC_MISSING));
        }
        let kind = PUBLISH | (self.qos as u8) << QOS | if self.retain { RETAIN } else { 0 };
        let packet = Publish { dup: false, qos: Qos::AtMostOnce, retain: false, packet_id: None, ..self };
        Ok(Message::of_kind(kind, body(&Packet::Publish(packet))?))
    }

    /// What a message says that came over a link with MQTT, or that [`Publish::into_message`] made; `None` for others. The payload
    /// is shared with the message.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        if message.kind() & 0xF0 != PUBLISH {
            return None;
        }
        let parts = Parts::of(message).ok()?;
        Some(Self {
            dup: false,
            qos: qos_of(message),
            retain: message.kind() & RETAIN != 0,
            topic: Some(Topic::read(parts.topic).ok()?),
            packet_id: None,
            properties: Properties::unchecked(parts.properties),
            payload: Payload::Shared(message.payload().slice_ref(parts.payload)),
        })
    }
}

impl<'a> Subscribe<'a> {
    /// Asks for these subscriptions. The packet identifier is given when it leaves.
    #[must_use]
    pub const fn to(subscriptions: Vec<Subscription<'a>>) -> Self {
        Self { packet_id: ID, properties: Properties::NONE, subscriptions }
    }

    /// As a message for a link that speaks MQTT. Its answer comes as an [`Answer`]; and if the server loses the session later, the
    /// link subscribes again by itself.
    ///
    /// # Errors
    /// The list is empty, or the standard does not allow what it says.
    pub fn into_message(self) -> Result<Message, EncodeError> {
        body(&Packet::Subscribe(self)).map(|body| Message::of_kind(SUBSCRIBE, body))
    }
}

impl<'a> Unsubscribe<'a> {
    /// Ends these subscriptions. The packet identifier is given when it leaves.
    #[must_use]
    pub const fn from(filters: Vec<Filter<'a>>) -> Self {
        Self { packet_id: ID, properties: Properties::NONE, filters }
    }

    /// As a message for a link that speaks MQTT. Its answer comes as an [`Answer`].
    ///
    /// # Errors
    /// The list is empty, or the standard does not allow what it says.
    pub fn into_message(self) -> Result<Message, EncodeError> {
        body(&Packet::Unsubscribe(self)).map(|body| Message::of_kind(UNSUBSCRIBE, body))
    }
}

/// What a server answers to a [`Subscribe`] or [`Unsubscribe`] that was a message: one reason code for each filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Whether it answers an [`Unsubscribe`].
    pub to_unsubscribe: bool,
    /// The filters in the order in which they were asked for, and what became of each.
    pub results: Vec<(Filter<'a>, ReasonCode)>,
}

impl<'a> Answer<'a> {
    /// What an answer says; `None` for a message that is none.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        let to_unsubscribe = match message.kind() {
            SUBACK => false,
            UNSUBACK => true,
            _ => return None,
        };
        let mut fields = Fields::new(message.payload());
        let mut results = Vec::new();
        while !fields.is_empty() {
            let reason = ReasonCode::new(fields.byte().ok()?)?;
            results.push((Filter::read(fields.binary().ok()?).ok()?, reason));
        }
        Some(Self { to_unsubscribe, results })
    }

    pub(super) fn into_message(self) -> Message {
        let mut bytes = Vec::new();
        for (filter, reason) in &self.results {
            bytes.push(reason.get());
            bytes.extend_from_slice(&(filter.as_str().len() as u16).to_be_bytes());
            bytes.extend_from_slice(filter.as_str().as_bytes());
        }
        Message::of_kind(if self.to_unsubscribe { UNSUBACK } else { SUBACK }, bytes.into())
    }
}

/// A message for a topic, taken apart.
pub(super) struct Parts<'a> {
    pub(super) topic: &'a [u8],
    pub(super) properties: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Of a message that was a [`Publish`].
    pub(super) fn of(message: &'a Message) -> Checked<Self> {
        let mut fields = Fields::new(message.payload());
        let topic = fields.binary()?;
        let properties = fields.properties(Version::V5)?;
        Ok(Self { topic, properties, payload: fields.rest() })
    }
}

/// Whether a message says something for which MQTT 3.1.1 has no words.
pub(super) fn needs_v5(message: &Message) -> bool {
    if is_request(message) {
        let Ok((properties, filters)) = filters_of(message) else { return true };
        return !properties.is_empty() || filters.iter().any(|(_, options)| options & !0b11 != 0);
    }
    Parts::of(message).is_ok_and(|parts| !parts.properties.is_empty())
}

/// Whether a message is a [`Subscribe`] or an [`Unsubscribe`].
pub(super) const fn is_request(message: &Message) -> bool {
    matches!(message.kind(), SUBSCRIBE | UNSUBSCRIBE)
}

/// Whether a message is an [`Answer`].
pub(super) const fn is_answer(message: &Message) -> bool {
    matches!(message.kind(), SUBACK | UNSUBACK)
}

/// How surely a message that was a [`Publish`] arrives.
pub(super) const fn qos_of(message: &Message) -> Qos {
    match message.kind() >> QOS & 0b11 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

/// What came, without what belongs to its connection. The topic is given, because an alias may stand for it.
pub(super) fn received(publish: &Publish<'_>, topic: &[u8]) -> Message {
    let kind = PUBLISH | (publish.qos as u8) << QOS | if publish.retain { RETAIN } else { 0 };
    let said = publish.properties.as_bytes();
    let mut body = Vec::with_capacity(2 + topic.len() + 4 + said.len() + publish.payload.len());
    body.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    body.extend_from_slice(topic);
    let properties = without_alias(&publish.properties);
    push_properties(&properties, &mut body);
    body.extend_from_slice(&publish.payload);
    Message::of_kind(kind, body.into())
}

fn without_alias<'a>(properties: &'a Properties<'_>) -> alloc::borrow::Cow<'a, [u8]> {
    if !properties.iter().any(|property| matches!(property, Property::TopicAlias(_))) {
        return properties.as_bytes().into();
    }
    let mut kept = Vec::new();
    for property in properties.iter().filter(|property| !matches!(property, Property::TopicAlias(_))) {
        // What came can be written.
        property.write(&mut kept).ok();
    }
    kept.into()
}

/// Appends properties behind their length.
pub(super) fn push_properties(properties: &[u8], out: &mut Vec<u8>) {
    let (digits, count) = crate::wire::varint::bytes(properties.len() as u64);
    out.extend_from_slice(digits.get(..count).unwrap_or_default());
    out.extend_from_slice(properties);
}

/// A filter, and the options of its subscription as a byte.
type FilterAndOptions<'a> = (Filter<'a>, u8);

/// The filters of a message that was a [`Subscribe`] or [`Unsubscribe`], and the properties before them.
pub(super) fn filters_of(message: &Message) -> Checked<(&[u8], Vec<FilterAndOptions<'_>>)> {
    let mut fields = Fields::new(message.payload());
    let properties = fields.properties(Version::V5)?;
    let mut filters = Vec::new();
    while !fields.is_empty() {
        let filter = Filter::read(fields.binary()?)?;
        let options = if message.kind() == SUBSCRIBE { fields.byte()? } else { 0 };
        filters.push((filter, options));
    }
    Ok((properties, filters))
}

/// A subscription whose options were one byte.
pub(super) fn subscription(filter: Filter<'_>, options: u8) -> Subscription<'_> {
    Subscription {
        filter,
        qos: Qos::new(options & 0b11).unwrap_or_default(),
        no_local: options & 0b100 != 0,
        retain_as_published: options & 0b1000 != 0,
        retain_handling: match options >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    }
}

/// A packet as MQTT 5.0 writes it, without its fixed header, and without its identifier if it begins with one.
fn body(packet: &Packet<'_>) -> Result<Bytes, EncodeError> {
    let mut bytes = BytesMut::new();
    let outgoing = Outgoing::new(Role::Client, Version::V5);
    outgoing.encode(packet, &mut bytes)?;
    let mut length = bytes.len();
    while whole(length as u64) > bytes.len() as u64 {
        length -= 1;
    }
    bytes.advance(bytes.len() - length);
    if !matches!(packet, Packet::Publish(_)) {
        bytes.advance(size_of::<PacketId>());
    }
    Ok(bytes.freeze())
}
