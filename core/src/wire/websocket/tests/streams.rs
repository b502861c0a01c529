//! Streams drawn from seeds, for both roles.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::entropy::{Entropy, Prng};
use crate::wire::websocket::{Close, CloseCode, Control, MaskKeys, Message, Outgoing};

const SEEDS: u64 = 100;

const SIZES: [u64; 9] = [0, 1, 14, 15, 125, 126, 700, 5000, 70_000];

fn bytes(prng: &mut Prng, most: u64) -> Vec<u8> {
    let mut bytes = vec![0; prng.between(0, most) as usize];
    prng.fill(&mut bytes);
    bytes
}

fn message(prng: &mut Prng) -> Message {
    let most = SIZES[prng.between(0, 8) as usize];
    if prng.between(0, 1) == 0 {
        return Message::binary(bytes(prng, most));
    }
    let letters = ['a', 'é', '❤', '😀'];
    Message::text(
        (0..prng.between(0, most / 4)).map(|_| letters[prng.between(0, 3) as usize]).collect::<alloc::string::String>(),
    )
}

fn control(prng: &mut Prng) -> Item {
    let most = [0, 8, 14, 125][prng.between(0, 3) as usize];
    let payload = Control::new(&bytes(prng, most)).unwrap();
    if prng.between(0, 1) == 0 { Item::Ping(payload) } else { Item::Pong(payload) }
}

/// A stream to `reader` and what is in it: fragmented messages, control frames between and within them, a close at the end.
fn stream(reader: Role, prng: &mut Prng) -> (Vec<u8>, Vec<Item>) {
    let (mut stream, mut items) = (Vec::new(), Vec::new());
    for _ in 0..prng.between(0, 12) {
        while prng.between(0, 2) == 0 {
            put_control(reader, control(prng), &mut stream, &mut items);
        }
        let message = message(prng);
        let mut rest = &message.payload()[..];
        let mut opcode = if message.is_text() { Opcode::Text } else { Opcode::Binary };
        loop {
            let fin = prng.between(0, 2) > 0;
            let (now, later) =
                rest.split_at(if fin { rest.len() } else { prng.between(0, rest.len() as u64) as usize });
            stream.extend(frame_to(reader, opcode, fin, now));
            if fin {
                break;
            }
            while prng.between(0, 2) == 0 {
                put_control(reader, control(prng), &mut stream, &mut items);
            }
            (opcode, rest) = (Opcode::Continuation, later);
        }
        items.push(Item::Message(message));
    }
    if prng.between(0, 1) == 0 {
        stream.extend(frame_to(reader, Opcode::Close, true, b"\x03\xe9gone"));
        items.push(Item::Close(Close::new(CloseCode::GOING_AWAY, "gone").unwrap()));
    }
    (stream, items)
}

fn put_control(reader: Role, item: Item, stream: &mut Vec<u8>, items: &mut Vec<Item>) {
    match &item {
        Item::Ping(payload) => stream.extend(frame_to(reader, Opcode::Ping, true, payload.as_slice())),
        Item::Pong(payload) => stream.extend(frame_to(reader, Opcode::Pong, true, payload.as_slice())),
        Item::Message(_) | Item::Close(_) => panic!("a control frame that goes on: {item:?}"),
    }
    items.push(item);
}

/// Cuts a stream at random.
fn pieces<'a>(stream: &'a [u8], prng: &mut Prng) -> Vec<&'a [u8]> {
    let most = [1, 3, 20, 1000, 100_000][prng.between(0, 4) as usize];
    let (mut pieces, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(prng.between(1, most) as usize));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

#[test]
fn what_is_written_is_read_however_it_is_cut() {
    for seed in 0..SEEDS {
        for reader in [Role::Client, Role::Server] {
            let mut prng = Prng::new(seed);
            let (stream, items) = stream(reader, &mut prng);
            for _ in 0..3 {
                let mut incoming = Incoming::new(reader, LIMITS);
                assert!(
                    read(&mut incoming, pieces(&stream, &mut prng)) == (items.clone(), Ok(())),
                    "seed {seed}, {reader:?}"
                );
                assert!(!incoming.is_unfinished());
            }
        }
    }
}

#[test]
fn broken_streams_fail_alike_however_they_are_cut() {
    let mut failed = 0;
    for seed in 0..SEEDS * 3 {
        for reader in [Role::Client, Role::Server] {
            let mut prng = Prng::new(seed);
            let (mut stream, _) = stream(reader, &mut prng);
            if stream.is_empty() {
                continue;
            }
            for _ in 0..prng.between(1, 3) {
                let at = prng.between(0, stream.len().min(300) as u64 - 1) as usize;
                stream[at] ^= 1 << prng.between(0, 7);
            }
            let whole = read_whole(reader, &stream);
            failed += u32::from(whole.1.is_err());
            for _ in 0..3 {
                let cut = read(&mut Incoming::new(reader, LIMITS), pieces(&stream, &mut prng));
                assert!(cut == whole, "seed {seed}, {reader:?}: {:?} and {:?}", cut.1, whole.1);
            }
        }
    }
    assert!(failed > SEEDS as u32, "only {failed} streams were broken");
}

#[test]
fn each_end_reads_what_the_other_writes() {
    for seed in 0..SEEDS {
        let mut prng = Prng::new(seed);
        let mut key = [0; 32];
        prng.fill(&mut key);
        for (mut outgoing, reader) in
            [(Outgoing::server(), Role::Client), (Outgoing::client(MaskKeys::new(key)), Role::Server)]
        {
            let (mut tx, mut items) = (Tx::default(), Vec::new());
            let mut whole = None;
            for _ in 0..prng.between(0, 10) {
                let item = if prng.between(0, 1) == 0 { control(&mut prng) } else { Item::Message(message(&mut prng)) };
                match &item {
                    Item::Ping(payload) => outgoing.ping(payload, &mut tx),
                    Item::Pong(payload) => outgoing.pong(payload, &mut tx),
                    Item::Message(message) => {
                        items.extend(whole.take());
                        outgoing.message(message, &mut tx);
                    }
                    Item::Close(_) => panic!("not drawn"),
                }
                if prng.between(0, 1) == 0 {
                    outgoing.rest(&mut tx);
                }
                // A message in fragments arrives behind what was written in between.
                if outgoing.has_rest() && matches!(item, Item::Message(_)) {
                    whole = Some(item);
                    continue;
                }
                if !outgoing.has_rest() {
                    let at = items.len();
                    items.extend(whole.take());
                    // Its last fragment left behind this control frame, or this message behind its last fragment.
                    if matches!(item, Item::Message(_)) { items.push(item) } else { items.insert(at, item) }
                } else {
                    items.push(item);
                }
            }
            while outgoing.rest(&mut tx) {}
            items.extend(whole);
            let close = Close::new(CloseCode::NORMAL, &format!("seed {seed}")).unwrap();
            outgoing.close(&close, &mut tx);
            items.push(Item::Close(close));
            let stream = drain(&mut tx);
            let read = read(&mut Incoming::new(reader, LIMITS), pieces(&stream, &mut prng));
            assert!(read == (items, Ok(())), "seed {seed}, {reader:?}");
        }
    }
}

#[test]
fn a_server_hands_a_large_payload_on_without_a_copy() {
    let message = Message::binary(bytes(&mut Prng::new(1), 1 << 20));
    let mut tx = Tx::default();
    Outgoing::server().message(&message, &mut tx);
    tx.consume(tx.chunk().len());
    assert_eq!(tx.chunk().as_ptr(), message.payload().as_ptr());
}
