//! The whole simulator: one hour of virtual time.
//!
//! `cargo bench -p keepbeat-benches --bench simulated_hour [-- FILTER]`. Ids are `simulated_hour/WEATHER/SEEDS/CLIENTS`.
//! Every client beats once per second and exchanges a message with the server every two seconds in each direction.
//! In the weather `calm` nothing goes wrong; in `storm`, one to six faults of up to 30 s do in every ten minutes.
//! With the seeds `fixed` all hours are the same, byte for byte; with `varying` every one is another, so that the time
//! is that of many different ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode};
use keepbeat_benches::process::{ProcessorTime, is_smoke};
use keepbeat_benches::ratios::Ratios;
use keepbeat_core::entropy::Prng;
use keepbeat_core::sim::{Setup, Sim, Traffic, random_schedule};

const HOUR: Duration = Duration::from_secs(3600);

/// A schedule of faults for each of these.
const SPELL: Duration = Duration::from_secs(600);

/// No fault lasts longer. With much longer ones and many clients, a server that was stalled has more to do in one turn than
/// the simulator takes for sane.
const LONGEST: Duration = Duration::from_secs(30);

const SEED: u64 = 4711;

fn main() {
    let ratios = Ratios::begin("simulated_hour");
    let criterion =
        Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(300)).nresamples(5_000);
    let mut criterion = criterion.measurement_time(Duration::from_secs(3)).sample_size(10).configure_from_args();
    let sizes: &[usize] = if is_smoke() { &[1] } else { &[1, 3] };
    for storm in [false, true] {
        let mut group = criterion.benchmark_group(format!("simulated_hour/{}", if storm { "storm" } else { "calm" }));
        group.sampling_mode(SamplingMode::Flat);
        for &clients in sizes {
            group.bench_function(BenchmarkId::new("fixed", clients), |bencher| {
                bencher.iter(|| hour(SEED, clients, storm));
            });
            let mut seed = SEED;
            group.bench_function(BenchmarkId::new("varying", clients), |bencher| {
                bencher.iter(|| {
                    seed += 1;
                    hour(seed, clients, storm)
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    ratios.print(&["fixed"]);
}

/// An hour, and the minutes in which messages are still sent that a storm held up.
fn hour(seed: u64, clients: usize, storm: bool) -> Sim {
    let mut setup = Setup::quick(seed, clients);
    let every = |pause| Traffic { messages: HOUR.as_secs() / 2, pause: (pause, pause), size: (0, 300) };
    (setup.up, setup.down) = (every(Duration::from_secs(2)), every(Duration::from_secs(2)));
    let mut sim = Sim::new(setup);
    let mut prng = Prng::new(seed);
    let mut left = HOUR;
    while !left.is_zero() {
        if storm {
            let mut faults = random_schedule(&mut prng, clients, SPELL / 2, LONGEST);
            let now = sim.now();
            faults.iter_mut().for_each(|fault| fault.at = now.after(Duration::from_nanos(fault.at.as_nanos())));
            sim.add_faults(faults);
        }
        sim.run_for(SPELL);
        left -= SPELL;
    }
    assert!(sim.run_until(HOUR, Sim::is_settled), "everything arrives in the end; seed {seed}");
    sim
}
