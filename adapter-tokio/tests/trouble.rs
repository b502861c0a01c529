//! Dead peers, slow peers, and quiet ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_tokio::clock::Clock;
use keepbeat_tokio::core::session::QueueLimits;
use keepbeat_tokio::core::wire::beat::BeatConfig;
use keepbeat_tokio::core::{DownCause, DownReport};
use keepbeat_tokio::{Event, Link, Listener, ServerEvent, Timestamp, Traffic};
use support::*;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_peer_in_a_black_hole_is_found_dead_in_time() {
    let liveness = beats(200, 100);
    let listener = listen(server().liveness(liveness.clone())).await;
    let relay = Relay::to(listener.local_addr(), 0).await;
    let link = Link::open(relay.address.to_string(), client("a").liveness(liveness.clone()).build().unwrap());
    up(&link).await;
    // Both sides have exchanged beats.
    until(&link, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
    relay.swallow_everything();
    let died = Clock::now();
    let lateness = Cell::new(Duration::ZERO);
    let verdicts = async {
        tokio::join!(
            until(&link, |event| if let Event::Down { report, .. } = event { Some(in_time(*report)) } else { None }),
            server_until(&listener, |event| match event {
                ServerEvent::Offline { report, .. } => Some(in_time(*report)),
                _ => None,
            }),
        )
    };
    let (down, offline) = tokio::select! {
        verdicts = verdicts => verdicts,
        () = watch_lateness(&lateness) => unreachable!(),
    };
    let allowed = liveness.worst_case_detection() + millis(50) + 2 * lateness.get();
    for (report, at) in [down, offline] {
        assert!(matches!(report.cause, DownCause::Dead(_)), "{report}");
        assert!(at.since(died) <= allowed, "{:?}, but at most {allowed:?}: {report}", at.since(died));
    }
}

fn in_time(report: DownReport) -> (DownReport, Timestamp) {
    (report, Clock::now())
}

/// How late the machine wakes us at worst: what a busy machine adds is no fault of the driver.
#[expect(clippy::infinite_loop, reason = "whoever waits for it also waits for something else")]
async fn watch_lateness(worst: &Cell<Duration>) {
    loop {
        let before = Clock::now();
        tokio::time::sleep(millis(5)).await;
        let late = Clock::now().since(before).saturating_sub(millis(7));
        worst.set(worst.get().max(late));
    }
}

/// 20 MB at 1 MB/s, with beats every 200 ms that must be answered within 200 ms.
const LARGE: usize = 20_000_000;
const RATE: u64 = 1_000_000;

async fn slow_pair() -> (Listener, Relay, Link) {
    let (wire, queue) =
        (BeatConfig::builder().message_limit(LARGE).build().unwrap(), QueueLimits::new(10, LARGE).unwrap());
    let server = server().liveness(beats(200, 200)).wire(wire).outbox(queue.clone()).inbox(queue.clone());
    let listener = listen(server).await;
    let relay = Relay::to(listener.local_addr(), RATE).await;
    let client = client("a").liveness(beats(200, 200)).wire(wire).outbox(queue.clone()).inbox(queue);
    let link = Link::open(relay.address.to_string(), client.build().unwrap());
    up(&link).await;
    (listener, relay, link)
}

async fn to_the_server() {
    let (listener, _relay, link) = slow_pair().await;
    link.send(vec![7; LARGE]).await.unwrap();
    loop {
        tokio::select! {
            event = listener.next_event() => match event.unwrap() {
                ServerEvent::Message { payload, .. } => assert_eq!(payload.len(), LARGE),
                ServerEvent::Offline { report, .. } => panic!("{report}"),
                _ => {}
            },
            event = link.next_event() => match event.unwrap() {
                Event::Acknowledged { .. } => return,
                Event::Down { report, .. } => panic!("{report}"),
                _ => {}
            },
        }
    }
}

async fn to_the_device() {
    let (listener, _relay, link) = slow_pair().await;
    listener.send(&device("a"), vec![7; LARGE]).await.unwrap();
    loop {
        tokio::select! {
            event = listener.next_event() => match event.unwrap() {
                ServerEvent::Acknowledged { .. } => return,
                ServerEvent::Offline { report, .. } => panic!("{report}"),
                _ => {}
            },
            event = link.next_event() => match event.unwrap() {
                Event::Message(payload) => assert_eq!(payload.len(), LARGE),
                Event::Down { report, .. } => panic!("{report}"),
                _ => {}
            },
        }
    }
}

#[tokio::test]
async fn a_message_that_takes_a_hundred_reply_timeouts_kills_nobody() {
    let began = Clock::now();
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(to_the_server(), to_the_device()) })
        .await
        .unwrap();
    let took = Clock::now().since(began);
    assert!(took >= Duration::from_secs(15), "the path was not slow: {took:?}");
}

/// Only beats wake an idle pair: at 100 ms, 10 a second from each side, each answered.
#[tokio::test]
async fn an_idle_pair_wakes_for_its_beats_only() {
    let listener = listen(server().liveness(beats(100, 100))).await;
    let link = link(&listener, client("a").liveness(beats(100, 100)));
    up(&link).await;
    let before = [link.traffic(), listener.traffic()];
    let mut answered = 0;
    let begin = Clock::now();
    while Clock::now().since(begin) < Duration::from_secs(2) {
        until(&link, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
        answered += 1;
    }
    for (before, after) in before.into_iter().zip([link.traffic(), listener.traffic()]) {
        let Traffic { wakes, empty_turns, .. } = after;
        let (wakes, empty) = (wakes - before.wakes, empty_turns - before.empty_turns);
        assert!(wakes <= answered * 8, "{wakes} wakes for {answered} beats");
        assert!(empty <= answered * 2, "{empty} of {wakes} turns were for nothing, with {answered} beats");
    }
}

#[tokio::test]
async fn a_quiet_pair_does_not_wake_even_if_senders_wait() {
    let one = || QueueLimits::new(1, 1000).unwrap();
    let listener = Arc::new(listen(server().inbox(one()).outbox(one())).await);
    let link = Arc::new(link(&listener, client("a").inbox(one()).outbox(one())));
    up(&link).await;
    // Nobody takes the messages, so neither side reads on, and the outboxes stay full.
    let mut senders = JoinSet::new();
    let (near, far) = (link.clone(), listener.clone());
    senders.spawn(async move { while near.send("taken by nobody").await.is_ok() {} });
    senders.spawn(async move { while far.send(&device("a"), "taken by nobody").await.is_ok() {} });
    // What all that left to do is done when another pair has exchanged some beats.
    let another = listen(server().liveness(beats(100, 100))).await;
    let clock = support::link(&another, client("clock").liveness(beats(100, 100)));
    for _ in 0..5 {
        until(&clock, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
    }
    let before = (link.traffic(), listener.traffic());
    for _ in 0..10 {
        until(&clock, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
    }
    assert_eq!((link.traffic(), listener.traffic()), before);
    assert_eq!((link.unacknowledged(), listener.unacknowledged(&device("a"))), (1, 1));
    assert!(senders.try_join_next().is_none(), "they still wait");
}

/// The answers wait in the operating system while our own runtime stands still: nobody is to be suspected for that.
#[test]
fn a_runtime_that_stood_still_suspects_nobody() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bound, address) = std::sync::mpsc::channel();
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = listen(server().liveness(beats(100, 50))).await;
            bound.send(listener.local_addr()).unwrap();
            drop(finished.await);
        });
    });
    let address = address.recv().unwrap();
    runtime().block_on(async {
        let link = Link::open(address.to_string(), client("a").liveness(beats(100, 50)).build().unwrap());
        up(&link).await;
        for _ in 0..8 {
            until(&link, |event| match event {
                Event::Rtt(_) => Some(()),
                Event::Suspect { .. } | Event::Down { .. } => panic!("{event:?}"),
                _ => None,
            })
            .await;
            // The next beat leaves, and its answer comes while we stand still, for longer than it may take.
            let before = link.traffic().bytes_out;
            while link.traffic().bytes_out == before {
                tokio::task::yield_now().await;
            }
            let begin = Clock::now();
            while Clock::now().since(begin) < millis(80) {
                std::hint::spin_loop();
            }
        }
    });
    done.send(()).unwrap();
    server.join().unwrap();
}
