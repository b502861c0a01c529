//! A simulator: a virtual clock, one server, its clients, and between them links on which everything goes wrong.
//!
//! The machines are driven exactly as the [driver contract](crate#the-driver-contract) says, and nothing wakes them but
//! input and their own deadlines. In every turn the driver asserts that a drained machine has no deadline that has passed,
//! that no machine is woken twice at one moment, and that one input causes a bounded number of actions; an assertion that
//! fails names the seed. The same [`Setup`] gives the same run, byte for byte.
//!
//! ```
//! use std::time::Duration;
//! use keepbeat_core::sim::{Fault, FaultKind, Setup, Sim};
//!
//! let mut sim = Sim::new(Setup::quick(42, 1));
//! sim.add_fault(Fault::new(1000, 5000, FaultKind::Stall(0)));
//! sim.run_for(Duration::from_secs(3));
//! assert!(!sim.is_up(0));
//! let dead = sim.verdicts().iter().find(|verdict| verdict.link == 0).expect("the stall was noticed");
//! assert!(!dead.is_false() && dead.silent_for <= dead.allowed);
//!
//! assert!(sim.run_until(Duration::from_secs(10), Sim::is_settled), "everything arrives in the end");
//! assert_eq!(sim.up(0).lost + sim.up(0).duplicated + sim.down(0).lost + sim.down(0).duplicated, 0);
//! ```
#![expect(clippy::panic, reason = "a simulation fails loudly")]

mod fault;
mod host;
mod network;
mod node;
mod pipe;
mod referee;
mod report;
mod seeds;
mod traffic;

pub use fault::{Direction, Fault, FaultKind, Lost, Node, random_schedule};
pub use pipe::Path;
pub use report::{Counts, Delivery, Entry, Trace, Verdict, What};
pub use seeds::{for_each_seed, for_each_seed_of};
pub use traffic::Traffic;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use self::host::Host;
use self::network::{Agenda, Conn, Weather};
use self::traffic::Stream;
use crate::client::{Client, ClientConfig, LinkState};
use crate::entropy::Prng;
use crate::liveness::LivenessConfig;
use crate::reconnect::ReconnectConfig;
use crate::server::{ConnectionId, Server, ServerConfig, Sessions};
use crate::time::Timestamp;
use crate::wire::DeviceId;
use crate::wire::websocket::{SUBPROTOCOL, WebSocketConfig};

/// Alarms ring at whole milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// The server that every client is told it connects to. With TLS configured, the server's certificate must be for it.
///
/// rustls draws its own randomness: with TLS, two runs of one [`Setup`] agree in what they promise, not in every byte.
pub const SERVER_NAME: &str = "server.sim.example:7411";

/// When machines are woken, apart from input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// At their deadlines, rounded up to whole milliseconds.
    AtDeadlines,
    /// Every millisecond.
    EveryMillisecond,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything random comes from here.
    pub seed: u64,
    /// The server.
    pub server: Arc<ServerConfig>,
    /// The clients, each with a device id of its own.
    pub clients: Vec<Arc<ClientConfig>>,
    /// Every link when nothing is wrong with it.
    pub path: Path,
    /// What every client sends.
    pub up: Traffic,
    /// What the server sends to every client.
    pub down: Traffic,
    /// When machines are woken.
    pub wake: Wake,
    /// Whether [`Sim::trace`] is kept.
    pub trace: bool,
}

impl Setup {
    /// Clients that beat every second and wait 300 ms for a reply, on the default [`Path`], with 20 small messages in each
    /// direction. The longest detection is 1.7 s, and reconnects come within 400 ms.
    ///
    /// # Panics
    /// Never; the configuration is valid.
    #[must_use]
    pub fn quick(seed: u64, clients: usize) -> Self {
        let device = |index| DeviceId::new(&format!("device-{index}")).unwrap_or_else(|error| panic!("{error}"));
        let client = |index| {
            let config = ClientConfig::builder(device(index)).liveness(quick_liveness()).reconnect(quick_reconnect());
            let config = config.connect_timeout(SECOND).handshake_timeout(SECOND).close_timeout(SECOND / 4).build();
            Arc::new(config.unwrap_or_else(|error| panic!("{error}")))
        };
        let server = ServerConfig::builder().liveness(quick_liveness()).intervals(SECOND / 100, 600 * SECOND);
        let server = server.handshake_timeout(SECOND).close_timeout(SECOND / 4).build();
        Self {
            seed,
            server: Arc::new(server.unwrap_or_else(|error| panic!("{error}"))),
            clients: (0..clients).map(client).collect(),
            path: Path::default(),
            up: Traffic::small(20),
            down: Traffic::small(20),
            wake: Wake::AtDeadlines,
            trace: false,
        }
    }

    /// All links go over WebSocket, with the native protocol inside.
    ///
    /// # Panics
    /// Never; the configuration is valid.
    #[must_use]
    pub fn over_websocket(mut self) -> Self {
        let config = WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build();
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        for client in &mut self.clients {
            Arc::make_mut(client).wire = config.clone().into();
        }
        for port in &mut Arc::make_mut(&mut self.server).ports {
            port.wire = config.clone().into();
        }
        self
    }

    /// The same for one to three clients, on a path and with messages that the seed chooses.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let prng = &mut Prng::new(!seed);
        let mut setup = Self::quick(seed, prng.between(1, 3) as usize);
        setup.path = Path {
            latency: prng.span(Duration::ZERO, SECOND * 6 / 100),
            jitter: prng.span(Duration::ZERO, SECOND * 3 / 100),
            bandwidth: (prng.between(0, 3) == 0).then(|| prng.between(10_000, 500_000) as u32),
            window: [300, 2000, 16 << 10, 256 << 10][prng.between(0, 3) as usize],
            choppy: prng.between(0, 3) > 0,
        };
        let largest = [0, 10, 300, 6000][prng.between(0, 3) as usize].min(setup.path.window / 2);
        for traffic in [&mut setup.up, &mut setup.down] {
            let pause = (Duration::ZERO, prng.span(GRAIN, SECOND * 4 / 10));
            *traffic = Traffic { messages: prng.between(0, 30), pause, size: (0, largest) };
        }
        setup
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn quick_liveness() -> LivenessConfig {
    let config = LivenessConfig::builder().interval(SECOND).reply_timeout(3 * SECOND / 10).stall_limit(3 * SECOND);
    config.build().unwrap_or_else(|error| panic!("{error}"))
}

fn quick_reconnect() -> ReconnectConfig {
    let config = ReconnectConfig::builder().base(SECOND / 20).cap(2 * SECOND / 5).floor(SECOND / 50);
    config.first_spread(SECOND / 20).stable(2 * SECOND).build().unwrap_or_else(|error| panic!("{error}"))
}

fn new_client(config: &Arc<ClientConfig>, seed: u64) -> Client {
    let name = SERVER_NAME.parse().unwrap_or_else(|error| panic!("{error}"));
    Client::new(config.clone(), seed).to_server(name)
}

/// A running simulation.
pub struct Sim {
    setup: Setup,
    now: Timestamp,
    prng: Prng,
    server_host: Host,
    /// `None` while its process is gone.
    server: Option<Server>,
    /// What waits for the next server.
    sessions: Option<Sessions>,
    /// Tells the servers that follow each other apart.
    generation: u64,
    links: Vec<Link>,
    conns: BTreeMap<u64, Conn>,
    accepted: BTreeMap<ConnectionId, u64>,
    next_conn: u64,
    agenda: BTreeMap<(Timestamp, u64), Agenda>,
    next_entry: u64,
    faults: Vec<Fault>,
    verdicts: Vec<Verdict>,
    counts: Counts,
    trace: Trace,
    buffer: Vec<u8>,
}

/// One client, the network between it and the server, and what both applications know of each other.
struct Link {
    host: Host,
    client: Client,
    /// The attempt or connection that the client's driver holds.
    current: Option<u64>,
    weather: Weather,
    up: Stream,
    down: Stream,
    /// When the server was last given bytes of this link, and the client bytes of its current connection.
    up_read: Option<Timestamp>,
    down_read: Option<Timestamp>,
    /// The longest silence at the terms of the current connection.
    bound: Duration,
}

impl Sim {
    /// A simulation in which all clients open their links at the start.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut prng = Prng::new(setup.seed);
        let links = setup.clients.iter().map(|config| Link {
            host: Host::new(&mut prng),
            client: new_client(config, prng.next_u64()),
            current: None,
            weather: Weather::default(),
            up: Stream::new(setup.up.clone(), &mut prng),
            down: Stream::new(setup.down.clone(), &mut prng),
            up_read: None,
            down_read: None,
            bound: Duration::MAX,
        });
        let links: Vec<Link> = links.collect();
        let mut sim = Self {
            server_host: Host::new(&mut prng),
            server: None,
            sessions: None,
            generation: 0,
            links,
            setup,
            now: Timestamp::ZERO,
            prng,
            conns: BTreeMap::new(),
            accepted: BTreeMap::new(),
            next_conn: 0,
            agenda: BTreeMap::new(),
            next_entry: 0,
            faults: Vec::new(),
            verdicts: Vec::new(),
            counts: Counts::default(),
            trace: Trace::default(),
            buffer: Vec::new(),
        };
        sim.start_server();
        for link in &mut sim.links {
            link.client.open(link.host.local(sim.now));
            link.host.wanted = true;
        }
        sim
    }

    /// Lets something go wrong.
    pub fn add_fault(&mut self, fault: Fault) {
        let index = self.faults.len();
        self.plan(fault.at.max(self.now), Agenda::FaultBegins(index));
        self.plan(fault.end().max(self.now), Agenda::FaultEnds(index));
        self.faults.push(fault);
    }

    /// Lets all of these go wrong.
    pub fn add_faults(&mut self, faults: impl IntoIterator<Item = Fault>) {
        faults.into_iter().for_each(|fault| self.add_fault(fault));
    }

    /// Goes on for this long.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now.after(span);
        while self.next_moment().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
        self.audit();
    }

    /// Goes on until `done` holds, for this long at most. Whether it does.
    pub fn run_until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.after(span);
        loop {
            if done(self) {
                return true;
            }
            if self.next_moment().is_none_or(|at| at > end) {
                self.now = end;
                self.audit();
                return done(self);
            }
            self.step();
        }
    }

    /// Calls `act` with a client and its clock, as its application; its driver has a turn afterwards.
    pub fn with_client<T>(&mut self, index: usize, act: impl FnOnce(&mut Client, Timestamp) -> T) -> T {
        let link = &mut self.links[index];
        link.host.wanted = true;
        act(&mut link.client, link.host.local(self.now))
    }

    /// Calls `act` with the server and its clock, as its application; `None` while its process is gone.
    pub fn with_server<T>(&mut self, act: impl FnOnce(&mut Server, Timestamp) -> T) -> Option<T> {
        self.server_host.wanted = true;
        let now = self.server_host.local(self.now);
        self.server.as_mut().map(|server| act(server, now))
    }

    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// A client.
    #[must_use]
    pub fn client(&self, index: usize) -> &Client {
        &self.links[index].client
    }

    /// The server, unless its process is gone.
    #[must_use]
    pub const fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Whether a link is up, as its client sees it.
    #[must_use]
    pub fn is_up(&self, index: usize) -> bool {
        matches!(self.links[index].client.state(), LinkState::Up { .. })
    }

    /// Whether all faults are over, all links are up, and every message was sent, delivered and acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let Some(server) = &self.server else { return false };
        self.faults.iter().all(|fault| fault.end() < self.now)
            && self.links.iter().enumerate().all(|(index, link)| {
                self.is_up(index)
                    && link.up.all_sent()
                    && link.down.all_sent()
                    && link.client.unacknowledged() == 0
                    && server.unacknowledged(link.client.config().device()) == 0
            })
    }

    /// What became of a client's messages.
    #[must_use]
    pub fn up(&self, index: usize) -> Delivery {
        self.links[index].up.delivery()
    }

    /// What became of the server's messages for a client.
    #[must_use]
    pub fn down(&self, index: usize) -> Delivery {
        self.links[index].down.delivery()
    }

    /// Every peer declared dead, in order.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The numbers of all machines together.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What the machines did, if [`Setup::trace`] says so.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    fn start_server(&mut self) {
        self.generation += 1;
        let seed = self.prng.next_u64();
        let (config, entropy) = (self.setup.server.clone(), Box::new(Prng::new(!seed)));
        let now = self.server_host.local(self.now);
        self.server = Some(match self.sessions.take() {
            Some(sessions) => Server::with_sessions(config, entropy, seed, now, sessions),
            None => Server::new(config, entropy, seed),
        });
        self.server_host.wanted = true;
    }

    fn plan(&mut self, at: Timestamp, what: Agenda) {
        self.next_entry += 1;
        self.agenda.insert((at, self.next_entry), what);
    }

    fn next_moment(&self) -> Option<Timestamp> {
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let clients = (0..self.links.len()).filter_map(|index| self.client_wanted_at(index));
        agenda.into_iter().chain(clients).chain(self.server_wanted_at()).min().map(|at| at.max(self.now))
    }

    /// Goes on to the next moment at which anything happens.
    fn step(&mut self) {
        let Some(now) = self.next_moment() else { return };
        self.now = now;
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let what = entry.remove();
            self.happen(what);
        }
        if self.server_wanted_at().is_some_and(|at| at <= now) {
            self.server_turn();
        }
        for index in 0..self.links.len() {
            if self.client_wanted_at(index).is_some_and(|at| at <= now) {
                self.client_turn(index);
            }
        }
    }

    fn host(&mut self, node: Node) -> &mut Host {
        match node {
            Node::Server => &mut self.server_host,
            Node::Client(index) => &mut self.links[index].host,
        }
    }

    fn fail(&self, problem: &str) -> ! {
        panic!("seed {} at {:?}: {problem}", self.setup.seed, self.now)
    }
}
