//! rumqttc's codec, which began as mqttbytes.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use rumqttc::mqttbytes::{Error, QoS};

use super::{Load, Reader, Stream, TOPIC, Writer};
use crate::frames::{Found, PIECE};

/// `Packet::read`, from a buffer into which the connection copies.
///
/// Its payloads are parts of that buffer: none is copied out, and a small one keeps all of it alive. Topics are strings of their own.
pub struct RumqttcReading {
    stream: Stream,
    buffer: BytesMut,
}

const LIMIT: usize = 1 << 20;

impl Reader for RumqttcReading {
    const NAME: &'static str = "rumqttc";

    fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(PIECE) }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for piece in self.stream.pieces() {
            self.buffer.extend_from_slice(piece);
            loop {
                match Packet::read(&mut self.buffer, LIMIT) {
                    Ok(Packet::Publish(publish)) => found.message(publish.payload),
                    Ok(Packet::PingResp) => found.beat(0),
                    Err(Error::InsufficientBytes(_)) => break,
                    Ok(_) | Err(_) => {
                        found.faults += 1;
                        return found;
                    }
                }
            }
        }
        found
    }
}

/// `Packet::write`, to a buffer that is used again.
pub struct RumqttcWriting {
    packet: Packet,
    buffer: BytesMut,
    written: u64,
}

impl Writer for RumqttcWriting {
    const NAME: &'static str = "rumqttc";

    fn new(load: Load) -> Self {
        let packet = match load.payload() {
            None => Packet::PingReq,
            Some(payload) => {
                let qos = if load.is_acknowledged() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                let mut publish = Publish::from_bytes(TOPIC, qos, payload);
                publish.pkid = if load.is_acknowledged() { 7 } else { 0 };
                Packet::Publish(publish)
            }
        };
        Self { packet, buffer: BytesMut::new(), written: 0 }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            if self.packet.write(&mut self.buffer, LIMIT).is_err() {
                break;
            }
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.written
    }
}
