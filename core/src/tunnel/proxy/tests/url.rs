//! The URLs of proxies.

use alloc::format;
use alloc::string::ToString;

use super::super::ProxyUrlError as E;
use super::*;
use crate::tunnel::host::HostPortError;

#[test]
fn urls_of_proxies_are_read() {
    for (url, shown, login) in [
        ("http://proxy.example:3128", "http://proxy.example:3128", None),
        ("HTTP://127.0.0.1:1/", "http://127.0.0.1:1", None),
        ("socks5://[::1]:1080", "socks5://[::1]:1080", None),
        ("Socks5H://[fe80::1%eth0]:1080/", "socks5://[fe80::1%eth0]:1080", None),
        ("http://u:p@x:1", "http://***@x:1", Some((&b"u"[..], &b"p"[..]))),
        ("http://u@x:1", "http://***@x:1", Some((b"u", b""))),
        ("http://u:@x:1", "http://***@x:1", Some((b"u", b""))),
        ("http://u:a:b%3Ac@x:1", "http://***@x:1", Some((b"u", b"a:b:c"))),
        ("socks5://a%3ab:%20%fF@x:1", "socks5://***@x:1", Some((b"a:b", b" \xff"))),
        ("http://%40%2f%25:-._~!$&'()*+,;=@x:1", "http://***@x:1", Some((b"@/%", b"-._~!$&'()*+,;="))),
    ] {
        let proxy: Proxy = url.parse().unwrap();
        assert_eq!(proxy.to_string(), shown);
        assert_eq!(proxy.login.as_ref().map(|login| (&login.user[..], &login.password[..])), login, "{url}");
        assert!(shown.ends_with(&proxy.address().to_string()), "{url}");
    }
}

#[test]
fn what_is_not_the_url_of_a_proxy_is_refused_with_its_fault() {
    for (url, error) in [
        ("", E::Scheme),
        ("proxy:3128", E::Scheme),
        ("://proxy:3128", E::Scheme),
        ("https://proxy:3128", E::Scheme),
        ("socks4://proxy:1080", E::Scheme),
        ("socks5:proxy:1080", E::Scheme),
        (" http://proxy:3128", E::Scheme),
        ("http://proxy", E::Address(HostPortError::NoPort)),
        ("http://", E::Address(HostPortError::NoPort)),
        ("http://u:p@", E::Address(HostPortError::NoPort)),
        ("http://:3128", E::Address(HostPortError::NoHost)),
        ("http://::1:3128", E::Address(HostPortError::Brackets)),
        ("http://proxy:3128\r\n", E::Address(HostPortError::Port)),
        ("http://pro\r\nxy:3128", E::Address(HostPortError::NameCharacter { character: '\r' })),
        ("http://proxy:0", E::PortZero),
        ("http://proxy:3128/path", E::Path),
        ("http://proxy:3128//", E::Path),
        ("http://proxy:3128?x", E::Path),
        ("http://proxy:3128#x", E::Path),
        ("http://u:%@x:1", E::Escape),
        ("http://u:%4@x:1", E::Escape),
        ("http://u:%4g@x:1", E::Escape),
        ("http://u:%+4@x:1", E::Escape),
        ("http://u%:p@x:1", E::Escape),
        ("http://u:p@ss@x:1", E::Unescaped),
        ("http://u:p/ss@x:1", E::Unescaped),
        ("http://u:p ss@x:1", E::Unescaped),
        ("http://u:p\r\nX: y@x:1", E::Unescaped),
        ("http://u:p\u{e4}ss@x:1", E::Unescaped),
        ("http://@x:1", E::User),
        ("http://:p@x:1", E::User),
        ("http://a%3Ab:p@x:1", E::UserColon),
        ("socks5://u@x:1", E::Password),
        ("socks5://u:@x:1", E::Password),
        ("http://u:p%0D%0AX@x:1", E::ControlCharacter),
        ("http://u%00:p@x:1", E::ControlCharacter),
        ("http://u:%7F@x:1", E::ControlCharacter),
    ] {
        assert_eq!(url.parse::<Proxy>(), Err(error), "{url:?}");
    }
}

#[test]
fn logins_have_a_longest_length() {
    let parse = |scheme: &str, user: usize, password: usize| {
        // Encoded, each byte takes three characters: only what they stand for counts.
        format!("{scheme}://{}:{}@x:1", "%41".repeat(user), "%41".repeat(password)).parse::<Proxy>()
    };
    for scheme in ["http", "socks5"] {
        assert!(parse(scheme, 255, 255).is_ok());
        assert_eq!(parse(scheme, 256, 255), Err(E::User));
        assert_eq!(parse(scheme, 255, 256), Err(E::Password));
    }
}

#[test]
fn a_refusal_shows_nothing_of_the_login() {
    for url in [
        "http://user1:secret2@",
        "http://user1:secret2@x:0",
        "http://user1:secret2@x:1/y",
        "http://user1:secret2%@x:1",
        "http://user1:secret2@@x:1",
        "http://user1:secret2%00@x:1",
        "user1:secret2@x:1",
    ] {
        let error = url.parse::<Proxy>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("user1") && !shown.contains("secret2"), "{shown}");
    }
}

/// Without an `@` the login is taken for the address, whose error may quote one character of it, but no more.
#[test]
fn a_login_without_its_host_is_hardly_shown() {
    let error = "http://user1:sec ret2".parse::<Proxy>().unwrap_err();
    assert_eq!(error, E::Address(HostPortError::Port));
    let error = "http://us er1:secret2".parse::<Proxy>().unwrap_err();
    assert_eq!(error, E::Address(HostPortError::NameCharacter { character: ' ' }));
}
