//! Sockets: their options, how they fail, and how to listen.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::Failure;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// After a restart all devices come back at once; the operating system cuts this to its own limit.
const BACKLOG: i32 = 4096;

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
            not_sent_low_water: Some(64 << 10),
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
    /// elsewhere without effect). Default: 64 KiB. A beat waits behind no more than that, however large the messages.
    pub const fn not_sent_low_water(mut self, bytes: Option<u32>) -> Self {
        self.not_sent_low_water = bytes;
        self
    }

    /// Sets them. A socket that does not know an option works without it.
    pub fn apply<'s>(&self, stream: impl Into<SockRef<'s>>) {
        let socket = stream.into();
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

/// The core's word for an error of the operating system.
#[must_use]
pub fn failure(error: &io::Error) -> Failure {
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

/// Whether an error of `accept` is of the connection that was to be accepted, so that the next one may be fine.
#[must_use]
pub fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused | E::Interrupted)
}

/// Where nobody listens, the operating system may connect a port of this machine with itself. That is a refusal.
///
/// # Errors
/// [`io::ErrorKind::ConnectionRefused`] then; or that of asking.
pub fn check_not_self_connected<'s>(stream: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket = stream.into();
    if socket.local_addr()?.as_socket() == socket.peer_addr()?.as_socket() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// Every port of a server's configuration is bound to one address.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if there are more or fewer addresses than ports.
pub fn check_count(addresses: usize, ports: usize) -> io::Result<()> {
    if addresses == ports {
        return Ok(());
    }
    let problem = format!(
        "the configuration has {ports} ports and {addresses} addresses to bind them to; give bind_each() one for each port"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Listens on the first of `addresses` that can be had. The listener does not block.
///
/// # Errors
/// That of the last address, if none can be had.
pub fn listen(addresses: &[SocketAddr]) -> io::Result<std::net::TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address to listen on");
    for address in addresses {
        match listen_on(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may fail loudly")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn socket_options_reach_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        SocketOptions::new().apply(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(180)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 64 << 10);

        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let options = SocketOptions::new().no_delay(false).keep_alive(None).user_timeout(None).not_sent_low_water(None);
        options.apply(&stream);
        let socket = SockRef::from(&stream);
        assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[test]
    fn the_first_address_that_can_be_had_is_listened_on() {
        let taken = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap().local_addr().unwrap();
        let held = listen(&[taken]).unwrap();
        let other = listen(&[taken, "127.0.0.1:0".parse().unwrap()]).unwrap();
        assert_ne!(other.local_addr().unwrap(), held.local_addr().unwrap());
        assert_eq!(listen(&[taken]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listen(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
