//! The header of a frame (RFC 6455, section 5.2).

use nom::IResult;
use nom::Parser;
use nom::bytes::streaming::take;
use nom::error::{ErrorKind, ParseError};

use super::Violation;
use super::control::CONTROL_LIMIT;

/// The longest header: two bytes, a length of eight, a key of four.
pub(super) const LONGEST: usize = 14;

/// In the first byte: the frame is the last of its message.
pub(super) const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;

/// In the second byte: a key follows the length.
pub(super) const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// What comes before a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The last frame of its message.
    pub(super) fin: bool,
    /// The first reserved bit: with permessage-deflate, the message is compressed.
    pub(super) rsv1: bool,
    /// The masking key, if the payload is masked.
    pub(super) mask: Option<[u8; 4]>,
    /// Of the payload, in bytes.
    pub(super) length: u64,
}

/// Reads the header at the front of `input`; `None` if it is not complete. What the first byte alone makes wrong is refused
/// with the first byte.
pub(super) fn read(input: &[u8]) -> Result<Option<(Header, &[u8])>, Violation> {
    match fields(input) {
        Ok((rest, header)) => Ok(Some((header, rest))),
        Err(nom::Err::Incomplete(_)) => Ok(None),
        Err(nom::Err::Error(Fault(problem)) | nom::Err::Failure(Fault(problem))) => Err(Violation::Protocol(problem)),
    }
}

/// The bytes of a header and how many of them count.
pub(super) fn write(header: &Header) -> ([u8; LONGEST], usize) {
    let mut bytes = [0; LONGEST];
    bytes[0] = header.opcode.code() | if header.fin { FIN } else { 0 } | if header.rsv1 { RSV1 } else { 0 };
    let masked = if header.mask.is_some() { MASKED } else { 0 };
    let mut count = match header.length {
        length @ 0..=125 => {
            bytes[1] = length as u8 | masked;
            2
        }
        length @ 126..=0xFFFF => {
            bytes[1] = 126 | masked;
            bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        length => {
            bytes[1] = 127 | masked;
            bytes[2..10].copy_from_slice(&length.to_be_bytes());
            10
        }
    };
    if let Some(key) = header.mask {
        bytes[count..count + 4].copy_from_slice(&key);
        count += 4;
    }
    (bytes, count)
}

struct Fault(&'static str);

impl<I> ParseError<I> for Fault {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Self("a frame's header is wrong")
    }

    fn append(_: I, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T, Fault>;

fn fields(input: &[u8]) -> Parsed<'_, Header> {
    let (rest, [first]) = array(input)?;
    let Some(opcode) = Opcode::from_code(first & 0x0F) else { return fault("a frame has a reserved opcode") };
    let (fin, rsv1) = (first & FIN != 0, first & RSV1 != 0);
    if first & RSV2_AND_3 != 0 {
        return fault("a frame has a reserved bit set");
    }
    if opcode.is_control() && !fin {
        return fault("a control frame is fragmented");
    }
    let (rest, [second]) = array(rest)?;
    let (rest, length) = match second & !MASKED {
        126 => {
            let (rest, length) = array(rest)?;
            (rest, u64::from(u16::from_be_bytes(length)))
        }
        127 => {
            let (rest, length) = array(rest)?;
            (rest, u64::from_be_bytes(length))
        }
        short => (rest, u64::from(short)),
    };
    let shortest = match second & !MASKED {
        126 => 126,
        127 => 0x1_0000,
        _ => 0,
    };
    if length < shortest {
        return fault("a frame's length has more bytes than it needs");
    }
    if length > i64::MAX as u64 {
        return fault("a frame's length has its highest bit set");
    }
    if opcode.is_control() && length > CONTROL_LIMIT as u64 {
        return fault("a control frame has more than 125 bytes");
    }
    let (rest, mask) = if second & MASKED == 0 {
        (rest, None)
    } else {
        let (rest, key) = array(rest)?;
        (rest, Some(key))
    };
    Ok((rest, Header { opcode, fin, rsv1, mask, length }))
}

fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    let (rest, bytes) = take(N).parse(input)?;
    bytes.try_into().map_or_else(|_| fault("a field has the wrong size"), |array| Ok((rest, array)))
}

fn fault<'a, T>(problem: &'static str) -> Parsed<'a, T> {
    Err(nom::Err::Failure(Fault(problem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    #[test]
    fn every_length_survives_at_both_sides_of_its_form() {
        for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 1 << 40, i64::MAX as u64] {
            for mask in [None, Some(KEY)] {
                for (fin, rsv1) in [(false, false), (true, true)] {
                    let header = Header { opcode: Opcode::Binary, fin, rsv1, mask, length };
                    let (bytes, count) = write(&header);
                    assert_eq!(read(&bytes[..count]), Ok(Some((header, &[][..]))));
                    for cut in 0..count {
                        assert_eq!(read(&bytes[..cut]), Ok(None), "{cut} of {count} bytes");
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        for (bytes, problem) in [
            (&[0x83][..], "a frame has a reserved opcode"),
            (&[0x8B], "a frame has a reserved opcode"),
            (&[0xA1], "a frame has a reserved bit set"),
            (&[0x91], "a frame has a reserved bit set"),
            (&[0x09], "a control frame is fragmented"),
            (&[0x89, 126, 0, 126], "a control frame has more than 125 bytes"),
            (&[0x82, 126, 0, 125], "a frame's length has more bytes than it needs"),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], "a frame's length has more bytes than it needs"),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], "a frame's length has its highest bit set"),
        ] {
            assert_eq!(read(bytes), Err(Violation::Protocol(problem)), "{bytes:?}");
        }
    }
}
