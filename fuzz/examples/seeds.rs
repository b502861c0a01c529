//! Writes the first inputs of every target: `cargo run --manifest-path fuzz/Cargo.toml --example seeds -- FOLDER`.
//!
//! They come from what the tests use: the vectors of the protocol, the answers of proxies, the first bytes of other protocols,
//! and schedules of faults. The same call writes the same files.

use std::path::Path;
use std::{env, fs, io};

use keepbeat_core::entropy::{Entropy, Prng};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("say where to write them: seeds FOLDER"));
    };
    let folder = Path::new(&folder);
    let vectors = vectors()?;
    write(folder, "frame", frames(&vectors))?;
    write(folder, "handshake", handshakes(&vectors))?;
    write(folder, "mqtt_packet", mqtt_packets())?;
    write(folder, "mqtt_session", mqtt_sessions())?;
    write(folder, "session", sessions())?;
    write(folder, "timer_path", timer_paths())?;
    write(folder, "time", times())?;
    write(folder, "websocket_frame", websocket_frames())?;
    write(folder, "websocket_handshake", websocket_handshakes())
}

fn write(folder: &Path, target: &str, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:03}")), seed)?;
    }
    println!("{}: {} seeds", folder.display(), seeds.len());
    Ok(())
}

struct Vector {
    established: bool,
    bytes: Vec<u8>,
}

/// `docs/protocol-vectors.txt`, of which the second field is the phase and the fourth the bytes.
fn vectors() -> io::Result<Vec<Vector>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol-vectors.txt");
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let vectors = lines.filter_map(|line| {
        let fields: Vec<&str> = line.splitn(5, '|').map(str::trim).collect();
        let digits = fields.get(3)?.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok());
        let bytes = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
        Some(Vector { established: *fields.get(1)? == "established", bytes })
    });
    Ok(vectors.collect())
}

/// Every vector alone, and streams of several that begin with a greeting, once and as often as they can arrive; and a message
/// and a text of 112 KiB.
fn frames(vectors: &[Vector]) -> Vec<Vec<u8>> {
    let alone = vectors.iter().map(|vector| {
        let options = if vector.established { 0b1_1101 } else { 0b1_1100 };
        [&[options, 7], &vector.bytes[..]].concat()
    });
    let streams = vectors.iter().filter(|vector| !vector.established).map(|greeting| {
        let rest = vectors.iter().filter(|vector| vector.established && vector.bytes.len() < 40);
        let rest: Vec<u8> = rest.flat_map(|vector| vector.bytes.clone()).take(400).collect();
        [&[0b1_1110, 3], &greeting.bytes[..], &rest].concat()
    });
    let streams: Vec<Vec<u8>> = streams.collect();
    let repeated = streams.iter().map(|stream| [&[stream[0] | 0b1110_0000], &stream[1..]].concat());
    let messages = [0x20, 0x22].map(|kind| [&[0b1110_1101, 7, kind, 0x80, 0x80, 7, 1][..], &[b'm'; 2000]].concat());
    alone.chain(streams.clone()).chain(repeated).chain(messages).collect()
}

/// The numbers of the listeners in `core/src/fuzzing/handshake.rs`.
const CLIENT: u8 = 0;
const HTTP: [u8; 2] = [1, 2];
const SOCKS: [u8; 2] = [3, 4];
const SERVERS: [u8; 3] = [5, 6, 7];
const URL: u8 = 8;

fn handshakes(vectors: &[Vector]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |who: u8, bytes: &[u8]| seeds.push([&[who, 5], bytes].concat());
    for vector in vectors.iter().filter(|vector| !vector.established) {
        for who in [CLIENT].into_iter().chain(SERVERS) {
            add(who, &vector.bytes);
        }
        add(HTTP[0], &[b"HTTP/1.1 200 OK\r\n\r\n", &vector.bytes[..]].concat());
        add(SOCKS[0], &[&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0], &vector.bytes[..]].concat());
        let frames = vectors.iter().filter(|vector| vector.established).flat_map(|vector| &vector.bytes[..]).take(200);
        add(CLIENT, &vector.bytes.iter().chain(frames.clone()).copied().collect::<Vec<u8>>());
        add(SERVERS[0], &vector.bytes.iter().chain(frames).copied().collect::<Vec<u8>>());
    }
    // Greetings, and then far too many beats; and the same greeting again for the next connection.
    for vector in vectors.iter().filter(|vector| !vector.established && vector.bytes.len() > 20) {
        for who in [CLIENT, SERVERS[0], SERVERS[2]] {
            add(who, &[&vector.bytes[..], &[0x10, 1, 1].repeat(60)].concat());
            add(who, &[&vector.bytes[..], &[0x30, 4, 1, 0, 0, 0], &vector.bytes].concat());
        }
    }
    let twice = [0x20, 2, 1, b'x', 0x20, 2, 1, b'x', 0x22, 2, 2, b'y', 0x20, 2, 4, b'z'];
    for vector in vectors.iter().filter(|vector| vector.bytes.first() == Some(&2)) {
        add(CLIENT, &[&vector.bytes[..], &twice].concat());
    }
    for who in HTTP {
        for answer in [
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 Connection established\r\nX: y\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n",
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "HTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ] {
            add(who, answer.as_bytes());
        }
        add(who, &[&b"HTTP/1.1 200 OK\r\n"[..], &b"A: b\r\n".repeat(65), b"\r\n"].concat());
    }
    for (who, method) in
        [(SOCKS[0], &[5, 0][..]), (SOCKS[1], &[5, 0]), (SOCKS[1], &[5, 2, 1, 0]), (SOCKS[1], &[5, 2, 1, 1])]
    {
        for reply in [
            &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
            &[5, 0, 0, 3, 1, b'x', 0, 0],
            &[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[5, 2, 0, 1],
            &[5, 7],
            &[5, 1],
            &[4, 90],
        ] {
            add(who, &[method, reply].concat());
        }
    }
    add(SOCKS[0], &[5, 0xFF]);
    for (who, first) in [CLIENT].into_iter().chain(SERVERS).flat_map(|who| {
        let others = [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0x16, 3, 1], &[0x10, 0x0C, 0, 4, b'M'], b"\n"];
        others.map(|first| (who, first))
    }) {
        add(who, first);
    }
    for url in [
        "http://u:p%41@[::1]:80",
        "socks5://user:secret@proxy.example:1080/",
        "[fe80::1%eth0]:7411",
        "http://a:b",
        "x:1",
    ] {
        add(URL, url.as_bytes());
    }
    seeds
}

/// Bytes that a seed draws, behind these.
fn drawn(front: &[u8], count: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; count];
    Prng::new(seed).fill(&mut bytes);
    [front, &bytes].concat()
}

/// Packets of each kind, with nothing in them and with much, alone and one behind the other; and what breaks some rules.
fn mqtt_packets() -> Vec<Vec<u8>> {
    const CLIENT_V3: [&[u8]; 12] = [
        b"\x10\x1A\0\x04MQTT\x04\xCE\0\x0A\0\x01c\0\x01w\0\x02by\0\x01u\0\x01p",
        b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0",
        b"\x30\x05\0\x01tpp",
        b"\x3D\x07\0\x03a/b\0\x0A",
        b"\x32\x07\0\x03a/b\0\x0A",
        b"\x40\x02\x12\x34",
        b"\x50\x02\0\x01",
        b"\x62\x02\0\x01",
        b"\x82\x0E\0\x0A\0\x03a/b\x01\0\x03c/d\x02",
        b"\xA2\x0C\0\x0A\0\x03a/b\0\x03c/d",
        b"\xC0\0",
        b"\xE0\0",
    ];
    const CLIENT_V5: [&[u8]; 13] = [
        b"\x10\x5A\0\x04MQTT\x05\x76\0\0\x2B\x11\xFF\xFF\xFF\xFF\x21\0\x14\x27\0\x01\0\0\x22\0\0\x19\x01\x17\0\x26\0\x01k\0\x01v\
            \x26\0\x01k\0\x01v\x15\0\x01m\x16\0\x02\0\xFF\0\x01c\x18\x18\0\0\0\x05\x01\x01\x02\0\0\0\x06\x03\0\x01t\x08\0\x01r\x09\0\x01d\
            \0\x01w\0\0\0\x01\0",
        b"\x30\x07\0\0\x03\x23\0\x02p",
        b"\x32\x08\0\x03a/b\0\x0A\0",
        b"\x30\x09\0\x01t\x05\x01\x01\x08\0\0",
        b"\x30\x06\0\x01t\x02\x01\x02",
        b"\x40\x09\0\x01\x97\x05\x1F\0\x02no",
        b"\x70\x03\0\x01\x92",
        b"\x62\x04\0\x01\0\0",
        b"\x82\x0C\0\x01\x05\x0B\xFF\xFF\xFF\x7F\0\x01#\x2C",
        b"\x82\x12\0\x01\0\0\x0C$share/a/b/+\x01",
        b"\xA2\x0D\0\x0A\0\0\x03a/b\0\x03c/d",
        b"\xE0\x07\x04\x05\x11\0\0\0\x01",
        b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01d",
    ];
    const SERVER_V3: [&[u8]; 8] = [
        b"\x20\x02\x01\0",
        b"\x20\x02\0\x05",
        b"\x90\x05\0\x0A\0\x02\x80",
        b"\xB0\x02\0\x0A",
        b"\xD0\0",
        b"\x30\x83\0\0\x01t",
        b"\x36\x05\0\x01t\0\x01",
        b"\x30\x05\0\x03\xED\xA0\x80",
    ];
    const SERVER_V5: [&[u8]; 8] = [
        b"\x20\x20\0\0\x1D\x12\0\x01c\x13\0\x3C\x24\x01\x25\x01\x28\0\x29\x01\x2A\0\x1A\0\x01i\x1C\0\x01s\x1F\0\x01r",
        b"\x20\x03\0\x87\0",
        b"\x30\x09\0\x01t\x05\x0B\x01\x0B\x80\x01",
        b"\x90\x06\0\x0A\0\0\x02\x80",
        b"\xB0\x05\0\x0A\0\x11\0",
        b"\xE0\x06\x9D\x04\x1C\0\x01b",
        b"\xF0\0",
        b"\xE0\x01\x04",
    ];
    let mut seeds = Vec::new();
    let sides: [(u8, &[&[u8]]); 4] = [(1, &CLIENT_V3), (3, &CLIENT_V5), (0, &SERVER_V3), (2, &SERVER_V5)];
    for (options, packets) in sides {
        for packet in packets {
            let begins = if packet[0] == 0x10 { 0 } else { 16 };
            seeds.push([&[options | begins | 12, 5], *packet].concat());
        }
        seeds.push([&[options | 16 | 4, 5], &packets[1..].concat()[..]].concat());
        let large = [&[options | 16 | 12 | 128, 3, 0x30, 0x80, 0x10, 0, 1, b't', 0][..], &[7; 2044]].concat();
        seeds.push(large);
        seeds.push([options | 16, 1, 0x30, 0xFF, 0xFF, 0xFF, 0x7F].into());
    }
    seeds
}

/// A connection, messages of every QoS in both directions and what settles them; then drawn acts, with every option.
fn mqtt_sessions() -> Vec<Vec<u8>> {
    let acts: &[&[u8]] = &[
        &[10, 0, 0],
        &[0, 1, 0, 0, 0, 2, 1, 1, 0, 0, 0, 2],
        &[3, 0, 2, 20, 0, 0],
        &[16, 0, 0, 17, 1, 0, 19, 1, 0],
        &[13, 1, 3, 13, 2, 4, 18, 200, 0],
        &[8, 7, 12, 10, 1, 0],
        &[9, 7, 12, 10, 0, 0x41],
    ];
    let orderly = (0..32).map(|options| [&[options, 3][..], &acts.concat()].concat());
    let drawn = (0..40).map(|seed| drawn(&[(seed % 32) as u8, 7, 10, 0, seed as u8], 150, seed));
    orderly.chain(drawn).collect()
}

/// Random schedules, with each kind of harm.
fn sessions() -> Vec<Vec<u8>> {
    let one = |seed: u64| drawn(&[(seed % 3) as u8], 2 + 8 * (seed as usize % 7), seed);
    (0..60).map(one).collect()
}

fn timer_paths() -> Vec<Vec<u8>> {
    let lengths = [120, 130, 150, 38];
    let one = |seed: u64| drawn(&[(seed % 4) as u8], lengths[(seed % 4) as usize] / (1 + seed as usize % 3), seed);
    (0..60).map(one).collect()
}

/// With the configuration as it is, and with one span of it changed to each extreme.
fn times() -> Vec<Vec<u8>> {
    const WORLD: usize = 64;
    let world = |seed: u64| drawn(&[0; WORLD], 120, seed);
    let extreme = |span: u8| {
        let mut bytes = world(span.into());
        bytes[1 + usize::from(span) * 7 % 60] = span;
        bytes
    };
    let alone = |seed: u64| drawn(&[1 + (seed % 3) as u8, 0, 0, 0, 0, 0, 0, 0, 0], 90, seed);
    (0..20).map(world).chain((1..33).map(extreme)).chain((0..30).map(alone)).collect()
}

/// A frame, with a key if the reader is a server.
fn websocket_frame(server: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if server { 0x80 } else { 0 };
    let mut frame = match payload.len() {
        length @ 0..126 => vec![first, mask | length as u8],
        length => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
    };
    let key = if server { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
    if server {
        frame.extend(key);
    }
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Every kind of frame, alone and one behind the other, for both roles; what breaks each rule; and compressed messages.
fn websocket_frames() -> Vec<Vec<u8>> {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let stored = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"Hello", &[0x00]].concat();
    let twice = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let plain: [&[(u8, &[u8])]; 17] = [
        &[(0x89, b"ping"), (0x8A, b"ping"), (0x8A, b"")],
        &[(0x81, b"Hello"), (0x82, b"\x00\xFF"), (0x81, b"")],
        &[(0x01, b"Hel"), (0x89, b"between"), (0x00, b"l"), (0x80, b"o")],
        &[(0x01, b"\xF0\x9F"), (0x80, b"\x98\x80")],
        &[(0x01, b"\xCE\xBA\xE1"), (0x80, b"\xBD\xB9")],
        &[(0x81, b"\xED\xA0\x80")],
        &[(0x82, &[7; 300]), (0x81, &[b't'; 1000]), (0x89, &[1; 125])],
        &[(0x82, &[7; 126]), (0x89, &[1; 126])],
        &[(0x88, b"\x03\xE8bye"), (0x89, b"")],
        &[(0x88, b"")],
        &[(0x88, b"\x03")],
        &[(0x88, b"\x03\xED")],
        &[(0x88, b"\x0F\xA0\xFF")],
        &[(0x80, b"nothing begun")],
        &[(0x01, b"a"), (0x01, b"b")],
        &[(0x83, b""), (0x09, b"")],
        &[(0x91, b""), (0xA2, b"")],
    ];
    let compressed: [&[(u8, &[u8])]; 6] = [
        &[(0xC1, &hello), (0xC1, &hello)],
        &[(0xC1, &stored), (0x81, b"plain"), (0xC2, &stored)],
        &[(0x41, &hello[..3]), (0x89, b"x"), (0x80, &hello[3..])],
        &[(0xC1, &hello), (0xC1, &twice)],
        &[(0xC2, b"\x06"), (0xC9, b"")],
        &[(0xC2, &[0x00]), (0xC1, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00])],
    ];
    let mut seeds = Vec::new();
    for server in [false, true] {
        let mut add = |options: u8, frames: &[(u8, &[u8])]| {
            let frames = frames.iter().flat_map(|(first, payload)| websocket_frame(server, *first, payload));
            seeds.push([options | u8::from(server), 5].into_iter().chain(frames).collect::<Vec<u8>>());
        };
        for frames in plain {
            add(4, frames);
            add(8 | 2, frames);
        }
        add(4 | 128, &[(0x02, &[9; 900]), (0x00, &[9; 900])]);
        for choice in [0, 16, 32, 48] {
            for frames in compressed {
                add(4 | choice, frames);
            }
        }
        seeds.push(
            [
                &[6 | u8::from(server), 1, 0x82, 127 | if server { 128 } else { 0 }, 0, 0, 0, 0, 0, 1, 0, 0][..],
                &[3; 2000],
            ]
            .concat(),
        );
    }
    seeds
}

fn websocket_handshakes() -> Vec<Vec<u8>> {
    const ASKED: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    const ANSWERED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let mut seeds = Vec::new();
    for more in [
        "",
        "Origin: http://example.com\r\n",
        "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: beat.1\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=10, x; y=\"1\\0\"\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Sec-WebSocket-Version: 8\r\n",
        "Host: other\r\n",
    ] {
        seeds.push([&[0, 5, 0], ASKED.as_bytes(), more.as_bytes(), b"\r\n\x81\x80"].concat());
    }
    for (from, to) in [
        ("GET /chat", "GET http://a.example"),
        ("GET", "POST"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("websocket", "h2c"),
        ("==", ""),
    ] {
        seeds.push([&[0, 5, 0], ASKED.replace(from, to).as_bytes(), b"\r\n"].concat());
    }
    for (options, more) in [
        (0, ""),
        (3, "Sec-WebSocket-Protocol: superchat\r\n"),
        (0, "Sec-WebSocket-Protocol: chat\r\n"),
        (4, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"),
        (
            15,
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9; client_max_window_bits=\"8\"\r\n",
        ),
        (8, "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n"),
        (0, "Sec-WebSocket-Extensions: x\r\n"),
    ] {
        seeds.push([&[1, 5, options], ANSWERED.as_bytes(), more.as_bytes(), b"\r\n\x89\x00"].concat());
        seeds.push(
            [
                &[1, 5, options, b'\r', b'\n'],
                &b"HTTP/1.1 102 \r\n\r\n"[..],
                ANSWERED.as_bytes(),
                more.as_bytes(),
                b"\r\n",
            ]
            .concat(),
        );
    }
    for answer in [
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\n",
        "HTTP/1.0 301 Moved\r\nLocation: wss://b.example/\r\n\r\n",
        "HTTP/1.0 101 Switching\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
    ] {
        seeds.push([&[1, 5, 0], answer.as_bytes()].concat());
    }
    for asked in
        ["/", "/a?b=c\nhttp://a.example\nchat\nAuthorization\nBearer x\nCookie\na=b", "/\n\n\nhost\nx\na b\nc\nX\ny\rz"]
    {
        for options in [0, 4, 8, 12] {
            seeds.push([&[2, 5, options], asked.as_bytes()].concat());
        }
    }
    for status in [101_u16, 200, 301, 401, 404, 405, 426, 429, 503, 599, 600] {
        seeds.push([&[3, 0, (status % 4) as u8 * 4][..], &status.to_le_bytes()].concat());
    }
    seeds
}
