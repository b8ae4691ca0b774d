//! The byte stream beneath MQTT: TCP, with TLS and WebSocket where the address says so.
//!
//! Small packets must not wait for others (`TCP_NODELAY`); gathering is the connection's business.
//! Names are resolved at each attempt, certificates read at each attempt, so both can change while
//! the gateway runs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::options::{BrokerUrl, Options, Tls};
use super::{Error, websocket};

/// A connected byte stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the broker.
pub(super) async fn connect(options: &Options) -> Result<Box<dyn Stream>, Error> {
    let BrokerUrl::Remote { tls, websocket: inside, host, port } = &options.url else {
        return Err(Error::Protocol("the embedded broker has no address of its own".into()));
    };
    let tcp = TcpStream::connect((host.as_str(), *port)).await?;
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
