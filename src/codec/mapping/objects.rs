//! Readings of the objects that a `transform` makes of a document: each is a document of its own.

use std::ops::ControlFlow;

use serde_json::value::RawValue;

use super::settings::Settings;
use super::{Keys, Look, Mapping, Origin, Read, Take, malformed};
use crate::codec::strict::{self, Marks};
use crate::codec::transform::{Object, Scene, Transform};
use crate::codec::{Malformed, transform};
use crate::record::{Chunk, Span};

/// Bytes that an entry with a `transform` holds while it makes the objects of a document, at most: the values and the
/// object that is written, in buffers that grow.
pub const TRANSFORM_BYTES: u64 = 3 * transform::BYTES_MAX as u64;

/// What makes the objects of an entry's documents.
#[derive(Debug)]
pub(super) struct Objects {
    transform: Transform,
    /// The topic levels, in the order of [`Origin::levels`].
    levels: Vec<String>,
}

impl Objects {
    pub(super) fn new(settings: &Settings, levels: &[String]) -> Option<Self> {
        let transform = settings.transform.clone()?;
        Some(Self { transform, levels: levels.to_vec() })
    }

    /// Whether it uses a level of the topic.
    pub(super) fn needs_levels(&self) -> bool {
        !self.transform.levels().is_empty()
    }
}

impl Mapping {
    /// Reads the objects that are made of a document.
    pub(super) fn read_objects(
        &mut self,
        objects: &Objects,
        look: &Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let Look { json, origin, .. } = *look;
        if let Err(malformed) = check(json, look.marks) {
            return take(chunk, None, Err(malformed));
        }
        let levels = (&*objects.levels, origin.levels);
        let scene = Scene { json, levels, entry: origin.entry, received: origin.received };
        let mut count = 0;
        let (steps, flow) = objects.transform.run(scene, &mut |made| {
            count += 1;
            match made {
                Ok(object) => self.read_object(&object, count, origin, chunk, take),
                Err(malformed) => take(chunk, None, Err(malformed)),
            }
        });
        self.steps = self.steps.saturating_add(steps);
        if count == 0 { self.skip() } else { flow }
    }

    fn read_object(
        &mut self,
        object: &Object<'_>,
        number: usize,
        origin: &Origin<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        // What the object says goes before what the sender wrote beside the message.
        let tags = object.tags.iter().map(|(name, text)| (&**name, &**text));
        let is_new = |it: &&(&str, &str)| !object.tags.iter().any(|tag| tag.0 == it.0);
        let beside = origin.properties.iter().filter(is_new).copied();
        let properties: Vec<(&str, &str)> = tags.chain(beside).collect();
        let look = Look {
            message: object.json,
            json: object.json,
            marks: Marks::of(object.json),
            rest: Span::default(),
            origin: &Origin { properties: &properties, ..*origin },
            keys: &Keys::default(),
        };
        let place = |mut it: Malformed| {
            it.detail = format!("{} (object {number} of transform)", it.detail);
            it
        };
        // A dead letter has the message as it came: the object is ours.
        let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
            take(chunk, None, read.map_err(place))
        };
        match self.look(look, chunk) {
            Ok(look) => self.make(&look, chunk, &mut take),
            Err(malformed) => take(chunk, None, Err(malformed)),
        }
    }
}

/// Whether a document is one that any reader takes: a program looks at parts of it only.
fn check(json: &str, marks: Marks) -> Result<(), Malformed> {
    serde_json::from_str::<&RawValue>(json).map_err(|error| malformed(json, &error))?;
    strict::check(json, marks)
}
