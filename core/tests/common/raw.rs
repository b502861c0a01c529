//! A client of which every byte is looked at: nothing is decoded, and whoever is at the other end is the test.

use std::sync::Arc;

use keepbeat_core::client::{Action, Client, ClientConfigBuilder, Epoch, Event, Input};
use keepbeat_core::time::{DeadlineCause, Timestamp};
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::{DownCause, Failure};

use super::{assert_later, at};

pub(crate) struct Raw {
    pub(crate) client: Client<Beat>,
    pub(crate) now: Timestamp,
    pub(crate) open: Option<Epoch>,
    /// How many more bytes the operating system takes.
    pub(crate) room: usize,
    /// What the client said on the current connection.
    pub(crate) said: Vec<u8>,
    /// How often it has connected.
    pub(crate) connects: u32,
    pub(crate) events: Vec<(u64, Event)>,
}

impl Raw {
    /// Opened at 0, to this server if there is a name.
    pub(crate) fn open(config: ClientConfigBuilder<Beat>, server: Option<&str>) -> Self {
        Self::open_in(config, server, usize::MAX)
    }

    /// The same, and the operating system takes so many bytes.
    pub(crate) fn open_in(config: ClientConfigBuilder<Beat>, server: Option<&str>, room: usize) -> Self {
        let mut client = Client::new(Arc::new(config.build().unwrap()), 1);
        if let Some(server) = server {
            client = client.to_server(server.parse().unwrap());
        }
        let (said, events) = (Vec::new(), Vec::new());
        let mut raw = Self { client, now: Timestamp::ZERO, open: None, room, said, connects: 0, events };
        raw.client.open(raw.now);
        raw.turn();
        raw
    }

    /// The other end says this.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let epoch = self.open.expect("a connection is open");
        self.client.handle_input(self.now, Input::Received { epoch, bytes });
        self.turn();
    }

    /// The same, a byte at a time.
    pub(crate) fn hear_slowly(&mut self, bytes: &[u8]) {
        bytes.chunks(1).for_each(|byte| self.hear(byte));
    }

    /// The other end hangs up.
    pub(crate) fn hang_up(&mut self) {
        let epoch = self.open.take().expect("a connection is open");
        self.client.handle_input(self.now, Input::Ended { epoch, failure: Failure::Eof });
        self.turn();
    }

    /// What the client said since this was last asked.
    pub(crate) fn take_said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    pub(crate) fn turn(&mut self) {
        loop {
            let busy = self.act() | self.write();
            let due = self.client.poll_timeout().is_some_and(|due| due.at <= self.now);
            if due && !busy {
                self.client.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.client.poll_timeout());
    }

    /// Wakes at the next deadline, which must be for this.
    pub(crate) fn wake(&mut self, cause: DeadlineCause) -> u64 {
        let due = self.client.poll_timeout().expect("something is due");
        assert_eq!(due.cause, cause, "at {:?}", due.at);
        self.now = due.at;
        self.turn();
        self.now.as_millis()
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let target = at(self.now.as_millis() + millis);
        while let Some(due) = self.client.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.client.poll_action() {
            busy = true;
            match action {
                Action::Connect { epoch } => {
                    (self.open, self.said) = (Some(epoch), Vec::new());
                    self.connects += 1;
                    self.client.handle_input(self.now, Input::Opened { epoch });
                }
                Action::Disconnect { epoch } if self.open == Some(epoch) => self.open = None,
                _ => {}
            }
        }
        while let Some(event) = self.client.poll_event(self.now) {
            busy = true;
            self.events.push((self.now.as_millis(), event));
        }
        busy
    }

    fn write(&mut self) -> bool {
        let mut busy = false;
        while let Some(epoch) = self.open
            && self.room.min(self.client.transmit().len()) > 0
        {
            busy = true;
            let count = self.room.min(self.client.transmit().len());
            self.said.extend_from_slice(&self.client.transmit()[..count]);
            if self.room != usize::MAX {
                self.room -= count;
            }
            self.client.handle_input(self.now, Input::Written { epoch, count });
        }
        busy
    }

    // What happened.

    /// Why connections and attempts ended, and when, and when the next begins.
    pub(crate) fn downs(&self) -> Vec<(u64, DownCause, Option<u64>)> {
        let downs = self.events.iter().filter_map(|(at, event)| match event {
            Event::Down { report, retry_at, .. } => {
                Some((*at, report.cause.clone(), retry_at.map(|at| at.as_millis())))
            }
            _ => None,
        });
        downs.collect()
    }

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, event)| super::name(event) == name).count()
    }
}
