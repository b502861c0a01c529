//! The script's end of sockets on loopback. Every connection has a thread, so that beats are answered whatever the script
//! waits for.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat_core::wire::Role;
use socket2::{Domain, SockRef, Socket, Type};

use crate::harness::OutOfPatience;
use crate::network::{Network, Order, Seen, Way};
use crate::speaker::Speaker;
use crate::{PATIENCE, clock};

/// How often a thread that waits for its socket looks for orders.
const GLANCE: Duration = Duration::from_millis(3);

/// Small, so that a script that does not read is soon noticed.
const RECEIVE_BUFFER: usize = 64 << 10;

/// Sockets on loopback.
#[derive(Debug)]
pub(crate) struct Loopback {
    way: Way,
    sockets: BTreeMap<SocketAddr, Socket>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    orders: Sender<Command>,
    seen: Receiver<Seen>,
}

#[derive(Debug)]
enum Command {
    Obey(Order),
    /// Tell when everything is written.
    Tell(Sender<()>),
}

impl Default for Loopback {
    fn default() -> Self {
        Self { way: Way::Tcp, sockets: BTreeMap::new(), lines: Vec::new() }
    }
}

impl Network for Loopback {
    fn speak(&mut self, way: Way) {
        self.way = way;
    }

    fn reserve(&mut self) -> SocketAddr {
        // As long as the port is bound, nobody else gets it; as long as nobody listens, connections are refused.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a smaller buffer");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        self.sockets.insert(address, socket);
        address
    }

    fn listen(&mut self, address: SocketAddr) {
        let socket = &self.sockets[&address];
        socket.listen(16).expect("a reserved address can be listened on");
        socket.set_nonblocking(true).expect("a socket that does not block");
    }

    fn accept(&mut self, address: SocketAddr, patience: Duration) -> Result<usize, OutOfPatience> {
        let end = clock() + patience;
        loop {
            match self.sockets[&address].accept() {
                Ok((socket, _)) => return Ok(self.attach(socket.into(), Role::Server)),
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("accept: {error}"),
                Err(_) if clock() >= end => return Err(OutOfPatience),
                Err(_) => thread::park_timeout(GLANCE),
            }
        }
    }

    fn connect(&mut self, server: SocketAddr) -> usize {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a smaller buffer");
        socket.connect(&server.into()).expect("the server under test listens");
        self.attach(socket.into(), Role::Client)
    }

    fn order(&mut self, connection: usize, order: Order) {
        // If nobody is there any more, the connection is over and was seen to be.
        drop(self.lines[connection].orders.send(Command::Obey(order)));
    }

    fn flush(&mut self, connection: usize) {
        let (written, told) = channel();
        drop(self.lines[connection].orders.send(Command::Tell(written)));
        told.recv_timeout(PATIENCE).expect("everything is written in time");
    }

    fn seen(&mut self, connection: usize, patience: Duration) -> Result<Seen, OutOfPatience> {
        self.lines[connection].seen.recv_timeout(patience).map_err(|_| OutOfPatience)
    }
}

impl Loopback {
    fn attach(&mut self, stream: TcpStream, role: Role) -> usize {
        let speaker = Speaker::new(self.way, role);
        stream.set_nodelay(true).expect("small writes leave at once");
        let ((orders, taken), (shown, seen)) = (channel(), channel());
        thread::spawn(move || speak(stream, speaker, &taken, &shown));
        self.lines.push(Line { orders, seen });
        self.lines.len() - 1
    }
}

/// The life of one connection. Ends when the script is over.
fn speak(stream: TcpStream, speaker: Speaker, orders: &Receiver<Command>, seen: &Sender<Seen>) {
    let mut life = Life { stream, speaker, repeated: None, waiting: Vec::new(), over: false, shut: false };
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Without a socket to wait for, wait for orders.
        let idle = life.over || !life.speaker.reads;
        let mut next = if idle { orders.recv_timeout(GLANCE) } else { orders.try_recv().map_err(as_timeout) };
        loop {
            match next {
                Ok(Command::Obey(Order::Reset)) => return life.reset(),
                Ok(Command::Obey(order)) => life.speaker.obey(order),
                Ok(Command::Tell(written)) => life.waiting.push(written),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            next = orders.try_recv().map_err(as_timeout);
        }
        life.write();
        if !life.over && life.speaker.reads {
            life.read(&mut buffer, seen);
        }
    }
}

const fn as_timeout(error: TryRecvError) -> RecvTimeoutError {
    match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
    }
}

struct Life {
    stream: TcpStream,
    speaker: Speaker,
    repeated: Option<Instant>,
    /// Who wants to know when everything is written.
    waiting: Vec<Sender<()>>,
    /// Nothing comes any more.
    over: bool,
    /// Our side has ended.
    shut: bool,
}

impl Life {
    /// Writes what the socket takes, and ends our side when it is time.
    fn write(&mut self) {
        if let Some((bytes, every)) = &self.speaker.repeat {
            let due = self.repeated.is_none_or(|last| last.elapsed() >= *every);
            if due && self.speaker.out.is_empty() {
                self.speaker.out.push_back(bytes.clone());
                self.repeated = Some(clock());
            }
        }
        self.stream.set_nonblocking(true).expect("a socket that does not block");
        while let Some(piece) = self.speaker.piece() {
            match self.stream.write(piece) {
                Ok(count) => self.speaker.wrote(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.speaker.out.clear(),
            }
        }
        for written in self.waiting.drain(..) {
            // Whoever asked has lost patience otherwise.
            written.send(()).unwrap_or_default();
        }
        if self.speaker.is_done() && !self.shut {
            self.shut = true;
            drop(self.stream.shutdown(Shutdown::Write));
        }
    }

    /// Reads once. Whoever floods does not wait for it.
    fn read(&mut self, buffer: &mut [u8], seen: &Sender<Seen>) {
        if !self.speaker.repeat.as_ref().is_some_and(|(_, every)| every.is_zero()) {
            self.stream.set_nonblocking(false).expect("a socket that blocks");
            self.stream.set_read_timeout(Some(GLANCE)).expect("a read that gives up");
        }
        match self.stream.read(buffer) {
            Ok(0) => self.end(Seen::EndOfFile, seen),
            Ok(count) => self.speaker.hear(&buffer[..count], |what| drop(seen.send(what))),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => self.end(Seen::Reset, seen),
            },
        }
    }

    fn end(&mut self, what: Seen, seen: &Sender<Seen>) {
        self.over = true;
        drop(seen.send(what));
    }

    /// Whoever closes a socket that does not linger resets the connection.
    fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a reset can be asked for");
    }
}
