//! A broker that refuses us at first: its users and permissions may load later than it starts.

use crate::scene::{BATCHES, audit, drained, fault, fleet, output, readings, wait_readings};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::wire::ConnectReturnCode as Code;

/// Refused at each step that there is, one after the other, and in the end not any more.
#[test]
fn what_is_refused_at_first_and_granted_later_works_in_the_end() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.refuse_connects("gw-in", Code::NotAuthorized);
    input.refuse_subscribes("sensors", 0x87);
    sink.refuse_connects("gw-out", Code::BadUserNamePassword);
    sink.answer_publishes(BATCHES, 0x87, usize::MAX);
    let mut gateway = Gateway::start(&fleet(&input.url(), &[&output(&sink.url())]));
    input.wait_until("two attempts", SOON, |log| log.refused("gw-in") >= 2);
    let line = gateway.wait_for_line("cannot connect", SOON);
    assert!(line.contains("ERROR") && line.contains("ends_in"), "{line}");
    input.accept_connects("gw-in");
    input.wait_until("two subscriptions", SOON, |log| log.subscribes("gw-in") >= 2);
    sink.wait_until("two attempts", SOON, |log| log.refused("gw-out") >= 2);
    sink.accept_connects("gw-out");
    input.accept_subscribes("sensors");
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(5, 1..=40, 1));
    gateway.wait_for_line("the output refused a batch", SOON);
    assert_eq!(input.look(|log| log.acks("gw-in")), 0, "{}", gateway.text());
    sink.answer_normally();
    wait_readings(&sink, 200, SOON);
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 200);
    let name = "brokers refuse everything at first";
    fault(name, 200, &mut gateway, || audit(&sink).judge_load(5, 40));
}

#[test]
fn a_refusal_that_lasts_ends_with_a_code_that_is_worth_a_restart() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.refuse_connects("gw-in", Code::NotAuthorized);
    let grace = "gateway.start_grace = \"1s\"";
    let mut gateway = Gateway::start(&fleet(&input.url(), &[grace, &output(&sink.url())]));
    assert_eq!(gateway.wait_exit(SOON), 77, "{}", gateway.text());
    assert!(input.look(|log| log.refused("gw-in")) > 2, "{}", gateway.text());
    assert_eq!(gateway.count("cannot connect"), 1, "{}", gateway.text());
}

#[test]
fn another_server_may_be_wanted_for_a_while_only() {
    let (input, sink) = (Broker::start(), Broker::start());
    for code in [Code::UseAnotherServer, Code::ServerMoved] {
        let before = input.look(|log| log.refused("gw-in"));
        input.refuse_connects("gw-in", code);
        let none = "gateway.start_grace = \"0s\"";
        let mut gateway = Gateway::start(&fleet(&input.url(), &[none, &output(&sink.url())]));
        input.wait_until("two attempts", SOON, |log| log.refused("gw-in") >= before + 2);
        input.accept_connects("gw-in");
        gateway.wait_for_line("subscribed", SOON);
        drained(&mut gateway);
    }
}

#[test]
fn a_user_whom_mosquitto_learns_of_later_gets_in() {
    let mosquitto = Mosquitto::with(NO_DROP).user("load", "right").start();
    let more = ["broker.username = \"gateway\"", "broker.password_file = \"password\""];
    let launch = Gateway::with_config(&fleet(&mosquitto.url(), &more)).file("password", "right");
    let mut gateway = launch.start();
    let line = gateway.wait_for_line("refused the connection", SOON);
    assert!(line.contains("ERROR") && line.contains("password_file"), "{line}");
    mosquitto.add_user("gateway", "right");
    gateway.wait_for_line("subscribed", SOON);
    let collector = Collector::at(mosquitto.port()).login("load", "right").start();
    Publisher::to(mosquitto.port()).login("load", "right").sensors(5).readings(20).run(SOON);
    collector.wait_readings(100, SOON);
    let balance = drained(&mut gateway);
    assert_eq!(balance.delivered, 100, "{}", gateway.text());
}
