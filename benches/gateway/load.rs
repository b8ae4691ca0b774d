//! The sensors: four publishers, a thousand sensors, readings of some 70 bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process::{until, until_every};
use crate::wire;

/// Sensors.
pub(crate) const SENSORS: u64 = 1000;

/// The value of a sensor's first reading in thousandths; the next is one thousandth more. Readings
/// are numbered by their sensor and value, and all payloads have the same length.
pub(crate) const FIRST_VALUE: u64 = 50_000;

const PUBLISHERS: u64 = 4;

/// Readings of one write.
const PIECE: u64 = 32;

/// QoS 1 readings that a publisher has unacknowledged at most.
const IN_FLIGHT: u64 = 1000;

/// Pause of a publisher that has no room, and of a reader of acknowledgements: the load side takes
/// its share of the machine, so it is kept cheap.
const NAP: Duration = Duration::from_millis(1);

/// What has brought nothing for so long brings no more; how long that is waited for.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long the broker may take for the last acknowledgements.
const ACKS_WAIT_MAX: Duration = Duration::from_secs(30);

/// What publishers and a consumer know of each other.
#[derive(Default)]
pub(crate) struct Flow {
    /// Readings published.
    pub(crate) sent: AtomicU64,
    /// Readings that have come out.
    pub(crate) got: AtomicU64,
    stop: AtomicBool,
}

impl Flow {
    /// Readings published.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Readings that have come out.
    pub(crate) fn got(&self) -> u64 {
        self.got.load(Ordering::Acquire)
    }

    /// Waits until nothing more comes out.
    pub(crate) fn until_quiet(&self) {
        let mut last = None;
        until_every(QUIET, QUIET_WAIT_MAX, || {
            let got = Some(self.got());
            std::mem::replace(&mut last, got) == got
        });
    }
}

/// How fast readings are published.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// With at most so many on their way.
    Window(u64),
    /// So many a second, however late they come out.
    Rate(u64),
    /// As fast as the broker takes them.
    Flood,
}

/// What is to be published.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// The broker's port.
    pub(crate) port: u16,
    /// QoS of the readings.
    pub(crate) qos: u8,
    /// How fast.
    pub(crate) pace: Pace,
    /// How many in all.
    pub(crate) readings: u64,
    /// Bytes that a reading is longer than usual.
    pub(crate) padding: usize,
    /// When the first reading is due.
    pub(crate) start: Instant,
}

/// Publishers at work.
pub(crate) struct Publishers {
    flow: Arc<Flow>,
    threads: Vec<JoinHandle<()>>,
}

impl Publishers {
    /// Starts them.
    pub(crate) fn start(load: Load, flow: &Arc<Flow>) -> Self {
        let start = |index| {
            let flow = Arc::clone(flow);
            thread::spawn(move || publish(load, &flow, index))
        };
        Self { flow: Arc::clone(flow), threads: (0..PUBLISHERS).map(start).collect() }
    }

    /// Waits until all readings are published and acknowledged.
    pub(crate) fn join(self) {
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// Stops publishing; what has been published is acknowledged.
    pub(crate) fn stop(self) {
        self.flow.stop.store(true, Ordering::Release);
        self.join();
    }
}

fn publish(load: Load, flow: &Flow, index: u64) {
    let mut stream = wire::connect(load.port, &format!("bench-sensors-{index}"));
    let acked = Arc::new(AtomicU64::new(0));
    if load.qos > 0 {
        let (stream, acked) = (stream.try_clone().unwrap(), Arc::clone(&acked));
        thread::spawn(move || count_acks(stream, &acked));
    }
    thread::sleep(load.start.saturating_duration_since(Instant::now()));
    let mut template = Template::new(load.qos, load.padding);
    let (mut number, mut mine, mut out) = (index, 0, Vec::new());
    while number < load.readings && !flow.stop.load(Ordering::Acquire) {
        let in_flight = if load.qos > 0 { mine - acked.load(Ordering::Acquire) } else { 0 };
        let room = load.room(flow, number).min(IN_FLIGHT - in_flight).min(PIECE);
        if room == 0 {
            thread::sleep(NAP);
            continue;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        out.clear();
        for _ in 0..room {
            out.extend_from_slice(template.fill(number, mine, now));
            (number, mine) = (number + PUBLISHERS, mine + 1);
        }
        flow.sent.fetch_add(room, Ordering::Release);
        stream.write_all(&out).unwrap();
    }
    let all_acked = || load.qos == 0 || acked.load(Ordering::Acquire) == mine;
    assert!(until(ACKS_WAIT_MAX, all_acked), "the broker acknowledges");
    stream.write_all(&wire::DISCONNECT).unwrap();
}

fn count_acks(mut stream: TcpStream, acked: &AtomicU64) {
    let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
    while let Ok(more @ 1..) = stream.read(&mut buffer) {
        bytes += more;
        acked.store((bytes / wire::PUBACK_BYTES) as u64, Ordering::Release);
        thread::sleep(NAP);
    }
}

impl Load {
    /// When reading `number` is due, at a fixed rate.
    pub(crate) fn due(&self, number: u64) -> Instant {
        let Pace::Rate(rate) = self.pace else { return self.start };
        self.start + Duration::from_secs_f64(number as f64 / rate as f64)
    }

    /// Readings that a publisher whose next one is `number` may publish now.
    fn room(&self, flow: &Flow, number: u64) -> u64 {
        let left = (self.readings - number).div_ceil(PUBLISHERS);
        let allowed = match self.pace {
            Pace::Flood => left,
            Pace::Window(window) => {
                // The others may be about to publish a piece each.
                let taken = flow.sent().saturating_sub(flow.got()) + PUBLISHERS * PIECE;
                window.saturating_sub(taken)
            }
            Pace::Rate(rate) => {
                let due = (self.start.elapsed().as_secs_f64() * rate as f64) as u64;
                (due + 1).saturating_sub(number).div_ceil(PUBLISHERS)
            }
        };
        allowed.min(left)
    }
}

/// A PUBLISH whose digits are written over for each reading.
struct Template {
    packet: Vec<u8>,
    packet_id: Option<usize>,
    /// Where the digits lie: sensor (in the topic and in the payload), value, timestamp.
    places: [usize; 4],
}

impl Template {
    fn new(qos: u8, padding: usize) -> Self {
        let reading = r#"{"sensorId":"TEMP_00000","value":50.000,"timestamp":1732250000123"#;
        let payload = match padding {
            0 => format!("{reading}}}"),
            // A field that the gateway does not know is kept.
            _ => format!("{reading},\"trace\":\"{:~>padding$}\"}}", ""),
        };
        let packet = wire::publish("sensors/TEMP_00000/reading", qos, 1, payload.as_bytes());
        let after = |what: &str| {
            let mut windows = packet.windows(what.len());
            windows.rposition(|it| it == what.as_bytes()).unwrap() + what.len()
        };
        let places =
            [after("sensors/TEMP_"), after("\"TEMP_"), after("value\":"), after("timestamp\":")];
        let packet_id = (qos > 0).then(|| after("/reading"));
        Self { packet, packet_id, places }
    }

    fn fill(&mut self, number: u64, mine: u64, now: u64) -> &[u8] {
        if let Some(at) = self.packet_id {
            let id = (mine % u64::from(u16::MAX)) as u16 + 1;
            self.packet[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        let (sensor, value) = (number % SENSORS, FIRST_VALUE + number / SENSORS);
        let [topic, id, at, timestamp] = self.places;
        digits(&mut self.packet[topic..topic + 5], sensor);
        digits(&mut self.packet[id..id + 5], sensor);
        digits(&mut self.packet[at..at + 2], value / 1000);
        digits(&mut self.packet[at + 3..at + 6], value % 1000);
        digits(&mut self.packet[timestamp..timestamp + 13], now);
        &self.packet
    }
}

fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
