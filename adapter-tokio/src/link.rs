//! One device's link to a server.

use std::ops::Deref;

use keepbeat_adapter::link::{self, BoxFuture, Connector, Parts, Runtime};
use keepbeat_core::client::ClientConfig;

use crate::alarm::Alarm;
use crate::stream::{Stream, open, resolve, spawn};

/// One logical link to a server, across as many connections as it takes.
///
/// A task in the background drives it. Dropping the link closes it: the task says goodbye to the server and ends. Its
/// methods are those of [`keepbeat_adapter::Link`], the same on every runtime.
#[derive(Debug)]
pub struct Link(keepbeat_adapter::Link);

/// Opens a [`Link`] with more options. Made by [`Link::builder`].
pub type LinkBuilder = link::LinkBuilder<Link>;

impl Link {
    /// Opens a link to `address`, a host and port such as `"gateway.example:7411"`. The first attempt begins at once.
    ///
    /// If `config` asks for credentials from a provider, use [`Link::builder`]; without one, every attempt ends in
    /// [`DownCause::CredentialsFailed`](keepbeat_core::DownCause::CredentialsFailed).
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled, like [`tokio::spawn`].
    pub fn open(address: impl Into<String>, config: ClientConfig) -> Self {
        Self::builder(address, config).start()
    }

    /// A link with more options.
    pub fn builder(address: impl Into<String>, config: ClientConfig) -> LinkBuilder {
        LinkBuilder::new(address.into(), config, Runtime { drive, spawn })
    }
}

impl From<keepbeat_adapter::Link> for Link {
    fn from(link: keepbeat_adapter::Link) -> Self {
        Self(link)
    }
}

impl From<Link> for keepbeat_adapter::Link {
    fn from(link: Link) -> Self {
        link.0
    }
}

impl Deref for Link {
    type Target = keepbeat_adapter::Link;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn drive(parts: Parts) -> BoxFuture<()> {
    let driver = link::drive::<Stream, Alarm>(parts, Connector { resolve, open });
    // Every turn bounds its own work, so the runtime need not.
    Box::pin(tokio::task::unconstrained(driver))
}
