use super::*;
use keepbeat_core::Failure;

const BOUND: Duration = Duration::from_millis(1000);
const NO_REPLY: DownCause = DownCause::Dead(DeathCause::NoReply);
const SILENT: DownCause = DownCause::Dead(DeathCause::Silent);
const RESET: DownCause = DownCause::Network(Failure::Reset);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn loss(cause: &DownCause, silent_since: u64) -> Loss<'_> {
    Loss { cause, evidence: None, silent_since: at(silent_since) }
}

/// One link that is up since 100.
fn up() -> Watch {
    let mut watch = Watch::new(at(0), 1, BOUND, &[]);
    watch.client_up(at(100), 0, false, BOUND);
    watch.server_online(0);
    watch
}

fn faults(watch: &Watch) -> (u64, u64, u64, u64) {
    let Counts { detected, late, false_deaths, unexplained, .. } = watch.counts;
    (detected, late, false_deaths, unexplained)
}

#[test]
fn a_verdict_within_the_bound_and_the_margin_is_detection() {
    let mut watch = up();
    watch.fault_begins(at(1000), Some(0), Act::BlackHoleDown, BOUND);
    watch.client_down(at(2040), 0, loss(&NO_REPLY, 990));
    assert_eq!(faults(&watch), (1, 0, 0, 0));
    assert_eq!(watch.counts.detection, [Duration::from_millis(1050)]);
}

#[test]
fn a_verdict_behind_the_margin_is_late() {
    let mut watch = up();
    watch.fault_begins(at(1000), Some(0), Act::ServerLost, BOUND);
    watch.client_down(at(2041), 0, loss(&NO_REPLY, 990));
    assert_eq!(faults(&watch), (1, 1, 0, 0));
}

#[test]
fn a_verdict_that_does_not_come_is_late_once() {
    let mut watch = up();
    watch.fault_begins(at(1000), Some(0), Act::BlackHoleUp, BOUND);
    watch.fault_ends(at(2500), Some(0));
    watch.fault_ends(at(2600), Some(0));
    assert_eq!(faults(&watch), (0, 1, 0, 0));
}

#[test]
fn a_device_that_takes_over_in_time_leaves_nothing_to_detect() {
    let mut watch = up();
    watch.fault_begins(at(1000), Some(0), Act::ClientLost, BOUND);
    watch.client_down(at(1001), 0, loss(&RESET, 990));
    watch.server_replaced(at(1100), 0, loss(&DownCause::Replaced, 990));
    watch.client_up(at(1101), 0, true, BOUND);
    watch.fault_ends(at(2200), Some(0));
    assert_eq!(faults(&watch), (0, 0, 0, 0));
    assert_eq!((watch.counts.overtaken, watch.counts.recovered), (1, 1));
}

#[test]
fn a_death_by_a_stall_a_trickle_or_nothing_is_false() {
    for act in [Act::Stall, Act::SlowTrickle, Act::Cut] {
        let mut watch = up();
        watch.fault_begins(at(1000), Some(0), act, BOUND);
        watch.client_down(at(1500), 0, loss(&NO_REPLY, 1000));
        watch.server_offline(at(1501), 0, loss(&SILENT, 1000));
        assert_eq!(faults(&watch), (0, 0, 2, 0));
    }
    let mut watch = up();
    watch.client_down(at(1500), 0, loss(&NO_REPLY, 1000));
    watch.server_offline(at(1501), 0, loss(&RESET, 1000));
    assert_eq!(faults(&watch), (0, 0, 1, 1));
}

#[test]
fn a_fault_explains_a_loss_for_a_while_after_its_end() {
    for (millis, unexplained) in [(1800, 0), (1801, 1)] {
        let mut watch = up();
        watch.fault_begins(at(1000), None, Act::ServerRestart, BOUND);
        watch.fault_ends(at(1500), None);
        watch.client_down(at(millis), 0, loss(&RESET, 1000));
        assert_eq!(faults(&watch), (0, 0, 0, unexplained));
    }
}

#[test]
fn recovery_counts_from_the_loss_or_from_when_the_way_is_free() {
    for (act, took) in [(Act::Cut, 900), (Act::Refuse, 400), (Act::ServerLost, 900)] {
        let mut watch = up();
        watch.fault_begins(at(1000), Some(0), act, BOUND);
        watch.client_down(at(1100), 0, loss(&RESET, 1000));
        watch.fault_ends(at(1600), Some(0));
        watch.client_up(at(2000), 0, true, BOUND);
        assert_eq!(watch.counts.recovery, [Duration::from_millis(took)], "{act:?}");
    }
}

#[test]
fn a_failed_attempt_is_not_a_loss() {
    let mut watch = up();
    watch.fault_begins(at(1000), Some(0), Act::Refuse, BOUND);
    watch.client_down(at(1001), 0, loss(&RESET, 1000));
    watch.client_down(at(3000), 0, loss(&DownCause::ConnectFailed(Failure::Refused), 1000));
    assert_eq!(faults(&watch), (0, 0, 0, 0));
    assert_eq!(watch.census(), Census { down: 1, in_fault: 1, ..Census::default() });
}

#[test]
fn a_link_that_was_not_up_has_nothing_to_detect() {
    let mut watch = Watch::new(at(0), 1, BOUND, &[]);
    watch.fault_begins(at(1000), Some(0), Act::BlackHoleDown, BOUND);
    watch.fault_ends(at(2500), Some(0));
    assert_eq!(faults(&watch), (0, 0, 0, 0));
}

#[test]
fn a_session_that_is_not_resumed_is_a_problem_but_for_the_first() {
    let mut watch = up();
    watch.fault_begins(at(1000), Some(0), Act::Cut, BOUND);
    watch.client_down(at(1001), 0, loss(&RESET, 1000));
    watch.client_up(at(1100), 0, false, BOUND);
    assert_eq!(faults(&watch), (0, 0, 0, 1));
}
