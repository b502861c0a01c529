//! `time`: clocks that stand, jump by years and run backwards; every span of every configuration at its extremes.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | who is driven: a client and a server (0), [`Liveness`] alone (1), [`Reconnect`] alone (2), [`Race`] alone (3) |
//! | rest | its configuration, and then what happens to it |

mod config;
mod world;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::script::Script;
use crate::connection::Failure;
use crate::liveness::{Judgement, Liveness, LivenessAction};
use crate::reconnect::{Hint, Reconnect, Retry};
use crate::time::{Deadline, Timestamp};
use crate::tunnel::{MAX_ADDRESSES, Race, RaceAction};

/// So much happens, at most.
const MOST_STEPS: usize = 150;

/// Checks that an impossible configuration is an error that says something, and that a possible one neither panics nor spins,
/// whatever the clock shows: a drained machine has no deadline, or one that is later than what it was told. [`Liveness`] and
/// [`Reconnect`] leave it to their owner that time never runs backwards, as [`Client`](crate::client::Client) and
/// [`Server`](crate::server::Server) see to it; alone on such a clock, they come to rest at the moment of the turn.
///
/// At [`Timestamp::MAX`] nothing can be later; there, only that nothing panics.
///
/// # Panics
/// If one of these does not hold.
pub fn time(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(4) {
        0 => world::run(script),
        1 => liveness(script),
        2 => reconnect(script),
        _ => race(script),
    }
}

/// A clock that the script sets.
struct Clock {
    now: Timestamp,
    /// The latest moment that it has shown.
    latest: Timestamp,
}

impl Clock {
    const fn new() -> Self {
        let start = Timestamp::from_millis(1_000_000);
        Self { now: start, latest: start }
    }

    /// Goes on, stands, jumps or goes back, or shows the moment around a deadline.
    fn turn(&mut self, script: &mut Script<'_>, due: Option<Deadline>) {
        let due = due.map_or(self.now, |due| due.at);
        let nano = Duration::from_nanos(1);
        self.now = match script.below(8) {
            0 => self.now,
            1 | 2 => due,
            3 => due.before(nano),
            4 => due.after(nano),
            5 => self.now.after(Duration::from_millis(script.short().into())),
            6 => self.now.after(script.span()),
            _ => self.now.before(script.span()),
        };
        self.latest = self.latest.max(self.now);
    }
}

/// What was due until the latest moment that counts for a machine is done.
fn assert_rest(latest: Timestamp, due: Option<Deadline>) {
    let later = due.is_none_or(|due| due.at > latest);
    assert!(later || latest == Timestamp::MAX, "at {latest:?} the turn is done, but {due:?} is due");
}

fn liveness(mut script: Script<'_>) {
    let Some(config) = config::liveness(&mut script) else { return };
    let judgement = if script.flag() { Judgement::OneWay } else { Judgement::RoundTrip };
    let mut clock = Clock::new();
    let mut liveness = Liveness::with_terms(
        Arc::new(config),
        judgement,
        script.span(),
        script.span(),
        clock.now,
        script.byte().into(),
    );
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        clock.turn(&mut script, liveness.poll_timeout());
        let now = clock.now;
        match script.below(14) {
            0 => liveness.received(now),
            1 => liveness.echo_received(now, script.byte().into()),
            2 => liveness.beat_written(now),
            3 => liveness.write_pending(now),
            4 => liveness.write_progressed(now, script.flag()),
            5 => liveness.frame_unfinished(now, script.flag()),
            6 => liveness.frame_finished(),
            7 => liveness.pause_reading(now),
            8 => liveness.resume_reading(now),
            9 => liveness.probe_now(now),
            _ => {}
        }
        liveness.handle_timeout(now);
        let mut actions = 0;
        while let Some(action) = liveness.poll_action() {
            actions += 1;
            assert!(actions < 10, "actions do not end");
            if let LivenessAction::DeclareDead(report) = action {
                assert_eq!(liveness.poll_timeout(), None, "{report}");
            }
        }
        let evidence = liveness.evidence(now);
        assert!(evidence.beats_answered <= evidence.beats_sent, "{evidence}");
        assert_rest(now, liveness.poll_timeout());
    }
}

fn reconnect(mut script: Script<'_>) {
    let Some(config) = config::reconnect(&mut script) else { return };
    let mut clock = Clock::new();
    let mut link = Reconnect::new(Arc::new(config), script.byte().into());
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        clock.turn(&mut script, link.poll_timeout());
        let now = clock.now;
        match script.below(12) {
            0 => link.open(now),
            1 => link.close(),
            2 => link.connected(now),
            3 => link.proof_of_life(),
            4 => link.lost(now, Retry::BACKOFF),
            5 => link.lost(now, Retry::after(script.span(), script.span())),
            6 => link.lost(now, script.one_of(&[Retry::Conflict, Retry::Unexplained, Retry::RetryNow, Retry::Fatal])),
            7 => link.retry_now(now),
            8 => {
                let hints = [Hint::NetworkUp, Hint::NetworkDown, Hint::Foreground, Hint::Background];
                link.hint(now, script.one_of(&hints));
            }
            _ => {}
        }
        link.handle_timeout(now);
        assert!(core::iter::from_fn(|| link.poll_action()).count() < 10, "actions do not end");
        assert_rest(now, link.poll_timeout());
    }
}

fn race(mut script: Script<'_>) {
    let mut clock = Clock::new();
    let address = |number: u8| {
        let ip =
            if number & 1 == 0 { IpAddr::from([192, 0, 2, number >> 2]) } else { [u16::from(number >> 2); 8].into() };
        SocketAddr::new(ip, 7411)
    };
    let addresses: Vec<SocketAddr> = (0..script.byte() % 64).map(|_| address(script.byte())).collect();
    let Some(mut race) = Race::<Failure>::new(clock.now, addresses.iter().copied()) else {
        return assert!(addresses.is_empty());
    };
    // The sockets that were begun and have neither failed nor been decided about.
    let (mut opened, mut running, mut over) = (0, BTreeSet::new(), false);
    for _ in 0..MOST_STEPS {
        while let Some(action) = race.poll_action() {
            assert!(!over || matches!(action, RaceAction::Abandon { .. }), "{action:?} after the last word");
            match action {
                RaceAction::Open { socket, address } => {
                    assert!(socket == opened && addresses.contains(&address));
                    running.insert(socket);
                    opened += 1;
                }
                RaceAction::Won { socket } | RaceAction::Abandon { socket } => {
                    assert!(running.remove(&socket), "a socket that does not run");
                    over = true;
                }
                RaceAction::Lost { .. } => {
                    assert!(running.is_empty(), "lost, and yet a socket runs");
                    over = true;
                }
            }
        }
        assert!(opened <= MAX_ADDRESSES);
        assert!(!over || (running.is_empty() && race.poll_timeout().is_none()), "decided, and something goes on");
        assert_rest(clock.latest, race.poll_timeout());
        if script.is_over() {
            break;
        }
        clock.turn(&mut script, race.poll_timeout());
        let socket = script.below(40);
        match script.below(3) {
            0 => {
                race.failed(clock.now, socket, Failure::Refused);
                running.remove(&socket);
            }
            1 => race.opened(socket),
            _ => {}
        }
        race.handle_timeout(clock.now);
    }
}
