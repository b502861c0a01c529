//! The reference driver on the standard library passes. It drives clients only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../../core/examples/blocking/driver.rs"]
mod driver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat_conformance::{ClientUnderTest, Clients, OutOfPatience, Suspends};
use keepbeat_core::client::{Client, ClientConfig, Event};
use keepbeat_core::session::{Message, SendError, Ticket};

use self::driver::Driver;

/// What the application wants done, in the driver's own thread.
type Job = Box<dyn FnOnce(&mut Driver) + Send>;

#[derive(Default)]
struct Blocking {
    drivers: Vec<Remote>,
    frozen: Vec<Sender<Duration>>,
}

impl Clients for Blocking {
    type Client = Remote;

    fn client(&mut self, server: SocketAddr, config: ClientConfig) -> Remote {
        let (jobs, taken) = channel();
        let client = Client::new(Arc::new(config), 7).to_server(server.to_string().parse().unwrap());
        let driver = Driver { client, address: server, stream: None, started: now() };
        thread::spawn(move || drive(driver, &taken));
        let remote = Remote { jobs };
        remote.ask(|driver| driver.client.open(driver.now()));
        self.drivers.push(remote.clone());
        remote
    }
}

impl Suspends for Blocking {
    fn freeze(&mut self) {
        for driver in &self.drivers {
            let (thaw, thawed) = channel::<Duration>();
            let (freeze, frozen) = channel();
            let job = move |driver: &mut Driver| {
                freeze.send(()).unwrap();
                driver.started = driver.started.checked_sub(thawed.recv().unwrap()).unwrap();
            };
            driver.jobs.send(Box::new(job)).unwrap();
            frozen.recv().unwrap();
            self.frozen.push(thaw);
        }
    }

    fn thaw(&mut self, gap: Duration) {
        for thaw in self.frozen.drain(..) {
            thaw.send(gap).unwrap();
        }
    }
}

/// Turns, what the application wants, and short waits, so that it is not kept waiting.
fn drive(mut driver: Driver, jobs: &Receiver<Job>) {
    loop {
        driver.turn();
        match jobs.try_recv() {
            Ok(job) => job(&mut driver),
            Err(TryRecvError::Empty) => driver.arm(GLANCE).unwrap(),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

#[derive(Clone)]
struct Remote {
    jobs: Sender<Job>,
}

impl Remote {
    fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Driver) -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        self.jobs.send(Box::new(move |driver| drop(answer.send(job(driver))))).unwrap();
        answered.recv().unwrap()
    }
}

impl ClientUnderTest for Remote {
    fn next_event(&mut self, patience: Duration) -> Result<Option<Event>, OutOfPatience> {
        let end = now() + patience;
        loop {
            let (event, over) = self.ask(|driver| {
                let now = driver.now();
                (driver.client.poll_event(now), driver.client.state().is_over())
            });
            match event {
                Some(event) => return Ok(Some(event)),
                None if over => return Ok(None),
                None if now() > end => return Err(OutOfPatience),
                None => {}
            }
        }
    }

    fn send(&mut self, message: Message) -> Result<Ticket, SendError> {
        self.ask(|driver| driver.client.send(driver.now(), message))
    }

    fn greet(&mut self, message: Message) -> Result<(), SendError> {
        self.ask(|driver| driver.client.greet(driver.now(), message))
    }

    fn greeted(&mut self) {
        self.ask(|driver| driver.client.greeted(driver.now()));
    }

    fn acknowledge(&mut self) -> bool {
        self.ask(|driver| driver.client.acknowledge(driver.now()))
    }

    fn close(&mut self) {
        self.ask(|driver| driver.client.close(driver.now()));
    }

    fn drain(&mut self, timeout: Duration) {
        self.ask(move |driver| driver.client.drain(driver.now(), timeout));
    }

    fn reopen(&mut self) {
        self.ask(|driver| driver.client.open(driver.now()));
    }
}

const GLANCE: Duration = Duration::from_millis(5);

#[expect(clippy::disallowed_methods, reason = "a driver owns its clock")]
fn now() -> Instant {
    Instant::now()
}

keepbeat_conformance::client_scenarios!(Blocking::default());
keepbeat_conformance::client_suspend_scenarios!(Blocking::default());
