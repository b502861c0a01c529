//! Answers, as a client reads them.

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use super::*;

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// What a client that offers `chat` and `superchat` makes of an answer, however it is cut, and what it leaves.
fn read(answer: &[u8]) -> (Result<Option<Agreed>, UpgradeError>, Vec<u8>) {
    let wish = wish().subprotocol("chat").unwrap().subprotocol("superchat").unwrap();
    let whole = feed(answer, usize::MAX, |input| wish.begin(&server(), false, NONCE).0.receive(input));
    for piece in [1, 10] {
        let mut client = wish.begin(&server(), false, NONCE).0;
        assert_eq!(feed(answer, piece, |input| client.receive(input)), whole);
    }
    whole
}

fn verdict(answer: &str) -> Result<Option<Agreed>, UpgradeError> {
    read(answer.as_bytes()).0
}

fn changed(line: &str, to: &str) -> Result<Option<Agreed>, UpgradeError> {
    assert!(ANSWER.contains(&format!("{line}\r\n")), "{line}");
    let to = if to.is_empty() { "".into() } else { format!("{to}\r\n") };
    verdict(&ANSWER.replace(&format!("{line}\r\n"), &to))
}

fn broken(result: Result<Option<Agreed>, UpgradeError>) -> &'static str {
    match result {
        Err(error @ UpgradeError::Broken(problem)) => {
            assert!(error.to_string().contains("the server broke the protocol"));
            problem
        }
        other => panic!("{other:?}"),
    }
}

fn refused(answer: &str) -> Refusal {
    match verdict(answer) {
        Err(UpgradeError::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_answer_opens_the_connection_and_what_follows_is_left() {
    assert_eq!(verdict(ANSWER), Ok(Some(Agreed::default())));
    assert_eq!(read(&[ANSWER.as_bytes(), b"\x81\x00\r\n\r\n"].concat()).1, b"\x81\x00\r\n\r\n");
    assert_eq!(verdict(ANSWER.strip_suffix("\n").unwrap()), Ok(None));
    assert!(changed("Upgrade: websocket", "upgrade: WebSocket").is_ok());
    assert!(changed("Connection: Upgrade", "Connection: keep-alive, UPGRADE").is_ok());
    assert_eq!(
        verdict(&format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n{ANSWER}")),
        Ok(Some(Agreed::default()))
    );
}

#[test]
fn a_subprotocol_must_be_one_of_ours() {
    let with = |line: &str| changed("Connection: Upgrade", &format!("Connection: Upgrade\r\n{line}"));
    let agreed = Agreed { subprotocol: Some("superchat".into()), ..Agreed::default() };
    assert_eq!(with("Sec-WebSocket-Protocol: superchat"), Ok(Some(agreed)));
    for other in ["SuperChat", "other", "", "chat, superchat"] {
        let line = format!("Sec-WebSocket-Protocol: {other}");
        assert_eq!(broken(with(&line)), "the server chose a sub-protocol that we did not offer", "{other}");
    }
    let twice = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat";
    assert_eq!(broken(with(twice)), "the server chose more than one sub-protocol");
}

#[test]
fn what_the_specification_asks_for_must_be_there() {
    for to in ["", "Upgrade: h2c", "Upgrade: websocket, h2c", "Upgrade: websocket\r\nUpgrade: websocket"] {
        assert_eq!(broken(changed("Upgrade: websocket", to)), "the answer does not upgrade to websocket", "{to}");
    }
    for to in ["", "Connection: keep-alive"] {
        assert_eq!(broken(changed("Connection: Upgrade", to)), "the answer's Connection does not say upgrade", "{to}");
    }
    let line = format!("Sec-WebSocket-Accept: {ACCEPT}");
    let other = format!("Sec-WebSocket-Accept: {}", ACCEPT.to_lowercase());
    for to in ["", &other, &format!("{line}\r\n{line}")] {
        assert!(broken(changed(&line, to)).contains("Sec-WebSocket-Accept"), "{to}");
    }
    let extension = format!("{line}\r\nSec-WebSocket-Extensions: permessage-deflate");
    assert_eq!(broken(changed(&line, &extension)), "the server chose an extension that we did not offer");
    let malformed = format!("{line}\r\nSec-WebSocket-Extensions: a;");
    assert!(broken(changed(&line, &malformed)).contains("not a list"));
    assert!(broken(verdict(&ANSWER.replace("HTTP/1.1", "HTTP/1.0"))).contains("HTTP/1.0"));
}

#[test]
fn a_refusal_is_told_with_what_to_do() {
    let refusal = refused("HTTP/1.1 503 Busy\tnow\r\nRetry-After: 120\r\nLocation: /x\r\n\r\n<html>");
    assert_eq!((refusal.status, refusal.retry_after), (503, Some(Duration::from_secs(120))));
    assert_eq!((refusal.reason.as_str(), refusal.status), ("Busynow", 503));
    assert_eq!(refusal.location, None);
    let refusal = refused(&format!("HTTP/1.1 401 {}\r\n\r\n", "x".repeat(1000)));
    assert_eq!((refusal.status, refusal.reason.len()), (401, 120));
    let refusal = refused("HTTP/1.1 302 Found\r\nLocation: wss://b.example/c\r\n\r\n");
    assert_eq!(refusal.location.as_deref(), Some("wss://b.example/c"));
    assert!(
        UpgradeError::Refused(refusal.into()).to_string().ends_with("302 Found; it says to go to wss://b.example/c")
    );
    for location in ["", "a b", "\u{e4}", "a\r\nLocation: b"] {
        assert_eq!(refused(&format!("HTTP/1.1 301 x\r\nLocation: {location}\r\n\r\n")).location, None, "{location}");
    }
    for (value, seconds) in [
        ("0", None),
        ("1", Some(1)),
        ("", None),
        ("+5", None),
        ("1.5", None),
        ("Sat, 21 Nov 2026 17:00:00 GMT", None),
        ("99999999999999999999999", Some(u64::MAX)),
        ("5\r\nRetry-After: 6", None),
    ] {
        let refusal = refused(&format!("HTTP/1.0 429 x\r\nRetry-After: {value}\r\n\r\n"));
        assert_eq!(refusal.retry_after, seconds.map(Duration::from_secs), "{value}");
    }
    assert_eq!(refused("HTTP/1.1 200 OK\r\n\r\n").status, 200, "a page in place of a WebSocket");
}

#[test]
fn what_is_no_answer_fails_at_once_or_at_its_limit() {
    assert_eq!(verdict("SSH-2.0-OpenSSH\r\n"), Err(UpgradeError::NotHttp));
    assert_eq!(verdict("HTTP/1.1 101 x\r\nA: b\r\n c\r\n\r\n"), Err(UpgradeError::NotHttp), "a folded line");
    assert_eq!(verdict("HTTP/2.0 101 x\r\n\r\n"), Err(UpgradeError::NotHttp));
    let lines = "A: b\r\n".repeat(HEADERS_LIMIT + 1);
    assert_eq!(verdict(&format!("HTTP/1.1 101 x\r\n{lines}\r\n")), Err(UpgradeError::HeadTooLarge));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    assert_eq!(verdict(&interim), Err(UpgradeError::HeadTooLarge));
    for error in [UpgradeError::NotHttp, UpgradeError::HeadTooLarge] {
        assert!(!error.to_string().is_empty());
    }
}
