//! What people write on smol: a task for each connection, which waits for bytes and for its own timer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;
use smol::{LocalExecutor, Timer};

use crate::native;

pub(super) fn run(interval: Duration) -> Result<(), Box<dyn Error>> {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = TcpListener::bind(super::anywhere()).await?;
        println!("{}", listener.local_addr()?);
        let welcome: Arc<[u8]> = native::welcome(interval).into();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            executor.spawn(serve(stream, welcome.clone(), interval)).detach();
        }
    }))
}

async fn serve(mut stream: TcpStream, welcome: Arc<[u8]>, every: Duration) {
    let (mut buffer, mut have) = (vec![0; 1024], 0);
    let mut answer = Vec::new();
    let (mut ticker, mut last_seen) = (Timer::interval(every), Clock::now());
    loop {
        let read = async { Some(stream.read(&mut buffer[have..]).await) };
        let tick = async {
            ticker.next().await;
            None
        };
        match or(read, tick).await {
            Some(Ok(count)) if count > 0 => {
                have += count;
                last_seen = Clock::now();
                let Some(used) = native::answer(&buffer[..have], &welcome, &mut answer) else { return };
                buffer.copy_within(used..have, 0);
                have -= used;
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
                answer.clear();
            }
            Some(_) => return,
            None if Clock::now().since(last_seen) > super::patience(every) => return,
            None => {}
        }
    }
}
