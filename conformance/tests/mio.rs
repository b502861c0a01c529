//! The adapter for mio passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keepbeat_adapter::clock::Clock;
use keepbeat_conformance::{ClientUnderTest, Clients, OutOfPatience, ServerUnderTest, Servers, Suspends};
use keepbeat_mio::{
    Admission, ClientConfig, ConnectionId, DeviceId, Driver, DriverEvent, Event, EventLoop, LinkId, LinkMut,
    ListenerBuilder, ListenerId, ListenerMut, Message, SendError, ServerConfig, ServerEvent, Sessions, Ticket, Tokens,
};
use mio::{Events, Poll, Token, Waker};

/// A driver on a thread of its own. It has one link or listener at a time.
struct Mio {
    desk: Arc<Desk>,
    suspends: Suspended,
    thaw: Option<Sender<()>>,
}

/// Where the thread is when the machine is suspended.
#[derive(Clone, Copy)]
enum Suspended {
    /// Between the end of the wait and the reading of the clock: what comes meanwhile was not announced.
    InTheTurn,
    /// In the wait, which was reckoned before and is not shortened.
    InTheWait,
}

/// What the script's thread and the driver's share.
struct Desk {
    /// Has the driver's thread do something in its next turn.
    run: Box<dyn Fn(Job) + Send + Sync>,
    /// Tried after every turn until it is fulfilled, so that whoever waits for an event does not make the driver turn.
    wish: Mutex<Option<Wish>>,
    /// To be passed before the next wait.
    gate: Mutex<Option<Gate>>,
    over: AtomicBool,
}

type Job = Box<dyn FnOnce(&mut Driver) + Send>;
type Wish = Box<dyn FnMut(&mut Driver) -> bool + Send>;

impl Mio {
    /// The adapter's own loop.
    fn event_loop() -> Self {
        let mut event_loop = EventLoop::new().unwrap();
        let remote = event_loop.remote();
        let desk = Desk::new(move |job| remote.run(job).unwrap());
        let shared = desk.clone();
        thread::spawn(move || {
            while !shared.over.load(Ordering::SeqCst) {
                event_loop.turn(None).unwrap();
                shared.serve(event_loop.driver());
            }
        });
        Self { desk, suspends: Suspended::InTheTurn, thaw: None }
    }

    /// A `Poll` of the application.
    fn own_poll() -> Self {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut driver = Driver::new(poll.registry(), waker.clone(), Tokens::tagged(0x6B)).unwrap();
        let (sender, jobs) = channel::<Job>();
        let desk = Desk::new(move |job| {
            sender.send(job).unwrap();
            waker.wake().unwrap();
        });
        let shared = desk.clone();
        thread::spawn(move || {
            let mut events = Events::with_capacity(64);
            while !shared.over.load(Ordering::SeqCst) {
                let wait = driver.wait();
                if let Some(gate) = shared.gate.lock().unwrap().take() {
                    gate.pass();
                }
                poll.poll(&mut events, wait).unwrap();
                events.iter().for_each(|event| driver.handle_event(event));
                jobs.try_iter().for_each(|job| job(&mut driver));
                driver.turn();
                shared.serve(&mut driver);
            }
        });
        Self { desk, suspends: Suspended::InTheWait, thaw: None }
    }
}

impl Drop for Mio {
    fn drop(&mut self) {
        self.desk.over.store(true, Ordering::SeqCst);
        self.desk.wake();
    }
}

impl Clients for Mio {
    type Client = MioClient;

    fn client(&mut self, server: SocketAddr, config: ClientConfig) -> MioClient {
        let id = self.desk.ask(move |driver| driver.open(server.to_string(), config));
        MioClient { desk: self.desk.clone(), id }
    }
}

impl Servers for Mio {
    type Server = MioServer;

    fn server(&mut self, address: SocketAddr, config: ServerConfig, sessions: Option<Sessions>) -> MioServer {
        let mut builder = ListenerBuilder::new(config);
        if let Some(sessions) = sessions {
            builder = builder.sessions(sessions);
        }
        let id = self.desk.ask(move |driver| builder.bind(driver, address)).unwrap();
        MioServer { desk: self.desk.clone(), id }
    }
}

impl Suspends for Mio {
    fn freeze(&mut self) {
        let ((freeze, frozen), (thaw, thawed)) = (channel(), channel());
        self.thaw = Some(thaw);
        let gate = Gate { freeze, thawed };
        match self.suspends {
            Suspended::InTheTurn => (self.desk.run)(Box::new(|_| gate.pass())),
            Suspended::InTheWait => {
                *self.desk.gate.lock().unwrap() = Some(gate);
                self.desk.wake();
            }
        }
        frozen.recv().unwrap();
    }

    /// Nothing wakes the driver but what would after a suspend.
    fn thaw(&mut self, gap: Duration) {
        Clock::skip(gap);
        self.thaw = None;
    }
}

/// Holds the driver's thread.
struct Gate {
    freeze: Sender<()>,
    thawed: Receiver<()>,
}

impl Gate {
    fn pass(self) {
        self.freeze.send(()).unwrap();
        self.thawed.recv().unwrap_or_default();
    }
}

impl Desk {
    fn new(run: impl Fn(Job) + Send + Sync + 'static) -> Arc<Self> {
        let (wish, gate) = (Mutex::default(), Mutex::default());
        Arc::new(Self { run: Box::new(run), wish, gate, over: AtomicBool::new(false) })
    }

    /// On the driver's thread.
    fn serve(&self, driver: &mut Driver) {
        drop(self.wish.lock().unwrap().take_if(|wish| wish(driver)));
    }

    fn wake(&self) {
        (self.run)(Box::new(|_| {}));
    }

    fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Driver) -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        (self.run)(Box::new(move |driver| answer.send(job(driver)).unwrap()));
        answered.recv().unwrap()
    }

    /// Waits until `look` has found something.
    fn await_it<T: Send + 'static>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&mut Driver) -> Option<T> + Send + 'static,
    ) -> Result<T, OutOfPatience> {
        let (answer, answered) = channel();
        let wish = move |driver: &mut Driver| look(driver).map(|found| drop(answer.send(found))).is_some();
        *self.wish.lock().unwrap() = Some(Box::new(wish));
        self.wake();
        answered.recv_timeout(patience).or_else(|_| {
            // Nothing found is lost.
            *self.wish.lock().unwrap() = None;
            answered.try_recv().map_err(|_| OutOfPatience)
        })
    }
}

struct MioClient {
    desk: Arc<Desk>,
    id: LinkId,
}

impl MioClient {
    fn ask<T: Send + 'static>(&self, job: impl FnOnce(LinkMut<'_>) -> T + Send + 'static) -> T {
        let id = self.id;
        self.desk.ask(move |driver| job(driver.link(id).unwrap()))
    }
}

impl ClientUnderTest for MioClient {
    fn next_event(&mut self, patience: Duration) -> Result<Option<Event>, OutOfPatience> {
        let id = self.id;
        self.desk.await_it(patience, move |driver| match driver.next_event() {
            Some(DriverEvent::Link(of, event)) if of == id => Some(Some(event)),
            Some(other) => panic!("an event of somebody else: {other:?}"),
            None => driver.link(id).unwrap().state().is_over().then_some(None),
        })
    }

    fn send(&mut self, message: Message) -> Result<Ticket, SendError> {
        self.ask(|mut link| link.send(message))
    }

    fn greet(&mut self, message: Message) -> Result<(), SendError> {
        self.ask(|mut link| link.greet(message))
    }

    fn greeted(&mut self) {
        self.ask(|mut link| link.greeted());
    }

    fn acknowledge(&mut self) -> bool {
        self.ask(|mut link| link.acknowledge())
    }

    fn close(&mut self) {
        self.ask(|mut link| link.close());
    }

    fn drain(&mut self, timeout: Duration) {
        self.ask(move |mut link| link.drain(timeout));
    }

    fn reopen(&mut self) {
        self.ask(|mut link| link.reopen());
    }
}

struct MioServer {
    desk: Arc<Desk>,
    id: ListenerId,
}

impl MioServer {
    fn ask<T: Send + 'static>(&self, job: impl FnOnce(ListenerMut<'_>) -> T + Send + 'static) -> T {
        let id = self.id;
        self.desk.ask(move |driver| job(driver.listener(id).unwrap()))
    }
}

impl ServerUnderTest for MioServer {
    fn local_addr(&self) -> SocketAddr {
        self.ask(|listener| listener.local_addr()).unwrap()
    }

    fn next_event(&mut self, patience: Duration) -> Result<Option<ServerEvent>, OutOfPatience> {
        let id = self.id;
        self.desk.await_it(patience, move |driver| match driver.next_event() {
            Some(DriverEvent::Listener(of, event)) if of == id => Some(Some(event)),
            Some(other) => panic!("an event of somebody else: {other:?}"),
            None => driver.listener(id).unwrap().is_over().then_some(None),
        })
    }

    fn send(&mut self, device: &DeviceId, message: Message) -> Result<Ticket, SendError> {
        let device = device.clone();
        self.ask(move |mut listener| listener.send(&device, message))
    }

    fn answer(&mut self, connection: ConnectionId, admission: Admission) {
        self.ask(move |mut listener| listener.answer(connection, admission));
    }

    fn drain(&mut self, retry_after: Duration, spread: Duration) {
        self.ask(move |mut listener| listener.drain(retry_after, spread));
    }

    fn abort(self) -> Sessions {
        self.ask(|mut listener| {
            let sessions = listener.abort().unwrap();
            listener.remove();
            sessions
        })
    }
}

mod client {
    use super::Mio;

    keepbeat_conformance::client_scenarios!(Mio::event_loop());
    keepbeat_conformance::client_suspend_scenarios!(Mio::event_loop());
}

mod server {
    use super::Mio;

    keepbeat_conformance::server_scenarios!(Mio::event_loop());
    keepbeat_conformance::server_suspend_scenarios!(Mio::event_loop());
}

mod client_in_a_poll {
    use super::Mio;

    keepbeat_conformance::client_suspend_scenarios!(Mio::own_poll());
}

mod server_in_a_poll {
    use super::Mio;

    keepbeat_conformance::server_suspend_scenarios!(Mio::own_poll());
}
