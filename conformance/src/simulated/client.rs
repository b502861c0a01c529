//! One turn of a client, by the contract; or not, if there is a flaw.

use std::net::SocketAddr;
use std::sync::Arc;

use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Input};
use keepbeat_core::time::Timestamp;

use super::Flaw;
use super::cable::Read;
use super::world::{Cables, is_starving};

pub(super) struct ClientDriver {
    pub(super) client: Client,
    address: SocketAddr,
    current: Option<(Epoch, usize)>,
    /// A connection that the machine has done with and a flawed driver has not.
    old: Option<usize>,
    last_read: Option<Timestamp>,
    /// The application has called for something, other than to take an event; or not all could be written.
    pub(super) is_awake: bool,
    flaw: Option<Flaw>,
}

impl ClientDriver {
    pub(super) fn new(address: SocketAddr, config: Arc<ClientConfig>, seed: u64, flaw: Option<Flaw>) -> Self {
        let name = address.to_string().parse().expect("an address names a host and a port");
        Self {
            client: Client::new(config, seed).to_server(name),
            address,
            current: None,
            old: None,
            last_read: None,
            is_awake: true,
            flaw,
        }
    }

    /// Whether anything happened.
    pub(super) fn turn(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        if self.flaw == Some(Flaw::TimeoutsFirst) {
            return self.due(now) | self.read(now, cables) | self.drain(now, cables) | self.write(now, cables);
        }
        let mut busy = self.read(now, cables);
        if !is_starving(self.flaw, self.last_read, now) {
            busy |= self.due(now);
        }
        if self.flaw == Some(Flaw::SleepsThroughTakes) && !busy && !self.is_awake {
            return false;
        }
        busy |= self.drain(now, cables) | self.write(now, cables);
        self.is_awake = !self.client.transmit().is_empty();
        busy
    }

    fn due(&mut self, now: Timestamp) -> bool {
        let due = self.client.poll_timeout().is_some_and(|due| due.at <= now);
        self.client.handle_timeout(now);
        due
    }

    fn read(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        let mut busy = self.read_old(now, cables);
        while let Some((epoch, cable)) = self.current
            && (self.client.wants_read() || self.flaw == Some(Flaw::ReadsUnasked))
        {
            let input = match cables.get(cable).read() {
                Read::Bytes(bytes) => {
                    self.last_read = Some(now);
                    self.client.handle_input(now, Input::Received { epoch, bytes: &bytes });
                    busy = true;
                    continue;
                }
                Read::Nothing => break,
                Read::Ended(failure) => Input::Ended { epoch, failure },
            };
            if self.flaw == Some(Flaw::KeepsEndsToItself) {
                break;
            }
            self.hang_up(cables);
            self.client.handle_input(now, input);
            busy = true;
        }
        busy
    }

    fn read_old(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        let Some((epoch, _)) = self.current.filter(|_| self.flaw == Some(Flaw::MixesConnectionsUp)) else {
            return false;
        };
        let Some(Read::Bytes(bytes)) = self.old.map(|old| cables.get(old).read()) else { return false };
        self.client.handle_input(now, Input::Received { epoch, bytes: &bytes });
        true
    }

    fn drain(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        let mut busy = false;
        while let Some(action) = self.client.poll_action() {
            busy = true;
            match action {
                Action::FetchCredentials { epoch, .. } => {
                    self.client.handle_input(now, Input::CredentialsFailed { epoch });
                }
                Action::Connect { epoch } => match cables.dial(self.address) {
                    Some(cable) => {
                        self.current = Some((epoch, cable));
                        self.client.handle_input(now, Input::Opened { epoch });
                    }
                    None => self.client.handle_input(now, Input::OpenFailed { epoch, failure: Failure::Refused }),
                },
                Action::Transmit { .. } => {}
                Action::Disconnect { .. } => self.hang_up(cables),
            }
        }
        busy
    }

    fn write(&mut self, now: Timestamp, cables: &mut Cables) -> bool {
        let mut busy = false;
        while let Some((epoch, cable)) = self.current
            && !self.client.transmit().is_empty()
        {
            let bytes = self.client.transmit();
            let input = match cables.get(cable).write(bytes) {
                Ok(0) => break,
                Ok(_) if self.flaw == Some(Flaw::WritesByHalves) => Input::Written { epoch, count: bytes.len() },
                Ok(count) => Input::Written { epoch, count },
                Err(_) if self.flaw == Some(Flaw::KeepsEndsToItself) => break,
                Err(failure) => Input::Ended { epoch, failure },
            };
            busy = true;
            self.client.handle_input(now, input);
        }
        busy
    }

    fn hang_up(&mut self, cables: &mut Cables) {
        let Some((_, cable)) = self.current.take() else { return };
        match self.flaw {
            Some(Flaw::NeverDisconnects) => {}
            Some(Flaw::MixesConnectionsUp) if self.old.is_none() => self.old = Some(cable),
            _ => cables.get(cable).close(),
        }
    }
}
