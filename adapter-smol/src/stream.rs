//! smol's sockets, as the shared loops want them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Poll};

use keepbeat_adapter::link::BoxFuture;
use keepbeat_adapter::{pump, socket};
use smol::Async;
use socket2::SockRef;

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

    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        pump::read_now(self.socket.get_ref(), buffer)
    }
}

impl<'s> From<&'s Stream> for SockRef<'s> {
    fn from(stream: &'s Stream) -> Self {
        SockRef::from(stream.socket.get_ref())
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
