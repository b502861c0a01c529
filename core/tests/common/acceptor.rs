//! A server whose devices are the test.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use keepbeat_core::Failure;
use keepbeat_core::server::{
    AcceptError, ConnectionId, Server, ServerAction, ServerConfigBuilder, ServerEvent, ServerInput,
};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::{Frame, Goodbye, Hello, Welcome};

use super::{Ear, assert_later, at, encoded, entropy};

pub(crate) struct Acceptor {
    pub(crate) server: Server<Beat>,
    pub(crate) now: Timestamp,
    /// Whether the application takes its events.
    pub(crate) takes: bool,
    pub(crate) events: Vec<(u64, ServerEvent)>,
    /// Connections that the server closed, and when.
    pub(crate) closed: Vec<(u64, ConnectionId)>,
    ears: BTreeMap<ConnectionId, Ear>,
    unread: BTreeMap<ConnectionId, Vec<u8>>,
}

impl Acceptor {
    pub(crate) fn new(config: ServerConfigBuilder<Beat>) -> Self {
        Self::of(Server::new(Arc::new(config.build().unwrap()), entropy(), 3), Timestamp::ZERO)
    }

    pub(crate) fn of(server: Server<Beat>, now: Timestamp) -> Self {
        let (events, closed) = (Vec::new(), Vec::new());
        Self { server, now, takes: true, events, closed, ears: BTreeMap::new(), unread: BTreeMap::new() }
    }

    pub(crate) fn dial(&mut self) -> ConnectionId {
        self.dial_from(None).unwrap()
    }

    pub(crate) fn dial_from(&mut self, address: Option<IpAddr>) -> Result<ConnectionId, AcceptError> {
        let id = self.server.accept(self.now, address)?;
        self.ears.insert(id, Ear::new());
        self.unread.insert(id, Vec::new());
        self.turn();
        Ok(id)
    }

    /// Dials and says hello.
    pub(crate) fn enter(&mut self, hello: &Hello) -> ConnectionId {
        let id = self.dial();
        self.say(id, &Frame::Hello(Box::new(hello.clone())));
        id
    }

    /// The same; it must be welcomed.
    pub(crate) fn welcomed(&mut self, hello: &Hello) -> (ConnectionId, Welcome) {
        let id = self.enter(hello);
        let frames = self.heard(id);
        match frames
            .into_iter()
            .find_map(|frame| if let Frame::Welcome(welcome) = frame { Some(welcome) } else { None })
        {
            Some(welcome) => (id, *welcome),
            None => panic!("{} was not welcomed", hello.device),
        }
    }

    pub(crate) fn say(&mut self, id: ConnectionId, frame: &Frame) {
        self.say_bytes(id, &encoded(frame));
    }

    pub(crate) fn say_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.unread.entry(id).or_default().extend_from_slice(bytes);
        self.turn();
    }

    pub(crate) fn hang_up(&mut self, id: ConnectionId, failure: Failure) {
        self.server.handle_input(self.now, id, ServerInput::Ended(failure));
        self.turn();
    }

    pub(crate) fn advance_to(&mut self, millis: u64) {
        let target = at(millis);
        assert!(target >= self.now, "time runs forwards");
        while let Some(due) = self.server.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        self.advance_to(self.now.as_millis() + millis);
    }

    pub(crate) fn turn(&mut self) {
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 100_000, "at {:?} the machine does not come to rest", self.now);
            let busy = self.act() | self.write() | self.read();
            let due = self.server.poll_timeout().is_some_and(|due| due.at <= self.now);
            if due && !busy {
                self.server.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.server.poll_timeout());
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.server.poll_action() {
            busy = true;
            if let ServerAction::Disconnect(id) = action {
                self.closed.push((self.now.as_millis(), id));
                self.unread.remove(&id);
            }
        }
        while self.takes
            && let Some(event) = self.server.poll_event(self.now)
        {
            busy = true;
            self.events.push((self.now.as_millis(), event));
        }
        busy
    }

    fn write(&mut self) -> bool {
        let mut busy = false;
        for (id, ear) in &mut self.ears {
            while !self.server.transmit(*id).is_empty() {
                busy = true;
                let bytes = self.server.transmit(*id).to_vec();
                self.server.handle_input(self.now, *id, ServerInput::Written(bytes.len()));
                ear.hear(self.now, &bytes);
            }
        }
        busy
    }

    fn read(&mut self) -> bool {
        let mut busy = false;
        for (id, bytes) in &mut self.unread {
            if !bytes.is_empty() && self.server.wants_read(*id) {
                busy = true;
                self.server.handle_input(self.now, *id, ServerInput::Received(&std::mem::take(bytes)));
            }
        }
        busy
    }

    // What happened.

    /// What the server said on this connection since this was last asked.
    pub(crate) fn heard(&mut self, id: ConnectionId) -> Vec<Frame> {
        let frames = self.ears.get_mut(&id).map(Ear::take).unwrap_or_default();
        frames.into_iter().map(|(_, frame)| frame).collect()
    }

    /// The last words of the server on this connection.
    pub(crate) fn farewell(&mut self, id: ConnectionId) -> Option<Goodbye> {
        match self.heard(id).pop() {
            Some(Frame::Goodbye(goodbye) | Frame::Refuse(goodbye)) => Some(*goodbye),
            _ => None,
        }
    }

    pub(crate) fn is_closed(&self, id: ConnectionId) -> bool {
        self.closed.iter().any(|(_, closed)| *closed == id)
    }

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, event)| super::server_name(event) == name).count()
    }

    /// The events since this was last asked, without their times.
    pub(crate) fn news(&mut self) -> Vec<ServerEvent> {
        std::mem::take(&mut self.events).into_iter().map(|(_, event)| event).collect()
    }
}
