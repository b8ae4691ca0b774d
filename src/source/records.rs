//! Makes records of messages, for every source: a record for each reading, and a dead letter for each part that
//! can be none.
//!
//! A message is read as a whole before a record is made of it: one that holds more than `queue.readings_max`
//! readings becomes a single dead letter. So a `sequence` is given to a record that exists, and to no other.

use std::borrow::Cow;

use super::Context;
use super::births::Births;
use super::made::{Made, Of, PARTS_KEPT, Part, Sensors, keep, record_at};
use super::message::{Message, Whose};
use super::numbers::Numbers;
use super::policed::{Candidate, Fate, Policed};
use super::remembered::Remembered;
use crate::clock::Now;
use crate::codec::compression::{Compression, Unpacker};
use crate::codec::mapping::several::Templates;
use crate::codec::mapping::{Document, Mapping, Origin, Read};
use crate::codec::turn::{Request, Turn};
use crate::codec::{Decoder, Input, Malformed, Payload};
use crate::limits::TOPIC_SHOWN_BYTES_MAX;
use crate::policies::Settings as Policies;
use crate::record::{Body, Chunk, Span};
use crate::state::metrics::Skipped;

/// Steps of a `transform` that take as long as a record.
const RECORD_STEPS: u32 = 8;

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
        let (begin, before) = (chunk.bytes(), chunk.records.len());
        let splits = mapping.splits();
        let of = Of { context, message, whose, name };
        let mut made = Made { of, sensors, parts, splits, bytes: 0, end: begin };
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
            return Some(self.refuse_many(message, whose, (begin, before), chunk));
        }
        if mapping.skipped() > 0 && parts.is_empty() {
            context.metrics.messages_skipped.of(Skipped::Missing).one();
        }
        Some(self.finish_read(message, whose, (begin, before), chunk))
    }

    /// Makes a dead letter of a message with too many readings, of which the text and the records begin there; returns 1.
    fn refuse_many(
        &mut self,
        message: &Message<'_>,
        whose: &Whose<'_>,
        (begin, before): (usize, usize),
        chunk: &mut Chunk,
    ) -> u32 {
        let malformed = self.context.too_many(message.payload, self.parts.len());
        self.parts.clear();
        chunk.records.truncate(before);
        chunk.take_back(begin);
        self.refuse(message, whose, &malformed, chunk)
    }

    /// Finishes the records of a message that was read, of which the text and the records begin there.
    fn finish_read(
        &mut self,
        message: &Message<'_>,
        whose: &Whose<'_>,
        (begin, before): (usize, usize),
        chunk: &mut Chunk,
    ) -> u32 {
        let made = self.finish(message, whose, self.decoder.says(), chunk);
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
        let of = Of { context: &self.context, message, whose, name: &self.name };
        self.parts.push(of.refuse(message.payload, malformed, chunk));
        self.finish(message, whose, None, chunk)
    }

    /// Finishes the records of a message, and takes those out of the chunk that are left out or wait; returns how many
    /// the message waits for. Where it `says` so, their sensors are there, or are gone.
    fn finish(
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
        let first = chunk.records.len() - self.parts.len();
        let (mut count, mut kept) = (0, first);
        for (Part { row, quantity, number, time_unused }, at) in self.parts.drain(..).zip(first..) {
            let mut row = row.as_ref().unwrap_or(&whose.row);
            let again;
            if row.is_forgotten() {
                // Another sensor of this message has its place.
                again = Whose::new(self.context.row(row.id()), Cow::Borrowed(row.id()));
                let id = again.own_id(&self.name, chunk);
                row = &again.row;
                let record = record_at(chunk, at);
                (record.sensor, record.id) = (row.index, id);
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
            let record = record_at(chunk, at);
            (record.topic, record.token) = (topic, token);
            if let Body::Reading { value, .. } = record.body {
                row.has_value(chunk.text(value));
            }
            let mut fate = Fate::Taken;
            // Who is gone says it once.
            if let (Some(policed), Some(memory)) = (&mut self.policed, &mut memory)
                && says != Some(false)
            {
                let mut record = *record_at(chunk, at);
                let candidate = Candidate { row, record: &mut record, quantity, number };
                fate = policed.judge(memory, candidate, message.taken, chunk);
                *record_at(chunk, at) = record;
            }
            if let Some(number) = number.filter(|_| is_fresh && !fate.is_repeat()) {
                self.numbers.judge(row, number, message.repeated, metrics);
            }
            match fate {
                Fate::Left(_) => continue,
                Fate::Waits => {}
                Fate::Taken => {
                    record_at(chunk, at).sequence = row.count();
                    keep(chunk, at, kept);
                    kept += 1;
                }
            }
            token = token.next();
            count += 1;
        }
        chunk.records.truncate(kept);
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
        Whose { row: Cow::Owned(self.sensors.own(&self.name, &self.context)), id: None }
    }
}

/// A topic as records and dead letters show it. What is not UTF-8 in it is replaced where it is written.
fn shown(topic: &[u8]) -> &[u8] {
    topic.get(..TOPIC_SHOWN_BYTES_MAX).unwrap_or(topic)
}
