//! What an established link allocates, and what a hostile peer can make us hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::Liveness;
use keepbeat_core::reconnect::Reconnect;
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::session::Session;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::mqtt::{Filter, Mqtt, MqttConfig, Publish, Qos, Subscribe, Subscription, Topic, Version};
use keepbeat_core::wire::websocket::{SUBPROTOCOL, WebSocketConfig};
use keepbeat_core::wire::{Any, AnyConfig, DeviceId, Frame, Tx, Wire};

/// The system's allocator; counts what the current thread does.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: u64, bytes: isize) {
    // A thread that ends has no counters any more, and nobody who would look at them.
    let _ended = CALLS.try_with(|counter| counter.set(counter.get() + calls));
    let _ended = HELD.try_with(|counter| counter.set(counter.get() + bytes));
}

// SAFETY: everything is the system allocator's; the counters do not allocate.
#[expect(unsafe_code, reason = "a counting allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn calls() -> u64 {
    CALLS.with(Cell::get)
}

fn held() -> isize {
    HELD.with(Cell::get)
}

/// What the links go over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Over {
    Tcp,
    /// WebSocket, with the native protocol inside.
    Native,
    /// WebSocket, as if the other side were no keepbeat.
    Foreign,
}

impl Over {
    fn wire(self) -> AnyConfig {
        let config = WebSocketConfig::builder();
        match self {
            Self::Tcp => AnyConfig::default(),
            Self::Native => config.subprotocol(SUBPROTOCOL).build().unwrap().into(),
            Self::Foreign => config.build().unwrap().into(),
        }
    }
}

/// Clients and a server without a network between them.
struct Town {
    now: Timestamp,
    clients: Vec<(Client, Option<(Epoch, ConnectionId)>)>,
    server: Server,
    /// Where bytes pass.
    buffer: [u8; 4096],
    beats: u64,
}

impl Town {
    fn new(links: usize) -> Self {
        Self::over(Over::Tcp, links)
    }

    fn over(over: Over, links: usize) -> Self {
        let device = |index: usize| DeviceId::new(&index.to_string()).unwrap();
        let now = Timestamp::from_millis(1000);
        let config = Arc::new(ClientConfig::builder(device(0)).wire(over.wire()).build().unwrap());
        let client = |index| {
            let mut client: Client = Client::new(config.clone(), index as u64).for_device(device(index));
            if over != Over::Tcp {
                client = client.to_server("server.example:80".parse().unwrap());
            }
            client.open(now);
            (client, None)
        };
        let config = ServerConfig::builder().wire(over.wire()).build().unwrap();
        let server = Server::new(Arc::new(config), Box::new(Prng::new(2)), 3);
        let mut town = Self { now, clients: (0..links).map(client).collect(), server, buffer: [0; 4096], beats: 0 };
        for index in 0..links {
            town.pass(index);
            assert!(town.clients[index].0.evidence(now).is_some(), "up");
        }
        while town.server.poll_event(now).is_some() {}
        town
    }

    /// Carries everything that one link has to say.
    fn pass(&mut self, index: usize) {
        let (client, names) = &mut self.clients[index];
        let (server, now) = (&mut self.server, self.now);
        loop {
            let mut idle = true;
            while let Some(action) = client.poll_action() {
                if let Action::Connect { epoch } = action {
                    *names = Some((epoch, server.accept(now, None).unwrap()));
                    client.handle_input(now, Input::Opened { epoch });
                }
                idle = false;
            }
            while let Some(action) = server.poll_action() {
                assert!(!matches!(action, ServerAction::Disconnect(_)));
                idle = false;
            }
            let Some((epoch, id)) = *names else { return };
            let count = client.transmit().len();
            if count > 0 {
                self.buffer[..count].copy_from_slice(client.transmit());
                client.handle_input(now, Input::Written { epoch, count });
                server.handle_input(now, id, ServerInput::Received(&self.buffer[..count]));
                self.beats += 1;
                idle = false;
            }
            let count = server.transmit(id).len();
            if count > 0 {
                self.buffer[..count].copy_from_slice(server.transmit(id));
                server.handle_input(now, id, ServerInput::Written(count));
                client.handle_input(now, Input::Received { epoch, bytes: &self.buffer[..count] });
                idle = false;
            }
            while let Some(event) = client.poll_event(now) {
                assert!(matches!(event, Event::Up { .. } | Event::Connecting { .. } | Event::Rtt(_)), "{event:?}");
            }
            if idle {
                return;
            }
        }
    }

    /// Lets this much time pass, with every machine woken at its deadlines.
    fn live(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            let first = self
                .clients
                .iter()
                .enumerate()
                .filter_map(|(index, (client, _))| Some((client.poll_timeout()?.at, Some(index))));
            let first = first.chain(self.server.poll_timeout().map(|due| (due.at, None))).min();
            let Some((at, who)) = first.filter(|(at, _)| *at <= end) else { break };
            self.now = at;
            match who {
                Some(index) => {
                    self.clients[index].0.handle_timeout(at);
                    self.pass(index);
                }
                None => {
                    self.server.handle_timeout(at);
                    while self.server.poll_action().is_some() {}
                    // Servers beat at foreign clients.
                    for index in 0..self.clients.len() {
                        if self.clients[index].1.is_some_and(|(_, id)| !self.server.transmit(id).is_empty()) {
                            self.pass(index);
                        }
                    }
                }
            }
        }
        self.now = end;
    }
}

#[test]
fn beats_and_idle_timeouts_allocate_nothing() {
    for (over, links) in [(Over::Tcp, 1), (Over::Tcp, 3), (Over::Native, 2), (Over::Foreign, 2)] {
        let mut town = Town::over(over, links);
        town.live(Duration::from_secs(3600));
        let (before, beats) = (calls(), town.beats);
        town.live(Duration::from_secs(24 * 3600));
        assert_eq!(calls() - before, 0, "{links} links over {over:?}");
        assert!(town.beats - beats > 3000 * links as u64, "{} beats", town.beats - beats);
        // Early, repeated and needless calls are free, too.
        for _ in 0..100 {
            town.server.handle_timeout(town.now);
            town.clients[0].0.handle_timeout(town.now);
            assert!(town.server.poll_action().is_none() && town.clients[0].0.poll_action().is_none());
        }
        assert_eq!(calls() - before, 0);
    }
}

#[test]
fn the_timers_of_many_links_allocate_nothing() {
    let mut town = Town::new(500);
    town.live(Duration::from_secs(600));
    let (before, beats) = (calls(), town.beats);
    town.live(Duration::from_secs(3600));
    assert_eq!(calls() - before, 0);
    assert!(town.beats - beats > 50_000);
}

#[test]
fn the_counter_counts() {
    let before = (calls(), held());
    let block = Box::new([0_u8; 100]);
    assert_eq!((calls() - before.0, held() - before.1), (1, 100));
    drop(block);
    assert_eq!(held(), before.1);
}

#[test]
fn a_peer_that_never_reads_cannot_make_us_hold_more_than_the_high_water_mark() {
    let mut town = Town::new(1);
    let (_, id) = town.clients[0].1.unwrap();
    let mut tx = Tx::default();
    let mut wire = Beat::new(&BeatConfig::default());
    // The same message again and again, with a beat now and then: each asks for an answer.
    wire.encode(&Frame::Data { seq: 1, message: b"again".into() }, &mut tx);
    let data = tx.chunk().to_vec();
    let before = held();
    for _ in 0..1_000_000 {
        town.server.handle_input(town.now, id, ServerInput::Received(&data));
        while town.server.poll_action().is_some() {}
        while let Some(event) = town.server.poll_event(town.now) {
            assert!(matches!(event, ServerEvent::Message { .. }));
        }
    }
    assert!(held() - before <= 200 << 10, "{} bytes held for a peer that never reads", held() - before);
    assert!(town.server.connections() == 1);
}

#[test]
fn an_idle_link_holds_little() {
    let town = |over, links| {
        let before = held();
        let mut town = Town::over(over, links);
        town.live(Duration::from_secs(600));
        (held() - before, town)
    };
    for (over, client_limit, server_limit) in [
        (Over::Tcp, CLIENT, SERVER),
        (Over::Native, CLIENT + KEYS, SERVER),
        (Over::Foreign, CLIENT + KEYS + FOREIGN, SERVER + FOREIGN),
    ] {
        // Tables that double are full at both numbers; what is there only once is in both.
        let ((few, _few), (many, many_town)) = (town(over, 64), town(over, 512));
        let both = (many - few) / (512 - 64);
        let before = held();
        drop(many_town.clients);
        let clients = (before - held()) / 512;
        let server = both - clients;
        println!("heap per idle link over {over:?}: client {clients} bytes, server {server}");
        assert!(clients <= client_limit, "client over {over:?}: {clients}");
        assert!(server <= server_limit, "server over {over:?}: {server}");
    }
}

/// The numbers that stand for those of a foreigner, and the longer name of a device that says none.
const FOREIGN: isize = 56;

/// What a client's masking keys and the server's name add.
const KEYS: isize = 448;

/// What the list of clients, a client, its connection and its device's name take.
const CLIENT: isize = 664;

/// What a connection, its device, the device's name and their places in tables take.
const SERVER: isize = 496;

/// Clients that are connected to an MQTT server, which is bytes, each with one subscription; one message went each way.
struct Subscribers<W: Wire> {
    clients: Vec<(Client<W>, Epoch)>,
    version: Version,
    now: Timestamp,
    pings: u64,
}

impl<W: Wire<Config: Default>> Subscribers<W> {
    fn new(links: usize, version: Version, wire: impl Into<W::Config>) -> Self {
        let device = |index: usize| DeviceId::new(&index.to_string()).unwrap();
        let config = Arc::new(ClientConfig::builder(device(0)).wire(wire.into()).build().unwrap());
        let client = |index| {
            let client = Client::new(config.clone(), index as u64).for_device(device(index));
            (client, Epoch::default())
        };
        let clients = (0..links).map(client).collect();
        let mut all = Self { clients, version, now: Timestamp::from_millis(1000), pings: 0 };
        for index in 0..links {
            let (client, epoch) = &mut all.clients[index];
            client.open(all.now);
            let Some(Action::Connect { epoch: opened }) = client.poll_action() else { panic!("no attempt") };
            *epoch = opened;
            client.handle_input(all.now, Input::Opened { epoch: opened });
            all.turn(index);
            let filter = Filter::new("sensors/+/temperature").unwrap();
            let request = Subscribe::to(vec![Subscription::new(filter, Qos::AtLeastOnce)]);
            all.clients[index].0.send(all.now, request.into_message().unwrap()).unwrap();
            all.turn(index);
            let publish = Publish { qos: Qos::AtLeastOnce, ..Publish::new(Topic::new("t").unwrap(), "21.5") };
            all.clients[index].0.send(all.now, publish.into_message().unwrap()).unwrap();
            all.turn(index);
            let (client, epoch) = &mut all.clients[index];
            assert_eq!(client.unacknowledged(), 0, "both were answered");
            let delivery: &[u8] =
                if version == Version::V5 { &[0x32, 6, 0, 1, b't', 0, 1, 0] } else { &[0x32, 5, 0, 1, b't', 0, 1] };
            client.handle_input(all.now, Input::Received { epoch: *epoch, bytes: delivery });
            all.turn(index);
        }
        all
    }

    /// The server answers what a client has to say.
    fn turn(&mut self, index: usize) {
        let (client, epoch) = &mut self.clients[index];
        loop {
            while client.poll_action().is_some() {}
            while client.poll_event(self.now).is_some() {}
            let said = client.transmit();
            let (count, first) = (said.len(), said.first().copied());
            let newer = self.version == Version::V5;
            let answer: &[u8] = match first {
                None => break,
                Some(0x10) if newer => &[0x20, 3, 0, 0, 0],
                Some(0x10) => &[0x20, 2, 0, 0],
                // The first ticket, and the first identifier.
                Some(0x82) if newer => &[0x90, 4, 0, 1, 0, 1],
                Some(0x82) => &[0x90, 3, 0, 1, 1],
                // The second, behind a topic of one character.
                Some(0x32) => &[0x40, 2, 0, 2],
                Some(0x40) => &[],
                Some(0xC0) => {
                    self.pings += 1;
                    &[0xD0, 0]
                }
                Some(other) => panic!("{other:02x} was not expected"),
            };
            client.handle_input(self.now, Input::Written { epoch: *epoch, count });
            client.handle_input(self.now, Input::Received { epoch: *epoch, bytes: answer });
        }
    }

    fn live(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            let dues = self.clients.iter().enumerate();
            let first = dues.filter_map(|(index, (client, _))| Some((client.poll_timeout()?.at, index))).min();
            let Some((at, index)) = first.filter(|(at, _)| *at <= end) else { break };
            self.now = at;
            self.clients[index].0.handle_timeout(at);
            self.turn(index);
        }
        self.now = end;
    }
}

fn mqtt(version: Version) -> MqttConfig {
    MqttConfig::builder().version(version).build().unwrap()
}

#[test]
fn pings_of_mqtt_allocate_nothing() {
    for version in [Version::V3, Version::V5] {
        let mut links = Subscribers::<Mqtt>::new(3, version, mqtt(version));
        links.live(Duration::from_secs(3600));
        let (before, pings) = (calls(), links.pings);
        links.live(Duration::from_secs(24 * 3600));
        assert_eq!(calls() - before, 0, "{version:?}");
        assert!(links.pings - pings > 3 * 3000, "{} pings", links.pings - pings);
    }
}

/// What a client has on the heap and in itself: the link, the connection, MQTT's session with its subscription, and the names of
/// both. Its configuration, which clients share, is not in it.
#[test]
fn an_idle_session_of_mqtt_holds_less_than_a_kibibyte() {
    fn idle<W: Wire<Config: Default>>(version: Version, wire: impl Into<W::Config>) -> isize {
        let mut links = Subscribers::<W>::new(256, version, wire);
        links.live(Duration::from_secs(600));
        let before = held();
        links.clients.clear();
        let on_the_heap = (before - held()) / 256;
        on_the_heap + size_of::<(Client<W>, Epoch)>() as isize
    }
    for version in [Version::V3, Version::V5] {
        let (alone, any) = (idle::<Mqtt>(version, mqtt(version)), idle::<Any>(version, mqtt(version)));
        println!("an idle client over MQTT {version:?}: {alone} bytes, as one of all wires {any}");
        assert!(alone <= 1024 && any <= 1024, "{alone} and {any} bytes");
    }
}

#[test]
fn machines_are_small() {
    assert!(size_of::<Liveness>() <= 112);
    assert!(size_of::<Reconnect>() <= 104);
    assert!(size_of::<Client>() <= 400, "{}", size_of::<Client>());
    assert!(size_of::<Beat>() <= 24, "{}", size_of::<Beat>());
    assert!(size_of::<Tx>() <= 24, "{}", size_of::<Tx>());
    assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
    assert!(size_of::<Server>() <= 512, "{}", size_of::<Server>());
}
