//! PACKETS -> BYTES, if they keep the rules and the peer's limit.

use bytes::BytesMut;

use super::Role;
use super::check::{self, Sent};
use super::encode::{self, LONGEST_BODY, Sink, whole};
use super::packet::{Packet, Publish};
use super::reason::ReasonCode;
use super::rule::EncodeError;
use super::types::{PacketType, Version};
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

    /// How many bytes a packet has on the wire, fixed header included: before it is queued, this says whether the peer will take it.
    /// Which packet identifier it has makes no difference.
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
        self.write(packet, tx)
    }

    /// Appends a packet to any buffer, with a copy of its payload.
    ///
    /// # Errors
    /// Those of [`Outgoing::send`].
    #[inline]
    pub fn encode(&self, packet: &Packet<'_>, buffer: &mut BytesMut) -> Result<(), EncodeError> {
        self.write(packet, buffer)
    }

    #[inline]
    fn write(&self, packet: &Packet<'_>, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let ping = match (packet, self.sender) {
            (Packet::PingReq, Role::Client) if self.limit >= 2 => 0xC0,
            (Packet::PingResp, Role::Server) if self.limit >= 2 => 0xD0,
            (Packet::Publish(publish), _) => return self.write_publish(publish, sink),
            _ => return self.write_other(packet, sink),
        };
        sink.put(&[ping, 0]);
        Ok(())
    }

    // Kept out of line, as is all that follows, so that the path of a ping is small enough to be inlined.
    #[inline(never)]
    fn write_publish(&self, publish: &Publish<'_>, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let sent = Sent { by: self.sender, version: self.version };
        check::publish(publish, sent).map_err(|rule| EncodeError::Broken { packet: PacketType::Publish, rule })?;
        let length = encode::publish_length(publish, self.version);
        self.check_length(PacketType::Publish, length)?;
        encode::write_publish(publish, self.version, length, sink);
        Ok(())
    }

    #[inline(never)]
    fn write_other(&self, packet: &Packet<'_>, sink: &mut impl Sink) -> Result<(), EncodeError> {
        if !self.write_success(packet, sink) {
            let length = self.body_length(packet)?;
            encode::write(packet, self.version, length, sink);
        }
        Ok(())
    }

    /// Writes an acknowledgement that says success and nothing else; `false` for everything else, right or wrong.
    #[inline]
    fn write_success(&self, packet: &Packet<'_>, sink: &mut impl Sink) -> bool {
        let (first, ack) = match packet {
            Packet::PubAck(ack) => (0x40, ack),
            Packet::PubRec(ack) => (0x50, ack),
            Packet::PubRel(ack) => (0x62, ack),
            Packet::PubComp(ack) => (0x70, ack),
            _ => return false,
        };
        if ack.reason != ReasonCode::SUCCESS || !ack.properties.is_empty() || self.limit < 4 {
            return false;
        }
        let [high, low] = ack.packet_id.get().to_be_bytes();
        sink.put(&[first, 2, high, low]);
        true
    }

    fn body_length(&self, packet: &Packet<'_>) -> Result<u64, EncodeError> {
        let sent = Sent { by: self.sender, version: self.version };
        check::packet(packet, sent).map_err(|rule| EncodeError::Broken { packet: packet.packet_type(), rule })?;
        let length = encode::length(packet, self.version);
        self.check_length(packet.packet_type(), length)?;
        Ok(length)
    }

    #[inline]
    const fn check_length(&self, packet: PacketType, length: u64) -> Result<(), EncodeError> {
        if length <= LONGEST_BODY && whole(length) <= self.limit as u64 {
            return Ok(());
        }
        let limit = if self.limit < PACKET_LIMIT { self.limit } else { PACKET_LIMIT };
        Err(EncodeError::TooLarge { packet, length: whole(length), limit })
    }
}
