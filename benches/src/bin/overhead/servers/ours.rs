//! keepbeat, as its documentation says to use it.

use std::error::Error;
use std::time::Duration;

use keepbeat_mio::core::wire::AnyConfig;
use keepbeat_mio::core::wire::websocket::WebSocketConfig;
use keepbeat_mio::{EventLoop, LivenessConfig, ServerConfig};

use super::Server;
use crate::load::Protocol;

pub(super) fn mio(server: Server, interval: Duration, links: u32) -> Result<(), Box<dyn Error>> {
    let mut event_loop = EventLoop::new()?;
    let listener = event_loop.driver().listen(super::anywhere(), config(server, interval, links)?)?;
    let address = event_loop.driver().listener(listener).and_then(|listener| listener.local_addr());
    println!("{}", address.ok_or("the listener is gone")?);
    loop {
        event_loop.turn(None)?;
        while event_loop.driver().next_event().is_some() {}
    }
}

pub(super) fn tokio(server: Server, interval: Duration, links: u32) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = keepbeat_tokio::Listener::bind(super::anywhere(), config(server, interval, links)?).await?;
        println!("{}", listener.local_addr());
        while listener.next_event().await.is_some() {}
        Ok(())
    })
}

/// On one thread, like the others.
pub(super) fn smol(server: Server, interval: Duration, links: u32) -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let (listener, driver) =
            keepbeat_smol::Listener::builder(config(server, interval, links)?).build(super::anywhere()).await?;
        println!("{}", listener.local_addr());
        smol::future::or(driver, async { while listener.next_event().await.is_some() {} }).await;
        Ok(())
    })
}

/// The limits let all links in, even if they are more than the default allows. Foreign clients, which say no wish, are beaten at
/// as often as the others beat.
fn config(server: Server, interval: Duration, links: u32) -> Result<ServerConfig, Box<dyn Error>> {
    let links = links as usize;
    let wire = match server.protocol() {
        Protocol::NativeOverWebSocket | Protocol::WebSocket => {
            WebSocketConfig::builder().idle_limit(None).build()?.into()
        }
        Protocol::Native => AnyConfig::default(),
    };
    let liveness = LivenessConfig::builder().interval(interval).reply_timeout(interval).build()?;
    let limits = ServerConfig::builder().max_connections(links).max_connections_per_address(links).max_sessions(links);
    Ok(limits.wire(wire).liveness(liveness).intervals(interval, interval).build()?)
}
