//! How a link finds out that its peer is dead, and what does not make it think so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{Acceptor, Answer, Dialer, Link, MS, SECOND, at, client, data, encoded, hello, liveness, message};
use common::{names, server, welcome};
use keepbeat_core::client::{Action, Epoch, Event, Input, LinkState};
use keepbeat_core::liveness::{DeathCause, LivenessConfig};
use keepbeat_core::server::{ServerConfig, ServerEvent};
use keepbeat_core::time::DeadlineCause as Why;
use keepbeat_core::wire::{Frame, Goodbye, Reason};
use keepbeat_core::{DownCause, Failure};

#[test]
fn talking_into_a_void_is_noticed_within_the_bound() {
    // The later the silence begins, the nearer the next beat.
    for silence in [20_000, 23_300, 29_999] {
        let mut link = Link::up(client(), server());
        let bound = link.client.config().worst_case_detection();
        for moment in (500..60_000).step_by(500) {
            link.client.send(link.now, message("report")).unwrap();
            link.advance(500);
            if moment == silence / 500 * 500 {
                link.advance(silence % 500);
                link.down.black_hole();
            }
        }
        let [(when, report), ..] = &link.downs()[..] else { panic!("not noticed") };
        assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
        assert!(*when > silence && at(*when).since(at(silence)) <= bound, "{when}");
        assert_eq!((link.saw("down"), link.saw("up")), (1, 1), "one loss, one reconnect");
        assert_eq!(link.client.state(), LinkState::Up { suspect: false });
    }
}

#[test]
fn a_device_that_hears_us_but_is_not_heard_is_noticed_by_the_server() {
    let mut link = Link::up(client(), server());
    link.advance(12_345);
    link.up.black_hole();
    for _ in 0..100 {
        link.server.send(link.now, &common::device("d"), message("order")).unwrap();
        link.advance(200);
    }
    let offline = link.server_events.iter().find_map(|(at, event)| match event {
        ServerEvent::Offline { report, .. } => Some((*at, report.cause.clone())),
        _ => None,
    });
    let (when, cause) = offline.expect("not noticed");
    assert_eq!(cause, DownCause::Dead(DeathCause::Silent));
    assert!(when - 12_345 <= 18_000, "{when}");
}

#[test]
fn our_beats_leave_on_time_whatever_arrives() {
    let mut config = client();
    config = config.liveness(liveness().jitter_percent(10).build().unwrap());
    let mut rig = Dialer::up(config);
    let mut beats = Vec::new();
    for second in 1..600 {
        rig.say(&data(second, "news"));
        rig.advance_to(second * 1000);
        beats.extend(rig.beats());
    }
    assert!(beats[0] >= 5000 && beats[0] <= 10_000);
    assert!(beats.windows(2).all(|pair| (9000..=11_000).contains(&(pair[1] - pair[0]))), "{beats:?}");
    assert!(beats.len() >= 599 / 11);
}

#[test]
fn odd_answers_measure_nothing_and_are_only_a_sign_of_life() {
    let mut rig = Dialer::up(client());
    for seq in [0, 1, 99, u32::MAX] {
        rig.say(&Frame::Echo { seq });
        assert_eq!((rig.client.rtt(), rig.client.evidence(rig.now).unwrap().beats_answered), (None, 0), "unsolicited");
    }
    let sent = rig.wake(Why::Beat);
    rig.now = sent.after(100 * MS);
    rig.say(&Frame::Echo { seq: 2 });
    assert_eq!(rig.client.rtt(), None, "unknown");
    assert_eq!(rig.client.evidence(rig.now).unwrap().last_received, rig.now, "and yet a sign of life");
    rig.say(&Frame::Echo { seq: 1 });
    let rtt = rig.client.rtt().unwrap();
    assert_eq!(rtt.smoothed(), 100 * MS);
    rig.now = rig.now.after(300 * MS);
    rig.say(&Frame::Echo { seq: 1 });
    assert_eq!((rig.client.rtt(), rig.client.evidence(rig.now).unwrap().beats_answered), (Some(rtt), 1), "twice");
    assert_eq!(rig.events.iter().filter(|(_, event)| matches!(event, Event::Rtt(_))).count(), 1);
    assert_eq!(rig.saw("down"), 0);
}

#[test]
fn what_one_connection_awaited_does_not_burden_the_next() {
    let mut rig = Dialer::up(client());
    let before = rig.open.unwrap();
    rig.wake(Why::Beat);
    rig.wake(Why::Reply);
    assert_eq!(rig.client.state(), LinkState::Up { suspect: true });
    rig.cut(Failure::Reset);
    rig.wake(Why::Reconnect);
    rig.welcome(welcome());
    let up = rig.now;
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false });
    let due = rig.client.poll_timeout().unwrap();
    assert_eq!(due.cause, Why::Beat, "no reply is awaited on this connection");
    assert!(due.at >= up.after(5 * SECOND) && due.at <= up.after(10 * SECOND), "its first beat has its own time");

    // Late news of the connection before: dropped and counted.
    let stale = rig.client.stale_inputs();
    let echo = encoded(&Frame::Echo { seq: 1 });
    rig.client.handle_input(rig.now, Input::Received { epoch: before, bytes: &echo });
    rig.client.handle_input(rig.now, Input::Written { epoch: before, count: 3 });
    rig.client.handle_input(rig.now, Input::Ended { epoch: before, failure: Failure::Reset });
    assert_eq!(rig.client.stale_inputs(), stale + 3);
    assert_eq!(rig.client.evidence(rig.now).unwrap().beats_sent, 0);
    rig.wake(Why::Beat);
    let heard = rig.heard();
    assert!(matches!(heard.last(), Some((_, Frame::Beat { seq: 1 }))), "beats count from 1 on every connection");
    assert_eq!(rig.client.poll_timeout().map(|due| due.at), Some(rig.now.after(4 * SECOND)));
}

#[test]
fn a_death_is_one_event_and_one_reconnect_whatever_else_is_reported() {
    let mut rig = Dialer::up(client());
    let sent = rig.wake(Why::Beat);
    let epoch = rig.open.unwrap();
    rig.advance_until(sent.after(7999 * MS));
    assert_eq!((rig.saw("suspect"), rig.saw("down")), (1, 0));
    rig.wake(Why::Verdict);
    let death = rig.now;
    assert_eq!(death, sent.after(8 * SECOND));
    for _ in 0..3 {
        rig.client.handle_input(death, Input::Received { epoch, bytes: b"\x11\x01\x01" });
        rig.client.handle_input(death, Input::Written { epoch, count: 1 });
        rig.client.handle_input(death, Input::Ended { epoch, failure: Failure::Eof });
        rig.client.handle_timeout(death);
        rig.turn();
    }
    assert_eq!(names(&rig.events), ["suspect", "down"]);
    let disconnects: Vec<_> =
        rig.actions.iter().filter(|(_, action)| *action == Action::Disconnect { epoch }).collect();
    assert_eq!(disconnects.len(), 1);
    let (_, report, retry_at) = rig.downs().remove(0);
    assert_eq!(report.cause, DownCause::Dead(DeathCause::NoReply));
    let evidence = report.evidence.unwrap();
    assert_eq!((evidence.beats_sent, evidence.beats_answered), (4, 0));
    rig.wake(Why::Reconnect);
    assert_eq!(Some(rig.now), retry_at);
    assert_eq!(rig.connects(), [rig.now.as_millis()]);
}

#[test]
fn closing_while_a_beat_is_out_ends_once_and_judges_nobody() {
    let mut rig = Dialer::up(client());
    rig.wake(Why::Beat);
    let closed_at = rig.now.after(3 * SECOND);
    rig.now = closed_at;
    rig.client.close(rig.now);
    rig.turn();
    assert_eq!(rig.client.state(), LinkState::Closing);
    assert_eq!(rig.client.poll_timeout().map(|due| (due.at, due.cause)), Some((closed_at.after(SECOND), Why::Close)));
    // Past the moment at which the reply would have been late.
    rig.now = closed_at.after(999 * MS);
    rig.turn();
    assert_eq!(names(&rig.events), Vec::<&str>::new());
    rig.wake(Why::Close);
    assert_eq!(names(&rig.events), ["closed"]);
    assert_eq!((rig.client.state(), rig.client.poll_timeout(), rig.open), (LinkState::Closed, None, None));
}

#[test]
fn a_beat_that_arrives_while_closing_is_not_answered() {
    let mut rig = Dialer::up(client());
    rig.client.close(rig.now);
    rig.turn();
    let heard = rig.heard();
    assert!(matches!(&heard[..], [(_, Frame::Goodbye(goodbye))] if goodbye.reason == Reason::Closed));
    rig.say(&Frame::Beat { seq: 1 });
    rig.say(&data(1, "too late"));
    rig.say_bytes(b"and no protocol at all");
    assert_eq!(rig.heard(), []);
    rig.cut(Failure::Eof);
    assert_eq!(names(&rig.events), ["closed"]);
    assert_eq!(rig.client.poll_timeout(), None);
}

#[test]
fn beats_that_came_together_get_one_echo() {
    let mut rig = Dialer::up(client());
    let beats: Vec<u8> = (1..=20).flat_map(|seq| encoded(&Frame::Beat { seq })).collect();
    rig.say_bytes(&beats);
    assert_eq!(rig.heard().into_iter().map(|(_, frame)| frame).collect::<Vec<_>>(), [Frame::Echo { seq: 20 }]);
}

#[test]
fn a_flood_of_beats_ends_the_connection_with_a_reason() {
    let burst = |count: u32| -> Vec<u8> { (1..=count).flat_map(|seq| encoded(&Frame::Beat { seq })).collect() };
    // A client and its server: 32 at once, then ten a second.
    let mut rig = Dialer::up(client());
    rig.say_bytes(&burst(32));
    rig.now = rig.now.after(100 * MS);
    rig.say(&Frame::Beat { seq: 33 });
    assert_eq!(rig.client.state(), LinkState::Up { suspect: false });
    rig.heard();
    rig.say(&Frame::Beat { seq: 34 });
    let heard = rig.heard();
    let [(_, Frame::Goodbye(goodbye))] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((goodbye.reason, goodbye.detail.is_empty()), (Reason::Flood, false));
    rig.cut(Failure::Eof);
    assert_eq!(rig.downs()[0].1.cause, DownCause::Flood);

    let mut rig = Acceptor::new(server());
    let (id, _) = rig.welcomed(&hello("d"));
    rig.say_bytes(id, &burst(32));
    assert_eq!(rig.heard(id), [Frame::Echo { seq: 32 }]);
    rig.say(id, &Frame::Beat { seq: 33 });
    assert_eq!(rig.farewell(id).unwrap().reason, Reason::Flood);
    assert!(matches!(&rig.news()[..], [.., ServerEvent::Offline { report, .. }] if report.cause == DownCause::Flood));
    rig.advance(1000);
    assert!(rig.is_closed(id));
}

#[test]
fn a_device_at_the_shortest_interval_is_never_punished_for_noise() {
    let mut rig = Acceptor::new(server().intervals(SECOND, 60 * SECOND));
    let (id, granted) = rig.welcomed(&common::hello_with("d", 1000, 1000));
    assert_eq!(granted.interval_ms, 1000);
    // Twice too early by a tenth for hours, then quick probes as well.
    let (mut now, mut noise) = (0, keepbeat_core::entropy::Prng::new(9));
    for seq in 1..10_000_u32 {
        now += noise.between(900, 1100);
        rig.advance_to(now);
        rig.say(id, &Frame::Beat { seq });
        if seq % 4 == 0 {
            let probes: Vec<u8> = (0..16).flat_map(|_| encoded(&Frame::Beat { seq })).collect();
            rig.say_bytes(id, &probes);
        }
    }
    assert_eq!(rig.saw("offline") + rig.saw("suspect"), 0);
}

#[test]
fn impossible_configurations_are_refused_with_the_values_in_conflict() {
    let zero = std::time::Duration::ZERO;
    for (builder, values) in [
        (liveness().interval(3 * SECOND), ["4s", "3s"]),
        (liveness().interval(zero), ["0ns", "10ms"]),
        (liveness().reply_timeout(zero), ["0ns", "10ms"]),
        (liveness().reply_timeout(300 * MS), ["300ms", "400ms"]),
        (liveness().write_stall(3 * SECOND), ["3s", "4s"]),
        (liveness().stall_limit(7 * SECOND), ["7s", "8s"]),
        (liveness().frame_time(3999 * MS), ["3.999s", "4s"]),
        (liveness().probes(17), ["17", "16"]),
        (liveness().jitter_percent(51), ["51", "50"]),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(values.iter().all(|value| error.contains(value)), "{error}");
    }
    assert!(liveness().interval(4 * SECOND).build().is_ok());
    assert!(LivenessConfig::internet().to_builder().reply_timeout(26 * SECOND).build().is_err());
    for builder in [
        client().connect_timeout(zero),
        client().handshake_timeout(zero),
        client().credentials_timeout(zero),
        client().close_timeout(zero),
    ] {
        assert!(builder.build().unwrap_err().to_string().contains("is zero"));
    }
    let reversed = ServerConfig::<keepbeat_core::wire::beat::Beat>::builder().intervals(2 * SECOND, SECOND).build();
    assert_eq!(reversed.unwrap_err().to_string(), "shortest interval 2s is above the longest 1s; exchange them");
}

#[test]
fn every_step_of_an_attempt_has_a_deadline() {
    let mut rig = Dialer::new(client().connect_timeout(3 * SECOND).handshake_timeout(2 * SECOND));
    rig.answer = Answer::Hang;
    rig.client.open(rig.now);
    rig.turn();
    assert_eq!(rig.due(), (3000, Why::Connect));
    rig.advance_to(2999);
    assert_eq!(rig.saw("down"), 0);
    rig.advance_to(3000);
    assert_eq!(rig.downs()[0].1.cause, DownCause::ConnectTimeout);
    // The socket opens after all: nobody wants it any more.
    rig.client.handle_input(rig.now, Input::Opened { epoch: Epoch(1) });
    assert_eq!((rig.client.stale_inputs(), rig.client.transmit()), (1, &[][..]));

    rig.answer = Answer::Open;
    let open = rig.wake(Why::Reconnect);
    assert_eq!(
        rig.client.poll_timeout().map(|due| (due.at, due.cause)),
        Some((open.after(2 * SECOND), Why::Handshake))
    );
    // Bytes that trickle in do not extend it.
    rig.now = open.after(1999 * MS);
    rig.say_bytes(&encoded(&Frame::Welcome(Box::new(welcome())))[..20]);
    assert_eq!(rig.saw("down"), 1);
    rig.wake(Why::Handshake);
    assert_eq!(rig.now, open.after(2 * SECOND));
    assert_eq!(rig.downs()[1].1.cause, DownCause::HandshakeTimeout);
}

#[test]
fn a_server_says_why_it_takes_a_device_for_dead() {
    let mut rig = Acceptor::new(server());
    let (id, _) = rig.welcomed(&hello("d"));
    rig.advance_to(14_000);
    assert_eq!(rig.heard(id), [Frame::Beat { seq: 1 }]);
    rig.advance_to(17_999);
    assert_eq!((rig.saw("suspect"), rig.saw("offline")), (1, 0));
    rig.heard(id);
    rig.advance_to(18_000);
    assert_eq!(rig.saw("offline"), 1, "the device is offline at once");
    assert!(!rig.server.is_connected(&common::device("d")));
    let Some(Goodbye { reason, detail, .. }) = rig.farewell(id) else { panic!("without a word") };
    assert_eq!((reason, detail.is_empty()), (Reason::Silent, false));
    rig.advance_to(19_000);
    assert!(rig.is_closed(id));
    assert_eq!(rig.saw("offline"), 1);
}
