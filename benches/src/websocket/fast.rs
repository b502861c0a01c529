//! fastwebsockets.

use std::cell::Cell;
use std::rc::Rc;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role as TheirRole, WebSocket};
use futures_util::FutureExt;
use keepbeat_core::wire::Role;

use super::{Connection, Reader, Stream, Unit, Writer, control_number};
use crate::frames::Found;

/// `FragmentCollector::read_frame`, polled by hand: the connection is always ready.
///
/// Its payloads share the read buffer, into which the connection copies: none is copied out.
pub struct FastReading {
    socket: FragmentCollector<Connection>,
    frames: u64,
}

const fn role(role: Role) -> TheirRole {
    match role {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    }
}

impl Reader for FastReading {
    const NAME: &'static str = "fastwebsockets";

    fn new(stream: Stream) -> Self {
        let Stream { reader, bytes, frames, .. } = stream;
        let socket = WebSocket::after_handshake(Connection::reading(bytes), role(reader));
        Self { socket: FragmentCollector::new(socket), frames }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for _ in 0..self.frames {
            match self.socket.read_frame().now_or_never() {
                Some(Ok(Frame { opcode: OpCode::Pong, payload, .. })) => found.beat(control_number(&payload)),
                Some(Ok(Frame { payload: Payload::Bytes(payload), .. })) => found.message(payload.freeze()),
                Some(Ok(Frame { payload: Payload::Owned(payload), .. })) => found.message(payload.into()),
                _ => found.faults += 1,
            }
        }
        found
    }
}

/// `WebSocket::write_frame`, polled by hand, with payloads that it borrows: a client has to copy them before it masks them.
pub struct FastWriting {
    socket: WebSocket<Connection>,
    written: Rc<Cell<u64>>,
    unit: Unit,
}

impl Writer for FastWriting {
    const NAME: &'static str = "fastwebsockets";

    fn new(end: Role, unit: Unit) -> Self {
        let connection = Connection::writing();
        let written = connection.written.clone();
        Self { socket: WebSocket::after_handshake(connection, role(end)), written, unit }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            let (opcode, payload) = match &self.unit {
                Unit::Control(payload) => (OpCode::Ping, payload),
                Unit::Binary(payload) => (OpCode::Binary, payload),
                Unit::Text(payload) => (OpCode::Text, payload),
            };
            let frame = Frame::new(true, opcode, None, Payload::Borrowed(payload));
            if !matches!(self.socket.write_frame(frame).now_or_never(), Some(Ok(()))) {
                break;
            }
        }
        self.written.get()
    }
}
