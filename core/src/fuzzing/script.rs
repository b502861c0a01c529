//! Reads decisions out of the bytes of an input.

use core::time::Duration;

use crate::entropy::Prng;

/// An input, as a row of decisions. Behind its end, every decision is 0.
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// Two bytes, the lower one first.
    pub(super) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One byte, as a number below `count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// One byte, as one of these.
    pub(super) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// One byte, as yes or no.
    pub(super) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// One byte, as a span between nothing and the longest that there is.
    pub(super) fn span(&mut self) -> Duration {
        self.one_of(&SPANS)
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Spans on both sides of every limit of a configuration, and the ends of what the types can say.
const SPANS: [Duration; 32] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_micros(1),
    Duration::from_micros(999),
    Duration::from_millis(1),
    Duration::from_nanos(9_999_999),
    Duration::from_millis(10),
    Duration::from_nanos(10_000_001),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(999),
    SECOND,
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(25),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    DAY,
    Duration::from_nanos(DAY.as_nanos() as u64 + 1),
    // What wires carry in milliseconds ends in between.
    Duration::from_millis(u32::MAX as u64 - 1),
    Duration::from_millis(u32::MAX as u64),
    Duration::from_millis(u32::MAX as u64 + 1),
    Duration::from_secs(366 * 24 * 3600),
    Duration::from_secs(367 * 24 * 3600),
    Duration::from_secs(300 * 365 * 24 * 3600),
    Duration::from_nanos(u64::MAX - 1),
    Duration::from_nanos(u64::MAX),
    Duration::from_secs(u64::MAX),
    Duration::MAX,
];

/// Cuts bytes into pieces: all at once, one by one (of a long input, a few at a time), or as a seed says.
pub(super) enum Pieces {
    Whole,
    Small,
    Drawn(Prng),
}

impl Pieces {
    /// The front of `bytes` that comes next; empty only if `bytes` is.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> &'a [u8] {
        let count = match self {
            Self::Whole => bytes.len(),
            // 15,000 pieces of 128 KiB.
            Self::Small => 1 + bytes.len() / 4096,
            Self::Drawn(prng) => match prng.between(0, 3) {
                0 => 1,
                1 => prng.between(1, 8) as usize,
                2 => prng.between(1, 64) as usize,
                _ => prng.between(1, bytes.len().max(1) as u64) as usize,
            },
        };
        let (piece, rest) = bytes.split_at(count.min(bytes.len()));
        *bytes = rest;
        piece
    }
}
