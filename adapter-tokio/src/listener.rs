//! Very many devices of a server.

use std::io;
use std::ops::Deref;

use keepbeat_adapter::link::BoxFuture;
use keepbeat_adapter::listener::{self, Adopted, ListenerRuntime, NewListener};
use keepbeat_core::server::ServerConfig;
use tokio::net::TcpListener;

use crate::alarm::Alarm;
use crate::stream::{Stream, accept, resolve, spawn};

/// Listening sockets and all devices that came through them.
///
/// One task in the background drives it. Dropping the listener closes all at once, without a word, like
/// [`abort`](keepbeat_adapter::Listener::abort); [`drain`](keepbeat_adapter::Listener::drain) is the polite end. Its methods
/// are those of [`keepbeat_adapter::Listener`], the same on every runtime.
#[derive(Debug)]
pub struct Listener(keepbeat_adapter::Listener);

/// Binds a [`Listener`] with more options. Made by [`Listener::builder`].
pub type ListenerBuilder = listener::ListenerBuilder<Listener>;

impl Listener {
    /// Listens on `address`, a host and port, and lets devices in. See [`Listener::builder`] for more options.
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours. Or the configuration has more than one port.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled, like [`tokio::spawn`].
    pub async fn bind(address: impl ToString, config: ServerConfig) -> io::Result<Self> {
        Self::builder(config).bind(address).await
    }

    /// A listener with more options.
    pub fn builder(config: ServerConfig) -> ListenerBuilder {
        ListenerBuilder::new(config, ListenerRuntime { resolve, adopt, spawn })
    }
}

impl From<keepbeat_adapter::Listener> for Listener {
    fn from(listener: keepbeat_adapter::Listener) -> Self {
        Self(listener)
    }
}

impl From<Listener> for keepbeat_adapter::Listener {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl Deref for Listener {
    type Target = keepbeat_adapter::Listener;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn adopt(sockets: Vec<std::net::TcpListener>) -> io::Result<Adopted> {
    let sockets = sockets.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
    Ok(Box::new(|new: NewListener| {
        let (handle, listener) = new.with(sockets);
        let driver = listener::drive::<TcpListener, Stream, Alarm>(listener, accept);
        // Every turn bounds its own work, so the runtime need not.
        (handle, Box::pin(tokio::task::unconstrained(driver)) as BoxFuture<()>)
    }))
}
