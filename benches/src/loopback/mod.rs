//! Idle links over loopback on each adapter, and beside them what a user would otherwise write.
//!
//! The same work for all: the client end of every link sends a small beat in every interval, the server end answers it, and
//! both ends wait for nothing else. All client ends are one thread, all server ends another (or another process).
//!
//! | contender | beat and answer | who notices a dead peer |
//! |---|---|---|
//! | `tokio`, `smol`, `mio` | keepbeat's, 3 to 7 bytes each | both ends |
//! | `tungstenite` | ping (masked) and pong, by a task per connection, on tokio | both ends, by a timeout each |
//! | `tungstenite-4k` | the same with read buffers of 4 KiB instead of the default 128 KiB | the same |
//! | `echo` | 4 bytes and the same back, on bare mio | nobody: the floor |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

mod bare;
mod event_loop;
mod runtimes;
mod websocket;

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use keepbeat_core::client::ClientConfig;
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::server::ServerConfig;
use keepbeat_core::wire::DeviceId;

/// What drives the links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// keepbeat-tokio.
    Tokio,
    /// keepbeat-smol.
    Smol,
    /// keepbeat-mio.
    Mio,
    /// tokio-tungstenite with its default buffers.
    Tungstenite,
    /// tokio-tungstenite with small buffers.
    Tungstenite4k,
    /// mio without anything.
    Echo,
}

/// The client ends of many links.
pub trait Clients {
    /// Lets them live for this long.
    fn run_for(&mut self, span: Duration);

    /// How many beats were answered since the links came up.
    fn answered(&mut self) -> u64;
}

impl Contender {
    /// All, in the order in which they are to be shown.
    pub const ALL: [Self; 6] = [Self::Tokio, Self::Smol, Self::Mio, Self::Tungstenite, Self::Tungstenite4k, Self::Echo];

    /// The name in benchmark ids.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
            Self::Mio => "mio",
            Self::Tungstenite => "tungstenite",
            Self::Tungstenite4k => "tungstenite-4k",
            Self::Echo => "echo",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Serves whoever comes on this thread, for ever. Tells where on loopback.
    pub fn serve(self, address: &Sender<SocketAddr>) -> ! {
        match self {
            Self::Tokio => runtimes::serve_on_tokio(address),
            Self::Smol => runtimes::serve_on_smol(address),
            Self::Mio => event_loop::serve(address),
            Self::Tungstenite => websocket::serve(address, None),
            Self::Tungstenite4k => websocket::serve(address, Some(websocket::SMALL)),
            Self::Echo => bare::serve(address),
        }
    }

    /// Opens so many links, each of which beats once per `interval`. They are up when this returns.
    ///
    /// # Panics
    /// If they do not come up.
    #[must_use]
    pub fn open(self, server: SocketAddr, links: usize, interval: Duration) -> Box<dyn Clients> {
        match self {
            Self::Tokio => Box::new(runtimes::OnTokio::open(server, links, interval)),
            Self::Smol => Box::new(runtimes::OnSmol::open(server, links, interval)),
            Self::Mio => Box::new(event_loop::OnMio::open(server, links, interval)),
            Self::Tungstenite => Box::new(websocket::WebSockets::open(server, links, interval, None)),
            Self::Tungstenite4k => {
                Box::new(websocket::WebSockets::open(server, links, interval, Some(websocket::SMALL)))
            }
            Self::Echo => Box::new(bare::Bare::open(server, links, interval)),
        }
    }
}

/// Nothing takes longer, however busy the machine.
const GUARD: Duration = Duration::from_secs(60);

fn server_config() -> ServerConfig {
    ServerConfig::builder().intervals(LivenessConfig::SHORTEST, Duration::from_secs(600)).build().unwrap()
}

fn client_config(link: usize, interval: Duration) -> ClientConfig {
    let liveness = LivenessConfig::builder().interval(interval).reply_timeout(interval).build().unwrap();
    ClientConfig::builder(DeviceId::new(&format!("device-{link}")).unwrap()).liveness(liveness).build().unwrap()
}

/// Runs the links in steps until `done`.
///
/// # Panics
/// If that does not come.
fn run_until<C: Clients>(clients: &mut C, what: &str, done: impl Fn(&mut C) -> bool) {
    let step = Duration::from_millis(5);
    let mut left = GUARD;
    while !done(clients) {
        left = left.checked_sub(step).unwrap_or_else(|| panic!("not within {GUARD:?}: {what}"));
        clients.run_for(step);
    }
}
