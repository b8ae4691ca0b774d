//! The classroom case: ten sensors, each of which takes 100 ms to be read, and a queue of 20
//! places with one consumer.
//!
//! Read one after the other, a round takes as long as all reads together. As tasks of their own
//! they wait at the same time, and a round takes as long as one read. Nothing is read faster: only
//! the waiting is shared.
//!
//! ```text
//! cargo run --release --example sequential_vs_concurrent
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the example is for")]

use std::convert::Infallible;
use std::error::Error;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate::clock;
use sluicegate::pace::Pace;
use sluicegate::queue::{self, Event, OnFull, Outlet, Queue, Want};
use sluicegate::settlement::{Outcome, Settled};
use sluicegate::source::Context;
use sluicegate::source::simulated::{Sensor, Settings, Shared};
use sluicegate::state::metrics::Metrics;
use sluicegate::state::registry::Registry;
use sluicegate::tasks::{self, Tasks};
use sluicegate::units::Size;
use tokio::sync::mpsc;

const SENSORS: u32 = 10;
const READ: Duration = Duration::from_millis(100);
const PLACES: u32 = 20;
const ROUNDS: usize = 5;

/// This demonstration's sink reports nothing.
type NoMail = Infallible;

/// A demonstration whose consumer is at work.
struct Classroom {
    queue: Queue,
    context: Context,
    /// One message for each reading that has been consumed.
    consumed: mpsc::Receiver<()>,
    sensors: Tasks<()>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (sequential, concurrent) = runtime.block_on(measure())?;
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("{SENSORS} sensors, {} a read, a queue of {PLACES} places, {ROUNDS} rounds", ms(READ));
    println!();
    println!("{:<22}{:>12}{:>12}{:>12}", "a round", "median", "min", "max");
    for (name, [median, min, max]) in
        [("one after the other", sequential), ("all at once", concurrent)]
    {
        println!("{name:<22}{:>12}{:>12}{:>12}", ms(median), ms(min), ms(max));
    }
    let [one, all] = [sequential, concurrent].map(|[median, ..]| median.as_secs_f64());
    println!("{:<22}{:>12}", "ratio", format!("{:.1} x", one / all));
    Ok(())
}

/// Median, least and longest time of a round, one after the other and all at once.
async fn measure() -> Result<([Duration; 3], [Duration; 3]), Box<dyn Error>> {
    let mut classroom = Classroom::open()?;
    let (mut sequential, mut concurrent) = (Vec::new(), Vec::new());
    // In turns, so that a busy moment of the machine hits both.
    for _ in 0..ROUNDS {
        let start = clock::now().instant;
        classroom.one_after_the_other().await;
        sequential.push(clock::now().instant - start);
        let start = clock::now().instant;
        classroom.all_at_once().await;
        concurrent.push(clock::now().instant - start);
    }
    Ok((spread(sequential)?, spread(concurrent)?))
}

fn spread(mut times: Vec<Duration>) -> Result<[Duration; 3], &'static str> {
    times.sort();
    match (times.get(times.len() / 2), times.first(), times.last()) {
        (Some(median), Some(min), Some(max)) => Ok([*median, *min, *max]),
        _ => Err("no round"),
    }
}

impl Classroom {
    fn open() -> Result<Self, Box<dyn Error>> {
        let (records_max, bytes_max) = (PLACES, PLACES * 64);
        let bound = |n| NonZeroU32::new(n).ok_or("a bound of 0");
        let on_full = OnFull::Wait;
        let (records_max, bytes_max) = (bound(records_max)?, Size(bound(bytes_max)?));
        let settings =
            queue::Settings { records_max, bytes_max, on_full, ..queue::Settings::default() };
        let queue = Queue::new(settings);
        let context = Context {
            entry: 0,
            run: "gw-1".into(),
            registry: Arc::new(Registry::new(SENSORS as usize, [("TEMP", None)])),
            metrics: Arc::new(Metrics::default()),
            pace: Arc::new(Pace::default()),
            on_full,
            record_bytes_max: 64,
            readings_max: 1,
            folder: None,
            listening: Arc::default(),
        };
        let (report, consumed) = mpsc::channel(PLACES as usize);
        let (outlet, places) = (queue.outlet(), queue.clone());
        // It ends with the program: the reports have nowhere to go then.
        drop(tasks::thread("consumer", move || consume(outlet, &places, &report))?);
        Ok(Self { queue, context, consumed, sensors: Tasks::default() })
    }

    /// Reads a sensor, and the next one when its reading has been consumed.
    async fn one_after_the_other(&mut self) {
        for index in 0..SENSORS {
            self.begin(index);
            self.consumed.recv().await;
        }
    }

    /// Reads all sensors at the same time.
    async fn all_at_once(&mut self) {
        for index in 0..SENSORS {
            self.begin(index);
        }
        for _ in 0..SENSORS {
            self.consumed.recv().await;
        }
    }

    /// Begins to read a sensor: a task of its own that offers the reading when the time is over.
    fn begin(&mut self, index: u32) {
        let settings = Settings { readings: Some(1), ..Settings::default() };
        let shared = Shared::new(&settings, "TEMP", 0);
        let sensor = Sensor::new(&shared, index, clock::now().instant + READ);
        let inlet = self.queue.inlet();
        self.sensors.start(sensor.run(&format!("TEMP_{index:02}"), inlet, &self.context));
    }
}

/// Takes readings and gives their places back, until nobody wants to know.
fn consume(mut outlet: Outlet<NoMail>, places: &Queue, report: &mpsc::Sender<()>) {
    let want = Want {
        records: true,
        fill_records: 1,
        fill_bytes: 1,
        hold: Duration::ZERO,
        stalled: false,
        deadline: None,
    };
    loop {
        let Event::Offered(chunk, _) = outlet.next(want) else { continue };
        let mut settled = Settled::default();
        for record in &chunk.records {
            settled.add(record.token, record.sensor, record.bytes());
        }
        places.release(&settled, Outcome::Delivered);
        for _ in &chunk.records {
            if report.blocking_send(()).is_err() {
                return;
            }
        }
        outlet.recycle(chunk);
    }
}
