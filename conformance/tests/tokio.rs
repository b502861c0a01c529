//! The adapter for tokio passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use keepbeat_adapter::clock::Clock;
use keepbeat_conformance::{ClientUnderTest, Clients, OutOfPatience, ServerUnderTest, Servers, Suspends};
use keepbeat_tokio::{
    Admission, ClientConfig, ConnectionId, DeviceId, Event, Link, Listener, Message, SendError, ServerConfig,
    ServerEvent, Sessions, Ticket,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// As many as a driver needs to notice its sockets while it is busy.
const WORKERS: usize = 2;

struct Tokio {
    runtime: Arc<Runtime>,
    frozen: Vec<Sender<()>>,
}

impl Tokio {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().unwrap();
        Self { runtime: Arc::new(runtime), frozen: Vec::new() }
    }
}

impl Clients for Tokio {
    type Client = TokioClient;

    fn client(&mut self, server: SocketAddr, config: ClientConfig) -> TokioClient {
        let _inside = self.runtime.enter();
        TokioClient { link: Link::open(server.to_string(), config), runtime: self.runtime.clone() }
    }
}

impl Servers for Tokio {
    type Server = TokioServer;

    fn server(&mut self, address: SocketAddr, config: ServerConfig, sessions: Option<Sessions>) -> TokioServer {
        let mut builder = Listener::builder(config);
        if let Some(sessions) = sessions {
            builder = builder.sessions(sessions);
        }
        let listener = self.runtime.block_on(builder.bind(address)).unwrap();
        TokioServer { listener, runtime: self.runtime.clone() }
    }
}

impl Suspends for Tokio {
    /// Keeps all workers of the runtime busy.
    fn freeze(&mut self) {
        let (freeze, frozen) = channel();
        for _ in 0..WORKERS {
            let (freeze, (thaw, thawed)) = (freeze.clone(), channel::<()>());
            self.frozen.push(thaw);
            drop(self.runtime.spawn(async move {
                freeze.send(()).unwrap();
                thawed.recv().unwrap_or_default();
            }));
        }
        for _ in 0..WORKERS {
            frozen.recv().unwrap();
        }
    }

    fn thaw(&mut self, gap: Duration) {
        Clock::skip(gap);
        self.frozen.clear();
    }
}

struct TokioClient {
    link: Link,
    runtime: Arc<Runtime>,
}

impl ClientUnderTest for TokioClient {
    fn next_event(&mut self, patience: Duration) -> Result<Option<Event>, OutOfPatience> {
        self.runtime.block_on(async { timeout(patience, self.link.next_event()).await }).map_err(|_| OutOfPatience)
    }

    fn send(&mut self, message: Message) -> Result<Ticket, SendError> {
        self.link.try_send(message)
    }

    fn greet(&mut self, message: Message) -> Result<(), SendError> {
        self.link.greet(message)
    }

    fn greeted(&mut self) {
        self.link.greeted();
    }

    fn acknowledge(&mut self) -> bool {
        self.link.acknowledge()
    }

    fn close(&mut self) {
        self.link.close();
    }

    fn drain(&mut self, limit: Duration) {
        // Begun by its first poll, and not ended by its drop.
        drop(self.runtime.block_on(async { timeout(Duration::ZERO, self.link.drain(limit)).await }));
    }

    fn reopen(&mut self) {
        self.link.reopen();
    }
}

struct TokioServer {
    listener: Listener,
    runtime: Arc<Runtime>,
}

impl ServerUnderTest for TokioServer {
    fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    fn next_event(&mut self, patience: Duration) -> Result<Option<ServerEvent>, OutOfPatience> {
        self.runtime.block_on(async { timeout(patience, self.listener.next_event()).await }).map_err(|_| OutOfPatience)
    }

    fn send(&mut self, device: &DeviceId, message: Message) -> Result<Ticket, SendError> {
        self.listener.try_send(device, message)
    }

    fn answer(&mut self, connection: ConnectionId, admission: Admission) {
        self.listener.answer(connection, admission);
    }

    fn drain(&mut self, retry_after: Duration, spread: Duration) {
        drop(self.runtime.block_on(async { timeout(Duration::ZERO, self.listener.drain(retry_after, spread)).await }));
    }

    fn abort(self) -> Sessions {
        self.listener.abort()
    }
}

mod client {
    use super::Tokio;

    keepbeat_conformance::client_scenarios!(Tokio::new());
    keepbeat_conformance::client_suspend_scenarios!(Tokio::new());
}

mod server {
    use super::Tokio;

    keepbeat_conformance::server_scenarios!(Tokio::new());
    keepbeat_conformance::server_suspend_scenarios!(Tokio::new());
}
