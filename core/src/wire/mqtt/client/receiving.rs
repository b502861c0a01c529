//! The server's messages on their way to the application, and their acknowledgements (MQTT 5.0, section 4.3).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::memory::{Memory, Owed};
use super::seldom::Seldom;
use super::sending::acknowledge;
use crate::session::Message;
use crate::wire::Tx;
use crate::wire::mqtt::message;
use crate::wire::mqtt::rule::{self, Checked};
use crate::wire::mqtt::{Ack, Outgoing, Packet, PacketId, Property, Publish, Qos, ReasonCode, Version};

/// What comes on one connection.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// What the server's aliases stand for.
    aliases: Seldom<Vec<Option<Box<[u8]>>>>,
}

impl Receiving {
    /// A message came: its number and the message, unless it came before.
    pub(super) fn publish(
        &mut self,
        publish: &Publish<'_>,
        limits: Limits,
        memory: &mut Memory,
        outgoing: &Outgoing,
        tx: &mut Tx,
    ) -> Checked<Option<(u64, Message)>> {
        let topic = self.topic(publish, limits.aliases)?;
        if let Some(id) = publish.packet_id {
            let exactly_once = publish.qos == Qos::ExactlyOnce;
            let content = if exactly_once { content_of(topic, publish) } else { 0 };
            if came_before(publish, id, content, memory, outgoing, tx) {
                return Ok(None);
            }
            if limits.version == Version::V5 && is_too_much(memory, limits.receive_maximum.into()) {
                return Err(&rule::RECEIVE_MAXIMUM);
            }
            let (seq, id) = (memory.received + 1, id.get());
            memory.owed.make().push_back(Owed { seq, id, exactly_once, content, here: true });
        }
        memory.received += 1;
        Ok(Some((memory.received, message::received(publish, topic))))
    }

    /// The topic of a message, which may be said by an alias.
    fn topic<'a>(&'a mut self, publish: &'a Publish<'_>, limit: u16) -> Checked<&'a [u8]> {
        let alias = publish.properties.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(alias.get()),
            _ => None,
        });
        let topic = publish.topic.as_ref().map(|topic| topic.as_bytes());
        let Some(alias) = alias else { return topic.ok_or(&rule::TOPIC_MISSING) };
        if alias > limit {
            return Err(&rule::TOPIC_ALIAS_UNKNOWN);
        }
        let place = usize::from(alias) - 1;
        if let Some(topic) = topic {
            if self.aliases.len() <= place {
                self.aliases.make().resize(place + 1, None);
            }
            if let Some(slot) = self.aliases.make().get_mut(place) {
                *slot = Some(topic.into());
            }
        }
        self.aliases.get(place).and_then(Option::as_deref).ok_or(&rule::TOPIC_ALIAS_UNKNOWN)
    }
}

/// What we announced to the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) version: Version,
    pub(super) receive_maximum: u16,
    pub(super) aliases: u16,
}

/// Whether as many messages wait for our acknowledgement on this connection (MQTT 5.0, section 4.9).
fn is_too_much(memory: &Memory, limit: usize) -> bool {
    memory.owed.len() >= limit && memory.owed.iter().filter(|owed| owed.here).count() >= limit
}

/// Whether a message is here already. If it is acknowledged, the server is told again.
fn came_before(
    publish: &Publish<'_>,
    id: PacketId,
    content: u64,
    memory: &mut Memory,
    outgoing: &Outgoing,
    tx: &mut Tx,
) -> bool {
    if !publish.dup && publish.qos == Qos::ExactlyOnce {
        memory.came_first(id.get(), content);
    }
    let owed = memory.owed.there().and_then(|owed| owed.iter_mut().find(|owed| owed.id == id.get()));
    match publish.qos {
        Qos::AtMostOnce => false,
        Qos::AtLeastOnce => {
            let unsaid = memory.unsaid.there().is_some_and(|unsaid| unsaid.remove(&id.get()));
            if !publish.dup {
                // It is another message, whose identifier is free again; and what is sent again comes before what is new
                // (MQTT 5.0, section 4.6).
                memory.unsaid = Seldom::default();
            }
            if publish.dup && unsaid {
                acknowledge(Packet::PubAck(Ack::new(id)), outgoing, tx);
                return true;
            }
            owed.filter(|_| publish.dup).is_some_and(|owed| {
                owed.here = true;
                true
            })
        }
        Qos::ExactlyOnce => {
            if memory.unreleased.contains_key(&id.get()) {
                acknowledge(Packet::PubRec(Ack::new(id)), outgoing, tx);
                return true;
            }
            owed.is_some_and(|owed| {
                owed.here = true;
                true
            })
        }
    }
}

/// What a message says, without what may change when it comes again.
fn content_of(topic: &[u8], publish: &Publish<'_>) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(topic);
    hasher.write(&publish.payload);
    hasher.finish()
}

/// The application is done with the messages up to this one.
pub(super) fn taken(through: u64, memory: &mut Memory, outgoing: &Outgoing, tx: &mut Tx) {
    let count = memory.owed.iter().take_while(|owed| owed.seq <= through).count();
    for _ in 0..count {
        let Some(owed) = memory.owed.there().and_then(VecDeque::pop_front) else { break };
        let Some(id) = PacketId::new(owed.id) else { continue };
        if owed.exactly_once {
            memory.take(owed.id, owed.content);
            if owed.here {
                acknowledge(Packet::PubRec(Ack::new(id)), outgoing, tx);
            }
        } else if owed.here {
            acknowledge(Packet::PubAck(Ack::new(id)), outgoing, tx);
        } else {
            memory.unsaid.make().insert(owed.id);
        }
    }
}

/// The server forgets a message of QoS 2, and so do we.
pub(super) fn released(id: PacketId, version: Version, memory: &mut Memory, outgoing: &Outgoing, tx: &mut Tx) {
    let known = memory.release(id.get());
    let reason =
        if known || version == Version::V3 { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
    acknowledge(Packet::PubComp(Ack { reason, ..Ack::new(id) }), outgoing, tx);
}
