//! What must be waited for before a link's connection is open.

use keepbeat_adapter::socket::failure;
use keepbeat_core::Failure;
use keepbeat_core::client::Epoch;
use keepbeat_core::time::Timestamp;
use keepbeat_core::tunnel::{Race, RaceAction};

use crate::slab::Key;
use crate::sockets::{Owner, Sockets};

/// The part of an attempt that takes time.
pub(crate) enum Attempt {
    /// The application is to give credentials, and may not have been told yet.
    Credentials {
        epoch: Epoch,
        refresh: bool,
        told: bool,
    },
    LookUp {
        epoch: Epoch,
    },
    Race {
        epoch: Epoch,
        racing: Box<Racing>,
    },
}

/// Connects to the addresses of a name.
pub(crate) struct Racing {
    race: Race<Failure>,
    /// The race's number of each socket.
    running: Vec<(usize, Key)>,
}

impl Racing {
    /// `None` if there is no address.
    pub(crate) fn new(now: Timestamp, addresses: impl IntoIterator<Item = std::net::SocketAddr>) -> Option<Self> {
        Some(Self { race: Race::new(now, addresses)?, running: Vec::new() })
    }

    /// Goes on as far as it can. `Some` when it is over; all sockets but the winner's are closed then.
    pub(crate) fn poll(&mut self, now: Timestamp, sockets: &mut Sockets, owner: Owner) -> Option<Result<Key, Failure>> {
        let Self { race, running } = self;
        race.handle_timeout(now);
        running.retain(|(number, key)| match sockets.get_mut(*key).and_then(|socket| socket.connected()) {
            None => true,
            Some(Ok(())) => {
                race.opened(*number);
                true
            }
            Some(Err(error)) => {
                sockets.close(*key);
                race.failed(now, *number, failure(&error));
                false
            }
        });
        let mut winner = None;
        while let Some(action) = race.poll_action() {
            match action {
                RaceAction::Open { socket, address } => match sockets.connect(address, owner) {
                    Ok(key) => running.push((socket, key)),
                    Err(error) => race.failed(now, socket, failure(&error)),
                },
                RaceAction::Won { socket } => winner = take(running, socket).map(Ok),
                RaceAction::Abandon { socket } => {
                    if let Some(key) = take(running, socket) {
                        sockets.close(key);
                    }
                }
                RaceAction::Lost { failure } => return Some(Err(failure)),
            }
        }
        winner
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.race.poll_timeout().map(|due| due.at)
    }

    /// Gives it up.
    pub(crate) fn close(self, sockets: &mut Sockets) {
        for (_, key) in self.running {
            sockets.close(key);
        }
    }
}

fn take(running: &mut Vec<(usize, Key)>, number: usize) -> Option<Key> {
    let place = running.iter().position(|(other, _)| *other == number)?;
    Some(running.swap_remove(place).1)
}
