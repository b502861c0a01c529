//! Many seeds for one test, and the seed that fails.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU64, Ordering};
use std::panic::{catch_unwind, resume_unwind};
use std::string::String;
use std::{env, eprintln, format, thread};

/// Runs `test` with the seeds from 0 up to the number in `KEEPBEAT_SEEDS`, by default 1,000; or, if `KEEPBEAT_SEED` is
/// set, with that one alone. Uses two threads.
///
/// # Panics
/// If `test` does, after printing the seed and the command that replays it.
pub fn for_each_seed(test: impl Fn(u64) + Sync) {
    for_each_seed_of("KEEPBEAT_SEEDS", 1000, test);
}

/// The same with the number of seeds from the variable `variable`, by default `default`.
///
/// # Panics
/// If `test` does, after printing the seed and the command that replays it.
pub fn for_each_seed_of(variable: &str, default: u64, test: impl Fn(u64) + Sync) {
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("KEEPBEAT_SEED") {
        return test(seed);
    }
    let (count, next) = (number(variable).unwrap_or(default), AtomicU64::new(0));
    let name = thread::current().name().map_or_else(String::new, String::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
                next.store(count, Ordering::Relaxed);
                eprintln!("seed {seed} failed; replay it: {}", replay(seed, &name));
                resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        if let Err(panic) = other.join() {
            resume_unwind(panic);
        }
    });
}

fn replay(seed: u64, test: &str) -> String {
    format!("KEEPBEAT_SEED={seed} cargo test -p keepbeat-core --all-features {test}")
}
