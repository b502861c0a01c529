//! Whole streams, by the specification's examples and rules, and by seeds.

#[cfg(feature = "deflate")]
mod compressed;
mod fragments;
mod reading;
mod rules;
mod streams;

use alloc::vec::Vec;

use super::frame::{self, Header, Opcode};
use super::mask::Mask;
use super::{Incoming, Item, Limits, Role, Violation};
use crate::wire::Tx;

const LIMITS: Limits = Limits::of_message(1 << 20);

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What comes of a stream, up to its end or the first violation.
type Read = (Vec<Item>, Result<(), Violation>);

/// Reads all pieces, each with as many calls as it takes.
fn read<'a>(incoming: &mut Incoming, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut items = Vec::new();
    for mut piece in pieces {
        loop {
            match incoming.next(&mut piece) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break assert!(piece.is_empty(), "{} bytes were left", piece.len()),
                Err(violation) => return (items, Err(violation)),
            }
        }
    }
    (items, Ok(()))
}

/// Reads a stream in one piece.
fn read_whole(role: Role, stream: &[u8]) -> Read {
    read(&mut Incoming::new(role, LIMITS), [stream])
}

/// A frame as a peer of `reader` writes it, right or wrong.
fn frame_to(reader: Role, opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mask = matches!(reader, Role::Server).then_some(KEY);
    let (header, count) = frame::write(&Header { opcode, fin, rsv1: false, mask, length: payload.len() as u64 });
    let mut bytes = header[..count].to_vec();
    Mask::new(mask.unwrap_or_default()).append(payload, &mut bytes);
    bytes
}

/// All that waits to be written.
fn drain(tx: &mut Tx) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}
