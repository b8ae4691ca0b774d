//! Simulated sensors: very many at a steady pace, and a few as fast as they can.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sluicegate::pace::Pace;
use sluicegate::queue::{self, Event, Outlet, Queue, Want};
use sluicegate::settlement::{Outcome, Settled};
use sluicegate::source::Context;
use sluicegate::source::simulated::{Sensor, Settings, Shared};
use sluicegate::state::metrics::Metrics;
use sluicegate::state::registry::Registry;
use sluicegate::tasks::{self, Tasks};
use sluicegate::units;

use crate::audit::{Audit, Auditor, CountOnly, records};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::load::Flow;
use crate::process::{until, until_calm};
use crate::subject::Gateway;

const MANY: u64 = 100_000;

/// Seconds of the many at 1 Hz, of which the first is not measured.
const SECONDS: u64 = 8;

const FAST: u32 = 10;
const FAST_MEASURED: Duration = Duration::from_secs(3);

/// Sensor, sequence and timestamp (in milliseconds) of every reading.
#[derive(Default)]
struct Log(Vec<(u64, u64, f64)>);

impl Audit for Log {
    fn batch(&mut self, payload: &str, _: Instant) {
        for record in records(payload) {
            let at = humantime::parse_rfc3339(record.timestamp).unwrap();
            let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
            self.0.push((record.sensor, record.sequence, since.as_secs_f64() * 1e3));
        }
    }
}

/// Both.
pub(crate) fn measure(figures: &mut Figures) {
    many(figures);
    fast(figures);
    fast_in_process(figures);
}

fn config(broker: &Mosquitto, sensors: &str) -> String {
    format!(
        "[gateway]\nmemory_max = \"2GiB\"\n[broker]\n{}\n\
         [sensors.S.simulated]\n{sensors}\n",
        broker.url()
    )
}

fn many(figures: &mut Figures) {
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(broker.port, 1, &flow, Log::default());
    let sensors = format!("count = {MANY}\ninterval = \"1s\"");
    let gateway = Gateway::start(&config(&broker, &sensors));
    assert!(until(Duration::from_secs(20), || flow.got() > 0), "no batch");
    thread::sleep(Duration::from_secs(1));
    let (before, start) = (gateway.process.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(SECONDS - 1));
    let cpu = gateway.process.cpu() - before;
    let cpu = 100.0 * cpu / start.elapsed().as_secs_f64();
    let peak = gateway.process.memory_peak() as f64 / 1e6;
    let log = auditor.finish().0;
    // Reading k of sensor i is due at start + (i / count + k) seconds; nobody is early.
    let ahead = |(sensor, sequence, at): &(u64, u64, f64)| {
        at - (*sensor as f64 / MANY as f64 + (sequence - 1) as f64) * 1e3
    };
    let start = log.iter().map(ahead).fold(f64::INFINITY, f64::min);
    let window = |at: f64| (1e3..(SECONDS - 1) as f64 * 1e3).contains(&(at - start));
    let counted = log.iter().filter(|it| window(it.2)).count() as f64;
    let hertz = counted / (SECONDS - 2) as f64 / MANY as f64;
    let late: Spread = log.iter().filter(|it| window(it.2)).map(|it| ahead(it) - start).collect();
    let mut missed = vec![0; MANY as usize];
    for reading in &log {
        missed[reading.0 as usize] = ((ahead(reading) - start) / 1e3) as u64;
    }
    let missed: u64 = missed.iter().sum();
    println!(
        "{MANY} sensors at 1 Hz: {hertz:.3} Hz each, {missed} ticks missed, {cpu:.0} % of a processor, peak {peak:.0} MB"
    );
    println!(
        "ms late: p50 {:.0}, p99 {:.0}, worst {:.0}",
        late.median(),
        late.quantile(0.99),
        late.quantile(1.0)
    );
    let name = format!("{MANY} sensors at 1 Hz:");
    figures.note(format!("{name} each"), hertz, (3, "Hz"), Target::AtLeast(0.999));
    figures.note(format!("{name} ticks missed"), missed as f64, (0, ""), Target::AtMost(0.0));
    figures.goal(format!("{name} p99 late"), late.quantile(0.99), (0, "ms"), Target::AtMost(5.0));
    figures.goal(format!("{name} of a processor"), cpu, (0, "%"), Target::AtMost(25.0));
    figures.goal(format!("{name} peak resident memory"), peak, (0, "MB"), Target::AtMost(100.0));
    let bound = Target::AtMost(gateway.memory_bound());
    figures.note(format!("{name} the same, below the printed bound"), peak, (0, "MB"), bound);
}

/// As fast as the whole way takes them: queue, worker, broker, acknowledgement.
fn fast(figures: &mut Figures) {
    until_calm();
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(broker.port, 1, &flow, CountOnly);
    let sensors = format!("count = {FAST}\ninterval = \"0s\"");
    let gateway = Gateway::start(&config(&broker, &sensors));
    assert!(until(Duration::from_secs(10), || flow.got() > 0), "no batch");
    thread::sleep(Duration::from_millis(500));
    let (before, count, start) = (gateway.process.cpu(), flow.got(), Instant::now());
    thread::sleep(FAST_MEASURED);
    let (count, time) = ((flow.got() - count) as f64, start.elapsed().as_secs_f64());
    let us = (gateway.process.cpu() - before) * 1e6 / count;
    let CountOnly = auditor.finish();
    println!(
        "{FAST} sensors, interval 0, through mosquitto: {:.0} readings/s, {us:.2} us each",
        count / time
    );
    let name = format!("{FAST} sensors, interval 0, to the consumer");
    figures.note(name, count / time / 1e6, (2, "million/s"), Target::None);
}

/// As fast as sensors and queue alone can: this process's own queue, and a consumer that only
/// gives places back.
fn fast_in_process(figures: &mut Figures) {
    until_calm();
    let settings = queue::Settings::default();
    let queue = Queue::new(settings);
    let context = Context {
        entry: 0,
        run: "gw-1".into(),
        registry: Arc::new(Registry::new(FAST as usize, [("TEMP", None)])),
        metrics: Arc::new(Metrics::default()),
        pace: Arc::new(Pace::default()),
        on_full: settings.on_full,
        record_bytes_max: settings.record_bytes_max.get(),
        readings_max: 1,
        folder: None,
        listening: Arc::default(),
    };
    let metrics = Arc::clone(&context.metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (count, time) = runtime.block_on(async {
        let interval = units::Period::millis(0);
        let sensor = Settings { interval, ..Settings::default() };
        let mut tasks = Tasks::default();
        let start = Instant::now();
        for index in 0..FAST {
            let shared = Shared::new(&sensor, "S", 0);
            let sensor = Sensor::new(&shared, index, start);
            tasks.start(sensor.run(&format!("S_{index}"), queue.inlet(), &context));
        }
        let (outlet, places) = (queue.outlet(), queue.clone());
        let consumer = tasks::thread("consumer", move || consume(outlet, &places)).unwrap();
        let mut measured = (0.0, Duration::ZERO);
        tasks
            .run_until(async {
                tokio::time::sleep(FAST_MEASURED).await;
                measured = (metrics.received.get() as f64, start.elapsed());
            })
            .await;
        consumer.await.unwrap();
        (measured.0, measured.1.as_secs_f64())
    });
    println!("{FAST} sensors, interval 0, through the queue alone: {:.0} readings/s", count / time);
    let name = format!("{FAST} sensors, interval 0, through the queue alone");
    figures.goal(name, count / time / 1e6, (2, "million/s"), Target::AtLeast(2.0));
}

fn consume(mut outlet: Outlet<Infallible>, places: &Queue) {
    let want = Want {
        records: true,
        fill_records: 500,
        fill_bytes: 256 * 1024,
        hold: Duration::from_millis(100),
        stalled: false,
        deadline: None,
    };
    loop {
        let chunk = match outlet.next(want) {
            Event::Offered(chunk, _) => chunk,
            Event::Ended => return,
            _ => continue,
        };
        let mut settled = Settled::default();
        for record in &chunk.records {
            settled.add(record.token, record.sensor, record.bytes());
        }
        places.release(&settled, Outcome::Delivered);
        outlet.recycle(chunk);
    }
}
