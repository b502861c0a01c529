//! What one link and one listener go through together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use keepbeat_mio::core::wire::{Goodbye, Reason};
use keepbeat_mio::core::{DownCause, Failure};
use keepbeat_mio::{Admission, DriverEvent, Event, LinkState, ListenerBuilder, Message, SendError, ServerEvent};
use support::*;

#[test]
fn messages_go_both_ways_in_order() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let link = bench.open(address, client("a"));
    assert!(!bench.up(link), "a new session");
    for number in 0..100_u32 {
        bench.link(link).send(number.to_be_bytes().to_vec()).unwrap();
        bench.listener(listener).send(&device("a"), number.to_be_bytes().to_vec()).unwrap();
    }
    for number in 0..100 {
        assert_eq!(bench.message(link), number);
        assert_eq!(bench.server_message(listener), number);
    }
    bench.turn_until(|bench| {
        let open = bench.link(link).unacknowledged() + bench.listener(listener).unacknowledged(&device("a"));
        (open == 0).then_some(())
    });
}

#[test]
fn a_large_message_passes_through_sockets_that_take_only_a_part() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let link = bench.open(address, client("a"));
    bench.up(link);
    let large = Message::from(vec![7; 1 << 20]);
    for _ in 0..8 {
        bench.turn_until(|bench| bench.link(link).send(large.clone()).ok());
        bench.server_until(listener, |event| match event {
            ServerEvent::Message { message, .. } => {
                assert_eq!(*message, large);
                Some(())
            }
            _ => None,
        });
        bench.listener(listener).send(&device("a"), large.clone()).unwrap();
        bench.link_until(link, |event| match event {
            Event::Message(message) => {
                assert_eq!(*message, large);
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn nothing_is_lost_when_the_listener_restarts_with_its_sessions() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let link = bench.open(address, client("a"));
    bench.up(link);
    bench.listener(listener).send(&device("a"), 1_u32.to_be_bytes().to_vec()).unwrap();
    assert_eq!(bench.message(link), 1);
    let sessions = bench.listener(listener).abort().unwrap();
    assert!(bench.listener(listener).is_over());
    bench.link(link).send(2_u32.to_be_bytes().to_vec()).unwrap();
    bench.link_until(link, |event| matches!(event, Event::Down { was_up: true, .. }).then_some(()));
    // Refused until somebody listens again.
    let refused = DownCause::ConnectFailed(Failure::Refused);
    bench.link_until(link, |event| match event {
        Event::Down { report, .. } => {
            assert_eq!(report.cause, refused);
            Some(())
        }
        _ => None,
    });
    bench.listener(listener).remove();
    assert!(bench.driver().listener(listener).is_none());
    let mut builder = ListenerBuilder::new(server().build().unwrap()).sessions(sessions);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // A failure leaves the builder its sessions.
    builder.bind(bench.driver(), taken.local_addr().unwrap()).unwrap_err();
    let second = builder.bind(bench.driver(), address).unwrap();
    assert_ne!(second, listener);
    assert!(bench.up(link), "the session goes on");
    assert_eq!(bench.server_message(second), 2);
    bench.listener(second).send(&device("a"), 3_u32.to_be_bytes().to_vec()).unwrap();
    assert_eq!(bench.message(link), 3);
}

#[test]
fn a_drained_listener_says_goodbye_and_the_link_stays_away_as_asked() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let link = bench.open(address, client("a"));
    bench.up(link);
    bench.listener(listener).drain(Duration::from_secs(60), Duration::ZERO);
    bench.link_until(link, |event| match event {
        Event::Down { report, .. } => {
            assert!(matches!(&report.cause, DownCause::Goodbye(Goodbye { reason: Reason::GoingAway, .. })), "{report}");
            Some(())
        }
        _ => None,
    });
    bench.turn_until(|bench| bench.listener(listener).is_over().then_some(()));
    let wait = bench.link(link).next_attempt_in().unwrap();
    assert!(wait > Duration::from_secs(50), "{wait:?}");
}

#[test]
fn a_drained_link_delivers_and_closes_and_opens_again() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let link = bench.open(address, client("a"));
    bench.link(link).send(7_u32.to_be_bytes().to_vec()).unwrap();
    bench.link(link).drain(GUARD);
    assert!(matches!(bench.link(link).send("late"), Err(SendError::Closed { .. })));
    assert_eq!(bench.server_message(listener), 7);
    bench.link_until(link, |event| match event {
        Event::Closed { unacknowledged } => {
            assert_eq!(*unacknowledged, 0);
            Some(())
        }
        _ => None,
    });
    bench.server_until(listener, |event| matches!(event, ServerEvent::Offline { .. }).then_some(()));
    bench.link(link).reopen();
    bench.up(link);
    bench.link(link).close();
    bench.link_until(link, |event| matches!(event, Event::Closed { .. }).then_some(()));
    assert_eq!(bench.link(link).state(), LinkState::Closed);
}

#[test]
fn a_second_link_of_a_device_takes_over() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let first = bench.open(address, client("a"));
    bench.up(first);
    let second = bench.open(address, client("a"));
    bench.up(second);
    bench.link_until(first, |event| match event {
        Event::Down { report, .. } => {
            assert!(matches!(&report.cause, DownCause::Goodbye(Goodbye { reason: Reason::Replaced, .. })), "{report}");
            Some(())
        }
        _ => None,
    });
    bench.link(first).remove();
    bench.server_until(listener, |event| matches!(event, ServerEvent::Replaced { .. }).then_some(()));
    bench.turn_until(|bench| (bench.listener(listener).connections() == 1).then_some(()));
    bench.link(second).close();
    bench.server_until(listener, |event| matches!(event, ServerEvent::Offline { .. }).then_some(()));
}

#[test]
fn the_id_of_a_removed_link_never_names_another_one() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server());
    let first = bench.open(address, client("a"));
    bench.up(first);
    bench.link(first).remove();
    let second = bench.open(address, client("b"));
    assert_ne!(first, second);
    assert!(bench.driver().link(first).is_none());
    bench.up(second);
    bench.server_until(listener, |event| match event {
        ServerEvent::Offline { device: gone, report, .. } => {
            assert_eq!((gone, &report.cause), (&device("a"), &DownCause::Network(Failure::Eof)));
            Some(())
        }
        _ => None,
    });
    assert!(!bench.events.iter().any(|event| matches!(event, DriverEvent::Link(link, _) if *link == first)));
}

#[test]
fn credentials_are_asked_for_before_every_attempt() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().authenticate());
    let link = bench.open(address, client("a").credentials_from_provider());
    let mut asked = Vec::new();
    bench.turn_until(|bench| {
        while let Some(event) = bench.events.pop_front() {
            match event {
                DriverEvent::Credentials { link, epoch, refresh } => {
                    asked.push(refresh);
                    let credentials = match asked.len() {
                        1 => None,
                        2 => Some(Bytes::from_static(b"old")),
                        _ => Some(Bytes::from_static(b"new")),
                    };
                    bench.link(link).credentials(epoch, credentials);
                }
                DriverEvent::Listener(_, ServerEvent::Authenticate { connection, credentials, .. }) => {
                    let admission = match credentials.as_bytes() {
                        b"new" => Admission::Accept,
                        _ => Admission::Unauthorized("too old".into()),
                    };
                    bench.listener(listener).answer(connection, admission);
                }
                DriverEvent::Link(_, Event::Up { .. }) => return Some(()),
                _ => {}
            }
        }
        None
    });
    assert_eq!(asked, [false, false, true]);
    assert_eq!(bench.link(link).state(), LinkState::Up { suspect: false });
}

#[test]
fn a_name_is_looked_up_and_its_addresses_race() {
    // The name has ::1 and 127.0.0.1 on most machines; only on one of them does somebody listen.
    let mut bench = Bench::new();
    let (_, address) = bench.listen(server());
    let link = bench.open(format!("localhost:{}", address.port()), client("a"));
    bench.up(link);
}

#[test]
fn a_name_without_an_address_fails_the_attempt_and_is_looked_up_again() {
    let mut bench = Bench::new();
    let link = bench.open("no-such-host.invalid:1", client("a"));
    for _ in 0..2 {
        bench.link_until(link, |event| match event {
            Event::Down { report, .. } => {
                assert_eq!(report.cause, DownCause::ConnectFailed(Failure::NameNotFound));
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn nobody_listens_is_a_refusal() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut bench = Bench::new();
    let link = bench.open(closed, client("a"));
    bench.link_until(link, |event| match event {
        Event::Down { report, .. } => {
            assert_eq!(report.cause, DownCause::ConnectFailed(Failure::Refused));
            Some(())
        }
        _ => None,
    });
    assert!(!matches!(bench.link(link).state(), LinkState::Up { .. }));
}

#[test]
fn a_silent_peer_is_found_dead_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new();
    let link = bench.open(silent.local_addr().unwrap(), client("a").handshake_timeout(millis(100)));
    bench.link_until(link, |event| match event {
        Event::Down { report, .. } => {
            assert_eq!(report.cause, DownCause::HandshakeTimeout);
            Some(())
        }
        _ => None,
    });
}
