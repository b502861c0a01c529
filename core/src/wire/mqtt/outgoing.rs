//! PACKETS -> BYTES, if they keep the rules and the peer's limit.

use bytes::BytesMut;

use super::Role;
use super::check::{self, Sent};
use super::encode::{self, LONGEST_BODY, Out, whole};
use super::packet::Packet;
use super::rule::{self, EncodeError};
use super::types::Version;
use crate::wire::Tx;

/// The largest packet that MQTT has, in bytes, fixed header included.
pub const PACKET_LIMIT: u32 = whole(LONGEST_BODY) as u32;

/// Writes packets to one connection.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    sender: Role,
    version: Version,
    limit: u32,
}

impl Outgoing {
    /// Writes what `sender`, which is ours, says in this version.
    #[must_use]
    pub const fn new(sender: Role, version: Version) -> Self {
        Self { sender, version, limit: PACKET_LIMIT }
    }

    /// From now on, the peer takes packets of up to so many bytes, fixed header included: its Maximum Packet Size (MQTT 5.0,
    /// sections 3.1.2.11.4 and 3.2.2.3.6).
    pub const fn limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// How many bytes a packet has on the wire, fixed header included.
    ///
    /// # Errors
    /// Those of [`Outgoing::send`].
    pub fn length(&self, packet: &Packet<'_>) -> Result<u32, EncodeError> {
        self.body_length(packet).map(|length| whole(length) as u32)
    }

    /// Appends a packet. A large payload that is shared is not copied.
    ///
    /// # Errors
    /// The packet breaks a rule, or is larger than the peer takes. Then nothing is appended.
    #[inline]
    pub fn send(&self, packet: &Packet<'_>, tx: &mut Tx) -> Result<(), EncodeError> {
        match (packet, self.sender) {
            (Packet::PingReq, Role::Client) => tx.put(&[0xC0, 0]),
            (Packet::PingResp, Role::Server) => tx.put(&[0xD0, 0]),
            _ => return self.write(packet, tx, |_, _| {}),
        }
        Ok(())
    }

    /// Appends a packet to any buffer, with a copy of its payload.
    ///
    /// # Errors
    /// Those of [`Outgoing::send`].
    pub fn encode(&self, packet: &Packet<'_>, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        self.write(packet, buffer, |buffer, length| buffer.reserve(length))
    }

    #[inline]
    fn write<O: Out>(
        &self,
        packet: &Packet<'_>,
        out: &mut O,
        reserve: impl FnOnce(&mut O, usize),
    ) -> Result<(), EncodeError> {
        let length = self.body_length(packet)?;
        reserve(out, whole(length) as usize);
        encode::write(packet, self.version, length, out);
        Ok(())
    }

    #[inline]
    fn body_length(&self, packet: &Packet<'_>) -> Result<u64, EncodeError> {
        let (packet_type, sent) = (packet.packet_type(), Sent { by: self.sender, version: self.version });
        let broken = |rule| EncodeError::Broken { packet: packet_type, rule };
        if !packet_type.is_from(self.sender, self.version) {
            return Err(broken(&rule::DIRECTION));
        }
        check::packet(packet, sent).map_err(broken)?;
        let length = encode::length(packet, self.version);
        if length > LONGEST_BODY || whole(length) > self.limit.into() {
            let limit = self.limit.min(PACKET_LIMIT);
            return Err(EncodeError::TooLarge { packet: packet_type, length: whole(length), limit });
        }
        Ok(length)
    }
}
