//! How a link is opened.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use keepbeat_core::client::{Client, ClientConfig};
#[cfg(feature = "netwatch")]
use keepbeat_core::reconnect::Hint;
use keepbeat_core::tunnel::{HostPort, HostPortError};
use keepbeat_core::wire::DeviceId;

use super::shared::Shared;
use super::{BoxFuture, Link, LinkDriver, Provider};
use crate::clock::Clock;
#[cfg(feature = "netwatch")]
use crate::network::{NetworkWatch, NetworkWatchError, needs_network};
use crate::random::{boxed_entropy, seed};
use crate::socket::SocketOptions;
use crate::suspend;

/// Opens a link with more options. `L` is the adapter's own link.
///
/// For very many links, open a clone of one builder for each [`device`](LinkBuilder::device): they share address, options
/// and configuration.
#[must_use]
pub struct LinkBuilder<L> {
    config: Arc<ClientConfig>,
    target: Arc<Target>,
    device: Option<DeviceId>,
    provider: Option<Provider>,
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
    /// The server's host and port.
    address: String,
    /// The host and port of the proxy on the way, if there is one.
    hop: Option<String>,
    pub(super) options: SocketOptions,
}

impl Target {
    /// What is connected to.
    pub(super) fn next_hop(&self) -> &str {
        self.hop.as_ref().unwrap_or(&self.address)
    }
}

impl<L: From<Link>> LinkBuilder<L> {
    /// Begins with the defaults.
    pub fn new(address: String, config: ClientConfig, runtime: Runtime) -> Self {
        let hop = config.proxy().map(|proxy| proxy.address().to_string());
        Self {
            config: Arc::new(config),
            target: Arc::new(Target { address, hop, options: SocketOptions::new() }),
            device: None,
            provider: None,
            #[cfg(feature = "netwatch")]
            watch_network: false,
            runtime,
            link: PhantomData,
        }
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
            _ => self.target.address.parse::<HostPort>().map(drop).map_err(OpenError::Address),
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
        if named && let Ok(server) = self.target.address.parse() {
            client = client.to_server(server);
        }
        client.open(Clock::now());
        let shared = Arc::new(Shared::new(client));
        suspend::watch(&shared);
        let link = LinkDriver::new(shared.clone());
        let Self { target, provider, .. } = self;
        #[cfg(feature = "netwatch")]
        let network = self.watch_network.then(|| watch_network(&shared, target.next_hop())).transpose();
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
        (handle, driver, watching)
    }
}

/// Passes the hints on as long as there is a link. One that needs no network is not told that there is none.
#[cfg(feature = "netwatch")]
fn watch_network(shared: &Arc<Shared>, address: &str) -> Result<NetworkWatch, NetworkWatchError> {
    let (shared, needs_network) = (Arc::downgrade(shared), needs_network(address));
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
            #[cfg(feature = "netwatch")]
            Self::NetworkWatch(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}
