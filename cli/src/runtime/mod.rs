//! The runtime on which links and listeners run. The program itself is on tokio whatever they are on.

mod mio;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::liveness::Evidence;
use keepbeat_core::server::{Admission, ConnectionId, ServerConfig, ServerEvent, Sessions};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::tunnel::tls::TlsInfo;
use keepbeat_core::wire::DeviceId;
use keepbeat_tokio::FileStore;

/// The names of the runtimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Links are tasks on tokio's threads
    Tokio,
    /// Links are tasks on smol's own threads
    Smol,
    /// All links are in one event loop, on one thread
    Mio,
}

impl Name {
    /// As it is written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
            Self::Mio => "mio",
        }
    }
}

/// Where a link leads, and what keeps its session.
pub(crate) struct Target {
    pub(crate) address: String,
    /// What is tried in turn with it.
    pub(crate) or_server: Vec<String>,
    pub(crate) store: Option<FileStore>,
}

impl From<String> for Target {
    fn from(address: String) -> Self {
        Self { address, or_server: Vec::new(), store: None }
    }
}

/// A runtime that runs.
#[derive(Clone)]
pub(crate) enum Runtime {
    Tokio,
    Smol,
    Mio(mio::EventLoop),
}

impl Runtime {
    /// Gets it going.
    pub(crate) fn start(name: Name) -> io::Result<Self> {
        Ok(match name {
            Name::Tokio => Self::Tokio,
            Name::Smol => Self::Smol,
            Name::Mio => Self::Mio(mio::EventLoop::start()?),
        })
    }

    /// Opens a link. The first attempt begins at once.
    pub(crate) async fn open(&self, target: impl Into<Target>, config: ClientConfig) -> io::Result<Link> {
        let Target { address, or_server, store } = target.into();
        // The builders of both are of different types.
        macro_rules! open {
            ($adapter:ident) => {{
                let mut builder = $adapter::Link::builder(address, config);
                for server in or_server {
                    builder = builder.or_server(server);
                }
                if let Some(store) = store {
                    builder = builder.store(store);
                }
                Link::Async(builder.open().map_err(io::Error::other)?.into())
            }};
        }
        Ok(match self {
            Self::Tokio => open!(keepbeat_tokio),
            Self::Smol => open!(keepbeat_smol),
            Self::Mio(event_loop) => Link::Mio(event_loop.open(Target { address, or_server, store }, config).await?),
        })
    }

    /// Listens, on an address for each port of the configuration, with the sessions of an earlier listener.
    pub(crate) async fn bind(
        &self,
        addresses: Vec<String>,
        config: ServerConfig,
        sessions: Option<Sessions>,
    ) -> io::Result<Listener> {
        // The builders of both are of different types.
        macro_rules! bind {
            ($adapter:ident) => {{
                let mut builder = $adapter::Listener::builder(config);
                if let Some(sessions) = sessions {
                    builder = builder.sessions(sessions);
                }
                Listener::Async(builder.bind_each(addresses).await?.into())
            }};
        }
        Ok(match self {
            Self::Tokio => bind!(keepbeat_tokio),
            Self::Smol => bind!(keepbeat_smol),
            Self::Mio(event_loop) => Listener::Mio(event_loop.bind(addresses, config, sessions).await?),
        })
    }
}

/// A link on any runtime. What its methods do is told at [`keepbeat_adapter::Link`].
pub(crate) enum Link {
    Async(keepbeat_adapter::Link),
    Mio(mio::Link),
}

impl Link {
    pub(crate) async fn next_event(&self) -> Option<Event> {
        match self {
            Self::Async(link) => link.next_event().await,
            Self::Mio(link) => link.next_event().await,
        }
    }

    pub(crate) async fn send(&self, message: impl Into<Message>) -> Result<Ticket, SendError> {
        match self {
            Self::Async(link) => link.send(message).await,
            Self::Mio(link) => link.send(message.into()).await,
        }
    }

    pub(crate) async fn try_send(&self, message: impl Into<Message>) -> Result<Ticket, SendError> {
        match self {
            Self::Async(link) => link.try_send(message),
            Self::Mio(link) => link.try_send(message.into()).await,
        }
    }

    pub(crate) async fn unacknowledged(&self) -> usize {
        match self {
            Self::Async(link) => link.unacknowledged(),
            Self::Mio(link) => link.unacknowledged().await,
        }
    }

    pub(crate) async fn evidence(&self) -> Option<Evidence> {
        match self {
            Self::Async(link) => link.evidence(),
            Self::Mio(link) => link.evidence().await,
        }
    }

    pub(crate) async fn tls(&self) -> Option<TlsInfo> {
        match self {
            Self::Async(link) => link.tls(),
            Self::Mio(link) => link.tls().await,
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Async(link) => link.close(),
            Self::Mio(link) => link.close(),
        }
    }

    /// Drops the events that are left.
    pub(crate) async fn closed(&self) {
        match self {
            Self::Async(link) => link.closed().await,
            Self::Mio(link) => while link.next_event().await.is_some() {},
        }
    }
}

/// A listener on any runtime. What its methods do is told at [`keepbeat_adapter::Listener`].
pub(crate) enum Listener {
    Async(keepbeat_adapter::Listener),
    Mio(mio::Listener),
}

impl Listener {
    pub(crate) fn local_addrs(&self) -> &[SocketAddr] {
        match self {
            Self::Async(listener) => listener.local_addrs(),
            Self::Mio(listener) => listener.local_addrs(),
        }
    }

    pub(crate) async fn next_event(&self) -> Option<ServerEvent> {
        match self {
            Self::Async(listener) => listener.next_event().await,
            Self::Mio(listener) => listener.next_event().await,
        }
    }

    pub(crate) fn answer(&self, connection: ConnectionId, admission: Admission) {
        match self {
            Self::Async(listener) => listener.answer(connection, admission),
            Self::Mio(listener) => listener.answer(connection, admission),
        }
    }

    pub(crate) async fn try_send(&self, device: &DeviceId, message: impl Into<Message>) -> Result<Ticket, SendError> {
        match self {
            Self::Async(listener) => listener.try_send(device, message),
            Self::Mio(listener) => listener.try_send(device, message.into()).await,
        }
    }

    pub(crate) async fn evidence(&self, device: &DeviceId) -> Option<Evidence> {
        match self {
            Self::Async(listener) => listener.evidence(device),
            Self::Mio(listener) => listener.evidence(device).await,
        }
    }

    pub(crate) async fn connections(&self) -> usize {
        match self {
            Self::Async(listener) => listener.connections(),
            Self::Mio(listener) => listener.connections().await,
        }
    }

    pub(crate) async fn drain(&self, retry_after: Duration, spread: Duration) {
        match self {
            Self::Async(listener) => listener.drain(retry_after, spread).await,
            Self::Mio(listener) => listener.drain(retry_after, spread).await,
        }
    }

    /// `None` if the event loop is gone.
    pub(crate) async fn abort(&self) -> Option<Sessions> {
        match self {
            Self::Async(listener) => Some(listener.abort()),
            Self::Mio(listener) => listener.abort().await,
        }
    }
}
