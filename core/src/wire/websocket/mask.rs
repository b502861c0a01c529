//! Masking (RFC 6455, section 5.3): the payload, XORed with a key of four bytes, again and again.

use alloc::vec::Vec;

/// So many bytes are masked in one go on their way: memory is read once and written once, and what is in between stays in the
/// processor's nearest cache.
const BLOCK: usize = 256;

/// A masking key, turned to the byte of the payload that comes next, which is the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask(u32);

impl Mask {
    /// The key of a payload that has not begun. A key of zeros changes nothing.
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(key))
    }

    /// Appends `bytes`, masked or unmasked, which is the same. The next call goes on where this one ends.
    pub(super) fn append(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        if self.0 == 0 {
            return to.extend_from_slice(bytes);
        }
        self.pass(bytes, |block| to.extend_from_slice(block));
    }

    /// Hands `bytes` on, masked or unmasked, block by block. The next call goes on where this one ends.
    pub(super) fn pass(&mut self, bytes: &[u8], mut to: impl FnMut(&[u8])) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            let mut block = *block;
            self.apply(&mut block);
            to(&block);
        }
        let mut block = [0; BLOCK];
        if !rest.is_empty()
            && let Some(block) = block.get_mut(..rest.len())
        {
            block.copy_from_slice(rest);
            self.apply(block);
            to(block);
        }
    }

    /// Masks or unmasks `bytes` in place. The next call goes on where this one ends.
    #[inline]
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        let key = u64::from(self.0) | u64::from(self.0) << 32;
        let turn = bytes.len() % 4;
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_le_bytes(*bytes) ^ key).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key.to_le_bytes()) {
            *byte ^= key;
        }
        self.0 = self.0.rotate_right(8 * turn as u32);
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
