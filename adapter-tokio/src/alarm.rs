//! One alarm for one task. It wakes; it decides nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use keepbeat_core::time::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until};

/// A reused timer of the runtime.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The deadline for which it was last set.
    due: Option<Timestamp>,
}

impl keepbeat_adapter::Alarm for Alarm {
    /// The runtime rounds up.
    fn arm(&mut self, cx: &mut Context<'_>, now: Timestamp, due: Option<Timestamp>) {
        let Some(at) = due else { return self.disarm() };
        if at <= now {
            cx.waker().wake_by_ref();
            return;
        }
        loop {
            if self.due != due {
                self.due = due;
                self.set(at.since(now));
            }
            let Some(sleep) = &mut self.sleep else { return };
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return,
                // It rang for a moment that has come and was dealt with.
                Poll::Ready(()) => self.due = None,
            }
        }
    }

    fn disarm(&mut self) {
        (self.sleep, self.due) = (None, None);
    }
}

impl Alarm {
    fn set(&mut self, wait: std::time::Duration) {
        let target = Instant::now() + wait;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(target),
            None => self.sleep = Some(Box::pin(sleep_until(target))),
        }
    }
}
