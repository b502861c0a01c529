//! Well-formed frames that make no sense, at any time and mixed with whatever an application may call: nothing panics, nothing
//! is due at once and again, and when all connections are over their room is free.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{SECOND, assert_later, at, device, encoded, hello_with, message};
use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::reconnect::Hint;
use keepbeat_core::server::{ConnectionId, Server, ServerConfig, ServerInput};
use keepbeat_core::sim::for_each_seed;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::{Credentials, Frame, Goodbye, Hello, Reason, Token, Welcome};

const STEPS: u32 = 300;
/// How many connections of one address there is room for.
const ROOM: usize = 8;

/// Zero, small, near the upper ends, or anything.
fn number(random: &mut Prng) -> u64 {
    match random.between(0, 4) {
        0 => 0,
        1 => random.between(0, 5),
        2 => u64::MAX - random.between(0, 2),
        3 => u64::from(u32::MAX),
        _ => random.next_u64(),
    }
}

fn short(random: &mut Prng) -> u32 {
    number(random) as u32
}

fn goodbye(random: &mut Prng) -> Box<Goodbye> {
    let reason = Reason::from_code(random.between(0, 15) as u8);
    let (retry_after_ms, spread_ms) = (short(random), short(random));
    Box::new(Goodbye { retry_after_ms, spread_ms, ..Goodbye::new(reason, "") })
}

fn frame(random: &mut Prng, token: Option<Token>) -> Frame {
    match random.between(0, 9) {
        0 => Frame::Hello(Box::new(Hello {
            version: 1,
            device: device(["d", "e"][random.between(0, 1) as usize]),
            instance: random.between(0, 2),
            attempt: random.between(0, 50) as u32,
            interval_ms: short(random),
            reply_timeout_ms: short(random),
            message_limit: number(random),
            token: token.filter(|_| random.between(0, 1) == 0),
            received: number(random),
            credentials: Credentials::default(),
        })),
        1 => Frame::Welcome(Box::new(Welcome {
            version: 1,
            token: Token::new([1; 16]),
            resumed: random.between(0, 1) == 0,
            interval_ms: short(random),
            reply_timeout_ms: short(random),
            message_limit: number(random),
            received: number(random).min(random.between(0, 3)),
        })),
        2 => Frame::Beat { seq: short(random) },
        3 => Frame::Echo { seq: short(random) },
        4 | 5 => {
            let payload = vec![0; random.between(0, 30) as usize];
            let message =
                if random.between(0, 1) == 0 { payload.into() } else { String::from_utf8(payload).unwrap().into() };
            Frame::Data { seq: random.between(1, 6), message }
        }
        6 => Frame::Ack { seq: random.between(0, 4) },
        7 => Frame::Ack { seq: number(random) },
        8 => Frame::Goodbye(goodbye(random)),
        _ => Frame::Refuse(goodbye(random)),
    }
}

struct World {
    random: Prng,
    now: Timestamp,
    client: Client<Beat>,
    server: Server<Beat>,
    /// The newest attempt of the client.
    epoch: Option<Epoch>,
    /// All connections that the server ever accepted; most are over.
    accepted: Vec<ConnectionId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let server = ServerConfig::builder().grace(SECOND).max_handshakes(ROOM).max_connections_per_address(ROOM);
        let server = server.session_lifetime(30 * SECOND).build().unwrap();
        let client = ClientConfig::builder(device("d")).build().unwrap();
        Self {
            random: Prng::new(seed),
            now: at(1),
            client: Client::new(Arc::new(client), seed),
            server: Server::new(Arc::new(server), Box::new(Prng::new(2)), 3),
            epoch: None,
            accepted: Vec::new(),
        }
    }

    fn address() -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, 1]))
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.random.between(1, times) == 1
    }

    fn step(&mut self) {
        let millis = [0, 1, 100, 5000, 100_000][self.random.between(0, 4) as usize];
        self.now = self.now.after(Duration::from_millis(millis));
        self.call();
        self.connect();
        self.disturb_client();
        for index in 0..self.accepted.len() {
            self.disturb_server(self.accepted[index]);
        }
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        while self.client.poll_action().is_some() {}
        while self.server.poll_action().is_some() {}
        assert_later(self.now, self.server.poll_timeout());
        assert_later(self.now, self.client.poll_timeout());
    }

    /// What applications and new connections do.
    fn call(&mut self) {
        let now = self.now;
        match self.random.between(0, 14) {
            0 => self.client.open(now),
            1 if self.one_in(10) => self.client.close(now),
            // Whether there was room does not matter here, nor below.
            2 => drop(self.client.send(now, message("hi"))),
            3 => {
                let hints = [Hint::NetworkUp, Hint::NetworkDown, Hint::Background, Hint::Foreground];
                self.client.hint(now, hints[self.random.between(0, 3) as usize]);
            }
            4 => self.client.retry_now(now),
            5 if self.one_in(10) => self.client.drain(now, SECOND),
            6 => {
                if let Some(id) = self.accept() {
                    let hello = encoded(&Frame::Hello(Box::new(hello_with("d", 1000, 500))));
                    self.server.handle_input(now, id, ServerInput::Received(&hello));
                }
            }
            7 => drop(self.accept()),
            8 => drop(self.server.send(now, &device("d"), message("x"))),
            9 if self.one_in(10) => {
                let reason = Reason::from_code(self.random.between(0, 12) as u8);
                self.server.disconnect(now, &device("d"), Goodbye::new(reason, ""));
            }
            10 => drop((self.server.poll_event(now), self.client.poll_event(now))),
            _ => {}
        }
    }

    fn accept(&mut self) -> Option<ConnectionId> {
        let id = self.server.accept(self.now, Self::address()).ok()?;
        self.accepted.push(id);
        Some(id)
    }

    /// Some attempts open, and some of those are welcomed.
    fn connect(&mut self) {
        while let Some(action) = self.client.poll_action() {
            let Action::Connect { epoch } = action else { continue };
            self.epoch = Some(epoch);
            if self.one_in(4) {
                continue;
            }
            self.client.handle_input(self.now, Input::Opened { epoch });
            if self.one_in(2) {
                let terms = Welcome { interval_ms: 1000, reply_timeout_ms: 0, message_limit: 100, ..common::welcome() };
                let bytes = encoded(&Frame::Welcome(Box::new(terms)));
                self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
            }
        }
    }

    fn disturb_client(&mut self) {
        let Some(epoch) = self.epoch else { return };
        match self.random.between(0, 4) {
            0 => {
                let bytes = encoded(&frame(&mut self.random, None));
                self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
            }
            1 => {
                let count = self.client.transmit().len();
                self.client.handle_input(self.now, Input::Written { epoch, count });
            }
            2 if self.one_in(6) => {
                self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Eof });
            }
            _ => {}
        }
    }

    fn disturb_server(&mut self, id: ConnectionId) {
        match self.random.between(0, 6) {
            0 => {
                let bytes = encoded(&frame(&mut self.random, Some(Token::new([2; 16]))));
                let cut = bytes.len() - usize::from(self.one_in(10));
                self.server.handle_input(self.now, id, ServerInput::Received(&bytes[..cut]));
            }
            1 => {
                while !self.server.transmit(id).is_empty() {
                    let count = self.server.transmit(id).len();
                    self.server.handle_input(self.now, id, ServerInput::Written(count));
                }
            }
            2 if self.one_in(10) => self.server.handle_input(self.now, id, ServerInput::Ended(Failure::Eof)),
            _ => {}
        }
    }
}

#[test]
fn senseless_frames_neither_panic_nor_spin_nor_take_room_for_ever() {
    for_each_seed(|seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        for id in std::mem::take(&mut world.accepted) {
            world.server.handle_input(world.now, id, ServerInput::Ended(Failure::Eof));
        }
        assert_eq!(world.server.connections(), 0, "seed {seed}");
        for _ in 0..ROOM {
            assert!(world.accept().is_some(), "seed {seed}: the room is not free again");
        }
    });
}
