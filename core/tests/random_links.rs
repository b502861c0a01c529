//! A client and a server over links that fail, stall and cut at random, and then calm down: every message arrives exactly
//! once and in order, and the events tell a story that makes sense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{SECOND, assert_later, at, device};
use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{Admission, ConnectionId, Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::session::{Message, QueueLimits};
use keepbeat_core::sim::for_each_seed;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::Beat;

const STORMY_STEPS: u32 = 400;
const CALM_STEPS: u32 = 600;
/// How many messages each side sends.
const MESSAGES: u32 = 60;

/// One connection. Either side may believe in it longer than the other.
struct Wire {
    epoch: Epoch,
    id: ConnectionId,
    up: Vec<u8>,
    down: Vec<u8>,
    client_holds: bool,
    server_holds: bool,
}

struct World {
    random: Prng,
    calm: bool,
    now: Timestamp,
    client: Client<Beat>,
    server: Server<Beat>,
    wires: Vec<Wire>,
    /// How many messages were accepted.
    client_sent: u32,
    server_sent: u32,
    /// What arrived there.
    at_client: Vec<u32>,
    at_server: Vec<u32>,
    /// As the events say.
    up: bool,
    online: bool,
    ever_online: bool,
    /// Whether the client was ever told of messages in doubt, and the server of the end of a session.
    doubted: bool,
    session_ended: bool,
    unanswered: Vec<ConnectionId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let inbox = QueueLimits::new(3, 1000).unwrap();
        let grace = if seed.is_multiple_of(2) { Duration::ZERO } else { 3 * SECOND };
        let server = ServerConfig::builder().grace(grace).max_handshakes(50).inbox(inbox.clone());
        let server = server.session_lifetime(100_000 * SECOND);
        let server = if seed.is_multiple_of(3) { server.authenticate() } else { server };
        let client = ClientConfig::builder(device("d")).inbox(inbox);
        let mut world = Self {
            random: Prng::new(seed),
            calm: false,
            now: at(1),
            client: Client::new(Arc::new(client.build().unwrap()), seed),
            server: Server::new(Arc::new(server.build().unwrap()), Box::new(Prng::new(2)), 3),
            wires: Vec::new(),
            client_sent: 0,
            server_sent: 0,
            at_client: Vec::new(),
            at_server: Vec::new(),
            up: false,
            online: false,
            ever_online: false,
            doubted: false,
            session_ended: false,
            unanswered: Vec::new(),
        };
        world.client.open(world.now);
        world
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.random.between(1, times) == 1
    }

    /// Part of what waits, or all of it when the weather is calm.
    fn portion(&mut self, least: u64, most: u64, waiting: usize) -> usize {
        let portion = self.random.between(least, most) as usize;
        if self.calm { waiting } else { portion.min(waiting) }
    }

    fn step(&mut self) {
        let longest = if self.calm { 500 } else { 4000 };
        self.now = self.now.after(Duration::from_millis(self.random.between(1, longest)));
        self.act();
        self.send();
        self.act();
        for index in 0..self.wires.len() {
            self.write(index);
            if self.calm || self.one_in(2) {
                self.read(index);
            }
            self.harm(index);
        }
        self.client.handle_timeout(self.now);
        self.act();
        self.server.handle_timeout(self.now);
        self.act();
        assert_later(self.now, self.server.poll_timeout());
        assert_later(self.now, self.client.poll_timeout());
        if self.calm || self.one_in(4) {
            self.take_client_events();
        }
        if self.calm || self.one_in(4) {
            self.take_server_events();
        }
        if self.calm || self.one_in(3) {
            for id in std::mem::take(&mut self.unanswered) {
                self.server.answer(self.now, id, Admission::Accept);
            }
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Connect { epoch } => self.connect(epoch),
                Action::Disconnect { epoch } => {
                    self.wires.iter_mut().filter(|wire| wire.epoch == epoch).for_each(|wire| wire.client_holds = false);
                }
                _ => {}
            }
        }
        while let Some(action) = self.server.poll_action() {
            if let ServerAction::Disconnect(id) = action {
                self.wires.iter_mut().filter(|wire| wire.id == id).for_each(|wire| wire.server_holds = false);
            }
        }
    }

    fn connect(&mut self, epoch: Epoch) {
        if !self.calm && self.one_in(6) {
            self.client.handle_input(self.now, Input::OpenFailed { epoch, failure: Failure::Refused });
            return;
        }
        let id = self.server.accept(self.now, None).expect("there is room for all attempts");
        let (up, down) = (Vec::new(), Vec::new());
        self.wires.push(Wire { epoch, id, up, down, client_holds: true, server_holds: true });
        self.client.handle_input(self.now, Input::Opened { epoch });
    }

    fn send(&mut self) {
        if self.client_sent < MESSAGES && self.one_in(3) {
            let message = numbered(self.client_sent);
            self.client_sent += u32::from(self.client.send(self.now, message).is_ok());
        }
        if self.ever_online && self.server_sent < MESSAGES && self.one_in(3) {
            let message = numbered(self.server_sent);
            self.server_sent += u32::from(self.server.send(self.now, &device("d"), message).is_ok());
        }
    }

    fn write(&mut self, index: usize) {
        let (epoch, id) = (self.wires[index].epoch, self.wires[index].id);
        if self.wires[index].client_holds {
            let count = self.portion(0, 60, self.client.transmit().len());
            if count > 0 {
                self.wires[index].up.extend_from_slice(&self.client.transmit()[..count]);
                self.client.handle_input(self.now, Input::Written { epoch, count });
            }
        }
        let count = self.portion(0, 60, self.server.transmit(id).len());
        if count > 0 {
            self.wires[index].down.extend_from_slice(&self.server.transmit(id)[..count]);
            self.server.handle_input(self.now, id, ServerInput::Written(count));
        }
    }

    fn read(&mut self, index: usize) {
        let (epoch, id) = (self.wires[index].epoch, self.wires[index].id);
        if self.server.wants_read(id) && self.wires[index].server_holds && !self.wires[index].up.is_empty() {
            let count = self.portion(1, 40, self.wires[index].up.len());
            let bytes: Vec<u8> = self.wires[index].up.drain(..count).collect();
            self.server.handle_input(self.now, id, ServerInput::Received(&bytes));
        }
        if self.client.wants_read() && self.wires[index].client_holds && !self.wires[index].down.is_empty() {
            let count = self.portion(1, 40, self.wires[index].down.len());
            let bytes: Vec<u8> = self.wires[index].down.drain(..count).collect();
            self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
        }
    }

    /// Resets the connection for the client, and tells each side, sooner or later, what became of the other.
    fn harm(&mut self, index: usize) {
        let (epoch, id) = (self.wires[index].epoch, self.wires[index].id);
        if !self.calm && self.one_in(26) && self.wires[index].client_holds {
            self.wires[index].client_holds = false;
            self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Reset });
        }
        let noticed = self.one_in(13) && (self.wires[index].up.is_empty() || self.one_in(2));
        let wire = &mut self.wires[index];
        if wire.server_holds && !wire.client_holds && noticed {
            wire.server_holds = false;
            self.server.handle_input(self.now, id, ServerInput::Ended(Failure::Eof));
        }
        if wire.client_holds && !wire.server_holds && wire.down.is_empty() {
            wire.client_holds = false;
            self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Eof });
        }
    }

    fn take_client_events(&mut self) {
        while let Some(event) = self.client.poll_event(self.now) {
            match event {
                Event::Up { resumed, in_doubt, .. } => {
                    assert!(!self.up, "up twice");
                    assert!(in_doubt == 0 || !resumed, "a session that goes on leaves nothing in doubt");
                    self.up = true;
                    self.doubted |= in_doubt > 0;
                }
                Event::Down { .. } => self.up = false,
                Event::Message(message) => self.at_client.push(number(&message)),
                Event::GaveUp { .. } | Event::Closed { .. } => panic!("{event:?}"),
                _ => {}
            }
        }
    }

    fn take_server_events(&mut self) {
        while let Some(event) = self.server.poll_event(self.now) {
            match event {
                ServerEvent::Authenticate { connection, .. } => self.unanswered.push(connection),
                ServerEvent::Online { .. } => {
                    assert!(!self.online, "online twice");
                    (self.online, self.ever_online) = (true, true);
                }
                ServerEvent::Offline { .. } => {
                    assert!(self.online, "offline twice");
                    self.online = false;
                }
                ServerEvent::Returned { .. } | ServerEvent::Replaced { .. } => assert!(self.online, "{event:?}"),
                // Some sessions end before the device knows of them; messages are not lost with those.
                ServerEvent::SessionEnded { undelivered, .. } => {
                    assert!(undelivered.is_empty(), "{undelivered:?}");
                    self.session_ended = true;
                }
                ServerEvent::Message { message, .. } => self.at_server.push(number(&message)),
                _ => {}
            }
        }
    }
}

/// A message that carries its number: every other one as a text.
fn numbered(number: u32) -> Message {
    if number.is_multiple_of(2) { number.to_string().into() } else { number.to_le_bytes().to_vec().into() }
}

/// The number of a message; it must have come as the kind that it was sent as.
fn number(message: &Message) -> u32 {
    let number = match message.as_text() {
        Some(text) => text.parse().expect("a number"),
        None => u32::from_le_bytes(message.payload()[..].try_into().expect("four bytes")),
    };
    assert_eq!(*message, numbered(number));
    number
}

#[test]
fn messages_arrive_exactly_once_in_order_and_events_make_sense() {
    for_each_seed(|seed| {
        let mut world = World::new(seed);
        for step in 0..STORMY_STEPS + CALM_STEPS {
            world.calm = step > STORMY_STEPS;
            world.step();
        }
        assert_eq!((world.client_sent, world.server_sent), (MESSAGES, MESSAGES));
        assert_eq!(world.at_server, (0..MESSAGES).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(world.at_client, (0..MESSAGES).collect::<Vec<_>>(), "seed {seed}");
        assert!(world.session_ended || !world.doubted, "seed {seed}: in doubt, but no session was lost");
        assert!(world.up && world.online, "seed {seed}: {:?}", world.client.state());
    });
}
