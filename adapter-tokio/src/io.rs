//! What both drivers do with a socket.

use std::cell::RefCell;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keepbeat_core::Failure;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One read takes at most so many bytes.
const READ_SIZE: usize = 64 << 10;

/// One connection is read so often in a turn before others get theirs.
pub(crate) const READS_PER_TURN: usize = 16;

/// One connection is written so often in a turn before others get theirs.
pub(crate) const WRITES_PER_TURN: usize = 64;

thread_local! {
    /// Shared by all connections of a thread, so that an idle one holds no buffer.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a read gave.
pub(crate) enum Got {
    /// So many bytes went to the receiver. `drained` if no more waited.
    Bytes { count: usize, drained: bool },
    /// Nothing now. The task wakes when there is.
    Nothing,
    /// Nothing ever again.
    Ended(Failure),
}

/// Reads what the runtime knows to be there.
pub(crate) fn poll_read(stream: &mut TcpStream, cx: &mut Context<'_>, receiver: impl FnOnce(&[u8])) -> Got {
    with_scratch(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Got::Nothing,
            Poll::Ready(Ok(())) => got(buffer.filled(), receiver),
            Poll::Ready(Err(error)) => Got::Ended(failure(&error)),
        }
    })
}

/// Reads what the operating system has, whatever the runtime knows.
pub(crate) fn read_now(stream: &TcpStream, receiver: impl FnOnce(&[u8])) -> Got {
    with_scratch(|scratch| match (&*SockRef::from(stream)).read(scratch) {
        Ok(count) => got(&scratch[..count], receiver),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Nothing,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Got::Bytes { count: 0, drained: false },
        Err(error) => Got::Ended(failure(&error)),
    })
}

/// Writes what the operating system takes; `None` if nothing now, and the task wakes when it does.
pub(crate) fn poll_write(stream: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Option<Result<usize, Failure>> {
    match Pin::new(stream).poll_write(cx, bytes) {
        Poll::Pending => None,
        Poll::Ready(result) => Some(result.map_err(|error| failure(&error))),
    }
}

fn got(bytes: &[u8], receiver: impl FnOnce(&[u8])) -> Got {
    if bytes.is_empty() {
        return Got::Ended(Failure::Eof);
    }
    receiver(bytes);
    Got::Bytes { count: bytes.len(), drained: bytes.len() < READ_SIZE }
}

fn with_scratch<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(READ_SIZE, 0);
        read(scratch)
    })
}

/// The core's word for an error of the operating system.
pub(crate) fn failure(error: &io::Error) -> Failure {
    use io::ErrorKind as E;
    match error.kind() {
        E::UnexpectedEof => Failure::Eof,
        E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::NotConnected => Failure::Reset,
        E::ConnectionRefused => Failure::Refused,
        E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown | E::AddrNotAvailable => Failure::Unreachable,
        E::TimedOut => Failure::TimedOut,
        E::PermissionDenied => Failure::Denied,
        _ => Failure::Other,
    }
}

/// Bytes and wakes, counted by the driver since the link or listener was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// How often the driver's task had a turn.
    pub wakes: u64,
    /// Turns in which there was nothing to do. A few are normal: the alarm is capped at 15 s.
    pub empty_turns: u64,
}

/// Options of the sockets that carry a link. The defaults suit most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct SocketOptions {
    no_delay: bool,
    keep_alive: Option<Duration>,
    user_timeout: Option<Duration>,
    not_sent_low_water: Option<u32>,
}

impl SocketOptions {
    /// Starts from the defaults.
    pub const fn new() -> Self {
        Self {
            no_delay: true,
            keep_alive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(180)),
            not_sent_low_water: Some(128 << 10),
        }
    }

    /// Whether small writes leave at once (`TCP_NODELAY`). Default: yes. Without it, a beat may wait for the peer's
    /// acknowledgement of what left before it.
    pub const fn no_delay(mut self, on: bool) -> Self {
        self.no_delay = on;
        self
    }

    /// After how much silence the operating system probes the peer by itself (`SO_KEEPALIVE`); whole seconds. Default:
    /// 60 s. No verdict depends on it: it cleans up what our own beats cannot, when our process is stopped.
    pub const fn keep_alive(mut self, idle: Option<Duration>) -> Self {
        self.keep_alive = idle;
        self
    }

    /// How long bytes of ours may stay without the peer's acknowledgement before the operating system ends the connection
    /// (`TCP_USER_TIMEOUT`; on Linux and Android, elsewhere without effect); whole milliseconds. Default: 3 minutes, longer
    /// than the core takes for its verdict in any preset, so that the core speaks first.
    pub const fn user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.user_timeout = timeout;
        self
    }

    /// How many bytes the operating system takes ahead of what it can send (`TCP_NOTSENT_LOWAT`; on Linux and Android,
    /// elsewhere without effect). Default: 128 KiB. A beat waits behind no more than that, however large the messages.
    pub const fn not_sent_low_water(mut self, bytes: Option<u32>) -> Self {
        self.not_sent_low_water = bytes;
        self
    }

    /// A socket that does not know an option works without it.
    pub(crate) fn apply(&self, stream: &TcpStream) {
        let socket = SockRef::from(stream);
        let mut refused = socket.set_tcp_nodelay(self.no_delay).is_err();
        if let Some(idle) = self.keep_alive {
            let idle = idle.max(Duration::from_secs(1));
            refused |= socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle)).is_err();
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            refused |= socket.set_tcp_user_timeout(self.user_timeout).is_err();
            if let Some(bytes) = self.not_sent_low_water {
                refused |= socket.set_tcp_notsent_lowat(bytes).is_err();
            }
        }
        // A connection that is over already says so at the first read.
        let _ = refused;
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A number that differs from process to process and from call to call.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn socket_options_reach_the_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        SocketOptions::new().apply(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(180)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 << 10);

        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let options = SocketOptions::new().no_delay(false).keep_alive(None).user_timeout(None).not_sent_low_water(None);
        options.apply(&stream);
        let socket = SockRef::from(&stream);
        assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}
