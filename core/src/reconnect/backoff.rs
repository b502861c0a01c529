//! How long one wait is.
//!
//! All of it is integer arithmetic that saturates. The range is cut to the bounds first and the random draw comes last:
//! cutting after the draw takes the jitter away exactly when everybody waits at the cap. See AWS Architecture Blog,
//! "Exponential Backoff And Jitter" (2015).

use alloc::sync::Arc;
use core::time::Duration;

use super::config::ReconnectConfig;
use crate::entropy::Prng;
use crate::time::nanos;

/// How waits grow from failure to failure, and how they are spread.
///
/// With `c = min(cap, base * 2^n)` after `n` earlier failures. Nothing leaves `[floor, cap]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// Anywhere in `[floor, c]`. Spreads best; the default.
    FullJitter,
    /// Anywhere in `[c / 2, c]`. Never much shorter than its step.
    EqualJitter,
    /// Anywhere in `[base, 3 * previous wait]`, with the upper end cut to the cap. Fewest attempts.
    DecorrelatedJitter,
    /// `base` and up to 10 % more or less. Where that would leave `[floor, cap]`, the range is narrower.
    Fixed,
    /// Step after step and up to 10 % more or less; the last step repeats. Where that would leave `[floor, cap]`, the
    /// range is narrower. The steps lie in `[floor, cap]` and do not get shorter.
    Ladder(Arc<[Duration]>),
}

impl ReconnectConfig {
    /// The wait after a failure that was preceded by `failures` others.
    ///
    /// The first one (`failures == 0`) is anywhere in `[floor, floor + first_spread]`, whatever the shape: a loss usually
    /// hits many clients at once. From then on the [`Shape`] decides; a ladder begins with its first step at
    /// `failures == 1`. `previous` is the wait before, which only decorrelated jitter looks at; below `base` it counts
    /// as `base`.
    ///
    /// Always in `[floor, cap]`, for every `failures` and `previous`.
    pub fn delay(&self, failures: u32, previous: Duration, prng: &mut Prng) -> Duration {
        let (floor, base, cap) = (nanos(self.floor), nanos(self.base), nanos(self.cap));
        let (low, high) = match &self.shape {
            _ if failures == 0 => (floor, floor.saturating_add(nanos(self.first_spread))),
            Shape::FullJitter => (floor, self.doubled(failures)),
            Shape::EqualJitter => (self.doubled(failures) / 2, self.doubled(failures)),
            Shape::DecorrelatedJitter => (base, nanos(previous).max(base).saturating_mul(3)),
            Shape::Fixed => around(base),
            Shape::Ladder(steps) => {
                let step = usize::try_from(failures - 1).unwrap_or(usize::MAX);
                around(steps.get(step).or(steps.last()).map_or(base, |step| nanos(*step)))
            }
        };
        Duration::from_nanos(prng.between(low.max(floor), high.min(cap)))
    }

    /// The wait after the `streak`-th conflict in a row, counted from 1: in `[c, 2 * c]` with
    /// `c = min(cap, base * 2^streak)`, and never above the cap. At the cap it is the cap: the rival's turns keep two
    /// owners apart without jitter.
    pub(super) fn conflict_delay(&self, streak: u32, prng: &mut Prng) -> Duration {
        let low = self.doubled(streak);
        Duration::from_nanos(prng.between(low, low.saturating_mul(2).min(nanos(self.cap))))
    }

    /// `min(cap, base * 2^exponent)` in nanoseconds.
    fn doubled(&self, exponent: u32) -> u64 {
        let factor = 1_u64.checked_shl(exponent).unwrap_or(u64::MAX);
        nanos(self.base).saturating_mul(factor).min(nanos(self.cap))
    }
}

const fn around(middle: u64) -> (u64, u64) {
    (middle - middle / 10, middle.saturating_add(middle / 10))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn shapes() -> [Shape; 5] {
        let ladder = Shape::Ladder(Arc::new([200 * MS, 1000 * MS, 30_000 * MS]));
        [Shape::FullJitter, Shape::EqualJitter, Shape::DecorrelatedJitter, Shape::Fixed, ladder]
    }

    fn config(shape: Shape) -> ReconnectConfig {
        ReconnectConfig::builder().shape(shape).build().unwrap()
    }

    /// The shortest and the longest of many draws.
    fn extremes(config: &ReconnectConfig, failures: u32, previous: Duration) -> (Duration, Duration) {
        let mut prng = Prng::new(u64::from(failures));
        let draws: Vec<_> = (0..4000).map(|_| config.delay(failures, previous, &mut prng)).collect();
        (*draws.iter().min().unwrap(), *draws.iter().max().unwrap())
    }

    /// Draws fill `[low, high]` (milliseconds) up to 1 % at both ends and never leave it.
    #[track_caller]
    fn assert_fills(config: &ReconnectConfig, failures: u32, previous: Duration, low: u32, high: u32) {
        let (shortest, longest) = extremes(config, failures, previous);
        let (low, high) = (low * MS, high * MS);
        let slack = (high - low) / 100;
        assert!(shortest >= low && shortest <= low + slack, "{shortest:?} in {low:?}..");
        assert!(longest <= high && longest + slack >= high, "{longest:?} in ..{high:?}");
    }

    #[test]
    fn the_first_wait_fills_the_first_spread_for_every_shape() {
        for shape in shapes() {
            assert_fills(&config(shape), 0, Duration::ZERO, 100, 1100);
        }
    }

    #[test]
    fn full_jitter_fills_from_the_floor_to_the_step() {
        let config = config(Shape::FullJitter);
        assert_fills(&config, 1, Duration::ZERO, 100, 1000);
        assert_fills(&config, 5, Duration::ZERO, 100, 16_000);
        assert_fills(&config, 6, Duration::ZERO, 100, 30_000);
    }

    #[test]
    fn equal_jitter_fills_the_upper_half_of_the_step() {
        let config = config(Shape::EqualJitter);
        assert_fills(&config, 1, Duration::ZERO, 500, 1000);
        assert_fills(&config, 6, Duration::ZERO, 15_000, 30_000);
    }

    #[test]
    fn decorrelated_jitter_follows_the_wait_before() {
        let config = config(Shape::DecorrelatedJitter);
        assert_fills(&config, 1, Duration::ZERO, 500, 1500);
        assert_fills(&config, 9, 2000 * MS, 500, 6000);
        assert_fills(&config, 9, Duration::MAX, 500, 30_000);
    }

    #[test]
    fn fixed_and_ladder_vary_by_a_tenth_and_the_last_step_repeats() {
        assert_fills(&config(Shape::Fixed), 7, Duration::ZERO, 450, 550);
        let [.., ladder] = shapes().map(config);
        assert_fills(&ladder, 1, Duration::ZERO, 180, 220);
        assert_fills(&ladder, 2, Duration::ZERO, 900, 1100);
        // 33 s would be above the cap.
        assert_fills(&ladder, 3, Duration::ZERO, 27_000, 30_000);
        assert_fills(&ladder, u32::MAX, Duration::ZERO, 27_000, 30_000);
    }

    #[test]
    fn jitter_of_a_tenth_does_not_leave_the_bounds() {
        let builder = || ReconnectConfig::builder().shape(Shape::Fixed).first_spread(Duration::ZERO);
        let at_floor = builder().floor(500 * MS).base(500 * MS).build().unwrap();
        assert_fills(&at_floor, 1, Duration::ZERO, 500, 550);
        let pinned = builder().floor(500 * MS).base(500 * MS).cap(500 * MS).build().unwrap();
        assert_eq!(extremes(&pinned, 1, Duration::ZERO), (500 * MS, 500 * MS));
    }

    #[test]
    fn ten_thousand_failures_and_beyond_stay_in_the_bounds_and_jittered() {
        for config in shapes().map(config) {
            let mut prng = Prng::new(3);
            let mut previous = Duration::ZERO;
            for failures in (0..10_000).chain([1_000_000_000, u32::MAX - 1, u32::MAX]) {
                previous = config.delay(failures, previous, &mut prng);
                assert!(previous >= 100 * MS && previous <= 30_000 * MS, "{previous:?} after {failures} failures");
            }
            for failures in [63, 64, 65, 1_000_000_000, u32::MAX] {
                let (shortest, longest) = extremes(&config, failures, 30_000 * MS);
                assert!(longest - shortest >= 90 * MS, "{:?} is not jittered after {failures} failures", config.shape);
            }
        }
    }

    #[test]
    fn conflict_waits_double_up_to_the_cap() {
        let config = config(Shape::FullJitter);
        let mut prng = Prng::new(5);
        for (streak, low, high) in [(1, 1000, 2000), (2, 2000, 4000), (5, 16_000, 30_000)] {
            for _ in 0..500 {
                let wait = config.conflict_delay(streak, &mut prng);
                assert!(wait >= low * MS && wait <= high * MS);
            }
        }
        for streak in [6, 63, 64, u32::MAX] {
            assert_eq!(config.conflict_delay(streak, &mut prng), 30_000 * MS);
        }
    }
}
