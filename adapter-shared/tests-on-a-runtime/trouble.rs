//! Dead peers, slow peers, and quiet ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures_lite::future;

use crate::runtime::adapter::clock::Clock;
use crate::runtime::adapter::core::session::QueueLimits;
use crate::runtime::adapter::core::wire::beat::BeatConfig;
use crate::runtime::adapter::core::{DownCause, DownReport};
use crate::runtime::adapter::{Event, Link, Listener, ServerEvent, Timestamp, Traffic};
use crate::runtime::{block_on, sleep, spawn};
use crate::support::*;

#[test]
fn a_peer_in_a_black_hole_is_found_dead_in_time() {
    block_on(async {
        let liveness = beats(200, 100);
        let listener = listen(server().liveness(liveness.clone())).await;
        let relay = Relay::to(listener.local_addr(), 0);
        let link = Link::open(relay.address.to_string(), client("a").liveness(liveness.clone()).build().unwrap());
        up(&link).await;
        // Both sides have exchanged beats.
        until(&link, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
        relay.swallow_everything();
        let died = Clock::now();
        // Here, and where the drivers are.
        let lateness = Arc::new(AtomicU64::new(0));
        let _watch = spawn(watch_lateness(lateness.clone()));
        let verdicts = future::zip(
            until(&link, |event| if let Event::Down { report, .. } = event { Some(in_time(*report)) } else { None }),
            server_until(&listener, |event| match event {
                ServerEvent::Offline { report, .. } => Some(in_time(*report)),
                _ => None,
            }),
        );
        let (down, offline) = future::or(verdicts, async {
            watch_lateness(lateness.clone()).await;
            unreachable!()
        })
        .await;
        let allowed =
            liveness.worst_case_detection() + millis(50) + 2 * Duration::from_nanos(lateness.load(Ordering::SeqCst));
        for (report, at) in [down, offline] {
            assert!(matches!(report.cause, DownCause::Dead(_)), "{report}");
            assert!(at.since(died) <= allowed, "{:?}, but at most {allowed:?}: {report}", at.since(died));
        }
    });
}

fn in_time(report: DownReport) -> (DownReport, Timestamp) {
    (report, Clock::now())
}

/// How late the machine wakes us at worst: what a busy machine adds is no fault of the driver.
#[expect(clippy::infinite_loop, reason = "whoever waits for it also waits for something else")]
async fn watch_lateness(worst: Arc<AtomicU64>) {
    loop {
        let before = Clock::now();
        sleep(millis(5)).await;
        let late = Clock::now().since(before).saturating_sub(millis(7));
        worst.fetch_max(late.as_nanos().try_into().unwrap(), Ordering::SeqCst);
    }
}

/// 20 MB at 1 MB/s, with beats every 500 ms that must be answered within 500 ms: less, and a busy machine is judged.
const LARGE: usize = 20_000_000;
const RATE: u64 = 1_000_000;

async fn slow_pair() -> (Listener, Relay, Link) {
    let (wire, queue) =
        (BeatConfig::builder().message_limit(LARGE).build().unwrap(), QueueLimits::new(10, LARGE).unwrap());
    let server = server().liveness(beats(500, 500)).wire(wire).outbox(queue.clone()).inbox(queue.clone());
    let listener = listen(server).await;
    let relay = Relay::to(listener.local_addr(), RATE);
    let client = client("a").liveness(beats(500, 500)).wire(wire).outbox(queue.clone()).inbox(queue);
    let link = Link::open(relay.address.to_string(), client.build().unwrap());
    up(&link).await;
    (listener, relay, link)
}

async fn to_the_server() {
    let (listener, _relay, link) = slow_pair().await;
    link.send(vec![7; LARGE]).await.unwrap();
    let received = async {
        loop {
            match listener.next_event().await.unwrap() {
                ServerEvent::Message { message, .. } => return message.len(),
                ServerEvent::Offline { report, .. } => panic!("{report}"),
                _ => {}
            }
        }
    };
    let acknowledged = async {
        loop {
            match link.next_event().await.unwrap() {
                Event::Acknowledged { .. } => return,
                Event::Down { report, .. } => panic!("{report}"),
                _ => {}
            }
        }
    };
    assert_eq!(future::zip(received, acknowledged).await, (LARGE, ()));
}

async fn to_the_device() {
    let (listener, _relay, link) = slow_pair().await;
    listener.send(&device("a"), vec![7; LARGE]).await.unwrap();
    let received = async {
        loop {
            match link.next_event().await.unwrap() {
                Event::Message(message) => return message.len(),
                Event::Down { report, .. } => panic!("{report}"),
                _ => {}
            }
        }
    };
    let acknowledged = async {
        loop {
            match listener.next_event().await.unwrap() {
                ServerEvent::Acknowledged { .. } => return,
                ServerEvent::Offline { report, .. } => panic!("{report}"),
                _ => {}
            }
        }
    };
    assert_eq!(future::zip(received, acknowledged).await, (LARGE, ()));
}

#[test]
fn a_message_that_takes_forty_reply_timeouts_kills_nobody() {
    block_on(async {
        let began = Clock::now();
        within_limit(Duration::from_secs(60), future::zip(to_the_server(), to_the_device())).await;
        let took = Clock::now().since(began);
        assert!(took >= Duration::from_secs(15), "the path was not slow: {took:?}");
    });
}

/// Only beats wake an idle pair: at 100 ms, 10 a second from each side, each answered.
#[test]
fn an_idle_pair_wakes_for_its_beats_only() {
    block_on(async {
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
            assert!(wakes <= answered * 4, "{wakes} wakes for {answered} beats");
            assert!(empty <= answered / 4, "{empty} of {wakes} turns were for nothing, with {answered} beats");
        }
    });
}

#[test]
fn a_quiet_pair_does_not_wake_even_if_senders_wait() {
    block_on(async {
        let one = || QueueLimits::new(1, 1000).unwrap();
        let listener = Arc::new(listen(server().inbox(one()).outbox(one())).await);
        let link = Arc::new(link(&listener, client("a").inbox(one()).outbox(one())));
        up(&link).await;
        // Nobody takes the messages, so neither side reads on, and the outboxes stay full.
        let (near, far) = (link.clone(), listener.clone());
        let senders = [
            spawn(async move { while near.send("taken by nobody").await.is_ok() {} }),
            spawn(async move { while far.send(&device("a"), "taken by nobody").await.is_ok() {} }),
        ];
        // What all that left to do is done when another pair has exchanged some beats.
        let another = listen(server().liveness(beats(100, 100))).await;
        let clock = crate::support::link(&another, client("clock").liveness(beats(100, 100)));
        for _ in 0..5 {
            until(&clock, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
        }
        let before = (link.traffic(), listener.traffic());
        for _ in 0..10 {
            until(&clock, |event| matches!(event, Event::Rtt(_)).then_some(())).await;
        }
        assert_eq!((link.traffic(), listener.traffic()), before);
        assert_eq!((link.unacknowledged(), listener.unacknowledged(&device("a"))), (1, 1));
        assert!(senders.iter().all(|sender| !sender.is_finished()), "they still wait");
    });
}

/// The answers wait in the operating system while our own driver stands still: nobody is to be suspected for that.
#[test]
fn a_driver_that_stood_still_suspects_nobody() {
    let (bound, address) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        block_on(async {
            // We stand still, and it is not the server that is to excuse it.
            let listener = listen(server().liveness(beats(60_000, 10_000))).await;
            bound.send(listener.local_addr()).unwrap();
            offline(&listener).await
        })
    });
    let config = client("a").liveness(beats(200, 150)).build().unwrap();
    let (link, driver) = Link::builder(address.recv().unwrap().to_string(), config).build().unwrap();
    let stand_still = async {
        up(&link).await;
        for _ in 0..5 {
            until(&link, |event| match event {
                Event::Rtt(_) => Some(()),
                Event::Suspect { .. } | Event::Down { .. } => panic!("{event:?}"),
                _ => None,
            })
            .await;
            // The next beat leaves, and its answer comes while we stand still, for longer than it may take.
            let before = link.traffic().bytes_out;
            while link.traffic().bytes_out == before {
                future::yield_now().await;
            }
            let begin = Clock::now();
            while Clock::now().since(begin) < millis(220) {
                std::hint::spin_loop();
            }
        }
        drop(link);
    };
    // In one task with the driver, whatever threads the runtime has.
    block_on(future::zip(driver, stand_still));
    let cause = server.join().unwrap();
    assert!(matches!(cause, DownCause::Goodbye(_)), "{cause}");
}
