//! How many instructions every hot path takes, counted by valgrind, beside what it took before.
//!
//! `cargo run --release -p keepbeat-benches --bin instructions -- --compare`
//!
//! See `docs/benchmarks.md`.

mod baseline;
mod callgrind;
mod cases;
mod limits;

use std::process::ExitCode;

use self::baseline::{Baseline, Verdict};
use self::cases::Case;

const USAGE: &str = "usage: instructions [--compare | --write] [--only PART-OF-A-NAME]
  without an option: counts and prints
  --compare          fails if a case takes more than benches/instructions.txt says, beyond the tolerance, or than a limit
  --write            renews benches/instructions.txt
  --only PART        only the cases with this in their name; not together with --write";

enum Job {
    Print,
    Compare,
    Write,
    /// What this program asks of itself under valgrind.
    Run {
        case: String,
        times: u32,
    },
}

fn main() -> ExitCode {
    let done = arguments(std::env::args().skip(1)).and_then(|(job, only)| match job {
        Job::Run { case, times } => run(&case, times),
        job => measure(&job, only.as_deref()),
    });
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<(Job, Option<String>), String> {
    let (mut job, mut only) = (Job::Print, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--compare" => job = Job::Compare,
            "--write" => job = Job::Write,
            "--only" => only = Some(value()?),
            "--run" => job = Job::Run { case: value()?, times: number(&value()?)? },
            _ => return Err(format!("{word} is not known\n{USAGE}")),
        }
    }
    if only.is_some() && matches!(job, Job::Write) {
        return Err(format!("--write renews all cases, so --only does not go with it\n{USAGE}"));
    }
    Ok((job, only))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text} is not a number\n{USAGE}"))
}

fn run(name: &str, times: u32) -> Result<ExitCode, String> {
    let case = cases::all().into_iter().find(|case| case.name == name);
    let case = case.ok_or_else(|| format!("there is no case {name}"))?;
    (case.body)(times).map_err(|error| format!("{name}: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn measure(job: &Job, only: Option<&str>) -> Result<ExitCode, String> {
    let mut cases = cases::all();
    // What tells whether the counts can be compared is always counted.
    cases.retain(|case| case.is_gauge() || only.is_none_or(|only| case.name.contains(only)));
    if let Some(only) = only.filter(|only| !cases.iter().any(|case| case.name.contains(only))) {
        return Err(format!("no case has {only} in its name"));
    }
    let counts = callgrind::count_all(&cases)?;
    let now = Baseline::new(cases.iter().map(|case| case.name.clone()).zip(counts).collect());
    if matches!(job, Job::Write) {
        now.write()?;
    }
    let before = Baseline::read()?;
    before.print(&now);
    let exceeded = limits::judge(&now, only.is_none());
    if !matches!(job, Job::Compare) {
        return Ok(ExitCode::SUCCESS);
    }
    let verdict = before.judge(&now, only.is_none());
    let is_good = exceeded.is_empty() && !matches!(verdict, Verdict::Worse(_));
    match verdict {
        Verdict::Unjudged(why) => {
            println!("\nNOT JUDGED: {why}.\nOnly the limits of any machine were checked, and which cases there are.")
        }
        Verdict::Good => println!("\nno case takes more than before, within {}", baseline::TOLERANCE),
        Verdict::Better(cases) => println!("\nbetter than before; renew with --write: {}", cases.join(", ")),
        Verdict::Worse(complaints) => {
            println!("\nFAILED: more than {} above benches/instructions.txt:", baseline::TOLERANCE);
            complaints.iter().for_each(|complaint| println!("  {complaint}"));
            println!("If that is meant, renew it with --write, and say why in the commit.");
        }
    }
    if !exceeded.is_empty() {
        println!("\nFAILED: more than any machine may take:");
        exceeded.iter().for_each(|complaint| println!("  {complaint}"));
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
