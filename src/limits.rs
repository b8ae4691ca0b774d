//! Bounds that are not settings, and the sum of all bounds.
//!
//! Every constant says what happens when it is reached. Settings with bounds live beside the part
//! they limit; [`Budget`] adds both up to the one number that is printed at start.

use std::fmt;
use std::time::Duration;

/// Sources of a gateway: configured MQTT sensors. More are refused by `check`.
pub const SOURCES_MAX: usize = 4096;

/// Bytes of a session that is remembered for the next run, in memory and in its file, each at most.
pub const SESSION_LEFT_BYTES: u64 = 2048;

/// Sessions of other entries that are remembered beside those of today. Of more, those known for the longest
/// are forgotten: that one of them is gone would not be noticed.
pub const OTHERS_LEFT_MAX: usize = 16;

/// Sensors that one simulated entry may count. More are refused by `check`.
pub const SIMULATED_COUNT_MAX: u32 = 1_000_000;

/// Bytes of a sensor's id. A longer one makes a dead letter (`sensor_id`).
pub const SENSOR_ID_BYTES_MAX: usize = 128;

/// Bytes of an oversize or unreadable payload that its dead letter shows; the rest is cut, and the
/// length and SHA-256 of the whole stand beside it.
pub const DEAD_LETTER_HEAD_BYTES_MAX: usize = 1024;

/// Bytes of a dead letter that waits, beside its text. Their number and their text are bounded by the queue:
/// a record's place in it stays taken until the record has settled.
pub const LETTER_WAITING_BYTES: usize = 320;

/// What a record has in a batch beside its value: ids, times, a topic. A reading whose JSON is longer
/// than `queue.record_bytes_max` by more than this becomes a dead letter.
pub const RECORD_OVERHEAD_BYTES: usize = 2048;

/// Batches of dead letters in flight. Further letters wait beside the readings: only the session that they
/// came from acknowledges no more.
pub const DEAD_LETTERS_IN_FLIGHT_MAX: usize = 64;

/// Bytes of the dead letters in flight above which no further batch of them is published; likewise.
pub const DEAD_LETTER_BYTES_IN_FLIGHT_MAX: usize = 2 * 1024 * 1024;

/// Batches and dead letters that wait for the spool's disk. When there are so many, nothing more is
/// sealed until they are written, or the output takes them.
pub const WAITING_MAX: usize = 8;

/// Batches that have arrived are taken from the spool together, so many at a time at least, or after
/// [`REMOVE_DELAY_MAX`]. A crash before that repeats them, with their ids.
pub const REMOVE_GROUP_MAX: usize = 16;

/// How long what has arrived may stay in the spool.
pub const REMOVE_DELAY_MAX: Duration = Duration::from_secs(1);

/// Bytes that an intake's connection reads ahead beside one record of `queue.record_bytes_max`:
/// room for a topic and properties. A larger packet is read past and dead-lettered.
pub const READ_AHEAD_BYTES: usize = 128 * 1024;

/// Unacknowledged messages below which reads are never gathered: waiting would bound the rate.
pub const GATHER_WINDOW_MIN: usize = 512;

/// Bytes of a topic. A message on a longer one becomes a dead letter (`topic`) that shows so much.
pub const TOPIC_SHOWN_BYTES_MAX: usize = 1024;

/// Bytes of a topic whose sensor an intake remembers. A longer one is looked up each time, as are
/// those beyond `gateway.sensors_max` in all intakes together.
pub const TOPIC_REMEMBERED_BYTES_MAX: usize = 256;

/// Bytes waiting to be written on one connection above which nothing more is handed to it; what is
/// left waits in its channel or ledger.
pub const WRITE_BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of answers that wait to be written on an intake's connection, above which it reads nothing more:
/// a broker that asks without end and takes no answer is cut off after [`WRITE_STALL_KEEP_ALIVES`].
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a connection inside WebSocket reads ahead, and the longest frame it sends; what is more
/// waits where it is. Frames of any length are read.
pub const WEBSOCKET_BUFFER_BYTES: usize = 16 * 1024;

/// Bytes that a connection over TLS holds: rustls' bound of 64 KiB for what is not yet written, and
/// a record of 16 KiB in each direction, with room to grow. What is more waits where it is.
pub const TLS_BYTES: usize = 192 * 1024;

/// While messages come faster than this, reads are gathered for this long: one system call and one
/// wake-up for many messages. Nothing is added when idle.
pub const READ_GATHER_MAX: Duration = Duration::from_millis(1);

/// How long a tool's subscription may take to SUBACK; then its connection counts as failed. The
/// gateway's own connections go by `broker.connect_timeout`.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Addresses of a broker's name that are tried, in turn. Further ones are left out.
pub const ADDRESSES_MAX: usize = 4;

/// While a TCP connection has no answer, another is begun beside it after this long, and so on until
/// the step's limit: a network that heals is noticed as soon.
pub const CONNECT_BESIDE: Duration = Duration::from_millis(700);

/// So many are on their way at a time; the oldest is given up for the next.
pub const BESIDE_MAX: u32 = 4;

/// The longest pause after an attempt that no broker answered: one that comes back is found within a
/// second.
pub const NOBODY_PAUSE_MAX: Duration = Duration::from_millis(700);

/// A peer that does not take our bytes for this many keep-alives is cut off.
pub const WRITE_STALL_KEEP_ALIVES: u32 = 3;

/// First and longest pause before a connection is tried again that a broker refused or ended.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));

/// First and longest pause before the watch client connects again: nothing waits for it.
pub const WATCH_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Refusals (of the connection, the login or the subscription) after which a watch client that was
/// never granted anything gives up until the next start.
pub const WATCH_REFUSALS_MAX: u32 = 3;

/// A sensor's number that leaves out more than this is no loss but another way of counting: it begins
/// anew and counts nothing as missing.
pub const NUMBERS_MISSING_MAX: u64 = u32::MAX as u64;

/// How long the last acknowledgements of a connection may take to be written when it is closed.
pub const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A resumed session of MQTT 3.1.1 that has brought nothing for so many keep-alives may be without its
/// subscription, which is asked for again, once a connection: what the broker had retained comes again.
pub const SILENT_KEEP_ALIVES: u32 = 2;

/// A subscription that has brought nothing for so long since it was granted is warned of, once a run.
pub const NEVER_HEARD_MAX: Duration = Duration::from_mins(5);

/// Memory of a used chunk of the queue that is kept for the next; more goes back to the system. A queue that
/// is full by its default places stays below it: to fault the pages of each chunk in anew took a third of
/// the processor time of a reading.
pub const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records that an intake makes before it offers them; what else has come is read after that. Several
/// intakes share them, but each has [`CHUNK_RECORDS_LEAST`].
pub const CHUNK_RECORDS_MAX: usize = 4096;

/// Records that each of many intakes makes before it offers them.
pub const CHUNK_RECORDS_LEAST: usize = 256;

/// A broker that has been silent for so long with at least [`WINDOW_LEAST`] messages unacknowledged
/// is taken to allow no more.
pub const WINDOW_SILENCE: Duration = Duration::from_millis(20);

/// How long a client that may share its session with another one acknowledges nothing when nothing new
/// comes that would tell.
pub const HOLD_MAX: Duration = Duration::from_millis(500);

/// The smallest window that is noticed: RabbitMQ allows 10 by default, Mosquitto 20. Readings that come
/// one by one must not look like it.
pub const WINDOW_LEAST: usize = 8;

/// A repeated warning is written at most this often, with the count of those left out.
pub const REPEATED_WARNING_PAUSE: Duration = Duration::from_secs(10);

/// Of what comes back of our own output one message is warned of, and one becomes a dead letter, at most this
/// often for each entry. The rest is counted only.
pub const LOOP_PAUSE: Duration = Duration::from_mins(1);

/// Causes of one warning that are told apart. Of more, the one that has not come for longest is
/// forgotten: it is news when it comes again.
pub const WARNING_CAUSES_MAX: usize = 8;

/// Bytes of log lines that wait for a slow reader, and of those being written: twice that in all, out
/// of what the bound on memory allows the program itself. Lines that find no room are dropped, and
/// counted in the log.
pub const LOG_BYTES_MAX: usize = 256 * 1024;

/// How long the last log lines may take to be written at the end. What nobody has read by then is
/// lost.
pub const LOG_FLUSH_MAX: Duration = Duration::from_secs(1);

/// How long standard output may take the balance. If nobody reads it, the exit code must do.
pub const BALANCE_MAX: Duration = Duration::from_secs(1);

/// Connections to `http.listen` at a time. For a further one, that whose last request is the longest ago
/// is closed.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Answers with metrics or status that are being written at a time. Further requests are answered with 503;
/// those for health always have their answer.
pub const HTTP_ANSWERS_MAX: usize = 16;

/// Bytes of an answer that wait in a connection to be written. What is more waits in the answer.
pub const HTTP_WRITE_BYTES_MAX: usize = 2 * HTTP_HEAD_BYTES_MAX;

/// Bytes of a request's line and headers. A longer one is answered with 431. Bodies are not read.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a request's line and headers may take to come; then the connection is closed.
pub const HTTP_HEAD_MAX: Duration = Duration::from_secs(5);

/// When to ask again, of which a 503 for want of a seat speaks.
pub const HTTP_RETRY: Duration = Duration::from_secs(1);

/// How long a connection to `http.listen` may live, whatever it does; then it is closed.
pub const HTTP_CONNECTION_MAX: Duration = Duration::from_mins(2);

/// How long `sluicegate health` waits for an answer.
pub const HEALTH_ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long the gateway's own thread may not have looked at its books; then it is taken to hang.
pub const LOOK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Pause before `http.listen` is tried again, when it cannot be listened to.
pub const HTTP_LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// Readings a simulated sensor without an interval makes for one turn at the queue.
pub const SIMULATED_RUN_RECORDS: u32 = 64;

/// The sum of all bounds, item by item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    items: Vec<(&'static str, u64)>,
}

impl Budget {
    /// Adds an item of so many bytes.
    pub fn add(&mut self, what: &'static str, bytes: u64) {
        self.items.push((what, bytes));
    }

    /// The bound, in bytes.
    pub fn total(&self) -> u64 {
        self.items.iter().map(|item| item.1).fold(0, u64::saturating_add)
    }

    /// Its parts.
    pub fn items(&self) -> &[(&'static str, u64)] {
        &self.items
    }
}

/// One line an item, in MiB.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, bytes) in &self.items {
            writeln!(f, "  {:>9}  {what}", mebibytes(*bytes))?;
        }
        write!(f, "  {:>9}  in all", mebibytes(self.total()))
    }
}

/// A number of bytes in MiB with one digit, rounded up: a bound must not look smaller than it is.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
