//! HTTP: the page at `/`, `/healthz`, `/readyz`, `/metrics`, and what is below `/api`.
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
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LINK, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::View;
use super::entries::entries;
use super::exposition::{Exposition, exposed};
use super::gate::{Gate, Trusted, secured};
use super::json::written;
use super::seats::{Place, Seated, Size};
use super::sensor::One;
use super::sensors::Asked;
use super::snapshot::Snapshot;
use super::write_deadline::WriteDeadline;
use super::{feed, history, lists, page, stream};
use crate::clock;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_STREAMS_MAX};
use crate::repeat::Repeated;
use crate::tasks::{self, Tasks};

/// The longest time for a request's line and headers to arrive. Then the connection is closed.
const HTTP_HEAD_MAX: Duration = Duration::from_secs(5);

/// `Retry-After` of a 503 for want of a seat.
const HTTP_RETRY: Duration = Duration::from_secs(1);

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

fn router(view: View) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/metrics/sensors", get(sensor_metrics))
        .route("/api/status", get(status))
        .route("/api/entries", get(async |State(view): State<View>| {
            seated(&view, Size::Whole, JSON, || entries(&view, clock::now()))
        }))
        .route("/api/history", get(async |State(view): State<View>| {
            seated(&view, Size::List, JSON, || history::history(&view))
        }))
        .route("/api/dead-letters", get(async |State(view): State<View>| {
            seated(&view, Size::List, JSON, || lists::dead_letters(&view))
        }))
        .route("/api/warnings", get(async |State(view): State<View>| {
            seated(&view, Size::List, JSON, || lists::warnings(&view))
        }))
        .route("/api/stream", get(streamed))
        .route("/api/sensors", get(sensors))
        .route("/api/sensors/{entry}/{*id}", get(sensor))
        .merge(page::routes())
        .fallback(async || {
            let text = "there are /, /healthz, /readyz, /metrics, /metrics/sensors, /api/status, /api/entries, /api/sensors, \
                        /api/dead-letters, /api/warnings, /api/history and /api/stream\n";
            (StatusCode::NOT_FOUND, text)
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

/// 200 while the gateway's own thread works; 503 if it hangs and the process should be restarted.
async fn healthz(State(view): State<View>, trusted: Option<Extension<Trusted>>) -> Response {
    let reason = view.hangs(clock::now().instant);
    let alive = reason.is_none();
    json(alive, &Liveness { alive, reason: reason.filter(|_| is_told(trusted)) })
}

/// 200 while the gateway makes progress; else 503 with the reason.
async fn readyz(State(view): State<View>, trusted: Option<Extension<Trusted>>) -> Response {
    let mut readiness = view.readiness(clock::now().instant);
    readiness.reason = readiness.reason.filter(|_| is_told(trusted));
    json(readiness.ready, &readiness)
}

/// Whether who asks may be told more than a word.
fn is_told(trusted: Option<Extension<Trusted>>) -> bool {
    trusted.is_some_and(|Extension(trusted)| trusted.0)
}

fn exposition(headers: &HeaderMap) -> Exposition {
    Exposition::asked(headers.get(ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default())
}

async fn metrics(State(view): State<View>, headers: HeaderMap) -> Response {
    let exposition = exposition(&headers);
    seated(&view, Size::Whole, exposition.content_type(), || {
        exposed(&view, clock::now(), exposition)
    })
}

async fn status(State(view): State<View>) -> Response {
    seated(&view, Size::Whole, JSON, || written(&Snapshot::new(&view, clock::now())))
}

/// What is asked of sensors, or what is wrong with it.
type Query = Result<axum::extract::Query<Asked>, QueryRejection>;

fn checked(asked: Query) -> Result<Asked, (StatusCode, String)> {
    let problem = match asked {
        Ok(asked) => match asked.problem() {
            None => return Ok(asked.0),
            Some(problem) => problem,
        },
        Err(error) => {
            // What the library says before the key and what is wrong with it.
            let text = error.body_text();
            text.trim_start_matches("Failed to deserialize query string: ").to_owned()
        }
    };
    Err((StatusCode::BAD_REQUEST, problem + "\n"))
}

/// A page of sensors.
async fn sensors(State(view): State<View>, asked: Query) -> Response {
    match checked(asked) {
        Ok(asked) => seated(&view, Size::Whole, JSON, || asked.page(&view)),
        Err(refused) => refused.into_response(),
    }
}

/// The metrics of a page of sensors; the next page is in `Link` (RFC 8288).
async fn sensor_metrics(State(view): State<View>, asked: Query, headers: HeaderMap) -> Response {
    let asked = match checked(asked) {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let (exposition, mut next) = (exposition(&headers), None);
    let mut answer = seated(&view, Size::List, exposition.content_type(), || {
        let page = asked.metrics(&view, exposition);
        next = page.next;
        page.text
    });
    let link = next.map(|query| format!("</metrics/sensors?{query}>; rel=\"next\""));
    if let Some(link) = link.and_then(|it| HeaderValue::from_str(&it).ok()) {
        answer.headers_mut().insert(LINK, link);
    }
    answer
}

/// One sensor.
async fn sensor(State(view): State<View>, Path((entry, id)): Path<(String, String)>) -> Response {
    match view.books.registry.row(&entry, &id) {
        Some(row) => json(true, &One::new(&view, &row)),
        None => (StatusCode::NOT_FOUND, "no sensor of this entry has this id\n").into_response(),
    }
}

/// What changes, from now on.
async fn streamed(State(view): State<View>, place: Option<Extension<Arc<Place>>>) -> Response {
    let Some(seat) = view.seats.stream() else {
        let text = format!("{HTTP_STREAMS_MAX} clients stream already: close one of them\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    if let Some(Extension(place)) = place {
        place.streams();
    }
    let first = view.feed.snapshot(&view, clock::now());
    stream::answer(&view, first, seat)
}

const JSON: &str = "application/json";

/// An answer that can be large, if a seat is free; else 503.
fn seated(view: &View, size: Size, kind: &'static str, text: impl FnOnce() -> String) -> Response {
    let Some(seat) = view.seats.answer(view.books.registry.entries().len(), size) else {
        let headers = [(RETRY_AFTER, HTTP_RETRY.as_secs().to_string())];
        let text = "too many requests at a time: try again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response();
    };
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")];
    (headers, Body::new(Seated::new(text(), seat))).into_response()
}

fn json(well: bool, body: &impl Serialize) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = written(body);
    let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{HTTP_ANSWERS_MAX, HTTP_CONNECTIONS_MAX};
    use crate::ops::LOOK_PAUSE_MAX;

    /// The status codes of `/healthz` and `/readyz`.
    async fn statuses(view: View) -> [u16; 2] {
        let router = TowerToHyperService::new(router(view));
        let mut statuses = [0; 2];
        for (status, path) in statuses.iter_mut().zip(["/healthz", "/readyz"]) {
            let request = Request::get(path).body(Body::empty()).unwrap();
            *status = router.call(request).await.unwrap().status().as_u16();
        }
        statuses
    }

    #[tokio::test]
    async fn a_gateway_that_hangs_is_neither_alive_nor_ready_and_one_that_starts_is_alive() {
        let view = crate::ops::tests::view();
        assert_eq!(statuses(view.clone()).await, [200, 503]);
        let long_ago = clock::now().instant.checked_sub(LOOK_PAUSE_MAX * 2).unwrap();
        let books = crate::state::books::Books {
            board: Arc::new(crate::state::board::Board::new(long_ago)),
            ..view.plan.get().books(Arc::default())
        };
        assert_eq!(statuses(View { books: Arc::new(books), ..view }).await, [503, 503]);
    }

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

    #[tokio::test]
    async fn health_is_answered_when_no_other_answer_can_be() {
        let view = crate::ops::tests::view();
        let seats = Arc::clone(&view.seats);
        let router = TowerToHyperService::new(router(view));
        let ask = async |path| {
            let answer =
                router.call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            let again = answer.headers().get(RETRY_AFTER).map(|it| it.to_str().unwrap().to_owned());
            (answer.status().as_u16(), again)
        };
        assert_eq!(ask("/metrics").await, (200, None));
        let taken: Vec<_> =
            (0..HTTP_ANSWERS_MAX).map(|_| seats.answer(1, Size::Whole).unwrap()).collect();
        for path in ["/metrics", "/api/status"] {
            assert_eq!(ask(path).await, (503, Some("1".to_owned())), "{path}");
        }
        assert_eq!(ask("/healthz").await.0, 200);
        drop(taken);
        assert_eq!(ask("/api/status").await, (200, None));
    }
}
