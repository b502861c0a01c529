//! SOCKS5 proxies.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use super::super::ProxyReply;
use super::*;
use crate::reconnect::Retry;
use crate::tunnel::host::NAME_LIMIT;

/// A reply with an IPv4 address.
const GRANTED: [u8; 10] = [5, 0, 0, 1, 10, 0, 0, 1, 0x1F, 0x90];

fn reply(bytes: &[u8]) -> Result<bool, ProxyError> {
    verdict("socks5://proxy:1080", "server:80", bytes)
}

fn reply_to_login(bytes: &[u8]) -> Result<bool, ProxyError> {
    verdict("socks5://user:pass@proxy:1080", "server:80", bytes)
}

/// What is sent in answer to each of `replies`, the greeting first.
fn talk(proxy: &str, server: &str, replies: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut handshake = handshake(proxy, server);
    let mut parts = vec![sent(&mut handshake)];
    for reply in replies {
        assert_eq!(handshake.receive(&mut &**reply), Ok(false));
        parts.push(sent(&mut handshake));
    }
    parts
}

#[test]
fn without_a_login_it_greets_and_asks() {
    let parts = talk("socks5://proxy:1080", "gateway.example:7411", &[&[5, 0]]);
    assert_eq!(parts, [&[5, 1, 0][..], b"\x05\x01\x00\x03\x0fgateway.example\x1c\xf3"]);
}

#[test]
fn with_a_login_it_logs_in_if_the_proxy_asks_for_it() {
    let login = "socks5h://user:p%40ss@proxy:1080";
    let parts = talk(login, "[::1]:80", &[&[5, 2], &[1, 0]]);
    let request = [5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80];
    assert_eq!(parts, [&[5, 2, 0, 2][..], b"\x01\x04user\x04p@ss", &request]);
    assert_eq!(talk(login, "[::1]:80", &[&[5, 0]]), [&[5, 2, 0, 2][..], &request]);
    assert_eq!(talk(login, "[::1]:80", &[&[5, 2], &[5, 0]]).len(), 3, "the version of this frame is not looked at");
}

#[test]
fn each_form_of_address_has_its_type() {
    let request = |server: &str| talk("socks5://proxy:1080", server, &[&[5, 0]]).remove(1);
    assert_eq!(request("192.0.2.1:65535"), [5, 1, 0, 1, 192, 0, 2, 1, 255, 255]);
    assert_eq!(request("[fe80::1%eth0]:80"), request("[fe80::1]:80"), "a scope is left out");
    let name = "x".repeat(NAME_LIMIT);
    let longest = request(&format!("{name}:1"));
    assert_eq!(longest, [&[5, 1, 0, 3, 253][..], name.as_bytes(), &[0, 1]].concat());
}

#[test]
fn the_longest_login_fits() {
    let long = "x".repeat(255);
    let parts = talk(&format!("socks5://{long}:{long}@p:1"), "s:1", &[&[5, 2]]);
    assert_eq!(parts[1], [&[1, 255][..], long.as_bytes(), &[255], long.as_bytes()].concat());
}

#[test]
fn an_address_of_any_type_in_the_reply_is_skipped_exactly() {
    let name = |length: u8| [&[5, 0, 0, 3, length][..], &vec![b'x'; usize::from(length)], &[0, 80]].concat();
    for granted in [
        GRANTED.to_vec(),
        [&[5, 0, 0, 4][..], &[0xFF; 16], &[0, 80]].concat(),
        name(0),
        name(1),
        name(13),
        name(255),
        // The reserved byte is not looked at.
        vec![5, 0, 7, 1, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(reply(&[&[5, 0], &granted[..]].concat()), Ok(true), "{granted:?}");
        assert_eq!(reply_to_login(&[&[5, 2, 1, 0], &granted[..]].concat()), Ok(true), "{granted:?}");
        assert_eq!(reply(&[&[5, 0], &granted[..granted.len() - 1]].concat()), Ok(false), "{granted:?}");
    }
}

#[test]
fn every_reply_code_has_its_error_and_its_retry() {
    for code in 1..=u8::MAX {
        let reply = ProxyReply::Socks5(code);
        let (error, retry) = match code {
            2 => (ProxyError::NotAllowed(reply), Retry::Fatal),
            3..=6 => (ProxyError::Unreachable(reply), Retry::BACKOFF),
            7 | 8 => (ProxyError::Unsupported(reply), Retry::Fatal),
            _ => (ProxyError::Failed(reply), Retry::BACKOFF),
        };
        assert_eq!(error.retry(), retry, "{code}");
        assert_eq!(self::reply(&[5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]), Err(error.clone()), "{code}");
        assert_eq!(self::reply(&[5, 0, 5, code]), Err(error.clone()), "{code}: the address may be missing");
        assert!(error.to_string().contains(&format!("SOCKS5 reply {code}")), "{error}");
    }
}

#[test]
fn a_login_that_is_not_accepted_is_told_by_its_cause() {
    assert_eq!(reply(&[5, 0xFF]), Err(ProxyError::LoginMissing));
    assert_eq!(reply_to_login(&[5, 0xFF]), Err(ProxyError::LoginMethod));
    for status in 1..=u8::MAX {
        assert_eq!(reply_to_login(&[5, 2, 1, status]), Err(ProxyError::LoginRefused), "{status}");
    }
    for error in [ProxyError::LoginMissing, ProxyError::LoginMethod, ProxyError::LoginRefused] {
        assert_eq!(error.retry(), Retry::Fatal);
    }
}

#[test]
fn what_is_not_socks5_is_told() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        &[4, 90],
        &[0, 90, 0, 0],
        // A method that was not offered.
        &[5, 1],
        &[5, 2],
        &[5, 0x80],
        &[5, 0, 4, 0, 0, 1],
        &[5, 0, 4, 1, 0, 1],
        // Types of address that there are not.
        &[5, 0, 5, 0, 0, 0, 0],
        &[5, 0, 5, 0, 0, 2, 0],
        &[5, 0, 5, 0, 0, 5, 0],
    ] {
        assert_eq!(reply(bytes), Err(ProxyError::NotSocks5), "{bytes:?}");
    }
    assert_eq!(reply_to_login(&[5, 1]), Err(ProxyError::NotSocks5));
    assert_eq!(ProxyError::NotSocks5.retry(), Retry::BACKOFF, "a middlebox may start");
}

#[test]
fn a_talk_that_is_cut_short_waits() {
    let whole = [&[5, 2, 1, 0], &GRANTED[..]].concat();
    for end in 0..whole.len() {
        assert_eq!(reply_to_login(&whole[..end]), Ok(false), "{end}");
    }
}
