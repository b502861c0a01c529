//! Heartbeats, dead-peer detection and reconnection for very many links and devices on one thread, on mio.
//!
//! A [`Driver`] holds all links and listeners of one [`mio::Poll`], which may be that of a larger program with sources of
//! its own. What they decide is decided in [`keepbeat_core`]; this crate reads the clock, moves the bytes and says how long
//! to wait. [`EventLoop`] is the same with a `Poll` of its own.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use keepbeat_mio::{ClientConfig, DeviceId, Driver, DriverEvent, Event, Tokens};
//! use mio::{Events, Poll, Token, Waker};
//!
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
//! let waker = Arc::new(Waker::new(poll.registry(), Token(0))?);
//! let mut driver = Driver::new(poll.registry(), waker, Tokens::tagged(0x6B))?;
//! let config = ClientConfig::builder(DeviceId::new("thermometer-7")?).build()?;
//! let link = driver.open("gateway.example:7411", config);
//! loop {
//!     poll.poll(&mut events, driver.wait())?;
//!     for event in &events {
//!         if driver.owns(event.token()) {
//!             driver.handle_event(event);
//!         } else {
//!             // Your own sources.
//!         }
//!     }
//!     driver.turn();
//!     while let Some(event) = driver.next_event() {
//!         match event {
//!             DriverEvent::Link(id, Event::Up { .. }) => {
//!                 if let Some(mut link) = driver.link(id) {
//!                     link.send("21.5")?;
//!                 }
//!             }
//!             DriverEvent::Link(_, Event::Down { report, .. }) => println!("down: {report}"),
//!             _ => {}
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `driver`, `event_loop` | [`Driver`], and a loop around it |
//! | `builder`, `handles` | how links and listeners are made, and what one may ask of them |
//! | `links`, `attempt` | one turn of a link; what comes before a connection is open |
//! | `listeners` | one turn of a listener |
//! | `sockets`, `tokens`, `slab` | registered sockets, their readiness, and their names |
//! | `names`, `network` | the threads that look names up; hints from the one that watches the network |

#![forbid(unsafe_code)]

mod attempt;
mod builder;
mod driver;
mod event_loop;
mod handles;
mod links;
mod listeners;
mod names;
#[cfg(feature = "netwatch")]
mod network;
mod slab;
mod sockets;
mod tokens;

pub use builder::{LinkBuilder, ListenerBuilder};
pub use driver::{Driver, DriverEvent, LinkId, ListenerId};
pub use event_loop::{EventLoop, Remote};
pub use handles::{LinkMut, ListenerMut};
pub use tokens::Tokens;

pub use keepbeat_adapter::clock;
pub use keepbeat_adapter::pump::Traffic;
pub use keepbeat_adapter::socket::SocketOptions;
pub use keepbeat_adapter::store::{FileStore, FileStoreOptions, Fsync};
pub use keepbeat_core as core;
pub use keepbeat_core::client::{ClientConfig, Epoch, Event, LinkState};
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
