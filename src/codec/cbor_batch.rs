//! `format = "cbor"`: the batch as one data item of CBOR (RFC 8949), with the members that `json` has.
//!
//! ```text
//! {"gateway": "gw-1", "batch": "gw-1-18f3c2a7-42", "sealedAt": 0("2026-11-22T07:30:50.692Z"), "count": 2,
//!  "records": [_ {_ "sensorId": "boiler", "sequence": 9, "value": 71.5, "timestamp": 0("2026-…Z")}, {_ …}]}
//! ```
//!
//! The array of records is of indefinite length (§3.2.2), so nothing stands between two, and records are maps of indefinite
//! length. A time has tag 0 (§3.4.1). A number without a fraction or an exponent is an integer where it fits into 64 bits;
//! any other is a float of 64 bits, the nearest to what was sent. One that no float is near is refused: `1e999`.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;

use minicbor::data::{IanaTag, Type};
use minicbor::encode::Error;
use minicbor::{Decoder, Encoder as Cbor};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Head, Options, Unwritable, View, Whose};
use crate::clock::Timestamp;

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/cbor";

/// What stands between two records: nothing.
pub const SEPARATOR: &[u8] = b"";

/// It is no text.
pub const IS_JSON: bool = false;

/// Bytes that an encoder remembers: a record's tags, and what is beside its value, while it is written.
pub const ENCODER_BYTES: u64 = 0;

/// Maps and arrays that are read inside of one another.
const DEPTH_MAX: usize = 256;

/// Writes records. Remembers the text of the last millisecond: records that came together cost one formatting.
#[derive(Debug)]
pub struct Encoder {
    /// Members of JSON, in braces.
    members: Vec<u8>,
    millis: Option<Timestamp>,
    text: String,
}

impl Encoder {
    /// There is nothing to set.
    pub fn new(_options: &Options<'_>) -> Self {
        Self { members: Vec::new(), millis: None, text: String::new() }
    }

    /// Appends a record as a map.
    pub fn record(&mut self, out: &mut Vec<u8>, view: &View<'_>) -> Result<(), Unwritable> {
        let mut to = Cbor::new(&mut *out);
        written(to.begin_map());
        written(to.str("sensorId"));
        match view.sensor {
            Whose::Counted(json, sequence) => {
                transcode(to.writer_mut(), json.as_bytes())?;
                written(to.str("sequence").and_then(|it| it.u64(sequence)));
            }
            Whose::Uncounted(id) => written(to.str(&String::from_utf8_lossy(id))),
        }
        written(to.str("value"));
        transcode(to.writer_mut(), view.value)?;
        written(to.str("timestamp"));
        if view.timestamp.is_empty() {
            time(&mut to, self.stamp(view.received));
        } else {
            written(to.tag(IanaTag::DateTime));
            transcode(to.writer_mut(), view.timestamp)?;
            written(to.str("receivedAt"));
            time(&mut to, self.stamp(view.received));
        }
        if !view.entry.is_empty() {
            written(to.str("entry"));
            transcode(to.writer_mut(), view.entry.as_bytes())?;
        }
        if !view.labels.is_empty() {
            members(to.writer_mut(), self.in_braces(view.labels))?;
        }
        if !view.topic.is_empty() {
            written(to.str("topic").and_then(|it| it.str(&String::from_utf8_lossy(view.topic))));
        }
        arrival(&mut to, view);
        if !view.extra.is_empty() {
            written(to.str("extra"));
            transcode(to.writer_mut(), self.in_braces(view.extra).as_bytes())?;
        }
        written(to.end());
        Ok(())
    }

    fn stamp(&mut self, at: Timestamp) -> &str {
        if self.millis != Some(at) {
            self.millis = Some(at);
            self.text = at.to_string();
        }
        &self.text
    }

    /// Members joined by commas, as an object.
    fn in_braces(&mut self, members: &[u8]) -> &str {
        self.members.clear();
        self.members.push(b'{');
        self.members.extend_from_slice(members);
        self.members.push(b'}');
        std::str::from_utf8(&self.members).unwrap_or("{}")
    }
}

/// What is written to memory is written.
fn written<T>(result: Result<T, Error<Infallible>>) {
    drop(result.expect("memory can be written"));
}

/// Appends how a record came.
fn arrival(to: &mut Cbor<&mut Vec<u8>>, view: &View<'_>) {
    let expired = view.expires.is_some_and(|(_, is_past)| is_past);
    for (name, is_so) in [("retained", view.arrival.retained), ("waited", view.arrival.waited)] {
        if is_so {
            written(to.str(name).and_then(|it| it.bool(true)));
        }
    }
    if let Some((at, _)) = view.expires {
        written(to.str("expiresAt"));
        time(to, &at.to_string());
    }
    if expired {
        written(to.str("expired").and_then(|it| it.bool(true)));
    }
}

/// Appends a time of ours.
fn time(to: &mut Cbor<&mut Vec<u8>>, at: &str) {
    written(to.tag(IanaTag::DateTime).and_then(|it| it.str(at)));
}

/// Appends a JSON text as CBOR.
fn transcode(out: &mut Vec<u8>, json: &[u8]) -> Result<(), Unwritable> {
    let text = std::str::from_utf8(json).unwrap_or_default();
    let mut to = Cbor::new(&mut *out);
    match text.as_bytes().first() {
        Some(b'"') => {
            let Text(text) = serde_json::from_str(text).map_err(|error| no_json(&error))?;
            written(to.str(&text));
        }
        Some(b'{') => {
            written(to.begin_map());
            members(to.writer_mut(), text)?;
            written(to.end());
        }
        Some(b'[') => {
            written(to.begin_array());
            let elements = Elements { out: to.writer_mut(), result: Ok(()) };
            let read = serde_json::Deserializer::from_str(text).deserialize_seq(elements);
            read.map_err(|error| no_json(&error))??;
            written(to.end());
        }
        Some(b'n') => written(to.null()),
        Some(b't' | b'f') => written(to.bool(text == "true")),
        _ => number(&mut to, text)?,
    }
    Ok(())
}

/// Appends a number: an integer where it is one, and keeps its sign.
fn number(to: &mut Cbor<&mut Vec<u8>>, text: &str) -> Result<(), Unwritable> {
    if let Ok(number) = text.parse::<u64>() {
        written(to.u64(number));
    } else if let Some(number) = text.parse::<i64>().ok().filter(|it| *it != 0) {
        written(to.i64(number));
    } else {
        let float = text.parse::<f64>().ok().filter(|it| it.is_finite());
        let float = float.ok_or_else(|| Unwritable(format!("the number {text} is no float")))?;
        written(to.f64(float));
    }
    Ok(())
}

/// Appends the members of a JSON object.
fn members(out: &mut Vec<u8>, json: &str) -> Result<(), Unwritable> {
    let members = Members { out, result: Ok(()) };
    let read = serde_json::Deserializer::from_str(json).deserialize_map(members);
    read.map_err(|error| no_json(&error))?
}

fn no_json(error: &serde_json::Error) -> Unwritable {
    Unwritable(format!("it is no JSON: {error}"))
}

/// A text, which is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'o> {
    out: &'o mut Vec<u8>,
    result: Result<(), Unwritable>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Result<(), Unwritable>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            if self.result.is_ok() {
                written(Cbor::new(&mut *self.out).str(&name));
                self.result = transcode(self.out, value.get().as_bytes());
            }
        }
        Ok(self.result)
    }
}

struct Elements<'o> {
    out: &'o mut Vec<u8>,
    result: Result<(), Unwritable>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Result<(), Unwritable>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Self::Value, A::Error> {
        while let Some(value) = elements.next_element::<&'de RawValue>()? {
            if self.result.is_ok() {
                self.result = transcode(self.out, value.get().as_bytes());
            }
        }
        Ok(self.result)
    }
}

/// The payload of a batch; and where in it the records begin.
pub fn batch(head: &Head<'_>, records: &[u8], mut out: Vec<u8>) -> (usize, Vec<u8>) {
    out.reserve_exact(records.len() + 128 + head.gateway.len() + head.batch.len());
    let mut to = Cbor::new(&mut out);
    written(to.map(5).and_then(|it| it.str("gateway")?.str(head.gateway)));
    written(to.str("batch").and_then(|it| it.str(head.batch)?.str("sealedAt")));
    time(&mut to, &head.sealed_at.to_string());
    written(to.str("count").and_then(|it| it.u64(head.count as u64)));
    written(to.str("records").and_then(Cbor::begin_array));
    let begin = out.len();
    out.extend_from_slice(records);
    written(Cbor::new(&mut out).end());
    (begin, out)
}

/// The records in such a payload.
pub fn records(payload: &[u8]) -> Vec<&[u8]> {
    found(payload).unwrap_or_default()
}

fn found(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let mut from = Decoder::new(payload);
    let (members, mut seen) = (from.map().ok()?, 0);
    while is_more(&from, members, seen) {
        seen += 1;
        if from.str().ok()? != "records" {
            from.skip().ok()?;
            continue;
        }
        let (count, mut records) = (from.array().ok()?, Vec::new());
        while is_more(&from, count, records.len() as u64) {
            let begin = from.position();
            from.skip().ok()?;
            records.push(payload.get(begin..from.position())?);
        }
        // A batch that is cut has no end.
        return from.datatype().ok().map(|_| records);
    }
    None
}

/// Whether a map or an array goes on.
fn is_more(from: &Decoder<'_>, count: Option<u64>, seen: u64) -> bool {
    count.map_or_else(|| from.datatype().is_ok_and(|it| it != Type::Break), |count| seen < count)
}

/// A record as JSON; empty where it cannot be read.
pub fn json(record: &[u8]) -> Cow<'_, [u8]> {
    let read = value(&mut Decoder::new(record), 0);
    read.map(|it| it.to_string()).unwrap_or_default().into_bytes().into()
}

/// The next item as JSON.
fn value(from: &mut Decoder<'_>, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match from.datatype().ok()? {
        Type::Bool => from.bool().ok()?.into(),
        Type::Null => from.null().ok().map(|()| Value::Null)?,
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => from.u64().ok()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => from.i64().ok()?.into(),
        Type::F64 => from.f64().ok()?.into(),
        Type::String => from.str().ok()?.into(),
        Type::Tag => {
            from.tag().ok()?;
            value(from, depth + 1)?
        }
        Type::Array | Type::ArrayIndef => {
            let (count, mut all) = (from.array().ok()?, Vec::new());
            while is_more(from, count, all.len() as u64) {
                all.push(value(from, depth + 1)?);
            }
            ended(from, count)?;
            all.into()
        }
        Type::Map | Type::MapIndef => {
            let (count, mut all, mut seen) = (from.map().ok()?, Map::new(), 0);
            while is_more(from, count, seen) {
                let name = from.str().ok()?.to_owned();
                all.insert(name, value(from, depth + 1)?);
                seen += 1;
            }
            ended(from, count)?;
            all.into()
        }
        _ => return None,
    })
}

/// Reads the end of what has no length.
fn ended(from: &mut Decoder<'_>, count: Option<u64>) -> Option<()> {
    if count.is_none() {
        (from.datatype().ok()? == Type::Break).then(|| from.set_position(from.position() + 1))?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::influx;
    use crate::record::Arrival;
    use proptest::prelude::*;
    use serde_json::json;

    fn view<'a>(value: &'a str, labels: &'a str, extra: &'a str) -> View<'a> {
        View {
            sensor: Whose::Counted("\"a\\\"b\"", 7),
            entry: "\"fleet\"",
            value: value.as_bytes(),
            timestamp: b"\"2025-11-22T07:30:50.25Z\"",
            received: Timestamp::from_millis(1_763_796_650_601),
            labels: labels.as_bytes(),
            topic: "t/é".as_bytes(),
            extra: extra.as_bytes(),
            arrival: Arrival { retained: true, ..Arrival::default() },
            expires: Some((Timestamp::from_millis(1_763_796_650_602), true)),
        }
    }

    fn record(view: &View<'_>) -> Result<Vec<u8>, Unwritable> {
        let (mut out, influx) = (Vec::new(), influx::Settings::default());
        Encoder::new(&Options { influx: &influx }).record(&mut out, view).map(|()| out)
    }

    /// Every byte, as RFC 8949 has it.
    #[test]
    fn a_record_is_a_map_with_the_members_of_the_contract() {
        let bare = View {
            sensor: Whose::Uncounted(b"s"),
            entry: "",
            timestamp: b"",
            topic: b"",
            arrival: Arrival::default(),
            expires: None,
            ..view("[1,-2,1.5,true,null,{}]", "", "")
        };
        let mut expected = b"\xbf\x68sensorId\x61s\x65value\x9f\x01\x21\xfb\x3f\xf8\0\0\0\0\0\0\xf5\xf6\xbf\xff\xff".to_vec();
        expected.extend_from_slice(b"\x69timestamp\xc0\x78\x182025-11-22T07:30:50.601Z\xff");
        assert_eq!(record(&bare).unwrap(), expected);
        let labels = r#""tags":{"site":"north"},"quantity":"t","unit":"C""#;
        let whole = record(&view(r#"{"t":-1}"#, labels, r#""x":[]"#)).unwrap();
        let read: Value = serde_json::from_slice(&json(&whole)).unwrap();
        assert_eq!(
            read,
            json!({
                "sensorId": "a\"b", "sequence": 7, "value": {"t": -1}, "timestamp": "2025-11-22T07:30:50.25Z",
                "receivedAt": "2025-11-22T07:30:50.601Z", "entry": "fleet", "tags": {"site": "north"},
                "quantity": "t", "unit": "C", "topic": "t/é", "retained": true,
                "expiresAt": "2025-11-22T07:30:50.602Z", "expired": true, "extra": {"x": []}
            })
        );
    }

    #[test]
    fn a_batch_is_one_item_and_a_part_of_it_is_none() {
        let one = record(&view("1", "", "")).unwrap();
        let records = [&*one, &*one].concat();
        let sealed_at = Timestamp::from_millis(1_763_796_650_692);
        let head = Head { gateway: "gw", batch: "gw-1", sealed_at, count: 2 };
        let (begin, batch) = batch(&head, &records, Vec::new());
        assert_eq!(super::records(&batch), [&*one, &*one]);
        assert_eq!(batch[begin..begin + one.len()], one);
        let read: Value = serde_json::from_slice(&json(&batch)).unwrap();
        assert_eq!((&read["batch"], &read["count"]), (&json!("gw-1"), &json!(2)));
        assert_eq!(read["sealedAt"], "2025-11-22T07:30:50.692Z");
        for cut in 0..batch.len() {
            assert!(super::records(&batch[..cut]).is_empty(), "{cut}");
        }
    }

    #[test]
    fn a_number_is_an_integer_where_it_is_one_and_else_the_nearest_float() {
        let told = |value: &str| {
            let record = record(&view(value, "", ""))?;
            Ok::<_, Unwritable>(String::from_utf8(json(&record).into_owned()).unwrap())
        };
        for (value, expected) in [
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-0", "-0.0"),
            ("1.0", "1.0"),
            ("36893488147419103232", "3.6893488147419103e+19"),
            ("932040054.6224991", "932040054.6224991"),
        ] {
            let read = told(value).unwrap();
            assert!(read.contains(&format!("\"value\":{expected}")), "{value}: {read}");
        }
        assert_eq!(told("1e999"), Err(Unwritable("the number 1e999 is no float".to_owned())));
    }

    #[test]
    fn what_is_nested_too_deep_is_not_read() {
        let deep = [vec![0x9f; 100_000], vec![0xff; 100_000]].concat();
        assert!(json(&deep).is_empty());
    }

    #[test]
    fn a_record_costs_no_allocation() {
        let view = View {
            sensor: Whose::Counted("\"a\"", 1),
            expires: None,
            ..view(r#"{"t":[1.5,"x"]}"#, "", "")
        };
        let (mut out, influx) = (Vec::with_capacity(4096), influx::Settings::default());
        let mut encoder = Encoder::new(&Options { influx: &influx });
        encoder.record(&mut out, &view).unwrap();
        let info = allocation_counter::measure(|| encoder.record(&mut out, &view).unwrap());
        assert_eq!(info.count_total, 0);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|it| json!(f64::from(it) / 64.0)),
            "\\PC{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..4)
                    .prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(value in values()) {
            let text = value.to_string();
            let read: Value =
                serde_json::from_slice(&json(&record(&view(&text, "", "")).unwrap())).unwrap();
            prop_assert_eq!(&read["value"], &value);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = (records(&bytes), json(&bytes));
        }
    }
}
