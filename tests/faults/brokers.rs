//! What happens to the brokers: stopped, killed, away together, without rights, forgetful.

use crate::faults::{OPEN, Stage, Trial, WINDOW, begun};
use crate::scene::{fault, fleet, output};
use crate::support::client::{Collection, Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy, Way};
use crate::support::{SOON, eventually};

/// Stops the output broker, and lets the gateway not come to it. Returns how often the collector had connected.
fn stop_sink(stage: &mut Stage) -> usize {
    let subscribed = stage.collector.look(|all| all.connections);
    stage.sink.stop();
    stage.to_sink.refuse();
    subscribed
}

/// Starts the output broker again. The gateway comes to it after the collector: what Mosquitto 2.0.11 acknowledges
/// after its start, before a subscriber with a persistent session is back, it loses.
fn restart_sink(stage: &mut Stage, subscribed: usize) {
    stage.sink.restart();
    let again = |all: &Collection| all.connections > subscribed;
    stage.collector.wait_until("the collector is back", SOON, again);
    stage.to_sink.accept();
}

#[test]
fn kill_output() {
    Trial::new("output broker killed, nothing acknowledged", 1500, 0).run(|stage| {
        // What the broker acknowledges and forgets is not ours to keep: it acknowledges nothing.
        stage.to_sink.stall(Way::ToClient);
        stage.wait(300..800);
        let subscribed = stage.collector.look(|all| all.connections);
        stage.to_sink.refuse();
        stage.sink.crash();
        stage.to_sink.cut(Cut::Reset);
        stage.wait(500..1500);
        restart_sink(stage, subscribed);
        stage.to_sink.resume(Way::ToClient);
    });
}

#[test]
fn stop_output() {
    Trial::new("output broker stopped twice", 1500, 0).run(|stage| {
        for _ in 0..2 {
            stage.wait(200..800);
            let subscribed = stop_sink(stage);
            stage.wait(500..1500);
            restart_sink(stage, subscribed);
        }
    });
}

#[test]
fn stop_input() {
    Trial::new("input broker stopped twice", 500, WINDOW * 2).slow().run(|stage| {
        for _ in 0..2 {
            stage.wait(200..800);
            stage.input.stop();
            stage.wait(200..800);
            stage.input.restart();
        }
    });
}

#[test]
fn stop_both() {
    Trial::new("both brokers stopped", 500, WINDOW).slow().run(|stage| {
        stage.wait(200..800);
        let subscribed = stop_sink(stage);
        stage.wait(200..800);
        stage.input.stop();
        stage.wait(500..1000);
        stage.input.restart();
        stage.wait(200..800);
        restart_sink(stage, subscribed);
    });
}

/// Mosquitto says so with MQTT 5: each batch is refused until somebody mends its ACL.
#[test]
fn forbid_output() {
    Trial::new("output topic forbidden for a while", 2000, 0).without_spool().run(|stage| {
        stage.wait(200..500);
        stage.sink.set_acl("topic read #\n");
        stage.gateway.wait_for_line("the output refused a batch", SOON);
        stage.wait(1000..2000);
        stage.sink.set_acl(OPEN);
    });
}

/// With a spool the sensors are not held up meanwhile.
#[test]
fn forbid_output_with_a_spool() {
    Trial::new("output topic forbidden for a while, spool", 2000, 0).run(|stage| {
        stage.wait(200..500);
        stage.sink.set_acl("topic read #\n");
        stage.gateway.wait_for_line("batches go to the spool", SOON);
        stage.wait(1000..2000);
        stage.sink.set_acl(OPEN);
        stage.gateway.wait_for_line("the spool is empty", SOON);
    });
}

/// The gateway holds everything when the broker forgets it: nothing of that is acknowledged any more,
/// and all of it arrives.
#[test]
fn forget_session() {
    let (mut input, sink) = (Mosquitto::start(NO_DROP), Mosquitto::start(NO_DROP));
    let (to_sink, collector) = (Proxy::to(sink.port()), Collector::start(sink.port()));
    let window = format!("broker.window_messages = {WINDOW}");
    let output = output(&to_sink.url());
    let own = [output.as_str(), &window];
    let launch = Gateway::with_config(&fleet(&input.url(), &own));
    let mut gateway = begun(launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0"));
    let port = input.port();
    let load = |name: &str, from: u64, readings: u64| {
        let load = Publisher::to(port).sensors(20).readings(readings).name(name);
        load.payload(move |_, n| format!(r#"{{"value":{n},"n":{}}}"#, from + n).into_bytes())
    };
    to_sink.refuse();
    to_sink.cut(Cut::Reset);
    load("first", 0, WINDOW / 20).run(SOON);
    let http = Http::of(&gateway);
    assert_eq!(WINDOW, 500);
    eventually("the window is full", SOON, || {
        http.metric("sluicegate_readings_received_total") == Some(500.0)
    });
    input.crash();
    input.restart();
    gateway.wait_for_line("lost our session", SOON);
    load("second", WINDOW / 20, 200).run(SOON);
    to_sink.accept();
    collector.wait_readings(WINDOW + 4000, SOON);
    let name = "input broker killed, our session lost";
    let judged = || collector.audit().judge_load(20, WINDOW / 20 + 200);
    assert_eq!(fault(name, 0, &mut gateway, judged).delivered, WINDOW + 4000);
}
