//! `websocket_frame`: the frames of WebSocket against arbitrary bytes, for either role.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | bit 0: a server reads; 1 and 2: message limit; 3: frame limit; 4 and 5: compression was not agreed on, or was, in three ways; 7: the rest arrives 64 times |
//! | 1 | the seed of a cut into pieces |
//! | rest | what arrives, up to 128 KiB, or 2 KiB with compression |

use alloc::vec::Vec;

use super::script::{Pieces, Script};
use crate::entropy::Prng;
use crate::wire::websocket::{
    CONTROL_LIMIT, Close, Control, Incoming, Item, Limits, MaskKeys, Message, Outgoing, Role, Violation, WHOLE_LIMIT,
};
use crate::wire::{Tx, websocket};

/// A payload in pieces gets room for this many bytes at once, or for four times what came.
const LEAST_ROOM: usize = 1024;

/// So much arrives, at most. Room for one message grows four times until then, so work that grows with the square shows.
const MOST_BYTES: usize = 128 << 10;

/// The same with compression, where few bytes make much work.
const MOST_COMPRESSED: usize = 2 << 10;

/// So many items are read, at most: more small ones take time, and show nothing new.
const MOST_ITEMS: usize = 2000;

/// So many items are compressed again: each costs a compressor.
const MOST_DEFLATED: usize = 4;

/// Checks that the pieces in which bytes arrive make no difference, that every call gets further, that memory is bounded by
/// what came and no limit is passed, that a second and simpler reader finds the same, and that what was read is written so that
/// the other end reads the same.
///
/// # Panics
/// If one of these does not hold.
pub fn websocket_frame(data: &[u8]) {
    let mut script = Script::new(data);
    let (options, seed) = (script.byte(), script.byte());
    let (reader, bytes) = (Reader::new(options), script.rest());
    let times = if options & 128 == 0 { 1 } else { 64 };
    let most = if reader.deflate.is_none() { MOST_BYTES } else { MOST_COMPRESSED };
    let bytes: Vec<u8> = bytes.iter().copied().cycle().take((bytes.len() * times).min(most)).collect();
    let whole = reader.read(&bytes, Pieces::Whole);
    assert_eq!(reader.read(&bytes, Pieces::Small), whole, "in small pieces");
    assert_eq!(reader.read(&bytes, Pieces::Drawn(Prng::new(seed.into()))), whole, "in pieces");
    reader.check(&bytes, &whole);
    reader.rewrite(&bytes, &whole);
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// With the position behind each.
    items: Vec<(usize, Item)>,
    violation: Option<Violation>,
    unfinished: bool,
}

struct Reader {
    role: Role,
    limits: Limits,
    deflate: Option<Deflate>,
}

#[cfg(feature = "deflate")]
type Deflate = websocket::deflate::Agreement;

#[cfg(not(feature = "deflate"))]
type Deflate = core::convert::Infallible;

impl Reader {
    fn new(options: u8) -> Self {
        let message = [10, 1000, 70_000, 1 << 20][usize::from(options >> 1 & 3)];
        let frame = if options & 8 == 0 { usize::MAX } else { 300 };
        let deflate = agreement(options >> 4 & 3);
        let message = if deflate.is_none() { message } else { message.min(70_000) };
        let role = if options & 1 == 0 { Role::Client } else { Role::Server };
        Self { role, limits: Limits { frame, message }, deflate }
    }

    fn incoming(&self, limits: Limits) -> Incoming {
        let incoming = Incoming::new(self.role, limits);
        #[cfg(feature = "deflate")]
        if let Some(agreement) = &self.deflate {
            return incoming.with_deflate(agreement);
        }
        incoming
    }

    fn read(&self, bytes: &[u8], mut pieces: Pieces) -> Outcome {
        let mut incoming = self.incoming(self.limits);
        let mut outcome = Outcome { items: Vec::new(), violation: None, unfinished: false };
        let (mut rest, mut counts) = (bytes, Counts::default());
        while !rest.is_empty() {
            let mut piece = pieces.next(&mut rest);
            counts.pieces += 1;
            loop {
                counts.calls += 1;
                let (before, next) = (piece.len(), incoming.next(&mut piece));
                let position = bytes.len() - rest.len() - piece.len();
                match next {
                    Ok(Some(item)) => {
                        assert!(piece.len() < before, "an item came of nothing");
                        outcome.items.push((position, item));
                        if outcome.items.len() == MOST_ITEMS {
                            return outcome;
                        }
                    }
                    Ok(None) => {
                        assert!(piece.is_empty(), "input is left, but there is no item");
                        break;
                    }
                    Err(violation) => {
                        assert_eq!(
                            (incoming.reserved(), incoming.is_unfinished()),
                            (0, false),
                            "a violation holds nothing"
                        );
                        assert_eq!(incoming.next(&mut &b"\x89\x00"[..]), Err(violation), "a violation stays");
                        outcome.violation = Some(violation);
                        return outcome;
                    }
                }
                self.check_room(&incoming, position);
            }
            self.check_room(&incoming, bytes.len() - rest.len());
        }
        counts.check(outcome.items.len());
        outcome.unfinished = incoming.is_unfinished();
        outcome
    }

    /// Room is made for what came (of a compressed message, what came of it), and not above the limit.
    fn check_room(&self, incoming: &Incoming, position: usize) {
        let most = if self.deflate.is_some() { usize::MAX } else { (4 * position).max(LEAST_ROOM) };
        let most = most.min(self.limits.message.saturating_add(1));
        assert!(incoming.reserved() <= most, "{} bytes reserved, at most {most}", incoming.reserved());
    }

    /// Checks what came out against what a second and simpler reader finds; of compressed messages, it knows nothing.
    fn check(&self, bytes: &[u8], outcome: &Outcome) {
        for (_, item) in &outcome.items {
            match item {
                Item::Message(message) => {
                    assert!(message.payload().len() <= self.limits.message);
                    assert!(!message.is_text() || core::str::from_utf8(message.payload()).is_ok());
                }
                Item::Ping(payload) | Item::Pong(payload) => assert!(payload.as_slice().len() <= CONTROL_LIMIT),
                Item::Close(_) => {}
            }
        }
        if self.deflate.is_some() || outcome.items.len() == MOST_ITEMS {
            return;
        }
        let mut simple = Simple::default();
        let verdict = simple.read(self, bytes);
        assert_eq!(outcome.items, simple.items);
        assert_eq!(outcome.violation.map(kind_of), verdict.err());
        let closed = matches!(simple.items.last(), Some((_, Item::Close(_))));
        let unfinished = !closed && verdict.is_ok() && (simple.left > 0 || simple.message.is_some());
        assert_eq!(outcome.unfinished, unfinished);
    }

    /// Writes what was read, as the peer would.
    fn rewrite(&self, bytes: &[u8], outcome: &Outcome) {
        let mut outgoing = match self.role {
            Role::Client => Outgoing::server(),
            Role::Server => Outgoing::client(MaskKeys::new([9; 32])),
        };
        let mut incoming = self.incoming(Limits::of_message(usize::MAX));
        let mut compressed = 0;
        for (number, (end, item)) in outcome.items.iter().enumerate() {
            #[cfg(feature = "deflate")]
            if number == 0
                && let Some(agreement) = &self.deflate
            {
                outgoing = outgoing.with_deflate(agreement);
            }
            if self.deflate.is_some() && matches!(item, Item::Message(_)) {
                compressed += 1;
                if compressed > MOST_DEFLATED {
                    continue;
                }
            }
            let (mut tx, mut written) = (Tx::default(), Vec::new());
            match item {
                Item::Message(message) => outgoing.message(message, &mut tx),
                Item::Ping(payload) => outgoing.ping(payload, &mut tx),
                Item::Pong(payload) => outgoing.pong(payload, &mut tx),
                Item::Close(close) => outgoing.close(close, &mut tx),
            }
            while outgoing.rest(&mut tx) {}
            while !tx.is_empty() {
                written.extend_from_slice(tx.chunk());
                tx.consume(tx.chunk().len());
            }
            let mut input = &written[..];
            assert_eq!(incoming.next(&mut input), Ok(Some(item.clone())), "read again");
            assert!(input.is_empty());
            // What came in one frame is written as it came, but for the mask.
            let begin = number.checked_sub(1).map_or(0, |last| outcome.items[last].0);
            let came = &bytes[begin..*end];
            if self.deflate.is_none() && self.role == Role::Client && came.len() == written.len() {
                assert!(came == written || written.len() > WHOLE_LIMIT || came[0] & 0x80 == 0, "{item:?}");
            }
        }
    }
}

/// How both ends compress.
#[cfg(feature = "deflate")]
fn agreement(choice: u8) -> Option<Deflate> {
    use websocket::deflate::DeflateConfig;
    use websocket::upgrade::{ServerUpgrade, UpgradeRequest};

    let config = DeflateConfig::DEFAULT.level(1).unwrap();
    let knowing = config.context_takeover(Role::Client, true).context_takeover(Role::Server, true);
    let config = match choice {
        0 => return None,
        1 => config,
        2 => knowing,
        _ => knowing.max_window_bits(Role::Client, 8).unwrap().max_window_bits(Role::Server, 9).unwrap(),
    };
    let request = UpgradeRequest::new("/").unwrap().deflate(config).unwrap();
    let (_, request) = request.begin(&"a.example:80".parse().unwrap(), false, [1; 16]);
    let offer = ServerUpgrade::new().receive(&mut &request[..]).unwrap().unwrap().into_offer().unwrap();
    offer.deflate(&config)
}

#[cfg(not(feature = "deflate"))]
const fn agreement(_: u8) -> Option<Deflate> {
    None
}

/// What reading cost.
#[derive(Default)]
struct Counts {
    pieces: usize,
    calls: usize,
}

impl Counts {
    fn check(&self, items: usize) {
        assert!(self.calls <= self.pieces + items, "{} calls for {items} items", self.calls);
    }
}

/// Which rule a [`Violation`] says was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Protocol,
    Utf8,
    Deflate,
    TooLarge,
}

fn kind_of(violation: Violation) -> Kind {
    match violation {
        Violation::Protocol(_) => Kind::Protocol,
        Violation::Utf8 => Kind::Utf8,
        Violation::Deflate => Kind::Deflate,
        Violation::TooLarge { .. } => Kind::TooLarge,
    }
}

/// A reader that has all bytes at once, and copies as often as it likes.
#[derive(Default)]
struct Simple {
    items: Vec<(usize, Item)>,
    /// A message that has begun: whether it is a text, and its payload.
    message: Option<(bool, Vec<u8>)>,
    /// Bytes that are no whole frame.
    left: usize,
}

impl Simple {
    fn read(&mut self, reader: &Reader, bytes: &[u8]) -> Result<(), Kind> {
        let mut at = 0;
        loop {
            let frame = &bytes[at..];
            self.left = frame.len();
            let Some(Header { fin, opcode, key, end: header, length }) = header(reader, frame)? else {
                return Ok(());
            };
            let payload = &frame[header..];
            let came = payload.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let clear: Vec<u8> = payload[..came].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let whole = came as u64 == length;
            if opcode < 8 {
                self.gather(reader, fin, opcode, length, &clear, whole)?;
            }
            if !whole {
                return Ok(());
            }
            at += header + came;
            match opcode {
                8 => {
                    self.items.push((at, Item::Close(close(&clear)?)));
                    return Ok(());
                }
                9 => self.items.push((at, Item::Ping(Control::new(&clear).ok_or(Kind::Protocol)?))),
                10 => self.items.push((at, Item::Pong(Control::new(&clear).ok_or(Kind::Protocol)?))),
                _ if fin => {
                    let (text, body) = self.message.take().ok_or(Kind::Protocol)?;
                    let message = match Message::text_from(body.clone().into()) {
                        Ok(message) if text => message,
                        Err(_) if text => return Err(Kind::Utf8),
                        _ => Message::binary(body),
                    };
                    self.items.push((at, Item::Message(message)));
                }
                _ => {}
            }
        }
    }

    fn gather(
        &mut self,
        reader: &Reader,
        fin: bool,
        opcode: u8,
        length: u64,
        clear: &[u8],
        whole: bool,
    ) -> Result<(), Kind> {
        if (opcode == 0) != self.message.is_some() {
            return Err(Kind::Protocol);
        }
        let (text, body) = self.message.get_or_insert_with(|| (opcode == 1, Vec::new()));
        let Limits { frame, message } = reader.limits;
        if length > frame as u64 || length.saturating_add(body.len() as u64) > message as u64 {
            return Err(Kind::TooLarge);
        }
        body.extend_from_slice(clear);
        match core::str::from_utf8(body) {
            Err(error) if *text && (error.error_len().is_some() || (fin && whole)) => Err(Kind::Utf8),
            _ => Ok(()),
        }
    }
}

struct Header {
    fin: bool,
    opcode: u8,
    key: [u8; 4],
    /// Where it ends.
    end: usize,
    /// Of the payload.
    length: u64,
}

/// `None` if the header is not complete.
fn header(reader: &Reader, frame: &[u8]) -> Result<Option<Header>, Kind> {
    let Some(first) = frame.first() else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    let is_known = matches!(opcode, 0..=2 | 8..=10);
    if !is_known || first & 0x30 != 0 || (opcode >= 8 && !fin) {
        return Err(Kind::Protocol);
    }
    let Some(second) = frame.get(1) else { return Ok(None) };
    let (count, least) = match second & 0x7F {
        126 => (2, 126),
        127 => (8, 0x1_0000),
        _ => (0, 0),
    };
    let Some(digits) = frame.get(2..2 + count) else { return Ok(None) };
    let length = digits.iter().fold(0, |length, digit| length << 8 | u64::from(*digit));
    let length = if count == 0 { u64::from(second & 0x7F) } else { length };
    if length < least || length > i64::MAX as u64 || (opcode >= 8 && length > 125) {
        return Err(Kind::Protocol);
    }
    let is_masked = second & 0x80 != 0;
    let end = 2 + count + if is_masked { 4 } else { 0 };
    if frame.len() < end {
        return Ok(None);
    }
    if first & 0x40 != 0 || is_masked != (reader.role == Role::Server) {
        return Err(Kind::Protocol);
    }
    let key = if is_masked { frame[end - 4..end].try_into().unwrap() } else { [0; 4] };
    Ok(Some(Header { fin, opcode, key, end, length }))
}

fn close(payload: &[u8]) -> Result<Close, Kind> {
    if payload.is_empty() {
        return Ok(Close::EMPTY);
    }
    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code)).ok_or(Kind::Protocol)?;
    let code = websocket::CloseCode::new(code).ok_or(Kind::Protocol)?;
    let reason = core::str::from_utf8(&payload[2..]).map_err(|_| Kind::Utf8)?;
    Close::new(code, reason).ok_or(Kind::Protocol)
}
