//! Which fault comes when, on which link. Depends on the plan's seed, links and seconds alone.

use std::fmt;
use std::time::Duration;

use keepbeat_core::entropy::Prng;

/// Until the first fault, so that every link is up.
const WARM_UP: Duration = Duration::from_millis(1000);
/// After the last fault's rest, until the end.
const TAIL: Duration = Duration::from_millis(300);
/// The server restarts about once in this time.
const RESTART_EVERY: Duration = Duration::from_secs(8);
/// Nobody waits longer than this for a demo.
const LONGEST_SECONDS: u64 = 24 * 3600;

/// The kinds that are counted. Each comes at least once in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    BlackHoleUp,
    BlackHoleDown,
    Cut,
    HalfOpen,
    Stall,
    SlowTrickle,
    Refuse,
    AcceptThenClose,
    ServerRestart,
    ServerStop,
}

impl Kind {
    /// What is done to single links.
    const OF_LINKS: [Self; 8] = [
        Self::BlackHoleUp,
        Self::BlackHoleDown,
        Self::Cut,
        Self::HalfOpen,
        Self::Stall,
        Self::SlowTrickle,
        Self::Refuse,
        Self::AcceptThenClose,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BlackHoleUp => "black_hole_up",
            Self::BlackHoleDown => "black_hole_down",
            Self::Cut => "cut",
            Self::HalfOpen => "half_open",
            Self::Stall => "stall",
            Self::SlowTrickle => "slow_trickle",
            Self::Refuse => "refuse",
            Self::AcceptThenClose => "accept_then_close",
            Self::ServerRestart => "server_restart",
            Self::ServerStop => "server_stop",
        }
    }
}

/// What is done to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// What the client sends vanishes; then whoever was caught in it is reset.
    BlackHoleUp,
    /// What the server sends vanishes; then whoever was caught in it is reset.
    BlackHoleDown,
    /// Both sockets are reset.
    Cut,
    /// The server's socket is reset; the client is not told. The way is free for another connection.
    ServerLost,
    /// The client's socket is reset; the server is not told. The client may come back at once and take over.
    ClientLost,
    /// The same, and the client cannot come back before the server must have noticed.
    ClientGone,
    /// Nothing moves, in neither direction, for less than what kills.
    Stall,
    /// Bytes move, but only a few at a time.
    SlowTrickle,
    /// The connection is reset, and new ones are refused.
    Refuse,
    /// The connection is reset, and new ones are accepted and closed.
    AcceptThenClose,
    /// The server drops all connections, and comes back with its sessions.
    ServerRestart,
    /// The process of the server is stopped, and then goes on.
    ServerStop,
}

impl Act {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::BlackHoleUp => Kind::BlackHoleUp,
            Self::BlackHoleDown => Kind::BlackHoleDown,
            Self::Cut => Kind::Cut,
            Self::ServerLost | Self::ClientLost | Self::ClientGone => Kind::HalfOpen,
            Self::Stall => Kind::Stall,
            Self::SlowTrickle => Kind::SlowTrickle,
            Self::Refuse => Kind::Refuse,
            Self::AcceptThenClose => Kind::AcceptThenClose,
            Self::ServerRestart => Kind::ServerRestart,
            Self::ServerStop => Kind::ServerStop,
        }
    }

    /// The shortest and the longest time that it is in force, and the time after it that nothing else happens.
    ///
    /// What silences a link lasts longer than the bound of detection, what must not kill stays well below that.
    fn terms(self, bound: Duration) -> (Duration, Duration, Duration) {
        let ms = Duration::from_millis;
        match self {
            Self::BlackHoleUp | Self::BlackHoleDown | Self::ClientGone | Self::ServerStop => {
                (bound + ms(150), bound + ms(500), ms(1400))
            }
            Self::ServerLost | Self::ClientLost => (bound + ms(150), bound + ms(150), ms(1200)),
            Self::Cut => (ms(0), ms(0), ms(1200)),
            Self::Stall => (ms(150), ms(380), ms(800)),
            Self::SlowTrickle => (ms(800), ms(1600), ms(800)),
            Self::Refuse | Self::AcceptThenClose => (ms(300), ms(1200), ms(1800)),
            Self::ServerRestart => (ms(200), ms(600), ms(1800)),
        }
    }

    /// The room that it needs at most.
    fn longest_slot(self, bound: Duration) -> Duration {
        let (_, longest, rest) = self.terms(bound);
        longest + rest
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// The link; `None` for all of them.
    pub(super) link: Option<usize>,
    pub(super) act: Act,
    /// Since the start of the run.
    pub(super) at: Duration,
    pub(super) lasts: Duration,
}

/// The faults of a run, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) faults: Vec<Fault>,
    /// Their kinds; each comes at least once.
    pub(super) kinds: Vec<Kind>,
}

/// A fault that waits for its place.
#[derive(Debug, Clone, Copy)]
struct Draft {
    act: Act,
    lasts: Duration,
    slot: Duration,
}

/// The time of one link between two restarts of the server.
struct Bin {
    link: usize,
    from: Duration,
    room: Duration,
    drafts: Vec<Draft>,
}

impl Schedule {
    /// Every kind at least once, then as many as fit. `bound` is the longest time that detection takes; `incidents` is what
    /// happens to the server, one after the other.
    pub(super) fn new(
        seed: u64,
        links: usize,
        seconds: u64,
        bound: Duration,
        incidents: &[Act],
    ) -> Result<Self, TooShort> {
        let mut prng = Prng::new(seed);
        let length = Duration::from_secs(seconds);
        let Some(mut bins) = pack(&mut prng, links, length, bound, incidents) else {
            let enough = |links, seconds| {
                pack(&mut Prng::new(0), links, Duration::from_secs(seconds), bound, incidents).is_some()
            };
            return Err(TooShort {
                links,
                seconds,
                seconds_needed: (seconds..=LONGEST_SECONDS).find(|&more| enough(links, more)),
                links_needed: (links..=Kind::OF_LINKS.len()).find(|&more| enough(more, seconds)),
            });
        };
        let mut faults = Vec::new();
        for bin in &mut bins {
            fill(&mut prng, bin, bound);
            shuffle(&mut prng, &mut bin.drafts);
            place(&mut prng, bin, &mut faults);
        }
        let (segments, segment) = segments(length);
        for index in 1..=segments {
            let mut at = WARM_UP + segment * index;
            for &act in incidents {
                let Draft { act, lasts, slot } = draw(&mut prng, act, bound);
                at -= slot;
                faults.push(Fault { link: None, act, at, lasts });
            }
        }
        faults.sort_by_key(|fault| (fault.at, fault.link));
        let kinds = Kind::OF_LINKS.into_iter().chain(incidents.iter().map(|act| act.kind())).collect();
        Ok(Self { faults, kinds })
    }
}

/// How often the server restarts, and the time from one restart to the next.
fn segments(length: Duration) -> (u32, Duration) {
    let span = length.saturating_sub(WARM_UP + TAIL);
    let restarts = (span.as_secs() / RESTART_EVERY.as_secs()).clamp(1, u64::from(u32::MAX)) as u32;
    (restarts, span / restarts)
}

/// One fault of each kind, each where most room is left, the longest first. `None` if they do not fit; whether they do
/// does not depend on the seed.
fn pack(prng: &mut Prng, links: usize, length: Duration, bound: Duration, incidents: &[Act]) -> Option<Vec<Bin>> {
    let (segments, segment) = segments(length);
    let room = segment.checked_sub(incidents.iter().map(|act| act.longest_slot(bound)).sum())?;
    let mut bins: Vec<Bin> = (0..segments)
        .flat_map(|index| {
            let from = WARM_UP + segment * index;
            (0..links).map(move |link| Bin { link, from, room, drafts: Vec::new() })
        })
        .collect();
    shuffle(prng, &mut bins);
    let mut due = [
        Act::BlackHoleUp,
        Act::BlackHoleDown,
        Act::Cut,
        Act::ServerLost,
        Act::Stall,
        Act::SlowTrickle,
        Act::Refuse,
        Act::AcceptThenClose,
    ];
    due.sort_by_key(|act| std::cmp::Reverse(act.longest_slot(bound)));
    for act in due {
        let bin = bins.iter_mut().max_by_key(|bin| bin.room)?;
        bin.room = bin.room.checked_sub(act.longest_slot(bound))?;
        // What is drawn takes at most the room set aside.
        bin.drafts.push(draw(prng, act, bound));
    }
    for bin in &mut bins {
        bin.room = room - bin.drafts.iter().map(|draft| draft.slot).sum::<Duration>();
    }
    bins.sort_by_key(|bin| (bin.from, bin.link));
    Some(bins)
}

/// Adds faults until nothing that is drawn fits any more.
fn fill(prng: &mut Prng, bin: &mut Bin, bound: Duration) {
    let mut misses = 0;
    while misses < 3 {
        let act = match prng.between(0, 7) {
            0 => Act::BlackHoleUp,
            1 => Act::BlackHoleDown,
            2 => Act::Cut,
            3 => match prng.between(0, 2) {
                0 => Act::ServerLost,
                1 => Act::ClientLost,
                _ => Act::ClientGone,
            },
            4 => Act::Stall,
            5 => Act::SlowTrickle,
            6 => Act::Refuse,
            _ => Act::AcceptThenClose,
        };
        let draft = draw(prng, act, bound);
        match bin.room.checked_sub(draft.slot) {
            Some(rest) => {
                bin.room = rest;
                bin.drafts.push(draft);
            }
            None => misses += 1,
        }
    }
}

/// Puts a bin's faults one behind the other, with the room that is left spread before, between and after them.
fn place(prng: &mut Prng, bin: &Bin, faults: &mut Vec<Fault>) {
    let mut at = bin.from;
    let mut room = bin.room;
    let mut gaps = bin.drafts.len() as u32 + 1;
    for &Draft { act, lasts, slot } in &bin.drafts {
        let gap = prng.span(Duration::ZERO, room * 2 / gaps).min(room);
        (room, gaps) = (room - gap, gaps - 1);
        faults.push(Fault { link: Some(bin.link), act, at: at + gap, lasts });
        at += gap + slot;
    }
}

fn draw(prng: &mut Prng, act: Act, bound: Duration) -> Draft {
    let (shortest, longest, rest) = act.terms(bound);
    let lasts = prng.span(shortest, longest);
    Draft { act, lasts, slot: lasts + rest }
}

/// Fisher and Yates.
fn shuffle<T>(prng: &mut Prng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, prng.between(0, last as u64) as usize);
    }
}

/// There is no room for one fault of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooShort {
    links: usize,
    seconds: u64,
    seconds_needed: Option<u64>,
    links_needed: Option<usize>,
}

impl fmt::Display for TooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { links, seconds, .. } = self;
        let plural = if *links == 1 { "" } else { "s" };
        write!(f, "{seconds} s with {links} link{plural} are too short for one fault of each kind")?;
        match (self.seconds_needed, self.links_needed) {
            (Some(seconds), Some(links)) => write!(f, "; give --seconds {seconds} or --links {links}"),
            (Some(seconds), None) => write!(f, "; give --seconds {seconds}"),
            (None, Some(links)) => write!(f, "; give --links {links}"),
            (None, None) => f.write_str("; give more of both"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(1000);
    const RESTART: &[Act] = &[Act::ServerRestart];

    fn kinds(schedule: &Schedule) -> Vec<Kind> {
        let mut kinds: Vec<_> = schedule.faults.iter().map(|fault| fault.act.kind()).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    #[test]
    fn every_kind_comes_at_least_once() {
        for seed in 0..200 {
            for (links, seconds) in [(20, 20), (8, 8), (1, 40), (100, 60)] {
                let schedule = Schedule::new(seed, links, seconds, BOUND, RESTART).unwrap();
                assert_eq!(kinds(&schedule), schedule.kinds, "seed {seed}, {links} links, {seconds} s");
            }
        }
    }

    #[test]
    fn what_happens_to_the_server_is_as_it_is_asked_for() {
        for (incidents, seconds) in [(&[][..], 8), (RESTART, 8), (&[Act::ServerRestart, Act::ServerStop], 12)] {
            let schedule = Schedule::new(1, 8, seconds, BOUND, incidents).unwrap();
            assert_eq!(kinds(&schedule), schedule.kinds);
            assert_eq!(schedule.kinds.len(), 8 + incidents.len());
            let all: Vec<_> = schedule.faults.iter().filter(|fault| fault.link.is_none()).collect();
            assert!(all.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at), "{all:?}");
        }
    }

    #[test]
    fn the_default_run_has_many_of_each_kind_but_restarts() {
        for seed in 0..50 {
            let Schedule { faults, kinds } = Schedule::new(seed, 20, 20, BOUND, RESTART).unwrap();
            assert!(faults.len() >= 60, "only {} faults", faults.len());
            for kind in kinds {
                assert!(faults.iter().filter(|fault| fault.act.kind() == kind).count() >= 2, "{kind:?}");
            }
        }
    }

    #[test]
    fn the_same_plan_gives_the_same_faults_and_another_seed_others() {
        let plan = |seed| Schedule::new(seed, 20, 20, BOUND, RESTART).unwrap();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn no_two_faults_of_one_link_overlap_and_each_has_its_rest() {
        for seed in 0..200 {
            let faults = Schedule::new(seed, 6, 30, BOUND, RESTART).unwrap().faults;
            for link in 0..6 {
                let mut free = WARM_UP;
                for fault in faults.iter().filter(|fault| fault.link.is_none_or(|of| of == link)) {
                    let (shortest, longest, rest) = fault.act.terms(BOUND);
                    assert!(fault.at >= free, "seed {seed}: {fault:?} comes before {free:?}");
                    assert!(fault.lasts >= shortest && fault.lasts <= longest);
                    free = fault.at + fault.lasts + rest;
                }
                assert!(free <= Duration::from_secs(30) - TAIL);
            }
        }
    }

    #[test]
    fn a_run_that_is_too_short_says_what_would_do() {
        for (links, seconds) in [(1, 5), (3, 8), (20, 2), (1, 0)] {
            let error = Schedule::new(1, links, seconds, BOUND, RESTART).unwrap_err();
            let needed = error.seconds_needed.unwrap();
            assert!(Schedule::new(1, links, needed, BOUND, RESTART).is_ok());
            assert!(Schedule::new(1, links, needed - 1, BOUND, RESTART).is_err());
            if let Some(needed) = error.links_needed {
                assert!(Schedule::new(1, needed, seconds, BOUND, RESTART).is_ok());
            }
            assert!(error.to_string().contains("give --seconds"), "{error}");
        }
    }
}
