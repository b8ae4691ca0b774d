//! A peer that sends without end: each client of the gateway goes on with its work, and takes no memory.

use std::io::Write;
use std::time::Duration;

use crate::scene::{
    LONG, audit, drained, fault, fleet, output, readings, report, subscribed, wait_readings,
};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::http::Http;

/// A PUBLISH of MQTT 5.
pub(crate) fn publish(topic: &str, qos: u8, id: u16, retained: bool, payload: &[u8]) -> Vec<u8> {
    let topic_bytes = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let mut body = [&topic_bytes[..], topic.as_bytes()].concat();
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.push(0);
    body.extend(payload);
    let mut packet = vec![0x30 | qos << 1 | u8::from(retained)];
    let mut left = body.len();
    while left > 127 {
        packet.push(u8::try_from(left % 128).unwrap() | 0x80);
        left /= 128;
    }
    packet.push(u8::try_from(left).unwrap());
    [packet, body].concat()
}

/// They are acknowledged in order, and so none before the reading that came first.
#[test]
fn retained_messages_without_end_behind_a_held_reading_are_cut_off() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let skip = "sensors.fleet.mqtt.retained = \"skip\"";
    let own = [&output(&sink.url()), skip, "broker.watch = false"];
    let mut gateway = subscribed(&fleet(&input.url(), &own));
    input.publish_all(readings(5, 1..=1, 1));
    wait_readings(&sink, 5, SOON);
    let ids = 6..=u16::MAX;
    let retained = ids.flat_map(|id| publish("sensors/s00000/reading", 1, id, true, b"7"));
    input.flood("gw-in", retained.collect::<Vec<u8>>());
    gateway.wait_for_line("far more messages than it may before we acknowledge the first", LONG);
    input.wait_until("it comes again", LONG, |log| log.connects("gw-in") >= 3);
    input.end_flood("gw-in");
    sink.resume_acks("");
    input.publish_all(readings(5, 2..=100, 1));
    input.wait_until("acknowledgements", LONG, |log| log.acks("gw-in") >= 500);
    let name = "retained messages without end, readings held";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
    assert_eq!(balance.delivered, 500);
}

/// It asks again and again, and takes none of the answers.
#[test]
fn answers_that_are_asked_for_without_end_cost_a_connection_and_no_reading() {
    let (input, sink) = (Broker::start(), Broker::start());
    let own = [&output(&sink.url()), "broker.keep_alive = \"2s\""];
    let mut gateway = subscribed(&fleet(&input.url(), &own));
    input.publish_all(readings(5, 1..=50, 1));
    input.stall_reads("gw-in");
    input.flood("gw-in", [0x62, 2, 0, 7].repeat(4096));
    gateway.wait_for_line("the broker has not read anything for 6s", LONG);
    input.end_flood("gw-in");
    input.resume_reads("gw-in");
    input.publish_all(readings(5, 51..=100, 1));
    wait_readings(&sink, 500, LONG);
    input
        .wait_until("nothing is left", LONG, |log| log.unacked("gw-in") + log.queued("gw-in") == 0);
    let name = "PUBRELs without end, no answer taken";
    // What was acknowledged to deaf ears may come again.
    fault(name, 250, &mut gateway, || audit(&sink).judge_load(5, 100));
}

/// Bytes of one flood, and how much the gateway's memory may grow by it.
const FLOOD_BYTES: usize = 48 << 20;
const GROWTH_MAX: u64 = 8 << 20;

/// Floods a client of a gateway that goes on with its readings.
fn flood(gateway: &Gateway, (broker, who): (&Broker, &str), packets: Vec<u8>, work: impl FnOnce()) {
    let before = gateway.memory();
    let start = broker.look(|log| log.flooded(who));
    broker.flood(who, packets);
    broker.wait_until("a flood", SOON, |log| log.flooded(who) > start + (1 << 20));
    work();
    broker.wait_until("all of it", LONG, |log| log.flooded(who) > start + FLOOD_BYTES);
    broker.end_flood(who);
    let grown = gateway.memory_peak().saturating_sub(before);
    report(&format!("{who}: {grown} bytes more of {FLOOD_BYTES}"));
    assert!(grown < GROWTH_MAX, "{who} grew by {grown} bytes");
}

#[test]
fn no_packet_without_end_keeps_a_client_from_its_work_or_takes_memory() {
    let (input, sink) = (Broker::start(), Broker::start());
    let own = [&output(&sink.url()), "batch.records_max = 10"];
    let mut gateway = subscribed(&fleet(&input.url(), &own));
    input.wait_until("the watch", SOON, |log| log.subscribes("gw-watch") > 0);
    let large = vec![b'x'; 4 << 20];
    let dropped = "$SYS/broker/publish/messages/dropped";
    let mut sent = 0;
    for (broker, who, packets) in [
        (&input, "gw-in", [0x62, 2, 0, 7].repeat(4096)),
        (&input, "gw-in", [0xd0, 0].repeat(8192)),
        (&input, "gw-watch", publish(dropped, 0, 0, false, b"0").repeat(4096)),
        (&input, "gw-watch", publish(dropped, 1, 7, true, b"0").repeat(4096)),
        (&input, "gw-watch", publish(&"x".repeat(1000), 0, 0, false, &large)),
        (&sink, "gw-out", [0x40, 2, 0xff, 7].repeat(4096)),
        (&sink, "gw-out", [0x50, 2, 0xff, 7].repeat(4096)),
        (&sink, "gw-out", publish("nobody/asked", 0, 0, false, b"x").repeat(4096)),
        (&sink, "gw-out", publish("nobody/asked", 1, 7, false, b"x").repeat(4096)),
        (&sink, "gw-out", publish("nobody/asked", 2, 7, false, &large)),
    ] {
        flood(&gateway, (broker, who), packets, || {
            input.publish_all(readings(5, sent + 1..=sent + 10, 1));
            sent += 10;
            wait_readings(&sink, 5 * sent, SOON);
        });
    }
    assert_eq!(drained(&mut gateway).delivered, 5 * sent);
    let verdict = audit(&sink).judge_load(5, sent);
    assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 0, 0));
}

/// The broker answers pings, and readings' batches never.
#[test]
fn a_flood_is_no_answer_to_a_batch() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let own = [&output(&sink.url()), "output.answer_max = \"1s\""];
    let mut gateway = subscribed(&fleet(&input.url(), &own));
    sink.wait_until("the output", SOON, |log| log.connected("gw-out"));
    sink.flood("gw-out", [0x50, 2, 0xff, 7].repeat(4096));
    input.publish_all(readings(5, 1..=10, 1));
    gateway.wait_for_line("left a publication unanswered for 1s", Duration::from_secs(20));
    sink.end_flood("gw-out");
    sink.resume_acks("");
    wait_readings(&sink, 50, SOON);
    assert_eq!(drained(&mut gateway).delivered, 50);
}

/// Two clients are sent ahead to see whether the broker tells ours apart.
#[test]
fn clients_that_are_sent_ahead_wait_out_a_flood() {
    let (input, sink) = (Broker::start(), Broker::start());
    let own = ["broker.username = \"gw\"", "broker.connect_timeout = \"1s\"", &output(&sink.url())];
    input.mute_pings("beside");
    input.flood("beside", publish("nobody/asked", 1, 7, true, b"x").repeat(4096));
    let mut gateway = Gateway::start(&fleet(&input.url(), &own));
    gateway.wait_for_line("no answer to a ping within 500ms", SOON);
    input.wait_until("a flood", LONG, |log| log.flooded("beside") > FLOOD_BYTES);
    assert!(gateway.memory_peak() < 48 << 20, "{} bytes", gateway.memory_peak());
    input.answer_pings("beside");
    input.end_flood("beside");
    gateway.wait_for_line("subscribed", SOON);
    drained(&mut gateway);
}

/// It keeps no more than there can be.
#[test]
fn a_doctor_of_a_broker_that_sends_without_end_cannot_judge_and_says_why() {
    let broker = Broker::start();
    let numbered = publish("sluicegate-doctor/x", 1, 7, false, b"9999999999 of nobody");
    let long = publish(&"x".repeat(30_000), 0, 0, false, b"x");
    for (who, packets) in [
        ("doctor", long.repeat(16)),
        ("capacity-sub", numbered.repeat(4096)),
        ("absence-sub", numbered.repeat(4096)),
    ] {
        broker.flood(who, packets);
        let launch = Gateway::command("doctor", &fleet(&broker.url(), &[])).arg("--seconds");
        let mut doctor = launch.arg("15").arg("--json").start();
        let code = doctor.wait_exit(LONG);
        assert!(
            doctor.said("the broker sends messages that nobody published"),
            "{}",
            doctor.text()
        );
        assert_ne!(code, 0, "{}", doctor.text());
        broker.end_flood(who);
    }
}

#[test]
fn a_verification_of_a_broker_that_sends_without_end_takes_no_memory() {
    let broker = Broker::start();
    let launch = Gateway::command("verify", &fleet(&broker.url(), &[])).arg("--sensors-max");
    let mut verification = launch.arg("1000").arg("--json").start();
    verification.wait_for_line("listening", SOON);
    let batches = (0..4096).flat_map(|n| {
        let long = "x".repeat(100);
        let record = format!("[{{\"sensorId\":\"{n}{long}\",\"sequence\":{n}}}]");
        publish("gateway/batches", 1, 7, false, record.as_bytes())
    });
    let letters = (0..100).flat_map(|n| {
        let letter = format!("{{\"reason\":\"{n}{}\"}}", "x".repeat(400_000));
        publish("gateway/dead-letters", 2, 7, false, letter.as_bytes())
    });
    for packets in [batches.collect(), letters.collect(), [0x62, 2, 0, 7].repeat(4096)] {
        flood(&verification, (&broker, "verify"), packets, || {});
    }
    verification.signal("TERM");
    assert_eq!(verification.wait_exit(SOON), 1, "{}", verification.text());
}

/// It asks on and on, on as many connections as there may be, and takes no answer.
#[test]
fn http_clients_that_ask_without_end_and_read_nothing_take_no_memory() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    http.wait_health("ready", SOON);
    let before = gateway.memory();
    let asked = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    let mut streams: Vec<_> = (0..64).map(|_| http.connect()).collect();
    for stream in &mut streams {
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        // It is not read from any more, or closed for another.
        while stream.write_all(&asked).is_ok() {}
    }
    let grown = gateway.memory_peak().saturating_sub(before);
    report(&format!("http: {grown} bytes more"));
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    assert_eq!(http.get("/healthz").status, 200);
    input.publish_all(readings(5, 1..=10, 1));
    wait_readings(&sink, 50, SOON);
    drop(streams);
    assert_eq!(drained(&mut gateway).delivered, 50);
}
