//! The elements of an array, or the members of an object, one after the other, without a tree of them.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::pointer::Name;

/// Hands over each element of an array, or each member of an object with its name, as JSON text, until it breaks: then
/// the rest is not looked at. An error where the text is neither.
pub(super) fn each<'a>(
    json: &'a str,
    take: impl FnMut(Option<Cow<'a, str>>, &'a str) -> ControlFlow<()>,
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_any(Members(take))
}

struct Members<F>(F);

impl<'a, F> Visitor<'a> for Members<F>
where
    F: FnMut(Option<Cow<'a, str>>, &'a str) -> ControlFlow<()>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            if (self.0)(None, raw.get()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            if (self.0)(Some(name), raw.get()).is_break() {
                break;
            }
        }
        Ok(())
    }
}
