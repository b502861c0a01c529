//! What lies between a socket and the wire.
//!
//! [`HostPort`] names a server, or the address to listen on. [`Proxy`] names a proxy on the way to it, HTTP or SOCKS5.

mod host;
#[cfg_attr(not(test), expect(dead_code, reason = "the client does not go through a proxy yet"))]
mod proxy;

pub use host::{HostPort, HostPortError, NAME_LIMIT};
pub use proxy::{LOGIN_LIMIT, Proxy, ProxyError, ProxyReply, ProxyUrlError, REASON_LIMIT};
