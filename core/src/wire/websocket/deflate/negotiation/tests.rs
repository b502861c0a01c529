use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::wire::websocket::upgrade::parse_extensions;

fn extensions(line: &str) -> Vec<Extension> {
    parse_extensions([line.as_bytes()].into_iter()).unwrap()
}

/// What a server that allows all answers to an offer.
fn answer(config: DeflateConfig, offer: &str) -> Option<String> {
    config.choose(&extensions(offer)).map(|agreement| agreement.answer())
}

fn generous() -> DeflateConfig {
    DeflateConfig::default().context_takeover(Role::Client, true).context_takeover(Role::Server, true)
}

#[test]
fn a_server_answers_what_the_specification_says() {
    for (offer, answered) in [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=15", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=10", "permessage-deflate; client_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=\"15\"", "permessage-deflate; server_max_window_bits=15"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        // Of several offers, the first that is right.
        ("foo, permessage-deflate; bar, permessage-deflate", "permessage-deflate"),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=16, \
             permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=8",
        ),
    ] {
        assert_eq!(answer(generous(), offer).as_deref(), Some(answered), "{offer}");
    }
}

#[test]
fn a_server_declines_offers_that_break_a_rule() {
    for parameters in [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=x",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=+9",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=9",
    ] {
        assert_eq!(answer(generous(), &format!("permessage-deflate; {parameters}")), None, "{parameters}");
    }
    assert_eq!(answer(generous(), "x-webkit-deflate-frame"), None);
    assert_eq!(generous().choose(&[]), None);
}

#[test]
fn a_server_asks_for_what_it_is_told_to() {
    assert_eq!(
        answer(DeflateConfig::default(), "permessage-deflate").unwrap(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    );
    let small =
        generous().max_window_bits(Role::Client, 9).and_then(|it| it.max_window_bits(Role::Server, 10)).unwrap();
    assert_eq!(answer(small, "permessage-deflate"), None, "this client cannot be limited");
    assert_eq!(
        answer(small, "permessage-deflate; client_max_window_bits; server_max_window_bits=12").unwrap(),
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9"
    );
    let smaller = "permessage-deflate; client_max_window_bits=8; server_max_window_bits=8";
    assert_eq!(
        answer(small, smaller).unwrap(),
        "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8"
    );
}

#[test]
fn a_client_offers_what_it_wants() {
    assert_eq!(
        DeflateConfig::default().offer(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
    );
    let small =
        generous().max_window_bits(Role::Client, 9).and_then(|it| it.max_window_bits(Role::Server, 10)).unwrap();
    assert_eq!(small.offer(), "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9");
}

#[test]
fn a_client_fails_on_answers_that_break_a_rule() {
    let fails = |config: DeflateConfig, answer: &str| config.agree(&extensions(answer)).is_err();
    for parameters in [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=1",
        "server_max_window_bits",
        "server_max_window_bits=16",
        "client_max_window_bits",
        "client_max_window_bits=7",
        "client_max_window_bits=9; client_max_window_bits=9",
    ] {
        assert!(fails(generous(), &format!("permessage-deflate; {parameters}")), "{parameters}");
    }
    assert!(fails(generous(), "foo"));
    assert!(fails(generous(), "permessage-deflate, permessage-deflate"));
    assert!(fails(DeflateConfig::default(), "permessage-deflate"), "we asked for server_no_context_takeover");
    let small =
        generous().max_window_bits(Role::Client, 9).and_then(|it| it.max_window_bits(Role::Server, 10)).unwrap();
    assert!(fails(small, "permessage-deflate"), "we asked for server_max_window_bits");
    assert!(fails(small, "permessage-deflate; server_max_window_bits=11"));
    assert!(fails(small, "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"));
    assert!(!fails(small, "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8"));
}

#[test]
fn both_ends_agree_on_the_same() {
    for seed in 0..4000_u32 {
        let config = |bits: u32| {
            DeflateConfig::default()
                .context_takeover(Role::Client, bits & 1 > 0)
                .context_takeover(Role::Server, bits & 2 > 0)
                .max_window_bits(Role::Client, 8 + (bits >> 2 & 7) as u8)
                .and_then(|config| config.max_window_bits(Role::Server, 8 + (bits >> 5 & 7) as u8))
                .unwrap()
        };
        let (client, server) =
            (config(seed.wrapping_mul(0x9E37_79B9) >> 24), config(seed.wrapping_mul(0x85EB_CA6B) >> 24));
        let Some(chosen) = server.choose(&extensions(&client.offer())) else { panic!("our offers name all") };
        assert_eq!(client.agree(&extensions(&chosen.answer())), Ok(Some(chosen)), "{client:?} {server:?}");
        for role in [Role::Client, Role::Server] {
            assert!(chosen.window_bits(role) <= side(client, role).window_bits.min(side(server, role).window_bits));
            assert!(!chosen.context_takeover(role) || side(client, role).takeover && side(server, role).takeover);
        }
    }
    assert_eq!(generous().agree(&[]), Ok(None));
}

#[test]
fn impossible_values_are_named() {
    let error = DeflateConfig::default().max_window_bits(Role::Client, 16).unwrap_err();
    assert!(error.to_string().contains("16"), "{error}");
    assert!(DeflateConfig::default().max_window_bits(Role::Client, 7).is_err());
    assert!(DeflateConfig::default().level(0).is_err());
    assert!(DeflateConfig::default().level(10).unwrap_err().to_string().contains("10"));
}

fn side(mut config: DeflateConfig, role: Role) -> Side {
    *config.side(role)
}
