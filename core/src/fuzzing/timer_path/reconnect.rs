//! [`Reconnect`] against a plain count of attempts, woken at deadlines and woken every millisecond.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 to 2 | shape; most attempts; most time |
//! | 3 each | what happens, with what, and after how many steps of 16 ms |

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::fuzzing::script::Script;
use crate::reconnect::{GiveUpCause, Hint, Reconnect, ReconnectAction, ReconnectConfig, ReconnectState, Retry, Shape};
use crate::time::Timestamp;

/// So much happens, at most.
const MOST_STEPS: usize = 48;

const MS: Duration = Duration::from_millis(1);
const FLOOR: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(2);
const STABLE: Duration = Duration::from_secs(1);
const MOST_BELIEVED: Duration = Duration::from_secs(3);

pub(super) fn check(mut script: Script<'_>) {
    let ladder = Shape::Ladder([MS * 150, MS * 700, CAP].into());
    let shapes = [Shape::FullJitter, Shape::EqualJitter, Shape::DecorrelatedJitter, Shape::Fixed, ladder];
    let mut config = ReconnectConfig::builder().shape(script.one_of(&shapes)).base(MS * 200).cap(CAP);
    config = config.floor(FLOOR).first_spread(MS * 300).stable(STABLE).max_wait_hint(MOST_BELIEVED);
    let most_attempts = NonZeroU32::new(u32::from(script.byte()) % 8);
    if let Some(most) = most_attempts {
        config = config.max_attempts(most);
    }
    match u32::from(script.byte()) % 16 {
        0 => {}
        most => config = config.max_elapsed(MS * 400 * most),
    }
    let config = Arc::new(config.build().unwrap());
    let step = || (!script.is_over()).then(|| (script.byte(), script.byte(), script.byte()));
    let steps: Vec<(u8, u8, u8)> = core::iter::from_fn(step).take(MOST_STEPS).collect();

    let mut lazy = Run::new(&config, most_attempts);
    lazy.play(&steps, |link, _| link.poll_timeout().map(|due| due.at.as_nanos().div_ceil(1_000_000)));
    let mut eager = Run::new(&config, most_attempts);
    eager.play(&steps, |_, now| Some(now + 1));
    assert_eq!(lazy.trace, eager.trace, "woken at deadlines, and woken every millisecond");
}

struct Run {
    link: Reconnect,
    now: u64,
    trace: Vec<(u64, ReconnectAction)>,
    /// The attempts of this episode.
    attempt: u32,
    most: Option<NonZeroU32>,
    /// Since when it is connected, and whether the peer has proved to be alive.
    connected: Option<(u64, bool)>,
    lost_at: u64,
}

impl Run {
    fn new(config: &Arc<ReconnectConfig>, most: Option<NonZeroU32>) -> Self {
        let link = Reconnect::new(config.clone(), 99);
        Self { link, now: 1000, trace: Vec::new(), attempt: 0, most, connected: None, lost_at: 0 }
    }

    fn play(&mut self, steps: &[(u8, u8, u8)], next: impl Fn(&Reconnect, u64) -> Option<u64>) {
        for (what, amount, gap) in steps {
            let at = self.now + u64::from(*gap) * 16;
            while let Some(wake) = next(&self.link, self.now).filter(|wake| *wake < at) {
                self.now = wake;
                self.turn();
            }
            self.now = at;
            self.turn();
            self.happen(*what, *amount);
            self.turn();
        }
    }

    fn happen(&mut self, what: u8, amount: u8) {
        let (now, before) = (Timestamp::from_millis(self.now), self.link.state());
        let connecting = matches!(before, ReconnectState::Connecting { .. });
        match what % 12 {
            0 | 1 => {
                if matches!(before, ReconnectState::Idle | ReconnectState::Closed | ReconnectState::GaveUp(_)) {
                    self.attempt = 0;
                }
                self.link.open(now);
            }
            2 if amount & 1 == 0 => {
                self.connected = None;
                self.link.close();
            }
            2 | 3 => self.link.retry_now(now),
            4 | 5 => {
                self.link.connected(now);
                self.connected = if connecting { Some((self.now, false)) } else { self.connected };
            }
            6 => {
                self.link.proof_of_life();
                self.connected = self.connected.map(|(since, _)| (since, true));
            }
            7 => {
                let hints = [Hint::NetworkUp, Hint::NetworkDown, Hint::Foreground, Hint::Background];
                self.link.hint(now, hints[usize::from(amount % 4)]);
            }
            _ => self.lose(now, connecting, amount),
        }
        // No wait begins but by a loss, and none is shorter than the floor.
        if let ReconnectState::Waiting { at, .. } = self.link.state() {
            let wait = at.since(Timestamp::from_millis(self.lost_at));
            assert!(wait >= FLOOR && wait <= (2 * MOST_BELIEVED).max(CAP), "{wait:?}");
        }
        if self.connected.is_some() {
            assert_eq!(self.link.state(), ReconnectState::Connected);
        }
    }

    fn lose(&mut self, now: Timestamp, connecting: bool, amount: u8) {
        let span = MS * u32::from(amount >> 3) * 200;
        let retry = match amount % 8 {
            0..2 => Retry::BACKOFF,
            2 => Retry::Unexplained,
            3 => Retry::after(span, MS * 50),
            4 => Retry::after(Duration::ZERO, span),
            5 => Retry::Conflict,
            6 => Retry::RetryNow,
            _ => Retry::Fatal,
        };
        if connecting || self.connected.is_some() {
            self.lost_at = self.now;
        }
        if let Some((since, true)) = self.connected.take()
            && MS * (self.now - since) as u32 >= STABLE
        {
            self.attempt = 0;
        }
        self.link.lost(now, retry);
    }

    fn turn(&mut self) {
        let now = Timestamp::from_millis(self.now);
        self.link.handle_timeout(now);
        while let Some(action) = self.link.poll_action() {
            match action {
                ReconnectAction::Connect { attempt } => {
                    self.attempt += 1;
                    assert_eq!(attempt, self.attempt, "attempts are counted one by one");
                    assert!(self.connected.is_none(), "an attempt beside a connection");
                    assert!(self.most.is_none_or(|most| attempt <= most.get()));
                }
                ReconnectAction::ScheduleReconnect { at, attempt } => {
                    assert!(at > now && attempt == self.attempt + 1);
                }
                ReconnectAction::GiveUp { cause } => match cause {
                    GiveUpCause::Attempts(count) => assert_eq!(self.most.map(NonZeroU32::get), Some(count)),
                    GiveUpCause::Fatal | GiveUpCause::Elapsed(_) => {}
                },
            }
            self.trace.push((self.now, action));
        }
        assert!(self.link.poll_timeout().is_none_or(|due| due.at > now));
    }
}
