//! How liveness is judged, checked once when it is built.

use core::fmt;
use core::time::Duration;

/// What proves that the peer is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Proof {
    /// Any byte received. A half-open peer cannot forge one.
    #[default]
    AnyBytes,
    /// Only the answer to a beat of ours: for a path on which something else may speak for a dead peer. A large
    /// message that holds an answer up counts against the peer.
    ReplyOnly,
}

/// How liveness is judged. Made by [`LivenessConfig::builder`] or a preset; cannot hold an impossible relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivenessConfig {
    pub(crate) interval: Duration,
    pub(crate) jitter_percent: u8,
    pub(crate) reply_timeout: Duration,
    pub(crate) probes: u8,
    pub(crate) write_stall: Duration,
    pub(crate) stall_limit: Duration,
    pub(crate) frame_time: Duration,
    pub(crate) initial_rtt: Duration,
    pub(crate) proof: Proof,
}

impl LivenessConfig {
    /// The shortest beat interval and reply timeout: what a runtime's timers can serve.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// The longest beat interval.
    pub const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

    /// Starts from the values of [`LivenessConfig::internet`].
    pub const fn builder() -> LivenessConfigBuilder {
        LivenessConfigBuilder { config: Self::internet(), write_stall: None, initial_rtt: None }
    }

    /// Starts from this configuration, for example a preset.
    pub const fn to_builder(self) -> LivenessConfigBuilder {
        LivenessConfigBuilder { write_stall: Some(self.write_stall), initial_rtt: Some(self.initial_rtt), config: self }
    }

    /// Peers across the internet: beat every 25 s, reply within 10 s.
    #[must_use]
    pub const fn internet() -> Self {
        Self {
            interval: Duration::from_secs(25),
            jitter_percent: 10,
            reply_timeout: Duration::from_secs(10),
            probes: 3,
            write_stall: Duration::from_secs(10),
            stall_limit: Duration::from_secs(60),
            frame_time: Duration::from_secs(600),
            initial_rtt: Duration::from_millis(200),
            proof: Proof::AnyBytes,
        }
    }

    /// Peers in one data centre: beat every 5 s, reply within 1 s.
    #[must_use]
    pub const fn data_center() -> Self {
        Self {
            interval: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(1),
            write_stall: Duration::from_secs(1),
            initial_rtt: Duration::from_millis(2),
            ..Self::internet()
        }
    }

    /// Devices on cellular networks: beat every 60 s, reply within 20 s.
    #[must_use]
    pub const fn mobile() -> Self {
        Self {
            interval: Duration::from_secs(60),
            reply_timeout: Duration::from_secs(20),
            write_stall: Duration::from_secs(20),
            stall_limit: Duration::from_secs(120),
            initial_rtt: Duration::from_millis(500),
            ..Self::internet()
        }
    }

    /// The longest time between two beats.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How long the answer to a beat may take.
    #[must_use]
    pub const fn reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    /// How long the peer may take for one frame.
    #[must_use]
    pub const fn frame_time(&self) -> Duration {
        self.frame_time
    }

    /// How long one side may be alive and yet take no data from the other.
    #[must_use]
    pub const fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// The longest time from a peer's death to the verdict, for a driver that wakes on time.
    ///
    /// It is one interval, until the next beat is due, plus the longer of two ways to the verdict: the beat leaves and is
    /// not answered (a reply timeout, then a window of the same length for the quick probes, if there are any), or the
    /// beat leaves late or never (the write stall, then a reply timeout). A local stall or suspend adds its own length and
    /// one reply timeout; a time for which our own application does not read adds that time. When the server grants other
    /// terms than were asked for, the bound of those terms holds; see [`LivenessConfig::bound_for`].
    #[must_use]
    pub const fn worst_case_detection(&self) -> Duration {
        self.bound_for(self.interval, self.reply_timeout)
    }

    /// The same bound for a connection with another interval and reply timeout.
    #[must_use]
    pub const fn bound_for(&self, interval: Duration, reply_timeout: Duration) -> Duration {
        let answered_late = reply_timeout.saturating_add(self.suspicion(reply_timeout));
        let left_late = self.write_stall.saturating_add(reply_timeout);
        let verdict = if answered_late.as_nanos() > left_late.as_nanos() { answered_late } else { left_late };
        interval.saturating_add(verdict)
    }

    /// How long the quick probes of a suspect may take in all.
    pub(crate) const fn suspicion(&self, reply_timeout: Duration) -> Duration {
        if self.probes == 0 { Duration::ZERO } else { reply_timeout }
    }

    /// Where jitter allows, beats leave on multiples of this: a hundredth of the interval.
    pub(crate) const fn tick(&self, interval: Duration) -> Duration {
        if self.jitter_percent == 0 { Duration::ZERO } else { Duration::from_nanos(interval.as_nanos() as u64 / 100) }
    }

    /// The shortest time between two beats, with jitter.
    pub(crate) const fn shortest_gap(&self, interval: Duration) -> Duration {
        percent_of(interval, 100 - self.jitter_percent as u32)
    }
}

const fn percent_of(span: Duration, percent: u32) -> Duration {
    // The division cannot fail; if the product is too large, so is the result.
    match span.checked_mul(percent) {
        Some(product) => match product.checked_div(100) {
            Some(part) => part,
            None => Duration::MAX,
        },
        None => Duration::MAX,
    }
}

impl Default for LivenessConfig {
    /// The values of [`LivenessConfig::internet`].
    fn default() -> Self {
        Self::internet()
    }
}

/// Builds a [`LivenessConfig`]. What is not set keeps the value of [`LivenessConfig::internet`].
#[derive(Debug, Clone)]
#[must_use]
pub struct LivenessConfigBuilder {
    config: LivenessConfig,
    write_stall: Option<Duration>,
    initial_rtt: Option<Duration>,
}

impl LivenessConfigBuilder {
    /// The longest time between two beats: 10 ms to 24 h.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.config.interval = interval;
        self
    }

    /// By how much each interval is shortened at random, in percent: 0 to 50. Default 10. Within this, beats are brought down
    /// to multiples of a hundredth of the interval, so that the links of one machine share wake-ups; with 0 they are not.
    pub const fn jitter_percent(mut self, percent: u8) -> Self {
        self.config.jitter_percent = percent;
        self
    }

    /// How long the answer to a beat may take from the moment the beat left: 10 ms up to the interval.
    pub const fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.config.reply_timeout = timeout;
        self
    }

    /// How many quick probes a suspect gets; 0 declares it dead at the first late reply. At most 16, default 3. They
    /// share one further reply timeout.
    pub const fn probes(mut self, probes: u8) -> Self {
        self.config.probes = probes;
        self
    }

    /// How long our bytes may wait without any of them leaving, and a beat behind others until it leaves, while nothing is
    /// heard from the peer. At least the reply timeout, which is the default.
    pub const fn write_stall(mut self, limit: Duration) -> Self {
        self.write_stall = Some(limit);
        self
    }

    /// How long one side may be alive and yet take no data from the other: the peer from us (death by write stall), or
    /// our own application from its inbox. At least the write stall; default 60 s.
    pub const fn stall_limit(mut self, limit: Duration) -> Self {
        self.config.stall_limit = limit;
        self
    }

    /// How long the peer may take for one frame, however steadily its bytes come. At least the reply timeout; default
    /// 10 minutes.
    pub const fn frame_time(mut self, limit: Duration) -> Self {
        self.config.frame_time = limit;
        self
    }

    /// The round-trip time to expect before the first measurement. It spaces the first quick probes, and the reply
    /// timeout must be longer. Default 200 ms, or half the reply timeout if that is less.
    pub const fn initial_rtt(mut self, rtt: Duration) -> Self {
        self.initial_rtt = Some(rtt);
        self
    }

    /// What proves that the peer is alive. Default: any byte.
    pub const fn proof(mut self, proof: Proof) -> Self {
        self.config.proof = proof;
        self
    }

    /// Checks every relation between the values.
    ///
    /// # Errors
    /// The first impossible value or relation, with the values that break it.
    pub fn build(self) -> Result<LivenessConfig, LivenessConfigError> {
        use LivenessConfigError as E;
        let mut config = self.config;
        config.write_stall = self.write_stall.unwrap_or(config.reply_timeout);
        config.initial_rtt =
            self.initial_rtt.unwrap_or_else(|| LivenessConfig::internet().initial_rtt.min(config.reply_timeout / 2));
        let LivenessConfig { interval, reply_timeout, write_stall, stall_limit, frame_time, initial_rtt, .. } = config;
        let (shortest, longest) = (LivenessConfig::SHORTEST, LivenessConfig::LONGEST_INTERVAL);
        if interval < shortest {
            return Err(E::IntervalTooShort { interval, shortest });
        }
        if interval > longest {
            return Err(E::IntervalTooLong { interval, longest });
        }
        if reply_timeout < shortest {
            return Err(E::ReplyTimeoutTooShort { reply_timeout, shortest });
        }
        if reply_timeout > interval {
            return Err(E::ReplyTimeoutExceedsInterval { reply_timeout, interval });
        }
        if initial_rtt >= reply_timeout {
            return Err(E::ReplyTimeoutBelowRtt { reply_timeout, initial_rtt });
        }
        if config.jitter_percent > 50 {
            return Err(E::JitterTooLarge { percent: config.jitter_percent, largest: 50 });
        }
        if config.probes > 16 {
            return Err(E::TooManyProbes { probes: config.probes, most: 16 });
        }
        if write_stall < reply_timeout {
            return Err(E::WriteStallBelowReplyTimeout { write_stall, reply_timeout });
        }
        if stall_limit < write_stall {
            return Err(E::StallLimitBelowWriteStall { stall_limit, write_stall });
        }
        if frame_time < reply_timeout {
            return Err(E::FrameTimeBelowReplyTimeout { frame_time, reply_timeout });
        }
        Ok(config)
    }
}

/// An impossible [`LivenessConfig`]: a fault of the configuration. Nothing was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields carry the two values that the variant names")]
pub enum LivenessConfigError {
    /// The interval is zero or nearly so.
    IntervalTooShort { interval: Duration, shortest: Duration },
    /// The interval is so long that no verdict would ever come.
    IntervalTooLong { interval: Duration, longest: Duration },
    /// The reply timeout is zero or nearly so.
    ReplyTimeoutTooShort { reply_timeout: Duration, shortest: Duration },
    /// The next beat would be due while the one before may still be answered in time.
    ReplyTimeoutExceedsInterval { reply_timeout: Duration, interval: Duration },
    /// No reply could ever be in time.
    ReplyTimeoutBelowRtt { reply_timeout: Duration, initial_rtt: Duration },
    /// The jitter would let beats come in bursts.
    JitterTooLarge { percent: u8, largest: u8 },
    /// So many quick probes are a flood.
    TooManyProbes { probes: u8, most: u8 },
    /// Writes would have to move faster than replies.
    WriteStallBelowReplyTimeout { write_stall: Duration, reply_timeout: Duration },
    /// The limit for living peers is below that for silent ones.
    StallLimitBelowWriteStall { stall_limit: Duration, write_stall: Duration },
    /// A whole frame would have to come faster than a reply.
    FrameTimeBelowReplyTimeout { frame_time: Duration, reply_timeout: Duration },
}

impl fmt::Display for LivenessConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IntervalTooShort { interval, shortest } => {
                write!(f, "interval {interval:?} is too short; give at least {shortest:?}")
            }
            Self::IntervalTooLong { interval, longest } => {
                write!(f, "interval {interval:?} is too long; give at most {longest:?}")
            }
            Self::ReplyTimeoutTooShort { reply_timeout, shortest } => {
                write!(f, "reply timeout {reply_timeout:?} is too short; give at least {shortest:?}")
            }
            Self::ReplyTimeoutExceedsInterval { reply_timeout, interval } => write!(
                f,
                "reply timeout {reply_timeout:?} exceeds the interval {interval:?}; lower the timeout or raise the interval"
            ),
            Self::ReplyTimeoutBelowRtt { reply_timeout, initial_rtt } => write!(
                f,
                "reply timeout {reply_timeout:?} is not above the round trip {initial_rtt:?} to expect; raise the timeout"
            ),
            Self::JitterTooLarge { percent, largest } => {
                write!(f, "jitter of {percent} % is too large; give at most {largest} %")
            }
            Self::TooManyProbes { probes, most } => {
                write!(f, "{probes} quick probes are too many; give at most {most}")
            }
            Self::WriteStallBelowReplyTimeout { write_stall, reply_timeout } => {
                write!(f, "write stall {write_stall:?} is below the reply timeout {reply_timeout:?}; raise it")
            }
            Self::StallLimitBelowWriteStall { stall_limit, write_stall } => {
                write!(f, "stall limit {stall_limit:?} is below the write stall {write_stall:?}; raise it")
            }
            Self::FrameTimeBelowReplyTimeout { frame_time, reply_timeout } => {
                write!(f, "frame time {frame_time:?} is below the reply timeout {reply_timeout:?}; raise it")
            }
        }
    }
}

impl core::error::Error for LivenessConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use LivenessConfigError as E;

    const MS: Duration = Duration::from_millis(1);

    fn base() -> LivenessConfigBuilder {
        LivenessConfig::builder().interval(1000 * MS).reply_timeout(400 * MS).initial_rtt(50 * MS)
    }

    #[test]
    fn presets_obey_their_own_rules() {
        for preset in [LivenessConfig::internet(), LivenessConfig::data_center(), LivenessConfig::mobile()] {
            assert_eq!(preset.clone().to_builder().build(), Ok(preset));
        }
    }

    #[test]
    fn presets_hold_the_numbers_that_they_are_documented_with() {
        let second = 1000 * MS;
        let internet = LivenessConfig::builder()
            .interval(25 * second)
            .jitter_percent(10)
            .reply_timeout(10 * second)
            .probes(3)
            .write_stall(10 * second)
            .stall_limit(60 * second)
            .frame_time(600 * second)
            .initial_rtt(200 * MS)
            .proof(Proof::AnyBytes);
        assert_eq!(internet.clone().build(), Ok(LivenessConfig::internet()));
        assert_eq!(LivenessConfig::builder().build(), Ok(LivenessConfig::default()));
        let data_center =
            internet.clone().interval(5 * second).reply_timeout(second).write_stall(second).initial_rtt(2 * MS);
        assert_eq!(data_center.build(), Ok(LivenessConfig::data_center()));
        let mobile = internet
            .interval(60 * second)
            .reply_timeout(20 * second)
            .write_stall(20 * second)
            .stall_limit(120 * second)
            .initial_rtt(500 * MS);
        assert_eq!(mobile.build(), Ok(LivenessConfig::mobile()));
    }

    #[test]
    fn every_impossible_relation_names_its_two_values() {
        let (zero, day) = (Duration::ZERO, LivenessConfig::LONGEST_INTERVAL);
        let cases = [
            (base().interval(zero), E::IntervalTooShort { interval: zero, shortest: 10 * MS }),
            (base().interval(Duration::MAX), E::IntervalTooLong { interval: Duration::MAX, longest: day }),
            (base().reply_timeout(zero), E::ReplyTimeoutTooShort { reply_timeout: zero, shortest: 10 * MS }),
            (
                base().reply_timeout(1001 * MS),
                E::ReplyTimeoutExceedsInterval { reply_timeout: 1001 * MS, interval: 1000 * MS },
            ),
            (base().initial_rtt(400 * MS), E::ReplyTimeoutBelowRtt { reply_timeout: 400 * MS, initial_rtt: 400 * MS }),
            (base().jitter_percent(51), E::JitterTooLarge { percent: 51, largest: 50 }),
            (base().probes(17), E::TooManyProbes { probes: 17, most: 16 }),
            (
                base().write_stall(399 * MS),
                E::WriteStallBelowReplyTimeout { write_stall: 399 * MS, reply_timeout: 400 * MS },
            ),
            (
                base().stall_limit(399 * MS),
                E::StallLimitBelowWriteStall { stall_limit: 399 * MS, write_stall: 400 * MS },
            ),
            (
                base().frame_time(399 * MS),
                E::FrameTimeBelowReplyTimeout { frame_time: 399 * MS, reply_timeout: 400 * MS },
            ),
        ];
        for (builder, error) in cases {
            assert_eq!(builder.build(), Err(error));
        }
    }

    #[test]
    fn every_boundary_is_accepted_and_a_nanosecond_beyond_is_not() {
        let nano = Duration::from_nanos(1);
        let (shortest, day) = (10 * MS, 24 * 3600 * 1000 * MS);
        let quick = || base().initial_rtt(MS);
        type With<'a> = &'a dyn Fn(Duration) -> LivenessConfigBuilder;
        let rows: [(With<'_>, Duration, bool); 8] = [
            (&|it| quick().interval(it).reply_timeout(shortest), shortest, false),
            (&|it| base().interval(it), day, true),
            (&|it| quick().reply_timeout(it), shortest, false),
            (&|it| base().reply_timeout(it), 1000 * MS, true),
            (&|it| base().initial_rtt(it), 400 * MS - nano, true),
            (&|it| base().write_stall(it), 400 * MS, false),
            (&|it| base().write_stall(500 * MS).stall_limit(it), 500 * MS, false),
            (&|it| base().frame_time(it), 400 * MS, false),
        ];
        for (row, (with, boundary, is_most)) in rows.iter().enumerate() {
            let beyond = if *is_most { *boundary + nano } else { *boundary - nano };
            assert!(with(*boundary).build().is_ok(), "row {row}");
            assert!(with(beyond).build().is_err(), "row {row}");
        }
        assert!(base().jitter_percent(50).probes(16).build().is_ok());
    }

    #[test]
    fn a_short_reply_timeout_lowers_the_round_trip_to_expect_and_the_write_stall() {
        let config = LivenessConfig::builder().interval(1000 * MS).reply_timeout(100 * MS);
        assert_eq!(config.clone().initial_rtt(50 * MS).write_stall(100 * MS).build(), config.build());
    }

    #[test]
    fn messages_say_what_and_what_to_do() {
        let words = |builder: LivenessConfigBuilder| std::string::ToString::to_string(&builder.build().unwrap_err());
        assert_eq!(words(base().interval(MS)), "interval 1ms is too short; give at least 10ms");
        assert_eq!(words(base().probes(17)), "17 quick probes are too many; give at most 16");
        assert_eq!(
            words(base().reply_timeout(1001 * MS)),
            "reply timeout 1.001s exceeds the interval 1s; lower the timeout or raise the interval"
        );
    }

    #[test]
    fn the_bound_is_the_longest_way_to_a_verdict() {
        let config = base().build().unwrap();
        assert_eq!(config.worst_case_detection(), (1000 + 400 + 400) * MS);
        let config = base().probes(0).build().unwrap();
        assert_eq!(config.worst_case_detection(), (1000 + 400 + 400) * MS, "the beat may leave late");
        let config = base().write_stall(5000 * MS).build().unwrap();
        assert_eq!(config.worst_case_detection(), (1000 + 5000 + 400) * MS);
    }

    #[test]
    fn the_longest_durations_neither_overflow_nor_panic() {
        let max = Duration::MAX;
        let config = base().stall_limit(max).frame_time(max).write_stall(max).build().unwrap();
        assert_eq!(config.worst_case_detection(), max);
        assert!(config.bound_for(Duration::from_secs(1 << 40), 400 * MS) > Duration::from_secs(1 << 40));
        assert!(base().reply_timeout(max).build().is_err());
        assert!(base().initial_rtt(max).build().is_err());
    }
}
