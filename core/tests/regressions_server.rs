//! What a server owes to its devices, to its own memory, and to the driver that asks it what is due.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::net::IpAddr;
use std::sync::Arc;

use common::{Acceptor, MS, SECOND, at, data, device, encoded, entropy, hello, message, server};
use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::server::{ConnectionId, Server, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::session::{Message, QueueLimits};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::{Credentials, Frame, Hello};

const DAY: u64 = 86_400_000;

/// Each return without a token begins a new session, but the messages of the old ones still wait in memory.
#[test]
fn messages_that_wait_keep_their_room_when_a_device_comes_back_without_its_token() {
    let room = 10;
    let mut rig = Acceptor::new(server().inbox(QueueLimits::new(room, 1000).unwrap()));
    rig.takes = false;
    for _ in 0..100 {
        let id = rig.enter(&hello("d"));
        let burst: Vec<u8> = (1..=room as u64).flat_map(|seq| encoded(&data(seq, "0123456789"))).collect();
        rig.say_bytes(id, &burst);
        assert!(!rig.server.wants_read(id), "its inbox is full");
        rig.hang_up(id, Failure::Eof);
    }
    rig.takes = true;
    rig.turn();
    let waited = rig.saw("message");
    assert!((room..=2 * room).contains(&waited), "{waited} messages waited in an inbox for {room}");
}

/// Nothing is read from such a device, not even its beats.
#[test]
fn a_device_that_comes_back_to_a_full_inbox_is_not_judged_by_its_silence() {
    let mut rig = Acceptor::new(server().inbox(QueueLimits::new(1, 1000).unwrap()));
    let (id, first) = rig.welcomed(&hello("d"));
    rig.takes = false;
    rig.say(id, &data(1, "one"));
    rig.hang_up(id, Failure::Eof);
    let (id, welcome) = rig.welcomed(&Hello { token: Some(first.token), attempt: 2, ..hello("d") });
    assert!(welcome.resumed && !rig.server.wants_read(id));
    let back = rig.now.as_millis();
    rig.advance_to(back + 29_999);
    assert!(rig.server.is_connected(&device("d")));
    rig.advance_to(back + 30_000);
    assert!(!rig.server.is_connected(&device("d")), "our own application has had the stall limit");
}

/// A device repeats what wants an answer, a thousand times a second, and takes one byte a second.
#[test]
fn answers_to_a_peer_that_does_not_read_do_not_pile_up() {
    for repeated in [data(1, ""), Frame::Beat { seq: 1 }] {
        let mut server = Server::<Beat>::new(Arc::new(ServerConfig::builder().build().unwrap()), entropy(), 3);
        let mut now = at(1);
        let id = server.accept(now, None).unwrap();
        server.handle_input(now, id, ServerInput::Received(&encoded(&Frame::Hello(Box::new(hello("d"))))));
        server.handle_input(now, id, ServerInput::Received(&encoded(&data(1, ""))));
        written(&mut server, now, id);
        let repeated = encoded(&repeated);
        for millis in 0..60_000 {
            now = now.after(MS);
            if server.wants_read(id) {
                server.handle_input(now, id, ServerInput::Received(&repeated));
            }
            if millis % 1000 == 0 && !server.transmit(id).is_empty() {
                server.handle_input(now, id, ServerInput::Written(1));
            }
            server.handle_timeout(now);
            while server.poll_action().is_some() {}
            while server.poll_event(now).is_some() {}
        }
        let waiting = written(&mut server, now, id).len();
        assert!(waiting < 100_000, "{waiting} bytes wait for a peer that does not read");
    }
}

/// A driver reads what is named before it lets the server judge, so nothing that will be judged may be missing.
#[test]
fn every_due_connection_is_named() {
    let mut server = Server::<Beat>::new(Arc::new(ServerConfig::builder().build().unwrap()), entropy(), 3);
    let first = server.accept(at(1), None).unwrap();
    let second = server.accept(at(1), None).unwrap();
    assert_eq!(server.due(at(1)).count(), 0);
    let mut due: Vec<ConnectionId> = server.due(at(10_001)).collect();
    due.sort_unstable();
    assert_eq!(due, [first, second]);
}

#[test]
fn a_due_session_without_a_connection_does_not_hide_a_due_connection() {
    let config = ServerConfig::builder().session_lifetime(5 * SECOND);
    let mut rig = Acceptor::new(config);
    let gone = rig.enter(&hello("d"));
    rig.hang_up(gone, Failure::Eof);
    let silent = rig.dial();
    let due: Vec<ConnectionId> = rig.server.due(at(10_000)).collect();
    assert_eq!(due, [silent]);
}

/// Applications log events.
#[test]
fn credentials_of_a_device_do_not_show_in_events() {
    let mut rig = Acceptor::new(server().authenticate());
    rig.enter(&Hello { credentials: Credentials::new(&b"hunter2"[..]), ..hello("d") });
    assert_eq!(rig.saw("authenticate"), 1);
    let logged = format!("{:?}", rig.events);
    let as_numbers = format!("{:?}", &b"hunter2"[..]);
    assert!(!logged.contains("hunter2") && !logged.contains(as_numbers.trim_matches(['[', ']'])), "{logged}");
}

/// A ticket names one message to the application, whichever session it belongs to.
#[test]
fn tickets_differ_across_the_sessions_of_a_device() {
    let mut rig = Acceptor::new(server());
    let mut tickets = Vec::new();
    for _ in 0..3 {
        let (id, _) = rig.welcomed(&hello("d"));
        rig.say(id, &Frame::Ack { seq: 0 });
        tickets.push(rig.server.send(rig.now, &device("d"), message("x")).unwrap());
    }
    let mut different = tickets.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), tickets.len(), "{tickets:?}: {:?}", rig.events);
}

/// The clock of the next server begins at 0 again; the lifetime of a session must not reach until the old clock's time.
#[test]
fn sessions_taken_over_from_a_server_with_an_older_clock_expire_in_time() {
    let mut before = Acceptor::new(server());
    before.now = at(10 * DAY);
    let (id, _) = before.welcomed(&hello("d"));
    before.say(id, &Frame::Ack { seq: 0 });
    let sessions = before.server.take_sessions(before.now);
    let config = Arc::new(server().build().unwrap());
    let after = Server::with_sessions(config, entropy(), 3, Timestamp::ZERO, sessions);
    let mut after = Acceptor::of(after, Timestamp::ZERO);
    after.advance_to(3_600_000);
    assert_eq!(after.saw("session ended"), 1, "{:?}", after.server.poll_timeout());
}

/// Sessions in which nothing was ever said or queued are not worth keeping a device out.
#[test]
fn one_address_cannot_fill_the_room_for_sessions() {
    let mut rig = Acceptor::new(server().max_sessions(2).max_connections_per_address(1));
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    for name in ["a", "b"] {
        let id = rig.dial_from(Some(address)).unwrap();
        rig.say(id, &Frame::Hello(Box::new(hello(name))));
        rig.hang_up(id, Failure::Reset);
    }
    rig.server.handle_timeout(rig.now);
    rig.turn();
    rig.enter(&hello("honest"));
    assert!(rig.server.is_connected(&device("honest")), "{:?}", rig.events.last());
}

/// One process that is the device "d".
struct Process {
    client: Client<Beat>,
    epoch: Epoch,
    id: ConnectionId,
}

impl Process {
    fn connected(seed: u64, first: &'static str, server: &mut Server<Beat>, now: Timestamp) -> Self {
        let config = ClientConfig::builder(device("d")).build().unwrap();
        let mut client = Client::new(Arc::new(config), seed);
        client.open(now);
        client.send(now, message(first)).unwrap();
        let (epoch, id) = connect(&mut client, server, now);
        Self { client, epoch, id }
    }

    /// At the time when it tries again.
    fn reconnected(&mut self, server: &mut Server<Beat>) -> Timestamp {
        let now = self.client.poll_timeout().expect("it tries again").at;
        self.client.handle_timeout(now);
        (self.epoch, self.id) = connect(&mut self.client, server, now);
        now
    }

    /// What it says.
    fn said(&mut self, now: Timestamp) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.client.transmit().is_empty() {
            let count = self.client.transmit().len();
            bytes.extend_from_slice(self.client.transmit());
            self.client.handle_input(now, Input::Written { epoch: self.epoch, count });
        }
        bytes
    }

    fn hear(&mut self, server: &mut Server<Beat>, now: Timestamp) {
        let bytes = written(server, now, self.id);
        if !bytes.is_empty() {
            self.client.handle_input(now, Input::Received { epoch: self.epoch, bytes: &bytes });
        }
    }

    fn say(&mut self, server: &mut Server<Beat>, now: Timestamp) {
        let bytes = self.said(now);
        if !bytes.is_empty() {
            server.handle_input(now, self.id, ServerInput::Received(&bytes));
        }
    }

    fn converse(&mut self, server: &mut Server<Beat>, now: Timestamp) {
        for _ in 0..10 {
            self.say(server, now);
            self.hear(server, now);
        }
    }
}

fn connect(client: &mut Client<Beat>, server: &mut Server<Beat>, now: Timestamp) -> (Epoch, ConnectionId) {
    while let Some(action) = client.poll_action() {
        if let Action::Connect { epoch } = action {
            client.handle_input(now, Input::Opened { epoch });
            return (epoch, server.accept(now, None).unwrap());
        }
    }
    panic!("it does not connect: {:?}", client.state());
}

fn written(server: &mut Server<Beat>, now: Timestamp, id: ConnectionId) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !server.transmit(id).is_empty() {
        let count = server.transmit(id).len();
        bytes.extend_from_slice(server.transmit(id));
        server.handle_input(now, id, ServerInput::Written(count));
    }
    bytes
}

/// Each process counts its messages from 1. If both were given the same session, the server would take the first message of
/// one for a repetition of the first message of the other, and acknowledge it unseen.
#[test]
fn two_processes_of_a_device_do_not_share_a_session_that_nobody_confirmed() {
    let mut server = Server::new(Arc::new(ServerConfig::builder().build().unwrap()), entropy(), 3);
    let now = at(1);
    let mut first = Process::connected(1, "of the first", &mut server, now);
    first.say(&mut server, now);
    first.hear(&mut server, now);
    let on_its_way = first.said(now);
    assert!(!on_its_way.is_empty(), "it was welcomed, and said what it had to say");
    let mut second = Process::connected(99, "of the second", &mut server, now);
    second.converse(&mut server, now);
    first.hear(&mut server, now);
    let now = first.reconnected(&mut server);
    first.converse(&mut server, now);

    let arrived: Vec<Message> = std::iter::from_fn(|| server.poll_event(now))
        .filter_map(|event| if let ServerEvent::Message { message, .. } = event { Some(message) } else { None })
        .collect();
    let told: Vec<Event> = std::iter::from_fn(|| first.client.poll_event(now)).collect();
    assert!(arrived.contains(&message("of the second")), "{arrived:?}");
    assert!(
        arrived.contains(&message("of the first")) || first.client.unacknowledged() > 0,
        "of {arrived:?} the first process was told {told:#?}"
    );
}
