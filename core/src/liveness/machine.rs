//! The verdict engine of one connection.

mod due;
mod trouble;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use self::trouble::Trouble;
use super::{DeathCause, DeathReport, Evidence, LivenessConfig, Proof, Rtt};
use crate::entropy::Prng;
use crate::time::{Deadline, DeadlineCause, Timestamp, wire_millis};

/// By what the peer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// We beat at the interval, and the peer must answer: a client.
    RoundTrip,
    /// The peer beats at the interval; we beat only to probe it when it is late: a server.
    OneWay,
}

/// What [`Liveness`] asks for. Drain [`Liveness::poll_action`] to `None` after every call that takes a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LivenessAction {
    /// Send a beat, and call [`Liveness::beat_written`] when its last byte has left.
    SendBeat {
        /// Counts our beats on this connection, from 1.
        seq: u32,
    },
    /// The peer is late; quick probes follow.
    Suspect {
        /// How long nothing has been received.
        silent_for: Duration,
    },
    /// The suspect is alive.
    Recovered,
    /// Send anything that needs no answer: we do not read, so the peer's beats stay unanswered, and yet we are alive.
    ShowLife,
    /// A beat was answered; see [`Liveness::rtt`].
    Measured,
    /// The peer is dead. Nothing follows.
    DeclareDead(DeathReport),
}

/// Is the peer of this one connection alive? See the [module](super).
#[derive(Debug)]
pub struct Liveness {
    config: Arc<LivenessConfig>,
    interval_ms: u32,
    reply_timeout_ms: u32,
    /// When the next beat is due; while the peer is a suspect, the next quick probe.
    next_beat: Option<Timestamp>,
    last_received: Timestamp,
    /// From here our patience counts: the last byte received, or later if we ourselves were away.
    patience_from: Timestamp,
    /// When the first beat that nothing answered yet was asked for, and when it left us.
    asked: Option<Timestamp>,
    awaiting: Option<Timestamp>,
    /// When the newest beat left us, until it is answered.
    sample_from: Option<Timestamp>,
    /// Since when bytes wait without any of them leaving.
    stalled: Option<Timestamp>,
    /// `None` while nothing of it is there.
    trouble: Option<Box<Trouble>>,
    rtt: Option<Rtt>,
    seed: u32,
    seq: u32,
    last_echo: u32,
    beats_answered: u32,
    local_stalls: u8,
    /// How often in a row we were away without hearing from the peer in between.
    forgiven: u8,
    pending: u8,
    /// A beat was asked for and has not left yet.
    unwritten: bool,
    judgement: Judgement,
    probes_left: u8,
    death: Option<DeathCause>,
}

const _: () = assert!(size_of::<Liveness>() <= 112);

/// Bits of `pending`, in the order in which actions are handed out.
mod pending {
    pub(super) const BEAT: u8 = 1;
    pub(super) const SUSPECT: u8 = 2;
    pub(super) const RECOVERED: u8 = 4;
    pub(super) const SHOW_LIFE: u8 = 8;
    pub(super) const MEASURED: u8 = 16;
    pub(super) const DEAD: u8 = 32;
}

/// A wake that is late by less than this is no stall of our own, however short the reply timeout.
const PUNCTUAL: Duration = Duration::from_millis(10);

/// So often in a row a local stall earns a silent peer another probe. One that was silent over more of them is judged.
const MOST_FORGIVEN: u8 = 3;

impl Liveness {
    /// Judges a connection that was established at `now`, with the configured interval and reply timeout.
    ///
    /// With [`Judgement::RoundTrip`] the first beat comes at a random moment in [1/2, 1] of the interval, so that
    /// links opened together do not beat together.
    #[must_use]
    pub fn new(config: Arc<LivenessConfig>, judgement: Judgement, now: Timestamp, seed: u64) -> Self {
        let (interval, reply_timeout) = (config.interval, config.reply_timeout);
        Self::with_terms(config, judgement, interval, reply_timeout, now, seed)
    }

    /// The same with the interval and reply timeout that the peers agreed on, which take the place of the
    /// configured ones. Both count in whole milliseconds, rounded up; both are at least [`LivenessConfig::SHORTEST`], and
    /// the reply timeout is at most the interval.
    #[must_use]
    pub fn with_terms(
        config: Arc<LivenessConfig>,
        judgement: Judgement,
        interval: Duration,
        reply_timeout: Duration,
        now: Timestamp,
        seed: u64,
    ) -> Self {
        let interval_ms = wire_millis(interval).max(SHORTEST_MS);
        let mut prng = Prng::new(seed);
        let interval = millis(interval_ms);
        let first = now.after(prng.span(interval / 2, interval));
        let first = due::on_tick(first, now.after(interval / 2), config.tick(interval));
        Self {
            config,
            interval_ms,
            reply_timeout_ms: wire_millis(reply_timeout).clamp(SHORTEST_MS, interval_ms),
            next_beat: matches!(judgement, Judgement::RoundTrip).then_some(first),
            last_received: now,
            patience_from: now,
            asked: None,
            awaiting: None,
            sample_from: None,
            stalled: None,
            trouble: None,
            rtt: None,
            seed: prng.next_u64() as u32,
            seq: 0,
            last_echo: 0,
            beats_answered: 0,
            local_stalls: 0,
            forgiven: 0,
            pending: 0,
            unwritten: false,
            judgement,
            probes_left: 0,
            death: None,
        }
    }

    /// The beat interval of this connection.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        millis(self.interval_ms)
    }

    /// The reply timeout of this connection.
    #[must_use]
    pub const fn reply_timeout(&self) -> Duration {
        millis(self.reply_timeout_ms)
    }

    /// The longest time from the peer's death to the verdict on this connection; see
    /// [`LivenessConfig::worst_case_detection`].
    #[must_use]
    pub fn worst_case_detection(&self) -> Duration {
        self.config.bound_for(self.interval(), self.reply_timeout())
    }

    /// The round-trip estimate, once a beat was answered.
    #[must_use]
    pub const fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// When the last byte was received; the start if none was.
    #[must_use]
    pub const fn last_received(&self) -> Timestamp {
        self.last_received
    }

    /// Whether the peer is late and being probed.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.verdict().is_some() && self.death.is_none()
    }

    /// Bytes arrived, whatever they are. Time never runs backwards: an earlier `now` than before changes nothing.
    #[inline]
    pub fn received(&mut self, now: Timestamp) {
        self.last_received = self.last_received.max(now);
        if self.config.proof == Proof::AnyBytes {
            self.prove_alive(now);
        }
    }

    /// The answer to our beat `seq` arrived. An answer to an unknown beat, or a second one, changes nothing.
    #[inline]
    pub fn echo_received(&mut self, now: Timestamp, seq: u32) {
        if seq <= self.last_echo || seq > self.seq || self.death.is_some() {
            return;
        }
        if seq == self.seq {
            // Whoever answers it has received it, whether the driver has already said that it left or not.
            self.unwritten = false;
        }
        self.last_echo = seq;
        self.beats_answered = self.beats_answered.saturating_add(1);
        if seq == self.seq
            && let Some(left) = self.sample_from.take()
        {
            self.rtt = Some(Rtt::after(self.rtt, now.nanos_since(left)));
            self.pending |= pending::MEASURED;
        }
        if self.config.proof == Proof::ReplyOnly {
            self.prove_alive(now);
        }
    }

    /// The last byte of the beat that was asked for has left.
    #[inline]
    pub fn beat_written(&mut self, now: Timestamp) {
        if !self.unwritten {
            return;
        }
        self.unwritten = false;
        self.sample_from = Some(now);
        self.awaiting.get_or_insert(now);
    }

    /// A part of what is in front of the beat that was asked for has left, and the peer says nothing before it has all of that: the
    /// beat has not waited until now.
    pub fn beat_held(&mut self, now: Timestamp) {
        if self.unwritten && self.awaiting.is_none() {
            self.asked = Some(now);
        }
    }

    /// Bytes wait to be written. Repeating it changes nothing.
    #[inline]
    pub fn write_pending(&mut self, now: Timestamp) {
        self.stalled.get_or_insert(now);
    }

    /// Some of the waiting bytes left; `all` if none wait any more.
    #[inline]
    pub fn write_progressed(&mut self, now: Timestamp, all: bool) {
        self.stalled = if all { None } else { Some(now) };
    }

    /// The bytes received so far end inside a frame. `new` if that frame began with them.
    pub fn frame_unfinished(&mut self, now: Timestamp, new: bool) {
        self.change_trouble(|trouble| trouble.frame_begun = trouble.frame_begun.filter(|_| !new).or(Some(now)));
    }

    /// How long part of a frame has been here, and no other frame has ended since.
    pub(crate) const fn frame_age(&self, now: Timestamp) -> Duration {
        match self.frame_begun() {
            Some(begun) => now.since(begun),
            None => Duration::ZERO,
        }
    }

    /// The bytes received so far end with a frame.
    #[inline]
    pub fn frame_finished(&mut self) {
        if self.trouble.is_some() {
            self.change_trouble(|trouble| trouble.frame_begun = None);
        }
    }

    /// Our own application takes no more: from now on nothing is read, so silence says nothing about the peer.
    pub fn pause_reading(&mut self, now: Timestamp) {
        if self.read_paused().is_none() {
            self.change_trouble(|trouble| trouble.read_paused = Some(now));
            self.show_life_later(now);
        }
    }

    /// Reading goes on. The peer's time starts anew.
    pub fn resume_reading(&mut self, now: Timestamp) {
        if self.read_paused().is_none() {
            return;
        }
        self.change_trouble(|trouble| {
            trouble.read_paused = None;
            trouble.frame_begun = trouble.frame_begun.map(|_| now);
        });
        self.patience_from = now;
        self.awaiting = self.awaiting.map(|_| now);
        self.sample_from = None;
        if self.is_suspect() {
            self.set_verdict(Some(now.after(self.config.suspicion(self.reply_timeout()))));
            self.next_beat = self.next_beat.filter(|_| self.probes_left > 0);
        } else if self.judgement == Judgement::OneWay {
            // If we were away as well, the probe that was to follow was not sent: we did not read.
            self.forgiven = 0;
            self.next_beat = None;
        }
    }

    /// Something outside says that the path may have changed: asks for the next beat at once, unless one is out already.
    /// Judges nobody, because what can be read was not handed over yet.
    pub fn probe_now(&mut self, now: Timestamp) {
        if self.asked.is_none() && self.verdict().is_none() && self.death.is_none() {
            self.fire(now, Deadline::new(now, DeadlineCause::Beat));
        }
    }

    /// Does what is due. Early, late or repeated calls are safe; a late one is taken for a stall of our own.
    ///
    /// Hand over everything that can be read before calling this.
    #[inline]
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(first) = self.poll_timeout()
            && first.at <= now
        {
            self.act(now, first);
        }
    }

    /// The next thing to do, until there is none.
    #[must_use]
    #[inline]
    pub fn poll_action(&mut self) -> Option<LivenessAction> {
        if self.pending == 0 { None } else { Some(self.next_action()) }
    }

    /// Whether [`Liveness::poll_action`] has something.
    #[inline]
    pub(crate) const fn has_action(&self) -> bool {
        self.pending != 0
    }

    /// Takes [`LivenessAction::Measured`] out of turn: it says nothing about the others.
    #[inline]
    pub(crate) const fn take_measured(&mut self) -> bool {
        let measured = self.pending & pending::MEASURED != 0;
        self.pending &= !pending::MEASURED;
        measured
    }

    #[inline(never)]
    fn next_action(&mut self) -> LivenessAction {
        let bit = 1 << self.pending.trailing_zeros();
        self.pending &= !bit;
        match bit {
            pending::BEAT => LivenessAction::SendBeat { seq: self.seq },
            pending::SUSPECT => LivenessAction::Suspect { silent_for: self.silence_at_suspicion() },
            pending::RECOVERED => LivenessAction::Recovered,
            pending::SHOW_LIFE => LivenessAction::ShowLife,
            pending::MEASURED => LivenessAction::Measured,
            _ => LivenessAction::DeclareDead(self.report()),
        }
    }

    #[inline]
    fn prove_alive(&mut self, now: Timestamp) {
        self.patience_from = self.patience_from.max(now);
        self.asked = if self.unwritten { self.asked } else { None };
        self.awaiting = None;
        self.forgiven = 0;
        if self.verdict().is_some() {
            self.recover(now);
        }
    }

    #[inline(never)]
    fn recover(&mut self, now: Timestamp) {
        if self.is_suspect() {
            self.set_verdict(None);
            self.pending |= pending::RECOVERED;
            self.next_beat = match self.judgement {
                Judgement::RoundTrip => Some(self.regular_beat(now)),
                Judgement::OneWay => None,
            };
            self.show_life_later(now);
        }
    }

    fn silence_at_suspicion(&self) -> Duration {
        let late_at = self.reply_due().unwrap_or(self.last_received);
        late_at.since(self.last_received)
    }

    fn report(&self) -> DeathReport {
        DeathReport {
            cause: self.death.unwrap_or(DeathCause::NoReply),
            evidence: self.evidence(self.verdict().unwrap_or(self.last_received)),
        }
    }

    /// What was seen of the peer until `now`.
    #[must_use]
    pub fn evidence(&self, now: Timestamp) -> Evidence {
        Evidence {
            silent_for: now.since(self.last_received),
            last_received: self.last_received,
            stalled_for: self.stalled.map(|since| now.since(since)),
            beats_sent: self.beats_sent(),
            beats_answered: self.beats_answered,
            rtt: self.rtt,
            local_stalls: self.local_stalls,
        }
    }

    /// Beats of ours that left.
    #[must_use]
    pub const fn beats_sent(&self) -> u32 {
        self.seq - self.unwritten as u32
    }

    /// Beats of ours that were answered.
    #[must_use]
    pub const fn beats_answered(&self) -> u32 {
        self.beats_answered
    }
}

const SHORTEST_MS: u32 = wire_millis(LivenessConfig::SHORTEST);

const fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}
