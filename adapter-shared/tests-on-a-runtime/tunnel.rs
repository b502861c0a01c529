//! TLS and proxies: on real sockets, with proxies that run in threads of their own.
//!
//! Of `crate::runtime` it takes `adapter`, `block_on` and `sleep`.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::runtime::adapter::core::DownCause;
use crate::runtime::adapter::core::client::ClientConfigBuilder;
use crate::runtime::adapter::core::reconnect::{GiveUpCause, ReconnectConfig};
use crate::runtime::adapter::core::server::ServerConfigBuilder;
use crate::runtime::adapter::core::tunnel::ProxyError;
use crate::runtime::adapter::core::tunnel::tls::{TlsError, TlsInfo};
use crate::runtime::adapter::core::wire::websocket::SUBPROTOCOL;
use crate::runtime::adapter::core::wire::{AnyConfig, Goodbye, Reason};
use crate::runtime::adapter::{
    ClientConfig, DeviceId, Event, Link, Listener, OpenError, ServerConfig, ServerEvent, TlsClient, TlsServer,
    WebSocketConfig,
};
use crate::runtime::{block_on, sleep};

/// Longer than anything here takes.
const GUARD: Duration = Duration::from_secs(14);

/// Only the proxies know where this is.
const NAME: &str = "gate.test";

#[test]
fn messages_pass_over_tls_and_a_reconnect_resumes_both_sessions() {
    block_on(async {
        let websocket = WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build().unwrap();
        for wire in [AnyConfig::default(), websocket.into()] {
            let (tls, server_tls) = tls("127.0.0.1");
            let listener = listen(server().wire(wire.clone()).tls(server_tls)).await;
            let config = client().wire(wire).tls(tls).build().unwrap();
            let link = Link::open(listener.local_addr().to_string(), config);
            assert!(!up(&link).await);
            assert!(!info(&link).resumed && info(&link).peer_certificate.is_some());
            exchange(&link, &listener, &vec![7; 1_000_000]).await;

            listener.disconnect(&device(), Goodbye::new(Reason::Busy, "come again"));
            down(&link).await;
            assert!(up(&link).await, "the session of the link is resumed");
            assert!(info(&link).resumed, "and that of TLS");
            exchange(&link, &listener, b"after").await;
        }
    });
}

#[test]
fn a_proxy_is_asked_for_the_name_and_everything_passes_through_it() {
    block_on(async {
        let listener = listen(server()).await;
        for kind in [Kind::Http, Kind::Socks5] {
            let proxy = Proxy::to(listener.local_addr(), kind);
            let config = client().proxy(proxy.url().parse().unwrap()).build().unwrap();
            let link = Link::open(format!("{NAME}:7411"), config);
            up(&link).await;
            assert_eq!(proxy.asked.recv_timeout(GUARD).unwrap(), format!("{NAME}:7411"));
            exchange(&link, &listener, &vec![7; 300_000]).await;
            link.close();
            within(link.closed()).await;
        }
    });
}

#[test]
fn tls_runs_inside_the_tunnel_and_resumes_through_it() {
    block_on(async {
        let (tls, server_tls) = tls(NAME);
        let listener = listen(server().tls(server_tls)).await;
        for kind in [Kind::Http, Kind::Socks5] {
            let proxy = Proxy::to(listener.local_addr(), kind);
            let config = client().proxy(proxy.url().parse().unwrap()).tls(tls.clone()).build().unwrap();
            let link = Link::open(format!("{NAME}:7411"), config);
            up(&link).await;
            exchange(&link, &listener, &vec![7; 300_000]).await;
            listener.disconnect(&device(), Goodbye::new(Reason::Busy, "come again"));
            down(&link).await;
            up(&link).await;
            assert!(info(&link).resumed, "{kind:?}");
            link.close();
            within(link.closed()).await;
        }
    });
}

#[test]
fn a_proxy_that_refuses_for_good_ends_the_link() {
    block_on(async {
        let proxy = Proxy::to("127.0.0.1:9".parse().unwrap(), Kind::Forbids);
        let config = client().proxy(proxy.url().parse().unwrap()).build().unwrap();
        let link = Link::open(format!("{NAME}:7411"), config);
        let cause = down(&link).await;
        assert!(matches!(cause, DownCause::Proxy(ProxyError::NotAllowed(_))), "{cause}");
        let gave_up = until(&link, |event| if let Event::GaveUp { cause, .. } = event { Some(cause) } else { None });
        assert_eq!(gave_up.await, GiveUpCause::Fatal);
    });
}

#[test]
fn a_server_that_hangs_in_the_tls_handshake_is_tried_again() {
    block_on(async {
        let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
        let (tls, _) = tls("127.0.0.1");
        let config = client().tls(tls).handshake_timeout(Duration::from_millis(200)).build().unwrap();
        let link = Link::open(hanging.local_addr().unwrap().to_string(), config);
        for _ in 0..2 {
            assert_eq!(down(&link).await, DownCause::TlsTimeout);
        }
    });
}

#[test]
fn a_client_that_hangs_in_the_tls_handshake_is_hung_up_on() {
    block_on(async {
        let (_, server_tls) = tls("127.0.0.1");
        let listener = listen(server().tls(server_tls).handshake_timeout(Duration::from_millis(200))).await;
        let mut hanging = TcpStream::connect(listener.local_addr()).unwrap();
        assert_eq!(rejected(&listener).await, DownCause::TlsTimeout);
        hanging.set_read_timeout(Some(GUARD)).unwrap();
        assert_eq!(hanging.read(&mut [0; 10]).unwrap(), 0);
    });
}

#[test]
fn a_certificate_that_is_not_accepted_ends_the_link_and_both_sides_know_why() {
    block_on(async {
        let (_, server_tls) = tls("127.0.0.1");
        let (stranger, _) = tls("127.0.0.1");
        let listener = listen(server().tls(server_tls)).await;
        let link = Link::open(listener.local_addr().to_string(), client().tls(stranger).build().unwrap());
        let cause = down(&link).await;
        assert!(matches!(cause, DownCause::Tls(TlsError::Certificate { .. })), "{cause}");
        let cause = rejected(&listener).await;
        assert!(matches!(cause, DownCause::Tls(_)), "{cause}");
        within(link.closed()).await;
    });
}

#[test]
fn a_link_to_what_is_no_address_is_an_error_if_a_certificate_must_be_for_it() {
    let (tls, _) = tls(NAME);
    let config = client().tls(tls).build().unwrap();
    let refused = Link::builder("no port", config).open();
    assert!(matches!(refused, Err(OpenError::Address(_))), "{refused:?}");
}

// Both ends.

fn device() -> DeviceId {
    DeviceId::new("a").unwrap()
}

/// Tries again soon, so that no test waits long.
fn client() -> ClientConfigBuilder {
    let (soon, cap) = (Duration::from_millis(20), Duration::from_millis(100));
    let reconnect = ReconnectConfig::data_center().to_builder().base(soon).first_spread(soon).cap(cap);
    ClientConfig::builder(device()).reconnect(reconnect.build().unwrap())
}

fn server() -> ServerConfigBuilder {
    ServerConfig::builder().intervals(Duration::from_millis(20), Duration::from_secs(600))
}

async fn listen(config: ServerConfigBuilder) -> Listener {
    Listener::bind("127.0.0.1:0", config.build().unwrap()).await.unwrap()
}

/// A new authority: who trusts it, and a server for `name` with a certificate of it.
fn tls(name: &str) -> (TlsClient, TlsServer) {
    let (mut authority, key) = (CertificateParams::new(Vec::new()).unwrap(), KeyPair::generate().unwrap());
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let (params, key) = (CertificateParams::new(vec![name.to_string()]).unwrap(), KeyPair::generate().unwrap());
    let chain = params.signed_by(&key, &issuer).unwrap().pem();
    let client = TlsClient::builder().roots_pem(root.as_bytes()).build().unwrap();
    let server = TlsServer::builder().certificate_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
    (client, server.build().unwrap())
}

fn info(link: &Link) -> TlsInfo {
    link.tls().unwrap()
}

// What happens.

async fn within<F: Future>(future: F) -> F::Output {
    let (mut future, mut limit) = (pin!(future), pin!(sleep(GUARD)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Pending if limit.as_mut().poll(cx).is_ready() => panic!("it takes too long"),
        poll => poll,
    })
    .await
}

/// The first event of the link for which `pick` gives something.
async fn until<T>(link: &Link, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(picked) = pick(link.next_event().await.expect("the link is over")) {
                return picked;
            }
        }
    })
    .await
}

/// Waits until the link is up; whether its session is resumed.
async fn up(link: &Link) -> bool {
    until(link, |event| if let Event::Up { resumed, .. } = event { Some(resumed) } else { None }).await
}

async fn down(link: &Link) -> DownCause {
    until(link, |event| if let Event::Down { report, .. } = event { Some(report.cause) } else { None }).await
}

async fn rejected(listener: &Listener) -> DownCause {
    within(async {
        loop {
            if let Some(ServerEvent::Rejected { cause, .. }) = listener.next_event().await {
                return cause;
            }
        }
    })
    .await
}

/// Sends this both ways.
async fn exchange(link: &Link, listener: &Listener, payload: &[u8]) {
    within(link.send(payload.to_vec())).await.unwrap();
    within(async {
        loop {
            if let Some(ServerEvent::Message { message: heard, .. }) = listener.next_event().await {
                break assert!(*heard == *payload);
            }
        }
    })
    .await;
    within(listener.send(&device(), payload.to_vec())).await.unwrap();
    let heard = until(link, |event| if let Event::Message(heard) = event { Some(heard) } else { None }).await;
    assert!(*heard == *payload);
}

// Proxies.

#[derive(Debug, Clone, Copy)]
enum Kind {
    Http,
    Socks5,
    /// HTTP, and lets nobody through.
    Forbids,
}

/// A proxy that finds every name at the same address.
struct Proxy {
    address: SocketAddr,
    kind: Kind,
    /// What it was asked for.
    asked: Receiver<String>,
}

impl Proxy {
    fn to(server: SocketAddr, kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ask, asked) = channel();
        // The thread ends with the process of the tests.
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let ask = ask.clone();
                thread::spawn(move || {
                    let target = match kind {
                        Kind::Http | Kind::Forbids => http(&near, matches!(kind, Kind::Forbids)),
                        Kind::Socks5 => socks5(&near),
                    };
                    let Ok(Some(target)) = target else { return };
                    drop(ask.send(target));
                    if let Ok(far) = TcpStream::connect(server) {
                        relay(near, far);
                    }
                });
            }
        });
        Self { address, kind, asked }
    }

    fn url(&self) -> String {
        let scheme = if matches!(self.kind, Kind::Socks5) { "socks5" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

fn http(mut near: &TcpStream, forbids: bool) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        near.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if forbids {
        near.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(None);
    }
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).map(str::to_string))
}

fn socks5(mut near: &TcpStream) -> io::Result<Option<String>> {
    let mut reader = near;
    let mut read = |count: usize| {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).map(|()| bytes)
    };
    let methods = read(2)?[1];
    read(methods.into())?;
    near.write_all(&[5, 0])?;
    // A name is asked for.
    let head = read(5)?;
    assert_eq!(head[..4], [5, 1, 0, 3]);
    let name = read(head[4].into())?;
    let port = read(2)?;
    near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Some(format!("{}:{}", String::from_utf8_lossy(&name), u16::from_be_bytes([port[0], port[1]]))))
}

fn relay(near: TcpStream, far: TcpStream) {
    let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || carry(near_too, far_too));
    carry(far, near);
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let carried = io::copy(&mut from, &mut to);
    drop((carried, to.shutdown(Shutdown::Write)));
}
