//! Links and listeners in an event loop on a thread of its own. Methods ask that thread and await its answer; events come
//! through a queue.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::liveness::Evidence;
use keepbeat_core::server::{Admission, ConnectionId, ServerConfig, ServerEvent, Sessions};
use keepbeat_core::session::{SendError, Ticket};
use keepbeat_core::tunnel::tls::TlsInfo;
use keepbeat_core::wire::DeviceId;
use keepbeat_mio::{Driver, DriverEvent, LinkId, LinkMut, ListenerBuilder, ListenerId, ListenerMut, Remote};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot, watch};

use crate::output::complain;

/// So many events wait for their takers, of all links and listeners. Then the loop hands out no more, and soon the machines
/// stop reading.
const WAITING: usize = 64;

/// An event loop that runs until the process ends.
#[derive(Clone)]
pub(crate) struct EventLoop(Arc<Common>);

/// What the loop's thread and the handles share.
struct Common {
    remote: Remote,
    ends: Mutex<Ends>,
    /// Events in all queues.
    waiting: AtomicUsize,
}

/// Where the events go.
#[derive(Default)]
struct Ends {
    links: BTreeMap<LinkId, LinkEnd>,
    listeners: BTreeMap<ListenerId, ListenerEnd>,
}

struct LinkEnd {
    events: mpsc::UnboundedSender<Event>,
    /// Something happened: there may be room in the outbox.
    news: Arc<Notify>,
}

struct ListenerEnd {
    events: mpsc::UnboundedSender<ServerEvent>,
    /// Gone when the listener is over.
    _over: watch::Sender<()>,
}

impl EventLoop {
    pub(crate) fn start() -> io::Result<Self> {
        let mut event_loop = keepbeat_mio::EventLoop::new()?;
        let (remote, ends) = (event_loop.remote(), Mutex::default());
        let common = Arc::new(Common { remote, ends, waiting: AtomicUsize::new(0) });
        let shared = common.clone();
        std::thread::Builder::new().name("event loop".to_owned()).spawn(move || {
            loop {
                if let Err(error) = event_loop.turn(None) {
                    complain(&format!("the event loop cannot wait: {error}; all links are lost"));
                    std::process::exit(1);
                }
                shared.hand_out(event_loop.driver());
            }
        })?;
        Ok(Self(common))
    }

    pub(crate) async fn open(&self, address: String, config: ClientConfig) -> io::Result<Link> {
        let (events, queue) = mpsc::unbounded_channel();
        let news = Arc::new(Notify::new());
        let (common, end) = (self.0.clone(), LinkEnd { events, news: news.clone() });
        let opened = self.0.ask(move |driver| {
            let id = driver.open(address, config);
            common.lock().links.insert(id, end);
            id
        });
        let id = opened.await.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Link { common: self.0.clone(), id, events: AsyncMutex::new(queue), news })
    }

    pub(crate) async fn bind(
        &self,
        address: String,
        config: ServerConfig,
        sessions: Option<Sessions>,
    ) -> io::Result<Listener> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
        let (events, queue) = mpsc::unbounded_channel();
        let (sender, over) = watch::channel(());
        let (common, end) = (self.0.clone(), ListenerEnd { events, _over: sender });
        let bound = self.0.ask(move |driver| {
            let mut builder = ListenerBuilder::new(config);
            if let Some(sessions) = sessions {
                builder = builder.sessions(sessions);
            }
            let id = builder.bind(driver, &addresses[..])?;
            common.lock().listeners.insert(id, end);
            let address = driver.listener(id).and_then(|listener| listener.local_addr());
            Ok::<_, io::Error>((id, address.ok_or(io::ErrorKind::NotConnected)?))
        });
        let (id, address) = bound.await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Listener { common: self.0.clone(), id, address, events: AsyncMutex::new(queue), over })
    }
}

impl Common {
    /// Does something on the loop's thread, and gives its answer; `None` if the thread is gone.
    async fn ask<R: Send + 'static>(&self, action: impl FnOnce(&mut Driver) -> R + Send + 'static) -> Option<R> {
        let (tell, answer) = oneshot::channel();
        // Whoever asked may be gone.
        self.tell(move |driver| drop(tell.send(action(driver))));
        answer.await.ok()
    }

    fn tell(&self, action: impl FnOnce(&mut Driver) + Send + 'static) {
        // It can fail only when the thread is gone, and then the process is.
        drop(self.remote.run(action));
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event was taken.
    fn taken(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == WAITING {
            self.tell(|_| {});
        }
    }

    /// On the loop's thread: puts events in the queues.
    fn hand_out(&self, driver: &mut Driver) {
        let mut ends = self.lock();
        while self.waiting.load(Ordering::Acquire) < WAITING {
            let Some(event) = driver.next_event() else {
                return ends.listeners.retain(|id, _| driver.listener(*id).is_some_and(|listener| !listener.is_over()));
            };
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let handed = match event {
                DriverEvent::Link(id, event) => ends.link(driver, id, event),
                DriverEvent::Listener(id, event) => {
                    ends.listeners.get(&id).is_some_and(|end| end.events.send(event).is_ok())
                }
                _ => false,
            };
            if !handed {
                self.taken();
            }
        }
    }
}

impl Ends {
    /// Whether somebody will take the event.
    fn link(&mut self, driver: &mut Driver, id: LinkId, event: Event) -> bool {
        let over = matches!(event, Event::Closed { .. } | Event::GaveUp { .. });
        let handed = self.links.get(&id).is_some_and(|end| {
            let handed = end.events.send(event).is_ok();
            end.news.notify_one();
            handed
        });
        if over {
            self.links.remove(&id);
            if let (false, Some(link)) = (handed, driver.link(id)) {
                link.remove();
            }
        }
        handed
    }
}

/// One link of the loop. Dropping it closes the link, politely.
pub(crate) struct Link {
    common: Arc<Common>,
    id: LinkId,
    events: AsyncMutex<mpsc::UnboundedReceiver<Event>>,
    news: Arc<Notify>,
}

impl Link {
    pub(crate) async fn next_event(&self) -> Option<Event> {
        let event = self.events.lock().await.recv().await?;
        self.common.taken();
        Some(event)
    }

    pub(crate) async fn send(&self, mut payload: Bytes) -> Result<Ticket, SendError> {
        loop {
            match self.try_send(payload).await {
                Err(SendError::Full { payload: back, .. }) => payload = back,
                done => return done,
            }
            self.news.notified().await;
        }
    }

    pub(crate) async fn try_send(&self, payload: Bytes) -> Result<Ticket, SendError> {
        let back = payload.clone();
        self.ask(|mut link| link.send(payload)).await.unwrap_or(Err(SendError::Closed { payload: back }))
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
    common: Arc<Common>,
    id: ListenerId,
    address: SocketAddr,
    events: AsyncMutex<mpsc::UnboundedReceiver<ServerEvent>>,
    over: watch::Receiver<()>,
}

impl Listener {
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.address
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

    pub(crate) async fn try_send(&self, device: &DeviceId, payload: Bytes) -> Result<Ticket, SendError> {
        let (device, back) = (device.clone(), payload.clone());
        let sent = self.ask(move |mut listener| listener.send(&device, payload)).await;
        sent.unwrap_or(Err(SendError::Closed { payload: back }))
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
