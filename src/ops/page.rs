//! The page at `/` and its files below `/assets`: those of `src/ops/page/`, as they are, in the binary.
//!
//! - There is no step that builds them. Each is packed once, when it is first asked for, and sent so to who takes gzip.
//! - A browser asks each time whether a file is still the same (`ETag`): after an update of the gateway no old part of the
//!   page meets a new one.
//! - The page loads nothing from elsewhere and runs nothing that stands in its text: the browser holds it to that (`gate`).
//!   What it shows comes from sensors, and is never more than text.
//! - An answer is memory that is there anyway. It takes no seat.

use std::io::Write;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A file of the page.
#[derive(Debug)]
struct File {
    path: &'static str,
    bytes: &'static [u8],
    packed: OnceLock<Bytes>,
}

macro_rules! files {
    ($($path:literal)*) => {
        [$(File {
            path: $path,
            bytes: include_bytes!(concat!("page/", $path)),
            packed: OnceLock::new(),
        }),*]
    };
}

static FILES: [File; 19] = files! {
    "index.html"
    "charts.js"
    "connections.js"
    "dom.js"
    "gateway.js"
    "icon.svg"
    "journal.js"
    "limits.js"
    "link.js"
    "outlook.js"
    "overview.js"
    "page.css"
    "page.js"
    "sensor.js"
    "sensors.js"
    "state.js"
    "words.js"
    "vendor/uPlot.css"
    "vendor/uPlot.js"
};

/// The page for people.
#[utoipa::path(
    get,
    path = "/",
    tag = "page",
    responses((status = 200, description = "HTML.", body = String, content_type = "text/html"))
)]
pub(super) async fn index(headers: HeaderMap) -> Response {
    answer("index.html", &headers)
}

/// A file of the page.
#[utoipa::path(
    get,
    path = "/assets/{path}",
    tag = "page",
    params(("path" = String, Path, description = "Its name; a `/` in it stands as it is.")),
    responses(
        (status = 200, description = "The file.", content((String = "text/javascript"), (String = "text/css"), (String = "image/svg+xml"))),
        (status = 304, description = "It is what `If-None-Match` names."),
        (status = 404, description = "There is no such file.", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    answer(&path, &headers)
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|it| it.path == path) else {
        return (StatusCode::NOT_FOUND, "the page has no such file\n").into_response();
    };
    let says = |name: HeaderName, text: &str| {
        let values = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
        values.flat_map(|it| it.split(',')).any(|it| it.trim() == text)
    };
    let tag = file.tag();
    let common = [
        (CACHE_CONTROL, "no-cache"),
        (VARY, ACCEPT_ENCODING.as_str()),
        (ETAG, &tag),
        (CONTENT_TYPE, file.kind()),
    ];
    if says(IF_NONE_MATCH, &tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    if says(ACCEPT_ENCODING, "gzip") {
        return (common, [(CONTENT_ENCODING, "gzip")], Body::from(file.packed())).into_response();
    }
    (common, Body::from(file.bytes)).into_response()
}

impl File {
    fn kind(&self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            // There is one picture.
            _ => "image/svg+xml",
        }
    }

    /// A weak tag: it is that of the file's bytes, packed or not.
    fn tag(&self) -> String {
        format!("W/\"{:08x}-{}\"", crc32fast::hash(self.bytes), self.bytes.len())
    }

    fn packed(&self) -> Bytes {
        let pack = || {
            let mut packer = GzEncoder::new(Vec::new(), Compression::best());
            packer.write_all(self.bytes).expect("memory takes it");
            Bytes::from(packer.finish().expect("memory takes it"))
        };
        self.packed.get_or_init(pack).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// All files of the page, packed.
    const PAGE_BYTES_MAX: usize = 100 * 1024;

    fn asked(path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let headers = headers.iter().map(|(name, it)| (name.clone(), it.parse().unwrap()));
        answer(path, &headers.collect())
    }

    #[test]
    fn every_file_of_the_page_is_in_the_binary_and_all_together_are_small() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/page");
        let names = |at: &str| {
            let entries = fs::read_dir(folder.join(at)).unwrap();
            let files = entries.map(|it| it.unwrap()).filter(|it| it.path().is_file());
            let names = files.map(|it| format!("{at}{}", it.file_name().display()));
            names.filter(|it| !it.ends_with(".LICENSE")).collect::<BTreeSet<_>>()
        };
        let there: BTreeSet<_> = [names(""), names("vendor/")].into_iter().flatten().collect();
        assert_eq!(FILES.iter().map(|it| it.path.to_owned()).collect::<BTreeSet<_>>(), there);
        let bytes: usize = FILES.iter().map(|it| it.packed().len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn a_file_is_sent_as_the_browser_takes_it_and_not_again_while_it_is_the_same() {
        for file in &FILES {
            let plain = asked(file.path, &[]);
            assert_eq!(plain.status(), StatusCode::OK, "{}", file.path);
            assert!(!plain.headers().contains_key(CONTENT_ENCODING));
            let packed = asked(file.path, &[(ACCEPT_ENCODING, "br, gzip")]);
            assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
            let tag = plain.headers()[ETAG].to_str().unwrap();
            assert_eq!(packed.headers()[ETAG], tag);
            let known = format!("\"x\", {tag}");
            let again = asked(file.path, &[(IF_NONE_MATCH, &known)]);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{}", file.path);
            assert_eq!(asked(file.path, &[(IF_NONE_MATCH, "\"x\"")]).status(), StatusCode::OK);
        }
        assert_eq!(asked("../page.rs", &[]).status(), StatusCode::NOT_FOUND);
    }

    /// The policy would refuse it, and the page would not work.
    #[test]
    fn nothing_in_the_page_is_from_elsewhere_or_stands_in_its_text() {
        let html = std::str::from_utf8(FILES[0].bytes).unwrap();
        for part in ["style=", "<style", "onclick", "onload", "http:", "https:", "//"] {
            assert!(!html.contains(part), "{part}");
        }
        assert!(
            html.matches("<script").count()
                == html.matches("<script type=\"module\" src=\"/").count()
        );
        for file in FILES
            .iter()
            .filter(|it| !it.path.starts_with("vendor/") && it.kind().contains("javascript"))
        {
            let text = std::str::from_utf8(file.bytes).unwrap();
            for part in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "\"http",
            ] {
                assert!(!text.contains(part), "{}: {part}", file.path);
            }
        }
    }
}
