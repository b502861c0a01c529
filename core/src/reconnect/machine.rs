//! The machine of one link.

use alloc::sync::Arc;
use core::time::Duration;

use super::config::ReconnectConfig;
use super::retry::{Retry, Wait};
use crate::entropy::Prng;
use crate::time::{Deadline, DeadlineCause, Timestamp};

/// Hints start at most one attempt in this time, however many arrive: 1 s.
pub const HINT_GAP: Duration = Duration::from_secs(1);

/// This many conflicts in a row are reported by [`Reconnect::in_conflict`]: 3.
pub const CONFLICT_AFTER: u16 = 3;

/// Decides when one link tries to connect, and when it stops trying.
///
/// Four kinds of methods: inputs ([`open`](Self::open), [`connected`](Self::connected), [`lost`](Self::lost), ...) tell it
/// what happened; [`handle_timeout`](Self::handle_timeout) tells it that time has passed; after each of them drain
/// [`poll_action`](Self::poll_action) to `None` and ask [`poll_timeout`](Self::poll_timeout) for the next wake; getters
/// change nothing.
///
/// An *episode* begins when the user opens, and when a connection ends that had been up for the stable time and had proved
/// to be alive. Attempts and elapsed time are counted per episode.
///
/// Nothing here panics or allocates. An input that does not fit the state is ignored. A clock that steps back can make a
/// wait longer and a connection look shorter, nothing else.
#[derive(Debug, Clone)]
pub struct Reconnect {
    config: Arc<ReconnectConfig>,
    prng: Prng,
    phase: Phase,
    /// The last draw of the backoff, for decorrelated jitter.
    previous: Duration,
    first_failure: Option<Timestamp>,
    /// Hints start no attempt before this.
    next_hint: Timestamp,
    /// Attempts begun in this episode.
    attempt: u32,
    /// Failures that the backoff has seen. Unlike `attempt` it survives a stable connection that ended in a conflict.
    failures: u32,
    conflicts: u16,
    /// Connections in a row that were short and ended unexplained.
    unexplained: u16,
    lifeless: u32,
    /// The one `RetryNow` of this episode is spent.
    hurried: bool,
    network_down: bool,
    background: bool,
    /// A hint to come back arrived during the attempt, which may have begun on the network of before.
    overtaken: bool,
    /// The phase was not polled yet. Phases that ask for nothing leave it as it is.
    unreported: bool,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    Waiting(Pause),
    Connecting,
    Connected { since: Timestamp, alive: bool },
    GaveUp(GiveUpCause),
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    at: Timestamp,
    started: Timestamp,
    /// Hints do not bring `at` below this.
    not_before: Timestamp,
    /// A hint chose `at`.
    hinted: bool,
}

impl Reconnect {
    /// A machine that waits for [`open`](Self::open). Links with the same seed draw the same waits, so every link needs a
    /// seed of its own.
    #[must_use]
    pub const fn new(config: Arc<ReconnectConfig>, seed: u64) -> Self {
        Self {
            config,
            prng: Prng::new(seed),
            phase: Phase::Idle,
            previous: Duration::ZERO,
            first_failure: None,
            next_hint: Timestamp::ZERO,
            attempt: 0,
            failures: 0,
            conflicts: 0,
            unexplained: 0,
            lifeless: 0,
            hurried: false,
            network_down: false,
            background: false,
            overtaken: false,
            unreported: false,
        }
    }

    /// The user wants a connection.
    ///
    /// Idle, closed or given up: a new episode, whose first attempt starts at once. Waiting: the attempt starts at once
    /// and the episode goes on. Connecting or connected: no effect.
    pub fn open(&mut self, _now: Timestamp) {
        match self.phase {
            Phase::Idle | Phase::Closed | Phase::GaveUp(_) => {
                self.begin_episode();
                self.forget_failures();
                self.lifeless = 0;
                self.begin_attempt();
            }
            Phase::Waiting(_) => self.begin_attempt(),
            Phase::Connecting | Phase::Connected { .. } => {}
        }
    }

    /// The user wants no connection. Final: only [`open`](Self::open) starts another attempt. The caller ends the
    /// connection or the attempt that may exist.
    pub fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// The attempt succeeded; call it when the handshake is done. No effect unless connecting.
    pub fn connected(&mut self, now: Timestamp) {
        if let Phase::Connecting = self.phase {
            self.phase = Phase::Connected { since: now, alive: false };
            self.overtaken = false;
        }
    }

    /// The peer proved to be alive on this connection: it sent what only a working peer sends, after the handshake. No
    /// effect unless connected; calling it for everything that arrives is fine.
    pub fn proof_of_life(&mut self) {
        if let Phase::Connected { alive, .. } = &mut self.phase {
            *alive = true;
            self.lifeless = 0;
        }
    }

    /// The attempt failed or the connection ended. Then the state is waiting or given up.
    ///
    /// No effect unless connecting or connected, so that an error, an end of file and a timeout for the same loss start
    /// one reconnect.
    pub fn lost(&mut self, now: Timestamp, retry: Retry) {
        let was_connected = matches!(self.phase, Phase::Connected { .. });
        let stable = match self.phase {
            Phase::Connecting => false,
            Phase::Connected { alive, .. } => {
                self.lifeless = if alive { 0 } else { self.lifeless.saturating_add(1) };
                self.is_stable(now)
            }
            Phase::Idle | Phase::Waiting(_) | Phase::GaveUp(_) | Phase::Closed => return,
        };
        if stable {
            self.begin_episode();
            if retry != Retry::Conflict {
                self.forget_failures();
            }
        }
        let is_unexplained = retry == Retry::Unexplained && was_connected && !stable;
        self.unexplained = if is_unexplained { self.unexplained.saturating_add(1) } else { 0 };
        if retry == Retry::Conflict {
            self.conflicts = self.conflicts.saturating_add(1);
        }
        self.first_failure.get_or_insert(now);
        self.phase = match self.decide(now, retry) {
            Ok(pause) => Phase::Waiting(pause),
            Err(cause) => Phase::GaveUp(cause),
        };
        self.unreported = true;
        if self.on_hold() {
            self.stretch();
        } else if self.overtaken {
            self.cut(now);
        }
    }

    /// The user does not want to wait: the attempt starts at once, whoever asked for the wait. No effect unless waiting.
    pub fn retry_now(&mut self, _now: Timestamp) {
        if let Phase::Waiting(_) = self.phase {
            self.begin_attempt();
        }
    }

    /// The world outside changed. Decides about waits only; it neither revives a closed link nor touches an attempt, a
    /// connection, the backoff or a limit. What comes during an attempt counts for the wait after it, because the attempt
    /// may have begun on the network of before.
    ///
    /// [`Hint::NetworkDown`] and [`Hint::Background`] put the machine on hold until their opposites arrive: waits then
    /// last at least the cap, counted from their start, but they end, because a wrong hint must not disable the link. The
    /// other two cut a wait unless the machine is still on hold: the attempt starts at a random moment within the floor
    /// from now, at least the floor after the loss, and at least [`HINT_GAP`] after the last attempt that a hint started.
    /// A wait that the server asked for, or that a conflict caused, is not cut by hints.
    pub fn hint(&mut self, now: Timestamp, hint: Hint) {
        match hint {
            Hint::NetworkUp => self.network_down = false,
            Hint::NetworkDown => self.network_down = true,
            Hint::Foreground => self.background = false,
            Hint::Background => self.background = true,
        }
        if self.on_hold() {
            self.stretch();
        } else {
            self.overtaken = matches!(self.phase, Phase::Connecting);
            self.cut(now);
        }
    }

    /// Does what is due at `now`. Early, late or repeated calls are safe; a late one starts one attempt.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let Some(deadline) = self.poll_timeout().filter(|deadline| deadline.at <= now) else { return };
        match (self.phase, self.config.max_elapsed) {
            (Phase::Waiting(_), Some(limit)) if deadline.cause == DeadlineCause::GiveUp => {
                self.phase = Phase::GaveUp(GiveUpCause::Elapsed(limit));
                self.unreported = true;
            }
            (Phase::Waiting(pause), _) => {
                if pause.hinted {
                    self.next_hint = now.after(HINT_GAP);
                }
                self.begin_attempt();
            }
            _ => {}
        }
    }

    /// The next thing to do, until `None`. What a later input has overtaken is not reported any more.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<ReconnectAction> {
        if !core::mem::take(&mut self.unreported) {
            return None;
        }
        match self.phase {
            Phase::Waiting(pause) => {
                Some(ReconnectAction::ScheduleReconnect { at: pause.at, attempt: self.next_attempt() })
            }
            Phase::Connecting => Some(ReconnectAction::Connect { attempt: self.attempt }),
            Phase::GaveUp(cause) => Some(ReconnectAction::GiveUp { cause }),
            Phase::Idle | Phase::Connected { .. } | Phase::Closed => None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has work to do: [`DeadlineCause::Reconnect`] or
    /// [`DeadlineCause::GiveUp`] while waiting, else `None`. Pure, O(1). Once a turn has handled and drained everything
    /// that is due, it is later than `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let Phase::Waiting(pause) = self.phase else { return None };
        let reconnect = Deadline::new(pause.at, DeadlineCause::Reconnect);
        let give_up = self.limit().map(|at| Deadline::new(at, DeadlineCause::GiveUp));
        Deadline::earlier(Some(reconnect), give_up)
    }

    /// Where the link stands. A wait shows when it ends, so that it can be shown and skipped.
    #[must_use]
    pub fn state(&self) -> ReconnectState {
        match self.phase {
            Phase::Idle => ReconnectState::Idle,
            Phase::Waiting(pause) => ReconnectState::Waiting { at: pause.at, attempt: self.next_attempt() },
            Phase::Connecting => ReconnectState::Connecting { attempt: self.attempt },
            Phase::Connected { .. } => ReconnectState::Connected,
            Phase::GaveUp(cause) => ReconnectState::GaveUp(cause),
            Phase::Closed => ReconnectState::Closed,
        }
    }

    /// Whether the connection has been up for the stable time and has proved to be alive.
    #[must_use]
    pub fn is_stable(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Connected { since, alive } => alive && now.since(since) >= self.config.stable,
            _ => false,
        }
    }

    /// Another owner of the same identity has taken over at least [`CONFLICT_AFTER`] times in a row, or seems to have: tell the
    /// user. See [`Retry::Conflict`] and [`Retry::Unexplained`] for what ends the row.
    #[must_use]
    pub const fn in_conflict(&self) -> bool {
        self.conflicts >= CONFLICT_AFTER || self.unexplained >= CONFLICT_AFTER
    }

    /// How many connections in a row ended without a proof of life, saturating. Failed attempts between them do not count.
    /// A layer above uses it to try another address.
    #[must_use]
    pub const fn lifeless_connections(&self) -> u32 {
        self.lifeless
    }

    /// The network is down or the application is in the background, as far as the hints tell.
    #[must_use]
    pub const fn on_hold(&self) -> bool {
        self.network_down || self.background
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ReconnectConfig {
        &self.config
    }

    fn begin_episode(&mut self) {
        self.attempt = 0;
        self.first_failure = None;
        self.hurried = false;
    }

    fn forget_failures(&mut self) {
        self.failures = 0;
        self.conflicts = 0;
        self.unexplained = 0;
        self.previous = Duration::ZERO;
    }

    fn begin_attempt(&mut self) {
        self.attempt = self.next_attempt();
        self.phase = Phase::Connecting;
        self.overtaken = false;
        self.unreported = true;
    }

    const fn next_attempt(&self) -> u32 {
        self.attempt.saturating_add(1)
    }

    /// No attempt starts after this.
    fn limit(&self) -> Option<Timestamp> {
        Some(self.first_failure?.after(self.config.max_elapsed?))
    }

    /// The wait that follows a loss, or why there is none.
    fn decide(&mut self, now: Timestamp, retry: Retry) -> Result<Pause, GiveUpCause> {
        if retry == Retry::Fatal {
            return Err(GiveUpCause::Fatal);
        }
        if self.config.max_attempts.is_some_and(|max| self.attempt >= max.get()) {
            return Err(GiveUpCause::Attempts(self.attempt));
        }
        let (wait, firm) = self.draw(retry);
        self.failures = self.failures.saturating_add(1);
        let at = now.after(wait);
        match self.config.max_elapsed {
            Some(max_elapsed) if self.limit().is_some_and(|limit| at > limit) => Err(GiveUpCause::Elapsed(max_elapsed)),
            _ => {
                let not_before = if firm { at } else { now.after(self.config.floor) };
                Ok(Pause { at, started: now, not_before, hinted: false })
            }
        }
    }

    /// The length of the wait, and whether hints must leave it alone.
    fn draw(&mut self, retry: Retry) -> (Duration, bool) {
        match retry {
            Retry::Conflict => self.keep_apart(self.conflicts),
            Retry::Unexplained if self.unexplained >= CONFLICT_AFTER => self.keep_apart(self.unexplained),
            Retry::Retry { after: Some(word) } => self.obey(word),
            Retry::RetryNow => self.hurry(),
            Retry::Retry { after: None } | Retry::Unexplained | Retry::Fatal => (self.backoff(), false),
        }
    }

    fn keep_apart(&mut self, streak: u16) -> (Duration, bool) {
        let wait = self.config.conflict_delay(streak.into(), &mut self.prng);
        (wait.max(self.backoff()), true)
    }

    fn backoff(&mut self) -> Duration {
        self.previous = self.config.delay(self.failures, self.previous, &mut self.prng);
        self.previous
    }

    fn hurry(&mut self) -> (Duration, bool) {
        if core::mem::replace(&mut self.hurried, true) {
            return (self.backoff(), false);
        }
        let floor = self.config.floor;
        (self.prng.span(floor, floor.saturating_mul(2).min(self.config.cap)), false)
    }

    fn obey(&mut self, word: Wait) -> (Duration, bool) {
        let (floor, most) = (self.config.floor, self.config.max_wait_hint);
        let after = word.after.min(most);
        let latest = after.saturating_add(word.spread.min(most));
        if latest < floor {
            return self.hurry();
        }
        (self.prng.span(after.max(floor), latest), true)
    }

    fn stretch(&mut self) {
        let cap = self.config.cap;
        if let Phase::Waiting(pause) = &mut self.phase {
            let until = pause.started.after(cap);
            if pause.at < until {
                pause.at = until;
                pause.hinted = false;
                self.unreported = true;
            }
        }
    }

    fn cut(&mut self, now: Timestamp) {
        let next_hint = self.next_hint;
        if let Phase::Waiting(pause) = &mut self.phase
            && !pause.hinted
        {
            let soon = now.after(self.prng.span(Duration::ZERO, self.config.floor));
            let soon = soon.max(pause.not_before).max(next_hint);
            if soon < pause.at {
                pause.at = soon;
                pause.hinted = true;
                self.unreported = true;
            }
        }
    }
}

/// What happened outside, as the operating system or the application tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// There is a network, or another one than before.
    NetworkUp,
    /// There is no network.
    NetworkDown,
    /// The user looks at the application again.
    Foreground,
    /// The application went out of sight.
    Background,
}

/// What [`Reconnect`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectAction {
    /// A wait began, or its end moved. Nothing to do but to tell the user: the wake comes from
    /// [`Reconnect::poll_timeout`].
    ScheduleReconnect {
        /// When the attempt starts.
        at: Timestamp,
        /// Its number in the episode, from 1.
        attempt: u32,
    },
    /// Start an attempt now; answer with [`Reconnect::connected`] or [`Reconnect::lost`].
    Connect {
        /// Its number in the episode, from 1, saturating.
        attempt: u32,
    },
    /// No further attempt until the user opens again.
    GiveUp {
        /// Why.
        cause: GiveUpCause,
    },
}

/// Why [`Reconnect`] stopped trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUpCause {
    /// The last loss was [`Retry::Fatal`].
    Fatal,
    /// This many attempts failed, the most that the configuration allows.
    Attempts(u32),
    /// The next attempt would have started later than this after the first failure, the most that the configuration
    /// allows.
    Elapsed(Duration),
}

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectState {
    /// Never opened.
    Idle,
    /// An attempt is to come.
    Waiting {
        /// When it starts.
        at: Timestamp,
        /// Its number in the episode, from 1.
        attempt: u32,
    },
    /// An attempt is under way.
    Connecting {
        /// Its number in the episode, from 1, saturating.
        attempt: u32,
    },
    /// The last attempt succeeded and its connection has not ended.
    Connected,
    /// No attempt will come until the user opens again.
    GaveUp(GiveUpCause),
    /// Closed by the user.
    Closed,
}

const _: () = assert!(size_of::<Reconnect>() <= 128);
