//! MQTT: publications, subscriptions, acknowledgements; links that outlive their process, and links with several servers.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::atomic::Ordering;

use futures_lite::future;

use crate::broker::{Broker, Failing, Scratch, id, payload, publication, subscription, word};
use crate::runtime::adapter::core::DownCause;
use crate::runtime::adapter::core::session::{Change, Room, StoreKey};
use crate::runtime::adapter::core::wire::mqtt::{Answer, Qos, ReasonCode};
use crate::runtime::adapter::{
    Event, FileStore, Link, Message, MqttConfig, OpenError, SendError, Ticket, WebSocketConfig,
};
use crate::runtime::{block_on, unblock};
use crate::support::*;

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn mqtt() -> MqttConfig {
    MqttConfig::builder().build().unwrap()
}

fn open(broker: &Broker, wire: MqttConfig) -> Link {
    Link::open(broker.address.to_string(), client("pump").wire(wire).build().unwrap())
}

/// The next packet that the broker hears, in short.
async fn hear(broker: &Broker) -> String {
    word(&within(unblock(broker.hearing())).await)
}

/// The next message of the link.
async fn taken(link: &Link) -> Message {
    until(link, |event| if let Event::Message(message) = event { Some(message) } else { None }).await
}

async fn acknowledged(link: &Link, ticket: Ticket) {
    until(link, |event| matches!(event, Event::Acknowledged { through } if through >= ticket).then_some(())).await;
}

#[test]
fn publications_of_each_qos_arrive_and_are_acknowledged() {
    block_on(async {
        let broker = Broker::start();
        let link = open(&broker, mqtt());
        assert_eq!(hear(&broker).await, "CONNECT");
        for (qos, after) in QOS.into_iter().zip([&[][..], &[], &["PUBREL"]]) {
            let ticket = link.send(publication("a/b", "hello", qos)).await.unwrap();
            assert_eq!(hear(&broker).await, format!("PUBLISH hello {}", qos as u8));
            for packet in after {
                assert_eq!(hear(&broker).await, *packet);
            }
            acknowledged(&link, ticket).await;
        }
        assert_eq!(link.unacknowledged(), 0);
    });
}

#[test]
fn subscriptions_are_answered_and_what_comes_is_acknowledged_as_it_is_taken() {
    block_on(async {
        let broker = Broker::start();
        let link = open(&broker, mqtt());
        let ticket = link.send(subscription("a/+", Qos::ExactlyOnce)).await.unwrap();
        let answer = until(&link, |event| match event {
            Event::Answered { ticket, answer } => Some((ticket, answer)),
            _ => None,
        });
        let (answered, answer) = answer.await;
        assert_eq!(answered, Some(ticket));
        assert_eq!(Answer::of(&answer).unwrap().results[0].1, ReasonCode::GRANTED_QOS_2);
        assert_eq!((hear(&broker).await, hear(&broker).await), ("CONNECT".into(), "SUBSCRIBE".into()));
        // Nothing but the taking wakes the driver.
        broker.publish(1, "a/b", "one", Qos::AtLeastOnce);
        assert_eq!(payload(&taken(&link).await), "one");
        assert_eq!(hear(&broker).await, "PUBACK 1");
        broker.publish(2, "a/c", "two", Qos::ExactlyOnce);
        assert_eq!(payload(&taken(&link).await), "two");
        assert_eq!((hear(&broker).await, hear(&broker).await), ("PUBREC".into(), "PUBCOMP".into()));
    });
}

#[test]
fn with_manual_acknowledgements_the_application_says_when() {
    block_on(async {
        let broker = Broker::start();
        let link = open(&broker, MqttConfig::builder().manual_acknowledgements().build().unwrap());
        up(&link).await;
        assert_eq!(hear(&broker).await, "CONNECT");
        assert!(!link.acknowledge(), "there is nothing yet");
        broker.publish(1, "a", "one", Qos::AtLeastOnce);
        broker.publish(2, "a", "two", Qos::AtLeastOnce);
        assert_eq!((payload(&taken(&link).await), payload(&taken(&link).await)), ("one".into(), "two".into()));
        // Whatever else is said, it is not that.
        link.send(publication("a", "first", Qos::AtMostOnce)).await.unwrap();
        assert_eq!(hear(&broker).await, "PUBLISH first 0");
        assert!(link.acknowledge());
        assert_eq!(hear(&broker).await, "PUBACK 1");
        link.send(publication("a", "second", Qos::AtMostOnce)).await.unwrap();
        assert_eq!(hear(&broker).await, "PUBLISH second 0");
        assert!(link.acknowledge() && !link.acknowledge());
        assert_eq!(hear(&broker).await, format!("PUBACK {}", id(2)));
    });
}

/// One life of a link with a store in this directory. It ends as a process does that is killed.
async fn live<F: Future>(address: String, directory: &Scratch, life: impl FnOnce(Link) -> F) -> F::Output {
    let store = FileStore::open(&directory.0).unwrap();
    let config = client("pump").wire(mqtt()).build().unwrap();
    let (link, driver) = Link::builder(address, config).store(store).build().unwrap();
    let driver = async {
        driver.await;
        unreachable!("the link was not dropped")
    };
    future::or(life(link), driver).await
}

#[test]
fn what_was_accepted_is_sent_again_after_a_restart() {
    block_on(async {
        let directory = Scratch::new();
        let nobody = address_of_nobody().to_string();
        live(nobody, &directory, |link| async move {
            link.send(publication("a", "never left", Qos::AtLeastOnce)).await.unwrap();
            link.send(publication("a", "of no weight", Qos::AtMostOnce)).await.unwrap();
            // Lives on in what is awaited.
            link
        })
        .await;
        let broker = Broker::start();
        broker.acknowledge(false);
        let address = broker.address.to_string();
        live(address.clone(), &directory, |link| async {
            up(&link).await;
            assert_eq!((hear(&broker).await, hear(&broker).await), ("CONNECT".into(), "PUBLISH never left 1".into()));
            link.send(publication("a", "left", Qos::ExactlyOnce)).await.unwrap();
            assert_eq!(hear(&broker).await, "PUBLISH left 2");
            link
        })
        .await;
        broker.acknowledge(true);
        live(address.clone(), &directory, |link| async {
            let resumed =
                until(&link, |event| if let Event::Up { resumed, .. } = event { Some(resumed) } else { None });
            assert!(resumed.await, "the broker remembers, and so do we");
            let mut heard = Vec::new();
            while link.unacknowledged() > 0 {
                until(&link, |event| matches!(event, Event::Acknowledged { .. }).then_some(())).await;
            }
            while heard.last().is_none_or(|word| word != "PUBREL") {
                heard.push(hear(&broker).await);
            }
            heard.retain(|word| word.starts_with("PUBLISH"));
            assert_eq!(heard, ["PUBLISH never left 1 again", "PUBLISH left 2 again"]);
            link
        })
        .await;
        live(address, &directory, |link| async {
            up(&link).await;
            assert_eq!(link.unacknowledged(), 0);
            link
        })
        .await;
    });
}

#[test]
fn if_the_store_fails_the_message_is_handed_back_and_the_link_closed() {
    block_on(async {
        let (broker, store) = (Broker::start(), Failing::default());
        let config = client("pump").wire(mqtt()).build().unwrap();
        let link = Link::builder(broker.address.to_string(), config).store(store.clone()).open().unwrap();
        up(&link).await;
        let ticket = link.send(publication("a", "kept", Qos::AtLeastOnce)).await.unwrap();
        acknowledged(&link, ticket).await;
        store.now.store(true, Ordering::SeqCst);
        let refused = publication("a", "refused", Qos::AtLeastOnce);
        assert_eq!(link.send(refused.clone()).await, Err(SendError::Closed { message: refused }));
        let cause =
            until(&link, |event| if let Event::Down { report, .. } = event { Some(report.cause) } else { None });
        assert!(matches!(cause.await, DownCause::Store(error) if error.to_string() == "the disk is full"));
        within(link.closed()).await;
        // Opened again with room on the disk, it goes on, and the store knows of nothing that was refused.
        store.now.store(false, Ordering::SeqCst);
        link.reopen();
        let ticket = until(&link, |event| matches!(event, Event::Up { .. }).then_some(()));
        ticket.await;
        let ticket = link.send(publication("a", "kept as well", Qos::AtLeastOnce)).await.unwrap();
        acknowledged(&link, ticket).await;
        let kept = store.kept.lock().unwrap().clone();
        let gone = |number| StoreKey { room: Room::Message, number };
        let put = kept.iter().filter(|change| matches!(change, Change::Put { key, .. } if key.room == Room::Message));
        assert_eq!(put.count(), 3);
        assert!(kept.contains(&Change::Remove { key: gone(ticket.0 - 1) }));
        let words = [hear(&broker).await, hear(&broker).await, hear(&broker).await, hear(&broker).await];
        assert_eq!(words, ["CONNECT", "PUBLISH kept 1", "CONNECT", "PUBLISH kept as well 1"]);
    });
}

#[test]
fn a_store_for_a_link_whose_session_ends_with_the_process_is_an_error() {
    block_on(async {
        let config = client("pump").build().unwrap();
        let opened = Link::builder("127.0.0.1:9", config).store(Failing::default()).open();
        assert!(matches!(opened, Err(OpenError::Store(error)) if error.to_string().contains("ends with the process")));
    });
}

#[test]
fn a_link_with_two_servers_comes_up_at_the_other_when_one_dies_and_back() {
    block_on(async {
        let (first, second) = (Broker::at(address_of_ours()), Broker::start());
        let (home, config) = (first.address, client("pump").wire(mqtt()).build().unwrap());
        let link = Link::builder(home.to_string(), config).or_server(second.address.to_string()).open().unwrap();
        up(&link).await;
        assert_eq!(hear(&first).await, "CONNECT");
        drop(first);
        up(&link).await;
        assert_eq!(hear(&second).await, "CONNECT");
        let first = Broker::at(home);
        drop(second);
        up(&link).await;
        assert_eq!(hear(&first).await, "CONNECT");
    });
}

#[test]
fn a_server_that_says_to_use_another_is_left_for_the_next() {
    for reason in [ReasonCode::USE_ANOTHER_SERVER, ReasonCode::SERVER_MOVED] {
        block_on(async {
            let (first, second) = (Broker::refusing(reason), Broker::start());
            let config = client("pump").wire(mqtt()).build().unwrap();
            let builder = Link::builder(first.address.to_string(), config).or_server(second.address.to_string());
            let link = builder.open().unwrap();
            up(&link).await;
            assert_eq!((hear(&first).await, hear(&second).await), ("CONNECT".into(), "CONNECT".into()));
        });
    }
}

#[test]
fn each_server_is_spoken_to_by_its_own_name() {
    block_on(async {
        let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second] = servers.each_ref().map(|server| server.local_addr().unwrap().to_string());
        let config = client("pump").wire(WebSocketConfig::builder().build().unwrap()).build().unwrap();
        let _link = Link::builder(&first, config).or_server(&second).open().unwrap();
        for (server, name) in servers.into_iter().zip([first, second]) {
            let request = unblock(move || {
                let (stream, _) = server.accept().unwrap();
                BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect()
            });
            let request: Vec<String> = within(request).await;
            assert!(request.contains(&format!("Host: {name}")), "{request:?}");
        }
    });
}
