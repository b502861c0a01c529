//! The task behind a listener. The numbers are those of the driver contract in the docs of `keepbeat_core`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerInput};
use keepbeat_core::time::Timestamp;
use tokio::net::{TcpListener, TcpStream};

use super::ready::Ready;
use super::{Shared, State};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::io::{self, Got, READS_PER_TURN, SocketOptions, Traffic, WRITES_PER_TURN};

/// So many connections are accepted in a turn before others get theirs.
const ACCEPTS_PER_TURN: usize = 64;

/// So many connections are looked at in a turn before timers get theirs.
const CONNECTIONS_PER_TURN: usize = 256;

/// After an error of the listening socket (no file descriptors left, for example) nothing is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Driver {
    shared: Arc<Shared>,
    alarm: Alarm,
}

/// The listening socket and those accepted from it.
pub(super) struct Sockets {
    listener: Option<TcpListener>,
    options: SocketOptions,
    open: HashMap<ConnectionId, Socket>,
    ready: Arc<Ready>,
    /// Accept nothing until then.
    paused: Option<Timestamp>,
}

struct Socket {
    stream: TcpStream,
    waker: Waker,
    /// It has written its share of this turn; the next one is ordered.
    resting: bool,
}

/// What a turn left to do.
#[derive(Default)]
struct Turn {
    events: bool,
    over: bool,
    aborted: bool,
    /// Whether anything happened at all.
    busy: bool,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, alarm: Alarm::default() }
    }

    /// Every turn bounds its own work, so the runtime need not.
    pub(super) async fn run(mut self) {
        tokio::task::unconstrained(poll_fn(|cx| self.poll(cx))).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = turn(cx, &mut self.shared.lock(), &mut self.alarm);
        if turn.events || turn.over {
            self.shared.events.notify_waiters();
        }
        if turn.busy {
            self.shared.room.notify_waiters();
        }
        if turn.over {
            self.shared.over.notify_waiters();
        }
        if turn.aborted { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.lock().close_all();
        self.shared.notify_all();
    }
}

fn turn(cx: &mut Context<'_>, state: &mut State, alarm: &mut Alarm) -> Turn {
    let State { server, sockets, driver, asked, actions, aborted, traffic } = state;
    let now = Clock::now();
    *driver = Some(cx.waker().clone());
    sockets.ready.watch(cx.waker());
    let mut busy = std::mem::take(asked);
    // 2. Input before timeouts.
    busy |= sockets.accept(cx, now, server);
    for _ in 0..CONNECTIONS_PER_TURN {
        let Some(id) = sockets.ready.next() else { break };
        busy = true;
        sockets.on_woken(now, id, server, traffic);
    }
    if !sockets.ready.is_empty() {
        cx.waker().wake_by_ref();
    }
    for action in std::mem::take(actions) {
        sockets.act(now, action, server, traffic);
    }
    sockets.drain(now, server, traffic);
    // 3. The clock decides, not the alarm.
    busy |= sockets.on_due(now, server, traffic);
    // 4. What came of it.
    sockets.drain(now, server, traffic);
    let due = server.poll_timeout().map(|due| due.at);
    alarm.arm(cx, now, due.into_iter().chain(sockets.paused).min());
    traffic.wakes += 1;
    traffic.empty_turns += u64::from(!busy);
    Turn { events: server.has_event(), over: *aborted || server.is_drained(), aborted: *aborted, busy }
}

impl Sockets {
    pub(super) fn new(listener: TcpListener, options: SocketOptions) -> Self {
        Self { listener: Some(listener), options, open: HashMap::new(), ready: Arc::default(), paused: None }
    }

    pub(super) fn stop_accepting(&mut self) {
        (self.listener, self.paused) = (None, None);
    }

    pub(super) fn close_all(&mut self) {
        self.stop_accepting();
        self.open = HashMap::new();
        self.ready.forget_all();
    }

    /// Takes the connections that wait. Returns whether any did.
    fn accept(&mut self, cx: &mut Context<'_>, now: Timestamp, server: &mut Server) -> bool {
        let Some(listener) = &self.listener else { return false };
        if self.paused.take_if(|until| *until <= now).is_none() && self.paused.is_some() {
            return false;
        }
        for round in 0..ACCEPTS_PER_TURN {
            match listener.poll_accept(cx) {
                Poll::Pending => return round > 0,
                Poll::Ready(Ok((stream, address))) => {
                    // A connection that is not taken is closed by its drop.
                    if let Ok(id) = server.accept(now, Some(address.ip())) {
                        self.options.apply(&stream);
                        let waker = Waker::from(self.ready.flag(id));
                        waker.wake_by_ref();
                        self.open.insert(id, Socket { stream, waker, resting: false });
                    }
                }
                Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                Poll::Ready(Err(_)) => {
                    self.paused = Some(now.after(ACCEPT_PAUSE));
                    return true;
                }
            }
        }
        cx.waker().wake_by_ref();
        true
    }

    fn on_woken(&mut self, now: Timestamp, id: ConnectionId, server: &mut Server, traffic: &mut Traffic) {
        if let Some(socket) = self.open.get_mut(&id) {
            socket.resting = false;
        }
        self.on_readable(now, id, server, traffic);
        self.flush(now, id, server, traffic);
    }

    /// Reads while there is something to read and the server wants it.
    fn on_readable(&mut self, now: Timestamp, id: ConnectionId, server: &mut Server, traffic: &mut Traffic) {
        let Some(Socket { stream, waker, .. }) = self.open.get_mut(&id) else { return };
        for _ in 0..READS_PER_TURN {
            if !server.wants_read(id) {
                return;
            }
            let cx = &mut Context::from_waker(waker);
            match io::poll_read(stream, cx, |bytes| server.handle_input(now, id, ServerInput::Received(bytes))) {
                Got::Bytes { count, .. } => traffic.bytes_in += count as u64,
                Got::Nothing => return,
                Got::Ended(failure) => return server.handle_input(now, id, ServerInput::Ended(failure)),
            }
        }
        waker.wake_by_ref();
    }

    /// Reads what the operating system has, whatever the runtime knows. Returns whether there was anything.
    fn read_unasked(&self, now: Timestamp, id: ConnectionId, server: &mut Server, traffic: &mut Traffic) -> bool {
        let Some(Socket { stream, .. }) = self.open.get(&id) else { return false };
        for round in 0..READS_PER_TURN {
            if !server.wants_read(id) {
                return round > 0;
            }
            match io::read_now(stream, |bytes| server.handle_input(now, id, ServerInput::Received(bytes))) {
                Got::Bytes { count, drained } => {
                    traffic.bytes_in += count as u64;
                    if drained {
                        return true;
                    }
                }
                Got::Nothing => return round > 0,
                Got::Ended(failure) => {
                    server.handle_input(now, id, ServerInput::Ended(failure));
                    return true;
                }
            }
        }
        true
    }

    /// Reads each connection whose verdict may be due, and then does what is due. Returns whether anything was.
    fn on_due(&mut self, now: Timestamp, server: &mut Server, traffic: &mut Traffic) -> bool {
        if server.poll_timeout().is_none_or(|due| due.at > now) {
            return false;
        }
        let due: Vec<ConnectionId> = server.due(now).collect();
        for id in due {
            if self.read_unasked(now, id, server, traffic) {
                self.drain(now, server, traffic);
            }
        }
        server.handle_timeout(now);
        true
    }

    fn drain(&mut self, now: Timestamp, server: &mut Server, traffic: &mut Traffic) {
        while let Some(action) = server.poll_action() {
            self.act(now, action, server, traffic);
        }
    }

    fn act(&mut self, now: Timestamp, action: ServerAction, server: &mut Server, traffic: &mut Traffic) {
        match action {
            ServerAction::Transmit(id) => self.flush(now, id, server, traffic),
            ServerAction::Read(id) => self.on_readable(now, id, server, traffic),
            ServerAction::Disconnect(id) => drop(self.open.remove(&id)),
        }
    }

    /// Writes what waits, as far as the socket takes it.
    fn flush(&mut self, now: Timestamp, id: ConnectionId, server: &mut Server, traffic: &mut Traffic) {
        let Some(Socket { stream, waker, resting }) = self.open.get_mut(&id) else { return };
        if *resting {
            return;
        }
        for _ in 0..WRITES_PER_TURN {
            let bytes = server.transmit(id);
            if bytes.is_empty() {
                return;
            }
            match io::poll_write(stream, &mut Context::from_waker(waker), bytes) {
                None => return,
                // 5. Written is what the operating system took.
                Some(Ok(count)) => {
                    traffic.bytes_out += count as u64;
                    server.handle_input(now, id, ServerInput::Written(count));
                }
                Some(Err(failure)) => {
                    // What the device said last may be waiting still.
                    self.read_unasked(now, id, server, traffic);
                    return server.handle_input(now, id, ServerInput::Ended(failure));
                }
            }
        }
        *resting = true;
        waker.wake_by_ref();
    }
}

/// The connection was over before it was accepted; the next one may be fine.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as E;
    matches!(error.kind(), E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused | E::Interrupted)
}
