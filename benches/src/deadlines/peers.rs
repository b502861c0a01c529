//! What a user would otherwise keep deadlines in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use keepbeat_core::time::Timestamp;
use tokio::runtime::Runtime;
use tokio::time::{Instant, Sleep};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::{Deadlines, Expire, Rearm, SILENCE, START};

/// The last beat of each link, and nobody who looks at it: a store.
pub struct Stores(Vec<Timestamp>);

impl Stores {
    /// When a link was last heard.
    #[must_use]
    pub fn last(&self, link: usize) -> Timestamp {
        self.0[link]
    }
}

impl Deadlines for Stores {
    fn new(links: usize) -> Self {
        Self(vec![START; links])
    }

    fn touch(&mut self, link: usize, now: Timestamp) {
        self.0[link] = now;
    }
}

/// tokio's clock, paused, so that virtual time can be told to it.
struct Paused {
    runtime: Runtime,
    base: Instant,
    now: Timestamp,
}

impl Paused {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let base = runtime.block_on(async { Instant::now() });
        Self { runtime, base, now: START }
    }

    fn at(&self, at: Timestamp) -> Instant {
        self.base + at.since(START)
    }

    fn advance(&mut self, now: Timestamp) {
        let span = now.since(self.now);
        if span > Duration::ZERO {
            self.runtime.block_on(tokio::time::advance(span));
            self.now = now;
        }
    }
}

/// One tokio [`Sleep`] per link, as in a `select!` with a timeout. Expired ones wake their tasks, which are not run.
pub struct Sleeps {
    // Before the runtime, whose driver they are filed in.
    sleeps: Vec<Pin<Box<Sleep>>>,
    clock: Paused,
    woken: Arc<Woken>,
}

/// Counts the tasks woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Deadlines for Sleeps {
    fn new(links: usize) -> Self {
        let (clock, woken) = (Paused::new(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let due = clock.at(START.after(SILENCE));
        let guard = clock.runtime.enter();
        let sleep = |_| {
            let mut sleep = Box::pin(tokio::time::sleep_until(due));
            // Filed by the first poll.
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            sleep
        };
        let sleeps = (0..links).map(sleep).collect();
        drop(guard);
        Self { sleeps, clock, woken }
    }

    fn touch(&mut self, link: usize, now: Timestamp) {
        self.nearer(link, now.after(SILENCE));
    }
}

impl Rearm for Sleeps {
    fn nearer(&mut self, link: usize, due: Timestamp) {
        let due = self.clock.at(due);
        self.sleeps[link].as_mut().reset(due);
    }
}

impl Expire for Sleeps {
    fn turn(&mut self, now: Timestamp) -> usize {
        self.clock.advance(now);
        self.woken.0.swap(0, Ordering::Relaxed)
    }
}

/// One tokio-util [`DelayQueue`] for all links.
pub struct Queue {
    queue: DelayQueue<u32>,
    keys: Vec<Key>,
    clock: Paused,
}

impl Queue {
    /// The earliest deadline.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.queue.peek().map(|key| self.queue.deadline(&key))
    }
}

impl Deadlines for Queue {
    fn new(links: usize) -> Self {
        let clock = Paused::new();
        let due = clock.at(START.after(SILENCE));
        let guard = clock.runtime.enter();
        let mut queue = DelayQueue::new();
        let keys = (0..links as u32).map(|link| queue.insert_at(link, due)).collect();
        drop(guard);
        Self { queue, keys, clock }
    }

    fn touch(&mut self, link: usize, now: Timestamp) {
        self.nearer(link, now.after(SILENCE));
    }
}

impl Rearm for Queue {
    fn nearer(&mut self, link: usize, due: Timestamp) {
        let due = self.clock.at(due);
        self.queue.reset_at(&self.keys[link], due);
    }
}

impl Expire for Queue {
    fn turn(&mut self, now: Timestamp) -> usize {
        self.clock.advance(now);
        let _guard = self.clock.runtime.enter();
        let (mut expired, mut context) = (0, Context::from_waker(Waker::noop()));
        while let Poll::Ready(Some(_)) = self.queue.poll_expired(&mut context) {
            expired += 1;
        }
        expired
    }
}

/// One timer of async-io (smol's) per link. Its clock is the real one, and its thread files part of them.
pub struct Reactor {
    timers: Vec<smol::Timer>,
    base: std::time::Instant,
}

impl Deadlines for Reactor {
    #[expect(clippy::disallowed_methods, reason = "async-io has no other clock")]
    fn new(links: usize) -> Self {
        // Far from now: none comes up while others are measured.
        let base = std::time::Instant::now() + Duration::from_secs(3600);
        let timer = |_| {
            let mut timer = smol::Timer::at(base + SILENCE);
            // Filed by the first poll.
            assert!(Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            timer
        };
        Self { timers: (0..links).map(timer).collect(), base }
    }

    fn touch(&mut self, link: usize, now: Timestamp) {
        self.nearer(link, now.after(SILENCE));
    }
}

impl Rearm for Reactor {
    fn nearer(&mut self, link: usize, due: Timestamp) {
        self.timers[link].set_at(self.base + due.since(START));
    }
}
