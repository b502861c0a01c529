//! What the tests share: quick configurations, waits with a limit, and a relay that misbehaves.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keepbeat_tokio::core::client::ClientConfigBuilder;
use keepbeat_tokio::core::liveness::LivenessConfig;
use keepbeat_tokio::core::reconnect::ReconnectConfig;
use keepbeat_tokio::core::server::ServerConfigBuilder;
use keepbeat_tokio::{ClientConfig, DeviceId, Event, Link, Listener, ServerConfig, ServerEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Longer than anything here takes, and shorter than the alarm's cap of 15 s: no test may need the cap.
pub const GUARD: Duration = Duration::from_secs(14);

pub fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Tries again soon, so that no test waits long.
pub fn client(name: &str) -> ClientConfigBuilder {
    let reconnect =
        ReconnectConfig::data_center().to_builder().base(millis(20)).first_spread(millis(20)).cap(millis(100));
    ClientConfig::builder(device(name)).reconnect(reconnect.build().unwrap())
}

pub fn server() -> ServerConfigBuilder {
    ServerConfig::builder().intervals(millis(20), Duration::from_secs(600))
}

pub fn beats(interval: u64, reply_timeout: u64) -> LivenessConfig {
    LivenessConfig::builder().interval(millis(interval)).reply_timeout(millis(reply_timeout)).build().unwrap()
}

pub async fn listen(config: ServerConfigBuilder) -> Listener {
    Listener::bind("127.0.0.1:0", config.build().unwrap()).await.unwrap()
}

pub fn link(listener: &Listener, config: ClientConfigBuilder) -> Link {
    Link::open(listener.local_addr().to_string(), config.build().unwrap())
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(GUARD, future).await.expect("it takes too long")
}

/// The first event of the link for which `pick` gives something.
pub async fn until<T>(link: &Link, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    within(async {
        loop {
            let event = link.next_event().await.expect("the link is over");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    })
    .await
}

/// The first event of the listener for which `pick` gives something.
pub async fn server_until<T>(listener: &Listener, mut pick: impl FnMut(ServerEvent) -> Option<T>) -> T {
    within(async {
        loop {
            let event = listener.next_event().await.expect("the listener is over");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    })
    .await
}

pub async fn up(link: &Link) {
    until(link, |event| matches!(event, Event::Up { .. }).then_some(())).await;
}

pub fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().unwrap())
}

/// The next message of the link, as a number.
pub async fn message(link: &Link) -> u32 {
    until(link, |event| if let Event::Message(payload) = event { Some(number(&payload)) } else { None }).await
}

/// The next message of any device, as a number.
pub async fn server_message(listener: &Listener) -> u32 {
    server_until(listener, |event| match event {
        ServerEvent::Message { payload, .. } => Some(number(&payload)),
        _ => None,
    })
    .await
}

/// A relay between a link and its listener that can turn into a black hole, and can be slow.
pub struct Relay {
    pub address: SocketAddr,
    control: Arc<Control>,
    _tasks: JoinSet<()>,
}

struct Control {
    black_hole: AtomicBool,
    /// Bytes per second in each direction; 0 for as fast as it goes.
    rate: AtomicU64,
}

impl Relay {
    pub async fn to(upstream: SocketAddr, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let control = Arc::new(Control { black_hole: AtomicBool::new(false), rate: AtomicU64::new(rate) });
        let shared = control.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let socket = TcpSocket::new_v4().unwrap();
                socket.set_recv_buffer_size(64 << 10).unwrap();
                let Ok(far) = socket.connect(upstream).await else { continue };
                pumps.spawn(relay(near, far, shared.clone()));
            }
        });
        Self { address, control, _tasks: tasks }
    }

    /// From now on everything vanishes, and no connection ends.
    pub fn swallow_everything(&self) {
        self.control.black_hole.store(true, Ordering::SeqCst);
    }
}

async fn relay(mut near: TcpStream, mut far: TcpStream, control: Arc<Control>) {
    let (near_in, near_out) = near.split();
    let (far_in, far_out) = far.split();
    tokio::join!(pump(near_in, far_out, &control), pump(far_in, near_out, &control));
}

async fn pump(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, control: &Control) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if control.black_hole.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        let rate = control.rate.load(Ordering::SeqCst);
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
        }
    }
    // The other direction may still have something to say.
    drop(to.shutdown().await);
}
