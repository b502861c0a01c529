//! What a verdict says in words.

use std::string::ToString;

use super::*;

#[test]
fn a_verdict_says_its_cause_and_what_was_seen_of_the_peer() {
    let mut rig = Rig::client(base());
    rig.liveness.received(ms(20));
    rig.liveness.echo_received(ms(20), 1);
    rig.drain(ms(20));
    rig.wake(ms(1000));
    let seen = rig.liveness.evidence(ms(1300)).to_string();
    assert_eq!(seen, "silent for 1.28s, 1 of 2 beats answered, round trip 20ms");

    rig.writes = false;
    rig.liveness.write_pending(ms(1300));
    rig.wake(ms(5000));
    let report = rig.wake(ms(5800)).into_iter().next();
    let Some(DeclareDead(report)) = report else { panic!("no verdict: {report:?}") };
    assert_eq!(
        report.to_string(),
        "our bytes did not move: silent for 5.78s, 1 of 2 beats answered, round trip 20ms, writes stalled for 800ms, \
         1 local stalls"
    );
}

#[test]
fn every_cause_of_death_has_words_of_its_own() {
    let causes = [
        DeathCause::NoReply,
        DeathCause::Silent,
        DeathCause::WriteStalled,
        DeathCause::FrameTooSlow,
        DeathCause::ReadPaused,
    ];
    let words: std::collections::BTreeSet<_> = causes.iter().map(ToString::to_string).collect();
    assert!(words.len() == causes.len() && words.iter().all(|words| !words.is_empty()), "{words:?}");
}
