//! Looks names up in threads of its own, because the operating system makes one wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use keepbeat_core::client::Epoch;
use mio::Waker;

use crate::slab::Key;

/// So many names are looked up at once. One name never takes more than one of the threads.
const THREADS: usize = 4;

/// The links that wait for a name, and its addresses; none if it was not found.
pub(crate) struct Found {
    pub(crate) asked: BTreeMap<Key, Epoch>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// The threads, which are started when they are needed. Dropping this lets them end.
pub(crate) struct Names {
    shared: Arc<Shared>,
    found: Receiver<Found>,
    sender: Sender<Found>,
    waker: Arc<Waker>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Names whose look-up has not begun, the oldest first, each once.
    queue: VecDeque<String>,
    /// Who asked for them. One look-up serves all who asked before it began.
    asked: BTreeMap<String, BTreeMap<Key, Epoch>>,
    running: BTreeSet<String>,
    threads: usize,
    closed: bool,
}

impl Names {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (sender, found) = channel();
        Self { shared: Arc::default(), found, sender, waker }
    }

    #[cfg(feature = "netwatch")]
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Begins to look `name`, a host and port, up. The waker rings when [`Names::poll`] has the answer.
    pub(crate) fn look_up(&self, name: &str, link: Key, epoch: Epoch) {
        let mut state = self.shared.lock();
        let asked = state.asked.entry(name.to_owned()).or_default();
        let is_new = asked.is_empty();
        asked.insert(link, epoch);
        if !is_new {
            return;
        }
        state.queue.push_back(name.to_owned());
        if state.threads < THREADS && state.queue.len() + state.running.len() > state.threads {
            let worker = Worker { shared: self.shared.clone(), found: self.sender.clone(), waker: self.waker.clone() };
            let started = thread::Builder::new().name("keepbeat-names".to_owned()).spawn(move || worker.run());
            state.threads += usize::from(started.is_ok());
        }
        if state.threads == 0 {
            // No thread can be had: nothing is found now, and the links try again.
            while let Some((_, asked)) = state.next() {
                state.running.clear();
                answer(&self.sender, &self.waker, Found { asked, addresses: Vec::new() });
            }
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// The next answer.
    pub(crate) fn poll(&self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next name that is to be looked up, and who asked.
    fn next(&mut self) -> Option<(String, BTreeMap<Key, Epoch>)> {
        let place = self.queue.iter().position(|name| !self.running.contains(name))?;
        let name = self.queue.remove(place)?;
        self.running.insert(name.clone());
        let asked = self.asked.remove(&name).unwrap_or_default();
        Some((name, asked))
    }
}

struct Worker {
    shared: Arc<Shared>,
    found: Sender<Found>,
    waker: Arc<Waker>,
}

impl Worker {
    fn run(self) {
        let mut state = self.shared.lock();
        while !state.closed {
            let Some((name, asked)) = state.next() else {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let addresses = name.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
            answer(&self.found, &self.waker, Found { asked, addresses });
            state = self.shared.lock();
            state.running.remove(&name);
        }
    }
}

fn answer(found: &Sender<Found>, waker: &Waker, answer: Found) {
    if found.send(answer).is_ok() {
        // It fails when its `Poll` is gone, and nobody waits then.
        drop(waker.wake());
    }
}
