//! rumqttc's state and codec.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{Packet, PingReq, Publish};
use rumqttc::mqttbytes::{Error, QoS};
use rumqttc::{Event, MqttState, Request, StateError};

use super::{Server, Session, TOPIC};

/// `MqttState`, as its event loop drives it: packets are read from and written to buffers that are used again, and all events are
/// taken. Left out are the channel from the application to the event loop, and the event loop's timer. It reads the clock by itself.
pub struct RumqttcSession {
    state: MqttState,
    incoming: BytesMut,
    outgoing: BytesMut,
}

const LIMIT: usize = 10 << 10;

/// Its default.
const INFLIGHT: u16 = 100;

impl RumqttcSession {
    #[inline]
    fn send(&mut self, packet: Result<Option<Packet>, StateError>, server: &mut Server) {
        match packet {
            Ok(Some(packet)) => {
                if packet.write(&mut self.outgoing, LIMIT).is_err() {
                    server.seen.faults += 1;
                }
                server.hear(&self.outgoing);
                self.outgoing.clear();
            }
            Ok(None) => {}
            Err(_) => server.seen.faults += 1,
        }
        while let Some(event) = self.state.events.pop_front() {
            match event {
                Event::Incoming(Packet::Publish(publish)) => {
                    server.seen.delivered += (publish.topic.len() + publish.payload.len()) as u64;
                }
                Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => server.seen.settled += 1,
                _ => {}
            }
        }
    }
}

impl Session for RumqttcSession {
    const NAME: &'static str = "rumqttc";

    fn connected() -> Result<Self, String> {
        // The event loop sends CONNECT itself and tells the state nothing about it.
        let (incoming, outgoing) = (BytesMut::with_capacity(LIMIT), BytesMut::with_capacity(LIMIT));
        Ok(Self { state: MqttState::new(INFLIGHT, false), incoming, outgoing })
    }

    fn ping(&mut self, server: &mut Server) {
        let packet = self.state.handle_outgoing_packet(Request::PingReq(PingReq));
        self.send(packet, server);
    }

    fn publish(&mut self, qos: u8, payload: &Bytes, server: &mut Server) {
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let publish = Publish::from_bytes(TOPIC, qos, payload.clone());
        let packet = self.state.handle_outgoing_packet(Request::Publish(publish));
        self.send(packet, server);
    }

    fn receive(&mut self, bytes: &[u8], server: &mut Server) {
        self.incoming.extend_from_slice(bytes);
        loop {
            match Packet::read(&mut self.incoming, LIMIT) {
                Ok(packet) => {
                    let answer = self.state.handle_incoming_packet(packet);
                    self.send(answer, server);
                }
                Err(Error::InsufficientBytes(_)) => break,
                Err(_) => {
                    server.seen.faults += 1;
                    break;
                }
            }
        }
    }
}
