//! Addresses for listeners of tests.
#![allow(unreachable_pub, reason = "it is included in several places")]

use std::net::{Ipv4Addr, SocketAddr};

/// A free port of an address that only this process uses, so that nobody else listens there once we do not.
pub fn address_of_ours() -> SocketAddr {
    let [_, first, second, third] = std::process::id().to_be_bytes();
    let own = cfg!(target_os = "linux").then_some(Ipv4Addr::new(127, first.max(1), second, third));
    (own.unwrap_or(Ipv4Addr::LOCALHOST), 0).into()
}
