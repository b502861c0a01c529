//! What a server must not say, what it says by refusing and leaving, and what follows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::Arc;

use common::mqtt::{Rig, client, id, mqtt, publication, publish, subscribe};
use keepbeat_core::DownCause;
use keepbeat_core::client::LinkState;
use keepbeat_core::wire::mqtt::{
    Ack, Authentication, ConnAck, Exchange, Notice, Packet, PacketType, Properties, Property, Publish, Qos, ReasonCode,
    Role, SubAck, Text, Version,
};
use keepbeat_core::wire::{Credentials, Reason};

const V3: Version = Version::V3;
const V5: Version = Version::V5;

const MALFORMED: ReasonCode = ReasonCode::MALFORMED_PACKET;
const PROTOCOL: ReasonCode = ReasonCode::PROTOCOL_ERROR;
const ALIAS: ReasonCode = ReasonCode::TOPIC_ALIAS_INVALID;

/// What a server says on an open connection, and what we disconnect with, where there is a word for it.
#[rustfmt::skip]
const BROKEN: &[(Version, &[u8], ReasonCode)] = &[
    // Malformed: fields, lengths, flags, reserved bits.
    (V5, b"\x40\x01\0", MALFORMED),
    (V5, b"\x40\x06\0\x01\0\x00\0\0", MALFORMED),
    (V3, b"\x40\x03\0\x01\0", MALFORMED),
    (V5, b"\xE0\x03\x00\0\0", MALFORMED),
    (V3, b"\xD0\x01\0", MALFORMED),
    (V5, b"\xD0\x01\0", MALFORMED),
    (V5, b"\x30\xFF\xFF\xFF\xFF\x01", MALFORMED),
    (V3, b"\x30\xFF\xFF\xFF\x80", MALFORMED),
    (V5, b"\x30\x83\x00\0\x01t", MALFORMED),
    (V5, b"\x30\x07\0\x01t\x03\x0B\x81\0", MALFORMED),
    (V3, b"\x30\x04\0\x02\xC3t", MALFORMED),
    (V5, b"\x30\x06\0\x03\xED\xA0\x80\0", MALFORMED),
    (V3, b"\x30\x03\0\x01\0", MALFORMED),
    (V5, b"\x00\x00", MALFORMED),
    (V3, b"\xF0\x00", MALFORMED),
    (V5, b"\x41", MALFORMED),
    (V3, b"\x60", MALFORMED),
    (V5, b"\x91", MALFORMED),
    (V5, b"\xD1", MALFORMED),
    (V5, b"\x36", MALFORMED),
    (V3, b"\x36", MALFORMED),
    (V5, b"\x30\x06\0\x01t\x02\x04\0", MALFORMED),
    (V5, b"\x30\x07\0\x01t\x03\x13\0\x01", MALFORMED),
    (V5, b"\xF0\x05\0\x03\x26\0\0", MALFORMED),
    // Protocol errors: packets that go the other way, identifiers, topics, properties, reason codes.
    (V5, b"\xC0\0", PROTOCOL),
    (V3, b"\xC0\0", PROTOCOL),
    (V5, b"\x82", PROTOCOL),
    (V3, b"\xA2", PROTOCOL),
    (V5, b"\x10", PROTOCOL),
    (V3, b"\xE0", PROTOCOL),
    (V5, b"\x32\x06\0\x01t\0\0\0", PROTOCOL),
    (V3, b"\x32\x05\0\x01t\0\0", PROTOCOL),
    (V5, b"\x40\x02\0\0", PROTOCOL),
    (V5, b"\x38\x04\0\x01t\0", PROTOCOL),
    (V3, b"\x38\x03\0\x01t", PROTOCOL),
    (V3, b"\x30\x02\0\0", PROTOCOL),
    (V5, b"\x30\x03\0\0\0", PROTOCOL),
    (V5, b"\x30\x06\0\x03a/#\0", PROTOCOL),
    (V3, b"\x30\x05\0\x03a/#", PROTOCOL),
    (V5, b"\x30\x08\0\x01t\x04\x08\0\x01+", PROTOCOL),
    (V5, b"\x30\x08\0\x01t\x04\x01\x01\x01\x01", PROTOCOL),
    (V5, b"\x30\x06\0\x01t\x02\x01\x02", PROTOCOL),
    (V5, b"\x30\x06\0\x01t\x02\x0B\0", PROTOCOL),
    (V5, b"\xE0\x07\0\x05\x11\0\0\0\x01", PROTOCOL),
    (V5, b"\x90\x03\0\x01\0", PROTOCOL),
    (V3, b"\x90\x03\0\x01\x03", PROTOCOL),
    (V5, b"\x40\x03\0\x01\x03", PROTOCOL),
    (V5, b"\x70\x03\0\x01\x80", PROTOCOL),
    (V5, b"\xE0\x01\x04", PROTOCOL),
    // Out of place.
    (V5, b"\x20\x03\0\0\0", PROTOCOL),
    (V3, b"\x20\x02\0\0", PROTOCOL),
    (V5, b"\xF0\x06\x18\x04\x15\0\x01m", PROTOCOL),
    (V5, b"\xF0\0", PROTOCOL),
    // Aliases: we take two.
    (V5, b"\x30\x07\0\x01t\x03\x23\0\0", ALIAS),
    (V5, b"\x30\x07\0\x01t\x03\x23\0\x03", ALIAS),
    (V5, b"\x30\x06\0\0\x03\x23\0\x01", ALIAS),
    // Larger than 1,000 bytes.
    (V5, b"\x30\xE8\x07", ReasonCode::PACKET_TOO_LARGE),
    (V3, b"\x30\xE8\x07", ReasonCode::PACKET_TOO_LARGE),
];

/// The link went down because the server broke the protocol; and what we said, up to that.
fn parted(rig: &mut Rig, what: &[u8]) -> Vec<Packet<'static>> {
    let downs = rig.downs();
    let is_breach = matches!(&downs[..], [(_, report)] if matches!(report.cause, DownCause::Protocol(_)));
    assert!(is_breach, "{what:02x?}: {downs:?}");
    assert_eq!(rig.saw("gave up"), 0);
    rig.take().into_iter().take_while(|packet| !matches!(packet, Packet::Connect(_))).collect()
}

#[test]
fn a_server_that_breaks_a_rule_is_told_which_and_left() {
    for (version, bytes, reason) in BROKEN {
        // All at once, and byte by byte.
        for size in [bytes.len(), 1] {
            let mut rig =
                Rig::up(*version, mqtt().topic_aliases(if *version == V5 { 2 } else { 0 }).message_limit(1000));
            bytes.chunks(size).for_each(|bytes| rig.write(bytes));
            rig.advance(1100);
            let said = parted(&mut rig, bytes);
            let expected = Packet::Disconnect(Notice::new(*reason));
            assert_eq!(said, if *version == V5 { vec![expected] } else { vec![] }, "{bytes:02x?}");
        }
    }
}

#[test]
fn the_same_before_the_server_has_let_us_in_ends_without_a_word() {
    // What is out of place on an open connection may be in its place here, and the other way round.
    let out_of_place: &[(Version, &[u8], ReasonCode)] = &[
        (V5, b"\xD0\0", PROTOCOL),
        (V3, b"\xD0\0", PROTOCOL),
        (V5, b"\x30\x04\0\x01t\0", PROTOCOL),
        (V3, b"\x40\x02\0\x01", PROTOCOL),
        (V5, b"\xF0\x06\x18\x04\x15\0\x01m", PROTOCOL),
        (V5, b"\x20\x03\x02\0\0", MALFORMED),
        (V5, b"\x20\x03\x01\x87\0", PROTOCOL),
        (V3, b"\x20\x02\0\x06", PROTOCOL),
        (V5, b"\x20\x06\0\0\x03\x21\0\0", PROTOCOL),
        (V5, b"\x20\x05\0\0\x02\x24\x02", PROTOCOL),
    ];
    let is_not_of_handshakes = |bytes: &[u8]| matches!(bytes, [0x20 | 0xE0, ..]);
    let broken = BROKEN.iter().filter(|(_, bytes, _)| !is_not_of_handshakes(bytes)).chain(out_of_place);
    for (version, bytes, _) in broken {
        let mut rig = Rig::new(*version, mqtt().message_limit(1000));
        rig.forget();
        rig.write(bytes);
        assert_eq!(rig.open, None, "{bytes:02x?}");
        assert_eq!(parted(&mut rig, bytes), [], "{bytes:02x?}");
    }
}

/// What becomes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    ComesBack,
    GivesUp,
}

const fn then(reason: Reason) -> Then {
    match reason {
        Reason::Unauthorized | Reason::Forbidden | Reason::UnsupportedVersion | Reason::NotHere => Then::GivesUp,
        _ => Then::ComesBack,
    }
}

/// What each code means in a CONNACK or DISCONNECT.
#[rustfmt::skip]
const MEANINGS: &[(u8, Reason)] = &[
    (0x00, Reason::GoingAway), (0x80, Reason::Failed), (0x81, Reason::Malformed), (0x82, Reason::Malformed),
    (0x83, Reason::Failed), (0x84, Reason::UnsupportedVersion), (0x85, Reason::Forbidden), (0x86, Reason::Unauthorized),
    (0x87, Reason::Unauthorized), (0x88, Reason::Busy), (0x89, Reason::Busy), (0x8A, Reason::Forbidden),
    (0x8B, Reason::GoingAway), (0x8C, Reason::Forbidden), (0x8D, Reason::TimedOut), (0x8E, Reason::Replaced),
    (0x8F, Reason::Malformed), (0x90, Reason::Malformed), (0x93, Reason::Malformed), (0x94, Reason::Malformed),
    (0x95, Reason::TooLarge), (0x96, Reason::Flood), (0x97, Reason::Busy), (0x98, Reason::Failed),
    (0x99, Reason::Malformed), (0x9A, Reason::NotHere), (0x9B, Reason::NotHere), (0x9C, Reason::GoingAway),
    (0x9D, Reason::GoingAway), (0x9E, Reason::NotHere), (0x9F, Reason::Busy), (0xA0, Reason::GoingAway),
    (0xA1, Reason::NotHere), (0xA2, Reason::NotHere),
];

#[test]
fn every_code_of_a_refusal_gives_up_or_comes_back() {
    let mut seen = 0;
    for (version, code) in [V3, V5].into_iter().flat_map(|version| (1..=255).map(move |code| (version, code))) {
        let Some(reason) = ReasonCode::new(code) else { continue };
        if !reason.is_for(PacketType::ConnAck, Role::Server, version) {
            continue;
        }
        let mut rig = Rig::new(version, mqtt());
        rig.say(&Packet::ConnAck(ConnAck::new(false, reason)));
        let (_, report) = rig.downs().pop().unwrap();
        let DownCause::Refused(goodbye) = report.cause else { panic!("{reason}: {:?}", report.cause) };
        let (_, meaning) = MEANINGS.iter().find(|(known, _)| *known == code).unwrap();
        assert_eq!((goodbye.reason, goodbye.code), (*meaning, Some(code.into())), "{reason}");
        // What is too large in our CONNECT will be so in the next.
        let expected = if *meaning == Reason::TooLarge { Then::GivesUp } else { then(*meaning) };
        let came = if rig.saw("gave up") == 1 { Then::GivesUp } else { Then::ComesBack };
        assert_eq!((came, rig.open), (expected, None), "{reason}");
        assert_eq!(came == Then::ComesBack, matches!(rig.client.state(), LinkState::Waiting { .. }), "{reason}");
        seen += 1;
    }
    assert_eq!(seen, 5 + 21, "refusals of 3.1.1 and of 5.0");
}

#[test]
fn a_server_that_knows_the_older_version_alone_refuses_in_its_own_words() {
    // All at once, and byte by byte.
    for size in [4, 1] {
        let mut rig = Rig::new(V5, mqtt());
        b"\x20\x02\0\x01".chunks(size).for_each(|bytes| rig.write(bytes));
        let (_, report) = rig.downs().pop().unwrap();
        let DownCause::Refused(goodbye) = report.cause else { panic!("{:?}", report.cause) };
        assert_eq!((goodbye.reason, goodbye.code), (Reason::UnsupportedVersion, Some(0x84)));
        assert_eq!((rig.saw("gave up"), rig.open), (1, None));
    }
}

#[test]
fn every_code_of_a_disconnect_gives_up_or_comes_back() {
    let mut seen = 0;
    for (code, meaning) in MEANINGS {
        let reason = ReasonCode::new(*code).unwrap();
        if !reason.is_for(PacketType::Disconnect, Role::Server, V5) {
            continue;
        }
        let mut rig = Rig::up(V5, mqtt());
        let text = Property::ReasonString(Text::new("so it is").unwrap());
        let properties = Properties::NONE.with(&text).unwrap();
        rig.say(&Packet::Disconnect(Notice { reason, properties }));
        rig.advance(1100);
        let (_, report) = rig.downs().remove(0);
        let DownCause::Goodbye(goodbye) = report.cause else { panic!("{reason}: {:?}", report.cause) };
        assert_eq!((goodbye.reason, goodbye.code), (*meaning, Some((*code).into())), "{reason}");
        assert!(goodbye.detail.ends_with("so it is"), "{goodbye}");
        let came = if rig.saw("gave up") == 1 { Then::GivesUp } else { Then::ComesBack };
        assert_eq!(came, then(*meaning), "{reason}");
        assert!(!rig.heard.iter().any(|(_, packet)| matches!(packet, Packet::Disconnect(_))), "it is not answered");
        seen += 1;
    }
    assert_eq!(seen, 29);
}

#[derive(Debug)]
struct Password;

/// Answers "who?" with the credentials, and expects "welcome".
struct Steps(Vec<u8>);

impl Authentication for Password {
    fn method(&self) -> &str {
        "plain"
    }

    fn begin(&self, credentials: &Credentials) -> Box<dyn Exchange> {
        Box::new(Steps(credentials.as_bytes().to_vec()))
    }
}

impl Exchange for Steps {
    fn first(&mut self) -> Vec<u8> {
        b"hello".to_vec()
    }

    fn answer(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        (challenge == b"who?").then(|| self.0.clone())
    }

    fn finish(&mut self, last: &[u8]) -> bool {
        last == b"welcome"
    }
}

fn said(method: &str, data: &[u8]) -> Properties<'static> {
    let properties = Properties::NONE.with(&Property::AuthenticationMethod(Text::new(method).unwrap())).unwrap();
    properties.with(&Property::AuthenticationData(data)).unwrap().into_owned()
}

fn challenge(method: &str, data: &[u8]) -> Packet<'static> {
    Packet::Auth(Notice { reason: ReasonCode::CONTINUE_AUTHENTICATION, properties: said(method, data) })
}

fn authenticating() -> Rig {
    Rig::of(V5, client(mqtt().version(V5).authentication(Arc::new(Password))).credentials("secret"))
}

#[test]
fn client_and_server_prove_who_they_are() {
    let mut rig = authenticating();
    let [Packet::Connect(connect)] = &rig.take()[..] else { panic!("one CONNECT") };
    assert_eq!(connect.password, None, "the credentials are the method's");
    let first = connect.properties.iter().find(|property| matches!(property, Property::AuthenticationData(_)));
    assert_eq!(first, Some(Property::AuthenticationData(b"hello")));
    rig.say(&challenge("plain", b"who?"));
    let step = Notice { reason: ReasonCode::CONTINUE_AUTHENTICATION, properties: said("plain", b"secret") };
    assert_eq!(rig.take(), [Packet::Auth(step)]);
    rig.accept_with(false, said("plain", b"welcome"));
    assert_eq!(rig.saw("up"), 1);
}

#[test]
fn an_authentication_that_fails_is_no_connection() {
    for (what, packets) in [
        ("another method", vec![challenge("other", b"who?")]),
        ("a challenge that is none", vec![challenge("plain", b"what?")]),
        ("a server that does not prove who it is", vec![challenge("plain", b"who?"), welcome(b"me")]),
        ("a server that proves nothing", vec![Packet::ConnAck(ConnAck::new(false, ReasonCode::SUCCESS))]),
        (
            "success before its time",
            vec![Packet::Auth(Notice { reason: ReasonCode::SUCCESS, properties: said("plain", b"who?") })],
        ),
    ] {
        let mut rig = authenticating();
        packets.iter().for_each(|packet| rig.say(packet));
        assert_eq!((rig.saw("up"), rig.downs().len(), rig.open), (0, 1, None), "{what}");
    }
    // And where nobody asked for it.
    let mut rig = Rig::new(V5, mqtt());
    rig.say(&challenge("plain", b"who?"));
    assert_eq!((rig.downs().len(), rig.open), (1, None));
}

fn welcome(data: &[u8]) -> Packet<'static> {
    let properties = said("plain", data);
    Packet::ConnAck(ConnAck { session_present: false, reason: ReasonCode::SUCCESS, properties })
}

#[test]
fn acknowledgements_of_nothing_do_no_harm() {
    for version in [V3, V5] {
        let mut rig = Rig::up(version, mqtt());
        let ack = || Ack::new(id(77));
        let reasons = || vec![ReasonCode::SUCCESS; if version == V5 { 1 } else { 0 }];
        for packet in [
            Packet::PubAck(ack()),
            Packet::PubComp(ack()),
            Packet::SubAck(SubAck::new(id(77), vec![ReasonCode::SUCCESS])),
            Packet::UnsubAck(SubAck::new(id(77), reasons())),
            Packet::PingResp,
        ] {
            rig.say(&packet);
            assert_eq!((rig.take(), rig.events.len(), rig.open.is_some()), (vec![], 0, true), "{packet:?}");
        }
        // These are answered, so that the server can forget the identifier (MQTT 5.0, sections 3.6.2.1 and 3.7.2.1).
        let reason = if version == V5 { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND } else { ReasonCode::SUCCESS };
        rig.say(&Packet::PubRec(ack()));
        assert_eq!(rig.take(), [Packet::PubRel(Ack { reason, ..ack() })]);
        rig.say(&Packet::PubRel(ack()));
        assert_eq!(rig.take(), [Packet::PubComp(Ack { reason, ..ack() })]);
        assert_eq!((rig.events.len(), rig.open.is_some()), (0, true));
    }
}

#[test]
fn acknowledgements_of_the_wrong_kind_settle_nothing() {
    for version in [V3, V5] {
        let mut rig = Rig::up(version, mqtt());
        rig.send(publish("a", "1", Qos::AtLeastOnce));
        rig.send(publish("a", "2", Qos::ExactlyOnce));
        rig.send(subscribe("a", Qos::AtLeastOnce));
        for number in 1..=3 {
            rig.say(&Packet::PubComp(Ack::new(id(number))));
        }
        rig.say_all(&[Packet::PubAck(Ack::new(id(2))), Packet::PubAck(Ack::new(id(3)))]);
        rig.say(&Packet::SubAck(SubAck::new(id(1), vec![ReasonCode::SUCCESS])));
        assert_eq!((rig.events.len(), rig.client.unacknowledged()), (0, 3));
        rig.say_all(&[
            Packet::PubAck(Ack::new(id(1))),
            Packet::PubRec(Ack::new(id(2))),
            Packet::PubComp(Ack::new(id(2))),
            Packet::SubAck(SubAck::new(id(3), vec![ReasonCode::SUCCESS])),
        ]);
        assert_eq!(rig.client.unacknowledged(), 0);
    }
}

#[test]
fn an_answer_with_the_wrong_count_or_of_the_wrong_kind_ends_the_connection() {
    for answer in [
        Packet::SubAck(SubAck::new(id(1), vec![ReasonCode::SUCCESS; 2])),
        Packet::UnsubAck(SubAck::new(id(1), vec![ReasonCode::SUCCESS])),
    ] {
        let mut rig = Rig::up(V5, mqtt());
        rig.send(subscribe("a", Qos::AtLeastOnce));
        rig.forget();
        rig.say(&answer);
        assert_eq!(rig.take(), [Packet::Disconnect(Notice::new(PROTOCOL))]);
        assert_eq!(rig.client.unacknowledged(), 1, "it is asked again");
    }
}

#[test]
fn a_server_sends_no_more_than_we_said_we_take() {
    let come = |number| {
        Packet::Publish(Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(number)), ..publication("in", "x") })
    };
    let mut rig = Rig::up(V5, mqtt().receive_maximum(2));
    rig.looks = false;
    rig.say_all(&[come(1), come(2)]);
    assert_eq!((rig.take(), rig.open.is_some()), (vec![], true));
    rig.say(&come(3));
    assert_eq!(rig.take(), [Packet::Disconnect(Notice::new(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED))]);
    // What was acknowledged does not count, and neither does what came on an earlier connection and does not come again.
    let mut rig = Rig::up(V5, mqtt().receive_maximum(2));
    rig.say_all(&[come(1), come(2)]);
    rig.say(&come(3));
    assert_eq!(rig.saw("message"), 3);
    rig.looks = false;
    rig.say_all(&[come(4), come(5)]);
    rig.cut();
    rig.accept(true);
    rig.heard.clear();
    rig.say_all(&[come(6), come(7)]);
    assert_eq!((rig.take(), rig.open.is_some()), (vec![], true), "the server has let go of the others");
}
