//! `connect --echo`: sends every message back as it came.

use std::sync::atomic::{AtomicUsize, Ordering};

use keepbeat_core::session::{Message, SendError};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::runtime::Link;

/// So many bytes of echoes wait for room in the link; then no more events are taken. The acknowledgements that make room
/// come behind messages, so the smaller this is, the sooner a server that says much before it listens is stuck.
const LIMIT: usize = 256 << 20;

/// What a message takes beside its bytes.
const OVERHEAD: usize = 64;

/// Echoes on their way back.
pub(crate) struct Echo<'a> {
    link: &'a Link,
    sender: mpsc::UnboundedSender<Message>,
    queue: Mutex<mpsc::UnboundedReceiver<Message>>,
    /// Bytes in the queue.
    waiting: AtomicUsize,
    sent: Notify,
}

impl<'a> Echo<'a> {
    pub(crate) fn new(link: &'a Link) -> Self {
        let (sender, queue) = mpsc::unbounded_channel();
        Self { link, sender, queue: Mutex::new(queue), waiting: AtomicUsize::new(0), sent: Notify::new() }
    }

    pub(crate) fn push(&self, message: Message) {
        self.waiting.fetch_add(message.len() + OVERHEAD, Ordering::Relaxed);
        // The other end is ours, too.
        drop(self.sender.send(message));
    }

    /// Whether another message may come.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < LIMIT
    }

    /// Waits until fewer are waiting.
    pub(crate) async fn room(&self) {
        self.sent.notified().await;
    }

    /// Sends what was pushed, one after the other, until the link is closed. Says that nothing was left out: what cannot be
    /// sent back could not have come.
    pub(crate) async fn run(&self) -> bool {
        let mut queue = self.queue.lock().await;
        while let Some(message) = queue.recv().await {
            let bytes = message.len() + OVERHEAD;
            if let Err(SendError::Closed { .. }) = self.link.send(message).await {
                break;
            }
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.sent.notify_one();
        }
        // Only the end of the link is an end.
        std::future::pending().await
    }
}
