//! Moves bytes between a socket that does not block and a machine of the core.
//!
//! The sockets' side is a closure in the standard library's terms. [`io::ErrorKind::WouldBlock`] means: nothing now, and
//! the driver has seen to it that it will be woken. The numbers are those of the driver contract in the docs of
//! [`keepbeat_core`].

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read};

use keepbeat_core::Failure;
use keepbeat_core::client::{Client, Epoch, Input};
use keepbeat_core::server::{ConnectionId, Server, ServerInput};
use keepbeat_core::time::Timestamp;
use socket2::SockRef;

use crate::socket::failure;
use crate::store::{Keeper, keep};

/// One read takes at most so many bytes.
const READ_SIZE: usize = 64 << 10;

/// One connection is read so often in a turn before others get theirs.
const READS_PER_TURN: usize = 16;

/// One connection is written so often in a turn before others get theirs.
const WRITES_PER_TURN: usize = 64;

thread_local! {
    /// Shared by all connections of a thread, so that an idle one holds no buffer.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes and wakes, counted by the driver since the link or listener was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// How often the driver had a turn.
    pub wakes: u64,
    /// Turns in which there was nothing to do.
    pub empty_turns: u64,
}

/// How moving bytes one way went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Whether the machine was told anything.
    pub any: bool,
    /// The connection has had its share, and there may be more: give it another turn.
    pub more: bool,
}

/// Reads what a socket has, whatever the runtime knows of it.
///
/// # Errors
/// The operating system's.
pub fn read_now<'s>(stream: impl Into<SockRef<'s>>, buffer: &mut [u8]) -> io::Result<usize> {
    (&*stream.into()).read(buffer)
}

/// Reads into the link while there is something to read and it wants it. Rule 2: before timeouts.
pub fn read_link(
    client: &mut Client,
    traffic: &mut Traffic,
    now: Timestamp,
    epoch: Epoch,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Moved {
    let mut moved = Moved::default();
    for _ in 0..READS_PER_TURN {
        if !client.wants_read() {
            return moved;
        }
        match read_once(&mut read, |bytes| client.handle_input(now, Input::Received { epoch, bytes })) {
            Got::Nothing => return moved,
            Got::Bytes(count) => traffic.bytes_in += count as u64,
            Got::Ended(failure) => {
                client.handle_input(now, Input::Ended { epoch, failure });
                return Moved { any: true, more: false };
            }
        }
        moved.any = true;
    }
    Moved { any: true, more: true }
}

/// Writes what waits in the link, as far as the socket takes it, but nothing that follows from what the link's store does not
/// have. `read` is what [`read_link`] reads with; when the socket
/// is broken, what the server said last may still be there.
pub fn write_link(
    client: &mut Client,
    keeper: &mut Option<Box<Keeper>>,
    traffic: &mut Traffic,
    now: Timestamp,
    epoch: Epoch,
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Moved {
    let mut moved = Moved::default();
    for _ in 0..WRITES_PER_TURN {
        if !keep(keeper, client, now) {
            return Moved { any: true, more: false };
        }
        let bytes = client.transmit();
        if bytes.is_empty() {
            return moved;
        }
        match write(bytes) {
            // Rule 5: written is what the operating system took.
            Ok(count) => {
                traffic.bytes_out += count as u64;
                client.handle_input(now, Input::Written { epoch, count });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return moved,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                read_link(client, traffic, now, epoch, read);
                client.handle_input(now, Input::Ended { epoch, failure: failure(&error) });
                return Moved { any: true, more: false };
            }
        }
        moved.any = true;
    }
    Moved { any: true, more: true }
}

/// Like [`read_link`], for a connection of a server.
pub fn read_connection(
    server: &mut Server,
    traffic: &mut Traffic,
    now: Timestamp,
    id: ConnectionId,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Moved {
    let mut moved = Moved::default();
    for _ in 0..READS_PER_TURN {
        if !server.wants_read(id) {
            return moved;
        }
        match read_once(&mut read, |bytes| server.handle_input(now, id, ServerInput::Received(bytes))) {
            Got::Nothing => return moved,
            Got::Bytes(count) => traffic.bytes_in += count as u64,
            Got::Ended(failure) => {
                server.handle_input(now, id, ServerInput::Ended(failure));
                return Moved { any: true, more: false };
            }
        }
        moved.any = true;
    }
    Moved { any: true, more: true }
}

/// Like [`write_link`], for a connection of a server.
pub fn write_connection(
    server: &mut Server,
    traffic: &mut Traffic,
    now: Timestamp,
    id: ConnectionId,
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Moved {
    let mut moved = Moved::default();
    for _ in 0..WRITES_PER_TURN {
        let bytes = server.transmit(id);
        if bytes.is_empty() {
            return moved;
        }
        match write(bytes) {
            Ok(count) => {
                traffic.bytes_out += count as u64;
                server.handle_input(now, id, ServerInput::Written(count));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return moved,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                read_connection(server, traffic, now, id, read);
                server.handle_input(now, id, ServerInput::Ended(failure(&error)));
                return Moved { any: true, more: false };
            }
        }
        moved.any = true;
    }
    Moved { any: true, more: true }
}

enum Got {
    Nothing,
    Bytes(usize),
    /// There will be nothing any more.
    Ended(Failure),
}

fn read_once(read: &mut impl FnMut(&mut [u8]) -> io::Result<usize>, receiver: impl FnOnce(&[u8])) -> Got {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(READ_SIZE, 0);
        match read(scratch) {
            Ok(0) => Got::Ended(Failure::Eof),
            Ok(count) => {
                receiver(&scratch[..count]);
                Got::Bytes(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Got::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Got::Bytes(0),
            Err(error) => Got::Ended(failure(&error)),
        }
    })
}
