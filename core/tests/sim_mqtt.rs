//! Links over MQTT, with a server that is strict, slow and forgetful, and a network that does its worst.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::broker::Manner;
use common::mqtt::{mqtt, publication};
use common::mqtt_world::World;
use common::{MS, SECOND, device};
use keepbeat_core::client::{ClientConfig, Event, LinkState};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::reconnect::ReconnectConfig;
use keepbeat_core::session::{QueueLimits, SendError, Ticket};
use keepbeat_core::sim::for_each_seed_of;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::mqtt::{
    Answer, Filter, Mqtt, MqttConfigBuilder, Publish, Qos, Subscribe, Subscription, Unsubscribe, Version,
};

const TOPICS: [&str; 3] = ["a", "b/c", "d"];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// So long after the last fault everything is settled.
const RECOVERY: Duration = Duration::from_secs(20);

fn config(version: Version, wire: MqttConfigBuilder, inbox: QueueLimits) -> Arc<ClientConfig<Mqtt>> {
    let liveness = LivenessConfig::builder().interval(SECOND).reply_timeout(3 * SECOND / 10).stall_limit(3 * SECOND);
    let reconnect = ReconnectConfig::builder().base(SECOND / 20).cap(2 * SECOND / 5).floor(SECOND / 50);
    let reconnect = reconnect.first_spread(SECOND / 20).stable(2 * SECOND);
    let config = ClientConfig::builder(device("d"))
        .liveness(liveness.build().unwrap())
        .reconnect(reconnect.build().unwrap())
        .wire(wire.version(version).build().unwrap())
        .inbox(inbox)
        .connect_timeout(SECOND)
        .handshake_timeout(SECOND);
    config.build().unwrap().into()
}

/// The application, and what it may rely on.
struct App {
    world: World,
    prng: Prng,
    manual: bool,
    /// What was accepted, by ticket: a message's number and QoS, or a request.
    accepted: BTreeMap<Ticket, Option<(u64, Qos)>>,
    /// What was accepted by processes that were killed.
    earlier: Vec<(u64, Qos)>,
    settled: Ticket,
    answered: BTreeSet<Ticket>,
    /// What the subscriptions are once all is settled.
    subscriptions: BTreeMap<String, Qos>,
    /// Messages that the server has for us.
    owed: Vec<(u64, Qos)>,
    got: Vec<(u64, Qos)>,
    /// Taken and not acknowledged.
    open: u64,
    next: u64,
}

impl App {
    fn new(world: World, manual: bool, seed: u64) -> Self {
        let mut app = Self {
            world,
            prng: Prng::new(seed),
            manual,
            accepted: BTreeMap::new(),
            earlier: Vec::new(),
            settled: Ticket(0),
            answered: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            owed: Vec::new(),
            got: Vec::new(),
            open: 0,
            next: 1,
        };
        app.world.client.open(app.world.now);
        app
    }

    /// A world and an application that a seed draws.
    fn random(version: Version, seed: u64, durable: bool) -> Self {
        let prng = &mut Prng::new(!seed);
        // What is not acknowledged comes to the next process again.
        let manual = prng.between(0, 2) == 0 && !durable;
        let wire = mqtt().receive_maximum(prng.between(1, 8) as u16).topic_aliases(prng.between(0, 3) as u16);
        let wire = if manual { wire.manual_acknowledgements() } else { wire };
        let inbox = match prng.between(0, 1) {
            0 => QueueLimits::new(prng.between(1, 4) as usize, 1000).unwrap(),
            _ => QueueLimits::default(),
        };
        let manner = Manner {
            receive_maximum: prng.between(1, 10) as u16,
            topic_aliases: prng.between(0, 2) as u16,
            lag: if prng.between(0, 1) == 0 { 0 } else { prng.between(1, 150) },
            repeats: version == Version::V3 && prng.between(0, 3) == 0,
            ..Manner::plain(version)
        };
        let mut world = World::new(config(version, wire, inbox), manner, prng.next_u64());
        if durable {
            world.client.restore(world.now, Vec::new()).unwrap();
        }
        Self::new(world, manual, prng.next_u64())
    }

    fn send(&mut self, message: keepbeat_core::session::Message, what: Option<(u64, Qos)>) -> bool {
        match self.world.client.send(self.world.now, message) {
            Ok(ticket) => {
                self.world.keep();
                self.accepted.insert(ticket, what);
                true
            }
            Err(SendError::Full { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn publish(&mut self, topic: &str, qos: Qos, length: usize) {
        let number = self.next;
        let payload = format!("{number:<length$}");
        let message = Publish { qos, ..publication(topic, &payload) }.into_message().unwrap();
        if self.send(message, Some((number, qos))) {
            self.next += 1;
        }
    }

    fn subscribe(&mut self, topic: &str, qos: Qos) {
        let request = Subscribe::to(vec![Subscription::new(Filter::new(topic).unwrap(), qos)]);
        if self.send(request.into_message().unwrap(), None) {
            self.subscriptions.insert(topic.into(), qos);
        }
    }

    fn unsubscribe(&mut self, topic: &str) {
        let request = Unsubscribe::from(vec![Filter::new(topic).unwrap()]);
        if self.send(request.into_message().unwrap(), None) {
            self.subscriptions.remove(topic);
        }
    }

    /// The world has something for us.
    fn receive(&mut self, topic: &str, qos: Qos) {
        let number = self.next;
        self.next += 1;
        let granted = self.world.broker.session.as_ref().and_then(|session| session.subscriptions.get(topic).copied());
        if self.world.broker.publish(topic, number, qos) {
            self.owed.push((number, qos.min(granted.unwrap())));
        }
    }

    /// Something, as the seed says.
    fn do_something(&mut self) {
        let topic = TOPICS[self.prng.between(0, 2) as usize];
        let qos = QOS[self.prng.between(0, 2) as usize];
        match self.prng.between(0, 11) {
            0..=4 => {
                let length = if self.prng.between(0, 9) == 0 { 3000 } else { 0 };
                self.publish(topic, qos, length);
            }
            5..=8 => self.receive(topic, qos),
            9 => self.subscribe(topic, qos),
            10 if self.prng.between(0, 2) == 0 => self.unsubscribe(topic),
            _ => self.world.looks = !self.world.looks,
        }
    }

    fn run_for(&mut self, span: Duration) {
        self.world.run_for(span);
        for _ in 0..self.open {
            if self.prng.between(0, 2) > 0 {
                assert!(self.world.client.acknowledge(self.world.now));
                self.open -= 1;
            }
        }
        for (_, event) in core::mem::take(&mut self.world.events) {
            match event {
                Event::Message(message) => {
                    let publish = Publish::of(&message).unwrap();
                    self.got.push((str::from_utf8(&publish.payload).unwrap().parse().unwrap(), publish.qos));
                    self.open += u64::from(self.manual);
                }
                Event::Acknowledged { through } => {
                    assert!(through > self.settled, "{through:?} after {:?}", self.settled);
                    assert!(self.accepted.contains_key(&through));
                    self.settled = through;
                }
                Event::Answered { ticket: Some(ticket), answer } => {
                    assert!(self.accepted.get(&ticket) == Some(&None), "an answer to a message");
                    assert!(self.answered.insert(ticket), "two answers to {ticket:?}");
                    assert_eq!(Answer::of(&answer).unwrap().results.len(), 1);
                }
                Event::Connecting { .. } | Event::Up { .. } | Event::Down { .. } => {}
                Event::Suspect { .. } | Event::Recovered | Event::Rtt(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The process is killed. Messages of QoS 0 go with it, if they have not left.
    fn restart(&mut self) {
        self.run_for(Duration::ZERO);
        self.settled = Ticket(0);
        let stored = self.world.stored();
        let (kept, gone): (BTreeMap<_, _>, _) =
            core::mem::take(&mut self.accepted).into_iter().partition(|(ticket, _)| stored.contains(ticket));
        self.accepted = kept;
        let gone: BTreeMap<_, _> = gone;
        self.earlier.extend(gone.into_values().flatten());
        self.answered.clear();
        self.world.restart();
    }

    /// Waits until nothing is left to do.
    fn settle(&mut self) {
        self.world.looks = true;
        self.run_for(Duration::ZERO);
        let end = self.world.now.after(RECOVERY);
        // Twice, because what is on its way may ask for more.
        for _ in 0..2 {
            while !self.is_settled() {
                assert!(self.world.now < end, "not settled: {}", self.describe());
                self.run_for(50 * MS);
            }
            self.run_for(SECOND / 2);
        }
    }

    fn is_settled(&self) -> bool {
        let idle = self.world.broker.session.as_ref().is_some_and(common::broker::Session::is_idle);
        self.world.client.state() == (LinkState::Up { suspect: false })
            && self.world.client.unacknowledged() == 0
            && idle
            && self.open == 0
            && self.world.events.is_empty()
    }

    fn describe(&self) -> String {
        let (ours, state) = (self.world.client.unacknowledged(), self.world.client.state());
        self.world.broker.story(&format!("{ours} of ours, {} of its, {state:?}", self.open))
    }

    /// What must hold when all is settled.
    fn check(&self) {
        let story = || self.world.broker.story("");
        let newest = self.accepted.keys().next_back().copied();
        assert_eq!(self.settled, newest.unwrap_or(Ticket(0)), "{:?}\n{}", self.accepted, story());
        let requests = self.accepted.iter().filter(|(_, what)| what.is_none()).map(|(ticket, _)| *ticket);
        assert_eq!(self.answered, requests.collect());
        let held = &self.world.broker.session.as_ref().unwrap().subscriptions;
        assert_eq!(held, &self.subscriptions, "{}", story());

        let came = counts(&self.world.broker.came);
        for (number, qos) in self.accepted.values().flatten().chain(&self.earlier) {
            let times = came.get(number).copied().unwrap_or(0);
            let fits = match qos {
                Qos::AtMostOnce => times <= 1,
                Qos::AtLeastOnce => times >= 1,
                Qos::ExactlyOnce => times >= 1 && times <= 1 + self.world.broker.losses,
            };
            assert!(
                fits,
                "{number} at {qos:?} came {times} times, {} sessions lost\n{}",
                self.world.broker.losses,
                story()
            );
        }
        assert_in_order(&self.world.broker.came, "at the server");

        let got = counts(&self.got);
        let forgotten = &self.world.broker.forgotten;
        for (number, qos) in &self.owed {
            let times = got.get(number).copied().unwrap_or(0);
            let fits =
                times >= 1 && (times == 1 || *qos == Qos::AtLeastOnce) || times == 0 && forgotten.contains(number);
            assert!(fits, "{number} at {qos:?} was delivered {times} times\n{}", story());
        }
        let sure: Vec<_> = self.got.iter().copied().filter(|(_, qos)| *qos > Qos::AtMostOnce).collect();
        assert_in_order(&sure, "here");
        // Waits are 20 ms at least, and 400 ms for most.
        let connects = &self.world.broker.connects;
        let most = 2 + self.world.now.as_millis() / 100;
        assert!((connects.len() as u64) < most, "{} connections", connects.len());
    }
}

fn counts(numbers: &[(u64, Qos)]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    numbers.iter().for_each(|(number, _)| *counts.entry(*number).or_default() += 1);
    counts
}

/// What comes for the first time is newer than all before it.
fn assert_in_order(numbers: &[(u64, Qos)], place: &str) {
    let (mut seen, mut newest) = (BTreeSet::new(), 0);
    for (number, _) in numbers {
        assert!(!seen.insert(number) || *number > newest, "{number} after {newest} {place}");
        newest = newest.max(*number);
    }
}

/// What a seed does to the network and the server.
fn harm(app: &mut App, sessions_end: bool) {
    let (world, prng) = (&mut app.world, &mut app.prng);
    let until = world.now.after(prng.span(Duration::ZERO, 2 * SECOND));
    match prng.between(0, if sessions_end { 8 } else { 6 }) {
        0 => world.cut(),
        1 => world.up.cut_at = Some(prng.between(0, 400)),
        2 => world.down.cut_at = Some(prng.between(0, 400)),
        3 => world.held_until = until,
        4 => world.broker.is_mute = !world.broker.is_mute,
        5 => {
            world.cut();
            world.refuses_until = until;
        }
        6 => (world.up.bandwidth, world.down.bandwidth) = (Some(prng.between(1000, 20_000)), None),
        7 => {
            world.cut();
            world.broker.forget();
        }
        _ => {
            // It forgets the session as the next connection begins, and that one breaks early.
            world.cut();
            world.broker.forget();
            world.up.cut_at = Some(prng.between(0, 100));
        }
    }
}

fn calm(app: &mut App) {
    let world = &mut app.world;
    (world.held_until, world.refuses_until) = (Timestamp::ZERO, Timestamp::ZERO);
    world.broker.is_mute = false;
    for line in [&mut world.up, &mut world.down] {
        (line.cut_at, line.bandwidth) = (None, None);
    }
}

fn run(version: Version, seed: u64, sessions_end: bool, processes_end: bool) -> App {
    let mut app = App::random(version, seed, processes_end);
    for _ in 0..app.prng.between(20, 120) {
        if app.prng.between(0, 9) == 0 {
            harm(&mut app, sessions_end);
        }
        if processes_end && app.prng.between(0, 7) == 0 {
            app.restart();
        }
        for _ in 0..app.prng.between(0, 4) {
            app.do_something();
        }
        let span = app.prng.span(Duration::ZERO, SECOND / 5);
        app.run_for(span);
    }
    calm(&mut app);
    app.settle();
    app.check();
    app
}

#[test]
fn messages_arrive_as_promised_while_the_server_keeps_its_session() {
    for_each_seed_of("KEEPBEAT_SCHEDULES", 3000, |seed| {
        for version in [Version::V3, Version::V5] {
            let app = run(version, seed, false, false);
            assert_eq!(app.world.broker.losses, 0);
        }
    });
}

#[test]
fn a_server_that_loses_sessions_loses_no_message_and_no_subscription_of_ours() {
    for_each_seed_of("KEEPBEAT_SCHEDULES", 3000, |seed| {
        for version in [Version::V3, Version::V5] {
            run(version, seed, true, false);
        }
    });
}

#[test]
fn processes_that_are_killed_lose_nothing_that_they_had_accepted() {
    for_each_seed_of("KEEPBEAT_SCHEDULES", 3000, |seed| {
        for version in [Version::V3, Version::V5] {
            run(version, seed, false, true);
        }
    });
}

/// Cuts the first connection, or the second, at this byte, while every kind of message waits in both directions.
fn cut_at(version: Version, byte: u64, up: bool, second: bool) {
    let wire = mqtt().receive_maximum(3);
    let world = World::new(config(version, wire, QueueLimits::default()), Manner::plain(version), byte);
    let mut app = App::new(world, false, byte);
    if second {
        app.run_for(SECOND / 2);
    }
    app.subscribe("a", Qos::ExactlyOnce);
    app.subscribe("d", Qos::AtLeastOnce);
    if second {
        app.run_for(SECOND / 2);
        app.world.cut();
        app.unsubscribe("d");
    }
    let line = if up { &mut app.world.up } else { &mut app.world.down };
    line.cut_at = Some(byte);
    for round in 0..8 {
        QOS.into_iter().for_each(|qos| app.publish(TOPICS[round % 3], qos, 0));
        app.run_for(SECOND / 10);
        QOS.into_iter().for_each(|qos| app.receive("a", qos));
    }
    app.settle();
    let was_cut = if up { app.world.up.cut_at } else { app.world.down.cut_at }.is_none();
    assert!(was_cut || byte > 250, "nothing was cut at {byte}");
    app.check();
}

#[test]
fn a_cut_at_any_byte_loses_nothing() {
    for_each_seed_of("KEEPBEAT_CUTS", 600, |byte| {
        for (up, second) in [(true, false), (true, true), (false, false), (false, true)] {
            for version in [Version::V3, Version::V5] {
                cut_at(version, byte, up, second);
            }
        }
    });
}
