//! Links over MQTT in the messages of a WebSocket: the request, refusals, packets that are cut anywhere, the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::mqtt::{Rig, Transport, client, id, mqtt, publication, publish, subscribe};
use common::mqtt_front::{Upgrade, frame};
use common::websocket::{SERVER, close, websocket};
use common::{SECOND, liveness};
use keepbeat_core::client::{ClientConfigBuilder, Event, LinkState};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::DeathCause;
use keepbeat_core::session::{Message, QueueLimits};
use keepbeat_core::wire::Reason;
use keepbeat_core::wire::mqtt::{
    Ack, ConnAck, Mqtt, MqttConfigError, Notice, Packet, Properties, Publish, Qos, ReasonCode, Version,
};
use keepbeat_core::wire::websocket::upgrade::{RequestError, refuse};
use keepbeat_core::wire::websocket::{Beats, Control, Item};
use keepbeat_core::{DownCause, DownReport};

fn over(answer: Upgrade) -> Transport {
    Transport { websocket: Some(answer), cuts: None }
}

fn agreed() -> Transport {
    over(Upgrade::Agree(Some("mqtt")))
}

fn config() -> ClientConfigBuilder<Mqtt> {
    client(mqtt().over_websocket(websocket().build().unwrap()))
}

/// A link that has sent CONNECT.
fn open() -> Rig {
    Rig::over(agreed(), Version::V5, config())
}

/// A link that is up.
fn up() -> Rig {
    let mut rig = open();
    rig.accept(false);
    rig.forget();
    rig
}

fn refused(answer: Upgrade) -> Rig {
    Rig::over(over(answer), Version::V5, config())
}

fn down(rig: &Rig) -> DownReport {
    let [(_, report)] = &rig.downs()[..] else { panic!("{:?}", rig.events) };
    report.clone()
}

/// What the client said behind all packets.
fn close_code(rig: &Rig) -> Option<u16> {
    rig.front().close.as_ref().and_then(|close| close.code()).map(|code| code.get())
}

fn large(payload: &str) -> Packet<'_> {
    Packet::Publish(publication("in", payload))
}

#[test]
fn the_request_offers_mqtt_and_the_password_stays_in_connect() {
    let below = websocket().target("/mqtt?a").header("X-Site", "7").build().unwrap();
    let config = client(mqtt().user_name("me").over_websocket(below)).credentials("secret");
    let mut rig = Rig::over(agreed(), Version::V5, config);
    let offer = rig.front().offer.as_ref().unwrap();
    assert_eq!((offer.target(), offer.host()), ("/mqtt?a", SERVER.trim_end_matches(":80")));
    assert_eq!(offer.subprotocols().collect::<Vec<_>>(), ["mqtt"]);
    assert_eq!(offer.header("X-Site").collect::<Vec<_>>(), [b"7"]);
    assert_eq!(offer.header("Authorization").count(), 0);
    let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
    assert_eq!(connect.password.as_deref(), Some(&b"secret"[..]));
}

#[test]
fn nothing_is_said_before_the_server_agrees() {
    let mut rig = refused(Upgrade::Bytes(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1".to_vec()));
    rig.advance(5_000);
    assert!(rig.heard.is_empty() && rig.open.is_some());
    rig.advance(60_000);
    assert!(matches!(rig.downs()[0].1.cause, DownCause::HandshakeTimeout));
}

#[test]
fn what_is_behind_the_answer_in_the_same_read_is_heard() {
    for seed in 0..50 {
        let cuts = if seed == 0 { None } else { Some(seed) };
        let mut bytes = Vec::new();
        frame(0x89, b"early", &mut bytes);
        // Before CONNECT was read, this is odd; but nobody can tell.
        frame(0x82, &[0x20, 3, 0, 0, 0], &mut bytes);
        let rig = Rig::over(Transport { cuts, ..over(Upgrade::AgreeAndSay(bytes)) }, Version::V5, config());
        assert_eq!(rig.front().pongs, [Control::new(b"early").unwrap()]);
        assert_eq!(rig.saw("up"), 1);
    }
}

#[test]
fn a_refusal_says_whether_and_when_to_come_back() {
    for (status, retry_after, reason, comes_back) in [
        (401, None, Reason::Unauthorized, false),
        (403, None, Reason::Forbidden, false),
        (404, None, Reason::NotHere, false),
        (429, None, Reason::Busy, true),
        (503, Some(7 * SECOND), Reason::Busy, true),
    ] {
        let rig = refused(Upgrade::Bytes(refuse(status, retry_after)));
        let DownCause::Refused(goodbye) = down(&rig).cause else { panic!("{:?}", rig.events) };
        assert_eq!((goodbye.code, goodbye.reason), (Some(status), reason));
        assert_eq!(goodbye.retry_after_ms, if retry_after.is_some() { 7000 } else { 0 });
        assert_eq!(matches!(rig.client.state(), LinkState::Waiting { .. }), comes_back, "{status}");
        assert!(rig.heard.is_empty(), "nothing of MQTT was said");
    }
}

#[test]
fn an_answer_that_is_no_websocket_for_mqtt_ends_the_connection() {
    let mut rig = refused(Upgrade::Agree(None));
    assert_eq!(close_code(&rig), Some(1002));
    assert!(rig.heard.is_empty(), "nothing of MQTT was said");
    rig.end();
    assert!(down(&rig).cause.to_string().contains("sub-protocol mqtt"), "{}", down(&rig).cause);
    assert!(matches!(rig.client.state(), LinkState::Waiting { .. }));

    let rig = refused(Upgrade::Bytes(b"SSH-2.0-OpenSSH_9.7\r\n".to_vec()));
    assert!(down(&rig).cause.to_string().contains("does not speak HTTP/1"), "{}", down(&rig).cause);
}

#[test]
fn the_same_script_gives_the_same_events_and_packets_as_over_tcp() {
    let seeds = std::env::var("KEEPBEAT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    let first = std::env::var("KEEPBEAT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..seeds, |seed| seed..seed + 1);
    for seed in seeds {
        for version in [Version::V3, Version::V5] {
            let tcp = played(seed, version, Transport { cuts: Some(seed), ..Transport::default() }, client(mqtt()));
            let websocket = played(seed, version, Transport { cuts: Some(seed), ..agreed() }, config());
            assert!(tcp.iter().flatten().count() > 30, "there was something to compare");
            for (step, both) in tcp.iter().zip(&websocket).enumerate() {
                assert_eq!(both.0, both.1, "KEEPBEAT_SEED={seed}, {version:?}, step {step}");
            }
        }
    }
}

/// What came of each step of a script, whatever its order: that depends on how reads are cut.
fn played(seed: u64, version: Version, transport: Transport, config: ClientConfigBuilder<Mqtt>) -> Vec<Vec<String>> {
    let wire = if transport.websocket.is_some() { mqtt().over_websocket(websocket().build().unwrap()) } else { mqtt() };
    let config = config.wire(wire.version(version).build().unwrap());
    let mut rig = Rig::over(transport, version, config);
    let mut script = Prng::new(seed ^ 0x5C21);
    let (mut steps, mut next) = (Vec::new(), 0);
    rig.accept(false);
    rig.answers = true;
    for _ in 0..40 {
        let payload = "x".repeat([0, 1, 90, 200, 5000, 70_000][script.between(0, 5) as usize]);
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][script.between(0, 2) as usize];
        match script.between(0, 5) {
            0 => rig.send(publish("out", &payload, qos)),
            1 => rig.send(subscribe("in/#", qos)),
            2 => {
                for number in 0..20 {
                    rig.client.send(rig.now, publish("out", &format!("{number}"), qos)).unwrap();
                }
                rig.turn();
            }
            3 => {
                let come = |number: u16| {
                    let packet_id = (qos != Qos::AtMostOnce).then(|| id(number));
                    Packet::Publish(Publish { qos, packet_id, ..publication("in", &payload) })
                };
                next += 3;
                rig.say_all(&[come(next), come(next + 1), come(next + 2)]);
            }
            4 => rig.advance(12_000),
            _ => {
                rig.answers = false;
                rig.cut();
                rig.accept(script.between(0, 1) == 0);
                rig.answers = true;
                rig.turn();
            }
        }
        rig.advance(4_000);
        let acknowledged = rig.events.iter().rev().find(|(_, event)| matches!(event, Event::Acknowledged { .. }));
        let others = rig.events.iter().filter(|(_, event)| !matches!(event, Event::Acknowledged { .. }));
        let mut step: Vec<_> = acknowledged.into_iter().chain(others).map(|event| format!("{event:?}")).collect();
        let mut heard: Vec<_> = rig.heard.iter().map(|heard| format!("{heard:?}")).collect();
        heard.sort();
        step.extend(heard);
        steps.push(step);
        rig.forget();
    }
    steps
}

#[test]
fn a_large_message_leaves_as_one() {
    let mut rig = up();
    let payload = "0123456789".repeat(30_000);
    rig.send(publish("out", &payload, Qos::AtMostOnce));
    let [Packet::Publish(publish)] = &rig.take()[..] else { panic!("one PUBLISH") };
    assert!(*publish.payload == *payload.as_bytes());
    assert_eq!(rig.front().messages.len(), 2, "CONNECT, and this");
}

#[test]
fn a_beat_is_a_ping_of_mqtt() {
    let mut rig = up();
    rig.advance(10_000);
    assert_eq!(rig.take(), [Packet::PingReq]);
    rig.say(&Packet::PingResp);
    rig.advance(10_000);
    assert_eq!((rig.take(), rig.downs().len()), (vec![Packet::PingReq], 0));
    rig.advance(20_000);
    assert!(matches!(rig.downs()[0].1.cause, DownCause::Dead(DeathCause::NoReply)));
}

#[test]
fn a_ping_in_the_middle_of_a_packet_is_answered_at_once() {
    let mut rig = up();
    let packet = [&[0x30, 0x06, 0, 1, b'a', 0][..], b"hi"].concat();
    for cut in 1..packet.len() {
        let mut bytes = Vec::new();
        frame(0x82, &packet[..cut], &mut bytes);
        rig.write(&bytes);
        rig.say_item(&Item::Ping(Control::new(&[cut as u8]).unwrap()));
        assert_eq!(rig.front().pongs.last().map(Control::as_slice), Some(&[cut as u8][..]));
        bytes.clear();
        // A fragment, a ping, and the last fragment.
        frame(0x02, &packet[cut..=cut], &mut bytes);
        frame(0x89, b"within", &mut bytes);
        frame(0x80, &packet[cut + 1..], &mut bytes);
        rig.write(&bytes);
        assert_eq!(rig.front().pongs.last().map(Control::as_slice), Some(&b"within"[..]));
        rig.advance(1000);
    }
    assert_eq!(rig.messages(), vec!["hi"; packet.len() - 1]);
}

#[test]
fn a_server_that_pings_without_end_is_not_served_without_end() {
    let mut rig = up();
    let mut bytes = Vec::new();
    (0..1000).for_each(|_| frame(0x89, b"?", &mut bytes));
    rig.write(&bytes);
    assert!(rig.front().pongs.len() <= 33, "{}", rig.front().pongs.len());
    rig.end();
    assert!(matches!(down(&rig).cause, DownCause::Flood));
}

#[test]
fn a_packet_that_does_not_end_is_too_slow_whatever_messages_and_pings_it_comes_in() {
    let mut rig = up();
    let mut bytes = Vec::new();
    frame(0x82, &[0x30, 0xE8, 0x07, 0, 1, b'a', 0], &mut bytes);
    rig.write(&bytes);
    while rig.downs().is_empty() && rig.open.is_some() {
        assert!(rig.now.as_millis() < 120_000, "a packet that never ends goes on and on");
        bytes.clear();
        frame(0x82, b"x", &mut bytes);
        rig.write(&bytes);
        rig.say_item(&Item::Ping(Control::EMPTY));
        rig.advance(500);
    }
    assert!(matches!(down(&rig).cause, DownCause::Dead(DeathCause::FrameTooSlow)));

    let mut rig = up();
    bytes.clear();
    frame(0x82, &[0x30, 6, 0, 1, b'a', 0], &mut bytes);
    rig.write(&bytes);
    for _ in 0..400 {
        rig.advance(500);
        bytes.clear();
        // One ends, the next begins, and none lasts long.
        frame(0x82, &[b'x', b'x', 0xD0, 0, 0x30, 6, 0, 1, b'a', 0], &mut bytes);
        rig.write(&bytes);
    }
    assert_eq!((rig.messages().len(), rig.downs().len()), (400, 0));
}

#[test]
fn what_has_no_room_waits_in_its_message() {
    let limits = || QueueLimits::new(3, 1 << 20).unwrap();
    for cuts in [None, Some(1), Some(2)] {
        let mut rig = Rig::over(Transport { cuts, ..agreed() }, Version::V5, config().inbox(limits()));
        rig.accept(false);
        rig.forget();
        rig.looks = false;
        let payloads: Vec<_> = (0..20).map(|number| format!("{number}")).collect();
        rig.say_all(&payloads.iter().map(|payload| large(payload)).collect::<Vec<_>>());
        assert!(!rig.client.wants_read());
        rig.looks = true;
        rig.turn();
        assert_eq!(rig.messages(), payloads);
    }
}

#[test]
fn a_text_message_is_answered_with_its_code() {
    let mut rig = up();
    rig.say_item(&Item::Message(Message::text("x")));
    assert_eq!(close_code(&rig), Some(1003));
    assert_eq!(rig.take(), [Packet::Disconnect(Notice::new(ReasonCode::PROTOCOL_ERROR))]);
    rig.end();
    assert!(matches!(down(&rig).cause, DownCause::Protocol(_)));
    assert!(matches!(rig.client.state(), LinkState::Waiting { .. }));
}

#[test]
fn violations_of_either_protocol_are_answered_with_the_codes_of_both() {
    let mut too_long = Vec::new();
    frame(0x82, &[0x30, 0x80, 0x80, 0x80, 0x01], &mut too_long);
    for (bytes, reason, code) in [
        // A reserved opcode; a message above the limit; PINGREQ of a server; a packet above the limit.
        (&[0x83, 0][..], ReasonCode::PROTOCOL_ERROR, 1002),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 1], ReasonCode::PACKET_TOO_LARGE, 1009),
        (&[0x82, 2, 0xC0, 0], ReasonCode::PROTOCOL_ERROR, 1002),
        (&too_long, ReasonCode::PACKET_TOO_LARGE, 1009),
    ] {
        let mut rig = up();
        rig.write(bytes);
        assert_eq!(close_code(&rig), Some(code), "{bytes:?}");
        assert_eq!(rig.take(), [Packet::Disconnect(Notice::new(reason))], "{bytes:?}");
        assert!(rig.open.is_some(), "the server hangs up first");
        rig.write(&[0x88, 0]);
        rig.end();
        assert!(matches!(down(&rig).cause, DownCause::Protocol(_)), "{bytes:?}");
    }
}

#[test]
fn many_small_packets_may_come_in_a_message_that_is_larger_than_a_packet_may_be() {
    let wire = mqtt().message_limit(64).over_websocket(websocket().message_limit(10_000).build().unwrap());
    let mut rig = Rig::over(agreed(), Version::V5, client(wire));
    rig.accept(false);
    rig.say_all(&vec![large("x"); 500]);
    assert_eq!((rig.messages().len(), rig.downs().len()), (500, 0));
}

#[test]
fn the_end_is_said_in_both_protocols() {
    let mut rig = up();
    rig.client.close(rig.now);
    rig.turn();
    assert_eq!(rig.take(), [Packet::Disconnect(Notice::new(ReasonCode::SUCCESS))]);
    assert_eq!(close_code(&rig), Some(1000));
    rig.say_item(&close(1000));
    rig.end();
    assert_eq!(rig.names(), ["closed"]);
}

#[test]
fn a_close_is_answered_and_says_whether_to_come_back() {
    for (code, reason, comes_back) in [
        (1000, Reason::Closed, false),
        (1001, Reason::GoingAway, true),
        (1008, Reason::Forbidden, false),
        (1011, Reason::Failed, true),
        (1013, Reason::Busy, true),
        (4401, Reason::Unauthorized, false),
    ] {
        for is_up in [true, false] {
            let below = websocket().close_code(4401, Reason::Unauthorized).build().unwrap();
            let mut rig = Rig::over(agreed(), Version::V5, client(mqtt().over_websocket(below)));
            if is_up {
                rig.accept(false);
            }
            rig.forget();
            rig.say_item(&close(code));
            assert_eq!(close_code(&rig), Some(code));
            assert!(rig.heard.is_empty(), "behind a close, nobody reads a DISCONNECT");
            rig.end();
            let (DownCause::Goodbye(goodbye) | DownCause::Refused(goodbye)) = down(&rig).cause else {
                panic!("{:?}", rig.events)
            };
            assert_eq!((goodbye.code, goodbye.reason), (Some(code), reason));
            assert_eq!(matches!(rig.client.state(), LinkState::Waiting { .. }), comes_back, "{code}");
        }
    }
}

#[test]
fn a_server_that_says_the_end_in_mqtt_gets_a_close() {
    let mut rig = up();
    rig.say(&Packet::Disconnect(Notice::new(ReasonCode::SERVER_SHUTTING_DOWN)));
    assert_eq!(close_code(&rig), Some(1000));
    rig.end();
    assert!(matches!(down(&rig).cause, DownCause::Goodbye(goodbye) if goodbye.reason == Reason::GoingAway));

    let mut rig = open();
    let (reason, properties) = (ReasonCode::NOT_AUTHORIZED, Properties::NONE);
    rig.say(&Packet::ConnAck(ConnAck { session_present: false, reason, properties }));
    assert_eq!(close_code(&rig), Some(1000));
    rig.end();
    assert!(matches!(down(&rig).cause, DownCause::Refused(goodbye) if goodbye.reason == Reason::Unauthorized));
}

#[test]
fn what_is_in_flight_survives_a_websocket() {
    let mut rig = up();
    rig.send(publish("out", "1", Qos::AtLeastOnce));
    rig.cut();
    rig.accept(true);
    let [.., Packet::Publish(again)] = &rig.take()[..] else { panic!("a PUBLISH") };
    assert_eq!((again.dup, again.packet_id), (true, Some(id(1))));
    rig.say(&Packet::PubAck(Ack::new(id(1))));
    assert_eq!(rig.saw("acknowledged"), 1);
}

#[test]
fn settings_that_are_not_for_mqtt_are_refused() {
    let built = |below: keepbeat_core::wire::websocket::WebSocketConfigBuilder| {
        mqtt().over_websocket(below.build().unwrap()).build().map(|_| ())
    };
    let refused = |setting| Err(MqttConfigError::WebSocket { setting });
    assert_eq!(built(websocket()), Ok(()));
    assert_eq!(built(websocket().subprotocol("mqtt")), Ok(()));
    assert_eq!(built(websocket().subprotocol("mqtt").subprotocol("mqttv3.1")), refused("subprotocol"));
    assert_eq!(built(websocket().beats(Beats::None)), refused("beats"));
    let full = websocket().header("X-Long", "x".repeat((16 << 10) - 430));
    assert_eq!(built(full), Err(MqttConfigError::Request(RequestError::TooLong)));
}

#[test]
fn a_beat_must_be_faster_than_what_forgets_a_websocket() {
    let slow = || liveness().interval(70 * SECOND).build().unwrap();
    assert!(config().liveness(slow()).build().is_err());
    assert!(client(mqtt()).liveness(slow()).build().is_ok());
    let below = websocket().idle_limit(None).build().unwrap();
    assert!(client(mqtt().over_websocket(below)).liveness(slow()).build().is_ok());
}

#[test]
fn a_server_that_nobody_named_is_not_asked() {
    use keepbeat_core::client::{Action, Client, Input};
    use keepbeat_core::time::Timestamp;
    let mut client = Client::<Mqtt>::new(config().build().unwrap().into(), 1);
    client.open(Timestamp::ZERO);
    let Some(Action::Connect { epoch }) = client.poll_action() else { panic!("an attempt begins") };
    client.handle_input(Timestamp::ZERO, Input::Opened { epoch });
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event(Timestamp::ZERO)).collect();
    assert!(
        events.iter().any(
            |event| matches!(event, Event::Down { report, .. } if matches!(report.cause, DownCause::ServerUnnamed))
        )
    );
}

#[cfg(feature = "deflate")]
#[test]
fn messages_are_compressed_in_both_directions_if_both_want_it() {
    use keepbeat_core::wire::mqtt::{Outgoing, Role};
    use keepbeat_core::wire::websocket::deflate::DeflateConfig;
    let below = websocket().deflate(DeflateConfig::default()).build().unwrap();
    let mut rig = Rig::over(agreed(), Version::V5, client(mqtt().over_websocket(below)));
    rig.accept(false);
    rig.forget();
    let payload = "the same again, ".repeat(20_000);
    rig.send(publish("out", &payload, Qos::AtMostOnce));
    let [Packet::Publish(publish)] = &rig.take()[..] else { panic!("one PUBLISH") };
    assert!(*publish.payload == *payload.as_bytes());
    assert!(rig.front().bytes < 20_000, "{} bytes came", rig.front().bytes);
    rig.say(&large("not compressed"));
    let mut packet = bytes::BytesMut::new();
    Outgoing::new(Role::Server, Version::V5).encode(&large(&payload), &mut packet).unwrap();
    rig.say_item(&Item::Message(Message::binary(packet)));
    assert!(rig.front().said < 20_000, "{} bytes were said", rig.front().said);
    assert_eq!(rig.messages(), ["not compressed", &payload]);
}
