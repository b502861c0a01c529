//! What an edge-triggered `Poll` says only once, and how little an idle loop does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use keepbeat_mio::core::session::QueueLimits;
use keepbeat_mio::core::{DownCause, Failure};
use keepbeat_mio::{Driver, DriverEvent, Event, EventLoop, ServerEvent};
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
    for _ in 0..5 {
        bench.listener(listener).send(&device("a"), vec![1; LARGE]).unwrap();
    }
    leave_alone(&mut bench);
    assert!(bench.listener(listener).unacknowledged(&device("a")) >= 2, "some are unread");
    for _ in 0..5 {
        bench.link_until(link, |event| matches!(event, Event::Message(_)).then_some(()));
    }
}

#[test]
fn what_came_from_a_device_with_a_full_inbox_is_read_when_there_is_room() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().inbox(inbox_of_one()));
    let link = bench.open(address, client("a"));
    bench.up(link);
    for _ in 0..5 {
        bench.link(link).send(vec![1; LARGE]).unwrap();
    }
    leave_alone(&mut bench);
    assert!(bench.link(link).unacknowledged() >= 2, "some are unread");
    for _ in 0..5 {
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
