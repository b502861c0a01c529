//! What an adapter implements to be tested.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::server::{Admission, ConnectionId, ServerConfig, ServerEvent, Sessions};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::wire::DeviceId;

use crate::loopback::Loopback;
use crate::network::Network;

/// Makes links that the adapter drives.
pub trait Clients {
    /// A link under test.
    type Client: ClientUnderTest;

    /// Opens a link to `server`. It must go on by itself from now on, whatever the script's thread does.
    fn client(&mut self, server: SocketAddr, config: ClientConfig) -> Self::Client;

    /// Where the script's peer lives: by default at the other end of sockets on loopback.
    fn network(&mut self) -> Box<dyn Network> {
        Box::new(Loopback::default())
    }
}

/// One link, as its application sees it. Only [`ClientUnderTest::next_event`] waits.
pub trait ClientUnderTest {
    /// The next event; waits for it. `None` once the link is closed or has given up and all events were taken.
    ///
    /// # Errors
    /// There was none for as long as `patience`.
    fn next_event(&mut self, patience: Duration) -> Result<Option<Event>, OutOfPatience>;

    /// Hands a message in.
    ///
    /// # Errors
    /// Those of the adapter's method that does not wait for room.
    fn send(&mut self, message: Message) -> Result<Ticket, SendError>;

    /// Hands a message in that goes before those that wait.
    ///
    /// # Errors
    /// Those of the adapter's method.
    fn greet(&mut self, message: Message) -> Result<(), SendError>;

    /// The greeting is done.
    fn greeted(&mut self);

    /// Says that the application is done with the oldest message that it has not said so about; `false` if there is none.
    fn acknowledge(&mut self) -> bool;

    /// Begins to close.
    fn close(&mut self);

    /// Begins to drain: close when everything is acknowledged, or after `timeout`.
    fn drain(&mut self, timeout: Duration);

    /// Opens again what is closed or has given up.
    fn reopen(&mut self);
}

/// Makes listeners that the adapter drives.
pub trait Servers {
    /// A listener under test.
    type Server: ServerUnderTest;

    /// Listens on `address` (on a free port if its port is 0), with the sessions of an earlier server, if there are any. It
    /// must go on by itself from now on, whatever the script's thread does.
    fn server(&mut self, address: SocketAddr, config: ServerConfig, sessions: Option<Sessions>) -> Self::Server;

    /// Where the script's devices live: by default at the other end of sockets on loopback.
    fn network(&mut self) -> Box<dyn Network> {
        Box::new(Loopback::default())
    }
}

/// One listener, as its application sees it. Only [`ServerUnderTest::next_event`] waits.
pub trait ServerUnderTest {
    /// The address that is listened on.
    fn local_addr(&self) -> SocketAddr;

    /// The next event; waits for it. `None` once the listener is drained and all events were taken.
    ///
    /// # Errors
    /// There was none for as long as `patience`.
    fn next_event(&mut self, patience: Duration) -> Result<Option<ServerEvent>, OutOfPatience>;

    /// Hands a message in.
    ///
    /// # Errors
    /// Those of the adapter's method that does not wait for room.
    fn send(&mut self, device: &DeviceId, message: Message) -> Result<Ticket, SendError>;

    /// Answers for a device.
    fn answer(&mut self, connection: ConnectionId, admission: Admission);

    /// Begins to drain.
    fn drain(&mut self, retry_after: Duration, spread: Duration);

    /// Closes everything at once and takes the sessions out.
    fn abort(self) -> Sessions;
}

/// Makes the machine seem to have been suspended.
pub trait Suspends {
    /// Nothing under test runs from now on. Returns when it is so.
    fn freeze(&mut self);

    /// Everything under test runs again, and its clock has gone on by `gap` meanwhile. Timers of the runtime have not
    /// noticed, as after a real suspend.
    fn thaw(&mut self, gap: Duration);
}

/// Nothing happened for as long as the script was willing to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfPatience;

impl fmt::Display for OutOfPatience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing happened for as long as the script waits")
    }
}

impl std::error::Error for OutOfPatience {}
