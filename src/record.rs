//! What travels: records, in chunks.
//!
//! A record is small, has no allocation of its own and is moved in bulk. Its texts lie in the byte
//! buffer of the [`Chunk`] that carries it and are named by [`Span`]s, so that a thousand records
//! cost two buffers and not four thousand allocations.

use crate::clock::Timestamp;
use crate::settlement::{SensorIndex, Token};

/// A piece of a chunk's bytes: start and length, in bytes. A length of 0 means "absent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// Whether there is nothing.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Length in bytes.
    pub const fn bytes(self) -> usize {
        self.len as usize
    }

    fn shifted(self, by: u32) -> Self {
        if self.len == 0 { self } else { Self { start: self.start + by, len: self.len } }
    }
}

/// Why a message cannot be a reading, or a reading cannot be written; the `reason` of its dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The payload is not what the codec reads.
    Malformed,
    /// The payload is empty.
    Empty,
    /// The payload is larger than `queue.record_bytes_max`.
    Oversize,
    /// The sensor's id is not usable: empty, too long, or not printable text.
    SensorId,
    /// The topic is not UTF-8, or not one that was subscribed to.
    Topic,
    /// The payload has nothing where the settings say that its value is.
    Missing,
    /// It is this run's own output, which came back by a subscription.
    Loop,
    /// The output's format cannot write it.
    Format,
    /// It was of no use any more when a batch was to take it, and the entry wants no such ones.
    Expired,
    /// It names what it holds by a number, and nothing has come that says what the number stands for.
    Alias,
    /// The entry's `transform` makes no object of it.
    Transform,
    /// Its sensor sends more than the entry's `quota` lets it.
    Quota,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::Empty,
        Self::Oversize,
        Self::SensorId,
        Self::Topic,
        Self::Missing,
        Self::Loop,
        Self::Format,
        Self::Expired,
        Self::Alias,
        Self::Transform,
        Self::Quota,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Empty => "empty",
            Self::Oversize => "oversize",
            Self::SensorId => "sensor_id",
            Self::Topic => "topic",
            Self::Missing => "missing",
            Self::Loop => "loop",
            Self::Format => "format",
            Self::Expired => "expired",
            Self::Alias => "alias",
            Self::Transform => "transform",
            Self::Quota => "quota",
        }
    }
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A reading. `value` is any JSON text, as the sensor sent it.
    Reading {
        /// The value's JSON text.
        value: Span,
        /// The sensor's own time in RFC 3339, a JSON string; empty: the time of receipt stands.
        timestamp: Span,
        /// `"tags":{…},"quantity":…,"unit":…`, those that there are; may be empty.
        labels: Span,
        /// The payload's other members, `"name":value` joined by commas; may be empty.
        extra: Span,
    },
    /// What can never be a reading: goes to the dead letters.
    Unreadable {
        /// Why.
        reason: Reason,
        /// Where and what, in words.
        detail: Span,
        /// The payload, or its head when it was oversize.
        payload: Span,
    },
}

impl Body {
    /// Bytes of its text.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Reading { value, timestamp, labels, extra } => {
                value.bytes() + timestamp.bytes() + labels.bytes() + extra.bytes()
            }
            Self::Unreadable { detail, payload, .. } => detail.bytes() + payload.bytes(),
        }
    }
}

/// How a message came, and what may become of it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and small")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrival {
    /// The broker had retained it.
    pub retained: bool,
    /// It probably waited at the broker: a hint.
    pub waited: bool,
    /// It came with QoS 0 under a shedding policy: the queue may lose it, counted.
    pub sheddable: bool,
    /// It is a dead letter once it is of no use any more.
    pub expires_to_letter: bool,
    /// For how long it is of use.
    pub expiry: Expiry,
}

/// For how many seconds from its receipt a message is of use (MQTT 5 §3.3.2.3.3); the largest number: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(pub u32);

impl Default for Expiry {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Expiry {
    /// When a message that was received then is of no use any more; `None`: never.
    pub fn at(self, received: Timestamp) -> Option<Timestamp> {
        let millis = u64::from(self.0) * 1000;
        (self.0 < u32::MAX).then(|| Timestamp::from_millis(received.millis() + millis))
    }
}

impl Record {
    /// When it became a dead letter because it is of no use any more, if it has by now.
    pub fn letter_since(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.arrival.expiry.at(self.received);
        at.filter(|at| self.arrival.expires_to_letter && *at <= now)
    }
}

/// One taken message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The row of its books.
    pub sensor: SensorIndex,
    /// Its sensor's id, where that has no row of its own; empty: the row has it.
    pub id: Span,
    /// Counts the row's records from 1 in this process: the sensor's, where the row is its own.
    pub sequence: u64,
    /// When it was taken.
    pub received: Timestamp,
    /// The way back.
    pub token: Token,
    /// The MQTT topic it came on; empty for simulated sensors.
    pub topic: Span,
    /// How it came.
    pub arrival: Arrival,
    /// Its content.
    pub body: Body,
}

impl Record {
    /// Bytes of text this record occupies: what it counts against `queue.bytes_max`.
    pub const fn bytes(&self) -> usize {
        self.id.bytes() + self.topic.bytes() + self.body.bytes()
    }

    fn map_spans(&mut self, mut f: impl FnMut(Span) -> Span) {
        self.id = f(self.id);
        self.topic = f(self.topic);
        self.body = match self.body {
            Body::Reading { value, timestamp, labels, extra } => Body::Reading {
                value: f(value),
                timestamp: f(timestamp),
                labels: f(labels),
                extra: f(extra),
            },
            Body::Unreadable { reason, detail, payload } => {
                Body::Unreadable { reason, detail: f(detail), payload: f(payload) }
            }
        };
    }
}

/// Records and the bytes their spans point into.
#[derive(Debug, Default)]
pub struct Chunk {
    /// In the order they were taken.
    pub records: Vec<Record>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Appends text and says where it lies.
    ///
    /// # Panics
    /// If a chunk grows beyond 4 GiB, which `queue.bytes_max` rules out.
    pub fn put(&mut self, text: &[u8]) -> Span {
        let start = u32::try_from(self.bytes.len()).expect("a chunk is bounded by queue.bytes_max");
        let len = u32::try_from(text.len()).expect("a chunk is bounded by queue.bytes_max");
        self.bytes.extend_from_slice(text);
        Span { start, len }
    }

    /// Lets `write` append text; says where it lies and what `write` returned.
    pub fn put_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> (Span, T) {
        let before = self.bytes.len();
        let result = write(&mut self.bytes);
        let start = u32::try_from(before).expect("a chunk is bounded by queue.bytes_max");
        let len = u32::try_from(self.bytes.len().saturating_sub(before))
            .expect("a chunk is bounded by queue.bytes_max");
        (Span { start, len }, result)
    }

    /// Takes back all text that was put after there were `bytes` of it and that no record uses.
    pub fn take_back(&mut self, bytes: usize) {
        self.bytes.truncate(bytes);
    }

    /// The text of a span of this chunk; empty for a span of another chunk that does not fit here.
    pub fn text(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.bytes.get(start..start + span.len as usize).unwrap_or_default()
    }

    /// Bytes of text held, including those of records since removed.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All text that was put after there were `bytes` of it.
    ///
    /// # Panics
    /// As [`Self::put`].
    pub fn since(&self, bytes: usize) -> Span {
        let start = u32::try_from(bytes).expect("a chunk is bounded by queue.bytes_max");
        let len = u32::try_from(self.bytes.len().saturating_sub(bytes));
        Span { start, len: len.expect("a chunk is bounded by queue.bytes_max") }
    }

    /// Memory that is held, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<Record>()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
    }

    /// Moves all of `other` behind what is here and leaves `other` empty.
    pub fn append(&mut self, other: &mut Chunk) {
        if self.records.is_empty() && self.bytes.is_empty() && self.bytes.capacity() == 0 {
            std::mem::swap(self, other);
            return;
        }
        let by = u32::try_from(self.bytes.len()).expect("a chunk is bounded by queue.bytes_max");
        self.bytes.extend_from_slice(&other.bytes);
        self.records.extend(other.records.drain(..).map(|mut record| {
            record.map_spans(|span| span.shifted(by));
            record
        }));
        other.bytes.clear();
    }

    /// Copies one record of `other`, text and all, behind what is here.
    pub fn copy_from(&mut self, other: &Chunk, record: &Record) {
        let mut record = *record;
        record.map_spans(|span| {
            if span.is_empty() { Span::default() } else { self.put(other.text(span)) }
        });
        self.records.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(chunk: &mut Chunk, value: &str) -> Record {
        let value = chunk.put(value.as_bytes());
        Record {
            sensor: SensorIndex(0),
            id: Span::default(),
            sequence: 1,
            received: Timestamp::default(),
            token: Token::NONE,
            topic: Span::default(),
            arrival: Arrival::default(),
            body: Body::Reading {
                value,
                timestamp: Span::default(),
                labels: Span::default(),
                extra: Span::default(),
            },
        }
    }

    fn values(chunk: &Chunk) -> Vec<String> {
        let text = |record: &Record| match record.body {
            Body::Reading { value, .. } => String::from_utf8(chunk.text(value).to_vec()).unwrap(),
            Body::Unreadable { .. } => String::new(),
        };
        chunk.records.iter().map(text).collect()
    }

    #[test]
    fn appended_records_keep_their_text() {
        let (mut a, mut b) = (Chunk::default(), Chunk::default());
        let push = |chunk: &mut Chunk, value| {
            let record = record(chunk, value);
            chunk.records.push(record);
        };
        push(&mut a, "1");
        push(&mut b, "22");
        push(&mut b, "333");
        a.append(&mut b);
        assert_eq!(values(&a), ["1", "22", "333"]);
        assert!(b.records.is_empty() && b.bytes() == 0);
        a.records[1].id = a.put(b"id");
        let mut c = Chunk::default();
        c.copy_from(&a, &a.records[1]);
        assert_eq!((values(&c), c.bytes()), (vec!["22".to_owned()], 4));
        assert_eq!((c.text(c.records[0].id), c.records[0].bytes()), (&b"id"[..], 4));
    }
}
