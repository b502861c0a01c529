//! What a packet may cost.

use alloc::string::ToString;

use super::*;

fn too_large(length: u32, limit: u32) -> Result<Packet<'static>, Violation> {
    Err(Violation::TooLarge { length, limit })
}

fn first(incoming: &mut Incoming, mut stream: &[u8]) -> Result<Packet<'static>, Violation> {
    incoming.next(&mut stream).map(|packet| packet.unwrap().into_owned())
}

#[test]
fn a_length_that_is_announced_reserves_nothing() {
    let mut incoming = Incoming::client(Version::V5, PACKET_LIMIT);
    assert_eq!(incoming.next(&mut &b"\x30\xFF\xFF\xFF\x7F"[..]), Ok(None));
    assert!(incoming.is_unfinished());
    assert_eq!(incoming.reserved(), 0, "nothing has come");
    let mut came = 0;
    for _ in 0..100 {
        assert_eq!(incoming.next(&mut &[0; 700][..]), Ok(None));
        came += 700;
        assert!(incoming.reserved() <= 4 * came, "{} for {came}", incoming.reserved());
    }
}

#[test]
fn the_limit_counts_all_bytes_and_is_asked_with_the_header() {
    for (limit, header, length) in [(130_u32, &b"\x30\x80\x01"[..], 131), (2, b"\x30\x01", 3), (1, b"\xD0\x00", 2)] {
        let mut incoming = Incoming::client(Version::V5, limit);
        assert_eq!(first(&mut incoming, header), too_large(length, limit));
        assert_eq!(incoming.reserved(), 0);
    }
    let mut incoming = Incoming::client(Version::V5, 131);
    assert_eq!(incoming.next(&mut &b"\x30\x80\x01"[..]), Ok(None));
    incoming.limit(10);
    assert_eq!(incoming.next(&mut &[0; 127][..]), Ok(None), "the limit holds from the next packet on");
    assert_eq!(first(&mut Incoming::server(1000), b"\x10\xFF\x7F"), too_large(16_386, 1000));
    assert_eq!(too_large(9, 5).unwrap_err().code(), ReasonCode::PACKET_TOO_LARGE);
}

#[test]
fn what_cannot_be_right_is_not_waited_for() {
    for (sender, version, header) in [
        (Role::Server, Version::V5, &b"\xD0\x80\x80\x01"[..]),
        (Role::Client, Version::V3, b"\xC0\x01"),
        (Role::Client, Version::V3, b"\xE0\x01"),
        (Role::Client, Version::V3, b"\x40\x03"),
        (Role::Server, Version::V3, b"\x20\x03"),
        (Role::Server, Version::V3, b"\xB0\x7F"),
    ] {
        let violation = first(&mut incoming(sender, version), header).unwrap_err();
        assert!(violation.to_string().contains("goes on behind its last field"), "{violation}");
    }
}

#[test]
fn a_large_packet_in_pieces_is_copied_once() {
    let mut incoming = Incoming::client(Version::V3, PACKET_LIMIT);
    let mut large = [&b"\x30\xD4\x0F\x00\x02ab"[..], &[7; 2000]].concat();
    let (front, back) = large.split_at_mut(5);
    assert_eq!(incoming.next(&mut &*front), Ok(None));
    let mut back = &*back;
    let Ok(Some(Packet::Publish(publish))) = incoming.next(&mut back) else { panic!("no PUBLISH") };
    assert_eq!((incoming.reserved(), publish.payload.len()), (0, 2000));
    assert!(matches!(publish.payload, Payload::Shared(_)), "a large payload is not copied again");
}

#[test]
fn a_small_payload_keeps_no_large_packet_in_memory() {
    let mut incoming = Incoming::client(Version::V3, PACKET_LIMIT);
    let packet = [&b"\x30\xD4\x0F\x07\xCF"[..], &[b't'; 1999], b"abc"].concat();
    assert_eq!(incoming.next(&mut &packet[..100]), Ok(None));
    let mut rest = &packet[100..];
    let Ok(Some(Packet::Publish(publish))) = incoming.next(&mut rest) else { panic!("no PUBLISH") };
    let Payload::Shared(payload) = publish.payload else { panic!("it came in pieces") };
    let payload = payload.try_into_mut().unwrap();
    assert_eq!((&payload[..], payload.capacity()), (&b"abc"[..], 3));
}

#[test]
fn an_idle_reader_is_small() {
    assert!(size_of::<Incoming>() <= 48, "{} bytes", size_of::<Incoming>());
    assert!(size_of::<Outgoing>() <= 8, "{} bytes", size_of::<Outgoing>());
    assert!(size_of::<Packet<'_>>() <= 112, "{} bytes", size_of::<Packet<'_>>());
}
