//! Links over TLS, both ends ours, in virtual time: the same promises as without, and clear words when it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use bytes::Bytes;
use common::pki::{ADDRESS, Authority, NAME};
use common::{Acceptor, Dialer, Link, Raw, SECOND, client, device, encoded, large, message, server};
use keepbeat_core::client::{ClientConfigBuilder, Event, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::reconnect::GiveUpCause;
use keepbeat_core::server::{Admission, ServerConfigBuilder, ServerEvent};
use keepbeat_core::session::QueueLimits;
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::tunnel::tls::{TlsError, TlsVersion};
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::{Frame, Goodbye, Reason};
use keepbeat_core::{DownCause, Failure};

const MB: usize = 1 << 20;

/// Both ends, with certificates of one authority.
fn configs() -> (ClientConfigBuilder<Beat>, ServerConfigBuilder<Beat>) {
    let authority = Authority::new("Test CA");
    (client().tls(authority.client().build().unwrap()), server().tls(authority.server().build().unwrap()))
}

fn link() -> Link {
    let (client, server) = configs();
    Link::to(ADDRESS, client, server)
}

fn up(mut link: Link) -> Link {
    link.client.open(link.now);
    link.turn();
    assert!(matches!(link.client.state(), LinkState::Up { .. }), "{:?}", link.events);
    link.forget();
    link
}

/// Why the client gave up, in words.
fn gave_up(link: &Link) -> (DownCause, String) {
    assert_eq!(link.client.state(), LinkState::GaveUp(GiveUpCause::Fatal), "{:?}", link.events);
    let (_, report) = link.downs().pop().unwrap();
    let words = report.to_string();
    (report.cause, words)
}

fn rejected(link: &Link) -> Vec<DownCause> {
    let causes = link.server_events.iter().filter_map(|(_, event)| match event {
        ServerEvent::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    causes.collect()
}

// What works.

#[test]
fn messages_pass_both_ways_whole_and_in_order_however_the_bytes_are_cut() {
    for grain in [1, 7, 1000, usize::MAX] {
        let mut link = link();
        link.grain = grain;
        let mut link = up(link);
        for number in 0..20 {
            link.client.send(link.now, Bytes::from(format!("up {number}"))).unwrap();
            link.server.send(link.now, &device("d"), Bytes::from(format!("down {number}"))).unwrap();
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
    let payload: Bytes = (0..MB).map(|index| ((index * 31) >> 7) as u8).collect();
    link.client.send(link.now, payload.clone()).unwrap();
    link.server.send(link.now, &device("d"), payload.clone()).unwrap();
    link.turn();
    assert!(link.events.iter().any(|(_, event)| *event == Event::Message(payload.clone())));
    let heard = ServerEvent::Message { device: device("d"), payload };
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
    let record = foreign.seal(&encoded(&Frame::Data { seq: 1, payload: vec![7; 16_000].into() }));
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
    let record = foreign.seal(&encoded(&Frame::Data { seq: 1, payload: vec![7; 1000].into() }));
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

// Certificates.

#[test]
fn a_server_certificate_that_is_not_accepted_is_fatal_and_named() {
    let (trusted, stranger) = (Authority::new("Our CA"), Authority::new("Other CA"));
    for (identity, words) in [
        (stranger.identity(NAME), ["CN=gate.example", "roots_pem"]),
        (trusted.identity("other.example"), ["CN=other.example", "not for gate.example"]),
        (trusted.expired(NAME), ["CN=gate.example", "expired"]),
    ] {
        let server = server().tls(identity.server().build().unwrap());
        let mut link = Link::to(ADDRESS, client().tls(trusted.client().build().unwrap()), server);
        link.client.open(link.now);
        link.turn();
        link.advance(5000);
        let (cause, said) = gave_up(&link);
        assert!(matches!(cause, DownCause::Tls(TlsError::Certificate { .. })), "{cause:?}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        // The server learns it too.
        let causes = rejected(&link);
        assert!(matches!(causes[..], [DownCause::Tls(TlsError::Refused { .. } | TlsError::Alert(_))]), "{causes:?}");
        assert_eq!((link.saw("connecting"), link.server.connections()), (1, 0));
    }
}

#[test]
fn a_client_certificate_that_is_not_accepted_is_fatal_for_the_client_and_reported_by_the_server() {
    let (trusted, stranger) = (Authority::new("Our CA"), Authority::new("Other CA"));
    let foreign = stranger.identity("pump-7");
    let none = trusted.client().build().unwrap();
    let wrong =
        trusted.client().certificate_pem(foreign.certificate.as_bytes(), foreign.key.as_bytes()).build().unwrap();
    for (tls, words, server_words) in [
        (none, "certificate_pem()", "it showed no certificate"),
        (wrong, "does not accept our certificate", "CN=pump-7"),
    ] {
        let roots = trusted.certificate.as_bytes();
        let server = server().tls(trusted.server().client_roots_pem(roots).build().unwrap());
        let mut link = Link::to(ADDRESS, client().tls(tls), server);
        link.client.open(link.now);
        link.turn();
        link.advance(5000);
        let (cause, said) = gave_up(&link);
        assert!(matches!(cause, DownCause::Tls(TlsError::Refused { .. })), "{cause:?}");
        assert!(said.contains(words), "{said}");
        let causes = rejected(&link);
        assert!(matches!(causes[..], [DownCause::Tls(TlsError::Certificate { .. })]), "{causes:?}");
        assert!(causes[0].to_string().contains(server_words), "{}", causes[0]);
        assert_eq!((link.saw("connecting"), link.server.connections()), (1, 0));
    }
}

// Who does not understand whom.

#[test]
fn a_client_without_tls_at_a_server_with_tls_and_the_reverse_say_so() {
    let (with_tls, server_with_tls) = configs();
    let mut link = Link::to(ADDRESS, client(), server_with_tls);
    link.client.open(link.now);
    link.turn();
    link.advance(2000);
    let words = link.downs()[0].1.to_string();
    assert!(words.contains("TLS"), "the client is told: {words}");
    assert_eq!(rejected(&link)[0], DownCause::Tls(TlsError::NotTls));

    let mut link = Link::to(ADDRESS, with_tls, server());
    link.client.open(link.now);
    link.turn();
    link.advance(2000);
    assert_eq!(link.downs()[0].1.cause, DownCause::Tls(TlsError::NotTls));
    let words = rejected(&link)[0].to_string();
    assert!(words.contains("TLS"), "the server is told: {words}");
}

#[test]
fn a_driver_that_does_not_name_the_server_is_told_so_and_no_attempt_follows() {
    let (client, _) = configs();
    let mut raw = Raw::open(client, None);
    raw.advance(60_000);
    assert_eq!(raw.downs(), [(0, DownCause::ServerUnnamed, None)]);
    assert_eq!((raw.connects, raw.open, raw.said.len()), (1, None, 0), "the socket is given back");
    assert_eq!(raw.client.state(), LinkState::GaveUp(GiveUpCause::Fatal));
    assert!(raw.downs()[0].1.to_string().contains("Client::to_server"));
}

#[test]
fn a_host_that_no_certificate_can_be_for_is_fatal() {
    let (client, _) = configs();
    let raw = Raw::open(client, Some("-.-:7411"));
    assert!(matches!(raw.downs()[..], [(0, DownCause::Tls(TlsError::BadName(_)), None)]), "{:?}", raw.downs());
}

// Ends.

#[test]
fn a_client_says_goodbye_and_then_close_notify() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    foreign.frames(&mut raw);
    raw.client.close(raw.now);
    raw.turn();
    assert!(matches!(foreign.frames(&mut raw)[..], [Frame::Goodbye(_)]));
    assert!(foreign.heard_the_end);
    // It waits for the other side to hang up.
    assert_eq!(raw.client.state(), LinkState::Closing);
    raw.hang_up();
    assert_eq!((raw.client.state(), raw.saw("closed")), (LinkState::Closed, 1));
}

#[test]
fn close_notify_is_an_end_even_if_the_socket_stays_open() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    foreign.tls.send_close_notify();
    foreign.carry(&mut raw);
    assert!(matches!(raw.downs()[..], [(0, DownCause::Network(Failure::Eof), Some(_))]), "{:?}", raw.downs());
    assert_eq!(raw.open, None);
}

#[test]
fn what_came_before_close_notify_in_the_same_read_counts() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    let mut bytes = foreign.seal(&encoded(&Frame::Data { seq: 1, payload: message("last words") }));
    foreign.tls.send_close_notify();
    bytes.extend(foreign.written());
    raw.hear(&bytes);
    let order = common::names(&raw.events);
    assert!(order.ends_with(&["message", "down"]), "{order:?}");
}

#[test]
fn an_end_in_the_middle_of_a_record_loses_the_record_and_nothing_more() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    let record = foreign.seal(&encoded(&Frame::Data { seq: 1, payload: message("half") }));
    raw.hear(&record[..record.len() - 1]);
    raw.hang_up();
    assert_eq!((raw.saw("message"), raw.saw("down")), (0, 1));
    assert_eq!(raw.downs()[0].1, DownCause::Network(Failure::Eof));

    let mut link = up(link());
    link.down.flow = 10;
    link.server.send(link.now, &device("d"), message("whole")).unwrap();
    link.turn();
    link.cut();
    link.advance(60_000);
    assert_eq!(link.arrived(), ["whole"]);
}

#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection_and_not_the_link() {
    let mut foreign = Foreign::new();
    let mut raw = foreign.welcomed();
    let mut record = foreign.seal(&encoded(&Frame::Data { seq: 1, payload: message("true") }));
    let last = record.len() - 1;
    record[last] ^= 1;
    raw.hear(&record);
    raw.advance(1000);
    let downs = raw.downs();
    assert!(matches!(downs[..], [(_, DownCause::Tls(TlsError::Other(_)), Some(_))]), "{downs:?}");
    assert_eq!(raw.saw("message"), 0);
}

#[test]
fn a_server_that_shuts_down_tells_also_those_in_their_tls_handshake() {
    let mut link = link();
    link.next_flow = (100, usize::MAX);
    link.client.open(link.now);
    link.turn();
    assert!(matches!(link.client.state(), LinkState::Connecting { .. }));
    link.server.drain(link.now, 300 * SECOND, SECOND);
    link.turn();
    link.up.flow = usize::MAX;
    link.turn();
    let (_, report) = link.downs().pop().unwrap();
    assert!(matches!(&report.cause, DownCause::Refused(Goodbye { reason: Reason::GoingAway, .. })), "{report}");
    let LinkState::Waiting { retry_at, .. } = link.client.state() else { panic!("{:?}", link.client.state()) };
    assert!(retry_at.as_millis() >= 300_000, "the wait is honoured: {retry_at:?}");
    assert!(link.server.is_drained());
}

#[test]
fn those_who_hang_in_their_tls_handshake_hold_up_no_shutdown() {
    let (_, server) = configs();
    let mut acceptor = Acceptor::new(server);
    let id = acceptor.dial();
    acceptor.server.drain(acceptor.now, SECOND, SECOND);
    acceptor.say_bytes(id, &[0x16, 3, 3, 0x40, 0]);
    acceptor.advance_to(1000);
    assert!(acceptor.is_closed(id) && acceptor.server.is_drained());
}

#[test]
fn hostile_bytes_at_a_tls_server_cost_one_connection() {
    let (_, config) = configs();
    let mut acceptor = Acceptor::new(config);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 3, 0xFF, 0xFF, 1], &[0x15, 3, 3, 0, 2, 2, 40], &[0; 50]] {
        let id = acceptor.dial();
        // What is said back is TLS; nobody here decodes it.
        acceptor.server.handle_input(acceptor.now, id, keepbeat_core::server::ServerInput::Received(bytes));
        let count = acceptor.server.transmit(id).len();
        acceptor.server.handle_input(acceptor.now, id, keepbeat_core::server::ServerInput::Written(count));
        acceptor.advance(1000);
        assert!(acceptor.is_closed(id), "{bytes:?}");
    }
    assert_eq!((acceptor.saw("rejected"), acceptor.server.connections()), (4, 0));
}

// A server of TLS that is not ours.

/// A server on rustls's own buffers. What it says is written by the test.
struct Foreign {
    tls: rustls::ServerConnection,
    authority: Authority,
    plain: Vec<u8>,
    wire: Beat,
    heard_the_end: bool,
}

impl Foreign {
    fn new() -> Self {
        use keepbeat_core::wire::Wire;
        use rustls::pki_types::pem::PemObject;
        let authority = Authority::new("Test CA");
        let identity = authority.identity(NAME);
        let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![rustls::pki_types::CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
                rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            );
        let tls = rustls::ServerConnection::new(config.unwrap().into()).unwrap();
        Self { tls, authority, plain: Vec::new(), wire: Beat::new(&large(MB)), heard_the_end: false }
    }

    fn client(&self) -> ClientConfigBuilder<Beat> {
        client().tls(self.authority.client().build().unwrap())
    }

    /// A client that is up at this server.
    fn welcomed(&mut self) -> Raw {
        let mut raw = Raw::open(self.client(), Some(ADDRESS));
        self.carry(&mut raw);
        assert!(matches!(self.frames(&mut raw)[..], [Frame::Hello(_)]));
        let welcome = self.seal(&encoded(&Frame::Welcome(Box::new(common::welcome()))));
        raw.hear(&welcome);
        assert!(matches!(raw.client.state(), LinkState::Up { .. }), "{:?}", raw.events);
        self.frames(&mut raw);
        raw
    }

    /// Lets both say what they have to say.
    fn carry(&mut self, raw: &mut Raw) {
        loop {
            self.read(&raw.take_said());
            let answer = self.written();
            if answer.is_empty() {
                return;
            }
            raw.hear(&answer);
        }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        use std::io::Read;
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).unwrap();
            let state = self.tls.process_new_packets().unwrap();
            self.heard_the_end |= state.peer_has_closed();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plain).unwrap();
            self.plain.extend(plain);
        }
    }

    /// The frames that the client said.
    fn frames(&mut self, raw: &mut Raw) -> Vec<Frame> {
        use keepbeat_core::wire::Wire;
        self.read(&raw.take_said());
        let plain = std::mem::take(&mut self.plain);
        let (mut input, mut frames) = (&plain[..], Vec::new());
        while let Some(frame) = self.wire.decode(&mut input).unwrap() {
            if matches!(frame, Frame::Hello(_)) {
                self.wire.established();
            }
            frames.push(frame);
        }
        frames
    }

    /// These bytes as they go over the wire.
    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        use std::io::Write;
        self.tls.writer().write_all(plain).unwrap();
        self.written()
    }

    fn written(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }
}
