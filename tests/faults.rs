//! The fault matrix: real brokers, the built program with its spool, a load of 5,000 readings a
//! second, and one fault each. Nothing is lost, the order of every sensor is kept, what is repeated
//! is bounded, memory stays under the printed bound, and nobody has to restart anything.
//!
//! Each fault is a row of the table that `tests/run` prints ([`scene::fault`]). More rows come from
//! tests that need a scripted broker.

use std::time::Duration;

use tempfile::TempDir;

use crate::scene::{self, LONG, drained, fleet, output};
use crate::support::client::{Collection, Collector, Publisher, Running};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy, Way};
use crate::support::{Random, SOON, number_from_environment, pause, seed};

const SENSORS: usize = 20;
const WINDOW: u64 = 500;
/// Batches that may be stored, delivered and not yet taken from the spool when the program ends:
/// `output.window_batches` and the group that leaves the spool together, of 50 readings each.
const UNCONFIRMED: u64 = (16 + 16) * 50;

/// Readings a second that let Mosquitto 2.0.11 keep to the window when it catches up. At more it has many
/// times the window in flight, and what it forgets with a link or at its end is not bounded by us.
const SLOW: u32 = 1000;

/// How often a link is cut; `FAULT_CUTS=200` is a longer proof. The gateway waits longer
/// and longer before it connects again.
fn cuts() -> u32 {
    number_from_environment("FAULT_CUTS").unwrap_or(20)
}

/// Waits until a link has been cut as often.
fn wait_cut(proxy: &Proxy, cuts: u32) {
    proxy.wait_until("the cuts", LONG + cuts * Duration::from_secs(3), |traffic| {
        traffic.cuts >= cuts as usize
    });
}

/// Everything that can be broken.
struct Stage {
    input: Mosquitto,
    sink: Mosquitto,
    to_input: Proxy,
    to_sink: Proxy,
    config: String,
    gateway: Gateway,
    collector: Collector,
    load: Running,
    random: Random,
    memory_peak: u64,
    _disk: TempDir,
}

impl Stage {
    fn start(readings: u64, rate: u32) -> Self {
        let input = Mosquitto::with(NO_DROP).persistent().start();
        let sink = Mosquitto::with(NO_DROP).persistent().start();
        let (to_input, to_sink) = (Proxy::to(input.port()), Proxy::to(sink.port()));
        let collector = Collector::start(sink.port());
        let disk = tempfile::tempdir().unwrap();
        let own = [
            output(&to_sink.url()),
            "output.broker.keep_alive = \"2s\"".to_owned(),
            "output.answer_max = \"2s\"".to_owned(),
            "broker.keep_alive = \"2s\"".to_owned(),
            format!("broker.window_messages = {WINDOW}"),
            format!("spool.path = \"{}\"", disk.path().display()),
            "spool.after = \"200ms\"".to_owned(),
            "batch.records_max = 50".to_owned(),
            "batch.age_max = \"20ms\"".to_owned(),
        ];
        let config = fleet(&to_input.url(), &own.each_ref().map(String::as_str));
        let gateway = begin(&config);
        let load =
            Publisher::to(input.port()).sensors(SENSORS).readings(readings).rate(f64::from(rate));
        let load = load.start();
        load.wait_acknowledged(500, SOON);
        let random = Random::new(seed());
        let memory_peak = 0;
        Self {
            input,
            sink,
            to_input,
            to_sink,
            config,
            gateway,
            collector,
            load,
            random,
            memory_peak,
            _disk: disk,
        }
    }

    /// Ends the gateway as a power cut would, and starts it again.
    fn kill_gateway(&mut self) {
        self.memory_peak = self.memory_peak.max(self.gateway.memory_peak());
        self.gateway.signal("KILL");
        self.gateway.wait_exit(SOON);
        self.gateway = begin(&self.config);
    }

    fn wait(&mut self, range: std::ops::Range<u64>) {
        let millis = |n| Duration::from_millis(n);
        pause(self.random.duration(millis(range.start)..millis(range.end)));
    }
}

fn begin(config: &str) -> Gateway {
    let gateway = Gateway::start(config);
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

/// Runs a load of so many readings a sensor through a fault, and judges what came out: at most
/// `repeats_max` readings more than once, after repeated batches were set aside by their ids.
fn fault(name: &str, readings: u64, repeats_max: u64, act: impl FnOnce(&mut Stage)) {
    fault_at(5000, name, readings, repeats_max, act);
}

/// The same at another rate.
fn fault_at(rate: u32, name: &str, readings: u64, repeats_max: u64, act: impl FnOnce(&mut Stage)) {
    let mut stage = Stage::start(readings, rate);
    act(&mut stage);
    let all = SENSORS as u64 * readings;
    let Stage { load, collector, mut gateway, memory_peak, .. } = stage;
    let within = LONG + 2 * Duration::from_millis(all * 1000 / u64::from(rate));
    let sent = load.join(within);
    assert_eq!(sent.total(), all);
    // What the load had to send again itself is not the gateway's.
    let repeats_max = repeats_max + sent.resent;
    collector.wait_readings(all, within);
    let peak = memory_peak.max(gateway.memory_peak());
    let bound = printed_bound(&gateway);
    drained(&mut gateway);
    let audit = collector.audit();
    let verdict = audit.judge_load(SENSORS, readings);
    assert!(verdict.lost + verdict.reordered == 0, "{name}: {}", audit.faults(readings));
    scene::fault(name, verdict, repeats_max, Some(peak));
    assert!(peak < bound, "{name}: {peak} bytes, the bound is {bound}");
}

/// The bound on memory that the gateway printed, in bytes.
fn printed_bound(gateway: &Gateway) -> u64 {
    let line = gateway.wait_for_line("memory_bound", SOON);
    let (_, bound) = line.split_once("memory_bound=\"").unwrap();
    let (mebibytes, _) = bound.split_once('.').unwrap();
    mebibytes.parse::<u64>().unwrap() << 20
}

#[test]
fn kill_gateway() {
    fault("gateway killed 20 times", 5000, 20 * (WINDOW + UNCONFIRMED), |stage| {
        for _ in 0..20 {
            stage.wait(100..700);
            stage.kill_gateway();
        }
    });
}

#[test]
fn kill_gateway_while_the_output_is_away() {
    fault("gateway killed 5 times, output away", 2500, 5 * (WINDOW + UNCONFIRMED), |stage| {
        stage.to_sink.refuse();
        stage.to_sink.cut(Cut::Reset);
        for _ in 0..5 {
            stage.wait(200..900);
            stage.kill_gateway();
        }
        stage.to_sink.accept();
    });
}

#[test]
fn kill_output() {
    fault("output broker killed, nothing acknowledged", 1500, 0, |stage| {
        // What the broker acknowledges and forgets is not ours to keep: it acknowledges nothing.
        stage.to_sink.stall(Way::ToClient);
        stage.wait(300..800);
        let subscribed = stage.collector.look(|all| all.connections);
        stage.to_sink.refuse();
        stage.sink.crash();
        stage.to_sink.cut(Cut::Reset);
        stage.wait(500..1500);
        stage.sink.restart();
        let again = |all: &Collection| all.connections > subscribed;
        stage.collector.wait_until("the collector is back", SOON, again);
        stage.to_sink.resume(Way::ToClient);
        stage.to_sink.accept();
    });
}

#[test]
fn stop_output() {
    fault("output broker stopped twice", 1500, 0, |stage| {
        for _ in 0..2 {
            stage.wait(200..800);
            stage.sink.stop();
            stage.wait(500..1500);
            stage.sink.restart();
        }
    });
}

#[test]
fn stop_input() {
    fault_at(SLOW, "input broker stopped twice", 500, WINDOW * 2, |stage| {
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
    fault_at(SLOW, "both brokers stopped", 500, WINDOW, |stage| {
        stage.wait(200..800);
        stage.sink.stop();
        stage.wait(200..800);
        stage.input.stop();
        stage.wait(500..1000);
        stage.input.restart();
        stage.wait(200..800);
        stage.sink.restart();
    });
}

#[test]
fn cut_input() {
    // Until the broker's ids have been seen to count up, acknowledgements lost with the link repeat
    // readings.
    let cuts = cuts();
    let name = format!("input link cut {cuts} times");
    fault_at(SLOW, &name, u64::from(cuts) * 50, u64::from(cuts) * WINDOW, |stage| {
        let life = Duration::from_millis(20)..Duration::from_millis(150);
        stage.to_input.cut_every(life, seed());
        wait_cut(&stage.to_input, cuts);
        stage.to_input.spare();
    });
}

#[test]
fn cut_output() {
    let cuts = cuts();
    fault(&format!("output link cut {cuts} times"), u64::from(cuts) * 125, 0, |stage| {
        let life = Duration::from_millis(20)..Duration::from_millis(150);
        stage.to_sink.cut_every(life, seed());
        wait_cut(&stage.to_sink, cuts);
        stage.to_sink.spare();
    });
}

#[test]
fn crumbs() {
    fault("both links byte by byte", 100, 0, |stage| {
        stage.to_input.crumble();
        stage.to_sink.crumble();
    });
}

#[test]
fn stall_input() {
    fault_at(SLOW, "input link stalled, each way", 500, 2 * WINDOW, |stage| {
        for way in [Way::ToClient, Way::ToBroker] {
            stage.to_input.stall(way);
            stage.gateway.wait_for_line("connection lost", LONG);
            stage.to_input.resume(way);
            stage.wait(300..800);
        }
    });
}

#[test]
fn stall_output() {
    fault("output link stalled, each way", 2000, 0, |stage| {
        for way in [Way::ToClient, Way::ToBroker] {
            stage.to_sink.stall(way);
            stage.wait(3000..5000);
            stage.to_sink.resume(way);
            stage.wait(300..800);
        }
    });
}

#[test]
fn stop_gateway_in_turns() {
    fault("gateway stopped 5 times", 2000, 0, |stage| {
        for _ in 0..5 {
            stage.wait(100..700);
            drained_or_spooled(&mut stage.gateway);
            stage.gateway = begin(&stage.config);
        }
    });
}

/// A stop that leaves nothing unsettled.
fn drained_or_spooled(gateway: &mut Gateway) {
    gateway.signal("TERM");
    let (code, balance) = gateway.wait_balance(SOON * 2);
    let text = gateway.text();
    assert!(code == 0 && balance.held == balance.spooled && balance.closes(), "{code}:\n{text}");
}
