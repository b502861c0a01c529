//! keepbeat's protocol as somebody would write it by hand who only wants beats: HELLO gets WELCOME, BEAT gets ECHO, and
//! all else is skipped. `docs/protocol.md` is the specification.

use std::time::Duration;

use keepbeat_mio::core::session::Token;
use keepbeat_mio::core::wire::beat::{Beat, BeatConfig};
use keepbeat_mio::core::wire::{Frame, PROTOCOL_VERSION, Tx, Welcome, Wire};

const HELLO: u8 = 0x01;
const BEAT: u8 = 0x10;
const ECHO: u8 = 0x11;

/// A longer frame is none of ours.
const LONGEST: usize = 512;

/// The answer to every HELLO.
pub(crate) fn welcome(interval: Duration) -> Vec<u8> {
    let millis = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    encoded(&Frame::Welcome(Box::new(Welcome {
        version: PROTOCOL_VERSION,
        token: Token::new([7; 16]),
        resumed: false,
        interval_ms: millis,
        reply_timeout_ms: millis,
        message_limit: 0,
        received: 0,
    })))
}

/// The bytes of one frame.
pub(crate) fn encoded(frame: &Frame) -> Vec<u8> {
    let mut tx = Tx::default();
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    tx.chunk().to_vec()
}

/// Puts the answers to all whole frames of `input` into `output`, and says how many bytes those frames were. `None` if the
/// peer does not speak the protocol.
pub(crate) fn answer(input: &[u8], welcome: &[u8], output: &mut Vec<u8>) -> Option<usize> {
    let mut used = 0;
    while let Some(&kind) = input.get(used) {
        let Some((length, digits)) = length(&input[used + 1..])? else { break };
        let begin = used + 1 + digits;
        let Some(body) = input.get(begin..begin + length) else { break };
        match kind {
            HELLO => output.extend_from_slice(welcome),
            BEAT => {
                output.extend_from_slice(&[ECHO, length as u8]);
                output.extend_from_slice(body);
            }
            _ => {}
        }
        used = begin + length;
    }
    Some(used)
}

/// The number at the front and its bytes, if it is whole. `None` if it is too large.
fn length(input: &[u8]) -> Option<Option<(usize, usize)>> {
    let mut number = 0;
    for (digit, byte) in input.iter().enumerate().take(2) {
        number |= usize::from(byte & 0x7F) << (7 * digit);
        if byte & 0x80 == 0 {
            return (number <= LONGEST).then_some(Some((number, digit + 1)));
        }
    }
    if input.len() < 2 { Some(None) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_gets_the_welcome_and_a_beat_its_echo() {
        let mut input = vec![HELLO, 2, 0, 0];
        for seq in [1, 300] {
            input.extend(encoded(&Frame::Beat { seq }));
        }
        let mut expected = b"welcome".to_vec();
        for seq in [1, 300] {
            expected.extend(encoded(&Frame::Echo { seq }));
        }
        let mut output = Vec::new();
        assert_eq!(answer(&input, b"welcome", &mut output), Some(input.len()));
        assert_eq!(output, expected);
    }

    #[test]
    fn a_frame_in_pieces_waits_for_its_end() {
        let input = encoded(&Frame::Beat { seq: 300 });
        for cut in 0..input.len() {
            let mut output = Vec::new();
            assert_eq!(answer(&input[..cut], b"", &mut output), Some(0));
            assert!(output.is_empty());
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        assert_eq!(answer(&[BEAT, 0xFF, 0x7F], b"", &mut Vec::new()), None);
        assert_eq!(answer(&[BEAT, 0xFF, 0xFF, 0x01], b"", &mut Vec::new()), None);
    }

    #[test]
    fn the_welcome_is_one_that_a_client_takes() {
        let bytes = welcome(Duration::from_secs(1));
        let frame = Beat::new(&BeatConfig::default()).decode(&mut &bytes[..]);
        assert!(matches!(frame, Ok(Some(Frame::Welcome(welcome))) if welcome.interval_ms == 1000));
    }
}
