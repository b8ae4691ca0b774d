//! Mistakes in the settings, or in what they name: a message that says what to do, exit code 64,
//! and never a password.

use std::fs;
use std::path::Path;

use crate::scene::{drained, ended, fleet, gateway, output, readings, records, subscribed};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::Publisher;
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, STOCK};
use crate::support::wire::ConnectReturnCode as Code;

const SECRET: &str = "s3cr3t-Pa55word";

/// Must end with exit code 64 and say all of this, and never the secret.
#[track_caller]
fn refused(launch: Launch, words: &[&str]) -> Gateway {
    ends(launch, 64, words)
}

/// The same where a broker refuses, and a gateway without patience: exit code 77.
#[track_caller]
fn denied(launch: Launch, words: &[&str]) -> Gateway {
    ends(launch.env("SLUICEGATE__GATEWAY__START_GRACE", "0s"), 77, words)
}

#[track_caller]
fn ends(launch: Launch, code: i32, words: &[&str]) -> Gateway {
    let mut gateway = launch.start();
    let ended = gateway.wait_exit(SOON);
    let text = gateway.text();
    assert_eq!(ended, code, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
    assert!(!text.contains(SECRET), "{text}");
    gateway
}

#[test]
fn a_wrong_password_is_said_by_both_clients_and_not_shown() {
    for version in [3, 5] {
        let mosquitto = Mosquitto::with(STOCK).user("gateway", "right").start();
        let more = [
            format!("broker.version = {version}"),
            "broker.username = \"gateway\"".to_owned(),
            "broker.password_file = \"password\"".to_owned(),
        ];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let config = fleet(&mosquitto.url(), &more);
        // Both clients are refused at the same moment: whoever is first, the end is the same.
        for _ in 0..10 {
            let launch = Gateway::with_config(&config).file("password", SECRET);
            denied(launch, &["refused the connection", "not authorized"]);
        }
    }
}

#[test]
fn the_right_password_is_read_from_its_file_and_sent() {
    let mosquitto = Mosquitto::with(STOCK).user("gateway", SECRET).start();
    let more = ["broker.username = \"gateway\"", "broker.password_file = \"password\""];
    let config = fleet(&mosquitto.url(), &[&more[..], &["log.level = \"trace\""]].concat());
    let launch = Gateway::with_config(&config).file("password", &format!("{SECRET}\n"));
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    drained(&mut gateway);
    assert!(!gateway.text().contains(SECRET), "{}", gateway.text());
}

/// Whoever changes the broker's password changes the file, and need not touch the gateway.
#[test]
fn a_changed_password_is_read_at_the_next_connect() {
    let mut mosquitto = Mosquitto::with(STOCK).user("gateway", SECRET).start();
    let more = ["broker.username = \"gateway\"", "broker.password_file = \"password\""];
    let launch = Gateway::with_config(&fleet(&mosquitto.url(), &more)).file("password", SECRET);
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let password = gateway.folder().join("password");
    fs::write(&password, "another").unwrap();
    mosquitto.stop();
    mosquitto.restart();
    gateway.wait_for_line("not authorized", SOON);
    fs::write(&password, SECRET).unwrap();
    gateway.wait_for_line("epoch=2", SOON);
    drained(&mut gateway);
}

#[test]
fn a_password_is_never_shown_whatever_is_wrong_with_it() {
    let base = fleet("mqtt://127.0.0.1:1", &[]);
    let wrong = [
        format!("{base}broker.password = \"{SECRET}\"\n"),
        format!("{base}broker.passwort = \"{SECRET}\"\n"),
        format!("{base}broker.password = \"{SECRET}\nqueue.records_max = 5\n"),
        format!("{base}output.broker.url = \"mqtt://user:{SECRET}@host\"\n"),
        format!("{base}output.broker = {{ password = \"{SECRET}\" }}\n"),
        format!("{base}broker.tls = \"{SECRET}\"\n"),
    ];
    for config in &wrong {
        for launch in [Gateway::with_config(config), Gateway::command("check", config)] {
            refused(launch, &[]);
        }
    }
    for name in ["SLUICEGATE__BROKER__PASSWORD", "SLUICEGATE__PASSWORD"] {
        let launch = Gateway::command("check", &base).env(name, SECRET);
        refused(launch, &["password", "not known"]);
    }
}

#[test]
fn a_missing_password_file_is_named() {
    let more = ["broker.username = \"gateway\"", "broker.password_file = \"nowhere/password\""];
    let broker = Broker::start();
    refused(
        Gateway::with_config(&fleet(&broker.url(), &more)),
        &["password_file", "nowhere/password"],
    );
}

#[test]
fn a_refused_subscription_names_the_filter() {
    for version in [3, 5] {
        let broker = Broker::start();
        broker.refuse_subscribes("sensors", 0x87);
        let version = format!("broker.version = {version}");
        let launch = Gateway::with_config(&fleet(&broker.url(), &[&version]));
        denied(launch, &["sensors.fleet.mqtt", "refused the subscription", "sensors/+/reading"]);
    }
}

#[test]
fn a_topic_that_must_not_be_written_is_named() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.answer_publishes("gateway/batches", 0x87, usize::MAX);
    let launch = Gateway::with_config(&fleet(&input.url(), &[&output(&sink.url())]));
    let mut gateway = launch.env("SLUICEGATE__GATEWAY__START_GRACE", "0s").start();
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(1, 1..=3, 1));
    let code = gateway.wait_exit(SOON);
    let text = gateway.text();
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("gateway/batches") && text.contains("not authorized"), "{text}");
    assert_eq!(input.look(|log| log.acks("gw-in")), 0);
}

/// Mosquitto itself, which lets anyone subscribe and says so only of what is published.
#[test]
fn what_mosquitto_lets_nobody_write_is_named() {
    let acl = "topic readwrite sensors/#\ntopic readwrite tests/#\n";
    let mosquitto = Mosquitto::with(STOCK).acl(acl).start();
    let none = "gateway.start_grace = \"0s\"";
    let mut gateway = Gateway::start(&fleet(&mosquitto.url(), &[none]));
    gateway.wait_for_line("subscribed", SOON);
    Publisher::to(mosquitto.port()).sensors(1).readings(1).run(SOON);
    let code = gateway.wait_exit(SOON);
    let text = gateway.text();
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("gateway/batches") && text.contains("not authorized"), "{text}");
}

#[test]
fn all_mistakes_of_a_file_are_in_one_report() {
    let config = r#"
[gateway]
idd = "gw"
memory_max = "lots"
[broker]
url = "http://localhost"
version = 4
keep_alive = 30
[sensors.A.simulated]
count = 0
interval = "100"
[sensors.B.mqqt]
topic = "x"
[sensors.C.mqtt]
topic = "a/#/b"
qos = 3
[queue]
records_max = 0
on_full = "shed_newset"
[batch]
age_max = true
[output]
topic = "out/+"
qos = 2
format = "xml"
[loging]
level = "info"
"#;
    let keys = [
        "gateway.idd",
        "did you mean \"id\"",
        "gateway.memory_max",
        "broker.url",
        "mqtt://",
        "broker.version",
        "3.1.1",
        "broker.keep_alive",
        "30s",
        "sensors.A.simulated.count",
        "sensors.A.simulated.interval",
        "sensors.B",
        "did you mean \"mqtt\"",
        "sensors.C.mqtt.topic",
        "sensors.C.mqtt.qos",
        "queue.records_max",
        "queue.on_full",
        "did you mean \"shed_newest\"",
        "batch.age_max",
        "output.topic",
        "output.qos",
        "output.format",
        "json_array",
        "loging",
        "did you mean \"log\"",
    ];
    for launch in [Gateway::with_config(config), Gateway::command("check", config)] {
        let gateway = refused(launch, &keys);
        let text = gateway.text();
        assert!(text.contains("17 mistakes") && !text.contains("untagged enum"), "{text}");
        assert!(gateway.stdout().is_empty(), "mistakes go to standard error");
    }
}

#[test]
fn mistakes_between_sections_are_in_one_report() {
    let more = [
        "queue.records_max = 100",
        "batch.records_max = 200",
        "output.topic = \"sensors/x/reading\"",
        "broker.password_file = \"p\"",
        "broker.keep_alive = \"1s\"",
        "broker.session_expiry = \"10ms\"",
        "gateway.memory_max = \"1MiB\"",
    ];
    let words = [
        "batch.records_max",
        "queue.records_max = 100",
        "sensors.fleet.mqtt.topic",
        "come back as readings",
        "broker.username",
        "broker.keep_alive",
        "broker.session_expiry: must be at least 1s",
        "gateway.memory_max: is 1.0 MiB",
        // A line of its own for each.
        "MiB  queue: texts (queue.bytes_max)\n",
    ];
    refused(Gateway::command("check", &fleet("mqtt://127.0.0.1:1", &more)), &words);
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_named() {
    refused(Gateway::bare().arg("--config").arg("nowhere.toml"), &["nowhere.toml", "cannot read"]);
    refused(Gateway::bare(), &["no configuration", "--config FILE"]);
    refused(Gateway::with_config("[broker\nurl = 1"), &["sluicegate.toml", "line 1"]);
    refused(Gateway::with_config(""), &["there is no sensor"]);
    for name in ["gateway.yaml", "gateway.yml"] {
        let launch = Gateway::bare().file(name, "gateway:\n  id: a\n").arg("--config").arg(name);
        refused(launch, &[name, "YAML is not read: write the settings as TOML"]);
    }
}

#[test]
fn wrong_arguments_show_the_usage() {
    refused(Gateway::bare().arg("--confg").arg("x"), &["--confg", "--config", "Usage"]);
    refused(Gateway::bare().arg("chekc"), &["chekc", "check"]);
    for flag in ["--help", "--version"] {
        let mut gateway = Gateway::bare().arg(flag).start();
        assert_eq!(gateway.wait_exit(SOON), 0);
        assert!(gateway.stdout().contains("sluicegate") || gateway.stdout().contains("Usage"));
    }
}

#[test]
fn every_key_can_be_overridden_by_the_environment() {
    let broker = Broker::start();
    let launch = Gateway::with_config(&fleet("mqtt://127.0.0.1:1", &["batch.records_max = 7"]));
    let mut gateway = launch
        .env("SLUICEGATE__BROKER__URL", &broker.url())
        .env("SLUICEGATE__GATEWAY__ID", "42")
        .env("SLUICEGATE__BATCH__RECORDS_MAX", "3")
        .env("SLUICEGATE__BATCH__AGE_MAX", "10s")
        .env("SLUICEGATE__SENSORS__FLEET__MQTT__QOS", "0")
        .env("SLUICEGATE__OUTPUT__TOPIC", "elsewhere")
        .start();
    gateway.wait_for_line("subscribed", SOON);
    broker.publish_all(readings(1, 1..=9, 1));
    broker.wait_until("three batches of three", SOON, |log| log.count("elsewhere") == 3);
    drained(&mut gateway);
    assert_eq!(broker.client("42-in-fleet").subscribes[0].codes, [0]);
}

#[test]
fn an_unknown_environment_variable_is_a_mistake() {
    let launch = Gateway::command("check", &fleet("mqtt://127.0.0.1:1", &[]));
    refused(launch.env("SLUICEGATE__BATCH__AGE_MAXX", "1s"), &["batch.age_maxx", "age_max"]);
}

#[test]
fn a_mistake_that_the_environment_makes_names_its_variable() {
    let check = || Gateway::command("check", &fleet("mqtt://127.0.0.1:1", &[]));
    for (name, value, words) in [
        (
            "SLUICEGATE__BATCH__AGE_MAXX",
            "1s",
            ["1 mistake in what the environment sets", "AGE_MAXX (batch.age_maxx): is not known"],
        ),
        (
            "SLUICEGATE__QUEUE__RECORDS_MAX",
            "0",
            ["1 mistake in what the environment sets", "RECORDS_MAX (queue.records_max): 0 is too"],
        ),
        // The key that is at fault is the file's or a default; what makes it one is the variable.
        (
            "SLUICEGATE__QUEUE__RECORDS_MAX",
            "10",
            [
                "batch.records_max: is above queue.records_max = 10",
                "(queue.records_max is set by the environment: SLUICEGATE__QUEUE__RECORDS_MAX)",
            ],
        ),
        (
            "SLUICEGATE__SENSORS__FLEET__SIMULATED__COUNT",
            "3",
            ["sensors.fleet: holds 2", "environment: SLUICEGATE__SENSORS__FLEET__SIMULATED__COUNT"],
        ),
        (
            "SLUICEGATE__BROKER__PASSWORD_FILE",
            "nowhere",
            ["SLUICEGATE__BROKER__PASSWORD_FILE (broker.password_file): nowhere", "does not exist"],
        ),
    ] {
        refused(check().env(name, value), &words);
    }
}

#[test]
fn files_that_cannot_be_used_are_all_in_one_report() {
    let more = [
        "broker.url = \"mqtts://127.0.0.1:1\"",
        "broker.username = \"gateway\"",
        "broker.password_file = \"nowhere\"",
        "broker.tls = { ca_file = \".\", cert_file = \"empty\", key_file = \"k\" }",
        "output.broker = { url = \"mqtt://h\", username = \"u\", password_file = \"long\" }",
        "http.token_file = \"no-token\"",
    ];
    let topic = "sensors.fleet.mqtt.topic = \"a\"\n";
    let config = more.iter().fold(topic.to_owned(), |text, line| text + line + "\n");
    let words = [
        "6 mistakes",
        "http.token_file: no-token: does not exist: create it",
        "broker.password_file: nowhere: does not exist: create it",
        "broker.tls.ca_file: .: is a folder: name the file in it",
        "broker.tls.cert_file: empty: is empty",
        "broker.tls.key_file: k: does not exist",
        "output.broker.password_file: long: is too long: a password has 65535 bytes at most",
    ];
    for launch in [Gateway::with_config(&config), Gateway::command("check", &config)] {
        let long = SECRET.repeat(65_536 / SECRET.len() + 1);
        refused(launch.file("empty", "").file("long", &long), &words);
    }
    // MQTT's limit itself will do, and the line's end does not count.
    let fine = "broker.username = \"u\"\nbroker.password_file = \"p\"\n";
    let config = fleet("mqtt://127.0.0.1:1", &[fine]);
    let password = format!("{}\r\n", "x".repeat(65_535));
    let mut gateway = Gateway::command("check", &config).file("p", &password).start();
    assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
}

#[test]
fn a_policy_that_cannot_choose_is_warned_of_by_check_and_at_start() {
    let broker = Broker::start();
    let few = ["queue.on_full = \"keep_latest\"", "queue.records_max = 8192"];
    let config = fleet(&broker.url(), &few);
    let warning = "\"keep_latest\" chooses among readings that wait, but up to 8500";
    let mut check = Gateway::command("check", &config).start();
    assert_eq!(check.wait_exit(SOON), 0, "{}", check.text());
    let text = check.stdout();
    assert!(text.contains("# Warnings") && text.contains(warning), "{text}");
    assert!(text.contains("queue.records_max to 9000 or more"), "{text}");
    let mut gateway = subscribed(&config);
    assert!(gateway.text().contains(warning), "{}", gateway.text());
    drained(&mut gateway);
    let enough =
        fleet(&broker.url(), &["queue.on_full = \"keep_latest\"", "queue.records_max = 9000"]);
    let mut check = Gateway::command("check", &enough).start();
    assert_eq!(check.wait_exit(SOON), 0);
    assert!(!check.stdout().contains("Warnings"), "{}", check.stdout());
}

#[test]
fn check_prints_what_is_in_effect_the_bound_and_every_client_and_topic() {
    let more = [
        "sensors.TEMP.simulated.count = 3",
        "sensors.fleet.mqtt.group = \"g\"",
        "sensors.fleet.mqtt.qos = 2",
        "output.dead_letter_topic = \"bad/ones\"",
        "broker.username = \"u\"",
        "broker.password_file = \"password\"",
        "sensors.fleet.mqtt.online = { topic = \"sensors/{sensor}/online\" }",
        "status.topic = \"status/{entry}/{sensor}\"",
        "status.gateway_topic = \"status/{gateway}\"",
    ];
    let launch = Gateway::command("check", &fleet("mqtt://127.0.0.1:1", &more));
    let mut gateway = launch.file("password", SECRET).start();
    assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
    let text = gateway.stdout();
    for word in [
        "gw-in-fleet",
        "gw-out",
        "$share/g/sensors/+/reading, and for online to sensors/+/online, at",
        "gw-status publishes how each sensor does to status/{entry}/{sensor} (status.topic), and how the gateway does to status/gw ",
        "gateway/batches",
        "bad/ones",
        "TEMP_00 to TEMP_02",
        "MiB",
        "Memory: at most",
        "records_max = 500",
        "age_max = \"100ms\"",
        "granted as 1",
        "password_file = \"password\"",
    ] {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
    assert!(!gateway.text().contains(SECRET));
    // What it prints is a configuration itself.
    let mut again = Gateway::command("check", &text).file("password", SECRET).start();
    assert_eq!(again.wait_exit(SOON), 0, "{}", again.text());
}

#[test]
fn every_file_in_config_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    assert!(!files.is_empty());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let embedded = text.lines().any(|line| line.trim() == "url = \"embedded\"");
        let mut gateway = Gateway::bare().arg("check").arg("--config").arg(&path).start();
        let code = gateway.wait_exit(SOON);
        let text = gateway.text();
        if embedded && !cfg!(feature = "embedded-broker") {
            assert!(code == 64 && text.contains("without the embedded broker"), "{text}");
        } else {
            assert_eq!(code, 0, "{}: {text}", path.display());
            assert!(!text.contains("# Warnings"), "{}: {text}", path.display());
        }
    }
}

#[test]
fn log_lines_are_json_when_asked_for() {
    let broker = Broker::start();
    let sensor = "sensors.S.simulated = { readings = 1 }";
    let more = [sensor, "log.format = \"json\"", "log.level = \"debug\""];
    let mut gateway = Gateway::start(&gateway(&broker.url(), &more));
    ended(&mut gateway);
    for line in gateway.stderr().lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(json["message"].is_string() && json["level"].is_string(), "{line}");
    }
    assert!(gateway.stderr().contains("sealed"), "debug lines are there");
}

#[test]
fn the_section_of_a_topic_says_where_batches_go_and_a_variable_of_either_spelling_replaces_it() {
    let (input, sink) = (Broker::start(), Broker::start());
    let section = format!(
        "[output.mqtt]\ntopic = \"other/batches\"\nqos = 0\nbroker.url = \"{}\"",
        sink.url()
    );
    let mut gateway = Gateway::with_config(&fleet(&input.url(), &[&section]))
        .env("SLUICEGATE__OUTPUT__TOPIC", "named/batches")
        .env("SLUICEGATE__OUTPUT__MQTT__QOS", "1")
        .start();
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(2, 1..=3, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 6);
    assert_eq!(drained(&mut gateway).delivered, 6);
    let batches = sink.published("named/batches");
    let records: usize = batches.iter().map(|it| records(it).len()).sum();
    assert_eq!((records, batches.iter().all(|it| it.qos == 1)), (6, true));
}

#[test]
fn an_output_broker_of_its_own_has_its_own_login() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.require_login("writer", SECRET);
    let out = format!(
        "output.broker = {{ url = \"{}\", username = \"writer\", password_file = \"password\" }}",
        sink.url()
    );
    let config = fleet(&input.url(), &[&out]);
    let mut gateway = Gateway::with_config(&config).file("password", SECRET).start();
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(1, 1..=3, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 3);
    drained(&mut gateway);
    let wrong = Gateway::with_config(&config).file("password", "wrong");
    denied(wrong, &["refused the connection", "bad user name or password"]);
    drop(subscribed(&fleet(&input.url(), &[])));
}

#[test]
fn a_refused_connection_says_who_where_and_what_to_do() {
    let more = ["broker.username = \"pump\"", "broker.password_file = \"password\""];
    for (version, code, remedy) in [
        (3, Code::BadUserNamePassword, "password_file"),
        (3, Code::NotAuthorized, "username and password_file"),
        (5, Code::BadUserNamePassword, "password_file"),
        (5, Code::NotAuthorized, "username and password_file"),
        (5, Code::ClientIdentifierNotValid, "gateway.id"),
        (5, Code::Banned, "lift the ban"),
    ] {
        let (broker, sink) = (Broker::start(), Broker::start());
        broker.refuse_connects("", code);
        let version = format!("broker.version = {version}");
        let config = fleet(&broker.url(), &[&more[..], &[&version, &output(&sink.url())]].concat());
        let launch = Gateway::with_config(&config).file("password", SECRET);
        let words = ["\"gw-in-fleet\"", "\"pump\"", remedy];
        let gateway = denied(launch, &words);
        let line = gateway.wait_for_line("refused the connection", SOON);
        for word in [&words[..], &[&*broker.url()]].concat() {
            assert!(line.contains(word), "{word} is missing in {line}");
        }
    }
}

#[test]
fn a_refusal_that_may_pass_is_said_and_tried_again() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    for code in [
        Code::ServerUnavailable,
        Code::ServerBusy,
        Code::QuotaExceeded,
        Code::ConnectionRateExceeded,
        Code::UnspecifiedError,
    ] {
        let before = input.look(|log| log.refused("gw-in"));
        input.refuse_connects("gw-in", code);
        let mut gateway = Gateway::start(&config);
        input.wait_until("two attempts", SOON, |log| log.refused("gw-in") >= before + 2);
        input.accept_connects("gw-in");
        gateway.wait_for_line("subscribed", SOON);
        let line = gateway.wait_for_line("cannot connect", SOON);
        assert!(
            line.contains("check the broker's load") || code == Code::UnspecifiedError,
            "{line}"
        );
        drained(&mut gateway);
    }
    for code in [0x80, 0x83, 0x97] {
        let before = input.look(|log| log.subscribes("gw-in"));
        input.forget_sessions("gw-in");
        input.refuse_subscribes("sensors", code);
        let mut gateway = Gateway::start(&config);
        input.wait_until("two attempts", SOON, |log| log.subscribes("gw-in") >= before + 2);
        gateway.wait_for_line("refused the subscription to sensors/+/reading for now", SOON);
        input.accept_subscribes("sensors");
        gateway.wait_for_line("subscribed", SOON);
        drained(&mut gateway);
    }
}

#[test]
fn a_new_cause_of_a_warning_is_said_at_once_and_nothing_is_counted_that_was_not_left_out() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.go_away();
    let mut gateway = Gateway::start(&fleet(&input.url(), &[&output(&sink.url())]));
    gateway.wait_for_line("cannot connect", SOON);
    input.refuse_connects("gw-in", Code::ServerBusy);
    input.come_back();
    input.wait_until("two attempts", SOON, |log| log.refused("gw-in") >= 2);
    assert_eq!(gateway.count("server busy"), 1, "{}", gateway.text());
    input.accept_connects("gw-in");
    gateway.wait_for_line("subscribed", SOON);
    assert!(!gateway.said("left_out"), "{}", gateway.text());
    drained(&mut gateway);
}

#[test]
fn names_of_hosts_are_a_list_in_the_file_and_a_text_in_the_environment() {
    let check = |more: &[&str]| Gateway::command("check", &fleet("mqtt://127.0.0.1:1", more));
    let accepted = |launch: Launch| {
        let mut checked = launch.start();
        assert_eq!(checked.wait_exit(SOON), 0, "{}", checked.text());
        assert!(
            checked.stdout().contains(r#"hosts = ["gateway", "gw.example"]"#),
            "{}",
            checked.stdout()
        );
    };
    accepted(check(&["http.hosts = [\"gateway\", \"gw.example\"]"]));
    accepted(check(&[]).env("SLUICEGATE__HTTP__HOSTS", "gateway, gw.example"));
    for (wrong, word) in [
        ("http.hosts = [\"gateway:8080\"]", "http.hosts: \"gateway:8080\" is no host name"),
        ("http.hosts = [5]", "is no host name"),
        ("http.hosts = 5", "http.hosts: is not a list: write [\"gateway\""),
        ("http.hosts = [[\"x\"]]", "is no host name"),
        ("output.answer_max = [\"x\"]", "output.answer_max: is not a duration"),
    ] {
        refused(check(&[wrong]), &[word, "1 mistake"]);
    }
}
