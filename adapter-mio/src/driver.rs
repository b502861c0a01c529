//! All links and listeners of one `Poll`. The numbers are those of the driver contract in the docs of [`keepbeat_core`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keepbeat_adapter::clock::Clock;
use keepbeat_adapter::pump::Traffic;
use keepbeat_core::client::{Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::server::{ServerConfig, ServerEvent};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::Credentials;
use mio::{Registry, Token, Waker};

use crate::attempt::Attempt;
use crate::builder::{LinkBuilder, ListenerBuilder};
use crate::links::{self, Links};
use crate::listeners::{self, Listener};
use crate::names::Names;
#[cfg(feature = "netwatch")]
use crate::network::Network;
use crate::slab::{Key, Slab};
use crate::sockets::{Owner, Sockets};
use crate::tokens::Tokens;
use crate::{LinkMut, ListenerMut};

/// However far the next deadline is, a turn comes at least this often: the operating system's wait stands still while the
/// machine is suspended.
const CAP: Duration = Duration::from_secs(15);

/// Very many links and listeners on one thread, inside of a [`mio::Poll`] that others may use, too.
///
/// The owner of the `Poll` calls four methods, in this order: [`wait`](Self::wait) for how long to poll,
/// [`handle_event`](Self::handle_event) with every event, [`turn`](Self::turn) once after every poll, whatever woke it, and
/// [`next_event`](Self::next_event) until there is none. Whatever is asked of a link or listener in between is done in the
/// next turn, which [`wait`](Self::wait) then wants at once.
///
/// A turn touches only the links and connections that are ready or due, so that idle ones cost nothing but memory.
/// Dropping the driver closes all at once, without a word.
pub struct Driver {
    pub(crate) sockets: Sockets,
    pub(crate) links: Links,
    listeners: Slab<Box<Listener>>,
    names: Names,
    #[cfg(feature = "netwatch")]
    pub(crate) network: Option<Network>,
    /// Those who have events, each once.
    speakers: VecDeque<Speaker>,
    traffic: Traffic,
}

/// Names one link of a [`Driver`]. No other link of that driver ever has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) Key);

/// Names one listener of a [`Driver`]. No other listener of that driver ever has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub(crate) Key);

/// What the application is told. What one link or listener says comes in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverEvent {
    /// Of a link.
    Link(LinkId, Event),
    /// A link needs credentials for its next attempt: answer with [`LinkMut::credentials`]. It comes if the configuration
    /// says [`credentials_from_provider`](keepbeat_core::client::ClientConfigBuilder::credentials_from_provider); the
    /// [`credentials_timeout`](keepbeat_core::client::ClientConfigBuilder::credentials_timeout) runs.
    Credentials {
        /// The link.
        link: LinkId,
        /// The attempt. Hand it back with the answer.
        epoch: Epoch,
        /// The server did not accept the last ones: get new ones, not a stored copy.
        refresh: bool,
    },
    /// Of a listener.
    Listener(ListenerId, ServerEvent),
}

/// Who may have events.
#[derive(Clone, Copy)]
pub(crate) enum Speaker {
    Link(Key),
    Listener(Key),
}

impl Driver {
    /// Nothing yet. `registry` is that of the `Poll`; the driver clones it. `waker` is the one `Waker` of the same `Poll`:
    /// it rings when a name was looked up. `tokens` says which tokens nobody else uses.
    ///
    /// # Errors
    /// The operating system's, of cloning the registry.
    pub fn new(registry: &Registry, waker: Arc<Waker>, tokens: Tokens) -> io::Result<Self> {
        Ok(Self {
            sockets: Sockets::new(registry.try_clone()?, tokens),
            links: Links::new(),
            listeners: Slab::new(),
            names: Names::new(waker),
            #[cfg(feature = "netwatch")]
            network: None,
            speakers: VecDeque::new(),
            traffic: Traffic::default(),
        })
    }

    /// Opens a link to `address`, a host and port such as `"gateway.example:7411"`. The first attempt begins in the next
    /// turn. Every attempt looks the host up again, unless it is an IP address.
    ///
    /// See [`LinkBuilder`] for more options.
    pub fn open(&mut self, address: impl Into<String>, config: ClientConfig) -> LinkId {
        LinkBuilder::new(address, config).open(self)
    }

    /// Listens on `address` and lets devices in. If it has several addresses, on the first that can be had. A host name is
    /// looked up before this returns.
    ///
    /// See [`ListenerBuilder`] for more options.
    ///
    /// # Errors
    /// The operating system's: the address is taken, or not ours. Or the configuration has more than one port.
    pub fn listen(&mut self, address: impl ToSocketAddrs, config: ServerConfig) -> io::Result<ListenerId> {
        ListenerBuilder::new(config).bind(self, address)
    }

    /// From now on, hints all links that there are when the operating system says that the network changed: to try at once
    /// when it is up again, and not to waste attempts while it is down. See [`network`](keepbeat_adapter::network).
    ///
    /// # Errors
    /// The operating system does not let us watch. Nothing changed.
    ///
    /// # Panics
    /// Like [`NetworkWatch::watch`](keepbeat_adapter::network::NetworkWatch::watch).
    #[cfg(feature = "netwatch")]
    pub fn watch_network(&mut self) -> Result<(), keepbeat_adapter::network::NetworkWatchError> {
        self.network = Some(Network::watch(self.names.waker())?);
        Ok(())
    }

    // What the owner of the `Poll` does.

    /// Whether events with this token are for the driver.
    #[must_use]
    pub const fn owns(&self, token: Token) -> bool {
        self.sockets.tokens().contains(token)
    }

    /// Notes what became ready; does nothing else. Events that are not for the driver are left alone.
    pub fn handle_event(&mut self, event: &mio::event::Event) {
        match self.sockets.note(event) {
            Some((_, Owner::Link(link))) => self.links.wake(link),
            Some((socket, Owner::Connection(listener, _))) => {
                let listener = self.listeners.key_at(listener.into());
                if let Some(listener) = listener.and_then(|key| self.listeners.get_mut(key)) {
                    listener.wake(socket, &mut self.sockets);
                }
            }
            // Every turn looks at all listening sockets.
            Some((_, Owner::Listener(_))) | None => {}
        }
    }

    /// Does what there is to do, for those concerned only: input, then what is due, then output. Bounded: what is left over
    /// makes [`Driver::wait`] zero.
    pub fn turn(&mut self) {
        // 1. One reading of the clock.
        let now = Clock::now();
        let Self { sockets, links, listeners, names, speakers, traffic, .. } = self;
        traffic.wakes += 1;
        let mut busy = false;
        #[cfg(feature = "netwatch")]
        while let Some(hint) = self.network.as_ref().and_then(Network::poll) {
            links.hint(now, hint);
            busy = true;
        }
        // 2. Input.
        let mut io = links::Io { now, sockets, names, traffic, speakers };
        while let Some(found) = names.poll() {
            links.on_found(&found, &mut io);
            busy = true;
        }
        busy |= links.on_ready(&mut io);
        // 3. to 5. Those whose time has come, and what came of it.
        busy |= links.on_due(&mut io);
        for index in 0..listeners.slots() {
            let Some(key) = listeners.key_at(index as u32) else { continue };
            let Some(listener) = listeners.get_mut(key) else { continue };
            busy |= listener.turn(key, &mut listeners::Io { now, sockets, traffic });
            if listener.server.has_event() && !std::mem::replace(&mut listener.speaking, true) {
                speakers.push_back(Speaker::Listener(key));
            }
        }
        traffic.empty_turns += u64::from(!busy);
    }

    /// How long to poll at most until the next turn: rounded up to whole milliseconds, at most 15 s; zero if there is
    /// something to do already. `None` if only an event of the `Poll` can change anything. Events that were not taken do not
    /// shorten it: take them first.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let Self { sockets, links, listeners, .. } = self;
        let mut due = links.poll_timeout();
        let mut work = links.has_work();
        for index in 0..listeners.slots() {
            let Some(listener) = listeners.key_at(index as u32).and_then(|key| listeners.get(key)) else { continue };
            work |= listener.has_work(sockets);
            due = due.into_iter().chain(listener.poll_timeout()).min();
        }
        if work {
            return Some(Duration::ZERO);
        }
        due.map(|at| rounded_up(at.since(Clock::now())).min(CAP))
    }

    /// The next event. Those who have several get their turns one after the other.
    pub fn next_event(&mut self) -> Option<DriverEvent> {
        let now = Clock::now();
        while let Some(speaker) = self.speakers.pop_front() {
            let event = match speaker {
                Speaker::Link(key) => self.next_of_link(key, now),
                Speaker::Listener(key) => self.next_of_listener(key, now),
            };
            if event.is_some() {
                self.speakers.push_back(speaker);
                return event;
            }
        }
        None
    }

    // One of them.

    /// A link. `None` if it was removed.
    pub fn link(&mut self, id: LinkId) -> Option<LinkMut<'_>> {
        self.links.get(id.0)?;
        Some(LinkMut::new(self, id))
    }

    /// A listener. `None` if it was removed.
    pub fn listener(&mut self, id: ListenerId) -> Option<ListenerMut<'_>> {
        self.listeners.get(id.0)?;
        Some(ListenerMut::new(self, id))
    }

    /// What all links and listeners together have moved, and how many turns there were.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Events that came for a socket that was closed already, and were dropped.
    #[must_use]
    pub const fn stale_events(&self) -> u64 {
        self.sockets.stale_events()
    }

    // The inside.

    /// Does something to a link, and gives it a turn.
    pub(crate) fn tell<R>(&mut self, key: Key, action: impl FnOnce(&mut Client, Timestamp) -> R) -> Option<R> {
        let result = action(&mut self.links.get_mut(key)?.client, Clock::now());
        self.links.wake(key);
        Some(result)
    }

    /// Does something to a listener; the next turn does what it wants done.
    pub(crate) fn tell_listener<R>(
        &mut self,
        key: Key,
        action: impl FnOnce(&mut Listener, &mut Sockets, Timestamp) -> R,
    ) -> Option<R> {
        let listener = self.listeners.get_mut(key)?;
        let result = action(listener, &mut self.sockets, Clock::now());
        listener.note_actions();
        if listener.server.has_event() && !std::mem::replace(&mut listener.speaking, true) {
            self.speakers.push_back(Speaker::Listener(key));
        }
        Some(result)
    }

    #[cfg(all(test, feature = "netwatch"))]
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.names.waker()
    }

    pub(crate) fn server(&self, key: Key) -> Option<&Listener> {
        self.listeners.get(key).map(|listener| &**listener)
    }

    pub(crate) fn answer_credentials(&mut self, key: Key, epoch: Epoch, credentials: Option<Bytes>) {
        self.tell(key, |client, now| {
            client.handle_input(
                now,
                match credentials {
                    Some(bytes) => Input::Credentials { epoch, credentials: Credentials::new(bytes) },
                    None => Input::CredentialsFailed { epoch },
                },
            );
        });
    }

    /// Makes the listener only when nothing can fail any more.
    pub(crate) fn add_listener(
        &mut self,
        listening: Vec<std::net::TcpListener>,
        make: impl FnOnce(Vec<Key>, Vec<SocketAddr>) -> Listener,
    ) -> io::Result<ListenerId> {
        let addresses = listening.iter().map(std::net::TcpListener::local_addr).collect::<io::Result<_>>()?;
        let key = self.listeners.next_key();
        if u16::try_from(key.index).is_err() {
            return Err(io::Error::other(
                "a driver has at most 65,536 listeners; remove some, or begin another driver",
            ));
        }
        let owner = Owner::Listener(key);
        let mut sockets = Vec::new();
        for listener in listening {
            match self.sockets.listen(listener, owner) {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    sockets.into_iter().for_each(|socket| self.sockets.close(socket));
                    return Err(error);
                }
            }
        }
        Ok(ListenerId(self.listeners.insert(Box::new(make(sockets, addresses)))))
    }

    pub(crate) fn remove_listener(&mut self, key: Key) {
        if let Some(mut listener) = self.listeners.remove(key) {
            drop(listener.abort(Clock::now(), &mut self.sockets));
        }
    }

    fn next_of_link(&mut self, key: Key, now: Timestamp) -> Option<DriverEvent> {
        let link = self.links.get_mut(key)?;
        if let Some(Attempt::Credentials { epoch, refresh, told: told @ false }) = &mut link.attempt {
            // What happened before is told before.
            if !link.client.has_event() {
                *told = true;
                return Some(DriverEvent::Credentials { link: LinkId(key), epoch: *epoch, refresh: *refresh });
            }
        }
        let read = link.client.wants_read();
        let event = link.client.poll_event(now);
        link.speaking = event.is_some();
        if link.client.wants_read() != read || link.client.wants_turn() {
            self.links.wake(key);
        }
        event.map(|event| DriverEvent::Link(LinkId(key), event))
    }

    fn next_of_listener(&mut self, key: Key, now: Timestamp) -> Option<DriverEvent> {
        let listener = self.listeners.get_mut(key)?;
        let event = listener.server.poll_event(now);
        listener.speaking = event.is_some();
        // Taking a message may let its connection be read again.
        listener.note_actions();
        event.map(|event| DriverEvent::Listener(ListenerId(key), event))
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("traffic", &self.traffic).finish_non_exhaustive()
    }
}

/// Never early: whoever wakes before the deadline waits again, and again.
fn rounded_up(wait: Duration) -> Duration {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_to_whole_milliseconds() {
        assert_eq!(rounded_up(Duration::from_nanos(1)), Duration::from_millis(1));
        assert_eq!(rounded_up(Duration::from_millis(7)), Duration::from_millis(7));
        assert_eq!(rounded_up(Duration::from_micros(7001)), Duration::from_millis(8));
        assert_eq!(rounded_up(Duration::ZERO), Duration::ZERO);
    }
}
