//! The threat model in SECURITY.md: each limit that it claims is held by a test that there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::layout;
use crate::scene::{drained, ended, fleet};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Launch};
use crate::support::http::Http;

const SECRET: &str = "t0p-s3cret";

/// The head of the table of those who reach the gateway, and that of the limits.
const REACH: &str = "| who | reaches | can |";
const LIMITS: &str = "| who | cannot | because | held by |";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of each row of a table.
fn rows<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = page.split_once(head).unwrap_or_else(|| panic!("no table {head:?}"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The names of the tests in a file.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    // Also those of `#[tokio::test]`.
    text.split("test]\n").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split_once('(').map(|(name, _)| name)
    })
}

/// What is wrong with the rows of the page, where these tests are there.
fn unheld(page: &str, tests: &BTreeSet<&str>) -> Vec<String> {
    let limits = rows(page, LIMITS);
    let mut wrong = Vec::new();
    for row in &limits {
        let held: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        if held.is_empty() {
            wrong.push(format!("{} cannot {}: held by no test", row[0], row[1]));
        }
        let gone = held.iter().filter(|name| !tests.contains(**name));
        wrong.extend(gone.map(|name| format!("{} cannot {}: no test {name}", row[0], row[1])));
    }
    let limited: BTreeSet<&str> = limits.iter().map(|row| row[0]).collect();
    let reaching: BTreeSet<&str> = rows(page, REACH).iter().map(|row| row[0]).collect();
    wrong.extend(limited.symmetric_difference(&reaching).map(|who| format!("{who}: in one table")));
    wrong
}

#[test]
fn each_limit_of_the_threat_model_is_held_by_a_test() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let inner = layout::sources().into_iter().map(|(_, text)| text);
    let outer = fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let outer = outer.filter(|path| path.extension().is_some_and(|it| it == "rs"));
    let files: Vec<String> =
        inner.chain(outer.map(|path| fs::read_to_string(path).unwrap())).collect();
    let tests: BTreeSet<&str> = files.iter().flat_map(|text| tests(text)).collect();
    assert!(tests.len() > 1000 && rows(&page, LIMITS).len() > 20, "the test looks at both");
    let wrong = unheld(&page, &tests);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_test_of_the_threat_model_sees_what_it_should() {
    let page = format!(
        "{REACH}\n| --- | --- | --- |\n| a | all | x |\n| b | all | x |\n\n{LIMITS}\n| --- | --- | --- | --- |\n\
         | a | do x | y | `held` |\n| a | do y | y | held |\n| c | do z | y | `held`, `gone` |\n"
    );
    let text = "#[test]\nfn held() {}\nfn gone() {}\n";
    let tests: BTreeSet<&str> = tests(text).collect();
    let wrong = unheld(&page, &tests);
    let expected =
        ["a cannot do y: held by no test", "c cannot do z: no test gone", "b: in one table"];
    assert_eq!(wrong, [&expected[..], &["c: in one table"]].concat());
}

#[test]
fn no_request_changes_anything_and_no_answer_has_a_secret_in_it() {
    let broker = Broker::start();
    let login = ["broker.username = \"gateway\"", "broker.password_file = \"password\""];
    let config = fleet(&broker.url(), &login);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.file("password", SECRET).start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    let paths = ["/healthz", "/readyz", "/metrics", "/api/status", "/api/sensors"];
    for path in paths {
        let shown = http.get(path);
        assert!([200, 503].contains(&shown.status), "{path}: {shown:?}");
        assert!(!shown.head.contains(SECRET) && !shown.body.contains(SECRET), "{path}: {shown:?}");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let head = "host: 127.0.0.1\r\nconnection: close\r\ncontent-length: 2";
            let refused = http.send(&format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n{{}}"));
            assert_eq!(refused.status, 405, "{method} {path}: {refused:?}");
        }
    }
    drained(&mut gateway);
}

#[test]
fn a_configuration_that_is_checked_or_explained_runs_nothing_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ran, out) = (folder.path().join("ran"), folder.path().join("out"));
    let spool = folder.path().join("spool");
    let config = format!(
        "[output.file]\npath = {out:?}\n[spool]\npath = {spool:?}\n\
         [sensors.x.exec]\ncommand = [\"touch\", {ran:?}]\n"
    );
    let explain = ["--entry", "x", "--payload", "1"];
    for (command, arguments) in [("check", &[][..]), ("explain", &explain)] {
        let launch = Gateway::command(command, &config);
        let mut gateway = arguments.iter().fold(launch, Launch::arg).start();
        assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{command}: {left:?}");
    }
}

/// What a shell would take apart, run or replace comes out as it went in.
#[test]
fn no_shell_reads_the_arguments_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let (ran, out) = (folder.path().join("ran"), folder.path().join("out"));
    let word = format!("$HOME; touch {0} `touch {0}` $(touch {0}) | * > {0}", ran.display());
    let config = format!(
        "[output.file]\npath = {out:?}\n[sensors.x.exec]\nrestart = \"on_failure\"\n\
         command = [\"printf\", '%s\\n', {word:?}]\n"
    );
    let mut gateway = Gateway::start(&config);
    assert_eq!(ended(&mut gateway).delivered, 1, "{}", gateway.text());
    let batch: Value = serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(batch["records"][0]["value"], Value::from(word));
    assert!(!ran.exists());
}

/// How much the unit leaves, in tenths, as systemd-analyze counts it: 0 is nothing, 100 is all.
const EXPOSURE_MAX: u32 = 15;

#[test]
fn the_unit_leaves_little_to_a_gateway_that_is_taken_over() {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--no-pager", "--offline=true"]);
    command.arg(format!("--threshold={EXPOSURE_MAX}"));
    let output = command.arg(root().join("config/sluicegate.service")).output();
    let output = output.unwrap_or_else(|error| {
        panic!("systemd-analyze ({error}) is needed: apt-get install systemd");
    });
    assert!(output.status.success(), "{output:?}");
}
