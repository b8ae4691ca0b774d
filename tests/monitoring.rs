//! What is shipped to watch a gateway: the names in it are names that there are, and Prometheus'
//! own tools accept it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use sluicegate::clock::{self, Timestamp};
use sluicegate::ops::View;
use sluicegate::ops::exposition::{Exposition, exposed, table};
use sluicegate::plan::Plan;
use sluicegate::plan::current::Current;
use sluicegate::state::certificates::{Certificate, Kind};

/// A gateway with everything that has metrics.
fn view() -> View {
    let mut plan = Plan::default();
    let kind = serde_json::from_str(r#"{"mqtt":{"topic":"a"}}"#).unwrap();
    plan.sensors.insert("fleet".into(), kind);
    plan.spool.path = Some("spool".into());
    let books = Arc::new(plan.books(Arc::default()));
    let end = Timestamp::from_millis(1_800_000_000_000);
    books.certificates.set(vec![Certificate {
        broker: "broker",
        kind: Kind::Server,
        file: None,
        end,
    }]);
    View::new(Current::new(Arc::new(plan)), books, Arc::default())
}

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs one of Prometheus' tools.
fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(shipped("config/monitoring"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("promtool ({error}) is needed: apt-get install prometheus");
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn passes(output: &Output) {
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let output =
        promtool(&["check", "metrics"], &exposed(&view(), clock::now(), Exposition::Prometheus));
    passes(&output);
    assert_eq!(String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()), "");
    let open = exposed(&view(), clock::now(), Exposition::OpenMetrics);
    assert!(open.ends_with("# EOF\n") && open.matches("# EOF").count() == 1);
    assert!(open.contains("# TYPE sluicegate_readings_received counter"));
}

#[test]
fn the_alert_rules_are_accepted_and_do_what_their_tests_say() {
    passes(&promtool(&["check", "config", "prometheus.yml"], ""));
    passes(&promtool(&["check", "rules", "alerts.yml"], ""));
    passes(&promtool(&["test", "rules", "alerts_test.yml"], ""));
}

/// Every name that the shipped files use.
fn used(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("sluicegate_")).map(str::to_owned).collect()
}

#[test]
fn the_shipped_rules_and_dashboard_name_metrics_that_there_are() {
    let text = exposed(&view(), clock::now(), Exposition::Prometheus);
    let there: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for file in ["alerts.yml", "alerts_test.yml", "grafana/dashboards/sluicegate.json"] {
        let path = shipped("config/monitoring").join(file);
        let names = used(&fs::read_to_string(&path).unwrap());
        assert!(names.len() > 3, "{file} uses metrics");
        let strange: Vec<_> = names.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(strange.is_empty(), "{file}: {strange:?}");
    }
}

/// The table in the manual is this program's own word: after a change of the metrics run the test with
/// `RENEW=1` and look at what it wrote.
#[test]
fn the_manual_lists_every_metric() {
    let (begin, end) = ("<!-- metrics -->\n", "<!-- end of metrics -->\n");
    let path = shipped("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let table = table(&view());
    if crate::support::number_from_environment::<u8>("RENEW").is_some() {
        fs::write(&path, [before, begin, &table, end, after].concat()).unwrap();
    } else {
        assert_eq!(found, table);
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let mut command = Command::new("systemd-analyze");
    // Of the unit alone: this machine need not have the program it starts.
    let text = fs::read_to_string(shipped("config/sluicegate.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("sluicegate.service");
    fs::write(&unit, text.replace("=sluicegate ", "=/bin/true ")).unwrap();
    let output = command.args(["verify", "--man=no"]).arg(&unit).output();
    let output = output.unwrap_or_else(|error| {
        panic!("systemd-analyze ({error}) is needed: apt-get install systemd");
    });
    passes(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("sluicegate.service"), "{said}");
}
