//! One device's link to a server, and the task behind it. The numbers are those of the driver contract in the docs of
//! [`keepbeat_core`].

use std::future::poll_fn;
use std::ops::Deref;
use std::task::{Context, Poll};

use keepbeat_adapter::clock::Clock;
use keepbeat_adapter::link::{Attempt, BoxFuture, LinkDriver, Next, Outcome, Parts, Provider, Runtime, Turn};
use keepbeat_adapter::socket::SocketOptions;
use keepbeat_core::client::{Action, ClientConfig, Epoch};

use crate::alarm::Alarm;
use crate::stream::{Stream, open, resolve, spawn};

/// One logical link to a server, across as many connections as it takes.
///
/// A task in the background drives it. Dropping the link closes it: the task says goodbye to the server and ends. Its
/// methods are those of [`keepbeat_adapter::Link`], the same on every runtime.
#[derive(Debug)]
pub struct Link(keepbeat_adapter::Link);

/// Opens a [`Link`] with more options. Made by [`Link::builder`].
pub type LinkBuilder = keepbeat_adapter::link::LinkBuilder<Link>;

impl Link {
    /// Opens a link to `address`, a host and port such as `"gateway.example:7411"`. The first attempt begins at once.
    ///
    /// The task runs on smol's own threads, like all of [`smol::spawn`]; for an executor of yours, use
    /// [`LinkBuilder::build`].
    ///
    /// If `config` asks for credentials from a provider, use [`Link::builder`]; without one, every attempt ends in
    /// [`DownCause::CredentialsFailed`](keepbeat_core::DownCause::CredentialsFailed).
    pub fn open(address: impl Into<String>, config: ClientConfig) -> Self {
        Self::builder(address, config).start()
    }

    /// A link with more options.
    pub fn builder(address: impl Into<String>, config: ClientConfig) -> LinkBuilder {
        LinkBuilder::new(address.into(), config, Runtime { drive, spawn })
    }
}

impl From<keepbeat_adapter::Link> for Link {
    fn from(link: keepbeat_adapter::Link) -> Self {
        Self(link)
    }
}

impl From<Link> for keepbeat_adapter::Link {
    fn from(link: Link) -> Self {
        link.0
    }
}

impl Deref for Link {
    type Target = keepbeat_adapter::Link;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

struct Driver {
    link: LinkDriver,
    socket: Socket,
}

/// What the driver holds alone.
struct Socket {
    address: String,
    options: SocketOptions,
    provider: Option<Provider>,
    attempt: Option<Attempt<Stream>>,
    stream: Option<(Epoch, Stream)>,
    /// Given up; dropped outside of the lock, because it holds what the application wrote.
    discarded: Option<Attempt<Stream>>,
    alarm: Alarm,
}

fn drive(parts: Parts) -> BoxFuture<()> {
    let Parts { link, address, options, provider } = parts;
    let socket =
        Socket { address, options, provider, attempt: None, stream: None, discarded: None, alarm: Alarm::default() };
    let mut driver = Driver { link, socket };
    Box::pin(poll_fn(move |cx| driver.poll(cx)))
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Without the lock: a provider may use the link.
            let outcome = self.socket.poll_attempt(cx);
            let mut turn = self.link.begin(cx);
            let again = self.socket.turn(cx, &mut turn, outcome);
            let next = turn.finish();
            self.socket.discarded = None;
            match next {
                Next::Done => return Poll::Ready(()),
                Next::Wait if !again => return Poll::Pending,
                Next::Wait => {}
            }
        }
    }
}

impl Socket {
    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> Option<(Epoch, Outcome<Stream>)> {
        match self.attempt.as_mut()?.poll(cx, Clock::now()) {
            Poll::Ready(outcome) => {
                self.attempt = None;
                Some(outcome)
            }
            Poll::Pending => None,
        }
    }

    /// Returns whether an attempt began, which must be polled once.
    fn turn(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>, outcome: Option<(Epoch, Outcome<Stream>)>) -> bool {
        if let Some((epoch, outcome)) = outcome
            && let Some((epoch, stream)) = turn.on_attempt(epoch, outcome)
        {
            self.options.apply(&stream);
            self.stream = Some((epoch, stream));
        }
        // 2. Input before timeouts.
        turn.on_readable(cx, &mut self.stream);
        // 3. The clock decides, not the alarm.
        turn.on_due(cx, &mut self.stream);
        // 4. and 5. What came of it.
        let mut again = false;
        loop {
            again |= self.drain(turn);
            if !turn.on_writable(cx, &mut self.stream) {
                break;
            }
        }
        self.arm(cx, turn);
        again
    }

    fn drain(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut begun = false;
        while let Some(action) = turn.poll_action() {
            match action {
                Action::FetchCredentials { epoch, refresh } => {
                    self.attempt = Some(Attempt::fetch(epoch, self.provider.clone(), refresh));
                    begun = true;
                }
                Action::Connect { epoch } => {
                    self.attempt = Some(Attempt::connect(epoch, resolve(self.address.clone()), Box::new(open)));
                    begun = true;
                }
                // The writing that follows every drain does it.
                Action::Transmit { .. } => {}
                Action::Disconnect { .. } => {
                    self.stream = None;
                    self.discarded = self.attempt.take();
                }
            }
        }
        begun
    }

    fn arm(&mut self, cx: &mut Context<'_>, turn: &Turn<'_>) {
        let race = self.attempt.as_ref().and_then(Attempt::poll_timeout);
        if turn.resumed() {
            self.alarm.disarm();
        }
        self.alarm.arm(cx, turn.now(), turn.deadline().into_iter().chain(race).min());
    }
}
