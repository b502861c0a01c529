//! When something is due, and what is done then.

use core::time::Duration;

use super::{Judgement, Liveness, pending};
use crate::entropy::Prng;
use crate::liveness::DeathCause;
use crate::time::{Deadline, DeadlineCause, Timestamp};

impl Liveness {
    /// When [`Liveness::handle_timeout`] has something to do, and what. `None` once the peer is dead.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.death.is_some() {
            return None;
        }
        let (beat, judged) = match self.verdict {
            Some(at) => (DeadlineCause::Probe, Some(Deadline::new(at, DeadlineCause::Verdict))),
            None => (DeadlineCause::Beat, self.reply_deadline()),
        };
        let mut due = self.next_beat.map(|at| Deadline::new(at, beat));
        match self.read_paused {
            Some(since) => {
                let limit = Deadline::new(since.after(self.config.stall_limit), DeadlineCause::ReadPause);
                due = Deadline::earlier(due, Some(limit));
            }
            None => {
                due = Deadline::earlier(due, judged);
                if let Some(begun) = self.frame_begun {
                    let limit = Deadline::new(begun.after(self.config.frame_time), DeadlineCause::FrameTime);
                    due = Deadline::earlier(due, Some(limit));
                }
            }
        }
        if self.stalled.is_some() || self.unwritten {
            due = Deadline::earlier(due, self.stall_deadline());
        }
        // What saturated never comes.
        due.filter(|due| due.at < Timestamp::MAX)
    }

    /// When the peer is late.
    pub(super) fn reply_deadline(&self) -> Option<Deadline> {
        let at = if self.judgement == Judgement::OneWay && !self.on_probation() {
            self.patience_from.after(self.interval().saturating_add(self.reply_timeout()))
        } else {
            self.awaiting?.after(self.reply_timeout())
        };
        Some(Deadline::new(at, DeadlineCause::Reply))
    }

    /// When our bytes have waited for too long. Meanwhile a peer that is heard is only slow, up to a limit; and while
    /// we do not read, only that limit counts. A beat has to leave in time even if other bytes trickle out before it.
    pub(super) fn stall_deadline(&self) -> Option<Deadline> {
        let mut at = self.stalled.map(|since| since.after(self.config.stall_limit));
        if self.read_paused.is_none() {
            // If an earlier beat has left and is unanswered, its reply deadline decides.
            let waiting = if self.unwritten && self.awaiting.is_none() { self.asked } else { None };
            for since in [self.stalled, waiting].into_iter().flatten() {
                let heard = match self.judgement {
                    Judgement::OneWay if !self.on_probation() => self.patience_from.after(self.interval()),
                    Judgement::OneWay | Judgement::RoundTrip => self.patience_from,
                };
                let limit = since.max(heard).after(self.config.write_stall);
                at = Some(at.map_or(limit, |at| at.min(limit)));
            }
        }
        Some(Deadline::new(at?, DeadlineCause::WriteStall))
    }

    pub(super) fn fire(&mut self, now: Timestamp, due: Deadline) {
        match due.cause {
            DeadlineCause::Beat if self.judgement == Judgement::OneWay && self.read_paused.is_some() => {
                self.pending |= pending::SHOW_LIFE;
                self.show_life_later(now);
            }
            DeadlineCause::Beat => {
                self.send_beat(now);
                self.next_beat = match self.judgement {
                    Judgement::RoundTrip => Some(self.regular_beat(now)),
                    Judgement::OneWay => None,
                };
            }
            DeadlineCause::Probe => {
                self.send_beat(now);
                self.probes_left -= 1;
                self.next_beat = (self.probes_left > 0).then(|| now.after(self.probe_spacing()));
            }
            DeadlineCause::Reply if !self.on_probation() && self.config.probes > 0 => {
                self.pending |= pending::SUSPECT;
                self.verdict = Some(self.last_chance(due.at));
                self.probes_left = self.config.probes;
                self.next_beat = Some(now);
            }
            DeadlineCause::Reply | DeadlineCause::Verdict => self.die(
                now,
                match self.judgement {
                    Judgement::RoundTrip => DeathCause::NoReply,
                    Judgement::OneWay => DeathCause::Silent,
                },
            ),
            DeadlineCause::WriteStall => self.die(now, DeathCause::WriteStalled),
            DeadlineCause::FrameTime => self.die(now, DeathCause::FrameTooSlow),
            _ => self.die(now, DeathCause::ReadPaused),
        }
    }

    /// A suspect has one more reply timeout. If its beat left us late, the time that it waited counts as well.
    pub(super) fn last_chance(&self, late_at: Timestamp) -> Timestamp {
        let suspicion = self.config.suspicion(self.reply_timeout());
        match (self.judgement, self.asked) {
            (Judgement::RoundTrip, Some(asked)) => {
                asked.max(self.patience_from).after(self.reply_timeout()).after(suspicion).max(late_at)
            }
            _ => late_at.after(suspicion),
        }
    }

    /// At most one beat of ours waits to leave: more would only pile up behind it.
    pub(super) fn send_beat(&mut self, now: Timestamp) {
        if !self.unwritten {
            self.unwritten = true;
            self.seq = self.seq.saturating_add(1);
            if self.awaiting.is_none() {
                self.asked = Some(now);
            }
            self.pending |= pending::BEAT;
        }
    }

    /// While a server does not read, the client's beats stay unanswered; what it hears instead has to come in time.
    pub(super) fn show_life_later(&mut self, now: Timestamp) {
        if self.judgement == Judgement::OneWay && self.verdict.is_none() {
            self.next_beat = Some(now.after(self.reply_timeout() / 4));
        }
    }

    pub(super) const fn on_probation(&self) -> bool {
        self.forgiven > 0
    }

    /// Each interval is shortened at random, never lengthened: the peer may rely on the one agreed on.
    pub(super) fn regular_beat(&self, now: Timestamp) -> Timestamp {
        let mut prng = Prng::new(u64::from(self.seed) << 32 | u64::from(self.seq));
        let (shortest, interval) = (self.config.shortest_gap(self.interval()), self.interval());
        let at = now.after(prng.span(shortest, interval));
        on_tick(at, now.after(shortest), self.config.tick(interval))
    }

    /// The round-trip estimate, such that all probes fit into the suspect's last chance and none is a burst.
    pub(super) fn probe_spacing(&self) -> Duration {
        let widest = self.reply_timeout() / u32::from(self.config.probes.max(1));
        let estimate = self.rtt.map_or(self.config.initial_rtt, |rtt| rtt.reply_estimate());
        estimate.clamp(widest / 4, widest)
    }

    /// We were away, so no clock that judges the peer may count that time: one probe now, then the verdict.
    pub(super) fn forgive(&mut self, now: Timestamp) {
        self.local_stalls = self.local_stalls.saturating_add(1);
        self.forgiven += 1;
        self.patience_from = now;
        self.asked = self.unwritten.then_some(now);
        self.awaiting = None;
        self.sample_from = None;
        self.stalled = self.stalled.map(|_| now);
        self.frame_begun = self.frame_begun.map(|_| now);
        self.read_paused = self.read_paused.map(|_| now);
        if self.is_suspect() {
            // Its suspicion stays reported, and the probe below is its last one.
            self.verdict = Some(now.after(self.reply_timeout()));
            self.probes_left = 1;
        }
        self.next_beat = Some(now);
    }

    pub(super) fn die(&mut self, now: Timestamp, cause: DeathCause) {
        self.verdict = Some(now);
        self.death = Some(cause);
        self.pending = pending::DEAD;
    }
}

/// Brings a moment down to its tick, so that the beats of many links share a wake-up; not below `earliest`.
pub(super) fn on_tick(at: Timestamp, earliest: Timestamp, tick: Duration) -> Timestamp {
    let tick = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1);
    let nanos = at.as_nanos();
    Timestamp::from_nanos(nanos - nanos % tick).max(earliest.min(at))
}
