//! tokio-tungstenite with a ping task written by hand, as its users do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{accept_async_with_config, client_async_with_config};

use super::{Clients, run_until};

/// Bytes of a read buffer that is not the default one.
pub(super) const SMALL: usize = 4096;

/// A server that hears nothing for so long gives a client up.
const SILENCE: Duration = Duration::from_secs(50);

fn config(read_buffer: Option<usize>) -> Option<WebSocketConfig> {
    read_buffer.map(|size| WebSocketConfig::default().read_buffer_size(size))
}

pub(super) fn serve(address: &Sender<SocketAddr>, read_buffer: Option<usize>) -> ! {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, read_buffer));
        }
    })
}

/// Reads, which also answers pings, until the client is gone or silent.
async fn answer(stream: TcpStream, read_buffer: Option<usize>) {
    stream.set_nodelay(true).unwrap();
    let mut socket = accept_async_with_config(stream, config(read_buffer)).await.unwrap();
    while let Ok(Some(Ok(_))) = timeout(SILENCE, socket.next()).await {}
}

pub(super) struct WebSockets {
    runtime: Runtime,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    up: AtomicUsize,
    answered: AtomicU64,
}

impl WebSockets {
    pub(super) fn open(server: SocketAddr, links: usize, interval: Duration, read_buffer: Option<usize>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let counts = Arc::new(Counts::default());
        for link in 0..links {
            // Spread over the interval.
            let first = interval.mul_f64((link + 1) as f64 / links as f64);
            runtime.spawn(ping(server, interval, first, read_buffer, counts.clone()));
        }
        let mut clients = Self { runtime, counts };
        run_until(&mut clients, "all are up", |clients| clients.counts.up.load(Ordering::Relaxed) == links);
        clients
    }
}

impl Clients for WebSockets {
    fn run_for(&mut self, span: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    fn answered(&mut self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }
}

/// Pings at every interval. A pong has to come within an interval.
async fn ping(
    server: SocketAddr,
    interval: Duration,
    first: Duration,
    read_buffer: Option<usize>,
    counts: Arc<Counts>,
) {
    let stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connected = client_async_with_config("ws://localhost/", stream, config(read_buffer)).await;
    let (mut socket, _) = connected.unwrap();
    counts.up.fetch_add(1, Ordering::Relaxed);
    let mut beats = interval_at(Instant::now() + first, interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let late = sleep_until(Instant::now() + first + interval);
    tokio::pin!(late);
    loop {
        tokio::select! {
            _ = beats.tick() => {
                socket.send(Message::Ping("beat".into())).await.unwrap();
                late.as_mut().reset(Instant::now() + interval);
            }
            message = socket.next() => {
                if let Message::Pong(_) = message.unwrap().unwrap() {
                    counts.answered.fetch_add(1, Ordering::Relaxed);
                    late.as_mut().reset(Instant::now() + 2 * interval);
                }
            }
            () = &mut late => panic!("no pong within {interval:?}"),
        }
    }
}
