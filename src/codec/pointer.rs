//! JSON pointers (RFC 6901) to members of objects, and what they lead to, without a copy.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A JSON pointer to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 2, "pattern" = "^/", "examples" = ["/value", "/data/t"]))]
pub struct Pointer {
    path: Vec<String>,
}

impl Pointer {
    /// To a member of the object itself.
    pub(super) fn to_member(name: &str) -> Self {
        Self { path: vec![name.to_owned()] }
    }

    /// What is left of it inside the member called `name`; `None` if it does not lead there.
    pub(super) fn below(&self, name: &str) -> Option<Below<'_>> {
        let (first, rest) = self.path.split_first()?;
        (first == name).then_some(Below(rest))
    }
}

/// The levels of a pointer below a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Below<'p>(&'p [String]);

impl Below<'_> {
    /// The member itself.
    pub(super) const WHOLE: Self = Self(&[]);

    /// Whether it is the member itself.
    pub(super) fn is_whole(self) -> bool {
        self.0.is_empty()
    }

    /// The value that it leads to, below `raw`.
    pub(super) fn find(self, raw: &RawValue) -> serde_json::Result<Option<&RawValue>> {
        find(raw, self.0)
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let rest = text.strip_prefix('/').filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| format!("{text:?} is no JSON pointer: write \"/value\""))?;
        Ok(Self {
            path: rest.split('/').map(|it| it.replace("~1", "/").replace("~0", "~")).collect(),
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        let escaped = pointer.path.iter().map(|it| it.replace('~', "~0").replace('/', "~1"));
        escaped.fold(Self::new(), |text, level| text + "/" + &level)
    }
}

/// A member's name, borrowed where it holds no escape.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The value at `path` below `raw`.
fn find<'a>(raw: &'a RawValue, path: &[String]) -> serde_json::Result<Option<&'a RawValue>> {
    let Some((first, rest)) = path.split_first() else { return Ok(Some(raw)) };
    if !raw.get().starts_with('{') {
        return Ok(None);
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    match Member(first).deserialize(&mut deserializer)? {
        Some(inner) => find(inner, rest),
        None => Ok(None),
    }
}

/// Looks one member of an object up.
struct Member<'n>(&'n str);

impl<'a> DeserializeSeed<'a> for Member<'_> {
    type Value = Option<&'a RawValue>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Member<'_> {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
