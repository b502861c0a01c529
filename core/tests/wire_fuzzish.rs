//! The native protocol against arbitrary frames, cuts and damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use keepbeat_core::session::Message;
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{DETAIL_LIMIT, DeviceId, Frame, Goodbye, Hello, Reason, Token, Tx, Welcome, Wire, WireError};
use proptest::collection::vec;
use proptest::prelude::*;

const MESSAGE_LIMIT: usize = 2000;

fn config() -> BeatConfig {
    BeatConfig::builder().message_limit(MESSAGE_LIMIT).build().unwrap()
}

fn goodbye() -> impl Strategy<Value = Box<Goodbye>> {
    (any::<u8>(), any::<u32>(), any::<u32>(), ".{0,30}").prop_map(|(code, retry_after_ms, spread_ms, detail)| {
        Box::new(Goodbye { retry_after_ms, spread_ms, ..Goodbye::new(Reason::from_code(code), detail) })
    })
}

fn hello() -> impl Strategy<Value = Frame> {
    let device = "[a-zäöü0-9._-]{1,60}".prop_map(|id| DeviceId::new(&id).unwrap());
    let session = (any::<Option<[u8; 16]>>(), seq(), vec(any::<u8>(), 0..300));
    let wishes = (any::<u32>(), any::<u32>(), any::<u64>());
    let caller = (device, any::<u64>(), any::<u32>());
    (1_u8.., caller, wishes, session).prop_map(|(version, caller, wishes, (token, received, credentials))| {
        let (device, instance, attempt) = caller;
        let (interval_ms, reply_timeout_ms, message_limit) = wishes;
        let (token, credentials) = (token.map(Token::new), keepbeat_core::wire::Credentials::new(credentials));
        let hello = Hello {
            version,
            device,
            instance,
            attempt,
            interval_ms,
            reply_timeout_ms,
            message_limit,
            token,
            received,
            credentials,
        };
        Frame::Hello(Box::new(hello))
    })
}

fn welcome() -> impl Strategy<Value = Frame> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), seq());
    (1_u8.., any::<[u8; 16]>(), any::<bool>(), numbers).prop_map(|(version, token, resumed, numbers)| {
        let (interval_ms, reply_timeout_ms, message_limit, received) = numbers;
        let token = Token::new(token);
        let welcome = Welcome { version, token, resumed, interval_ms, reply_timeout_ms, message_limit, received };
        Frame::Welcome(Box::new(welcome))
    })
}

/// Numbers of every length, not mostly of the longest.
fn seq() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift)
}

/// Binary messages and texts, small ones and some of about the limit.
fn message() -> impl Strategy<Value = Message> {
    let binary = prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), MESSAGE_LIMIT - 5..=MESSAGE_LIMIT)];
    let longest = (MESSAGE_LIMIT / 4 - 2, MESSAGE_LIMIT / 4);
    let text =
        prop_oneof!["\\PC{0,20}", vec("[\u{10000}-\u{10FFFF}]", longest.0..=longest.1).prop_map(|all| all.concat())];
    prop_oneof![binary.prop_map(Message::from), text.prop_map(Message::from)]
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        1 => hello(),
        1 => welcome(),
        1 => goodbye().prop_map(Frame::Refuse),
        1 => goodbye().prop_map(Frame::Goodbye),
        3 => seq().prop_map(|seq| Frame::Beat { seq: seq as u32 }),
        3 => seq().prop_map(|seq| Frame::Echo { seq: seq as u32 }),
        3 => seq().prop_map(|seq| Frame::Ack { seq }),
        3 => (seq(), message()).prop_map(|(seq, message)| Frame::Data { seq: seq.max(1), message }),
    ]
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let (mut beat, mut tx, mut bytes) = (Beat::new(&config()), Tx::default(), Vec::new());
    for frame in frames {
        beat.encode(frame, &mut tx);
    }
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}

/// Decodes `bytes`, cut into pieces of these sizes in turn, and checks what holds for all input: every call gets
/// further or fails, memory is bounded, errors stay.
fn decoded(established: bool, bytes: &[u8], sizes: &[usize]) -> (Vec<Frame>, Option<WireError>, bool) {
    let mut beat = Beat::new(&config());
    if established {
        beat.established();
    }
    let most = if established { MESSAGE_LIMIT.max(config().hello_limit()) + 10 } else { config().hello_limit() };
    let (mut frames, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        rest = behind;
        while !piece.is_empty() {
            let before = piece.len();
            match beat.decode(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => assert!(piece.is_empty(), "input is left, but there is no frame"),
                Err(error) => {
                    assert_eq!((beat.reserved(), beat.mid_frame()), (0, false));
                    assert_eq!(beat.decode(&mut &b"\x10\x01\x01"[..]), Err(error), "an error stays");
                    return (frames, Some(error), false);
                }
            }
            assert!(piece.len() < before, "a call took nothing");
            let came = bytes.len() - rest.len() - piece.len();
            assert!(beat.reserved() <= most.min((4 * came).max(1024)), "{} bytes reserved", beat.reserved());
        }
    }
    (frames, None, beat.mid_frame())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn frames_survive_every_cut(frames in vec(frame(), 0..8), sizes in vec(1_usize..600, 1..6)) {
        let bytes = encoded(&frames);
        for sizes in [&sizes[..], &[1], &[usize::MAX]] {
            prop_assert_eq!(decoded(true, &bytes, sizes), (frames.clone(), None, false));
        }
    }

    #[test]
    fn a_cut_stream_waits(frames in vec(frame(), 1..4), keep in any::<prop::sample::Index>()) {
        let bytes = encoded(&frames);
        let (whole, error, mid_frame) = decoded(true, &bytes[..keep.index(bytes.len())], &[64]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&whole[..], &frames[..whole.len()]);
        prop_assert_eq!(mid_frame, encoded(&whole).len() < keep.index(bytes.len()));
    }

    #[test]
    fn damage_has_the_same_effect_however_it_is_cut(
        frames in vec(frame(), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        sizes in vec(1_usize..200, 1..5),
        established: bool,
    ) {
        let mut bytes = encoded(&frames);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            match value % 3 {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => { bytes.truncate(at.max(1)); }
            }
        }
        let whole = decoded(established, &bytes, &[usize::MAX]);
        prop_assert_eq!(&decoded(established, &bytes, &sizes), &whole);
        prop_assert_eq!(&decoded(established, &bytes, &[1]), &whole);
    }

    #[test]
    fn noise_does_no_harm(
        noise in vec(prop_oneof![any::<u8>(), 0_u8..4, 0x0F_u8..0x12, 0x20_u8..0x23, Just(0x30), Just(0x80)], 0..400),
        sizes in vec(1_usize..50, 1..5),
        established: bool,
    ) {
        let whole = decoded(established, &noise, &[usize::MAX]);
        prop_assert_eq!(&decoded(established, &noise, &sizes), &whole);
    }

    #[test]
    fn what_was_decoded_is_written_and_read_as_the_same(noise in vec(prop_oneof![any::<u8>(), 0_u8..8], 0..60)) {
        let bodies = [0x01, 0x02, 0x03, 0x10, 0x11, 0x20, 0x21, 0x22, 0x30].map(|kind| {
            let front: &[u8] = if kind < 3 { b"KPBT" } else { b"" };
            [&[kind, (front.len() + noise.len()) as u8], front, &noise].concat()
        });
        for bytes in bodies {
            let (frames, _, _) = decoded(true, &bytes, &[usize::MAX]);
            prop_assert_eq!(decoded(true, &encoded(&frames), &[usize::MAX]).0, frames);
        }
    }

    #[test]
    fn a_long_detail_is_cut_and_still_a_text(detail in "\\PC{100,200}") {
        let sent = Frame::Goodbye(Box::new(Goodbye::new(Reason::Closed, detail.clone())));
        let (frames, error, _) = decoded(true, &encoded(&[sent]), &[usize::MAX]);
        prop_assert_eq!(error, None);
        let [Frame::Goodbye(goodbye)] = &frames[..] else { panic!("{frames:?}") };
        prop_assert!(detail.starts_with(&goodbye.detail));
        prop_assert!(goodbye.detail.len() <= DETAIL_LIMIT && goodbye.detail.len() > DETAIL_LIMIT.min(detail.len()) - 4);
    }
}
