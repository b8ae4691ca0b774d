//! Limits that are not settings and that several modules use, and the sum of all limits.
//!
//! Each constant says what happens at the limit. A limit with one user is defined beside that user, and so are the
//! settings with limits. [`Budget`] adds all of them up to the one number that is printed at start.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Sources of a gateway: configured MQTT sensors. More are refused by `check`.
pub const SOURCES_MAX: usize = 4096;

/// Sessions of MQTT entries that the log and `check` show one by one. Of more, only what they have in common is shown, and
/// each in the log of the level `debug`.
pub const SESSIONS_SHOWN_MAX: usize = 8;

/// Bytes of a sensor's id. A longer one makes a dead letter (`sensor_id`).
pub const SENSOR_ID_BYTES_MAX: usize = 128;

/// Bytes of a page of `/api/sensors`: what has no room is on the next one.
pub const SENSORS_PAGE_BYTES_MAX: usize = 30 * 1024;

/// Tags that an entry, or an object of its `transform`, gives a record. Of an entry more are refused; those that an object
/// has more are left out.
pub const TAGS_MAX: usize = 32;

/// Bytes of an oversize or unreadable payload that its dead letter shows. The rest is cut; the length and SHA-256 of the
/// whole are written beside it.
pub const DEAD_LETTER_HEAD_BYTES_MAX: usize = 1024;

/// Bytes of a waiting dead letter, beside its text. The queue bounds their number and their text: a record keeps its
/// place until it has settled.
pub const LETTER_WAITING_BYTES: usize = 320;

/// Bytes of a record in a batch beside its value: ids, times, a topic. A reading whose JSON is longer than
/// `queue.record_bytes_max` by more than this becomes a dead letter.
pub const RECORD_OVERHEAD_BYTES: usize = 2048;

/// Bytes that each further reading of a message may add to that: tags, time, unit. A message whose readings together have
/// more text than `queue.record_bytes_max` and these becomes one dead letter.
pub const READING_OVERHEAD_BYTES: usize = 512;

/// Bytes of a topic that records make by filling the places of `output.topic`. A reading whose topic would be longer
/// becomes a dead letter (`format`), and a dead letter goes to the topic with its places empty.
pub const TOPIC_MADE_BYTES_MAX: usize = 1024;

/// Routes that are remembered by what decides them. Beyond that all are forgotten, and made again when they are needed.
pub const ROUTES_REMEMBERED_MAX: usize = 1024;

/// Bytes of names or tags by which a route is remembered. With more it is made again for each record.
pub const ROUTE_KEY_BYTES_MAX: usize = 256;

/// Batches of dead letters in flight. Further dead letters wait beside the readings: only the session that they came from
/// acknowledges no more.
pub const DEAD_LETTERS_IN_FLIGHT_MAX: usize = 64;

/// Bytes of the dead letters in flight above which no further batch of them is published. Further ones wait as above.
pub const DEAD_LETTER_BYTES_IN_FLIGHT_MAX: usize = 2 * 1024 * 1024;

/// Batches and dead letters that wait for the spool's disk. At the limit nothing more is sealed until they are written, or
/// until the output takes them.
pub const WAITING_MAX: usize = 8;

/// Bytes that an intake's connection reads ahead into a buffer of its own. What is larger is read into one that all share.
pub const READ_BYTES: usize = 16 * 1024;

/// Large buffers that all intakes share. While all of them hold parts of large packets, further packets of more than
/// [`READ_BYTES`] wait at the broker.
pub const LARGE_BUFFERS_MAX: usize = 4;

/// Bytes of a large read buffer beside one record of `queue.record_bytes_max`: room for a topic and properties. A larger
/// packet is read past and becomes a dead letter.
pub const READ_AHEAD_BYTES: usize = 128 * 1024;

/// Unacknowledged messages below which reads are never gathered: a pause would limit the rate.
pub const GATHER_WINDOW_MIN: usize = 512;

/// Bytes of a topic. A message on a longer one becomes a dead letter (`topic`) that shows the topic up to this length.
pub const TOPIC_SHOWN_BYTES_MAX: usize = 1024;

/// Bytes of a topic whose sensor an intake remembers. The sensor of a longer one is looked up for each message; so are
/// topics beyond `gateway.sensors_max` in all intakes together.
pub const TOPIC_REMEMBERED_BYTES_MAX: usize = 128;

/// Bytes that wait to be written on one connection above which nothing more is queued on it. The rest waits in its channel
/// or ledger.
pub const WRITE_BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of answers that wait to be written on an intake's connection, beside the acknowledgements of its window, above
/// which it reads nothing more. A broker that sends requests without end and reads no answer is disconnected by the write
/// watchdog.
pub const ANSWERS_BYTES_LEAST: usize = 4 * 1024;

/// The longest time for a tool's subscription up to SUBACK. Then its connection counts as failed. The gateway's own
/// connections use `broker.connect_timeout`.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// First and longest pause before the next connection to a broker that refused or ended the last one.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));

/// The longest time for the last acknowledgements of a connection to be written when it is closed.
pub const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A certificate that expires within this time is warned of. The alert `SluicegateCertificateExpires` has the same.
pub const CERTIFICATE_WARNING: Duration = Duration::from_hours(14 * 24);

/// A repeated warning is logged at most this often, with the count of those left out.
pub const REPEATED_WARNING_PAUSE: Duration = Duration::from_secs(10);

/// Connections to `http.listen` at a time. A further one closes the one with the oldest last request.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Answers with metrics or status that are written at a time; fewer where they are large ([`HTTP_ANSWERS_BYTES_MAX`]).
/// Further requests get 503. Requests for health are always answered.
pub const HTTP_ANSWERS_MAX: usize = 16;

/// Answers of any size that are written at a time.
pub const HTTP_ANSWERS_LEAST: usize = 4;

/// Bytes of the answers that are written at a time, where there are more of them than [`HTTP_ANSWERS_LEAST`].
pub const HTTP_ANSWERS_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a list of dead letters or warnings. The oldest are left out. Such an answer takes a quarter of the seats.
pub const HTTP_LIST_BYTES_MAX: usize = HTTP_ANSWERS_BYTES_MAX / 4 - 1024;

/// Clients of `/api/stream` at a time. A further one gets 503. Their connections do not count among the others.
pub const HTTP_STREAMS_MAX: usize = 10;

/// Events that clients of `/api/stream` may have not taken yet. A client that has not taken more is disconnected.
pub const HTTP_EVENTS_MAX: usize = 1024;

/// Bytes of those events. One alone may be larger, where there are many entries.
pub const HTTP_EVENTS_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of an answer that wait in a connection to be written. The rest waits in the answer.
pub const HTTP_WRITE_BYTES_MAX: usize = 2 * HTTP_HEAD_BYTES_MAX;

/// Bytes of a request's line and headers. A longer one is answered with 431. Bodies are not read.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;

/// The bound on memory, item by item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    items: Vec<(Cow<'static, str>, u64)>,
}

impl Budget {
    /// Adds an item of `bytes`.
    pub fn add(&mut self, what: impl Into<Cow<'static, str>>, bytes: u64) {
        self.items.push((what.into(), bytes));
    }

    /// The sum in bytes.
    pub fn total(&self) -> u64 {
        self.items.iter().map(|item| item.1).fold(0, u64::saturating_add)
    }

    pub fn items(&self) -> &[(Cow<'static, str>, u64)] {
        &self.items
    }
}

/// One line per item, in MiB.
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
