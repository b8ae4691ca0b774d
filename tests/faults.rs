//! The fault matrix: real brokers, the built program with its spool, a load of 5,000 readings a
//! second, and one fault each. Nothing is lost, the order of every sensor is kept, what is repeated
//! is bounded, memory stays under the printed bound, the log can be read, and nobody has to restart
//! anything.
//!
//! Each fault is a row of the table that `tests/run` prints ([`scene::fault`]). More rows come from
//! tests that need a scripted broker.

use std::ops::Range;
use std::time::Duration;

use tempfile::TempDir;

use crate::scene::{self, LONG, assert_readable, fleet, output};
use crate::support::client::{Collector, Publisher, Running};
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::Proxy;
use crate::support::{Random, SOON, pause, seed};

mod brokers;
mod disk;
mod gateway;
mod links;

const SENSORS: usize = 20;
const WINDOW: u64 = 500;
/// Batches that may be stored, delivered and not yet taken from the spool when the program ends:
/// `output.window_batches` and the group that leaves the spool together, of 50 readings each.
const UNCONFIRMED: u64 = (16 + 16) * 50;

/// Readings a second that let Mosquitto 2.0.11 keep to the window when it catches up. At more it has many
/// times the window in flight, and what it forgets with a link or at its end is not bounded by us.
const SLOW: u32 = 1000;

/// How a gateway with this configuration is started.
type Launching = Box<dyn Fn(&str) -> Launch>;

/// A load, and how much of it may come more than once.
struct Trial {
    name: String,
    /// Of each sensor.
    readings: u64,
    repeats_max: u64,
    rate: u32,
    with_spool: bool,
    /// No other client has the gateway's id.
    alone: bool,
    launch: Launching,
}

impl Trial {
    fn new(name: impl Into<String>, readings: u64, repeats_max: u64) -> Self {
        Self {
            name: name.into(),
            readings,
            repeats_max,
            rate: 5000,
            with_spool: true,
            alone: true,
            launch: Box::new(Gateway::with_config),
        }
    }

    fn slow(self) -> Self {
        Self { rate: SLOW, ..self }
    }

    fn without_spool(self) -> Self {
        Self { with_spool: false, ..self }
    }

    fn contested(self) -> Self {
        Self { alone: false, ..self }
    }

    /// The gateway is started so.
    fn launched(self, launch: impl Fn(&str) -> Launch + 'static) -> Self {
        Self { launch: Box::new(launch), ..self }
    }

    /// Runs the load through a fault, and judges what came out.
    #[track_caller]
    fn run(mut self, act: impl FnOnce(&mut Stage)) {
        let launch = std::mem::replace(&mut self.launch, Box::new(Gateway::with_config));
        let mut stage = Stage::start(&self, launch);
        act(&mut stage);
        let all = SENSORS as u64 * self.readings;
        let Stage { load, collector, mut gateway, .. } = stage;
        let within = LONG + 2 * Duration::from_millis(all * 1000 / u64::from(self.rate));
        let sent = load.join(within);
        assert_eq!(sent.total(), all);
        let came = collector.within(within, |it| it.audit.distinct() >= all);
        assert!(came, "{}{}", gateway.text(), collector.audit().faults(self.readings));
        let suspects = gateway.said("missing from our session");
        assert!(!(suspects && self.alone), "{}", gateway.text());
        // What the load had to send again itself is not the gateway's.
        let repeats_max = self.repeats_max + sent.resent;
        scene::fault(&self.name, repeats_max, &mut gateway, || {
            let audit = collector.audit();
            let verdict = audit.judge_load(SENSORS, self.readings);
            assert!(verdict.lost + verdict.reordered == 0, "{}", audit.faults(self.readings));
            verdict
        });
    }
}

/// Everything that can be broken.
struct Stage {
    input: Mosquitto,
    sink: Mosquitto,
    to_input: Proxy,
    to_sink: Proxy,
    config: String,
    launch: Launching,
    gateway: Gateway,
    collector: Collector,
    load: Running,
    random: Random,
    _disk: TempDir,
}

impl Stage {
    fn start(trial: &Trial, launch: Launching) -> Self {
        let input = Mosquitto::with(NO_DROP).persistent().start();
        let sink = Mosquitto::with(NO_DROP).persistent().acl(OPEN).start();
        let (to_input, to_sink) = (Proxy::to(input.port()), Proxy::to(sink.port()));
        let collector = Collector::start(sink.port());
        let disk = tempfile::tempdir().unwrap();
        let mut own = vec![
            output(&to_sink.url()),
            "output.broker.keep_alive = \"2s\"".to_owned(),
            "output.answer_max = \"2s\"".to_owned(),
            "broker.keep_alive = \"2s\"".to_owned(),
            format!("broker.window_messages = {WINDOW}"),
            "batch.records_max = 50".to_owned(),
            "batch.age_max = \"20ms\"".to_owned(),
        ];
        if trial.with_spool {
            own.push(format!("spool.path = \"{}\"", disk.path().display()));
            own.push("spool.after = \"200ms\"".to_owned());
        }
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let config = fleet(&to_input.url(), &own);
        let gateway = begun(launch(&config));
        let load = Publisher::to(input.port()).sensors(SENSORS).readings(trial.readings);
        let load = load.rate(f64::from(trial.rate)).start();
        load.wait_acknowledged(500, SOON);
        Self {
            input,
            sink,
            to_input,
            to_sink,
            config,
            launch,
            gateway,
            collector,
            load,
            random: Random::new(seed()),
            _disk: disk,
        }
    }

    /// Puts this gateway into the place of today's, which has ended.
    fn succeed(&mut self, gateway: Gateway, peak: u64) {
        let before = std::mem::replace(&mut self.gateway, gateway.after(peak));
        assert_readable(&before.stderr());
    }

    /// Ends the gateway as a power cut would, and starts it again.
    fn kill_gateway(&mut self) {
        let peak = self.gateway.memory_peak();
        self.gateway.signal("KILL");
        self.gateway.wait_exit(SOON);
        let next = begun((self.launch)(&self.config));
        self.succeed(next, peak);
    }

    /// Lets a random time pass, in milliseconds.
    fn wait(&mut self, range: Range<u64>) {
        let millis = |n| Duration::from_millis(n);
        pause(self.random.duration(millis(range.start)..millis(range.end)));
    }
}

/// An ACL that forbids nothing.
const OPEN: &str = "topic readwrite #\ntopic read $SYS/#\n";

/// Starts it and waits until it is subscribed.
fn begun(launch: Launch) -> Gateway {
    let gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}
