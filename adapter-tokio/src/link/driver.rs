//! The task behind a link. The numbers are those of the driver contract in the docs of `keepbeat_core`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use keepbeat_core::client::{Action, Client, Epoch, Input};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::Credentials;
use tokio::net::TcpStream;

use super::attempt::{Attempt, Outcome, Provider};
use super::{Shared, State};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::io::{self, Got, READS_PER_TURN, SocketOptions, WRITES_PER_TURN};

pub(super) struct Driver {
    shared: Arc<Shared>,
    socket: Socket,
}

/// What the driver holds alone.
struct Socket {
    address: String,
    options: SocketOptions,
    provider: Option<Provider>,
    attempt: Option<Attempt>,
    stream: Option<(Epoch, TcpStream)>,
    /// Given up; dropped outside of the lock, because it holds what the application wrote.
    discarded: Option<Attempt>,
    alarm: Alarm,
}

/// What a turn left to do.
#[derive(Default)]
struct Turn {
    /// An attempt began and must be polled once.
    again: bool,
    /// The driver's work is done for good.
    done: bool,
    events: bool,
    room: bool,
    over: bool,
    /// Whether anything happened at all.
    busy: bool,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        address: String,
        options: SocketOptions,
        provider: Option<Provider>,
    ) -> Self {
        let socket = Socket {
            address,
            options,
            provider,
            attempt: None,
            stream: None,
            discarded: None,
            alarm: Alarm::default(),
        };
        Self { shared, socket }
    }

    /// Every turn bounds its own work, so the runtime need not.
    pub(super) async fn run(mut self) {
        tokio::task::unconstrained(poll_fn(|cx| self.poll(cx))).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Without the lock: a provider may use the link.
            let outcome = self.socket.poll_attempt(cx);
            let turn = self.socket.turn(cx, &mut self.shared.lock(), outcome);
            self.socket.discarded = None;
            if turn.events || turn.over {
                self.shared.events.notify_waiters();
            }
            if turn.room {
                self.shared.room.notify_waiters();
            }
            if turn.over {
                self.shared.over.notify_waiters();
            }
            if turn.done {
                return Poll::Ready(());
            }
            if !turn.again {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.lock().orphaned = true;
        self.shared.notify_all();
    }
}

impl Socket {
    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> Option<(Epoch, Outcome)> {
        match self.attempt.as_mut()?.poll(cx) {
            Poll::Ready(outcome) => {
                self.attempt = None;
                Some(outcome)
            }
            Poll::Pending => None,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, state: &mut State, outcome: Option<(Epoch, Outcome)>) -> Turn {
        let now = Clock::now();
        state.driver = Some(cx.waker().clone());
        let asked = std::mem::take(&mut state.asked);
        let mut turn = Turn { busy: asked || outcome.is_some(), ..Turn::default() };
        let waiting = state.client.unacknowledged();
        if let Some((epoch, outcome)) = outcome {
            self.on_attempt(now, state, epoch, outcome);
        }
        // 2. Input before timeouts.
        turn.busy |= self.on_readable(cx, now, state);
        if is_due(&state.client, now) {
            turn.busy = true;
            self.read_unasked(now, state);
            // 3. The clock decides, not the alarm.
            state.client.handle_timeout(now);
        }
        // 4. What came of it.
        loop {
            self.drain(&mut state.client, &mut turn);
            if !self.flush(cx, now, state, &mut turn) {
                break;
            }
        }
        self.arm(cx, now, &state.client);
        let open = !state.client.state().is_over();
        turn.over = !open && turn.busy;
        turn.done = !open && state.dropped;
        turn.events = state.client.has_event();
        turn.room = asked || turn.over || state.client.unacknowledged() < waiting;
        state.closings += u64::from(turn.over);
        state.traffic.wakes += 1;
        state.traffic.empty_turns += u64::from(!turn.busy);
        turn
    }

    fn on_attempt(&mut self, now: Timestamp, state: &mut State, epoch: Epoch, outcome: Outcome) {
        let input = match outcome {
            Outcome::Credentials(Some(credentials)) => {
                Input::Credentials { epoch, credentials: Credentials::new(credentials) }
            }
            Outcome::Credentials(None) => Input::CredentialsFailed { epoch },
            Outcome::Connected(stream) => {
                self.stream = Some((epoch, stream));
                Input::Opened { epoch }
            }
            Outcome::NotConnected(failure) => Input::OpenFailed { epoch, failure },
        };
        state.client.handle_input(now, input);
    }

    /// Reads while there is something to read and the client wants it. Returns whether there was.
    fn on_readable(&mut self, cx: &mut Context<'_>, now: Timestamp, state: &mut State) -> bool {
        let Some((epoch, stream)) = &mut self.stream else { return false };
        let epoch = *epoch;
        for round in 0..READS_PER_TURN {
            if !state.client.wants_read() {
                return round > 0;
            }
            let client = &mut state.client;
            let got = io::poll_read(stream, cx, |bytes| client.handle_input(now, Input::Received { epoch, bytes }));
            match got {
                Got::Bytes { count, .. } => state.traffic.bytes_in += count as u64,
                Got::Nothing => return round > 0,
                Got::Ended(failure) => {
                    state.client.handle_input(now, Input::Ended { epoch, failure });
                    return true;
                }
            }
        }
        cx.waker().wake_by_ref();
        true
    }

    /// A verdict may be due: the runtime may not know yet what the operating system has.
    fn read_unasked(&mut self, now: Timestamp, state: &mut State) {
        let Some((epoch, stream)) = &self.stream else { return };
        let epoch = *epoch;
        for _ in 0..READS_PER_TURN {
            if !state.client.wants_read() {
                return;
            }
            let client = &mut state.client;
            match io::read_now(stream, |bytes| client.handle_input(now, Input::Received { epoch, bytes })) {
                Got::Bytes { count, drained } => {
                    state.traffic.bytes_in += count as u64;
                    if drained {
                        return;
                    }
                }
                Got::Nothing => return,
                Got::Ended(failure) => return client.handle_input(now, Input::Ended { epoch, failure }),
            }
        }
    }

    fn drain(&mut self, client: &mut Client, turn: &mut Turn) {
        while let Some(action) = client.poll_action() {
            turn.busy = true;
            match action {
                Action::FetchCredentials { epoch, refresh } => {
                    self.attempt = Some(Attempt::fetch(epoch, self.provider.clone(), refresh));
                    turn.again = true;
                }
                Action::Connect { epoch } => {
                    self.attempt = Some(Attempt::connect(epoch, self.address.clone(), self.options));
                    turn.again = true;
                }
                // The flush that follows every drain does it.
                Action::Transmit { .. } => {}
                Action::Disconnect { .. } => {
                    self.stream = None;
                    self.discarded = self.attempt.take();
                }
            }
        }
    }

    /// Writes what waits, as far as the socket takes it. Returns whether there may be actions to drain.
    fn flush(&mut self, cx: &mut Context<'_>, now: Timestamp, state: &mut State, turn: &mut Turn) -> bool {
        let Some((epoch, stream)) = &mut self.stream else { return false };
        let epoch = *epoch;
        for round in 0..WRITES_PER_TURN {
            let bytes = state.client.transmit();
            if bytes.is_empty() {
                return round > 0;
            }
            match io::poll_write(stream, cx, bytes) {
                None => return round > 0,
                // 5. Written is what the operating system took.
                Some(Ok(count)) => {
                    turn.busy = true;
                    state.traffic.bytes_out += count as u64;
                    state.client.handle_input(now, Input::Written { epoch, count });
                }
                Some(Err(failure)) => {
                    turn.busy = true;
                    // What the server said last may be waiting still.
                    self.read_unasked(now, state);
                    state.client.handle_input(now, Input::Ended { epoch, failure });
                    return true;
                }
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    fn arm(&mut self, cx: &mut Context<'_>, now: Timestamp, client: &Client) {
        self.alarm.arm(cx, now, client.poll_timeout().map(|due| due.at));
    }
}

fn is_due(client: &Client, now: Timestamp) -> bool {
    client.poll_timeout().is_some_and(|due| due.at <= now)
}
