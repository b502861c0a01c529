//! How links are opened and listeners bound.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use keepbeat_adapter::clock::Clock;
use keepbeat_adapter::random::{boxed_entropy, entropy, seed};
use keepbeat_adapter::socket::{SocketOptions, check_count, listen};
use keepbeat_adapter::store::Keeper;
use keepbeat_core::client::{Client, ClientConfig};
use keepbeat_core::server::{Server, ServerConfig, Sessions};
use keepbeat_core::session::{SessionStore, StoreError};
use keepbeat_core::wire::DeviceId;

use crate::driver::{Driver, LinkId, ListenerId};
use crate::links::Target;
use crate::listeners::Listener;

/// Opens a link with more options.
///
/// For very many links, open a clone of one builder for each [`device`](LinkBuilder::device): they share address, options
/// and configuration.
#[derive(Debug, Clone)]
#[must_use]
pub struct LinkBuilder {
    config: Arc<ClientConfig>,
    target: Arc<Target>,
    device: Option<DeviceId>,
}

impl LinkBuilder {
    /// Begins with the defaults. `address` is a host and port.
    pub fn new(address: impl Into<String>, config: ClientConfig) -> Self {
        let hop = config.proxy().map(|proxy| proxy.address().to_string());
        let target = Target { servers: vec![address.into()], hop, options: SocketOptions::new() };
        Self { config: Arc::new(config), target: Arc::new(target), device: None }
    }

    /// Another server for the same link, a host and port. The first attempt is for the first server, and every one that follows,
    /// because an attempt failed or a connection ended, for the next; the last is followed by the first. A session goes on only if
    /// they share it.
    pub fn or_server(mut self, address: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.target).servers.push(address.into());
        self
    }

    /// The options of the link's sockets.
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        Arc::make_mut(&mut self.target).options = options;
        self
    }

    /// The device that the link speaks for. Default: the one that the configuration names. Links of one configuration share
    /// its fixed credentials; if each device has its own, say
    /// [`credentials_from_provider`](keepbeat_core::client::ClientConfigBuilder::credentials_from_provider).
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Opens the link. The first attempt begins in the driver's next turn.
    pub fn open(self, driver: &mut Driver) -> LinkId {
        let (mut client, target) = self.client();
        client.open(Clock::now());
        LinkId(driver.links.open(client, None, target))
    }

    /// Like [`LinkBuilder::open`], with a store that keeps the link's session when the process ends, such as a
    /// [`FileStore`](keepbeat_adapter::store::FileStore). Over MQTT only. A message counts as accepted when the store has it; now,
    /// the link takes up what the store has kept. If the store fails later, the link is closed, with
    /// [`DownCause::Store`](keepbeat_core::DownCause::Store). The driver waits for its stores.
    ///
    /// # Errors
    /// The store cannot give what it has kept, or it is not for such a link. Nothing was opened.
    pub fn open_with_store(
        self,
        driver: &mut Driver,
        store: impl SessionStore + 'static,
    ) -> Result<LinkId, StoreError> {
        let (mut client, target) = self.client();
        let now = Clock::now();
        let keeper = Keeper::restore(Box::new(store), &mut client, now)?;
        client.open(now);
        Ok(LinkId(driver.links.open(client, Some(keeper), target)))
    }

    fn client(self) -> (Client, Arc<Target>) {
        let named = self.config.needs_server_name();
        let mut client = Client::new(self.config, seed());
        // Without it, the secrets of a protocol come from the seed, which is as good as what else there is then.
        if let Some(entropy) = boxed_entropy() {
            client = client.with_entropy(entropy);
        }
        if let Some(device) = self.device {
            client = client.for_device(device);
        }
        if named && let Ok(server) = self.target.server(0).parse() {
            client = client.to_server(server);
        }
        (client, self.target)
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
    /// The operating system's: the address is taken, or not ours; or it has no random numbers. Or
    /// [`io::ErrorKind::InvalidInput`]: the configuration has more than one port. The builder still has its sessions then:
    /// try again.
    pub fn bind(&mut self, driver: &mut Driver, address: impl ToSocketAddrs) -> io::Result<ListenerId> {
        self.bind_each(driver, [address])
    }

    /// Like [`ListenerBuilder::bind`], with an address for each port of the configuration
    /// ([`port`](keepbeat_core::server::ServerConfigBuilder::port)), in their order. What connects to one of them speaks as
    /// that port does; the devices are those of one listener.
    ///
    /// # Errors
    /// Like [`ListenerBuilder::bind`]; or [`io::ErrorKind::InvalidInput`], because there are more or fewer addresses than
    /// ports. If one address cannot be had, none is listened on.
    pub fn bind_each<A: ToSocketAddrs>(
        &mut self,
        driver: &mut Driver,
        addresses: impl IntoIterator<Item = A>,
    ) -> io::Result<ListenerId> {
        let addresses: Vec<A> = addresses.into_iter().collect();
        check_count(addresses.len(), self.config.ports())?;
        let mut listening = Vec::new();
        for address in addresses {
            listening.push(listen(&address.to_socket_addrs()?.collect::<Vec<_>>())?);
        }
        let entropy = Box::new(entropy()?);
        let Self { config, options, sessions } = self;
        driver.add_listener(listening, |sockets, addresses| {
            let server = match sessions.take() {
                Some(sessions) => Server::with_sessions(config.clone(), entropy, seed(), Clock::now(), sessions),
                None => Server::new(config.clone(), entropy, seed()),
            };
            Listener::new(server, sockets, addresses, *options)
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
