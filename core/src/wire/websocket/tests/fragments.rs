//! Large messages on their way out, piece by piece.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::wire::websocket::{Close, CloseCode, Control, FRAGMENT, MaskKeys, Message, Outgoing, WHOLE_LIMIT};

fn both() -> [(Outgoing, Role); 2] {
    [(Outgoing::server(), Role::Client), (Outgoing::client(MaskKeys::new([3; 32])), Role::Server)]
}

/// What the frames of a stream are: opcode, whether it is the last of its message, and its length.
fn frames(mut stream: &[u8]) -> Vec<(Opcode, bool, u64)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = frame::read(stream).unwrap() {
        frames.push((header.opcode, header.fin, header.length));
        stream = &rest[header.length as usize..];
    }
    frames
}

fn ping(number: u8) -> Control {
    Control::new(&[number]).unwrap()
}

#[test]
fn a_message_above_the_limit_leaves_in_fragments_and_others_whole() {
    const PIECE: u64 = FRAGMENT as u64;
    for (length, expected) in [
        (WHOLE_LIMIT, vec![(Opcode::Binary, true, 2 * PIECE)]),
        (
            WHOLE_LIMIT + 1,
            vec![(Opcode::Binary, false, PIECE), (Opcode::Continuation, false, PIECE), (Opcode::Continuation, true, 1)],
        ),
        (
            3 * FRAGMENT,
            vec![
                (Opcode::Binary, false, PIECE),
                (Opcode::Continuation, false, PIECE),
                (Opcode::Continuation, true, PIECE),
            ],
        ),
    ] {
        for (mut outgoing, reader) in both() {
            let (mut tx, message) = (Tx::default(), Message::binary(vec![5; length]));
            outgoing.message(&message, &mut tx);
            assert_eq!(outgoing.has_rest(), expected.len() > 1);
            assert!(tx.len() <= 2 * PIECE + 14, "{} bytes wait at once", tx.len());
            while outgoing.rest(&mut tx) {}
            assert!(!outgoing.has_rest());
            let stream = drain(&mut tx);
            assert_eq!(frames(&stream), expected);
            assert!(read_whole(reader, &stream) == (vec![Item::Message(message)], Ok(())));
        }
    }
}

#[test]
fn control_frames_go_between_fragments() {
    for (mut outgoing, reader) in both() {
        // Four bytes a character, and one in front: every fragment cuts one.
        let text = Message::text(String::from("x") + &"😀".repeat(FRAGMENT));
        let (mut tx, mut items) = (Tx::default(), Vec::new());
        outgoing.message(&text, &mut tx);
        for number in 0.. {
            outgoing.ping(&ping(number), &mut tx);
            items.push(Item::Ping(ping(number)));
            if !outgoing.rest(&mut tx) {
                break;
            }
        }
        items.insert(4, Item::Message(text));
        assert_eq!(items.len(), 6, "four pings before the last of five fragments, one behind it");
        let stream = drain(&mut tx);
        for piece in [1000, FRAGMENT, stream.len()] {
            assert!(read(&mut Incoming::new(reader, LIMITS), stream.chunks(piece)) == (items.clone(), Ok(())));
        }
    }
}

#[test]
fn the_next_message_waits_for_the_rest_of_the_one_before() {
    for (mut outgoing, reader) in both() {
        let messages = [Message::binary(vec![1; 100_000]), Message::text("x".repeat(200_000)), Message::text("short")];
        let mut tx = Tx::default();
        messages.iter().for_each(|message| outgoing.message(message, &mut tx));
        let items = messages.map(Item::Message).to_vec();
        assert!(read_whole(reader, &drain(&mut tx)) == (items, Ok(())));
    }
}

#[test]
fn a_close_forgets_the_rest() {
    for (mut outgoing, reader) in both() {
        let mut tx = Tx::default();
        outgoing.message(&Message::binary(vec![1; 100_000]), &mut tx);
        let close = Close::new(CloseCode::GOING_AWAY, "").unwrap();
        outgoing.close(&close, &mut tx);
        assert!(!outgoing.has_rest() && !outgoing.rest(&mut tx));
        let stream = drain(&mut tx);
        assert_eq!(frames(&stream).len(), 2);
        assert_eq!(read_whole(reader, &stream), (vec![Item::Close(close)], Ok(())));
    }
}

#[test]
fn a_server_hands_fragments_on_without_a_copy() {
    let message = Message::binary(vec![1; 4 * FRAGMENT]);
    let (mut server, mut tx, mut at) = (Outgoing::server(), Tx::default(), 0);
    server.message(&message, &mut tx);
    loop {
        tx.consume(tx.chunk().len());
        assert_eq!(tx.chunk().as_ptr(), message.payload()[at..].as_ptr());
        at += tx.consume(tx.chunk().len());
        if !server.rest(&mut tx) {
            break;
        }
    }
    assert_eq!(at, 4 * FRAGMENT);
}
