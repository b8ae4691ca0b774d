//! A batch in parts, for a broker that does not take it whole.
//!
//! A batch is sealed to fit what the broker takes. When a later connection takes smaller packets
//! than the one before, or the broker answers "packet too large" (a bound it need not name), a batch
//! no longer fits, and publishing it as it is would end every connection, for ever. It is parted
//! then: parts with ids of their own (`….1`, `….2`), the records as they were. A single record that
//! does not fit becomes its own dead letter. Dead letters are parted in the same way (`letters`); one that
//! does not fit alone is shortened, and keeps length and digest. What not even that can be made of stays
//! as it is: it is held until a broker takes it.
//!
//! Parts keep their places, because answers name them: one that is replaced by smaller ones stays as
//! an empty one, and the smaller ones come behind. What was in flight behind a part that the broker
//! refused may be taken before it: only there can a sensor's readings change places.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::codec::{Format, Head};
use crate::mqtt::options::Version;
use crate::mqtt::outgoing::Outgoing;
use crate::mqtt::topic::Topic;
use crate::record::Reason;
use crate::settlement::{Outcome, Share};
use crate::sink::dead_letter::{self, DeadLetter};
use crate::sink::shortened;

mod letters;

/// What a batch is called, to call its parts after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchName {
    /// The gateway's id.
    pub gateway: String,
    /// The batch's id.
    pub id: String,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// How it is written.
    pub format: Format,
}

/// The bounds that parts must respect.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// How packets are written.
    pub version: Version,
    /// Bytes of a packet that the broker takes, if it says.
    pub packet_bytes_max: Option<usize>,
    /// Bytes of a batch's records: no reason to put a single one aside.
    pub records_bytes_max: usize,
    /// Where a record goes that does not fit alone.
    pub dead_letter_topic: &'a Topic,
}

/// A message, and which records of the batch it carries.
#[derive(Debug)]
struct Part {
    id: String,
    /// `None` once it was answered or replaced.
    message: Option<Arc<Outgoing>>,
    first: usize,
    records: usize,
    outcome: Outcome,
}

/// All parts of a batch, of readings or of dead letters.
#[derive(Debug)]
pub struct Parts {
    parts: Vec<Part>,
}

impl Parts {
    /// One part that is the whole.
    pub fn whole(id: String, message: Arc<Outgoing>, records: usize, outcome: Outcome) -> Self {
        Self { parts: vec![Part { id, message: Some(message), first: 0, records, outcome }] }
    }

    /// Those not answered, with their places, in the order of their records.
    pub fn open(&self) -> Vec<u32> {
        let mut open: Vec<(usize, u32)> = (0..)
            .zip(&self.parts)
            .filter(|(_, part)| part.message.is_some())
            .map(|(at, part)| (part.first, at))
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, at)| at).collect()
    }

    /// One that has not been answered.
    pub fn get(&self, at: u32) -> Option<&Arc<Outgoing>> {
        self.parts.get(at as usize)?.message.as_ref()
    }

    /// How many records a part carries.
    pub fn records(&self, at: u32) -> usize {
        self.parts.get(at as usize).map_or(0, |part| part.records)
    }

    /// What becomes of a part's records, while it has not been answered.
    pub fn outcome(&self, at: u32) -> Option<Outcome> {
        let part = self.parts.get(at as usize)?;
        part.message.is_some().then_some(part.outcome)
    }

    /// Notes that one has been answered; true when that was the last.
    pub fn answered(&mut self, at: u32) -> bool {
        if let Some(part) = self.parts.get_mut(at as usize) {
            part.message = None;
        }
        self.parts.iter().all(|part| part.message.is_none())
    }

    /// What becomes of the records when all parts have been answered, in the records' order.
    pub fn shares(&self) -> Vec<Share> {
        let mut parts: Vec<&Part> = self.parts.iter().filter(|part| part.records > 0).collect();
        parts.sort_unstable_by_key(|part| part.first);
        let share = |part: &Part| Share { records: part.records, outcome: part.outcome };
        parts.into_iter().map(share).collect()
    }

    /// Replaces whatever does not fit by what does. Returns whether anything was.
    pub fn fit(&mut self, name: Option<&BatchName>, fit: Fit<'_>) -> bool {
        let count = self.parts.len();
        for at in 0..count {
            self.replace(at, |part, it| match batch(part, name) {
                Some(name) if !fit.takes(it) || is_heavy(name, part, it, fit) => {
                    fitting(name, part, it, fit)
                }
                None if !fit.takes(it) => letters::fitting(part, it, fit),
                _ => Vec::new(),
            });
        }
        self.parts.len() > count
    }

    /// Replaces a part that was refused as too large by its halves, a single record by its dead
    /// letter; says where those are: nowhere, if it cannot be made smaller.
    pub fn halve(&mut self, at: u32, name: Option<&BatchName>, fit: Fit<'_>) -> Vec<u32> {
        let count = self.parts.len();
        self.replace(at as usize, |part, message| match batch(part, name) {
            Some(name) => halves(name, part, message, fit),
            None => letters::halves(part, message, fit),
        });
        (count..self.parts.len()).filter_map(|place| u32::try_from(place).ok()).collect()
    }

    fn replace(&mut self, at: usize, by: impl FnOnce(&Part, &Outgoing) -> Vec<Part>) {
        let Some(part) = self.parts.get_mut(at) else { return };
        let Some(message) = &part.message else { return };
        let smaller = by(part, message);
        if !smaller.is_empty() {
            (part.message, part.records) = (None, 0);
            self.parts.extend(smaller);
        }
    }
}

impl Fit<'_> {
    fn takes(&self, message: &Outgoing) -> bool {
        self.packet_bytes_max.is_none_or(|max| message.packet_bytes(self.version) <= max)
    }

    /// Bytes of the payload of a message that is otherwise like this one.
    fn room(&self, like: &Outgoing) -> usize {
        let room = |max| like.payload_bytes_max(self.version, max).unwrap_or(0);
        self.packet_bytes_max.map_or(usize::MAX, room)
    }
}

/// What a part is called that carries records as readings.
fn batch<'a>(part: &Part, name: Option<&'a BatchName>) -> Option<&'a BatchName> {
    name.filter(|_| part.outcome == Outcome::Delivered)
}

/// Whether it is a batch of more than one record that is larger than batches are to be now.
fn is_heavy(name: &BatchName, part: &Part, message: &Outgoing, fit: Fit<'_>) -> bool {
    let bytes_max = fit.records_bytes_max.saturating_add(overhead(name, &part.id));
    part.records > 1 && message.payload.len() > bytes_max
}

/// The records of a part in parts that fit; nothing, where it is one record that nothing can be made of.
fn fitting(name: &BatchName, whole: &Part, message: &Outgoing, fit: Fit<'_>) -> Vec<Part> {
    let records = name.format.records(&message.payload);
    let overhead = overhead(name, &whole.id);
    let longest = format!("{}.4294967295", whole.id);
    let room = fit.room(&piece(name, &longest, &records, message)).saturating_sub(overhead);
    let groups = group(&records, room.min(fit.records_bytes_max));
    let single = records.len() == 1;
    let parts = pieces(
        name,
        whole,
        groups,
        |id, alone, piece| {
            let large = !fit.takes(piece);
            large.then(|| letter((name, id), alone, message, fit))?
        },
        message,
    );
    let same = single && parts.iter().all(|it| it.outcome == Outcome::Delivered);
    if same { Vec::new() } else { parts }
}

/// The records of a part in two parts; a single one as its dead letter.
fn halves(name: &BatchName, whole: &Part, message: &Outgoing, fit: Fit<'_>) -> Vec<Part> {
    let records = name.format.records(&message.payload);
    let (first, second) = records.split_at(records.len() / 2);
    let groups = [first, second].into_iter().filter(|records| !records.is_empty()).collect();
    let parts = pieces(
        name,
        whole,
        groups,
        // How small it must be is perhaps not known; refused again, the dead letter is shortened.
        |id, alone, _| first.is_empty().then(|| letter((name, id), alone, message, fit))?,
        message,
    );
    let same = first.is_empty() && parts.iter().all(|it| it.outcome == Outcome::Delivered);
    if same { Vec::new() } else { parts }
}

/// Parts of these records; where `letter` gives one for a single record, it stands for its part.
fn pieces(
    name: &BatchName,
    whole: &Part,
    groups: Vec<&[&RawValue]>,
    letter: impl Fn(&str, &RawValue, &Outgoing) -> Option<Outgoing>,
    message: &Outgoing,
) -> Vec<Part> {
    let mut first = whole.first;
    let mut part = |(at, records): (u32, &[&RawValue])| {
        let id = format!("{}.{at}", whole.id);
        let piece = piece(name, &id, records, message);
        let letter = if let [alone] = records { letter(&id, alone, &piece) } else { None };
        let delivered = (piece, Outcome::Delivered);
        let (message, outcome) = letter.map_or(delivered, |it| (it, Outcome::DeadLettered));
        let part =
            Part { id, message: Some(message.into()), first, records: records.len(), outcome };
        first += records.len();
        part
    };
    (1..).zip(groups).map(&mut part).collect()
}

fn overhead(name: &BatchName, id: &str) -> usize {
    let id = format!("{id}.4294967295");
    let (gateway, sealed_at) = (&name.gateway, name.sealed_at);
    name.format.overhead_bytes(&Head { gateway, batch: &id, sealed_at, count: usize::MAX })
}

/// Neighbouring records together, as many as `bytes_max` holds; at least one.
fn group<'a>(records: &'a [&'a RawValue], bytes_max: usize) -> Vec<&'a [&'a RawValue]> {
    let mut groups = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (at, record) in records.iter().enumerate() {
        let more = record.get().len() + 1;
        if at > begin && bytes + more > bytes_max {
            groups.push(records.get(begin..at).unwrap_or_default());
            (begin, bytes) = (at, 0);
        }
        bytes += more;
    }
    groups.push(records.get(begin..).unwrap_or_default());
    groups
}

fn piece(name: &BatchName, id: &str, records: &[&RawValue], whole: &Outgoing) -> Outgoing {
    let text = records.iter().map(|it| it.get()).collect::<Vec<_>>().join(",");
    let count = records.len();
    let head = Head { gateway: &name.gateway, batch: id, sealed_at: name.sealed_at, count };
    let payload = Bytes::from(name.format.batch(&head, text.as_bytes()));
    Outgoing { payload, properties: batch_properties(&head), ..Outgoing::clone(whole) }
}

/// What a dead letter tells of a record that had already been written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    sensor_id: String,
    #[serde(default)]
    topic: String,
}

/// What ends the id of a dead letter that was a reading in a batch. The ids of other letters have a `d` before
/// their batch's number.
const LETTER: &str = "-d";

/// The dead letter of a record; nothing, where not even the least of it fits.
fn letter(
    (name, id): (&BatchName, &str),
    record: &RawValue,
    whole: &Outgoing,
    fit: Fit<'_>,
) -> Option<Outgoing> {
    let text = record.get();
    let written = serde_json::from_str(text)
        .unwrap_or_else(|_| Written { sensor_id: String::new(), topic: String::new() });
    // Told from a batch of readings, by whoever gets it back.
    let id = format!("{id}{LETTER}");
    let head = dead_letter::Head { gateway: &name.gateway, batch: &id, count: 1 };
    let message = dead_letter::message((fit.dead_letter_topic, whole.qos), head, Bytes::new());
    let detail = format!("{} bytes as a record: more than the output broker takes", text.len());
    let letter = DeadLetter {
        gateway: &name.gateway,
        reason: Reason::Oversize,
        detail: detail.as_bytes(),
        sensor: &written.sensor_id,
        topic: written.topic.as_bytes(),
        received: name.sealed_at,
        payload: text.as_bytes(),
    };
    let payload = Bytes::from(shortened::headed(&letter, fit.room(&message))?);
    Some(Outgoing { payload, ..message })
}

/// The MQTT 5 user properties of a batch.
pub fn batch_properties(head: &Head<'_>) -> Vec<(String, String)> {
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        property("batch", head.batch),
        property("count", &head.count.to_string()),
        property("gateway", head.gateway),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> BatchName {
        let (gateway, id) = ("gw".to_owned(), "b".to_owned());
        BatchName { gateway, id, sealed_at: Timestamp::from_millis(0), format: Format::JsonArray }
    }

    fn topic(text: &str) -> Topic {
        Topic::try_from(text.to_owned()).unwrap()
    }

    fn fit(letters: &Topic, packet_bytes_max: Option<usize>) -> Fit<'_> {
        let (version, records_bytes_max) = (Version::V5, usize::MAX);
        Fit { version, packet_bytes_max, records_bytes_max, dead_letter_topic: letters }
    }

    /// A batch of these records.
    fn batch(records: &[&str]) -> Parts {
        let message = Outgoing {
            topic: topic("out"),
            qos: 1,
            payload: format!("[{}]", records.join(",")).into(),
            content_type: "",
            properties: Vec::new(),
        };
        Parts::whole("b".into(), message.into(), records.len(), Outcome::Delivered)
    }

    fn payloads(parts: &Parts) -> Vec<String> {
        let text = |at| String::from_utf8_lossy(&parts.get(at).unwrap().payload).into_owned();
        parts.open().into_iter().map(text).collect()
    }

    /// Only the first part is halved: its halves have later places, and are published before the rest.
    #[test]
    fn parts_are_open_in_the_order_of_their_records_not_of_their_places() {
        let letters = topic("letters");
        let mut parts = batch(&["1", "2", "3", "4"]);
        let halves = parts.halve(0, Some(&name()), fit(&letters, None));
        assert_eq!((payloads(&parts), halves), (vec!["[1,2]".into(), "[3,4]".into()], vec![1, 2]));
        assert_eq!(parts.halve(1, Some(&name()), fit(&letters, None)), [3, 4]);
        assert_eq!(payloads(&parts), ["[1]", "[2]", "[3,4]"]);
        assert!(!parts.answered(0) && !parts.answered(2) && !parts.answered(3));
        assert!(parts.answered(4), "the last one");
    }

    #[test]
    fn what_becomes_of_each_record_is_told_in_their_order() {
        let large = format!("{{\"sensorId\":\"s\",\"value\":\"{}\"}}", "x".repeat(900));
        let mut parts = batch(&["1", &large, "3", "4"]);
        let letters = topic("letters");
        assert!(parts.fit(Some(&name()), fit(&letters, Some(700))));
        let all: Vec<_> = parts.open().into_iter().map(|at| parts.get(at).unwrap()).collect();
        let letter = all.iter().find(|it| it.topic == letters).unwrap();
        assert_eq!(letter.properties[0], ("batch".to_owned(), "b.2-d".to_owned()));
        // The part before it is replaced once more: its places are now behind the letter's.
        parts.halve(3, Some(&name()), fit(&letters, None));
        let shares = parts.shares().into_iter().map(|it| (it.records, it.outcome));
        let expected = [
            (1, Outcome::Delivered),
            (1, Outcome::DeadLettered),
            (1, Outcome::Delivered),
            (1, Outcome::Delivered),
        ];
        assert_eq!(shares.collect::<Vec<_>>(), expected);
        parts.halve(1, Some(&name()), fit(&letters, None));
        let shares = parts.shares().into_iter().map(|it| (it.records, it.outcome));
        let expected =
            [Outcome::DeadLettered, Outcome::DeadLettered, Outcome::Delivered, Outcome::Delivered];
        assert_eq!(shares.collect::<Vec<_>>(), expected.map(|outcome| (1, outcome)));
    }
}
