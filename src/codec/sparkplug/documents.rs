//! The documents of a message: one for each metric, and for what its kind says.

use std::ops::ControlFlow;

use super::births::Births;
use super::metric::Metric;
use super::payload::{Payload, Resolved, resolve};
use super::topic::{Address, Kind};
use super::values::Values;
use crate::codec::json_writer::JsonWriter;
use crate::codec::mapping::Document;
use crate::codec::{Input, Malformed, Take};
use crate::record::Reason;
use crate::text;

/// Aliases that a dead letter names.
const SHOWN_MAX: usize = 8;

/// A message that is written as documents.
pub(super) struct Writing<'w, 'a> {
    pub(super) input: Input<'a>,
    pub(super) address: Address<'a>,
    pub(super) payload: Payload<'a>,
    pub(super) json: &'w mut JsonWriter,
    /// `group/node`.
    pub(super) node: &'w str,
}

impl<'a> Writing<'_, 'a> {
    /// Hands over all documents of a message.
    pub(super) fn all(&mut self, births: &Births, take: &mut impl Take<'a>) -> ControlFlow<()> {
        let (payload, device) = (self.input.payload, self.address.device);
        let is_death = self.address.kind == Kind::Death;
        let is_stale = is_death && births.is_stale(self.node, self.payload.bd_seq());
        if self.address.kind == Kind::Birth {
            let document = self.online(device, true).map(|()| Document::Json(self.json.json()));
            take(payload, document)?;
        }
        let born = births.of(self.node, device);
        let mut unresolved = Unresolved::default();
        for (bytes, metric) in self.payload.metrics() {
            let document = metric.and_then(|metric| match resolve(&metric, born) {
                Some(resolved) => self.metric(&metric, &resolved, is_stale).map(|()| true),
                None => Ok(unresolved.add(&metric)),
            });
            match document {
                Ok(false) => {}
                Ok(true) => take(bytes, Ok(Document::Json(self.json.json())))?,
                Err(malformed) => take(bytes, Err(malformed))?,
            }
        }
        if unresolved.count > 0 {
            take(payload, Err(unresolved.malformed(self.node, device, births)))?;
        }
        if is_death && !is_stale {
            let devices = if device.is_empty() { births.devices(self.node) } else { Vec::new() };
            for device in devices.into_iter().chain([device]) {
                let document =
                    self.online(device, false).map(|()| Document::Json(self.json.json()));
                take(payload, document)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Begins a document: whose it is.
    fn begin(&mut self, device: &str) -> Result<Values<'_>, Malformed> {
        self.json.begin(&self.input);
        self.json.open("{")?;
        let mut values = Values { json: self.json };
        let Address { word, group, node, .. } = self.address;
        values.member("sensorId")?;
        values.json.joined(&[self.node, device])?;
        values.text("type", word)?;
        for (name, text) in [("group", group), ("node", node), ("device", device)] {
            if !text.is_empty() {
                values.text(name, text)?;
            }
        }
        Ok(values)
    }

    /// That a node or a device is there, or is there no more.
    pub(super) fn online(&mut self, device: &str, is_online: bool) -> Result<(), Malformed> {
        let timestamp = self.payload.timestamp;
        let mut values = self.begin(device)?;
        values.text("name", "online")?;
        values.member("value")?;
        values.boolean(is_online)?;
        values.time(timestamp)?;
        values.json.close("}")
    }

    fn metric(
        &mut self,
        metric: &Metric<'a>,
        resolved: &Resolved<'_>,
        is_stale: bool,
    ) -> Result<(), Malformed> {
        let timestamp = metric.timestamp.or(self.payload.timestamp);
        let mut values = self.begin(self.address.device)?;
        values.text("name", resolved.name)?;
        values.member("value")?;
        values.value(metric.value, resolved.data_type)?;
        if let Some(unit) = resolved.unit {
            values.text("unit", unit)?;
        }
        values.time(timestamp)?;
        if let Some(name) = resolved.data_type.name() {
            values.text("dataType", name)?;
        }
        let marks = [
            ("historical", metric.is_historical),
            ("transient", metric.is_transient),
            ("stale", is_stale),
        ];
        for (name, _) in marks.into_iter().filter(|it| it.1) {
            values.member(name)?;
            values.json.word("true")?;
        }
        if let Some(properties) = metric.properties {
            values.member("properties")?;
            values.properties(properties)?;
        }
        if let Some(metadata) = metric.metadata {
            values.member("metadata")?;
            values.metadata(metadata)?;
        }
        values.json.close("}")
    }
}

/// The metrics of a message that no birth says anything of.
#[derive(Debug, Default)]
struct Unresolved {
    count: usize,
    shown: Vec<String>,
}

impl Unresolved {
    /// One more; it makes no document.
    fn add(&mut self, metric: &Metric<'_>) -> bool {
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(match (metric.name, metric.alias) {
                (Some(name), _) => format!("the type of {}", text::shown(name)),
                (None, Some(alias)) => format!("alias {alias}"),
                (None, None) => "a metric without name and alias".to_owned(),
            });
        }
        false
    }

    fn malformed(&self, node: &str, device: &str, births: &Births) -> Malformed {
        let separator = if device.is_empty() { "" } else { "/" };
        let mut detail = self.shown.join(", ");
        if self.count > self.shown.len() {
            detail.extend([" and ", &(self.count - self.shown.len()).to_string(), " more"]);
        }
        detail.extend([": no birth of ", node, separator, device, " says what it is"]);
        if births.are_short() {
            let max = births.bytes_max();
            detail.extend(["; births were left out, state_bytes_max = ", &max.to_string()]);
        }
        Malformed { reason: Reason::Alias, detail }
    }
}
