//! What both sides know while the WebSocket is not open yet.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::config::{Page, Settings};
use super::upgrade::{
    Agreed, ClientUpgrade, Offer, Refusal, Request, RequestError, ServerUpgrade, UpgradeError, UpgradeRequest,
};
use super::{Incoming, Outgoing};
use crate::entropy::Entropy;
use crate::session::Token;
use crate::tunnel::HostPort;
use crate::wire::{Credentials, DeviceId, Hello, PROTOCOL_VERSION, Reason, Welcome, WireError};

/// In milliseconds: the interval at which nobody beats.
const A_DAY: u32 = 24 * 60 * 60 * 1000;

/// A client that has not been answered, and what waits for the answer.
pub(in crate::wire) struct Asking<T> {
    server: Option<HostPort>,
    secure: bool,
    random: [u8; 16],
    asked: Option<(ClientUpgrade, T)>,
}

impl<T> Asking<T> {
    pub(in crate::wire) fn new(server: Option<HostPort>, secure: bool, entropy: &mut dyn Entropy) -> Self {
        let mut random = [0; 16];
        entropy.fill(&mut random);
        Self { server, secure, random, asked: None }
    }

    /// The request.
    pub(in crate::wire) fn ask(&mut self, request: &UpgradeRequest, waits: T) -> Vec<u8> {
        // That there is one was checked before an attempt began.
        let Some(server) = &self.server else { return Vec::new() };
        let (upgrade, request) = request.begin(server, self.secure, self.random);
        self.asked = Some((upgrade, waits));
        request
    }

    /// Reads the answer; gives back what waits for it.
    #[expect(clippy::type_complexity, reason = "three ways out, each of them used")]
    pub(in crate::wire) fn receive(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<(Agreed, T)>, Result<Box<Refusal>, WireError>> {
        let Some((upgrade, _)) = &mut self.asked else { return Ok(None) };
        let malformed = |problem| Err(WireError::Malformed { frame: "answer to the upgrade", problem });
        match upgrade.receive(input) {
            Ok(None) => Ok(None),
            Ok(Some(agreed)) => Ok(self.asked.take().map(|(_, waits)| (agreed, waits))),
            Err(UpgradeError::Refused(refusal)) => Err(Ok(refusal)),
            Err(UpgradeError::NotHttp) => Err(malformed("what answers does not speak HTTP/1")),
            Err(UpgradeError::HeadTooLarge) => Err(malformed("its head is above 16 KiB or 96 lines")),
            Err(UpgradeError::Broken(problem)) => Err(malformed(problem)),
        }
    }
}

/// What was agreed to holds from now on.
pub(in crate::wire) fn agree(agreed: &Agreed, incoming: &mut Incoming, outgoing: &mut Outgoing) {
    #[cfg(feature = "deflate")]
    if let Some(agreement) = &agreed.deflate {
        incoming.deflate(agreement);
        outgoing.deflate(agreement);
    }
    #[cfg(not(feature = "deflate"))]
    let _ = (agreed, incoming, outgoing);
}

/// A server that has no request.
pub(super) struct Listening {
    upgrade: ServerUpgrade,
    /// For the name of a client that says none, or for how long it is to wait.
    random: u64,
    refused: Option<u16>,
}

impl Listening {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        Self { upgrade: ServerUpgrade::new(), random: u64::from_be_bytes(random), refused: None }
    }

    pub(super) const fn random(&self) -> u64 {
        self.random
    }

    /// The HTTP status to refuse with, if the request was not to be had.
    pub(super) const fn refused(&self) -> Option<u16> {
        self.refused
    }

    pub(super) fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Request>, WireError> {
        self.upgrade.receive(input).map_err(|error| {
            self.refused = Some(error.status());
            WireError::Malformed { frame: "request", problem: error.problem() }
        })
    }

    /// Checks what is asked for, and from where.
    pub(super) fn admit(&mut self, request: Request, settings: &Settings) -> Result<Offer, WireError> {
        let offer = request.into_offer().map_err(|error| {
            self.refused = Some(error.status());
            WireError::Malformed { frame: "request", problem: error.problem() }
        })?;
        if !settings.paths.is_empty() && !settings.paths.iter().any(|path| path == offer.path()) {
            return Err(WireError::NotAllowed {
                reason: Reason::NotHere,
                problem: "there is no WebSocket at this path",
            });
        }
        if let Some(origin) = offer.origin()
            && !settings.lets_in(origin, offer.host())
        {
            return Err(WireError::NotAllowed { reason: Reason::Forbidden, problem: "the origin is not allowed" });
        }
        Ok(offer)
    }

    /// What a client that does not speak the native protocol would say.
    pub(super) fn hello_of(&self, offer: &Offer, beats: bool) -> Hello {
        let credentials = offer.header("Authorization").next().unwrap_or_default();
        Hello {
            version: 0,
            device: DeviceId::of_foreigner(self.random),
            instance: 0,
            attempt: 0,
            interval_ms: if beats { 0 } else { A_DAY },
            reply_timeout_ms: 0,
            message_limit: u64::MAX,
            token: None,
            received: 0,
            credentials: Credentials::new(credentials.to_vec()),
        }
    }
}

/// What a server that does not speak the native protocol would say. One that is not to be beaten at is given a day.
pub(super) fn welcome(hello: &Hello, beats: bool) -> Welcome {
    Welcome {
        version: PROTOCOL_VERSION,
        token: Token::new([0; 16]),
        resumed: false,
        interval_ms: if beats { hello.interval_ms } else { A_DAY },
        reply_timeout_ms: hello.reply_timeout_ms,
        message_limit: u64::MAX,
        received: 0,
    }
}

impl Settings {
    /// The request with these credentials in it, unless the native protocol carries them.
    pub(super) fn authorized(&self, credentials: &Credentials) -> Result<UpgradeRequest, RequestError> {
        if credentials.as_bytes().is_empty() || self.offers_native() {
            return Ok(self.request.clone());
        }
        if self.request.has_header("Authorization") {
            // Of two, servers take the first, the last, or none.
            return Err(RequestError::HeaderReserved);
        }
        let value = core::str::from_utf8(credentials.as_bytes()).map_err(|_| RequestError::HeaderValue)?;
        self.request.clone().header("Authorization", value)
    }

    /// Whether a page of this origin may connect to this host, as the request names it.
    fn lets_in(&self, origin: &str, host: &str) -> bool {
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        let is_own = !host.is_empty() && authority.eq_ignore_ascii_case(host);
        (self.origins.is_empty() && !self.own_origin)
            || self.origins.iter().any(|ours| ours.eq_ignore_ascii_case(origin))
            || (self.own_origin && is_own)
    }

    /// The sub-protocol that a server takes of those that a foreign client offers.
    pub(super) fn select(&self, offer: &Offer) -> Option<String> {
        let ours: Vec<&str> = self.request.subprotocols().collect();
        offer.select(&ours).map(Into::into)
    }
}

impl Page {
    pub(super) fn is_asked_for(&self, request: &Request) -> bool {
        request.method() == "GET" && request.target().split('?').next() == Some(&self.path)
    }

    /// What goes before the body.
    pub(super) fn head(&self) -> Vec<u8> {
        let Self { content_type, body, .. } = self;
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\n\
             Content-Security-Policy: frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::websocket::WebSocketConfig;

    #[test]
    fn who_is_let_in_depends_on_the_origin() {
        let any = WebSocketConfig::builder();
        let listed = any.clone().allow_origin("https://a.example");
        let own = any.clone().own_origin();
        let both = listed.clone().own_origin();
        for (origin, expected) in [
            ("http://gate.example:4880", [true, false, true, true]),
            ("https://GATE.example:4880", [true, false, true, true]),
            ("https://a.example", [true, true, false, true]),
            ("http://gate.example", [true, false, false, false]),
            ("http://gate.example:4881", [true, false, false, false]),
            ("http://evil.example", [true, false, false, false]),
            ("gate.example:4880", [true, false, false, false]),
            ("null", [true, false, false, false]),
            ("", [true, false, false, false]),
        ] {
            let let_in = [&any, &listed, &own, &both]
                .map(|config| config.clone().build().unwrap().settings().lets_in(origin, "gate.example:4880"));
            assert_eq!(let_in, expected, "{origin}");
        }
        assert!(!own.build().unwrap().settings().lets_in("http://", ""), "a request without a host has no pages");
    }
}
