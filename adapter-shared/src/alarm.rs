//! A timer of a runtime.

use std::task::Context;

use keepbeat_core::time::Timestamp;

/// One alarm for one task. It wakes; it decides nothing.
pub trait Alarm: Default + Send + 'static {
    /// Makes sure that the task wakes at `due`, or now if that has come; disarms at `None`. Never early. It need not count
    /// the time for which the machine is suspended; whoever notices a suspend disarms first.
    fn arm(&mut self, cx: &mut Context<'_>, now: Timestamp, due: Option<Timestamp>);

    /// Forgets what it was set for.
    fn disarm(&mut self);
}
