//! WebSocket, between two processes, and with peers that are no keepbeat.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::{Authority, Keepbeat, command};
use keepbeat_core::session::Message;
use keepbeat_core::wire::Tx;
use keepbeat_core::wire::websocket::upgrade::{Agreed, Offer, ServerUpgrade};
use keepbeat_core::wire::websocket::{Close, CloseCode, Incoming, Item, Limits, Outgoing, Role};
use keepbeat_tokio::clock::Clock;
use serde_json::Value;

/// A server at a free port, and its URL.
fn serve(options: &[&str]) -> (Keepbeat, String) {
    let mut server = Keepbeat::start(&[&["serve", "ws://127.0.0.1:0"], options].concat());
    let url = server.until("listening")["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("ws://127.0.0.1:"), "{url}");
    (server, url)
}

fn connect(url: &str, options: &[&str]) -> Keepbeat {
    Keepbeat::start(&[&["connect", url], options].concat())
}

/// One link, over once it is idle, with fast retries.
fn connect_soon(url: &str, options: &[&str]) -> Keepbeat {
    connect(url, &[&["--backoff", "10ms..50ms", "--linger", "0s"], options].concat())
}

#[test]
fn lines_come_back_with_the_native_protocol_and_without() {
    let (mut server, url) = serve(&["--deflate"]);
    for (options, device) in
        [(&["--subprotocol", "keepbeat.1", "--id", "pump-7"][..], "pump-7"), (&["--deflate"], "ws-")]
    {
        let mut client = connect_soon(&url, options);
        client.until("up");
        client.echo("hello");
        client.echo(&"long ".repeat(10_000));
        assert_eq!(client.finish(), (Some(0), String::new()), "{options:?}");
        let online = server.until("online");
        assert!(online["device"].as_str().unwrap().starts_with(device), "{online}");
        server.until("offline");
    }
}

#[test]
fn one_device_comes_over_both_protocols_of_one_server() {
    let mut server = Keepbeat::start(&["serve", "beat://127.0.0.1:0", "ws://127.0.0.1:0"]);
    let urls = [server.until("listening"), server.until("listening")].map(|event| event["url"].clone());
    for (url, scheme) in urls.iter().zip(["beat://", "ws://"]) {
        let url = url.as_str().unwrap();
        assert!(url.starts_with(scheme), "{url}");
        let options = if scheme == "ws://" { &["--subprotocol", "keepbeat.1"][..] } else { &[] };
        let mut client = connect_soon(url, &[&["--id", "pump-7"], options].concat());
        client.echo("hello");
        assert_eq!(client.finish().0, Some(0));
        assert_eq!(server.until("online")["device"], "pump-7");
    }
}

#[test]
fn wss_takes_the_options_of_tls() {
    let authority = Authority::new("Test CA");
    let gate = authority.sign("gate", &["127.0.0.1"], |_| {});
    let mut server = Keepbeat::start(&[&["serve", "wss://127.0.0.1:0"], &gate.options()[..]].concat());
    let url = server.until("listening")["url"].as_str().unwrap().to_owned();
    let mut client = connect_soon(&url, &["--ca", &authority.root()]);
    assert_eq!(client.until("up")["tls"], "1.3");
    client.echo("hello");
    assert_eq!(client.finish(), (Some(0), String::new()));
}

#[test]
fn paths_origins_and_tokens_are_checked() {
    let (mut server, url) = serve(&["--path", "/live", "--allow-origin", "https://a.example", "--token", "secret"]);
    let live = format!("{url}/live?unit=7");
    for (url, options, cause, advice) in [
        (&url, &["--token", "secret"][..], "404", "check the path of the URL"),
        (&live, &["--token", "secret", "--origin", "https://b.example"], "403", "check --origin and --token"),
        (&live, &["--token", "wrong"], "401", "check --token"),
        (&live, &[], "401", "check --token"),
        (&live, &["--header", "Authorization: Basic secret"], "401", "with --header"),
        (
            &live,
            &["--subprotocol", "keepbeat.1", "--token", "wrong"],
            "credentials not accepted",
            "check --id and --token",
        ),
    ] {
        let mut client = connect_soon(url, options);
        let down = client.until("down");
        assert!(down["cause"].as_str().unwrap().contains(cause), "{options:?}: {down}");
        assert_eq!(down["retry_in_ms"], Value::Null, "{options:?}");
        let (code, line) = client.finish();
        assert_eq!(code, Some(1), "{options:?}");
        assert!(line.contains(advice), "{options:?}: {line}");
        server.until("rejected");
    }
    for options in [
        &["--token", "secret", "--origin", "https://a.example"][..],
        &["--header", "Authorization: bearer secret"],
        &["--subprotocol", "keepbeat.1", "--token", "secret"],
    ] {
        let mut client = connect_soon(&live, options);
        client.echo("hello");
        assert_eq!(client.finish().0, Some(0), "{options:?}");
    }
}

#[test]
fn messages_up_to_the_limit_come_back_and_longer_ones_are_not_sent() {
    let (_server, url) = serve(&["--max-message", "16MiB", "--deflate"]);
    let longest = "x".repeat(16 << 20);
    for options in [&["--max-message", "16777216"][..], &["--max-message", "16MiB", "--deflate"]] {
        let mut client = connect_soon(&url, options);
        client.say(&longest);
        assert_eq!(client.until("message")["text"].as_str().map(str::len), Some(longest.len()));
        assert_eq!(client.finish().0, Some(0));
    }
    let mut client = connect_soon(&url, &["--max-message", "4B"]);
    client.say("12345");
    let rejected = client.until("rejected");
    assert_eq!((&rejected["bytes"], &rejected["limit"]), (&Value::from(5), &Value::from(4)));
    assert_eq!(client.finish().0, Some(2));
}

#[test]
fn the_page_is_served_and_nothing_lingers() {
    let (server, url) = serve(&["--page"]);
    let address = url.strip_prefix("ws://").unwrap();
    for (path, words) in [
        ("/", "<html"),
        ("/?x=1", "<html"),
        ("/keepbeat.js", "class Link"),
        ("/page.js", "new Link"),
        ("/page.css", ":root"),
        ("/other", "426"),
    ] {
        let answer = get(address, path);
        assert!(answer.contains(words), "{path}: {answer}");
    }
    let page = get(address, "/");
    for header in [
        "X-Content-Type-Options: nosniff\r\n",
        "Referrer-Policy: no-referrer\r\n",
        "Content-Security-Policy: frame-ancestors 'none'\r\n",
    ] {
        assert!(page.contains(header), "{header}: {page}");
    }
    assert!(page.contains("default-src 'none'") && !page.contains("<script type=\"module\">"), "{page}");
    assert!(!get(&serve(&[]).1["ws://".len()..], "/").contains("<html"));
    drop(server);
}

/// The page connects to where it came from, so it is where clients are let in.
#[test]
fn the_page_is_where_clients_connect() {
    for (path, options, pages, others) in [
        ("", &[][..], &["/"][..], &["/a"][..]),
        ("/chat", &[], &["/chat"], &["/", "/chat/"]),
        ("/a/chat", &[], &["/a/chat"], &["/", "/chat", "/a/"]),
        ("/a/", &[], &["/a/"], &["/", "/a"]),
        ("", &["--path", "/b", "--path", "/c/d"], &["/b", "/c/d"], &["/", "/c/"]),
        ("/a", &["--path", "/b"], &["/a", "/b"], &["/"]),
    ] {
        let url = format!("ws://127.0.0.1:0{path}");
        let mut server = Keepbeat::start(&[&["serve", url.as_str(), "--page"], options].concat());
        let listening = server.until("listening");
        let address = listening["address"].as_str().unwrap();
        assert_eq!(listening["page"], format!("http://{address}{}", pages[0]));
        for page in pages {
            assert!(get(address, page).contains("<html"), "{page}");
            let folder = &page[..=page.rfind('/').unwrap()];
            for name in ["keepbeat.js", "page.js", "page.css"] {
                assert!(get(address, &format!("{folder}{name}")).starts_with("HTTP/1.1 200"), "{folder}{name}");
            }
        }
        for other in others {
            assert!(!get(address, other).contains("<html"), "{other}");
        }
    }
    let mut without = Keepbeat::start(&["serve", "ws://127.0.0.1:0"]);
    assert!(without.until("listening").get("page").is_none());
}

#[test]
fn with_a_page_only_pages_of_this_server_are_let_in_unless_others_are_named() {
    let (_server, url) = serve(&["--page", "--allow-origin", "https://a.example"]);
    let own = url.replace("ws://", "http://");
    for origin in [Some(own.as_str()), Some("https://a.example"), None] {
        let options = origin.map_or(vec![], |origin| vec!["--origin", origin]);
        connect_soon(&url, &options).until("up");
    }
    for origin in ["https://b.example", "http://127.0.0.1:1", "null"] {
        let mut client = connect_soon(&url, &["--origin", origin]);
        let down = client.until("down");
        assert!(down["cause"].as_str().unwrap().contains("403"), "{down}");
        client.until("gave_up");
    }
    let (_server, url) = serve(&[]);
    connect_soon(&url, &["--origin", "https://b.example"]).until("up");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    // To the end: the server hangs up.
    stream.read_to_string(&mut answer).unwrap();
    answer
}

// A server that is no keepbeat.

/// A server that does one thing with each connection, and its URL.
fn other(serve: impl Fn(Other) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(Other::accept(stream.unwrap()));
        }
    });
    url
}

/// Its end of a connection.
struct Other {
    stream: TcpStream,
    offer: Offer,
    incoming: Incoming,
    outgoing: Outgoing,
}

impl Other {
    fn accept(mut stream: TcpStream) -> Self {
        let mut upgrade = ServerUpgrade::new();
        let mut buffer = [0; 4096];
        let request = loop {
            let count = stream.read(&mut buffer).unwrap();
            if let Some(request) = upgrade.receive(&mut &buffer[..count]).unwrap() {
                break request;
            }
        };
        let offer = request.into_offer().unwrap();
        stream.write_all(&offer.accept(&Agreed::default()).unwrap()).unwrap();
        let incoming = Incoming::new(Role::Server, Limits::of_message(1 << 20));
        Self { stream, offer, incoming, outgoing: Outgoing::server() }
    }

    fn say(&mut self, what: impl FnOnce(&mut Outgoing, &mut Tx)) {
        let mut tx = Tx::default();
        what(&mut self.outgoing, &mut tx);
        while !tx.is_empty() {
            let count = self.stream.write(tx.chunk()).unwrap();
            tx.consume(count);
        }
    }

    /// What comes next; `None` when the client has hung up.
    fn hear(&mut self) -> Option<Item> {
        let mut byte = [0];
        loop {
            if self.stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            if let Some(item) = self.incoming.next(&mut &byte[..]).unwrap() {
                return Some(item);
            }
        }
    }

    /// What comes next that is no ping.
    fn hear_more(&mut self) -> Option<Item> {
        loop {
            match self.hear()? {
                Item::Ping(ping) => self.say(|outgoing, tx| outgoing.pong(&ping, tx)),
                item => return Some(item),
            }
        }
    }
}

/// The exit code of `connect --once --echo`, and what stands on stderr.
fn once(url: &str) -> (Option<i32>, String) {
    let done = command().args(["connect", url, "--once", "--echo"]).output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    (done.status.code(), stderr.lines().filter(|line| line.starts_with("keepbeat: ")).collect())
}

#[test]
fn once_ends_with_the_connection_and_its_exit_code_tells_how() {
    for (code, exit) in [
        (Some(1000), 0),
        (Some(1001), 0),
        (Some(1012), 0),
        (None, 0),
        (Some(1002), 1),
        (Some(1011), 1),
        (Some(3000), 1),
    ] {
        let url = other(move |mut other| {
            let close = code.map_or(Close::EMPTY, |code| Close::new(CloseCode::new(code).unwrap(), "why").unwrap());
            other.say(|outgoing, tx| outgoing.close(&close, tx));
            assert!(matches!(other.hear(), Some(Item::Close(answer)) if answer.code() == close.code()), "{code:?}");
        });
        let (exited, line) = once(&url);
        assert_eq!(exited, Some(exit), "{code:?}: {line}");
        assert_eq!(line.contains("ended: "), exit == 1, "{code:?}: {line}");
    }
}

#[test]
fn once_fails_if_the_connection_is_cut_or_the_protocol_broken_or_nobody_there() {
    assert_eq!(once(&other(drop)).0, Some(1));
    let url = other(|mut other| {
        // A text that is not UTF-8.
        other.stream.write_all(&[0x81, 1, 0xFF]).unwrap();
        assert!(matches!(other.hear_more(), Some(Item::Close(close)) if close.code() == CloseCode::new(1007)));
    });
    let (exited, line) = once(&url);
    assert!(exited == Some(1) && line.contains("not UTF-8"), "{line}");
    let (exited, line) = once("ws://127.0.0.1:1");
    assert!(exited == Some(1) && line.contains("no connection with ws://127.0.0.1:1"), "{line}");
}

#[test]
fn echo_sends_each_message_back_as_it_came() {
    let url = other(|mut other| {
        for message in [Message::from("beat ❤"), Message::from(vec![0, 0xFF]), Message::from(""), Message::from(vec![])]
        {
            other.say(|outgoing, tx| outgoing.message(&message, tx));
            assert_eq!(other.hear_more(), Some(Item::Message(message)));
        }
        other.say(|outgoing, tx| outgoing.close(&Close::new(CloseCode::NORMAL, "").unwrap(), tx));
        while other.hear().is_some() {}
    });
    assert_eq!(once(&url), (Some(0), String::new()));
}

#[test]
fn what_is_asked_for_is_in_the_request() {
    let url = other(|mut other| {
        let offer = &other.offer;
        assert_eq!((offer.target(), offer.origin()), ("/live?unit=7", Some("https://a.example")));
        assert_eq!(offer.subprotocols().collect::<Vec<_>>(), ["v2.chat", "v1.chat"]);
        let header = |name| offer.header(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(
            (header("X-Unit"), header("Authorization")),
            (vec![b"7: a".to_vec()], vec![b"Bearer secret".to_vec()])
        );
        assert_eq!(offer.extensions().len(), 1);
        other.say(|outgoing, tx| outgoing.close(&Close::new(CloseCode::NORMAL, "").unwrap(), tx));
    });
    let url = format!("{url}/live?unit=7");
    let asked = ["--subprotocol", "v2.chat", "--subprotocol", "v1.chat", "--header", "X-Unit: 7: a", "--deflate"];
    let client =
        connect(&url, &[&asked[..], &["--origin", "https://a.example", "--token", "secret", "--once"]].concat());
    assert_eq!(client.finish(), (Some(0), String::new()));
}

#[test]
fn a_beat_that_is_a_text_is_sent_and_its_answer_is_no_message() {
    let url = other(|mut other| {
        for _ in 0..3 {
            assert_eq!(other.hear(), Some(Item::Message("are you there".into())));
            other.say(|outgoing, tx| outgoing.message(&"yes".into(), tx));
        }
        other.say(|outgoing, tx| outgoing.message(&"news".into(), tx));
        while other.hear().is_some() {}
    });
    let beat = ["--beat", "text:are you there", "--beat-reply", "yes", "--interval", "100ms"];
    let mut client = connect(&url, &beat);
    assert_eq!(client.until("message")["text"], "news");
}

#[test]
fn without_beats_nothing_is_sent_and_nobody_is_suspected() {
    let url = other(|mut other| {
        // Many intervals, in which nothing comes.
        other.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        assert_eq!(other.hear(), None);
        other.say(|outgoing, tx| outgoing.close(&Close::new(CloseCode::NORMAL, "").unwrap(), tx));
    });
    let mut client =
        connect(&url, &["--subprotocol", "keepbeat.1", "--beat", "none", "--interval", "50ms", "--once", "--echo"]);
    client.until("up");
    assert_eq!(client.finish(), (Some(0), String::new()));
}

#[test]
fn a_503_says_when_to_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let answer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let began = Clock::now();
    let mut client = connect(&url, &["--backoff", "10ms..20ms"]);
    let down = client.until("down");
    assert!(down["cause"].as_str().unwrap().contains("503"), "{down}");
    // A part of the second may be over when this is told; a tenth of it may be added.
    assert!(down["retry_in_ms"].as_u64().unwrap() <= 1100, "{down}");
    client.until("connecting");
    assert!(Clock::now().since(began) >= Duration::from_secs(1), "the backoff is shorter, and not what counts");
}
