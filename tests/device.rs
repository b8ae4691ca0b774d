//! A device at the broker of docker-compose.yml, with its password and bad intentions. The broker here has
//! the shipped ACL; `tests/compose` tries the same on the whole stack.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::scene::{drained, fleet};
use crate::support::SOON;
use crate::support::client::{Collector, Options, Publisher, Session};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};

const GATEWAY: &str = "p-gateway";
const DEVICE: &str = "p-device";
const READER: &str = "p-reader";

/// What begins the gateway's client ids; nobody else knows it.
const SECRET_ID: &str = "vT3xk0yq7Zxw1M2n";

fn broker() -> Mosquitto {
    let acl = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mosquitto.compose.acl");
    let setup = Mosquitto::with(NO_DROP).acl(&fs::read_to_string(acl).unwrap());
    setup.user("gateway", GATEWAY).user("sensors", DEVICE).user("reader", READER).start()
}

fn started(mosquitto: &Mosquitto) -> Gateway {
    let more = [
        "broker.username = \"gateway\"",
        "broker.password_file = \"password\"",
        "broker.client_id_file = \"client_id\"",
    ];
    let launch = Gateway::with_config(&fleet(&mosquitto.url(), &more));
    let launch = launch.file("client_id", &format!("{SECRET_ID}\n"));
    let gateway = launch.file("password", GATEWAY).start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

#[test]
fn a_device_takes_no_session_forges_nothing_and_reads_nothing() {
    let mosquitto = broker();
    let mut gateway = started(&mosquitto);
    let collector = Collector::at(mosquitto.port()).login("reader", READER).start();
    let device = || Publisher::to(mosquitto.port()).login("sensors", DEVICE).sensors(1).readings(1);
    // By the ids that an envelope's gateway would give away; connected for as long as the test lasts.
    let mut thieves: Vec<Session> = Vec::new();
    for id in ["gw-in-fleet", "gw-out", "gw-watch"] {
        let options = Options::new(mosquitto.port(), id).persistent().login("sensors", DEVICE);
        let mut thief = Session::open(&options).unwrap();
        thief.subscribe(&["#", "gateway/#", "sensors/#", "$SYS/#"]).unwrap();
        thieves.push(thief);
    }
    for topic in ["gateway/batches", "gateway/dead-letters", "$SYS/x", "sluicegate-doctor/x"] {
        let forged = device().topic(move |_, _| topic.to_owned()).name("forger").run(SOON);
        assert_eq!(forged.refused, 1, "{topic}");
    }
    device().sensors(10).readings(100).run(SOON);
    collector.wait_readings(1000, SOON);
    let batches = collector.batches();
    let texts: Vec<_> = batches.iter().map(|it| String::from_utf8_lossy(&it.payload)).collect();
    assert!(texts.iter().all(|it| it.contains("\"records\":")), "nothing forged");
    assert!(!texts.iter().any(|it| it.contains(SECRET_ID)), "no envelope shows the id");
    assert_eq!(collector.dead_letters().len(), 0);
    for mut thief in thieves {
        let stolen = thief.next_publish(Duration::from_millis(200)).unwrap();
        assert!(stolen.is_none(), "{stolen:?}");
    }
    assert!(!gateway.text().contains("epoch=2"), "it was never cut off: {}", gateway.text());
    assert_eq!(drained(&mut gateway).delivered, 1000);
}

/// That the test above would see it: without a secret id the session goes to whoever knows it.
#[test]
fn a_client_id_that_is_known_is_a_session_that_is_taken() {
    let mosquitto = broker();
    let more = ["broker.username = \"gateway\"", "broker.password_file = \"password\""];
    let launch = Gateway::with_config(&fleet(&mosquitto.url(), &more)).file("password", GATEWAY);
    let gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let options = Options::new(mosquitto.port(), "gw-in-fleet").login("sensors", DEVICE);
    drop(Session::open(&options).unwrap());
    gateway.wait_for_line("the broker has lost our session", SOON);
}
