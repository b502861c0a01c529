//! Handshakes that succeed, and what is carried then.

use std::vec;
use std::vec::Vec;

use rustls::version::{TLS12, TLS13};

use super::super::machine::Tls;
use super::super::{TlsClient, TlsVersion};
use super::pair::{NAME, Pair, client, client_of, server, server_of};
use super::{Authority, params};
use crate::entropy::Prng;

#[test]
fn both_versions_are_spoken_and_the_newer_one_is_preferred() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    for (client, server, version) in [
        (client(&authority), server(&identity), TlsVersion::V1_3),
        (client(&authority), server_of(&TLS12, &identity), TlsVersion::V1_2),
        (client_of(&TLS12, &authority, None), server(&identity), TlsVersion::V1_2),
        (client_of(&TLS13, &authority, None), server(&identity), TlsVersion::V1_3),
    ] {
        let mut pair = Pair::new(&client, &server, NAME);
        assert_eq!((pair.client.tls.info(), pair.server.tls.info()), (None, None));
        pair.settle();
        pair.assert_open();
        let (at_client, at_server) = (pair.client.tls.info().unwrap(), pair.server.tls.info().unwrap());
        assert_eq!((at_client.version, at_server.version), (version, version));
        assert_eq!(at_client.cipher_suite, at_server.cipher_suite);
        assert!(at_client.cipher_suite.starts_with("TLS"), "{}", at_client.cipher_suite);
        assert!(at_client.peer_certificate.is_some());
        assert_eq!(at_server.peer_certificate, None);
        pair.exchange(b"ping", b"pong", || usize::MAX);
    }
}

#[test]
fn single_bytes_are_enough() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    for server in [server(&identity), server_of(&TLS12, &identity)] {
        let mut pair = Pair::new(&client(&authority), &server, NAME);
        pair.settle_by(|| 1);
        pair.assert_open();
        pair.exchange(b"up", b"down", || 1);
    }
}

#[test]
fn a_megabyte_each_way_arrives_whole() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    let (up, down): (Vec<u8>, Vec<u8>) = (0..1_000_000_u32).map(|i| (i as u8, (i / 251) as u8)).unzip();
    for server in [server(&identity), server_of(&TLS12, &identity)] {
        let mut pair = Pair::met(&client(&authority), &server, NAME);
        pair.exchange(&up, &down, || usize::MAX);
        let mut pair = Pair::met(&client(&authority), &server, NAME);
        pair.exchange(&up, &down, || 1500);
    }
}

#[test]
fn a_huge_input_is_taken_at_once() {
    let authority = Authority::new("Test CA");
    let mut pair = Pair::met(&client(&authority), &server(&authority.identity(NAME)), NAME);
    let block = [7; 16 * 1024];
    let mut wire = Vec::new();
    for _ in 0..64 {
        assert_eq!(pair.client.tls.write(&block), block.len());
        wire.extend(pair.client.take(usize::MAX));
    }
    pair.server.receive(&wire);
    assert_eq!(pair.server.error, None);
    assert_eq!(pair.server.plain.len(), 64 * block.len());
}

#[test]
fn any_chunking_carries_the_same() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    let (client, servers) = (client(&authority), [server(&identity), server_of(&TLS12, &identity)]);
    for seed in 0..40 {
        let mut prng = Prng::new(seed);
        let mut pair = Pair::new(&client, &servers[seed as usize % 2], NAME);
        let limit = [3, 50, 1000, 40_000][seed as usize / 2 % 4];
        pair.settle_by(|| prng.between(1, limit) as usize);
        pair.assert_open();
        let up: Vec<u8> = (0..prng.between(0, 50_000)).map(|_| prng.next_u64() as u8).collect();
        let down: Vec<u8> = (0..prng.between(0, 50_000)).map(|_| prng.next_u64() as u8).collect();
        pair.exchange(&up, &down, || prng.between(1, limit) as usize);
    }
}

#[test]
fn the_second_connection_resumes_the_session() {
    let authority = Authority::new("Test CA");
    let (ours, theirs) = (authority.identity(NAME), authority.identity("device-7"));
    let server = super::super::TlsServer::builder()
        .certificate_pem(ours.chain.as_bytes(), ours.key.as_bytes())
        .client_roots_pem(authority.certificate.as_bytes())
        .build()
        .unwrap();
    let modern = TlsClient::builder()
        .roots_pem(authority.certificate.as_bytes())
        .certificate_pem(theirs.chain.as_bytes(), theirs.key.as_bytes())
        .build()
        .unwrap();
    for client in [modern, client_of(&TLS12, &authority, Some(&theirs))] {
        let resumed: Vec<_> = (0..4)
            .map(|_| {
                let mut pair = Pair::met(&client.clone(), &server.clone(), NAME);
                pair.exchange(b"ping", b"pong", || usize::MAX);
                let (at_client, at_server) = (pair.client.tls.info().unwrap(), pair.server.tls.info().unwrap());
                assert_eq!(at_client.resumed, at_server.resumed);
                assert!(at_client.peer_certificate.is_some() && at_server.peer_certificate.is_some());
                at_client.resumed
            })
            .collect();
        assert_eq!(resumed, [false, true, true, true]);
    }
}

#[test]
fn a_session_is_not_resumed_with_another_server_or_after_its_restart() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    let client = client(&authority);
    let resumed = |server| Pair::met(&client, server, NAME).client.tls.info().unwrap().resumed;
    let before = server(&identity);
    assert!(!resumed(&before));
    assert!(resumed(&before));
    assert!(!resumed(&server(&identity)), "another server has other keys for its tickets");
}

#[test]
fn an_address_and_another_name_than_the_host_can_be_checked() {
    let authority = Authority::new("Test CA");
    for (name, host) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::1", "[::1]"), (NAME, "GATE.example")] {
        let server = server(&authority.identity(name));
        Pair::met(&client(&authority), &server, host).assert_open();
    }
    let builder = TlsClient::builder().roots_pem(authority.certificate.as_bytes());
    let client = builder.server_name(NAME).build().unwrap();
    Pair::met(&client, &server(&authority.identity(NAME)), "10.1.2.3").assert_open();
    Pair::met(&client, &server(&authority.identity(NAME)), "no name at all").assert_open();
}

#[test]
fn nothing_is_taken_while_the_handshake_runs_or_earlier_bytes_wait() {
    let authority = Authority::new("Test CA");
    let mut pair = Pair::new(&client(&authority), &server(&authority.identity(NAME)), NAME);
    assert_eq!((pair.client.tls.write(b"early"), pair.server.tls.write(b"early")), (0, 0));
    pair.settle();
    pair.assert_open();
    assert_eq!(pair.client.tls.write(&[]), 0);
    assert_eq!(pair.client.tls.write(&[1; 20_000]), 16 * 1024);
    assert_eq!(pair.client.tls.write(&[1; 10]), 0);
    let most = pair.client.tls.transmit().len() - 1;
    let mut bytes = pair.client.take(most);
    assert_eq!(pair.client.tls.write(&[1; 10]), 0);
    bytes.extend(pair.client.take(1));
    assert_eq!(pair.client.tls.write(&[2; 10]), 10);
    bytes.extend(pair.client.take(usize::MAX));
    pair.server.receive(&bytes);
    assert!(pair.server.plain[..16 * 1024] == [1; 16 * 1024] && pair.server.plain[16 * 1024..] == [2; 10]);
}

#[test]
fn close_notify_ends_one_direction_and_tells_the_peer() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    for server in [server(&identity), server_of(&TLS12, &identity)] {
        let mut pair = Pair::met(&client(&authority), &server, NAME);
        assert_eq!(pair.client.tls.write(b"last words"), 10);
        pair.client.tls.close();
        pair.client.tls.close();
        assert_eq!(pair.client.tls.write(b"too late"), 0);
        let mut bytes = pair.client.take(usize::MAX);
        bytes.extend(b"what follows is nobody's");
        pair.server.receive(&bytes);
        pair.server.receive(b"nor is this");
        assert_eq!((pair.server.error.take(), pair.server.plain.as_slice()), (None, b"last words".as_slice()));
        assert!(pair.server.tls.peer_closed() && !pair.client.tls.peer_closed());
        assert_eq!(pair.server.tls.buffered(), 0, "what follows is not kept");

        assert_eq!(pair.server.tls.write(b"answer"), 6, "the other direction is still open");
        pair.server.tls.close();
        pair.settle();
        assert_eq!((pair.client.error.take(), pair.client.plain.as_slice()), (None, b"answer".as_slice()));
        assert!(pair.client.tls.peer_closed());
    }
}

#[test]
fn closing_before_the_handshake_is_done_says_nothing() {
    let authority = Authority::new("Test CA");
    let mut pair = Pair::new(&client(&authority), &server(&authority.identity(NAME)), NAME);
    pair.server.tls.close();
    assert_eq!(pair.server.tls.transmit(), b"");
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    fn is_send<T: Send>(_: &T) {}
    let authority = Authority::new("Test CA");
    let mut pair = Pair::met(&client(&authority), &server(&authority.identity(NAME)), NAME);
    pair.exchange(&vec![1; 100_000], &vec![2; 100_000], || 999);
    for end in [&pair.client, &pair.server] {
        assert_eq!(end.tls.buffered(), 0);
        is_send(&end.tls);
    }
    assert!(size_of::<Tls>() <= 160, "{} bytes", size_of::<Tls>());
}

#[test]
fn a_chain_over_an_intermediate_is_followed() {
    let root = Authority::new("Test CA");
    let middle = root.below(super::authority("Middle CA"));
    let mut identity = middle.sign(&params(NAME));
    identity.chain.push_str(&middle.certificate);
    Pair::met(&client(&root), &server(&identity), NAME).assert_open();
}
