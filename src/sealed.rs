//! A sealed batch: a value that knows no protocol.
//!
//! Its text is what a format wrote, and stays as it is, also in the spool: a batch that is sent again is the
//! same, byte for byte. Where each record ends stands beside the text, so a batch is split by slicing it.
//! What becomes of it on the way (a topic, a file, a row) is its sink's affair ([`crate::sink`]).

use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::codec::{Format, Head};

/// Where a batch goes. The engine compares routes and carries them; its sink knows what one means.
#[derive(Debug, Clone, Eq)]
pub struct Route(Arc<str>);

impl Route {
    /// To the output: the way of all readings, unless its settings make several.
    pub fn output() -> Self {
        static ROUTE: LazyLock<Route> = LazyLock::new(|| Route::named(OUTPUT));
        ROUTE.clone()
    }

    /// The way of all dead letters, unless the output's settings make several.
    pub fn dead_letters() -> Self {
        static ROUTE: LazyLock<Route> = LazyLock::new(|| Route::named(DEAD_LETTERS));
        ROUTE.clone()
    }

    /// The way to one of the output's places.
    pub fn output_at(place: &str) -> Self {
        Self(format!("{OUTPUT}{AT}{place}").into())
    }

    /// The same for dead letters.
    pub fn dead_letters_at(place: &str) -> Self {
        Self(format!("{DEAD_LETTERS}{AT}{place}").into())
    }

    /// Whether it leads to the output.
    pub fn is_output(name: &str) -> bool {
        name.strip_prefix(OUTPUT).is_some_and(|it| it.is_empty() || it.starts_with(AT))
    }

    /// The place that it leads to, where there are several.
    pub fn place_in(name: &str) -> Option<&str> {
        name.split_once(AT).map(|(_, place)| place)
    }

    /// The route of this name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name, by which the spool knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of the readings' way, and of the dead letters'.
const OUTPUT: &str = "output";
const DEAD_LETTERS: &str = "dead-letters";

/// What stands before a place.
const AT: char = ':';

impl PartialEq for Route {
    /// The same text is mostly the same piece of memory: it need not be read for each record.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// What a batch carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Readings of one route, written so, sealed then.
    Readings {
        route: Route,
        /// How it is written.
        format: Format,
        /// When it was sealed.
        sealed_at: Timestamp,
    },
    /// Dead letters of one route: one as a JSON object, several as an array of them.
    DeadLetters { route: Route },
}

/// A sealed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub gateway: String,
    /// The batch's id; empty for a dead letter that an older program wrote to the spool.
    pub id: String,
    /// What it carries.
    pub kind: Kind,
    pub count: usize,
    /// The batch as it is written.
    pub text: Bytes,
    /// Where the records stand in it; `None` where that is not known: a batch of the spool.
    pub places: Option<Places>,
}

/// Where the records of a text stand: one behind the other, with as many bytes between each two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where the first begins.
    pub begin: u32,
    /// Where each ends, counted from `begin`.
    pub ends: Box<[u32]>,
    /// Bytes between two.
    pub between: u32,
}

/// Bytes that a record's place takes.
pub const PLACE_BYTES: usize = size_of::<u32>();

impl Sealed {
    /// A batch of readings, as a format joins them, each of which ends there; it is written into `out`, which is
    /// empty.
    pub fn readings(
        head: &Head<'_>,
        route: Route,
        format: Format,
        records: &[u8],
        ends: Box<[u32]>,
        out: Vec<u8>,
    ) -> Self {
        let (begin, text) = format.batch(head, records, out);
        Self {
            gateway: head.gateway.to_owned(),
            id: head.batch.to_owned(),
            kind: Kind::Readings { route, format, sealed_at: head.sealed_at },
            count: head.count,
            text: text.into(),
            places: Some(Places {
                begin: place(begin),
                ends,
                between: place(format.separator().len()),
            }),
        }
    }

    /// A batch of no text yet that is otherwise like this one.
    #[must_use]
    pub fn like(&self, id: String, count: usize) -> Self {
        let (gateway, kind) = (self.gateway.clone(), self.kind.clone());
        Self { gateway, id, kind, count, text: Bytes::new(), places: None }
    }

    /// Whether it carries dead letters.
    pub fn is_letters(&self) -> bool {
        matches!(self.kind, Kind::DeadLetters { .. })
    }

    /// Where it goes.
    pub fn route(&self) -> &Route {
        match &self.kind {
            Kind::Readings { route, .. } | Kind::DeadLetters { route } => route,
        }
    }
}

impl Places {
    /// The record at each place.
    pub fn of<'a>(&self, text: &'a [u8]) -> Vec<&'a [u8]> {
        let mut begin = self.begin as usize;
        let record = |end: &u32| {
            let end = self.begin as usize + *end as usize;
            let record = text.get(begin..end).expect("a place lies in its text");
            begin = end + self.between as usize;
            record
        };
        self.ends.iter().map(record).collect()
    }
}

/// A place in a text. A packet holds far fewer bytes than a `u32` counts (MQTT 5 §1.5.5), and so does a
/// batch.
pub fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a batch is smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::samples;

    /// A buffer that doubled would hold more than the bound on memory has for a batch.
    #[test]
    fn a_buffer_that_is_too_small_grows_to_what_a_batch_needs() {
        let records = vec![b'1'; 1000];
        for format in Format::ALL.iter().copied() {
            let sealed_at = Timestamp::from_millis(0);
            let head = Head { gateway: "gw-1", batch: "b", sealed_at, count: 1 };
            let (_, text) = format.batch(&head, &records, Vec::with_capacity(900));
            assert!(text.capacity() < 1200, "{format:?}: {}", text.capacity());
        }
    }

    #[test]
    fn the_places_name_the_records_as_they_were_written() {
        for format in Format::ALL.iter().copied() {
            let (gateway, batch, sealed_at) = ("gw\"1", "b", Timestamp::from_millis(0));
            let head = Head { gateway, batch, sealed_at, count: 3 };
            let written = ["\"a\"", "\"a,b\"", "\"{\""].map(|id| samples::record(format, id, "1"));
            let (joined, mut end) = (written.join(format.separator()), 0);
            let ends = written.each_ref().map(|it| {
                end += it.len();
                let this = place(end);
                end += format.separator().len();
                this
            });
            let ends = ends.into();
            let sealed =
                Sealed::readings(&head, Route::output(), format, &joined, ends, Vec::new());
            let records = sealed.places.as_ref().unwrap().of(&sealed.text);
            assert_eq!(records, written);
            assert_eq!(records, format.records(&sealed.text), "as one who reads it finds them");
        }
    }
}
