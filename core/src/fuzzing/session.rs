//! `session`: clients and a server, and between them a network that does its worst.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | what the network may do: what costs no message (0), also end processes (1), also change bytes and clocks (2) |
//! | 1, 2 | the seed of the rest: the path, the messages, and how bytes are cut |
//! | 8 each | a fault: kind, which link, direction or machine, when, how long, how much |

use core::time::Duration;

use super::script::Script;
use crate::sim::{Delivery, Direction, Fault, FaultKind, Lost, Node, Setup, Sim, Traffic};
use crate::time::Timestamp;

/// So many links, at most.
const LINKS: usize = 2;

/// So many faults are read, at most.
const MOST_FAULTS: usize = 12;

/// No fault begins later, or lasts longer: 6 s and 4 s.
const HORIZON_MS: u64 = 6000;
const LONGEST_MS: u64 = 4000;

/// So long after the last fault everything has been delivered and acknowledged.
const RECOVERY: Duration = Duration::from_secs(20);

/// Checks that nothing is lost, duplicated or disordered, that everything settles, and that every verdict is right and in
/// time. Where processes end, what arrives twice must have been announced. Where bytes are changed, which TCP does not do,
/// only that the machines keep their promises to their drivers (the simulator asserts those) and that memory is bounded.
///
/// # Panics
/// If one of these does not hold.
pub fn session(data: &[u8]) {
    let mut script = Script::new(data);
    let (harm, seed) = ([Harm::Network, Harm::Processes, Harm::Anything][script.below(3)], script.short());
    let setup = setup(seed, harm);
    let (links, up, down) = (setup.clients.len(), setup.up.messages, setup.down.messages);
    let mut sim = Sim::new(setup);
    let (mut last, mut restarted) = (Timestamp::ZERO, [false; LINKS]);
    for _ in 0..MOST_FAULTS {
        if script.is_over() {
            break;
        }
        let fault = fault(&mut script, links, harm);
        last = last.max(fault.end());
        if let FaultKind::RestartClient(link) = fault.kind {
            restarted[link] = true;
        }
        sim.add_fault(fault);
    }
    sim.run_for(last.since(sim.now()));
    if harm == Harm::Anything {
        sim.run_for(Duration::from_secs(5));
        let open = sim.server().map_or(0, |server| server.connections());
        return assert!(open <= 16 * links, "{open} connections of {links} links");
    }
    assert!(sim.run_until(RECOVERY, Sim::is_settled), "not settled: {:?}", sim.counts());
    let mut duplicated = 0;
    for (link, restarted) in restarted.into_iter().enumerate().take(links) {
        if harm == Harm::Network {
            assert_eq!(sim.up(link), Delivery::perfect(up));
            assert_eq!(sim.down(link), Delivery::perfect(down));
        }
        let (up, down) = (sim.up(link), sim.down(link));
        assert_eq!((up.lost, down.lost), (0, 0), "{up:?} {down:?}");
        // What a process had received, but the server was never told of, goes to the process that follows it.
        assert!(down.duplicated == 0 || restarted, "{down:?}");
        duplicated += up.duplicated;
    }
    assert!(duplicated <= sim.counts().in_doubt, "{duplicated} duplicates, {} announced", sim.counts().in_doubt);
    if harm == Harm::Network {
        assert_eq!(sim.counts().late, 0, "{:?}", sim.verdicts());
        assert!(!sim.verdicts().iter().any(|verdict| verdict.is_false()), "{:?}", sim.verdicts());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Network,
    Processes,
    Anything,
}

/// Few and small messages, so that an input takes milliseconds.
fn setup(seed: u16, harm: Harm) -> Setup {
    let mut setup = Setup::random(seed.into());
    setup.clients.truncate(LINKS);
    for Traffic { messages, size, .. } in [&mut setup.up, &mut setup.down] {
        *messages %= 16;
        *size = match harm {
            Harm::Network => (0, size.1.min(300)),
            // Large enough to carry their numbers, so that a duplicate can be told from the next one.
            Harm::Processes | Harm::Anything => (8, 100),
        };
    }
    setup
}

fn fault(script: &mut Script<'_>, links: usize, harm: Harm) -> Fault {
    let (kind, place) = (script.byte(), script.byte());
    let (at, lasts) = (u64::from(script.short()) % HORIZON_MS, u64::from(script.short()) % LONGEST_MS);
    let amount = script.short();
    let link = usize::from(place >> 1) % links;
    let direction = if place & 1 == 0 { Direction::Up } else { Direction::Down };
    let node = if place & 1 == 0 { Node::Server } else { Node::Client(link) };
    let kinds = match harm {
        Harm::Network => 14,
        Harm::Processes => 16,
        Harm::Anything => 20,
    };
    let kind = match kind % kinds {
        0 => FaultKind::BlackHole(link, direction),
        1 => FaultKind::Stall(link),
        2 => FaultKind::BlackHoleThenCut(link),
        3 => FaultKind::Trickle(link, 20 + u32::from(amount) % 3000),
        4 => FaultKind::Cut(link),
        5 => FaultKind::HalfOpen(link, if place & 1 == 0 { Lost::ForServer } else { Lost::ForClient }),
        6 => FaultKind::CutAtByte(link, direction, u64::from(amount) % 2000),
        7 => FaultKind::Refuse(link),
        8 => FaultKind::AcceptThenClose(link),
        9 => FaultKind::NameNotFound(link),
        10 => FaultKind::ConnectHangs(link),
        11 => FaultKind::RestartWarm,
        12 => FaultKind::SuspendWithClock(node),
        13 => FaultKind::ProcessStall(node),
        14 => FaultKind::RestartCold,
        15 => FaultKind::RestartClient(link),
        16 => FaultKind::FlipAtByte(link, direction, u64::from(amount >> 3) % 2000, 1 << (amount & 7)),
        17 => FaultKind::ClockStep(node, clock_step(amount)),
        18 => FaultKind::AppPause(node),
        _ => FaultKind::FlipAtByte(link, direction, u64::from(amount >> 8) % 100, amount as u8),
    };
    Fault::new(at, lasts, kind)
}

/// From a millisecond to 35 years, in either direction.
fn clock_step(amount: u16) -> i64 {
    let step = 1_000_000_i64 << ((amount >> 1) % 41);
    if amount & 1 == 0 { step } else { -step }
}
