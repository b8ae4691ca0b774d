//! `sluicegate verify`: finds each planted fault and nothing else, and never calls lost what it may
//! not have heard.

use std::fmt::Write as _;
use std::fs;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::scene::{BATCHES, LETTERS, LONG, drained, ended, fleet, gateway, message, subscribed};
use crate::support::broker::{Broker, Message};
use crate::support::client::Publisher;
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy};
use crate::support::wire::PublishProperties;
use crate::support::{SOON, eventually};

const SENSOR: &str = "sensors.x.simulated = {}";

/// A batch: its id and its readings, sensor and number.
type Batch = (&'static str, Vec<(&'static str, u64)>);

/// How batches are written.
#[derive(Clone, Copy, Debug)]
struct Manner {
    version: u8,
    array: bool,
}

const MANNERS: [Manner; 4] = [
    Manner { version: 5, array: false },
    Manner { version: 5, array: true },
    Manner { version: 3, array: false },
    Manner { version: 3, array: true },
];

impl Manner {
    fn message(self, (id, readings): &Batch) -> Message {
        let mut records = String::new();
        for (sensor, number) in readings {
            let comma = if records.is_empty() { "" } else { "," };
            let time = "2026-11-22T07:30:50.601Z";
            write!(
                records,
                r#"{comma}{{"sensorId":"{sensor}","sequence":9,"value":{{"number":{number},"t":1}},"timestamp":"{time}"}}"#
            )
            .unwrap();
        }
        let text = if self.array {
            format!("[{records}]")
        } else {
            format!(r#"{{"gateway":"g","batch":"{id}","count":1,"records":[{records}]}}"#)
        };
        let properties = (self.version == 5).then(|| PublishProperties {
            user_properties: vec![("batch".into(), (*id).into())],
            ..PublishProperties::default()
        });
        Message { properties, ..message(BATCHES, Bytes::from(text), 1) }
    }
}

fn verification(url: &str, version: u8, args: &[&str]) -> Launch {
    let version = format!("broker.version = {version}");
    let launch = Gateway::command("verify", &gateway(url, &[SENSOR, &version])).arg("--json");
    args.iter().fold(launch, Launch::arg)
}

fn listening(launch: Launch) -> Gateway {
    let gateway = launch.start();
    gateway.wait_for_line("listening", SOON);
    gateway
}

/// Waits for its end: the exit code and the verdict.
#[track_caller]
fn verdict(verification: &mut Gateway) -> (i32, Value) {
    let code = verification.wait_exit(LONG);
    let text = verification.stdout();
    (code, serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("{}", verification.text())))
}

/// Sends batches to a verification with these arguments, which ends by itself when idle.
#[track_caller]
fn judged(manner: Manner, args: &[&str], report: Option<&str>, batches: &[Batch]) -> (i32, Value) {
    let broker = Broker::start();
    let launch = verification(&broker.url(), manner.version, &[&["--idle", "1"], args].concat());
    let launch = if let Some(text) = report { launch.file("report.json", text) } else { launch };
    let mut verification = listening(launch);
    broker.publish_all(batches.iter().map(|batch| manner.message(batch)));
    let judged = verdict(&mut verification);
    assert_eq!(broker.look(|log| log.unacked("verify")), 0, "everything is acknowledged");
    judged
}

/// Lost, duplicated, reordered, unnumbered, unreadable, repeated batches.
fn found(verdict: &Value) -> [u64; 6] {
    ["lost", "duplicated", "reordered", "unnumbered", "unreadable", "repeatedBatches"]
        .map(|name| verdict[name].as_u64().unwrap_or_else(|| panic!("{name}: {verdict}")))
}

fn whole() -> Vec<Batch> {
    vec![
        ("g-1", vec![("a", 1), ("b", 1), ("a", 2)]),
        ("g-2", vec![("b", 2), ("a", 3), ("b", 3)]),
        ("g-3", vec![("a", 4), ("b", 4)]),
    ]
}

const REPORT: &str = r#"{"started":"2999-01-01T00:00:00.000Z","ended":"2999-01-01T00:01:00.000Z",
    "qos":1,"sensors":{"a":{"sent":4,"acknowledged":4,"again":0},
    "b":{"sent":5,"acknowledged":4,"again":1}}}"#;

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    type Spoil = fn(&mut Vec<Batch>);
    let faults: [(Spoil, i32, [u64; 6]); 6] = [
        (|_| {}, 0, [0; 6]),
        (|all| all[1].1.retain(|it| *it != ("a", 3)), 1, [1, 0, 0, 0, 0, 0]),
        (|all| all[2].1.push(("b", 2)), 1, [0, 1, 0, 0, 0, 0]),
        (|all| all[1].1.swap(0, 2), 1, [0, 0, 1, 0, 0, 0]),
        (|all| all.insert(2, all[0].clone()), 0, [0, 0, 0, 0, 0, 1]),
        (|all| all[2].1.push(("a", 0)), 1, [0, 0, 0, 1, 0, 0]),
    ];
    let judges = [(&["--expect", "report.json"][..], Some(REPORT)), (&[], None)];
    for (manner, (args, report)) in MANNERS.iter().flat_map(|it| judges.map(|judge| (*it, judge))) {
        for (spoil, code, expected) in faults {
            let mut batches = whole();
            spoil(&mut batches);
            let (exit, verdict) = judged(manner, args, report, &batches);
            let context = format!("{manner:?}, {args:?}: {verdict}");
            assert_eq!((exit, found(&verdict)), (code, expected), "{context}");
            let word = ["clean", "faulty"][usize::from(code == 1)];
            assert_eq!((&verdict["verdict"], &verdict["sensors"]), (&word.into(), &2.into()));
        }
    }
}

#[test]
fn what_never_came_is_only_known_with_an_expectation() {
    let manner = MANNERS[0];
    let mut batches = whole();
    batches.pop();
    let (code, verdict) = judged(manner, &["--expect", "report.json"], Some(REPORT), &batches);
    assert_eq!((code, found(&verdict)), (1, [2, 0, 0, 0, 0, 0]), "{verdict}");
    assert_eq!(
        verdict["worst"][0],
        json!({"sensor": "a", "missing": 1, "deadLettered": 0, "duplicated": 0,
        "reordered": 0, "gaps": [[4, 4]]})
    );
    assert_eq!(judged(manner, &[], None, &batches).0, 0);
}

#[test]
fn dead_letters_latency_and_late_readings_are_told() {
    let broker = Broker::start();
    let args = ["--topic", "other/+", "--dead-letter-topic", LETTERS, "--late-ms", "60000"];
    let mut verification = listening(verification(&broker.url(), 5, &args));
    let at = |batch: &str, ms: i64| {
        let time = i64::try_from(epoch_ms()).unwrap() - ms;
        message(
            "other/topic",
            format!(
                r#"{{"batch":"{batch}","records":[{{"sensorId":"a","value":{{"number":{}}},"timestamp":{time}}}]}}"#,
                if batch == "x" { 1 } else { 2 }
            ),
            1,
        )
    };
    broker.publish_all([at("x", 100_000), at("y", 1000), message(BATCHES, "not for us", 1)]);
    let letter = |reason: &str| message(LETTERS, format!(r#"{{"reason":"{reason}"}}"#), 1);
    broker.publish_all([letter("malformed"), letter("oversize"), letter("malformed")]);
    broker.wait_until("acknowledgements", SOON, |log| log.acks("verify") == 5);
    verification.signal("TERM");
    let (code, verdict) = verdict(&mut verification);
    assert_eq!((code, found(&verdict)), (0, [0; 6]), "{verdict}");
    assert_eq!(verdict["deadLetters"], json!({"malformed": 2, "oversize": 1}));
    assert_eq!(verdict["late"], 1);
    let latency = |name: &str| verdict["latencyMs"][name].as_u64().unwrap();
    assert!((1000..20_000).contains(&latency("p50")), "{verdict}");
    assert!((100_000..120_000).contains(&latency("max")), "{verdict}");
}

fn epoch_ms() -> u64 {
    sluicegate::clock::now().wall.millis()
}

#[test]
fn progress_is_told_while_batches_come() {
    let broker = Broker::start();
    let mut verification = listening(verification(&broker.url(), 5, &[]));
    let batches = whole();
    let publish = |batch: &Batch| broker.publish_all([MANNERS[0].message(batch)]);
    publish(&batches[0]);
    let first = "sensors=2 repeated_batches=0 gaps=0 duplicated=0 reordered=0 dead_letters=0";
    let line = verification.wait_for_line(first, SOON);
    assert!(line.contains(" progress records=3 per_second="), "{line}");
    // The second batch is missing, the first comes again, and a reading is none.
    publish(&batches[2]);
    publish(&batches[0]);
    broker.publish_all([message(LETTERS, r#"{"reason":"malformed"}"#, 1)]);
    let second = "sensors=2 repeated_batches=1 gaps=3 duplicated=0 reordered=0 dead_letters=1";
    let line = verification.wait_for_line(second, SOON);
    assert!(line.contains(" progress records=5 per_second="), "{line}");
    verification.signal("TERM");
    let (code, verdict) = verdict(&mut verification);
    assert_eq!((code, found(&verdict)), (1, [3, 0, 0, 0, 0, 1]), "{verdict}");
}

#[test]
fn the_sequence_stands_in_and_it_is_said() {
    let broker = Broker::start();
    let mut verification = listening(verification(&broker.url(), 5, &["--idle", "1"]));
    let batch = |n: u64| {
        let record = format!(r#"{{"sensorId":"a","sequence":{n},"value":1.5}}"#);
        message(BATCHES, format!(r#"{{"batch":"g-{n}","records":[{record}]}}"#), 1)
    };
    broker.publish_all([1, 2, 4].map(batch));
    let (code, verdict) = verdict(&mut verification);
    assert_eq!((code, found(&verdict)), (1, [1, 0, 0, 0, 0, 0]), "{verdict}");
    assert_eq!(verdict["numbers"], "sequence");
    assert!(verdict["notes"].to_string().contains("sequence was used"), "{verdict}");
}

#[test]
fn a_verifier_that_was_deaf_is_inconclusive() {
    for version in [3, 5] {
        let broker = Broker::start();
        let proxy = Proxy::to(broker.port());
        let args = ["--expect", "report.json"];
        let launch = verification(&proxy.url(), version, &args).file("report.json", REPORT);
        let mut verification = listening(launch);
        let manner = Manner { version, array: false };
        let batches = whole();
        broker.publish_all([manner.message(&batches[0])]);
        broker.wait_until("the acknowledgement", SOON, |log| log.acks("verify") == 1);
        proxy.refuse();
        proxy.cut(Cut::Reset);
        verification.wait_for_line("connection lost", SOON);
        broker.forget_sessions("verify");
        proxy.accept();
        eventually("it listens again", SOON, || verification.count(" listening") == 2);
        broker.publish_all(batches[2..].iter().map(|it| manner.message(it)));
        let (code, verdict) = verdict(&mut verification);
        assert_eq!(code, 75, "{verdict}");
        assert_eq!((&verdict["verdict"], &verdict["lost"]), (&"inconclusive".into(), &Value::Null));
        assert_eq!(verdict["missing"], 3);
        assert!(verdict["notes"][0].as_str().unwrap().contains("own connection was lost"));
    }
}

#[test]
fn a_verifier_whose_session_was_kept_has_missed_nothing() {
    let broker = Broker::start();
    let launch = verification(&broker.url(), 5, &["--expect", "report.json"]);
    let mut verification = listening(launch.file("report.json", REPORT));
    let batches = whole();
    for (batch, count) in batches.iter().zip(1..) {
        broker.go_away();
        broker.publish_all([MANNERS[0].message(batch)]);
        broker.come_back();
        broker.wait_until("the acknowledgement", SOON, |log| log.acks("verify") == count);
    }
    verification.signal("TERM");
    let (code, verdict) = verdict(&mut verification);
    assert_eq!((code, found(&verdict)), (0, [0; 6]), "{verdict}");
    assert_eq!(broker.look(|log| log.connects("verify")), 4);
}

#[test]
fn without_anything_to_judge_by_it_is_inconclusive() {
    let broker = Broker::start();
    // Nothing came.
    let mut silent = listening(verification(&broker.url(), 5, &["--seconds", "1"]));
    let (code, verdict_of_silence) = verdict(&mut silent);
    assert_eq!((code, &verdict_of_silence["verdict"]), (75, &"inconclusive".into()));
    // No report, and one that is none.
    let (code, none) = judged(MANNERS[0], &["--expect", "report.json"], None, &whole());
    assert_eq!(code, 75, "{none}");
    assert!(none["notes"][0].as_str().unwrap().contains("cannot read the report"), "{none}");
    let (code, _) = judged(MANNERS[0], &["--expect", "report.json"], Some("{}"), &whole());
    assert_eq!(code, 75);
    // More sensors than are told apart.
    let (code, beyond) = judged(MANNERS[0], &["--sensors-max", "1"], None, &whole());
    assert_eq!((code, &beyond["unjudged"]), (75, &4.into()), "{beyond}");
}

#[test]
fn what_is_no_batch_is_found() {
    let broker = Broker::start();
    let mut verification = listening(verification(&broker.url(), 5, &["--idle", "1"]));
    broker.publish_all([message(BATCHES, "hello", 1), message(BATCHES, Bytes::new(), 1)]);
    broker.publish_all(whole().iter().map(|it| MANNERS[0].message(it)));
    let (code, verdict) = verdict(&mut verification);
    assert_eq!((code, found(&verdict)), (1, [0, 0, 0, 0, 2, 0]), "{verdict}");
}

#[test]
fn a_refused_subscription_and_no_broker_are_said() {
    let broker = Broker::start();
    broker.refuse_subscribes(LETTERS, 0x87);
    let mut refused = verification(&broker.url(), 5, &[]).start();
    assert_eq!(refused.wait_exit(SOON), 64, "{}", refused.text());
    assert!(refused.said("refused the subscription to gateway/dead-letters"), "{}", refused.text());
    if cfg!(feature = "embedded-broker") {
        let mut embedded = verification("embedded", 5, &[]).start();
        assert_eq!(embedded.wait_exit(SOON), 64, "{}", embedded.text());
        assert!(embedded.said("name its address"), "{}", embedded.text());
    }
}

#[test]
fn two_verifiers_at_one_broker_do_not_disturb_each_other() {
    let broker = Broker::start();
    let mut both = [0, 1].map(|_| listening(verification(&broker.url(), 5, &["--idle", "1"])));
    broker.publish_all(whole().iter().map(|it| MANNERS[0].message(it)));
    for verification in &mut both {
        assert_eq!(verdict(verification).0, 0);
    }
}

/// A simulation, a gateway and a verification at one Mosquitto.
fn chain(more: &[&str], qos: &str) -> (i32, Value) {
    let mosquitto = Mosquitto::start(NO_DROP);
    let sensors = "sensors.T.simulated = { count = 30, readings = 1000, interval = \"1ms\" }";
    let config = gateway(&mosquitto.url(), &[&[sensors], more].concat());
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let verify = Gateway::command("verify", &config).arg("--json").arg("--expect").arg(&report);
    let mut verification = listening(verify.arg("--idle").arg("2"));
    let mut taker = subscribed(&fleet(&mosquitto.url(), more));
    let simulate = Gateway::command("simulate", &config).arg("--report").arg(&report);
    let mut simulation = simulate.arg("--rate").arg("10000").arg("--qos").arg(qos).start();
    assert_eq!(simulation.wait_exit(LONG), 0, "{}", simulation.text());
    let judged = verdict(&mut verification);
    assert_eq!(drained(&mut taker).delivered, 30_000);
    judged
}

#[test]
fn simulate_gateway_and_verify_agree() {
    for more in [
        &[][..],
        &["broker.version = 3", "output.format = \"json_array\""],
        &["output.format = \"ndjson\""],
    ] {
        let (code, verdict) = chain(more, "1");
        assert_eq!((code, found(&verdict)), (0, [0; 6]), "{verdict}");
        assert_eq!((&verdict["records"], &verdict["expected"]), (&30_000.into(), &30_000.into()));
        assert_eq!((&verdict["sensors"], &verdict["numbers"]), (&30.into(), &"number".into()));
        assert_eq!(verdict["untimed"], 0);
    }
}

#[test]
fn readings_that_became_dead_letters_on_their_way_are_not_lost() {
    for version in [3, 5] {
        let mosquitto = Mosquitto::start(NO_DROP);
        let version = format!("broker.version = {version}");
        let config = fleet(&mosquitto.url(), &[&version]);
        let verify = Gateway::command("verify", &config).arg("--json").arg("--idle").arg("1");
        let mut verification = listening(verify);
        let mut taker = subscribed(&config);
        let spoilt = |n: u64| if n.is_multiple_of(10) { "oops" } else { "1" };
        let load = Publisher::to(mosquitto.port()).sensors(3).readings(101);
        let load = load
            .payload(move |_, n| format!(r#"{{"value":{},"number":{n}}}"#, spoilt(n)).into_bytes());
        assert_eq!(load.run(SOON).total(), 303);
        let (code, verdict) = verdict(&mut verification);
        assert_eq!((code, found(&verdict)), (0, [0; 6]), "{verdict}");
        assert_eq!((&verdict["records"], &verdict["deadLettered"]), (&273.into(), &30.into()));
        assert_eq!(drained(&mut taker).dead_lettered, 30);
    }
}

/// Sensors are called what devices like.
#[test]
fn what_devices_are_called_forges_no_line_of_the_report() {
    for json in [false, true] {
        let broker = Broker::start();
        let config = gateway(&broker.url(), &[SENSOR]);
        let launch = Gateway::command("verify", &config).arg("--idle").arg("1");
        let mut verification = listening(if json { launch.arg("--json") } else { launch });
        let record = |n: u64| {
            let sensor = "x\nverify: clean\u{1b}[2J\u{202e}";
            json!({ "sensorId": sensor, "sequence": n, "value": 1 })
        };
        let batch = Value::from([record(1), record(3)].to_vec()).to_string();
        broker.publish(BATCHES, batch, 1, false);
        assert_eq!(verification.wait_exit(LONG), 1, "{}", verification.text());
        let text = verification.stdout();
        assert_eq!(text.matches("\nverify: ").count(), 0, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("202e"), "{text}");
    }
}

/// What a gateway writes and `verify` reads, with this format and these more lines.
fn written(format: &str, more: &[&str]) -> (tempfile::TempDir, String, Gateway) {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("output.file.path = \"{}\"", folder.path().join("out").display());
    let format = format!("output.format = \"{format}\"");
    let config = ["gateway.id = \"gw\"", "batch.records_max = 20", &path, &format];
    let config = [&config[..], more].concat().join("\n");
    let gateway = Gateway::start(&config);
    (folder, config, gateway)
}

#[test]
fn what_a_gateway_wrote_to_files_is_all_there() {
    for format in ["json", "json_array", "ndjson"] {
        let sensors = "sensors.T.simulated = { count = 3, interval = \"1ms\", readings = 500 }";
        let rotation = ["output.file.rotate_bytes = \"16KiB\"", "output.file.files_max = 1000"];
        let more = [&[sensors], &rotation[..]].concat();
        let (folder, config, mut gateway) = written(format, &more);
        assert_eq!(ended(&mut gateway).delivered, 1500);
        assert!(folder.path().join("out.2").exists(), "it was rotated");
        let launch = || Gateway::command("verify", &config).arg("--json");
        // The configuration names the file; or the command does, or the folder.
        for launch in [
            launch(),
            launch().arg("--file").arg(folder.path().join("out")),
            launch().arg("--file").arg(folder.path()),
        ] {
            let (code, verdict) = verdict(&mut launch.start());
            assert_eq!((code, found(&verdict)), (0, [0; 6]), "{format}: {verdict}");
            assert_eq!((&verdict["records"], &verdict["sensors"]), (&1500.into(), &3.into()));
        }
        // Without one of the files something is missing.
        fs::remove_file(folder.path().join("out.1")).unwrap();
        let (code, verdict) = verdict(&mut launch().start());
        assert!(code == 1 && found(&verdict)[0] > 0, "{verdict}");
    }
}

#[test]
fn files_are_judged_by_what_a_simulation_sent() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let url = format!("broker.url = \"{}\"", mosquitto.url());
    let topic = "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"";
    let (folder, config, mut taker) = written("json", &[&url, topic]);
    taker.wait_for_line("subscribed", SOON);
    let report = folder.path().join("report.json");
    let fleet = format!("{url}\nsensors.T.simulated = {{ count = 10, readings = 100 }}");
    let simulate = Gateway::command("simulate", &fleet).arg("--rate").arg("0");
    let mut simulation = simulate.arg("--report").arg(&report).start();
    assert_eq!(simulation.wait_exit(LONG), 0, "{}", simulation.text());
    assert_eq!(drained(&mut taker).delivered, 1000);
    let judged = || {
        let launch = Gateway::command("verify", &config).arg("--json").arg("--expect").arg(&report);
        verdict(&mut launch.start())
    };
    let (code, verdict) = judged();
    assert_eq!((code, found(&verdict)), (0, [0; 6]), "{verdict}");
    assert_eq!((&verdict["expected"], &verdict["numbers"]), (&1000.into(), &"number".into()));
    // Half of the last line: what it held may still come.
    let out = folder.path().join("out");
    let text = fs::read_to_string(&out).unwrap();
    fs::write(&out, text.get(..text.len() - 30).unwrap()).unwrap();
    let (code, verdict) = judged();
    assert_eq!((code, &verdict["lost"]), (75, &Value::Null), "{verdict}");
    assert!(verdict["notes"].to_string().contains("half line at the end of"), "{verdict}");
}

#[test]
fn files_that_cannot_be_judged_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    // There is no configuration either, and none is needed.
    let mut absent = Gateway::bare().arg("verify").arg("--file").arg(&none).start();
    assert_eq!(absent.wait_exit(SOON), 64, "{}", absent.text());
    let said = format!("{}: there is no file: correct the path", none.display());
    assert!(absent.stderr().contains(&said), "{}", absent.stderr());
    fs::write(&none, "").unwrap();
    let mut empty = Gateway::bare().arg("verify").arg("--file").arg(&none).start();
    assert_eq!(empty.wait_exit(SOON), 75, "{}", empty.text());
    assert!(empty.stdout().contains("nothing came"), "{}", empty.stdout());
    let both = ["verify", "--topic", "a", "--file", "b"];
    let mut both = both.iter().fold(Gateway::bare(), Launch::arg).start();
    assert_eq!(both.wait_exit(SOON), 64, "{}", both.text());
}
