//! What lies between a socket and the wire.
//!
//! [`HostPort`] names a server, or the address to listen on. [`Proxy`] names a proxy on the way to it, HTTP or SOCKS5.
//! [`Race`] finds the address of a name that answers first. It opens nothing itself: it says what to open, is told how that
//! went, and knows no protocol. With the feature `tls`, `tls` speaks TLS in memory.

mod host;
mod layers;
mod proxy;
mod race;
#[cfg(feature = "tls")]
pub mod tls;

pub use host::{HostPort, HostPortError, NAME_LIMIT};
pub(crate) use layers::{LayerError, Layers, Stage, Way};
pub(crate) use proxy::base64;
pub use proxy::{LOGIN_LIMIT, Proxy, ProxyError, ProxyReply, ProxyUrlError, REASON_LIMIT};
pub use race::{ATTEMPT_DELAY, MAX_ADDRESSES, Race, RaceAction};
