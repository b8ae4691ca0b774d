//! Which path is answered by what.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};

use super::openapi::openapi;
use super::routes::routes;
use super::{View, page};

/// Everything that is answered.
pub(super) fn router(view: View) -> Router {
    let all = paths().into_iter().fold(Router::new(), |all, (path, it)| all.route(path, it));
    let fallback = async || (StatusCode::NOT_FOUND, nothing_there());
    all.fallback(fallback).with_state(view)
}

fn paths() -> Vec<(&'static str, MethodRouter<View>)> {
    let document = ("/api/openapi.json", get(openapi));
    let page = [("/", get(page::index)), ("/assets/{*path}", get(page::asset))];
    page.into_iter().chain(routes()).chain([document]).collect()
}

/// What is said where there is nothing.
fn nothing_there() -> String {
    let paths: Vec<_> = paths().into_iter().map(|(path, _)| path.replace('*', "")).collect();
    format!("there are {}\n", paths.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::header::RETRY_AFTER;
    use hyper::Request;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::clock;
    use crate::limits::HTTP_ANSWERS_MAX;
    use crate::ops::LOOK_PAUSE_MAX;
    use crate::ops::openapi::document;
    use crate::ops::seats::Size;

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

    #[test]
    fn the_document_has_every_path_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(&document()).unwrap();
        let documented: BTreeSet<_> =
            document["paths"].as_object().unwrap().keys().cloned().collect();
        let answered = paths().into_iter().map(|(path, _)| path.replace('*', "")).collect();
        assert_eq!(documented, answered);
        for (path, item) in document["paths"].as_object().unwrap() {
            let operation = &item["get"];
            let open = ["/healthz", "/readyz", "/", "/assets/{path}"].contains(&&**path);
            let asks = operation["security"] == serde_json::json!([{"token": []}]);
            assert_eq!(asks, !open, "{path}");
            assert_eq!(operation["responses"].get("401").is_some(), !open, "{path}");
            assert!(operation["summary"].as_str().is_some_and(|it| !it.is_empty()), "{path}");
        }
    }
}
