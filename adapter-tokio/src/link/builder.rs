//! How a link is opened.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use keepbeat_core::client::{Client, ClientConfig};

use super::attempt::Provider;
use super::driver::Driver;
use super::{Link, Shared};
use crate::clock::Clock;
use crate::io::{SocketOptions, seed};

/// Opens a [`Link`] with more options. Made by [`Link::builder`].
#[must_use]
pub struct LinkBuilder {
    address: String,
    config: Arc<ClientConfig>,
    options: SocketOptions,
    provider: Option<Provider>,
}

impl LinkBuilder {
    pub(super) fn new(address: String, config: ClientConfig) -> Self {
        Self { address, config: Arc::new(config), options: SocketOptions::new(), provider: None }
    }

    /// The options of the link's sockets.
    pub const fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
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

    /// Opens the link. The first attempt begins at once.
    ///
    /// # Errors
    /// The configuration and this builder do not agree on where credentials come from. Nothing was opened.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled, like [`tokio::spawn`].
    pub fn open(self) -> Result<Link, OpenError> {
        match (self.config.asks_for_credentials(), self.provider.is_some()) {
            (true, false) => Err(OpenError::NoProvider),
            (false, true) => Err(OpenError::ProviderNotAsked),
            _ => Ok(self.start()),
        }
    }

    pub(super) fn start(self) -> Link {
        let mut client = Client::new(self.config, seed());
        client.open(Clock::now());
        let shared = Arc::new(Shared::new(client));
        let driver = Driver::new(shared.clone(), self.address, self.options, self.provider);
        drop(tokio::spawn(driver.run()));
        Link { shared }
    }
}

impl fmt::Debug for LinkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkBuilder")
            .field("address", &self.address)
            .field("config", &self.config)
            .field("options", &self.options)
            .field("provider", &self.provider.is_some())
            .finish()
    }
}

/// A link that could not be opened: a fault of the program. Nothing was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration wants credentials from a provider, and there is none.
    NoProvider,
    /// There is a provider, and the configuration would never ask it.
    ProviderNotAsked,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProvider => {
                "the configuration says credentials_from_provider, but the builder has none; give it one with credentials"
            }
            Self::ProviderNotAsked => {
                "the builder has a provider that would never be asked; add credentials_from_provider to the configuration"
            }
        })
    }
}

impl std::error::Error for OpenError {}
