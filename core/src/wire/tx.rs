//! Bytes waiting to be written to one connection.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

/// A beat, an answer and an acknowledgement fit here, so that an idle link allocates nothing for them.
pub(crate) const INLINE: usize = 21;

/// Payloads up to this size are copied behind their header, so that one write takes both.
pub(crate) const COPY_LIMIT: usize = 4096;

/// Bytes waiting to be written, in order. An empty one holds no memory of the heap.
///
/// Large payloads are held as they came ([`Bytes`]) and never copied.
#[derive(Debug, Default)]
pub struct Tx(Waiting);

/// `news`: bytes were put in since [`Tx::take_news`].
#[derive(Debug)]
enum Waiting {
    Few { news: bool, few: Few },
    Many { news: bool, many: Box<Many> },
}

#[derive(Debug, Default)]
struct Few {
    count: u8,
    bytes: [u8; INLINE],
}

/// What does not fit inline; never empty.
#[derive(Debug, Default)]
struct Many {
    /// Goes before `queue`.
    front: Few,
    queue: VecDeque<Bytes>,
    /// Goes behind `queue`.
    tail: BytesMut,
    /// Bytes of all.
    length: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        Self::Few { news: false, few: Few::default() }
    }
}

impl Tx {
    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.put_changed(bytes, |_| {});
    }

    /// Appends a copy of `bytes`, and lets `change` at it.
    pub(crate) fn put_changed(&mut self, bytes: &[u8], change: impl FnOnce(&mut [u8])) {
        if let Waiting::Few { news, few } = &mut self.0
            && let Some(slot) = few.append(bytes)
        {
            *news |= !bytes.is_empty();
            return change(slot);
        }
        if !bytes.is_empty() {
            self.put_behind(|many| change(many.append(bytes)));
        }
    }

    /// If nothing waits, where a short frame can be written without a copy; [`Tx::fill`] says that it was.
    #[inline]
    pub(crate) const fn vacant(&mut self) -> Option<&mut [u8; INLINE]> {
        match &mut self.0 {
            Waiting::Few { few: Few { count: 0, bytes }, .. } => Some(bytes),
            Waiting::Few { .. } | Waiting::Many { .. } => None,
        }
    }

    /// So many bytes, at least one, were written to what was vacant.
    #[inline]
    pub(crate) const fn fill(&mut self, written: u8) {
        if let Waiting::Few { news, few } = &mut self.0 {
            (*news, few.count) = (true, written);
        }
    }

    /// Appends a payload, without a copy if it is large.
    pub fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() <= COPY_LIMIT {
            return self.put(payload);
        }
        self.put_behind(|many| many.push(payload.clone()));
    }

    #[inline(never)]
    fn put_behind(&mut self, put: impl FnOnce(&mut Many)) {
        let mut many = match mem::take(&mut self.0) {
            Waiting::Few { few, .. } => Box::new(Many { length: few.count.into(), front: few, ..Many::default() }),
            Waiting::Many { many, .. } => many,
        };
        put(&mut many);
        self.0 = Waiting::Many { news: true, many };
    }

    /// The next bytes to write; empty if there are none. More may follow when these are taken.
    #[must_use]
    #[inline]
    pub fn chunk(&self) -> &[u8] {
        match &self.0 {
            Waiting::Few { few, .. } => few.as_slice(),
            Waiting::Many { many, .. } => many.chunk(),
        }
    }

    /// Takes `count` bytes away, at most those of [`Tx::chunk`]; returns how many it took.
    #[inline]
    pub fn consume(&mut self, count: usize) -> usize {
        match &mut self.0 {
            Waiting::Few { few, .. } => few.consume(count),
            Waiting::Many { .. } => self.consume_many(count),
        }
    }

    /// Hands out all that waits, in order.
    pub(crate) fn drain(mut self, mut to: impl FnMut(&[u8])) {
        while !self.is_empty() {
            to(self.chunk());
            self.consume(self.chunk().len());
        }
    }

    #[inline(never)]
    fn consume_many(&mut self, count: usize) -> usize {
        let Waiting::Many { news, many } = &mut self.0 else { return 0 };
        let count = many.consume(count);
        if many.length == 0 {
            self.0 = Waiting::Few { news: *news, few: Few::default() };
        }
        count
    }

    /// Whether bytes were put in since [`Tx::take_news`].
    #[inline]
    pub(crate) const fn has_news(&self) -> bool {
        let (Waiting::Few { news, .. } | Waiting::Many { news, .. }) = &self.0;
        *news
    }

    /// Whether nothing waits.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Waiting::Few { few: Few { count: 0, .. }, .. })
    }

    /// How many bytes wait.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> u64 {
        match &self.0 {
            Waiting::Few { few, .. } => few.count as u64,
            Waiting::Many { many, .. } => many.length,
        }
    }

    /// Whether bytes were put in since this was last asked.
    #[inline]
    pub(crate) const fn take_news(&mut self) -> bool {
        let (Waiting::Few { news, .. } | Waiting::Many { news, .. }) = &mut self.0;
        mem::replace(news, false)
    }
}

impl Few {
    #[inline]
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// `None` if there is no room.
    #[inline]
    fn append(&mut self, bytes: &[u8]) -> Option<&mut [u8]> {
        let end = usize::from(self.count);
        let slot = self.bytes.get_mut(end..end + bytes.len())?;
        slot.copy_from_slice(bytes);
        self.count += bytes.len() as u8;
        Some(slot)
    }

    #[inline]
    fn consume(&mut self, count: usize) -> usize {
        let had = usize::from(self.count);
        if count >= had {
            self.count = 0;
            return had;
        }
        self.bytes.copy_within(count..had, 0);
        self.count -= count as u8;
        count
    }
}

impl Many {
    fn append(&mut self, bytes: &[u8]) -> &mut [u8] {
        if self.queue.is_empty() && self.tail.is_empty() {
            // So that one write takes both.
            let front = mem::take(&mut self.front);
            self.tail = BytesMut::with_capacity(front.as_slice().len() + bytes.len());
            self.tail.extend_from_slice(front.as_slice());
        }
        let begin = self.tail.len();
        self.tail.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        self.tail.get_mut(begin..).unwrap_or_default()
    }

    fn push(&mut self, payload: Bytes) {
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        self.length += payload.len() as u64;
        self.queue.push_back(payload);
    }

    fn chunk(&self) -> &[u8] {
        if self.front.count > 0 {
            return self.front.as_slice();
        }
        self.queue.front().map_or(&self.tail[..], |payload| &payload[..])
    }

    fn consume(&mut self, count: usize) -> usize {
        let taken = if self.front.count > 0 {
            self.front.consume(count)
        } else if let Some(payload) = self.queue.front_mut() {
            let taken = count.min(payload.len());
            payload.advance(taken);
            if payload.is_empty() {
                self.queue.pop_front();
            }
            taken
        } else {
            let taken = count.min(self.tail.len());
            self.tail.advance(taken);
            taken
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
        assert!(matches!(tx.0, Waiting::Few { .. }));
        assert_eq!(tx.consume(21), 21);
        assert!(size_of::<Tx>() <= 24, "{} bytes", size_of::<Tx>());
    }
}
