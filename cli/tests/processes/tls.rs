//! TLS and proxies, between two processes.

use crate::support::{Authority, Identity, Keepbeat, Proxy, command};
use rcgen::date_time_ymd;
use serde_json::Value;

/// A server that speaks TLS, and its port.
fn serve(port: u16, identity: &Identity, options: &[&str]) -> (Keepbeat, u16) {
    let url = format!("beats://127.0.0.1:{port}");
    let mut server = Keepbeat::start(&[&["serve", &url], &identity.options()[..], options].concat());
    let listening = server.until("listening");
    assert!(listening["url"].as_str().unwrap().starts_with("beats://127.0.0.1:"), "{listening}");
    let port = listening["port"].as_u64().unwrap() as u16;
    (server, port)
}

fn local(authority: &Authority) -> Identity {
    authority.sign("gate", &["127.0.0.1"], |_| {})
}

/// One link with fast retries, over once it is idle.
fn connect(port: u16, options: &[&str]) -> Keepbeat {
    let url = format!("beats://127.0.0.1:{port}");
    Keepbeat::start(&[&["connect", &url, "--backoff", "10ms..50ms", "--linger", "0s"], options].concat())
}

/// What it says when it does not get in: the last cause, and what stands on stderr.
#[track_caller]
fn refused(mut client: Keepbeat) -> (Value, String) {
    let down = client.until("down");
    assert_eq!(down["retry_in_ms"], Value::Null, "it would not help: {down}");
    client.until("gave_up");
    let (code, stderr) = client.finish();
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    (down["cause"].clone(), stderr)
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn what_is_said_comes_back_through_tls() {
    let authority = Authority::new("Test CA");
    let (mut server, port) = serve(0, &local(&authority), &[]);
    let mut client = connect(port, &["--ca", &authority.root(), "--id", "pump-7"]);
    let up = client.until("up");
    assert_eq!((&up["tls"], &up["tls_resumed"]), (&Value::from("1.3"), &Value::from(false)), "{up}");
    client.echo("hello");
    assert_eq!(client.finish(), (Some(0), String::new()));
    assert_eq!(server.until("online")["device"], "pump-7");
}

#[test]
fn people_read_what_tls_agreed_on() {
    let authority = Authority::new("Test CA");
    let (_server, port) = serve(0, &local(&authority), &[]);
    let url = format!("beats://127.0.0.1:{port}");
    let done = command().args(["connect", &url, "--ca", &authority.root()]).output().unwrap();
    assert_has(
        &String::from_utf8(done.stderr).unwrap(),
        &["up: after ", ", TLS 1.3 (full handshake), a new session; "],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn without_ca_the_roots_of_the_machine_are_trusted() {
    let authority = Authority::new("Test CA");
    let (_server, port) = serve(0, &local(&authority), &[]);
    let (url, root) = (format!("beats://127.0.0.1:{port}"), authority.root());
    let mut client = Keepbeat::start_with(&["connect", &url, "--linger", "0s"], &[("SSL_CERT_FILE", root.as_str())]);
    client.until("up");
    assert_eq!(client.finish(), (Some(0), String::new()));

    let stranger = Authority::new("Other CA");
    let root = stranger.root();
    let (_, stderr) = refused(Keepbeat::start_with(&["connect", &url], &[("SSL_CERT_FILE", root.as_str())]));
    assert_has(&stderr, &["(CN=gate, issued by CN=Test CA", "not among the trusted roots", "with --ca"]);
}

#[test]
fn a_reconnect_through_a_proxy_resumes_the_tls_session() {
    let authority = Authority::new("Test CA");
    let (_server, port) = serve(0, &local(&authority), &[]);
    let proxy = Proxy::start();
    let url = format!("http://user:secret@127.0.0.1:{}", proxy.port);
    let mut client = connect(port, &["--ca", &authority.root(), "--proxy", &url]);
    assert_eq!(client.until("up")["tls_resumed"], false);
    client.echo("before the cut");
    proxy.cut();
    let up = client.until("up");
    assert_eq!((&up["tls_resumed"], &up["resumed"]), (&Value::from(true), &Value::from(true)), "{up}");
    client.echo("after the cut");
    assert_eq!(client.finish().0, Some(0));

    // `user:secret` in base64 (RFC 7617).
    let head = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n");
    assert_has(&proxy.asked(), &[&head, "Basic dXNlcjpzZWNyZXQ="]);
    let passed = proxy.passed();
    assert!(passed.len() > 500 && !passed.windows(3).any(|bytes| bytes == b"cut"), "nobody on the way can read it");
}

#[test]
fn the_environment_may_name_the_proxy_and_the_option_overrules_it() {
    let authority = Authority::new("Test CA");
    let (_server, port) = serve(0, &local(&authority), &[]);
    let (server, root, proxy) = (format!("beats://127.0.0.1:{port}"), authority.root(), Proxy::start());
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let arguments = ["connect", &server, "--ca", &root, "--linger", "0s"];
    let direct = Keepbeat::start_with(&[&arguments[..], &["--proxy", ""]].concat(), &[("KEEPBEAT_PROXY", &url)]);
    assert_eq!((direct.finish().0, proxy.asked()), (Some(0), String::new()));
    assert_eq!(Keepbeat::start_with(&arguments, &[("KEEPBEAT_PROXY", &url)]).finish().0, Some(0));
    assert_has(&proxy.asked(), &["CONNECT 127.0.0.1:"]);
}

#[test]
fn a_proxy_that_cannot_reach_the_server_is_told_from_a_server_that_is_gone() {
    let proxy = Proxy::start();
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let mut client = connect(1, &["--proxy", &url, "--max-attempts", "1"]);
    client.until("gave_up");
    assert_has(&client.finish().1, &["the proxy could not reach the server (HTTP 502 Bad Gateway)"]);
}

#[test]
fn a_server_that_was_restarted_is_found_again_with_a_full_handshake() {
    let authority = Authority::new("Test CA");
    let identity = local(&authority);
    let (server, port) = serve(0, &identity, &[]);
    let mut client = connect(port, &["--ca", &authority.root()]);
    client.until("up");
    client.echo("to the first");
    drop(server);
    client.until("down");
    client.say("to its successor");
    let (_successor, _) = serve(port, &identity, &[]);
    let up = client.until("up");
    // The keys of its tickets live in memory.
    assert_eq!((&up["tls_resumed"], &up["resumed"]), (&Value::from(false), &Value::from(false)), "{up}");
    assert_eq!(client.until("message")["text"], "to its successor");
    assert_eq!(client.finish().0, Some(0));
}

#[test]
fn a_certificate_for_another_name_ends_the_link_unless_that_name_is_expected() {
    let authority = Authority::new("Test CA");
    let (mut server, port) = serve(0, &authority.sign("other", &["other.example"], |_| {}), &[]);
    let (cause, stderr) = refused(connect(port, &["--ca", &authority.root()]));
    let words =
        ["(CN=other, issued by CN=Test CA, ", "it is for other.example, not for 127.0.0.1", "--server-name NAME"];
    assert_has(cause.as_str().unwrap(), &words);
    assert_has(&stderr, &words);
    assert_has(server.until("rejected")["cause"].as_str().unwrap(), &["the client does not accept our certificate"]);

    let mut client = connect(port, &["--ca", &authority.root(), "--server-name", "other.example"]);
    client.until("up");
    assert_eq!(client.finish().0, Some(0));
}

#[test]
fn an_expired_certificate_ends_the_link_with_its_date() {
    let authority = Authority::new("Test CA");
    let expired = authority.sign("old", &["127.0.0.1"], |params| params.not_after = date_time_ymd(2020, 1, 2));
    let (_server, port) = serve(0, &expired, &[]);
    let (_, stderr) = refused(connect(port, &["--ca", &authority.root()]));
    assert_has(&stderr, &["CN=old", "it expired at 2020-01-02T00:00:00Z", "clock"]);
}

#[test]
fn only_clients_with_a_certificate_get_in_if_the_server_says_so() {
    let authority = Authority::new("Test CA");
    let (mut server, port) = serve(0, &local(&authority), &["--ca", &authority.root()]);
    let root = authority.root();

    let (_, stderr) = refused(connect(port, &["--ca", &root]));
    assert_has(&stderr, &["the server wants a certificate of ours", "with --cert and --key"]);
    assert_has(server.until("rejected")["cause"].as_str().unwrap(), &["showed no certificate"]);

    let others = Authority::new("Other CA");
    let stranger = others.sign("stranger", &["stranger"], |_| {});
    let (_, stderr) = refused(connect(port, &[&["--ca", root.as_str()][..], &stranger.options()].concat()));
    assert_has(&stderr, &["the server does not accept our certificate"]);
    assert_has(server.until("rejected")["cause"].as_str().unwrap(), &["CN=stranger", "with --ca"]);

    let device = authority.sign("device", &["device"], |_| {});
    let mut client = connect(port, &[&["--ca", root.as_str()][..], &device.options()].concat());
    client.until("up");
    client.echo("let in");
    assert_eq!(client.finish().0, Some(0));
}

#[test]
fn a_side_without_tls_is_told_from_one_that_is_silent() {
    let authority = Authority::new("Test CA");
    let (mut server, port) = serve(0, &local(&authority), &[]);
    let url = format!("beat://127.0.0.1:{port}");
    let mut client = Keepbeat::start(&["connect", &url, "--max-attempts", "1"]);
    client.until("gave_up");
    assert_has(&client.finish().1, &["if the server speaks TLS, write beats://127.0.0.1:"]);
    assert_has(server.until("rejected")["cause"].as_str().unwrap(), &["is not TLS"]);
}

#[test]
fn what_is_wrong_with_files_and_options_is_said_with_exit_code_2() {
    let authority = Authority::new("Test CA");
    let (gate, other) = (local(&authority), authority.sign("other", &["other"], |_| {}));
    let empty = authority.file("empty.pem", "");
    let broken = authority.file("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let [_, cert, _, key] = gate.options();
    let (mixed, root) = (other.options()[3], authority.root());
    let (plain, tls) = ("beat://127.0.0.1:1", "beats://127.0.0.1:1");
    for (arguments, words) in [
        (&["connect", plain, "--ca", &root][..], ["--ca is about TLS", "write beats://127.0.0.1:1"]),
        (&["connect", plain, "--server-name", "x"], ["--server-name is about TLS", "write beats://"]),
        (&["serve", plain, "--cert", cert, "--key", key], ["--cert is about TLS", "leave --cert away"]),
        (&["connect", tls, "--cert", cert], ["--cert", "give --key FILE too"]),
        (&["connect", tls, "--key", key], ["--key", "give --cert FILE too"]),
        (&["serve", tls], ["needs a certificate", "--cert FILE and --key FILE"]),
        (&["serve", tls, "--key", key], ["--key", "give --cert FILE too"]),
        (&["connect", tls, "--ca", "/nowhere/ca.pem"], ["--ca /nowhere/ca.pem: ", "can be read"]),
        (&["connect", tls, "--ca", &empty], ["empty.pem: no certificate is in it", "BEGIN CERTIFICATE"]),
        (&["connect", tls, "--ca", &broken], ["--ca ", "broken.pem: it is no PEM"]),
        (&["serve", tls, "--cert", cert, "--key", &empty], ["--key ", "empty.pem: no private key is in it"]),
        (&["serve", tls, "--cert", key, "--key", key], ["--cert ", "gate.key: no certificate is in it"]),
        (&["serve", tls, "--cert", cert, "--key", mixed], ["other.key: the private key is not the one", "CN=gate"]),
        (&["serve", tls, "--cert", cert, "--key", key, "--ca", &empty], ["--ca ", "empty.pem: no certificate"]),
        (&["connect", tls, "--ca", &root, "--server-name", "a b"], ["--server-name", "\"a b\""]),
        (&["connect", plain, "--proxy", "https://x:1"], ["--proxy", "http:// or socks5://"]),
        (&["connect", plain, "--proxy", "http://u:se%cret@x:1"], ["KEEPBEAT_PROXY", "%25"]),
    ] {
        let done = command().args(arguments).output().unwrap();
        let line = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), line.lines().count()), (Some(2), 1), "{arguments:?}: {line}");
        assert_has(&line, &words);
        assert!(!line.contains("cret"), "a password is told to nobody: {line}");
    }
}
