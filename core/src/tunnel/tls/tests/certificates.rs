//! Certificates that are not accepted: both ends are told which and why.

use std::string::{String, ToString};

use rcgen::{BasicConstraints, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ED25519, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use super::super::{TlsClient, TlsError, TlsServer};
use super::pair::{NAME, Pair, client, client_of, server, server_of};
use super::{Authority, Identity, params};
use crate::reconnect::Retry;

/// What the client says when it meets the server, and what the server then hears.
#[track_caller]
fn refused(client: &TlsClient, server: &TlsServer, host: &str) -> (String, String) {
    let pair = Pair::met(client, server, host);
    let (at_client, at_server) = (pair.client.error.unwrap(), pair.server.error.unwrap());
    assert_eq!((at_client.retry(), at_server.retry()), (Retry::Fatal, Retry::Fatal));
    assert!(matches!(at_client, TlsError::Certificate { .. }), "{at_client:?}");
    assert!(matches!(at_server, TlsError::Refused { .. }), "{at_server:?}");
    (at_client.to_string(), at_server.to_string())
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity(NAME);
    for server in [server(&identity), server_of(&TLS12, &identity)] {
        let (text, heard) = refused(&client(&authority), &server, "localhost");
        assert_has(&text, &["the server's certificate (CN=gate.example, issued by CN=Test CA, serial "]);
        assert_has(&text, &["valid until 4096-01-01) is not accepted: it is for gate.example, not for localhost"]);
        assert_has(&heard, &["the client does not accept our certificate", "another name"]);
    }
}

#[test]
fn a_certificate_out_of_date_is_refused_with_both_dates() {
    let authority = Authority::new("Test CA");
    let mut expired = params(NAME);
    expired.not_after = date_time_ymd(2020, 1, 2);
    let (text, heard) = refused(&client(&authority), &server(&authority.sign(&expired)), NAME);
    assert_has(&text, &["CN=gate.example", "valid until 2020-01-02", "it expired at 2020-01-02T00:00:00Z", "clock"]);
    assert_has(&heard, &["it expired"]);

    let mut future = params(NAME);
    future.not_before = date_time_ymd(4000, 1, 1);
    let (text, _) = refused(&client(&authority), &server(&authority.sign(&future)), NAME);
    assert_has(&text, &["it is valid only from 4000-01-01T00:00:00Z on", "clock"]);
}

#[test]
fn an_expired_intermediate_is_the_one_that_is_named() {
    let root = Authority::new("Test CA");
    let mut old = super::authority("Middle CA");
    old.not_after = date_time_ymd(2021, 3, 4);
    let middle = root.below(old);
    let mut identity = middle.identity(NAME);
    identity.chain.push_str(&middle.certificate);
    let (text, _) = refused(&client(&root), &server(&identity), NAME);
    assert_has(
        &text,
        &["the certificate no. 2 of the server's chain (CN=Middle CA, issued by CN=Test CA", "2021-03-04"],
    );
}

#[test]
fn an_unknown_issuer_is_refused_and_named() {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let (text, heard) = refused(&client(&authority), &server(&other.identity(NAME)), NAME);
    assert_has(&text, &["issued by CN=Other CA", "its issuer is not among the trusted roots", "roots_pem()"]);
    assert_has(&heard, &["it does not trust the issuer"]);

    let impostor = Authority::new("Test CA");
    let pair = Pair::met(&client(&authority), &server(&impostor.identity(NAME)), NAME);
    assert!(matches!(pair.client.error, Some(TlsError::Certificate { .. })), "a name is no proof");
}

#[test]
fn a_certificate_that_signed_itself_is_refused_unless_it_is_a_root() {
    let authority = Authority::new("Test CA");
    let key = KeyPair::generate().unwrap();
    let own = Identity { chain: params(NAME).self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    let (text, _) = refused(&client(&authority), &server(&own), NAME);
    assert_has(&text, &["(CN=gate.example, issued by itself", "it signed itself", "add it with roots_pem()"]);

    let trusting = TlsClient::builder().roots_pem(own.chain.as_bytes()).build().unwrap();
    Pair::met(&trusting, &server(&own), NAME).assert_open();
}

#[test]
fn an_authority_that_serves_under_its_own_certificate_is_told_to_sign_another() {
    let mut own = params(NAME);
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = Identity { chain: own.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    let trusting = TlsClient::builder().roots_pem(own.chain.as_bytes()).build().unwrap();
    let (text, _) = refused(&trusting, &server(&own), NAME);
    assert_has(&text, &["not accepted: it is made for an authority (basicConstraints CA:TRUE)", "CA:FALSE"]);
}

#[test]
fn a_root_of_the_same_name_with_another_kind_of_key_does_not_count_as_the_issuer() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let own = Identity { chain: params(NAME).self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    let namesake = params(NAME).self_signed(&other).unwrap().pem();
    let trusting = TlsClient::builder().roots_pem(namesake.as_bytes()).build().unwrap();
    // The server hears an alert that is not about certificates.
    let error = Pair::met(&trusting, &server(&own), NAME).client.error.unwrap();
    assert_eq!(error.retry(), Retry::Fatal);
    assert_has(&error.to_string(), &["its signature does not fit the key", "roots_pem()"]);
}

#[test]
fn a_certificate_made_for_clients_is_refused_at_a_server() {
    let authority = Authority::new("Test CA");
    let mut wrong = params(NAME);
    wrong.extended_key_usages = [ExtendedKeyUsagePurpose::ClientAuth].into();
    let (text, heard) = refused(&client(&authority), &server(&authority.sign(&wrong)), NAME);
    assert_has(&text, &["it is not made for a server (extended key usage)"]);
    assert_has(&heard, &["another purpose"]);
}

#[test]
fn a_certificate_without_subject_is_described_by_its_names() {
    let authority = Authority::new("Test CA");
    let mut nameless = params(NAME);
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let (text, _) = refused(&client(&authority), &server(&authority.sign(&nameless)), "localhost");
    assert_has(&text, &["(for gate.example, issued by CN=Test CA"]);
}

#[test]
fn what_the_peer_put_into_its_names_stays_short_and_printable() {
    let authority = Authority::new("Test CA");
    let mut loud = params(NAME);
    loud.distinguished_name.push(DnType::OrganizationName, "x".repeat(10_000));
    loud.distinguished_name.push(DnType::OrganizationalUnitName, "\u{1b}[2J\u{9b}2J\r\n");
    loud.subject_alt_names =
        (0..500).map(|i| rcgen::SanType::DnsName(std::format!("n{i}.example").try_into().unwrap())).collect();
    let (text, _) = refused(&client(&authority), &server(&authority.sign(&loud)), NAME);
    assert!(text.len() < 700 && !text.contains(char::is_control), "{text}");
    assert_has(&text, &["495 more"]);
}

#[test]
fn a_foreign_verifier_is_quoted() {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let (text, _) = refused(&client_of(&TLS13, &authority, None), &server(&other.identity(NAME)), NAME);
    assert_eq!(text, "the server's certificate is not accepted: UnknownIssuer");
}

#[test]
fn a_host_that_no_certificate_can_be_for_is_fatal() {
    let authority = Authority::new("Test CA");
    let error = super::super::Tls::client(&client(&authority), "no name at all").unwrap_err();
    assert_eq!((error.clone(), error.retry()), (TlsError::BadName("no name at all".into()), Retry::Fatal));
    assert_has(&error.to_string(), &["\"no name at all\"", "server_name()"]);
}

/// A server that wants certificates of `clients`, met by a client that shows `identity`, with both versions: what the
/// client hears, and what the server says.
fn demanded(clients: &Authority, identity: Option<&Identity>, check: impl Fn(Option<TlsError>, Option<TlsError>)) {
    let authority = Authority::new("Test CA");
    let ours = authority.identity(NAME);
    let server = TlsServer::builder()
        .certificate_pem(ours.chain.as_bytes(), ours.key.as_bytes())
        .client_roots_pem(clients.certificate.as_bytes())
        .build()
        .unwrap();
    let mut builder = TlsClient::builder().roots_pem(authority.certificate.as_bytes());
    if let Some(identity) = identity {
        builder = builder.certificate_pem(identity.chain.as_bytes(), identity.key.as_bytes());
    }
    for client in [builder.build().unwrap(), client_of(&TLS12, &authority, identity)] {
        let pair = Pair::met(&client, &server, NAME);
        if pair.server.error.is_none() {
            pair.assert_open();
        }
        check(pair.client.error, pair.server.error);
    }
}

#[test]
fn a_client_certificate_that_is_demanded_and_right_is_accepted() {
    let clients = Authority::new("Client CA");
    demanded(&clients, Some(&clients.identity("device-7")), |client, server| {
        assert_eq!((client, server), (None, None))
    });
}

#[test]
fn a_client_certificate_that_is_missing_is_told_to_both() {
    demanded(&Authority::new("Client CA"), None, |client, server| {
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!((client.retry(), server.retry()), (Retry::Fatal, Retry::Fatal));
        assert_eq!(
            client.to_string(),
            "the server wants a certificate of ours: set certificate_pem() to one that it accepts"
        );
        assert_has(&server.to_string(), &["the client is not accepted: it showed no certificate"]);
    });
}

#[test]
fn a_client_certificate_of_another_issuer_is_told_to_both() {
    let stranger = Authority::new("Other CA").identity("device-7");
    demanded(&Authority::new("Client CA"), Some(&stranger), |client, server| {
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!((client.retry(), server.retry()), (Retry::Fatal, Retry::Fatal));
        assert!(matches!(client, TlsError::Refused { .. }), "{client:?}");
        assert_has(
            &server.to_string(),
            &["the client's certificate (CN=device-7, issued by CN=Other CA", "client_roots_pem()"],
        );
    });
}

#[test]
fn an_expired_client_certificate_is_told_to_both() {
    let clients = Authority::new("Client CA");
    let mut old = params("device-7");
    old.not_after = date_time_ymd(2020, 1, 2);
    demanded(&clients, Some(&clients.sign(&old)), |client, server| {
        assert_has(&client.unwrap().to_string(), &["the server does not accept our certificate: it expired"]);
        assert_has(&server.unwrap().to_string(), &["CN=device-7", "it expired at 2020-01-02"]);
    });
}
