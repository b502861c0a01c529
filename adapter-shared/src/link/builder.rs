//! How a link is opened.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use keepbeat_core::client::{Client, ClientConfig};
#[cfg(feature = "netwatch")]
use keepbeat_core::reconnect::Hint;
use keepbeat_core::session::{SessionStore, StoreError};
use keepbeat_core::tunnel::{HostPort, HostPortError};
use keepbeat_core::wire::DeviceId;

use super::shared::Shared;
use super::{BoxFuture, Link, LinkDriver, Provider};
use crate::clock::Clock;
#[cfg(feature = "netwatch")]
use crate::network::{NetworkWatch, NetworkWatchError, needs_network};
use crate::random::{boxed_entropy, seed};
use crate::socket::SocketOptions;
use crate::store::Keeper;
use crate::suspend;

/// Opens a link with more options. `L` is the adapter's own link.
///
/// For very many links, open a clone of one builder for each [`device`](LinkBuilder::device): they share addresses, options
/// and configuration, but for the store, which stays with the builder that was given it.
#[must_use]
pub struct LinkBuilder<L> {
    config: Arc<ClientConfig>,
    target: Arc<Target>,
    device: Option<DeviceId>,
    provider: Option<Provider>,
    store: Option<Box<dyn SessionStore>>,
    #[cfg(feature = "netwatch")]
    watch_network: bool,
    runtime: Runtime,
    link: PhantomData<fn() -> L>,
}

/// What an adapter brings along.
#[derive(Clone, Copy)]
pub struct Runtime {
    /// Makes the future that drives a link.
    pub drive: fn(Parts) -> BoxFuture<()>,
    /// Runs it in the background.
    pub spawn: fn(BoxFuture<()>),
}

/// What the future that drives a link works with.
pub struct Parts {
    /// The link.
    pub link: LinkDriver,
    /// Where to connect to.
    pub target: Arc<Target>,
    /// Who gives credentials.
    pub provider: Option<Provider>,
}

/// Where links connect to; many may share it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The hosts and ports of the servers, at least one.
    servers: Vec<String>,
    /// The host and port of the proxy on the way, if there is one.
    hop: Option<String>,
    pub(super) options: SocketOptions,
}

impl Target {
    /// Whom this attempt is for, counted from 0.
    pub(super) fn server(&self, attempt: usize) -> &str {
        self.servers.get(attempt % self.servers.len().max(1)).map_or("", String::as_str)
    }

    /// What it connects to.
    pub(super) fn next_hop(&self, attempt: usize) -> &str {
        self.hop.as_deref().unwrap_or_else(|| self.server(attempt))
    }

    pub(super) fn has_several(&self) -> bool {
        self.servers.len() > 1
    }
}

impl<L: From<Link>> LinkBuilder<L> {
    /// Begins with the defaults.
    pub fn new(address: String, config: ClientConfig, runtime: Runtime) -> Self {
        let hop = config.proxy().map(|proxy| proxy.address().to_string());
        Self {
            config: Arc::new(config),
            target: Arc::new(Target { servers: vec![address], hop, options: SocketOptions::new() }),
            device: None,
            provider: None,
            store: None,
            #[cfg(feature = "netwatch")]
            watch_network: false,
            runtime,
            link: PhantomData,
        }
    }

    /// Another server for the same link, a host and port. The first attempt is for the first server, and every one that follows,
    /// because an attempt failed or a connection ended, for the next; the last is followed by the first. A session goes on only if
    /// they share it.
    pub fn or_server(mut self, address: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.target).servers.push(address.into());
        self
    }

    /// What keeps the link's session over MQTT when the process ends, such as a [`FileStore`](crate::store::FileStore); over another
    /// protocol, the link is not opened. A message counts as accepted when the store has it;
    /// when the link is opened, it takes up what the store has kept. If the store fails later, the link is closed, with
    /// [`DownCause::Store`](keepbeat_core::DownCause::Store).
    ///
    /// The link waits for its store where it is: in [`Link::send`], and in the task that drives it. Default: none.
    pub fn store(mut self, store: impl SessionStore + 'static) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// The options of the link's sockets.
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        Arc::make_mut(&mut self.target).options = options;
        self
    }

    /// The device that the link speaks for. Default: the one that the configuration names. Links of one configuration share
    /// its fixed credentials; if each device has its own, use a provider.
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Has the operating system tell the link when the network changes: up, it probes the server at once; waiting, it tries
    /// again at once, or spares its attempts while there is no network. See [`NetworkWatch`].
    ///
    /// All links share one watcher, which lives as long as any of them. A link to an address that
    /// [needs no network](needs_network), or to a proxy there, is not told that there is none.
    #[cfg(feature = "netwatch")]
    pub const fn watch_network(mut self) -> Self {
        self.watch_network = true;
        self
    }

    /// Asks `provider` for credentials before every attempt. Its argument tells whether the server did not accept the
    /// last ones, so that a stored copy will not do; `None` fails the attempt. The configuration must say
    /// [`credentials_from_provider`](keepbeat_core::client::ClientConfigBuilder::credentials_from_provider).
    ///
    /// The future is dropped when the attempt is over, for example after
    /// [`credentials_timeout`](keepbeat_core::client::ClientConfigBuilder::credentials_timeout).
    pub fn credentials<P, F>(mut self, provider: P) -> Self
    where
        P: Fn(bool) -> F + Send + Sync + 'static,
        F: Future<Output = Option<Bytes>> + Send + 'static,
    {
        self.provider = Some(Arc::new(move |refresh| Box::pin(provider(refresh))));
        self
    }

    /// Opens the link. The first attempt begins at once. A task of the runtime drives it.
    ///
    /// # Errors
    /// The configuration and this builder do not agree on where credentials come from, or the address is none and a proxy
    /// or a certificate would be asked for it. Or the network is to be watched, and the operating system refuses. Nothing
    /// was opened.
    ///
    /// # Panics
    /// Where the runtime's own `spawn` does: on tokio, outside of a runtime with time and I/O enabled.
    pub fn open(self) -> Result<L, OpenError> {
        self.check()?;
        let spawn = self.runtime.spawn;
        let (link, driver, watching) = self.split();
        watching?;
        spawn(driver);
        Ok(link.into())
    }

    /// Like [`LinkBuilder::open`], but nothing happens until you run the future, on an executor of your choice on the
    /// adapter's runtime. It is done when the link was dropped and has said goodbye. Dropping it ends the link at once.
    ///
    /// # Errors
    /// Like [`LinkBuilder::open`].
    pub fn build(self) -> Result<(L, BoxFuture<()>), OpenError> {
        self.check()?;
        let (link, driver, watching) = self.split();
        watching?;
        Ok((link.into(), driver))
    }

    /// Opens the link without a check, for a builder that has no provider. If the configuration asks for one, every attempt
    /// ends in [`DownCause::CredentialsFailed`](keepbeat_core::DownCause::CredentialsFailed). If the network is to be watched
    /// and cannot be, the link goes on without.
    pub fn start(self) -> L {
        let spawn = self.runtime.spawn;
        let (link, driver, _watching) = self.split();
        spawn(driver);
        link.into()
    }

    fn check(&self) -> Result<(), OpenError> {
        match (self.config.asks_for_credentials(), self.provider.is_some()) {
            (true, false) => Err(OpenError::NoProvider),
            (false, true) => Err(OpenError::ProviderNotAsked),
            _ if !self.config.needs_server_name() => Ok(()),
            _ => self
                .target
                .servers
                .iter()
                .try_for_each(|server| server.parse::<HostPort>().map(drop).map_err(OpenError::Address)),
        }
    }

    /// The link, its driver, and whether it could do what it was told.
    fn split(self) -> (Link, BoxFuture<()>, Result<(), OpenError>) {
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
        let now = Clock::now();
        let kept = self.store.map(|store| Keeper::restore(store, &mut client, now)).transpose();
        let (keeper, kept) = match kept {
            Ok(keeper) => {
                client.open(now);
                (keeper, Ok(()))
            }
            Err(error) => {
                client.store_failed(now, error.clone(), None);
                (None, Err(OpenError::Store(error)))
            }
        };
        let shared = Arc::new(Shared::new(client, keeper));
        suspend::watch(&shared);
        let link = LinkDriver::new(shared.clone());
        let Self { target, provider, .. } = self;
        #[cfg(feature = "netwatch")]
        let network = self.watch_network.then(|| watch_network(&shared, &target)).transpose();
        #[cfg(feature = "netwatch")]
        let (network, watching) = match network {
            Ok(network) => (network, Ok(())),
            Err(error) => (None, Err(OpenError::NetworkWatch(error))),
        };
        #[cfg(not(feature = "netwatch"))]
        let watching = Ok(());
        let handle = Link {
            shared,
            #[cfg(feature = "netwatch")]
            _network: network,
        };
        let driver = (self.runtime.drive)(Parts { link, target, provider });
        (handle, driver, kept.and(watching))
    }
}

/// Passes the hints on as long as there is a link. One that needs no network is not told that there is none.
#[cfg(feature = "netwatch")]
fn watch_network(shared: &Arc<Shared>, target: &Target) -> Result<NetworkWatch, NetworkWatchError> {
    let needs_network = (0..target.servers.len()).any(|attempt| needs_network(target.next_hop(attempt)));
    let shared = Arc::downgrade(shared);
    NetworkWatch::watch(move |hint| {
        if let Some(shared) = shared.upgrade()
            && (needs_network || hint != Hint::NetworkDown)
        {
            shared.tell(|client, now| client.hint(now, hint));
        }
    })
}

impl<L> Clone for LinkBuilder<L> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            target: self.target.clone(),
            device: self.device.clone(),
            provider: self.provider.clone(),
            // A store is of one link.
            store: None,
            ..*self
        }
    }
}

impl<L> fmt::Debug for LinkBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkBuilder")
            .field("target", &self.target)
            .field("config", &self.config)
            .field("device", &self.device)
            .field("provider", &self.provider.is_some())
            .field("store", &self.store.is_some())
            .finish()
    }
}

/// A link that could not be opened: a fault of the program, but for the last. Nothing was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration wants credentials from a provider, and there is none.
    NoProvider,
    /// There is a provider, and the configuration would never ask it.
    ProviderNotAsked,
    /// The address is not a host and a port.
    Address(HostPortError),
    /// The store cannot give what it has kept, or it is not for such a link.
    Store(StoreError),
    /// The network was to be watched. A fault of the operating system or of the permissions: without
    /// [`LinkBuilder::watch_network`] the link opens.
    #[cfg(feature = "netwatch")]
    NetworkWatch(NetworkWatchError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str(
                "the configuration says credentials_from_provider, but the builder has none; give it one with credentials",
            ),
            Self::ProviderNotAsked => f.write_str(
                "the builder has a provider that would never be asked; add credentials_from_provider to the configuration",
            ),
            Self::Address(error) => write!(f, "the address of the server is none: {error}"),
            Self::Store(error) => error.fmt(f),
            #[cfg(feature = "netwatch")]
            Self::NetworkWatch(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}
