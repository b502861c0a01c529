//! What criterion measured, as tables of ratios.
//!
//! Criterion prints times, which compare only within one run. After a run, the tables say how many times as long the others
//! took as the one they are compared with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

/// The tables of one bench.
pub struct Ratios {
    bench: &'static str,
    begun: SystemTime,
}

/// Groups by name; in each, nanoseconds per element by contender and parameter.
type Groups = BTreeMap<String, BTreeMap<(String, String), f64>>;

impl Ratios {
    /// Call this before anything is measured: what is older is left out.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "criterion's files have times of the wall clock")]
    pub fn begin(bench: &'static str) -> Self {
        Self { bench, begun: SystemTime::now() }
    }

    /// Prints one table per group of this run, and keeps all in `target/criterion/BENCH.ratios.txt`. Each is compared
    /// with the first of `references` that is in its group. Nothing happens if nothing was measured.
    ///
    /// # Panics
    /// If criterion's files are not what they were when this was written.
    pub fn print(&self, references: &[&str]) {
        let home = home();
        let mut groups = Groups::new();
        self.collect(&home, &mut groups);
        if groups.is_empty() {
            return;
        }
        let mut text = String::new();
        for (name, cells) in &groups {
            table(&mut text, name, cells, references);
        }
        println!("\n{text}");
        fs::write(home.join(format!("{}.ratios.txt", self.bench)), text).unwrap();
    }

    fn collect(&self, folder: &Path, groups: &mut Groups) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
            let path = entry.path();
            let estimates = path.join("estimates.json");
            if entry.file_name() != "new" {
                self.collect(&path, groups);
            } else if estimates.metadata().is_ok_and(|data| data.modified().unwrap() >= self.begun) {
                let what = read(&path.join("benchmark.json"));
                let group = what["group_id"].as_str().unwrap();
                if group.split('/').next() != Some(self.bench) {
                    continue;
                }
                let median = read(&estimates)["median"]["point_estimate"].as_f64().unwrap();
                let elements = what["throughput"]["Elements"].as_f64().unwrap_or(1.0);
                let text = |key: &str| what[key].as_str().unwrap_or_default().to_owned();
                let cells = groups.entry(group.to_owned()).or_default();
                cells.insert((text("function_id"), text("value_str")), median / elements);
            }
        }
    }
}

fn table(text: &mut String, name: &str, cells: &BTreeMap<(String, String), f64>, references: &[&str]) {
    let mut columns: Vec<&str> = cells.keys().map(|(_, value)| value.as_str()).collect();
    columns.sort_by_key(|value| (value.parse::<u64>().unwrap_or_default(), *value));
    columns.dedup();
    let mut rows: Vec<&str> = cells.keys().map(|(function, _)| function.as_str()).collect();
    rows.dedup();
    let reference = references.iter().find(|reference| rows.contains(*reference)).copied();
    // The reference leads.
    rows.sort_by_key(|row| Some(*row) != reference);
    let cell = |row: &str, column: &str| cells.get(&(row.to_owned(), column.to_owned()));
    let versus = reference.map_or_else(String::new, |reference| format!(", and how many times that of `{reference}`"));
    write!(text, "{name}: median processor time of one{versus}\n{:20}", "").unwrap();
    for column in &columns {
        write!(text, "{column:>22}").unwrap();
    }
    for row in rows {
        write!(text, "\n{row:20}").unwrap();
        for column in &columns {
            let Some(time) = cell(row, column) else {
                write!(text, "{:>22}", "-").unwrap();
                continue;
            };
            let base = reference.filter(|reference| *reference != row).and_then(|reference| cell(reference, column));
            let ratio = base.map_or_else(String::new, |base| ratio_of(time / base));
            write!(text, "{:>12}{ratio:>10}", duration(*time)).unwrap();
        }
    }
    text.push_str("\n\n");
}

fn ratio_of(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

fn duration(nanos: f64) -> String {
    let (scale, unit) = match nanos {
        ..1e3 => (1.0, "ns"),
        ..1e6 => (1e3, "us"),
        ..1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{:.2} {unit}", nanos / scale)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Where criterion keeps its results: as it says itself, or next to the folder of this executable.
fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("CRITERION_HOME") {
        return home.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // target/release/deps/bench
    let beside = || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    target.unwrap_or_else(beside).join("criterion")
}
