//! What was found out, in words and for machines.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::counters::{Counter, Counts};
use crate::measure::{Failure, Sample};
use crate::servers::Server;

/// That one of so many beats leaves late is worth no word.
const MOST_LATE: u64 = 100;

/// All rows of one run.
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) links: u32,
    pub(crate) interval: Duration,
    pub(crate) bursts: bool,
    pub(crate) seconds: u64,
    pub(crate) rounds: u32,
    /// Clients and servers had to share one.
    pub(crate) one_processor: bool,
    /// What counted system calls, and perhaps instructions.
    pub(crate) counter: Option<Counter>,
}

/// One server. Figures are medians over the rounds.
pub(crate) struct Row {
    pub(crate) server: Server,
    /// One of each round, or why there is none.
    pub(crate) samples: Vec<Result<Sample, Failure>>,
    pub(crate) counts: Option<Counts>,
}

impl Row {
    pub(crate) const fn new(server: Server) -> Self {
        Self { server, samples: Vec::new(), counts: None }
    }

    pub(crate) fn bytes_per_link(&self) -> Option<f64> {
        self.median(|sample| sample.bytes_per_link)
    }

    pub(crate) fn nanos_per_beat(&self) -> Option<f64> {
        self.median(|sample| sample.nanos_per_beat)
    }

    fn processor(&self) -> Option<f64> {
        self.median(|sample| sample.processor)
    }

    fn syscalls_per_beat(&self) -> Option<f64> {
        self.counts?.syscalls_per_answer()
    }

    fn instructions_per_beat(&self) -> Option<f64> {
        self.counts?.instructions_per_answer()
    }

    /// In all rounds, also those that failed.
    fn lost(&self) -> u32 {
        self.samples
            .iter()
            .map(|sample| sample.as_ref().map_or_else(|failure| failure.lost, |sample| sample.told.lost))
            .sum()
    }

    fn late(&self) -> u64 {
        self.known().map(|sample| sample.told.late).sum()
    }

    fn unanswered(&self) -> u64 {
        self.known().map(|sample| sample.told.unanswered).sum()
    }

    fn probes(&self) -> u64 {
        self.known().map(|sample| sample.told.probes).sum()
    }

    fn beats(&self) -> u64 {
        self.known().map(|sample| sample.told.beats).sum()
    }

    fn known(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().flatten()
    }

    fn failures(&self) -> Vec<&str> {
        self.samples.iter().filter_map(|sample| sample.as_ref().err().map(|failure| failure.why.as_str())).collect()
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.known().map(figure).collect())
    }
}

impl Table {
    /// Every round was measured, and no link lost.
    pub(crate) fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.lost() == 0 && row.failures().is_empty())
    }

    /// Processor time per beat as a multiple of the bare loop's: the median of the rounds' own ratios, because what else
    /// the machine does changes from round to round.
    pub(crate) fn ratio(&self, row: &Row) -> Option<f64> {
        let floor = self.floor()?;
        let rounds = row.samples.iter().zip(&floor.samples);
        let pairs = rounds.filter_map(|(sample, floor)| sample.as_ref().ok().zip(floor.as_ref().ok()));
        median(pairs.map(|(sample, floor)| sample.nanos_per_beat / floor.nanos_per_beat).collect())
    }

    pub(crate) fn floor(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == Server::BareMio)
    }

    /// The table for a machine. A figure that this machine does not give is null.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.server.name(),
                "bytes_per_link": row.bytes_per_link(),
                "nanoseconds_per_beat": row.nanos_per_beat(),
                "nanoseconds_per_beat_of_each_round":
                    row.known().map(|sample| sample.nanos_per_beat).collect::<Vec<_>>(),
                "processor_share": row.processor(),
                "times_the_bare_loop": self.ratio(row),
                "instructions_per_beat": row.instructions_per_beat(),
                "system_calls_per_beat": row.syscalls_per_beat(),
                "beats": row.beats(),
                "lost": row.lost(),
                "unanswered": row.unanswered(),
                "late": row.late(),
                "probes": row.probes(),
                "failures": row.failures(),
            })
        };
        json!({
            "links": self.links,
            "interval_ms": self.interval.as_millis() as u64,
            "bursts": self.bursts,
            "seconds": self.seconds,
            "rounds": self.rounds,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { links, interval, seconds, rounds, .. } = self;
        let rhythm = if self.bursts { "those of a millisecond together" } else { "each at its own moment" };
        writeln!(f, "{links} links to each server, one beat per link and {interval:?}, {rhythm}.")?;
        writeln!(f, "Medians of {rounds} rounds of {seconds} s; the servers take turns in every round.\n")?;
        write!(f, "{:<39} {:>10} {:>10} {:>9} {:>9}", "", "bytes", "ns CPU", "times", "sys calls")?;
        writeln!(f, " {:>9} {:>12} {:>6}", "CPU share", "instructions", "links")?;
        write!(f, "{:<39} {:>10} {:>10} {:>9} {:>9}", "server", "per link", "per beat", "bare loop", "per beat")?;
        writeln!(f, " {:>9} {:>12} {:>6}", "of a core", "per beat", "lost")?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<39} {:>10} {:>10} {:>9} {:>9} {:>9} {:>12} {:>6}",
                row.server.title(),
                figure(row.bytes_per_link(), 1.0, 0, ""),
                figure(row.nanos_per_beat(), 1.0, 0, ""),
                figure(self.ratio(row), 1.0, 2, "x"),
                figure(row.syscalls_per_beat(), 1.0, 2, ""),
                figure(row.processor(), 100.0, 1, "%"),
                figure(row.instructions_per_beat(), 1.0, 0, ""),
                row.lost(),
            )?;
        }
        writeln!(f)?;
        if self.rows.iter().all(|row| row.instructions_per_beat().is_none()) {
            writeln!(f, "This machine does not count instructions for perf; that column is empty.")?;
        }
        match self.counter {
            None => writeln!(f, "Neither perf nor strace may count system calls here; that column is empty.")?,
            Some(Counter::Strace) => {
                writeln!(f, "System calls were counted by strace with fewer links, which slows the servers down.")?;
            }
            Some(Counter::Perf) => {}
        }
        if self.one_processor {
            writeln!(f, "There is one processor: clients and servers shared it, so that times are worth little.")?;
        }
        for row in &self.rows {
            for failure in row.failures() {
                writeln!(f, "{}: a round was not measured: {failure}.", row.server.title())?;
            }
        }
        for row in self.rows.iter().filter(|row| row.unanswered() + row.probes() > 0) {
            let (unanswered, probes) = (row.unanswered(), row.probes());
            let title = row.server.title();
            writeln!(
                f,
                "{title}: {unanswered} beats were not answered within the interval, {probes} probes of clients."
            )?;
        }
        for row in self.rows.iter().filter(|row| MOST_LATE * row.late() > row.beats()) {
            let (title, late, beats) = (row.server.title(), row.late(), row.beats());
            writeln!(f, "{title}: the clients were behind with {late} of {beats} beats.")?;
        }
        Ok(())
    }
}

fn figure(value: Option<f64>, scale: f64, digits: usize, unit: &str) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.digits$}{unit}", value * scale))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Told;

    fn row(server: Server, nanos: &[f64]) -> Row {
        let sample = |nanos: &f64| {
            Ok(Sample { bytes_per_link: 100.0, nanos_per_beat: *nanos, processor: 0.1, told: Told::default() })
        };
        Row { samples: nanos.iter().map(sample).collect(), ..Row::new(server) }
    }

    fn table(rows: Vec<Row>) -> Table {
        let interval = Duration::from_secs(1);
        let (bursts, one_processor) = (false, false);
        Table { rows, links: 1, interval, bursts, seconds: 1, rounds: 3, one_processor, counter: None }
    }

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_round() {
        // The machine was three times as slow in the second round.
        let table =
            table(vec![row(Server::BareMio, &[10.0, 30.0, 10.0]), row(Server::KeepbeatMio, &[11.0, 33.0, 12.0])]);
        assert!((table.ratio(&table.rows[1]).unwrap() - 1.1).abs() < 1e-9);
        assert!((table.ratio(&table.rows[0]).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_round_that_failed_is_told_and_compared_with_nothing() {
        let mut table = table(vec![row(Server::BareMio, &[10.0, 30.0]), row(Server::KeepbeatMio, &[99.0, 33.0])]);
        assert!(table.is_whole());
        table.rows[1].samples[0] = Err(Failure { why: "the links did not come up".to_owned(), lost: 7 });
        assert!(!table.is_whole());
        assert_eq!(table.json()["rows"][1]["lost"], 7);
        assert!((table.ratio(&table.rows[1]).unwrap() - 1.1).abs() < 1e-9);
        assert!(table.to_string().contains("a round was not measured: the links did not come up"));
        assert_eq!(table.json()["rows"][1]["failures"][0], "the links did not come up");
    }

    #[test]
    fn what_is_not_known_is_not_shown_as_a_number() {
        let table = table(vec![row(Server::KeepbeatMio, &[11.0])]);
        assert_eq!(table.ratio(&table.rows[0]), None);
        let json = table.json();
        assert!(json["rows"][0]["times_the_bare_loop"].is_null());
        assert!(json["rows"][0]["system_calls_per_beat"].is_null());
        assert_eq!(json["rows"][0]["name"], "keepbeat-mio");
        assert!(table.to_string().contains("that column is empty"));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
