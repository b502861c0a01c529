//! What holds for every sequence of inputs, and for many links at once.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

use core::num::NonZeroU32;
use core::time::Duration;
use std::sync::Arc;

use keepbeat_core::entropy::Prng;
use keepbeat_core::reconnect::{
    HINT_GAP, Hint, Reconnect, ReconnectAction, ReconnectConfig, ReconnectState, Retry, Shape,
};
use keepbeat_core::time::Timestamp;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Op {
    Open,
    Close,
    Connected,
    ProofOfLife,
    Lost(Retry),
    RetryNow,
    Hint(Hint),
}

fn op() -> impl Strategy<Value = Op> {
    let word = (0..20_000_u64, 0..5000_u64)
        .prop_map(|(after, spread)| Retry::after(Duration::from_millis(after), Duration::from_millis(spread)));
    let retry = prop_oneof![
        1 => Just(Retry::Fatal),
        8 => Just(Retry::BACKOFF),
        2 => Just(Retry::RetryNow),
        2 => Just(Retry::Conflict),
        2 => Just(Retry::Unexplained),
        2 => word,
    ];
    let hint = prop::sample::select(vec![Hint::NetworkUp, Hint::NetworkDown, Hint::Foreground, Hint::Background]);
    prop_oneof![
        3 => Just(Op::Open),
        1 => Just(Op::Close),
        6 => Just(Op::Connected),
        6 => Just(Op::ProofOfLife),
        12 => retry.prop_map(Op::Lost),
        1 => Just(Op::RetryNow),
        6 => hint.prop_map(Op::Hint),
    ]
}

/// Operations, each with the milliseconds that pass before it.
fn script() -> impl Strategy<Value = Vec<(u64, Op)>> {
    let gap = prop_oneof![3 => 0..200_u64, 2 => 0..3000_u64, 1 => 0..15_000_u64];
    prop::collection::vec((gap, op()), 1..60)
}

fn config() -> impl Strategy<Value = ReconnectConfig> {
    let ladder = Shape::Ladder([400 * MS, 900 * MS, 5 * SECOND].into());
    let shape = prop::sample::select(vec![
        Shape::FullJitter,
        Shape::EqualJitter,
        Shape::DecorrelatedJitter,
        Shape::Fixed,
        ladder,
    ]);
    let max_attempts = prop::option::of((2..20_u32).prop_map(|max| NonZeroU32::new(max).unwrap()));
    let max_elapsed = prop::option::of((1100..30_000_u64).prop_map(Duration::from_millis));
    (shape, max_attempts, max_elapsed).prop_map(|(shape, max_attempts, max_elapsed)| {
        let mut builder = ReconnectConfig::builder().shape(shape).cap(8 * SECOND).stable(5 * SECOND);
        if let Some(max) = max_attempts {
            builder = builder.max_attempts(max);
        }
        if let Some(max) = max_elapsed {
            builder = builder.max_elapsed(max);
        }
        builder.build().unwrap()
    })
}

fn apply(link: &mut Reconnect, now: Timestamp, op: Op) {
    match op {
        Op::Open => link.open(now),
        Op::Close => link.close(),
        Op::Connected => link.connected(now),
        Op::ProofOfLife => link.proof_of_life(),
        Op::Lost(retry) => link.lost(now, retry),
        Op::RetryNow => link.retry_now(now),
        Op::Hint(hint) => link.hint(now, hint),
    }
}

type Trace = Vec<(Timestamp, ReconnectAction)>;

/// One turn: what is due, then the drain. No turn may leave work behind.
fn turn(link: &mut Reconnect, now: Timestamp, trace: &mut Trace) {
    link.handle_timeout(now);
    while let Some(action) = link.poll_action() {
        trace.push((now, action));
    }
    assert!(link.poll_timeout().is_none_or(|deadline| deadline.at > now));
}

/// Runs the script on whole milliseconds; `next` says when to wake after a turn.
fn run(config: &ReconnectConfig, script: &[(u64, Op)], next: impl Fn(&Reconnect, u64) -> u64) -> Trace {
    let mut link = Reconnect::new(Arc::new(config.clone()), 99);
    let mut trace = Trace::new();
    let (mut now, mut turns) = (0, script.iter().copied().chain([(60_000, Op::Close)]));
    let mut due = turns.next();
    while let Some((at, op)) = due {
        let wake = next(&link, now);
        if wake < at {
            now = wake;
            turn(&mut link, Timestamp::from_millis(now), &mut trace);
        } else {
            now = at;
            // Both drivers look at what is due before they hand over the input.
            turn(&mut link, Timestamp::from_millis(now), &mut trace);
            apply(&mut link, Timestamp::from_millis(now), op);
            turn(&mut link, Timestamp::from_millis(now), &mut trace);
            due = turns.next().map(|(gap, op)| (at + gap, op));
        }
    }
    trace
}

fn at_deadlines(link: &Reconnect, _now: u64) -> u64 {
    link.poll_timeout().map_or(u64::MAX, |deadline| deadline.at.as_nanos().div_ceil(1_000_000))
}

fn every_millisecond(_link: &Reconnect, now: u64) -> u64 {
    now + 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waking_at_deadlines_equals_waking_every_millisecond(config in config(), script in script()) {
        let lazy = run(&config, &script, at_deadlines);
        prop_assert_eq!(&lazy, &run(&config, &script, every_millisecond));
        prop_assert_eq!(&lazy, &run(&config, &script, at_deadlines), "the same seed gave another trace");
    }

    #[test]
    fn waits_keep_their_bounds_and_hints_their_gap(config in config(), script in script()) {
        let mut link = Reconnect::new(Arc::new(config), 7);
        let (mut now, mut lost_at) = (Timestamp::ZERO, Timestamp::ZERO);
        // Whether a hint chose the end of the wait, and when a hint last started an attempt.
        let (mut hinted, mut by_hint) = (false, None);
        for (gap, op) in script {
            let until = now.after(Duration::from_millis(gap));
            while let Some(deadline) = link.poll_timeout().filter(|deadline| deadline.at <= until) {
                now = deadline.at;
                link.handle_timeout(now);
                if let ReconnectState::Connecting { .. } = link.state() {
                    prop_assert!(now.since(lost_at) >= 100 * MS);
                    if hinted {
                        let before = by_hint.replace(now);
                        prop_assert!(before.is_none_or(|before| now.since(before) >= HINT_GAP));
                    }
                }
            }
            now = until;
            let before = link.state();
            apply(&mut link, now, op);
            match (before, link.state()) {
                (ReconnectState::Waiting { at: old, .. }, ReconnectState::Waiting { at: new, .. }) => {
                    prop_assert!(old == new || matches!(op, Op::Hint(_)));
                    hinted = new < old || (hinted && new == old);
                }
                (_, ReconnectState::Waiting { at, .. }) => {
                    (lost_at, hinted) = (now, false);
                    let wait = at.since(now);
                    prop_assert!(wait >= 100 * MS && wait <= 25 * SECOND, "{wait:?}");
                }
                (ReconnectState::Waiting { .. }, ReconnectState::Connecting { .. }) => {
                    prop_assert!(matches!(op, Op::Open | Op::RetryNow));
                }
                (ReconnectState::Idle | ReconnectState::Closed | ReconnectState::GaveUp(_), after) => {
                    prop_assert!(after == before || matches!(op, Op::Open | Op::Close));
                }
                _ => {}
            }
            while link.poll_action().is_some() {}
        }
    }
}

/// The largest share of `moments` in one bin of 100 ms.
fn peak_share(moments: &[Timestamp]) -> f64 {
    let mut bins = std::collections::BTreeMap::<u64, u32>::new();
    for moment in moments {
        *bins.entry(moment.as_millis() / 100).or_default() += 1;
    }
    f64::from(bins.values().copied().max().unwrap_or(0)) / moments.len() as f64
}

/// 2000 links lose their server at once. It refuses everybody for a minute, then accepts. The first retries, and the
/// moments when the links are back.
fn outage(config: ReconnectConfig) -> (Vec<Timestamp>, Vec<Timestamp>) {
    let config = Arc::new(config);
    let healthy_again = Timestamp::from_millis(160_000);
    let (mut first, mut back) = (Vec::new(), Vec::new());
    for seed in 0..2000 {
        let mut link = Reconnect::new(Arc::clone(&config), seed);
        link.open(Timestamp::ZERO);
        link.connected(Timestamp::ZERO);
        link.proof_of_life();
        link.lost(Timestamp::from_millis(100_000), Retry::BACKOFF);
        first.push(link.poll_timeout().unwrap().at);
        while let Some(deadline) = link.poll_timeout() {
            link.handle_timeout(deadline.at);
            if deadline.at >= healthy_again {
                back.push(deadline.at);
            } else {
                link.lost(deadline.at, Retry::BACKOFF);
            }
        }
    }
    (first, back)
}

#[test]
fn links_that_lose_their_server_at_once_come_back_spread() {
    for (config, longest) in [(ReconnectConfig::internet(), 30), (ReconnectConfig::mobile(), 60)] {
        let (first, back) = outage(config);
        assert!(peak_share(&first) <= 0.13, "first retries: {}", peak_share(&first));
        assert!(peak_share(&back) <= 0.02, "after recovery: {}", peak_share(&back));
        assert!(back.iter().all(|at| *at <= Timestamp::from_millis(160_000).after(longest * SECOND)));
    }
}

#[test]
fn the_spread_that_a_server_asks_for_is_filled() {
    let config = Arc::new(ReconnectConfig::internet());
    let mut moments = Vec::new();
    for seed in 0..2000 {
        let mut link = Reconnect::new(Arc::clone(&config), seed);
        link.open(Timestamp::ZERO);
        link.lost(Timestamp::ZERO, Retry::after(5 * SECOND, 20 * SECOND));
        moments.push(link.poll_timeout().unwrap().at);
    }
    assert!(peak_share(&moments) <= 0.012, "{}", peak_share(&moments));
    assert!(moments.iter().all(|at| (5000..=25_000).contains(&at.as_millis())));
}

#[test]
fn links_with_different_seeds_do_not_march_in_step() {
    let config = ReconnectConfig::internet();
    let waits = |seed| {
        let mut prng = Prng::new(seed);
        [0, 5, 50].map(|failures| config.delay(failures, Duration::ZERO, &mut prng))
    };
    assert_eq!(waits(1), waits(1));
    assert!((2..100).all(|seed| waits(seed).iter().zip(waits(1)).all(|(a, b)| *a != b)));
}
