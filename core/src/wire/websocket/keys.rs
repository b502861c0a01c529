//! Masking keys (RFC 6455, sections 5.3 and 10.3).

use core::{array, fmt};

/// So many blocks are made at once, side by side: the compiler makes vectors of them, which costs half as much per key.
const LANES: usize = 4;

/// Words that follow the counter: there is one stream for each seed.
const NONCE: [u32; 2] = [0, 0];

/// A source of masking keys that nobody can foresee who does not know the seed: the blocks of ChaCha (RFC 8439, section 2.3).
///
/// The specification asks for a fresh key for every frame. To ask the operating system for each costs a system call per
/// frame; this asks for a seed per connection.
#[derive(Clone)]
pub struct MaskKeys {
    seed: [u32; 8],
    /// Of the next block.
    counter: u64,
    keys: [[u32; LANES]; 16],
    /// The next key; their number if all were used.
    next: usize,
}

impl MaskKeys {
    /// The keys of this seed, which must be unguessable and used once.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let words = seed.as_chunks().0;
        let seed = array::from_fn(|at| words.get(at).map_or(0, |bytes| u32::from_le_bytes(*bytes)));
        Self { seed, counter: 0, keys: [[0; LANES]; 16], next: 16 * LANES }
    }

    /// The next key.
    #[inline]
    pub fn key(&mut self) -> [u8; 4] {
        if let Some(key) = self.keys.as_flattened().get(self.next) {
            self.next += 1;
            return key.to_le_bytes();
        }
        self.refill()
    }

    #[cold]
    fn refill(&mut self) -> [u8; 4] {
        self.keys = blocks(&self.seed, self.counter, NONCE, eight_rounds);
        self.counter = self.counter.wrapping_add(LANES as u64);
        self.next = 1;
        self.keys[0][0].to_le_bytes()
    }
}

impl fmt::Debug for MaskKeys {
    /// Leaves out the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKeys").finish_non_exhaustive()
    }
}

/// The blocks from `counter` on, one in each column.
#[inline]
#[expect(clippy::needless_range_loop, reason = "the compiler makes vectors of this form only")]
fn blocks(seed: &[u32; 8], counter: u64, nonce: [u32; 2], rounds: impl Fn(&mut [u32; 16])) -> [[u32; LANES]; 16] {
    let mut columns = [[0; LANES]; 16];
    for lane in 0..LANES {
        let counter = counter.wrapping_add(lane as u64);
        let [k0, k1, k2, k3, k4, k5, k6, k7] = *seed;
        let state = [
            0x6170_7865,
            0x3320_646e,
            0x7962_2d32,
            0x6b20_6574,
            k0,
            k1,
            k2,
            k3,
            k4,
            k5,
            k6,
            k7,
            counter as u32,
            (counter >> 32) as u32,
            nonce[0],
            nonce[1],
        ];
        let mut block = state;
        rounds(&mut block);
        for at in 0..16 {
            columns[at][lane] = block[at].wrapping_add(state[at]);
        }
    }
    columns
}

/// That of RFC 8439 has twenty. Eight are enough for what nobody can keep secret: a key stands on the wire beside what it masks.
/// What counts is that no application can foresee it. Written out, because the compiler makes no vectors around a loop.
#[inline]
fn eight_rounds(block: &mut [u32; 16]) {
    two_rounds(block);
    two_rounds(block);
    two_rounds(block);
    two_rounds(block);
}

#[inline]
fn two_rounds(block: &mut [u32; 16]) {
    for at in 0..4 {
        quarter(block, at, 4 + at, 8 + at, 12 + at);
    }
    for at in 0..4 {
        quarter(block, at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4);
    }
}

#[inline]
const fn quarter(block: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    block[a] = block[a].wrapping_add(block[b]);
    block[d] = (block[d] ^ block[a]).rotate_left(16);
    block[c] = block[c].wrapping_add(block[d]);
    block[b] = (block[b] ^ block[c]).rotate_left(12);
    block[a] = block[a].wrapping_add(block[b]);
    block[d] = (block[d] ^ block[a]).rotate_left(8);
    block[c] = block[c].wrapping_add(block[d]);
    block[b] = (block[b] ^ block[c]).rotate_left(7);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn the_block_of_rfc_8439_section_2_3_2() {
        let seed = MaskKeys::new(array::from_fn(|at| at as u8)).seed;
        let expected = [
            0xe4e7_f110,
            0x1559_3bd1,
            0x1fdd_0f50,
            0xc471_20a3,
            0xc7f4_d1c7,
            0x0368_c033,
            0x9aaa_2204,
            0x4e6c_d4c3,
            0x4664_82d2,
            0x09aa_9f07,
            0x05d7_c214,
            0xa202_8bd9,
            0xd19c_12b5,
            0xb94e_16de,
            0xe883_d0cb,
            0x4e3c_50a2,
        ];
        for lane in 0..LANES {
            let twenty_rounds = |block: &mut [u32; 16]| (0..10).for_each(|_| two_rounds(block));
            let blocks = blocks(&seed, 0x0900_0000_0000_0001 - lane as u64, [0x4a00_0000, 0], twenty_rounds);
            assert_eq!(blocks.map(|word| word[lane]), expected);
        }
    }

    #[test]
    fn keys_depend_on_the_seed_alone_and_do_not_repeat() {
        let (mut one, mut same, mut other) = (MaskKeys::new([1; 32]), MaskKeys::new([1; 32]), MaskKeys::new([2; 32]));
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let key = one.key();
            assert_eq!(key, same.key());
            assert!(seen.insert(key) && seen.insert(other.key()), "four bytes may repeat by chance, but these do not");
        }
    }

    #[test]
    fn the_counter_carries() {
        let mut keys = MaskKeys::new([3; 32]);
        keys.counter = u64::from(u32::MAX) - 1;
        let first: [[u8; 4]; 16 * LANES] = array::from_fn(|_| keys.key());
        let later = blocks(&keys.seed, 1 << 32, NONCE, eight_rounds);
        assert_eq!(array::from_fn(|at| first[LANES * at + 2]), later.map(|word| word[0].to_le_bytes()));
    }
}
