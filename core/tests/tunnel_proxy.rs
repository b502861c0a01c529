//! Links through a proxy, in virtual time: what it is asked, what passes, and what is made of its refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::time::Duration;

use common::{Link, MS, Raw, SECOND, client, data, device, encoded, message, server, welcome};
use keepbeat_core::DownCause;
use keepbeat_core::client::{ClientConfigBuilder, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::reconnect::GiveUpCause;
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::tunnel::{ProxyError, ProxyReply};
use keepbeat_core::wire::Frame;
use keepbeat_core::wire::beat::Beat;

const ADDRESS: &str = "gate.example:7411";
const CONNECT: &[u8] = b"CONNECT gate.example:7411 HTTP/1.1\r\nHost: gate.example:7411\r\n\r\n";
const HTTP: &str = "http://proxy.example:3128";
const SOCKS: &str = "socks5://proxy.example:1080";
const SOCKS_WITH_LOGIN: &str = "socks5://user:secret@proxy.example:1080";

fn through(url: &str) -> ClientConfigBuilder<Beat> {
    client().proxy(url.parse().unwrap())
}

/// CONNECT to the server, by name (RFC 1928, section 4).
fn socks_request() -> Vec<u8> {
    [&[5, 1, 0, 3, 12], &b"gate.example"[..], &[0x1C, 0xF3]].concat()
}

const SOCKS_OPEN: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// What proxies that let everybody through are asked, and answer.
/// What is expected, and what is answered.
type Turns = Vec<(Vec<u8>, Vec<u8>)>;

fn open_proxies() -> [(&'static str, Turns); 3] {
    let login = [&[1, 4], &b"user"[..], &[6], b"secret"].concat();
    [
        (HTTP, vec![(CONNECT.to_vec(), b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n".to_vec())]),
        (SOCKS, vec![(vec![5, 1, 0], vec![5, 0]), (socks_request(), SOCKS_OPEN.to_vec())]),
        (
            SOCKS_WITH_LOGIN,
            vec![(vec![5, 2, 0, 2], vec![5, 2]), (login, vec![1, 0]), (socks_request(), SOCKS_OPEN.to_vec())],
        ),
    ]
}

/// A link that is up through this proxy.
fn up(url: &str, talk: &[(Vec<u8>, Vec<u8>)], grain: usize) -> Link {
    let mut link = Link::to(ADDRESS, through(url), server());
    (link.proxy, link.grain) = (talk.to_vec(), grain);
    link.client.open(link.now);
    link.turn();
    assert!(matches!(link.client.state(), LinkState::Up { .. }), "{url}: {:?}", link.events);
    link.forget();
    link
}

#[test]
fn messages_pass_through_every_kind_of_proxy_however_the_bytes_are_cut() {
    for (url, talk) in open_proxies() {
        for grain in [1, 5, usize::MAX] {
            let mut link = up(url, &talk, grain);
            for round in 1..3 {
                link.client.send(link.now, message("up")).unwrap();
                link.server.send(link.now, &device("d"), message("down")).unwrap();
                link.turn();
                assert_eq!((link.server_arrived().len(), link.arrived().len()), (round, round), "{url}");
                // Every connection asks the proxy anew.
                link.cut();
                link.advance(60_000);
                assert!(matches!(link.client.state(), LinkState::Up { .. }));
            }
        }
    }
}

#[test]
fn verdicts_keep_their_bound_behind_a_proxy() {
    let (url, talk) = &open_proxies()[0];
    let mut link = up(url, talk, usize::MAX);
    link.advance(65_000);
    let from = link.now.as_millis();
    link.up.black_hole();
    link.down.black_hole();
    link.advance(60_000);
    let (at, report) = link.downs().swap_remove(0);
    assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
    assert!(u128::from(at - from) <= client().build().unwrap().worst_case_detection().as_millis());
}

#[test]
fn nothing_of_the_link_is_said_before_the_tunnel_is_open() {
    let mut raw = Raw::open(through(HTTP), Some(ADDRESS));
    assert_eq!(raw.take_said(), CONNECT);
    raw.hear_slowly(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r");
    assert_eq!(raw.take_said(), b"");
    raw.hear(b"\n");
    assert_eq!(raw.said[0], 1, "HELLO");
}

#[test]
fn what_follows_the_proxys_answer_in_the_same_read_is_the_peers() {
    let mut raw = Raw::open(through(HTTP), Some(ADDRESS));
    let welcome = encoded(&Frame::Welcome(Box::new(welcome())));
    let both = [b"HTTP/1.1 200 OK\r\n\r\n", &welcome[..], &encoded(&data(1, "at once"))].concat();
    raw.hear(&both);
    assert_eq!((raw.saw("up"), raw.saw("message")), (1, 1), "{:?}", raw.events);
}

#[test]
fn a_proxy_that_answers_before_it_was_asked_is_asked_all_the_same() {
    let mut raw = Raw::open_in(through(HTTP), Some(ADDRESS), 10);
    assert_eq!(raw.take_said(), &CONNECT[..10]);
    raw.hear(b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(raw.client.transmit(), &CONNECT[10..], "the rest of the question comes before the tunnel's bytes");
    // Byte by byte, so that every boundary is met.
    for _ in 10..CONNECT.len() {
        raw.room = 1;
        raw.turn();
    }
    assert_eq!(raw.take_said(), &CONNECT[10..]);
    raw.room = usize::MAX;
    raw.turn();
    assert_eq!(raw.said[0], 1, "HELLO");
    raw.hear(&encoded(&Frame::Welcome(Box::new(welcome()))));
    assert_eq!(raw.saw("up"), 1);
}

#[test]
fn a_proxy_that_hangs_ends_at_the_handshake_timeout_wherever_it_hangs() {
    for (url, heard) in [
        (HTTP, &b""[..]),
        (HTTP, b"HTTP/1.1 200 OK\r\nX: "),
        (HTTP, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (SOCKS, &[]),
        (SOCKS, &[5, 0]),
        (SOCKS, &[5, 0, 5, 0, 0]),
    ] {
        let mut raw = Raw::open(through(url), Some(ADDRESS));
        for byte in heard {
            raw.advance(100);
            raw.hear(&[*byte]);
        }
        assert_eq!(raw.wake(Why::Handshake), 10_000);
        let downs = raw.downs();
        assert!(matches!(downs[..], [(10_000, DownCause::ProxyTimeout, Some(_))]), "{downs:?}");
    }
}

#[test]
fn a_server_that_hangs_behind_an_open_tunnel_is_not_the_proxys_fault() {
    let mut raw = Raw::open(through(HTTP), Some(ADDRESS));
    raw.hear(b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(raw.wake(Why::Handshake), 10_000);
    assert_eq!(raw.downs()[0].1, DownCause::HandshakeTimeout);
}

/// What the client makes of this answer: the error, and how long it waits, or `None` if it has given up.
fn refused(url: &str, heard: &[u8]) -> (ProxyError, Option<u64>) {
    let mut raw = Raw::open(through(url), Some(ADDRESS));
    raw.advance(100);
    raw.hear(heard);
    let mut downs = raw.downs();
    assert_eq!((downs.len(), raw.open), (1, None), "{downs:?}");
    let (at, cause, retry_at) = downs.remove(0);
    assert_eq!(at, 100, "at once");
    let DownCause::Proxy(error) = cause else { panic!("{cause:?}") };
    let gave_up = raw.client.state() == LinkState::GaveUp(GiveUpCause::Fatal);
    assert_eq!((gave_up, raw.saw("gave up") == 1), (retry_at.is_none(), retry_at.is_none()));
    (error, retry_at.map(|retry_at| retry_at - at))
}

#[test]
fn what_someone_must_mend_is_fatal_and_what_may_pass_is_tried_again() {
    let forbidden = ProxyReply::Http { status: 403, reason: "Forbidden".into() };
    let refusal = |code: u8| [&[5, 0], &[5, code, 0, 1, 0, 0, 0, 0, 0, 0][..]].concat();
    let with_login = "http://user:secret@proxy.example:3128";
    let needs_login = b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n";
    for (url, heard, error) in [
        (HTTP, needs_login.to_vec(), Some(ProxyError::LoginMissing)),
        (with_login, needs_login.to_vec(), Some(ProxyError::LoginRefused)),
        (HTTP, b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec(), Some(ProxyError::NotAllowed(forbidden))),
        (SOCKS, vec![5, 0xFF], Some(ProxyError::LoginMissing)),
        (SOCKS_WITH_LOGIN, vec![5, 0xFF], Some(ProxyError::LoginMethod)),
        (SOCKS_WITH_LOGIN, vec![5, 2, 1, 1], Some(ProxyError::LoginRefused)),
        (SOCKS, refusal(2), None),
        (SOCKS, refusal(7), None),
        (SOCKS, refusal(8), None),
    ] {
        let (got, wait) = refused(url, &heard);
        assert_eq!(wait, None, "{url}: {got}");
        assert!(error.is_none_or(|error| error == got), "{url}: {got:?}");
    }
    for (url, heard) in [
        (HTTP, b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec()),
        (HTTP, b"HTTP/1.1 503 Busy\r\n\r\n".to_vec()),
        (HTTP, b"SSH-2.0-OpenSSH\r\n".to_vec()),
        (SOCKS, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        (SOCKS, refusal(1)),
        (SOCKS, refusal(3)),
        (SOCKS, refusal(4)),
        (SOCKS, refusal(5)),
        (SOCKS, refusal(6)),
    ] {
        let (error, wait) = refused(url, &heard);
        assert!(wait.is_some_and(|wait| wait < 60_000), "{url}: {error}, {wait:?}");
    }
}

#[test]
fn a_wait_that_the_proxy_asks_for_is_kept_and_spread() {
    let (error, wait) = refused(HTTP, b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\n");
    assert!(matches!(&error, ProxyError::Busy { retry_after: Some(after), .. } if *after == 120 * SECOND), "{error:?}");
    let wait = MS * wait.unwrap() as u32;
    assert!((120 * SECOND..=180 * SECOND).contains(&wait), "{wait:?}");
    let (_, short) = refused(HTTP, b"HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\n\r\n");
    assert!((SECOND..=2 * SECOND).contains(&Duration::from_millis(short.unwrap())), "{short:?}");
}

#[test]
fn a_proxy_that_hangs_up_in_the_middle_of_its_answer_is_tried_again() {
    let mut raw = Raw::open(through(HTTP), Some(ADDRESS));
    raw.hear(b"HTTP/1.1 200");
    raw.hang_up();
    let downs = raw.downs();
    assert!(matches!(downs[..], [(0, DownCause::Network(keepbeat_core::Failure::Eof), Some(_))]), "{downs:?}");
    raw.advance(60_000);
    assert!(raw.connects >= 2);
}

#[test]
fn a_driver_that_does_not_name_the_server_is_told_so() {
    let raw = Raw::open(through(HTTP), None);
    assert_eq!(raw.downs(), [(0, DownCause::ServerUnnamed, None)]);
    assert_eq!((raw.open, raw.said.len()), (None, 0));
}

#[test]
fn a_client_that_is_closed_while_the_proxy_hangs_is_closed_at_once() {
    let mut raw = Raw::open(through(SOCKS), Some(ADDRESS));
    raw.client.close(raw.now);
    raw.turn();
    assert_eq!((raw.client.state(), raw.open, raw.saw("closed")), (LinkState::Closed, None, 1));
    assert_eq!(raw.client.poll_timeout(), None);
}
