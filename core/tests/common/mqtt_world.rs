//! A client and a [`Broker`], and between them a network that delays, holds and cuts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::session::{MemoryStore, Room, SessionStore as _, Ticket};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::mqtt::Mqtt;

use super::broker::{Broker, Manner};
use super::{MS, assert_later};

/// So many bytes wait in one direction until the writer has to wait.
const WINDOW: usize = 64 << 10;

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) client: Client<Mqtt>,
    config: Arc<ClientConfig<Mqtt>>,
    store: MemoryStore,
    pub(crate) broker: Broker,
    prng: Prng,
    open: Option<Epoch>,
    pub(crate) up: Line,
    pub(crate) down: Line,
    /// No byte moves until then.
    pub(crate) held_until: Timestamp,
    /// Nobody lets a client in until then.
    pub(crate) refuses_until: Timestamp,
    /// Whether the application takes events.
    pub(crate) looks: bool,
    /// The alarm rings late, by up to so much.
    pub(crate) noise: Duration,
    pub(crate) events: Vec<(Timestamp, Event)>,
    alarm: Option<(Timestamp, Timestamp)>,
}

/// One direction.
pub(crate) struct Line {
    bytes: VecDeque<(Timestamp, Vec<u8>)>,
    /// The connection is cut before this byte passes, counted from its first.
    pub(crate) cut_at: Option<u64>,
    passed: u64,
    /// Bytes per second; `None` for any number.
    pub(crate) bandwidth: Option<u64>,
    free_at: Timestamp,
    latency: Duration,
}

impl World {
    pub(crate) fn new(config: Arc<ClientConfig<Mqtt>>, manner: Manner, seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let line = |prng: &mut Prng| Line::new(prng.span(Duration::ZERO, 30 * MS));
        let (up, down) = (line(&mut prng), line(&mut prng));
        Self {
            now: Timestamp::ZERO,
            client: Client::new(config.clone(), prng.next_u64()),
            config,
            store: MemoryStore::default(),
            broker: Broker::new(manner, prng.next_u64()),
            prng,
            open: None,
            up,
            down,
            held_until: Timestamp::ZERO,
            refuses_until: Timestamp::ZERO,
            looks: true,
            noise: Duration::ZERO,
            events: Vec::new(),
            alarm: None,
        }
    }

    /// Lets time pass up to `target`.
    pub(crate) fn run_to(&mut self, target: Timestamp) {
        loop {
            self.turn();
            match self.next() {
                Some(next) if next <= target => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = self.now.max(target);
        self.turn();
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        self.run_to(self.now.after(span));
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The connection breaks. What the client has written may still arrive.
    pub(crate) fn cut(&mut self) {
        if self.prng.between(0, 1) == 0 {
            self.flush();
        }
        self.hang_up(Failure::Reset);
    }

    /// The process is killed, and another takes its place.
    pub(crate) fn restart(&mut self) {
        self.cut();
        self.client = Client::new(self.config.clone(), self.prng.next_u64());
        self.client.restore(self.now, self.store.load().unwrap()).unwrap();
        self.client.open(self.now);
    }

    /// The tickets of the messages that the store has.
    pub(crate) fn stored(&mut self) -> BTreeSet<Ticket> {
        let entries = self.store.load().unwrap().into_iter();
        entries.filter(|(key, _)| key.room == Room::Message).map(|(key, _)| Ticket(key.number)).collect()
    }

    /// What has changed is kept.
    pub(crate) fn keep(&mut self) {
        self.store.apply(&self.client.take_changes()).unwrap();
    }

    fn hang_up(&mut self, failure: Failure) {
        self.broker.lose();
        self.up.clear();
        self.down.clear();
        if let Some(epoch) = self.open.take() {
            self.client.handle_input(self.now, Input::Ended { epoch, failure });
        }
    }

    /// All that was written arrives.
    fn flush(&mut self) {
        for (_, bytes) in core::mem::take(&mut self.up.bytes) {
            self.broker.hear(self.now, &bytes);
        }
    }

    fn turn(&mut self) {
        loop {
            let mut busy = self.act() | self.write() | self.carry_up() | self.carry_down();
            let epoch = self.open;
            if self.broker.has_hung_up() && self.down.bytes.is_empty() {
                self.hang_up(Failure::Eof);
                busy = true;
            }
            busy |= epoch != self.open;
            while self.looks
                && let Some(event) = self.client.poll_event(self.now)
            {
                busy = true;
                self.keep();
                self.events.push((self.now, event));
            }
            if !busy && self.client.poll_timeout().is_some() && self.alarm().is_some_and(|at| at <= self.now) {
                self.client.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        if self.noise.is_zero() {
            assert_later(self.now, self.client.poll_timeout());
        }
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Connect { epoch } if self.now < self.refuses_until => {
                    self.client.handle_input(self.now, Input::OpenFailed { epoch, failure: Failure::Refused });
                }
                Action::Connect { epoch } => {
                    self.open = Some(epoch);
                    self.up.clear();
                    self.down.clear();
                    self.broker.accept(self.now);
                    self.client.handle_input(self.now, Input::Opened { epoch });
                }
                Action::Disconnect { epoch } if self.open == Some(epoch) => {
                    if self.now >= self.held_until {
                        self.flush();
                    }
                    self.open = None;
                    self.broker.lose();
                }
                _ => {}
            }
            busy = true;
        }
        busy
    }

    fn write(&mut self) -> bool {
        self.keep();
        let Some(epoch) = self.open else { return false };
        let room = WINDOW.saturating_sub(self.up.waiting()).min(self.client.transmit().len());
        if room == 0 {
            return false;
        }
        let count = self.prng.between(1, room as u64) as usize;
        let bytes = self.client.transmit()[..count].to_vec();
        self.up.put(self.now, bytes);
        self.client.handle_input(self.now, Input::Written { epoch, count });
        true
    }

    fn carry_up(&mut self) -> bool {
        if self.now < self.held_until || self.open.is_none() {
            return false;
        }
        let Some((bytes, is_cut)) = self.up.take(self.now) else { return false };
        self.broker.hear(self.now, &bytes);
        if is_cut {
            self.hang_up(Failure::Reset);
        }
        true
    }

    fn carry_down(&mut self) -> bool {
        let said = self.broker.say(self.now);
        let mut busy = !said.is_empty();
        if busy && self.open.is_some() {
            self.down.put(self.now, said);
        }
        let Some(epoch) = self.open.filter(|_| self.now >= self.held_until && self.client.wants_read()) else {
            return busy;
        };
        if let Some((bytes, is_cut)) = self.down.take(self.now) {
            busy = true;
            let at = self.prng.between(1, bytes.len().max(1) as u64) as usize;
            let (front, back) = bytes.split_at(at.min(bytes.len()));
            for bytes in [front, back].into_iter().filter(|bytes| !bytes.is_empty()) {
                self.client.handle_input(self.now, Input::Received { epoch, bytes });
            }
            if is_cut && self.open == Some(epoch) {
                self.hang_up(Failure::Reset);
            }
        }
        busy
    }

    fn next(&mut self) -> Option<Timestamp> {
        let reads = self.client.wants_read();
        let lines = [Some(&self.up), Some(&self.down).filter(|_| reads)];
        let moved = lines.into_iter().flatten().filter_map(Line::next).min();
        let moved = moved.filter(|_| self.open.is_some()).map(|at| at.max(self.held_until));
        [self.alarm(), moved, self.broker.due()].into_iter().flatten().min()
    }

    /// When the driver wakes for the client's deadline.
    fn alarm(&mut self) -> Option<Timestamp> {
        let due = self.client.poll_timeout()?.at;
        if self.alarm.is_none_or(|(of, _)| of != due) {
            self.alarm = Some((due, due.after(self.prng.span(Duration::ZERO, self.noise))));
        }
        self.alarm.map(|(_, at)| at)
    }
}

impl Line {
    const fn new(latency: Duration) -> Self {
        Self { bytes: VecDeque::new(), cut_at: None, passed: 0, bandwidth: None, free_at: Timestamp::ZERO, latency }
    }

    fn clear(&mut self) {
        (self.bytes, self.passed) = (VecDeque::new(), 0);
        self.free_at = Timestamp::ZERO;
    }

    fn waiting(&self) -> usize {
        self.bytes.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn put(&mut self, now: Timestamp, bytes: Vec<u8>) {
        // On a slow line, what is long arrives bit by bit.
        let size = if self.bandwidth.is_some() { 1000 } else { usize::MAX };
        for bytes in bytes.chunks(size) {
            let took = self.bandwidth.map_or(0, |bandwidth| bytes.len() as u64 * 1_000_000_000 / bandwidth);
            self.free_at = self.free_at.max(now).after(Duration::from_nanos(took));
            self.bytes.push_back((self.free_at.after(self.latency), bytes.to_vec()));
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.bytes.front().map(|(at, _)| *at)
    }

    /// What has arrived, and whether the connection is cut behind it.
    fn take(&mut self, now: Timestamp) -> Option<(Vec<u8>, bool)> {
        self.next().filter(|at| *at <= now)?;
        let (_, mut bytes) = self.bytes.pop_front()?;
        let left = self.cut_at.map(|at| at.saturating_sub(self.passed)).filter(|left| *left < bytes.len() as u64);
        self.passed += bytes.len() as u64;
        if let Some(left) = left {
            bytes.truncate(left as usize);
            self.cut_at = None;
        }
        Some((bytes, left.is_some()))
    }
}
