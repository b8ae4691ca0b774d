//! Another client has our client id, and with it our session: one of both ends, and says what to do.

use crate::scene::{audit, drained, fleet, output, readings, subscribed};
use crate::support::broker::Broker;
use crate::support::client::{Options, Publisher, Session};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::wire::DisconnectReasonCode;
use crate::support::{SOON, eventually};

#[test]
fn the_older_of_two_gateways_with_one_id_yields_and_says_what_to_do() {
    let (input, sink) = (Mosquitto::start(NO_DROP), Broker::start());
    sink.hold_acks("");
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let mut older = subscribed(&config);
    Publisher::to(input.port()).sensors(5).readings(20).run(SOON);
    eventually("all is held", SOON, || audit(&sink).distinct() == 100);
    let mut newer = Gateway::start(&config);
    assert_eq!(older.wait_exit(SOON), 64, "{}", older.text());
    let told = |id| older.said(&format!("as \"{id}\" too"));
    assert!(told("gw-in-fleet") || told("gw-out"), "{}", older.text());
    assert!(older.said("give each gateway its own gateway.id"), "{}", older.text());
    sink.resume_acks("");
    let later = Publisher::to(input.port()).sensors(5).readings(20).name("later");
    later.payload(|_, n| format!(r#"{{"value":{n},"n":{}}}"#, n + 20).into_bytes()).run(SOON);
    eventually("the newer one has all", SOON, || audit(&sink).distinct() == 200);
    assert_eq!(drained(&mut newer).delivered, 200, "also what the older one held");
    assert_eq!(newer.count("connection lost"), 0, "{}", newer.text());
}

#[test]
fn an_output_client_that_is_taken_over_ends_the_gateway() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    sink.wait_until("the output stands", SOON, |log| log.connected("gw-out"));
    sink.disconnect("gw-out", DisconnectReasonCode::SessionTakenOver);
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    for words in ["output: ", "as \"gw-out\" too", "gateway.id", &sink.url()] {
        assert!(gateway.said(words), "{words}: {}", gateway.text());
    }
}

#[test]
fn a_takeover_is_heard_also_by_a_gateway_that_has_stopped_reading() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let output = output(&sink.url());
    let full = [
        output.as_str(),
        "queue.records_max = 100",
        "batch.records_max = 50",
        "queue.on_full = \"wait\"",
        "broker.keep_alive = \"2s\"",
        "gateway.shutdown_grace = \"300ms\"",
    ];
    let mut gateway = subscribed(&fleet(&input.url(), &full));
    input.publish_all(readings(5, 1..=40, 0));
    eventually("the queue is full", SOON, || audit(&sink).distinct() == 100);
    input.disconnect("gw-in", DisconnectReasonCode::SessionTakenOver);
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    assert!(gateway.said("as \"gw-in-fleet\" too"), "{}", gateway.text());
    assert_eq!(input.look(|log| log.connects("gw-in")), 1);
}

/// 3.1.1 has no word for it, so it is only suspected.
#[test]
fn two_gateways_with_one_id_suspect_each_other_with_mqtt_3() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let config = fleet(&mosquitto.url(), &["broker.version = 3"]);
    let mut two = [subscribed(&config), Gateway::start(&config)];
    eventually("a suspicion", SOON * 2, || {
        two.iter().any(|it| it.said("another client has our client id"))
    });
    assert!(two.iter_mut().all(Gateway::runs), "nobody ends on a guess");
    let [mut one, other] = two;
    drop(other);
    Publisher::to(mosquitto.port()).sensors(5).readings(20).run(SOON);
    drained(&mut one);
}

/// What another client has acknowledged in our session, in so many rounds. The broker says nothing of
/// that, with MQTT 3.1.1.
fn robbed(more: &str, rounds: u64) -> (Gateway, [Broker; 2]) {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let own = [&output(&sink.url()), "broker.version = 3", more];
    let gateway = subscribed(&fleet(&input.url(), &own));
    // It delivers what it holds before it ends.
    let yields = || gateway.said("draining");
    input.publish_all(readings(5, 1..=4, 1));
    eventually("all is held", SOON, || audit(&sink).distinct() == 20);
    let other = Options::new(input.port(), "gw-in-fleet").v3().persistent();
    for round in 1..=rounds {
        let before = input.look(|log| log.connects("gw-in"));
        let mut session = Session::open(&other).unwrap();
        // Until the gateway has its session back.
        while let Ok(Some(publish)) = session.next_publish(SOON) {
            if session.ack(publish.pkid).is_err() {
                break;
            }
        }
        eventually("it is back, or yields", SOON, || {
            input.look(|log| log.connects("gw-in")) >= before + 2 || yields()
        });
        let n = 4 * round + 1;
        input.publish_all(readings(5, n..=n + 3, 1));
        let seen = || audit(&sink).distinct() == 20 * (round + 1);
        eventually("it has seen what is new, or yields", SOON, || seen() || yields());
        if yields() {
            break;
        }
    }
    (gateway, [input, sink])
}

#[test]
fn a_gateway_whose_messages_somebody_else_acknowledges_twice_ends() {
    let (mut gateway, [_input, sink]) = robbed("", 5);
    sink.resume_acks("");
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    assert!(gateway.said("missing from our session"), "{}", gateway.text());
    assert!(gateway.said("give each gateway its own gateway.id"), "{}", gateway.text());
}

/// The broker may give what one member holds to another.
#[test]
fn what_is_gone_from_a_groups_session_is_no_reason_to_end() {
    let (mut gateway, [_input, sink]) = robbed("sensors.fleet.mqtt.group = \"g\"", 4);
    assert!(gateway.runs() && !gateway.said("missing from our session"), "{}", gateway.text());
    sink.resume_acks("");
    let balance = drained(&mut gateway);
    assert_eq!(balance.received, balance.delivered);
}
