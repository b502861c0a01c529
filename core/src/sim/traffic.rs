//! The applications at both ends: they send numbered messages and keep account of what arrives.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::array;
use core::time::Duration;

use super::report::Delivery;
use crate::entropy::Prng;
use crate::session::Message;
use crate::time::Timestamp;

/// What one application sends to the other end of its link.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// How many messages.
    pub messages: u64,
    /// The shortest and the longest time between two of them.
    pub pause: (Duration, Duration),
    /// The smallest and the largest, in bytes. Below 8 bytes, messages cannot be told apart by their content, so that
    /// nothing but perfect order passes.
    pub size: (usize, usize),
}

impl Traffic {
    /// No messages.
    pub const NONE: Self = Self { messages: 0, pause: (Duration::ZERO, Duration::ZERO), size: (0, 0) };

    /// So many messages of up to 300 bytes, some of them empty, with up to 300 ms between them.
    #[must_use]
    pub const fn small(messages: u64) -> Self {
        Self { messages, pause: (Duration::ZERO, Duration::from_millis(300)), size: (0, 300) }
    }
}

/// One direction of one link.
pub(super) struct Stream {
    traffic: Traffic,
    /// When the next message is to be sent.
    pub(super) next_at: Option<Timestamp>,
    /// The size of the next message; drawn once, however often it has to be offered.
    next_size: usize,
    left: u64,
    /// The sizes of the messages accepted; a message's number is its place.
    accepted: Vec<usize>,
    arrived: BTreeSet<u64>,
    highest: Option<u64>,
    excused: BTreeSet<u64>,
    counts: Delivery,
}

impl Stream {
    pub(super) fn new(traffic: Traffic, prng: &mut Prng) -> Self {
        let mut stream = Self {
            left: traffic.messages,
            traffic,
            next_at: None,
            next_size: 0,
            accepted: Vec::new(),
            arrived: BTreeSet::new(),
            highest: None,
            excused: BTreeSet::new(),
            counts: Delivery::default(),
        };
        stream.plan(Timestamp::ZERO, prng);
        stream
    }

    fn plan(&mut self, now: Timestamp, prng: &mut Prng) {
        let (low, high) = self.traffic.size;
        self.next_at = (self.left > 0).then(|| now.after(prng.span(self.traffic.pause.0, self.traffic.pause.1)));
        self.next_size = match prng.between(0, 9) {
            0 => low,
            1 => high,
            _ => prng.between(low as u64, high as u64) as usize,
        };
    }

    /// The message to send now, if it is time.
    pub(super) fn offer(&self, now: Timestamp) -> Option<Message> {
        let due = self.next_at.is_some_and(|at| at <= now);
        due.then(|| content(self.accepted.len() as u64, self.next_size))
    }

    /// The machine took it.
    pub(super) fn taken(&mut self, now: Timestamp, prng: &mut Prng) {
        self.accepted.push(self.next_size);
        self.left -= 1;
        self.plan(now, prng);
    }

    /// The machine had no room, or no session.
    pub(super) fn refused(&mut self, now: Timestamp) {
        self.next_at = Some(now.after(Duration::from_millis(50)));
    }

    pub(super) fn arrive(&mut self, message: &Message) {
        let next = self.highest.map_or(0, |highest| highest + 1);
        // One that is too small to carry its number can only be the next one.
        let number = number(message).unwrap_or(next);
        let known = self.accepted.get(number as usize).is_some_and(|size| content(number, *size) == *message);
        if !known {
            self.counts.disordered += 1;
        } else if !self.arrived.insert(number) {
            self.counts.duplicated += 1;
        } else if number < next {
            self.counts.disordered += 1;
        } else {
            self.highest = Some(number);
        }
    }

    /// A message came back to the application that sent it.
    pub(super) fn handed_back(&mut self, message: &Message) {
        if let Some(number) = number(message) {
            self.excused.insert(number);
            self.counts.handed_back += 1;
        }
    }

    /// The process that held the messages not acknowledged is gone: the last `count` of those accepted.
    pub(super) fn process_ended(&mut self, count: usize) {
        let end = self.accepted.len() as u64;
        self.excused.extend(end.saturating_sub(count as u64)..end);
        self.counts.died_with_process += count as u64;
    }

    pub(super) fn all_sent(&self) -> bool {
        self.left == 0
    }

    pub(super) fn delivery(&self) -> Delivery {
        let all = 0..self.accepted.len() as u64;
        let lost = all.filter(|number| !self.arrived.contains(number) && !self.excused.contains(number)).count();
        Delivery {
            accepted: self.accepted.len() as u64,
            delivered: self.arrived.len() as u64,
            lost: lost as u64,
            ..self.counts.clone()
        }
    }
}

/// Every other message is a text; it carries its number seven bits a byte, which any text can.
fn content(number: u64, size: usize) -> Message {
    let text = number % 2 == 1;
    let mut payload = vec![(number % if text { 127 } else { 251 }) as u8; size];
    if let Some(start) = payload.first_chunk_mut() {
        *start = number.to_le_bytes();
        if text {
            *start = array::from_fn(|place| (number >> (7 * place)) as u8 & 0x7F);
        }
    }
    Message::checked(text, payload.into())
}

/// The number of a message, unless it is too small to carry one.
fn number(message: &Message) -> Option<u64> {
    let start = message.first_chunk()?;
    if message.is_text() {
        return Some(start.iter().rev().fold(0, |number, digit| number << 7 | u64::from(*digit)));
    }
    Some(u64::from_le_bytes(*start))
}
