//! tungstenite, on which tokio-tungstenite is built.

use keepbeat_core::wire::Role;
use tokio_tungstenite::tungstenite::protocol::Role as TheirRole;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, WebSocket};

use super::{Connection, Reader, Stream, Unit, Writer, control_number};
use crate::frames::Found;

/// `WebSocket::read`, with the default configuration.
///
/// Its payloads share the read buffer of 128 KiB, into which the connection copies: none is copied out, and a small one keeps the
/// whole buffer alive.
pub struct TungsteniteReading {
    socket: WebSocket<Connection>,
    frames: u64,
}

const fn role(role: Role) -> TheirRole {
    match role {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    }
}

impl Reader for TungsteniteReading {
    const NAME: &'static str = "tungstenite";

    fn new(stream: Stream) -> Self {
        let Stream { reader, bytes, frames, .. } = stream;
        Self { socket: WebSocket::from_raw_socket(Connection::reading(bytes), role(reader), None), frames }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for _ in 0..self.frames {
            match self.socket.read() {
                Ok(Message::Binary(payload)) => found.message(payload),
                Ok(Message::Text(text)) => found.message(text.into()),
                Ok(Message::Pong(payload)) => found.beat(control_number(&payload)),
                _ => found.faults += 1,
            }
        }
        found
    }
}

/// `WebSocket::send`, which writes and flushes.
pub struct TungsteniteWriting {
    socket: WebSocket<Connection>,
    message: Message,
}

impl Writer for TungsteniteWriting {
    const NAME: &'static str = "tungstenite";

    fn new(end: Role, unit: Unit) -> Self {
        let message = match unit {
            Unit::Control(payload) => Message::Ping(payload),
            Unit::Binary(payload) => Message::Binary(payload),
            Unit::Text(payload) => Message::Text(Utf8Bytes::try_from(payload).unwrap_or_default()),
        };
        Self { socket: WebSocket::from_raw_socket(Connection::writing(), role(end), None), message }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            if self.socket.send(self.message.clone()).is_err() {
                break;
            }
        }
        self.socket.get_ref().written.get()
    }
}
