//! Links over TLS that do not begin, or end, in virtual time: clear words, and nothing is lost but what was under way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::foreign::Foreign;
use common::pki::{ADDRESS, Authority, NAME};
use common::tls::{configs, gave_up, link, rejected, up};
use common::{Acceptor, Link, Raw, SECOND, client, device, encoded, message, server};
use keepbeat_core::client::LinkState;
use keepbeat_core::reconnect::GiveUpCause;
use keepbeat_core::tunnel::tls::TlsError;
use keepbeat_core::wire::{Frame, Goodbye, Reason};
use keepbeat_core::{DownCause, Failure};

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
    let mut bytes = foreign.seal(&encoded(&Frame::Data { seq: 1, message: message("last words") }));
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
    let record = foreign.seal(&encoded(&Frame::Data { seq: 1, message: message("half") }));
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
    let mut record = foreign.seal(&encoded(&Frame::Data { seq: 1, message: message("true") }));
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
