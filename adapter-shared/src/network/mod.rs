//! Tells of changes of the network, as hints for links: [`NetworkWatch`].
//!
//! The operating system announces addresses that come and go; nothing is polled. One watcher serves the whole process, from
//! the first [`NetworkWatch`] to the last. What each change means is in `docs/network-changes.md`, and in short:
//!
//! | change | hint |
//! |---|---|
//! | an address came, or one of several went | [`Hint::NetworkUp`] |
//! | the last address went | [`Hint::NetworkDown`] |
//! | only loopback and link-local addresses are concerned | none |

mod change;
mod hub;

use std::fmt;
use std::net::SocketAddr;

use keepbeat_core::reconnect::Hint;

use self::hub::Hub;

static HUB: Hub<netwatcher::WatchHandle> = Hub::new();

/// Calls back when the network changes, until it is dropped.
///
/// For a link of an async adapter, `LinkBuilder::watch_network` does it all. With any other, pass the hints on to it: with
/// mio, put them into a channel and wake the loop. Pass [`Hint::NetworkDown`] on only where [`needs_network`] holds.
#[derive(Debug)]
#[must_use = "the watch ends when this is dropped"]
pub struct NetworkWatch {
    key: u64,
}

impl NetworkWatch {
    /// Calls `callback` with every hint from now on. If there is no network now, it begins with [`Hint::NetworkDown`], before
    /// this returns.
    ///
    /// The calls come one after the other, on a thread of the watcher that all watches share: do not block in there. The
    /// callback may drop its own watch, and make others. If it panics, it is not called again; others are.
    ///
    /// # Errors
    /// The operating system does not let us watch. Links work without; they notice a change by their beats and backoff.
    ///
    /// # Panics
    /// If no thread can be started, where the watcher needs one (everywhere but on Windows and Android).
    pub fn watch(callback: impl FnMut(Hint) + Send + 'static) -> Result<Self, NetworkWatchError> {
        HUB.subscribe(Box::new(callback), start).map(|key| Self { key })
    }
}

impl Drop for NetworkWatch {
    /// Ends the watch. A call that has begun on the watcher's thread may still be under way.
    fn drop(&mut self) {
        HUB.unsubscribe(self.key);
    }
}

fn start(generation: u64) -> Result<netwatcher::WatchHandle, NetworkWatchError> {
    let watch = netwatcher::watch_interfaces_with_callback(move |update| {
        HUB.changed(generation, change::is_down(&update), change::hint(&update));
    });
    watch.map_err(|error| NetworkWatchError { reason: error.to_string() })
}

/// Whether a link to `address`, a host and port, is without its peer when [`Hint::NetworkDown`] comes.
///
/// Not so for loopback, link-local and unspecified addresses, and for `localhost` and names below it (RFC 6761, section
/// 6.3). Other names are not looked up: one that stands for a loopback address only counts as one that needs a network.
#[must_use]
pub fn needs_network(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return change::is_usable(address.ip());
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let top = host.rsplit_once('.').map_or(host, |(_, top)| top);
    !top.eq_ignore_ascii_case("localhost")
}

/// The operating system does not let us watch the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkWatchError {
    reason: String,
}

impl fmt::Display for NetworkWatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason } = self;
        write!(
            f,
            "the operating system does not let us watch the network: {reason}; allow it (Linux: netlink sockets; Android: \
             give netwatcher the context), or open the link without watch_network"
        )
    }
}

impl std::error::Error for NetworkWatchError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_or_this_cable_needs_no_network() {
        let near = [
            "127.0.0.1:80",
            "127.8.0.1:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "169.254.3.4:80",
            "[fe80::1%2]:80",
            "localhost:80",
            "LocalHost.:80",
            "a.localhost:80",
        ];
        for address in near {
            assert!(!needs_network(address), "{address}");
        }
        let far = ["192.0.2.1:80", "10.0.0.1:80", "[2001:db8::1]:80", "[fd00::1]:80", "gateway.example:80"];
        for address in far.into_iter().chain(["localhost.example:80", "notlocalhost:80", "", ":", "%"]) {
            assert!(needs_network(address), "{address}");
        }
    }

    #[test]
    fn the_real_watcher_starts_and_ends_as_often_as_asked() {
        for _ in 0..3 {
            let watches: Vec<_> = (0..10).map(|_| NetworkWatch::watch(|_| {}).unwrap()).collect();
            drop(watches);
        }
    }
}
