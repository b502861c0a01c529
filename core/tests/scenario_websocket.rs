//! Links over WebSocket: what a connection to a foreigner can know, and how connections begin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::websocket::{Dialed, SERVER, Served, client, link, moments, server, websocket};
use common::{Link, MS, SECOND, at, liveness, message, online};
use keepbeat_core::DownCause;
use keepbeat_core::client::{Client, Event, LinkState};
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::server::{ServerConfigError, ServerEvent};
use keepbeat_core::session::{Message, Outbox, Overflow, QueueLimits, SendError, Ticket};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::websocket::{Beats, Control, Item, WebSocketConfigError};
use keepbeat_core::wire::{Any, Reason, WireError};

// Liveness by pings.

#[test]
fn silence_is_noticed_within_the_bound_by_both_roles() {
    for_seeds(1000, |seed| {
        let prng = &mut moments(seed);
        let jittery = liveness().jitter_percent(20).build().unwrap();
        let mut link: Link<Any> = Link::seeded(
            SERVER,
            client(websocket()).liveness(jittery.clone()),
            server(websocket()).liveness(jittery.clone()),
            seed,
        );
        link.client.open(link.now);
        link.turn();
        let (silence, up) = (prng.between(0, 60_000), prng.between(0, 1) == 0);
        while link.now < at(silence) {
            link.client.send(link.now, message("up")).unwrap();
            let device = online(&link.server_events);
            link.server.send(link.now, &device, message("down")).unwrap();
            link.advance(prng.between(1, 4000).min(silence - link.now.as_millis()).max(1));
        }
        link.forget();
        if up {
            link.up.black_hole()
        } else {
            link.down.black_hole()
        }
        // Who is not heard may be judged by the other's last word, too.
        let bound = jittery.worst_case_detection();
        link.advance(bound.as_millis() as u64);
        let noticed = match up {
            false => link.downs().first().map(|(at, report)| (*at, report.cause.clone())),
            true => link.server_events.iter().find_map(|(at, event)| match event {
                ServerEvent::Offline { report, .. } => Some((*at, report.cause.clone())),
                _ => None,
            }),
        };
        let (_, cause) = noticed.unwrap_or_else(|| panic!("seed {seed}: not within {bound:?} of {silence}"));
        // A server whose client has given the connection up may find first that its bytes do not move.
        assert!(matches!(cause, DownCause::Dead(_)), "seed {seed}: {cause:?}");
    });
}

#[test]
fn a_quiet_link_is_never_suspected_and_both_sides_ping() {
    let mut link = link(false, 1);
    link.advance(3_600_000);
    assert_eq!((link.saw("suspect"), link.saw("down")), (0, 0));
    assert_eq!((link.server_saw("suspect"), link.server_saw("offline")), (0, 0));
    let evidence = link.client.evidence(link.now).unwrap();
    assert!(evidence.beats_sent >= 359 && evidence.beats_answered + 1 >= evidence.beats_sent, "{evidence:?}");
}

#[test]
fn a_pong_measures_the_round_trip_of_its_ping() {
    let mut rig = Dialed::up(client(websocket()));
    rig.peer.answers = false;
    while rig.peer.pings().is_empty() {
        rig.advance(1);
    }
    let ping = newest_ping(&rig);
    rig.advance(70);
    rig.say(&Item::Pong(ping.clone()));
    let rtt = rig.client.rtt().unwrap().smoothed();
    assert!((70 * MS..72 * MS).contains(&rtt), "{rtt:?}");
    rig.advance(500);
    rig.say(&Item::Pong(ping));
    assert_eq!(rig.client.evidence(rig.now).unwrap().beats_answered, 1, "what comes twice measures once");
    assert_eq!(rig.client.rtt().unwrap().smoothed(), rtt);
}

#[test]
fn pongs_that_answer_no_ping_of_ours_are_a_sign_of_life_and_no_more() {
    let mut rig = Dialed::up(client(websocket()));
    rig.peer.answers = false;
    rig.client.send(rig.now, message("one")).unwrap();
    rig.turn();
    for payload in [&[][..], b"x", &[0; 12], &[0xff; 12], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]] {
        rig.advance(10);
        rig.say(&Item::Pong(Control::new(payload).unwrap()));
        let evidence = rig.client.evidence(rig.now).unwrap();
        assert_eq!((evidence.last_received, evidence.beats_answered), (rig.now, 0), "{payload:?}");
    }
    assert_eq!((rig.saw("acknowledged"), rig.saw("down"), rig.client.rtt()), (0, 0, None));
}

#[test]
fn the_newest_of_several_pongs_settles_what_went_before_it() {
    let mut rig = Dialed::up(client(websocket()));
    rig.peer.answers = false;
    for text in ["one", "two", "three"] {
        rig.client.send(rig.now, message(text)).unwrap();
        rig.turn();
    }
    assert_eq!(rig.peer.pings().len(), 1, "one question at a time");
    rig.advance(10_000);
    let newest = newest_ping(&rig);
    rig.say(&Item::Pong(newest));
    assert_eq!(acknowledged(&rig), [Ticket(3)]);
    rig.peer.answers = true;
    rig.client.send(rig.now, message("four")).unwrap();
    rig.turn();
    assert_eq!(acknowledged(&rig), [Ticket(3), Ticket(4)], "each has its own question again");
}

#[test]
fn whoever_sends_a_long_message_hears_that_it_arrives() {
    let mut rig = Served::up(server(websocket()));
    rig.write(&[0x82, 0xfe, 0x40, 0, 0, 0, 0, 0]);
    for _ in 0..9 {
        rig.advance(1000);
        rig.write(&[7]);
    }
    assert!(!rig.peer.heard.iter().any(|(_, item)| matches!(item, Item::Pong(_))), "not asked, and not at once");
    for _ in 9..60 {
        rig.advance(1000);
        rig.write(&[7]);
    }
    let pongs = rig.peer.heard.iter().filter(|(_, item)| *item == Item::Pong(Control::EMPTY)).count();
    assert!((30..=60).contains(&pongs), "{pongs} unsolicited pongs in a minute");
    assert_eq!(rig.saw("suspect"), 0);
}

#[test]
fn without_beats_nothing_is_pinged_and_a_day_is_waited() {
    let mut rig = Dialed::up(client(websocket().beats(Beats::None)));
    rig.client.send(rig.now, message("one")).unwrap();
    rig.turn();
    assert_eq!(acknowledged(&rig), [Ticket(1)], "what has left counts as acknowledged");
    rig.advance(12 * 3_600_000);
    assert_eq!((rig.peer.pings().len(), rig.saw("suspect"), rig.saw("down")), (0, 0, 0));
    // A peer that talks now and then lives for ever; one that does not is dead after a day.
    for _ in 0..240 {
        rig.advance(10 * 60_000);
        rig.say(&Item::Message("still here".into()));
        assert_eq!((rig.saw("suspect"), rig.saw("down")), (0, 0));
    }
    rig.advance(24 * 3_600_000);
    assert_eq!((rig.peer.pings().len(), rig.saw("down")), (0, 0));
    rig.advance(10 * 60_000);
    assert!(rig.saw("down") > 0);
}

#[test]
fn a_server_without_beats_waits_a_day_too() {
    let mut rig = Served::up(server(websocket().beats(Beats::None)));
    for _ in 0..240 {
        rig.advance(10 * 60_000);
        rig.say(&Item::Message("still here".into()));
        assert_eq!((rig.saw("suspect"), rig.saw("offline")), (0, 0));
    }
    rig.advance(25 * 3_600_000);
    assert_eq!(rig.saw("offline"), 1);
}

#[test]
fn a_pong_that_nobody_asked_for_asks_for_nothing() {
    let mut rig = Dialed::up(client(websocket().beats(Beats::None)));
    rig.client.send(rig.now, message("one")).unwrap();
    rig.turn();
    rig.say(&Item::Pong(Control::new(&[0; 12]).unwrap()));
    assert_eq!(rig.peer.pings().len(), 0);
}

#[test]
fn every_ping_has_a_pong_of_its_own() {
    let mut rig = Served::up(server(websocket()));
    let pings: Vec<u8> = (0..20).flat_map(|number| [0x89, 0x81, 0, 0, 0, 0, number]).collect();
    rig.write(&pings);
    let pongs = rig.peer.heard.iter().filter_map(|(_, item)| match item {
        Item::Pong(payload) => Some(payload.as_slice().to_vec()),
        _ => None,
    });
    assert_eq!(pongs.collect::<Vec<_>>(), (0..20).map(|number| vec![number]).collect::<Vec<_>>());
}

#[test]
fn what_drains_without_acknowledgements_is_done_when_the_last_has_left() {
    let mut rig = Dialed::up(client(websocket().beats(Beats::None)));
    rig.client.send(rig.now, message("last")).unwrap();
    rig.client.drain(rig.now, SECOND * 60);
    rig.turn();
    rig.advance(1000);
    assert_eq!(rig.saw("closed"), 1);
}

#[test]
fn a_close_in_the_midst_of_a_greeting_ends_as_closed() {
    let mut rig = Dialed::up(client(websocket()).greeting());
    rig.advance(9500);
    rig.client.close(rig.now);
    assert!(rig.client.greet(rig.now, "too late".into()).is_err());
    rig.advance(2000);
    assert_eq!((rig.saw("closed"), rig.saw("down")), (1, 0));
}

#[test]
fn greetings_are_not_made_room_for_at_the_cost_of_messages() {
    let limits = QueueLimits::new(4, 1000).unwrap().overflow(Overflow::DropOldest);
    let mut outbox = Outbox::new(limits);
    for _ in 0..3 {
        outbox.push(Timestamp::ZERO, message("waits")).unwrap();
    }
    for _ in 0..4 {
        outbox.greet(Timestamp::ZERO, message("greets")).unwrap();
    }
    assert_eq!(outbox.overflow(5), None, "all that may go would not be enough");
    assert!(outbox.push(Timestamp::ZERO, message("too many")).is_err());
}

// Messages.

#[test]
fn a_cut_at_any_byte_loses_nothing_and_doubles_only_what_is_in_doubt() {
    for byte in (0..900).step_by(3) {
        let mut link: Link<Any> = Link::to(SERVER, client(websocket()), server(websocket()));
        link.next_flow = (byte, usize::MAX);
        link.client.open(link.now);
        for number in 0..20 {
            link.client.send(link.now, Message::text(number.to_string())).unwrap();
        }
        link.turn();
        link.cut();
        link.advance(5000);
        let ups = link.events.iter().filter_map(|(_, event)| match event {
            Event::Up { resumed, in_doubt, .. } => Some((*resumed, *in_doubt)),
            _ => None,
        });
        let ups: Vec<(bool, usize)> = ups.collect();
        assert!(ups.iter().all(|(resumed, _)| !resumed), "a foreigner has no session");
        let in_doubt = ups.iter().map(|(_, in_doubt)| in_doubt).sum::<usize>();
        let arrived = link.server_arrived();
        let lasts = (0..20).map(|number| arrived.iter().rposition(|text| *text == number.to_string()));
        let lasts: Vec<Option<usize>> = lasts.collect();
        assert!(lasts.iter().all(Option::is_some) && lasts.is_sorted(), "at byte {byte}: {arrived:?}");
        let doubled = arrived.len() - 20;
        assert!(doubled <= in_doubt, "at byte {byte}: {doubled} came twice, {in_doubt} were in doubt");
        assert_eq!(link.client.unacknowledged(), 0, "at byte {byte}");
    }
}

#[test]
fn a_greeting_goes_before_what_waits_on_every_connection() {
    let mut rig = Dialed::new(client(websocket()).greeting());
    for round in 0..3 {
        rig.client.send(rig.now, Message::text(format!("waits {round}"))).unwrap();
        rig.agree(None);
        assert_eq!(rig.peer.take(), [], "held back until the application has said who it is");
        rig.client.greet(rig.now, "it is I".into()).unwrap();
        rig.turn();
        rig.client.greeted(rig.now);
        rig.turn();
        let said: Vec<Item> = rig.peer.take();
        assert_eq!(said, ["it is I".into(), Message::text(format!("waits {round}"))].map(Item::Message));
        rig.end();
        while rig.open.is_none() {
            rig.advance(100);
        }
    }
    assert_eq!(acknowledged(&rig), [Ticket(1), Ticket(2), Ticket(3)]);
}

#[test]
fn the_session_of_a_foreigner_ends_with_its_connection() {
    let mut rig = Served::new(server(websocket()).grace(SECOND));
    rig.ask(&UpgradeRequest::new("/").unwrap());
    let device = online(&rig.events);
    rig.peer.answers = false;
    rig.server.send(rig.now, &device, "kept back".into()).unwrap();
    rig.turn();
    rig.end();
    let [.., (_, ServerEvent::Offline { .. }), (_, ServerEvent::SessionEnded { undelivered, .. })] = &rig.events[..]
    else {
        panic!("{:?}", rig.events)
    };
    assert_eq!(undelivered[..], [(Ticket(1), "kept back".into())]);
    let sent = rig.server.send(rig.now, &device, "late".into());
    assert!(matches!(sent, Err(SendError::Closed { .. })));
    assert_eq!(rig.server.poll_timeout(), None, "nothing of it is left");
}

// How connections begin.

#[test]
fn a_server_that_does_not_answer_the_request_is_given_up_in_time() {
    let mut rig = Dialed::new(client(websocket()));
    rig.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
    rig.advance(9_999);
    assert_eq!(rig.saw("down"), 0);
    rig.advance(1);
    assert_eq!(rig.downs()[0].1.cause, DownCause::HandshakeTimeout);
}

#[test]
fn a_client_that_does_not_finish_its_request_is_told_and_hung_up_on() {
    let mut rig = Served::new(server(websocket()));
    rig.ask(&UpgradeRequest::new("/").unwrap());
    rig.dial(0);
    rig.write(b"GET / HTTP/1.1\r\nHost: gate.exam");
    rig.advance(10_000);
    assert!(
        matches!(rig.events.last(), Some((10_000, ServerEvent::Rejected { cause, .. })) if *cause == DownCause::HandshakeTimeout)
    );
    rig.advance(1000);
    assert!(rig.hung_up.is_some_and(|at| at <= 11_000), "{:?}", rig.hung_up);
}

#[test]
fn a_redirect_is_for_people_to_follow() {
    let mut rig = Dialed::new(client(websocket()));
    rig.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: wss://b.example/live\r\n\r\n");
    let DownCause::Refused(goodbye) = &rig.downs()[0].1.cause else { panic!("{:?}", rig.events) };
    assert_eq!((goodbye.code, goodbye.reason), (Some(307), Reason::NotHere));
    assert!(goodbye.detail.contains("wss://b.example/live"), "{}", goodbye.detail);
    assert!(rig.client.state().is_over());
}

#[test]
fn what_does_not_speak_http_is_no_server_of_websocket() {
    for answer in [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 101 Ok\r\n\r\n"] {
        let mut rig = Dialed::new(client(websocket()));
        rig.write(answer);
        let cause = &rig.downs()[0].1.cause;
        assert!(matches!(cause, DownCause::Protocol(WireError::Malformed { .. })), "{cause:?}");
        assert!(matches!(rig.client.state(), LinkState::Waiting { .. }), "perhaps it does next time");
    }
}

#[test]
fn credentials_go_into_the_request_and_are_refreshed_after_a_401() {
    let mut rig = Dialed::new(client(websocket()).credentials("Bearer one"));
    let authorization = rig.peer.offer().header("Authorization").next().map(<[u8]>::to_vec);
    assert_eq!(authorization.as_deref(), Some(&b"Bearer one"[..]));
    rig.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n");
    assert!(rig.client.state().is_over(), "nobody has others");

    let mut rig = Dialed::new(client(websocket()).credentials_from_provider());
    rig.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n");
    while rig.open.is_none() {
        rig.advance(100);
    }
    assert_eq!(rig.fetched, [false, true]);
    let authorization = rig.peer.offer().header("Authorization").next().map(<[u8]>::to_vec);
    assert_eq!(authorization.as_deref(), Some(&b"Bearer 2"[..]));
    rig.agree(None);
    assert!(matches!(rig.client.state(), LinkState::Up { .. }));
}

#[test]
fn every_request_has_a_key_of_its_own() {
    let key = |rig: &Dialed| rig.peer.offer().header("Sec-WebSocket-Key").next().unwrap().to_vec();
    let mut rig = Dialed::new(client(websocket()));
    let first = key(&rig);
    rig.end();
    rig.advance(60_000);
    assert_ne!(first, key(&rig));
}

#[test]
fn a_client_whose_server_has_no_name_asks_nobody() {
    let config = client(websocket()).build().unwrap();
    let mut client = Client::new(std::sync::Arc::new(config), 1);
    client.open(at(0));
    while let Some(action) = client.poll_action() {
        if let keepbeat_core::client::Action::Connect { epoch } = action {
            client.handle_input(at(0), keepbeat_core::client::Input::Opened { epoch });
        }
    }
    let events: Vec<Event> = std::iter::from_fn(|| client.poll_event(at(0))).collect();
    assert!(matches!(&events[1], Event::Down { report, .. } if report.cause == DownCause::ServerUnnamed), "{events:?}");
}

#[test]
fn impossible_configurations_name_what_is_wrong() {
    use WebSocketConfigError as E;
    let config = |wire| client(wire).build();
    let slow = LivenessConfig::builder().interval(60 * SECOND).build().unwrap();
    let idle = client(websocket()).liveness(slow.clone()).build().unwrap_err().to_string();
    assert!(idle.contains("60s") && idle.contains("nginx"), "{idle}");
    assert!(client(websocket().idle_limit(None)).liveness(slow.clone()).build().is_ok());
    assert!(client(websocket().beats(Beats::None)).liveness(slow.clone()).build().is_ok(), "nothing beats");
    let (interval, limit) = (60 * SECOND, 60 * SECOND);
    let of_server = server(websocket()).liveness(slow).build().err();
    assert_eq!(of_server, Some(ServerConfigError::IdleLimit { interval, limit }));
    let granted = |shortest, wire| server(wire).intervals(shortest, 600 * SECOND).build().err();
    let shortest = 60 * SECOND;
    assert_eq!(
        granted(shortest, websocket()),
        Some(ServerConfigError::ShortestAboveIdleLimit { shortest, limit }),
        "whatever a device wishes"
    );
    assert_eq!(granted(shortest, websocket().idle_limit(None)), None);
    assert_eq!(granted(59 * SECOND, websocket()), None, "it may wish for less");
    assert!(client(websocket()).credentials(vec![0xff]).build().is_err(), "no header carries it");
    let own = websocket().header("authorization", "Basic YTpi");
    assert!(client(own.clone()).build().is_ok());
    assert!(client(own).credentials("Bearer one").build().is_err(), "one of two would be ignored");
    assert!(client(websocket().subprotocol("keepbeat.1")).credentials(vec![0xff]).build().is_ok(), "its hello does");
    assert!(config(websocket()).is_ok());

    let beats = |request: &'static str| Beats::Message { request: request.into(), reply: "pong".into() };
    for (wire, error) in [
        (websocket().path("live"), E::Path { path: "live".into() }),
        (websocket().path("/live?x"), E::Path { path: "/live?x".into() }),
        (websocket().page("page", "text/html", ""), E::Path { path: "page".into() }),
        (websocket().page("/", "text\nhtml", ""), E::ContentType { path: "/".into() }),
        (websocket().allow_origin("*"), E::Origin { origin: "*".into() }),
        (websocket().close_code(999, Reason::Closed), E::CloseCode { code: 999 }),
        (websocket().close_code(1006, Reason::Closed), E::CloseCode { code: 1006 }),
        (websocket().close_code(4000, Reason::Closed).close_code(4000, Reason::Busy), E::CloseCode { code: 4000 }),
        (websocket().beats(beats("")), E::EmptyBeat),
        (websocket().message_limit(0), E::Limits { message_limit: 0, hello_limit: 4096 }),
        (websocket().hello_limit(1), E::Limits { message_limit: 1 << 20, hello_limit: 1 }),
    ] {
        assert_eq!(wire.build().err(), Some(error));
    }
    for origin in [
        "",
        "gate.example",
        "https://gate.example/",
        "https://gate.example/live",
        "https://gate.example:443",
        "http://gate.example:080",
        "https://gate.example:https",
        "https://*.example",
        "https://me@gate.example",
        "https://gate.example https://other.example",
        "https://gäte.example",
        "https://",
        "://gate.example",
        "1http://gate.example",
        "NULL",
    ] {
        let error = websocket().allow_origin(origin).build().unwrap_err();
        assert_eq!(error, E::Origin { origin: origin.into() });
        assert!(error.to_string().contains("as in https://gate.example"), "{error}");
    }
    for origin in [
        "null",
        "https://gate.example",
        "HTTPS://Gate.example",
        "https://gate.example:8443",
        "https://gate.example:80",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://[::1]",
        "chrome-extension://abcdefghijklmnop",
        "capacitor://localhost",
    ] {
        assert!(websocket().allow_origin(origin).build().is_ok(), "{origin}");
    }
    for wire in [websocket().target("live"), websocket().header("Host", "x"), websocket().subprotocol("a b")] {
        assert!(matches!(wire.build(), Err(E::Request(_))));
    }
}

fn for_seeds(count: u64, test: impl Fn(u64) + Sync) {
    keepbeat_core::sim::for_each_seed_of("KEEPBEAT_SEEDS", count, test);
}

fn newest_ping(rig: &Dialed) -> Control {
    let pings = rig.peer.heard.iter().filter_map(|(_, item)| match item {
        Item::Ping(payload) => Some(payload.clone()),
        _ => None,
    });
    pings.last().expect("no ping came")
}

fn acknowledged(rig: &Dialed) -> Vec<Ticket> {
    let through = rig.events.iter().filter_map(|(_, event)| match event {
        Event::Acknowledged { through } => Some(*through),
        _ => None,
    });
    through.collect()
}
