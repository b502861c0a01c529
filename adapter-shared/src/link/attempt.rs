//! What must be waited for before a connection is open.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use keepbeat_core::Failure;
use keepbeat_core::client::Epoch;
use keepbeat_core::time::Timestamp;
use keepbeat_core::tunnel::{Race, RaceAction};

use super::{BoxFuture, Provider};
use crate::socket::failure;

/// The part of an attempt that takes time: credentials, or look-up and connection. Dropping it gives it up.
pub(super) struct Attempt<S> {
    epoch: Epoch,
    work: Work<S>,
}

/// How it went.
pub(super) enum Outcome<S> {
    /// What the provider gave.
    Credentials(Option<Bytes>),
    /// A connection is open.
    Connected(S),
    /// None could be opened.
    NotConnected(Failure),
}

/// Opens a connection to one address, as the runtime does it.
pub(super) type Open<S> = fn(SocketAddr) -> BoxFuture<io::Result<S>>;

enum Work<S> {
    Fetch(BoxFuture<Option<Bytes>>),
    LookUp { addresses: BoxFuture<io::Result<Vec<SocketAddr>>>, open: Open<S> },
    Race { race: Race<Failure>, open: Open<S>, running: Vec<(usize, BoxFuture<io::Result<S>>)> },
}

impl<S> Attempt<S> {
    /// Asks for credentials. The provider runs when this is polled, not before.
    pub(super) fn fetch(epoch: Epoch, provider: Option<Provider>, refresh: bool) -> Self {
        let work = Box::pin(async move {
            match provider {
                Some(provider) => provider(refresh).await,
                None => None,
            }
        });
        Self { epoch, work: Work::Fetch(work) }
    }

    /// Waits for the `addresses` of a name, and opens a connection to the first of them that answers.
    pub(super) fn connect(epoch: Epoch, addresses: BoxFuture<io::Result<Vec<SocketAddr>>>, open: Open<S>) -> Self {
        Self { epoch, work: Work::LookUp { addresses, open } }
    }

    /// Goes on as far as it can at `now`. Poll again when woken, and at [`Attempt::poll_timeout`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Poll<(Epoch, Outcome<S>)> {
        let epoch = self.epoch;
        loop {
            let outcome = match &mut self.work {
                Work::Fetch(work) => work.as_mut().poll(cx).map(Outcome::Credentials),
                Work::Race { race, open, running } => poll_race(race, *open, running, cx, now),
                Work::LookUp { addresses, .. } => match addresses.as_mut().poll(cx) {
                    Poll::Ready(found) => match Race::new(now, found.unwrap_or_default()) {
                        Some(race) => {
                            self.begin(race);
                            continue;
                        }
                        None => Poll::Ready(Outcome::NotConnected(Failure::NameNotFound)),
                    },
                    Poll::Pending => Poll::Pending,
                },
            };
            return outcome.map(|outcome| (epoch, outcome));
        }
    }

    /// When to poll again at the latest, whoever else wakes.
    #[must_use]
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.work {
            Work::Race { race, .. } => race.poll_timeout().map(|due| due.at),
            _ => None,
        }
    }

    fn begin(&mut self, race: Race<Failure>) {
        let waiting = std::mem::replace(&mut self.work, Work::Fetch(Box::pin(std::future::pending())));
        if let Work::LookUp { open, .. } = waiting {
            self.work = Work::Race { race, open, running: Vec::new() };
        }
    }
}

fn poll_race<S>(
    race: &mut Race<Failure>,
    open: Open<S>,
    running: &mut Vec<(usize, BoxFuture<io::Result<S>>)>,
    cx: &mut Context<'_>,
    now: Timestamp,
) -> Poll<Outcome<S>> {
    race.handle_timeout(now);
    let mut winner = None;
    loop {
        let mut index = 0;
        while let Some((socket, opening)) = running.get_mut(index) {
            let socket = *socket;
            match opening.as_mut().poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(result) => {
                    drop(running.swap_remove(index));
                    match result {
                        Ok(stream) => {
                            race.opened(socket);
                            winner.get_or_insert(stream);
                        }
                        Err(error) => race.failed(now, socket, failure(&error)),
                    }
                }
            }
        }
        let mut begun = false;
        while let Some(action) = race.poll_action() {
            match action {
                RaceAction::Open { socket, address } => {
                    running.push((socket, open(address)));
                    begun = true;
                }
                RaceAction::Abandon { socket } => running.retain(|(other, _)| *other != socket),
                RaceAction::Won { .. } => {
                    if let Some(stream) = winner.take() {
                        return Poll::Ready(Outcome::Connected(stream));
                    }
                }
                RaceAction::Lost { failure } => return Poll::Ready(Outcome::NotConnected(failure)),
            }
        }
        if !begun {
            return Poll::Pending;
        }
    }
}
