//! Brokers: sessions, packets of every kind, and what they say by codes. Written in packets, over TCP and over WebSocket.

mod endings;
mod liveness;
mod messages;
mod sessions;

pub use endings::{
    close_behind_a_message, close_without_an_answer, codes_for_good, codes_for_now, drain_at_qos_2, violations,
};
pub use liveness::{dead_while_we_publish, large_message_before_an_answer, server_keep_alive};
pub use messages::{manual_acknowledgements, publications, receive_maximum, slow_application};
pub use sessions::{greeting, session_goes_on, session_is_lost};

use keepbeat_core::client::ClientConfigBuilder;
use keepbeat_core::session::Message;
use keepbeat_core::wire::mqtt::{Ack, ConnAck, Packet, Properties, Property, Publish, Qos, ReasonCode};

use crate::harness::Clients;
use crate::packets::{id, topic};
use crate::peers::{Line, welcome};
use crate::stage::{ClientStage, client, still};

/// A link on which nothing happens by itself.
fn unmoved() -> ClientConfigBuilder {
    client().liveness(still().build().unwrap_or_else(|error| panic!("{error}")))
}

/// A link that is up.
fn up<H: Clients>(stage: &mut ClientStage<H>, config: ClientConfigBuilder) -> Line {
    let address = stage.open(config);
    let line = stage.peer.let_in(address, welcome());
    stage.until("up");
    line
}

/// A link that is up, and was told this by the broker.
fn up_with<H: Clients>(stage: &mut ClientStage<H>, config: ClientConfigBuilder, property: &Property<'_>) -> Line {
    let address = stage.open(config);
    let line = stage.peer.accept(address);
    stage.peer.hello(line);
    let properties = Properties::NONE.with(property).unwrap_or_else(|rule| panic!("{rule:?}"));
    stage.peer.say_packet(line, ConnAck { properties, ..ConnAck::new(false, ReasonCode::SUCCESS) });
    stage.until("up");
    line
}

/// A message of the application, which the link gives an identifier.
fn message(to: &str, payload: &str, qos: Qos) -> Message {
    let publish = Publish { qos, ..Publish::new(topic(to), payload) };
    publish.into_message().unwrap_or_else(|error| panic!("{error}"))
}

/// A message of the broker.
fn publish<'a>(to: &'a str, payload: &'a str, qos: Qos, number: u16) -> Publish<'a> {
    Publish { qos, packet_id: Some(id(number)), ..Publish::new(topic(to), payload) }
}

fn puback(number: u16) -> Packet<'static> {
    Packet::PubAck(Ack::new(id(number)))
}

fn pubrec(number: u16) -> Packet<'static> {
    Packet::PubRec(Ack::new(id(number)))
}

fn pubrel(number: u16) -> Packet<'static> {
    Packet::PubRel(Ack::new(id(number)))
}

fn pubcomp(number: u16) -> Packet<'static> {
    Packet::PubComp(Ack::new(id(number)))
}
