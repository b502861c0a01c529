//! One alarm for one task. It wakes; it decides nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keepbeat_core::time::Timestamp;
use smol::Timer;

/// The runtime's timers stand still while the machine is suspended. A wake at least this often notices it.
const CAP: Duration = Duration::from_secs(15);

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

impl Alarm {
    /// Makes sure that the task wakes at `due`, or at the cap; disarms at `None`. Never early: the wait counts from a
    /// moment after `now`.
    pub(crate) fn arm(&mut self, cx: &mut Context<'_>, now: Timestamp, due: Option<Timestamp>) {
        let Some(at) = due else {
            self.timer.clear();
            self.due = None;
            return;
        };
        if at <= now {
            cx.waker().wake_by_ref();
            return;
        }
        if self.due == due && self.poll(cx).is_pending() {
            return;
        }
        // Another deadline; or it rang for the cap, or for a moment that has come and was dealt with.
        self.due = due;
        self.timer.set_after(at.since(now).min(CAP));
        if self.poll(cx).is_ready() {
            // It was so near that it has come meanwhile. The next turn reads the clock.
            cx.waker().wake_by_ref();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(cx).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

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
