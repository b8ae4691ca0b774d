//! A batch in parts, for a broker that does not take it whole.
//!
//! A batch is sealed to fit what the broker takes. When a later connection takes smaller packets
//! than the one before, or the broker answers "packet too large" (a bound it need not name), a batch
//! no longer fits, and publishing it as it is would end every connection, for ever. It is split
//! then: parts with ids of their own (`….1`, `….2`), the records as they were. A single record that
//! does not fit becomes its own dead letter. Dead letters are split in the same way (`dead_letters`); one that
//! does not fit alone is shortened, and keeps length and digest. What not even that can be made of stays
//! as it is: it is held until a broker takes it.
//!
//! Parts keep their places, because answers name them: one that is replaced by smaller ones stays as
//! an empty one, and the smaller ones come behind. What was in flight behind a part that the broker
//! refused may be taken before it: only there can a sensor's readings change places.

use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::codec::{Format, Head};
use crate::record::Reason;
use crate::sealed::{Kind, Route, Sealed, place};
use crate::settlement::{Outcome, Share};
use crate::sink::Measure;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::shortened;

mod dead_letters;

/// The bounds that parts must respect.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// How large the sink makes a batch.
    pub measure: &'a dyn Measure,
    /// Bytes of a batch that the sink takes, if it says.
    pub bytes_max: Option<usize>,
    /// Bytes of a batch's records: no reason to make a dead letter of a single one.
    pub records_bytes_max: usize,
}

/// A batch that carries some of the records of the whole.
#[derive(Debug)]
struct Part {
    /// `None` once it was answered or replaced.
    sealed: Option<Arc<Sealed>>,
    first: usize,
    records: usize,
    outcome: Outcome,
}

/// All parts of a batch, of readings or of dead letters.
#[derive(Debug)]
pub struct Split {
    parts: Vec<Part>,
}

impl Split {
    /// One part that is the whole.
    pub fn whole(sealed: Arc<Sealed>) -> Self {
        Self { parts: vec![Part::new(sealed, 0)] }
    }

    /// Those not answered, with their places, in the order of their records.
    pub fn open(&self) -> Vec<u32> {
        let mut open: Vec<(usize, u32)> = (0..)
            .zip(&self.parts)
            .filter(|(_, part)| part.sealed.is_some())
            .map(|(at, part)| (part.first, at))
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, at)| at).collect()
    }

    /// One that has not been answered.
    pub fn get(&self, at: u32) -> Option<&Arc<Sealed>> {
        self.parts.get(at as usize)?.sealed.as_ref()
    }

    /// Notes that one has been answered; true when that was the last.
    pub fn answered(&mut self, at: u32) -> bool {
        if let Some(part) = self.parts.get_mut(at as usize) {
            part.sealed = None;
        }
        self.parts.iter().all(|part| part.sealed.is_none())
    }

    /// What becomes of the records when all parts have been answered, in the records' order.
    pub fn shares(&self) -> Vec<Share> {
        let mut parts: Vec<&Part> = self.parts.iter().filter(|part| part.records > 0).collect();
        parts.sort_unstable_by_key(|part| part.first);
        let share = |part: &Part| Share { records: part.records, outcome: part.outcome };
        parts.into_iter().map(share).collect()
    }

    /// Replaces whatever does not fit by what does. Returns whether anything was.
    pub fn fit(&mut self, fit: Fit<'_>) -> bool {
        let count = self.parts.len();
        for at in 0..count {
            self.replace(at, |whole, first| match Readings::of(whole, first, fit) {
                Some(readings) if !fit.takes(whole) || readings.is_heavy() => readings.fitting(),
                None if !fit.takes(whole) => dead_letters::fitting(whole, first, fit),
                Some(_) | None => Vec::new(),
            });
        }
        self.parts.len() > count
    }

    /// Replaces a part that was refused as too large by its halves, a single record by its dead
    /// letter; says where those are: nowhere, if it cannot be made smaller.
    pub fn halve(&mut self, at: u32, fit: Fit<'_>) -> Vec<u32> {
        let count = self.parts.len();
        self.replace(at as usize, |whole, first| match Readings::of(whole, first, fit) {
            Some(readings) => readings.halves(),
            None => dead_letters::halves(whole, first, fit),
        });
        (count..self.parts.len()).filter_map(|place| u32::try_from(place).ok()).collect()
    }

    fn replace(&mut self, at: usize, by: impl FnOnce(&Sealed, usize) -> Vec<Part>) {
        let Some(part) = self.parts.get_mut(at) else { return };
        let Some(sealed) = &part.sealed else { return };
        let smaller = by(sealed, part.first);
        if !smaller.is_empty() {
            (part.sealed, part.records) = (None, 0);
            self.parts.extend(smaller);
        }
    }
}

impl Part {
    /// The records of the whole from `first` on.
    fn new(sealed: impl Into<Arc<Sealed>>, first: usize) -> Self {
        let sealed = sealed.into();
        let outcome = if sealed.is_letters() { Outcome::DeadLettered } else { Outcome::Delivered };
        Self { first, records: sealed.count, outcome, sealed: Some(sealed) }
    }
}

impl Fit<'_> {
    fn takes(&self, sealed: &Sealed) -> bool {
        self.bytes_max.is_none_or(|max| self.measure.takes(sealed, max))
    }

    /// Bytes of the text of a batch that is otherwise like this one.
    fn room(&self, like: &Sealed) -> usize {
        let room = |max| self.measure.text_bytes_max(like, max).unwrap_or(0);
        self.bytes_max.map_or(usize::MAX, room)
    }
}

/// A batch of readings that is to be split.
struct Readings<'a> {
    whole: &'a Sealed,
    route: &'a Route,
    format: Format,
    sealed_at: Timestamp,
    /// The place of its first record.
    first: usize,
    fit: Fit<'a>,
}

impl<'a> Readings<'a> {
    fn of(whole: &'a Sealed, first: usize, fit: Fit<'a>) -> Option<Self> {
        match &whole.kind {
            Kind::Readings { route, format, sealed_at } => {
                let (format, sealed_at) = (*format, *sealed_at);
                Some(Self { whole, route, format, sealed_at, first, fit })
            }
            Kind::DeadLetters { .. } => None,
        }
    }

    /// Whether it has more than one record and is larger than batches are to be now.
    fn is_heavy(&self) -> bool {
        let bytes_max = self.fit.records_bytes_max.saturating_add(self.overhead());
        self.whole.count > 1 && self.whole.text.len() > bytes_max
    }

    /// The records as they were written.
    fn records(&self) -> Vec<&'a [u8]> {
        match &self.whole.places {
            Some(places) => places.of(&self.whole.text),
            None => self.format.records(&self.whole.text),
        }
    }

    /// In parts that fit; nothing, where it is one record that nothing can be made of.
    fn fitting(&self) -> Vec<Part> {
        let records = self.records();
        let longest = self.whole.like(longest_id(self.whole), records.len());
        let room = self.fit.room(&longest).saturating_sub(self.overhead());
        let between = self.format.separator().len();
        let groups = group(&records, room.min(self.fit.records_bytes_max), between);
        self.parts(groups, |alone| !self.fit.takes(alone))
    }

    /// In two parts; a single record as its dead letter: how small it must be is perhaps not known.
    fn halves(&self) -> Vec<Part> {
        let records = self.records();
        let (before, behind) = records.split_at(records.len() / 2);
        let groups = [before, behind].into_iter().filter(|records| !records.is_empty()).collect();
        self.parts(groups, |_| before.is_empty())
    }

    /// Parts of these records. A single one that is too large is its dead letter. Nothing, where that would be
    /// the same record again.
    fn parts(&self, groups: Vec<&[&[u8]]>, too_large: impl Fn(&Sealed) -> bool) -> Vec<Part> {
        let single = matches!(groups[..], [[_]]);
        let (mut parts, mut first) = (Vec::new(), self.first);
        for (at, records) in (1..).zip(groups) {
            let part = self.part(&format!("{}.{at}", self.whole.id), records);
            let dead_letter = match records {
                [record] if too_large(&part) => self.dead_letter(&part, record),
                _ => None,
            };
            parts.push(Part::new(dead_letter.unwrap_or(part), first));
            first += records.len();
        }
        let same = single && parts.iter().all(|it| it.outcome == Outcome::Delivered);
        if same { Vec::new() } else { parts }
    }

    /// Bytes that a part has beside its records, at most.
    fn overhead(&self) -> usize {
        let (gateway, batch) = (&self.whole.gateway, &longest_id(self.whole));
        let (sealed_at, count) = (self.sealed_at, usize::MAX);
        self.format.overhead_bytes(&Head { gateway, batch, sealed_at, count })
    }

    /// A batch of some of the records, on the route of the whole.
    fn part(&self, id: &str, records: &[&[u8]]) -> Sealed {
        let (gateway, sealed_at, count) = (&self.whole.gateway, self.sealed_at, records.len());
        let head = Head { gateway, batch: id, sealed_at, count };
        let (text, route) = (records.join(self.format.separator()), self.route.clone());
        let ends = ends(records, self.format.separator().len());
        Sealed::readings(&head, route, self.format, &text, ends, Vec::new())
    }

    /// The dead letter of a record that would be a batch alone; nothing, where not even the least of it fits.
    fn dead_letter(&self, alone: &Sealed, record: &[u8]) -> Option<Sealed> {
        let written = self.format.json(record);
        let written = serde_json::from_slice(&written).unwrap_or_else(|_| Written {
            sensor_id: String::new(),
            entry: None,
            topic: String::new(),
        });
        // Told from a batch of readings, by whoever gets it back.
        let id = format!("{}{DEAD_LETTER}", alone.id);
        let entry = written.entry.as_deref();
        let route = self.fit.measure.letter_route(entry, &written.sensor_id);
        let like = Sealed { kind: Kind::DeadLetters { route }, ..alone.like(id, 1) };
        let detail =
            format!("{} bytes as a record: more than the output broker takes", record.len());
        let dead_letter = DeadLetter {
            gateway: &alone.gateway,
            reason: Reason::Oversize,
            detail: detail.as_bytes(),
            sensor: &written.sensor_id,
            entry,
            topic: written.topic.as_bytes(),
            received: self.sealed_at,
            payload: record,
        };
        let text = shortened::headed(&dead_letter, self.fit.room(&like))?;
        Some(Sealed { text: text.into(), ..like })
    }
}

/// The longest id that a part of this batch may have.
fn longest_id(whole: &Sealed) -> String {
    format!("{}.{}", whole.id, u32::MAX)
}

/// Neighbouring records together, as many as `bytes_max` holds with what is between them; at least one.
fn group<'a>(records: &'a [&'a [u8]], bytes_max: usize, between: usize) -> Vec<&'a [&'a [u8]]> {
    let mut groups = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (at, record) in records.iter().enumerate() {
        let more = record.len() + between;
        if at > begin && bytes + more > bytes_max {
            groups.push(records.get(begin..at).unwrap_or_default());
            (begin, bytes) = (at, 0);
        }
        bytes += more;
    }
    groups.push(records.get(begin..).unwrap_or_default());
    groups
}

/// Where each of these ends, with so many bytes between two.
fn ends(records: &[&[u8]], between: usize) -> Box<[u32]> {
    let mut next = 0;
    let end = |record: &&[u8]| {
        let end = next + record.len();
        next = end + between;
        place(end)
    };
    records.iter().map(end).collect()
}

/// What a dead letter tells of a record that had already been written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    sensor_id: String,
    entry: Option<String>,
    #[serde(default)]
    topic: String,
}

/// What ends the id of a dead letter that was a reading in a batch. The ids of other dead letters have a `d` before
/// their batch's number.
const DEAD_LETTER: &str = "-d";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::samples;
    use crate::sink::dead_letter;
    use crate::sink::routing::Routing;

    /// Sends the text, and a hundred bytes beside it.
    #[derive(Debug)]
    struct Framed;

    impl Routing for Framed {}

    impl Measure for Framed {
        fn bytes(&self, sealed: &Sealed) -> usize {
            sealed.text.len() + 100
        }

        fn text_bytes_max(&self, _: &Sealed, bytes_max: usize) -> Option<usize> {
            bytes_max.checked_sub(100)
        }

        fn overhead_bytes(&self, _: &str, _: bool) -> usize {
            100
        }

        fn destination<'a>(&'a self, _: &'a Sealed) -> &'a str {
            "nowhere"
        }
    }

    fn fit(bytes_max: Option<usize>) -> Fit<'static> {
        Fit { measure: &Framed, bytes_max, records_bytes_max: usize::MAX }
    }

    /// A batch of these records; where they stand in it is known, or not.
    fn batch(records: &[&str], known: bool) -> Split {
        batch_in(Format::JsonArray, records, known)
    }

    fn batch_in(format: Format, records: &[&str], known: bool) -> Split {
        let records: Vec<&[u8]> = records.iter().map(|it| it.as_bytes()).collect();
        batch_of(format, &records, known)
    }

    fn batch_of(format: Format, records: &[&[u8]], known: bool) -> Split {
        let (route, sealed_at) = (Route::named("r"), Timestamp::from_millis(0));
        let kind = Kind::Readings { route, format, sealed_at };
        let (gateway, id) = ("gw".to_owned(), "whole".to_owned());
        let text = Vec::new().into();
        let whole = Sealed { gateway, id, kind, count: records.len(), text, places: None };
        let mut batch = Readings::of(&whole, 0, fit(None)).unwrap().part("b", records);
        batch.places = batch.places.filter(|_| known);
        Split::whole(batch.into())
    }

    fn texts(parts: &Split) -> Vec<String> {
        let text = |at| String::from_utf8_lossy(&parts.get(at).unwrap().text).into_owned();
        parts.open().into_iter().map(text).collect()
    }

    /// Only the first part is halved: its halves have later places, and are published before the rest.
    #[test]
    fn parts_are_open_in_the_order_of_their_records_not_of_their_places() {
        for known in [true, false] {
            let mut parts = batch(&["1", "2", "3", "4"], known);
            let halves = parts.halve(0, fit(None));
            assert_eq!((texts(&parts), halves), (vec!["[1,2]".into(), "[3,4]".into()], vec![1, 2]));
            assert_eq!(parts.halve(1, fit(None)), [3, 4]);
            assert_eq!(texts(&parts), ["[1]", "[2]", "[3,4]"]);
            assert!(!parts.answered(0) && !parts.answered(2) && !parts.answered(3));
            assert!(parts.answered(4), "the last one");
        }
    }

    #[test]
    fn parts_keep_the_route_of_the_whole() {
        let mut parts = batch(&["1", "2", "3"], true);
        parts.halve(0, fit(None));
        let route = |at| match &parts.get(at).unwrap().kind {
            Kind::Readings { route, .. } => route.as_str().to_owned(),
            Kind::DeadLetters { .. } => String::new(),
        };
        assert_eq!(parts.open().into_iter().map(route).collect::<Vec<_>>(), ["r", "r"]);
    }

    #[test]
    fn the_parts_of_lines_are_lines() {
        let lines = [r#"{"sensorId":"a"}"#, r#"{"sensorId":"b,"}"#];
        for known in [true, false] {
            let mut parts = batch_in(Format::Ndjson, &lines, known);
            assert_eq!(texts(&parts), [format!("{}\n{}\n", lines[0], lines[1])]);
            parts.halve(0, fit(None));
            assert_eq!(texts(&parts), lines.map(|line| format!("{line}\n")));
        }
    }

    /// However its records are separated.
    #[test]
    fn a_batch_of_each_format_is_split_between_its_records() {
        for format in Format::ALL.iter().copied() {
            let of = |id: &str| samples::record(format, id, "21.5");
            let written = ["\"a\"", "\"b,{ }\"", "\"c\"", "\"d\""].map(of);
            let records: Vec<&[u8]> = written.iter().map(Vec::as_slice).collect();
            for known in [true, false] {
                let mut parts = batch_of(format, &records, known);
                assert_eq!(parts.halve(0, fit(None)), [1, 2]);
                let read = |at: u32| format.records(&parts.get(at).unwrap().text);
                assert_eq!([read(1), read(2)].concat(), records, "{format:?}");
                let bytes = records.iter().map(|it| it.len()).max().unwrap();
                let mut parts = batch_of(format, &records, known);
                let one = Fit { records_bytes_max: bytes, ..fit(None) };
                assert!(parts.fit(one) && parts.open().len() == 4, "{format:?}");
            }
            // A record that is too large alone tells whose it was.
            let large = samples::record(format, "\"s\"", &format!("1.{}", "5".repeat(900)));
            let mut parts = batch_of(format, &[&large], false);
            assert_eq!(parts.halve(0, Fit { bytes_max: Some(600), ..fit(None) }), [1]);
            let letter: serde_json::Value =
                serde_json::from_slice(&parts.get(1).unwrap().text).unwrap();
            assert_eq!((&letter["sensorId"], &letter["entry"]), (&"s".into(), &"fleet".into()));
        }
    }

    #[test]
    fn what_becomes_of_each_record_is_told_in_their_order() {
        let value = "x".repeat(900);
        let large = format!(r#"{{"sensorId":"s","value":"{value}","entry":"fleet"}}"#);
        let mut parts = batch(&["1", &large, "3", "4"], true);
        assert!(parts.fit(fit(Some(600))));
        let all: Vec<_> = parts.open().into_iter().map(|at| parts.get(at).unwrap()).collect();
        let letter = all.iter().find(|it| it.is_letters()).unwrap();
        assert_eq!(letter.id, "b.2-d");
        let told: serde_json::Value = serde_json::from_slice(&letter.text).unwrap();
        assert_eq!((&told["sensorId"], &told["entry"]), (&"s".into(), &"fleet".into()));
        // The part before it is replaced once more: its places are now behind the letter's.
        parts.halve(3, fit(None));
        let shares = parts.shares().into_iter().map(|it| (it.records, it.outcome));
        let expected = [
            (1, Outcome::Delivered),
            (1, Outcome::DeadLettered),
            (1, Outcome::Delivered),
            (1, Outcome::Delivered),
        ];
        assert_eq!(shares.collect::<Vec<_>>(), expected);
        parts.halve(1, fit(None));
        let shares = parts.shares().into_iter().map(|it| (it.records, it.outcome));
        let expected =
            [Outcome::DeadLettered, Outcome::DeadLettered, Outcome::Delivered, Outcome::Delivered];
        assert_eq!(shares.collect::<Vec<_>>(), expected.map(|outcome| (1, outcome)));
    }

    #[test]
    fn a_batch_that_fits_is_not_split_and_one_record_is_never_too_heavy() {
        let fits = |records_bytes_max| Fit { records_bytes_max, ..fit(None) };
        let split = |records: &[&str], records_bytes_max| {
            let mut split = batch(records, true);
            let was = split.fit(fits(records_bytes_max));
            assert_eq!(was, split.open().len() > 1 || split.get(0).is_none());
            texts(&split)
        };
        assert_eq!(split(&["1", "2"], usize::MAX), ["[1,2]"]);
        // Brackets are no records.
        assert_eq!(split(&["1", "2"], 3), ["[1,2]"]);
        assert_eq!(split(&["1", "2"], 2), ["[1]", "[2]"]);
        assert_eq!(split(&["12345"], 2), ["[12345]"]);
    }

    /// With the byte between two.
    #[test]
    fn records_are_grouped_up_to_the_last_byte() {
        let records = [&b"aa"[..], b"bb", b"cc"];
        let counts = |max| group(&records, max, 1).iter().map(|it| it.len()).collect::<Vec<_>>();
        assert_eq!([5, 6, 8, 9].map(counts), [vec![1, 1, 1], vec![2, 1], vec![2, 1], vec![3]]);
    }

    /// The dead letters of a batch, each of so many bytes of payload.
    fn dead_letters(payloads: &[usize]) -> Split {
        let mut text = Vec::new();
        for (at, bytes) in (1..).zip(payloads) {
            let payload = "x".repeat(*bytes);
            let dead_letter = DeadLetter {
                gateway: "gw",
                reason: Reason::Malformed,
                detail: b"no JSON",
                sensor: "s",
                entry: Some("fleet"),
                topic: b"t",
                received: Timestamp::from_millis(0),
                payload: payload.as_bytes(),
            };
            dead_letter::push(&mut text, &dead_letter.encode(), &format!("d/{at}"));
        }
        text.push(b']');
        let (gateway, id) = ("gw".to_owned(), "d".to_owned());
        let kind = Kind::DeadLetters { route: Route::dead_letters() };
        let count = payloads.len();
        let whole = Sealed { gateway, id, kind, count, text: text.into(), places: None };
        Split::whole(whole.into())
    }

    /// The others stay as they are.
    #[test]
    fn a_dead_letter_among_others_that_is_too_large_is_shortened_alone() {
        let mut split = dead_letters(&[10, 3000, 10]);
        let whole = split.get(0).unwrap().text.clone();
        assert!(!split.fit(fit(Some(whole.len() + 100))), "it fits");
        let bytes_max = 1000;
        assert!(split.fit(fit(Some(bytes_max))));
        let all = texts(&split);
        assert!(all.iter().all(|it| it.len() <= bytes_max - 100), "{all:?}");
        let shortened = all.iter().map(|it| it.contains("sha256")).collect::<Vec<_>>();
        assert_eq!(shortened, [false, true, false], "{all:?}");
        let shares = split.shares().into_iter().map(|it| (it.records, it.outcome));
        assert_eq!(shares.collect::<Vec<_>>(), vec![(1, Outcome::DeadLettered); 3]);
    }
}
