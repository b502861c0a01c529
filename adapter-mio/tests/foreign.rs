//! A driver inside of somebody else's `Poll`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use keepbeat_mio::{Driver, DriverEvent, Event, Tokens};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use support::*;

const WAKER: Token = Token(0);
const FOREIGN: Token = Token(1);

struct Program {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    driver: Driver,
}

impl Program {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let driver = Driver::new(poll.registry(), waker.clone(), Tokens::tagged(7)).unwrap();
        Self { poll, events: Events::with_capacity(64), waker, driver }
    }

    fn poll(&mut self) -> Vec<Token> {
        let wait = self.driver.wait().unwrap_or(GUARD).min(GUARD);
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        self.events.iter().map(mio::event::Event::token).collect()
    }
}

#[test]
fn a_driver_lives_beside_foreign_sources() {
    let Program { mut poll, mut events, mut driver, .. } = Program::new();
    let mut foreign = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    poll.registry().register(&mut foreign, FOREIGN, Interest::READABLE).unwrap();
    let listener = driver.listen("127.0.0.1:0", server().liveness(beats(100, 100)).build().unwrap()).unwrap();
    let address = driver.listener(listener).unwrap().local_addr().unwrap();
    driver.open(address.to_string(), client("a").liveness(beats(100, 100)).build().unwrap());
    let guest = std::thread::spawn({
        let address = foreign.local_addr().unwrap();
        move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let mut greeting = String::new();
            stream.read_to_string(&mut greeting).unwrap();
            greeting
        }
    });
    let (mut greeted, mut beats) = (false, 0);
    while !greeted || beats < 3 {
        poll.poll(&mut events, Some(driver.wait().unwrap_or(GUARD))).unwrap();
        for event in &events {
            if driver.owns(event.token()) {
                driver.handle_event(event);
            } else {
                assert_eq!(event.token(), FOREIGN);
                let (mut guest, _) = foreign.accept().unwrap();
                guest.write_all(b"hello").unwrap();
                greeted = true;
                // It does no harm there.
                driver.handle_event(event);
            }
        }
        driver.turn();
        while let Some(event) = driver.next_event() {
            beats += u32::from(matches!(event, DriverEvent::Link(_, Event::Rtt(_))));
        }
    }
    assert_eq!(guest.join().unwrap(), "hello");
    assert_eq!(driver.stale_events(), 0);
}

#[test]
fn the_driver_has_no_wait_without_links_and_a_short_one_with_work() {
    let mut program = Program::new();
    assert_eq!(program.driver.wait(), None);
    let link = program.driver.open("127.0.0.1:9", client("a").build().unwrap());
    assert_eq!(program.driver.wait(), Some(Duration::ZERO));
    program.driver.turn();
    let wait = program.driver.wait().unwrap();
    assert!(wait <= Duration::from_secs(15) && wait.subsec_nanos().is_multiple_of(1_000_000), "{wait:?}");
    program.driver.link(link).unwrap().remove();
    assert_eq!(program.driver.wait(), None);
}

#[test]
fn a_late_event_of_a_closed_socket_is_dropped_and_counted() {
    let mut program = Program::new();
    let address = {
        let listener = program.driver.listen("127.0.0.1:0", server().build().unwrap()).unwrap();
        program.driver.listener(listener).unwrap().local_addr().unwrap().to_string()
    };
    let first = program.driver.open(address.clone(), client("a").build().unwrap());
    program.driver.turn();
    // The connect is over, and its event is on its way. Meanwhile another link has taken the socket's place.
    let tokens = program.poll();
    assert!(!tokens.is_empty());
    program.driver.link(first).unwrap().remove();
    let second = program.driver.open(address, client("b").build().unwrap());
    program.driver.turn();
    for event in &program.events {
        program.driver.handle_event(event);
    }
    assert_eq!(program.driver.stale_events(), 1);
    // The second link comes up by its own events.
    let mut up = false;
    while !up {
        program.poll();
        for event in &program.events {
            program.driver.handle_event(event);
        }
        program.driver.turn();
        while let Some(event) = program.driver.next_event() {
            up |= matches!(event, DriverEvent::Link(link, Event::Up { .. }) if link == second);
        }
    }
    assert_eq!(program.driver.stale_events(), 1);
}

#[test]
fn a_name_that_was_looked_up_rings_the_waker_of_the_poll() {
    let mut program = Program::new();
    program.driver.open("no-such-host.invalid:1", client("a").build().unwrap());
    program.driver.turn();
    assert_eq!(program.poll(), [WAKER]);
    program.driver.turn();
    let mut failed = false;
    while let Some(event) = program.driver.next_event() {
        failed |= matches!(event, DriverEvent::Link(_, Event::Down { was_up: false, .. }));
    }
    assert!(failed);
}

#[test]
fn a_dropped_driver_leaves_no_thread_behind() {
    let Program { waker, mut driver, .. } = Program::new();
    driver.open("localhost:9", client("a").build().unwrap());
    driver.turn();
    assert!(Arc::strong_count(&waker) > 2, "a thread has the waker");
    drop(driver);
    // Each thread has the waker while it lives.
    let begin = keepbeat_mio::clock::Clock::now();
    while Arc::strong_count(&waker) > 1 {
        assert!(keepbeat_mio::clock::Clock::now().since(begin) < GUARD);
        std::thread::yield_now();
    }
}
