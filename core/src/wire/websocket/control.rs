//! Pings and pongs (RFC 6455, sections 5.5.2 and 5.5.3), and the short way in and out of what is as small.

use alloc::boxed::Box;
use core::fmt;

use super::Role;
use super::frame::{FIN, MASKED, Opcode};
use super::mask::Mask;
use crate::wire::tx::INLINE;

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const CONTROL_LIMIT: usize = 125;

/// The longest payload that takes no memory of the heap. What keepbeat sends is shorter.
const SHORT: usize = 14;

/// The longest frame with a short payload: two bytes, a key of four, and the payload.
const SHORT_FRAME: usize = 2 + 4 + SHORT;

/// The payload of a ping or pong. Up to 14 bytes take no memory of the heap.
#[derive(Clone)]
pub struct Control(Payload);

#[derive(Clone)]
enum Payload {
    /// What is behind the length says nothing. There are more bytes than can be used, so that all are one word.
    Short {
        length: u8,
        bytes: [u8; 16],
    },
    Long(Box<[u8]>),
}

impl Control {
    /// A payload of no bytes.
    pub const EMPTY: Self = Self(Payload::Short { length: 0, bytes: [0; 16] });

    /// Takes a payload; `None` if it is longer than [`CONTROL_LIMIT`].
    #[must_use]
    pub fn new(payload: &[u8]) -> Option<Self> {
        match payload.len() {
            length @ 0..=SHORT => {
                Some(Self(Payload::Short { length: length as u8, bytes: padded(payload).to_le_bytes() }))
            }
            0..=CONTROL_LIMIT => Some(Self(Payload::Long(payload.into()))),
            _ => None,
        }
    }

    /// The first `count` of these bytes.
    #[inline]
    pub(super) fn short(payload: [u8; 12], count: usize) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&payload);
        Self(Payload::Short { length: count as u8, bytes })
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Payload::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Payload::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Control {}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.as_slice()).finish()
    }
}

/// Reads a whole ping or pong with a short payload; `None` for everything else, right or wrong. The payload is unmasked as
/// one word, with whatever follows it, and cut afterwards.
#[inline]
pub(super) fn read_short(role: Role, input: &[u8]) -> Option<(Opcode, Control, &[u8])> {
    const PING: u8 = FIN | Opcode::Ping.code();
    const PONG: u8 = FIN | Opcode::Pong.code();
    let (first, rest) = input.split_first()?;
    let opcode = match *first {
        PING => Opcode::Ping,
        PONG => Opcode::Pong,
        _ => return None,
    };
    let (payload, behind) = read_short_payload(role, rest)?;
    Some((opcode, payload, behind))
}

/// Reads a whole binary message, in one frame, that is as short; `None` for everything else.
#[inline]
pub(super) fn read_short_binary(role: Role, input: &[u8]) -> Option<(Control, &[u8])> {
    const BINARY: u8 = FIN | Opcode::Binary.code();
    match input {
        [BINARY, rest @ ..] => read_short_payload(role, rest),
        _ => None,
    }
}

#[inline]
fn read_short_payload(role: Role, input: &[u8]) -> Option<(Control, &[u8])> {
    let (second, rest) = input.split_first()?;
    let (length, key, rest) = match role {
        Role::Client => (*second, [0; 4], rest),
        Role::Server => {
            let (key, rest) = rest.split_first_chunk()?;
            // Without the bit, the length is far too long.
            (*second ^ MASKED, *key, rest)
        }
    };
    let length = usize::from(length);
    if length > SHORT {
        return None;
    }
    let (payload, behind) = rest.split_at_checked(length)?;
    let word = match rest.first_chunk() {
        Some(word) => u128::from_le_bytes(*word),
        None => padded(payload),
    };
    let bytes = (word ^ repeated(key)).to_le_bytes();
    Some((Control(Payload::Short { length: length as u8, bytes }), behind))
}

/// Writes a frame with a short payload, and says how long it is; `None` if the payload is long.
#[inline]
pub(super) fn write_short(
    opcode: Opcode,
    payload: &Control,
    key: impl FnOnce() -> Option<[u8; 4]>,
    frame: &mut [u8; INLINE],
) -> Option<u8> {
    const { assert!(SHORT_FRAME <= INLINE) };
    let Payload::Short { length, bytes } = &payload.0 else { return None };
    frame[0] = FIN | opcode.code();
    match key() {
        None => {
            frame[1] = *length;
            frame[2..2 + SHORT].copy_from_slice(&bytes[..SHORT]);
            Some(2 + length)
        }
        Some(key) => {
            let masked = u128::from_le_bytes(*bytes) ^ repeated(key);
            frame[1] = length | MASKED;
            frame[2..6].copy_from_slice(&key);
            frame[6..6 + SHORT].copy_from_slice(&masked.to_le_bytes()[..SHORT]);
            Some(6 + length)
        }
    }
}

/// Unmasks the payload of a control frame of any length.
pub(super) fn unmask(payload: &[u8], mut mask: Mask) -> Option<([u8; CONTROL_LIMIT], usize)> {
    let mut clear = [0; CONTROL_LIMIT];
    let front = clear.get_mut(..payload.len())?;
    front.copy_from_slice(payload);
    mask.apply(front);
    Some((clear, payload.len()))
}

/// The front of a word of which the rest did not come: two halves that overlap, so that it takes no loop.
fn padded(payload: &[u8]) -> u128 {
    let shift = |halves: usize| 8 * (payload.len() - halves);
    if let (Some(front), Some(back)) = (payload.first_chunk(), payload.last_chunk()) {
        u128::from(u64::from_le_bytes(*front)) | u128::from(u64::from_le_bytes(*back)) << shift(8)
    } else if let (Some(front), Some(back)) = (payload.first_chunk(), payload.last_chunk()) {
        u128::from(u32::from_le_bytes(*front)) | u128::from(u32::from_le_bytes(*back)) << shift(4)
    } else {
        payload.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte))
    }
}

const fn repeated(key: [u8; 4]) -> u128 {
    u32::from_le_bytes(key) as u128 * 0x0000_0001_0000_0001_0000_0001_0000_0001
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_payload_has_at_most_125_bytes() {
        for length in [0, 1, 14, 15, 125] {
            assert_eq!(Control::new(&[7; 125][..length]).unwrap().as_slice(), &[7; 125][..length]);
        }
        assert_eq!(Control::new(&[7; 126]), None);
    }

    #[test]
    fn a_short_frame_survives_whatever_follows_it() {
        let bytes: [u8; SHORT] = core::array::from_fn(|at| 0xF0 + at as u8);
        for (role, key) in [(Role::Client, None), (Role::Server, Some([0xA1, 0, 0x5C, 0xFF]))] {
            for length in 0..=SHORT {
                let payload = Control::new(&bytes[..length]).unwrap();
                let mut frame = [0; INLINE];
                let count = usize::from(write_short(Opcode::Pong, &payload, || key, &mut frame).unwrap());
                for behind in 0..20 {
                    let input: Vec<u8> =
                        frame[..count].iter().copied().chain([0xEE; 20]).take(count + behind).collect();
                    assert_eq!(read_short(role, &input), Some((Opcode::Pong, payload.clone(), &[0xEE; 20][..behind])));
                }
                for cut in 0..count {
                    assert_eq!(read_short(role, &frame[..cut]), None, "{cut} of {count} bytes");
                }
            }
        }
    }

    #[test]
    fn what_is_not_short_or_not_right_is_left_to_others() {
        for frame in [
            &[0x89, 0x0F][..], // 15 bytes
            &[0x09, 0x00],     // not the last of its message
            &[0xC9, 0x00],     // a reserved bit
            &[0x88, 0x00],     // a close
            &[0x82, 0x00],     // data
            &[0x89, 0x80],     // masked
        ] {
            let input: Vec<u8> = frame.iter().copied().chain([0; 40]).collect();
            assert_eq!(read_short(Role::Client, &input), None, "{frame:?}");
        }
        assert_eq!(read_short(Role::Server, &[0x89, 0, 1, 2, 3, 4]), None, "not masked");
        let long = Control::new(&[1; 15]).unwrap();
        assert_eq!(write_short(Opcode::Ping, &long, || None, &mut [0; INLINE]), None);
    }
}
