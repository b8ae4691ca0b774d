//! `sluicegate simulate`: what it sends, in which order, and what it says was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::scene::{LONG, gateway, violations};
use crate::support::broker::{Broker, Kind, Limits, Order, Published};
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Proxy, Way};
use crate::support::wire::ConnectReturnCode;
use crate::support::{SOON, now, seed};

const FIVE: &str = "sensors.T.simulated = { count = 5, readings = 40, interval = 0 }";

/// A simulation at the broker at `url`; its report goes to `report.json`.
fn simulation(url: &str, more: &[&str]) -> Launch {
    Gateway::command("simulate", &gateway(url, more)).arg("--report").arg("report.json")
}

fn report(simulation: &Gateway) -> serde_json::Value {
    let text = std::fs::read_to_string(simulation.folder().join("report.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Sent, acknowledged, again: over all sensors.
fn sums(report: &serde_json::Value) -> [u64; 3] {
    let sensors = report["sensors"].as_object().unwrap();
    ["sent", "acknowledged", "again"]
        .map(|name| sensors.values().map(|it| it[name].as_u64().unwrap()).sum())
}

/// What was published on each topic, in order.
fn by_topic(broker: &Broker) -> BTreeMap<String, Vec<Published>> {
    let mut topics: BTreeMap<String, Vec<Published>> = BTreeMap::new();
    broker.look(|log| {
        for published in &log.published {
            topics.entry(published.topic.clone()).or_default().push(published.clone());
        }
    });
    topics
}

fn numbers(published: &[Published]) -> Vec<u64> {
    published.iter().map(|it| it.json()["number"].as_u64().unwrap()).collect()
}

/// A number first comes only when all below it have come.
fn assert_in_order(published: &[Published], readings: u64) {
    let mut highest = 0;
    for it in published {
        let number = it.json()["number"].as_u64().unwrap();
        assert!(number <= highest + 1, "{number} after {highest} on {}", it.topic);
        // One that was sent and never arrived is marked as well.
        assert!(it.dup || number > highest, "a repeat of {number} is not marked");
        highest = highest.max(number);
    }
    assert_eq!(highest, readings);
}

#[test]
fn every_reading_is_a_numbered_message_on_its_own_topic() {
    for (version, qos) in [(5, 1), (3, 1), (5, 0), (3, 0)] {
        let broker = Broker::start();
        let version = format!("broker.version = {version}");
        let one = "sensors.solo.simulated = { readings = 7, interval = \"1ms\" }";
        let launch = simulation(&broker.url(), &[FIVE, one, &version]);
        let launch = launch.arg("--qos").arg(qos.to_string()).arg("--topic").arg("x/{sensor}/y");
        let mut simulation = launch.start();
        assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
        let topics = by_topic(&broker);
        assert_eq!(topics.len(), 6, "{:?}", topics.keys());
        assert_eq!(numbers(&topics["x/solo/y"]), (1..=7).collect::<Vec<_>>());
        for index in 0..5 {
            let readings = &topics[&format!("x/T_{index:02}/y")];
            assert_eq!(numbers(readings), (1..=40).collect::<Vec<_>>());
            assert!(readings.iter().all(|it| it.qos == qos && !it.dup && !it.retain));
        }
        let first = &topics["x/T_00/y"][0];
        let text = String::from_utf8_lossy(&first.payload).into_owned();
        assert!(text.starts_with("{\"value\":") && text.ends_with("Z\",\"number\":1}"), "{text}");
        assert!(first.json()["value"].is_f64(), "{text}");
        let clients: BTreeSet<_> = topics.values().flatten().map(|it| &it.client).collect();
        assert_eq!(clients.len(), 4, "connections");
        let report = report(&simulation);
        assert_eq!(sums(&report), [207, 207, 0]);
        assert_eq!((&report["qos"], &report["sensors"]["T_04"]["sent"]), (&qos.into(), &40.into()));
        assert!(report["started"].as_str() < report["ended"].as_str(), "{report}");
        assert!(simulation.stdout().contains("207 of 207 readings of 6 sensors"));
        assert_eq!(violations(&broker), [""; 0]);
    }
}

#[test]
fn each_planted_fault_is_in_the_messages_and_in_the_report() {
    let faults = "{ dropout = 0.1, offline = 0.005, offline_readings = 9, stuck = 0.01, spike = 0.05, \
                  duplicate = 0.1, delayed = 0.1, delayed_by = \"1h\", malformed = 0.1 }";
    let sensors = format!(
        "sensors.F.simulated = {{ count = 2, readings = 1000, interval = 0, seed = 7, unit = \"C\", \
         faults = {faults} }}"
    );
    let mut seen = Vec::new();
    for qos in ["1", "0"] {
        let broker = Broker::start();
        let launch = simulation(&broker.url(), &[&sensors]).arg("--qos").arg(qos);
        let mut simulation = launch.start();
        assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
        let (report, mut values) = (report(&simulation), Vec::new());
        let began = report["started"].as_str().unwrap().to_owned();
        for (sensor, counts) in report["sensors"].as_object().unwrap() {
            let planted = |fault: &str| counts["planted"][fault].as_u64().unwrap();
            let published = &by_topic(&broker)[&format!("sensors/{sensor}/reading")];
            let same = |two: &&[Published]| two[0].payload == two[1].payload;
            assert_eq!(published.windows(2).filter(same).count() as u64, planted("duplicate"));
            let spoilt = |it: &&Published| it.payload.starts_with(b"\xff");
            let count = published.iter().filter(spoilt).count();
            assert_eq!(count as u64, planted("malformed"), "{sensor}");
            let read: Vec<_> =
                published.iter().filter(|it| !spoilt(it)).map(|it| it.json()).collect();
            let early = |it: &&serde_json::Value| it["timestamp"].as_str() < Some(&began);
            let early = read.iter().filter(early).count() as u64;
            // One may have come twice.
            assert!(early >= planted("delayed") && planted("delayed") > 30, "{early}: {counts}");
            assert!(read.iter().all(|it| it["unit"] == "C"));
            let absent = planted("dropout") + planted("offline");
            assert!(planted("dropout") > 50 && planted("offline") > 0, "{counts}");
            let sent = counts["sent"].as_u64().unwrap();
            assert_eq!((sent + absent, &counts["acknowledged"]), (1000, &counts["sent"]));
            let numbers: BTreeSet<_> =
                read.iter().map(|it| it["number"].as_u64().unwrap()).collect();
            // Those of the spoilt ones are no text; no other one is missing.
            assert_eq!(numbers.len() as u64 + planted("malformed"), sent);
            assert_eq!(numbers.last().max(Some(&(sent - 20))), numbers.last());
            assert!(planted("stuck") > 0 && planted("spike") > 20, "{counts}");
            values.extend(read.iter().map(|it| it["value"].to_string()));
        }
        let told = simulation.stdout();
        assert!(told.contains("\nplanted: dropout ") && told.contains(", malformed "), "{told}");
        assert_eq!(report["delayed_ms"], 3_600_000);
        assert_eq!(violations(&broker), [""; 0]);
        seen.push(values);
    }
    assert_eq!(seen[0], seen[1], "one seed, the same values");
}

#[test]
fn a_payload_is_what_its_template_says() {
    let broker = Broker::start();
    let payload = r#"{"Time":"{time}","BME280":{"Temperature":{value}},"id":"{sensor}-{number}"}"#;
    let sensors = format!(
        "sensors.T.simulated = {{ readings = 2, interval = 0, model.constant.value = 21.5, \
         payload = '{payload}' }}"
    );
    let launch = simulation(&broker.url(), &[&sensors]).arg("--topic").arg("tele/{sensor}/SENSOR");
    let mut simulation = launch.start();
    assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
    let topics = by_topic(&broker);
    let read = topics["tele/T/SENSOR"].iter().map(Published::json).collect::<Vec<_>>();
    assert_eq!((&read[0]["BME280"]["Temperature"], &read[1]["id"]), (&21.5.into(), &"T-2".into()));
    assert!(read[0]["Time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_file_is_replayed_and_the_simulation_ends_with_it() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded.ndjson");
    std::fs::write(
        &file,
        "{\"at\":1000,\"t\":1.5}\n{\"at\":1001,\"t\":2}\n{\"at\":1003,\"t\":3}\n",
    )
    .unwrap();
    let replay = format!("{{ file = {file:?}, value = \"t\", time = \"at\", speed = 10 }}");
    let sensors = format!("sensors.T.simulated = {{ interval = \"1h\", model.replay = {replay} }}");
    let mut simulation = simulation(&broker.url(), &[&sensors]).start();
    assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
    let read: Vec<_> = by_topic(&broker)["sensors/T/reading"].iter().map(Published::json).collect();
    let values: Vec<_> = read.iter().map(|it| it["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [1.5, 2.0, 3.0]);
    let time = |n: usize| humantime::parse_rfc3339(read[n]["timestamp"].as_str().unwrap()).unwrap();
    let apart = [1, 2].map(|n| time(n).duration_since(time(n - 1)).unwrap().as_millis());
    assert_eq!(apart, [100, 200]);
}

#[test]
fn planted_faults_are_told_from_those_of_the_gateway() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let faults =
        "{ dropout = 0.05, duplicate = 0.05, delayed = 0.05, malformed = 0.05, spike = 0.01 }";
    let sensors = format!(
        "sensors.T.simulated = {{ count = 5, readings = 400, interval = 0, seed = 7, faults = {faults} }}"
    );
    let out = format!("output.broker.url = \"{}\"", mosquitto.url());
    let fleet = crate::scene::fleet(&mosquitto.url(), &[&out]);
    let mut taker = crate::scene::subscribed(&fleet);
    let folder = tempfile::tempdir().unwrap();
    let sent = folder.path().join("sent.json").display().to_string();
    let settings = gateway(&mosquitto.url(), &[&sensors]);
    let verifier = Gateway::command("verify", &settings).arg("--json").arg("--expect").arg(&sent);
    let mut verifier = verifier.start();
    verifier.wait_for_line("listening", SOON);
    let simulation = Gateway::command("simulate", &settings).arg("--report").arg(&sent);
    let mut simulation = simulation.start();
    assert_eq!(simulation.wait_exit(LONG), 0, "{}", simulation.text());
    assert_eq!(verifier.wait_exit(LONG), 0, "{}", verifier.text());
    crate::scene::drained(&mut taker);
    let verdict: serde_json::Value = serde_json::from_str(verifier.stdout().trim()).unwrap();
    let count = |name: &str| verdict[name].as_u64().unwrap();
    let planted = |name: &str| verdict["planted"][name].as_u64().unwrap();
    assert_eq!((&verdict["verdict"], count("duplicated"), count("lost")), (&"clean".into(), 0, 0));
    assert_eq!(count("deadLettered"), planted("malformed"), "{verdict}");
    assert!(planted("duplicate") > 50 && planted("dropout") > 50, "{verdict}");
    assert_eq!(count("records") + count("deadLettered"), count("expected") + planted("duplicate"));
}

#[test]
fn what_a_lost_connection_left_goes_again_first_and_in_order() {
    for version in [3, 5] {
        let broker = Broker::start();
        broker.hold_acks("");
        let version = format!("broker.version = {version}");
        let launch = simulation(&broker.url(), &[FIVE, &version]).arg("--window").arg("16");
        let mut simulation = launch.arg("--connections").arg("2").start();
        let full = |log: &crate::support::broker::Log| log.published.len() == 32;
        broker.wait_until("both windows are full", SOON, full);
        // Some are acknowledged, and then all is cut.
        broker.release_some_acks("", 10);
        broker.wait_until("what fits again", SOON, |log| log.published.len() == 42);
        broker.drop_connections("");
        broker.wait_until("everything again", SOON, |log| log.published.len() >= 42 + 32);
        for at in [13, 40] {
            broker.drop_after("", Kind::Publish, at);
            broker.resume_acks("");
        }
        assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
        let topics = by_topic(&broker);
        assert_eq!(topics.len(), 5);
        for published in topics.values() {
            assert_in_order(published, 40);
        }
        let [sent, acknowledged, again] = sums(&report(&simulation));
        assert_eq!((sent, acknowledged), (200, 200));
        let repeats = topics.values().flatten().filter(|it| it.dup).count() as u64;
        assert!(again >= 32 && repeats >= 32 && repeats <= again, "{repeats} of {again}");
        assert_eq!(violations(&broker), [""; 0]);
    }
}

#[test]
fn a_link_that_is_cut_all_the_time_loses_nothing() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = crate::support::client::Collector::at(mosquitto.port()).start();
    let proxy = Proxy::to(mosquitto.port());
    let sensors = "sensors.T.simulated = { count = 20, readings = 1500, interval = 0 }";
    let (url, out) = (proxy.url(), format!("output.broker.url = \"{}\"", mosquitto.url()));
    let fleet = crate::scene::fleet(&mosquitto.url(), &[&out]);
    let mut taker = crate::scene::subscribed(&fleet);
    let verify = gateway(&mosquitto.url(), &[sensors]);
    let mut verifier = Gateway::command("verify", &verify).arg("--number").arg("number");
    verifier = verifier.arg("--json");
    let mut verifier = verifier.start();
    verifier.wait_for_line("listening", SOON);
    proxy.cut_every(Duration::from_millis(50)..Duration::from_millis(150), seed());
    let launch = simulation(&url, &[sensors]).arg("--rate").arg("20000").arg("--window").arg("50");
    let mut simulation = launch.start();
    assert_eq!(simulation.wait_exit(LONG), 0, "{}", simulation.text());
    let [sent, acknowledged, again] = sums(&report(&simulation));
    assert_eq!((sent, acknowledged), (30_000, 30_000));
    assert!(again > 0 && proxy.traffic().cuts > 5, "{again} again, {:?}", proxy.traffic());
    crate::scene::drained(&mut taker);
    let came = |all: &crate::support::client::Audit| all.sizes.iter().sum::<usize>();
    collector.wait_until("all", SOON, |all| came(&all.audit) as u64 >= 30_000);
    verifier.signal("INT");
    // A publisher that is cut repeats: those are duplicates for the consumer, and nothing is lost.
    verifier.wait_exit(SOON);
    let verdict: serde_json::Value = serde_json::from_str(verifier.stdout().trim()).unwrap();
    assert_eq!((&verdict["lost"], &verdict["reordered"]), (&0.into(), &0.into()), "{verdict}");
    let duplicated = verdict["duplicated"].as_u64().unwrap();
    assert!(duplicated <= again, "{verdict}");
    assert_eq!(verdict["records"], 30_000 + duplicated);
}

#[test]
fn a_receive_maximum_goes_before_the_window() {
    let broker = Broker::start();
    broker.announce(Limits { receive_maximum: Some(3), ..Limits::default() });
    broker.hold_acks("");
    let launch = simulation(&broker.url(), &[FIVE]).arg("--connections").arg("1");
    let mut simulation = launch.start();
    broker.wait_until("three", SOON, |log| log.held_acks("") == 3);
    broker.release_acks("", Order::Reversed);
    broker.wait_until("three more", SOON, |log| log.published.len() == 6);
    assert_eq!(broker.look(|log| log.held_acks("")), 3);
    broker.resume_acks("");
    assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
    assert_eq!(violations(&broker), [""; 0]);
}

#[test]
fn a_refused_reading_counts_as_refused_and_the_exit_code_says_so() {
    let broker = Broker::start();
    broker.answer_publishes("sensors/T_02/reading", 0x87, 3);
    let mut simulation = simulation(&broker.url(), &[FIVE]).start();
    assert_eq!(simulation.wait_exit(SOON), 75, "{}", simulation.text());
    let report = report(&simulation);
    assert_eq!(sums(&report), [200, 197, 0]);
    let refused = serde_json::json!({"sent": 40, "acknowledged": 37, "again": 0, "refused": 3});
    assert_eq!(report["sensors"]["T_02"], refused);
    assert!(simulation.said("the broker refuses a message") && simulation.said("not authorized"));
    assert!(simulation.stdout().contains("T_02"));
}

#[test]
fn a_stop_waits_for_acknowledgements_for_a_bounded_time() {
    let broker = Broker::start();
    let endless = "sensors.T.simulated = { count = 3, interval = \"1ms\" }";
    let mut stopped = simulation(&broker.url(), &[endless]).start();
    broker.wait_until("some", SOON, |log| log.published.len() > 30);
    stopped.signal("TERM");
    assert_eq!(stopped.wait_exit(SOON), 0, "all was acknowledged: {}", stopped.text());
    let [sent, acknowledged, _] = sums(&report(&stopped));
    assert!(sent == acknowledged && sent > 30);
    // Without acknowledgements: until the grace is over, or a second signal comes.
    broker.hold_acks("");
    let grace = |grace: &str| format!("gateway.shutdown_grace = \"{grace}\"");
    for (grace, second) in [(grace("300ms"), false), (grace("1h"), true)] {
        let before = broker.look(|log| log.published.len());
        let mut held = simulation(&broker.url(), &[endless, &grace]).start();
        broker.wait_until("some", SOON, |log| log.published.len() > before + 30);
        let open = report(&held);
        assert!(open["ended"].is_null() && open["started"].is_string(), "{open}");
        held.signal("INT");
        if second {
            held.wait_for_line("sending ends", SOON);
            held.signal("INT");
        }
        assert_eq!(held.wait_exit(SOON), 75, "{}", held.text());
        let [sent, acknowledged, _] = sums(&report(&held));
        assert!(sent > 30 && acknowledged == 0);
    }
}

#[test]
fn a_rate_is_kept_and_seconds_end_it() {
    let broker = Broker::start();
    let sensors = "sensors.T.simulated = { count = 7, interval = \"1h\" }";
    let launch = simulation(&broker.url(), &[sensors]).arg("--rate").arg("1000");
    let began = now();
    let mut simulation = launch.arg("--seconds").arg("2").start();
    assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
    assert!(now() - began >= Duration::from_secs(2));
    let [sent, acknowledged, _] = sums(&report(&simulation));
    assert!(sent == acknowledged && (1700..=2001).contains(&sent), "{sent}");
    // The sensors take turns.
    let counts: Vec<_> = by_topic(&broker).values().map(Vec::len).collect();
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 4, "{counts:?}");
}

#[test]
fn readings_replace_what_the_entry_says() {
    let broker = Broker::start();
    let mut simulation = simulation(&broker.url(), &[FIVE]).arg("--readings").arg("3").start();
    assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
    assert_eq!(sums(&report(&simulation)), [15, 15, 0]);
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let broker = Broker::start();
    let url = broker.url();
    let subscription = "sensors.x.mqtt.topic = \"a\"";
    let refused = |launch: Launch, word: &str| {
        let mut simulation = launch.start();
        assert_eq!(simulation.wait_exit(SOON), 64, "{}", simulation.text());
        assert!(simulation.said(word), "{word:?} is not in {}", simulation.text());
    };
    refused(simulation(&url, &[subscription]), "no simulated sensor");
    refused(simulation(&url, &[FIVE]).arg("--topic").arg("a/b"), "has no {sensor}");
    refused(simulation(&url, &[FIVE]).arg("--topic").arg("{sensor}/+"), "wildcard");
    let nowhere = Gateway::command("simulate", &gateway(&url, &[FIVE]));
    refused(nowhere.arg("--report").arg("no/report.json"), "choose another place with --report");
    if cfg!(feature = "embedded-broker") {
        refused(simulation("embedded", &[FIVE]), "name a broker");
    }
    for bad in [["--connections", "257"], ["--window", "0"], ["--rate", "lots"], ["--qos", "2"]] {
        refused(bad.iter().fold(simulation(&url, &[FIVE]), Launch::arg), bad[0]);
    }
    assert_eq!(broker.look(|log| log.clients.len()), 0, "nobody has connected");
    broker.refuse_connects("", ConnectReturnCode::NotAuthorized);
    refused(simulation(&url, &[FIVE]), "not authorized");
    broker.accept_connects("");
    broker.announce(Limits { maximum_qos: Some(0), ..Limits::default() });
    refused(simulation(&url, &[FIVE]), "set --qos");
}

#[test]
fn qos_0_that_was_not_written_is_not_called_acknowledged() {
    let broker = Broker::start();
    let proxy = Proxy::to(broker.port());
    let endless = "sensors.T.simulated = { count = 2, interval = 0 }";
    let launch = simulation(&proxy.url(), &[endless]).arg("--qos").arg("0");
    let mut simulation = launch.arg("--connections").arg("1").start();
    broker.wait_until("some", SOON, |log| log.published.len() > 100);
    proxy.stall(Way::ToBroker);
    // The kernel's buffers fill up; what is behind them is not written.
    let stuck = || {
        let before = proxy.bytes(Way::ToBroker);
        crate::support::pause(Duration::from_millis(300));
        before == proxy.bytes(Way::ToBroker)
    };
    crate::support::eventually("nothing is taken any more", SOON, stuck);
    simulation.signal("TERM");
    simulation.wait_for_line("sending ends", SOON);
    simulation.signal("TERM");
    assert_eq!(simulation.wait_exit(SOON), 75, "{}", simulation.text());
    let [sent, acknowledged, _] = sums(&report(&simulation));
    assert!(acknowledged < sent && acknowledged > 100, "{acknowledged} of {sent}");
}
