//! Liveness and timers alone.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::liveness::{Judgement, Liveness, LivenessAction, LivenessConfig};
use keepbeat_core::time::Timestamp;
use keepbeat_core::timers::{Filed, Timers};
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Frame, Tx, Wire};

use super::{Case, counted_operation};

const MANY: u32 = 10_000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("liveness/idle timeout of a client", 1, 1000, |times| idle(Judgement::RoundTrip, times)),
        Case::new("liveness/idle timeout of a server", 1, 1000, |times| idle(Judgement::OneWay, times)),
        Case::new("liveness/bytes received by a server", 1, 1000, bytes_received),
        Case::new("liveness/echo received", 1, 200, echo_received),
        Case::new("liveness/beat due", 1, 200, beat_due),
        Case::new("liveness/BEAT parsed and judged by a server", 1, 200, |times| parsed(Judgement::OneWay, times)),
        Case::new("liveness/ECHO parsed and judged by a client", 1, 200, |times| parsed(Judgement::RoundTrip, times)),
    ];
    for (links, name) in [(1, "one"), (MANY, "10,000")] {
        cases.push(Case::new(format!("timers/{name}/filed for later"), u64::from(links), 2, move |times| {
            for_later(links, times)
        }));
        cases.push(Case::new(format!("timers/{name}/filed for earlier"), u64::from(links), 2, move |times| {
            for_earlier(links, times)
        }));
        cases.push(Case::new(format!("timers/{name}/came up and filed again"), u64::from(links), 2, move |times| {
            came_up(links, times)
        }));
    }
    cases
}

fn liveness(judgement: Judgement) -> Liveness {
    Liveness::new(Arc::new(LivenessConfig::internet()), judgement, Timestamp::ZERO, 1)
}

fn idle(judgement: Judgement, times: u32) -> Result<(), String> {
    let mut liveness = liveness(judgement);
    if judgement == Judgement::RoundTrip {
        // As between a beat and its echo: two deadlines.
        beat(&mut liveness)?;
    }
    let now = liveness.last_received();
    counted_operation(|| {
        for _ in 0..times {
            liveness.handle_timeout(black_box(now));
            black_box(liveness.poll_timeout());
        }
    });
    if liveness.poll_action().is_none() { Ok(()) } else { Err("something was due".to_owned()) }
}

fn bytes_received(times: u32) -> Result<(), String> {
    let (mut liveness, mut now) = (liveness(Judgement::OneWay), Timestamp::ZERO);
    counted_operation(|| {
        for _ in 0..times {
            now = now.after(Duration::from_secs(1));
            liveness.received(now);
            black_box(liveness.poll_action());
            black_box(liveness.poll_timeout());
        }
    });
    Ok(())
}

/// The answer to a beat and the new estimate, without parsing.
fn echo_received(times: u32) -> Result<(), String> {
    let mut liveness = liveness(Judgement::RoundTrip);
    for _ in 0..times {
        let (now, seq) = beat(&mut liveness)?;
        let now = now.after(Duration::from_millis(40));
        counted_operation(|| {
            liveness.received(now);
            liveness.echo_received(now, seq);
            while liveness.poll_action().is_some() {}
            liveness.poll_timeout()
        });
    }
    Ok(())
}

/// A frame that an idle link hears: parsed, and judged until there is no action.
fn parsed(judgement: Judgement, times: u32) -> Result<(), String> {
    let (mut liveness, mut wire) = (liveness(judgement), Beat::new(&BeatConfig::default()));
    wire.established();
    let mut now = Timestamp::ZERO;
    for turn in 0..times {
        let frame = if judgement == Judgement::RoundTrip {
            let (left, seq) = beat(&mut liveness)?;
            now = left.after(Duration::from_millis(40));
            Frame::Echo { seq }
        } else {
            now = now.after(Duration::from_secs(25));
            Frame::Beat { seq: turn }
        };
        let mut tx = Tx::default();
        wire.encode(&frame, &mut tx);
        let mut input = tx.chunk();
        let decoded = counted_operation(|| {
            liveness.received(now);
            let decoded = wire.decode(&mut input);
            if let Ok(Some(Frame::Echo { seq })) = decoded {
                liveness.echo_received(now, seq);
            }
            while let Some(action) = liveness.poll_action() {
                black_box(action);
            }
            decoded
        });
        if decoded != Ok(Some(frame)) {
            return Err(format!("{decoded:?} was decoded"));
        }
    }
    Ok(())
}

/// A beat is due, and leaves.
fn beat_due(times: u32) -> Result<(), String> {
    let mut liveness = liveness(Judgement::RoundTrip);
    for _ in 0..times {
        let (now, seq) = counted_operation(|| beat(&mut liveness))?;
        liveness.received(now);
        liveness.echo_received(now, seq);
        while liveness.poll_action().is_some() {}
    }
    Ok(())
}

/// Waits for the next beat and lets it leave: when, and its number.
fn beat(liveness: &mut Liveness) -> Result<(Timestamp, u32), String> {
    let now = liveness.poll_timeout().ok_or("nothing is due")?.at;
    liveness.handle_timeout(now);
    let Some(LivenessAction::SendBeat { seq }) = liveness.poll_action() else { return Err("no beat".to_owned()) };
    liveness.beat_written(now);
    Ok((now, seq))
}

/// Timers with this many keys, in seconds by their keys, and where they are filed.
fn filed(links: u32) -> (Timers<u32>, Vec<Option<Filed>>) {
    let mut timers = Timers::new();
    let filed = (0..links).map(|key| {
        let mut filed = None;
        timers.file(key, &mut filed, Some(Timestamp::from_millis(u64::from(key) * 1000)));
        filed
    });
    let filed = filed.collect();
    (timers, filed)
}

fn for_later(links: u32, times: u32) -> Result<(), String> {
    let (mut timers, mut places) = filed(links);
    let later = Timestamp::MAX;
    counted_operation(|| {
        for _ in 0..times {
            for (key, filed) in (0..).zip(&mut places) {
                timers.file(key, filed, black_box(Some(later)));
            }
        }
    });
    Ok(())
}

/// Every key in turn becomes the first.
fn for_earlier(links: u32, times: u32) -> Result<(), String> {
    let (mut timers, mut places) = filed(links);
    let mut left = u64::from(links) * u64::from(times) + 1;
    for (key, filed) in (0..).zip(&mut places) {
        timers.remove(filed);
        timers.file(key, filed, Some(Timestamp::from_millis(left + u64::from(key))));
    }
    counted_operation(|| {
        for _ in 0..times {
            for (key, filed) in (0..).zip(&mut places) {
                left -= 1;
                timers.file(key, filed, Some(Timestamp::from_millis(left)));
            }
        }
    });
    Ok(())
}

/// The first is taken out and filed behind all others.
fn came_up(links: u32, times: u32) -> Result<(), String> {
    let (mut timers, mut places) = filed(links);
    let period = Duration::from_secs(links.into());
    counted_operation(|| {
        for _ in 0..times * links {
            let Some((at, &key)) = timers.first() else { continue };
            let filed = &mut places[key as usize];
            timers.refile(filed, Some(at.after(period)));
        }
    });
    Ok(())
}
