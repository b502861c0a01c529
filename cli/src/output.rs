//! Standard output and standard error, written by a thread of their own: a reader that takes nothing holds up neither
//! the beats nor the signals.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keepbeat_core::session::Message;
use keepbeat_core::wire::mqtt::Publish;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::mqtt;

/// The exit code of bad usage.
pub(crate) const USAGE: u8 = 2;

/// So many lines wait for the reader of our output; then we wait too.
const WAITING_LINES: usize = 64;

/// Says on standard error what went wrong, in one line, and gives the exit code.
pub(crate) fn fail(code: u8, problem: &str) -> ExitCode {
    complain(problem);
    ExitCode::from(code)
}

/// Says something on standard error, in one line.
pub(crate) fn complain(problem: &str) {
    // There is nobody left to tell if standard error is gone.
    drop(writeln!(io::stderr(), "keepbeat: {}", printable(problem)));
}

/// The output can no longer be written: nobody reads it, or the disk is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

enum Line {
    Out(Vec<u8>),
    Err(String),
}

/// Takes lines for standard output and standard error, and keeps their order.
pub(crate) struct Output {
    lines: mpsc::Sender<Line>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(crate) fn open() -> Self {
        let (lines, queue) = mpsc::channel(WAITING_LINES);
        let (tell, done) = oneshot::channel();
        std::thread::spawn(move || drop(tell.send(write_all(queue))));
        Self { lines, done }
    }

    /// A line for standard output, with its line feed.
    pub(crate) async fn out(&self, line: Vec<u8>) -> Result<(), Gone> {
        self.lines.send(Line::Out(line)).await.map_err(|_| Gone)
    }

    /// A line for standard error, without a line feed.
    pub(crate) async fn err(&self, line: String) -> Result<(), Gone> {
        self.lines.send(Line::Err(line)).await.map_err(|_| Gone)
    }

    /// Waits until all is written. A reader that went away is no fault; anything else is said on standard error.
    pub(crate) async fn finish(self) -> Result<(), ExitCode> {
        drop(self.lines);
        match self.done.await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(fail(1, &format!("cannot write to standard output: {error}; see where it leads")))
            }
            _ => Ok(()),
        }
    }
}

fn write_all(mut queue: mpsc::Receiver<Line>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    while let Some(line) = queue.blocking_recv() {
        match line {
            Line::Out(line) => out.write_all(&line)?,
            Line::Err(line) => {
                out.flush()?;
                drop(writeln!(io::stderr(), "{line}"));
            }
        }
        if queue.is_empty() {
            out.flush()?;
        }
    }
    out.flush()
}

/// One JSON object in one line.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new(event: &str, t_ms: u64) -> Self {
        Self(String::from("{")).field("event", event).field("t_ms", t_ms)
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        let comma = if self.0.len() > 1 { "," } else { "" };
        self.0 += &format!("{comma}{}:{}", Value::from(name), value.into());
        self
    }

    /// A message: its text, or base64 where it is not UTF-8, and the kind as which it was sent, or its topic.
    pub(crate) fn message(self, message: &Message) -> Self {
        let payload = mqtt::payload(message);
        let object = match std::str::from_utf8(&payload) {
            Ok(text) => self.field("text", text),
            Err(_) => self.field("base64", BASE64_STANDARD.encode(&payload)),
        };
        match Publish::of(message) {
            Some(publish) => object
                .field("topic", publish.topic.map(|topic| topic.to_string()))
                .field("qos", publish.qos as u8)
                .field("retain", publish.retain),
            None => object.field("binary", !message.is_text()),
        }
    }

    pub(crate) fn into_line(self) -> Vec<u8> {
        let mut line = self.0.into_bytes();
        line.extend_from_slice(b"}\n");
        line
    }
}

/// Colours for people, on a terminal only.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Paint {
    pub(crate) fn on(self, coloured: bool, text: &str) -> String {
        let code = match self {
            Self::Good => 32,
            Self::Warning => 33,
            Self::Bad => 31,
            Self::Quiet => 2,
        };
        if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Whether to colour what goes to this stream. <https://no-color.org>
pub(crate) fn coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A text of the peer's, fit for one line of a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// A time for people: three or four digits and a unit.
pub(crate) fn short(span: Duration) -> String {
    let nanos = span.as_nanos();
    let (unit, name) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        1_000_000_000..120_000_000_000 => (1_000_000_000, "s"),
        120_000_000_000..7_200_000_000_000 => (60_000_000_000, "m"),
        _ => (3_600_000_000_000, "h"),
    };
    let hundredths = nanos * 100 / unit;
    let (whole, fraction) = (hundredths / 100, hundredths % 100);
    match (whole, fraction) {
        (_, 0) | (100.., _) => format!("{whole}{name}"),
        (10.., _) => format!("{whole}.{}{name}", fraction / 10),
        _ => format!("{whole}.{fraction:02}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_whatever_is_in_it() {
        let line = Object::new("message", 7).message(&"a\n\"b\"\u{1b}[31m".into()).into_line();
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["text"], "a\n\"b\"\u{1b}[31m");
        assert_eq!((&value["event"], &value["t_ms"]), (&Value::from("message"), &Value::from(7)));
    }

    #[test]
    fn what_is_not_utf_8_comes_as_base64() {
        let line = Object::new("message", 0).message(&vec![0xff, 0x00].into()).into_line();
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&value["base64"], value.get("text")), (&Value::from("/wA="), None));
    }

    #[test]
    fn a_binary_message_says_so_even_if_it_could_be_a_text() {
        for (message, binary) in [("same".into(), false), (b"same".into(), true)] {
            let line = Object::new("message", 0).message(&message).into_line();
            let value: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!((&value["text"], &value["binary"]), (&Value::from("same"), &Value::from(binary)));
        }
    }

    #[test]
    fn a_time_for_people_is_short() {
        for (span, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(999), "0.99us"),
            (Duration::from_micros(620_123), "620ms"),
            (Duration::from_micros(1_500), "1.50ms"),
            (Duration::from_secs(5), "5s"),
            (Duration::from_millis(12_345), "12.3s"),
            (Duration::from_secs(600), "10m"),
        ] {
            assert_eq!(short(span), text);
        }
    }

    #[test]
    fn a_text_of_the_peer_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2J\r\nb"), "a?[2J??b");
    }
}
