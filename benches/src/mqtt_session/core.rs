//! mqtt-protocol-core's connection.

use bytes::Bytes;
use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1};

use super::{PAYLOAD, Server, Session, TOPIC};

/// `Connection`, which answers by itself. When timers are due, it is told; it keeps none.
pub struct CoreSession {
    client: mqtt::Connection<mqtt::role::Client>,
    payload: ArcPayload,
    buffer: [u8; 4096],
}

impl CoreSession {
    #[inline]
    fn act(events: Vec<Event>, server: &mut Server) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => server.hear(&packet.to_continuous_buffer()),
                Event::NotifyPacketReceived(Packet::V3_1_1Publish(publish)) => {
                    server.seen.delivered += (publish.topic_name().len() + publish.payload().len()) as u64;
                }
                Event::NotifyPacketIdReleased(_) => server.seen.settled += 1,
                Event::NotifyError(_) | Event::RequestClose => server.seen.faults += 1,
                _ => {}
            }
        }
    }
}

impl Session for CoreSession {
    const NAME: &'static str = "mqtt-protocol-core";

    fn connected() -> Result<Self, String> {
        let mut client = mqtt::Connection::new(mqtt::Version::V3_1_1);
        client.set_auto_pub_response(true);
        client.set_pingresp_recv_timeout(5000);
        let connect = v3_1_1::Connect::builder().client_id("c");
        let connect = connect.and_then(|connect| connect.clean_session(false).keep_alive(25).build());
        drop(client.checked_send(connect.map_err(|error| format!("{error:?}"))?));
        drop(client.recv(&mut Cursor::new(&b"\x20\x02\0\0"[..])));
        let payload = std::sync::Arc::<[u8]>::from([7; PAYLOAD]);
        Ok(Self { client, payload: ArcPayload::new(payload, 0, PAYLOAD), buffer: [0; 4096] })
    }

    fn ping(&mut self, server: &mut Server) {
        Self::act(self.client.notify_timer_fired(TimerKind::PingreqSend), server);
    }

    fn publish(&mut self, qos: u8, _: &Bytes, server: &mut Server) {
        let publish = v3_1_1::Publish::builder().topic_name(TOPIC).and_then(|publish| {
            let publish = publish.payload(self.payload.clone());
            let publish = match qos {
                0 => return publish.qos(Qos::AtMostOnce).build(),
                1 => publish.qos(Qos::AtLeastOnce),
                _ => publish.qos(Qos::ExactlyOnce),
            };
            publish.packet_id(self.client.acquire_packet_id()?).build()
        });
        match publish {
            Ok(publish) => Self::act(self.client.checked_send(publish), server),
            Err(_) => server.seen.faults += 1,
        }
    }

    fn receive(&mut self, bytes: &[u8], server: &mut Server) {
        let Some(here) = self.buffer.get_mut(..bytes.len()) else { return };
        here.copy_from_slice(bytes);
        let mut bytes = Cursor::new(&*here);
        while bytes.position() < bytes.get_ref().len() as u64 {
            Self::act(self.client.recv(&mut bytes), server);
        }
    }
}
