//! What an established idle link holds of the heap, core and adapter and runtime together, on each side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;
use std::time::Duration;

use keepbeat_adapter::clock::Clock;
use keepbeat_conformance::Way;
use keepbeat_core::client::{ClientConfig, Event};
use keepbeat_core::server::{ServerConfig, ServerEvent};
use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::websocket::WebSocketConfig;
use keepbeat_core::wire::{Credentials, DeviceId, Frame, Hello, Token, Tx, Welcome, Wire};
use keepbeat_mio::{DriverEvent, EventLoop, LinkBuilder};
use smol::future::poll_once;

/// Twice as many nearly fill the tables that double, with room for a listening socket, so that none is half empty.
const LINKS: usize = 250;

/// Nothing takes longer, however busy the machine.
const GUARD: Duration = Duration::from_secs(60);

static HELD: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
#[expect(unsafe_code, reason = "a counting allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The bytes of the heap that one more link holds, of `LINKS` after `LINKS` others: what is there only once is not counted.
fn per_link(before: isize) -> isize {
    (held() - before) / LINKS as isize
}

fn held() -> isize {
    HELD.load(Ordering::Relaxed)
}

fn device(number: usize) -> DeviceId {
    DeviceId::new(&format!("device-{number:05}")).unwrap()
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut tx = Tx::default();
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    let mut bytes = Vec::new();
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}

/// A server for devices that speak this.
fn server(way: Way) -> ServerConfig {
    let config = ServerConfig::builder();
    let config = match way {
        Way::Tcp => config,
        Way::WebSocket | Way::Foreign => config.wire(WebSocketConfig::builder().build().unwrap()),
        Way::Mqtt | Way::MqttWebSocket => panic!("servers do not speak MQTT"),
    };
    config.build().unwrap()
}

/// All that a device says until it is in.
fn greeting(way: Way, hello: Hello) -> Vec<u8> {
    let hello = bytes_of(&Frame::Hello(Box::new(hello)));
    match way {
        Way::Tcp => hello,
        Way::Foreign => [REQUEST, b"\r\n"].concat(),
        // A whole binary message, masked with nothing.
        Way::WebSocket => {
            let front = [0x82, 0x80 | u8::try_from(hello.len()).unwrap(), 0, 0, 0, 0];
            [REQUEST, b"Sec-WebSocket-Protocol: keepbeat.1\r\n\r\n", &front, &hello].concat()
        }
        Way::Mqtt | Way::MqttWebSocket => panic!("servers do not speak MQTT"),
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// Devices that hold nothing of our heap: sockets that have said their hello.
fn raw_devices(way: Way, address: SocketAddr, numbers: std::ops::Range<usize>) -> Vec<TcpStream> {
    let connect = |number: usize| {
        let hello = Hello {
            version: 1,
            device: device(number),
            instance: 1 + number as u64,
            attempt: 1,
            interval_ms: 600_000,
            reply_timeout_ms: 60_000,
            message_limit: 1 << 20,
            token: None,
            received: 0,
            credentials: Credentials::default(),
        };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&greeting(way, hello)).unwrap();
        stream
    };
    numbers.map(connect).collect()
}

/// A server that holds nothing of our heap: welcomes whoever says hello, and says no more.
fn raw_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let welcome = Welcome {
        version: 1,
        token: Token::new([7; 16]),
        resumed: false,
        interval_ms: 600_000,
        reply_timeout_ms: 60_000,
        message_limit: 1 << 20,
        received: 0,
    };
    let welcome = bytes_of(&Frame::Welcome(Box::new(welcome)));
    thread::spawn(move || {
        let mut open = Vec::with_capacity(4 * LINKS);
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _hello = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(&welcome).unwrap();
            open.push(stream);
        }
    });
    address
}

fn config() -> ClientConfig {
    ClientConfig::builder(device(0)).build().unwrap()
}

fn is_online(event: &ServerEvent) -> bool {
    matches!(event, ServerEvent::Online { .. })
}

async fn all_up(links: &[keepbeat_adapter::Link]) {
    for link in links {
        while !matches!(link.next_event().await.unwrap(), Event::Up { .. }) {}
        // An application that waits for the next event has found that there is none.
        assert_eq!(poll_once(link.next_event()).await, None);
    }
}

async fn all_online(listener: &keepbeat_adapter::Listener) {
    for _ in 0..LINKS {
        assert!(is_online(&listener.next_event().await.unwrap()));
    }
    assert_eq!(poll_once(listener.next_event()).await, None);
}

/// What one more link holds of those that `open` opens.
async fn held_by_clients(open: impl Fn(usize) -> keepbeat_adapter::Link) -> isize {
    let first: Vec<_> = (0..LINKS).map(&open).collect();
    all_up(&first).await;
    let before = held();
    let second: Vec<_> = (LINKS..2 * LINKS).map(&open).collect();
    all_up(&second).await;
    per_link(before)
}

/// What one more device holds at this listener.
async fn held_by_server(way: Way, listener: keepbeat_adapter::Listener) -> isize {
    let first = raw_devices(way, listener.local_addr(), 0..LINKS);
    all_online(&listener).await;
    let before = held();
    let second = raw_devices(way, listener.local_addr(), LINKS..2 * LINKS);
    all_online(&listener).await;
    let bytes = per_link(before);
    drop((first, second));
    bytes
}

async fn client_on_tokio(address: SocketAddr) -> isize {
    let builder = keepbeat_tokio::Link::builder(address.to_string(), config());
    held_by_clients(|number| builder.clone().device(device(number)).open().unwrap().into()).await
}

async fn server_on_tokio(way: Way) -> isize {
    let listener = keepbeat_tokio::Listener::bind("127.0.0.1:0", server(way)).await.unwrap();
    held_by_server(way, listener.into()).await
}

fn on_tokio(future: impl Future<Output = isize>) -> isize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(GUARD, future).await.unwrap() })
}

async fn client_on_smol(executor: &smol::LocalExecutor<'_>, address: SocketAddr) -> isize {
    let builder = keepbeat_smol::Link::builder(address.to_string(), config());
    held_by_clients(|number| {
        let (link, driver) = builder.clone().device(device(number)).build().unwrap();
        executor.spawn(driver).detach();
        link.into()
    })
    .await
}

async fn server_on_smol(way: Way, executor: &smol::LocalExecutor<'_>) -> isize {
    let (listener, driver) = keepbeat_smol::Listener::builder(server(way)).build("127.0.0.1:0").await.unwrap();
    executor.spawn(driver).detach();
    held_by_server(way, listener.into()).await
}

fn on_smol(future: impl AsyncFnOnce(&smol::LocalExecutor<'_>) -> isize) -> isize {
    let executor = smol::LocalExecutor::new();
    let guard = async {
        smol::Timer::after(GUARD).await;
        panic!("not within {GUARD:?}")
    };
    smol::block_on(executor.run(smol::future::or(future(&executor), guard)))
}

/// Turns until as many events have come as there are links.
fn mio_until(event_loop: &mut EventLoop, is_it: impl Fn(&DriverEvent) -> bool) {
    let (mut came, end) = (0, Clock::now().after(GUARD));
    while came < LINKS {
        assert!(Clock::now() < end, "{came} of {LINKS} within {GUARD:?}");
        event_loop.turn(Some(Duration::from_secs(1))).unwrap();
        while let Some(event) = event_loop.driver().next_event() {
            came += usize::from(is_it(&event));
        }
    }
}

fn client_on_mio(address: SocketAddr) -> isize {
    let mut event_loop = EventLoop::new().unwrap();
    let builder = LinkBuilder::new(address.to_string(), config());
    let mut before = 0;
    for numbers in [0..LINKS, LINKS..2 * LINKS] {
        before = held();
        for number in numbers {
            builder.clone().device(device(number)).open(event_loop.driver());
        }
        mio_until(&mut event_loop, |event| matches!(event, DriverEvent::Link(_, Event::Up { .. })));
    }
    per_link(before)
}

fn server_on_mio(way: Way) -> isize {
    let mut event_loop = EventLoop::new().unwrap();
    let listener = event_loop.driver().listen("127.0.0.1:0", server(way)).unwrap();
    let address = event_loop.driver().listener(listener).unwrap().local_addr().unwrap();
    let (mut before, mut open) = (0, Vec::with_capacity(2 * LINKS));
    for numbers in [0..LINKS, LINKS..2 * LINKS] {
        before = held();
        open.extend(raw_devices(way, address, numbers));
        mio_until(&mut event_loop, |event| matches!(event, DriverEvent::Listener(_, event) if is_online(event)));
    }
    per_link(before)
}

/// One test, because there is one heap. In a debug build, a socket of mio is larger by its own checks.
#[test]
fn an_idle_link_holds_little() {
    let address = raw_server();
    let mut held = vec![
        ("client on mio".to_owned(), client_on_mio(address), 800),
        ("client on tokio".to_owned(), on_tokio(client_on_tokio(address)), 1536),
        ("client on smol".to_owned(), on_smol(async |executor| client_on_smol(executor, address).await), 1536),
    ];
    // Foreigners have numbers that only we know, and longer names.
    for (way, [mio, tokio, smol]) in
        [(Way::Tcp, [565, 900, 840]), (Way::WebSocket, [565, 900, 840]), (Way::Foreign, [600, 950, 890])]
    {
        let on_smol = on_smol(async |executor| server_on_smol(way, executor).await);
        held.extend([
            (format!("server on mio, {way:?}"), server_on_mio(way), mio),
            (format!("server on tokio, {way:?}"), on_tokio(server_on_tokio(way)), tokio),
            (format!("server on smol, {way:?}"), on_smol, smol),
        ]);
    }
    for (side, bytes, most) in &held {
        println!("{side}: {bytes} bytes of the heap per idle link, at most {most}");
    }
    for (side, bytes, most) in held {
        assert!(bytes > 0 && bytes <= most, "{side}: {bytes} bytes per idle link, at most {most}");
    }
}
