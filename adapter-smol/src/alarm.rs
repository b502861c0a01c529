//! One alarm for one task. It wakes; it decides nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use keepbeat_core::time::Timestamp;
use smol::Timer;

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A reused timer of the runtime.
pub(crate) struct Alarm {
    timer: Timer,
    /// The deadline for which it was last set.
    due: Option<Timestamp>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { timer: Timer::never(), due: None }
    }
}

impl keepbeat_adapter::Alarm for Alarm {
    /// The wait counts from a moment after `now`, and is rounded up.
    fn arm(&mut self, cx: &mut Context<'_>, now: Timestamp, due: Option<Timestamp>) {
        let Some(at) = due else { return self.disarm() };
        if at <= now {
            cx.waker().wake_by_ref();
            return;
        }
        if self.due == due && self.poll(cx).is_pending() {
            return;
        }
        // Another deadline; or it rang for a moment that has come and was dealt with.
        self.due = due;
        self.timer.set_at(rounded_up(at.since(now)));
        if self.poll(cx).is_ready() {
            // It was so near that it has come meanwhile. The next turn reads the clock.
            cx.waker().wake_by_ref();
        }
    }

    fn disarm(&mut self) {
        self.timer.clear();
        self.due = None;
    }
}

impl Alarm {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(cx).map(drop)
    }
}

/// When `wait` is over, up to a whole millisecond of this process: smol's timers are exact to the nanosecond, and those of
/// links that are due together would wake one after the other.
#[expect(clippy::disallowed_methods, reason = "the runtime's timers go by this clock")]
fn rounded_up(wait: Duration) -> Instant {
    static ANCHOR: OnceLock<Instant> = OnceLock::new();
    let anchor = *ANCHOR.get_or_init(Instant::now);
    let millis = anchor.elapsed().saturating_add(wait).as_nanos().div_ceil(1_000_000);
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    // Too far away to be told: an alarm in a century is as good.
    anchor.checked_add(Duration::from_millis(millis)).unwrap_or(anchor + CENTURY)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use keepbeat_adapter::Alarm as _;
    use keepbeat_adapter::clock::Clock;

    use super::*;

    fn within(future: impl Future<Output = ()>) {
        // The guard first, whose wake is not to be taken for the alarm's.
        let guard = async {
            Timer::after(Duration::from_secs(10)).await;
            panic!("nobody was woken")
        };
        smol::block_on(smol::future::or(guard, future));
    }

    #[test]
    fn an_alarm_is_never_early_however_near_it_is() {
        let mut alarm = Alarm::default();
        for micros in [0, 1, 20, 300, 4000, 50_000].into_iter().cycle().take(60) {
            let start = Clock::now();
            let due = start.after(Duration::from_nanos(1) + Duration::from_micros(micros));
            let mut turns = 0;
            within(poll_fn(|cx| {
                turns += 1;
                if turns > 1 {
                    return Poll::Ready(());
                }
                alarm.arm(cx, start, Some(due));
                Poll::Pending
            }));
            let now = Clock::now();
            assert!(now >= due, "early by {:?}", due.since(now));
        }
    }

    #[test]
    fn an_alarm_that_is_disarmed_or_moved_does_not_ring_for_what_was() {
        let mut alarm = Alarm::default();
        let soon = Clock::now().after(Duration::from_millis(100));
        let later = Clock::now().after(Duration::from_millis(200));
        let mut turns = 0;
        within(poll_fn(|cx| {
            turns += 1;
            let now = Clock::now();
            if now >= later {
                return Poll::Ready(());
            }
            alarm.arm(cx, now, Some(soon));
            alarm.arm(cx, now, None);
            alarm.arm(cx, now, Some(later));
            Poll::Pending
        }));
        assert_eq!(turns, 2);
    }
}
