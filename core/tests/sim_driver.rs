//! What the core promises to its driver and to the application, under any schedule of faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input, LinkState};
use keepbeat_core::entropy::Prng;
use keepbeat_core::reconnect::Hint;
use keepbeat_core::server::{Server, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::session::{QueueLimits, Token};
use keepbeat_core::sim::{
    Fault, FaultKind, Node, Setup, Sim, Trace, Traffic, Wake, What, for_each_seed, random_schedule,
};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Credentials, DeviceId, Frame, Goodbye, Hello, Reason, Tx, Welcome, Wire};

const SECOND: Duration = Duration::from_secs(1);

/// A run of `span` under a random schedule of faults at whole milliseconds.
fn run(seed: u64, span: Duration, wake: Wake, more: &[Fault]) -> Sim {
    let prng = &mut Prng::new(seed);
    let mut sim = Sim::new(Setup { wake, trace: true, ..Setup::random(seed) });
    let links = (0..).take_while(|&link| link < Setup::random(seed).clients.len()).count();
    for fault in random_schedule(prng, links, span * 2 / 3, span / 2) {
        let (at, lasts) = (fault.at.as_millis(), fault.lasts.as_millis() as u64);
        sim.add_fault(Fault::new(at, lasts, fault.kind));
    }
    sim.add_faults(more.iter().cloned());
    sim.run_for(span);
    sim
}

#[test]
fn waking_only_at_deadlines_gives_the_same_trace_as_waking_every_millisecond() {
    for_each_seed(|seed| {
        let at_deadlines = run(seed, 5 * SECOND, Wake::AtDeadlines, &[]);
        let often = run(seed, 5 * SECOND, Wake::EveryMillisecond, &[]);
        assert_same(at_deadlines.trace(), often.trace());
        assert!(often.counts().wakes > at_deadlines.counts().wakes);
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for_each_seed(|seed| {
        let restarts =
            [Fault::new(2000, 100, FaultKind::RestartCold), Fault::new(3000, 0, FaultKind::RestartClient(0))];
        let (one, other) =
            (run(seed, 8 * SECOND, Wake::AtDeadlines, &restarts), run(seed, 8 * SECOND, Wake::AtDeadlines, &restarts));
        assert_same(one.trace(), other.trace());
        assert_eq!((one.counts(), one.verdicts()), (other.counts(), other.verdicts()));
    });
}

fn assert_same(one: &Trace, other: &Trace) {
    for (one, other) in one.0.iter().zip(&other.0) {
        assert_eq!(one, other);
    }
    assert_eq!(one.0.len(), other.0.len());
}

#[test]
fn no_wake_is_without_effect() {
    let (wakes, empty) = (AtomicU64::new(0), AtomicU64::new(0));
    for_each_seed(|seed| {
        let sim = run(seed, 20 * SECOND, Wake::AtDeadlines, &[]);
        wakes.fetch_add(sim.counts().wakes, Ordering::Relaxed);
        empty.fetch_add(sim.counts().empty_wakes, Ordering::Relaxed);
        assert_eq!(sim.counts().empty_wakes, 0);
    });
    assert!(wakes.into_inner() > 0);
}

#[test]
fn one_loss_is_one_event_and_one_reconnect() {
    for_each_seed(|seed| {
        let sim = run(seed, 15 * SECOND, Wake::AtDeadlines, &[]);
        let (mut trying, mut up, mut connects, mut attempts, mut downs) = (false, false, 0, 0, 0);
        for entry in &sim.trace().0 {
            match &entry.what {
                What::Action { client: 0, action: Action::Connect { epoch } } => {
                    connects += 1;
                    assert_eq!(*epoch, Epoch(connects), "one attempt, one epoch");
                }
                What::Event { client: 0, event } => match event {
                    Event::Connecting { .. } => {
                        assert!(!trying && !up, "an attempt beside another, or beside a connection");
                        trying = true;
                        attempts += 1;
                    }
                    Event::Up { .. } => {
                        assert!(trying && !up);
                        (trying, up) = (false, true);
                    }
                    Event::Down { retry_at, .. } => {
                        assert!(trying || up, "a second event for the same loss");
                        assert!(retry_at.is_some());
                        (trying, up) = (false, false);
                        downs += 1;
                    }
                    Event::Message(_) => assert!(up, "a message of a connection that is over"),
                    Event::GaveUp { .. } | Event::Closed { .. } => panic!("{event:?}"),
                    _ => {}
                },
                _ => {}
            }
        }
        assert!(attempts == connects && attempts - 1 <= downs && downs <= attempts, "{attempts} {connects} {downs}");
    });
}

#[test]
fn a_device_goes_offline_once_each_time_it_was_online() {
    for_each_seed(|seed| {
        let sim = run(seed, 15 * SECOND, Wake::AtDeadlines, &[]);
        let mut online = std::collections::BTreeSet::new();
        for (_, event) in sim.trace().server_events() {
            match event {
                ServerEvent::Online { device, .. } => assert!(online.insert(device.clone()), "online twice"),
                ServerEvent::Offline { device, .. } => assert!(online.remove(device), "offline twice"),
                ServerEvent::Replaced { device, .. } | ServerEvent::Suspect { device, .. } => {
                    assert!(online.contains(device), "{event:?}");
                }
                _ => {}
            }
        }
    });
}

#[test]
fn a_close_by_the_user_is_final() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let mut sim = Sim::new(Setup { trace: true, ..Setup::random(seed) });
        sim.add_faults(random_schedule(prng, 1, 3 * SECOND, 3 * SECOND));
        sim.run_for(prng.span(Duration::ZERO, 5 * SECOND));
        sim.with_client(0, Client::close);
        let closed_at = sim.now();
        sim.run_for(prng.span(Duration::ZERO, SECOND));
        sim.with_client(0, |client, now| {
            client.hint(now, Hint::NetworkUp);
            client.retry_now(now);
        });
        sim.run_for(60 * SECOND);
        assert_eq!(sim.client(0).state(), LinkState::Closed);
        let after = |entry: &&keepbeat_core::sim::Entry| entry.at >= closed_at;
        let closed = |what: &What| matches!(what, What::Event { client: 0, event: Event::Closed { .. } });
        assert_eq!(sim.trace().0.iter().filter(after).filter(|entry| closed(&entry.what)).count(), 1);
        for entry in sim.trace().0.iter().filter(|entry| entry.at > closed_at) {
            let again = matches!(
                entry.what,
                What::Action { client: 0, action: Action::Connect { .. } }
                    | What::Event {
                        client: 0,
                        event: Event::Connecting { .. } | Event::Up { .. } | Event::Down { .. }
                    }
            );
            assert!(!again, "{entry:?}");
        }
        let waits = sim.client(0).poll_timeout().map(|due| due.cause);
        assert_eq!(waits, None, "a closed link wants to be woken");
    });
}

#[test]
fn attempts_that_succeed_without_life_are_slowed() {
    for_each_seed(|seed| {
        for kind in [FaultKind::AcceptThenClose(0), FaultKind::Refuse(0), FaultKind::NameNotFound(0)] {
            let mut sim = Sim::new(Setup::quick(seed, 1));
            sim.add_fault(Fault::new(0, 1_000_000, kind));
            sim.run_for(60 * SECOND);
            // Full jitter up to 400 ms, and at least the floor of 20 ms.
            let downs = sim.counts().downs;
            assert!((100..600).contains(&downs), "{downs} attempts in a minute");
        }
    });
}

#[test]
fn two_devices_with_one_id_slow_down_and_are_told() {
    for_each_seed(|seed| {
        let mut setup = Setup { up: Traffic::NONE, down: Traffic::NONE, trace: true, ..Setup::quick(seed, 1) };
        setup.clients.push(setup.clients[0].clone());
        let mut sim = Sim::new(setup);
        sim.run_for(30 * SECOND);
        let conflict = |(_, event): &(Timestamp, &Event)| matches!(event, Event::Down { conflict: true, .. });
        assert!(
            sim.trace().events_of(0).any(|event| conflict(&event))
                || sim.trace().events_of(1).any(|event| conflict(&event))
        );
        // Each waits the cap of 400 ms at least, so each is up five times in two seconds at most.
        assert!(sim.counts().ups <= 2 * 30 * 5 / 2 + 10, "{:?}", sim.counts());
    });
}

#[test]
fn queues_stay_inside_their_limits() {
    for_each_seed(|seed| {
        let prng = &mut Prng::new(seed);
        let limits = QueueLimits::new(5, 3000).unwrap();
        let mut setup = Setup::quick(seed, 1);
        let device = setup.clients[0].device().clone();
        let client = ClientConfig::builder(device.clone()).outbox(limits.clone()).inbox(limits.clone());
        setup.clients = vec![Arc::new(client.build().unwrap())];
        let server = ServerConfig::builder().outbox(limits.clone()).inbox(limits);
        setup.server = Arc::new(server.build().unwrap());
        let many = Traffic { messages: 100, pause: (Duration::ZERO, SECOND / 100), size: (900, 1000) };
        (setup.up, setup.down) = (many.clone(), many);
        let mut sim = Sim::new(setup);
        let node = if prng.between(0, 1) == 0 { Node::Server } else { Node::Client(0) };
        sim.add_fault(Fault::new(prng.between(200, 900), 20_000, FaultKind::AppPause(node)));
        for _ in 0..20 {
            sim.run_for(SECOND / 2);
            assert!(sim.client(0).unacknowledged() <= 5);
            assert!(sim.server().unwrap().unacknowledged(&device) <= 5);
        }
        // A queue that is full stops the reading, so one read of 16 KiB more than the limit is the most.
        let waiting = match node {
            Node::Server => sim.with_server(|server, now| {
                core::iter::from_fn(|| server.poll_event(now))
                    .filter(|event| matches!(event, ServerEvent::Message { .. }))
                    .count()
            }),
            Node::Client(_) => Some(sim.with_client(0, |client, now| {
                core::iter::from_fn(|| client.poll_event(now))
                    .filter(|event| matches!(event, Event::Message(_)))
                    .count()
            })),
        };
        assert!((1..=5 + 17).contains(&waiting.unwrap()), "{waiting:?} messages wait");
    });
}

#[test]
fn an_idle_link_says_no_more_than_its_beats() {
    for_each_seed(|seed| {
        let mut setup = Setup { up: Traffic::NONE, down: Traffic::NONE, ..Setup::quick(seed, 1) };
        // A beat that arrives in pieces is acknowledged besides.
        setup.path.choppy = false;
        let mut sim = Sim::new(setup);
        sim.run_for(10 * SECOND);
        let before = sim.counts().clone();
        sim.run_for(1000 * SECOND);
        // 1,000 beats and 1,000 echoes of up to four bytes, with jitter.
        let bytes = sim.counts().bytes - before.bytes;
        assert!(
            (6000..=9000).contains(&bytes),
            "{bytes} bytes {:?} {:?}",
            sim.counts(),
            sim.client(0).evidence(sim.now())
        );
        assert!(sim.counts().wakes - before.wakes <= 1120, "{:?}", sim.counts());
    });
}

// Numbers from the peer.

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut tx = Tx::default();
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    let mut bytes = Vec::new();
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}

#[test]
fn a_server_cannot_grant_a_hostile_interval() {
    for (interval_ms, reply_timeout_ms) in [(0, 0), (1, u32::MAX), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
        let config = ClientConfig::builder(DeviceId::new("d").unwrap()).build().unwrap();
        let (now, epoch) = (Timestamp::from_millis(1), Epoch(1));
        let mut client: Client = Client::new(Arc::new(config), 1);
        client.open(now);
        while client.poll_action().is_some() {}
        client.handle_input(now, Input::Opened { epoch });
        let welcome = Welcome {
            version: 1,
            token: Token::new([7; 16]),
            resumed: false,
            interval_ms,
            reply_timeout_ms,
            message_limit: u64::MAX,
            received: 0,
        };
        let bytes = bytes_of(&Frame::Welcome(Box::new(welcome)));
        client.handle_input(now, Input::Received { epoch, bytes: &bytes });
        let up = core::iter::from_fn(|| client.poll_event(now)).find(|event| matches!(event, Event::Up { .. }));
        let Some(Event::Up { interval, worst_case_detection, .. }) = up else { panic!("{up:?}") };
        // A tenth of the 25 s that it asked for, and a day.
        let day = 86_400 * SECOND;
        assert!(interval >= Duration::from_millis(2500) && interval <= day, "{interval:?}");
        assert!(worst_case_detection <= 3 * day, "{worst_case_detection:?}");
        let due = client.poll_timeout().unwrap().at;
        assert!(due >= now.after(SECOND) && due <= now.after(day), "{due:?}");
    }
}

#[test]
fn a_device_cannot_ask_for_a_hostile_interval() {
    for (interval_ms, reply_timeout_ms) in [(0, 0), (1, u32::MAX), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
        let config = ServerConfig::builder().build().unwrap();
        let mut server: Server = Server::new(Arc::new(config), Box::new(Prng::new(1)), 2);
        let now = Timestamp::from_millis(1);
        let id = server.accept(now, None).unwrap();
        let hello = Hello {
            version: 255,
            interval_ms,
            reply_timeout_ms,
            message_limit: 0,
            token: Some(Token::new([0; 16])),
            received: u64::MAX,
            ..hello("d")
        };
        server.handle_input(now, id, ServerInput::Received(&bytes_of(&Frame::Hello(Box::new(hello)))));
        let Some(ServerEvent::Online { interval, resumed: false, .. }) = server.poll_event(now) else { panic!() };
        assert!(interval >= SECOND && interval <= 600 * SECOND, "{interval:?}");
        while server.poll_action().is_some() {}
        assert!(server.poll_timeout().unwrap().at > now.after(SECOND));
    }
}

#[test]
fn a_server_cannot_send_a_client_away_for_ever() {
    for reason in [Reason::Busy, Reason::GoingAway] {
        let config = ClientConfig::builder(DeviceId::new("d").unwrap()).build().unwrap();
        let (now, epoch) = (Timestamp::from_millis(1), Epoch(1));
        let mut client: Client = Client::new(Arc::new(config), 1);
        client.open(now);
        while client.poll_action().is_some() {}
        client.handle_input(now, Input::Opened { epoch });
        let goodbye =
            Goodbye { retry_after_ms: u32::MAX, spread_ms: u32::MAX, ..Goodbye::new(reason, "x".repeat(120)) };
        let bytes = bytes_of(&Frame::Refuse(Box::new(goodbye)));
        client.handle_input(now, Input::Received { epoch, bytes: &bytes });
        // An hour each for the wait and for the spread is believed.
        let LinkState::Waiting { retry_at, .. } = client.state() else { panic!("{:?}", client.state()) };
        assert!(retry_at >= now.after(3600 * SECOND) && retry_at <= now.after(7200 * SECOND), "{retry_at:?}");
    }
}

#[test]
fn a_device_that_begins_sessions_does_not_gain_room_for_messages() {
    for goodbye in [false, true] {
        let limits = QueueLimits::new(10, 10_000).unwrap();
        let config = ServerConfig::builder().inbox(limits).max_sessions(1).build().unwrap();
        let mut server: Server = Server::new(Arc::new(config), Box::new(Prng::new(1)), 2);
        let now = Timestamp::from_millis(1);
        let hear = |server: &mut Server, id, frame| {
            server.handle_input(now, id, ServerInput::Received(&bytes_of(&frame)));
            while server.poll_action().is_some() {}
        };
        for name in ["d", "d", "d", "e", "d"] {
            let id = server.accept(now, None).unwrap();
            hear(&mut server, id, Frame::Hello(Box::new(hello(name))));
            for seq in (1..=11).take_while(|_| server.wants_read(id)).collect::<Vec<_>>() {
                if server.wants_read(id) {
                    hear(&mut server, id, Frame::Data { seq, message: vec![1; 100].into() });
                }
            }
            if goodbye {
                hear(&mut server, id, Frame::Goodbye(Box::new(Goodbye::new(Reason::Closed, ""))));
            }
        }
        let waiting = core::iter::from_fn(|| server.poll_event(now));
        let waiting = waiting.filter(|event| matches!(event, ServerEvent::Message { .. })).count();
        assert_eq!(waiting, 10, "messages wait for an application that does not look; goodbye: {goodbye}");
        // All are taken now, so that there is room for a device again.
        let id = server.accept(now, None).unwrap();
        hear(&mut server, id, Frame::Hello(Box::new(hello(if goodbye { "e" } else { "d" }))));
        assert!(server.wants_read(id) && server.is_connected(&hello("d").device) != goodbye);
    }
}

#[test]
fn a_device_that_leaves_nothing_behind_leaves_no_deadline() {
    let mut server: Server = Server::new(Arc::new(ServerConfig::builder().build().unwrap()), Box::new(Prng::new(1)), 2);
    let now = Timestamp::from_millis(1);
    let id = server.accept(now, None).unwrap();
    server.handle_input(now, id, ServerInput::Received(&bytes_of(&Frame::Hello(Box::new(hello("d"))))));
    server.handle_input(now, id, ServerInput::Ended(Failure::Reset));
    while server.poll_action().is_some() {}
    assert_eq!(server.poll_timeout(), None);
}

fn hello(device: &str) -> Hello {
    Hello {
        version: 1,
        instance: 0,
        attempt: 0,
        device: DeviceId::new(device).unwrap(),
        interval_ms: 1000,
        reply_timeout_ms: 1000,
        message_limit: 1000,
        token: None,
        received: 0,
        credentials: Credentials::default(),
    }
}
