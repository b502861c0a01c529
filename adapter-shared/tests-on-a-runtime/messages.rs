//! Messages arrive in order and exactly once, and wait when there is no room.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_lite::future;

use crate::runtime::adapter::core::DownCause;
use crate::runtime::adapter::core::Failure;
use crate::runtime::adapter::core::session::QueueLimits;
use crate::runtime::adapter::{Event, Link, LinkState, Listener, SendError, ServerEvent, Ticket};
use crate::runtime::{block_on, spawn, unblock};
use crate::support::*;

#[test]
fn messages_go_both_ways_in_order() {
    block_on(async {
        let listener = Arc::new(listen(server()).await);
        let link = Arc::new(link(&listener, client("a")));
        up(&link).await;
        let (sender, server) = (link.clone(), listener.clone());
        let sent = spawn(async move {
            for number in 0..2000_u32 {
                sender.send(number.to_be_bytes().to_vec()).await.unwrap();
            }
        });
        let sent_back = spawn(async move {
            for number in 0..2000_u32 {
                server.send(&device("a"), number.to_be_bytes().to_vec()).await.unwrap();
            }
        });
        for number in 0..2000 {
            assert_eq!(server_message(&listener).await, number);
            assert_eq!(message(&link).await, number);
        }
        within(sent).await;
        within(sent_back).await;
        assert_eq!(within(link.drain(GUARD)).await, 0);
        assert_eq!(link.state(), LinkState::Closed);
        assert!(link.traffic().bytes_in > 8000 && listener.traffic().bytes_in > 8000);
    });
}

#[test]
fn a_restart_with_sessions_loses_nothing_and_repeats_nothing() {
    block_on(async {
        let mut listener = listen(server()).await;
        let address = listener.local_addr();
        let link = link(&listener, client("a"));
        up(&link).await;
        let (mut sent, mut expected, mut answered) = (0_u32, 0, 0);
        for restart in 1..=3_u32 {
            while sent < restart * 100 {
                link.send(sent.to_be_bytes().to_vec()).await.unwrap();
                sent += 1;
            }
            while expected < restart * 100 - 50 {
                assert_eq!(server_message(&listener).await, expected);
                listener.send(&device("a"), expected.to_be_bytes().to_vec()).await.unwrap();
                expected += 1;
            }
            let sessions = listener.abort();
            assert_eq!(listener.connections(), 0);
            // What had arrived before the abort is still handed out.
            while let Some(event) = within(listener.next_event()).await {
                if let ServerEvent::Message { message, .. } = event {
                    assert_eq!(number(&message), expected);
                    expected += 1;
                }
            }
            // The address is free at once.
            let config = server().build().unwrap();
            listener = Listener::builder(config).sessions(sessions).bind(address).await.unwrap();
        }
        while expected < 300 {
            assert_eq!(server_message(&listener).await, expected);
            expected += 1;
        }
        // The last thing that the last life but one of the server answered.
        while answered < 250 {
            // What arrived with an abort was not answered, so the numbers have gaps and no repetition.
            let number = message(&link).await;
            assert!(number >= answered, "{number} came twice");
            answered = number + 1;
        }
        assert_eq!(within(link.drain(GUARD)).await, 0);
    });
}

#[test]
fn a_refused_link_comes_up_when_the_server_does() {
    block_on(async {
        let address = address_of_nobody();
        let link = Link::open(address.to_string(), client("a").build().unwrap());
        link.send(7_u32.to_be_bytes().to_vec()).await.unwrap();
        for _ in 0..2 {
            let report =
                until(&link, |event| if let Event::Down { report, .. } = event { Some(report) } else { None }).await;
            assert_eq!(report.cause, DownCause::ConnectFailed(Failure::Refused));
        }
        let listener = Listener::bind(address, server().build().unwrap()).await.unwrap();
        link.retry_now();
        assert_eq!(server_message(&listener).await, 7);
        up(&link).await;
    });
}

#[test]
fn a_name_without_an_address_is_reported_as_such() {
    block_on(async {
        let link = Link::open("no-such-host.invalid:1", client("a").build().unwrap());
        let report =
            until(&link, |event| if let Event::Down { report, .. } = event { Some(report) } else { None }).await;
        assert_eq!(report.cause, DownCause::ConnectFailed(Failure::NameNotFound));
        assert!(link.next_attempt_in().is_some() || matches!(link.state(), LinkState::Connecting { .. }));
    });
}

#[test]
fn a_sender_waits_for_room_and_goes_on() {
    block_on(async {
        let address = address_of_nobody();
        let config = client("a").outbox(QueueLimits::new(3, 1000).unwrap()).build().unwrap();
        let link = Link::open(address.to_string(), config);
        for number in 0..3_u32 {
            link.try_send(number.to_be_bytes().to_vec()).unwrap();
        }
        assert!(matches!(link.try_send("x"), Err(SendError::Full { .. })));
        assert!(matches!(link.try_send(vec![0; 1001]), Err(SendError::TooLarge { .. })));
        {
            // A sender that gives up loses its own message only.
            let mut given_up = pin!(link.send("never"));
            assert!(poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_pending())).await);
        }
        let mut fourth = pin!(link.send(3_u32.to_be_bytes().to_vec()));
        let mut fifth = pin!(link.send(4_u32.to_be_bytes().to_vec()));
        poll_fn(|cx| {
            // Whoever asked first is served first, whoever is polled first.
            assert!(fourth.as_mut().poll(cx).is_pending() && fifth.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let listener = Listener::bind(address, server().build().unwrap()).await.unwrap();
        link.retry_now();
        let (fifth, fourth) = within(future::zip(fifth, fourth)).await;
        assert!(fourth.unwrap() < fifth.unwrap());
        for number in 0..5 {
            assert_eq!(server_message(&listener).await, number);
        }
    });
}

#[test]
fn room_wakes_the_sender_whose_turn_it_is_not_all_who_wait() {
    const SENDERS: usize = 200;
    block_on(async {
        let listener = Arc::new(listen(server()).await);
        let config = client("a").outbox(QueueLimits::new(1, 1 << 20).unwrap());
        let link = Arc::new(link(&listener, config));
        up(&link).await;
        let polls = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..SENDERS as u32)
            .map(|number| {
                let (link, polls) = (link.clone(), polls.clone());
                spawn(async move {
                    let mut sending = pin!(link.send(number.to_be_bytes().to_vec()));
                    let counted = poll_fn(|cx| {
                        polls.fetch_add(1, Ordering::SeqCst);
                        sending.as_mut().poll(cx)
                    });
                    counted.await.unwrap()
                })
            })
            .collect();
        for _ in 0..SENDERS {
            server_message(&listener).await;
        }
        for sender in senders {
            within(sender).await;
        }
        // The first look, the turn that comes, the room, and some for turns without room.
        let polls = polls.load(Ordering::SeqCst);
        assert!(polls <= 8 * SENDERS, "{polls} looks of {SENDERS} senders");
    });
}

#[test]
fn waiting_senders_hear_that_the_link_is_closed() {
    block_on(async {
        let address = address_of_nobody();
        let config = client("a").outbox(QueueLimits::new(1, 1000).unwrap()).build().unwrap();
        let link = Link::open(address.to_string(), config);
        let first = link.try_send("kept").unwrap();
        assert_eq!(first, Ticket(1));
        let (sent, ()) = within(future::zip(link.send("back"), async { link.close() })).await;
        assert_eq!(sent, Err(SendError::Closed { message: "back".into() }));
        assert_eq!(link.unacknowledged(), 1);
        let closed =
            until(
                &link,
                |event| if let Event::Closed { unacknowledged } = event { Some(unacknowledged) } else { None },
            );
        assert_eq!(closed.await, 1);
        assert_eq!(within(link.next_event()).await, None);
        // What was kept goes out when the link is opened again.
        let listener = Listener::bind(address, server().build().unwrap()).await.unwrap();
        link.reopen();
        let kept = server_until(&listener, |event| match event {
            ServerEvent::Message { message, .. } => Some(message),
            _ => None,
        });
        assert_eq!(&kept.await[..], b"kept");
        up(&link).await;
    });
}

/// 24 MB: more than fits into all queues on the way.
const MANY: u32 = 400;

fn large(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[0; 60_000]].concat()
}

#[test]
fn a_server_that_does_not_read_pauses_the_link_and_loses_nothing() {
    block_on(async {
        let listener = listen(server().inbox(QueueLimits::new(10, 1 << 20).unwrap())).await;
        let link = Arc::new(link(&listener, client("a").outbox(QueueLimits::new(20, 8 << 20).unwrap())));
        let sender = link.clone();
        let sent = spawn(async move {
            for number in 0..MANY {
                sender.send(large(number)).await.unwrap();
            }
        });
        // The server has stopped reading: its inbox is full, and the link's outbox fills up.
        server_until(&listener, |event| matches!(event, ServerEvent::Online { .. }).then_some(())).await;
        within(async {
            while link.unacknowledged() < 20 || listener.traffic().bytes_in < 600_000 {
                future::yield_now().await;
            }
        })
        .await;
        assert!(!sent.is_finished());
        for number in 0..MANY {
            let got = server_until(&listener, |event| match event {
                ServerEvent::Message { message, .. } => Some(message),
                ServerEvent::Offline { report, .. } => panic!("{report}"),
                _ => None,
            });
            assert_eq!(crate::support::number(&got.await[..4]), number);
        }
        within(sent).await;
        assert_eq!(within(link.drain(GUARD)).await, 0);
        // A sender that waits for room wakes nobody: the turns come from the messages, a few for each.
        assert!(link.traffic().wakes < u64::from(MANY) * 20, "{:?}", link.traffic());
    });
}

#[test]
fn a_link_that_does_not_read_pauses_the_server_and_loses_nothing() {
    block_on(async {
        let listener = Arc::new(listen(server().outbox(QueueLimits::new(20, 8 << 20).unwrap())).await);
        let link = link(&listener, client("a").inbox(QueueLimits::new(10, 1 << 20).unwrap()));
        up(&link).await;
        let sender = listener.clone();
        let sent = spawn(async move {
            for number in 0..MANY {
                sender.send(&device("a"), large(number)).await.unwrap();
            }
        });
        within(async {
            while listener.unacknowledged(&device("a")) < 20 || link.traffic().bytes_in < 600_000 {
                future::yield_now().await;
            }
        })
        .await;
        assert!(!sent.is_finished());
        for number in 0..MANY {
            let got = until(&link, |event| match event {
                Event::Message(message) => Some(message),
                Event::Down { report, .. } => panic!("{report}"),
                _ => None,
            });
            assert_eq!(crate::support::number(&got.await[..4]), number);
        }
        within(sent).await;
        assert!(listener.traffic().wakes < u64::from(MANY) * 20, "{:?}", listener.traffic());
    });
}

#[test]
fn a_dropped_wait_for_an_event_loses_no_event() {
    block_on(async {
        let listener = listen(server()).await;
        let link = link(&listener, client("a"));
        for number in 0..100_u32 {
            {
                let mut given_up = pin!(listener.next_event());
                let polled = poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx))).await;
                assert!(!matches!(polled, Poll::Ready(Some(ServerEvent::Message { .. }))));
            }
            link.send(number.to_be_bytes().to_vec()).await.unwrap();
            assert_eq!(server_message(&listener).await, number);
        }
    });
}

#[test]
fn several_threads_share_a_link_and_a_listener() {
    block_on(async {
        let listener = Arc::new(listen(server()).await);
        let link = Arc::new(link(&listener, client("a").outbox(QueueLimits::new(7, 1 << 20).unwrap())));
        let senders: Vec<_> = (0..4_u32)
            .map(|thread| {
                let link = link.clone();
                let send = async move {
                    for number in 0..250_u32 {
                        link.send((thread * 250 + number).to_be_bytes().to_vec()).await.unwrap();
                    }
                };
                spawn(unblock(|| block_on(send)))
            })
            .collect();
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let listener = listener.clone();
                let receive = async move {
                    let mut got = Vec::new();
                    while let Some(event) = within(listener.next_event()).await {
                        if let ServerEvent::Message { message, .. } = event {
                            got.push(number(&message));
                        }
                    }
                    got
                };
                spawn(unblock(|| block_on(receive)))
            })
            .collect();
        for sender in senders {
            within(sender).await;
        }
        assert_eq!(within(link.drain(GUARD)).await, 0);
        within(listener.drain(millis(1), millis(0))).await;
        let mut got = Vec::new();
        for receiver in receivers {
            got.extend(within(receiver).await);
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..1000));
    });
}
