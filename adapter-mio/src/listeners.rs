//! One listener's sockets and the connections accepted from them. The numbers are those of the driver contract in the docs of
//! [`keepbeat_core`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_adapter::pump::{self, Traffic};
use keepbeat_adapter::socket::{SocketOptions, failure, is_of_one_connection};
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerInput, Sessions};
use keepbeat_core::time::Timestamp;
use mio::net::TcpStream;

use crate::slab::Key;
use crate::sockets::{Owner, Socket, Sockets, Turn};

/// So many connections are accepted at each port in a turn before others get theirs.
const ACCEPTS_PER_TURN: usize = 64;

/// So many connections that are ready have a turn before timers and links get theirs.
const CONNECTIONS_PER_TURN: usize = 256;

/// After an error of the listening socket (no file descriptors left, for example) nothing is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Listener {
    pub(crate) server: Server,
    /// One for each port of the configuration.
    pub(crate) addresses: Vec<SocketAddr>,
    options: SocketOptions,
    /// In the same order; none when nothing is accepted any more.
    listening: Vec<Key>,
    /// Accept nothing until then.
    paused: Option<Timestamp>,
    open: Open,
    ready: VecDeque<Key>,
    /// What the application's own calls made the server want.
    actions: Vec<ServerAction>,
    /// It is in the driver's list of those who have events.
    pub(crate) speaking: bool,
}

/// The sockets of the open connections, by [`ConnectionId::index`].
#[derive(Default)]
struct Open {
    /// The index of a socket's slot, or [`NONE`].
    slots: Vec<u32>,
    count: usize,
}

/// Higher than any index.
const NONE: u32 = u32::MAX;

/// What listeners are driven with.
pub(crate) struct Io<'a> {
    pub(crate) now: Timestamp,
    pub(crate) sockets: &'a mut Sockets,
    pub(crate) traffic: &'a mut Traffic,
}

impl Listener {
    pub(crate) fn new(server: Server, listening: Vec<Key>, addresses: Vec<SocketAddr>, options: SocketOptions) -> Self {
        Self {
            server,
            addresses,
            options,
            listening,
            paused: None,
            open: Open::default(),
            ready: VecDeque::new(),
            actions: Vec::new(),
            speaking: false,
        }
    }

    /// The `Poll` said something of a connection.
    pub(crate) fn wake(&mut self, key: Key, sockets: &mut Sockets) {
        if let Some(socket) = sockets.get_mut(key)
            && socket.turn == Turn::None
        {
            socket.turn = Turn::Noted;
            self.ready.push_back(key);
        }
    }

    /// The application did something: what the server wants done is done in the next turn.
    pub(crate) fn note_actions(&mut self) {
        self.actions.extend(std::iter::from_fn(|| self.server.poll_action()));
    }

    pub(crate) fn stop_accepting(&mut self, sockets: &mut Sockets) {
        self.paused = None;
        for socket in std::mem::take(&mut self.listening) {
            sockets.close(socket);
        }
    }

    /// Closes everything at once.
    pub(crate) fn abort(&mut self, now: Timestamp, sockets: &mut Sockets) -> Sessions {
        self.stop_accepting(sockets);
        for socket in std::mem::take(&mut self.open).all(sockets) {
            sockets.close(socket);
        }
        self.ready.clear();
        let sessions = self.server.take_sessions(now);
        self.note_actions();
        sessions
    }

    /// Whether nothing is accepted and nobody is connected any more.
    pub(crate) fn is_over(&self) -> bool {
        self.listening.is_empty() && self.open.count == 0
    }

    /// Rules 2 to 5. Returns whether there was anything to do.
    pub(crate) fn turn(&mut self, key: Key, io: &mut Io<'_>) -> bool {
        // 2. Input before timeouts.
        let mut busy = self.accept(key, io);
        busy |= self.on_ready(io);
        busy |= self.drain(io);
        // 3. The clock decides.
        busy |= self.on_due(io);
        // 4. and 5. What came of it.
        busy | self.drain(io)
    }

    /// Whether another turn is to follow at once.
    pub(crate) fn has_work(&self, sockets: &Sockets) -> bool {
        let waiting = || self.listening.iter().any(|key| sockets.get(*key).is_some_and(Socket::is_readable));
        !self.ready.is_empty() || !self.actions.is_empty() || (self.paused.is_none() && waiting())
    }

    /// When the next turn comes at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.server.poll_timeout().map(|due| due.at).into_iter().chain(self.paused).min()
    }

    fn accept(&mut self, key: Key, io: &mut Io<'_>) -> bool {
        if self.paused.take_if(|until| *until <= io.now).is_none() && self.paused.is_some() {
            return false;
        }
        let mut any = false;
        for port in 0..self.listening.len() {
            any |= self.accept_at(key, port, io);
        }
        any
    }

    fn accept_at(&mut self, key: Key, port: usize, io: &mut Io<'_>) -> bool {
        for round in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.listening.get(port) else { return round > 0 };
            match io.sockets.accept(*listening) {
                Ok(accepted) => self.take_in(key, port, accepted, io),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return round > 0,
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => {
                    // No event comes for those who wait already; the socket counts as readable until it would block.
                    self.paused = Some(io.now.after(ACCEPT_PAUSE));
                    return true;
                }
            }
        }
        true
    }

    fn take_in(&mut self, key: Key, port: usize, (stream, address): (TcpStream, SocketAddr), io: &mut Io<'_>) {
        // A connection that is not taken is closed by its drop.
        let Ok(id) = self.server.accept_at(io.now, Some(address.ip()), port) else { return };
        self.options.apply(&stream);
        // The driver has seen to it that the index fits.
        match io.sockets.adopt(stream, Owner::Connection(key.index as u16, id)) {
            Ok(socket) => {
                if let Some(over) = self.open.insert(id, socket, io.sockets) {
                    io.sockets.close(over);
                }
            }
            Err(error) => self.server.handle_input(io.now, id, ServerInput::Ended(failure(&error))),
        }
    }

    fn on_ready(&mut self, io: &mut Io<'_>) -> bool {
        let count = self.ready.len().min(CONNECTIONS_PER_TURN);
        for _ in 0..count {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(socket) = io.sockets.get_mut(key) else { continue };
            socket.turn = Turn::None;
            if let Owner::Connection(_, id) = socket.owner() {
                self.on_readable(id, io);
                self.on_writable(id, io);
            }
        }
        count > 0
    }

    /// Reads each connection whose verdict may be due, and then does what is due.
    fn on_due(&mut self, io: &mut Io<'_>) -> bool {
        if self.server.poll_timeout().is_none_or(|due| due.at > io.now) {
            return false;
        }
        let due: Vec<ConnectionId> = self.server.due(io.now).collect();
        for id in due {
            let Some(socket) = self.open.get(id, io.sockets).and_then(|key| io.sockets.get_mut(key)) else { continue };
            let read = |buffer: &mut [u8]| socket.read_now(buffer);
            if pump::read_connection(&mut self.server, io.traffic, io.now, id, read).any {
                self.drain(io);
            }
            self.on_writable(id, io);
        }
        self.server.handle_timeout(io.now);
        true
    }

    fn drain(&mut self, io: &mut Io<'_>) -> bool {
        let noted = std::mem::take(&mut self.actions);
        let mut any = !noted.is_empty();
        for action in noted {
            self.act(action, io);
        }
        while let Some(action) = self.server.poll_action() {
            self.act(action, io);
            any = true;
        }
        any
    }

    fn act(&mut self, action: ServerAction, io: &mut Io<'_>) {
        match action {
            ServerAction::Transmit(id) => self.on_writable(id, io),
            ServerAction::Read(id) => self.on_readable(id, io),
            ServerAction::Disconnect(id) => {
                if let Some(socket) = self.open.remove(id, io.sockets) {
                    io.sockets.close(socket);
                }
            }
        }
    }

    fn on_readable(&mut self, id: ConnectionId, io: &mut Io<'_>) {
        let Some(key) = self.open.get(id, io.sockets) else { return };
        let Some(socket) = io.sockets.get_mut(key) else { return };
        let read = |buffer: &mut [u8]| socket.read(buffer);
        if pump::read_connection(&mut self.server, io.traffic, io.now, id, read).more {
            self.wake(key, io.sockets);
        }
    }

    fn on_writable(&mut self, id: ConnectionId, io: &mut Io<'_>) {
        let Some(key) = self.open.get(id, io.sockets) else { return };
        let Some(socket) = io.sockets.get_mut(key).filter(|socket| socket.turn != Turn::Resting) else { return };
        let socket = RefCell::new(socket);
        let moved = pump::write_connection(
            &mut self.server,
            io.traffic,
            io.now,
            id,
            |bytes| socket.borrow_mut().write(bytes),
            |buffer| socket.borrow().read_now(buffer),
        );
        if moved.more {
            self.wake(key, io.sockets);
            if let Some(socket) = io.sockets.get_mut(key) {
                socket.turn = Turn::Resting;
            }
        }
    }
}

impl Open {
    /// The socket of a connection that had the same number and is over, if it was not removed yet.
    fn insert(&mut self, id: ConnectionId, socket: Key, sockets: &Sockets) -> Option<Key> {
        if self.slots.len() <= id.index() {
            self.slots.resize(id.index() + 1, NONE);
        }
        let before = std::mem::replace(&mut self.slots[id.index()], socket.index);
        let before = sockets.of_connection(before, |owner| owner.index() == id.index());
        self.count += usize::from(before.is_none());
        before
    }

    fn get(&self, id: ConnectionId, sockets: &Sockets) -> Option<Key> {
        sockets.of_connection(*self.slots.get(id.index())?, |owner| owner == id)
    }

    fn remove(&mut self, id: ConnectionId, sockets: &Sockets) -> Option<Key> {
        let key = self.get(id, sockets)?;
        self.slots[id.index()] = NONE;
        self.count -= 1;
        Some(key)
    }

    fn all(&self, sockets: &Sockets) -> Vec<Key> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| sockets.of_connection(*slot, |owner| owner.index() == index)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may fail loudly")]
mod tests {
    use super::*;
    use crate::tokens::Tokens;

    #[test]
    fn a_connection_that_is_over_does_not_reach_the_socket_of_its_successor() {
        let poll = mio::Poll::new().unwrap();
        let mut sockets = Sockets::new(poll.registry().try_clone().unwrap(), Tokens::tagged(1));
        let far = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut adopt = |id| {
            let stream = TcpStream::connect(far.local_addr().unwrap()).unwrap();
            sockets.adopt(stream, Owner::Connection(0, id)).unwrap()
        };
        // Both have the number 5.
        let (first, second) = (ConnectionId::from_u64(1 << 32 | 5), ConnectionId::from_u64(2 << 32 | 5));
        let (one, other) = (adopt(first), adopt(second));
        let mut open = Open::default();
        assert_eq!(open.insert(first, one, &sockets), None);
        assert_eq!(open.insert(second, other, &sockets), Some(one), "to be closed");
        assert_eq!((open.get(first, &sockets), open.remove(first, &sockets)), (None, None));
        assert_eq!((open.get(second, &sockets), open.count), (Some(other), 1));
        assert_eq!((open.remove(second, &sockets), open.count), (Some(other), 0));
    }
}
