//! `handshake`: first words, hostile or not, for a client, for a server, and from proxies.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | who listens: a client (0), one behind an HTTP proxy (1, with login 2) or a SOCKS5 proxy (3, with login 4), a server (5), one that asks its application (6) about three connections in turn (7); or the rest is the URL of a proxy (8) |
//! | 1 | the seed of the pieces, of the time between them, and of what the application answers |
//! | rest | what arrives |

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::script::{Pieces, Script};
use crate::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use crate::connection::Failure;
use crate::entropy::Prng;
use crate::server::{Admission, ConnectionId, Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use crate::time::{Deadline, Timestamp};
use crate::tunnel::{HostPort, Proxy};
use crate::wire::beat::{Beat, BeatConfig};
use crate::wire::{DeviceId, Frame, Wire};

/// Whose words for a proxy are looked at.
const SERVER: &str = "gate.example:7411";

/// A machine that comes to rest needs fewer turns than this for anything that happens.
const MOST_TURNS: u32 = 1000;

/// From the last byte to the end, a machine wakes fewer times than this.
const MOST_WAKES: u32 = 100;

/// A machine that only listens never has more than this to write, in bytes.
const MOST_WAITING: usize = 128 << 10;

/// A client that is heard over time gets so many connections, and has messages of these sizes to send.
const CONNECTIONS: u32 = 3;
const MESSAGES: [usize; 3] = [0, 10, 2000];

/// There is room for so many connections in their handshake, and as many devices.
const ROOM: usize = 4;

/// Checks that whatever comes, a machine has said its verdict or has a deadline for it; that it comes to rest; that the end
/// comes in time and leaves nothing behind; and that the pieces in which bytes arrive make no difference to a client.
///
/// # Panics
/// If one of these does not hold.
pub fn handshake(data: &[u8]) {
    let mut script = Script::new(data);
    let (who, seed, bytes) = (script.below(9), script.byte(), script.rest());
    match who {
        0 => listen(None, seed, bytes),
        1 => listen(Some("http://proxy.example:3128"), seed, bytes),
        2 => listen(Some("http://user:secret@proxy.example:3128"), seed, bytes),
        3 => listen(Some("socks5://proxy.example:1080"), seed, bytes),
        4 => listen(Some("socks5://user:secret@proxy.example:1080"), seed, bytes),
        8 => ask(&String::from_utf8_lossy(bytes)),
        _ => Listener::new(who > 5, seed).hear(bytes, if who == 7 { 3 } else { 1 }),
    }
}

fn assert_rest(now: Timestamp, due: Option<Deadline>) {
    assert!(due.is_none_or(|due| due.at > now), "at {now:?} the turn is done, but {due:?} is due");
}

/// A client hears these bytes at one moment, however they are cut; and once more, with time between the pieces.
fn listen(proxy: Option<&str>, seed: u8, bytes: &[u8]) {
    let proxy: Option<Proxy> = proxy.map(|url| url.parse().unwrap());
    let mut prng = Prng::new(seed.into());
    let heard = |pieces| Caller::new(proxy.clone()).hear(bytes, pieces, &mut || Duration::ZERO);
    let whole = heard(Pieces::Whole);
    assert_eq!(heard(Pieces::Small), whole, "byte by byte");
    assert_eq!(heard(Pieces::Drawn(prng.clone())), whole, "in pieces");
    if proxy.is_none() {
        let delivered = whole.iter().filter(|event| matches!(event, Event::Message(_))).count();
        assert!(delivered <= messages_in(bytes), "a message was delivered twice");
    }
    // With time between the pieces, and with what was not heard for the connections that follow.
    let mut caller = Caller::new(proxy);
    caller.answers = CONNECTIONS;
    caller.send();
    caller.hear(bytes, Pieces::Drawn(prng.clone()), &mut || pause(&mut prng));
}

/// How many different messages a server says with these bytes.
fn messages_in(mut bytes: &[u8]) -> usize {
    let (mut wire, mut seen) = (Beat::new(&BeatConfig::default()), BTreeSet::new());
    while let Ok(Some(frame)) = wire.decode(&mut bytes) {
        match frame {
            Frame::Welcome(_) => wire.established(),
            Frame::Data { seq, .. } => drop(seen.insert(seq)),
            _ => {}
        }
    }
    seen.len()
}

fn pause(prng: &mut Prng) -> Duration {
    let most = [0, 1, 100, 3000][prng.between(0, 3) as usize];
    Duration::from_millis(prng.between(0, most))
}

/// A proxy's URL is either refused, or what is asked of it is one question without anything smuggled in.
fn ask(url: &str) {
    match url.parse::<HostPort>() {
        Ok(host) => assert_eq!(host.to_string().parse(), Ok(host), "it displays itself as it can be read"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let proxy = match url.parse::<Proxy>() {
        Ok(proxy) => proxy,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let is_http = url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    let mut caller = Caller::new(Some(proxy));
    caller.turn();
    let said = caller.said;
    assert!(!said.is_empty() && said.len() < 2000, "{said:?}");
    if is_http {
        let ends = said.windows(4).filter(|bytes| *bytes == b"\r\n\r\n").count();
        assert!(ends == 1 && said.ends_with(b"\r\n\r\n"), "{said:?}");
    } else {
        assert!(matches!(said[..], [5, 1, 0] | [5, 2, 0, 2]), "{said:?}");
    }
}

/// A client whose first attempts are answered; those after them are not.
struct Caller {
    client: Client,
    now: Timestamp,
    /// So many attempts are still to be answered.
    answers: u32,
    open: Option<Epoch>,
    /// The longest time to a verdict on the current connection.
    bound: Duration,
    said: Vec<u8>,
    events: Vec<Event>,
}

impl Caller {
    fn new(proxy: Option<Proxy>) -> Self {
        let mut config = ClientConfig::builder(DeviceId::new("d").unwrap());
        if let Some(proxy) = proxy {
            config = config.proxy(proxy);
        }
        let mut client = Client::new(Arc::new(config.build().unwrap()), 1).to_server(SERVER.parse().unwrap());
        client.open(Timestamp::ZERO);
        let (said, events) = (Vec::new(), Vec::new());
        Self { client, now: Timestamp::ZERO, answers: 1, open: None, bound: Duration::ZERO, said, events }
    }

    /// What the application was told until the connection was over.
    fn hear(mut self, bytes: &[u8], mut pieces: Pieces, pause: &mut dyn FnMut() -> Duration) -> Vec<Event> {
        self.turn();
        let mut rest = bytes;
        while !rest.is_empty() && self.reopens() {
            self.advance(pause());
            let Some(epoch) = self.open.filter(|_| self.client.wants_read()) else { continue };
            let piece = pieces.next(&mut rest);
            self.client.handle_input(self.now, Input::Received { epoch, bytes: piece });
            self.turn();
        }
        self.wait_for_the_end();
        self.client.close(self.now);
        self.turn();
        assert!(self.client.state().is_over() && self.client.poll_timeout().is_none());
        assert_eq!(self.client.transmit(), b"", "nothing is left to write");
        self.events
    }

    /// Accepts messages of different sizes.
    fn send(&mut self) {
        for size in MESSAGES {
            self.client.send(self.now, alloc::vec![7; size].into()).unwrap();
        }
    }

    /// Whether there is a connection; waits for the next one if there is to be one.
    fn reopens(&mut self) -> bool {
        let mut wakes = 0;
        while self.open.is_none()
            && self.answers > 0
            && let Some(due) = self.client.poll_timeout()
        {
            wakes += 1;
            assert!(wakes < MOST_WAKES, "no attempt begins");
            self.now = due.at;
            self.turn();
        }
        self.open.is_some()
    }

    /// The peer falls silent.
    fn wait_for_the_end(&mut self) {
        self.answers = 0;
        let config = self.client.config();
        let most = config.handshake_timeout.max(self.bound) + config.close_timeout;
        let (end, mut wakes) = (self.now.after(most), 0);
        while self.open.is_some() {
            let due = self.client.poll_timeout().expect("a verdict, or a deadline for it");
            assert!(due.at <= end, "{due:?} is too late for an end before {end:?}");
            wakes += 1;
            assert!(wakes < MOST_WAKES, "the silent connection keeps us busy");
            self.now = due.at;
            self.turn();
        }
    }

    fn advance(&mut self, span: Duration) {
        let target = self.now.after(span);
        while let Some(due) = self.client.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
    }

    fn turn(&mut self) {
        for _ in 0..MOST_TURNS {
            let busy = self.act() | self.write();
            let due = self.client.poll_timeout().is_some_and(|due| due.at <= self.now);
            if due && !busy {
                self.client.handle_timeout(self.now);
            } else if !busy {
                assert_rest(self.now, self.client.poll_timeout());
                assert!(self.client.poll_timeout().is_some() || self.client.state().is_over());
                return;
            }
        }
        panic!("at {:?} the client does not come to rest", self.now);
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.client.poll_action() {
            busy = true;
            match action {
                Action::Connect { epoch } if self.answers > 0 => {
                    (self.open, self.answers) = (Some(epoch), self.answers - 1);
                    self.client.handle_input(self.now, Input::Opened { epoch });
                }
                Action::Disconnect { epoch } if self.open == Some(epoch) => self.open = None,
                _ => {}
            }
        }
        while let Some(mut event) = self.client.poll_event(self.now) {
            busy = true;
            if let Event::Down { report, .. } = &mut event
                && let Some(evidence) = &mut report.evidence
            {
                // Whoever reads more often has answered more often, so that an answer may wait to be written.
                evidence.stalled_for = None;
            }
            if let Event::Up { worst_case_detection, .. } = event {
                self.bound = worst_case_detection;
            }
            // What follows the end of the connection is not about it.
            if !matches!(self.events.last(), Some(Event::Down { .. })) {
                self.events.push(event);
            }
        }
        busy
    }

    fn write(&mut self) -> bool {
        let Some(epoch) = self.open else { return false };
        let bytes = self.client.transmit();
        let count = bytes.len();
        assert!(count < MOST_WAITING, "{count} bytes wait");
        self.said.extend_from_slice(bytes);
        if count > 0 {
            self.client.handle_input(self.now, Input::Written { epoch, count });
        }
        count > 0
    }
}

/// A server whose callers say the bytes.
struct Listener {
    server: Server,
    now: Timestamp,
    prng: Prng,
    open: Vec<ConnectionId>,
}

impl Listener {
    fn new(authenticate: bool, seed: u8) -> Self {
        let config = ServerConfig::builder().max_handshakes(ROOM).max_connections(ROOM).max_sessions(ROOM);
        let config = if authenticate { config.authenticate() } else { config };
        let server = Server::new(Arc::new(config.build().unwrap()), Box::new(Prng::new(2)), 3);
        Self { server, now: Timestamp::ZERO, prng: Prng::new(seed.into()), open: Vec::new() }
    }

    fn hear(mut self, bytes: &[u8], callers: usize) {
        let ids: Vec<ConnectionId> = (0..callers).map(|_| self.accept().unwrap()).collect();
        let (mut rest, mut turn, mut pieces) = (bytes, 0, Pieces::Drawn(self.prng.clone()));
        while !rest.is_empty() && !self.open.is_empty() {
            let span = pause(&mut self.prng);
            self.advance(span);
            let (id, piece) = (ids[turn % callers], pieces.next(&mut rest));
            turn += 1;
            if self.server.wants_read(id) {
                self.server.handle_input(self.now, id, ServerInput::Received(piece));
            }
            self.turn();
        }
        self.wait_for_the_end();
        self.leave_nothing();
    }

    fn accept(&mut self) -> Option<ConnectionId> {
        let id = self.server.accept(self.now, Some([127, 0, 0, 1].into())).ok()?;
        self.open.push(id);
        Some(id)
    }

    /// All callers fall silent.
    fn wait_for_the_end(&mut self) {
        let config = self.server.config();
        let handshake = config.handshake_timeout;
        // A caller may have asked for the longest interval, and its reply timeout is at most that.
        let verdict = config.liveness.bound_for(config.longest_interval, config.longest_interval);
        let (end, mut wakes) = (self.now.after(handshake.max(verdict) + config.close_timeout), 0);
        while !self.open.is_empty() {
            let due = self.server.poll_timeout().expect("a verdict, or a deadline for it");
            assert!(due.at <= end, "{due:?} is too late for an end before {end:?}");
            wakes += 1;
            assert!(wakes < MOST_WAKES, "silent connections keep us busy");
            self.now = due.at;
            self.turn();
        }
    }

    /// All connections are over: their room is free, and sessions end by themselves.
    fn leave_nothing(&mut self) {
        assert_eq!(self.server.connections(), 0);
        for _ in 0..ROOM {
            assert!(self.accept().is_some(), "the room is not free again");
        }
        for id in core::mem::take(&mut self.open) {
            self.server.handle_input(self.now, id, ServerInput::Ended(Failure::Eof));
        }
        self.turn();
        let mut wakes = 0;
        while let Some(due) = self.server.poll_timeout() {
            wakes += 1;
            assert!(wakes < MOST_WAKES, "sessions do not end");
            self.now = due.at;
            self.turn();
        }
    }

    fn advance(&mut self, span: Duration) {
        let target = self.now.after(span);
        while let Some(due) = self.server.poll_timeout().filter(|due| due.at <= target) {
            self.now = due.at;
            self.turn();
        }
        self.now = target;
    }

    fn turn(&mut self) {
        for _ in 0..MOST_TURNS {
            let busy = self.act() | self.write();
            let due = self.server.poll_timeout().is_some_and(|due| due.at <= self.now);
            if due && !busy {
                self.server.handle_timeout(self.now);
            } else if !busy {
                assert_rest(self.now, self.server.poll_timeout());
                assert!(self.server.poll_timeout().is_some() || self.server.connections() == 0);
                return;
            }
        }
        panic!("at {:?} the server does not come to rest", self.now);
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.server.poll_action() {
            busy = true;
            if let ServerAction::Disconnect(id) = action {
                self.open.retain(|open| *open != id);
            }
        }
        while let Some(event) = self.server.poll_event(self.now) {
            busy = true;
            if let ServerEvent::Authenticate { connection, .. } = event {
                self.answer(connection);
            }
        }
        busy
    }

    fn answer(&mut self, id: ConnectionId) {
        let admission = match self.prng.between(0, 7) {
            0 => Admission::Unauthorized("no".into()),
            1 => Admission::Forbidden("never".into()),
            2 => Admission::Busy { retry_after: Duration::MAX, spread: Duration::MAX },
            3 => return,
            _ => Admission::Accept,
        };
        self.server.answer(self.now, id, admission);
    }

    fn write(&mut self) -> bool {
        let mut busy = false;
        for id in &self.open {
            let count = self.server.transmit(*id).len();
            assert!(count < MOST_WAITING, "{count} bytes wait");
            if count > 0 {
                busy = true;
                self.server.handle_input(self.now, *id, ServerInput::Written(count));
            }
        }
        busy
    }
}
