//! TLS from the files that the command line names.

use std::path::Path;

use keepbeat_core::tunnel::tls::{TlsClient, TlsConfigError, TlsServer};

use crate::args::{ClientTlsArgs, ServerTlsArgs};
use crate::endpoint::Endpoint;

/// What `connect` needs to speak TLS; nothing for `beat://` and `ws://`.
pub(crate) fn client(endpoint: &Endpoint, args: &ClientTlsArgs) -> Result<Option<TlsClient>, String> {
    let ClientTlsArgs { ca, cert, key, server_name } = args;
    let given = [
        ("--ca", ca.is_some()),
        ("--cert", cert.is_some()),
        ("--key", key.is_some()),
        ("--server-name", server_name.is_some()),
    ];
    if !wants_tls(endpoint, &given)? {
        return Ok(None);
    }
    let files = Files { ca: ca.as_deref(), cert: cert.as_deref(), key: key.as_deref() };
    let mut builder = TlsClient::builder();
    if let Some(roots) = files.ca()? {
        builder = builder.roots_pem(&roots);
    }
    if let Some((chain, key)) = files.identity()? {
        builder = builder.certificate_pem(&chain, &key);
    }
    if let Some(name) = server_name {
        builder = builder.server_name(name);
    }
    builder.build().map(Some).map_err(|error| files.explain(error))
}

/// What `serve` needs to speak TLS; nothing if no endpoint does.
pub(crate) fn server(endpoints: &[Endpoint], args: &ServerTlsArgs) -> Result<Option<TlsServer>, String> {
    let ServerTlsArgs { ca, cert, key } = args;
    let given = [("--ca", ca.is_some()), ("--cert", cert.is_some()), ("--key", key.is_some())];
    let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.is_tls()).or(endpoints.first()) else {
        return Ok(None);
    };
    if !wants_tls(endpoint, &given)? {
        return Ok(None);
    }
    let files = Files { ca: ca.as_deref(), cert: cert.as_deref(), key: key.as_deref() };
    let Some((chain, key)) = files.identity()? else {
        return Err(format!("{endpoint} needs a certificate: give --cert FILE and --key FILE"));
    };
    let mut builder = TlsServer::builder().certificate_pem(&chain, &key);
    if let Some(roots) = files.ca()? {
        builder = builder.client_roots_pem(&roots);
    }
    builder.build().map(Some).map_err(|error| files.explain(error))
}

/// The core speaks of the methods that take what it complains about; people know the options.
pub(crate) fn in_options(text: &str) -> String {
    text.replace("set server_name()", "give --server-name NAME")
        .replace("see server_name()", "see --server-name")
        .replace("set certificate_pem() to one that it accepts", "give one that it accepts with --cert and --key")
        .replace("client_roots_pem()", "--ca")
        .replace("roots_pem()", "--ca")
}

fn wants_tls(endpoint: &Endpoint, given: &[(&str, bool)]) -> Result<bool, String> {
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) if !endpoint.is_tls() => Err(format!(
            "{option} is about TLS, and {endpoint} is without it: write {}, or leave {option} away",
            endpoint.with_tls()
        )),
        _ => Ok(endpoint.is_tls()),
    }
}

/// The texts of a certificate and of its key.
type Identity = (Vec<u8>, Vec<u8>);

/// The PEM files of one side.
struct Files<'a> {
    ca: Option<&'a Path>,
    cert: Option<&'a Path>,
    key: Option<&'a Path>,
}

impl Files<'_> {
    fn ca(&self) -> Result<Option<Vec<u8>>, String> {
        self.ca.map(|path| read("--ca", path)).transpose()
    }

    /// The certificate and its key; neither or both.
    fn identity(&self) -> Result<Option<Identity>, String> {
        match (self.cert, self.key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some((read("--cert", cert)?, read("--key", key)?))),
            (Some(_), None) => Err("--cert is of no use without its private key: give --key FILE too".to_owned()),
            (None, Some(_)) => Err("--key is of no use without its certificate: give --cert FILE too".to_owned()),
        }
    }

    /// Names the file that is at fault.
    fn explain(&self, error: TlsConfigError) -> String {
        use TlsConfigError as E;
        let (ca, cert, key) = (file("--ca", self.ca), file("--cert", self.cert), file("--key", self.key));
        let of = |input: &str| if input == "certificate_pem" { cert.clone() } else { ca.clone() };
        match error {
            E::NoCertificate { input } => {
                format!("{}: no certificate is in it; give PEM text with \"-----BEGIN CERTIFICATE-----\"", of(input))
            }
            E::BadPem { input, why } => format!("{}: it is no PEM: {why}; give a PEM file", of(input)),
            E::BadCertificate { input, certificate, why } => {
                format!("{}: the certificate ({certificate}) cannot be used: {why}; give another one", of(input))
            }
            E::NoKey => format!(
                "{key}: no private key is in it, or only an encrypted one; give PEM text with \"-----BEGIN PRIVATE \
                 KEY-----\", without a password"
            ),
            E::BadKey { why } => format!("{key}: the private key cannot be used: {why}; give another one"),
            E::KeyMismatch { certificate } => format!(
                "{key}: the private key is not the one of the certificate ({certificate}) in {cert}: give the key that it \
                 was made for, and put that certificate first"
            ),
            E::BadServerName { name } => {
                format!(
                    "--server-name: {name:?} is neither a DNS name nor an IP address; give for example gate.example"
                )
            }
            E::PlatformRoots { why } => {
                format!("the roots that this machine trusts cannot be used: {why}; give roots with --ca FILE")
            }
            other => other.to_string(),
        }
    }
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}; give a file that can be read", file(option, Some(path))))
}

fn file(option: &str, path: Option<&Path>) -> String {
    path.map_or_else(|| option.to_owned(), |path| format!("{option} {}", path.display()))
}
