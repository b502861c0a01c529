//! Streams drawn from seeds, of both versions and both roles.

use super::*;

const SEEDS: u64 = 3000;

fn for_each_stream(test: impl Fn(Role, Version, &mut Prng)) {
    for seed in 0..SEEDS {
        for sender in [Role::Client, Role::Server] {
            for version in BOTH {
                std::eprintln!("seed {seed}, {sender:?}, {version:?}");
                test(sender, version, &mut Prng::new(seed));
            }
        }
    }
}

/// Some packets and their bytes; those of a client begin with CONNECT.
fn stream(sender: Role, version: Version, prng: &mut Prng) -> (Vec<u8>, Vec<Packet<'static>>) {
    let mut packets = Vec::new();
    if sender == Role::Client {
        packets.push(random::of_type(prng, PacketType::Connect, sender, version));
    }
    for _ in 0..prng.between(1, 6) {
        packets.push(later_packet(prng, sender, version));
    }
    let bytes = packets.iter().flat_map(|packet| written(sender, version, packet).unwrap()).collect();
    (bytes, packets)
}

/// Any packet but CONNECT.
fn later_packet(prng: &mut Prng, sender: Role, version: Version) -> Packet<'static> {
    loop {
        let packet = random::packet(prng, sender, version);
        if packet.packet_type() != PacketType::Connect {
            return packet;
        }
    }
}

/// What reads it from its beginning.
fn begin(sender: Role, version: Version) -> Incoming {
    match sender {
        Role::Client => Incoming::server(PACKET_LIMIT),
        Role::Server => Incoming::client(version, PACKET_LIMIT),
    }
}

/// Cuts a stream at random.
fn pieces<'a>(stream: &'a [u8], prng: &mut Prng) -> Vec<&'a [u8]> {
    let most = [1, 3, 20, 1000, 100_000][prng.between(0, 4) as usize];
    let (mut pieces, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(prng.between(1, most) as usize));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

#[test]
fn what_is_written_is_read_however_it_is_cut() {
    for_each_stream(|sender, version, prng| {
        let (stream, packets) = stream(sender, version, prng);
        for pieces in [[&stream[..]].to_vec(), pieces(&stream, prng)] {
            let mut incoming = begin(sender, version);
            let (read, verdict) = read(&mut incoming, pieces);
            assert_eq!((read.len(), verdict), (packets.len(), Ok(())));
            for (read, packet) in read.iter().zip(&packets) {
                assert_eq!(read, packet);
            }
            assert_eq!((incoming.is_unfinished(), incoming.reserved()), (false, 0));
        }
    });
}

#[test]
fn no_beginning_of_a_packet_is_one() {
    for seed in 0..400 {
        for sender in [Role::Client, Role::Server] {
            for version in BOTH {
                let packet = later_packet(&mut Prng::new(seed), sender, version);
                let bytes = written(sender, version, &packet).unwrap();
                for end in 1..bytes.len().min(300) {
                    let mut incoming = incoming(sender, version);
                    assert_eq!(read(&mut incoming, [&bytes[..end]]), (Vec::new(), Ok(())), "{packet:?} up to {end}");
                    assert!(incoming.is_unfinished());
                    // The rest makes it whole.
                    assert_eq!(read(&mut incoming, [&bytes[end..]]), ([packet.clone()].into(), Ok(())));
                }
            }
        }
    }
}

/// What a body says must be in it: cut short, with the length to match, no packet but PUBLISH and lists can be right.
#[test]
fn a_body_that_is_cut_short_is_refused() {
    let mut refused = 0;
    for seed in 0..1000 {
        let prng = &mut Prng::new(seed);
        let packet = random::of_type(prng, PacketType::ConnAck, Role::Server, Version::V5);
        let bytes = written(Role::Server, Version::V5, &packet).unwrap();
        if bytes.len() > 127 {
            continue;
        }
        for end in 2..bytes.len() {
            let mut cut = bytes[..end].to_vec();
            cut[1] = end as u8 - 2;
            let violation = read_one(Role::Server, Version::V5, &cut).unwrap_err();
            assert_eq!(violation.code(), ReasonCode::MALFORMED_PACKET, "{cut:02x?}");
            refused += 1;
        }
    }
    assert!(refused > 5000, "{refused}");
}

/// What is read of a broken stream is the same however it is cut, and is written as it was read, or in the shorter form of an
/// acknowledgement with nothing to say.
#[test]
fn broken_streams_fail_alike_however_they_are_cut() {
    let failed = core::cell::Cell::new(0);
    for_each_stream(|sender, version, prng| {
        let (mut stream, _) = stream(sender, version, prng);
        for _ in 0..prng.between(1, 3) {
            let at = prng.between(0, stream.len().min(200) as u64 - 1) as usize;
            match prng.between(0, 2) {
                0 => stream[at] = prng.next_u64() as u8,
                1 => stream[at] ^= 1 << prng.between(0, 7),
                _ => stream.truncate(at.max(1)),
            }
        }
        let mut incoming = begin(sender, version);
        let whole = read(&mut incoming, [&stream[..]]);
        let version = incoming.version().unwrap_or(version);
        let cut = read(&mut begin(sender, version), pieces(&stream, prng));
        assert!(cut == whole, "{:?} and {:?}", cut.1, whole.1);
        if let Err(violation) = whole.1 {
            failed.set(failed.get() + 1);
            assert_eq!(incoming.next(&mut &b"\xD0\x00"[..]), Err(violation), "a violation stays");
            assert_eq!(incoming.reserved(), 0);
        }
        for packet in &whole.0 {
            let bytes = written(sender, version, packet).unwrap();
            let again = match packet {
                Packet::Connect(_) => read(&mut begin(sender, version), [&bytes[..]]),
                _ => read(&mut self::incoming(sender, version), [&bytes[..]]),
            };
            assert_eq!(again, ([packet.clone()].into(), Ok(())));
        }
    });
    assert!(failed.get() > SEEDS, "only {} streams were broken", failed.get());
}

#[test]
fn noise_is_refused_or_waited_for() {
    for seed in 0..20_000 {
        let prng = &mut Prng::new(seed);
        let mut noise = alloc::vec![0; prng.between(1, 40) as usize];
        prng.fill(&mut noise);
        for (sender, version) in [(Role::Client, Version::V3), (Role::Server, Version::V3), (Role::Server, Version::V5)]
        {
            let mut incoming = incoming(sender, version);
            let (_, verdict) = read(&mut incoming, [&noise[..]]);
            assert!(verdict.is_err() || incoming.reserved() <= 1024);
        }
    }
}
