//! What both roles are told once.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use super::CloseCode;
#[cfg(feature = "deflate")]
use super::deflate::DeflateConfig;
use super::upgrade::{RequestError, UpgradeRequest};
use crate::session::Message;
use crate::tunnel::{HostPort, HostPortError};
use crate::wire::Reason;
use crate::wire::beat::{BeatConfig, HELLO_LIMIT_MIN, MESSAGE_LIMIT_MAX};

/// The sub-protocol that two keepbeats agree on: the native protocol's frames in binary messages, so that numbers,
/// acknowledgements and sessions are what they are on TCP. A server of ours always agrees to it; a client offers it if its
/// configuration says so ([`WebSocketConfigBuilder::subprotocol`]).
pub const SUBPROTOCOL: &str = "keepbeat.1";

/// What nginx, HAProxy's tunnels and the load balancers of AWS close a connection after that was idle for so long, unless they
/// are told otherwise (`proxy_read_timeout`).
pub const USUAL_IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How a connection to a foreign peer beats. Between two keepbeats ([`SUBPROTOCOL`]) it makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Beats {
    /// By pings. They also ask which messages arrived.
    #[default]
    Ping,
    /// By messages of the application, for peers that do not answer pings or cannot see them. Neither message is ever
    /// delivered. When a message has left, it counts as acknowledged.
    ///
    /// The bound of detection does not hold while such a beat waits behind a long message that moves: detection is later by as
    /// long as that message takes to leave.
    Message {
        /// What asks whether the other side is alive. If it comes from there, `reply` is sent.
        request: Message,
        /// What answers.
        reply: Message,
    },
    /// Not at all: only the other side's bytes, the network and a day of silence tell. When a message has left, it counts as
    /// acknowledged.
    None,
}

/// The settings of WebSocket for the connections of a client or a server. Made by [`WebSocketConfig::builder`]. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct WebSocketConfig(Arc<Settings>);

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) request: UpgradeRequest,
    pub(super) beats: Beats,
    pub(super) frames: BeatConfig,
    pub(super) close_codes: Vec<(u16, Reason)>,
    pub(super) idle_limit: Option<Duration>,
    pub(super) paths: Vec<String>,
    pub(super) origins: Vec<String>,
    pub(super) own_origin: bool,
    pub(super) pages: Vec<Page>,
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<DeflateConfig>,
}

/// What a server answers to a request that asks for no WebSocket.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl WebSocketConfig {
    /// Starts from a client that asks for `/` and a server that lets in whoever asks, messages of up to 1 MiB, and pings.
    pub const fn builder() -> WebSocketConfigBuilder {
        WebSocketConfigBuilder {
            target: String::new(),
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            beats: Beats::Ping,
            message_limit: 1 << 20,
            hello_limit: 4 << 10,
            close_codes: Vec::new(),
            idle_limit: Some(USUAL_IDLE_LIMIT),
            paths: Vec::new(),
            origins: Vec::new(),
            own_origin: false,
            pages: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    /// The same for a client that offers this sub-protocol.
    pub(in crate::wire) fn offering(&self, subprotocol: &str) -> Result<Self, RequestError> {
        let mut settings = (*self.0).clone();
        if !settings.request.subprotocols().any(|ours| ours == subprotocol) {
            settings.request = settings.request.subprotocol(subprotocol)?;
        }
        Ok(Self(Arc::new(settings)))
    }

    pub(in crate::wire) fn request(&self) -> &UpgradeRequest {
        &self.0.request
    }

    pub(in crate::wire) fn message_limit(&self) -> usize {
        self.0.frames.message_limit()
    }

    pub(in crate::wire) fn close_codes(&self) -> &[(u16, Reason)] {
        &self.0.close_codes
    }

    pub(in crate::wire) fn beats_by_itself(&self) -> bool {
        self.0.beats == Beats::Ping
    }

    pub(in crate::wire) fn idle_limit(&self) -> Option<Duration> {
        self.0.idle_limit
    }
}

impl Settings {
    /// Whether a client offers to speak the native protocol.
    pub(super) fn offers_native(&self) -> bool {
        self.request.subprotocols().any(|name| name == SUBPROTOCOL)
    }
}

/// Builds a [`WebSocketConfig`]. What is for one role makes no difference to the other.
#[must_use]
#[derive(Debug, Clone)]
pub struct WebSocketConfigBuilder {
    target: String,
    origin: Option<String>,
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    beats: Beats,
    message_limit: usize,
    hello_limit: usize,
    close_codes: Vec<(u16, Reason)>,
    idle_limit: Option<Duration>,
    paths: Vec<String>,
    origins: Vec<String>,
    own_origin: bool,
    pages: Vec<Page>,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateConfig>,
}

impl WebSocketConfigBuilder {
    /// What a client asks for: a path and perhaps a query, percent-encoded. Default: `/`.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// From which web page a client says that it comes (RFC 6454). Default: it does not say.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// A header of a client's request. Credentials of the link go into `Authorization` by themselves, unless [`SUBPROTOCOL`] is
    /// offered, which carries them.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A sub-protocol that a client offers and a server takes, in order of preference. With [`SUBPROTOCOL`], a client whose
    /// server is a keepbeat has a session that is resumed: nothing is lost, nothing comes twice.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// How a connection to a foreign peer beats. Default: [`Beats::Ping`].
    pub fn beats(mut self, beats: Beats) -> Self {
        self.beats = beats;
        self
    }

    /// The largest message accepted, in bytes: 1 to [`MESSAGE_LIMIT_MAX`]. Default: 1 MiB.
    pub const fn message_limit(mut self, bytes: usize) -> Self {
        self.message_limit = bytes;
        self
    }

    /// The longest handshake frame of another keepbeat that is accepted, in bytes; at least [`HELLO_LIMIT_MIN`]. Default: 4 KiB.
    pub const fn hello_limit(mut self, bytes: usize) -> Self {
        self.hello_limit = bytes;
        self
    }

    /// What a peer means by closing with `code`, and so whether and when a client comes back. Without it:
    ///
    /// | code | meaning | the client |
    /// |---|---|---|
    /// | 1000 | [`Reason::Closed`] | gives up |
    /// | 1001, 1012, none | [`Reason::GoingAway`] | comes back |
    /// | 1002, 1003, 1007 | [`Reason::Malformed`] | comes back |
    /// | 1008 | [`Reason::Forbidden`] | gives up |
    /// | 1009 | [`Reason::TooLarge`] | comes back |
    /// | 1010 | [`Reason::NotHere`] | gives up |
    /// | 1013 | [`Reason::Busy`] | comes back |
    /// | others | [`Reason::Failed`] | comes back |
    ///
    /// An end without a close frame (1006) is a failure of the network: the client comes back.
    pub fn close_code(mut self, code: u16, meaning: Reason) -> Self {
        self.close_codes.push((code, meaning));
        self
    }

    /// How long a connection may be idle on its usual way before something forgets it: a client's beat interval must be
    /// shorter. `None` if nothing does. Default: [`USUAL_IDLE_LIMIT`].
    pub const fn idle_limit(mut self, limit: Option<Duration>) -> Self {
        self.idle_limit = limit;
        self
    }

    /// A path at which a server lets clients in; all others get 404. Default: any path.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// An origin whose pages a server lets in; browsers on others get 403, as RFC 6455, section 10.2, has it. Clients that are
    /// no browsers, and say no origin, are let in. Default: any origin.
    ///
    /// It is what browsers say (RFC 6454, section 6.2): scheme, host, and the port unless it is the scheme's own, such as
    /// `https://gate.example` or `http://localhost:8080`; or `null`, for pages of no origin.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Lets in this server's own pages, and no others but those of [`allow_origin`](Self::allow_origin): the host and port of
    /// their origin are those that the request asks for (RFC 9110, section 7.2). A proxy on the way must hand on what the browser
    /// wrote there. `http` and `https` are the same here, because TLS may end on the way. Default: any origin.
    pub const fn own_origin(mut self) -> Self {
        self.own_origin = true;
        self
    }

    /// What a server answers to a GET of this path that asks for no WebSocket. No other page may show it in a frame, browsers
    /// take it for what its content type says, and its links do not tell where they are. Default: nothing, which is 426.
    pub fn page(mut self, path: impl Into<String>, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        self.pages.push(Page { path: path.into(), content_type: content_type.into(), body: body.into() });
        self
    }

    /// Compresses messages if the other side wants it, too (RFC 7692). Default: no.
    #[cfg(feature = "deflate")]
    pub const fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }

    /// Checks all values.
    ///
    /// # Errors
    /// The first value that cannot be, with the place where it stands.
    pub fn build(self) -> Result<WebSocketConfig, WebSocketConfigError> {
        use WebSocketConfigError as E;
        let target = if self.target.is_empty() { "/" } else { &self.target };
        let mut request = UpgradeRequest::new(target).map_err(E::Request)?;
        if let Some(origin) = &self.origin {
            request = request.origin(origin).map_err(E::Request)?;
        }
        for name in &self.subprotocols {
            request = request.subprotocol(name).map_err(E::Request)?;
        }
        for (name, value) in &self.headers {
            request = request.header(name, value).map_err(E::Request)?;
        }
        #[cfg(feature = "deflate")]
        if let Some(config) = self.deflate {
            request = request.deflate(config).map_err(E::Request)?;
        }
        for path in self.paths.iter().chain(self.pages.iter().map(|page| &page.path)) {
            if !path.starts_with('/') || path.contains('?') {
                return Err(E::Path { path: path.clone() });
            }
        }
        if let Some(origin) = self.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(E::Origin { origin: origin.clone() });
        }
        if let Some(page) =
            self.pages.iter().find(|page| page.content_type.bytes().any(|byte| !matches!(byte, b' '..=b'~')))
        {
            return Err(E::ContentType { path: page.path.clone() });
        }
        for (at, (code, _)) in self.close_codes.iter().enumerate() {
            let repeated = self.close_codes.iter().take(at).any(|(earlier, _)| earlier == code);
            if CloseCode::new(*code).is_none() || repeated {
                return Err(E::CloseCode { code: *code });
            }
        }
        if let Beats::Message { request, reply } = &self.beats
            && (request.is_empty() || reply.is_empty())
        {
            return Err(E::EmptyBeat);
        }
        let frames = BeatConfig::builder().message_limit(self.message_limit).hello_limit(self.hello_limit).build();
        let frames =
            frames.map_err(|_| E::Limits { message_limit: self.message_limit, hello_limit: self.hello_limit })?;
        Ok(WebSocketConfig(Arc::new(Settings {
            request,
            beats: self.beats,
            frames,
            close_codes: self.close_codes,
            idle_limit: self.idle_limit,
            paths: self.paths,
            origins: self.origins,
            own_origin: self.own_origin,
            pages: self.pages,
            #[cfg(feature = "deflate")]
            deflate: self.deflate,
        })))
    }
}

/// Whether a browser can say that a page is from there.
fn is_origin(text: &str) -> bool {
    if text == "null" {
        return true;
    }
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(plain) {
        return false;
    }
    let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    match host.parse::<HostPort>() {
        Ok(with_port) => !is_web || with_port.port() != usual,
        Err(HostPortError::NoPort) => format!("{host}:{usual}").parse::<HostPort>().is_ok(),
        Err(_) => false,
    }
}

/// An impossible [`WebSocketConfig`]: a fault of the configuration. Nothing was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketConfigError {
    /// The client's request cannot be made.
    Request(RequestError),
    /// A path does not begin with `/`, or has a query.
    Path {
        /// The path.
        path: String,
    },
    /// What is allowed as an origin is none that a browser says.
    Origin {
        /// What was given.
        origin: String,
    },
    /// The content type of a page has a character that a header cannot carry.
    ContentType {
        /// The page's path.
        path: String,
    },
    /// No close frame carries this code, or it was given twice.
    CloseCode {
        /// The code.
        code: u16,
    },
    /// A beat that is a message is empty, so that an empty message could not be told from it.
    EmptyBeat,
    /// A limit is out of its bounds.
    Limits {
        /// The limit of messages, in bytes.
        message_limit: usize,
        /// The limit of handshake frames, in bytes.
        hello_limit: usize,
    },
}

impl fmt::Display for WebSocketConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Path { path } => {
                write!(f, "the path {path:?} does not begin with / or has a query; write it like /live")
            }
            Self::Origin { origin } => write!(
                f,
                "no browser says that its page is from {origin:?}; write scheme, host, and port unless it is the scheme's \
                 own, as in https://gate.example or http://localhost:8080, with nothing behind it; each origin by itself, \
                 without *"
            ),
            Self::ContentType { path } => {
                write!(f, "the content type of the page {path} is not visible ASCII; give for example text/html")
            }
            Self::CloseCode { code } => {
                write!(
                    f,
                    "close code {code} is given twice, or no close frame carries it; give 1000 to 1003, 1007 to 1014, 3000 to 4999"
                )
            }
            Self::EmptyBeat => f.write_str("a beat that is a message is empty; give it at least one byte"),
            Self::Limits { message_limit, hello_limit } => write!(
                f,
                "message limit {message_limit} or hello limit {hello_limit} is out of its bounds; give messages 1 to \
                 {MESSAGE_LIMIT_MAX} bytes and hellos at least {HELLO_LIMIT_MIN}"
            ),
        }
    }
}

impl core::error::Error for WebSocketConfigError {}
