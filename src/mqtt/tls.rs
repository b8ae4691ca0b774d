//! TLS below MQTT: its files, its handshake, and its errors in words.
//!
//! The reader of an error has files and a broker, and does not know the TLS library. So each text names the
//! file or the side that is at fault, and what to do. No text holds a number that changes (seconds since a
//! certificate expired): equal causes must have equal texts, or the log repeats them.
//!
//! The files are read at each attempt, so they can be replaced while the gateway runs: the next connection uses the new
//! ones, and one that stands keeps what it was made with. At most 1 MiB of each is read.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, RootCertStore, crypto,
};

use super::Error;
use super::options::{BrokerUrl, Options, Tls, open_file};
pub use super::validity::Validity;
use super::validity::first_end;
use crate::clock::Timestamp;

/// Bytes of a file with certificates or a key. All certificates of a system together have a quarter of it.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The remedy if the peer does not speak TLS.
const NO_TLS: &str = "write mqtt:// (ws://) instead of mqtts:// (wss://) if the port is meant to be without \
                      TLS, or name the broker's port with TLS (mostly 8883)";

/// Does the TLS handshake over a connection. With it, when the first certificate expires that the broker has shown.
pub(super) async fn connect(
    options: &Options,
    host: &str,
    tcp: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<Timestamp>), Error> {
    let config = Arc::new(config(&options.tls)?);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connected = TlsConnector::from(config).connect(name, tcp).await;
    let connected = connected.map(|stream| {
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let end = first_end(shown.iter());
        (stream, end)
    });
    connected.map_err(|error| {
        let error = Error::Io(error);
        if error.is_hang_up() {
            let problem = format!("{} hung up during the TLS handshake", options.url);
            return Error::Beneath { problem, remedy: NO_TLS.into(), hung_up: true };
        }
        in_words(options, error)
    })
}

/// Puts an error before CONNACK in words: with TLS 1.3 a broker checks our certificate only then.
pub(super) fn in_words(options: &Options, error: Error) -> Error {
    let inner = match &error {
        Error::Io(io) => io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    if let Some(inner) = inner {
        let (problem, remedy) = words(options, inner);
        return Error::Beneath { problem, remedy, hung_up: false };
    }
    if options.url.is_tls() && options.tls.cert_file.is_none() && error.is_hang_up() {
        // Its alert may be lost if the connection is reset.
        let problem = format!("{} hung up before its first answer ({error})", options.url);
        let remedy = "if it wants a certificate from its clients, set tls.cert_file and tls.key_file; else \
                      look into the broker's log";
        return Error::Beneath { problem, remedy: remedy.into(), hung_up: true };
    }
    error
}

/// The error if the first bytes are not MQTT: TLS (a record of an alert or a handshake, RFC 8446 §5.1), or
/// HTTP.
pub(super) fn foreign(options: &Options, head: &[u8]) -> Option<Error> {
    let url = &options.url;
    let (problem, remedy) = if matches!(head, [0x15 | 0x16] | [0x15 | 0x16, 3, ..]) {
        let remedy = "write mqtts:// (wss://) instead of mqtt:// (ws://), with tls.ca_file if its CA is not \
                      the system's, or name the broker's port without TLS (mostly 1883)";
        (format!("{url} answers with TLS"), remedy)
    } else if head.starts_with(b"HTTP/") {
        let remedy = "name the broker's port for MQTT, or write ws:// (wss://) if it takes MQTT inside \
                      WebSocket there";
        (format!("{url} answers with HTTP"), remedy)
    } else {
        return None;
    };
    Some(Error::Beneath { problem, remedy: remedy.into(), hung_up: false })
}

fn words(options: &Options, error: &rustls::Error) -> (String, String) {
    let url = &options.url;
    match error {
        rustls::Error::InvalidCertificate(problem) => certificate(options, problem),
        rustls::Error::AlertReceived(alert) => alerted(options, *alert),
        rustls::Error::InvalidMessage(_) => (format!("{url} does not speak TLS"), NO_TLS.into()),
        rustls::Error::PeerIncompatible(_) => (
            format!("{url} has no version of TLS, or no cipher, in common with us ({error})"),
            "let the broker speak TLS 1.2 or 1.3".into(),
        ),
        _ => (format!("TLS with {url} failed ({error})"), "look into the broker's log".into()),
    }
}

/// Problem and remedy if we do not accept the broker's certificate.
fn certificate(options: &Options, problem: &CertificateError) -> (String, String) {
    let of = format!("the certificate of {}", options.url);
    let trust = "name in tls.ca_file the certificate of the CA that signed it";
    let clock = "renew it at the broker, or set the clock of this machine";
    match problem {
        CertificateError::UnknownIssuer => (unknown(options, &of, ""), trust.into()),
        CertificateError::BadSignature => {
            let same = ": a CA of that name is there, with another key: one of them was made anew";
            (unknown(options, &of, same), trust.into())
        }
        CertificateError::Expired => (format!("{of} has expired"), clock.into()),
        CertificateError::ExpiredContext { not_after, .. } => {
            (format!("{of} has expired: it was valid until {}", date(*not_after)), clock.into())
        }
        CertificateError::NotValidYet => (format!("{of} is not valid yet"), clock.into()),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (format!("{of} is not valid yet: it is from {} on", date(*not_before)), clock.into())
        }
        CertificateError::NotValidForName => (format!("{of} is for another name"), made(options)),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            let text = format!("{of} names no host in subjectAltName, and a CN does not count");
            (text, made(options))
        }
        CertificateError::NotValidForNameContext { presented, expected } => {
            let names: Vec<_> = presented.iter().map(|it| bare(it)).collect();
            let (names, host) = (names.join(", "), expected.to_str());
            let remedy = format!("connect by a name that it has, or {}", made(options));
            (format!("{of} is for {names} and not for {host}"), remedy)
        }
        other if is_version_1(&format!("{other:?}")) => {
            let text = format!(
                "{of} is X.509 version 1, as the recipe of mosquitto-tls(7) makes it with OpenSSL 3.0 and \
                 before: it cannot name a host, and is not accepted"
            );
            (text, made(options))
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            let text =
                format!("{of} is a CA's own (as `openssl req -x509` makes it) and no server's");
            (text, format!("keep it as the CA, in tls.ca_file, and {}", made(options)))
        }
        other => (format!("{of} is not accepted: {other}"), made(options)),
    }
}

/// The remedy if nobody that we trust has signed it.
fn unknown(options: &Options, of: &str, more: &str) -> String {
    let trusted = match &options.tls.ca_file {
        Some(path) => format!("tls.ca_file {}", path.display()),
        None => "the system's list of certificates (tls.ca_file is not set)".into(),
    };
    format!("{of} is signed by none that is in {trusted}{more}")
}

fn is_version_1(problem: &str) -> bool {
    problem.contains("UnsupportedCertVersion")
}

/// How to make a certificate for the broker.
fn made(options: &Options) -> String {
    let host = match &options.url {
        BrokerUrl::Remote { host, .. } => host.as_str(),
        BrokerUrl::Embedded => "localhost",
    };
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!(
        "make one with a subjectAltName: openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key \
         -CAcreateserial -days 365 -extfile names -out server.crt, where the file names holds \
         subjectAltName={kind}:{host}"
    )
}

/// Problem and remedy if the broker ends TLS with an alert.
fn alerted(options: &Options, alert: AlertDescription) -> (String, String) {
    use AlertDescription as A;
    let url = &options.url;
    match (alert, &options.tls.cert_file) {
        (A::CertificateRequired | A::HandshakeFailure | A::BadCertificate, None) => (
            format!("{url} wants a certificate from its clients"),
            "set tls.cert_file and tls.key_file, with a certificate by a CA that the broker trusts"
                .into(),
        ),
        (A::ProtocolVersion, _) => (
            format!("{url} has no version of TLS in common with us"),
            "let the broker speak TLS 1.2 or 1.3".into(),
        ),
        (alert, Some(path)) => {
            let path = path.display();
            let said = alert_in_words(alert);
            let remedy = format!(
                "have it signed by a CA that the broker trusts (its cafile), and look at its dates: openssl \
                 x509 -in {path} -noout -issuer -dates"
            );
            (format!("{url} does not accept our tls.cert_file {path} ({said})"), remedy)
        }
        (alert, None) => {
            let said = alert_in_words(alert);
            (format!("{url} has ended TLS ({said})"), "look into the broker's log".into())
        }
    }
}

/// `UnknownCA` as "unknown ca": rustls has no other words for an alert (RFC 8446 §6.2).
fn alert_in_words(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut words = String::new();
    let mut before = None;
    for c in name.chars() {
        if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
        before = Some(c);
    }
    words
}

/// `DnsName("localhost")` as `localhost`.
fn bare(name: &str) -> &str {
    let inside = name.split_once('(').map_or(name, |(_, inside)| inside.trim_end_matches(')'));
    inside.trim_matches('"')
}

fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    humantime::format_rfc3339_seconds(time).to_string()
}

/// When the first of the certificates in this file expires, which the key `what` of `tls` names.
pub fn certificates_end(what: &'static str, path: &Path) -> Result<Option<Timestamp>, Error> {
    Ok(first_end(certificates(what, path)?.iter()))
}

/// Until when the certificates in this file are valid, which the key `what` of `tls` names.
pub fn validity(what: &'static str, path: &Path) -> Result<Option<Validity>, Error> {
    Ok(Validity::of(&certificates(what, path)?))
}

/// The faults of the files, each once. All are [`Error::Credentials`].
pub fn problems(tls: &Tls) -> Vec<Error> {
    let trusted = tls.ca_file.as_deref().map(|path| roots(Some(path)).map(drop));
    let chain = tls.cert_file.as_deref().map(|path| certificates("cert_file", path).map(drop));
    let key = tls.key_file.as_deref().map(|path| private_key(path).map(drop));
    let mut problems: Vec<_> =
        [trusted, chain, key].into_iter().flatten().filter_map(Result::err).collect();
    // Whether certificate and key belong together shows only if both can be read.
    if problems.is_empty() && (tls.ca_file.is_some() || tls.cert_file.is_some()) {
        problems.extend(config(tls).err());
    }
    problems
}

fn config(tls: &Tls) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(tls.ca_file.as_deref())?);
    let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("cert_file", cert)?;
    builder.with_client_auth_cert(chain, private_key(key)?).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let text = format!(
                "does not belong to the certificate in cert_file {}: name the key that it was made with",
                cert.display()
            );
            bad("key_file", key, text)
        }
        rustls::Error::InvalidCertificate(problem) if is_version_1(&format!("{problem:?}")) => {
            let text = "is X.509 version 1, which TLS does not take here: make it again with openssl x509 \
                        -req … -extfile FILE, where FILE holds extendedKeyUsage=clientAuth";
            bad("cert_file", cert, text.into())
        }
        rustls::Error::InvalidCertificate(problem) => {
            bad("cert_file", cert, format!("holds no usable certificate: {problem}"))
        }
        _ => {
            let text = "holds a key of a kind that is not known: make one of RSA (2048 bits or more), ECDSA \
                        (P-256, P-384) or Ed25519";
            bad("key_file", key, text.into())
        }
    })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            for certificate in certificates("ca_file", path)? {
                roots.add(certificate).map_err(|error| {
                    bad(
                        "ca_file",
                        path,
                        format!("holds a certificate that cannot be read: {error}"),
                    )
                })?;
            }
        }
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(what, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(what, path, format!("is damaged PEM ({error}): write it anew")))?;
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let text = if holds(&bytes, "PRIVATE KEY-----") {
        "holds no certificate, but a private key: name the certificate's file here, and this one as key_file"
    } else {
        "holds no certificate: it must hold PEM, from -----BEGIN CERTIFICATE----- on"
    };
    Err(bad(what, path, text.into()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    const WHAT: &str = "key_file";
    let bytes = read(WHAT, path)?;
    if holds(&bytes, "ENCRYPTED") {
        let text = format!(
            "is encrypted, and nobody is there to type its passphrase: decrypt it with openssl pkey -in {} \
             -out key.pem, readable only to the user that the gateway runs as",
            path.display()
        );
        return Err(bad(WHAT, path, text));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let text = match error {
            pem::Error::NoItemsFound if holds(&bytes, "CERTIFICATE-----") => {
                "holds no private key, but a certificate: name the key's file here, and this one as cert_file"
                    .to_owned()
            }
            pem::Error::NoItemsFound => "holds no private key: it must hold PEM, from -----BEGIN PRIVATE \
                                         KEY----- on"
                .to_owned(),
            error => format!("is damaged PEM ({error}): write it anew"),
        };
        bad(WHAT, path, text)
    })
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The bytes of a file in PEM.
fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let bad = |text: &str| Err(bad(what, path, text.into()));
    let mut bytes = Vec::new();
    let done = open_file(path)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match done {
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => bad("does not exist: create it, or correct the path"),
            io::ErrorKind::PermissionDenied => {
                bad("cannot be read: permit it to the user that the gateway runs as")
            }
            io::ErrorKind::IsADirectory => bad("is a folder: name the file in it"),
            io::ErrorKind::InvalidInput => bad("is a pipe, a socket or a device: name a file"),
            _ => bad(&format!("cannot be read ({error}): name a file that can")),
        },
        Ok(_) if bytes.is_empty() => bad("is empty: it must hold PEM"),
        Ok(_) if bytes.len() > FILE_BYTES_MAX => bad("has more than 1 MiB: it is no such file"),
        // An ASN.1 SEQUENCE: the same content in DER.
        Ok(_) if bytes.first() == Some(&0x30) => {
            let kind = if what == "key_file" { "pkey" } else { "x509" };
            let path = path.display();
            bad(&format!(
                "is DER and not PEM: openssl {kind} -inform der -in {path} -out {path}.pem makes it so"
            ))
        }
        Ok(_) => Ok(bytes),
    }
}

fn bad(what: &'static str, path: &Path, problem: String) -> Error {
    Error::Credentials { what, path: path.display().to_string(), problem }
}
