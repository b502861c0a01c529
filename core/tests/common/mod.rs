//! What the scenarios share: a client alone with a script, a server alone with scripts, both on a pipe, and
//! a client of which every byte is looked at.
//!
//! Time is virtual. A rig drives its machines as the driver contract says: input first, then timeouts, then actions until
//! there are none; it wakes only at the reported deadlines, and after every turn checks that the next one is later.
#![allow(dead_code, unused_imports, reason = "every scenario uses another part of this")]

mod acceptor;
pub(crate) mod broker;
mod dialer;
#[cfg(feature = "tls-ring")]
pub(crate) mod foreign;
mod link;
pub(crate) mod mqtt;
pub(crate) mod mqtt_front;
pub(crate) mod mqtt_world;
#[cfg(feature = "tls-ring")]
pub(crate) mod pki;
mod raw;
#[cfg(feature = "tls-ring")]
pub(crate) mod tls;
pub(crate) mod websocket;

pub(crate) use acceptor::Acceptor;
pub(crate) use dialer::{Answer, Dialer};
pub(crate) use link::Link;
pub(crate) use raw::Raw;

use std::time::Duration;

use keepbeat_core::client::{ClientConfig, ClientConfigBuilder, Event};
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::{LivenessConfig, LivenessConfigBuilder};
use keepbeat_core::server::{ServerConfig, ServerEvent};
use keepbeat_core::session::Message;
use keepbeat_core::time::{Deadline, Timestamp};
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{DeviceId, Frame, Hello, Token, Tx, Welcome, Wire};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

/// Beat every 10 s without jitter, reply within 4 s, three probes, write stall 8 s, stall limit 30 s, frame time 60 s.
pub(crate) fn liveness() -> LivenessConfigBuilder {
    LivenessConfig::builder()
        .interval(10 * SECOND)
        .reply_timeout(4 * SECOND)
        .jitter_percent(0)
        .initial_rtt(400 * MS)
        .write_stall(8 * SECOND)
        .stall_limit(30 * SECOND)
        .frame_time(60 * SECOND)
}

/// A client with [`liveness`] and the defaults for the rest.
pub(crate) fn client() -> ClientConfigBuilder<Beat> {
    ClientConfig::builder(device("d")).liveness(liveness().build().unwrap())
}

/// The same with large messages.
pub(crate) fn large(limit: usize) -> BeatConfig {
    BeatConfig::builder().message_limit(limit).build().unwrap()
}

/// A server with [`liveness`] and the defaults for the rest.
pub(crate) fn server() -> keepbeat_core::server::ServerConfigBuilder<Beat> {
    ServerConfig::builder().liveness(liveness().build().unwrap())
}

/// Repeatable bytes for tokens.
pub(crate) fn entropy() -> Box<Prng> {
    Box::new(Prng::new(0xE17))
}

pub(crate) fn hello(name: &str) -> Hello {
    Hello {
        instance: 0,
        attempt: 0,
        version: 1,
        device: device(name),
        interval_ms: 10_000,
        reply_timeout_ms: 4000,
        message_limit: 1 << 20,
        token: None,
        received: 0,
        credentials: keepbeat_core::wire::Credentials::default(),
    }
}

pub(crate) fn hello_with(name: &str, interval_ms: u32, reply_timeout_ms: u32) -> Hello {
    Hello { interval_ms, reply_timeout_ms, ..hello(name) }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        token: Token::new([7; 16]),
        resumed: false,
        interval_ms: 10_000,
        reply_timeout_ms: 4000,
        message_limit: 1 << 28,
        received: 0,
    }
}

pub(crate) fn data(seq: u64, text: &'static str) -> Frame {
    Frame::Data { seq, message: message(text) }
}

/// A binary message.
pub(crate) fn message(text: &'static str) -> Message {
    text.as_bytes().into()
}

/// `frame` as it goes over the wire.
pub(crate) fn encoded(frame: &Frame) -> Vec<u8> {
    let (mut tx, mut bytes) = (Tx::default(), Vec::new());
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}

/// Frames that the other side said, decoded.
pub(crate) struct Ear {
    wire: Beat,
    frames: Vec<(u64, Frame)>,
}

impl Ear {
    pub(crate) fn new() -> Self {
        Self { wire: Beat::new(&large(1 << 28 >> 1)), frames: Vec::new() }
    }

    pub(crate) fn hear(&mut self, now: Timestamp, mut bytes: &[u8]) {
        while let Some(frame) = self.wire.decode(&mut bytes).expect("our own side keeps to the protocol") {
            if matches!(frame, Frame::Hello(_) | Frame::Welcome(_)) {
                self.wire.established();
            }
            self.frames.push((now.as_millis(), frame));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<(u64, Frame)> {
        std::mem::take(&mut self.frames)
    }
}

pub(crate) fn assert_later(now: Timestamp, due: Option<Deadline>) {
    assert!(due.is_none_or(|due| due.at > now), "at {now:?} the turn is done, but {due:?} is due");
}

/// The names of events, for assertions about their order.
pub(crate) fn names(events: &[(u64, Event)]) -> Vec<&'static str> {
    events.iter().map(|(_, event)| name(event)).collect()
}

pub(crate) fn name(event: &Event) -> &'static str {
    match event {
        Event::Connecting { .. } => "connecting",
        Event::Up { .. } => "up",
        Event::Message(_) => "message",
        Event::Acknowledged { .. } => "acknowledged",
        Event::Answered { .. } => "answered",
        Event::Dropped(_) => "dropped",
        Event::Suspect { .. } => "suspect",
        Event::Recovered => "recovered",
        Event::Rtt(_) => "rtt",
        Event::Down { .. } => "down",
        Event::GaveUp { .. } => "gave up",
        Event::Closed { .. } => "closed",
        _ => "?",
    }
}

pub(crate) fn server_names(events: &[(u64, ServerEvent)]) -> Vec<&'static str> {
    events.iter().map(|(_, event)| server_name(event)).collect()
}

pub(crate) fn server_name(event: &ServerEvent) -> &'static str {
    match event {
        ServerEvent::Authenticate { .. } => "authenticate",
        ServerEvent::Rejected { .. } => "rejected",
        ServerEvent::Online { .. } => "online",
        ServerEvent::Returned { .. } => "returned",
        ServerEvent::Replaced { .. } => "replaced",
        ServerEvent::Suspect { .. } => "suspect",
        ServerEvent::Recovered { .. } => "recovered",
        ServerEvent::Offline { .. } => "offline",
        ServerEvent::Message { .. } => "message",
        ServerEvent::Acknowledged { .. } => "acknowledged",
        ServerEvent::Dropped { .. } => "dropped",
        ServerEvent::SessionEnded { .. } => "session ended",
        _ => "?",
    }
}

/// The device that came online first.
pub(crate) fn online(events: &[(u64, ServerEvent)]) -> DeviceId {
    let device = events.iter().find_map(|(_, event)| match event {
        ServerEvent::Online { device, .. } => Some(device.clone()),
        _ => None,
    });
    device.expect("nobody is online")
}
