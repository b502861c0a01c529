//! MQTT: publications, subscriptions, acknowledgements; links that outlive their process, and links with several servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../../adapter-shared/tests-on-a-runtime/addresses.rs"]
mod addresses;
#[path = "../../adapter-shared/tests-on-a-runtime/broker.rs"]
mod broker;
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use addresses::address_of_ours;
use broker::{Broker, Failing, Scratch, payload, publication, subscription, word};
use keepbeat_mio::core::DownCause;
use keepbeat_mio::core::wire::mqtt::{Answer, Qos, ReasonCode};
use keepbeat_mio::{Event, FileStore, LinkBuilder, LinkId, MqttConfig, SendError, Ticket, WebSocketConfig};
use support::*;

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn mqtt() -> MqttConfig {
    MqttConfig::builder().build().unwrap()
}

/// With a store in this directory.
fn restarted(address: impl ToString, directory: &Scratch) -> (Bench, LinkId) {
    let mut bench = Bench::new();
    let builder = LinkBuilder::new(address.to_string(), client("pump").wire(mqtt()).build().unwrap());
    let store = FileStore::open(&directory.0).unwrap();
    let link = builder.open_with_store(bench.driver(), store).unwrap();
    (bench, link)
}

impl Bench {
    /// The next packet that the broker hears of what was said before, in short.
    fn hear(&mut self, broker: &Broker) -> String {
        self.turn(Duration::ZERO);
        word(&broker.hear())
    }

    fn taken(&mut self, id: LinkId) -> String {
        self.link_until(id, |event| if let Event::Message(message) = event { Some(payload(message)) } else { None })
    }

    fn acknowledged(&mut self, id: LinkId, ticket: Ticket) {
        self.link_until(id, |event| {
            matches!(event, Event::Acknowledged { through } if *through >= ticket).then_some(())
        });
    }
}

#[test]
fn publications_of_each_qos_arrive_and_are_acknowledged() {
    let (broker, mut bench) = (Broker::start(), Bench::new());
    let link = bench.open(broker.address, client("pump").wire(mqtt()));
    bench.up(link);
    assert_eq!(bench.hear(&broker), "CONNECT");
    for (qos, after) in QOS.into_iter().zip([&[][..], &[], &["PUBREL"]]) {
        let ticket = bench.link(link).send(publication("a/b", "hello", qos)).unwrap();
        bench.acknowledged(link, ticket);
        assert_eq!(bench.hear(&broker), format!("PUBLISH hello {}", qos as u8));
        for packet in after {
            assert_eq!(bench.hear(&broker), *packet);
        }
    }
    assert_eq!(bench.link(link).unacknowledged(), 0);
}

#[test]
fn subscriptions_are_answered_and_what_comes_is_acknowledged_as_it_is_taken() {
    let (broker, mut bench) = (Broker::start(), Bench::new());
    let link = bench.open(broker.address, client("pump").wire(mqtt()));
    let ticket = bench.link(link).send(subscription("a/+", Qos::ExactlyOnce)).unwrap();
    let (answered, answer) = bench.link_until(link, |event| match event {
        Event::Answered { ticket, answer } => Some((*ticket, answer.clone())),
        _ => None,
    });
    assert_eq!(answered, Some(ticket));
    assert_eq!(Answer::of(&answer).unwrap().results[0].1, ReasonCode::GRANTED_QOS_2);
    assert_eq!((bench.hear(&broker), bench.hear(&broker)), ("CONNECT".into(), "SUBSCRIBE".into()));
    broker.publish(1, "a/b", "one", Qos::AtLeastOnce);
    assert_eq!(bench.taken(link), "one");
    // Nothing but the taking lets the driver have a turn.
    assert_eq!(bench.driver().wait(), Some(Duration::ZERO));
    assert_eq!(bench.hear(&broker), "PUBACK 1");
}

#[test]
fn with_manual_acknowledgements_the_application_says_when() {
    let (broker, mut bench) = (Broker::start(), Bench::new());
    let manual = MqttConfig::builder().manual_acknowledgements().build().unwrap();
    let link = bench.open(broker.address, client("pump").wire(manual));
    bench.up(link);
    assert_eq!(bench.hear(&broker), "CONNECT");
    assert!(!bench.link(link).acknowledge(), "there is nothing yet");
    broker.publish(1, "a", "one", Qos::AtLeastOnce);
    assert_eq!(bench.taken(link), "one");
    // Whatever else is said, it is not that.
    bench.link(link).send(publication("a", "first", Qos::AtMostOnce)).unwrap();
    assert_eq!(bench.hear(&broker), "PUBLISH first 0");
    assert!(bench.link(link).acknowledge());
    assert_eq!(bench.hear(&broker), "PUBACK 1");
}

#[test]
fn what_was_accepted_is_sent_again_after_a_restart() {
    let directory = Scratch::new();
    let nobody = TcpListener::bind(address_of_ours()).unwrap().local_addr().unwrap();
    let (mut bench, link) = restarted(nobody, &directory);
    bench.link(link).send(publication("a", "never left", Qos::AtLeastOnce)).unwrap();
    bench.link(link).send(publication("a", "of no weight", Qos::AtMostOnce)).unwrap();
    drop(bench);
    let broker = Broker::start();
    broker.acknowledge(false);
    let (mut bench, link) = restarted(broker.address, &directory);
    bench.up(link);
    assert_eq!((bench.hear(&broker), bench.hear(&broker)), ("CONNECT".into(), "PUBLISH never left 1".into()));
    bench.link(link).send(publication("a", "left", Qos::ExactlyOnce)).unwrap();
    assert_eq!(bench.hear(&broker), "PUBLISH left 2");
    drop(bench);
    broker.acknowledge(true);
    let (mut bench, link) = restarted(broker.address, &directory);
    assert!(bench.up(link), "the broker remembers, and so do we");
    bench.turn_until(|bench| (bench.link(link).unacknowledged() == 0).then_some(()));
    let heard = [(); 3].map(|()| bench.hear(&broker));
    assert_eq!(heard, ["CONNECT", "PUBLISH never left 1 again", "PUBLISH left 2 again"]);
    drop(bench);
    let (mut bench, link) = restarted(broker.address, &directory);
    assert_eq!(bench.link(link).unacknowledged(), 0);
}

#[test]
fn if_the_store_fails_the_message_is_handed_back_and_the_link_closed() {
    let (broker, store, mut bench) = (Broker::start(), Failing::default(), Bench::new());
    let config = client("pump").wire(mqtt()).build().unwrap();
    let builder = LinkBuilder::new(broker.address.to_string(), config);
    let link = builder.open_with_store(bench.driver(), store.clone()).unwrap();
    bench.up(link);
    store.now.store(true, Ordering::SeqCst);
    let refused = publication("a", "refused", Qos::AtLeastOnce);
    assert_eq!(bench.link(link).send(refused.clone()), Err(SendError::Closed { message: refused }));
    let cause = bench.link_until(link, |event| match event {
        Event::Down { report, .. } => Some(report.cause.clone()),
        _ => None,
    });
    assert!(matches!(cause, DownCause::Store(error) if error.to_string() == "the disk is full"));
    assert!(bench.link(link).state().is_over());
    let plain = LinkBuilder::new("127.0.0.1:9", client("pump").build().unwrap());
    let problem = plain.open_with_store(bench.driver(), Failing::default()).unwrap_err();
    assert!(problem.to_string().contains("ends with the process"), "{problem}");
}

#[test]
fn a_link_with_two_servers_comes_up_at_the_other_when_one_dies_and_back() {
    let (first, second, mut bench) = (Broker::at(address_of_ours()), Broker::start(), Bench::new());
    let (home, config) = (first.address, client("pump").wire(mqtt()).build().unwrap());
    let builder = LinkBuilder::new(home.to_string(), config).or_server(second.address.to_string());
    let link = builder.open(bench.driver());
    bench.up(link);
    assert_eq!(bench.hear(&first), "CONNECT");
    drop(first);
    bench.up(link);
    assert_eq!(bench.hear(&second), "CONNECT");
    let first = Broker::at(home);
    drop(second);
    bench.up(link);
    assert_eq!(bench.hear(&first), "CONNECT");
}

#[test]
fn each_server_is_spoken_to_by_its_own_name() {
    let mut bench = Bench::new();
    let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = servers.each_ref().map(|server| server.local_addr().unwrap().to_string());
    let config = client("pump").wire(WebSocketConfig::builder().build().unwrap()).build().unwrap();
    let link = LinkBuilder::new(&first, config).or_server(&second).open(bench.driver());
    let requests = servers.map(|server| {
        thread::spawn(move || {
            let (stream, _) = server.accept().unwrap();
            let lines = BufReader::new(stream).lines().map(Result::unwrap);
            lines.take_while(|line| !line.is_empty()).collect::<Vec<String>>()
        })
    });
    for (request, name) in requests.into_iter().zip([first, second]) {
        bench.link_until(link, |event| matches!(event, Event::Down { .. }).then_some(()));
        let request = request.join().unwrap();
        assert!(request.contains(&format!("Host: {name}")), "{request:?}");
    }
}
