//! Messages -> PUBLISH, SUBSCRIBE and UNSUBSCRIBE of one connection: aliases, what is left of a lifetime, the older version.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use core::time::Duration;

use super::config::MqttConfig;
use super::seldom::Seldom;
use super::sending::AROUND;
use crate::session::Message;
use crate::wire::Tx;
use crate::wire::mqtt::encode;
use crate::wire::mqtt::message::{self, PUBLISH, Parts, RETAIN, SUBSCRIBE};
use crate::wire::mqtt::{
    Filter, Outgoing, Packet, PacketId, Payload, Properties, Property, Publish, Qos, ReasonCode, Subscribe, Topic,
    Unsubscribe, Version,
};
use crate::wire::tx::COPY_LIMIT;

/// An alias among the properties, and a longer length of them.
const LONGEST_ALIAS: u64 = 3 + 1;

/// How messages are published on one connection.
#[derive(Debug)]
pub(super) struct Publishing {
    config: MqttConfig,
    takes: Takes,
    /// Topics that the server knows by a number.
    aliases: Seldom<BTreeMap<Box<[u8]>, NonZeroU16>>,
}

/// What the server takes, as it said in its CONNACK.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) aliases: u16,
    pub(super) wildcards: bool,
    /// Identifiers of subscriptions.
    pub(super) ids: bool,
    /// Shared subscriptions.
    pub(super) shared: bool,
}

impl Takes {
    /// What the server has against a subscription.
    pub(super) fn objection(&self, filter: &Filter<'_>) -> Option<ReasonCode> {
        if !self.shared && filter.as_str().starts_with("$share/") {
            return Some(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        (!self.wildcards && filter.as_str().contains(['+', '#']))
            .then_some(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)
    }
}

impl Publishing {
    pub(super) const fn takes(&self) -> &Takes {
        &self.takes
    }

    pub(super) fn new(config: MqttConfig, takes: Takes) -> Self {
        Self { config, takes, aliases: Seldom::default() }
    }

    /// What the server has against a message (MQTT 5.0, sections 3.2.2.3.4, 3.2.2.3.5 and 3.2.2.3.11 to 3.2.2.3.13).
    pub(super) fn objection(&self, message: &Message) -> Option<ReasonCode> {
        if message::is_request(message) {
            let (properties, filters) = message::filters_of(message).ok()?;
            let properties = Properties::unchecked(properties);
            if !self.takes.ids
                && properties.iter().any(|property| matches!(property, Property::SubscriptionIdentifier(_)))
            {
                return Some(ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED);
            }
            let asks = message.kind() == SUBSCRIBE;
            return filters.iter().filter(|_| asks).find_map(|(filter, _)| self.takes.objection(filter));
        }
        let retained = message.kind() & 0xF0 == PUBLISH && message.kind() & RETAIN != 0;
        if self.qos(message) > self.takes.qos {
            return Some(ReasonCode::QOS_NOT_SUPPORTED);
        }
        (retained && !self.takes.retain).then_some(ReasonCode::RETAIN_NOT_SUPPORTED)
    }

    /// How surely a message is to arrive.
    pub(super) fn qos(&self, message: &Message) -> Qos {
        self.config.settings().qos(message)
    }

    /// How many bytes of its packet say it, in bytes: all but the fixed header and the packet identifier. More than it has, if it has no
    /// topic of its own.
    pub(super) fn length(&self, message: &Message) -> u64 {
        let topic = match (&self.config.settings().topic, message.is_plain()) {
            (Some((topic, _)), true) => 2 + topic.as_bytes().len() + 1,
            _ => 0,
        };
        (message.len() + topic) as u64
    }

    pub(super) fn publish(
        &mut self,
        message: &Message,
        id: Option<PacketId>,
        again: bool,
        waited: Duration,
        limit: u32,
        tx: &mut Tx,
    ) {
        let settings = self.config.settings();
        let version = settings.version;
        let plain = message.kind() & 0xF0 != PUBLISH;
        let parts = match (&settings.topic, plain) {
            (Some((topic, _)), true) => Parts { topic: topic.as_bytes(), properties: &[], payload: message.payload() },
            // What was accepted can be read.
            _ => match Parts::of(message) {
                Ok(parts) => parts,
                Err(_) => return,
            },
        };
        // An alias that is new makes the packet longer, and the length of its properties perhaps, too.
        let fits = self.length(message) + LONGEST_ALIAS + AROUND <= limit.into();
        let takes = if fits { self.takes.aliases.min(settings.topic_aliases) } else { 0 };
        let alias = alias(&mut self.aliases, takes, parts.topic);
        let properties = Properties::unchecked(parts.properties);
        let adapted = adapted(&properties, alias.map(|(alias, _)| alias), waited);
        let publish = Publish {
            dup: again,
            qos: settings.qos(message),
            retain: !plain && message.kind() & RETAIN != 0,
            topic: if let Some((_, true)) = alias { None } else { Some(Topic::unchecked(parts.topic)) },
            packet_id: id,
            properties: Properties::unchecked(&adapted),
            payload: match parts.payload.len() {
                0..=COPY_LIMIT => Payload::Borrowed(parts.payload),
                _ => Payload::Shared(message.payload().slice_ref(parts.payload)),
            },
        };
        encode::write_publish(&publish, version, encode::publish_length(&publish, version), tx);
    }
}

/// The number of a topic, and whether the server knows it. The first topics that are published to have one, so many of them.
fn alias(aliases: &mut Seldom<BTreeMap<Box<[u8]>, NonZeroU16>>, most: u16, topic: &[u8]) -> Option<(NonZeroU16, bool)> {
    if most == 0 {
        return None;
    }
    if let Some(alias) = aliases.get(topic) {
        return Some((*alias, true));
    }
    let alias =
        u16::try_from(aliases.len()).ok()?.checked_add(1).filter(|next| *next <= most).and_then(NonZeroU16::new)?;
    aliases.make().insert(topic.into(), alias);
    Some((alias, false))
}

/// Properties with a topic alias, with what is left of the message's lifetime after it has waited, and without what a server said of
/// the subscription by which it came (MQTT 5.0, section 3.3.4).
fn adapted<'a>(
    properties: &'a Properties<'_>,
    alias: Option<NonZeroU16>,
    waited: Duration,
) -> alloc::borrow::Cow<'a, [u8]> {
    let waited = u32::try_from(waited.as_secs()).unwrap_or(u32::MAX);
    let expires = properties.iter().any(|property| matches!(property, Property::MessageExpiryInterval(_)));
    let came = properties.iter().any(|property| matches!(property, Property::SubscriptionIdentifier(_)));
    if alias.is_none() && !(expires && waited > 0) && !came {
        return properties.as_bytes().into();
    }
    let mut adapted = Vec::with_capacity(properties.as_bytes().len() + 3);
    for property in properties.iter() {
        let property = match property {
            // It has left before, or it would have been dropped; and there are servers to which 0 means for ever.
            Property::MessageExpiryInterval(seconds) => {
                Property::MessageExpiryInterval(seconds.saturating_sub(waited).max(seconds.min(1)))
            }
            Property::SubscriptionIdentifier(_) => continue,
            other => other,
        };
        // What could be read can be written.
        property.write(&mut adapted).ok();
    }
    if let Some(alias) = alias {
        Property::TopicAlias(alias).write(&mut adapted).ok();
    }
    adapted.into()
}

/// Asks for subscriptions, or for their end.
pub(super) fn request(message: &Message, id: PacketId, outgoing: &Outgoing, tx: &mut Tx) {
    let Ok((properties, filters)) = message::filters_of(message) else { return };
    let is_older = outgoing.version() == Version::V3;
    let properties = if is_older { Properties::NONE } else { Properties::unchecked(properties) };
    let packet = if message.kind() == SUBSCRIBE {
        let subscriptions = filters
            .into_iter()
            .map(|(filter, options)| message::subscription(filter, if is_older { options & 0b11 } else { options }));
        Packet::Subscribe(Subscribe { packet_id: id, properties, subscriptions: subscriptions.collect() })
    } else {
        let filters = filters.into_iter().map(|(filter, _)| filter).collect();
        Packet::Unsubscribe(Unsubscribe { packet_id: id, properties, filters })
    };
    // It was checked when it was accepted; and the link keeps what is too large for the server to itself.
    outgoing.send(&packet, tx).ok();
}

/// How long a message is of use, if it says so.
pub(super) fn lifetime(message: &Message) -> Option<Duration> {
    if message.kind() & 0xF0 != PUBLISH {
        return None;
    }
    let parts = Parts::of(message).ok()?;
    Properties::unchecked(parts.properties).iter().find_map(|property| match property {
        Property::MessageExpiryInterval(seconds) => Some(Duration::from_secs(seconds.into())),
        _ => None,
    })
}
