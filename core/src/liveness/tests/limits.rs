//! Bytes that do not move, frames that do not end, and an application that does not read.

use super::*;

/// A client that has bytes waiting since 100, and no beat to send for a long time.
fn stalled() -> Rig {
    let mut rig = Rig::new(base().interval(60_000 * MS), Judgement::RoundTrip);
    rig.liveness.write_pending(ms(100));
    rig
}

#[test]
fn a_device_that_beats_in_time_and_takes_nothing_has_until_the_stall_limit() {
    let mut rig = Rig::server(base());
    rig.liveness.write_pending(ms(100));
    for now in [900, 1900, 2900] {
        assert_eq!(rig.wake(ms(now)), []);
        rig.liveness.received(ms(now));
    }
    rig.dies_at(3100, DeathCause::WriteStalled);
}

#[test]
fn a_server_that_does_not_read_shows_life_in_time() {
    let mut rig = Rig::server(base());
    rig.liveness.pause_reading(ms(50));
    for now in [150, 250, 350, 450] {
        assert_eq!(rig.wait_for(now, Why::Beat), [LivenessAction::ShowLife]);
    }
    rig.liveness.resume_reading(ms(500));
    assert_eq!(rig.due(), (ms(1900), Why::Reply), "no more of that");
}

#[test]
fn bytes_that_do_not_move_while_nothing_is_heard_are_a_write_stall() {
    let mut rig = stalled();
    rig.liveness.write_pending(ms(700));
    assert_eq!(rig.due(), (ms(900), Why::WriteStall), "waiting bytes do not get new time by more bytes");
    let evidence = rig.dies_at(900, DeathCause::WriteStalled);
    assert_eq!((evidence.stalled_for, evidence.silent_for), (Some(800 * MS), 900 * MS));
}

#[test]
fn a_byte_heard_or_written_moves_the_write_stall() {
    let mut rig = stalled();
    rig.liveness.received(ms(500));
    assert_eq!(rig.due(), (ms(1300), Why::WriteStall));
    rig.liveness.write_progressed(ms(600), false);
    assert_eq!(rig.due(), (ms(1400), Why::WriteStall));
    rig.dies_at(1400, DeathCause::WriteStalled);

    let mut rig = stalled();
    rig.liveness.write_progressed(ms(850), true);
    assert_eq!(rig.due().1, Why::Beat, "nothing waits any more");
}

#[test]
fn a_peer_that_is_heard_and_takes_nothing_has_until_the_stall_limit() {
    let mut rig = stalled();
    for now in (300..3100).step_by(300) {
        rig.liveness.received(ms(now));
        assert_eq!(rig.wake(ms(now)), []);
    }
    assert_eq!(rig.due(), (ms(3100), Why::WriteStall));
    rig.liveness.received(before(3100));
    rig.dies_at(3100, DeathCause::WriteStalled);
}

#[test]
fn a_beat_that_cannot_leave_is_no_missing_reply() {
    let mut rig = Rig::new(base(), Judgement::RoundTrip);
    rig.writes = false;
    rig.liveness.probe_now(Timestamp::ZERO);
    rig.wake(Timestamp::ZERO);
    rig.liveness.write_pending(Timestamp::ZERO);
    let evidence = rig.dies_at(800, DeathCause::WriteStalled);
    assert_eq!(evidence.beats_sent, 0);
}

#[test]
fn while_we_do_not_read_only_the_stall_limits_count() {
    let mut rig = stalled();
    rig.liveness.pause_reading(ms(200));
    assert_eq!(rig.due(), (ms(3100), Why::WriteStall));
    rig.liveness.resume_reading(ms(1000));
    assert_eq!(rig.due(), (ms(1800), Why::WriteStall));
    rig.liveness.pause_reading(ms(1000));
    rig.dies_at(3100, DeathCause::WriteStalled);
}

#[test]
fn one_frame_may_take_the_frame_time_however_steadily_it_comes() {
    let mut rig = Rig::server(base());
    rig.liveness.frame_unfinished(ms(100), true);
    for now in (500..5100).step_by(500) {
        rig.liveness.received(ms(now));
        rig.liveness.frame_unfinished(ms(now), false);
        assert_eq!(rig.wake(ms(now)), []);
    }
    assert_eq!(rig.due(), (ms(5100), Why::FrameTime));
    rig.dies_at(5100, DeathCause::FrameTooSlow);
}

#[test]
fn the_next_frame_has_its_own_time() {
    let mut rig = Rig::server(base());
    rig.liveness.frame_unfinished(ms(100), false);
    rig.liveness.received(ms(4500));
    rig.liveness.frame_unfinished(ms(4500), true);
    rig.liveness.received(ms(5500));
    assert_eq!(rig.wake(ms(5500)), []);
    for now in [6500, 7500, 8500, 9400] {
        rig.liveness.received(ms(now));
    }
    assert_eq!(rig.due(), (ms(9500), Why::FrameTime));
    rig.liveness.frame_finished();
    assert_eq!(rig.due(), (ms(10_800), Why::Reply));
    // The one after that begins when its first byte comes.
    rig.liveness.received(ms(10_000));
    rig.liveness.frame_unfinished(ms(10_000), false);
    for now in (11_000..15_000).step_by(1000) {
        rig.liveness.received(ms(now));
    }
    assert_eq!(rig.due(), (ms(15_000), Why::FrameTime));
}

#[test]
fn while_we_do_not_read_silence_says_nothing() {
    let mut rig = Rig::client(base());
    rig.liveness.pause_reading(ms(399));
    rig.liveness.pause_reading(ms(900));
    assert_eq!(rig.wait_for(1000, Why::Beat), [beat(2)], "what we owe the peer goes on");
    assert_eq!(rig.wait_for(2000, Why::Beat), [beat(3)]);
    assert_eq!(rig.wait_for(3000, Why::Beat), [beat(4)]);
    assert_eq!(rig.due(), (ms(3399), Why::ReadPause));
    rig.dies_at(3399, DeathCause::ReadPaused);
}

#[test]
fn the_peers_time_starts_anew_when_reading_goes_on() {
    let mut rig = Rig::client(base());
    rig.liveness.pause_reading(ms(399));
    rig.liveness.frame_unfinished(ms(399), true);
    rig.wake(ms(1000));
    rig.liveness.resume_reading(ms(1700));
    assert_eq!(rig.due(), (ms(2000), Why::Beat));
    rig.wake(ms(2000));
    assert_eq!(rig.wait_for(2100, Why::Reply), [beat(4), suspect(2100)]);
    rig.liveness.received(ms(2101));
    for now in [2101, 3101, 4101, 5101, 6101] {
        rig.wake(ms(now));
        rig.liveness.received(ms(now));
    }
    assert_eq!(rig.due(), (ms(6700), Why::FrameTime));

    let mut rig = Rig::server(base());
    rig.liveness.pause_reading(ms(100));
    rig.liveness.resume_reading(ms(2000));
    assert_eq!(rig.due(), (ms(2000 + 1400), Why::Reply));
    rig.liveness.resume_reading(ms(3000));
    assert_eq!(rig.due(), (ms(2000 + 1400), Why::Reply), "it was not paused");
}

#[test]
fn a_device_whose_server_was_away_while_it_did_not_read_is_still_judged() {
    let mut rig = Rig::server(base().probes(1));
    rig.liveness.pause_reading(ms(100));
    assert_eq!(rig.wake(ms(1000)), [LivenessAction::ShowLife], "much too late for 200");
    rig.liveness.resume_reading(ms(1050));
    assert_eq!(rig.due(), (ms(1050 + 1400), Why::Reply));
    assert_eq!(rig.wait_for(2450, Why::Reply), [beat(1), suspect(2450)]);
    rig.dies_at(2850, DeathCause::Silent);
}

#[test]
fn a_suspect_is_not_judged_while_we_do_not_read_and_gets_a_full_last_chance() {
    let mut rig = Rig::client(base());
    rig.wake(ms(400));
    rig.liveness.pause_reading(ms(410));
    for now in [450, 500] {
        assert_eq!(rig.wake(ms(now)).len(), 1, "its probes go out");
    }
    assert_eq!(rig.due(), (ms(3410), Why::ReadPause));
    rig.liveness.resume_reading(ms(1500));
    assert_eq!(rig.due(), (ms(1900), Why::Verdict));
    rig.dies_at(1900, DeathCause::NoReply);
}

#[test]
fn a_suspect_that_we_do_not_read_goes_on_hearing_of_us() {
    let mut rig = Rig::server(base().probes(2));
    assert_eq!(rig.wake(ms(1400)), [beat(1), suspect(1400)]);
    rig.liveness.pause_reading(ms(1405));
    rig.liveness.resume_reading(ms(1408));
    rig.liveness.pause_reading(ms(1410));
    assert_eq!(rig.wait_for(1450, Why::Probe), [beat(2)], "no probe is forgotten");
    for now in [1550, 1650] {
        assert_eq!(rig.wait_for(now, Why::Probe), [LivenessAction::ShowLife]);
    }
    rig.liveness.resume_reading(ms(1700));
    assert_eq!(rig.due(), (ms(2100), Why::Verdict));
    rig.dies_at(2100, DeathCause::Silent);
}

#[test]
fn a_device_that_recovers_while_we_do_not_read_goes_on_hearing_of_us() {
    let mut rig = Rig::server(base().proof(Proof::ReplyOnly));
    assert_eq!(rig.wake(ms(1400)), [beat(1), suspect(1400)]);
    rig.liveness.received(ms(1410));
    rig.liveness.pause_reading(ms(1410));
    rig.liveness.echo_received(ms(1420), 1);
    assert_eq!(rig.drain(ms(1420)), [Recovered, Measured]);
    for now in [1520, 1620] {
        assert_eq!(rig.wait_for(now, Why::Beat), [LivenessAction::ShowLife]);
    }
    rig.liveness.resume_reading(ms(1700));
    assert_eq!(rig.due(), (ms(1700 + 1400), Why::Reply));
}
