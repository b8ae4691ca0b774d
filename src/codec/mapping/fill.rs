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

    /// `"tags":{…},"quantity":…,"unit":…`, those that there are, and the value of `quantity` among them.
    pub(super) fn labels(&self, one: &One<'_>, look: &Look<'_>, chunk: &mut Chunk) -> (Span, Span) {
        let Plan { tags, quantity, unit, has_templates, .. } = &self.plan;
        let properties = look.origin.properties;
        let is_plain = !has_templates && properties.is_empty();
        if is_plain && one.name.is_none() && one.unit.is_none() {
            return <(Span, Span)>::default();
        }
        let begin = chunk.bytes();
        let mut before = &b"\"tags\":{"[..];
        for (name, pieces) in tags {
            let place = chunk.bytes();
            for part in [before, name.as_bytes(), b":"] {
                chunk.put(part);
            }
            if self.put(pieces, look, chunk) {
                before = b",";
            } else {
                chunk.take_back(place);
            }
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
        // The name and unit of one of several values go before those of the entry; a unit that was read goes behind.
        let read = one.unit.as_deref();
        let (first, last) = if one.name.is_some() { (read, None) } else { (None, read) };
        let quantity = (one.name, quantity.as_deref(), None);
        let quantity = self.member("\"quantity\":", quantity, (look, begin), chunk);
        self.member("\"unit\":", (first, unit.as_deref(), last), (look, begin), chunk);
        (chunk.since(begin), quantity)
    }

    /// A member behind those that begin there: the first text in JSON, else the template, else the last text; none where
    /// there is none of them. Its value.
    fn member(
        &self,
        name: &str,
        (first, pieces, last): (Option<&str>, Option<&[Piece]>, Option<&str>),
        (look, begin): (&Look<'_>, usize),
        chunk: &mut Chunk,
    ) -> Span {
        let place = chunk.bytes();
        let separator = if place > begin { "," } else { "" };
        for part in [separator, name] {
            chunk.put(part.as_bytes());
        }
        let value = chunk.bytes();
        let is_filled = first.is_none() && pieces.is_some_and(|it| self.put(it, look, chunk));
        match first.or(last) {
            _ if is_filled => {}
            Some(text) => _ = chunk.put(text.as_bytes()),
            None => {
                chunk.take_back(place);
                return Span::default();
            }
        }
        chunk.since(value)
    }

    /// Puts a template as a JSON string, unless a place of it is not filled, or it is longer than a tag may be.
    fn put(&self, pieces: &[Piece], look: &Look<'_>, chunk: &mut Chunk) -> bool {
        let (place, mut bytes) = (chunk.bytes(), 0);
        chunk.put(b"\"");
        let filled = self.texts(pieces, look, |text| {
            bytes += text.len();
            chunk.put_with(|out| text_json::write_inside(out, text));
        });
        let is_filled = filled.is_ok() && bytes <= TAG_BYTES_MAX;
        if is_filled {
            chunk.put(b"\"");
        } else {
            chunk.take_back(place);
        }
        is_filled
    }

    /// A template, filled; the pointer of a place that nothing fills.
    fn fill<'p>(&self, pieces: &'p [Piece], look: &Look<'_>) -> Result<String, &'p str> {
        let mut filled = String::new();
        self.texts(pieces, look, |text| filled.push_str(text))?;
        Ok(filled)
    }

    /// The texts that fill a template; the pointer of the first place that nothing fills.
    fn texts<'p>(
        &self,
        pieces: &'p [Piece],
        look: &Look<'_>,
        mut take: impl FnMut(&str),
    ) -> Result<(), &'p str> {
        for piece in pieces {
            match piece {
                Piece::Text(it) => take(it),
                Piece::Entry => take(look.origin.entry),
                Piece::Level(place) => {
                    let level = look.origin.levels.get(*place);
                    take(level.expect("each named level has its text"));
                }
                Piece::Member(slot, shown) => {
                    let member = at(*slot, &self.found, look.message).and_then(scalar);
                    take(&member.ok_or(&**shown)?);
                }
                Piece::Key(level) => {
                    let key = match level {
                        Some(level) => look.keys.get(*level).and_then(Option::as_ref),
                        None => look.keys.iter().flatten().last(),
                    };
                    take(key.ok_or("{key}")?);
                }
            }
        }
        Ok(())
    }
}
