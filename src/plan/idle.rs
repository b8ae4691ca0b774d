//! Settings that are valid and in vain: places where nothing can ever be, and keys that nothing can ever use.
//!
//! A rule warns only of what no message can change. Each is a function of the list below, and looks at one entry.

use std::collections::BTreeSet;

use super::Plan;
use crate::clock::{self, Timestamp};
use crate::codec::mapping::keys::{Decimal, Extra, Mismatch, Type};
use crate::codec::mapping::settings::Settings;
use crate::codec::mapping::several::{Pointers, Templates};
use crate::codec::mapping::template::Template;
use crate::codec::mapping::time_keys::{TimeFormat, Zone};
use crate::codec::pattern::Pattern;
use crate::codec::pointer::Pointer;
use crate::codec::{Codec, Format};
use crate::mqtt::options::Version;
use crate::source::mqtt::{OnExpiry, Properties};
use crate::source::{Kind, mqtt};

/// An entry that has payloads, as the rules see it.
struct Entry<'p> {
    kind: &'p Kind,
    codec: &'p Codec,
    mapping: Settings,
    version: Version,
}

/// A key of the entry's section, and what of it is in vain, with the remedy.
type Idle = (String, String);

/// What each entry is asked.
const RULES: [fn(&Entry<'_>) -> Vec<Idle>; 12] = [
    idle_ignores,
    ignored_topics,
    properties_of_none,
    members_of_none,
    fields_of_senml,
    later_places,
    later_templates,
    zone_of_offsets,
    window_of_no_time,
    numbers_of_none,
    units_of_one_record,
    quantity_of_several,
];

impl Plan {
    /// What is in vain: key, and why, with the remedy.
    pub(super) fn idle(&self) -> Vec<Idle> {
        let mut idle = Vec::new();
        for (name, kind) in &self.sensors {
            let (Some(mapping), Some(payload)) = (kind.mapping(), kind.payload()) else { continue };
            let version = self.broker.version;
            let entry = Entry { kind, codec: &payload.0, mapping, version };
            let of = |(key, text)| (format!("sensors.{name}.{}.{key}", kind.name()), text);
            idle.extend(RULES.iter().flat_map(|rule| rule(&entry)).map(of));
        }
        idle.extend(self.places_of_the_output());
        idle
    }

    /// Places of the output that no record, or no dead letter, fills.
    fn places_of_the_output(&self) -> Vec<Idle> {
        let mut idle = Vec::new();
        for (key, pattern) in self.patterns() {
            for tag in pattern.tags().filter(|it| !self.gives_tag(it)) {
                let text = format!(
                    "has a place for {{tag.{tag}}}, and no entry gives it: let one say tags = {{ {tag} = \"…\" }}, or \
                     remove it"
                );
                idle.push((key.clone(), text));
            }
            if pattern.has_quantity() && !self.gives_quantity() {
                let text = "has a place for {quantity}, and no entry gives it: let one say its `quantity`, or `split` \
                            its `values`, or remove it";
                idle.push((key, text.to_owned()));
            }
        }
        let letters = self.mqtt_output().map(|it| it.dead_letter_topic.pattern());
        if let Some(letters) = letters.filter(|it| it.has_quantity() || it.tags().next().is_some())
        {
            let text = format!(
                "{} has a place for a tag or a quantity, and dead letters have none: remove it",
                letters.as_str()
            );
            idle.push(("output.mqtt.dead_letter_topic".to_owned(), text));
        }
        idle
    }

    /// What readings fill, by key.
    fn patterns(&self) -> Vec<(String, &Pattern)> {
        let topic = self.mqtt_output().map(|it| it.topic.pattern());
        let topic = topic.map(|it| ("output.mqtt.topic".to_owned(), it)).into_iter();
        if self.output.format != Format::Influx {
            return topic.collect();
        }
        let influx = &self.output.influx;
        let own = influx.field.iter().map(|it| ("output.influx.field".to_owned(), it));
        let own = own.chain([("output.influx.measurement".to_owned(), &influx.measurement)]);
        let tags = influx.tags.iter().map(|(name, it)| (format!("output.influx.tags.{name}"), it));
        topic.chain(own).chain(tags).collect()
    }

    /// What the messages of each entry mean, as their codec has it.
    fn mappings(&self) -> impl Iterator<Item = Settings> {
        let of = |kind: &Kind| Some(kind.payload()?.completed(kind.mapping()?));
        self.sensors.values().filter_map(of)
    }

    fn gives_tag(&self, tag: &str) -> bool {
        // An object of a program may have any.
        let by_mapping = |it: Settings| it.transform.is_some() || it.tags.contains_key(tag);
        let by_sender = |kind: &Kind| match kind {
            Kind::Mqtt(settings) => match &settings.properties {
                Properties::None => false,
                Properties::All => true,
                Properties::These(names) => names.iter().any(|it| it == tag),
            },
            _ => false,
        };
        self.mappings().any(by_mapping) || self.sensors.values().any(by_sender)
    }

    fn gives_quantity(&self) -> bool {
        let gives = |it: Settings| {
            it.quantity.is_some() || it.transform.is_some() || it.split && !it.values.is_empty()
        };
        self.mappings().any(gives)
    }
}

impl Entry<'_> {
    fn mqtt(&self) -> Option<&mqtt::Settings> {
        if let Kind::Mqtt(settings) = self.kind { Some(settings) } else { None }
    }

    /// Whether places are those of a program's objects, and not of what the codec reads.
    const fn has_objects(&self) -> bool {
        self.mapping.transform.is_some()
    }

    /// Lists of which the first place counts that finds something.
    fn alternatives(&self) -> Vec<(String, &Pointers)> {
        let it = &self.mapping;
        let values = it.values.iter().map(|(name, it)| (format!("values.{name}"), &it.from));
        let single = [
            ("value", it.value.as_ref()),
            ("timestamp", it.timestamp.as_ref().map(|it| &it.from)),
            ("counter", it.counter.as_ref()),
        ];
        let single = single.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?)));
        values.chain(single).collect()
    }

    fn templates(&self) -> Vec<(String, &Template)> {
        let it = &self.mapping;
        let sensors =
            it.sensor.iter().flat_map(Templates::iter).map(|it| ("sensor".to_owned(), it));
        let tags = it.tags.iter().map(|(name, it)| (format!("tags.{name}"), it));
        let single = [("quantity", it.quantity.as_ref()), ("unit", it.unit.as_ref())];
        let single = single.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?)));
        sensors.chain(tags).chain(single).collect()
    }

    /// Every place in a message that is read.
    fn places(&self) -> Vec<(String, &Pointer)> {
        let each = self.mapping.each.iter().map(|it| ("each".to_owned(), it));
        let lists = each.chain(self.alternatives());
        let lists = lists.flat_map(|(key, all)| all.iter().map(move |it| (key.clone(), it)));
        let templates = self.templates().into_iter();
        let templates =
            templates.flat_map(|(key, it)| it.members().map(move |it| (key.clone(), it)));
        let extra = if let Extra::These(all) = &self.mapping.extra { &**all } else { &[] };
        let extra = extra.iter().map(|it| ("extra".to_owned(), it));
        lists.chain(templates).chain(extra).collect()
    }
}

/// Topics that are left out and would never come.
fn idle_ignores(entry: &Entry<'_>) -> Vec<Idle> {
    let filters = entry.mqtt().map(mqtt::Settings::idle_ignores).unwrap_or_default();
    let text = |filter| format!("{filter} is part of no topic of the entry: it leaves nothing out");
    filters.into_iter().map(|it| ("ignore".to_owned(), text(it))).collect()
}

/// Topics of which every message is left out.
fn ignored_topics(entry: &Entry<'_>) -> Vec<Idle> {
    let Some(settings) = entry.mqtt() else { return Vec::new() };
    let ignored = settings.filters().filter_map(|filter| {
        let by = settings.ignore.iter().find(|it| it.covers(filter))?;
        let text = format!(
            "{filter} is left out as a whole by ignore = \"{by}\": none of its messages is a reading; narrow that, or \
             remove the topic"
        );
        Some((settings.topic_key().to_owned(), text))
    });
    ignored.collect()
}

/// Settings of properties that messages of MQTT 3.1.1 do not have.
fn properties_of_none(entry: &Entry<'_>) -> Vec<Idle> {
    let Some(settings) = entry.mqtt().filter(|_| entry.version == Version::V3) else {
        return Vec::new();
    };
    let set = [
        ("properties", !settings.properties.is_none()),
        ("expiry", settings.expiry != OnExpiry::default()),
    ];
    let text = "has no effect with version = 3: messages of MQTT 3.1.1 have no properties";
    let keys = set.into_iter().filter(|it| it.1);
    keys.map(|(key, _)| (key.to_owned(), text.to_owned())).collect()
}

/// Places in payloads that are one text.
fn members_of_none(entry: &Entry<'_>) -> Vec<Idle> {
    let word = match entry.codec {
        _ if entry.has_objects() => return Vec::new(),
        Codec::Text(_) => "text",
        Codec::Raw(_) => "raw",
        _ => return Vec::new(),
    };
    let in_vain = |(key, pointer): (String, &Pointer)| {
        let is_inside = key == "each" || pointer.levels().next().is_some();
        let text = || {
            format!(
                "has {:?}, and a payload of \"{word}\" is one text, without members: nothing is ever there; write \
                 payload = \"json\", or remove it",
                pointer.to_string()
            )
        };
        is_inside.then(|| (key, text()))
    };
    entry.places().into_iter().filter_map(in_vain).collect()
}

/// What a field of `SenML` becomes in a record that is resolved.
const RESOLVED: [(&str, &str); 15] = [
    ("n", "/sensorId"),
    ("bn", "/sensorId"),
    ("v", "/value"),
    ("vs", "/value"),
    ("vb", "/value"),
    ("vd", "/value"),
    ("bv", "/value"),
    ("u", "/unit"),
    ("bu", "/unit"),
    ("t", "/timestamp"),
    ("bt", "/timestamp"),
    ("s", "/sum"),
    ("bs", "/sum"),
    ("ut", "/updateTime"),
    ("bver", "nothing"),
];

/// Places in records of `SenML` that are gone when they are resolved, or lead into a single value.
fn fields_of_senml(entry: &Entry<'_>) -> Vec<Idle> {
    if entry.has_objects() || !matches!(entry.codec, Codec::Senml(_)) {
        return Vec::new();
    }
    let in_vain = |(key, pointer): (String, &Pointer)| {
        let mut levels = pointer.levels();
        let first = levels.next()?;
        let is_inside = key == "each" || levels.next().is_some();
        if let Some((_, becomes)) = RESOLVED.iter().find(|it| it.0 == first) {
            let text = format!(
                "has {pointer}, and a record of SenML is resolved: its \"{first}\" becomes {becomes}; write that, or \
                 remove it"
            );
            return Some((key, text));
        }
        let is_one = RESOLVED.iter().any(|it| it.1.strip_prefix('/') == Some(first));
        let text = || {
            format!("has {pointer}, and /{first} of a record of SenML is a single value: remove it")
        };
        (is_inside && is_one).then(|| (key, text()))
    };
    entry.places().into_iter().filter_map(in_vain).collect()
}

/// Places behind one that is there whenever they are.
fn later_places(entry: &Entry<'_>) -> Vec<Idle> {
    let has_each = entry.mapping.each.is_some();
    let begins = |later: &Pointer, earlier: &Pointer| {
        let is_of_one = !has_each || later.is_of_message() == earlier.is_of_message();
        let mut levels = later.levels();
        is_of_one && earlier.levels().all(|it| levels.next() == Some(it))
    };
    let mut idle = Vec::new();
    for (key, all) in entry.alternatives() {
        for (at, later) in all.iter().enumerate() {
            let Some(earlier) = all.iter().take(at).find(|it| begins(later, it)) else { continue };
            let [later, earlier] = [later, earlier].map(ToString::to_string);
            let text = format!(
                "has {later:?} behind {earlier:?}, which is there whenever that is, and the first counts: put it before, \
                 or remove it"
            );
            idle.push((key.clone(), text));
        }
    }
    idle
}

/// Templates of the sensor behind one that is filled whenever they are.
fn later_templates(entry: &Entry<'_>) -> Vec<Idle> {
    let all: Vec<&Template> = entry.mapping.sensor.iter().flat_map(Templates::iter).collect();
    let needs = |it: &Template| it.needs().collect::<BTreeSet<String>>();
    let mut idle = Vec::new();
    for (at, later) in all.iter().enumerate() {
        let is_before = |it: &&&Template| needs(it).is_subset(&needs(later));
        let Some(earlier) = all.iter().take(at).find(is_before) else { continue };
        let [later, earlier] = [later, earlier].map(|it| String::from((**it).clone()));
        let text = format!(
            "has {later:?} behind {earlier:?}, which is filled whenever that is, and the first counts: put it before, or \
             remove it"
        );
        idle.push(("sensor".to_owned(), text));
    }
    idle
}

/// A zone for times that say their own offset.
fn zone_of_offsets(entry: &Entry<'_>) -> Vec<Idle> {
    use TimeFormat::{Rfc2822, Rfc3339, Unix, UnixMs, UnixNs, UnixUs};
    let Some(it) = &entry.mapping.timestamp else { return Vec::new() };
    let has_offset = matches!(it.format, Rfc3339 | Rfc2822 | Unix | UnixMs | UnixUs | UnixNs);
    if !has_offset || it.zone == Zone::default() {
        return Vec::new();
    }
    let format = serde_json::to_value(it.format).expect("a format is a word");
    let text = format!(
        "has no effect with format = {format}: such a time says its own offset; write format = \"auto\" or \"local\", or \
         remove it"
    );
    vec![("timestamp.zone".to_owned(), text)]
}

/// Times of which none is plausible now.
fn window_of_no_time(entry: &Entry<'_>) -> Vec<Idle> {
    let Some(it) = &entry.mapping.timestamp else { return Vec::new() };
    let now = clock::now().wall.millis();
    let ahead = u64::try_from(it.plausible.ahead_max.0.as_millis()).unwrap_or(u64::MAX);
    let until = now.saturating_add(ahead);
    let since = u64::try_from(it.plausible.since.second()).unwrap_or_default().saturating_mul(1000);
    if since <= until {
        return Vec::new();
    }
    let text = format!(
        "is later than {}, the last time that is plausible now (ahead_max {}): every time of a sensor is unused; write an \
         earlier day",
        Timestamp::from_millis(until),
        it.plausible.ahead_max
    );
    vec![("timestamp.plausible.since".to_owned(), text)]
}

/// What is set of numbers where none is asked for.
fn numbers_of_none(entry: &Entry<'_>) -> Vec<Idle> {
    let it = &entry.mapping;
    let set = [
        ("decimal", it.decimal != Decimal::default()),
        ("mismatch", it.mismatch != Mismatch::default()),
    ];
    let text = "has an effect with type = \"number\" only: write that beside it, or remove it";
    let keys = set.into_iter().filter(|(_, is_set)| *is_set && it.kind == Type::Any);
    keys.map(|(key, _)| (key.to_owned(), text.to_owned())).collect()
}

/// Units of values that are one record.
fn units_of_one_record(entry: &Entry<'_>) -> Vec<Idle> {
    let it = &entry.mapping;
    let values = it.values.iter().filter(|(_, value)| !it.split && value.unit.is_some());
    let text =
        "has no effect without split = true: a record of several values has one unit, the entry's";
    values.map(|(name, _)| (format!("values.{name}.unit"), text.to_owned())).collect()
}

/// A quantity of values of which each has its own.
fn quantity_of_several(entry: &Entry<'_>) -> Vec<Idle> {
    let it = &entry.mapping;
    if it.quantity.is_none() || !it.split || it.values.is_empty() {
        return Vec::new();
    }
    let text = "has no effect with split = true: the name of each value is its quantity; remove it";
    vec![("quantity".to_owned(), text.to_owned())]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The keys that are warned of, of an entry `x` of MQTT.
    fn warned(settings: &Value) -> Vec<Idle> {
        let mut mqtt = json!({"topic": "a/{device}"});
        mqtt.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let mut plan = Plan::default();
        plan.sensors.insert("x".into(), serde_json::from_value(json!({"mqtt": mqtt})).unwrap());
        assert_eq!(plan.problems(), [], "{settings}");
        plan.idle()
    }

    /// One warning, of this key and with these words.
    #[track_caller]
    fn one(settings: &Value, key: &str, words: &str) {
        let found = warned(settings);
        let [(at, text)] = &found[..] else { panic!("{settings}: {found:?}") };
        assert_eq!(*at, format!("sensors.x.mqtt.{key}"), "{text}");
        assert!(text.contains(words), "{text}");
    }

    #[track_caller]
    fn none(settings: &Value) {
        assert_eq!(warned(settings), [], "{settings}");
    }

    #[test]
    fn a_topic_that_is_left_out_as_a_whole_is_warned_of() {
        one(
            &json!({"ignore": "a/+"}),
            "topic",
            "a/{device} is left out as a whole by ignore = \"a/+\"",
        );
        one(&json!({"ignore": ["a/x", "b/c"]}), "ignore", "b/c is part of no topic");
        none(&json!({"ignore": ["a/x", "+/y"]}));
    }

    #[test]
    fn members_of_a_payload_that_has_none_are_warned_of() {
        for codec in ["text", "raw"] {
            let of = |key: &str, value: Value| json!({"payload": codec, key: value});
            for (settings, key) in [
                (of("value", json!("/x")), "value"),
                (of("values", json!({"t": ["", "/x"]})), "values.t"),
                (of("sensor", json!("{/id}")), "sensor"),
                (of("tags", json!({"a": "/b"})), "tags.a"),
                (of("unit", json!("/u")), "unit"),
                (of("timestamp", json!("/t")), "timestamp"),
                (of("counter", json!("/n")), "counter"),
                (of("each", json!("")), "each"),
                (of("extra", json!(["/r"])), "extra"),
            ] {
                let found = warned(&settings);
                let mine = found.iter().find(|it| it.0 == format!("sensors.x.mqtt.{key}"));
                let text = &mine.unwrap_or_else(|| panic!("{settings}: {found:?}")).1;
                assert!(
                    text.contains(&format!("{codec:?}")) && text.contains("remove it"),
                    "{text}"
                );
            }
            none(&of("value", json!("")));
            none(&of("sensor", json!("{device}-{entry}")));
        }
        none(&json!({"payload": "cbor", "value": "/x"}));
    }

    #[test]
    fn fields_that_a_resolved_record_of_senml_has_no_more_are_warned_of() {
        let of = |key: &str, value: Value| json!({"payload": "senml", key: value});
        one(&of("value", json!("/v")), "value", "its \"v\" becomes /value; write that");
        one(&of("sensor", json!("{/n}")), "sensor", "becomes /sensorId");
        one(
            &of("timestamp", json!("/timestamp/s")),
            "timestamp",
            "/timestamp of a record of SenML is",
        );
        one(&of("each", json!("/value")), "each", "is a single value");
        none(&of("value", json!("/value")));
        none(&of("tags", json!({"place": "/place/hall"})));
    }

    #[test]
    fn places_in_the_objects_of_a_program_are_not_warned_of_as_its_codecs() {
        let entry = |codec: &str| {
            json!({
                "payload": codec,
                "transform": "[{'n': 'a', 't': 1, 'value': {'v': 2}}]",
                "sensor": "/n",
                "timestamp": "/t",
                "counter": "/bver",
                "tags": {"v": "/value/v"},
                "extra": ["/u"],
            })
        };
        let found = ["text", "raw", "senml"].map(|it| warned(&entry(it)));
        assert_eq!(found.concat(), []);
    }

    #[test]
    fn a_place_behind_one_that_is_there_whenever_it_is_is_warned_of() {
        one(&json!({"value": ["/a", "/a"]}), "value", "has \"/a\" behind \"/a\"");
        one(&json!({"value": ["/a", "/a/b"]}), "value", "has \"/a/b\" behind \"/a\"");
        one(&json!({"values": {"t": ["", "/t"]}}), "values.t", "has \"/t\" behind \"\"");
        one(&json!({"timestamp": ["/t", "/u", "/t"]}), "timestamp", "the first counts");
        one(&json!({"counter": ["$/n", "/n"]}), "counter", "has \"/n\" behind \"$/n\"");
        none(&json!({"value": ["/a/b", "/a", "/ab"]}));
        none(&json!({"each": "/r", "value": ["/n", "$/n"]}));
        none(&json!({"each": ["", ""], "value": "/v"}));
    }

    #[test]
    fn a_template_behind_one_that_is_filled_whenever_it_is_is_warned_of() {
        one(&json!({"sensor": ["{entry}", "{/id}"]}), "sensor", "has \"{/id}\" behind \"{entry}\"");
        one(&json!({"sensor": ["{device}", "x"]}), "sensor", "has \"x\" behind");
        one(
            &json!({"sensor": ["/id", "{/id}-{/b}"]}),
            "sensor",
            "has \"{/id}-{/b}\" behind \"/id\"",
        );
        none(&json!({"sensor": ["{/id}-{/b}", "/id", "{entry}"]}));
        none(&json!({"each": "", "sensor": ["{key.1}", "{/id}", "{device}"]}));
    }

    #[test]
    fn what_times_never_use_is_warned_of() {
        let timestamp = |more: Value| {
            let mut table = json!({"from": "/t"});
            table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"timestamp": table})
        };
        for format in ["rfc3339", "rfc2822", "unix", "unix_ms", "unix_us", "unix_ns"] {
            let set = timestamp(json!({"format": format, "zone": "Europe/Berlin"}));
            one(&set, "timestamp.zone", &format!("no effect with format = {format:?}"));
            none(&timestamp(json!({"format": format})));
        }
        for format in ["auto", "local", "time_of_day"] {
            none(&timestamp(json!({"format": format, "zone": "Europe/Berlin"})));
        }
        let since = json!({"plausible": {"since": "2999-01-01"}});
        one(
            &timestamp(since),
            "timestamp.plausible.since",
            "(ahead_max 1day): every time of a sensor",
        );
        none(&timestamp(json!({"plausible": {"since": "2020-01-01", "ahead_max": "0s"}})));
    }

    #[test]
    fn what_is_set_of_numbers_alone_is_warned_of_elsewhere() {
        one(&json!({"decimal": ","}), "decimal", "with type = \"number\" only");
        one(&json!({"mismatch": "skip"}), "mismatch", "with type = \"number\" only");
        none(&json!({"decimal": ",", "mismatch": "skip", "type": "number"}));
    }

    #[test]
    fn units_and_quantities_that_no_record_has_are_warned_of() {
        let values = json!({"t": {"from": "/t", "unit": "C"}, "u": "/u"});
        one(&json!({"values": values}), "values.t.unit", "without split = true");
        none(&json!({"values": values, "split": true}));
        let both = json!({"values": values, "split": true, "quantity": "/q"});
        one(&both, "quantity", "the name of each value is its quantity");
        none(&json!({"values": {"u": "/u"}, "quantity": "/q"}));
    }

    #[test]
    fn properties_that_messages_of_mqtt_3_do_not_have_are_warned_of() {
        let keys = |version| {
            let entry =
                json!({"mqtt": {"topic": "a", "properties": "all", "expiry": "dead_letter"}});
            let mut plan = Plan::default();
            plan.broker.version = version;
            plan.sensors.insert("x".into(), serde_json::from_value(entry).unwrap());
            plan.idle().into_iter().map(|it| it.0).collect::<Vec<_>>()
        };
        let expected = ["sensors.x.mqtt.properties", "sensors.x.mqtt.expiry"];
        assert_eq!(keys(Version::V3), expected);
        assert_eq!(keys(Version::V5), [""; 0]);
    }

    /// What is warned of with this output, and an entry of MQTT.
    fn with_output(output: &Value, entry: &Value) -> Vec<Idle> {
        let mut mqtt = json!({"topic": "a"});
        mqtt.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        let mut plan = Plan::default();
        plan.sensors.insert("x".into(), serde_json::from_value(json!({"mqtt": mqtt})).unwrap());
        plan.output.sink = serde_json::from_value(json!({"mqtt": output})).unwrap();
        plan.idle()
    }

    #[test]
    fn a_quantity_that_the_codec_completes_is_given() {
        let output = json!({"topic": "out/{quantity}"});
        assert_eq!(with_output(&output, &json!({"payload": "sparkplug_b"})), []);
        assert_eq!(with_output(&output, &json!({"payload": "senml"})).len(), 1);
    }

    #[test]
    fn a_program_may_give_any_tag_and_a_quantity() {
        let output = json!({"topic": "out/{tag.site}/{quantity}"});
        assert_eq!(with_output(&output, &json!({"transform": "msg"})), []);
    }

    #[test]
    fn places_of_the_output_that_nothing_fills_are_warned_of() {
        let topic = json!({"topic": "out/{tag.site}/{quantity}/{sensor}"});
        let found = with_output(&topic, &json!({}));
        let texts: Vec<_> = found.iter().map(|it| &*it.1).collect();
        assert!(
            found.iter().all(|it| it.0 == "output.mqtt.topic") && texts.len() == 2,
            "{found:?}"
        );
        assert!(texts[0].contains("{tag.site}, and no entry gives it"), "{texts:?}");
        assert!(texts[1].contains("{quantity}, and no entry gives it"), "{texts:?}");
        for entry in [
            json!({"tags": {"site": "n"}, "quantity": "t"}),
            json!({"properties": "all", "values": {"t": "/t"}, "split": true}),
            json!({"properties": ["site"], "quantity": "t"}),
        ] {
            assert_eq!(with_output(&topic, &entry), []);
        }
        let letters = json!({"dead_letter_topic": "dead/{tag.site}"});
        let found = with_output(&letters, &json!({"tags": {"site": "n"}}));
        assert!(
            found.len() == 1 && found[0].1.contains("dead/{tag.site} has a place for a tag or a quantity, and dead letters have none"),
            "{found:?}"
        );
        let mut plan = Plan::default();
        plan.output.format = Format::Influx;
        plan.output.influx.tags = serde_json::from_value(json!({"s": "{tag.site}"})).unwrap();
        assert_eq!(plan.idle()[0].0, "output.influx.tags.s");
        plan.output.format = Format::Json;
        assert_eq!(plan.idle(), [], "that section is not used");
    }
}
