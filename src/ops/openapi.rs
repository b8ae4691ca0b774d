//! `/api/openapi.json`: what HTTP answers, as a document of `OpenAPI` 3.1, made of the code that answers.
//!
//! - The paths are those of `routes`, `page` and this file, the schemas those of the types that are written: a member cannot be in the one and not
//!   in the other. Words (states, reasons) are listed where they are defined (`words`).
//! - What every answer has in common (the token, the host name, seats) is added here, once.

use axum::extract::State;
use axum::response::Response as Answer;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi as Document, RefOr, Response, ResponseBuilder, SecurityRequirement,
};
use utoipa::{Modify, OpenApi, PartialSchema};

use super::routes::{JSON, seated};
use super::seats::Size;
use super::{View, gate, page, routes};

/// The name of the token in the document.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(title = "Sluicegate", description = "What a running gateway tells. HTTP changes nothing: GET and HEAD only. Times are RFC 3339 in UTC, durations are seconds. docs/http.md has more."),
    paths(
        routes::healthz,
        routes::readyz,
        routes::metrics,
        routes::sensor_metrics,
        routes::status,
        routes::entries,
        routes::sensors,
        routes::sensor,
        routes::dead_letters,
        routes::warnings,
        routes::history,
        routes::streamed,
        openapi,
        page::index,
        page::asset,
    ),
    tags(
        (name = "health", description = "For load balancers and supervisors. Always answered, also without the token."),
        (name = "metrics", description = "For Prometheus."),
        (name = "api", description = "For programs, and for the page at `/`."),
        (name = "page", description = "For people. Its files are the same everywhere, and need no token."),
    ),
    modifiers(&Common),
)]
struct Described;

/// This document.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "api",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
pub(super) async fn openapi(State(view): State<View>) -> Answer {
    seated(&view, Size::List, JSON, document)
}

/// The document.
pub(super) fn document() -> String {
    let mut document = serde_json::to_value(Described::openapi()).expect("it is text and numbers");
    strip_null(&mut document);
    super::json::written(&document)
}

/// A member that is not required is absent and never null.
fn strip_null(value: &mut serde_json::Value) {
    use serde_json::Value;
    let children: Vec<&mut Value> = match value {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|it| it != "null");
                let one = types.first().filter(|_| types.len() == 1).cloned();
                if let Some(one) = one {
                    members.insert("type".into(), one);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("oneOf") {
                choices.retain(|it| it["type"] != "null");
            }
            let only = members.get("oneOf").and_then(Value::as_array).filter(|it| it.len() == 1);
            if let Some(Value::Object(only)) = only.and_then(|it| it.first()).cloned() {
                members.remove("oneOf");
                members.extend(only);
            }
            members.values_mut().collect()
        }
        Value::Array(items) => items.iter_mut().collect(),
        _ => return,
    };
    children.into_iter().for_each(strip_null);
}

/// Adds what all answers have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The token of `http.token_file`. Without that setting nobody needs one.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
        for (path, item) in &mut document.paths.paths {
            let is_open = gate::is_open(path);
            item.get.iter_mut().for_each(|it| complete(it, is_open));
        }
    }
}

fn complete(operation: &mut Operation, is_open: bool) {
    let token = SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, []);
    operation.security = Some(if is_open { Vec::new() } else { vec![token] });
    let mut add = |status: &str, text: &str| {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(said(text)));
    };
    add("421", "The host name is neither `localhost` nor in `http.hosts`.");
    if !is_open {
        add("401", "Without the token, or with another one.");
        add("503", "No seat is free: try again after `Retry-After`.");
    }
}

/// An answer of one line of text.
fn said(text: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(String::schema())).build();
    ResponseBuilder::new().description(text).content("text/plain", content).build()
}
