//! The load: numbered readings of many sensors over several connections.
//!
//! Each sensor belongs to one connection, which sends the sensor's readings in order. A connection
//! that is lost is made again, and what was not acknowledged is sent again, in order.

#![expect(clippy::cast_precision_loss, reason = "rates and values are small numbers")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::session::{Options, Session};
use crate::support::wire::{Packet, PubAckReason, Version};
use crate::support::{Monitor, SOON, now, pause, thread};

/// Makes a topic or a payload from the sensor's id and the reading's number.
type Make<T> = Arc<dyn Fn(&str, u64) -> T + Send + Sync>;

/// `s00042`
pub(crate) fn sensor_id(index: usize) -> String {
    format!("s{index:05}")
}

/// What is to be published. Unless set otherwise: 10 sensors, 100 readings each, one connection,
/// `QoS` 1, MQTT 5, 64 in flight, as fast as it goes.
#[derive(Clone)]
pub(crate) struct Publisher {
    options: Options,
    sensors: usize,
    connections: usize,
    readings: u64,
    qos: u8,
    window: usize,
    rate: Option<f64>,
    topic: Make<String>,
    payload: Make<Vec<u8>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sensors × {} readings, QoS {}", self.sensors, self.readings, self.qos)
    }
}

impl Publisher {
    pub(crate) fn to(port: u16) -> Self {
        Self {
            options: Options::new(port, "load"),
            sensors: 10,
            connections: 1,
            readings: 100,
            qos: 1,
            window: 64,
            rate: None,
            topic: Arc::new(|sensor, _| format!("sensors/{sensor}/reading")),
            payload: Arc::new(|sensor, n| {
                let value = (n % 1000) as f64 / 10.0;
                format!(r#"{{"sensorId":"{sensor}","value":{value},"n":{n}}}"#).into_bytes()
            }),
        }
    }

    pub(crate) fn sensors(mut self, count: usize) -> Self {
        self.sensors = count;
        self
    }

    pub(crate) fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// Readings of each sensor.
    pub(crate) fn readings(mut self, count: u64) -> Self {
        self.readings = count;
        self
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Unacknowledged readings of each connection.
    pub(crate) fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// Readings per second, of all sensors together.
    pub(crate) fn rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second);
        self
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        self.options.version = version;
        self
    }

    pub(crate) fn login(mut self, user: &str, password: &str) -> Self {
        self.options = self.options.login(user, password);
        self
    }

    /// The beginning of the client ids; two publishers on one broker need two names.
    pub(crate) fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.options.client_id);
        self
    }

    pub(crate) fn topic(
        mut self,
        make: impl Fn(&str, u64) -> String + Send + Sync + 'static,
    ) -> Self {
        self.topic = Arc::new(make);
        self
    }

    /// The payload of a sensor's reading; readings are numbered from 1.
    pub(crate) fn payload(
        mut self,
        make: impl Fn(&str, u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.payload = Arc::new(make);
        self
    }

    pub(crate) fn start(self) -> Running {
        let progress = Arc::new(Monitor::new(Progress {
            report: Report { acknowledged: vec![0; self.sensors], ..Report::default() },
            stop: false,
        }));
        let started = now();
        let lanes = (0..self.connections).map(|index| {
            let lane = Lane::new(&self, index, started, &progress);
            thread("publisher", move || lane.run())
        });
        Running { lanes: lanes.collect(), progress, started }
    }

    /// Publishes everything and returns when all of it is acknowledged.
    #[track_caller]
    pub(crate) fn run(self, deadline: Duration) -> Report {
        self.start().join(deadline)
    }
}

/// What was published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Readings sent for the first time.
    pub(crate) sent: u64,
    /// Readings sent again after a lost connection.
    pub(crate) resent: u64,
    /// Readings acknowledged, by sensor; with `QoS` 0 those that the broker has read.
    pub(crate) acknowledged: Vec<u64>,
    /// Readings answered with a reason of 0x80 and more.
    pub(crate) refused: u64,
    /// Connections made again.
    pub(crate) reconnects: u64,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn total(&self) -> u64 {
        self.acknowledged.iter().sum()
    }
}

#[derive(Debug)]
struct Progress {
    report: Report,
    stop: bool,
}

/// A publisher at work.
#[derive(Debug)]
pub(crate) struct Running {
    lanes: Vec<JoinHandle<()>>,
    progress: Arc<Monitor<Progress>>,
    started: Instant,
}

impl Running {
    /// Readings acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.progress.lock().report.total()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.progress.lock().report.sent
    }

    #[track_caller]
    pub(crate) fn wait_acknowledged(&self, count: u64, deadline: Duration) {
        let (progress, done) = self.progress.wait(deadline, |all| all.report.total() >= count);
        let total = progress.report.total();
        drop(progress);
        assert!(done, "{total} of {count} readings were acknowledged within {deadline:?}");
    }

    /// Ends early, with what is acknowledged by now.
    pub(crate) fn stop(self) -> Report {
        self.progress.change(|progress| progress.stop = true);
        self.join(SOON)
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn join(mut self, deadline: Duration) -> Report {
        let end = now() + deadline;
        while !self.lanes.iter().all(JoinHandle::is_finished) && now() < end {
            pause(Duration::from_millis(2));
        }
        if !self.lanes.iter().all(JoinHandle::is_finished) {
            let report = self.progress.change(|progress| {
                progress.stop = true;
                progress.report.clone()
            });
            let (sent, total) = (report.sent, report.total());
            panic!("publisher not done within {deadline:?}: {sent} sent, {total} acknowledged");
        }
        for lane in self.lanes.drain(..) {
            lane.join().unwrap();
        }
        let mut report = self.progress.lock().report.clone();
        report.took = now() - self.started;
        report
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.progress.change(|progress| progress.stop = true);
    }
}

/// One connection and its sensors.
struct Lane {
    plan: Publisher,
    sensors: Vec<(usize, String)>,
    progress: Arc<Monitor<Progress>>,
    started: Instant,
    /// Readings of this lane that were sent at least once.
    next: u64,
    /// What is sent and not acknowledged: packet id, place in the lane's order.
    unacked: VecDeque<(u16, u64)>,
    /// What a lost connection left over.
    again: VecDeque<u64>,
}

impl Lane {
    fn new(
        plan: &Publisher,
        index: usize,
        started: Instant,
        progress: &Arc<Monitor<Progress>>,
    ) -> Self {
        let mut plan = plan.clone();
        plan.options.client_id = format!("{}-{index}", plan.options.client_id);
        let mine = (index..plan.sensors).step_by(plan.connections);
        let sensors = mine.map(|sensor| (sensor, sensor_id(sensor))).collect();
        let progress = Arc::clone(progress);
        let (unacked, again) = (VecDeque::new(), VecDeque::new());
        Self { plan, sensors, progress, started, next: 0, unacked, again }
    }

    fn total(&self) -> u64 {
        self.sensors.len() as u64 * self.plan.readings
    }

    fn stopped(&self) -> bool {
        self.progress.lock().stop
    }

    fn run(mut self) {
        let mut first = true;
        while !self.stopped() {
            let Ok(mut session) = Session::open(&self.plan.options) else {
                pause(Duration::from_millis(20));
                continue;
            };
            if !first {
                self.progress.change(|progress| progress.report.reconnects += 1);
            }
            first = false;
            if self.drive(&mut session).is_ok() {
                return;
            }
            let left = self.unacked.drain(..).map(|(_, place)| place).rev();
            left.for_each(|place| self.again.push_front(place));
        }
    }

    fn drive(&mut self, session: &mut Session) -> io::Result<()> {
        loop {
            let before = self.next;
            let resent = self.fill(session);
            session.flush()?;
            let sent = self.next - before;
            self.progress.change(|progress| {
                progress.report.sent += sent;
                progress.report.resent += resent;
            });
            let all_sent = self.next == self.total() && self.again.is_empty();
            if all_sent && self.unacked.is_empty() || self.stopped() {
                break;
            }
            let patience = if all_sent { Duration::from_millis(50) } else { self.until_due() };
            if self.plan.qos == 0 {
                pause(patience);
            } else {
                self.collect(session, patience)?;
            }
        }
        if self.plan.qos == 0 {
            session.ping(SOON)?;
            let sent = self.next;
            (0..sent).for_each(|place| self.settle(place));
        }
        Ok(())
    }

    /// Writes what is due and fits into the window; how many were sent before.
    fn fill(&mut self, session: &mut Session) -> u64 {
        let mut resent = 0;
        while self.unacked.len() < self.plan.window && session.unsent() < 64 << 10 {
            let place = match self.again.pop_front() {
                Some(place) => {
                    resent += 1;
                    place
                }
                None if self.next < self.total() && self.until_due().is_zero() => {
                    self.next += 1;
                    self.next - 1
                }
                None => break,
            };
            let (sensor, n) = self.reading(place);
            let (topic, payload) = ((self.plan.topic)(sensor, n), (self.plan.payload)(sensor, n));
            let id = session.write_publish(&topic, payload, self.plan.qos);
            if self.plan.qos > 0 {
                self.unacked.push_back((id, place));
            }
        }
        resent
    }

    /// The sensor and the number of the reading at a place of this lane's order.
    fn reading(&self, place: u64) -> (&str, u64) {
        let (count, place) = (self.sensors.len(), usize::try_from(place).unwrap());
        (&self.sensors[place % count].1, (place / count) as u64 + 1)
    }

    /// How long until the next reading is due by the rate.
    fn until_due(&self) -> Duration {
        let Some(rate) = self.plan.rate else { return Duration::ZERO };
        let rate = rate / self.plan.connections as f64;
        let due = self.started + Duration::from_secs_f64(self.next as f64 / rate);
        due.saturating_duration_since(now())
    }

    /// Takes acknowledgements: waits for one if the window is full, and takes all that are there.
    fn collect(&mut self, session: &mut Session, patience: Duration) -> io::Result<()> {
        let full = self.unacked.len() >= self.plan.window;
        let mut patience = if full { Duration::from_millis(50) } else { patience };
        while let Some(packet) = session.receive(patience)? {
            if let Packet::PubAck(ack) = packet {
                let found = self.unacked.iter().position(|(id, _)| *id == ack.pkid);
                let place = found.and_then(|at| self.unacked.remove(at)).map(|(_, place)| place);
                let taken = matches!(
                    ack.reason,
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers
                );
                match place {
                    Some(place) if taken => self.settle(place),
                    _ => self.progress.change(|progress| progress.report.refused += 1),
                }
            }
            if self.unacked.len() <= self.plan.window / 2 {
                break;
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }

    fn settle(&mut self, place: u64) {
        let sensor = self.sensors[usize::try_from(place).unwrap() % self.sensors.len()].0;
        self.progress.change(|progress| progress.report.acknowledged[sensor] += 1);
    }
}
