//! What one link does, input by input.

mod hints;
mod limits;

use alloc::sync::Arc;
use core::num::NonZeroU32;
use core::time::Duration;
use std::vec::Vec;

use super::*;
use crate::time::{DeadlineCause, Timestamp};

const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const FLOOR: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// One link and its clock. Every method is one turn.
struct Link {
    machine: Reconnect,
    now: Timestamp,
}

impl Link {
    fn new(builder: ReconnectConfigBuilder) -> Self {
        let Ok(config) = builder.build() else { panic!("the configuration is impossible") };
        Self { machine: Reconnect::new(Arc::new(config), 11), now: Timestamp::from_millis(1_000_000) }
    }

    fn internet() -> Self {
        Self::new(ReconnectConfig::builder())
    }

    /// Every wait is exactly the floor.
    fn exact() -> ReconnectConfigBuilder {
        ReconnectConfig::builder().shape(Shape::Fixed).first_spread(Duration::ZERO).floor(FLOOR).base(FLOOR).cap(FLOOR)
    }

    /// Opened and its first attempt polled.
    fn opened(builder: ReconnectConfigBuilder) -> Self {
        let mut link = Self::new(builder);
        link.machine.open(link.now);
        link.expect_connect(1);
        link
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.machine.handle_timeout(self.now);
    }

    #[track_caller]
    fn expect_connect(&mut self, number: u32) {
        assert_eq!(self.machine.poll_action(), Some(ReconnectAction::Connect { attempt: number }));
        self.expect_nothing();
    }

    #[track_caller]
    fn expect_give_up(&mut self, cause: GiveUpCause) {
        assert_eq!(self.machine.poll_action(), Some(ReconnectAction::GiveUp { cause }));
        assert_eq!(self.machine.state(), ReconnectState::GaveUp(cause));
        assert_eq!(self.machine.poll_timeout(), None);
        self.expect_nothing();
    }

    #[track_caller]
    fn expect_nothing(&mut self) {
        assert_eq!(self.machine.poll_action(), None);
        assert!(self.machine.poll_timeout().is_none_or(|deadline| deadline.at > self.now));
    }

    /// The wait that the machine announces, from now on.
    #[track_caller]
    fn expect_wait(&mut self) -> Duration {
        let Some(ReconnectAction::ScheduleReconnect { at, attempt }) = self.machine.poll_action() else {
            panic!("no wait was announced: {:?}", self.machine)
        };
        assert_eq!(self.machine.state(), ReconnectState::Waiting { at, attempt });
        self.expect_nothing();
        at.since(self.now)
    }

    #[track_caller]
    fn lose(&mut self, retry: Retry) -> Duration {
        self.machine.lost(self.now, retry);
        self.expect_wait()
    }

    /// Up for `span`, then lost.
    #[track_caller]
    fn live(&mut self, span: Duration, alive: bool, retry: Retry) -> Duration {
        self.machine.connected(self.now);
        if alive {
            self.machine.proof_of_life();
        }
        self.now = self.now.after(span);
        self.lose(retry)
    }

    /// To the end of the wait; the attempt starts there and not before.
    #[track_caller]
    fn wait_out(&mut self) {
        let ReconnectState::Waiting { at, attempt } = self.machine.state() else { panic!("no wait") };
        self.machine.handle_timeout(Timestamp::from_nanos(at.as_nanos() - 1));
        assert_eq!(self.machine.poll_action(), None);
        self.now = at;
        self.machine.handle_timeout(at);
        self.expect_connect(attempt);
    }

    /// Fails until the wait before the next attempt is drawn from a full range up to the cap.
    fn fail_often(&mut self) {
        for _ in 0..10 {
            self.lose(Retry::BACKOFF);
            self.wait_out();
        }
    }
}

fn attempts(max: u32) -> NonZeroU32 {
    NonZeroU32::new(max).unwrap_or(NonZeroU32::MIN)
}

#[test]
fn accept_then_close_waits_grow() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    let mut waits = [Duration::ZERO; 8];
    for wait in &mut waits {
        *wait = link.live(MS, true, Retry::BACKOFF);
        link.wait_out();
    }
    assert!(waits[0] >= FLOOR && waits[0] <= FLOOR + SECOND);
    for (step, wait) in waits.iter().enumerate().skip(1) {
        let ceiling = CAP.min(500 * MS * 2_u32.pow(step as u32));
        assert!(*wait >= ceiling / 2 && *wait <= ceiling, "{wait:?} is not step {step}");
    }
    assert_eq!(link.machine.state(), ReconnectState::Connecting { attempt: 9 });
}

#[test]
fn only_stable_time_with_proof_of_life_starts_over() {
    for (span, alive, starts_over) in
        [(30 * SECOND, true, true), (30 * SECOND - MS, true, false), (30 * SECOND, false, false)]
    {
        let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
        link.fail_often();
        let wait = link.live(span, alive, Retry::BACKOFF);
        let ReconnectState::Waiting { attempt, .. } = link.machine.state() else { panic!("no wait") };
        assert_eq!(attempt == 1, starts_over, "after {span:?}, alive: {alive}");
        assert_eq!(wait <= FLOOR + SECOND, starts_over, "after {span:?}, alive: {alive}");
        assert!(starts_over || wait >= CAP / 2);
    }
}

#[test]
fn a_new_episode_does_not_remember_the_last_wait_of_the_one_before() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::DecorrelatedJitter));
    for _ in 0..50 {
        while link.lose(Retry::BACKOFF) < 5 * SECOND {
            link.wait_out();
        }
        link.wait_out();
        link.live(30 * SECOND, true, Retry::RetryNow);
        link.wait_out();
        assert!(link.lose(Retry::BACKOFF) <= 3 * 500 * MS);
        link.wait_out();
    }
}

#[test]
fn a_proof_of_life_from_an_earlier_connection_does_not_count() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.live(MS, true, Retry::BACKOFF);
    link.machine.proof_of_life();
    link.wait_out();
    link.machine.proof_of_life();
    link.live(HOUR, false, Retry::BACKOFF);
    assert!(matches!(link.machine.state(), ReconnectState::Waiting { attempt: 3, .. }));
}

#[test]
fn connections_without_life_are_counted() {
    let mut link = Link::opened(ReconnectConfig::builder());
    for count in 1..=3 {
        link.live(SECOND, false, Retry::BACKOFF);
        assert_eq!(link.machine.lifeless_connections(), count);
        link.wait_out();
        link.lose(Retry::BACKOFF);
        assert_eq!(link.machine.lifeless_connections(), count);
        link.wait_out();
    }
    link.machine.connected(link.now);
    link.machine.proof_of_life();
    assert_eq!(link.machine.lifeless_connections(), 0);
    link.lose(Retry::BACKOFF);
    assert_eq!(link.machine.lifeless_connections(), 0);
}

#[test]
fn opening_again_counts_connections_without_life_anew() {
    let mut link = Link::internet();
    assert_eq!(link.machine.lifeless_connections(), 0);
    for _ in 0..2 {
        link.machine.open(link.now);
        link.expect_connect(1);
        assert_eq!(link.machine.lifeless_connections(), 0);
        link.live(SECOND, false, Retry::BACKOFF);
        assert_eq!(link.machine.lifeless_connections(), 1);
        link.machine.close();
    }
}

#[test]
fn ten_thousand_failures_in_a_row_stay_in_the_bounds() {
    let mut link = Link::opened(ReconnectConfig::builder());
    let mut late = Vec::new();
    for round in 0..10_000 {
        let wait = link.lose(Retry::BACKOFF);
        assert!(wait >= FLOOR && wait <= CAP);
        if round >= 9000 {
            late.push(wait);
        }
        link.wait_out();
    }
    late.sort_unstable();
    late.dedup();
    assert!(late.len() > 990 && late[0] < SECOND && late[late.len() - 1] > 29 * SECOND);
}

#[test]
fn one_loss_reported_three_ways_is_one_reconnect() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.machine.connected(link.now);
    link.machine.lost(link.now, Retry::BACKOFF);
    let state = link.machine.state();
    link.machine.lost(link.now, Retry::RetryNow);
    link.machine.lost(link.now.after(MS), Retry::Fatal);
    link.machine.connected(link.now.after(MS));
    link.expect_wait();
    assert_eq!(link.machine.state(), state);
    link.wait_out();
    assert_eq!(link.machine.state(), ReconnectState::Connecting { attempt: 2 });
}

#[test]
fn the_first_attempt_is_at_once_and_its_failure_follows_the_policy() {
    let mut link = Link::internet();
    assert_eq!(link.machine.state(), ReconnectState::Idle);
    link.machine.lost(link.now, Retry::BACKOFF);
    link.machine.connected(link.now);
    link.machine.retry_now(link.now);
    link.machine.hint(link.now, Hint::NetworkUp);
    link.machine.handle_timeout(link.now);
    link.expect_nothing();
    link.machine.open(link.now);
    link.expect_connect(1);
    let wait = link.lose(Retry::BACKOFF);
    assert!(wait >= FLOOR && wait <= FLOOR + SECOND);
    assert!(matches!(link.machine.state(), ReconnectState::Waiting { attempt: 2, .. }));
}

#[test]
fn open_while_waiting_or_asking_now_skips_the_wait() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.lose(Retry::BACKOFF);
    link.machine.open(link.now);
    link.expect_connect(2);
    link.lose(Retry::after(HOUR, HOUR));
    link.machine.retry_now(link.now);
    link.expect_connect(3);
    assert_eq!(link.machine.poll_timeout(), None);
}

#[test]
fn open_while_connecting_or_connected_has_no_effect() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.machine.open(link.now);
    link.machine.retry_now(link.now);
    link.expect_nothing();
    assert_eq!(link.machine.state(), ReconnectState::Connecting { attempt: 1 });
    link.machine.connected(link.now);
    link.machine.open(link.now);
    link.machine.retry_now(link.now);
    link.expect_nothing();
    assert_eq!(link.machine.state(), ReconnectState::Connected);
}

#[test]
fn open_after_give_up_or_close_is_a_new_episode() {
    let mut link = Link::opened(ReconnectConfig::builder().max_attempts(attempts(12)).shape(Shape::EqualJitter));
    link.fail_often();
    link.machine.lost(link.now, Retry::Fatal);
    link.expect_give_up(GiveUpCause::Fatal);
    link.machine.retry_now(link.now);
    link.machine.hint(link.now, Hint::NetworkUp);
    link.pass(HOUR);
    link.expect_nothing();
    link.machine.open(link.now);
    link.expect_connect(1);
    assert!(link.lose(Retry::BACKOFF) <= FLOOR + SECOND);
    link.machine.close();
    assert_eq!(link.machine.state(), ReconnectState::Closed);
    link.machine.open(link.now);
    link.expect_connect(1);
    assert!(link.lose(Retry::BACKOFF) <= FLOOR + SECOND);
}

#[test]
fn nothing_but_open_revives_a_closed_link() {
    for stage in 0..4 {
        let mut link = Link::opened(ReconnectConfig::builder());
        match stage {
            0 => {}
            1 => link.machine.connected(link.now),
            2 => drop(link.lose(Retry::BACKOFF)),
            // The attempt is due but was not polled.
            _ => {
                link.lose(Retry::BACKOFF);
                link.machine.retry_now(link.now);
            }
        }
        link.machine.close();
        for hint in [Hint::NetworkDown, Hint::NetworkUp, Hint::Background, Hint::Foreground] {
            link.machine.hint(link.now, hint);
            link.pass(HOUR);
            link.expect_nothing();
        }
        link.machine.connected(link.now);
        link.machine.proof_of_life();
        link.machine.lost(link.now, Retry::RetryNow);
        link.machine.retry_now(link.now);
        link.pass(HOUR);
        link.expect_nothing();
        assert_eq!(link.machine.state(), ReconnectState::Closed);
        assert_eq!(link.machine.poll_timeout(), None);
    }
}

#[test]
fn a_late_wake_starts_one_attempt() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.lose(Retry::BACKOFF);
    link.pass(24 * HOUR);
    link.machine.handle_timeout(link.now);
    link.expect_connect(2);
    link.machine.handle_timeout(link.now);
    link.expect_nothing();
}

#[test]
fn a_clock_that_steps_back_is_harmless() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.machine.connected(link.now);
    link.machine.proof_of_life();
    link.machine.lost(Timestamp::ZERO, Retry::BACKOFF);
    assert!(matches!(link.machine.state(), ReconnectState::Waiting { attempt: 2, .. }));
    link.now = Timestamp::ZERO;
    let wait = link.expect_wait();
    assert!(wait >= FLOOR && wait <= FLOOR + SECOND);
    link.now = Timestamp::from_millis(1_000_000);
    link.machine.handle_timeout(link.now);
    link.expect_connect(2);
    link.lose(Retry::BACKOFF);
    link.machine.hint(Timestamp::ZERO, Hint::NetworkUp);
    link.machine.handle_timeout(Timestamp::ZERO);
    link.now = Timestamp::from_millis(1_000_000).after(CAP);
    link.machine.handle_timeout(link.now);
    link.expect_connect(3);
}
