//! Wakes drivers after the machine was suspended.
//!
//! The timers of a runtime stand still while the machine is suspended; a deadline that passed meanwhile would be noticed
//! late by as much. One thread for the whole process looks at the clocks every 15 s, so that no link need wake for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat_core::time::Timestamp;

use crate::clock::Clock;

/// After the end of a suspend, drivers wake within this time.
pub const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What our clock counted more than the one that stands still. Less is the time between two readings.
const SUSPENDED: Duration = Duration::from_millis(500);

/// Somebody with deadlines.
pub(crate) trait Sleeper: Send + Sync {
    fn wake_up(&self);
}

struct Watch {
    sleepers: Vec<Weak<dyn Sleeper>>,
    /// How many there may be before those that are gone are thrown out.
    room: usize,
    running: bool,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { sleepers: Vec::new(), room: 0, running: false });
static LOOK_NOW: Condvar = Condvar::new();

/// Wakes `sleeper` after each suspend from now on, while it lives.
pub(crate) fn watch(sleeper: &Arc<impl Sleeper + 'static>) {
    let mut watch = lock();
    if watch.sleepers.len() >= watch.room {
        watch.throw_out();
    }
    let sleeper: Weak<dyn Sleeper> = Arc::downgrade(&(Arc::clone(sleeper) as Arc<dyn Sleeper>));
    watch.sleepers.push(sleeper);
    // Without a thread, a suspend is noticed at the next deadline or input.
    watch.running = watch.running || thread::Builder::new().name("keepbeat-suspend".to_owned()).spawn(look).is_ok();
}

/// Looks now, for a test that has moved the clock.
#[cfg(feature = "test-clock")]
pub(crate) fn look_now() {
    let _watch = lock();
    LOOK_NOW.notify_all();
}

/// Until there is nobody to wake.
fn look() {
    let mut watch = lock();
    let mut before = Reading::now();
    loop {
        let waited = LOOK_NOW.wait_timeout(watch, LOOK_EVERY);
        watch = waited.unwrap_or_else(PoisonError::into_inner).0;
        let now = Reading::now();
        watch.throw_out();
        if watch.sleepers.is_empty() {
            watch.running = false;
            return;
        }
        if now.suspended_since(&before) {
            let sleepers: Vec<_> = watch.sleepers.iter().filter_map(Weak::upgrade).collect();
            drop(watch);
            for sleeper in &sleepers {
                // It runs the executor's own code. One that panics does not take the others' suspends along.
                drop(catch_unwind(AssertUnwindSafe(|| sleeper.wake_up())));
            }
            drop(sleepers);
            watch = lock();
        }
        before = now;
    }
}

fn lock() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    fn throw_out(&mut self) {
        self.sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        self.room = (2 * self.sleepers.len()).max(16);
    }
}

/// Both clocks at one moment.
struct Reading {
    counts_suspend: Timestamp,
    stands_still: Instant,
}

impl Reading {
    #[expect(clippy::disallowed_methods, reason = "what this clock does not count is what is asked for")]
    fn now() -> Self {
        Self { counts_suspend: Clock::now(), stands_still: Instant::now() }
    }

    fn suspended_since(&self, earlier: &Self) -> bool {
        let stood_still = self.stands_still.saturating_duration_since(earlier.stands_still);
        self.counts_suspend.since(earlier.counts_suspend) >= stood_still + SUSPENDED
    }
}

#[cfg(all(test, feature = "test-clock"))]
#[allow(clippy::panic, reason = "tests may fail loudly")]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// There is one clock for the process: one test at a time moves it.
    static ALONE: Mutex<()> = Mutex::new(());

    struct Bell(mpsc::Sender<()>);

    impl Sleeper for Bell {
        fn wake_up(&self) {
            self.0.send(()).ok();
        }
    }

    struct Broken;

    impl Sleeper for Broken {
        fn wake_up(&self) {
            panic!("on purpose");
        }
    }

    #[test]
    fn one_that_panics_does_not_keep_the_others_asleep() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, rings) = mpsc::channel();
        let (broken, bell) = (Arc::new(Broken), Arc::new(Bell(sender)));
        watch(&broken);
        watch(&bell);
        for _ in 0..2 {
            // The thread hears of a skip only while it waits, so more than one may be needed.
            let woken = (0..14).any(|_| {
                Clock::skip(Duration::from_secs(60));
                rings.recv_timeout(Duration::from_secs(1)).is_ok()
            });
            assert!(woken, "it was not woken");
        }
    }

    #[test]
    fn whoever_lives_is_woken_after_a_suspend_and_not_without_one() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, rings) = mpsc::channel();
        let bell = Arc::new(Bell(sender.clone()));
        let gone = Arc::new(Bell(sender));
        watch(&bell);
        watch(&gone);
        drop(gone);
        look_now();
        assert!(rings.recv_timeout(Duration::from_millis(50)).is_err());
        Clock::skip(Duration::from_secs(60));
        rings.recv_timeout(Duration::from_secs(10)).expect("it was not woken");
        assert!(rings.recv_timeout(Duration::from_millis(50)).is_err());
    }
}
