//! mqttbytes, as it was when rumqttc's codec went on alone.

use bytes::BytesMut;
use mqttbytes::v4::{Packet, PingReq, Publish, read};
use mqttbytes::{Error, QoS};

use super::{Load, Reader, Stream, TOPIC, Writer};
use crate::frames::{Found, PIECE};

/// [`read`], from a buffer into which the connection copies.
///
/// Its payloads are parts of that buffer: none is copied out, and a small one keeps all of it alive. Topics are strings of their own.
pub struct MqttbytesReading {
    stream: Stream,
    buffer: BytesMut,
}

const LIMIT: usize = 1 << 20;

impl Reader for MqttbytesReading {
    const NAME: &'static str = "mqttbytes";

    fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(PIECE) }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for piece in self.stream.pieces() {
            self.buffer.extend_from_slice(piece);
            loop {
                match read(&mut self.buffer, LIMIT) {
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

/// `write`, to a buffer that is used again.
pub struct MqttbytesWriting {
    /// `None`: a ping.
    publish: Option<Publish>,
    buffer: BytesMut,
    written: u64,
}

impl Writer for MqttbytesWriting {
    const NAME: &'static str = "mqttbytes";

    fn new(load: Load) -> Self {
        let publish = load.payload().map(|payload| {
            let qos = if load.is_acknowledged() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let pkid = if load.is_acknowledged() { 7 } else { 0 };
            Publish { pkid, ..Publish::from_bytes(TOPIC, qos, payload) }
        });
        Self { publish, buffer: BytesMut::new(), written: 0 }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            let written = match &self.publish {
                Some(publish) => publish.write(&mut self.buffer),
                None => PingReq.write(&mut self.buffer),
            };
            if written.is_err() {
                break;
            }
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.written
    }
}
