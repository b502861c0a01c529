//! A relay on loopback between one client and the server, that does to their connections what it is told.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keepbeat_core::time::Timestamp;
use keepbeat_tokio::clock::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::schedule::Act;
use super::watch::Side;

/// A trickle: so many bytes at once, and this pause between them. 4,000 bytes/s.
const TRICKLE: usize = 16;
const TRICKLE_PAUSE: Duration = Duration::from_millis(4);

/// A connection to the server takes no longer than this, or its client would have given up meanwhile.
const CONNECT: Duration = Duration::from_millis(250);

/// So many bytes are between two sockets at most.
const BUFFER: usize = 16 << 10;

/// A port of this machine that stays ours while nobody listens on it, so that a connection is refused then and no other
/// socket gets it.
pub(super) struct Port {
    address: SocketAddr,
    /// Bound, but never listening. Not every system allows another socket to listen beside it.
    guard: Option<TcpSocket>,
}

impl Port {
    pub(super) fn reserve() -> io::Result<Self> {
        let guard = TcpSocket::new_v4()?;
        guard.set_reuseaddr(true)?;
        guard.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address: guard.local_addr()?, guard: Some(guard) })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls `listen` with the address, and again without the guard if that is in the way.
    pub(super) async fn listen<T>(&mut self, listen: impl AsyncFn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
        match listen(self.address).await {
            Err(error) if self.gives_way(&error) => listen(self.address).await,
            result => result,
        }
    }

    /// Whether the guard was in the way of who could not listen for this reason, and is not any more.
    pub(super) fn gives_way(&mut self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::AddrInUse && self.guard.take().is_some()
    }
}

/// What passed through the relay in one direction.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    last: AtomicU64,
}

impl Meter {
    fn passed(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(Clock::now().as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When the last byte was passed on.
    pub(super) fn last(&self) -> Timestamp {
        Timestamp::from_nanos(self.last.load(Ordering::Relaxed))
    }
}

/// What is to be done now. Connections are numbered from 1.
#[derive(Debug, Clone, Copy)]
struct Orders {
    up: Gate,
    down: Gate,
    door: Door,
    /// Reset the connections up to this one.
    reset_through: u64,
    /// Reset one side of the connections up to this one; the other side is not told.
    orphan_through: u64,
    orphan_loses: Side,
}

/// How bytes of one direction get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Trickle,
    /// Nothing is read, not even an end.
    Shut,
}

/// How a new connection is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Nobody listens.
    Refuse,
    /// It is accepted and closed.
    Slam,
}

/// What all tasks of a relay know.
#[derive(Debug, Default)]
struct Common {
    newest: AtomicU64,
    up: Meter,
    down: Meter,
}

/// The relay of one link. Ends with its handle.
pub(super) struct Relay {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    common: Arc<Common>,
}

impl Relay {
    pub(super) async fn open(server: SocketAddr) -> io::Result<Self> {
        let mut port = Port::reserve()?;
        let listener = port.listen(TcpListener::bind).await?;
        let address = port.address();
        let (orders, receiver) = watch::channel(Orders {
            up: Gate::Open,
            down: Gate::Open,
            door: Door::Open,
            reset_through: 0,
            orphan_through: 0,
            orphan_loses: Side::Client,
        });
        let common = Arc::<Common>::default();
        tokio::spawn(serve(port, Some(listener), server, receiver, common.clone()));
        Ok(Self { address, orders, common })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What passed on the way to this end.
    pub(super) fn towards(&self, side: Side) -> &Meter {
        match side {
            Side::Client => &self.common.down,
            Side::Server => &self.common.up,
        }
    }

    /// A fault takes hold.
    pub(super) fn begin(&self, act: Act) {
        let newest = self.common.newest.load(Ordering::Relaxed);
        self.orders.send_modify(|orders| match act {
            Act::BlackHoleUp => orders.up = Gate::Shut,
            Act::BlackHoleDown => orders.down = Gate::Shut,
            Act::Stall => (orders.up, orders.down) = (Gate::Shut, Gate::Shut),
            Act::SlowTrickle => (orders.up, orders.down) = (Gate::Trickle, Gate::Trickle),
            Act::Cut => orders.reset_through = newest,
            Act::Refuse => (orders.reset_through, orders.door) = (newest, Door::Refuse),
            Act::AcceptThenClose => (orders.reset_through, orders.door) = (newest, Door::Slam),
            Act::ServerLost => (orders.orphan_through, orders.orphan_loses) = (newest, Side::Server),
            Act::ClientLost => (orders.orphan_through, orders.orphan_loses) = (newest, Side::Client),
            Act::ClientGone => {
                (orders.orphan_through, orders.orphan_loses, orders.door) = (newest, Side::Client, Door::Refuse);
            }
            Act::ServerRestart | Act::ServerStop => {}
        });
    }

    /// It is over. What was caught in a black hole does not come back.
    pub(super) fn end(&self, act: Act) {
        let newest = self.common.newest.load(Ordering::Relaxed);
        self.orders.send_modify(|orders| {
            (orders.up, orders.down, orders.door) = (Gate::Open, Gate::Open, Door::Open);
            if matches!(act, Act::BlackHoleUp | Act::BlackHoleDown) {
                orders.reset_through = newest;
            }
        });
    }
}

/// Accepts connections as the door allows.
async fn serve(
    mut port: Port,
    mut listener: Option<TcpListener>,
    server: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    common: Arc<Common>,
) {
    let mut connections = JoinSet::new();
    loop {
        let door = orders.borrow_and_update().door;
        if door == Door::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = port.listen(TcpListener::bind).await.ok();
        }
        let accepted = tokio::select! {
            biased;
            changed = orders.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            Some(_) = connections.join_next() => continue,
            accepted = accept(listener.as_ref()) => accepted,
            // The port was taken meanwhile; that passes.
            () = tokio::time::sleep(Duration::from_millis(10)), if listener.is_none() && door != Door::Refuse => continue,
        };
        let Ok(client) = accepted else { continue };
        if door == Door::Open {
            let number = common.newest.fetch_add(1, Ordering::Relaxed) + 1;
            connections.spawn(carry(client, server, number, orders.clone(), common.clone()));
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => pending().await,
    }
}

/// One connection, from its acceptance to its end.
async fn carry(
    mut client: TcpStream,
    server: SocketAddr,
    number: u64,
    mut orders: watch::Receiver<Orders>,
    common: Arc<Common>,
) {
    // Nothing gets through to the server now, so the wish for a connection does not either.
    if orders.wait_for(|orders| orders.up != Gate::Shut || number <= orders.reset_through).await.is_err() {
        return;
    }
    let Ok(Ok(mut server)) = tokio::time::timeout(CONNECT, TcpStream::connect(server)).await else {
        return reset([client]);
    };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return reset([client, server]);
    }
    let (mut up, mut down) = (Lane::new(), Lane::new());
    while !(up.ended && down.ended) {
        let Orders { up: up_gate, down: down_gate, reset_through, orphan_through, orphan_loses, .. } =
            *orders.borrow_and_update();
        if number <= reset_through {
            return reset([client, server]);
        }
        if number <= orphan_through {
            let (lost, kept) = match orphan_loses {
                Side::Client => (client, server),
                Side::Server => (server, client),
            };
            reset([lost]);
            return discard(&kept, orders).await;
        }
        let (from, end) = tokio::select! {
            biased;
            changed = orders.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            end = up.flow(&client, &server, up_gate, &common.up) => (Side::Client, end),
            end = down.flow(&server, &client, down_gate, &common.down) => (Side::Server, end),
        };
        // A client that gave up before it was answered must not speak up later, when it is on another connection.
        let given_up = from == Side::Client && !down.begun;
        if end == End::Reset || given_up {
            return reset([client, server]);
        }
        let (lane, to) = match from {
            Side::Client => (&mut up, &mut server),
            Side::Server => (&mut down, &mut client),
        };
        lane.ended = true;
        if to.shutdown().await.is_err() {
            return reset([client, server]);
        }
    }
}

/// One direction of one connection.
struct Lane {
    buffer: Box<[u8]>,
    /// What was read and not yet passed on.
    waiting: Range<usize>,
    begun: bool,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Eof,
    Reset,
}

impl Lane {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into(), waiting: 0..0, begun: false, ended: false }
    }

    /// Passes on what comes, until it ends. May be dropped at any point and called again.
    async fn flow(&mut self, from: &TcpStream, to: &TcpStream, gate: Gate, meter: &Meter) -> End {
        if self.ended || gate == Gate::Shut {
            return pending().await;
        }
        loop {
            match self.step(from, to, gate, meter).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return End::Reset,
            }
        }
    }

    async fn step(&mut self, from: &TcpStream, to: &TcpStream, gate: Gate, meter: &Meter) -> io::Result<Option<End>> {
        if self.waiting.is_empty() {
            from.readable().await?;
            let count = from.try_read(&mut self.buffer)?;
            self.waiting = 0..count;
            self.begun = true;
            return Ok((count == 0).then_some(End::Eof));
        }
        to.writable().await?;
        let most = if gate == Gate::Trickle { TRICKLE } else { BUFFER };
        let count = to.try_write(&self.buffer[self.waiting.clone()][..most.min(self.waiting.len())])?;
        self.waiting.start += count;
        meter.passed(count);
        if gate == Gate::Trickle {
            tokio::time::sleep(TRICKLE_PAUSE).await;
        }
        Ok(None)
    }
}

/// Closes at once and without order. The peer is told that its connection was reset.
fn reset<const N: usize>(streams: [TcpStream; N]) {
    for stream in streams {
        // Where this does not work, the connection is closed in order.
        drop(stream.set_zero_linger());
    }
}

/// The half of a connection that is left: silent, and nobody hears what it says.
async fn discard(kept: &TcpStream, mut orders: watch::Receiver<Orders>) {
    let mut buffer = [0; 1024];
    loop {
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            ready = kept.readable() => match ready.and_then(|()| kept.try_read(&mut buffer)) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            },
        }
    }
}
