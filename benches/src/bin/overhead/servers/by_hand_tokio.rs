//! What people write on tokio: a task for each connection, which waits for bytes and for its own interval.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval};

use crate::native;

pub(super) fn run(interval: Duration) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(super::anywhere()).await?;
        println!("{}", listener.local_addr()?);
        let welcome: Arc<[u8]> = native::welcome(interval).into();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, welcome.clone(), interval));
        }
    })
}

async fn serve(mut stream: TcpStream, welcome: Arc<[u8]>, every: Duration) {
    let (mut buffer, mut have) = (vec![0; 1024], 0);
    let mut answer = Vec::new();
    let (mut ticker, mut last_seen) = (interval(every), Instant::now());
    loop {
        tokio::select! {
            read = stream.read(&mut buffer[have..]) => {
                match read {
                    Ok(count) if count > 0 => have += count,
                    _ => return,
                }
                last_seen = Instant::now();
                let Some(used) = native::answer(&buffer[..have], &welcome, &mut answer) else { return };
                buffer.copy_within(used..have, 0);
                have -= used;
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
                answer.clear();
            }
            _ = ticker.tick() => {
                if last_seen.elapsed() > super::patience(every) {
                    return;
                }
            }
        }
    }
}
