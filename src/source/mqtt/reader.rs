//! Makes records of messages: whose it is, what it says, and what can be no reading.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

use super::Settings;
use super::numbers::Numbers;
use crate::clock::{self, Timestamp};
use crate::codec::{Malformed, text_json};
use crate::limits::{
    DEAD_LETTER_HEAD_BYTES_MAX, RECORD_OVERHEAD_BYTES, SENSOR_ID_BYTES_MAX,
    TOPIC_REMEMBERED_BYTES_MAX, TOPIC_SHOWN_BYTES_MAX,
};
use crate::metrics::Metrics;
use crate::mqtt::Error;
use crate::mqtt::ledger::{Entered, Ledger};
use crate::mqtt::options::Version;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Group;
use crate::queue::OnFull;
use crate::record::{Body, Chunk, Reason, Record, Span};
use crate::registry::{OVERFLOW, Row};
use crate::repeat::Repeated;
use crate::settlement::{SourceIndex, Token};
use crate::source::Context;

/// Makes records of messages.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) version: Version,
    source: SourceIndex,
    context: Context,
    /// Rows by topic, for topics that name their sensor.
    by_topic: HashMap<Box<[u8]>, Arc<Row>, RandomState>,
    /// Rows by id, for payloads that name their sensor.
    by_id: HashMap<Box<str>, Arc<Row>, RandomState>,
    digest: FixedState,
    overflow: Repeated,
    numbers: Numbers,
    own: Option<Arc<Row>>,
}

impl Reader {
    pub(super) fn new(
        name: &str,
        settings: Settings,
        version: Version,
        source: SourceIndex,
        context: &Context,
    ) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            version,
            source,
            context: context.clone(),
            by_topic: HashMap::default(),
            by_id: HashMap::default(),
            digest: FixedState::default(),
            overflow: Repeated::default(),
            numbers: Numbers::default(),
            own: None,
        }
    }

    pub(super) fn subscription(&self) -> String {
        self.settings.topic.subscription(self.settings.group.as_ref().map(Group::as_str))
    }

    /// Enters a message into the ledger; `None` when it is held already. An error where the broker
    /// breaks the protocol.
    pub(super) fn enter(
        &self,
        ledger: &mut Ledger,
        publish: &Publish<'_>,
        metrics: &Metrics,
    ) -> Result<Option<Token>, Error> {
        match publish.qos {
            0 => return Ok(Some(Token::NONE)),
            1 => {}
            // From a subscription that somebody else made in our session.
            _ => ledger.expect_qos_2(publish.packet_id),
        }
        match ledger.enter(publish.packet_id, publish.dup, self.digest(publish)) {
            Entered::New(ordinal) => {
                metrics.repeats_taken.add(u64::from(publish.dup));
                Ok(Some(Token { source: self.source, ordinal }))
            }
            Entered::Known => {
                metrics.repeats_matched.one();
                Ok(None)
            }
            Entered::Against(what) => {
                metrics.protocol_errors.one();
                Err(Error::Protocol(format!("the broker has sent {what}")))
            }
        }
    }

    /// Matches a message with what is held, and takes nothing new.
    pub(super) fn recognise(&self, ledger: &mut Ledger, publish: &Publish<'_>) {
        let known = publish.qos > 0
            && ledger.recognise(publish.packet_id, publish.dup, self.digest(publish));
        if known {
            self.context.metrics.repeats_matched.one();
            if publish.qos > 1 {
                ledger.expect_qos_2(publish.packet_id);
            }
        }
    }

    fn digest(&self, publish: &Publish<'_>) -> u64 {
        let mut hasher = self.digest.build_hasher();
        hasher.write(publish.topic);
        hasher.write(publish.payload);
        hasher.finish()
    }

    /// Makes a record of a message; what can be no reading becomes a dead letter.
    pub(super) fn take(
        &mut self,
        publish: &Publish<'_>,
        token: Token,
        now: Timestamp,
        chunk: &mut Chunk,
    ) {
        let before = chunk.bytes();
        let read = self.read(publish, chunk);
        let (row, body) = read.unwrap_or_else(|(row, malformed)| {
            chunk.take_back(before);
            (row, unreadable(publish, &malformed, chunk))
        });
        let shown = publish.topic.get(..TOPIC_SHOWN_BYTES_MAX).unwrap_or(publish.topic);
        let topic = match std::str::from_utf8(shown) {
            Ok(topic) => chunk.put(topic.as_bytes()),
            Err(_) => chunk.put(String::from_utf8_lossy(shown).as_bytes()),
        };
        chunk.records.push(Record {
            sensor: row.index,
            sequence: row.receive(now),
            received: now,
            token,
            topic,
            retained: publish.retain,
            sheddable: publish.qos == 0 && self.context.on_full != OnFull::Wait,
            body,
        });
    }

    /// A message's row and content; an error has the row to count it under.
    fn read(
        &mut self,
        publish: &Publish<'_>,
        chunk: &mut Chunk,
    ) -> Result<(Arc<Row>, Body), (Arc<Row>, Malformed)> {
        let row = match self.row_of(publish.topic) {
            Ok(row) => row,
            Err(malformed) => return Err((self.own(), malformed)),
        };
        if let Some(malformed) = self.oversize(publish) {
            return Err((row, malformed));
        }
        let reading = match self.settings.payload.decode(publish.payload, chunk) {
            Ok(reading) => reading,
            Err(malformed) => return Err((row, malformed)),
        };
        let text = reading.value.bytes() + reading.timestamp.bytes() + reading.extra.bytes();
        let text_max = self.context.record_bytes_max + RECORD_OVERHEAD_BYTES;
        if text > text_max {
            let detail = format!("{text} bytes as JSON; at most {text_max}");
            return Err((row, Malformed { reason: Reason::Oversize, detail }));
        }
        let body = Body::Reading {
            value: reading.value,
            timestamp: reading.timestamp,
            extra: reading.extra,
        };
        let (row, body) = match reading.sensor {
            Some(id) if !self.settings.topic.has_placeholder() => match self.row_by_id(&id) {
                Ok(row) if &*row.id == OVERFLOW => (row, with_id(body, &id, chunk)),
                Ok(row) => (row, body),
                Err(malformed) => return Err((row, malformed)),
            },
            _ => (row, body),
        };
        if let Some(number) = reading.number {
            self.numbers.judge(&row, number, publish, &self.context.metrics);
        }
        Ok((row, body))
    }

    fn oversize(&self, publish: &Publish<'_>) -> Option<Malformed> {
        let max = self.context.record_bytes_max;
        let (bytes, sha256) = match publish.cut {
            Some(cut) => (cut.bytes, cut.sha256),
            None if publish.payload.len() > max => {
                use sha2::Digest;
                (publish.payload.len() as u64, sha2::Sha256::digest(publish.payload).into())
            }
            None => return None,
        };
        let hex = sha256.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let detail =
            format!("{bytes} bytes; queue.record_bytes_max is {max}; cut here; sha256 {hex}");
        Some(Malformed { reason: Reason::Oversize, detail })
    }

    /// The row of the sensor that a topic names, or the entry's own.
    fn row_of(&mut self, topic: &[u8]) -> Result<Arc<Row>, Malformed> {
        if let Some(row) = self.by_topic.get(topic) {
            return Ok(Arc::clone(row));
        }
        let wrong = |detail: &str| Malformed { reason: Reason::Topic, detail: detail.to_owned() };
        let text = std::str::from_utf8(topic).map_err(|_| wrong("the topic is not UTF-8"))?;
        if topic.len() > TOPIC_SHOWN_BYTES_MAX {
            return Err(wrong(&format!("the topic has {} bytes; cut here", topic.len())));
        }
        if !self.settings.topic.matches(text) {
            return Err(wrong(
                "not a topic of this entry: an earlier configuration's subscription is still in \
                 the broker's session",
            ));
        }
        let row = match self.settings.topic.sensor(topic) {
            None => self.own(),
            Some(id) => self.row(usable_id(id)?),
        };
        let worth =
            self.settings.topic.has_placeholder() && topic.len() <= TOPIC_REMEMBERED_BYTES_MAX;
        if worth && self.by_topic.len() < self.context.remembered_max {
            self.by_topic.insert(topic.into(), Arc::clone(&row));
        }
        Ok(row)
    }

    /// The entry's own row, made when it is needed: an entry whose sensors are all named by their topic
    /// takes none of `gateway.sensors_max`.
    fn own(&mut self) -> Arc<Row> {
        if let Some(own) = &self.own {
            return Arc::clone(own);
        }
        let name = self.name.clone();
        let own = self.row(&name);
        self.own = Some(Arc::clone(&own));
        own
    }

    fn row_by_id(&mut self, id: &str) -> Result<Arc<Row>, Malformed> {
        if let Some(row) = self.by_id.get(id) {
            return Ok(Arc::clone(row));
        }
        let row = self.row(usable_id(id.as_bytes())?);
        if self.by_id.len() < self.context.remembered_max {
            self.by_id.insert(id.into(), Arc::clone(&row));
        }
        Ok(row)
    }

    fn row(&mut self, id: &str) -> Arc<Row> {
        let (row, overflowed) = self.context.registry.row_of(id, self.context.entry);
        if overflowed {
            self.context.metrics.sensors_overflowed.one();
            self.say_overflow(id);
        }
        row
    }

    fn say_overflow(&mut self, id: &str) {
        if let Some(left_out) = self.overflow.due(clock::now().instant) {
            tracing::warn!(
                sensor = id,
                entry = self.name,
                left_out,
                "more sensors than gateway.sensors_max: further ones share the books and the sequence \
                 of \"(others)\"; raise it, or find out who invents ids"
            );
        }
    }
}

/// A reading whose sensor has no row of its own keeps its id beside its other members.
fn with_id(body: Body, id: &str, chunk: &mut Chunk) -> Body {
    let Body::Reading { value, timestamp, extra } = body else { return body };
    let before = chunk.text(extra).to_vec();
    let (extra, ()) = chunk.put_with(|out| {
        out.extend_from_slice(&before);
        if !before.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"sensorId\":");
        text_json::write(out, id);
    });
    Body::Reading { value, timestamp, extra }
}

/// An id that can stand in logs and envelopes.
fn usable_id(id: &[u8]) -> Result<&str, Malformed> {
    let wrong = |detail: String| Malformed { reason: Reason::SensorId, detail };
    let text = std::str::from_utf8(id).map_err(|_| wrong("the sensor's id is not UTF-8".into()))?;
    if text.is_empty() {
        return Err(wrong("the sensor's id is empty".into()));
    }
    if text.len() > SENSOR_ID_BYTES_MAX {
        let bytes = text.len();
        return Err(wrong(format!(
            "the sensor's id has {bytes} bytes, more than {SENSOR_ID_BYTES_MAX}"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("the sensor's id holds a control character".into()));
    }
    Ok(text)
}

fn unreadable(publish: &Publish<'_>, malformed: &Malformed, chunk: &mut Chunk) -> Body {
    let shown = publish.payload.len().min(DEAD_LETTER_HEAD_BYTES_MAX);
    let mut detail = malformed.detail.clone();
    if shown < publish.payload.len() && malformed.reason != Reason::Oversize {
        detail.extend(["; ", &publish.payload.len().to_string(), " bytes, cut here"]);
    }
    let payload = chunk.put(publish.payload.get(..shown).unwrap_or_default());
    let detail: Span = chunk.put(detail.as_bytes());
    Body::Unreadable { reason: malformed.reason, detail, payload }
}
