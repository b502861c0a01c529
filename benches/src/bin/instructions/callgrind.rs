//! Runs this program under valgrind and reads what it counted.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Case;

/// Instructions per operation of every case, to a tenth.
///
/// Every case runs twice, so that what the first operations cost (memory that is asked for, tables that grow) falls out of
/// the difference; of each run, only `counted_operation` is counted.
pub(crate) fn count_all(cases: &[Case]) -> Result<Vec<f64>, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut counts = Vec::new();
        while let Some((index, case)) = take(&next, cases) {
            counts.push((index, count(&program, case)?));
        }
        Ok::<_, String>(counts)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counts = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            counts.extend(worker.join().map_err(|_| "a thread of this program failed".to_owned())??);
        }
        Ok::<_, String>(())
    })?;
    counts.sort_by_key(|(index, _)| *index);
    Ok(counts.into_iter().map(|(_, count)| count).collect())
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cases.get(index).map(|case| (index, case))
}

fn count(program: &Path, case: &Case) -> Result<f64, String> {
    let (few, many) = (case.times, 3 * case.times);
    let difference = total(program, case, many)?.saturating_sub(total(program, case, few)?);
    let operations = f64::from(many - few) * case.operations as f64;
    Ok((10.0 * difference as f64 / operations).round() / 10.0)
}

fn total(program: &Path, case: &Case, times: u32) -> Result<u64, String> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("keepbeat-instructions-{}-{run}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_operation*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--run", &case.name, &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start ({error}); is it installed?"))?;
    let profile = std::fs::read_to_string(&file).unwrap_or_default();
    let _absent = std::fs::remove_file(&file).is_err();
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    match totals {
        Some(totals) if output.status.success() && totals > 0 => Ok(totals),
        _ => Err(format!("{}: nothing was counted\n{}", case.name, String::from_utf8_lossy(&output.stderr))),
    }
}
