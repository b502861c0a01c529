//! What happened, as JSON and in words.

use std::fmt::Display;
use std::time::Duration;

use keepbeat_core::client::Event;
use keepbeat_core::reconnect::GiveUpCause;
use keepbeat_core::server::ServerEvent;
use keepbeat_core::time::Timestamp;
use keepbeat_core::tunnel::tls::{TlsInfo, TlsVersion};
use keepbeat_core::{DownCause, DownReport};
use serde_json::{Value, json};

use crate::mqtt;
use crate::output::{Object, Paint, printable, short};
use crate::security::in_options;

/// Turns events into lines. Times are counted from the start of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    start: Timestamp,
    coloured: bool,
}

impl Report {
    pub(crate) const fn new(start: Timestamp, coloured: bool) -> Self {
        Self { start, coloured }
    }

    /// The beginning of a JSON line.
    pub(crate) fn object(&self, event: &str, now: Timestamp) -> Object {
        Object::new(event, self.since_start(now))
    }

    /// A line for people, without a line feed.
    pub(crate) fn words(&self, now: Timestamp, paint: Paint, head: &str, detail: &str) -> String {
        let at = now.since(self.start);
        let at = format!("{:>5}.{:03}s", at.as_secs(), at.subsec_millis());
        let (at, head) = (Paint::Quiet.on(self.coloured, &at), paint.on(self.coloured, head));
        if detail.is_empty() { format!("{at}  {head}") } else { format!("{at}  {head}: {}", printable(detail)) }
    }

    /// What a link tells, as JSON; `tls` is what it speaks now.
    pub(crate) fn link_json(&self, now: Timestamp, event: &Event, tls: Option<&TlsInfo>) -> Option<Object> {
        let object = |name| self.object(name, now);
        Some(match event {
            Event::Connecting { attempt } => object("connecting").field("attempt", *attempt),
            Event::Up { resumed, attempt, took, in_doubt, interval, worst_case_detection } => object("up")
                .field("resumed", *resumed)
                .field("attempt", *attempt)
                .field("took_ms", millis(*took))
                .field("interval_ms", millis(*interval))
                .field("bound_ms", millis(*worst_case_detection))
                .field("in_doubt", *in_doubt)
                .field("tls", tls.map(|tls| version(tls.version)))
                .field("tls_resumed", tls.map(|tls| tls.resumed)),
            Event::Message(message) => object("message").message(message),
            Event::Acknowledged { through } => object("acknowledged").field("through", through.0),
            Event::Answered { ticket, answer } => {
                object("answered").field("ticket", ticket.map(|ticket| ticket.0)).field(
                    "results",
                    mqtt::results(answer).into_iter().map(|(filter, code, _)| json!([filter, code])).collect::<Value>(),
                )
            }
            Event::Dropped(dropped) => object("dropped")
                .field("ticket", dropped.ticket.0)
                .field("reason", dropped.reason.to_string())
                .message(&dropped.message),
            Event::Suspect { silent_for } => object("suspect").field("silent_ms", millis(*silent_for)),
            Event::Recovered => object("recovered"),
            Event::Down { report, retry_at, was_up: _, conflict } => self
                .evidence(object("down").field("cause", in_options(&report.cause.to_string())), report)
                .field("retry_in_ms", retry_at.map(|at| millis(at.since(now))))
                .field("conflict", *conflict),
            Event::GaveUp { cause, unacknowledged } => {
                object("gave_up").field("cause", give_up(*cause)).field("unacknowledged", *unacknowledged)
            }
            Event::Closed { unacknowledged } => object("closed").field("unacknowledged", *unacknowledged),
            // The round trip stands in every report; one line for each beat would hide the rest.
            _ => return None,
        })
    }

    /// What a link tells, in words. Messages have none: they are printed as they are.
    pub(crate) fn link_words(&self, now: Timestamp, event: &Event, tls: Option<&TlsInfo>) -> Option<String> {
        let words = |paint, head: &str, detail: String| Some(self.words(now, paint, head, &detail));
        match event {
            Event::Connecting { attempt } => words(Paint::Quiet, "connecting", format!("attempt {attempt}")),
            Event::Up { resumed, took, in_doubt, interval, worst_case_detection, .. } => {
                let session = if *resumed { "the session goes on" } else { "a new session" };
                let beats =
                    format!("beats every {}, death noticed within {}", short(*interval), short(*worst_case_detection));
                let doubt = match in_doubt {
                    0 => String::new(),
                    count => format!("; {count} messages of the lost session may arrive twice"),
                };
                let tls = tls.map(|tls| format!("{}, ", in_a_word(tls))).unwrap_or_default();
                words(Paint::Good, "up", format!("after {}, {tls}{session}; {beats}{doubt}", short(*took)))
            }
            Event::Dropped(dropped) => words(
                Paint::Bad,
                "dropped",
                format!("message {} of {} bytes: {}", dropped.ticket.0, dropped.message.len(), dropped.reason),
            ),
            Event::Answered { answer, .. } => {
                let results = mqtt::results(answer).into_iter().map(|(filter, _, words)| format!("{filter}: {words}"));
                let paint = if mqtt::is_refusal(answer) { Paint::Bad } else { Paint::Good };
                words(paint, "subscribed", results.collect::<Vec<_>>().join(", "))
            }
            Event::Suspect { silent_for } => {
                words(Paint::Warning, "suspect", format!("silent for {}", short(*silent_for)))
            }
            Event::Recovered => words(Paint::Good, "recovered", String::new()),
            Event::Down { report, retry_at, was_up: _, conflict } => {
                let retry = match retry_at {
                    Some(at) => format!("; next attempt in {}", short(at.since(now))),
                    None => String::new(),
                };
                let conflict = if *conflict { "; is there another device of this id?" } else { "" };
                words(Paint::Bad, "down", format!("{}{retry}{conflict}", in_words(report)))
            }
            Event::GaveUp { cause, unacknowledged } => {
                words(Paint::Bad, "gave up", with_rest(&give_up(*cause), *unacknowledged))
            }
            Event::Closed { unacknowledged: 0 } => words(Paint::Quiet, "closed", String::new()),
            Event::Closed { unacknowledged } => words(Paint::Warning, "closed", with_rest(&"by us", *unacknowledged)),
            _ => None,
        }
    }

    /// What a server tells, as JSON. Messages and acknowledgements are not told.
    pub(crate) fn server_json(&self, now: Timestamp, event: &ServerEvent) -> Option<Object> {
        let object = |name| self.object(name, now);
        let about = |name, device: &keepbeat_core::wire::DeviceId| object(name).field("device", device.as_str());
        Some(match event {
            ServerEvent::Online { device, address, resumed, interval } => about("online", device)
                .field("address", address.map(|ip| ip.to_string()))
                .field("resumed", *resumed)
                .field("interval_ms", millis(*interval)),
            ServerEvent::Returned { device, resumed, away, report } => self.evidence(
                about("returned", device)
                    .field("resumed", *resumed)
                    .field("away_ms", millis(*away))
                    .field("cause", in_options(&report.cause.to_string())),
                report,
            ),
            ServerEvent::Replaced { device, resumed, report, address } => self.evidence(
                about("replaced", device)
                    .field("address", address.map(|ip| ip.to_string()))
                    .field("resumed", *resumed)
                    .field("cause", in_options(&report.cause.to_string())),
                report,
            ),
            ServerEvent::Suspect { device, silent_for } => {
                about("suspect", device).field("silent_ms", millis(*silent_for))
            }
            ServerEvent::Recovered { device } => about("recovered", device),
            ServerEvent::Offline { device, report, last_seen } => {
                let object = about("offline", device).field("cause", in_options(&report.cause.to_string()));
                match report.evidence {
                    Some(_) => self.evidence(object, report),
                    None => object.field("last_seen_ms", self.since_start(*last_seen)),
                }
            }
            ServerEvent::Rejected { cause, device, address } => object("rejected")
                .field("cause", in_options(&cause.to_string()))
                .field("device", device.as_ref().map(|device| device.as_str()))
                .field("address", address.map(|ip| ip.to_string())),
            ServerEvent::Dropped { device, dropped } => about("dropped", device)
                .field("reason", dropped.reason.to_string())
                .field("bytes", dropped.message.len()),
            ServerEvent::SessionEnded { device, undelivered } => {
                about("session_ended", device).field("undelivered", undelivered.len())
            }
            _ => return None,
        })
    }

    /// What a server tells, in words.
    pub(crate) fn server_words(&self, now: Timestamp, event: &ServerEvent) -> Option<String> {
        let words = |paint, head: &str, detail: String| Some(self.words(now, paint, head, &detail));
        let session = |resumed: bool| if resumed { "the session goes on" } else { "a new session" };
        match event {
            ServerEvent::Online { device, address, resumed, interval } => {
                let detail =
                    format!("{device}{}, {}, beats every {}", from(address), session(*resumed), short(*interval));
                words(Paint::Good, "online", detail)
            }
            ServerEvent::Returned { device, resumed, away, report } => words(
                Paint::Good,
                "returned",
                format!("{device}, {}, away for {} ({})", session(*resumed), short(*away), report.cause),
            ),
            ServerEvent::Replaced { device, resumed, report, address } => {
                let detail = format!("{device}{}, {}; before: {}", from(address), session(*resumed), in_words(report));
                words(Paint::Warning, "replaced", detail)
            }
            ServerEvent::Suspect { device, silent_for } => {
                words(Paint::Warning, "suspect", format!("{device}, silent for {}", short(*silent_for)))
            }
            ServerEvent::Recovered { device } => words(Paint::Good, "recovered", device.to_string()),
            ServerEvent::Offline { device, report, last_seen } => {
                let seen = format!("last seen {} ago", short(now.since(*last_seen)));
                words(Paint::Bad, "offline", format!("{device}, {}; {seen}", in_words(report)))
            }
            ServerEvent::Rejected { cause, device, address } => {
                let name = device.as_ref().map_or("somebody", |device| device.as_str());
                words(Paint::Warning, "rejected", format!("{name}{}, {}", from(address), told_or_seen(cause)))
            }
            ServerEvent::Dropped { device, dropped } => {
                let detail = format!("{device}, a message of {} bytes: {}", dropped.message.len(), dropped.reason);
                words(Paint::Bad, "dropped", detail)
            }
            ServerEvent::SessionEnded { device, undelivered } if !undelivered.is_empty() => words(
                Paint::Warning,
                "session ended",
                format!("{device}, {} echoes were not acknowledged", undelivered.len()),
            ),
            _ => None,
        }
    }

    /// Milliseconds since the start of the program.
    fn since_start(&self, at: Timestamp) -> u64 {
        millis(at.since(self.start))
    }

    fn evidence(&self, object: Object, report: &DownReport) -> Object {
        let seen = report.evidence.as_ref();
        let rtt_us = seen.and_then(|seen| seen.rtt).map(|rtt| rtt.smoothed().as_micros());
        object
            .field("silent_ms", seen.map(|seen| millis(seen.silent_for)))
            .field("last_seen_ms", seen.map(|seen| self.since_start(seen.last_received)))
            .field("beats_sent", seen.map(|seen| seen.beats_sent))
            .field("beats_answered", seen.map(|seen| seen.beats_answered))
            .field("rtt_ms", rtt_us.map_or(Value::Null, |micros| Value::from(micros as f64 / 1000.0)))
    }
}

/// Whole milliseconds; what is left over is cut.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn in_words(report: &DownReport) -> String {
    let mut text = in_options(&report.cause.to_string());
    let told = matches!(report.cause, DownCause::Goodbye(_) | DownCause::Refused(_) | DownCause::EndedByUs(_));
    if let (Some(seen), false) = (&report.evidence, told) {
        let (silent, sent, answered) = (short(seen.silent_for), seen.beats_sent, seen.beats_answered);
        text += &format!(" (silent for {silent}, {answered} of {sent} beats answered");
        if let Some(rtt) = seen.rtt {
            text += &format!(", round trip {}", short(rtt.smoothed()));
        }
        text.push(')');
    }
    text
}

/// A verdict of ours reads better without "closed by us".
fn told_or_seen(cause: &DownCause) -> String {
    match cause {
        DownCause::EndedByUs(reason) => reason.to_string(),
        other => in_options(&other.to_string()),
    }
}

/// The version of TLS, and what its session is.
fn in_a_word(tls: &TlsInfo) -> String {
    let session = if tls.resumed { "resumed" } else { "full handshake" };
    format!("TLS {} ({session})", version(tls.version))
}

fn version(version: TlsVersion) -> String {
    match version {
        TlsVersion::V1_2 => "1.2".to_owned(),
        TlsVersion::V1_3 => "1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why a link stopped trying.
pub(crate) fn give_up(cause: GiveUpCause) -> String {
    match cause {
        GiveUpCause::Fatal => "trying again would not help".to_owned(),
        GiveUpCause::Attempts(1) => "the attempt failed".to_owned(),
        GiveUpCause::Attempts(count) => format!("{count} attempts failed"),
        GiveUpCause::Elapsed(span) => format!("no attempt succeeded within {}", short(span)),
        _ => "no further attempt is allowed".to_owned(),
    }
}

fn from(address: &Option<std::net::IpAddr>) -> String {
    address.map(|ip| format!(" from {ip}")).unwrap_or_default()
}

fn with_rest(what: &impl Display, unacknowledged: usize) -> String {
    match unacknowledged {
        0 => what.to_string(),
        1 => format!("{what}; 1 message was not acknowledged"),
        count => format!("{what}; {count} messages were not acknowledged"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepbeat_core::Failure;
    use keepbeat_core::liveness::{DeathCause, Evidence, Rtt};

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn report() -> Report {
        Report::new(at(1000), false)
    }

    fn dead() -> Event {
        let evidence = Evidence {
            silent_for: 612 * MS,
            last_received: at(2388),
            stalled_for: None,
            beats_sent: 9,
            beats_answered: 5,
            rtt: Some(Rtt::first(Duration::from_micros(1250))),
            local_stalls: 0,
        };
        let report = DownReport { cause: DownCause::Dead(DeathCause::NoReply), evidence: Some(evidence) };
        Event::Down { report: Box::new(report), retry_at: Some(at(3350)), was_up: true, conflict: false }
    }

    fn json(object: Option<Object>) -> Value {
        serde_json::from_slice(&object.unwrap().into_line()).unwrap()
    }

    #[test]
    fn a_death_is_reported_with_its_evidence() {
        let value = json(report().link_json(at(3000), &dead(), None));
        let expected = serde_json::json!({
            "event": "down", "t_ms": 2000, "cause": "no reply to our beats", "silent_ms": 612, "last_seen_ms": 1388,
            "beats_sent": 9, "beats_answered": 5, "rtt_ms": 1.25, "retry_in_ms": 350, "conflict": false,
        });
        assert_eq!(value, expected);
        let words = report().link_words(at(3000), &dead(), None).unwrap();
        assert_eq!(
            words,
            "    2.000s  down: no reply to our beats (silent for 612ms, 5 of 9 beats answered, round trip 1.25ms); next \
             attempt in 350ms"
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let cause = DownCause::ConnectFailed(Failure::Refused);
        let report_ = DownReport { cause, evidence: None };
        let event = Event::Down { report: Box::new(report_), retry_at: None, was_up: true, conflict: false };
        let value = json(report().link_json(at(1001), &event, None));
        for field in ["silent_ms", "last_seen_ms", "beats_sent", "beats_answered", "rtt_ms", "retry_in_ms"] {
            assert_eq!(value.get(field), Some(&Value::Null), "{field}");
        }
        assert_eq!(value["cause"], "could not connect: connection refused");
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        let plain = report().words(at(1000), Paint::Bad, "down", "x");
        assert_eq!(plain, "    0.000s  down: x");
        assert!(Report::new(at(1000), true).words(at(1000), Paint::Bad, "down", "x").contains("\x1b[31mdown\x1b[0m"));
    }
}
