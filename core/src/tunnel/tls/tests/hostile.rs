//! Peers that speak no TLS, or mean harm.

use std::vec;
use std::vec::Vec;

use rustls::version::{TLS12, TLS13};

use super::super::{Tls, TlsError};
use super::Authority;
use super::pair::{NAME, Pair, client, client_of, server, server_of};
use crate::entropy::Prng;
use crate::reconnect::Retry;

#[test]
fn plain_text_is_recognised_as_no_tls_on_both_sides() {
    let authority = Authority::new("Test CA");
    let server = server(&authority.identity(NAME));
    for text in
        ["HTTP/1.1 400 Bad Request\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "220 mail.example ESMTP\r\n", "\0\0\0\0\0\0"]
    {
        for mut tls in [Tls::client(&client(&authority), NAME).unwrap(), Tls::server(&server).unwrap()] {
            let error = tls.receive(text.as_bytes(), &mut Vec::new()).unwrap_err();
            assert_eq!((&error, error.retry()), (&TlsError::NotTls, Retry::BACKOFF), "{text:?}");
            assert_eq!(tls.receive(b"more", &mut Vec::new()), Err(TlsError::NotTls), "it stays so");
            assert_eq!(tls.write(b"plain"), 0);
        }
    }
}

#[test]
fn no_version_in_common_is_incompatible_and_may_be_tried_again() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    for (client, server) in [(&TLS12, &TLS13), (&TLS13, &TLS12)] {
        let pair = Pair::met(&client_of(client, &authority, None), &server_of(server, &identity), NAME);
        for error in [pair.client.error.unwrap(), pair.server.error.unwrap()] {
            let TlsError::Incompatible { why } = &error else { panic!("{error:?}") };
            assert_eq!((why.as_str(), error.retry()), ("no version of TLS", Retry::BACKOFF));
        }
    }
}

#[test]
fn a_client_from_before_tls_1_2_is_told_as_such() {
    let mut tls = Tls::server(&server(&Authority::new("Test CA").identity(NAME))).unwrap();
    // Version, random, no session, one cipher suite, no compression; no extensions (RFC 4346 section 7.4.1.2).
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xC0, 9, 1, 0]].concat();
    let length = body.len() as u8;
    let hello = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let TlsError::Incompatible { why } = tls.receive(&hello, &mut Vec::new()).unwrap_err() else { panic!() };
    assert!(why.contains("before TLS 1.2"), "{why}");
}

#[test]
fn a_changed_byte_ends_the_connection_and_the_other_side_hears_of_it() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    for server in [server(&identity), server_of(&TLS12, &identity)] {
        let mut pair = Pair::met(&client(&authority), &server, NAME);
        pair.client.tls.write(b"payload");
        let mut bytes = pair.client.take(usize::MAX);
        *bytes.last_mut().unwrap() ^= 1;
        pair.server.receive(&bytes);
        assert!(matches!(pair.server.error, Some(TlsError::Other(_))), "{:?}", pair.server.error);
        assert!(pair.server.plain.is_empty());
        pair.settle();
        assert_eq!(pair.client.error, Some(TlsError::Alert("BadRecordMac".into())));
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let authority = Authority::new("Test CA");
    let (client, server) = (client(&authority), server(&authority.identity(NAME)));
    for seed in 0..2000 {
        let mut prng = Prng::new(seed);
        let mut garbage: Vec<u8> = (0..prng.between(1, 3000)).map(|_| prng.next_u64() as u8).collect();
        if seed % 2 == 0 {
            // Looks like a record: a handshake message, an alert, data.
            let head = [prng.between(0x14, 0x18) as u8, 3, 3, prng.between(0, 8) as u8];
            garbage.splice(..0, head);
        }
        for mut tls in [Tls::client(&client, NAME).unwrap(), Tls::server(&server).unwrap()] {
            let mut rest = garbage.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(prng.between(1, rest.len() as u64) as usize);
                let mut plain = Vec::new();
                let result = tls.receive(now, &mut plain);
                assert!(plain.is_empty() && !tls.is_open());
                tls.written(tls.transmit().len());
                if result.is_err() {
                    break;
                }
                rest = later;
            }
        }
    }
}

#[test]
fn a_damaged_handshake_or_conversation_never_panics_and_never_lies() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    let (client, servers) = (client(&authority), [server(&identity), server_of(&TLS12, &identity)]);
    let mut damaged = 0;
    for seed in 0..400 {
        let mut prng = Prng::new(seed);
        let mut pair = Pair::new(&client, &servers[seed as usize % 2], NAME);
        let mut until = prng.between(0, 4000);
        for _ in 0..40 {
            pair.client.tls.write(b"up");
            pair.server.tls.write(b"down");
            for up in [true, false] {
                let (from, to) =
                    if up { (&mut pair.client, &mut pair.server) } else { (&mut pair.server, &mut pair.client) };
                let mut bytes = from.take(usize::MAX);
                if let Some(byte) = bytes.get_mut(until as usize) {
                    *byte ^= 1 << prng.between(0, 7);
                    (until, damaged) = (u64::MAX, damaged + 1);
                } else {
                    until = until.saturating_sub(bytes.len() as u64);
                }
                to.receive(&bytes);
            }
        }
        assert!(pair.server.plain.chunks(2).all(|word| word == b"up"), "seed {seed}");
        assert!(pair.client.plain.chunks(4).all(|word| word == b"down"), "seed {seed}");
    }
    assert!(damaged > 300, "only {damaged} were damaged");
}

#[test]
fn a_handshake_message_without_end_does_not_fill_the_memory() {
    let authority = Authority::new("Test CA");
    let server = server(&authority.identity(NAME));
    // A hello that says it has 65,535 bytes, in records of one byte or of 16 KiB each.
    for size in [1_usize, 16 * 1024] {
        let mut tls = Tls::server(&server).unwrap();
        let record = |payload: &[u8]| {
            let mut record = vec![0x16, 3, 1];
            record.extend((payload.len() as u16).to_be_bytes());
            record.extend(payload);
            record
        };
        let mut error = tls.receive(&record(&[1, 0, 0xff, 0xff]), &mut Vec::new()).err();
        let (mut sent, mut most) = (0, 0);
        while error.is_none() && sent < 1_000_000 {
            error = tls.receive(&record(&vec![0; size]), &mut Vec::new()).err();
            (sent, most) = (sent + size, most.max(tls.buffered()));
        }
        assert!(matches!(error, Some(TlsError::Other(_))), "{error:?} after {sent} bytes");
        assert!(most < 256 * 1024, "{most} bytes were held");
        tls.written(tls.transmit().len());
        assert_eq!(tls.buffered(), 0, "nothing of it is kept");
    }
    let mut tls = Tls::server(&server).unwrap();
    let error = tls.receive(&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, TlsError::Other(_)), "{error:?}");
}
