//! Masking (RFC 6455, section 5.3): the payload, XORed with a key of four bytes, again and again.

use alloc::vec::Vec;

/// So many bytes are masked in one go on their way, so that they are not copied first and masked afterwards.
const BLOCK: usize = 256;

/// A masking key, turned to the byte of the payload that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    /// The key of a payload that has not begun. A key of zeros changes nothing.
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Appends `bytes`, masked or unmasked, which is the same. The next call goes on where this one ends.
    pub(super) fn append(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        let mut blocks = bytes.chunks_exact(BLOCK);
        for block in &mut blocks {
            let mut masked = [0; BLOCK];
            masked.copy_from_slice(block);
            self.apply(&mut masked);
            to.extend_from_slice(&masked);
        }
        let begin = to.len();
        to.extend_from_slice(blocks.remainder());
        self.apply(&mut to[begin..]);
    }

    /// Masks or unmasks `bytes` in place. The next call goes on where this one ends.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        let Self([a, b, c, d]) = *self;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let mut words = bytes.chunks_exact_mut(8);
        for bytes in &mut words {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            bytes.copy_from_slice(&(u64::from_ne_bytes(eight) ^ word).to_ne_bytes());
        }
        for (byte, key) in words.into_remainder().iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(bytes.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Prng;

    fn byte_by_byte(key: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect()
    }

    #[test]
    fn any_split_gives_what_the_specification_says() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut prng = Prng::new(1);
        for length in (0..40).chain([255, 256, 257, 511, 1000, 5000]) {
            let bytes: Vec<u8> = (0..length).map(|_| prng.next_u64() as u8).collect();
            let expected = byte_by_byte(key, &bytes);
            for _ in 0..20 {
                let (mut appending, mut applying) = (Mask::new(key), Mask::new(key));
                let (mut appended, mut applied) = (Vec::new(), bytes.clone());
                let mut at = 0;
                while at < bytes.len() {
                    let end = at + prng.between(1, (bytes.len() - at) as u64) as usize;
                    appending.append(&bytes[at..end], &mut appended);
                    applying.apply(&mut applied[at..end]);
                    at = end;
                }
                assert_eq!((&appended, &applied), (&expected, &expected), "{length} bytes");
            }
        }
    }

    #[test]
    fn the_example_of_the_specification() {
        let mut text = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut text);
        assert_eq!(&text, b"Hello");
    }
}
