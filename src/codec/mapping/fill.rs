//! Fills templates: the sensor's id, and what else a record says of its reading.

use super::make::{One, nothing_at};
use super::plan::{Identity, Piece, Plan};
use super::settings::TAG_BYTES_MAX;
use super::{Look, Mapping, at, first, scalar};
use crate::codec::{Malformed, text_json};
use crate::record::{Chunk, Reason, Span};

impl Mapping {
    /// Finds out who the sensor is, where the document says it.
    pub(super) fn name(&mut self, look: &Look<'_>) -> Result<(), Malformed> {
        self.sensor.clear();
        match &self.plan.identity {
            _ if look.origin.named.is_some() => {}
            Identity::Default(slots) => {
                let id = first(slots, &self.found, look.message).and_then(|it| scalar(it.1));
                if id.as_deref() == Some("") {
                    let detail = "the sensor's id is empty".to_owned();
                    return Err(Malformed { reason: Reason::SensorId, detail });
                }
                self.sensor.push_str(&id.unwrap_or_default());
            }
            Identity::Templates(all) => {
                let filled = all.iter().map(|it| self.fill(it, look));
                let filled = filled.reduce(Result::or);
                let filled = filled.expect("a list of templates is not empty");
                self.sensor = filled.map_err(|shown| nothing_at(shown, "sensor", look.json))?;
            }
        }
        Ok(())
    }

    /// `"tags":{…},"quantity":…,"unit":…`, those that there are.
    pub(super) fn labels(&self, one: &One<'_>, look: &Look<'_>, chunk: &mut Chunk) -> Span {
        let Plan { tags, quantity, unit, has_templates, .. } = &self.plan;
        let properties = look.origin.properties;
        let is_plain = !has_templates && properties.is_empty();
        if is_plain && one.name.is_none() && one.unit.is_none() {
            return Span::default();
        }
        let begin = chunk.bytes();
        let mut before = &b"\"tags\":{"[..];
        for (name, pieces) in tags {
            let filled = self.fill(pieces, look).ok().filter(|it| it.len() <= TAG_BYTES_MAX);
            let Some(text) = filled else { continue };
            for part in [before, name.as_bytes(), b":"] {
                chunk.put(part);
            }
            chunk.put_with(|out| text_json::write(out, &text));
            before = b",";
        }
        for (name, value) in properties {
            let name = text_json::quoted(name);
            // What the entry says goes before what the sender says.
            let is_long = name.len().max(value.len()) > TAG_BYTES_MAX;
            if is_long || tags.iter().any(|tag| tag.0 == name) {
                continue;
            }
            for part in [before, name.as_bytes(), b":"] {
                chunk.put(part);
            }
            chunk.put_with(|out| text_json::write(out, value));
            before = b",";
        }
        if chunk.bytes() > begin {
            chunk.put(b"}");
        }
        let filled = |pieces: &Option<Vec<Piece>>| {
            let text = self.fill(pieces.as_ref()?, look).ok()?;
            (text.len() <= TAG_BYTES_MAX).then(|| text_json::quoted(&text))
        };
        // The name and unit of one of several values go before those of the entry; a unit that was read goes behind.
        let own_unit = || filled(unit).or_else(|| one.unit.as_deref().map(str::to_owned));
        let (quantity, unit) = match one.name {
            Some(name) => {
                (Some(name.to_owned()), one.unit.as_deref().map(str::to_owned).or_else(own_unit))
            }
            None => (filled(quantity), own_unit()),
        };
        for (member, value) in [("\"quantity\":", quantity), ("\"unit\":", unit)] {
            let Some(value) = value else { continue };
            let separator = if chunk.bytes() > begin { "," } else { "" };
            for part in [separator, member, &value] {
                chunk.put(part.as_bytes());
            }
        }
        chunk.since(begin)
    }

    /// A template, filled; the pointer of a place that nothing fills.
    fn fill<'p>(&self, pieces: &'p [Piece], look: &Look<'_>) -> Result<String, &'p str> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(it) => text.push_str(it),
                Piece::Entry => text.push_str(look.origin.entry),
                Piece::Level(place) => {
                    let level = look.origin.levels.get(*place);
                    text.push_str(level.expect("each named level has its text"));
                }
                Piece::Member(slot, shown) => {
                    let member = at(*slot, &self.found, look.message).and_then(scalar);
                    text.push_str(&member.ok_or(&**shown)?);
                }
                Piece::Key(level) => {
                    let key = match level {
                        Some(level) => look.keys.get(*level).and_then(Option::as_ref),
                        None => look.keys.iter().flatten().last(),
                    };
                    text.push_str(key.ok_or("{key}")?);
                }
            }
        }
        Ok(text)
    }
}
