//! A payload: its head, its metrics one after the other, and what they are called.

use super::births::{Known, Metrics};
use super::metric::{DataType, Metric, Value};
use super::wire::{Fields, wrong};
use crate::codec::Malformed;

/// A payload without its metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Payload<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) timestamp: Option<u64>,
    pub(super) seq: Option<u64>,
}

impl<'a> Payload<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut it = Self { bytes, ..Self::default() };
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                1 => it.timestamp = Some(field.number()?),
                2 => _ = field.bytes()?,
                3 => it.seq = Some(field.number()?),
                4 if field.text()? == "SPBV1.0_COMPRESSED" => {
                    return Err(wrong(
                        "its body is compressed (SPBV1.0_COMPRESSED), which is not read",
                    ));
                }
                _ => {}
            }
        }
        Ok(it)
    }

    /// Each of its metrics, with its bytes.
    pub(super) fn metrics(
        &self,
    ) -> impl Iterator<Item = (&'a [u8], Result<Metric<'a>, Malformed>)> + use<'a> {
        let fields = Fields(self.bytes).filter_map(Result::ok).filter(|it| it.0 == 2);
        fields.filter_map(|it| it.1.bytes().ok()).map(|bytes| (bytes, Metric::read(bytes)))
    }

    /// The metrics that can be read.
    pub(super) fn good(&self) -> impl Iterator<Item = Metric<'a>> + use<'a> {
        self.metrics().filter_map(|it| it.1.ok())
    }

    /// The number of a node's birth, which is a metric.
    pub(super) fn bd_seq(&self) -> Option<u64> {
        let value = self.good().find(|it| it.name == Some("bdSeq"))?.value;
        if let Some(Value::Integer(number)) = value { Some(number) } else { None }
    }
}

/// What a metric is called, and how it is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolved<'a> {
    pub(super) name: &'a str,
    pub(super) data_type: DataType,
    pub(super) unit: Option<&'a str>,
}

/// What is known of a metric by its message, and by the birth of its device.
pub(super) fn resolve<'a>(metric: &Metric<'a>, born: Option<&'a Metrics>) -> Option<Resolved<'a>> {
    let known: Option<&Known> = born.and_then(|born| match (metric.name, metric.alias) {
        (Some(name), _) => born.of_name(name),
        (None, Some(alias)) => born.of_alias(alias),
        (None, None) => None,
    });
    let name = metric.name.or_else(|| known.map(|it| &*it.name))?;
    let data_type = match (metric.data_type.name(), known) {
        (Some(_), _) => metric.data_type,
        (None, Some(known)) => known.data_type,
        // It is clear without.
        (None, None) if metric.value.is_none_or(Value::is_plain) => DataType::default(),
        (None, None) => return None,
    };
    let unit = metric.unit().or_else(|| known.and_then(|it| it.unit.as_deref()));
    Some(Resolved { name, data_type, unit })
}
