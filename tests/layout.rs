//! The source keeps its shape: floors, file sizes, one door for each foreign thing.

use std::collections::BTreeMap;
use std::path::Path;

/// Modules by floor; a module uses only lower floors.
pub(crate) const FLOORS: [&[&str]; 11] = [
    &[
        "settlement",
        "limits",
        "clock",
        "backoff",
        "phase",
        "units",
        "text",
        "word",
        "fuzz",
        "tasks",
    ],
    &["record", "pace", "policies", "repeat", "unusable"],
    &["codec", "queue", "batch", "window", "spool", "mirror"],
    &["sealed", "state"],
    &["mqtt"],
    &["source", "sink", "watch", "notices", "broker"],
    &["plan"],
    &["assembly"],
    &["pipeline"],
    &["ops", "tools"],
    &[
        "main",
        "lib",
        "cli",
        "commands",
        "gateway",
        "manual",
        "reload",
        "settings",
        "telemetry",
        "signals",
        "exit",
    ],
];

/// The floor that assembles.
const SHELL: usize = FLOORS.len() - 1;

/// A foreign name, and the only places it may stand in.
const DOORS: [(&str, &[&str]); 23] = [
    ("cel::", &["codec/transform/program.rs"]),
    ("rumqttc::", &["mqtt/"]),
    ("rmqtt::", &["broker/"]),
    ("redb::", &["spool/"]),
    ("axum::", &["ops/"]),
    ("ratatui::", &["ops/top/"]),
    ("utoipa::", &["ops/"]),
    ("x509_parser::", &["mqtt/validity.rs"]),
    ("hyper::", &["ops/"]),
    ("prometheus_client::", &["ops/", "state/metrics.rs"]),
    ("sd_notify::", &["ops/systemd.rs"]),
    ("config::{", &["settings/"]),
    ("tokio::signal", &["signals.rs"]),
    ("tokio::process", &["source/exec.rs"]),
    ("tokio::io::stdin", &["source/stdin.rs"]),
    ("tokio_rustls", &["mqtt/tls.rs"]),
    ("tungstenite", &["mqtt/websocket"]),
    ("Instant::now", &["clock.rs"]),
    ("SystemTime::now", &["clock.rs"]),
    ("clap::", &["cli", "main.rs", "manual.rs"]),
    ("clap_complete::", &["cli.rs", "manual.rs"]),
    ("clap_mangen::", &["manual.rs"]),
    ("tracing_subscriber", &["telemetry"]),
];

/// Lines of code of a file: without comments, blank lines and unit tests.
const FILE_CODE_LINES_MAX: usize = 400;

pub(crate) fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("src can be read");
        for path in entries.map(|entry| entry.expect("src can be read").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                sources.push((relative(&root, &path), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 30, "the test looks at the source");
    sources
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).expect("inside src").to_string_lossy().replace('\\', "/")
}

/// The first-level module a file belongs to.
fn module(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn floors() -> BTreeMap<&'static str, usize> {
    let floor = |(floor, modules): (usize, &&'static [&'static str])| {
        modules.iter().map(move |module| (*module, floor))
    };
    FLOORS.iter().enumerate().flat_map(floor).collect()
}

/// The code of a file without its unit tests and comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text.get(..end).unwrap_or(text).lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// First-level modules that a line of code names through `crate::`.
fn uses(line: &str) -> Vec<&str> {
    let mut used = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let names: Vec<&str> = match rest.strip_prefix('{') {
            // The first name of each member of a group.
            Some(group) => group.split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            used.push(name.get(..end.unwrap_or(name.len())).unwrap_or(name));
        }
    }
    used
}

/// What is wrong with the imports of one file.
fn wrong_floors(file: &str, text: &str) -> Vec<String> {
    let floors = floors();
    let own = module(file);
    let Some(floor) = floors.get(own) else { return vec![format!("{own} has no floor")] };
    let mut wrong = Vec::new();
    // Unit tests included: what a module needs to be tested is below it, too.
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    for used in lines.flat_map(uses).filter(|used| *used != own) {
        if let Some(other) = floors.get(used)
            && other >= floor
            // The shell assembles: its files may use each other.
            && *floor < SHELL
        {
            wrong.push(format!("{file}: `{own}` may not use `{used}`"));
        }
    }
    wrong
}

#[test]
fn modules_use_only_lower_floors() {
    let wrong: Vec<_> =
        sources().iter().flat_map(|(file, text)| wrong_floors(file, text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_floor_test_sees_what_it_should() {
    let up = wrong_floors("batch.rs", "use crate::pipeline::worker;\n");
    assert_eq!(up, ["batch.rs: `batch` may not use `pipeline`"]);
    let sibling = wrong_floors("queue/mod.rs", "use crate::{clock, codec};\n");
    assert_eq!(sibling, ["queue/mod.rs: `queue` may not use `codec`"]);
    assert_eq!(wrong_floors("sink/mod.rs", "use crate::mqtt::Error;\n"), [""; 0]);
    assert_eq!(wrong_floors("new.rs", ""), ["new has no floor"]);
}

#[test]
fn every_foreign_thing_has_one_door() {
    for (file, text) in sources() {
        for (name, doors) in DOORS {
            let named = code(&text).any(|line| line.contains(name));
            let allowed = doors.iter().any(|door| file.starts_with(door));
            assert!(allowed || !named, "{file} names {name}; its door is {doors:?}");
        }
    }
}

/// What the engine knows of its edges crosses the two ports, `source` and `sink`.
#[test]
fn the_engine_names_no_protocol() {
    let engine = sources().into_iter().filter(|(file, _)| file.starts_with("pipeline/"));
    for (file, text) in engine.filter(|(file, _)| !file.starts_with("pipeline/stepped/")) {
        let named = code(&text).find(|line| line.to_lowercase().contains("mqtt"));
        assert_eq!(named, None, "{file} names MQTT");
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for (file, text) in sources() {
        let is_tests = file.ends_with("/tests.rs");
        let lines =
            code(if is_tests { "" } else { &text }).filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= FILE_CODE_LINES_MAX, "{file} has {lines} lines of code: two jobs?");
        assert!(text.starts_with("//!"), "{file} does not say what it is");
    }
}

#[test]
fn nothing_unfinished_is_left_in_the_source() {
    for (file, text) in sources() {
        for banned in ["todo!", "unimplemented!", "FIXME", "XXX", "dbg!", "#[allow"] {
            assert!(!code(&text).any(|line| line.contains(banned)), "{file} holds {banned}");
        }
    }
}
