//! What a client owes to its application: no message lost or doubled unsaid, no dead end that it could leave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;

use common::{Answer, Dialer, Link, at, client, entropy, message, server, welcome};
use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Epoch, Event, Input, LinkState};
use keepbeat_core::server::Server;
use keepbeat_core::time::DeadlineCause;
use keepbeat_core::wire::beat::BeatConfig;
use keepbeat_core::wire::{Credentials, Frame, Goodbye, Reason, Welcome};

/// The epochs for which credentials were asked, in order.
fn asked(rig: &Dialer) -> Vec<Epoch> {
    let asked = rig.actions.iter().filter_map(|(_, action)| match action {
        Action::FetchCredentials { epoch, .. } => Some(*epoch),
        _ => None,
    });
    asked.collect()
}

fn provide(rig: &mut Dialer, credentials: &'static [u8]) {
    let epoch = *asked(rig).last().expect("it asks its provider");
    rig.client.handle_input(rig.now, Input::Credentials { epoch, credentials: Credentials::new(credentials) });
    rig.turn();
}

/// Credentials expire while the link is up; the provider may have newer ones.
#[test]
fn credentials_that_expire_while_up_are_fetched_anew() {
    let mut rig = Dialer::new(client().credentials_from_provider());
    rig.client.open(rig.now);
    rig.turn();
    provide(&mut rig, b"old");
    rig.welcome(welcome());
    rig.say(&Frame::Goodbye(Box::new(Goodbye::new(Reason::Unauthorized, "expired"))));
    assert_eq!((rig.saw("up"), rig.saw("down"), rig.saw("gave up")), (1, 1, 0), "{:#?}", rig.events);
    if asked(&rig).len() == 1 {
        rig.wake(DeadlineCause::Reconnect);
    }
    assert_eq!(asked(&rig).len(), 2);
    provide(&mut rig, b"new");
    rig.welcome(welcome());
    assert!(matches!(rig.client.state(), LinkState::Up { .. }), "{:?}", rig.client.state());
}

/// Drivers log their inputs.
#[test]
fn credentials_do_not_show_in_inputs() {
    let input = Input::Credentials { epoch: Epoch(1), credentials: Credentials::new(&b"hunter2"[..]) };
    let logged = format!("{input:?}");
    let as_numbers = format!("{:?}", &b"hunter2"[..]);
    assert!(!logged.contains("hunter2") && !logged.contains(as_numbers.trim_matches(['[', ']'])), "{logged}");
}

/// It has its number already, so it cannot simply be left out; but if it goes first for ever, nothing else arrives.
#[test]
fn a_message_above_the_limit_of_the_next_server_does_not_block_the_rest() {
    let mut link = Link::up(client(), server());
    link.up.black_hole();
    link.client.send(link.now, vec![b'x'; 2000].into()).unwrap();
    link.turn();
    let sessions = link.server.take_sessions(link.now);
    let strict = server().wire(BeatConfig::builder().message_limit(1000).build().unwrap()).build().unwrap();
    let strict = Server::with_sessions(Arc::new(strict), entropy(), 3, link.now, sessions);
    link.replace_server(strict);
    link.cut_for_client();
    link.turn();
    link.client.send(link.now, message("small")).unwrap();
    link.advance(120_000);
    let ends = link.downs();
    assert!(ends.len() <= 3, "the message ended {} connections: {ends:#?}", ends.len());
    assert!(matches!(link.client.state(), LinkState::Up { .. }), "{:?}", link.client.state());
    assert_eq!(link.server_arrived(), ["small"]);
    assert_eq!((link.saw("dropped"), link.client.unacknowledged()), (1, 0), "{:#?}", link.events);
}

/// Events that are outdated may give way to newer ones, but this one says that the link is at its end.
#[test]
fn closed_is_told_to_an_application_that_has_not_looked_for_long() {
    let mut rig = Dialer::new(client());
    rig.answer = Answer::Refuse;
    rig.takes = false;
    rig.client.open(rig.now);
    rig.turn();
    for _ in 0..600 {
        rig.wake(DeadlineCause::Reconnect);
    }
    rig.client.close(rig.now);
    rig.takes = true;
    rig.turn();
    assert!(matches!(rig.events.last(), Some((_, Event::Closed { .. }))), "{:?}", rig.events.last());
    assert_eq!(rig.saw("closed"), 1);
}

/// A message left, and the session is lost. The welcome that says so breaks the protocol; the next one must still tell.
#[test]
fn a_message_in_doubt_stays_in_doubt_over_a_failed_welcome() {
    let mut rig = Dialer::new(client());
    rig.client.open(rig.now);
    rig.turn();
    rig.client.send(rig.now, message("perhaps twice")).unwrap();
    rig.welcome(welcome());
    assert!(rig.heard().iter().any(|(_, frame)| matches!(frame, Frame::Data { .. })), "it has left");
    rig.now = at(100);
    rig.cut(Failure::Reset);
    for received in [7, 0] {
        while rig.open.is_none() {
            let due = rig.client.poll_timeout().expect("it tries again");
            rig.wake(due.cause);
        }
        rig.welcome(Welcome { resumed: false, received, ..welcome() });
        if rig.open.is_some() && rig.saw("up") == 1 {
            // Its goodbye is said; the server hangs up.
            rig.cut(Failure::Eof);
        }
    }
    let doubts = rig.events.iter().filter_map(|(_, event)| match event {
        Event::Up { in_doubt, .. } => Some(*in_doubt),
        _ => None,
    });
    assert_eq!(doubts.collect::<Vec<_>>(), [0, 1], "the message may arrive twice, and the application must know");
}
