//! BYTES -> FRAMES: the header, and the body of every frame type.

use alloc::boxed::Box;

use bytes::Bytes;
use nom::Err;
use nom::Parser;
use nom::bytes::streaming::take;

use super::config::LONGEST_BODY;
use super::{MAGIC, kind};
use crate::wire::varint::{Fault, Parsed, short, varint};
use crate::wire::{Credentials, DETAIL_LIMIT, DEVICE_ID_LIMIT, DeviceId, DeviceIdError, Frame, Goodbye, Hello};
use crate::wire::{Reason, Token, Welcome, WireError};

const LENGTH_BITS: u32 = 28;

/// What comes before a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    /// Of the body, in bytes; at most 28 bits.
    pub(super) length: u32,
}

/// Reads the header at the front of `input`; `None` if it is not complete.
pub(super) fn header(input: &[u8]) -> Result<Option<(Header, &[u8])>, WireError> {
    match header_fields(input) {
        Ok((rest, header)) => Ok(Some((header, rest))),
        Err(Err::Incomplete(_)) => Ok(None),
        Err(Err::Error(Fault(problem)) | Err::Failure(Fault(problem))) => {
            Err(WireError::Malformed { frame: "frame length", problem })
        }
    }
}

/// Reads a whole BEAT, ECHO or ACK whose number takes one to three bytes; `None` for everything else, right or wrong.
#[inline]
pub(in crate::wire) fn usual(input: &[u8]) -> Option<(Frame, &[u8])> {
    let (kind, seq, rest) = match input {
        [kind, 1, a @ ..=0x7F, rest @ ..] => (kind, u32::from(*a), rest),
        [kind, 2, a @ 0x80..=0xFF, b @ 1..=0x7F, rest @ ..] => (kind, u32::from(a & 0x7F) | u32::from(*b) << 7, rest),
        [kind, 3, a @ 0x80..=0xFF, b @ 0x80..=0xFF, c @ 1..=0x7F, rest @ ..] => {
            (kind, u32::from(a & 0x7F) | u32::from(b & 0x7F) << 7 | u32::from(*c) << 14, rest)
        }
        _ => return None,
    };
    let frame = match *kind {
        kind::BEAT => Frame::Beat { seq },
        kind::ECHO => Frame::Echo { seq },
        kind::ACK => Frame::Ack { seq: u64::from(seq) },
        _ => return None,
    };
    Some((frame, rest))
}

/// Reads a whole DATA with a message of at most `limit` bytes: its number, the message, and what is behind it. `None` for
/// everything else, right or wrong.
#[inline]
pub(super) fn usual_data(input: &[u8], limit: usize) -> Option<(u64, &[u8], &[u8])> {
    let [kind::DATA, rest @ ..] = input else { return None };
    let (length, rest) = short(rest)?;
    if length > u64::from(LONGEST_BODY) {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length as usize)?;
    let (seq, payload) = short(body)?;
    (seq > 0 && payload.len() <= limit).then_some((seq, payload, rest))
}

/// Reads the body of a frame of any known type but DATA and TEXT.
pub(super) fn control(kind: u8, body: &[u8]) -> Result<Frame, WireError> {
    let parsed = match kind {
        kind::HELLO => hello(body).map(|(_, hello)| Frame::Hello(Box::new(hello))),
        kind::WELCOME => welcome(body).map(|(_, welcome)| Frame::Welcome(Box::new(welcome))),
        kind::REFUSE => goodbye(body).map(|(_, refusal)| Frame::Refuse(Box::new(refusal))),
        kind::BEAT => number(body).map(|(_, seq)| Frame::Beat { seq }),
        kind::ECHO => number(body).map(|(_, seq)| Frame::Echo { seq }),
        kind::ACK => varint(64, body).map(|(_, seq)| Frame::Ack { seq }),
        kind::GOODBYE => goodbye(body).map(|(_, goodbye)| Frame::Goodbye(Box::new(goodbye))),
        _ => Ok(Frame::Unknown),
    };
    parsed.map_err(|error| malformed(kind, &error))
}

/// Reads the number in front of a message; the message is what remains.
pub(super) fn data(kind: u8, body: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let malformed_so = |problem| Err(WireError::Malformed { frame: kind::name(kind), problem });
    match varint(64, body) {
        Ok((_, 0)) => malformed_so("the message number is 0"),
        Ok((payload, _)) if kind == kind::TEXT && core::str::from_utf8(payload).is_err() => {
            malformed_so("the text is not UTF-8")
        }
        Ok((payload, seq)) => Ok((seq, payload)),
        Err(error) => Err(malformed(kind, &error)),
    }
}

fn malformed(kind: u8, error: &Err<Fault>) -> WireError {
    let problem = match error {
        Err::Incomplete(_) => "it ends before its last field",
        Err::Error(Fault(problem)) | Err::Failure(Fault(problem)) => problem,
    };
    WireError::Malformed { frame: kind::name(kind), problem }
}

fn header_fields(input: &[u8]) -> Parsed<'_, Header> {
    let (rest, [kind]) = array(input)?;
    let (rest, length) = varint(LENGTH_BITS, rest)?;
    Ok((rest, Header { kind, length: length as u32 }))
}

fn hello(body: &[u8]) -> Parsed<'_, Hello> {
    let (rest, version) = greeting(body)?;
    let (rest, device) = device(rest)?;
    let (rest, instance) = array(rest)?;
    let (rest, attempt) = number(rest)?;
    let (rest, interval_ms) = number(rest)?;
    let (rest, reply_timeout_ms) = number(rest)?;
    let (rest, message_limit) = varint(64, rest)?;
    let (rest, has_token) = flag(rest)?;
    let (rest, token) = if has_token {
        let (rest, token) = array(rest)?;
        (rest, Some(Token::new(token)))
    } else {
        (rest, None)
    };
    let (rest, received) = varint(64, rest)?;
    let (rest, credentials) = counted(rest, u32::MAX, "unreachable: no length is above 32 bits")?;
    let credentials = Credentials::new(Bytes::copy_from_slice(credentials));
    let instance = u64::from_be_bytes(instance);
    Ok((
        rest,
        Hello {
            version,
            device,
            instance,
            attempt,
            interval_ms,
            reply_timeout_ms,
            message_limit,
            token,
            received,
            credentials,
        },
    ))
}

fn welcome(body: &[u8]) -> Parsed<'_, Welcome> {
    let (rest, version) = greeting(body)?;
    let (rest, token) = array(rest)?;
    let token = Token::new(token);
    let (rest, resumed) = flag(rest)?;
    let (rest, interval_ms) = number(rest)?;
    let (rest, reply_timeout_ms) = number(rest)?;
    let (rest, message_limit) = varint(64, rest)?;
    let (rest, received) = varint(64, rest)?;
    Ok((rest, Welcome { version, token, resumed, interval_ms, reply_timeout_ms, message_limit, received }))
}

fn goodbye(body: &[u8]) -> Parsed<'_, Goodbye> {
    let (rest, [code]) = array(body)?;
    let (rest, retry_after_ms) = number(rest)?;
    let (rest, spread_ms) = number(rest)?;
    let (rest, detail) = counted(rest, DETAIL_LIMIT as u32, "the detail is too long")?;
    let detail = text(detail, "the detail is not UTF-8")?;
    let goodbye = Goodbye::new(Reason::from_code(code), detail);
    Ok((rest, Goodbye { retry_after_ms, spread_ms, ..goodbye }))
}

/// The magic and the version, with which both handshake frames begin.
fn greeting(input: &[u8]) -> Parsed<'_, u8> {
    let (rest, magic) = array(input)?;
    if magic != MAGIC {
        return fault("the magic is not KPBT");
    }
    match array(rest)? {
        (_, [0]) => fault("the version is 0"),
        (rest, [version]) => Ok((rest, version)),
    }
}

fn device(input: &[u8]) -> Parsed<'_, DeviceId> {
    const TOO_LONG: &str = "the device id is too long";
    let (rest, id) = counted(input, DEVICE_ID_LIMIT as u32, TOO_LONG)?;
    match DeviceId::new(text(id, "the device id is not UTF-8")?) {
        Ok(id) => Ok((rest, id)),
        Err(DeviceIdError::Empty) => fault("the device id is empty"),
        Err(DeviceIdError::TooLong { .. }) => fault(TOO_LONG),
        Err(DeviceIdError::ControlCharacter) => fault("the device id has a control character"),
    }
}

fn flag(input: &[u8]) -> Parsed<'_, bool> {
    match array(input)? {
        (rest, [0]) => Ok((rest, false)),
        (rest, [1]) => Ok((rest, true)),
        _ => fault("a flag is neither 0 nor 1"),
    }
}

fn number(input: &[u8]) -> Parsed<'_, u32> {
    varint(32, input).map(|(rest, value)| (rest, value as u32))
}

/// Bytes behind their count.
fn counted<'a>(input: &'a [u8], most: u32, too_long: &'static str) -> Parsed<'a, &'a [u8]> {
    let (rest, length) = number(input)?;
    if length > most {
        return fault(too_long);
    }
    take(length as usize).parse(rest)
}

fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    let (rest, bytes) = take(N).parse(input)?;
    bytes.try_into().map_or_else(|_| fault("a field has the wrong size"), |array| Ok((rest, array)))
}

fn text<'a>(bytes: &'a [u8], problem: &'static str) -> Result<&'a str, Err<Fault>> {
    core::str::from_utf8(bytes).map_err(|_| Err::Failure(Fault(problem)))
}

fn fault<'a, T>(problem: &'static str) -> Parsed<'a, T> {
    Err(Err::Failure(Fault(problem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Message;

    fn problem(kind: u8, body: &[u8]) -> &'static str {
        match control(kind, body) {
            Err(WireError::Malformed { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_is_complete_with_the_last_byte_of_its_length() {
        assert_eq!(header(&[]), Ok(None));
        assert_eq!(header(&[kind::BEAT]), Ok(None));
        assert_eq!(header(&[kind::DATA, 0x80, 0x80, 0x80]), Ok(None));
        let header_of = |length| Header { kind: kind::DATA, length };
        assert_eq!(header(&[kind::DATA, 0x80, 0x80, 0x80, 0x01, 9]), Ok(Some((header_of(1 << 21), &[9][..]))));
        assert_eq!(header(&[kind::DATA, 0xFF, 0xFF, 0xFF, 0x7F]), Ok(Some((header_of((1 << 28) - 1), &[][..]))));
        assert!(header(&[kind::DATA, 0x80, 0x80, 0x80, 0x80]).is_err());
        assert!(header(&[kind::DATA, 0x80, 0x00]).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(problem(kind::BEAT, &[]), "it ends before its last field");
        assert_eq!(problem(kind::HELLO, b"KPBX\x01"), "the magic is not KPBT");
        assert_eq!(problem(kind::HELLO, b"KPBT\x00"), "the version is 0");
        assert_eq!(problem(kind::HELLO, b"KPBT\x01\x00"), "the device id is empty");
        assert_eq!(problem(kind::HELLO, b"KPBT\x01\x01\n"), "the device id has a control character");
        assert_eq!(problem(kind::HELLO, b"KPBT\x01\x01\xFF"), "the device id is not UTF-8");
        assert_eq!(problem(kind::HELLO, b"KPBT\x01\x81\x01"), "the device id is too long");
        assert_eq!(problem(kind::HELLO, b"KPBT\x01\x01d\0\0\0\0\0\0\0\0\0\0\0\0\x02"), "a flag is neither 0 nor 1");
        assert_eq!(problem(kind::GOODBYE, b"\x00\x00\x00\x79"), "the detail is too long");
        assert_eq!(problem(kind::REFUSE, b"\x00\x00\x00\x01\xC3"), "the detail is not UTF-8");
        let malformed = |frame, problem| Err(WireError::Malformed { frame, problem });
        assert_eq!(data(kind::DATA, &[0]), malformed("DATA", "the message number is 0"));
        assert_eq!(data(kind::TEXT, &[0]), malformed("TEXT", "the message number is 0"));
        assert_eq!(data(kind::TEXT, b"\x01\xC3"), malformed("TEXT", "the text is not UTF-8"));
    }

    /// What the general functions make of a whole frame.
    fn general(input: &[u8]) -> Option<(Frame, &[u8])> {
        let (Header { kind, length }, rest) = header(input).ok()??;
        let (body, rest) = rest.split_at_checked(length as usize)?;
        if kind::is_message(kind) {
            let (seq, payload) = data(kind, body).ok()?;
            let message = Message::checked(kind == kind::TEXT, Bytes::copy_from_slice(payload));
            return Some((Frame::Data { seq, message }, rest));
        }
        Some((control(kind, body).ok()?, rest))
    }

    /// All inputs of up to `most` bytes that stand at a border, behind `front`.
    fn at_borders(front: &[u8], most: usize, check: &mut impl FnMut(&[u8])) {
        check(front);
        if most > 0 {
            for byte in [0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF] {
                at_borders(&[front, &[byte]].concat(), most - 1, check);
            }
        }
    }

    #[test]
    fn the_usual_form_agrees_with_the_general_one() {
        for kind in [kind::BEAT, kind::ECHO, kind::ACK, kind::DATA, kind::TEXT, kind::HELLO, 0x7F] {
            let (mut usually, mut otherwise) = (0, 0);
            at_borders(&[kind], 5, &mut |input| {
                let known = matches!(kind, kind::BEAT | kind::ECHO | kind::ACK);
                // Behind its number, such a frame may have fields of a later version.
                let fills =
                    |length: u8| varint(64, &input[2..2 + usize::from(length)]).is_ok_and(|(rest, _)| rest.is_empty());
                let expected = general(input).filter(|_| known && (1..=3).contains(&input[1]) && fills(input[1]));
                *if expected.is_some() { &mut usually } else { &mut otherwise } += 1;
                assert_eq!(usual(input), expected, "{input:?}");
            });
            assert!(otherwise > 0 && (usually > 0) == matches!(kind, kind::BEAT | kind::ECHO | kind::ACK));
        }
    }

    #[test]
    fn a_usual_message_agrees_with_the_general_one() {
        let mut messages = 0;
        at_borders(&[kind::DATA], 5, &mut |input| {
            let found = usual_data(input, 2);
            let found = found.map(|(seq, payload, rest)| (Frame::Data { seq, message: payload.to_vec().into() }, rest));
            let small = |frame: &Frame| matches!(frame, Frame::Data { message, .. } if message.len() <= 2);
            let expected = general(input).filter(|(frame, _)| small(frame));
            messages += usize::from(expected.is_some());
            assert_eq!(found, expected, "{input:?}");
        });
        assert!(messages > 100);
        assert_eq!(usual_data(&[kind::BEAT, 1, 1], 2), None);
        assert_eq!(usual_data(&[kind::TEXT, 2, 1, b'a'], 2), None);
        assert_eq!(usual_data(&[kind::DATA, 3, 1, b'a', b'b'], 1), None);
    }
}
