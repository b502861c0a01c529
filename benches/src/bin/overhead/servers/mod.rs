//! The servers that are compared.

mod bare;
mod by_hand_smol;
mod by_hand_tokio;
mod ours;
mod web_socket;

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;
use keepbeat_benches::process::raise_descriptor_limit;

use crate::load::Protocol;
use crate::process;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// A loop on mio that reads beats, writes echoes, and looks every 100 ms who is silent: the floor.
    BareMio,
    /// keepbeat-mio.
    KeepbeatMio,
    /// keepbeat-mio, over WebSocket.
    KeepbeatMioWebSocket,
    /// keepbeat-mio, with WebSocket clients that are no keepbeats: the server pings.
    KeepbeatMioForeign,
    /// A task for each connection, with an interval of its own, on tokio.
    TokioByHand,
    /// keepbeat-tokio.
    KeepbeatTokio,
    /// keepbeat-tokio, over WebSocket.
    KeepbeatTokioWebSocket,
    /// keepbeat-tokio, with WebSocket clients that are no keepbeats: the server pings.
    KeepbeatTokioForeign,
    /// A task for each connection, with a timer of its own, on smol.
    SmolByHand,
    /// keepbeat-smol.
    KeepbeatSmol,
    /// keepbeat-smol, over WebSocket.
    KeepbeatSmolWebSocket,
    /// keepbeat-smol, with WebSocket clients that are no keepbeats: the server pings.
    KeepbeatSmolForeign,
    /// WebSockets with their defaults; a task for each connection pings at an interval of its own.
    TokioTungstenite,
}

impl Server {
    /// What to call it on the command line and for machines.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What to call it in a table.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::BareMio => "bare mio loop (the floor)",
            Self::KeepbeatMio => "keepbeat-mio",
            Self::KeepbeatMioWebSocket => "keepbeat-mio, WebSocket",
            Self::KeepbeatMioForeign => "keepbeat-mio, foreign WebSocket",
            Self::TokioByHand => "tokio, a task and interval per link",
            Self::KeepbeatTokio => "keepbeat-tokio",
            Self::KeepbeatTokioWebSocket => "keepbeat-tokio, WebSocket",
            Self::KeepbeatTokioForeign => "keepbeat-tokio, foreign WebSocket",
            Self::SmolByHand => "smol, a task and timer per link",
            Self::KeepbeatSmol => "keepbeat-smol",
            Self::KeepbeatSmolWebSocket => "keepbeat-smol, WebSocket",
            Self::KeepbeatSmolForeign => "keepbeat-smol, foreign WebSocket",
            Self::TokioTungstenite => "tokio-tungstenite, a ping task per link",
        }
    }

    pub(crate) const fn is_ours(self) -> bool {
        !matches!(self, Self::BareMio | Self::TokioByHand | Self::SmolByHand | Self::TokioTungstenite)
    }

    pub(crate) const fn protocol(self) -> Protocol {
        match self {
            Self::TokioTungstenite
            | Self::KeepbeatMioForeign
            | Self::KeepbeatTokioForeign
            | Self::KeepbeatSmolForeign => Protocol::WebSocket,
            Self::KeepbeatMioWebSocket | Self::KeepbeatTokioWebSocket | Self::KeepbeatSmolWebSocket => {
                Protocol::NativeOverWebSocket
            }
            _ => Protocol::Native,
        }
    }
}

/// The process of a server: prints its address, and serves so many links until its input ends.
pub(crate) fn run(server: Server, interval: Duration, links: u32) -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit()?;
    let processors = process::processors()?;
    process::pin(*processors.last().ok_or("no processor")?)?;
    process::set_slack(USUAL_SLACK)?;
    std::thread::spawn(|| {
        // Whatever ends the input ends the process.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        std::process::exit(0);
    });
    match server {
        Server::BareMio => bare::run(interval),
        Server::KeepbeatMio | Server::KeepbeatMioWebSocket | Server::KeepbeatMioForeign => {
            ours::mio(server, interval, links)
        }
        Server::TokioByHand => by_hand_tokio::run(interval),
        Server::KeepbeatTokio | Server::KeepbeatTokioWebSocket | Server::KeepbeatTokioForeign => {
            ours::tokio(server, interval, links)
        }
        Server::SmolByHand => by_hand_smol::run(interval),
        Server::KeepbeatSmol | Server::KeepbeatSmolWebSocket | Server::KeepbeatSmolForeign => {
            ours::smol(server, interval, links)
        }
        Server::TokioTungstenite => web_socket::run(interval),
    }
}

/// That of a process which did not ask for another, in nanoseconds.
const USUAL_SLACK: u64 = 50_000;

const fn anywhere() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

/// Whoever is silent for longer is taken for dead, by all servers: an interval, and a reply timeout as long.
const fn patience(interval: Duration) -> Duration {
    interval.saturating_mul(2)
}
