//! Many links and connections in one loop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use keepbeat_mio::core::session::{Message, QueueLimits};
use keepbeat_mio::{DriverEvent, Event, LinkBuilder, LinkId, ListenerBuilder, ServerEvent};
use support::*;

const MANY: u32 = 500;

#[test]
fn five_hundred_links_come_up_beat_lose_their_server_and_come_back_without_loss() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().liveness(beats(500, 500)));
    let mut links = BTreeMap::<LinkId, (u32, u32)>::new();
    for number in 0..MANY {
        let link = bench.open(address, client(&format!("d{number}")).liveness(beats(500, 500)));
        links.insert(link, (0, 0));
        bench.link(link).send(number.to_be_bytes().to_vec()).unwrap();
    }
    let mut seen = Vec::new();
    bench.turn_until(|bench| {
        for event in bench.events.drain(..) {
            match event {
                DriverEvent::Link(link, Event::Up { .. }) => links.get_mut(&link).unwrap().0 += 1,
                DriverEvent::Link(link, Event::Rtt(_)) => links.get_mut(&link).unwrap().1 += 1,
                DriverEvent::Listener(_, ServerEvent::Message { message, .. }) => seen.push(number(&message)),
                DriverEvent::Link(_, Event::Down { .. } | Event::Suspect { .. }) => panic!("{event:?}"),
                _ => {}
            }
        }
        (links.values().all(|(ups, beats)| *ups == 1 && *beats >= 3) && seen.len() == MANY as usize).then_some(())
    });
    let sessions = bench.listener(listener).abort().unwrap();
    for (number, link) in links.keys().enumerate() {
        bench.link(*link).send((MANY + number as u32).to_be_bytes().to_vec()).unwrap();
    }
    let mut builder = ListenerBuilder::new(server().build().unwrap()).sessions(sessions);
    let second = builder.bind(bench.driver(), address).unwrap();
    bench.events.clear();
    let mut downs = BTreeMap::<LinkId, u32>::new();
    bench.turn_until(|bench| {
        for event in bench.events.drain(..) {
            match event {
                DriverEvent::Link(link, Event::Up { resumed, .. }) => {
                    assert!(resumed);
                    links.get_mut(&link).unwrap().0 += 1;
                }
                DriverEvent::Link(link, Event::Down { was_up: true, .. }) => *downs.entry(link).or_default() += 1,
                DriverEvent::Listener(id, ServerEvent::Message { message, .. }) if id == second => {
                    seen.push(number(&message));
                }
                _ => {}
            }
        }
        (links.values().all(|(ups, _)| *ups == 2) && seen.len() == 2 * MANY as usize).then_some(())
    });
    assert!(downs.len() == MANY as usize && downs.values().all(|count| *count == 1), "{downs:?}");
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..2 * MANY), "every message once");
    assert_eq!(bench.listener(second).connections(), MANY as usize);
}

#[test]
fn links_of_one_builder_speak_each_for_its_own_device() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let builder = LinkBuilder::new(address.to_string(), client("of-the-configuration").build().unwrap());
    builder.clone().open(bench.driver());
    builder.clone().device(device("a")).open(bench.driver());
    builder.device(device("b")).open(bench.driver());
    bench.turn_until(|bench| {
        let devices = ["of-the-configuration", "a", "b"];
        devices.iter().all(|name| bench.listener(listener).is_connected(&device(name))).then_some(())
    });
}

/// One link that moves as much as it can, and others that beat: the beats are answered in time.
#[test]
fn a_link_under_load_starves_neither_timers_nor_other_links() {
    let large = QueueLimits::new(100, 64 << 20).unwrap();
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().inbox(large.clone()).liveness(beats(200, 200)));
    let busy = bench.open(address, client("busy").outbox(large));
    let quiet: Vec<LinkId> =
        (0..50).map(|number| bench.open(address, client(&format!("q{number}")).liveness(beats(200, 200)))).collect();
    let message = Message::from(vec![1; 1 << 20]);
    let (mut beats, mut moved) = (BTreeMap::<LinkId, u32>::new(), 0_u32);
    bench.turn_until(|bench| {
        while bench.link(busy).send(message.clone()).is_ok() {}
        for event in bench.events.drain(..) {
            match event {
                DriverEvent::Link(link, Event::Rtt(_)) => *beats.entry(link).or_default() += 1,
                DriverEvent::Listener(id, ServerEvent::Message { .. }) if id == listener => moved += 1,
                DriverEvent::Link(_, Event::Down { .. } | Event::Suspect { .. }) => panic!("{event:?}"),
                _ => {}
            }
        }
        quiet.iter().all(|link| beats.get(link).is_some_and(|count| *count >= 10)).then_some(())
    });
    assert!(moved >= 10, "{moved} MiB moved, so there was no load");
}

/// A turn costs what is ready or due, not what is open.
#[test]
fn idle_links_are_not_touched() {
    let mut bench = Bench::new();
    let long = || beats(60_000, 1000);
    let (_, address) = bench.listen(server().liveness(long()));
    let links: Vec<LinkId> =
        (0..MANY).map(|number| bench.open(address, client(&format!("d{number}")).liveness(long()))).collect();
    for link in &links {
        bench.up(*link);
    }
    // The next beat is far away, and yet a suspend is to be noticed.
    let cap = Duration::from_secs(15);
    bench.turn_until(|bench| (bench.driver().wait() == Some(cap)).then_some(()));
    let one = bench.open(address, client("busy").liveness(beats(20, 20)));
    for _ in 0..20 {
        bench.link_until(one, |event| matches!(event, Event::Rtt(_)).then_some(()));
    }
    let before = bench.driver().traffic();
    for _ in 0..20 {
        bench.link_until(one, |event| matches!(event, Event::Rtt(_)).then_some(()));
    }
    let after = bench.driver().traffic();
    assert!(after.wakes - before.wakes < 20 * 12, "{before:?} {after:?}");
    assert!(after.bytes_in - before.bytes_in < 20 * 200, "{before:?} {after:?}");
}
