//! The handshake, byte for byte.

mod answers;
mod requests;

use alloc::string::String;
use alloc::vec::Vec;

use super::*;

/// The nonce of the example in RFC 6455, section 1.3: "the sample nonce".
const NONCE: [u8; 16] = *b"the sample nonce";

const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn wish() -> UpgradeRequest {
    UpgradeRequest::new(&"server.example:80".parse().unwrap(), false, "/chat?room=1").unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Feeds `bytes` in pieces of so many. Gives the verdict, and what was left of them if there was no error.
fn feed<T, E>(
    bytes: &[u8],
    piece: usize,
    mut receive: impl FnMut(&mut &[u8]) -> Result<Option<T>, E>,
) -> (Result<Option<T>, E>, Vec<u8>) {
    let mut taken = 0;
    for piece in bytes.chunks(piece) {
        let mut input = piece;
        let verdict = receive(&mut input);
        taken += piece.len() - input.len();
        match verdict {
            Ok(None) => {}
            Ok(Some(_)) => return (verdict, bytes[taken..].to_vec()),
            Err(_) => return (verdict, Vec::new()),
        }
        assert!(input.is_empty());
    }
    (Ok(None), Vec::new())
}

#[test]
fn each_end_agrees_with_the_other() {
    let wish = wish().subprotocol("one").unwrap().subprotocol("two").unwrap().origin("https://a.example").unwrap();
    let (mut client, request) = wish.header("Cookie", "a=b").unwrap().begin([7; 16]);
    let mut input = &[&request[..], b"\x81\x80"].concat()[..];
    let offer = ServerUpgrade::new().receive(&mut input).unwrap().unwrap().into_offer().unwrap();
    assert_eq!(input, b"\x81\x80");
    assert_eq!((offer.target(), offer.path(), offer.host()), ("/chat?room=1", "/chat", "server.example"));
    assert_eq!(offer.origin(), Some("https://a.example"));
    assert_eq!(offer.header("cookie").collect::<Vec<_>>(), [b"a=b"]);
    assert_eq!(offer.subprotocols().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(offer.select(&["two", "three"]), Some("two"));
    assert_eq!(offer.select(&["three"]), None);
    let agreed = Agreed { subprotocol: offer.select(&["two"]).map(Into::into), ..Agreed::default() };
    let answer = offer.accept(&agreed).unwrap();
    let mut input = &[&answer[..], b"\x81\x00"].concat()[..];
    assert_eq!(client.receive(&mut input), Ok(Some(agreed)));
    assert_eq!(input, b"\x81\x00");
    let other = Agreed { subprotocol: Some("three".into()), ..Agreed::default() };
    assert_eq!(offer.accept(&other), Err(NotOffered));
}
