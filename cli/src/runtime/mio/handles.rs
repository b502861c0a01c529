//! What the program holds of a link and of a listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::client::Event;
use keepbeat_core::liveness::Evidence;
use keepbeat_core::server::{Admission, ConnectionId, ServerEvent, Sessions};
use keepbeat_core::session::{Message, SendError, Ticket};
use keepbeat_core::tunnel::tls::TlsInfo;
use keepbeat_core::wire::DeviceId;
use keepbeat_mio::{LinkId, LinkMut, ListenerId, ListenerMut};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, watch};

use super::Common;

/// One link of the loop. Dropping it closes the link, politely.
pub(crate) struct Link {
    pub(super) common: Arc<Common>,
    pub(super) id: LinkId,
    pub(super) events: AsyncMutex<mpsc::UnboundedReceiver<Event>>,
    pub(super) news: Arc<Notify>,
}

impl Link {
    pub(crate) async fn next_event(&self) -> Option<Event> {
        let event = self.events.lock().await.recv().await?;
        self.common.taken();
        Some(event)
    }

    pub(crate) async fn send(&self, mut message: Message) -> Result<Ticket, SendError> {
        loop {
            match self.try_send(message).await {
                Err(SendError::Full { message: back, .. }) => message = back,
                done => return done,
            }
            self.news.notified().await;
        }
    }

    pub(crate) async fn try_send(&self, message: Message) -> Result<Ticket, SendError> {
        let back = message.clone();
        self.ask(|mut link| link.send(message)).await.unwrap_or(Err(SendError::Closed { message: back }))
    }

    pub(crate) async fn unacknowledged(&self) -> usize {
        self.ask(|link| link.unacknowledged()).await.unwrap_or_default()
    }

    pub(crate) async fn evidence(&self) -> Option<Evidence> {
        self.ask(|link| link.evidence()).await.flatten()
    }

    pub(crate) async fn tls(&self) -> Option<TlsInfo> {
        self.ask(|link| link.tls()).await.flatten()
    }

    pub(crate) fn close(&self) {
        let id = self.id;
        self.common.tell(move |driver| {
            if let Some(mut link) = driver.link(id) {
                link.close();
            }
        });
    }

    async fn ask<R: Send + 'static>(&self, what: impl FnOnce(LinkMut<'_>) -> R + Send + 'static) -> Option<R> {
        let id = self.id;
        self.common.ask(move |driver| driver.link(id).map(what)).await.flatten()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        empty(self.events.get_mut(), &self.common);
        let id = self.id;
        self.common.tell(move |driver| match driver.link(id) {
            Some(link) if link.state().is_over() => link.remove(),
            Some(mut link) => link.close(),
            None => {}
        });
    }
}

/// One listener of the loop. Dropping it closes everything at once.
pub(crate) struct Listener {
    pub(super) common: Arc<Common>,
    pub(super) id: ListenerId,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) events: AsyncMutex<mpsc::UnboundedReceiver<ServerEvent>>,
    pub(super) over: watch::Receiver<()>,
}

impl Listener {
    pub(crate) fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) async fn next_event(&self) -> Option<ServerEvent> {
        let event = self.events.lock().await.recv().await?;
        self.common.taken();
        Some(event)
    }

    pub(crate) fn answer(&self, connection: ConnectionId, admission: Admission) {
        let id = self.id;
        self.common.tell(move |driver| {
            if let Some(mut listener) = driver.listener(id) {
                listener.answer(connection, admission);
            }
        });
    }

    pub(crate) async fn try_send(&self, device: &DeviceId, message: Message) -> Result<Ticket, SendError> {
        let (device, back) = (device.clone(), message.clone());
        let sent = self.ask(move |mut listener| listener.send(&device, message)).await;
        sent.unwrap_or(Err(SendError::Closed { message: back }))
    }

    pub(crate) async fn evidence(&self, device: &DeviceId) -> Option<Evidence> {
        let device = device.clone();
        self.ask(move |listener| listener.evidence(&device)).await.flatten()
    }

    pub(crate) async fn connections(&self) -> usize {
        self.ask(|listener| listener.connections()).await.unwrap_or_default()
    }

    pub(crate) async fn drain(&self, retry_after: Duration, spread: Duration) {
        self.ask(move |mut listener| listener.drain(retry_after, spread)).await;
        // It never says anything but its end.
        drop(self.over.clone().changed().await);
    }

    pub(crate) async fn abort(&self) -> Option<Sessions> {
        self.ask(|mut listener| listener.abort()).await.flatten()
    }

    async fn ask<R: Send + 'static>(&self, what: impl FnOnce(ListenerMut<'_>) -> R + Send + 'static) -> Option<R> {
        let id = self.id;
        self.common.ask(move |driver| driver.listener(id).map(what)).await.flatten()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        empty(self.events.get_mut(), &self.common);
        let id = self.id;
        self.common.tell(move |driver| {
            if let Some(listener) = driver.listener(id) {
                listener.remove();
            }
        });
    }
}

/// What is in a queue that nobody reads any more waits no longer.
fn empty<T>(events: &mut mpsc::UnboundedReceiver<T>, common: &Common) {
    events.close();
    while events.try_recv().is_ok() {
        common.taken();
    }
}
