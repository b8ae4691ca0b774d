//! The plan of a gateway: the settings without the shell's, and the numbers and names that follow from them.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::codec::compression::Compression;
use crate::codec::{Encoder, Format, Head, Options, influx};
use crate::limits::{
    Budget, DEAD_LETTER_BYTES_IN_FLIGHT_MAX, DEAD_LETTERS_IN_FLIGHT_MAX, HTTP_CONNECTIONS_MAX,
    HTTP_HEAD_BYTES_MAX, HTTP_STREAMS_MAX, HTTP_WRITE_BYTES_MAX, LETTER_WAITING_BYTES, WAITING_MAX,
    mebibytes,
};
use crate::mqtt::{left, roll_call};
use crate::policies::Settings as Policies;
use crate::record::Record;
use crate::sealed::PLACE_BYTES;
use crate::state::registry::SENSOR_BYTES;
use crate::units::{Percent, Period, Size};
use crate::{batch, queue, sink, source, spool, watch};

mod changed;
mod check;
mod clients;
pub mod current;
pub mod http;
mod idle;
mod intakes;
mod notices;
mod routes;
mod sessions;
mod state;
pub mod token;
mod warnings;

use self::http::Http;
pub use crate::mqtt::broker::Broker;

/// Sessions of other entries that are remembered beside those of the current ones. Of more, the oldest are forgotten:
/// the log then does not report that one of them is lost.
const OTHERS_LEFT_MAX: usize = 16;

/// `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The name of the gateway: in every envelope, the prefix of every batch id and, unless `broker.client_id`
    /// is set, of every client id. 1 to 64 of `A-Z a-z 0-9 - _ .`.
    #[schemars(extend("pattern" = "^[A-Za-z0-9._-]{1,64}$"))]
    pub id: String,
    /// The bound on memory: the limits of the other sections together. Above it the gateway does not start, and
    /// prints how much each limit takes.
    pub memory_max: Size,
    /// The longest time for a stop to deliver everything. After it (exit code 75) the remaining QoS 1 readings
    /// stay unacknowledged in the broker's session; the remaining QoS 0 and simulated readings are lost.
    pub shutdown_grace: Period,
    /// How long a broker may refuse the gateway (login, subscription, output topic), a command may not be there, or
    /// the output's file may not be opened, before anything of it has worked. After it the gateway ends with exit
    /// code 77. 0: at the first refusal.
    pub start_grace: Period,
    /// Sensors with books and a `sequence` of their own. At the limit an entry forgets its sensor of which nothing has
    /// come for longest, and nothing is held. Where there is none, readings of further ones are delivered without
    /// `sequence` and counted with their entry; a warning and health (degraded) name the entry.
    pub sensors_max: NonZeroU32,
    /// The path of a Unix socket on which `sluicegate reload` asks for the configuration to be read again: 1 to 100 bytes,
    /// for the gateway's user alone (mode 0600). What an earlier run has left there is replaced. Absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<PathBuf>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            id: "gw-1".into(),
            memory_max: Size::bytes(256 << 20),
            shutdown_grace: Period::millis(10_000),
            start_grace: Period::millis(300_000),
            sensors_max: NonZeroU32::new(100_000).expect("100000 is not zero"),
            control: None,
        }
    }
}

/// `[output]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// The format of a batch.
    pub format: Format,
    /// `[output.influx]`.
    pub influx: influx::Settings,
    /// Batches that are published and not yet acknowledged. At the limit, records wait in the queue.
    pub window_batches: NonZeroU16,
    /// Percent of the readings of the last minute. If more of them, and at least 20, became dead letters, the
    /// gateway is degraded, with the most frequent reason, sensor and topic. 100: never.
    pub dead_letters_percent_max: Percent,
    /// Where batches go: `[output.<kind>]`.
    #[serde(skip)]
    pub sink: sink::Kind,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            format: Format::Json,
            influx: influx::Settings::default(),
            window_batches: NonZeroU16::new(16).expect("16 is not zero"),
            dead_letters_percent_max: Percent(5),
            sink: sink::Kind::default(),
        }
    }
}

impl Output {
    /// Writes the records of this output.
    pub fn encoder(&self) -> Encoder {
        self.format.encoder(&Options { influx: &self.influx })
    }
}

/// All settings of a gateway.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[broker]`.
    pub broker: Broker,
    /// `[sensors.*]`, by name.
    pub sensors: BTreeMap<String, source::Kind>,
    /// `[queue]`.
    pub queue: queue::Settings,
    /// `[batch]`.
    pub batch: batch::Settings,
    /// `[output]`.
    pub output: Output,
    /// `[spool]`.
    pub spool: spool::Settings,
    /// `[status]`.
    pub status: crate::notices::Settings,
    /// `[http]`.
    pub http: Http,
}

impl Plan {
    /// The settings of the output, if it is a topic of a broker.
    pub fn mqtt_output(&self) -> Option<&sink::mqtt::Settings> {
        if let sink::Kind::Mqtt(settings) = &self.output.sink { Some(settings) } else { None }
    }

    /// The brokers of the file, by key.
    pub fn brokers(&self) -> impl Iterator<Item = (&'static str, &Broker)> {
        let own = self.mqtt_output().and_then(|it| it.broker.as_deref());
        std::iter::once(("broker", &self.broker)).chain(own.map(|it| ("output.mqtt.broker", it)))
    }

    /// The broker that batches go to, if they go to one; else the readings'.
    pub fn output_broker(&self) -> &Broker {
        self.mqtt_output().map_or(&self.broker, |it| it.broker(&self.broker))
    }

    /// What the sink has to know of this plan.
    pub fn surroundings(&self) -> sink::Surroundings<'_> {
        sink::Surroundings { gateway: &self.gateway.id, broker: &self.broker }
    }

    /// MQTT entries, in order.
    pub fn intakes(&self) -> impl Iterator<Item = (&str, &source::mqtt::Settings)> {
        self.sensors.iter().filter_map(|(name, kind)| match kind {
            source::Kind::Mqtt(settings) => Some((name.as_str(), settings)),
            _ => None,
        })
    }

    /// Simulated entries, in order.
    pub fn simulated(&self) -> impl Iterator<Item = (&str, &source::simulated::Settings)> {
        self.sensors.iter().filter_map(|(name, kind)| match kind {
            source::Kind::Simulated(settings) => Some((name.as_str(), settings)),
            _ => None,
        })
    }

    /// Commands, in order.
    pub fn commands(&self) -> impl Iterator<Item = (&str, &source::exec::Settings)> {
        self.sensors.iter().filter_map(|(name, kind)| match kind {
            source::Kind::Exec(settings) => Some((name.as_str(), settings)),
            _ => None,
        })
    }

    /// Entries that read standard input, in order; there may be one.
    pub fn standard_inputs(&self) -> impl Iterator<Item = &str> {
        let is_it = |kind: &source::Kind| matches!(kind, source::Kind::Stdin(_));
        self.sensors.iter().filter(move |(_, kind)| is_it(kind)).map(|(name, _)| name.as_str())
    }

    /// Sessions that are remembered for the next run; `None` if there is no folder for their file.
    pub fn left_max(&self) -> Option<usize> {
        self.spool.path.as_ref().map(|_| self.sessions().len() + OTHERS_LEFT_MAX)
    }

    /// Bytes of a batch beside its records.
    pub fn batch_overhead_bytes(&self) -> usize {
        let head = Head {
            gateway: &self.gateway.id,
            batch: &format!("{}-ffffffffffffffff-18446744073709551615-4294967295", self.gateway.id),
            sealed_at: Timestamp::from_millis(u64::MAX),
            count: usize::MAX,
        };
        self.output.format.overhead_bytes(&head)
    }

    /// Places in the sink's channel: everything that may be in flight at once. Some parts of a split batch may
    /// wait until others are acknowledged.
    pub fn channel_max(&self) -> usize {
        usize::from(self.output.window_batches.get()) + DEAD_LETTERS_IN_FLIGHT_MAX
    }

    /// Adds what entries need by their kind.
    fn add_entries(&self, budget: &mut Budget) {
        let many = self.sensors.values().filter(|kind| kind.is_many());
        let readings_max = self.queue.readings_max.get() as usize;
        match many.map(|kind| kind.readings_bytes(readings_max)).sum() {
            0 => {}
            bytes => budget.add("messages of several readings (queue.readings_max)", bytes),
        }
        let record_bytes_max = self.queue.record_bytes_max.get();
        let payloads = self.sensors.values().filter_map(source::Kind::payload);
        match payloads.map(|it| it.decoder_bytes(record_bytes_max)).sum() {
            0 => {}
            bytes => budget.add("payloads in binary, as text (queue.record_bytes_max)", bytes),
        }
        match self.intakes().filter(|(_, it)| it.compression.is_some()).count() as u64 {
            0 => {}
            packed => {
                let bytes = packed * Compression::bytes_max(record_bytes_max);
                budget.add("payloads unpacked (compression)", bytes);
            }
        }
        match self.sensors.values().map(|kind| kind.around_bytes(record_bytes_max)).sum() {
            0 => {}
            bytes => budget.add("messages around several readings (each)", bytes),
        }
        match self.sensors.values().map(source::Kind::transform_bytes).sum() {
            0 => {}
            bytes => budget.add("values that programs make (transform)", bytes),
        }
        self.add_policies(budget);
        let commands = self.commands().count() as u64;
        if commands > 0 {
            let each = source::exec::bytes_max(self.queue.record_bytes_max.get());
            budget.add("commands", commands * each);
        }
        if self.standard_inputs().next().is_some() {
            let bytes = source::stdin::bytes_max(self.queue.record_bytes_max.get());
            budget.add("standard input", bytes);
        }
        let simulated: u64 = self.simulated().map(|(_, it)| u64::from(it.sensors())).sum();
        budget.add("simulated sensors", simulated * SIMULATED_BYTES);
        match self.simulated().map(|(_, it)| it.replay_bytes()).sum() {
            0 => {}
            bytes => budget.add("files that are replayed", bytes),
        }
    }

    /// Adds what policies of entries remember, and let wait.
    fn add_policies(&self, budget: &mut Budget) {
        let sensors = self.gateway.sensors_max.get() as usize;
        let all = || self.sensors.values().map(source::Kind::policies);
        // One memory for all: the largest of what each would use is what one uses that has all.
        let any = all().reduce(|all, it| Policies {
            quota: all.quota.or(it.quota),
            deduplicate: None,
            filter: all.filter.or(it.filter),
        });
        let memory = any.map_or(0, |it| it.memory_bytes_max(sensors));
        match memory + all().map(|it| it.bytes_max()).sum::<u64>() {
            0 => {}
            bytes => budget.add("policies of entries (quota, deduplicate, filter)", bytes),
        }
    }

    /// The key and the text of the problem, if the bound in bytes is above what the user allows.
    pub fn above_memory_max(&self) -> Option<(&'static str, String)> {
        self.above_memory_max_with(0)
    }

    /// The same, where so many bytes come on top.
    pub fn above_memory_max_with(&self, more: u64) -> Option<(&'static str, String)> {
        let (bound, max) = (self.budget().total() + more, self.gateway.memory_max.get() as u64);
        let (told, allowed) = (mebibytes(bound), mebibytes(max));
        let text = || format!("is {allowed}, but the limits add up to {told}");
        (bound > max).then(|| ("gateway.memory_max", text()))
    }

    /// The sum of all bounds.
    pub fn budget(&self) -> Budget {
        let records = u64::from(self.queue.records_max.get());
        let record = size_of::<Record>() as u64;
        let batch = self.batch.bytes_max.get() + self.batch_overhead_bytes() + self.route_bytes();
        let batch = batch as u64;
        let batches = u64::from(self.output.window_batches.get());
        let of_record = RECEIPT_BYTES + PLACE_BYTES as u64;
        let receipts = u64::from(self.batch.records_max.get()) * of_record;
        let sensors = u64::from(self.gateway.sensors_max.get());
        // One row more for each entry, and one for sensors that belong to none.
        let rows = sensors + self.sensors.len() as u64 + 1;
        let mut budget = Budget::default();
        // A buffer that grows holds twice its content, and its old copy while it moves.
        budget.add("queue: texts (queue.bytes_max)", 3 * self.queue.bytes_max.get() as u64);
        budget.add("queue: records (queue.records_max)", 3 * records * record);
        self.add_unacknowledged(&mut budget);
        // Each batch whole and in parts. The open batch twice, as records and as payload.
        budget.add("window (output.window_batches)", (2 * batches + 3) * (batch + receipts));
        if self.spool.path.is_some() {
            // What waits for the disk, and the pages of one write before they are synced.
            let written = WAITING_MAX as u64 + 2 * (batches + WAITING_MAX as u64);
            budget.add("spool", written * (batch + receipts) + rows * KEPT_BYTES + SPOOL_BYTES);
        }
        if let Some(left) = self.left_max() {
            // The sessions in memory, and their text while it is written.
            budget.add("sessions remembered", 2 * left as u64 * left::SESSION_LEFT_BYTES);
        }
        let letters = DEAD_LETTERS_IN_FLIGHT_MAX as u64;
        let in_flight = 2 * (DEAD_LETTER_BYTES_IN_FLIGHT_MAX as u64 + batch);
        budget.add("dead letters in flight", in_flight + letters * receipts + 3 * batch);
        // Their text still counts in the queue's bytes, although it has left the queue's buffers.
        let waiting = records * LETTER_WAITING_BYTES as u64;
        budget.add("dead letters that wait (queue.records_max)", waiting);
        match self.output.sink.declared().bytes_max(batch, &self.surroundings()) {
            0 => {}
            bytes => budget.add("output connection", bytes),
        }
        let stream = self.broker.url.stream_bytes() as u64;
        self.add_connections(&mut budget, stream);
        if self.watch_options().is_some() {
            budget.add("watch connection (broker.watch)", watch::BYTES + stream);
        }
        if self.notices_options().is_some() {
            let stream = self.output_broker().url.stream_bytes() as u64;
            let due = self.status.topic.as_ref().map_or(0, |_| rows * crate::notices::DUE_BYTES);
            budget.add("notices (status)", crate::notices::BYTES + stream + due);
        }
        let with_tls = self.brokers().filter(|(_, it)| it.url.is_tls());
        if let Some(bytes) = with_tls.map(|(_, it)| it.url.stream_bytes() as u64).max() {
            budget.add("a look at a broker's certificates (tls)", bytes);
        }
        if self.roll_calls().iter().any(Option::is_some) {
            budget.add("probe clients (before the first connect)", roll_call::BYTES + 2 * stream);
        }
        budget.add("sensors (gateway.sensors_max)", rows * SENSOR_BYTES);
        if self.http.listen.0.is_some() {
            let connection = (HTTP_HEAD_BYTES_MAX + HTTP_WRITE_BYTES_MAX) as u64;
            let connections = (HTTP_CONNECTIONS_MAX + HTTP_STREAMS_MAX) as u64 * connection;
            let answers = http::answers_bytes_max(self.sensors.len());
            budget.add("http connections and answers", connections + answers);
            budget.add("http events and lists", http::lists_bytes_max(self.sensors.len()));
        }
        budget.add("last dead letters, warnings and changes", http::RECENT_BYTES_MAX);
        self.add_entries(&mut budget);
        self.add_routes(&mut budget, rows, batch + receipts);
        match self.output.format.encoder_bytes() {
            0 => {}
            bytes => budget.add("what output.format remembers", bytes),
        }
        budget.add("the program itself", PROGRAM_BYTES);
        budget
    }
}

/// Bytes of a record in receipts: at worst a run of its own.
const RECEIPT_BYTES: u64 = 64;

/// Bytes of a simulated sensor's task.
const SIMULATED_BYTES: u64 = 2048;

/// Bytes by which it is known of a sensor whether the spool keeps readings of it, in a list that grows.
const KEPT_BYTES: u64 = 2;

/// Bytes of the spool's cache and tables.
const SPOOL_BYTES: u64 = 16 << 20;

/// Bytes of code, stacks, runtime and allocator, and of the queue's spare chunk.
const PROGRAM_BYTES: u64 = 16 << 20;

const _: () = assert!(queue::SPARE_BYTES_MAX as u64 <= PROGRAM_BYTES / 4);

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic of a broker of its own.
    pub(super) fn with_broker(broker: Broker) -> sink::Kind {
        let broker = Some(Box::new(broker));
        sink::Kind::Mqtt(sink::mqtt::Settings { broker, ..sink::mqtt::Settings::default() })
    }

    #[test]
    fn what_payloads_become_before_they_are_read_is_in_the_bound() {
        let total = |settings: &str| {
            let text = format!(r#"{{"topic":"t"{settings}}}"#);
            let intake = source::Kind::Mqtt(serde_json::from_str(&text).unwrap());
            let mut plan = Plan::default();
            plan.sensors.insert("a".into(), intake);
            plan.budget().total()
        };
        let record = Plan::default().queue.record_bytes_max.get();
        for (settings, bytes) in [
            (r#","payload":"text""#, 0),
            (r#","payload":"cbor""#, 6 * record as u64),
            (r#","compression":"auto""#, Compression::bytes_max(record)),
        ] {
            assert_eq!(total(settings), total("") + bytes, "{settings}");
        }
    }
}
