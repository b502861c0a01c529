//! PACKETS -> BYTES, if they keep the rules and the peer's limit.

use bytes::BytesMut;

use super::Role;
use super::check::{self, Sent};
use super::encode::{self, LONGEST_BODY, Sink, whole};
use super::packet::Packet;
use super::reason::ReasonCode;
use super::rule::EncodeError;
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

    /// The version of the connection.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The largest packet that the peer takes, in bytes.
    #[must_use]
    pub const fn packet_limit(&self) -> u32 {
        self.limit
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
        if !self.write_usual(packet, tx) {
            let length = self.body_length(packet)?;
            encode::write(packet, self.version, length, tx);
        }
        Ok(())
    }

    /// Appends a packet to any buffer, with a copy of its payload.
    ///
    /// # Errors
    /// Those of [`Outgoing::send`].
    #[inline]
    pub fn encode(&self, packet: &Packet<'_>, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        if !self.write_usual(packet, buffer) {
            let length = self.body_length(packet)?;
            buffer.reserve(whole(length) as usize);
            encode::write(packet, self.version, length, buffer);
        }
        Ok(())
    }

    /// Writes a ping, or an acknowledgement that says success and nothing else; `false` for everything else, right or wrong.
    #[inline]
    fn write_usual(&self, packet: &Packet<'_>, sink: &mut impl Sink) -> bool {
        let (first, ack) = match (packet, self.sender) {
            (Packet::PingReq, Role::Client) if self.limit >= 2 => {
                sink.put(&[0xC0, 0]);
                return true;
            }
            (Packet::PingResp, Role::Server) if self.limit >= 2 => {
                sink.put(&[0xD0, 0]);
                return true;
            }
            (Packet::PubAck(ack), _) => (0x40, ack),
            (Packet::PubRec(ack), _) => (0x50, ack),
            (Packet::PubRel(ack), _) => (0x62, ack),
            (Packet::PubComp(ack), _) => (0x70, ack),
            _ => return false,
        };
        if ack.reason != ReasonCode::SUCCESS || !ack.properties.is_empty() || self.limit < 4 {
            return false;
        }
        let [high, low] = ack.packet_id.get().to_be_bytes();
        sink.put(&[first, 2, high, low]);
        true
    }

    #[inline]
    fn body_length(&self, packet: &Packet<'_>) -> Result<u64, EncodeError> {
        let sent = Sent { by: self.sender, version: self.version };
        check::packet(packet, sent).map_err(|rule| EncodeError::Broken { packet: packet.packet_type(), rule })?;
        let length = encode::length(packet, self.version);
        if length > LONGEST_BODY || whole(length) > self.limit.into() {
            let limit = self.limit.min(PACKET_LIMIT);
            return Err(EncodeError::TooLarge { packet: packet.packet_type(), length: whole(length), limit });
        }
        Ok(length)
    }
}
