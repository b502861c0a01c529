//! One watcher for all who listen: started for the first, ended with the last.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keepbeat_core::reconnect::Hint;

pub(super) type Callback = Box<dyn FnMut(Hint) + Send>;

/// `W` is the handle of the watcher. Dropping it waits until the watcher's thread has ended, so it is never dropped while
/// that thread calls anybody, and never under a lock.
pub(super) struct Hub<W> {
    /// Held by who starts the watcher.
    starting: Mutex<()>,
    state: Mutex<State<W>>,
}

struct State<W> {
    watcher: Option<W>,
    /// Counts the watchers: what an earlier one still says is not heard.
    generation: u64,
    down: bool,
    /// The watcher's thread calls the listeners.
    calling: bool,
    next_key: u64,
    listeners: Vec<(u64, Arc<Listener>)>,
}

/// `None` once it panicked.
type Listener = Mutex<Option<Callback>>;

impl<W> Hub<W> {
    pub(super) const fn new() -> Self {
        let state =
            State { watcher: None, generation: 0, down: false, calling: false, next_key: 0, listeners: Vec::new() };
        Self { starting: Mutex::new(()), state: Mutex::new(state) }
    }

    /// Adds a listener. If there is no watcher, `start` makes one, which tells its generation with every change.
    pub(super) fn subscribe<E>(&self, callback: Callback, start: impl FnOnce(u64) -> Result<W, E>) -> Result<u64, E> {
        let starting = lock(&self.starting);
        let mut state = lock(&self.state);
        if state.watcher.is_none() {
            state.generation += 1;
            let generation = state.generation;
            drop(state);
            // The watcher tells the initial state before it has started.
            let watcher = start(generation)?;
            state = lock(&self.state);
            state.watcher = Some(watcher);
        }
        let listener = Arc::new(Mutex::new(Some(callback)));
        // Locked before anybody else can see it, so that nothing newer comes before the first call.
        let mut first = lock(&listener);
        let key = state.next_key;
        state.next_key += 1;
        state.listeners.push((key, listener.clone()));
        let down = state.down;
        drop((state, starting));
        if down {
            call(&mut first, Hint::NetworkDown);
        }
        drop(first);
        Ok(key)
    }

    /// Removes a listener, and with the last one the watcher. If the watcher is calling somebody right now, it stays for the
    /// next listener: it might be the one who removes, and cannot wait for its own end.
    pub(super) fn unsubscribe(&self, key: u64) {
        let mut state = lock(&self.state);
        let index = state.listeners.iter().position(|(other, _)| *other == key);
        let listener = index.map(|index| state.listeners.swap_remove(index));
        let over = state.listeners.is_empty() && !state.calling;
        let watcher = if over { state.watcher.take() } else { None };
        drop(state);
        drop((listener, watcher));
    }

    /// The watcher saw a change, or the initial state.
    pub(super) fn changed(&self, generation: u64, down: bool, hint: Option<Hint>) {
        let mut state = lock(&self.state);
        if state.generation != generation {
            return;
        }
        state.down = down;
        let Some(hint) = hint else { return };
        let listeners: Vec<_> = state.listeners.iter().map(|(_, listener)| listener.clone()).collect();
        state.calling = true;
        drop(state);
        for listener in listeners {
            call(&mut lock(&listener), hint);
        }
        lock(&self.state).calling = false;
    }
}

fn call(listener: &mut Option<Callback>, hint: Hint) {
    if let Some(callback) = listener
        && catch_unwind(AssertUnwindSafe(|| callback(hint))).is_err()
    {
        *listener = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    type Watcher = Arc<()>;

    fn listen(hub: &Hub<Watcher>, watcher: &Watcher) -> (u64, Receiver<Hint>) {
        let (sender, receiver) = channel();
        let key = hub.subscribe(Box::new(move |hint| sender.send(hint).unwrap()), |_| Ok::<_, ()>(watcher.clone()));
        (key.unwrap(), receiver)
    }

    fn heard(receiver: &Receiver<Hint>) -> Vec<Hint> {
        receiver.try_iter().collect()
    }

    #[test]
    fn all_listeners_share_one_watcher_that_ends_with_the_last() {
        let (hub, watcher) = (Hub::new(), Watcher::default());
        let (a, hears_a) = listen(&hub, &watcher);
        let (b, hears_b) = listen(&hub, &watcher);
        assert_eq!(Arc::strong_count(&watcher), 2);
        hub.changed(1, false, Some(Hint::NetworkUp));
        hub.unsubscribe(a);
        hub.changed(1, true, Some(Hint::NetworkDown));
        assert_eq!(heard(&hears_a), [Hint::NetworkUp]);
        assert_eq!(heard(&hears_b), [Hint::NetworkUp, Hint::NetworkDown]);
        assert_eq!(Arc::strong_count(&watcher), 2);
        hub.unsubscribe(b);
        assert_eq!(Arc::strong_count(&watcher), 1);
    }

    #[test]
    fn who_comes_while_the_network_is_down_is_told() {
        let (hub, watcher) = (Hub::new(), Watcher::default());
        let key = hub.subscribe(Box::new(|_| {}), |generation| {
            hub.changed(generation, true, None);
            Ok::<_, ()>(watcher.clone())
        });
        let (_, hears) = listen(&hub, &watcher);
        assert_eq!(heard(&hears), [Hint::NetworkDown]);
        hub.changed(1, false, Some(Hint::NetworkUp));
        let (_, late) = listen(&hub, &watcher);
        assert_eq!((heard(&hears), heard(&late)), (vec![Hint::NetworkUp], vec![]));
        hub.unsubscribe(key.unwrap());
    }

    #[test]
    fn what_an_ended_watcher_still_says_is_not_heard() {
        let (hub, watcher) = (Hub::new(), Watcher::default());
        let (key, _) = listen(&hub, &watcher);
        hub.unsubscribe(key);
        let (_, hears) = listen(&hub, &watcher);
        hub.changed(1, true, Some(Hint::NetworkDown));
        let (_, late) = listen(&hub, &watcher);
        assert_eq!((heard(&hears), heard(&late)), (vec![], vec![]));
        hub.changed(2, false, Some(Hint::NetworkUp));
        assert_eq!((heard(&hears), heard(&late)), (vec![Hint::NetworkUp], vec![Hint::NetworkUp]));
    }

    #[test]
    fn a_watcher_that_does_not_start_leaves_no_listener() {
        let (hub, watcher) = (Hub::new(), Watcher::default());
        assert_eq!(hub.subscribe(Box::new(|_| {}), |_| Err("refused")), Err("refused"));
        assert!(lock(&hub.state).listeners.is_empty());
        let (_, hears) = listen(&hub, &watcher);
        hub.changed(2, false, Some(Hint::NetworkUp));
        assert_eq!(heard(&hears), [Hint::NetworkUp]);
    }

    #[test]
    fn a_listener_that_panics_is_not_called_again_and_others_are() {
        let (hub, watcher) = (Hub::new(), Watcher::default());
        let (sender, calls) = channel();
        let bad = Box::new(move |hint| {
            sender.send(hint).unwrap();
            panic!("on purpose");
        });
        hub.subscribe(bad, |_| Ok::<_, ()>(watcher.clone())).unwrap();
        let (_, hears) = listen(&hub, &watcher);
        for _ in 0..2 {
            hub.changed(1, false, Some(Hint::NetworkUp));
        }
        assert_eq!((heard(&calls).len(), heard(&hears).len()), (1, 2));
    }

    /// Dropping the watcher in its own call would wait for ever; here it would be noticed by the count.
    #[test]
    fn a_listener_may_remove_itself_and_then_the_watcher_waits_for_the_next() {
        let (hub, watcher) = (Arc::new(Hub::new()), Watcher::default());
        let (own, key) = (hub.clone(), Arc::new(OnceLock::new()));
        let (mine, watching) = (key.clone(), watcher.clone());
        let callback = Box::new(move |_| {
            own.unsubscribe(*mine.get().unwrap());
            assert_eq!(Arc::strong_count(&watching), 3);
        });
        key.set(hub.subscribe(callback, |_| Ok::<_, ()>(watcher.clone())).unwrap()).unwrap();
        hub.changed(1, false, Some(Hint::NetworkUp));
        assert_eq!(Arc::strong_count(&watcher), 2);
        let (next, hears) = listen(&hub, &watcher);
        hub.changed(1, false, Some(Hint::NetworkUp));
        assert_eq!(heard(&hears), [Hint::NetworkUp]);
        hub.unsubscribe(next);
        assert_eq!(Arc::strong_count(&watcher), 1);
    }
}
