//! The vectors of the native protocol, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Frame, Goodbye, Hello, Token, Tx, Welcome, Wire, WireError};

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol-vectors.txt"));

struct Vector {
    name: &'static str,
    established: bool,
    verdict: &'static str,
    bytes: Vec<u8>,
    meaning: &'static str,
}

#[test]
fn every_vector_gets_its_verdict_however_it_is_cut() {
    let vectors = vectors();
    assert!(vectors.len() >= 40, "{} vectors", vectors.len());
    for vector in &vectors {
        let name = vector.name;
        let whole = verdict(vector, &[&vector.bytes]);
        assert_eq!(whole, (vector.verdict.replace("accept", "ok"), vector.meaning.to_owned()), "{name}");
        for at in 0..=vector.bytes.len() {
            let (first, second) = vector.bytes.split_at(at);
            assert_eq!(verdict(vector, &[first, second]), whole, "{name} cut at {at}");
        }
        let single: Vec<&[u8]> = vector.bytes.chunks(1).collect();
        assert_eq!(verdict(vector, &single), whole, "{name} in single bytes");
    }
}

#[test]
fn what_we_write_is_in_the_vectors() {
    for vector in vectors().iter().filter(|vector| vector.verdict == "ok") {
        let mut beat = wire(vector);
        let frame = beat.decode(&mut &vector.bytes[..]).unwrap().unwrap();
        assert_eq!(hex(&written(&mut beat, &frame)), hex(&vector.bytes), "{}", vector.name);
    }
}

#[test]
fn every_kind_of_frame_has_a_vector_and_every_name_is_its_own() {
    let vectors = vectors();
    for frame in ["HELLO", "WELCOME", "REFUSE", "BEAT", "ECHO", "DATA", "TEXT", "ACK", "GOODBYE"] {
        assert!(vectors.iter().any(|v| v.verdict == "ok" && v.meaning.starts_with(frame)), "{frame}");
    }
    let mut names: Vec<_> = vectors.iter().map(|vector| vector.name).collect();
    names.sort_unstable();
    assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None);
}

/// The verdict and the meaning of a vector that arrives in these pieces.
fn verdict(vector: &Vector, pieces: &[&[u8]]) -> (String, String) {
    let mut beat = wire(vector);
    let mut frames = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while !input.is_empty() {
            match beat.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => assert!(input.is_empty(), "{}: input is left", vector.name),
                Err(error) => return (format!("error {}", kind(&error)), String::new()),
            }
        }
    }
    assert_eq!(beat.mid_frame(), frames.is_empty(), "{}", vector.name);
    match &frames[..] {
        [] => ("partial".to_owned(), String::new()),
        [frame] => ("ok".to_owned(), meaning(frame)),
        more => panic!("{}: {more:?}", vector.name),
    }
}

fn wire(vector: &Vector) -> Beat {
    let mut beat = Beat::new(&BeatConfig::default());
    if vector.established {
        beat.established();
    }
    beat
}

fn written(beat: &mut Beat, frame: &Frame) -> Vec<u8> {
    let (mut tx, mut bytes) = (Tx::default(), Vec::new());
    beat.encode(frame, &mut tx);
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}

fn vectors() -> Vec<Vector> {
    VECTORS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(vector).collect()
}

fn vector(line: &'static str) -> Vector {
    let fields: Vec<&str> = line.splitn(5, '|').map(str::trim).collect();
    let [name, phase, verdict, bytes, meaning] = fields[..] else { panic!("not five fields: {line}") };
    assert!(["handshake", "established"].contains(&phase), "{line}");
    let bytes =
        bytes.as_bytes().chunks(2).map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap());
    Vector { name, established: phase == "established", verdict, bytes: bytes.collect(), meaning }
}

fn kind(error: &WireError) -> &'static str {
    match error {
        WireError::Malformed { .. } => "Malformed",
        WireError::TooLarge { .. } => "TooLarge",
        WireError::Unexpected { .. } => "Unexpected",
        other => panic!("{other:?} is not for the wire to say"),
    }
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "none".to_owned() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

fn token(token: Option<&Token>) -> String {
    hex(token.map_or(&[], |token| token.as_bytes()))
}

fn meaning(frame: &Frame) -> String {
    let name = frame.name();
    match frame {
        Frame::Hello(hello) => {
            let Hello { version, device, instance, attempt, interval_ms, reply_timeout_ms, .. } = &**hello;
            let Hello { message_limit, received, .. } = &**hello;
            let (token, credentials) = (token(hello.token.as_ref()), hex(hello.credentials.as_bytes()));
            format!(
                "{name} version={version} device=\"{device}\" instance={instance:016x} attempt={attempt} \
                 interval={interval_ms} reply={reply_timeout_ms} limit={message_limit} token={token} received={received} credentials={credentials}"
            )
        }
        Frame::Welcome(welcome) => {
            let Welcome { version, interval_ms, reply_timeout_ms, message_limit, received, .. } = &**welcome;
            let (token, resumed) = (token(Some(&welcome.token)), if welcome.resumed { "yes" } else { "no" });
            format!(
                "{name} version={version} token={token} resumed={resumed} interval={interval_ms} \
                 reply={reply_timeout_ms} limit={message_limit} received={received}"
            )
        }
        Frame::Refuse(goodbye) | Frame::Goodbye(goodbye) => {
            let Goodbye { reason, retry_after_ms, spread_ms, detail, code: _ } = &**goodbye;
            let code = reason.code();
            format!("{name} reason={code} after={retry_after_ms} spread={spread_ms} detail=\"{detail}\"")
        }
        Frame::Beat { seq } | Frame::Echo { seq } => format!("{name} seq={seq}"),
        Frame::Ack { seq } => format!("{name} seq={seq}"),
        Frame::Data { seq, message } => match message.as_text() {
            Some(text) => format!("{name} seq={seq} text=\"{text}\""),
            None => format!("{name} seq={seq} payload={}", hex(message)),
        },
        Frame::Answer { .. } | Frame::Unknown => name.to_owned(),
    }
}
