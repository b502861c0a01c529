//! What is accepted is delivered, once and in order, or accounted for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::time::Duration;

use keepbeat_core::entropy::Prng;
use keepbeat_core::sim::{
    Delivery, Direction, Fault, FaultKind, Setup, Sim, Traffic, for_each_seed, for_each_seed_of, random_schedule,
};

const SECOND: Duration = Duration::from_secs(1);

/// So long after the last fault everything has been delivered and acknowledged, on the paths of [`Setup::random`].
const RECOVERY: Duration = Duration::from_secs(20);

#[test]
fn nothing_is_lost_or_duplicated_or_disordered_by_any_schedule_of_faults() {
    for_each_seed_of("KEEPBEAT_SCHEDULES", 10_000, |seed| {
        let prng = &mut Prng::new(seed);
        let setup = Setup::random(seed);
        let (links, up, down) = (setup.clients.len(), setup.up.messages, setup.down.messages);
        let mut sim = Sim::new(setup);
        let mut faults = random_schedule(prng, links, 6 * SECOND, 4 * SECOND);
        if prng.between(0, 1) == 0 {
            faults.extend(random_schedule(prng, links, 6 * SECOND, 4 * SECOND));
        }
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

/// Cuts the first connections at these bytes, each in its turn, while messages wait at both ends.
fn cut_at(cuts: &[(Direction, u64)], first_ever: bool, seed: u64) -> Sim {
    let burst = |messages| Traffic { messages, pause: (Duration::ZERO, SECOND / 100), size: (0, 30) };
    let mut sim = Sim::new(Setup { up: burst(12), down: burst(12), ..Setup::quick(seed, 1) });
    if !first_ever {
        assert!(sim.run_until(SECOND, |sim| sim.is_up(0)));
        sim.add_fault(Fault::new(sim.now().as_millis() + 1, 0, FaultKind::Cut(0)));
        sim.run_until(SECOND, |sim| !sim.is_up(0));
    }
    for &(direction, byte) in cuts {
        sim.add_fault(Fault::new(sim.now().as_millis(), 900, FaultKind::CutAtByte(0, direction, byte)));
        let ups = sim.counts().downs;
        sim.run_until(2 * SECOND, |sim| sim.counts().downs > ups);
    }
    assert!(sim.run_until(RECOVERY, Sim::is_settled), "not settled: {:?}", sim.counts());
    sim
}

#[test]
fn a_cut_at_any_byte_of_the_handshake_costs_nothing() {
    // HELLO has about 50 bytes, WELCOME about 40; the sweep goes on into the messages behind them.
    for_each_seed_of("KEEPBEAT_CUTS", 4 * 160, |case| {
        let (byte, kind) = (case / 4, case % 4);
        let direction = if kind % 2 == 0 { Direction::Up } else { Direction::Down };
        let sim = cut_at(&[(direction, byte)], kind < 2, case);
        assert!(sim.counts().downs >= 1, "nothing was cut");
        assert_eq!(sim.up(0), Delivery::perfect(12));
        assert_eq!(sim.down(0), Delivery::perfect(12));
    });
}

#[test]
fn repeated_cuts_in_the_handshake_cost_nothing() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let cuts: Vec<_> = (0..prng.between(2, 6))
            .map(|_| {
                let direction = if prng.between(0, 1) == 0 { Direction::Up } else { Direction::Down };
                (direction, prng.between(0, 120))
            })
            .collect();
        let sim = cut_at(&cuts, prng.between(0, 1) == 0, seed);
        assert_eq!(sim.up(0), Delivery::perfect(12));
        assert_eq!(sim.down(0), Delivery::perfect(12));
    });
}

#[test]
fn a_session_lost_by_either_side_loses_no_message_silently() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let mut setup = Setup::random(seed);
        for traffic in [&mut setup.up, &mut setup.down] {
            // Large enough to carry their numbers.
            *traffic = Traffic { messages: 30, pause: (Duration::ZERO, SECOND / 4), size: (8, 100) };
        }
        let links = setup.clients.len();
        let mut sim = Sim::new(setup);
        sim.add_faults(random_schedule(prng, links, 6 * SECOND, SECOND));
        for _ in 0..prng.between(1, 3) {
            let kind = match prng.between(0, 1) {
                0 => FaultKind::RestartCold,
                _ => FaultKind::RestartClient(prng.between(0, links as u64 - 1) as usize),
            };
            sim.add_fault(Fault::new(prng.between(0, 6000), prng.between(0, 2000), kind));
        }
        sim.run_for(10 * SECOND);
        assert!(sim.run_until(RECOVERY, Sim::is_settled), "not settled: {:?}", sim.counts());
        let mut duplicated = 0;
        for link in 0..links {
            let (up, down) = (sim.up(link), sim.down(link));
            assert_eq!((up.lost, down.lost), (0, 0), "{up:?} {down:?}");
            assert_eq!(down.duplicated, 0, "the server repeats nothing across sessions: {down:?}");
            duplicated += up.duplicated;
        }
        assert!(duplicated <= sim.counts().in_doubt, "{duplicated} duplicates, {} announced", sim.counts().in_doubt);
    });
}

#[test]
fn the_messages_of_a_client_whose_session_is_gone_are_announced_as_in_doubt() {
    let seen = std::sync::atomic::AtomicU64::new(0);
    for_each_seed(|seed| {
        let many = Traffic { messages: 40, pause: (Duration::ZERO, SECOND / 50), size: (8, 100) };
        let mut sim = Sim::new(Setup { up: many, ..Setup::quick(seed, 1) });
        sim.add_fault(Fault::new(300 + seed % 200, 100, FaultKind::RestartCold));
        assert!(sim.run_until(RECOVERY, Sim::is_settled));
        let (up, in_doubt) = (sim.up(0), sim.counts().in_doubt);
        assert_eq!((up.lost, up.delivered), (0, 40));
        assert!(up.duplicated <= in_doubt, "{up:?}, in doubt {in_doubt}");
        seen.fetch_add(up.duplicated, std::sync::atomic::Ordering::Relaxed);
    });
    if std::env::var_os("KEEPBEAT_SEED").is_none() {
        assert!(seen.into_inner() > 0, "no message was ever in doubt: the test looks at nothing");
    }
}
