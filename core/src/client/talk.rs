//! What a client says and hears: the handshake, and what follows it.

use alloc::boxed::Box;
use core::time::Duration;

use super::{Client, Event, State, Unauthorized};
use crate::connection::{Connection, DownCause, Heard, Meaning};
use crate::liveness::{Judgement, Liveness, LivenessConfig};
use crate::reconnect::ReconnectState;
use crate::session::Ticket;
use crate::time::{Timestamp, wire_millis};
use crate::tunnel::Layers;
use crate::wire::{Credentials, Frame, Hello, Opening, PROTOCOL_VERSION, Reason, Role, Welcome, Wire, WireError};

impl<W: Wire> Client<W> {
    pub(super) fn say_hello(&mut self, now: Timestamp, credentials: Credentials) {
        if self.server.is_none() && self.config.needs_server_name() {
            return self.lose(now, DownCause::ServerUnnamed);
        }
        let layers = match Layers::of_client(&self.config.way, self.server.as_deref()) {
            Ok(layers) => layers,
            Err(error) => return self.lose(now, error.into()),
        };
        let memory = core::mem::take(&mut self.memory);
        let opening = Opening {
            role: Role::Client,
            server: self.server.as_deref(),
            secure: self.config.is_secure(),
            durable: self.account.as_ref().is_some_and(|account| account.is_durable()),
            entropy: match &mut self.entropy {
                Some(entropy) => &mut **entropy,
                None => &mut self.prng,
            },
        };
        let connection =
            Connection::open(&self.config.wire, opening, layers, now, self.config.handshake_timeout, memory);
        let mut connection = Box::new(connection);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            device: self.device.clone(),
            instance: self.instance,
            attempt: self.epoch.0,
            interval_ms: wire_millis(self.config.liveness.interval()),
            reply_timeout_ms: wire_millis(self.config.liveness.reply_timeout()),
            message_limit: self.config.message_limit() as u64,
            token: self.token,
            received: if self.token.is_some() { self.session.inbox.received() } else { 0 },
            credentials,
        };
        connection.say(now, &Frame::Hello(Box::new(hello)));
        self.state = State::Connected { connection, ending: None };
    }

    /// Bytes arrived.
    #[inline]
    pub(super) fn receive(&mut self, now: Timestamp, bytes: &[u8]) {
        let State::Connected { connection, ending: None } = &mut self.state else { return };
        connection.received(now);
        if connection.hears_indirectly() {
            self.receive_indirectly(now, bytes);
            return self.settle(now);
        }
        let mut heard = Heard::nothing_of(bytes);
        let decoded = connection.decode(now, &mut heard);
        if heard.take_beats() {
            self.reconnect.proof_of_life();
        }
        if !matches!(decoded, Ok(None)) {
            self.hear(now, decoded, heard);
            return self.settle(now);
        }
        connection.decoded(now, &heard);
        self.rtt_is_new |= connection.liveness_mut().is_some_and(Liveness::take_measured);
        if connection.is_at_rest() {
            // What an idle link hears moves its deadline, and nothing else.
            self.due = self.next_deadline();
        } else {
            self.settle(now);
        }
    }

    #[inline(never)]
    fn receive_indirectly(&mut self, now: Timestamp, bytes: &[u8]) {
        if let Some((plain, end)) = self.connection_mut().and_then(|connection| connection.take_in(bytes)) {
            self.hear_to_end(now, &plain, end);
        }
    }

    /// The inbox has room for what was left unread.
    pub(super) fn read_on(&mut self, now: Timestamp) {
        if let Some(bytes) = self.connection_mut().and_then(Connection::open_unread) {
            self.hear_to_end(now, &bytes, None);
        }
    }

    /// The connection is over: what came before that is heard yet, and perhaps the cause is in it.
    pub(super) fn be_cut_off(&mut self, now: Timestamp, cause: DownCause) {
        if let State::Connected { connection, .. } = &mut self.state
            && let Some(bytes) = connection.open_last(&self.session.inbox)
        {
            self.hear_all(now, &bytes);
        }
        match &mut self.state {
            State::Connected { ending: Some(_), .. } => self.finish(now),
            State::Connected { connection, .. } => {
                let said = connection.last_word();
                self.lose(now, said.unwrap_or(cause));
            }
            _ => {}
        }
    }

    fn hear_to_end(&mut self, now: Timestamp, bytes: &[u8], end: Option<DownCause>) {
        self.hear_all(now, bytes);
        if let Some(cause) = self.connection_mut().and_then(|connection| connection.end_behind(end)) {
            self.part(now, cause);
        }
    }

    fn hear_all(&mut self, now: Timestamp, bytes: &[u8]) {
        let Some(connection) = self.connection_mut() else { return };
        let mut heard = Heard::nothing_of(bytes);
        let decoded = connection.decode(now, &mut heard);
        self.hear(now, decoded, heard);
    }

    /// Acts on what was decoded last, and on all that follows it, as far as the inbox has room.
    #[inline(never)]
    fn hear(&mut self, now: Timestamp, mut decoded: Result<Option<Frame>, DownCause>, mut heard: Heard<'_>) {
        loop {
            if heard.take_beats() {
                self.reconnect.proof_of_life();
            }
            let State::Connected { connection, .. } = &mut self.state else { return };
            let meaning = match decoded {
                Ok(None) => return connection.decoded(now, &heard),
                Ok(Some(frame)) if connection.is_established() => {
                    let meaning = connection.act_on(frame, &mut self.session);
                    if meaning.is_ok() {
                        self.reconnect.proof_of_life();
                    }
                    meaning
                }
                Ok(Some(frame)) => self.be_answered(now, frame).map(|()| Meaning::Nothing),
                Err(cause) => Err(cause),
            };
            match meaning {
                Ok(Meaning::Nothing) => {}
                Ok(Meaning::Message(message)) => {
                    if let Some(account) = &mut self.account {
                        account.came();
                    }
                    self.events.push(Event::Message(message));
                }
                Ok(Meaning::Acknowledged(through)) => self.acknowledged(through),
                Ok(Meaning::Answered { ticket, answer }) => self.events.push(Event::Answered { ticket, answer }),
                Err(cause) => self.part(now, cause),
            }
            let State::Connected { connection, ending: None } = &mut self.state else { return };
            let inbox = &self.session.inbox;
            if inbox.is_full() && connection.is_established() && connection.leave_unread(now, &heard, inbox) {
                return;
            }
            decoded = connection.decode(now, &mut heard);
        }
    }

    pub(super) fn acknowledged(&mut self, through: Ticket) {
        self.note_settled(through);
        match self.events.newest_mut() {
            Some(Event::Acknowledged { through: newest }) => *newest = through,
            _ => self.events.push(Event::Acknowledged { through }),
        }
    }

    /// The server's answer to our hello.
    pub(super) fn be_answered(&mut self, now: Timestamp, frame: Frame) -> Result<(), DownCause> {
        match frame {
            Frame::Welcome(welcome) => self.be_welcomed(now, &welcome),
            Frame::Refuse(goodbye) | Frame::Goodbye(goodbye) => Err(DownCause::Refused(*goodbye)),
            other => {
                Err(DownCause::Protocol(WireError::Unexpected { frame: other.name(), expected: "WELCOME or REFUSE" }))
            }
        }
    }

    pub(super) fn be_welcomed(&mut self, now: Timestamp, welcome: &Welcome) -> Result<(), DownCause> {
        if welcome.version == 0 || welcome.version > PROTOCOL_VERSION {
            return Err(DownCause::EndedByUs(Reason::UnsupportedVersion));
        }
        let in_doubt = self.take_up(welcome)?;
        self.token = Some(welcome.token);
        self.refreshed.take_if(|refusal| *refusal == Unauthorized::Outside);
        let liveness = self.judge(now, welcome);
        let attempt = match self.reconnect.state() {
            ReconnectState::Connecting { attempt } => attempt,
            _ => 1,
        };
        self.reconnect.connected(now);
        self.next_hint = now;
        self.events.push(Event::Up {
            resumed: welcome.resumed,
            attempt,
            took: now.since(self.down_since),
            in_doubt,
            interval: liveness.interval(),
            worst_case_detection: liveness.worst_case_detection(),
        });
        self.greeting = self.config.greeting.then(|| now.after(self.config.handshake_timeout));
        if let State::Connected { connection, .. } = &mut self.state {
            connection.establish(now, liveness, welcome.message_limit);
            if let Some(account) = &self.account {
                connection.taken(now, account.done());
            }
            // The server learns that its welcome arrived.
            connection.acknowledge();
        }
        Ok(())
    }

    /// Goes on with the session, or begins another. Returns how many messages may arrive twice.
    pub(super) fn take_up(&mut self, welcome: &Welcome) -> Result<usize, DownCause> {
        if !welcome.resumed {
            if welcome.received > 0 {
                let (got, expected) = (welcome.received, 0);
                return Err(DownCause::Protocol(WireError::Sequence { frame: "WELCOME", got, expected }));
            }
            if let Some(account) = &mut self.account {
                account.restart();
            }
            return Ok(self.session.restart());
        }
        // A session that cannot go on is given up; the next attempt begins a new one.
        if self.token.take().is_none() && !W::resumes_without_token(&self.config.wire) {
            let problem = "it resumes a session that we did not ask for";
            return Err(DownCause::Protocol(WireError::Malformed { frame: "WELCOME", problem }));
        }
        // Where sessions go on without a token, there would be no other: the wire hands such a message back.
        let ends = !W::resumes_without_token(&self.config.wire);
        if let Some(length) = self.session.outbox.numbered_above(welcome.message_limit).filter(|_| ends) {
            return Err(DownCause::Protocol(WireError::TooLarge { length, limit: welcome.message_limit }));
        }
        match self.session.outbox.resume(welcome.received) {
            Ok(Some(through)) => self.acknowledged(through),
            Ok(None) => {}
            Err(error) => {
                let (got, expected) = (error.got, error.highest);
                return Err(DownCause::Protocol(WireError::Sequence { frame: "WELCOME", got, expected }));
            }
        }
        Ok(0)
    }

    pub(super) fn judge(&mut self, now: Timestamp, welcome: &Welcome) -> Liveness {
        let wish = self.config.liveness.interval();
        let shortest = W::shortest_interval(&self.config.wire, wish).max(LivenessConfig::SHORTEST);
        let interval =
            Duration::from_millis(welcome.interval_ms.into()).clamp(shortest, LivenessConfig::LONGEST_INTERVAL);
        let reply_timeout = Duration::from_millis(welcome.reply_timeout_ms.into())
            .clamp(self.config.liveness.reply_timeout().min(interval), interval);
        let judgement = self.connection_mut().map_or(Judgement::RoundTrip, |connection| connection.judgement());
        let seed = self.prng.next_u64();
        Liveness::with_terms(self.config.liveness.clone(), judgement, interval, reply_timeout, now, seed)
    }
}
