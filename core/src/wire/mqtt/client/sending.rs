//! Our messages on their way to the server, until nothing is left to do (MQTT 5.0, sections 4.3 and 4.4).

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::memory::{Flight, Memory};
use super::publishing::{self, Publishing};
use super::seldom::Collection as _;
use super::seldom::Seldom;
use super::subscriptions::{self, Renewals};
use crate::session::{Message, Ticket};
use crate::wire::mqtt::message;
use crate::wire::mqtt::rule::Checked;
use crate::wire::mqtt::{Ack, Outgoing, Packet, PacketId, Qos, ReasonCode, SubAck};
use crate::wire::{Frame, Origin, Tx};

/// Identifiers of messages that have a ticket: the same on every connection, and after a restart. The others are for greetings, and
/// for subscriptions that are renewed.
const TICKETED: u64 = 65_000;

/// How many bytes of a packet are around what is in a [`Message`]: the fixed header and the packet identifier.
pub(super) const AROUND: u64 = 5 + 2;

/// What leaves on one connection.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) publishing: Publishing,
    /// How many messages of QoS 1 and 2 the server takes before it has acknowledged one.
    receive_maximum: u16,
    under_way: u16,
    /// Those that have left, from the first that the link was not told to be settled.
    slots: Seldom<VecDeque<Slot>>,
    /// So many of them, at the front, are settled.
    settled: u32,
    /// So many of them, at the back, may wait in our own buffers yet.
    fresh: u32,
    /// Those that the server does not take, with its reason.
    refused: Seldom<VecDeque<(u64, ReasonCode)>>,
    pub(super) renewals: Seldom<Renewals>,
    /// The last identifier without a ticket.
    unticketed: u16,
}

/// A message that has left.
#[derive(Debug)]
struct Slot {
    ticket: Option<Ticket>,
    id: u16,
    awaits: Awaits,
    /// Of a request: what was asked for.
    request: Option<Box<Message>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    PubAck,
    PubRec,
    PubComp,
    Answer,
    /// To leave.
    Departure,
    Nothing,
}

impl Sending {
    pub(super) fn new(publishing: Publishing, receive_maximum: u16) -> Self {
        Self {
            publishing,
            receive_maximum,
            under_way: 0,
            slots: Seldom::default(),
            settled: 0,
            fresh: 0,
            refused: Seldom::default(),
            renewals: Seldom::default(),
            unticketed: 0,
        }
    }

    /// The server is asked for what it granted in a session that it lost, before anything else leaves. Until it has answered, every
    /// connection does so: the one that found the session lost may have ended too early.
    pub(super) fn renew(&mut self, memory: &Memory, outgoing: &Outgoing, tx: &mut Tx) {
        let renewals = subscriptions::to_renew(memory, self.publishing.takes(), outgoing);
        if !renewals.is_empty() {
            *self.renewals.make() = renewals;
        }
        self.renew_more(outgoing, tx);
    }

    fn renew_more(&mut self, outgoing: &Outgoing, tx: &mut Tx) {
        while let Some(id) = self.id_without_ticket()
            && let Some(request) = self.renewals.there().and_then(|renewals| renewals.waiting.pop_front())
        {
            self.unticketed = id.get();
            publishing::request(&request, id, outgoing, tx);
            self.renewals.make().asked.push_back((id.get(), request));
        }
    }

    /// Whether another message may leave, which has this ticket.
    pub(super) fn takes(&self, next: Option<Ticket>) -> bool {
        let oldest = self.slots.iter().find_map(|slot| slot.ticket);
        let span = match (oldest, next) {
            (Some(oldest), Some(next)) => next.0.saturating_sub(oldest.0),
            _ => 0,
        };
        let has_id = next.is_some() || self.id_without_ticket().is_some();
        self.under_way < self.receive_maximum && span < TICKETED && has_id && self.renewals.waiting.is_empty()
    }

    /// A message leaves, or what is left to do for it.
    pub(super) fn send(
        &mut self,
        message: &Message,
        origin: Origin,
        memory: &mut Memory,
        outgoing: &Outgoing,
        tx: &mut Tx,
    ) {
        let id = match origin.ticket {
            Some(ticket) => id_of(ticket),
            None => self.id_without_ticket().unwrap_or(PacketId::MAX),
        };
        if origin.ticket.is_none() {
            self.unticketed = id.get();
        }
        let mut slot = Slot { ticket: origin.ticket, id: id.get(), awaits: Awaits::Nothing, request: None };
        let flight = origin.ticket.and_then(|ticket| memory.flights.there()?.remove(&ticket));
        match (flight, self.objection(message, outgoing)) {
            (Some(Flight::Done), _) => {}
            (Some(Flight::Received), _) => {
                acknowledge(Packet::PubRel(Ack::new(id)), outgoing, tx);
                slot.awaits = Awaits::PubComp;
            }
            (_, Some(reason)) => {
                self.refused.make().push_back((memory.told + 1 + self.slots.len() as u64, reason));
            }
            _ if message::is_request(message) => {
                publishing::request(message, id, outgoing, tx);
                slot.awaits = Awaits::Answer;
                slot.request = Some(Box::new(message.clone()));
            }
            (flight, None) => {
                let qos = self.publishing.qos(message);
                slot.awaits = match qos {
                    Qos::AtMostOnce => Awaits::Departure,
                    Qos::AtLeastOnce => Awaits::PubAck,
                    Qos::ExactlyOnce => Awaits::PubRec,
                };
                let numbered = (qos != Qos::AtMostOnce).then_some(id);
                let limit = outgoing.packet_limit();
                self.publishing.publish(message, numbered, flight.is_some(), origin.waited, limit, tx);
            }
        }
        self.under_way += u16::from(slot.is_under_way());
        self.slots.make().push_back(slot);
        self.fresh += 1;
        self.advance();
    }

    /// All that was written has left.
    pub(super) fn departed(&mut self) {
        let first = self.slots.len().saturating_sub(self.fresh as usize);
        for slot in self.slots.there().into_iter().flat_map(|slots| slots.range_mut(first..)) {
            if slot.awaits == Awaits::Departure {
                slot.awaits = Awaits::Nothing;
            }
        }
        self.fresh = 0;
        self.advance();
    }

    /// A message that the server does not take.
    pub(super) fn take_refused(&mut self) -> Option<(u64, u16)> {
        self.refused.there()?.pop_front().map(|(seq, reason)| (seq, reason.get().into()))
    }

    /// The newest message that is settled, with all before it, if the link was not told.
    pub(super) fn take_settled(&mut self, memory: &mut Memory) -> Option<u64> {
        // What was refused is told first.
        if self.settled == 0 || !self.refused.is_empty() {
            return None;
        }
        self.slots.there()?.drain(..self.settled as usize);
        memory.told += u64::from(self.settled);
        self.settled = 0;
        Some(memory.told)
    }

    /// A PUBACK or PUBCOMP, or a PUBREC that refuses a message: it is settled. Whether the link is to look what follows from that at once:
    /// another message may leave, or one was refused.
    pub(super) fn finish(&mut self, packet: &Packet<'_>, ack: &Ack<'_>, memory: &Memory) -> bool {
        let awaited = match packet {
            Packet::PubAck(_) => Awaits::PubAck,
            Packet::PubRec(_) => Awaits::PubRec,
            _ => Awaits::PubComp,
        };
        let Some(place) = self.find(ack.packet_id, awaited) else { return false };
        let was_full = self.under_way >= self.receive_maximum;
        self.settle(place);
        // A server that does not know the identifier any more has released the message.
        if ack.reason.is_failure() && awaited != Awaits::PubComp {
            self.refused.make().push_back((memory.told + 1 + place as u64, ack.reason));
            return true;
        }
        was_full
    }

    /// A PUBREC: the server has a message of QoS 2. Whether we sent it.
    pub(super) fn received(&mut self, id: PacketId, memory: &mut Memory) -> bool {
        if let Some(place) = self.find(id, Awaits::PubRec)
            && let Some(slot) = self.slot(place)
        {
            slot.awaits = Awaits::PubComp;
            slot.ticket.into_iter().for_each(|ticket| memory.received(ticket));
            return true;
        }
        self.find(id, Awaits::PubComp).is_some()
    }

    /// A SUBACK or UNSUBACK: the answer to a message, or to what was asked for by ourselves.
    pub(super) fn answered(
        &mut self,
        ack: &SubAck<'_>,
        is_end: bool,
        memory: &mut Memory,
        outgoing: &Outgoing,
        tx: &mut Tx,
    ) -> Checked<Option<Frame>> {
        if let Some(request) = self.renewals.there().and_then(|renewals| renewals.take(ack.packet_id)) {
            self.renew_more(outgoing, tx);
            let mut answer = subscriptions::answer(&request, ack, is_end, memory)?;
            answer.results.retain(|(_, reason)| reason.is_failure());
            let lost = !answer.results.is_empty();
            // What waits behind renewals may leave.
            let seen = if lost { Frame::Answer { seq: 0, answer: answer.into_message() } } else { Frame::Unknown };
            return Ok(Some(seen));
        }
        let Some(place) = self.find(ack.packet_id, Awaits::Answer) else { return Ok(None) };
        let Some(request) = self.slot(place).and_then(|slot| slot.request.take()) else { return Ok(None) };
        let seq = memory.told + 1 + place as u64;
        let answer = subscriptions::answer(&request, ack, is_end, memory)?;
        self.settle(place);
        Ok(Some(Frame::Answer { seq, answer: answer.into_message() }))
    }

    /// The connection is over: what is to be known of its messages on the next.
    pub(super) fn remember(&mut self, memory: &mut Memory) {
        for (seq, slot) in (memory.told + 1..).zip(self.slots.there().into_iter().flat_map(|slots| slots.drain(..))) {
            let Some(ticket) = slot.ticket else { continue };
            // It leaves again, and is refused again: the link was not told.
            if self.refused.iter().any(|(refused, _)| *refused == seq) {
                continue;
            }
            let flight = match slot.awaits {
                // To send it twice would do harm.
                Awaits::Nothing | Awaits::Departure => Flight::Done,
                Awaits::PubComp => Flight::Received,
                Awaits::PubAck | Awaits::PubRec => Flight::Left,
                // To ask twice does no harm.
                Awaits::Answer => continue,
            };
            memory.flights.make().insert(ticket, flight);
        }
        self.settled = 0;
    }

    /// Nothing happens for a while: what is empty holds no memory.
    pub(super) fn sweep(&mut self) {
        self.slots.sweep();
        self.refused.sweep();
        self.renewals.sweep();
    }

    fn slot(&mut self, place: usize) -> Option<&mut Slot> {
        self.slots.there()?.get_mut(place)
    }

    /// What the server has against a message. Messages of another connection, too, may be too much for it.
    fn objection(&self, message: &Message, outgoing: &Outgoing) -> Option<ReasonCode> {
        if self.publishing.length(message) + AROUND > outgoing.packet_limit().into() {
            return Some(ReasonCode::PACKET_TOO_LARGE);
        }
        self.publishing.objection(message)
    }

    /// Where a message is that awaits this.
    fn find(&self, id: PacketId, awaited: Awaits) -> Option<usize> {
        let mut open = self.slots.iter().enumerate().skip(self.settled as usize);
        open.find(|(_, slot)| slot.id == id.get() && slot.awaits == awaited).map(|(place, _)| place)
    }

    fn settle(&mut self, place: usize) {
        let Some(slot) = self.slot(place) else { return };
        let was_under_way = slot.is_under_way();
        slot.awaits = Awaits::Nothing;
        self.under_way -= u16::from(was_under_way);
        self.advance();
    }

    fn advance(&mut self) {
        while self.slots.get(self.settled as usize).is_some_and(|slot| slot.awaits == Awaits::Nothing) {
            self.settled += 1;
        }
    }

    /// The next identifier for what has no ticket, if one is free.
    fn id_without_ticket(&self) -> Option<PacketId> {
        let first = TICKETED as u16 + 1;
        let behind = self.unticketed.max(first - 1).checked_add(1).unwrap_or(first);
        let is_free = |id: &u16| {
            self.slots.iter().all(|slot| slot.id != *id) && self.renewals.asked.iter().all(|(taken, _)| taken != id)
        };
        (behind..=u16::MAX).chain(first..behind).find(is_free).and_then(PacketId::new)
    }
}

impl Slot {
    /// Whether it counts against the receive maximum (MQTT 5.0, section 4.9).
    const fn is_under_way(&self) -> bool {
        matches!(self.awaits, Awaits::PubAck | Awaits::PubRec | Awaits::PubComp)
    }
}

fn id_of(ticket: Ticket) -> PacketId {
    PacketId::MIN.saturating_add((ticket.0.saturating_sub(1) % TICKETED) as u16)
}

pub(super) fn acknowledge(packet: Packet<'_>, outgoing: &Outgoing, tx: &mut Tx) {
    // An acknowledgement breaks no rule; a server that takes packets of four bytes and more takes it.
    outgoing.send(&packet, tx).ok();
}
