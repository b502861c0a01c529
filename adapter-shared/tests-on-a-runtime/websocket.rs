//! WebSocket: with a listener of ours, with the native protocol inside and without, and with a server that is no keepbeat.

use std::io::ErrorKind;
use std::time::Duration;

use futures_lite::future;

use crate::plain::Plain;
use crate::runtime::adapter::core::session::QueueLimits;
use crate::runtime::adapter::core::wire::websocket::SUBPROTOCOL;
use crate::runtime::adapter::core::wire::{Goodbye, Reason};
use crate::runtime::adapter::{
    DeviceId, Event, Link, Listener, Message, Port, SendError, ServerEvent, WebSocketConfig,
};
use crate::runtime::{block_on, unblock};
use crate::support::*;

/// At 1 MB per second, ten reply timeouts of 2 s: with shorter ones, a busy machine is judged.
const LARGE: usize = 20_000_000;
const RATE: usize = 1_000_000;

fn native() -> WebSocketConfig {
    WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build().unwrap()
}

fn foreign() -> WebSocketConfig {
    WebSocketConfig::builder().build().unwrap()
}

/// The next message of the link.
async fn hear(link: &Link) -> Message {
    until(link, |event| if let Event::Message(message) = event { Some(message) } else { None }).await
}

/// The next message of any device.
async fn server_hear(listener: &Listener) -> Message {
    server_until(listener, |event| if let ServerEvent::Message { message, .. } = event { Some(message) } else { None })
        .await
}

async fn online(listener: &Listener) -> DeviceId {
    server_until(listener, |event| if let ServerEvent::Online { device, .. } = event { Some(device) } else { None })
        .await
}

/// Whether the session goes on.
async fn resumed(link: &Link) -> bool {
    until(link, |event| if let Event::Up { resumed, .. } = event { Some(resumed) } else { None }).await
}

#[test]
fn texts_and_binary_messages_go_both_ways_with_the_native_protocol_and_without() {
    block_on(async {
        for (wire, named) in [(native(), true), (foreign(), false)] {
            let listener = listen(server().wire(foreign())).await;
            let link = link(&listener, client("a").wire(wire));
            up(&link).await;
            let device = online(&listener).await;
            assert_eq!((device.as_str() == "a", device.as_str().starts_with("ws-")), (named, !named));
            for message in [Message::from("beat ❤"), Message::from(vec![0xFF; 100_000]), Message::from("")] {
                within(link.send(message.clone())).await.unwrap();
                assert_eq!(server_hear(&listener).await, message);
                within(listener.send(&device, message.clone())).await.unwrap();
                assert_eq!(hear(&link).await, message);
            }
            assert_eq!(within(link.drain(GUARD)).await, 0);
        }
    });
}

#[test]
fn a_session_goes_on_after_a_cut_with_the_native_protocol_and_begins_anew_without() {
    block_on(async {
        for (wire, goes_on) in [(native(), true), (foreign(), false)] {
            let listener = listen(server().wire(foreign())).await;
            let link = link(&listener, client("a").wire(wire));
            up(&link).await;
            let device = online(&listener).await;
            // A session is there to go on when both know of it.
            link.send("before").await.unwrap();
            assert_eq!(server_hear(&listener).await, Message::from("before"));
            listener.disconnect(&device, Goodbye::new(Reason::Busy, "come again"));
            until(&link, |event| matches!(event, Event::Down { was_up: true, .. }).then_some(())).await;
            link.send("while it was down").await.unwrap();
            assert_eq!(resumed(&link).await, goes_on);
            link.send("and after").await.unwrap();
            assert_eq!(server_hear(&listener).await, Message::from("while it was down"));
            assert_eq!(server_hear(&listener).await, Message::from("and after"));
        }
    });
}

#[test]
fn a_greeting_goes_before_what_waits_on_each_connection() {
    block_on(async {
        for wire in [native(), foreign()] {
            let listener = listen(server().wire(foreign())).await;
            let link = link(&listener, client("a").wire(wire).greeting());
            let early = Link::open("127.0.0.1:9", client("b").greeting().build().unwrap());
            assert!(matches!(early.greet("too early"), Err(SendError::Closed { .. })));
            for round in ["first", "second"] {
                let ticket = link.send(round).await.unwrap();
                up(&link).await;
                let device = online_again(&listener).await;
                link.greet("who I am").unwrap();
                link.greet("what I want").unwrap();
                link.greeted();
                assert!(matches!(link.greet("too late"), Err(SendError::Closed { .. })));
                for expected in ["who I am", "what I want", round] {
                    assert_eq!(server_hear(&listener).await, Message::from(expected));
                }
                until(&link, |event| (event == Event::Acknowledged { through: ticket }).then_some(())).await;
                listener.disconnect(&device, Goodbye::new(Reason::Busy, "come again"));
                until(&link, |event| matches!(event, Event::Down { .. }).then_some(())).await;
            }
        }
    });
}

/// The device that is here now, for the first time or again.
async fn online_again(listener: &Listener) -> DeviceId {
    server_until(listener, |event| match event {
        ServerEvent::Online { device, .. } | ServerEvent::Returned { device, .. } => Some(device),
        _ => None,
    })
    .await
}

#[test]
fn a_device_moves_from_one_port_to_another_that_speaks_websocket() {
    block_on(async {
        let config = server().port(Port::new(foreign())).build().unwrap();
        let listener = Listener::builder(config).bind_each([address_of_ours(); 2]).await.unwrap();
        let [beat, websocket] = *listener.local_addrs() else { panic!("{:?}", listener.local_addrs()) };
        assert_eq!(listener.local_addr(), beat);
        let first = Link::open(beat.to_string(), client("a").build().unwrap());
        up(&first).await;
        assert_eq!(online(&listener).await, device("a"));
        let second = Link::open(websocket.to_string(), client("a").wire(native()).build().unwrap());
        up(&second).await;
        server_until(&listener, |event| match event {
            ServerEvent::Replaced { device, .. } => (device.as_str() == "a").then_some(()),
            ServerEvent::Offline { report, .. } => panic!("it was never gone: {report}"),
            _ => None,
        })
        .await;
        listener.send(&device("a"), "here").await.unwrap();
        assert_eq!(hear(&second).await, Message::from("here"));
        second.send("there").await.unwrap();
        assert_eq!(server_hear(&listener).await, Message::from("there"));
        // Each port speaks its own protocol only.
        let lost = Link::open(beat.to_string(), client("b").wire(native()).build().unwrap());
        until(&lost, |event| matches!(event, Event::Down { was_up: false, .. }).then_some(())).await;
        within(listener.drain(Duration::ZERO, Duration::ZERO)).await;
        for address in [beat, websocket] {
            let refused = std::net::TcpStream::connect(address).map(drop).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn every_port_needs_an_address_and_every_address_a_port() {
    block_on(async {
        let config = server().port(Port::new(foreign())).build().unwrap();
        let error = Listener::bind("127.0.0.1:0", config).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("2 ports and 1 addresses"), "{error}");
        let error = Listener::builder(server().build().unwrap()).bind_each(["127.0.0.1:0"; 3]).await.map(drop);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
        let mut none = Listener::builder(server().build().unwrap());
        assert_eq!(none.bind_each::<&str>([]).await.map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_server_that_only_answers_pings_acknowledges_by_them() {
    block_on(async {
        let peer = Plain::start(0);
        let config = client("a").wire(foreign()).liveness(beats(50, 50));
        let link = Link::open(peer.address.to_string(), config.build().unwrap());
        up(&link).await;
        let ticket = link.send("hello").await.unwrap();
        until(&link, |event| (event == Event::Acknowledged { through: ticket }).then_some(())).await;
        until(&link, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
        let heard = unblock(move || peer.heard.recv_timeout(GUARD).unwrap()).await;
        assert_eq!(heard, Message::from("hello"));
        assert!(link.evidence().unwrap().beats_answered > 0);
    });
}

#[test]
fn a_plain_server_is_not_dead_while_a_message_of_ten_reply_timeouts_passes() {
    block_on(async {
        let limits = || QueueLimits::new(10, 2 * LARGE).unwrap();
        let open = |peer: &Plain| {
            let wire = WebSocketConfig::builder().message_limit(LARGE).build().unwrap();
            let config = client("a").wire(wire).outbox(limits()).inbox(limits()).liveness(beats(2000, 2000));
            Link::open(peer.address.to_string(), config.build().unwrap())
        };
        let to_it = async {
            let peer = Plain::start(RATE);
            let link = open(&peer);
            up(&link).await;
            link.send(vec![7; LARGE]).await.unwrap();
            until_slowly(&link, |event| matches!(event, Event::Acknowledged { .. }).then_some(())).await;
            assert_eq!(unblock(move || peer.heard.recv_timeout(GUARD).unwrap()).await.len(), LARGE);
        };
        let from_it = async {
            let peer = Plain::start(RATE);
            let link = open(&peer);
            up(&link).await;
            link.send(format!("send {LARGE}")).await.unwrap();
            let message = |event| if let Event::Message(message) = event { Some(message) } else { None };
            assert_eq!(until_slowly(&link, message).await.len(), LARGE);
        };
        within_limit(Duration::from_secs(80), future::zip(to_it, from_it)).await;
    });
}

/// The first event for which `pick` gives something, before which the link was never down.
async fn until_slowly<T>(link: &Link, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let event = link.next_event().await.expect("the link is over");
        if let Event::Down { report, .. } = &event {
            panic!("{report}");
        }
        if let Some(picked) = pick(event) {
            return picked;
        }
    }
}
