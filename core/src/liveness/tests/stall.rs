//! We ourselves were late: nobody is judged by the time we were away.

use super::*;

const NS: Duration = Duration::from_nanos(1);

#[test]
fn half_a_reply_timeout_late_is_on_time_and_a_moment_more_is_a_stall() {
    let mut rig = Rig::client(base());
    assert_eq!(rig.wake(ms(600)), [beat(2), suspect(400)]);
    assert_eq!(rig.liveness.evidence(ms(600)).local_stalls, 0);

    let mut rig = Rig::client(base());
    let woken = ms(600).after(NS);
    assert_eq!(rig.wake(woken), [beat(2)]);
    assert_eq!(rig.liveness.evidence(woken).local_stalls, 1);
    assert_eq!(rig.due(), (woken.after(400 * MS), Why::Reply));
}

#[test]
fn the_last_chance_ends_on_time_also_for_a_driver_that_is_a_little_late() {
    let mut rig = Rig::client(base());
    rig.wake(ms(600));
    rig.wake(ms(650));
    rig.wake(ms(700));
    rig.dies_at(800, DeathCause::NoReply);
}

#[test]
fn the_last_chance_of_a_device_ends_on_time_too() {
    let mut rig = Rig::server(base());
    assert_eq!(rig.due(), (ms(1400), Why::Reply));
    assert_eq!(rig.wake(ms(1600)), [beat(1), suspect(1400)]);
    rig.wake(ms(1650));
    rig.wake(ms(1700));
    rig.dies_at(1800, DeathCause::Silent);
}

#[test]
fn a_few_milliseconds_late_are_no_stall_however_short_the_reply_timeout() {
    for (late, stalls) in [(10 * MS, 0), (10 * MS + NS, 1)] {
        let short = base().interval(100 * MS).reply_timeout(10 * MS).initial_rtt(MS);
        let mut rig = Rig::client(short);
        rig.liveness.received(ms(5));
        let woken = rig.due().0.after(late);
        assert_eq!(rig.wake(woken), [beat(2)]);
        assert_eq!(rig.liveness.evidence(woken).local_stalls, stalls, "{late:?}");
    }
}

#[test]
fn after_a_suspend_one_probe_decides() {
    let mut rig = Rig::client(base());
    let woken = 7_200_000;
    assert_eq!(rig.wake(ms(woken)), [beat(2)], "one beat, no burst, no verdict");
    assert_eq!(rig.due(), (ms(woken + 400), Why::Reply));
    let evidence = rig.dies_at(woken + 400, DeathCause::NoReply);
    assert_eq!((evidence.beats_sent, evidence.local_stalls, evidence.silent_for), (2, 1, (7_200_400) * MS));
}

#[test]
fn a_suspend_while_no_beat_was_out_is_the_same() {
    let mut rig = Rig::client(base());
    rig.liveness.received(ms(10));
    assert_eq!(rig.wake(ms(7_200_000)), [beat(2)]);
    rig.dies_at(7_200_400, DeathCause::NoReply);
}

#[test]
fn a_server_gives_a_device_one_probe_after_its_own_suspend() {
    let mut rig = Rig::server(base());
    assert_eq!(rig.wake(ms(60_000)), [beat(1)]);
    assert_eq!(rig.due(), (ms(60_400), Why::Reply));
    let mut answered = Rig::server(base());
    answered.wake(ms(60_000));
    answered.liveness.received(ms(60_399));
    assert_eq!(answered.due(), (ms(60_399 + 1400), Why::Reply), "back to judging by silence");
    rig.dies_at(60_400, DeathCause::Silent);
}

#[test]
fn one_byte_ends_the_probation_and_brings_the_quick_probes_back() {
    let mut rig = Rig::client(base());
    rig.wake(ms(10_000));
    rig.liveness.received(ms(10_050));
    assert_eq!(rig.wake(ms(10_050)), []);
    assert_eq!(rig.wait_for(11_000, Why::Beat), [beat(3)]);
    assert_eq!(rig.wait_for(11_400, Why::Reply), [beat(4), suspect(1350)]);
}

#[test]
fn a_suspect_gets_one_more_probe_and_is_not_reported_twice() {
    let mut rig = Rig::client(base());
    rig.wake(ms(400));
    assert_eq!(rig.wake(ms(5000)), [beat(3)]);
    assert!(rig.liveness.is_suspect());
    assert_eq!(rig.due(), (ms(5400), Why::Verdict));
    let mut saved = Rig::client(base());
    saved.wake(ms(400));
    saved.wake(ms(5000));
    saved.liveness.received(ms(5399));
    assert_eq!(saved.wake(ms(5399)), [Recovered]);
    rig.dies_at(5400, DeathCause::NoReply);
}

#[test]
fn the_probe_after_a_stall_has_its_own_time_to_leave() {
    let mut rig = Rig::client(base());
    rig.writes = false;
    assert_eq!(rig.wake(ms(10_000)), [beat(2)]);
    assert_eq!(rig.due(), (ms(10_800), Why::WriteStall));
    rig.liveness.beat_written(ms(10_300));
    rig.dies_at(10_700, DeathCause::NoReply);
}

#[test]
fn the_probe_of_a_server_that_was_away_has_the_write_stall_to_leave() {
    let mut rig = Rig::server(base());
    rig.writes = false;
    rig.liveness.write_pending(ms(100));
    assert_eq!(rig.wake(ms(50_000)), [beat(1)]);
    rig.dies_at(50_800, DeathCause::WriteStalled);
}

#[test]
fn the_limits_for_writes_frames_and_reading_do_not_count_our_absence() {
    let mut rig = Rig::client(base());
    rig.liveness.write_pending(ms(100));
    rig.liveness.frame_unfinished(ms(100), true);
    rig.liveness.received(ms(100));
    assert_eq!(rig.wake(ms(50_000)), [beat(2)]);
    rig.liveness.received(ms(50_100));
    assert_eq!(rig.due(), (ms(50_900), Why::WriteStall));
    rig.liveness.write_progressed(ms(50_200), true);
    // From 50,000 on, 5000 for the frame: beats are answered meanwhile.
    for now in [51_000, 52_000, 53_000, 54_000] {
        rig.wake(ms(now));
        rig.liveness.received(ms(now + 10));
    }
    assert_eq!(rig.due(), (ms(55_000), Why::Beat));
    rig.wake(before(55_000));
    assert!(matches!(&rig.wake(ms(55_000))[..], [DeclareDead(report)] if report.cause == DeathCause::FrameTooSlow));

    let mut rig = Rig::server(base());
    rig.liveness.pause_reading(ms(100));
    assert_eq!(rig.wake(ms(50_000)), [LivenessAction::ShowLife]);
    for now in (50_100..53_000).step_by(100) {
        assert_eq!(rig.wait_for(now, Why::Beat), [LivenessAction::ShowLife]);
    }
    assert_eq!(rig.due().0, ms(53_000));
    assert!(matches!(rig.wake(ms(53_000)).last(), Some(DeclareDead(report)) if report.cause == DeathCause::ReadPaused));
}

#[test]
fn a_driver_that_always_wakes_a_little_late_still_detects() {
    let mut rig = Rig::client(base());
    let died = loop {
        let now = rig.due().0.after(200 * MS);
        assert!(now <= ms(400 + 400 + 200), "{now:?}");
        if let Some(DeclareDead(report)) = rig.wake(now).pop() {
            break report;
        }
    };
    assert_eq!((died.cause, died.evidence.local_stalls), (DeathCause::NoReply, 0));
}

#[test]
fn a_peer_that_is_silent_over_many_stalls_of_our_own_is_judged_in_the_end() {
    let mut rig = Rig::client(base());
    let mut wakes = 0;
    let died = loop {
        wakes += 1;
        let now = rig.due().0.after(1000 * MS);
        if let Some(DeclareDead(report)) = rig.wake(now).pop() {
            break report;
        }
        assert!(wakes < 10, "still not judged");
    };
    assert_eq!((died.cause, died.evidence.local_stalls), (DeathCause::NoReply, 3));
}

#[test]
fn late_ticks_send_one_beat_each() {
    let mut rig = Rig::client(base());
    let mut now = Timestamp::ZERO;
    for seq in 2..50 {
        now = now.after(7300 * MS);
        rig.liveness.received(now);
        assert_eq!(rig.wake(now), [beat(seq)]);
    }
    assert_eq!(rig.liveness.evidence(now).local_stalls, 48);
}
