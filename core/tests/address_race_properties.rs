//! What holds for every race between addresses: with a good driver it runs as the model says, and with a bad one it still
//! ends once, and so does every socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use keepbeat_core::entropy::Prng;
use keepbeat_core::sim::for_each_seed;
use keepbeat_core::time::Timestamp;
use keepbeat_core::tunnel::{ATTEMPT_DELAY, MAX_ADDRESSES, Race, RaceAction};

/// A number: the greater tells more.
type Action = RaceAction<u64>;

/// What becomes of an address, once it has its turn.
#[derive(Debug, Clone, Copy)]
struct Fate {
    after_ms: u64,
    result: Result<(), u64>,
}

#[test]
fn a_race_runs_as_the_model_says() {
    for_each_seed(|seed| {
        let mut prng = Prng::new(seed);
        let found = found(&mut prng);
        let order = order(&found);
        let fates: Vec<Fate> = order.iter().map(|_| fate(&mut prng)).collect();
        assert_eq!(run(&mut prng, &found, &fates), model(&order, &fates), "{fates:?}");
    });
}

#[test]
fn whatever_the_driver_says_and_when_a_race_ends_once_and_so_does_every_socket() {
    for_each_seed(|seed| {
        let mut prng = Prng::new(seed);
        let found = found(&mut prng);
        let mut race = Race::new(Timestamp::from_millis(1000), found.iter().copied()).unwrap();
        let mut referee = Referee::default();
        for _ in 0..prng.between(0, 200) {
            let now = Timestamp::from_millis(prng.between(0, 5000));
            let socket = prng.between(0, 40) as usize;
            match prng.between(0, 20) {
                0 => referee.open(&mut race, socket),
                1..=6 => referee.fail(&mut race, now, socket),
                7..=12 => race.handle_timeout(now),
                _ => referee.saw(race.poll_action()),
            }
        }
        // From here on the driver drains, and whatever still runs fails.
        loop {
            while let Some(action) = race.poll_action() {
                referee.saw(Some(action));
            }
            let Some(socket) = referee.running.first().copied() else { break };
            assert!(!referee.open.contains(&socket), "{socket} is open, and was forgotten");
            referee.fail(&mut race, Timestamp::ZERO, socket);
        }
        assert!(referee.over, "neither won nor lost");
        assert_eq!(race.poll_timeout(), None);
        let distinct: BTreeSet<_> = found.into_iter().collect();
        assert!(referee.addresses.is_subset(&distinct));
    });
}

/// Sees that every address is opened at most once, that the race ends once, and that a socket ends once.
#[derive(Default)]
struct Referee {
    addresses: BTreeSet<SocketAddr>,
    /// Neither failed, nor won, nor abandoned.
    running: BTreeSet<usize>,
    open: BTreeSet<usize>,
    over: bool,
}

impl Referee {
    fn open(&mut self, race: &mut Race<u64>, socket: usize) {
        race.opened(socket);
        self.open.extend(self.running.get(&socket));
    }

    /// What is open does not fail to open.
    fn fail(&mut self, race: &mut Race<u64>, now: Timestamp, socket: usize) {
        if !self.open.contains(&socket) {
            race.failed(now, socket, socket as u64);
            self.running.remove(&socket);
        }
    }

    fn saw(&mut self, action: Option<Action>) {
        match action {
            None => {}
            Some(RaceAction::Open { socket, address }) => {
                assert!(!self.over && self.open.is_empty(), "opened {address} after the race");
                assert_eq!(socket, self.addresses.len());
                assert!(self.addresses.insert(address), "{address} was opened twice");
                self.running.insert(socket);
            }
            Some(RaceAction::Won { socket }) => {
                assert!(!self.over && self.open.contains(&socket));
                assert!(self.running.remove(&socket));
                self.over = true;
            }
            Some(RaceAction::Abandon { socket }) => {
                assert!(self.over, "abandoned before the race was won");
                assert!(self.running.remove(&socket), "{socket} had ended");
            }
            Some(RaceAction::Lost { .. }) => {
                assert!(!self.over && self.open.is_empty() && self.running.is_empty());
                self.over = true;
            }
        }
    }
}

/// Runs a race with a driver that hands over all that happened at one moment, then says what time it is, then drains. Now
/// and then it wakes for nothing, or tells what is no longer true.
fn run(prng: &mut Prng, found: &[SocketAddr], fates: &[Fate]) -> Vec<(u64, Action)> {
    let mut race = Race::new(Timestamp::ZERO, found.iter().copied()).unwrap();
    let (mut now, mut trace) = (0, Vec::new());
    let mut ends: BTreeSet<(u64, usize)> = BTreeSet::new();
    loop {
        for _ in 0..prng.between(1, 3) {
            race.handle_timeout(Timestamp::from_millis(now));
        }
        while let Some(action) = race.poll_action() {
            trace.push((now, action));
            assert!(trace.len() <= 2 * MAX_ADDRESSES, "no end: {trace:?}");
            match action {
                RaceAction::Open { socket, .. } => {
                    ends.insert((now + fates[socket].after_ms, socket));
                }
                RaceAction::Abandon { socket } => ends.retain(|(_, other)| *other != socket),
                _ => {}
            }
        }
        let due = race.poll_timeout().map(|deadline| deadline.at.as_millis());
        assert!(due.is_none_or(|due| due > now));
        let end = ends.first().map(|(at, _)| *at);
        let Some(next) = end.into_iter().chain(due).min() else { return trace };
        if prng.between(0, 1) == 0 {
            // Too early, and about a socket that does not run.
            let early = Timestamp::from_millis(prng.between(now, next - 1));
            let stale = prng.between(0, 40) as usize;
            if ends.iter().all(|(_, socket)| *socket != stale) {
                race.opened(stale);
                race.failed(early, stale, u64::MAX);
            }
            race.handle_timeout(early);
            assert_eq!(race.poll_action(), None);
        }
        now = next;
        while let Some((at, socket)) = ends.pop_first() {
            if at > now {
                ends.insert((at, socket));
                break;
            }
            match fates[socket].result {
                Ok(()) => race.opened(socket),
                Err(failure) => race.failed(Timestamp::from_millis(now), socket, failure),
            }
        }
    }
}

/// What must happen and when, worked out from the fates without any state.
fn model(order: &[SocketAddr], fates: &[Fate]) -> Vec<(u64, Action)> {
    let delay = ATTEMPT_DELAY.as_millis() as u64;
    let (mut begins, mut ends): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    let first_open = |ends: &[u64]| (0..ends.len()).filter(|i| fates[*i].result.is_ok()).min_by_key(|i| ends[*i]);
    for fate in fates {
        let begin = begins.last().map_or(0, |last| {
            let failures = (0..ends.len()).filter(|i| fates[*i].result.is_err()).map(|i| ends[i]);
            failures.filter(|end| end > last).chain([last + delay]).min().unwrap()
        });
        if first_open(&ends).is_some_and(|winner| ends[winner] <= begin) {
            break;
        }
        begins.push(begin);
        ends.push(begin + fate.after_ms);
    }
    let opens = begins.iter().zip(order).enumerate();
    let mut trace: Vec<(u64, Action)> =
        opens.map(|(socket, (at, address))| (*at, RaceAction::Open { socket, address: *address })).collect();
    if let Some(winner) = first_open(&ends) {
        let end = ends[winner];
        trace.push((end, RaceAction::Won { socket: winner }));
        let left = |i: &usize| *i != winner && (ends[*i] > end || ends[*i] == end && fates[*i].result.is_ok());
        trace.extend((0..ends.len()).filter(left).map(|socket| (end, RaceAction::Abandon { socket })));
    } else {
        let failure = fates.iter().filter_map(|fate| fate.result.err()).max().unwrap();
        trace.push((ends.iter().copied().max().unwrap(), RaceAction::Lost { failure }));
    }
    trace
}

/// What a resolver found: both families or one, in any order, some twice.
fn found(prng: &mut Prng) -> Vec<SocketAddr> {
    let most = if prng.between(0, 9) == 0 { 80 } else { 8 };
    let (count, families) = (prng.between(1, most), prng.between(0, 2));
    let address = |_| {
        let host = prng.between(1, count + 1) as u8;
        let is_v6 = families == 0 || families == 1 && prng.between(0, 1) == 0;
        if is_v6 {
            (Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()]), 1).into()
        } else {
            (Ipv4Addr::new(192, 0, 2, host), 1).into()
        }
    };
    (0..count).map(address).collect()
}

/// The order of the turns.
fn order(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut seen = BTreeSet::new();
    let distinct = found.iter().copied().filter(|address| seen.insert(*address));
    let (mut these, mut those): (VecDeque<_>, VecDeque<_>) =
        distinct.partition(|address| address.is_ipv6() == found[0].is_ipv6());
    let mut order = Vec::new();
    while !these.is_empty() || !those.is_empty() {
        order.extend(these.pop_front());
        order.extend(those.pop_front());
    }
    order.truncate(MAX_ADDRESSES);
    order
}

/// On a coarse grid, so that things happen at the same moment.
fn fate(prng: &mut Prng) -> Fate {
    let result = if prng.between(0, 3) == 0 { Ok(()) } else { Err(prng.between(0, 3)) };
    Fate { after_ms: 50 * prng.between(1, 20), result }
}
