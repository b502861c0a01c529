//! Links over WebSocket, with the native protocol inside: what holds on TCP holds here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::time::Duration;

use keepbeat_core::entropy::Prng;
use keepbeat_core::sim::{
    Delivery, Direction, Fault, FaultKind, Setup, Sim, Traffic, for_each_seed_of, random_schedule,
};

const SECOND: Duration = Duration::from_secs(1);

/// So long after the last fault everything has been delivered and acknowledged, on the paths of [`Setup::random`].
const RECOVERY: Duration = Duration::from_secs(20);

#[test]
fn nothing_is_lost_or_duplicated_or_disordered_by_any_schedule_of_faults() {
    for_each_seed_of("KEEPBEAT_SCHEDULES", 3_000, |seed| {
        let prng = &mut Prng::new(seed);
        let setup = Setup::random(seed).over_websocket();
        let (links, up, down) = (setup.clients.len(), setup.up.messages, setup.down.messages);
        let mut sim = Sim::new(setup);
        let faults = random_schedule(prng, links, 6 * SECOND, 4 * SECOND);
        let last = faults.iter().map(Fault::end).max().unwrap();
        sim.add_faults(faults);
        sim.run_for(last.since(sim.now()));
        assert!(sim.run_until(RECOVERY, Sim::is_settled), "not settled: {:?}", sim.counts());
        for link in 0..links {
            assert_eq!(sim.up(link), Delivery::perfect(up));
            assert_eq!(sim.down(link), Delivery::perfect(down));
        }
        assert_eq!(sim.counts().late, 0, "{:?}", sim.verdicts());
        assert!(!sim.verdicts().iter().any(|verdict| verdict.is_false()), "{:?}", sim.verdicts());
    });
}

#[test]
fn a_cut_at_any_byte_of_the_upgrade_and_what_follows_loses_nothing() {
    for_each_seed_of("KEEPBEAT_SEEDS", 600, |byte| {
        for direction in [Direction::Up, Direction::Down] {
            let burst = |messages| Traffic { messages, pause: (Duration::ZERO, SECOND / 100), size: (0, 30) };
            let setup = Setup { up: burst(12), down: burst(12), ..Setup::quick(byte, 1) };
            let mut sim = Sim::new(setup.over_websocket());
            sim.add_fault(Fault::new(0, 900, FaultKind::CutAtByte(0, direction, byte)));
            let downs = sim.counts().downs;
            sim.run_until(2 * SECOND, |sim| sim.counts().downs > downs);
            assert!(sim.run_until(RECOVERY, Sim::is_settled), "byte {byte}: not settled: {:?}", sim.counts());
            assert_eq!(sim.up(0), Delivery::perfect(12));
            assert_eq!(sim.down(0), Delivery::perfect(12));
        }
    });
}

#[test]
fn a_quiet_link_is_never_suspected() {
    for_each_seed_of("KEEPBEAT_SEEDS", 200, |seed| {
        let mut sim = Sim::new(Setup::quick(seed, 2).over_websocket());
        sim.run_for(60 * SECOND);
        assert!(sim.verdicts().is_empty(), "{:?}", sim.verdicts());
        assert!((0..2).all(|link| sim.is_up(link)));
    });
}
