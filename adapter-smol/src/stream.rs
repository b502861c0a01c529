//! smol's sockets, as the shared loops want them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Poll};

use keepbeat_adapter::link::BoxFuture;
use keepbeat_adapter::socket::SocketOptions;
use keepbeat_adapter::{pump, socket};
use smol::Async;

/// One connection.
pub(crate) struct Stream {
    socket: Async<TcpStream>,
    /// The last read took all there was, so that asking the operating system again is for nothing.
    drained: bool,
}

impl Stream {
    const fn new(socket: Async<TcpStream>) -> Self {
        Self { socket, drained: false }
    }
}

impl keepbeat_adapter::Stream for Stream {
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        // Should there be more by now, or an end, the registration tells: it looks at the socket's state.
        if !std::mem::take(&mut self.drained) {
            match self.socket.get_ref().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => {
                    self.drained = matches!(result, Ok(count) if 0 < count && count < buffer.len());
                    return result;
                }
            }
        }
        Err(watch(cx, |cx| self.socket.poll_readable(cx)))
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.get_ref().write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(watch(cx, |cx| self.socket.poll_writable(cx))),
            result => result,
        }
    }

    fn apply(&self, options: &SocketOptions) {
        options.apply(self.socket.get_ref());
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        pump::read_now(self.socket.get_ref(), buffer)
    }
}

/// Accepts a connection that waits.
pub(crate) fn accept(cx: &mut Context<'_>, listener: &Async<TcpListener>) -> io::Result<(Stream, SocketAddr)> {
    match listener.get_ref().accept() {
        Ok((stream, address)) => Ok((Stream::new(Async::new(stream)?), address)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(watch(cx, |cx| listener.poll_readable(cx))),
        Err(error) => Err(error),
    }
}

/// Has `cx` woken when the socket is ready. It need not be tried again before: a registration looks at its state, so
/// that nothing which came since it was tried is missed.
fn watch(cx: &mut Context<'_>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>) -> io::Error {
    // Ready may tell of what woke this turn, and registers nothing; after that, the second one does.
    for _ in 0..2 {
        match poll(cx) {
            Poll::Pending => return ErrorKind::WouldBlock.into(),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return error,
        }
    }
    cx.waker().wake_by_ref();
    ErrorKind::WouldBlock.into()
}

/// Opens a connection to one address.
pub(crate) fn open(address: SocketAddr) -> BoxFuture<io::Result<Stream>> {
    Box::pin(async move {
        let socket = Async::<TcpStream>::connect(address).await?;
        socket::check_not_self_connected(socket.get_ref())?;
        Ok(Stream::new(socket))
    })
}

/// Looks a host and port up.
pub(crate) fn resolve(address: String) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
    Box::pin(smol::net::resolve(address))
}

/// Runs a driver in the background.
pub(crate) fn spawn(driver: BoxFuture<()>) {
    smol::spawn(driver).detach();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
mod tests {
    use std::future::{Future, poll_fn};
    use std::time::Duration;

    use keepbeat_adapter::Stream as _;

    use super::*;

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_nodelay(true).unwrap();
        (Stream::new(Async::new(listener.accept().unwrap().0).unwrap()), far)
    }

    fn within<T>(future: impl Future<Output = T>) -> T {
        // The guard first, whose wake is not to be taken for the socket's.
        let guard = async {
            smol::Timer::after(Duration::from_secs(10)).await;
            panic!("nobody was woken")
        };
        smol::block_on(smol::future::or(guard, future))
    }

    /// Reads as a turn does, until there is nothing now.
    fn turn(stream: &mut Stream, cx: &mut Context<'_>) -> (usize, bool) {
        let (mut count, mut buffer) = (0, [0; 100]);
        loop {
            match stream.read(cx, &mut buffer) {
                Ok(0) => return (count, true),
                Ok(more) => count += more,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return (count, false);
                }
            }
        }
    }

    #[test]
    fn an_end_right_behind_the_last_bytes_is_not_missed() {
        let (mut near, mut far) = pair();
        far.write_all(b"the last").unwrap();
        drop(far);
        let (mut got, mut turns) = (0, 0);
        within(poll_fn(|cx| {
            let (count, ended) = turn(&mut near, cx);
            (got, turns) = (got + count, turns + 1);
            if ended { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert_eq!(got, 8);
        assert!(turns <= 2, "{turns} turns");
    }

    #[test]
    fn every_arrival_gives_one_turn_and_none_is_missed() {
        const ROUNDS: usize = 5000;
        let (mut near, mut far) = pair();
        let echo = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                far.write_all(b"x").unwrap();
                far.read_exact(&mut [0]).unwrap();
            }
        });
        let (mut got, mut turns) = (0, 0);
        within(poll_fn(|cx| {
            let (count, ended) = turn(&mut near, cx);
            (got, turns) = (got + count, turns + 1);
            for _ in 0..count {
                assert_eq!(near.write(cx, b"y").unwrap(), 1);
            }
            if ended { Poll::Ready(()) } else { Poll::Pending }
        }));
        echo.join().unwrap();
        assert_eq!(got, ROUNDS);
        assert!(turns <= ROUNDS + ROUNDS / 10, "{turns} turns for {ROUNDS} arrivals");
    }

    #[test]
    fn a_full_socket_takes_more_once_the_peer_has_read() {
        const ALL: usize = 20_000_000;
        let (mut near, mut far) = pair();
        let (mut sent, mut turns) = (0, 0_usize);
        let chunk = vec![7; 64 << 10];
        // Nothing is read before the socket is full.
        let (full, is_full) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            is_full.recv().unwrap();
            let mut buffer = vec![0; 64 << 10];
            let mut got = 0;
            while got < ALL {
                got += far.read(&mut buffer).unwrap();
            }
            got
        });
        within(poll_fn(|cx| {
            turns += 1;
            while sent < ALL {
                match near.write(cx, &chunk[..chunk.len().min(ALL - sent)]) {
                    Ok(count) => sent += count,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        full.send(()).unwrap();
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(())
        }));
        assert_eq!(reader.join().unwrap(), ALL);
        assert!(turns > 1 && turns < ALL / 1000, "{turns} turns");
    }
}
