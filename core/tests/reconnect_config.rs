//! Which reconnect configurations are refused, and that the others work.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

use core::num::NonZeroU32;
use core::time::Duration;
use std::sync::Arc;

use keepbeat_core::reconnect::{
    LONGEST_WAIT, Reconnect, ReconnectConfig, ReconnectConfigBuilder, ReconnectConfigError as Error, Retry, Shape,
};
use keepbeat_core::time::Timestamp;

const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

fn builder() -> ReconnectConfigBuilder {
    ReconnectConfig::builder()
}

fn ladder(steps: &[Duration]) -> ReconnectConfigBuilder {
    builder().shape(Shape::Ladder(steps.into()))
}

#[track_caller]
fn refused(builder: ReconnectConfigBuilder, error: Error) {
    assert_eq!(builder.build(), Err(error));
}

#[track_caller]
fn accepted(builder: ReconnectConfigBuilder) {
    builder.build().unwrap();
}

#[test]
fn presets_obey_their_own_rules() {
    for preset in [ReconnectConfig::data_center(), ReconnectConfig::internet(), ReconnectConfig::mobile()] {
        assert_eq!(preset.clone().to_builder().build(), Ok(preset));
    }
    assert_eq!(builder().build(), Ok(ReconnectConfig::default()));
}

#[test]
fn presets_hold_the_numbers_that_they_are_documented_with() {
    let internet = builder()
        .shape(Shape::FullJitter)
        .base(500 * MS)
        .cap(30 * SECOND)
        .floor(100 * MS)
        .first_spread(SECOND)
        .stable(30 * SECOND)
        .max_wait_hint(3600 * SECOND);
    assert_eq!(internet.clone().build(), Ok(ReconnectConfig::internet()));
    let data_center = internet
        .clone()
        .base(100 * MS)
        .cap(5 * SECOND)
        .floor(20 * MS)
        .first_spread(200 * MS)
        .stable(10 * SECOND)
        .max_wait_hint(600 * SECOND);
    assert_eq!(data_center.build(), Ok(ReconnectConfig::data_center()));
    let mobile = internet
        .shape(Shape::DecorrelatedJitter)
        .base(SECOND)
        .cap(60 * SECOND)
        .floor(250 * MS)
        .first_spread(2 * SECOND);
    assert_eq!(mobile.build(), Ok(ReconnectConfig::mobile()));
    assert_eq!(LONGEST_WAIT, 366 * 24 * 3600 * SECOND);
}

#[test]
fn every_impossible_relation_is_refused_and_its_boundary_accepted() {
    refused(builder().floor(Duration::ZERO), Error::FloorZero);
    accepted(builder().floor(NS));
    refused(builder().floor(500 * MS + NS), Error::FloorAboveBase { floor: 500 * MS + NS, base: 500 * MS });
    accepted(builder().floor(500 * MS));
    refused(builder().base(30 * SECOND + NS), Error::BaseAboveCap { base: 30 * SECOND + NS, cap: 30 * SECOND });
    accepted(builder().base(30 * SECOND));
    refused(builder().cap(LONGEST_WAIT + NS), Error::CapTooLong { cap: LONGEST_WAIT + NS, longest: LONGEST_WAIT });
    accepted(builder().cap(LONGEST_WAIT));
    let first_retry = 30 * SECOND + NS;
    refused(builder().first_spread(29_900 * MS + NS), Error::FirstRetryAboveCap { first_retry, cap: 30 * SECOND });
    accepted(builder().first_spread(29_900 * MS));
    refused(builder().stable(500 * MS - NS), Error::StableBelowBase { stable: 500 * MS - NS, base: 500 * MS });
    accepted(builder().stable(500 * MS));
    let max_wait_hint = 100 * MS - NS;
    refused(builder().max_wait_hint(max_wait_hint), Error::MaxWaitHintBelowFloor { max_wait_hint, floor: 100 * MS });
    accepted(builder().max_wait_hint(100 * MS));
    let max_wait_hint = LONGEST_WAIT + NS;
    refused(builder().max_wait_hint(max_wait_hint), Error::MaxWaitHintTooLong { max_wait_hint, longest: LONGEST_WAIT });
    accepted(builder().max_wait_hint(LONGEST_WAIT));
    let max_elapsed = 1100 * MS - NS;
    refused(
        builder().max_elapsed(max_elapsed),
        Error::MaxElapsedBelowFirstRetry { max_elapsed, first_retry: 1100 * MS },
    );
    accepted(builder().max_elapsed(1100 * MS));
}

#[test]
fn impossible_ladders_are_refused_and_name_the_step() {
    refused(ladder(&[]), Error::LadderEmpty);
    let step = 100 * MS - NS;
    refused(ladder(&[step, SECOND]), Error::LadderStepBelowFloor { index: 0, step, floor: 100 * MS });
    let step = 30 * SECOND + NS;
    refused(ladder(&[SECOND, step]), Error::LadderStepAboveCap { index: 1, step, cap: 30 * SECOND });
    let step = SECOND - NS;
    refused(ladder(&[SECOND, step]), Error::LadderStepShorter { index: 1, step, previous: SECOND });
    accepted(ladder(&[100 * MS, SECOND, SECOND, 30 * SECOND]));
}

#[test]
fn messages_say_what_and_what_to_do() {
    let error = builder().base(SECOND).cap(600 * MS).build().unwrap_err();
    assert_eq!(error.to_string(), "reconnect configuration: base (1s) is above cap (600ms); lower base or raise cap");
    let boxed: Box<dyn core::error::Error> = Box::new(error);
    assert!(boxed.source().is_none());
}

/// Sets one of the seven durations.
fn set(builder: ReconnectConfigBuilder, field: usize, value: Duration) -> ReconnectConfigBuilder {
    match field {
        0 => builder.base(value),
        1 => builder.cap(value),
        2 => builder.floor(value),
        3 => builder.first_spread(value),
        4 => builder.max_elapsed(value),
        5 => builder.stable(value),
        _ => builder.max_wait_hint(value),
    }
}

/// Every input with extreme numbers. Panics are the failure.
fn exercise(config: ReconnectConfig) {
    let mut link = Reconnect::new(Arc::new(config), 1);
    for now in [Timestamp::ZERO, Timestamp::from_millis(5), Timestamp::MAX, Timestamp::ZERO] {
        link.open(now);
        for retry in [
            Retry::BACKOFF,
            Retry::RetryNow,
            Retry::Conflict,
            Retry::Unexplained,
            Retry::after(Duration::MAX, Duration::MAX),
            Retry::after(Duration::ZERO, Duration::MAX),
            Retry::Fatal,
        ] {
            link.connected(now);
            link.proof_of_life();
            link.lost(now, retry);
            let _ = (link.poll_action(), link.poll_timeout(), link.state());
            link.handle_timeout(Timestamp::MAX);
        }
    }
}

#[test]
fn any_pair_of_extreme_durations_is_refused_or_works() {
    let extremes = [Duration::ZERO, NS, SECOND, LONGEST_WAIT, Duration::from_nanos(u64::MAX), Duration::MAX];
    let shapes = [
        Shape::FullJitter,
        Shape::EqualJitter,
        Shape::DecorrelatedJitter,
        Shape::Fixed,
        Shape::Ladder([SECOND, Duration::MAX].into()),
        Shape::Ladder([NS, LONGEST_WAIT].into()),
    ];
    let mut built = 0;
    for shape in shapes {
        for (first, second) in (0..7).flat_map(|first| (0..7).map(move |second| (first, second))) {
            for (a, b) in extremes.iter().flat_map(|a| extremes.iter().map(move |b| (*a, *b))) {
                let builder = builder().shape(shape.clone()).max_attempts(NonZeroU32::MAX);
                if let Ok(config) = set(set(builder, first, a), second, b).build() {
                    built += 1;
                    exercise(config);
                }
            }
        }
    }
    assert!(built > 100, "only {built} were accepted");
}

#[test]
fn an_unlimited_stable_time_never_starts_over() {
    let config = builder().stable(Duration::MAX).max_attempts(NonZeroU32::MIN).build().unwrap();
    let mut link = Reconnect::new(Arc::new(config), 1);
    link.open(Timestamp::ZERO);
    link.connected(Timestamp::ZERO);
    link.proof_of_life();
    link.lost(Timestamp::MAX, Retry::BACKOFF);
    assert_eq!(link.poll_timeout(), None);
}
