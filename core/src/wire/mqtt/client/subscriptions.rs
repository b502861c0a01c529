//! What the server has granted, so that it can be asked for again when it has lost the session.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::memory::Memory;
use super::seldom::Collection;
use crate::session::Message;
use crate::wire::mqtt::message::{self, Answer};
use crate::wire::mqtt::rule::{self, Checked};
use crate::wire::mqtt::{
    Filter, Outgoing, Packet, PacketId, Properties, Property, ReasonCode, SubAck, Subscribe, Subscription,
    SubscriptionId, Version,
};

/// Subscriptions that are asked for again.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    pub(super) waiting: VecDeque<Box<Message>>,
    /// Those that have left, with their identifiers.
    pub(super) asked: VecDeque<(u16, Box<Message>)>,
}

impl Renewals {
    /// What this identifier asked for.
    pub(super) fn take(&mut self, id: PacketId) -> Option<Box<Message>> {
        let place = self.asked.iter().position(|(asked, _)| *asked == id.get())?;
        self.asked.remove(place).map(|(_, request)| request)
    }
}

impl Collection for Renewals {
    const EMPTY: &'static Self = &Self { waiting: VecDeque::new(), asked: VecDeque::new() };

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_empty()
    }
}

/// Requests for all that was granted and that the server has lost: as few as there are identifiers of subscriptions, unless the server
/// takes small packets only.
pub(super) fn to_renew(memory: &Memory, outgoing: &Outgoing) -> VecDeque<Box<Message>> {
    let mut by_id: BTreeMap<u32, Vec<Subscription<'_>>> = BTreeMap::new();
    for (filter, granted) in memory.subscriptions().filter(|(_, granted)| !granted.held) {
        if let Ok(filter) = Filter::new(&**filter) {
            by_id.entry(granted.id).or_default().push(message::subscription(filter, granted.options));
        }
    }
    let mut requests = VecDeque::new();
    for (id, subscriptions) in by_id {
        let properties = match SubscriptionId::new(id) {
            Some(id) => Properties::NONE.with(&Property::SubscriptionIdentifier(id)).unwrap_or_default(),
            None => Properties::NONE,
        };
        split(&subscriptions, &properties, outgoing, &mut requests);
    }
    requests
}

/// In packets that the server takes.
fn split(
    subscriptions: &[Subscription<'_>],
    properties: &Properties<'_>,
    outgoing: &Outgoing,
    requests: &mut VecDeque<Box<Message>>,
) {
    let request = Subscribe { properties: properties.borrowed().into_owned(), ..Subscribe::to(subscriptions.to_vec()) };
    // In the older version it is shorter, and there is no limit.
    let is_too_large =
        outgoing.version() == Version::V5 && outgoing.length(&Packet::Subscribe(request.clone())).is_err();
    if is_too_large && subscriptions.len() > 1 {
        let (front, back) = subscriptions.split_at(subscriptions.len() / 2);
        split(front, properties, outgoing, requests);
        return split(back, properties, outgoing, requests);
    }
    if let Ok(request) = request.into_message() {
        requests.push_back(Box::new(request));
    }
}

/// What the server answers to a request, which is remembered.
pub(super) fn answer<'a>(
    request: &'a Message,
    ack: &SubAck<'_>,
    is_end: bool,
    memory: &mut Memory,
) -> Checked<Answer<'a>> {
    let (properties, filters) = message::filters_of(request)?;
    // An UNSUBACK of MQTT 3.1.1 says nothing but that it is one.
    let silent = is_end && ack.reasons.is_empty();
    if !silent && ack.reasons.len() != filters.len() || is_end != (request.kind() == message::UNSUBSCRIBE) {
        return Err(&rule::ANSWERS);
    }
    let id = Properties::unchecked(properties).iter().find_map(|property| match property {
        Property::SubscriptionIdentifier(id) => Some(id.get()),
        _ => None,
    });
    let mut results = Vec::with_capacity(filters.len());
    for (place, (filter, options)) in filters.into_iter().enumerate() {
        let reason = ack.reasons.get(place).copied().unwrap_or(ReasonCode::SUCCESS);
        if reason.is_failure() && !is_end || is_end && !reason.is_failure() {
            memory.ended(filter.as_str());
        } else if !is_end {
            memory.granted(filter.as_str(), options, id.unwrap_or(0));
        }
        results.push((filter, reason));
    }
    Ok(Answer { to_unsubscribe: is_end, results })
}
