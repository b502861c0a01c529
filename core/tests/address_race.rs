//! The race between the addresses of a name, in virtual time, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use keepbeat_core::Failure;
use keepbeat_core::time::{DeadlineCause, Timestamp};
use keepbeat_core::tunnel::RaceAction::{Abandon, Lost, Open, Won};
use keepbeat_core::tunnel::{MAX_ADDRESSES, Race, RaceAction};

type Action = RaceAction<Failure>;

const A: &str = "[2001:db8::1]:1";
const B: &str = "192.0.2.1:1";
const C: &str = "[2001:db8::2]:1";

#[test]
fn the_families_take_turns_beginning_with_the_one_that_the_resolver_prefers() {
    let v6 = ["[::1]:1", "[::2]:1", "[::3]:1"];
    let v4 = ["1.1.1.1:1", "2.2.2.2:1"];
    assert_eq!(turns(v6.iter().chain(&v4)), ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
    assert_eq!(turns(v4.iter().chain(&v6)), ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1", "[::2]:1", "[::3]:1"]);
    assert_eq!(turns(&v6), v6);
}

#[test]
fn an_address_that_comes_twice_has_one_turn() {
    assert_eq!(turns(&["1.1.1.1:1", "2.2.2.2:1", "1.1.1.1:1", "1.1.1.1:2"]), ["1.1.1.1:1", "2.2.2.2:1", "1.1.1.1:2"]);
}

#[test]
fn a_name_with_very_many_addresses_keeps_some_of_both_families() {
    let v6: Vec<String> = (0..100).map(|n| format!("[::{n:x}]:1")).collect();
    let order = turns(v6.iter().map(String::as_str).chain(["1.1.1.1:1"]).collect::<Vec<_>>().iter());
    assert_eq!(order.len(), MAX_ADDRESSES);
    assert_eq!(order[..4], ["[::]:1", "1.1.1.1:1", "[::1]:1", "[::2]:1"]);
}

#[test]
fn without_an_address_there_is_no_race() {
    assert!(Race::<Failure>::new(at(0), []).is_none());
}

#[test]
fn a_silent_address_delays_the_next_by_exactly_its_head_start() {
    let mut race = race(&[A, B, C]);
    assert_eq!(drain(&mut race), [open(0, A)]);
    for (socket, address, due) in [(1, B, 250), (2, C, 500)] {
        let deadline = race.poll_timeout().unwrap();
        assert_eq!((deadline.at, deadline.cause), (at(due), DeadlineCause::NextAddress));
        race.handle_timeout(Timestamp::from_nanos(at(due).as_nanos() - 1));
        assert_eq!(drain(&mut race), []);
        race.handle_timeout(at(due));
        assert_eq!(drain(&mut race), [open(socket, address)]);
    }
    // All have had their turn; how long to wait for them is not for the race to say.
    assert_eq!(race.poll_timeout(), None);
    race.handle_timeout(at(3_600_000));
    assert_eq!(drain(&mut race), []);
    race.opened(0);
    assert_eq!(drain(&mut race), [Won { socket: 0 }, Abandon { socket: 1 }, Abandon { socket: 2 }]);
}

#[test]
fn a_refusal_passes_the_turn_on_at_once_and_the_next_has_a_full_head_start() {
    let mut race = race(&[A, B, C]);
    drain(&mut race);
    race.failed(at(20), 0, Failure::Refused);
    assert_eq!(drain(&mut race), [open(1, B)]);
    assert_eq!(race.poll_timeout().unwrap().at, at(270));
}

#[test]
fn an_old_attempt_that_fails_passes_the_turn_on_too() {
    let mut race = race(&[A, B, C]);
    drain(&mut race);
    race.handle_timeout(at(250));
    assert_eq!(drain(&mut race), [open(1, B)]);
    race.failed(at(300), 0, Failure::Unreachable);
    assert_eq!(drain(&mut race), [open(2, C)]);
    race.opened(1);
    assert_eq!(drain(&mut race), [Won { socket: 1 }, Abandon { socket: 2 }]);
}

#[test]
fn two_failures_in_one_turn_pass_on_one_turn() {
    let mut race = race(&[A, B, C, "192.0.2.2:1"]);
    drain(&mut race);
    race.handle_timeout(at(250));
    drain(&mut race);
    race.failed(at(300), 0, Failure::Refused);
    race.failed(at(300), 1, Failure::Refused);
    assert_eq!(drain(&mut race), [open(2, C)]);
    assert_eq!(race.poll_timeout().unwrap().at, at(550));
}

#[test]
fn an_address_that_opens_in_its_head_start_wins_alone() {
    let mut race = race(&[A, B]);
    drain(&mut race);
    race.opened(0);
    // Even if the head start ends in the same turn.
    race.handle_timeout(at(250));
    assert_eq!(drain(&mut race), [Won { socket: 0 }]);
    assert_eq!(race.poll_timeout(), None);
}

#[test]
fn the_first_to_open_wins_even_if_its_turn_had_passed() {
    let mut race = race(&[A, B, C]);
    drain(&mut race);
    race.handle_timeout(at(250));
    assert_eq!(drain(&mut race), [open(1, B)]);
    race.opened(0);
    assert_eq!(drain(&mut race), [Won { socket: 0 }, Abandon { socket: 1 }]);
}

#[test]
fn of_two_that_open_in_one_turn_one_wins_and_the_other_is_abandoned() {
    let mut race = race(&[A, B]);
    drain(&mut race);
    race.handle_timeout(at(250));
    drain(&mut race);
    race.opened(1);
    race.opened(0);
    assert_eq!(drain(&mut race), [Won { socket: 1 }, Abandon { socket: 0 }]);
}

#[test]
fn a_loser_that_fails_before_it_is_abandoned_is_gone_already() {
    let mut race = race(&[A, B]);
    drain(&mut race);
    race.handle_timeout(at(250));
    drain(&mut race);
    race.opened(0);
    race.failed(at(260), 1, Failure::Refused);
    assert_eq!(drain(&mut race), [Won { socket: 0 }]);
}

#[test]
fn when_all_fail_the_failure_that_tells_most_is_told_whatever_came_last() {
    use Failure::{Denied, NameNotFound, Other, Refused, TimedOut, Unreachable};
    for (failures, told) in [
        ([Refused, Unreachable], Refused),
        ([Unreachable, Refused], Refused),
        ([TimedOut, Unreachable], TimedOut),
        ([Refused, TimedOut], Refused),
        ([Denied, Unreachable], Denied),
        ([Other, Unreachable], Unreachable),
        ([Other, NameNotFound], Other),
        ([Other, Other], Other),
    ] {
        let mut race = race(&[A, B]);
        drain(&mut race);
        race.failed(at(1), 0, failures[0]);
        assert_eq!(drain(&mut race), [open(1, B)]);
        race.failed(at(2), 1, failures[1]);
        assert_eq!(drain(&mut race), [Lost { failure: told }], "{failures:?}");
        assert_eq!(race.poll_timeout(), None);
    }
}

#[test]
fn after_the_end_nothing_is_done_any_more() {
    let (mut won, mut lost) = (race(&[A, B, C]), race(&[A]));
    drain(&mut won);
    won.handle_timeout(at(250));
    drain(&mut won);
    won.opened(1);
    assert_eq!(drain(&mut won), [Won { socket: 1 }, Abandon { socket: 0 }]);
    drain(&mut lost);
    lost.failed(at(1), 0, Failure::Refused);
    assert_eq!(drain(&mut lost), [Lost { failure: Failure::Refused }]);
    for mut race in [won, lost] {
        for socket in 0..4 {
            race.opened(socket);
            race.failed(at(500), socket, Failure::Eof);
        }
        race.handle_timeout(Timestamp::MAX);
        assert_eq!(drain(&mut race), []);
        assert_eq!(race.poll_timeout(), None);
    }
}

#[test]
fn what_is_said_of_a_socket_that_was_not_opened_or_has_failed_is_ignored() {
    let mut race = race(&[A, B]);
    race.opened(0);
    race.failed(at(0), 0, Failure::Eof);
    assert_eq!(drain(&mut race), [open(0, A)]);
    race.failed(at(1), 0, Failure::Unreachable);
    assert_eq!(drain(&mut race), [open(1, B)]);
    for socket in [0, 2, 31, 32, 64, usize::MAX] {
        race.opened(socket);
        race.failed(at(2), socket, Failure::Eof);
        assert_eq!(drain(&mut race), [], "socket {socket}");
    }
    race.failed(at(3), 1, Failure::Other);
    assert_eq!(drain(&mut race), [Lost { failure: Failure::Unreachable }]);
}

#[test]
fn a_late_wake_gives_one_turn_and_repeated_ones_give_no_more() {
    let mut race = race(&[A, B, C]);
    drain(&mut race);
    for _ in 0..3 {
        race.handle_timeout(at(86_400_000));
    }
    assert_eq!(drain(&mut race), [open(1, B)]);
    race.handle_timeout(at(86_400_000));
    assert_eq!(drain(&mut race), []);
    assert_eq!(race.poll_timeout().unwrap().at, at(86_400_250));
}

#[test]
fn a_clock_that_steps_back_or_ends_does_no_harm() {
    let mut race = Race::new(at(1000), [A, B, C].map(|address| address.parse().unwrap())).unwrap();
    assert_eq!(drain(&mut race), [open(0, A)]);
    race.handle_timeout(at(0));
    assert_eq!(drain(&mut race), []);
    race.failed(at(0), 0, Failure::Refused);
    assert_eq!(drain(&mut race), [open(1, B)]);
    assert_eq!(race.poll_timeout().unwrap().at, at(1250));
    race.handle_timeout(Timestamp::MAX);
    assert_eq!(drain(&mut race), [open(2, C)]);
    assert_eq!(race.poll_timeout(), None);
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn open(socket: usize, address: &str) -> Action {
    Open { socket, address: address.parse().unwrap() }
}

fn race(addresses: &[&str]) -> Race<Failure> {
    Race::new(at(0), addresses.iter().map(|address| address.parse().unwrap())).unwrap()
}

fn drain(race: &mut Race<Failure>) -> Vec<Action> {
    core::iter::from_fn(|| race.poll_action()).take(2 * MAX_ADDRESSES).collect()
}

/// The addresses in the order of their turns, all of them silent.
fn turns<'a>(addresses: impl IntoIterator<Item = &'a &'a str>) -> Vec<String> {
    let mut race = race(&addresses.into_iter().copied().collect::<Vec<_>>());
    let mut order = Vec::new();
    loop {
        let actions = drain(&mut race);
        assert!(!actions.is_empty(), "woken for nothing after {order:?}");
        for action in actions {
            let Open { socket, address } = action else { panic!("{action:?}") };
            assert_eq!(socket, order.len());
            order.push(address.to_string());
        }
        let Some(deadline) = race.poll_timeout() else { return order };
        race.handle_timeout(deadline.at);
    }
}
