//! One connection in memory, and the script's end of it.

use std::collections::VecDeque;
use std::time::Duration;

use keepbeat_core::Failure;
use keepbeat_core::time::Timestamp;

use crate::network::{Order, Seen};
use crate::speaker::Speaker;

/// So many bytes are on the way in each direction at most.
const WINDOW: usize = 64 << 10;

/// A script that floods does so once in this time.
const FLOOD: Duration = Duration::from_millis(4);

/// One direction.
#[derive(Default)]
struct Pipe {
    /// As they were written, because they are read one by one.
    pieces: VecDeque<Vec<u8>>,
    length: usize,
    end: Option<Failure>,
}

/// A connection, from the driver's end to the script's.
pub(super) struct Cable {
    to_driver: Pipe,
    to_script: Pipe,
    speaker: Speaker,
    spoke: Option<Timestamp>,
    seen: VecDeque<Seen>,
    /// The driver has closed its end.
    closed: bool,
}

/// What the driver's read gave.
pub(super) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    Ended(Failure),
}

impl Pipe {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(WINDOW - self.length);
        if count > 0 && self.end.is_none() {
            self.pieces.push_back(bytes[..count].to_vec());
            self.length += count;
        }
        count
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    fn end(&mut self, failure: Failure) {
        self.end.get_or_insert(failure);
    }
}

impl Cable {
    pub(super) fn new(speaker: Speaker) -> Self {
        Self {
            to_driver: Pipe::default(),
            to_script: Pipe::default(),
            speaker,
            spoke: None,
            seen: VecDeque::new(),
            closed: false,
        }
    }

    // The driver's end.

    pub(super) fn read(&mut self) -> Read {
        match (self.to_driver.read(), self.to_driver.end) {
            (Some(bytes), _) => Read::Bytes(bytes),
            (None, Some(failure)) => Read::Ended(failure),
            (None, None) => Read::Nothing,
        }
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        match self.to_script.end {
            Some(failure) => Err(failure),
            None => Ok(self.to_script.write(bytes)),
        }
    }

    /// As an operating system does it: who closes without having read everything resets the connection.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let failure = if self.to_driver.length == 0 { Failure::Eof } else { Failure::Reset };
        self.to_script.end(failure);
    }

    // The script's end.

    pub(super) fn order(&mut self, order: Order) {
        if order == Order::Reset {
            self.to_driver.end(Failure::Reset);
            self.to_script.end(Failure::Reset);
        }
        self.speaker.obey(order);
    }

    pub(super) fn take_seen(&mut self) -> Option<Seen> {
        self.seen.pop_front()
    }

    /// When the script's end does something by itself.
    pub(super) fn wakes_at(&self) -> Option<Timestamp> {
        let (_, every) = self.speaker.repeat.as_ref().filter(|_| !self.closed)?;
        Some(self.spoke.map_or(Timestamp::ZERO, |spoke| spoke.after((*every).max(FLOOD))))
    }

    /// Reads and writes what the script's end can. Whether it did anything.
    pub(super) fn speak(&mut self, now: Timestamp) -> bool {
        let mut busy = false;
        while self.speaker.reads
            && let Some(bytes) = self.to_script.read()
        {
            busy = true;
            let seen = &mut self.seen;
            self.speaker.hear(&bytes, |what| seen.push_back(what));
        }
        if self.speaker.reads
            && self.to_script.length == 0
            && let Some(failure) = self.to_script.end
        {
            self.speaker.reads = false;
            busy = true;
            self.seen.push_back(if failure == Failure::Eof { Seen::EndOfFile } else { Seen::Reset });
        }
        if self.wakes_at().is_some_and(|at| at <= now)
            && let Some((bytes, _)) = &self.speaker.repeat
        {
            self.spoke = Some(now);
            if self.speaker.out.is_empty() {
                self.speaker.out.push_back(bytes.clone());
            }
        }
        while let Some(piece) = self.speaker.piece() {
            let count = if self.closed { piece.len() } else { self.to_driver.write(piece) };
            if count == 0 {
                break;
            }
            busy = true;
            self.speaker.wrote(count);
        }
        if self.speaker.is_done() {
            busy |= self.to_driver.end.is_none();
            self.to_driver.end(Failure::Eof);
        }
        busy
    }
}
