//! How links and listeners end: drains, takeovers, refusals, drops.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;

use crate::runtime::adapter::core::DownCause;
use crate::runtime::adapter::core::reconnect::GiveUpCause;
use crate::runtime::adapter::core::session::QueueLimits;
use crate::runtime::adapter::core::wire::{Goodbye, Reason};
use crate::runtime::adapter::{Admission, Event, Link, LinkState, Listener, OpenError, SendError, ServerEvent};
use crate::runtime::{block_on, spawn, unblock};
use crate::support::*;

#[test]
fn a_drained_link_has_delivered_everything() {
    block_on(async {
        let listener = listen(server()).await;
        let link = link(&listener, client("a"));
        for number in 0..50_u32 {
            link.try_send(number.to_be_bytes().to_vec()).unwrap();
        }
        let (unacknowledged, ()) = future::zip(within(link.drain(GUARD)), async {
            for number in 0..50 {
                assert_eq!(server_message(&listener).await, number);
            }
        })
        .await;
        assert_eq!((unacknowledged, link.state()), (0, LinkState::Closed));
        assert!(link.try_send("late").is_err());
        until(&link, |event| matches!(event, Event::Closed { unacknowledged: 0 }).then_some(())).await;
        assert_eq!(within(link.next_event()).await, None);
        let cause = offline(&listener).await;
        assert!(matches!(cause, DownCause::Goodbye(Goodbye { reason: Reason::Closed, .. })), "{cause}");
    });
}

#[test]
fn a_drain_that_takes_too_long_tells_what_is_left() {
    block_on(async {
        let address = address_of_nobody();
        let link = Link::open(address.to_string(), client("a").build().unwrap());
        link.try_send("nobody hears it").unwrap();
        assert_eq!(within(link.drain(millis(50))).await, 1);
        within(link.closed()).await;
    });
}

#[test]
fn a_drained_listener_sends_everybody_away_to_come_back() {
    block_on(async {
        let listener = listen(server()).await;
        let links: Vec<Link> = (0..20).map(|i| link(&listener, client(&format!("device-{i}")))).collect();
        for link in &links {
            up(link).await;
        }
        within(listener.drain(Duration::from_secs(60), Duration::from_secs(5))).await;
        assert_eq!(listener.connections(), 0);
        assert!(TcpStream::connect(listener.local_addr()).is_err(), "nobody listens any more");
        for link in &links {
            let report =
                until(link, |event| if let Event::Down { report, .. } = event { Some(report) } else { None }).await;
            assert!(matches!(&report.cause, DownCause::Goodbye(Goodbye { reason: Reason::GoingAway, .. })), "{report}");
            let wait = link.next_attempt_in().unwrap();
            assert!(wait > Duration::from_secs(55) && wait <= Duration::from_secs(65), "{wait:?}");
        }
        while within(listener.next_event()).await.is_some() {}
    });
}

#[test]
fn whoever_waits_for_room_hears_that_the_listener_is_drained() {
    block_on(async {
        let listener = Arc::new(listen(server().outbox(QueueLimits::new(1, 1 << 20).unwrap())).await);
        let relay = Relay::to(listener.local_addr(), 0);
        let link = Link::open(relay.address.to_string(), client("a").build().unwrap());
        up(&link).await;
        relay.swallow_everything();
        listener.try_send(&device("a"), "fills the outbox").unwrap();
        let sender = listener.clone();
        let waiting = spawn(async move { sender.send(&device("a"), "waits").await });
        // The sender waits before the drain begins.
        future::yield_now().await;
        within(listener.drain(millis(1000), millis(0))).await;
        assert!(matches!(within(waiting).await, Err(SendError::Closed { .. })));
        let after = within(listener.send(&device("a"), "comes too late")).await;
        assert!(matches!(after, Err(SendError::Closed { .. })));
        // What was accepted before is not lost.
        assert_eq!(listener.unacknowledged(&device("a")), 1);
    });
}

#[test]
fn a_second_connection_of_a_device_takes_over() {
    block_on(async {
        let listener = listen(server()).await;
        let first = link(&listener, client("a"));
        up(&first).await;
        let second = link(&listener, client("a"));
        up(&second).await;
        server_until(&listener, |event| matches!(event, ServerEvent::Replaced { .. }).then_some(())).await;
        let report =
            until(&first, |event| if let Event::Down { report, .. } = event { Some(report) } else { None }).await;
        assert!(matches!(&report.cause, DownCause::Goodbye(Goodbye { reason: Reason::Replaced, .. })), "{report}");
        assert!(listener.is_connected(&device("a")));
        assert!(listener.evidence(&device("a")).is_some() && second.evidence().is_some());
    });
}

#[test]
fn a_link_that_is_not_let_in_gives_up() {
    block_on(async {
        let listener = listen(server().authenticate()).await;
        let link = link(&listener, client("a").credentials("wrong"));
        within(async {
            let Some(ServerEvent::Authenticate { connection, credentials, .. }) = listener.next_event().await else {
                panic!("nobody asked");
            };
            assert_eq!(credentials.as_bytes(), b"wrong");
            listener.answer(connection, Admission::Unauthorized("who are you?".into()));
        })
        .await;
        let cause =
            until(&link, |event| if let Event::GaveUp { cause, .. } = event { Some(cause) } else { None }).await;
        assert_eq!(cause, GiveUpCause::Fatal);
        assert_eq!(within(link.next_event()).await, None);
        within(link.closed()).await;
        // Opened again, it may be luckier.
        link.reopen();
        server_until(&listener, |event| match event {
            ServerEvent::Authenticate { connection, .. } => {
                listener.answer(connection, Admission::Accept);
                Some(())
            }
            _ => None,
        })
        .await;
        up(&link).await;
    });
}

#[test]
fn a_provider_is_asked_for_fresh_credentials_once() {
    block_on(async {
        let listener = listen(server().authenticate()).await;
        let asked = Arc::new(AtomicU32::new(0));
        let (count, config) = (asked.clone(), client("a").credentials_from_provider().build().unwrap());
        let provider = move |refresh: bool| {
            let count = count.clone();
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                // What takes time holds nothing else up.
                future::yield_now().await;
                Some(Bytes::from(if refresh { "fresh" } else { "stored" }))
            }
        };
        let link = Link::builder(listener.local_addr().to_string(), config).credentials(provider).open().unwrap();
        let answered = async {
            for expected in ["stored", "fresh"] {
                server_until(&listener, |event| {
                    let ServerEvent::Authenticate { connection, credentials, .. } = event else { return None };
                    assert_eq!(credentials.as_bytes(), expected.as_bytes());
                    listener.answer(
                        connection,
                        match expected {
                            "fresh" => Admission::Accept,
                            _ => Admission::Unauthorized("too old".into()),
                        },
                    );
                    Some(())
                })
                .await;
            }
        };
        future::zip(answered, up(&link)).await;
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_provider_that_gives_nothing_or_hangs_fails_the_attempt() {
    block_on(async {
        let address = "127.0.0.1:9";
        let config = client("a").credentials_from_provider().credentials_timeout(millis(30)).build().unwrap();
        let link = Link::builder(address, config.clone()).credentials(|_| async { None }).open().unwrap();
        let cause =
            until(&link, |event| if let Event::Down { report, .. } = event { Some(report.cause) } else { None });
        assert_eq!(cause.await, DownCause::CredentialsFailed);
        let link = Link::builder(address, config).credentials(|_| std::future::pending()).open().unwrap();
        let cause =
            until(&link, |event| if let Event::Down { report, .. } = event { Some(report.cause) } else { None });
        assert_eq!(cause.await, DownCause::CredentialsTimeout);
    });
}

#[test]
fn a_provider_and_a_configuration_that_disagree_are_an_error() {
    block_on(async {
        let fixed = client("a").build().unwrap();
        let with_provider = Link::builder("127.0.0.1:9", fixed).credentials(|_| async { None }).open();
        assert_eq!(with_provider.unwrap_err(), OpenError::ProviderNotAsked);
        let asking = client("a").credentials_from_provider().build().unwrap();
        assert_eq!(Link::builder("127.0.0.1:9", asking).open().unwrap_err(), OpenError::NoProvider);
    });
}

#[test]
fn a_dropped_link_says_goodbye() {
    block_on(async {
        let listener = listen(server()).await;
        let link = link(&listener, client("a"));
        up(&link).await;
        drop(link);
        let cause = offline(&listener).await;
        assert!(matches!(cause, DownCause::Goodbye(Goodbye { reason: Reason::Closed, .. })), "{cause}");
    });
}

#[test]
fn a_dropped_listener_closes_everything() {
    block_on(async {
        let listener = Listener::bind(address_of_ours(), server().build().unwrap()).await.unwrap();
        let address = listener.local_addr();
        let link = link(&listener, client("a"));
        up(&link).await;
        drop(listener);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        let report =
            until(&link, |event| if let Event::Down { report, .. } = event { Some(report) } else { None }).await;
        assert!(matches!(report.cause, DownCause::Network(_)), "{report}");
    });
}

#[test]
fn a_device_can_be_sent_away() {
    block_on(async {
        let listener = listen(server()).await;
        let link = link(&listener, client("a"));
        up(&link).await;
        listener.disconnect(&device("a"), Goodbye::new(Reason::Forbidden, "you are stolen"));
        let report =
            until(&link, |event| if let Event::Down { report, .. } = event { Some(report) } else { None }).await;
        assert!(report.to_string().contains("you are stolen"), "{report}");
        within(link.closed()).await;
    });
}

#[test]
fn whoever_speaks_another_protocol_hears_why_it_is_closed() {
    block_on(async {
        let listener = listen(server()).await;
        let mut stranger = TcpStream::connect(listener.local_addr()).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let read = unblock(move || stranger.read_to_end(&mut answer).map(|_| answer));
        let answer = within(read).await.unwrap();
        assert!(!answer.is_empty(), "a reason comes before the end");
        let cause = server_until(&listener, |event| match event {
            ServerEvent::Rejected { cause, device: None, address: Some(_) } => Some(cause),
            _ => None,
        });
        let cause = cause.await;
        assert!(matches!(cause, DownCause::Protocol(_)), "{cause}");
        assert_eq!(listener.connections(), 0);
    });
}

#[test]
fn links_of_one_builder_speak_each_for_its_own_device() {
    block_on(async {
        let listener = listen(server()).await;
        let config = client("of-the-configuration").build().unwrap();
        let builder = Link::builder(listener.local_addr().to_string(), config);
        let links = [
            builder.clone().open().unwrap(),
            builder.clone().device(device("a")).open().unwrap(),
            builder.device(device("b")).open().unwrap(),
        ];
        for link in &links {
            up(link).await;
        }
        for name in ["of-the-configuration", "a", "b"] {
            assert!(listener.is_connected(&device(name)), "{name}");
        }
    });
}
