//! What the tests share: quick configurations, waits with a limit, and a relay that misbehaves.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

mod addresses;

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_lite::future;
use socket2::{Domain, SockRef, Socket, Type};

use crate::runtime::adapter::core::DownCause;
use crate::runtime::adapter::core::client::ClientConfigBuilder;
use crate::runtime::adapter::core::liveness::LivenessConfig;
use crate::runtime::adapter::core::reconnect::ReconnectConfig;
use crate::runtime::adapter::core::server::ServerConfigBuilder;
use crate::runtime::adapter::{ClientConfig, DeviceId, Event, Link, Listener, ServerConfig, ServerEvent};
use crate::runtime::sleep;

pub use addresses::address_of_ours;

/// Longer than anything here takes, and shorter than the 15 s in which a suspend is noticed: no test may need that.
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

/// Where nobody listens.
pub fn address_of_nobody() -> SocketAddr {
    TcpListener::bind(address_of_ours()).unwrap().local_addr().unwrap()
}

pub fn link(listener: &Listener, config: ClientConfigBuilder) -> Link {
    Link::open(listener.local_addr().to_string(), config.build().unwrap())
}

pub async fn within<F: Future>(future: F) -> F::Output {
    within_limit(GUARD, future).await
}

pub async fn within_limit<F: Future>(limit: Duration, future: F) -> F::Output {
    future::or(future, async {
        sleep(limit).await;
        panic!("it takes too long")
    })
    .await
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

pub fn number(message: &[u8]) -> u32 {
    u32::from_be_bytes(message.try_into().unwrap())
}

/// The next message of the link, as a number.
pub async fn message(link: &Link) -> u32 {
    until(link, |event| if let Event::Message(message) = event { Some(number(&message)) } else { None }).await
}

/// The next message of any device, as a number.
pub async fn server_message(listener: &Listener) -> u32 {
    server_until(listener, |event| match event {
        ServerEvent::Message { message, .. } => Some(number(&message)),
        _ => None,
    })
    .await
}

/// The first `Offline` of the listener, and why.
pub async fn offline(listener: &Listener) -> DownCause {
    server_until(listener, |event| match event {
        ServerEvent::Offline { report, .. } => Some(report.cause),
        _ => None,
    })
    .await
}

/// A relay takes no more than so many bytes ahead, so that what is written moves on steadily.
const BUFFER: usize = 64 << 10;

/// A relay between a link and its listener that can turn into a black hole, and can be slow. It has threads of its own,
/// so that it needs no runtime and holds none up.
pub struct Relay {
    pub address: SocketAddr,
    control: Arc<Control>,
}

struct Control {
    /// Bytes per second in each direction; 0 for as fast as it goes.
    rate: u64,
    black_hole: AtomicBool,
    over: AtomicBool,
    /// Open for as long as the relay is there, whatever became of their threads.
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub fn to(upstream: SocketAddr, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // What it accepts inherits this.
        SockRef::from(&listener).set_recv_buffer_size(BUFFER).unwrap();
        let address = listener.local_addr().unwrap();
        let control = Arc::new(Control {
            rate,
            black_hole: AtomicBool::new(false),
            over: AtomicBool::new(false),
            sockets: Mutex::default(),
        });
        let shared = control.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(far) = connect(upstream) {
                    relay(&near, &far, &shared);
                    shared.sockets.lock().unwrap().extend([near, far]);
                }
            }
        });
        Self { address, control }
    }

    /// From now on everything vanishes, and no connection ends.
    pub fn swallow_everything(&self) {
        self.control.black_hole.store(true, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.control.over.store(true, Ordering::SeqCst);
        // So that the threads see it.
        drop(TcpStream::connect(self.address));
        for socket in self.control.sockets.lock().unwrap().drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn relay(near: &TcpStream, far: &TcpStream, control: &Arc<Control>) {
    for (from, to) in [(near, far), (far, near)] {
        let (from, to, control) = (from.try_clone().unwrap(), to.try_clone().unwrap(), control.clone());
        thread::spawn(move || pump(from, to, &control));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, control: &Control) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if control.black_hole.load(Ordering::SeqCst) {
            return;
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if control.rate > 0 {
            #[expect(clippy::disallowed_methods, reason = "it makes the path slow; nothing is waited for")]
            thread::sleep(Duration::from_secs_f64(count as f64 / control.rate as f64));
        }
    }
    // The other direction may still have something to say.
    drop(to.shutdown(Shutdown::Write));
}
