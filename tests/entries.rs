//! Entries: each has its sensors; several on one session; one that comes and goes while others run.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluicegate::assembly::changes::Changes;
use sluicegate::pace::Pace;
use sluicegate::pipeline::{Pipeline, Report};
use sluicegate::plan::Plan;
use sluicegate::state::books::Books;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::scene::{LONG, audit, drained, gateway, readings};
use crate::support::broker::Broker;
use crate::support::client::{Collector, Options, Publisher, Session};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::wire::DisconnectReasonCode;
use crate::support::{SOON, eventually, thread};

const SENSORS: usize = 20;
const READINGS: u64 = 2000;
const TOTAL: u64 = SENSORS as u64 * READINGS;

/// The sensors' ids of each entry among the records, and how many records each has.
fn sensors_by_entry(collector: &Collector) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut sensors: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for batch in collector.batches() {
        for record in batch.json()["records"].as_array().unwrap() {
            let text = |name: &str| record[name].as_str().unwrap().to_owned();
            let of_entry = sensors.entry(text("entry")).or_default();
            *of_entry.entry(text("sensorId")).or_default() += 1;
        }
    }
    sensors
}

#[test]
fn entries_of_one_session_share_a_connection_and_each_has_its_sensors() {
    let mosquitto = broker();
    let collector = Collector::start(mosquitto.port());
    let mut lines: Vec<String> = Vec::new();
    for entry in 0..40 {
        lines.push(format!("sensors.line-{entry}.mqtt.topic = \"line-{entry}/{{sensor}}\""));
        lines.push(format!("sensors.line-{entry}.mqtt.session = \"plant\""));
    }
    lines.push("sensors.own.mqtt.topic = \"own/{sensor}\"".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let config = gateway(&mosquitto.url(), &lines);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    for entry in ["line-0", "line-39", "own"] {
        gateway.wait_for_line(&format!("subscribed entry=\"{entry}\""), SOON);
    }
    let topic = |sensor: &str, n: u64| match n % 3 {
        0 => format!("line-0/{sensor}"),
        1 => format!("line-39/{sensor}"),
        _ => format!("own/{sensor}"),
    };
    Publisher::to(mosquitto.port()).sensors(4).readings(300).topic(topic).run(LONG);
    collector.wait_readings(1200, LONG);
    let metrics = Http::of(&gateway).get("/metrics").body;
    let sessions: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("sluicegate_session_usable{")).collect();
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (1200, 1200));
    let usable = ["output", "sensors.own", "sensors.plant"]
        .map(|name| format!("sluicegate_session_usable{{session=\"{name}\"}} 1"));
    let mut sessions: Vec<String> = sessions.into_iter().map(|it| it.replace("1.0", "1")).collect();
    sessions.sort();
    assert_eq!(sessions, usable);
    let log = mosquitto.log();
    let connected = |client: &str| log.matches(&format!(" as {client} (")).count();
    assert_eq!((connected("gw-in-plant"), connected("gw-in-own")), (1, 1), "{log}");
    let four = |n: u64| (0..4).map(|sensor| (format!("s{sensor:05}"), n)).collect();
    let expected: [(&str, BTreeMap<_, _>); 3] =
        [("line-0", four(100)), ("line-39", four(100)), ("own", four(100))];
    let expected = expected.map(|(entry, it)| (entry.to_owned(), it));
    assert_eq!(sensors_by_entry(&collector), expected.into());
}

#[test]
fn an_entry_takes_several_topics_on_one_connection_and_leaves_some_out() {
    let mosquitto = broker();
    let collector = Collector::start(mosquitto.port());
    let lines = [
        "sensors.weather.mqtt.topics = [\"tele/{device}/+\", \"stat/{device}/STATUS8\"]",
        "sensors.weather.mqtt.ignore = [\"tele/+/LWT\"]",
        "sensors.weather.mqtt.sensor = \"tasmota-{device}\"",
    ];
    let config = gateway(&mosquitto.url(), &lines);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    for filter in ["tele/+/+", "stat/+/STATUS8"] {
        gateway.wait_for_line(&format!("filter=\"{filter}\""), SOON);
    }
    let topic = |sensor: &str, n: u64| match n % 3 {
        0 => format!("tele/{sensor}/SENSOR"),
        1 => format!("stat/{sensor}/STATUS8"),
        _ => format!("tele/{sensor}/LWT"),
    };
    Publisher::to(mosquitto.port()).sensors(4).readings(300).topic(topic).run(LONG);
    collector.wait_readings(800, LONG);
    let http = Http::of(&gateway);
    let ignored = "sluicegate_messages_skipped_total{reason=\"ignored\"}";
    eventually("what is ignored, counted", SOON, || http.metric(ignored) == Some(400.0));
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (800, 800));
    let log = mosquitto.log();
    assert_eq!(log.matches(" as gw-in-weather (").count(), 1, "{log}");
    let four = (0..4).map(|sensor| (format!("tasmota-s{sensor:05}"), 200)).collect();
    assert_eq!(sensors_by_entry(&collector), [("weather".to_owned(), four)].into());
}

/// Logs who connects, and who subscribes to what.
fn broker() -> Mosquitto {
    Mosquitto::start(&format!("{NO_DROP}\nlog_type notice\nlog_type subscribe\nlog_type error\n"))
}

/// The gateway within this process, as a program that embeds it has it.
struct Embedded {
    changes: Changes,
    books: Arc<Books>,
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Report>,
    runtime: tokio::runtime::Runtime,
}

/// With an entry `steady`.
fn plan(url: &str) -> Plan {
    let mut plan = Plan::default();
    plan.gateway.id = "gw".into();
    plan.broker.url = url.to_owned().try_into().unwrap();
    plan.sensors.insert("steady".into(), entry("sensors/{sensor}/reading"));
    plan
}

fn embedded(plan: Plan) -> Embedded {
    let (stop, stops) = mpsc::channel(4);
    let (told, built) = std::sync::mpsc::sync_channel(1);
    let thread = thread("gateway", move || {
        let pace = Arc::new(Pace::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pipeline = Pipeline::build(plan, pace, 1).await.unwrap();
            told.send((pipeline.changes(), pipeline.books())).unwrap();
            pipeline.run(stops).await
        })
    });
    let (changes, books) = built.recv_timeout(SOON).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Embedded { changes, books, stop, thread, runtime }
}

fn entry(topic: &str) -> sluicegate::source::Kind {
    serde_json::from_value(serde_json::json!({"mqtt": {"topic": topic}})).unwrap()
}

impl Embedded {
    fn add(&self, name: &str, topic: &str) -> Result<(), String> {
        let added = self.changes.add(name, entry(topic));
        self.runtime.block_on(added).map_err(|error| error.to_string())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        let removed = async { timeout(SOON, self.changes.remove(name)).await.unwrap() };
        self.runtime.block_on(removed).map_err(|error| error.to_string())
    }

    fn health(&self) -> String {
        let status = self.books.board.status();
        format!("{}: {}", status.health, status.reason.unwrap_or_default())
    }

    /// Stops it; it ended because of that, and its books close.
    fn stopped(self) -> Report {
        self.stop.try_send(()).unwrap();
        let report = self.thread.join().unwrap();
        assert!(report.error.is_none() && report.difference.is_none(), "{report:?}");
        report
    }
}

/// Whether the broker has a session of this client.
fn has_session(mosquitto: &Mosquitto, client: &str) -> bool {
    let options = Options::new(mosquitto.port(), client).persistent();
    Session::open(&options).unwrap().session_present()
}

/// As a reload will do it.
#[test]
fn an_entry_comes_and_goes_under_load_and_no_other_notices() {
    let mosquitto = broker();
    let collector = Collector::start(mosquitto.port());
    let gateway = embedded(plan(&mosquitto.url()));
    eventually("it is subscribed", SOON, || {
        mosquitto.log().contains("gw-in-steady 1 sensors/+/reading")
    });
    let load = Publisher::to(mosquitto.port()).sensors(SENSORS).readings(READINGS).rate(10_000.0);
    let load = load.start();
    let mut more = 0;
    for round in 0..3 {
        load.wait_acknowledged(TOTAL / 5 * (round + 1), LONG);
        gateway.add("more", "more/{sensor}").unwrap();
        eventually("it is subscribed, too", SOON, || {
            let log = mosquitto.log();
            log.matches("gw-in-more 1 more/+").count() as u64 == round + 1
        });
        let topic = |sensor: &str, _| format!("more/{sensor}");
        let one = Publisher::to(mosquitto.port()).name("more").sensors(5).readings(100);
        more += one.topic(topic).run(LONG).total();
        gateway.remove("more").unwrap();
        assert!(!has_session(&mosquitto, "gw-in-more"), "its session ended with it");
    }
    assert_eq!(load.join(LONG).total(), TOTAL);
    collector.wait_readings(TOTAL, LONG);
    let balance = gateway.stopped().balance;
    assert_eq!((balance.delivered, balance.held), (balance.received, 0), "{balance:?}");
    let sensors = sensors_by_entry(&collector);
    assert_eq!(sensors["steady"].values().sum::<u64>(), TOTAL, "each once");
    let log = mosquitto.log();
    assert_eq!(log.matches(" as gw-in-steady (").count(), 1, "its connection stood");
    // What came while it was removed stayed with the broker, and ended with the session.
    let taken: u64 = sensors["more"].values().sum();
    assert!(taken <= more && balance.received == TOTAL + taken, "{taken} of {more}: {balance:?}");
}

#[test]
fn an_entry_that_cannot_be_added_or_removed_says_why() {
    let mosquitto = broker();
    let gateway = embedded(plan(&mosquitto.url()));
    for (change, expected) in [
        (gateway.add("steady", "a"), "sensors.steady runs"),
        (
            gateway.add("loop", "gateway/batches"),
            "sensors.loop.mqtt.topic: gateway/batches matches",
        ),
        (gateway.add("a b", "a"), "the name is not usable"),
        (gateway.remove("other"), "sensors.other does not run"),
        (gateway.remove("steady"), "sensors.steady is the last one"),
    ] {
        let refused = change.unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    let many = serde_json::json!({"simulated": {"count": 90_000}});
    let added = gateway.changes.add("many", serde_json::from_value(many).unwrap());
    let refused = gateway.runtime.block_on(added).unwrap_err().to_string();
    assert!(refused.starts_with("gateway.memory_max: is 256.0 MiB, but"), "{refused}");
    gateway.stopped();
}

/// What is added later and does not work is named by health, and the others go on.
#[test]
fn an_entry_that_was_added_and_fails_ends_no_other() {
    let broker = Broker::start();
    let mut settings = plan(&broker.url());
    settings.gateway.start_grace = serde_json::from_str("\"0s\"").unwrap();
    let gateway = embedded(settings);
    let subscribed = |client: &str, times| {
        broker.wait_until("it is subscribed", SOON, |log| log.subscribes(client) == times);
    };
    let ready = || eventually("all work", SOON, || gateway.health() == "ready: ");
    let is_taken_over = || {
        broker.disconnect("gw-in-more", DisconnectReasonCode::SessionTakenOver);
        eventually("health names it and what to do", SOON, || {
            let health = gateway.health();
            health.starts_with("degraded: sensors.more has been") && health.contains("gateway.id")
        });
    };
    subscribed("gw-in-steady", 1);
    // It can never be started.
    let command = serde_json::json!({"exec": {"command": ["/no/such/program"]}});
    let added = gateway.changes.add("command", serde_json::from_value(command).unwrap());
    gateway.runtime.block_on(added).unwrap();
    // Its client id is in use.
    gateway.add("more", "more/{sensor}").unwrap();
    subscribed("gw-in-more", 1);
    ready();
    is_taken_over();
    broker.publish_all(readings(2, 1..=100, 1));
    eventually("the others go on", SOON, || audit(&broker).distinct() == 200);
    assert!(gateway.add("more", "gateway/batches").is_err());
    assert!(gateway.health().contains("sensors.more"), "the one that rests is still there");
    gateway.add("more", "more/{sensor}").unwrap();
    subscribed("gw-in-more", 2);
    ready();
    is_taken_over();
    gateway.remove("more").unwrap();
    ready();
    assert_eq!(gateway.remove("more").unwrap_err(), "sensors.more does not run");
    gateway.remove("command").unwrap();
    assert_eq!(broker.look(|log| log.connects("gw-in-more")), 2, "it did not come back by itself");
    assert_eq!(gateway.stopped().balance.delivered, 200);
}

/// A broker of MQTT 3.1.1 keeps a session for ever.
#[test]
fn what_is_removed_leaves_no_session_with_mqtt_3_either() {
    let mosquitto = broker();
    let mut settings = plan(&mosquitto.url());
    settings.broker.version = serde_json::from_str("3").unwrap();
    settings.sensors.insert("more".into(), entry("more/{sensor}"));
    let gateway = embedded(settings);
    eventually("it is subscribed", SOON, || mosquitto.log().contains("gw-in-more 1 more/+"));
    gateway.remove("more").unwrap();
    let options = Options::new(mosquitto.port(), "gw-in-more").v3().persistent();
    assert!(!Session::open(&options).unwrap().session_present());
    gateway.stopped();
}

/// Its session cannot be ended then: its broker is waited for until the grace is over.
#[test]
fn an_entry_is_removed_while_its_broker_is_away() {
    for version in ["3", "5"] {
        let mosquitto = broker();
        let mut settings = plan(&mosquitto.url());
        settings.broker.version = serde_json::from_str(version).unwrap();
        settings.gateway.shutdown_grace = serde_json::from_str("\"1s\"").unwrap();
        settings.sensors.insert("more".into(), entry("more/{sensor}"));
        let gateway = embedded(settings);
        eventually("it is subscribed", SOON, || mosquitto.log().contains("gw-in-more 1 more/+"));
        drop(mosquitto);
        eventually("it is away", SOON, || gateway.health().contains("has been away"));
        gateway.remove("more").unwrap();
        assert_eq!(gateway.stopped().balance.received, 0);
    }
}
