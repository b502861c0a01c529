//! BYTES -> PACKETS: fixed headers, limits, and packets that come in pieces (MQTT 5.0, section 2.1).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use nom::Err as NomErr;

use super::Role;
use super::check::{self, Sent};
use super::decode::{self, publish_flag};
use super::encode::whole;
use super::fields::{Fields, INTEGER_BITS};
use super::packet::{Ack, Packet, Publish};
use super::payload::Payload;
use super::properties::Properties;
use super::property::Place;
use super::rule::{self, Checked, Rule, Violation};
use super::text::Topic;
use super::types::{PacketId, PacketType, Qos, Version};
use crate::wire::varint::varint;

/// So much is reserved for a body that was announced and has not come, in bytes.
const STEP: usize = 1 << 10;

/// So many times as much is reserved as has come.
const AHEAD: usize = 4;

/// Reads the packets of one connection. Between packets it holds no memory of the heap. A packet is borrowed from the input, unless
/// it came in pieces.
pub struct Incoming {
    reader: Role,
    /// A server's: `None` until CONNECT has come.
    version: Option<Version>,
    limit: u32,
    state: State,
    /// The version, if it is known, nothing is unfinished, and there is room for a ping.
    ready: Option<Version>,
    /// The peer's ping, or its answer to ours.
    ping: [u8; 2],
}

enum State {
    /// Between packets.
    Idle,
    /// A fixed header that is not complete.
    Header { have: u8, bytes: [u8; LONGEST_HEADER] },
    /// A body that is not complete.
    Body(Box<Body>),
    /// Nothing more is read.
    Failed(Violation),
}

/// A type and four bytes of length.
const LONGEST_HEADER: usize = 5;

/// A body that is not complete.
struct Body {
    header: Header,
    bytes: Vec<u8>,
}

/// What comes before a packet's body.
#[derive(Clone, Copy)]
struct Header {
    first: u8,
    packet: PacketType,
    /// Of the body, in bytes.
    length: u32,
}

/// A packet that has come.
enum Whole<'a> {
    /// This is its body.
    Here(&'a [u8]),
    /// Its body came in pieces.
    Gathered(Bytes),
}

impl Incoming {
    /// A client's: reads what a server says in this version, in packets of up to `limit` bytes, fixed header included.
    #[must_use]
    pub const fn client(version: Version, limit: u32) -> Self {
        Self::new(Role::Client, Some(version), limit)
    }

    /// A server's: reads what a client says, beginning with its CONNECT, in packets of up to `limit` bytes, fixed header included.
    #[must_use]
    pub const fn server(limit: u32) -> Self {
        Self::new(Role::Server, None, limit)
    }

    const fn new(reader: Role, version: Option<Version>, limit: u32) -> Self {
        let ping = match reader {
            Role::Client => [0xD0, 0],
            Role::Server => [0xC0, 0],
        };
        let mut incoming = Self { reader, version, limit, state: State::Idle, ready: None, ping };
        incoming.settle();
        incoming
    }

    /// From the next packet on, this is the limit, in bytes.
    pub const fn limit(&mut self, limit: u32) {
        self.limit = limit;
        self.settle();
    }

    /// The version; `None` if the client has not said it yet.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes bytes from the front of `input` until a packet is whole; `Ok(None)` means that all was used. How the bytes are
    /// split between calls makes no difference to what comes out. Of what is announced, at most four times what has come is
    /// reserved, or 1 KiB.
    ///
    /// Whether a packet may come now, and whether anybody waits for the answer in it, is not asked here; only a server's
    /// CONNECT comes first, and once.
    ///
    /// # Errors
    /// The peer broke the protocol. Every later call returns the same error.
    #[inline]
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Packet<'i>>, Violation> {
        if self.ready.is_some()
            && let Some((head, behind)) = input.split_first_chunk()
            && *head == self.ping
        {
            *input = behind;
            return Ok(Some(if self.reader == Role::Client { Packet::PingResp } else { Packet::PingReq }));
        }
        self.next_usual(input)
    }

    /// Whether part of a packet has arrived and the rest is outstanding.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        matches!(self.state, State::Header { .. } | State::Body(_))
    }

    /// How many bytes are reserved for the body of an unfinished packet.
    #[must_use]
    pub const fn reserved(&self) -> usize {
        if let State::Body(body) = &self.state { body.bytes.capacity() } else { 0 }
    }

    /// What is neither a ping nor its answer.
    // Kept out of line, so that the path of a ping is small enough to be inlined.
    #[inline(never)]
    fn next_usual<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Packet<'i>>, Violation> {
        if let Some(version) = self.ready
            && let Some((first, body, behind)) = short(input, self.limit)
        {
            if first >> 4 == PacketType::Publish as u8 {
                if let Some(message) = message(first, body, Sent { by: sender(self.reader), version }) {
                    *input = behind;
                    return Ok(Some(Packet::Publish(message)));
                }
            } else if let Some(packet) = success(first, body) {
                *input = behind;
                return Ok(Some(packet));
            }
        }
        self.next_any(input)
    }

    // Kept out of line, so that the path of what mostly comes is small.
    #[inline(never)]
    fn next_any<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Packet<'i>>, Violation> {
        let packet = self.gather(input).and_then(|whole| {
            let Some((header, body)) = whole else { return Ok(None) };
            let read = match &body {
                Whole::Here(body) => read(self.reader, self.version, header, body),
                Whole::Gathered(body) => read(self.reader, self.version, header, body).map(|packet| own(packet, body)),
            };
            read.map(Some).map_err(|rule| Violation::Broken { packet: Some(header.packet), rule })
        });
        match &packet {
            Ok(Some(Packet::Connect(connect))) => self.version = Some(connect.version),
            Ok(_) => {}
            Err(violation) => self.state = State::Failed(*violation),
        }
        self.settle();
        packet
    }

    const fn settle(&mut self) {
        self.ready = if matches!(self.state, State::Idle) && self.limit >= 2 { self.version } else { None };
    }

    /// Takes bytes until a packet has come.
    #[inline]
    fn gather<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<(Header, Whole<'a>)>, Violation> {
        let header = match &mut self.state {
            State::Idle => match self.header(input)? {
                Some((header, behind)) => {
                    *input = behind;
                    header
                }
                None => {
                    let mut bytes = [0; LONGEST_HEADER];
                    for (slot, byte) in bytes.iter_mut().zip(*input) {
                        *slot = *byte;
                    }
                    if !input.is_empty() {
                        self.state = State::Header { have: input.len() as u8, bytes };
                    }
                    *input = &[];
                    return Ok(None);
                }
            },
            State::Header { .. } => match self.complete_header(input)? {
                Some(header) => header,
                None => return Ok(None),
            },
            State::Body(_) => return Ok(self.append(input)),
            State::Failed(violation) => return Err(*violation),
        };
        if let Some((body, behind)) = input.split_at_checked(header.length as usize) {
            (self.state, *input) = (State::Idle, behind);
            return Ok(Some((header, Whole::Here(body))));
        }
        self.state = State::Body(Box::new(Body { header, bytes: Vec::new() }));
        Ok(self.append(input))
    }

    /// One byte after the other, so that none of the body is taken.
    fn complete_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        let State::Header { mut have, mut bytes } = self.state else { return Ok(None) };
        while let Some((&byte, behind)) = input.split_first() {
            *input = behind;
            if let Some(slot) = bytes.get_mut(usize::from(have)) {
                *slot = byte;
                have += 1;
            }
            if let Some((header, _)) = self.header(bytes.get(..usize::from(have)).unwrap_or_default())? {
                return Ok(Some(header));
            }
        }
        self.state = State::Header { have, bytes };
        Ok(None)
    }

    /// Takes what is missing of a body.
    fn append<'a>(&mut self, input: &mut &'a [u8]) -> Option<(Header, Whole<'a>)> {
        let State::Body(unfinished) = &mut self.state else { return None };
        let Body { header, bytes: body } = &mut **unfinished;
        let missing = (header.length as usize).saturating_sub(body.len());
        let (bytes, behind) = input.split_at(missing.min(input.len()));
        if body.capacity() - body.len() < bytes.len() {
            let ahead = (body.len() + bytes.len()).saturating_mul(AHEAD).saturating_sub(body.len());
            body.reserve_exact(ahead.max(STEP).min(missing));
        }
        body.extend_from_slice(bytes);
        *input = behind;
        if bytes.len() < missing {
            return None;
        }
        let header = *header;
        let body = Bytes::from(core::mem::take(body));
        self.state = State::Idle;
        Some((header, Whole::Gathered(body)))
    }

    /// Reads the fixed header at the front of `input`; `None` if it is not complete. What the first byte alone makes wrong is
    /// refused with the first byte.
    #[inline]
    fn header<'a>(&self, input: &'a [u8]) -> Result<Option<(Header, &'a [u8])>, Violation> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let packet = PacketType::new(first >> 4);
        let broken = |rule| Violation::Broken { packet, rule };
        let packet = self.begin(first, packet).map_err(broken)?;
        let (rest, length) = match varint(INTEGER_BITS, rest) {
            Ok((rest, length)) => (rest, length as u32),
            Err(NomErr::Incomplete(_)) => return Ok(None),
            Err(_) => return Err(broken(&rule::INTEGER_FORM)),
        };
        let all = whole(length.into()) as u32;
        if all > self.limit {
            return Err(Violation::TooLarge { length: all, limit: self.limit });
        }
        if self.longest(packet).is_some_and(|longest| length > longest) {
            return Err(broken(&rule::BYTES_LEFT));
        }
        Ok(Some((Header { first, packet, length }, rest)))
    }

    /// Checks the first byte.
    #[inline]
    fn begin(&self, first: u8, packet: Option<PacketType>) -> Checked<PacketType> {
        let packet = packet.ok_or(&rule::NO_SUCH_TYPE)?;
        match (packet, self.version) {
            (PacketType::Connect, None) => {}
            (_, None) => return Err(&rule::NOT_CONNECTED),
            (PacketType::Auth, Some(Version::V3)) => return Err(&rule::NO_SUCH_TYPE),
            (PacketType::Connect, _) if self.reader == Role::Server => return Err(&rule::SECOND_CONNECT),
            (_, Some(version)) if !packet.is_from(sender(self.reader), version) => return Err(&rule::DIRECTION),
            _ => {}
        }
        match packet.flags() {
            Some(flags) if first & 0x0F != flags => Err(&rule::FLAGS),
            None if Qos::new(first >> publish_flag::QOS & 3).is_none() => Err(&rule::QOS_3),
            _ => Ok(packet),
        }
    }

    /// The longest body that this packet can have, in bytes, if that is little: nothing is gathered that cannot be right.
    #[inline]
    const fn longest(&self, packet: PacketType) -> Option<u32> {
        match (packet, self.version) {
            (PacketType::PingReq | PacketType::PingResp, _) | (PacketType::Disconnect, Some(Version::V3)) => Some(0),
            (
                PacketType::ConnAck
                | PacketType::PubAck
                | PacketType::PubRec
                | PacketType::PubRel
                | PacketType::PubComp
                | PacketType::UnsubAck,
                Some(Version::V3),
            ) => Some(2),
            _ => None,
        }
    }
}

impl fmt::Debug for Incoming {
    /// Leaves out the bytes gathered, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("reader", &self.reader)
            .field("version", &self.version)
            .field("limit", &self.limit)
            .field("is_unfinished", &self.is_unfinished())
            .finish_non_exhaustive()
    }
}

/// The first byte, the body and what is behind it of a packet that is whole and whose length has one byte or two. `None` for
/// everything else, right or wrong.
#[inline]
fn short(input: &[u8], limit: u32) -> Option<(u8, &[u8], &[u8])> {
    let (first, length, rest) = match input {
        [first, length @ ..0x80, rest @ ..] => (*first, usize::from(*length), rest),
        [first, low @ 0x80..=0xFF, high @ 1..0x80, rest @ ..] => {
            (*first, usize::from(low & 0x7F) | usize::from(*high) << 7, rest)
        }
        _ => return None,
    };
    let (body, behind) = rest.split_at_checked(length)?;
    (input.len() - behind.len() <= limit as usize).then_some((first, body, behind))
}

/// A message that names its topic. `None` for everything else, right or wrong.
#[inline]
fn message(first: u8, body: &[u8], sent: Sent) -> Option<Publish<'_>> {
    let mut fields = Fields::new(body);
    let qos = Qos::new(first >> publish_flag::QOS & 3)?;
    let dup = first & publish_flag::DUP != 0;
    let topic = Topic::read(fields.binary().ok()?).ok()?;
    let packet_id = match qos {
        Qos::AtMostOnce if dup => return None,
        Qos::AtMostOnce => None,
        _ => Some(fields.packet_id().ok()?),
    };
    let properties = Properties::unchecked(fields.properties(sent.version).ok()?);
    if !properties.is_empty() {
        properties.check(Place::packet(PacketType::Publish, sent.by)).ok()?;
    }
    Some(Publish {
        dup,
        qos,
        retain: first & publish_flag::RETAIN != 0,
        topic: Some(topic),
        packet_id,
        properties,
        payload: Payload::Borrowed(fields.rest()),
    })
}

/// An acknowledgement that says success and nothing else.
#[inline]
fn success<'a>(first: u8, body: &[u8]) -> Option<Packet<'a>> {
    let &[high, low] = body else { return None };
    let ack = Ack::new(PacketId::new(u16::from_be_bytes([high, low]))?);
    match first {
        0x40 => Some(Packet::PubAck(ack)),
        0x50 => Some(Packet::PubRec(ack)),
        0x62 => Some(Packet::PubRel(ack)),
        0x70 => Some(Packet::PubComp(ack)),
        _ => None,
    }
}

fn read(reader: Role, version: Option<Version>, header: Header, body: &[u8]) -> Result<Packet<'_>, &'static Rule> {
    let version = version.unwrap_or(Version::V5);
    let packet = decode::packet(header.packet, header.first, body, version)?;
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    check::packet(&packet, Sent { by: sender(reader), version })?;
    Ok(packet)
}

/// Who sends what comes to `reader`.
const fn sender(reader: Role) -> Role {
    match reader {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// Copies a packet out of the `body` that it came in, but not a payload that is most of it. A small one would keep all of it in
/// memory.
fn own(mut packet: Packet<'_>, body: &Bytes) -> Packet<'static> {
    if let Packet::Publish(Publish { payload, .. }) = &mut packet
        && let Some(front) = body.len().checked_sub(payload.len())
        && payload.len() > front
    {
        *payload = Payload::Shared(body.slice(front..));
    }
    packet.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(reader: Role, version: Version, limit: u32) -> Incoming {
        Incoming::new(reader, Some(version), limit)
    }

    /// All inputs of up to `most` more bytes that stand at a border.
    fn at_borders(front: &mut Vec<u8>, most: usize, check: &mut impl FnMut(&[u8])) {
        check(front);
        if most > 0 {
            for byte in [0, 1, 2, 3, b't', 0x80, 0xFF] {
                front.push(byte);
                at_borders(front, most - 1, check);
                front.pop();
            }
        }
    }

    #[test]
    fn what_mostly_comes_is_read_as_everything_else() {
        for front in
            [&[0x30][..], &[0x32, 5], &[0x38, 3], &[0x40], &[0x50], &[0x62], &[0x70], &[0x90], &[0xC0], &[0xD0]]
        {
            let mut packets = 0;
            at_borders(&mut front.into(), 5, &mut |input| {
                for (version, limit) in [(Version::V3, 1000), (Version::V5, 1000), (Version::V5, 3)] {
                    for reader in [Role::Client, Role::Server] {
                        let (mut one, mut other) = (incoming(reader, version, limit), incoming(reader, version, limit));
                        let (mut rest, mut other_rest) = (input, input);
                        let read = one.next(&mut rest);
                        packets += usize::from(matches!(read, Ok(Some(_))));
                        assert_eq!(read, other.next_any(&mut other_rest), "{input:02x?} in {version:?} to {reader:?}");
                        assert_eq!(rest, other_rest);
                    }
                }
            });
            assert!(packets > 20 || front[0] == 0x38 && packets == 0, "{packets} of {front:02x?}");
        }
    }
}
