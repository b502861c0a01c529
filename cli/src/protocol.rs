//! The protocol of an endpoint, with the options that are about it.

use std::fmt::Display;
use std::str::FromStr;

use keepbeat_core::session::Message;
use keepbeat_core::wire::AnyConfig;
use keepbeat_core::wire::beat::BeatConfig;
use keepbeat_core::wire::websocket::deflate::DeflateConfig;
use keepbeat_core::wire::websocket::upgrade::RequestError;
use keepbeat_core::wire::websocket::{Beats, SUBPROTOCOL, WebSocketConfig, WebSocketConfigError};

use crate::args::{ClientWireArgs, ServerWireArgs};
use crate::endpoint::{Endpoint, Protocol};
use crate::mqtt::MqttArgs;

/// What `serve --page` serves where clients connect.
const PAGE: &str = include_str!("../page/index.html");

/// What the page needs, in its folder: name, type and content.
const BESIDE_PAGE: [(&str, &str, &str); 3] = [
    ("page.js", "text/javascript; charset=utf-8", include_str!("../page/page.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("../page/page.css")),
    ("keepbeat.js", "text/javascript; charset=utf-8", include_str!("../page/keepbeat.js")),
];

/// What `--beat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Beat {
    Ping,
    Text(String),
    None,
}

impl FromStr for Beat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("text:")) {
            ("ping", _) => Ok(Self::Ping),
            ("none", _) => Ok(Self::None),
            (_, Some("")) => Err("the text is empty; give for example text:beat".to_owned()),
            (_, Some(beat)) => Ok(Self::Text(beat.to_owned())),
            _ => Err("it is neither ping nor none nor text:TEXT".to_owned()),
        }
    }
}

/// What a client speaks at this endpoint.
pub(crate) fn client(endpoint: &Endpoint, args: &ClientWireArgs, mqtt: &MqttArgs) -> Result<AnyConfig, String> {
    if !mqtt.is_spoken_at(endpoint)
        && let Some(option) = mqtt.first_given()
    {
        return Err(format!(
            "{option} is about MQTT, which is not spoken at {endpoint}: write mqtt:// or mqtts://, give --mqtt, too, for MQTT \
             inside WebSocket, or leave {option} away"
        ));
    }
    let ClientWireArgs { subprotocol, header, origin, beat, beat_reply, deflate, max_message } = args;
    if endpoint.protocol() != Protocol::WebSocket {
        let given = [
            ("--subprotocol", !subprotocol.is_empty()),
            ("--header", !header.is_empty()),
            ("--origin", origin.is_some()),
            ("--beat", beat.is_some()),
            ("--beat-reply", beat_reply.is_some()),
            ("--deflate", *deflate),
        ];
        if endpoint.protocol() == Protocol::Mqtt {
            refuse(&[endpoint], &given)?;
            return mqtt.config(*max_message, None);
        }
        return native(&[endpoint], &given, *max_message);
    }
    let mut builder = WebSocketConfig::builder().target(endpoint.target()).message_limit(*max_message);
    if *deflate {
        builder = builder.deflate(DeflateConfig::DEFAULT);
    }
    for name in subprotocol {
        builder = builder.subprotocol(name);
    }
    for line in header {
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("--header: {line:?} has no colon; give for example 'X-Unit: pump 7'"));
        };
        builder = builder.header(name.trim(), value.trim());
    }
    if let Some(origin) = origin {
        builder = builder.origin(origin);
    }
    builder = builder.beats(match (beat, beat_reply) {
        (Some(Beat::Text(request)), reply) => {
            Beats::Message { request: Message::text(request), reply: Message::text(reply.as_ref().unwrap_or(request)) }
        }
        (_, Some(_)) => return Err("--beat-reply answers a beat that is a text: give --beat text:TEXT, too".to_owned()),
        (Some(Beat::None), None) => Beats::None,
        (Some(Beat::Ping) | None, None) => Beats::Ping,
    });
    let websocket = builder.build().map_err(|error| explain(&error))?;
    if mqtt.is_spoken_at(endpoint) { mqtt.config(*max_message, Some(websocket)) } else { Ok(websocket.into()) }
}

/// Whether another keepbeat is asked for, whose link has a name and a session.
pub(crate) fn asks_for_a_keepbeat(endpoint: &Endpoint, args: &ClientWireArgs) -> bool {
    endpoint.protocol() == Protocol::Beat || args.subprotocol.iter().any(|name| name == SUBPROTOCOL)
}

/// What a server speaks at each of these endpoints.
pub(crate) fn server(endpoints: &[Endpoint], args: &ServerWireArgs) -> Result<Vec<AnyConfig>, String> {
    let ServerWireArgs { deflate, max_message, path, allow_origin, page } = args;
    if let Some(broker) = endpoints.iter().find(|endpoint| endpoint.protocol() == Protocol::Mqtt) {
        return Err(format!("{broker} would be an MQTT broker, which this is not; serve beat:// or ws://"));
    }
    if endpoints.iter().all(|endpoint| endpoint.protocol() == Protocol::Beat) {
        let given = [
            ("--deflate", *deflate),
            ("--path", !path.is_empty()),
            ("--allow-origin", !allow_origin.is_empty()),
            ("--page", *page),
        ];
        let endpoints: Vec<_> = endpoints.iter().collect();
        native(&endpoints, &given, *max_message)?;
    }
    endpoints.iter().map(|endpoint| serve_one(endpoint, args)).collect()
}

fn serve_one(endpoint: &Endpoint, args: &ServerWireArgs) -> Result<AnyConfig, String> {
    let ServerWireArgs { deflate, max_message, path, allow_origin, page } = args;
    if endpoint.protocol() == Protocol::Beat {
        return native(&[endpoint], &[], *max_message);
    }
    let mut builder = WebSocketConfig::builder().message_limit(*max_message);
    if *deflate {
        builder = builder.deflate(DeflateConfig::DEFAULT);
    }
    let paths = paths(endpoint, path);
    for path in &paths {
        builder = builder.path(*path);
    }
    for origin in allow_origin {
        builder = builder.allow_origin(origin);
    }
    if *page {
        builder = builder.own_origin();
        for path in if paths.is_empty() { vec!["/"] } else { paths } {
            builder = builder.page(path, "text/html; charset=utf-8", PAGE);
            let folder = path.rfind('/').and_then(|end| path.get(..=end)).unwrap_or_default();
            for (name, content_type, content) in BESIDE_PAGE {
                builder = builder.page(format!("{folder}{name}"), content_type, content);
            }
        }
    }
    builder.build().map(AnyConfig::from).map_err(|error| explain(&error))
}

/// Where clients are let in, and pages are; everywhere if there are none.
fn paths<'a>(endpoint: &'a Endpoint, path: &'a [String]) -> Vec<&'a str> {
    let own = Some(endpoint.target()).filter(|target| *target != "/");
    own.into_iter().chain(path.iter().map(String::as_str)).collect()
}

/// Where browsers find the page of this endpoint, which listens at this address; `None` if there is none.
pub(crate) fn page_url(endpoint: &Endpoint, address: impl Display, args: &ServerWireArgs) -> Option<String> {
    if !args.page || endpoint.protocol() == Protocol::Beat {
        return None;
    }
    let scheme = if endpoint.is_tls() { "https" } else { "http" };
    let path = paths(endpoint, &args.path).first().copied().unwrap_or("/");
    Some(format!("{scheme}://{address}{path}"))
}

/// The native protocol, which knows no option but the limit of messages.
fn native(endpoints: &[&Endpoint], given: &[(&str, bool)], max_message: usize) -> Result<AnyConfig, String> {
    refuse(endpoints, given)?;
    let config = BeatConfig::builder().message_limit(max_message).build();
    config.map(AnyConfig::from).map_err(|error| format!("--max-message: {error}"))
}

/// Options that are about WebSocket make no difference to others.
fn refuse(endpoints: &[&Endpoint], given: &[(&str, bool)]) -> Result<(), String> {
    if let (Some((option, _)), Some(endpoint)) = (given.iter().find(|(_, given)| *given), endpoints.first()) {
        return Err(format!(
            "{option} is about WebSocket, and {endpoint} is none: write ws:// or wss://, or leave {option} away"
        ));
    }
    Ok(())
}

/// Names the option that is at fault.
fn explain(error: &WebSocketConfigError) -> String {
    use WebSocketConfigError as E;
    let option = match error {
        E::Request(RequestError::Subprotocol) => "--subprotocol",
        E::Request(RequestError::HeaderName | RequestError::HeaderReserved) => "--header",
        E::Request(RequestError::HeaderValue) => "--header or --origin",
        E::Request(RequestError::TooLong) => "--header and --subprotocol",
        E::Request(_) => "the URL",
        E::Path { .. } => "--path, or the path of the URL",
        E::Origin { .. } => "--allow-origin",
        E::Limits { .. } => "--max-message",
        _ => "WebSocket",
    };
    format!("{option}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_a_ping_a_text_or_nothing() {
        assert_eq!("ping".parse(), Ok(Beat::Ping));
        assert_eq!("none".parse(), Ok(Beat::None));
        assert_eq!("text:{\"op\":1}".parse(), Ok(Beat::Text("{\"op\":1}".to_owned())));
        for text in ["", "text", "text:", "Ping", "binary:1"] {
            assert!(text.parse::<Beat>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_page_is_there_as_it_was_written() {
        assert!(PAGE.contains("<html") && PAGE.contains("./page.js") && PAGE.contains("./page.css"));
        for (name, _, content) in BESIDE_PAGE {
            let words = match name {
                "page.js" => "\"./keepbeat.js\"",
                "keepbeat.js" => "export class Link",
                _ => ":root",
            };
            assert!(content.contains(words), "{name}");
        }
    }
}
