//! The numbers of reconnection and their relations.

use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use super::backoff::Shape;

/// The largest `cap` and `max_wait_hint`: 366 days. Above it a link is not reconnecting, it is gone.
pub const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How a link reconnects. Made by [`ReconnectConfig::builder`] or a preset, and valid once made.
///
/// [`Default`] is [`ReconnectConfig::internet`]. Many links share one behind an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconnectConfig {
    pub(super) shape: Shape,
    pub(super) base: Duration,
    pub(super) cap: Duration,
    pub(super) floor: Duration,
    pub(super) first_spread: Duration,
    pub(super) max_attempts: Option<NonZeroU32>,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) stable: Duration,
    pub(super) max_wait_hint: Duration,
}

impl ReconnectConfig {
    /// Starts from [`ReconnectConfig::internet`].
    pub const fn builder() -> ReconnectConfigBuilder {
        Self::internet().to_builder()
    }

    /// Starts from this configuration, for a preset with one number changed.
    pub const fn to_builder(self) -> ReconnectConfigBuilder {
        ReconnectConfigBuilder { config: self }
    }

    /// Clients across the internet: full jitter, 500 ms doubling to 30 s, first retry within 1.1 s, no limit.
    #[must_use]
    pub const fn internet() -> Self {
        Self {
            shape: Shape::FullJitter,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            floor: Duration::from_millis(100),
            first_spread: Duration::from_secs(1),
            max_attempts: None,
            max_elapsed: None,
            stable: Duration::from_secs(30),
            max_wait_hint: Duration::from_secs(60 * 60),
        }
    }

    /// Machines beside each other: full jitter, 100 ms doubling to 5 s, first retry within 220 ms, no limit.
    #[must_use]
    pub fn data_center() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            floor: Duration::from_millis(20),
            first_spread: Duration::from_millis(200),
            stable: Duration::from_secs(10),
            max_wait_hint: Duration::from_secs(10 * 60),
            ..Self::internet()
        }
    }

    /// Devices that pay for every attempt with their battery: decorrelated jitter, 1 s to 60 s, first retry within 2.25 s,
    /// no limit. It counts on hints to come back sooner.
    #[must_use]
    pub fn mobile() -> Self {
        Self {
            shape: Shape::DecorrelatedJitter,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            floor: Duration::from_millis(250),
            first_spread: Duration::from_secs(2),
            ..Self::internet()
        }
    }

    /// The latest moment of the first retry after a loss.
    const fn first_retry(&self) -> Duration {
        self.floor.saturating_add(self.first_spread)
    }

    fn check(&self) -> Result<(), ReconnectConfigError> {
        use ReconnectConfigError as Error;
        let Self { base, cap, floor, stable, max_wait_hint, .. } = *self;
        let first_retry = self.first_retry();
        if floor.is_zero() {
            return Err(Error::FloorZero);
        }
        if floor > base {
            return Err(Error::FloorAboveBase { floor, base });
        }
        if base > cap {
            return Err(Error::BaseAboveCap { base, cap });
        }
        if cap > LONGEST_WAIT {
            return Err(Error::CapTooLong { cap, longest: LONGEST_WAIT });
        }
        if first_retry > cap {
            return Err(Error::FirstRetryAboveCap { first_retry, cap });
        }
        if stable < base {
            return Err(Error::StableBelowBase { stable, base });
        }
        if max_wait_hint < floor {
            return Err(Error::MaxWaitHintBelowFloor { max_wait_hint, floor });
        }
        if max_wait_hint > LONGEST_WAIT {
            return Err(Error::MaxWaitHintTooLong { max_wait_hint, longest: LONGEST_WAIT });
        }
        match self.max_elapsed {
            Some(max_elapsed) if max_elapsed < first_retry => {
                return Err(Error::MaxElapsedBelowFirstRetry { max_elapsed, first_retry });
            }
            _ => {}
        }
        match &self.shape {
            Shape::Ladder(steps) => check_ladder(steps, floor, cap),
            _ => Ok(()),
        }
    }
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self::internet()
    }
}

fn check_ladder(steps: &[Duration], floor: Duration, cap: Duration) -> Result<(), ReconnectConfigError> {
    use ReconnectConfigError as Error;
    if steps.is_empty() {
        return Err(Error::LadderEmpty);
    }
    let mut previous = Duration::ZERO;
    for (index, &step) in steps.iter().enumerate() {
        if step < floor {
            return Err(Error::LadderStepBelowFloor { index, step, floor });
        }
        if step > cap {
            return Err(Error::LadderStepAboveCap { index, step, cap });
        }
        if step < previous {
            return Err(Error::LadderStepShorter { index, step, previous });
        }
        previous = step;
    }
    Ok(())
}

/// Collects the numbers; [`build`](Self::build) checks how they relate.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ReconnectConfigBuilder {
    config: ReconnectConfig,
}

impl ReconnectConfigBuilder {
    /// How waits grow and spread. Default: [`Shape::FullJitter`].
    pub fn shape(mut self, shape: Shape) -> Self {
        self.config.shape = shape;
        self
    }

    /// The step that doubles. Default: 500 ms. At least the floor, at most the cap.
    pub fn base(mut self, base: Duration) -> Self {
        self.config.base = base;
        self
    }

    /// No backoff is longer. Default: 30 s. At most [`LONGEST_WAIT`]. On hold, waits last at least this long. Only a
    /// server's word may be longer.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.config.cap = cap;
        self
    }

    /// No wait is shorter, whatever the server says; only the user may cut it. Default: 100 ms. Above zero.
    pub fn floor(mut self, floor: Duration) -> Self {
        self.config.floor = floor;
        self
    }

    /// The first retry after a loss comes at a random moment in `[floor, floor + first_spread]`, because a loss usually
    /// hits many clients at once. Default: 1 s. Zero is allowed, for a link that is alone with its server. The sum is at
    /// most the cap.
    pub fn first_spread(mut self, first_spread: Duration) -> Self {
        self.config.first_spread = first_spread;
        self
    }

    /// Gives up when this many attempts of one episode have failed. Default: unlimited.
    pub fn max_attempts(mut self, max_attempts: NonZeroU32) -> Self {
        self.config.max_attempts = Some(max_attempts);
        self
    }

    /// Starts no attempt later than this after the first failure of an episode, and gives up instead. An attempt that is
    /// under way is not cut. Default: unlimited. At least `floor + first_spread`, so that one retry always fits.
    pub fn max_elapsed(mut self, max_elapsed: Duration) -> Self {
        self.config.max_elapsed = Some(max_elapsed);
        self
    }

    /// A connection that was up this long and proved to be alive starts a new episode when it ends. Default: 30 s. At
    /// least `base`; [`Duration::MAX`] means never.
    pub fn stable(mut self, stable: Duration) -> Self {
        self.config.stable = stable;
        self
    }

    /// The most that is believed of a server's `after`, and of its `spread`, each. Default: 1 h. At least the floor, at
    /// most [`LONGEST_WAIT`].
    pub fn max_wait_hint(mut self, max_wait_hint: Duration) -> Self {
        self.config.max_wait_hint = max_wait_hint;
        self
    }

    /// The configuration.
    ///
    /// # Errors
    ///
    /// The first relation between the numbers that does not hold. Nothing is adjusted silently.
    pub fn build(self) -> Result<ReconnectConfig, ReconnectConfigError> {
        self.config.check()?;
        Ok(self.config)
    }
}

/// A relation between the numbers of a [`ReconnectConfig`] that does not hold. The programmer or the operator corrects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields carry the names of the settings they hold")]
pub enum ReconnectConfigError {
    /// A floor of zero would allow attempts without a pause.
    FloorZero,
    /// The shortest wait is longer than the first step.
    FloorAboveBase { floor: Duration, base: Duration },
    /// The first step is longer than the longest wait.
    BaseAboveCap { base: Duration, cap: Duration },
    /// The cap is above [`LONGEST_WAIT`].
    CapTooLong { cap: Duration, longest: Duration },
    /// The first retry (`floor + first_spread`) could come later than the cap.
    FirstRetryAboveCap { first_retry: Duration, cap: Duration },
    /// A connection shorter than the first step would count as stable.
    StableBelowBase { stable: Duration, base: Duration },
    /// A server could not even ask for the shortest wait.
    MaxWaitHintBelowFloor { max_wait_hint: Duration, floor: Duration },
    /// The bound for a server's word is above [`LONGEST_WAIT`].
    MaxWaitHintTooLong { max_wait_hint: Duration, longest: Duration },
    /// The time could be used up before the first retry (`floor + first_spread`).
    MaxElapsedBelowFirstRetry { max_elapsed: Duration, first_retry: Duration },
    /// The ladder has no step.
    LadderEmpty,
    /// A step of the ladder, counted from 0, is below the floor.
    LadderStepBelowFloor { index: usize, step: Duration, floor: Duration },
    /// A step of the ladder, counted from 0, is above the cap.
    LadderStepAboveCap { index: usize, step: Duration, cap: Duration },
    /// A step of the ladder, counted from 0, is shorter than the one before it.
    LadderStepShorter { index: usize, step: Duration, previous: Duration },
}

impl fmt::Display for ReconnectConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reconnect configuration: ")?;
        match self {
            Self::FloorZero => f.write_str("floor is zero; set it to at least a few milliseconds"),
            Self::FloorAboveBase { floor, base } => {
                write!(f, "floor ({floor:?}) is above base ({base:?}); lower floor or raise base")
            }
            Self::BaseAboveCap { base, cap } => {
                write!(f, "base ({base:?}) is above cap ({cap:?}); lower base or raise cap")
            }
            Self::CapTooLong { cap, longest } => write!(f, "cap ({cap:?}) is above {longest:?}; lower cap"),
            Self::FirstRetryAboveCap { first_retry, cap } => {
                write!(
                    f,
                    "floor + first_spread ({first_retry:?}) is above cap ({cap:?}); lower first_spread or raise cap"
                )
            }
            Self::StableBelowBase { stable, base } => {
                write!(f, "stable ({stable:?}) is below base ({base:?}); raise stable or lower base")
            }
            Self::MaxWaitHintBelowFloor { max_wait_hint, floor } => {
                write!(
                    f,
                    "max_wait_hint ({max_wait_hint:?}) is below floor ({floor:?}); raise max_wait_hint or lower floor"
                )
            }
            Self::MaxWaitHintTooLong { max_wait_hint, longest } => {
                write!(f, "max_wait_hint ({max_wait_hint:?}) is above {longest:?}; lower max_wait_hint")
            }
            Self::MaxElapsedBelowFirstRetry { max_elapsed, first_retry } => write!(
                f,
                "max_elapsed ({max_elapsed:?}) is below floor + first_spread ({first_retry:?}); raise max_elapsed or lower \
                 first_spread"
            ),
            Self::LadderEmpty => f.write_str("the ladder is empty; give it at least one step"),
            Self::LadderStepBelowFloor { index, step, floor } => {
                write!(f, "ladder step {index} ({step:?}) is below floor ({floor:?}); raise the step or lower floor")
            }
            Self::LadderStepAboveCap { index, step, cap } => {
                write!(f, "ladder step {index} ({step:?}) is above cap ({cap:?}); lower the step or raise cap")
            }
            Self::LadderStepShorter { index, step, previous } => {
                write!(
                    f,
                    "ladder step {index} ({step:?}) is shorter than the step before it ({previous:?}); sort the ladder"
                )
            }
        }
    }
}

impl core::error::Error for ReconnectConfigError {}
