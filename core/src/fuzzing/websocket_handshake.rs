//! `websocket_handshake`: the upgrade to WebSocket, read and written by both sides.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | modulo 4: a server reads a request; a client reads an answer; a client asks for what the rest says; a server refuses |
//! | 1 | the seed of a cut into pieces |
//! | 2 | of a client: bits 0 and 1: how many sub-protocols it offers; 2 and 3: how it compresses, if at all; of a refusal: 2 and 3: Retry-After |
//! | rest | what arrives; of a question: target, origin, sub-protocol, and names and values of headers, one in a line; of a refusal: two bytes of a status |
//!
//! The client's key is that of RFC 6455, section 1.3, so that an answer can belong to it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Debug;
use core::time::Duration;

use super::script::{Pieces, Script};
use crate::entropy::Prng;
use crate::wire::websocket::upgrade::{
    Agreed, ClientUpgrade, HEAD_LIMIT, HEADERS_LIMIT, Offer, OfferError, Request, ServerUpgrade, UpgradeError,
    UpgradeRequest, refuse,
};

const RANDOM: [u8; 16] = *b"the sample nonce";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const SUBPROTOCOLS: [&str; 3] = ["chat", "superchat", "beat.1"];

/// What a client offers, besides.
#[cfg(feature = "deflate")]
const COMPRESSES: bool = true;
#[cfg(not(feature = "deflate"))]
const COMPRESSES: bool = false;

/// Checks that the pieces in which a head arrives make no difference, that nothing is accepted that breaks a rule of RFC 6455,
/// sections 4.1 and 4.2, by a second and simpler reader, and that each side accepts what the other one writes.
///
/// # Panics
/// If one of these does not hold.
pub fn websocket_handshake(data: &[u8]) {
    let mut script = Script::new(data);
    let (who, seed, options) = (script.byte(), script.byte(), script.byte());
    match who % 4 {
        0 => request(script.rest(), seed),
        1 => answer(script.rest(), seed, options),
        2 => question(script.rest(), seed, options),
        _ => refusal(script.short(), options),
    }
}

fn request(bytes: &[u8], seed: u8) {
    let read = |pieces| read(bytes, pieces, ServerUpgrade::new(), ServerUpgrade::receive);
    let whole: Outcome<Request, OfferError> = alike(read, seed);
    let request = match whole.result {
        Some(Ok(request)) => request,
        Some(Err(error)) => return assert_refuses(&error),
        None => return assert!(bytes.len() < HEAD_LIMIT),
    };
    let head = Head::read(&bytes[..bytes.len() - whole.left]);
    assert_eq!(head.first, alloc::format!("{} {} HTTP/1.{}", request.method(), request.target(), head.minor()));
    let wants = request.wants_upgrade();
    let offer = match request.into_offer() {
        Ok(offer) => offer,
        Err(error) => {
            assert!(wants || !matches!(error, OfferError::NotHttp | OfferError::HeadTooLarge));
            return assert_refuses(&error);
        }
    };
    assert!(wants && head.first.starts_with("GET ") && head.minor() == 1);
    assert!(offer.target().starts_with('/') && !offer.target().contains(['#', ' ', '\r', '\n']));
    assert_eq!(head.all("host").len(), 1);
    assert!(head.has("upgrade", "websocket") && head.has("connection", "upgrade"));
    assert_eq!(head.all("sec-websocket-version"), ["13"]);
    let keys = head.all("sec-websocket-key");
    assert!(keys.len() == 1 && keys[0].len() == 24 && keys[0].ends_with("=="));
    assert!(head.all("origin").len() <= 1 && head.all("transfer-encoding").is_empty());
    assert!(head.all("content-length").iter().all(|length| length == "0"));
    agree(&offer, &head);
}

/// Answers an offer in every way, each without a line that was smuggled in.
fn agree(offer: &Offer, request: &Head) {
    let offered = request.list("sec-websocket-protocol");
    assert!(offer.subprotocols().eq(offered.iter().map(String::as_str)));
    for subprotocol in core::iter::once(None).chain(offered.iter().cloned().map(Some)) {
        let agreed = Agreed {
            subprotocol,
            #[cfg(feature = "deflate")]
            deflate: offer.deflate(&crate::wire::websocket::deflate::DeflateConfig::DEFAULT),
        };
        let answer = offer.accept(&agreed).unwrap();
        let head = Head::read(&answer);
        assert_eq!(head.first, "HTTP/1.1 101 Switching Protocols");
        let most = 3 + usize::from(agreed.subprotocol.is_some()) + usize::from(COMPRESSES);
        assert!(head.fields.len() <= most && head.length == answer.len(), "{answer:?}");
        assert_eq!(head.all("sec-websocket-protocol"), agreed.subprotocol.into_iter().collect::<Vec<_>>());
    }
    assert!(offer.accept(&Agreed { subprotocol: Some("a b".into()), ..Agreed::default() }).is_err());
}

fn assert_refuses(error: &OfferError) {
    assert!(!error.to_string().is_empty());
    let (answer, head) = (error.answer(), Head::read(&error.answer()));
    assert!(head.length == answer.len() && head.first.starts_with(&alloc::format!("HTTP/1.1 {} ", error.status())));
}

fn answer(bytes: &[u8], seed: u8, options: u8) {
    let read = |pieces| {
        let (upgrade, _) = asks(options).begin(&"a.example:80".parse().unwrap(), false, RANDOM);
        read(bytes, pieces, upgrade, ClientUpgrade::receive)
    };
    let whole: Outcome<Agreed, UpgradeError> = alike(read, seed);
    let agreed = match whole.result {
        Some(Ok(agreed)) => agreed,
        Some(Err(error)) => {
            assert!(!error.to_string().is_empty());
            if let UpgradeError::Refused(refusal) = error {
                assert!(refusal.status != 101 && refusal.reason.chars().count() <= 120);
                assert!(!refusal.reason.contains(char::is_control) && refusal.retry_after != Some(Duration::ZERO));
                assert!(refusal.location.iter().all(|location| location.bytes().all(|byte| byte.is_ascii_graphic())));
            }
            return;
        }
        None => return assert!(bytes.len() < HEAD_LIMIT),
    };
    let mut rest = &bytes[..bytes.len() - whole.left];
    let mut head = Head::read(rest);
    while head.length < rest.len() {
        assert!(head.first.starts_with("HTTP/1.") && head.first[8..].starts_with(" 1") && !head.first.contains(" 101"));
        rest = &rest[head.length..];
        head = Head::read(rest);
    }
    assert!(head.first.starts_with("HTTP/1.1 101"), "{:?}", head.first);
    let upgrade = head.all("upgrade");
    assert!(upgrade.len() == 1 && upgrade[0].eq_ignore_ascii_case("websocket") && head.has("connection", "upgrade"));
    assert_eq!(head.all("sec-websocket-accept"), [ACCEPT]);
    let chosen = head.all("sec-websocket-protocol");
    assert_eq!(chosen, agreed.subprotocol.iter().cloned().collect::<Vec<_>>());
    assert!(chosen.iter().all(|name| asks(options).subprotocols().any(|ours| ours == name)));
    let extensions = head.list("sec-websocket-extensions");
    assert!(extensions.len() <= usize::from(COMPRESSES && options & 12 != 0), "{extensions:?} were not offered");
    #[cfg(feature = "deflate")]
    assert_eq!(agreed.deflate.is_some(), !extensions.is_empty());
}

/// What a client asks for by configuration.
fn asks(options: u8) -> UpgradeRequest {
    let names = SUBPROTOCOLS.iter().take(usize::from(options & 3));
    let request = names.fold(UpgradeRequest::new("/chat").unwrap(), |request, name| request.subprotocol(name).unwrap());
    compressing(request, options)
}

#[cfg(feature = "deflate")]
fn compressing(request: UpgradeRequest, options: u8) -> UpgradeRequest {
    use crate::wire::websocket::Role;
    use crate::wire::websocket::deflate::DeflateConfig;

    let knowing = DeflateConfig::DEFAULT.context_takeover(Role::Client, true).context_takeover(Role::Server, true);
    let config = match options >> 2 & 3 {
        0 => return request,
        1 => DeflateConfig::DEFAULT,
        2 => knowing,
        _ => knowing.max_window_bits(Role::Server, 9).unwrap().max_window_bits(Role::Client, 10).unwrap(),
    };
    request.deflate(config).unwrap_or_else(|_| asks(options & 3))
}

#[cfg(not(feature = "deflate"))]
const fn compressing(request: UpgradeRequest, _: u8) -> UpgradeRequest {
    request
}

/// Whatever a configuration may say, a server reads exactly that, and the client reads the server's answer.
fn question(bytes: &[u8], seed: u8, options: u8) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    let line = |at: usize| lines.get(at).copied().unwrap_or_default();
    let (target, origin, subprotocol) = (line(0), line(1), line(2));
    let Ok(mut asked) = UpgradeRequest::new(target) else { return };
    let mut origins = Vec::new();
    if !origin.is_empty()
        && let Ok(with) = asked.clone().origin(origin)
    {
        (asked, origins) = (with, Vec::from([origin.trim_ascii()]));
    }
    if let Ok(with) = asked.clone().subprotocol(subprotocol) {
        asked = with;
    }
    let mut headers = 0;
    for [name, value] in lines.get(3..).unwrap_or_default().as_chunks().0.iter().take(HEADERS_LIMIT / 2) {
        if let Ok(with) = asked.clone().header(name, value) {
            asked = with;
            headers += 1;
        }
    }
    let asked = compressing(asked, options);
    let (mut client, written) = asked.begin(&"a.example:8080".parse().unwrap(), false, RANDOM);
    let head = Head::read(&written);
    let lines = 5 + origins.len() + usize::from(asked.subprotocols().next().is_some()) + headers;
    assert!(head.length == written.len() && (lines..=lines + usize::from(COMPRESSES)).contains(&head.fields.len()));
    let read = |pieces| read(&written, pieces, ServerUpgrade::new(), ServerUpgrade::receive);
    let outcome: Outcome<Request, OfferError> = alike(read, seed);
    let offer = outcome.result.unwrap().unwrap().into_offer().unwrap();
    assert_eq!((offer.target(), offer.host()), (target, "a.example:8080"));
    assert!(offer.origin().into_iter().eq(origins) && offer.subprotocols().eq(asked.subprotocols()));
    let agreed = Agreed {
        subprotocol: offer.subprotocols().next().map(Into::into),
        #[cfg(feature = "deflate")]
        deflate: offer.deflate(&crate::wire::websocket::deflate::DeflateConfig::DEFAULT),
    };
    let answer = [&offer.accept(&agreed).unwrap()[..], b"\x89\x00"].concat();
    let mut input = &answer[..];
    assert_eq!(client.receive(&mut input), Ok(Some(agreed)));
    assert_eq!(input, b"\x89\x00");
}

fn refusal(status: u16, options: u8) {
    let retry = [None, Some(Duration::ZERO), Some(Duration::from_millis(1500)), Some(Duration::MAX)];
    let retry = retry[usize::from(options >> 2 & 3)];
    let answer = refuse(status, retry);
    let (mut client, _) = asks(options).begin(&"a.example:80".parse().unwrap(), false, RANDOM);
    let Err(UpgradeError::Refused(refusal)) = client.receive(&mut &answer[..]) else { panic!("{answer:?}") };
    assert_eq!(refusal.status, if matches!(status, 300..=599) { status } else { 500 });
    let seconds = retry.map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)));
    assert_eq!(refusal.retry_after, seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs));
}

/// What came of a head, and how many bytes are behind it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome<T, E> {
    result: Option<Result<T, E>>,
    left: usize,
}

fn alike<T: PartialEq + Debug, E: PartialEq + Debug>(
    read: impl Fn(Pieces) -> Outcome<T, E>,
    seed: u8,
) -> Outcome<T, E> {
    let whole = read(Pieces::Whole);
    for pieces in [Pieces::Small, Pieces::Drawn(Prng::new(seed.into()))] {
        let outcome = read(pieces);
        // What is wrong with a line may show when it ends.
        let is_later = outcome.result.is_none() && matches!(whole.result, Some(Err(_)));
        assert!(is_later || outcome == whole, "in pieces: {outcome:?}, and whole: {whole:?}");
    }
    whole
}

fn read<R, T, E>(
    bytes: &[u8],
    mut pieces: Pieces,
    mut reader: R,
    receive: impl Fn(&mut R, &mut &[u8]) -> Result<Option<T>, E>,
) -> Outcome<T, E> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut piece = pieces.next(&mut rest);
        match receive(&mut reader, &mut piece) {
            Ok(None) => assert!(piece.is_empty(), "input is left, but there is no head"),
            Ok(Some(head)) => return Outcome { result: Some(Ok(head)), left: piece.len() + rest.len() },
            Err(error) => return Outcome { result: Some(Err(error)), left: 0 },
        }
    }
    Outcome { result: None, left: 0 }
}

/// A head, by a second and simpler reader.
struct Head {
    first: String,
    /// Names in small letters.
    fields: Vec<(String, String)>,
    /// With the empty lines around it.
    length: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let (mut lines, mut length) = (Vec::new(), 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            length += line.len();
            let line = String::from_utf8_lossy(line.trim_ascii_end());
            match (line.is_empty(), lines.is_empty()) {
                (true, true) => {}
                (true, false) => break,
                (false, _) => lines.push(line.trim_start_matches('\r').to_string()),
            }
        }
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let field = |line: String| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim_ascii().to_string())
        };
        Self { first, fields: lines.map(field).collect(), length }
    }

    fn minor(&self) -> u8 {
        u8::from(self.first.ends_with("HTTP/1.1"))
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.fields.iter().filter(|(ours, _)| ours == name).map(|(_, value)| value.clone()).collect()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let values = self.all(name).join(",");
        values.split(',').map(str::trim_ascii).filter(|element| !element.is_empty()).map(Into::into).collect()
    }

    fn has(&self, name: &str, token: &str) -> bool {
        self.list(name).iter().any(|element| element.eq_ignore_ascii_case(token))
    }
}
