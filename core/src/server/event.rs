//! What goes in and out of a server.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use super::ConnectionId;
use crate::connection::{DownCause, DownReport, Failure, Outdated};
use crate::session::{Dropped, Message, Ticket};
use crate::time::Timestamp;
use crate::wire::websocket::upgrade::Offer;
use crate::wire::{Credentials, DeviceId};

/// What the driver reports about one connection. What belongs to a connection that is over is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerInput<'a> {
    /// Bytes arrived, at least one.
    Received(&'a [u8]),
    /// The operating system took this many bytes of [`Server::transmit`](super::Server::transmit).
    Written(usize),
    /// The connection is over, for reading or altogether.
    Ended(Failure),
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAction {
    /// Bytes wait in [`Server::transmit`](super::Server::transmit): write them as far as the socket takes them, now and
    /// whenever it becomes writable again.
    Transmit(ConnectionId),
    /// Close the connection at once. Nothing need be reported.
    Disconnect(ConnectionId),
    /// The application took messages, or answered for the device: reading may go on
    /// ([`Server::wants_read`](super::Server::wants_read)).
    Read(ConnectionId),
}

/// What the application is told, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// May this device in? Answer with [`Server::answer`](super::Server::answer); the handshake deadline runs.
    Authenticate {
        /// The connection to answer for.
        connection: ConnectionId,
        /// Who it says it is.
        device: DeviceId,
        /// What it proves that with; may be empty.
        credentials: Credentials,
        /// Where it comes from, if the driver said so.
        address: Option<IpAddr>,
        /// The certificate that it proved to own, in DER, if [`TlsServer`](crate::tunnel) asks for one.
        certificate: Option<Bytes>,
        /// What it asked for over WebSocket: path, origin, headers.
        offer: Option<Box<Offer>>,
    },
    /// A connection ended before any device got in with it.
    Rejected {
        /// Why.
        cause: DownCause,
        /// The device, if it had said its name.
        device: Option<DeviceId>,
        /// Where it came from, if the driver said so.
        address: Option<IpAddr>,
    },
    /// A device is here that was not.
    Online {
        /// The device.
        device: DeviceId,
        /// Where it comes from, if the driver said so.
        address: Option<IpAddr>,
        /// Whether its session goes on.
        resumed: bool,
        /// The beat interval granted.
        interval: Duration,
    },
    /// A device came back within the grace; it was never reported offline.
    Returned {
        /// The device.
        device: DeviceId,
        /// Whether its session goes on.
        resumed: bool,
        /// How long it was gone.
        away: Duration,
        /// Why it was gone.
        report: Box<DownReport>,
    },
    /// A second connection of a device took over; the device stays online.
    Replaced {
        /// The device.
        device: DeviceId,
        /// Whether its session goes on.
        resumed: bool,
        /// What was seen of the first connection.
        report: Box<DownReport>,
        /// Where the second comes from, if the driver said so.
        address: Option<IpAddr>,
    },
    /// A device is late and is being probed.
    Suspect {
        /// The device.
        device: DeviceId,
        /// How long nothing has been received.
        silent_for: Duration,
    },
    /// The suspect is alive.
    Recovered {
        /// The device.
        device: DeviceId,
    },
    /// A device is gone, and was not back within the grace.
    Offline {
        /// The device.
        device: DeviceId,
        /// Why, and what was seen of it.
        report: Box<DownReport>,
        /// When its last byte was received.
        last_seen: Timestamp,
    },
    /// A message of a device. Every one exactly once within a session, in order.
    Message {
        /// The device.
        device: DeviceId,
        /// The message.
        message: Message,
    },
    /// A device has received this message and all before it.
    Acknowledged {
        /// The device.
        device: DeviceId,
        /// The newest message.
        through: Ticket,
    },
    /// An accepted message will not be delivered.
    Dropped {
        /// The device that it was for.
        device: DeviceId,
        /// The message.
        dropped: Dropped,
    },
    /// A session is over: it expired, the device closed it, or the device began another one. Messages for the device that
    /// it did not acknowledge are handed back; some of them may have arrived.
    SessionEnded {
        /// The device.
        device: DeviceId,
        /// The messages, oldest first.
        undelivered: Vec<(Ticket, Message)>,
    },
}

impl Outdated for ServerEvent {
    fn is_outdated_by_later(&self) -> bool {
        match self {
            Self::Message { .. } => false,
            Self::SessionEnded { undelivered, .. } => undelivered.is_empty(),
            _ => true,
        }
    }
}

/// The application's answer to [`ServerEvent::Authenticate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The device may come in.
    Accept,
    /// The credentials are wrong; other ones may be right. The text is shown to the device, unless it is a foreigner that
    /// asked for a WebSocket.
    Unauthorized(String),
    /// The device may not come in, whatever its credentials. The text is shown to the device, unless it is a foreigner that
    /// asked for a WebSocket.
    Forbidden(String),
    /// Not now: come back after this time, within the spread behind it.
    Busy {
        /// How long to stay away.
        retry_after: Duration,
        /// The window in which to come back, at random.
        spread: Duration,
    },
}

/// Why a connection was not taken. Close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// So many connections are open.
    Full {
        /// The limit.
        limit: usize,
    },
    /// So many connections are open from this address.
    AddressFull {
        /// The limit.
        limit: usize,
    },
    /// So many connections are in their handshake.
    HandshakesFull {
        /// The limit.
        limit: usize,
    },
    /// The configuration has fewer ports: our driver's fault.
    NoSuchPort {
        /// The port that it named.
        port: usize,
    },
    /// The server is shutting down.
    Draining,
    /// TLS could not begin; [`ServerEvent::Rejected`] says why.
    Tls,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(f, "{limit} connections are open, which is the limit"),
            Self::AddressFull { limit } => {
                write!(f, "{limit} connections are open from this address, which is the limit")
            }
            Self::HandshakesFull { limit } => {
                write!(f, "{limit} connections are in their handshake, which is the limit")
            }
            Self::NoSuchPort { port } => write!(f, "the configuration has no port {port}"),
            Self::Draining => f.write_str("the server is shutting down"),
            Self::Tls => f.write_str("TLS could not begin"),
        }
    }
}

impl core::error::Error for AcceptError {}
