//! Limits, conflicts and the server's word.

use super::*;

#[test]
fn a_war_over_one_identity_slows_down_and_is_recognised() {
    let mut link = Link::opened(ReconnectConfig::builder());
    for streak in 1..=8_u32 {
        // Stable and alive, and still no reset.
        let wait = link.live(31 * SECOND, true, Retry::Conflict);
        let least = CAP.min(500 * MS * 2_u32.pow(streak));
        assert!(wait >= least && wait <= CAP.min(2 * least), "{wait:?} in conflict {streak}");
        assert_eq!(link.machine.in_conflict(), streak >= 3);
        link.wait_out();
        // Each turn was a stable connection, so attempts are counted anew.
        assert_eq!(link.machine.state(), ReconnectState::Connecting { attempt: 1 });
    }
    // Neither a failure nor a short connection ends the row.
    link.lose(Retry::BACKOFF);
    link.wait_out();
    link.live(30 * SECOND - MS, true, Retry::BACKOFF);
    link.wait_out();
    assert!(link.machine.in_conflict());
    link.live(30 * SECOND, true, Retry::BACKOFF);
    assert!(!link.machine.in_conflict());
    link.wait_out();
    assert!(link.live(SECOND, true, Retry::Conflict) <= 2 * SECOND);
}

#[test]
fn short_connections_that_end_unexplained_look_like_a_war_from_the_third_in_a_row() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    for streak in 1..=8_u32 {
        let wait = link.live(29 * SECOND, true, Retry::Unexplained);
        assert_eq!(link.machine.in_conflict(), streak >= 3);
        if streak >= 3 {
            assert!(wait >= CAP.min(500 * MS * 2_u32.pow(streak)), "{wait:?} after {streak}");
        } else {
            assert!(wait <= 500 * MS * 2_u32.pow(streak), "{wait:?} after {streak}");
        }
        link.wait_out();
    }
    // Who lasts is not thrown out.
    let wait = link.live(30 * SECOND, true, Retry::Unexplained);
    assert!(wait <= 3 * SECOND, "{wait:?}");
    assert!(!link.machine.in_conflict());
}

#[test]
fn a_server_that_is_restarted_is_no_rival() {
    let mut link = Link::opened(ReconnectConfig::builder());
    for other in [Retry::BACKOFF, Retry::after(SECOND, SECOND), Retry::Unexplained] {
        for _ in 0..2 {
            link.live(SECOND, true, Retry::Unexplained);
            link.wait_out();
        }
        // An attempt that fails, however that is called.
        link.lose(other);
        assert!(!link.machine.in_conflict());
        link.wait_out();
    }
}

#[test]
fn a_conflict_does_not_reset_the_backoff() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    assert!(link.live(HOUR, true, Retry::Conflict) >= 15 * SECOND);
}

#[test]
fn a_conflict_that_ends_in_a_give_up_is_still_reported() {
    let mut link = Link::opened(ReconnectConfig::builder().max_attempts(attempts(3)));
    for _ in 0..2 {
        link.lose(Retry::Conflict);
        link.wait_out();
    }
    link.machine.lost(link.now, Retry::Conflict);
    link.expect_give_up(GiveUpCause::Attempts(3));
    assert!(link.machine.in_conflict());
    link.machine.open(link.now);
    assert!(!link.machine.in_conflict());
}

#[test]
fn retry_now_is_granted_once_until_a_stable_connection() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    let wait = link.lose(Retry::RetryNow);
    assert!(wait >= FLOOR && wait <= 2 * FLOOR);
    link.wait_out();
    for _ in 0..5 {
        assert!(link.live(SECOND, true, Retry::RetryNow) >= 15 * SECOND);
        link.wait_out();
    }
    for _ in 0..2 {
        let wait = link.live(30 * SECOND, true, Retry::RetryNow);
        assert!(wait >= FLOOR && wait <= 2 * FLOOR);
        link.wait_out();
    }
}

#[test]
fn a_servers_wait_is_honoured_within_its_bounds() {
    let after = |after, spread| {
        let mut link = Link::opened(ReconnectConfig::builder());
        link.lose(Retry::after(after, spread))
    };
    assert_eq!(after(90 * SECOND, Duration::ZERO), 90 * SECOND);
    assert_eq!(after(MS * u32::MAX, Duration::ZERO), HOUR);
    assert_eq!(after(Duration::MAX, Duration::ZERO), HOUR);
    assert_eq!(after(HOUR + NS, Duration::ZERO), HOUR);
    assert_eq!(after(HOUR - NS, Duration::ZERO), HOUR - NS);
    assert_eq!(after(FLOOR, Duration::ZERO), FLOOR);
    let huge = after(Duration::MAX, Duration::MAX);
    assert!(huge >= HOUR && huge <= 2 * HOUR);
    let spread = after(10 * SECOND, 20 * SECOND);
    assert!(spread > 10 * SECOND && spread < 30 * SECOND);
    let none = after(Duration::ZERO, Duration::ZERO);
    assert!(none >= FLOOR && none <= 2 * FLOOR);
}

#[test]
fn a_servers_short_wait_does_not_undercut_the_floor() {
    let mut link = Link::opened(ReconnectConfig::builder());
    for _ in 0..200 {
        let wait = link.lose(Retry::after(Duration::ZERO, 2 * FLOOR));
        assert!(wait >= FLOOR && wait <= 2 * FLOOR);
        link.wait_out();
    }
}

#[test]
fn a_servers_wait_wins_over_a_longer_backoff_and_counts_as_a_failure() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    assert_eq!(link.lose(Retry::after(2 * SECOND, Duration::ZERO)), 2 * SECOND);
    link.wait_out();
    assert_eq!(link.machine.state(), ReconnectState::Connecting { attempt: 12 });
    assert!(link.lose(Retry::BACKOFF) >= 15 * SECOND);
}

#[test]
fn a_server_that_always_says_zero_does_not_make_a_loop() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    link.lose(Retry::after(Duration::ZERO, Duration::ZERO));
    link.wait_out();
    assert!(link.lose(Retry::after(Duration::ZERO, MS)) >= 15 * SECOND);
    link.wait_out();
    assert!(link.lose(Retry::RetryNow) >= 15 * SECOND);
}

#[test]
fn gives_up_after_exactly_the_allowed_attempts() {
    let mut link = Link::opened(ReconnectConfig::builder().max_attempts(attempts(3)));
    for _ in 0..2 {
        link.lose(Retry::BACKOFF);
        link.wait_out();
    }
    link.machine.lost(link.now, Retry::BACKOFF);
    link.expect_give_up(GiveUpCause::Attempts(3));
    // After a stable connection they are counted anew.
    let mut link = Link::opened(ReconnectConfig::builder().max_attempts(attempts(1)));
    link.live(30 * SECOND, true, Retry::BACKOFF);
    link.wait_out();
    link.machine.lost(link.now, Retry::BACKOFF);
    link.expect_give_up(GiveUpCause::Attempts(1));
}

#[test]
fn an_attempt_exactly_at_the_time_limit_is_made_and_none_after_it() {
    // Waits of exactly 100 ms, so the fifth retry is at 500 ms.
    let mut link = Link::opened(Link::exact().max_elapsed(500 * MS));
    for _ in 0..5 {
        link.lose(Retry::BACKOFF);
        link.wait_out();
    }
    link.machine.lost(link.now, Retry::BACKOFF);
    link.expect_give_up(GiveUpCause::Elapsed(500 * MS));

    let mut link = Link::opened(Link::exact().max_elapsed(500 * MS - NS));
    for _ in 0..4 {
        link.lose(Retry::BACKOFF);
        link.wait_out();
    }
    link.machine.lost(link.now, Retry::BACKOFF);
    link.expect_give_up(GiveUpCause::Elapsed(500 * MS - NS));
}

#[test]
fn a_servers_wait_beyond_the_time_limit_gives_up_at_once() {
    let config = || ReconnectConfig::builder().max_elapsed(600 * SECOND);
    let mut link = Link::opened(config());
    assert_eq!(link.lose(Retry::after(600 * SECOND, Duration::ZERO)), 600 * SECOND);
    let mut link = Link::opened(config());
    link.machine.lost(link.now, Retry::after(600 * SECOND + NS, Duration::ZERO));
    link.expect_give_up(GiveUpCause::Elapsed(600 * SECOND));
}

#[test]
fn a_link_on_hold_gives_up_when_its_time_is_used_up_and_not_before() {
    let config = || ReconnectConfig::builder().max_elapsed(10 * SECOND);
    let mut link = Link::opened(config());
    link.machine.hint(link.now, Hint::NetworkDown);
    assert_eq!(link.lose(Retry::BACKOFF), CAP);
    let deadline = link.machine.poll_timeout();
    assert_eq!(deadline.map(|it| (it.at, it.cause)), Some((link.now.after(10 * SECOND), DeadlineCause::GiveUp)));
    link.pass(10 * SECOND - NS);
    link.expect_nothing();
    link.pass(NS);
    link.expect_give_up(GiveUpCause::Elapsed(10 * SECOND));

    // A network that comes back in time saves it.
    let mut link = Link::opened(config());
    link.machine.hint(link.now, Hint::NetworkDown);
    link.lose(Retry::BACKOFF);
    link.pass(9 * SECOND);
    link.machine.hint(link.now, Hint::NetworkUp);
    assert!(link.expect_wait() <= FLOOR);
    link.wait_out();
}

#[test]
fn an_attempt_under_way_is_not_cut_by_the_time_limit() {
    let mut link = Link::opened(ReconnectConfig::builder().max_elapsed(10 * SECOND));
    link.lose(Retry::BACKOFF);
    link.wait_out();
    link.pass(HOUR);
    link.expect_nothing();
    link.machine.connected(link.now);
    // Stable, so that the time is counted from this loss.
    assert!(link.live(30 * SECOND, true, Retry::BACKOFF) <= FLOOR + SECOND);
    link.wait_out();
    link.pass(HOUR);
    link.machine.lost(link.now, Retry::BACKOFF);
    link.expect_give_up(GiveUpCause::Elapsed(10 * SECOND));
}
