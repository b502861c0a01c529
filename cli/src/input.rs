//! Lines of standard input, read by a thread of their own: waiting for a person to type holds up nothing, and nobody
//! waits for it at the end.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// So many lines are read ahead of the link.
const LINES_AHEAD: usize = 16;

/// What standard input gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A line without its line feed. The last one need not have had any.
    Line { number: u64, text: Vec<u8> },
    /// A line above the limit. Its bytes were skipped.
    TooLong { number: u64, bytes: u64 },
    /// It cannot be read; nothing follows.
    Failed(String),
}

/// Reads standard input to its end. Lines longer than `limit` bytes are skipped and take no memory.
pub(crate) fn lines(limit: usize) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut source = io::stdin().lock();
        let mut number = 0;
        loop {
            number += 1;
            let input = match read_line(&mut source, limit) {
                Ok(None) => break,
                Ok(Some(Ok(text))) => Input::Line { number, text },
                Ok(Some(Err(bytes))) => Input::TooLong { number, bytes },
                Err(error) => Input::Failed(error.to_string()),
            };
            let last = matches!(input, Input::Failed(_));
            if sender.blocking_send(input).is_err() || last {
                break;
            }
        }
    });
    receiver
}

/// The next line; or, if it is longer than `limit`, its length; or `None` at the end.
fn read_line(source: &mut impl BufRead, limit: usize) -> io::Result<Option<Result<Vec<u8>, u64>>> {
    let (mut text, mut bytes, mut begun) = (Vec::new(), 0_u64, false);
    loop {
        let chunk = match source.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (part, used, ended) = match chunk.iter().position(|&byte| byte == b'\n') {
            Some(at) => (&chunk[..at], at + 1, true),
            None => (chunk, chunk.len(), chunk.is_empty()),
        };
        begun |= used > 0;
        bytes += part.len() as u64;
        if bytes > limit as u64 {
            text = Vec::new();
        } else {
            text.extend_from_slice(part);
        }
        source.consume(used);
        if ended {
            return Ok(begun.then_some(if bytes > limit as u64 { Err(bytes) } else { Ok(text) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn all(text: &[u8], limit: usize) -> Vec<Result<Vec<u8>, u64>> {
        // A buffer of three bytes, so that lines span several reads.
        let mut source = BufReader::with_capacity(3, text);
        std::iter::from_fn(|| read_line(&mut source, limit).unwrap()).collect()
    }

    fn line(text: &[u8]) -> Result<Vec<u8>, u64> {
        Ok(text.to_vec())
    }

    #[test]
    fn a_line_has_no_line_feed_and_keeps_everything_else() {
        assert_eq!(all(b"one\n\ntwo\r\n \xff\n", 10), [line(b"one"), line(b""), line(b"two\r"), line(b" \xff")]);
    }

    #[test]
    fn the_last_line_may_lack_its_line_feed() {
        assert_eq!(all(b"one\ntwo", 10), [line(b"one"), line(b"two")]);
        assert_eq!(all(b"", 10), []);
        assert_eq!(all(b"\n", 10), [line(b"")]);
    }

    #[test]
    fn a_line_above_the_limit_is_skipped_and_the_next_one_read() {
        assert_eq!(all(b"12345\n123456\n1234567890123\n1", 5), [line(b"12345"), Err(6), Err(13), line(b"1")]);
        assert_eq!(all(b"123456", 5), [Err(6)]);
    }
}
