//! What is answered at each path but those of the page (`page`). What each says stands beside it, and `openapi` makes a
//! document of it.
//!
//! An answer that can be large takes a seat (`seats`).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LINK, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Serialize;
use utoipa::ToSchema;

use super::entries::{self, Entries};
use super::exposition::{Exposition, exposed};
use super::gate::Trusted;
use super::history::{self, History};
use super::json::written;
use super::lists::{self, DeadLetters, Warnings};
use super::seats::{Place, Seated, Size};
use super::sensor::One;
use super::sensors::{Asked, Page};
use super::snapshot::Snapshot;
use super::{Readiness, View, stream};
use crate::clock;
use crate::limits::HTTP_STREAMS_MAX;

/// `Retry-After` of a 503 for want of a seat.
const HTTP_RETRY: Duration = Duration::from_secs(1);

pub(super) const JSON: &str = "application/json";

/// All paths but those of the page and of the document.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<View>)> {
    vec![
        ("/healthz", get(healthz)),
        ("/readyz", get(readyz)),
        ("/metrics", get(metrics)),
        ("/metrics/sensors", get(sensor_metrics)),
        ("/api/status", get(status)),
        ("/api/entries", get(entries)),
        ("/api/sensors", get(sensors)),
        ("/api/sensors/{entry}/{*id}", get(sensor)),
        ("/api/dead-letters", get(dead_letters)),
        ("/api/warnings", get(warnings)),
        ("/api/history", get(history)),
        ("/api/stream", get(streamed)),
    ]
}

/// The body of `/healthz`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Liveness {
    alive: bool,
    /// Why it is not; only for who has the token, or where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the gateway's own thread works.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    responses(
        (status = 200, description = "It does.", body = Liveness),
        (status = 503, description = "It hangs: the process should be restarted.", body = Liveness),
    )
)]
pub(super) async fn healthz(
    State(view): State<View>,
    trusted: Option<Extension<Trusted>>,
) -> Response {
    let reason = view.hangs(clock::now().instant);
    let alive = reason.is_none();
    json(alive, &Liveness { alive, reason: reason.filter(|_| is_told(trusted)) })
}

/// Whether readings are taken and batches delivered, or would be.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses(
        (status = 200, description = "They are.", body = Readiness),
        (status = 503, description = "They are not.", body = Readiness),
    )
)]
pub(super) async fn readyz(
    State(view): State<View>,
    trusted: Option<Extension<Trusted>>,
) -> Response {
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

/// Metrics of the gateway, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "metrics",
    responses(
        (status = 200, description = "In Prometheus' text format, or in OpenMetrics if `Accept` asks for it.", content((String = "text/plain"), (String = "application/openmetrics-text"))),
    )
)]
pub(super) async fn metrics(State(view): State<View>, headers: HeaderMap) -> Response {
    let exposition = exposition(&headers);
    seated(&view, Size::Whole, exposition.content_type(), || {
        exposed(&view, clock::now(), exposition)
    })
}

/// The state of the gateway at a glance.
#[utoipa::path(
    get,
    path = "/api/status",
    tag = "api",
    responses((status = 200, description = "The state.", body = Snapshot))
)]
pub(super) async fn status(State(view): State<View>) -> Response {
    seated(&view, Size::Whole, JSON, || written(&Snapshot::new(&view, clock::now())))
}

/// Each configured entry: what it is, how its session stands, and its books.
#[utoipa::path(
    get,
    path = "/api/entries",
    tag = "api",
    responses((status = 200, description = "All entries of this run.", body = Entries))
)]
pub(super) async fn entries(State(view): State<View>) -> Response {
    seated(&view, Size::Whole, JSON, || entries::entries(&view, clock::now()))
}

/// The last 15 minutes in steps of five seconds.
#[utoipa::path(
    get,
    path = "/api/history",
    tag = "api",
    responses((status = 200, description = "The steps, the oldest first.", body = History))
)]
pub(super) async fn history(State(view): State<View>) -> Response {
    seated(&view, Size::List, JSON, || history::history(&view))
}

/// The last 100 dead letters of the run.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    tag = "api",
    responses((status = 200, description = "The newest first; fewer than 100 where they are large.", body = DeadLetters))
)]
pub(super) async fn dead_letters(State(view): State<View>) -> Response {
    seated(&view, Size::List, JSON, || lists::dead_letters(&view))
}

/// The last 100 warnings and errors of the log.
#[utoipa::path(
    get,
    path = "/api/warnings",
    tag = "api",
    responses((status = 200, description = "The newest first; fewer than 100 where they are large.", body = Warnings))
)]
pub(super) async fn warnings(State(view): State<View>) -> Response {
    seated(&view, Size::List, JSON, || lists::warnings(&view))
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

/// What is known of each sensor, page by page.
#[utoipa::path(
    get,
    path = "/api/sensors",
    tag = "api",
    params(Asked),
    responses(
        (status = 200, description = "A page, of 30 KiB at most.", body = Page),
        (status = 400, description = "It cannot be asked so, and why.", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn sensors(State(view): State<View>, asked: Query) -> Response {
    match checked(asked) {
        Ok(asked) => seated(&view, Size::Whole, JSON, || asked.page(&view)),
        Err(refused) => refused.into_response(),
    }
}

/// Metrics of single sensors, page by page, ordered by id.
///
/// The next page is in the header `Link` (RFC 8288). `sort` changes nothing here.
#[utoipa::path(
    get,
    path = "/metrics/sensors",
    tag = "metrics",
    params(Asked),
    responses(
        (status = 200, description = "As `/metrics` has it.", headers(("link" = String, description = "The next page, if there is one.")), content((String = "text/plain"), (String = "application/openmetrics-text"))),
        (status = 400, description = "It cannot be asked so, and why.", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn sensor_metrics(
    State(view): State<View>,
    asked: Query,
    headers: HeaderMap,
) -> Response {
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

/// One sensor, with its last dead letter.
#[utoipa::path(
    get,
    path = "/api/sensors/{entry}/{id}",
    tag = "api",
    params(
        ("entry" = String, Path, description = "The name of its entry."),
        ("id" = String, Path, description = "Its id. A `/` in it stands as it is, or as `%2F`."),
    ),
    responses(
        (status = 200, description = "The sensor.", body = One),
        (status = 404, description = "Nothing has come of such a sensor in this run.", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn sensor(
    State(view): State<View>,
    Path((entry, id)): Path<(String, String)>,
) -> Response {
    match view.books.registry.row(&entry, &id) {
        Some(row) => seated(&view, Size::List, JSON, || written(&One::new(&view, &row))),
        None => (StatusCode::NOT_FOUND, "no sensor of this entry has this id\n").into_response(),
    }
}

/// What changes from now on, as server-sent events.
///
/// An event has `id`, `event` and `data`, which is JSON. `status` (as `/api/status`) comes first, and then once a second if
/// more has changed than ages and the memory. `sensor`: a `Sensor` whose state has changed. `sensors`: `{"changed": 5000}`, more
/// than 256 have. `dead_letter`: a `DeadLetter`. `warning`: a `Warning`. `history`: a new `Step`. `dropped`: `{"events": 7}`, so
/// many were lost; the last event of a stream. After 15 seconds without an event comes a line of comment.
#[utoipa::path(
    get,
    path = "/api/stream",
    tag = "api",
    responses(
        (status = 200, description = "Events without end. A client that is 1024 of them or 1 MiB behind, or takes nothing for 10 seconds, is disconnected.", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Ten clients stream already.", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn streamed(
    State(view): State<View>,
    place: Option<Extension<Arc<Place>>>,
) -> Response {
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

/// An answer that can be large, if a seat is free; else 503.
pub(super) fn seated(
    view: &View,
    size: Size,
    kind: &'static str,
    text: impl FnOnce() -> String,
) -> Response {
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
