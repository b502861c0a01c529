//! Over a broker: what the options say about it, and how it is left as it was found.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::tunnel::tls::TlsClient;
use keepbeat_core::wire::mqtt::Version;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::args::ClientTlsArgs;
use crate::connect::in_full;
use crate::endpoint::{Endpoint, Protocol};
use crate::mqtt::{PASSWORD, VersionArg};
use crate::runtime::Runtime;
use crate::security;

/// A broker that does not answer within this is of no use here.
const PATIENCE: Duration = Duration::from_secs(5);

/// The broker of `--wire mqtt`.
#[derive(Debug, Clone, Args)]
pub(super) struct BrokerArgs {
    /// --wire mqtt: a broker that runs already, and not far away [default: mosquitto from this machine, which is started and
    /// ended]
    #[arg(long, value_name = "mqtt[s]://HOST[:PORT]")]
    broker: Option<Endpoint>,
    /// --wire mqtt: the version, 3.1.1 or 5.0 [default: 5]
    #[arg(long, value_name = "VERSION", value_enum)]
    mqtt: Option<VersionArg>,
    /// --broker: the user name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// --broker: the password [default: that in the environment, KEEPBEAT_TOKEN]. Other users of this machine can read
    /// arguments: prefer the environment
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    tls: ClientTlsArgs,
}

/// A broker that others run.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) endpoint: Endpoint,
    pub(super) user: Option<String>,
    pub(super) token: Option<String>,
    pub(super) tls: Option<TlsClient>,
}

impl BrokerArgs {
    pub(super) fn version(&self) -> Version {
        if self.mqtt == Some(VersionArg::V3) { Version::V3 } else { Version::V5 }
    }

    /// Where there is no broker, no option may be about it.
    pub(super) fn refuse(&self) -> Result<(), String> {
        let given = [("--broker", self.broker.is_some()), ("--mqtt", self.mqtt.is_some())];
        match given.into_iter().chain(self.about_given()).find(|(_, given)| *given) {
            Some((option, _)) => {
                Err(format!("demo: {option} is about MQTT: give --wire mqtt, too, or leave {option} away"))
            }
            None => Ok(()),
        }
    }

    /// The broker that runs already, if there is one. With `--tls`, only our own can be told to speak TLS.
    pub(super) fn given(&self, own_tls: bool) -> Result<Option<Box<Given>>, String> {
        let Some(endpoint) = self.broker.clone() else {
            return match self.about_given().into_iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(format!(
                    "demo: {option} is about a broker that runs already: give --broker, too, or leave {option} away"
                )),
                None => Ok(None),
            };
        };
        if endpoint.protocol() != Protocol::Mqtt {
            return Err(format!("demo: --broker: {endpoint} is not MQTT over TCP: give mqtt://HOST or mqtts://HOST"));
        }
        if own_tls {
            return Err(format!(
                "demo: --tls makes a certificate, and {endpoint} has its own: write {}, and leave --tls away",
                endpoint.with_tls()
            ));
        }
        // The links go through a relay, which has another name.
        let name = self.tls.server_name.clone().or_else(|| endpoint.is_tls().then(|| endpoint.host().to_owned()));
        let tls = ClientTlsArgs { server_name: name, ..self.tls.clone() };
        let tls = security::client(&endpoint, &tls).map_err(|problem| format!("demo: {problem}"))?;
        let token = self.token.clone().or_else(|| env::var("KEEPBEAT_TOKEN").ok()).filter(|token| !token.is_empty());
        if token.is_some() && self.user.is_none() && self.version() == Version::V3 {
            return Err(format!("demo: --token (or KEEPBEAT_TOKEN): {PASSWORD}"));
        }
        Ok(Some(Box::new(Given { endpoint, user: self.user.clone(), token, tls })))
    }

    fn about_given(&self) -> [(&'static str, bool); 6] {
        [
            ("--user", self.user.is_some()),
            ("--token", self.token.is_some()),
            ("--ca", self.tls.ca.is_some()),
            ("--cert", self.tls.cert.is_some()),
            ("--key", self.tls.key.is_some()),
            ("--server-name", self.tls.server_name.is_some()),
        ]
    }
}

impl Given {
    /// Where it is, if it is there and lets in a client of this configuration.
    pub(super) async fn look(&self, runtime: &Runtime, config: ClientConfig) -> Result<SocketAddr, String> {
        let Self { endpoint, .. } = self;
        let found = tokio::net::lookup_host(endpoint.address()).await;
        let address = found.map(|mut found| found.next());
        let Ok(Some(address)) = address else {
            return Err(format!("demo: --broker: {endpoint} is not found; check the name"));
        };
        match visit(runtime.clone(), address, config).await {
            Ok(()) => Ok(address),
            Err(problem) => Err(format!("demo: no connection with {endpoint}: {}", self.words(&problem))),
        }
    }

    /// Ends the sessions of these clients. Says what stays behind.
    pub(super) async fn clean_up(
        &self,
        runtime: &Runtime,
        address: SocketAddr,
        clients: Vec<ClientConfig>,
    ) -> Result<(), String> {
        let mut visits = JoinSet::new();
        for client in clients {
            visits.spawn(visit(runtime.clone(), address, client));
        }
        let left: Vec<_> = visits.join_all().await.into_iter().filter_map(Result::err).collect();
        match left.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} sessions stay at {} until they expire: {}",
                left.len(),
                self.endpoint,
                self.words(first)
            )),
        }
    }

    fn words(&self, problem: &Problem) -> String {
        match problem {
            Problem::Down(cause) => in_full(cause, &self.endpoint, false),
            Problem::Silent => format!("it does not answer within {} s", PATIENCE.as_secs()),
        }
    }
}

/// Why a visit was none.
enum Problem {
    Down(keepbeat_core::DownCause),
    Silent,
}

/// Connects, and leaves.
async fn visit(runtime: Runtime, address: SocketAddr, config: ClientConfig) -> Result<(), Problem> {
    let visit = async {
        let link = runtime.open(address.to_string(), config).await.map_err(|_| Problem::Silent)?;
        while let Some(event) = link.next_event().await {
            match event {
                Event::Up { .. } => {
                    link.close();
                    link.closed().await;
                    return Ok(());
                }
                Event::Down { report, .. } => return Err(Problem::Down(report.cause)),
                _ => {}
            }
        }
        Err(Problem::Silent)
    };
    timeout(PATIENCE, visit).await.unwrap_or(Err(Problem::Silent))
}
