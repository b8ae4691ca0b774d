//! The settings of a mapping, which every kind of entry with payloads has beside its own.

/// The settings of a kind of entry that has payloads: its own, and those of a mapping.
macro_rules! mapped {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// How payloads are read: the word of a codec.
            #[serde(default)]
            pub payload: crate::codec::Payload,
            /// A program in CEL that makes 0 to n objects of a message, each a reading: `{'value': …, 'timestamp': …,
            /// 'sensorId': …, 'tags': {…}, 'quantity': …, 'unit': …}`; what else one has stays in `extra`. The other
            /// keys are of its objects. Its functions and its limits are in docs/configuration.md. A message of which it
            /// makes none is no reading, and counted as a message; one of which it fails is a dead letter
            /// (`transform`). Not beside `each`, `value` and `values`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub transform: Option<crate::codec::transform::Transform>,
            /// Each element of this array, or each member of this object, is a reading: a JSON pointer, `""` for the
            /// message itself, or several, at most 3, for arrays in arrays: each begins in an element of the one
            /// before it. Pointers begin in the element then; with `$` before them in the message, `"$/time"`. An
            /// element that can be no reading is a dead letter by itself.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub each: Option<crate::codec::mapping::several::Pointers>,
            /// Where the value is: a JSON pointer (RFC 6901), `"/data/0/t"`, or several, of which the first counts
            /// that finds something. A message that has nothing there becomes a dead letter (`missing`), unless
            /// `missing` says otherwise. Absent: the value is the member `value` or, without one, the whole message.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub value: Option<crate::codec::mapping::several::Pointers>,
            /// Several values of a message, by name, at most 256, each a JSON pointer, several, or
            /// `{ from = "/t", unit = "C", missing = "skip" }`. The record's value is an object of them. Not beside
            /// `value`.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub values: std::collections::BTreeMap<String, crate::codec::mapping::keys::Quantity>,
            /// Each of the `values` is a record of its own, with its `quantity` and `unit`.
            #[serde(default)]
            pub split: bool,
            /// The sensor's id: a text with places for topic levels, members of the message and the entry's name,
            /// `"{device}"`, `"{/model}-{/id}"`, `"tasmota-{device}"`, and with `each` the name of the member, `"{key}"`;
            /// or several, of which the first counts that is filled. Absent: the topic level `{sensor}` or, without one, the member `sensorId` or, without it, the
            /// entry's name.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub sensor: Option<crate::codec::mapping::several::Templates>,
            /// What else the records say of their sensor, by name, at most 32: texts with places, as `sensor`. A tag of which a
            /// place is not filled, or that is longer than 1 KiB, is left out.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub tags: std::collections::BTreeMap<String, crate::codec::mapping::template::Template>,
            /// Where the sensor's own time is: a JSON pointer, several, or
            /// `{ from = "/Time", format = "auto", zone = "Europe/Berlin", plausible = { ahead_max = "1d", since =
            /// "2000-01-01" } }`. Records have it as RFC 3339 in UTC. One that cannot be read or is not plausible
            /// stays in `extra` and is counted; the time of receipt stands. Absent: the member `timestamp`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub timestamp: Option<crate::codec::mapping::time_keys::Timestamp>,
            /// What to do with a message that has nothing where its value should be, or its sensor. Absent:
            /// `dead_letter` where `value` or `values` is set, else `whole`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub missing: Option<crate::codec::mapping::keys::Missing>,
            /// What a value has to be.
            #[serde(default, rename = "type")]
            pub kind: crate::codec::mapping::keys::Type,
            /// What to do with a value that is not of the `type`.
            #[serde(default)]
            pub mismatch: crate::codec::mapping::keys::Mismatch,
            /// The sign before the decimals of a number that is sent as text, where `type` is `number`.
            #[serde(default)]
            pub decimal: crate::codec::mapping::keys::Decimal,
            /// What is measured: a text with places, as `sensor`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub quantity: Option<crate::codec::mapping::template::Template>,
            /// The unit of the value: a text with places, as `sensor`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub unit: Option<crate::codec::mapping::template::Template>,
            /// Where the sensor's own count of its readings is, a whole number that is one more each time: a JSON
            /// pointer, or several. Numbers that do not come are counted for each sensor and warned of. The member
            /// stays in the record. Absent: nothing is counted. Not beside `group`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub counter: Option<crate::codec::mapping::several::Pointers>,
            /// How often each sensor reports: a sensor of which nothing comes for one and a half of it is late, for three
            /// of it silent, which is logged, counted and shown. `"none"`: nobody can say, it sends what changes.
            /// Absent: it is learned of each sensor.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub expected_interval: Option<crate::units::ExpectedInterval>,
            /// How many readings each sensor may send, and what becomes of those that are over: `{ rate = "50/s", burst = 100,
            /// over = "shed_newest" }`, `"keep_latest"` or `"dead_letter"`. Absent: as many as it likes.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub quota: Option<crate::policies::quota::Settings>,
            /// Readings that have come before are left out: `{ by = "counter", window = "60s" }`, or by `"timestamp"`. A
            /// repeat has the same count or time, value and labels. Absent: all are taken.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub deduplicate: Option<crate::policies::deduplicate::Settings>,
            /// Readings that say nothing new are left out: `{ deadband = 0.1, min_interval = "1s", heartbeat = "60s" }`,
            /// for each sensor and `quantity`. Absent: all are taken.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub filter: Option<crate::policies::filter::Settings>,
            /// What becomes of what a message holds beside what is read: `"keep"` has it as `extra`, `"drop"` drops it,
            /// and a list of JSON pointers, at most 64, keeps what they lead to, by their last names. With `each` what
            /// the message holds beside the readings is `"$"` in it.
            #[serde(default)]
            pub extra: crate::codec::mapping::keys::Extra,
        }

        impl $name {
            /// How often each sensor reports, where that is set.
            pub fn expected_interval(&self) -> Option<crate::units::ExpectedInterval> {
                self.expected_interval
            }

            /// Which of its readings are left out.
            pub fn policies(&self) -> crate::policies::Settings {
                let Self { quota, deduplicate, filter, .. } = *self;
                crate::policies::Settings { quota, deduplicate, filter }
            }

            /// What its messages mean.
            pub fn mapping(&self) -> Option<crate::codec::mapping::settings::Settings> {
                let it = self.clone();
                Some(crate::codec::mapping::settings::Settings {
                    transform: it.transform,
                    each: it.each,
                    value: it.value,
                    values: it.values,
                    split: it.split,
                    sensor: it.sensor,
                    tags: it.tags,
                    timestamp: it.timestamp,
                    missing: it.missing,
                    kind: it.kind,
                    mismatch: it.mismatch,
                    decimal: it.decimal,
                    quantity: it.quantity,
                    unit: it.unit,
                    counter: it.counter,
                    extra: it.extra,
                })
            }
        }
    };
}

pub(crate) use mapped;

#[cfg(test)]
#[expect(missing_docs, reason = "of tests")]
pub mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    mapped! {
        /// An entry that has nothing of its own.
        pub struct Entry {}
    }
}
