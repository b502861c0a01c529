//! What a server is told once.

use core::fmt;
use core::time::Duration;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::liveness::{LivenessConfig, Proof};
use crate::session::QueueLimits;
#[cfg(feature = "tls")]
use crate::tunnel::tls::TlsServer;
use crate::wire::{Any, Wire, forgotten_after};

/// A server's configuration. Made by [`ServerConfig::builder`].
pub struct ServerConfig<W: Wire = Any> {
    /// At least one.
    pub(crate) ports: Vec<Port<W>>,
    pub(crate) liveness: Arc<LivenessConfig>,
    pub(crate) shortest_interval: Duration,
    pub(crate) longest_interval: Duration,
    pub(crate) authenticate: bool,
    pub(crate) outbox: Arc<QueueLimits>,
    pub(crate) inbox: Arc<QueueLimits>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) grace: Duration,
    pub(crate) session_lifetime: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) max_handshakes: usize,
    pub(crate) max_sessions: usize,
}

impl<W: Wire> ServerConfig<W>
where
    W::Config: Default,
{
    /// Starts from the values for devices across the internet.
    pub fn builder() -> ServerConfigBuilder<W> {
        ServerConfigBuilder {
            config: Self {
                ports: alloc::vec![Port::new(W::Config::default())],
                liveness: LivenessConfig::internet().into(),
                shortest_interval: Duration::from_secs(1),
                longest_interval: Duration::from_secs(600),
                authenticate: false,
                outbox: QueueLimits::default().into(),
                inbox: QueueLimits::default().into(),
                handshake_timeout: Duration::from_secs(10),
                close_timeout: Duration::from_secs(1),
                grace: Duration::ZERO,
                session_lifetime: Duration::from_secs(300),
                max_connections: 100_000,
                max_connections_per_address: 100_000,
                max_handshakes: 10_000,
                max_sessions: 200_000,
            },
        }
    }
}

impl<W: Wire> ServerConfig<W> {
    /// How many ports connections are accepted at: the first, and those that [`ServerConfigBuilder::port`] added.
    #[must_use]
    pub const fn ports(&self) -> usize {
        self.ports.len()
    }
}

impl<W: Wire> Clone for ServerConfig<W> {
    fn clone(&self) -> Self {
        Self {
            ports: self.ports.clone(),
            liveness: self.liveness.clone(),
            outbox: self.outbox.clone(),
            inbox: self.inbox.clone(),
            ..*self
        }
    }
}

impl<W: Wire> fmt::Debug for ServerConfig<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("liveness", &self.liveness).finish_non_exhaustive()
    }
}

/// How connections speak that are accepted at one port.
pub struct Port<W: Wire = Any> {
    pub(crate) wire: W::Config,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsServer>,
}

impl<W: Wire> Port<W> {
    /// Over this protocol, without TLS.
    pub fn new(wire: impl Into<W::Config>) -> Self {
        Self {
            wire: wire.into(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// With TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl<W: Wire> Clone for Port<W> {
    fn clone(&self) -> Self {
        Self {
            wire: self.wire.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        }
    }
}

impl<W: Wire> fmt::Debug for Port<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}

/// Builds a [`ServerConfig`].
#[must_use]
pub struct ServerConfigBuilder<W: Wire = Any> {
    config: ServerConfig<W>,
}

impl<W: Wire> ServerConfigBuilder<W> {
    /// How the devices' life is judged. Its interval and reply timeout are for foreign clients only, which say no wish of their
    /// own, and are beaten at: every device of ours brings its wish.
    /// Default: [`LivenessConfig::internet`].
    pub fn liveness(mut self, liveness: LivenessConfig) -> Self {
        self.config.liveness = liveness.into();
        self
    }

    /// The beat intervals that are granted; a wish outside is brought to the nearer end. Default 1 s to 10 minutes.
    pub const fn intervals(mut self, shortest: Duration, longest: Duration) -> Self {
        self.config.shortest_interval = shortest;
        self.config.longest_interval = longest;
        self
    }

    /// Ask the application about every device ([`ServerEvent::Authenticate`](super::ServerEvent::Authenticate)) before it
    /// gets in. By default every device gets in: whoever knows a device id can take that device's place.
    pub const fn authenticate(mut self) -> Self {
        self.config.authenticate = true;
        self
    }

    /// Speaks TLS on the connections of the first port. Default: no TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        if let Some(first) = self.config.ports.first_mut() {
            first.tls = Some(tls);
        }
        self
    }

    /// Bounds, for each device, of the messages that wait for its acknowledgement.
    pub fn outbox(mut self, limits: QueueLimits) -> Self {
        self.config.outbox = limits.into();
        self
    }

    /// Bounds, for each device, of its messages that wait for the application.
    pub fn inbox(mut self, limits: QueueLimits) -> Self {
        self.config.inbox = limits.into();
        self
    }

    /// The protocol of the first port, and its own limits.
    pub fn wire(mut self, wire: impl Into<W::Config>) -> Self {
        if let Some(first) = self.config.ports.first_mut() {
            first.wire = wire.into();
        }
        self
    }

    /// Takes connections at one port more, over another protocol or with TLS; see
    /// [`Server::accept_at`](super::Server::accept_at). All ports share the devices: one that comes over another protocol is the
    /// same, and resumes its session.
    pub fn port(mut self, port: Port<W>) -> Self {
        self.config.ports.push(port);
        self
    }

    /// How long a connection may take until it is authenticated. Default 10 s.
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// How long a close waits for the device to have read our goodbye. Default 1 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// How long a device may be gone before it is reported offline. If it is back within this time, nobody hears of it.
    /// Default: none.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// How long the session of a device that is gone is kept. At least the grace; default 5 minutes.
    pub const fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.session_lifetime = lifetime;
        self
    }

    /// How many connections are open at once. Default 100,000.
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.config.max_connections = most;
        self
    }

    /// How many connections are open at once from one address. Default 100,000.
    pub const fn max_connections_per_address(mut self, most: usize) -> Self {
        self.config.max_connections_per_address = most;
        self
    }

    /// How many connections are in their handshake at once. Default 10,000.
    pub const fn max_handshakes(mut self, most: usize) -> Self {
        self.config.max_handshakes = most;
        self
    }

    /// How many devices have a session at once, whether connected or not. Default 200,000.
    pub const fn max_sessions(mut self, most: usize) -> Self {
        self.config.max_sessions = most;
        self
    }

    /// Checks the relations between the values.
    ///
    /// # Errors
    /// The first impossible value or relation, with the values that break it.
    pub fn build(self) -> Result<ServerConfig<W>, ServerConfigError> {
        use ServerConfigError as E;
        let config = self.config;
        for (timeout, value) in
            [("handshake_timeout", config.handshake_timeout), ("close_timeout", config.close_timeout)]
        {
            if value.is_zero() {
                return Err(E::ZeroTimeout { timeout });
            }
        }
        for (limit, value) in [
            ("max_connections", config.max_connections),
            ("max_connections_per_address", config.max_connections_per_address),
            ("max_handshakes", config.max_handshakes),
            ("max_sessions", config.max_sessions),
        ] {
            if value == 0 {
                return Err(E::ZeroLimit { limit });
            }
        }
        let (shortest, longest) = (config.shortest_interval, config.longest_interval);
        if shortest < LivenessConfig::SHORTEST {
            return Err(E::IntervalTooShort { interval: shortest, shortest: LivenessConfig::SHORTEST });
        }
        if longest > LivenessConfig::LONGEST_INTERVAL {
            return Err(E::IntervalTooLong { interval: longest, longest: LivenessConfig::LONGEST_INTERVAL });
        }
        if shortest > longest {
            return Err(E::IntervalsReversed { shortest, longest });
        }
        if config.liveness.proof == Proof::ReplyOnly {
            return Err(E::ReplyOnly);
        }
        let forgotten_after = |interval| forgotten_after::<W>(interval, config.ports.iter().map(|port| &port.wire));
        let interval = config.liveness.interval();
        if let Some(limit) = forgotten_after(interval) {
            return Err(E::IdleLimit { interval, limit });
        }
        if let Some(limit) = forgotten_after(shortest) {
            return Err(E::ShortestAboveIdleLimit { shortest, limit });
        }
        if config.session_lifetime < config.grace {
            return Err(E::SessionLifetimeBelowGrace { lifetime: config.session_lifetime, grace: config.grace });
        }
        Ok(config)
    }
}

/// An impossible [`ServerConfig`]: a fault of the configuration. Nothing was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields carry the values that the variant names")]
pub enum ServerConfigError {
    /// A timeout is zero, so that what it guards could never succeed.
    ZeroTimeout { timeout: &'static str },
    /// A limit is zero, so that nobody could ever get in.
    ZeroLimit { limit: &'static str },
    /// An interval would be granted that is zero or nearly so.
    IntervalTooShort { interval: Duration, shortest: Duration },
    /// An interval would be granted that is so long that no verdict would ever come.
    IntervalTooLong { interval: Duration, longest: Duration },
    /// The shortest interval is above the longest.
    IntervalsReversed { shortest: Duration, longest: Duration },
    /// A server judges devices by their own beats, which are not replies.
    ReplyOnly,
    /// Something on the way would forget a connection to a foreign client between two of our beats.
    IdleLimit { interval: Duration, limit: Duration },
    /// Something on the way would forget every connection between two beats, whatever interval its device wishes.
    ShortestAboveIdleLimit { shortest: Duration, limit: Duration },
    /// A session would end before its device is reported offline.
    SessionLifetimeBelowGrace { lifetime: Duration, grace: Duration },
}

impl fmt::Display for ServerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroTimeout { timeout } => write!(f, "{timeout} is zero; give it at least 1 ms"),
            Self::ZeroLimit { limit } => write!(f, "{limit} is zero; give it at least 1"),
            Self::IntervalTooShort { interval, shortest } => {
                write!(f, "shortest interval {interval:?} is too short; give at least {shortest:?}")
            }
            Self::IntervalTooLong { interval, longest } => {
                write!(f, "longest interval {interval:?} is too long; give at most {longest:?}")
            }
            Self::IntervalsReversed { shortest, longest } => {
                write!(f, "shortest interval {shortest:?} is above the longest {longest:?}; exchange them")
            }
            Self::IdleLimit { interval, limit } => write!(
                f,
                "with an interval of {interval:?}, a proxy on the way that forgets connections idle for {limit:?} cuts foreign \
                 clients off between two beats; shorten the interval of the liveness, or tell the protocol's configuration \
                 what the idle limit is"
            ),
            Self::ShortestAboveIdleLimit { shortest, limit } => write!(
                f,
                "with a shortest interval of {shortest:?}, a proxy on the way that forgets connections idle for {limit:?} cuts \
                 every device off between two beats; lower it, or tell the protocol's configuration what the idle limit is"
            ),
            Self::ReplyOnly => f.write_str("a server cannot ask for replies only; use Proof::AnyBytes"),
            Self::SessionLifetimeBelowGrace { lifetime, grace } => {
                write!(f, "session lifetime {lifetime:?} is below the grace {grace:?}; raise it")
            }
        }
    }
}

impl core::error::Error for ServerConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerConfigError as E;

    const SECOND: Duration = Duration::from_secs(1);

    fn base() -> ServerConfigBuilder {
        ServerConfig::builder()
    }

    #[test]
    fn every_impossible_relation_names_its_values() {
        let (zero, day) = (Duration::ZERO, LivenessConfig::LONGEST_INTERVAL);
        let cases = [
            (base().handshake_timeout(zero), E::ZeroTimeout { timeout: "handshake_timeout" }),
            (base().close_timeout(zero), E::ZeroTimeout { timeout: "close_timeout" }),
            (base().max_connections(0), E::ZeroLimit { limit: "max_connections" }),
            (base().max_connections_per_address(0), E::ZeroLimit { limit: "max_connections_per_address" }),
            (base().max_handshakes(0), E::ZeroLimit { limit: "max_handshakes" }),
            (base().max_sessions(0), E::ZeroLimit { limit: "max_sessions" }),
            (
                base().intervals(zero, SECOND),
                E::IntervalTooShort { interval: zero, shortest: LivenessConfig::SHORTEST },
            ),
            (base().intervals(SECOND, Duration::MAX), E::IntervalTooLong { interval: Duration::MAX, longest: day }),
            (base().intervals(2 * SECOND, SECOND), E::IntervalsReversed { shortest: 2 * SECOND, longest: SECOND }),
            (base().liveness(LivenessConfig::builder().proof(Proof::ReplyOnly).build().unwrap()), E::ReplyOnly),
            (
                base().grace(2 * SECOND).session_lifetime(SECOND),
                E::SessionLifetimeBelowGrace { lifetime: SECOND, grace: 2 * SECOND },
            ),
        ];
        for (builder, error) in cases {
            assert_eq!(builder.build().err(), Some(error));
        }
        assert!(base().build().is_ok());
    }
}
