//! The verdict engine, rule by rule. Times in milliseconds; every boundary from both sides.

mod answers;
mod limits;
mod property;
mod report;
mod stall;

use alloc::sync::Arc;
use core::time::Duration;
use std::vec::Vec;

use super::{DeathCause, Evidence, Judgement, Liveness, LivenessAction, LivenessConfig, LivenessConfigBuilder, Proof};
use crate::time::DeadlineCause as Why;
use crate::time::{DeadlineCause, Timestamp};

use LivenessAction::{DeclareDead, Measured, Recovered, SendBeat};

const MS: Duration = Duration::from_millis(1);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// The last moment before `millis`.
fn before(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000 - 1)
}

fn suspect(silent_ms: u32) -> LivenessAction {
    LivenessAction::Suspect { silent_for: silent_ms * MS }
}

fn beat(seq: u32) -> LivenessAction {
    SendBeat { seq }
}

/// Beat every 1000, reply within 400, first probes 50 apart, write stall 800, stall limit 3000, frame time 5000.
fn base() -> LivenessConfigBuilder {
    LivenessConfig::builder()
        .interval(1000 * MS)
        .reply_timeout(400 * MS)
        .jitter_percent(0)
        .initial_rtt(50 * MS)
        .write_stall(800 * MS)
        .stall_limit(3000 * MS)
        .frame_time(5000 * MS)
}

struct Rig {
    liveness: Liveness,
    /// Whether beats leave as soon as they are asked for.
    writes: bool,
}

impl Rig {
    fn new(builder: LivenessConfigBuilder, judgement: Judgement) -> Self {
        let config = Arc::new(builder.build().unwrap());
        Self { liveness: Liveness::new(config, judgement, Timestamp::ZERO, 7), writes: true }
    }

    /// A client whose first beat leaves at 0, so that the others leave at 1000, 2000 and so on.
    fn client(builder: LivenessConfigBuilder) -> Self {
        let mut rig = Self::new(builder, Judgement::RoundTrip);
        rig.liveness.probe_now(Timestamp::ZERO);
        assert_eq!(rig.wake(Timestamp::ZERO), [beat(1)]);
        rig
    }

    fn server(builder: LivenessConfigBuilder) -> Self {
        Self::new(builder, Judgement::OneWay)
    }

    /// One turn at `now` without input.
    fn wake(&mut self, now: Timestamp) -> Vec<LivenessAction> {
        self.liveness.handle_timeout(now);
        let actions = self.drain(now);
        let due = self.liveness.poll_timeout();
        assert!(due.is_none_or(|due| due.at > now), "{due:?} is due at {now:?}, after the turn");
        self.liveness.handle_timeout(now);
        assert_eq!(self.liveness.poll_action(), None, "a repeated call did something");
        actions
    }

    fn drain(&mut self, now: Timestamp) -> Vec<LivenessAction> {
        let mut actions = Vec::new();
        while let Some(action) = self.liveness.poll_action() {
            if matches!(action, SendBeat { .. }) && self.writes {
                self.liveness.beat_written(now);
            }
            actions.push(action);
        }
        actions
    }

    /// Nothing happens before `millis`; then what is due happens, for that reason.
    #[track_caller]
    fn wait_for(&mut self, millis: u64, cause: DeadlineCause) -> Vec<LivenessAction> {
        assert_eq!(self.due(), (ms(millis), cause));
        assert_eq!(self.wake(before(millis)), []);
        self.wake(ms(millis))
    }

    #[track_caller]
    fn due(&self) -> (Timestamp, DeadlineCause) {
        let due = self.liveness.poll_timeout().expect("a deadline");
        (due.at, due.cause)
    }

    /// The verdict comes at `millis`, not before, and is final.
    #[track_caller]
    fn dies_at(&mut self, millis: u64, cause: DeathCause) -> Evidence {
        assert_eq!(self.wake(before(millis)), []);
        let actions = self.wake(ms(millis));
        let [DeclareDead(report)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(report.cause, cause);
        self.liveness.received(ms(millis + 1));
        self.liveness.echo_received(ms(millis + 1), 1);
        self.liveness.probe_now(ms(millis + 1));
        assert_eq!(self.liveness.poll_timeout(), None);
        assert_eq!(self.wake(ms(millis + 10_000)), []);
        assert!(!self.liveness.is_suspect());
        report.evidence.clone()
    }
}

#[test]
fn the_first_beat_comes_in_the_second_half_of_the_interval() {
    let config = Arc::new(base().jitter_percent(10).build().unwrap());
    let first_from = |start, seed| {
        let due = Liveness::new(config.clone(), Judgement::RoundTrip, start, seed).poll_timeout().unwrap();
        assert_eq!(due.cause, Why::Beat);
        due.at
    };
    let first = |seed| first_from(ms(5000), seed);
    let firsts: Vec<Timestamp> = (0..2000).map(first).collect();
    let (earliest, latest) = (*firsts.iter().min().unwrap(), *firsts.iter().max().unwrap());
    assert!(earliest >= ms(5500) && earliest < ms(5505), "{earliest:?}");
    // Down to a tick of 10 ms.
    assert!(latest <= ms(6000) && latest >= ms(5990), "{latest:?}");
    // Not below half of it either if that is between two ticks.
    for seed in 0..2000 {
        assert!(first_from(ms(5007), seed) >= ms(5507));
    }
}

/// The links of a process wake it together, and not each for itself.
#[test]
fn beats_of_many_links_share_ticks_of_a_hundredth_of_the_interval() {
    let config = Arc::new(base().jitter_percent(10).build().unwrap());
    let mut moments = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let began = Timestamp::from_nanos(7_000_000_000 + 1_234_567 * seed);
        let mut link = Liveness::new(config.clone(), Judgement::RoundTrip, began, seed);
        for _ in 0..3 {
            let at = link.poll_timeout().unwrap().at;
            link.received(at);
            link.handle_timeout(at);
            while link.poll_action().is_some() {}
            link.beat_written(at);
            link.echo_received(at, link.beats_sent());
            moments.insert(at.as_nanos());
        }
    }
    let on_ticks = moments.iter().filter(|nanos| *nanos % 10_000_000 == 0).count();
    assert!(on_ticks >= 150 && moments.len() - on_ticks <= 150, "{on_ticks} of {}", moments.len());
}

#[test]
fn beats_vary_by_their_jitter_and_no_more() {
    for (percent, low, high) in [(0, 1000, 1000), (10, 900, 1000), (50, 500, 1000)] {
        let mut rig = Rig::client(base().jitter_percent(percent));
        let (mut last, mut gaps) = (Timestamp::ZERO, Vec::new());
        for seq in 2..2000 {
            rig.liveness.received(last);
            let (at, cause) = rig.due();
            assert_eq!((rig.wake(at), cause), (std::vec![beat(seq)], Why::Beat));
            gaps.push(at.since(last));
            last = at;
        }
        let (shortest, longest) = (*gaps.iter().min().unwrap(), *gaps.iter().max().unwrap());
        assert!(shortest >= low * MS && shortest <= (low + 10) * MS, "{shortest:?} at {percent} %");
        // Down to a tick of 10 ms, where there is jitter.
        assert!(longest <= high * MS && longest + 10 * MS >= high * MS, "{longest:?} at {percent} %");
    }
}

#[test]
fn links_that_beat_together_drift_apart() {
    let config = Arc::new(base().jitter_percent(10).build().unwrap());
    let second_beat = |seed| {
        let mut link = Liveness::new(config.clone(), Judgement::RoundTrip, Timestamp::ZERO, seed);
        link.probe_now(ms(1));
        link.beat_written(ms(1));
        link.received(ms(2));
        link.poll_timeout().unwrap().at
    };
    let moments: std::collections::BTreeSet<Timestamp> = (0..200).map(second_beat).collect();
    assert!(moments.len() >= 9, "the jitter of 100 ms has ticks of 10 ms: {moments:?}");
}

#[test]
fn what_arrives_does_not_delay_our_beats() {
    let mut rig = Rig::client(base());
    for now in (50..1000).step_by(50) {
        rig.liveness.received(ms(now));
        assert_eq!(rig.wake(ms(now)), []);
    }
    assert_eq!(rig.wait_for(1000, Why::Beat), [beat(2)]);
}

#[test]
fn the_reply_is_due_from_the_moment_the_beat_left() {
    let mut rig = Rig::new(base(), Judgement::RoundTrip);
    rig.writes = false;
    rig.liveness.probe_now(Timestamp::ZERO);
    assert_eq!(rig.wake(Timestamp::ZERO), [beat(1)]);
    assert_eq!(rig.due(), (ms(800), Why::WriteStall), "no reply is awaited yet, but it has to leave");
    rig.liveness.beat_written(ms(300));
    assert_eq!(rig.due(), (ms(700), Why::Reply));
    rig.liveness.beat_written(ms(350));
    assert_eq!(rig.due(), (ms(700), Why::Reply), "it left only once");
}

#[test]
fn at_most_one_beat_waits_to_leave() {
    let mut rig = Rig::new(base(), Judgement::RoundTrip);
    rig.writes = false;
    rig.liveness.probe_now(Timestamp::ZERO);
    assert_eq!(rig.wake(Timestamp::ZERO), [beat(1)]);
    for now in [1000, 2000, 3000] {
        rig.liveness.received(ms(now - 500));
        assert_eq!(rig.wait_for(now, Why::Beat), []);
    }
    assert_eq!(rig.liveness.beats_sent(), 0);
    rig.liveness.beat_written(ms(3100));
    assert_eq!((rig.liveness.beats_sent(), rig.due()), (1, (ms(3500), Why::Reply)));
}

#[test]
fn a_beat_that_left_late_shortens_the_last_chance() {
    // Asked for at 0: the verdict without any delay comes at 800, and each delay still leaves one reply timeout.
    for (left, verdict) in [(0, 800), (300, 800), (400, 800), (500, 900), (799, 1199)] {
        let mut rig = Rig::new(base(), Judgement::RoundTrip);
        rig.writes = false;
        rig.liveness.probe_now(Timestamp::ZERO);
        rig.wake(Timestamp::ZERO);
        rig.liveness.beat_written(ms(left));
        rig.writes = true;
        let died = loop {
            let (at, _) = rig.due();
            if matches!(rig.wake(at).last(), Some(DeclareDead(_))) {
                break at;
            }
        };
        assert_eq!(died, ms(verdict), "left at {left}");
    }
}

#[test]
fn a_suspicion_says_how_long_nothing_was_heard() {
    // The beat left 300 late, so its reply is late at 700.
    let mut rig = Rig::new(base(), Judgement::RoundTrip);
    rig.writes = false;
    rig.liveness.probe_now(Timestamp::ZERO);
    rig.wake(Timestamp::ZERO);
    rig.liveness.beat_written(ms(300));
    assert_eq!(rig.wait_for(700, Why::Reply), [beat(2), suspect(700)]);
}

#[test]
fn what_was_heard_while_the_beat_waited_to_leave_counts_for_the_last_chance() {
    let mut rig = Rig::new(base(), Judgement::RoundTrip);
    rig.writes = false;
    rig.liveness.probe_now(Timestamp::ZERO);
    rig.wake(Timestamp::ZERO);
    rig.liveness.received(ms(300));
    rig.liveness.beat_written(ms(500));
    rig.writes = true;
    assert_eq!(rig.wait_for(900, Why::Reply), [beat(2), suspect(600)]);
    for probe in [950, 1000] {
        rig.wake(ms(probe));
    }
    rig.dies_at(1100, DeathCause::NoReply);
}

#[test]
fn a_beat_behind_bytes_that_trickle_out_has_to_leave_in_time() {
    let mut rig = Rig::new(base(), Judgement::RoundTrip);
    rig.writes = false;
    rig.liveness.probe_now(Timestamp::ZERO);
    rig.wake(Timestamp::ZERO);
    rig.liveness.write_pending(Timestamp::ZERO);
    for now in (100..800).step_by(100) {
        rig.liveness.write_progressed(ms(now), false);
        assert_eq!(rig.wake(ms(now)), []);
    }
    // Whoever is heard is only slow.
    rig.liveness.received(ms(750));
    assert_eq!(rig.wait_for(1000, Why::Beat), []);
    rig.liveness.write_progressed(ms(1500), false);
    rig.dies_at(1550, DeathCause::WriteStalled);
}

#[test]
fn a_late_reply_makes_a_suspect_then_quick_probes_then_the_verdict() {
    let mut rig = Rig::client(base());
    assert_eq!(rig.wait_for(400, Why::Reply), [beat(2), suspect(400)]);
    assert!(rig.liveness.is_suspect());
    assert_eq!(rig.wait_for(450, Why::Probe), [beat(3)]);
    assert_eq!(rig.wait_for(500, Why::Probe), [beat(4)]);
    assert_eq!(rig.due(), (ms(800), Why::Verdict));
    let evidence = rig.dies_at(800, DeathCause::NoReply);
    let expected = Evidence {
        silent_for: 800 * MS,
        last_received: Timestamp::ZERO,
        stalled_for: None,
        beats_sent: 4,
        beats_answered: 0,
        rtt: None,
        local_stalls: 0,
    };
    assert_eq!(evidence, expected);
}

#[test]
fn without_probes_the_first_late_reply_is_the_verdict() {
    let mut rig = Rig::client(base().probes(0));
    assert_eq!(rig.due(), (ms(400), Why::Reply));
    rig.dies_at(400, DeathCause::NoReply);
}

#[test]
fn one_probe_is_a_last_chance_too() {
    let mut rig = Rig::client(base().probes(1));
    assert_eq!(rig.wait_for(400, Why::Reply), [beat(2), suspect(400)]);
    assert_eq!(rig.due(), (ms(800), Why::Verdict));
    rig.dies_at(800, DeathCause::NoReply);
}

#[test]
fn probes_are_spaced_by_the_round_trip_and_fit_into_the_last_chance() {
    // The widest spacing of three probes is 400 / 3, the narrowest a quarter of that.
    for (rtt, spacing) in [(1, 33), (25, 75), (40, 120), (120, 133)] {
        let mut rig = Rig::client(base());
        rig.liveness.received(ms(rtt));
        rig.liveness.echo_received(ms(rtt), 1);
        assert_eq!(rig.wake(ms(rtt)), [Measured]);
        assert_eq!(rig.wait_for(1000, Why::Beat), [beat(2)]);
        assert_eq!(rig.wait_for(1400, Why::Reply).len(), 2);
        let (second, cause) = rig.due();
        assert_eq!((second.as_millis() - 1400, cause), (spacing, Why::Probe), "round trip {rtt}");
        rig.wake(second);
        let (third, _) = rig.due();
        assert_eq!(third.since(second), second.since(ms(1400)));
        rig.wake(third);
        assert_eq!(rig.due(), (ms(1800), Why::Verdict));
    }
}

#[test]
fn sixteen_probes_fit_too() {
    let mut rig = Rig::client(base().probes(16));
    assert_eq!(rig.wait_for(400, Why::Reply).len(), 2);
    for _ in 1..16 {
        let (at, cause) = rig.due();
        assert_eq!((cause, rig.wake(at).len()), (Why::Probe, 1));
    }
    rig.dies_at(800, DeathCause::NoReply);
}

#[test]
fn one_byte_acquits_a_suspect_and_the_cadence_begins_anew() {
    for now in [401, 799, 800] {
        let mut rig = Rig::client(base());
        rig.wake(ms(400));
        for probe in [450, 500] {
            if probe < now {
                rig.wake(ms(probe));
            }
        }
        rig.liveness.received(ms(now));
        assert_eq!(rig.wake(ms(now)), [Recovered], "input comes before the verdict, also at {now}");
        assert!(!rig.liveness.is_suspect());
        assert_eq!(rig.wait_for(now + 1000, Why::Beat).len(), 1);
        assert_eq!(rig.wait_for(now + 1400, Why::Reply).last(), Some(&suspect(1400)));
    }
}

#[test]
fn a_server_judges_by_silence_and_beats_only_to_probe() {
    let mut rig = Rig::server(base().jitter_percent(10));
    assert_eq!(rig.due(), (ms(1400), Why::Reply));
    rig.liveness.received(ms(700));
    assert_eq!(rig.wait_for(2100, Why::Reply), [beat(1), suspect(1400)]);
    assert_eq!(rig.wait_for(2150, Why::Probe), [beat(2)]);
    rig.liveness.received(ms(2160));
    assert_eq!(rig.wake(ms(2160)), [Recovered]);
    assert_eq!(rig.wait_for(3560, Why::Reply), [beat(3), suspect(1400)]);
    rig.wake(ms(3610));
    rig.wake(ms(3660));
    let evidence = rig.dies_at(3960, DeathCause::Silent);
    assert_eq!((evidence.silent_for, evidence.last_received), (1800 * MS, ms(2160)));
}

#[test]
fn a_hint_sends_one_beat_at_once_unless_one_is_out() {
    let mut rig = Rig::client(base());
    rig.liveness.probe_now(ms(100));
    assert_eq!(rig.wake(ms(100)), [], "one awaits its answer");
    rig.liveness.received(ms(150));
    rig.liveness.probe_now(ms(200));
    assert_eq!(rig.wake(ms(200)), [beat(2)]);
    assert_eq!(rig.wait_for(600, Why::Reply).len(), 2);
    rig.liveness.probe_now(ms(610));
    assert_eq!(rig.wake(ms(610)), [], "a suspect is being probed");
    rig.writes = false;
    rig.liveness.received(ms(640));
    assert_eq!(rig.wake(ms(640)), [Recovered]);
    rig.liveness.probe_now(ms(650));
    assert_eq!(rig.wake(ms(650)), [beat(4)]);
    rig.liveness.probe_now(ms(660));
    assert_eq!(rig.wake(ms(660)), [], "one waits to leave");
}

#[test]
fn granted_terms_take_the_place_of_the_configured_ones() {
    let config = Arc::new(base().build().unwrap());
    let terms =
        |interval, reply| Liveness::with_terms(config.clone(), Judgement::OneWay, interval, reply, Timestamp::ZERO, 1);
    let granted = terms(2000 * MS, 600 * MS);
    assert_eq!((granted.interval(), granted.reply_timeout()), (2000 * MS, 600 * MS));
    assert_eq!(granted.poll_timeout().unwrap().at, ms(2600));
    assert_eq!(granted.worst_case_detection(), (2000 + 800 + 600) * MS);
    assert_eq!(terms(2000 * MS, 1500 * MS).worst_case_detection(), (2000 + 1500 + 1500) * MS);
    for (interval, reply, got_interval, got_reply) in [
        (Duration::ZERO, Duration::ZERO, 10 * MS, 10 * MS),
        (1000 * MS, 1001 * MS, 1000 * MS, 1000 * MS),
        (Duration::from_micros(11_001), Duration::from_micros(10_001), 12 * MS, 11 * MS),
        (Duration::MAX, Duration::MAX, u32::MAX * MS, u32::MAX * MS),
    ] {
        let granted = terms(interval, reply);
        assert_eq!((granted.interval(), granted.reply_timeout()), (got_interval, got_reply));
    }
}

#[test]
fn a_clock_that_steps_back_changes_nothing() {
    let mut rig = Rig::client(base());
    rig.liveness.received(ms(900));
    rig.liveness.received(ms(100));
    assert_eq!(rig.liveness.last_received(), ms(900));
    assert_eq!(rig.wake(ms(1000)), [beat(2)]);
    assert_eq!(rig.wake(ms(3)), []);
    assert_eq!(rig.wait_for(1400, Why::Reply), [beat(3), suspect(500)]);
}

#[test]
fn what_would_be_due_after_the_end_of_time_is_never_due() {
    for judgement in [Judgement::RoundTrip, Judgement::OneWay] {
        let config = Arc::new(base().build().unwrap());
        let mut link = Liveness::new(config, judgement, Timestamp::MAX, 7);
        assert_eq!(link.poll_timeout(), None);
        link.handle_timeout(Timestamp::MAX);
        assert_eq!(link.poll_action(), None);
    }
}
