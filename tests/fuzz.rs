//! Configuration files spoilt at random: settings that say themselves the same way again, or a report in
//! which every mistake has a key and a text; and reading one takes no more memory than its length allows.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use rand::RngExt;
use sluicegate::settings::{Error, FILE_BYTES_MAX, Files, PREFIX, Settings, load};

use crate::spoil::{allocated, fuzz};

/// Bytes of a report. There are a hundred mistakes in it at most.
const REPORT_BYTES_MAX: usize = 64 << 10;

/// Bytes that are allocated for each byte of a file, at most: of one that makes a table of every few.
const GROWTH: u64 = 600;

/// And beside: for all that a file need not say.
const DEFAULTS_BYTES: u64 = 128 << 10;

/// What the shipped files do not set.
const MORE: &str = r#"
[broker]
url = "wss://localhost:443/mqtt"
version = 3
username = "u"
password_file = "/nowhere"
tls = { ca_file = "a", cert_file = "b", key_file = "c" }
[sensors.a.mqtt]
topic = "a/{sensor}/#"
qos = 2
group = "g"
retained = "skip"
value = ["/v/x", "/v/0"]
values.a = { from = "/b", unit = "C" }
timestamp = { from = "/t", zone = "UTC", plausible = { ahead_max = "1d" } }
sensor = ["/s", "{entry}"]
tags = { a = "b" }
[sensors.b.mqtt]
topic = "b"
payload = { text = {} }
[sensors.c.simulated]
model = { sine = { mean = 1.0, amplitude = 2, period = 1e2 } }
[queue]
on_full = "keep_latest"
record_bytes_max = "1KiB"
[output.broker]
url = "embedded"
[spool]
path = "/tmp/spool"
bytes_max = "1GiB"
after = "1s"
replay_rate = 1000
"#;

fn samples(folder: &Path) -> Vec<String> {
    let shipped = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let toml = shipped.filter(|path| path.extension().is_some_and(|it| it == "toml"));
    let mut samples: Vec<String> = toml.map(|path| fs::read_to_string(path).unwrap()).collect();
    // Every key at its default, instead of behind a comment.
    let open = samples.iter().map(|text| text.replace("\n# ", "\n")).collect::<Vec<_>>();
    samples.extend(open);
    samples.push(MORE.to_owned());
    samples
}

/// Loads a file, within the memory that its length allows.
#[track_caller]
fn loaded(path: &Path, environment: &[(OsString, OsString)]) -> Result<Settings, Error> {
    let (loaded, peak) = allocated(|| load(path, environment.iter().cloned(), Files::Unseen));
    let bytes = fs::metadata(path).unwrap().len();
    assert!(peak <= bytes * GROWTH + DEFAULTS_BYTES, "{peak} bytes for {bytes}");
    loaded
}

fn check(loaded: Result<Settings, Error>) -> Option<Settings> {
    let error = match loaded {
        Ok(settings) => return Some(settings),
        Err(error) => error,
    };
    if let Error::Problems { problems, .. } = &error {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(!problem.key.is_empty() && problem.text.len() > 3, "{problem:?}");
        }
    }
    let report = error.to_string();
    assert!((10..REPORT_BYTES_MAX).contains(&report.len()), "{} bytes: {report}", report.len());
    None
}

#[test]
fn any_configuration_is_read_or_every_mistake_in_it_has_a_key_and_a_text() {
    let samples = samples(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config"));
    let folder = tempfile::tempdir().unwrap();
    let mut good = 0;
    fuzz(2500, &samples, |bytes, rng| {
        let extension = ["toml", "toml", "toml", "json"][rng.random_range(0..4)];
        let path = folder.path().join(format!("fuzz.{extension}"));
        fs::write(&path, bytes).unwrap();
        // A line of the file as a variable, too.
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().nth(rng.random_range(0..60)).unwrap_or_default();
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let key = format!("{PREFIX}{}", key.trim().to_uppercase());
        let environment = [(OsString::from(key), OsString::from(value.trim()))];
        for environment in [&[][..], &environment] {
            let Some(settings) = check(loaded(&path, environment)) else {
                continue;
            };
            good += 1;
            let again = folder.path().join("again.toml");
            fs::write(&again, settings.to_toml()).unwrap();
            let read = load(&again, std::iter::empty(), Files::Unseen);
            assert_eq!(read.unwrap(), settings, "{}", settings.to_toml());
        }
    });
    assert!(good > 100, "{good} were good");
}

/// Repeats a piece up to so many bytes.
fn pieces(bytes: usize, piece: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for n in 0.. {
        let piece = piece(n);
        if text.len() + piece.len() > bytes {
            break;
        }
        text.push_str(&piece);
    }
    text
}

#[test]
fn the_costliest_files_take_what_their_length_allows() {
    const BYTES: usize = 128 << 10;
    // Nearly as deep as the parser goes.
    let deep = ".b".repeat(70);
    let files = [
        ("toml", pieces(BYTES, |n| format!("a{n}{deep}=1\n"))),
        ("toml", format!("a=[{}]", pieces(BYTES, |_| format!("{{a{deep}=1}},")))),
        ("toml", format!("a=[{}]", pieces(BYTES, |_| "{a=1},".into()))),
        ("toml", format!("[gateway]\n{}", pieces(BYTES, |n| format!("a{n}=1\n")))),
        ("toml", pieces(BYTES, |n| format!("[sensors.s{n}.mqtt]\ntopic=\"t\"\n"))),
        ("json", format!("{{\"a\":[{}1]}}", pieces(BYTES, |_| "1,".into()))),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (extension, text) in files {
        let path = folder.path().join(format!("costly.{extension}"));
        fs::write(&path, text).unwrap();
        check(loaded(&path, &[]));
    }
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("deep.json");
    fs::write(&deep, "[".repeat(500_000)).unwrap();
    let refused = load(&deep, std::iter::empty(), Files::Unseen).unwrap_err().to_string();
    assert!(refused.contains("recursion limit exceeded"), "{refused}");
    let long = folder.path().join("long.toml");
    for bytes in [FILE_BYTES_MAX as u64 + 1, 256 << 20] {
        fs::File::create(&long).unwrap().set_len(bytes).unwrap();
        let (loaded, peak) = allocated(|| load(&long, std::iter::empty(), Files::Unseen));
        let refused = loaded.unwrap_err().to_string();
        assert!(refused.contains("1048576") && refused.contains("{sensor}"), "{refused}");
        assert!(peak <= 4 * FILE_BYTES_MAX as u64, "{peak} bytes");
    }
}
