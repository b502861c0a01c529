//! Heartbeats, dead-peer detection and reconnection on tokio.
//!
//! A [`Link`] is one device's link to a server, across as many connections as it takes. A [`Listener`] is the other side:
//! very many devices. What they decide is decided in [`keepbeat_core`]; this crate reads the clock, moves the bytes and
//! sets one alarm.
//!
//! ```no_run
//! use keepbeat_tokio::{ClientConfig, DeviceId, Event, Link};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::builder(DeviceId::new("thermometer-7")?).build()?;
//! let link = Link::open("gateway.example:7411", config);
//! link.send("21.5").await?;
//! while let Some(event) = link.next_event().await {
//!     match event {
//!         Event::Up { resumed, .. } => println!("up, resumed: {resumed}"),
//!         Event::Message(message) => println!("the server says {message:?}"),
//!         Event::Down { report, retry_at, .. } => println!("down: {report}; next attempt: {retry_at:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `link` | [`Link`], and the task that drives it |
//! | `listener` | [`Listener`], and the task that drives it |
//! | `stream`, `alarm` | tokio's sockets and timers, as both tasks use them |
//!
//! What is the same on every runtime is in [`keepbeat_adapter`].
//!
//! The methods of both take `&self` and may be called from any task or thread. Every `async` method may be dropped before
//! it is done; nothing is lost then.
//!
//! What is due is decided by a clock that counts suspend ([`clock::Clock`]), not by tokio's: under a paused clock
//! (`start_paused`) timers ring again and again until real time has passed.

#![forbid(unsafe_code)]

mod alarm;
mod link;
mod listener;
mod stream;

pub use link::{Link, LinkBuilder};
pub use listener::{Listener, ListenerBuilder};

pub use keepbeat_adapter::clock;
pub use keepbeat_adapter::link::OpenError;
#[cfg(feature = "netwatch")]
pub use keepbeat_adapter::network;
pub use keepbeat_adapter::pump::Traffic;
pub use keepbeat_adapter::socket::SocketOptions;
pub use keepbeat_adapter::store::{FileStore, FileStoreOptions, Fsync};
pub use keepbeat_core as core;
pub use keepbeat_core::client::{ClientConfig, Event, LinkState};
pub use keepbeat_core::liveness::LivenessConfig;
pub use keepbeat_core::reconnect::{Hint, ReconnectConfig};
pub use keepbeat_core::server::{Admission, ConnectionId, Port, ServerConfig, ServerEvent, Sessions};
pub use keepbeat_core::session::{Message, SendError, Ticket};
pub use keepbeat_core::time::Timestamp;
#[cfg(any(feature = "tls", feature = "tls-aws-lc"))]
pub use keepbeat_core::tunnel::tls::{TlsClient, TlsServer};
pub use keepbeat_core::tunnel::{HostPort, Proxy};
pub use keepbeat_core::wire::DeviceId;
pub use keepbeat_core::wire::mqtt::MqttConfig;
pub use keepbeat_core::wire::websocket::WebSocketConfig;

/// Compiles the example of the page about WebSocket.
#[cfg(doctest)]
#[doc = include_str!("../../docs/websocket.md")]
struct WebSockets;

/// Compiles the examples of the page about MQTT.
#[cfg(doctest)]
#[doc = include_str!("../../docs/mqtt.md")]
struct Mqtt;

/// Compiles the example of the page about stores.
#[cfg(doctest)]
#[doc = include_str!("../../docs/mqtt-store.md")]
struct MqttStore;

/// Compiles the examples of the page about TLS.
#[cfg(all(doctest, any(feature = "tls", feature = "tls-aws-lc")))]
#[doc = include_str!("../../docs/tls-and-proxies.md")]
struct TlsAndProxies;
