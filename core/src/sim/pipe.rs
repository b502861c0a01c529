//! One direction of one connection: what the kernels and the network between them do with bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::connection::Failure;
use crate::entropy::Prng;
use crate::time::Timestamp;

/// What a healthy path is like, the same in both directions.
#[derive(Debug, Clone)]
pub struct Path {
    /// The time that a byte is under way.
    pub latency: Duration,
    /// By how much that time varies at random. The order of the bytes stays.
    pub jitter: Duration,
    /// Bytes per second in each direction; `None` for as many as are written.
    pub bandwidth: Option<u32>,
    /// How many bytes that the other side has not read a writer gets rid of before it has to wait.
    pub window: usize,
    /// Reads and writes come in random pieces, and a write may have to wait for no reason.
    pub choppy: bool,
}

impl Default for Path {
    /// 20 ms with 10 ms of jitter, any bandwidth, 64 KiB of window, choppy.
    fn default() -> Self {
        let (latency, jitter) = (Duration::from_millis(20), Duration::from_millis(10));
        Self { latency, jitter, bandwidth: None, window: 64 << 10, choppy: true }
    }
}

impl Path {
    /// A draw of the time that the next byte is under way.
    pub(super) fn delay(&self, prng: &mut Prng) -> Duration {
        self.latency.saturating_add(prng.span(Duration::ZERO, self.jitter))
    }
}

#[derive(Default)]
pub(super) struct Pipe {
    segments: VecDeque<Segment>,
    /// Bytes that were written and not read.
    unread: usize,
    written: u64,
    /// The position in the stream at which the connection is to be cut.
    pub(super) cut_at: Option<u64>,
    /// The position in the stream at which these bits are to be changed.
    pub(super) flip_at: Option<(u64, u8)>,
    end: Option<(Timestamp, Failure)>,
    /// When the line has carried what was written so far.
    line_free: Option<Timestamp>,
    last_ready: Option<Timestamp>,
    /// Nothing that arrives later than this comes through.
    held: Option<Timestamp>,
    /// The other direction is held, so that the writer does not learn what was read; and how much that is.
    deaf: bool,
    unheard: usize,
    /// Nobody is at the other end, and nobody says so.
    dead: bool,
    blocked: bool,
    /// When the writer may try again.
    writable: Option<Timestamp>,
}

struct Segment {
    ready: Timestamp,
    bytes: Vec<u8>,
    start: usize,
}

impl Pipe {
    // The writer's end.

    /// How many of `bytes` the kernel takes; 0 means that it would block.
    pub(super) fn write(&mut self, now: Timestamp, bytes: &[u8], path: &Path, prng: &mut Prng) -> usize {
        let most = bytes.len().min(path.window.saturating_sub(self.unread));
        if most == 0 {
            self.blocked = true;
            return 0;
        }
        if path.choppy && prng.between(0, 9) == 0 {
            self.writable = Some(now.after(prng.span(Duration::from_millis(1), Duration::from_millis(4))));
            return 0;
        }
        let taken = if path.choppy { prng.between(1, most as u64) as usize } else { most };
        let carried = match (self.end, self.cut_at) {
            (Some(_), _) => 0,
            (None, Some(cut)) => taken.min(cut.saturating_sub(self.written) as usize),
            (None, None) => taken,
        };
        let mut position = self.written;
        self.written += taken as u64;
        self.unread += carried;
        let piece = path.bandwidth.map_or(carried.max(1), |rate| (rate as usize / 20).max(1));
        for chunk in bytes.get(..carried).unwrap_or_default().chunks(piece) {
            let ready = self.arrival(now, chunk.len(), path, prng);
            let mut bytes = chunk.to_vec();
            self.flip(position, &mut bytes);
            position += chunk.len() as u64;
            self.segments.push_back(Segment { ready, bytes, start: 0 });
        }
        taken
    }

    /// Changes the byte that is to be changed, if it is among these, which begin at `position`.
    fn flip(&mut self, position: u64, bytes: &mut [u8]) {
        if let Some((at, bits)) = self.flip_at
            && let Some(offset) = at.checked_sub(position)
            && let Some(byte) = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset))
        {
            *byte ^= bits;
            self.flip_at = None;
        }
    }

    fn arrival(&mut self, now: Timestamp, bytes: usize, path: &Path, prng: &mut Prng) -> Timestamp {
        let mut left = self.line_free.unwrap_or(now).max(now);
        if let Some(rate) = path.bandwidth {
            left = left.after(Duration::from_nanos(bytes as u64 * 1_000_000_000 / u64::from(rate.max(1))));
        }
        self.line_free = Some(left);
        let ready = left.after(path.delay(prng)).max(self.last_ready.unwrap_or(now));
        self.last_ready = Some(ready);
        ready
    }

    /// Whether the stream has reached the position at which it is to be cut, and when its last byte arrives then.
    pub(super) fn take_cut(&mut self, now: Timestamp) -> Option<Timestamp> {
        let reached = self.cut_at.is_some_and(|cut| self.written > cut || (self.written == cut && cut > 0));
        if !reached {
            return None;
        }
        self.cut_at = None;
        Some(self.last_ready.unwrap_or(now))
    }

    /// The end comes behind all bytes.
    pub(super) fn finish(&mut self, now: Timestamp, failure: Failure, path: &Path, prng: &mut Prng) {
        let at = self.arrival(now, 0, path, prng);
        self.reset(at, failure);
    }

    /// The end comes at `at`; bytes that would arrive later are lost.
    pub(super) fn reset(&mut self, at: Timestamp, failure: Failure) {
        if self.end.is_none_or(|(end, _)| at < end) {
            self.end = Some((at, failure));
            self.segments.retain(|segment| segment.ready <= at);
        }
    }

    /// Nothing comes out any more, and nobody learns that.
    pub(super) fn vanish(&mut self) {
        self.dead = true;
        self.segments.clear();
        self.end = None;
    }

    /// When the writer has a reason to try again.
    pub(super) const fn writable(&self) -> Option<Timestamp> {
        self.writable
    }

    pub(super) fn take_writable(&mut self, now: Timestamp) -> bool {
        self.writable.take_if(|at| *at <= now).is_some()
    }

    // The network between.

    pub(super) fn hold(&mut self, now: Timestamp) {
        self.held.get_or_insert(now);
    }

    /// What was held arrives at `at` or later.
    pub(super) fn release(&mut self, at: Timestamp) {
        let Some(held) = self.held.take() else { return };
        for segment in self.segments.iter_mut().filter(|segment| segment.ready > held) {
            segment.ready = segment.ready.max(at);
        }
        if let Some((end, _)) = self.end.as_mut().filter(|(end, _)| *end > held) {
            *end = (*end).max(at);
        }
        self.last_ready = self.last_ready.map(|ready| ready.max(at));
    }

    /// Whether the writer learns what is read.
    pub(super) fn deafen(&mut self, now: Timestamp, deaf: bool) {
        self.deaf = deaf;
        if !deaf {
            let read = core::mem::take(&mut self.unheard);
            self.free(now, read);
        }
    }

    fn free(&mut self, now: Timestamp, count: usize) {
        self.unread -= count;
        if count > 0 && self.blocked {
            self.blocked = false;
            self.writable = Some(now);
        }
    }

    /// What is under way on a slow line arrives at `at` at the latest.
    pub(super) fn hasten(&mut self, at: Timestamp) {
        self.line_free = None;
        self.last_ready = self.last_ready.map(|ready| ready.min(at));
        self.segments.iter_mut().for_each(|segment| segment.ready = segment.ready.min(at));
        if let Some((end, _)) = &mut self.end {
            *end = (*end).min(at);
        }
    }

    // The reader's end.

    /// When the reader has something to read, or an end to notice.
    pub(super) fn readable(&self) -> Option<Timestamp> {
        let first = self.segments.front().map(|segment| segment.ready);
        let at = first.or_else(|| self.end.map(|(at, _)| at))?;
        self.comes_through(at).then_some(at)
    }

    fn comes_through(&self, at: Timestamp) -> bool {
        !self.dead && self.held.is_none_or(|held| at <= held)
    }

    /// Reads at most `most` bytes into `target`; `false` if there are none yet.
    pub(super) fn read(&mut self, now: Timestamp, most: usize, target: &mut Vec<u8>) -> bool {
        target.clear();
        while let Some(front) = self.segments.front()
            && front.ready <= now
            && self.comes_through(front.ready)
            && target.len() < most
        {
            let Some(front) = self.segments.front_mut() else { break };
            let rest = front.bytes.get(front.start..).unwrap_or_default();
            let count = rest.len().min(most - target.len());
            target.extend_from_slice(rest.get(..count).unwrap_or_default());
            front.start += count;
            if front.start == front.bytes.len() {
                self.segments.pop_front();
            }
        }
        if self.deaf {
            self.unheard += target.len();
        } else {
            self.free(now, target.len());
        }
        !target.is_empty()
    }

    /// The end, once, after everything was read.
    pub(super) fn take_end(&mut self, now: Timestamp) -> Option<Failure> {
        let (at, failure) = self.end?;
        if at > now || !self.segments.is_empty() || !self.comes_through(at) {
            return None;
        }
        self.vanish();
        Some(failure)
    }
}
