//! The handshake, byte for byte.

mod answers;
mod requests;

use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::entropy::Prng;
use crate::tunnel::HostPort;

/// The nonce of the example in RFC 6455, section 1.3: "the sample nonce".
const NONCE: [u8; 16] = *b"the sample nonce";

const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn wish() -> UpgradeRequest {
    UpgradeRequest::new("/chat?room=1").unwrap()
}

fn server() -> HostPort {
    "server.example:80".parse().unwrap()
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
    let (mut client, request) = wish.header("Cookie", "a=b").unwrap().begin(&server(), false, [7; 16]);
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

#[test]
fn broken_heads_fail_alike_however_they_are_cut() {
    let wish = wish().subprotocol("chat").unwrap();
    let request = wish.begin(&server(), false, NONCE).1;
    let mut input = &request[..];
    let offer = ServerUpgrade::new().receive(&mut input).unwrap().unwrap().into_offer().unwrap();
    let answer = offer.accept(&Agreed { subprotocol: Some("chat".into()), ..Agreed::default() }).unwrap();
    let mut outcomes = [0; 3];
    for seed in 0..2000 {
        let mut prng = Prng::new(seed);
        let mut broken = |head: &[u8]| {
            // The end stays, so that a head is whole if it is one.
            let (front, end) = head.split_at(head.len() - 4);
            let mut front = front.to_vec();
            for _ in 0..prng.between(1, 3) {
                let at = prng.between(1, front.len() as u64 - 1) as usize;
                match prng.between(0, 3) {
                    0 => front[at] ^= 1 << prng.between(0, 7),
                    1 if front.len() > 2 => drop(front.remove(at)),
                    2 => front.insert(at, b" \t\r\n:,;\0"[prng.between(0, 7) as usize]),
                    _ => front.truncate(at + 1),
                }
            }
            [&front[..], end].concat()
        };
        let (request, answer) = (broken(&request), broken(&answer));
        let piece = [1, 5, 40][seed as usize % 3];
        let asked = |piece: usize| {
            let mut server = ServerUpgrade::new();
            feed(&request, piece, |input| server.receive(input))
        };
        assert_eq!(asked(piece), asked(usize::MAX), "seed {seed}");
        let answered = |piece: usize| {
            let mut client = wish.begin(&server(), false, NONCE).0;
            feed(&answer, piece, |input| client.receive(input))
        };
        let verdict = answered(usize::MAX);
        assert_eq!(answered(piece), verdict, "seed {seed}");
        outcomes[match verdict.0 {
            Ok(Some(_)) => 0,
            Ok(None) => 1,
            Err(_) => 2,
        }] += 1;
        // Whatever was asked, there is an answer.
        match asked(piece).0 {
            Ok(Some(request)) => drop(request.into_offer().map_err(|error| error.answer())),
            Ok(None) => {}
            Err(error) => drop(error.answer()),
        }
    }
    assert!(outcomes[0] > 20 && outcomes[2] > 500, "{outcomes:?}");
}
