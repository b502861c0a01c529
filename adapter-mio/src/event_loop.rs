//! A loop for those who have none.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::driver::Driver;
use crate::tokens::Tokens;

/// Events that one poll takes from the operating system.
const EVENTS: usize = 1024;

/// So many actions of other threads wait at most.
const ACTIONS: usize = 1024;

const WAKER: Token = Token(0);
const TAG: u8 = 1;

/// A [`Driver`] with a [`mio::Poll`] of its own.
///
/// ```no_run
/// use keepbeat_mio::{ClientConfig, DeviceId, DriverEvent, EventLoop};
///
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut event_loop = EventLoop::new()?;
/// for number in 0..10_000 {
///     let config = ClientConfig::builder(DeviceId::new(&format!("meter-{number}"))?).build()?;
///     event_loop.driver().open("192.0.2.7:7411", config);
/// }
/// loop {
///     event_loop.turn(None)?;
///     while let Some(event) = event_loop.driver().next_event() {
///         if let DriverEvent::Link(link, event) = event {
///             println!("{link:?}: {event:?}");
///         }
///     }
/// }
/// # }
/// ```
pub struct EventLoop {
    poll: Poll,
    events: Events,
    driver: Driver,
    actions: Receiver<Action>,
    remote: Remote,
}

type Action = Box<dyn FnOnce(&mut Driver) + Send>;

impl EventLoop {
    /// A loop without links.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let driver = Driver::new(poll.registry(), waker.clone(), Tokens::tagged(TAG))?;
        let (sender, actions) = sync_channel(ACTIONS);
        let remote = Remote { sender, waker };
        Ok(Self { poll, events: Events::with_capacity(EVENTS), driver, actions, remote })
    }

    /// The links and listeners.
    pub const fn driver(&mut self) -> &mut Driver {
        &mut self.driver
    }

    /// Lets other threads do something on this one. Clone it for each.
    #[must_use]
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Waits until there is something to do, at most `longest`, and does it.
    ///
    /// # Errors
    /// The operating system's, of waiting.
    pub fn turn(&mut self, longest: Option<Duration>) -> io::Result<()> {
        let Self { poll, events, driver, actions, .. } = self;
        let wait = driver.wait().into_iter().chain(longest).min();
        match poll.poll(events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        for event in &*events {
            driver.handle_event(event);
        }
        for action in actions.try_iter().take(ACTIONS) {
            action(driver);
        }
        driver.turn();
        Ok(())
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// Lets other threads do something on the thread of an [`EventLoop`].
#[derive(Clone)]
pub struct Remote {
    sender: SyncSender<Action>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Has the loop's thread call `action` in its next turn.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenPipe`] if the loop is gone; [`ErrorKind::WouldBlock`] if 1,024 actions wait already; or the
    /// operating system's, of waking the thread.
    pub fn run(&self, action: impl FnOnce(&mut Driver) + Send + 'static) -> io::Result<()> {
        match self.sender.try_send(Box::new(action)) {
            Ok(()) => self.waker.wake(),
            Err(TrySendError::Full(_)) => Err(io::Error::new(ErrorKind::WouldBlock, "too many actions wait already")),
            Err(TrySendError::Disconnected(_)) => Err(io::Error::new(ErrorKind::BrokenPipe, "the event loop is gone")),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}
