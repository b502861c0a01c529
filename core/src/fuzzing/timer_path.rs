//! `timer_path`: what wakes, when, and whether waking more often would change anything.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | which machine: [`Timers`] (0), [`Liveness`] (1), [`Reconnect`] (2), a whole client with its server (3) |
//! | rest | its configuration, and then what happens to it |

mod liveness;
mod reconnect;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::script::Script;
use crate::client::{Client, LinkState};
use crate::reconnect::Hint;
use crate::sim::{Direction, Fault, FaultKind, Node, Setup, Sim, Wake};
use crate::time::Timestamp;
use crate::timers::{Filed, Timers};

/// Checks each machine against a plain model or plain rules; that a machine which is woken only at its deadlines does the
/// same at the same moments as one that is woken every millisecond; and that no drained machine has a deadline that has
/// passed. Everything happens at whole milliseconds, to which deadlines are rounded up.
///
/// # Panics
/// If one of these does not hold.
pub fn timer_path(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(4) {
        0 => timers(script),
        1 => liveness::check(script),
        2 => reconnect::check(script),
        _ => link(script.rest()),
    }
}

/// The heap against a sorted set.
fn timers(mut script: Script<'_>) {
    const KEYS: usize = 24;
    let (mut timers, mut model) = (Timers::new(), BTreeSet::new());
    let mut owners: Vec<(Option<Filed>, Option<Timestamp>)> = (0..KEYS).map(|_| (None, None)).collect();
    while !script.is_over() {
        let (key, what) = (script.below(KEYS), script.byte());
        let (filed, at) = &mut owners[key];
        match what {
            0..64 => {
                timers.remove(filed);
                at.take().map(|at| model.remove(&(at, key)));
            }
            64..72 => timers.file(key, filed, None),
            72..80 => {
                // As the owner of the earliest does when it comes up.
                if let Some((first, &key)) = timers.first() {
                    let (filed, at) = &mut owners[key];
                    assert_eq!(*at, Some(first));
                    timers.remove(filed);
                    at.take().map(|at| model.remove(&(at, key)));
                }
            }
            80..120 => {
                let due = script.byte();
                let due = (due > 8).then(|| Timestamp::from_nanos(due.into()));
                timers.refile(filed, due);
                if let Some(before) = at.take() {
                    model.remove(&(before, key));
                    *at = due;
                    model.extend(due.map(|due| (due, key)));
                }
            }
            due => {
                let due = Timestamp::from_nanos(due.into());
                timers.file(key, filed, Some(due));
                if at.is_none_or(|at| due < at) {
                    at.replace(due).map(|at| model.remove(&(at, key)));
                    model.insert((due, key));
                }
            }
        }
        assert_eq!(timers.first(), model.first().map(|(at, key)| (*at, key)));
        let now = Timestamp::from_nanos(what.into());
        let until: BTreeSet<usize> = timers.until(now).copied().collect();
        assert_eq!(until, model.iter().filter(|(at, _)| *at <= now).map(|(_, key)| *key).collect());
    }
}

/// So many things happen to a link, at most, in so much time.
const MOST_STEPS: usize = 8;
const LONGEST_STEP: u64 = 128;

/// A client and a server in the simulator, woken at deadlines and woken every millisecond.
fn link(bytes: &[u8]) {
    let (lazy, eager) = (play(bytes, Wake::AtDeadlines), play(bytes, Wake::EveryMillisecond));
    for (lazy, eager) in lazy.trace().0.iter().zip(&eager.trace().0) {
        assert_eq!(lazy, eager, "woken at deadlines, and woken every millisecond");
    }
    assert_eq!(lazy.trace().0.len(), eager.trace().0.len());
    assert_eq!(lazy.counts().empty_wakes, 0, "a wake without effect");
}

fn play(bytes: &[u8], wake: Wake) -> Sim {
    let mut script = Script::new(bytes);
    let mut setup = Setup { wake, trace: true, ..Setup::random(script.short().into()) };
    setup.clients.truncate(1);
    let mut sim = Sim::new(setup);
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        let (what, lasts) = (script.byte(), u64::from(script.byte()) * 8);
        match what % 16 {
            fault @ 0..8 => {
                let direction = if what & 16 == 0 { Direction::Up } else { Direction::Down };
                let node = if what & 16 == 0 { Node::Server } else { Node::Client(0) };
                let kinds = [
                    FaultKind::BlackHole(0, direction),
                    FaultKind::Stall(0),
                    FaultKind::Cut(0),
                    FaultKind::CutAtByte(0, direction, u64::from(what >> 5) * 40),
                    FaultKind::Refuse(0),
                    FaultKind::ConnectHangs(0),
                    FaultKind::ProcessStall(node),
                    FaultKind::AppPause(node),
                ];
                sim.add_fault(Fault::new(sim.now().as_millis(), lasts, kinds[usize::from(fault)]));
            }
            8 => sim.with_client(0, |client, now| client.retry_now(now)),
            9 => sim.with_client(0, |client, now| client.drain(now, Duration::from_millis(lasts))),
            10 => sim.with_client(0, Client::close),
            11..13 => sim.with_client(0, Client::open),
            _ => {
                let hints = [Hint::NetworkUp, Hint::NetworkDown, Hint::Background, Hint::Foreground];
                let hint = hints[usize::from(what >> 6)];
                sim.with_client(0, |client, now| client.hint(now, hint));
            }
        }
        let gap = 1 + u64::from(script.byte()) % LONGEST_STEP;
        sim.run_for(Duration::from_millis(gap));
    }
    sim.run_for(Duration::from_millis(LONGEST_STEP));
    let client = sim.client(0);
    assert!(client.poll_timeout().is_some() || matches!(client.state(), LinkState::Closed | LinkState::GaveUp(_)));
    sim
}
