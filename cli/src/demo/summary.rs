//! The result of a run: one JSON object, or lines for people, and the verdict.

use std::time::Duration;

use super::ledger::Totals;
use super::watch::{Counts, MARGIN};

/// Everything that is known at the end.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) links: usize,
    pub(super) seconds: u64,
    pub(super) seed: u64,
    pub(super) runtime: &'static str,
    pub(super) wire: &'static str,
    pub(super) tls: bool,
    pub(super) counts: Counts,
    pub(super) totals: Totals,
    pub(super) bytes: u64,
    /// Links that were not up at the end.
    pub(super) still_down: usize,
}

/// Three points of a distribution, in milliseconds. All are 0 if there is nothing to distribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(samples: &[Duration]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let point = |percent| percentile(&sorted, percent).map_or(0.0, millis);
        Self { p50: point(50), p99: point(99), max: point(100) }
    }

    fn json(self) -> serde_json::Value {
        serde_json::json!({ "p50": self.p50, "p99": self.p99, "max": self.max })
    }
}

/// The smallest of the sorted samples that is not below so many percent of them (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// To the tenth.
pub(super) fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Summary {
    /// What was not as it must be; empty if all was well.
    pub(super) fn failures(&self) -> Vec<String> {
        let Self { counts, totals, .. } = self;
        let mut failures: Vec<String> = [
            (counts.late, "late or missing detections"),
            (counts.false_deaths, "false deaths"),
            (totals.lost, "messages lost"),
            (totals.duplicated, "messages duplicated"),
            (totals.garbled, "messages garbled"),
            (counts.gave_up, "links that gave up"),
            (counts.unexplained, "losses or new sessions that no fault explains"),
            (self.still_down as u64, "links that did not come back"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        failures.extend(
            counts
                .faults
                .iter()
                .filter(|(_, count)| **count == 0)
                .map(|(kind, _)| format!("no fault of kind {}", kind.name())),
        );
        if counts.detected == 0 {
            failures.push("nothing detected".to_owned());
        }
        failures
    }

    /// One object, without a line break.
    pub(super) fn json(&self) -> String {
        let Self { counts, totals, .. } = self;
        let faults: serde_json::Map<_, _> =
            counts.faults.iter().map(|(kind, count)| (kind.name().to_owned(), (*count).into())).collect();
        serde_json::json!({
            "links": self.links,
            "seconds": self.seconds,
            "seed": self.seed,
            "runtime": self.runtime,
            "wire": self.wire,
            "tls": self.tls,
            "faults": faults,
            "detected": counts.detected,
            "overtaken": counts.overtaken,
            "late_detections": counts.late,
            "false_deaths": counts.false_deaths,
            "unexplained": counts.unexplained,
            "suspects": counts.suspects,
            "recovered": counts.recovered,
            "still_down": self.still_down,
            "gave_up": counts.gave_up,
            "sent": totals.sent,
            "delivered": totals.delivered,
            "lost": totals.lost,
            "duplicated": totals.duplicated,
            "repeated": totals.repeated,
            "garbled": totals.garbled,
            "detection_ms": Spread::of(&counts.detection).json(),
            "detection_bound_ms": millis(counts.bound),
            "detection_margin_ms": millis(MARGIN),
            "recovery_ms": Spread::of(&counts.recovery).json(),
            "tls_handshakes": counts.tls_handshakes,
            "tls_resumed": counts.tls_resumed,
            "beats": counts.beats,
            "bytes": self.bytes,
            "local_stalls": counts.local_stalls,
            "ok": self.failures().is_empty(),
        })
        .to_string()
    }

    /// Some lines for people, the verdict last.
    pub(super) fn text(&self) -> String {
        let Self { counts, totals, .. } = self;
        let (detection, recovery) = (Spread::of(&counts.detection), Spread::of(&counts.recovery));
        let faults: Vec<_> =
            counts.faults.iter().map(|(kind, count)| format!("{count} {}", kind.name().replace('_', " "))).collect();
        let mut rows = vec![
            String::new(),
            format!(
                "{} links over {}, {} s, seed {}, on {}",
                self.links, self.wire, self.seconds, self.seed, self.runtime
            ),
        ];
        let mut row = |name: &str, value: String| rows.push(format!("  {name:<11}{value}"));
        row("faults", format!("{} in all: {}", counts.faults.values().sum::<u64>(), faults.join(", ")));
        row(
            "detection",
            format!(
                "{} silences found out: half within {:.0} ms, 99 % within {:.0} ms, all within {:.0} ms (bound {:.0} ms, \
                 and {:.0} ms for the machine)",
                counts.detected,
                detection.p50,
                detection.p99,
                detection.max,
                millis(counts.bound),
                millis(MARGIN)
            ),
        );
        row("", format!("{} late, {} false deaths, {} suspicions", counts.late, counts.false_deaths, counts.suspects));
        row(
            "recovery",
            format!(
                "{} times up again: half within {:.0} ms, 99 % within {:.0} ms, all within {:.0} ms; {} gave up",
                counts.recovered, recovery.p50, recovery.p99, recovery.max, counts.gave_up
            ),
        );
        row(
            "messages",
            format!(
                "{} sent, {} delivered, {} lost, {} duplicated{}",
                totals.sent,
                totals.delivered,
                totals.lost,
                totals.duplicated,
                if self.wire == "mqtt" { format!(", {} repeated at QoS 1", totals.repeated) } else { String::new() }
            ),
        );
        row("cost", format!("{} beats; {} bytes through the relay", counts.beats, self.bytes));
        if self.tls {
            row(
                "TLS",
                format!("{} handshakes, {} of them resumed a session", counts.tls_handshakes, counts.tls_resumed),
            );
        }
        let failures = self.failures();
        rows.push(if failures.is_empty() {
            "PASSED: every silence was found out in time, no living link was given up, no message was lost or doubled"
                .to_owned()
        } else {
            format!("FAILED: {}", failures.join(", "))
        });
        rows.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::schedule::Kind;

    const KINDS: [Kind; 2] = [Kind::Refuse, Kind::Cut];

    fn clean() -> Summary {
        Summary {
            links: 2,
            seconds: 20,
            seed: 7,
            runtime: "tokio",
            wire: "beat",
            tls: false,
            counts: Counts {
                faults: KINDS.into_iter().map(|kind| (kind, 1)).collect(),
                detected: 1,
                detection: vec![Duration::from_micros(700_040)],
                bound: Duration::from_millis(1040),
                ..Counts::default()
            },
            totals: Totals { sent: 10, delivered: 10, ..Totals::default() },
            bytes: 1000,
            still_down: 0,
        }
    }

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let point = |percent| percentile(&samples, percent).map(|span| span.as_millis());
        assert_eq!((point(50), point(99), point(100)), (Some(100), Some(198), Some(200)));
        assert_eq!(percentile(&samples[..1], 50), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn the_object_has_every_promised_field() {
        let json: serde_json::Value = serde_json::from_str(&clean().json()).unwrap();
        for field in [
            "links",
            "seconds",
            "seed",
            "wire",
            "faults",
            "detected",
            "late_detections",
            "false_deaths",
            "recovered",
            "gave_up",
            "sent",
            "delivered",
            "lost",
            "duplicated",
            "repeated",
            "detection_bound_ms",
            "beats",
            "bytes",
        ] {
            assert!(!json[field].is_null(), "{field}");
        }
        for spread in ["detection_ms", "recovery_ms"] {
            for point in ["p50", "p99", "max"] {
                assert!(json[spread][point].is_number(), "{spread}.{point}");
            }
        }
        assert_eq!(json["faults"].as_object().unwrap().len(), KINDS.len());
        assert_eq!(json["detection_ms"]["max"], 700.0);
        assert_eq!(json["ok"], true);
    }

    #[test]
    fn whatever_fails_is_named() {
        assert!(clean().failures().is_empty());
        let breakages: [fn(&mut Summary); 9] = [
            |run| run.counts.late = 1,
            |run| run.counts.false_deaths = 1,
            |run| run.counts.unexplained = 1,
            |run| run.counts.gave_up = 1,
            |run| run.totals.lost = 1,
            |run| run.totals.duplicated = 1,
            |run| run.totals.garbled = 1,
            |run| run.still_down = 1,
            |run| run.counts.faults.extend([(Kind::Refuse, 0)]),
        ];
        for breakage in breakages {
            let mut run = clean();
            breakage(&mut run);
            assert_eq!(run.failures().len(), 1);
            assert!(run.text().contains(&format!("FAILED: {}", run.failures()[0])));
        }
    }
}
