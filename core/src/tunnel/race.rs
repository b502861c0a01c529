//! The race between the addresses of a name.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::time::{Deadline, DeadlineCause, Timestamp};

/// An address that does not answer holds the next one up for so long: 250 ms, as RFC 8305, section 8, recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A race has at most so many addresses; what the resolver found beyond them is left out: 32.
pub const MAX_ADDRESSES: usize = 32;

/// One attempt to reach a name that has several addresses ("Happy Eyeballs", RFC 8305, sections 4 and 5).
///
/// The addresses get their turn one after the other, the families by turns. Each has a head start of [`ATTEMPT_DELAY`]
/// before the next; one that fails passes the turn on at once. All keep running until the first is open: that one wins, and
/// the others are abandoned. If all fail, the race is lost.
///
/// Inputs ([`opened`](Self::opened), [`failed`](Self::failed)) tell what a socket did;
/// [`handle_timeout`](Self::handle_timeout) tells that time has passed. Then drain [`poll_action`](Self::poll_action) to
/// `None` and ask [`poll_timeout`](Self::poll_timeout) for the next wake. Nothing here panics, and nothing allocates after
/// [`new`](Self::new). What is said about a socket that does not run, or no longer, is ignored.
///
/// The race has no time limit of its own: while the last address stays silent, it goes on. To give it up (a client does so
/// at its connect timeout), drop it together with its sockets.
///
/// `F` is the driver's word for a failure, for example [`Failure`](crate::Failure). Its order decides which one is told if
/// all addresses fail: the greatest.
///
/// ```
/// use keepbeat_core::Failure;
/// use keepbeat_core::time::Timestamp;
/// use keepbeat_core::tunnel::{ATTEMPT_DELAY, Race, RaceAction};
///
/// let v6 = "[2001:db8::1]:7400".parse()?;
/// let v4 = "192.0.2.1:7400".parse()?;
/// let mut now = Timestamp::ZERO;
/// let Some(mut race) = Race::<Failure>::new(now, [v6, v4]) else {
///     return Ok(()); // The name has no address: report `Failure::NameNotFound`.
/// };
/// assert_eq!(race.poll_action(), Some(RaceAction::Open { socket: 0, address: v6 }));
/// assert_eq!(race.poll_action(), None);
///
/// // The first address is silent. After its head start, the next one has its turn.
/// now = race.poll_timeout().map_or(now, |deadline| deadline.at);
/// assert_eq!(now, Timestamp::ZERO.after(ATTEMPT_DELAY));
/// race.handle_timeout(now);
/// assert_eq!(race.poll_action(), Some(RaceAction::Open { socket: 1, address: v4 }));
///
/// race.opened(1);
/// assert_eq!(race.poll_action(), Some(RaceAction::Won { socket: 1 }));
/// assert_eq!(race.poll_action(), Some(RaceAction::Abandon { socket: 0 }));
/// assert_eq!(race.poll_action(), None);
/// assert_eq!(race.poll_timeout(), None);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Race<F> {
    /// In the order of their turns. The index is the number of the socket.
    addresses: Vec<SocketAddr>,
    /// So many of them have had their turn.
    begun: usize,
    /// A bit for each socket that was begun and has not won, failed or been abandoned.
    running: u32,
    phase: Phase,
    /// The latest moment that was told.
    now: Timestamp,
    /// The next address has its turn from here on.
    due: Timestamp,
    /// The greatest so far.
    failure: Option<F>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Racing,
    /// This socket won, and nobody was told yet.
    Decided(usize),
    Over,
}

impl<F: Copy + Ord> Race<F> {
    /// Begins at `now`; the first address is to be opened at once.
    ///
    /// `addresses` come in the order of preference in which the resolver gives them (RFC 6724). They are read to the end,
    /// repetitions are dropped, the families interlaced, and [`MAX_ADDRESSES`] of them kept. `None` if there is not one:
    /// the name was not found.
    #[must_use]
    pub fn new(now: Timestamp, addresses: impl IntoIterator<Item = SocketAddr>) -> Option<Self> {
        let addresses = interlaced(addresses);
        if addresses.is_empty() {
            return None;
        }
        Some(Self { addresses, begun: 0, running: 0, phase: Phase::Racing, now, due: now, failure: None })
    }

    /// The connection of `socket` is open. The first that is wins the race.
    pub const fn opened(&mut self, socket: usize) {
        if matches!(self.phase, Phase::Racing) && self.is_running(socket) {
            self.stop(socket);
            self.phase = Phase::Decided(socket);
        }
    }

    /// `socket` could not be opened, and is gone. The next address has its turn at once; if several fail in one turn, it is
    /// still only one.
    pub fn failed(&mut self, now: Timestamp, socket: usize, failure: F) {
        self.handle_timeout(now);
        if self.is_running(socket) {
            self.stop(socket);
            self.failure = self.failure.max(Some(failure));
            self.due = self.now;
        }
    }

    /// Time has passed. Early, late and repeated calls are safe: however late, one address has its turn.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// What is to be done; drain it to `None` after every input. The last words are either one [`RaceAction::Lost`], or
    /// one [`RaceAction::Won`] and what is to be abandoned.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<RaceAction<F>> {
        match self.phase {
            Phase::Racing if self.now >= self.due && self.begun < self.addresses.len() => self.begin_next(),
            Phase::Racing if self.running == 0 => {
                self.phase = Phase::Over;
                self.failure.map(|failure| RaceAction::Lost { failure })
            }
            Phase::Racing => None,
            Phase::Decided(socket) => {
                self.phase = Phase::Over;
                Some(RaceAction::Won { socket })
            }
            Phase::Over => self.abandon_next(),
        }
    }

    /// When the next address has its turn; `None` if there is none, or the race is decided. Pure, O(1). Once a turn has
    /// drained all actions, it is later than `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let waits = matches!(self.phase, Phase::Racing) && self.begun < self.addresses.len();
        waits.then(|| Deadline::new(self.due, DeadlineCause::NextAddress))
    }

    fn begin_next(&mut self) -> Option<RaceAction<F>> {
        let socket = self.begun;
        let address = *self.addresses.get(socket)?;
        self.begun += 1;
        self.running |= 1 << socket;
        self.due = self.now.after(ATTEMPT_DELAY);
        Some(RaceAction::Open { socket, address })
    }

    fn abandon_next(&mut self) -> Option<RaceAction<F>> {
        if self.running == 0 {
            return None;
        }
        let socket = self.running.trailing_zeros() as usize;
        self.stop(socket);
        Some(RaceAction::Abandon { socket })
    }

    const fn is_running(&self, socket: usize) -> bool {
        socket < self.begun && self.running & (1 << socket) != 0
    }

    /// `socket` is one that runs.
    const fn stop(&mut self, socket: usize) {
        self.running &= !(1 << socket);
    }
}

/// What [`Race`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaceAction<F> {
    /// Begin to connect to `address`, and answer with [`Race::opened`] or [`Race::failed`].
    Open {
        /// The number of the new socket. Sockets are counted from 0 in the order of these actions.
        socket: usize,
        /// Where to.
        address: SocketAddr,
    },
    /// The race is won by the connection of this socket. Keep it.
    Won {
        /// Its number.
        socket: usize,
    },
    /// Close this socket, even if it was opened meanwhile: another one won.
    Abandon {
        /// Its number.
        socket: usize,
    },
    /// All addresses failed.
    Lost {
        /// The greatest of their failures.
        failure: F,
    },
}

const _: () = assert!(MAX_ADDRESSES <= u32::BITS as usize, "`running` has a bit for each");

/// Begins with the family that the resolver put first, and alternates while both last: RFC 8305, section 4, with a "First
/// Address Family Count" of 1.
fn interlaced(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut preferred, mut other) = (Vec::new(), Vec::new());
    for address in addresses {
        let same = preferred.first().is_none_or(|first: &SocketAddr| first.is_ipv6() == address.is_ipv6());
        let family = if same { &mut preferred } else { &mut other };
        if family.len() < MAX_ADDRESSES && !family.contains(&address) {
            family.push(address);
        }
    }
    let mut order = Vec::with_capacity(preferred.len() + other.len());
    for rank in 0..preferred.len().max(other.len()) {
        order.extend(preferred.get(rank));
        order.extend(other.get(rank));
    }
    order.truncate(MAX_ADDRESSES);
    order
}
