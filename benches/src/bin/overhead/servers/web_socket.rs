//! What people write on tokio-tungstenite: a task for each connection, which pings at its own interval.

use std::error::Error;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Bytes, Message};

pub(super) fn run(interval: Duration) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(super::anywhere()).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, interval));
        }
    })
}

async fn serve(stream: TcpStream, every: Duration) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let (mut ticker, mut last_seen) = (interval(every), Instant::now());
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(_)) => last_seen = Instant::now(),
                _ => return,
            },
            _ = ticker.tick() => {
                if last_seen.elapsed() > super::patience(every) || socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
            }
        }
    }
}
