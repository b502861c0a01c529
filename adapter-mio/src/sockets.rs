//! The sockets of all links and listeners, registered with one `Poll`, and what it said about them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use keepbeat_adapter::{pump, socket};
use keepbeat_core::server::ConnectionId;
use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::SockRef;

use crate::slab::{Key, Slab};
use crate::tokens::Tokens;

/// Whether a read that does not fill the buffer has read everything, and what comes later gives a new event. Elsewhere (mio
/// on Windows, for example) there is no further event until a read would block.
const SHORT_READ_IS_ALL: bool = cfg!(any(target_os = "linux", target_os = "android", target_vendor = "apple"));

/// All sockets. None shares its token with another one, dead or alive.
pub(crate) struct Sockets {
    registry: Registry,
    tokens: Tokens,
    slots: Slab<Socket>,
    /// Those that listen: few.
    listening: Vec<(Key, TcpListener)>,
    stale_events: u64,
}

/// One socket, and what is known about it until it says that it would block.
pub(crate) struct Socket {
    /// `None` for one that listens.
    stream: Option<TcpStream>,
    owner: Owner,
    readable: bool,
    writable: bool,
    /// The end of file or an error is there to be read, perhaps behind data.
    hung_up: bool,
    pub(crate) turn: Turn,
}

/// The next turn of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Only if something happens.
    None,
    /// Its owner has noted it.
    Noted,
    /// The same, and until then it does not write: it has written its share of this turn.
    Resting,
}

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Link(Key),
    Listener(Key),
    /// Of the listener with this index, which lives as long as its connections.
    Connection(u16, ConnectionId),
}

impl Sockets {
    pub(crate) const fn new(registry: Registry, tokens: Tokens) -> Self {
        Self { registry, tokens, slots: Slab::new(), listening: Vec::new(), stale_events: 0 }
    }

    /// Notes what an event says. Whose it is, if it is of a socket that is still there.
    pub(crate) fn note(&mut self, event: &Event) -> Option<(Key, Owner)> {
        if !self.tokens.contains(event.token()) {
            return None;
        }
        let key = self.slots.key_at(Tokens::index(event.token()));
        let key = key.filter(|key| self.tokens.token(*key) == Some(event.token()));
        let Some((key, socket)) = key.and_then(|key| Some((key, self.slots.get_mut(key)?))) else {
            self.stale_events = self.stale_events.saturating_add(1);
            return None;
        };
        let (read_over, write_over) = (event.is_read_closed(), event.is_write_closed());
        socket.hung_up |= read_over || event.is_error();
        socket.readable |= event.is_readable() || read_over || event.is_error();
        socket.writable |= event.is_writable() || write_over || event.is_error();
        Some((key, socket.owner))
    }

    /// Events of sockets that were closed before.
    pub(crate) const fn stale_events(&self) -> u64 {
        self.stale_events
    }

    pub(crate) const fn tokens(&self) -> Tokens {
        self.tokens
    }

    /// Begins to connect. [`Socket::connected`] tells how it went.
    pub(crate) fn connect(&mut self, address: SocketAddr, owner: Owner) -> io::Result<Key> {
        self.adopt(TcpStream::connect(address)?, owner)
    }

    pub(crate) fn adopt(&mut self, mut stream: TcpStream, owner: Owner) -> io::Result<Key> {
        self.register(&mut stream, Interest::READABLE | Interest::WRITABLE)?;
        Ok(self.insert(Some(stream), owner))
    }

    pub(crate) fn listen(&mut self, listener: std::net::TcpListener, owner: Owner) -> io::Result<Key> {
        let mut listener = TcpListener::from_std(listener);
        self.register(&mut listener, Interest::READABLE)?;
        let key = self.insert(None, owner);
        self.listening.push((key, listener));
        Ok(key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Socket> {
        self.slots.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Socket> {
        self.slots.get_mut(key)
    }

    pub(crate) fn close(&mut self, key: Key) {
        if let Some(mut socket) = self.slots.remove(key) {
            // It is registered, or its `Poll` is gone; neither matters any more.
            drop(match &mut socket.stream {
                Some(stream) => self.registry.deregister(stream),
                None => self.close_listener(key),
            });
        }
    }

    fn close_listener(&mut self, key: Key) -> io::Result<()> {
        let Some(place) = self.listening.iter().position(|(listener, _)| *listener == key) else { return Ok(()) };
        self.registry.deregister(&mut self.listening.swap_remove(place).1)
    }

    /// The socket of a connection, if it is the one with this index.
    pub(crate) fn of_connection(&self, index: u32, is_it: impl FnOnce(ConnectionId) -> bool) -> Option<Key> {
        let key = self.slots.key_at(index)?;
        matches!(self.get(key)?.owner, Owner::Connection(_, id) if is_it(id)).then_some(key)
    }

    /// Takes a connection that waits at a listening socket, if the `Poll` has announced one.
    pub(crate) fn accept(&mut self, key: Key) -> io::Result<(TcpStream, SocketAddr)> {
        let socket = self.slots.get_mut(key).filter(|socket| socket.readable);
        let listener = self.listening.iter().find(|(listener, _)| *listener == key);
        let (Some(socket), Some((_, listener))) = (socket, listener) else { return Err(ErrorKind::WouldBlock.into()) };
        let result = listener.accept();
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            socket.readable = false;
        }
        result
    }

    /// With the token of the socket that is inserted next.
    fn register(&self, source: &mut impl Source, interest: Interest) -> io::Result<()> {
        let token = self.tokens.token(self.slots.next_key());
        let token = token.ok_or_else(|| io::Error::other("more sockets than the driver has tokens for"))?;
        self.registry.register(source, token, interest)
    }

    fn insert(&mut self, stream: Option<TcpStream>, owner: Owner) -> Key {
        let (readable, writable, hung_up) = (false, false, false);
        self.slots.insert(Socket { stream, owner, readable, writable, hung_up, turn: Turn::None })
    }
}

impl Socket {
    pub(crate) const fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether a connect is over, and how it went.
    pub(crate) fn connected(&mut self) -> Option<io::Result<()>> {
        let stream = self.stream.as_ref()?;
        if !self.writable {
            return None;
        }
        match stream.take_error().and_then(|error| error.map_or(Ok(()), Err)) {
            Ok(()) => match stream.peer_addr() {
                Ok(_) => Some(socket::check_not_self_connected(stream)),
                // Not yet: another event follows.
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    self.writable = false;
                    None
                }
                Err(error) => Some(Err(error)),
            },
            Err(error) => Some(Err(error)),
        }
    }

    pub(crate) fn apply(&self, options: &socket::SocketOptions) {
        if let Some(stream) = &self.stream {
            options.apply(stream);
        }
    }

    /// Reads what the `Poll` has announced, until the socket would block.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Some(stream) = &mut self.stream else { return Err(ErrorKind::WouldBlock.into()) };
        let result = stream.read(buffer);
        match &result {
            // An end of file that came along is announced by the same event.
            Ok(count) if *count < buffer.len() && !self.hung_up => self.readable = !SHORT_READ_IS_ALL,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            _ => {}
        }
        result
    }

    /// Reads what the operating system has, announced or not.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.stream {
            Some(stream) => pump::read_now(SockRef::from(stream), buffer),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes what the operating system takes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Some(stream) = &mut self.stream else { return Err(ErrorKind::WouldBlock.into()) };
        let result = stream.write(bytes);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.writable = false;
        }
        result
    }

    /// Whether a connection waits, or may.
    pub(crate) const fn is_readable(&self) -> bool {
        self.readable
    }
}
