//! Our WebSocket beside tungstenite's: the same streams, right ones and ones with a fault, give the same messages and the same
//! verdict, but for the [`Difference`]s that are known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::io::{self, ErrorKind, Read, Write};

use keepbeat_core::entropy::{Entropy, Prng};
use keepbeat_core::sim::for_each_seed_of;
use keepbeat_core::wire::websocket::upgrade::{Agreed, ServerUpgrade, UpgradeRequest};
use keepbeat_core::wire::websocket::{Incoming, Item, Limits, Role, Violation};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

const LIMITS: Limits = Limits { frame: 3000, message: 5000 };

/// Bytes that have come, and what is written.
#[derive(Default)]
struct Memory {
    come: Vec<u8>,
    at: usize,
    written: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.come[self.at..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came, in words that both have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn ours(reader: Role, mut stream: &[u8]) -> (Vec<Came>, Result<(), Violation>) {
    let (mut incoming, mut came) = (Incoming::new(reader, LIMITS), Vec::new());
    loop {
        came.push(match incoming.next(&mut stream) {
            Ok(Some(Item::Message(message))) if message.is_text() => Came::Text(message.into_payload().into()),
            Ok(Some(Item::Message(message))) => Came::Binary(message.into_payload().into()),
            Ok(Some(Item::Ping(payload))) => Came::Ping(payload.as_slice().into()),
            Ok(Some(Item::Pong(payload))) => Came::Pong(payload.as_slice().into()),
            Ok(Some(Item::Close(close))) => Came::Close(close.code().map(|code| code.get()), close.reason().into()),
            Ok(None) => return (came, Ok(())),
            Err(violation) => return (came, Err(violation)),
        });
    }
}

/// Their way to say that a close has a code that none may carry.
const BAD_CODE: &str = "Protocol violation";

fn theirs(reader: Role, stream: &[u8]) -> (Vec<Came>, Result<(), Error>) {
    let role = if reader == Role::Client { TheirRole::Client } else { TheirRole::Server };
    let config = WebSocketConfig::default().max_frame_size(Some(LIMITS.frame)).max_message_size(Some(LIMITS.message));
    let memory = Memory { come: stream.into(), ..Memory::default() };
    let (mut socket, mut came) = (WebSocket::from_raw_socket(memory, role, Some(config)), Vec::new());
    loop {
        came.push(match socket.read() {
            Ok(Message::Text(text)) => Came::Text(text.as_bytes().into()),
            Ok(Message::Binary(payload)) => Came::Binary(payload.into()),
            Ok(Message::Ping(payload)) => Came::Ping(payload.into()),
            Ok(Message::Pong(payload)) => Came::Pong(payload.into()),
            Ok(Message::Close(None)) => Came::Close(None, String::new()),
            Ok(Message::Close(Some(close))) => Came::Close(Some(close.code.into()), close.reason.to_string()),
            Ok(Message::Frame(_)) => panic!("never read"),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return (came, Ok(())),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return (came, Ok(())),
            Err(error) => return (came, Err(error)),
        });
    }
}

/// Where tungstenite differs, and what RFC 6455 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// Section 7.4: some codes must not be sent. It takes the frame, reports another code, and closes with 1002.
    CloseCode,
    /// Sections 7.4.2 and 11.7: codes are registered, and 1014 was, later. It takes it for one that must not be sent.
    Registered,
    /// Section 5.2: the minimal number of bytes must be used for a length. It takes longer ones.
    Length,
    /// Sections 5.2 and 8.1: what is wrong is wrong before the rest of its frame or message has come. It waits for the rest.
    Later,
}

/// How the two may differ in this; `None` if they agree.
fn difference(reader: Role, stream: &[u8]) -> Result<Option<Difference>, String> {
    let ((came, verdict), (their_came, their_verdict)) = (ours(reader, stream), theirs(reader, stream));
    let agrees = came == their_came && verdict.is_ok() == their_verdict.is_ok();
    let problem = match verdict {
        _ if agrees => return Ok(None),
        Err(Violation::Protocol(problem)) => problem,
        Err(Violation::Utf8) => "utf-8",
        Err(Violation::TooLarge { .. }) => "too large",
        _ => "",
    };
    let theirs_go_on = their_came.starts_with(&came);
    if let ([.., Came::Close(Some(1014), _)], [.., theirs]) = (&came[..], &their_came[..])
        && is_bad_code(theirs)
    {
        return Ok(Some(Difference::Registered));
    }
    if problem.contains("code") && theirs_go_on && their_came.last().is_some_and(is_bad_code) {
        return Ok(Some(Difference::CloseCode));
    }
    if problem.contains("more bytes than it needs") && theirs_go_on {
        return Ok(Some(Difference::Length));
    }
    if !problem.is_empty() && came == their_came && their_verdict.is_ok() {
        return Ok(Some(Difference::Later));
    }
    let same = came.iter().zip(&their_came).take_while(|(ours, theirs)| ours == theirs).count();
    let (rest, their_rest) = (&came[same..], &their_came[same..]);
    Err(format!("behind {same}, ours: {rest:02x?} {verdict:?}\nand theirs: {their_rest:02x?} {their_verdict:?}"))
}

fn is_bad_code(came: &Came) -> bool {
    matches!(came, Came::Close(Some(1002), reason) if reason == BAD_CODE)
}

/// A frame as a peer of `reader` writes it.
fn frame(reader: Role, first: u8, payload: &[u8], prng: &mut Prng) -> Vec<u8> {
    let mask = if reader == Role::Server { 0x80 } else { 0 };
    let mut frame = match payload.len() {
        length @ 0..126 => vec![first, mask | length as u8],
        length => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
    };
    let mut key = [0; 4];
    if reader == Role::Server {
        prng.fill(&mut key);
        frame.extend(key);
    }
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn noise(prng: &mut Prng) -> Vec<u8> {
    let most = [0, 5, 125, 126, 400, 2900][prng.between(0, 5) as usize];
    let mut bytes = vec![0; prng.between(0, most) as usize];
    prng.fill(&mut bytes);
    bytes
}

fn words(prng: &mut Prng) -> Vec<u8> {
    let letters = ["a", "é", "❤", "😀", "ASCII and nothing else, some more of it. "];
    let count = [0, 3, 50, 400][prng.between(0, 3) as usize];
    let text: String = (0..prng.between(0, count)).map(|_| letters[prng.between(0, 4) as usize]).collect();
    let mut bytes = text.into_bytes();
    bytes.truncate(bytes.len().min(2800));
    while str::from_utf8(&bytes).is_err() {
        bytes.pop();
    }
    bytes
}

/// Messages, some in fragments, with control frames within and between; perhaps a close.
fn stream(reader: Role, prng: &mut Prng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..prng.between(1, 6) {
        let text = prng.between(0, 1) == 0;
        let payload = if text { words(prng) } else { noise(prng) };
        let (mut rest, mut opcode) = (&payload[..], if text { 1 } else { 2 });
        loop {
            let fin = prng.between(0, 2) > 0;
            let count = if fin { rest.len() } else { prng.between(0, rest.len() as u64) as usize };
            let (now, later) = rest.split_at(count);
            stream.extend(frame(reader, opcode | if fin { 0x80 } else { 0 }, now, prng));
            while prng.between(0, 3) == 0 {
                let mut payload = noise(prng);
                payload.truncate(125);
                let first = 0x89 + prng.between(0, 1) as u8;
                stream.extend(frame(reader, first, &payload, prng));
            }
            (rest, opcode) = (later, 0);
            if fin {
                break;
            }
        }
    }
    if prng.between(0, 1) == 0 {
        let code =
            [1000, 1001, 1011, 1014, 3000, 4999, 999, 1005, 1006, 1015, 2999, 5000][prng.between(0, 11) as usize];
        let payload = [&u16::to_be_bytes(code)[..], b"bye"].concat();
        stream.extend(frame(reader, 0x88, &payload[..[0, 1, 2, 5][prng.between(0, 3) as usize]], prng));
    }
    stream
}

#[test]
fn what_is_right_is_read_alike() {
    for_each_seed_of("KEEPBEAT_SEEDS", 300, |seed| {
        for reader in [Role::Client, Role::Server] {
            let stream = stream(reader, &mut Prng::new(seed));
            let found = difference(reader, &stream).unwrap_or_else(|problem| panic!("{problem}"));
            assert!(matches!(found, None | Some(Difference::CloseCode | Difference::Registered)), "{found:?}");
        }
    });
}

#[test]
fn what_has_a_fault_gets_the_same_verdict() {
    for_each_seed_of("KEEPBEAT_SEEDS", 1000, |seed| {
        for reader in [Role::Client, Role::Server] {
            let prng = &mut Prng::new(seed);
            let mut stream = stream(reader, prng);
            let at = prng.between(0, stream.len().min(300) as u64 - 1) as usize;
            match prng.between(0, 3) {
                0 => stream.truncate(at),
                1 => stream[at] = prng.next_u64() as u8,
                _ => stream[at] ^= 1 << prng.between(0, 7),
            }
            if let Err(problem) = difference(reader, &stream) {
                panic!("{problem}");
            }
        }
    });
}

#[test]
fn every_difference_that_is_known_is_still_there() {
    let found = |stream: &[u8]| difference(Role::Client, stream).unwrap();
    assert_eq!(found(b"\x88\x02\x03\xED"), Some(Difference::CloseCode));
    assert_eq!(found(b"\x88\x02\x03\xF6"), Some(Difference::Registered));
    assert_eq!(found(b"\x82\x7E\x00\x01x"), Some(Difference::Length));
    assert_eq!(found(b"\x81\x05a\xFF"), Some(Difference::Later));
    assert_eq!(found(b"\x81\x01a\x8A\x00"), None);
}

#[test]
fn each_side_takes_the_others_handshake() {
    for subprotocol in [None, Some("chat")] {
        let asked = UpgradeRequest::new("/a?b=c").unwrap().header("Authorization", "Bearer x").unwrap();
        let asked = subprotocol.map_or(asked.clone(), |name| asked.subprotocol(name).unwrap());
        let (mut client, request) = asked.begin(&"a.example:8080".parse().unwrap(), false, [7; 16]);
        let memory = Memory { come: request, ..Memory::default() };
        let server = tungstenite::accept(memory).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(client.receive(&mut &server.get_ref().written[..]), Ok(Some(Agreed::default())));

        let uri = "ws://a.example:8080/a?b=c".parse().unwrap();
        let request = ClientRequestBuilder::new(uri).with_header("Origin", "http://a.example");
        let request = subprotocol.map_or(request.clone(), |name| request.with_sub_protocol(name));
        let Err(HandshakeError::Interrupted(mut client)) = tungstenite::client(request, Memory::default()) else {
            panic!("the answer has not come")
        };
        let memory = client.get_mut().get_mut();
        let offer = ServerUpgrade::new().receive(&mut &memory.written[..]).unwrap().unwrap().into_offer().unwrap();
        assert_eq!((offer.target(), offer.host()), ("/a?b=c", "a.example:8080"));
        assert_eq!((offer.origin(), offer.subprotocols().next()), (Some("http://a.example"), subprotocol));
        let mut agreed = Agreed::default();
        agreed.subprotocol = subprotocol.map(Into::into);
        memory.come = offer.accept(&agreed).unwrap();
        assert!(client.handshake().is_ok());
    }
}

/// Of the rules that a request can break, those that both look at.
#[test]
fn a_request_that_breaks_a_rule_is_refused_by_both() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let both = |request: &str| {
        let memory = Memory { come: request.into(), ..Memory::default() };
        let ours =
            ServerUpgrade::new().receive(&mut request.as_bytes()).map(|request| request.map(|it| it.into_offer()));
        (matches!(ours, Ok(Some(Ok(_)))), tungstenite::accept(memory).is_ok())
    };
    assert_eq!(both(REQUEST), (true, true));
    for (from, to) in [
        ("GET", "POST"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("websocket", "h2c"),
        ("Connection: Upgrade", "Connection: close"),
        ("Version: 13", "Version: 8"),
        ("Sec-WebSocket-Version: 13\r\n", ""),
        ("Key: d", "Key: "),
        ("==", "*="),
    ] {
        assert_eq!(both(&REQUEST.replace(from, to)), (false, false), "{to} instead of {from}");
    }
}
