//! Metrics as they stand in a payload (`sparkplug_b.proto` of Eclipse Tahu; Sparkplug 3.0 §6.4), borrowed from it.

use super::wire::{Field, Fields};
use crate::codec::Malformed;

/// The names of the data types, by number (§6.4.16): the place of each is its number.
const TYPES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// The number of a data type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DataType(pub(super) u32);

impl DataType {
    /// Its name; none where the standard has no such number, or calls it unknown.
    pub(super) fn name(self) -> Option<&'static str> {
        let at = usize::try_from(self.0).ok().filter(|it| *it > 0)?;
        TYPES.get(at).copied()
    }
}

/// A value as it is sent: how it is meant says its data type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Integer(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    DataSet(&'a [u8]),
    Template(&'a [u8]),
}

impl Value<'_> {
    /// Whether it can be read without its data type.
    pub(super) fn is_plain(self) -> bool {
        !matches!(self, Self::Integer(_) | Self::Bytes(_))
    }
}

/// A metric of a payload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Metric<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) alias: Option<u64>,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<u64>,
    pub(super) data_type: DataType,
    pub(super) is_historical: bool,
    pub(super) is_transient: bool,
    /// None: it is null.
    pub(super) value: Option<Value<'a>>,
    pub(super) metadata: Option<&'a [u8]>,
    pub(super) properties: Option<&'a [u8]>,
}

impl<'a> Metric<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (mut it, mut is_null) = (Self::default(), false);
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                1 => it.name = Some(field.text()?).filter(|it| !it.is_empty()),
                2 => it.alias = Some(field.number()?),
                3 => it.timestamp = Some(field.number()?),
                4 => it.data_type = data_type(field)?,
                5 => it.is_historical = field.is_true()?,
                6 => it.is_transient = field.is_true()?,
                7 => is_null = field.is_true()?,
                8 => it.metadata = Some(field.bytes()?),
                9 => it.properties = Some(field.bytes()?),
                16 => it.value = Some(Value::Bytes(field.bytes()?)),
                17 => it.value = Some(Value::DataSet(field.bytes()?)),
                18 => it.value = Some(Value::Template(field.bytes()?)),
                _ => it.value = scalar(number, 10, field)?.or(it.value),
            }
        }
        it.value = it.value.filter(|_| !is_null);
        Ok(it)
    }

    /// The unit that its properties say: `engUnit`.
    pub(super) fn unit(&self) -> Option<&'a str> {
        let set = self.properties?;
        let of = |wanted| Fields(set).filter_map(Result::ok).filter(move |it| it.0 == wanted);
        let is_unit = |key: Field<'_>| key.text().is_ok_and(|it| it == "engUnit");
        let (_, (_, value)) = of(1).zip(of(2)).find(|((_, key), _)| is_unit(*key))?;
        let (_, text) = Fields(value.bytes().ok()?).filter_map(Result::ok).find(|it| it.0 == 8)?;
        text.text().ok().filter(|it| !it.is_empty())
    }
}

pub(super) fn data_type(field: Field<'_>) -> Result<DataType, Malformed> {
    Ok(DataType(u32::try_from(field.number()?).unwrap_or(u32::MAX)))
}

/// The scalar that a field of this number holds, where the fields of scalars begin with the number `first`.
pub(super) fn scalar(
    number: u32,
    first: u32,
    field: Field<'_>,
) -> Result<Option<Value<'_>>, Malformed> {
    Ok(Some(match number.wrapping_sub(first) {
        0 | 1 => Value::Integer(field.number()?),
        2 => Value::Float(field.float()?),
        3 => Value::Double(field.double()?),
        4 => Value::Boolean(field.is_true()?),
        5 => Value::Text(field.text()?),
        _ => return Ok(None),
    }))
}
