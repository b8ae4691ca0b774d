//! Topics that readings make: each sensor's readings arrive on their topic, once and in order, whatever happens.

use serde_json::{Value, json};

use crate::scene::{LONG, drained, fleet, message, output, subscribed};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::{Collection, Collector, Publisher, sensor_id};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP, STOCK};
use crate::support::proxy::{Proxy, Way};

const TOPICS: [&str; 3] = [
    "sensors.fleet.mqtt.tags = { site = \"north/1\" }",
    "output.topic = \"plants/{tag.site}/{sensor}\"",
    "output.dead_letter_topic = \"dead/{entry}\"",
];

#[test]
fn a_consumer_subscribes_to_one_plant_and_verify_to_all() {
    let broker = Mosquitto::start(STOCK);
    let config = fleet(&broker.url(), &TOPICS);
    let mut verification =
        Gateway::command("verify", &config).arg("--json").arg("--number").arg("n").start();
    verification.wait_for_line("listening", SOON);
    let collector = Collector::at(broker.port())
        .output("plants/north%2F1/+")
        .dead_letters("dead/fleet")
        .start();
    let mut gateway = subscribed(&config);
    assert!(gateway.said("-t plants/+/+"), "{}", gateway.text());
    Publisher::to(broker.port()).sensors(3).readings(50).run(LONG);
    let rubbish = Publisher::to(broker.port()).sensors(1).readings(1).name("rubbish");
    rubbish.payload(|_, _| b"{".to_vec()).run(LONG);
    collector.wait_readings(150, LONG);
    collector.wait_until("a dead letter", SOON, |all| all.dead_letters.len() == 1);
    let balance = drained(&mut gateway);
    assert_eq!((balance.delivered, balance.dead_lettered), (150, 1));
    collector.audit().assert_exactly(3, 50);
    for batch in collector.batches() {
        let records = &batch.json()["records"];
        let topic = |it: &Value| format!("plants/north%2F1/{}", it["sensorId"].as_str().unwrap());
        assert!(records.as_array().unwrap().iter().all(|it| topic(it) == batch.topic), "{batch:?}");
    }
    verification.signal("TERM");
    assert_eq!(verification.wait_exit(LONG), 0, "{}", verification.text());
    let verdict: Value = serde_json::from_str(verification.stdout().trim()).unwrap();
    let told = ["records", "sensors", "lost", "reordered"].map(|name| verdict[name].clone());
    assert_eq!(told, [json!(150), json!(3), json!(0), json!(0)]);
    assert_eq!(verdict["deadLetters"], json!({"malformed": 1}));
}

/// More sensors than batches may be open, and an output whose answers are lost half of the time.
#[test]
fn kills_lose_and_misplace_nothing_where_each_sensor_has_a_topic() {
    let (input, sink) = (Mosquitto::start(NO_DROP), Mosquitto::start(NO_DROP));
    let (proxy, disk) = (Proxy::to(sink.port()), tempfile::tempdir().unwrap());
    let collector =
        Collector::at(sink.port()).output("plants/+/+").dead_letters("dead/fleet").start();
    let own = [
        output(&proxy.url()),
        format!("spool.path = \"{}\"", disk.path().display()),
        "spool.after = \"200ms\"".to_owned(),
        "broker.window_messages = 500".to_owned(),
    ];
    let own = own.iter().map(String::as_str);
    let config = fleet(&input.url(), &own.chain(TOPICS).collect::<Vec<_>>());
    let mut gateway = subscribed(&config);
    let load = Publisher::to(input.port()).sensors(20).readings(200).rate(2000.0).start();
    for kill in 1..=3 {
        load.wait_acknowledged(kill * 1000, LONG);
        if kill % 2 == 1 {
            proxy.stall(Way::ToClient);
            gateway.wait_for_line("batches go to the spool", SOON);
        }
        gateway.signal("KILL");
        gateway.wait_exit(SOON);
        proxy.resume(Way::ToClient);
        gateway = subscribed(&config);
    }
    assert_eq!(load.join(LONG).total(), 4000);
    collector.wait_readings(4000, LONG);
    drained(&mut gateway);
    let verdict = collector.audit().judge_load(20, 200);
    let faults = collector.audit().faults(200);
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0), "{faults}");
    for batch in collector.batches() {
        let sensor = batch.topic.strip_prefix("plants/north%2F1/").expect("a topic that was made");
        let records = batch.json()["records"].clone();
        let is_its = |it: &Value| it["sensorId"] == sensor;
        assert!(records.as_array().unwrap().iter().all(is_its), "{}", batch.topic);
    }
}

#[test]
fn a_spool_for_topics_that_the_settings_do_not_make_is_kept_until_they_do() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
    let config = |topic: &str| {
        let own = [
            output(&sink.url()),
            format!("output.topic = \"{topic}\""),
            format!("spool.path = \"{}\"", disk.path().display()),
            "spool.after = \"200ms\"".to_owned(),
        ];
        fleet(&input.url(), &own.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut gateway = subscribed(&config("made/{sensor}"));
    sink.go_away();
    input.publish_all([message("sensors/a/reading", "1", 1)]);
    input.wait_until("it is acknowledged", LONG, |log| log.acks("gw-in-fleet") == 1);
    gateway.signal("TERM");
    gateway.wait_balance(SOON);
    sink.come_back();
    let mut gateway = subscribed(&config("others/{sensor}"));
    gateway.wait_for_line("have no route \"output:made/a\"", SOON);
    gateway.signal("TERM");
    let (_, balance) = gateway.wait_balance(SOON);
    assert_eq!((balance.delivered, balance.spooled), (0, 1), "{}", gateway.text());
    let mut gateway = subscribed(&config("made/{sensor}"));
    sink.wait_until("the batch", SOON, |log| log.count("made/a") == 1);
    drained(&mut gateway);
}

#[test]
fn the_last_batch_of_each_topic_is_retained_if_asked_for_and_may_expire() {
    let broker = Mosquitto::start(STOCK);
    let more =
        ["output.retain = true", "output.expiry = \"1h\"", "output.topic = \"last/{sensor}\""];
    let mut gateway = subscribed(&fleet(&broker.url(), &more));
    Publisher::to(broker.port()).sensors(2).readings(30).run(LONG);
    let letter = Publisher::to(broker.port()).sensors(1).readings(1).name("rubbish");
    letter.payload(|_, _| b"{".to_vec()).run(LONG);
    drained(&mut gateway);
    let collector = Collector::at(broker.port()).output("last/+").start();
    let last = |all: &Collection| {
        all.batches.iter().map(|it| (it.topic.clone(), it.retain)).collect::<Vec<_>>()
    };
    collector.wait_until("a batch of each", SOON, |all| all.batches.len() == 2);
    let mut came = collector.look(last);
    came.sort();
    assert_eq!(came, [0, 1].map(|it| (format!("last/{}", sensor_id(it)), true)));
    for batch in collector.batches() {
        let numbers = batch.json()["records"].as_array().unwrap().len();
        assert!((1..=30).contains(&numbers));
        let left = batch.properties.as_ref().unwrap().message_expiry_interval.unwrap();
        assert!((3000..=3600).contains(&left), "{left}");
    }
    assert_eq!(collector.dead_letters().len(), 0, "none is retained");
}

#[test]
fn a_broker_without_retained_messages_is_a_refusal_with_a_remedy() {
    let broker = Mosquitto::start("retain_available false");
    let more = ["output.retain = true", "gateway.start_grace = \"0s\""];
    let mut gateway = Gateway::start(&fleet(&broker.url(), &more));
    assert_eq!(gateway.wait_exit(SOON), 77, "{}", gateway.text());
    assert!(
        gateway.said("keeps no retained messages: set output.retain = false"),
        "{}",
        gateway.text()
    );
}
