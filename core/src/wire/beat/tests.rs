use super::*;
use crate::wire::{Goodbye, Reason};
use alloc::boxed::Box;
use alloc::vec;
use std::format;

fn fresh() -> Beat {
    Beat::new(&BeatConfig::default())
}

fn open() -> Beat {
    let mut beat = fresh();
    beat.established();
    beat
}

fn one(beat: &mut Beat, mut input: &[u8]) -> Result<Option<Frame>, WireError> {
    beat.decode(&mut input)
}

#[test]
fn a_connection_without_traffic_is_small() {
    assert!(size_of::<Beat>() <= 24, "{} bytes", size_of::<Beat>());
    assert_eq!(fresh().reserved(), 0);
}

#[test]
fn nothing_comes_of_nothing() {
    assert_eq!(one(&mut fresh(), &[]), Ok(None));
    assert_eq!(one(&mut open(), &[]), Ok(None));
    assert!(!open().mid_frame());
}

#[test]
fn other_protocols_fail_at_their_first_byte() {
    let firsts =
        [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0x16, 0x03, 0x01], &[0x10, 0x0C, 0x00, 0x04, b'M'], b"\n"];
    for first in firsts {
        let error = one(&mut fresh(), &first[..1]);
        assert!(matches!(error, Err(WireError::Unexpected { .. })), "{first:x?}: {error:?}");
    }
}

#[test]
fn an_error_stays() {
    let mut beat = fresh();
    let error = one(&mut beat, &[kind::BEAT, 1, 1]);
    assert!(matches!(error, Err(WireError::Unexpected { frame: "BEAT", .. })));
    beat.established();
    assert_eq!(one(&mut beat, &[kind::BEAT, 1, 1]), error);
    assert!(!beat.mid_frame());
}

#[test]
fn limits_hold_before_a_byte_of_the_body_is_awaited() {
    let too_large = |length, limit| Err(WireError::TooLarge { length, limit });
    assert_eq!(one(&mut fresh(), &[kind::HELLO, 0x80, 0x20]), Ok(None));
    assert_eq!(one(&mut fresh(), &[kind::HELLO, 0x81, 0x20]), too_large(4097, 4096));
    assert_eq!(one(&mut open(), &[kind::HELLO, 0x81, 0x20]), too_large(4097, 4096));
    assert_eq!(one(&mut open(), &[kind::BEAT, 32]), Ok(None));
    assert_eq!(one(&mut open(), &[kind::BEAT, 33]), too_large(33, 32));
    assert_eq!(one(&mut open(), &[kind::ACK, 0x80, 0x04]), Ok(None));
    assert_eq!(one(&mut open(), &[kind::ACK, 0x81, 0x04]), too_large(513, 512));
    assert_eq!(one(&mut open(), &[kind::DATA, 0x8A, 0x80, 0x40]), Ok(None));
    assert_eq!(one(&mut open(), &[kind::DATA, 0x8B, 0x80, 0x40]), too_large((1 << 20) + 11, (1 << 20) + 10));
    assert_eq!(one(&mut open(), &[kind::TEXT, 0x8A, 0x80, 0x40]), Ok(None));
    assert_eq!(one(&mut open(), &[kind::TEXT, 0x8B, 0x80, 0x40]), too_large((1 << 20) + 11, (1 << 20) + 10));
    assert_eq!(one(&mut open(), &[0x7F, 0x8B, 0x80, 0x40]), too_large((1 << 20) + 11, (1 << 20) + 10));
}

#[test]
fn the_message_limit_counts_the_message_alone() {
    let config = BeatConfig::builder().message_limit(3).build().unwrap();
    for (body, fits) in [(&[1, 7, 7, 7][..], true), (&[1, 7, 7, 7, 7], false), (&[0x81, 1, 7, 7, 7], true)] {
        for (kind, cut) in
            [kind::DATA, kind::TEXT].into_iter().flat_map(|kind| (0..body.len()).map(move |cut| (kind, cut)))
        {
            let mut beat = Beat::new(&config);
            beat.established();
            let input = [&[kind, body.len() as u8], body].concat();
            let mut decoded = one(&mut beat, &input[..cut]);
            if decoded == Ok(None) {
                decoded = one(&mut beat, &input[cut..]);
            }
            assert_eq!(decoded.is_ok(), fits, "{body:?} cut at {cut}");
        }
    }
}

#[test]
fn memory_is_reserved_for_bytes_that_came() {
    let mut beat = open();
    let length = 1_000_000_usize;
    assert_eq!(one(&mut beat, &[kind::DATA, 0xC0, 0x84, 0x3D]), Ok(None));
    assert!(beat.mid_frame());
    assert_eq!(beat.reserved(), 0);
    assert_eq!(one(&mut beat, &[1]), Ok(None));
    assert_eq!(beat.reserved(), STEP);
    for came in 2..length {
        assert_eq!(one(&mut beat, &[7]), Ok(None));
        assert!(beat.reserved() <= (4 * came).max(STEP).min(length), "{} after {came}", beat.reserved());
    }
    assert_eq!(beat.reserved(), length);
    let Ok(Some(Frame::Data { seq: 1, message })) = one(&mut beat, &[7]) else { panic!("no message") };
    assert_eq!(message.len(), length - 1);
    assert_eq!((beat.reserved(), beat.mid_frame()), (0, false));
}

#[test]
fn a_message_in_pieces_stays_where_it_was_gathered() {
    for kind in [kind::DATA, kind::TEXT] {
        let mut beat = open();
        assert_eq!(one(&mut beat, &[kind, 5, 1, b'a', b'b', b'c']), Ok(None));
        let Some(State::Body(body)) = beat.state.as_deref() else { panic!("no body") };
        let place = body.bytes.as_ptr().wrapping_add(1);
        let Ok(Some(Frame::Data { message, .. })) = one(&mut beat, b"d") else { panic!("no message") };
        assert_eq!((message.as_ptr(), &message[..]), (place, &b"abcd"[..]));
    }
}

/// What comes of `input` if it is cut at `at`.
fn cut(input: &[u8], at: usize) -> Result<Option<Frame>, WireError> {
    let mut beat = open();
    let decoded = one(&mut beat, &input[..at]);
    if decoded == Ok(None) { one(&mut beat, &input[at..]) } else { decoded }
}

#[test]
fn a_message_keeps_its_kind_wherever_it_is_cut() {
    for payload in ["", "beat", "beat \u{2764}"] {
        for (kind, message) in [(kind::DATA, payload.as_bytes().into()), (kind::TEXT, Message::from(payload))] {
            let frame = Frame::Data { seq: 300, message };
            let mut tx = Tx::default();
            fresh().encode(&frame, &mut tx);
            assert_eq!(tx.chunk()[0], kind);
            for at in 0..=tx.chunk().len() {
                assert_eq!(cut(tx.chunk(), at), Ok(Some(frame.clone())), "{payload:?} cut at {at}");
            }
        }
    }
}

#[test]
fn a_text_that_is_not_utf8_is_refused_and_a_binary_message_is_not() {
    // A byte that nothing begins with, half a character, the rest of one, a surrogate, and more than a character needs.
    for payload in [&b"\xFF"[..], b"be\xC3", b"\xA9at", b"\xED\xA0\x80", b"\xC0\x80"] {
        for (kind, right) in [(kind::TEXT, false), (kind::DATA, true)] {
            let input = [&[kind, payload.len() as u8 + 1, 1], payload].concat();
            for at in 0..=input.len() {
                let decoded = cut(&input, at);
                if right {
                    assert!(matches!(&decoded, Ok(Some(Frame::Data { message, .. })) if message[..] == *payload));
                } else {
                    assert_eq!(
                        decoded,
                        Err(WireError::Malformed { frame: "TEXT", problem: "the text is not UTF-8" }),
                        "{payload:x?} cut at {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn nobody_sends_a_text_before_the_greetings() {
    let error = one(&mut fresh(), &[kind::TEXT]);
    assert_eq!(error, Err(WireError::Unexpected { frame: "TEXT", expected: "a frame of the handshake" }));
}

#[test]
fn an_unknown_frame_is_counted_down_and_not_stored() {
    let mut beat = open();
    assert_eq!(one(&mut beat, &[0x7F, 0x80]), Ok(None));
    assert!(beat.mid_frame());
    assert_eq!(one(&mut beat, &[0x08]), Ok(None));
    let body = vec![0xAA; 1023];
    assert_eq!(one(&mut beat, &body), Ok(None));
    assert_eq!((beat.reserved(), beat.mid_frame()), (0, true));
    let mut input = &[0xAA, kind::BEAT, 1, 9][..];
    assert_eq!(beat.decode(&mut input), Ok(Some(Frame::Unknown)));
    assert_eq!(beat.decode(&mut input), Ok(Some(Frame::Beat { seq: 9 })));
    assert_eq!(one(&mut beat, &[0x7F, 0]), Ok(Some(Frame::Unknown)));
}

#[test]
fn a_goodbye_ends_a_handshake_too() {
    let goodbye = Frame::Goodbye(Box::new(Goodbye::new(Reason::Busy, "full")));
    let mut tx = Tx::default();
    fresh().encode(&goodbye, &mut tx);
    assert_eq!(one(&mut fresh(), tx.chunk()), Ok(Some(goodbye)));
}

#[test]
fn credentials_do_not_show() {
    let mut beat = fresh();
    assert_eq!(one(&mut beat, b"\x01\x40KPBT\x01zzzzzzzz"), Ok(None));
    assert!(!format!("{beat:?}").contains("122"), "the code of z");
}
