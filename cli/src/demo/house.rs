//! What is at the other end of the links: a server of ours, a broker of ours, or the broker of others.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::wire::AnyConfig;
use keepbeat_core::wire::websocket::{SUBPROTOCOL, WebSocketConfig};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Error;
use super::broker::{BrokerArgs, Given};
use super::certificate::Certificate;
use super::ledger::Ledger;
use super::mosquitto::{self, Mosquitto};
use super::peers::{self, Part, Role, Server, Terms};
use super::relay::Port;
use super::schedule::Act;
use super::stage::Stage;
use super::topics::{self, Topics};
use crate::output::complain;
use crate::runtime::Runtime;

/// The protocol of the links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Wire {
    /// The native one
    Beat,
    /// The same frames over WebSocket
    Ws,
    /// MQTT, over a broker
    Mqtt,
}

impl Wire {
    /// As it is written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Beat => "beat",
            Self::Ws => "ws",
            Self::Mqtt => "mqtt",
        }
    }
}

/// Which other end it is to be.
pub(super) enum House {
    Server(AnyConfig),
    /// This program, which is mosquitto.
    Mosquitto(PathBuf, Topics),
    Broker(Box<Given>, Topics),
}

impl House {
    /// As the options say. Nothing is started yet.
    pub(super) fn of(wire: Wire, links: usize, tls: bool, args: &BrokerArgs) -> Result<Self, Error> {
        if wire != Wire::Mqtt {
            args.refuse().map_err(Error::Usage)?;
        }
        Ok(match wire {
            Wire::Beat => Self::Server(AnyConfig::default()),
            Wire::Ws => {
                let config = WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build();
                Self::Server(config.map_err(|error| Error::config(&error))?.into())
            }
            Wire::Mqtt => {
                let given = args.given(tls).map_err(Error::Usage)?;
                let user = given.as_ref().and_then(|given| given.user.clone());
                let topics = Topics::new(links, args.version(), user);
                match given {
                    Some(given) => Self::Broker(given, topics),
                    None => Self::Mosquitto(mosquitto::find().map_err(Error::Usage)?, topics),
                }
            }
        })
    }

    /// What happens to it.
    pub(super) const fn incidents(&self) -> &'static [Act] {
        match self {
            Self::Server(_) => &[Act::ServerRestart],
            Self::Mosquitto(..) => mosquitto::INCIDENTS,
            Self::Broker(..) => &[],
        }
    }

    /// Starts it, or looks whether it is there.
    pub(super) async fn open(
        self,
        runtime: &Runtime,
        terms: &mut Terms,
        certificate: Option<&Certificate>,
    ) -> Result<Opposite, Error> {
        terms.tls = certificate.map(|certificate| certificate.client.clone());
        match self {
            Self::Server(wire) => {
                let mut port = Port::reserve().map_err(|error| Error::socket(&error))?;
                let config = peers::server_config(&terms.liveness, wire.clone(), certificate);
                let config = config.map_err(|error| Error::config(&*error))?;
                let listener = peers::listen(runtime, &mut port, &config, None).await;
                let listener = listener.map_err(|error| Error::socket(&error))?;
                let server = Server { runtime: runtime.clone(), port, config, listener };
                Ok(Opposite::Server(Box::new(server), wire))
            }
            Self::Mosquitto(program, topics) => match Mosquitto::start(program, certificate).await {
                Ok(mosquitto) => Ok(Opposite::Mosquitto(mosquitto, topics)),
                Err(error) => Err(Error::Failed(format!("demo: mosquitto cannot be started: {error}"))),
            },
            Self::Broker(given, topics) => {
                (terms.tls, terms.token) = (given.tls.clone(), given.token.clone());
                let config = topics.clean_wire().and_then(|wire| terms.client(&topics.client_id(0), wire));
                let config = config.map_err(|error| Error::Usage(format!("demo: --broker: {error}")))?;
                let address = given.look(runtime, config).await.map_err(Error::Failed)?;
                Ok(Opposite::Broker(given, address, topics))
            }
        }
    }
}

/// The other end, which is there.
pub(super) enum Opposite {
    Server(Box<Server>, AnyConfig),
    Mosquitto(Mosquitto, Topics),
    Broker(Box<Given>, SocketAddr, Topics),
}

impl Opposite {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Server(server, _) => server.port.address(),
            Self::Mosquitto(mosquitto, _) => mosquitto.address(),
            Self::Broker(_, address, _) => *address,
        }
    }

    /// All links: those that are asked for, and over a broker one more.
    pub(super) fn parts(&self, links: usize, terms: &Terms) -> Result<Vec<Part>, Box<dyn StdError>> {
        match self {
            Self::Server(_, wire) => (0..links)
                .map(|link| {
                    let config = terms.client(&peers::name(link), wire.clone())?;
                    Ok(Part { link, config, role: Role::Client, wish: None, ledger: Ledger::default() })
                })
                .collect(),
            Self::Mosquitto(_, topics) | Self::Broker(_, _, topics) => (0..topics.links())
                .map(|link| {
                    let config = terms.client(&topics.client_id(link), topics.wire(link)?)?;
                    let is_gateway = link == topics.gateway();
                    let role = if is_gateway { Role::Gateway } else { Role::Device };
                    let wish = Some(topics.subscription(link)?);
                    Ok(Part { link, config, role: role(topics.clone()), wish, ledger: topics::ledger(link) })
                })
                .collect(),
        }
    }

    /// How to leave no session behind, where that is needed.
    pub(super) fn clean_up(&self, runtime: &Runtime, terms: &Terms) -> Option<impl Future<Output = ()> + use<>> {
        let Self::Broker(given, address, topics) = self else { return None };
        let client = |link| terms.client(&topics.client_id(link), topics.clean_wire().ok()?).ok();
        let clients: Vec<_> = (0..topics.links()).filter_map(client).collect();
        let (given, address, runtime) = (given.clone(), *address, runtime.clone());
        Some(async move {
            if let Err(problem) = given.clean_up(&runtime, address, clients).await {
                complain(&problem);
            }
        })
    }

    /// Plays its part until the run is over.
    pub(super) fn play(
        self,
        cast: &mut JoinSet<()>,
        stage: Arc<Stage>,
        seed: u64,
        incidents: mpsc::Receiver<(Act, Duration)>,
    ) {
        match self {
            Self::Server(server, _) => drop(cast.spawn(peers::serve(stage, *server, seed, incidents))),
            Self::Mosquitto(mosquitto, _) => drop(cast.spawn(mosquitto.play(stage, incidents))),
            // Nobody tells it what to do.
            Self::Broker(..) => {}
        }
    }
}
