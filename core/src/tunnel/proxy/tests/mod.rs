//! The conversation with a proxy, byte for byte.

mod http;
mod random;
mod socks5;
mod url;

use alloc::format;
use alloc::vec::Vec;

use super::{Proxy, ProxyError, ProxyHandshake};

fn handshake(proxy: &str, server: &str) -> ProxyHandshake {
    ProxyHandshake::new(&proxy.parse().unwrap(), &server.parse().unwrap())
}

/// What the handshake wants to write, all of it taken.
fn sent(handshake: &mut ProxyHandshake) -> Vec<u8> {
    let bytes = handshake.transmit().to_vec();
    handshake.written(bytes.len());
    assert!(handshake.transmit().is_empty());
    bytes
}

/// Feeds `bytes` in pieces of `piece` bytes, or what the pieces before left. Gives the verdict, and how many bytes were
/// taken until then.
fn feed(handshake: &mut ProxyHandshake, bytes: &[u8], piece: usize) -> (Result<bool, ProxyError>, usize) {
    let mut taken = 0;
    for piece in bytes.chunks(piece.max(1)) {
        let mut input = piece;
        let verdict = handshake.receive(&mut input);
        taken += piece.len() - input.len();
        match verdict {
            Ok(false) => assert!(input.is_empty(), "bytes are left though the tunnel is not open"),
            verdict => return (verdict, taken),
        }
    }
    (Ok(false), taken)
}

/// The verdict about `reply`, which must not depend on the pieces in which it comes. If it opens the tunnel, none of the
/// bytes behind it may be taken.
fn verdict(proxy: &str, server: &str, reply: &[u8]) -> Result<bool, ProxyError> {
    let (whole, _) = feed(&mut handshake(proxy, server), reply, reply.len());
    for piece in [1, 2, 3, 7] {
        let (pieces, _) = feed(&mut handshake(proxy, server), reply, piece);
        assert_eq!(whole, pieces, "in pieces of {piece}");
    }
    if whole == Ok(true) {
        let with_more = [reply, b"\0tunnel"].concat();
        for piece in [1, 5, with_more.len()] {
            let mut handshake = handshake(proxy, server);
            assert_eq!(feed(&mut handshake, &with_more, piece), (Ok(true), reply.len()), "in pieces of {piece}");
            let mut input = &b"more"[..];
            assert_eq!(handshake.receive(&mut input), Ok(true));
            assert_eq!(input, b"more", "an open tunnel's bytes belong to it");
        }
    }
    whole
}

#[test]
fn what_is_to_be_sent_goes_out_in_any_pieces() {
    for proxy in ["http://u:secret@p:1", "socks5://u:secret@p:1"] {
        let whole = sent(&mut handshake(proxy, "server:80"));
        let mut handshake = handshake(proxy, "server:80");
        let mut pieces = Vec::new();
        while let Some(&byte) = handshake.transmit().first() {
            handshake.written(0);
            pieces.push(byte);
            handshake.written(1);
        }
        assert_eq!(whole, pieces);
        handshake.written(usize::MAX);
        assert!(handshake.transmit().is_empty(), "more than there is counts as all");
    }
}

#[test]
fn an_answer_before_the_question_is_written_keeps_the_order() {
    let mut early = handshake("socks5://u:p@p:1", "1.2.3.4:80");
    early.written(1);
    assert_eq!(early.receive(&mut &[5, 2][..]), Ok(false));
    assert_eq!(early.receive(&mut &[1, 0][..]), Ok(false));
    assert_eq!(sent(&mut early), [2, 0, 2, 1, 1, b'u', 1, b'p', 5, 1, 0, 1, 1, 2, 3, 4, 0, 80]);
}

#[test]
fn after_an_error_there_is_only_that_error() {
    for (proxy, reply, error) in [
        ("http://p:1", &b"SSH-2.0-x\r\n"[..], ProxyError::NotHttp),
        ("socks5://p:1", &[5, 0xFF][..], ProxyError::LoginMissing),
    ] {
        let mut handshake = handshake(proxy, "server:80");
        assert_eq!(handshake.receive(&mut &*reply), Err(error.clone()));
        let mut good = &b"HTTP/1.1 200 OK\r\n\r\n"[..];
        assert_eq!(handshake.receive(&mut good), Err(error));
        assert_eq!(good.len(), 19);
    }
}

#[test]
fn nothing_shows_the_login() {
    for url in ["http://user1:secret2@p:1", "socks5://user1:secret2@p:1", "http://user1:%73ecret2@p:1"] {
        let proxy: Proxy = url.parse().unwrap();
        let mut talk = handshake(url, "server:80");
        let mut shown = format!("{proxy} {proxy:?} {proxy:#?} {talk:?} {talk:#?}");
        if url.starts_with("socks5") {
            let (verdict, _) = feed(&mut talk, &[5, 2, 1, 0], 1);
            assert_eq!(verdict, Ok(false));
            shown += &format!("{talk:?}");
        }
        // `user1:secret2` in Base64 begins so; in Debug of bytes, "secret" does.
        for part in ["user1", "secret2", "dXNlcjE6", "115, 101, 99"] {
            assert!(!shown.contains(part), "{shown}");
        }
        assert!(shown.contains("***@p:1"), "{shown}");
    }
    assert_eq!(format!("{}", "socks5h://p:1".parse::<Proxy>().unwrap()), "socks5://p:1");
}
