//! All links: which of them have something to do, and one turn of each. The numbers are those of the driver contract in the
//! docs of [`keepbeat_core`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(feature = "netwatch")]
use keepbeat_adapter::network::needs_network;
use keepbeat_adapter::pump::{self, Traffic};
use keepbeat_adapter::socket::SocketOptions;
use keepbeat_adapter::store::{Keeper, keep};
use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, Epoch, Input};
#[cfg(feature = "netwatch")]
use keepbeat_core::reconnect::Hint;
use keepbeat_core::time::Timestamp;
use keepbeat_core::timers::{Filed, Timers};

use crate::attempt::{Attempt, Racing};
use crate::driver::Speaker;
use crate::names::{Found, Names};
use crate::slab::{Key, Slab};
use crate::sockets::{Owner, Socket, Sockets};

/// So many links that are ready have a turn before timers and listeners get theirs.
const LINKS_PER_TURN: usize = 256;

pub(crate) struct Links {
    slots: Slab<Box<Link>>,
    /// Every link is filed for its deadline.
    timers: Timers<Key>,
    ready: VecDeque<Key>,
    /// Reused by every turn.
    due: Vec<Key>,
}

/// One link.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) keeper: Option<Box<Keeper>>,
    target: Arc<Target>,
    /// To which of the servers the next connection goes. Any larger, and the link is 8 bytes larger.
    next_server: u16,
    pub(crate) attempt: Option<Attempt>,
    stream: Option<(Epoch, Key)>,
    filed: Option<Filed>,
    queued: bool,
    /// It is in the driver's list of those who have events.
    pub(crate) speaking: bool,
}

/// Where a link connects to; many may share it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The hosts and ports of the servers, at least one.
    pub(crate) servers: Vec<String>,
    /// The host and port of the proxy on the way, if there is one.
    pub(crate) hop: Option<String>,
    pub(crate) options: SocketOptions,
}

/// What links are driven with.
pub(crate) struct Io<'a> {
    pub(crate) now: Timestamp,
    pub(crate) sockets: &'a mut Sockets,
    pub(crate) names: &'a Names,
    pub(crate) traffic: &'a mut Traffic,
    /// Those who may have events.
    pub(crate) speakers: &'a mut VecDeque<Speaker>,
}

impl Links {
    pub(crate) const fn new() -> Self {
        Self { slots: Slab::new(), timers: Timers::new(), ready: VecDeque::new(), due: Vec::new() }
    }

    pub(crate) fn open(&mut self, client: Client, keeper: Option<Box<Keeper>>, target: Arc<Target>) -> Key {
        let key = self.slots.insert(Box::new(Link {
            client,
            keeper,
            target,
            next_server: 0,
            attempt: None,
            stream: None,
            filed: None,
            queued: false,
            speaking: false,
        }));
        self.wake(key);
        key
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Link> {
        self.slots.get(key).map(|link| &**link)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Link> {
        self.slots.get_mut(key).map(|link| &mut **link)
    }

    /// Closes the link's sockets and forgets it.
    pub(crate) fn remove(&mut self, key: Key, sockets: &mut Sockets) {
        if let Some(mut link) = self.slots.remove(key) {
            self.timers.remove(&mut link.filed);
            link.disconnect(sockets);
        }
    }

    /// The link has something to do in the next turn.
    pub(crate) fn wake(&mut self, key: Key) {
        if let Some(link) = self.slots.get_mut(key)
            && !std::mem::replace(&mut link.queued, true)
        {
            self.ready.push_back(key);
        }
    }

    /// Hints all links. A network that is down does not concern those that need none.
    #[cfg(feature = "netwatch")]
    pub(crate) fn hint(&mut self, now: Timestamp, hint: Hint) {
        for index in 0..self.slots.slots() {
            let Some(key) = self.slots.key_at(index as u32) else { continue };
            let Some(link) = self.slots.get_mut(key) else { continue };
            if hint != Hint::NetworkDown || link.target.needs_network() {
                link.client.hint(now, hint);
                self.wake(key);
            }
        }
    }

    pub(crate) fn on_found(&mut self, found: &Found, io: &mut Io<'_>) {
        for (key, epoch) in &found.asked {
            if let Some(link) = self.slots.get_mut(*key)
                && matches!(link.attempt, Some(Attempt::LookUp { epoch: waiting }) if waiting == *epoch)
            {
                link.race(*epoch, found.addresses.iter().copied(), io.now);
                self.wake(*key);
            }
        }
    }

    /// Rule 2: those of which the `Poll` or the application said something. Returns whether there were any.
    pub(crate) fn on_ready(&mut self, io: &mut Io<'_>) -> bool {
        let count = self.ready.len().min(LINKS_PER_TURN);
        for _ in 0..count {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(link) = self.slots.get_mut(key) {
                link.queued = false;
            }
            self.turn(key, io);
        }
        count > 0
    }

    /// Rule 3: those whose deadline has come. Returns whether there were any.
    pub(crate) fn on_due(&mut self, io: &mut Io<'_>) -> bool {
        let mut due = std::mem::take(&mut self.due);
        let is_due = |key: &Key| self.deadline(*key).is_some_and(|at| at <= io.now);
        due.extend(self.timers.until(io.now).copied().filter(is_due));
        for key in &due {
            self.turn(*key, io);
        }
        let any = !due.is_empty();
        due.clear();
        self.due = due;
        self.refile();
        any
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Rule 4: when the next turn comes at the latest. Exact after [`Links::on_due`].
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| at)
    }

    fn deadline(&self, key: Key) -> Option<Timestamp> {
        self.slots.get(key)?.deadline()
    }

    fn turn(&mut self, key: Key, io: &mut Io<'_>) {
        let Some(link) = self.slots.get_mut(key) else { return };
        let more = link.turn(key, io);
        let due = link.deadline();
        self.timers.file(key, &mut link.filed, due);
        if !link.speaking && link.has_event() {
            link.speaking = true;
            io.speakers.push_back(Speaker::Link(key));
        }
        if more {
            self.wake(key);
        }
    }

    /// Brings the earliest filed moments up to date, until the first one is real.
    fn refile(&mut self) {
        while let Some((at, key)) = self.timers.first().map(|(at, key)| (at, *key)) {
            let Some(link) = self.slots.get_mut(key) else { return };
            let due = link.deadline();
            if due == Some(at) {
                return;
            }
            self.timers.refile(&mut link.filed, due);
        }
    }
}

impl Target {
    /// Whom this attempt is for, counted from 0.
    pub(crate) fn server(&self, attempt: u32) -> &str {
        self.servers.get(attempt as usize % self.servers.len().max(1)).map_or("", String::as_str)
    }

    /// What it connects to.
    fn next_hop(&self, attempt: u32) -> &str {
        self.hop.as_deref().unwrap_or_else(|| self.server(attempt))
    }

    /// Whether any of its servers does.
    #[cfg(feature = "netwatch")]
    fn needs_network(&self) -> bool {
        (0..self.servers.len()).any(|attempt| needs_network(self.next_hop(attempt as u32)))
    }
}

impl Link {
    /// Whether the application is to be told something.
    pub(crate) fn has_event(&self) -> bool {
        self.client.has_event() || matches!(self.attempt, Some(Attempt::Credentials { told: false, .. }))
    }

    /// Returns whether it has had its share, and there may be more.
    fn turn(&mut self, key: Key, io: &mut Io<'_>) -> bool {
        self.on_attempt(key, io);
        let mut more = self.on_readable(io);
        self.on_due(io);
        loop {
            self.drain(key, io);
            let moved = self.on_writable(io);
            more |= moved.more;
            if !moved.any || moved.more {
                return more;
            }
        }
    }

    fn on_attempt(&mut self, key: Key, io: &mut Io<'_>) {
        let Some(Attempt::Race { epoch, racing }) = &mut self.attempt else { return };
        let epoch = *epoch;
        let Some(outcome) = racing.poll(io.now, io.sockets, Owner::Link(key)) else { return };
        self.attempt = None;
        let input = match outcome {
            Ok(socket) => {
                if let Some(socket) = io.sockets.get_mut(socket) {
                    socket.apply(&self.target.options);
                }
                self.stream = Some((epoch, socket));
                Input::Opened { epoch }
            }
            Err(failure) => Input::OpenFailed { epoch, failure },
        };
        self.client.handle_input(io.now, input);
    }

    /// Rule 2.
    fn on_readable(&mut self, io: &mut Io<'_>) -> bool {
        let Some((epoch, socket)) = stream(self.stream, io.sockets) else { return false };
        pump::read_link(&mut self.client, io.traffic, io.now, epoch, |buffer| socket.read(buffer)).more
    }

    /// Rules 2 and 3: reads what the operating system has and the `Poll` may not have announced, and writes what it takes. The
    /// clock decides.
    fn on_due(&mut self, io: &mut Io<'_>) {
        if self.client.poll_timeout().is_none_or(|due| due.at > io.now) {
            return;
        }
        if let Some((epoch, socket)) = stream(self.stream, io.sockets) {
            pump::read_link(&mut self.client, io.traffic, io.now, epoch, |buffer| socket.read_now(buffer));
        }
        self.on_writable(io);
        self.client.handle_timeout(io.now);
    }

    /// Rule 4.
    fn drain(&mut self, key: Key, io: &mut Io<'_>) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::FetchCredentials { epoch, refresh } => {
                    self.attempt = Some(Attempt::Credentials { epoch, refresh, told: false });
                }
                Action::Connect { epoch } => {
                    let target = self.target.clone();
                    let hop = self.next_server(&target);
                    match hop.parse::<SocketAddr>() {
                        Ok(address) => self.race(epoch, [address], io.now),
                        Err(_) => {
                            self.attempt = Some(Attempt::LookUp { epoch });
                            io.names.look_up(hop, key, epoch);
                        }
                    }
                    self.on_attempt(key, io);
                }
                // The writing that follows every drain does it.
                Action::Transmit { .. } => {}
                Action::Disconnect { .. } => self.disconnect(io.sockets),
            }
        }
    }

    /// The next of the servers, to connect to. The link is told its name, if there are several.
    fn next_server<'a>(&mut self, target: &'a Target) -> &'a str {
        let attempt = u32::from(self.next_server);
        self.next_server = ((attempt + 1) % target.servers.len().max(1) as u32) as u16;
        if target.servers.len() > 1
            && let Ok(name) = target.server(attempt).parse()
        {
            self.client.set_server(name);
        }
        target.next_hop(attempt)
    }

    /// Rule 5.
    fn on_writable(&mut self, io: &mut Io<'_>) -> pump::Moved {
        let Some((epoch, socket)) = stream(self.stream, io.sockets) else {
            let kept = keep(&mut self.keeper, &mut self.client, io.now);
            return pump::Moved { any: !kept, more: false };
        };
        let socket = RefCell::new(socket);
        pump::write_link(
            &mut self.client,
            &mut self.keeper,
            io.traffic,
            io.now,
            epoch,
            |bytes| socket.borrow_mut().write(bytes),
            |buffer| socket.borrow().read_now(buffer),
        )
    }

    fn race(&mut self, epoch: Epoch, addresses: impl IntoIterator<Item = SocketAddr>, now: Timestamp) {
        self.attempt = match Racing::new(now, addresses) {
            Some(racing) => Some(Attempt::Race { epoch, racing: Box::new(racing) }),
            None => {
                self.client.handle_input(now, Input::OpenFailed { epoch, failure: Failure::NameNotFound });
                None
            }
        };
    }

    fn disconnect(&mut self, sockets: &mut Sockets) {
        if let Some((_, socket)) = self.stream.take() {
            sockets.close(socket);
        }
        if let Some(Attempt::Race { racing, .. }) = self.attempt.take() {
            racing.close(sockets);
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let race = match &self.attempt {
            Some(Attempt::Race { racing, .. }) => racing.poll_timeout(),
            _ => None,
        };
        self.client.poll_timeout().map(|due| due.at).into_iter().chain(race).min()
    }
}

fn stream(stream: Option<(Epoch, Key)>, sockets: &mut Sockets) -> Option<(Epoch, &mut Socket)> {
    let (epoch, key) = stream?;
    Some((epoch, sockets.get_mut(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle link holds in here, beside its machine of the core and its configuration.
    #[test]
    fn an_idle_link_is_small() {
        let own = size_of::<Link>() - size_of::<Client>();
        assert!(own <= 128, "{own} bytes beside the {} of the core", size_of::<Client>());
        assert!(size_of::<Socket>() <= 32, "{} bytes", size_of::<Socket>());
    }
}
