//! The driver that needs no machine: virtual time, connections in memory. When a script waits, time jumps to the next
//! deadline.
//!
//! It shows what the core does if it is driven by the contract, so its traces are what all others are held against. With a
//! [`Flaw`] it breaks one rule of the contract, to show that the scenarios notice.

mod cable;
mod client;
mod server;
mod world;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::server::{Admission, ConnectionId, ServerConfig, ServerEvent, Sessions};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::wire::DeviceId;

use self::world::World;
use crate::harness::{ClientUnderTest, Clients, OutOfPatience, ServerUnderTest, Servers, Suspends};
use crate::network::{Network, Order, Seen, Way};

/// What a driver does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It lets what is due happen before it hands over what can be read (rule 2).
    TimeoutsFirst,
    /// It reads although the machine does not want it (rule 2).
    ReadsUnasked,
    /// It has no time for timers as long as there is something to read (rule 3).
    TimersStarve,
    /// It takes a write for done although the operating system took only a part (rule 5).
    WritesByHalves,
    /// It does not look for what is to be written after the application has taken an event (rule 4).
    SleepsThroughTakes,
    /// It does not tell that a connection has ended (rule 6).
    KeepsEndsToItself,
    /// It reports what it reads from an old connection as if it were the current one's (rule 7).
    MixesConnectionsUp,
    /// It leaves connections open that the machine has done with.
    NeverDisconnects,
    /// It hands over the bytes of a message and forgets that they are a text.
    ForgetsTexts,
}

/// Drives clients and servers by the contract, in virtual time.
#[derive(Clone)]
pub struct Simulated {
    world: Rc<RefCell<World>>,
}

impl Simulated {
    /// A driver without a flaw.
    #[must_use]
    pub fn new() -> Self {
        Self { world: Rc::new(RefCell::new(World::new(None))) }
    }

    /// A driver with one.
    #[must_use]
    pub fn flawed(flaw: Flaw) -> Self {
        Self { world: Rc::new(RefCell::new(World::new(Some(flaw)))) }
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new()
    }
}

impl Clients for Simulated {
    type Client = SimulatedClient;

    fn client(&mut self, server: SocketAddr, config: ClientConfig) -> SimulatedClient {
        let index = self.world.borrow_mut().open(server, Arc::new(config));
        SimulatedClient { world: self.world.clone(), index }
    }

    fn network(&mut self) -> Box<dyn Network> {
        Box::new(self.clone())
    }
}

impl Servers for Simulated {
    type Server = SimulatedServer;

    fn server(&mut self, address: SocketAddr, config: ServerConfig, sessions: Option<Sessions>) -> SimulatedServer {
        let address = self.world.borrow_mut().serve(address, Arc::new(config), sessions);
        SimulatedServer { world: self.world.clone(), address }
    }

    fn network(&mut self) -> Box<dyn Network> {
        Box::new(self.clone())
    }
}

impl Suspends for Simulated {
    fn freeze(&mut self) {
        self.world.borrow_mut().freeze();
    }

    fn thaw(&mut self, gap: Duration) {
        self.world.borrow_mut().thaw(gap);
    }
}

/// A link in virtual time.
pub struct SimulatedClient {
    world: Rc<RefCell<World>>,
    index: usize,
}

impl ClientUnderTest for SimulatedClient {
    fn next_event(&mut self, patience: Duration) -> Result<Option<Event>, OutOfPatience> {
        self.world.borrow_mut().wait(patience, |world| world.client_event(self.index))
    }

    fn send(&mut self, message: Message) -> Result<Ticket, SendError> {
        let message = self.world.borrow().as_handed_over(message);
        self.world.borrow_mut().tell_client(self.index, |client, now| client.send(now, message))
    }

    fn greet(&mut self, message: Message) -> Result<(), SendError> {
        let message = self.world.borrow().as_handed_over(message);
        self.world.borrow_mut().tell_client(self.index, |client, now| client.greet(now, message))
    }

    fn greeted(&mut self) {
        self.world.borrow_mut().tell_client(self.index, |client, now| client.greeted(now));
    }

    fn acknowledge(&mut self) -> bool {
        self.world.borrow_mut().tell_client(self.index, |client, now| client.acknowledge(now))
    }

    fn close(&mut self) {
        self.world.borrow_mut().tell_client(self.index, |client, now| client.close(now));
    }

    fn drain(&mut self, timeout: Duration) {
        self.world.borrow_mut().tell_client(self.index, |client, now| client.drain(now, timeout));
    }

    fn reopen(&mut self) {
        self.world.borrow_mut().tell_client(self.index, |client, now| client.open(now));
    }
}

/// A server in virtual time.
pub struct SimulatedServer {
    world: Rc<RefCell<World>>,
    address: SocketAddr,
}

impl ServerUnderTest for SimulatedServer {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn next_event(&mut self, patience: Duration) -> Result<Option<ServerEvent>, OutOfPatience> {
        self.world.borrow_mut().wait(patience, |world| world.server_event(self.address))
    }

    fn send(&mut self, device: &DeviceId, message: Message) -> Result<Ticket, SendError> {
        let message = self.world.borrow().as_handed_over(message);
        self.world.borrow_mut().tell_server(self.address, |server, now| server.send(now, device, message))
    }

    fn answer(&mut self, connection: ConnectionId, admission: Admission) {
        self.world.borrow_mut().tell_server(self.address, |server, now| server.answer(now, connection, admission));
    }

    fn drain(&mut self, retry_after: Duration, spread: Duration) {
        self.world.borrow_mut().drain(self.address, retry_after, spread);
    }

    fn abort(self) -> Sessions {
        self.world.borrow_mut().abort(self.address)
    }
}

impl Network for Simulated {
    fn speak(&mut self, way: Way) {
        self.world.borrow_mut().speak(way);
    }

    fn reserve(&mut self) -> SocketAddr {
        self.world.borrow_mut().free_address()
    }

    fn listen(&mut self, address: SocketAddr) {
        self.world.borrow_mut().listen(address);
    }

    fn accept(&mut self, address: SocketAddr, patience: Duration) -> Result<usize, OutOfPatience> {
        self.world.borrow_mut().wait(patience, |world| world.accept(address))
    }

    fn connect(&mut self, server: SocketAddr) -> usize {
        self.world.borrow_mut().connect(server)
    }

    fn order(&mut self, connection: usize, order: Order) {
        self.world.borrow_mut().order(connection, order);
    }

    fn flush(&mut self, connection: usize) {
        self.world.borrow_mut().flush(connection);
    }

    fn seen(&mut self, connection: usize, patience: Duration) -> Result<Seen, OutOfPatience> {
        self.world.borrow_mut().wait(patience, |world| world.seen(connection))
    }
}
