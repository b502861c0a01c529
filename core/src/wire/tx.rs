//! Bytes waiting to be written to one connection.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

/// A beat, an answer and an acknowledgement fit here, so that an idle link allocates nothing for them.
pub(crate) const INLINE: usize = 21;

/// Payloads up to this size are copied behind their header, so that one write takes both.
const COPY_LIMIT: usize = 4096;

/// Bytes waiting to be written, in order. An empty one holds no memory of the heap.
///
/// Large payloads are held as they came ([`Bytes`]) and never copied.
#[derive(Debug, Default)]
pub struct Tx {
    /// Goes before `rest`.
    inline: [u8; INLINE],
    start: u8,
    /// Above `start`, or both are 0.
    end: u8,
    /// Bytes were put in since [`Tx::take_news`].
    news: bool,
    /// What does not fit in here; never empty.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    queue: VecDeque<Bytes>,
    /// Goes behind `queue`.
    tail: BytesMut,
    /// Bytes of both.
    length: u64,
}

impl Tx {
    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.put_changed(bytes, |_| {});
    }

    /// Appends a copy of `bytes`, and lets `change` at it.
    pub(crate) fn put_changed(&mut self, bytes: &[u8], change: impl FnOnce(&mut [u8])) {
        self.news |= !bytes.is_empty();
        let end = usize::from(self.end);
        match self.inline.get_mut(end..end + bytes.len()) {
            Some(slot) if self.rest.is_none() => {
                slot.copy_from_slice(bytes);
                change(slot);
                self.end += bytes.len() as u8;
            }
            _ => change(self.put_behind(bytes)),
        }
    }

    fn put_behind(&mut self, bytes: &[u8]) -> &mut [u8] {
        let Self { inline, start, end, rest, .. } = self;
        let rest = rest.get_or_insert_with(|| {
            // What is inline goes along, so that one write takes both.
            let inline = inline.get(usize::from(*start)..usize::from(*end)).unwrap_or_default();
            (*start, *end) = (0, 0);
            let tail = BytesMut::with_capacity(inline.len() + bytes.len());
            let mut rest = Box::new(Rest { tail, ..Rest::default() });
            rest.append(inline);
            rest
        });
        rest.append(bytes)
    }

    /// If nothing waits, where a short frame can be written without a copy; [`Tx::fill`] says that it was.
    #[inline]
    pub(crate) const fn vacant(&mut self) -> Option<&mut [u8; INLINE]> {
        if self.is_empty() { Some(&mut self.inline) } else { None }
    }

    /// So many bytes, at least one, were written to what was vacant.
    #[inline]
    pub(crate) const fn fill(&mut self, count: u8) {
        self.end = count;
        self.news = true;
    }

    /// Appends a payload, without a copy if it is large.
    pub fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() <= COPY_LIMIT {
            return self.put(payload);
        }
        self.news = true;
        let rest = self.rest.get_or_insert_default();
        if !rest.tail.is_empty() {
            rest.queue.push_back(rest.tail.split().freeze());
        }
        rest.queue.push_back(payload.clone());
        rest.length += payload.len() as u64;
    }

    /// The next bytes to write; empty if there are none. More may follow when these are taken.
    #[must_use]
    #[inline]
    pub fn chunk(&self) -> &[u8] {
        if self.end > 0 {
            return self.inline.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default();
        }
        self.rest.as_ref().map_or(&[], |rest| rest.queue.front().map_or(&rest.tail[..], |payload| &payload[..]))
    }

    /// Takes `count` bytes away, at most those of [`Tx::chunk`]; returns how many it took.
    #[inline]
    pub fn consume(&mut self, count: usize) -> usize {
        let inline = usize::from(self.end - self.start);
        if inline == 0 {
            return self.consume_rest(count);
        }
        if count < inline {
            self.start += count as u8;
            return count;
        }
        (self.start, self.end) = (0, 0);
        inline
    }

    /// Hands out all that waits, in order.
    pub(crate) fn drain(mut self, mut to: impl FnMut(&[u8])) {
        while !self.is_empty() {
            to(self.chunk());
            self.consume(self.chunk().len());
        }
    }

    fn consume_rest(&mut self, count: usize) -> usize {
        let Some(rest) = &mut self.rest else { return 0 };
        let count = rest.consume(count);
        if rest.length == 0 {
            self.rest = None;
        }
        count
    }

    /// Whether bytes were put in since [`Tx::take_news`].
    #[inline]
    pub(crate) const fn has_news(&self) -> bool {
        self.news
    }

    /// Whether nothing waits.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.end == 0 && self.rest.is_none()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::from(self.end - self.start) + self.rest.as_ref().map_or(0, |rest| rest.length)
    }

    /// Whether bytes were put in since this was last asked.
    pub(crate) const fn take_news(&mut self) -> bool {
        mem::replace(&mut self.news, false)
    }
}

impl Rest {
    fn append(&mut self, bytes: &[u8]) -> &mut [u8] {
        let begin = self.tail.len();
        self.tail.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        self.tail.get_mut(begin..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) -> usize {
        let taken = match self.queue.front_mut() {
            Some(payload) => {
                let taken = count.min(payload.len());
                payload.advance(taken);
                if payload.is_empty() {
                    self.queue.pop_front();
                }
                taken
            }
            None => {
                let taken = count.min(self.tail.len());
                self.tail.advance(taken);
                taken
            }
        };
        self.length -= taken as u64;
        taken
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
                assert_eq!(tx.len(), (put.len() - got.len()) as u64);
                assert!(tx.take_news() && !tx.take_news());
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

    #[test]
    fn what_an_idle_link_says_needs_no_heap() {
        let mut tx = Tx::default();
        for frame in [[1; 7], [2; 7], [3; 7]] {
            tx.put(&frame);
        }
        assert!(tx.rest.is_none());
        assert_eq!(tx.consume(21), 21);
        assert!(size_of::<Tx>() <= 32, "{} bytes", size_of::<Tx>());
    }
}
