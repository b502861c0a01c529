//! A client and a server on one clock that nobody can rely on, and between them a pipe.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Clock, MOST_STEPS, assert_rest, config};
use crate::client::{Action, Client, Epoch, Event, Input};
use crate::connection::Failure;
use crate::entropy::Prng;
use crate::fuzzing::script::Script;
use crate::reconnect::Hint;
use crate::server::{Admission, ConnectionId, Server, ServerAction, ServerEvent, ServerInput};
use crate::time::Timestamp;
use crate::wire::{Credentials, DeviceId, Goodbye, Reason};

/// So long before the last moment, what is awaited may lie behind it, and then it never comes.
const LONGEST_WAIT: Duration = Duration::from_secs(3 * 366 * 24 * 3600);

/// Machines on a clock that stands come to rest within so many turns.
const MOST_TURNS: u32 = 1000;

pub(super) fn run(mut script: Script<'_>) {
    let (Some(client), Some(server)) = (config::client(&mut script), config::server(&mut script)) else { return };
    let server = Server::new(Arc::new(server), Box::new(Prng::new(2)), 3);
    let mut world = World {
        clock: Clock::new(),
        server_latest: Timestamp::ZERO,
        device: client.device().clone(),
        client: Client::new(Arc::new(client), 1),
        server,
        attempt: None,
        client_side: None,
        server_side: None,
        unanswered: Vec::new(),
        up: VecDeque::new(),
        down: VecDeque::new(),
    };
    world.client.open(world.clock.now);
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        let due = if script.flag() { world.client.poll_timeout() } else { world.server.poll_timeout() };
        world.clock.turn(&mut script, due);
        world.happen(&mut script);
        world.turn();
    }
}

struct World {
    clock: Clock,
    /// The latest moment that this server was told; one that follows another may be told earlier ones.
    server_latest: Timestamp,
    device: DeviceId,
    client: Client,
    server: Server,
    /// The attempt that was not answered yet.
    attempt: Option<Epoch>,
    client_side: Option<Epoch>,
    server_side: Option<ConnectionId>,
    unanswered: Vec<ConnectionId>,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
}

impl World {
    fn happen(&mut self, script: &mut Script<'_>) {
        let now = self.clock.now;
        match script.below(24) {
            0..4 => self.open(),
            4 => {
                if let Some(epoch) = self.attempt.take() {
                    self.client.handle_input(now, Input::OpenFailed { epoch, failure: Failure::Refused });
                }
            }
            5..8 => self.carry(usize::MAX),
            8 => self.carry(script.byte().into()),
            9 => self.cut(),
            10 => drop(self.client.send(now, b"up".into())),
            11 => drop(self.server.send(now, &self.device, b"down".into())),
            12 => self.client.open(now),
            13 => self.client.close(now),
            14 => self.client.drain(now, script.span()),
            15 => self.client.retry_now(now),
            16 => {
                let hints = [Hint::NetworkUp, Hint::NetworkDown, Hint::Foreground, Hint::Background];
                self.client.hint(now, script.one_of(&hints));
            }
            17 => self.answer(script),
            18 => {
                let numbers = [0, 1, 1000, u32::MAX];
                let (retry_after_ms, spread_ms) = (script.one_of(&numbers), script.one_of(&numbers));
                let reason = Reason::from_code(script.byte() % 13);
                let goodbye = Goodbye { retry_after_ms, spread_ms, ..Goodbye::new(reason, "") };
                self.server.disconnect(now, &self.device, goodbye);
            }
            19 => self.take_events(),
            20 if script.byte() == 0 => self.server.drain(now, script.span(), script.span()),
            21 => self.restart_server(),
            _ => {}
        }
    }

    /// The attempt succeeds, if there is one and room at the server.
    fn open(&mut self) {
        let now = self.clock.now;
        let Some(epoch) = self.attempt.take() else { return };
        self.cut();
        match self.server.accept(now, Some([127, 0, 0, 1].into())) {
            Ok(id) => {
                (self.client_side, self.server_side) = (Some(epoch), Some(id));
                self.client.handle_input(now, Input::Opened { epoch });
            }
            Err(_) => self.client.handle_input(now, Input::OpenFailed { epoch, failure: Failure::Reset }),
        }
    }

    /// Bytes go from each side to the other, so many at most.
    fn carry(&mut self, most: usize) {
        let now = self.clock.now;
        if let Some(epoch) = self.client_side {
            let bytes = self.client.transmit();
            let count = bytes.len().min(most);
            self.up.extend(&bytes[..count]);
            self.client.handle_input(now, Input::Written { epoch, count });
            if self.client.wants_read() && !self.down.is_empty() {
                let bytes: Vec<u8> = self.down.drain(..self.down.len().min(most)).collect();
                self.client.handle_input(now, Input::Received { epoch, bytes: &bytes });
            }
        }
        if let Some(id) = self.server_side {
            let bytes = self.server.transmit(id);
            let count = bytes.len().min(most);
            self.down.extend(&bytes[..count]);
            self.server.handle_input(now, id, ServerInput::Written(count));
            if self.server.wants_read(id) && !self.up.is_empty() {
                let bytes: Vec<u8> = self.up.drain(..self.up.len().min(most)).collect();
                self.server.handle_input(now, id, ServerInput::Received(&bytes));
            }
        }
    }

    fn cut(&mut self) {
        let (now, failure) = (self.clock.now, Failure::Reset);
        self.up.clear();
        self.down.clear();
        if let Some(epoch) = self.client_side.take() {
            self.client.handle_input(now, Input::Ended { epoch, failure });
        }
        if let Some(id) = self.server_side.take() {
            self.server.handle_input(now, id, ServerInput::Ended(failure));
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let Some(id) = self.unanswered.pop() else { return };
        let admission = match script.below(4) {
            0 => Admission::Busy { retry_after: script.span(), spread: script.span() },
            1 => Admission::Unauthorized("no".into()),
            _ => Admission::Accept,
        };
        self.server.answer(self.clock.now, id, admission);
    }

    /// The next server goes on with the sessions of this one.
    fn restart_server(&mut self) {
        self.cut();
        let (now, config) = (self.clock.now, Arc::new(self.server.config().clone()));
        let sessions = self.server.take_sessions(now);
        self.server = Server::with_sessions(config, Box::new(Prng::new(4)), 5, now, sessions);
        self.server_latest = now;
        self.unanswered.clear();
    }

    fn take_events(&mut self) {
        let now = self.clock.now;
        while let Some(event) = self.client.poll_event(now) {
            if let Event::Down { report, .. } = event {
                // Nobody's clock may say that more was answered than was asked.
                assert!(report.evidence.is_none_or(|seen| seen.beats_answered <= seen.beats_sent));
            }
        }
        while let Some(event) = self.server.poll_event(now) {
            if let ServerEvent::Authenticate { connection, .. } = event {
                self.unanswered.push(connection);
            }
        }
    }

    fn turn(&mut self) {
        let now = self.clock.now;
        self.server_latest = self.server_latest.max(now);
        // At the end of time there is no rest.
        let most = if self.clock.latest == Timestamp::MAX { 1 } else { MOST_TURNS };
        for _ in 0..most {
            self.client.handle_timeout(now);
            self.server.handle_timeout(now);
            let busy = self.act_client() | self.act_server();
            if !busy {
                assert_rest(self.clock.latest, self.client.poll_timeout());
                assert_rest(self.server_latest, self.server.poll_timeout());
                let waits = self.client.poll_timeout().is_some() || self.client.state().is_over();
                let end = Timestamp::MAX.before(LONGEST_WAIT);
                assert!(waits || self.clock.latest > end, "{:?}, and waits for nothing", self.client.state());
                return;
            }
        }
        assert_eq!(self.clock.latest, Timestamp::MAX, "the machines do not come to rest");
    }

    fn act_client(&mut self) -> bool {
        let (now, mut busy) = (self.clock.now, false);
        while let Some(action) = self.client.poll_action() {
            busy = true;
            match action {
                Action::FetchCredentials { epoch, .. } => {
                    self.client.handle_input(now, Input::Credentials { epoch, credentials: Credentials::default() });
                }
                Action::Connect { epoch } => self.attempt = Some(epoch),
                Action::Disconnect { epoch } => {
                    self.attempt = self.attempt.filter(|attempt| *attempt != epoch);
                    self.client_side = self.client_side.filter(|open| *open != epoch);
                }
                Action::Transmit { .. } => {}
            }
        }
        busy
    }

    fn act_server(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.server.poll_action() {
            busy = true;
            if let ServerAction::Disconnect(id) = action {
                self.server_side = self.server_side.filter(|open| *open != id);
            }
        }
        busy
    }
}
