//! Randomness, handed in by the driver.
//!
//! [`Prng`] spreads load (jitter): it is seeded, small and repeatable, and not secret. [`Entropy`] makes secrets
//! (session tokens): the driver connects it to the operating system's generator, a test to a seed.

use core::time::Duration;

use crate::time::nanos;

/// A source of unguessable bytes.
///
/// Implemented by every `FnMut(&mut [u8])`, so that a closure around the system's generator is enough.
pub trait Entropy {
    /// Fills `target` with random bytes.
    fn fill(&mut self, target: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Entropy for F {
    fn fill(&mut self, target: &mut [u8]) {
        self(target);
    }
}

/// A small seeded generator for jitter (SplitMix64; Steele, Lea and Flood 2014). Not for secrets.
#[derive(Debug, Clone)]
pub struct Prng(u64);

impl Prng {
    /// A generator whose draws depend on `seed` alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A draw from `low..=high`; `low` if the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let Some(width) = high.checked_sub(low) else { return low };
        // The multiply-shift bias is below 2^-64 per value: nothing for jitter.
        let scaled = (u128::from(self.next_u64()) * (u128::from(width) + 1)) >> 64;
        low + scaled as u64
    }

    /// A span drawn from `low..=high`; `low` if the range is empty. Spans above 584 years count as that.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos(low), nanos(high)))
    }
}

impl Entropy for Prng {
    /// Repeatable bytes, for tests and simulations only.
    fn fill(&mut self, target: &mut [u8]) {
        for chunk in target.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_inside_the_range_and_reach_both_ends() {
        let mut prng = Prng::new(1);
        let mut seen = [false; 4];
        for _ in 0..200 {
            let draw = prng.between(3, 6);
            seen[(draw - 3) as usize] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(prng.between(9, 2), 9);
        prng.between(0, u64::MAX);
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let (mut a, mut b) = (Prng::new(7), Prng::new(7));
        for _ in 0..10 {
            assert_eq!(a.next_u64(), b.next_u64());
        }
    }
}
