//! Inputs that cannot work are refused, with a word on what to do.

use std::format;
use std::string::ToString;

use super::super::{TlsClient, TlsConfigError, TlsServer};
use super::Authority;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use super::Identity;

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
#[test]
fn without_a_provider_the_error_says_where_to_get_one() {
    let authority = Authority::new("Test CA");
    let error = TlsClient::builder().roots_pem(authority.certificate.as_bytes()).build().unwrap_err();
    assert_eq!(error, TlsConfigError::NoProvider);
    assert!(error.to_string().contains("tls-ring"), "{error}");
    assert_eq!(TlsServer::builder().build().unwrap_err(), TlsConfigError::NoProvider);
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn error(authority: &Authority, chain: &str, key: &str) -> TlsConfigError {
    let server = TlsServer::builder().certificate_pem(chain.as_bytes(), key.as_bytes()).build().unwrap_err();
    let builder = TlsClient::builder().roots_pem(authority.certificate.as_bytes());
    let client = builder.certificate_pem(chain.as_bytes(), key.as_bytes()).build().unwrap_err();
    assert_eq!(client, server);
    server
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[test]
fn a_chain_or_key_that_cannot_work_is_refused() {
    let authority = Authority::new("Test CA");
    let Identity { chain, key } = authority.identity("gate.example");
    let other = authority.identity("other.example");
    let input = "certificate_pem";

    assert_eq!(error(&authority, "", &key), TlsConfigError::NoCertificate { input });
    assert_eq!(error(&authority, &key, &chain), TlsConfigError::NoCertificate { input }, "the wrong way round");
    assert_eq!(error(&authority, &chain, ""), TlsConfigError::NoKey);
    assert_eq!(error(&authority, &chain, &chain), TlsConfigError::NoKey);
    let cut = &chain[..chain.len() / 2];
    assert!(matches!(error(&authority, cut, &key), TlsConfigError::BadPem { .. }));
    let empty_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(error(&authority, &chain, empty_key), TlsConfigError::BadKey { .. }));
    let empty_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(&authority, empty_certificate, &key), TlsConfigError::BadCertificate { .. }));

    let mismatch = error(&authority, &chain, &other.key);
    assert!(matches!(mismatch, TlsConfigError::KeyMismatch { .. }), "{mismatch:?}");
    let text = mismatch.to_string();
    assert!(
        text.contains("certificate_pem: the private key is not the one of the certificate (CN=gate.example"),
        "{text}"
    );
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[test]
fn roots_that_are_none_are_refused() {
    let authority = Authority::new("Test CA");
    let ours = authority.identity("gate.example");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (roots, expected) in
        [("", "no certificate given"), (&ours.key, "no certificate given"), (broken, "cannot be used")]
    {
        let server = TlsServer::builder().certificate_pem(ours.chain.as_bytes(), ours.key.as_bytes());
        let server = server.client_roots_pem(roots.as_bytes()).build().unwrap_err().to_string();
        assert!(server.starts_with("client_roots_pem: ") && server.contains(expected), "{server}");
        let client = TlsClient::builder().roots_pem(roots.as_bytes()).build().unwrap_err().to_string();
        assert!(client.starts_with("roots_pem: ") && client.contains(expected), "{client}");
    }
}

#[cfg(all(any(feature = "tls-ring", feature = "tls-aws-lc"), not(feature = "tls-platform-roots")))]
#[test]
fn a_client_without_roots_is_refused() {
    let error = TlsClient::builder().build().unwrap_err();
    assert_eq!(error, TlsConfigError::NoRoots);
    assert!(error.to_string().contains("roots_pem()"), "{error}");
}

#[cfg(all(any(feature = "tls-ring", feature = "tls-aws-lc"), feature = "tls-platform-roots", target_os = "linux"))]
#[test]
fn own_roots_are_trusted_alone_or_beside_those_of_the_platform() {
    use super::pair::{Pair, server};
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let server = server(&authority.identity("gate.example"));
    let both = TlsClient::builder()
        .roots_pem(other.certificate.as_bytes())
        .roots_pem(authority.certificate.as_bytes())
        .platform_roots()
        .build()
        .unwrap();
    Pair::met(&both, &server, "gate.example").assert_open();
    // Whether the platform has any roots or not, it does not have ours.
    match TlsClient::builder().build() {
        Ok(platform) => {
            let error = Pair::met(&platform, &server, "gate.example").client.error.unwrap().to_string();
            assert!(error.contains("its issuer is not among the trusted roots"), "{error}");
        }
        Err(error) => assert!(matches!(error, TlsConfigError::PlatformRoots { .. }), "{error:?}"),
    }
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[test]
fn a_server_name_that_is_none_is_refused() {
    let authority = Authority::new("Test CA");
    let builder = TlsClient::builder().roots_pem(authority.certificate.as_bytes()).server_name("gate example");
    assert_eq!(builder.build().unwrap_err(), TlsConfigError::BadServerName { name: "gate example".to_string() });
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[test]
fn early_data_is_turned_off_in_a_foreign_configuration() {
    let ours = super::pair::server(&Authority::new("Test CA").identity("gate.example"));
    let mut config = (*ours.config).clone();
    config.max_early_data_size = 1000;
    assert_eq!(TlsServer::from_rustls(config.into()).config.max_early_data_size, 0);
}

#[test]
fn no_key_is_printed() {
    let authority = Authority::new("Test CA");
    let identity = authority.identity("gate.example");
    let (chain, key) = (identity.chain.as_bytes(), identity.key.as_bytes());
    assert_eq!(format!("{:?}", TlsServer::builder().certificate_pem(chain, key)), "TlsServerBuilder { .. }");
    assert_eq!(
        format!("{:?}", TlsClient::builder().certificate_pem(chain, key)),
        "TlsClientBuilder { server_name: None, .. }"
    );
}
