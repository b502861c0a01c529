//! What was counted before, in a file that shows its changes line by line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cases;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
const COMPILER: &str = env!("KEEPBEAT_RUSTC");
const HEAD: &str = "# Instructions per operation; see docs/benchmarks.md. Renewed by `instructions --write`.";

const TOLERANCE_PERCENT: f64 = 5.0;
const TOLERANCE_COUNT: f64 = 3.0;

/// Where memory lies makes so much of a difference to copying it. Another C library makes a larger one.
const GAUGE_TOLERANCE_PERCENT: f64 = 1.0;

/// In words: a case may take so much more.
pub(crate) const TOLERANCE: &str = "5 % and 3 instructions";

/// What every case took, with one compiler.
pub(crate) struct Baseline {
    compiler: String,
    cases: BTreeMap<String, f64>,
}

/// How the counts of now look beside those of before.
pub(crate) enum Verdict {
    /// They cannot be compared, for this reason. There are the same cases.
    Unjudged(String),
    Good,
    /// These cases take less, by more than the tolerance.
    Better(Vec<String>),
    /// What is wrong with which case.
    Worse(Vec<String>),
}

impl Baseline {
    /// What was counted now.
    pub(crate) fn new(cases: Vec<(String, f64)>) -> Self {
        Self { compiler: COMPILER.to_owned(), cases: cases.into_iter().collect() }
    }

    pub(crate) fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}; make it with --write"))?;
        Self::parse(&text).ok_or_else(|| format!("{FILE} cannot be read; renew it with --write"))
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        std::fs::write(FILE, self.text()).map_err(|error| format!("{FILE}: {error}"))
    }

    pub(crate) fn print(&self, now: &Self) {
        println!("{:>12} {:>12} {:>8}  operation", "before", "now", "change");
        for (name, count) in &now.cases {
            match self.cases.get(name) {
                Some(before) => {
                    let change = 100.0 * (count / before - 1.0);
                    println!("{before:>12.1} {count:>12.1} {change:>+7.1}%  {name}");
                }
                None => println!("{:>12} {count:>12.1} {:>8}  {name}", "-", ""),
            }
        }
    }

    pub(crate) fn count(&self, name: &str) -> Option<f64> {
        self.cases.get(name).copied()
    }

    /// Judges all cases, or if not `all`, those that were counted.
    pub(crate) fn judge(&self, now: &Self, all: bool) -> Verdict {
        let changed = self.changed(now, all);
        if !changed.is_empty() {
            return Verdict::Worse(changed);
        }
        if self.compiler != now.compiler {
            return Verdict::Unjudged(format!("counted with {}; this is {}", self.compiler, now.compiler));
        }
        let is_other = |name: &&String| {
            let (before, now) = (self.cases.get(*name).copied().unwrap_or_default(), now.cases[*name]);
            (now - before).abs() > before * GAUGE_TOLERANCE_PERCENT / 100.0
        };
        if let Some(gauge) = now.cases.keys().filter(|name| cases::is_gauge(name)).find(is_other) {
            return Verdict::Unjudged(format!(
                "{gauge} takes another count, so the C library or the processor is another"
            ));
        }
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        for (name, &count) in now.cases.iter().filter(|(name, _)| !cases::is_for_comparison(name)) {
            match self.cases.get(name) {
                Some(&before) if exceeds(count, before) => {
                    worse.push(format!("{name}: {before:.1} before, {count:.1} now"))
                }
                Some(&before) if exceeds(before, count) => better.push(name.clone()),
                _ => {}
            }
        }
        match (worse.is_empty(), better.is_empty()) {
            (false, _) => Verdict::Worse(worse),
            (true, false) => Verdict::Better(better),
            (true, true) => Verdict::Good,
        }
    }

    /// The cases that are new, and if `all` were counted, those that are gone.
    fn changed(&self, now: &Self, all: bool) -> Vec<String> {
        let new =
            now.cases.keys().filter(|name| !self.cases.contains_key(*name)).map(|name| format!("{name}: it is new"));
        let gone = self.cases.keys().filter(|name| all && !now.cases.contains_key(*name));
        new.chain(gone.map(|name| format!("{name}: it is gone"))).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next()?.to_owned();
        let cases = lines.map(|line| {
            let (count, name) = line.trim_start().split_once(' ')?;
            Some((name.trim_start().to_owned(), count.parse().ok()?))
        });
        Some(Self { compiler, cases: cases.collect::<Option<_>>()? })
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n{}\n", self.compiler);
        for (name, count) in &self.cases {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{count:>12.1}  {name}").is_ok();
        }
        text
    }
}

fn exceeds(count: f64, before: f64) -> bool {
    count > before * (1.0 + TOLERANCE_PERCENT / 100.0) && count > before + TOLERANCE_COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(cases: &[(&str, f64)]) -> Baseline {
        Baseline::new(cases.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
    }

    fn worse(before: &Baseline, now: &Baseline, all: bool) -> usize {
        match before.judge(now, all) {
            Verdict::Worse(complaints) => complaints.len(),
            _ => 0,
        }
    }

    #[test]
    fn a_baseline_survives_its_file() {
        let baseline = counted(&[("client/idle", 4.0), ("frames/beats/16KiB/by hand", 1234.5)]);
        let read = Baseline::parse(&baseline.text()).unwrap();
        assert_eq!((read.compiler, read.cases), (baseline.compiler, baseline.cases));
    }

    #[test]
    fn both_parts_of_the_tolerance_must_be_exceeded() {
        let before = counted(&[("small", 20.0), ("large", 1000.0)]);
        assert_eq!(worse(&before, &counted(&[("small", 23.0), ("large", 1050.0)]), true), 0);
        assert_eq!(worse(&before, &counted(&[("small", 23.1), ("large", 1050.0)]), true), 1);
        assert_eq!(worse(&before, &counted(&[("small", 20.0), ("large", 1050.1)]), true), 1);
        assert!(matches!(before.judge(&counted(&[("small", 16.0), ("large", 1000.0)]), true), Verdict::Better(_)));
    }

    #[test]
    fn what_others_take_is_not_judged() {
        let before = counted(&[("frames/1KiB/by hand", 100.0), ("frames/1KiB/ours", 100.0)]);
        assert_eq!(worse(&before, &counted(&[("frames/1KiB/by hand", 200.0), ("frames/1KiB/ours", 100.0)]), true), 0);
        assert_eq!(worse(&before, &counted(&[("frames/1KiB/by hand", 100.0), ("frames/1KiB/ours", 200.0)]), true), 1);
    }

    #[test]
    fn a_case_that_is_new_or_gone_asks_for_a_new_baseline() {
        let before = counted(&[("a", 1.0), ("b", 1.0)]);
        assert_eq!(worse(&before, &counted(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]), true), 1);
        assert_eq!(worse(&before, &counted(&[("a", 1.0)]), true), 1);
        assert_eq!(worse(&before, &counted(&[("a", 1.0)]), false), 0);
    }

    #[test]
    fn another_compiler_or_c_library_is_not_judged() {
        let before = counted(&[("gauge/copy", 70.0), ("a", 1.0)]);
        let slow = counted(&[("gauge/copy", 70.0), ("a", 100.0)]);
        assert_eq!(worse(&before, &slow, true), 1);
        let other = Baseline { compiler: "rustc 1.0.0".to_owned(), cases: slow.cases };
        assert!(matches!(before.judge(&other, true), Verdict::Unjudged(_)));
        let fewer = Baseline { compiler: other.compiler, cases: counted(&[("gauge/copy", 70.0)]).cases };
        assert_eq!(worse(&before, &fewer, true), 1, "a case that is gone is gone with any compiler");
        assert!(matches!(before.judge(&counted(&[("gauge/copy", 71.0), ("a", 100.0)]), true), Verdict::Unjudged(_)));
    }
}
