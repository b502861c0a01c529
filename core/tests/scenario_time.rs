//! Suspend, stalls, clocks, and very many reconnects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;

use common::{Acceptor, Answer, Dialer, Link, MS, SECOND, at, client, data, device, encoded, hello, liveness, names};
use common::{server, welcome};
use keepbeat_core::client::{Action, Client, ClientConfig, Event, Input, LinkState};
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::reconnect::Hint;
use keepbeat_core::time::{DeadlineCause as Why, Timestamp};
use keepbeat_core::wire::Frame;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::{DownCause, Failure};

const TWO_HOURS: u64 = 7_200_000;

#[test]
fn after_two_hours_of_suspend_one_probe_decides() {
    for answered in [true, false] {
        let mut rig = Dialer::up(client());
        rig.sleep(TWO_HOURS);
        assert_eq!(rig.beats(), [TWO_HOURS], "one beat, no burst");
        assert_eq!(names(&rig.events), Vec::<&str>::new(), "no verdict yet");
        assert_eq!(rig.due(), (TWO_HOURS + 4000, Why::Reply));
        rig.advance_to(TWO_HOURS + 3999);
        assert_eq!(rig.beats(), Vec::<u64>::new());
        if answered {
            rig.say(&Frame::Echo { seq: 1 });
            assert_eq!(rig.client.rtt().unwrap().smoothed(), 3999 * MS);
        }
        rig.advance_to(TWO_HOURS + 4000);
        assert_eq!(rig.saw("down"), usize::from(!answered));
        for (_, report, _) in rig.downs() {
            assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
            assert_eq!(report.evidence.unwrap().local_stalls, 1);
        }
    }
}

#[test]
fn a_clock_that_stands_still_during_suspend_shows_nothing_and_the_link_goes_on() {
    let mut rig = Dialer::up(client());
    let due = rig.due();
    rig.turn();
    assert_eq!((rig.due(), rig.beats()), (due, vec![]));
    // The server took us for dead meanwhile, and its goodbye lies in the socket.
    rig.say_unseen(&encoded(&Frame::Goodbye(Box::new(keepbeat_core::wire::Goodbye::new(
        keepbeat_core::wire::Reason::Silent,
        "",
    )))));
    rig.turn();
    assert_eq!(rig.saw("down"), 1);
    assert_eq!(rig.due().1, Why::Reconnect);
}

#[test]
fn a_suspend_in_any_other_state_starts_one_attempt() {
    // While waiting for the next attempt.
    let mut rig = Dialer::up(client());
    rig.cut(Failure::Reset);
    rig.answer = Answer::Hang;
    rig.sleep(TWO_HOURS);
    assert_eq!(rig.connects(), [TWO_HOURS]);
    // While connecting.
    rig.sleep(TWO_HOURS);
    assert_eq!((rig.saw("down"), rig.connects().len()), (2, 1), "the attempt is over; the next one has its wait");
    rig.answer = Answer::Open;
    rig.wake(Why::Reconnect);
    // In the handshake.
    rig.sleep(TWO_HOURS);
    assert_eq!((rig.saw("down"), rig.connects().len()), (3, 2));
    rig.wake(Why::Reconnect);
    // Closing.
    rig.welcome(welcome());
    rig.client.close(rig.now);
    rig.sleep(TWO_HOURS);
    assert_eq!((rig.saw("closed"), rig.client.state(), rig.client.poll_timeout()), (1, LinkState::Closed, None));
}

#[test]
fn both_sides_asleep_for_an_hour_do_not_take_each_other_for_dead() {
    let mut link = Link::up(client(), server());
    link.advance(25_000);
    link.now = at(3_625_000);
    link.turn();
    link.advance(60_000);
    assert_eq!((link.saw("down"), link.saw("suspect")), (0, 0));
    assert_eq!((link.server_saw("offline"), link.server_saw("suspect")), (0, 0));
}

#[test]
fn what_waits_to_be_read_is_read_before_anybody_is_judged() {
    // Stalled for 30 s with a beat out, and the echo lies in the socket.
    let mut rig = Dialer::up(client());
    rig.wake(Why::Beat);
    rig.say_unseen(&encoded(&Frame::Echo { seq: 1 }));
    rig.sleep(30_000);
    assert_eq!(rig.saw("suspect") + rig.saw("down"), 0);
    assert_eq!(rig.client.evidence(rig.now).unwrap().beats_answered, 1);
    rig.advance(3900);
    assert_eq!(rig.saw("suspect"), 0);

    // A little late for the verdict, and one byte lies in the socket.
    let mut rig = Dialer::up(client());
    let sent = rig.wake(Why::Beat);
    rig.advance_until(sent.after(7999 * MS));
    rig.say_unseen(&encoded(&data(1, "m"))[..1]);
    rig.now = sent.after(8001 * MS);
    rig.turn();
    assert_eq!(names(&rig.events), ["suspect", "recovered"]);
}

#[test]
fn a_hint_judges_nobody() {
    let mut rig = Dialer::up(client());
    let sent = rig.wake(Why::Beat);
    rig.advance_until(sent.after(7999 * MS));
    rig.say_unseen(&encoded(&Frame::Echo { seq: 1 }));
    // The verdict is due, but the driver has not read yet.
    rig.now = sent.after(8001 * MS);
    rig.client.hint(rig.now, Hint::NetworkUp);
    assert_eq!(rig.client.state(), LinkState::Up { suspect: true });
    rig.turn();
    assert_eq!(names(&rig.events), ["suspect", "recovered"]);
}

#[test]
fn a_hint_probes_at_once_and_not_more_than_twice_in_an_interval() {
    let mut rig = Dialer::up(client());
    rig.echoes = true;
    for step in 0..400 {
        rig.advance_to(step * 50);
        rig.client.hint(rig.now, [Hint::NetworkUp, Hint::Foreground][step as usize % 2]);
        rig.turn();
    }
    let beats = rig.beats();
    assert_eq!(beats, [0, 5000, 10_000, 15_000], "20 s of hints");
}

#[test]
fn late_ticks_send_one_beat_each() {
    let mut rig = Dialer::up(client());
    rig.echoes = true;
    for wake in 1..200 {
        rig.sleep(35_000);
        assert_eq!(rig.beats(), [wake * 35_000]);
    }
    assert_eq!(rig.saw("down") + rig.saw("suspect"), 0);

    let mut rig = Acceptor::new(server());
    let (id, _) = rig.welcomed(&hello("d"));
    for wake in 1..200 {
        rig.now = at(wake * 60_000);
        rig.turn();
        assert_eq!(rig.heard(id).len(), 1, "one probe");
        rig.say(id, &Frame::Ack { seq: 0 });
    }
    assert_eq!(rig.saw("offline") + rig.saw("suspect"), 0);
}

/// One life of a link, as it looks from outside, relative to its start.
fn life(start: u64) -> Vec<(u64, String)> {
    let mut rig = Dialer::seeded(client().liveness(liveness().jitter_percent(10).build().unwrap()), 99);
    rig.now = at(start);
    rig.client.open(rig.now);
    rig.turn();
    rig.welcome(welcome());
    rig.echoes = true;
    rig.advance(60_000);
    rig.cut(Failure::Reset);
    rig.wake(Why::Reconnect);
    rig.echoes = false;
    rig.welcome(welcome());
    rig.advance(600_000);
    let said = rig.heard().into_iter().map(|(at, frame)| (at, frame.name().to_owned()));
    let did = rig.actions.iter().map(|(at, action)| (*at, format!("{action:?}")));
    let told = rig.events.iter().map(|(at, event)| (*at, common::name(event).to_owned()));
    did.chain(told).chain(said).map(|(at, what)| (at - start, what)).collect()
}

#[test]
fn no_decision_depends_on_what_time_it_is() {
    let day = 86_400_000;
    let first = life(0);
    assert!(first.len() > 30);
    assert_eq!(life(day), first);
    assert_eq!(life(365 * 40 * day), first);
}

#[test]
fn a_clock_that_steps_back_a_day_stops_nothing() {
    let day = 86_400_000;
    let mut rig = Dialer::seeded(client(), 5);
    rig.now = at(day);
    rig.client.open(rig.now);
    rig.turn();
    rig.welcome(welcome());
    let due = rig.client.poll_timeout();
    for wrong in [Timestamp::ZERO, at(day - 1), Timestamp::from_nanos(1)] {
        rig.client.handle_timeout(wrong);
        rig.client.hint(wrong, Hint::Background);
        let epoch = rig.open.unwrap();
        rig.client.handle_input(wrong, Input::Received { epoch, bytes: &encoded(&Frame::Echo { seq: 9 }) });
        assert_eq!((rig.client.poll_action(), rig.client.poll_timeout()), (None, due));
    }
    rig.wake(Why::Beat);
    assert_eq!(Some(rig.now), due.map(|due| due.at));
}

#[test]
fn the_last_moment_of_all_is_one_like_any_other() {
    let mut rig = Dialer::up(client());
    rig.client.handle_timeout(Timestamp::MAX);
    assert_eq!(rig.client.poll_timeout(), None, "nothing can come after it");
    let mut rig = Acceptor::new(server());
    rig.welcomed(&hello("d"));
    rig.server.handle_timeout(Timestamp::MAX);
    while rig.server.poll_action().is_some() {}
    assert_eq!(rig.server.poll_timeout(), None);
}

#[test]
fn a_closed_link_wants_nothing_and_a_dropped_one_keeps_nothing() {
    let config: Arc<ClientConfig<Beat>> = Arc::new(client().build().unwrap());
    let mut links: Vec<Client<Beat>> = (0..10_000).map(|seed| Client::new(config.clone(), seed)).collect();
    for (index, link) in links.iter_mut().enumerate() {
        link.open(at(1));
        let Some(Action::Connect { epoch }) = link.poll_action() else { panic!("no attempt") };
        if index % 2 == 0 {
            link.handle_input(at(2), Input::Opened { epoch });
            link.handle_input(at(2), Input::Received { epoch, bytes: &encoded(&Frame::Welcome(Box::new(welcome()))) });
        }
        assert!(link.poll_timeout().is_some());
        if index % 4 < 2 {
            link.close(at(3));
            link.handle_timeout(at(2000));
            assert_eq!(link.poll_timeout(), None);
        }
    }
    drop(links);
    assert_eq!(Arc::strong_count(&config), 1);
}

#[test]
fn thousands_of_reconnects_leave_one_connection_and_no_timer_behind() {
    let mut link = Link::up(client(), server());
    for _ in 0..3000 {
        link.cut();
        let retry = match link.client.state() {
            LinkState::Waiting { retry_at, .. } => retry_at,
            other => panic!("{other:?}"),
        };
        link.now = retry;
        link.turn();
        assert_eq!(link.server.connections(), 1);
    }
    let resumed = link.events.iter().filter(|(_, event)| matches!(event, Event::Up { resumed: true, .. })).count();
    assert_eq!((resumed, link.client.missed_events(), link.client.stale_inputs()), (3000, 0, 0));
    link.client.close(link.now);
    link.turn();
    link.advance(1000);
    assert_eq!((link.client.poll_timeout(), link.client.has_event(), link.client.unacknowledged()), (None, false, 0));
    assert_eq!((link.server.connections(), link.server.poll_timeout(), link.server.has_event()), (0, None, false));
    assert!(!link.server.is_connected(&device("d")));
    assert!(link.now > at(0).after(SECOND));
}
