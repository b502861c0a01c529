//! Arguments, exit codes and what stands on which stream, without a server.

#![expect(clippy::unwrap_used, reason = "tests may fail loudly")]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

/// The program, without what the environment of the tests may say.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keepbeat"));
    for variable in ["KEEPBEAT_TOKEN", "KEEPBEAT_SERVE_TOKEN", "KEEPBEAT_PROXY"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn keepbeat(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn fault(arguments: &[&str]) -> (Option<i32>, String) {
    fault_of(&mut command(arguments))
}

/// The exit code, and stderr, which is one line, while stdout is empty.
fn fault_of(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!((stdout, stderr.lines().count()), (Vec::new(), 1), "{command:?}: {stderr}");
    assert!(stderr.starts_with("keepbeat: "), "{stderr}");
    (status.code(), stderr)
}

const SERVER: &str = "beat://127.0.0.1:1";
const WEBSOCKET: &str = "ws://127.0.0.1:1";
const MQTT: &str = "mqtt://127.0.0.1:1";

#[test]
fn help_is_on_stdout_with_exit_codes_and_examples() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["connect", "--help"], &["demo", "--help"]] {
        let Output { status, stdout, stderr } = keepbeat(arguments);
        let text = String::from_utf8(stdout).unwrap();
        assert_eq!((status.code(), stderr), (Some(0), Vec::new()), "{arguments:?}");
        assert!(text.contains("Exit codes:") && text.contains("Examples:\n  keepbeat "), "{text}");
        assert!(!text.contains('\x1b'), "no colours without a terminal");
    }
    assert_eq!(keepbeat(&["--version"]).status.code(), Some(0));
}

#[test]
fn bad_usage_exits_with_2_and_says_what_and_where() {
    for (arguments, words) in [
        (&[][..], ["subcommand", "--help"]),
        (&["conect"], ["'conect'", "'connect'"]),
        (&["connect"], ["beat[s]://HOST:PORT", "--help"]),
        (&["connect", SERVER, "--deflate"], ["--deflate is about WebSocket", "write ws://"]),
        (&["connect", SERVER, "--header", "X: 1"], ["--header is about WebSocket", SERVER]),
        (&["connect", SERVER, "--beat", "none"], ["--beat is about WebSocket", SERVER]),
        (&["connect", SERVER, "--max-message", "1.5MiB"], ["--max-message", "64KiB"]),
        (&["connect", SERVER, "--once", "--max-attempts", "2"], ["--once", "--max-attempts"]),
        (&["connect", "ws://127.0.0.1:1/#part"], ["fragment", "%23"]),
        (&["connect", WEBSOCKET, "--ca", "/nowhere"], ["--ca is about TLS", "wss://"]),
        (&["connect", WEBSOCKET, "--header", "no colon"], ["--header", "no colon"]),
        (&["connect", WEBSOCKET, "--header", "Upgrade: x"], ["--header", "remove it"]),
        (&["connect", WEBSOCKET, "--subprotocol", "a b"], ["--subprotocol", "character"]),
        (&["connect", WEBSOCKET, "--beat", "pong"], ["--beat", "text:TEXT"]),
        (&["connect", WEBSOCKET, "--beat-reply", "yes"], ["--beat-reply", "--beat text:TEXT"]),
        (&["connect", WEBSOCKET, "--interval", "5m"], ["--interval", "60s"]),
        (&["connect", WEBSOCKET, "--token", "a\nb"], ["--token", "visible ASCII"]),
        (&["connect", SERVER, "--token", ""], ["--token (or KEEPBEAT_TOKEN) is empty", "leave it out"]),
        (&["connect", WEBSOCKET, "--id", "pump-7"], ["--id", "--subprotocol keepbeat.1"]),
        (&["connect", WEBSOCKET, "--beat", "none", "--interval", "1s"], ["--interval", "--beat none"]),
        (&["connect", WEBSOCKET, "--beat", "none", "--reply-timeout", "1s"], ["--reply-timeout", "--beat none"]),
        (&["connect", SERVER, "--echo", "--linger", "1s"], ["--echo", "--linger"]),
        (&["serve"], ["beat[s]|ws[s]://ADDRESS:PORT", "--help"]),
        (&["serve", SERVER, "--page"], ["--page is about WebSocket", SERVER]),
        (&["serve", SERVER, WEBSOCKET, "--path", "live"], ["--path", "begin with /"]),
        (&["serve", "ws://127.0.0.1:1/a?b"], ["--path, or the path of the URL", "query"]),
        (&["serve", "wss://127.0.0.1:1"], ["certificate", "--cert"]),
        (&["serve", WEBSOCKET, "--token", "a", "--auth", "b"], ["--token", "--auth"]),
        (&["serve", WEBSOCKET, "--token", ""], ["--token (or KEEPBEAT_SERVE_TOKEN) is empty", "leave it out"]),
        (&["serve", WEBSOCKET, "--allow-origin", "*"], ["--allow-origin", "without *"]),
        (&["serve", WEBSOCKET, "--allow-origin", "https://a.example/"], ["--allow-origin", "nothing behind it"]),
        (&["serve", WEBSOCKET, "--min-interval", "1m"], ["--min-interval", "60s"]),
        (&["serve", SERVER, WEBSOCKET, "--min-interval", "1m"], ["--min-interval", "60s"]),
        (&["connect", "127.0.0.1:1"], ["'127.0.0.1:1'", "beat://"]),
        (&["connect", SERVER, "--interval", "5"], ["--interval", "no unit"]),
        (&["connect", SERVER, "--interval", "0s"], ["--interval", "too short"]),
        (&["connect", SERVER, "--reply-timeout", "10s", "--interval", "5s"], ["--reply-timeout", "raise the interval"]),
        (&["connect", SERVER, "--backoff", "30s..1s"], ["--backoff", "exchange them"]),
        (&["connect", SERVER, "--max-attempts", "0"], ["--max-attempts", "from 1 to"]),
        (&["connect", SERVER, "--id", ""], ["--id", "1 to 128 bytes"]),
        (&["serve", SERVER, "--auth", "/nowhere/devices"], ["--auth", "/nowhere/devices"]),
        (&["serve", SERVER, "--min-interval", "1h"], ["--min-interval", "exchange them"]),
        (&["demo", "--links", "0"], ["--links", "1..=500"]),
        (&["connect", SERVER, "--subscribe", "a"], ["--subscribe is about MQTT", "write mqtt://"]),
        (&["connect", WEBSOCKET, "--publish", "a"], ["--publish is about MQTT", "give --mqtt"]),
        (&["connect", MQTT, "--publish", "a/+"], ["--publish", "topic"]),
        (&["connect", MQTT, "--subscribe", "a/#/b"], ["--subscribe", "filter"]),
        (&["connect", MQTT, "--subscribe", ""], ["--subscribe", "empty"]),
        (&["connect", MQTT, "--qos", "3"], ["'3'", "--qos"]),
        (&["connect", MQTT, "--mqtt", "4"], ["'4'", "--mqtt"]),
        (&["connect", MQTT, "--will", "state"], ["--will", "no ="]),
        (&["connect", MQTT, "--will", "a/#=gone"], ["--will", "topic"]),
        (&["connect", MQTT, "--store", "/nowhere/store"], ["required", "--id"]),
        (&["connect", MQTT, "--store", "/dev/null", "--id", "pump-7"], ["--store", "/dev/null"]),
        (&["connect", MQTT, "--echo"], ["--echo", "leave it out"]),
        (&["connect", MQTT, "--beat", "none"], ["--beat is about WebSocket", MQTT]),
        (&["connect", WEBSOCKET, "--mqtt", "5", "--subprotocol", "x"], ["--subprotocol", "leave out"]),
        (&["connect", MQTT, "--ca", "/nowhere"], ["--ca is about TLS", "mqtts://"]),
        (&["connect", MQTT, "--mqtt", "3", "--token", "x"], ["--token", "give --user"]),
        (&["connect", "mqtt://127.0.0.1:1/topic"], ["mqtt://", "port"]),
        (&["serve", MQTT], ["MQTT broker", "serve beat://"]),
        (&["demo", "--mqtt", "3"], ["--mqtt is about MQTT", "--wire mqtt"]),
        (&["demo", "--wire", "ws", "--broker", MQTT], ["--broker is about MQTT", "--wire mqtt"]),
        (&["demo", "--wire", "mqtt", "--user", "x"], ["--user is about a broker", "--broker"]),
        (&["demo", "--wire", "mqtt", "--broker", WEBSOCKET], ["not MQTT over TCP", "mqtts://"]),
        (&["demo", "--wire", "mqtt", "--tls", "--broker", MQTT], ["--tls", "write mqtts://127.0.0.1:1"]),
        (&["demo", "--wire", "mqtt", "--ca", "x", "--broker", MQTT], ["--ca is about TLS", "mqtts://"]),
        (&["demo", "--wire", "mqtt", "--seconds", "3", "--broker", MQTT], ["too short", "give --seconds"]),
    ] {
        let (code, line) = fault(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {line}");
        assert!(words.iter().all(|word| line.contains(word)), "{arguments:?}: {line}");
    }
}

#[test]
fn an_empty_token_in_the_environment_is_no_token() {
    for (arguments, variable) in [
        (["connect", SERVER], "KEEPBEAT_TOKEN"),
        (["connect", WEBSOCKET], "KEEPBEAT_TOKEN"),
        (["serve", "beat://127.0.0.1:0"], "KEEPBEAT_SERVE_TOKEN"),
        (["serve", "ws://127.0.0.1:0"], "KEEPBEAT_SERVE_TOKEN"),
    ] {
        let (code, line) = fault_of(command(&arguments).env(variable, ""));
        assert_eq!(code, Some(2), "{arguments:?}: {line}");
        assert!(line.contains(variable) && line.contains("is empty"), "{arguments:?}: {line}");
    }
}

#[test]
fn no_message_repeats_the_query_of_a_url_which_may_hold_a_token() {
    for (arguments, words) in [
        (&["connect", "ws://127.0.0.1:1/live?token=secret", "--max-attempts", "1"][..], "ws://127.0.0.1:1/live?..."),
        (&["connect", "ws://127.0.0.1:1/live?token=secret", "--once"], "ws://127.0.0.1:1/live?..."),
        (&["connect", "ws://127.0.0.1:1/live?token=secret&a b"], "'ws://127.0.0.1:1/live?...'"),
        (&["connect", "127.0.0.1:1/live?token=secret"], "'127.0.0.1:1/live?...'"),
        (&["connect", WEBSOCKET, "ws://127.0.0.1:1/live?token=secret"], "'ws://127.0.0.1:1/live?...'"),
        (&["connect", "ws://127.0.0.1:1/live?token=secret", "--ca", "x"], "ws://127.0.0.1:1/live?..."),
    ] {
        let Output { status, stdout, stderr } = keepbeat(arguments);
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert!(status.code() != Some(0) && text.contains(words), "{arguments:?}: {text}");
        assert!(!text.contains("secret"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_bad_line_of_the_device_file_is_named_by_its_number() {
    let path = std::env::temp_dir().join(format!("keepbeat-devices-{}", std::process::id()));
    std::fs::write(&path, "# pumps\npump-7 secret\npump-8\n").unwrap();
    let (code, line) = fault(&["serve", "beat://127.0.0.1:0", "--auth", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, Some(2), "{line}");
    assert!(line.contains("line 3: it has no credentials"), "{line}");
}

#[test]
fn a_demo_with_a_broker_that_is_not_there_exits_with_1() {
    let (code, line) = fault(&["demo", "--wire", "mqtt", "--broker", MQTT]);
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("no connection with mqtt://127.0.0.1:1: ") && line.contains("the server runs there"),
        "{line}"
    );
}

#[test]
fn an_address_in_use_exits_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, line) = fault(&["serve", &format!("beat://{}", taken.local_addr().unwrap())]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("cannot listen on beat://127.0.0.1:"), "{line}");
}

#[test]
fn a_link_that_gives_up_exits_with_1_and_its_last_event_says_so() {
    let arguments = ["connect", SERVER, "--max-attempts", "3", "--backoff", "1ms..2ms", "--json"];
    let Output { status, stdout, stderr } = keepbeat(&arguments);
    let lines = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(1), "{lines}");
    assert_eq!(lines.matches(r#""event":"connecting""#).count(), 3, "{lines}");
    assert!(lines.lines().last().unwrap().starts_with(r#"{"event":"gave_up","#), "{lines}");
    assert!(lines.contains(r#""retry_in_ms":null"#), "{lines}");
    assert!(String::from_utf8(stderr).unwrap().contains("gave up on beat://127.0.0.1:1"));
}

#[test]
fn people_read_the_lifecycle_on_stderr() {
    let arguments = ["connect", SERVER, "--max-attempts", "1"];
    let Output { status, stdout, stderr } = keepbeat(&arguments);
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout), (Some(1), Vec::new()), "{text}");
    assert!(text.contains("connecting: attempt 1") && text.contains("down: could not connect"), "{text}");
    assert!(!text.contains('\x1b'), "no colours without a terminal");
}
