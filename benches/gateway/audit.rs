//! The consumer: subscribed to the batches, it counts what comes out, or looks closely.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::load::{FIRST_VALUE, Flow, SENSORS};
use crate::wire;

/// The topic of the batches.
pub(crate) const BATCHES: &str = "gateway/batches";

/// What is done with a batch.
pub(crate) trait Audit: Send + 'static {
    /// Looks at a batch that came at `now`.
    fn batch(&mut self, payload: &str, now: Instant);
}

/// Nothing but the count is of interest.
pub(crate) struct CountOnly;

impl Audit for CountOnly {
    fn batch(&mut self, _: &str, _: Instant) {}
}

/// A consumer at work.
pub(crate) struct Auditor<A> {
    stream: TcpStream,
    thread: JoinHandle<A>,
}

impl<A: Audit> Auditor<A> {
    /// Subscribes; counts into `flow` and shows every batch to `audit`.
    pub(crate) fn start(port: u16, qos: u8, flow: &Arc<Flow>, audit: A) -> Self {
        let mut stream = wire::connect(port, "bench-audit");
        wire::subscribe(&mut stream, BATCHES, qos);
        let (copy, flow) = (stream.try_clone().unwrap(), Arc::clone(flow));
        Self { stream, thread: thread::spawn(move || follow(copy, &flow, audit)) }
    }

    /// Ends it; what the audit has found.
    pub(crate) fn finish(self) -> A {
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.thread.join().unwrap()
    }
}

fn follow<A: Audit>(mut stream: TcpStream, flow: &Flow, mut audit: A) -> A {
    let (mut buffer, mut filled, mut acks) = (vec![0; 4 << 20], 0, Vec::new());
    while let Ok(more @ 1..) = stream.read(&mut buffer[filled..]) {
        let now = Instant::now();
        filled += more;
        let mut count = 0;
        let used = wire::take(&buffer[..filled], &mut acks, |payload| {
            let payload = std::str::from_utf8(payload).unwrap();
            count += count_of(payload);
            audit.batch(payload, now);
        });
        buffer.copy_within(used..filled, 0);
        filled -= used;
        flow.got.fetch_add(count, Ordering::Release);
        if stream.write_all(&acks).is_err() {
            break;
        }
        acks.clear();
    }
    audit
}

/// `"count":` of an envelope.
fn count_of(payload: &str) -> u64 {
    let (_, rest) = payload.split_once("\"count\":").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

/// A record, as far as it matters here.
pub(crate) struct Record<'a> {
    /// The digits at the end of the sensor's id.
    pub(crate) sensor: u64,
    /// Its sequence.
    pub(crate) sequence: u64,
    /// Its value.
    pub(crate) value: f64,
    /// Its timestamp, without quotes.
    pub(crate) timestamp: &'a str,
}

impl Record<'_> {
    /// Its number, if it is a publisher's.
    pub(crate) fn number(&self) -> u64 {
        let thousandths = (self.value * 1000.0).round() as u64;
        (thousandths - FIRST_VALUE) * SENSORS + self.sensor
    }
}

/// The records of a batch.
pub(crate) fn records(payload: &str) -> impl Iterator<Item = Record<'_>> {
    payload.split("{\"sensorId\":\"").skip(1).map(|text| {
        let mut rest = text;
        let mut until = |end: &str| {
            let (field, after) = rest.split_once(end).unwrap();
            rest = after;
            field
        };
        let id = until("\",\"sequence\":");
        let sequence = until(",\"value\":").parse().unwrap();
        let value = until(",\"timestamp\":").parse().unwrap();
        let timestamp = rest.trim_start_matches('"');
        let end = timestamp.find(['"', ',', '}']).unwrap();
        let sensor = id.rsplit('_').next().unwrap().parse().unwrap();
        Record { sensor, sequence, value, timestamp: timestamp.split_at(end).0 }
    })
}
