//! Requests: as a client writes them, and as a server reads them.

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use super::*;

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn offer(request: &str) -> Result<Offer, OfferError> {
    let (verdict, rest) = feed(request.as_bytes(), usize::MAX, {
        let mut server = ServerUpgrade::new();
        move |input| server.receive(input)
    });
    for piece in [1, 7, 100] {
        let mut server = ServerUpgrade::new();
        assert_eq!(feed(request.as_bytes(), piece, |input| server.receive(input)), (verdict.clone(), rest.clone()));
    }
    verdict?.expect("the request is not complete").into_offer()
}

/// The request with a line in place of another; empty: with one line less.
fn changed(line: &str, to: &str) -> Result<Offer, OfferError> {
    assert!(REQUEST.contains(&format!("{line}\r\n")), "{line}");
    let to = if to.is_empty() { "".into() } else { format!("{to}\r\n") };
    offer(&REQUEST.replace(&format!("{line}\r\n"), &to))
}

fn broken(result: Result<Offer, OfferError>) -> &'static str {
    match result {
        Err(error @ OfferError::Broken(problem)) => {
            assert_eq!(error.status(), 400);
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_written_line_by_line() {
    let (_, request) = wish().begin(&server(), false, NONCE);
    let expected = REQUEST.replace("/chat", "/chat?room=1");
    assert_eq!(text(request), expected);
    let (_, request) = wish()
        .header("Authorization", "Bearer abc")
        .and_then(|wish| wish.subprotocol("a"))
        .and_then(|wish| wish.subprotocol("b"))
        .and_then(|wish| wish.origin("https://page.example"))
        .unwrap()
        .begin(&server(), false, NONCE);
    let lines = "Origin: https://page.example\r\nSec-WebSocket-Protocol: a, b\r\nAuthorization: Bearer abc\r\n\r\n";
    assert_eq!(text(request), expected.strip_suffix("\r\n").unwrap().to_string() + lines);
}

#[test]
fn the_usual_port_is_not_named_and_a_scope_stays_here() {
    for (server, secure, host) in [
        ("a.example:80", false, "a.example"),
        ("a.example:443", false, "a.example:443"),
        ("a.example:443", true, "a.example"),
        ("a.example:80", true, "a.example:80"),
        ("[fe80::1%eth0]:8080", false, "[fe80::1]:8080"),
        ("127.0.0.1:1", false, "127.0.0.1:1"),
    ] {
        let request = UpgradeRequest::new("/").unwrap().begin(&server.parse().unwrap(), secure, NONCE).1;
        assert!(text(request).contains(&format!("\r\nHost: {host}\r\n")), "{server}");
    }
}

#[test]
fn nothing_can_be_smuggled_into_a_request() {
    for target in ["", "chat", "/a b", "/a\r\nX: y", "/ä", "/#top", "http://b.example/"] {
        assert_eq!(UpgradeRequest::new(target), Err(RequestError::Target), "{target:?}");
    }
    for value in ["a\r\nX: y", "a\n", "a\0", "ä", "\x7F"] {
        assert_eq!(wish().header("X-A", value), Err(RequestError::HeaderValue), "{value:?}");
        assert_eq!(wish().origin(value), Err(RequestError::HeaderValue), "{value:?}");
    }
    assert!(wish().header("X-A", "a\tb").is_ok());
    assert_eq!(wish().origin("a\tb"), Err(RequestError::HeaderValue), "an origin has no tab, and servers refuse it");
    for name in ["", "a b", "a:", "a\r\nb", "ä"] {
        assert_eq!(wish().header(name, "1"), Err(RequestError::HeaderName), "{name:?}");
        assert_eq!(wish().subprotocol(name), Err(RequestError::Subprotocol), "{name:?}");
    }
    for name in ["Host", "UPGRADE", "connection", "Origin", "Content-Length", "Transfer-Encoding", "sec-websocket-key"]
    {
        assert_eq!(wish().header(name, "1"), Err(RequestError::HeaderReserved), "{name:?}");
    }
    assert_eq!(wish().subprotocol("a").unwrap().subprotocol("a"), Err(RequestError::Subprotocol));
    assert_eq!(wish().header("X-A", &"a".repeat(HEAD_LIMIT)), Err(RequestError::TooLong));
    let secret = wish().header("Cookie", "hush").unwrap();
    let shown = format!("{secret:?}");
    assert!(shown.contains("Cookie") && !shown.contains("hush") && !shown.contains("room"), "{shown}");
}

#[test]
fn the_specifications_request_is_an_offer() {
    let offer = offer(REQUEST).unwrap();
    assert_eq!((offer.target(), offer.host(), offer.origin()), ("/chat", "server.example", None));
    assert_eq!(offer.subprotocols().count() + offer.extensions().len(), 0);
    assert_eq!(
        text(offer.accept(&Agreed::default()).unwrap()),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
    );
}

#[test]
fn what_a_browser_or_a_proxy_writes_is_an_offer() {
    assert!(changed("Upgrade: websocket", "uPGRADE:WebSocket").is_ok());
    assert!(changed("Connection: Upgrade", "Connection: keep-alive, upgrade").is_ok());
    assert!(changed("Connection: Upgrade", "Connection: keep-alive\r\nConnection:\tUPGRADE ").is_ok());
    assert!(offer(&format!("\r\n\r\n{REQUEST}")).is_ok(), "empty lines in front");
    let offer = changed(
        "Host: server.example",
        "Host: server.example:8080\r\nOrigin: null\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b ,c\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    )
    .unwrap();
    assert_eq!((offer.host(), offer.origin()), ("server.example:8080", Some("null")));
    assert_eq!(offer.subprotocols().collect::<Vec<_>>(), ["a", "b", "c"]);
    let [extension] = offer.extensions() else { panic!("{offer:?}") };
    assert_eq!(extension.name(), "permessage-deflate");
    assert_eq!(extension.parameters().collect::<Vec<_>>(), [("client_max_window_bits", None)]);
}

#[test]
fn a_target_has_nothing_in_it_that_a_terminal_would_obey() {
    for sign in ["\u{9B}", "\u{202E}", "ä"] {
        let request = changed("GET /chat HTTP/1.1", &format!("GET /{sign}chat HTTP/1.1"));
        assert_eq!(broken(request), "the target is not a path or a URL", "{sign:?}");
    }
}

#[test]
fn a_target_may_be_a_url_whose_host_counts() {
    let of = |target| changed("GET /chat HTTP/1.1", &format!("GET {target} HTTP/1.1"));
    for (target, path, host) in [
        ("http://other.example:1/a?b", "/a?b", "other.example:1"),
        ("WSS://other.example", "/", "other.example"),
        ("https://[::1]?b", "/?b", "[::1]"),
    ] {
        let offer = of(target).unwrap();
        assert_eq!((offer.target(), offer.host()), (path, host));
    }
    for target in ["*", "chat", "ftp://a.example/", "http:///a", "http://u@a.example/", "/a#b"] {
        assert_eq!(broken(of(target)), "the target is not a path or a URL", "{target}");
    }
}

#[test]
fn what_the_specification_asks_for_must_be_there() {
    assert_eq!(changed("GET /chat HTTP/1.1", "POST /chat HTTP/1.1"), Err(OfferError::Method));
    assert_eq!(changed("GET /chat HTTP/1.1", "GET /chat HTTP/1.0"), Err(OfferError::HttpVersion));
    assert_eq!(changed("GET /chat HTTP/1.1", "GET /chat HTTP/2.0"), Err(OfferError::HttpVersion));
    for to in ["", "Upgrade: h2c"] {
        assert_eq!(changed("Upgrade: websocket", to), Err(OfferError::NoUpgrade));
    }
    for to in ["", "Connection: keep-alive", "Connection: upgraded"] {
        assert_eq!(broken(changed("Connection: Upgrade", to)), "Connection does not say upgrade");
    }
    for to in ["", "Host: a\r\nHost: a", "Host: a b", "Host: a/b", "Host: u@a"] {
        assert_eq!(broken(changed("Host: server.example", to)), "Host is missing, repeated or no host", "{to}");
    }
    let version = "Sec-WebSocket-Version: 13";
    for to in ["", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", &format!("{version}\r\n{version}")] {
        assert_eq!(changed(version, to), Err(OfferError::Version), "{to}");
    }
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for to in ["", "Sec-WebSocket-Key: c2hvcnQ=", &format!("{key}\r\n{key}")] {
        assert!(broken(changed(key, to)).starts_with("Sec-WebSocket-Key is"), "{to}");
    }
    let with = |line: &str| broken(changed(version, &format!("{version}\r\n{line}")));
    assert!(with("Origin: a\r\nOrigin: b").starts_with("Origin is"));
    assert!(with("Origin: \u{e4}").starts_with("Origin is"));
    assert!(with("Sec-WebSocket-Protocol: a b").starts_with("Sec-WebSocket-Protocol is not"));
    assert!(with("Sec-WebSocket-Extensions: a;").starts_with("Sec-WebSocket-Extensions is not"));
    assert_eq!(with("Content-Length: 5"), "a request to upgrade has a body");
    assert_eq!(with("Transfer-Encoding: chunked"), "a request to upgrade has a body");
    assert!(changed(version, &format!("{version}\r\nContent-Length: 0")).is_ok());
}

#[test]
fn what_is_no_http_fails_at_once_or_at_its_limit() {
    let of = |bytes: &[u8]| ServerUpgrade::new().receive(&mut &bytes[..]).map(|request| request.is_some());
    assert_eq!(of(b"\x16"), Err(OfferError::NotHttp), "TLS");
    assert_eq!(of(b"GET / HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n"), Err(OfferError::NotHttp), "a folded line");
    assert_eq!(of(b"GET / HTTP/1.1\r\nHost : b\r\n\r\n"), Err(OfferError::NotHttp), "a space before the colon");
    assert_eq!(of(b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"), Err(OfferError::NotHttp), "a control character");
    assert_eq!(of(b"PRI * HTTP/2.0\r\n\r\n"), Err(OfferError::HttpVersion));
    assert_eq!(of(b"GET / HTTP/1.1\r\n"), Ok(false));
    let lines = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(of(lines(HEADERS_LIMIT).as_bytes()), Ok(true));
    assert_eq!(of(lines(HEADERS_LIMIT + 1).as_bytes()), Err(OfferError::HeadTooLarge));
    for (front, filler) in [("GET /", "a"), ("", "\r\n"), ("GET / HTTP/1.1\r\nA:", "b")] {
        let endless = format!("{front}{}", filler.repeat(HEAD_LIMIT));
        for piece in [1, 1000, usize::MAX] {
            let mut server = ServerUpgrade::new();
            let verdict = feed(endless.as_bytes(), piece, |input| server.receive(input)).0;
            assert_eq!(verdict.map(|_| ()), Err(OfferError::HeadTooLarge), "{front}");
        }
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    assert_eq!(
        text(refuse(503, Some(Duration::from_millis(1001)))),
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(text(refuse(418, None)), "HTTP/1.1 418 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(text(refuse(401, None)).contains("\r\nWWW-Authenticate: Bearer\r\n"));
    for status in [0, 101, 200, 299, 600] {
        assert!(text(refuse(status, None)).starts_with("HTTP/1.1 500 "), "{status}");
    }
    for (error, status, line) in [
        (OfferError::NotHttp, 400, "Content-Length: 0"),
        (OfferError::Broken("a rule"), 400, "Content-Length: 0"),
        (OfferError::Method, 405, "Allow: GET"),
        (OfferError::NoUpgrade, 426, "Upgrade: websocket"),
        (OfferError::Version, 426, "Sec-WebSocket-Version: 13"),
        (OfferError::HeadTooLarge, 431, "Content-Length: 0"),
        (OfferError::HttpVersion, 505, "Content-Length: 0"),
    ] {
        let answer = text(error.answer());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(
            answer.contains(&format!("\r\n{line}\r\n")) && answer.contains("\r\nConnection: close\r\n"),
            "{answer}"
        );
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn other_requests_are_told_apart() {
    let mut input = &b"GET /page?secret HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n"[..];
    let request = ServerUpgrade::default().receive(&mut input).unwrap().unwrap();
    assert!(!request.wants_upgrade());
    assert_eq!((request.method(), request.target()), ("GET", "/page?secret"));
    assert_eq!(request.header("ACCEPT").collect::<Vec<_>>(), [b"text/html"]);
    assert!(!format!("{request:?}").contains("secret"));
    assert_eq!(request.into_offer(), Err(OfferError::NoUpgrade));
}

#[test]
fn what_is_gathered_is_not_shown() {
    let mut server = ServerUpgrade::new();
    server.receive(&mut &b"GET / HTTP/1.1\r\nAuthorization: Bearer 77"[..]).unwrap();
    let shown = format!("{server:?}");
    assert!(!shown.contains("Bearer") && !shown.contains("66, 101, 97"), "{shown}");
}
