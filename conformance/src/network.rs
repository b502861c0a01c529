//! The script's end of connections: what it can do there, and what it sees.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::wire::beat::{Beat, BeatConfig, MESSAGE_LIMIT_MAX};
use keepbeat_core::wire::{Frame, Tx, Wire};

use crate::harness::OutOfPatience;

/// The script's end of the network, on sockets or in memory. Connections are numbered from 0 in the order in which the
/// script got them.
pub trait Network {
    /// An address on which nobody listens.
    fn reserve(&mut self) -> SocketAddr;

    /// Begins to listen on a reserved address. What connects waits until it is accepted.
    fn listen(&mut self, address: SocketAddr);

    /// The next connection that something under test opened to `address`; waits for it.
    ///
    /// # Errors
    /// There was none for as long as `patience`.
    fn accept(&mut self, address: SocketAddr, patience: Duration) -> Result<usize, OutOfPatience>;

    /// Opens a connection to a server under test.
    fn connect(&mut self, server: SocketAddr) -> usize;

    /// Has this done at the script's end of a connection. Does not wait until it is done.
    fn order(&mut self, connection: usize, order: Order);

    /// Waits until everything that was ordered so far is written.
    fn flush(&mut self, connection: usize);

    /// What was seen next on a connection; waits for it.
    ///
    /// # Errors
    /// There was nothing for as long as `patience`.
    fn seen(&mut self, connection: usize, patience: Duration) -> Result<Seen, OutOfPatience>;
}

/// What the script's end of a connection is to do. At first it reads, and answers every BEAT with an ECHO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Write these pieces behind everything written before, each with a write of its own.
    Say(Vec<Vec<u8>>),
    /// Read, or do not.
    Read(bool),
    /// Answer every BEAT with an ECHO, or do not.
    Echo(bool),
    /// Write these bytes again and again, once in every such time; as fast as the connection takes them if it is zero.
    Repeat(Vec<u8>, Duration),
    /// Write no such bytes again.
    Quiet,
    /// End our side once everything is written; what still comes is read.
    HangUp,
    /// End the connection at once, as if the machine had forgotten it.
    Reset,
}

/// What came out of the script's end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A frame.
    Frame(Frame),
    /// Bytes that are no frames. Nothing follows but the end.
    Garbage,
    /// The other side ended its half properly.
    EndOfFile,
    /// The connection was reset.
    Reset,
}

/// The mind of the script's end of one connection, without its socket.
pub(crate) struct Speaker {
    wire: Beat,
    pub(crate) reads: bool,
    echoes: bool,
    pub(crate) out: VecDeque<Vec<u8>>,
    pub(crate) repeat: Option<(Vec<u8>, Duration)>,
    hung_up: bool,
    broken: bool,
}

impl Speaker {
    pub(crate) fn new() -> Self {
        Self {
            wire: Beat::new(&large_messages()),
            reads: true,
            echoes: true,
            out: VecDeque::new(),
            repeat: None,
            hung_up: false,
            broken: false,
        }
    }

    /// Takes an order; [`Order::Reset`] is for whoever has the socket.
    pub(crate) fn obey(&mut self, order: Order) {
        match order {
            Order::Say(pieces) => self.out.extend(pieces),
            Order::Read(reads) => self.reads = reads,
            Order::Echo(echoes) => self.echoes = echoes,
            Order::Repeat(bytes, every) => self.repeat = Some((bytes, every)),
            Order::Quiet => self.repeat = None,
            Order::HangUp => {
                self.repeat = None;
                self.hung_up = true;
            }
            Order::Reset => {}
        }
    }

    pub(crate) fn hear(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Seen)) {
        while !self.broken {
            match self.wire.decode(&mut bytes) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if matches!(frame, Frame::Hello(_) | Frame::Welcome(_)) {
                        self.wire.established();
                    }
                    if let Frame::Beat { seq } = frame
                        && self.echoes
                        && !self.hung_up
                    {
                        self.out.push_back(encoded(&Frame::Echo { seq }));
                    }
                    seen(Seen::Frame(frame));
                }
                Err(_) => {
                    self.broken = true;
                    seen(Seen::Garbage);
                }
            }
        }
    }

    /// What to write next.
    pub(crate) fn piece(&mut self) -> Option<&[u8]> {
        while self.out.front().is_some_and(Vec::is_empty) {
            self.out.pop_front();
        }
        self.out.front().map(Vec::as_slice)
    }

    pub(crate) fn wrote(&mut self, count: usize) {
        if let Some(piece) = self.out.front_mut() {
            piece.drain(..count);
        }
    }

    /// Whether our side is to end now.
    pub(crate) fn is_done(&mut self) -> bool {
        self.hung_up && self.piece().is_none()
    }
}

/// The limits of a side that takes every message.
pub(crate) fn large_messages() -> BeatConfig {
    // The largest that can be built; if it could not be, the defaults would show it at once.
    BeatConfig::builder().message_limit(MESSAGE_LIMIT_MAX).build().unwrap_or_default()
}

/// `frame` as it goes over the wire.
pub(crate) fn encoded(frame: &Frame) -> Vec<u8> {
    let (mut tx, mut bytes) = (Tx::default(), Vec::new());
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}
