//! Links over WebSocket of which the test is one end: a server or a client that is not ours.

use std::sync::Arc;

use keepbeat_core::client::{Action, Client, ClientConfig, ClientConfigBuilder, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerConfig, ServerConfigBuilder, ServerEvent};
use keepbeat_core::server::{Port, ServerInput};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::websocket::upgrade::{Agreed, ClientUpgrade, Offer, Refusal, ServerUpgrade};
use keepbeat_core::wire::websocket::upgrade::{UpgradeError, UpgradeRequest};
use keepbeat_core::wire::websocket::{Close, CloseCode, Incoming, Item, Limits, MaskKeys, Outgoing, Role};
use keepbeat_core::wire::websocket::{SUBPROTOCOL, WebSocketConfig, WebSocketConfigBuilder};
use keepbeat_core::wire::{Any, Credentials, Frame, Tx, Wire as _};
use keepbeat_core::{DownReport, Failure};

use super::{Link, assert_later, at, device, entropy, liveness};

pub(crate) const SERVER: &str = "gate.example:80";

pub(crate) const fn websocket() -> WebSocketConfigBuilder {
    WebSocketConfig::builder()
}

/// A client over WebSocket, and [`liveness`].
pub(crate) fn client(wire: WebSocketConfigBuilder) -> ClientConfigBuilder<Any> {
    ClientConfig::builder(device("d")).liveness(liveness().build().unwrap()).wire(wire.build().unwrap())
}

/// A server over WebSocket, and [`liveness`].
pub(crate) fn server(wire: WebSocketConfigBuilder) -> ServerConfigBuilder<Any> {
    ServerConfig::builder().liveness(liveness().build().unwrap()).wire(wire.build().unwrap())
}

/// Both ends are ours, and up; between keepbeats if `native`.
pub(crate) fn link(native: bool, seed: u64) -> Link<Any> {
    let wire = if native { websocket().subprotocol(SUBPROTOCOL) } else { websocket() };
    let mut link = Link::seeded(SERVER, client(wire), server(websocket()), seed);
    link.client.open(link.now);
    link.turn();
    link.forget();
    link
}

/// The test's end of one connection.
pub(crate) struct Peer {
    role: Role,
    outgoing: Outgoing,
    stage: Stage,
    /// Whether pings and closes are answered.
    pub(crate) answers: bool,
    /// What came, and when.
    pub(crate) heard: Vec<(u64, Item)>,
    pub(crate) refusal: Option<Refusal>,
    /// What came while there was no WebSocket.
    pub(crate) raw: Vec<u8>,
    out: Vec<u8>,
}

enum Stage {
    Request(ServerUpgrade),
    Offered(Box<Offer>),
    Answer(ClientUpgrade),
    Open(Incoming),
    Over,
}

impl Peer {
    fn server() -> Self {
        Self::of(Role::Server, Stage::Request(ServerUpgrade::new()), Outgoing::server())
    }

    fn client(request: &UpgradeRequest) -> Self {
        let (upgrade, request) = request.begin(&SERVER.parse().unwrap(), false, [9; 16]);
        let outgoing = Outgoing::client(MaskKeys::new([7; 32]));
        Self { out: request, ..Self::of(Role::Client, Stage::Answer(upgrade), outgoing) }
    }

    const fn of(role: Role, stage: Stage, outgoing: Outgoing) -> Self {
        Self {
            role,
            outgoing,
            stage,
            answers: true,
            heard: Vec::new(),
            refusal: None,
            raw: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(crate) fn offer(&self) -> &Offer {
        let Stage::Offered(offer) = &self.stage else { panic!("no request waits") };
        offer
    }

    /// Agrees to what was asked for.
    fn agree(&mut self, subprotocol: Option<&str>) {
        let mut agreed = Agreed::default();
        agreed.subprotocol = subprotocol.map(Into::into);
        self.out.extend(self.offer().accept(&agreed).unwrap());
        self.open();
    }

    fn open(&mut self) {
        self.stage = Stage::Open(Incoming::new(self.role, Limits::of_message(1 << 24)));
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    fn say(&mut self, item: &Item) {
        let mut tx = Tx::default();
        match item {
            Item::Message(message) => {
                self.outgoing.message(message, &mut tx);
                while self.outgoing.rest(&mut tx) {}
            }
            Item::Ping(payload) => self.outgoing.ping(payload, &mut tx),
            Item::Pong(payload) => self.outgoing.pong(payload, &mut tx),
            Item::Close(close) => self.outgoing.close(close, &mut tx),
        }
        while !tx.is_empty() {
            self.out.extend_from_slice(tx.chunk());
            tx.consume(tx.chunk().len());
        }
    }

    fn hear(&mut self, now: Timestamp, mut bytes: &[u8]) {
        loop {
            match &mut self.stage {
                Stage::Request(upgrade) => match upgrade.receive(&mut bytes).unwrap() {
                    Some(request) => self.stage = Stage::Offered(Box::new(request.into_offer().unwrap())),
                    None => return,
                },
                Stage::Answer(upgrade) => match upgrade.receive(&mut bytes) {
                    Ok(Some(_)) => self.open(),
                    Ok(None) => return,
                    Err(UpgradeError::Refused(refusal)) => {
                        (self.refusal, self.stage) = (Some(*refusal), Stage::Over);
                    }
                    Err(error) => panic!("{error}"),
                },
                Stage::Open(incoming) => {
                    let Some(item) = incoming.next(&mut bytes).unwrap() else { return };
                    match &item {
                        Item::Ping(payload) if self.answers => self.say(&Item::Pong(payload.clone())),
                        Item::Close(close) if self.answers => self.say(&Item::Close(close.answer())),
                        _ => {}
                    }
                    self.heard.push((now.as_millis(), item));
                }
                Stage::Offered(_) | Stage::Over => return self.raw.extend_from_slice(bytes),
            }
        }
    }

    /// What came since this was last asked, but for pings and pongs.
    pub(crate) fn take(&mut self) -> Vec<Item> {
        let heard = std::mem::take(&mut self.heard).into_iter().map(|(_, item)| item);
        heard.filter(|item| !matches!(item, Item::Ping(_) | Item::Pong(_))).collect()
    }

    /// The frames of the native protocol that came since this was last asked, in messages, or without a WebSocket.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        let mut pieces = vec![std::mem::take(&mut self.raw)];
        pieces.extend(self.take().into_iter().filter_map(|item| match item {
            Item::Message(message) => Some(message.to_vec()),
            _ => None,
        }));
        let (mut beat, mut frames) = (Beat::new(&super::large(1 << 24)), Vec::new());
        beat.established();
        for piece in pieces {
            let mut rest = &piece[..];
            while let Some(frame) = beat.decode(&mut rest).unwrap() {
                frames.push(frame);
            }
            assert!(!beat.mid_frame(), "frames come whole");
        }
        frames
    }

    /// When pings came.
    pub(crate) fn pings(&self) -> Vec<u64> {
        self.heard.iter().filter(|(_, item)| matches!(item, Item::Ping(_))).map(|(at, _)| *at).collect()
    }

    /// The close that came, and when.
    pub(crate) fn close(&self) -> Option<(u64, Close)> {
        self.heard.iter().find_map(|(at, item)| match item {
            Item::Close(close) => Some((*at, close.clone())),
            _ => None,
        })
    }
}

/// Frames of the native protocol, all in one message.
pub(crate) fn in_message(frames: &[Frame]) -> Item {
    Item::Message(frames.iter().flat_map(super::encoded).collect::<Vec<u8>>().into())
}

pub(crate) fn close(code: u16) -> Item {
    Item::Close(Close::new(CloseCode::new(code).unwrap(), "").unwrap())
}

/// A client whose server is the test.
pub(crate) struct Dialed {
    pub(crate) client: Client<Any>,
    pub(crate) now: Timestamp,
    pub(crate) peer: Peer,
    pub(crate) open: Option<Epoch>,
    /// How many more bytes the operating system takes.
    pub(crate) room: usize,
    /// When it hung up.
    pub(crate) hung_up: Option<u64>,
    pub(crate) events: Vec<(u64, Event)>,
    /// Whether credentials were to be fresh, each time they were asked for.
    pub(crate) fetched: Vec<bool>,
}

impl Dialed {
    /// Opened at 0; its request waits.
    pub(crate) fn new(config: ClientConfigBuilder<Any>) -> Self {
        Self::seeded(config, 1)
    }

    pub(crate) fn seeded(config: ClientConfigBuilder<Any>, seed: u64) -> Self {
        let client = Client::new(Arc::new(config.build().unwrap()), seed).to_server(SERVER.parse().unwrap());
        let (now, peer) = (Timestamp::ZERO, Peer::server());
        let mut rig = Self {
            client,
            now,
            peer,
            open: None,
            room: usize::MAX,
            hung_up: None,
            events: Vec::new(),
            fetched: Vec::new(),
        };
        rig.client.open(rig.now);
        rig.turn();
        rig
    }

    /// The same, and agreed to.
    pub(crate) fn up(config: ClientConfigBuilder<Any>) -> Self {
        let mut rig = Self::new(config);
        rig.agree(None);
        rig.events.clear();
        rig
    }

    pub(crate) fn agree(&mut self, subprotocol: Option<&str>) {
        self.peer.agree(subprotocol);
        self.turn();
    }

    pub(crate) fn say(&mut self, item: &Item) {
        self.peer.say(item);
        self.turn();
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.peer.out.extend_from_slice(bytes);
        self.turn();
    }

    /// Says these frames of the native protocol, all in one message.
    pub(crate) fn say_frames(&mut self, frames: &[Frame]) {
        self.say(&in_message(frames));
    }

    pub(crate) fn end(&mut self) {
        let epoch = self.open.take().expect("a connection is open");
        self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Eof });
        self.turn();
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let target = at(self.now.as_millis() + millis);
        while let Some(due) = self.client.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    pub(crate) fn turn(&mut self) {
        loop {
            let mut busy = false;
            while let Some(action) = self.client.poll_action() {
                busy = true;
                match action {
                    Action::Connect { epoch } => {
                        (self.open, self.peer) = (Some(epoch), Peer::server());
                        self.client.handle_input(self.now, Input::Opened { epoch });
                    }
                    Action::FetchCredentials { epoch, refresh } => {
                        self.fetched.push(refresh);
                        let credentials = Credentials::new(format!("Bearer {}", self.fetched.len()));
                        self.client.handle_input(self.now, Input::Credentials { epoch, credentials });
                    }
                    Action::Disconnect { epoch } if self.open == Some(epoch) => {
                        (self.open, self.hung_up) = (None, Some(self.now.as_millis()));
                    }
                    _ => {}
                }
            }
            while let Some(event) = self.client.poll_event(self.now) {
                busy = true;
                self.events.push((self.now.as_millis(), event));
            }
            if let Some(epoch) = self.open
                && !self.client.transmit().is_empty()
                && self.room > 0
            {
                busy = true;
                let waiting = self.client.transmit();
                let bytes = waiting[..waiting.len().min(self.room)].to_vec();
                self.room = self.room.saturating_sub(bytes.len());
                self.client.handle_input(self.now, Input::Written { epoch, count: bytes.len() });
                self.peer.hear(self.now, &bytes);
            }
            if let Some(epoch) = self.open
                && !self.peer.out.is_empty()
                && self.client.wants_read()
            {
                busy = true;
                let bytes = std::mem::take(&mut self.peer.out);
                self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
            }
            if !busy && self.client.poll_timeout().is_some_and(|due| due.at <= self.now) {
                self.client.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.client.poll_timeout());
    }

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, event)| super::name(event) == name).count()
    }

    pub(crate) fn downs(&self) -> Vec<(u64, DownReport)> {
        let downs = self.events.iter().filter_map(|(at, event)| match event {
            Event::Down { report, .. } => Some((*at, (**report).clone())),
            _ => None,
        });
        downs.collect()
    }
}

/// A server whose client is the test, one at a time.
pub(crate) struct Served {
    pub(crate) server: Server<Any>,
    pub(crate) now: Timestamp,
    pub(crate) peer: Peer,
    pub(crate) id: Option<ConnectionId>,
    /// How many more bytes the operating system takes.
    pub(crate) room: usize,
    /// When it hung up.
    pub(crate) hung_up: Option<u64>,
    pub(crate) events: Vec<(u64, ServerEvent)>,
}

impl Served {
    pub(crate) fn new(config: ServerConfigBuilder<Any>) -> Self {
        let server = Server::new(Arc::new(config.build().unwrap()), entropy(), 3);
        let peer = Peer::of(Role::Client, Stage::Over, Outgoing::server());
        Self { server, now: Timestamp::ZERO, peer, id: None, room: usize::MAX, hung_up: None, events: Vec::new() }
    }

    /// A client at port 0 asks for this.
    pub(crate) fn ask(&mut self, request: &UpgradeRequest) {
        self.dial(0);
        self.peer = Peer::client(request);
        self.turn();
    }

    /// A client at this port says nothing.
    pub(crate) fn dial(&mut self, port: usize) {
        self.id = Some(self.server.accept_at(self.now, None, port).unwrap());
        (self.peer, self.hung_up) = (Peer::of(Role::Client, Stage::Over, Outgoing::server()), None);
        self.turn();
    }

    /// A client that asked for `/`.
    pub(crate) fn up(config: ServerConfigBuilder<Any>) -> Self {
        let mut rig = Self::new(config);
        rig.ask(&UpgradeRequest::new("/").unwrap());
        assert!(rig.peer.is_open());
        rig.events.clear();
        rig
    }

    pub(crate) fn say(&mut self, item: &Item) {
        self.peer.say(item);
        self.turn();
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.peer.out.extend_from_slice(bytes);
        self.turn();
    }

    /// Says these frames of the native protocol, all in one message.
    pub(crate) fn say_frames(&mut self, frames: &[Frame]) {
        self.say(&in_message(frames));
    }

    pub(crate) fn end(&mut self) {
        let id = self.id.take().expect("a connection is open");
        self.server.handle_input(self.now, id, ServerInput::Ended(Failure::Eof));
        self.turn();
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let target = at(self.now.as_millis() + millis);
        while let Some(due) = self.server.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    pub(crate) fn turn(&mut self) {
        loop {
            let mut busy = false;
            while let Some(action) = self.server.poll_action() {
                busy = true;
                if let ServerAction::Disconnect(id) = action
                    && self.id == Some(id)
                {
                    (self.id, self.hung_up) = (None, Some(self.now.as_millis()));
                }
            }
            while let Some(event) = self.server.poll_event(self.now) {
                busy = true;
                self.events.push((self.now.as_millis(), event));
            }
            if let Some(id) = self.id
                && !self.server.transmit(id).is_empty()
                && self.room > 0
            {
                busy = true;
                let waiting = self.server.transmit(id);
                let bytes = waiting[..waiting.len().min(self.room)].to_vec();
                self.room = self.room.saturating_sub(bytes.len());
                self.server.handle_input(self.now, id, ServerInput::Written(bytes.len()));
                self.peer.hear(self.now, &bytes);
            }
            if let Some(id) = self.id
                && !self.peer.out.is_empty()
                && self.server.wants_read(id)
            {
                busy = true;
                let bytes = std::mem::take(&mut self.peer.out);
                self.server.handle_input(self.now, id, ServerInput::Received(&bytes));
            }
            if !busy && self.server.poll_timeout().is_some_and(|due| due.at <= self.now) {
                self.server.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.server.poll_timeout());
    }

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, event)| super::server_name(event) == name).count()
    }
}

/// At port 1: the native protocol over TCP.
pub(crate) fn with_beat_at_port_1(config: ServerConfigBuilder<Any>) -> ServerConfigBuilder<Any> {
    config.port(Port::new(keepbeat_core::wire::beat::BeatConfig::default()))
}

/// Repeatable moments.
pub(crate) fn moments(seed: u64) -> Prng {
    Prng::new(seed ^ 0x5EED)
}
