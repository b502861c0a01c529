//! Clients and their server in one process without sockets, in virtual time: what the core alone costs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::sync::Arc;

use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerConfig, ServerInput};
use keepbeat_core::time::Timestamp;
use keepbeat_core::timers::{Filed, Timers};
use keepbeat_core::wire::DeviceId;

/// Links that are up and idle. Every machine is woken at its deadlines and at no other time.
pub struct Town {
    now: Timestamp,
    clients: Vec<Home>,
    /// When the clients want to be woken.
    timers: Timers<u32>,
    server: Server,
    /// Where bytes pass.
    buffer: [u8; 4096],
    beats: u64,
}

struct Home {
    client: Client,
    names: Option<(Epoch, ConnectionId)>,
    filed: Option<Filed>,
}

impl Town {
    /// So many links with the default configuration; each has been up since the start.
    ///
    /// # Panics
    /// If one does not come up.
    #[must_use]
    pub fn new(links: usize) -> Self {
        let now = Timestamp::from_millis(1000);
        let config = ServerConfig::builder().max_connections(links).max_handshakes(links).max_sessions(links);
        let server = Server::new(Arc::new(config.build().unwrap()), Box::new(Prng::new(2)), 3);
        let clients = Vec::with_capacity(links);
        let mut town = Self { now, clients, timers: Timers::new(), server, buffer: [0; 4096], beats: 0 };
        for index in 0..links {
            let device = DeviceId::new(&format!("device-{index}")).unwrap();
            let config = Arc::new(ClientConfig::builder(device).build().unwrap());
            let mut client = Client::new(config, index as u64);
            client.open(now);
            town.clients.push(Home { client, names: None, filed: None });
            town.pass(index);
            assert!(town.clients[index].client.evidence(now).is_some(), "up");
            while town.server.poll_event(now).is_some() {}
        }
        town
    }

    /// Goes on until one more beat has been answered.
    ///
    /// # Panics
    /// If a machine has no deadline, or says that a peer is late.
    pub fn beat(&mut self) {
        let beats = self.beats;
        while self.beats == beats {
            let client = self.timers.first().map(|(at, index)| (at, *index));
            let server = self.server.poll_timeout().map(|due| due.at);
            match client {
                Some((at, index)) if server.is_none_or(|server| at <= server) => {
                    self.now = at;
                    let home = &mut self.clients[index as usize];
                    self.timers.remove(&mut home.filed);
                    home.client.handle_timeout(at);
                    self.pass(index as usize);
                }
                _ => {
                    self.now = server.unwrap();
                    self.server.handle_timeout(self.now);
                    while self.server.poll_action().is_some() {}
                }
            }
        }
    }

    /// Carries everything that one link has to say.
    fn pass(&mut self, index: usize) {
        let Home { client, names, filed } = &mut self.clients[index];
        let (server, now) = (&mut self.server, self.now);
        let mut idle = false;
        while !idle {
            idle = true;
            while let Some(action) = client.poll_action() {
                if let Action::Connect { epoch } = action {
                    *names = Some((epoch, server.accept(now, None).unwrap()));
                    client.handle_input(now, Input::Opened { epoch });
                }
                idle = false;
            }
            while let Some(action) = server.poll_action() {
                assert!(!matches!(action, ServerAction::Disconnect(_)));
                idle = false;
            }
            let Some((epoch, id)) = *names else { continue };
            let count = client.transmit().len();
            if count > 0 {
                self.buffer[..count].copy_from_slice(client.transmit());
                client.handle_input(now, Input::Written { epoch, count });
                server.handle_input(now, id, ServerInput::Received(&self.buffer[..count]));
                idle = false;
            }
            let count = server.transmit(id).len();
            if count > 0 {
                self.buffer[..count].copy_from_slice(server.transmit(id));
                server.handle_input(now, id, ServerInput::Written(count));
                client.handle_input(now, Input::Received { epoch, bytes: &self.buffer[..count] });
                idle = false;
            }
            while let Some(event) = client.poll_event(now) {
                match event {
                    Event::Rtt(_) => self.beats += 1,
                    Event::Up { .. } | Event::Connecting { .. } => {}
                    event => panic!("{event:?}"),
                }
            }
        }
        self.timers.file(index as u32, filed, client.poll_timeout().map(|due| due.at));
    }
}
