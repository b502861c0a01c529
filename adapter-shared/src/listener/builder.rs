//! How a listener is bound.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use keepbeat_core::server::{Server, ServerConfig, Sessions};

use super::shared::Shared;
use super::sockets::Sockets;
use super::{Listener, ListenerDriver};
use crate::clock::Clock;
use crate::link::BoxFuture;
use crate::random::{entropy, seed};
use crate::socket::{SocketOptions, check_count, listen};
use crate::stream::Stream;
use crate::suspend;

/// Binds a listener with more options. `L` is the adapter's own listener.
#[must_use]
pub struct ListenerBuilder<L> {
    config: Arc<ServerConfig>,
    options: SocketOptions,
    sessions: Option<Sessions>,
    runtime: ListenerRuntime,
    listener: PhantomData<fn() -> L>,
}

/// What an adapter brings along.
#[derive(Clone, Copy)]
pub struct ListenerRuntime {
    /// Looks the addresses of a host and port up.
    pub resolve: fn(String) -> BoxFuture<io::Result<Vec<SocketAddr>>>,
    /// Makes listening sockets, one for each port, the runtime's own. What it returns makes the listener and the future that drives it.
    pub adopt: fn(Vec<std::net::TcpListener>) -> io::Result<Adopted>,
    /// Runs it in the background.
    pub spawn: fn(BoxFuture<()>),
}

/// Makes a listener, and the future that drives it.
pub type Adopted = Box<dyn FnOnce(NewListener) -> (Listener, BoxFuture<()>) + Send>;

/// A listener that has no runtime yet.
pub struct NewListener {
    server: Server,
    options: SocketOptions,
    addresses: Vec<SocketAddr>,
}

impl NewListener {
    /// The listener, and what its driver works with: the sockets that were adopted, in the same order.
    pub fn with<L: Send + 'static, S: Stream>(self, listeners: Vec<L>) -> (Listener, ListenerDriver<L, S>) {
        let sockets = Arc::new(Mutex::new(Sockets::new(listeners, self.options)));
        let shared = Arc::new(Shared::new(self.server, sockets.clone()));
        suspend::watch(&shared);
        (Listener { shared: shared.clone(), addresses: self.addresses }, ListenerDriver::new(shared, sockets))
    }
}

impl<L: From<Listener>> ListenerBuilder<L> {
    /// Begins with the defaults.
    pub fn new(config: ServerConfig, runtime: ListenerRuntime) -> Self {
        let options = SocketOptions::new();
        Self { config: Arc::new(config), options, sessions: None, runtime, listener: PhantomData }
    }

    /// The options of accepted sockets.
    pub const fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// Goes on with the sessions of an earlier listener, so that its devices lose nothing by the restart.
    pub fn sessions(mut self, sessions: Sessions) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Listens on `address`, a host and port, and lets devices in. If it has several addresses, on the first that can be
    /// had. A task of the runtime drives the listener.
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours; or it has no random numbers. Or
    /// [`io::ErrorKind::InvalidInput`]: the configuration has more than one port. The builder still has its sessions then:
    /// try again.
    ///
    /// # Panics
    /// Where the runtime's own `spawn` does: on tokio, outside of a runtime with time and I/O enabled.
    pub async fn bind(&mut self, address: impl ToString) -> io::Result<L> {
        let spawn = self.runtime.spawn;
        let (listener, driver) = self.build(address).await?;
        spawn(driver);
        Ok(listener)
    }

    /// Like [`ListenerBuilder::bind`], with an address for each port of the configuration
    /// ([`port`](keepbeat_core::server::ServerConfigBuilder::port)), in their order. What connects to one of them speaks as
    /// that port does; the devices are those of one listener.
    ///
    /// # Errors
    /// Like [`ListenerBuilder::bind`]; or [`io::ErrorKind::InvalidInput`], because there are more or fewer addresses than
    /// ports. If one address cannot be had, none is listened on.
    ///
    /// # Panics
    /// Like [`ListenerBuilder::bind`].
    pub async fn bind_each<A: ToString>(&mut self, addresses: impl IntoIterator<Item = A>) -> io::Result<L> {
        let spawn = self.runtime.spawn;
        let (listener, driver) = self.build_each(addresses).await?;
        spawn(driver);
        Ok(listener)
    }

    /// Like [`ListenerBuilder::bind`], but nothing is accepted until you run the future, on an executor of your choice on
    /// the adapter's runtime. It is done when the listener was dropped or aborted. Dropping it closes all at once.
    ///
    /// # Errors
    /// Like [`ListenerBuilder::bind`].
    pub async fn build(&mut self, address: impl ToString) -> io::Result<(L, BoxFuture<()>)> {
        self.build_each([address]).await
    }

    /// Like [`ListenerBuilder::build`], with an address for each port, as in [`ListenerBuilder::bind_each`].
    ///
    /// # Errors
    /// Like [`ListenerBuilder::bind_each`].
    pub async fn build_each<A: ToString>(
        &mut self,
        addresses: impl IntoIterator<Item = A>,
    ) -> io::Result<(L, BoxFuture<()>)> {
        let addresses: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
        check_count(addresses.len(), self.config.ports())?;
        let (mut sockets, mut bound) = (Vec::new(), Vec::new());
        for address in addresses {
            let socket = listen(&(self.runtime.resolve)(address).await?)?;
            bound.push(socket.local_addr()?);
            sockets.push(socket);
        }
        let (config, entropy) = (self.config.clone(), Box::new(entropy()?));
        let adopted = (self.runtime.adopt)(sockets)?;
        let server = match self.sessions.take() {
            Some(sessions) => Server::with_sessions(config, entropy, seed(), Clock::now(), sessions),
            None => Server::new(config, entropy, seed()),
        };
        let (listener, driver) = adopted(NewListener { server, options: self.options, addresses: bound });
        Ok((listener.into(), driver))
    }
}

impl<L> fmt::Debug for ListenerBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("config", &self.config)
            .field("options", &self.options)
            .field("sessions", &self.sessions.is_some())
            .finish_non_exhaustive()
    }
}
