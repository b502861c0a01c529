//! MQTT, as the script speaks it: packets for frames, packets as bytes, and packets as lines of a trace.

use keepbeat_core::session::Message;
use keepbeat_core::wire::mqtt::{
    Ack, Answer, ConnAck, Filter, Notice, Outgoing, Packet, PacketId, Property, Publish, Qos, ReasonCode, Role, Topic,
    Version,
};
use keepbeat_core::wire::{Frame, Reason, Tx};

use crate::network::Way;
use crate::speaker::{taken, wrapped};
use crate::words;

/// Where messages are published, unless a scenario is about topics.
pub(crate) const TOPIC: &str = "suite";

pub(crate) fn topic(name: &str) -> Topic<'_> {
    Topic::new(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap_or_else(|| panic!("identifiers begin at 1"))
}

/// A packet as it goes over the wire from the script.
pub(crate) fn packet_bytes(way: Way, packet: &Packet<'_>) -> Vec<u8> {
    let mut tx = Tx::default();
    let outgoing = Outgoing::new(Role::Server, Version::V5);
    outgoing.send(packet, &mut tx).unwrap_or_else(|error| panic!("{error}"));
    wrapped(way, Role::Server, taken(&mut tx))
}

/// What a broker says where a server of the native protocol says this.
pub(crate) fn of_frame(frame: &Frame) -> Packet<'_> {
    match frame {
        Frame::Welcome(welcome) => Packet::ConnAck(ConnAck::new(welcome.resumed, ReasonCode::SUCCESS)),
        Frame::Refuse(goodbye) => Packet::ConnAck(ConnAck::new(false, code(goodbye.reason))),
        Frame::Goodbye(goodbye) => Packet::Disconnect(Notice::new(code(goodbye.reason))),
        Frame::Echo { .. } => Packet::PingResp,
        Frame::Data { seq, message } => {
            let publish = Publish::new(topic(TOPIC), &message[..]);
            Packet::Publish(Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(number(*seq))), ..publish })
        }
        Frame::Ack { seq } if *seq > 0 => Packet::PubAck(Ack::new(id(number(*seq)))),
        // Life, and nothing else: a broker has no beats of its own.
        Frame::Ack { .. } | Frame::Beat { .. } => Packet::PubAck(Ack::new(PacketId::MAX)),
        _ => panic!("no broker says {frame:?}"),
    }
}

fn number(seq: u64) -> u16 {
    u16::try_from(seq).unwrap_or_else(|error| panic!("{error}"))
}

const fn code(reason: Reason) -> ReasonCode {
    match reason {
        Reason::GoingAway => ReasonCode::SERVER_SHUTTING_DOWN,
        Reason::Replaced => ReasonCode::SESSION_TAKEN_OVER,
        Reason::Forbidden => ReasonCode::BANNED,
        _ => ReasonCode::UNSPECIFIED_ERROR,
    }
}

/// A line of a trace between keepbeats as it is on this way: what another protocol has no word for is left out.
pub(crate) fn in_words_of(way: Way, line: &str) -> String {
    if !way.is_mqtt() {
        // A number says that it is the same message.
        return line.replace(", again", "");
    }
    let is_subject = |word: &str| word == "app" || !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match line.split_once(": ").filter(|(subject, _)| is_subject(subject)) {
        Some(("app", event)) => format!("app: {}", with_code(event)),
        Some((connection, words)) => format!("{connection}: {}", of_line(words)),
        None => of_line(line),
    }
}

fn of_line(line: &str) -> String {
    let (first, rest) = line.split_at(line.find([' ', ',', ':']).unwrap_or(line.len()));
    match first {
        // Whether a session goes on, the broker says.
        "HELLO" => format!("CONNECT{}", rest.split_once(',').map_or(rest, |(device, _)| device)),
        "DATA" => format!("PUBLISH{rest}"),
        "ACK" => format!("PUBACK{rest}"),
        "BEAT" => "PINGREQ".to_owned(),
        "GOODBYE" => "DISCONNECT".to_owned(),
        _ => line.to_owned(),
    }
}

/// What a broker says has a code, and not when to come back.
fn with_code(event: &str) -> String {
    for reason in [Reason::GoingAway, Reason::Replaced, Reason::Forbidden] {
        for word in ["goodbye", "refused"] {
            // An empty close of WebSocket means going away, too, and has no code.
            let is_coded =
                |rest: &str| rest.starts_with(',') || rest.is_empty() && !matches!(reason, Reason::GoingAway);
            if let Some((front, rest)) = event.split_once(&format!("{word} {reason:?}"))
                && is_coded(rest)
            {
                let rest = if rest.starts_with(", back") { "" } else { rest };
                return format!("{front}{word} {reason:?} {}{rest}", code(reason).get());
            }
        }
    }
    event.to_owned()
}

/// The line of a packet that a link sent.
pub(crate) fn line(packet: &Packet<'_>) -> String {
    let name = packet.packet_type().name();
    match packet {
        Packet::Connect(connect) => {
            format!("{name} {}{}", connect.client_id, if connect.clean_start { ", clean start" } else { "" })
        }
        Packet::Publish(publish) => publish_line(publish),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            format!("{name} {}{}", ack.packet_id, failure(ack.reason))
        }
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.subscriptions.iter().map(|one| format!("{} at {}", one.filter, one.qos as u8));
            format!("{name} {}: {}", subscribe.packet_id, filters.collect::<Vec<_>>().join(", "))
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<_> = unsubscribe.filters.iter().map(Filter::as_str).collect();
            format!("{name} {}: {}", unsubscribe.packet_id, filters.join(", "))
        }
        Packet::Disconnect(notice) => format!("{name}{}", failure(notice.reason)),
        _ => name.to_owned(),
    }
}

fn failure(reason: ReasonCode) -> String {
    if reason == ReasonCode::SUCCESS { String::new() } else { format!(" {}", reason.get()) }
}

fn publish_line(publish: &Publish<'_>) -> String {
    let mut line = publish.packet_id.map_or_else(|| "PUBLISH".to_owned(), |id| format!("PUBLISH {id}"));
    if publish.dup {
        line.push_str(", again");
    }
    if publish.qos == Qos::ExactlyOnce {
        line.push_str(", exactly once");
    }
    if publish.retain {
        line.push_str(", retained");
    }
    format!("{line}: {}", said(publish))
}

/// What a message says, if MQTT brought it.
pub(crate) fn message(message: &Message) -> Option<String> {
    Publish::of(message).map(|publish| said(&publish))
}

fn said(publish: &Publish<'_>) -> String {
    let is_text = publish.properties.iter().any(|property| property == Property::PayloadFormatIndicator(true));
    let words = words::of_bytes(&publish.payload);
    let words = if is_text { format!("text {words}") } else { words };
    match publish.topic.as_ref().map(Topic::as_str) {
        Some(TOPIC) => words,
        topic => format!("{words} at {}", topic.unwrap_or("no topic")),
    }
}

/// What a broker answers to a request, filter by filter.
pub(crate) fn answer(message: &Message) -> String {
    let answer = Answer::of(message).unwrap_or_else(|| panic!("no answer: {message:?}"));
    let results = answer.results.iter().map(|(filter, reason)| format!("{filter} {}", reason.get()));
    let all = results.collect::<Vec<_>>().join(", ");
    if answer.to_unsubscribe { format!("no more {all}") } else { all }
}
