//! How links are opened and listeners bound.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use keepbeat_adapter::clock::Clock;
use keepbeat_adapter::random::{entropy, seed};
use keepbeat_adapter::socket::{SocketOptions, listen};
use keepbeat_core::client::{Client, ClientConfig};
use keepbeat_core::server::{Server, ServerConfig, Sessions};

use crate::driver::{Driver, LinkId, ListenerId};
use crate::listeners::Listener;

/// Opens a link with more options.
#[derive(Debug, Clone)]
#[must_use]
pub struct LinkBuilder {
    address: String,
    config: Arc<ClientConfig>,
    options: SocketOptions,
}

impl LinkBuilder {
    /// Begins with the defaults. `address` is a host and port.
    pub fn new(address: impl Into<String>, config: ClientConfig) -> Self {
        Self { address: address.into(), config: Arc::new(config), options: SocketOptions::new() }
    }

    /// The options of the link's sockets.
    pub const fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// Opens the link. The first attempt begins in the driver's next turn.
    pub fn open(self, driver: &mut Driver) -> LinkId {
        let hop = self.config.proxy().map(|proxy| proxy.address().to_string());
        let mut client = Client::new(self.config, seed());
        if let Ok(server) = self.address.parse() {
            client = client.to_server(server);
        }
        client.open(Clock::now());
        LinkId(driver.links.open(client, hop.unwrap_or(self.address).into(), self.options))
    }
}

/// Binds a listener with more options.
#[must_use]
pub struct ListenerBuilder {
    config: Arc<ServerConfig>,
    options: SocketOptions,
    sessions: Option<Sessions>,
}

impl ListenerBuilder {
    /// Begins with the defaults.
    pub fn new(config: ServerConfig) -> Self {
        Self { config: Arc::new(config), options: SocketOptions::new(), sessions: None }
    }

    /// The options of accepted sockets.
    pub const fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// Goes on with the sessions of an earlier listener ([`ListenerMut::abort`](crate::ListenerMut::abort)), so that its
    /// devices lose nothing by the restart.
    pub fn sessions(mut self, sessions: Sessions) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Listens on `address` and lets devices in. If it has several addresses, on the first that can be had. A host name is
    /// looked up before this returns.
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours; or it has no random numbers. The builder still has its
    /// sessions then: try again.
    pub fn bind(&mut self, driver: &mut Driver, address: impl ToSocketAddrs) -> io::Result<ListenerId> {
        let addresses: Vec<_> = address.to_socket_addrs()?.collect();
        let (socket, entropy) = (listen(&addresses)?, Box::new(entropy()?));
        let Self { config, options, sessions } = self;
        driver.add_listener(socket, |socket, address| {
            let server = match sessions.take() {
                Some(sessions) => Server::with_sessions(config.clone(), entropy, seed(), Clock::now(), sessions),
                None => Server::new(config.clone(), entropy, seed()),
            };
            Listener::new(server, socket, address, *options)
        })
    }
}

impl fmt::Debug for ListenerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("config", &self.config)
            .field("options", &self.options)
            .field("sessions", &self.sessions.is_some())
            .finish()
    }
}
