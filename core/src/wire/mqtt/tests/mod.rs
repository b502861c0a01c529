//! Every packet by its bytes, every rule by a packet that breaks it, and whole streams by seeds.

mod bytes;
mod limits;
mod random;
mod rules;
mod sending;
mod streams;

use alloc::vec::Vec;

use super::*;
use crate::entropy::{Entropy, Prng};
use crate::wire::Tx;

const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// What comes of a stream, up to its end or the first violation.
type Read = (Vec<Packet<'static>>, Result<(), Violation>);

/// Of a connection on which a CONNECT of this version has come, if `sender` is a client.
fn incoming(sender: Role, version: Version) -> Incoming {
    match sender {
        Role::Server => Incoming::client(version, PACKET_LIMIT),
        Role::Client => {
            let mut incoming = Incoming::server(PACKET_LIMIT);
            let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
            let of_v5 = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0];
            let connect = if version == Version::V3 { &connect[..] } else { &of_v5 };
            assert!(matches!(incoming.next(&mut &*connect), Ok(Some(Packet::Connect(_)))));
            incoming
        }
    }
}

/// Reads all pieces, each with as many calls as it takes.
fn read<'a>(incoming: &mut Incoming, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut packets = Vec::new();
    for mut piece in pieces {
        loop {
            match incoming.next(&mut piece) {
                Ok(Some(packet)) => packets.push(packet.into_owned()),
                Ok(None) => break assert!(piece.is_empty(), "{} bytes were left", piece.len()),
                Err(violation) => return (packets, Err(violation)),
            }
        }
    }
    (packets, Ok(()))
}

/// Reads the first and only packet of a stream.
fn read_one(sender: Role, version: Version, stream: &[u8]) -> Result<Packet<'static>, Violation> {
    let first = stream.first().is_some_and(|first| first >> 4 == 1) && sender == Role::Client;
    let mut incoming = if first { Incoming::server(PACKET_LIMIT) } else { incoming(sender, version) };
    let (mut packets, verdict) = read(&mut incoming, [stream]);
    verdict?;
    assert_eq!((packets.len(), incoming.is_unfinished()), (1, false), "{stream:02x?}");
    Ok(packets.remove(0))
}

/// The bytes of a packet, as both ways to write it have them.
fn written(sender: Role, version: Version, packet: &Packet<'_>) -> Result<Vec<u8>, EncodeError> {
    let (outgoing, mut tx, mut buffer) = (Outgoing::new(sender, version), Tx::default(), ::bytes::BytesMut::new());
    let verdict = outgoing.encode(packet, &mut buffer);
    assert_eq!(outgoing.send(packet, &mut tx), verdict);
    assert_eq!(outgoing.length(packet), verdict.map(|()| buffer.len() as u32), "the length is known before");
    let mut bytes = Vec::new();
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    assert_eq!(bytes, buffer);
    verdict.map(|()| bytes)
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}
