//! The fields of one record of a pack: found by their labels, and what must be understood.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::codec::Malformed;
use crate::codec::json_writer::JsonWriter;
use crate::codec::pointer::Name;
use crate::text;

/// The fields of a record, as JSON text.
#[derive(Debug, Default)]
pub(super) struct Fields<'p> {
    pub(super) version: Option<&'p str>,
    pub(super) base_name: Option<&'p str>,
    pub(super) base_time: Option<&'p str>,
    pub(super) base_unit: Option<&'p str>,
    pub(super) base_value: Option<&'p str>,
    pub(super) base_sum: Option<&'p str>,
    pub(super) name: Option<&'p str>,
    pub(super) unit: Option<&'p str>,
    pub(super) value: Option<&'p str>,
    pub(super) text: Option<&'p str>,
    pub(super) boolean: Option<&'p str>,
    pub(super) sum: Option<&'p str>,
    pub(super) time: Option<&'p str>,
    pub(super) update_time: Option<&'p str>,
    pub(super) data: Option<&'p str>,
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
    pub(super) fn is_reading(&self) -> bool {
        let own = [self.name, self.unit, self.value, self.text, self.boolean];
        let more = [self.sum, self.time, self.update_time, self.data];
        self.has_others || own.into_iter().chain(more).any(|it| it.is_some())
    }
}

/// Collects the fields of a record, and writes the others.
pub(super) struct FieldsOf<'f, 'p> {
    pub(super) fields: &'f mut Fields<'p>,
    pub(super) is_cbor: bool,
    pub(super) json: &'f mut JsonWriter,
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
pub(super) fn number(raw: &str, label: &str) -> Result<f64, Malformed> {
    let number = raw.parse().ok().filter(|it: &f64| it.is_finite());
    number.ok_or_else(|| Malformed::because(format!("{label} is no number")))
}

/// A text of a record.
pub(super) fn string<'p>(raw: &'p str, label: &str) -> Result<Cow<'p, str>, Malformed> {
    let text = serde_json::from_str::<Name<'p>>(raw);
    text.map(|it| it.0).map_err(|_| Malformed::because(format!("{label} is no text")))
}
