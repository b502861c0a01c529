//! The script's end of connections: what it can do there, and what it sees.

use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::wire::Frame;
use keepbeat_core::wire::mqtt::Packet;
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::websocket::{Close, Item, SUBPROTOCOL};

use crate::harness::OutOfPatience;

/// What both ends of the connections speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The native protocol.
    Tcp,
    /// The native protocol in the messages of a WebSocket.
    WebSocket,
    /// WebSocket, and the script's end is no keepbeat.
    Foreign,
    /// MQTT 5.0, and the script's end is a broker.
    Mqtt,
    /// The same in the messages of a WebSocket.
    MqttWebSocket,
}

impl Way {
    pub(crate) const fn is_mqtt(self) -> bool {
        matches!(self, Self::Mqtt | Self::MqttWebSocket)
    }

    /// The sub-protocol of the WebSocket in whose messages something else is said.
    pub(crate) const fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::WebSocket => Some(SUBPROTOCOL),
            Self::MqttWebSocket => Some("mqtt"),
            Self::Tcp | Self::Foreign | Self::Mqtt => None,
        }
    }
}

/// The script's end of the network, on sockets or in memory. Connections are numbered from 0 in the order in which the
/// script got them.
pub trait Network {
    /// What the script's end of all connections speaks. Said once, before there is any.
    fn speak(&mut self, way: Way);

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

/// What the script's end of a connection is to do. At first it reads, and answers what asks for an answer. A server of the script
/// hangs up when a WebSocket is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Write these pieces behind everything written before, each with a write of its own.
    Say(Vec<Vec<u8>>),
    /// Read, or do not.
    Read(bool),
    /// Answer every BEAT with an ECHO, PINGREQ with PINGRESP, every ping with a pong and a close with a close, or do not.
    Echo(bool),
    /// Ask the server for a WebSocket, and wait for its answer; with [`None`], only wait.
    Ask(Option<UpgradeRequest>),
    /// Answer the request that came: this is a WebSocket from now on, with this sub-protocol, which must have been offered.
    Agree(Option<String>),
    /// Close the WebSocket.
    Close(Close),
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
    /// A packet of MQTT.
    Packet(Packet<'static>),
    /// A request for a WebSocket: its first line.
    Request(String),
    /// The answer to such a request: 101, or a refusal.
    Answer {
        /// The status.
        status: u16,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// What came over a WebSocket, if it is no message with frames or packets in it.
    Item(Item),
    /// Bytes that are nothing of all that. Nothing follows but the end.
    Garbage,
    /// The other side ended its half properly.
    EndOfFile,
    /// The connection was reset.
    Reset,
}
