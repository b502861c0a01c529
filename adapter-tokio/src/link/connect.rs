//! Name look-up, and a race between the addresses of a name.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use keepbeat_core::Failure;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep};

use super::attempt::BoxFuture;
use crate::io::failure;

/// An address that does not answer holds the next one up for so long (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Looks `address` up and connects to the first of its addresses that answers.
pub(super) async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let addresses = lookup_host(address).await.map_err(|_| Failure::NameNotFound)?.collect();
    race(take_turns(addresses), |address| Box::pin(open(address))).await
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Where nobody listens, the operating system may connect a port of this machine with itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Begins with the family that the resolver put first, and alternates (RFC 8305, section 4).
fn take_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut these, mut others): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::new();
    while !these.is_empty() || !others.is_empty() {
        order.extend(these.pop_front());
        order.extend(others.pop_front());
    }
    order
}

/// Opens one address after the other, each with a head start before the next, until one succeeds.
async fn race<T>(
    mut addresses: VecDeque<SocketAddr>,
    open: impl Fn(SocketAddr) -> BoxFuture<io::Result<T>>,
) -> Result<T, Failure> {
    let mut running: Vec<BoxFuture<io::Result<T>>> = Vec::new();
    let mut last = Failure::NameNotFound;
    let mut head_start = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let mut index = 0;
            while let Some(attempt) = running.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        last = failure(&error);
                        drop(running.remove(index));
                        head_start.as_mut().reset(Instant::now());
                    }
                    Poll::Pending => index += 1,
                }
            }
            if addresses.is_empty() {
                return if running.is_empty() { Poll::Ready(Err(last)) } else { Poll::Pending };
            }
            if !running.is_empty() && head_start.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            head_start.as_mut().reset(Instant::now() + HEAD_START);
            running.extend(addresses.pop_front().map(&open));
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &[&str]) -> VecDeque<SocketAddr> {
        text.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let order = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(take_turns(found.into()), order);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_delays_the_next_by_its_head_start_only() {
        let begin = Instant::now();
        let winner = race(addresses(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]), |address| {
            Box::pin(async move {
                if address.ip().to_string() == "3.3.3.3" { Ok(address) } else { std::future::pending().await }
            })
        });
        assert_eq!(winner.await.unwrap().ip().to_string(), "3.3.3.3");
        assert_eq!(begin.elapsed(), 2 * HEAD_START);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_passes_the_turn_on_at_once_and_the_last_one_is_told() {
        let begin = Instant::now();
        let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused];
        let loser = race::<()>(addresses(&["1.1.1.1:0", "2.2.2.2:1"]), |address| {
            Box::pin(async move { Err(kinds[usize::from(address.port())].into()) })
        });
        assert_eq!(loser.await, Err(Failure::Refused));
        assert!(begin.elapsed() < HEAD_START);
        assert_eq!(race::<()>(VecDeque::new(), |_| unreachable!()).await, Err(Failure::NameNotFound));
    }
}
