//! What an edge-triggered `Poll` says only once, and how little an idle loop does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use keepbeat_mio::core::session::QueueLimits;
use keepbeat_mio::core::{DownCause, Failure};
use keepbeat_mio::{Driver, DriverEvent, Event, EventLoop, LinkState, Remote, ServerEvent};
use support::*;

/// More than one read takes, and less than the operating system keeps.
const LARGE: usize = 40_000;

fn inbox_of_one() -> QueueLimits {
    QueueLimits::new(1, 1 << 20).unwrap()
}

/// The rest lies in the socket while nobody wants it, and no further event comes for it.
#[test]
fn what_came_for_a_link_with_a_full_inbox_is_read_when_there_is_room() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let link = bench.open(address, client("a").inbox(inbox_of_one()));
    bench.up(link);
    for _ in 0..3 {
        bench.listener(listener).send(&device("a"), vec![1; LARGE]).unwrap();
    }
    leave_alone(&mut bench);
    assert!(bench.listener(listener).unacknowledged(&device("a")) >= 2, "some are unread");
    for _ in 0..3 {
        bench.link_until(link, |event| matches!(event, Event::Message(_)).then_some(()));
    }
}

#[test]
fn what_came_from_a_device_with_a_full_inbox_is_read_when_there_is_room() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().inbox(inbox_of_one()));
    let link = bench.open(address, client("a"));
    bench.up(link);
    for _ in 0..3 {
        bench.link(link).send(vec![1; LARGE]).unwrap();
    }
    leave_alone(&mut bench);
    assert!(bench.link(link).unacknowledged() >= 2, "some are unread");
    assert_ne!(bench.driver().wait(), Some(Duration::ZERO));
    let is_message = |event: &_| matches!(event, DriverEvent::Listener(_, ServerEvent::Message { .. }));
    while !bench.driver().next_event().as_ref().is_some_and(is_message) {}
    assert_eq!(bench.driver().wait(), Some(Duration::ZERO), "a message was taken, and there is room");
    for _ in 1..3 {
        bench.server_until(listener, |event| matches!(event, ServerEvent::Message { .. }).then_some(()));
    }
}

/// Turns until nothing moves any more, and takes no event.
fn leave_alone(bench: &mut Bench) {
    let mut before = bench.driver().traffic().bytes_in;
    loop {
        for _ in 0..20 {
            bench.event_loop.turn(Some(millis(10))).unwrap();
        }
        let now = bench.driver().traffic().bytes_in;
        if now == before {
            return;
        }
        before = now;
    }
}

/// The type of a hello: the beginning of a frame that does not go on.
const BEGUN: &[u8] = &[1];

#[test]
fn a_link_sees_an_end_that_came_with_the_last_bytes() {
    let long = Duration::from_secs(60);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new();
    let link = bench.open(server.local_addr().unwrap(), client("a").handshake_timeout(long));
    bench.turn_until(|bench| (bench.driver().traffic().bytes_out > 0).then_some(()));
    let (mut stream, _) = server.accept().unwrap();
    let mut hello = vec![0; bench.driver().traffic().bytes_out as usize];
    stream.read_exact(&mut hello).unwrap();
    // Both are there before the next poll.
    stream.write_all(BEGUN).unwrap();
    drop(stream);
    bench.link_until(link, |event| match event {
        Event::Down { report, .. } => {
            assert_eq!(report.cause, DownCause::Network(Failure::Eof));
            Some(())
        }
        _ => None,
    });
}

#[test]
fn a_listener_sees_an_end_that_came_with_the_first_bytes() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().handshake_timeout(Duration::from_secs(60)));
    let mut guest = TcpStream::connect(address).unwrap();
    guest.write_all(BEGUN).unwrap();
    drop(guest);
    bench.server_until(listener, |event| match event {
        ServerEvent::Rejected { cause, .. } => {
            assert_eq!(*cause, DownCause::Network(Failure::Eof));
            Some(())
        }
        _ => None,
    });
    bench.turn_until(|bench| (bench.listener(listener).connections() == 0).then_some(()));
}

/// Only beats wake an idle pair: 10 a second, each with an answer, for both sides together.
#[test]
fn an_idle_loop_turns_for_its_beats_only() {
    let mut bench = Bench::new();
    let (_, address) = bench.listen(server().liveness(beats(100, 100)));
    let link = bench.open(address, client("a").liveness(beats(100, 100)));
    bench.up(link);
    bench.link_until(link, |event| matches!(event, Event::Rtt(_)).then_some(()));
    let (before, begin, mut answered) = (bench.driver().traffic(), Clock::now(), 0);
    while Clock::now().since(begin) < Duration::from_secs(2) {
        bench.link_until(link, |event| matches!(event, Event::Rtt(_)).then_some(()));
        answered += 1;
    }
    let after = bench.driver().traffic();
    let (turns, empty) = (after.wakes - before.wakes, after.empty_turns - before.empty_turns);
    assert!(turns <= answered * 12, "{turns} turns for {answered} beats");
    assert!(empty <= answered, "{empty} of {turns} turns were for nothing, with {answered} beats");
}

#[test]
fn a_loop_without_work_sleeps_until_another_thread_wants_something() {
    let mut event_loop = EventLoop::new().unwrap();
    let remote = event_loop.remote();
    let thread = std::thread::spawn(move || {
        let open = |driver: &mut Driver| _ = driver.open("127.0.0.1:1", client("a").build().unwrap());
        remote.run(open).unwrap();
        remote
    });
    let mut opened = false;
    while !opened {
        event_loop.turn(Some(GUARD)).unwrap();
        while let Some(event) = event_loop.driver().next_event() {
            opened |= matches!(event, DriverEvent::Link(_, Event::Connecting { .. }));
        }
    }
    assert!(event_loop.driver().traffic().wakes <= 4, "{:?}", event_loop.driver().traffic());
    let remote = thread.join().unwrap();
    drop(event_loop);
    let error = remote.run(|_| {}).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// The interval and the reply timeout of those who stand still.
const R: u64 = 300;

/// The answer lies in the operating system while our own loop stands still, and no poll has announced it.
#[test]
fn a_late_turn_of_a_link_reads_before_it_judges() {
    let (sender, address) = channel();
    let peer = Peer::run(move |driver| {
        let listener = driver.listen("127.0.0.1:0", server().liveness(beats(R, R)).build().unwrap()).unwrap();
        sender.send(driver.listener(listener).unwrap().local_addr().unwrap()).unwrap();
    });
    let mut bench = Bench::new();
    let link = bench.open(address.recv().unwrap(), client("a").liveness(beats(R, R)));
    bench.up(link);
    for _ in 0..3 {
        let before = bench.driver().traffic().bytes_out;
        bench.turn_until(|bench| (bench.driver().traffic().bytes_out > before).then_some(()));
        stand_still(R * 3 / 2);
        bench.driver().turn();
        let silent_for = bench.link(link).evidence().unwrap().silent_for;
        assert!(silent_for < millis(R), "the answer was not read: {silent_for:?}");
        assert_eq!(bench.link(link).state(), LinkState::Up { suspect: false });
        bench.link_until(link, |event| match event {
            Event::Rtt(_) => Some(()),
            Event::Suspect { .. } | Event::Down { .. } => panic!("{event:?}"),
            _ => None,
        });
    }
    peer.stop();
}

#[test]
fn a_late_turn_of_a_listener_reads_before_it_judges() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().liveness(beats(R, R)));
    let peer = Peer::run(move |driver| {
        driver.open(address.to_string(), client("a").liveness(beats(R, R)).build().unwrap());
    });
    bench.server_until(listener, |event| matches!(event, ServerEvent::Online { .. }).then_some(()));
    for _ in 0..3 {
        let before = bench.driver().traffic().bytes_in;
        bench.turn_until(|bench| (bench.driver().traffic().bytes_in > before).then_some(()));
        let begin = Clock::now();
        while Clock::now().since(begin) < millis(R * 7 / 10) {
            bench.event_loop.turn(Some(millis(10))).unwrap();
        }
        // Meanwhile comes the next beat, and the moment at which it would be missed.
        stand_still(R * 3 / 2);
        bench.driver().turn();
        while let Some(event) = bench.driver().next_event() {
            assert!(!matches!(event, DriverEvent::Listener(_, ServerEvent::Suspect { .. })), "{event:?}");
        }
        assert!(bench.listener(listener).is_connected(&device("a")));
    }
    peer.stop();
}

fn stand_still(time: u64) {
    let begin = Clock::now();
    while Clock::now().since(begin) < millis(time) {
        std::thread::yield_now();
    }
}

/// An event loop in another thread.
struct Peer {
    remote: Remote,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Peer {
    fn run(begin: impl FnOnce(&mut Driver) + Send + 'static) -> Self {
        let (sender, remote) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = std::thread::spawn(move || {
            let mut event_loop = EventLoop::new().unwrap();
            sender.send(event_loop.remote()).unwrap();
            begin(event_loop.driver());
            while !is_over.load(Ordering::Relaxed) {
                event_loop.turn(None).unwrap();
                while event_loop.driver().next_event().is_some() {}
            }
        });
        Self { remote: remote.recv().unwrap(), over, thread }
    }

    fn stop(self) {
        let Self { remote, over, thread } = self;
        remote.run(move |_| over.store(true, Ordering::Relaxed)).unwrap();
        thread.join().unwrap();
    }
}
