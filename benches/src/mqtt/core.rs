//! mqtt-protocol-core.

use bytes::Bytes;
use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1};

use super::{Load, Reader, Stream, TOPIC, Writer};
use crate::frames::Found;

type Client = mqtt::Connection<mqtt::role::Client>;

/// `Connection::recv`: with the frames comes the client's side of the session. A payload shares the memory of its packet, and
/// keeps it alive; here it is copied out, as the others yield `Bytes`.
pub struct CoreReading {
    client: Client,
    stream: Stream,
}

impl Reader for CoreReading {
    const NAME: &'static str = "mqtt-protocol-core";

    fn new(stream: Stream) -> Self {
        let mut client = Client::new(mqtt::Version::V3_1_1);
        if let Ok(connect) = v3_1_1::Connect::builder().client_id("c").map(|connect| connect.keep_alive(0).build()) {
            connect.into_iter().for_each(|connect| drop(client.checked_send(connect)));
        }
        drop(client.recv(&mut Cursor::new(&b"\x20\x02\0\0"[..])));
        Self { client, stream }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for piece in self.stream.pieces() {
            let mut piece = Cursor::new(piece);
            while piece.position() < piece.get_ref().len() as u64 {
                for event in self.client.recv(&mut piece) {
                    match event {
                        Event::NotifyPacketReceived(Packet::V3_1_1Publish(publish)) => {
                            found.message(Bytes::copy_from_slice(publish.payload().as_slice()));
                        }
                        Event::NotifyPacketReceived(Packet::V3_1_1Pingresp(_)) => found.beat(0),
                        Event::NotifyError(_) => found.faults += 1,
                        _ => {}
                    }
                }
            }
        }
        found
    }
}

/// `to_continuous_buffer`, which makes a vector for every packet.
pub struct CoreWriting {
    packet: Option<Packet>,
    written: u64,
}

impl Writer for CoreWriting {
    const NAME: &'static str = "mqtt-protocol-core";

    fn new(load: Load) -> Self {
        let packet = match load.payload() {
            None => v3_1_1::Pingreq::builder().build().map(Packet::from),
            Some(payload) => v3_1_1::Publish::builder().topic_name(TOPIC).and_then(|publish| {
                let publish = publish.payload(payload.to_vec());
                let publish = if load.is_acknowledged() {
                    publish.qos(Qos::AtLeastOnce).packet_id(7)
                } else {
                    publish.qos(Qos::AtMostOnce)
                };
                publish.build().map(Packet::from)
            }),
        };
        Self { packet: packet.ok(), written: 0 }
    }

    fn write(&mut self, times: u64) -> u64 {
        for packet in self.packet.iter().cycle().take(times as usize) {
            self.written += packet.to_continuous_buffer().len() as u64;
        }
        self.written
    }
}
