//! Which connections the runtime woke, so that a turn touches only those.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use keepbeat_core::server::ConnectionId;

/// The connections that were woken since they were last looked at.
#[derive(Default)]
pub(super) struct Ready {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    woken: VecDeque<Arc<Flag>>,
    task: Option<Waker>,
}

/// One connection's waker.
pub(super) struct Flag {
    id: ConnectionId,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    /// The task to wake from now on.
    pub(super) fn watch(&self, task: &Waker) {
        self.with(|inner| match &mut inner.task {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        });
    }

    /// The next connection that was woken. It may be over.
    pub(super) fn next(&self) -> Option<ConnectionId> {
        let flag = self.with(|inner| inner.woken.pop_front())?;
        // Before the connection is looked at, so that what happens meanwhile is not missed.
        flag.queued.swap(false, Ordering::AcqRel);
        Some(flag.id)
    }

    pub(super) fn len(&self) -> usize {
        self.with(|inner| inner.woken.len())
    }

    /// Breaks the circle of a waker in the queue that holds the queue.
    pub(super) fn forget_all(&self) {
        drop(self.with(std::mem::take));
    }

    pub(super) fn flag(self: &Arc<Self>, id: ConnectionId) -> Arc<Flag> {
        Arc::new(Flag { id, queued: AtomicBool::new(false), ready: self.clone() })
    }

    fn with<R>(&self, action: impl FnOnce(&mut Inner) -> R) -> R {
        action(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let ready = self.ready.clone();
        let task = ready.with(|inner| {
            inner.woken.push_back(self);
            inner.task.clone()
        });
        if let Some(task) = task {
            task.wake();
        }
    }
}
