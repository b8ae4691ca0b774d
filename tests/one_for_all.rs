//! A broker that makes the client id of the user name: our own clients would be one to it, and the output's
//! clean start would remove what waits in the intake's session.

use crate::scene::{LONG, drained, fault, fleet};
use crate::support::SOON;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, NO_DROP};

const PASSWORD: &str = "right";
const SENSORS: usize = 4;
const READINGS: u64 = 250;

/// The gateway's file names its password.
fn launch(config: &str) -> Launch {
    Gateway::with_config(config).file("password", PASSWORD)
}

fn one_for_all() -> Mosquitto {
    let config = format!("{NO_DROP}use_username_as_clientid true\n");
    let users = ["gateway", "output", "load", "reader"];
    users.iter().fold(Mosquitto::with(&config), |it, user| it.user(user, PASSWORD)).start()
}

/// With one user for all clients: lines that say so, and those that mend it.
fn lines(broker: &Mosquitto, version: u8) -> [Vec<String>; 2] {
    let of = |section: &str, user: &str| {
        [
            format!("{section}.username = \"{user}\""),
            format!("{section}.password_file = \"password\""),
            format!("{section}.version = {version}"),
        ]
    };
    let shared = of("broker", "gateway").to_vec();
    let url = format!("output.broker.url = \"{}\"", broker.url());
    let mended = [&shared[..], &[url], &of("output.broker", "output")].concat();
    [shared, mended]
}

fn survives(version: u8) {
    let broker = one_for_all();
    let [shared, mended] = lines(&broker, version)
        .map(|lines| fleet(&broker.url(), &lines.iter().map(String::as_str).collect::<Vec<_>>()));
    let collector = Collector::at(broker.port()).login("reader", PASSWORD).start();
    let mut gateway = launch(&mended).start();
    gateway.wait_for_line("subscribed", SOON);
    assert!(!gateway.said("connection lost"), "{}", gateway.text());
    let load = Publisher::to(broker.port()).login("load", PASSWORD);
    let load = load.sensors(SENSORS).readings(READINGS).rate(500.0).start();
    load.wait_acknowledged(100, SOON);
    drained(&mut gateway);
    let before = load.acknowledged();
    load.wait_acknowledged(before + 100, SOON);

    let mut wrong = launch(&shared).start();
    assert_eq!(wrong.wait_exit(SOON), 64, "{}", wrong.text());
    for words in ["use_username_as_clientid", "\"gateway\"", "[output.broker]", &broker.url()] {
        assert!(wrong.said(words), "{words}: {}", wrong.text());
    }
    assert!(!wrong.said("subscribed"), "{}", wrong.text());

    let mut gateway = launch(&mended).start();
    gateway.wait_for_line("subscribed", SOON);
    assert_eq!(load.join(LONG).total(), SENSORS as u64 * READINGS);
    let all = SENSORS as u64 * READINGS;
    let came = collector.within(LONG, |it| it.audit.distinct() >= all);
    assert!(came, "{}{}", gateway.text(), collector.audit().faults(READINGS));
    let name = format!("one client id for all of a user, MQTT {version}");
    fault(&name, 0, &mut gateway, || collector.audit().judge_load(SENSORS, READINGS));
}

#[test]
fn clients_that_are_one_to_the_broker_end_the_gateway_before_anything_is_lost() {
    survives(5);
}

#[test]
fn the_same_where_the_broker_has_no_word_for_it() {
    survives(3);
}

#[test]
fn a_broker_that_is_switched_to_one_id_while_we_run_ends_the_gateway_too() {
    let users = ["gateway", "load"];
    let setup = users.iter().fold(Mosquitto::with(NO_DROP), |it, user| it.user(user, PASSWORD));
    let mut broker = setup.start();
    let [shared, _] = lines(&broker, 5);
    let config = fleet(&broker.url(), &shared.iter().map(String::as_str).collect::<Vec<_>>());
    let mut gateway = launch(&config).start();
    gateway.wait_for_line("subscribed", SOON);
    assert_eq!(broker.log().matches("as gw-beside-").count(), 2, "{}", broker.log());
    broker.stop();
    gateway.wait_for_line("cannot connect", SOON);
    broker.add_config("use_username_as_clientid true\n");
    broker.restart();
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    assert!(gateway.said("use_username_as_clientid"), "{}", gateway.text());
}

#[test]
fn client_ids_begin_as_the_broker_wants_them() {
    let broker = Mosquitto::with(NO_DROP).start();
    let config = fleet(&broker.url(), &["broker.client_id = \"plant-7\""]);
    let mut gateway = Gateway::start(&config);
    gateway.wait_for_line("subscribed", SOON);
    let collector = Collector::start(broker.port());
    Publisher::to(broker.port()).sensors(1).readings(5).run(SOON);
    collector.wait_readings(5, SOON);
    drained(&mut gateway);
    for client in ["plant-7-in-fleet", "plant-7-out", "plant-7-watch"] {
        assert!(broker.log().contains(&format!("as {client}")), "{client}: {}", broker.log());
    }
    assert!(!broker.log().contains("as gw-"), "{}", broker.log());
    let batch = collector.batches()[0].json();
    assert_eq!(batch["gateway"], "gw");
    assert!(batch["batch"].as_str().unwrap().starts_with("gw-"), "{batch}");
    let mut check = Gateway::command("check", &config).start();
    assert_eq!(check.wait_exit(SOON), 0);
    assert!(check.said("plant-7-in-fleet subscribes to"), "{}", check.text());
    let wrong = config.replace("plant-7", "plant 7");
    let mut check = Gateway::command("check", &wrong).start();
    assert_eq!(check.wait_exit(SOON), 64);
    assert!(check.said("broker.client_id"), "{}", check.text());
}
