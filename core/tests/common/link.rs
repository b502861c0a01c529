//! A client and a server, and between them a pipe in each direction.

use std::collections::VecDeque;
use std::sync::Arc;

use keepbeat_core::client::{Action, Client, ClientConfigBuilder, Epoch, Event, Input};
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerConfigBuilder, ServerEvent, ServerInput};
use keepbeat_core::time::{Deadline, Timestamp};
use keepbeat_core::wire::Wire;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::{DownReport, Failure};

use super::{assert_later, at, entropy};

/// One direction of a connection.
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// How many bytes it holds at most: the buffers of both operating systems.
    pub(crate) capacity: usize,
    /// How many more bytes come out. The rest stays in, until this is raised.
    pub(crate) flow: usize,
    /// The writer has shut it down: behind the last byte comes the end.
    pub(crate) ended: bool,
}

impl Pipe {
    const fn new() -> Self {
        Self { bytes: VecDeque::new(), capacity: usize::MAX, flow: usize::MAX, ended: false }
    }

    /// Nothing comes out any more, and everything still goes in.
    pub(crate) fn black_hole(&mut self) {
        (self.capacity, self.flow) = (usize::MAX, 0);
    }

    fn put(&mut self, bytes: &[u8], most: usize) -> usize {
        let count = bytes.len().min(most).min(self.capacity.saturating_sub(self.bytes.len()));
        self.bytes.extend(&bytes[..count]);
        count
    }

    fn get(&mut self, most: usize) -> Vec<u8> {
        let count = self.bytes.len().min(self.flow).min(most);
        if self.flow != usize::MAX {
            self.flow -= count;
        }
        self.bytes.drain(..count).collect()
    }

    fn is_over(&self) -> bool {
        self.ended && self.bytes.is_empty() && self.flow > 0
    }
}

pub(crate) struct Link<W: Wire = Beat> {
    pub(crate) now: Timestamp,
    pub(crate) client: Client<W>,
    pub(crate) server: Server<W>,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    client_side: Option<Epoch>,
    server_side: Option<ConnectionId>,
    /// How many bytes come out of the next connection, up and down.
    pub(crate) next_flow: (usize, usize),
    /// Whether attempts to connect succeed; if not, they fail.
    pub(crate) reachable: bool,
    /// Whether the server's application takes its events.
    pub(crate) server_takes: bool,
    /// The operating systems take and give so many bytes at once at most.
    pub(crate) grain: usize,
    /// What a proxy is asked at the start of every connection, and what it answers.
    pub(crate) proxy: Vec<(Vec<u8>, Vec<u8>)>,
    /// So many of them are said.
    said: usize,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) server_events: Vec<(u64, ServerEvent)>,
}

impl<W: Wire> Link<W> {
    pub(crate) fn new(client: ClientConfigBuilder<W>, server: ServerConfigBuilder<W>) -> Self {
        Self::of(Client::new(Arc::new(client.build().unwrap()), 1), server)
    }

    /// The same, with a client that knows to which server it goes.
    pub(crate) fn to(name: &str, client: ClientConfigBuilder<W>, server: ServerConfigBuilder<W>) -> Self {
        Self::seeded(name, client, server, 1)
    }

    /// The same, with another seed for the client.
    pub(crate) fn seeded(
        name: &str,
        client: ClientConfigBuilder<W>,
        server: ServerConfigBuilder<W>,
        seed: u64,
    ) -> Self {
        let client = Client::new(Arc::new(client.build().unwrap()), seed);
        Self::of(client.to_server(name.parse().unwrap()), server)
    }

    fn of(client: Client<W>, server: ServerConfigBuilder<W>) -> Self {
        Self {
            now: Timestamp::ZERO,
            client,
            server: Server::new(Arc::new(server.build().unwrap()), entropy(), 3),
            up: Pipe::new(),
            down: Pipe::new(),
            client_side: None,
            server_side: None,
            next_flow: (usize::MAX, usize::MAX),
            reachable: true,
            server_takes: true,
            grain: usize::MAX,
            proxy: Vec::new(),
            said: 0,
            events: Vec::new(),
            server_events: Vec::new(),
        }
    }

    /// Opened and up.
    pub(crate) fn up(client: ClientConfigBuilder<W>, server: ServerConfigBuilder<W>) -> Self {
        let mut link = Self::new(client, server);
        link.client.open(link.now);
        link.turn();
        link.forget();
        link
    }

    pub(crate) fn forget(&mut self) {
        self.events.clear();
        self.server_events.clear();
    }

    /// The connection is reset, for both sides at once. What was on its way is lost.
    pub(crate) fn cut(&mut self) {
        self.cut_for_client();
        if let Some(id) = self.server_side.take() {
            self.server.handle_input(self.now, id, ServerInput::Ended(Failure::Reset));
        }
        self.turn();
    }

    /// Only the client hears that the connection is over; the server goes on believing in it.
    pub(crate) fn cut_for_client(&mut self) {
        (self.up, self.down) = (Pipe::new(), Pipe::new());
        if let Some(epoch) = self.client_side.take() {
            self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Reset });
        }
    }

    /// Another server takes the place of this one.
    pub(crate) fn replace_server(&mut self, server: Server<W>) {
        (self.server, self.server_side) = (server, None);
    }

    fn deadline(&self) -> Option<Deadline> {
        match (self.client.poll_timeout(), self.server.poll_timeout()) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let target = at(self.now.as_millis() + millis);
        while let Some(due) = self.deadline().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    pub(crate) fn turn(&mut self) {
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 100_000, "at {:?} the machines do not come to rest", self.now);
            let busy = self.act_client() | self.act_server() | self.move_up() | self.move_down();
            let due = self.deadline().is_some_and(|due| due.at <= self.now);
            if due && !busy {
                self.client.handle_timeout(self.now);
                self.server.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.client.poll_timeout());
        assert_later(self.now, self.server.poll_timeout());
    }

    fn act_client(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.client.poll_action() {
            busy = true;
            match action {
                Action::Connect { epoch } if self.reachable => {
                    (self.up, self.down) = (Pipe::new(), Pipe::new());
                    (self.up.flow, self.down.flow) = self.next_flow;
                    self.next_flow = (usize::MAX, usize::MAX);
                    self.client_side = Some(epoch);
                    self.said = 0;
                    self.server_side = self.server.accept(self.now, None).ok();
                    self.client.handle_input(self.now, Input::Opened { epoch });
                }
                Action::Connect { epoch } => {
                    let failure = Failure::Unreachable;
                    self.client.handle_input(self.now, Input::OpenFailed { epoch, failure });
                }
                Action::Disconnect { epoch } if self.client_side == Some(epoch) => {
                    self.client_side = None;
                    self.up.ended = true;
                }
                _ => {}
            }
        }
        while let Some(event) = self.client.poll_event(self.now) {
            busy = true;
            self.events.push((self.now.as_millis(), event));
        }
        busy
    }

    fn act_server(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.server.poll_action() {
            busy = true;
            if let ServerAction::Disconnect(id) = action
                && self.server_side == Some(id)
            {
                self.server_side = None;
                self.down.ended = true;
            }
        }
        while self.server_takes
            && let Some(event) = self.server.poll_event(self.now)
        {
            busy = true;
            self.server_events.push((self.now.as_millis(), event));
        }
        busy
    }

    /// The proxy listens until it has been asked everything.
    fn ask_proxy(&mut self) -> bool {
        let Some((question, answer)) = self.proxy.get(self.said) else { return false };
        let asked = self.up.bytes.iter().take(question.len());
        assert!(asked.eq(question.iter().take(self.up.bytes.len())), "the proxy is asked {:?}", self.up.bytes);
        if self.up.bytes.len() < question.len() {
            return false;
        }
        self.up.bytes.drain(..question.len());
        self.down.bytes.extend(answer);
        self.said += 1;
        true
    }

    fn move_up(&mut self) -> bool {
        let mut busy = self.ask_proxy();
        if let Some(epoch) = self.client_side {
            loop {
                let count = self.up.put(self.client.transmit(), self.grain);
                if count == 0 {
                    break;
                }
                busy = true;
                self.client.handle_input(self.now, Input::Written { epoch, count });
            }
        }
        if let Some(id) = self.server_side
            && self.said == self.proxy.len()
            && self.server.wants_read(id)
        {
            let bytes = self.up.get(self.grain);
            if !bytes.is_empty() {
                busy = true;
                self.server.handle_input(self.now, id, ServerInput::Received(&bytes));
            } else if self.up.is_over() {
                busy = true;
                self.server_side = None;
                self.server.handle_input(self.now, id, ServerInput::Ended(Failure::Eof));
            }
        }
        busy
    }

    fn move_down(&mut self) -> bool {
        let mut busy = false;
        if let Some(id) = self.server_side {
            loop {
                let count = self.down.put(self.server.transmit(id), self.grain);
                if count == 0 {
                    break;
                }
                busy = true;
                self.server.handle_input(self.now, id, ServerInput::Written(count));
            }
        }
        if let Some(epoch) = self.client_side
            && self.client.wants_read()
        {
            let bytes = self.down.get(self.grain);
            if !bytes.is_empty() {
                busy = true;
                self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
            } else if self.down.is_over() {
                busy = true;
                self.client_side = None;
                self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Eof });
            }
        }
        busy
    }

    // What happened.

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, event)| super::name(event) == name).count()
    }

    pub(crate) fn server_saw(&self, name: &str) -> usize {
        self.server_events.iter().filter(|(_, event)| super::server_name(event) == name).count()
    }

    pub(crate) fn downs(&self) -> Vec<(u64, DownReport)> {
        let downs = self.events.iter().filter_map(|(at, event)| match event {
            Event::Down { report, .. } => Some((*at, (**report).clone())),
            _ => None,
        });
        downs.collect()
    }

    /// The messages that arrived at the client.
    pub(crate) fn arrived(&self) -> Vec<String> {
        let messages = self.events.iter().filter_map(|(_, event)| match event {
            Event::Message(message) => Some(String::from_utf8_lossy(message).into_owned()),
            _ => None,
        });
        messages.collect()
    }

    /// The messages that arrived at the server.
    pub(crate) fn server_arrived(&self) -> Vec<String> {
        let messages = self.server_events.iter().filter_map(|(_, event)| match event {
            ServerEvent::Message { message, .. } => Some(String::from_utf8_lossy(message).into_owned()),
            _ => None,
        });
        messages.collect()
    }
}
