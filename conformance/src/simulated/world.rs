//! Virtual time, and everything that lives in it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::client::{Client, ClientConfig, Event};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{Server, ServerConfig, ServerEvent, Sessions};
use keepbeat_core::session::Message;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::Role;

use super::Flaw;
use super::cable::Cable;
use super::client::ClientDriver;
use super::server::ServerDriver;
use crate::harness::OutOfPatience;
use crate::network::{Order, Seen, Way};
use crate::speaker::Speaker;

/// A world in which this often something happens at one moment does not come to rest.
const RESTLESS: usize = 100_000;

/// A driver whose timers starve has time for them when this long nothing was read.
const LULL: Duration = Duration::from_millis(5);

pub(super) struct World {
    now: Timestamp,
    flaw: Option<Flaw>,
    cables: Cables,
    clients: Vec<ClientDriver>,
    servers: BTreeMap<SocketAddr, ServerDriver>,
    last_port: u16,
    prng: Prng,
}

/// All connections, and those that wait to be accepted by the script.
pub(super) struct Cables {
    way: Way,
    all: Vec<Cable>,
    backlogs: BTreeMap<SocketAddr, VecDeque<usize>>,
    /// What the script calls its connections.
    accepted: Vec<usize>,
}

impl Cables {
    pub(super) fn get(&mut self, cable: usize) -> &mut Cable {
        &mut self.all[cable]
    }

    /// Something under test connects; `None` if nobody listens.
    pub(super) fn dial(&mut self, address: SocketAddr) -> Option<usize> {
        self.backlogs.get_mut(&address)?.push_back(self.all.len());
        Some(self.lay(Role::Server))
    }

    /// A new cable, with the script at its end in this role.
    fn lay(&mut self, role: Role) -> usize {
        self.all.push(Cable::new(Speaker::new(self.way, role)));
        self.all.len() - 1
    }
}

impl World {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        Self {
            now: Timestamp::from_millis(1000),
            flaw,
            cables: Cables { way: Way::Tcp, all: Vec::new(), backlogs: BTreeMap::new(), accepted: Vec::new() },
            clients: Vec::new(),
            servers: BTreeMap::new(),
            last_port: 0,
            prng: Prng::new(0xC0FF),
        }
    }

    // What is under test.

    /// What the driver hands to the machine of what the application gave it.
    pub(super) fn as_handed_over(&self, message: Message) -> Message {
        if self.flaw == Some(Flaw::ForgetsTexts) { message.into_payload().into() } else { message }
    }

    pub(super) fn open(&mut self, address: SocketAddr, config: Arc<ClientConfig>) -> usize {
        let mut driver = ClientDriver::new(address, config, self.prng.next_u64(), self.flaw);
        driver.client.open(self.now);
        self.clients.push(driver);
        self.clients.len() - 1
    }

    pub(super) fn tell_client<T>(&mut self, index: usize, tell: impl FnOnce(&mut Client, Timestamp) -> T) -> T {
        let driver = &mut self.clients[index];
        driver.is_awake = true;
        tell(&mut driver.client, self.now)
    }

    pub(super) fn client_event(&mut self, index: usize) -> Option<Option<Event>> {
        let client = &mut self.clients[index].client;
        let event = client.poll_event(self.now);
        (event.is_some() || client.state().is_over()).then_some(event)
    }

    pub(super) fn serve(
        &mut self,
        mut address: SocketAddr,
        config: Arc<ServerConfig>,
        sessions: Option<Sessions>,
    ) -> SocketAddr {
        if address.port() == 0 {
            address = self.free_address();
        }
        let (entropy, seed) = (Box::new(Prng::new(self.prng.next_u64())), self.prng.next_u64());
        let server = match sessions {
            Some(sessions) => Server::with_sessions(config, entropy, seed, self.now, sessions),
            None => Server::new(config, entropy, seed),
        };
        self.servers.insert(address, ServerDriver::new(server, self.flaw));
        address
    }

    pub(super) fn tell_server<T>(&mut self, at: SocketAddr, tell: impl FnOnce(&mut Server, Timestamp) -> T) -> T {
        let now = self.now;
        tell(&mut self.driver(at).server, now)
    }

    pub(super) fn server_event(&mut self, at: SocketAddr) -> Option<Option<ServerEvent>> {
        let now = self.now;
        let server = &mut self.driver(at).server;
        let event = server.poll_event(now);
        (event.is_some() || server.is_drained()).then_some(event)
    }

    pub(super) fn drain(&mut self, at: SocketAddr, retry_after: Duration, spread: Duration) {
        let now = self.now;
        self.driver(at).drain_out(now, retry_after, spread);
    }

    pub(super) fn abort(&mut self, at: SocketAddr) -> Sessions {
        let driver = self.servers.remove(&at).expect("the server is there");
        driver.abort(self.now, &mut self.cables)
    }

    fn driver(&mut self, at: SocketAddr) -> &mut ServerDriver {
        self.servers.get_mut(&at).expect("the server is there")
    }

    // The script's end.

    pub(super) fn speak(&mut self, way: Way) {
        self.cables.way = way;
    }

    pub(super) fn free_address(&mut self) -> SocketAddr {
        self.last_port += 1;
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.last_port))
    }

    pub(super) fn listen(&mut self, address: SocketAddr) {
        self.cables.backlogs.entry(address).or_default();
    }

    pub(super) fn accept(&mut self, address: SocketAddr) -> Option<usize> {
        let cable = self.cables.backlogs.get_mut(&address)?.pop_front()?;
        Some(self.name(cable))
    }

    pub(super) fn connect(&mut self, server: SocketAddr) -> usize {
        let cable = self.cables.lay(Role::Client);
        let driver = self.servers.get_mut(&server).expect("the server is there");
        driver.accept(self.now, cable, &mut self.cables);
        self.name(cable)
    }

    fn name(&mut self, cable: usize) -> usize {
        self.cables.accepted.push(cable);
        self.cables.accepted.len() - 1
    }

    pub(super) fn order(&mut self, connection: usize, order: Order) {
        let cable = self.cables.accepted[connection];
        self.cables.get(cable).order(order);
    }

    pub(super) fn flush(&mut self, connection: usize) {
        let cable = self.cables.accepted[connection];
        self.cables.get(cable).speak(self.now);
    }

    pub(super) fn seen(&mut self, connection: usize) -> Option<Seen> {
        let cable = self.cables.accepted[connection];
        self.cables.get(cable).take_seen()
    }

    // Time.

    /// Everything happens when the script waits, so nothing runs between this and [`World::thaw`].
    pub(super) fn freeze(&mut self) {
        self.settle();
    }

    pub(super) fn thaw(&mut self, gap: Duration) {
        self.now = self.now.after(gap);
    }

    /// Lets things happen until `done` gives something.
    pub(super) fn wait<T>(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, OutOfPatience> {
        let end = self.now.after(patience);
        loop {
            self.settle();
            if let Some(done) = done(self) {
                return Ok(done);
            }
            let Some(moment) = self.next_moment().filter(|at| *at <= end) else {
                self.now = end;
                return Err(OutOfPatience);
            };
            self.now = moment;
        }
    }

    fn settle(&mut self) {
        for _ in 0..RESTLESS {
            let mut busy = false;
            for client in &mut self.clients {
                busy |= client.turn(self.now, &mut self.cables);
            }
            for server in self.servers.values_mut() {
                busy |= server.turn(self.now, &mut self.cables);
            }
            for cable in &mut self.cables.all {
                busy |= cable.speak(self.now);
            }
            if !busy {
                return;
            }
        }
        panic!("at {:?} the world does not come to rest", self.now);
    }

    fn next_moment(&self) -> Option<Timestamp> {
        let clients = self.clients.iter().filter_map(|driver| driver.client.poll_timeout());
        let servers = self.servers.values().filter_map(|driver| driver.server.poll_timeout());
        let deadlines = clients.chain(servers).map(|due| due.at);
        let cables = self.cables.all.iter().filter_map(Cable::wakes_at);
        deadlines.chain(cables).filter(|at| *at > self.now).min()
    }
}

pub(super) fn is_starving(flaw: Option<Flaw>, last_read: Option<Timestamp>, now: Timestamp) -> bool {
    flaw == Some(Flaw::TimersStarve) && last_read.is_some_and(|last| now.since(last) < LULL)
}
