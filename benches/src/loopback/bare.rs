//! Four bytes and back on bare mio: what the sockets alone cost.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::Clients;

const LISTENER: Token = Token(usize::MAX - 1);
const BEAT: [u8; 4] = *b"beat";

/// All links of one interval beat in so many steps, as ours do.
const TICKS: u32 = 100;

pub(super) fn serve(address: &Sender<SocketAddr>) -> ! {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    address.send(listener.local_addr().unwrap()).unwrap();
    let mut sockets: HashMap<usize, TcpStream> = HashMap::new();
    let mut next = 0;
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() != LISTENER {
                let Some(socket) = sockets.get_mut(&event.token().0) else { continue };
                if !drain(socket, |socket, bytes| assert_eq!(socket.write(bytes).unwrap(), bytes.len())) {
                    sockets.remove(&event.token().0);
                }
                continue;
            }
            while let Ok((mut socket, _)) = listener.accept() {
                socket.set_nodelay(true).unwrap();
                poll.registry().register(&mut socket, Token(next), Interest::READABLE).unwrap();
                sockets.insert(next, socket);
                next += 1;
            }
        }
    }
}

/// Reads until nothing is left. `false` if the peer is gone.
fn drain(socket: &mut TcpStream, mut took: impl FnMut(&mut TcpStream, &[u8])) -> bool {
    let mut buffer = [0; 64];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                took(socket, &buffer[..count]);
                // Nothing is left behind a short read.
                if count < buffer.len() {
                    return true;
                }
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

pub(super) struct Bare {
    poll: Poll,
    events: Events,
    sockets: Vec<TcpStream>,
    tick: Duration,
    /// When the next tick is, and which links have beaten in this interval.
    next: Instant,
    beaten: usize,
    ticks: u32,
    answered: u64,
}

impl Bare {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    pub(super) fn open(server: SocketAddr, links: usize, interval: Duration) -> Self {
        let poll = Poll::new().unwrap();
        let open = |link| {
            // Blocking until it is connected.
            let socket = std::net::TcpStream::connect(server).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(link), Interest::READABLE).unwrap();
            socket
        };
        let sockets = (0..links).map(open).collect();
        let tick = interval / TICKS.min(links as u32);
        let (events, next) = (Events::with_capacity(1024), Instant::now() + tick);
        Self { poll, events, sockets, tick, next, beaten: 0, ticks: 0, answered: 0 }
    }

    /// Those whose turn it is in this tick beat.
    fn beat(&mut self) {
        let (links, all) = (self.sockets.len(), TICKS.min(self.sockets.len() as u32));
        self.ticks += 1;
        let until = links * self.ticks as usize / all as usize;
        for socket in &mut self.sockets[self.beaten..until] {
            assert_eq!(socket.write(&BEAT).unwrap(), BEAT.len());
        }
        self.beaten = until;
        if self.ticks == all {
            (self.ticks, self.beaten) = (0, 0);
        }
    }
}

impl Clients for Bare {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn run_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            if now >= self.next {
                self.beat();
                self.next = now + self.tick;
            }
            let wait = self.next.min(end).saturating_duration_since(now);
            self.poll.poll(&mut self.events, Some(wait)).unwrap();
            for event in &self.events {
                let answered = &mut self.answered;
                let socket = &mut self.sockets[event.token().0];
                assert!(drain(socket, |_, bytes| *answered += (bytes.len() / BEAT.len()) as u64), "the server is gone");
            }
        }
    }

    fn answered(&mut self) -> u64 {
        self.answered
    }
}
