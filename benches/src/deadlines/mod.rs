//! The same work for all: N links, each with a deadline that every received beat pushes back.
//!
//! A link's deadline is [`SILENCE`] after its last beat. [`Ours`] and [`Served`] are keepbeat, [`Sleeps`], [`Queue`] and
//! [`Reactor`] what a user would otherwise keep the deadlines in, and [`Stores`] the floor below them: it writes the
//! moment down and never tells that it has passed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

mod ours;
mod peers;
mod served;

use std::time::Duration;

use keepbeat_core::entropy::Prng;
use keepbeat_core::time::Timestamp;

pub use ours::Ours;
pub use peers::{Queue, Reactor, Sleeps, Stores};
pub use served::Served;

/// Every link beats once in this time.
pub const INTERVAL: Duration = Duration::from_secs(25);

/// A link that is silent for longer has expired: an interval, and as much again for the answer.
pub const SILENCE: Duration = Duration::from_secs(50);

/// When all links were last heard before anything is measured.
pub const START: Timestamp = Timestamp::from_millis(1000);

/// N deadlines.
pub trait Deadlines {
    /// How often a single link beats per [`INTERVAL`] when nobody else does. More often than once, because moments so far
    /// apart would soon come to the end of the wheels' time.
    const BEATS: u32 = 25;

    /// So many links, all heard at [`START`].
    fn new(links: usize) -> Self;

    /// A beat of this link arrived: its deadline is [`SILENCE`] after `now`.
    fn touch(&mut self, link: usize, now: Timestamp);
}

/// Deadlines that can come nearer.
pub trait Rearm: Deadlines {
    /// The link's deadline is `due` now, which is earlier than all others.
    fn nearer(&mut self, link: usize, due: Timestamp);

    /// The link is filed for `due`, also if it was filed for an earlier moment.
    fn put(&mut self, link: usize, due: Timestamp) {
        self.nearer(link, due);
    }
}

/// Deadlines that come up in virtual time.
pub trait Expire: Deadlines {
    /// Does what is due at `now`, and files anew what has moved. How many links have expired.
    fn turn(&mut self, now: Timestamp) -> usize;
}

/// All links in a random order that is always the same, so that no contender has its memory laid out in the order of beats.
#[must_use]
pub fn shuffled(links: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..links as u32).collect();
    let mut prng = Prng::new(7);
    for last in (1..links).rev() {
        order.swap(last, prng.between(0, last as u64) as usize);
    }
    order
}
