//! WebSocket, with keepbeats and with others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../../adapter-shared/tests-on-a-runtime/addresses.rs"]
mod addresses;
#[path = "../../adapter-shared/tests-on-a-runtime/plain.rs"]
mod plain;
mod support;

use std::io::ErrorKind;

use addresses::address_of_ours;
use keepbeat_mio::core::session::QueueLimits;
use keepbeat_mio::core::wire::websocket::SUBPROTOCOL;
use keepbeat_mio::core::wire::{Goodbye, Reason};
use keepbeat_mio::{
    DeviceId, DriverEvent, Event, LinkId, ListenerBuilder, ListenerId, Message, Port, SendError, ServerEvent,
    WebSocketConfig,
};
use plain::Plain;
use support::*;

/// At 1 MB per second, ten reply timeouts of 2 s: with shorter ones, a busy machine is judged.
const LARGE: usize = 20_000_000;
const RATE: usize = 1_000_000;

fn native() -> WebSocketConfig {
    WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build().unwrap()
}

fn foreign() -> WebSocketConfig {
    WebSocketConfig::builder().build().unwrap()
}

impl Bench {
    fn hear(&mut self, id: LinkId) -> Message {
        self.link_until(id, |event| if let Event::Message(message) = event { Some(message.clone()) } else { None })
    }

    fn server_hear(&mut self, id: ListenerId) -> Message {
        self.server_until(id, |event| match event {
            ServerEvent::Message { message, .. } => Some(message.clone()),
            _ => None,
        })
    }

    fn online(&mut self, id: ListenerId) -> DeviceId {
        self.server_until(id, |event| match event {
            ServerEvent::Online { device, .. } | ServerEvent::Returned { device, .. } => Some(device.clone()),
            _ => None,
        })
    }

    fn down(&mut self, id: LinkId) {
        self.link_until(id, |event| matches!(event, Event::Down { .. }).then_some(()));
    }
}

#[test]
fn texts_and_binary_messages_go_both_ways_with_the_native_protocol_and_without() {
    for (wire, named) in [(native(), true), (foreign(), false)] {
        let mut bench = Bench::new();
        let (listener, address) = bench.listen(server().wire(foreign()));
        let link = bench.open(address, client("a").wire(wire));
        bench.up(link);
        let device = bench.online(listener);
        assert_eq!((device.as_str() == "a", device.as_str().starts_with("ws-")), (named, !named));
        for message in [Message::from("beat ❤"), Message::from(vec![0xFF; 100_000]), Message::from("")] {
            bench.link(link).send(message.clone()).unwrap();
            assert_eq!(bench.server_hear(listener), message);
            bench.listener(listener).send(&device, message.clone()).unwrap();
            assert_eq!(bench.hear(link), message);
        }
        bench.turn_until(|bench| (bench.link(link).unacknowledged() == 0).then_some(()));
    }
}

#[test]
fn a_session_goes_on_after_a_cut_with_the_native_protocol_and_begins_anew_without() {
    for (wire, goes_on) in [(native(), true), (foreign(), false)] {
        let mut bench = Bench::new();
        let (listener, address) = bench.listen(server().wire(foreign()));
        let link = bench.open(address, client("a").wire(wire));
        bench.up(link);
        let device = bench.online(listener);
        // A session is there to go on when both know of it.
        bench.link(link).send("before").unwrap();
        assert_eq!(bench.server_hear(listener), Message::from("before"));
        bench.listener(listener).disconnect(&device, Goodbye::new(Reason::Busy, "come again"));
        bench.down(link);
        bench.link(link).send("while it was down").unwrap();
        assert_eq!(bench.up(link), goes_on);
        bench.link(link).send("and after").unwrap();
        assert_eq!(bench.server_hear(listener), Message::from("while it was down"));
        assert_eq!(bench.server_hear(listener), Message::from("and after"));
    }
}

#[test]
fn a_greeting_goes_before_what_waits_on_each_connection() {
    for wire in [native(), foreign()] {
        let mut bench = Bench::new();
        let (listener, address) = bench.listen(server().wire(foreign()));
        let link = bench.open(address, client("a").wire(wire).greeting());
        assert!(matches!(bench.link(link).greet("too early"), Err(SendError::Closed { .. })));
        for round in ["first", "second"] {
            let ticket = bench.link(link).send(round).unwrap();
            bench.up(link);
            let device = bench.online(listener);
            bench.link(link).greet("who I am").unwrap();
            bench.link(link).greeted();
            assert!(matches!(bench.link(link).greet("too late"), Err(SendError::Closed { .. })));
            assert_eq!(bench.server_hear(listener), Message::from("who I am"));
            assert_eq!(bench.server_hear(listener), Message::from(round));
            bench.link_until(link, |event| (*event == Event::Acknowledged { through: ticket }).then_some(()));
            bench.listener(listener).disconnect(&device, Goodbye::new(Reason::Busy, "come again"));
            bench.down(link);
        }
    }
}

#[test]
fn a_device_moves_from_one_port_to_another_that_speaks_websocket() {
    let mut bench = Bench::new();
    let config = server().port(Port::new(foreign())).build().unwrap();
    let listener = ListenerBuilder::new(config).bind_each(bench.driver(), [address_of_ours(); 2]).unwrap();
    let [beat, websocket] = *bench.listener(listener).local_addrs() else { panic!("not two") };
    assert_eq!(bench.listener(listener).local_addr(), Some(beat));
    let first = bench.open(beat, client("a"));
    bench.up(first);
    assert_eq!(bench.online(listener), device("a"));
    let second = bench.open(websocket, client("a").wire(native()));
    bench.up(second);
    bench.server_until(listener, |event| match event {
        ServerEvent::Replaced { device, .. } => (device.as_str() == "a").then_some(()),
        ServerEvent::Offline { report, .. } => panic!("it was never gone: {report}"),
        _ => None,
    });
    bench.listener(listener).send(&device("a"), "here").unwrap();
    assert_eq!(bench.hear(second), Message::from("here"));
    // Each port speaks its own protocol only.
    let lost = bench.open(beat, client("b").wire(native()));
    bench.down(lost);
    bench.listener(listener).abort();
    assert!(bench.listener(listener).is_over());
    for address in [beat, websocket] {
        let refused = std::net::TcpStream::connect(address).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn every_port_needs_an_address_and_every_address_a_port() {
    let mut bench = Bench::new();
    let config = server().port(Port::new(foreign())).build().unwrap();
    let error = bench.driver().listen("127.0.0.1:0", config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("2 ports and 1 addresses"), "{error}");
    let mut builder = ListenerBuilder::new(server().build().unwrap());
    let error = builder.bind_each(bench.driver(), ["127.0.0.1:0"; 3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_plain_server_is_not_dead_while_a_message_of_ten_reply_timeouts_passes() {
    let mut bench = Bench::new();
    let (sink, source) = (Plain::start(RATE), Plain::start(RATE));
    let mut open = |peer: &Plain| {
        let wire = WebSocketConfig::builder().message_limit(LARGE).build().unwrap();
        let limits = || QueueLimits::new(10, 2 * LARGE).unwrap();
        let config = client("a").wire(wire).outbox(limits()).inbox(limits()).liveness(beats(2000, 2000));
        bench.open(peer.address, config)
    };
    let (to_it, from_it) = (open(&sink), open(&source));
    bench.link(to_it).send(vec![7; LARGE]).unwrap();
    bench.link(from_it).send(format!("send {LARGE}")).unwrap();
    let (mut arrived, mut came) = (false, false);
    while !arrived || !came {
        // Beats wake it, so this is no wait for what does not come.
        bench.until(|event| {
            match event {
                DriverEvent::Link(_, Event::Down { report, .. }) => panic!("{report}"),
                DriverEvent::Link(id, Event::Acknowledged { .. }) => arrived |= *id == to_it,
                DriverEvent::Link(id, Event::Message(message)) => came |= *id == from_it && message.len() == LARGE,
                _ => {}
            }
            Some(())
        });
    }
    assert_eq!(sink.heard.recv_timeout(GUARD).unwrap().len(), LARGE);
}
