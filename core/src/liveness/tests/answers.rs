//! What proves that the peer is alive, and what an answer measures.

use super::*;

#[test]
fn any_byte_counts_as_the_answer_unless_only_replies_prove_life() {
    let mut rig = Rig::client(base());
    rig.liveness.received(ms(399));
    assert_eq!(rig.due(), (ms(1000), Why::Beat));

    let mut rig = Rig::client(base().proof(Proof::ReplyOnly));
    rig.liveness.received(ms(399));
    assert_eq!(rig.wait_for(400, Why::Reply), [beat(2), suspect(1)]);
    rig.liveness.received(ms(420));
    assert_eq!(rig.wake(ms(420)), []);
    assert!(rig.liveness.is_suspect());
    // The answer to an earlier beat proves life too.
    rig.liveness.echo_received(ms(430), 1);
    assert_eq!(rig.wake(ms(430)), [Recovered]);
}

#[test]
fn only_the_newest_beat_measures_and_every_beat_is_answered_once() {
    let mut rig = Rig::client(base());
    rig.wake(ms(400));
    assert_eq!(rig.liveness.beats_sent(), 2);
    for (seq, answered, measured) in [(0, 0, false), (3, 0, false), (1, 1, false), (1, 1, false), (2, 2, true)] {
        rig.liveness.echo_received(ms(420), seq);
        assert_eq!((rig.liveness.beats_answered(), rig.liveness.rtt().is_some()), (answered, measured), "echo {seq}");
    }
    rig.liveness.echo_received(ms(430), 2);
    assert_eq!(rig.drain(ms(430)), [Measured]);
    assert_eq!(rig.liveness.rtt().unwrap().smoothed(), 20 * MS);
    rig.liveness.echo_received(ms(440), 1);
    assert_eq!(rig.liveness.beats_answered(), 2, "late and out of order");
}

#[test]
fn an_answer_that_is_reported_before_its_beat_left_counts_and_measures_nothing() {
    for proof in [Proof::AnyBytes, Proof::ReplyOnly] {
        let mut rig = Rig::new(base().proof(proof), Judgement::RoundTrip);
        rig.writes = false;
        rig.liveness.probe_now(Timestamp::ZERO);
        assert_eq!(rig.wake(Timestamp::ZERO), [beat(1)]);
        rig.liveness.received(ms(10));
        rig.liveness.echo_received(ms(10), 1);
        assert_eq!((rig.liveness.beats_answered(), rig.liveness.beats_sent()), (1, 1));
        rig.liveness.beat_written(ms(20));
        assert_eq!((rig.liveness.rtt(), rig.due()), (None, (ms(1000), Why::Beat)), "nothing is awaited");
    }
}

#[test]
fn an_answer_reported_before_its_beat_left_is_not_measured_from_the_beat_before() {
    let mut rig = Rig::client(base());
    rig.liveness.received(ms(10));
    rig.writes = false;
    assert_eq!(rig.wait_for(1000, Why::Beat), [beat(2)]);
    rig.liveness.echo_received(ms(1020), 2);
    assert_eq!((rig.drain(ms(1020)), rig.liveness.beats_answered()), (Vec::new(), 1));
}

#[test]
fn an_answer_that_we_ourselves_kept_waiting_measures_nothing() {
    // We did not read.
    let mut rig = Rig::client(base());
    rig.liveness.pause_reading(ms(20));
    rig.liveness.resume_reading(ms(900));
    rig.liveness.echo_received(ms(900), 1);
    assert_eq!((rig.drain(ms(900)), rig.liveness.beats_answered()), (Vec::new(), 1));

    // We did not read, and were away as well.
    let mut rig = Rig::server(base());
    rig.liveness.probe_now(ms(10));
    assert_eq!(rig.wake(ms(10)), [beat(1)]);
    rig.liveness.pause_reading(ms(20));
    assert_eq!(rig.wake(ms(50_000)), [LivenessAction::ShowLife]);
    rig.liveness.echo_received(ms(50_000), 1);
    assert_eq!((rig.drain(ms(50_000)), rig.liveness.beats_answered()), (Vec::new(), 1));
}

#[test]
fn a_measurement_can_be_taken_out_of_turn() {
    let mut rig = Rig::client(base());
    assert!(!rig.liveness.has_action() && !rig.liveness.take_measured());
    rig.wake(ms(400));
    rig.liveness.received(ms(410));
    rig.liveness.echo_received(ms(410), 2);
    assert!(rig.liveness.take_measured() && !rig.liveness.take_measured());
    assert!(rig.liveness.has_action());
    assert_eq!(rig.drain(ms(410)), [Recovered]);
    assert!(!rig.liveness.has_action());
}
