//! Proxies: the conversation that opens a tunnel through one.
//!
//! | file | what it holds |
//! |---|---|
//! | `url` | [`Proxy`]: where it is, and the login |
//! | `http` | the words of an HTTP proxy |
//! | `socks5` | the words of a SOCKS5 proxy |
//! | `base64` | what HTTP writes a login in |
//! | `error` | [`ProxyError`]: why there is no tunnel, and whether to try again |

mod base64;
mod error;
mod http;
mod socks5;
#[cfg(test)]
mod tests;
mod url;

use alloc::vec::Vec;
use core::fmt;

use super::host::HostPort;
pub(crate) use base64::base64;
pub use error::{ProxyError, ProxyReply, REASON_LIMIT};
use url::Scheme;
pub use url::{LOGIN_LIMIT, Proxy, ProxyUrlError};

/// The conversation with the proxy, until the tunnel is open. It has no time limit; whoever drives it has.
pub(crate) struct ProxyHandshake {
    /// Bytes for the proxy, from `written` on.
    out: Vec<u8>,
    written: usize,
    talk: Talk,
}

enum Talk {
    Http(http::Answer),
    Socks5(socks5::Talk),
    Over(Result<bool, ProxyError>),
}

impl ProxyHandshake {
    /// Begins to ask `proxy` for a tunnel to `server`. The proxy looks a name up; the scope of an address is not sent.
    pub(crate) fn new(proxy: &Proxy, server: &HostPort) -> Self {
        let login = proxy.login.as_ref();
        let (out, talk) = match proxy.scheme {
            Scheme::Http => (http::request(server, login), Talk::Http(http::Answer::new(login.is_some()))),
            Scheme::Socks5 => (socks5::greeting(login), Talk::Socks5(socks5::Talk::new(server, login))),
        };
        Self { out, written: 0, talk }
    }

    /// What to write now; empty if it is the proxy's turn. If bytes are left when the tunnel is open (a proxy that answers
    /// before it was asked), they go before those of the tunnel.
    pub(crate) fn transmit(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The operating system took so many bytes of [`transmit`](Self::transmit). More than these count as all.
    pub(crate) fn written(&mut self, count: usize) {
        self.written += count.min(self.transmit().len());
        if self.written == self.out.len() {
            // It may hold the login.
            (self.out, self.written) = (Vec::new(), 0);
        }
    }

    /// Takes bytes of the proxy. `true`: the tunnel is open, and what is left in `input` belongs to it. How the bytes are
    /// split between calls makes no difference.
    ///
    /// # Errors
    /// There will be no tunnel. `input` says nothing then, and every further call gives the same error.
    pub(crate) fn receive(&mut self, input: &mut &[u8]) -> Result<bool, ProxyError> {
        let verdict = match &mut self.talk {
            Talk::Http(answer) => answer.receive(input),
            Talk::Socks5(talk) => talk.receive(input, &mut self.out),
            Talk::Over(verdict) => return verdict.clone(),
        };
        if verdict != Ok(false) {
            self.talk = Talk::Over(verdict.clone());
        }
        verdict
    }
}

impl fmt::Debug for ProxyHandshake {
    /// Without the bytes, which may hold the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let talk = match &self.talk {
            Talk::Http(_) => "Http",
            Talk::Socks5(_) => "Socks5",
            Talk::Over(_) => "Over",
        };
        write!(f, "ProxyHandshake({talk}, {} bytes to write)", self.transmit().len())
    }
}
