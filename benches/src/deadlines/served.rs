//! The whole [`Server`]: every beat is decoded, judged and answered.

use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::time::{Deadline, Timestamp};
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Credentials, DeviceId, Frame, Hello, PROTOCOL_VERSION, Tx, Wire};

use super::{Deadlines, Expire, INTERVAL, SILENCE, START};

/// A server with one device per link. A touch is the bytes of a beat, and the bytes of its answer; an expiry is a device
/// that is reported offline and whose connection is closed.
pub struct Served {
    server: Server,
    connections: Vec<ConnectionId>,
    beat: Vec<u8>,
}

impl Served {
    /// When the server wants to be woken.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.server.poll_timeout()
    }

    /// Wakes the server.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.server.handle_timeout(now);
        drain(&mut self.server, now);
    }
}

/// A driver whose sockets take everything at once. How many bytes they took.
fn drain(server: &mut Server, now: Timestamp) -> usize {
    let mut written = 0;
    while let Some(action) = server.poll_action() {
        if let ServerAction::Transmit(id) = action {
            let count = server.transmit(id).len();
            server.handle_input(now, id, ServerInput::Written(count));
            written += count;
        }
    }
    written
}

impl Deadlines for Served {
    // More would be a flood, which ends the connection.
    const BEATS: u32 = 1;

    fn new(links: usize) -> Self {
        let liveness = LivenessConfig::builder().probes(0).build().unwrap();
        let config = ServerConfig::builder()
            .liveness(liveness)
            .max_connections(links)
            .max_handshakes(links)
            .max_sessions(links)
            .session_lifetime(Duration::from_secs(3600));
        let server = Server::new(Arc::new(config.build().unwrap()), Box::new(Prng::new(2)), 3);
        let mut wire = Beat::new(&BeatConfig::default());
        let mut served = Self { server, connections: Vec::with_capacity(links), beat: Vec::new() };
        for link in 0..links {
            let id = served.server.accept(START, None).unwrap();
            let mut tx = Tx::default();
            wire.encode(&hello(link), &mut tx);
            served.server.handle_input(START, id, ServerInput::Received(tx.chunk()));
            drain(&mut served.server, START);
            assert!(matches!(served.server.poll_event(START), Some(ServerEvent::Online { .. })));
            served.connections.push(id);
        }
        let mut tx = Tx::default();
        wire.encode(&Frame::Beat { seq: 1000 }, &mut tx);
        served.beat = tx.chunk().to_vec();
        served
    }

    fn touch(&mut self, link: usize, now: Timestamp) {
        let id = self.connections[link];
        self.server.handle_input(now, id, ServerInput::Received(&self.beat));
        assert!(drain(&mut self.server, now) > 0, "every beat is answered");
    }
}

impl Expire for Served {
    fn turn(&mut self, now: Timestamp) -> usize {
        self.handle_timeout(now);
        let mut expired = 0;
        while let Some(event) = self.server.poll_event(now) {
            expired += usize::from(matches!(event, ServerEvent::Offline { .. }));
        }
        expired
    }
}

fn hello(link: usize) -> Frame {
    Frame::Hello(Box::new(Hello {
        version: PROTOCOL_VERSION,
        device: DeviceId::new(&format!("device-{link}")).unwrap(),
        instance: 1,
        attempt: 1,
        interval_ms: INTERVAL.as_millis() as u32,
        reply_timeout_ms: (SILENCE - INTERVAL).as_millis() as u32,
        message_limit: 1 << 20,
        token: None,
        received: 0,
        credentials: Credentials::default(),
    }))
}
