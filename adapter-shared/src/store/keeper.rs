//! Between a link and its store, for drivers.

use std::fmt;

use keepbeat_core::client::Client;
use keepbeat_core::session::{Change, Message, Room, SendError, SessionStore, StoreError, StoreKey, Ticket};
use keepbeat_core::time::Timestamp;

/// Hands what changes in a link to its store, before anything follows from it.
pub struct Keeper {
    store: Box<dyn SessionStore>,
    /// What the store did not keep when it failed. It comes first if the link is opened again.
    unkept: Vec<Change>,
}

impl Keeper {
    /// Has a link that was not opened yet take up what the store has kept.
    ///
    /// # Errors
    /// Those of the store, and of [`Client::restore`].
    pub fn restore(
        mut store: Box<dyn SessionStore>,
        client: &mut Client,
        now: Timestamp,
    ) -> Result<Box<Self>, StoreError> {
        client.restore(now, store.load()?)?;
        Ok(Box::new(Self { store, unkept: Vec::new() }))
    }

    /// What has changed. If the store does not keep it, the link is closed, and `newest` is handed back.
    fn keep(&mut self, client: &mut Client, now: Timestamp, newest: Option<Ticket>) -> Result<(), Option<Message>> {
        self.unkept.append(&mut client.take_changes());
        if self.unkept.is_empty() {
            return Ok(());
        }
        let Err(error) = self.store.apply(&self.unkept) else {
            self.unkept.clear();
            return Ok(());
        };
        if client.state().is_over() {
            // There is time until it is opened again.
            return Ok(());
        }
        let handed_back = client.store_failed(now, error, newest);
        if let (Some(ticket), Some(_)) = (newest, &handed_back) {
            self.unkept.push(Change::Remove { key: StoreKey { room: Room::Message, number: ticket.0 } });
        }
        Err(handed_back)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("unkept", &self.unkept.len()).finish_non_exhaustive()
    }
}

/// Hands what has changed to the store, if there is one; to be called in every turn. Returns whether it is kept. If not, the link
/// is closed, and there are actions for its driver.
pub fn keep(keeper: &mut Option<Box<Keeper>>, client: &mut Client, now: Timestamp) -> bool {
    match keeper {
        Some(keeper) => keeper.keep(client, now, None).is_ok(),
        None => {
            // Nobody wants them.
            drop(client.take_changes());
            true
        }
    }
}

/// Like [`Client::send`]: a message counts as accepted when the store has it.
///
/// # Errors
/// Those of [`Client::send`]. If the store fails, [`SendError::Closed`].
pub fn send(
    keeper: &mut Option<Box<Keeper>>,
    client: &mut Client,
    now: Timestamp,
    message: Message,
) -> Result<Ticket, SendError> {
    let ticket = client.send(now, message)?;
    match keeper.as_mut().map_or(Ok(()), |keeper| keeper.keep(client, now, Some(ticket))) {
        Err(Some(message)) => Err(SendError::Closed { message }),
        // Or it cannot be handed back, because it has left already.
        Ok(()) | Err(None) => Ok(ticket),
    }
}
