//! What a broker's WebSocket listener does: takes MQTT out of binary frames and puts the answers
//! into frames, with tungstenite's server side. Debian's Mosquitto is built without one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::{ignore, runtime_thread};

/// Bytes of a frame to the client: few, so that packets are cut by frames.
const FRAME_BYTES: usize = 1000;

/// A WebSocket listener in front of a broker; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Bridge {
    port: u16,
    pongs: Arc<AtomicUsize>,
    stop: Arc<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// In front of the broker at port `target`, which it serves at the path `/mqtt` only; over TLS
    /// with `localhost.pem` and `localhost.key` of a folder.
    pub(crate) fn to(target: u16, tls: Option<&Path>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, pongs) = (Arc::new(watch::Sender::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut stopped = stop.subscribe();
        let (tls, counter) = (tls.map(acceptor), Arc::clone(&pongs));
        let thread = runtime_thread("websocket", async move {
            tokio::select! {
                () = listen(listener, target, tls, counter) => {}
                stopped = stopped.wait_for(|stop| *stop) => ignore(stopped, "the bridge is gone"),
            }
        });
        Self { port, pongs, stop, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Pings that clients have answered.
    pub(crate) fn pongs(&self) -> usize {
        self.pongs.load(Ordering::Relaxed)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            ignore(thread.join(), "its panic has been printed");
        }
    }
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(folder.join("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("localhost.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn listen(
    listener: TcpListener,
    target: u16,
    tls: Option<TlsAcceptor>,
    pongs: Arc<AtomicUsize>,
) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (tls, pongs) = (tls.clone(), Arc::clone(&pongs));
        connections.spawn(async move {
            match tls {
                None => serve(stream, target, &pongs).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, target, &pongs).await,
                    Err(error) => ignore(Err::<(), _>(error), "the client's business"),
                },
            }
        });
    }
}

#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let protocol = request.headers().get("sec-websocket-protocol");
    if request.uri().path() != "/mqtt" || protocol.is_none_or(|it| it != "mqtt") {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
        return Err(refusal);
    }
    let headers = response.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    Ok(response)
}

async fn serve<S>(stream: S, target: u16, pongs: &AtomicUsize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
    let (mut to_client, mut from_client) = socket.split();
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
    broker.set_nodelay(true).unwrap();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            let taken = match message {
                Message::Binary(bytes) => to_broker.write_all(&bytes).await,
                Message::Pong(_) => {
                    pongs.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                _ => return,
            };
            if taken.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut space = [0; FRAME_BYTES];
        while let Ok(bytes @ 1..) = from_broker.read(&mut space).await {
            let frame = Message::binary(space[..bytes].to_vec());
            if to_client.feed(Message::Ping("there?".into())).await.is_err()
                || to_client.send(frame).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
