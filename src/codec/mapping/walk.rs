//! Finds what is wanted of a JSON text, and writes what is left, without a tree of it.
//!
//! What is wanted is a tree of pointers for the document, and one for the message that holds it ([`Wanted`]). One pass
//! over a text finds the places of all of its pointers, and copies the members that lead to none of them. A member on the way to one is copied without it: what is taken from
//! inside is not left there twice. An element that is taken out of an array leaves `null`, so that the others keep
//! their places.
//!
//! The last of two members of one name counts, as in most readers (RFC 8259 §4).

use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::slots::{Slot, Slots};
use crate::codec::pointer::{Name, Pointer};
use crate::codec::strict::Marks;
use crate::codec::{one_line, plain, text_json};

/// The pointers that are wanted, as trees.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    document: Node,
    message: Node,
    /// Of each pointer: whether it begins in the message.
    of_message: Vec<bool>,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The document, which may be a part of the message.
    Document,
    /// The message around several documents.
    Message,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<Slot>,
    children: Vec<Child>,
}

impl Node {
    /// Whether nothing is wanted by it.
    const fn is_empty(&self) -> bool {
        self.slot.is_none() && self.children.is_empty()
    }
}

#[derive(Debug)]
struct Child {
    name: Box<str>,
    /// The same as the place of an element.
    index: Option<usize>,
    node: Node,
}

impl Wanted {
    /// Adds a pointer, if it is not there. Returns its number.
    pub(super) fn add(&mut self, pointer: &Pointer, scope: Scope) -> Slot {
        let mut node = match scope {
            Scope::Document => &mut self.document,
            Scope::Message => &mut self.message,
        };
        for level in pointer.levels() {
            let at = node.children.iter().position(|it| &*it.name == level);
            let at = at.unwrap_or_else(|| {
                let (name, index) = (level.into(), index(level));
                node.children.push(Child { name, index, node: Node::default() });
                node.children.len() - 1
            });
            node = &mut node.children.get_mut(at).expect("it was found or pushed").node;
        }
        *node.slot.get_or_insert_with(|| {
            self.of_message.push(scope == Scope::Message);
            self.of_message.len() - 1
        })
    }

    fn tree(&self, scope: Scope) -> &Node {
        match scope {
            Scope::Document => &self.document,
            Scope::Message => &self.message,
        }
    }

    /// Whether one may lead into an array that is the whole text.
    pub(super) fn enters_arrays(&self, scope: Scope) -> bool {
        let root = self.tree(scope);
        root.slot.is_some() || root.children.iter().any(|it| it.index.is_some())
    }

    /// How many pointers there are.
    pub(super) fn slots(&self) -> usize {
        self.of_message.len()
    }

    /// Of each pointer, whether it begins in the message.
    pub(super) fn of_message(&self) -> &[bool] {
        &self.of_message
    }

    /// Forgets what was found in such a text.
    #[inline]
    pub(super) fn clear(&self, scope: Scope, found: &mut Found) {
        if self.message.is_empty() {
            found.clear();
            found.resize(self.slots(), None);
            return;
        }
        found.resize(self.slots(), None);
        for (found, of_message) in found.iter_mut().zip(&self.of_message) {
            if *of_message == (scope == Scope::Message) {
                *found = None;
            }
        }
    }
}

/// The place of an array's element that a level means (RFC 6901 §4): without leading zeros.
fn index(level: &str) -> Option<usize> {
    let is_number = level.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (level == "0" || !level.starts_with('0'))).then(|| level.parse().ok())?
}

/// Where in the message each pointer leads to.
pub(super) type Found = Vec<Option<Range<usize>>>;

/// Walks over one text.
pub(super) struct Walk<'w, 'a> {
    /// The message: places are places in it.
    pub(super) message: &'a str,
    /// Of the message. Where they are unknown, the walk finds them out.
    pub(super) marks: Marks,
    /// Where the pointers lead to.
    pub(super) found: &'w mut Found,
    /// Which of them are taken out of the rest.
    pub(super) taken: &'w Slots,
    /// The rest: members joined by commas.
    pub(super) rest: &'w mut Vec<u8>,
}

impl<'a> Walk<'_, 'a> {
    /// Begins a text of the message, of any kind: forgets what was found in such a text, and finds what is all of it.
    pub(super) fn begin(&mut self, json: &'a str, wanted: &Wanted, scope: Scope) {
        wanted.clear(scope, self.found);
        if let Some(slot) = wanted.tree(scope).slot {
            self.find(slot, json);
        }
    }

    /// Walks over a text of the message that was begun, of which the root is an object or an array. The rest of an object are its
    /// members; of an array it is nothing.
    pub(super) fn run(
        &mut self,
        json: &'a str,
        wanted: &Wanted,
        scope: Scope,
    ) -> serde_json::Result<()> {
        let root = wanted.tree(scope);
        let is_taken = root.slot.is_some_and(|it| self.taken.has(it));
        let is_object = json.starts_with('{');
        if !is_object {
            self.know();
        }
        self.walk(json, root, is_object && !is_taken)
    }

    /// Finds out which marks the message has, where nobody has.
    pub(super) fn know(&mut self) {
        if self.marks == Marks::UNKNOWN {
            self.marks = Marks::of(self.message);
        }
    }

    /// Walks over an object or an array; writes the rest of it if it is kept.
    fn walk(&mut self, json: &'a str, node: &Node, keeps: bool) -> serde_json::Result<()> {
        if json.starts_with('{') && self.marks.may_be_plain() {
            if self.is_walked(json, node, keeps) {
                return Ok(());
            }
            self.marks = Marks::of_other(self.message);
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        deserializer.deserialize_any(Level { walk: self, node, keeps })?;
        deserializer.end()
    }

    /// Walks over an object that is plain. Where it is not, nothing is written, and what was found is to be found again.
    fn is_walked(&mut self, json: &'a str, node: &Node, keeps: bool) -> bool {
        self.marks = Marks::PLAIN;
        let begin = self.rest.len();
        let is_walked =
            plain::members(json, |name, raw| self.member(name, raw, node, (keeps, begin)).is_ok());
        if !is_walked {
            self.rest.truncate(begin);
        }
        is_walked
    }

    /// Takes a member of an object, of which the rest is kept, and begins there.
    #[inline]
    fn member(
        &mut self,
        name: &str,
        raw: &'a str,
        node: &Node,
        (keeps, begin): (bool, usize),
    ) -> serde_json::Result<()> {
        let child = node.children.iter().find(|it| *it.name == *name);
        if let Some(child) = child
            && self.takes_whole(raw, &child.node)
        {
            return Ok(());
        }
        let before = self.rest.len();
        if keeps {
            self.name(name, before > begin);
        }
        if !self.child(raw, child, keeps)? {
            self.rest.truncate(before);
        }
        Ok(())
    }

    fn find(&mut self, slot: Slot, raw: &str) {
        let start = raw.as_ptr().addr() - self.message.as_ptr().addr();
        if let Some(found) = self.found.get_mut(slot) {
            *found = Some(start..start + raw.len());
        }
    }

    /// Takes a member of which nothing is looked for inside, and nothing is left. Whether it is one.
    fn takes_whole(&mut self, raw: &str, node: &Node) -> bool {
        let Some(slot) = node.slot.filter(|_| node.children.is_empty()) else { return false };
        let is_taken = self.taken.has(slot);
        if is_taken {
            self.find(slot, raw);
        }
        is_taken
    }

    /// Begins a member of the rest, behind others or not.
    fn name(&mut self, name: &str, behind: bool) {
        if behind {
            self.rest.push(b',');
        }
        text_json::write(self.rest, name);
        self.rest.push(b':');
    }

    /// Takes a member or an element that pointers may lead to. Whether anything of it was written as rest.
    fn child(
        &mut self,
        raw: &'a str,
        child: Option<&Child>,
        keeps: bool,
    ) -> serde_json::Result<bool> {
        if let Some(child) = child {
            return self.take(raw, &child.node, keeps);
        }
        if keeps {
            one_line::write(self.rest, raw, self.marks);
        }
        Ok(keeps)
    }

    /// Takes a member or an element that pointers lead to, or through. Whether anything of it was written as rest.
    fn take(&mut self, raw: &'a str, node: &Node, keeps: bool) -> serde_json::Result<bool> {
        let is_taken = node.slot.is_some_and(|it| self.taken.has(it));
        if let Some(slot) = node.slot {
            self.find(slot, raw);
        }
        let keeps = keeps && !is_taken;
        if node.children.is_empty() || !raw.starts_with(['{', '[']) {
            if keeps {
                one_line::write(self.rest, raw, self.marks);
            }
            return Ok(keeps);
        }
        let (open, close) = if raw.starts_with('{') { (b'{', b'}') } else { (b'[', b']') };
        if !keeps {
            self.walk(raw, node, false)?;
            return Ok(false);
        }
        self.rest.push(open);
        let begin = self.rest.len();
        self.walk(raw, node, true)?;
        let had_any = raw.get(1..raw.len() - 1).is_some_and(|it| !it.trim().is_empty());
        let is_left = self.rest.len() > begin || !had_any;
        self.rest.push(close);
        Ok(is_left)
    }
}

/// One level of the text.
struct Level<'l, 'w, 'a> {
    walk: &'l mut Walk<'w, 'a>,
    node: &'l Node,
    keeps: bool,
}

impl<'a> Visitor<'a> for Level<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { walk, node, keeps } = self;
        let begin = walk.rest.len();
        while let Some(Name(name)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            let member = walk.member(&name, raw.get(), node, (keeps, begin));
            member.map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { walk, node, keeps } = self;
        let begin = walk.rest.len();
        let (mut at, mut is_any_left) = (0, false);
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            let child = node.children.iter().find(|it| it.index == Some(at));
            if keeps && at > 0 {
                walk.rest.push(b',');
            }
            let before = walk.rest.len();
            let is_left = walk.child(raw.get(), child, keeps).map_err(serde::de::Error::custom)?;
            if keeps && !is_left {
                walk.rest.truncate(before);
                walk.rest.extend_from_slice(b"null");
            }
            is_any_left |= is_left;
            at += 1;
        }
        if !is_any_left {
            walk.rest.truncate(begin);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pointers find, and what is left of a text without those of `taken`.
    fn walked(json: &str, pointers: &[&str], taken: &[&str]) -> (Vec<Option<String>>, String) {
        let mut wanted = Wanted::default();
        let pointer = |text: &str| Pointer::try_from(text.to_owned()).unwrap();
        let add = |wanted: &mut Wanted, text: &str| wanted.add(&pointer(text), Scope::Document);
        let slots: Vec<Slot> = pointers.iter().map(|it| add(&mut wanted, it)).collect();
        let mut is_taken = Slots::none(wanted.slots());
        for text in taken {
            is_taken.add([add(&mut wanted, text)]);
        }
        let (mut found, mut rest) = (Found::new(), Vec::new());
        let (found_in, taken, rest_in) = (&mut found, &is_taken, &mut rest);
        let marks = Marks::UNKNOWN;
        let mut walk = Walk { message: json, marks, found: found_in, taken, rest: rest_in };
        walk.begin(json, &wanted, Scope::Document);
        walk.run(json, &wanted, Scope::Document).unwrap();
        let text =
            |slot: &Slot| found[*slot].clone().and_then(|it| json.get(it).map(str::to_owned));
        (slots.iter().map(text).collect(), String::from_utf8(rest).unwrap())
    }

    #[track_caller]
    fn finds(json: &str, pointers: &[(&str, Option<&str>)], rest: &str) {
        let names: Vec<&str> = pointers.iter().map(|it| it.0).collect();
        let taken: Vec<&str> = pointers.iter().filter(|it| it.1.is_some()).map(|it| it.0).collect();
        let (found, left) = walked(json, &names, &taken);
        let expected: Vec<Option<String>> =
            pointers.iter().map(|it| it.1.map(str::to_owned)).collect();
        assert_eq!((found, &*left), (expected, rest), "{json}");
        let left = format!("{{{left}}}");
        assert!(serde_json::from_str::<serde_json::Value>(&left).is_ok(), "{left}");
    }

    #[test]
    fn pointers_lead_into_objects_and_arrays_as_the_standard_says() {
        finds(
            r#"{"a":{"b":[1,{"c":2},3],"d":4},"e":5,"a/b~":6,"":7}"#,
            &[
                ("/a/b/1/c", Some("2")),
                ("/a/d", Some("4")),
                ("/a~1b~0", Some("6")),
                ("/", Some("7")),
                ("/a/b/01/c", None),
                ("/a/b/7", None),
                ("/a/b/x", None),
                ("/e/f", None),
                ("/nothing", None),
            ],
            r#""a":{"b":[1,null,3]},"e":5"#,
        );
    }

    #[test]
    fn what_is_taken_from_inside_is_not_left_there() {
        for (json, pointers, rest) in [
            (r#"{"a":{"b":1},"c":2}"#, &["/a/b"][..], r#""c":2"#),
            (r#"{"a":{"b":1,"d":3},"c":2}"#, &["/a/b"], r#""a":{"d":3},"c":2"#),
            (r#"{"a":{},"c":2}"#, &["/a/b"], r#""a":{},"c":2"#),
            (r#"{"a":[1,2],"c":2}"#, &["/a/0", "/a/1"], r#""c":2"#),
            (r#"{"a":[1,2]}"#, &["/a/0"], r#""a":[null,2]"#),
            (r#"{"a":[ ]}"#, &["/a/0"], r#""a":[]"#),
            (r#"{"a":"x"}"#, &["/a/b"], r#""a":"x""#),
            (r#"{"a":{"b":{"c":1}}}"#, &["/a", "/a/b/c"], ""),
            (r#"{"a":1,"a":2}"#, &["/a"], ""),
            (r#"{"c":2,"a":1,"d":1e5}"#, &["/a"], r#""c":2,"d":1e5"#),
            (r#"{"c":2,"a":{"b":1,"x":3},"d":"\n"}"#, &["/a/b"], r#""c":2,"a":{"x":3},"d":"\n""#),
            ("{\"a\":{\"b\":1,\n\"d\":[1,\n2]}}", &["/a/b"], r#""a":{"d":[1,2]}"#),
        ] {
            assert_eq!(walked(json, pointers, pointers).1, rest, "{json}");
        }
        let (found, rest) = walked(r#"{"a":{"b":{"c":1}}}"#, &["/a", "/a/b/c"], &["/a/b/c"]);
        assert_eq!(found, [Some(r#"{"b":{"c":1}}"#.to_owned()), Some("1".to_owned())]);
        assert_eq!(rest, "");
    }

    #[test]
    fn what_is_found_and_not_taken_stays() {
        let (found, rest) = walked(r#"{"a":1,"b":{"c":2}}"#, &["/a", "/b/c"], &["/a"]);
        assert_eq!(found, [Some("1".to_owned()), Some("2".to_owned())]);
        assert_eq!(rest, r#""b":{"c":2}"#);
        let (found, rest) = walked("[1,[2,3]]", &["/1/0", ""], &["/1/0"]);
        assert_eq!(found, [Some("2".to_owned()), Some("[1,[2,3]]".to_owned())]);
        assert_eq!(rest, "", "an array has no members");
    }
}
