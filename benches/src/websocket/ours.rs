//! keepbeat's own codec.

use std::mem;

use keepbeat_core::wire::Tx;
use keepbeat_core::wire::websocket::{Control, Incoming, Item, Limits, MaskKeys, Message, Outgoing, Role};

use super::{Reader, Stream, Unit, Writer, control_number};
use crate::frames::Found;

/// [`Incoming`].
pub struct OursReading {
    incoming: Incoming,
    stream: Stream,
}

impl Reader for OursReading {
    const NAME: &'static str = "ours";

    fn new(stream: Stream) -> Self {
        Self { incoming: Incoming::new(stream.reader, Limits::of_message(1 << 20)), stream }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for mut piece in self.stream.pieces() {
            loop {
                let next = self.incoming.next(&mut piece);
                match next {
                    Ok(Some(Item::Message(message))) => found.message(message.into_payload()),
                    Ok(Some(Item::Pong(ref payload))) => {
                        found.beat(control_number(payload.as_slice()));
                        // As a connection does: a short one has nothing to drop, and to find that out takes a call.
                        mem::forget(next);
                    }
                    Ok(None) => break,
                    Ok(Some(_)) | Err(_) => {
                        found.faults += 1;
                        return found;
                    }
                }
            }
        }
        found
    }
}

/// [`Outgoing`] and the [`Tx`] behind it, from which every frame is taken at once.
pub struct OursWriting {
    outgoing: Outgoing,
    tx: Tx,
    unit: Prepared,
    written: u64,
}

enum Prepared {
    Ping(Control),
    Message(Message),
}

impl Writer for OursWriting {
    const NAME: &'static str = "ours";

    fn new(role: Role, unit: Unit) -> Self {
        let outgoing = match role {
            Role::Client => Outgoing::client(MaskKeys::new([7; 32])),
            Role::Server => Outgoing::server(),
        };
        let unit = match unit {
            Unit::Control(payload) => Control::new(&payload).map(Prepared::Ping),
            Unit::Binary(payload) => Some(Prepared::Message(Message::binary(payload))),
            Unit::Text(payload) => Message::text_from(payload).ok().map(Prepared::Message),
        };
        let unit = unit.unwrap_or_else(|| Prepared::Message(Message::binary("")));
        Self { outgoing, tx: Tx::default(), unit, written: 0 }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            match &self.unit {
                Prepared::Ping(payload) => self.outgoing.ping(payload, &mut self.tx),
                Prepared::Message(message) => self.outgoing.message(message, &mut self.tx),
            }
            loop {
                self.written += self.tx.consume(self.tx.chunk().len()) as u64;
                if self.tx.is_empty() {
                    break;
                }
            }
        }
        self.written
    }
}
