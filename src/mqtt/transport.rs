//! The byte stream beneath MQTT: TCP, with TLS and WebSocket where the address says so.
//!
//! Small packets must not wait for others (`TCP_NODELAY`); gathering is the connection's business.
//! Names are resolved at each attempt, certificates read at each attempt, so both can change while
//! the gateway runs.
//!
//! A name may have several addresses, and one of them may swallow all that is sent to it: each gets
//! a share of the time for an attempt, both families in turn.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::options::{BrokerUrl, Options, Tls};
use super::{Error, websocket};
use crate::limits::{ADDRESSES_MAX, CONNECT_MAX};

/// A connected byte stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the broker.
pub(super) async fn connect(options: &Options) -> Result<Box<dyn Stream>, Error> {
    let BrokerUrl::Remote { tls, websocket: inside, host, port } = &options.url else {
        return Err(Error::Protocol("the embedded broker has no address of its own".into()));
    };
    let addresses = in_turn(lookup_host((host.as_str(), *port)).await?);
    let tcp = reach(&addresses, CONNECT_MAX).await?;
    tcp.set_nodelay(true)?;
    let stream: Box<dyn Stream> = if *tls {
        let config = Arc::new(tls_config(&options.tls)?);
        let name = ServerName::try_from(host.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Box::new(TlsConnector::from(config).connect(name, tcp).await?)
    } else {
        Box::new(tcp)
    };
    if inside.is_none() {
        return Ok(stream);
    }
    Ok(Box::new(websocket::connect(stream, &options.url.to_string()).await?))
}

/// The addresses to try: the resolver's order, but both families in turn, for often it is a whole
/// family that leads nowhere.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut same, mut other): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for address in addresses {
        let first = same.first().unwrap_or(&address);
        let family = if first.is_ipv4() == address.is_ipv4() { &mut same } else { &mut other };
        if family.len() < ADDRESSES_MAX {
            family.push(address);
        }
    }
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let pairs =
        std::iter::from_fn(|| Some([same.next(), other.next()]).filter(|it| *it != [None; 2]));
    pairs.flatten().flatten().take(ADDRESSES_MAX).collect()
}

/// Connects to the first address that answers. All together take no longer than `within`; where there
/// are several, a share of it is left for what follows.
async fn reach(addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, Error> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let shares = if count > 1 { count.saturating_add(1) } else { 1 };
    let share = within / shares;
    let mut last = Error::Io(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in addresses {
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.into(),
            Err(_) => Error::TimedOut(share),
        };
    }
    Err(last)
}

fn tls_config(tls: &Tls) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(tls.ca_file.as_deref())?);
    let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("cert_file", cert)?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|error| bad("key_file", key, &error))?;
    builder.with_client_auth_cert(chain, key_der).map_err(|error| bad("key_file", key, &error))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            for certificate in certificates("ca_file", path)? {
                roots.add(certificate).map_err(|error| bad("ca_file", path, &error))?;
            }
        }
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(what, path, &error))?;
    if certificates.is_empty() {
        return Err(bad(what, path, &"holds no certificate"));
    }
    Ok(certificates)
}

fn bad(what: &'static str, path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::Credentials { what, path: path.display().to_string(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn both_families_are_tried_in_turn_and_not_too_many() {
        let (a, b, c) = ("[::1]:1", "[::2]:1", "[::3]:1");
        let turns = |texts: &[&str]| in_turn(addresses(texts).into_iter());
        assert_eq!(turns(&[a, b, c, "1.1.1.1:1"]), addresses(&[a, "1.1.1.1:1", b, c]));
        assert_eq!(turns(&["1.1.1.1:1", a]), addresses(&["1.1.1.1:1", a]));
        assert_eq!(turns(&[a; 9]).len(), ADDRESSES_MAX);
        assert_eq!(turns(&[]), []);
    }

    /// Its queue of connections is full: Linux leaves further ones without any answer.
    async fn black_hole() -> (tokio::net::TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let patience = Duration::from_millis(200);
        while let Ok(stream) = timeout(patience, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        (listener, queued, address)
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_does_not_keep_us_from_the_next() {
        let (_listener, _queued, hole) = black_hole().await;
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = good.local_addr().unwrap();
        let within = Duration::from_secs(3);
        let reached = timeout(within, reach(&[hole, address], within)).await;
        assert_eq!(reached.unwrap().unwrap().peer_addr().unwrap(), address);
        let error = reach(&[hole, hole], Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut(share) if share == Duration::from_millis(100)));
    }
}
