//! Timers: N links, each with a deadline of 50 s that every received beat pushes back.
//!
//! `cargo bench -p keepbeat-benches --bench timer [-- FILTER]`. Ids are `timer/GROUP/CONTENDER/LINKS`.
//!
//! | group | what is timed |
//! |---|---|
//! | `touch` | a beat arrives on the next link, and its deadline moves away |
//! | `rearm` | a deadline comes nearer than all others |
//! | `next` | what is due next? The deadlines lie within 10 s |
//! | `idle` | a wake-up at which nothing is due |
//! | `round` | every link beats twice within 50 s, and what that leaves to do later is done; time per beat |
//! | `expiry` | all links fall silent and are told to be dead, one after the other; time per link |
//!
//! | contender | what it is |
//! |---|---|
//! | `ours` | the core's `Liveness` for each link and one `Timers` |
//! | `server` | the core's whole `Server`, which also decodes every beat and answers it, and closes the connections of the dead |
//! | `link` | one `Liveness` of many, without `Timers` |
//! | `sleep` | one tokio `Sleep` per link; in `expiry` it wakes a task that does not run |
//! | `queue` | one tokio-util `DelayQueue` |
//! | `async-io` | one `Timer` of async-io per link; part of the work is done by its thread, which counts |
//! | `store` | a store of the time: the floor |
//!
//! `touch` leaves work for later where a timer is lazy (`ours`, `sleep`); `round` counts it. The `server` does it at every
//! touch. async-io has no virtual clock, so it has no `round` and no `expiry`. Links beat in a random order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use keepbeat_benches::deadlines::{
    Deadlines, Expire, INTERVAL, Ours, Queue, Reactor, Rearm, SILENCE, START, Served, Sleeps, Stores, shuffled,
};
use keepbeat_benches::process::{ProcessorTime, is_smoke, processor_time};
use keepbeat_benches::ratios::Ratios;
use keepbeat_core::time::Timestamp;

type Group<'a> = BenchmarkGroup<'a, ProcessorTime>;

/// Beats, or deaths, between two wake-ups.
const TURN: usize = 1000;

/// The links that expire fall silent within this time.
const SPREAD: Duration = Duration::from_secs(10);

fn main() {
    let ratios = Ratios::begin("timer");
    let criterion =
        Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(150)).nresamples(5_000);
    let mut criterion = criterion.measurement_time(Duration::from_millis(400)).sample_size(20).configure_from_args();
    let sizes: &[usize] = if is_smoke() { &[1, 1000] } else { &[1, 1000, 100_000, 1_000_000] };

    let mut group = criterion.benchmark_group("timer/touch");
    for &links in sizes {
        touch::<Ours>(&mut group, "ours", links);
        touch::<Served>(&mut group, "server", links);
        touch::<Sleeps>(&mut group, "sleep", links);
        touch::<Queue>(&mut group, "queue", links);
        touch::<Reactor>(&mut group, "async-io", links);
        touch::<Stores>(&mut group, "store", links);
    }
    group.finish();

    let mut group = criterion.benchmark_group("timer/rearm");
    for &links in sizes {
        rearm::<Ours>(&mut group, "ours", links);
        rearm::<Sleeps>(&mut group, "sleep", links);
        rearm::<Queue>(&mut group, "queue", links);
        rearm::<Reactor>(&mut group, "async-io", links);
    }
    group.finish();

    next(&mut criterion, sizes);
    idle(&mut criterion, sizes);

    let mut group = criterion.benchmark_group("timer/round");
    group.sample_size(10);
    for &links in sizes.iter().filter(|links| **links > 1) {
        group.throughput(Throughput::Elements(2 * links as u64));
        round::<Ours>(&mut group, "ours", links);
        round::<Sleeps>(&mut group, "sleep", links);
        round::<Queue>(&mut group, "queue", links);
    }
    group.finish();

    let mut group = criterion.benchmark_group("timer/expiry");
    group.sample_size(10);
    for &links in sizes.iter().filter(|links| **links > 1) {
        group.throughput(Throughput::Elements(links as u64));
        expiry::<Ours>(&mut group, "ours", links);
        if links <= 100_000 {
            expiry::<Served>(&mut group, "server", links);
        }
        expiry::<Sleeps>(&mut group, "sleep", links);
        expiry::<Queue>(&mut group, "queue", links);
    }
    group.finish();

    criterion.final_summary();
    ratios.print(&["ours"]);
}

/// Beats that arrive one by one, for ever.
struct Beats {
    order: Vec<u32>,
    next: usize,
    step: Duration,
    now: Timestamp,
}

impl Beats {
    fn of<D: Deadlines>(links: usize) -> Self {
        Self { order: shuffled(links), next: 0, step: INTERVAL / D::BEATS.max(links as u32), now: START }
    }

    fn next(&mut self) -> (usize, Timestamp) {
        let link = self.order[self.next];
        self.next += 1;
        if self.next == self.order.len() {
            self.next = 0;
        }
        self.now = self.now.after(self.step);
        (link as usize, self.now)
    }
}

fn touch<D: Deadlines>(group: &mut Group<'_>, name: &str, links: usize) {
    let mut made = None;
    group.bench_function(BenchmarkId::new(name, links), |bencher| {
        // Made once, and only if the filter lets it.
        let (deadlines, beats) = made.get_or_insert_with(|| (D::new(links), Beats::of::<D>(links)));
        bencher.iter(|| {
            let (link, now) = beats.next();
            deadlines.touch(link, now);
        });
    });
}

fn rearm<D: Rearm>(group: &mut Group<'_>, name: &str, links: usize) {
    /// Every deadline is a millisecond, the wheels' unit, before the last one. Nobody gets to the start.
    const STEP: Duration = Duration::from_millis(1);
    const FAR: Timestamp = START.after(Duration::from_secs(30 * 24 * 3600));
    let mut made = None;
    group.bench_function(BenchmarkId::new(name, links), |bencher| {
        let (deadlines, order, next, due) = made.get_or_insert_with(|| {
            let mut deadlines = D::new(links);
            for link in 0..links {
                deadlines.put(link, FAR);
            }
            (deadlines, shuffled(links), 0, FAR)
        });
        bencher.iter(|| {
            *due = due.before(STEP);
            deadlines.nearer(order[*next] as usize, *due);
            *next = (*next + 1) % links;
        });
    });
}

fn next(criterion: &mut Criterion<ProcessorTime>, sizes: &[usize]) {
    let mut group = criterion.benchmark_group("timer/next");
    for &links in sizes {
        query::<Ours, _>(&mut group, "ours", links, |ours, _| ours.first());
        query::<Ours, _>(&mut group, "link", links, |ours, link| ours.poll_timeout(link));
        query::<Served, _>(&mut group, "server", links, |server, _| server.poll_timeout());
        query::<Queue, _>(&mut group, "queue", links, |queue, _| queue.first());
        query::<Stores, _>(&mut group, "store", links, |stores, link| stores.last(link));
    }
    group.finish();
}

fn idle(criterion: &mut Criterion<ProcessorTime>, sizes: &[usize]) {
    let mut group = criterion.benchmark_group("timer/idle");
    for &links in sizes {
        query::<Ours, _>(&mut group, "ours", links, |ours, _| ours.turn(START));
        query::<Ours, _>(&mut group, "link", links, |ours, link| ours.handle_timeout(link, START));
        query::<Served, _>(&mut group, "server", links, |server, _| server.handle_timeout(START));
        query::<Queue, _>(&mut group, "queue", links, |queue, _| queue.turn(START));
    }
    group.finish();
}

/// Asks for something again and again, of one link after the other.
fn query<D: Deadlines, T>(group: &mut Group<'_>, name: &str, links: usize, ask: impl Fn(&mut D, usize) -> T) {
    let mut made = None;
    group.bench_function(BenchmarkId::new(name, links), |bencher| {
        let (deadlines, beats) = made.get_or_insert_with(|| (last_beats::<D>(links), Beats::of::<D>(links)));
        bencher.iter(|| black_box(ask(deadlines, beats.next().0)));
    });
}

fn round<D: Expire>(group: &mut Group<'_>, name: &str, links: usize) {
    let mut made = None;
    group.bench_function(BenchmarkId::new(name, links), |bencher| {
        let (deadlines, beats) = made.get_or_insert_with(|| (D::new(links), Beats::of::<D>(links)));
        bencher.iter(|| {
            // As long as the silence that expires: what was filed lazily comes up once in every round.
            for count in 1..=2 * links {
                let (link, now) = beats.next();
                deadlines.touch(link, now);
                if count.is_multiple_of(TURN) {
                    assert_eq!(deadlines.turn(now), 0, "all are heard in time");
                }
            }
        });
    });
}

fn expiry<D: Expire>(group: &mut Group<'_>, name: &str, links: usize) {
    group.bench_function(BenchmarkId::new(name, links), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                let mut deadlines = last_beats::<D>(links);
                let turns = (links / TURN) as u32;
                let begin = processor_time();
                let mut expired = 0;
                for turn in 1..=turns {
                    expired += deadlines.turn(START.after(SILENCE + SPREAD * turn / turns));
                }
                // The wheels round up.
                expired += deadlines.turn(START.after(SILENCE + SPREAD + Duration::from_millis(5)));
                total += processor_time() - begin;
                assert_eq!(expired, links, "all have expired");
            }
            total
        });
    });
}

/// Every link has beaten once more, spread over [`SPREAD`].
fn last_beats<D: Deadlines>(links: usize) -> D {
    let mut deadlines = D::new(links);
    for (place, link) in shuffled(links).into_iter().enumerate() {
        deadlines.touch(link as usize, START.after(SPREAD.mul_f64((place + 1) as f64 / links as f64)));
    }
    deadlines
}
