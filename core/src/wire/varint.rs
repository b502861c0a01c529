//! Unsigned LEB128 numbers: seven bits a byte, lowest first, the high bit set on all bytes but the last.

use nom::error::{ErrorKind, ParseError};
use nom::{Err, IResult, Needed};

/// The most bytes that a number of 64 bits takes.
pub(in crate::wire) const LONGEST: usize = 10;

const CONTINUES: u8 = 0x80;

/// What is wrong with a field. Two words, because every nom result has room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Fault(pub(in crate::wire) &'static str);

impl<I> ParseError<I> for Fault {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Self("a field is wrong")
    }

    fn append(_: I, _: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(in crate::wire) type Parsed<'a, T> = IResult<&'a [u8], T, Fault>;

/// Reads a number of at most `bits` bits, and refuses one that is larger or that fewer bytes would say.
///
/// Refuses at the first byte that makes the number wrong, even if more bytes would follow.
#[inline]
pub(in crate::wire) fn varint(bits: u32, input: &[u8]) -> Parsed<'_, u64> {
    let (mut value, mut room, mut rest) = (0_u64, bits, input);
    while let Some((&byte, behind)) = rest.split_first() {
        // Where fewer than eight bits have room, the rest of the byte must be 0, and with it the bit that continues.
        if room < 8 && byte >> room != 0 {
            return Err(Err::Failure(Fault("a number is out of range")));
        }
        value |= u64::from(byte & !CONTINUES) << (bits - room);
        rest = behind;
        if byte < CONTINUES {
            if byte == 0 && room != bits {
                return Err(Err::Failure(Fault("a number has more bytes than it needs")));
            }
            return Ok((rest, value));
        }
        room -= 7;
    }
    Err(Err::Incomplete(Needed::new(1)))
}

/// Reads a number of at most 63 bits, nine bytes: the number and what is behind it. `None` for everything else, right or
/// wrong.
#[inline]
pub(in crate::wire) fn short(input: &[u8]) -> Option<(u64, &[u8])> {
    let (&(mut byte), mut rest) = input.split_first()?;
    let (mut value, mut shift) = (u64::from(byte & !CONTINUES), 0);
    while byte >= CONTINUES && shift < 56 {
        (byte, rest) = rest.split_first().map(|(&byte, rest)| (byte, rest))?;
        shift += 7;
        value |= u64::from(byte & !CONTINUES) << shift;
    }
    (byte < CONTINUES && (byte != 0 || shift == 0)).then_some((value, rest))
}

/// The bytes of `value` and how many of them count.
#[inline]
pub(in crate::wire) fn bytes(mut value: u64) -> ([u8; LONGEST], usize) {
    let (mut bytes, mut count) = ([0; LONGEST], 0);
    for slot in &mut bytes {
        count += 1;
        *slot = value as u8 & !CONTINUES;
        value >>= 7;
        if value == 0 {
            break;
        }
        *slot |= CONTINUES;
    }
    (bytes, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: u64) -> alloc::vec::Vec<u8> {
        let (bytes, count) = bytes(value);
        bytes[..count].to_vec()
    }

    fn refused(bits: u32, input: &[u8]) -> bool {
        matches!(varint(bits, input), Err(Err::Failure(_)))
    }

    #[test]
    fn both_sides_of_every_length_survive() {
        for bytes in 1..=9_u32 {
            let (last, first) = ((1_u64 << (7 * bytes)) - 1, 1_u64 << (7 * bytes));
            assert_eq!(written(last).len(), bytes as usize);
            assert_eq!(written(first).len(), bytes as usize + 1);
            for value in [last, first] {
                assert_eq!(varint(64, &written(value)), Ok((&[][..], value)));
            }
        }
        assert_eq!(varint(64, &written(u64::MAX)), Ok((&[][..], u64::MAX)));
        assert_eq!(written(u64::MAX).len(), LONGEST);
    }

    #[test]
    fn the_range_ends_at_the_last_bit() {
        for bits in [28, 32, 64] {
            let most = u64::MAX >> (64 - bits);
            assert_eq!(varint(bits, &written(most)), Ok((&[][..], most)), "{bits} bits");
            if let Some(more) = most.checked_add(1) {
                assert!(refused(bits, &written(more)), "{bits} bits");
            }
        }
        assert!(refused(64, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02]));
        assert!(refused(28, &[0x80, 0x80, 0x80, 0x80]), "the fourth byte must be the last");
        assert!(refused(32, &[0x80, 0x80, 0x80, 0x80, 0x80]), "the fifth byte must be the last");
    }

    #[test]
    fn longer_than_needed_is_refused() {
        assert!(refused(64, &[0x80, 0x00]));
        assert!(refused(64, &[0xFF, 0x80, 0x00]));
        assert_eq!(varint(64, &[0x00, 0x07]), Ok((&[0x07][..], 0)));
    }

    #[test]
    fn a_number_cut_short_is_incomplete() {
        assert!(matches!(varint(64, &[]), Err(Err::Incomplete(_))));
        assert!(matches!(varint(64, &[0x80, 0x80]), Err(Err::Incomplete(_))));
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long_way(bytes: [u8; 12], continued in 0_usize..12, count in 0_usize..=12) {
            let mut bytes = bytes;
            for byte in &mut bytes[..continued] {
                *byte |= CONTINUES;
            }
            let long = varint(64, &bytes[..count]).ok().filter(|(rest, _)| count - rest.len() < LONGEST);
            prop_assert_eq!(short(&bytes[..count]), long.map(|(rest, value)| (value, rest)));
        }
    }
}
