//! `mqtt_packet`: the packets of MQTT against arbitrary bytes, of both versions and for either role.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | bit 0: a server reads; 1: MQTT 5.0; 2 and 3: limit of a packet; 4: a server has read a CONNECT of that version already; 7: the rest arrives 64 times |
//! | 1 | the seed of a cut into pieces |
//! | rest | what arrives, up to 128 KiB |

use alloc::vec::Vec;

use super::script::{Pieces, Script};
use crate::entropy::Prng;
use crate::wire::Tx;
use crate::wire::mqtt::{Incoming, Outgoing, PACKET_LIMIT, Packet, ReasonCode, Role, Version, Violation};

/// A body in pieces gets room for this many bytes at once, or for four times what came.
const LEAST_ROOM: usize = 1024;

/// So much arrives, at most. Room for one packet grows four times until then, so work that grows with the square shows.
const MOST_BYTES: usize = 128 << 10;

/// So many packets are read, at most: more small ones take time, and show nothing new.
const MOST_PACKETS: usize = 2000;

/// Checks that the pieces in which bytes arrive make no difference, that every call gets further, that memory is bounded by
/// what came, that a second and simpler reader finds packets in the same places, and that what was read is written as it came, but
/// for the shorter form of an answer that says nothing else than success.
///
/// # Panics
/// If one of these does not hold.
pub fn mqtt_packet(data: &[u8]) {
    let mut script = Script::new(data);
    let (options, seed) = (script.byte(), script.byte());
    let (reader, bytes) = (Reader::new(options), script.rest());
    let times = if options & 128 == 0 { 1 } else { 64 };
    let bytes: Vec<u8> = bytes.iter().copied().cycle().take((bytes.len() * times).min(MOST_BYTES)).collect();
    let whole = reader.read(&bytes, Pieces::Whole);
    assert_eq!(reader.read(&bytes, Pieces::Small), whole, "in small pieces");
    assert_eq!(reader.read(&bytes, Pieces::Drawn(Prng::new(seed.into()))), whole, "in pieces");
    reader.check(&bytes, &whole);
    reader.rewrite(&bytes, &whole);
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// With the position behind each.
    packets: Vec<(usize, Packet<'static>)>,
    violation: Option<Violation>,
    unfinished: bool,
    /// `None` if no CONNECT came.
    version: Option<Version>,
}

struct Reader {
    role: Role,
    version: Version,
    limit: u32,
    /// Of a server: a CONNECT comes before the rest.
    is_connected: bool,
}

impl Reader {
    fn new(options: u8) -> Self {
        Self {
            role: if options & 1 == 0 { Role::Client } else { Role::Server },
            version: if options & 2 == 0 { Version::V3 } else { Version::V5 },
            limit: [20, 1000, 70_000, PACKET_LIMIT][usize::from(options >> 2 & 3)],
            is_connected: options & 16 != 0,
        }
    }

    fn incoming(&self, limit: u32) -> Incoming {
        if self.role == Role::Client {
            return Incoming::client(self.version, limit);
        }
        let mut incoming = Incoming::server(PACKET_LIMIT);
        if self.is_connected {
            let connect = match self.version {
                Version::V3 => &b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0"[..],
                Version::V5 => b"\x10\x0D\0\x04MQTT\x05\x02\0\0\0\0\0",
            };
            assert!(matches!(incoming.next(&mut &*connect), Ok(Some(Packet::Connect(_)))));
        }
        incoming.limit(limit);
        incoming
    }

    fn read(&self, bytes: &[u8], mut pieces: Pieces) -> Outcome {
        let mut incoming = self.incoming(self.limit);
        let mut outcome = Outcome { packets: Vec::new(), violation: None, unfinished: false, version: None };
        let (mut rest, mut begin) = (bytes, 0);
        while !rest.is_empty() {
            let mut piece = pieces.next(&mut rest);
            loop {
                let before = piece.len();
                let next = incoming.next(&mut piece).map(|packet| packet.map(Packet::into_owned));
                let position = bytes.len() - rest.len() - piece.len();
                match next {
                    Ok(Some(packet)) => {
                        assert!(piece.len() < before, "a packet came of nothing");
                        outcome.packets.push((position, packet));
                        begin = position;
                        if outcome.packets.len() == MOST_PACKETS {
                            return outcome;
                        }
                    }
                    Ok(None) => {
                        assert!(piece.is_empty(), "input is left, but there is no packet");
                        break;
                    }
                    Err(violation) => {
                        assert_eq!((incoming.reserved(), incoming.is_unfinished()), (0, false), "it holds nothing");
                        assert_eq!(incoming.next(&mut &b"\xD0\0"[..]), Err(violation), "a violation stays");
                        outcome.violation = Some(violation);
                        outcome.version = incoming.version();
                        return outcome;
                    }
                }
            }
            let came = bytes.len() - rest.len() - begin;
            let most = (4 * came).max(LEAST_ROOM).min(self.limit as usize);
            assert!(incoming.reserved() <= most, "{} bytes reserved, at most {most}", incoming.reserved());
            assert!(came > 0 || incoming.reserved() == 0, "nothing is held between packets");
        }
        outcome.unfinished = incoming.is_unfinished();
        outcome.version = incoming.version();
        outcome
    }

    /// Checks where packets ended, and that nothing that is whole was left or taken that must not be.
    fn check(&self, bytes: &[u8], outcome: &Outcome) {
        let mut at = 0;
        for (end, packet) in &outcome.packets {
            let (first, length) = (bytes[at], frame(&bytes[at..]).expect("a whole packet came"));
            assert_eq!(at + length, *end);
            assert!(length as u64 <= u64::from(self.limit));
            assert_eq!(packet.packet_type() as u8, first >> 4);
            at = *end;
        }
        let left = frame(&bytes[at..]);
        match outcome.violation {
            Some(Violation::TooLarge { length, limit }) => {
                assert!(limit == self.limit && length > limit);
                assert!(left.is_none_or(|left| left == length as usize));
            }
            Some(violation) => assert!(violation.code().is_failure()),
            None if outcome.packets.len() < MOST_PACKETS => {
                assert_eq!(left, None, "a whole packet is neither read nor refused");
                assert_eq!(outcome.unfinished, at < bytes.len());
            }
            None => {}
        }
    }

    /// Writes what was read, as the peer would.
    fn rewrite(&self, bytes: &[u8], outcome: &Outcome) {
        let sender = if self.role == Role::Client { Role::Server } else { Role::Client };
        let mut begin = 0;
        for (end, packet) in &outcome.packets {
            let version = outcome.version.unwrap_or(self.version);
            let (outgoing, mut tx, mut written) = (Outgoing::new(sender, version), Tx::default(), Vec::new());
            outgoing.send(packet, &mut tx).expect("what was read can be written");
            assert_eq!(outgoing.length(packet).map(u64::from), Ok(tx.len()));
            while !tx.is_empty() {
                written.extend_from_slice(tx.chunk());
                tx.consume(tx.chunk().len());
            }
            let came = &bytes[begin..*end];
            assert!(
                came == written || (written.len() < came.len() && says_little(packet)),
                "{packet:?}: {written:02x?}"
            );
            let mut incoming = if matches!(packet, Packet::Connect(_)) {
                Incoming::server(PACKET_LIMIT)
            } else {
                Self { version, is_connected: true, ..*self }.incoming(PACKET_LIMIT)
            };
            assert_eq!(incoming.next(&mut &written[..]), Ok(Some(packet.clone())), "read again");
            begin = *end;
        }
    }
}

/// Whether there is more than one form of a packet: no reason or properties may be said, or left out (MQTT 5.0, sections 3.4.2.1,
/// 3.14.2.1 and 3.15.2.1).
fn says_little(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties.is_empty()
        }
        Packet::Disconnect(notice) => notice.properties.is_empty(),
        Packet::Auth(notice) => notice.properties.is_empty() && notice.reason == ReasonCode::SUCCESS,
        _ => false,
    }
}

/// How many bytes the packet at the front has; `None` if it is not whole, or its length is wrong.
fn frame(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.get(1..)?;
    let count = 1 + digits.iter().take(4).position(|digit| *digit < 128)?;
    let is_shortest = count == 1 || digits[count - 1] != 0;
    let length = digits[..count].iter().rev().fold(0, |length, digit| length * 128 + usize::from(*digit % 128));
    let all = 1 + count + length;
    (is_shortest && bytes.len() >= all).then_some(all)
}
