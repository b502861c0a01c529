//! A client's session of MQTT 3.1.1, without sockets: what one message and one keep-alive take, bytes in and bytes out included.
//!
//! A [`Work`] is a round of packets with a server that is bytes; a [`Session`] is a client's whole state for it, which outlives
//! connections: messages are held until they are acknowledged. [`Seen`] is what the server and the application saw of it, so that every
//! contender does the same. Bytes that come are copied to the read buffer of each, as the operating system does.

mod core;
mod ours;
mod rumqttc;

use bytes::Bytes;

pub use self::core::CoreSession;
pub use self::ours::OursSession;
pub use self::rumqttc::RumqttcSession;

/// Where messages are published.
const TOPIC: &str = "sensor/1";

/// What one round is. Messages have 64 B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A ping is due and leaves, and is answered.
    KeepAlive,
    /// A message is published at QoS 0.
    AtMostOnce,
    /// One at QoS 1, until its PUBACK.
    AtLeastOnce,
    /// One at QoS 2, until its PUBCOMP.
    ExactlyOnce,
    /// One comes at QoS 1, the application takes it, and it is acknowledged.
    Delivery,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 5] =
        [Self::KeepAlive, Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce, Self::Delivery];

    /// How benches call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::AtMostOnce => "QoS 0",
            Self::AtLeastOnce => "QoS 1",
            Self::ExactlyOnce => "QoS 2",
            Self::Delivery => "QoS 1 delivered",
        }
    }

    const fn qos(self) -> Option<u8> {
        match self {
            Self::KeepAlive | Self::Delivery => None,
            Self::AtMostOnce => Some(0),
            Self::AtLeastOnce => Some(1),
            Self::ExactlyOnce => Some(2),
        }
    }

    /// What so many rounds of it show.
    #[must_use]
    pub const fn seen(self, rounds: u64) -> Seen {
        let mut seen = Seen::NONE;
        seen.sent = if matches!(self, Self::ExactlyOnce) { 2 * rounds } else { rounds };
        seen.delivered = if matches!(self, Self::Delivery) { (TOPIC.len() + PAYLOAD) as u64 * rounds } else { 0 };
        seen.settled = if matches!(self, Self::AtLeastOnce | Self::ExactlyOnce) { rounds } else { 0 };
        seen
    }
}

/// The length of a message, in bytes.
const PAYLOAD: usize = 64;

/// What was seen of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Packets that left.
    pub sent: u64,
    /// Bytes of topics and messages that the application took.
    pub delivered: u64,
    /// Messages of which the application heard that they arrived.
    pub settled: u64,
    /// Places where something else happened than meant.
    pub faults: u64,
}

impl Seen {
    /// Nothing.
    pub const NONE: Self = Self { sent: 0, delivered: 0, settled: 0, faults: 0 };
}

/// The other end of a session.
#[derive(Debug)]
pub struct Server {
    seen: Seen,
    /// The first byte of the last packet that came, and its packet identifier.
    last: (u8, [u8; 2]),
}

impl Server {
    /// A packet comes, in one piece.
    #[inline]
    fn hear(&mut self, packet: &[u8]) {
        self.seen.sent += 1;
        let first = packet.first().copied().unwrap_or_default();
        // Behind the header, and in a PUBLISH behind the topic.
        let at = if first >> 4 == 3 { 4 + TOPIC.len() } else { 2 };
        let id = packet.get(at..).and_then(|id| id.first_chunk()).copied().unwrap_or_default();
        self.last = (first, id);
    }
}

/// A client that is connected.
pub trait Session: Sized {
    /// How benches call it.
    const NAME: &'static str;

    /// CONNECT has left, and the answer has come.
    ///
    /// # Errors
    /// In words.
    fn connected() -> Result<Self, String>;

    /// The next ping is due.
    fn ping(&mut self, server: &mut Server);

    /// The application publishes a message at this QoS.
    fn publish(&mut self, qos: u8, payload: &Bytes, server: &mut Server);

    /// Bytes come.
    fn receive(&mut self, bytes: &[u8], server: &mut Server);
}

/// A session and its server.
pub struct Pair<S> {
    session: S,
    server: Server,
    payload: Bytes,
    /// A message to the client.
    delivery: Vec<u8>,
}

impl<S: Session> Pair<S> {
    /// Connected.
    ///
    /// # Errors
    /// In words.
    pub fn new() -> Result<Self, String> {
        let payload = Bytes::from(vec![7; PAYLOAD]);
        let length = (2 + TOPIC.len() + 2 + PAYLOAD) as u8;
        let delivery = [&[0x32, length, 0, TOPIC.len() as u8], TOPIC.as_bytes(), &[0, 1], payload.as_ref()].concat();
        let server = Server { seen: Seen::NONE, last: (0, [0; 2]) };
        Ok(Self { session: S::connected()?, server, payload, delivery })
    }

    /// One more round; what was seen so far.
    pub fn round(&mut self, work: Work) -> Seen {
        let Self { session, server, payload, delivery } = self;
        match work.qos() {
            Some(qos) => session.publish(qos, payload, server),
            None if work == Work::KeepAlive => session.ping(server),
            None => session.receive(delivery, server),
        }
        match (work, server.last) {
            (Work::KeepAlive, (0xC0, _)) => session.receive(&[0xD0, 0], server),
            (Work::AtMostOnce, (0x30, _)) | (Work::Delivery, (0x40, [0, 1])) => {}
            (Work::AtLeastOnce, (0x32, [high, low])) => session.receive(&[0x40, 2, high, low], server),
            (Work::ExactlyOnce, (0x34, [high, low])) => {
                session.receive(&[0x50, 2, high, low], server);
                match server.last {
                    (0x62, id) if id == [high, low] => session.receive(&[0x70, 2, high, low], server),
                    _ => server.seen.faults += 1,
                }
            }
            _ => server.seen.faults += 1,
        }
        server.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_works<S: Session>() {
        for work in Work::ALL {
            let mut pair = Pair::<S>::new().unwrap();
            for round in 1..=300 {
                let seen = pair.round(work);
                // What is said of a message that nobody acknowledges differs.
                let settled = if work == Work::AtMostOnce { 0 } else { seen.settled };
                assert_eq!(Seen { settled, ..seen }, work.seen(round), "{work:?} of {}", S::NAME);
            }
        }
    }

    #[test]
    fn every_session_does_all_of_the_work() {
        assert_works::<OursSession>();
        assert_works::<RumqttcSession>();
        assert_works::<CoreSession>();
    }
}
