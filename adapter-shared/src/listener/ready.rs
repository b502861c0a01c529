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
    /// The task was woken since its last turn began; those who are woken now come along.
    called: bool,
}

/// One connection's waker.
pub(super) struct Flag {
    id: ConnectionId,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    /// The task to wake from now on. Its turn begins.
    pub(super) fn watch(&self, task: &Waker) {
        self.with(|inner| {
            inner.called = false;
            match &mut inner.task {
                Some(known) => known.clone_from(task),
                none => *none = Some(task.clone()),
            }
        });
    }

    /// Puts all that were woken into `batch`, which is empty. Take each with [`Flag::take`].
    pub(super) fn swap(&self, batch: &mut VecDeque<Arc<Flag>>) {
        self.with(|inner| std::mem::swap(&mut inner.woken, batch));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.with(|inner| inner.woken.is_empty())
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

impl Flag {
    /// The connection that was woken. It may be over.
    pub(super) fn take(&self) -> ConnectionId {
        // Before the connection is looked at, so that what happens meanwhile is not missed.
        self.queued.swap(false, Ordering::AcqRel);
        self.id
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = self.ready.with(|inner| {
            inner.woken.push_back(self.clone());
            if std::mem::replace(&mut inner.called, true) { None } else { inner.task.clone() }
        });
        if let Some(task) = task {
            task.wake();
        }
    }
}
