//! Makes records of messages, for every source: a record for each reading, and a dead letter for each part that
//! can be none.
//!
//! A message is read as a whole before a record is made of it: one that holds more than `queue.readings_max`
//! readings becomes a single dead letter. So a `sequence` is given to a record that exists, and to no other.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::births::Births;
use super::numbers::Numbers;
use super::policed::{Candidate, Fate, Policed};
use super::remembered::Remembered;
use super::{Context, unreadable, usable_id};
use crate::clock::Now;
use crate::codec::compression::{Compression, Unpacker};
use crate::codec::mapping::several::Templates;
use crate::codec::mapping::{Document, Mapping, Origin, Read};
use crate::codec::turn::{Request, Turn};
use crate::codec::{Decoder, Input, Malformed, Payload, Reading};
use crate::limits::{READING_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, TOPIC_SHOWN_BYTES_MAX};
use crate::policies::Settings as Policies;
use crate::record::{Arrival, Body, Chunk, Record, Span};
use crate::settlement::Token;
use crate::state::metrics::Skipped;
use crate::state::registry::Row;

/// Whose a message is.
#[derive(Debug)]
pub(super) struct Whose<'a> {
    /// Where it is counted.
    pub(super) row: Arc<Row>,
    /// The sensor's id, where the row is shared; without one there it is the entry's own.
    pub(super) id: Option<Cow<'a, str>>,
}

impl<'a> Whose<'a> {
    pub(super) fn new(row: Arc<Row>, id: Cow<'a, str>) -> Self {
        let id = row.is_shared().then_some(id);
        Self { row, id }
    }
}

/// A message, or a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) payload: &'a [u8],
    /// Empty where it came on none.
    pub(super) topic: &'a [u8],
    /// The way back of its first reading; the next ones follow it.
    pub(super) token: Token,
    /// How it came.
    pub(super) arrival: Arrival,
    /// What the sender wrote beside it, by name (MQTT 5).
    pub(super) properties: &'a [(&'a str, &'a str)],
    /// The broker marks it as sent before.
    pub(super) repeated: bool,
    pub(super) taken: Now,
}

/// A part of a message that is read, before it is a record.
#[derive(Debug)]
struct Part {
    /// That of the sensor which the payload names; none where it is the message's.
    row: Option<Arc<Row>>,
    id: Span,
    body: Body,
    /// What is measured.
    quantity: Span,
    number: Option<u64>,
    time_unused: bool,
}

/// Steps of a `transform` that take as long as a record.
const RECORD_STEPS: u32 = 8;

/// Bytes of a message of so many readings, beside the chunk of its source, in a list that grows.
pub(super) const fn bytes_max(readings_max: usize) -> usize {
    3 * readings_max * size_of::<Part>()
}

/// Readings of a message for which an entry keeps room, and the bytes of that.
const PARTS_KEPT: usize = 64;
pub(super) const PARTS_BYTES: usize = PARTS_KEPT * size_of::<Part>();

/// Who is shown of what records are made: the document, where there is one, and the part of it that is a reading, where
/// that is not all. No type parameter: what makes records is compiled once.
pub(super) type See<'s> = Option<&'s mut dyn FnMut(Option<Document<'_>>, Option<&str>)>;

/// The records of one entry.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) name: String,
    pub(super) context: Context,
    unpacker: Option<Unpacker>,
    decoder: Decoder,
    /// A payload may hold several readings, each a part of its text.
    is_many: bool,
    mapping: Mapping,
    sensors: Sensors,
    numbers: Numbers,
    /// Kept for the next run, where messages need them and there is a place.
    births: Option<Births>,
    policed: Option<Policed>,
    /// Of the message that is read; empty between two.
    parts: Vec<Part>,
}

impl Records {
    /// Of the entry `name`; rows of so many sensors that payloads name are remembered.
    pub(super) fn new(
        name: &str,
        payload: &Payload,
        compression: Option<Compression>,
        mapping: Mapping,
        remembered_max: usize,
        context: &Context,
    ) -> Self {
        let mut decoder = payload.decoder();
        let births = context.folder.as_deref().zip(payload.waits().map(|it| it.kept_bytes_max));
        let births = births.map(|(folder, max)| Births::open(folder, name, max, &mut decoder));
        Self {
            name: name.to_owned(),
            context: context.clone(),
            unpacker: compression.map(Compression::unpacker),
            decoder,
            births,
            is_many: payload.is_many(),
            mapping,
            sensors: Sensors { by_id: Remembered::new(remembered_max), own: None },
            numbers: Numbers::default(),
            policed: None,
            parts: Vec::new(),
        }
    }

    /// With these policies about which readings are left out.
    #[must_use]
    pub(super) fn with(mut self, policies: &Policies) -> Self {
        self.policed = Policed::new(&self.name, policies, &self.context);
        self
    }

    /// The policies, where there are any.
    pub(super) fn policed(&mut self) -> Option<&mut Policed> {
        self.policed.as_mut()
    }

    /// Makes the records of a message and puts them into the chunk; returns how many, or nothing of one that `may_read`
    /// does not let be read now. Where something else than the payload names the sensor, `whose` is `named`. `levels`
    /// is what the topic has at the entry's named levels. `see` is shown of
    /// what each record is made.
    pub(super) fn take(
        &mut self,
        message: &Message<'_>,
        whose: &Whose<'_>,
        (named, levels): (bool, &[&str]),
        may_read: Option<&mut dyn FnMut(Turn) -> bool>,
        chunk: &mut Chunk,
        mut see: See<'_>,
    ) -> Option<u32> {
        let Self { unpacker, decoder, mapping, sensors, parts, name, context, births, .. } = self;
        let (received, bytes_max) = (message.taken.wall, context.record_bytes_max);
        let payload = match unpacker {
            Some(unpacker) => match unpacker.unpack(message.payload, bytes_max) {
                Ok(payload) => payload,
                Err(malformed) => {
                    self.pass(message);
                    return Some(self.refuse(message, whose, &malformed, chunk));
                }
            },
            None => message.payload,
        };
        let input = Input { payload, topic: message.topic, received, bytes_max };
        let waits = may_read.is_some_and(|may_read| {
            let turn = decoder.turn(&input, message.repeated);
            if turn == Turn::Now {
                return false;
            }
            self.numbers.lost(name, message.topic, decoder.missing(), &context.metrics);
            if let Some(births) = births
                && let Some(note) = decoder.note(&input)
            {
                births.note(note, message.topic, payload);
            }
            !may_read(turn)
        });
        if waits {
            return None;
        }
        // A dead letter of a whole message has it as it was received.
        let is_packed = !std::ptr::eq(payload, message.payload);
        let is_whole = |text: &[u8]| is_packed && (!self.is_many || text.len() == payload.len());
        let shown = |text| if is_whole(text) { message.payload } else { text };
        let origin = Origin {
            levels,
            named: named.then(|| whose.id.as_deref().unwrap_or(whose.row.id())),
            entry: name,
            properties: message.properties,
            received,
        };
        let begin = chunk.bytes();
        let splits = mapping.splits();
        let mut made = Made { context, whose, name, sensors, parts, splits, bytes: 0, end: begin };
        let mut tell = |document: Option<Document<'_>>, part: Option<&str>| {
            if let Some(see) = &mut see {
                see(document, part);
            }
        };
        let decoded = decoder.decode(input, &mut |text, document| match document {
            Ok(document) => {
                let mut put = |chunk: &mut Chunk, part: Option<&str>, read: Read<'_>| {
                    tell(Some(document), part);
                    made.put(part.map_or_else(|| shown(text), str::as_bytes), read, chunk)
                };
                mapping.read(document, &origin, chunk, &mut put)
            }
            Err(malformed) => {
                tell(None, None);
                made.put(shown(text), Err(malformed), chunk)
            }
        });
        if decoded.is_break() {
            let malformed = context.too_many(message.payload, parts.len());
            parts.clear();
            chunk.take_back(begin);
            return Some(self.refuse(message, whose, &malformed, chunk));
        }
        if mapping.skipped() > 0 && parts.is_empty() {
            context.metrics.messages_skipped.of(Skipped::Missing).one();
        }
        Some(self.put_read(message, whose, begin, chunk))
    }

    /// Puts the records of a message that was read, of which the text begins there.
    fn put_read(
        &mut self,
        message: &Message<'_>,
        whose: &Whose<'_>,
        begin: usize,
        chunk: &mut Chunk,
    ) -> u32 {
        let before = chunk.records.len();
        let made = self.put(message, whose, self.decoder.says(), chunk);
        if chunk.records.len() == before {
            // Nothing uses its text.
            chunk.take_back(begin);
        }
        made
    }

    /// What is to be published, so that messages can be read that come later.
    pub(super) fn request(&mut self) -> Option<Request> {
        self.decoder.request()
    }

    /// Lets the decoder know a message of which no record is made.
    pub(super) fn learn(&mut self, topic: &str, payload: &[u8], now: Now) {
        let (topic, bytes_max) = (topic.as_bytes(), self.context.record_bytes_max);
        self.decoder.learn(&Input { payload, topic, received: now.wall, bytes_max });
    }

    /// Lets the decoder know that a message came which it does not read.
    pub(super) fn pass(&mut self, message: &Message<'_>) {
        let (topic, received) = (message.topic, message.taken.wall);
        let payload = if self.unpacker.is_some() { &[] } else { message.payload };
        let bytes_max = self.context.record_bytes_max;
        self.decoder.pass(&Input { payload, topic, received, bytes_max });
    }

    /// Makes a dead letter of a message that can be no reading; returns 1.
    pub(super) fn refuse(
        &mut self,
        message: &Message<'_>,
        whose: &Whose<'_>,
        malformed: &Malformed,
        chunk: &mut Chunk,
    ) -> u32 {
        self.parts.push(refused(whose, &self.name, message.payload, malformed, chunk));
        self.put(message, whose, None, chunk)
    }

    /// Puts a record of each part into the chunk that is not left out; returns how many the message waits for. Where it
    /// `says` so, their sensors are there, or are gone.
    fn put(
        &mut self,
        message: &Message<'_>,
        whose: &Whose<'_>,
        says: Option<bool>,
        chunk: &mut Chunk,
    ) -> u32 {
        let (shown, mut token) = (shown(message.topic), message.token);
        let metrics = &self.context.metrics;
        let received = message.taken.wall;
        let mut memory = self.policed.as_ref().map(|_| self.context.registry.memory());
        // All records of a message have one topic.
        let topic = if self.parts.is_empty() { Span::default() } else { chunk.put(shown) };
        let mut count = 0;
        for Part { row, mut id, body, quantity, number, time_unused } in self.parts.drain(..) {
            let mut row = row.as_ref().unwrap_or(&whose.row);
            let again;
            if row.is_forgotten() {
                // Another sensor of this message has its place.
                again = Whose::new(self.context.row(row.id()), Cow::Borrowed(row.id()));
                id = own_id(&again, &self.name, chunk);
                row = &again.row;
            }
            if row.is_shared() {
                metrics.sensors_overflowed.one();
            }
            if time_unused {
                metrics.times_unused.one();
                row.time_unused();
            }
            // A retained message is a copy of one that has come before, or that came before the gateway did.
            let is_fresh = !message.arrival.retained;
            if is_fresh {
                row.heard(received);
            }
            if let Some(is_there) = says {
                row.told(is_there, received);
            }
            if let Body::Reading { value, .. } = body {
                row.has_value(chunk.text(value));
            }
            let (sensor, arrival) = (row.index, message.arrival);
            let mut record =
                Record { sensor, id, sequence: 0, received, token, topic, arrival, body };
            let mut fate = Fate::Taken;
            // Who is gone says it once.
            if let (Some(policed), Some(memory)) = (&mut self.policed, &mut memory)
                && says != Some(false)
            {
                let candidate = Candidate { row, record: &mut record, quantity, number };
                fate = policed.judge(memory, candidate, message.taken, chunk);
            }
            if let Some(number) = number.filter(|_| is_fresh && !fate.is_repeat()) {
                self.numbers.judge(row, number, message.repeated, metrics);
            }
            match fate {
                Fate::Left(_) => continue,
                Fate::Waits => {}
                Fate::Taken => {
                    record.sequence = row.count();
                    chunk.records.push(record);
                }
            }
            token = token.next();
            count += 1;
        }
        self.parts.shrink_to(PARTS_KEPT);
        count
    }

    /// What a program of the entry has done since it was asked last, in records that take as long.
    pub(super) fn work(&mut self) -> usize {
        self.mapping.steps().div_ceil(RECORD_STEPS) as usize
    }

    /// Whether `take` needs the topic's levels.
    pub(super) fn needs_levels(&self) -> bool {
        self.mapping.needs_levels()
    }

    /// The id that a template of topic levels makes.
    pub(super) fn of_topic(&self, template: &Templates, levels: &[&str]) -> String {
        self.mapping.of_topic(template, levels, &self.name)
    }

    /// The entry itself, whose a message is that names no sensor.
    pub(super) fn own(&mut self) -> Whose<'static> {
        Whose { row: self.sensors.own(&self.name, &self.context), id: None }
    }
}

/// What was made of a message so far.
struct Made<'m> {
    context: &'m Context,
    whose: &'m Whose<'m>,
    name: &'m str,
    sensors: &'m mut Sensors,
    parts: &'m mut Vec<Part>,
    /// Several readings share the text of a document.
    splits: bool,
    /// Of all parts.
    bytes: usize,
    /// Where the text of the last part ends.
    end: usize,
}

impl Made<'_> {
    /// One part more, of this text of the payload. It breaks where there are too many, or too many bytes of them.
    fn put(
        &mut self,
        text: &[u8],
        read: Result<Reading<'_>, Malformed>,
        chunk: &mut Chunk,
    ) -> ControlFlow<()> {
        let Self { context, whose, name, sensors, parts, bytes, end, splits } = self;
        let read = read.and_then(|reading| {
            part(context, whose, name, &reading, |id| sensors.row(id, context), chunk)
        });
        let part = read.unwrap_or_else(|malformed| {
            if !*splits {
                chunk.take_back(*end);
            }
            refused(whose, name, text, &malformed, chunk)
        });
        *bytes += part.body.bytes();
        *end = chunk.bytes();
        parts.push(part);
        // As many bytes as a reading may have, and what each further one may have beside.
        let beside = RECORD_OVERHEAD_BYTES + (parts.len() - 1) * READING_OVERHEAD_BYTES;
        let bytes_max = context.record_bytes_max + beside;
        let is_within = parts.len() <= context.readings_max && *bytes <= bytes_max;
        if is_within { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// The part of a message that is a reading.
fn part(
    context: &Context,
    whose: &Whose<'_>,
    name: &str,
    reading: &Reading<'_>,
    row: impl FnOnce(&str) -> Result<Arc<Row>, Malformed>,
    chunk: &mut Chunk,
) -> Result<Part, Malformed> {
    let body = context.body(reading)?;
    let Reading { quantity, number, time_unused, .. } = *reading;
    let Some(id) = reading.sensor else {
        let id = own_id(whose, name, chunk);
        return Ok(Part { row: None, id, body, quantity, number, time_unused });
    };
    let whose = Whose::new(row(id)?, Cow::Borrowed(id));
    let id = own_id(&whose, name, chunk);
    Ok(Part { row: Some(whose.row), id, body, quantity, number, time_unused })
}

/// The part of a message that can be no reading.
fn refused(
    whose: &Whose<'_>,
    name: &str,
    text: &[u8],
    malformed: &Malformed,
    chunk: &mut Chunk,
) -> Part {
    let body = unreadable(text, malformed, chunk);
    let id = own_id(whose, name, chunk);
    let quantity = Span::default();
    Part { row: None, id, body, quantity, number: None, time_unused: false }
}

/// The id that a record has beside its row: that of a sensor without a row of its own.
fn own_id(whose: &Whose<'_>, name: &str, chunk: &mut Chunk) -> Span {
    if !whose.row.is_shared() {
        return Span::default();
    }
    chunk.put(whose.id.as_deref().unwrap_or(name).as_bytes())
}

/// A topic as records and dead letters show it. What is not UTF-8 in it is replaced where it is written.
fn shown(topic: &[u8]) -> &[u8] {
    topic.get(..TOPIC_SHOWN_BYTES_MAX).unwrap_or(topic)
}

/// The rows of the sensors that payloads name, and of the entry itself.
#[derive(Debug)]
struct Sensors {
    by_id: Remembered<str>,
    own: Option<Arc<Row>>,
}

impl Sensors {
    fn row(&mut self, id: &str, context: &Context) -> Result<Arc<Row>, Malformed> {
        if let Some(row) = self.by_id.get(id) {
            return Ok(Arc::clone(row));
        }
        let row = context.row(usable_id(id.as_bytes())?);
        self.by_id.put(id, &row);
        Ok(row)
    }

    /// The row is made when it is needed: an entry whose sensors are all named by their topic takes none of
    /// `gateway.sensors_max`.
    fn own(&mut self, name: &str, context: &Context) -> Arc<Row> {
        let own = self.own.take().filter(|row| !row.is_forgotten());
        Arc::clone(self.own.insert(own.unwrap_or_else(|| context.row(name))))
    }
}
