//! The plan of a gateway: the settings without the shell's, and the numbers and names that follow from them.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::codec::{Format, Head};
use crate::limits::{
    ANSWERS_BYTES_MAX, Budget, DEAD_LETTER_BYTES_IN_FLIGHT_MAX, DEAD_LETTERS_IN_FLIGHT_MAX,
    HTTP_ANSWERS_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_WRITE_BYTES_MAX,
    LETTER_WAITING_BYTES, READ_AHEAD_BYTES, SESSION_LEFT_BYTES, SPARE_BYTES_MAX, WAITING_MAX,
    WRITE_BUFFER_BYTES_MAX,
};
use crate::mqtt::ledger::{self, blocked_max};
use crate::mqtt::options::{BrokerUrl, Tls, Version};
use crate::mqtt::roll_call;
use crate::mqtt::topic::Topic;
use crate::record::Record;
use crate::registry::SENSOR_BYTES;
use crate::sealed::PLACE_BYTES;
use crate::source::mqtt::Bounds;
use crate::units::{Percent, Period, Size};
use crate::{batch, queue, sink, source, spool, watch};

mod check;
mod clients;
pub mod http;
mod warnings;

use self::http::Http;

/// Sessions of other entries that are remembered beside those of the current ones. Of more, the oldest are forgotten:
/// the log then does not report that one of them is lost.
const OTHERS_LEFT_MAX: usize = 16;

/// Records that all intakes together make before they offer them to the queue; the other messages are read after that.
/// Each intake has at least [`CHUNK_RECORDS_LEAST`].
const CHUNK_RECORDS_MAX: usize = 4096;

/// Records that each of many intakes makes before it offers them.
const CHUNK_RECORDS_LEAST: usize = 256;

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
    /// Sensors with books and a `sequence` of their own. Readings of further ones are delivered without
    /// `sequence` and counted with their entry; a warning and health (degraded) name the entry.
    pub sensors_max: NonZeroU32,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            id: "gw-1".into(),
            memory_max: Size::bytes(256 << 20),
            shutdown_grace: Period::millis(10_000),
            start_grace: Period::millis(300_000),
            sensors_max: NonZeroU32::new(100_000).expect("100000 is not zero"),
        }
    }
}

/// `[broker]` and `[output.broker]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Broker {
    /// The broker's address: `mqtt://host:1883`, `mqtts://host:8883` (TLS), `ws://host:80/mqtt`,
    /// `wss://host:443/mqtt` (WebSocket); port and path may be left out. Or `embedded`: a broker in this
    /// process, on loopback, for trying things out, which keeps nothing when the gateway stops.
    pub url: BrokerUrl,
    /// Port of the embedded broker, on loopback. If it is in use, a free one is used and logged. 0: any free port.
    pub embedded_port: u16,
    /// Version of the protocol: 5, or 3 for MQTT 3.1.1.
    pub version: Version,
    /// Messages that may be unacknowledged at a time. With MQTT 5 the gateway asks for it (Receive Maximum;
    /// default 16384); with MQTT 3.1.1 it is what the broker allows (default 20, raised when it sends more).
    /// All entries together never ask for more than `queue.records_max`. At the limit the broker holds further
    /// messages, and drops those beyond its own limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_messages: Option<NonZeroU16>,
    /// The prefix of the client ids at this broker, in place of `gateway.id`: 1 to 256 bytes without blanks.
    /// After a change the old sessions, with the messages in them, stay at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// A file with one word: the prefix of the client ids, in place of `client_id`, where client ids must be
    /// secret. It is read at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id_file: Option<PathBuf>,
    /// The user name for the broker. Absent: none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file that holds the password, which is read at each connect; line breaks at its end are ignored. A
    /// password stands nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Keep Alive: the longest time between two packets of the gateway, 2s to 65535s. A broker that does not
    /// answer for as long is disconnected and connected to again.
    pub keep_alive: Period,
    /// The longest time for an attempt to connect: name look-up, TCP, TLS, WebSocket, CONNACK; at least 1s.
    /// Each step may take half of it, and so may a SUBACK; a step that takes longer is logged, and the attempt
    /// is repeated.
    pub connect_timeout: Period,
    /// How long the broker keeps the sessions, with the messages in them, while the gateway is away: 1s to 365d
    /// (MQTT 5; with 3.1.1 the broker decides). After it they are lost. Of `[broker]` only.
    pub session_expiry: Period,
    /// Files for TLS, all PEM. Without `ca_file` the system's certificates are trusted.
    pub tls: Tls,
    /// Whether an additional client reads how many messages the broker has dropped
    /// (`$SYS/broker/publish/messages/dropped` of Mosquitto); the log warns when that grows. Only with an MQTT
    /// entry. Of `[broker]` only.
    pub watch: bool,
}

impl Default for Broker {
    fn default() -> Self {
        let (host, port) = ("localhost".to_owned(), 1883);
        let url = BrokerUrl::Remote { tls: false, websocket: None, host, port };
        Self {
            url,
            embedded_port: 1883,
            version: Version::V5,
            window_messages: None,
            client_id: None,
            client_id_file: None,
            username: None,
            password_file: None,
            keep_alive: Period::millis(30_000),
            connect_timeout: Period::millis(30_000),
            session_expiry: Period::millis(86_400_000),
            tls: Tls::default(),
            watch: true,
        }
    }
}

impl Broker {
    /// Receive Maximum of an intake. A broker with a short queue does not drop messages in flight, so a large
    /// window saves readings in a burst. It is limited so that a lost acknowledgement can still be recognised
    /// ([`Plan::recognises_repeats`]).
    pub fn window(&self) -> u16 {
        let unset = match self.version {
            Version::V5 => 16_384,
            Version::V3 => 20,
        };
        self.window_messages.map_or(unset, NonZeroU16::get)
    }
}

/// `[output]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// Where batches are published.
    pub topic: Topic,
    /// 1: a reading is settled by the broker's PUBACK. 0: when it is written to the socket; it may get lost.
    pub qos: OutputQos,
    /// The format of a batch.
    pub format: Format,
    /// Batches that are published and not yet acknowledged. At the limit, records wait in the queue.
    pub window_batches: NonZeroU16,
    /// The longest time for a PUBACK, at least 1s. After it the gateway reconnects and publishes everything
    /// unacknowledged again, with the same ids; after the third time for the same batch, in smaller parts.
    pub answer_max: Period,
    /// What happens to a batch that the broker accepts while nobody subscribes to its topic, if the broker
    /// reports that (MQTT 5, `qos = 1`). Dead letters are never held for it.
    pub without_subscriber: WithoutSubscriber,
    /// Where messages that are no reading are published, with the reason.
    pub dead_letter_topic: Topic,
    /// Percent of the readings of the last minute. If more of them, and at least 20, became dead letters, the
    /// gateway is degraded, with the most frequent reason, sensor and topic. 100: never.
    pub dead_letters_percent_max: Percent,
    /// Files that batches are appended to, instead of a topic. Then only `format`, `window_batches` and
    /// `dead_letters_percent_max` of the keys beside it have an effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<sink::file::Settings>,
    /// A broker of its own for the output, with the keys of `[broker]`. Absent: batches go to `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
}

impl Default for Output {
    fn default() -> Self {
        let topic = |text: &str| Topic::try_from(text.to_owned()).expect("a valid topic");
        Self {
            topic: topic("gateway/batches"),
            qos: OutputQos(1),
            format: Format::Json,
            window_batches: NonZeroU16::new(16).expect("16 is not zero"),
            answer_max: Period::millis(60_000),
            without_subscriber: WithoutSubscriber::default(),
            dead_letter_topic: topic("gateway/dead-letters"),
            dead_letters_percent_max: Percent(5),
            file: None,
            broker: None,
        }
    }
}

impl Output {
    /// Whether batches go to standard output.
    pub fn is_standard_output(&self) -> bool {
        self.file.as_ref().is_some_and(sink::file::Settings::is_standard_output)
    }
}

/// QoS of what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("enum" = [0, 1]))]
pub struct OutputQos(pub u8);

impl TryFrom<u8> for OutputQos {
    type Error = String;

    fn try_from(qos: u8) -> Result<Self, String> {
        match qos {
            0 | 1 => Ok(Self(qos)),
            _ => Err(format!("{qos} cannot be used: write 1, or 0 to deliver at most once")),
        }
    }
}

impl From<OutputQos> for u8 {
    fn from(qos: OutputQos) -> Self {
        qos.0
    }
}

/// What happens to a batch that the output broker accepts while nobody subscribes to its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutSubscriber {
    /// It counts as delivered, as in the standard, and the log warns: nobody gets it.
    #[default]
    Deliver,
    /// It is kept and published again, like a refused one. Meanwhile nothing new is published, sources wait (or
    /// the spool takes it), and the gateway is degraded.
    Hold,
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
    /// `[http]`.
    pub http: Http,
}

impl Plan {
    /// The brokers of the file, by key.
    pub fn brokers(&self) -> impl Iterator<Item = (&'static str, &Broker)> {
        let output = self.output.broker.iter().map(|it| ("output.broker", it));
        std::iter::once(("broker", &self.broker)).chain(output)
    }

    /// The broker that batches go to.
    pub fn output_broker(&self) -> &Broker {
        self.output.broker.as_ref().unwrap_or(&self.broker)
    }

    /// MQTT entries, in order. The index of a source is its place here.
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

    /// Topics and ids that each intake remembers: together at most as many as there may be sensors.
    pub fn remembered_max(&self) -> usize {
        self.gateway.sensors_max.get() as usize / self.intakes().count().max(1)
    }

    /// Bytes of the read buffer of an intake.
    pub fn read_buffer_bytes(&self) -> usize {
        self.queue.record_bytes_max.get() + READ_AHEAD_BYTES
    }

    /// Acknowledgements that each intake remembers, in case they were lost with a connection: together twice as
    /// many as the queue has places.
    pub fn acknowledgements_max(&self) -> usize {
        2 * self.queue.records_max.get() as usize / self.intakes().count().max(1)
    }

    /// Records that each intake makes before it offers them.
    pub fn chunk_records_max(&self) -> usize {
        (CHUNK_RECORDS_MAX / self.intakes().count().max(1)).max(CHUNK_RECORDS_LEAST)
    }

    /// Receive Maximum of each intake: together at most the queue's places.
    pub fn window_each(&self) -> u16 {
        let intakes = u32::try_from(self.intakes().count().max(1)).unwrap_or(u32::MAX);
        let share = (self.queue.records_max.get() / intakes).max(1);
        self.broker.window().min(u16::try_from(share).unwrap_or(u16::MAX))
    }

    /// The bounds of each intake.
    pub fn intake_bounds(&self) -> Bounds {
        Bounds {
            window: self.window_each(),
            read_buffer_bytes: self.read_buffer_bytes(),
            remembered_max: self.remembered_max(),
            acknowledgements_max: self.acknowledgements_max(),
            chunk_records_max: self.chunk_records_max(),
        }
    }

    /// Sessions that are remembered for the next run; `None` if there is no folder for their file.
    pub fn left_max(&self) -> Option<usize> {
        self.spool.path.as_ref().map(|_| self.intakes().count() + OTHERS_LEFT_MAX)
    }

    /// Whether an intake's window leaves enough packet ids to tell a repeated message, whose acknowledgement
    /// was lost, from a new one, at a broker that counts its packet ids up by one.
    pub fn recognises_repeats(&self) -> bool {
        ledger::recognises(self.window_each().into(), self.acknowledgements_max())
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
    pub fn lane_max(&self) -> usize {
        usize::from(self.output.window_batches.get()) + DEAD_LETTERS_IN_FLIGHT_MAX
    }

    /// Adds what entries need by their kind.
    fn add_entries(&self, budget: &mut Budget) {
        let many = self.sensors.values().filter(|kind| kind.is_many()).count() as u64;
        if many > 0 {
            let readings_max = self.queue.readings_max.get() as usize;
            let each = source::Kind::readings_bytes(self.chunk_records_max(), readings_max);
            budget.add("messages of several readings (queue.readings_max)", many * each);
        }
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
    }

    /// The sum of all bounds.
    pub fn budget(&self) -> Budget {
        let records = u64::from(self.queue.records_max.get());
        let record = size_of::<Record>() as u64;
        let intakes = self.intakes().count() as u64;
        let batch = (self.batch.bytes_max.get() + self.batch_overhead_bytes()) as u64;
        let batches = u64::from(self.output.window_batches.get());
        let of_record = RECEIPT_BYTES + PLACE_BYTES as u64;
        let receipts = u64::from(self.batch.records_max.get()) * of_record;
        let sensors = u64::from(self.gateway.sensors_max.get());
        let buffer = self.read_buffer_bytes() as u64;
        let mut budget = Budget::default();
        // A buffer that grows holds twice its content, and its old copy while it moves.
        budget.add("queue: texts (queue.bytes_max)", 3 * self.queue.bytes_max.get() as u64);
        budget.add("queue: records (queue.records_max)", 3 * records * record);
        // In the queue; and, for each intake, on the way there or settled and waiting.
        let chunk = self.chunk_records_max();
        let waiting = chunk + blocked_max(self.acknowledgements_max());
        let entries = records + intakes * waiting as u64;
        let ids = intakes * OPEN_IDS_BYTES;
        budget.add("unacknowledged messages", 2 * entries * LEDGER_ENTRY_BYTES + ids);
        let remembered = intakes * self.acknowledgements_max() as u64;
        budget.add("acknowledgements remembered", remembered * ACKNOWLEDGEMENT_BYTES);
        // Each batch whole and in parts. The open batch twice, as records and as payload.
        budget.add("window (output.window_batches)", (2 * batches + 3) * (batch + receipts));
        if self.spool.path.is_some() {
            // What waits for the disk, and the pages of one write before they are synced.
            let written = WAITING_MAX as u64 + 2 * (batches + WAITING_MAX as u64);
            budget.add("spool", written * (batch + receipts) + SPOOL_BYTES);
        }
        if let Some(left) = self.left_max() {
            // The sessions in memory, and their text while it is written.
            budget.add("sessions remembered", 2 * left as u64 * SESSION_LEFT_BYTES);
        }
        let letters = DEAD_LETTERS_IN_FLIGHT_MAX as u64;
        let in_flight = 2 * (DEAD_LETTER_BYTES_IN_FLIGHT_MAX as u64 + batch);
        budget.add("dead letters in flight", in_flight + letters * receipts + 3 * batch);
        // Their text still counts in the queue's bytes, although it has left the queue's buffers.
        let waiting = records * LETTER_WAITING_BYTES as u64;
        budget.add("dead letters that wait (queue.records_max)", waiting);
        // Files are written from the window, without a copy.
        if self.output.file.is_none() {
            let stream = self.output_broker().url.stream_bytes() as u64;
            budget.add("output connection", 2 * (WRITE_BUFFER_BYTES_MAX as u64 + batch) + stream);
        }
        let stream = self.broker.url.stream_bytes() as u64;
        // The read buffer, the records made from it before they are offered, and the answers.
        let answers = 2 * (ANSWERS_BYTES_MAX as u64 + buffer);
        budget.add(
            "intake connections",
            intakes * (3 * buffer + 3 * chunk as u64 * record + answers + stream),
        );
        if self.watch_options().is_some() {
            budget.add("watch connection (broker.watch)", watch::BYTES + stream);
        }
        if self.roll_calls().iter().any(Option::is_some) {
            budget.add("probe clients (before the first connect)", roll_call::BYTES + 2 * stream);
        }
        // One row more for each entry, and one for sensors that belong to none.
        let rows = sensors + self.sensors.len() as u64 + 1;
        budget.add("sensors (gateway.sensors_max)", rows * SENSOR_BYTES);
        if self.http.listen.0.is_some() {
            let answer = HTTP_ANSWER_BYTES + self.sensors.len() as u64 * HTTP_ENTRY_BYTES;
            let connection = (HTTP_HEAD_BYTES_MAX + HTTP_WRITE_BYTES_MAX) as u64;
            // Each answer as a whole, when it is made and when it is sent.
            let answers = HTTP_ANSWERS_MAX as u64 * 2 * answer;
            let connections = HTTP_CONNECTIONS_MAX as u64 * connection;
            budget.add("http connections and answers", connections + answers);
        }
        self.add_entries(&mut budget);
        budget.add("the program itself", PROGRAM_BYTES);
        budget
    }
}

/// Bytes of a record in receipts: at worst a run of its own.
const RECEIPT_BYTES: u64 = 64;

/// Bytes of a message in a ledger, with its place in the map of a resumed session.
const LEDGER_ENTRY_BYTES: u64 = 72;

/// Bytes of the set of open packet ids of an intake: one bit for each, and one for each of QoS 2.
const OPEN_IDS_BYTES: u64 = 256 * 1024;

/// Bytes of an acknowledgement that is remembered, in a buffer that grows and in the map of a resumed session.
const ACKNOWLEDGEMENT_BYTES: u64 = 96;

/// Bytes of a simulated sensor's task.
const SIMULATED_BYTES: u64 = 2048;

/// Bytes of the gateway's part of an answer, as metrics or as JSON.
const HTTP_ANSWER_BYTES: u64 = 32 * 1024;

/// Bytes of one configured entry's part of an answer.
const HTTP_ENTRY_BYTES: u64 = 4096;

/// Bytes of the spool's cache and tables.
const SPOOL_BYTES: u64 = 16 << 20;

/// Bytes of code, stacks, runtime and allocator, and of the queue's spare chunk.
const PROGRAM_BYTES: u64 = 16 << 20;

const _: () = assert!(SPARE_BYTES_MAX as u64 <= PROGRAM_BYTES / 4);
