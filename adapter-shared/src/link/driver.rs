//! The future behind a link. The numbers are those of the driver contract in the docs of [`keepbeat_core`].

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use keepbeat_core::client::{Action, Epoch};

use super::attempt::{Attempt, Outcome};
use super::turn::{LinkDriver, Next, Turn};
use super::{BoxFuture, Parts, Provider, Target};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::stream::Stream;

/// How a runtime gets at connections.
pub struct Connector<S> {
    /// Looks the addresses of a host and port up.
    pub resolve: fn(String) -> BoxFuture<io::Result<Vec<SocketAddr>>>,
    /// Opens a connection to one address.
    pub open: fn(SocketAddr) -> BoxFuture<io::Result<S>>,
}

/// Drives a link until it was dropped and has said goodbye. Every turn bounds its own work.
pub fn drive<S: Stream, A: Alarm>(parts: Parts, connector: Connector<S>) -> impl Future<Output = ()> + Send {
    let Parts { link, target, provider } = parts;
    let socket =
        Socket { target, provider, connector, attempt: None, stream: None, discarded: None, alarm: A::default() };
    let mut driver = Driver { link, socket };
    poll_fn(move |cx| driver.poll(cx))
}

struct Driver<S, A> {
    link: LinkDriver,
    socket: Socket<S, A>,
}

/// What the driver holds alone.
struct Socket<S, A> {
    target: Arc<Target>,
    provider: Option<Provider>,
    connector: Connector<S>,
    attempt: Option<Box<Attempt<S>>>,
    stream: Option<(Epoch, S)>,
    /// Given up; dropped outside of the lock, because it holds what the application wrote.
    discarded: Option<Box<Attempt<S>>>,
    alarm: A,
}

impl<S: Stream, A: Alarm> Driver<S, A> {
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

impl<S: Stream, A: Alarm> Socket<S, A> {
    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> Option<(Epoch, Outcome<S>)> {
        match self.attempt.as_mut()?.poll(cx, Clock::now()) {
            Poll::Ready(outcome) => {
                self.attempt = None;
                Some(outcome)
            }
            Poll::Pending => None,
        }
    }

    /// Returns whether an attempt began, which must be polled once.
    fn turn(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>, outcome: Option<(Epoch, Outcome<S>)>) -> bool {
        if let Some((epoch, outcome)) = outcome
            && let Some((epoch, stream)) = turn.on_attempt(epoch, outcome)
        {
            stream.apply(&self.target.options);
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
                    self.attempt = Some(Box::new(Attempt::fetch(epoch, self.provider.clone(), refresh)));
                    begun = true;
                }
                Action::Connect { epoch } => {
                    let addresses = (self.connector.resolve)(turn.next_server(&self.target));
                    self.attempt = Some(Box::new(Attempt::connect(epoch, addresses, self.connector.open)));
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
        let race = self.attempt.as_ref().and_then(|attempt| attempt.poll_timeout());
        if turn.resumed() {
            self.alarm.disarm();
        }
        self.alarm.arm(cx, turn.now(), turn.deadline().into_iter().chain(race).min());
    }
}
