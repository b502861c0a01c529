//! Events and frames as lines of a trace: what must be the same with every driver, and nothing else. Times, round trips,
//! evidence, tokens and addresses are left out.

use std::time::Duration;

use keepbeat_core::DownCause;
use keepbeat_core::client::Event;
use keepbeat_core::server::ServerEvent;
use keepbeat_core::session::Message;
use keepbeat_core::wire::websocket::Item;
use keepbeat_core::wire::{DeviceId, Frame, Goodbye};

use crate::packets;

/// Bytes that show whether any of them was lost, doubled or moved.
pub(crate) fn load(length: usize) -> Message {
    Message::binary((0..length).map(|index| (index % 251) as u8 ^ (index / 251 % 241) as u8).collect::<Vec<u8>>())
}

/// The same as a text, of characters that take one to four bytes.
pub(crate) fn prose(characters: usize) -> Message {
    let all = ('a'..='z').chain('\u{e0}'..='\u{f6}').chain('\u{3041}'..='\u{3093}').chain('\u{1f600}'..='\u{1f64f}');
    Message::text(all.cycle().take(characters).collect::<String>())
}

/// Messages of both kinds, two of them larger than what is read at once, and two with the same bytes.
pub(crate) fn both_kinds() -> [Message; 6] {
    let twin = Message::binary(&b"twin"[..]);
    [Message::from("twin"), twin, load(200_000), prose(100_000), Message::from(""), load(0)]
}

/// A message: short words as they are, long ones by their length, if they are what [`load`] and [`prose`] make. What is not said
/// to be binary, and does not count bytes, is a text.
fn words(message: &Message) -> String {
    if let Some(words) = packets::message(message) {
        return words;
    }
    let short = |text: &str| (1..=16).contains(&text.len()) && text.chars().all(char::is_alphanumeric);
    match (message.as_text(), std::str::from_utf8(message)) {
        (Some(text), _) if short(text) => text.to_owned(),
        (None, Ok(text)) if short(text) => format!("binary {text}"),
        (Some(text), _) if *message == prose(text.chars().count()) => format!("[{} characters]", text.chars().count()),
        (None, _) if *message == load(message.len()) => format!("[{} bytes]", message.len()),
        _ => format!("[{} bytes, damaged]", message.len()),
    }
}

/// The same of what does not say whether it is a text.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    let words = words(&Message::binary(bytes.to_vec()));
    match std::str::from_utf8(bytes) {
        Ok(text) if words.ends_with("damaged]") => self::words(&Message::text(text)),
        _ => words.strip_prefix("binary ").unwrap_or(&words).to_owned(),
    }
}

/// The line of a client's event; `None` if it depends on time alone.
pub(crate) fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Connecting { attempt } => format!("connecting, attempt {attempt}"),
        Event::Up { resumed, attempt, in_doubt, .. } => {
            let doubt = if *in_doubt > 0 { format!(", {in_doubt} in doubt") } else { String::new() };
            format!("up, attempt {attempt}, {}{doubt}", session(*resumed))
        }
        Event::Message(message) => format!("message {}", words(message)),
        Event::Acknowledged { through } => format!("acknowledged {}", through.0),
        Event::Answered { ticket, answer } => {
            let of = ticket.map_or_else(String::new, |ticket| format!(" {}", ticket.0));
            format!("answered{of}: {}", packets::answer(answer))
        }
        Event::Dropped(dropped) => format!("dropped {}: {:?}", dropped.ticket.0, dropped.reason),
        Event::Suspect { .. } => "suspect".to_owned(),
        Event::Recovered => "recovered".to_owned(),
        Event::Rtt(_) => return None,
        Event::Down { report, retry_at, was_up, conflict } => {
            let mut line = format!("{}: {}", if *was_up { "down" } else { "failed" }, cause(&report.cause));
            if retry_at.is_none() {
                line.push_str(", for good");
            }
            if *conflict {
                line.push_str(", conflict");
            }
            line
        }
        Event::GaveUp { cause, unacknowledged } => format!("gave up: {cause:?}, {unacknowledged} unacknowledged"),
        Event::Closed { unacknowledged } => format!("closed, {unacknowledged} unacknowledged"),
        other => format!("{other:?}"),
    })
}

/// A foreigner's name is another one every time.
fn name(device: &DeviceId) -> &str {
    let name = device.as_str();
    if name.starts_with("ws-") { "foreigner" } else { name }
}

/// The line of a server's event.
pub(crate) fn server_event(event: &ServerEvent) -> String {
    match event {
        ServerEvent::Authenticate { device, .. } => format!("authenticate {}", name(device)),
        ServerEvent::Rejected { cause: why, device, .. } => match device {
            Some(device) => format!("rejected {}: {}", name(device), cause(why)),
            None => format!("rejected: {}", cause(why)),
        },
        ServerEvent::Online { device, resumed, .. } => format!("online {}, {}", name(device), session(*resumed)),
        ServerEvent::Returned { device, resumed, report, .. } => {
            format!("returned {}, {}, after {}", name(device), session(*resumed), cause(&report.cause))
        }
        ServerEvent::Replaced { device, resumed, .. } => format!("replaced {}, {}", name(device), session(*resumed)),
        ServerEvent::Suspect { device, .. } => format!("suspect {}", name(device)),
        ServerEvent::Recovered { device } => format!("recovered {}", name(device)),
        ServerEvent::Offline { device, report, .. } => format!("offline {}: {}", name(device), cause(&report.cause)),
        ServerEvent::Message { device, message } => format!("message of {}: {}", name(device), words(message)),
        ServerEvent::Acknowledged { device, through } => format!("acknowledged by {}: {}", name(device), through.0),
        ServerEvent::Dropped { device, dropped } => {
            format!("dropped for {}: {} {:?}", name(device), dropped.ticket.0, dropped.reason)
        }
        ServerEvent::SessionEnded { device, undelivered } => {
            format!("session of {} ended, {} undelivered", name(device), undelivered.len())
        }
        other => format!("{other:?}"),
    }
}

/// The line of a frame.
pub(crate) fn frame(frame: &Frame) -> String {
    match frame {
        Frame::Hello(hello) => match hello.token {
            Some(_) => format!("HELLO {}, resume behind {}", hello.device, hello.received),
            None => format!("HELLO {}, new session", hello.device),
        },
        Frame::Welcome(welcome) if welcome.resumed => format!("WELCOME, resumed behind {}", welcome.received),
        Frame::Welcome(_) => "WELCOME, new session".to_owned(),
        Frame::Refuse(why) => format!("REFUSE {}", goodbye(why)),
        Frame::Beat { seq } => format!("BEAT {seq}"),
        Frame::Echo { seq } => format!("ECHO {seq}"),
        Frame::Data { seq, message } => format!("DATA {seq}: {}", words(message)),
        Frame::Ack { seq } => format!("ACK {seq}"),
        Frame::Goodbye(why) => format!("GOODBYE {}", goodbye(why)),
        // Only MQTT has answers, which come as packets.
        Frame::Answer { .. } | Frame::Unknown => "unknown frame".to_owned(),
    }
}

/// The line of what came over a WebSocket.
pub(crate) fn item(item: &Item) -> String {
    match item {
        Item::Message(message) => format!("MESSAGE {}", words(message)),
        // What is in it is the sender's own affair.
        Item::Ping(_) => "PING".to_owned(),
        Item::Pong(payload) => format!("PONG {}", String::from_utf8_lossy(payload.as_slice())).trim().to_owned(),
        Item::Close(close) => close.code().map_or_else(|| "CLOSE".to_owned(), |code| format!("CLOSE {}", code.get())),
    }
}

fn session(resumed: bool) -> &'static str {
    if resumed { "resumed" } else { "new session" }
}

fn cause(cause: &DownCause) -> String {
    match cause {
        DownCause::Dead(why) => format!("dead {why:?}"),
        DownCause::Goodbye(why) => format!("goodbye {}", goodbye(why)),
        DownCause::Refused(why) => format!("refused {}", goodbye(why)),
        DownCause::Network(failure) => format!("network {failure:?}"),
        DownCause::ConnectFailed(failure) => format!("no connection {failure:?}"),
        DownCause::EndedByUs(reason) => format!("ended by us {reason:?}"),
        DownCause::Protocol(error) => format!("protocol violated, {:?}", error.reason()),
        other => format!("{other:?}"),
    }
}

fn goodbye(goodbye: &Goodbye) -> String {
    let Goodbye { reason, retry_after_ms, spread_ms, code, .. } = goodbye;
    let reason = code.map_or_else(|| format!("{reason:?}"), |code| format!("{reason:?} {code}"));
    if *retry_after_ms == 0 && *spread_ms == 0 {
        return reason;
    }
    let millis = |millis: u32| Duration::from_millis(millis.into());
    format!("{reason}, back after {:?} within {:?}", millis(*retry_after_ms), millis(*spread_ms))
}
