//! Bytes waiting to be written to one connection.

use alloc::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Control frames of an idle link fit here, so that beats cost no allocation.
const INLINE: usize = 38;

/// Payloads up to this size are copied behind their header, so that one write takes both.
const COPY_LIMIT: usize = 4096;

/// Bytes waiting to be written, in order. An empty one holds no memory of the heap.
///
/// Large payloads are held as they came ([`Bytes`]) and never copied.
#[derive(Debug, Default)]
pub struct Tx {
    /// Goes before `queue` and `tail`.
    inline: Inline,
    queue: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes ever put in.
    queued: u64,
    /// Bytes ever taken out.
    written: u64,
}

#[derive(Debug)]
struct Inline {
    bytes: [u8; INLINE],
    start: u8,
    end: u8,
}

impl Default for Inline {
    fn default() -> Self {
        Self { bytes: [0; INLINE], start: 0, end: 0 }
    }
}

impl Inline {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

impl Tx {
    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.queued += bytes.len() as u64;
        let end = usize::from(self.inline.end);
        if self.queue.is_empty() && self.tail.is_empty() && end + bytes.len() <= INLINE {
            self.inline.bytes[end..end + bytes.len()].copy_from_slice(bytes);
            self.inline.end = (end + bytes.len()) as u8;
        } else {
            self.tail.extend_from_slice(bytes);
        }
    }

    /// Appends a payload, without a copy if it is large.
    pub fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() <= COPY_LIMIT {
            return self.put(payload);
        }
        self.queued += payload.len() as u64;
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        self.queue.push_back(payload.clone());
    }

    /// The next bytes to write; empty if there are none. More may follow when these are taken.
    #[must_use]
    pub fn chunk(&self) -> &[u8] {
        let inline = self.inline.as_slice();
        if !inline.is_empty() {
            return inline;
        }
        self.queue.front().map_or(&self.tail[..], |payload| &payload[..])
    }

    /// Takes `count` bytes away, at most those of [`Tx::chunk`]; returns how many it took.
    pub fn consume(&mut self, count: usize) -> usize {
        let count = count.min(self.chunk().len());
        self.written += count as u64;
        if !self.inline.as_slice().is_empty() {
            self.inline.start += count as u8;
            if self.inline.start == self.inline.end {
                (self.inline.start, self.inline.end) = (0, 0);
            }
            return count;
        }
        match self.queue.front_mut() {
            Some(payload) => {
                payload.advance(count);
                if payload.is_empty() {
                    self.queue.pop_front();
                }
            }
            None => self.tail.advance(count),
        }
        if self.is_empty() {
            self.queue = VecDeque::new();
            self.tail = BytesMut::new();
        }
        count
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.queued == self.written
    }

    /// How many bytes wait.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.queued - self.written
    }

    /// How many bytes were ever put in: the stream position behind the last one.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.queued
    }

    /// How many bytes were ever taken out.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Prng;
    use alloc::vec::Vec;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut tx, mut put, mut got) = (Tx::default(), Vec::new(), Vec::new());
            for step in 0..60_u32 {
                let length = [3, 7, 30, 100, 5000][prng.between(0, 4) as usize];
                let bytes: Vec<u8> = (0..length).map(|i| (i + step) as u8).collect();
                match prng.between(0, 2) {
                    0 => tx.put(&bytes),
                    1 => tx.put_payload(&Bytes::from(bytes.clone())),
                    _ => {
                        let take = prng.between(0, tx.chunk().len() as u64) as usize;
                        got.extend_from_slice(&tx.chunk()[..take]);
                        assert_eq!(tx.consume(take), take);
                        continue;
                    }
                }
                put.extend_from_slice(&bytes);
                assert_eq!(tx.queued(), put.len() as u64);
            }
            while !tx.is_empty() {
                let take = tx.chunk().len();
                assert!(take > 0, "bytes wait, but none can be written");
                got.extend_from_slice(tx.chunk());
                tx.consume(take);
            }
            assert_eq!(put, got, "seed {seed}");
        }
    }

    #[test]
    fn taking_more_than_there_is_takes_what_there_is() {
        let mut tx = Tx::default();
        tx.put(b"abc");
        assert_eq!(tx.consume(10), 3);
        assert_eq!(tx.consume(1), 0);
        assert!(tx.is_empty());
    }
}
