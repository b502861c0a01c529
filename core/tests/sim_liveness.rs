//! The dead are found in time, and only the dead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::{DeathCause, Judgement, Liveness, LivenessAction, LivenessConfig};
use keepbeat_core::server::ServerConfig;
use keepbeat_core::session::QueueLimits;
use keepbeat_core::sim::{Direction, Fault, FaultKind, Lost, Node, Path, Setup, Sim, Traffic, for_each_seed};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::DeviceId;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A setup with other terms: any interval, any reply timeout that the path allows, any number of probes.
fn random_terms(seed: u64, prng: &mut Prng) -> Setup {
    let mut setup = Setup::quick(seed, 1);
    setup.path.choppy = false;
    // Whole milliseconds, as the peers agree on them.
    let interval = Duration::from_millis(prng.between(300, 5000));
    let reply_timeout = Duration::from_millis(prng.between(200, interval.as_millis() as u64));
    let write_stall = prng.span(reply_timeout, 3 * reply_timeout);
    let liveness = LivenessConfig::builder()
        .interval(interval)
        .reply_timeout(reply_timeout)
        .jitter_percent(prng.between(0, 50) as u8)
        .probes(prng.between(0, 16) as u8)
        .write_stall(write_stall);
    let liveness = liveness.build().unwrap();
    let client = ClientConfig::builder(DeviceId::new("d").unwrap()).liveness(liveness.clone());
    setup.clients = vec![Arc::new(client.build().unwrap())];
    setup.server =
        Arc::new(ServerConfig::builder().liveness(liveness).intervals(10 * MS, 60 * SECOND).build().unwrap());
    setup
}

fn silences(prng: &mut Prng) -> FaultKind {
    match prng.between(0, 4) {
        0 => FaultKind::BlackHole(0, Direction::Up),
        1 => FaultKind::BlackHole(0, Direction::Down),
        2 => FaultKind::Stall(0),
        3 => FaultKind::HalfOpen(0, Lost::ForClient),
        _ => FaultKind::HalfOpen(0, Lost::ForServer),
    }
}

#[test]
fn every_verdict_falls_inside_the_published_bound() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let setup = random_terms(seed, prng);
        let (bound, server) = (setup.clients[0].worst_case_detection(), setup.server.clone());
        let terms = setup.clients[0].clone();
        let mut sim = Sim::new(setup);
        let kind = silences(prng);
        let at = prng.between(500, 8000);
        // Nobody finds out because the client comes back.
        sim.add_fault(Fault::new(at, 60_000, FaultKind::ConnectHangs(0)));
        sim.add_fault(Fault::new(at, 60_000, kind));
        sim.run_for(Duration::from_millis(at) + 2 * bound + SECOND);
        let verdict = sim.verdicts().first().expect("a verdict");
        assert!(!verdict.is_false(), "{verdict:?}");
        // The alarm rounds up twice: for the beat and for the verdict.
        assert!(verdict.silent_for <= bound + 2 * MS, "{verdict:?} {bound:?} {terms:?} {server:?}");
        let at = Fault::new(at, 0, kind).at;
        assert!(verdict.at.since(at) <= bound + 2 * MS + 30 * MS, "{verdict:?}, bound {bound:?} after {at:?}");
        assert_eq!(sim.counts().late, 0);
    });
}

#[test]
fn traffic_in_one_direction_hides_no_death_in_the_other() {
    for_each_seed(|seed| {
        let busy = Traffic { messages: 2000, pause: (Duration::ZERO, SECOND / 50), size: (0, 100) };
        let (direction, judge) =
            if seed.is_multiple_of(2) { (Direction::Up, Node::Server) } else { (Direction::Down, Node::Client(0)) };
        let mut sim = Sim::new(Setup { up: busy.clone(), down: busy, ..Setup::quick(seed, 1) });
        let (at, bound) = (1000 + seed % 1000, Duration::from_millis(1700));
        sim.add_fault(Fault::new(at, 60_000, FaultKind::BlackHole(0, direction)));
        sim.add_fault(Fault::new(at, 60_000, FaultKind::ConnectHangs(0)));
        sim.run_for(Duration::from_millis(at) + bound + SECOND / 10);
        let verdict = sim.verdicts().first().expect("a verdict");
        assert_eq!(verdict.judge, judge);
        // Only one that hears nothing may judge, and the one that hears must go on beating until it is told.
        assert!(verdict.silent_for >= 600 * MS, "{verdict:?}");
        assert_eq!((sim.counts().late, sim.verdicts().len()), (0, 1), "{:?}", sim.verdicts());
    });
}

#[test]
fn a_busy_client_beats_as_often_as_an_idle_one() {
    for_each_seed(|seed| {
        let busy = Traffic { messages: 4000, pause: (Duration::ZERO, SECOND / 20), size: (0, 100) };
        let mut sim = Sim::new(Setup { up: busy.clone(), down: busy, ..Setup::quick(seed, 1) });
        sim.run_for(8 * SECOND);
        let evidence = sim.client(0).evidence(sim.now()).expect("up");
        assert!((6..=9).contains(&evidence.beats_sent), "{evidence}");
        assert!(evidence.beats_answered + 1 >= evidence.beats_sent, "{evidence}");
    });
}

#[test]
fn without_a_fault_nobody_is_declared_dead() {
    for_each_seed(|seed| {
        let mut sim = Sim::new(Setup::random(seed));
        sim.run_for(60 * SECOND);
        let counts = sim.counts();
        assert_eq!((sim.verdicts(), counts.downs, counts.late), (&[][..], 0, 0));
        assert!(sim.is_settled());
    });
}

#[test]
fn a_slow_link_is_not_a_dead_one() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let mut setup = Setup::quick(seed, 1);
        let rate = prng.between(2_000, 50_000) as u32;
        // Each takes 5 to 60 s; the reply timeout is 300 ms.
        let size = (u64::from(rate) * prng.between(5, 30)) as usize;
        let big =
            Traffic { messages: 2, pause: (Duration::ZERO, SECOND), size: (size.min(1 << 20), size.min(1 << 20)) };
        let many = Traffic { messages: 1000, pause: (Duration::ZERO, MS), size: (0, 60) };
        (setup.up, setup.down) = match prng.between(0, 3) {
            0 => (big, Traffic::NONE),
            1 => (Traffic::NONE, big),
            2 => (many, Traffic::small(20)),
            _ => (big, many),
        };
        let window = [1000, 16 << 10, 256 << 10][prng.between(0, 2) as usize];
        setup.path = Path { bandwidth: Some(rate), window, ..setup.path };
        let mut sim = Sim::new(setup);
        assert!(sim.run_until(300 * SECOND, Sim::is_settled), "{:?}", sim.counts());
        assert_eq!((sim.verdicts(), sim.counts().downs), (&[][..], 0));
        assert_eq!((sim.up(0).lost, sim.down(0).lost), (0, 0));
    });
}

#[test]
fn a_machine_that_was_away_judges_nobody_before_one_probe() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let mut setup = Setup { trace: true, ..Setup::quick(seed, 2) };
        if prng.between(0, 1) == 0 {
            (setup.up, setup.down) = (Traffic::NONE, Traffic::NONE);
        }
        let mut sim = Sim::new(setup);
        let node = if prng.between(0, 1) == 0 { Node::Server } else { Node::Client(0) };
        let kind = match prng.between(0, 2) {
            0 => FaultKind::Suspend(node),
            1 => FaultKind::SuspendWithClock(node),
            _ => FaultKind::ProcessStall(node),
        };
        let (at, lasts) = (prng.between(500, 3000), prng.between(1, 30_000));
        sim.add_fault(Fault::new(at, lasts, kind));
        sim.run_for(Duration::from_millis(at + lasts) + 20 * SECOND);
        let own = sim.verdicts().iter().filter(|verdict| verdict.judge == node);
        assert_eq!(own.collect::<Vec<_>>(), Vec::<&_>::new(), "{kind:?} at {at} for {lasts}");
        assert!(sim.is_settled());
    });
}

#[test]
fn after_a_suspend_there_is_one_probe_and_no_burst() {
    for_each_seed(|seed| {
        let mut setup = Setup { up: Traffic::NONE, down: Traffic::NONE, ..Setup::quick(seed, 1) };
        setup.path.choppy = false;
        let mut sim = Sim::new(setup);
        sim.run_for(3 * SECOND);
        // The server's own clock stands still meanwhile, so that the connection is there afterwards.
        let lasts = 2000 + seed % 60_000;
        sim.add_fault(Fault::new(3000, lasts, FaultKind::Suspend(Node::Client(0))));
        sim.add_fault(Fault::new(3000, lasts, FaultKind::SuspendWithClock(Node::Server)));
        let sent = |sim: &Sim| sim.client(0).evidence(sim.now()).map(|evidence| evidence.beats_sent);
        let before = sent(&sim).expect("up");
        sim.run_for(Duration::from_millis(lasts) + 200 * MS);
        assert!(sim.is_up(0) && sim.counts().downs == 0, "{:?}", sim.verdicts());
        let burst = sent(&sim).expect("up") - before;
        assert!(burst == 1, "{burst} beats at once");
        sim.run_for(10 * SECOND);
        assert_eq!(sim.counts().downs, 0);
        assert!(sent(&sim).expect("up") - before <= 13);
    });
}

#[test]
fn a_suspect_gets_its_quick_probes_and_no_more() {
    for_each_seed(|seed| {
        let mut setup = Setup { up: Traffic::NONE, down: Traffic::NONE, trace: true, ..Setup::quick(seed, 1) };
        setup.path.choppy = false;
        let mut sim = Sim::new(setup);
        sim.run_for(Duration::from_millis(3000 + seed % 1000));
        let before = sim.client(0).evidence(sim.now()).expect("up").beats_sent;
        sim.add_fault(Fault { at: sim.now(), lasts: 60 * SECOND, kind: FaultKind::Stall(0) });
        sim.run_for(2 * SECOND);
        let down = sim.trace().events_of(0).find_map(|(_, event)| match event {
            Event::Down { report, .. } => report.evidence.clone(),
            _ => None,
        });
        // Three probes, behind the beat that was not answered if that left after the fault began.
        let sent = down.expect("a loss").beats_sent - before;
        assert!((3..=4).contains(&sent), "{sent} beats to a dead peer");
    });
}

#[test]
fn a_peer_that_died_while_we_were_away_gets_one_probe() {
    for_each_seed(|seed| {
        let mut setup = Setup { up: Traffic::NONE, down: Traffic::NONE, ..Setup::quick(seed, 1) };
        setup.path.choppy = false;
        let mut sim = Sim::new(setup);
        sim.run_for(3 * SECOND);
        let away = 3000 + seed % 30_000;
        sim.add_fault(Fault::new(3000, away, FaultKind::Suspend(Node::Client(0))));
        sim.add_fault(Fault::new(3500, 60_000, FaultKind::Stall(0)));
        sim.run_for(Duration::from_millis(away) + 2 * SECOND);
        let verdict = sim.verdicts().iter().find(|verdict| verdict.judge == Node::Client(0)).expect("a verdict");
        let awake = verdict.at.since(Fault::new(3000 + away, 0, FaultKind::Stall(0)).at);
        assert!((300 * MS..=302 * MS).contains(&awake), "judged {awake:?} after the wake");
    });
}

#[test]
fn a_probe_that_cannot_leave_after_an_absence_has_only_the_write_stall() {
    let config = LivenessConfig::builder().interval(SECOND).reply_timeout(300 * MS).build().unwrap();
    let start = Timestamp::from_millis(1);
    let mut liveness = Liveness::new(Arc::new(config), Judgement::OneWay, start, 1);
    liveness.write_pending(start);
    let awake = start.after(10 * SECOND);
    liveness.handle_timeout(awake);
    assert!(matches!(liveness.poll_action(), Some(LivenessAction::SendBeat { .. })));
    assert_eq!(liveness.poll_timeout().map(|due| due.at), Some(awake.after(300 * MS)));
}

#[test]
fn a_clock_that_jumps_kills_nobody() {
    const YEAR: i64 = 365 * 86_400 * 1_000_000_000;
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let mut setup = Setup::quick(seed, 3);
        if prng.between(0, 1) == 0 {
            (setup.up, setup.down) = (Traffic::NONE, Traffic::NONE);
        }
        let mut sim = Sim::new(setup);
        let backwards = prng.between(0, 1) == 0;
        for _ in 0..prng.between(1, 5) {
            let node = if prng.between(0, 1) == 0 { Node::Server } else { Node::Client(0) };
            let size = [1_000_000, 1_000_000_000, 60_000_000_000, YEAR, 40 * YEAR][prng.between(0, 4) as usize];
            let step = if backwards { -size.min(900_000_000_000) } else { size };
            sim.add_fault(Fault::new(prng.between(500, 6000), 0, FaultKind::ClockStep(node, step)));
        }
        sim.run_for(30 * SECOND);
        assert_eq!((sim.verdicts(), sim.counts().downs), (&[][..], 0), "mass kill");
        assert_eq!(sim.counts().ups, 3);
        // A clock that went back only postpones what is due.
        assert!(sim.counts().wakes < 2000, "{:?}", sim.counts());
    });
}

#[test]
fn a_clock_at_the_end_of_time_hangs_nobody() {
    for node in [Node::Server, Node::Client(0)] {
        let mut sim = Sim::new(Setup { trace: true, ..Setup::quick(1, 1) });
        for at in [1000, 1001, 1002] {
            sim.add_fault(Fault::new(at, 0, FaultKind::ClockStep(node, i64::MAX)));
        }
        sim.run_for(5 * SECOND);
    }
}

/// A link on which the application at `node` takes nothing from `at` on, while messages keep coming.
fn paused(seed: u64, node: Node, at: u64, lasts: u64) -> Sim {
    let limits = QueueLimits::new(4, 100_000).unwrap();
    let liveness = LivenessConfig::builder().interval(SECOND).reply_timeout(300 * MS).stall_limit(3 * SECOND);
    let liveness = liveness.build().unwrap();
    let client = ClientConfig::builder(DeviceId::new("d").unwrap()).inbox(limits.clone()).liveness(liveness.clone());
    let server = ServerConfig::builder().inbox(limits).liveness(liveness);
    let quick = Setup::quick(seed, 1);
    // With nothing to say itself, the side that pauses has only its acknowledgements to show that it lives.
    let silent = |other| if seed.is_multiple_of(3) && node != other { Traffic::NONE } else { Traffic::small(40) };
    let window = if seed.is_multiple_of(2) { quick.path.window } else { 500 };
    let mut sim = Sim::new(Setup {
        clients: vec![Arc::new(client.build().unwrap())],
        server: Arc::new(server.build().unwrap()),
        up: silent(Node::Server),
        down: silent(Node::Client(0)),
        path: Path { window, ..quick.path },
        ..quick
    });
    sim.add_fault(Fault::new(at, lasts, FaultKind::AppPause(node)));
    assert!(sim.run_until(60 * SECOND, Sim::is_settled), "{:?}", sim.counts());
    assert_eq!((sim.up(0).lost, sim.down(0).lost, sim.up(0).duplicated, sim.down(0).duplicated), (0, 0, 0, 0));
    sim
}

fn either(prng: &mut Prng) -> Node {
    if prng.between(0, 1) == 0 { Node::Server } else { Node::Client(0) }
}

#[test]
fn an_application_that_pauses_costs_no_connection() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let sim = paused(seed, either(prng), prng.between(200, 2000), prng.between(500, 2900));
        assert_eq!((sim.verdicts(), sim.counts().downs), (&[][..], 0));
    });
}

#[test]
fn an_application_that_never_reads_is_told_so_and_its_peer_is_not_blamed() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let node = either(prng);
        let sim = paused(seed, node, prng.between(200, 2000), prng.between(4000, 8000));
        for verdict in sim.verdicts() {
            let own = verdict.judge == node;
            let cause = if own { DeathCause::ReadPaused } else { DeathCause::WriteStalled };
            assert_eq!(verdict.cause, cause, "{verdict:?}");
        }
    });
}
