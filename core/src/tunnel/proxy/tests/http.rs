//! HTTP proxies.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::super::http::{HEAD_LIMIT, HEADERS_LIMIT};
use super::super::{ProxyReply, REASON_LIMIT};
use super::*;
use crate::reconnect::Retry;

fn reply(text: &str) -> Result<bool, ProxyError> {
    verdict("http://proxy:3128", "server:80", text.as_bytes())
}

fn said(status: u16, reason: &str) -> ProxyReply {
    ProxyReply::Http { status, reason: reason.into() }
}

fn seconds(after: u64) -> Option<Duration> {
    Some(Duration::from_secs(after))
}

#[test]
fn the_request_names_the_server_and_the_login() {
    for (proxy, server, request) in [
        (
            "http://proxy:3128",
            "gateway.example:7411",
            "CONNECT gateway.example:7411 HTTP/1.1\r\nHost: gateway.example:7411\r\n\r\n",
        ),
        ("http://proxy:3128", "[::1]:7411", "CONNECT [::1]:7411 HTTP/1.1\r\nHost: [::1]:7411\r\n\r\n"),
        ("http://proxy:3128", "[fe80::1%eth0]:80", "CONNECT [fe80::1]:80 HTTP/1.1\r\nHost: [fe80::1]:80\r\n\r\n"),
        // The example of RFC 7617, section 2.
        (
            "http://Aladdin:open%20sesame@proxy:3128",
            "127.0.0.1:80",
            "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
        ),
    ] {
        assert_eq!(String::from_utf8(sent(&mut handshake(proxy, server))).unwrap(), request);
    }
}

#[test]
fn every_status_of_success_opens_the_tunnel() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 Connection established\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nVia: 1.1 squid\r\n\r\n",
        "HTTP/1.1 299 \u{fc}\r\n\r\n",
        // The tunnel begins behind the head all the same (RFC 9110, section 9.3.6).
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(reply(head), Ok(true), "{head:?}");
    }
}

#[test]
fn interim_answers_are_skipped() {
    assert_eq!(reply("HTTP/1.1 100 Continue\r\n\r\n"), Ok(false));
    assert_eq!(
        reply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        Ok(true)
    );
    assert_eq!(reply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\n\r\n"), Err(ProxyError::LoginMissing));
    let switched = ProxyError::Failed(said(101, "Switching Protocols"));
    assert_eq!(reply("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(switched));
}

#[test]
fn every_status_has_its_error_and_its_retry() {
    for status in (0..100).chain(300..1000) {
        let reply = said(status, "No");
        let (error, retry) = match status {
            401 | 407 => (ProxyError::LoginMissing, Retry::Fatal),
            403 => (ProxyError::NotAllowed(reply), Retry::Fatal),
            502 | 504 => (ProxyError::Unreachable(reply), Retry::BACKOFF),
            429 | 503 => (ProxyError::Busy { reply, retry_after: None }, Retry::BACKOFF),
            _ => (ProxyError::Failed(reply), Retry::BACKOFF),
        };
        let got = self::reply(&format!("HTTP/1.1 {status:03} No\r\nContent-Length: 2\r\n\r\nno"));
        assert_eq!(got, Err(error.clone()), "{status}");
        assert_eq!(error.retry(), retry, "{status}");
    }
}

#[test]
fn a_login_that_was_sent_is_refused_not_missing() {
    // The second one is tinyproxy's.
    for head in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
        "HTTP/1.0 401 Unauthorized\r\nServer: tinyproxy/1.11.1\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n",
    ] {
        let got = verdict("http://u:p@proxy:1", "server:80", head.as_bytes());
        assert_eq!(got, Err(ProxyError::LoginRefused), "{head}");
    }
    assert_eq!(ProxyError::LoginRefused.retry(), Retry::Fatal);
}

#[test]
fn a_wait_in_whole_seconds_is_honoured_where_the_status_allows_one() {
    for (status, value, after) in [
        (503, "120", seconds(120)),
        (429, "1", seconds(1)),
        (503, "  7\t ", seconds(7)),
        (503, "99999999999999999999999", seconds(u64::MAX)),
        (503, "0", None),
        (503, "", None),
        (503, "-1", None),
        (503, "1.5", None),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", None),
    ] {
        let head = format!("HTTP/1.1 {status} Busy\r\nX: 1\r\nretry-AFTER: {value}\r\nRetry-After: 9\r\n\r\n");
        let error = reply(&head).unwrap_err();
        assert_eq!(error, ProxyError::Busy { reply: said(status, "Busy"), retry_after: after }, "{head}");
    }
    assert_eq!(
        reply("HTTP/1.1 502 Bad\r\nRetry-After: 9\r\n\r\n").unwrap_err().retry(),
        Retry::BACKOFF,
        "only 429 and 503 carry a wait"
    );
}

#[test]
fn a_wait_is_spread_over_half_of_it_again() {
    let retry = |after| ProxyError::Busy { reply: said(503, ""), retry_after: seconds(after) }.retry();
    let secs = Duration::from_secs;
    assert_eq!(retry(120), Retry::after(secs(120), secs(60)));
    assert_eq!(retry(2), Retry::after(secs(2), secs(1)));
    assert_eq!(retry(1), Retry::after(secs(1), secs(1)));
    assert_eq!(retry(u64::MAX), Retry::after(secs(u64::MAX), secs(u64::MAX) / 2));
}

#[test]
fn the_proxy_s_words_are_shown_without_control_characters_and_not_without_end() {
    let shown = |reason: &str| reply(&format!("HTTP/1.1 500 {reason}\r\n\r\n")).unwrap_err();
    assert_eq!(shown("a\tb"), ProxyError::Failed(said(500, "ab")));
    assert_eq!(shown("caf\u{e9}"), ProxyError::Failed(said(500, "")));
    assert_eq!(shown(&"x".repeat(5000)), ProxyError::Failed(said(500, &"x".repeat(REASON_LIMIT))));
    assert_eq!(shown("a\x1b[31mb"), ProxyError::NotHttp);
    assert!(shown("Squid is ill").to_string().contains("(HTTP 500 Squid is ill)"));
    assert!(reply("HTTP/1.1 500\r\n\r\n").unwrap_err().to_string().contains("(HTTP 500)"));
}

#[test]
fn what_is_not_http_is_found_out_by_its_first_bytes() {
    for text in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "220 mail.example ESMTP\r\n",
        "\u{5}\0",
        "\0",
        "HTTP/2",
        "HTTPS",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 2x0",
        "HTTP/1.1  200",
        "HTTP/1.1 2000",
        "HTTP/1.1 200 OK\rX",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nbody",
    ] {
        assert_eq!(reply(text), Err(ProxyError::NotHttp), "{text:?}");
    }
    assert_eq!(ProxyError::NotHttp.retry(), Retry::BACKOFF, "a middlebox may start");
}

#[test]
fn a_head_of_8_kib_is_taken_and_one_byte_more_is_not() {
    let head = |length: usize| {
        let (start, end) = ("HTTP/1.1 200 OK\r\nX: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()))
    };
    assert_eq!(head(HEAD_LIMIT).len(), 8192);
    assert_eq!(reply(&head(HEAD_LIMIT)), Ok(true));
    assert_eq!(reply(&head(HEAD_LIMIT)[..HEAD_LIMIT - 1]), Ok(false));
    assert_eq!(reply(&head(HEAD_LIMIT + 1)), Err(ProxyError::HeadTooLarge));
    assert_eq!(reply(&head(HEAD_LIMIT + 1)[..HEAD_LIMIT]), Err(ProxyError::HeadTooLarge));
    assert_eq!(ProxyError::HeadTooLarge.retry(), Retry::BACKOFF);
}

#[test]
fn sixty_four_header_lines_are_taken_and_one_more_is_not() {
    let head = |lines: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(lines));
    assert_eq!(reply(&head(HEADERS_LIMIT)), Ok(true));
    assert_eq!(reply(&head(HEADERS_LIMIT + 1)), Err(ProxyError::HeadTooLarge));
}

#[test]
fn answers_without_end_are_cut_at_8_kib() {
    for endless in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 199\n\n", "\r\n", "\n"] {
        let bytes: Vec<u8> = endless.bytes().cycle().take(HEAD_LIMIT).collect();
        assert_eq!(feed(&mut handshake("http://p:1", "s:1"), &bytes, 1000).0, Err(ProxyError::HeadTooLarge));
        let (short, taken) = feed(&mut handshake("http://p:1", "s:1"), &bytes[..HEAD_LIMIT - 1], 1);
        assert_eq!((short, taken), (Ok(false), HEAD_LIMIT - 1));
    }
}
