//! `payload = "senml"`: a pack of records (RFC 8428), in JSON (§5) or in CBOR (§6), told by its first byte. Each record is
//! resolved (§4.6), and a document of its own, so that no mapping is needed.
//!
//! | field | member of the document |
//! | --- | --- |
//! | `bn` and `n`, one behind the other | `sensorId` |
//! | `v`, to which `bv` is added; `vs`, `vb`, `vd`; or the sum, where there is none of them | `value` |
//! | `u`, or `bu` | `unit`, which becomes the record's unit |
//! | `bt` + `t` | `timestamp`, seconds since 1970; absent: the time of receipt |
//! | `bs` + `s` | `sum` |
//! | `ut` | `updateTime` |
//! | any other, by its name | the same (the standard would ignore it) |
//!
//! - A time below 2²⁸ is relative to now (§4.5.3), and now is when the message was received: `-5` is five seconds before.
//!   0 says that the sensor does not know: then the time of receipt stands.
//! - Numbers that are added are doubles, as the standard has it (§4.5.5), and times have microseconds. A number to which
//!   none is added has the digits that were sent.
//! - A record of base fields only says something of the next ones, and is no reading.
//! - A record that cannot be read is a dead letter, and the others live. So is one with an unknown field that must be
//!   understood (a name that ends with `_`, §4.4), and each one of a version above 10.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::json_writer::JsonWriter;
use super::mapping::Document;
use super::pointer::Name;
use super::{Input, Malformed, Take, cbor};
use crate::text;

/// A pack may hold many records.
pub(super) const IS_MANY: bool = true;

/// A pack is bytes, since it may be CBOR.
pub(super) const IS_TEXT: bool = false;

/// The version of the standard.
const VERSION: f64 = 10.0;

/// Seconds below which a time is relative to now.
const RELATIVE_BELOW: f64 = 268_435_456.0;

/// Nothing to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

/// Reads packs.
#[derive(Debug, Default)]
pub struct Decoder {
    cbor: cbor::Decoder,
    /// The document of a record.
    json: JsonWriter,
    base: Base,
    /// A text that is put together: a name, a time.
    text: String,
}

/// What the records so far say of the next ones.
#[derive(Debug, Default)]
struct Base {
    name: String,
    time: f64,
    /// A JSON string, or nothing.
    unit: String,
    value: Option<f64>,
    sum: Option<f64>,
    version: f64,
}

impl Settings {
    #[expect(clippy::unused_self, reason = "the shape of every payload codec")]
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::default()
    }
}

impl Decoder {
    pub(super) fn decode<'a>(
        &mut self,
        input: Input<'a>,
        take: &mut impl Take<'a>,
    ) -> ControlFlow<()> {
        let Self { cbor, json, base, text } = self;
        let payload = input.payload;
        // The first byte of an array in CBOR, or of a tag, is none of a text.
        let is_cbor =
            payload.first().is_some_and(|byte| *byte >= 0x80) && !payload.starts_with(BOM);
        let mut resolving = Resolving { input, is_cbor, json, base, text };
        let pack = if is_cbor { cbor.json(&input).and_then(array) } else { plain(input) };
        match pack {
            // What a dead letter shows of a record is its text or, of CBOR, the whole pack.
            Ok(pack) if is_cbor => resolving.pack(pack, |_| payload, take),
            Ok(_) => resolving.pack(plain(input).unwrap_or_default(), str::as_bytes, take),
            Err(malformed) => take(payload, Err(malformed)),
        }
    }
}

/// A byte order mark.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The text of a pack in JSON.
fn plain(input: Input<'_>) -> Result<&str, Malformed> {
    let text = input.unwrapped().payload.trim_ascii();
    if text.is_empty() {
        return Err(Malformed::empty());
    }
    let text = std::str::from_utf8(text);
    let text = text.map_err(|_| wrong("no SenML: neither JSON nor CBOR"))?;
    serde_json::from_str::<&RawValue>(text)
        .map_err(|error| wrong(&format!("no SenML: {error}")))?;
    array(text)
}

fn array(pack: &str) -> Result<&str, Malformed> {
    if pack.starts_with('[') { Ok(pack) } else { Err(wrong("no SenML: a pack is an array")) }
}

fn wrong(what: &str) -> Malformed {
    Malformed::because(what.to_owned())
}

/// Calls back for each element of an array, until it breaks.
struct Each<F>(F);

impl<'p, F: FnMut(&'p str) -> ControlFlow<()>> Visitor<'p> for Each<F> {
    type Value = ControlFlow<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'p>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut flow = ControlFlow::Continue(());
        while let Some(raw) = seq.next_element::<&'p RawValue>()? {
            if flow.is_continue() {
                flow = (self.0)(raw.get());
            }
        }
        Ok(flow)
    }
}

/// A pack that is resolved.
struct Resolving<'r, 'a> {
    input: Input<'a>,
    is_cbor: bool,
    json: &'r mut JsonWriter,
    base: &'r mut Base,
    text: &'r mut String,
}

impl<'a> Resolving<'_, 'a> {
    /// Hands over the documents of a pack, of which `part` is what a dead letter shows.
    fn pack<'p>(
        &mut self,
        pack: &'p str,
        part: impl Fn(&'p str) -> &'a [u8],
        take: &mut impl Take<'a>,
    ) -> ControlFlow<()> {
        self.base.clear();
        let (mut count, mut is_any) = (0_usize, false);
        let each = |raw: &'p str| {
            count += 1;
            let document = match self.record(raw) {
                Ok(false) => return ControlFlow::Continue(()),
                Ok(true) => Ok(Document::Json(self.json.json())),
                Err(Malformed { reason, detail }) => {
                    let detail = format!("record {count} of the pack: {detail}");
                    Err(Malformed { reason, detail })
                }
            };
            is_any = true;
            take(part(raw), document)
        };
        let ended = serde_json::Deserializer::from_str(pack).deserialize_seq(Each(each));
        ended.expect("the text is an array in JSON")?;
        if is_any {
            return ControlFlow::Continue(());
        }
        take(self.input.payload, Err(wrong("no SenML: a pack without a reading")))
    }

    /// Writes the document of a record. Whether it is one: it may say something of the next ones only.
    fn record(&mut self, raw: &str) -> Result<bool, Malformed> {
        self.json.begin(&self.input);
        self.json.open("{")?;
        let mut fields = Fields::default();
        let visitor = FieldsOf { fields: &mut fields, is_cbor: self.is_cbor, json: self.json };
        let read = serde_json::Deserializer::from_str(raw).deserialize_map(visitor);
        read.map_err(|_| wrong("it is no object"))??;
        self.base.take(&fields)?;
        if !fields.is_reading() {
            return Ok(false);
        }
        if self.base.version > VERSION {
            return Err(Malformed::because(format!("its version is {}", self.base.version)));
        }
        self.text.clear();
        self.text.push_str(&self.base.name);
        if let Some(name) = fields.name {
            self.text.push_str(&string(name, "n")?);
        }
        self.member("sensorId")?;
        self.json.text(self.text)?;
        self.value(&fields)?;
        if let Some(unit) = fields.unit {
            string(unit, "u")?;
            self.member("unit")?;
            self.json.word(unit)?;
        } else if !self.base.unit.is_empty() {
            self.member("unit")?;
            self.json.word(&self.base.unit)?;
        }
        self.time(&fields)?;
        if let Some(time) = fields.update_time {
            number(time, "ut")?;
            self.member("updateTime")?;
            self.json.word(time)?;
        }
        self.json.close("}")?;
        Ok(true)
    }

    fn member(&mut self, name: &str) -> Result<(), Malformed> {
        let at = self.json.key_at()?;
        self.json.text(name)?;
        self.json.key(at)
    }

    /// Writes the value, and the sum.
    fn value(&mut self, fields: &Fields<'_>) -> Result<(), Malformed> {
        let Fields { value, text, boolean, data, sum, .. } = *fields;
        let (base_value, base_sum) = (self.base.value, self.base.sum);
        let has_sum = sum.is_some() || base_sum.is_some();
        match (value, text, boolean, data) {
            (None, Some(raw), None, None) => {
                string(raw, "vs")?;
                self.member("value")?;
                self.json.word(raw)?;
            }
            (None, None, Some(raw @ ("true" | "false")), None) => {
                self.member("value")?;
                self.json.word(raw)?;
            }
            (None, None, None, Some(raw)) => {
                string(raw, "vd")?;
                self.member("value")?;
                self.json.word(raw)?;
            }
            (None, None, None, None) if base_value.is_none() => {
                if !has_sum {
                    return Err(wrong("it has no value"));
                }
                self.member("value")?;
                return self.sum(sum, base_sum, "s");
            }
            (value, None, None, None) => {
                self.member("value")?;
                self.sum(value, base_value, "v")?;
            }
            (_, _, Some(_), _) => {
                return Err(wrong("vb is not true or false, or there are several values"));
            }
            _ => return Err(wrong("it has several values")),
        }
        if has_sum {
            self.member("sum")?;
            self.sum(sum, base_sum, "s")?;
        }
        Ok(())
    }

    /// Writes a number to which that of the base is added.
    fn sum(&mut self, raw: Option<&str>, base: Option<f64>, label: &str) -> Result<(), Malformed> {
        let own = raw.map(|it| number(it, label)).transpose()?;
        match (raw, base) {
            (Some(raw), None) => self.json.word(raw),
            _ => self.json.float(own.unwrap_or_default() + base.unwrap_or_default()),
        }
    }

    /// Writes the time, if the sensor knows it.
    fn time(&mut self, fields: &Fields<'_>) -> Result<(), Malformed> {
        let own = fields.time.map(|it| number(it, "t")).transpose()?;
        let mut time = self.base.time + own.unwrap_or_default();
        if time == 0.0 {
            return Ok(());
        }
        if time < RELATIVE_BELOW {
            let received = self.input.received.millis();
            let part = |it: u64| f64::from(u32::try_from(it).unwrap_or(u32::MAX));
            time += part(received / 1000) + part(received % 1000) / 1000.0;
        }
        self.text.clear();
        write!(self.text, "{time:.6}").expect("a number can be written to memory");
        self.member("timestamp")?;
        self.json.word(self.text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Base {
    fn clear(&mut self) {
        self.name.clear();
        self.unit.clear();
        (self.time, self.value, self.sum, self.version) = (0.0, None, None, VERSION);
    }

    /// Takes the base fields of a record. They hold until the next ones.
    fn take(&mut self, fields: &Fields<'_>) -> Result<(), Malformed> {
        if let Some(raw) = fields.version {
            self.version = number(raw, "bver")?;
        }
        if let Some(raw) = fields.base_name {
            let name = string(raw, "bn")?;
            self.name.clear();
            self.name.push_str(&name);
        }
        if let Some(raw) = fields.base_unit {
            string(raw, "bu")?;
            self.unit.clear();
            self.unit.push_str(raw);
        }
        if let Some(raw) = fields.base_time {
            self.time = number(raw, "bt")?;
        }
        if let Some(raw) = fields.base_value {
            self.value = Some(number(raw, "bv")?);
        }
        if let Some(raw) = fields.base_sum {
            self.sum = Some(number(raw, "bs")?);
        }
        Ok(())
    }
}

/// The fields of a record, as JSON text.
#[derive(Debug, Default)]
struct Fields<'p> {
    version: Option<&'p str>,
    base_name: Option<&'p str>,
    base_time: Option<&'p str>,
    base_unit: Option<&'p str>,
    base_value: Option<&'p str>,
    base_sum: Option<&'p str>,
    name: Option<&'p str>,
    unit: Option<&'p str>,
    value: Option<&'p str>,
    text: Option<&'p str>,
    boolean: Option<&'p str>,
    sum: Option<&'p str>,
    time: Option<&'p str>,
    update_time: Option<&'p str>,
    data: Option<&'p str>,
    /// There are others.
    has_others: bool,
}

impl<'p> Fields<'p> {
    /// The field of a label: its name in JSON, its number in CBOR (§6, table 4).
    fn of(&mut self, label: &str, is_cbor: bool) -> Option<&mut Option<&'p str>> {
        Some(match (is_cbor, label) {
            (false, "bver") | (true, "-1") => &mut self.version,
            (false, "bn") | (true, "-2") => &mut self.base_name,
            (false, "bt") | (true, "-3") => &mut self.base_time,
            (false, "bu") | (true, "-4") => &mut self.base_unit,
            (false, "bv") | (true, "-5") => &mut self.base_value,
            (false, "bs") | (true, "-6") => &mut self.base_sum,
            (false, "n") | (true, "0") => &mut self.name,
            (false, "u") | (true, "1") => &mut self.unit,
            (false, "v") | (true, "2") => &mut self.value,
            (false, "vs") | (true, "3") => &mut self.text,
            (false, "vb") | (true, "4") => &mut self.boolean,
            (false, "s") | (true, "5") => &mut self.sum,
            (false, "t") | (true, "6") => &mut self.time,
            (false, "ut") | (true, "7") => &mut self.update_time,
            (false, "vd") | (true, "8") => &mut self.data,
            _ => return None,
        })
    }

    /// Whether there is more than base fields.
    fn is_reading(&self) -> bool {
        let own = [self.name, self.unit, self.value, self.text, self.boolean];
        let more = [self.sum, self.time, self.update_time, self.data];
        self.has_others || own.into_iter().chain(more).any(|it| it.is_some())
    }
}

/// Collects the fields of a record, and writes the others.
struct FieldsOf<'f, 'p> {
    fields: &'f mut Fields<'p>,
    is_cbor: bool,
    json: &'f mut JsonWriter,
}

impl<'p> Visitor<'p> for FieldsOf<'_, 'p> {
    type Value = Result<(), Malformed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { fields, is_cbor, json } = self;
        let mut written = Ok(());
        while let Some(Name(label)) = map.next_key()? {
            let raw = map.next_value::<&'p RawValue>()?.get();
            if let Some(field) = fields.of(&label, is_cbor) {
                *field = Some(raw);
                continue;
            }
            fields.has_others = true;
            written = written.and_then(|()| other(json, &label, raw));
        }
        Ok(written)
    }
}

/// Writes a field that the standard does not know.
fn other(json: &mut JsonWriter, label: &str, raw: &str) -> Result<(), Malformed> {
    if label.ends_with('_') {
        let label = text::shown(label);
        return Err(Malformed::because(format!("{label} must be understood, and is not known")));
    }
    let at = json.key_at()?;
    json.text(label)?;
    json.key(at)?;
    json.word(raw)
}

/// A number of a record.
fn number(raw: &str, label: &str) -> Result<f64, Malformed> {
    let number = raw.parse().ok().filter(|it: &f64| it.is_finite());
    number.ok_or_else(|| Malformed::because(format!("{label} is no number")))
}

/// A text of a record.
fn string<'p>(raw: &'p str, label: &str) -> Result<Cow<'p, str>, Malformed> {
    let text = serde_json::from_str::<Name<'p>>(raw);
    text.map(|it| it.0).map_err(|_| Malformed::because(format!("{label} is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::record::Reason;

    /// A part of a pack: what a dead letter shows, and its document or why it is none.
    type Part = (Vec<u8>, Result<String, (Reason, String)>);

    /// The first `max` parts of a pack that was received at the second 1,700,000,000.5.
    fn parts_of(payload: &[u8], max: usize) -> Vec<Part> {
        let received = Timestamp::from_millis(1_700_000_000_500);
        let input = Input { payload, received, bytes_max: 4096 };
        let (mut parts, mut decoder) = (Vec::new(), Decoder::default());
        let mut take = |part: &[u8], document: Result<Document<'_>, Malformed>| {
            let document = document.map(|it| match it {
                Document::Json(text) | Document::Text(text) => text.to_owned(),
            });
            parts.push((part.to_vec(), document.map_err(|it| (it.reason, it.detail))));
            if parts.len() == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ended = decoder.decode(input, &mut take);
        assert_eq!(ended.is_break(), parts.len() == max);
        parts
    }

    fn documents(payload: &[u8]) -> Vec<String> {
        parts_of(payload, 99).into_iter().map(|it| it.1.unwrap()).collect()
    }

    /// The pack of §5.1.2, and what its records say.
    const VOLTAGE: &str = r#"[
        {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
        {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#;

    fn voltage() -> Vec<String> {
        let name = "urn:dev:ow:10e2073a0108006:";
        let record = |it: (&str, &str, &str, u32)| {
            let (quantity, value, unit, second) = it;
            format!(
                r#"{{"sensorId":"{name}{quantity}","value":{value},"unit":"{unit}","timestamp":{second}.001}}"#
            )
        };
        [
            ("voltage", "120.1", "V", 1_276_020_076),
            ("current", "1.2", "A", 1_276_020_071),
            ("current", "1.3", "A", 1_276_020_072),
            ("current", "1.4", "A", 1_276_020_073),
            ("current", "1.5", "A", 1_276_020_074),
            ("current", "1.6", "A", 1_276_020_075),
            ("current", "1.7", "A", 1_276_020_076),
        ]
        .map(record)
        .to_vec()
    }

    /// RFC 8428 §5.1.
    #[test]
    fn the_examples_of_the_standard_are_resolved() {
        for (pack, expected) in [
            (
                r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#,
                &[r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":23.1,"unit":"Cel"}"#][..],
            ),
            (
                r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
                    {"u":"lon","v":24.30621},{"t":60,"v":20.3}]"#,
                &[
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":20,"unit":"%RH","timestamp":1320067464}"#,
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":24.30621,"unit":"lon","timestamp":1320067464}"#,
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":20.3,"unit":"%RH","timestamp":1320067524}"#,
                ],
            ),
            (
                r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},
                    {"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#,
                &[
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063:temp","value":23.1,"unit":"Cel"}"#,
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063:label","value":"Machine Room"}"#,
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063:open","value":false}"#,
                    r#"{"sensorId":"urn:dev:ow:10e2073a01080063:nfc-reader","value":"aGkgCg"}"#,
                ],
            ),
            (
                r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
                    {"n":"humidity","u":"%RH","v":30},{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3}]"#,
                &[
                    r#"{"sensorId":"2001:db8::2/temperature","value":25.2,"unit":"Cel","timestamp":1320078429}"#,
                    r#"{"sensorId":"2001:db8::2/humidity","value":30,"unit":"%RH","timestamp":1320078429}"#,
                    r#"{"sensorId":"2001:db8::1/temperature","value":12.3,"unit":"Cel","timestamp":1320078429}"#,
                ],
            ),
            (
                r#"[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"fan","u":"/","v":0}]"#,
                &[r#"{"sensorId":"urn:dev:ow:10e2073a01080063:fan","value":0,"unit":"/"}"#],
            ),
        ] {
            assert_eq!(documents(pack.as_bytes()), expected, "{pack}");
        }
        assert_eq!(documents(VOLTAGE.as_bytes()), voltage());
    }

    /// RFC 8428 §6: the same pack in CBOR.
    #[test]
    fn the_example_in_cbor_says_the_same_as_that_in_json() {
        let hex = "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c\
            7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3f\
            f4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e\
            74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333";
        let digits: Vec<u32> = hex.chars().filter_map(|it| it.to_digit(16)).collect();
        let cbor: Vec<u8> =
            digits.chunks(2).map(|it| u8::try_from(it[0] * 16 + it[1]).unwrap()).collect();
        assert_eq!(documents(&cbor), voltage());
        let parts = parts_of(b"\x82\xa2\x00\x61a\x02\xf5\xa2\x00\x61a\x08\x41\xff", 99);
        assert_eq!(
            parts[0].0, b"\x82\xa2\x00\x61a\x02\xf5\xa2\x00\x61a\x08\x41\xff",
            "the whole pack"
        );
        assert_eq!(parts[0].1.as_ref().unwrap_err().0, Reason::Malformed);
        assert_eq!(parts[1].1, Ok(r#"{"sensorId":"a","value":"_w"}"#.to_owned()), "bytes");
    }

    #[test]
    fn base_values_are_added_and_times_are_relative_to_the_receipt() {
        let pack = r#"[{"bn":"a","bt":-10,"bv":20,"bs":5,"v":0.5,"s":1},{"t":3.25},{"bt":0,"vs":"x","s":2},
            {"t":0.5,"vb":true,"ut":60,"place":"hall"},{"bt":1.7e9,"t":-1700000000,"vd":"_w"}]"#;
        let expected = [
            r#"{"sensorId":"a","value":20.5,"sum":6.0,"timestamp":1699999990.5}"#,
            r#"{"sensorId":"a","value":20.0,"sum":5.0,"timestamp":1699999993.75}"#,
            r#"{"sensorId":"a","value":"x","sum":7.0}"#,
            r#"{"place":"hall","sensorId":"a","value":true,"sum":5.0,"timestamp":1700000001,"updateTime":60}"#,
            r#"{"sensorId":"a","value":"_w","sum":5.0}"#,
        ];
        assert_eq!(documents(pack.as_bytes()), expected);
        let sum = r#"[{"n":"meter","u":"J","s":1234567890.123456789}]"#;
        let expected = [r#"{"sensorId":"meter","value":1234567890.123456789,"unit":"J"}"#];
        assert_eq!(documents(sum.as_bytes()), expected, "a sum alone, with its digits");
        let escaped = "\u{feff} [{\"bn\":\"a\\\"\",\"n\":\"\\u00e9\",\"v\":1}] ";
        assert_eq!(documents(escaped.as_bytes()), [r#"{"sensorId":"a\"é","value":1}"#]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_a_dead_letter_and_the_others_live() {
        let good = r#"{"n":"a","v":1}"#;
        for (bad, detail) in [
            ("7", "it is no object"),
            (r#"{"n":"a"}"#, "it has no value"),
            (r#"{"n":"a","v":1,"vs":"x"}"#, "it has several values"),
            (r#"{"n":"a","v":"1"}"#, "v is no number"),
            (r#"{"n":"a","vb":1}"#, "vb is not true or false, or there are several values"),
            (r#"{"n":"a","vs":1}"#, "vs is no text"),
            (r#"{"n":7,"v":1}"#, "n is no text"),
            (r#"{"n":"a","v":1,"t":"now"}"#, "t is no number"),
            (r#"{"n":"a","v":1,"secret_":1}"#, "secret_ must be understood, and is not known"),
            (r#"{"n":"a","v":1,"v":1e999}"#, "v is no number"),
        ] {
            let parts = parts_of(format!("[{good},{bad},{good}]").as_bytes(), 99);
            let detail = format!("record 2 of the pack: {detail}");
            assert_eq!(parts.len(), 3, "{bad}");
            assert_eq!(parts[1], (bad.as_bytes().to_vec(), Err((Reason::Malformed, detail))));
            assert!(parts[0].1.is_ok() && parts[2].1.is_ok(), "{bad}");
        }
        let later = parts_of(format!("[{good},{{\"bver\":11,\"v\":1}},{good}]").as_bytes(), 99);
        assert!(later[0].1.is_ok() && later[1].1.is_err() && later[2].1.is_err(), "{later:?}");
        assert_eq!(parts_of(format!("[{good},{good},{good}]").as_bytes(), 2).len(), 2);
        let packs = [
            &b""[..],
            b" ",
            b"[]",
            b"{}",
            b"[{\"bn\":\"a\"}]",
            b"[{",
            b"open",
            b"\xa0",
            b"\x80",
            b"\x81",
            b"\xef\xbb",
        ];
        for pack in packs {
            let parts = parts_of(pack, 99);
            assert!(parts.len() == 1 && parts[0].1.is_err() && parts[0].0 == pack, "{parts:?}");
        }
    }
}
