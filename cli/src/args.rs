//! The command line: what can be said, and how its values are read.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::demo::DemoArgs;
use keepbeat_core::wire::beat::MESSAGE_LIMIT_MAX;

use crate::endpoint::{Endpoint, without_query};
use crate::mqtt::MqttArgs;
use crate::protocol::Beat;
use crate::runtime;

/// Heartbeats, dead-peer detection and reconnection on the command line.
#[derive(Debug, Parser)]
#[command(name = "keepbeat", version, about, long_about = None, styles = STYLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = false, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(about = "See links break, be found out and come back, on loopback", after_help = DEMO_HELP)]
    Demo(DemoArgs),
    /// Accept links, echo every message, and tell who is here
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Hold one link up: each line of stdin is a message, each message received a line on stdout
    #[command(after_help = CONNECT_HELP)]
    Connect(Box<ConnectArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one, and the first lines of output say which. beats:// and wss:// speak TLS.
    /// Several URLs are one server: a device may come to any of them
    #[arg(value_name = "beat[s]|ws[s]://ADDRESS:PORT", required = true)]
    pub(crate) endpoints: Vec<Endpoint>,
    #[command(flatten)]
    pub(crate) tls: ServerTlsArgs,
    #[command(flatten)]
    pub(crate) wire: ServerWireArgs,
    /// Let in only the devices in this file, with their credentials: a line each, `device-id credentials`; lines that
    /// begin with # are comments. Without it, everybody gets in
    #[arg(long, value_name = "FILE")]
    pub(crate) auth: Option<PathBuf>,
    /// Let in only those who bring this token, whatever their device: as their credentials, or over WebSocket as
    /// `Authorization: Bearer TOKEN`. Other users of this machine can read arguments: prefer the environment
    #[arg(long, value_name = "TOKEN", env = "KEEPBEAT_SERVE_TOKEN", hide_env_values = true, conflicts_with = "auth")]
    pub(crate) token: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Grant no shorter beat interval than this
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    pub(crate) min_interval: Duration,
    /// Grant no longer beat interval than this
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) max_interval: Duration,
    /// How long a device may be gone before it is called offline
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// On SIGTERM and SIGINT, ask the devices to stay away this long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) retry_after: Duration,
    /// And to come back at a random moment within this time after it
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) spread: Duration,
    /// The runtime of the links
    #[arg(long, value_name = "RUNTIME", value_enum, default_value_t = runtime::Name::Tokio)]
    pub(crate) runtime: runtime::Name,
}

/// The certificates of a server.
#[derive(Debug, Args)]
pub(crate) struct ServerTlsArgs {
    /// beats://, wss://: our certificate, and those between it and the root (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// beats://, wss://: the private key of --cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// beats://, wss://: let in only clients with a certificate that one of these roots has signed (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// The certificates of a client.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientTlsArgs {
    /// beats://, wss://, mqtts://: trust these roots (PEM) instead of those that this machine trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// beats://, wss://, mqtts://: our certificate, for a server that asks for one (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// beats://, wss://, mqtts://: the private key of --cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// beats://, wss://, mqtts://: expect this name in the server's certificate, instead of HOST
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
}

/// What a client says over its protocol.
#[derive(Debug, Args)]
pub(crate) struct ClientWireArgs {
    /// ws://: offer this sub-protocol; may be given several times, the best first. With keepbeat.1, a keepbeat server
    /// keeps a session, and nothing is lost or doubled
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Vec<String>,
    /// ws://: ask with this header, too; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// ws://: say that we come from this origin, as browsers do
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: Option<String>,
    /// ws://: how to find out whether a server that is no keepbeat is alive: ping, text:TEXT (a message of its own
    /// protocol), or none [default: ping]
    #[arg(long, value_name = "BEAT")]
    pub(crate) beat: Option<Beat>,
    /// ws://: the server answers --beat text:TEXT with this text [default: the same text]
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) beat_reply: Option<String>,
    /// ws://: compress messages if the server does, too
    #[arg(long)]
    pub(crate) deflate: bool,
    /// The longest message to send and to accept, in bytes or with a unit: 64KiB, 16MiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    pub(crate) max_message: usize,
}

/// What a server says over its protocols.
#[derive(Debug, Args)]
pub(crate) struct ServerWireArgs {
    /// ws://: compress messages if the client does, too
    #[arg(long)]
    pub(crate) deflate: bool,
    /// The longest message to accept and to send, in bytes or with a unit: 64KiB, 16MiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    pub(crate) max_message: usize,
    /// ws://: let clients in at this path only; may be given several times [default: at any path]
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<String>,
    /// ws://: let in only those browsers whose page is of this origin; may be given several times [default: of any; with
    /// --page: of this server]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// ws://: answer browsers with a page, at the path of the URL, that connects to the same path and shows its link
    #[arg(long)]
    pub(crate) page: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The server; beats://, wss:// and mqtts:// speak TLS with it. If no port is given, those of ws:// and wss:// are 80 and 443, those
    /// of mqtt:// and mqtts:// 1883 and 8883
    #[arg(value_name = "beat[s]://HOST:PORT | ws[s]://HOST[:PORT][/PATH][?QUERY] | mqtt[s]://HOST[:PORT]")]
    pub(crate) endpoint: Endpoint,
    #[command(flatten)]
    pub(crate) tls: ClientTlsArgs,
    #[command(flatten)]
    pub(crate) wire: ClientWireArgs,
    #[command(flatten)]
    pub(crate) mqtt: MqttArgs,
    /// Another server, to be tried in turn when an attempt fails or a connection ends, with the same protocol and path; may be
    /// given several times
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) or_server: Vec<String>,
    /// Send every message back as it came, text as text and binary as binary. Stdin is not read, and messages are not
    /// printed
    #[arg(long)]
    pub(crate) echo: bool,
    /// Do not reconnect: end with the first connection. Exit code 0 if the server said goodbye (on WebSocket: closed with
    /// 1000, 1001, 1012 or no code) or we did, 1 if it did not let us in or the connection ended in any other way
    #[arg(long, conflicts_with_all = ["max_attempts", "backoff"])]
    pub(crate) once: bool,
    /// Go through this proxy: http:// or socks5://, then USER:PASSWORD@ if it asks for a login, then HOST:PORT. Other users of
    /// this machine can read arguments: prefer the environment for a password
    // As text: clap would print a URL that it cannot read, with the password.
    #[arg(long, value_name = "URL", env = "KEEPBEAT_PROXY", hide_env_values = true)]
    pub(crate) proxy: Option<String>,
    /// The device that this link speaks for [default: HOSTNAME-PID]. Over WebSocket only with --subprotocol keepbeat.1: others
    /// are not told it
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The credentials; over WebSocket, unless keepbeat.1 is offered, they go as `Authorization: Bearer TOKEN`. Other users
    /// of this machine can read arguments: prefer the environment
    #[arg(long, value_name = "TOKEN", env = "KEEPBEAT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The beat interval to ask for; the server may grant another one [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) interval: Option<Duration>,
    /// How long the answer to a beat may take, at most the interval [default: 2s, or the interval if that is shorter]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) reply_timeout: Option<Duration>,
    /// The waits between attempts: the first step, which doubles, and the longest. Each wait is a random part of its step
    #[arg(long, value_name = "TIME..TIME", default_value = "500ms..30s")]
    pub(crate) backoff: Backoff,
    /// Give up when this many attempts in a row have failed [default: never]
    #[arg(long, value_name = "N", value_parser = attempts)]
    pub(crate) max_attempts: Option<NonZeroU32>,
    /// After the end of stdin, when everything is acknowledged, close once no message has come for this long
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration, conflicts_with = "echo")]
    pub(crate) linger: Duration,
    /// The runtime of the link
    #[arg(long, value_name = "RUNTIME", value_enum, default_value_t = runtime::Name::Tokio)]
    pub(crate) runtime: runtime::Name,
    /// Print one JSON object per line on stdout, messages and lifecycle events alike
    #[arg(long)]
    pub(crate) json: bool,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Times are a number and a unit: 200ms, 5s, 1.5m, 1h.

Exit codes:
  0  done: closed, drained, or everything acknowledged at the end of stdin; demo: all as promised
  1  failed: the link gave up, or the address cannot be listened on; demo: not as promised
  2  bad usage: arguments, impossible configuration, a file that cannot be used, or a line above --max-message

Examples:
  keepbeat demo
  keepbeat serve beat://127.0.0.1:4800
  echo hello | keepbeat connect beat://127.0.0.1:4800

The manual is docs/cli.md.";

const DEMO_HELP: &str = "\
Exit codes:
  0  every silence found out in time, no living link given up, no message lost or duplicated
  1  not so, or there were no sockets, or no connection with --broker
  2  bad usage: arguments; --wire mqtt: there is no mosquitto

Examples:
  keepbeat demo                                    20 links, 20 seconds
  keepbeat demo --links 100 --seconds 60 --seed 7  a longer run, with other faults
  keepbeat demo --runtime smol --tls               on another runtime, inside TLS
  keepbeat demo --wire ws                          the same over WebSocket
  keepbeat demo --wire mqtt                        over MQTT, with a mosquitto of its own
  keepbeat demo --json | tail -n 1                 only the figures, for a program";

const SERVE_HELP: &str = "\
Times are a number and a unit: 200ms, 5s, 1.5m, 1h.
SIGTERM and SIGINT drain: every device is told when to come back, then the exit code is 0.

Exit codes:
  0  drained
  1  the address cannot be listened on
  2  bad usage: arguments, an impossible configuration, or a file that cannot be used

Examples:
  keepbeat serve beat://127.0.0.1:4800              accept everybody on this machine
  keepbeat serve beats://0.0.0.0:4801 --cert gate.pem --key gate.key   speak TLS
  keepbeat serve ws://127.0.0.1:4880 --page         a page for browsers: http://127.0.0.1:4880/
  keepbeat serve beat://0.0.0.0:4800 ws://0.0.0.0:4880                 both protocols, the same devices
  keepbeat serve 'beat://[::]:4800' --auth devices  accept the devices of a file, from everywhere
  keepbeat serve beat://127.0.0.1:0 --json          a free port, and JSON lines for a program";

const CONNECT_HELP: &str = "\
Times are a number and a unit: 200ms, 5s, 1.5m, 1h.
At the end of stdin it waits until everything is acknowledged, then closes. SIGTERM and SIGINT close at once.

Exit codes:
  0  closed, and after the end of stdin everything was acknowledged
  1  the link gave up: credentials or a certificate not accepted, closed for good by the server, or --max-attempts reached;
     with --once: not let in, or not ended by a goodbye
  2  bad usage: arguments, an impossible configuration, a file that cannot be used, or a line above --max-message, which
     was skipped

Examples:
  keepbeat connect beat://127.0.0.1:4800                    type lines, read their echoes
  seq 100 | keepbeat connect beat://127.0.0.1:4800          send 100 messages and leave
  keepbeat connect beat://127.0.0.1:4800 --interval 200ms   notice its death within 600 ms
  keepbeat connect wss://gate.example/live --header 'X-Unit: 7'    any WebSocket server
  keepbeat connect ws://127.0.0.1:4880 --subprotocol keepbeat.1    a keepbeat server, with a session
  keepbeat connect mqtt://broker.example --subscribe 'pump/+/state'  print what is published
  seq 9 | keepbeat connect mqtt://broker.example --publish pump/7    publish lines
  keepbeat connect beats://gate.example:4801 --ca roots.pem --proxy http://proxy.example:3128
  KEEPBEAT_TOKEN=secret keepbeat connect beat://[::1]:4800 --id pump-7 --json";

/// The first and the longest step of the waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
}

impl FromStr for Backoff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((base, cap)) = text.split_once("..") else {
            return Err("it is not a range; give for example 500ms..30s".to_owned());
        };
        let (base, cap) = (duration(base)?, duration(cap)?);
        if base > cap {
            return Err(format!("its first step {base:?} is above the longest {cap:?}; exchange them"));
        }
        Ok(Self { base, cap })
    }
}

/// Reads a time: a number, which may have a decimal point, and a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let example = "give for example 200ms, 5s, 1.5m or 1h";
    let unit_at = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let nanos_per_unit: u128 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(format!("it has no unit; {example}")),
        _ => return Err(format!("{unit:?} is not a unit of time; {example}")),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine decimals of an hour are exact to the microsecond, and nothing here overflows.
    if whole.is_empty() || fraction.is_empty() || whole.len() > 9 || fraction.len() > 9 || fraction.contains('.') {
        return Err(format!("{number:?} is not a number of up to nine digits and nine decimals; {example}"));
    }
    let digits = |text: &str| text.parse::<u128>().map_err(|error| format!("{error}; {example}"));
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let nanos = digits(whole)? * nanos_per_unit + digits(fraction)? * nanos_per_unit / scale;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| format!("it is longer than 500 years; {example}"))
}

/// Reads a size of messages: a number of bytes, or one with a unit.
fn size(text: &str) -> Result<usize, String> {
    let example = "give for example 65536, 64KiB or 16MiB";
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{unit:?} is not a unit of sizes; {example}")),
    };
    let number: usize = number.parse().map_err(|error| format!("{error}; {example}"))?;
    let bytes = number.checked_mul(factor).filter(|bytes| (1..=MESSAGE_LIMIT_MAX).contains(bytes));
    bytes.ok_or_else(|| format!("it is not 1 to {MESSAGE_LIMIT_MAX} bytes; {example}"))
}

/// Reads how many attempts there may be.
fn attempts(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("it is not a number from 1 to {}; leave it out to try for ever", u32::MAX))
}

/// What clap says, in one line, without the queries of URLs, which may hold a token.
pub(crate) fn in_one_line(mut error: clap::Error) -> String {
    // What was not expected is an argument's name, or a value. What was, is only ever a name.
    let given = if error.get(ContextKind::InvalidValue).is_some() {
        ContextKind::InvalidValue
    } else {
        ContextKind::InvalidArg
    };
    if let Some(ContextValue::String(value)) = error.get(given) {
        let value = without_query(value).into_owned();
        error.insert(given, ContextValue::String(value));
    }
    let text = error.render().to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        if part.is_empty() || part.starts_with("Usage:") || part.starts_with("For more information") {
            continue;
        }
        let part = part.strip_prefix("error: ").unwrap_or(part);
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line
}

/// What prints the options: those of the command that `first`, the first argument, names, if it names one.
pub(crate) fn help_for(first: Option<&str>) -> String {
    match first {
        Some(name) if Cli::command().find_subcommand(name).is_some() => format!("keepbeat {name} --help"),
        _ => "keepbeat --help".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, time) in [
            ("5s", 5000 * MS),
            ("200ms", 200 * MS),
            ("1m", 60_000 * MS),
            ("1min", 60_000 * MS),
            ("2h", 7_200_000 * MS),
            ("0s", Duration::ZERO),
            ("1.5s", 1500 * MS),
            ("0.25ms", Duration::from_micros(250)),
            ("7us", Duration::from_micros(7)),
            ("999999999s", Duration::from_secs(999_999_999)),
        ] {
            assert_eq!(duration(text), Ok(time), "{text}");
        }
        for text in ["", "5", "s", ".s", "5.s", ".5s", "1.2.3s", "-5s", "+5s", "5 s", "5d", "1000000000s", "999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_backoff_is_two_times_in_order() {
        let backoff = Backoff { base: 500 * MS, cap: 30_000 * MS };
        assert_eq!("500ms..30s".parse(), Ok(backoff));
        assert_eq!("1s..1s".parse(), Ok(Backoff { base: 1000 * MS, cap: 1000 * MS }));
        for text in ["500ms", "500ms..", "..30s", "30s..500ms", "500ms-30s", "500ms..30s..1m"] {
            assert!(text.parse::<Backoff>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_fault_is_told_in_one_line() {
        for arguments in [
            &["keepbeat"][..],
            &["keepbeat", "conect"],
            &["keepbeat", "connect"],
            &["keepbeat", "connect", "127.0.0.1:1"],
            &["keepbeat", "connect", "beat://127.0.0.1:1", "--max-attempts", "0"],
            &["keepbeat", "serve", "beat://127.0.0.1:1", "--intervall", "5s"],
        ] {
            let line = in_one_line(Cli::try_parse_from(arguments).unwrap_err());
            assert!(!line.contains('\n') && line.len() > 10, "{line:?}");
        }
    }

    #[test]
    fn a_fault_of_a_command_leads_to_its_own_help() {
        assert_eq!(help_for(Some("connect")), "keepbeat connect --help");
        for first in [None, Some("conect"), Some("--json")] {
            assert_eq!(help_for(first), "keepbeat --help");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("1", 1), ("17B", 17), ("64KiB", 65_536), ("16MiB", 16 << 20), ("16777216", 16 << 20)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "-1", "1.5MiB", "64kb", "1 MiB", "MiB", "99999999GiB", "18446744073709551615KiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn attempts_are_a_number_above_zero() {
        assert_eq!(attempts("1").map(NonZeroU32::get), Ok(1));
        assert_eq!(attempts("4294967295").map(NonZeroU32::get), Ok(u32::MAX));
        for text in ["", "0", "-1", "4294967296", "two"] {
            assert!(attempts(text).unwrap_err().contains("from 1 to 4294967295"), "{text}");
        }
    }
}
