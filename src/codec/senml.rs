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

use std::fmt::{self, Write};
use std::ops::ControlFlow;

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use self::fields::{Fields, FieldsOf, number, string};
use super::decode::Decode;
use super::json_writer::JsonWriter;
use super::mapping::Document;
use super::mapping::settings::Settings;
use super::mapping::template::Template;
use super::{Input, Malformed, Take, cbor};

mod fields;

/// The version of the standard.
const VERSION: f64 = 10.0;

/// Seconds below which a time is relative to now.
const RELATIVE_BELOW: f64 = 268_435_456.0;

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

impl Decode for Decoder {
    /// A pack may hold many records.
    const IS_MANY: bool = true;

    /// A pack is bytes, since it may be CBOR.
    const IS_TEXT: bool = false;

    /// A record has its unit, wherever it came from, as a member.
    fn complete(settings: &mut Settings) {
        let unit = || Template::try_from("{/unit}".to_owned()).expect("it is a template");
        settings.unit.get_or_insert_with(unit);
    }

    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
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

#[cfg(test)]
mod tests;
