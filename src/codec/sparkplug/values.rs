//! The values of metrics, as JSON (Sparkplug 3.0 §6.4).
//!
//! | data type | JSON |
//! | --- | --- |
//! | Int8 … UInt64 | its digits; a signed one is sent as two's complement (§6.4.16) |
//! | Float, Double | the fewest digits that tell it from others of its width; not finite: `null` |
//! | Boolean, String, Text, UUID | the same |
//! | DateTime | milliseconds since 1970, a number |
//! | Bytes, File | text in base64 (RFC 4648 §4) |
//! | DataSet | `{"columns":[…],"types":[…],"rows":[[…],…]}` |
//! | Template | `{"templateRef":…,"version":…,"isDefinition":…,"parameters":{…},"metrics":{name: value,…}}`, those there are |
//! | arrays (§6.4.17) | an array of numbers, booleans or texts |
//! | any that is null | `null` |

use base64::engine::general_purpose::STANDARD;

use super::metric::{DataType, Metric, Value, data_type, scalar};
use super::wire::{Field, Fields, wrong};
use crate::codec::Malformed;
use crate::codec::json_writer::JsonWriter;

/// Columns of a data set. One with more is malformed.
const COLUMNS_MAX: usize = 1024;

/// Writes values as JSON.
pub(super) struct Values<'w> {
    pub(super) json: &'w mut JsonWriter,
}

impl Values<'_> {
    /// The name of a member, of which the value comes next.
    pub(super) fn member(&mut self, name: &str) -> Result<(), Malformed> {
        let at = self.json.key_at()?;
        self.json.text(name)?;
        self.json.key(at)
    }

    /// A member that is a text.
    pub(super) fn text(&mut self, name: &str, text: &str) -> Result<(), Malformed> {
        self.member(name)?;
        self.json.text(text)
    }

    /// A time in milliseconds, if there is one.
    pub(super) fn time(&mut self, millis: Option<u64>) -> Result<(), Malformed> {
        let Some(millis) = millis else { return Ok(()) };
        self.member("timestamp")?;
        self.json.integer(millis)
    }

    /// A value of a data type.
    pub(super) fn value(
        &mut self,
        value: Option<Value<'_>>,
        of: DataType,
    ) -> Result<(), Malformed> {
        match value {
            None => self.json.word("null"),
            Some(Value::Integer(bits)) => self.integer(bits, of),
            Some(Value::Float(it)) => self.json.float(it),
            Some(Value::Double(it)) => self.json.float(it),
            Some(Value::Boolean(it)) => self.boolean(it),
            Some(Value::Text(it)) => self.json.text(it),
            Some(Value::Bytes(it)) => self.bytes(it, of),
            Some(Value::DataSet(it)) => self.data_set(it),
            Some(Value::Template(it)) => self.template(it),
        }
    }

    pub(super) fn boolean(&mut self, is_true: bool) -> Result<(), Malformed> {
        self.json.word(if is_true { "true" } else { "false" })
    }

    fn integer(&mut self, bits: u64, of: DataType) -> Result<(), Malformed> {
        let [a, b, c, d, ..] = bits.to_le_bytes();
        match of.name() {
            Some("Int8") => self.json.integer(i8::from_le_bytes([a])),
            Some("Int16") => self.json.integer(i16::from_le_bytes([a, b])),
            Some("Int32") => self.json.integer(i32::from_le_bytes([a, b, c, d])),
            Some("Int64") => self.json.integer(bits.cast_signed()),
            Some("Boolean") => self.boolean(bits != 0),
            _ => self.json.integer(bits),
        }
    }

    fn bytes(&mut self, bytes: &[u8], of: DataType) -> Result<(), Malformed> {
        match of.name() {
            Some("Int8Array") => self.each(bytes, |json, it| json.integer(i8::from_le_bytes(*it))),
            Some("Int16Array") => {
                self.each(bytes, |json, it| json.integer(i16::from_le_bytes(*it)))
            }
            Some("Int32Array") => {
                self.each(bytes, |json, it| json.integer(i32::from_le_bytes(*it)))
            }
            Some("Int64Array") => {
                self.each(bytes, |json, it| json.integer(i64::from_le_bytes(*it)))
            }
            Some("UInt8Array") => self.each(bytes, |json, it| json.integer(u8::from_le_bytes(*it))),
            Some("UInt16Array") => {
                self.each(bytes, |json, it| json.integer(u16::from_le_bytes(*it)))
            }
            Some("UInt32Array") => {
                self.each(bytes, |json, it| json.integer(u32::from_le_bytes(*it)))
            }
            Some("UInt64Array" | "DateTimeArray") => {
                self.each(bytes, |json, it| json.integer(u64::from_le_bytes(*it)))
            }
            Some("FloatArray") => self.each(bytes, |json, it| json.float(f32::from_le_bytes(*it))),
            Some("DoubleArray") => self.each(bytes, |json, it| json.float(f64::from_le_bytes(*it))),
            Some("BooleanArray") => self.booleans(bytes),
            Some("StringArray") => self.strings(bytes),
            _ => self.json.base64(bytes, &STANDARD),
        }
    }

    /// An array of numbers of so many bytes.
    fn each<const N: usize>(
        &mut self,
        bytes: &[u8],
        write: impl Fn(&mut JsonWriter, &[u8; N]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let (all, behind) = bytes.as_chunks::<N>();
        if !behind.is_empty() {
            return Err(wrong("an array ends within a number"));
        }
        self.json.open("[")?;
        all.iter().try_for_each(|it| write(self.json, it))?;
        self.json.close("]")
    }

    /// Their count in four bytes, then a bit each, the highest of a byte first.
    fn booleans(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let short = || wrong("an array of booleans is shorter than it says");
        let (count, bits) = bytes.split_first_chunk().ok_or_else(short)?;
        let count = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| short())?;
        if bits.len() < count.div_ceil(8) {
            return Err(short());
        }
        self.json.open("[")?;
        let all = bits.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
        all.take(count)
            .try_for_each(|it| self.json.word(if it == 1 { "true" } else { "false" }))?;
        self.json.close("]")
    }

    /// Texts that a zero byte ends.
    fn strings(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("a text is not UTF-8"))?;
        self.json.open("[")?;
        let all = text.strip_suffix('\0').unwrap_or(text);
        if !text.is_empty() {
            all.split('\0').try_for_each(|it| self.json.text(it))?;
        }
        self.json.close("]")
    }

    fn data_set(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.json.open("{")?;
        self.member("columns")?;
        self.json.open("[")?;
        for field in Fields(bytes) {
            if let (2, name) = field? {
                self.json.text(name.text()?)?;
            }
        }
        self.json.close("]")?;
        self.member("types")?;
        self.json.open("[")?;
        let types = data_types(bytes)?;
        types.iter().try_for_each(|it| self.json.text(it.name().unwrap_or("Unknown")))?;
        self.json.close("]")?;
        self.member("rows")?;
        self.json.open("[")?;
        for field in Fields(bytes) {
            if let (4, row) = field? {
                self.row(row.bytes()?, &types)?;
            }
        }
        self.json.close("]")?;
        self.json.close("}")
    }

    /// A row of a data set: an element for each of its types.
    fn row(&mut self, row: &[u8], types: &[DataType]) -> Result<(), Malformed> {
        self.json.open("[")?;
        let mut types = types.iter();
        for element in Fields(row) {
            let (number, element) = element?;
            if number != 1 {
                continue;
            }
            let of = types.next().ok_or_else(|| wrong("a row is longer than its set"))?;
            let mut value = None;
            for field in Fields(element.bytes()?) {
                let (number, field) = field?;
                value = scalar(number, 1, field)?.or(value);
            }
            self.value(value, *of)?;
        }
        self.json.close("]")
    }

    fn template(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.json.open("{")?;
        let (mut metrics, mut parameters) = (false, false);
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                1 => self.text("version", field.text()?)?,
                2 => metrics = true,
                3 => parameters = true,
                4 => self.text("templateRef", field.text()?)?,
                5 => {
                    self.member("isDefinition")?;
                    self.boolean(field.is_true()?)?;
                }
                _ => {}
            }
        }
        if parameters {
            self.member("parameters")?;
            self.named(bytes, 3, Self::parameter)?;
        }
        if metrics {
            self.member("metrics")?;
            self.named(bytes, 2, Self::inner_metric)?;
        }
        self.json.close("}")
    }

    /// An object of what stands in the fields of this number.
    fn named(
        &mut self,
        bytes: &[u8],
        wanted: u32,
        write: fn(&mut Self, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.json.open("{")?;
        for field in Fields(bytes) {
            let (number, field) = field?;
            if number == wanted {
                write(self, field.bytes()?)?;
            }
        }
        self.json.close("}")
    }

    fn inner_metric(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let metric = Metric::read(bytes)?;
        match (metric.name, metric.alias) {
            (Some(name), _) => self.member(name)?,
            (None, Some(alias)) => self.member(&format!("alias {alias}"))?,
            (None, None) => return Err(wrong("a metric of a template has no name")),
        }
        self.value(metric.value, metric.data_type)
    }

    fn parameter(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let (mut name, mut of, mut value) = ("", DataType::default(), None);
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                1 => name = field.text()?,
                2 => of = data_type(field)?,
                _ => value = scalar(number, 3, field)?.or(value),
            }
        }
        self.member(name)?;
        self.value(value, of)
    }

    /// A set of properties: an object.
    pub(super) fn properties(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.json.open("{")?;
        let mut values = Fields(bytes).filter(|it| !matches!(it, Ok((1, _))));
        for field in Fields(bytes) {
            let (number, key) = field?;
            if number != 1 {
                continue;
            }
            self.member(key.text()?)?;
            let (_, value) = values.next().ok_or_else(|| wrong("a property has no value"))??;
            self.property(value.bytes()?)?;
        }
        self.json.close("}")
    }

    fn property(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let (mut of, mut value, mut is_null) = (DataType::default(), None, false);
        let (mut set, mut sets) = (None, None);
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                1 => of = data_type(field)?,
                2 => is_null = field.is_true()?,
                9 => set = Some(field.bytes()?),
                10 => sets = Some(field.bytes()?),
                _ => value = scalar(number, 3, field)?.or(value),
            }
        }
        match (set, sets) {
            _ if is_null => self.json.word("null"),
            (Some(set), _) => self.properties(set),
            (None, Some(sets)) => self.property_sets(sets),
            (None, None) => self.value(value, of),
        }
    }

    fn property_sets(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.json.open("[")?;
        for field in Fields(bytes) {
            if let (1, set) = field? {
                self.properties(set.bytes()?)?;
            }
        }
        self.json.close("]")
    }

    /// What is known of a file or a value in parts: an object.
    pub(super) fn metadata(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.json.open("{")?;
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                1 => {
                    self.member("isMultiPart")?;
                    self.boolean(field.is_true()?)?;
                }
                2 => self.text("contentType", field.text()?)?,
                3 => self.number("size", field)?,
                4 => self.number("seq", field)?,
                5 => self.text("fileName", field.text()?)?,
                6 => self.text("fileType", field.text()?)?,
                7 => self.text("md5", field.text()?)?,
                8 => self.text("description", field.text()?)?,
                _ => {}
            }
        }
        self.json.close("}")
    }

    fn number(&mut self, name: &str, field: Field<'_>) -> Result<(), Malformed> {
        self.member(name)?;
        self.json.integer(field.number()?)
    }
}

/// The data types of a set's columns; they may come one by one, or packed.
fn data_types(set: &[u8]) -> Result<Vec<DataType>, Malformed> {
    let mut all = Vec::new();
    for field in Fields(set) {
        match field? {
            (3, Field::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    let number = Fields::varint(&mut packed)?;
                    all.push(data_type(Field::Number(number))?);
                    few(&all)?;
                }
            }
            (3, field) => all.push(data_type(field)?),
            _ => {}
        }
        few(&all)?;
    }
    Ok(all)
}

fn few(columns: &[DataType]) -> Result<(), Malformed> {
    if columns.len() <= COLUMNS_MAX {
        return Ok(());
    }
    Err(wrong(&format!("a data set of more than {COLUMNS_MAX} columns")))
}
