//! Over a broker: who publishes what to which topic. Each client is a device, and talks with one more link, the gateway.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::session::Message;
use keepbeat_core::wire::AnyConfig;
use keepbeat_core::wire::mqtt::{Filter, MqttConfig, Publish, Qos, Subscribe, Subscription, Topic, Version};

use super::ledger::Ledger;

/// So long the broker keeps a session, if we end without the time to end it.
const EXPIRY: Duration = Duration::from_secs(600);

/// The names of one run. Nobody else has them.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    run: u32,
    devices: usize,
    version: Version,
    user: Option<String>,
}

impl Topics {
    pub(super) fn new(devices: usize, version: Version, user: Option<String>) -> Self {
        Self { run: RandomState::new().build_hasher().finish() as u32, devices, version, user }
    }

    /// The link of the gateway: that behind those of the devices.
    pub(super) const fn gateway(&self) -> usize {
        self.devices
    }

    /// All of them, the gateway among them.
    pub(super) const fn links(&self) -> usize {
        self.devices + 1
    }

    /// Of the letters and digits, and as short, as every broker takes it (MQTT 3.1.1, section 3.1.3.1).
    pub(super) fn client_id(&self, link: usize) -> String {
        format!("keepbeat{:08x}x{link:03}", self.run)
    }

    /// The protocol of a link that goes on with its session.
    pub(super) fn wire(&self, link: usize) -> Result<AnyConfig, Box<dyn Error>> {
        let mut builder = MqttConfig::builder().version(self.version).session_expiry(Some(EXPIRY));
        if let Some(user) = &self.user {
            builder = builder.user_name(user);
        }
        if link != self.gateway() {
            builder = builder.topic(Topic::new(self.topic(link, "up"))?, qos(link));
        }
        Ok(builder.build()?.into())
    }

    /// The protocol of a link that leaves nothing behind, and lets the broker forget what was there.
    pub(super) fn clean_wire(&self) -> Result<AnyConfig, Box<dyn Error>> {
        let mut builder =
            MqttConfig::builder().version(self.version).clean_start().session_expiry(Some(Duration::ZERO));
        if let Some(user) = &self.user {
            builder = builder.user_name(user);
        }
        Ok(builder.build()?.into())
    }

    /// What a link asks for first.
    pub(super) fn subscription(&self, link: usize) -> Result<Message, Box<dyn Error>> {
        let filter = match link == self.gateway() {
            true => format!("keepbeat-demo/{:08x}/+/up", self.run),
            false => self.topic(link, "down"),
        };
        Ok(Subscribe::to(vec![Subscription::new(Filter::new(filter)?, Qos::ExactlyOnce)]).into_message()?)
    }

    /// What the gateway says to a device.
    pub(super) fn to_device(&self, link: usize, payload: Vec<u8>) -> Result<Message, Box<dyn Error>> {
        let publish =
            Publish { qos: qos(link), ..Publish::new(Topic::new(self.topic(link, "down"))?, Bytes::from(payload)) };
        Ok(publish.into_message()?)
    }

    /// The device that said this to the gateway.
    pub(super) fn origin(&self, message: &Message) -> Option<usize> {
        let publish = Publish::of(message)?;
        let mut levels = publish.topic.as_ref()?.as_str().rsplit('/');
        levels.nth(1)?.parse().ok().filter(|link| *link < self.devices)
    }

    fn topic(&self, link: usize, direction: &str) -> String {
        format!("keepbeat-demo/{:08x}/{link:03}/{direction}", self.run)
    }
}

/// How surely the messages of a device, and those for it, arrive: every other time exactly once.
const fn qos(link: usize) -> Qos {
    if link.is_multiple_of(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce }
}

/// What is to be expected of the messages of a link.
pub(super) fn ledger(link: usize) -> Ledger {
    if qos(link) == Qos::AtLeastOnce { Ledger::at_least_once() } else { Ledger::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_knows_whose_message_it_is() {
        let topics = Topics::new(12, Version::V5, None);
        for link in 0..12 {
            let message = topics.to_device(link, b"hello".to_vec()).unwrap();
            assert_eq!(topics.origin(&message), Some(link));
        }
        assert_eq!(topics.origin(&topics.to_device(12, Vec::new()).unwrap()), None);
        assert_eq!(topics.origin(&Message::text("hello")), None);
    }

    #[test]
    fn every_name_is_one_that_every_broker_takes_and_no_other_run_has() {
        let topics = Topics::new(500, Version::V3, None);
        let id = topics.client_id(topics.gateway());
        assert!(id.len() <= 23 && id.chars().all(|char| char.is_ascii_alphanumeric()), "{id}");
        assert_ne!(id, Topics::new(500, Version::V3, None).client_id(500));
        for link in 0..topics.links() {
            assert!(topics.wire(link).is_ok() && topics.subscription(link).is_ok());
        }
    }
}
