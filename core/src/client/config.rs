//! What a client link is told once.

use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::liveness::LivenessConfig;
use crate::reconnect::ReconnectConfig;
use crate::session::QueueLimits;
#[cfg(feature = "tls")]
use crate::tunnel::tls::TlsClient;
use crate::tunnel::{Proxy, Way};
use crate::wire::{Any, Credentials, DeviceId, Wire, forgotten_after};

/// Where the credentials of an attempt come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialsSource {
    Fixed(Credentials),
    Provider,
}

/// A client link's configuration. Made by [`ClientConfig::builder`].
pub struct ClientConfig<W: Wire = Any> {
    pub(crate) device: DeviceId,
    pub(crate) wire: W::Config,
    pub(crate) liveness: Arc<LivenessConfig>,
    pub(crate) reconnect: Arc<ReconnectConfig>,
    pub(crate) credentials: CredentialsSource,
    pub(crate) greeting: bool,
    pub(crate) way: Way,
    pub(crate) outbox: Arc<QueueLimits>,
    pub(crate) inbox: Arc<QueueLimits>,
    pub(crate) connect_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) credentials_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

impl<W: Wire> ClientConfig<W>
where
    W::Config: Default,
{
    /// Starts from the values for a peer across the internet.
    pub fn builder(device: DeviceId) -> ClientConfigBuilder<W> {
        ClientConfigBuilder {
            config: Self {
                device,
                wire: W::Config::default(),
                liveness: LivenessConfig::internet().into(),
                reconnect: ReconnectConfig::internet().into(),
                credentials: CredentialsSource::Fixed(Credentials::default()),
                greeting: false,
                way: Way::default(),
                outbox: QueueLimits::default().into(),
                inbox: QueueLimits::default().into(),
                connect_timeout: Duration::from_secs(10),
                handshake_timeout: Duration::from_secs(10),
                credentials_timeout: Duration::from_secs(10),
                close_timeout: Duration::from_secs(1),
            },
        }
    }
}

impl<W: Wire> ClientConfig<W> {
    /// The device that a link of this configuration speaks for, unless it is told another one
    /// ([`Client::for_device`](super::Client::for_device)).
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Whether credentials are asked for before every attempt.
    #[must_use]
    pub fn asks_for_credentials(&self) -> bool {
        self.credentials == CredentialsSource::Provider
    }

    /// The proxy on the way to the server: what the driver connects to, if there is one.
    #[must_use]
    pub const fn proxy(&self) -> Option<&Proxy> {
        self.way.proxy.as_ref()
    }

    /// Whether the driver must name the server ([`Client::to_server`](super::Client::to_server)), because a proxy, a
    /// certificate or the protocol is for it.
    #[must_use]
    pub fn needs_server_name(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.way.tls.is_some() {
            return true;
        }
        self.way.proxy.is_some() || W::needs_server_name(&self.wire)
    }

    /// Whether the link goes through TLS.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "with TLS it is not so"))]
    pub(super) const fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.way.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The largest message that the protocol lets us send and accept, in bytes.
    pub(super) fn message_limit(&self) -> usize {
        W::message_limit(&self.wire)
    }

    /// The longest time from the peer's death to the verdict, at the terms that this link asks for; see
    /// [`LivenessConfig::worst_case_detection`].
    #[must_use]
    pub fn worst_case_detection(&self) -> Duration {
        self.liveness.worst_case_detection()
    }
}

impl<W: Wire> Clone for ClientConfig<W> {
    fn clone(&self) -> Self {
        Self {
            device: self.device.clone(),
            wire: self.wire.clone(),
            liveness: self.liveness.clone(),
            reconnect: self.reconnect.clone(),
            credentials: self.credentials.clone(),
            way: self.way.clone(),
            outbox: self.outbox.clone(),
            inbox: self.inbox.clone(),
            ..*self
        }
    }
}

impl<W: Wire> fmt::Debug for ClientConfig<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("device", &self.device)
            .field("liveness", &self.liveness)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

/// Builds a [`ClientConfig`].
#[must_use]
pub struct ClientConfigBuilder<W: Wire = Any> {
    config: ClientConfig<W>,
}

impl<W: Wire> ClientConfigBuilder<W> {
    /// How the peer's life is judged. Default: [`LivenessConfig::internet`]. The server may grant another interval.
    pub fn liveness(mut self, liveness: LivenessConfig) -> Self {
        self.config.liveness = liveness.into();
        self
    }

    /// When to try again. Default: [`ReconnectConfig::internet`].
    pub fn reconnect(mut self, reconnect: ReconnectConfig) -> Self {
        self.config.reconnect = reconnect.into();
        self
    }

    /// What proves this device's identity, the same for every attempt. Default: nothing. If the server does not accept
    /// it, the link gives up.
    pub fn credentials(mut self, credentials: impl Into<Bytes>) -> Self {
        self.config.credentials = CredentialsSource::Fixed(Credentials::new(credentials));
        self
    }

    /// Ask for credentials before every attempt ([`Action::FetchCredentials`](super::Action::FetchCredentials)). If the
    /// server does not accept them, they are asked for once more, to be refreshed, before the link gives up.
    pub fn credentials_from_provider(mut self) -> Self {
        self.config.credentials = CredentialsSource::Provider;
        self
    }

    /// Holds back what waits, after each [`Event::Up`](super::Event::Up), until the application has said what must go before
    /// it ([`Client::greet`](super::Client::greet)), such as who it is or to what it subscribes, and ends that with
    /// [`Client::greeted`](super::Client::greeted). It may take the handshake timeout. Default: nothing is held back.
    pub const fn greeting(mut self) -> Self {
        self.config.greeting = true;
        self
    }

    /// Goes through a proxy, which looks the server's name up. Default: straight to the server.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.config.way.proxy = Some(proxy);
        self
    }

    /// Speaks TLS with the server, behind the proxy if there is one. Default: no TLS. Links that share one [`TlsClient`]
    /// resume each other's TLS sessions.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.config.way.tls = Some(tls);
        self
    }

    /// Bounds of the messages that wait for their acknowledgement. Default: [`QueueLimits::default`].
    pub fn outbox(mut self, limits: QueueLimits) -> Self {
        self.config.outbox = limits.into();
        self
    }

    /// Bounds of the messages that wait for the application. Default: [`QueueLimits::default`].
    pub fn inbox(mut self, limits: QueueLimits) -> Self {
        self.config.inbox = limits.into();
        self
    }

    /// The protocol's own limits.
    pub fn wire(mut self, wire: impl Into<W::Config>) -> Self {
        self.config.wire = wire.into();
        self
    }

    /// How long an attempt may take until the connection is open, name look-up included. Default 10 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long the handshake may take from then on: proxy, TLS and greeting together. Default 10 s.
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// How long the provider may take to give credentials. Default 10 s.
    pub const fn credentials_timeout(mut self, timeout: Duration) -> Self {
        self.config.credentials_timeout = timeout;
        self
    }

    /// How long a close waits for the peer to have read our goodbye. Default 1 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Checks the relations between the values.
    ///
    /// # Errors
    /// A timeout is zero, so that what it guards could never succeed; the beat interval is above what the protocol's usual way
    /// allows; or the protocol cannot carry the credentials.
    pub fn build(self) -> Result<ClientConfig<W>, ClientConfigError> {
        let config = self.config;
        for (timeout, value) in [
            ("connect_timeout", config.connect_timeout),
            ("handshake_timeout", config.handshake_timeout),
            ("credentials_timeout", config.credentials_timeout),
            ("close_timeout", config.close_timeout),
        ] {
            if value.is_zero() {
                return Err(ClientConfigError::ZeroTimeout { timeout });
            }
        }
        if let CredentialsSource::Fixed(credentials) = &config.credentials
            && !W::takes_credentials(&config.wire, credentials)
        {
            return Err(ClientConfigError::Credentials);
        }
        let interval = config.liveness.interval();
        if let Some(limit) = forgotten_after::<W>(interval, [&config.wire]) {
            return Err(ClientConfigError::IdleLimit { interval, limit });
        }
        Ok(config)
    }
}

/// An impossible [`ClientConfig`]: a fault of the configuration. Nothing was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientConfigError {
    /// A timeout is zero, so that what it guards could never succeed.
    ZeroTimeout {
        /// The timeout's name.
        timeout: &'static str,
    },
    /// Something on the way would forget the connection between two beats.
    IdleLimit {
        /// The beat interval.
        interval: Duration,
        /// How long a connection may be idle.
        limit: Duration,
    },
    /// The protocol cannot carry the credentials: a header is visible ASCII, and there is one already.
    Credentials,
}

impl fmt::Display for ClientConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroTimeout { timeout } => write!(f, "{timeout} is zero; give it at least 1 ms"),
            Self::IdleLimit { interval, limit } => write!(
                f,
                "with an interval of {interval:?}, a proxy on the way that forgets connections idle for {limit:?} (nginx \
                 does, unless it is told otherwise) cuts the link between two beats; shorten the interval, or tell the \
                 protocol's configuration what the idle limit is"
            ),
            Self::Credentials => f.write_str(
                "the credentials cannot go into an Authorization header: give visible ASCII, such as \"Bearer ...\", \
                 and no Authorization of your own beside them",
            ),
        }
    }
}

impl core::error::Error for ClientConfigError {}
