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
