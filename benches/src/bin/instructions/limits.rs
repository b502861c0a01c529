//! What may not be exceeded by any compiler, C library or processor: the project's goals. Ratios compare counts of one run.

use crate::baseline::Baseline;

/// A case, and the most that it may take.
struct Limit {
    case: &'static str,
    most: Most,
}

enum Most {
    /// Instructions.
    Count(f64),
    /// So many times another case.
    Times(f64, &'static str),
}

const LIMITS: [Limit; 33] = [
    count("frames/beats/16KiB/ours", 60.0),
    count("frames/beats/random/ours", 60.0),
    count("liveness/BEAT parsed and judged by a server", 150.0),
    count("client/idle timeout", 40.0),
    times("frames/64B/whole/ours", 1.1, "frames/64B/whole/by hand"),
    times("frames/1KiB/whole/ours", 1.1, "frames/1KiB/whole/by hand"),
    times("frames/64KiB/16KiB/ours", 1.2, "frames/64KiB/16KiB/copy only"),
    times("frames/64KiB/whole/ours", 1.2, "frames/64KiB/whole/copy only"),
    count("mqtt/reads/ping/ours", 40.0),
    times("mqtt/session/keep-alive/ours", 1.3, "mqtt/session/keep-alive/mqtt-protocol-core"),
    times("mqtt/session/QoS 0/ours", 2.8, "mqtt/session/QoS 0/mqtt-protocol-core"),
    times("mqtt/session/QoS 1/ours", 1.5, "mqtt/session/QoS 1/mqtt-protocol-core"),
    times("mqtt/session/QoS 2/ours", 1.3, "mqtt/session/QoS 2/mqtt-protocol-core"),
    times("mqtt/session/QoS 1 delivered/ours", 1.5, "mqtt/session/QoS 1 delivered/mqtt-protocol-core"),
    count("mqtt/writes/ping/ours", 40.0),
    count("mqtt/writes/ping/ours to a Tx", 60.0),
    count("mqtt/reads/64B/ours borrowed", 230.0),
    times("mqtt/reads/64B/ours", 0.6, "mqtt/reads/64B/rumqttc"),
    times("mqtt/reads/1KiB/ours", 0.5, "mqtt/reads/1KiB/rumqttc"),
    count("mqtt/writes/64B/ours", 230.0),
    times("mqtt/writes/64B/ours", 1.0, "mqtt/writes/64B/rumqttc"),
    count("websocket/client reads/control/ours", 90.0),
    count("websocket/server reads/control/ours", 90.0),
    count("websocket/client writes/control/ours", 90.0),
    count("websocket/server writes/control/ours", 90.0),
    count("websocket/client reads/1KiB/ours", 1250.0),
    count("websocket/server reads/1KiB/ours", 1250.0),
    count("websocket/client reads/1KiB-text/ours", 1250.0),
    count("websocket/server reads/1KiB-text/ours", 1250.0),
    count("websocket/client writes/1KiB/ours", 1250.0),
    count("websocket/server writes/1KiB/ours", 1250.0),
    times("websocket/client reads/64KiB/ours", 1.3, "websocket/client reads/64KiB/copy only"),
    times("websocket/server reads/64KiB/ours", 1.3, "websocket/server reads/64KiB/copy only"),
];

const fn count(case: &'static str, most: f64) -> Limit {
    Limit { case, most: Most::Count(most) }
}

const fn times(case: &'static str, times: f64, other: &'static str) -> Limit {
    Limit { case, most: Most::Times(times, other) }
}

/// Prints every limit and how near it is. Which are exceeded, or if `all` cases were counted, name one that there is not.
pub(crate) fn judge(now: &Baseline, all: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    println!("\n{:>12} {:>12}  limits of any machine", "now", "at most");
    for Limit { case, most } in &LIMITS {
        let found = match most {
            Most::Count(most) => now.count(case).map(|count| (count, *most, String::new())),
            Most::Times(most, other) => {
                let ratio = now.count(case).zip(now.count(other)).map(|(count, other)| count / other);
                ratio.map(|ratio| (ratio, *most, format!(" / {other}")))
            }
        };
        match found {
            Some((found, most, unit)) => {
                println!("{found:>12.2} {most:>12.2}  {case}{unit}");
                if found > most {
                    complaints.push(format!("{case}{unit}: {found:.2}, at most {most:.2}"));
                }
            }
            None if all => complaints.push(format!("{case}: a limit names it, but it or the other was not counted")),
            None => {}
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    /// Ours take half of what others take.
    fn counted(change: &[(&str, f64)]) -> Baseline {
        let cases = cases::all().into_iter().map(|case| {
            let changed = change.iter().find(|(name, _)| *name == case.name);
            let count = changed.map_or_else(|| usual(&case.name), |(_, count)| *count);
            (case.name, count)
        });
        Baseline::new(cases.collect())
    }

    fn usual(name: &str) -> f64 {
        if cases::is_for_comparison(name) { 20.0 } else { 10.0 }
    }

    #[test]
    fn every_limit_is_one_of_a_case() {
        assert_eq!(judge(&counted(&[]), true), Vec::<String>::new());
        assert_eq!(judge(&Baseline::new(Vec::new()), true).len(), LIMITS.len());
        assert_eq!(judge(&Baseline::new(Vec::new()), false).len(), 0);
    }

    #[test]
    fn a_count_and_a_ratio_can_be_exceeded() {
        let complaints = judge(&counted(&[("client/idle timeout", 40.1)]), true);
        assert_eq!(complaints, ["client/idle timeout: 40.10, at most 40.00"]);
        assert_eq!(judge(&counted(&[("frames/64B/whole/ours", 22.0)]), true).len(), 0);
        assert_eq!(judge(&counted(&[("frames/64B/whole/ours", 22.1)]), true).len(), 1);
    }
}
