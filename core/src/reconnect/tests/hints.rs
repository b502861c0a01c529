//! Hints from outside: cuts, hold, storms.

use super::*;

#[test]
fn a_hint_cuts_a_wait_to_within_the_floor() {
    for hint in [Hint::NetworkUp, Hint::Foreground] {
        let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
        link.fail_often();
        assert!(link.lose(Retry::BACKOFF) >= 15 * SECOND);
        link.pass(SECOND);
        link.machine.hint(link.now, hint);
        assert!(link.expect_wait() <= FLOOR);
        // The same hint again moves nothing: a storm does not draw until it gets the shortest wait.
        for _ in 0..50 {
            link.machine.hint(link.now, hint);
            link.expect_nothing();
        }
        link.wait_out();
        assert_eq!(link.machine.state(), ReconnectState::Connecting { attempt: 12 });
        // The backoff goes on where it was.
        assert!(link.lose(Retry::BACKOFF) >= 15 * SECOND);
    }
}

#[test]
fn a_hint_right_after_the_loss_still_leaves_the_floor() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    link.lose(Retry::BACKOFF);
    link.machine.hint(link.now, Hint::NetworkUp);
    assert_eq!(link.expect_wait(), FLOOR);
}

#[test]
fn a_hint_that_cannot_shorten_the_wait_is_no_news_and_is_not_used_up() {
    let mut link = Link::opened(Link::exact());
    for _ in 0..2 {
        assert_eq!(link.lose(Retry::BACKOFF), FLOOR);
        link.machine.hint(link.now, Hint::NetworkUp);
        link.expect_nothing();
        link.wait_out();
    }
}

#[test]
fn a_hint_cuts_the_wait_of_a_retry_now_granted_or_not() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    assert!(link.lose(Retry::RetryNow) > FLOOR);
    link.machine.hint(link.now, Hint::NetworkUp);
    assert_eq!(link.expect_wait(), FLOOR);
    link.wait_out();
    assert!(link.lose(Retry::RetryNow) >= 15 * SECOND);
    link.pass(2 * SECOND);
    link.machine.hint(link.now, Hint::NetworkUp);
    assert!(link.expect_wait() <= FLOOR);
}

#[test]
fn hints_leave_the_wait_of_a_server_or_a_conflict_alone() {
    for retry in [Retry::after(60 * SECOND, 60 * SECOND), Retry::Conflict] {
        let mut link = Link::opened(ReconnectConfig::builder());
        let wait = link.lose(retry);
        link.pass(SECOND);
        link.machine.hint(link.now, Hint::Background);
        link.machine.hint(link.now, Hint::Foreground);
        let ReconnectState::Waiting { at, .. } = link.machine.state() else { panic!("no wait") };
        assert_eq!(at.since(link.now) + SECOND, wait);
    }
}

#[test]
fn hints_change_nothing_during_an_attempt_or_a_connection() {
    let mut link = Link::opened(ReconnectConfig::builder());
    for _ in 0..2 {
        for hint in [Hint::NetworkUp, Hint::NetworkDown, Hint::Background, Hint::Foreground, Hint::NetworkUp] {
            let before = link.machine.state();
            link.machine.hint(link.now, hint);
            link.expect_nothing();
            assert_eq!(link.machine.state(), before);
            assert_eq!(link.machine.poll_timeout(), None);
        }
        link.machine.connected(link.now);
    }
}

#[test]
fn a_hint_during_an_attempt_cuts_the_wait_after_it_once() {
    for hint in [Hint::NetworkUp, Hint::Foreground] {
        let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
        link.fail_often();
        link.pass(3 * SECOND);
        link.machine.hint(link.now, hint);
        link.expect_nothing();
        link.pass(7 * SECOND);
        assert_eq!(link.lose(Retry::BACKOFF), FLOOR);
        link.wait_out();
        assert!(link.lose(Retry::BACKOFF) >= 15 * SECOND);
    }
}

#[test]
fn a_hint_during_an_attempt_that_succeeds_is_used_up() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    link.machine.hint(link.now, Hint::NetworkUp);
    assert!(link.live(SECOND, true, Retry::BACKOFF) >= 15 * SECOND);
}

#[test]
fn a_hint_during_an_attempt_does_not_cut_what_others_asked_for() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.machine.hint(link.now, Hint::NetworkUp);
    assert!(link.lose(Retry::after(60 * SECOND, SECOND)) >= 60 * SECOND);
    let mut link = Link::opened(ReconnectConfig::builder());
    link.machine.hint(link.now, Hint::NetworkUp);
    link.machine.hint(link.now, Hint::NetworkDown);
    assert_eq!(link.lose(Retry::BACKOFF), CAP);
}

#[test]
fn a_storm_of_hints_during_attempts_starts_one_per_second() {
    let mut link = Link::opened(ReconnectConfig::builder().shape(Shape::EqualJitter));
    link.fail_often();
    let mut connects = Vec::new();
    for _ in 0..6000 {
        match link.machine.state() {
            ReconnectState::Connecting { .. } => {
                connects.push(link.now);
                for hint in [Hint::NetworkDown, Hint::NetworkUp, Hint::NetworkUp] {
                    link.machine.hint(link.now, hint);
                }
                link.machine.lost(link.now, Retry::BACKOFF);
            }
            _ => link.pass(10 * MS),
        }
    }
    // The first attempt was not started by a hint.
    for pair in connects[1..].windows(2) {
        assert!(pair[1].since(pair[0]) >= HINT_GAP, "two attempts within {:?}", pair[1].since(pair[0]));
    }
    assert!((50..=62).contains(&connects.len()), "{} attempts in a minute", connects.len());
}

#[test]
fn a_wrong_word_that_the_network_is_down_holds_no_link_for_longer_than_the_cap() {
    let mut link = Link::opened(ReconnectConfig::builder());
    for _ in 0..20 {
        link.machine.hint(link.now, Hint::NetworkDown);
        assert_eq!(link.lose(Retry::BACKOFF), CAP);
        // Repeated, it does not begin anew.
        link.pass(20 * SECOND);
        link.machine.hint(link.now, Hint::NetworkDown);
        link.expect_nothing();
        link.wait_out();
    }
}

#[test]
fn a_storm_of_hints_starts_one_attempt_per_second_and_keeps_the_limit() {
    let mut link = Link::opened(ReconnectConfig::builder().max_attempts(attempts(40)).shape(Shape::EqualJitter));
    link.fail_often();
    let mut connects = Vec::new();
    link.machine.lost(link.now, Retry::BACKOFF);
    for turn in 0..10_000_u32 {
        if matches!(link.machine.state(), ReconnectState::GaveUp(_)) {
            break;
        }
        if turn % 5 == 0 {
            let hint = if turn % 10 == 0 { Hint::NetworkDown } else { Hint::NetworkUp };
            link.machine.hint(link.now, hint);
        }
        link.pass(10 * MS);
        while let Some(action) = link.machine.poll_action() {
            if let ReconnectAction::Connect { .. } = action {
                connects.push(link.now);
                link.machine.lost(link.now, Retry::BACKOFF);
            }
        }
    }
    // 11 attempts came before, and the limit is 40 however they started.
    assert_eq!(connects.len(), 40 - 11);
    for pair in connects.windows(2) {
        assert!(pair[1].since(pair[0]) >= HINT_GAP, "two attempts within {:?}", pair[1].since(pair[0]));
    }
    let took = connects[connects.len() - 1].since(connects[0]);
    assert!(took <= 28 * (HINT_GAP + FLOOR + 60 * MS), "the storm was slowed down to {took:?}");
}

#[test]
fn on_hold_a_wait_lasts_the_cap_and_coming_off_hold_cuts_it() {
    for (hold, release) in [(Hint::NetworkDown, Hint::NetworkUp), (Hint::Background, Hint::Foreground)] {
        let mut link = Link::opened(ReconnectConfig::builder());
        link.machine.hint(link.now, hold);
        assert!(link.machine.on_hold());
        assert_eq!(link.lose(Retry::RetryNow), CAP);
        link.wait_out();
        assert_eq!(link.lose(Retry::BACKOFF), CAP);
        link.pass(5 * SECOND);
        link.machine.hint(link.now, hold);
        link.expect_nothing();
        link.machine.hint(link.now, release);
        assert!(!link.machine.on_hold());
        assert!(link.expect_wait() <= FLOOR);
        link.machine.hint(link.now, hold);
        assert_eq!(link.expect_wait(), CAP - 5 * SECOND);
    }
}

#[test]
fn a_link_with_two_reasons_to_hold_needs_both_gone() {
    let mut link = Link::opened(ReconnectConfig::builder());
    link.machine.hint(link.now, Hint::NetworkDown);
    link.machine.hint(link.now, Hint::Background);
    assert_eq!(link.lose(Retry::BACKOFF), CAP);
    link.pass(SECOND);
    link.machine.hint(link.now, Hint::Foreground);
    link.expect_nothing();
    link.machine.hint(link.now, Hint::NetworkUp);
    assert!(link.expect_wait() <= FLOOR);
}

#[test]
fn the_user_is_obeyed_on_hold() {
    let mut link = Link::internet();
    link.machine.hint(link.now, Hint::NetworkDown);
    link.machine.open(link.now);
    link.expect_connect(1);
    assert_eq!(link.lose(Retry::BACKOFF), CAP);
    link.machine.retry_now(link.now);
    link.expect_connect(2);
}
