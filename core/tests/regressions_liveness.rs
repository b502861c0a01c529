//! The verdict about a peer: not too late for one that is silent in an unusual way, and never for one that is well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Acceptor, Dialer, Link, MS, SECOND, device, hello_with, liveness, message};
use keepbeat_core::client::{ClientConfig, ClientConfigBuilder, LinkState};
use keepbeat_core::liveness::{Judgement, Liveness, LivenessAction, LivenessConfig};
use keepbeat_core::reconnect::Hint;
use keepbeat_core::server::ServerConfig;
use keepbeat_core::session::QueueLimits;
use keepbeat_core::time::{DeadlineCause, Timestamp};
use keepbeat_core::wire::Frame;
use keepbeat_core::wire::beat::Beat;

/// A client that beats every 20 s give or take this much, and wants an answer within a second.
fn jittery(percent: u8) -> ClientConfigBuilder<Beat> {
    let config = LivenessConfig::builder().interval(20 * SECOND).reply_timeout(SECOND).jitter_percent(percent);
    ClientConfig::builder(device("d")).liveness(config.build().unwrap())
}

fn judge(config: LivenessConfig, judgement: Judgement) -> Liveness {
    Liveness::new(Arc::new(config), judgement, Timestamp::ZERO, 1)
}

/// Whether the peer is declared dead by now.
fn is_dead(judge: &mut Liveness) -> bool {
    std::iter::from_fn(|| judge.poll_action()).any(|action| matches!(action, LivenessAction::DeclareDead(_)))
}

/// A device may ask for any reply timeout. With one of 0, a driver that is always a millisecond late must still come to a
/// verdict, rather than begin to probe again at every wake-up.
#[test]
fn tiny_reply_timeouts_of_a_device_do_not_make_it_immortal() {
    for reply_timeout_ms in [0, 1, 2] {
        let mut rig = Acceptor::new(ServerConfig::builder());
        rig.welcomed(&hello_with("d", 1000, reply_timeout_ms));
        let welcomed_at = rig.now;
        let mut wakes = 0;
        while rig.server.is_connected(&device("d")) {
            let due = rig.server.poll_timeout().expect("a device that is connected is watched");
            rig.now = due.at.after(MS);
            rig.turn();
            wakes += 1;
            let silent_for = rig.now.since(welcomed_at);
            assert!(silent_for < 60 * SECOND, "alive after {silent_for:?} of silence and {wakes} wakes");
        }
    }
}

/// The inbox of the server is full, so it does not read; that says nothing against its health.
#[test]
fn a_server_whose_application_is_slow_lives_until_the_stall_limit() {
    let server = ServerConfig::builder().inbox(QueueLimits::new(1, 1000).unwrap());
    let mut link: Link = Link::up(ClientConfig::builder(device("d")), server);
    link.server_takes = false;
    link.client.send(link.now, message("fills the inbox")).unwrap();
    link.turn();
    link.advance(55_000);
    assert_eq!(link.saw("down"), 0, "{:#?}", link.downs());
}

/// Its beats are heard although what is written to it does not get through: that is a stall and not a death.
#[test]
fn a_client_that_beats_but_does_not_read_lives_until_the_stall_limit() {
    let config = LivenessConfig::internet();
    let mut judge = judge(config, Judgement::OneWay);
    judge.write_pending(Timestamp::ZERO);
    for tenths in 0..600 {
        let now = Timestamp::ZERO.after(tenths * 100 * MS);
        if tenths > 0 && tenths % 250 == 0 {
            judge.received(now);
        }
        judge.handle_timeout(now);
        assert!(!is_dead(&mut judge), "dead after {:?} although it beats on time", now.since(Timestamp::ZERO));
    }
}

/// The jitter is not part of the terms that client and server agree on, so the server must not rely on its own.
#[test]
fn a_client_with_more_jitter_than_its_server_is_not_declared_dead() {
    let strict = LivenessConfig::builder().jitter_percent(0).probes(0).build().unwrap();
    let mut link = Link::up(jittery(10), ServerConfig::builder().liveness(strict));
    link.advance(600_000);
    assert_eq!((link.saw("down"), link.server_saw("offline")), (0, 0), "{:#?}", link.server_events);
}

#[test]
fn a_client_with_much_jitter_is_not_suspected() {
    let mut link = Link::up(jittery(50), ServerConfig::builder());
    link.advance(3_600_000);
    assert_eq!(link.server_saw("suspect"), 0);
    assert_eq!(link.saw("down"), 0);
}

/// Every beat leaves just before the write stall would be noticed, and none is answered.
#[test]
fn slow_writes_and_silence_together_stay_within_the_promised_bound() {
    let config = LivenessConfig::internet();
    let (bound, nearly_stalled) = (config.worst_case_detection(), 19 * SECOND);
    let mut judge = judge(config, Judgement::RoundTrip);
    let mut leaves_at: Option<Timestamp> = None;
    loop {
        let due = judge.poll_timeout().expect("a peer not yet dead is watched").at;
        let now = leaves_at.map_or(due, |leaves_at| leaves_at.min(due));
        let silent_for = now.since(Timestamp::ZERO);
        assert!(silent_for <= bound, "alive after {silent_for:?} of silence, promised {bound:?}");
        if leaves_at == Some(now) {
            judge.write_progressed(now, true);
            judge.beat_written(now);
            leaves_at = None;
        }
        judge.handle_timeout(now);
        while let Some(action) = judge.poll_action() {
            match action {
                LivenessAction::SendBeat { .. } => {
                    judge.write_pending(now);
                    leaves_at = Some(now.after(nearly_stalled));
                }
                LivenessAction::DeclareDead(_) => return,
                _ => {}
            }
        }
    }
}

/// The server is gone, but some box on the way accepts a byte every now and then: progress, but no sign of life.
#[test]
fn a_silent_peer_that_takes_a_byte_now_and_then_dies() {
    let config = liveness().build().unwrap();
    let bound = config.worst_case_detection();
    let mut rig = Dialer::up(ClientConfig::builder(device("d")).liveness(config));
    let silent_since = rig.now;
    rig.room = 0;
    rig.client.send(rig.now, vec![0; 100_000].into()).unwrap();
    while rig.saw("down") == 0 {
        rig.room += 1;
        rig.advance(5000);
        let silent_for = rig.now.since(silent_since);
        assert!(silent_for <= bound + Duration::from_secs(5), "alive after {silent_for:?}, promised {bound:?}");
    }
}

/// A driver may learn late that a write is complete: the answer to it can be read before.
#[test]
fn an_answer_counts_although_the_write_is_reported_after_it() {
    let config = LivenessConfig::builder().probes(0).build().unwrap();
    let mut judge = judge(config, Judgement::RoundTrip);
    let now = judge.poll_timeout().unwrap().at;
    judge.handle_timeout(now);
    let Some(LivenessAction::SendBeat { seq }) = judge.poll_action() else { panic!("the first beat is due") };
    judge.received(now);
    judge.echo_received(now, seq);
    judge.beat_written(now);
    let due = judge.poll_timeout().unwrap();
    judge.handle_timeout(due.at);
    assert!(!is_dead(&mut judge), "dead at {:?} although every beat was answered", due.at);
}

/// A verdict is due, and so is a hint, but in the same turn there is something to read.
#[test]
fn a_hint_does_not_judge_before_the_input_is_read() {
    for hint in [Hint::NetworkUp, Hint::Foreground] {
        let mut rig = Dialer::up(common::client());
        let verdict_at = loop {
            let due = rig.client.poll_timeout().expect("a peer that is up is watched");
            if due.cause == DeadlineCause::Verdict {
                break due.at;
            }
            rig.wake(due.cause);
        };
        rig.now = verdict_at;
        rig.client.hint(rig.now, hint);
        assert!(matches!(rig.client.state(), LinkState::Up { .. }), "{hint:?}: {:?}", rig.client.state());
        rig.say(&Frame::Ack { seq: 0 });
        assert_eq!(rig.saw("down"), 0, "{hint:?}: {:#?}", rig.downs());
    }
}
