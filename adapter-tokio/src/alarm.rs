//! One alarm for one task. It wakes; it decides nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keepbeat_core::time::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until};

/// The runtime's timers stand still while the machine is suspended. A wake at least this often notices it.
const CAP: Duration = Duration::from_secs(15);

/// A reused timer of the runtime.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The deadline for which it was last set.
    due: Option<Timestamp>,
}

impl Alarm {
    /// Makes sure that the task wakes at `due`, or at the cap; disarms at `None`. Never early: the runtime rounds up.
    pub(crate) fn arm(&mut self, cx: &mut Context<'_>, now: Timestamp, due: Option<Timestamp>) {
        let Some(at) = due else {
            (self.sleep, self.due) = (None, None);
            return;
        };
        if at <= now {
            cx.waker().wake_by_ref();
            return;
        }
        loop {
            if self.due != due {
                self.due = due;
                self.set(at.since(now).min(CAP));
            }
            let Some(sleep) = &mut self.sleep else { return };
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return,
                // It rang for the cap, or for a moment that has come and was dealt with.
                Poll::Ready(()) => self.due = None,
            }
        }
    }

    fn set(&mut self, wait: Duration) {
        let target = Instant::now() + wait;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(target),
            None => self.sleep = Some(Box::pin(sleep_until(target))),
        }
    }
}
