//! What the server has granted, so that it can be asked for again when it has lost the session.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::memory::Memory;
use super::publishing::Takes;
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
    /// What the server said beforehand that it does not take, as if it had answered so.
    pub(super) lost: Option<Box<Message>>,
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
    const EMPTY: &'static Self = &Self { waiting: VecDeque::new(), lost: None, asked: VecDeque::new() };

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost.is_none() && self.asked.is_empty()
    }
}

/// So many subscriptions are asked for in one packet: there are services that take no more.
const AT_ONCE: usize = 8;

/// Requests for all that was granted and that the server has lost.
pub(super) fn to_renew(memory: &Memory, takes: &Takes, outgoing: &Outgoing) -> Renewals {
    let mut by_id: BTreeMap<u32, Vec<Subscription<'_>>> = BTreeMap::new();
    let mut lost = Vec::new();
    for (filter, granted) in memory.subscriptions().filter(|(_, granted)| !granted.held) {
        let Ok(filter) = Filter::new(&**filter) else { continue };
        if let Some(reason) = takes.objection(&filter) {
            lost.push((filter, reason));
            continue;
        }
        let id = if takes.ids { granted.id } else { 0 };
        by_id.entry(id).or_default().push(message::subscription(filter, granted.options));
    }
    let mut waiting = VecDeque::new();
    for (id, subscriptions) in by_id {
        let properties = match SubscriptionId::new(id) {
            Some(id) => Properties::NONE.with(&Property::SubscriptionIdentifier(id)).unwrap_or_default(),
            None => Properties::NONE,
        };
        for subscriptions in subscriptions.chunks(AT_ONCE) {
            split(subscriptions, &properties, outgoing, &mut waiting, &mut lost);
        }
    }
    let lost = (!lost.is_empty()).then(|| Box::new(Answer { to_unsubscribe: false, results: lost }.into_message()));
    Renewals { waiting, lost, asked: VecDeque::new() }
}

/// In packets that the server takes.
fn split<'a>(
    subscriptions: &[Subscription<'a>],
    properties: &Properties<'_>,
    outgoing: &Outgoing,
    requests: &mut VecDeque<Box<Message>>,
    lost: &mut Vec<(Filter<'a>, ReasonCode)>,
) {
    let request = Subscribe { properties: properties.borrowed().into_owned(), ..Subscribe::to(subscriptions.to_vec()) };
    // In the older version it is shorter, and there is no limit.
    let is_too_large =
        outgoing.version() == Version::V5 && outgoing.length(&Packet::Subscribe(request.clone())).is_err();
    match subscriptions {
        [one] if is_too_large => return lost.push((one.filter.clone(), ReasonCode::PACKET_TOO_LARGE)),
        _ if is_too_large => {
            let (front, back) = subscriptions.split_at(subscriptions.len() / 2);
            split(front, properties, outgoing, requests, lost);
            return split(back, properties, outgoing, requests, lost);
        }
        _ => {}
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
