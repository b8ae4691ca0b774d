//! What is asked of every request before it is answered, and what every answer says to a browser.
//!
//! A request is one that changes nothing (GET, HEAD), for a host name that is known (`host`), and from who has the token, if
//! there is one. Without the token health is told in one word, and the page's own files are served: they are the same
//! everywhere, and ask for it.
//!
//! The token is read again when its file has changed. One that cannot be read lets nobody in.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{ALLOW, AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Request;

use super::host::may_ask;
use crate::plan::http::Http;
use crate::plan::token::Token;
use crate::repeat::Repeated;

/// A file of a token is looked at no more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Paths that are answered without the token: health in a word, and the page's own files.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/"];
const OPEN_BELOW: &str = "/assets/";

/// What every answer says: a page of this gateway loads from here only, is in no other's frame, and is read by no other's
/// page.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Who asks: with the token, or where there is none, it may be told everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trusted(pub(super) bool);

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Method,
    Host,
    Token,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Method => {
                let text = "HTTP changes nothing here: use GET or HEAD\n";
                (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], text).into_response()
            }
            Self::Host => {
                let text = "unknown host name: use the gateway's address, or add the name to \
                            http.hosts in its configuration\n";
                (StatusCode::MISDIRECTED_REQUEST, text).into_response()
            }
            Self::Token => {
                let text = "send the token of the gateway's http.token_file: Authorization: Bearer \
                            <token>\n";
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], text).into_response()
            }
        }
    }
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    http: Http,
    known: Mutex<Known>,
}

/// What is known of the token's file.
#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    version: Option<Version>,
    token: Option<Token>,
    said: Repeated,
}

/// Tells one content of a file from another: when it was written and its node changed, which node, and its length.
type Version = [i64; 5];

impl Gate {
    pub(super) fn new(http: Http) -> Self {
        Self { http, known: Mutex::default() }
    }

    /// Who asks, if it may ask for this; else why not.
    pub(super) fn admit<B>(&self, request: &Request<B>, now: Instant) -> Result<Trusted, Refused> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Refused::Method);
        }
        if !may_ask(request, &self.http.hosts) {
            return Err(Refused::Host);
        }
        let trusted = self.trusts(request, now);
        let path = request.uri().path();
        if trusted || is_open(path) {
            return Ok(Trusted(trusted));
        }
        Err(Refused::Token)
    }

    fn trusts<B>(&self, request: &Request<B>, now: Instant) -> bool {
        let Some(path) = &self.http.token_file else { return true };
        let mut known = self.lock();
        known.look(path, now);
        let sent = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let sent = sent.and_then(|it| it.split_at_checked(SCHEME.len()));
        let sent = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME));
        known.token.as_ref().zip(sent).is_some_and(|(token, (_, sent))| token.is(sent))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this path is answered without the token.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path.starts_with(OPEN_BELOW)
}

/// What stands before a token.
const SCHEME: &[u8] = b"Bearer ";

impl Known {
    /// Reads the token again, if its file has changed.
    fn look(&mut self, path: &PathBuf, now: Instant) {
        let looked = self.looked.map(|it| now.saturating_duration_since(it));
        if looked.is_some_and(|it| it < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let version = metadata(path).ok().map(|it| {
            let length = i64::try_from(it.len()).unwrap_or(i64::MAX);
            let changed = it.ctime().wrapping_mul(1_000_000_000).wrapping_add(it.ctime_nsec());
            [it.mtime(), it.mtime_nsec(), changed, it.ino().cast_signed(), length]
        });
        if version.is_some() && version == self.version && self.token.is_some() {
            return;
        }
        self.version = version;
        match Token::read(path) {
            Ok(token) => self.token = Some(token),
            Err(error) => {
                self.token = None;
                if let Some(left_out) = self.said.due(now) {
                    tracing::error!(
                        left_out,
                        "http.token_file: {error}; until then every request is refused"
                    );
                }
            }
        }
    }
}

/// An answer with what every answer says to a browser.
pub(super) fn secured(mut answer: Response) -> Response {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::fs::{remove_file, write};

    use super::*;
    use crate::clock;

    const NO_TOKEN: Result<Trusted, Refused> = Err(Refused::Token);

    fn asked(gate: &Gate, path: &str, sent: &str, now: Instant) -> Result<Trusted, Refused> {
        let request = Request::get(path).header("host", "localhost").header(AUTHORIZATION, sent);
        gate.admit(&request.body(()).unwrap(), now)
    }

    #[test]
    fn without_the_token_only_health_and_the_page_are_told_and_a_new_token_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, "s3cret\n").unwrap();
        let http = Http { token_file: Some(path.clone()), ..Http::default() };
        let (gate, start) = (Gate::new(http), clock::now().instant);
        let at = |seconds| start + LOOK_EVERY * seconds;
        for path in ["/metrics", "/api/status", "/api/stream", "/assets", "/nothing"] {
            assert_eq!(asked(&gate, path, "Bearer s3cret", start), Ok(Trusted(true)), "{path}");
            for wrong in [
                "",
                "Bearer",
                "Bearer ",
                "Bearer s3cre",
                "Bearer s3cret ",
                "Basic s3cret",
                "s3cret",
            ] {
                assert_eq!(asked(&gate, path, wrong, start), NO_TOKEN, "{path} {wrong}");
            }
        }
        for path in ["/", "/healthz", "/readyz?x=y", "/assets/page.js"] {
            assert_eq!(asked(&gate, path, "", start), Ok(Trusted(false)), "{path}");
            assert_eq!(asked(&gate, path, "bearer s3cret", start), Ok(Trusted(true)), "{path}");
        }
        let status = |token: &str, seconds| {
            asked(&gate, "/metrics", &format!("Bearer {token}"), at(seconds))
        };
        write(&path, "other").unwrap();
        assert_eq!(status("s3cret", 0), Ok(Trusted(true)), "it is looked at once a second");
        assert_eq!((status("s3cret", 1), status("other", 1)), (NO_TOKEN, Ok(Trusted(true))));
        write(&path, "").unwrap();
        assert_eq!([2, 3].map(|it| status("other", it)), [NO_TOKEN; 2]);
        assert_eq!(status("", 3), NO_TOKEN);
        remove_file(&path).unwrap();
        assert_eq!(status("other", 4), NO_TOKEN);
        write(&path, "again").unwrap();
        assert_eq!(status("again", 5), Ok(Trusted(true)));
    }

    #[test]
    fn nothing_but_reading_is_taken_whoever_asks() {
        let gate = Gate::new(Http::default());
        let now = clock::now().instant;
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
            let request = Request::builder().method(method).uri("/api/status").body(()).unwrap();
            assert_eq!(gate.admit(&request, now), Err(Refused::Method), "{method}");
        }
        assert_eq!(asked(&gate, "/api/status", "", now), Ok(Trusted(true)), "there is no token");
    }
}
