//! keepbeat's own codec.

use std::mem;

use bytes::BytesMut;
use keepbeat_core::wire::Tx;
use keepbeat_core::wire::mqtt::{Incoming, Outgoing, Packet, Role, Version};

use super::{Load, Reader, Stream, Writer};
use crate::frames::Found;

/// [`Incoming`]. Every payload is a copy of its own.
pub struct OursReading {
    incoming: Incoming,
    stream: Stream,
}

impl Reader for OursReading {
    const NAME: &'static str = "ours";

    fn new(stream: Stream) -> Self {
        Self { incoming: Incoming::client(Version::V3, 1 << 20), stream }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for mut piece in self.stream.pieces() {
            loop {
                let next = self.incoming.next(&mut piece);
                match next {
                    Ok(Some(Packet::Publish(publish))) => found.message(publish.payload.into_bytes()),
                    Ok(Some(Packet::PingResp)) => {
                        found.beat(0);
                        // As a connection does: there is nothing to drop, and to find that out takes a call.
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

/// [`Incoming`], and nothing else: a payload is looked at where it is.
pub struct OursBorrowing {
    incoming: Incoming,
    stream: Stream,
}

impl Reader for OursBorrowing {
    const NAME: &'static str = "ours borrowed";

    fn new(stream: Stream) -> Self {
        Self { incoming: Incoming::client(Version::V3, 1 << 20), stream }
    }

    fn read(&mut self) -> Found {
        let mut found = Found::default();
        for mut piece in self.stream.pieces() {
            while let Ok(Some(packet)) = self.incoming.next(&mut piece) {
                match packet {
                    Packet::Publish(publish) => {
                        found.messages += 1;
                        found.bytes += publish.payload.len() as u64;
                    }
                    Packet::PingResp => found.beat(0),
                    _ => found.faults += 1,
                }
            }
        }
        found
    }
}

/// [`Outgoing::encode`] to a buffer that is used again.
pub struct OursWriting {
    outgoing: Outgoing,
    packet: Packet<'static>,
    buffer: BytesMut,
    written: u64,
}

impl Writer for OursWriting {
    const NAME: &'static str = "ours";

    fn new(load: Load) -> Self {
        let outgoing = Outgoing::new(Role::Client, Version::V3);
        Self { outgoing, packet: load.packet(Role::Client), buffer: BytesMut::new(), written: 0 }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            if self.outgoing.encode(&self.packet, &mut self.buffer).is_err() {
                break;
            }
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.written
    }
}

/// [`Outgoing::send`] and the [`Tx`] behind it, from which every packet is taken at once. It holds no memory in between.
pub struct OursSending {
    outgoing: Outgoing,
    packet: Packet<'static>,
    tx: Tx,
    written: u64,
}

impl Writer for OursSending {
    const NAME: &'static str = "ours to a Tx";

    fn new(load: Load) -> Self {
        let outgoing = Outgoing::new(Role::Client, Version::V3);
        Self { outgoing, packet: load.packet(Role::Client), tx: Tx::default(), written: 0 }
    }

    fn write(&mut self, times: u64) -> u64 {
        for _ in 0..times {
            if self.outgoing.send(&self.packet, &mut self.tx).is_err() {
                break;
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
