//! UTF-8 as it comes, limits, and memory.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::wire::websocket::{Control, Message};

const TOO_LARGE: fn(u64, u64) -> Result<(), Violation> = |length, limit| Err(Violation::TooLarge { length, limit });

/// Feeds byte by byte; returns with how many bytes of the stream the violation was found.
fn found_at(stream: &[u8]) -> Option<usize> {
    let mut incoming = Incoming::new(Role::Client, LIMITS);
    (0..stream.len()).find(|at| incoming.next(&mut &stream[*at..=*at]) == Err(Violation::Utf8)).map(|at| at + 1)
}

#[test]
fn the_first_byte_that_cannot_be_utf8_is_refused_as_it_comes() {
    for (text, valid) in [
        (&b"abc\xFFdef"[..], 3),
        (b"\xCE\xBA\xE1\xBD\xB9\xED\xA0\x80edited", 6), // a surrogate: its second byte
        (b"\xF4\x90\x80\x80", 1),                       // above U+10FFFF: its second byte
        (b"\xC0\xAF", 0),                               // overlong
        (b"\xE0\x80\xAF", 1),                           // overlong: its second byte
        (b"ab\x80cd", 2),                               // a continuation alone
        (b"\xE2\x82a", 2),                              // cut off
    ] {
        let whole = frame_to(Role::Client, Opcode::Text, true, text);
        assert_eq!(found_at(&whole), Some(2 + valid + 1), "{text:02x?}");
        let (front, back) = text.split_at(valid);
        let fragments = [
            frame_to(Role::Client, Opcode::Text, false, front),
            frame_to(Role::Client, Opcode::Ping, true, b""),
            frame_to(Role::Client, Opcode::Continuation, true, back),
        ];
        assert_eq!(found_at(&fragments.concat()), Some(2 + valid + 2 + 2 + 1), "{text:02x?}");
        assert_eq!(read_whole(Role::Client, &whole), (vec![], Err(Violation::Utf8)));
    }
}

#[test]
fn a_character_may_be_cut_by_frames_but_not_by_the_end() {
    let text = "κόσμε 😀";
    for cut in 0..=text.len() {
        let (front, back) = text.as_bytes().split_at(cut);
        let stream = [
            frame_to(Role::Server, Opcode::Text, false, front),
            frame_to(Role::Server, Opcode::Continuation, true, back),
        ];
        assert_eq!(read_whole(Role::Server, &stream.concat()), (vec![Item::Message(Message::text(text))], Ok(())));
        let alone = frame_to(Role::Server, Opcode::Text, true, front);
        let expected = if text.is_char_boundary(cut) { Ok(()) } else { Err(Violation::Utf8) };
        assert_eq!(read_whole(Role::Server, &alone).1, expected, "{cut} bytes");
    }
    let binary = frame_to(Role::Server, Opcode::Binary, true, b"\xFF\xFE");
    assert_eq!(read_whole(Role::Server, &binary).0, [Item::Message(Message::binary(&b"\xFF\xFE"[..]))]);
}

#[test]
fn a_frame_or_message_above_the_limit_is_refused_by_its_header() {
    let limits = Limits { frame: 10, message: 15 };
    let of = |opcode, fin, length| frame_to(Role::Client, opcode, fin, &vec![b'x'; length]);
    let result = |frames: &[Vec<u8>]| {
        let mut stream = frames.concat();
        let whole = read(&mut Incoming::new(Role::Client, limits), [&stream[..]]);
        if whole.1.is_err() {
            // The last frame's payload need not come.
            stream.truncate(stream.len() - (frames.last().unwrap().len() - 2));
            let mut incoming = Incoming::new(Role::Client, limits);
            assert_eq!(read(&mut incoming, [&stream[..]]), whole);
            assert_eq!(incoming.reserved(), 0);
        }
        whole.1
    };
    assert_eq!(result(&[of(Opcode::Binary, true, 10)]), Ok(()));
    assert_eq!(result(&[of(Opcode::Binary, true, 11)]), TOO_LARGE(11, 10));
    assert_eq!(result(&[of(Opcode::Text, false, 10), of(Opcode::Continuation, true, 5)]), Ok(()));
    assert_eq!(result(&[of(Opcode::Text, false, 10), of(Opcode::Continuation, true, 6)]), TOO_LARGE(16, 15));
    assert_eq!(result(&[of(Opcode::Ping, true, 100)]), Ok(()), "control frames have a limit of their own");
    let huge = [0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let limit = LIMITS.message as u64;
    assert_eq!(read_whole(Role::Client, &huge).1, TOO_LARGE(i64::MAX as u64, limit));
    let begun = [&of(Opcode::Binary, false, 1)[..], &[0x80], &huge[1..]].concat();
    assert_eq!(read_whole(Role::Client, &begun).1, TOO_LARGE(1 << 63, limit));
}

#[test]
fn memory_is_reserved_for_what_came() {
    let mut incoming = Incoming::new(Role::Client, LIMITS);
    let mut came = 0;
    read(&mut incoming, [&[0x82, 127, 0, 0, 0, 0, 0, 16, 0, 0][..]]).1.unwrap();
    for length in [1, 1, 1000, 23, 5000, 100_000, 500_000, 442_550] {
        assert!(incoming.is_unfinished());
        read(&mut incoming, [&vec![1; length][..]]).1.unwrap();
        came += length;
        assert!(incoming.reserved() <= (4 * came).clamp(1 << 10, 1 << 20), "{} for {came}", incoming.reserved());
    }
    assert_eq!(read(&mut incoming, [&[1][..]]).0, [Item::Message(Message::binary(vec![1; 1 << 20]))]);
    assert!(!incoming.is_unfinished());
    assert_eq!(incoming.reserved(), 0);
}

#[test]
fn many_small_fragments_are_moved_few_times() {
    let mut incoming = Incoming::new(Role::Client, LIMITS);
    read(&mut incoming, [&frame_to(Role::Client, Opcode::Binary, false, b"")[..]]).1.unwrap();
    let fragment = frame_to(Role::Client, Opcode::Continuation, false, b"1");
    let (mut reserved, mut moved) = (0, 0);
    for came in 1..=100_000 {
        read(&mut incoming, [&fragment[..]]).1.unwrap();
        moved += u32::from(incoming.reserved() != reserved);
        reserved = incoming.reserved();
        assert!(reserved <= (2 * came).max(1 << 10), "{reserved} for {came}");
    }
    assert!(moved < 20, "{moved} times");
}

#[test]
fn between_messages_nothing_is_held() {
    assert!(size_of::<Incoming>() <= 32, "{} bytes", size_of::<Incoming>());
    let mut incoming = Incoming::new(Role::Server, LIMITS);
    let stream = [
        frame_to(Role::Server, Opcode::Ping, true, b"12345678"),
        frame_to(Role::Server, Opcode::Binary, false, b"1"),
        frame_to(Role::Server, Opcode::Continuation, true, b"2"),
    ]
    .concat();
    for byte in &stream {
        incoming.next(&mut &[*byte][..]).unwrap();
    }
    assert!(!incoming.is_unfinished() && !incoming.holds_memory());
}

#[test]
fn a_message_of_which_a_byte_is_missing_is_unfinished() {
    for stream in [
        frame_to(Role::Server, Opcode::Ping, true, b"1"),
        frame_to(Role::Server, Opcode::Text, true, b"Hello"),
        [frame_to(Role::Server, Opcode::Text, false, b"H"), frame_to(Role::Server, Opcode::Continuation, true, b"")]
            .concat(),
    ] {
        for have in 0..=stream.len() {
            let mut incoming = Incoming::new(Role::Server, LIMITS);
            let items = read(&mut incoming, [&stream[..have]]).0.len();
            assert_eq!((items, incoming.is_unfinished()), (usize::from(have == stream.len()), have % stream.len() > 0));
        }
    }
    assert_eq!(Control::new(b"1").unwrap().as_slice(), b"1");
}

#[test]
fn what_is_gathered_is_not_shown() {
    let mut incoming = Incoming::new(Role::Client, LIMITS);
    read(&mut incoming, [&b"\x81\x10Bearer 77"[..]]).1.unwrap();
    let shown = alloc::format!("{incoming:?}");
    assert!(shown.contains("is_unfinished: true") && !shown.contains("66, 101, 97"), "{shown}");
}
