//! Brokers go away and come back, links are cut, on either side: nothing is lost and the order of
//! every sensor is kept. What is repeated is counted and printed.

use std::time::Duration;

use crate::scene::{
    BATCHES, LONG, audit, drained, fault, fleet, output, readings, report, subscribed, violations,
    wait_readings,
};
use crate::support::broker::{Broker, Kind, Limits};
use crate::support::client::{Audit, Collector, Options, Publisher, Session};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy, Way};
use crate::support::{SOON, eventually, seed};

const NONE: [String; 0] = [];

/// Fails unless nothing is lost or out of order; prints what is repeated.
#[track_caller]
fn assert_nothing_lost(what: &str, audit: &Audit, sensors: usize, readings: u64) {
    let verdict = audit.judge_load(sensors, readings);
    report(&format!("{what}: {} batches, {verdict:?}", audit.batches));
    let faults = audit.faults(readings);
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0), "{what}: {faults}");
}

/// Sends dead letters of its own to the collector's topic until one comes: it is subscribed again.
fn wait_for_collector(collector: &Collector, port: u16) {
    let before = collector.look(|all| all.dead_letters.len());
    eventually("the collector is back", SOON, || {
        let session = Session::open(&Options::new(port, "probe"));
        let sent = session.and_then(|mut session| {
            session.write_publish("gateway/dead-letters", b"{}".to_vec(), 0);
            session.flush()?;
            session.ping(SOON)
        });
        sent.is_ok() && collector.look(|all| all.dead_letters.len()) > before
    });
}

#[test]
fn the_output_broker_stops_and_comes_back_with_its_sessions() {
    let input = Mosquitto::start(NO_DROP);
    let mut sink = Mosquitto::with(NO_DROP).persistent().start();
    let collector = Collector::start(sink.port());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    let load = Publisher::to(input.port()).sensors(20).readings(500).rate(5000.0).start();
    for stops in 1..=2 {
        collector.wait_readings(1000 * stops, LONG);
        sink.stop();
        gateway.wait_for_line("connection lost", SOON);
        sink.restart();
    }
    assert_eq!(load.join(LONG).total(), 10_000);
    collector.wait_readings(10_000, LONG);
    let balance = drained(&mut gateway);
    assert_eq!(balance.delivered, 10_000);
    let audit = collector.audit();
    assert_nothing_lost("output stopped twice", &audit, 20, 500);
    // The collector's own connection was cut too; what that repeated is set aside by batch id.
    assert!(audit.judge_load(20, 500).is_clean());
}

#[test]
fn the_output_broker_crashes_and_forgets_everything() {
    let input = Mosquitto::start(NO_DROP);
    let mut sink = Mosquitto::start(NO_DROP);
    let proxy = Proxy::to(sink.port());
    let collector = Collector::start(sink.port());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&proxy.url())]));
    let load = |name: &str, readings: u64, from: u64| {
        let load = Publisher::to(input.port()).sensors(10).readings(readings).name(name);
        load.payload(move |_, n| {
            let n = n + from;
            format!(r#"{{"value":{n},"n":{n}}}"#).into_bytes()
        })
    };
    load("first", 100, 0).run(SOON);
    collector.wait_readings(1000, SOON);
    // Batches still get through, their acknowledgements do not.
    proxy.stall(Way::ToClient);
    load("second", 300, 100).run(SOON);
    collector.wait_readings(1500, SOON);
    proxy.refuse();
    sink.crash();
    proxy.cut(Cut::Reset);
    gateway.wait_for_line("connection lost", SOON);
    sink.restart();
    wait_for_collector(&collector, sink.port());
    proxy.resume(Way::ToClient);
    proxy.accept();
    collector.wait_readings(4000, LONG);
    assert_eq!(drained(&mut gateway).delivered, 4000);
    let audit = collector.audit();
    assert_nothing_lost("output crashed", &audit, 10, 400);
    assert!(audit.judge_load(10, 400).is_clean());
    assert!(audit.repeated_batches > 0, "what was not acknowledged is published again");
}

#[test]
fn the_input_broker_stops_and_comes_back_with_its_sessions() {
    let mut input = Mosquitto::with(NO_DROP).persistent().start();
    let sink = Mosquitto::start(NO_DROP);
    let collector = Collector::start(sink.port());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    let load = Publisher::to(input.port()).sensors(20).readings(500).rate(5000.0).start();
    for stops in 1..=2 {
        collector.wait_readings(1000 * stops, LONG);
        input.stop();
        input.restart();
    }
    let report = load.join(LONG);
    assert_eq!(report.total(), 10_000);
    collector.wait_readings(10_000, LONG);
    drained(&mut gateway);
    // The load publisher repeats what it sent and saw no acknowledgement for: out of order only
    // for itself. What was acknowledged to it must be there.
    let verdict = collector.audit().judge_load(20, 500);
    crate::scene::report(&format!("input stopped twice: {verdict:?}, {} resent", report.resent));
    assert_eq!((verdict.lost, verdict.strange), (0, 0));
    assert_eq!(verdict.reordered, 0, "{}", collector.audit().faults(500));
}

/// A load with the input or the output link cut 20 times.
fn cut_twenty_times(input_side: bool, version: u8) {
    let mosquitto = Mosquitto::start(NO_DROP);
    let proxy = Proxy::to(mosquitto.port());
    let collector = Collector::start(mosquitto.port());
    let (direct, version) = (mosquitto.url(), format!("broker.version = {version}"));
    let (url, out) = if input_side { (proxy.url(), direct) } else { (direct, proxy.url()) };
    let out = output(&out);
    let more =
        [out.as_str(), &version, "broker.window_messages = 1000", "batch.age_max = \"10ms\""];
    let mut gateway = subscribed(&fleet(&url, &more));
    let (sensors, numbers) = (20, 1000);
    let load = Publisher::to(mosquitto.port()).sensors(sensors).readings(numbers).rate(4000.0);
    let load = load.start();
    proxy.cut_every(Duration::from_millis(30)..Duration::from_millis(150), seed());
    proxy.wait_until("20 cuts", LONG, |traffic| traffic.cuts >= 20);
    proxy.spare();
    let sent_at_cuts_end = load.acknowledged();
    assert_eq!(load.join(LONG).total(), 20_000);
    collector.wait_readings(20_000, LONG);
    let balance = drained(&mut gateway);
    let audit = collector.audit();
    let side = if input_side { "input" } else { "output" };
    let what =
        format!("{side} cut 20 times, {version}, {sent_at_cuts_end} sent by then, {balance:?}");
    assert_nothing_lost(&what, &audit, sensors, numbers);
    if !input_side {
        assert!(audit.judge_load(sensors, numbers).is_clean(), "only whole batches are repeated");
    }
    // Repeated batches may come from the broker, but each reading was delivered by the gateway.
    assert!(balance.delivered >= 20_000);
}

#[test]
fn the_input_link_is_cut_twenty_times_and_nothing_is_lost() {
    cut_twenty_times(true, 5);
}

#[test]
fn the_input_link_is_cut_twenty_times_and_nothing_is_lost_with_mqtt_3() {
    cut_twenty_times(true, 3);
}

#[test]
fn the_output_link_is_cut_twenty_times_and_nothing_is_lost() {
    cut_twenty_times(false, 5);
}

#[test]
fn the_output_link_is_cut_twenty_times_and_nothing_is_lost_with_mqtt_3() {
    cut_twenty_times(false, 3);
}

#[test]
fn a_link_cut_in_the_middle_of_a_packet_costs_nothing() {
    for (input_side, way) in [
        (true, Way::ToClient),
        (true, Way::ToBroker),
        (false, Way::ToBroker),
        (false, Way::ToClient),
    ] {
        let (input, sink) = (Broker::start(), Broker::start());
        let proxy = Proxy::to(if input_side { input.port() } else { sink.port() });
        let (url, out) = if input_side {
            (proxy.url(), output(&sink.url()))
        } else {
            (input.url(), output(&proxy.url()))
        };
        let small = ["batch.records_max = 20", "broker.window_messages = 200"];
        // The bytes of another client would be cut instead.
        let more = [&small[..], &[&out, "broker.watch = false"]].concat();
        let mut gateway = subscribed(&fleet(&url, &more));
        for step in 0..5 {
            // A PUBACK has 4 bytes, a PUBLISH some 60.
            proxy.cut_after(way, 5 + 7 * step);
            input.publish_all(readings(5, step * 40 + 1..=step * 40 + 40, 1));
            let cuts = usize::try_from(step).unwrap() + 1;
            proxy.wait_until("the cut", SOON, |traffic| traffic.cuts == cuts);
            wait_readings(&sink, (step + 1) * 200, SOON);
        }
        input.wait_until("nothing is left unacknowledged", SOON, |log| {
            log.unacked("gw-in") + log.queued("gw-in") == 0
        });
        let side = if input_side { "input" } else { "output" };
        let what = format!("{side} link cut in packets, {way:?}");
        // Acknowledgements are lost with the link, and this broker uses the lowest free id, so what they
        // stood for cannot be told from something new: a window each time.
        let repeats_max = if input_side { 5 * 200 } else { 0 };
        fault(&what, repeats_max, &mut gateway, || audit(&sink).judge_load(5, 200));
        assert_eq!((violations(&input), violations(&sink)), (vec![], vec![]));
    }
}

#[test]
fn a_batch_that_was_taken_before_a_cut_is_repeated_with_the_same_id() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let mut gateway =
        subscribed(&fleet(&input.url(), &[&output(&sink.url()), "batch.records_max = 10"]));
    input.publish_all(readings(5, 1..=20, 1));
    sink.wait_until("ten batches", SOON, |log| log.held_acks("gw-out") == 10);
    sink.drop_connections("gw-out");
    sink.wait_until("the batches again", SOON, |log| {
        log.held_acks("gw-out") == 10 && log.connects("gw-out") == 2
    });
    sink.resume_acks("");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
    assert_eq!(drained(&mut gateway).delivered, 100);
    let payloads: Vec<_> = sink.published(BATCHES).into_iter().map(|it| it.payload).collect();
    assert_eq!(payloads[..10], payloads[10..], "the same batches, in the same order");
    assert_eq!(violations(&input), NONE);
}

/// The broker refuses two batches for each of three reasons.
fn refused(window_batches: u16) -> (Gateway, Collector, [Broker; 2]) {
    let (input, sink) = (Broker::start(), Broker::start());
    let collector = Collector::start(sink.port());
    let window = format!("output.window_batches = {window_batches}");
    let more = [output(&sink.url()), window];
    let own = [more[0].as_str(), &more[1], "batch.records_max = 10"];
    let gateway = subscribed(&fleet(&input.url(), &own));
    input.publish_all(readings(5, 1..=2, 1));
    collector.wait_readings(10, SOON);
    for reason in [0x97, 0x87, 0x80] {
        sink.answer_publishes(BATCHES, reason, 2);
    }
    input.publish_all(readings(5, 3..=100, 1));
    collector.wait_readings(500, LONG);
    gateway.wait_for_line("refused", SOON);
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 500);
    (gateway, collector, [input, sink])
}

#[test]
fn a_refused_batch_is_published_again_once_the_broker_takes_it() {
    let (mut gateway, collector, _brokers) = refused(16);
    assert_eq!(drained(&mut gateway).delivered, 500);
    let verdict = collector.audit().judge_load(5, 100);
    // The broker took what was published behind it.
    report(&format!("six refusals: {verdict:?}"));
    assert_eq!((verdict.lost, verdict.duplicated, verdict.strange), (0, 0, 0));
}

#[test]
fn refusals_do_not_change_the_order_where_one_batch_is_published_at_a_time() {
    let (mut gateway, collector, _brokers) = refused(1);
    let name = "output broker refuses 6 batches, one in flight";
    let balance = fault(name, 0, &mut gateway, || collector.audit().judge_load(5, 100));
    assert_eq!(balance.delivered, 500);
}

/// A PUBACK that is longer than 127 bytes has a remaining length of two bytes. Read as one, it settles the
/// publication behind the one that it refuses.
#[test]
fn a_refusal_with_a_long_reason_settles_nothing_else() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway =
        subscribed(&fleet(&input.url(), &[&output(&sink.url()), "batch.records_max = 1"]));
    // Packet ids 1 to 255.
    input.publish_all(readings(1, 1..=255, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 255);
    sink.hold_acks("gw-out");
    input.publish_all(readings(1, 256..=257, 1));
    sink.wait_until("two publications", SOON, |log| log.held_acks("gw-out") == 2);
    let mut refusal = vec![0x40, 0x8c, 0x01, 0x01, 0x00, 0x97, 0x87, 0x01, 0x1f, 0, 132];
    refusal.resize(refusal.len() + 132, b'x');
    sink.send_raw("gw-out", &refusal);
    let line = gateway.wait_for_line("the output refused a batch", SOON);
    assert!(line.contains("quota exceeded (xxxx"), "{line}");
    sink.drop_connections("gw-out");
    sink.resume_acks("gw-out");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 257);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (257, 257));
    // Nothing was known of either but that one was refused: both are published again.
    let batches = sink.published(BATCHES);
    let times = |n: u64| {
        let wanted = format!("\"n\":{n}");
        let texts = batches.iter().map(|it| String::from_utf8_lossy(&it.payload));
        texts.filter(|it| it.contains(&wanted)).count()
    };
    assert!(times(256) >= 2 && times(257) == 2, "{} and {} times", times(256), times(257));
}

#[test]
fn batches_that_nobody_subscribes_to_count_as_delivered_and_are_said() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.answer_publishes(BATCHES, 0x10, usize::MAX);
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    input.publish_all(readings(5, 1..=20, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
    assert_eq!(drained(&mut gateway).delivered, 100);
    assert!(gateway.said("nobody subscribes"), "{}", gateway.text());
    assert!(gateway.said("start its consumer"), "{}", gateway.text());
}

/// With `output.without_subscriber = "hold"` they are tried again until somebody subscribes.
#[test]
fn batches_that_nobody_subscribes_to_are_held_where_that_is_set() {
    let hold = "output.without_subscriber = \"hold\"";
    let grace = "gateway.start_grace = \"0s\"";
    for spools in [false, true] {
        let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
        sink.answer_publishes(BATCHES, 0x10, usize::MAX);
        let spool = format!("spool.path = \"{}\"", disk.path().display());
        let more = [output(&sink.url()), "spool.after = \"100ms\"".to_owned()];
        let mut config = fleet(&input.url(), &[&more[0], &more[1], hold, grace]);
        if spools {
            config.push_str(&spool);
        }
        let mut gateway = subscribed(&config);
        input.publish_all(readings(5, 1..=20, 1));
        gateway.wait_for_line("nobody subscribes to the topic: its batches are held", SOON);
        gateway.wait_for_line("degraded: nobody subscribes to gateway/batches", SOON);
        sink.wait_until("it is tried again", SOON, |log| log.on(BATCHES).count() >= 3);
        if spools {
            input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
        }
        assert_eq!(input.look(|log| log.acks("gw-in")), if spools { 100 } else { 0 });
        sink.answer_normally();
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
        if spools {
            gateway.wait_for_line("the spool is empty", SOON);
        }
        assert_eq!(drained(&mut gateway).delivered, 100);
        audit(&sink).assert_exactly(5, 20);
    }
}

/// Mosquitto itself, whose consumer comes later than the readings.
#[test]
fn a_consumer_that_comes_late_misses_nothing_where_batches_are_held() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let more = ["output.without_subscriber = \"hold\"", "batch.records_max = 20"];
    let mut gateway = subscribed(&fleet(&mosquitto.url(), &more));
    Publisher::to(mosquitto.port()).sensors(5).readings(100).run(SOON);
    gateway.wait_for_line("nobody subscribes to the topic: its batches are held", SOON);
    let collector = Collector::start(mosquitto.port());
    collector.wait_readings(500, SOON);
    assert_eq!(drained(&mut gateway).delivered, 500);
    let verdict = collector.audit().judge_load(5, 100);
    assert_eq!((verdict.lost, verdict.duplicated), (0, 0), "{verdict:?}");
}

/// The broker answers pings and later publications, and has forgotten one.
#[test]
fn a_publication_that_is_never_answered_ends_the_connection_and_not_the_flow() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let more = [output(&sink.url()), "output.answer_max = \"1s\"".to_owned()];
    let small = "batch.records_max = 10";
    let mut gateway = subscribed(&fleet(&input.url(), &[&more[0], &more[1], small]));
    input.publish_all(readings(5, 1..=2, 1));
    sink.wait_until("a batch", SOON, |log| log.held_acks("gw-out") == 1);
    gateway.wait_for_line("left a publication unanswered for 1s", SOON);
    sink.resume_acks("");
    input.publish_all(readings(5, 3..=100, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 500);
    let name = "a publication is never answered";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
    assert_eq!(balance.delivered, 500);
}

#[test]
fn a_smaller_receive_maximum_after_a_reconnect_is_respected() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let mut gateway =
        subscribed(&fleet(&input.url(), &[&output(&sink.url()), "batch.records_max = 10"]));
    input.publish_all(readings(5, 1..=100, 1));
    sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 16);
    sink.announce(Limits { receive_maximum: Some(3), ..Limits::default() });
    sink.drop_connections("gw-out");
    sink.wait_until("three again", SOON, |log| {
        log.connects("gw-out") == 2 && log.held_acks("gw-out") == 3
    });
    while input.look(|log| log.acks("gw-in")) < 500 {
        let before = input.look(|log| log.acks("gw-in"));
        sink.wait_until("a batch", SOON, |log| log.held_acks("gw-out") > 0);
        sink.release_some_acks("", 1);
        input.within(Duration::from_secs(2), |log| log.acks("gw-in") > before);
        assert_eq!(violations(&sink), NONE);
    }
    let name = "output's Receive Maximum shrinks";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
    assert_eq!(balance.delivered, 500);
}

#[test]
fn a_smaller_packet_size_is_respected() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.announce(Limits { max_packet_size: Some(2000), ..Limits::default() });
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    input.publish_all(readings(5, 1..=100, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 500);
    let name = "output takes small packets only";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
    assert_eq!(balance.delivered, 500);
    assert_eq!(violations(&sink), NONE);
}

#[test]
fn a_broker_that_goes_away_while_it_is_asked_is_found_again() {
    let (input, sink) = (Broker::start(), Broker::start());
    for broker in [&input, &sink] {
        broker.drop_after("gw", Kind::Connect, 1);
    }
    sink.drop_after("gw-out", Kind::Publish, 3);
    input.drop_after("gw-in", Kind::Subscribe, 1);
    input.drop_after("gw-in", Kind::PubAck, 7);
    let mut gateway =
        subscribed(&fleet(&input.url(), &[&output(&sink.url()), "batch.records_max = 10"]));
    input.publish_all(readings(5, 1..=100, 1));
    wait_readings(&sink, 500, SOON);
    input.wait_until("nothing is left unacknowledged", SOON, |log| {
        log.unacked("gw-in") + log.queued("gw-in") == 0 && log.delivered("gw-in") >= 500
    });
    drained(&mut gateway);
    assert_nothing_lost("dropped in the middle of things", &audit(&sink), 5, 100);
    assert_eq!(violations(&input), NONE);
}
