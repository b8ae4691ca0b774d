//! Reads batches as a consumer does: the id of the batch, and its records.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::codec::Format;
use crate::sink::packed::unpacked;

/// Batches that are remembered. A batch that is repeated after this many others is not recognised: its records
/// count as duplicated.
pub const BATCHES_REMEMBERED_MAX: usize = 65_536;

#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub sensor: Cow<'a, str>,
    /// The entry that took it, if the record names one.
    pub entry: Option<Cow<'a, str>>,
    /// The gateway's count of the sensor; absent if the gateway keeps none, 0 if it is not a number.
    pub sequence: Option<u64>,
    /// The sensor's own number, if the record has it.
    pub number: Option<u64>,
    pub timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRecord<'a> {
    #[serde(borrow)]
    sensor_id: Cow<'a, str>,
    #[serde(borrow)]
    entry: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    extra: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WithId<'a> {
    #[serde(borrow)]
    batch: Cow<'a, str>,
}

/// The text of a batch that may be compressed; `None` where it cannot be unpacked into so many bytes.
pub fn text(payload: &[u8], bytes_max: usize) -> Option<Cow<'_, [u8]>> {
    match unpacked(payload, bytes_max) {
        None => Some(Cow::Borrowed(payload)),
        Some(Ok(text)) => Some(text.into()),
        Some(Err(_)) => None,
    }
}

/// The records of a payload in any format, the expected one first, each as JSON; empty if it is not a batch.
pub fn records(payload: &[u8], expected: Format) -> Vec<Cow<'_, [u8]>> {
    let others = Format::ALL.iter().copied().filter(|it| *it != expected);
    let read = |format: Format| {
        let records = format.records(payload);
        (!records.is_empty()).then(|| records.into_iter().map(|it| format.json(it)).collect())
    };
    [expected].into_iter().chain(others).find_map(read).unwrap_or_default()
}

/// Whether a text is the beginning of a longer one.
pub fn ends_early(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// Reads a record. The sensor's own number is `member` of its `extra`, or of its `value`.
pub fn record<'a>(raw: &'a [u8], member: &str) -> Option<Record<'a>> {
    let wire: WireRecord<'a> = serde_json::from_slice(raw).ok()?;
    let own = |of: Option<&RawValue>| of.and_then(|it| number(it.get(), member));
    Some(Record {
        sequence: wire.sequence.map(|it| it.get().parse().unwrap_or(0)),
        number: own(wire.extra).or_else(|| own(wire.value)),
        timestamp: wire.timestamp.and_then(|it| timestamp(it.get())),
        sensor: wire.sensor_id,
        entry: wire.entry,
    })
}

/// The number that is this member of an object.
pub(super) fn number(json: &str, member: &str) -> Option<u64> {
    members(json)?.get(member)?.get().parse().ok()
}

/// The members of an object.
pub(super) fn members(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

/// RFC 3339, or milliseconds since the epoch.
pub(in crate::tools) fn timestamp(json: &str) -> Option<Timestamp> {
    if let Ok(millis) = json.parse() {
        return Some(Timestamp::from_millis(millis));
    }
    let text: Cow<'_, str> = serde_json::from_str::<&str>(json)
        .map(Cow::Borrowed)
        .or_else(|_| serde_json::from_str::<String>(json).map(Cow::Owned))
        .ok()?;
    Timestamp::parse(&text)
}

/// The batches that have arrived.
#[derive(Debug, Default)]
pub struct SeenBatches {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    hasher: FixedState,
}

impl SeenBatches {
    /// Whether this batch has arrived before; a part of a batch (`….1`) counts as repeated after the whole. The
    /// id is beside the text (in the MQTT 5 properties) or in it. A text without one (3.1.1 or a file, and
    /// `json_array`) is known by its bytes, which are the same each time.
    pub fn is_repeated(&mut self, id: Option<&[u8]>, text: &[u8]) -> bool {
        if let Some(id) = id {
            return self.enter_id(id);
        }
        match serde_json::from_slice::<WithId<'_>>(text) {
            Ok(named) => self.enter_id(named.batch.as_bytes()),
            Err(_) => self.enter(self.hasher.hash_one(text)),
        }
    }

    fn enter_id(&mut self, id: &[u8]) -> bool {
        let dot = id.iter().rposition(|byte| *byte == b'.');
        let part = dot.and_then(|at| Some((id.get(..at)?, id.get(at + 1..)?)));
        let whole = part.filter(|it| !it.1.is_empty() && it.1.iter().all(u8::is_ascii_digit));
        let known = whole.is_some_and(|it| self.known.contains(&self.hasher.hash_one(it.0)));
        self.enter(self.hasher.hash_one(id)) || known
    }

    fn enter(&mut self, batch: u64) -> bool {
        if !self.known.insert(batch) {
            return true;
        }
        if self.order.len() == BATCHES_REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(batch);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Record<'_>> {
        record(json.as_bytes(), "number")
    }

    #[test]
    fn a_number_is_found_in_extra_or_in_the_value() {
        let at = Some(Timestamp::from_millis(1_763_796_650_601));
        let cases = [
            (
                r#"{"sensorId":"a","sequence":3,"value":1,"timestamp":"2025-11-22T07:30:50.601Z","extra":{"unit":"C","number":7}}"#,
                Some(7),
                at,
            ),
            (
                r#"{"sensorId":"a","sequence":3,"value":{"number":8},"timestamp":1763796650601}"#,
                Some(8),
                at,
            ),
            (
                r#"{"sensorId":"a","sequence":3,"value":{"number":"8"},"timestamp":"soon"}"#,
                None,
                None,
            ),
            (r#"{"sensorId":"a","sequence":3,"value":7}"#, None, None),
        ];
        for (json, number, timestamp) in cases {
            let sensor = Cow::Borrowed("a");
            let expected = Record { sensor, entry: None, sequence: Some(3), number, timestamp };
            assert_eq!(read(json), Some(expected), "{json}");
        }
        assert_eq!(read(r#"{"value":1}"#), None);
    }

    #[test]
    fn records_are_found_in_any_format() {
        let array = br#"[{"sensorId":"a"},{"sensorId":"b"}]"#;
        let envelope = br#"{"batch":"x","records":[{"sensorId":"a"}]}"#;
        for format in Format::ALL {
            assert_eq!(records(array, *format).len(), 2);
            assert_eq!(records(envelope, *format).len(), 1);
            for bad in [&b""[..], b"x", b"{}", b"[]", b"{\"records\":1}", b"[1", b"\xff"] {
                assert!(records(bad, *format).is_empty());
            }
        }
    }

    #[test]
    fn a_batch_is_known_by_its_id_or_its_bytes() {
        let mut seen = SeenBatches::default();
        for (payload, repeated) in [
            (&br#"{"batch":"gw.1-1","records":[]}"#[..], false),
            (br#"{"records":[1],"batch":"gw.1-1"}"#, true),
            (br#"{"batch":"gw.1-2"}"#, false),
            (br#"{"batch":"gw.1-2.1"}"#, true),
            (br#"{"batch":"gw.1-3.1"}"#, false),
            (br#"{"batch":"gw.1-3.2"}"#, false),
            (b"[1]", false),
            (b"[2]", false),
            (b"[1]", true),
        ] {
            assert_eq!(seen.is_repeated(None, payload), repeated, "{payload:?}");
        }
        let mut beside = || seen.is_repeated(Some(b"p"), b"[1]");
        assert!(!beside() && beside());
    }

    #[test]
    fn half_a_text_is_told_from_no_text() {
        for half in [&b"{"[..], b"{\"a\":1", b"[{\"a\":\"\xc3", b"[1,"] {
            assert!(ends_early(half), "{half:?}");
        }
        for other in [&b"{}"[..], b"[1]", b"hello", b"{1", b"[1]]"] {
            assert!(!ends_early(other), "{other:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = SeenBatches::default();
        let most = BATCHES_REMEMBERED_MAX as u64;
        assert!((0..=most).all(|batch| !seen.enter(batch)));
        assert!(seen.enter(most) && seen.enter(1), "the youngest ones");
        assert!(!seen.enter(0), "forgotten");
        assert_eq!((seen.known.len(), seen.order.len()), (65_536, 65_536));
    }
}
