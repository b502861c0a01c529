//! keepbeat's client.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::mqtt::{MqttConfig, Publish, Qos, Topic, Version};
use keepbeat_core::wire::{AnyConfig, DeviceId};

use super::{Server, Session, TOPIC};

/// A whole [`Client`], as adapters drive it: with every call that a driver makes, and the next deadline asked for after each. It also
/// judges whether the server is alive, measures round trips, and would reconnect; the others leave that to whoever drives them.
pub struct OursSession {
    client: Client,
    epoch: Epoch,
    now: Timestamp,
    buffer: [u8; 4096],
}

/// How long an answer takes.
const ROUND_TRIP: Duration = Duration::from_millis(20);

impl OursSession {
    /// All that follows from what the client was told.
    #[inline]
    fn turn(&mut self, server: &mut Server) {
        loop {
            while self.client.poll_action().is_some() {}
            while let Some(event) = self.client.poll_event(self.now) {
                match event {
                    Event::Message(message) => match Publish::of(&message) {
                        Some(Publish { topic: Some(topic), payload, .. }) => {
                            server.seen.delivered += (topic.as_str().len() + payload.len()) as u64;
                        }
                        _ => server.seen.faults += 1,
                    },
                    Event::Acknowledged { .. } => server.seen.settled += 1,
                    Event::Rtt(_) | Event::Connecting { .. } | Event::Up { .. } => {}
                    _ => server.seen.faults += 1,
                }
            }
            let packet = self.client.transmit();
            if packet.is_empty() {
                break;
            }
            server.hear(packet);
            let count = packet.len();
            self.client.handle_input(self.now, Input::Written { epoch: self.epoch, count });
        }
        black_box(self.client.poll_timeout());
    }
}

impl Session for OursSession {
    const NAME: &'static str = "ours";

    fn connected() -> Result<Self, String> {
        let device = DeviceId::new("c").map_err(|error| error.to_string())?;
        let mqtt = MqttConfig::builder().version(Version::V3).build().map_err(|error| error.to_string())?;
        let config = ClientConfig::builder(device).wire(AnyConfig::from(mqtt)).build();
        let mut client = Client::new(Arc::new(config.map_err(|error| error.to_string())?), 1);
        let now = Timestamp::from_millis(1000);
        client.open(now);
        let Some(Action::Connect { epoch }) = client.poll_action() else { return Err("no attempt".to_owned()) };
        client.handle_input(now, Input::Opened { epoch });
        while client.poll_action().is_some() {}
        let count = client.transmit().len();
        client.handle_input(now, Input::Written { epoch, count });
        client.handle_input(now, Input::Received { epoch, bytes: &[0x20, 2, 0, 0] });
        while client.poll_action().is_some() {}
        while client.poll_event(now).is_some() {}
        if client.evidence(now).is_none() {
            return Err("the link is not up".to_owned());
        }
        Ok(Self { client, epoch, now, buffer: [0; 4096] })
    }

    fn ping(&mut self, server: &mut Server) {
        let before = server.seen.sent;
        while server.seen.sent == before {
            let Some(due) = self.client.poll_timeout() else { return };
            self.now = due.at;
            self.client.handle_timeout(self.now);
            self.turn(server);
        }
        self.now = self.now.after(ROUND_TRIP);
    }

    fn publish(&mut self, qos: u8, payload: &Bytes, server: &mut Server) {
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].get(usize::from(qos)).copied();
        let publish = Topic::new(TOPIC).map(|topic| Publish::new(topic, payload.clone()));
        if let (Ok(publish), Some(qos)) = (publish, qos)
            && let Ok(message) = (Publish { qos, ..publish }).into_message()
            && self.client.send(self.now, message).is_ok()
        {
            self.turn(server);
        } else {
            server.seen.faults += 1;
        }
    }

    fn receive(&mut self, bytes: &[u8], server: &mut Server) {
        let Some(bytes_here) = self.buffer.get_mut(..bytes.len()) else { return };
        bytes_here.copy_from_slice(bytes);
        self.client.handle_input(self.now, Input::Received { epoch: self.epoch, bytes: bytes_here });
        self.turn(server);
    }
}
