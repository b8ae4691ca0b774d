//! Whose sensor went silent: the log, the metrics, `/api/sensors` and `sluicegate sensors` say it, and of no sensor that
//! could not be heard.

use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::scene::{drained, fleet, output, reading};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::{SOON, now, pause, within};

/// A gateway of which each sensor is to report so often.
fn started(input: &Broker, sink: &Broker, every: &str) -> (Gateway, Http) {
    let every = format!("sensors.fleet.mqtt.expected_interval = \"{every}\"");
    let config = fleet(&input.url(), &[&every, &output(&sink.url())]);
    let gateway =
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    (gateway, http)
}

/// Until a line is logged, another sensor reports all the time.
fn beside_steady(input: &Broker, gateway: &Gateway, line: &str) {
    let mut n = 0;
    let came = within(SOON, || {
        n += 1;
        input.publish_all([reading("steady", n, 0)]);
        pause(Duration::from_millis(100));
        gateway.said(line)
    });
    assert!(came, "no line {line:?} in:\n{}", gateway.text());
}

/// What `sluicegate sensors` prints of this gateway.
fn listed(http: Http, gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.env("SLUICEGATE__HTTP__LISTEN", format!("127.0.0.1:{}", http.port));
    command.arg("sensors").arg("--config").arg(gateway.config_path()).args(arguments);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn changed(http: Http, state: &str) -> u64 {
    let name = format!("sluicegate_sensors_changed_total{{state=\"{state}\"}} ");
    let text = http.get("/metrics").body;
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[test]
fn a_sensor_that_goes_silent_is_told_everywhere_and_its_return_too() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, "2s");
    input.publish_all([reading("gone", 1, 0)]);
    beside_steady(&input, &gateway, "a sensor is silent");
    let line = gateway.wait_for_line("a sensor is silent", SOON);
    for part in
        ["nothing has come of it for 7s", "entry=\"fleet\"", "sensor=\"gone\"", "every=\"2s\""]
    {
        assert!(line.contains(part), "{line}");
    }
    let page = http.json("/api/sensors?state=silent");
    assert_eq!((&page["total"], &page["sensors"][0]["sensorId"]), (&1.into(), &"gone".into()));
    assert_eq!(page["sensors"][0]["intervalSeconds"], 2.0);
    assert_eq!(http.json("/api/status")["sensors"][0]["silent"], 1);
    assert_eq!(http.metric("sluicegate_entry_sensors_silent{entry=\"fleet\"}"), Some(1.0));
    assert_eq!(http.json("/api/sensors/fleet/gone")["state"], "silent");
    assert_eq!(http.get("/api/sensors/fleet/none").status, 404);
    assert_eq!(http.get("/api/sensors?state=dead").status, 400);
    let (code, text) = listed(http, &gateway, &["--silent"]);
    assert!(code == Some(0) && text.starts_with("1 sensors\n"), "{text}");
    assert!(text.lines().last().unwrap().ends_with("fleet/gone"), "{text}");
    let (code, text) = listed(http, &gateway, &["--json", "--sort", "id"]);
    let ids: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["sensorId"].clone())
        .collect();
    assert_eq!((code, ids), (Some(0), vec!["gone".into(), "steady".into()]));
    assert_eq!(listed(http, &gateway, &["--state", "dead"]).0, Some(64));
    let (code, text) = listed(http, &gateway, &["--sort", "rate"]);
    assert!(code == Some(0) && text.contains("every      rate") && text.contains("/s "), "{text}");

    input.publish_all([reading("gone", 2, 0)]);
    gateway.wait_for_line("a sensor is heard again", SOON);
    assert_eq!(["late", "silent", "online"].map(|it| changed(http, it)), [1; 3]);
    drained(&mut gateway);
    assert_eq!(listed(http, &gateway, &[]).0, Some(1), "nobody answers");
}

/// Nothing can come of any.
#[test]
fn while_the_broker_is_away_no_sensor_is_silent() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, "1s");
    input.publish_all([reading("a", 1, 0)]);
    assert!(within(SOON, || http.json("/api/sensors")["total"] == 1));
    input.go_away();
    // Longer than three intervals: time in which it would be told.
    pause(Duration::from_secs(7));
    assert_eq!([changed(http, "late"), changed(http, "silent")], [0, 0]);
    input.come_back();
    gateway.wait_for_line("a sensor is silent", SOON);
    drained(&mut gateway);
}

/// Its last will is published as retained, as its firmware does.
#[test]
fn a_sensor_whose_last_will_says_so_is_silent_and_one_that_is_only_quiet_is_not() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.publish("z/early/availability", "offline", 1, true);
    let lines = [
        "sensors.z.mqtt.topic = \"z/{sensor}/t\"",
        "sensors.z.mqtt.online = { topic = \"z/{sensor}/availability\", value = \"online\" }",
        &output(&sink.url()),
    ];
    let config = crate::scene::gateway(&input.url(), &lines);
    let gateway =
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    let mut gateway = gateway;
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    let state = |id: &str| http.json(&format!("/api/sensors/z/{id}"))["state"].clone();
    let early = || http.json("/api/sensors?state=silent")["sensors"][0]["sensorId"] == "early";
    assert!(within(SOON, early), "never heard in this run");
    input.publish("z/a/availability", "online", 1, true);
    for number in 0..9 {
        input.publish("z/a/t", number.to_string(), 1, false);
        pause(Duration::from_millis(300));
    }
    // Its interval would be learned by now.
    pause(Duration::from_secs(4));
    assert_eq!(state("a"), "online");
    input.publish("z/a/availability", "offline", 1, true);
    let line = gateway.wait_for_line("a sensor is silent: it says that it is not there", SOON);
    assert!(line.contains("entry=\"z\""), "{line}");
    assert!(within(SOON, || state("a") == "silent"));
    let skipped = "sluicegate_messages_skipped_total{reason=\"online\"}";
    assert_eq!(http.metric(skipped), Some(3.0));
    input.publish("z/a/t", "9", 1, false);
    assert!(within(SOON, || state("a") == "online"));
    assert_eq!(drained(&mut gateway).received, 10);
}

#[test]
fn a_node_of_sparkplug_that_dies_is_silent_with_its_devices() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = crate::scene::gateway(
        &input.url(),
        &[
            "sensors.plant.mqtt.topic = \"spBv1.0/#\"",
            "sensors.plant.mqtt.payload = \"sparkplug_b\"",
            &output(&sink.url()),
        ],
    );
    let gateway =
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    let mut gateway = gateway;
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    // A birth with bdSeq 4 of a node, one of its device, and the death of the node.
    let birth =
        [0x12, 0x0b, 0x0a, 0x05, b'b', b'd', b'S', b'e', b'q', 0x20, 0x04, 0x58, 0x04, 0x18, 0x00];
    input.publish("spBv1.0/G/NBIRTH/N", birth, 1, false);
    input.publish("spBv1.0/G/DBIRTH/N/D", [0x18, 0x01], 1, false);
    let silent = || http.json("/api/sensors?state=silent")["total"].clone();
    assert!(within(SOON, || http.get("/api/sensors/plant/G/N/D").status == 200) && silent() == 0);
    input.publish("spBv1.0/G/NDEATH/N", &birth[..13], 1, false);
    assert!(within(SOON, || silent() == 2), "{}", gateway.text());
    assert!(within(SOON, || changed(http, "silent") == 2));
    input.publish("spBv1.0/G/NBIRTH/N", birth, 1, false);
    assert!(within(SOON, || silent() == 1), "its device is not born yet");
    drained(&mut gateway);
}

/// Nothing can come of sensors that wait for the queue.
#[test]
fn while_the_queue_has_no_room_no_simulated_sensor_is_silent() {
    let output = Broker::start();
    output.go_away();
    let config = crate::scene::gateway(
        &output.url(),
        &[
            "sensors.TEMP.simulated = { count = 4, interval = \"1s\" }",
            "queue.records_max = 8",
            "batch.records_max = 4",
            "output.window_batches = 1",
        ],
    );
    let mut gateway =
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("health and metrics", SOON);
    let http = Http::of(&gateway);
    let held = || http.json("/api/status")["balance"]["held"] == 8;
    assert!(within(SOON, held), "{}", gateway.text());
    // Longer than three intervals: time in which it would be told.
    pause(Duration::from_secs(7));
    assert_eq!([changed(http, "late"), changed(http, "silent")], [0, 0]);
    output.come_back();
    drained(&mut gateway);
}

/// Twenty sensors that report each second, or up to a fifth sooner or later.
struct Jittering<'b> {
    input: &'b Broker,
    random: SmallRng,
    /// When each reports next, and what.
    due: Vec<(Instant, u64)>,
}

impl<'b> Jittering<'b> {
    fn new(input: &'b Broker) -> Self {
        let begin = now();
        let due = (0..20).map(|it| (begin + Duration::from_millis(50 * it), 1)).collect();
        Self { input, random: SmallRng::seed_from_u64(13), due }
    }

    fn report(&mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            let all = self.due.iter_mut().enumerate();
            for (sensor, (due, n)) in all.filter(|(_, (due, _))| *due <= now()) {
                self.input.publish_all([reading(&format!("s{sensor}"), *n, 1)]);
                *due += Duration::from_millis(self.random.random_range(800..=1200));
                *n += 1;
            }
            pause(Duration::from_millis(10));
        }
    }
}

/// The interval of each is learned in each run.
#[test]
fn no_restart_no_outage_and_no_jitter_makes_a_sensor_late() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let start = || {
        let launch = Gateway::with_config(&config);
        let gateway = launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
        gateway.wait_for_line("subscribed", SOON);
        gateway
    };
    let mut sensors = Jittering::new(&input);
    let mut received = 0;
    for run in 0..4 {
        let mut gateway = start();
        let http = Http::of(&gateway);
        let learned = || http.json("/api/sensors/fleet/s0")["intervalSeconds"].as_f64();
        let of_a_second = || learned().is_some_and(|it| (0.7..1.3).contains(&it));
        // Eight times the longest pause, at least.
        for _ in 0..20 {
            sensors.report(Duration::from_secs(1));
            if of_a_second() {
                break;
            }
        }
        assert!(of_a_second(), "run {run}: {:?}", learned());
        sensors.report(Duration::from_secs(2));
        if run == 3 {
            input.go_away();
            // Longer than three intervals: time in which it would be told.
            sensors.report(Duration::from_secs(5));
            input.come_back();
            sensors.report(Duration::from_secs(3));
        }
        assert_eq!(["late", "silent"].map(|it| changed(http, it)), [0, 0], "run {run}");
        received += drained(&mut gateway).received;
    }
    assert!(received > 20 * 40, "they were heard: {received}");
}
