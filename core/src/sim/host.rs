//! The machine that a client or the server runs on: its clock, its alarm, its sleep.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::GRAIN;
use crate::client::Epoch;
use crate::connection::Failure;
use crate::entropy::Prng;
use crate::time::{Deadline, Timestamp};

pub(super) struct Host {
    /// What the local clock shows beyond the virtual time, in nanoseconds.
    offset: i128,
    /// Without turns until then.
    asleep: Option<Timestamp>,
    /// Since when the clock stands still, and for how many reasons.
    stopped: Option<(Timestamp, u32)>,
    /// When the deadline comes, and when the alarm rings for it; in virtual time.
    deadline: Option<Timestamp>,
    alarm: Option<Timestamp>,
    rang: Option<Timestamp>,
    /// The application called a machine, or the driver has unfinished work: a turn is due at once.
    pub(super) wanted: bool,
    /// What the system reports apart from bytes.
    pub(super) reports: VecDeque<Report>,
    /// Since when the application takes no events.
    pub(super) paused: Option<Timestamp>,
    /// When this machine was not itself, and for how long.
    disturbances: Vec<(Timestamp, Duration)>,
}

/// What the system reports to a driver.
pub(super) enum Report {
    Opened(Epoch),
    OpenFailed(Epoch, Failure),
    /// The server may accept this connection.
    Incoming(u64),
}

impl Host {
    pub(super) fn new(prng: &mut Prng) -> Self {
        let start = Duration::from_millis(prng.between(1_000_000, 2_000_000));
        Self {
            offset: start.as_nanos() as i128,
            asleep: None,
            stopped: None,
            deadline: None,
            alarm: None,
            rang: None,
            wanted: false,
            reports: VecDeque::new(),
            paused: None,
            disturbances: Vec::new(),
        }
    }

    /// What the local clock shows.
    pub(super) fn local(&self, now: Timestamp) -> Timestamp {
        let now = self.stopped.map_or(now, |(since, _)| since);
        let nanos = i128::from(now.as_nanos()) + self.offset;
        Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// When this machine wants a turn, if `input` is when its next input comes.
    pub(super) fn wanted_at(&self, now: Timestamp, input: Option<Timestamp>) -> Option<Timestamp> {
        let at_once = (self.wanted || !self.reports.is_empty()).then_some(now);
        let at = [at_once, self.alarm, input].into_iter().flatten().min()?;
        Some(at.max(self.asleep.unwrap_or(at)))
    }

    pub(super) fn is_asleep(&self, now: Timestamp) -> bool {
        self.asleep.is_some_and(|until| until > now)
    }

    pub(super) fn has_alarm(&self, now: Timestamp) -> bool {
        self.alarm.is_some_and(|at| at <= now)
    }

    /// Notes that the alarm alone is the reason for a turn. `false` if that happened at this moment before.
    pub(super) fn ring(&mut self, now: Timestamp) -> bool {
        self.rang.replace(now) != Some(now)
    }

    /// Arms the alarm for a deadline of the local clock, rounded up.
    pub(super) fn arm(&mut self, now: Timestamp, deadline: Option<Deadline>) {
        self.deadline = deadline.map(|deadline| now.after(deadline.at.since(self.local(now))));
        self.alarm = self.deadline.map(round_up);
    }

    /// Arms the alarm for the next millisecond.
    pub(super) fn arm_soon(&mut self, now: Timestamp) {
        self.deadline = Some(Timestamp::from_nanos(now.as_nanos() + 1));
        self.alarm = self.deadline.map(round_up);
    }

    pub(super) const fn disarm(&mut self) {
        (self.deadline, self.alarm) = (None, None);
    }

    /// No turns for `span`.
    pub(super) fn sleep(&mut self, now: Timestamp, span: Duration) {
        let until = now.after(span);
        self.asleep = self.asleep.max(Some(until));
        self.disturb(until, span);
    }

    pub(super) fn wake(&mut self, now: Timestamp) {
        self.asleep = self.asleep.filter(|until| *until > now);
    }

    /// The clock jumps, and the alarm rings when it would have.
    pub(super) fn step_clock(&mut self, now: Timestamp, nanos: i64) {
        self.offset += i128::from(nanos);
        self.disturb(now, Duration::from_nanos(nanos.unsigned_abs()));
    }

    /// The clock stands still, and the alarm with it.
    pub(super) fn stop_clock(&mut self, now: Timestamp) {
        let (_, stops) = self.stopped.get_or_insert((now, 0));
        *stops += 1;
    }

    /// The clock goes on, unless it was stopped more than once.
    pub(super) fn start_clock(&mut self, now: Timestamp) {
        let Some((since, stops)) = &mut self.stopped else { return };
        *stops -= 1;
        if *stops == 0 {
            let span = now.since(*since);
            self.offset -= span.as_nanos() as i128;
            self.deadline = self.deadline.map(|at| at.after(span));
            self.alarm = self.deadline.map(round_up);
            self.stopped = None;
        }
    }

    pub(super) fn disturb(&mut self, until: Timestamp, span: Duration) {
        self.disturbances.push((until, span));
    }

    /// Whether the alarm rang in time, or late by so little that the machine takes it for ordinary lateness.
    pub(super) fn is_punctual(&self, now: Timestamp, reply_timeout: Duration) -> bool {
        self.alarm.is_none_or(|alarm| now.since(alarm) <= reply_timeout / 2 + GRAIN)
    }

    /// How often this machine was away in the last `span`.
    pub(super) fn absences(&self, now: Timestamp, span: Duration) -> usize {
        let late = |(until, _): &&(Timestamp, Duration)| *until <= now && now.since(*until) <= span;
        self.disturbances.iter().filter(late).count()
    }

    /// How much longer than the bound this machine may take to notice what began at `since`: its own disturbances,
    /// each with one probe of `reply_timeout`, the grain of the alarm, and the wait of a choppy write.
    pub(super) fn allowance(&self, since: Timestamp, reply_timeout: Duration) -> Duration {
        let disturbances = self.disturbances.iter().filter(|(until, _)| *until >= since);
        disturbances.fold(6 * GRAIN, |sum, (_, span)| sum.saturating_add(*span).saturating_add(reply_timeout))
    }
}

fn round_up(at: Timestamp) -> Timestamp {
    let grain = GRAIN.as_nanos() as u64;
    Timestamp::from_nanos(at.as_nanos().div_ceil(grain).saturating_mul(grain))
}
