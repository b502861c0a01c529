//! The listening sockets of a runtime and those accepted from them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use keepbeat_core::server::{ConnectionId, Server, ServerAction};
use keepbeat_core::time::Timestamp;

use super::ready::{Flag, Ready};
use crate::pump::{self, Traffic};
use crate::socket::{SocketOptions, is_of_one_connection};
use crate::stream::Stream;

/// So many connections are accepted at each port in a turn before others get theirs.
const ACCEPTS_PER_TURN: usize = 64;

/// So many connections are looked at in a turn before timers get theirs.
const CONNECTIONS_PER_TURN: usize = 256;

/// After an error of the listening socket (no file descriptors left, for example) nothing is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the application may do to the sockets without knowing the runtime.
pub(super) trait Close: Send + Sync {
    fn stop_accepting(&self);
    fn close_all(&self);
}

pub(super) struct Sockets<L, S> {
    /// One for each port of the configuration; none when nothing is accepted any more.
    listeners: Vec<L>,
    options: SocketOptions,
    open: Open<S>,
    pub(super) ready: Arc<Ready>,
    /// Connections that were woken and have their turn now, or in the next one.
    woken: VecDeque<Arc<Flag>>,
    /// Accept nothing until then.
    pub(super) paused: Option<Timestamp>,
}

/// The sockets of the open connections, by [`ConnectionId::index`].
struct Open<S>(Vec<Option<Socket<S>>>);

struct Socket<S> {
    id: ConnectionId,
    stream: S,
    waker: Waker,
    /// It has written its share of this turn; the next one is ordered.
    resting: bool,
}

/// What the sockets are driven with.
pub(super) struct Machine<'a> {
    pub(super) now: Timestamp,
    pub(super) server: &'a mut Server,
    pub(super) traffic: &'a mut Traffic,
}

impl<L, S> Sockets<L, S> {
    pub(super) fn new(listeners: Vec<L>, options: SocketOptions) -> Self {
        let (open, ready, woken) = (Open(Vec::new()), Arc::default(), VecDeque::new());
        Self { listeners, options, open, ready, woken, paused: None }
    }

    fn stop_accepting(&mut self) {
        (self.listeners, self.paused) = (Vec::new(), None);
    }
}

impl<L: Send, S: Stream> Close for Mutex<Sockets<L, S>> {
    fn stop_accepting(&self) {
        lock(self).stop_accepting();
    }

    fn close_all(&self) {
        let mut sockets = lock(self);
        sockets.stop_accepting();
        (sockets.open, sockets.woken) = (Open(Vec::new()), VecDeque::new());
        sockets.ready.forget_all();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<L, S: Stream> Sockets<L, S> {
    /// Takes the connections that wait at each port, with the runtime's `accept`. Returns whether any did.
    pub(super) fn accept(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut Machine<'_>,
        mut accept: impl FnMut(&mut Context<'_>, &L) -> io::Result<(S, SocketAddr)>,
    ) -> bool {
        if self.paused.take_if(|until| *until <= machine.now).is_none() && self.paused.is_some() {
            return false;
        }
        let mut any = false;
        for (port, listener) in self.listeners.iter().enumerate() {
            let mut room = ACCEPTS_PER_TURN;
            while room > 0 {
                match accept(cx, listener) {
                    Ok((stream, address)) => {
                        any = true;
                        // A connection that is not taken is closed by its drop.
                        if let Ok(id) = machine.server.accept_at(machine.now, Some(address.ip()), port) {
                            stream.apply(&self.options);
                            let waker = Waker::from(self.ready.flag(id));
                            waker.wake_by_ref();
                            self.open.insert(Socket { id, stream, waker, resting: false });
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_of_one_connection(&error) => any = true,
                    Err(_) => {
                        self.paused = Some(machine.now.after(ACCEPT_PAUSE));
                        return true;
                    }
                }
                room -= 1;
            }
            if room == 0 {
                cx.waker().wake_by_ref();
            }
        }
        any
    }
}

impl<L, S: Stream> Sockets<L, S> {
    /// Reads and writes the connections that the runtime woke. Returns whether there were any.
    pub(super) fn on_woken(&mut self, cx: &Context<'_>, machine: &mut Machine<'_>) -> bool {
        if self.woken.is_empty() {
            self.ready.swap(&mut self.woken);
        }
        // One that has more than its share to say is woken again at once, but its next turn is not this one.
        let count = self.woken.len().min(CONNECTIONS_PER_TURN);
        for _ in 0..count {
            let Some(flag) = self.woken.pop_front() else { break };
            let id = flag.take();
            if let Some(socket) = self.open.get_mut(id) {
                socket.resting = false;
                self.on_readable(id, machine);
                self.on_writable(id, machine);
            }
        }
        if !self.woken.is_empty() || !self.ready.is_empty() {
            cx.waker().wake_by_ref();
        }
        count > 0
    }

    /// Reads and writes each connection whose verdict may be due, and then does what is due. Returns whether anything was.
    pub(super) fn on_due(&mut self, machine: &mut Machine<'_>) -> bool {
        if machine.server.poll_timeout().is_none_or(|due| due.at > machine.now) {
            return false;
        }
        let due: Vec<ConnectionId> = machine.server.due(machine.now).collect();
        for id in due {
            let Some(Socket { stream, .. }) = self.open.get_mut(id) else { continue };
            let Machine { now, server, traffic } = machine;
            if pump::read_connection(server, traffic, *now, id, |buffer| stream.read_now(buffer)).any {
                self.drain(machine);
            }
            self.on_writable(id, machine);
        }
        machine.server.handle_timeout(machine.now);
        true
    }

    pub(super) fn drain(&mut self, machine: &mut Machine<'_>) {
        while let Some(action) = machine.server.poll_action() {
            self.act(action, machine);
        }
    }

    pub(super) fn act(&mut self, action: ServerAction, machine: &mut Machine<'_>) {
        match action {
            ServerAction::Transmit(id) => self.on_writable(id, machine),
            ServerAction::Read(id) => self.on_readable(id, machine),
            ServerAction::Disconnect(id) => self.open.remove(id),
        }
    }

    fn on_readable(&mut self, id: ConnectionId, machine: &mut Machine<'_>) {
        let Some(Socket { stream, waker, .. }) = self.open.get_mut(id) else { return };
        let Machine { now, server, traffic } = machine;
        let cx = &mut Context::from_waker(waker);
        if pump::read_connection(server, traffic, *now, id, |buffer| stream.read(cx, buffer)).more {
            waker.wake_by_ref();
        }
    }

    fn on_writable(&mut self, id: ConnectionId, machine: &mut Machine<'_>) {
        let Some(Socket { stream, waker, resting, .. }) = self.open.get_mut(id) else { return };
        if *resting {
            return;
        }
        let Machine { now, server, traffic } = machine;
        let cx = &mut Context::from_waker(waker);
        let stream = RefCell::new(stream);
        let moved = pump::write_connection(
            server,
            traffic,
            *now,
            id,
            |bytes| stream.borrow_mut().write(cx, bytes),
            |buffer| stream.borrow_mut().read_now(buffer),
        );
        if moved.more {
            *resting = true;
            waker.wake_by_ref();
        }
    }
}

impl<S> Open<S> {
    /// Drops the socket of a connection that had the same number, if that was not removed yet: it is over.
    fn insert(&mut self, socket: Socket<S>) {
        let index = socket.id.index();
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(socket);
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket<S>> {
        self.0.get_mut(id.index())?.as_mut().filter(|socket| socket.id == id)
    }

    fn remove(&mut self, id: ConnectionId) {
        if self.get_mut(id).is_some() {
            self.0[id.index()] = None;
        }
    }
}
