//! The server of HTTP: takes connections and hands requests to `routes`.
//!
//! Bounds: connections and answers at a time (`seats`), the time of a connection, the size and the time of a
//! request's head (`HTTP_*`). Bodies are not read. A client that exceeds a bound gets an error or is
//! disconnected; readings and health checks do not notice. Who may ask is decided before (`gate`). An address that cannot be bound is tried again: a port that is in use must not stop readings.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::View;
use super::feed;
use super::gate::{Gate, secured};
use super::router::router;
use super::seats::Place;
use super::write_deadline::WriteDeadline;
use crate::clock;
use crate::limits::HTTP_HEAD_BYTES_MAX;
use crate::repeat::Repeated;
use crate::tasks::{self, Tasks};

/// The longest time for a request's line and headers to arrive. Then the connection is closed.
const HTTP_HEAD_MAX: Duration = Duration::from_secs(5);

/// The longest life of a connection. Then it is closed, whatever it does.
const HTTP_CONNECTION_MAX: Duration = Duration::from_mins(2);

/// The longest time in which a client takes nothing of what is written to it. Then it is disconnected.
const HTTP_WRITE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Bytes that the system keeps of what is written to a connection and not taken yet. What is more waits in the answer.
const HTTP_SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// Connections that wait to be accepted. The system refuses more, or lets them wait.
const HTTP_BACKLOG: u32 = 1024;

/// Pause before `http.listen` is tried again, if it cannot be bound.
const HTTP_LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// Serves as long as the process lives, on a thread of its own.
pub fn start(view: View, listen: SocketAddr) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // The thread returns nothing: it ends with the process.
    drop(tasks::thread("http", move || runtime.block_on(serve(view, listen)))?);
    Ok(())
}

async fn serve(view: View, listen: SocketAddr) {
    tokio::join!(feed::tend(view.clone()), accept(view, listen));
}

async fn accept(view: View, listen: SocketAddr) {
    let listener = listener(listen).await;
    let (seats, gate) =
        (Arc::clone(&view.seats), Arc::new(Gate::new(view.plan.get().http.clone())));
    let router = router(view);
    let (mut connections, mut repeated) = (Tasks::default(), Repeated::default());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if let Some(left_out) = repeated.due(clock::now().instant) {
                        tracing::warn!(%error, left_out, "http: cannot accept a connection");
                    }
                    sleep(HTTP_LISTEN_PAUSE).await;
                    continue;
                }
            },
            // Removes connections that have ended. A panic has been logged where it happened.
            Some(_) = connections.next() => continue,
        };
        let (place, closed) = seats.enter();
        let conversation = converse(stream, place, router.clone(), Arc::clone(&gate));
        connections.start(async move {
            tokio::select! {
                () = conversation => {}
                _ = closed => {}
            }
        });
        // Requests that have arrived are answered before a further connection takes their place.
        yield_now().await;
    }
}

/// Binds the address, however long that takes.
async fn listener(listen: SocketAddr) -> TcpListener {
    let mut repeated = Repeated::default();
    loop {
        match bound(listen) {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(listen);
                tracing::info!(
                    "health and metrics: http://{address}/readyz and /metrics; a page to look at: http://{address}/"
                );
                return listener;
            }
            Err(error) => {
                if let Some(left_out) = repeated.due(clock::now().instant) {
                    tracing::error!(
                        %listen,
                        %error,
                        left_out,
                        "no health and no metrics: cannot listen on http.listen; give it another \
                         port, or write \"off\""
                    );
                }
                sleep(HTTP_LISTEN_PAUSE).await;
            }
        }
    }
}

/// Listens at once, with small buffers in the system: there nobody sees that a client takes nothing.
fn bound(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(HTTP_SEND_BUFFER_BYTES)?;
    socket.bind(listen)?;
    socket.listen(HTTP_BACKLOG)
}

/// Serves one connection until its end.
async fn converse(stream: TcpStream, place: Place, router: Router, gate: Arc<Gate>) {
    let router = TowerToHyperService::new(router);
    let place = Arc::new(place);
    let service = service_fn(|mut request: Request<Incoming>| {
        place.asks();
        let admitted = gate.admit(&request, clock::now().instant).map(|trusted| {
            request.extensions_mut().insert(trusted);
            request.extensions_mut().insert(Arc::clone(&place));
            router.call(request)
        });
        async move {
            let answer = match admitted {
                Ok(answer) => answer.await?,
                Err(refused) => refused.into_response(),
            };
            Ok::<_, Infallible>(secured(answer))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_MAX)
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(WriteDeadline::new(stream, HTTP_WRITE_PAUSE_MAX)), service);
    let mut connection = pin!(connection);
    let ended = timeout(HTTP_CONNECTION_MAX, connection.as_mut()).await;
    // A broken or slow connection is the client's fault: not logged.
    if ended.is_err() && place.is_stream() {
        drop(connection.await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HTTP_CONNECTIONS_MAX;

    /// With as many connections as allowed, a further one closes the oldest.
    #[tokio::test]
    async fn who_asks_is_not_the_one_that_gives_way() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let view = crate::ops::tests::view();
        let seats = Arc::clone(&view.seats);
        let gate = Arc::new(Gate::new(view.plan.get().http.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (place, mut closed) = seats.enter();
        let mut connections = Tasks::default();
        connections.start(converse(stream, place, router(view), gate));
        let mut others: Vec<_> = (1..HTTP_CONNECTIONS_MAX).map(|_| seats.enter()).collect();
        client.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(client.read(&mut [0; 64]).await.unwrap() > 0);
        others.push(seats.enter());
        assert_eq!(closed.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty));
    }
}
