//! Compressed messages, from the handshake on.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::entropy::{Entropy, Prng};
use crate::wire::websocket::deflate::{Agreement, DeflateConfig};
use crate::wire::websocket::upgrade::{Agreed, Offer, ServerUpgrade, UpgradeError, UpgradeRequest};
use crate::wire::websocket::{CloseCode, Control, MaskKeys, Message, Outgoing};

const PLAIN: DeflateConfig = DeflateConfig::DEFAULT;

/// A client's offer, and what the client makes of an answer to it.
fn offered(config: DeflateConfig) -> (Offer, impl FnOnce(&[u8]) -> Result<Agreed, UpgradeError>) {
    let request = UpgradeRequest::new("/").unwrap().deflate(config).unwrap();
    let (mut client, request) = request.begin(&"a.example:80".parse().unwrap(), false, [1; 16]);
    let offer = ServerUpgrade::new().receive(&mut &request[..]).unwrap().unwrap().into_offer().unwrap();
    (offer, move |answer| client.receive(&mut &answer[..]).map(Option::unwrap))
}

fn agreed(client: DeflateConfig, server: DeflateConfig) -> Agreement {
    let (offer, client) = offered(client);
    let deflate = offer.deflate(&server);
    let ours = Agreed { deflate, ..Agreed::default() };
    assert_eq!(client(&offer.accept(&ours).unwrap()).unwrap(), ours);
    deflate.unwrap()
}

fn knowing() -> DeflateConfig {
    PLAIN.context_takeover(Role::Client, true).context_takeover(Role::Server, true)
}

fn compressed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[0] |= 0x40;
    frame
}

fn reader(agreement: &Agreement, limit: usize) -> Incoming {
    Incoming::new(Role::Client, Limits::of_message(limit)).with_deflate(agreement)
}

#[test]
fn a_server_need_not_agree() {
    let (offer, client) = offered(PLAIN);
    assert_eq!(client(&offer.accept(&Agreed::default()).unwrap()), Ok(Agreed::default()));
    let (offer, client) = offered(PLAIN);
    let answer = offer.accept(&Agreed { deflate: offer.deflate(&PLAIN), ..Agreed::default() }).unwrap();
    let other = alloc::string::String::from_utf8(answer).unwrap().replace("server_no_context_takeover; ", "");
    assert!(matches!(client(other.as_bytes()), Err(UpgradeError::Broken(problem)) if problem.contains("takeover")));
}

#[test]
fn what_each_end_writes_the_other_reads() {
    for seed in 0..40 {
        let mut prng = Prng::new(seed);
        let config = if seed % 2 == 0 { PLAIN } else { knowing() };
        let config = config.max_window_bits(Role::Client, 8 + prng.between(0, 7) as u8).unwrap();
        let agreement = agreed(config, knowing().max_window_bits(Role::Server, 8 + prng.between(0, 7) as u8).unwrap());
        for (outgoing, reader) in
            [(Outgoing::server(), Role::Client), (Outgoing::client(MaskKeys::new([7; 32])), Role::Server)]
        {
            let mut outgoing = outgoing.with_deflate(&agreement);
            let (mut tx, mut items, mut plain) = (Tx::default(), Vec::new(), 0);
            for _ in 0..prng.between(1, 8) {
                let length = [10, 100, 3000, 60_000][prng.between(0, 3) as usize];
                let message = match prng.between(0, 2) {
                    0 => Message::text("Die Lösung ist 42. ".repeat(length / 20)),
                    1 => Message::binary(vec![seed as u8; length]),
                    _ => {
                        let mut random = vec![0; length];
                        prng.fill(&mut random);
                        Message::binary(random)
                    }
                };
                plain += message.payload().len() as u64;
                outgoing.message(&message, &mut tx);
                items.push(Item::Message(message));
                let ping = Control::new(&[seed as u8]).unwrap();
                outgoing.ping(&ping, &mut tx);
                items.push(Item::Ping(ping));
            }
            assert!(tx.len() <= plain + plain / 100 + 1000, "seed {seed}: {} bytes for {plain}", tx.len());
            let stream = drain(&mut tx);
            for piece in [1, 100, stream.len()] {
                let mut incoming = Incoming::new(reader, LIMITS).with_deflate(&agreement);
                assert!(
                    read(&mut incoming, stream.chunks(piece)) == (items.clone(), Ok(())),
                    "seed {seed}, {reader:?}"
                );
                assert!(!incoming.holds_memory());
            }
        }
    }
}

#[test]
fn a_compressed_message_above_the_limit_leaves_in_fragments() {
    let (agreement, mut noise) = (agreed(PLAIN, PLAIN), vec![0; 150_000]);
    Prng::new(3).fill(&mut noise);
    // Half a byte of each is drawn, so that compressing halves it.
    let message = Message::binary(noise.iter().map(|byte| byte & 0x0F).collect::<Vec<u8>>());
    let (mut server, mut tx) = (Outgoing::server().with_deflate(&agreement), Tx::default());
    server.message(&message, &mut tx);
    let ping = Control::new(b"between").unwrap();
    server.ping(&ping, &mut tx);
    assert!(server.has_rest());
    while server.rest(&mut tx) {}
    let stream = drain(&mut tx);
    assert!((70_000..100_000).contains(&stream.len()), "{} bytes", stream.len());
    for piece in [100, stream.len()] {
        let items = vec![Item::Ping(ping.clone()), Item::Message(message.clone())];
        assert!(read(&mut reader(&agreement, 150_000), stream.chunks(piece)) == (items, Ok(())));
    }
}

#[test]
fn a_compressed_message_may_be_fragmented_anywhere() {
    let agreement = agreed(PLAIN, PLAIN);
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for cut in 0..=hello.len() {
        let (front, back) = hello.split_at(cut);
        let stream = [
            compressed(frame_to(Role::Client, Opcode::Text, false, front)),
            frame_to(Role::Client, Opcode::Ping, true, b""),
            frame_to(Role::Client, Opcode::Continuation, true, back),
            frame_to(Role::Client, Opcode::Text, true, b"plain"),
        ]
        .concat();
        let items = [
            Item::Ping(Control::new(b"").unwrap()),
            Item::Message(Message::text("Hello")),
            Item::Message(Message::text("plain")),
        ];
        for piece in [1, stream.len()] {
            let (came, verdict) = read(&mut reader(&agreement, 5), stream.chunks(piece));
            assert_eq!((&came[..], verdict), (&items[..], Ok(())));
        }
    }
}

#[test]
fn only_the_first_frame_of_a_message_says_that_it_is_compressed() {
    let agreement = agreed(PLAIN, PLAIN);
    let begun = frame_to(Role::Client, Opcode::Text, false, b"");
    for stream in [
        compressed(frame_to(Role::Client, Opcode::Ping, true, b"")),
        compressed(frame_to(Role::Client, Opcode::Close, true, b"")),
        [begun.clone(), compressed(frame_to(Role::Client, Opcode::Continuation, true, b"\x00"))].concat(),
        [compressed(begun), compressed(frame_to(Role::Client, Opcode::Continuation, true, b"\x00"))].concat(),
    ] {
        let (items, verdict) = read(&mut reader(&agreement, 100), [&stream[..]]);
        assert!(
            items.is_empty() && matches!(verdict, Err(Violation::Protocol(problem)) if problem.contains("reserved"))
        );
    }
    let stream = compressed(frame_to(Role::Client, Opcode::Text, true, b"\x00"));
    assert!(matches!(read_whole(Role::Client, &stream).1, Err(Violation::Protocol(_))), "not agreed on");
}

#[test]
fn the_limit_is_that_of_the_message_as_the_application_gets_it() {
    let agreement = agreed(PLAIN, PLAIN);
    let mut tx = Tx::default();
    Outgoing::server().with_deflate(&agreement).message(&Message::binary(vec![0; 100_000]), &mut tx);
    let stream = drain(&mut tx);
    assert!(stream.len() < 200);
    for piece in [1, stream.len()] {
        assert_eq!(read(&mut reader(&agreement, 100_000), stream.chunks(piece)).0.len(), 1);
        let verdict = read(&mut reader(&agreement, 99_999), stream.chunks(piece)).1;
        assert_eq!(verdict, Err(Violation::TooLarge { length: 100_000, limit: 99_999 }));
    }
    // What does not shrink is a little longer on its way, and not above the limit for that.
    let stored = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"Hello", &[0x00]].concat();
    let stream = compressed(frame_to(Role::Client, Opcode::Text, true, &stored));
    assert_eq!(read(&mut reader(&agreement, 5), [&stream[..]]).0, [Item::Message(Message::text("Hello"))]);
    let limits = Limits { frame: 10, message: 100 };
    let mut incoming = Incoming::new(Role::Client, limits).with_deflate(&agreement);
    assert_eq!(read(&mut incoming, [&stream[..]]).1, Err(Violation::TooLarge { length: 11, limit: 10 }));
}

#[test]
fn a_compressed_text_is_utf8_as_far_as_it_came() {
    let agreement = agreed(PLAIN, PLAIN);
    let stored = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"He\xFFlo", &[0x00]].concat();
    let stream = compressed(frame_to(Role::Client, Opcode::Text, true, &stored));
    let mut incoming = reader(&agreement, 100);
    // Two bytes of header, five of the block, and the third character.
    for (at, byte) in stream.iter().enumerate() {
        match incoming.next(&mut &[*byte][..]) {
            Ok(item) => assert!(item.is_none() && at < 9, "byte {at}"),
            Err(violation) => return assert_eq!((at, violation), (9, Violation::Utf8)),
        }
    }
    panic!("the text was taken");
}

#[test]
fn what_cannot_be_inflated_closes_with_1007() {
    let agreement = agreed(PLAIN, PLAIN);
    let stream = compressed(frame_to(Role::Client, Opcode::Binary, true, &[0x06]));
    let violation = read(&mut reader(&agreement, 100), [&stream[..]]).1.unwrap_err();
    assert_eq!((violation, violation.code()), (Violation::Deflate, CloseCode::INVALID_PAYLOAD));
}

#[test]
fn a_text_that_is_wrong_in_front_of_what_cannot_be_inflated_is_wrong_however_it_is_cut() {
    let agreement = agreed(PLAIN, PLAIN);
    // A block with fixed codes: the literal 0xFF, and a length that there is not.
    let stream = compressed(frame_to(Role::Client, Opcode::Text, true, &[0xFA, 0x3F, 0x06]));
    for piece in [1, stream.len()] {
        assert_eq!(read(&mut reader(&agreement, 100), stream.chunks(piece)), (vec![], Err(Violation::Utf8)));
    }
}

#[test]
fn a_stream_that_inflates_to_nothing_ends() {
    let agreement = agreed(PLAIN, PLAIN);
    let mut reader = reader(&agreement, 10_000);
    // An empty stored block of deflate, again and again.
    let fragment = |first| [&[first, 126, 1, 244][..], &[0, 0, 0, 0xff, 0xff].repeat(100)].concat();
    assert_eq!(reader.next(&mut &fragment(0x42)[..]), Ok(None));
    let more = (0..1000).position(|_| reader.next(&mut &fragment(0x00)[..]).is_err());
    // 10,000 bytes, a quarter and 1 KiB more, by 500.
    assert_eq!(more, Some(26));
    let last = reader.next(&mut &fragment(0x00)[..]);
    assert_eq!(last, Err(Violation::TooLarge { length: 14_000, limit: 13_524 }));
}
