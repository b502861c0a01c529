//! The round-trip estimate (RFC 6298, section 2).

use core::num::NonZeroU32;
use core::time::Duration;

use crate::time::nanos;

/// A smoothed round-trip time and its variation, in integer microseconds.
///
/// Source: RFC 6298, section 2, with alpha = 1/8 and beta = 1/4. Values above 71 minutes count as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    /// At least 1, so that `Option<Rtt>` takes eight bytes.
    smoothed_us: NonZeroU32,
    variation_us: u32,
}

impl Rtt {
    /// The estimate after a first sample.
    #[must_use]
    pub fn first(sample: Duration) -> Self {
        Self::after(None, nanos(sample))
    }

    /// Takes a further sample into account.
    pub fn update(&mut self, sample: Duration) {
        *self = Self::after(Some(*self), nanos(sample));
    }

    /// The estimate after a sample of so many nanoseconds, the first or a further one.
    #[inline]
    pub(super) fn after(earlier: Option<Self>, sample: u64) -> Self {
        let sample = (sample / 1000).min(u64::from(u32::MAX));
        let (smoothed, variation) = match earlier {
            None => (sample, sample / 2),
            Some(Self { smoothed_us, variation_us }) => {
                let (smoothed, variation) = (u64::from(smoothed_us.get()), u64::from(variation_us));
                ((7 * smoothed + sample) / 8, (3 * variation + smoothed.abs_diff(sample)) / 4)
            }
        };
        // Weighted means of 32-bit values fit into 32 bits again.
        Self {
            smoothed_us: NonZeroU32::new(smoothed as u32).unwrap_or(NonZeroU32::MIN),
            variation_us: variation as u32,
        }
    }

    /// The smoothed round-trip time (SRTT).
    #[must_use]
    pub const fn smoothed(&self) -> Duration {
        Duration::from_micros(self.smoothed_us.get() as u64)
    }

    /// The variation of the round-trip time (RTTVAR).
    #[must_use]
    pub const fn variation(&self) -> Duration {
        Duration::from_micros(self.variation_us as u64)
    }

    /// How long a reply may take: SRTT + 4 RTTVAR.
    #[must_use]
    pub const fn reply_estimate(&self) -> Duration {
        Duration::from_micros(self.smoothed_us.get() as u64 + 4 * self.variation_us as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_sample_sets_the_estimate_and_half_of_it_the_variation() {
        let rtt = Rtt::first(100 * MS);
        assert_eq!((rtt.smoothed(), rtt.variation()), (100 * MS, 50 * MS));
        assert_eq!(rtt.reply_estimate(), 300 * MS);
    }

    #[test]
    fn further_samples_are_weighted_as_the_rfc_says() {
        let mut rtt = Rtt::first(100 * MS);
        rtt.update(180 * MS);
        // RTTVAR = 3/4 * 50 + 1/4 * |100 - 180|; SRTT = 7/8 * 100 + 1/8 * 180.
        assert_eq!((rtt.variation(), rtt.smoothed()), (Duration::from_micros(57_500), 110 * MS));
    }

    #[test]
    fn a_steady_round_trip_lets_the_variation_decay() {
        let mut rtt = Rtt::first(80 * MS);
        for _ in 0..60 {
            rtt.update(80 * MS);
        }
        assert_eq!(rtt.smoothed(), 80 * MS);
        assert!(rtt.variation() < Duration::from_micros(5));
    }

    #[test]
    fn absurd_samples_saturate() {
        let mut rtt = Rtt::first(Duration::MAX);
        rtt.update(Duration::ZERO);
        rtt.update(Duration::MAX);
        assert!(rtt.reply_estimate() <= Duration::from_micros(5 * u64::from(u32::MAX)));
    }
}
