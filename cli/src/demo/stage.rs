//! What all tasks of a run share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keepbeat_core::time::Timestamp;
use keepbeat_tokio::clock::Clock;
use tokio::sync::watch as channel;
use tokio::time::Instant;

use super::ledger::{Ledger, Totals};
use super::relay::Relay;
use super::schedule::Kind;
use super::watch::{Side, Watch};

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Faults come, messages flow.
    Playing,
    /// No more faults and messages; the last ones arrive.
    Draining,
    /// Everybody goes home.
    Over,
}

/// The links from the outside: relays, ledgers, and the watch. Locks are held for a moment, never across a wait.
pub(super) struct Stage {
    start: Timestamp,
    relays: Vec<Relay>,
    watch: Mutex<Watch>,
    /// For each link, what the client sends and what the server sends.
    ledgers: Mutex<Vec<[Ledger; 2]>>,
    /// Over a broker: who has subscribed. What is published before that is for nobody.
    listening: Vec<AtomicBool>,
    /// Nobody says anything that is to arrive exactly once.
    hushed: AtomicBool,
    phase: channel::Sender<Phase>,
}

impl Stage {
    /// With a relay and a ledger for each link.
    pub(super) fn new(
        start: Timestamp,
        relays: Vec<Relay>,
        ledgers: Vec<Ledger>,
        bound: Duration,
        kinds: &[Kind],
    ) -> Self {
        Self {
            start,
            watch: Mutex::new(Watch::new(start, relays.len(), bound, kinds)),
            ledgers: Mutex::new(ledgers.into_iter().map(|ledger| [ledger; 2]).collect()),
            listening: relays.iter().map(|_| AtomicBool::new(false)).collect(),
            relays,
            hushed: AtomicBool::new(false),
            phase: channel::Sender::new(Phase::Playing),
        }
    }

    /// The runtime's name for a moment of the run.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        Instant::now() + self.start.after(at).since(Clock::now())
    }

    /// How long the run has been going.
    pub(super) fn elapsed(&self) -> Duration {
        Clock::now().since(self.start)
    }

    pub(super) fn links(&self) -> usize {
        self.relays.len()
    }

    pub(super) fn relay(&self, link: usize) -> Option<&Relay> {
        self.relays.get(link)
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes in the ledger of what this end of a link sends.
    pub(super) fn ledger<R>(&self, link: usize, sender: Side, write: impl FnOnce(&mut Ledger) -> R) -> Option<R> {
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        let [client, server] = ledgers.get_mut(link)?;
        Some(write(match sender {
            Side::Client => client,
            Side::Server => server,
        }))
    }

    /// What this end of a link sent has arrived.
    pub(super) fn arrived(&self, link: usize, sender: Side, message: &[u8]) {
        if let Some(Some(problem)) = self.ledger(link, sender, |ledger| ledger.arrived(link, message)) {
            self.watch().complain(Clock::now(), Some(link), format!("from the {}: {problem}", sender.name()));
        }
    }

    /// This link has subscribed.
    pub(super) fn listens(&self, link: usize) {
        if let Some(listening) = self.listening.get(link) {
            listening.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_listening(&self, link: usize) -> bool {
        self.listening.get(link).is_some_and(|listening| listening.load(Ordering::Relaxed))
    }

    /// From now on, nobody says what is to arrive exactly once, or everybody does again.
    pub(super) fn hush(&self, hushed: bool) {
        self.hushed.store(hushed, Ordering::Relaxed);
    }

    /// Whether this end of a link may speak.
    pub(super) fn may_say(&self, link: usize, sender: Side) -> bool {
        !self.hushed.load(Ordering::Relaxed)
            || self.ledger(link, sender, |ledger| ledger.is_exactly_once()) == Some(false)
    }

    /// Whether nothing is under way that is to arrive exactly once.
    pub(super) fn is_quiet(&self) -> bool {
        let ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        !ledgers.iter().flatten().any(|ledger| ledger.is_exactly_once() && ledger.missing() > 0)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals::of(self.ledgers.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten())
    }

    /// When the relay last passed on a byte to this end.
    pub(super) fn silent_since(&self, link: usize, side: Side) -> Timestamp {
        self.relay(link).map_or(self.start, |relay| relay.towards(side).last().max(self.start))
    }

    /// What passed through the relays.
    pub(super) fn bytes(&self) -> u64 {
        self.relays.iter().map(|relay| relay.towards(Side::Client).bytes() + relay.towards(Side::Server).bytes()).sum()
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(super) fn phase(&self) -> channel::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until every message has arrived and every link is up.
    pub(super) async fn settled(&self) {
        loop {
            if self.totals().lost == 0 && self.watch().census().up == self.links() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
