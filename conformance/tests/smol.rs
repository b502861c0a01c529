//! The adapter for smol passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use keepbeat_adapter::clock::Clock;
use keepbeat_conformance::{ClientUnderTest, Clients, OutOfPatience, ServerUnderTest, Servers, Suspends};
use keepbeat_smol::{
    Admission, ClientConfig, ConnectionId, DeviceId, Event, Link, Listener, Message, SendError, ServerConfig,
    ServerEvent, Sessions, Ticket,
};
use smol::block_on;
use smol::future::or;

/// smol's own executor, which has one thread unless the environment says otherwise.
#[derive(Default)]
struct Smol {
    frozen: Option<Sender<()>>,
}

impl Clients for Smol {
    type Client = SmolClient;

    fn client(&mut self, server: SocketAddr, config: ClientConfig) -> SmolClient {
        SmolClient(Link::open(server.to_string(), config))
    }
}

impl Servers for Smol {
    type Server = SmolServer;

    fn server(&mut self, address: SocketAddr, config: ServerConfig, sessions: Option<Sessions>) -> SmolServer {
        let mut builder = Listener::builder(config);
        if let Some(sessions) = sessions {
            builder = builder.sessions(sessions);
        }
        let listener = block_on(builder.bind(address)).unwrap();
        SmolServer(listener)
    }
}

impl Suspends for Smol {
    /// Keeps the executor's thread busy.
    fn freeze(&mut self) {
        let ((freeze, frozen), (thaw, thawed)) = (channel(), channel::<()>());
        self.frozen = Some(thaw);
        let busy = async move {
            freeze.send(()).unwrap();
            thawed.recv().unwrap_or_default();
        };
        smol::spawn(busy).detach();
        frozen.recv().unwrap();
    }

    fn thaw(&mut self, gap: Duration) {
        Clock::skip(gap);
        self.frozen = None;
    }
}

struct SmolClient(Link);

impl ClientUnderTest for SmolClient {
    fn next_event(&mut self, patience: Duration) -> Result<Option<Event>, OutOfPatience> {
        block_on(or(async { Ok(self.0.next_event().await) }, late(patience)))
    }

    fn send(&mut self, message: Message) -> Result<Ticket, SendError> {
        self.0.try_send(message)
    }

    fn greet(&mut self, message: Message) -> Result<(), SendError> {
        self.0.greet(message)
    }

    fn greeted(&mut self) {
        self.0.greeted();
    }

    fn acknowledge(&mut self) -> bool {
        self.0.acknowledge()
    }

    fn close(&mut self) {
        self.0.close();
    }

    fn drain(&mut self, limit: Duration) {
        // Begun by its first poll, and not ended by its drop.
        block_on(or(async { Some(self.0.drain(limit).await) }, async { None }));
    }

    fn reopen(&mut self) {
        self.0.reopen();
    }
}

struct SmolServer(Listener);

impl ServerUnderTest for SmolServer {
    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    fn next_event(&mut self, patience: Duration) -> Result<Option<ServerEvent>, OutOfPatience> {
        block_on(or(async { Ok(self.0.next_event().await) }, late(patience)))
    }

    fn send(&mut self, device: &DeviceId, message: Message) -> Result<Ticket, SendError> {
        self.0.try_send(device, message)
    }

    fn answer(&mut self, connection: ConnectionId, admission: Admission) {
        self.0.answer(connection, admission);
    }

    fn drain(&mut self, retry_after: Duration, spread: Duration) {
        block_on(or(self.0.drain(retry_after, spread), async {}));
    }

    fn abort(self) -> Sessions {
        self.0.abort()
    }
}

async fn late<T>(patience: Duration) -> Result<T, OutOfPatience> {
    smol::Timer::after(patience).await;
    Err(OutOfPatience)
}

mod client {
    use super::Smol;

    keepbeat_conformance::client_scenarios!(Smol::default());
    keepbeat_conformance::client_suspend_scenarios!(Smol::default());
}

mod server {
    use super::Smol;

    keepbeat_conformance::server_scenarios!(Smol::default());
    keepbeat_conformance::server_suspend_scenarios!(Smol::default());
}
