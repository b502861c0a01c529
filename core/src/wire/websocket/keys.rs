//! Masking keys (RFC 6455, sections 5.3 and 10.3).

use core::{array, fmt};

/// The block has eight rounds; that of RFC 8439 has twenty. Eight are enough for what nobody can keep secret: a key stands
/// on the wire beside what it masks. What counts is that no application can foresee it.
const ROUNDS: usize = 8;

/// A source of masking keys that nobody can foresee who does not know the seed: the blocks of ChaCha (RFC 8439, section 2.3).
///
/// The specification asks for a fresh key for every frame. To ask the operating system for each costs a system call per
/// frame; this asks for a seed per connection.
#[derive(Clone)]
pub struct MaskKeys {
    state: [u32; 16],
    block: [u32; 16],
    /// The next key in the block; its length if all were used.
    next: usize,
}

impl MaskKeys {
    /// The keys of this seed, which must be unguessable and used once.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let mut state = [0; 16];
        state[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in state[4..12].iter_mut().zip(seed.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { state, block: [0; 16], next: 16 }
    }

    /// The next key.
    #[inline]
    pub fn key(&mut self) -> [u8; 4] {
        if let Some(key) = self.block.get(self.next) {
            self.next += 1;
            return key.to_le_bytes();
        }
        self.refill()
    }

    #[cold]
    fn refill(&mut self) -> [u8; 4] {
        self.block = block(&self.state, ROUNDS);
        let (low, carry) = self.state[12].overflowing_add(1);
        self.state[12] = low;
        self.state[13] = self.state[13].wrapping_add(u32::from(carry));
        self.next = 1;
        self.block[0].to_le_bytes()
    }
}

impl fmt::Debug for MaskKeys {
    /// Leaves out the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKeys").finish_non_exhaustive()
    }
}

type Row = [u32; 4];

/// All four columns, and then all four diagonals, side by side: the compiler makes vectors of the rows.
fn block(state: &[u32; 16], rounds: usize) -> [u32; 16] {
    let mut rows: [Row; 4] = array::from_fn(|row| array::from_fn(|at| state[4 * row + at]));
    for _ in 0..rounds / 2 {
        quarters(&mut rows);
        rows = turned(rows);
        quarters(&mut rows);
        rows = turned_back(rows);
    }
    array::from_fn(|at| rows[at / 4][at % 4].wrapping_add(state[at]))
}

#[inline]
fn quarters([a, b, c, d]: &mut [Row; 4]) {
    for (first, second) in [(16, 12), (8, 7)] {
        add(a, b);
        mix(d, a, first);
        add(c, d);
        mix(b, c, second);
    }
}

/// Turns the rows so that the diagonals become columns.
#[inline]
const fn turned([a, [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]]: [Row; 4]) -> [Row; 4] {
    [a, [b1, b2, b3, b0], [c2, c3, c0, c1], [d3, d0, d1, d2]]
}

#[inline]
const fn turned_back([a, [b1, b2, b3, b0], [c2, c3, c0, c1], [d3, d0, d1, d2]]: [Row; 4]) -> [Row; 4] {
    [a, [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]]
}

#[inline]
fn add(to: &mut Row, from: &Row) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.wrapping_add(*from);
    }
}

#[inline]
fn mix(to: &mut Row, from: &Row, by: u32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (*to ^ from).rotate_left(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn the_block_of_rfc_8439_section_2_3_2() {
        let mut state = MaskKeys::new(array::from_fn(|at| at as u8)).state;
        state[12..].copy_from_slice(&[1, 0x0900_0000, 0x4a00_0000, 0]);
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
        assert_eq!(block(&state, 20), expected);
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
        keys.state[12] = u32::MAX;
        let first = keys.key();
        assert_eq!((keys.state[12], keys.state[13]), (0, 1));
        keys.next = 16;
        assert_ne!(keys.key(), first);
    }
}
