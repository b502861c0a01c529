//! tokio's sockets, as the shared loops want them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use keepbeat_adapter::link::BoxFuture;
use keepbeat_adapter::{pump, socket};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Stream(pub(crate) TcpStream);

impl keepbeat_adapter::Stream for Stream {
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut self.0).poll_read(cx, &mut buffer) {
            Poll::Ready(result) => result.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut self.0).poll_write(cx, bytes) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        pump::read_now(&self.0, buffer)
    }
}

impl<'s> From<&'s Stream> for SockRef<'s> {
    fn from(stream: &'s Stream) -> Self {
        SockRef::from(&stream.0)
    }
}

/// Opens a connection to one address.
pub(crate) fn open(address: SocketAddr) -> BoxFuture<io::Result<Stream>> {
    Box::pin(async move {
        let stream = TcpStream::connect(address).await?;
        socket::check_not_self_connected(&stream)?;
        Ok(Stream(stream))
    })
}

/// Looks a host and port up.
pub(crate) fn resolve(address: String) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host(address).await?.collect()) })
}

/// Runs a driver in the background.
pub(crate) fn spawn(driver: BoxFuture<()>) {
    drop(tokio::spawn(driver));
}
