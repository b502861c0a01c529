//! What RFC 6455 shows, and what it forbids.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::wire::websocket::{Close, CloseCode, Control, MaskKeys, Message, Outgoing};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn control(payload: &[u8]) -> Control {
    Control::new(payload).unwrap()
}

fn protocol(reader: Role, stream: &[u8]) -> &'static str {
    match read_whole(reader, stream).1 {
        Err(violation @ Violation::Protocol(problem)) => {
            assert_eq!(violation.code(), CloseCode::PROTOCOL_ERROR);
            problem
        }
        other => panic!("{stream:02x?}: {other:?}"),
    }
}

#[test]
fn the_examples_of_section_5_7_are_read() {
    let hello = || Item::Message(Message::text("Hello"));
    for (reader, stream, item) in [
        (Role::Client, &b"\x81\x05Hello"[..], hello()),
        (Role::Server, &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], hello()),
        (Role::Client, b"\x01\x03Hel\x80\x02lo", hello()),
        (Role::Client, b"\x89\x05Hello", Item::Ping(control(b"Hello"))),
        (
            Role::Server,
            &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
            Item::Pong(control(b"Hello")),
        ),
    ] {
        assert_eq!(read_whole(reader, stream), (vec![item], Ok(())));
    }
    for (header, length) in [(&[0x82, 0x7E, 0x01, 0x00][..], 256), (&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], 65536)] {
        let stream = [header, &vec![7; length]].concat();
        let message = Message::binary(vec![7; length]);
        assert_eq!(read_whole(Role::Client, &stream), (vec![Item::Message(message.clone())], Ok(())));
        let mut tx = Tx::default();
        Outgoing::server().message(&message, &mut tx);
        assert_eq!(drain(&mut tx), stream);
    }
}

#[test]
fn a_server_writes_the_examples_and_a_client_masks() {
    let mut tx = Tx::default();
    let mut server = Outgoing::server();
    server.message(&Message::text("Hello"), &mut tx);
    server.ping(&control(b"Hello"), &mut tx);
    server.pong(&control(b""), &mut tx);
    server.close(&Close::new(CloseCode::GOING_AWAY, "bye").unwrap(), &mut tx);
    assert_eq!(drain(&mut tx), b"\x81\x05Hello\x89\x05Hello\x8a\x00\x88\x05\x03\xe9bye");

    let mut keys = MaskKeys::new([5; 32]);
    let mut client = Outgoing::client(keys.clone());
    for opcode in [0x81, 0x89, 0x88] {
        let payload: &[u8] = if opcode == 0x88 { &[0x03, 0xe8] } else { b"Hello" };
        match opcode {
            0x81 => client.message(&Message::text("Hello"), &mut tx),
            0x89 => client.ping(&control(b"Hello"), &mut tx),
            _ => client.close(&Close::new(CloseCode::NORMAL, "").unwrap(), &mut tx),
        }
        let key = keys.key();
        let masked = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        let expected: Vec<u8> = [opcode, 0x80 | payload.len() as u8].into_iter().chain(key).chain(masked).collect();
        assert_eq!(drain(&mut tx), expected);
    }
}

#[test]
fn nothing_is_written_behind_a_close() {
    let mut tx = Tx::default();
    let mut server = Outgoing::server();
    assert!(!server.is_closed());
    server.close(&Close::EMPTY, &mut tx);
    assert!(server.is_closed());
    assert_eq!(drain(&mut tx), [0x88, 0]);
    server.close(&Close::EMPTY, &mut tx);
    server.message(&Message::binary(vec![1; 10]), &mut tx);
    server.ping(&control(b""), &mut tx);
    server.pong(&control(&[0; 100]), &mut tx);
    assert!(tx.is_empty());
}

#[test]
fn frames_must_be_masked_as_the_role_says() {
    assert_eq!(protocol(Role::Server, b"\x81\x05Hello"), "a client's frame is not masked");
    assert_eq!(protocol(Role::Client, &[0x81, 0x80, 1, 2, 3, 4]), "a server's frame is masked");
    assert_eq!(protocol(Role::Server, &[0x89, 0]), "a client's frame is not masked");
    assert_eq!(protocol(Role::Client, &[0x8A, 0x80, 1, 2, 3, 4]), "a server's frame is masked");
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    for role in ROLES {
        for bit in [0x40, 0x20, 0x10] {
            for opcode in [0x81, 0x82, 0x88, 0x89, 0x8A] {
                let mut stream = vec![opcode | bit, 0];
                if role == Role::Server {
                    stream = vec![opcode | bit, 0x80, 0, 0, 0, 0];
                }
                assert!(protocol(role, &stream).contains("reserved bit"), "{stream:02x?}");
            }
        }
        for opcode in (3..8).chain(11..16) {
            assert_eq!(protocol(role, &[0x80 | opcode]), "a frame has a reserved opcode");
        }
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        assert_eq!(protocol(Role::Client, &[opcode]), "a control frame is fragmented");
        assert_eq!(protocol(Role::Client, &[0x80 | opcode, 126, 0, 126]), "a control frame has more than 125 bytes");
    }
    let longest = frame_to(Role::Server, Opcode::Ping, true, &[9; 125]);
    assert_eq!(read_whole(Role::Server, &longest).0, [Item::Ping(control(&[9; 125]))]);
}

#[test]
fn lengths_take_the_fewest_bytes() {
    assert_eq!(protocol(Role::Client, &[0x82, 126, 0, 125]), "a frame's length has more bytes than it needs");
    let long = [0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
    assert_eq!(protocol(Role::Client, &long), "a frame's length has more bytes than it needs");
    let highest = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(protocol(Role::Client, &highest), "a frame's length has its highest bit set");
}

#[test]
fn fragments_follow_their_message_and_control_frames_may_stand_between() {
    for role in ROLES {
        let frame = |opcode, fin, payload: &[u8]| frame_to(role, opcode, fin, payload);
        assert_eq!(protocol(role, &frame(Opcode::Continuation, true, b"x")), "there is no message to continue");
        assert_eq!(protocol(role, &frame(Opcode::Continuation, false, b"x")), "there is no message to continue");
        for second in [Opcode::Text, Opcode::Binary] {
            let stream = [frame(Opcode::Text, false, b"x"), frame(second, true, b"y")].concat();
            assert_eq!(protocol(role, &stream), "a message begins before the last one ends");
        }
        let stream = [
            frame(Opcode::Text, false, b"Hel"),
            frame(Opcode::Ping, true, b"1"),
            frame(Opcode::Continuation, false, b""),
            frame(Opcode::Pong, true, &[2; 125]),
            frame(Opcode::Continuation, true, b"lo"),
            frame(Opcode::Binary, true, b""),
        ];
        let items = vec![
            Item::Ping(control(b"1")),
            Item::Pong(control(&[2; 125])),
            Item::Message(Message::text("Hello")),
            Item::Message(Message::binary(&b""[..])),
        ];
        assert_eq!(read_whole(role, &stream.concat()), (items, Ok(())));
    }
}

#[test]
fn a_close_is_the_last_that_is_read() {
    for role in ROLES {
        let frame = |opcode, fin, payload: &[u8]| frame_to(role, opcode, fin, payload);
        let close = || Item::Close(Close::new(CloseCode::NORMAL, "bye").unwrap());
        let stream = [
            frame(Opcode::Text, false, b"never finished"),
            frame(Opcode::Close, true, b"\x03\xe8bye"),
            frame(Opcode::Ping, true, b""),
            vec![0xFF; 100],
        ]
        .concat();
        let mut incoming = Incoming::new(role, LIMITS);
        assert_eq!(read(&mut incoming, [&stream[..]]), (vec![close()], Ok(())));
        assert_eq!(read(&mut incoming, [&stream[..]]), (vec![], Ok(())));
        assert!(!incoming.is_unfinished());
    }
}

#[test]
fn a_close_has_no_code_or_one_that_may_be_sent_and_a_reason_in_utf8() {
    let close = |payload: &[u8]| read_whole(Role::Client, &frame_to(Role::Client, Opcode::Close, true, payload));
    assert_eq!(close(b""), (vec![Item::Close(Close::EMPTY)], Ok(())));
    assert_eq!(close(b"\x03").1, Err(Violation::Protocol("a close frame has a payload of one byte")));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let problem = Violation::Protocol("a close frame has a code that none may carry");
        assert_eq!(close(&code.to_be_bytes()).1, Err(problem));
    }
    assert_eq!(close(b"\x03\xe8\xff").1, Err(Violation::Utf8));
    assert_eq!(close(b"\x03\xe8\xe2\x82").1, Err(Violation::Utf8));
}

#[test]
fn a_violation_says_what_to_close_with_and_stays() {
    let too_large = Violation::TooLarge { length: 9, limit: 8 };
    for (violation, code, words) in [
        (Violation::Protocol("a rule"), CloseCode::PROTOCOL_ERROR, "broke the protocol: a rule"),
        (Violation::Utf8, CloseCode::INVALID_PAYLOAD, "not UTF-8"),
        (Violation::Deflate, CloseCode::INVALID_PAYLOAD, "not compressed"),
        (too_large, CloseCode::MESSAGE_TOO_BIG, "9 bytes or more; the limit is 8"),
    ] {
        assert_eq!(violation.code(), code);
        assert_eq!(Close::from(violation).code(), Some(code));
        assert!(violation.to_string().contains(words), "{violation}");
    }
    let mut incoming = Incoming::new(Role::Client, LIMITS);
    let violation = read(&mut incoming, [&[0x83][..]]).1;
    assert!(violation.is_err());
    assert_eq!(read(&mut incoming, [&b"\x89\x00"[..]]), (vec![], violation));
    assert_eq!(incoming.next(&mut &[][..]).map(|_| ()), violation);
}
