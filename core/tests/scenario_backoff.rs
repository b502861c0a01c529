//! When a client tries again, when it does not, and who may hurry it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::num::NonZeroU32;
use std::time::Duration;

use common::{Answer, Dialer, MS, SECOND, at, client, message, names, welcome};
use keepbeat_core::client::{Action, ClientConfigBuilder, Epoch, Event, Input, LinkState};
use keepbeat_core::reconnect::{GiveUpCause, Hint, ReconnectConfig, Shape};
use keepbeat_core::time::{DeadlineCause as Why, Timestamp};
use keepbeat_core::wire::Credentials;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::{Frame, Goodbye, Reason};
use keepbeat_core::{DownCause, Failure};

const DAY: u64 = 86_400_000;

/// Waits of 100 ms to 200 ms at first, then in the upper half of 1 s, 2 s, 4 s and so on up to 30 s.
fn steps() -> ClientConfigBuilder<Beat> {
    let reconnect = ReconnectConfig::builder().shape(Shape::EqualJitter).first_spread(100 * MS);
    client().reconnect(reconnect.build().unwrap())
}

/// How long the last `Down` said that the wait is.
fn wait(rig: &Dialer) -> Duration {
    let (down, _, retry_at) = rig.downs().pop().expect("it went down");
    retry_at.expect("it tries again").since(at(down))
}

fn goodbye(reason: Reason, retry_after_ms: u32, spread_ms: u32) -> Box<Goodbye> {
    Box::new(Goodbye { retry_after_ms, spread_ms, ..Goodbye::new(reason, "") })
}

#[test]
fn a_server_that_accepts_and_hangs_up_is_visited_ever_more_rarely() {
    // Hanging up right after the accept, after the welcome, and after a sign of life.
    for said in 0..3 {
        let mut rig = Dialer::new(steps());
        rig.client.open(rig.now);
        rig.turn();
        let mut waits = Vec::new();
        for _ in 0..10 {
            if said > 0 {
                rig.welcome(welcome());
            }
            if said > 1 {
                rig.say(&Frame::Ack { seq: 0 });
            }
            rig.now = rig.now.after(MS);
            rig.cut(Failure::Eof);
            waits.push(wait(&rig));
            rig.wake(Why::Reconnect);
        }
        assert!(waits[0] >= 99 * MS && waits[0] <= 201 * MS, "{waits:?}");
        for (index, wait) in waits[1..].iter().enumerate() {
            let step = (SECOND * 2_u32.pow(index as u32)).min(30 * SECOND);
            assert!(*wait + MS >= step / 2 && *wait <= step + MS, "{waits:?}");
        }
        let attempts: Vec<u32> = rig.events.iter().filter_map(attempt).collect();
        assert_eq!(attempts, (1..=11).collect::<Vec<_>>());
    }
}

fn attempt((_, event): &(u64, Event)) -> Option<u32> {
    if let Event::Connecting { attempt } = event { Some(*attempt) } else { None }
}

#[test]
fn only_a_stable_connection_with_a_sign_of_life_starts_over() {
    let moment = Duration::from_nanos(1);
    for (lasted, alive, starts_over) in
        [(30 * SECOND, true, true), (30 * SECOND - moment, true, false), (3600 * SECOND, false, false)]
    {
        let mut rig = Dialer::new(steps());
        rig.answer = Answer::Refuse;
        rig.client.open(rig.now);
        rig.turn();
        for _ in 0..5 {
            rig.wake(Why::Reconnect);
        }
        rig.answer = Answer::Open;
        rig.wake(Why::Reconnect);
        rig.welcome(welcome());
        if alive {
            rig.say(&Frame::Echo { seq: 9 });
        }
        // Without waking: nobody judges the peer here.
        rig.now = rig.now.after(lasted);
        let epoch = rig.open.take().unwrap();
        rig.client.handle_input(rig.now, Input::Ended { epoch, failure: Failure::Reset });
        rig.turn();
        assert_eq!(wait(&rig) <= 201 * MS, starts_over, "{lasted:?} {alive}");
        rig.wake(Why::Reconnect);
        let attempt = rig.events.iter().filter_map(attempt).next_back();
        assert_eq!(attempt, Some(if starts_over { 1 } else { 8 }));
    }
}

#[test]
fn ten_thousand_failures_in_a_row_wait_between_floor_and_cap_and_stay_jittered() {
    let mut rig = Dialer::new(client());
    rig.answer = Answer::Refuse;
    rig.client.open(rig.now);
    rig.turn();
    let mut waits = Vec::new();
    for _ in 0..10_000 {
        let (before, now) = (rig.now, rig.wake(Why::Reconnect));
        let wait = now.since(before);
        assert!(wait >= 100 * MS && wait <= 30 * SECOND, "{wait:?}");
        waits.push(wait);
        rig.actions.clear();
        rig.events.clear();
    }
    let mut late = waits.split_off(1000);
    late.sort_unstable();
    late.dedup();
    assert!(late.len() > 8900, "{} different waits", late.len());
    assert!(late[0] < SECOND && late[late.len() - 1] > 29 * SECOND);
}

#[test]
fn error_end_and_timeout_of_one_loss_are_one_reconnect() {
    for phase in ["connecting", "handshake", "up"] {
        let mut rig = Dialer::new(client());
        rig.answer = if phase == "connecting" { Answer::Hang } else { Answer::Open };
        rig.client.open(rig.now);
        rig.turn();
        if phase == "up" {
            rig.welcome(welcome());
        }
        rig.forget();
        let epoch = Epoch(1);
        rig.now = at(10_000);
        for failure in [Failure::Reset, Failure::Eof, Failure::TimedOut] {
            rig.client.handle_input(rig.now, Input::OpenFailed { epoch, failure });
            rig.client.handle_input(rig.now, Input::Ended { epoch, failure });
            rig.client.handle_timeout(rig.now);
            rig.client.handle_input(rig.now, Input::Received { epoch, bytes: b"\x30\x04\x01\0\0\0" });
        }
        rig.answer = Answer::Hang;
        rig.turn();
        assert_eq!(names(&rig.events), ["down"], "{phase}");
        rig.wake(Why::Reconnect);
        assert_eq!(rig.connects().len(), 1, "{phase}");
        assert!(rig.client.stale_inputs() > 5);
    }
}

#[test]
fn the_user_may_skip_the_wait_and_nothing_else() {
    for user in [|rig: &mut Dialer| rig.client.open(rig.now), |rig: &mut Dialer| rig.client.retry_now(rig.now)] {
        let mut rig = Dialer::up(client());
        rig.cut(Failure::Reset);
        rig.answer = Answer::Hang;
        user(&mut rig);
        rig.turn();
        assert_eq!(rig.connects(), [0], "during the wait");
        for _ in 0..3 {
            user(&mut rig);
            rig.turn();
        }
        assert_eq!(rig.connects(), [0], "during the attempt");
        rig.client.handle_input(rig.now, Input::OpenFailed { epoch: Epoch(2), failure: Failure::Refused });
        rig.answer = Answer::Open;
        user(&mut rig);
        rig.turn();
        rig.welcome(welcome());
        user(&mut rig);
        rig.turn();
        assert_eq!((rig.connects().len(), rig.saw("up")), (2, 1), "while up");
    }
}

#[test]
fn opening_again_after_a_give_up_or_a_close_begins_anew() {
    let once = ReconnectConfig::builder().max_attempts(NonZeroU32::new(2).unwrap()).build().unwrap();
    let mut rig = Dialer::new(client().reconnect(once));
    rig.answer = Answer::Refuse;
    rig.client.open(rig.now);
    rig.turn();
    rig.wake(Why::Reconnect);
    assert_eq!(names(&rig.events), ["connecting", "down", "connecting", "down", "gave up"]);
    assert!(matches!(rig.events[4].1, Event::GaveUp { cause: GiveUpCause::Attempts(2), unacknowledged: 0 }));
    let given_up = LinkState::GaveUp(GiveUpCause::Attempts(2));
    assert_eq!((rig.client.state(), rig.client.poll_timeout()), (given_up, None));
    assert!(rig.client.send(rig.now, message("m")).is_err());
    rig.client.retry_now(rig.now);
    rig.client.hint(rig.now, Hint::NetworkUp);
    rig.advance_to(DAY);
    assert_eq!(rig.connects().len(), 2, "only opening revives it");
    rig.forget();
    rig.answer = Answer::Open;
    rig.client.open(rig.now);
    rig.turn();
    rig.welcome(welcome());
    assert_eq!(names(&rig.events), ["connecting", "up"]);
    assert_eq!(attempt(&rig.events[0]), Some(1));
    rig.client.close(rig.now);
    rig.turn();
    // Opening while the goodbye is still on its way.
    rig.client.open(rig.now);
    rig.turn();
    assert_eq!(names(&rig.events), ["connecting", "up", "closed", "connecting"]);
    assert_eq!(rig.open, Some(Epoch(4)), "and the connection before is gone");
}

#[test]
fn a_close_is_final() {
    for phase in ["waiting", "credentials", "connecting", "handshake", "up"] {
        let mut rig = Dialer::new(client().credentials_from_provider());
        rig.answer = if phase == "connecting" { Answer::Hang } else { Answer::Open };
        rig.client.open(rig.now);
        rig.turn();
        let epoch = Epoch(1);
        if phase != "credentials" {
            rig.client.handle_input(rig.now, Input::Credentials { epoch, credentials: Credentials::default() });
            rig.turn();
        }
        match phase {
            "waiting" => rig.cut(Failure::Reset),
            "up" => rig.welcome(welcome()),
            _ => {}
        }
        rig.forget();
        rig.client.close(rig.now);
        rig.turn();
        rig.advance(1000);
        assert_eq!(names(&rig.events), ["closed"], "{phase}");
        let told_to_disconnect = rig.actions.iter().any(|(_, action)| *action == Action::Disconnect { epoch });
        assert_eq!(told_to_disconnect, phase != "waiting", "{phase}");
        assert_eq!((rig.client.state(), rig.client.poll_timeout()), (LinkState::Closed, None), "{phase}");
        for hint in [Hint::NetworkDown, Hint::NetworkUp, Hint::Background, Hint::Foreground] {
            rig.client.hint(rig.now, hint);
        }
        rig.client.retry_now(rig.now);
        rig.client.handle_input(rig.now, Input::Credentials { epoch, credentials: Credentials::default() });
        rig.client.handle_input(rig.now, Input::Opened { epoch });
        rig.client.close(rig.now);
        rig.advance_to(DAY);
        assert_eq!((names(&rig.events), rig.connects()), (vec!["closed"], vec![]), "{phase}");
    }
}

#[test]
fn an_attempt_that_the_driver_never_heard_of_needs_no_end() {
    let mut rig = Dialer::new(client());
    rig.client.open(rig.now);
    rig.client.close(rig.now);
    rig.turn();
    assert_eq!((rig.actions.len(), names(&rig.events)), (0, vec!["connecting", "closed"]));
}

#[test]
fn two_devices_with_one_name_throw_each_other_out_ever_more_slowly() {
    let mut rig = Dialer::up(client());
    let mut conflicts = Vec::new();
    for round in 1..=4_u32 {
        // Long enough to be stable, and alive.
        rig.say(&Frame::Ack { seq: 0 });
        rig.now = rig.now.after(31 * SECOND);
        rig.say(&Frame::Goodbye(goodbye(Reason::Replaced, 0, 0)));
        let Some((_, Event::Down { conflict, .. })) = rig.events.last() else { panic!("{:?}", rig.events) };
        conflicts.push(*conflict);
        assert!(wait(&rig) + MS >= 500 * MS * 2_u32.pow(round), "{:?} in round {round}", wait(&rig));
        rig.wake(Why::Reconnect);
        rig.welcome(welcome());
    }
    assert_eq!(conflicts, [false, false, true, true]);
}

#[test]
fn a_goodbye_without_a_wish_leaves_the_wait_to_the_backoff() {
    let slow = ReconnectConfig::builder().first_spread(20 * SECOND).build().unwrap();
    for reason in [Reason::GoingAway, Reason::Busy, Reason::Malformed] {
        let mut rig = Dialer::up(client().reconnect(slow.clone()));
        rig.say(&Frame::Goodbye(goodbye(reason, 0, 0)));
        // At once would be within two floors.
        assert!(wait(&rig) > 200 * MS, "{:?}", wait(&rig));
    }
}

#[test]
fn a_storm_of_hints_starts_one_attempt_a_second_at_most() {
    let mut rig = Dialer::new(client());
    rig.answer = Answer::Refuse;
    rig.client.open(rig.now);
    rig.turn();
    // Twenty changes of the network a second for a minute.
    for step in 1..1200 {
        rig.advance_to(step * 50);
        rig.client.hint(rig.now, if step % 2 == 0 { Hint::NetworkDown } else { Hint::NetworkUp });
        rig.turn();
    }
    let connects = rig.connects();
    assert!(connects.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{connects:?}");
    assert!((20..=61).contains(&connects.len()), "{} attempts in a minute", connects.len());
    let attempts: Vec<u32> = rig.events.iter().filter_map(attempt).collect();
    assert_eq!(attempts.last(), Some(&(connects.len() as u32)), "they all count");
}

#[test]
fn refused_credentials_are_refreshed_once_and_then_final() {
    let mut rig = Dialer::new(client().credentials_from_provider());
    rig.client.open(rig.now);
    rig.turn();
    let give = |rig: &mut Dialer, epoch: u32, refresh: bool, credentials: &'static [u8]| {
        let epoch = Epoch(epoch);
        assert_eq!(rig.actions.last().unwrap().1, Action::FetchCredentials { epoch, refresh });
        rig.client.handle_input(rig.now, Input::Credentials { epoch, credentials: Credentials::new(credentials) });
        rig.turn();
        let heard = rig.heard();
        assert!(
            matches!(&heard[..], [(_, Frame::Hello(hello))] if hello.credentials.as_bytes() == credentials),
            "{heard:?}"
        );
    };
    give(&mut rig, 1, false, b"old");
    rig.say(&Frame::Refuse(goodbye(Reason::Unauthorized, 0, 0)));
    assert!(wait(&rig) <= 201 * MS, "a fresh token may be right: no backoff");
    rig.wake(Why::Reconnect);
    give(&mut rig, 2, true, b"fresh");
    // Accepted: the next refusal gets its own chance.
    rig.welcome(welcome());
    rig.cut(Failure::Reset);
    rig.wake(Why::Reconnect);
    give(&mut rig, 3, false, b"expired");
    rig.say(&Frame::Refuse(goodbye(Reason::Unauthorized, 0, 0)));
    rig.wake(Why::Reconnect);
    give(&mut rig, 4, true, b"fresh, and wrong");
    rig.say(&Frame::Refuse(goodbye(Reason::Unauthorized, 0, 0)));
    assert_eq!((rig.saw("gave up"), rig.client.poll_timeout()), (1, None));
    assert!(matches!(rig.downs().pop(), Some((_, report, None)) if matches!(&report.cause, DownCause::Refused(_))));
}

#[test]
fn refused_credentials_without_a_provider_are_final_at_once() {
    for reason in [Reason::Unauthorized, Reason::Forbidden, Reason::UnsupportedVersion, Reason::Closed] {
        let mut rig = Dialer::new(client().credentials(&b"secret"[..]));
        rig.client.open(rig.now);
        rig.turn();
        rig.say(&Frame::Refuse(goodbye(reason, 5, 5)));
        assert_eq!(names(&rig.events), ["connecting", "down", "gave up"]);
        assert_eq!((rig.client.poll_timeout(), rig.client.state()), (None, LinkState::GaveUp(GiveUpCause::Fatal)));
    }
}

#[test]
fn a_provider_that_hangs_or_fails_costs_one_attempt() {
    let mut rig = Dialer::new(client().credentials_from_provider().credentials_timeout(7 * SECOND));
    rig.client.open(rig.now);
    rig.turn();
    assert_eq!(rig.due(), (7000, Why::Credentials));
    rig.advance_to(6999);
    assert_eq!(rig.saw("down"), 0);
    rig.advance_to(7000);
    assert_eq!(rig.downs()[0].1.cause, DownCause::CredentialsTimeout);
    // They come too late for the attempt that asked.
    rig.client.handle_input(rig.now, Input::Credentials { epoch: Epoch(1), credentials: Credentials::default() });
    rig.turn();
    assert_eq!((rig.client.stale_inputs(), rig.connects()), (1, vec![]));
    rig.wake(Why::Reconnect);
    rig.client.handle_input(rig.now, Input::CredentialsFailed { epoch: Epoch(2) });
    rig.turn();
    assert_eq!(rig.downs()[1].1.cause, DownCause::CredentialsFailed);
    rig.wake(Why::Reconnect);
    rig.client.handle_input(rig.now, Input::Credentials { epoch: Epoch(3), credentials: Credentials::default() });
    rig.turn();
    assert_eq!(rig.connects().len(), 1);
}

#[test]
fn a_servers_wish_is_granted_within_bounds() {
    let hour = Duration::from_secs(3600);
    for (after, spread, low, high) in [
        (20_000, 5000, 20 * SECOND, 25 * SECOND),
        (45_000, 0, 45 * SECOND, 45 * SECOND),
        (u32::MAX, u32::MAX, hour, 2 * hour),
        (1, 0, 100 * MS, 200 * MS),
        (0, 0, 100 * MS, 1100 * MS),
        (0, 600_000, 100 * MS, 600 * SECOND),
    ] {
        for reason in [Reason::GoingAway, Reason::Busy, Reason::Silent, Reason::Other(77)] {
            let mut rig = Dialer::up(client());
            rig.say(&Frame::Goodbye(goodbye(reason, after, spread)));
            let wait = wait(&rig);
            assert!(wait >= low && wait <= high, "{wait:?} for {after} and {spread}");
            assert!(matches!(rig.downs()[0].1.cause, DownCause::Goodbye(_)));
            // The network does not know better than the server.
            let retry = rig.client.poll_timeout();
            if after >= 20_000 {
                rig.client.hint(rig.now, Hint::NetworkUp);
                assert_eq!(rig.client.poll_timeout(), retry);
            }
        }
        let mut rig = Dialer::new(client());
        rig.client.open(rig.now);
        rig.turn();
        rig.say(&Frame::Refuse(goodbye(Reason::Busy, after, spread)));
        assert!(wait(&rig) >= low && wait(&rig) <= high);
    }
}

#[test]
fn a_first_attempt_that_fails_follows_the_same_policy() {
    for failure in [Failure::Refused, Failure::NameNotFound, Failure::Unreachable, Failure::Denied, Failure::TimedOut] {
        let mut rig = Dialer::new(client());
        rig.answer = Answer::Hang;
        rig.client.open(rig.now);
        rig.client.send(rig.now, message("kept")).unwrap();
        rig.turn();
        rig.client.handle_input(rig.now, Input::OpenFailed { epoch: Epoch(1), failure });
        rig.turn();
        assert_eq!(names(&rig.events), ["connecting", "down"]);
        let (_, report, _) = rig.downs().remove(0);
        assert_eq!((&report.cause, &report.evidence), (&DownCause::ConnectFailed(failure), &None));
        assert!(report.to_string().starts_with("could not connect: "));
        assert!(wait(&rig) >= 100 * MS && wait(&rig) <= 1100 * MS);
        rig.answer = Answer::Open;
        let retried = rig.wake(Why::Reconnect);
        rig.welcome(welcome());
        let Some((_, Event::Up { attempt, took, in_doubt, .. })) = rig.events.last() else { panic!() };
        assert_eq!((*attempt, *took, *in_doubt), (2, retried.since(Timestamp::ZERO), 0));
        assert!(rig.heard().contains(&(rig.now.as_millis(), common::data(1, "kept"))));
    }
}

#[test]
fn whoever_waits_sees_when_the_next_attempt_comes_and_may_skip_it() {
    let mut rig = Dialer::up(client());
    rig.say(&Frame::Goodbye(goodbye(Reason::GoingAway, 3_600_000, 0)));
    let LinkState::Waiting { retry_at, attempt: 2 } = rig.client.state() else { panic!("{:?}", rig.client.state()) };
    assert_eq!(retry_at, at(3_600_000));
    assert_eq!((rig.due(), rig.downs()[0].2), ((3_600_000, Why::Reconnect), Some(retry_at)));
    rig.advance_to(1000);
    rig.answer = Answer::Hang;
    rig.client.retry_now(rig.now);
    rig.turn();
    assert_eq!(rig.client.state(), LinkState::Connecting { attempt: 2 });
    assert_eq!(rig.connects(), [1000], "whoever asked for the wait");
}
