//! tokio's sockets, as the shared loops want them.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll};

use keepbeat_adapter::link::BoxFuture;
use keepbeat_adapter::socket::SocketOptions;
use keepbeat_adapter::{pump, socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_blocking};

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

    fn apply(&self, options: &SocketOptions) {
        options.apply(&self.0);
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        pump::read_now(&self.0, buffer)
    }
}

/// Accepts a connection that waits.
pub(crate) fn accept(cx: &mut Context<'_>, listener: &TcpListener) -> io::Result<(Stream, SocketAddr)> {
    match listener.poll_accept(cx) {
        Poll::Ready(accepted) => accepted.map(|(stream, address)| (Stream(stream), address)),
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
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
    Box::pin(async move {
        match address.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => unblock(move || Ok(address.to_socket_addrs()?.collect())).await,
        }
    })
}

/// Has `work` done by a thread that may wait. If nobody waits for it any more before it has begun, it is not done: where
/// names take long and links are many, look-ups that were given up would stand before those that are wanted.
async fn unblock<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let mut task = Wanted(spawn_blocking(work));
    (&mut task.0).await?
}

struct Wanted<T>(JoinHandle<T>);

impl<T> Drop for Wanted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a driver in the background.
pub(crate) fn spawn(driver: BoxFuture<()>) {
    drop(tokio::spawn(driver));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may fail loudly")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};

    use futures_lite::future::poll_once;

    use super::*;

    #[test]
    fn a_look_up_that_was_given_up_before_it_began_is_not_done() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (free, blocked) = mpsc::channel();
            let busy = spawn_blocking(move || blocked.recv().unwrap());
            let begun = Arc::new(AtomicBool::new(false));
            let tell = begun.clone();
            let given_up = Box::pin(unblock(move || {
                tell.store(true, Ordering::SeqCst);
                Ok(())
            }));
            assert!(poll_once(given_up).await.is_none());
            free.send(()).unwrap();
            busy.await.unwrap();
            // The only thread comes to this one after it.
            assert_eq!(unblock(|| Ok(7)).await.unwrap(), 7);
            assert!(!begun.load(Ordering::SeqCst));
        });
    }
}
