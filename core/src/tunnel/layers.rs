//! What the bytes of one connection pass through on their way between socket and wire: a proxy at first, then TLS.

#[cfg(feature = "tls")]
use alloc::borrow::Cow;
use alloc::boxed::Box;
#[cfg(feature = "tls")]
use alloc::string::ToString;
use alloc::vec::Vec;

#[cfg(feature = "tls")]
use super::tls::{Tls, TlsClient, TlsError, TlsInfo, TlsServer};
use super::{HostPort, Proxy, ProxyError, proxy::ProxyHandshake};

/// What the connections of a client pass through; nothing by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    pub(crate) proxy: Option<Proxy>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsClient>,
}

/// The layers of one connection. Once only its proxy was one and has let us through, they are dropped.
pub(crate) struct Layers {
    proxy: Option<ProxyHandshake>,
    /// The proxy has let us through. It stays until its last bytes have left.
    through: bool,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// So many bytes of the wire were encrypted and have not all left.
    encrypted: usize,
    /// The driver knows that there is something to write.
    announced: bool,
}

/// Why a layer failed.
pub(crate) enum LayerError {
    Proxy(ProxyError),
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// Nobody said which server a proxy or a certificate is for.
    ServerUnnamed,
}

/// Whom we wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Proxy,
    #[cfg(feature = "tls")]
    Tls,
    Open,
}

impl Layers {
    /// The layers of a new connection to `server`; `None` if there are none.
    pub(crate) fn of_client(way: &Way, server: Option<&HostPort>) -> Result<Option<Box<Self>>, LayerError> {
        let mut layers = Self::none();
        if let Some(proxy) = &way.proxy {
            layers.proxy = Some(ProxyHandshake::new(proxy, server.ok_or(LayerError::ServerUnnamed)?));
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &way.tls {
            let server = server.ok_or(LayerError::ServerUnnamed)?;
            // A scope has a meaning on this machine only: no certificate is for it.
            let name = server.ip().map_or_else(|| Cow::Borrowed(server.host()), |ip| Cow::Owned(ip.to_string()));
            layers.tls = Some(Tls::client(tls, &name).map_err(LayerError::Tls)?);
        }
        Ok((!layers.is_none()).then(|| Box::new(layers)))
    }

    /// The layers of a connection that was accepted.
    #[cfg(feature = "tls")]
    pub(crate) fn of_server(tls: &TlsServer) -> Result<Box<Self>, LayerError> {
        let tls = Tls::server(tls).map_err(LayerError::Tls)?;
        Ok(Box::new(Self { tls: Some(tls), ..Self::none() }))
    }

    const fn none() -> Self {
        Self {
            proxy: None,
            through: false,
            #[cfg(feature = "tls")]
            tls: None,
            encrypted: 0,
            announced: false,
        }
    }

    /// Whether the bytes pass as they are.
    pub(crate) const fn is_none(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return false;
        }
        self.proxy.is_none()
    }

    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self { proxy: Some(_), through: false, .. } => Stage::Proxy,
            #[cfg(feature = "tls")]
            Self { tls: Some(tls), .. } if !tls.is_open() => Stage::Tls,
            _ => Stage::Open,
        }
    }

    /// Takes bytes of the socket and appends to `plain` what the peer said with them, up to the first error.
    pub(crate) fn receive(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), LayerError> {
        if let (Some(proxy), false) = (&mut self.proxy, self.through) {
            self.through = proxy.receive(&mut input).map_err(LayerError::Proxy)?;
            if !self.through {
                return Ok(());
            }
            self.leave_proxy();
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.receive(input, plain).map_err(LayerError::Tls);
        }
        plain.extend_from_slice(input);
        Ok(())
    }

    fn leave_proxy(&mut self) {
        if self.through && self.proxy.as_ref().is_some_and(|proxy| proxy.transmit().is_empty()) {
            self.proxy = None;
        }
    }

    /// The next bytes for the socket.
    pub(crate) fn transmit(&self) -> &[u8] {
        if let Some(proxy) = &self.proxy {
            return proxy.transmit();
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.transmit();
        }
        &[]
    }

    /// The socket took so many of [`Layers::transmit`]. Returns how many bytes of the wire have left with them.
    pub(crate) fn written(&mut self, count: usize) -> usize {
        if let Some(proxy) = &mut self.proxy {
            proxy.written(count);
            self.leave_proxy();
        } else {
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                tls.written(count);
            }
        }
        if !self.transmit().is_empty() {
            return 0;
        }
        self.announced = false;
        core::mem::take(&mut self.encrypted)
    }

    /// Takes the next bytes of the wire, if all that came before have left. At the end, says so.
    pub(crate) fn load(&mut self, bytes: &[u8], is_last: bool) {
        #[cfg(feature = "tls")]
        if let (None, Some(tls), 0) = (&self.proxy, &mut self.tls, self.encrypted) {
            self.encrypted = tls.write(bytes);
            if is_last && bytes.is_empty() {
                tls.close();
            }
        }
        #[cfg(not(feature = "tls"))]
        let _ = (bytes, is_last);
    }

    /// Whether there is something to write that the driver does not know of. Now it does.
    pub(crate) fn announce(&mut self) -> bool {
        !self.transmit().is_empty() && !core::mem::replace(&mut self.announced, true)
    }

    /// Whether a record of the peer has begun that cannot be read before the rest of it comes.
    pub(crate) fn mid_record(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.mid_record();
        }
        false
    }

    /// Whether the peer said that nothing more comes.
    pub(crate) fn peer_closed(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.peer_closed();
        }
        false
    }

    /// What the TLS handshake agreed on.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_info(&self) -> Option<TlsInfo> {
        self.tls.as_ref().and_then(Tls::info)
    }
}
