//! MQTT packets: the work of the MQTT benches, and who does it.
//!
//! A [`Stream`] is the same packets of MQTT 3.1.1, as a server writes them. A [`Reader`] reads it over and over, in pieces of
//! [`PIECE`] bytes, and yields pings and messages that own their bytes; a [`Writer`] writes a client's packets, each so that it
//! leaves at once.

mod core;
mod mqttbytes;
mod ours;
mod rumqttc;

use bytes::{Bytes, BytesMut};
use keepbeat_core::wire::mqtt::{Outgoing, Packet, PacketId, Publish, Qos, Role, Topic, Version};

pub use self::core::{CoreReading, CoreWriting};
pub use self::mqttbytes::{MqttbytesReading, MqttbytesWriting};
pub use self::ours::{OursBorrowing, OursReading, OursSending, OursWriting};
pub use self::rumqttc::{RumqttcReading, RumqttcWriting};
use crate::frames::{Found, PIECE, Part};
use crate::peers::{CopyOnly, Parser as _};

/// Where messages are published.
const TOPIC: &str = "sensor/1";

/// Which packets there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// 1,024 answers to pings, or pings where they are written.
    Ping,
    /// 1,024 messages of 64 B at QoS 0.
    Small,
    /// 1,024 messages of 64 B at QoS 1.
    SmallQos1,
    /// 256 messages of 1 KiB at QoS 0.
    Medium,
    /// 16 messages of 64 KiB at QoS 0.
    Large,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ping, Self::Small, Self::SmallQos1, Self::Medium, Self::Large];

    /// How benches call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Small => "64B",
            Self::SmallQos1 => "64B-QoS-1",
            Self::Medium => "1KiB",
            Self::Large => "64KiB",
        }
    }

    /// How many packets it has.
    #[must_use]
    pub const fn packets(self) -> u64 {
        match self {
            Self::Ping | Self::Small | Self::SmallQos1 => 1024,
            Self::Medium => 256,
            Self::Large => 16,
        }
    }

    /// The payload of one of its messages; `None` if it is pings.
    #[must_use]
    pub fn payload(self) -> Option<Bytes> {
        let length = match self {
            Self::Ping => return None,
            Self::Small | Self::SmallQos1 => 64,
            Self::Medium => 1 << 10,
            Self::Large => 64 << 10,
        };
        Some(vec![7; length].into())
    }

    const fn is_acknowledged(self) -> bool {
        matches!(self, Self::SmallQos1)
    }

    /// One of its packets, as this role sends it.
    fn packet(self, sender: Role) -> Packet<'static> {
        let ping = if sender == Role::Client { Packet::PingReq } else { Packet::PingResp };
        let (Some(payload), Ok(topic)) = (self.payload(), Topic::new(TOPIC)) else { return ping };
        let qos = if self.is_acknowledged() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let packet_id = if self.is_acknowledged() { PacketId::new(7) } else { None };
        Packet::Publish(Publish { qos, packet_id, ..Publish::new(topic, payload) })
    }
}

/// Packets for a client.
#[derive(Debug, Clone)]
pub struct Stream {
    bytes: Vec<u8>,
    parts: Vec<Part>,
    found: Found,
}

impl Stream {
    /// The packets that a server writes; always the same.
    #[must_use]
    pub fn new(load: Load) -> Self {
        let (server, mut bytes, mut found) =
            (Outgoing::new(Role::Server, Version::V3), BytesMut::new(), Found::default());
        let (payload, mut parts) = (load.payload().unwrap_or_default(), Vec::new());
        for _ in 0..load.packets() {
            let begin = bytes.len();
            if server.encode(&load.packet(Role::Server), &mut bytes).is_err() {
                found.faults += 1;
            }
            if payload.is_empty() {
                found.beat(0);
            } else {
                found.message(payload.clone());
                parts.push(Part { is_payload: false, bytes: bytes.len() - begin - payload.len() });
                parts.push(Part { is_payload: true, bytes: payload.len() });
            }
        }
        Self { bytes: bytes.to_vec(), parts, found }
    }

    /// What every reader must find in it.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// The bytes, in pieces of [`PIECE`].
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(PIECE)
    }
}

/// Reads a stream over and over.
pub trait Reader {
    /// How benches call it.
    const NAME: &'static str;

    /// At the start of the stream.
    fn new(stream: Stream) -> Self;

    /// Reads the whole stream once more.
    fn read(&mut self) -> Found;
}

/// Writes the same packet over and over.
pub trait Writer {
    /// How benches call it.
    const NAME: &'static str;

    /// A client's packet of this load.
    fn new(load: Load) -> Self;

    /// Writes the packet so many times; how many bytes have left so far.
    fn write(&mut self, times: u64) -> u64;
}

/// The floor: memory for every payload, a copy, and nothing else. It knows where the payloads are; of pings it finds none.
pub struct Copied {
    stream: Stream,
    copy: CopyOnly,
}

impl Reader for Copied {
    const NAME: &'static str = "copy only";

    fn new(stream: Stream) -> Self {
        Self { copy: CopyOnly::of(&stream.parts), stream }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        if !self.stream.parts.is_empty() {
            self.stream.pieces().for_each(|piece| self.copy.feed(piece, &mut found));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice, as benches read a stream again and again.
    fn assert_finds_all<R: Reader>(stream: &Stream) {
        let mut reader = R::new(stream.clone());
        for _ in 0..2 {
            assert_eq!(reader.read(), stream.found(), "{}", R::NAME);
        }
    }

    fn assert_writes<W: Writer>(load: Load, packet: u64) {
        let mut writer = W::new(load);
        assert_eq!((writer.write(3), writer.write(2)), (3 * packet, 5 * packet), "{} of {load:?}", W::NAME);
    }

    #[test]
    fn every_reader_finds_every_packet() {
        for load in Load::ALL {
            let stream = Stream::new(load);
            assert_eq!((stream.found().beats + stream.found().messages, stream.found().faults), (load.packets(), 0));
            assert_finds_all::<OursReading>(&stream);
            assert_finds_all::<OursBorrowing>(&stream);
            assert_finds_all::<MqttbytesReading>(&stream);
            assert_finds_all::<RumqttcReading>(&stream);
            if load != Load::Ping {
                assert_finds_all::<Copied>(&stream);
            }
            assert_finds_all::<CoreReading>(&stream);
        }
    }

    #[test]
    fn every_writer_writes_as_much() {
        for load in Load::ALL {
            let packet = Stream::new(load).bytes.len() as u64 / load.packets();
            assert_writes::<OursWriting>(load, packet);
            assert_writes::<OursSending>(load, packet);
            assert_writes::<MqttbytesWriting>(load, packet);
            assert_writes::<RumqttcWriting>(load, packet);
            assert_writes::<CoreWriting>(load, packet);
        }
    }
}
