//! A client whose server is the test.

use std::sync::Arc;

use keepbeat_core::client::{Action, Client, ClientConfigBuilder, Epoch, Event, Input};
use keepbeat_core::time::{DeadlineCause, Timestamp};
use keepbeat_core::wire::beat::Beat;
use keepbeat_core::wire::{Frame, Welcome};
use keepbeat_core::{DownReport, Failure};

use super::{Ear, assert_later, at, encoded, welcome};

/// What becomes of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It opens at once.
    Open,
    /// It fails at once.
    Refuse,
    /// Nothing happens; the test may report something later.
    Hang,
}

pub(crate) struct Dialer {
    pub(crate) client: Client<Beat>,
    pub(crate) now: Timestamp,
    /// The connection that is open.
    pub(crate) open: Option<Epoch>,
    pub(crate) answer: Answer,
    /// How many more bytes the operating system takes.
    pub(crate) room: usize,
    /// Whether every BEAT is answered at once.
    pub(crate) echoes: bool,
    /// Whether the application takes its events.
    pub(crate) takes: bool,
    pub(crate) actions: Vec<(u64, Action)>,
    pub(crate) events: Vec<(u64, Event)>,
    ear: Ear,
    unread: Vec<u8>,
}

impl Dialer {
    pub(crate) fn new(config: ClientConfigBuilder<Beat>) -> Self {
        Self::seeded(config, 1)
    }

    pub(crate) fn seeded(config: ClientConfigBuilder<Beat>, seed: u64) -> Self {
        Self {
            client: Client::new(Arc::new(config.build().unwrap()), seed),
            now: Timestamp::ZERO,
            open: None,
            answer: Answer::Open,
            room: usize::MAX,
            echoes: false,
            takes: true,
            actions: Vec::new(),
            events: Vec::new(),
            ear: Ear::new(),
            unread: Vec::new(),
        }
    }

    /// Opened at 0 and welcomed at once; what happened until then is forgotten.
    pub(crate) fn up(config: ClientConfigBuilder<Beat>) -> Self {
        let mut rig = Self::new(config);
        rig.client.open(rig.now);
        rig.turn();
        rig.say(&Frame::Welcome(Box::new(welcome())));
        rig.forget();
        rig
    }

    pub(crate) fn welcome(&mut self, welcome: Welcome) {
        self.say(&Frame::Welcome(Box::new(welcome)));
    }

    /// The peer says this.
    pub(crate) fn say(&mut self, frame: &Frame) {
        self.say_bytes(&encoded(frame));
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.turn();
    }

    /// The peer said this, but the driver has not looked yet.
    pub(crate) fn say_unseen(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The driver reports this about the open connection, which stays open.
    pub(crate) fn report(&mut self, failure: Failure) {
        let epoch = self.open.expect("a connection is open");
        self.client.handle_input(self.now, Input::Ended { epoch, failure });
        self.turn();
    }

    /// The open connection ends.
    pub(crate) fn cut(&mut self, failure: Failure) {
        let epoch = self.open.take().expect("a connection is open");
        self.client.handle_input(self.now, Input::Ended { epoch, failure });
        self.turn();
    }

    /// Wakes at every deadline until `millis`, and there.
    pub(crate) fn advance_to(&mut self, millis: u64) {
        self.advance_until(at(millis));
    }

    pub(crate) fn advance_until(&mut self, target: Timestamp) {
        assert!(target >= self.now, "time runs forwards");
        while let Some(due) = self.client.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
        self.turn();
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        // From wherever the last deadline left us, in whole milliseconds.
        self.advance_to(self.now.as_millis() + millis);
    }

    /// Wakes at the next deadline, which must be for this.
    pub(crate) fn wake(&mut self, cause: DeadlineCause) -> Timestamp {
        let due = self.client.poll_timeout().expect("something is due");
        assert_eq!(due.cause, cause, "at {:?}", due.at);
        self.now = due.at;
        self.turn();
        self.now
    }

    /// The machine sleeps: time passes, nobody wakes. Then one turn.
    pub(crate) fn sleep(&mut self, millis: u64) {
        self.now = at(self.now.as_millis() + millis);
        self.turn();
    }

    /// When the next deadline is and what for.
    pub(crate) fn due(&self) -> (u64, DeadlineCause) {
        let due = self.client.poll_timeout().expect("something is due");
        (due.at.as_millis(), due.cause)
    }

    pub(crate) fn turn(&mut self) {
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 100_000, "at {:?} the machine does not come to rest", self.now);
            let busy = self.act() | self.write() | self.read();
            let due = self.client.poll_timeout().is_some_and(|due| due.at <= self.now);
            if due && !busy {
                self.client.handle_timeout(self.now);
            } else if !busy {
                break;
            }
        }
        assert_later(self.now, self.client.poll_timeout());
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.client.poll_action() {
            busy = true;
            self.actions.push((self.now.as_millis(), action));
            match action {
                Action::Connect { epoch } => match self.answer {
                    Answer::Open => {
                        self.open = Some(epoch);
                        (self.ear, self.unread) = (Ear::new(), Vec::new());
                        self.client.handle_input(self.now, Input::Opened { epoch });
                    }
                    Answer::Refuse => {
                        let failure = Failure::Refused;
                        self.client.handle_input(self.now, Input::OpenFailed { epoch, failure });
                    }
                    Answer::Hang => {}
                },
                Action::Disconnect { epoch } if self.open == Some(epoch) => self.open = None,
                _ => {}
            }
        }
        while self.takes
            && let Some(event) = self.client.poll_event(self.now)
        {
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
            let bytes = self.client.transmit()[..count].to_vec();
            if self.room != usize::MAX {
                self.room -= count;
            }
            self.client.handle_input(self.now, Input::Written { epoch, count });
            let known = self.ear.frames.len();
            self.ear.hear(self.now, &bytes);
            for (_, frame) in &self.ear.frames[known..] {
                if let Frame::Beat { seq } = frame
                    && self.echoes
                {
                    self.unread.extend_from_slice(&encoded(&Frame::Echo { seq: *seq }));
                }
            }
        }
        busy
    }

    fn read(&mut self) -> bool {
        match self.open {
            Some(epoch) if !self.unread.is_empty() && self.client.wants_read() => {
                let bytes = std::mem::take(&mut self.unread);
                self.client.handle_input(self.now, Input::Received { epoch, bytes: &bytes });
                true
            }
            _ => false,
        }
    }

    // What happened.

    pub(crate) fn forget(&mut self) {
        self.actions.clear();
        self.events.clear();
        self.ear.take();
    }

    /// What the client said since this was last asked, and when.
    pub(crate) fn heard(&mut self) -> Vec<(u64, Frame)> {
        self.ear.take()
    }

    /// When it sent beats since this or [`Dialer::heard`] was last asked.
    pub(crate) fn beats(&mut self) -> Vec<u64> {
        let heard = self.ear.take();
        heard.into_iter().filter(|(_, frame)| matches!(frame, Frame::Beat { .. })).map(|(at, _)| at).collect()
    }

    pub(crate) fn connects(&self) -> Vec<u64> {
        let connects = self.actions.iter().filter(|(_, action)| matches!(action, Action::Connect { .. }));
        connects.map(|(at, _)| *at).collect()
    }

    /// The reports of all ends so far.
    pub(crate) fn downs(&self) -> Vec<(u64, DownReport, Option<Timestamp>)> {
        let downs = self.events.iter().filter_map(|(at, event)| match event {
            Event::Down { report, retry_at, .. } => Some((*at, (**report).clone(), *retry_at)),
            _ => None,
        });
        downs.collect()
    }

    pub(crate) fn saw(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, event)| super::name(event) == name).count()
    }
}
