//! Links and listeners in an event loop on a thread of its own. Methods ask that thread and await its answer; events come
//! through a queue.

mod handles;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::server::{ServerConfig, ServerEvent, Sessions};
use keepbeat_mio::{Driver, DriverEvent, LinkBuilder, LinkId, ListenerBuilder, ListenerId, Remote};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot, watch};

pub(crate) use self::handles::{Link, Listener};
use super::Target;
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

    pub(crate) async fn open(&self, target: Target, config: ClientConfig) -> io::Result<Link> {
        let Target { address, or_server, store } = target;
        let builder = or_server.into_iter().fold(LinkBuilder::new(address, config), LinkBuilder::or_server);
        let (events, queue) = mpsc::unbounded_channel();
        let news = Arc::new(Notify::new());
        let (common, end) = (self.0.clone(), LinkEnd { events, news: news.clone() });
        let opened = self.0.ask(move |driver| {
            let id = match store {
                Some(store) => builder.open_with_store(driver, store).map_err(io::Error::other)?,
                None => builder.open(driver),
            };
            common.lock().links.insert(id, end);
            Ok::<_, io::Error>(id)
        });
        let id = opened.await.ok_or(io::ErrorKind::BrokenPipe)??;
        Ok(Link { common: self.0.clone(), id, events: AsyncMutex::new(queue), news })
    }

    pub(crate) async fn bind(
        &self,
        names: Vec<String>,
        config: ServerConfig,
        sessions: Option<Sessions>,
    ) -> io::Result<Listener> {
        let mut found: Vec<Vec<SocketAddr>> = Vec::new();
        for name in names {
            found.push(tokio::net::lookup_host(name).await?.collect());
        }
        let (events, queue) = mpsc::unbounded_channel();
        let (sender, over) = watch::channel(());
        let (common, end) = (self.0.clone(), ListenerEnd { events, _over: sender });
        let bound = self.0.ask(move |driver| {
            let mut builder = ListenerBuilder::new(config);
            if let Some(sessions) = sessions {
                builder = builder.sessions(sessions);
            }
            let id = builder.bind_each(driver, found.iter().map(Vec::as_slice))?;
            common.lock().listeners.insert(id, end);
            let addresses = driver.listener(id).map(|listener| listener.local_addrs().to_vec());
            Ok::<_, io::Error>((id, addresses.unwrap_or_default()))
        });
        let (id, addresses) = bound.await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Listener { common: self.0.clone(), id, addresses, events: AsyncMutex::new(queue), over })
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
