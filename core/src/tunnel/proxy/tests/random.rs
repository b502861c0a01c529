//! Replies at random, made of pieces of real ones so that they come far.

use super::super::http::HEAD_LIMIT;
use super::*;
use crate::entropy::Prng;
use crate::sim::for_each_seed_of;

const BEGINNINGS: &[&[u8]] = &[
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200\r\nVia: x\r\n",
    b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 2",
    b"HTTP/1.1 503 Busy\r\n",
    &[5, 0],
    &[5, 2, 1, 0],
    &[5, 0, 5, 0, 0],
    &[5, 2, 1, 0, 5, 0, 0],
];

const PIECES: &[&[u8]] = &[
    b"HTTP/1.1 ",
    b"200",
    b"100 Continue",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"Retry-After: 7\r\n",
    b"Content-Length: 5\r\n",
    b"A: b\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    &[5, 0, 0, 1],
    &[5, 0, 0, 3, 9],
    &[1, 2, 3, 4],
    &[3, 3],
    &[4],
    &[0],
    &[0xFF],
];

const PROXIES: [(&str, usize); 4] = [
    ("http://p:1", HEAD_LIMIT),
    ("http://u:p@p:1", HEAD_LIMIT),
    // Method, login, and the longest reply.
    ("socks5://p:1", 2 + 262),
    ("socks5://u:p@p:1", 2 + 2 + 262),
];

fn garbage(prng: &mut Prng) -> Vec<u8> {
    let one_of = |prng: &mut Prng, all: &[&'static [u8]]| all[prng.between(0, all.len() as u64 - 1) as usize];
    let mut bytes = one_of(prng, BEGINNINGS).to_vec();
    for _ in 0..prng.between(0, 20) {
        match prng.between(0, 19) {
            0 => bytes.push(prng.next_u64() as u8),
            1 => bytes.extend((0..prng.between(0, 2000)).map(|_| b' ' + (prng.next_u64() % 95) as u8)),
            _ => bytes.extend(one_of(prng, PIECES)),
        }
    }
    bytes
}

#[test]
fn garbage_does_not_panic_and_is_not_read_beyond_what_is_needed() {
    for_each_seed_of("KEEPBEAT_SEEDS", 10_000, |seed| {
        let mut prng = Prng::new(seed);
        let bytes = garbage(&mut prng);
        for (proxy, limit) in PROXIES {
            let new = || handshake(proxy, "server.example:80");
            let (whole, taken) = feed(&mut new(), &bytes, bytes.len());
            assert!(taken <= limit, "{taken} bytes taken");
            let piece = prng.between(1, 20) as usize;
            let (pieces, taken_of_pieces) = feed(&mut new(), &bytes, piece);
            assert_eq!(whole, pieces, "in pieces of {piece}");
            if whole == Ok(true) {
                assert_eq!(taken, taken_of_pieces);
                assert_eq!(feed(&mut new(), &bytes[..taken], taken), (Ok(true), taken));
                assert_eq!(feed(&mut new(), &bytes[..taken - 1], taken), (Ok(false), taken - 1));
            }
        }
    });
}

#[test]
fn the_garbage_comes_far() {
    let (mut open, mut waiting, mut errors) = ([0; 4], [0; 4], [0; 4]);
    for seed in 0..1000 {
        let bytes = garbage(&mut Prng::new(seed));
        for (index, (proxy, _)) in PROXIES.into_iter().enumerate() {
            match feed(&mut handshake(proxy, "server.example:80"), &bytes, 100).0 {
                Ok(true) => open[index] += 1,
                Ok(false) => waiting[index] += 1,
                Err(_) => errors[index] += 1,
            }
        }
    }
    for (open, (waiting, errors)) in open.into_iter().zip(waiting.into_iter().zip(errors)) {
        assert!(open > 5 && waiting > 5 && errors > 5, "open {open}, waiting {waiting}, errors {errors}");
    }
}

#[test]
fn a_url_at_random_is_read_or_refused() {
    for_each_seed_of("KEEPBEAT_SEEDS", 10_000, |seed| {
        let mut prng = Prng::new(seed);
        let mut text = alloc::string::String::new();
        for _ in 0..prng.between(0, 12) {
            text.push_str(
                [
                    "http://",
                    "socks5://",
                    "u",
                    ":",
                    "@",
                    "%",
                    "%41",
                    "%0",
                    "\u{e4}",
                    "[",
                    "]",
                    "::1",
                    "80",
                    "/",
                    ".",
                    "\r\n",
                ][prng.between(0, 15) as usize],
            );
        }
        if let Ok(proxy) = text.parse::<Proxy>() {
            assert!(proxy.address().port() > 0);
            let shown = format!("{proxy}");
            assert_eq!(proxy.login.is_some(), shown.contains("***@"), "{shown}");
            let request = sent(&mut ProxyHandshake::new(&proxy, proxy.address()));
            assert!(!request.is_empty() && request.len() < 2000);
        }
    });
}
