//! The round-trip estimate (RFC 6298, section 2).

use core::num::NonZeroU32;
use core::time::Duration;

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
        let sample = micros(sample);
        Self { smoothed_us: at_least_one(sample), variation_us: sample / 2 }
    }

    /// Takes a further sample into account.
    #[inline]
    pub fn update(&mut self, sample: Duration) {
        let sample = u64::from(micros(sample));
        let smoothed = u64::from(self.smoothed_us.get());
        let variation = u64::from(self.variation_us);
        // Both results are weighted means of 32-bit values, so they fit again.
        self.variation_us = ((3 * variation + smoothed.abs_diff(sample)) / 4) as u32;
        self.smoothed_us = at_least_one(((7 * smoothed + sample) / 8) as u32);
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

fn at_least_one(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN)
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
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
