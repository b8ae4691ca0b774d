//! Who looks at the gateway: ten clients of the stream under load, and pages of `/api/sensors` out of very many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::{Auditor, CountOnly};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::{until, until_calm};
use crate::subject::{Gateway, READINGS, fleet};

/// Clients of the stream: as many as it has seats.
const CLIENTS: usize = 10;

const RATE: u64 = 20_000;
const ROUNDS: usize = 3;

/// Seconds' worth of readings that pass before it is measured, and meanwhile.
const WARM_UP: u64 = 1;
const MEASURED: u64 = 4;

const MANY: u64 = 100_000;
const PAGES: usize = 100;

const PATIENCE: Duration = Duration::from_secs(20);

/// Both.
pub(crate) fn measure(figures: &mut Figures) {
    stream(figures);
    pages(figures);
}

/// Processor time of a reading, with and without clients of the stream.
fn stream(figures: &mut Figures) {
    let (mut alone, mut watched) = (Spread::default(), Spread::default());
    let mut bytes = 0.0;
    for _ in 0..ROUNDS {
        alone.add(reading(0).0);
        let (us, seen) = reading(CLIENTS);
        watched.add(us);
        bytes = seen / CLIENTS as f64 / 1e3;
    }
    println!(
        "us a reading at {RATE}/s: {:.2} alone, {:.2} with {CLIENTS} clients of the stream, each {bytes:.1} kB/s",
        alone.median(),
        watched.median()
    );
    let ratio = watched.median() / alone.median();
    figures.note(
        format!("stream, {CLIENTS} clients at {RATE}/s: us a reading"),
        watched.median(),
        (2, "us"),
        Target::None,
    );
    figures.goal("the same / without clients", ratio, (2, "x"), Target::AtMost(1.25));
}

/// Processor time of a reading in microseconds, and bytes a second that the clients were sent meanwhile.
fn reading(clients: usize) -> (f64, f64) {
    until_calm();
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(broker.port, 1, &flow, CountOnly);
    let config = fleet(&broker, 1).replace("\"warn\"", "\"info\"");
    let gateway = Gateway::start(&format!("{config}[http]\nlisten = \"127.0.0.1:0\"\n"));
    broker.until_subscribed(READINGS);
    let bytes = Arc::new(AtomicU64::new(0));
    for _ in 0..clients {
        let mut stream = ask(gateway.http_port(), "/api/stream");
        let bytes = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(more @ 1..) = stream.read(&mut buffer) {
                bytes.fetch_add(more as u64, Ordering::Relaxed);
            }
        });
    }
    let (port, pace, start) = (broker.port, Pace::Rate(RATE), Instant::now());
    let load = Load { port, qos: 1, pace, readings: u64::MAX, padding: 0, start };
    let publishers = Publishers::start(load, &flow);
    pass(&flow, WARM_UP * RATE);
    let look = || (gateway.process.cpu(), flow.got(), bytes.load(Ordering::Relaxed));
    let (before, began) = (look(), Instant::now());
    pass(&flow, MEASURED * RATE);
    let (after, seconds) = (look(), began.elapsed().as_secs_f64());
    publishers.stop();
    let CountOnly = auditor.finish();
    let us = (after.0 - before.0) * 1e6 / (after.1 - before.1) as f64;
    (us, (after.2 - before.2) as f64 / seconds)
}

/// Pages of a hundred, out of sensors that all report once a second; and the processor time with and without them.
fn pages(figures: &mut Figures) {
    until_calm();
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(broker.port, 1, &flow, CountOnly);
    let config = format!(
        "[gateway]\nmemory_max = \"2GiB\"\n[broker]\n{}\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [sensors.S.simulated]\ncount = {MANY}\ninterval = \"1s\"\n",
        broker.url()
    );
    let gateway = Gateway::start(&config);
    assert!(until(PATIENCE, || flow.got() >= MANY), "all have reported");
    let port = gateway.http_port();
    let (before, start) = (gateway.process.cpu(), Instant::now());
    pass(&flow, MEASURED * MANY);
    let alone = 100.0 * (gateway.process.cpu() - before) / start.elapsed().as_secs_f64();
    println!("{MANY} sensors at 1 Hz: {alone:.0} % of a processor without a page");
    for query in ["", "&sort=silence", "&sort=rate", "&search=S_0999"] {
        let (before, start) = (gateway.process.cpu(), Instant::now());
        let mut late = Spread::default();
        for _ in 0..PAGES {
            let asked = Instant::now();
            let mut answer = Vec::new();
            let path = format!("/api/sensors?limit=100{query}");
            ask(port, &path).read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            late.add(asked.elapsed().as_secs_f64() * 1e3);
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = gateway.process.cpu() - before - alone / 100.0 * seconds;
        let each = cpu.max(0.0) * 1e3 / PAGES as f64;
        let [p50, p99] = [0.5, 0.99].map(|part| late.quantile(part));
        let name = if query.is_empty() { "by id" } else { query.trim_start_matches('&') };
        println!(
            "a page of 100, {name}: ms p50 {p50:.1}, p99 {p99:.1}; {each:.1} ms of a processor"
        );
        figures.note(
            format!("/api/sensors out of {MANY}, {name}: p50"),
            p50,
            (1, "ms"),
            Target::None,
        );
    }
    let CountOnly = auditor.finish();
}

/// Waits until so many readings more have arrived.
fn pass(flow: &Flow, readings: u64) {
    let end = flow.got() + readings;
    assert!(until(PATIENCE, || flow.got() >= end), "{readings} readings have arrived");
}

/// Asks for a page, and reads nothing yet.
fn ask(port: u16, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}
