//! When something is due, and what is done then.

use core::time::Duration;

use super::{Judgement, Liveness, MOST_FORGIVEN, PUNCTUAL, pending};
use crate::entropy::Prng;
use crate::liveness::DeathCause;
use crate::time::{Deadline, DeadlineCause, Timestamp, nanos};

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Liveness {
    /// When [`Liveness::handle_timeout`] has something to do, and what. `None` once the peer is dead.
    #[inline]
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let mut first = First::NONE;
        if self.is_untroubled() {
            first.offer(self.next_beat, DeadlineCause::Beat);
            first.offer(self.reply_due(), DeadlineCause::Reply);
        } else {
            first = self.first_in_trouble();
        }
        first.deadline()
    }

    /// Nothing is unusual: the peer is no suspect, and nothing waits in either direction.
    #[inline]
    const fn is_untroubled(&self) -> bool {
        // The dead have a verdict, which is trouble.
        self.trouble.is_none() && self.stalled.is_none() && !self.unwritten
    }

    // Out of line, so that what every call takes is small.
    #[inline(never)]
    fn first_in_trouble(&self) -> First {
        let mut first = First::NONE;
        if self.death.is_some() {
            return first;
        }
        let suspect = self.verdict().is_some();
        first.offer(self.next_beat, if suspect { DeadlineCause::Probe } else { DeadlineCause::Beat });
        match self.read_paused() {
            Some(since) => first.offer(Some(since.after(self.config.stall_limit)), DeadlineCause::ReadPause),
            None => {
                first.offer(self.verdict(), DeadlineCause::Verdict);
                if !suspect {
                    first.offer(self.reply_due(), DeadlineCause::Reply);
                }
                let begun = self.frame_begun();
                first.offer(begun.map(|begun| begun.after(self.config.frame_time)), DeadlineCause::FrameTime);
            }
        }
        if self.stalled.is_some() || self.unwritten {
            first.offer(self.stall_due(), DeadlineCause::WriteStall);
        }
        first
    }

    /// When the peer is late.
    #[inline]
    pub(super) fn reply_due(&self) -> Option<Timestamp> {
        if self.judgement == Judgement::OneWay && !self.on_probation() {
            let patience_ms = u64::from(self.interval_ms) + u64::from(self.reply_timeout_ms);
            return Some(self.patience_from.after_nanos(NANOS_PER_MILLI * patience_ms));
        }
        Some(self.awaiting?.after_nanos(NANOS_PER_MILLI * u64::from(self.reply_timeout_ms)))
    }

    /// When our bytes have waited for too long. Meanwhile a peer that is heard is only slow, up to a limit; and while
    /// we do not read, only that limit counts. A beat has to leave in time even if other bytes trickle out before it.
    fn stall_due(&self) -> Option<Timestamp> {
        let limit = self.stalled.map(|since| since.after(self.config.stall_limit));
        if self.read_paused().is_some() {
            return limit;
        }
        // If an earlier beat has left and is unanswered, its reply deadline decides.
        let waiting = if self.unwritten && self.awaiting.is_none() { self.asked } else { None };
        let since = match (self.stalled, waiting) {
            (Some(stalled), Some(waiting)) => stalled.min(waiting),
            (one, other) => one.or(other)?,
        };
        let heard = match self.judgement {
            Judgement::OneWay if !self.on_probation() => {
                self.patience_from.after_nanos(NANOS_PER_MILLI * u64::from(self.interval_ms))
            }
            Judgement::OneWay | Judgement::RoundTrip => self.patience_from,
        };
        let at = since.max(heard).after(self.config.write_stall);
        Some(limit.map_or(at, |limit| at.min(limit)))
    }

    /// Does what is due, beginning with `first`.
    #[inline(never)]
    pub(super) fn act(&mut self, now: Timestamp, first: Deadline) {
        let late = now.since(first.at) > (self.reply_timeout() / 2).max(PUNCTUAL);
        let mut due = if late && self.forgiven < MOST_FORGIVEN {
            self.forgive(now);
            self.poll_timeout()
        } else {
            Some(first)
        };
        while let Some(next) = due.filter(|due| due.at <= now) {
            self.fire(now, next);
            due = self.poll_timeout();
        }
    }

    pub(super) fn fire(&mut self, now: Timestamp, due: Deadline) {
        match due.cause {
            DeadlineCause::Beat | DeadlineCause::Probe if self.shows_life() => {
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
                self.show_life_later(now);
            }
            DeadlineCause::Reply if !self.on_probation() && self.config.probes > 0 => {
                self.pending |= pending::SUSPECT;
                self.set_verdict(Some(self.last_chance(due.at)));
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
            self.sample_from = None;
            if self.awaiting.is_none() {
                self.asked = Some(now);
            }
            self.pending |= pending::BEAT;
        }
    }

    /// While a server does not read, the client's beats stay unanswered; what it hears instead has to come in time.
    pub(super) fn show_life_later(&mut self, now: Timestamp) {
        if self.shows_life() {
            self.next_beat = Some(now.after(self.reply_timeout() / 4));
        }
    }

    /// A suspect hears its probes first.
    fn shows_life(&self) -> bool {
        let probed = self.is_suspect() && self.probes_left > 0;
        self.judgement == Judgement::OneWay && self.read_paused().is_some() && self.death.is_none() && !probed
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
        self.awaiting = None;
        self.sample_from = None;
        self.stalled = self.stalled.map(|_| now);
        self.change_trouble(|trouble| {
            trouble.frame_begun = trouble.frame_begun.map(|_| now);
            trouble.read_paused = trouble.read_paused.map(|_| now);
        });
        if self.is_suspect() {
            // Its suspicion stays reported, and the probe below is its last one.
            self.set_verdict(Some(now.after(self.reply_timeout())));
            self.probes_left = 1;
        }
        self.next_beat = Some(now);
    }

    pub(super) fn die(&mut self, now: Timestamp, cause: DeathCause) {
        self.set_verdict(Some(now));
        self.death = Some(cause);
        self.pending = pending::DEAD;
    }
}

/// The first of several moments, and what happens then.
struct First(Deadline);

impl First {
    const NONE: Self = Self(Deadline::new(Timestamp::MAX, DeadlineCause::Beat));

    /// Of two at the same time, the one that was offered first counts.
    #[inline]
    fn offer(&mut self, at: Option<Timestamp>, cause: DeadlineCause) {
        if let Some(at) = at
            && at < self.0.at
        {
            self.0 = Deadline::new(at, cause);
        }
    }

    /// `None` if nothing was offered. What saturated never comes.
    #[inline]
    fn deadline(self) -> Option<Deadline> {
        (self.0.at < Timestamp::MAX).then_some(self.0)
    }
}

/// Brings a moment down to its tick, so that the beats of many links share a wake-up; not below `earliest`.
pub(super) fn on_tick(at: Timestamp, earliest: Timestamp, tick: Duration) -> Timestamp {
    let (at_nanos, tick) = (at.as_nanos(), nanos(tick).max(1));
    Timestamp::from_nanos(at_nanos - at_nanos % tick).max(earliest.min(at))
}
