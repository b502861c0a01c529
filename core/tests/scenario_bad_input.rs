//! A peer that does not speak the protocol, or speaks it wrongly, is sent away with a reason that both sides can print.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{Acceptor, Dialer, SECOND, client, data, encoded, hello, message, server, welcome};
use keepbeat_core::client::{Event, LinkState};
use keepbeat_core::entropy::{Entropy, Prng};
use keepbeat_core::reconnect::GiveUpCause;
use keepbeat_core::server::ServerEvent;
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Frame, Goodbye, Reason, Welcome, Wire};
use keepbeat_core::{DownCause, Failure};
use proptest::collection::vec;
use proptest::prelude::*;

const MESSAGE_LIMIT: usize = 3000;

fn strangers() -> Vec<Vec<u8>> {
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8a\x1f";
    let mut random = vec![0; 5000];
    Prng::new(4).fill(&mut random);
    vec![
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        tls.to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_vec(),
        vec![0; 64],
        vec![0xFF; 64],
        random,
        b"\n".to_vec(),
        // The right types with wrong contents.
        b"\x01\xff\xff\xff\x7f".to_vec(),
        b"\x01\x05HELLO".to_vec(),
        b"\x02\x05KPBT\x00".to_vec(),
        b"\x01\x80\x00".to_vec(),
    ]
}

#[test]
fn a_server_answers_strangers_with_a_reason_and_closes() {
    for bytes in strangers() {
        let mut rig = Acceptor::new(server());
        let id = rig.dial();
        rig.say_bytes(id, &bytes);
        let heard = rig.heard(id);
        let [Frame::Goodbye(goodbye)] = &heard[..] else { panic!("{heard:?} to {bytes:?}") };
        assert!(matches!(goodbye.reason, Reason::Malformed | Reason::TooLarge), "{goodbye}");
        assert!(!goodbye.detail.is_empty());
        let news = rig.news();
        let [ServerEvent::Rejected { cause: DownCause::Protocol(error), device: None, .. }] = &news[..] else {
            panic!("{news:?}");
        };
        assert!(!error.to_string().is_empty());
        rig.say_bytes(id, &encoded(&Frame::Hello(Box::new(hello("d")))));
        rig.advance_to(999);
        assert!(!rig.is_closed(id), "the goodbye needs time to arrive");
        rig.advance_to(1000);
        assert!(rig.is_closed(id));
        assert_eq!((rig.news(), rig.server.connections(), rig.server.poll_timeout()), (vec![], 0, None));
    }
}

#[test]
fn a_client_that_reached_something_else_says_so_and_backs_off() {
    for bytes in strangers() {
        if bytes[0] == 0x01 {
            continue;
        }
        let mut rig = Dialer::new(client());
        rig.client.open(rig.now);
        rig.turn();
        rig.heard();
        rig.say_bytes(&bytes);
        let heard = rig.heard();
        let [(_, Frame::Goodbye(goodbye))] = &heard[..] else { panic!("{heard:?} to {bytes:?}") };
        assert!(matches!(goodbye.reason, Reason::Malformed | Reason::TooLarge) && !goodbye.detail.is_empty());
        assert_eq!(rig.due(), (1000, Why::Close));
        rig.advance_to(1000);
        let (_, report, retry_at) = rig.downs().remove(0);
        assert!(matches!(report.cause, DownCause::Protocol(_)), "{report}");
        assert!(report.to_string().starts_with("the peer broke the protocol: "), "{report}");
        assert!(retry_at.is_some_and(|at| at > rig.now));
    }
}

#[test]
fn a_frame_that_only_begins_ends_with_the_handshake_deadline() {
    let mut rig = Acceptor::new(server().handshake_timeout(5 * SECOND));
    let id = rig.dial();
    for (second, byte) in encoded(&Frame::Hello(Box::new(hello("d"))))[..5].iter().enumerate() {
        rig.advance_to(second as u64 * 1000);
        rig.say_bytes(id, &[*byte]);
    }
    rig.advance_to(4999);
    assert_eq!(rig.heard(id), []);
    rig.advance_to(5000);
    let heard = rig.heard(id);
    assert!(matches!(&heard[..], [Frame::Goodbye(goodbye)] if goodbye.reason == Reason::TimedOut), "{heard:?}");
    let news = rig.news();
    assert!(matches!(&news[..], [ServerEvent::Rejected { cause: DownCause::HandshakeTimeout, .. }]), "{news:?}");
}

#[test]
fn frames_at_the_wrong_time_are_named() {
    let hello_frame = Frame::Hello(Box::new(hello("d")));
    let goodbye = Box::new(Goodbye::new(Reason::Closed, ""));
    for wrong in [hello_frame.clone(), Frame::Welcome(Box::new(welcome())), Frame::Refuse(goodbye.clone())] {
        let mut rig = Acceptor::new(server());
        let (id, _) = rig.welcomed(&hello("d"));
        rig.say(id, &wrong);
        let farewell = rig.farewell(id).unwrap();
        assert!(farewell.reason == Reason::Malformed && farewell.detail.contains(wrong.name()), "{farewell}");

        let mut rig = Dialer::up(client());
        rig.say(&wrong);
        let heard = rig.heard();
        assert!(matches!(&heard[..], [.., (_, Frame::Goodbye(g))] if g.detail.contains(wrong.name())), "{heard:?}");
    }
    // Nothing but a goodbye may follow a hello that was not answered.
    let mut rig = Acceptor::new(server().authenticate());
    let id = rig.dial();
    rig.say_bytes(id, &[encoded(&hello_frame), encoded(&hello_frame)].concat());
    assert_eq!(rig.farewell(id).unwrap().reason, Reason::Malformed);
    assert_eq!((rig.saw("authenticate"), rig.saw("rejected")), (0, 1), "nobody is asked about such a device");
}

#[test]
fn a_client_that_leaves_before_it_was_let_in_gets_no_lecture() {
    for authenticate in [false, true] {
        let mut rig = Acceptor::new(if authenticate { server().authenticate() } else { server() });
        let id = rig.dial();
        let mut bytes = encoded(&Frame::Goodbye(Box::new(Goodbye::new(Reason::GoingAway, "changed my mind"))));
        if authenticate {
            bytes = [encoded(&Frame::Hello(Box::new(hello("d")))), bytes].concat();
        }
        rig.say_bytes(id, &bytes);
        assert_eq!((rig.heard(id), rig.is_closed(id)), (vec![], true));
        let news = rig.news();
        assert!(
            matches!(news.last(), Some(ServerEvent::Rejected { cause: DownCause::Goodbye(goodbye), .. })
                if goodbye.detail == "changed my mind"),
            "{news:?}"
        );
    }
}

#[test]
fn a_server_that_speaks_only_a_later_version_is_told_and_left() {
    let mut rig = Dialer::new(client());
    rig.client.open(rig.now);
    rig.turn();
    rig.heard();
    rig.welcome(Welcome { version: 2, ..welcome() });
    let heard = rig.heard();
    assert!(matches!(&heard[..], [(_, Frame::Goodbye(g))] if g.reason == Reason::UnsupportedVersion), "{heard:?}");
    rig.cut(Failure::Eof);
    let given_up = LinkState::GaveUp(GiveUpCause::Fatal);
    assert_eq!((rig.saw("down"), rig.saw("gave up"), rig.client.state()), (1, 1, given_up));
}

#[test]
fn numbers_that_contradict_ours_end_the_connection() {
    let connected = || {
        let mut rig = Dialer::up(client());
        rig.client.send(rig.now, message("one")).unwrap();
        rig.turn();
        rig.heard();
        rig
    };
    for wrong in [Frame::Ack { seq: 2 }, data(2, "gap"), Frame::Ack { seq: u64::MAX }, data(u64::MAX, "far")] {
        let mut rig = connected();
        rig.say(&wrong);
        let heard = rig.heard();
        let [(_, Frame::Goodbye(goodbye))] = &heard[..] else { panic!("{heard:?}") };
        assert!(goodbye.reason == Reason::Malformed && goodbye.detail.contains("with number"), "{goodbye}");
        assert_eq!((rig.saw("message"), rig.client.unacknowledged()), (0, 1));
    }
    let mut rig = connected();
    rig.say(&Frame::Ack { seq: 1 });
    rig.say(&Frame::Ack { seq: 0 });
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false }, "an old number is no contradiction");
}

// Valid sessions, damaged.

#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    use prop::sample::Index;
    let one = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Insert(at, value)),
        2 => any::<Index>().prop_map(Damage::Remove),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ];
    vec(one, 0..4)
}

fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match one {
            Damage::Set(at, value) => bytes[at.index(length)] = *value,
            Damage::Insert(at, value) => bytes.insert(at.index(length), *value),
            Damage::Remove(at) => _ = bytes.remove(at.index(length)),
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let copy = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend_from_slice(&copy);
            }
            Damage::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

fn talk(large: usize) -> Vec<u8> {
    let large = Frame::Data { seq: 3, message: vec![7; large].into() };
    let frames =
        [Frame::Beat { seq: 1 }, data(1, "one"), data(2, "two"), Frame::Ack { seq: 0 }, large, Frame::Beat { seq: 2 }];
    frames.iter().flat_map(encoded).collect()
}

fn limits() -> BeatConfig {
    BeatConfig::builder().hello_limit(1024).message_limit(MESSAGE_LIMIT).build().unwrap()
}

/// The same framing beside the machine, to see what it reserves.
struct Gauge(Beat, bool);

impl Gauge {
    fn new() -> Self {
        Self(Beat::new(&limits()), false)
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(frame)) = self.0.decode(&mut bytes) {
            if matches!(frame, Frame::Hello(_) | Frame::Welcome(_)) {
                self.1 = true;
                self.0.established();
            }
        }
        let limit = if self.1 { MESSAGE_LIMIT + 10 } else { 1024 };
        assert!(self.0.reserved() <= limit, "{} bytes reserved", self.0.reserved());
    }
}

fn pieces<'a>(mut bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let (piece, rest) = bytes.split_at((*sizes.next()?).min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_server_survives_every_damaged_session(
        damage in damage(), sizes in vec(1_usize..400, 1..5), large in 0..2 * MESSAGE_LIMIT,
    ) {
        let hello = encoded(&Frame::Hello(Box::new(hello("d"))));
        let session = damaged([&hello[..], &talk(large)].concat(), &damage);
        let mut rig = Acceptor::new(server().wire(limits()));
        let (id, mut gauge) = (rig.dial(), Gauge::new());
        // Who speaks on before the welcome is refused, so the rest comes later.
        let (first, rest) = session.split_at(hello.len().min(session.len()));
        for piece in pieces(first, &sizes).chain(pieces(rest, &sizes)) {
            gauge.feed(piece);
            rig.say_bytes(id, piece);
        }
        let ended = |rig: &Acceptor| rig.events.iter().find_map(|(_, event)| match event {
            ServerEvent::Rejected { cause, .. } => Some(cause.clone()),
            ServerEvent::Offline { report, .. } => Some(report.cause.clone()),
            _ => None,
        });
        let farewell = rig.farewell(id);
        match ended(&rig) {
            Some(DownCause::Goodbye(_)) => prop_assert!(rig.is_closed(id)),
            Some(cause) => {
                prop_assert!(!cause.to_string().is_empty());
                let farewell = farewell.expect("it is told why");
                prop_assert!(farewell.reason != Reason::Closed && !farewell.detail.is_empty());
            }
            None => rig.hang_up(id, Failure::Eof),
        }
        rig.advance(1000);
        prop_assert!(rig.is_closed(id));
        prop_assert_eq!(rig.saw("rejected") + rig.saw("offline"), 1, "one end");
        prop_assert_eq!(rig.server.connections(), 0);
    }

    #[test]
    fn a_client_survives_every_damaged_session(
        damage in damage(), sizes in vec(1_usize..400, 1..5), large in 0..2 * MESSAGE_LIMIT,
    ) {
        let session = [encoded(&Frame::Welcome(Box::new(welcome()))), talk(large)].concat();
        let mut rig = Dialer::new(client().wire(limits()));
        rig.client.open(rig.now);
        rig.client.send(rig.now, message("up")).unwrap();
        rig.turn();
        let mut gauge = Gauge::new();
        for piece in pieces(&damaged(session, &damage), &sizes) {
            gauge.feed(piece);
            if rig.open.is_some() {
                rig.say_bytes(piece);
            }
        }
        match rig.client.state() {
            LinkState::Closing => {
                let heard = rig.heard();
                let Some((_, Frame::Goodbye(goodbye))) = heard.last() else { panic!("{heard:?}") };
                prop_assert!(goodbye.reason != Reason::Closed && !goodbye.detail.is_empty() || goodbye.reason == Reason::UnsupportedVersion);
                rig.advance(1000);
            }
            LinkState::Up { .. } | LinkState::Connecting { .. } => rig.cut(Failure::Eof),
            _ => {}
        }
        prop_assert_eq!((rig.open, rig.saw("down")), (None, 1), "one end");
        let down = rig.events.iter().find_map(|(_, event)| match event {
            Event::Down { report, .. } => Some(report.to_string()),
            _ => None,
        });
        prop_assert!(!down.unwrap().is_empty());
        prop_assert!(rig.client.unacknowledged() <= 1);
    }
}

#[test]
fn a_peer_that_talks_and_never_listens_does_not_fill_our_memory() {
    let mut rig = Dialer::up(client());
    rig.room = 0;
    rig.say(&data(1, "m"));
    // Duplicates ask for an acknowledgement each, and beats for an echo.
    for round in 0..50_000_u32 {
        if round % 5000 == 0 {
            rig.advance(400);
            rig.say(&Frame::Beat { seq: round });
        }
        rig.say(&data(1, "m"));
    }
    rig.room = 1_000_000;
    rig.turn();
    let taken = 1_000_000 - rig.room;
    assert!(taken < 70_000, "{taken} bytes waited");
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false });
    let heard = rig.heard();
    assert!(matches!(heard.last(), Some((_, Frame::Ack { seq: 1 } | Frame::Echo { .. }))), "and nothing is forgotten");
}

#[test]
fn a_server_cannot_make_us_beat_madly_or_never() {
    // The wish is 10 s; a tenth of it is the least that is granted, a day the most.
    for (granted, interval) in [(0, 1000), (999, 1000), (1001, 1001), (90_000_000, 86_400_000), (u32::MAX, 86_400_000)]
    {
        let mut rig = Dialer::new(client());
        rig.client.open(rig.now);
        rig.turn();
        rig.welcome(Welcome { interval_ms: granted, reply_timeout_ms: u32::MAX, ..welcome() });
        let up = rig.events.iter().find_map(|(_, event)| match event {
            Event::Up { interval, .. } => Some(interval.as_millis()),
            _ => None,
        });
        assert_eq!(up, Some(interval), "granted {granted}");
    }
}
