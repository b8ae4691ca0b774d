//! HTTP: `/healthz`, `/readyz`, `/metrics`, `/api/status`.
//!
//! Bounds: so many connections at a time, each for so long, its head so large and so quick to come
//! (`limits::HTTP_*`). Bodies are not read. Whoever exceeds a bound is answered or cut off; readings
//! never notice. An address that cannot be listened to is tried again: a taken port is no reason to
//! take no readings.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::View;
use super::exposition::{Exposition, exposed};
use super::snapshot::Snapshot;
use crate::clock;
use crate::limits::{
    HTTP_CONNECTION_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_MAX,
    HTTP_LISTEN_PAUSE,
};
use crate::pipeline::tasks::{self, Tasks};
use crate::repeat::Repeated;

/// Serves for as long as the process lives, on a thread of its own.
pub fn start(view: View, listen: SocketAddr) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // It has nothing to return: it ends with the process.
    drop(tasks::thread("http", move || runtime.block_on(serve(view, listen)))?);
    Ok(())
}

async fn serve(view: View, listen: SocketAddr) {
    let listener = listener(listen).await;
    let router = router(view);
    let seats = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let (mut connections, mut repeated) = (Tasks::default(), Repeated::default());
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
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
            // What has ended is cleared away; a panic has been said where it happened.
            Some(_) = connections.next() => continue,
        };
        let router = router.clone();
        connections.start(async move {
            converse(stream, router).await;
            drop(seat);
        });
    }
}

/// Listens, however long it takes.
async fn listener(listen: SocketAddr) -> TcpListener {
    let mut repeated = Repeated::default();
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(listen);
                tracing::info!("health and metrics: http://{address}/readyz and /metrics");
                return listener;
            }
            Err(error) => {
                if let Some(left_out) = repeated.due(clock::now().instant) {
                    tracing::error!(
                        %listen,
                        %error,
                        left_out,
                        "no health and no metrics: http.listen cannot be listened to; give it another \
                         port, or write \"off\""
                    );
                }
                sleep(HTTP_LISTEN_PAUSE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_MAX)
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A broken or too slow connection is the client's affair.
    drop(timeout(HTTP_CONNECTION_MAX, connection).await);
}

fn router(view: View) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .fallback(async || {
            (StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /api/status\n")
        })
        .with_state(view)
}

/// The body of `/healthz`.
#[derive(Debug, Serialize)]
struct Liveness {
    alive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the process should live on: 503 only if its own thread hangs.
async fn healthz(State(view): State<View>) -> Response {
    let reason = view.hangs(clock::now().instant);
    json(reason.is_none(), &Liveness { alive: reason.is_none(), reason })
}

/// Whether it does its work; the reason if not.
async fn readyz(State(view): State<View>) -> Response {
    let readiness = view.readiness(clock::now().instant);
    json(readiness.ready, &readiness)
}

async fn metrics(State(view): State<View>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let exposition = Exposition::asked(accept);
    let text = exposed(&view, clock::now(), exposition);
    ([(CONTENT_TYPE, exposition.content_type())], text).into_response()
}

async fn status(State(view): State<View>) -> Response {
    json(true, &Snapshot::new(&view, clock::now()))
}

fn json(well: bool, body: &impl Serialize) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = serde_json::to_string(body).expect("numbers and text can be written") + "\n";
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}
