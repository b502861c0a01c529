//! Links over TLS, both ends ours, in virtual time: the same promises as without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::foreign::Foreign;
use common::pki::{ADDRESS, Authority};
use common::tls::{configs, link, up};
use common::{Acceptor, Dialer, Link, Raw, SECOND, client, device, encoded, large, message, server};
use keepbeat_core::DownCause;
use keepbeat_core::client::{Event, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::server::{Admission, ServerEvent};
use keepbeat_core::session::{Message, QueueLimits};
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::tunnel::tls::TlsVersion;
use keepbeat_core::wire::{Frame, Goodbye, Reason};

const MB: usize = 1 << 20;

// What works.

#[test]
fn messages_pass_both_ways_whole_and_in_order_however_the_bytes_are_cut() {
    for grain in [1, 7, 1000, usize::MAX] {
        let mut link = link();
        link.grain = grain;
        let mut link = up(link);
        for number in 0..20 {
            link.client.send(link.now, Message::from(format!("up {number}"))).unwrap();
            link.server.send(link.now, &device("d"), Message::from(format!("down {number}"))).unwrap();
        }
        link.turn();
        assert_eq!(link.server_arrived(), (0..20).map(|number| format!("up {number}")).collect::<Vec<_>>());
        assert_eq!(link.arrived(), (0..20).map(|number| format!("down {number}")).collect::<Vec<_>>());
        assert_eq!((link.client.unacknowledged(), link.server.unacknowledged(&device("d"))), (0, 0));
        let info = link.client.tls().unwrap();
        assert_eq!((info.version, info.resumed), (TlsVersion::V1_3, false));
        assert!(info.peer_certificate.is_some());
    }
}

#[test]
fn messages_of_a_megabyte_pass_both_ways() {
    let room = QueueLimits::new(10, 8 * MB).unwrap();
    let (client, server) = configs();
    let client = client.wire(large(2 * MB)).inbox(room.clone()).outbox(room.clone());
    let mut link = up(Link::to(ADDRESS, client, server.wire(large(2 * MB)).inbox(room.clone()).outbox(room)));
    link.grain = 60_000;
    let message = Message::binary((0..MB).map(|index| ((index * 31) >> 7) as u8).collect::<Vec<_>>());
    link.client.send(link.now, message.clone()).unwrap();
    link.server.send(link.now, &device("d"), message.clone()).unwrap();
    link.turn();
    assert!(link.events.iter().any(|(_, event)| *event == Event::Message(message.clone())));
    let heard = ServerEvent::Message { device: device("d"), message };
    assert!(link.server_events.iter().any(|(_, event)| *event == heard));
    assert_eq!((link.client.unacknowledged(), link.server.unacknowledged(&device("d"))), (0, 0));
}

#[test]
fn beats_and_verdicts_come_at_the_very_moments_at_which_they_come_without_tls() {
    let mut traces = Vec::new();
    for mut link in [Link::to(ADDRESS, client(), server()), link()] {
        link.client.open(link.now);
        link.advance(65_000);
        let beats = link.client.evidence(link.now).unwrap();
        assert!(beats.beats_sent >= 5 && beats.beats_sent == beats.beats_answered, "{beats}");
        link.up.black_hole();
        link.down.black_hole();
        let from = link.now.as_millis();
        link.advance(60_000);
        let (at, report) = link.downs().swap_remove(0);
        assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
        let bound = client().build().unwrap().worst_case_detection();
        assert!(u128::from(at - from) <= bound.as_millis(), "noticed after {} ms", at - from);
        let trace = link.events.iter().map(|(at, event)| (*at, common::name(event))).collect::<Vec<_>>();
        let offline = link.server_events.iter().map(|(at, event)| (*at, common::server_name(event)));
        traces.push((trace, offline.collect::<Vec<_>>()));
    }
    assert_eq!(traces[0], traces[1]);
}

#[test]
fn after_a_cut_both_sessions_are_resumed_and_nothing_is_lost() {
    let mut link = up(link());
    for round in 0..3 {
        (link.up.capacity, link.down.capacity) = (10, 10);
        link.client.send(link.now, message("up")).unwrap();
        link.server.send(link.now, &device("d"), message("down")).unwrap();
        link.turn();
        link.cut();
        link.advance(120_000);
        assert_eq!((link.server_arrived().len(), link.arrived().len()), (round + 1, round + 1));
        let ups = link.events.iter().filter(|(_, event)| matches!(event, Event::Up { resumed: true, .. })).count();
        assert_eq!(ups, round + 1, "{:?}", link.events);
        let info = link.client.tls().unwrap();
        assert!(info.resumed && info.peer_certificate.is_some(), "{info:?}");
    }
}

#[test]
fn a_goodbye_arrives_as_one() {
    let mut link = up(link());
    link.client.close(link.now);
    link.turn();
    assert_eq!(link.client.state(), LinkState::Closed);
    let offline = link.server_events.iter().find_map(|(_, event)| match event {
        ServerEvent::Offline { report, .. } => Some(report.cause.clone()),
        _ => None,
    });
    assert!(matches!(offline, Some(DownCause::Goodbye(Goodbye { reason: Reason::Closed, .. }))), "{offline:?}");
    assert_eq!(link.server.connections(), 0);
}

#[test]
fn the_server_sees_the_certificate_that_a_client_owns_also_when_its_session_is_resumed() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity("pump-7");
    let tls = authority.client().certificate_pem(identity.certificate.as_bytes(), identity.key.as_bytes());
    let server = server().tls(authority.server().client_roots_pem(authority.certificate.as_bytes()).build().unwrap());
    let mut link = Link::to(ADDRESS, client().tls(tls.build().unwrap()), server.authenticate());
    link.client.open(link.now);
    for round in 0..2 {
        link.turn();
        let asked = link.server_events.drain(..).find_map(|(_, event)| match event {
            ServerEvent::Authenticate { connection, certificate, .. } => Some((connection, certificate)),
            _ => None,
        });
        let (connection, certificate) = asked.unwrap();
        assert!(identity.is(&certificate.unwrap()), "round {round}");
        link.server.answer(link.now, connection, Admission::Accept);
        link.turn();
        assert_eq!(link.client.tls().unwrap().resumed, round == 1);
        link.cut();
        link.client.retry_now(link.now);
    }
}

#[test]
fn a_scope_in_the_address_is_no_part_of_what_the_certificate_is_for() {
    let authority = Authority::new("Test CA");
    let server = server().tls(authority.identity("fe80::1").server().build().unwrap());
    up(Link::to("[fe80::1%eth0]:7411", client().tls(authority.client().build().unwrap()), server));
}

#[test]
fn a_tunnel_through_a_proxy_comes_first_and_tls_runs_in_it() {
    let http = vec![(
        b"CONNECT gate.example:7411 HTTP/1.1\r\nHost: gate.example:7411\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec(),
    )];
    let socks = vec![
        (vec![5, 1, 0], vec![5, 0]),
        ([&[5, 1, 0, 3, 12], &b"gate.example"[..], &[0x1C, 0xF3]].concat(), vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ];
    for (url, talk) in [("http://proxy.example:3128", http), ("socks5://proxy.example:1080", socks)] {
        for grain in [1, 13, usize::MAX] {
            let (client, server) = configs();
            let mut link = Link::to(ADDRESS, client.proxy(url.parse().unwrap()), server);
            (link.proxy, link.grain) = (talk.clone(), grain);
            let mut link = up(link);
            link.client.send(link.now, message("up")).unwrap();
            link.server.send(link.now, &device("d"), message("down")).unwrap();
            link.turn();
            assert_eq!((link.server_arrived(), link.arrived()), (vec!["up".to_string()], vec!["down".to_string()]));
            link.cut();
            link.advance(60_000);
            assert!(link.client.tls().unwrap().resumed, "{url}");
        }
    }
}

// Time.

#[test]
fn a_handshake_that_hangs_ends_at_the_handshake_timeout_on_both_sides() {
    let (client, server) = configs();
    let mut raw = Raw::open(client, Some(ADDRESS));
    assert!(raw.said.starts_with(&[0x16, 3, 1]), "a hello of TLS");
    assert_eq!(raw.wake(Why::Handshake), 10_000);
    let downs = raw.downs();
    assert!(matches!(downs[..], [(10_000, DownCause::TlsTimeout, Some(_))]), "{downs:?}");

    let mut acceptor = Acceptor::new(server);
    let id = acceptor.dial();
    acceptor.advance_to(9999);
    assert!(!acceptor.is_closed(id));
    acceptor.advance_to(10_000);
    assert!(acceptor.is_closed(id));
    assert!(matches!(acceptor.news()[..], [ServerEvent::Rejected { cause: DownCause::TlsTimeout, .. }]));
}

#[test]
fn a_trickle_of_handshake_bytes_does_not_move_the_timeout() {
    let (client, _) = configs();
    let mut raw = Raw::open(client, Some(ADDRESS));
    // The head of a record of 16 KiB that never gets whole.
    raw.hear(&[0x16, 3, 3, 0x40, 0]);
    for _ in 0..9 {
        raw.advance(1000);
        raw.hear(&[2]);
    }
    assert_eq!(raw.wake(Why::Handshake), 10_000);
    assert_eq!(raw.downs()[0].1, DownCause::TlsTimeout);
}

#[test]
fn a_server_that_speaks_tls_and_does_not_greet_is_late_with_the_handshake_not_with_tls() {
    let mut foreign = Foreign::new();
    let mut raw = Raw::open(foreign.client(), Some(ADDRESS));
    foreign.carry(&mut raw);
    assert!(matches!(foreign.frames(&mut raw)[..], [Frame::Hello(_)]));
    assert_eq!(raw.wake(Why::Handshake), 10_000);
    assert_eq!(raw.downs()[0].1, DownCause::HandshakeTimeout);
}

#[test]
fn the_time_for_a_reply_runs_from_when_the_last_byte_of_a_beats_record_has_left() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    raw.room = 0;
    let due = raw.client.poll_timeout().unwrap();
    assert_eq!(due.cause, Why::Beat);
    raw.wake(Why::Beat);
    let waiting = raw.client.transmit().len();
    assert!(waiting > 20, "a beat in a record: {waiting} bytes");
    for _ in 1..waiting {
        raw.room = 1;
        raw.advance(100);
        assert_eq!(raw.client.poll_timeout().unwrap().cause, Why::WriteStall);
        assert_eq!(raw.client.evidence(raw.now).unwrap().beats_sent, 0);
    }
    raw.room = 1;
    raw.turn();
    let due = raw.client.poll_timeout().unwrap();
    assert_eq!((due.at, due.cause), (raw.now.after(4 * SECOND), Why::Reply));
    assert_eq!(raw.client.evidence(raw.now).unwrap().beats_sent, 1);
    assert!(matches!(foreign.frames(&mut raw)[..], [Frame::Beat { .. }]));
}

#[test]
fn writes_that_do_not_move_are_judged_as_without_tls() {
    let mut plain = Dialer::up(client());
    plain.room = 0;
    plain.client.send(plain.now, message("stuck")).unwrap();
    plain.turn();
    plain.advance(60_000);
    let (expected, report, _) = plain.downs().swap_remove(0);
    assert_eq!(report.cause, DownCause::Dead(DeathCause::WriteStalled));

    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    raw.room = 0;
    raw.client.send(raw.now, message("stuck")).unwrap();
    raw.turn();
    raw.advance(60_000);
    let (at, cause, _) = raw.downs().swap_remove(0);
    assert_eq!((at, cause), (expected, DownCause::Dead(DeathCause::WriteStalled)));
}

/// Records of up to 16 KiB are as long on their way as frames are, and nothing in them can be read before they are whole.
#[test]
fn a_record_that_is_long_under_way_is_acknowledged_like_a_long_frame() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    let record = foreign.seal(&encoded(&Frame::Data { seq: 1, message: vec![7; 16_000].into() }));
    foreign.frames(&mut raw);
    let mut acks = Vec::new();
    for piece in record.chunks(400) {
        raw.advance(400);
        raw.hear(piece);
        let frames = foreign.frames(&mut raw).into_iter();
        acks.extend(frames.filter(|frame| matches!(frame, Frame::Ack { .. })).map(|_| raw.now.as_millis()));
    }
    assert!(raw.now.as_millis() > 15_000);
    assert!(acks.len() > 10 && acks.windows(2).all(|pair| pair[1] - pair[0] <= 1200), "{acks:?}");
    assert_eq!((raw.saw("message"), raw.saw("suspect"), raw.saw("down")), (1, 0, 0), "{:?}", raw.events);
}

#[test]
fn a_record_that_takes_longer_than_a_frame_may_is_a_death() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    let record = foreign.seal(&encoded(&Frame::Data { seq: 1, message: vec![7; 1000].into() }));
    for piece in record.chunks(1).take(100) {
        raw.hear(piece);
        raw.advance(1000);
        if raw.saw("down") > 0 {
            break;
        }
    }
    assert_eq!(raw.downs()[0].1, DownCause::Dead(DeathCause::FrameTooSlow), "{:?}", raw.events);
    // `frame_time` is 60 s, and the goodbye has its own second.
    assert!(raw.downs()[0].0 <= 62_000, "{:?}", raw.downs());
}

#[test]
fn a_large_message_on_a_slow_path_kills_neither_side() {
    let room = QueueLimits::new(10, 8 * MB).unwrap();
    let (client, server) = configs();
    let patient = || common::liveness().frame_time(600 * SECOND).build().unwrap();
    let client = client.wire(large(2 * MB)).outbox(room.clone()).liveness(patient());
    let mut link = up(Link::to(ADDRESS, client, server.wire(large(2 * MB)).inbox(room).liveness(patient())));
    link.client.send(link.now, vec![7; MB].into()).unwrap();
    (link.up.capacity, link.up.flow) = (64_000, 0);
    // 5 KB/s: a record takes 3 s, and what the system holds 13 s.
    for _ in 0..220 {
        link.up.flow += 5000;
        link.advance(1000);
    }
    assert_eq!((link.saw("suspect"), link.saw("down")), (0, 0));
    assert_eq!((link.server_saw("suspect"), link.server_saw("offline"), link.server_saw("message")), (0, 0, 1));
}
