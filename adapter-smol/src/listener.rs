//! Very many devices of a server.

use std::io;
use std::net::TcpListener;
use std::ops::Deref;

use keepbeat_adapter::link::BoxFuture;
use keepbeat_adapter::listener::{self, Adopted, ListenerRuntime, NewListener};
use keepbeat_core::server::ServerConfig;
use smol::Async;

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
    /// The task runs on smol's own threads, like all of [`smol::spawn`]; for an executor of yours, use
    /// [`ListenerBuilder::build`].
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours. Or the configuration has more than one port.
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

fn adopt(sockets: Vec<TcpListener>) -> io::Result<Adopted> {
    let sockets = sockets.into_iter().map(Async::new_nonblocking).collect::<io::Result<Vec<_>>>()?;
    Ok(Box::new(|new: NewListener| {
        let (handle, listener) = new.with(sockets);
        let driver = listener::drive::<Async<TcpListener>, Stream, Alarm>(listener, accept);
        (handle, Box::pin(driver) as BoxFuture<()>)
    }))
}
