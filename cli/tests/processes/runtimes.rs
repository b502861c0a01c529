//! Every runtime, in the program: each speaks with each.

use crate::support::{Authority, Keepbeat, Proxy};
use serde_json::Value;

const RUNTIMES: [&str; 3] = ["tokio", "smol", "mio"];

#[test]
fn many_lines_come_back_once_and_in_order() {
    for server_runtime in RUNTIMES {
        let mut server = Keepbeat::start(&["serve", "beat://127.0.0.1:0", "--runtime", server_runtime]);
        let url = server.until("listening")["url"].as_str().unwrap().to_owned();
        for runtime in RUNTIMES {
            let mut client =
                Keepbeat::start(&["connect", &url, "--runtime", runtime, "--linger", "0s", "--id", runtime]);
            // More than wait for their acknowledgement at once.
            for number in 0..3000 {
                client.say(&number.to_string());
            }
            for number in 0..3000 {
                assert_eq!(client.until("message")["text"], number.to_string(), "{runtime} with {server_runtime}");
            }
            assert_eq!(client.finish(), (Some(0), String::new()), "{runtime} with {server_runtime}");
            assert_eq!(server.until("online")["device"], runtime);
            assert_eq!(server.until("offline")["cause"], "the peer said goodbye: closed");
        }
    }
}

#[test]
fn each_resumes_its_tls_session_through_a_proxy() {
    let authority = Authority::new("Test CA");
    let (gate, root) = (authority.sign("gate", &["127.0.0.1"], |_| {}), authority.root());
    for runtime in RUNTIMES {
        let serve = ["serve", "beats://127.0.0.1:0", "--runtime", runtime];
        let mut server = Keepbeat::start(&[&serve[..], &gate.options()].concat());
        let url = server.until("listening")["url"].as_str().unwrap().to_owned();
        let proxy = Proxy::start();
        let address = format!("http://127.0.0.1:{}", proxy.port);
        let connect = ["connect", &url, "--runtime", runtime, "--ca", &root, "--proxy", &address];
        let mut client = Keepbeat::start(&[&connect[..], &["--backoff", "10ms..50ms", "--linger", "0s"]].concat());
        assert_eq!(client.until("up")["tls"], "1.3", "{runtime}");
        client.echo("before the cut");
        proxy.cut();
        let up = client.until("up");
        assert_eq!((&up["tls_resumed"], &up["resumed"]), (&Value::from(true), &Value::from(true)), "{runtime}: {up}");
        client.echo("after the cut");
        assert_eq!(client.finish(), (Some(0), String::new()), "{runtime}");
    }
}

#[test]
fn each_gives_up_when_it_is_told_to() {
    for runtime in RUNTIMES {
        let arguments = ["connect", "beat://127.0.0.1:1", "--runtime", runtime, "--max-attempts", "2"];
        let mut client = Keepbeat::start(&[&arguments[..], &["--backoff", "1ms..2ms"]].concat());
        assert_eq!(client.until("gave_up")["cause"], "2 attempts failed", "{runtime}");
        assert_eq!(client.finish().0, Some(1), "{runtime}");
    }
}

#[test]
fn an_address_in_use_is_told_on_each() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("beat://{}", taken.local_addr().unwrap());
    for runtime in RUNTIMES {
        let (code, stderr) = Keepbeat::start(&["serve", &url, "--runtime", runtime]).finish();
        assert_eq!(code, Some(1), "{runtime}");
        assert!(stderr.contains("cannot listen on beat://127.0.0.1:"), "{runtime}: {stderr}");
    }
}
